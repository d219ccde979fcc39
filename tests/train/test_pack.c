/* test_pack.c: question-answer pairs of one clip as one packed group: loss and gradients of the real prompts'
 * network equal those of the pairs computed apart, within f32 rounding; bit for bit where the key tiles coincide.
 */
#include "support/compare.h"
#include "support/tiny.h"

#include "base/random.h"
#include "rl/policy.h"
#include "train/pack.h"
#include "video/clip.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 6 };

static char tokenizer[512], corpus[512], videos[600], rows[600];

static int make(void **state)
{
    (void)state;
    tr_video_set_worker(TEMPR1_PROGRAM);
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    snprintf(corpus, sizeof corpus, "%s", scratch_path("corpus"));
    snprintf(videos, sizeof videos, "%s/videos", corpus);
    snprintf(rows, sizeof rows, "%s/test.jsonl", corpus);
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, scratch_path("model"), 3, 0);
    tiny_corpus(corpus, "tg,dtg,vhd,gvqa,tal,qa", 2);
    return 0;
}

/* A model that trains every part, and the pairs of one clip of the corpus. */
typedef struct fixture {
    tr_model *model;
    tr_network *network;
    tr_source *source;
    tr_sample samples[PAIRS];
    int64_t count, tokens; /* of all targets */
    tr_pack pack;
    float *features, *dfeatures, *logp, *entropy, *dlogp;
} fixture;

static void check(tr_status status, const tr_error *err)
{
    if (status) {
        fail_msg("%s: %s", err->where, err->message);
    }
}

static void open_fixture(fixture *f, const char *isa)
{
    tr_error err = {0};
    const tr_model_options model_options = {.dtype = TR_F32, .train = true, .isa = isa};
    memset(f, 0, sizeof *f);
    check(tr_model_load(scratch_path("model"), &model_options, &f->model, &err), &err);
    const tr_data_entry entry = {
        .rows = rows, .videos = videos, .weight = 1, .reward = "tempr1", .prompt = "no-think"};
    const tr_source_options options = {
        .model = &f->model->config,
        .tokenizer = tokenizer,
        .video = {.fps = 2, .min_frames = 2, .max_frames = 4, .total_pixels = 12544, .min_pixels = 784},
        .entries = &entry,
        .entry_count = 1,
        .targets = true};
    check(tr_source_open(&options, &f->source, &err), &err);
    const tr_source_limits *l = &f->source->limits;
    const int64_t tokens = PAIRS * l->pair_tokens;
    const tr_network_limits limits = {.patches = l->patches,
                                      .largest_grid = l->largest_grid,
                                      .prompt_tokens = l->prompt_tokens,
                                      .responses = PAIRS,
                                      .response_tokens = tokens,
                                      .targets = tokens,
                                      .train_text = true,
                                      .train_vision = true};
    check(tr_network_create(f->model, &limits, &f->network, &err), &err);
    check(tr_pack_create(&f->pack, PAIRS, l->prompt_tokens, tokens, &err), &err);
    for (int64_t row = 0; row < f->source->rows && f->count < PAIRS; row++) {
        if (f->source->shared[row] == f->source->shared[0]) {
            tr_sample *s = &f->samples[f->count++];
            check(f->source->call->load(f->source, row, true, s, &err), &err);
            check(f->source->call->patches(f->source, s, &err), &err);
            f->tokens += s->target_count;
        }
    }
    assert_true(f->count >= 4);
    const size_t visual = (size_t)(f->samples[0].visual_tokens * f->model->config.hidden);
    f->features = calloc(visual, sizeof *f->features);
    f->dfeatures = calloc(visual, sizeof *f->dfeatures);
    f->logp = calloc((size_t)tokens, sizeof *f->logp);
    f->entropy = calloc((size_t)tokens, sizeof *f->entropy);
    f->dlogp = calloc((size_t)tokens, sizeof *f->dlogp);
}

static void close_fixture(fixture *f)
{
    for (int64_t i = 0; i < f->count; i++) {
        tr_sample_clear(&f->samples[i]);
    }
    free(f->features);
    free(f->dfeatures);
    free(f->logp);
    free(f->entropy);
    free(f->dlogp);
    tr_pack_free(&f->pack);
    tr_network_free(f->network);
    tr_source_free(f->source);
    tr_model_free(f->model);
}

/* Gradients of all pairs, `together` in each group, added up; the loss. *saved grows. */
static double gradients(fixture *f, int64_t together, int64_t *saved)
{
    tr_policy_sums sums = {0};
    tr_error err = {0};
    tr_model_zero_gradients(f->model);
    for (int64_t i = 0; i < f->count; i += together) {
        tr_group group;
        const tr_sample *s = &f->samples[i];
        int64_t count = f->count - i < together ? f->count - i : together, at = 0, less;
        check(tr_network_vision_forward(f->network, &s->visual, true, f->features, &err), &err);
        check(tr_pack_build(&f->pack, &f->model->config, s, count, f->features, &group, &less, &err), &err);
        assert_true(together > 1 || (group.prompt == s->prompt && less == 0));
        check(tr_network_group_forward(f->network, &group, 1, true, f->logp, f->entropy, &err), &err);
        for (int64_t r = 0; r < count; at += f->pack.lengths[r], r++) {
            int64_t rest = f->pack.rests[r];
            memset(f->dlogp + at, 0, (size_t)rest * sizeof *f->dlogp);
            tr_supervised_loss(f->logp + at + rest, f->entropy + at + rest, f->pack.lengths[r] - rest, f->tokens,
                               &sums, f->dlogp + at + rest);
        }
        check(tr_network_group_backward(f->network, &group, f->dlogp, NULL, f->dfeatures, &err), &err);
        check(tr_network_vision_backward(f->network, &s->visual, f->dfeatures, &err), &err);
        *saved += less;
    }
    assert_int_equal(sums.tokens, f->tokens);
    return sums.loss;
}

static size_t elements(const tr_param *p)
{
    return (size_t)p->elements;
}

/* The gradients that tr_trainer would add, one after the other in a copy. */
static float *copy_gradients(const tr_model *model)
{
    size_t count = 0, at = 0;
    for (int i = 0; i < model->params.count; i++) {
        count += elements(&model->params.items[i]);
    }
    float *all = malloc(count * sizeof *all);
    assert_non_null(all);
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        for (int64_t row = 0; row < p->out; row++) {
            for (int64_t c = 0; c < p->in; c++) {
                all[at++] = p->gradient[p->matrix ? tr_matrix_index(p->in, row, c) : row];
            }
        }
    }
    assert_int_equal(at, count);
    return all;
}

static double largest_error(const float *x, const float *truth, size_t count, double *rms)
{
    double most = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)x[i] - (double)truth[i]);
        most = d > most ? d : most;
        squares += d * d;
    }
    *rms = sqrt(squares / (double)count);
    return most;
}

/* The goldens' criterion. The truth is what the plain reference operations (sums in double) give for the pairs
 * apart; the yardstick is how far the fast operations are from it for the pairs apart, per parameter. */
static void test_sharing_changes_no_gradient(void **state)
{
    (void)state;
    fixture plain, fast;
    int64_t saved = 0, none = 0;
    open_fixture(&plain, "reference");
    open_fixture(&fast, NULL);
    double truth_loss = gradients(&plain, 1, &none);
    float *truth = copy_gradients(plain.model);
    double apart_loss = gradients(&fast, 1, &none);
    float *apart = copy_gradients(fast.model);
    double shared_loss = gradients(&fast, PAIRS, &saved);
    float *shared = copy_gradients(fast.model);
    assert_int_equal(none, 0);
    assert_true(saved >= (fast.count - 1) * fast.samples[0].visual_tokens);
    assert_true(golden_scalar("loss", shared_loss, truth_loss, fabs(apart_loss - truth_loss)));
    size_t at = 0;
    for (int i = 0; i < fast.model->params.count; i++) {
        const tr_param *p = &fast.model->params.items[i];
        size_t n = elements(p);
        double rms, most = largest_error(apart + at, truth + at, n, &rms), top = 0, squares = 0;
        double *t = malloc(n * sizeof *t);
        assert_non_null(t);
        for (size_t k = 0; k < n; k++) {
            t[k] = (double)truth[at + k];
            top = fabs(t[k]) > top ? fabs(t[k]) : top;
            squares += t[k] * t[k];
        }
        assert_true(golden_close(p->name, shared + at, t, n, most, rms, top, sqrt(squares / (double)n)));
        free(t);
        at += n;
    }
    free(truth);
    free(apart);
    free(shared);
    close_fixture(&plain);
    close_fixture(&fast);
}

/* Positions of a packed response go on as in the whole sequence. */
static void test_positions_go_on(void **state)
{
    (void)state;
    fixture f;
    tr_group group;
    int64_t saved;
    tr_error err = {0};
    open_fixture(&f, NULL);
    check(tr_pack_build(&f.pack, &f.model->config, f.samples, f.count, f.features, &group, &saved, &err), &err);
    int32_t next = 0;
    for (int64_t i = 0; i < 3 * group.prompt; i++) {
        next = group.positions[i] >= next ? group.positions[i] + 1 : next;
    }
    const int32_t *ids = group.response_ids;
    assert_int_equal(saved, (f.count - 1) * group.prompt);
    for (int64_t r = 0; r < f.count; ids += group.lengths[r], r++) {
        const tr_sample *s = &f.samples[r];
        int64_t rest = f.pack.rests[r];
        assert_int_equal(group.prompt + rest, s->prompt);
        assert_int_equal(group.lengths[r], rest + s->target_count);
        assert_memory_equal(group.prompt_ids, s->prompt_ids, (size_t)group.prompt * sizeof *ids);
        assert_memory_equal(ids, s->prompt_ids + group.prompt, (size_t)rest * sizeof *ids);
        assert_memory_equal(ids + rest, s->target_ids, (size_t)s->target_count * sizeof *ids);
        for (int axis = 0; axis < 3; axis++) {
            assert_memory_equal(group.positions + axis * group.prompt, s->positions + axis * s->prompt,
                                (size_t)group.prompt * sizeof *ids);
            for (int64_t k = 0; k < rest; k++) {
                assert_int_equal(s->positions[axis * s->prompt + group.prompt + k], next + k);
            }
        }
    }
    close_fixture(&f);
}

/* Text prompts of 128 tokens that differ from token 64 on: both ends fall on a multiple of 64. */
static void test_bit_for_bit_where_the_tiles_coincide(void **state)
{
    (void)state;
    static const int64_t shared[2] = {64, 60};
    fixture f;
    open_fixture(&f, NULL);
    for (int cut = 0; cut < 2; cut++) { /* with 60 the tiles differ: the same to rounding only */
        enum { PROMPT = 128, TARGET = 5, TWO = 2 };
        static int32_t ids[TWO][PROMPT], positions[3 * PROMPT], targets[TARGET];
        tr_sample s[TWO] = {{0}};
        float apart[TWO * TARGET], together[TWO * TARGET];
        tr_group group;
        tr_error err = {0};
        int64_t saved;
        for (int i = 0; i < TWO; i++) {
            for (int k = 0; k < PROMPT; k++) {
                uint32_t which = k < shared[cut] ? 0 : (uint32_t)i + 1;
                ids[i][k] = 40 + (int32_t)(tr_random_uniform(9, which, (uint32_t)k, 0, 0) * 100);
                ids[i][k] = k == shared[cut] ? 40 + i : ids[i][k]; /* differ here for sure */
                positions[k] = positions[PROMPT + k] = positions[2 * PROMPT + k] = k;
            }
            s[i] = (tr_sample){.id = "row",
                               .prompt_ids = ids[i],
                               .prompt = PROMPT,
                               .positions = positions,
                               .target_ids = targets,
                               .target_count = TARGET};
        }
        for (int k = 0; k < TARGET; k++) {
            targets[k] = 50 + 3 * k;
        }
        for (int i = 0; i < TWO; i++) {
            check(tr_pack_build(&f.pack, &f.model->config, &s[i], 1, NULL, &group, &saved, &err), &err);
            check(tr_network_group_forward(f.network, &group, 1, false, apart + i * TARGET, NULL, &err), &err);
        }
        check(tr_pack_build(&f.pack, &f.model->config, s, TWO, NULL, &group, &saved, &err), &err);
        assert_int_equal(group.prompt, shared[cut]);
        check(tr_network_group_forward(f.network, &group, 1, false, f.logp, NULL, &err), &err);
        int64_t rest = PROMPT - shared[cut];
        for (int i = 0; i < TWO; i++) {
            memcpy(together + i * TARGET, f.logp + i * (rest + TARGET) + rest, TARGET * sizeof *together);
        }
        assert_int_equal(!memcmp(apart, together, sizeof apart), cut == 0);
        assert_true(all_close("log-probs", together, apart, TWO * TARGET, 0, 1e-5));
    }
    close_fixture(&f);
}

static void test_what_does_not_fit_is_refused(void **state)
{
    (void)state;
    fixture f;
    tr_pack small;
    tr_group group;
    int64_t saved;
    tr_error err = {0};
    open_fixture(&f, NULL);
    assert_int_equal(tr_pack_create(&small, 2, f.samples[0].prompt, 4096, &err), TR_OK);
    assert_int_equal(tr_pack_build(&small, &f.model->config, f.samples, 3, f.features, &group, &saved, &err),
                     TR_MEMORY);
    assert_non_null(strstr(err.message, "planned"));
    f.samples[1].prompt_ids[1]++; /* before the clip */
    assert_int_equal(tr_pack_build(&small, &f.model->config, f.samples, 2, f.features, &group, &saved, &err),
                     TR_MISMATCH);
    assert_non_null(strstr(err.message, "sft.share_clip"));
    tr_pack_free(&small);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sharing_changes_no_gradient),
        cmocka_unit_test(test_positions_go_on),
        cmocka_unit_test(test_bit_for_bit_where_the_tiles_coincide),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
