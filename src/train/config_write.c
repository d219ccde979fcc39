/* config_write.c: the resolved configuration as JSON and YAML, differences, and the documentation of all keys. */
#include "train/config.h"

#include "train/config_table.h"

#include <stdlib.h>
#include <string.h>

/* Sets root[section][name]. */
static void place_value(json_t *root, const char *name, json_t *value)
{
    char section[64];
    const char *dot = strchr(name, '.');
    if (dot) {
        snprintf(section, sizeof section, "%.*s", (int)(dot - name), name);
        json_t *below = json_object_get(root, section);
        if (!below) {
            below = json_object();
            json_object_set_new(root, section, below);
        }
        root = below;
        name = dot + 1;
    }
    json_object_set_new(root, name, value);
}

static json_t *value_of(const tr_key *key, const void *base);

static json_t *lora_value(const tr_config_lora *lora)
{
    json_t *object = lora->rank ? json_object() : json_null();
    for (size_t i = 0; lora->rank && i < tr_lora_keys_count; i++) {
        json_object_set_new(object, tr_lora_keys[i].name, value_of(&tr_lora_keys[i], lora));
    }
    return object;
}

static json_t *data_value(const tr_key *key, tr_config *config)
{
    size_t count = *tr_config_data_count(config, key);
    const tr_data_entry *entries = *(tr_data_entry **)(void *)((char *)config + key->offset);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *object = json_object();
        for (size_t k = 0; k < tr_data_keys_count; k++) {
            json_object_set_new(object, tr_data_keys[k].name, value_of(&tr_data_keys[k], &entries[i]));
        }
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *number_value(double x)
{
    return x == (double)(json_int_t)x ? json_integer((json_int_t)x) : json_real(x);
}

static json_t *value_of(const tr_key *key, const void *base)
{
    const void *field = (const char *)base + key->offset;
    char name[64];
    json_t *list;
    switch (key->kind) {
    case TR_KEY_TEXT:
    case TR_KEY_PATH:
    case TR_KEY_NAME: {
        const char *text = *(char *const *)field;
        return text ? json_string(text) : json_null();
    }
    case TR_KEY_INT:
        return json_integer(*(const int64_t *)field);
    case TR_KEY_NUMBER:
        return number_value(*(const double *)field);
    case TR_KEY_BYTES:
        return json_integer((json_int_t) * (const uint64_t *)field);
    case TR_KEY_CHOICE:
        return tr_key_choice(key, *(const int *)field, name, sizeof name) ? json_string(name) : json_null();
    case TR_KEY_PAIR:
        list = json_array();
        json_array_append_new(list, number_value(((const double *)field)[0]));
        json_array_append_new(list, number_value(((const double *)field)[1]));
        return list;
    case TR_KEY_BOOL:
        return json_boolean(*(const bool *)field);
    case TR_KEY_PARTS:
        list = json_array();
        for (int i = 0; tr_key_choice(key, i, name, sizeof name); i++) {
            if (*(const unsigned *)field & 1u << i) {
                json_array_append_new(list, json_string(name));
            }
        }
        return list;
    case TR_KEY_DATA:
        return data_value(key, (tr_config *)(uintptr_t)base);
    case TR_KEY_LORA:
        return lora_value(field);
    case TR_KEY_MODULES:
        return json_deep_copy(*(json_t *const *)field);
    }
    return json_null();
}

tr_status tr_config_to_json(const tr_config *config, json_t **out, tr_error *err)
{
    *out = json_object();
    if (!*out) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    for (size_t i = 0; i < tr_config_keys_count; i++) {
        place_value(*out, tr_config_keys[i].name, value_of(&tr_config_keys[i], config));
    }
    return TR_OK;
}

/* A scalar or a list of scalars: JSON's notation is YAML too. */
static tr_status add_scalar(tr_buffer *out, const json_t *value, tr_error *err)
{
    if (json_is_array(value)) {
        size_t index;
        json_t *item;
        tr_status added = tr_buffer_add_text(out, "[", err);
        json_array_foreach(value, index, item)
        {
            added = added || !index ? added : tr_buffer_add_text(out, ", ", err);
            added = added ? added : add_scalar(out, item, err);
        }
        return added ? added : tr_buffer_add_text(out, "]", err);
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    tr_status status = TR_OK;
    if (!text) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    if (json_is_real(value)) { /* the shortest text that reads back as the same number */
        char shortest[40];
        for (int digits = 1; digits <= 17; digits++) {
            snprintf(shortest, sizeof shortest, "%.*g", digits, json_real_value(value));
            if (strtod(shortest, NULL) == json_real_value(value)) {
                break;
            }
        }
        status = tr_buffer_add_text(out, shortest, err);
    } else {
        status = tr_buffer_add_text(out, text, err);
    }
    free(text);
    return status;
}

static tr_status add_list(tr_buffer *out, const json_t *list, tr_error *err)
{
    size_t index;
    json_t *item, *value;
    const char *key;
    tr_status status = TR_OK;
    json_array_foreach(list, index, item)
    {
        const char *lead = "  - ";
        json_object_foreach(item, key, value)
        {
            TR_TRY(tr_buffer_printf(out, err, "%s%s: ", lead, key));
            TR_TRY(add_scalar(out, value, err));
            TR_TRY(tr_buffer_add_text(out, "\n", err));
            lead = "    ";
        }
    }
done:
    return status;
}

tr_status tr_config_to_yaml(const tr_config *config, tr_buffer *out, tr_error *err)
{
    json_t *root = NULL, *value, *item;
    const char *key, *below;
    tr_status status = tr_config_to_json(config, &root, err);
    if (status) {
        return status;
    }
    json_object_foreach(root, key, value)
    {
        TR_TRY(tr_buffer_printf(out, err, "%s:", key));
        if (json_is_object(value)) {
            TR_TRY(tr_buffer_add_text(out, "\n", err));
            json_object_foreach(value, below, item)
            {
                TR_TRY(tr_buffer_printf(out, err, "  %s: ", below));
                TR_TRY(add_scalar(out, item, err));
                TR_TRY(tr_buffer_add_text(out, "\n", err));
            }
        } else if (json_is_object(json_array_get(value, 0))) {
            TR_TRY(tr_buffer_add_text(out, "\n", err));
            TR_TRY(add_list(out, value, err));
        } else {
            TR_TRY(tr_buffer_add_text(out, " ", err));
            TR_TRY(add_scalar(out, value, err));
            TR_TRY(tr_buffer_add_text(out, "\n", err));
        }
    }
done:
    json_decref(root);
    return status;
}

/* ---- differences ---- */

static tr_status add_value(tr_buffer *out, const json_t *value, tr_error *err)
{
    return value ? add_scalar(out, value, err) : tr_buffer_add_text(out, "(absent)", err);
}

/* A key that the older object lacks was unknown to the program that wrote it, which did what the default says. */
static bool is_default(const char *name, const json_t *value)
{
    const tr_key *key = NULL;
    for (size_t i = 0; i < tr_config_keys_count; i++) {
        key = strcmp(tr_config_keys[i].name, name) ? key : &tr_config_keys[i];
    }
    if (!key || !key->fallback) {
        return false;
    }
    tr_buffer text = {0};
    const bool same = json_is_string(value)
                          ? !strcmp(json_string_value(value), key->fallback)
                          : !add_scalar(&text, value, NULL) && !strcmp(tr_buffer_text(&text), key->fallback);
    tr_buffer_free(&text);
    return same;
}

static tr_status compare(const json_t *before, const json_t *after, const char *prefix, const char *const *except,
                         tr_buffer *out, tr_error *err)
{
    const char *key;
    json_t *value, *keys = json_object();
    tr_status status = TR_OK;
    json_object_update(keys, (json_t *)(uintptr_t)after);
    json_object_update_missing(keys, (json_t *)(uintptr_t)before);
    json_object_foreach(keys, key, value)
    {
        char name[256];
        bool skip = false;
        json_t *a = json_object_get(before, key), *b = json_object_get(after, key);
        snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] ? "." : "", key);
        for (size_t i = 0; except && except[i]; i++) {
            skip = skip || !strcmp(except[i], name);
        }
        if (skip || (a && b && json_equal(a, b)) || (!a && is_default(name, b)) ||
            (json_is_number(a) && json_is_number(b) && json_number_value(a) == json_number_value(b))) {
            continue;
        }
        if (json_is_object(a) && json_is_object(b)) {
            TR_TRY(compare(a, b, name, except, out, err));
            continue;
        }
        TR_TRY(tr_buffer_printf(out, err, "  %s: ", name));
        TR_TRY(add_value(out, a, err));
        TR_TRY(tr_buffer_add_text(out, " -> ", err));
        TR_TRY(add_value(out, b, err));
        TR_TRY(tr_buffer_add_text(out, "\n", err));
    }
done:
    json_decref(keys);
    return status;
}

tr_status tr_config_differences(const json_t *before, const json_t *after, const char *const *except,
                                tr_buffer *out, tr_error *err)
{
    return compare(before, after, "", except, out, err);
}

/* ---- documentation ---- */

static tr_status add_help(tr_buffer *out, const tr_key *keys, size_t count, const char *lead, tr_error *err)
{
    tr_status status = TR_OK;
    for (size_t i = 0; !status && i < count; i++) {
        status = tr_buffer_printf(out, err, "  %s%-*s %s%s; %s: %s\n", lead, (int)(26 - strlen(lead)), keys[i].name,
                                  keys[i].fallback ? "default " : "needed",
                                  keys[i].fallback ? keys[i].fallback : "", tr_key_type(&keys[i]), keys[i].help);
    }
    return status;
}

tr_status tr_config_help(tr_buffer *out, tr_error *err)
{
    tr_status status = tr_buffer_add_text(out, "keys of CONFIG.yaml (and of key=value):\n", err);
    status = status ? status : add_help(out, tr_config_keys, tr_config_keys_count, "", err);
    status = status ? status : tr_buffer_add_text(out, "keys of train.lora:\n", err);
    status = status ? status : add_help(out, tr_lora_keys, tr_lora_keys_count, "  ", err);
    status = status ? status : tr_buffer_add_text(out, "keys of each entry of data and eval:\n", err);
    return status ? status : add_help(out, tr_data_keys, tr_data_keys_count, "  ", err);
}

/* '|' would end a cell. */
static tr_status add_rows(tr_buffer *out, const tr_key *keys, size_t count, tr_error *err)
{
    tr_status status = tr_buffer_add_text(out, "| key | default | type | meaning |\n|---|---|---|---|\n", err);
    for (size_t i = 0; !status && i < count; i++) {
        char type[256];
        size_t n = 0;
        for (const char *p = tr_key_type(&keys[i]); *p && n + 3 < sizeof type; p++) {
            if (*p == '|') {
                type[n++] = ',';
                type[n++] = ' ';
            } else {
                type[n++] = *p;
            }
        }
        type[n] = 0;
        status = tr_buffer_printf(out, err, "| `%s` | %s%s%s | %s | %s |\n", keys[i].name,
                                  keys[i].fallback ? "`" : "", keys[i].fallback ? keys[i].fallback : "needed",
                                  keys[i].fallback ? "`" : "", type, keys[i].help);
    }
    return status;
}

tr_status tr_config_markdown(tr_buffer *out, tr_error *err)
{
    tr_status status = add_rows(out, tr_config_keys, tr_config_keys_count, err);
    status = status ? status : tr_buffer_add_text(out, "\n`train.lora`:\n\n", err);
    status = status ? status : add_rows(out, tr_lora_keys, tr_lora_keys_count, err);
    status = status ? status : tr_buffer_add_text(out, "\nEach entry of `data` and `eval`:\n\n", err);
    return status ? status : add_rows(out, tr_data_keys, tr_data_keys_count, err);
}
