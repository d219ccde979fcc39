/* matrix.h: the storage of a linear layer's weight: panels of 16 output rows.
 *
 * A weight [out, in] (row-major in checkpoints, y = x W^T) is kept as ceil(out / 16) panels, each [in][16]: for
 * every input k the 16 weights of neighbouring outputs lie side by side. The forward product keeps 16 outputs in
 * the lanes and walks k in order, so an element's sum has one order whatever the number of rows, threads or the
 * vector width. The same storage serves dX (transposed on the fly), masters, gradients and moments. Lanes beyond
 * `out` in the last panel are zero and stay zero.
 *
 * Storage is f32, bf16 or f16 (16-bit weights are widened in registers, accumulation is f32). */
#ifndef TR_TENSOR_MATRIX_H
#define TR_TENSOR_MATRIX_H

#include "base/status.h"

#include <stdint.h>

typedef enum tr_dtype { TR_F32, TR_BF16, TR_F16, TR_F64, TR_I64, TR_I32, TR_U8 } tr_dtype;

/* Bytes of one element; the safetensors name ("F32", "BF16", ...). */
size_t tr_dtype_size(tr_dtype dtype);
const char *tr_dtype_name(tr_dtype dtype);

enum { TR_PANEL = 16 };

typedef struct tr_matrix {
    tr_dtype dtype; /* TR_F32, TR_BF16 or TR_F16 */
    int64_t out, in;
    void *panels; /* ceil(out/16) * in * 16 elements, 64-byte aligned */
} tr_matrix;

/* Elements of the panels, padding lanes included; 0 on overflow. */
int64_t tr_matrix_elements(int64_t out, int64_t in);

/* Index of W[row, column] in the panels. */
static inline int64_t tr_matrix_index(int64_t in, int64_t row, int64_t column)
{
    return (row / TR_PANEL * in + column) * TR_PANEL + row % TR_PANEL;
}

/* Fills panels (already allocated, dtype set) from row-major [out, in] data of another or the same dtype, rounding
 * to nearest even when narrowing. row0/rows select a band of output rows (row0 a multiple of 16, for streaming). */
void tr_matrix_pack(tr_matrix *matrix, const void *row_major, tr_dtype dtype, int64_t row0, int64_t rows);

/* The other way: rows [row0, row0 + rows) of the panels to row-major of the given dtype. */
void tr_matrix_unpack(const tr_matrix *matrix, void *row_major, tr_dtype dtype, int64_t row0, int64_t rows);

/* Conversions of flat arrays, round to nearest even; NaN stays NaN. */
void tr_convert(void *to, tr_dtype to_dtype, const void *from, tr_dtype from_dtype, int64_t count);

/* IEEE half precision by integer arithmetic (clang 14 has no _Float16 here). Widening is exact, narrowing rounds to
 * nearest even. */
float tr_f16_to_f32(uint16_t half);
uint16_t tr_f16_from_f32(float x);

#endif
