/* variant.h: the kernels of one instruction set, as they stand in its tr_ops table.
 *
 * Included by the isa_*.c files only; TR_VARIANT adds the instruction set's name. */
#ifndef TR_TENSOR_CPU_VARIANT_H
#define TR_TENSOR_CPU_VARIANT_H

#include "tensor/cpu/lanes.h"
#include "tensor/ops.h"

void TR_VARIANT(linear_forward)(float *y, const float *x, const tr_matrix *w, const float *bias, int64_t rows);
void TR_VARIANT(linear_backward_input)(float *dx, const float *dy, const tr_matrix *w, int64_t rows, bool add);
void TR_VARIANT(linear_backward_weight)(float *dw_panels, float *dbias, const float *dy, const float *x,
                                        int64_t rows, int64_t out, int64_t in);
void TR_VARIANT(embedding_forward)(float *x, const int32_t *ids, const tr_matrix *w, int64_t rows);
void TR_VARIANT(embedding_backward)(float *dw_panels, const float *dx, const int32_t *ids, int64_t rows,
                                    int64_t out, int64_t in);
void TR_VARIANT(rmsnorm_forward)(float *y, float *rstd, const float *x, const float *weight, int64_t rows,
                                 int64_t d, float eps);
void TR_VARIANT(rmsnorm_backward)(float *dx, float *dweight, const float *dy, const float *x, const float *weight,
                                  const float *rstd, int64_t rows, int64_t d);
void TR_VARIANT(swiglu_forward)(float *out, const float *gate, const float *up, int64_t count);
void TR_VARIANT(swiglu_backward_set)(float *dgate, float *dup, const float *dout, const float *gate,
                                     const float *up, int64_t count);
void TR_VARIANT(gelu_forward)(float *out, const float *x, int64_t count);
void TR_VARIANT(gelu_backward_set)(float *dx, const float *dout, const float *x, int64_t count);
void TR_VARIANT(add)(float *y, const float *x, int64_t count);
void TR_VARIANT(scale)(float *y, float factor, int64_t count);
void TR_VARIANT(rope_forward)(float *x, const float *cos, const float *sin, int64_t rows, int64_t heads,
                              int64_t head_dim, int64_t stride);
void TR_VARIANT(rope_backward)(float *dx, const float *cos, const float *sin, int64_t rows, int64_t heads,
                               int64_t head_dim, int64_t stride);
void TR_VARIANT(rope_mrope_table)(float *cos, float *sin, const int32_t *positions, int64_t rows, int64_t head_dim,
                                  const int32_t sections[3], double theta);
void TR_VARIANT(rope_vision_table)(float *cos, float *sin, const int32_t *coords, int64_t rows, int64_t head_dim,
                                   double theta);
void TR_VARIANT(rows_gather)(float *dst, const float *src, const int32_t *index, int64_t rows, int64_t d);
void TR_VARIANT(rows_scatter)(float *dst, const float *src, const int32_t *index, int64_t rows, int64_t d);
void TR_VARIANT(rows_add)(float *dst, const float *src, const int32_t *index, int64_t rows, int64_t d);
int64_t TR_VARIANT(segment_attention_work)(const tr_attention_shape *shape, const int32_t *cu, int64_t segments,
                                           bool backward);
void TR_VARIANT(segment_attention_forward)(float *o, float *lse, const float *q, const float *k, const float *v,
                                           int64_t stride, const tr_attention_shape *shape, const int32_t *cu,
                                           int64_t segments, float *work);
void TR_VARIANT(segment_attention_backward)(float *dq, float *dk, float *dv, const float *dout, const float *o,
                                            const float *lse, const float *q, const float *k, const float *v,
                                            int64_t stride, const tr_attention_shape *shape, const int32_t *cu,
                                            int64_t segments, float *work);
int64_t TR_VARIANT(group_attention_work)(const tr_attention_shape *shape, const tr_layout *layout, bool backward);
void TR_VARIANT(group_attention_forward)(float *o, float *lse, const float *q, const float *k, const float *v,
                                         const tr_attention_shape *shape, const tr_layout *layout, float *work);
void TR_VARIANT(group_attention_backward)(float *dq, float *dk, float *dv, const float *dout, const float *o,
                                          const float *lse, const float *q, const float *k, const float *v,
                                          const tr_attention_shape *shape, const tr_layout *layout, float *work);
void TR_VARIANT(kv_write)(tr_kv *kv, int64_t at, const float *k, const float *v, int64_t rows,
                          const tr_attention_shape *shape);
void TR_VARIANT(kv_append)(const tr_decode_row *what, const float *k, const float *v, int64_t rows,
                           const tr_attention_shape *shape);
int64_t TR_VARIANT(decode_attention_work)(const tr_attention_shape *shape, int64_t rows);
void TR_VARIANT(decode_attention_forward)(float *o, const float *q, const tr_decode_row *what, int64_t rows,
                                          const tr_attention_shape *shape, float *work);
void TR_VARIANT(logsoftmax_forward)(float *logp, float *entropy, float *lse, const float *logits,
                                    const int32_t *ids, int64_t rows, int64_t vocab, float temperature);
void TR_VARIANT(logsoftmax_backward_set)(float *logits, const float *dlogp, const float *dentropy, const float *lse,
                                         const float *entropy, const int32_t *ids, int64_t rows, int64_t vocab,
                                         float temperature);
void TR_VARIANT(logsoftmax_row)(float *out, const float *logits, int64_t vocab, float temperature);
void TR_VARIANT(head_forward)(float *logp, float *entropy, float *lse, const float *x, const tr_matrix *head,
                              const int32_t *ids, int64_t rows, float temperature, int64_t tile, float *work);
void TR_VARIANT(head_backward)(float *dx, float *dhead_panels, const float *x, const tr_matrix *head,
                               const int32_t *ids, const float *dlogp, const float *dentropy, const float *lse,
                               const float *entropy, int64_t rows, float temperature, int64_t tile, float *work);
void TR_VARIANT(adamw_step)(float *parameter, float *gradient, float *m, float *v, int64_t count,
                            const tr_adamw *adamw);
void TR_VARIANT(adamw8_step)(float *parameter, const float *gradient, void *records, int64_t out, int64_t in,
                             const tr_adamw *adamw);
double TR_VARIANT(sum_of_squares)(const float *x, int64_t count);
bool TR_VARIANT(all_finite)(const float *x, int64_t count);

#endif
