/* cpu.c: picks the CPU's table of operations at run time. */
#include "tensor/cpu/parallel.h"
#include "tensor/ops.h"
#include "tensor/reference/reference.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

int64_t tr_cpu_steps_worth_threads = 100000;

extern const tr_ops tr_cpu_table_scalar, tr_cpu_table_avx2, tr_cpu_table_avx512;

/* What bf16 arithmetic computes otherwise than avx512 (isa_linear.c and isa_softmax.c, compiled once more). */
void tr_cpu_linear_forward_avx512bf16(float *y, const float *x, const tr_matrix *w, const float *bias,
                                      int64_t rows);
void tr_cpu_linear_backward_input_avx512bf16(float *dx, const float *dy, const tr_matrix *w, int64_t rows,
                                             bool add);
void tr_cpu_head_forward_avx512bf16(float *logp, float *entropy, float *lse, const float *x, const tr_matrix *head,
                                    const int32_t *ids, int64_t rows, float temperature, int64_t tile, float *work);
void tr_cpu_head_backward_avx512bf16(float *dx, float *dhead_panels, const float *x, const tr_matrix *head,
                                     const int32_t *ids, const float *dlogp, const float *dentropy,
                                     const float *lse, const float *entropy, int64_t rows, float temperature,
                                     int64_t tile, float *work);

static tr_ops bf16_table;
static pthread_once_t bf16_once = PTHREAD_ONCE_INIT;

static void make_bf16_table(void)
{
    bf16_table = tr_cpu_table_avx512;
    bf16_table.name = "avx512bf16";
    bf16_table.linear_forward = tr_cpu_linear_forward_avx512bf16;
    bf16_table.linear_backward_input = tr_cpu_linear_backward_input_avx512bf16;
    bf16_table.head_forward = tr_cpu_head_forward_avx512bf16;
    bf16_table.head_backward = tr_cpu_head_backward_avx512bf16;
}

typedef struct variant {
    const tr_ops *table;
    const char *lacks; /* what this CPU lacks for it, or NULL */
} variant;

enum { VARIANTS = 4 };

static const char *lacking_fma(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("fma") ? NULL : "FMA";
}

static const char *lacking_avx2(void)
{
    return lacking_fma() ? "FMA" : __builtin_cpu_supports("avx2") ? NULL : "AVX2";
}

static const char *lacking_avx512(void)
{
    const char *lacks = lacking_avx2();
    if (lacks) {
        return lacks;
    }
    return !__builtin_cpu_supports("avx512f")    ? "AVX-512F"
           : !__builtin_cpu_supports("avx512bw") ? "AVX-512BW"
           : !__builtin_cpu_supports("avx512vl") ? "AVX-512VL"
           : !__builtin_cpu_supports("avx512dq") ? "AVX-512DQ"
                                                 : NULL;
}

static const char *lacking_bf16(void)
{
    const char *lacks = lacking_avx512();
    return lacks ? lacks : __builtin_cpu_supports("avx512bf16") ? NULL : "AVX-512 BF16";
}

/* Only where it is asked for by name: its sums are not those of the others. */
static tr_status bf16_arithmetic(const char *from, const tr_ops **ops, tr_error *err)
{
    const char *lacks = lacking_bf16();
    if (lacks) {
        return tr_fail(err, TR_UNSUPPORTED, from, "the avx512bf16 kernels need %s, which this CPU lacks", lacks);
    }
    pthread_once(&bf16_once, make_bf16_table);
    *ops = &bf16_table;
    return TR_OK;
}

/* Widest first, the reference last. */
static void list(variant v[VARIANTS])
{
    v[0] = (variant){&tr_cpu_table_avx512, lacking_avx512()};
    v[1] = (variant){&tr_cpu_table_avx2, lacking_avx2()};
    v[2] = (variant){&tr_cpu_table_scalar, lacking_fma()};
    v[3] = (variant){&tr_reference_table, NULL};
}

tr_status tr_ops_cpu(const char *name, const tr_ops **ops, tr_error *err)
{
    variant v[VARIANTS];
    list(v);
    *ops = NULL;
    const char *from = NULL;
    if (!name) {
        name = getenv("TEMPR1_ISA");
        from = "TEMPR1_ISA";
    }
    if (!name || !*name) {
        for (int i = 0; i < 3; i++) {
            if (!v[i].lacks) {
                *ops = v[i].table;
                return TR_OK;
            }
        }
        return tr_fail(err, TR_UNSUPPORTED, NULL,
                       "the kernels need a CPU with %s; TEMPR1_ISA=reference, the plain code, runs without it",
                       v[2].lacks);
    }
    if (strcmp(name, "avx512bf16") == 0) {
        return bf16_arithmetic(from, ops, err);
    }
    for (int i = 0; i < VARIANTS; i++) {
        if (strcmp(name, v[i].table->name) == 0) {
            if (v[i].lacks) {
                return tr_fail(err, TR_UNSUPPORTED, from, "the %s kernels need %s, which this CPU lacks", name,
                               v[i].lacks);
            }
            *ops = v[i].table;
            return TR_OK;
        }
    }
    return tr_fail(err, TR_INVALID, from,
                   "unknown kernels \"%s\"; there are scalar, avx2, avx512, avx512bf16 and reference", name);
}

int tr_ops_cpu_variants(const char *names[4])
{
    variant v[VARIANTS];
    list(v);
    int count = 0;
    for (int i = 0; i < VARIANTS; i++) {
        if (!v[i].lacks) {
            names[count++] = v[i].table->name;
        }
    }
    return count;
}
