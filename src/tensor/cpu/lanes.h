/* lanes.h: sixteen f32 lanes, the unit that every fast kernel is written in.
 *
 * The kernels (isa_*.c) are compiled three times: scalar (sixteen floats and fmaf), avx2 (two registers), avx512
 * (one register). Every function here gives the same bits in all three, so the kernels agree bit for bit by
 * construction. Reductions along the lanes use one fixed tree: halves 8, 4, 2, 1 apart are joined. Never use an
 * intrinsic in a kernel directly unless its result is exact or its order is the scalar's. */
#ifndef TR_TENSOR_CPU_LANES_H
#define TR_TENSOR_CPU_LANES_H

#include "tensor/matrix.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(TR_ISA_avx512) || defined(TR_ISA_avx2)
#include <immintrin.h>
#endif

#define TR_VARIANT_JOIN_(name, isa) tr_cpu_##name##_##isa
#define TR_VARIANT_JOIN(name, isa) TR_VARIANT_JOIN_(name, isa)
/* The name of a kernel in the variant being compiled: TR_VARIANT(add) is tr_cpu_add_avx2. */
#define TR_VARIANT(name) TR_VARIANT_JOIN(name, TR_ISA)

#define LANES_INLINE static inline __attribute__((always_inline, unused))

#if defined(TR_ISA_avx512)
typedef __m512 lanes;
LANES_INLINE lanes lanes_set(float x)
{
    return _mm512_set1_ps(x);
}
LANES_INLINE lanes lanes_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
LANES_INLINE void lanes_store(float *p, lanes a)
{
    _mm512_storeu_ps(p, a);
}
LANES_INLINE lanes lanes_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
LANES_INLINE void lanes_store_n(float *p, lanes a, int n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a);
}
LANES_INLINE lanes lanes_add(lanes a, lanes b)
{
    return _mm512_add_ps(a, b);
}
LANES_INLINE lanes lanes_sub(lanes a, lanes b)
{
    return _mm512_sub_ps(a, b);
}
LANES_INLINE lanes lanes_mul(lanes a, lanes b)
{
    return _mm512_mul_ps(a, b);
}
LANES_INLINE lanes lanes_div(lanes a, lanes b)
{
    return _mm512_div_ps(a, b);
}
LANES_INLINE lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
} /* a*b + c, rounded once */
LANES_INLINE lanes lanes_max(lanes a, lanes b)
{
    return _mm512_max_ps(a, b);
} /* a > b ? a : b */
LANES_INLINE lanes lanes_min(lanes a, lanes b)
{
    return _mm512_min_ps(a, b);
} /* a < b ? a : b */
LANES_INLINE lanes lanes_sqrt(lanes a)
{
    return _mm512_sqrt_ps(a);
}
LANES_INLINE lanes lanes_round(lanes a)
{
    return _mm512_roundscale_ps(a, 8);
} /* half to even */
/* x * 2^n for integral n in [-126, 127], by building 2^n */
LANES_INLINE lanes lanes_scale2(lanes x, lanes n)
{
    __m512i e = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
    return _mm512_mul_ps(x, _mm512_castsi512_ps(e));
}
/* a < b ? x : y */
LANES_INLINE lanes lanes_if_less(lanes a, lanes b, lanes x, lanes y)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
LANES_INLINE lanes lanes_load_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
LANES_INLINE lanes lanes_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
LANES_INLINE float lanes_sum(lanes a)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

#elif defined(TR_ISA_avx2)
typedef struct lanes {
    __m256 a, b;
} lanes;
#define LANES2(x, y) ((lanes){(x), (y)})
LANES_INLINE lanes lanes_set(float x)
{
    return LANES2(_mm256_set1_ps(x), _mm256_set1_ps(x));
}
LANES_INLINE lanes lanes_load(const float *p)
{
    return LANES2(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}
LANES_INLINE void lanes_store(float *p, lanes a)
{
    _mm256_storeu_ps(p, a.a), _mm256_storeu_ps(p + 8, a.b);
}
LANES_INLINE lanes lanes_load_n(const float *p, int n)
{
    float t[16] = {0};
    memcpy(t, p, (size_t)n * sizeof *t);
    return lanes_load(t);
}
LANES_INLINE void lanes_store_n(float *p, lanes a, int n)
{
    float t[16];
    lanes_store(t, a);
    memcpy(p, t, (size_t)n * sizeof *t);
}
LANES_INLINE lanes lanes_add(lanes a, lanes b)
{
    return LANES2(_mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b));
}
LANES_INLINE lanes lanes_sub(lanes a, lanes b)
{
    return LANES2(_mm256_sub_ps(a.a, b.a), _mm256_sub_ps(a.b, b.b));
}
LANES_INLINE lanes lanes_mul(lanes a, lanes b)
{
    return LANES2(_mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b));
}
LANES_INLINE lanes lanes_div(lanes a, lanes b)
{
    return LANES2(_mm256_div_ps(a.a, b.a), _mm256_div_ps(a.b, b.b));
}
LANES_INLINE lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return LANES2(_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b));
}
LANES_INLINE lanes lanes_max(lanes a, lanes b)
{
    return LANES2(_mm256_max_ps(a.a, b.a), _mm256_max_ps(a.b, b.b));
}
LANES_INLINE lanes lanes_min(lanes a, lanes b)
{
    return LANES2(_mm256_min_ps(a.a, b.a), _mm256_min_ps(a.b, b.b));
}
LANES_INLINE lanes lanes_sqrt(lanes a)
{
    return LANES2(_mm256_sqrt_ps(a.a), _mm256_sqrt_ps(a.b));
}
LANES_INLINE lanes lanes_round(lanes a)
{
    return LANES2(_mm256_round_ps(a.a, 8), _mm256_round_ps(a.b, 8));
}
LANES_INLINE __m256 lanes_power2_(__m256 n)
{
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
LANES_INLINE lanes lanes_scale2(lanes x, lanes n)
{
    return LANES2(_mm256_mul_ps(x.a, lanes_power2_(n.a)), _mm256_mul_ps(x.b, lanes_power2_(n.b)));
}
LANES_INLINE lanes lanes_if_less(lanes a, lanes b, lanes x, lanes y)
{
    return LANES2(_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(a.a, b.a, _CMP_LT_OQ)),
                  _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(a.b, b.b, _CMP_LT_OQ)));
}
LANES_INLINE __m256 lanes_widen_bf16_(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
LANES_INLINE lanes lanes_load_bf16(const uint16_t *p)
{
    return LANES2(lanes_widen_bf16_(p), lanes_widen_bf16_(p + 8));
}
LANES_INLINE lanes lanes_load_f16(const uint16_t *p)
{
    return LANES2(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                  _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8))));
}
LANES_INLINE float lanes_sum(lanes a)
{
    __m256 h = _mm256_add_ps(a.a, a.b);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

#else
typedef struct lanes {
    float f[16];
} lanes;
#define LANES_EACH(expression)                                                                                     \
    lanes r;                                                                                                       \
    for (int i = 0; i < 16; i++) {                                                                                 \
        r.f[i] = (expression);                                                                                     \
    }                                                                                                              \
    return r
LANES_INLINE lanes lanes_set(float x)
{
    LANES_EACH(x);
}
LANES_INLINE lanes lanes_load(const float *p)
{
    LANES_EACH(p[i]);
}
LANES_INLINE void lanes_store(float *p, lanes a)
{
    memcpy(p, a.f, sizeof a.f);
}
LANES_INLINE lanes lanes_load_n(const float *p, int n)
{
    LANES_EACH(i < n ? p[i] : 0.0f);
}
LANES_INLINE void lanes_store_n(float *p, lanes a, int n)
{
    memcpy(p, a.f, (size_t)n * sizeof *p);
}
LANES_INLINE lanes lanes_add(lanes a, lanes b)
{
    LANES_EACH(a.f[i] + b.f[i]);
}
LANES_INLINE lanes lanes_sub(lanes a, lanes b)
{
    LANES_EACH(a.f[i] - b.f[i]);
}
LANES_INLINE lanes lanes_mul(lanes a, lanes b)
{
    LANES_EACH(a.f[i] * b.f[i]);
}
LANES_INLINE lanes lanes_div(lanes a, lanes b)
{
    LANES_EACH(a.f[i] / b.f[i]);
}
LANES_INLINE lanes lanes_fma(lanes a, lanes b, lanes c)
{
    LANES_EACH(fmaf(a.f[i], b.f[i], c.f[i]));
}
LANES_INLINE lanes lanes_max(lanes a, lanes b)
{
    LANES_EACH(a.f[i] > b.f[i] ? a.f[i] : b.f[i]);
}
LANES_INLINE lanes lanes_min(lanes a, lanes b)
{
    LANES_EACH(a.f[i] < b.f[i] ? a.f[i] : b.f[i]);
}
LANES_INLINE lanes lanes_sqrt(lanes a)
{
    LANES_EACH(sqrtf(a.f[i]));
}
LANES_INLINE lanes lanes_round(lanes a)
{
    LANES_EACH(rintf(a.f[i]));
}
LANES_INLINE float lanes_bits_(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
LANES_INLINE lanes lanes_scale2(lanes x, lanes n)
{
    LANES_EACH(x.f[i] * lanes_bits_((uint32_t)((int32_t)n.f[i] + 127) << 23));
}
LANES_INLINE lanes lanes_if_less(lanes a, lanes b, lanes x, lanes y)
{
    LANES_EACH(a.f[i] < b.f[i] ? x.f[i] : y.f[i]);
}
LANES_INLINE lanes lanes_load_bf16(const uint16_t *p)
{
    LANES_EACH(lanes_bits_((uint32_t)p[i] << 16));
}
LANES_INLINE lanes lanes_load_f16(const uint16_t *p)
{
    LANES_EACH(tr_f16_to_f32(p[i]));
}
LANES_INLINE float lanes_sum(lanes a)
{
    for (int step = 8; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) {
            a.f[i] += a.f[i + step];
        }
    }
    return a.f[0];
}
#endif

LANES_INLINE lanes lanes_zero(void)
{
    return lanes_set(0.0f);
}

/* The largest lane. Order does not matter for a maximum (NaN aside, which callers exclude). */
LANES_INLINE float lanes_largest(lanes a)
{
    float t[16];
    lanes_store(t, a);
    float best = t[0];
    for (int i = 1; i < 16; i++) {
        best = t[i] > best ? t[i] : best;
    }
    return best;
}

#endif
