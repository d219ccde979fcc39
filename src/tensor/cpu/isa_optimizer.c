/* isa_optimizer.c: AdamW, the sum of squares for the gradient norm, the check for non-finite values.
 *
 * AdamW's sequence stands in lanes_adamw.h. The sum runs in blocks of 4096, joined in order. */
#include "tensor/cpu/lanes_adamw.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/variant.h"

enum { SUM_BLOCK = 4096, SUM_BLOCKS = 256, TURN = 16384 };

static void adamw_range(float *p, const float *g, float *m, float *v, int64_t n, const tr_adamw_constants *c)
{
    for (int64_t i = 0; i < n; i += 16) {
        int left = (int)tr_min_i64(16, n - i);
        if (left == 16) {
            lanes x = lanes_load(p + i), a = lanes_load(m + i), b = lanes_load(v + i);
            adamw_lanes(&x, lanes_load(g + i), &a, &b, c);
            lanes_store(p + i, x), lanes_store(m + i, a), lanes_store(v + i, b);
        } else {
            lanes x = lanes_load_n(p + i, left), a = lanes_load_n(m + i, left), b = lanes_load_n(v + i, left);
            adamw_lanes(&x, lanes_load_n(g + i, left), &a, &b, c);
            lanes_store_n(p + i, x, left), lanes_store_n(m + i, a, left), lanes_store_n(v + i, b, left);
        }
    }
}

void TR_VARIANT(adamw_step)(float *parameter, float *gradient, float *m, float *v, int64_t count,
                            const tr_adamw *adamw)
{
    const tr_adamw_constants c = tr_adamw_constants_of(adamw);
    if (!tr_worth(count / 2)) {
        adamw_range(parameter, gradient, m, v, count, &c);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += TURN) {
        adamw_range(parameter + i, gradient + i, m + i, v + i, tr_min_i64(TURN, count - i), &c);
    }
}

/* Sixteen double sums joined by the tree 8, 4, 2, 1; a square of an f32 is exact in double. */
static double block_squares(const float *x, int64_t n)
{
    double sum[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int j = 0; j < 16; j++) {
            sum[j] += (double)x[i + j] * (double)x[i + j];
        }
    }
    for (int j = 0; i < n; i++, j++) {
        sum[j] += (double)x[i] * (double)x[i];
    }
    for (int step = 8; step > 0; step /= 2) {
        for (int j = 0; j < step; j++) {
            sum[j] += sum[j + step];
        }
    }
    return sum[0];
}

double TR_VARIANT(sum_of_squares)(const float *x, int64_t count)
{
    double total = 0.0, part[SUM_BLOCKS];
    bool fork = tr_worth(count / 4);
    for (int64_t base = 0; base < count; base += (int64_t)SUM_BLOCK * SUM_BLOCKS) {
        int64_t blocks = tr_min_i64(SUM_BLOCKS, (count - base + SUM_BLOCK - 1) / SUM_BLOCK);
#pragma omp parallel for schedule(static) if (fork)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t first = base + b * SUM_BLOCK;
            part[b] = block_squares(x + first, tr_min_i64(SUM_BLOCK, count - first));
        }
        for (int64_t b = 0; b < blocks; b++) {
            total += part[b];
        }
    }
    return total;
}

static bool range_finite(const float *x, int64_t n)
{
    uint32_t worst = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7FFFFFFFu;
        worst = bits > worst ? bits : worst;
    }
    return worst < 0x7F800000u;
}

bool TR_VARIANT(all_finite)(const float *x, int64_t count)
{
    if (!tr_worth(count / 8)) {
        return range_finite(x, count);
    }
    int bad = 0;
#pragma omp parallel for schedule(static) reduction(| : bad)
    for (int64_t i = 0; i < count; i += TURN) {
        bad |= !range_finite(x + i, tr_min_i64(TURN, count - i));
    }
    return !bad;
}
