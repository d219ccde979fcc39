/* reference.h: the operations as plain loops, in f32 for the table "reference" and in f64 for the tests.
 *
 * Both are compiled from operations.inc; sums run in double, in the natural order. The f64 functions have the
 * signatures of tr_ops with double in the place of float, and exist for finite differences only. */
#ifndef TR_TENSOR_REFERENCE_H
#define TR_TENSOR_REFERENCE_H

#include "tensor/ops.h"

extern const tr_ops tr_reference_table;

/* The products and the embedding (reference/linear.c). */
void tr_reference_linear_forward(float *y, const float *x, const tr_matrix *w, const float *bias, int64_t rows);
void tr_reference_linear_backward_input(float *dx, const float *dy, const tr_matrix *w, int64_t rows, bool add);
void tr_reference_linear_backward_weight(float *dw_panels, float *dbias, const float *dy, const float *x,
                                         int64_t rows, int64_t out, int64_t in);
void tr_reference_embedding_forward(float *x, const int32_t *ids, const tr_matrix *w, int64_t rows);
void tr_reference_embedding_backward(float *dw_panels, const float *dx, const int32_t *ids, int64_t rows,
                                     int64_t out, int64_t in);

/* X(result type, name, parameters): every operation of operations.inc, `real` standing for the element type. */
#define TR_REFERENCE_LIST(X)                                                                                       \
    X(void, rmsnorm_forward,                                                                                       \
      (real * y, real * rstd, const real *x, const real *weight, int64_t rows, int64_t d, float eps))              \
    X(void, rmsnorm_backward,                                                                                      \
      (real * dx, real * dweight, const real *dy, const real *x, const real *weight, const real *rstd,             \
       int64_t rows, int64_t d))                                                                                   \
    X(void, swiglu_forward, (real * out, const real *gate, const real *up, int64_t count))                         \
    X(void, swiglu_backward_set,                                                                                   \
      (real * dgate, real * dup, const real *dout, const real *gate, const real *up, int64_t count))               \
    X(void, gelu_forward, (real * out, const real *x, int64_t count))                                              \
    X(void, gelu_backward_set, (real * dx, const real *dout, const real *x, int64_t count))                        \
    X(void, add, (real * y, const real *x, int64_t count))                                                         \
    X(void, rope_forward,                                                                                          \
      (real * x, const real *cos, const real *sin, int64_t rows, int64_t heads, int64_t head_dim, int64_t stride)) \
    X(void, rope_backward,                                                                                         \
      (real * dx, const real *cos, const real *sin, int64_t rows, int64_t heads, int64_t head_dim,                 \
       int64_t stride))                                                                                            \
    X(void, rope_mrope_table,                                                                                      \
      (real * cos, real * sin, const int32_t *positions, int64_t rows, int64_t head_dim,                           \
       const int32_t sections[3], double theta))                                                                   \
    X(void, rope_vision_table,                                                                                     \
      (real * cos, real * sin, const int32_t *coords, int64_t rows, int64_t head_dim, double theta))               \
    X(void, rows_gather, (real * dst, const real *src, const int32_t *index, int64_t rows, int64_t d))             \
    X(void, rows_scatter, (real * dst, const real *src, const int32_t *index, int64_t rows, int64_t d))            \
    X(int64_t, segment_attention_work,                                                                             \
      (const tr_attention_shape *shape, const int32_t *cu, int64_t segments, bool backward))                       \
    X(void, segment_attention_forward,                                                                             \
      (real * o, real * lse, const real *q, const real *k, const real *v, int64_t stride,                          \
       const tr_attention_shape *shape, const int32_t *cu, int64_t segments, real *work))                          \
    X(void, segment_attention_backward,                                                                            \
      (real * dq, real * dk, real * dv, const real *dout, const real *o, const real *lse, const real *q,           \
       const real *k, const real *v, int64_t stride, const tr_attention_shape *shape, const int32_t *cu,           \
       int64_t segments, real *work))                                                                              \
    X(int64_t, group_attention_work, (const tr_attention_shape *shape, const tr_layout *layout, bool backward))    \
    X(void, group_attention_forward,                                                                               \
      (real * o, real * lse, const real *q, const real *k, const real *v, const tr_attention_shape *shape,         \
       const tr_layout *layout, real *work))                                                                       \
    X(void, group_attention_backward,                                                                              \
      (real * dq, real * dk, real * dv, const real *dout, const real *o, const real *lse, const real *q,           \
       const real *k, const real *v, const tr_attention_shape *shape, const tr_layout *layout, real *work))        \
    X(void, logsoftmax_forward,                                                                                    \
      (real * logp, real * entropy, real * lse, const real *logits, const int32_t *ids, int64_t rows,              \
       int64_t vocab, float temperature))                                                                          \
    X(void, logsoftmax_backward_set,                                                                               \
      (real * logits, const real *dlogp, const real *dentropy, const real *lse, const real *entropy,               \
       const int32_t *ids, int64_t rows, int64_t vocab, float temperature))                                        \
    X(void, logsoftmax_row, (real * out, const real *logits, int64_t vocab, float temperature))                    \
    X(void, adamw_step,                                                                                            \
      (real * parameter, real * gradient, real * m, real * v, int64_t count, const tr_adamw *adamw))               \
    X(double, sum_of_squares, (const real *x, int64_t count))                                                      \
    X(bool, all_finite, (const real *x, int64_t count))

#define real double
#define X(result, name, parameters) result tr_reference64_##name parameters;
TR_REFERENCE_LIST(X)
#undef X
#undef real

#endif
