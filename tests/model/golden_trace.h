/* golden_trace.h: runs a golden case through tr_trace_run and holds everything that the case knows against it.
 *
 * Criterion: shared/golden/README.md. Probes of whole gradients follow from its rms limit r for n elements: the norm
 * differs by at most sqrt(n) r, the sum and the inner product with numbers below 1/2 by at most n r and n r / 2
 * (Cauchy-Schwarz). */
#ifndef TR_TESTS_MODEL_GOLDEN_TRACE_H
#define TR_TESTS_MODEL_GOLDEN_TRACE_H

#include "support/compare.h"
#include "support/shared.h"

#include "model/trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct golden_case {
    json_t *json;
    tr_safetensors in;
    tr_model *model;
    tr_safetensors_builder out;
    int compared, failed;
} golden_case;

static inline void golden_ok(tr_status status, const tr_error *err)
{
    if (status) {
        printf("%s: %s\n", err->where, err->message);
    }
    assert_int_equal(status, TR_OK);
}

/* checkpoint NULL: the case's own. */
static inline void golden_case_open(golden_case *g, const char *name, const char *checkpoint, tr_model_options options)
{
    char relative[160];
    tr_error err = {0};
    *g = (golden_case){0};
    snprintf(relative, sizeof relative, "golden/cases/%s.json", name);
    golden_ok(tr_json_read(need_shared(relative), &g->json, &err), &err);
    snprintf(relative, sizeof relative, "golden/cases/%s.safetensors", name);
    golden_ok(tr_safetensors_open(&g->in, need_shared(relative), &err), &err);
    snprintf(relative, sizeof relative, "golden/checkpoints/%s",
             checkpoint ? checkpoint : json_string_value(json_object_get(g->json, "checkpoint")));
    golden_ok(tr_model_load(need_shared(relative), &options, &g->model, &err), &err);
}

static inline void golden_case_close(golden_case *g)
{
    json_decref(g->json);
    tr_safetensors_close(&g->in);
    tr_model_free(g->model);
    tr_safetensors_builder_free(&g->out);
}

/* Runs the opened case. */
static inline void golden_trace(golden_case *g, bool backward)
{
    tr_trace_input input = {0};
    tr_error err = {0};
    golden_ok(tr_trace_input_read(&g->model->config, &g->in, &input, &err), &err);
    golden_ok(tr_trace_run(g->model, &input, backward, &g->out, &err), &err);
    tr_trace_input_free(&input);
}

static inline int golden_out(const golden_case *g, const char *name)
{
    char full[160];
    snprintf(full, sizeof full, "out/%s", name);
    for (size_t i = 0; i < g->out.count; i++) {
        if (!strcmp(g->out.entries[i].name, full)) {
            return (int)i;
        }
    }
    return -1;
}

static inline int64_t golden_elements(const tr_safetensors_entry *e)
{
    int64_t count = 1;
    for (int i = 0; i < e->rank; i++) {
        count *= e->shape[i];
    }
    return count;
}

static inline double golden_number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* The elements of out/NAME that truth/NAME holds: all, some rows of a gradient, or the last positions (and every
 * k-th column) of logits. */
static inline float *golden_pick(golden_case *g, const char *name, int out, const tr_safetensor *truth)
{
    const tr_safetensors_entry *e = &g->out.entries[out];
    const float *x = g->out.data[out];
    char key[160];
    snprintf(key, sizeof key, "in/grad_rows/%s", strncmp(name, "grad/", 5) ? name : name + 5);
    const tr_safetensor *rows = tr_safetensors_find(&g->in, key);
    float *picked = calloc((size_t)truth->elements + 1, sizeof *picked);
    assert_non_null(picked);
    assert_int_equal(e->dtype, TR_F32);
    int64_t all = golden_elements(e), columns = e->rank > 1 ? all / e->shape[0] : 1;
    if (rows) {
        assert_int_equal(truth->elements, rows->elements * columns);
        for (int64_t i = 0; i < rows->elements; i++) {
            int64_t row;
            memcpy(&row, rows->data + 8 * i, sizeof row);
            memcpy(picked + i * columns, x + row * columns, (size_t)columns * sizeof *x);
        }
    } else if (truth->rank == 2 && e->rank == 2 && truth->elements != all) {
        int64_t skip = (columns + truth->shape[1] - 1) / truth->shape[1], first = e->shape[0] - truth->shape[0];
        assert_true(first >= 0);
        for (int64_t i = 0; i < truth->elements; i++) {
            picked[i] = x[(first + i / truth->shape[1]) * columns + i % truth->shape[1] * skip];
        }
    } else {
        assert_int_equal(truth->elements, all);
        memcpy(picked, x, (size_t)all * sizeof *x);
    }
    return picked;
}

static inline void golden_compare(golden_case *g, const char *name, const char *out_name, const tr_safetensor *truth)
{
    tr_error err = {0};
    const json_t *what = json_object_get(json_object_get(g->json, "results"), name);
    int out = golden_out(g, out_name);
    if (out < 0 || !what) {
        printf("%s: no %s\n", name, out < 0 ? "output" : "entry in the case's description");
        g->failed++;
        return;
    }
    bool ok;
    if (json_is_true(json_object_get(what, "exact"))) {
        ok = g->out.entries[out].dtype == truth->dtype && golden_elements(&g->out.entries[out]) == truth->elements &&
             memcmp(g->out.data[out], truth->data, truth->bytes) == 0;
        if (!ok) {
            printf("%s: differs\n", name);
        }
    } else {
        double *t = calloc((size_t)truth->elements, sizeof *t);
        assert_non_null(t);
        golden_ok(tr_safetensors_copy(truth, 0, truth->elements, t, TR_F64, &err), &err);
        float *x = golden_pick(g, out_name, out, truth);
        ok = golden_close(name, x, t, (size_t)truth->elements, golden_number(what, "f32_max_err"),
                          golden_number(what, "f32_rms_err"), golden_number(what, "truth_max_abs"),
                          golden_number(what, "truth_rms"));
        free(t);
        free(x);
    }
    g->compared++;
    g->failed += !ok;
}

static inline void golden_probe(golden_case *g, const char *name, const json_t *probe)
{
    char full[160];
    snprintf(full, sizeof full, "grad/%s", name);
    int out = golden_out(g, full);
    assert_true(out >= 0);
    const float *x = g->out.data[out];
    int64_t n = golden_elements(&g->out.entries[out]);
    double sum = 0, square = 0, dot = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t hash = (uint32_t)((uint64_t)i * 2654435761u);
        sum += (double)x[i];
        square += (double)x[i] * (double)x[i];
        dot += (double)x[i] * ((double)hash * 0x1p-32 - 0.5);
    }
    const json_t *truth = json_object_get(probe, "truth");
    double l2 = golden_number(truth, "l2"), count = (double)n;
    double rms = 4 * golden_number(probe, "f32_rms_err") + 0x1p-23 * l2 / sqrt(count);
    bool ok = fabs(sqrt(square) - l2) <= sqrt(count) * rms && fabs(sum - golden_number(truth, "sum")) <= count * rms &&
              fabs(dot - golden_number(truth, "dot")) <= count * rms / 2;
    if (!ok) {
        printf("probe of %s: %.9g %.9g %.9g\n", name, sum, sqrt(square), dot);
    }
    g->compared++;
    g->failed += !ok;
}

/* Everything that the case holds; fails the test unless at least `least` results were compared and all fit. */
static inline void golden_case_compare(golden_case *g, bool gradients, int least)
{
    for (size_t i = 0; i < g->in.count; i++) {
        const tr_safetensor *t = &g->in.items[i];
        bool other = strstr(t->name, "grad_t0.7") != NULL;
        if (strncmp(t->name, "truth/", 6) == 0 && !other && (gradients || strncmp(t->name + 6, "grad", 4) != 0)) {
            golden_compare(g, t->name + 6, t->name + 6, t);
        }
    }
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(g->json, "scalars"), key, value)
    {
        int out = golden_out(g, key);
        if (out >= 0 && (gradients || strcmp(key, "grad_norm") != 0)) {
            double x;
            memcpy(&x, g->out.data[out], sizeof x);
            g->compared++;
            g->failed += !golden_scalar(key, x, golden_number(value, "truth"), golden_number(value, "f32_err"));
        }
    }
    if (gradients) {
        json_object_foreach(json_object_get(g->json, "grad_probes"), key, value)
        {
            golden_probe(g, key, value);
        }
    }
    if (g->failed || g->compared < least) {
        printf("%d results compared (at least %d), %d failed\n", g->compared, least, g->failed);
    }
    assert_int_equal(g->failed, 0);
    assert_true(g->compared >= least);
}

static inline void golden_run(const char *name, const char *isa, bool backward, int least)
{
    golden_case g;
    golden_case_open(&g, name, NULL, (tr_model_options){.dtype = TR_F32, .train = backward, .isa = isa});
    golden_trace(&g, backward);
    golden_case_compare(&g, backward, least);
    golden_case_close(&g);
}

/* Runs a case with the default kernels and with the plain reference. */
static inline void golden_run_both(const char *name, bool backward, int least)
{
    golden_run(name, NULL, backward, least);
    golden_run(name, "reference", backward, least);
}

#endif
