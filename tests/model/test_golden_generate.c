/* test_golden_generate.c: prefill and decoding against the reference's greedy generations (tokens equal, log-probs
 * by the criterion), a real clip's logits from its stored frames, and bf16 weights within the noise of bf16. */
#include "support/golden.h"

enum { MAX_TOKENS = 64 };

/* Greedy decoding of `tokens` tokens after a prompt; logits of the prompt's last position stay in `first`. */
static void generate(tr_model *model, const tr_trace_row *row, int64_t tokens, int64_t *ids, float *logp,
                     float *first)
{
    int64_t vocab = model->config.vocab, zero = 0;
    tr_network_limits limits = {.patches = row->patches,
                                .prompt_tokens = row->count,
                                .decode_rows = 1,
                                .decode_groups = 1,
                                .decode_tokens = tokens};
    tr_network *network;
    tr_group prompt = tr_trace_group(row);
    tr_visual visual = tr_trace_visual(row);
    float *logits = tr_calloc((size_t)vocab, sizeof *logits);
    prompt.prompt_targets = NULL;
    golden_ok(tr_network_create(model, &limits, &network, &err_));
    golden_ok(tr_network_vision_forward(network, &visual, false, row->features, &err_));
    golden_ok(tr_network_prefill(network, 0, &prompt, logits, &err_));
    if (first) {
        memcpy(first, logits, (size_t)vocab * sizeof *first);
    }
    for (int64_t i = 0; i < tokens; i++) {
        int32_t best = 0;
        for (int32_t id = 1; id < vocab; id++) {
            best = logits[id] > logits[best] ? id : best;
        }
        model->host_ops->logsoftmax_forward(&logp[i], NULL, NULL, logits, &best, 1, vocab, 1.0f);
        ids[i] = best;
        if (i + 1 < tokens) {
            golden_ok(tr_network_decode(network, &zero, &zero, &i, &best, 1, logits, &err_));
        }
    }
    free(logits);
    tr_network_free(network);
}

static void check_tokens(const golden *g, const int64_t *ids, const float *logp)
{
    const tr_safetensor *tokens = tr_safetensors_find(&g->file, "truth/generated_ids");
    const tr_safetensor *truth = tr_safetensors_find(&g->file, "truth/generated_logp");
    assert_non_null(tokens);
    assert_non_null(truth);
    int64_t *expected = golden_values(tokens, TR_I64);
    double *values = golden_values(truth, TR_F64);
    assert_memory_equal(ids, expected, (size_t)tokens->elements * sizeof *ids);
    assert_true(golden_floats_close(json_object_get(json_object_get(g->json, "results"), "generated_logp"),
                                    "generated_logp", logp, values, (size_t)truth->elements));
    free(expected);
    free(values);
}

/* The prompt's tensors stand under in/prompt_...; responses are what is asked for. */
static void case_of(const char *name)
{
    golden g;
    golden_read(&g, name);
    const tr_model_options options = {.dtype = TR_F32, .device = GOLDEN_DEVICE};
    tr_model *model = golden_model(json_string_value(json_object_get(g.json, "checkpoint")), &options);
    const tr_safetensor *tokens = tr_safetensors_find(&g.file, "truth/generated_ids");
    int64_t ids[MAX_TOKENS];
    float logp[MAX_TOKENS];
    tr_trace_row row;
    assert_non_null(tokens);
    assert_in_range(tokens->elements, 1, MAX_TOKENS);
    golden_ok(tr_trace_prompt_read(&model->config, &g.file, "in/prompt_", &row, &err_));
    generate(model, &row, tokens->elements, ids, logp, NULL);
    check_tokens(&g, ids, logp);
    tr_trace_row_free(&row);
    tr_model_free(model);
    golden_free(&g);
}

static void test_generate_nano(void **state)
{
    (void)state;
    case_of("generate-nano");
}

static void test_generate_micro(void **state)
{
    (void)state;
    case_of("generate-micro");
}

static void test_generate_vocab(void **state)
{
    (void)state;
    case_of("generate-vocab");
}

/* ---- a real clip ---- */

/* Patch rows of frames [T, 3, H, W] (bytes), normalised with the published mean and deviation (spec 3.0 and 6.6).
 */
static float *patches_of(const uint8_t *frames, const int32_t grid[3])
{
    static const double mean[3] = {0.48145466, 0.4578275, 0.40821073},
                        deviation[3] = {0.26862954, 0.26130258, 0.27577711};
    int64_t h = grid[1], w = grid[2], high = 14 * h, wide = 14 * w, rows = grid[0] * h * w;
    float *out = tr_calloc((size_t)rows, 1176 * sizeof *out);
    assert_non_null(out);
    for (int64_t r = 0; r < rows; r++) {
        int64_t mx = r % 2, my = r / 2 % 2, x = r / 4 % (w / 2), y = r / 4 / (w / 2) % (h / 2), t = r / (h * w);
        for (int64_t k = 0; k < 1176; k++) {
            int64_t px = k % 14, py = k / 14 % 14, f = k / 196 % 2, c = k / 392;
            int64_t at = (((2 * t + f) * 3 + c) * high + (2 * y + my) * 14 + py) * wide + (2 * x + mx) * 14 + px;
            out[r * 1176 + k] = (float)((frames[at] / 255.0 - mean[c]) / deviation[c]);
        }
    }
    return out;
}

static void test_real_clip(void **state)
{
    (void)state;
    golden g;
#if defined(__SANITIZE_ADDRESS__)
    if (GOLDEN_DEVICE) { /* never a GPU: CUDA is not built with the sanitizers */
        skip_test("this clip takes the emulated device more than ten minutes under a sanitizer");
    }
#endif
    golden_read(&g, "endtoend-square");
    const tr_model_options options = {.dtype = TR_F32, .device = GOLDEN_DEVICE};
    tr_model *model = golden_model("vocab", &options);
    const tr_safetensor *ids = tr_safetensors_find(&g.file, "truth/input_ids");
    int32_t grid[1][3];
    for (size_t i = 0; i < 3; i++) {
        grid[0][i] = (int32_t)json_integer_value(json_array_get(json_object_get(g.json, "grid_thw"), i));
    }
    tr_trace_row row = {.count = ids->elements,
                        .patches = (int64_t)grid[0][0] * grid[0][1] * grid[0][2],
                        .grids = grid,
                        .grid_count = 1};
    row.visual = row.patches / 4;
    row.ids = golden_values(ids, TR_I32);
    row.pixels = patches_of(tr_safetensors_find(&g.file, "truth/frames_u8")->data, grid[0]);
    row.features = tr_calloc((size_t)row.visual, (size_t)model->config.hidden * sizeof *row.features);
    row.positions = tr_calloc((size_t)row.count, 3 * sizeof *row.positions);
    double seconds = json_number_value(json_object_get(g.json, "second_per_grid"));
    golden_ok(tr_positions(&model->config, row.ids, row.count, (const int32_t(*)[3])grid, 1, &seconds,
                           row.positions, NULL, &err_));
    int32_t *positions = golden_values(tr_safetensors_find(&g.file, "truth/position_ids"), TR_I32);
    assert_memory_equal(positions, row.positions, (size_t)(3 * row.count) * sizeof *positions);

    int64_t tokens[16];
    float logp[16], top[50], *logits = tr_calloc((size_t)model->config.vocab, sizeof *logits);
    generate(model, &row, 16, tokens, logp, logits);
    check_tokens(&g, tokens, logp);
    int64_t *best = golden_values(tr_safetensors_find(&g.file, "truth/top50_ids"), TR_I64);
    double *truth = golden_values(tr_safetensors_find(&g.file, "truth/top50_logits"), TR_F64);
    for (int i = 0; i < 50; i++) {
        top[i] = logits[best[i]];
    }
    assert_true(golden_floats_close(json_object_get(json_object_get(g.json, "results"), "top50_logits"),
                                    "top50_logits", top, truth, 50));
    row.grids = NULL; /* on the stack */
    tr_trace_row_free(&row);
    free(positions);
    free(logits);
    free(best);
    free(truth);
    tr_model_free(model);
    golden_free(&g);
}

/* ---- bf16 ---- */

/* Weights rounded to bf16, arithmetic in f32: within twice the recorded noise of the f32 weights' truth; and
 * against the float64 truth on rounded weights only f32 rounding remains, which is what group-micro's f32 run
 * shows. A GPU rounds activations too, as the recorded run did: there the noise is the whole criterion. */
static void test_bf16(void **state)
{
    (void)state;
    golden g, group;
    golden_read(&g, "bf16-micro");
    golden_read(&group, "group-micro");
    const tr_model_options options = {.dtype = TR_BF16, .device = GOLDEN_DEVICE};
    tr_model *model = golden_model("micro", &options);
    golden_run(&group, model, false);
    const tr_safetensor *logp = tr_safetensors_find(&group.result, "out/logp_t1");
    const tr_safetensor *truth = tr_safetensors_find(&g.file, "truth/logp_t1");
    const tr_safetensor *rounded = tr_safetensors_find(&g.file, "truth/logp_t1_bf16_weights");
    assert_non_null(logp);
    const json_t *noise = json_object_get(json_object_get(g.json, "noise"), "bf16_vs_truth");
    float *x = golden_values(logp, TR_F32);
    double *a = golden_values(truth, TR_F64), *b = golden_values(rounded, TR_F64), worst = 0, square = 0;
    for (int64_t i = 0; i < logp->elements; i++) {
        double d = fabs((double)x[i] - a[i]);
        worst = d > worst ? d : worst;
        square += d * d;
    }
    double rms = sqrt(square / (double)logp->elements);
    printf("bf16 weights: max error %.3g, rms error %.3g\n", worst, rms);
    assert_true(worst <= 2 * json_number_value(json_object_get(noise, "max")));
    assert_true(rms <= 2 * json_number_value(json_object_get(noise, "rms")));
    const json_t *f32 = json_object_get(json_object_get(group.json, "results"), "logp_t1");
    if (model->ops->memory->host) {
        assert_true(golden_floats_close(f32, "logp_t1 on bf16 weights", x, b, (size_t)logp->elements));
    }
    free(x);
    free(a);
    free(b);
    tr_model_free(model);
    golden_free(&g);
    golden_free(&group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate_nano),  cmocka_unit_test(test_generate_micro),
        cmocka_unit_test(test_generate_vocab), cmocka_unit_test(test_real_clip),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
