/* cpu.c: picks the CPU's table of operations at run time. */
#include "tensor/ops.h"
#include "tensor/reference/reference.h"

#include <stdlib.h>
#include <string.h>

extern const tr_ops tr_cpu_table_scalar, tr_cpu_table_avx2, tr_cpu_table_avx512;

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
        return tr_fail(err, TR_UNSUPPORTED, NULL, "the kernels need a CPU with %s; \"reference\" runs without it",
                       v[2].lacks);
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
    return tr_fail(err, TR_INVALID, from, "unknown kernels \"%s\"; there are scalar, avx2, avx512 and reference",
                   name);
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
