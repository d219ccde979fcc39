/* test_group.c: rollout, policy loss and gradients through the whole network: grpo-nano and the greedy generations
 * of the goldens; on a random model, that a response does not depend on its batch and that the gap is 0. */
#include "support/golden.h"

#include "base/random.h"
#include "rl/policy.h"
#include "rl/rollout.h"

#include <math.h>

typedef struct prompt {
    int32_t *ids, *positions, (*grids)[3];
    float *patches, *features;
    int64_t count, visual_tokens, grid_count;
    tr_visual visual;
} prompt;

static const void *part(const golden *g, const char *prefix, const char *name, size_t *count)
{
    char key[96];
    snprintf(key, sizeof key, "in/%s%s", prefix, name);
    return golden_tensor(g, key, count);
}

/* An int64 tensor as int32; free() frees it. */
static int32_t *narrow(const golden *g, const char *prefix, const char *name, size_t *count)
{
    const int64_t *values = part(g, prefix, name, count);
    int32_t *out = malloc(*count * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < *count; i++) {
        out[i] = (int32_t)values[i];
    }
    return out;
}

/* GRPO's cases say prompt_input_ids, SFT's input_ids. */
static void prompt_read(prompt *p, const golden *g, const char *where, int64_t hidden)
{
    size_t count;
    char prefix[32];
    snprintf(prefix, sizeof prefix, "%s%s", where, strstr(where, "row") ? "" : "prompt_");
    p->ids = narrow(g, prefix, "input_ids", &count);
    p->count = (int64_t)count;
    p->positions = narrow(g, prefix, "position_ids", &count);
    p->grids = (void *)narrow(g, prefix, "video_grid_thw", &count);
    p->grid_count = (int64_t)count / 3;
    const uint8_t *pixels = part(g, prefix, "video_pixels_u8", &count);
    p->patches = malloc(count * sizeof *p->patches);
    for (size_t i = 0; i < count; i++) {
        p->patches[i] = (float)((int)pixels[i] - 128) / 64;
    }
    p->visual = (tr_visual){p->patches, (int64_t)count / 1176, (const int32_t(*)[3])p->grids, p->grid_count};
    p->visual_tokens = p->visual.rows / 4;
    p->features = calloc((size_t)(p->visual_tokens * hidden), sizeof *p->features);
}

static void prompt_free(prompt *p)
{
    free(p->ids);
    free(p->positions);
    free(p->grids);
    free(p->patches);
    free(p->features);
}

static tr_group group_of(const prompt *p)
{
    return (tr_group){.prompt_ids = p->ids,
                      .positions = p->positions,
                      .prompt = p->count,
                      .features = p->features,
                      .visual_tokens = p->visual_tokens};
}

static tr_model *load(const char *checkpoint, bool train)
{
    tr_model *model;
    tr_error err = {0};
    char relative[96];
    tr_model_options options = {.dtype = TR_F32, .train = train, .device = GOLDEN_DEVICE};
    snprintf(relative, sizeof relative, "golden/checkpoints/%s", checkpoint);
    need_ok(tr_model_load(need_shared(relative), &options, &model, &err), &err);
    return model;
}

/* ---- gradients of grpo-kl ---- */

/* The gradient of a parameter, the golden's rows of it. kind: "grad" or "grad_grpo-kl". */
static void check_gradient(const golden *g, const char *kind, const tr_param *p)
{
    char key[160];
    size_t rows = 0, count;
    const int64_t *index = NULL;
    snprintf(key, sizeof key, "in/%s_rows/%s", kind, p->name);
    if (tr_safetensors_find(&g->file, key)) {
        index = golden_tensor(g, key, &rows);
    } else {
        rows = (size_t)p->out;
    }
    float *x = malloc(rows * (size_t)p->in * sizeof *x),
          *all = malloc((size_t)p->out * (size_t)p->in * sizeof *all);
    const tr_matrix gradient = {.dtype = TR_F32, .out = p->out, .in = p->in, .panels = p->gradient};
    assert_non_null(x);
    assert_non_null(all);
    if (p->matrix) {
        p->memory->unpack(&gradient, all, TR_F32, 0, p->out);
    } else {
        p->memory->read(all, p->gradient, (size_t)p->out * sizeof *all);
    }
    for (size_t i = 0; i < rows; i++) {
        int64_t row = index ? index[i] : (int64_t)i;
        for (int64_t c = 0; c < p->in; c++) {
            x[(int64_t)i * p->in + c] = all[row * p->in + c];
        }
    }
    snprintf(key, sizeof key, "truth/%s/%s", kind, p->name);
    const void *truth = golden_tensor(g, key, &count);
    bool wide = tr_safetensors_find(&g->file, key)->dtype == TR_F64;
    double *t = malloc(count * sizeof *t);
    tr_convert(t, TR_F64, truth, wide ? TR_F64 : TR_F32, (int64_t)count);
    assert_int_equal(count, rows * (size_t)p->in);
    const json_t *what = json_object_get(json_object_get(g->json, "results"), key + 6);
    assert_non_null(what);
    assert_true(golden_close(p->name, x, t, count, json_number_value(json_object_get(what, "f32_max_err")),
                             json_number_value(json_object_get(what, "f32_rms_err")),
                             json_number_value(json_object_get(what, "truth_max_abs")),
                             json_number_value(json_object_get(what, "truth_rms"))));
    free(t);
    free(x);
    free(all);
}

typedef struct one_group {
    int32_t *ids;
    int64_t tokens;
    const int64_t *lengths;
    prompt p;
} one_group;

static void test_grpo_gradients_through_the_network(void **state)
{
    (void)state;
    golden g;
    golden_read(&g, "grpo-nano");
    tr_model *model = load("nano", true), *reference = load("nano-ref", false);
    tr_network_limits limits = {.patches = 72,
                                .prompt_tokens = 45,
                                .response_tokens = 26,
                                .responses = 4,
                                .targets = 26,
                                .train_text = true,
                                .train_vision = true,
                                .recompute = TR_RECOMPUTE_LAYER};
    tr_network *network, *frozen;
    tr_error err = {0};
    need_ok(tr_network_create(model, &limits, &network, &err), &err);
    limits.train_text = limits.train_vision = false;
    need_ok(tr_network_create(reference, &limits, &frozen, &err), &err);
    int64_t hidden = model->config.hidden, at = 0;
    float logp[67], entropy[67], ref[67], dlogp[67], *dfeatures = calloc((size_t)(18 * hidden), sizeof *dfeatures);
    size_t count;
    float *old = golden_floats(&g, "in/old_logp", &count);
    const double *advantages = golden_tensor(&g, "in/advantages", &count);
    tr_policy policy = {TR_RATIO_TOKEN, TR_LOSS_SEQUENCE, TR_KL_K3, 0.2, 0.2, 0.04, 0, 0};
    tr_policy_sums sums = {0};
    tr_model_zero_gradients(model);
    for (int i = 0; i < 3; i++) {
        char prefix[16];
        one_group o;
        snprintf(prefix, sizeof prefix, "group%d/", i);
        prompt_read(&o.p, &g, prefix, hidden);
        o.ids = narrow(&g, prefix, "response_ids", &count);
        o.tokens = (int64_t)count;
        o.lengths = part(&g, prefix, "response_lengths", &count);
        tr_group group = group_of(&o.p);
        group.response_ids = o.ids;
        group.lengths = o.lengths;
        group.responses = (int64_t)count;
        need_ok(tr_network_vision_forward(frozen, &o.p.visual, false, o.p.features, &err), &err);
        need_ok(tr_network_group_forward(frozen, &group, 1, false, ref + at, NULL, &err), &err);
        need_ok(tr_network_vision_forward(network, &o.p.visual, true, o.p.features, &err), &err);
        need_ok(tr_network_group_forward(network, &group, 1, true, logp + at, entropy + at, &err), &err);
        tr_policy_input in = {
            4, o.lengths, advantages + 4 * i, logp + at, old + at, ref + at, entropy + at, 12, 67, 0, NULL, NULL};
        tr_policy_loss(&policy, &in, &sums, dlogp + at, NULL);
        need_ok(tr_network_group_backward(network, &group, dlogp + at, NULL, dfeatures, &err), &err);
        need_ok(tr_network_vision_backward(network, &o.p.visual, dfeatures, &err), &err);
        at += o.tokens;
        free(o.ids);
        prompt_free(&o.p);
    }
    assert_int_equal(at, 67);
    assert_true(golden_check(&g, "logp", logp));
    assert_true(golden_check(&g, "entropy", entropy));
    assert_true(golden_check(&g, "ref_logp", ref));
    const json_t *loss = json_object_get(json_object_get(g.json, "scalars"), "model_loss/grpo-kl");
    assert_true(golden_scalar("loss", sums.loss, json_number_value(json_object_get(loss, "truth")),
                              json_number_value(json_object_get(loss, "f32_err"))));
    for (int i = 0; i < model->params.count; i++) {
        check_gradient(&g, "grad_grpo-kl", &model->params.items[i]);
    }
    free(old);
    free(dfeatures);
    tr_network_free(network);
    tr_network_free(frozen);
    tr_model_free(model);
    tr_model_free(reference);
    golden_free(&g);
}

/* Where the clip of a prompt ends. */
static int64_t clip_end(const tr_model *model, const prompt *p)
{
    int64_t end = 0;
    for (int64_t i = 0; i < p->count; i++) {
        end = p->ids[i] == model->config.video_id || p->ids[i] == model->config.image_id ? i + 1 : end;
    }
    return end;
}

/* The row as SFT packs it: the part before the questions is the prompt, all that follows one response whose tokens
 * without a label have weight 0. No label may stand in the prompt. */
static tr_group split_group(const prompt *p, int64_t cut, int32_t *positions, int64_t *length)
{
    tr_group group = group_of(p);
    for (int axis = 0; axis < 3; axis++) {
        memcpy(positions + axis * cut, p->positions + axis * p->count, (size_t)cut * sizeof *positions);
    }
    *length = p->count - cut;
    group.prompt = cut;
    group.positions = positions;
    group.response_ids = p->ids + cut;
    group.lengths = length;
    group.responses = 1;
    return group;
}

/* Loss and gradients of sft-nano's rows (labels anywhere, one has a hole): as a prompt whose rows are targets, or
 * packed as SFT does it (split). */
static void check_sft(bool split)
{
    golden g;
    golden_read(&g, "sft-nano");
    tr_model *model = load("nano", true);
    tr_network_limits limits = {.patches = 48,
                                .prompt_tokens = 51,
                                .responses = 1,
                                .response_tokens = split ? 51 : 0,
                                .targets = 51,
                                .train_text = true,
                                .train_vision = true};
    tr_network *network;
    tr_error err = {0};
    need_ok(tr_network_create(model, &limits, &network, &err), &err);
    int64_t hidden = model->config.hidden, kept = json_integer_value(json_object_get(g.json, "kept_tokens"));
    float logp[51], entropy[51], dlogp[51], *dfeatures = calloc((size_t)(12 * hidden), sizeof *dfeatures);
    tr_policy_sums sums = {0};
    tr_model_zero_gradients(model);
    for (int i = 0; i < 2; i++) {
        char prefix[16];
        prompt p;
        size_t count;
        int32_t targets[51], positions[3 * 51];
        int64_t n = 0, length;
        snprintf(prefix, sizeof prefix, "row%d/", i);
        prompt_read(&p, &g, prefix, hidden);
        const int64_t *labels = part(&g, prefix, "labels", &count);
        const int64_t cut = split ? clip_end(model, &p) + 1 : 0;
        for (size_t k = 0; k < count; k++) { /* position k predicts the label of k + 1 */
            targets[k] = k + 1 < count && labels[k + 1] >= 0 ? (int32_t)labels[k + 1] : -1;
            assert_true(!split || (int64_t)k >= cut || labels[k] < 0);
            assert_true(labels[k] < 0 || labels[k] == p.ids[k]);
        }
        tr_group group = group_of(&p);
        group.prompt_targets = targets;
        if (split) {
            group = split_group(&p, cut, positions, &length);
            memmove(targets, targets + cut - 1, (size_t)length * sizeof *targets);
            count = (size_t)length;
        }
        need_ok(tr_network_vision_forward(network, &p.visual, true, p.features, &err), &err);
        need_ok(tr_network_group_forward(network, &group, 1, true, logp, entropy, &err), &err);
        for (size_t k = 0; k < count; k++) {
            dlogp[k] = 0;
            if (targets[k] >= 0) {
                tr_supervised_loss(logp + k, entropy + k, 1, kept, &sums, dlogp + k);
                n++;
            }
        }
        assert_true(n > 5);
        need_ok(tr_network_group_backward(network, &group, dlogp, NULL, dfeatures, &err), &err);
        need_ok(tr_network_vision_backward(network, &p.visual, dfeatures, &err), &err);
        prompt_free(&p);
    }
    assert_int_equal(sums.tokens, kept);
    const json_t *loss = json_object_get(json_object_get(g.json, "scalars"), "loss");
    assert_true(golden_scalar("loss", sums.loss, json_number_value(json_object_get(loss, "truth")),
                              json_number_value(json_object_get(loss, "f32_err"))));
    for (int i = 0; i < model->params.count; i++) {
        check_gradient(&g, "grad", &model->params.items[i]);
    }
    free(dfeatures);
    tr_network_free(network);
    tr_model_free(model);
    golden_free(&g);
}

static void test_sft_gradients_through_the_network(void **state)
{
    (void)state;
    check_sft(false);
}

static void test_sft_gradients_when_packed(void **state)
{
    (void)state;
    check_sft(true);
}

/* ---- greedy generations ---- */

static void check_generation(const char *name, const char *checkpoint)
{
    golden g;
    prompt p;
    size_t count;
    tr_error err = {0};
    golden_read(&g, name);
    tr_model *model = load(checkpoint, false);
    prompt_read(&p, &g, "", model->config.hidden);
    tr_network_limits limits = {.patches = p.visual.rows,
                                .prompt_tokens = p.count,
                                .decode_rows = 1,
                                .decode_groups = 1,
                                .decode_tokens = 32};
    tr_network *network;
    tr_rollout *rollout;
    tr_rollout_group answer;
    need_ok(tr_network_create(model, &limits, &network, &err), &err);
    need_ok(tr_rollout_create(network, &limits, model, 1, 1, 32, &rollout, &err), &err);
    need_ok(tr_network_vision_forward(network, &p.visual, false, p.features, &err), &err);
    tr_sampling greedy = {
        .temperature = 0, .top_p = 1, .max_tokens = 32}; /* no end ids: the golden's loop has none */
    tr_rollout_prompt asked = {group_of(&p), 0, 0};
    need_ok(tr_rollout_run(rollout, &asked, 1, 1, &greedy, 1, 1, &answer, NULL, NULL, NULL, &err), &err);
    const int64_t *ids = golden_tensor(&g, "truth/generated_ids", &count);
    assert_int_equal(answer.tokens, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(answer.ids[i], ids[i]);
    }
    assert_true(golden_check(&g, "generated_logp", answer.logp));
    tr_rollout_free(rollout);
    tr_network_free(network);
    tr_model_free(model);
    prompt_free(&p);
    golden_free(&g);
}

static void test_greedy_generations_equal_the_reference(void **state)
{
    (void)state;
    check_generation("generate-nano", "nano");
    check_generation("generate-micro", "micro");
    check_generation("generate-vocab", "vocab");
}

/* ---- a random model ---- */

enum { PROMPTS = 5, RESPONSES = 3, TOKENS = 21 /* more than one key tile of 16 */, VOCAB = 512 };

static tr_model *random_model(tr_dtype dtype)
{
    tr_model_config config;
    tr_model *model;
    tr_error err = {0};
    tr_model_options options = {.dtype = dtype};
    need_ok(tr_model_config_preset("nano", &config, &err), &err);
    need_ok(tr_model_create(&config, &options, 3, &model, &err), &err);
    for (int i = 0; i < model->params.count;
         i++) { /* sharper than a fresh model, whose tokens are nearly uniform */
        tr_param *p = &model->params.items[i];
        if (p->matrix && dtype == TR_F32) {
            float *x = p->value.panels;
            for (int64_t k = 0; k < p->elements; k++) {
                x[k] *= 6;
            }
        }
    }
    return model;
}

typedef struct bench {
    tr_model *model;
    tr_network *network;
    tr_rollout *rollout;
    tr_network_limits limits;
    int32_t ids[PROMPTS][40], positions[PROMPTS][120];
    tr_rollout_prompt asked[PROMPTS];
    uint8_t banned[VOCAB];
    int64_t ends[1];
    tr_sampling sampling;
} bench;

static void bench_open(bench *b, tr_dtype dtype, int64_t rows, int64_t slots)
{
    tr_error err = {0};
    memset(b, 0, sizeof *b);
    b->model = random_model(dtype);
    b->limits = (tr_network_limits){.prompt_tokens = 40,
                                    .responses = RESPONSES,
                                    .response_tokens = RESPONSES * TOKENS,
                                    .targets = RESPONSES * TOKENS,
                                    .decode_rows = rows,
                                    .decode_groups = slots,
                                    .decode_tokens = TOKENS};
    need_ok(tr_network_create(b->model, &b->limits, &b->network, &err), &err);
    need_ok(tr_rollout_create(b->network, &b->limits, b->model, PROMPTS, RESPONSES, TOKENS, &b->rollout, &err),
            &err);
    for (int p = 0; p < PROMPTS; p++) {
        int64_t count = 13 + 5 * p; /* around a key tile and beyond two */
        for (int64_t i = 0; i < count; i++) {
            b->ids[p][i] = (int32_t)tr_random_below(7, (uint32_t)p, (uint32_t)i, 0, 0, 400);
            for (int axis = 0; axis < 3; axis++) {
                b->positions[p][axis * count + i] = (int32_t)i;
            }
        }
        b->asked[p] = (tr_rollout_prompt){
            {.prompt_ids = b->ids[p], .positions = b->positions[p], .prompt = count}, (uint32_t)(100 + p), 0};
    }
    b->banned[3] = 1;
    b->ends[0] = 5;
    for (int i = 256; i < VOCAB; i++) {
        b->banned[i] = 1;
    }
    b->sampling = (tr_sampling){.temperature = 0.8,
                                .top_p = 1,
                                .max_tokens = TOKENS,
                                .banned = b->banned,
                                .end_ids = b->ends,
                                .end_count = 1};
}

static void bench_close(bench *b)
{
    tr_rollout_free(b->rollout);
    tr_network_free(b->network);
    tr_model_free(b->model);
}

static void test_a_response_does_not_depend_on_its_batch(void **state)
{
    (void)state;
    bench whole, narrow_batch;
    tr_error err = {0};
    tr_rollout_group all[PROMPTS], one;
    bench_open(&whole, TR_F32, PROMPTS * RESPONSES, PROMPTS);
    bench_open(&narrow_batch, TR_F32, RESPONSES, 1);
    need_ok(tr_rollout_run(whole.rollout, whole.asked, PROMPTS, RESPONSES, &whole.sampling, 9, 4, all, NULL, NULL,
                           NULL, &err),
            &err);
    int64_t stopped = 0, differ = 0;
    for (int p = PROMPTS - 1; p >= 0; p--) { /* one prompt at a time, backwards, then one response at a time */
        need_ok(tr_rollout_run(narrow_batch.rollout, &narrow_batch.asked[p], 1, RESPONSES, &narrow_batch.sampling,
                               9, 4, &one, NULL, NULL, NULL, &err),
                &err);
        assert_int_equal(one.tokens, all[p].tokens);
        assert_memory_equal(one.lengths, all[p].lengths, RESPONSES * sizeof *one.lengths);
        assert_memory_equal(one.ids, all[p].ids, (size_t)one.tokens * sizeof *one.ids);
        assert_memory_equal(one.logp, all[p].logp, (size_t)one.tokens * sizeof *one.logp);
        int64_t at = 0;
        for (int r = 0; r < RESPONSES; r++) {
            tr_rollout_prompt single = narrow_batch.asked[p];
            single.response = (uint32_t)r;
            need_ok(tr_rollout_run(narrow_batch.rollout, &single, 1, 1, &narrow_batch.sampling, 9, 4, &one, NULL,
                                   NULL, NULL, &err),
                    &err);
            assert_int_equal(one.tokens, all[p].lengths[r]);
            assert_memory_equal(one.ids, all[p].ids + at, (size_t)one.tokens * sizeof *one.ids);
            assert_memory_equal(one.logp, all[p].logp + at, (size_t)one.tokens * sizeof *one.logp);
            stopped += all[p].stopped[r];
            at += one.tokens;
            for (int64_t k = 0; k < one.tokens; k++) {
                assert_true(one.ids[k] < 256 && one.ids[k] != 3);
                differ += one.ids[k] != all[p].ids[0];
            }
        }
    }
    assert_true(differ > 20); /* the responses are not all the same */
    (void)stopped;
    bench_close(&whole);
    bench_close(&narrow_batch);
}

static void check_gap(tr_dtype dtype)
{
    bench b;
    tr_error err = {0};
    tr_rollout_group all[PROMPTS];
    float logp[RESPONSES * TOKENS], entropy[RESPONSES * TOKENS];
    bench_open(&b, dtype, 2 * RESPONSES + 1, 2); /* waves of two prompts */
    need_ok(tr_rollout_run(b.rollout, b.asked, PROMPTS, RESPONSES, &b.sampling, 2, 1, all, NULL, NULL, NULL, &err),
            &err);
    for (int p = 0; p < PROMPTS; p++) {
        tr_group group = b.asked[p].prompt;
        group.response_ids = all[p].ids;
        group.lengths = all[p].lengths;
        group.responses = RESPONSES;
        need_ok(tr_network_group_forward(b.network, &group, 0.8f, false, logp, entropy, &err), &err);
        assert_memory_equal(logp, all[p].logp, (size_t)all[p].tokens * sizeof *logp); /* bit for bit */
    }
    bench_close(&b);
}

static void test_sampled_and_recomputed_log_probs_are_equal(void **state)
{
    (void)state;
    check_gap(TR_F32);
    check_gap(TR_BF16);
}

static void test_bad_requests_are_refused(void **state)
{
    (void)state;
    bench b;
    tr_error err = {0};
    tr_rollout_group all[PROMPTS];
    tr_rollout *none;
    bench_open(&b, TR_F32, RESPONSES, 1);
    assert_int_equal(tr_rollout_create(b.network, &b.limits, b.model, 1, RESPONSES + 1, TOKENS, &none, &err),
                     TR_INVALID);
    b.sampling.max_tokens = TOKENS + 1;
    assert_int_equal(tr_rollout_run(b.rollout, b.asked, 1, 1, &b.sampling, 1, 1, all, NULL, NULL, NULL, &err),
                     TR_INVALID);
    b.sampling.max_tokens = TOKENS;
    memset(b.banned, 1, sizeof b.banned);
    assert_int_equal(tr_rollout_run(b.rollout, b.asked, 1, 1, &b.sampling, 1, 1, all, NULL, NULL, NULL, &err),
                     TR_NUMERIC);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grpo_gradients_through_the_network),
        cmocka_unit_test(test_sft_gradients_through_the_network),
        cmocka_unit_test(test_sft_gradients_when_packed),
        cmocka_unit_test(test_greedy_generations_equal_the_reference),
        cmocka_unit_test(test_a_response_does_not_depend_on_its_batch),
        cmocka_unit_test(test_sampled_and_recomputed_log_probs_are_equal),
        cmocka_unit_test(test_bad_requests_are_refused),
    };
    const struct CMUnitTest on_a_device[] = {cmocka_unit_test(test_grpo_gradients_through_the_network),
                                             cmocka_unit_test(test_sft_gradients_through_the_network),
                                             cmocka_unit_test(test_sft_gradients_when_packed)};
    return GOLDEN_DEVICE ? cmocka_run_group_tests(on_a_device, NULL, NULL)
                         : cmocka_run_group_tests(tests, NULL, NULL);
}
