/* ceiling.c: what this GPU reaches at best: one large bf16 product by the same cuBLASLt choice as the network's,
 * and one large copy. Random operands: on zeros the chip is faster than on data. Medians of repeated runs by
 * events. */
#include "tensor/cuda/gpu.h"
#include "tensor/cuda/products.h"
#include "tensor/cuda/table.h"

#include <stdlib.h>

enum { SIDE = 8192, REPEATS = 21, COPY_BYTES = 1 << 30 };

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The median milliseconds of a product (form 0) or a copy (1), after one run that is not counted; negative: failed.
 */
static float median_ms(int form, float *c, uint16_t *a, uint16_t *b)
{
    cudaEvent_t begin = NULL, end = NULL;
    float ms[REPEATS] = {0};
    bool good = !cudaEventCreate(&begin) && !cudaEventCreate(&end);
    for (int i = -1; good && i < REPEATS; i++) {
        cudaEventRecord(begin, tr_gpu_stream());
        if (form == 0) {
            tr_cuda_product_bf16(TR_CUDA_FORWARD, c, a, b, NULL, SIDE, SIDE, SIDE);
        } else {
            tr_cuda_copy((char *)c + COPY_BYTES, c, COPY_BYTES);
        }
        cudaEventRecord(end, tr_gpu_stream());
        good = !cudaEventSynchronize(end) && !cudaEventElapsedTime(&ms[i < 0 ? 0 : i], begin, end);
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    qsort(ms, REPEATS, sizeof *ms, compare);
    return good ? ms[REPEATS / 2] : -1;
}

tr_status tr_cuda_ceiling(double *product_tflops, double *copy_gb_per_s, tr_error *err)
{
    const size_t operand = (size_t)SIDE * SIDE * sizeof(uint16_t);
    uint16_t *host = malloc(operand);
    void *a = NULL, *b = NULL, *c = NULL;
    uint32_t state = 1;
    float product, copied;
    tr_status status;
    if (!host) {
        return tr_fail(err, TR_MEMORY, "device", "out of memory for the measurement of the device's ceiling");
    }
    TR_TRY(tr_products_open(err));
    TR_TRY(tr_cuda_take(&a, operand, false, err));
    TR_TRY(tr_cuda_take(&b, operand, false, err));
    TR_TRY(tr_cuda_take(&c, 2 * (size_t)COPY_BYTES, true, err));
    for (size_t i = 0; i < (size_t)SIDE * SIDE; i++) { /* random fractions and signs, exponents of 0.5 to 2 */
        state = state * 1664525u + 1013904223u;
        host[i] = (uint16_t)((state >> 16 & 0x80FFu) | 0x3F00u);
    }
    tr_cuda_write(a, host, operand);
    tr_cuda_write(b, host, operand);
    product = median_ms(0, c, a, b);
    copied = median_ms(1, c, a, b);
    TR_TRY(tr_cuda_check(err));
    if (!(product > 0) || !(copied > 0)) {
        status = tr_fail(err, TR_UNSUPPORTED, "device", "the device's ceiling could not be measured");
        goto done;
    }
    *product_tflops = 2.0 * SIDE * SIDE * SIDE / ((double)product * 1e9);
    *copy_gb_per_s = 2.0 * COPY_BYTES / ((double)copied * 1e6); /* read and written */
done:
    tr_cuda_give(c);
    tr_cuda_give(b);
    tr_cuda_give(a);
    free(host);
    return status;
}
