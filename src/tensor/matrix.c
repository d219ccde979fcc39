/* matrix.c: dtypes, conversions between them, and packing of weights into panels. */
#include "tensor/matrix.h"

#include <omp.h>
#include <string.h>

size_t tr_dtype_size(tr_dtype dtype)
{
    switch (dtype) {
    case TR_F64:
    case TR_I64:
        return 8;
    case TR_F32:
    case TR_I32:
        return 4;
    case TR_BF16:
    case TR_F16:
        return 2;
    case TR_U8:
        return 1;
    }
    return 0;
}

const char *tr_dtype_name(tr_dtype dtype)
{
    static const char *const names[] = {
        [TR_F32] = "F32", [TR_BF16] = "BF16", [TR_F16] = "F16", [TR_F64] = "F64",
        [TR_I64] = "I64", [TR_I32] = "I32",   [TR_U8] = "U8",
    };
    return names[dtype];
}

int64_t tr_matrix_elements(int64_t out, int64_t in)
{
    int64_t elements;
    if (out < 0 || in < 0 || out > INT64_MAX - TR_PANEL ||
        __builtin_mul_overflow((out + TR_PANEL - 1) / TR_PANEL * TR_PANEL, in, &elements)) {
        return 0;
    }
    return elements;
}

static uint16_t bf16_from_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) {
        return (uint16_t)(bits >> 16 | 0x40); /* NaN stays NaN */
    }
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float tr_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff, bits;
    if (exponent == 31) { /* infinity or NaN */
        bits = sign | 0x7f800000 | fraction << 13;
    } else if (exponent) {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else { /* subnormal: fraction * 2^-24, exact in f32 */
        float x = (float)fraction * 0x1p-24f;
        memcpy(&bits, &x, sizeof bits);
        bits |= sign;
    }
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

uint16_t tr_f16_from_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t size = bits & 0x7fffffff;
    if (size > 0x7f800000) {
        return (uint16_t)(sign | 0x7e00);
    }
    if (size >= 0x477ff000) { /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00);
    }
    if (size >= 0x38800000) { /* normal: drop 13 bits, half to even; a carry moves into the exponent */
        return (uint16_t)(sign | ((size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13));
    }
    float magnitude;
    memcpy(&magnitude, &size, sizeof magnitude);
    /* subnormal: adding 1.5 * 2^-1 makes one unit of f16 the last bit of f32 */
    float shifted = magnitude + 0.5f;
    uint32_t rounded;
    memcpy(&rounded, &shifted, sizeof rounded);
    return (uint16_t)(sign | (rounded - 0x3f000000));
}

static double widen(const void *from, tr_dtype dtype, int64_t i)
{
    switch (dtype) {
    case TR_F32:
        return (double)((const float *)from)[i];
    case TR_BF16: {
        uint32_t bits = (uint32_t)((const uint16_t *)from)[i] << 16;
        float x;
        memcpy(&x, &bits, sizeof x);
        return (double)x;
    }
    case TR_F16:
        return (double)tr_f16_to_f32(((const uint16_t *)from)[i]);
    case TR_F64:
        return ((const double *)from)[i];
    case TR_I64:
        return (double)((const int64_t *)from)[i];
    case TR_I32:
        return ((const int32_t *)from)[i];
    case TR_U8:
        return ((const uint8_t *)from)[i];
    }
    return 0;
}

static void narrow(void *to, tr_dtype dtype, int64_t i, double x)
{
    switch (dtype) {
    case TR_F32:
        ((float *)to)[i] = (float)x;
        break;
    case TR_BF16: /* every source of the model is at most f32, so rounding through f32 is rounding once */
        ((uint16_t *)to)[i] = bf16_from_f32((float)x);
        break;
    case TR_F16:
        ((uint16_t *)to)[i] = tr_f16_from_f32((float)x);
        break;
    case TR_F64:
        ((double *)to)[i] = x;
        break;
    case TR_I64:
        ((int64_t *)to)[i] = (int64_t)x;
        break;
    case TR_I32:
        ((int32_t *)to)[i] = (int32_t)x;
        break;
    case TR_U8:
        ((uint8_t *)to)[i] = (uint8_t)x;
        break;
    }
}

void tr_convert(void *to, tr_dtype to_dtype, const void *from, tr_dtype from_dtype, int64_t count)
{
    if (to_dtype == from_dtype) {
        memcpy(to, from, (size_t)count * tr_dtype_size(to_dtype));
        return;
    }
    if (to_dtype == TR_BF16 && from_dtype == TR_F32) {
        for (int64_t i = 0; i < count; i++) {
            ((uint16_t *)to)[i] = bf16_from_f32(((const float *)from)[i]);
        }
        return;
    }
    if (to_dtype == TR_F32 && from_dtype == TR_BF16) {
        for (int64_t i = 0; i < count; i++) {
            uint32_t bits = (uint32_t)((const uint16_t *)from)[i] << 16;
            memcpy((float *)to + i, &bits, sizeof bits);
        }
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        narrow(to, to_dtype, i, widen(from, from_dtype, i));
    }
}

static char *element(void *base, tr_dtype dtype, int64_t index)
{
    return (char *)base + index * (int64_t)tr_dtype_size(dtype);
}

enum { TILE = 64 }; /* inputs of a panel moved at once: 16 rows of them stay in the first cache */

/* The transposition of a tile, [16][TILE] <-> [inputs][16], for elements of one size. */
#define MOVE_TILE(type)                                                                                            \
    for (int64_t k = 0; k < n; k++) {                                                                              \
        for (int64_t j = 0; j < TR_PANEL; j++) {                                                                   \
            if (pack) {                                                                                            \
                ((type *)panel)[k * TR_PANEL + j] = ((type *)tile)[j * TILE + k];                                  \
            } else {                                                                                               \
                ((type *)tile)[j * TILE + k] = ((type *)panel)[k * TR_PANEL + j];                                  \
            }                                                                                                      \
        }                                                                                                          \
    }

/* A panel whose 16 rows are all there. */
static void move_panel(const tr_matrix *matrix, void *rows, tr_dtype dtype, int64_t p, int pack)
{
    _Alignas(64) char tile[TR_PANEL * TILE * sizeof(float)];
    const tr_dtype own = matrix->dtype;
    const int64_t in = matrix->in;
    for (int64_t k0 = 0; k0 < in; k0 += TILE) {
        const int64_t n = in - k0 < TILE ? in - k0 : TILE;
        char *panel = element(matrix->panels, own, (p * in + k0) * TR_PANEL);
        for (int64_t j = 0; pack && j < TR_PANEL; j++) {
            tr_convert(element(tile, own, j * TILE), own, element(rows, dtype, j * in + k0), dtype, n);
        }
        if (own == TR_F32) {
            MOVE_TILE(float)
        } else {
            MOVE_TILE(uint16_t)
        }
        for (int64_t j = 0; !pack && j < TR_PANEL; j++) {
            tr_convert(element(rows, dtype, j * in + k0), dtype, element(tile, own, j * TILE), own, n);
        }
    }
}

/* Copies between a band of row-major rows and panels, one panel a thread at a time. */
static void move_band(const tr_matrix *matrix, void *row_major, tr_dtype dtype, int64_t row0, int64_t rows,
                      int pack)
{
    int64_t in = matrix->in, first = row0 / TR_PANEL, last = (row0 + rows + TR_PANEL - 1) / TR_PANEL;
#pragma omp parallel for schedule(static) if (rows * in > 100000)
    for (int64_t p = first; p < last; p++) {
        if (p * TR_PANEL >= row0 && (p + 1) * TR_PANEL <= row0 + rows) {
            move_panel(matrix, element(row_major, dtype, (p * TR_PANEL - row0) * in), dtype, p, pack);
            continue;
        }
        for (int64_t j = 0; j < TR_PANEL; j++) {
            int64_t row = p * TR_PANEL + j - row0;
            int present = row >= 0 && row < rows;
            int padding = p * TR_PANEL + j >= matrix->out;
            for (int64_t k = 0; k < in && (present || (pack && padding)); k++) {
                char *panel = element(matrix->panels, matrix->dtype, (p * in + k) * TR_PANEL + j);
                if (!present) {
                    memset(panel, 0, tr_dtype_size(matrix->dtype));
                } else if (pack) {
                    tr_convert(panel, matrix->dtype, element(row_major, dtype, row * in + k), dtype, 1);
                } else {
                    tr_convert(element(row_major, dtype, row * in + k), dtype, panel, matrix->dtype, 1);
                }
            }
        }
    }
}

void tr_matrix_pack(tr_matrix *matrix, const void *row_major, tr_dtype dtype, int64_t row0, int64_t rows)
{
    move_band(matrix, (void *)(uintptr_t)row_major, dtype, row0, rows, 1);
}

void tr_matrix_unpack(const tr_matrix *matrix, void *row_major, tr_dtype dtype, int64_t row0, int64_t rows)
{
    move_band(matrix, row_major, dtype, row0, rows, 0);
}
