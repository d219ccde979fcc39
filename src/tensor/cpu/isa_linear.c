/* isa_linear.c: the three matrix products over panels of sixteen outputs, and the embedding.
 *
 * Every output element is one sum in one order: forward along the inputs from zero (the bias is added once at the
 * end), backward to the input along the outputs from what dx holds or zero, backward to the weight along the rows
 * from what dw holds. Blocks only decide which elements are in registers together; partial sums rest in memory as
 * f32, unchanged.
 *
 * A block of rows is copied once (its rows are often a power of two apart, which caches dislike), then panel after
 * panel streams by: the weights as they are, 16-bit ones widened, transposed for dX, columns of dy for dW. */
#include "tensor/cpu/linear_kernel.h"
#include "tensor/cpu/variant.h"
#if defined(TR_ISA_avx512bf16)
#include "tensor/cpu/linear_bf16.h"
#endif

/* ---- forward ---- */

enum { AHEAD = 8192 }; /* bytes: how far ahead few rows fetch a panel from memory */

LANES_INLINE void add_bias(float *y, const float *bias, int64_t out, int64_t rows, int64_t first, int64_t last)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t n = first * TR_PANEL; n < tr_min_i64(last * TR_PANEL, out); n += TR_PANEL) {
            int used = (int)tr_min_i64(out - n, TR_PANEL);
            if (used == TR_PANEL) {
                lanes_store(y + i * out + n, lanes_add(lanes_load(y + i * out + n), lanes_load(bias + n)));
            } else {
                lanes_store_n(y + i * out + n,
                              lanes_add(lanes_load_n(y + i * out + n, used), lanes_load_n(bias + n, used)), used);
            }
        }
    }
}

/* `rows` rows against panels [p, next) at the slice [k0, k0 + depth) of the part [c0, c1) whose copies a holds; b
 * is for widened weights. */
LANES_INLINE void forward_slice(const tr_dtype dtype, float *y, const tr_matrix *w, int64_t rows, int64_t p,
                                int64_t next, int64_t k0, int64_t depth, int64_t c0, int64_t c1, const float *a,
                                float *b)
{
    const int64_t in = w->in, size = weight_size(dtype), first = (p * in + k0) * TR_PANEL;
    const char *weights = (const char *)w->panels + first * size;
    tile t = {.c = y + p * TR_PANEL,
              .ldc = w->out,
              .panel_step = TR_PANEL,
              .a = a,
              .b = weights,
              .b_step = in * TR_PANEL,
              .depth = depth,
              .ahead_depth = TR_PANEL * size,
              .ahead_step = in * TR_PANEL * size,
              .used = (int)tr_min_i64(w->out - (next - 1) * TR_PANEL, TR_PANEL),
              .fresh = k0 == 0};
    if (rows <= ROWS) {
        t.ahead = weights + AHEAD / (next - p);
        few_run(rows, next - p, dtype, &t);
        return;
    }
    /* the slice that follows: of the same panels, or the first one of the next */
    t.ahead = weights + (k0 + depth < c1 ? depth : (next - p) * in - (k0 - c0)) * TR_PANEL * size;
    if (dtype != TR_F32) {
        for (int64_t i = 0; i < next - p; i++) {
            widen_slice(b + i * DEPTH * TR_PANEL, w->panels, dtype, first + i * in * TR_PANEL, depth);
        }
        t.b = b;
        t.b_step = DEPTH * TR_PANEL;
    }
    block_run(rows, next - p, FLAT, t, false);
}

/* With few rows, as in decoding, all depth is copied at once and a panel is read from end to end; with a full block
 * one slice at a time. The bias is added to outputs that were just finished, while a cache still holds them. */
LANES_INLINE void forward_share(const tr_dtype dtype, float *y, const float *x, const tr_matrix *w,
                                const float *bias, const share *s)
{
    _Alignas(64) float a[BLOCK * STRIDE], b[PANELS * DEPTH * TR_PANEL];
    const int64_t in = w->in, block = block_size(s->bottom - s->top);
    for (int64_t m = s->top; m < s->bottom; m += block) {
        const int64_t rows = tr_min_i64(s->bottom - m, block), chunk = BLOCK / rows * DEPTH;
        const int64_t width = rows <= ROWS ? FEW(rows) : PANELS;
        for (int64_t c0 = 0; c0 < in; c0 += chunk) {
            const int64_t c1 = tr_min_i64(c0 + chunk, in);
            for (int64_t k0 = c0; k0 < c1; k0 += DEPTH) {
                copy_flat(a + (k0 - c0) / DEPTH * rows * STRIDE, x + m * in + k0, in, rows,
                          tr_min_i64(c1 - k0, DEPTH));
            }
            for (int64_t p = s->first, next; p < s->last; p = next) {
                next = p + (s->last - p >= width ? width : 1);
                for (int64_t k0 = c0; k0 < c1; k0 += DEPTH) {
                    forward_slice(dtype, y + m * w->out, w, rows, p, next, k0, tr_min_i64(c1 - k0, DEPTH), c0, c1,
                                  a + (k0 - c0) / DEPTH * rows * STRIDE, b);
                }
                if (bias && c1 == in) {
                    add_bias(y + m * w->out, bias, w->out, rows, p, next);
                }
            }
        }
    }
}

/* Each stored form is a function of its own, so that compilers see one at a time. */
#define FORWARD(name, dtype)                                                                                       \
    static __attribute__((noinline)) void name(float *y, const float *x, const tr_matrix *w, const float *bias,    \
                                               const share *s)                                                     \
    {                                                                                                              \
        forward_share(dtype, y, x, w, bias, s);                                                                    \
    }
FORWARD(forward_f32, TR_F32)
#if !defined(TR_ISA_avx512bf16)
FORWARD(forward_bf16, TR_BF16)
#endif
FORWARD(forward_f16, TR_F16)

/* One product's operands, for the threads that share it. */
typedef struct forward_job {
    float *y;
    const float *x, *bias;
    const tr_matrix *w;
    int64_t rows;
} forward_job;

static void forward_part(void *context, int self, int threads)
{
    const forward_job *j = context;
    const tr_matrix *w = j->w;
    const share s = share_of(j->rows, (w->out + TR_PANEL - 1) / TR_PANEL, self, threads);
    if (w->dtype == TR_BF16) {
#if defined(TR_ISA_avx512bf16)
        forward_pairs(j->y, j->x, w, &s);
        if (j->bias) {
            add_bias(j->y + s.top * w->out, j->bias, w->out, s.bottom - s.top, s.first, s.last);
        }
#else
        forward_bf16(j->y, j->x, w, j->bias, &s);
#endif
    } else if (w->dtype == TR_F16) {
        forward_f16(j->y, j->x, w, j->bias, &s);
    } else {
        forward_f32(j->y, j->x, w, j->bias, &s);
    }
}

void TR_VARIANT(linear_forward)(float *y, const float *x, const tr_matrix *w, const float *bias, int64_t rows)
{
    forward_job job = {y, x, bias, w, rows};
    tr_share_work(rows * w->in * w->out / 16, forward_part, &job);
}

/* ---- backward to the input: lanes along the inputs, depth along the outputs ---- */

LANES_INLINE void input_share(const tr_dtype dtype, float *dx, const float *dy, const tr_matrix *w, bool add,
                              const share *s)
{
    _Alignas(64) float a[BLOCK * STRIDE], b[PANELS * DEPTH * TR_PANEL];
    const int64_t in = w->in, out = w->out, block = block_size(s->bottom - s->top);
    for (int64_t m = s->top; m < s->bottom; m += block) {
        int64_t rows = tr_min_i64(s->bottom - m, block);
        for (int64_t n0 = 0; n0 < out; n0 += DEPTH) {
            int64_t depth = tr_min_i64(out - n0, DEPTH);
            copy_flat(a, dy + m * out + n0, out, rows, depth);
            for (int64_t p = s->first; p < s->last; p += PANELS) {
                int64_t panels = tr_min_i64(s->last - p, PANELS);
                for (int64_t i = 0; i < panels; i++) {
                    transpose_slice(b + i * DEPTH * TR_PANEL, w, dtype, n0, depth, (p + i) * TR_PANEL);
                }
                tile t = {.c = dx + m * in + p * TR_PANEL,
                          .ldc = in,
                          .panel_step = TR_PANEL,
                          .a = a,
                          .b = b,
                          .b_step = DEPTH * TR_PANEL,
                          .depth = depth,
                          .ahead = (const char *)b,
                          .used = (int)tr_min_i64(in - (p + panels - 1) * TR_PANEL, TR_PANEL),
                          .fresh = !add && n0 == 0};
                block_run(rows, panels, FLAT, t, p == s->first);
            }
        }
    }
}

typedef struct input_job {
    float *dx;
    const float *dy;
    const tr_matrix *w;
    int64_t rows;
    bool add;
} input_job;

static void input_part(void *context, int self, int threads)
{
    const input_job *j = context;
    const share s = share_of(j->rows, (j->w->in + TR_PANEL - 1) / TR_PANEL, self, threads);
    switch (j->w->dtype) {
    case TR_BF16:
#if defined(TR_ISA_avx512bf16)
        input_pairs(j->dx, j->dy, j->w, j->add, &s);
#else
        input_share(TR_BF16, j->dx, j->dy, j->w, j->add, &s);
#endif
        break;
    case TR_F16:
        input_share(TR_F16, j->dx, j->dy, j->w, j->add, &s);
        break;
    default:
        input_share(TR_F32, j->dx, j->dy, j->w, j->add, &s);
    }
}

void TR_VARIANT(linear_backward_input)(float *dx, const float *dy, const tr_matrix *w, int64_t rows, bool add)
{
    input_job job = {dx, dy, w, rows, add};
    tr_share_work(rows * w->in * w->out / 16, input_part, &job);
}

/* ---- backward to the weight: rows of C are inputs, lanes outputs, depth the rows of the batch ---- */

LANES_INLINE void add_columns(float *dbias, const float *b, int64_t depth, int used)
{
    lanes sum = lanes_load_n(dbias, used);
    for (int64_t m = 0; m < depth; m++) {
        sum = lanes_add(sum, lanes_load(b + m * TR_PANEL));
    }
    lanes_store_n(dbias, sum, used);
}

static void weight_share(float *dw, float *dbias, const float *dy, const float *x, int64_t batch, int64_t out,
                         int64_t in, const share *s)
{
    _Alignas(64) float a[BLOCK / ROWS * TALL_STEP], b[PANELS * DEPTH * TR_PANEL];
    const int64_t block = block_size(s->bottom - s->top);
    for (int64_t m0 = 0; m0 < batch; m0 += DEPTH) {
        int64_t depth = tr_min_i64(batch - m0, DEPTH);
        for (int64_t k = s->top; k < s->bottom; k += block) {
            int64_t rows = tr_min_i64(s->bottom - k, block);
            if (dw) {
                copy_tall(a, x + m0 * in + k, in, rows, depth);
            }
            for (int64_t p = s->first; p < s->last; p += PANELS) {
                int64_t panels = tr_min_i64(s->last - p, PANELS);
                for (int64_t i = 0; i < panels; i++) {
                    int used = (int)tr_min_i64(out - (p + i) * TR_PANEL, TR_PANEL);
                    float *to = b + i * DEPTH * TR_PANEL;
                    copy_columns(to, dy + m0 * out + (p + i) * TR_PANEL, out, depth, used);
                    if (dbias && k == 0) {
                        add_columns(dbias + (p + i) * TR_PANEL, to, depth, used);
                    }
                }
                if (dw) {
                    tile t = {.c = dw + (p * in + k) * TR_PANEL,
                              .ldc = TR_PANEL,
                              .panel_step = in * TR_PANEL,
                              .a = a,
                              .b = b,
                              .b_step = DEPTH * TR_PANEL,
                              .depth = depth,
                              .ahead = (const char *)(dy + m0 * out + (p + panels) * TR_PANEL),
                              .ahead_depth = out * (int64_t)sizeof *dy,
                              .ahead_step = TR_PANEL * (int64_t)sizeof *dy,
                              .used = TR_PANEL};
                    block_run(rows, panels, TALL, t, p == s->first);
                }
            }
        }
    }
}

typedef struct weight_job {
    float *dw, *dbias;
    const float *dy, *x;
    int64_t rows, out, in;
} weight_job;

static void weight_part(void *context, int self, int threads)
{
    const weight_job *j = context;
    const share s = share_of(j->in, (j->out + TR_PANEL - 1) / TR_PANEL, self, threads);
    weight_share(j->dw, j->dbias, j->dy, j->x, j->rows, j->out, j->in, &s);
}

void TR_VARIANT(linear_backward_weight)(float *dw_panels, float *dbias, const float *dy, const float *x,
                                        int64_t rows, int64_t out, int64_t in)
{
    weight_job job = {dw_panels, dbias, dy, x, rows, out, in};
    tr_share_work(rows * in * out / 16, weight_part, &job);
}

/* ---- embedding ---- */

void TR_VARIANT(embedding_forward)(float *x, const int32_t *ids, const tr_matrix *w, int64_t rows)
{
    int64_t in = w->in;
#pragma omp parallel for schedule(static) if (tr_worth(rows * in))
    for (int64_t m = 0; m < rows; m++) {
        for (int64_t k = 0; k < in; k++) {
            int64_t at = ids[m] < 0 ? 0 : tr_matrix_index(in, ids[m], k);
            float value = 0;
            if (ids[m] >= 0) {
                tr_convert(&value, TR_F32, (const char *)w->panels + at * (int64_t)tr_dtype_size(w->dtype),
                           w->dtype, 1);
            }
            x[m * in + k] = value;
        }
    }
}

void TR_VARIANT(embedding_backward)(float *dw_panels, const float *dx, const int32_t *ids, int64_t rows,
                                    int64_t out, int64_t in)
{
    (void)out;
    /* Threads own columns, so that rows of the same id are added in their order. */
#pragma omp parallel if (tr_worth(rows * in))
    {
        int64_t threads = omp_get_num_threads(), self = omp_get_thread_num();
        int64_t first = in * self / threads, last = in * (self + 1) / threads;
        for (int64_t m = 0; m < rows; m++) {
            for (int64_t k = first; ids[m] >= 0 && k < last; k++) {
                dw_panels[tr_matrix_index(in, ids[m], k)] += dx[m * in + k];
            }
        }
    }
}
