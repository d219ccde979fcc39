/* products_match.c: does an algorithm of cuBLASLt give the bits of our own kernels?
 *
 * Operands are seeded: random signs and fractions over twelve binades, so that the sum of hundreds of products is
 * rounded at nearly every step: another order of k, a split of k, or another way to round inside a step shows in a
 * large share of the elements (test_tiles.c holds that for the order). All elements of all rows are compared, for
 * several numbers of rows. Plain C over device.h; never touches what a model holds. */
#include "tensor/cuda/products.h"
#include "tensor/cuda/table.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 257, PIECE = 1 << 20 };
static const int64_t match_rows[] = {1, 16, 64, 128, MOST_ROWS};

struct tr_match {
    int64_t out, in;
    bool biased;
    void *w, *x, *bias, *result; /* on the device */
    float *ours, *theirs;        /* results on the host */
};

uint16_t tr_match_number(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    const uint32_t random = *state >> 8, binade = 119 + (random >> 8) % 12;
    return (uint16_t)((random >> 9 & 0x8000u) | binade << 7 | (random & 0x7Fu));
}

/* count seeded numbers, as bf16 or as f32, to the device by pieces. */
static bool random_numbers(void **to, tr_dtype dtype, int64_t count, uint32_t seed)
{
    const size_t size = tr_dtype_size(dtype);
    uint16_t *half = malloc(PIECE * sizeof *half);
    void *piece = malloc(PIECE * size);
    const bool good = half && piece && !tr_cuda_take(to, (size_t)count * size, false, NULL);
    for (int64_t first = 0; good && first < count; first += PIECE) {
        const int64_t n = count - first < PIECE ? count - first : PIECE;
        for (int64_t i = 0; i < n; i++) {
            half[i] = tr_match_number(&seed);
        }
        tr_convert(piece, dtype, half, TR_BF16, n);
        tr_cuda_write((char *)*to + (size_t)first * size, piece, (size_t)n * size);
    }
    free(half);
    free(piece);
    return good;
}

tr_match *tr_match_open(int64_t out, int64_t in, bool biased)
{
    const size_t bytes = (size_t)(MOST_ROWS * out) * sizeof(float);
    tr_match *m = calloc(1, sizeof *m);
    if (!m) {
        return NULL;
    }
    m->out = out;
    m->in = in;
    m->biased = biased;
    m->ours = malloc(bytes);
    m->theirs = malloc(bytes);
    if (!m->ours || !m->theirs || !random_numbers(&m->w, TR_BF16, out * in, 1) ||
        !random_numbers(&m->x, TR_BF16, MOST_ROWS * in, 2) || !random_numbers(&m->bias, TR_F32, out, 3) ||
        tr_cuda_take(&m->result, bytes, false, NULL)) {
        tr_match_close(m);
        return NULL;
    }
    return m;
}

bool tr_match_same(tr_match *m, tr_match_product *product, void *context)
{
    const float *bias = m->biased ? m->bias : NULL;
    bool same = true;
    for (size_t i = 0; i < sizeof match_rows / sizeof *match_rows && same; i++) {
        const int64_t rows = match_rows[i];
        const size_t bytes = (size_t)(rows * m->out) * sizeof(float);
        tr_cuda_product_own(TR_CUDA_FORWARD, m->result, m->x, m->w, bias, rows, m->out, m->in, -1);
        tr_cuda_read(m->ours, m->result, bytes);
        tr_cuda_zero(m->result, bytes);
        same = product(context, m->result, m->x, m->w, bias, rows);
        tr_cuda_read(m->theirs, m->result, bytes);
        same = same && memcmp(m->ours, m->theirs, bytes) == 0;
    }
    return same;
}

void tr_match_close(tr_match *m)
{
    if (m) {
        tr_cuda_give(m->result);
        tr_cuda_give(m->bias);
        tr_cuda_give(m->x);
        tr_cuda_give(m->w);
        free(m->theirs);
        free(m->ours);
        free(m);
    }
}
