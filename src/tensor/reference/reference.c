/* reference.c: the table "reference": the plain operations in f32, with the KV cache and the fused head. */
#include "tensor/reference/reference.h"

#include "tensor/cpu/sample.h"
#include "tensor/moments.h"

#include <math.h>

#define real float
#define REFERENCE(name) tr_reference_##name
#define X(result, name, parameters) static result REFERENCE(name) parameters;
TR_REFERENCE_LIST(X)
#undef X
#include "tensor/reference/operations.inc"

static void kv_write(tr_kv *kv, int64_t at, const float *k, const float *v, int64_t rows,
                     const tr_attention_shape *shape)
{
    int64_t hd = shape->head_dim;
    for (int64_t head = 0; head < shape->kv_heads; head++) {
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t d = 0; d < hd; d++) {
                int64_t token = at + i, from = (i * shape->kv_heads + head) * hd + d;
                kv->k[head * kv->capacity * hd + token / 16 * 16 * hd + d * 16 + token % 16] = k[from];
                kv->v[(head * kv->capacity + token) * hd + d] = v[from];
            }
        }
    }
}

static int64_t decode_attention_work(const tr_attention_shape *shape, int64_t rows)
{
    (void)shape;
    (void)rows;
    return 16;
}

static double decode_score(const float *q, const tr_kv *kv, const tr_attention_shape *shape, int64_t kv_head,
                           int64_t token)
{
    int64_t hd = shape->head_dim;
    double sum = 0.0;
    for (int64_t d = 0; d < hd; d++) {
        sum +=
            (double)q[d] * (double)kv->k[kv_head * kv->capacity * hd + token / 16 * 16 * hd + d * 16 + token % 16];
    }
    return sum * (double)shape->scale;
}

/* One head of one row: the softmax without a maximum would overflow, so it is found in a first pass. */
static void decode_head(float *o, const float *q, const tr_decode_row *what, const tr_attention_shape *shape,
                        int64_t kv_head)
{
    int64_t hd = shape->head_dim;
    double largest = -INFINITY, sum = 0.0, out[TR_HEAD_DIM_MAX] = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < what->prompt_tokens + what->response_tokens; i++) {
            const tr_kv *kv = i < what->prompt_tokens ? what->prompt : what->response;
            int64_t token = i < what->prompt_tokens ? i : i - what->prompt_tokens;
            double s = decode_score(q, kv, shape, kv_head, token);
            if (pass == 0) {
                largest = s > largest ? s : largest;
                continue;
            }
            double p = exp(s - largest);
            sum += p;
            for (int64_t d = 0; d < hd; d++) {
                out[d] += p * (double)kv->v[(kv_head * kv->capacity + token) * hd + d];
            }
        }
    }
    for (int64_t d = 0; d < hd; d++) {
        o[d] = (float)(out[d] / sum);
    }
}

static void decode_attention_forward(float *o, const float *q, const tr_decode_row *what, int64_t rows,
                                     const tr_attention_shape *shape, float *work)
{
    (void)work;
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t head = 0; head < shape->heads; head++) {
            int64_t at = (i * shape->heads + head) * shape->head_dim;
            decode_head(o + at, q + at, &what[i], shape, head / (shape->heads / shape->kv_heads));
        }
    }
}

static void kv_append(const tr_decode_row *what, const float *k, const float *v, int64_t rows,
                      const tr_attention_shape *shape)
{
    const int64_t width = shape->kv_heads * shape->head_dim;
    for (int64_t i = 0; i < rows; i++) {
        tr_kv kv = *what[i].response;
        kv_write(&kv, what[i].response_tokens - 1, k + i * width, v + i * width, 1, shape);
    }
}

static void rows_add(float *dst, const float *src, const int32_t *index, int64_t rows, int64_t d)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; index[i] >= 0 && j < d; j++) {
            dst[index[i] * d + j] += src[i * d + j];
        }
    }
}

static void scale(float *y, float factor, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        y[i] *= factor;
    }
}

static void head_forward(float *logp, float *entropy, float *lse, const float *x, const tr_matrix *head,
                         const int32_t *ids, int64_t rows, float temperature, int64_t tile, float *work)
{
    for (int64_t i = 0; i < rows; i += tile) {
        int64_t n = rows - i < tile ? rows - i : tile;
        tr_reference_linear_forward(work, x + i * head->in, head, NULL, n);
        tr_reference_logsoftmax_forward(logp ? logp + i : NULL, entropy ? entropy + i : NULL, lse ? lse + i : NULL,
                                        work, ids + i, n, head->out, temperature);
    }
}

static void head_backward(float *dx, float *dhead_panels, const float *x, const tr_matrix *head, const int32_t *ids,
                          const float *dlogp, const float *dentropy, const float *lse, const float *entropy,
                          int64_t rows, float temperature, int64_t tile, float *work)
{
    for (int64_t i = 0; i < rows; i += tile) {
        int64_t n = rows - i < tile ? rows - i : tile;
        tr_reference_linear_forward(work, x + i * head->in, head, NULL, n);
        tr_reference_logsoftmax_backward_set(work, dlogp + i, dentropy ? dentropy + i : NULL, lse + i,
                                             dentropy ? entropy + i : NULL, ids + i, n, head->out, temperature);
        tr_reference_linear_backward_input(dx + i * head->in, work, head, n, true);
        if (dhead_panels) {
            tr_reference_linear_backward_weight(dhead_panels, NULL, work, x + i * head->in, n, head->out, head->in);
        }
    }
}

/* Tile by tile, row-major: a tile is a matrix of 16 rows for pack and unpack. */
static void adamw8_step(float *parameter, const float *gradient, void *records, int64_t out, int64_t in,
                        const tr_adamw *adamw)
{
    float p[TR_PANEL * TR_MOMENTS_TILE], g[TR_PANEL * TR_MOMENTS_TILE], m[TR_PANEL * TR_MOMENTS_TILE],
        v[TR_PANEL * TR_MOMENTS_TILE];
    unsigned char *record = records;
    for (int64_t row = 0; row < out; row += TR_PANEL) {
        for (int64_t column = 0; column < in; column += TR_MOMENTS_TILE) {
            const int64_t columns = in - column < TR_MOMENTS_TILE ? in - column : TR_MOMENTS_TILE;
            for (int64_t i = 0; i < TR_PANEL * columns; i++) {
                const int64_t at = tr_matrix_index(in, row + i / columns, column + i % columns);
                p[i] = parameter[at];
                g[i] = gradient[at];
            }
            tr_moments8_unpack(m, v, record, TR_PANEL, columns);
            tr_reference_adamw_step(p, g, m, v, TR_PANEL * columns, adamw);
            tr_moments8_pack(record, m, v, TR_PANEL, columns);
            for (int64_t i = 0; i < TR_PANEL * columns; i++) {
                parameter[tr_matrix_index(in, row + i / columns, column + i % columns)] = p[i];
            }
            record += tr_moments8_panel_bytes(columns);
        }
    }
}

TR_CPU_SAMPLE(sample, tr_reference_logsoftmax_forward)

const tr_ops tr_reference_table = {
    .name = "reference",
    .memory = &tr_memory_host,
    .linear_forward = tr_reference_linear_forward,
    .linear_backward_input = tr_reference_linear_backward_input,
    .linear_backward_weight = tr_reference_linear_backward_weight,
    .embedding_forward = tr_reference_embedding_forward,
    .embedding_backward = tr_reference_embedding_backward,
#define X(result, name, parameters) .name = tr_reference_##name,
    TR_REFERENCE_LIST(X)
#undef X
        .kv_write = kv_write,
    .kv_append = kv_append,
    .rows_add = rows_add,
    .scale = scale,
    .decode_attention_work = decode_attention_work,
    .decode_attention_forward = decode_attention_forward,
    .sample_work = tr_cpu_sample_work,
    .sample = sample,
    .head_forward = head_forward,
    .head_backward = head_backward,
    .adamw8_step = adamw8_step,
};
