/* ceiling.c: what this GPU reaches at best: one large bf16 product by the same cuBLASLt choice as the network's,
 * one large copy, and the reading half of one. Random operands: on zeros the chip is faster than on data. Medians
 * of repeated runs by events, after as many that are not counted: an idle chip starts with a slow clock. */
#include "tensor/cuda/gpu.h"
#include "tensor/cuda/products.h"
#include "tensor/cuda/table.h"

#include <stdlib.h>

enum { SIDE = 8192, REPEATS = 51, WARM = 100, COPY_BYTES = 1 << 30 };

typedef enum kind { PRODUCT, COPY, READ } kind;

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* One run. */
static void launch(kind what, float *c, uint16_t *a, uint16_t *b, double *sums)
{
    const int64_t count = COPY_BYTES / (int64_t)sizeof(float);
    const squares_args squares = {.sum = sums, .x = c, .count = count};
    switch (what) {
    case PRODUCT:
        tr_cuda_product_bf16(TR_CUDA_FORWARD, c, a, b, NULL, SIDE, SIDE, SIDE);
        break;
    case COPY:
        tr_cuda_copy((char *)c + COPY_BYTES, c, COPY_BYTES);
        break;
    case READ:
        tr_cuda_launch_squares(&squares, tr_cuda_grid_of(tr_cuda_blocks(count, SQUARES_BLOCK), 1, 1));
        break;
    }
}

/* The median milliseconds of a kind; negative: failed. */
static float median_ms(kind what, float *c, uint16_t *a, uint16_t *b, double *sums)
{
    cudaEvent_t begin = NULL, end = NULL;
    float ms[REPEATS] = {0};
    bool good = !cudaEventCreate(&begin) && !cudaEventCreate(&end);
    for (int i = -WARM; good && i < REPEATS; i++) {
        cudaEventRecord(begin, tr_gpu_stream());
        launch(what, c, a, b, sums);
        cudaEventRecord(end, tr_gpu_stream());
        good = !cudaEventSynchronize(end) && !cudaEventElapsedTime(&ms[i < 0 ? 0 : i], begin, end);
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    qsort(ms, REPEATS, sizeof *ms, compare);
    return good ? ms[REPEATS / 2] : -1;
}

tr_status tr_cuda_ceiling(tr_cuda_ceilings *ceilings, tr_error *err)
{
    const size_t operand = (size_t)SIDE * SIDE * sizeof(uint16_t);
    uint16_t *host = malloc(operand);
    void *a = NULL, *b = NULL, *c = NULL, *sums = NULL;
    uint32_t state = 1;
    float product, copied, read;
    tr_status status;
    *ceilings = (tr_cuda_ceilings){0, 0, 0};
    if (!host) {
        return tr_fail(err, TR_MEMORY, "device", "out of memory for the measurement of the device's ceiling");
    }
    TR_TRY(tr_products_open(err));
    TR_TRY(tr_cuda_take(&a, operand, false, err));
    TR_TRY(tr_cuda_take(&b, operand, false, err));
    TR_TRY(tr_cuda_take(&c, 2 * (size_t)COPY_BYTES, true, err));
    TR_TRY(tr_cuda_take(&sums,
                        (size_t)tr_cuda_blocks(COPY_BYTES / (int64_t)sizeof(float), SQUARES_BLOCK) * sizeof(double),
                        true, err));
    for (size_t i = 0; i < (size_t)SIDE * SIDE; i++) { /* random fractions and signs, exponents of 0.5 to 2 */
        state = state * 1664525u + 1013904223u;
        host[i] = (uint16_t)((state >> 16 & 0x80FFu) | 0x3F00u);
    }
    tr_cuda_write(a, host, operand);
    tr_cuda_write(b, host, operand);
    product = median_ms(PRODUCT, c, a, b, sums);
    for (size_t at = operand; at + operand <= COPY_BYTES; at += operand) { /* no zeros to copy and read */
        tr_cuda_copy((char *)c + at, c, operand);
    }
    copied = median_ms(COPY, c, a, b, sums);
    read = median_ms(READ, c, a, b, sums);
    TR_TRY(tr_cuda_check(err));
    if (!(product > 0) || !(copied > 0) || !(read > 0)) {
        status = tr_fail(err, TR_UNSUPPORTED, "device", "the device's ceiling could not be measured");
        goto done;
    }
    ceilings->product_tflops = 2.0 * SIDE * SIDE * SIDE / ((double)product * 1e9);
    ceilings->copy_gb_per_s = 2.0 * COPY_BYTES / ((double)copied * 1e6); /* read and written */
    ceilings->read_gb_per_s = 1.0 * COPY_BYTES / ((double)read * 1e6);
done:
    tr_cuda_give(sums);
    tr_cuda_give(c);
    tr_cuda_give(b);
    tr_cuda_give(a);
    free(host);
    return status;
}
