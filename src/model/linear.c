/* linear.c: a linear layer of the decoder with its adapter: y = W x + b + (alpha / rank) B (A x), and backward.
 *
 * A row's result depends on that row alone: both products have one order for any number of rows, so tiles of rows
 * and the decode path give the bits of the packed forward. The backward computes A x again; it is cheap. */
#include "model/network_parts.h"

typedef struct pair {
    tr_matrix a, b;
    int index; /* of A; B follows */
} pair;

/* The adapter of a weight as it is in use; false: none. */
static bool adapter_of(const tr_network *n, int weight, pair *out)
{
    const tr_param *items = n->model->params.items;
    const int at = items[weight].adapter;
    if (!at || n->adapter_use == TR_ADAPTER_OFF) {
        return false;
    }
    *out = (pair){items[at].value, items[at + 1].value, at};
    if (n->adapter_use == TR_ADAPTER_START && (items[at].trainable || n->model->lora->fresh)) {
        out->a.panels = items[at].start;
        out->b.panels = items[at + 1].start;
    }
    return out->a.panels && out->b.panels; /* a fresh one starts from nothing */
}

/* down = scale * A x */
static void descend(const tr_network *n, const pair *p, const float *x, int64_t rows)
{
    const float scale = n->model->lora->scale;
    float *down = n->adapter.down;
    n->ops->linear_forward(down, x, &p->a, NULL, rows);
    n->ops->scale(down, scale, rows * p->a.out);
}

void tr_linear_forward(tr_network *n, float *y, const float *x, int weight, int bias, int64_t rows)
{
    const tr_matrix *w = matrix(n, weight);
    pair p;
    n->ops->linear_forward(y, x, w, bias < 0 ? NULL : vector(n, bias), rows);
    if (!adapter_of(n, weight, &p)) {
        return;
    }
    for (int64_t row = 0; row < rows; row += TR_ADAPTER_ROWS) {
        const int64_t some = rows - row < TR_ADAPTER_ROWS ? rows - row : TR_ADAPTER_ROWS;
        descend(n, &p, x + row * w->in, some);
        n->ops->linear_forward(n->adapter.up, n->adapter.down, &p.b, NULL, some);
        n->ops->add(y + row * w->out, n->adapter.up, some * w->out);
    }
}

/* dB += dy^T (scale A x), d(A x) = scale dy B, dA += d(A x)^T x, dx += d(A x) A. Sums run along the rows in their
 * order, so tiles do not show. */
static void adapter_backward(tr_network *n, const pair *p, float *dx, const float *dy, const float *x, int64_t rows)
{
    const int64_t in = p->a.in, out = p->b.out, rank = p->a.out;
    const float scale = n->model->lora->scale;
    float *ddown = n->adapter.ddown;
    for (int64_t row = 0; row < rows; row += TR_ADAPTER_ROWS) {
        const int64_t some = rows - row < TR_ADAPTER_ROWS ? rows - row : TR_ADAPTER_ROWS;
        const float *dy1 = dy + row * out, *x1 = x + row * in;
        descend(n, p, x1, some);
        n->ops->linear_backward_weight(gradient(n, p->index + 1), NULL, dy1, n->adapter.down, some, out, rank);
        n->ops->linear_backward_input(ddown, dy1, &p->b, some, false);
        n->ops->scale(ddown, scale, some * rank);
        n->ops->linear_backward_weight(gradient(n, p->index), NULL, ddown, x1, some, rank, in);
        n->ops->linear_backward_input(dx + row * in, ddown, &p->a, some, true);
    }
}

void tr_linear_backward(tr_network *n, float *dx, bool add, const float *dy, const float *x, int weight, int bias,
                        int64_t rows)
{
    const tr_matrix *w = matrix(n, weight);
    float *dw = gradient(n, weight), *dbias = bias < 0 ? NULL : gradient(n, bias);
    pair p;
    n->ops->linear_backward_input(dx, dy, w, rows, add);
    if (dw || dbias) {
        n->ops->linear_backward_weight(dw, dbias, dy, x, rows, w->out, w->in);
    }
    if (adapter_of(n, weight, &p) && gradient(n, p.index)) {
        adapter_backward(n, &p, dx, dy, x, rows);
    }
}
