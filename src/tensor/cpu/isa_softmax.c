/* isa_softmax.c: log-softmax, entropy and their gradient over a vocabulary, and the fused head.
 *
 * One order for every caller: the maximum; then exp(z / T - max) summed in chunks of 4096 ids, each in 16 virtual
 * lanes joined by one tree, the chunks joined in order in double. Rows or, where rows are few, chunks go to the
 * threads. logits [rows, vocab]. The fused head holds the logits of at most `tile` rows; rows with id -1 are
 * skipped. */
#include "base/math.h"
#include "tensor/cpu/lanes_math.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/variant.h"

enum { CHUNK = 4096, CHUNKS = 64 };

typedef struct row_sums {
    double largest, sum, weighted; /* max z', sum exp(z' - max), sum exp(z' - max) (z' - max); z' = z / T */
} row_sums;

LANES_INLINE double log_sum(const row_sums *s)
{
    return s->largest + tr_math_log(s->sum);
}

static float chunk_largest(const float *z, int64_t n)
{
    lanes top = lanes_set(-INFINITY);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        top = lanes_max(lanes_load(z + i), top);
    }
    float best = lanes_top(top);
    for (; i < n; i++) {
        best = z[i] > best ? z[i] : best;
    }
    return best;
}

static void chunk_sums(const float *z, int64_t n, float largest, float temperature, float *sum, float *weighted)
{
    const lanes top = lanes_set(largest), t = lanes_set(temperature), least = lanes_set(-200.0f);
    lanes total = lanes_zero(), product = lanes_zero();
    for (int64_t i = 0; i < n; i += 16) {
        lanes x;
        if (n - i >= 16) {
            x = lanes_load(z + i);
        } else { /* missing lanes weigh exp(-200) = 0 */
            float part[16];
            for (int j = 0; j < 16; j++) {
                part[j] = j < n - i ? z[i + j] : -INFINITY;
            }
            x = lanes_load(part);
        }
        x = lanes_max(least, lanes_sub(lanes_div(x, t), top));
        lanes e = lanes_exp(x);
        total = lanes_add(total, e);
        product = lanes_fma(e, x, product);
    }
    *sum = lanes_sum(total);
    *weighted = lanes_sum(product);
}

/* fork: the row's chunks go to the threads. */
static row_sums row_reduce(const float *z, int64_t vocab, float temperature, bool fork)
{
    float a[CHUNKS], b[CHUNKS], best = -INFINITY;
    row_sums s = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t base = 0; base < vocab; base += (int64_t)CHUNK * CHUNKS) {
            int64_t chunks = tr_min_i64(CHUNKS, (vocab - base + CHUNK - 1) / CHUNK);
#pragma omp parallel for schedule(static) if (fork)
            for (int64_t c = 0; c < chunks; c++) {
                int64_t first = base + c * CHUNK, n = tr_min_i64(CHUNK, vocab - first);
                if (pass == 0) {
                    a[c] = chunk_largest(z + first, n);
                } else {
                    chunk_sums(z + first, n, (float)s.largest, temperature, &a[c], &b[c]);
                }
            }
            for (int64_t c = 0; c < chunks; c++) {
                if (pass == 0) {
                    best = a[c] > best ? a[c] : best;
                } else {
                    s.sum += (double)a[c];
                    s.weighted += (double)b[c];
                }
            }
        }
        if (pass == 0) {
            s.largest = (double)(best / temperature);
        }
    }
    return s;
}

static void row_forward(float *logp, float *entropy, float *lse, const float *z, int32_t id, int64_t vocab,
                        float temperature, bool fork)
{
    if (id < 0) {
        if (logp) {
            *logp = 0.0f;
        }
        if (entropy) {
            *entropy = 0.0f;
        }
        if (lse) {
            *lse = 0.0f;
        }
        return;
    }
    row_sums s = row_reduce(z, vocab, temperature, fork);
    if (logp) {
        *logp = (float)((double)(z[id] / temperature) - log_sum(&s));
    }
    if (entropy) {
        *entropy = (float)(tr_math_log(s.sum) - s.weighted / s.sum);
    }
    if (lse) {
        *lse = (float)log_sum(&s);
    }
}

void TR_VARIANT(logsoftmax_forward)(float *logp, float *entropy, float *lse, const float *logits,
                                    const int32_t *ids, int64_t rows, int64_t vocab, float temperature)
{
    bool fork = tr_worth(rows * vocab / 4), by_rows = rows >= 2 * omp_get_max_threads();
#pragma omp parallel for schedule(static) if (fork && by_rows)
    for (int64_t i = 0; i < rows; i++) {
        row_forward(logp ? logp + i : NULL, entropy ? entropy + i : NULL, lse ? lse + i : NULL, logits + i * vocab,
                    ids[i], vocab, temperature, fork && !by_rows);
    }
}

void TR_VARIANT(logsoftmax_row)(float *out, const float *logits, int64_t vocab, float temperature)
{
    bool fork = tr_worth(vocab / 4);
    row_sums s = row_reduce(logits, vocab, temperature, fork);
    double lse = log_sum(&s);
#pragma omp parallel for schedule(static) if (fork)
    for (int64_t first = 0; first < vocab; first += CHUNK) {
        for (int64_t i = first; i < tr_min_i64(first + CHUNK, vocab); i++) {
            out[i] = (float)((double)(logits[i] / temperature) - lse);
        }
    }
}

/* d/dz = (dlogp (onehot - p) - dentropy p (log p + H)) / T */
static void chunk_backward(float *z, int64_t n, float dlogp, float dentropy, float lse, float entropy,
                           float temperature)
{
    const lanes t = lanes_set(temperature), shift = lanes_set(lse), h = lanes_set(entropy);
    const lanes a = lanes_set(-dlogp), b = lanes_set(-dentropy);
    for (int64_t i = 0; i < n; i += 16) {
        int left = (int)tr_min_i64(16, n - i);
        lanes x = left == 16 ? lanes_load(z + i) : lanes_load_n(z + i, left);
        x = lanes_max(lanes_set(-200.0f), lanes_sub(lanes_div(x, t), shift));
        lanes d = lanes_mul(lanes_exp(x), lanes_fma(b, lanes_add(x, h), a));
        d = lanes_div(d, t);
        if (left == 16) {
            lanes_store(z + i, d);
        } else {
            lanes_store_n(z + i, d, left);
        }
    }
}

void TR_VARIANT(logsoftmax_backward_set)(float *logits, const float *dlogp, const float *dentropy, const float *lse,
                                         const float *entropy, const int32_t *ids, int64_t rows, int64_t vocab,
                                         float temperature)
{
    int64_t chunks = (vocab + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static) if (tr_worth(rows * vocab / 4))
    for (int64_t task = 0; task < rows * chunks; task++) {
        int64_t i = task / chunks, first = task % chunks * CHUNK, n = tr_min_i64(CHUNK, vocab - first);
        float *z = logits + i * vocab + first;
        if (ids[i] < 0) {
            memset(z, 0, (size_t)n * sizeof *z);
            continue;
        }
        chunk_backward(z, n, dlogp[i], dentropy ? dentropy[i] : 0.0f, lse[i], dentropy ? entropy[i] : 0.0f,
                       temperature);
        if (ids[i] >= first && ids[i] < first + n) {
            z[ids[i] - first] += dlogp[i] / temperature;
        }
    }
}

/* The next run of at most `tile` rows that begins and ends with a wanted row; false when none is left. */
static bool next_run(const int32_t *ids, int64_t rows, int64_t tile, int64_t *first, int64_t *count)
{
    int64_t i = *first + *count;
    while (i < rows && ids[i] < 0) {
        i++;
    }
    int64_t end = tr_min_i64(i + tile, rows);
    while (end > i && ids[end - 1] < 0) {
        end--;
    }
    *first = i;
    *count = end - i;
    return i < rows;
}

void TR_VARIANT(head_forward)(float *logp, float *entropy, float *lse, const float *x, const tr_matrix *head,
                              const int32_t *ids, int64_t rows, float temperature, int64_t tile, float *work)
{
    for (int64_t i = 0; i < rows; i++) {
        if (ids[i] < 0) {
            row_forward(logp ? logp + i : NULL, entropy ? entropy + i : NULL, lse ? lse + i : NULL, NULL, -1,
                        head->out, temperature, false);
        }
    }
    for (int64_t first = 0, n = 0; next_run(ids, rows, tile, &first, &n);) {
        TR_VARIANT(linear_forward)(work, x + first * head->in, head, NULL, n);
        TR_VARIANT(logsoftmax_forward)
        (logp ? logp + first : NULL, entropy ? entropy + first : NULL, lse ? lse + first : NULL, work, ids + first,
         n, head->out, temperature);
    }
}

void TR_VARIANT(head_backward)(float *dx, float *dhead_panels, const float *x, const tr_matrix *head,
                               const int32_t *ids, const float *dlogp, const float *dentropy, const float *lse,
                               const float *entropy, int64_t rows, float temperature, int64_t tile, float *work)
{
    for (int64_t first = 0, n = 0; next_run(ids, rows, tile, &first, &n);) {
        TR_VARIANT(linear_forward)(work, x + first * head->in, head, NULL, n);
        TR_VARIANT(logsoftmax_backward_set)
        (work, dlogp + first, dentropy ? dentropy + first : NULL, lse + first, entropy ? entropy + first : NULL,
         ids + first, n, head->out, temperature);
        TR_VARIANT(linear_backward_input)(dx + first * head->in, work, head, n, true);
        if (dhead_panels) {
            TR_VARIANT(linear_backward_weight)
            (dhead_panels, NULL, work, x + first * head->in, n, head->out, head->in);
        }
    }
}
