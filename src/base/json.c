/* json.c: reading JSON with errors that say where, and typed access to members. */
#include "base/json.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

tr_status tr_json_parse(const char *text, size_t length, const char *name, long lines_before, json_t **out,
                        tr_error *err)
{
    json_error_t detail;
    if (!lines_before && length >= 3 &&
        !memcmp(text, "\xEF\xBB\xBF", 3)) { /* a byte order mark, as editors write */
        text += 3;
        length -= 3;
    }
    *out = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &detail);
    if (!*out) {
        char where[512];
        snprintf(where, sizeof where, "%s:%ld:%d", name, lines_before + detail.line, detail.column);
        return tr_fail(err, TR_FORMAT, where, "not valid JSON: %s", detail.text);
    }
    return TR_OK;
}

tr_status tr_json_read(const char *path, json_t **out, tr_error *err)
{
    tr_buffer text = {0};
    *out = NULL;
    tr_status status = tr_file_read(path, 0, &text, err);
    if (!status) {
        status = tr_json_parse(tr_buffer_text(&text), text.length, path, 0, out, err);
    }
    tr_buffer_free(&text);
    return status;
}

static int add_bytes(const char *bytes, size_t count, void *buffer)
{
    return tr_buffer_add(buffer, bytes, count, NULL) ? -1 : 0;
}

tr_status tr_json_print(const json_t *value, tr_buffer *out, tr_error *err)
{
    size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17);
    if (json_dump_callback(value, add_bytes, out, flags)) {
        return tr_fail(err, TR_MEMORY, NULL, "a JSON value could not be written out");
    }
    return TR_OK;
}

tr_status tr_json_write(const char *path, const json_t *value, tr_error *err)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    if (!text) {
        return tr_fail(err, TR_MEMORY, path, "out of memory while writing JSON");
    }
    size_t length = strlen(text);
    text[length] = '\n';
    tr_status status = tr_file_write_atomic(path, text, length + 1, err);
    free(text);
    return status;
}

const char *tr_json_type_name(const json_t *value)
{
    if (!value) {
        return "nothing";
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "an unknown type";
}

static tr_status member(const json_t *object, const char *key, bool required, const char *where,
                        const char *expected, const json_t **out, tr_error *err)
{
    *out = json_object_get(object, key);
    if (json_is_null(*out)) {
        *out = NULL;
    }
    if (!*out && required) {
        return tr_fail(err, TR_FORMAT, where, "the field \"%s\" (%s) is missing", key, expected);
    }
    return TR_OK;
}

static tr_status wrong_type(const char *key, const char *expected, const json_t *found, const char *where,
                            tr_error *err)
{
    return tr_fail(err, TR_FORMAT, where, "the field \"%s\" must be %s, found %s", key, expected,
                   tr_json_type_name(found));
}

tr_status tr_json_get_double(const json_t *object, const char *key, bool required, const char *where, double *out,
                             tr_error *err)
{
    const json_t *value;
    tr_status status = member(object, key, required, where, "a number", &value, err);
    if (status || !value) {
        return status;
    }
    if (!json_is_number(value)) {
        return wrong_type(key, "a number", value, where, err);
    }
    *out = json_number_value(value);
    return TR_OK;
}

tr_status tr_json_get_int(const json_t *object, const char *key, bool required, const char *where, int64_t *out,
                          tr_error *err)
{
    const json_t *value;
    tr_status status = member(object, key, required, where, "an integer", &value, err);
    if (status || !value) {
        return status;
    }
    if (!json_is_integer(value)) {
        return wrong_type(key, "an integer", value, where, err);
    }
    *out = json_integer_value(value);
    return TR_OK;
}

tr_status tr_json_get_bool(const json_t *object, const char *key, bool required, const char *where, bool *out,
                           tr_error *err)
{
    const json_t *value;
    tr_status status = member(object, key, required, where, "true or false", &value, err);
    if (status || !value) {
        return status;
    }
    if (!json_is_boolean(value)) {
        return wrong_type(key, "true or false", value, where, err);
    }
    *out = json_is_true(value);
    return TR_OK;
}

tr_status tr_json_get_string(const json_t *object, const char *key, bool required, const char *where,
                             const char **out, tr_error *err)
{
    const json_t *value;
    tr_status status = member(object, key, required, where, "a string", &value, err);
    if (status || !value) {
        return status;
    }
    if (!json_is_string(value)) {
        return wrong_type(key, "a string", value, where, err);
    }
    *out = json_string_value(value);
    return TR_OK;
}
