/* cuda_fixture.h: operations of the GPU's tables in tests: tensors go to the device between sentinels, run there,
 * and come back. The same tests run over the emulated device (always) and on a GPU (make test-cuda). */
#ifndef TR_TESTS_CUDA_FIXTURE_H
#define TR_TESTS_CUDA_FIXTURE_H

#include "tensor/cuda/device.h"
#include "tensor/ops_fixture.h"

enum { TENSORS_MAX = 128 };

static struct {
    float *memory[TENSORS_MAX];
    int64_t count[TENSORS_MAX];
    int used;
} tensors;

/* The table; on a machine without a GPU the tests of the real device are skipped, each counted. */
static __attribute__((unused)) const tr_ops *table_of(tr_dtype dtype)
{
#ifdef TEMPR1_TEST_GPU
    const tr_ops *ops;
    tr_error err = {0};
    if (tr_ops_cuda(0, dtype, &ops, &err)) {
        printf("SKIP: no GPU: %s\n", err.message);
        skip();
    }
    return ops;
#else
    return dtype == TR_BF16 ? &tr_cuda_table_bf16 : &tr_cuda_table_f32;
#endif
}

/* count floats on the device between two guards; from NULL: all sentinels. */
static __attribute__((unused)) float *on_device(const float *from, int64_t count)
{
    void *memory;
    tr_error err = {0};
    const int64_t n = count + 2 * GUARD;
    float *host = malloc((size_t)n * sizeof *host);
    assert_non_null(host);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = sentinel((int)(i % 1000));
        memcpy(host + i, &bits, sizeof bits);
    }
    if (from) {
        memcpy(host + GUARD, from, (size_t)count * sizeof *host);
    }
    assert_int_equal(tr_cuda_take(&memory, (size_t)n * sizeof *host, false, &err), TR_OK);
    tr_cuda_write(memory, host, (size_t)n * sizeof *host);
    free(host);
    assert_true(tensors.used < TENSORS_MAX);
    tensors.memory[tensors.used] = memory;
    tensors.count[tensors.used++] = count;
    return (float *)memory + GUARD;
}

/* A copy on the host, which release() frees. */
static __attribute__((unused)) float *from_device(const float *x, int64_t count)
{
    float *host = buffer(count);
    tr_cuda_read(host, x, (size_t)count * sizeof *host);
    return host;
}

/* Guards of all tensors, errors of the device; frees everything, the host's buffers too. */
static __attribute__((unused)) void finish(void)
{
    tr_error err = {0};
    if (tr_cuda_check(&err)) {
        fail_msg("device: %s", err.message);
    }
    for (int t = 0; t < tensors.used; t++) {
        float guard[2 * GUARD];
        tr_cuda_read(guard, tensors.memory[t], GUARD * sizeof *guard);
        tr_cuda_read(guard + GUARD, tensors.memory[t] + GUARD + tensors.count[t], GUARD * sizeof *guard);
        for (int64_t i = 0; i < 2 * GUARD; i++) {
            uint32_t bits;
            memcpy(&bits, guard + i, sizeof bits);
            if (bits != sentinel((int)((i < GUARD ? i : i + tensors.count[t]) % 1000))) {
                fail_msg("tensor %d of %ld floats: written outside at %ld", t, (long)tensors.count[t], (long)i);
            }
        }
    }
    for (int t = 0; t < tensors.used; t++) {
        tr_cuda_give(tensors.memory[t]);
    }
    tensors.used = 0;
    release();
}

/* A weight both as the CPU's panels and as the device's rows, made of the same row-major values. */
typedef struct weight {
    tr_matrix cpu, device;
} weight;

static __attribute__((unused)) weight make_weight(const tr_ops *ops, tr_dtype dtype, int64_t out, int64_t in,
                                                  const float *rows)
{
    const int64_t elements = tr_matrix_elements(out, in);
    weight w = {{dtype, out, in, zeros(elements)}, {dtype, out, in, on_device(NULL, elements)}};
    memset(w.cpu.panels, 0, (size_t)elements * tr_dtype_size(dtype));
    tr_matrix_pack(&w.cpu, rows, TR_F32, 0, out);
    ops->memory->pack(&w.device, rows, TR_F32, 0, out);
    return w;
}

/* Row-major values of f32 panels of the CPU. */
static __attribute__((unused)) float *rows_of_panels(const float *panels, int64_t out, int64_t in)
{
    const tr_matrix m = {TR_F32, out, in, (void *)(uintptr_t)panels};
    float *rows = buffer(out * in);
    tr_matrix_unpack(&m, rows, TR_F32, 0, out);
    return rows;
}

/* The CPU's table whose bits all variants share. */
static __attribute__((unused)) const tr_ops *cpu_table(void)
{
    const tr_ops *ops;
    tr_error err = {0};
    assert_int_equal(tr_ops_cpu("scalar", &ops, &err), TR_OK);
    return ops;
}

/* Values rounded to bf16, in place. */
static __attribute__((unused)) float *rounded(float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint16_t half;
        tr_convert(&half, TR_BF16, x + i, TR_F32, 1);
        tr_convert(x + i, TR_F32, &half, TR_BF16, 1);
    }
    return x;
}

#endif
