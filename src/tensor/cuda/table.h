/* table.h: what the files of the table of operations share: grids, and small host arrays on their way to the device
 * in one copy. Internal to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_TABLE_H
#define TR_TENSOR_CUDA_TABLE_H

#include "tensor/cuda/device.h"
#include "tensor/cuda/kernels.h"

/* Several host arrays that go to the device together. bundle_put copies into host memory and returns the offset;
 * bundle_send copies all at once; then bundle_at gives the device's addresses. One bundle at a time. */
void tr_cuda_bundle_start(void);
int64_t tr_cuda_bundle_put(const void *data, size_t bytes);
bool tr_cuda_bundle_send(void); /* false: out of memory, remembered as an error of the device */
const void *tr_cuda_bundle_at(int64_t offset);

/* Host memory for lists that an operation makes, until the next call with the same place (0 .. 3). */
enum { TR_CUDA_LISTS = 4 };
int32_t *tr_cuda_list(int place, int64_t count);

/* Remembers an error of the device from host code (gpu.c, emulate.c). */
void tr_cuda_remember(const char *message);

static inline tr_cuda_grid tr_cuda_grid_of(int64_t x, int64_t y, int64_t z)
{
    return (tr_cuda_grid){x, y, z};
}
static inline int64_t tr_cuda_blocks(int64_t count, int64_t each)
{
    return (count + each - 1) / each;
}

/* table_moments.c */
void tr_cuda_adamw8_step(float *parameter, const float *gradient, void *records, int64_t out, int64_t in,
                         const tr_adamw *adamw);

/* The next power of two: grids and places of decoding change seldom as responses grow and leave, so that a recorded
 * step serves long. */
static inline int64_t tr_cuda_bucket(int64_t count, int64_t least)
{
    int64_t size = least;
    while (size < count) {
        size *= 2;
    }
    return size;
}

/* table_sample.c */
int64_t tr_cuda_sample_work(int64_t vocab, int64_t rows);
void tr_cuda_sample(tr_sampled *out, const float *logits, bool shared, const tr_draw *draws, int64_t rows,
                    int64_t vocab, const tr_sampling *sampling, float *work, int64_t work_floats);

/* The operations of table_attention.c, by table; their working memory in tensor/cuda_plan.c. */
int64_t tr_cuda_segment_attention_work(const tr_attention_shape *shape, const int32_t *cu, int64_t segments,
                                       bool backward);
int64_t tr_cuda_group_attention_work(const tr_attention_shape *shape, const tr_layout *layout, bool backward);
int64_t tr_cuda_decode_attention_work(const tr_attention_shape *shape, int64_t rows);
#define TR_CUDA_ATTENTION(mode)                                                                                    \
    void tr_cuda_segment_attention_forward_##mode(float *o, float *lse, const float *q, const float *k,            \
                                                  const float *v, int64_t stride, const tr_attention_shape *shape, \
                                                  const int32_t *cu, int64_t segments, float *work);               \
    void tr_cuda_segment_attention_backward_##mode(                                                                \
        float *dq, float *dk, float *dv, const float *dout, const float *o, const float *lse, const float *q,      \
        const float *k, const float *v, int64_t stride, const tr_attention_shape *shape, const int32_t *cu,        \
        int64_t segments, float *work);                                                                            \
    void tr_cuda_group_attention_forward_##mode(float *o, float *lse, const float *q, const float *k,              \
                                                const float *v, const tr_attention_shape *shape,                   \
                                                const tr_layout *layout, float *work);                             \
    void tr_cuda_group_attention_backward_##mode(                                                                  \
        float *dq, float *dk, float *dv, const float *dout, const float *o, const float *lse, const float *q,      \
        const float *k, const float *v, const tr_attention_shape *shape, const tr_layout *layout, float *work);    \
    void tr_cuda_kv_write_##mode(tr_kv *kv, int64_t at, const float *k, const float *v, int64_t rows,              \
                                 const tr_attention_shape *shape);                                                 \
    void tr_cuda_kv_append_##mode(const tr_decode_row *what, const float *k, const float *v, int64_t rows,         \
                                  const tr_attention_shape *shape);                                                \
    void tr_cuda_decode_attention_forward_##mode(float *o, const float *q, const tr_decode_row *what,              \
                                                 int64_t rows, const tr_attention_shape *shape, float *work);
TR_CUDA_ATTENTION(f32)
TR_CUDA_ATTENTION(bf16)
#undef TR_CUDA_ATTENTION

#endif
