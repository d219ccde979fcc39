/* test_network.c: the network's promises on a generated model, without reference data: the same bits for any number
 * of threads, every kernel variant, recomputation, a response alone or in a group, and decoding one token at a
 * time; the gradients against finite differences; no allocation during a step; refusals. */
#include "support/shared.h"

#include "base/random.h"
#include "base/thread.h"
#include "model/network.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- counting allocations; a sanitizer has its own allocator, which must stay ---- */

#if defined(__SANITIZE_ADDRESS__)
#define COUNTS_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COUNTS_ALLOCATIONS 0
#endif
#endif
#ifndef COUNTS_ALLOCATIONS
#define COUNTS_ALLOCATIONS 1
#endif

#if COUNTS_ALLOCATIONS
static long allocations;
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void *malloc(size_t size)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_calloc(count, size);
}
void *realloc(void *old, size_t size)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_realloc(old, size);
}
void *aligned_alloc(size_t alignment, size_t size)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_memalign(alignment, size);
}
#endif

/* ---- a small world: one clip, one prompt, responses of 1, 7, 17 and 12 tokens ---- */

enum { PROMPT = 61, RESPONSES = 4, TOKENS = 37, PATCHES = 120, VISUAL = PATCHES / 4, HIDDEN = 64 };

static const int32_t grids[2][3] = {{1, 4, 10}, {2, 10, 4}};
static const int64_t lengths[RESPONSES] = {1, 7, 17, 12};

#define must(call)                                                                                                 \
    do {                                                                                                           \
        tr_error err_ = {0};                                                                                       \
        if ((call) != TR_OK) {                                                                                     \
            printf("%s: %s: %s\n", #call, err_.where, err_.message);                                               \
            fail();                                                                                                \
        }                                                                                                          \
    } while (0)

typedef struct world {
    tr_model *model;
    tr_network *network;
    tr_group group;
    tr_visual visual;
    float pixels[PATCHES * 1176], features[VISUAL * HIDDEN], dfeatures[VISUAL * HIDDEN];
    int32_t ids[PROMPT], positions[3 * PROMPT], responses[TOKENS];
    float logp[TOKENS], entropy[TOKENS], dlogp[TOKENS], dentropy[TOKENS];
} world;

static const tr_model_options f32_train = {.dtype = TR_F32, .train = true};

static tr_network_limits limits_of(tr_recompute recompute, bool train)
{
    return (tr_network_limits){.patches = PATCHES,
                               .largest_grid = 40,
                               .prompt_tokens = PROMPT,
                               .response_tokens = TOKENS,
                               .responses = RESPONSES,
                               .train_text = train,
                               .train_vision = train,
                               .decode_rows = RESPONSES,
                               .decode_groups = 2,
                               .decode_tokens = 20,
                               .recompute = recompute};
}

/* Norms and biases away from 1 and 0, so that a forgotten one shows. */
static void nudge(tr_model *model)
{
    for (int i = 0; i < model->params.count; i++) {
        tr_param *p = &model->params.items[i];
        float *x = p->value.panels;
        for (int64_t k = 0; !p->matrix && k < p->out; k++) {
            x[k] += 0.1f * (float)tr_random_normal(7, (uint32_t)i, (uint32_t)k, 0, 0);
        }
        for (int64_t k = 0; p->matrix && p->value.dtype == TR_F32 && k < p->elements; k++) {
            x[k] *= 4; /* deviation 0.08: attention and gates do something */
        }
    }
    tr_model_refresh(model);
}

static world *make_world(const tr_model_options *options, tr_recompute recompute)
{
    world *w = calloc(1, sizeof *w);
    tr_model_config config;
    assert_non_null(w);
    must(tr_model_config_preset("nano", &config, &err_));
    assert_int_equal(config.hidden, HIDDEN);
    must(tr_model_create(&config, options, 3, &w->model, &err_));
    nudge(w->model);
    tr_network_limits limits = limits_of(recompute, options->train);
    must(tr_network_create(w->model, &limits, &w->network, &err_));
    for (int64_t i = 0; i < PATCHES * 1176; i++) {
        w->pixels[i] = (float)tr_random_uniform(5, (uint32_t)i, 0, 0, 0) * 3 - 1.5f;
    }
    for (int64_t i = 0; i < PROMPT; i++) {
        w->ids[i] = 1 + (int32_t)tr_random_below(5, (uint32_t)i, 1, 0, 0, 200);
    }
    for (int64_t i = 0; i < VISUAL; i++) { /* an image of 10 tokens at 5, a video of 20 at 20 */
        w->ids[i < 10 ? 5 + i : 10 + i] = (int32_t)(i < 10 ? config.image_id : config.video_id);
    }
    for (int64_t i = 0; i < TOKENS; i++) {
        w->responses[i] = 1 + (int32_t)tr_random_below(5, (uint32_t)i, 2, 0, 0, 200);
        w->dlogp[i] = (float)tr_random_normal(5, (uint32_t)i, 3, 0, 0);
        w->dentropy[i] = 0.3f * (float)tr_random_normal(5, (uint32_t)i, 4, 0, 0);
    }
    const double seconds = 0.7;
    must(tr_positions(&config, w->ids, PROMPT, grids, 2, &seconds, w->positions, NULL, &err_));
    w->visual = (tr_visual){w->pixels, PATCHES, grids, 2};
    w->group = (tr_group){.prompt_ids = w->ids,
                          .positions = w->positions,
                          .prompt = PROMPT,
                          .features = w->features,
                          .visual_tokens = VISUAL,
                          .response_ids = w->responses,
                          .lengths = lengths,
                          .responses = RESPONSES};
    return w;
}

static void free_world(world *w)
{
    tr_network_free(w->network);
    tr_model_free(w->model);
    free(w);
}

static void forward(world *w, bool keep)
{
    must(tr_network_vision_forward(w->network, &w->visual, keep, w->features, &err_));
    must(tr_network_group_forward(w->network, &w->group, 0.9f, keep, w->logp, w->entropy, &err_));
}

static void step(world *w, bool vision)
{
    tr_model_zero_gradients(w->model);
    forward(w, true);
    must(tr_network_group_backward(w->network, &w->group, w->dlogp, w->dentropy, w->dfeatures, &err_));
    if (vision) {
        must(tr_network_vision_backward(w->network, &w->visual, w->dfeatures, &err_));
    }
}

static double loss_of(world *w)
{
    double loss = 0;
    forward(w, false);
    for (int i = 0; i < TOKENS; i++) {
        loss += (double)w->dlogp[i] * (double)w->logp[i] + (double)w->dentropy[i] * (double)w->entropy[i];
    }
    return loss;
}

/* Gradients of the parameters that both train have the same bits. */
static void same_gradients(const world *a, const world *b)
{
    int compared = 0;
    for (int i = 0; i < a->model->params.count; i++) {
        const tr_param *p = &a->model->params.items[i], *q = &b->model->params.items[i];
        if (p->gradient && q->gradient) {
            if (memcmp(p->gradient, q->gradient, (size_t)p->elements * sizeof(float))) {
                printf("%s: gradients differ\n", p->name);
                fail();
            }
            compared++;
        }
    }
    assert_true(compared > 10);
}

static void same_step(const world *a, const world *b)
{
    assert_memory_equal(a->features, b->features, sizeof a->features);
    assert_memory_equal(a->logp, b->logp, sizeof a->logp);
    assert_memory_equal(a->entropy, b->entropy, sizeof a->entropy);
    assert_memory_equal(a->dfeatures, b->dfeatures, sizeof a->dfeatures);
    same_gradients(a, b);
}

static void test_threads(void **state)
{
    (void)state;
    int before = tr_threads_count();
    tr_threads_set(1);
    world *one = make_world(&f32_train, TR_RECOMPUTE_NONE);
    step(one, true);
    for (int threads = 2; threads <= 3; threads++) {
        tr_threads_set(threads);
        world *many = make_world(&f32_train, TR_RECOMPUTE_NONE);
        step(many, true);
        same_step(one, many);
        free_world(many);
    }
    tr_threads_set(before);
    free_world(one);
}

static void test_variants(void **state)
{
    (void)state;
    const char *names[4];
    int count = tr_ops_cpu_variants(names), compared = 0;
    world *base = make_world(&f32_train, TR_RECOMPUTE_NONE);
    step(base, true);
    for (int i = 0; i < count; i++) {
        tr_model_options options = f32_train;
        options.isa = names[i];
        if (!strcmp(names[i], "reference")) {
            continue; /* its own order */
        }
        world *other = make_world(&options, TR_RECOMPUTE_NONE);
        step(other, true);
        same_step(base, other);
        free_world(other);
        compared++;
    }
    if (compared < 3) {
        printf("SKIP: this CPU runs %d of the 3 kernel variants\n", compared);
    }
    assert_true(compared >= 1);
    free_world(base);
}

static void test_recomputation(void **state)
{
    (void)state;
    world *kept = make_world(&f32_train, TR_RECOMPUTE_NONE), *again = make_world(&f32_train, TR_RECOMPUTE_LAYER);
    step(kept, true);
    step(again, true);
    same_step(kept, again);
    free_world(kept);
    free_world(again);
}

static void test_response_alone(void **state)
{
    (void)state;
    world *w = make_world(&f32_train, TR_RECOMPUTE_NONE);
    float alone[TOKENS], entropy[TOKENS];
    forward(w, false);
    for (int64_t r = 0, at = 0; r < RESPONSES; at += lengths[r++]) {
        tr_group group = w->group;
        group.response_ids += at;
        group.lengths += r;
        group.responses = 1;
        must(tr_network_group_forward(w->network, &group, 0.9f, false, alone, entropy, &err_));
        assert_memory_equal(alone, w->logp + at, (size_t)lengths[r] * sizeof *alone);
        assert_memory_equal(entropy, w->entropy + at, (size_t)lengths[r] * sizeof *alone);
    }
    free_world(w);
}

/* Decodes with the live responses in changing order and number: at every round a response may rest, and the order
 * rotates. The other prompt slot holds a longer prompt first, so that stale keys would show. */
static void decode_all(world *w, float *logp)
{
    int64_t vocab = w->model->config.vocab, done[RESPONSES] = {0}, starts[RESPONSES] = {0};
    float *logits = calloc((size_t)(RESPONSES * vocab), sizeof *logits);
    tr_group prompt = w->group;
    prompt.responses = 0;
    assert_non_null(logits);
    must(tr_network_prefill(w->network, 1, &prompt, logits, &err_));
    for (int64_t r = 0; r < RESPONSES; r++) {
        starts[r] = r ? starts[r - 1] + lengths[r - 1] : 0;
        w->model->ops->logsoftmax_forward(&logp[starts[r]], NULL, NULL, logits, &w->responses[starts[r]], 1, vocab,
                                          0.9f);
    }
    for (int64_t round = 0; round < 64; round++) {
        int64_t streams[RESPONSES], slots[RESPONSES], index[RESPONSES], who[RESPONSES], rows = 0;
        int32_t tokens[RESPONSES];
        for (int64_t i = 0; i < RESPONSES; i++) {
            int64_t r = (i + round) % RESPONSES;
            if (done[r] + 1 < lengths[r] && (round + r) % 3 != 0) {
                who[rows] = r;
                streams[rows] = (r + 2) % RESPONSES;
                slots[rows] = 1;
                index[rows] = done[r];
                tokens[rows++] = w->responses[starts[r] + done[r]];
            }
        }
        if (rows) {
            must(tr_network_decode(w->network, streams, slots, index, tokens, rows, logits, &err_));
        }
        for (int64_t i = 0; i < rows; i++) {
            int64_t at = starts[who[i]] + ++done[who[i]];
            w->model->ops->logsoftmax_forward(&logp[at], NULL, NULL, logits + i * vocab, &w->responses[at], 1,
                                              vocab, 0.9f);
        }
    }
    for (int64_t r = 0; r < RESPONSES; r++) {
        assert_int_equal(done[r] + 1, lengths[r]);
    }
    free(logits);
}

static void gap_is_zero(const tr_model_options *options)
{
    world *w = make_world(options, TR_RECOMPUTE_NONE);
    float decoded[TOKENS];
    forward(w, false);
    decode_all(w, decoded);
    assert_memory_equal(decoded, w->logp, sizeof decoded);
    /* A shorter prompt in the same slot, over the old one's keys. */
    world *fresh = make_world(options, TR_RECOMPUTE_NONE);
    memcpy(fresh->features, w->features, sizeof w->features);
    int32_t shorter[3 * (PROMPT - 9)];
    world *both[2] = {w, fresh};
    for (int i = 0; i < 2; i++) {
        for (int axis = 0; axis < 3; axis++) {
            memcpy(shorter + axis * (PROMPT - 9), w->positions + axis * PROMPT, (PROMPT - 9) * sizeof *shorter);
        }
        both[i]->group.prompt = PROMPT - 9;
        both[i]->group.positions = shorter;
        must(tr_network_group_forward(both[i]->network, &both[i]->group, 0.9f, false, both[i]->logp, NULL, &err_));
        decode_all(both[i], decoded);
        assert_memory_equal(decoded, both[i]->logp, sizeof decoded);
    }
    assert_memory_equal(w->logp, fresh->logp, sizeof w->logp);
    free_world(fresh);
    free_world(w);
}

static void test_gap_is_zero(void **state)
{
    (void)state;
    const tr_model_options f32 = {.dtype = TR_F32}, bf16 = {.dtype = TR_BF16},
                           trained = {.dtype = TR_BF16, .train = true};
    gap_is_zero(&f32);
    gap_is_zero(&f32_train);
    gap_is_zero(&bf16);
    gap_is_zero(&trained);
}

/* Central differences along each tensor's own gradient: f(w + s u) - f(w - s u) = 2 s |g|, u = g / |g|. s is chosen
 * so that the loss moves by about 0.04 each way. Rounding: 37 terms of about 6 whose log-probs are good to about
 * 1e-5 (the goldens' own f32 error) give at most 1e-3 for both sides. The cubic term, which falls with s^2, was 2.5
 * % at twice this s in the steepest tensor: 2 % leaves it three times its room. */
static void check_derivative(world *w, const char *name)
{
    for (int i = 0; i < w->model->params.count; i++) {
        tr_param *p = &w->model->params.items[i];
        if (strcmp(p->name, name)) {
            continue;
        }
        assert_non_null(p->gradient);
        float *kept = malloc((size_t)p->elements * sizeof *kept);
        memcpy(kept, p->master, (size_t)p->elements * sizeof *kept);
        double norm = sqrt(w->model->ops->sum_of_squares(p->gradient, p->elements)), f[2];
        assert_true(norm > 1e-3);
        double s = 0.04 / norm, expected = 0;
        for (int side = 0; side < 2; side++) {
            for (int64_t k = 0; k < p->elements; k++) {
                p->master[k] = kept[k] + (float)((side ? -s : s) * (double)p->gradient[k] / norm);
                /* the step that f32 made of it: small beside a weight, it is rounded */
                expected += (side ? -1 : 1) * ((double)p->master[k] - (double)kept[k]) * (double)p->gradient[k];
            }
            tr_model_refresh(w->model);
            f[side] = loss_of(w);
        }
        memcpy(p->master, kept, (size_t)p->elements * sizeof *kept);
        free(kept);
        assert_true(expected > 0.01);
        if (!(fabs(f[0] - f[1] - expected) <= 0.02 * expected + 1e-3)) {
            printf("%s: the loss moved by %.6g, the gradient says %.6g\n", name, f[0] - f[1], expected);
            fail();
        }
        return;
    }
    printf("no parameter %s\n", name);
    fail();
}

static void test_finite_differences(void **state)
{
    (void)state;
    static const char *const names[] = {"model.embed_tokens.weight",
                                        "model.layers.0.self_attn.q_proj.weight",
                                        "model.layers.0.self_attn.v_proj.bias",
                                        "model.layers.1.mlp.down_proj.weight",
                                        "model.layers.1.input_layernorm.weight",
                                        "model.norm.weight",
                                        "visual.patch_embed.proj.weight",
                                        "visual.blocks.0.attn.qkv.weight",
                                        "visual.blocks.1.attn.proj.bias",
                                        "visual.blocks.2.mlp.gate_proj.weight",
                                        "visual.merger.mlp.0.weight",
                                        "visual.merger.ln_q.weight"};
    world *w = make_world(&f32_train, TR_RECOMPUTE_NONE);
    step(w, true);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        check_derivative(w, names[i]);
    }
    free_world(w);
}

/* What stays trainable gets the same bits whatever is frozen; what is frozen has no gradient. */
static void test_freezing(void **state)
{
    (void)state;
    tr_model_options tower = f32_train, visual = f32_train;
    tower.freeze_vision = true;
    visual.freeze_vision = visual.freeze_merger = true;
    world *all = make_world(&f32_train, TR_RECOMPUTE_NONE), *merger = make_world(&tower, TR_RECOMPUTE_NONE);
    world *text = make_world(&visual, TR_RECOMPUTE_NONE);
    step(all, true);
    step(merger, true);
    step(text, false);
    same_gradients(all, merger);
    same_gradients(all, text);
    for (int i = 0; i < all->model->params.count; i++) {
        tr_param_part part = all->model->params.items[i].part;
        assert_non_null(all->model->params.items[i].gradient);
        assert_int_equal(merger->model->params.items[i].gradient != NULL, part != TR_PART_VISION);
        assert_int_equal(text->model->params.items[i].gradient != NULL, part == TR_PART_TEXT);
    }
    check_derivative(merger, "visual.merger.mlp.2.weight");
    check_derivative(text, "model.layers.0.mlp.up_proj.weight");
    free_world(all);
    free_world(merger);
    free_world(text);
}

/* Log-probs of a prompt's own tokens (SFT) equal those of the same tokens as a response. */
static void test_prompt_targets(void **state)
{
    (void)state;
    world *w = make_world(&f32_train, TR_RECOMPUTE_NONE);
    enum { HEAD = PROMPT - 11 };
    float as_response[TOKENS], as_prompt[PROMPT];
    int32_t targets[PROMPT], positions[3 * HEAD];
    int64_t tail = PROMPT - HEAD;
    tr_network_limits limits = limits_of(TR_RECOMPUTE_NONE, false);
    tr_network *network;
    limits.targets = PROMPT;
    must(tr_network_create(w->model, &limits, &network, &err_));
    forward(w, false);
    for (int i = 0; i < PROMPT; i++) {
        targets[i] = i + 1 < PROMPT && i + 1 >= HEAD ? w->ids[i + 1] : -1;
    }
    tr_group whole = w->group, split = w->group;
    whole.responses = 0;
    whole.prompt_targets = targets;
    must(tr_network_group_forward(network, &whole, 1.0f, false, as_prompt, NULL, &err_));
    for (int axis = 0; axis < 3; axis++) {
        memcpy(positions + axis * HEAD, w->positions + axis * PROMPT, HEAD * sizeof *positions);
    }
    split.prompt = HEAD;
    split.positions = positions;
    split.response_ids = w->ids + HEAD;
    split.lengths = &tail;
    split.responses = 1;
    must(tr_network_group_forward(network, &split, 1.0f, false, as_response, NULL, &err_));
    for (int64_t i = 0; i < tail; i++) { /* key tiles start at the response, so the last bits may differ */
        assert_true(fabsf(as_response[i] - as_prompt[HEAD - 1 + i]) <= 1e-5f * (1 + fabsf(as_response[i])));
    }
    for (int i = 0; i < HEAD - 1; i++) {
        assert_true(as_prompt[i] == 0.0f);
    }
    tr_network_free(network);
    free_world(w);
}

static void test_no_allocation(void **state)
{
    (void)state;
#if COUNTS_ALLOCATIONS
    world *w = make_world(&f32_train, TR_RECOMPUTE_LAYER);
    float *logits = calloc((size_t)(RESPONSES * w->model->config.vocab), sizeof *logits);
    int64_t streams[RESPONSES] = {0, 1, 2, 3}, zeros[RESPONSES] = {0};
    tr_group prompt = w->group;
    prompt.responses = 0;
    step(w, true); /* OpenMP makes its threads at the first region */
    long before = allocations;
    step(w, true);
    must(tr_network_prefill(w->network, 0, &prompt, logits, &err_));
    must(tr_network_decode(w->network, streams, zeros, zeros, w->responses, RESPONSES, logits, &err_));
    assert_int_equal(allocations - before, 0);
    free(malloc(1));
    assert_true(allocations > before); /* the counter counts */
    free(logits);
    free_world(w);
#else
    skip_test("the sanitizer's allocator cannot be counted");
#endif
}

static void refused(tr_status status, tr_status expected, const tr_error *err, const char *text)
{
    assert_int_equal(status, expected);
    if (!strstr(err->message, text)) {
        printf("'%s' is not in '%s'\n", text, err->message);
        fail();
    }
}

static void test_refusals(void **state)
{
    (void)state;
    world *w = make_world(&f32_train, TR_RECOMPUTE_NONE);
    tr_error err = {0};
    tr_group group = w->group;
    tr_visual visual = w->visual;
    int64_t slot = 0, zero = 0, far = 99, none[RESPONSES] = {1, 0, 1, 1};
    int32_t bad = 9999, ids[PROMPT];
    forward(w, false);
    refused(tr_network_group_backward(w->network, &group, w->dlogp, NULL, NULL, &err), TR_INVALID, &err,
            "forward with keep");
    refused(tr_network_vision_backward(w->network, &visual, w->dfeatures, &err), TR_INVALID, &err,
            "forward with keep");
    group.prompt = PROMPT + 1;
    refused(tr_network_group_forward(w->network, &group, 1, false, w->logp, NULL, &err), TR_MEMORY, &err,
            "planned for 61");
    group = w->group;
    group.visual_tokens = VISUAL - 1;
    refused(tr_network_group_forward(w->network, &group, 1, false, w->logp, NULL, &err), TR_MISMATCH, &err,
            "30 image and video tokens, the features 29");
    group = w->group;
    group.lengths = none;
    refused(tr_network_group_forward(w->network, &group, 1, false, w->logp, NULL, &err), TR_INVALID, &err,
            "response 1 is empty");
    group = w->group;
    memcpy(ids, w->ids, sizeof ids);
    ids[3] = bad;
    group.prompt_ids = ids;
    refused(tr_network_group_forward(w->network, &group, 1, false, w->logp, NULL, &err), TR_INVALID, &err,
            "token 3 has the id 9999");
    visual.rows = PATCHES + 4;
    refused(tr_network_vision_forward(w->network, &visual, false, w->features, &err), TR_MEMORY, &err,
            "124 patches");
    visual.rows = PATCHES - 4;
    refused(tr_network_vision_forward(w->network, &visual, false, w->features, &err), TR_MISMATCH, &err,
            "hold 120");
    refused(tr_network_decode(w->network, &far, &slot, &zero, w->responses, 1, w->logp, &err), TR_INVALID, &err,
            "stream 99");
    refused(tr_network_decode(w->network, &zero, &slot, &zero, &bad, 1, w->logp, &err), TR_INVALID, &err,
            "token 9999");
    refused(tr_network_prefill(w->network, 2, &w->group, w->logp, &err), TR_INVALID, &err, "planned for 2");
    group = w->group;
    ids[3] = w->ids[3];
    group.prompt_targets = ids;
    for (int i = 0; i < PROMPT; i++) {
        ids[i] = bad;
    }
    group.prompt_ids = w->ids;
    group.responses = 0;
    assert_int_not_equal(tr_network_group_forward(w->network, &group, 1, false, w->logp, NULL, &err), TR_OK);
    free_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_variants),
        cmocka_unit_test(test_recomputation), cmocka_unit_test(test_response_alone),
        cmocka_unit_test(test_gap_is_zero),   cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_freezing),      cmocka_unit_test(test_prompt_targets),
        cmocka_unit_test(test_no_allocation), cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
