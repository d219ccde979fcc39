/* test_golden_group.c: packed groups and SFT rows against the reference: log-probs, entropies, losses and every
 * gradient; the reference ran each [prompt | response] as a sequence of its own. */
#include "support/golden.h"

static void test_group_nano(void **state)
{
    (void)state;
    golden_case("group-nano", true);
}

static void test_group_micro(void **state)
{
    (void)state;
    golden_case("group-micro", true);
}

static void test_two_groups(void **state)
{
    (void)state;
    golden_case("group-nano-two-groups", true);
}

static void test_sft(void **state)
{
    (void)state;
    golden_case("sft-nano", true);
}

/* The model's gradients as a trace would keep them. */
static void keep_gradients(golden *g, const tr_model *model)
{
    tr_safetensors_builder builder = {0};
    const char *path = scratch_path("hot.safetensors");
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        char name[160];
        float *rows = tr_calloc((size_t)(p->out * p->in), sizeof *rows);
        assert_non_null(rows);
        const tr_matrix flat = {TR_F32, p->out, p->matrix ? p->in : 1, p->gradient};
        if (p->matrix) {
            p->memory->unpack(&flat, rows, TR_F32, 0, p->out);
        } else {
            p->memory->read(rows, p->gradient, (size_t)p->out * sizeof *rows);
        }
        snprintf(name, sizeof name, "out/grad/%s", p->name);
        golden_ok(tr_safetensors_builder_add(&builder, name, TR_F32, p->rank, p->shape, rows, &err_));
        free(rows);
    }
    golden_ok(tr_safetensors_builder_write(&builder, path, &err_));
    tr_safetensors_close(&g->result);
    golden_ok(tr_safetensors_open(&g->result, path, &err_));
    tr_safetensors_builder_free(&builder);
}

/* The gradients of -sum(weight * log-prob at temperature 0.7): the files keep their probes alone. */
static void hot(const char *name)
{
    golden g;
    tr_trace_input input;
    tr_network *network;
    const tr_model_options options = {.dtype = TR_F32, .train = true, .device = GOLDEN_DEVICE};
    golden_read(&g, name);
    tr_model *model = golden_model(json_string_value(json_object_get(g.json, "checkpoint")), &options);
    golden_ok(tr_trace_input_read(&model->config, &g.file, &input, &err_));
    const tr_network_limits limits = tr_trace_limits(&input, true);
    golden_ok(tr_network_create(model, &limits, &network, &err_));
    tr_model_zero_gradients(model);
    for (int64_t r = 0, at = 0; r < input.count; at += input.rows[r++].tokens) {
        const tr_trace_row *row = &input.rows[r];
        const tr_visual visual = tr_trace_visual(row);
        const tr_group group = tr_trace_group(row);
        float *logp = tr_calloc((size_t)row->tokens, 2 * sizeof *logp), *dlogp = logp + row->tokens;
        float *dfeatures = tr_calloc((size_t)row->visual, (size_t)model->config.hidden * sizeof *dfeatures);
        assert_true(logp && dfeatures);
        for (int64_t i = 0; i < row->tokens; i++) {
            dlogp[i] = -input.weights[at + i];
        }
        golden_ok(tr_network_vision_forward(network, &visual, true, row->features, &err_));
        golden_ok(tr_network_group_forward(network, &group, 0.7f, true, logp, NULL, &err_));
        golden_ok(tr_network_group_backward(network, &group, dlogp, NULL, dfeatures, &err_));
        golden_ok(tr_network_vision_backward(network, &visual, dfeatures, &err_));
        free(logp);
        free(dfeatures);
    }
    keep_gradients(&g, model);
    int bad = golden_compare_probes(&g, "grad_t0.7_probes");
    printf("%s at 0.7: %d comparisons, %d bad\n", name, g.compared, bad);
    assert_true(g.compared > 10);
    assert_int_equal(bad, 0);
    tr_network_free(network);
    tr_trace_input_free(&input);
    tr_model_free(model);
    golden_free(&g);
}

static void test_gradients_at_another_temperature(void **state)
{
    (void)state;
    hot("group-nano");
    hot("group-micro");
    hot("group-nano-two-groups");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_nano),
        cmocka_unit_test(test_group_micro),
        cmocka_unit_test(test_two_groups),
        cmocka_unit_test(test_sft),
        cmocka_unit_test(test_gradients_at_another_temperature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
