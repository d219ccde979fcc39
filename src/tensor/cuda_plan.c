/* cuda_plan.c: what the GPU's operations need for working memory, in every build, so that a machine without CUDA
 * can plan a run for a GPU. tensor/cuda/table_attention.c and table.c take exactly this. */
#include "tensor/cuda/kernels.h"
#include "tensor/cuda/table.h"

/* D of every row and head, and the parts of dK and dV. */
static int64_t attention_floats(const tr_attention_shape *shape, int64_t rows, int64_t chunk, bool backward)
{
    const int64_t chunks = tr_cuda_blocks(rows * (shape->heads / shape->kv_heads), chunk);
    return !backward ? 16 : rows * shape->heads + 2 * chunks * rows * shape->kv_heads * shape->head_dim + 32;
}

/* Vision has blocks enough without cutting its segments: one chunk. */
int64_t tr_cuda_segment_attention_work(const tr_attention_shape *shape, const int32_t *cu, int64_t segments,
                                       bool backward)
{
    const int64_t rows = cu[segments], all = rows * (shape->heads / shape->kv_heads);
    return attention_floats(shape, rows, all > 0 ? all : 1, backward);
}

int64_t tr_cuda_group_attention_work(const tr_attention_shape *shape, const tr_layout *layout, bool backward)
{
    const int64_t rows = layout->responses > 0 ? layout->start[layout->responses] : layout->prompt;
    return attention_floats(shape, rows, BACK_CHUNK, backward);
}

int64_t tr_cuda_decode_attention_work(const tr_attention_shape *shape, int64_t rows)
{
    (void)shape;
    (void)rows;
    return 16; /* the splits' shares are in the device's working memory: their number grows with the tokens */
}

/* Of every row: sums of the blocks, three numbers of every chunk, two lists of candidates, what comes of it. */
int64_t tr_cuda_sample_work(int64_t vocab, int64_t rows)
{
    const int64_t sums = 2 * tr_cuda_blocks(vocab, SAMPLE_BLOCK), chunks = 3 * tr_cuda_blocks(vocab, SAMPLE_CHUNK);
    return rows * ((sums + chunks + 2 * vocab + 1) / 2 * 2 + 4) + 16;
}

static const tr_memory away = {.host = false};

const tr_ops tr_cuda_plan_table = {
    .name = "cuda-plan",
    .memory = &away,
    .segment_attention_work = tr_cuda_segment_attention_work,
    .group_attention_work = tr_cuda_group_attention_work,
    .decode_attention_work = tr_cuda_decode_attention_work,
    .sample_work = tr_cuda_sample_work,
};

/* ---- the device's own working memory: the largest that any operation asks for ---- */

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t tr_cuda_plan_columns(int64_t rows, int64_t width)
{
    return (uint64_t)(tr_cuda_blocks(rows, COLUMN_ROWS) * width) * sizeof(float);
}

uint64_t tr_cuda_plan_product(tr_dtype dtype, int64_t rows, int64_t out, int64_t in, bool backward)
{
    uint64_t bytes = backward ? tr_cuda_plan_columns(rows, out) : 0;
    if (dtype == TR_BF16) { /* operands as bf16: x, dy, or both */
        bytes = larger(bytes, (uint64_t)(rows * in) * 2);
        const int64_t first = (rows * out + 63) / 64 * 64;
        bytes = backward ? larger(bytes, (uint64_t)(first + rows * in) * 2) : bytes;
    }
    return bytes;
}

uint64_t tr_cuda_plan_decode(tr_dtype dtype, const tr_attention_shape *shape, int64_t rows, int64_t prompt_tokens,
                             int64_t response_tokens)
{
    const int64_t splits = tr_cuda_bucket(tr_cuda_blocks(prompt_tokens, MMA_SPLIT), 1) +
                           tr_cuda_bucket(tr_cuda_blocks(response_tokens, MMA_SPLIT), 1);
    return dtype == TR_BF16 && tr_cuda_side(shape->head_dim)
               ? (uint64_t)(splits * rows * shape->heads * (shape->head_dim + 2)) * sizeof(float)
               : 0;
}

uint64_t tr_cuda_plan_squares(int64_t count)
{
    return (uint64_t)tr_cuda_blocks(count, SQUARES_BLOCK) * sizeof(double);
}
