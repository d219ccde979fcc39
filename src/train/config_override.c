/* config_override.c: values laid over a configuration: key=value of the command line, and stages over the rest. */
#include "train/config_table.h"

#include "base/yaml.h"

#include <stdlib.h>
#include <string.h>

static tr_status set_path(json_t *root, const char *key, json_t *value, tr_error *err)
{
    char *copy = tr_strdup(key), *rest = copy;
    json_t *at = root;
    tr_status status = copy ? TR_OK : tr_fail(err, TR_MEMORY, "command line", "out of memory");
    while (!status && rest) {
        char *part = strsep(&rest, "."), *end;
        size_t index = strtoul(part, &end, 10);
        bool array = json_is_array(at) && end != part && !*end;
        if (!rest) {
            int failed = array ? json_array_set(at, index, value) : json_object_set(at, part, value);
            status =
                failed ? tr_fail(err, TR_FORMAT, "command line", "'%s' cannot be set: there is no such place", key)
                       : TR_OK;
            break;
        }
        json_t *below = array ? json_array_get(at, index) : json_object_get(at, part);
        if ((!below || json_is_null(below)) && json_is_object(at)) {
            below = json_object();
            json_object_set_new(at, part, below);
        }
        if (!json_is_object(below) && !json_is_array(below)) {
            status = tr_fail(err, TR_FORMAT, "command line", "'%s' cannot be set: there is no such place", key);
        }
        at = below;
    }
    free(copy);
    return status;
}

/* Lays "a.b=value" texts over root. in_stages: only those that start with "stages."; else only the others. */
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
        if (in_stages != !strncmp(key, "stages.", 7)) {
            continue;
        }
        json_t *value = NULL;
        status = tr_yaml_value(equal + 1, &value, err);
        if (!status) {
            json_object_set_new(overridden, in_stages ? key + strcspn(key + 7, ".") + 8 : key, json_true());
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
