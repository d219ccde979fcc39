/* ops.h: the table of operations, forward and backward, that the model is written in.
 *
 * One table per backend. The CPU has four: scalar, avx2 and avx512 execute the same operations in the same order,
 * so they agree bit for bit; `reference` is the plain readable code (its own order, for tests and debugging). The
 * model calls operations by name; there is no graph.
 *
 * The contract of every forward operation (design idea 4): the f32 result of a row has the same bits whatever the
 * number of rows computed with it and whatever the number of threads. Backward: the same bits for any number of
 * threads. No operation allocates; where one needs working memory it says so and takes it.
 *
 * Conventions: outputs first, then inputs, then sizes. All activations are f32, row-major; `rows` counts tokens.
 * A stride is in elements between rows. Backward accumulates (+=) unless its name ends in _set. Pointers do not
 * overlap unless said. Thread safety: an operation uses OpenMP inside; call from one thread at a time. */
#ifndef TR_TENSOR_OPS_H
#define TR_TENSOR_OPS_H

#include "tensor/matrix.h"
#include "tensor/sampler.h"

#include <stdbool.h>

/* Keys and values of one segment (a prompt or one response) of one layer, in the layout that attention reads:
 * K transposed in tiles of 16 tokens, [kv_heads][tiles][head_dim][16]; V as rows, [kv_heads][capacity][head_dim].
 * capacity is a multiple of 16; positions that were never written hold zeros (k) and any finite value (v). */
typedef struct tr_kv {
    int64_t capacity; /* tokens */
    float *k, *v;     /* kv_heads * capacity * head_dim elements each */
} tr_kv;

/* Which rows of a packed group belong together: rows [0, prompt) are the prompt, response r is
 * [start[r], start[r+1]), start[0] == prompt. Prompt rows see the prompt up to themselves; response rows see the
 * whole prompt and their own past. */
typedef struct tr_layout {
    int64_t prompt;
    int64_t responses;
    const int64_t *start; /* [responses + 1]; start[responses] is the number of rows */
} tr_layout;

/* One query row of the decode path: the prompt's keys and one response's, the row's own included. */
typedef struct tr_decode_row {
    const tr_kv *prompt, *response;
    int64_t prompt_tokens, response_tokens; /* keys seen of each */
} tr_decode_row;

enum { TR_HEAD_DIM_MAX = 256 }; /* the kernels keep a block of heads on the stack */

typedef struct tr_attention_shape {
    int64_t heads, kv_heads, head_dim; /* heads is a multiple of kv_heads; head_dim even, at most TR_HEAD_DIM_MAX */
    float scale;                       /* 1 / sqrt(head_dim) */
} tr_attention_shape;

/* Per-step constants of AdamW (torch.optim.AdamW's formulas). In double: 1 - beta2 from an f32 beta2 is wrong in
 * its fifth digit. */
typedef struct tr_adamw {
    double lr, beta1, beta2, eps, weight_decay;
    double bias1, bias2;   /* 1 - beta^step */
    double gradient_scale; /* multiplies the gradient first: clipping */
} tr_adamw;

/* Work that goes on beside other work, on a backend that has it. Operations and copies go to the lane in use, in
 * the order they are given; lanes wait for each other and the host for them only where that is said. `read` and
 * `check` of tr_memory wait for the lane in use alone. */
enum { TR_LANE_MAIN, TR_LANE_NEXT, TR_LANE_LOAD, TR_LANE_STORE, TR_LANES };
typedef struct tr_lanes {
    void (*use)(int lane); /* TR_LANE_MAIN in the beginning, and between the calls of src/model and src/rl */
    /* Events: a place in a lane's work. One that was never marked is passed. */
    tr_status (*event_take)(void **event, tr_error *err);
    void (*event_give)(void *event); /* NULL is fine */
    void (*mark)(void *event);       /* all that the lane in use was given so far */
    void (*wait)(void *event);       /* what the lane in use is given from here on comes after the mark */
    bool (*passed)(void *event);     /* without waiting */
    void (*reach)(void *event);      /* the host waits */
    /* Memory of the host, zeroed, that send and fetch take: page-locked where the system allows it. */
    tr_status (*pin)(void **memory, size_t bytes, tr_error *err);
    void (*unpin)(void *memory); /* NULL is fine; nothing may be on its way */
    /* Copies that go on after the call: the host's memory stays as it is (send) or is not read (fetch) until a
     * later mark was passed. */
    void (*send)(void *to, const void *pinned, size_t bytes);
    void (*fetch)(void *pinned, const void *from, size_t bytes);
} tr_lanes;

/* Where a backend's tensors live. Float pointers and matrices of its operations are this memory; integer arrays and
 * structures (ids, index, positions, layouts, tr_kv themselves) are the host's on every backend, and scalar results
 * come back to the host. On the CPU all of it is host memory and these are malloc, memcpy and the functions of
 * matrix.h. Functions that return nothing remember their first error for check. write, read, pack and unpack may be
 * called by several threads. */
typedef struct tr_memory {
    bool host; /* the host may read and write the tensors in place */
    tr_status (*take)(void **memory, size_t bytes, bool zero, tr_error *err);
    void (*give)(void *memory); /* NULL is fine */
    void (*zero)(void *to, size_t bytes);
    void (*copy)(void *to, const void *from, size_t bytes);   /* within this memory */
    void (*write)(void *to, const void *host, size_t bytes);  /* from the host */
    void (*read)(void *host, const void *from, size_t bytes); /* to the host; waits for what computes it */
    void (*convert)(void *to, tr_dtype to_dtype, const void *from, tr_dtype from_dtype, int64_t count); /* within */
    /* tr_matrix_pack and tr_matrix_unpack with row_major on the host; how the panels lie is the backend's affair,
     * in tr_matrix_elements elements. */
    void (*pack)(tr_matrix *matrix, const void *row_major, tr_dtype dtype, int64_t row0, int64_t rows);
    void (*unpack)(const tr_matrix *matrix, void *row_major, tr_dtype dtype, int64_t row0, int64_t rows);
    tr_status (*check)(tr_error *err); /* waits for everything; the first error since the last check */
    /* What is given from here to the next read or check may be executed then, as one; NULL: nothing to gain.
     * Nothing else that waits, writes or changes the lane may come between. */
    void (*collect)(void);
    /* For what the host keeps in this memory's own layout: read, write, pack and unpack alone. NULL: the host's. */
    const struct tr_memory *mirror;
    const tr_lanes *lanes; /* NULL: everything is done when its call returns */
} tr_memory;

typedef struct tr_ops {
    const char *name; /* "scalar", "avx2", "avx512", "reference", "cuda-f32", "cuda-bf16" */
    const tr_memory *memory;

    /* ---- matrix products: y[rows, out] = x[rows, in] W^T + bias (bias may be NULL) ---- */
    void (*linear_forward)(float *y, const float *x, const tr_matrix *w, const float *bias, int64_t rows);
    /* dx[rows, in] = dy[rows, out] W; += with add, the same sums from what dx holds */
    void (*linear_backward_input)(float *dx, const float *dy, const tr_matrix *w, int64_t rows, bool add);
    /* dw (f32 panels of [out, in]) += dy^T x ; dbias[out] += column sums of dy (either may be NULL) */
    void (*linear_backward_weight)(float *dw_panels, float *dbias, const float *dy, const float *x, int64_t rows,
                                   int64_t out, int64_t in);

    /* ---- embedding: x[rows, d] = W[id, :]; an id of -1 gives a row of zeros / receives no gradient ---- */
    void (*embedding_forward)(float *x, const int32_t *ids, const tr_matrix *w, int64_t rows);
    void (*embedding_backward)(float *dw_panels, const float *dx, const int32_t *ids, int64_t rows, int64_t out,
                               int64_t in);

    /* ---- y = x / sqrt(mean(x^2) + eps) * weight; rstd[rows] (may be NULL) is kept for backward ---- */
    void (*rmsnorm_forward)(float *y, float *rstd, const float *x, const float *weight, int64_t rows, int64_t d,
                            float eps);
    void (*rmsnorm_backward)(float *dx, float *dweight /* may be NULL */, const float *dy, const float *x,
                             const float *weight, const float *rstd, int64_t rows, int64_t d);

    /* ---- elementwise ---- */
    void (*swiglu_forward)(float *out, const float *gate, const float *up, int64_t count); /* silu(gate) * up */
    void (*swiglu_backward_set)(float *dgate, float *dup, const float *dout, const float *gate, const float *up,
                                int64_t count); /* dgate/dup may be the same memory as gate/up or dout */
    void (*gelu_forward)(float *out, const float *x, int64_t count);                        /* the exact erf form */
    void (*gelu_backward_set)(float *dx, const float *dout, const float *x, int64_t count); /* dx may be dout */
    void (*add)(float *y, const float *x, int64_t count);                                   /* y += x */
    void (*scale)(float *y, float factor, int64_t count);                                   /* y *= factor */

    /* ---- rotary embedding: rotates pairs (d, d + head_dim/2) of every head, in place ----
     * cos, sin [rows, head_dim/2]; x[row] = x + row * stride holds heads * head_dim values. backward rotates back.
     */
    void (*rope_forward)(float *x, const float *cos, const float *sin, int64_t rows, int64_t heads,
                         int64_t head_dim, int64_t stride);
    void (*rope_backward)(float *dx, const float *cos, const float *sin, int64_t rows, int64_t heads,
                          int64_t head_dim, int64_t stride);
    /* Tables: angle = position of the frequency's axis * theta^(-2f/head_dim), computed in double, rounded to f32.
     * mrope: positions [3][rows] (t, h, w), sections[3] sums to head_dim/2 (contiguous bands). vision: coords
     * [rows][2] (row, column), frequencies f < head_dim/4 use the row, the rest the column, inv_freq =
     * theta^(-2j/(head_dim/2)). */
    void (*rope_mrope_table)(float *cos, float *sin, const int32_t *positions, int64_t rows, int64_t head_dim,
                             const int32_t sections[3], double theta);
    void (*rope_vision_table)(float *cos, float *sin, const int32_t *coords, int64_t rows, int64_t head_dim,
                              double theta);

    /* ---- rows: gather dst[i] = src[index[i]], scatter dst[index[i]] = src[i], add ---- */
    void (*rows_gather)(float *dst, const float *src, const int32_t *index, int64_t rows, int64_t d);
    void (*rows_scatter)(float *dst, const float *src, const int32_t *index, int64_t rows, int64_t d);
    /* dst[index[i]] += src[i], in the order of i; an index of -1 is left out */
    void (*rows_add)(float *dst, const float *src, const int32_t *index, int64_t rows, int64_t d);

    /* ---- vision attention: bidirectional within segments [cu[s], cu[s+1]) ----
     * q, k, v: row strides (views of one qkv buffer are fine); o [rows, heads*head_dim] dense; lse [heads][rows]
     * kept for backward (may be NULL in inference). work: segment_attention_work(...) floats: of the forward alone,
     * or of both. dq, dk, dv as q, k, v. */
    int64_t (*segment_attention_work)(const tr_attention_shape *shape, const int32_t *cu, int64_t segments,
                                      bool backward);
    void (*segment_attention_forward)(float *o, float *lse, const float *q, const float *k, const float *v,
                                      int64_t stride, const tr_attention_shape *shape, const int32_t *cu,
                                      int64_t segments, float *work);
    void (*segment_attention_backward)(float *dq, float *dk, float *dv, const float *dout, const float *o,
                                       const float *lse, const float *q, const float *k, const float *v,
                                       int64_t stride, const tr_attention_shape *shape, const int32_t *cu,
                                       int64_t segments, float *work);

    /* ---- text attention over a packed group ----
     * q [rows, heads*head_dim], k, v [rows, kv_heads*head_dim] dense; lse [heads][rows], or NULL. Key tiles start
     * at the prompt's first token and again at each response's. work: group_attention_work(...) floats. */
    int64_t (*group_attention_work)(const tr_attention_shape *shape, const tr_layout *layout, bool backward);
    void (*group_attention_forward)(float *o, float *lse, const float *q, const float *k, const float *v,
                                    const tr_attention_shape *shape, const tr_layout *layout, float *work);
    void (*group_attention_backward)(float *dq, float *dk, float *dv, const float *dout, const float *o,
                                     const float *lse, const float *q, const float *k, const float *v,
                                     const tr_attention_shape *shape, const tr_layout *layout, float *work);
    /* Writes rows of k, v (dense) as tokens [at, at + rows) of a segment. */
    void (*kv_write)(tr_kv *kv, int64_t at, const float *k, const float *v, int64_t rows,
                     const tr_attention_shape *shape);
    /* Row i of k, v becomes token response_tokens - 1 of what[i].response. */
    void (*kv_append)(const tr_decode_row *what, const float *k, const float *v, int64_t rows,
                      const tr_attention_shape *shape);
    /* One new token of each of `rows` responses: the same bits as group_attention_forward gives that row. Rows that
     * share a prompt should be neighbours: its keys are then read once for all of them. */
    int64_t (*decode_attention_work)(const tr_attention_shape *shape, int64_t rows);
    void (*decode_attention_forward)(float *o, const float *q, const tr_decode_row *what, int64_t rows,
                                     const tr_attention_shape *shape, float *work);

    /* ---- log-softmax of logits / temperature over a row of `vocab`; all of these use one fixed order ----
     * logits[rows, vocab]; target ids; logp, entropy (nats), lse [rows] (each output may be NULL). An id of -1 is
     * ignored: logp and entropy 0. */
    void (*logsoftmax_forward)(float *logp, float *entropy, float *lse, const float *logits, const int32_t *ids,
                               int64_t rows, int64_t vocab, float temperature);
    /* logits <- d(loss)/d(logits) in place, given d(loss)/d(logp) and d(loss)/d(entropy) of each row, with lse and
     * entropy from the forward. dentropy may be NULL, and then entropy may be, which is read for nothing else. */
    void (*logsoftmax_backward_set)(float *logits, const float *dlogp, const float *dentropy, const float *lse,
                                    const float *entropy, const int32_t *ids, int64_t rows, int64_t vocab,
                                    float temperature);
    /* All log-probabilities of one row (for sampling): out[vocab]. */
    void (*logsoftmax_row)(float *out, const float *logits, int64_t vocab, float temperature);

    /* ---- the next token: out[rows] (the host's), each drawn from its row of logits [rows, vocab], or, where
     * shared, all from the one row that there is; the recorded log-prob has logsoftmax_forward's bits. draws[rows]
     * and sampling are the host's. The same logits give the same tokens and bits on every backend. work:
     * sample_work(...) floats, work_floats of them. Waits for what computes the logits. ---- */
    int64_t (*sample_work)(int64_t vocab, int64_t rows);
    void (*sample)(tr_sampled *out, const float *logits, bool shared, const tr_draw *draws, int64_t rows,
                   int64_t vocab, const tr_sampling *sampling, float *work, int64_t work_floats);

    /* ---- fused head: logits of at most `tile` rows exist at a time; work holds tile * vocab floats ----
     * x [rows, d], head [vocab, d]. backward recomputes logits tile by tile; dhead_panels may be NULL (frozen). */
    void (*head_forward)(float *logp, float *entropy, float *lse, const float *x, const tr_matrix *head,
                         const int32_t *ids, int64_t rows, float temperature, int64_t tile, float *work);
    void (*head_backward)(float *dx, float *dhead_panels, const float *x, const tr_matrix *head, const int32_t *ids,
                          const float *dlogp, const float *dentropy, const float *lse, const float *entropy,
                          int64_t rows, float temperature, int64_t tile, float *work);

    /* ---- optimiser ---- */
    void (*adamw_step)(float *parameter, float *gradient, float *m, float *v, int64_t count, const tr_adamw *adamw);
    /* The same for a matrix [out, in] (or a band of it that begins at a multiple of 16 rows) whose moments are the
     * records of tensor/moments.h: the same bytes on every backend. */
    void (*adamw8_step)(float *parameter, const float *gradient, void *records, int64_t out, int64_t in,
                        const tr_adamw *adamw);
    double (*sum_of_squares)(const float *x, int64_t count); /* one fixed order: blocks of 4096, then in sequence */
    bool (*all_finite)(const float *x, int64_t count);
} tr_ops;

/* The host's memory, of every table of the CPU. */
extern const tr_memory tr_memory_host;

/* The CPU's table. name NULL: $TEMPR1_ISA if set, else the widest that this CPU has. "reference" selects the plain
 * code. "avx512bf16" is avx512 but for the products y = x W^T and dX with weights stored as bf16, which round
 * activations to bf16 and use the CPU's bf16 dot products (f32 sums in an order of its own; the bits depend on the
 * CPU's instruction); never chosen unasked. TR_UNSUPPORTED names what the CPU lacks; TR_INVALID an unknown name.
 * The table is static: never freed. */
tr_status tr_ops_cpu(const char *name, const tr_ops **ops, tr_error *err);

/* Names of the variants that this CPU can run, for tests and selftest; returns their number (at most 4). */
int tr_ops_cpu_variants(const char *names[4]);

#endif
