/* kernel_elements.h: kernels in which a thread owns its outputs: elementwise operations, rotations and their
 * tables, rows gathered and scattered, conversions, AdamW, the KV cache's writes.
 *
 * A block of 256 threads takes 1024 elements, four a thread, 256 apart, so that the threads of a warp touch
 * neighbours. Forward results are the CPU's bits. Internal to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_KERNEL_ELEMENTS_H
#define TR_TENSOR_CUDA_KERNEL_ELEMENTS_H

#include "tensor/adamw.h"
#include "tensor/cuda/grid.h"

enum { ELEMENT_THREADS = 256, ELEMENT_SPAN = 1024 };

/* The elements of thread t of block x. */
#define EACH_ELEMENT(i, count)                                                                                     \
    for (int64_t i = (int64_t)x * ELEMENT_SPAN + t, end_ = cu_min64(((int64_t)x + 1) * ELEMENT_SPAN, count);       \
         i < end_; i += ELEMENT_THREADS)

typedef enum element_operation {
    ELEMENT_SWIGLU,
    ELEMENT_SWIGLU_BACKWARD,
    ELEMENT_GELU,
    ELEMENT_GELU_BACKWARD,
    ELEMENT_ADD,
    ELEMENT_SCALE
} element_operation;

/* a, b: outputs; c, d, e: inputs; which are used depends on the operation. */
typedef struct element_args {
    int operation;
    float *a, *b;
    const float *c, *d, *e;
    float factor;
    int64_t count;
} element_args;

TR_DEVICE void element_block(const element_args *a, int x, int y, int z, void *shared)
{
    (void)y, (void)z, (void)shared;
    THREADS(t, ELEMENT_THREADS)
    {
        EACH_ELEMENT(i, a->count)
        {
            float g = a->c[i];
            switch (a->operation) {
            case ELEMENT_SWIGLU:
                a->a[i] = g * cu_sigmoid(g) * a->d[i];
                break;
            case ELEMENT_SWIGLU_BACKWARD: { /* outputs a, b; gate c, up d, dout e; d silu = s + g s (1 - s) */
                float u = a->d[i], dout = a->e[i], s = cu_sigmoid(g), silu = g * s;
                float slope = cu_fma(silu, 1.0f - s, s);
                a->a[i] = dout * u * slope;
                a->b[i] = dout * silu;
                break;
            }
            case ELEMENT_GELU:
                a->a[i] = 0.5f * g * (1.0f + cu_erf(g * 0x1.6a09e6p-1f));
                break;
            case ELEMENT_GELU_BACKWARD: { /* x in c, dout in d */
                float e = cu_erf(g * 0x1.6a09e6p-1f), bell = cu_exp(g * g * -0.5f);
                float slope = g * bell * 0x1.988454p-2f;
                a->a[i] = a->d[i] * cu_fma(0.5f, e, 0.5f + slope);
                break;
            }
            case ELEMENT_SCALE:
                a->a[i] = g * a->factor;
                break;
            default: /* ELEMENT_ADD */
                a->a[i] = a->a[i] + g;
                break;
            }
        }
    }
}

/* ---- conversion of flat arrays between f32, bf16 and f16 ---- */

typedef struct convert_args {
    void *to;
    const void *from;
    int to_dtype, from_dtype; /* to: TR_F32 or TR_BF16 */
    int64_t count;
} convert_args;

TR_DEVICE void convert_block(const convert_args *a, int x, int y, int z, void *shared)
{
    (void)y, (void)z, (void)shared;
    THREADS(t, ELEMENT_THREADS)
    {
        EACH_ELEMENT(i, a->count)
        {
            float v = cu_load(a->from, a->from_dtype, i);
            if (a->to_dtype == TR_F32) {
                ((float *)a->to)[i] = v;
            } else {
                ((tr_half16 *)a->to)[i] = cu_to_bf16(v);
            }
        }
    }
}

/* ---- rows ---- */

typedef enum rows_operation { ROWS_GATHER, ROWS_SCATTER } rows_operation;

/* dst, src [*, d]; index [rows]; the source may be 16-bit weights; an index of -1 gathers zeros. */
typedef struct rows_args {
    int operation, src_dtype;
    float *dst;
    const void *src;
    const int32_t *index;
    int64_t rows, d;
} rows_args;

TR_DEVICE void rows_block(const rows_args *a, int x, int y, int z, void *shared) /* a block a row */
{
    (void)y, (void)z, (void)shared;
    const int64_t at = a->index[x], d = a->d;
    const int64_t to = (a->operation == ROWS_GATHER ? x : at) * d,
                  from = (a->operation == ROWS_GATHER ? at : x) * d;
    THREADS(t, ELEMENT_THREADS)
    {
        for (int64_t i = t; i < d; i += ELEMENT_THREADS) {
            a->dst[to + i] = at < 0 ? 0.0f : cu_load(a->src, a->src_dtype, from + i);
        }
    }
}

/* dst[target[b]] += the rows of src listed in order[start[b] .. start[b + 1]), in that order: one block per target
 * row, so no two blocks write one element. */
typedef struct rows_sum_args {
    float *dst;
    const float *src;
    const int32_t *target, *start, *order;
    int64_t d;
} rows_sum_args;

TR_DEVICE void rows_sum_block(const rows_sum_args *a, int x, int y, int z, void *shared)
{
    (void)y, (void)z, (void)shared;
    const int64_t to = (int64_t)a->target[x] * a->d;
    const int first = a->start[x], last = a->start[x + 1];
    THREADS(t, ELEMENT_THREADS)
    {
        for (int64_t i = t; i < a->d; i += ELEMENT_THREADS) {
            float sum = a->dst[to + i];
            for (int j = first; j < last; j++) {
                sum = sum + a->src[a->order[j] * a->d + i];
            }
            a->dst[to + i] = sum;
        }
    }
}

/* ---- rotary embedding ---- */

typedef struct rope_args {
    float *x;
    const float *cosine, *sine; /* [rows][half] */
    int64_t rows, heads, half, stride;
    float direction; /* 1, or -1 to turn back */
} rope_args;

TR_DEVICE void rope_block(const rope_args *a, int x, int y, int z, void *shared)
{
    (void)y, (void)z, (void)shared;
    THREADS(t, ELEMENT_THREADS)
    {
        EACH_ELEMENT(i, a->rows * a->heads * a->half)
        {
            const int64_t f = i % a->half, head = i / a->half % a->heads, row = i / a->half / a->heads;
            float *low = a->x + row * a->stride + head * 2 * a->half + f, *high = low + a->half;
            const float u = *low, v = *high, c = a->cosine[row * a->half + f];
            const float s = a->sine[row * a->half + f] * a->direction;
            *low = cu_fma(u, c, (0.0f - v) * s);
            *high = cu_fma(v, c, u * s);
        }
    }
}

/* angle[row][f] = position[axis[f] * axis_stride + row * row_stride] * inverse[f] */
typedef struct rope_table_args {
    float *cosine, *sine;
    const int32_t *position;
    const double *inverse; /* [half] */
    const int32_t *axis;   /* [half] */
    int64_t rows, half, axis_stride, row_stride;
} rope_table_args;

TR_DEVICE void rope_table_block(const rope_table_args *a, int x, int y, int z, void *shared)
{
    (void)y, (void)z, (void)shared;
    THREADS(t, ELEMENT_THREADS)
    {
        EACH_ELEMENT(i, a->rows * a->half)
        {
            const int64_t f = i % a->half, row = i / a->half;
            const double position = (double)a->position[a->axis[f] * a->axis_stride + row * a->row_stride];
            double c, s;
            cu_turn64(position * a->inverse[f], &c, &s);
            a->cosine[i] = (float)c;
            a->sine[i] = (float)s;
        }
    }
}

/* ---- AdamW: the CPU's sequence (tensor/cpu/isa_optimizer.c) ---- */

typedef struct adamw_args {
    float *p, *m, *v;
    const float *g;
    int64_t count;
    tr_adamw_constants c;
} adamw_args;

TR_DEVICE void adamw_block(const adamw_args *a, int x, int y, int z, void *shared)
{
    (void)y, (void)z, (void)shared;
    THREADS(t, ELEMENT_THREADS)
    {
        EACH_ELEMENT(i, a->count)
        {
            const float g = a->g[i] * a->c.scale;
            const float m = cu_fma(g - a->m[i], a->c.mix1, a->m[i]);
            const float v = cu_fma(g * g, a->c.mix2, a->v[i] * a->c.beta2);
            const float root = cu_max(1.17549435e-38f, cu_fma(cu_sqrt(v), a->c.inverse_root2, a->c.eps));
            a->m[i] = m;
            a->v[i] = v;
            a->p[i] = cu_fma(a->c.step, cu_divide(m, root), cu_fma(a->p[i], a->c.keep, a->p[i]));
        }
    }
}

/* ---- the KV cache: rows [kv_heads][capacity][head_dim], f32 or bf16 ---- */

/* One row a block: row x of k, v (dense) becomes token at[x] (or at0 + x) of the cache that cache[x] (or 0) names.
 */
typedef struct kv_write_args {
    void *const *keys, *const *values; /* per cache */
    const int64_t *capacity;           /* per cache */
    const int32_t *cache;              /* [rows]; NULL: all of cache 0 */
    const int32_t *at;                 /* [rows]; NULL: at0 + row */
    int64_t at0;
    const float *k, *v;
    int64_t kv_heads, head_dim;
    int bf16;
} kv_write_args;

TR_DEVICE void kv_write_block(const kv_write_args *a, int x, int y, int z, void *shared)
{
    (void)y, (void)z, (void)shared;
    const int cache = a->cache ? a->cache[x] : 0;
    const int64_t token = a->at ? a->at[x] : a->at0 + x, width = a->kv_heads * a->head_dim;
    THREADS(t, ELEMENT_THREADS)
    {
        for (int64_t i = t; i < width; i += ELEMENT_THREADS) {
            const int64_t to = (i / a->head_dim * a->capacity[cache] + token) * a->head_dim + i % a->head_dim;
            const float k = a->k[x * width + i], v = a->v[x * width + i];
            if (a->bf16) {
                ((tr_half16 *)a->keys[cache])[to] = cu_to_bf16(k);
                ((tr_half16 *)a->values[cache])[to] = cu_to_bf16(v);
            } else {
                ((float *)a->keys[cache])[to] = k;
                ((float *)a->values[cache])[to] = v;
            }
        }
    }
}

#endif
