/* warp.h: what the lanes of a warp do together: products on the tensor cores, loads of their operands, exchanges.
 *
 * Each function takes PRIVATE arrays as a pointer to thread 0's first element and the elements between threads; the
 * device uses its own thread's and ignores the pitch. warps: how many warps of the block take part. A 16 x 8 x 16
 * product holds, with g = lane / 4 and i = lane % 4: A rows g, g + 8 and columns 2i, 2i+1, 2i+8, 2i+9; B rows
 * 2i.. of column g; C rows g, g + 8 and columns 2i, 2i + 1. The emulation sums the sixteen products of a step in
 * double and rounds once; how the device rounds inside a step is the chip's affair, but it is the same for every
 * row and column, which is what row-invariance needs. Internal to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_WARP_H
#define TR_TENSOR_CUDA_WARP_H

#include "tensor/cuda/grid.h"

/* Two bf16 numbers in a register, the first in the low half. */
TR_DEVICE uint32_t cu_pack_bf16(float low, float high)
{
    return (uint32_t)cu_to_bf16(low) | (uint32_t)cu_to_bf16(high) << 16;
}

/* c += a b for one step of 16 along k: c 4 floats, a 4 registers, b 2 registers. */
TR_DEVICE void warp_product(float *c, int c_pitch, const uint32_t *a, int a_pitch, const uint32_t *b, int b_pitch,
                            int warps)
{
#ifdef __CUDACC__
    (void)c_pitch, (void)a_pitch, (void)b_pitch;
    if ((int)threadIdx.x / 32 < warps) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                     "{%0,%1,%2,%3};\n"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
#else
    for (int w = 0; w < warps; w++) {
        float left[16][16], right[16][8];
        for (int lane = 0; lane < 32; lane++) {
            const int g = lane / 4, i = lane % 4 * 2, t = w * 32 + lane;
            for (int r = 0; r < 4; r++) {
                const uint32_t x = a[t * a_pitch + r];
                left[g + r % 2 * 8][i + r / 2 * 8] = cu_from_bits(x << 16);
                left[g + r % 2 * 8][i + r / 2 * 8 + 1] = cu_from_bits(x & 0xFFFF0000u);
            }
            for (int r = 0; r < 2; r++) {
                const uint32_t x = b[t * b_pitch + r];
                right[i + r * 8][g] = cu_from_bits(x << 16);
                right[i + r * 8 + 1][g] = cu_from_bits(x & 0xFFFF0000u);
            }
        }
        for (int lane = 0; lane < 32; lane++) {
            for (int e = 0; e < 4; e++) {
                const int row = lane / 4 + e / 2 * 8, column = lane % 4 * 2 + e % 2;
                double sum = (double)c[(w * 32 + lane) * c_pitch + e];
                for (int k = 0; k < 16; k++) {
                    sum += (double)left[row][k] * (double)right[k][column];
                }
                c[(w * 32 + lane) * c_pitch + e] = (float)sum;
            }
        }
    }
#endif
}

/* Four 8 x 8 matrices of 16-bit numbers from shared memory: lanes 8m .. 8m + 7 name the rows of matrix m (16 bytes
 * each, 16-byte aligned). Register m gets row lane / 4, columns 2 (lane % 4) and the next; transposed: column lane
 * / 4 of rows 2 (lane % 4) and the next. Inside a THREADS region only `row` is computed; the call stands outside.
 */
TR_DEVICE void warp_load(uint32_t *to, int to_pitch, const tr_half16 *const *row, int row_pitch, int transposed,
                         int warps)
{
#ifdef __CUDACC__
    (void)to_pitch, (void)row_pitch;
    if ((int)threadIdx.x / 32 < warps) {
        const uint32_t at = (uint32_t)__cvta_generic_to_shared(row[0]);
        if (transposed) {
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                         : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                         : "r"(at)
                         : "memory");
        } else {
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                         : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                         : "r"(at)
                         : "memory");
        }
    }
#else
    for (int w = 0; w < warps; w++) {
        for (int lane = 0; lane < 32; lane++) {
            tr_emulated_read(row[(w * 32 + lane) * row_pitch], 16);
            for (int m = 0; m < 4; m++) {
                const int r = lane / 4, i = lane % 4 * 2, base = w * 32 + m * 8;
                const tr_half16 low = transposed ? row[(base + i) * row_pitch][r] : row[(base + r) * row_pitch][i];
                const tr_half16 high =
                    transposed ? row[(base + i + 1) * row_pitch][r] : row[(base + r) * row_pitch][i + 1];
                to[(w * 32 + lane) * to_pitch + m] = (uint32_t)low | (uint32_t)high << 16;
            }
        }
    }
#endif
}

/* The largest value, or the sum, of the four lanes that hold one row; each gets it. Sum: (0 + 1) + (2 + 3). */
TR_DEVICE void quad_largest(float *x, int pitch, int threads)
{
#ifdef __CUDACC__
    (void)pitch, (void)threads;
    x[0] = fmaxf(x[0], __shfl_xor_sync(0xFFFFFFFFu, x[0], 1));
    x[0] = fmaxf(x[0], __shfl_xor_sync(0xFFFFFFFFu, x[0], 2));
#else
    for (int q = 0; q < threads; q += 4) {
        float best = x[q * pitch];
        for (int i = 1; i < 4; i++) {
            best = x[(q + i) * pitch] > best ? x[(q + i) * pitch] : best;
        }
        for (int i = 0; i < 4; i++) {
            x[(q + i) * pitch] = best;
        }
    }
#endif
}
TR_DEVICE void quad_sum(float *x, int pitch, int threads)
{
#ifdef __CUDACC__
    (void)pitch, (void)threads;
    x[0] = x[0] + __shfl_xor_sync(0xFFFFFFFFu, x[0], 1);
    x[0] = x[0] + __shfl_xor_sync(0xFFFFFFFFu, x[0], 2);
#else
    for (int q = 0; q < threads; q += 4) {
        const float sum = (x[q * pitch] + x[(q + 1) * pitch]) + (x[(q + 2) * pitch] + x[(q + 3) * pitch]);
        for (int i = 0; i < 4; i++) {
            x[(q + i) * pitch] = sum;
        }
    }
#endif
}

/* ---- asynchronous copies from device memory into shared memory ----
 * A thread starts copies of 16 bytes (both addresses multiples of 16), closes a group of them, and later waits
 * until at most `pending` of its youngest groups are still under way; other threads may read what arrived after the
 * next SYNC(). Where live is 0 zeros come, and `from` is not read. */
TR_DEVICE void async_copy(int thread, void *shared, const void *from, int live)
{
#ifdef __CUDACC__
    (void)thread;
    asm volatile(
        "cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"((uint32_t)__cvta_generic_to_shared(shared)),
        "l"(from), "r"(live ? 16 : 0)
        : "memory");
#else
    tr_emulated_copy(thread, shared, from, 16, live);
#endif
}
TR_DEVICE void async_commit(int thread)
{
#ifdef __CUDACC__
    (void)thread;
    asm volatile("cp.async.commit_group;\n" ::: "memory");
#else
    tr_emulated_commit(thread);
#endif
}
TR_DEVICE void async_wait(int thread, const int pending) /* 0 .. 6, known when compiled */
{
#ifdef __CUDACC__
    (void)thread;
    switch (pending) {
    case 0:
        asm volatile("cp.async.wait_group 0;\n" ::: "memory");
        break;
    case 1:
        asm volatile("cp.async.wait_group 1;\n" ::: "memory");
        break;
    case 2:
        asm volatile("cp.async.wait_group 2;\n" ::: "memory");
        break;
    case 3:
        asm volatile("cp.async.wait_group 3;\n" ::: "memory");
        break;
    case 4:
        asm volatile("cp.async.wait_group 4;\n" ::: "memory");
        break;
    case 5:
        asm volatile("cp.async.wait_group 5;\n" ::: "memory");
        break;
    default:
        asm volatile("cp.async.wait_group 6;\n" ::: "memory");
        break;
    }
#else
    tr_emulated_wait(thread, pending);
#endif
}

/* Four neighbours from memory at once where they are aligned, as they are where rows are multiples of four. */
typedef struct cu_four {
    ALIGNED16 float f[4];
} cu_four;

TR_DEVICE void cu_load_four(float to[4], const float *from)
{
    const cu_four x = *(const cu_four *)(const void *)from;
    to[0] = x.f[0], to[1] = x.f[1], to[2] = x.f[2], to[3] = x.f[3];
}

#endif
