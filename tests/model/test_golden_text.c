/* test_golden_text.c: the decoder against the reference: embeddings with features, layers, final norm, logits of
 * all positions, next-token log-probs, rope tables, and every copy of a checkpoint. */
#include "support/golden.h"

static void test_nano(void **state)
{
    (void)state;
    golden_case("text-nano-plain", false);
    golden_case("text-nano-image", false);
    golden_case("text-nano-video", false);
    golden_case("text-nano-mixed", false);
}

static void test_micro(void **state)
{
    (void)state;
    golden_case("text-micro-video", false);
}

static void test_real_vocabulary(void **state)
{
    (void)state;
    golden_case("text-vocab-video", false);
}

/* The last position's logits of every copy: layouts, shards, 16-bit weights, prefixed names. */
static void test_copies(void **state)
{
    (void)state;
    golden g;
    golden_read(&g, "load-nano-copies");
    const char *name;
    json_t *what;
    int bad = 0;
    json_object_foreach(json_object_get(g.json, "results"), name, what)
    {
        char key[128];
        const tr_model_options options = {.dtype = TR_F32, .device = GOLDEN_DEVICE};
        tr_model *model = golden_model(name + strlen("logits/"), &options);
        golden_run(&g, model, false);
        const tr_safetensor *logits = tr_safetensors_find(&g.result, "out/logits");
        assert_non_null(logits);
        snprintf(key, sizeof key, "truth/%s", name);
        const tr_safetensor *truth = tr_safetensors_find(&g.file, key);
        assert_non_null(truth);
        float *all = golden_values(logits, TR_F32);
        double *values = golden_values(truth, TR_F64);
        bad += !golden_floats_close(what, name, all + logits->elements - truth->elements, values,
                                    (size_t)truth->elements);
        g.compared++;
        free(all);
        free(values);
        tr_model_free(model);
    }
    printf("load-nano-copies: %d comparisons, %d bad\n", g.compared, bad);
    assert_true(g.compared >= 8);
    assert_int_equal(bad, 0);
    golden_free(&g);
}

static void tables(const char *name)
{
    golden g;
    golden_read(&g, name);
    const tr_model_options options = {.dtype = TR_F32, .device = GOLDEN_DEVICE};
    tr_model *model = golden_model(json_string_value(json_object_get(g.json, "checkpoint")), &options);
    const tr_model_config *c = &model->config;
    const tr_safetensor *given = tr_safetensors_find(&g.file, "in/position_ids");
    assert_non_null(given);
    int64_t rows = given->shape[1], half = c->head_dim / 2;
    int32_t *positions = golden_values(given, TR_I32);
    const size_t bytes = (size_t)(rows * half) * sizeof(float);
    float *both[2] = {malloc(bytes), malloc(bytes)};
    void *there[2];
    for (int i = 0; i < 2; i++) {
        golden_ok(model->ops->memory->take(&there[i], bytes, true, &err_));
    }
    model->ops->rope_mrope_table(there[0], there[1], positions, rows, c->head_dim, c->mrope_sections,
                                 c->rope_theta);
    for (int i = 0; i < 2; i++) {
        assert_non_null(both[i]);
        model->ops->memory->read(both[i], there[i], bytes);
        model->ops->memory->give(there[i]);
    }
    for (int i = 0; i < 2; i++) {
        const char *key = i ? "sin" : "cos";
        const tr_safetensor *truth = tr_safetensors_find(&g.file, i ? "truth/sin" : "truth/cos");
        assert_non_null(truth);
        assert_int_equal(truth->elements, rows * half);
        double *values = golden_values(truth, TR_F64);
        assert_true(golden_floats_close(json_object_get(json_object_get(g.json, "results"), key), key, both[i],
                                        values, (size_t)truth->elements));
        free(values);
        free(both[i]);
    }
    free(positions);
    tr_model_free(model);
    golden_free(&g);
}

static void test_rope_tables(void **state)
{
    (void)state;
    tables("rope-nano-tables");
    tables("rope-micro-tables");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nano),   cmocka_unit_test(test_micro),       cmocka_unit_test(test_real_vocabulary),
        cmocka_unit_test(test_copies), cmocka_unit_test(test_rope_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
