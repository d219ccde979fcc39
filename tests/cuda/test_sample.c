/* test_sample.c: the GPU's draw of the next token gives the CPU's tokens and the CPU's bits of their log-probs. */
#include "cuda/cuda_fixture.h"

#include "base/random.h"
#include "tensor/cpu/sample.h"

#include <math.h>

enum { ROWS = 5, SEED = 11, VOCAB_MAX = 9000 };

/* What the logits of a case look like. */
typedef enum shape { SMOOTH, TIES, FLAT, STEEP, SHAPES } shape;

static float *make_logits(shape what, int64_t rows, int64_t vocab, uint32_t salt)
{
    static float z[ROWS * VOCAB_MAX];
    for (int64_t i = 0; i < rows * vocab; i++) {
        const double x = tr_random_normal(SEED, salt, (uint32_t)i, (uint32_t)what, 0);
        z[i] = what == SMOOTH  ? (float)(3 * x)
               : what == TIES  ? (float)(int)(2 * x)
               : what == STEEP ? (float)(40 * x)
                               : 1.5f;
    }
    return z;
}

static const tr_ops *ops_;
static long compared_, refused_;

/* Draws on both and compares every byte; frees what it made. */
static void compare(const float *logits, bool shared, int64_t vocab, const tr_sampling *s, uint32_t token)
{
    const tr_ops *cpu = cpu_table();
    const int64_t rows = shared ? 1 : ROWS, cpu_work = cpu->sample_work(vocab, ROWS),
                  work = ops_->sample_work(vocab, ROWS);
    tr_draw draws[ROWS];
    tr_sampled want[ROWS], got[ROWS];
    for (uint32_t i = 0; i < ROWS; i++) {
        draws[i] = (tr_draw){0x123456789ABCDEFull + token, 3, i / 2, i, token};
    }
    memset(got, 0x77, sizeof got);
    cpu->sample(want, logits, shared, draws, ROWS, vocab, s, buffer(cpu_work), cpu_work);
    ops_->sample(got, on_device(logits, rows * vocab), shared, draws, ROWS, vocab, s, on_device(NULL, work), work);
    for (int i = 0; i < ROWS; i++) {
        compared_++;
        refused_ += want[i].id < 0;
        if (memcmp(&want[i], &got[i], sizeof want[i])) {
            fail_msg("vocab %ld, T %g, top_k %ld, top_p %g, min_p %g, shared %d, token %u, row %d: id %d logp %.9g "
                     "ended %d, the CPU has %d, %.9g, %d",
                     (long)vocab, s->temperature, (long)s->top_k, s->top_p, s->min_p, shared, token, i, got[i].id,
                     (double)got[i].logp, got[i].ended, want[i].id, (double)want[i].logp, want[i].ended);
        }
    }
    finish();
}

static const int64_t ends[] = {0, 2, 7};

static tr_sampling settings(double temperature, int64_t top_k, double top_p, double min_p)
{
    return (tr_sampling){.temperature = temperature,
                         .top_p = top_p,
                         .min_p = min_p,
                         .top_k = top_k,
                         .max_tokens = 1,
                         .end_ids = ends,
                         .end_count = 3};
}

static uint8_t *some_banned(int64_t vocab, double share, uint32_t salt)
{
    static uint8_t banned[VOCAB_MAX];
    for (int64_t i = 0; i < vocab; i++) {
        banned[i] = tr_random_uniform(SEED, salt, (uint32_t)i, 1, 1) < share;
    }
    return banned;
}

static void test_every_filter(void **state)
{
    (void)state;
    static const int64_t vocabs[] = {1, 5, 255, 256, 700, 4097};
    static const double temperatures[] = {0, 1e-3, 0.7, 1, 100}, top_ps[] = {1e-9, 0.3, 0.9, 1},
                        min_ps[] = {0, 0.05, 1};
    ops_ = table_of(TR_F32);
    uint32_t token = 0;
    for (size_t v = 0; v < sizeof vocabs / sizeof *vocabs; v++) {
        const int64_t vocab = vocabs[v], top_ks[] = {0, 1, 3, vocab - 1, vocab, vocab + 9};
        for (int what = 0; what < SHAPES; what++) {
            float *logits = make_logits((shape)what, ROWS, vocab, token);
            for (int i = 0; i < 5 * 4 * 3 * 6; i++) {
                if (vocab > 1000 && i % 7 != what) {
                    continue;
                }
                tr_sampling s =
                    settings(temperatures[i % 5], top_ks[i / 60], top_ps[i / 5 % 4], min_ps[i / 20 % 3]);
                s.banned = i % 2 ? some_banned(vocab, i % 4 == 1 ? 0.02 : 0.7, token) : NULL;
                compare(logits, i % 3 == 0, vocab, &s, token++);
            }
        }
    }
    printf("%ld draws, %ld of them refused on both\n", compared_, refused_);
    assert_true(refused_ > 0 && refused_ < compared_ / 2);
}

static void test_many_seeds(void **state)
{
    (void)state;
    static const struct {
        double temperature, top_p, min_p;
        int64_t top_k;
    } cases[] = {{1, 1, 0, 0}, {0.8, 0.95, 0, 0}, {1.3, 1, 0.02, 0}, {1, 0.9, 0.01, 40}};
    const int64_t vocab = 9000; /* three chunks */
    ops_ = table_of(TR_F32);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        float *logits = make_logits(c % 2 ? TIES : SMOOTH, ROWS, vocab, 99);
        for (uint32_t token = 0; token < 24; token++) {
            const tr_sampling s = settings(cases[c].temperature, cases[c].top_k, cases[c].top_p, cases[c].min_p);
            compare(logits, token % 4 == 3, vocab, &s, token);
        }
    }
}

/* Logits that are no numbers, or infinite, or all banned: refused where the CPU refuses, drawn where it draws. */
static void test_bad_logits(void **state)
{
    (void)state;
    const int64_t vocab = 600;
    static const float values[] = {NAN, INFINITY, -INFINITY, 1e30f, -3e38f};
    uint8_t banned[600];
    ops_ = table_of(TR_F32);
    refused_ = compared_ = 0;
    for (int i = 0; i < 5 * 3 * 4; i++) {
        float *logits = make_logits(SMOOTH, ROWS, vocab, 7);
        const int kind = i / 5 % 3;
        const bool infinite = isinf(values[i % 5]) && values[i % 5] > 0;
        logits[vocab + 17] = values[i % 5];
        logits[3 * vocab + 599] = values[i % 5];
        memset(banned, kind == 2, sizeof banned);
        banned[17] =
            kind == 1 && !infinite; /* a banned infinity makes the CPU's log-prob NaN: bits are the chip's */
        const tr_sampling drawn = settings(1, i / 15 == 1 ? 20 : 0, i / 15 == 2 ? 0.9 : 1, 0);
        const tr_sampling greedy = settings(0, 0, 1, 0);
        tr_sampling s = i / 15 == 3 ? greedy : drawn;
        s.banned = banned;
        compare(logits, false, vocab, &s, (uint32_t)i);
    }
    assert_true(refused_ > 20 && refused_ < compared_);
}

/* Weights whose target rounds behind the last one, and temperatures whose reciprocal is infinite in f32. */
static void test_extremes(void **state)
{
    (void)state;
    static const double temperatures[] = {1e-45, 1e-38, 1e-20, 1e20};
    const int64_t vocab = 513;
    ops_ = table_of(TR_F32);
    for (int i = 0; i < 4 * 4; i++) {
        float *logits = make_logits((shape)(i / 4), ROWS, vocab, 31);
        for (int f = 0; f < 4; f++) {
            const tr_sampling s = settings(temperatures[i % 4], f == 1 ? 5 : 0, f == 2 ? 0.5 : 1, f == 3 ? 0.5 : 0);
            compare(logits, false, vocab, &s, (uint32_t)(i * 4 + f));
        }
    }
}

static void test_too_little_memory_is_an_error(void **state)
{
    (void)state;
    const tr_sampling s = settings(1, 0, 1, 0);
    tr_draw draw = {0};
    tr_sampled out = {0};
    tr_error err = {0};
    ops_ = table_of(TR_BF16);
    ops_->sample(&out, on_device(NULL, 10), true, &draw, 1, 10, &s, on_device(NULL, 20), 20);
    assert_true(tr_cuda_check(&err) != TR_OK);
    assert_non_null(strstr(err.message, "planned for fewer rows"));
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_filter),
        cmocka_unit_test(test_many_seeds),
        cmocka_unit_test(test_bad_logits),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_too_little_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
