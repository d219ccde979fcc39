/* grid.h: the language that the GPU's kernels are written in, compiled twice: by nvcc for the device and by the C
 * compiler for the tests.
 *
 * A kernel is one function per block: NAME_block(arguments, x, y, z, shared), with the block's indices and its
 * shared memory. Work of the threads stands inside THREADS(t, count) { ... }: on the device thread t runs it once,
 * in the emulation a loop runs it for every t. Between two such regions stands SYNC(), so that no thread reads what
 * another one has yet to write. What a thread keeps from one region to the next is PRIVATE(type, name, count), read
 * as name[OWN(t)][i]. Code outside the regions is the same for all threads of the block. The collective operations
 * of a warp (matrix products on tensor cores, loads of fragments, exchanges between lanes) stand outside of regions
 * and work on PRIVATE arrays; their emulation follows the layouts of the PTX manual.
 *
 * Never here: float atomics, contraction (fma is written where it is meant; nvcc runs with -fmad=false), functions
 * of a library whose bits we do not know. So a kernel gives the same bits on the device and in the emulation, the
 * tensor cores' own sums aside. Internal to tensor/cuda; no CUDA header is needed. */
#ifndef TR_TENSOR_CUDA_GRID_H
#define TR_TENSOR_CUDA_GRID_H

#include "tensor/matrix.h"

#ifndef __CUDACC__
#include <math.h>
#include <string.h>
#endif

enum { TR_BLOCK_MAX = 256 }; /* threads of the largest block */

#ifdef __CUDACC__
#define TR_DEVICE static __device__ __forceinline__
#define THREADS(t, count) for (int t = (int)threadIdx.x, once_ = 1; once_; once_ = 0)
#define PRIVATE(type, name, count) type name[1][count]
#define OWN(t) 0
#define SYNC() __syncthreads()
#define UNROLL _Pragma("unroll")
#define ALIGNED16 __align__(16)
#else
#define TR_DEVICE static inline __attribute__((unused))
#define THREADS(t, count) for (int t = 0; t < (count); t++)
#define PRIVATE(type, name, count) type name[TR_BLOCK_MAX][count]
#define OWN(t) (t)
#define SYNC() tr_emulated_sync()
#define UNROLL
#define ALIGNED16 _Alignas(16)
#endif

#ifndef __CUDACC__ /* of tests/cuda/emulate_async.c: barriers, and copies that arrive as late as they may */
void tr_emulated_sync(void);
void tr_emulated_read(const void *shared, int bytes);
void tr_emulated_copy(int thread, void *shared, const void *from, int bytes, int live);
void tr_emulated_commit(int thread);
void tr_emulated_wait(int thread, int pending);
#endif

typedef uint16_t tr_half16; /* the bits of a bf16 (or f16) number */

/* ---- single operations, rounded as IEEE says ---- */

TR_DEVICE float cu_fma(float a, float b, float c)
{
#ifdef __CUDACC__
    return __fmaf_rn(a, b, c);
#else
    return __builtin_fmaf(a, b, c);
#endif
}
TR_DEVICE double cu_fma64(double a, double b, double c)
{
#ifdef __CUDACC__
    return __fma_rn(a, b, c);
#else
    return __builtin_fma(a, b, c);
#endif
}
TR_DEVICE float cu_sqrt(float x)
{
#ifdef __CUDACC__
    return __fsqrt_rn(x);
#else
    return __builtin_sqrtf(x);
#endif
}
TR_DEVICE float cu_divide(float a, float b)
{
#ifdef __CUDACC__
    return __fdiv_rn(a, b);
#else
    return a / b;
#endif
}
TR_DEVICE float cu_round(float x) /* to an integer, half to even */
{
#ifdef __CUDACC__
    return rintf(x);
#else
    return __builtin_rintf(x);
#endif
}
TR_DEVICE double cu_round64(double x)
{
#ifdef __CUDACC__
    return rint(x);
#else
    return __builtin_rint(x);
#endif
}
TR_DEVICE uint32_t cu_bits(float x)
{
#ifdef __CUDACC__
    return __float_as_uint(x);
#else
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
#endif
}
TR_DEVICE float cu_from_bits(uint32_t bits)
{
#ifdef __CUDACC__
    return __uint_as_float(bits);
#else
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
#endif
}
TR_DEVICE double cu_from_bits64(uint64_t bits)
{
#ifdef __CUDACC__
    return __longlong_as_double((long long)bits);
#else
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
#endif
}
TR_DEVICE uint64_t cu_bits64(double x)
{
#ifdef __CUDACC__
    return (uint64_t)__double_as_longlong(x);
#else
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
#endif
}

TR_DEVICE float cu_infinity(void)
{
    return cu_from_bits(0x7F800000u);
}
TR_DEVICE float cu_max(float a, float b) /* a > b ? a : b, as the CPU's lanes have it: a NaN in b stays */
{
    return a > b ? a : b;
}
TR_DEVICE int64_t cu_min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
TR_DEVICE int64_t cu_max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- number formats ---- */

TR_DEVICE tr_half16 cu_to_bf16(float x) /* half to even; NaN stays NaN */
{
    uint32_t bits = cu_bits(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
        return (tr_half16)(bits >> 16 | 0x40u);
    }
    return (tr_half16)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}
TR_DEVICE float cu_from_bf16(tr_half16 x)
{
    return cu_from_bits((uint32_t)x << 16);
}
TR_DEVICE float cu_round_bf16(float x)
{
    return cu_from_bf16(cu_to_bf16(x));
}
TR_DEVICE float cu_from_f16(tr_half16 half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 0x3FFu;
    if (exponent == 31) {
        return cu_from_bits(sign | 0x7F800000u | fraction << 13);
    }
    if (exponent) {
        return cu_from_bits(sign | (exponent + 112u) << 23 | fraction << 13);
    }
    return cu_from_bits(cu_bits((float)fraction * 5.9604644775390625e-8f) | sign); /* 2^-24 */
}
TR_DEVICE float cu_load(const void *p, int dtype, int64_t i)
{
    if (dtype == TR_F32) {
        return ((const float *)p)[i];
    }
    tr_half16 x = ((const tr_half16 *)p)[i];
    return dtype == TR_BF16 ? cu_from_bf16(x) : cu_from_f16(x);
}

/* ---- elementary functions: the sequences of tensor/cpu/lanes_math.h and base/math.h, so the same bits ---- */

TR_DEVICE float cu_exp(float x)
{
    float c = cu_max(-88.0f, x);
    float n = cu_round(c * 0x1.715476p+0f);
    float r = cu_fma(n, -0x1.62ep-1f, c);
    r = cu_fma(n, -0x1.0bfbe8p-15f, r);
    float q = 0x1.6d110ap-10f;
    q = cu_fma(q, r, 0x1.120b6ep-7f);
    q = cu_fma(q, r, 0x1.55551ap-5f);
    q = cu_fma(q, r, 0x1.5554dcp-3f);
    q = cu_fma(q, r, 0.5f);
    float y = 1.0f + cu_fma(r * r, q, r);
    float m = cu_max(-126.0f, n);
    return x < -87.33f ? 0.0f : y * cu_from_bits(m == m ? (uint32_t)((int)m + 127) << 23 : 0x7FC00000u);
}
TR_DEVICE float cu_sigmoid(float x)
{
    float minus = 0.0f - x;
    float e = cu_exp(minus < x ? minus : x); /* exp(-|x|) */
    return cu_divide(x < 0.0f ? e : 1.0f, 1.0f + e);
}
TR_DEVICE float cu_erf(float x)
{
    float z = x * x, p = -0x1.445f48p-17f;
    p = cu_fma(p, z, 0x1.d88750p-14f);
    p = cu_fma(p, z, -0x1.bccf66p-11f);
    p = cu_fma(p, z, 0x1.562a60p-8f);
    p = cu_fma(p, z, -0x1.b829c8p-6f);
    p = cu_fma(p, z, 0x1.ce2f08p-4f);
    p = cu_fma(p, z, -0x1.812746p-2f);
    p = cu_fma(p, z, 0x1.06eba8p-3f);
    float small = cu_fma(x, p, x);
    float a = cu_max(0.0f - x, x), t = (4.0f < a ? 4.0f : a) - 1.0f;
    float q = 0x1.b77830p-20f;
    q = cu_fma(q, t, -0x1.147ed8p-15f);
    q = cu_fma(q, t, 0x1.4fcba8p-12f);
    q = cu_fma(q, t, -0x1.0d42e6p-9f);
    q = cu_fma(q, t, 0x1.4a3ac8p-7f);
    q = cu_fma(q, t, -0x1.5496a6p-5f);
    q = cu_fma(q, t, -0x1.afab6cp-1f);
    q = cu_fma(q, t, -0x1.51c9b2p+1f);
    q = cu_fma(q, t, -0x1.d97fc0p+0f);
    float big = 1.0f - cu_exp(q);
    big = x < 0.0f ? 0.0f - big : big;
    return 1.0f < a ? big : small;
}

typedef struct cu_pair {
    double hi, lo;
} cu_pair;

TR_DEVICE cu_pair cu_two_sum(double a, double b)
{
    double s = a + b, t = s - a;
    cu_pair r = {s, (a - (s - t)) + (b - t)};
    return r;
}
TR_DEVICE cu_pair cu_two_product(double a, double b)
{
    double p = a * b;
    cu_pair r = {p, cu_fma64(a, b, -p)};
    return r;
}
TR_DEVICE cu_pair cu_renormalise(double hi, double lo)
{
    double s = hi + lo;
    cu_pair r = {s, lo - (s - hi)};
    return r;
}

/* log(x) for normal finite x > 0, which sums of exponentials are; others as tr_math_log has them. */
TR_DEVICE double cu_log64(double x)
{
    if (!(x >= 2.2250738585072014e-308) || !(x <= 1.7976931348623157e308)) {
        return x != x || x > 0.0 ? x : x == 0.0 ? -(double)cu_infinity() : (double)cu_from_bits(0x7FC00000u);
    }
    uint64_t bits = cu_bits64(x);
    int e = (int)(bits >> 52) - 1023;
    double m = cu_from_bits64((bits & 0xFFFFFFFFFFFFFull) | 0x3FF0000000000000ull);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e += 1;
    }
    const double ln2_hi = 0x1.62e42fefa39efp-1, ln2_lo = 0x1.abc9e3b39803fp-56;
    double f = m - 1.0;
    cu_pair d = cu_two_sum(2.0, f);
    double s = f / d.hi, s_lo = (cu_fma64(-s, d.hi, f) - s * d.lo) / d.hi;
    cu_pair s2 = cu_two_product(s, s);
    s2.lo = cu_fma64(2.0 * s, s_lo, s2.lo);
    double p = 2.0 / 25.0;
    for (int k = 23; k >= 5; k -= 2) {
        p = cu_fma64(p, s2.hi, 2.0 / k);
    }
    cu_pair q = cu_renormalise(0x1.5555555555555p-1, cu_fma64(s2.hi, p, 0x1.5555555555555p-55));
    cu_pair t = cu_two_product(s2.hi, q.hi);
    t.lo += cu_fma64(s2.hi, q.lo, s2.lo * q.hi);
    cu_pair u = cu_two_product(s, t.hi);
    u.lo += cu_fma64(s, t.lo, s_lo * t.hi);
    cu_pair sum = cu_two_sum(2.0 * s, u.hi);
    sum.lo += cu_fma64(2.0, s_lo, u.lo);
    cu_pair l = cu_two_product((double)e, ln2_hi);
    cu_pair total = cu_two_sum(l.hi, sum.hi);
    total.lo += cu_fma64((double)e, ln2_lo, l.lo) + sum.lo;
    return total.hi + total.lo;
}

/* Cosine and sine of a finite angle of at most 2^30. */
TR_DEVICE void cu_turn64(double x, double *cosine, double *sine)
{
    double k = cu_round64(x * 0x1.45f306dc9c883p-1);
    cu_pair a = cu_two_product(k, 0x1.921fb54442d18p+0), b = cu_two_product(k, 0x1.1a62633145c07p-54);
    cu_pair c = cu_two_sum(x, -a.hi), d = cu_two_sum(c.hi, -a.lo), e = cu_two_sum(d.hi, -b.hi);
    cu_pair r = cu_renormalise(e.hi, ((e.lo + d.lo) + c.lo) - cu_fma64(k, -0x1.f1976b7ed8fbcp-110, b.lo));
    int quadrant = (int)((int64_t)k & 3);
    double z = r.hi * r.hi, p = 1.0 / 355687428096000.0;
    p = cu_fma64(p, z, -1.0 / 1307674368000.0);
    p = cu_fma64(p, z, 1.0 / 6227020800.0);
    p = cu_fma64(p, z, -1.0 / 39916800.0);
    p = cu_fma64(p, z, 1.0 / 362880.0);
    p = cu_fma64(p, z, -1.0 / 5040.0);
    p = cu_fma64(p, z, 1.0 / 120.0);
    p = cu_fma64(p, z, -1.0 / 6.0);
    double s = r.hi + cu_fma64(z * r.hi, p, cu_fma64(-0.5 * z, r.lo, r.lo));
    p = 1.0 / 20922789888000.0;
    p = cu_fma64(p, z, -1.0 / 87178291200.0);
    p = cu_fma64(p, z, 1.0 / 479001600.0);
    p = cu_fma64(p, z, -1.0 / 3628800.0);
    p = cu_fma64(p, z, 1.0 / 40320.0);
    p = cu_fma64(p, z, -1.0 / 720.0);
    p = cu_fma64(p, z, 1.0 / 24.0);
    double half = 0.5 * z, w = 1.0 - half;
    double q = w + (((1.0 - w) - half) + cu_fma64(z * z, p, -r.hi * r.lo));
    double y = quadrant & 1 ? q : s, v = quadrant & 1 ? s : q;
    if (x == 0.0) {
        y = x;
    }
    *sine = quadrant & 2 ? -y : y;
    *cosine = quadrant == 1 || quadrant == 2 ? -v : v;
}

#endif
