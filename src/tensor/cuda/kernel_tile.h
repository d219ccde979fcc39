/* kernel_tile.h: bf16 products on the tensor cores, c (+)= A B + bias, for few rows and for many by one function.
 *
 * c[j * m + i] = sum over k of A(i, k) B(k, j): A is the weight's side (16 rows of an m16n8k16 product), B the
 * side of the activations. The numerical contract: one element is one chain of products of 16 along k, in order,
 * from zero, as many as depth / 16 rounded up; what c held, or the bias, is added once at the end. No tile size, no
 * number of stages and no neighbour has a part in it, so every shape of tile gives the same bits: a tile is chosen
 * for speed alone (product_own.c).
 *
 * A block walks k in tiles of DEEP that come by asynchronous copies, STAGES - 1 of them under way; a tile is read
 * by every warp with ldmatrix. Weights are read from memory once where one block holds all rows. Nothing is split
 * along k, nothing is added atomically. Internal to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_KERNEL_TILE_H
#define TR_TENSOR_CUDA_KERNEL_TILE_H

#include "tensor/cuda/warp.h"

enum {
    TILE_PAD = 8,       /* numbers behind a row of shared memory: rows start in different banks, 16 bytes aligned */
    TILE_SUMS_MAX = 64, /* sums of a thread */
    TILE_BAND = 8,      /* tiles along n that blocks walk together, so that they share what the L2 cache holds */
};

/* A(i, k) = a[i * a_stride + k] where k is contiguous, else a[k * a_stride + i]; B(k, j) likewise with j. The wide
 * operands are read 16 bytes at a time: the address, the stride and the contiguous side are multiples of 8. */
typedef struct tile_args {
    float *c;
    const tr_half16 *a, *b;
    const float *bias; /* [m] or NULL */
    int64_t m, n, depth, a_stride, b_stride;
    int a_wide, b_wide, fresh; /* fresh: c is set, else added to */
} tile_args;

/* X(name, rows of A, columns of B, deep, stages, warps along m, warps along n, A has k contiguous, B has) */
#define TR_CUDA_TILES(X)                                                                                           \
    X(forward_16x16, 16, 16, 128, 8, 1, 1, 1, 1)                                                                   \
    X(forward_32x16, 32, 16, 128, 8, 2, 1, 1, 1)                                                                   \
    X(forward_64x16, 64, 16, 128, 6, 4, 1, 1, 1)                                                                   \
    X(forward_32x32, 32, 32, 128, 7, 2, 2, 1, 1)                                                                   \
    X(forward_64x32, 64, 32, 128, 5, 4, 2, 1, 1)                                                                   \
    X(forward_64x64, 64, 64, 64, 7, 4, 2, 1, 1)                                                                    \
    X(forward_128x64, 128, 64, 64, 5, 4, 2, 1, 1)                                                                  \
    X(forward_128x128, 128, 128, 32, 4, 2, 4, 1, 1)                                                                \
    X(input_128x128, 128, 128, 32, 4, 2, 4, 0, 1)                                                                  \
    X(weight_128x128, 128, 128, 32, 4, 2, 4, 0, 0)

typedef enum tile_shape {
#define X(name, bm, bn, deep, stages, wm, wn, a_along, b_along) TILE_##name,
    TR_CUDA_TILES(X)
#undef X
        TILE_SHAPES
} tile_shape;

/* Numbers of a side of `side` rows in a stage, and the bytes of shared memory of a block. */
#define TILE_NUMBERS(side, deep, along_k) ((along_k) ? (side) * ((deep) + TILE_PAD) : (deep) * ((side) + TILE_PAD))
#define TILE_BYTES(bm, bn, deep, stages, a_along, b_along)                                                         \
    ((stages)*2 * (TILE_NUMBERS(bm, deep, a_along) + TILE_NUMBERS(bn, deep, b_along)))

/* One operand's part of a stage: `side` rows or columns from `first` of `limit`, `deep` along k from k0. */
TR_DEVICE void tile_load(int t, tr_half16 *to, const tr_half16 *from, int64_t stride, int wide, int64_t first,
                         int64_t limit, int64_t k0, int64_t depth, const int side, const int deep,
                         const int along_k, const int threads)
{
    const int width = along_k ? deep : side, chunks = width / 8, pitch = width + TILE_PAD;
    UNROLL
    for (int e = 0; e < side * deep / 8 / threads; e++) {
        const int r = (t + e * threads) / chunks, c = (t + e * threads) % chunks * 8;
        const int64_t i = first + (along_k ? r : c), k = k0 + (along_k ? c : r);
        const int64_t at = along_k ? i * stride + k : k * stride + i;
        tr_half16 *put = to + r * pitch + c;
        if (wide) { /* eight neighbours are inside or outside together */
            const int live = i < limit && k < depth;
            async_copy(t, put, live ? from + at : from, live);
        } else {
            for (int d = 0; d < 8; d++) {
                const int live = (along_k ? i : i + d) < limit && (along_k ? k + d : k) < depth;
                put[d] = live ? from[at + d] : (tr_half16)0;
            }
        }
    }
}

/* What the threads of a block hold: the sums of a warp's rows and columns in 16 x 16 pieces, and operands. */
typedef struct tile_threads {
    PRIVATE(float, sum, TILE_SUMS_MAX);
    PRIVATE(uint32_t, a, 16);
    PRIVATE(uint32_t, b, 16);
    PRIVATE(const tr_half16 *, at, 1);
} tile_threads;

/* One step of 16 along k, `k` within the stage: a warp's (bm / wm) x (bn / wn) sums. */
TR_DEVICE void tile_step(tile_threads *r, const tr_half16 *a, const tr_half16 *b, int k, const int bm, const int bn,
                         const int deep, const int wm, const int wn, const int a_along, const int b_along)
{
    const int rows = bm / wm, columns = bn / wn, threads = wm * wn * 32;
    const int a_pitch = (a_along ? deep : bm) + TILE_PAD, b_pitch = (b_along ? deep : bn) + TILE_PAD;
    UNROLL
    for (int i = 0; i < rows; i += 16) {
        THREADS(t, threads)
        {
            const int lane = t % 32, i0 = t / 32 / wn * rows + i;
            r->at[OWN(t)][0] = a_along ? a + (i0 + lane % 16) * a_pitch + k + lane / 16 * 8
                                       : a + (k + lane % 8 + lane / 16 * 8) * a_pitch + i0 + lane / 8 % 2 * 8;
        }
        warp_load(&r->a[0][i / 4], 16, &r->at[0][0], 1, !a_along, wm * wn);
    }
    UNROLL
    for (int j = 0; j < columns; j += 16) {
        THREADS(t, threads)
        {
            const int lane = t % 32, j0 = t / 32 % wn * columns + j;
            r->at[OWN(t)][0] = b_along ? b + (j0 + lane % 8 + lane / 16 * 8) * b_pitch + k + lane / 8 % 2 * 8
                                       : b + (k + lane % 16) * b_pitch + j0 + lane / 16 * 8;
        }
        warp_load(&r->b[0][j / 4], 16, &r->at[0][0], 1, !b_along, wm * wn);
    }
    UNROLL
    for (int i = 0; i < rows; i += 16) {
        UNROLL
        for (int j = 0; j < columns; j += 8) {
            warp_product(&r->sum[0][(i / 16 * (columns / 8) + j / 8) * 4], TILE_SUMS_MAX, &r->a[0][i / 4], 16,
                         &r->b[0][j / 4], 16, wm * wn);
        }
    }
}

/* Which tile block x computes: bands of TILE_BAND tiles along n, within a band all of n before the next along m. */
TR_DEVICE void tile_place(const tile_args *p, int64_t x, const int bm, const int bn, int64_t *row0,
                          int64_t *column0)
{
    const int64_t along_m = (p->m + bm - 1) / bm, along_n = (p->n + bn - 1) / bn;
    const int64_t band = x / (along_m * TILE_BAND), rest = x % (along_m * TILE_BAND);
    const int64_t wide = cu_min64(TILE_BAND, along_n - band * TILE_BAND);
    *row0 = rest / wide * bm;
    *column0 = (band * TILE_BAND + rest % wide) * bn;
}

/* The sums as they leave: thread t holds rows g and g + 8, columns 2 i and 2 i + 1 of each 16 x 8 piece. */
TR_DEVICE void tile_store(const tile_args *p, tile_threads *r, int64_t row0, int64_t column0, const int bm,
                          const int bn, const int wm, const int wn)
{
    const int rows = bm / wm, columns = bn / wn;
    THREADS(t, wm * wn * 32)
    {
        const int64_t i0 = row0 + t / 32 / wn * rows + t % 32 / 4, j0 = column0 + t / 32 % wn * columns + t % 4 * 2;
        UNROLL
        for (int e = 0; e < rows * columns / 32; e++) {
            const int64_t i = i0 + e / 4 / (columns / 8) * 16 + e % 4 / 2 * 8,
                          j = j0 + e / 4 % (columns / 8) * 8 + e % 2;
            if (i < p->m && j < p->n) {
                float *c = p->c + j * p->m + i;
                const float sum = r->sum[OWN(t)][e];
                *c = !p->fresh ? sum + *c : p->bias ? sum + p->bias[i] : sum;
            }
        }
    }
}

TR_DEVICE void tile_block(const tile_args *p, int x, int y, int z, void *memory, const int bm, const int bn,
                          const int deep, const int stages, const int wm, const int wn, const int a_along,
                          const int b_along)
{
    (void)y, (void)z;
    const int threads = wm * wn * 32;
    const int a_numbers = TILE_NUMBERS(bm, deep, a_along), numbers = a_numbers + TILE_NUMBERS(bn, deep, b_along);
    tr_half16 *shared = (tr_half16 *)memory;
    int64_t row0, column0;
    tile_threads r;
    tile_place(p, x, bm, bn, &row0, &column0);
    THREADS(t, threads)
    {
        UNROLL
        for (int e = 0; e < bm * bn / threads; e++) {
            r.sum[OWN(t)][e] = 0.0f;
        }
        for (int s = 0; s < stages - 1; s++) {
            if (s * deep < p->depth) {
                tr_half16 *to = shared + s * numbers;
                tile_load(t, to, p->a, p->a_stride, p->a_wide, row0, p->m, s * deep, p->depth, bm, deep, a_along,
                          threads);
                tile_load(t, to + a_numbers, p->b, p->b_stride, p->b_wide, column0, p->n, s * deep, p->depth, bn,
                          deep, b_along, threads);
            }
            async_commit(t);
        }
    }
    int here = 0;
    for (int64_t k0 = 0; k0 < p->depth; k0 += deep) {
        const int64_t next = k0 + (stages - 1) * deep;
        const int there = here == 0 ? stages - 1 : here - 1; /* the stage that the last step read */
        THREADS(t, threads)
        {
            async_wait(t, stages - 2);
        }
        SYNC(); /* what arrived is everyone's; the last step's stage is free */
        THREADS(t, threads)
        {
            if (next < p->depth) {
                tr_half16 *to = shared + there * numbers;
                tile_load(t, to, p->a, p->a_stride, p->a_wide, row0, p->m, next, p->depth, bm, deep, a_along,
                          threads);
                tile_load(t, to + a_numbers, p->b, p->b_stride, p->b_wide, column0, p->n, next, p->depth, bn, deep,
                          b_along, threads);
            }
            async_commit(t);
        }
        const tr_half16 *a = shared + here * numbers, *b = a + a_numbers;
        if (k0 + deep <= p->depth) {
            UNROLL
            for (int k = 0; k < deep; k += 16) {
                tile_step(&r, a, b, k, bm, bn, deep, wm, wn, a_along, b_along);
            }
        } else { /* the last tile: no step that is beyond depth altogether */
            for (int k = 0; k < deep && k0 + k < p->depth; k += 16) {
                tile_step(&r, a, b, k, bm, bn, deep, wm, wn, a_along, b_along);
            }
        }
        here = here == stages - 1 ? 0 : here + 1;
    }
    tile_store(p, &r, row0, column0, bm, bn, wm, wn);
}

#endif
