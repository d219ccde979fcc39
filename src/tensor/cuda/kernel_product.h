/* kernel_product.h: matrix products in f32, C (+)= A B + bias: one chain of fused multiply-adds per element, along
 * k in order, starting from what C holds or from zero. These are the CPU's bits in all three products.
 *
 * A block of 256 threads computes 64 x 64 elements, four by four a thread; tiles of 16 along k pass through shared
 * memory. Strides make the three products of a linear layer one kernel. Internal to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_KERNEL_PRODUCT_H
#define TR_TENSOR_CUDA_KERNEL_PRODUCT_H

#include "tensor/cuda/grid.h"

enum { PRODUCT_THREADS = 256, PRODUCT_SIDE = 64, PRODUCT_DEPTH = 16, PRODUCT_EACH = 4 };

/* A(i, k) = a[i * a_row + k * a_column], B(k, j) = b[k * b_row + j * b_column], of f32 or 16 bits, C(i, j) = c[i *
 * n + j]. */
typedef struct product_args {
    float *c;
    const void *a;
    const void *b;
    const float *bias; /* [n] or NULL */
    int64_t m, n, depth, a_row, a_column, b_row, b_column;
    int a_dtype, b_dtype, fresh; /* fresh: start from zero */
} product_args;

typedef struct product_shared {
    float a[PRODUCT_DEPTH][PRODUCT_SIDE + 4], b[PRODUCT_DEPTH][PRODUCT_SIDE + 4]; /* rows begin 16 bytes apart */
} product_shared;

/* Element e of a tile's 16 x 64, in the order that makes neighbours in memory neighbours among the threads. */
TR_DEVICE void product_place(int e, int along_k, int *k, int *side)
{
    *k = along_k ? e % PRODUCT_DEPTH : e / PRODUCT_SIDE;
    *side = along_k ? e / PRODUCT_DEPTH : e % PRODUCT_SIDE;
}

TR_DEVICE void product_block(const product_args *p, int x, int y, int z, void *memory)
{
    (void)z;
    product_shared *s = (product_shared *)memory;
    const int64_t row0 = (int64_t)y * PRODUCT_SIDE, column0 = (int64_t)x * PRODUCT_SIDE;
    PRIVATE(float, sum, PRODUCT_EACH *PRODUCT_EACH);
    THREADS(t, PRODUCT_THREADS)
    {
        UNROLL
        for (int e = 0; e < PRODUCT_EACH * PRODUCT_EACH; e++) {
            const int64_t i = row0 + t / 16 * 4 + e / 4, j = column0 + t % 16 * 4 + e % 4;
            sum[OWN(t)][e] = !p->fresh && i < p->m && j < p->n ? p->c[i * p->n + j] : 0.0f;
        }
    }
    for (int64_t k0 = 0; k0 < p->depth; k0 += PRODUCT_DEPTH) {
        SYNC();
        THREADS(t, PRODUCT_THREADS)
        {
            UNROLL
            for (int e = 0; e < PRODUCT_DEPTH * PRODUCT_SIDE / PRODUCT_THREADS; e++) {
                int k, side;
                product_place(t + e * PRODUCT_THREADS, p->a_column == 1, &k, &side);
                const int in = k0 + k < p->depth;
                s->a[k][side] = in && row0 + side < p->m
                                    ? cu_load(p->a, p->a_dtype, (row0 + side) * p->a_row + (k0 + k) * p->a_column)
                                    : 0.0f;
                product_place(t + e * PRODUCT_THREADS, p->b_row == 1, &k, &side);
                s->b[k][side] =
                    k0 + k < p->depth && column0 + side < p->n
                        ? cu_load(p->b, p->b_dtype, (k0 + k) * p->b_row + (column0 + side) * p->b_column)
                        : 0.0f;
            }
        }
        SYNC();
        const int depth = (int)cu_min64(PRODUCT_DEPTH, p->depth - k0);
        THREADS(t, PRODUCT_THREADS)
        {
            for (int k = 0; k < depth; k++) {
                UNROLL
                for (int e = 0; e < PRODUCT_EACH * PRODUCT_EACH; e++) {
                    const float a = s->a[k][t / 16 * 4 + e / 4], b = s->b[k][t % 16 * 4 + e % 4];
                    sum[OWN(t)][e] = cu_fma(a, b, sum[OWN(t)][e]);
                }
            }
        }
    }
    THREADS(t, PRODUCT_THREADS)
    {
        UNROLL
        for (int e = 0; e < PRODUCT_EACH * PRODUCT_EACH; e++) {
            const int64_t i = row0 + t / 16 * 4 + e / 4, j = column0 + t % 16 * 4 + e % 4;
            if (i < p->m && j < p->n) {
                p->c[i * p->n + j] = p->bias ? sum[OWN(t)][e] + p->bias[j] : sum[OWN(t)][e];
            }
        }
    }
}

#endif
