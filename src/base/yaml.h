/* yaml.h: reading YAML (by libfyaml) into JSON values that remember their lines.
 *
 * Plain scalars follow YAML's core schema (null, true/false, integers, floats; 1e-6 is a float); quoted ones are
 * strings. Aliases are resolved, duplicate keys refused. */
#ifndef TR_BASE_YAML_H
#define TR_BASE_YAML_H

#include "base/json.h"

/* Where each value stands: one entry per value, path as "/video/fps" or "/data/0/rows". */
typedef struct tr_yaml_place {
    char *path;
    int line, column; /* from 1 */
} tr_yaml_place;
typedef struct tr_yaml_places {
    tr_yaml_place *items;
    size_t count, capacity;
} tr_yaml_places;

/* Parses a file; *root is owned by the caller (json_decref), places by tr_yaml_places_free. places may be NULL. */
tr_status tr_yaml_read(const char *path, json_t **root, tr_yaml_places *places, tr_error *err);

/* The same from text; name stands in errors. */
tr_status tr_yaml_parse(const char *text, size_t length, const char *name, json_t **root, tr_yaml_places *places,
                        tr_error *err);

/* One scalar as YAML reads it ("8" an integer, "[1, 2]" a list): for key=value on the command line. */
tr_status tr_yaml_value(const char *text, json_t **out, tr_error *err);

void tr_yaml_places_free(tr_yaml_places *places);

/* The line of a path, or 0 when unknown. */
int tr_yaml_line(const tr_yaml_places *places, const char *path);

#endif
