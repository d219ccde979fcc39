/* table_sample.c: the GPU's operation `sample`: its kernels, their working memory, and the one small copy that
 * comes to the host. */
#include "tensor/cuda/table.h"

#include <string.h>

static int64_t chunks_of(int64_t vocab)
{
    return tr_cuda_blocks(vocab, SAMPLE_CHUNK);
}

/* The banned ids as bits, in the bundle; -1: none. */
static int64_t put_banned(const uint8_t *banned, int64_t vocab)
{
    const int64_t words = tr_cuda_blocks(vocab, 32);
    uint32_t *bits = banned ? (uint32_t *)tr_cuda_list(0, words + 1) : NULL;
    if (!bits) {
        return -1;
    }
    memset(bits, 0, (size_t)words * sizeof *bits);
    for (int64_t i = 0; i < vocab;) {
        uint64_t eight = 0;
        if (i % 8 == 0 && i + 8 <= vocab) {
            memcpy(&eight, banned + i, sizeof eight);
            if (!eight) { /* nearly always */
                i += 8;
                continue;
            }
        }
        bits[i / 32] |= (uint32_t)(banned[i] != 0) << (i % 32);
        i++;
    }
    return tr_cuda_bundle_put(bits, (size_t)words * sizeof *bits);
}

void tr_cuda_sample(tr_sampled *out, const float *logits, bool shared, const tr_draw *draws, int64_t rows,
                    int64_t vocab, const tr_sampling *sampling, float *work, int64_t work_floats)
{
    const int64_t chunks = chunks_of(vocab), blocks = tr_cuda_blocks(vocab, SAMPLE_BLOCK), from = shared ? 1 : rows;
    const sample_settings settings = {.temperature = sampling->temperature,
                                      .top_p = sampling->top_p,
                                      .min_p = sampling->min_p,
                                      .top_k = sampling->top_k,
                                      .end_count = sampling->end_count,
                                      .inverse = (float)(1.0 / sampling->temperature),
                                      .recorded = tr_sampling_temperature(sampling)};
    if (work_floats < tr_cuda_sample_work(vocab, rows)) {
        tr_cuda_remember("the working memory of sampling was planned for fewer rows");
        return;
    }
    tr_cuda_bundle_start();
    const int64_t at_settings = tr_cuda_bundle_put(&settings, sizeof settings);
    const int64_t at_draws = tr_cuda_bundle_put(draws, (size_t)rows * sizeof *draws);
    const int64_t at_ends = tr_cuda_bundle_put(sampling->end_ids, (size_t)sampling->end_count * sizeof(int64_t));
    const int64_t at_banned = put_banned(sampling->banned, vocab);
    if ((sampling->banned && at_banned < 0) || !tr_cuda_bundle_send()) {
        return;
    }
    /* doubles first, then floats, lists, results */
    double *sums = (double *)(void *)work;
    float *top = (float *)(void *)(sums + rows * blocks);
    const sample_args a = {.logits = logits,
                           .settings = tr_cuda_bundle_at(at_settings),
                           .banned = sampling->banned ? tr_cuda_bundle_at(at_banned) : NULL,
                           .draws = tr_cuda_bundle_at(at_draws),
                           .end_ids = tr_cuda_bundle_at(at_ends),
                           .out = (tr_sampled *)(void *)(top + 3 * rows * chunks + 2 * rows * vocab),
                           .top = top,
                           .largest = top + rows * chunks,
                           .part = top + 2 * rows * chunks,
                           .sums = sums,
                           .list = (int32_t *)(void *)(top + 3 * rows * chunks),
                           .vocab = vocab,
                           .shared = shared};
    tr_cuda_launch_sample_top(&a, tr_cuda_grid_of(chunks, from, 1));
    tr_cuda_launch_sample_sums(&a, tr_cuda_grid_of(chunks, from, 1));
    tr_cuda_launch_sample_pick(&a, tr_cuda_grid_of(rows, 1, 1));
    tr_cuda_read(out, a.out, (size_t)rows * sizeof *out);
}
