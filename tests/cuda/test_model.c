/* test_model.c: a whole network on the GPU's tables: features, log-probs and decoding in f32 have the CPU's bits,
 * gradients are the CPU's up to rounding; in bf16 decoding and the packed forward agree bit for bit (the gap is 0),
 * and everything stays near the CPU's bf16. Over the emulated device no host code may touch a tensor in place. */
#include "support/shared.h"

#include "base/random.h"
#include "model/checkpoint.h"
#include "model/network.h"
#include "tensor/cuda/cuda.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 2 * 6 * 10 + 10 * 4,
    VISUAL = ROWS / 4,
    PROMPT = 3 + 30 + 2 + 10 + 5,
    RESPONSES = 3,
    TOKENS = 3 + 1 + 9,
    VOCAB = 512,
    HIDDEN = 64,
};
static const int64_t lengths[RESPONSES] = {3, 1, 9};
static const int32_t grids[2][3] = {{2, 6, 10}, {1, 10, 4}};

typedef struct input {
    int32_t ids[PROMPT], positions[3 * PROMPT], responses[TOKENS];
    float patches[ROWS * 1176], dlogp[TOKENS], dentropy[TOKENS];
    tr_visual visual;
    tr_group group;
} input;

static tr_model *make_model(const char *device, tr_dtype dtype)
{
    tr_model_config config;
    tr_model *model;
    tr_error err = {0};
    const tr_model_options options = {.train = true, .dtype = dtype, .device = device, .isa = "scalar"};
    need_ok(tr_model_config_preset("nano", &config, &err), &err);
    need_ok(tr_model_create(&config, &options, 7, &model, &err), &err);
    assert_int_equal(config.vocab, VOCAB);
    assert_int_equal(config.hidden, HIDDEN);
    return model;
}

static input *make_input(const tr_model_config *config)
{
    input *in = calloc(1, sizeof *in);
    tr_error err = {0};
    assert_non_null(in);
    for (int i = 0; i < PROMPT; i++) {
        bool video = (i >= 3 && i < 33) || (i >= 35 && i < 45);
        in->ids[i] = video ? (int32_t)config->video_id : (int32_t)tr_random_below(3, 1, (uint32_t)i, 0, 0, 200);
    }
    for (int i = 0; i < TOKENS; i++) {
        in->responses[i] = (int32_t)tr_random_below(3, 2, (uint32_t)i, 0, 0, 200);
        in->dlogp[i] = (float)tr_random_normal(3, 3, (uint32_t)i, 0, 0);
        in->dentropy[i] = (float)tr_random_normal(3, 4, (uint32_t)i, 0, 0);
    }
    for (int i = 0; i < ROWS * 1176; i++) {
        in->patches[i] = (float)tr_random_normal(3, 5, (uint32_t)i, 0, 0);
    }
    need_ok(tr_positions(config, in->ids, PROMPT, grids, 2, (const double[]){0.75, 1.0}, in->positions, NULL, &err),
            &err);
    in->visual = (tr_visual){in->patches, ROWS, grids, 2};
    in->group = (tr_group){.prompt_ids = in->ids,
                           .positions = in->positions,
                           .prompt = PROMPT,
                           .visual_tokens = VISUAL,
                           .response_ids = in->responses,
                           .lengths = lengths,
                           .responses = RESPONSES};
    return in;
}

/* What a model says about the input: forward, backward, and every token decoded again. */
typedef struct said {
    float features[VISUAL * HIDDEN], logp[TOKENS], entropy[TOKENS], dfeatures[VISUAL * HIDDEN], decoded[TOKENS];
} said;

static void decode_all(tr_network *network, const tr_model *model, const input *in, said *s)
{
    static float logits[RESPONSES * VOCAB];
    tr_group prompt = in->group;
    tr_error err = {0};
    prompt.responses = 0;
    need_ok(tr_network_prefill(network, 0, &prompt, logits, &err), &err);
    for (int64_t r = 0, at = 0; r < RESPONSES; at += lengths[r++]) {
        model->host_ops->logsoftmax_forward(&s->decoded[at], NULL, NULL, logits, &in->responses[at], 1, VOCAB,
                                            1.0f);
    }
    for (int64_t token = 1; token < 9; token++) {
        int64_t streams[RESPONSES], slots[RESPONSES], index[RESPONSES], place[RESPONSES], rows = 0;
        int32_t tokens[RESPONSES];
        for (int64_t r = 0, at = 0; r < RESPONSES; at += lengths[r++]) {
            if (token < lengths[r]) {
                streams[rows] = r;
                slots[rows] = 0;
                index[rows] = token - 1;
                tokens[rows] = in->responses[at + token - 1];
                place[rows++] = at + token;
            }
        }
        need_ok(tr_network_decode(network, streams, slots, index, tokens, rows, logits, &err), &err);
        for (int64_t i = 0; i < rows; i++) {
            model->host_ops->logsoftmax_forward(&s->decoded[place[i]], NULL, NULL, logits + i * VOCAB,
                                                &in->responses[place[i]], 1, VOCAB, 1.0f);
        }
    }
}

static said *run(tr_model *model, input *in, tr_recompute recompute)
{
    said *s = calloc(1, sizeof *s);
    tr_network *network;
    tr_error err = {0};
    const tr_network_limits limits = {.patches = ROWS,
                                      .largest_grid = 60,
                                      .prompt_tokens = PROMPT,
                                      .response_tokens = TOKENS,
                                      .responses = RESPONSES,
                                      .targets = TOKENS,
                                      .train_text = true,
                                      .train_vision = true,
                                      .decode_rows = RESPONSES,
                                      .decode_groups = 1,
                                      .decode_tokens = 9,
                                      .recompute = recompute};
    assert_non_null(s);
    need_ok(tr_network_create(model, &limits, &network, &err), &err);
    tr_model_zero_gradients(model);
    need_ok(tr_network_vision_forward(network, &in->visual, true, s->features, &err), &err);
    in->group.features = s->features;
    need_ok(tr_network_group_forward(network, &in->group, 1.0f, true, s->logp, s->entropy, &err), &err);
    need_ok(tr_network_group_backward(network, &in->group, in->dlogp, in->dentropy, s->dfeatures, &err), &err);
    need_ok(tr_network_vision_backward(network, &in->visual, s->dfeatures, &err), &err);
    decode_all(network, model, in, s);
    tr_network_free(network);
    return s;
}

static void same(const char *what, const float *a, const float *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (memcmp(a + i, b + i, sizeof *a)) {
            fail_msg("%s: element %ld is %a, expected %a", what, (long)i, (double)a[i], (double)b[i]);
        }
    }
}

/* |a - b| <= part of the largest |b|; NaN fails. */
static void near(const char *what, const float *a, const float *b, int64_t count, double part)
{
    double most = 0, worst = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)b[i]));
        worst = fabs((double)a[i] - (double)b[i]) <= worst ? worst : fabs((double)a[i] - (double)b[i]);
    }
    if (!(worst <= part * most)) {
        fail_msg("%s: off by %.3g of %.3g, allowed %.3g", what, worst, most, part * most);
    }
}

/* Row-major values of a parameter's gradient or master. */
static float *values_of(const tr_param *p, float *values)
{
    float *rows = calloc((size_t)(p->out * p->in), sizeof *rows);
    const tr_matrix m = {TR_F32, p->out, p->in, values};
    assert_non_null(rows);
    p->memory->unpack(&m, rows, TR_F32, 0, p->out);
    return rows;
}

static void near_gradients(const tr_model *a, const tr_model *b, double part)
{
    for (int i = 0; i < a->params.count; i++) {
        const tr_param *p = &a->params.items[i], *q = &b->params.items[i];
        float *x = values_of(p, p->gradient), *y = values_of(q, q->gradient);
        near(p->name, x, y, p->out * p->in, part);
        free(x);
        free(y);
    }
}

static bool no_device(void)
{
    tr_cuda_info info;
    tr_cuda_describe(&info);
    if (info.missing) {
        printf("SKIP: no GPU: %s\n", info.missing);
    }
    return info.missing != NULL;
}

static void test_f32(void **state)
{
    (void)state;
    if (no_device()) {
        skip();
    }
    tr_model *cpu = make_model("cpu", TR_F32), *gpu = make_model("cuda:0", TR_F32);
    input *in = make_input(&cpu->config);
    said *a = run(gpu, in, TR_RECOMPUTE_NONE), *b = run(cpu, in, TR_RECOMPUTE_NONE);
    same("features", a->features, b->features, VISUAL * HIDDEN);
    same("log-probs", a->logp, b->logp, TOKENS);
    same("entropy", a->entropy, b->entropy, TOKENS);
    same("decoded", a->decoded, a->logp, TOKENS);
    /* backward sums in orders of their own where rows meet: thousands of roundings of terms of one size */
    near("d(features)", a->dfeatures, b->dfeatures, VISUAL * HIDDEN, 2e-5);
    near_gradients(gpu, cpu, 2e-5);
    said *again = run(gpu, in, TR_RECOMPUTE_LAYER);
    same("d(features) with recomputation", again->dfeatures, a->dfeatures, VISUAL * HIDDEN);
    /* one step of AdamW from the same gradients gives the same master */
    const tr_adamw adamw = {1e-3, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.001, 1};
    tr_param *p = &gpu->params.items[gpu->params.layers[0].q], *q = &cpu->params.items[cpu->params.layers[0].q];
    float *gradient = values_of(q, q->gradient);
    tr_matrix to = {TR_F32, p->out, p->in, p->gradient};
    p->memory->pack(&to, gradient, TR_F32, 0, p->out);
    gpu->ops->adamw_step(p->master, p->gradient, p->m, p->v, p->elements, &adamw);
    cpu->ops->adamw_step(q->master, q->gradient, q->m, q->v, q->elements, &adamw);
    float *x = values_of(p, p->master), *y = values_of(q, q->master);
    same("master", x, y, p->out * p->in);
    free(x), free(y), free(gradient);
    free(a), free(b), free(again), free(in);
    tr_model_free(gpu);
    tr_model_free(cpu);
}

static void test_bf16(void **state)
{
    (void)state;
    if (no_device()) {
        skip();
    }
    tr_model *cpu = make_model("cpu", TR_BF16), *gpu = make_model("cuda", TR_BF16), *copy;
    tr_error err = {0};
    input *in = make_input(&cpu->config);
    said *a = run(gpu, in, TR_RECOMPUTE_LAYER), *b = run(cpu, in, TR_RECOMPUTE_NONE);
    same("the gap", a->decoded, a->logp, TOKENS);
    /* activations are rounded to bf16 (2^-9) where products and attention read them, layer after layer */
    near("features", a->features, b->features, VISUAL * HIDDEN, 0.05);
    near("log-probs", a->logp, b->logp, TOKENS, 0.02);
    near("d(features)", a->dfeatures, b->dfeatures, VISUAL * HIDDEN, 0.1);
    near_gradients(gpu, cpu, 0.15);
    said *again = run(gpu, in, TR_RECOMPUTE_NONE);
    same("again", again->logp, a->logp, TOKENS);
    same("d(features) without recomputation", again->dfeatures, a->dfeatures, VISUAL * HIDDEN);
    /* the reference's frozen copy says the same */
    need_ok(tr_model_clone_frozen(gpu, NULL, &copy, &err), &err);
    tr_network *network;
    const tr_network_limits limits = {.prompt_tokens = PROMPT, .response_tokens = TOKENS, .responses = RESPONSES};
    need_ok(tr_network_create(copy, &limits, &network, &err), &err);
    in->group.features = a->features;
    float logp[TOKENS];
    need_ok(tr_network_group_forward(network, &in->group, 1.0f, false, logp, NULL, &err), &err);
    same("copy", logp, a->logp, TOKENS);
    tr_network_free(network);
    tr_model_free(copy);
    free(a), free(b), free(again), free(in);
    tr_model_free(gpu);
    tr_model_free(cpu);
}

/* The same with our own tensor-core products everywhere, forward and backward. */
static void test_bf16_own_products(void **state)
{
    setenv("TEMPR1_CUDA_PRODUCTS", "own", 1);
    test_bf16(state);
    unsetenv("TEMPR1_CUDA_PRODUCTS");
}

/* A checkpoint written from the GPU is the one written from the CPU, and reads back. */
static void test_checkpoints(void **state)
{
    (void)state;
    if (no_device()) {
        skip();
    }
    tr_model *models[2] = {make_model("cpu", TR_F32), make_model("cuda:0", TR_F32)}, *back;
    tr_error err = {0};
    char *paths[2];
    for (int i = 0; i < 2; i++) {
        paths[i] = strdup(scratch_path(i ? "cuda-model-gpu" : "cuda-model-cpu"));
        assert_non_null(paths[i]);
        need_ok(tr_model_save(models[i], paths[i], TR_F32, 0, NULL, &err), &err);
    }
    const tr_model_options options = {.train = true, .dtype = TR_F32, .device = "cuda:0"};
    need_ok(tr_model_load(paths[0], &options, &back, &err), &err);
    for (int i = 0; i < back->params.count; i++) {
        tr_param *p = &back->params.items[i], *q = &models[0]->params.items[i];
        float *x = values_of(p, p->master), *y = values_of(q, q->master);
        same(p->name, x, y, p->out * p->in);
        free(x), free(y);
    }
    char command[2200];
    snprintf(command, sizeof command, "cmp -s '%s/model.safetensors' '%s/model.safetensors'", paths[0], paths[1]);
    assert_int_equal(system(command), 0);
    for (int i = 0; i < 2; i++) {
        free(paths[i]);
        tr_model_free(models[i]);
    }
    tr_model_free(back);
}

static void test_devices(void **state)
{
    (void)state;
    tr_model_config config;
    tr_model *model;
    tr_error err = {0};
    need_ok(tr_model_config_preset("nano", &config, &err), &err);
    static const struct {
        const char *device, *says;
    } bad[] = {{"gpu", "expected auto, cpu or cuda:N, found gpu"},
               {"cuda:x", "expected auto, cpu or cuda:N"},
               {"cuda:1x", "expected auto, cpu or cuda:N"},
               {"cuda:999", "cuda:999"}};
    for (int i = 0; i < 4; i++) {
        const tr_model_options options = {.dtype = TR_F32, .device = bad[i].device};
        err = (tr_error){0};
        assert_int_not_equal(tr_model_create(&config, &options, 1, &model, &err), TR_OK);
        assert_non_null(strstr(err.message, bad[i].says));
    }
    const tr_model_options options = {.dtype = TR_F32, .device = "auto"};
    need_ok(tr_model_create(&config, &options, 1, &model, &err), &err);
    assert_true(model->ops->memory->host);
    tr_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_bf16_own_products),
        cmocka_unit_test(test_checkpoints),
        cmocka_unit_test(test_devices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
