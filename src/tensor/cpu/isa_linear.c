/* isa_linear.c: the three matrix products over panels of sixteen outputs, and the embedding.
 *
 * Every output element is one sum in one order: forward along the inputs from zero (the bias is added once at the end),
 * backward to the input along the outputs from what dx holds, backward to the weight along the rows from what dw holds.
 * Blocks only decide which elements are in registers together; partial sums spill to memory as f32, unchanged. */
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/variant.h"

#include <stddef.h>

#if defined(TR_ISA_avx512)
enum { ROWS = 12 }; /* accumulators: 12 of 32 registers, enough to hide the latency of fma */
#elif defined(TR_ISA_avx2)
enum { ROWS = 6 }; /* 12 of 16 registers: a lane pair takes two */
#else
enum { ROWS = 4 };
#endif
enum {
    OUT_CHUNK = 256, /* outputs whose transposed weights stand in the stack buffer at once: 16 KiB */
    ROW_CHUNK = 256, /* rows of dy that are copied together for dW */
    X_BLOCK_FLOATS = 1 << 16 /* rows of x that stay in the second-level cache while panels stream by */
};

LANES_INLINE lanes load_weight(const void *panels, tr_dtype dtype, int64_t index)
{
    switch (dtype) {
    case TR_BF16:
        return lanes_load_bf16((const uint16_t *)panels + index);
    case TR_F16:
        return lanes_load_f16((const uint16_t *)panels + index);
    default:
        return lanes_load((const float *)panels + index);
    }
}

/* y[i, 0..15] for `count` rows against one panel. count and dtype are constants where it is inlined. */
LANES_INLINE void forward_tile(const int count, const tr_dtype dtype, float *y, int64_t ldy, const float *x,
                               int64_t in, const void *panel, const float *bias, int lanes_used)
{
    lanes sum[ROWS];
    for (int i = 0; i < count; i++) {
        sum[i] = lanes_zero();
    }
    for (int64_t k = 0; k < in; k++) {
        lanes w = load_weight(panel, dtype, k * TR_PANEL);
        for (int i = 0; i < count; i++) {
            sum[i] = lanes_fma(lanes_set(x[i * in + k]), w, sum[i]);
        }
    }
    lanes b = bias ? lanes_load_n(bias, lanes_used) : lanes_zero();
    for (int i = 0; i < count; i++) {
        lanes r = bias ? lanes_add(sum[i], b) : sum[i];
        if (lanes_used == TR_PANEL) {
            lanes_store(y + i * ldy, r);
        } else {
            lanes_store_n(y + i * ldy, r, lanes_used);
        }
    }
}

#define FORWARD_CASE(n)                                                                                          \
    case n:                                                                                                      \
        forward_tile(n <= ROWS ? n : ROWS, dtype, y, ldy, x, in, panel, bias, used);                             \
        break

LANES_INLINE void forward_rows(int64_t count, const tr_dtype dtype, float *y, int64_t ldy, const float *x, int64_t in,
                               const void *panel, const float *bias, int used)
{
    switch (count) {
        FORWARD_CASE(1);
        FORWARD_CASE(2);
        FORWARD_CASE(3);
        FORWARD_CASE(4);
#if !defined(TR_ISA_scalar)
        FORWARD_CASE(5);
        FORWARD_CASE(6);
#endif
#if defined(TR_ISA_avx512)
        FORWARD_CASE(7);
        FORWARD_CASE(8);
        FORWARD_CASE(9);
        FORWARD_CASE(10);
        FORWARD_CASE(11);
        FORWARD_CASE(12);
#endif
    }
}

LANES_INLINE void forward_panels(const tr_dtype dtype, float *y, const float *x, const tr_matrix *w, const float *bias,
                                 int64_t rows, int64_t first, int64_t last)
{
    int64_t in = w->in, out = w->out, size = (int64_t)tr_dtype_size(dtype);
    int64_t block = tr_max_i64(X_BLOCK_FLOATS / in / ROWS, 1) * ROWS;
    for (int64_t m0 = 0; m0 < rows; m0 += block) {
        int64_t m1 = tr_min_i64(m0 + block, rows);
        for (int64_t p = first; p < last; p++) {
            const void *panel = (const char *)w->panels + p * in * TR_PANEL * size;
            int used = (int)tr_min_i64(out - p * TR_PANEL, TR_PANEL);
            for (int64_t m = m0; m < m1; m += ROWS) {
                forward_rows(tr_min_i64(m1 - m, ROWS), dtype, y + m * out + p * TR_PANEL, out, x + m * in, in, panel,
                             bias ? bias + p * TR_PANEL : NULL, used);
            }
        }
    }
}

void TR_VARIANT(linear_forward)(float *y, const float *x, const tr_matrix *w, const float *bias, int64_t rows)
{
    int64_t panels = (w->out + TR_PANEL - 1) / TR_PANEL;
#pragma omp parallel if (tr_worth(rows * w->in * w->out / 16))
    {
        int64_t threads = omp_get_num_threads(), self = omp_get_thread_num();
        int64_t first = panels * self / threads, last = panels * (self + 1) / threads;
        switch (w->dtype) {
        case TR_BF16:
            forward_panels(TR_BF16, y, x, w, bias, rows, first, last);
            break;
        case TR_F16:
            forward_panels(TR_F16, y, x, w, bias, rows, first, last);
            break;
        default:
            forward_panels(TR_F32, y, x, w, bias, rows, first, last);
        }
    }
}

/* buffer[n][i] = W[n0 + n, k0 + i] for count outputs; inputs beyond `in` are zero. */
LANES_INLINE void transpose_chunk(float *buffer, const tr_matrix *w, int64_t n0, int64_t count, int64_t k0)
{
    int64_t inputs = tr_min_i64(w->in - k0, TR_PANEL);
    for (int64_t n = 0; n < count; n += TR_PANEL) {
        int64_t base = ((n0 + n) / TR_PANEL * w->in + k0) * TR_PANEL;
        for (int64_t i = 0; i < TR_PANEL; i++) {
            float column[TR_PANEL];
            lanes_store(column, i < inputs ? load_weight(w->panels, w->dtype, base + i * TR_PANEL) : lanes_zero());
            for (int j = 0; j < TR_PANEL; j++) {
                buffer[(n + j) * TR_PANEL + i] = column[j];
            }
        }
    }
}

/* dx[i, 0..15] += sum over n of dy[i, n] * weights[n][0..15] */
LANES_INLINE void input_tile(const int count, float *dx, int64_t ldx, const float *dy, int64_t ldy,
                             const float *weights, int64_t outputs, int used)
{
    lanes sum[ROWS];
    for (int i = 0; i < count; i++) {
        sum[i] = used == TR_PANEL ? lanes_load(dx + i * ldx) : lanes_load_n(dx + i * ldx, used);
    }
    for (int64_t n = 0; n < outputs; n++) {
        lanes w = lanes_load(weights + n * TR_PANEL);
        for (int i = 0; i < count; i++) {
            sum[i] = lanes_fma(lanes_set(dy[i * ldy + n]), w, sum[i]);
        }
    }
    for (int i = 0; i < count; i++) {
        if (used == TR_PANEL) {
            lanes_store(dx + i * ldx, sum[i]);
        } else {
            lanes_store_n(dx + i * ldx, sum[i], used);
        }
    }
}

void TR_VARIANT(linear_backward_input)(float *dx, const float *dy, const tr_matrix *w, int64_t rows)
{
    int64_t in = w->in, out = w->out, bands = (in + TR_PANEL - 1) / TR_PANEL;
#pragma omp parallel for schedule(static) if (tr_worth(rows * in * out / 16))
    for (int64_t band = 0; band < bands; band++) {
        float buffer[(OUT_CHUNK + TR_PANEL) * TR_PANEL];
        int64_t k0 = band * TR_PANEL;
        int used = (int)tr_min_i64(in - k0, TR_PANEL);
        for (int64_t n0 = 0; n0 < out; n0 += OUT_CHUNK) {
            int64_t count = tr_min_i64(out - n0, OUT_CHUNK), m = 0;
            transpose_chunk(buffer, w, n0, count, k0);
            for (; m + ROWS <= rows; m += ROWS) {
                input_tile(ROWS, dx + m * in + k0, in, dy + m * out + n0, out, buffer, count, used);
            }
            for (; m < rows; m++) {
                input_tile(1, dx + m * in + k0, in, dy + m * out + n0, out, buffer, count, used);
            }
        }
    }
}

/* dw[k][0..15] += sum over rows of x[m, k] * dy16[m][0..15] for `count` inputs */
LANES_INLINE void weight_tile(const int count, float *dw, const float *x, int64_t in, const float *dy16, int64_t rows)
{
    lanes sum[ROWS];
    for (int i = 0; i < count; i++) {
        sum[i] = lanes_load(dw + i * TR_PANEL);
    }
    for (int64_t m = 0; m < rows; m++) {
        lanes d = lanes_load(dy16 + m * TR_PANEL);
        for (int i = 0; i < count; i++) {
            sum[i] = lanes_fma(lanes_set(x[m * in + i]), d, sum[i]);
        }
    }
    for (int i = 0; i < count; i++) {
        lanes_store(dw + i * TR_PANEL, sum[i]);
    }
}

/* The columns of one panel of dy, side by side; lanes beyond the outputs are zero. */
LANES_INLINE void copy_columns(float *dy16, const float *dy, int64_t out, int64_t rows, int used)
{
    for (int64_t m = 0; m < rows; m++) {
        lanes_store(dy16 + m * TR_PANEL, used == TR_PANEL ? lanes_load(dy + m * out) : lanes_load_n(dy + m * out, used));
    }
}

void TR_VARIANT(linear_backward_weight)(float *dw_panels, float *dbias, const float *dy, const float *x, int64_t rows,
                                        int64_t out, int64_t in)
{
    int64_t panels = (out + TR_PANEL - 1) / TR_PANEL;
#pragma omp parallel for schedule(static) if (tr_worth(rows * in * out / 16))
    for (int64_t p = 0; p < panels; p++) {
        float dy16[ROW_CHUNK * TR_PANEL];
        int used = (int)tr_min_i64(out - p * TR_PANEL, TR_PANEL);
        for (int64_t m0 = 0; m0 < rows; m0 += ROW_CHUNK) {
            int64_t count = tr_min_i64(rows - m0, ROW_CHUNK), k = 0;
            copy_columns(dy16, dy + m0 * out + p * TR_PANEL, out, count, used);
            float *dw = dw_panels ? dw_panels + p * in * TR_PANEL : NULL;
            for (; dw && k + ROWS <= in; k += ROWS) {
                weight_tile(ROWS, dw + k * TR_PANEL, x + m0 * in + k, in, dy16, count);
            }
            for (; dw && k < in; k++) {
                weight_tile(1, dw + k * TR_PANEL, x + m0 * in + k, in, dy16, count);
            }
            for (int64_t m = 0; dbias && m < count; m++) {
                for (int j = 0; j < used; j++) {
                    dbias[p * TR_PANEL + j] += dy16[m * TR_PANEL + j];
                }
            }
        }
    }
}

void TR_VARIANT(embedding_forward)(float *x, const int32_t *ids, const tr_matrix *w, int64_t rows)
{
    int64_t in = w->in;
#pragma omp parallel for schedule(static) if (tr_worth(rows * in))
    for (int64_t m = 0; m < rows; m++) {
        for (int64_t k = 0; k < in; k++) {
            int64_t at = ids[m] < 0 ? 0 : tr_matrix_index(in, ids[m], k);
            float value = 0;
            if (ids[m] >= 0) {
                tr_convert(&value, TR_F32, (const char *)w->panels + at * (int64_t)tr_dtype_size(w->dtype), w->dtype, 1);
            }
            x[m * in + k] = value;
        }
    }
}

void TR_VARIANT(embedding_backward)(float *dw_panels, const float *dx, const int32_t *ids, int64_t rows, int64_t out,
                                    int64_t in)
{
    (void)out;
    /* Threads own columns, so that rows of the same id are added in their order. */
#pragma omp parallel if (tr_worth(rows * in))
    {
        int64_t threads = omp_get_num_threads(), self = omp_get_thread_num();
        int64_t first = in * self / threads, last = in * (self + 1) / threads;
        for (int64_t m = 0; m < rows; m++) {
            for (int64_t k = first; ids[m] >= 0 && k < last; k++) {
                dw_panels[tr_matrix_index(in, ids[m], k)] += dx[m * in + k];
            }
        }
    }
}
