/* config_override.c: values laid over a configuration: key=value of the command line, and stages over the rest. */
#include "train/config_table.h"

#include "base/yaml.h"

#include <stdlib.h>
#include <string.h>

/* "key cannot be set: ...", with what the place up to this part of the key is. */
static tr_status no_place(const char *key, const char *part, const json_t *at, tr_error *err)
{
    const int seen = (int)(part - key) - (part > key);
    if (json_is_array(at)) {
        return tr_fail(
            err, TR_FORMAT, "command line",
            "'%s' cannot be set: %.*s is a list of %zu, whose entries are numbered from 0 to %zu; the whole "
            "list can be given as %.*s='[...]'",
            key, seen, key, json_array_size(at), json_array_size(at) - (json_array_size(at) > 0), seen, key);
    }
    return tr_fail(err, TR_FORMAT, "command line", "'%s' cannot be set: %.*s is %s, not a list or a mapping", key,
                   seen ? seen : (int)strlen(key), key, tr_json_type_name(at));
}

static tr_status set_path(json_t *root, const char *key, json_t *value, tr_error *err)
{
    char *copy = tr_strdup(key), *rest = copy;
    json_t *at = root;
    tr_status status = copy ? TR_OK : tr_fail(err, TR_MEMORY, "command line", "out of memory");
    while (!status && rest) {
        char *part = strsep(&rest, "."), *end;
        const char *here = key + (part - copy);
        size_t index = strtoul(part, &end, 10);
        bool array = json_is_array(at) && end != part && !*end;
        if (!array && !json_is_object(at)) {
            status = no_place(key, here, at, err);
            break;
        }
        if (!rest) {
            int failed = array ? json_array_set(at, index, value) : json_object_set(at, part, value);
            status = failed ? no_place(key, here, at, err) : TR_OK;
            break;
        }
        json_t *below = array ? json_array_get(at, index) : json_object_get(at, part);
        if ((!below || json_is_null(below)) && json_is_object(at)) {
            below = json_object();
            json_object_set_new(at, part, below);
        }
        if (!below) {
            status = no_place(key, here, at, err);
        }
        at = below;
    }
    free(copy);
    return status;
}

/* Whether a key is `stages` or below it. */
static bool is_of_stages(const char *key)
{
    return !strncmp(key, "stages", 6) && (!key[6] || key[6] == '.');
}

/* stages.N.key of a configuration without stages, or with a number that is none. */
static tr_status check_stages(const json_t *root, const char *key, tr_error *err)
{
    const json_t *stages = json_object_get(root, "stages");
    if (!key[6] || json_is_array(stages)) {
        return TR_OK;
    }
    return tr_fail(err, TR_FORMAT, "command line",
                   "'%s' cannot be set: the configuration has no stages; give them first, such as "
                   "stages='[{algorithm: sft}, {algorithm: grpo}]'",
                   key);
}

/* Lays "a.b=value" texts over root, one after the other. in_stages: only the list of stages and what is below it;
 * else only the others. */
tr_status tr_config_override(json_t *root, const char *const *texts, size_t count, bool in_stages,
                             json_t *overridden, tr_error *err)
{
    tr_status status = TR_OK;
    for (size_t i = 0; !status && i < count; i++) {
        const char *equal = strchr(texts[i], '=');
        char key[256];
        if (!equal || equal == texts[i]) {
            return tr_fail(err, TR_INVALID, "command line", "'%s' is not of the form key=value", texts[i]);
        }
        snprintf(key, sizeof key, "%.*s", (int)(equal - texts[i]), texts[i]);
        if (in_stages != is_of_stages(key)) {
            continue;
        }
        json_t *value = NULL;
        status = in_stages ? check_stages(root, key, err) : TR_OK;
        if (!status && (status = tr_yaml_value(equal + 1, &value, err))) {
            tr_fail_context(err, status, "the value of '%s'", key);
        }
        if (!status) {
            const size_t number = in_stages && key[6] ? strcspn(key + 7, ".") + 7 : 0; /* "stages.1" */
            json_object_set_new(overridden, key + number + (number && key[number]), json_true());
            status = set_path(root, key, value, err);
        }
        json_decref(value);
    }
    return status;
}

/* Values of `over` replace those of `base`; mappings are joined. */
void tr_config_lay_over(json_t *base, json_t *over)
{
    const char *key;
    json_t *value;
    json_object_foreach(over, key, value)
    {
        json_t *old = json_object_get(base, key);
        if (json_is_object(old) && json_is_object(value)) {
            tr_config_lay_over(old, value);
        } else {
            json_object_set(base, key, value);
        }
    }
}
