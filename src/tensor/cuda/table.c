/* table.c: the GPU's operations but attention: which kernels run, on what grid, with which working memory.
 *
 * Float pointers are device memory, integers and structures host memory, as ops.h says of backends whose memory is
 * not the host's. Nothing here is CUDA: the same code runs over the emulation in the tests. Weights lie row-major
 * [out, in] in as many elements as panels have; so do masters, gradients and moments. */
#include "tensor/cuda/table.h"
#include "tensor/cuda/graph.h"

#include "base/math.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- small arrays on their way ---- */

static struct {
    char *host, *device;
    size_t used, size;
} bundle;

void tr_cuda_bundle_start(void)
{
    bundle.used = 0;
    bundle.device = NULL;
}

int64_t tr_cuda_bundle_put(const void *data, size_t bytes)
{
    const size_t at = bundle.used, end = at + (bytes + 15) / 16 * 16;
    if (end > bundle.size) {
        const size_t size = end * 2;
        char *grown = realloc(bundle.host, size);
        if (!grown) {
            tr_cuda_remember("out of host memory for the arguments of a kernel");
            return 0;
        }
        bundle.host = grown;
        bundle.size = size;
    }
    if (bytes) {
        memcpy(bundle.host + at, data, bytes);
    }
    bundle.used = end;
    return (int64_t)at;
}

bool tr_cuda_bundle_send(void)
{
    bundle.device = tr_cuda_stage(bundle.host, bundle.used);
    return bundle.device != NULL;
}

const void *tr_cuda_bundle_at(int64_t offset)
{
    return bundle.device + offset;
}

int32_t *tr_cuda_list(int place, int64_t count)
{
    static struct {
        int32_t *items;
        int64_t size;
    } lists[TR_CUDA_LISTS];
    if (count > lists[place].size) {
        int32_t *grown = realloc(lists[place].items, (size_t)count * 2 * sizeof *grown);
        if (!grown) {
            tr_cuda_remember("out of host memory for the lists of an operation");
            return NULL;
        }
        lists[place].items = grown;
        lists[place].size = count * 2;
    }
    return lists[place].items;
}

/* One array alone. */
static const int32_t *send(const int32_t *items, int64_t count)
{
    return tr_cuda_stage(items, (size_t)count * sizeof *items);
}

/* ---- products ---- */

static void product_f32(product_args a)
{
    tr_cuda_launch_product(
        &a, tr_cuda_grid_of(tr_cuda_blocks(a.n, PRODUCT_SIDE), tr_cuda_blocks(a.m, PRODUCT_SIDE), 1));
}

static void linear_forward(float *y, const float *x, const tr_matrix *w, const float *bias, int64_t rows)
{
    product_f32((product_args){.c = y,
                               .a = x,
                               .b = w->panels,
                               .bias = bias,
                               .m = rows,
                               .n = w->out,
                               .depth = w->in,
                               .a_row = w->in,
                               .a_column = 1,
                               .b_row = 1,
                               .b_column = w->in,
                               .b_dtype = w->dtype,
                               .fresh = 1});
}

static void linear_backward_input(float *dx, const float *dy, const tr_matrix *w, int64_t rows, bool add)
{
    product_f32((product_args){.c = dx,
                               .a = dy,
                               .b = w->panels,
                               .m = rows,
                               .n = w->in,
                               .depth = w->out,
                               .a_row = w->out,
                               .a_column = 1,
                               .b_row = w->in,
                               .b_column = 1,
                               .b_dtype = w->dtype,
                               .fresh = !add});
}

void tr_cuda_product_fma(tr_cuda_form form, float *c, const uint16_t *a, const uint16_t *b, const float *bias,
                         int64_t rows, int64_t out, int64_t in)
{
    const bool forward = form == TR_CUDA_FORWARD, weight = form == TR_CUDA_WEIGHT;
    const int64_t depth = forward ? in : weight ? rows : out;
    product_f32((product_args){.c = c,
                               .a = a,
                               .b = b,
                               .bias = bias,
                               .m = weight ? out : rows,
                               .n = forward ? out : in,
                               .depth = depth,
                               .a_row = weight ? 1 : depth,
                               .a_column = weight ? out : 1,
                               .b_row = forward ? 1 : in,
                               .b_column = forward ? in : 1,
                               .a_dtype = TR_BF16,
                               .b_dtype = TR_BF16,
                               .fresh = forward});
}

/* out[d] += column sums of dy, or of dy * x * rstd; part: chunks * d floats */
static void add_columns(float *out, const float *dy, const float *x, const float *rstd, int64_t rows, int64_t d,
                        float *part)
{
    const int64_t chunks = tr_cuda_blocks(rows, COLUMN_ROWS);
    const column_args a = {.part = part, .dy = dy, .x = x, .rstd = rstd, .rows = rows, .d = d};
    tr_cuda_launch_column(&a, tr_cuda_grid_of(tr_cuda_blocks(d, COLUMN_THREADS), chunks, 1));
    const parts_args b = {.out = out, .part = part, .parts = chunks, .count = d, .width = d, .stride = d};
    tr_cuda_launch_parts(&b, tr_cuda_grid_of(tr_cuda_blocks(d, COLUMN_THREADS), 1, 1));
}

static size_t column_bytes(int64_t rows, int64_t d)
{
    return (size_t)(tr_cuda_blocks(rows, COLUMN_ROWS) * d) * sizeof(float);
}

static void add_bias_gradient(float *dbias, const float *dy, int64_t rows, int64_t out)
{
    float *part = dbias ? tr_cuda_scratch(column_bytes(rows, out)) : NULL;
    if (part) {
        add_columns(dbias, dy, NULL, NULL, rows, out, part);
    }
}

static void linear_backward_weight(float *dw, float *dbias, const float *dy, const float *x, int64_t rows,
                                   int64_t out, int64_t in)
{
    if (dw) {
        product_f32((product_args){.c = dw,
                                   .a = dy,
                                   .b = x,
                                   .m = out,
                                   .n = in,
                                   .depth = rows,
                                   .a_row = 1,
                                   .a_column = out,
                                   .b_row = in,
                                   .b_column = 1,
                                   .b_dtype = TR_F32});
    }
    add_bias_gradient(dbias, dy, rows, out);
}

static void convert(void *to, tr_dtype to_dtype, const void *from, tr_dtype from_dtype, int64_t count)
{
    const convert_args a = {.to = to, .from = from, .to_dtype = to_dtype, .from_dtype = from_dtype, .count = count};
    tr_cuda_launch_convert(&a, tr_cuda_grid_of(tr_cuda_blocks(count, ELEMENT_SPAN), 1, 1));
}

/* Two arrays as bf16 in one piece of working memory; y may be NULL. false when memory is out. */
static bool narrowed(uint16_t **a, const float *x, int64_t x_count, uint16_t **b, const float *y, int64_t y_count)
{
    const int64_t first = (x_count + 63) / 64 * 64;
    *a = tr_cuda_scratch((size_t)(first + y_count) * sizeof **a);
    if (!*a) {
        return false;
    }
    convert(*a, TR_BF16, x, TR_F32, x_count);
    if (y) {
        *b = *a + first;
        convert(*b, TR_BF16, y, TR_F32, y_count);
    }
    return true;
}

static void linear_forward_bf16(float *y, const float *x, const tr_matrix *w, const float *bias, int64_t rows)
{
    uint16_t *a;
    if (w->dtype != TR_BF16) {
        linear_forward(y, x, w, bias, rows);
    } else if (narrowed(&a, x, rows * w->in, NULL, NULL, 0)) {
        tr_cuda_later_product(TR_CUDA_FORWARD, y, a, w->panels, bias, rows, w->out, w->in);
    }
}

static void linear_backward_input_bf16(float *dx, const float *dy, const tr_matrix *w, int64_t rows, bool add)
{
    uint16_t *a;
    if (w->dtype != TR_BF16) {
        linear_backward_input(dx, dy, w, rows, add);
        return;
    }
    if (!add) {
        tr_cuda_later_zero(dx, (size_t)(rows * w->in) * sizeof *dx);
    }
    if (narrowed(&a, dy, rows * w->out, NULL, NULL, 0)) {
        tr_cuda_later_product(TR_CUDA_INPUT, dx, a, w->panels, NULL, rows, w->out, w->in);
    }
}

static void linear_backward_weight_bf16(float *dw, float *dbias, const float *dy, const float *x, int64_t rows,
                                        int64_t out, int64_t in)
{
    uint16_t *a = NULL, *b = NULL;
    if (dw && narrowed(&a, dy, rows * out, &b, x, rows * in)) {
        tr_cuda_later_product(TR_CUDA_WEIGHT, dw, a, b, NULL, rows, out, in);
    }
    add_bias_gradient(dbias, dy, rows, out);
}

/* ---- rows ---- */

static void move_rows(int operation, float *dst, const void *src, int dtype, const int32_t *index, int64_t rows,
                      int64_t d)
{
    const rows_args a = {.operation = operation,
                         .src_dtype = dtype,
                         .dst = dst,
                         .src = src,
                         .rows = rows,
                         .d = d,
                         .index = send(index, rows)};
    if (a.index) {
        tr_cuda_launch_rows(&a, tr_cuda_grid_of(rows, 1, 1));
    }
}

static void rows_gather(float *dst, const float *src, const int32_t *index, int64_t rows, int64_t d)
{
    move_rows(ROWS_GATHER, dst, src, TR_F32, index, rows, d);
}
static void rows_scatter(float *dst, const float *src, const int32_t *index, int64_t rows, int64_t d)
{
    move_rows(ROWS_SCATTER, dst, src, TR_F32, index, rows, d);
}
static void embedding_forward(float *x, const int32_t *ids, const tr_matrix *w, int64_t rows)
{
    move_rows(ROWS_GATHER, x, w->panels, w->dtype, ids, rows, w->in);
}

typedef struct placed {
    int32_t target, row;
} placed;

static int by_target(const void *a, const void *b)
{
    const placed *x = a, *y = b;
    return x->target != y->target ? (x->target > y->target) - (x->target < y->target)
                                  : (x->row > y->row) - (x->row < y->row);
}

/* dst[index[i]] += src[i], the rows of one target in their order; -1: left out. */
static void rows_add(float *dst, const float *src, const int32_t *index, int64_t rows, int64_t d)
{
    placed *list = (placed *)(void *)tr_cuda_list(0, 2 * rows + 2);
    int32_t *target = tr_cuda_list(1, rows + 1), *start = tr_cuda_list(2, rows + 1),
            *order = tr_cuda_list(3, rows + 1);
    int64_t count = 0, targets = 0;
    if (!list || !target || !start || !order) {
        return;
    }
    for (int64_t i = 0; i < rows; i++) {
        if (index[i] >= 0) {
            list[count++] = (placed){index[i], (int32_t)i};
        }
    }
    qsort(list, (size_t)count, sizeof *list, by_target);
    for (int64_t i = 0; i < count; i++) {
        if (i == 0 || list[i].target != list[i - 1].target) {
            target[targets] = list[i].target;
            start[targets++] = (int32_t)i;
        }
        order[i] = list[i].row;
    }
    start[targets] = (int32_t)count;
    tr_cuda_bundle_start();
    const int64_t a = tr_cuda_bundle_put(target, (size_t)targets * sizeof *target);
    const int64_t b = tr_cuda_bundle_put(start, (size_t)(targets + 1) * sizeof *start);
    const int64_t c = tr_cuda_bundle_put(order, (size_t)count * sizeof *order);
    if (targets && tr_cuda_bundle_send()) {
        const rows_sum_args args = {.dst = dst,
                                    .src = src,
                                    .d = d,
                                    .target = tr_cuda_bundle_at(a),
                                    .start = tr_cuda_bundle_at(b),
                                    .order = tr_cuda_bundle_at(c)};
        tr_cuda_launch_rows_sum(&args, tr_cuda_grid_of(targets, 1, 1));
    }
}

static void embedding_backward(float *dw, const float *dx, const int32_t *ids, int64_t rows, int64_t out,
                               int64_t in)
{
    (void)out;
    rows_add(dw, dx, ids, rows, in);
}

/* ---- norms ---- */

static void rmsnorm_forward(float *y, float *rstd, const float *x, const float *weight, int64_t rows, int64_t d,
                            float eps)
{
    const norm_args a = {.y = y, .rstd = rstd, .x = x, .weight = weight, .rows = rows, .d = d, .eps = eps};
    tr_cuda_launch_norm(&a, tr_cuda_grid_of(tr_cuda_blocks(rows, NORM_ROWS), 1, 1));
}

static void rmsnorm_backward(float *dx, float *dweight, const float *dy, const float *x, const float *weight,
                             const float *rstd, int64_t rows, int64_t d)
{
    const norm_backward_args a = {.dx = dx, .dy = dy, .x = x, .weight = weight, .rstd = rstd, .rows = rows, .d = d};
    tr_cuda_launch_norm_backward(&a, tr_cuda_grid_of(tr_cuda_blocks(rows, NORM_ROWS), 1, 1));
    float *part = dweight ? tr_cuda_scratch(column_bytes(rows, d)) : NULL;
    if (part) {
        add_columns(dweight, dy, x, rstd, rows, d, part);
    }
}

/* ---- elementwise ---- */

static void element(element_args a)
{
    tr_cuda_launch_element(&a, tr_cuda_grid_of(tr_cuda_blocks(a.count, ELEMENT_SPAN), 1, 1));
}
static void swiglu_forward(float *out, const float *gate, const float *up, int64_t count)
{
    element((element_args){.operation = ELEMENT_SWIGLU, .a = out, .c = gate, .d = up, .count = count});
}
static void swiglu_backward_set(float *dgate, float *dup, const float *dout, const float *gate, const float *up,
                                int64_t count)
{
    element((element_args){
        .operation = ELEMENT_SWIGLU_BACKWARD, .a = dgate, .b = dup, .c = gate, .d = up, .e = dout, .count = count});
}
static void gelu_forward(float *out, const float *x, int64_t count)
{
    element((element_args){.operation = ELEMENT_GELU, .a = out, .c = x, .count = count});
}
static void gelu_backward_set(float *dx, const float *dout, const float *x, int64_t count)
{
    element((element_args){.operation = ELEMENT_GELU_BACKWARD, .a = dx, .c = x, .d = dout, .count = count});
}
static void add(float *y, const float *x, int64_t count)
{
    element((element_args){.operation = ELEMENT_ADD, .a = y, .c = x, .count = count});
}

static void scale(float *y, float factor, int64_t count)
{
    element((element_args){.operation = ELEMENT_SCALE, .a = y, .c = y, .factor = factor, .count = count});
}

/* ---- rotary embedding ---- */

static void rotate(float *x, const float *cosine, const float *sine, int64_t rows, int64_t heads, int64_t head_dim,
                   int64_t stride, float direction)
{
    const rope_args a = {.x = x,
                         .cosine = cosine,
                         .sine = sine,
                         .rows = rows,
                         .heads = heads,
                         .half = head_dim / 2,
                         .stride = stride,
                         .direction = direction};
    tr_cuda_launch_rope(&a, tr_cuda_grid_of(tr_cuda_blocks(rows * heads * a.half, ELEMENT_SPAN), 1, 1));
}
static void rope_forward(float *x, const float *cosine, const float *sine, int64_t rows, int64_t heads,
                         int64_t head_dim, int64_t stride)
{
    rotate(x, cosine, sine, rows, heads, head_dim, stride, 1.0f);
}
static void rope_backward(float *x, const float *cosine, const float *sine, int64_t rows, int64_t heads,
                          int64_t head_dim, int64_t stride)
{
    rotate(x, cosine, sine, rows, heads, head_dim, stride, -1.0f);
}

static void rope_table(float *cosine, float *sine, const int32_t *position, int64_t positions,
                       const double *inverse, const int32_t *axis, int64_t rows, int64_t half, int64_t axis_stride,
                       int64_t row_stride)
{
    tr_cuda_bundle_start();
    const int64_t a = tr_cuda_bundle_put(position, (size_t)positions * sizeof *position);
    const int64_t b = tr_cuda_bundle_put(inverse, (size_t)half * sizeof *inverse);
    const int64_t c = tr_cuda_bundle_put(axis, (size_t)half * sizeof *axis);
    if (tr_cuda_bundle_send()) {
        const rope_table_args args = {.cosine = cosine,
                                      .sine = sine,
                                      .position = tr_cuda_bundle_at(a),
                                      .inverse = tr_cuda_bundle_at(b),
                                      .axis = tr_cuda_bundle_at(c),
                                      .rows = rows,
                                      .half = half,
                                      .axis_stride = axis_stride,
                                      .row_stride = row_stride};
        tr_cuda_launch_rope_table(&args, tr_cuda_grid_of(tr_cuda_blocks(rows * half, ELEMENT_SPAN), 1, 1));
    }
}

static void rope_mrope_table(float *cosine, float *sine, const int32_t *positions, int64_t rows, int64_t head_dim,
                             const int32_t sections[3], double theta)
{
    double inverse[TR_HEAD_DIM_MAX / 2];
    int32_t axis[TR_HEAD_DIM_MAX / 2];
    for (int64_t f = 0; f < head_dim / 2; f++) {
        inverse[f] = tr_math_pow(theta, -(double)(2 * f) / (double)head_dim);
        axis[f] = f < sections[0] ? 0 : f < sections[0] + sections[1] ? 1 : 2;
    }
    rope_table(cosine, sine, positions, 3 * rows, inverse, axis, rows, head_dim / 2, rows, 1);
}

static void rope_vision_table(float *cosine, float *sine, const int32_t *coords, int64_t rows, int64_t head_dim,
                              double theta)
{
    double inverse[TR_HEAD_DIM_MAX / 2];
    int32_t axis[TR_HEAD_DIM_MAX / 2];
    const int64_t half = head_dim / 2, quarter = head_dim / 4;
    for (int64_t f = 0; f < half; f++) {
        inverse[f] = tr_math_pow(theta, -(double)(2 * (f < quarter ? f : f - quarter)) / (double)half);
        axis[f] = f < quarter ? 0 : 1;
    }
    rope_table(cosine, sine, coords, 2 * rows, inverse, axis, rows, half, 1, 2);
}

/* ---- log-softmax and the head ---- */

static void softmax(softmax_args a, const int32_t *ids, int64_t rows)
{
    a.ids = ids ? send(ids, rows) : NULL;
    if (!ids || a.ids) {
        tr_cuda_launch_softmax(&a, tr_cuda_grid_of(rows, 1, 1));
    }
}
static void logsoftmax_forward(float *logp, float *entropy, float *lse, const float *logits, const int32_t *ids,
                               int64_t rows, int64_t vocab, float temperature)
{
    softmax((softmax_args){.logp = logp,
                           .entropy = entropy,
                           .lse = lse,
                           .logits = logits,
                           .vocab = vocab,
                           .temperature = temperature},
            ids, rows);
}
static void logsoftmax_row(float *out, const float *logits, int64_t vocab, float temperature)
{
    softmax((softmax_args){.all = out, .logits = logits, .vocab = vocab, .temperature = temperature}, NULL, 1);
}
static void logsoftmax_backward_set(float *logits, const float *dlogp, const float *dentropy, const float *lse,
                                    const float *entropy, const int32_t *ids, int64_t rows, int64_t vocab,
                                    float temperature)
{
    const softmax_backward_args a = {.logits = logits,
                                     .dlogp = dlogp,
                                     .dentropy = dentropy,
                                     .lse = lse,
                                     .entropy = entropy,
                                     .ids = send(ids, rows),
                                     .vocab = vocab,
                                     .temperature = temperature};
    if (a.ids) {
        tr_cuda_launch_softmax_backward(&a, tr_cuda_grid_of(tr_cuda_blocks(vocab, SOFTMAX_CHUNK), rows, 1));
    }
}

typedef void forward_function(float *y, const float *x, const tr_matrix *w, const float *bias, int64_t rows);
typedef void input_function(float *dx, const float *dy, const tr_matrix *w, int64_t rows, bool add);
typedef void weight_function(float *dw, float *dbias, const float *dy, const float *x, int64_t rows, int64_t out,
                             int64_t in);

static const float *from(const float *x, int64_t i)
{
    return x ? x + i : NULL;
}
static float *onto(float *x, int64_t i)
{
    return x ? x + i : NULL;
}

static void head_forward_by(forward_function *linear, float *logp, float *entropy, float *lse, const float *x,
                            const tr_matrix *head, const int32_t *ids, int64_t rows, float temperature,
                            int64_t tile, float *work)
{
    for (int64_t first = 0; first < rows; first += tile) {
        const int64_t n = rows - first < tile ? rows - first : tile;
        linear(work, x + first * head->in, head, NULL, n);
        logsoftmax_forward(onto(logp, first), onto(entropy, first), onto(lse, first), work, ids + first, n,
                           head->out, temperature);
    }
}

static void head_backward_by(forward_function *linear, input_function *input, weight_function *weight, float *dx,
                             float *dhead, const float *x, const tr_matrix *head, const int32_t *ids,
                             const float *dlogp, const float *dentropy, const float *lse, const float *entropy,
                             int64_t rows, float temperature, int64_t tile, float *work)
{
    for (int64_t first = 0; first < rows; first += tile) {
        const int64_t n = rows - first < tile ? rows - first : tile;
        linear(work, x + first * head->in, head, NULL, n);
        logsoftmax_backward_set(work, dlogp + first, from(dentropy, first), lse + first, from(entropy, first),
                                ids + first, n, head->out, temperature);
        input(dx + first * head->in, work, head, n, true);
        if (dhead) {
            weight(dhead, NULL, work, x + first * head->in, n, head->out, head->in);
        }
    }
}

#define HEAD(suffix)                                                                                               \
    static void head_forward##suffix(float *logp, float *entropy, float *lse, const float *x,                      \
                                     const tr_matrix *head, const int32_t *ids, int64_t rows, float temperature,   \
                                     int64_t tile, float *work)                                                    \
    {                                                                                                              \
        head_forward_by(linear_forward##suffix, logp, entropy, lse, x, head, ids, rows, temperature, tile, work);  \
    }                                                                                                              \
    static void head_backward##suffix(float *dx, float *dhead, const float *x, const tr_matrix *head,              \
                                      const int32_t *ids, const float *dlogp, const float *dentropy,               \
                                      const float *lse, const float *entropy, int64_t rows, float temperature,     \
                                      int64_t tile, float *work)                                                   \
    {                                                                                                              \
        head_backward_by(linear_forward##suffix, linear_backward_input##suffix, linear_backward_weight##suffix,    \
                         dx, dhead, x, head, ids, dlogp, dentropy, lse, entropy, rows, temperature, tile, work);   \
    }
HEAD()
HEAD(_bf16)

/* ---- optimiser ---- */

static void adamw_step(float *parameter, float *gradient, float *m, float *v, int64_t count, const tr_adamw *adamw)
{
    const adamw_args a = {
        .p = parameter, .m = m, .v = v, .g = gradient, .count = count, .c = tr_adamw_constants_of(adamw)};
    tr_cuda_launch_adamw(&a, tr_cuda_grid_of(tr_cuda_blocks(count, ELEMENT_SPAN), 1, 1));
}

static double sum_of_squares(const float *x, int64_t count)
{
    const int64_t blocks = tr_cuda_blocks(count, SQUARES_BLOCK);
    const size_t bytes = (size_t)blocks * sizeof(double);
    double total = 0, *sums = (double *)(void *)tr_cuda_list(0, 2 * blocks + 2);
    const squares_args a = {.sum = sums ? tr_cuda_scratch(bytes) : NULL, .x = x, .count = count};
    if (!a.sum) {
        return NAN;
    }
    tr_cuda_launch_squares(&a, tr_cuda_grid_of(blocks, 1, 1));
    tr_cuda_read(sums, a.sum, bytes);
    for (int64_t i = 0; i < blocks; i++) {
        total += sums[i];
    }
    return total;
}

static bool all_finite(const float *x, int64_t count)
{
    const int64_t blocks = tr_cuda_blocks(count, SQUARES_BLOCK);
    uint32_t *worst = (uint32_t *)tr_cuda_list(0, blocks + 1), most = 0;
    const squares_args a = {
        .worst = worst ? tr_cuda_scratch((size_t)blocks * sizeof *worst) : NULL, .x = x, .count = count};
    if (!a.worst) {
        return false;
    }
    tr_cuda_launch_squares(&a, tr_cuda_grid_of(blocks, 1, 1));
    tr_cuda_read(worst, a.worst, (size_t)blocks * sizeof *worst);
    for (int64_t i = 0; i < blocks; i++) {
        most = worst[i] > most ? worst[i] : most;
    }
    return most < 0x7F800000u;
}

/* ---- memory ---- */

static pthread_mutex_t moving = PTHREAD_MUTEX_INITIALIZER; /* checkpoints are packed by several threads */

static void pack(tr_matrix *matrix, const void *row_major, tr_dtype dtype, int64_t row0, int64_t rows)
{
    const int64_t count = rows * matrix->in, size = (int64_t)tr_dtype_size(matrix->dtype);
    void *host = malloc((size_t)(count * size) + 1);
    if (!host) {
        tr_cuda_remember("out of host memory while a matrix is copied to the device");
        return;
    }
    if (matrix->dtype == TR_BF16) {
        tr_cuda_product_prepare(matrix->out, matrix->in);
    }
    tr_convert(host, matrix->dtype, row_major, dtype, count);
    pthread_mutex_lock(&moving);
    tr_cuda_write((char *)matrix->panels + row0 * matrix->in * size, host, (size_t)(count * size));
    pthread_mutex_unlock(&moving);
    free(host);
}

static void unpack(const tr_matrix *matrix, void *row_major, tr_dtype dtype, int64_t row0, int64_t rows)
{
    const int64_t count = rows * matrix->in, size = (int64_t)tr_dtype_size(matrix->dtype);
    void *host = malloc((size_t)(count * size) + 1);
    if (!host) {
        tr_cuda_remember("out of host memory while a matrix is copied from the device");
        return;
    }
    pthread_mutex_lock(&moving);
    tr_cuda_read(host, (const char *)matrix->panels + row0 * matrix->in * size, (size_t)(count * size));
    pthread_mutex_unlock(&moving);
    tr_convert(row_major, dtype, host, matrix->dtype, count);
    free(host);
}

/* Of a copy on the host: rows lie one after the other there too. */
static void unpack_mirror(const tr_matrix *matrix, void *row_major, tr_dtype dtype, int64_t row0, int64_t rows)
{
    const int64_t size = (int64_t)tr_dtype_size(matrix->dtype);
    tr_convert(row_major, dtype, (const char *)matrix->panels + row0 * matrix->in * size, matrix->dtype,
               rows * matrix->in);
}

static void read_mirror(void *host, const void *from, size_t bytes)
{
    memcpy(host, from, bytes);
}

static void pack_mirror(tr_matrix *matrix, const void *row_major, tr_dtype dtype, int64_t row0, int64_t rows)
{
    const int64_t size = (int64_t)tr_dtype_size(matrix->dtype);
    tr_convert((char *)matrix->panels + row0 * matrix->in * size, matrix->dtype, row_major, dtype,
               rows * matrix->in);
}

static const tr_memory mirror = {
    .host = true, .read = read_mirror, .write = read_mirror, .pack = pack_mirror, .unpack = unpack_mirror};

static const tr_memory memory = {
    .host = false,
    .take = tr_cuda_take,
    .give = tr_cuda_give,
    .zero = tr_cuda_later_zero,
    .copy = tr_cuda_later_copy,
    .write = tr_cuda_write,
    .read = tr_cuda_read,
    .convert = convert,
    .pack = pack,
    .unpack = unpack,
    .check = tr_cuda_check,
    .collect = tr_cuda_collect,
    .mirror = &mirror,
    .lanes = &tr_cuda_lanes,
};

#define TABLE(mode, suffix)                                                                                        \
    {                                                                                                              \
        .name = "cuda-" #mode, .linear_forward = linear_forward##suffix,                                           \
        .linear_backward_input = linear_backward_input##suffix,                                                    \
        .linear_backward_weight = linear_backward_weight##suffix, .embedding_forward = embedding_forward,          \
        .embedding_backward = embedding_backward, .rmsnorm_forward = rmsnorm_forward,                              \
        .rmsnorm_backward = rmsnorm_backward, .swiglu_forward = swiglu_forward,                                    \
        .swiglu_backward_set = swiglu_backward_set, .gelu_forward = gelu_forward,                                  \
        .gelu_backward_set = gelu_backward_set, .add = add, .scale = scale, .rope_forward = rope_forward,          \
        .rope_backward = rope_backward, .rope_mrope_table = rope_mrope_table,                                      \
        .rope_vision_table = rope_vision_table, .rows_gather = rows_gather, .rows_scatter = rows_scatter,          \
        .rows_add = rows_add, .segment_attention_work = tr_cuda_segment_attention_work,                            \
        .segment_attention_forward = tr_cuda_segment_attention_forward_##mode,                                     \
        .segment_attention_backward = tr_cuda_segment_attention_backward_##mode,                                   \
        .group_attention_work = tr_cuda_group_attention_work,                                                      \
        .group_attention_forward = tr_cuda_group_attention_forward_##mode,                                         \
        .group_attention_backward = tr_cuda_group_attention_backward_##mode, .kv_write = tr_cuda_kv_write_##mode,  \
        .kv_append = tr_cuda_kv_append_##mode, .decode_attention_work = tr_cuda_decode_attention_work,             \
        .decode_attention_forward = tr_cuda_decode_attention_forward_##mode,                                       \
        .logsoftmax_forward = logsoftmax_forward, .logsoftmax_backward_set = logsoftmax_backward_set,              \
        .logsoftmax_row = logsoftmax_row, .sample_work = tr_cuda_sample_work, .sample = tr_cuda_sample,            \
        .head_forward = head_forward##suffix, .head_backward = head_backward##suffix, .adamw_step = adamw_step,    \
        .adamw8_step = tr_cuda_adamw8_step, .sum_of_squares = sum_of_squares, .all_finite = all_finite,            \
        .memory = &memory,                                                                                         \
    }

const tr_ops tr_cuda_table_f32 = TABLE(f32, );
const tr_ops tr_cuda_table_bf16 = TABLE(bf16, _bf16);
