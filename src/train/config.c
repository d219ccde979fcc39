/* config.c: reads a configuration: YAML and key=value into one tr_config per stage.
 *
 * The file becomes a JSON value; `stages` entries are laid over the rest; overrides are laid over both; then one
 * walk refuses unknown keys and another one fills the fields from the table. Every error knows its line. */
#include "train/config.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/yaml.h"
#include "train/config_table.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct reader {
    const char *name;    /* of the file */
    char *folder, *here; /* absolute: of the file, and the current directory */
    const tr_yaml_places *places;
    int stage;           /* -1: the file has no stages */
    json_t *overridden;  /* {"grpo.kl": true}: what the command line gave */
    const json_t *given; /* the stage as the command line gave it with the whole list of stages; else NULL */
    tr_error *err;
} reader;

/* ---- places ---- */

/* Whether the command line gave this key, or something above or below it. */
static bool is_overridden(const reader *r, const char *key)
{
    const char *given;
    json_t *value;
    const json_t *inside = r->given;
    char name[256], *rest = name;
    snprintf(name, sizeof name, "%s", key);
    while (json_is_object(inside) && rest) { /* down to what the stage says itself: a value, or a list */
        inside = json_object_get(inside, strsep(&rest, "."));
    }
    if (r->given && inside) {
        return true;
    }
    json_object_foreach(r->overridden, given, value)
    {
        size_t a = strlen(given), b = strlen(key);
        if (!strncmp(given, key, a < b ? a : b) && (a == b || (a < b ? key[a] : given[b]) == '.') && b >= a) {
            return true;
        }
    }
    return false;
}

/* The line of a dotted key in its stage or in the rest of the file; 0 when it is not written there. */
static int line_of(const reader *r, const char *key)
{
    char path[512];
    int line = 0;
    for (int stage = r->stage; !line && stage >= -1; stage = stage >= 0 ? -1 : -2) {
        int used = stage >= 0 ? snprintf(path, sizeof path, "/stages/%d/%s", stage, key)
                              : snprintf(path, sizeof path, "/%s", key);
        for (int i = 0; i < used && i < (int)sizeof path; i++) {
            path[i] = path[i] == '.' ? '/' : path[i];
        }
        line = tr_yaml_line(r->places, path);
    }
    return line;
}

/* "file:line" of a dotted key, or "command line". */
static const char *place(const reader *r, const char *key, char *out, size_t size)
{
    if (is_overridden(r, key)) {
        snprintf(out, size, "command line");
        return out;
    }
    char name[256];
    int line = 0;
    snprintf(name, sizeof name, "%s", key);
    while (name[0] && !(line = line_of(r, name))) { /* an absent key stands where its section does */
        char *dot = strrchr(name, '.');
        *(dot ? dot : name) = 0;
    }
    size_t length = strlen(key);
    const char *given;
    json_t *value;
    json_object_foreach(r->overridden, given, value)
    {
        if (!line && !strncmp(given, key, length) && given[length] == '.') { /* a section that it alone has */
            snprintf(out, size, "command line");
            return out;
        }
    }
    snprintf(out, size, line ? "%s:%d" : "%s", r->name, line);
    return out;
}

/* ---- paths ---- */

/* Textual: joins, removes "." and "..". free() frees it. */
static char *resolve(const char *folder, const char *path)
{
    char *joined = path[0] == '/' ? tr_strdup(path) : tr_format("%s/%s", folder, path);
    char *out = joined ? tr_calloc(strlen(joined) + 2, 1) : NULL;
    if (!out) {
        free(joined);
        return NULL;
    }
    size_t length = 0;
    for (char *rest = joined, *part; (part = strsep(&rest, "/"));) {
        if (!part[0] || !strcmp(part, ".")) {
            continue;
        }
        if (!strcmp(part, "..")) {
            while (length && out[--length] != '/') {
            }
        } else {
            out[length++] = '/';
            memcpy(out + length, part, strlen(part));
            length += strlen(part);
        }
        out[length] = 0;
    }
    if (!length) {
        out[length++] = '/';
    }
    out[length] = 0;
    free(joined);
    return out;
}

/* ---- values ---- */

/* What stands there, for a message: a number, 'a text', [1, 2], or the kind of value. */
static void describe(const json_t *value, char *out, size_t size)
{
    if (json_is_number(value)) {
        double number = json_number_value(value);
        bool whole = json_is_real(value) && number == floor(number) && fabs(number) < 1e9; /* 2.0 is no integer */
        snprintf(out, size, whole ? "%.1f" : "%.10g", number);
    } else if (json_is_string(value)) {
        snprintf(out, size, "'%s'", json_string_value(value));
    } else if (json_is_array(value)) {
        char *text = json_dumps(value, JSON_REAL_PRECISION(10));
        snprintf(out, size, "%s", !json_array_size(value) ? "an empty list" : text ? text : "a list");
        if (text && strlen(text) >= size) {
            snprintf(out, size, "a list of %zu", json_array_size(value));
        }
        free(text);
    } else if (json_is_boolean(value)) {
        snprintf(out, size, "%s", json_is_true(value) ? "true" : "false");
    } else {
        snprintf(out, size, "%s", tr_json_type_name(value));
    }
}

static tr_status wrong(const reader *r, const char *name, const tr_key *key, const json_t *value)
{
    char where[512], found[96];
    describe(value, found, sizeof found);
    return tr_fail(r->err, TR_FORMAT, place(r, name, where, sizeof where), "%s must be %s, found %s", name,
                   tr_key_type(key), found);
}

static bool in_range(const tr_key *key, double x)
{
    return isfinite(x) && ((key->min == 0 && key->max == 0) || (x >= key->min && x <= key->max));
}

static bool read_bytes(const json_t *value, uint64_t *out)
{
    if (json_is_integer(value)) {
        *out = (uint64_t)json_integer_value(value);
        return json_integer_value(value) >= 0;
    }
    if (!json_is_string(value)) {
        return false;
    }
    char *end;
    const char *text = json_string_value(value);
    double number = strtod(text, &end), scale = 1;
    static const char units[] = "KMGT";
    const char *unit = *end ? strchr(units, *end >= 'a' ? *end - 32 : *end) : NULL;
    if (unit) {
        for (long i = unit - units; i >= 0; i--) {
            scale *= 1024;
        }
        end++;
    }
    if (end == text || *end || !(number >= 0) || number * scale > 1e18) {
        return false;
    }
    *out = (uint64_t)(number * scale);
    return true;
}

/* The names of a key's choices, for messages; how many. */
enum { CHOICES = 16 };
static size_t choices_of(const tr_key *key, char names[CHOICES][64], const char *list[CHOICES])
{
    size_t count = 0;
    while (count < CHOICES && tr_key_choice(key, (int)count, names[count], sizeof names[count])) {
        list[count] = names[count];
        count++;
    }
    return count;
}

/* A name that is none of the key's choices. */
static tr_status no_choice(const reader *r, const char *name, const tr_key *key, const char *found)
{
    char where[512], names[CHOICES][64];
    const char *list[CHOICES];
    size_t count = choices_of(key, names, list);
    const char *near = tr_nearest(found, list, count);
    return tr_fail(r->err, TR_FORMAT, place(r, name, where, sizeof where), "%s must be %s, found '%s'%s%s%s", name,
                   tr_key_type(key), found, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

static tr_status read_parts(const reader *r, const char *name, const tr_key *key, const json_t *value,
                            unsigned *out)
{
    char choice[64];
    size_t index;
    json_t *item;
    *out = json_is_null(value) && !strcmp(key->fallback, "null") ? TR_FREEZE_DEFAULT : 0;
    if (!json_is_array(value)) {
        return *out ? TR_OK : wrong(r, name, key, value);
    }
    json_array_foreach(value, index, item)
    {
        unsigned bit = 0;
        if (!json_is_string(item)) {
            return wrong(r, name, key, value);
        }
        for (int i = 0; tr_key_choice(key, i, choice, sizeof choice); i++) {
            bit = strcmp(choice, json_string_value(item)) ? bit : 1u << i;
        }
        if (!bit) {
            return no_choice(r, name, key, json_string_value(item));
        }
        *out |= bit;
    }
    return TR_OK;
}

static tr_status read_choice(const reader *r, const char *name, const tr_key *key, const json_t *value, int *out)
{
    char names[CHOICES][64];
    const char *list[CHOICES];
    if (!json_is_string(value)) {
        return wrong(r, name, key, value);
    }
    size_t count = choices_of(key, names, list);
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(list[i], json_string_value(value))) {
            *out = (int)i;
            return TR_OK;
        }
    }
    return no_choice(r, name, key, json_string_value(value));
}

/* Names have no slash; a file of the user's own has one, or says what it is. */
static bool is_file_name(const char *text)
{
    size_t length = strlen(text);
    return strchr(text, '/') || (length > 5 && !strcmp(text + length - 5, ".yaml"));
}

static tr_status read_text(const reader *r, const char *name, const tr_key *key, const json_t *value, char **out)
{
    if (json_is_null(value) && key->fallback && !strcmp(key->fallback, "null")) {
        return TR_OK;
    }
    if (!json_is_string(value) || !json_string_length(value)) {
        return wrong(r, name, key, value);
    }
    const char *folder = is_overridden(r, name) ? r->here : r->folder, *text = json_string_value(value);
    bool path = key->kind == TR_KEY_PATH || (key->kind == TR_KEY_NAME && is_file_name(text));
    *out = path ? resolve(folder, text) : tr_strdup(text);
    return *out ? TR_OK : tr_fail(r->err, TR_MEMORY, name, "out of memory");
}

static tr_status read_data(const reader *r, const tr_key *key, const json_t *value, tr_config *config);
static tr_status read_lora(const reader *r, const char *name, const tr_key *key, const json_t *value,
                           tr_config_lora *lora);

/* Fills one field. `name` is the full dotted key for messages. */
static tr_status read_value(const reader *r, const char *name, const tr_key *key, const json_t *value, void *base)
{
    void *field = (char *)base + key->offset;
    switch (key->kind) {
    case TR_KEY_TEXT:
    case TR_KEY_PATH:
    case TR_KEY_NAME:
        return read_text(r, name, key, value, field);
    case TR_KEY_INT:
        if (!json_is_integer(value) || !in_range(key, (double)json_integer_value(value))) {
            return wrong(r, name, key, value);
        }
        *(int64_t *)field = json_integer_value(value);
        return TR_OK;
    case TR_KEY_NUMBER:
        if (!json_is_number(value) || !in_range(key, json_number_value(value))) {
            return wrong(r, name, key, value);
        }
        *(double *)field = json_number_value(value);
        return TR_OK;
    case TR_KEY_BYTES:
        return read_bytes(value, field) ? TR_OK : wrong(r, name, key, value);
    case TR_KEY_CHOICE:
        return read_choice(r, name, key, value, field);
    case TR_KEY_PAIR:
        for (size_t i = 0; i < 2; i++) {
            const json_t *item = json_array_get(value, i);
            if (json_array_size(value) != 2 || !json_is_number(item) || !in_range(key, json_number_value(item))) {
                return wrong(r, name, key, value);
            }
            ((double *)field)[i] = json_number_value(item);
        }
        return TR_OK;
    case TR_KEY_PARTS:
        return read_parts(r, name, key, value, field);
    case TR_KEY_BOOL:
        if (!json_is_boolean(value)) {
            return wrong(r, name, key, value);
        }
        *(bool *)field = json_is_true(value);
        return TR_OK;
    case TR_KEY_LORA:
        return read_lora(r, name, key, value, field);
    case TR_KEY_MODULES:
        if (!json_string_length(value) && !json_array_size(value)) {
            return wrong(r, name, key, value);
        }
        *(json_t **)field = json_deep_copy(value);
        return *(json_t **)field ? TR_OK : tr_fail(r->err, TR_MEMORY, name, "out of memory");
    case TR_KEY_DATA:
        return read_data(r, key, value, base);
    }
    return TR_OK;
}

enum { KEYS = 256 };
static tr_status unknown(const reader *r, const char *name, const char *prefix, const tr_key *keys, size_t count)
{
    const char *near = NULL, *last = strrchr(name, '.') ? strrchr(name, '.') + 1 : name, *names[KEYS] = {0};
    char where[512], firsts[KEYS][32];
    size_t n = 0, width = strlen(prefix);
    for (size_t i = 0; i < count && n < KEYS; i++) { /* names on the same level */
        if (!strncmp(keys[i].name, prefix, width)) {
            snprintf(firsts[n], sizeof firsts[0], "%.*s", (int)strcspn(keys[i].name + width, "."),
                     keys[i].name + width);
            names[n] = firsts[n];
            n++;
        }
    }
    near = tr_nearest(last, names, n);
    place(r, name, where, sizeof where);
    for (size_t i = 0; i < count; i++) { /* the right name in the wrong section */
        const char *dot = strrchr(keys[i].name, '.');
        if (!near && !strcmp(dot ? dot + 1 : keys[i].name, last)) {
            return tr_fail(r->err, TR_FORMAT, where, "unknown key '%s' (did you mean '%s'?)", name, keys[i].name);
        }
    }
    return near ? tr_fail(r->err, TR_FORMAT, where, "unknown key '%s' (did you mean '%s%s'?)", name, prefix, near)
                : tr_fail(r->err, TR_FORMAT, where, "unknown key '%s'; tempr1 train --help lists all keys", name);
}

static void free_entries(tr_data_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)entries[i].rows);
        free((void *)(uintptr_t)entries[i].videos);
        free((void *)(uintptr_t)entries[i].reward);
        free((void *)(uintptr_t)entries[i].prompt);
    }
    free(entries);
}

static tr_status read_fallback(const reader *r, const char *name, const tr_key *key, const char *fallback,
                               void *base)
{
    char where[512];
    json_t *value = NULL;
    if (!fallback) {
        return tr_fail(r->err, TR_NOT_FOUND, place(r, name, where, sizeof where), "the key '%s' is needed: %s",
                       name, key->help);
    }
    tr_status status = tr_yaml_value(fallback, &value, r->err);
    status = status ? status : read_value(r, name, key, value, base);
    json_decref(value);
    return status;
}

/* The values of a mapping with a table of its own, defaults where absent. */
static tr_status read_mapping(const reader *r, const char *name, const json_t *object, const tr_key *keys,
                              size_t count, void *base)
{
    const char *key;
    char full[256];
    json_t *value;
    tr_status status = TR_OK;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        bool found = false;
        for (size_t i = 0; i < count; i++) {
            found = found || !strcmp(keys[i].name, key);
        }
        snprintf(full, sizeof full, "%s.%s", name, key);
        if (!found) {
            return unknown(r, full, "", keys, count);
        }
    }
    for (size_t i = 0; !status && i < count; i++) {
        value = json_object_get(object, keys[i].name);
        snprintf(full, sizeof full, "%s.%s", name, keys[i].name);
        status = value ? read_value(r, full, &keys[i], value, base)
                       : read_fallback(r, full, &keys[i], keys[i].fallback, base);
    }
    return status;
}

static tr_status read_lora(const reader *r, const char *name, const tr_key *key, const json_t *value,
                           tr_config_lora *lora)
{
    const json_t *dropout = json_object_get(value, "dropout");
    char full[256], where[512];
    if (json_is_null(value)) {
        return TR_OK;
    }
    if (!json_is_object(value)) {
        return wrong(r, name, key, value);
    }
    snprintf(full, sizeof full, "%s.dropout", name);
    if (json_is_number(dropout) && json_number_value(dropout) != 0) {
        return tr_fail(r->err, TR_UNSUPPORTED, place(r, full, where, sizeof where),
                       "%s is %g; only 0 is possible: with dropout the log-probabilities recorded while sampling "
                       "would not be those of the training forward",
                       full, json_number_value(dropout));
    }
    return read_mapping(r, name, value, tr_lora_keys, tr_lora_keys_count, lora);
}

static tr_status read_entry(const reader *r, const char *name, json_t *object, tr_data_entry *entry)
{
    if (!json_is_object(object)) {
        char where[512];
        return tr_fail(r->err, TR_FORMAT, place(r, name, where, sizeof where),
                       "%s must be a mapping {rows: FILE, videos: DIR, ...}, found %s", name,
                       tr_json_type_name(object));
    }
    tr_status status = read_mapping(r, name, object, tr_data_keys, tr_data_keys_count, entry);
    if (status) {
        return status;
    }
    if (!entry->videos) {
        entry->videos = tr_path_directory(entry->rows);
    }
    return entry->videos ? TR_OK : tr_fail(r->err, TR_MEMORY, name, "out of memory");
}

static tr_status read_data(const reader *r, const tr_key *key, const json_t *value, tr_config *config)
{
    size_t *count = tr_config_data_count(config, key), n = json_array_size(value);
    tr_data_entry **entries = (tr_data_entry **)(void *)((char *)config + key->offset);
    if (!json_is_array(value)) {
        return wrong(r, key->name, key, value);
    }
    if (!n && !key->fallback) {
        char where[512];
        return tr_fail(
            r->err, TR_FORMAT, place(r, key->name, where, sizeof where),
            "%s must be a list of at least one data entry such as [ {rows: train.jsonl, videos: clips} ], "
            "found an empty list",
            key->name);
    }
    *entries = tr_calloc(n, sizeof **entries);
    if (!*entries) {
        return tr_fail(r->err, TR_MEMORY, key->name, "out of memory");
    }
    *count = n;
    for (size_t i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.%zu", key->name, i);
        tr_status status = read_entry(r, name, json_array_get(value, i), &(*entries)[i]);
        if (status) {
            return status;
        }
    }
    return TR_OK;
}

/* ---- walking ---- */

static bool is_section(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < tr_config_keys_count; i++) {
        if (!strncmp(tr_config_keys[i].name, name, n) && tr_config_keys[i].name[n] == '.') {
            return true;
        }
    }
    return false;
}

static bool is_key(const char *name)
{
    for (size_t i = 0; i < tr_config_keys_count; i++) {
        if (!strcmp(tr_config_keys[i].name, name)) {
            return true;
        }
    }
    return false;
}

/* One more unknown key: the first makes the error, the others stand behind it in its message. */
static tr_status add_unknown(const reader *r, tr_status status, const char *name, const char *prefix)
{
    tr_error more = {0};
    reader other = *r;
    if (!status) {
        return unknown(r, name, prefix, tr_config_keys, tr_config_keys_count);
    }
    other.err = &more;
    unknown(&other, name, prefix, tr_config_keys, tr_config_keys_count);
    if (r->err) {
        size_t used = strlen(r->err->message);
        snprintf(r->err->message + used, sizeof r->err->message - used, "; %s: %s", more.where, more.message);
    }
    return status;
}

static tr_status refuse_unknown(const reader *r, json_t *root)
{
    const char *key, *below;
    json_t *value, *item;
    tr_status status = TR_OK;
    json_object_foreach(root, key, value)
    {
        if (is_key(key)) {
            continue;
        }
        if (!is_section(key)) {
            status = add_unknown(r, status, key, "");
            continue;
        }
        if (!status && !json_is_object(value) && !json_is_null(value)) {
            char where[512];
            return tr_fail(r->err, TR_FORMAT, place(r, key, where, sizeof where), "%s must be a mapping, found %s",
                           key, tr_json_type_name(value));
        }
        json_object_foreach(value, below, item)
        {
            char full[256], prefix[128];
            snprintf(full, sizeof full, "%s.%s", key, below);
            snprintf(prefix, sizeof prefix, "%s.", key);
            if (!is_key(full)) {
                status = add_unknown(r, status, full, prefix);
            }
        }
    }
    return status;
}

static json_t *lookup(const json_t *root, const char *name)
{
    char section[64];
    const char *dot = strchr(name, '.');
    if (!dot) {
        return json_object_get(root, name);
    }
    snprintf(section, sizeof section, "%.*s", (int)(dot - name), name);
    return json_object_get(json_object_get(root, section), dot + 1);
}

/* What no single key can say. */
static tr_status check_whole(const reader *r, const tr_config *c)
{
    char where[512];
    if (c->video.min_frames > c->video.max_frames) {
        return tr_fail(r->err, TR_INVALID, place(r, "video.min_frames", where, sizeof where),
                       "video.min_frames (%lld) is larger than video.max_frames (%lld)",
                       (long long)c->video.min_frames, (long long)c->video.max_frames);
    }
    if (c->video.min_pixels > c->video.total_pixels) {
        return tr_fail(r->err, TR_INVALID, place(r, "video.min_pixels", where, sizeof where),
                       "video.min_pixels (%lld) is larger than video.total_pixels (%lld)",
                       (long long)c->video.min_pixels, (long long)c->video.total_pixels);
    }
    if (c->algorithm == TR_ALGORITHM_GRPO && c->rollout.group < 2) {
        return tr_fail(
            r->err, TR_INVALID, place(r, "rollout.group", where, sizeof where),
            "rollout.group must be at least 2 for grpo: one response has no siblings to be compared with");
    }
    char why[320];
    const char *first;
    if (c->algorithm == TR_ALGORITHM_GRPO && tr_config_contradiction(c, &first, why, sizeof why)) {
        return tr_fail(r->err, TR_INVALID, place(r, first, where, sizeof where), "%s", why);
    }
    if (!c->train.lora.rank && c->train.freeze == (TR_FREEZE_TEXT | TR_FREEZE_VISION | TR_FREEZE_MERGER)) {
        return tr_fail(r->err, TR_INVALID, place(r, "train.freeze", where, sizeof where),
                       "train.freeze leaves nothing to train");
    }
    if ((c->train.eval_every || c->train.eval_loss_every) && !c->eval_count) {
        const char *key = c->train.eval_every ? "train.eval_every" : "train.eval_loss_every";
        return tr_fail(r->err, TR_INVALID, place(r, key, where, sizeof where),
                       "%s needs rows to evaluate on: give them under 'eval' as under 'data'", key);
    }
    const char *best = c->train.keep_best;
    if (best && !c->train.eval_every && !strncmp(best + (best[0] == '-'), "eval.", 5)) {
        return tr_fail(
            r->err, TR_INVALID, place(r, "train.keep_best", where, sizeof where),
            "train.keep_best: %s is a number of an evaluation, but train.eval_every is 0: set it, or choose "
            "a number of the training such as reward",
            best);
    }
    return TR_OK;
}

/* With an adapter the text below it is frozen, and the rest unless the configuration says otherwise. */
static void settle_freeze(tr_config *c)
{
    const unsigned all = TR_FREEZE_TEXT | TR_FREEZE_VISION | TR_FREEZE_MERGER;
    if (c->train.lora.rank) {
        c->train.freeze = c->train.freeze & TR_FREEZE_DEFAULT ? all : c->train.freeze | TR_FREEZE_TEXT;
    } else {
        c->train.freeze &= all;
    }
}

static tr_status read_stage(const reader *r, json_t *root, tr_config *config)
{
    tr_status status = refuse_unknown(r, root);
    for (size_t i = 0; !status && i < tr_config_keys_count; i++) {
        const tr_key *key = &tr_config_keys[i];
        const json_t *value = lookup(root, key->name);
        const char *preset = value ? NULL : tr_config_preset_value(config, key->name);
        status = value ? read_value(r, key->name, key, value, config)
                       : read_fallback(r, key->name, key, preset ? preset : key->fallback, config);
    }
    settle_freeze(config);
    if (!status && !config->train.exact && tr_config_on_gpu(config) && !lookup(root, "grpo.truncate_ratio")) {
        config->grpo.truncate_ratio = 2; /* sampling and training differ: their ratio is held */
    }
    return status ? status : check_whole(r, config);
}

/* ---- a file ---- */

static void config_free(tr_config *c)
{
    free_entries(c->data, c->data_count);
    free_entries(c->eval, c->eval_count);
    free(c->model);
    free(c->tokenizer);
    free(c->out);
    free(c->video.cache);
    free(c->train.keep_best);
    json_decref(c->train.lora.targets);
}

void tr_config_set_free(tr_config_set *set)
{
    if (set) {
        for (size_t i = 0; i < set->count; i++) {
            config_free(&set->stages[i]);
        }
        free(set->stages);
        free(set->out);
        memset(set, 0, sizeof *set);
    }
}

static tr_status add_stage(reader *r, json_t *root, json_t *stages, size_t index, const char *const *overrides,
                           size_t override_count, tr_config_set *set)
{
    json_t *merged = json_deep_copy(root), *stage = stages ? json_array_get(stages, index) : NULL;
    tr_status status = merged ? TR_OK : tr_fail(r->err, TR_MEMORY, r->name, "out of memory");
    tr_config *config = &set->stages[index];
    r->stage = stages ? (int)index : -1;
    r->given = json_object_get(r->overridden, "stages") ? stage : NULL;
    json_object_del(merged, "stages");
    if (!status && stages && !json_is_object(stage)) {
        char name[64], where[512];
        snprintf(name, sizeof name, "stages.%zu", index);
        r->stage = -1;
        status = tr_fail(r->err, TR_FORMAT, place(r, name, where, sizeof where),
                         "%s must be a mapping such as {algorithm: sft}, found %s", name, tr_json_type_name(stage));
    }
    if (!status) {
        json_t *copy = stages ? json_deep_copy(stage) : NULL;
        tr_config_lay_over(merged, copy);
        json_decref(copy);
        status = tr_config_override(merged, overrides, override_count, false, r->overridden, r->err);
    }
    status = status ? status : read_stage(r, merged, config);
    if (!status && !set->out && !(set->out = tr_strdup(config->out))) {
        status = tr_fail(r->err, TR_MEMORY, r->name, "out of memory");
    }
    if (!status && stages) { /* each stage is a run of its own below the whole */
        char *below =
            tr_format("%s/%zu-%s", config->out, index + 1, config->algorithm == TR_ALGORITHM_SFT ? "sft" : "grpo");
        char *cache = config->video.cache ? NULL : tr_format("%s/cache", config->out);
        free(config->out);
        config->out = below;
        config->video.cache = cache ? cache : config->video.cache;
    } else if (!status && !config->video.cache) {
        config->video.cache = tr_format("%s/cache", config->out);
    }
    if (!status && (!config->out || !config->video.cache)) {
        status = tr_fail(r->err, TR_MEMORY, r->name, "out of memory");
    }
    json_decref(merged);
    return status;
}

static tr_status read_all(reader *r, json_t *root, const char *const *overrides, size_t override_count,
                          tr_config_set *set)
{
    if (json_is_null(root)) {
        return tr_fail(
            r->err, TR_FORMAT, r->name,
            "the file is empty; the smallest configuration is three lines: 'model: FOLDER', 'out: FOLDER', "
            "'data: [ {rows: FILE.jsonl, videos: FOLDER} ]'");
    }
    if (!json_is_object(root)) {
        return tr_fail(r->err, TR_FORMAT, r->name, "a configuration is a mapping of keys, found %s",
                       tr_json_type_name(root));
    }
    tr_status status = tr_config_override(root, overrides, override_count, true, r->overridden, r->err);
    json_t *stages = json_object_get(root, "stages");
    stages = json_is_null(stages) ? NULL : stages; /* stages=null: one run, as without them */
    if (!status && stages && (!json_is_array(stages) || !json_array_size(stages))) {
        char where[512];
        status =
            tr_fail(r->err, TR_FORMAT, place(r, "stages", where, sizeof where),
                    "stages must be a list of mappings such as [ {algorithm: sft}, {algorithm: grpo} ], found %s",
                    json_is_array(stages) ? "an empty list" : tr_json_type_name(stages));
    }
    size_t count = stages ? json_array_size(stages) : 1;
    if (!status && !(set->stages = tr_calloc(count, sizeof *set->stages))) {
        status = tr_fail(r->err, TR_MEMORY, r->name, "out of memory");
    }
    for (size_t i = 0; !status && i < count; i++) {
        set->count = i + 1;
        status = add_stage(r, root, stages, i, overrides, override_count, set);
    }
    return status;
}

tr_status tr_config_parse(const char *text, size_t length, const char *name, const char *const *overrides,
                          size_t override_count, tr_config_set *set, tr_error *err)
{
    json_t *root = NULL;
    tr_yaml_places places = {0};
    char here[4096], *directory = tr_path_directory(name);
    reader r = {.name = name, .places = &places, .stage = -1, .overridden = json_object(), .err = err};
    tr_status status;
    memset(set, 0, sizeof *set);
    if (!getcwd(here, sizeof here)) {
        status = tr_fail(err, TR_IO, NULL, "the current directory cannot be read: %s", strerror(errno));
        goto done;
    }
    r.here = here;
    r.folder = directory ? resolve(here, directory) : NULL;
    if (!r.folder || !r.overridden) {
        status = tr_fail(err, TR_MEMORY, name, "out of memory");
        goto done;
    }
    TR_TRY(tr_yaml_parse(text, length, name, &root, &places, err));
    TR_TRY(read_all(&r, root, overrides, override_count, set));
done:
    if (status) {
        tr_config_set_free(set);
    }
    json_decref(root);
    json_decref(r.overridden);
    tr_yaml_places_free(&places);
    free(r.folder);
    free(directory);
    return status;
}

tr_status tr_config_read(const char *path, const char *const *overrides, size_t override_count, tr_config_set *set,
                         tr_error *err)
{
    tr_buffer text = {0};
    memset(set, 0, sizeof *set);
    tr_status status = tr_file_read(path, 1u << 20, &text, err);
    if (!status) {
        status = tr_config_parse(tr_buffer_text(&text), text.length, path, overrides, override_count, set, err);
    }
    tr_buffer_free(&text);
    return status;
}
