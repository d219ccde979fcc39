/* sample.c: picks the next token from a row of logits on the CPU, and the operation `sample` of its tables. */
#include "tensor/cpu/sample.h"

#include "base/random.h"
#include "base/thread.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256 }; /* weights are summed block by block, so that a draw walks block sums first */

typedef struct candidate {
    float weight;
    int32_t id;
} candidate;

float tr_sampling_temperature(const tr_sampling *sampling)
{
    return sampling->temperature > 0 ? (float)sampling->temperature : 1.0f;
}

bool tr_sampling_is_end(const tr_sampling *sampling, int32_t id)
{
    for (int64_t i = 0; i < sampling->end_count; i++) {
        if (sampling->end_ids[i] == id) {
            return true;
        }
    }
    return false;
}

uint64_t tr_sampler_work(int64_t vocab)
{
    return (uint64_t)vocab * (sizeof(float) + sizeof(candidate));
}

/* e^x for x <= 0 by range reduction and a Taylor polynomial: relative error below 3e-7, plain f32 operations that
 * give the same bits with any vector width. It only weighs the draw; recorded log-probs come from the operations.
 */
static inline float weigh(float x)
{
    float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f; /* rounds to the nearest integer */
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    union {
        int32_t bits;
        float value;
    } scale = {.bits = ((int32_t)n + 127) << 23};
    return p * scale.value;
}

/* The largest logit that may be sampled; NaN when one is NaN, -infinity when all are banned. */
static float largest(const float *logits, const uint8_t *banned, int64_t vocab)
{
    float top = -INFINITY;
    int bad = 0;
    for (int64_t i = 0; i < vocab; i++) {
        float x = banned && banned[i] ? -INFINITY : logits[i];
        bad |= logits[i] != logits[i];
        top = x > top ? x : top;
    }
    return bad ? NAN : top;
}

static void fill_weights(float *weights, const float *logits, const uint8_t *banned, int64_t vocab, float top,
                         float inverse)
{
    for (int64_t i = 0; i < vocab; i++) {
        float x = (logits[i] - top) * inverse;
        x = x > -87.0f ? x : -87.0f; /* also turns -infinity into a number */
        x = x < 0.0f ? x : 0.0f;     /* a banned one may be above all others */
        weights[i] = weigh(x);
    }
    for (int64_t i = 0; i < vocab; i++) {
        if ((banned && banned[i]) || (logits[i] - top) * inverse <= -87.0f) {
            weights[i] = 0;
        }
    }
}

static int compare(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return x->weight > y->weight ? -1 : x->weight < y->weight ? 1 : x->id < y->id ? -1 : 1;
}

/* Keeps the k best in a heap whose root is the worst of them. */
static int64_t best_k(candidate *heap, const float *weights, int64_t vocab, int64_t k)
{
    int64_t count = 0;
    for (int64_t i = 0; i < vocab; i++) {
        candidate c = {weights[i], (int32_t)i};
        if (!(c.weight > 0)) {
            continue;
        }
        int64_t at;
        if (count < k) {
            for (at = count++; at > 0 && compare(&heap[(at - 1) / 2], &c) < 0; at = (at - 1) / 2) {
                heap[at] = heap[(at - 1) / 2];
            }
        } else if (compare(&c, &heap[0]) < 0) {
            for (at = 0; 2 * at + 1 < count;) {
                int64_t child = 2 * at + 1;
                child += child + 1 < count && compare(&heap[child], &heap[child + 1]) < 0;
                if (compare(&heap[child], &c) <= 0) {
                    break;
                }
                heap[at] = heap[child];
                at = child;
            }
        } else {
            continue;
        }
        heap[at] = c;
    }
    qsort(heap, (size_t)count, sizeof *heap, compare);
    return count;
}

/* The candidates, best first, that can belong to the nucleus: weights below (1 - top_p) * total / vocab cannot, all
 * of them together hold less than 1 - top_p. */
static int64_t likely(candidate *list, const float *weights, int64_t vocab, double total, double top_p)
{
    double least = (1 - top_p) * total / (double)vocab;
    int64_t count = 0;
    for (int64_t i = 0; i < vocab; i++) {
        if (weights[i] > 0 && weights[i] >= least) {
            list[count++] = (candidate){weights[i], (int32_t)i};
        }
    }
    qsort(list, (size_t)count, sizeof *list, compare);
    return count;
}

static double block_sum(const float *weights, int64_t from, int64_t vocab)
{
    int64_t to = from + BLOCK < vocab ? from + BLOCK : vocab;
    double sum = 0;
    for (int64_t i = from; i < to; i++) {
        sum += (double)weights[i];
    }
    return sum;
}

static double total_sum(const float *weights, int64_t vocab)
{
    double total = 0;
    for (int64_t b = 0; b < vocab; b += BLOCK) {
        total += block_sum(weights, b, vocab);
    }
    return total;
}

static int32_t draw_all(const float *weights, int64_t vocab, double u)
{
    double target = u * total_sum(weights, vocab), before = 0;
    int32_t last = -1;
    for (int64_t b = 0; b < vocab; b += BLOCK) {
        double sum = block_sum(weights, b, vocab);
        if (sum > 0 && before + sum > target) {
            double at = before;
            for (int64_t i = b; i < vocab && i < b + BLOCK; i++) {
                at += (double)weights[i];
                last = weights[i] > 0 ? (int32_t)i : last;
                if (weights[i] > 0 && at > target) {
                    return (int32_t)i;
                }
            }
            return last; /* rounding put the target behind the block's last weight */
        }
        before += sum;
    }
    for (int64_t i = vocab - 1; i >= 0; i--) {
        if (weights[i] > 0) {
            return (int32_t)i;
        }
    }
    return -1;
}

static int32_t draw_list(const tr_sampling *s, const candidate *list, int64_t count, double total, double u)
{
    int64_t kept = 0;
    double sum = 0;
    while (kept < count && (kept == 0 || ((s->top_p >= 1 || sum < s->top_p * total) &&
                                          (double)list[kept].weight >= s->min_p * (double)list[0].weight))) {
        sum += (double)list[kept++].weight;
    }
    double target = u * sum, at = 0;
    for (int64_t i = 0; i < kept; i++) {
        at += (double)list[i].weight;
        if (at > target) {
            return list[i].id;
        }
    }
    return kept ? list[kept - 1].id : -1;
}

int32_t tr_sampler_pick(const tr_sampling *s, const float *logits, int64_t vocab, const tr_draw *draw, void *work)
{
    float top = largest(logits, s->banned, vocab);
    if (!isfinite(top)) {
        return -1;
    }
    if (s->temperature <= 0) {
        for (int64_t i = 0; i < vocab; i++) {
            if (logits[i] == top && !(s->banned && s->banned[i])) {
                return (int32_t)i;
            }
        }
    }
    float *weights = work;
    candidate *list = (candidate *)(weights + vocab);
    fill_weights(weights, logits, s->banned, vocab, top, (float)(1.0 / s->temperature));
    double u = tr_random_uniform(draw->seed, draw->step, draw->row, draw->response, draw->token);
    if (s->top_k > 0 && s->top_k < vocab) {
        int64_t count = best_k(list, weights, vocab, s->top_k);
        double total = 0;
        for (int64_t i = 0; i < count; i++) {
            total += (double)list[i].weight;
        }
        return draw_list(s, list, count, total, u);
    }
    if (s->top_p < 1 || s->min_p > 0) {
        double total = total_sum(weights, vocab);
        return draw_list(s, list, likely(list, weights, vocab, total, s->top_p), total, u);
    }
    return draw_all(weights, vocab, u);
}

/* ---- the operation ---- */

static int64_t pick_floats(int64_t vocab)
{
    return (int64_t)((tr_sampler_work(vocab) + 63) / 64 * 64 / sizeof(float));
}

int64_t tr_cpu_sample_work(int64_t vocab, int64_t rows)
{
    return 2 * rows + 16 + tr_threads_count() * pick_floats(vocab);
}

void tr_cpu_sample(tr_cpu_logsoftmax *logsoftmax, tr_sampled *out, const float *logits, bool shared,
                   const tr_draw *draws, int64_t rows, int64_t vocab, const tr_sampling *sampling, float *work,
                   int64_t work_floats)
{
    const int64_t each = pick_floats(vocab), most = (work_floats - 2 * rows - 16) / each;
    const int threads = most < tr_threads_count() ? (int)most : tr_threads_count();
    const float temperature = tr_sampling_temperature(sampling);
    float *logp = work + threads * each;
    int32_t *ids = (int32_t *)(void *)(logp + rows);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < rows; i++) {
        const float *row = logits + (shared ? 0 : i * vocab);
        ids[i] = tr_sampler_pick(sampling, row, vocab, &draws[i], work + omp_get_thread_num() * each);
    }
    for (int64_t i = 0; shared && i < rows; i++) {
        logsoftmax(logp + i, NULL, NULL, logits, ids + i, 1, vocab, temperature);
    }
    if (!shared) {
        logsoftmax(logp, NULL, NULL, logits, ids, rows, vocab, temperature);
    }
    for (int64_t i = 0; i < rows; i++) {
        out[i] = (tr_sampled){ids[i], logp[i], tr_sampling_is_end(sampling, ids[i])};
    }
}
