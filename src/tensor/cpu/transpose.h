/* transpose.h: sixteen rows of sixteen floats become columns. Moves only; a build for AVX-512, one for AVX2, one
 * plain. */
#ifndef TR_TENSOR_CPU_TRANSPOSE_H
#define TR_TENSOR_CPU_TRANSPOSE_H

#include "tensor/cpu/lanes.h"

/* The short loops over registers are unrolled. A build with sanitizers keeps them as loops: it would compile for
 * minutes. */
#if defined(__SANITIZE_ADDRESS__)
enum { UNROLL = 1 };
#else
enum { UNROLL = 16 };
#endif

/* to[j][i] = from[i][j], 16 by 16 */
#if defined(TR_ISA_avx512)
LANES_INLINE void transpose(float *to, const lanes from[TR_PANEL])
{
    __m512 a[16], b[16];
#pragma GCC unroll UNROLL
    for (int i = 0; i < 16; i += 2) { /* pairs of rows: elements of both side by side */
        a[i] = _mm512_unpacklo_ps(from[i], from[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(from[i], from[i + 1]);
    }
#pragma GCC unroll UNROLL
    for (int i = 0; i < 16; i += 4) { /* fours: b[i + q] holds column 4 l + q of rows i..i+3 in quarter l */
        b[i] = _mm512_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm512_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
#pragma GCC unroll UNROLL
    for (int q = 0; q < 4; q++) { /* quarters to their rows */
        __m512 even_low = _mm512_shuffle_f32x4(b[q], b[q + 4], 0x88),
               odd_low = _mm512_shuffle_f32x4(b[q], b[q + 4], 0xdd);
        __m512 even_high = _mm512_shuffle_f32x4(b[q + 8], b[q + 12], 0x88),
               odd_high = _mm512_shuffle_f32x4(b[q + 8], b[q + 12], 0xdd);
        _mm512_storeu_ps(to + (q + 0) * 16, _mm512_shuffle_f32x4(even_low, even_high, 0x88));
        _mm512_storeu_ps(to + (q + 4) * 16, _mm512_shuffle_f32x4(odd_low, odd_high, 0x88));
        _mm512_storeu_ps(to + (q + 8) * 16, _mm512_shuffle_f32x4(even_low, even_high, 0xdd));
        _mm512_storeu_ps(to + (q + 12) * 16, _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd));
    }
}
#elif defined(TR_ISA_avx2)
/* Eight rows of eight; to's rows are 16 apart. */
LANES_INLINE void transpose8(float *to, const __m256 from[8])
{
    __m256 a[8], b[8];
#pragma GCC unroll UNROLL
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps(from[i], from[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(from[i], from[i + 1]);
    }
#pragma GCC unroll UNROLL
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
#pragma GCC unroll UNROLL
    for (int q = 0; q < 4; q++) {
        _mm256_storeu_ps(to + q * 16, _mm256_permute2f128_ps(b[q], b[q + 4], 0x20));
        _mm256_storeu_ps(to + (q + 4) * 16, _mm256_permute2f128_ps(b[q], b[q + 4], 0x31));
    }
}

LANES_INLINE void transpose(float *to, const lanes from[TR_PANEL])
{
#pragma GCC unroll UNROLL
    for (int half = 0; half < 2; half++) {
        __m256 left[8], right[8];
#pragma GCC unroll UNROLL
        for (int i = 0; i < 8; i++) {
            left[i] = from[8 * half + i].a;
            right[i] = from[8 * half + i].b;
        }
        transpose8(to + 8 * half, left);
        transpose8(to + 8 * 16 + 8 * half, right);
    }
}
#else
LANES_INLINE void transpose(float *to, const lanes from[TR_PANEL])
{
    for (int i = 0; i < TR_PANEL; i++) {
        for (int j = 0; j < TR_PANEL; j++) {
            to[j * TR_PANEL + i] = from[i].f[j];
        }
    }
}
#endif

#endif
