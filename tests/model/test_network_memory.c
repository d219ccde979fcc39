/* test_network_memory.c: what shares memory in a network never shows in its numbers: the MLP a tile of rows at a
 * time, a reference that works in the memory of the network it refers for, frozen copies in bf16; and what is lost
 * by sharing is refused instead of read. Enough rows for several tiles; nothing here reads reference data. */
#include "support/shared.h"

#include "base/random.h"
#include "model/network.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GRID = 24,
    PATCHES = 2 * GRID * GRID, /* 1,152 */
    VISUAL = PATCHES / 4,
    TEXT = 300,
    PROMPT = VISUAL + TEXT,
    RESPONSES = 3,
    EACH = 50,
    TOKENS = RESPONSES * EACH,
    HIDDEN = 64
};

static const int32_t grids[1][3] = {{2, GRID, GRID}};
static const int64_t lengths[RESPONSES] = {EACH, EACH, EACH};
static float pixels[PATCHES * 1176];
static int32_t ids[PROMPT], positions[3 * PROMPT], responses[TOKENS];
static float dlogp[TOKENS];

typedef struct world {
    tr_model *model;
    tr_network *network;
    tr_group group;
    tr_visual visual;
    float features[VISUAL * HIDDEN], dfeatures[VISUAL * HIDDEN], logp[TOKENS];
} world;

static tr_network_limits limits_of(bool train, tr_recompute recompute, int64_t mlp_rows)
{
    return (tr_network_limits){.patches = PATCHES,
                               .largest_grid = GRID * GRID,
                               .prompt_tokens = PROMPT,
                               .response_tokens = TOKENS,
                               .responses = RESPONSES,
                               .train_text = train,
                               .train_vision = train,
                               .decode_rows = train ? RESPONSES : 0,
                               .decode_groups = train ? 1 : 0,
                               .decode_tokens = train ? EACH : 0,
                               .recompute = recompute,
                               .mlp_rows = mlp_rows};
}

static void make_inputs(const tr_model_config *config)
{
    const double seconds = 0.7;
    tr_error err = {0};
    for (int64_t i = 0; i < PATCHES * 1176; i++) {
        pixels[i] = (float)(tr_hash(&i, sizeof i) >> 40) * 0x1p-23f - 1;
    }
    for (int64_t i = 0; i < PROMPT; i++) {
        const bool visual = i >= 10 && i < 10 + VISUAL;
        ids[i] = visual ? (int32_t)config->video_id : 1 + (int32_t)tr_random_below(5, (uint32_t)i, 1, 0, 0, 200);
    }
    for (int64_t i = 0; i < TOKENS; i++) {
        responses[i] = 1 + (int32_t)tr_random_below(5, (uint32_t)i, 2, 0, 0, 200);
        dlogp[i] = (float)tr_random_normal(5, (uint32_t)i, 3, 0, 0);
    }
    need_ok(tr_positions(config, ids, PROMPT, grids, 1, &seconds, positions, NULL, &err), &err);
}

/* A tower and a decoder that train, with weights of bf16 when `half`. */
static world *make_world(tr_recompute recompute, int64_t mlp_rows, bool half, uint64_t lends)
{
    const tr_model_options options = {.dtype = TR_F32, .train = true};
    world *w = calloc(1, sizeof *w);
    tr_model_config config;
    tr_error err = {0};
    assert_non_null(w);
    need_ok(tr_model_config_preset("nano", &config, &err), &err);
    assert_int_equal(config.hidden, HIDDEN);
    need_ok(tr_model_create(&config, &options, 3, &w->model, &err), &err);
    for (int i = 0; i < w->model->params.count; i++) {
        tr_param *p = &w->model->params.items[i];
        for (int64_t k = 0; k < p->elements; k++) {
            p->master[k] = p->matrix ? 4 * p->master[k] : p->master[k] + 0.1f * (float)(k % 7);
        }
        uint16_t *piece = calloc((size_t)p->elements, sizeof *piece);
        assert_non_null(piece);
        if (half) {
            tr_convert(piece, TR_BF16, p->master, TR_F32, p->elements);
            tr_convert(p->master, TR_F32, piece, TR_BF16, p->elements);
        }
        free(piece);
    }
    tr_network_limits limits = limits_of(true, recompute, mlp_rows);
    limits.lends = lends;
    need_ok(tr_network_create(w->model, &limits, &w->network, &err), &err);
    make_inputs(&config);
    w->visual = (tr_visual){pixels, PATCHES, grids, 1};
    w->group = (tr_group){.prompt_ids = ids,
                          .positions = positions,
                          .prompt = PROMPT,
                          .features = w->features,
                          .visual_tokens = VISUAL,
                          .response_ids = responses,
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

static void forward(world *w)
{
    tr_error err = {0};
    need_ok(tr_network_vision_forward(w->network, &w->visual, true, w->features, &err), &err);
    need_ok(tr_network_group_forward(w->network, &w->group, 0.9f, true, w->logp, NULL, &err), &err);
}

static void backward(world *w)
{
    tr_error err = {0};
    need_ok(tr_network_group_backward(w->network, &w->group, dlogp, NULL, w->dfeatures, &err), &err);
    need_ok(tr_network_vision_backward(w->network, &w->visual, w->dfeatures, &err), &err);
}

static void same_step(const world *a, const world *b)
{
    assert_memory_equal(a->features, b->features, sizeof a->features);
    assert_memory_equal(a->logp, b->logp, sizeof a->logp);
    assert_memory_equal(a->dfeatures, b->dfeatures, sizeof a->dfeatures);
    for (int i = 0; i < a->model->params.count; i++) {
        const tr_param *p = &a->model->params.items[i], *q = &b->model->params.items[i];
        double sum = 0;
        for (int64_t k = 0; k < p->elements; k++) {
            sum += fabs((double)p->gradient[k]);
        }
        if (!(sum > 0) || memcmp(p->gradient, q->gradient, (size_t)p->elements * sizeof(float))) {
            printf("%s: the gradients differ or are 0\n", p->name);
            fail();
        }
    }
}

/* All rows of an MLP at once, 1,024 or 256 of them, kept or made again: the same bits. */
static void test_tiles(void **state)
{
    (void)state;
    world *whole = make_world(TR_RECOMPUTE_NONE, 1 << 20, false, 0);
    const struct {
        tr_recompute recompute;
        int64_t rows;
    } ways[] = {{TR_RECOMPUTE_NONE, 0},
                {TR_RECOMPUTE_NONE, 256},
                {TR_RECOMPUTE_LAYER, 1 << 20},
                {TR_RECOMPUTE_LAYER, 0},
                {TR_RECOMPUTE_LAYER, 256}};
    forward(whole);
    backward(whole);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        world *w = make_world(ways[i].recompute, ways[i].rows, false, 0);
        forward(w);
        backward(w);
        same_step(whole, w);
        free_world(w);
    }
    free_world(whole);
}

/* Smaller tiles, fewer bytes; the cache of a small rollout lies where the backward works. */
static void test_bytes(void **state)
{
    (void)state;
    tr_model_config config;
    tr_error err = {0};
    uint64_t none, tiles, layer, alone, cache;
    need_ok(tr_model_config_preset("nano", &config, &err), &err);
    tr_network_limits limits = limits_of(true, TR_RECOMPUTE_NONE, 1 << 20);
    need_ok(tr_network_plan_config(&config, &limits, &none, &err), &err);
    limits.recompute = TR_RECOMPUTE_LAYER;
    need_ok(tr_network_plan_config(&config, &limits, &layer, &err), &err);
    limits.mlp_rows = 256;
    need_ok(tr_network_plan_config(&config, &limits, &tiles, &err), &err);
    assert_true(tiles < layer && layer < none);
    limits.decode_rows = limits.decode_groups = limits.decode_tokens = 0;
    need_ok(tr_network_plan_config(&config, &limits, &alone, &err), &err);
    assert_true(alone == tiles);
    limits = limits_of(true, TR_RECOMPUTE_LAYER, 256);
    limits.decode_rows = 4000; /* more than fits there */
    need_ok(tr_network_plan_config(&config, &limits, &cache, &err), &err);
    assert_true(cache > alone);
}

/* A reference whose bf16 copies of the weights hold the same values, in the memory of the network that trains. */
static void test_reference_within(void **state)
{
    (void)state;
    enum { OWN, LENT, CACHED };
    float expected[3][TOKENS], reference_features[VISUAL * HIDDEN], logits[4096];
    const tr_network_limits limits = limits_of(false, TR_RECOMPUTE_NONE, 0);
    const int64_t stream = 0, slot = 0, index = 0;
    world *plain = make_world(TR_RECOMPUTE_LAYER, 0, true, 0);
    tr_model *reference;
    tr_network *own, *within;
    tr_error err = {0};
    uint64_t bytes, lending, before;
    need_ok(tr_network_plan(plain->model, &limits, &bytes, &err), &err);
    world *w = make_world(TR_RECOMPUTE_LAYER, 0, true, bytes);
    assert_true(w->model->config.vocab <= 4096);
    tr_network_limits own_limits = limits_of(true, TR_RECOMPUTE_LAYER, 0);
    need_ok(tr_network_plan(w->model, &own_limits, &before, &err), &err);
    own_limits.lends = bytes;
    need_ok(tr_network_plan(w->model, &own_limits, &lending, &err), &err);
    assert_true(lending >= before && lending < before + bytes); /* it is not simply added */

    need_ok(tr_model_clone_frozen(w->model, NULL, &reference, &err), &err);
    for (int i = 0; i < reference->params.count; i++) {
        const tr_param *p = &reference->params.items[i];
        assert_int_equal(p->value.dtype, p->matrix ? TR_BF16 : TR_F32);
    }
    need_ok(tr_network_create(reference, &limits, &own, &err), &err);
    need_ok(tr_network_create_within(reference, &limits, w->network, &within, &err), &err);
    tr_network *both[] = {own, within};
    tr_group group = w->group;

    forward(plain); /* f32 weights of the same values */
    backward(plain);
    need_ok(tr_network_vision_forward(w->network, &w->visual, true, w->features, &err), &err);
    tr_group prompt = w->group;
    prompt.responses = 0;
    need_ok(tr_network_prefill(w->network, 0, &prompt, logits, &err), &err);
    need_ok(tr_network_decode(w->network, &stream, &slot, &index, responses, 1, logits, &err), &err);
    for (int i = OWN; i <= LENT; i++) {
        need_ok(tr_network_vision_forward(both[i], &w->visual, false, reference_features, &err), &err);
        assert_memory_equal(reference_features, plain->features, sizeof plain->features);
        group.features = reference_features;
        need_ok(tr_network_group_forward(both[i], &group, 0.9f, false, expected[i], NULL, &err), &err);
        assert_memory_equal(expected[i], plain->logp, sizeof plain->logp);
    }
    /* what the vision pass kept is still there; what was prefilled is not, and is refused */
    assert_int_equal(tr_network_decode(w->network, &stream, &slot, &index, responses, 1, logits, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "prefill"));
    need_ok(tr_network_group_forward(w->network, &w->group, 0.9f, true, w->logp, NULL, &err), &err);
    backward(w);
    same_step(plain, w);
    /* nor what a group's forward kept */
    forward(w);
    need_ok(tr_network_group_forward(within, &group, 0.9f, false, expected[CACHED], NULL, &err), &err);
    assert_int_equal(tr_network_group_backward(w->network, &w->group, dlogp, NULL, w->dfeatures, &err), TR_INVALID);

    tr_network_free(own);
    tr_network_free(within);
    tr_model_free(reference);
    free_world(w);
    free_world(plain);
}

/* A clip's pass writes over a group's activations, a backward over what was prefilled; other forwards leave it. */
static void test_refusals(void **state)
{
    (void)state;
    world *w = make_world(TR_RECOMPUTE_LAYER, 0, false, 0);
    const int64_t stream = 0, slot = 0, index = 0;
    float before[4096], logits[4096];
    tr_error err = {0};
    tr_group prompt = w->group;
    prompt.responses = 0;
    forward(w);
    need_ok(tr_network_vision_forward(w->network, &w->visual, true, w->features, &err), &err);
    assert_int_equal(tr_network_group_backward(w->network, &w->group, dlogp, NULL, w->dfeatures, &err), TR_INVALID);
    assert_int_equal(tr_network_decode(w->network, &stream, &slot, &index, responses, 1, logits, &err), TR_INVALID);
    need_ok(tr_network_prefill(w->network, 0, &prompt, logits, &err), &err);
    need_ok(tr_network_decode(w->network, &stream, &slot, &index, responses, 1, before, &err), &err);
    need_ok(tr_network_vision_forward(w->network, &w->visual, true, w->features, &err), &err);
    need_ok(tr_network_group_forward(w->network, &w->group, 0.9f, true, w->logp, NULL, &err), &err);
    need_ok(tr_network_decode(w->network, &stream, &slot, &index, responses, 1, logits, &err), &err);
    assert_memory_equal(before, logits, (size_t)w->model->config.vocab * sizeof *logits);
    backward(w);
    assert_int_equal(tr_network_decode(w->network, &stream, &slot, &index, responses, 1, logits, &err), TR_INVALID);
    free_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tiles), cmocka_unit_test(test_bytes),
                                       cmocka_unit_test(test_reference_within), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
