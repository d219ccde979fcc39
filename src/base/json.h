/* json.h: reading JSON (by jansson) with errors that say where, and typed access to members.
 *
 * A json_t * that a function hands out is owned by the caller (json_decref) unless it says borrowed.
 * NaN, infinities, duplicate keys and trailing text are refused when reading. */
#ifndef TR_BASE_JSON_H
#define TR_BASE_JSON_H

#include "base/buffer.h"
#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Parses one JSON value. name stands in errors as name:line:column; line is added to the line that jansson
 * counts (pass the number of lines before the text, 0 for a whole file). */
tr_status tr_json_parse(const char *text, size_t length, const char *name, long lines_before, json_t **out,
                        tr_error *err);

/* Parses a whole file. */
tr_status tr_json_read(const char *path, json_t **out, tr_error *err);

/* One compact line appended to out, numbers with 17 significant digits, keys in insertion order. */
tr_status tr_json_print(const json_t *value, tr_buffer *out, tr_error *err);

/* Writes value (indented) to path atomically. */
tr_status tr_json_write(const char *path, const json_t *value, tr_error *err);

/* Members of an object. where names the object in errors. `required` false leaves *out untouched when the member
 * is absent or null. A wrong type is TR_FORMAT and names key, expected and found types. */
tr_status tr_json_get_double(const json_t *object, const char *key, bool required, const char *where, double *out,
                             tr_error *err);
tr_status tr_json_get_int(const json_t *object, const char *key, bool required, const char *where, int64_t *out,
                          tr_error *err);
tr_status tr_json_get_bool(const json_t *object, const char *key, bool required, const char *where, bool *out,
                           tr_error *err);
tr_status tr_json_get_string(const json_t *object, const char *key, bool required, const char *where,
                             const char **out /* borrowed */, tr_error *err);

/* "an integer", "a string", ... for messages. */
const char *tr_json_type_name(const json_t *value);

#endif
