/* linear.c: the three matrix products beside oneDNN, and the small ones of decoding beside the read bandwidth.
 * Modules: tensor
 *
 * Every line alternates ours and oneDNN's in the same run and prints medians: oneDNN gets its weights reordered
 * beforehand (forward, dX) and overwrites, ours accumulates. With one thread the clock is the thread's processor
 * time, so that a busy machine disturbs less; with more it is the wall's. Built without oneDNN the columns say n/a.
 * Usage: bench_linear [--shape xs|s|m] [--product forward|dx|dw|decode] [--repeats N]; the kernels are
 * $TEMPR1_ISA's; with avx512bf16 and bf16 weights oneDNN computes in bf16 too. */
#include "base/thread.h"
#include "tensor/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(TEMPR1_BENCH_DNNL)
#include <dnnl.h>
#endif

enum { REPEATS_MAX = 64 };

typedef struct shape {
    const char *name;
    int64_t rows, in, out;
} shape;

/* The layers of ../shared/bench's checkpoints: attention, MLP and vision, at the rows of a prompt or a packed
 * group. */
static const shape shapes[] = {
    {"xv", 6144, 320, 960},  {"xv", 6144, 320, 320},   {"xv", 6144, 320, 856},  {"xv", 6144, 856, 320},
    {"xv", 6144, 1176, 320}, {"xv", 1536, 1280, 1280}, {"xs", 1600, 512, 512},  {"xs", 2112, 512, 1408},
    {"xs", 2112, 1408, 512}, {"xs", 6144, 320, 856},   {"s", 1600, 1024, 1024}, {"s", 2112, 1024, 2816},
    {"s", 2112, 2816, 1024}, {"s", 6144, 640, 1712},   {"m", 1088, 2048, 2048}, {"m", 832, 2048, 11008},
    {"m", 832, 11008, 2048}, {"m", 3072, 1280, 3420},  {"xs", 208, 896, 1408},
};

static const int64_t decode_rows[] = {1, 2, 4, 8, 16};

static int repeats = 5;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(tr_threads_count() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int count)
{
    qsort(x, (size_t)count, sizeof *x, by_size);
    return x[count / 2];
}

static void *memory(int64_t bytes)
{
    void *p = aligned_alloc(64, ((size_t)bytes + 63) / 64 * 64);
    if (!p) {
        fprintf(stderr, "bench_linear: no memory for %ld bytes\n", (long)bytes);
        exit(1);
    }
    return p;
}

static float *noise(int64_t count)
{
    float *x = memory(count * (int64_t)sizeof *x);
    for (int64_t i = 0; i < count; i++) {
        x[i] = (float)((i * 7919) % 2001 - 1000) * 1e-3f;
    }
    return x;
}

/* ---- oneDNN: c[m, n] = a[m, k] b[k, n], b reordered beforehand to what the library asks for, or as it is ---- */

typedef struct peer {
#if defined(TEMPR1_BENCH_DNNL)
    dnnl_primitive_t run;
    dnnl_stream_t stream;
    dnnl_exec_arg_t args[3];
#endif
    int there;
} peer;

#if defined(TEMPR1_BENCH_DNNL)
static void must(dnnl_status_t status)
{
    if (status != dnnl_success) {
        fprintf(stderr, "bench_linear: oneDNN status %d\n", (int)status);
        exit(1);
    }
}

static dnnl_engine_t engine(void)
{
    static dnnl_engine_t e;
    if (!e) {
        must(dnnl_engine_create(&e, dnnl_cpu, 0));
    }
    return e;
}

#if DNNL_VERSION_MAJOR >= 3
#error "bench/linear.c is written for oneDNN 2"
#endif

static peer peer_make(int bf16, int64_t m, int64_t k, int64_t n, float *a, int a_transposed, float *b,
                      int b_transposed, int pack, float *c)
{
    peer p = {.there = 1};
    dnnl_dims_t sa = {m, k}, sb = {k, n}, sc = {m, n};
    dnnl_data_type_t type = bf16 ? dnnl_bf16 : dnnl_f32;
    dnnl_memory_desc_t da, db, dplain, dc;
    dnnl_matmul_desc_t what;
    dnnl_primitive_desc_t made, copy_made;
    must(dnnl_stream_create(&p.stream, engine(), dnnl_stream_default_flags));
    must(dnnl_memory_desc_init_by_tag(&da, 2, sa, type, a_transposed ? dnnl_ba : dnnl_ab));
    must(dnnl_memory_desc_init_by_tag(&dplain, 2, sb, type, b_transposed ? dnnl_ba : dnnl_ab));
    must(dnnl_memory_desc_init_by_tag(&db, 2, sb, type,
                                      pack           ? dnnl_format_tag_any
                                      : b_transposed ? dnnl_ba
                                                     : dnnl_ab));
    must(dnnl_memory_desc_init_by_tag(&dc, 2, sc, bf16 ? dnnl_f32 : type, dnnl_ab));
    must(dnnl_matmul_desc_init(&what, &da, &db, NULL, &dc));
    if (dnnl_primitive_desc_create(&made, &what, NULL, engine(), NULL) != dnnl_success) {
        return (peer){0};
    }
    const dnnl_memory_desc_t *wanted = dnnl_primitive_desc_query_md(made, dnnl_query_weights_md, 0);
    dnnl_memory_t ma, mb, mplain, mc;
    must(dnnl_memory_create(&ma, &da, engine(), a));
    must(dnnl_memory_create(&mplain, &dplain, engine(), b));
    must(dnnl_memory_create(&mb, wanted, engine(), DNNL_MEMORY_ALLOCATE));
    must(dnnl_memory_create(&mc, &dc, engine(), c));
    dnnl_primitive_t copy;
    must(dnnl_reorder_primitive_desc_create(&copy_made, &dplain, engine(), wanted, engine(), NULL));
    must(dnnl_primitive_create(&copy, copy_made));
    must(dnnl_primitive_create(&p.run, made));
    dnnl_exec_arg_t move[2] = {{DNNL_ARG_FROM, mplain}, {DNNL_ARG_TO, mb}};
    must(dnnl_primitive_execute(copy, p.stream, 2, move));
    must(dnnl_stream_wait(p.stream));
    p.args[0] = (dnnl_exec_arg_t){DNNL_ARG_SRC, ma};
    p.args[1] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, mb};
    p.args[2] = (dnnl_exec_arg_t){DNNL_ARG_DST, mc};
    return p;
}

static void peer_run(const peer *p)
{
    if (p->there) {
        must(dnnl_primitive_execute(p->run, p->stream, 3, p->args));
        must(dnnl_stream_wait(p->stream));
    }
}

static void peer_free(peer *p)
{
    if (p->there) {
        dnnl_primitive_destroy(p->run);
        dnnl_stream_destroy(p->stream);
        for (int i = 0; i < 3; i++) {
            dnnl_memory_destroy(p->args[i].memory);
        }
    }
}
#else
static peer peer_make(int bf16, int64_t m, int64_t k, int64_t n, float *a, int a_transposed, float *b,
                      int b_transposed, int pack, float *c)
{
    (void)bf16, (void)m, (void)k, (void)n, (void)a, (void)a_transposed, (void)b, (void)b_transposed, (void)pack,
        (void)c;
    return (peer){0};
}

static void peer_run(const peer *p)
{
    (void)p;
}

static void peer_free(peer *p)
{
    (void)p;
}
#endif

/* ---- ours ---- */

typedef enum product { FORWARD, DX, DW } product;
static const char *const product_names[] = {"forward", "dx", "dw"};

typedef struct job {
    const tr_ops *ops;
    product what;
    int64_t rows, in, out;
    float *x, *dy, *y, *dx, *dw, *plain; /* plain: [out, in] for the peer */
    tr_matrix w;
    float *narrow[3]; /* x, dy, plain in bf16, where the peer takes them so */
} job;

static void run(const job *j)
{
    if (j->what == FORWARD) {
        j->ops->linear_forward(j->y, j->x, &j->w, NULL, j->rows);
    } else if (j->what == DX) {
        j->ops->linear_backward_input(j->dx, j->dy, &j->w, j->rows, true);
    } else {
        j->ops->linear_backward_weight(j->dw, NULL, j->dy, j->x, j->rows, j->out, j->in);
    }
}

static job job_make(const tr_ops *ops, const shape *s, tr_dtype dtype)
{
    job j = {.ops = ops, .rows = s->rows, .in = s->in, .out = s->out};
    int64_t elements = tr_matrix_elements(s->out, s->in);
    j.x = noise(s->rows * s->in);
    j.dy = noise(s->rows * s->out);
    j.y = noise(s->rows * s->out);
    j.dx = noise(s->rows * s->in);
    j.dw = noise(elements);
    j.plain = noise(s->out * s->in);
    j.w = (tr_matrix){dtype, s->out, s->in, memory(elements * (int64_t)tr_dtype_size(dtype))};
    tr_matrix_pack(&j.w, j.plain, TR_F32, 0, s->out);
    return j;
}

static void job_free(job *j)
{
    free(j->x), free(j->dy), free(j->y), free(j->dx), free(j->dw), free(j->plain), free(j->w.panels);
    free(j->narrow[0]), free(j->narrow[1]), free(j->narrow[2]);
}

/* count floats rounded to bf16, for the peer; the caller frees. */
static float *narrowed(const float *x, int64_t count)
{
    float *y = memory(count * 2);
    tr_convert(y, TR_BF16, x, TR_F32, count);
    return y;
}

/* The peer in bf16 arithmetic where ours is. It reads its inputs when it runs: they live as long as the job. */
static peer peer_of(job *j, float *c)
{
    const int bf16 = j->w.dtype == TR_BF16 && !strcmp(j->ops->name, "avx512bf16");
    if (bf16) {
        j->narrow[0] = narrowed(j->x, j->rows * j->in);
        j->narrow[1] = narrowed(j->dy, j->rows * j->out);
        j->narrow[2] = narrowed(j->plain, j->out * j->in);
    }
    float *x = bf16 ? j->narrow[0] : j->x, *dy = bf16 ? j->narrow[1] : j->dy, *w = bf16 ? j->narrow[2] : j->plain;
    if (j->what == FORWARD) {
        return peer_make(bf16, j->rows, j->in, j->out, x, 0, w, 1, 1, c);
    }
    if (j->what == DX) {
        return peer_make(bf16, j->rows, j->out, j->in, dy, 0, w, 0, 1, c);
    }
    return peer_make(0, j->out, j->rows, j->in, j->dy, 1, j->x, 0, 0, c);
}

static void compare(const tr_ops *ops, const shape *s, product what, tr_dtype dtype)
{
    job j = job_make(ops, s, dtype);
    j.what = what;
    float *c = noise(what == FORWARD ? s->rows * s->out : what == DX ? s->rows * s->in : s->out * s->in);
    peer p = peer_of(&j, c);
    double ours[REPEATS_MAX], theirs[REPEATS_MAX], flop = 2e-9 * (double)s->rows * (double)s->in * (double)s->out;
    run(&j);
    peer_run(&p);
    for (int i = 0; i < repeats; i++) {
        double t0 = now_s();
        run(&j);
        double t1 = now_s();
        peer_run(&p);
        double t2 = now_s();
        ours[i] = t1 - t0;
        theirs[i] = t2 - t1;
    }
    double a = median(ours, repeats), b = median(theirs, repeats);
    printf("%-2s %-7s %-4s rows %5ld in %5ld out %6ld  ours %7.1f GFLOP/s", s->name, product_names[what],
           tr_dtype_name(dtype), (long)s->rows, (long)s->in, (long)s->out, flop / a);
    if (p.there) {
        printf("  oneDNN %7.1f  ratio %.2f\n", flop / b, b / a);
    } else {
        printf("  oneDNN     n/a\n");
    }
    fflush(stdout);
    peer_free(&p);
    free(c);
    job_free(&j);
}

/* ---- decoding: few rows, weights read once from memory ---- */

static double total;

/* All bytes read once by every thread's share, eight sums so that latency hides. */
static void read_all(const float *x, int64_t count)
{
    double all = 0;
#pragma omp parallel reduction(+ : all)
    {
        float s[8][16] = {{0}};
#pragma omp for schedule(static)
        for (int64_t i = 0; i < count / 128; i++) {
            for (int j = 0; j < 8; j++) {
                for (int l = 0; l < 16; l++) {
                    s[j][l] += x[i * 128 + j * 16 + l];
                }
            }
        }
        for (int j = 0; j < 8; j++) {
            all += (double)s[j][0] + (double)s[j][15];
        }
    }
    total += all;
}

static void decode(const tr_ops *ops, tr_dtype dtype)
{
    enum { LAYERS = 6, IN = 2048, OUT = 11008 };
    int64_t elements = tr_matrix_elements(OUT, IN), size = (int64_t)tr_dtype_size(dtype);
    float *plain = noise((int64_t)IN * OUT), *x = noise(16 * IN), *y = noise(16 * OUT);
    char *all = memory(LAYERS * elements * size);
    tr_matrix w[LAYERS];
    for (int l = 0; l < LAYERS; l++) {
        w[l] = (tr_matrix){dtype, OUT, IN, all + l * elements * size};
        tr_matrix_pack(&w[l], plain, TR_F32, 0, OUT);
    }
    double bytes = 1e-9 * (double)(LAYERS * elements * size);
    for (size_t i = 0; i < sizeof decode_rows / sizeof *decode_rows; i++) {
        double ours[REPEATS_MAX], ceiling[REPEATS_MAX];
        for (int r = 0; r < repeats; r++) {
            double t0 = now_s();
            for (int l = 0; l < LAYERS; l++) {
                ops->linear_forward(y, x, &w[l], NULL, decode_rows[i]);
            }
            double t1 = now_s();
            read_all((const float *)(void *)all, LAYERS * elements * size / 4);
            double t2 = now_s();
            ours[r] = t1 - t0;
            ceiling[r] = t2 - t1;
        }
        double a = median(ours, repeats), b = median(ceiling, repeats);
        printf("m  decode  %-4s rows %5ld in %5d out %6d  ours %7.2f GB/s     read   %7.2f  ratio %.2f\n",
               tr_dtype_name(dtype), (long)decode_rows[i], IN, OUT, bytes / a, bytes / b, b / a);
        fflush(stdout);
    }
    free(plain), free(x), free(y), free(all);
}

int main(int argc, char **argv)
{
    const char *only_shape = NULL, *only_product = NULL, *only_dtype = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--shape")) {
            only_shape = argv[i + 1];
        } else if (!strcmp(argv[i], "--product")) {
            only_product = argv[i + 1];
        } else if (!strcmp(argv[i], "--dtype")) {
            only_dtype = argv[i + 1];
        } else if (!strcmp(argv[i], "--repeats") && atoi(argv[i + 1]) > 0 && atoi(argv[i + 1]) <= REPEATS_MAX) {
            repeats = atoi(argv[i + 1]);
        } else {
            fprintf(stderr,
                    "usage: bench_linear [--shape xs|s|m] [--product forward|dx|dw|decode] [--dtype F32|BF16] "
                    "[--repeats 1..64]\n");
            return 2;
        }
    }
    const tr_ops *ops;
    tr_error err = {0};
    if (tr_ops_cpu(NULL, &ops, &err) != TR_OK) {
        fprintf(stderr, "bench_linear: %s\n", err.message);
        return 1;
    }
    printf("kernels %s, threads %d\n", ops->name, tr_threads_count());
    static const tr_dtype dtypes[] = {TR_F32, TR_BF16};
    for (int d = 0; d < 2; d++) {
        if (only_dtype && strcmp(only_dtype, tr_dtype_name(dtypes[d]))) {
            continue;
        }
        for (int what = FORWARD; what <= DW; what++) {
            if ((only_product && strcmp(only_product, product_names[what])) ||
                (what == DW && dtypes[d] != TR_F32)) {
                continue;
            }
            for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
                if (!only_shape || !strcmp(only_shape, shapes[i].name)) {
                    compare(ops, &shapes[i], (product)what, dtypes[d]);
                }
            }
        }
        if ((!only_product || !strcmp(only_product, "decode")) && (!only_shape || !strcmp(only_shape, "m"))) {
            decode(ops, dtypes[d]);
        }
    }
    return total == 0.5 ? 3 : 0; /* the sum must be used */
}
