/* isa_elementwise.c: SwiGLU, GELU, residual addition, row gather and scatter, over sixteen lanes.
 *
 * Each element depends on its own inputs only, so rows, threads and chunks cannot matter. All buffers are `count`
 * floats; the last lanes of a buffer are read and written in part, never beyond count. */
#include "tensor/cpu/lanes_math.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/variant.h"

enum { CHUNK = 8192 }; /* elements of one thread's turn: 32 KiB, the size of the first cache */

/* Runs range(first, n) over the chunks of [0, count). */
#define EACH_CHUNK(cost, call)                                                                                     \
    do {                                                                                                           \
        if (!tr_worth(count * (cost))) {                                                                           \
            int64_t first = 0, n = count;                                                                          \
            call;                                                                                                  \
        } else {                                                                                                   \
            _Pragma("omp parallel for schedule(static)") for (int64_t chunk = 0;                                   \
                                                              chunk < (count + CHUNK - 1) / CHUNK; chunk++)        \
            {                                                                                                      \
                int64_t first = chunk * CHUNK, n = tr_min_i64(CHUNK, count - first);                               \
                call;                                                                                              \
            }                                                                                                      \
        }                                                                                                          \
    } while (0)

LANES_INLINE lanes part(const float *p, int64_t left)
{
    return left >= 16 ? lanes_load(p) : lanes_load_n(p, (int)left);
}

LANES_INLINE void put(float *p, lanes x, int64_t left)
{
    if (left >= 16) {
        lanes_store(p, x);
    } else {
        lanes_store_n(p, x, (int)left);
    }
}

static void swiglu_range(float *out, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        lanes g = part(gate + i, n - i), u = part(up + i, n - i);
        put(out + i, lanes_mul(lanes_mul(g, lanes_sigmoid(g)), u), n - i);
    }
}

void TR_VARIANT(swiglu_forward)(float *out, const float *gate, const float *up, int64_t count)
{
    EACH_CHUNK(2, swiglu_range(out + first, gate + first, up + first, n));
}

/* d silu = s + g s (1 - s) */
static void swiglu_backward_range(float *dgate, float *dup, const float *dout, const float *gate, const float *up,
                                  int64_t n)
{
    const lanes one = lanes_set(1.0f);
    for (int64_t i = 0; i < n; i += 16) {
        lanes g = part(gate + i, n - i), u = part(up + i, n - i), d = part(dout + i, n - i);
        lanes s = lanes_sigmoid(g), silu = lanes_mul(g, s);
        lanes slope = lanes_fma(silu, lanes_sub(one, s), s);
        put(dgate + i, lanes_mul(lanes_mul(d, u), slope), n - i);
        put(dup + i, lanes_mul(d, silu), n - i);
    }
}

void TR_VARIANT(swiglu_backward_set)(float *dgate, float *dup, const float *dout, const float *gate,
                                     const float *up, int64_t count)
{
    EACH_CHUNK(3, swiglu_backward_range(dgate + first, dup + first, dout + first, gate + first, up + first, n));
}

static void gelu_range(float *out, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        lanes v = part(x + i, n - i);
        lanes e = lanes_erf(lanes_mul(v, lanes_set(0x1.6a09e6p-1f))); /* 1 / sqrt(2) */
        put(out + i, lanes_mul(lanes_mul(lanes_set(0.5f), v), lanes_add(lanes_set(1.0f), e)), n - i);
    }
}

void TR_VARIANT(gelu_forward)(float *out, const float *x, int64_t count)
{
    EACH_CHUNK(3, gelu_range(out + first, x + first, n));
}

/* (1 + erf(x / sqrt 2)) / 2 + x exp(-x^2 / 2) / sqrt(2 pi) */
static void gelu_backward_range(float *dx, const float *dout, const float *x, int64_t n)
{
    const lanes half = lanes_set(0.5f);
    for (int64_t i = 0; i < n; i += 16) {
        lanes v = part(x + i, n - i), d = part(dout + i, n - i);
        lanes e = lanes_erf(lanes_mul(v, lanes_set(0x1.6a09e6p-1f)));
        lanes bell = lanes_exp(lanes_mul(lanes_mul(v, v), lanes_set(-0.5f)));
        lanes slope = lanes_mul(lanes_mul(v, bell), lanes_set(0x1.988454p-2f));
        put(dx + i, lanes_mul(d, lanes_fma(half, e, lanes_add(half, slope))), n - i);
    }
}

void TR_VARIANT(gelu_backward_set)(float *dx, const float *dout, const float *x, int64_t count)
{
    EACH_CHUNK(4, gelu_backward_range(dx + first, dout + first, x + first, n));
}

static void add_range(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        put(y + i, lanes_add(part(y + i, n - i), part(x + i, n - i)), n - i);
    }
}

void TR_VARIANT(add)(float *y, const float *x, int64_t count)
{
    EACH_CHUNK(1, add_range(y + first, x + first, n));
}

void TR_VARIANT(scale)(float *y, float factor, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        y[i] *= factor;
    }
}

void TR_VARIANT(rows_gather)(float *dst, const float *src, const int32_t *index, int64_t rows, int64_t d)
{
#pragma omp parallel for schedule(static) if (tr_worth(rows * d / 4))
    for (int64_t i = 0; i < rows; i++) {
        memcpy(dst + i * d, src + index[i] * d, (size_t)d * sizeof *dst);
    }
}

void TR_VARIANT(rows_scatter)(float *dst, const float *src, const int32_t *index, int64_t rows, int64_t d)
{
#pragma omp parallel for schedule(static) if (tr_worth(rows * d / 4))
    for (int64_t i = 0; i < rows; i++) {
        memcpy(dst + index[i] * d, src + i * d, (size_t)d * sizeof *dst);
    }
}

void TR_VARIANT(rows_add)(float *dst, const float *src, const int32_t *index, int64_t rows, int64_t d)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; index[i] >= 0 && j < d; j++) {
            dst[index[i] * d + j] += src[i * d + j];
        }
    }
}
