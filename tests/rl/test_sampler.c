/* test_sampler.c: the filters, bans and the distribution of draws. */
#include "support/shared.h"

#include "base/math.h"
#include "rl/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 700 }; /* more than one block of weights, not a multiple of it */

static void fill(float *logits)
{
    for (int i = 0; i < VOCAB; i++) {
        logits[i] = 3.0f * (float)sin(i * 0.37) + (float)(i % 7) * 0.5f;
    }
}

static tr_sampling plain(void)
{
    return (tr_sampling){.temperature = 1, .top_p = 1, .max_tokens = 1};
}

static int32_t pick(const tr_sampling *s, const float *logits, uint32_t token)
{
    void *work = malloc((size_t)tr_sampler_work(VOCAB));
    tr_draw draw = {7, 1, 2, 3, token};
    int32_t id = tr_sampler_pick(s, logits, VOCAB, &draw, work);
    free(work);
    return id;
}

/* Probabilities after the filters, by the plainest means: full sort. */
static void expect(const tr_sampling *s, const float *logits, double *p)
{
    int order[VOCAB], n = 0;
    double total = 0, top = -INFINITY;
    for (int i = 0; i < VOCAB; i++) {
        p[i] = 0;
        if (!(s->banned && s->banned[i])) {
            order[n++] = i;
            top = fmax(top, (double)logits[i]);
        }
    }
    for (int i = 1; i < n; i++) {
        for (int j = i; j > 0 && logits[order[j]] > logits[order[j - 1]]; j--) {
            int t = order[j];
            order[j] = order[j - 1];
            order[j - 1] = t;
        }
    }
    n = s->top_k > 0 && s->top_k < n ? (int)s->top_k : n;
    for (int i = 0; i < n; i++) {
        p[order[i]] = exp(((double)logits[order[i]] - top) / s->temperature);
        total += p[order[i]];
    }
    double before = 0, kept = 0;
    for (int i = 0; i < n; i++) {
        double weight = p[order[i]];
        bool in = i == 0 || ((s->top_p >= 1 || before < s->top_p * total) && weight >= s->min_p);
        p[order[i]] = in ? weight : 0;
        kept += p[order[i]];
        before += weight;
    }
    for (int i = 0; i < VOCAB; i++) {
        p[i] /= kept;
    }
}

static void check_distribution(const tr_sampling *s)
{
    float logits[VOCAB];
    double p[VOCAB];
    static int counts[VOCAB];
    const int draws = 20000;
    fill(logits);
    expect(s, logits, p);
    memset(counts, 0, sizeof counts);
    for (int i = 0; i < draws; i++) {
        int32_t id = pick(s, logits, (uint32_t)i);
        assert_in_range(id, 0, VOCAB - 1);
        assert_true(p[id] > 0); /* never outside the filters */
        counts[id]++;
    }
    for (int i = 0; i < VOCAB; i++) {
        /* six standard deviations of a binomial count, and one for rounding */
        assert_true(fabs(counts[i] - draws * p[i]) <= 6 * sqrt(draws * p[i] * (1 - p[i])) + 1);
    }
}

static void test_draws_follow_the_distribution(void **state)
{
    (void)state;
    tr_sampling s = plain();
    check_distribution(&s);
    s.temperature = 0.5;
    check_distribution(&s);
    s.temperature = 1;
    s.top_k = 5;
    check_distribution(&s);
    s.top_k = 0;
    s.top_p = 0.6;
    check_distribution(&s);
    s.top_p = 1;
    s.min_p = 0.3;
    check_distribution(&s);
    s.top_k = 40;
    s.top_p = 0.8;
    s.min_p = 0.2;
    check_distribution(&s);
}

static void test_greedy_takes_the_lowest_of_equals(void **state)
{
    (void)state;
    float logits[VOCAB];
    fill(logits);
    logits[100] = logits[50] = 90;
    tr_sampling s = plain();
    s.temperature = 0;
    assert_int_equal(pick(&s, logits, 0), 50);
    uint8_t banned[VOCAB] = {0};
    banned[50] = 1;
    s.banned = banned;
    assert_int_equal(pick(&s, logits, 0), 100);
    assert_true(tr_sampling_temperature(&s) == 1);
}

static void test_banned_ids_never_come(void **state)
{
    (void)state;
    float logits[VOCAB];
    uint8_t banned[VOCAB];
    fill(logits);
    for (int i = 0; i < VOCAB; i++) {
        banned[i] = i % 3 != 0;
    }
    logits[1] = 60; /* by far the likeliest, and banned */
    tr_sampling s = plain();
    s.banned = banned;
    for (int filter = 0; filter < 4; filter++) {
        s.top_k = filter == 1 ? 10 : 0;
        s.top_p = filter == 2 ? 0.5 : 1;
        s.temperature = filter == 3 ? 0 : 1;
        for (uint32_t i = 0; i < 500; i++) {
            assert_int_equal(pick(&s, logits, i) % 3, 0);
        }
    }
    memset(banned, 1, sizeof banned);
    assert_int_equal(pick(&s, logits, 0), -1);
}

static void test_the_counters_decide(void **state)
{
    (void)state;
    float logits[VOCAB];
    fill(logits);
    tr_sampling s = plain();
    int differ = 0;
    for (uint32_t i = 0; i < 50; i++) {
        assert_int_equal(pick(&s, logits, i), pick(&s, logits, i));
        differ += pick(&s, logits, i) != pick(&s, logits, i + 1);
    }
    assert_true(differ > 20);
    void *work = malloc((size_t)tr_sampler_work(VOCAB));
    for (int counter = 0; counter < 5; counter++) { /* seed, step, row, response and token: each of them counts */
        differ = 0;
        for (uint32_t i = 1; i < 50; i++) {
            tr_draw draw = {7, 1, 2, 3, 4},
                    other = {7 + (counter == 0) * i, 1 + (counter == 1) * i, 2 + (counter == 2) * i,
                             3 + (counter == 3) * i, 4 + (counter == 4) * i};
            differ +=
                tr_sampler_pick(&s, logits, VOCAB, &draw, work) != tr_sampler_pick(&s, logits, VOCAB, &other, work);
        }
        assert_true(differ > 20);
    }
    free(work);
}

static void test_bad_logits_and_extremes(void **state)
{
    (void)state;
    float logits[VOCAB];
    fill(logits);
    tr_sampling s = plain();
    logits[3] = NAN;
    assert_int_equal(pick(&s, logits, 0), -1);
    logits[3] = INFINITY;
    assert_int_equal(pick(&s, logits, 0), -1);
    for (int i = 0; i < VOCAB; i++) {
        logits[i] = -INFINITY;
    }
    assert_int_equal(pick(&s, logits, 0), -1);
    logits[VOCAB - 1] = -5; /* the only one left */
    for (int filter = 0; filter < 3; filter++) {
        s.top_k = filter == 1;
        s.top_p = filter == 2 ? 0.1 : 1;
        assert_int_equal(pick(&s, logits, 0), VOCAB - 1);
    }
}

static void test_settings_are_checked(void **state)
{
    (void)state;
    tr_sampling s = plain();
    tr_error err = {0};
    assert_int_equal(tr_sampling_check(&s, "rollout", &err), TR_OK);
    s.temperature = NAN;
    assert_int_equal(tr_sampling_check(&s, "rollout", &err), TR_INVALID);
    assert_non_null(strstr(err.message, "temperature"));
    s = plain();
    s.top_p = 0;
    assert_int_equal(tr_sampling_check(&s, "rollout", &err), TR_INVALID);
    s = plain();
    s.max_tokens = 0;
    assert_int_equal(tr_sampling_check(&s, "rollout", &err), TR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws_follow_the_distribution),
        cmocka_unit_test(test_greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(test_banned_ids_never_come),
        cmocka_unit_test(test_the_counters_decide),
        cmocka_unit_test(test_bad_logits_and_extremes),
        cmocka_unit_test(test_settings_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
