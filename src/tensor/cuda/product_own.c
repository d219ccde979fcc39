/* product_own.c: bf16 products by our own tensor-core kernels: operands of the three forms, and which tile.
 *
 * The tile is chosen by count and never changes a bit (kernel_tile.h), so it may depend on the number of rows. A
 * multiprocessor takes what its blocks read, rows + columns of a tile for each number of k, at PORT at most; all of
 * them together share TOGETHER; and what is under way at once, over LATENCY, is a rate too. The slowest of the
 * three is a tile's cost. */
#include "tensor/cuda/table.h"

#include <stdlib.h>
#include <string.h>

/* Leads for an H200, in bytes a nanosecond and nanoseconds: 64 bytes a clock into one multiprocessor, about 6 TB/s
 * out of the L2 cache into all, about 800 ns until a copy has come. Another GPU only gets another choice, never
 * other bits. */
enum { MULTIPROCESSORS = 132, PORT = 110, TOGETHER = 6000, LATENCY = 800, SHARED_BYTES = 227 * 1024 };

typedef struct tile {
    int rows, columns, form, threads;
    int64_t bytes, under_way; /* of shared memory, of copies that a block has started and not yet used */
} tile;

static const tile tiles[] = {
#define X(name, bm, bn, deep, stages, wm, wn, a_along, b_along)                                                    \
    {bm,                                                                                                           \
     bn,                                                                                                           \
     (a_along)   ? TR_CUDA_FORWARD                                                                                 \
     : (b_along) ? TR_CUDA_INPUT                                                                                   \
                 : TR_CUDA_WEIGHT,                                                                                 \
     (wm) * (wn)*32,                                                                                               \
     TILE_BYTES(bm, bn, deep, stages, a_along, b_along),                                                           \
     ((stages)-1) * ((bm) + (bn)) * (deep)*2},
    TR_CUDA_TILES(X) /* NOLINT(bugprone-branch-clone): sides that are equal in one of the tiles */
#undef X
};

static int64_t blocks_of(const tile *shape, int64_t m, int64_t n)
{
    return tr_cuda_blocks(m, shape->rows) * tr_cuda_blocks(n, shape->columns);
}

/* Time of a tile's reads per number of k, in units that only compare. */
static double cost_of(const tile *shape, int64_t m, int64_t n)
{
    const int64_t blocks = blocks_of(shape, m, n), each = shape->rows + cu_min64(shape->columns, n);
    const int64_t fit = cu_max64(1, cu_min64(SHARED_BYTES / shape->bytes, 2048 / shape->threads));
    const int64_t at_once = cu_min64(blocks, fit * MULTIPROCESSORS);
    const double costs[] = {(double)(tr_cuda_blocks(blocks, MULTIPROCESSORS) * each) / PORT,
                            (double)(blocks * each) / TOGETHER,
                            (double)(blocks * each * LATENCY) / (double)(at_once * shape->under_way)};
    double most = 0;
    for (int i = 0; i < 3; i++) {
        most = costs[i] > most ? costs[i] : most;
    }
    return most;
}

int tr_cuda_product_tile(tr_cuda_form form, int64_t m, int64_t n)
{
    const int64_t limit = (int64_t)tr_cuda_tile_limit();
    int best = -1;
    for (int i = 0; i < TILE_SHAPES; i++) {
        if (tiles[i].form == (int)form && tiles[i].bytes <= limit &&
            (best < 0 || cost_of(&tiles[i], m, n) < cost_of(&tiles[best], m, n))) {
            best = i;
        }
    }
    return best;
}

/* Whether an operand can be read 16 bytes at a time. */
static int wide(const void *data, int64_t stride, int64_t contiguous)
{
    return (uintptr_t)data % 16 == 0 && stride % 8 == 0 && contiguous % 8 == 0;
}

void tr_cuda_product_own(tr_cuda_form form, float *c, const uint16_t *a, const uint16_t *b, const float *bias,
                         int64_t rows, int64_t out, int64_t in, int shape)
{
    const bool forward = form == TR_CUDA_FORWARD, weight = form == TR_CUDA_WEIGHT;
    const int64_t m = forward ? out : in, n = weight ? out : rows, depth = forward ? in : weight ? rows : out;
    /* forward C^T = W x^T and input C^T = W^T dy^T have the weight first, weight C^T = x^T dy the activations */
    const tile_args p = {.c = c,
                         .a = b,
                         .b = a,
                         .bias = bias,
                         .m = m,
                         .n = n,
                         .depth = depth,
                         .a_stride = in,
                         .b_stride = forward ? in : out,
                         .a_wide = wide(b, in, in),
                         .b_wide = wide(a, forward ? in : out, forward ? in : out),
                         .fresh = forward};
    const int chosen = shape < 0 ? tr_cuda_product_tile(form, m, n) : shape;
    tr_cuda_launch_tile(&p, tr_cuda_grid_of(blocks_of(&tiles[chosen], m, n), 1, 1), (tile_shape)chosen);
}

/* ---- who computes ---- */

static bool loose;

void tr_cuda_set_exact(bool exact)
{
    loose = !exact;
}

bool tr_cuda_exact(void)
{
    return !loose;
}

tr_status tr_cuda_products_mode(tr_cuda_products *mode, tr_error *err)
{
    const char *word = getenv("TEMPR1_CUDA_PRODUCTS");
    *mode = TR_CUDA_PRODUCTS_AUTO;
    if (!word || !*word || !strcmp(word, "auto")) {
        return TR_OK;
    }
    if (!strcmp(word, "own")) {
        *mode = TR_CUDA_PRODUCTS_OWN;
    } else if (!strcmp(word, "cublaslt")) {
        *mode = TR_CUDA_PRODUCTS_CUBLASLT;
    } else {
        return tr_fail(err, TR_INVALID, "TEMPR1_CUDA_PRODUCTS", "expected own, cublaslt or auto, found %s", word);
    }
    return TR_OK;
}

const char *tr_cuda_products_name(void)
{
    static const char *const names[] = {"auto", "own", "cublaslt"};
    tr_cuda_products mode;
    return tr_cuda_products_mode(&mode, NULL) ? "unknown" : names[mode];
}

void tr_cuda_products_try(int64_t out, int64_t in)
{
    tr_cuda_product_prepare(out, in);
}
