/* attention.c: the rate of packed-group attention, forward and backward, in GFLOP/s, beside a linear product.
 * Modules: tensor
 *
 * Counts the multiply-adds that attention must do (causal pairs only; 2 products forward, 5 backward; the kernel
 * executes 7 where its kv heads do not share out among the threads). Needs nothing but the library.
 * Usage: bench_attention [VARIANT]. */
#include "base/thread.h"
#include "tensor/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *noise(int64_t count)
{
    float *x = malloc((size_t)count * sizeof *x);
    for (int64_t i = 0; x && i < count; i++) {
        x[i] = (float)((i * 7919) % 2001 - 1000) * 1e-3f;
    }
    return x;
}

static void group(const tr_ops *ops, int64_t prompt, int64_t heads, int64_t kv_heads, int64_t head_dim)
{
    const tr_attention_shape shape = {heads, kv_heads, head_dim, 0.1f};
    const int64_t start[5] = {prompt, prompt + 100, prompt + 200, prompt + 300, prompt + 400}, rows = prompt + 400;
    const tr_layout layout = {prompt, 4, start};
    double pairs = 0.5 * (double)prompt * (double)prompt + 4.0 * 100.0 * ((double)prompt + 50.0);
    double product = 2.0 * pairs * (double)(heads * head_dim) * 1e-9;
    int64_t wide = rows * heads * head_dim, narrow = rows * kv_heads * head_dim;
    float *q = noise(wide), *k = noise(narrow), *v = noise(narrow), *o = noise(wide), *lse = noise(rows * heads);
    float *dq = noise(wide), *dk = noise(narrow), *dv = noise(narrow), *dout = noise(wide);
    float *work = noise(ops->group_attention_work(&shape, &layout, true));
    double best[2] = {1e9, 1e9};
    for (int repeat = 0; repeat < 5; repeat++) {
        double t0 = now_s();
        ops->group_attention_forward(o, lse, q, k, v, &shape, &layout, work);
        double t1 = now_s();
        ops->group_attention_backward(dq, dk, dv, dout, o, lse, q, k, v, &shape, &layout, work);
        double t2 = now_s();
        best[0] = t1 - t0 < best[0] ? t1 - t0 : best[0];
        best[1] = t2 - t1 < best[1] ? t2 - t1 : best[1];
    }
    printf(
        "%-8s prompt %5ld heads %2ld/%ld x %3ld: forward %7.2f ms %6.1f GFLOP/s, backward %7.2f ms %6.1f GFLOP/s\n",
        ops->name, (long)prompt, (long)heads, (long)kv_heads, (long)head_dim, best[0] * 1e3,
        2.0 * product / best[0], best[1] * 1e3, 5.0 * product / best[1]);
    free(q), free(k), free(v), free(o), free(lse), free(dq), free(dk), free(dv), free(dout), free(work);
}

static void product(const tr_ops *ops)
{
    const int64_t rows = 1024, d = 1024;
    float *x = noise(rows * d), *y = noise(rows * d);
    tr_matrix w = {TR_F32, d, d, noise(tr_matrix_elements(d, d))};
    double best = 1e9;
    for (int repeat = 0; repeat < 5; repeat++) {
        double t0 = now_s();
        ops->linear_forward(y, x, &w, NULL, rows);
        double t = now_s() - t0;
        best = t < best ? t : best;
    }
    printf("%-8s linear 1024^3: %.1f GFLOP/s\n", ops->name, 2e-9 * (double)(rows * d * d) / best);
    free(x), free(y), free(w.panels);
}

int main(int argc, char **argv)
{
    const tr_ops *ops;
    tr_error err = {0};
    if (tr_ops_cpu(argc > 1 ? argv[1] : NULL, &ops, &err) != TR_OK) {
        fprintf(stderr, "bench_attention: %s\n", err.message);
        return 1;
    }
    printf("threads %d\n", tr_threads_count());
    product(ops);
    group(ops, 1600, 8, 2, 128);
    group(ops, 1600, 16, 2, 128);
    group(ops, 400, 16, 16, 80);
    group(ops, 400, 8, 4, 64);
    return 0;
}
