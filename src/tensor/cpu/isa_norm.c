/* isa_norm.c: RMSNorm, y = x / sqrt(mean(x^2) + eps) * weight.
 *
 * Sums along a row run in 16 virtual lanes joined by one tree. d(weight) sums over rows in fixed blocks of 32,
 * added in order; threads split the columns, so their number does not matter. x, y [rows, d]; weight [d]; rstd
 * [rows]. */
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/variant.h"

enum { ROW_BLOCK = 32, COLUMN_BLOCK = 64 };

static void norm_row(float *y, float *rstd, const float *x, const float *weight, int64_t d, float eps)
{
    lanes sum = lanes_zero();
    int64_t i = 0, whole = d / 16 * 16;
    int tail = (int)(d - whole);
    for (; i < whole; i += 16) {
        lanes v = lanes_load(x + i);
        sum = lanes_fma(v, v, sum);
    }
    if (tail) {
        lanes v = lanes_load_n(x + i, tail);
        sum = lanes_fma(v, v, sum);
    }
    float r = 1.0f / sqrtf(lanes_sum(sum) / (float)d + eps);
    lanes scale = lanes_set(r);
    for (i = 0; i < whole; i += 16) {
        lanes_store(y + i, lanes_mul(lanes_mul(lanes_load(x + i), scale), lanes_load(weight + i)));
    }
    if (tail) {
        lanes v = lanes_mul(lanes_load_n(x + i, tail), scale);
        lanes_store_n(y + i, lanes_mul(v, lanes_load_n(weight + i, tail)), tail);
    }
    if (rstd) {
        *rstd = r;
    }
}

void TR_VARIANT(rmsnorm_forward)(float *y, float *rstd, const float *x, const float *weight, int64_t rows,
                                 int64_t d, float eps)
{
    if (!tr_worth(rows * d / 4)) {
        for (int64_t i = 0; i < rows; i++) {
            norm_row(y + i * d, rstd ? rstd + i : NULL, x + i * d, weight, d, eps);
        }
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        norm_row(y + i * d, rstd ? rstd + i : NULL, x + i * d, weight, d, eps);
    }
}

/* g = dy w, h = x r: dx += r (g - h mean(g h)) */
static void norm_backward_row(float *dx, const float *dy, const float *x, const float *weight, float r, int64_t d)
{
    lanes sum = lanes_zero(), scale = lanes_set(r);
    for (int64_t i = 0; i < d; i += 16) {
        int n = (int)tr_min_i64(16, d - i);
        lanes g = n == 16 ? lanes_mul(lanes_load(dy + i), lanes_load(weight + i))
                          : lanes_mul(lanes_load_n(dy + i, n), lanes_load_n(weight + i, n));
        lanes h = lanes_mul(n == 16 ? lanes_load(x + i) : lanes_load_n(x + i, n), scale);
        sum = lanes_fma(g, h, sum);
    }
    lanes mean = lanes_set(-(lanes_sum(sum) / (float)d));
    for (int64_t i = 0; i < d; i += 16) {
        int n = (int)tr_min_i64(16, d - i);
        if (n == 16) {
            lanes g = lanes_mul(lanes_load(dy + i), lanes_load(weight + i));
            lanes h = lanes_mul(lanes_load(x + i), scale);
            lanes_store(dx + i, lanes_fma(scale, lanes_fma(h, mean, g), lanes_load(dx + i)));
        } else {
            lanes g = lanes_mul(lanes_load_n(dy + i, n), lanes_load_n(weight + i, n));
            lanes h = lanes_mul(lanes_load_n(x + i, n), scale);
            lanes_store_n(dx + i, lanes_fma(scale, lanes_fma(h, mean, g), lanes_load_n(dx + i, n)), n);
        }
    }
}

/* Columns [column, column + 16 * panels) of dweight; n lanes in the last one. */
static void weight_backward_columns(float *dweight, const float *dy, const float *x, const float *rstd,
                                    int64_t rows, int64_t d, int64_t column)
{
    int64_t width = tr_min_i64(COLUMN_BLOCK, d - column);
    for (int64_t c = column; c < column + width; c += 16) {
        int n = (int)tr_min_i64(16, column + width - c);
        lanes total = lanes_load_n(dweight + c, n);
        for (int64_t row0 = 0; row0 < rows; row0 += ROW_BLOCK) {
            lanes sum = lanes_zero();
            for (int64_t i = row0; i < tr_min_i64(row0 + ROW_BLOCK, rows); i++) {
                lanes g = n == 16 ? lanes_load(dy + i * d + c) : lanes_load_n(dy + i * d + c, n);
                lanes v = n == 16 ? lanes_load(x + i * d + c) : lanes_load_n(x + i * d + c, n);
                sum = lanes_fma(g, lanes_mul(v, lanes_set(rstd[i])), sum);
            }
            total = lanes_add(total, sum);
        }
        lanes_store_n(dweight + c, total, n);
    }
}

void TR_VARIANT(rmsnorm_backward)(float *dx, float *dweight, const float *dy, const float *x, const float *weight,
                                  const float *rstd, int64_t rows, int64_t d)
{
    bool fork = tr_worth(rows * d / 2);
#pragma omp parallel for schedule(static) if (fork)
    for (int64_t i = 0; i < rows; i++) {
        norm_backward_row(dx + i * d, dy + i * d, x + i * d, weight, rstd[i], d);
    }
    if (dweight) {
#pragma omp parallel for schedule(static) if (fork)
        for (int64_t column = 0; column < d; column += COLUMN_BLOCK) {
            weight_backward_columns(dweight, dy, x, rstd, rows, d, column);
        }
    }
}
