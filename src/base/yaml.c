/* yaml.c: reading YAML into JSON values that remember their lines. */
#include "base/yaml.h"

#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <libfyaml.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const char *name;
    tr_yaml_places *places;
    tr_error *err;
} reader;

static tr_status convert(reader *r, struct fy_node *node, const char *path, int line, int column, json_t **out);

/* The mark of a scalar's token; mappings and lists have none and take their key's or parent's. */
static void find_mark(struct fy_node *scalar, int *line, int *column)
{
    struct fy_token *token =
        scalar && fy_node_get_type(scalar) == FYNT_SCALAR ? fy_node_get_scalar_token(scalar) : NULL;
    const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;
    if (mark) {
        *line = mark->line + 1;
        *column = mark->column + 1;
    }
}

static tr_status note_place(reader *r, const char *path, int line, int column)
{
    if (!r->places) {
        return TR_OK;
    }
    tr_status status =
        tr_grow(&r->places->items, &r->places->capacity, r->places->count + 1, sizeof *r->places->items, r->err);
    if (status) {
        return status;
    }
    tr_yaml_place *place = &r->places->items[r->places->count];
    place->path = tr_strdup(path);
    place->line = line;
    place->column = column;
    if (!place->path) {
        return tr_fail(r->err, TR_MEMORY, r->name, "out of memory");
    }
    r->places->count++;
    return TR_OK;
}

static json_t *plain_scalar(const char *text)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    static const char *const yes[] = {"true", "True", "TRUE"}, *const no[] = {"false", "False", "FALSE"};
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++) {
        if (!strcmp(text, nulls[i])) {
            return json_null();
        }
    }
    for (size_t i = 0; i < 3; i++) {
        if (!strcmp(text, yes[i]) || !strcmp(text, no[i])) {
            return json_boolean(text[0] == 't' || text[0] == 'T');
        }
    }
    /* Only what starts like a number may be one: strtod would also take "inf", "nan" and hexadecimal floats. */
    const char *digits = text + (text[0] == '-' || text[0] == '+');
    bool numeric =
        (digits[0] >= '0' && digits[0] <= '9') || (digits[0] == '.' && digits[1] >= '0' && digits[1] <= '9');
    if (numeric && !strpbrk(text, "xXpP")) {
        char *end;
        errno = 0;
        long long integer = strtoll(text, &end, 10);
        if (!*end && !errno) {
            return json_integer(integer);
        }
        double real = strtod(text, &end);
        if (!*end && isfinite(real)) {
            return json_real(real);
        }
    }
    return json_string(text);
}

static tr_status convert_scalar(reader *r, struct fy_node *node, const char *place, json_t **out)
{
    size_t length = 0;
    const char *text = fy_node_get_scalar(node, &length);
    char *copy = tr_strndup(text ? text : "", length);
    if (!copy) {
        return tr_fail(r->err, TR_MEMORY, place, "out of memory");
    }
    *out = fy_node_get_style(node) == FYNS_PLAIN ? plain_scalar(copy) : json_stringn(copy, length);
    free(copy);
    return *out ? TR_OK : tr_fail(r->err, TR_FORMAT, place, "a text here is not valid UTF-8");
}

static tr_status convert_mapping(reader *r, struct fy_node *node, const char *path, int line, int column,
                                 json_t *object)
{
    void *cursor = NULL;
    for (struct fy_node_pair *pair; (pair = fy_node_mapping_iterate(node, &cursor));) {
        size_t length = 0;
        const char *text = fy_node_get_scalar(fy_node_pair_key(pair), &length);
        char place[512];
        find_mark(fy_node_pair_key(pair), &line, &column);
        snprintf(place, sizeof place, "%s:%d", r->name, line);
        char *key = text ? tr_strndup(text, length) : NULL;
        if (!key) {
            return tr_fail(r->err, TR_FORMAT, place, "a key must be a plain text");
        }
        tr_status status = TR_OK;
        json_t *value = NULL;
        char *below = tr_format("%s/%s", path, key);
        if (!below) {
            status = tr_fail(r->err, TR_MEMORY, place, "out of memory");
        } else if (json_object_get(object, key)) {
            status = tr_fail(r->err, TR_FORMAT, place, "the key \"%s\" stands here twice", key);
        } else {
            status = convert(r, fy_node_pair_value(pair), below, line, column, &value);
        }
        if (!status && json_object_set_new(object, key, value)) {
            status = tr_fail(r->err, TR_FORMAT, place, "the key \"%s\" is not valid UTF-8", key);
        }
        free(below);
        free(key);
        if (status) {
            return status;
        }
    }
    return TR_OK;
}

static tr_status convert_sequence(reader *r, struct fy_node *node, const char *path, int line, int column,
                                  json_t *array)
{
    void *cursor = NULL;
    for (struct fy_node *item; (item = fy_node_sequence_iterate(node, &cursor));) {
        char *below = tr_format("%s/%zu", path, json_array_size(array));
        json_t *value = NULL;
        find_mark(item, &line, &column);
        tr_status status = below ? convert(r, item, below, line, column, &value)
                                 : tr_fail(r->err, TR_MEMORY, r->name, "out of memory");
        free(below);
        if (status) {
            return status;
        }
        json_array_append_new(array, value);
    }
    return TR_OK;
}

static tr_status convert(reader *r, struct fy_node *node, const char *path, int line, int column, json_t **out)
{
    *out = NULL;
    if (!node) {
        *out = json_null();
        return note_place(r, path, line, column);
    }
    tr_status status = note_place(r, path, line, column);
    if (status) {
        return status;
    }
    char place[512];
    snprintf(place, sizeof place, "%s:%d", r->name, line);
    switch (fy_node_get_type(node)) {
    case FYNT_SCALAR:
        return convert_scalar(r, node, place, out);
    case FYNT_MAPPING:
        *out = json_object();
        status = *out ? convert_mapping(r, node, path, line, column, *out)
                      : tr_fail(r->err, TR_MEMORY, place, "out of memory");
        break;
    case FYNT_SEQUENCE:
        *out = json_array();
        status = *out ? convert_sequence(r, node, path, line, column, *out)
                      : tr_fail(r->err, TR_MEMORY, place, "out of memory");
        break;
    }
    if (status) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}

static tr_status parse_failed(struct fy_diag *diag, const char *name, tr_error *err)
{
    void *cursor = NULL;
    struct fy_diag_error *first = diag ? fy_diag_errors_iterate(diag, &cursor) : NULL;
    if (!first) {
        return tr_fail(err, TR_FORMAT, name, "not valid YAML");
    }
    char where[512];
    snprintf(where, sizeof where, "%s:%d:%d", name, first->line, first->column);
    return tr_fail(err, TR_FORMAT, where, "not valid YAML: %s", first->msg);
}

/* Only blanks, comments and document marks: the library has no document for that. */
static bool is_blank(const char *text, size_t length)
{
    for (const char *p = text, *end = text + length; p < end; p++) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        line_end = line_end ? line_end : end;
        p += !strncmp(p, "---", 3) || !strncmp(p, "...", 3) ? 3 : 0;
        while (p < line_end && (*p == ' ' || *p == '\t' || *p == '\r')) {
            p++;
        }
        if (p < line_end && *p != '#') {
            return false;
        }
        p = line_end;
    }
    return true;
}

/* The line of the first byte that is not UTF-8; 0 where there is none. */
static int find_bad_utf8(const char *text, size_t length)
{
    int line = 1;
    for (const char *at = text, *end = text + length; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        json_t *probe = json_stringn(at, (size_t)(stop - at));
        if (!probe) {
            return line;
        }
        json_decref(probe);
        at = stop + 1;
    }
    return 0;
}

/* A file with a second document, of which only the first would be read. The mark stands at the start of a line,
 * where no text of a document can. */
static tr_status refuse_second(const char *text, size_t length, const char *name, tr_error *err)
{
    bool begun = false;
    int line = 1;
    for (const char *at = text, *end = text + length; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        bool mark = stop - at >= 3 && !memcmp(at, "---", 3) && (stop - at == 3 || strchr(" \t\r", at[3]));
        if (mark && begun && !is_blank(at, (size_t)(end - at))) {
            char where[512];
            snprintf(where, sizeof where, "%s:%d", name, line);
            return tr_fail(err, TR_FORMAT, where, "a second YAML document begins here; only one is possible");
        }
        begun = begun || mark || (*at != '%' && !is_blank(at, (size_t)(stop - at)));
        at = stop + 1;
    }
    return TR_OK;
}

tr_status tr_yaml_parse(const char *text, size_t length, const char *name, json_t **root, tr_yaml_places *places,
                        tr_error *err)
{
    *root = NULL;
    if (memchr(text, 0, length)) {
        return tr_fail(err, TR_FORMAT, name, "not valid YAML: the text holds a NUL byte");
    }
    int bad = find_bad_utf8(text, length);
    if (bad) {
        char where[512];
        snprintf(where, sizeof where, "%s:%d", name, bad);
        return tr_fail(err, TR_FORMAT, where, "not valid UTF-8; save the file in that encoding");
    }
    if (length >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) { /* a byte order mark, as editors write */
        text += 3;
        length -= 3;
    }
    if (is_blank(text, length)) {
        *root = json_null();
        return TR_OK;
    }
    if (refuse_second(text, length, name, err)) {
        return TR_FORMAT;
    }
    struct fy_diag_cfg diag_config;
    fy_diag_cfg_default(&diag_config);
    diag_config.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&diag_config);
    if (diag) {
        fy_diag_set_collect_errors(diag, true);
    }
    struct fy_parse_cfg config = {.flags = FYPCF_RESOLVE_DOCUMENT | FYPCF_QUIET, .diag = diag};
    struct fy_document *document = fy_document_build_from_string(&config, text, length);
    tr_status status;
    if (!document) {
        status = parse_failed(diag, name, err);
    } else {
        reader r = {name, places, err};
        status = convert(&r, fy_document_root(document), "", 1, 1, root);
    }
    fy_document_destroy(document);
    if (diag) {
        fy_diag_destroy(diag);
    }
    if (status && places) {
        tr_yaml_places_free(places);
    }
    return status;
}

tr_status tr_yaml_read(const char *path, json_t **root, tr_yaml_places *places, tr_error *err)
{
    tr_buffer text = {0};
    *root = NULL;
    tr_status status = tr_file_read(path, 16u << 20, &text, err);
    if (!status) {
        status = tr_yaml_parse(tr_buffer_text(&text), text.length, path, root, places, err);
    }
    tr_buffer_free(&text);
    return status;
}

tr_status tr_yaml_value(const char *text, json_t **out, tr_error *err)
{
    return tr_yaml_parse(text, strlen(text), "command line", out, NULL, err);
}

void tr_yaml_places_free(tr_yaml_places *places)
{
    if (places) {
        for (size_t i = 0; i < places->count; i++) {
            free(places->items[i].path);
        }
        free(places->items);
        memset(places, 0, sizeof *places);
    }
}

int tr_yaml_line(const tr_yaml_places *places, const char *path)
{
    for (size_t i = 0; places && i < places->count; i++) {
        if (!strcmp(places->items[i].path, path)) {
            return places->items[i].line;
        }
    }
    return 0;
}
