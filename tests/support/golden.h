/* golden.h: reads a golden case, runs it through the network (tr_trace_run) and compares every truth tensor, scalar
 * and probe with it by the goldens' criterion; or gives its tensors to a test that computes something else with
 * them. For the tests of src/model and what stands above; nothing here knows a single case. */
#ifndef TR_TESTS_SUPPORT_GOLDEN_H
#define TR_TESTS_SUPPORT_GOLDEN_H

#include "support/compare.h"
#include "support/shared.h"

#include "model/trace.h"
#include "tensor/cuda/cuda.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the cases are computed: NULL, the CPU, unless a test is compiled for a device (tests/CMakeLists.txt). */
#ifndef GOLDEN_DEVICE
#define GOLDEN_DEVICE NULL
#endif

typedef struct golden {
    const char *name;
    json_t *json;
    tr_safetensors file;   /* in/..., truth/... */
    tr_safetensors result; /* out/... */
    int compared;
} golden;

#define golden_ok(call)                                                                                            \
    do {                                                                                                           \
        tr_error err_ = {0};                                                                                       \
        if ((call) != TR_OK) {                                                                                     \
            printf("%s: %s: %s\n", #call, err_.where, err_.message);                                               \
            fail();                                                                                                \
        }                                                                                                          \
    } while (0)

static inline void golden_read(golden *g, const char *name)
{
    char relative[160];
    const char *device = GOLDEN_DEVICE;
    tr_cuda_info info;
    memset(g, 0, sizeof *g);
    if (device) {
        tr_cuda_describe(&info);
        if (info.missing) {
            printf("SKIP: no GPU: %s\n", info.missing);
            skip();
        }
    }
    g->name = name;
    snprintf(relative, sizeof relative, "golden/cases/%s.json", name);
    golden_ok(tr_json_read(need_shared(relative), &g->json, &err_));
    snprintf(relative, sizeof relative, "golden/cases/%s.safetensors", name);
    golden_ok(tr_safetensors_open(&g->file, need_shared(relative), &err_));
}

static inline void golden_free(golden *g)
{
    json_decref(g->json);
    tr_safetensors_close(&g->file);
    tr_safetensors_close(&g->result);
}

/* ---- single tensors ---- */

/* A tensor's bytes; fails the test when it is absent. */
static inline const void *golden_tensor(const golden *g, const char *name, size_t *count)
{
    const tr_safetensor *t = tr_safetensors_find(&g->file, name);
    if (!t) {
        fail_msg("%s: no tensor %s", g->name, name);
    }
    *count = t ? (size_t)t->elements : 0;
    return t ? t->data : NULL;
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

static inline bool golden_floats_close(const json_t *what, const char *name, const float *x, const double *truth,
                                       size_t count)
{
    return golden_close(name, x, truth, count, json_number_value(json_object_get(what, "f32_max_err")),
                        json_number_value(json_object_get(what, "f32_rms_err")),
                        json_number_value(json_object_get(what, "truth_max_abs")),
                        json_number_value(json_object_get(what, "truth_rms")));
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
    return golden_floats_close(what, name, x, truth, count);
}

/* ---- whole cases ---- */

static inline tr_model *golden_model(const char *checkpoint, const tr_model_options *options)
{
    char relative[160];
    tr_model *model = NULL;
    snprintf(relative, sizeof relative, "golden/checkpoints/%s", checkpoint);
    golden_ok(tr_model_load(need_shared(relative), options, &model, &err_));
    return model;
}

/* Runs the case on a model and keeps the results. */
static inline void golden_run(golden *g, tr_model *model, bool backward)
{
    tr_trace_input input;
    tr_safetensors_builder builder = {0};
    char file[96];
    snprintf(file, sizeof file, "%s.safetensors", g->name);
    const char *path = scratch_path(file);
    golden_ok(tr_trace_input_read(&model->config, &g->file, &input, &err_));
    golden_ok(tr_trace_run(model, &input, backward, &builder, &err_));
    golden_ok(tr_safetensors_builder_write(&builder, path, &err_));
    tr_safetensors_close(&g->result);
    golden_ok(tr_safetensors_open(&g->result, path, &err_));
    tr_safetensors_builder_free(&builder);
    tr_trace_input_free(&input);
}

static inline void *golden_values(const tr_safetensor *t, tr_dtype dtype)
{
    void *data = tr_calloc((size_t)t->elements, tr_dtype_size(dtype));
    assert_non_null(data);
    golden_ok(tr_safetensors_copy(t, 0, t->elements, data, dtype, &err_));
    return data;
}

static inline bool golden_exact(const tr_safetensor *truth, const tr_safetensor *x)
{
    int64_t *a = golden_values(truth, TR_I64), *b = golden_values(x, TR_I64);
    bool ok = truth->elements == x->elements && !memcmp(a, b, (size_t)truth->elements * sizeof *a);
    free(a);
    free(b);
    if (!ok) {
        printf("%s: not equal\n", truth->name);
    }
    return ok;
}

/* The part of a result that a golden file keeps: listed rows of a gradient, the last rows and every n-th column of
 * the logits, else the whole. */
static inline float *golden_part(const golden *g, const char *name, const tr_safetensor *truth,
                                 const tr_safetensor *x)
{
    char key[192];
    float *all = golden_values(x, TR_F32);
    snprintf(key, sizeof key, "in/grad_rows/%s", !strncmp(name, "grad/", 5) ? name + 5 : name);
    const tr_safetensor *listed = tr_safetensors_find(&g->file, key);
    if (truth->elements == x->elements) {
        return all;
    }
    float *part = tr_calloc((size_t)truth->elements, sizeof *part);
    assert_non_null(part);
    int64_t columns = x->elements / x->shape[0];
    if (listed) {
        int64_t *rows = golden_values(listed, TR_I64);
        assert_int_equal(listed->elements * columns, truth->elements);
        for (int64_t i = 0; i < listed->elements; i++) {
            memcpy(part + i * columns, all + rows[i] * columns, (size_t)columns * sizeof *part);
        }
        free(rows);
    } else {
        assert_string_equal(name, "logits");
        int64_t step = columns / truth->shape[1], first = x->shape[0] - truth->shape[0];
        for (int64_t i = 0; i < truth->elements; i++) {
            part[i] = all[(first + i / truth->shape[1]) * columns + i % truth->shape[1] * step];
        }
    }
    free(all);
    return part;
}

/* Every truth tensor of the case has its result, and they agree; returns how many do not. */
static inline int golden_compare(golden *g)
{
    int bad = 0;
    for (size_t i = 0; i < g->file.count; i++) {
        const tr_safetensor *truth = &g->file.items[i];
        char key[192];
        if (strncmp(truth->name, "truth/", 6)) {
            continue;
        }
        const char *name = truth->name + 6;
        const json_t *what = json_object_get(json_object_get(g->json, "results"), name);
        snprintf(key, sizeof key, "out/%s", name);
        const tr_safetensor *x = tr_safetensors_find(&g->result, key);
        g->compared++;
        if (!x) {
            printf("%s: no %s\n", g->name, key);
            bad++;
        } else if (json_is_true(json_object_get(what, "exact"))) {
            bad += !golden_exact(truth, x);
        } else {
            double *values = golden_values(truth, TR_F64);
            float *part = golden_part(g, name, truth, x);
            bad += !golden_floats_close(what, name, part, values, (size_t)truth->elements);
            free(values);
            free(part);
        }
    }
    return bad;
}

/* Every scalar of the case's JSON; returns how many differ. */
static inline int golden_compare_scalars(golden *g)
{
    int bad = 0;
    const char *name;
    json_t *what;
    json_object_foreach(json_object_get(g->json, "scalars"), name, what)
    {
        char key[192];
        double x = NAN;
        snprintf(key, sizeof key, "out/%s", name);
        const tr_safetensor *t = tr_safetensors_find(&g->result, key);
        if (t) {
            golden_ok(tr_safetensors_copy(t, 0, 1, &x, TR_F64, &err_));
        }
        g->compared++;
        bad += !golden_scalar(name, x, json_number_value(json_object_get(what, "truth")),
                              json_number_value(json_object_get(what, "f32_err")));
    }
    return bad;
}

/* sum, l2 and dot of whole gradients against the probes under `key` of the JSON. The error of a sum of n elements
 * with the criterion's rms error e each is at most n * e, by Cauchy-Schwarz; the same holds for dot (weights below
 * 1) and sqrt(n) * e for l2. */
static inline int golden_compare_probes(golden *g, const char *probes)
{
    int bad = 0;
    const char *name;
    json_t *what;
    json_object_foreach(json_object_get(g->json, probes), name, what)
    {
        char key[192];
        snprintf(key, sizeof key, "out/grad/%s", name);
        const tr_safetensor *t = tr_safetensors_find(&g->result, key);
        g->compared++;
        if (!t) {
            printf("%s: no %s\n", g->name, key);
            bad++;
            continue;
        }
        double *x = golden_values(t, TR_F64), sum = 0, squares = 0, dot = 0;
        for (int64_t i = 0; i < t->elements; i++) {
            double weight = (double)(((uint64_t)i * 2654435761u) & 0xffffffffu) / 4294967296.0 - 0.5;
            sum += x[i];
            squares += x[i] * x[i];
            dot += x[i] * weight;
        }
        const json_t *truth = json_object_get(what, "truth");
        double count = (double)t->elements, l2 = json_number_value(json_object_get(truth, "l2"));
        double rms = 4 * json_number_value(json_object_get(what, "f32_rms_err")) + 0x1p-23 * l2 / sqrt(count);
        double found[3] = {sum, sqrt(squares), dot}, limit[3] = {count * rms, sqrt(count) * rms, count * rms / 2};
        static const char *const names[3] = {"sum", "l2", "dot"};
        for (int k = 0; k < 3; k++) {
            double expected = json_number_value(json_object_get(truth, names[k]));
            if (!(fabs(found[k] - expected) <= limit[k])) {
                printf("%s: %s of %s: %.12g for %.12g (limit %.3g)\n", g->name, names[k], name, found[k], expected,
                       limit[k]);
                bad++;
            }
        }
        free(x);
    }
    return bad;
}

/* One whole case on its checkpoint. */
static inline void golden_case(const char *name, bool backward)
{
    golden g;
    golden_read(&g, name);
    const tr_model_options options = {.dtype = TR_F32, .train = backward, .device = GOLDEN_DEVICE};
    tr_model *model = golden_model(json_string_value(json_object_get(g.json, "checkpoint")), &options);
    golden_run(&g, model, backward);
    int bad = golden_compare(&g);
    if (backward) {
        bad += golden_compare_scalars(&g) + golden_compare_probes(&g, "grad_probes");
    }
    printf("%s: %d comparisons, %d bad\n", name, g.compared, bad);
    assert_true(g.compared > 0);
    assert_int_equal(bad, 0);
    tr_model_free(model);
    golden_free(&g);
}

#endif
