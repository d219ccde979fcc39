/* lanes_math.h: exp, sigmoid and erf over sixteen lanes as fixed sequences, the same bits in every variant.
 *
 * Errors are at most 2 units in the last place of f32. Polynomials are Chebyshev fits made for these ranges. NaN
 * gives NaN. Results below the smallest normal number are flushed to 0. */
#ifndef TR_TENSOR_CPU_LANES_MATH_H
#define TR_TENSOR_CPU_LANES_MATH_H

#include "tensor/cpu/lanes.h"

/* exp(x) for x <= 88; below -87.33 exactly 0, -infinity included; exp(0) is exactly 1. */
LANES_INLINE lanes lanes_exp(lanes x)
{
    lanes c = lanes_max(lanes_set(-88.0f), x); /* the order of the operands lets NaN through */
    lanes n = lanes_round(lanes_mul(c, lanes_set(0x1.715476p+0f)));
    lanes r = lanes_fma(n, lanes_set(-0x1.62ep-1f), c); /* exact: 12 bits of ln 2 */
    r = lanes_fma(n, lanes_set(-0x1.0bfbe8p-15f), r);
    lanes q = lanes_set(0x1.6d110ap-10f);
    q = lanes_fma(q, r, lanes_set(0x1.120b6ep-7f));
    q = lanes_fma(q, r, lanes_set(0x1.55551ap-5f));
    q = lanes_fma(q, r, lanes_set(0x1.5554dcp-3f));
    q = lanes_fma(q, r, lanes_set(0.5f));
    lanes y = lanes_add(lanes_set(1.0f), lanes_fma(lanes_mul(r, r), q, r));
    /* -87.33: the smallest normal result; n is -126 there, so that 2^n is a normal number too */
    return lanes_if_less(x, lanes_set(-87.33f), lanes_zero(), lanes_scale2(y, lanes_max(lanes_set(-126.0f), n)));
}

LANES_INLINE lanes lanes_negate(lanes x)
{
    return lanes_sub(lanes_zero(), x);
}
LANES_INLINE lanes lanes_abs(lanes x)
{
    return lanes_max(lanes_negate(x), x);
}

/* 1 / (1 + exp(-x)), without overflow on either side. */
LANES_INLINE lanes lanes_sigmoid(lanes x)
{
    lanes e = lanes_exp(lanes_min(lanes_negate(x), x)); /* exp(-|x|) */
    lanes numerator = lanes_if_less(x, lanes_zero(), e, lanes_set(1.0f));
    return lanes_div(numerator, lanes_add(lanes_set(1.0f), e));
}

/* |x| <= 1: x + x P(x^2); else 1 - exp(Q(|x| - 1)), Q fitted to log(erfc). */
LANES_INLINE lanes lanes_erf(lanes x)
{
    lanes z = lanes_mul(x, x);
    lanes p = lanes_set(-0x1.445f48p-17f);
    p = lanes_fma(p, z, lanes_set(0x1.d88750p-14f));
    p = lanes_fma(p, z, lanes_set(-0x1.bccf66p-11f));
    p = lanes_fma(p, z, lanes_set(0x1.562a60p-8f));
    p = lanes_fma(p, z, lanes_set(-0x1.b829c8p-6f));
    p = lanes_fma(p, z, lanes_set(0x1.ce2f08p-4f));
    p = lanes_fma(p, z, lanes_set(-0x1.812746p-2f));
    p = lanes_fma(p, z, lanes_set(0x1.06eba8p-3f)); /* 2 / sqrt(pi) - 1 */
    lanes small = lanes_fma(x, p, x);
    lanes a = lanes_abs(x), t = lanes_sub(lanes_min(lanes_set(4.0f), a), lanes_set(1.0f));
    lanes q = lanes_set(0x1.b77830p-20f);
    q = lanes_fma(q, t, lanes_set(-0x1.147ed8p-15f));
    q = lanes_fma(q, t, lanes_set(0x1.4fcba8p-12f));
    q = lanes_fma(q, t, lanes_set(-0x1.0d42e6p-9f));
    q = lanes_fma(q, t, lanes_set(0x1.4a3ac8p-7f));
    q = lanes_fma(q, t, lanes_set(-0x1.5496a6p-5f));
    q = lanes_fma(q, t, lanes_set(-0x1.afab6cp-1f));
    q = lanes_fma(q, t, lanes_set(-0x1.51c9b2p+1f));
    q = lanes_fma(q, t, lanes_set(-0x1.d97fc0p+0f));
    lanes big = lanes_sub(lanes_set(1.0f), lanes_exp(q));
    big = lanes_if_less(x, lanes_zero(), lanes_negate(big), big);
    return lanes_if_less(lanes_set(1.0f), a, big, small);
}

/* The largest lane by the tree 8, 4, 2, 1. Callers exclude NaN. */
LANES_INLINE float lanes_top(lanes a)
{
#if defined(TR_ISA_avx512)
    __m256 h = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
#elif defined(TR_ISA_avx2)
    __m256 h = _mm256_max_ps(a.a, a.b);
#endif
#if defined(TR_ISA_avx512) || defined(TR_ISA_avx2)
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
#else
    return lanes_largest(a);
#endif
}

#endif
