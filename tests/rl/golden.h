/* golden.h: the few lines that the tests of src/rl need to read tensors of a golden case. */
#ifndef TR_TESTS_RL_GOLDEN_H
#define TR_TESTS_RL_GOLDEN_H

#include "support/compare.h"
#include "support/shared.h"

#include "base/file.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct golden {
    json_t *json, *header;
    tr_file_map map;
    const uint8_t *data;
} golden;

/* Opens golden/cases/NAME.json and NAME.safetensors; skips the test where they are absent. */
static inline void golden_open(golden *g, const char *name)
{
    char relative[128];
    uint64_t length;
    snprintf(relative, sizeof relative, "golden/cases/%s.json", name);
    assert_int_equal(tr_json_read(need_shared(relative), &g->json, NULL), TR_OK);
    snprintf(relative, sizeof relative, "golden/cases/%s.safetensors", name);
    assert_int_equal(tr_file_map_open(&g->map, need_shared(relative), NULL), TR_OK);
    memcpy(&length, g->map.data, 8);
    assert_int_equal(tr_json_parse((const char *)g->map.data + 8, (size_t)length, name, 0, &g->header, NULL),
                     TR_OK);
    g->data = g->map.data + 8 + length;
}

static inline void golden_close_case(golden *g)
{
    json_decref(g->json);
    json_decref(g->header);
    tr_file_map_close(&g->map);
}

/* A tensor's bytes; fails the test when it is absent. */
static inline const void *golden_tensor(const golden *g, const char *name, size_t *count)
{
    const json_t *entry = json_object_get(g->header, name);
    if (!entry) {
        printf("no tensor %s\n", name);
    }
    assert_non_null(entry);
    size_t elements = 1, index;
    json_t *value;
    json_array_foreach(json_object_get(entry, "shape"), index, value)
    {
        elements *= (size_t)json_integer_value(value);
    }
    *count = elements;
    return g->data + json_integer_value(json_array_get(json_object_get(entry, "data_offsets"), 0));
}

/* A float64 tensor rounded to float32; free() frees it. */
static inline float *golden_floats(const golden *g, const char *name, size_t *count)
{
    const double *x = golden_tensor(g, name, count);
    float *out = malloc(*count * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < *count; i++) {
        out[i] = (float)x[i];
    }
    return out;
}

/* Compares with truth/NAME by the goldens' criterion. */
static inline bool golden_check(const golden *g, const char *name, const float *x)
{
    char key[160];
    size_t count;
    const json_t *what = json_object_get(json_object_get(g->json, "results"), name);
    snprintf(key, sizeof key, "truth/%s", name);
    const double *truth = golden_tensor(g, key, &count);
    assert_non_null(what);
    return golden_close(name, x, truth, count, json_number_value(json_object_get(what, "f32_max_err")),
                        json_number_value(json_object_get(what, "f32_rms_err")),
                        json_number_value(json_object_get(what, "truth_max_abs")),
                        json_number_value(json_object_get(what, "truth_rms")));
}

#endif
