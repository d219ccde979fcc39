/* test_network_invariance.c: the numbers do not depend on how they are computed. On a generated small model:
 * threads, kernel variants, recomputation, the company of a response in its group, and the decode path give the
 * same bits; a step allocates nothing; frozen parts change no other gradient; misuse is refused. Needs no reference
 * data. */
#include "support/shared.h"

#include "base/random.h"
#include "base/thread.h"
#include "model/network.h"
#include "tensor/cpu/parallel.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- counting allocations (glibc's own functions stand behind; not under a sanitizer, which has its own) ---- */

static atomic_int counting, allocations;

#if !defined(__SANITIZE_ADDRESS__)
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static void count(void)
{
    if (atomic_load(&counting)) {
        atomic_fetch_add(&allocations, 1);
    }
}
void *malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}
void *calloc(size_t items, size_t size)
{
    count();
    return __libc_calloc(items, size);
}
void *realloc(void *block, size_t size)
{
    count();
    return __libc_realloc(block, size);
}
void *aligned_alloc(size_t alignment, size_t size)
{
    count();
    return __libc_memalign(alignment, size);
}
enum { COUNTS_ALLOCATIONS = 1 };
#else
enum { COUNTS_ALLOCATIONS = 0 };
#endif

/* ---- a small model and one group ---- */

enum {
    ROWS = 2 * 6 * 10 + 10 * 4,
    VISUAL = ROWS / 4,
    PROMPT = 3 + 30 + 2 + 10 + 5,
    RESPONSES = 5,
    TOKENS = 3 + 1 + 17 + 20 + 16,
    VOCAB = 512,
    HIDDEN = 64,
};
static const int64_t lengths[RESPONSES] = {3, 1, 17, 20, 16};
static const int32_t grids[2][3] = {{2, 6, 10}, {1, 10, 4}};

typedef struct input {
    int32_t ids[PROMPT], positions[3 * PROMPT], responses[TOKENS];
    float patches[ROWS * 1176], dlogp[TOKENS], dentropy[TOKENS];
    tr_visual visual;
    tr_group group;
} input;

static tr_model *make_model(const char *isa, tr_model_options options, tr_dtype dtype)
{
    tr_model_config config;
    tr_model *model;
    tr_error err = {0};
    need_ok(tr_model_config_preset("nano", &config, &err), &err);
    options.isa = isa;
    options.dtype = dtype;
    need_ok(tr_model_create(&config, &options, 7, &model, &err), &err);
    for (int i = 0; i < model->params.count; i++) { /* far from uniform attention and logits */
        tr_param *p = &model->params.items[i];
        for (int64_t k = 0; p->matrix && p->value.dtype == TR_F32 && k < p->elements; k++) {
            ((float *)p->value.panels)[k] *= 6;
        }
    }
    assert_int_equal(config.vocab, VOCAB);
    assert_int_equal(config.hidden, HIDDEN);
    return model;
}

static input *make_input(const tr_model_config *config, uint32_t seed)
{
    input *in = calloc(1, sizeof *in);
    tr_error err = {0};
    assert_non_null(in);
    for (int i = 0; i < PROMPT; i++) {
        bool video = (i >= 3 && i < 33) || (i >= 35 && i < 45);
        in->ids[i] = video ? (int32_t)config->video_id : (int32_t)tr_random_below(seed, 1, (uint32_t)i, 0, 0, 200);
    }
    for (int i = 0; i < TOKENS; i++) {
        in->responses[i] = (int32_t)tr_random_below(seed, 2, (uint32_t)i, 0, 0, 200);
        in->dlogp[i] = (float)tr_random_normal(seed, 3, (uint32_t)i, 0, 0);
        in->dentropy[i] = (float)tr_random_normal(seed, 4, (uint32_t)i, 0, 0);
    }
    for (int i = 0; i < ROWS * 1176; i++) {
        in->patches[i] = (float)tr_random_normal(seed, 5, (uint32_t)i, 0, 0);
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

static tr_network_limits limits_of(bool train, tr_recompute recompute)
{
    return (tr_network_limits){.patches = ROWS,
                               .largest_grid = 40,
                               .prompt_tokens = PROMPT,
                               .response_tokens = TOKENS,
                               .responses = RESPONSES,
                               .targets = TOKENS,
                               .train_text = train,
                               .train_vision = train,
                               .decode_rows = 2 * RESPONSES,
                               .decode_groups = 2,
                               .decode_tokens = 20,
                               .recompute = recompute};
}

/* ---- one whole step ---- */

typedef struct result {
    float features[VISUAL * HIDDEN], logp[TOKENS], entropy[TOKENS], dfeatures[VISUAL * HIDDEN];
    uint64_t gradients[256]; /* a hash of each parameter's gradient */
} result;

static void step(tr_network *network, input *in, result *r, float temperature)
{
    tr_error err = {0};
    in->group.features = r->features;
    need_ok(tr_network_vision_forward(network, &in->visual, true, r->features, &err), &err);
    need_ok(tr_network_group_forward(network, &in->group, temperature, true, r->logp, r->entropy, &err), &err);
    need_ok(tr_network_group_backward(network, &in->group, in->dlogp, in->dentropy, r->dfeatures, &err), &err);
    need_ok(tr_network_vision_backward(network, &in->visual, r->dfeatures, &err), &err);
}

static void hash_gradients(const tr_model *model, result *r)
{
    assert_true(model->params.count <= 256);
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        r->gradients[i] = p->gradient ? tr_hash(p->gradient, (size_t)p->elements * sizeof(float)) : 0;
    }
}

static result *whole(const char *isa, int threads, tr_recompute recompute, tr_dtype dtype)
{
    tr_error err = {0};
    tr_network *network;
    tr_network_limits limits = limits_of(true, recompute);
    result *r = calloc(1, sizeof *r);
    assert_non_null(r);
    tr_model *model = make_model(isa, (tr_model_options){.train = true}, dtype);
    input *in = make_input(&model->config, 3);
    int before = tr_threads_count();
    int64_t worth = tr_cpu_steps_worth_threads;
    tr_threads_set(threads);
    tr_cpu_steps_worth_threads = 0; /* so small a model's operations would all stay on one thread */
    need_ok(tr_network_create(model, &limits, &network, &err), &err);
    step(network, in, r, 0.9f);
    hash_gradients(model, r);
    tr_threads_set(before);
    tr_cpu_steps_worth_threads = worth;
    tr_network_free(network);
    tr_model_free(model);
    free(in);
    return r;
}

static void same(const result *a, const result *b, const char *what)
{
    bool forward = memcmp(a->features, b->features, sizeof a->features) == 0 &&
                   memcmp(a->logp, b->logp, sizeof a->logp) == 0 &&
                   memcmp(a->entropy, b->entropy, sizeof a->entropy) == 0;
    bool back = memcmp(a->dfeatures, b->dfeatures, sizeof a->dfeatures) == 0 &&
                memcmp(a->gradients, b->gradients, sizeof a->gradients) == 0;
    if (!forward || !back) {
        printf("%s: other bits in %s\n", what, forward ? "backward" : "forward");
    }
    assert_true(forward && back);
}

static void test_threads_variants_and_recomputation_give_the_same_bits(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++) {
        tr_dtype dtype = half ? TR_BF16 : TR_F32;
        result *first = whole("scalar", 1, TR_RECOMPUTE_NONE, dtype);
        assert_true(first->logp[0] < 0 && first->entropy[0] > 0 && first->gradients[0] != 0);
        const char *names[4];
        int variants = tr_ops_cpu_variants(names);
        for (int i = 0; i < variants; i++) {
            if (!strcmp(names[i], "reference")) {
                continue;
            }
            for (int threads = 1 + half; threads <= 3 - half; threads++) { /* the second dtype: two threads only */
                result *other =
                    whole(names[i], threads, threads == 2 ? TR_RECOMPUTE_LAYER : TR_RECOMPUTE_NONE, dtype);
                same(first, other, names[i]);
                free(other);
            }
        }
        free(first);
    }
}

static void test_a_response_alone_has_the_bits_it_has_in_a_group(void **state)
{
    (void)state;
    tr_error err = {0};
    tr_network *network;
    tr_network_limits limits = limits_of(false, TR_RECOMPUTE_NONE);
    tr_model *model = make_model(NULL, (tr_model_options){0}, TR_F32);
    input *in = make_input(&model->config, 3);
    result *r = calloc(1, sizeof *r);
    float alone[TOKENS], entropy[TOKENS];
    need_ok(tr_network_create(model, &limits, &network, &err), &err);
    in->group.features = r->features;
    need_ok(tr_network_vision_forward(network, &in->visual, false, r->features, &err), &err);
    need_ok(tr_network_group_forward(network, &in->group, 1, false, r->logp, r->entropy, &err), &err);
    for (int i = 0, at = 0; i < RESPONSES; at += (int)lengths[i], i++) {
        tr_group one = in->group;
        one.response_ids += at;
        one.lengths += i;
        one.responses = 1;
        need_ok(tr_network_group_forward(network, &one, 1, false, alone, entropy, &err), &err);
        assert_memory_equal(alone, r->logp + at, (size_t)lengths[i] * sizeof *alone);
        assert_memory_equal(entropy, r->entropy + at, (size_t)lengths[i] * sizeof *alone);
    }
    tr_network_free(network);
    tr_model_free(model);
    free(in);
    free(r);
}

/* One decode step for the rows whose turn it is; compares each sampled log-prob with the packed one. */
static void test_decoding_has_the_bits_of_the_packed_forward(void **state)
{
    (void)state;
    enum { STREAMS = 2 * RESPONSES };
    tr_error err = {0};
    tr_network *network;
    tr_network_limits limits = limits_of(false, TR_RECOMPUTE_NONE);
    tr_model *model = make_model(NULL, (tr_model_options){0}, TR_F32);
    input *in[2] = {make_input(&model->config, 3), make_input(&model->config, 4)};
    result *r[2] = {calloc(1, sizeof **r), calloc(1, sizeof **r)};
    static float logits[STREAMS * VOCAB], row[VOCAB], decoded[2][TOKENS];
    int64_t done[STREAMS] = {0}, first[RESPONSES] = {0};
    need_ok(tr_network_create(model, &limits, &network, &err), &err);
    for (int i = 1; i < RESPONSES; i++) {
        first[i] = first[i - 1] + lengths[i - 1];
    }
    for (int g = 0; g < 2; g++) {
        in[g]->group.features = r[g]->features;
        need_ok(tr_network_vision_forward(network, &in[g]->visual, false, r[g]->features, &err), &err);
        need_ok(tr_network_group_forward(network, &in[g]->group, 0.8f, false, r[g]->logp, NULL, &err), &err);
        need_ok(tr_network_prefill(network, g, &in[g]->group, logits, &err), &err);
        model->ops->logsoftmax_row(row, logits, VOCAB, 0.8f);
        for (int i = 0; i < RESPONSES; i++) {
            decoded[g][first[i]] = row[in[g]->responses[first[i]]];
        }
    }
    for (int turn = 0; turn < 200; turn++) {
        int64_t streams[STREAMS], slots[STREAMS], index[STREAMS], rows = 0;
        int32_t tokens[STREAMS];
        for (int s = 0; s < STREAMS; s++) {
            int g = s / RESPONSES, i = s % RESPONSES;
            if (done[s] + 1 < lengths[i] && (turn * 7 + s * s) % 3 != 0) {
                streams[rows] = STREAMS - 1 - s;
                slots[rows] = g;
                index[rows] = done[s];
                tokens[rows++] = in[g]->responses[first[i] + done[s]++];
            }
        }
        if (!rows) {
            continue;
        }
        need_ok(tr_network_decode(network, streams, slots, index, tokens, rows, logits, &err), &err);
        for (int64_t k = 0; k < rows; k++) {
            int64_t at = first[(STREAMS - 1 - streams[k]) % RESPONSES] + index[k] + 1;
            model->ops->logsoftmax_row(row, logits + k * VOCAB, VOCAB, 0.8f);
            decoded[slots[k]][at] = row[in[slots[k]]->responses[at]];
        }
    }
    for (int g = 0; g < 2; g++) {
        assert_memory_equal(decoded[g], r[g]->logp, sizeof decoded[g]);
        free(in[g]);
        free(r[g]);
    }
    tr_network_free(network);
    tr_model_free(model);
}

static void test_a_step_allocates_nothing(void **state)
{
    (void)state;
    if (!COUNTS_ALLOCATIONS) {
        skip_test("allocations are not counted under a sanitizer");
    }
    tr_error err = {0};
    tr_network *network;
    tr_network_limits limits = limits_of(true, TR_RECOMPUTE_LAYER);
    tr_model *model = make_model(NULL, (tr_model_options){.train = true}, TR_F32);
    input *in = make_input(&model->config, 3);
    result *r = calloc(1, sizeof *r);
    static float logits[2 * VOCAB];
    need_ok(tr_network_create(model, &limits, &network, &err), &err);
    step(network, in, r, 1); /* the thread team starts */
    atomic_store(&allocations, 0);
    atomic_store(&counting, 1);
    free(malloc(1));
    int seen = atomic_load(&allocations);
    step(network, in, r, 1);
    need_ok(tr_network_prefill(network, 0, &in->group, logits, &err), &err);
    need_ok(tr_network_decode(network, (const int64_t[]){0, 1}, (const int64_t[]){0, 0}, (const int64_t[]){0, 0},
                              (const int32_t[]){5, 6}, 2, logits, &err),
            &err);
    atomic_store(&counting, 0);
    assert_int_equal(seen, 1);
    assert_int_equal(atomic_load(&allocations), 1);
    tr_network_free(network);
    tr_model_free(model);
    free(in);
    free(r);
}

static result *frozen(tr_model_options options, tr_model **kept)
{
    tr_error err = {0};
    tr_network *network;
    tr_network_limits limits = limits_of(true, TR_RECOMPUTE_NONE);
    options.train = true;
    tr_model *model = make_model(NULL, options, TR_F32);
    input *in = make_input(&model->config, 3);
    result *r = calloc(1, sizeof *r);
    need_ok(tr_network_create(model, &limits, &network, &err), &err);
    step(network, in, r, 1);
    hash_gradients(model, r);
    tr_network_free(network);
    free(in);
    *kept = model;
    return r;
}

static void test_frozen_parts_change_no_other_gradient(void **state)
{
    (void)state;
    static const tr_model_options kinds[] = {
        {.freeze_vision = true},
        {.freeze_merger = true},
        {.freeze_text = true},
        {.freeze_vision = true, .freeze_merger = true},
        {.freeze_text = true, .freeze_vision = true},
        {.freeze_text = true, .freeze_merger = true},
    };
    tr_model *whole_model, *model;
    result *all = frozen((tr_model_options){0}, &whole_model);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        result *some = frozen(kinds[k], &model);
        int left = 0;
        for (int i = 0; i < model->params.count; i++) {
            tr_param_part part = model->params.items[i].part;
            bool off = part == TR_PART_TEXT     ? kinds[k].freeze_text
                       : part == TR_PART_VISION ? kinds[k].freeze_vision
                                                : kinds[k].freeze_merger;
            assert_true(off == !model->params.items[i].gradient);
            assert_true(off || some->gradients[i] == all->gradients[i]);
            left += !off;
        }
        assert_true(left > 0 && left < model->params.count);
        tr_model_free(model);
        free(some);
    }
    tr_model_free(whole_model);
    free(all);
}

/* SFT: prompt targets of a whole conversation and the same tokens as one response agree to rounding; their key
 * tiles start elsewhere, so the bits may differ. */
static void test_prompt_targets_and_a_single_response_agree(void **state)
{
    (void)state;
    tr_error err = {0};
    tr_network *network;
    enum { EXTRA = 20, ALL = PROMPT + EXTRA };
    tr_network_limits limits = limits_of(false, TR_RECOMPUTE_NONE);
    limits.prompt_tokens = ALL;
    limits.targets = ALL;
    tr_model *model = make_model(NULL, (tr_model_options){0}, TR_F32);
    input *in = make_input(&model->config, 3);
    result *r = calloc(1, sizeof *r);
    int32_t ids[ALL], targets[ALL], positions[3 * ALL];
    float logp[ALL], alone[TOKENS];
    memcpy(ids, in->ids, sizeof in->ids);
    memcpy(ids + PROMPT, in->responses, EXTRA * sizeof *ids);
    for (int i = 0; i < ALL; i++) {
        targets[i] = i >= PROMPT - 1 && i + 1 < ALL ? ids[i + 1] : -1;
    }
    need_ok(tr_positions(&model->config, ids, ALL, grids, 2, (const double[]){0.75, 1.0}, positions, NULL, &err),
            &err);
    need_ok(tr_network_create(model, &limits, &network, &err), &err);
    need_ok(tr_network_vision_forward(network, &in->visual, false, r->features, &err), &err);
    tr_group conversation = {.prompt_ids = ids,
                             .positions = positions,
                             .prompt = ALL,
                             .features = r->features,
                             .visual_tokens = VISUAL,
                             .prompt_targets = targets};
    need_ok(tr_network_group_forward(network, &conversation, 1, false, logp, NULL, &err), &err);
    tr_group single = in->group;
    single.features = r->features;
    single.lengths = (const int64_t[]){EXTRA};
    single.responses = 1;
    need_ok(tr_network_group_forward(network, &single, 1, false, alone, NULL, &err), &err);
    for (int i = 0; i < EXTRA; i++) {
        float d = logp[PROMPT - 1 + i] - alone[i];
        assert_true(d < 1e-3f && d > -1e-3f);
    }
    assert_true(logp[0] == 0);
    tr_network_free(network);
    tr_model_free(model);
    free(in);
    free(r);
}

static void test_misuse_is_refused(void **state)
{
    (void)state;
    tr_error err = {0};
    tr_network *network;
    tr_network_limits limits = limits_of(false, TR_RECOMPUTE_NONE);
    tr_model *model = make_model(NULL, (tr_model_options){0}, TR_F32);
    input *in = make_input(&model->config, 3);
    result *r = calloc(1, sizeof *r);
    static float logits[VOCAB];
    need_ok(tr_network_create(model, &limits, &network, &err), &err);
    assert_int_equal(tr_network_vision_forward(network, &in->visual, true, r->features, &err), TR_INVALID);
    tr_visual wrong = in->visual;
    wrong.rows -= 4;
    assert_int_equal(tr_network_vision_forward(network, &wrong, false, r->features, &err), TR_MISMATCH);
    wrong.rows = ROWS + 4;
    assert_int_equal(tr_network_vision_forward(network, &wrong, false, r->features, &err), TR_MEMORY);
    assert_int_equal(tr_network_group_forward(network, &in->group, 1, false, r->logp, NULL, &err), TR_MISMATCH);
    in->group.features = r->features;
    assert_int_equal(tr_network_group_forward(network, &in->group, 1, true, r->logp, NULL, &err), TR_INVALID);
    assert_int_equal(tr_network_group_backward(network, &in->group, in->dlogp, NULL, NULL, &err), TR_INVALID);
    in->group.visual_tokens--;
    assert_int_equal(tr_network_group_forward(network, &in->group, 1, false, r->logp, NULL, &err), TR_MISMATCH);
    in->group.visual_tokens++;
    in->responses[4] = VOCAB;
    assert_int_equal(tr_network_group_forward(network, &in->group, 1, false, r->logp, NULL, &err), TR_INVALID);
    assert_int_equal(tr_network_prefill(network, 2, &in->group, logits, &err), TR_INVALID);
    assert_int_equal(tr_network_decode(network, (const int64_t[]){0}, (const int64_t[]){0}, (const int64_t[]){20},
                                       (const int32_t[]){1}, 1, logits, &err),
                     TR_INVALID);
    tr_network_free(network);
    tr_model_free(model);
    free(in);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_variants_and_recomputation_give_the_same_bits),
        cmocka_unit_test(test_a_response_alone_has_the_bits_it_has_in_a_group),
        cmocka_unit_test(test_decoding_has_the_bits_of_the_packed_forward),
        cmocka_unit_test(test_a_step_allocates_nothing),
        cmocka_unit_test(test_frozen_parts_change_no_other_gradient),
        cmocka_unit_test(test_prompt_targets_and_a_single_response_agree),
        cmocka_unit_test(test_misuse_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
