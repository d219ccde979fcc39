/* lora_targets.c: which linear layers an adapter's targets choose, by peft's rules.
 *
 * A string is a regular expression that must match a whole module name; a list holds names, each choosing the
 * module of that name and those that end with ".NAME". Only the decoder's linear layers can be chosen. */
#include "model/lora.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { MATCH_LIMIT = 1000000, SHOWN = 4 };

void tr_lora_module(const tr_param *param, char *name, size_t size)
{
    const char *rest = param->name, *prefix = "";
    size_t length = strlen(rest);
    if (length > 7 && !strcmp(rest + length - 7, ".weight")) {
        length -= 7;
    }
    if (!strncmp(rest, "visual.", 7)) {
        prefix = "model.";
    } else if (!strncmp(rest, "model.", 6)) { /* model.X is model.language_model.X there */
        prefix = "model.language_";
    }
    snprintf(name, size, "%s%.*s", prefix, (int)length, rest);
}

/* A linear layer of the decoder. */
static bool is_adaptable(const tr_param *param)
{
    return param->matrix && !strncmp(param->name, "model.layers.", 13);
}

typedef struct chooser {
    const json_t *targets;
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *limits;
    bool all;
} chooser;

static tr_status compile(chooser *c, const char *key, tr_error *err)
{
    const char *pattern = json_string_value(c->targets);
    int code;
    PCRE2_SIZE at;
    c->all = !strcmp(pattern, "all-linear");
    if (c->all) {
        return TR_OK;
    }
    c->code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                      PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (!c->code) {
        char message[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
        return tr_fail(err, TR_FORMAT, key, "%s is not a regular expression: '%s' at character %zu: %s", key,
                       pattern, (size_t)at + 1, message);
    }
    c->data = pcre2_match_data_create_from_pattern(c->code, NULL);
    c->limits = pcre2_match_context_create(NULL);
    if (!c->data || !c->limits) {
        return tr_fail(err, TR_MEMORY, key, "out of memory");
    }
    pcre2_set_match_limit(c->limits, MATCH_LIMIT);
    return TR_OK;
}

static bool ends_with_name(const char *module, const char *name)
{
    size_t m = strlen(module), n = strlen(name);
    return !strcmp(module, name) || (m > n && module[m - n - 1] == '.' && !strcmp(module + m - n, name));
}

static tr_status chooses(const chooser *c, const char *module, const char *key, bool *yes, tr_error *err)
{
    size_t index;
    json_t *name;
    *yes = c->all;
    if (json_is_array(c->targets)) {
        json_array_foreach(c->targets, index, name)
        {
            *yes = *yes || ends_with_name(module, json_string_value(name));
        }
    } else if (c->code) {
        int n = pcre2_match(c->code, (PCRE2_SPTR)module, PCRE2_ZERO_TERMINATED, 0, 0, c->data, c->limits);
        if (n < 0 && n != PCRE2_ERROR_NOMATCH) {
            return tr_fail(err, TR_INVALID, key,
                           "%s: the pattern '%s' takes too long on %s; write it with fewer .*", key,
                           json_string_value(c->targets), module);
        }
        *yes = n >= 0;
    }
    return TR_OK;
}

static tr_status check_form(const json_t *targets, const char *key, tr_error *err)
{
    size_t index;
    json_t *name;
    bool good = json_is_array(targets) ? json_array_size(targets) > 0 : json_string_length(targets) > 0;
    json_array_foreach(targets, index, name)
    {
        good = good && json_string_length(name) > 0;
    }
    return good ? TR_OK
                : tr_fail(err, TR_FORMAT, key,
                          "%s must be a regular expression of module names or a list of names such as [q_proj, "
                          "v_proj], found %s",
                          key, json_is_array(targets) ? "a list without names" : tr_json_type_name(targets));
}

/* "nothing chosen" with some names that exist. */
static tr_status nothing(const tr_params *params, const json_t *targets, const char *key, bool others,
                         tr_error *err)
{
    char *pattern = json_dumps(targets, JSON_ENCODE_ANY);
    tr_buffer names = {0};
    char module[128];
    int shown = 0;
    for (int i = 0; i < params->base && shown < SHOWN; i++) {
        if (is_adaptable(&params->items[i])) {
            tr_lora_module(&params->items[i], module, sizeof module);
            tr_buffer_printf(&names, NULL, "%s%s", shown++ ? ", " : "", module);
        }
    }
    tr_status status =
        tr_fail(err, TR_NOT_FOUND, key,
                "%s: %.200s matches no linear layer of the decoder of 'model'%s; names that exist: %s, ... (a list "
                "matches ends of names, a text must match a whole name)",
                key, pattern ? pattern : "the pattern",
                others ? " (what it matches, the vision tower, embedding or head, cannot be adapted)" : "",
                tr_buffer_text(&names));
    tr_buffer_free(&names);
    free(pattern);
    return status;
}

tr_status tr_lora_choose(const tr_params *params, const json_t *targets, const char *key, bool *chosen,
                         bool *others, tr_error *err)
{
    chooser c = {.targets = targets};
    int count = 0;
    tr_status status;
    *others = false;
    TR_TRY(check_form(targets, key, err));
    if (json_is_string(targets)) {
        TR_TRY(compile(&c, key, err));
    }
    for (int i = 0; i < params->base; i++) {
        const tr_param *p = &params->items[i];
        char module[128];
        bool yes;
        chosen[i] = false;
        if (!p->matrix) {
            continue;
        }
        tr_lora_module(p, module, sizeof module);
        TR_TRY(chooses(&c, module, key, &yes, err));
        chosen[i] = yes && is_adaptable(p);
        *others = *others || (yes && !is_adaptable(p));
        count += chosen[i];
    }
    status = count ? TR_OK : nothing(params, targets, key, *others, err);
done:
    pcre2_match_context_free(c.limits);
    pcre2_match_data_free(c.data);
    pcre2_code_free(c.code);
    return status;
}
