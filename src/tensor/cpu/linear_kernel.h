/* linear_kernel.h: the register tile of the matrix products, and the copies that feed it.
 *
 * All three products are C += A B with the lanes along a panel of B: a tile of ROWS rows of C by one to PANELS_MAX
 * panels stays in registers while the depth is walked in order by fma. Between blocks of the depth a partial sum
 * rests in C as f32, unchanged; so tile shapes, blocks and threads never show in a result. The copies below only
 * move (or widen, exactly). Included by the isa_linear*.c files only. */
#ifndef TR_TENSOR_CPU_LINEAR_KERNEL_H
#define TR_TENSOR_CPU_LINEAR_KERNEL_H

#include "tensor/cpu/lanes.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/transpose.h"

#include <stdbool.h>
#include <stddef.h>

/* The tile fills the registers: ROWS * PANELS accumulators, PANELS weights, one broadcast. */
#if defined(TR_ISA_avx512)
enum { ROWS = 12, PANELS = 2 }; /* 24 + 2 + 1 of 32 */
#elif defined(TR_ISA_avx2)
enum { ROWS = 6, PANELS = 1 }; /* a lane pair takes two: 12 + 2 + 1 of 16 */
#else
enum { ROWS = 4, PANELS = 1 };
#endif

enum {
    PANELS_MAX = 4,      /* panels side by side when rows are few */
    DEPTH = 256,         /* depth of a slice: a panel's takes 16 KiB of the first-level cache */
    BLOCK = 336,         /* rows of a block, a multiple of ROWS: with DEPTH 357 KiB of the second-level cache */
    STRIDE = DEPTH + 16, /* between copied rows, so that they do not share cache sets */
    TALL_STEP = ROWS * DEPTH + 16 /* between copied tiles, for the same reason */
};

/* How a tile's rows of A lie after copying: FLAT [row][STRIDE], a row's depth side by side; TALL [depth][ROWS]. */
typedef enum form { FLAT, TALL } form;

typedef struct tile {
    float *c; /* first element; rows ldc apart, panels panel_step apart */
    int64_t ldc, panel_step;
    const float *a;
    const void *b; /* panels b_step elements apart, each [depth][16] */
    int64_t b_step;
    int64_t depth;
    const char *ahead; /* what to fetch meanwhile: a line for each depth and panel, so many bytes apart */
    int64_t ahead_depth, ahead_step;
    int used;   /* lanes of the last panel that exist */
    bool fresh; /* sums start at zero, not at what c holds */
} tile;

LANES_INLINE int64_t weight_size(const tr_dtype dtype)
{
    return dtype == TR_F32 ? 4 : 2;
}

LANES_INLINE lanes load_weight(const void *panels, const tr_dtype dtype, int64_t index)
{
    switch (dtype) {
    case TR_BF16:
        return lanes_load_bf16((const uint16_t *)panels + index);
    case TR_F16:
        return lanes_load_f16((const uint16_t *)panels + index);
    default:
        return lanes_load((const float *)panels + index);
    }
}

/* One tile; rows, panels, form and dtype are constants where it is inlined. */
LANES_INLINE void tile_run(const int rows, const int panels, const form layout, const tr_dtype dtype, const tile *t)
{
    const int64_t down = layout == FLAT ? STRIDE : 1, along = layout == TALL ? ROWS : 1;
    const float *a = t->a;
    lanes sum[ROWS][PANELS_MAX];
#pragma GCC unroll UNROLL
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll UNROLL
        for (int p = 0; p < panels; p++) {
            float *c = t->c + i * t->ldc + p * t->panel_step;
            sum[i][p] = t->fresh                                ? lanes_zero()
                        : p < panels - 1 || t->used == TR_PANEL ? lanes_load(c)
                                                                : lanes_load_n(c, t->used);
        }
    }
    for (int64_t k = 0; k < t->depth; k++) {
        lanes w[PANELS_MAX];
#pragma GCC unroll UNROLL
        for (int p = 0; p < panels; p++) {
            w[p] = load_weight(t->b, dtype, p * t->b_step + k * TR_PANEL);
            __builtin_prefetch(t->ahead + p * t->ahead_step + k * t->ahead_depth);
        }
#pragma GCC unroll UNROLL
        for (int i = 0; i < rows; i++) {
            lanes x = lanes_set(a[i * down + k * along]);
#pragma GCC unroll UNROLL
            for (int p = 0; p < panels; p++) {
                sum[i][p] = lanes_fma(x, w[p], sum[i][p]);
            }
        }
    }
#pragma GCC unroll UNROLL
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll UNROLL
        for (int p = 0; p < panels; p++) {
            float *c = t->c + i * t->ldc + p * t->panel_step;
            if (p < panels - 1 || t->used == TR_PANEL) {
                lanes_store(c, sum[i][p]);
            } else {
                lanes_store_n(c, sum[i][p], t->used);
            }
        }
    }
}

/* A kernel is one function for one number of rows; KERNELS makes a table of them, indexed by the rows of the tile.
 * panels(n) gives the panels side by side for n rows. */
typedef void tile_kernel(const tile *t);

#define KERNEL(name, n, panels, layout, dtype)                                                                     \
    static void name##_##n(const tile *t)                                                                          \
    {                                                                                                              \
        tile_run(n, panels(n), layout, dtype, t);                                                                  \
    }
#define KERNELS_4(name, panels, layout, dtype)                                                                     \
    KERNEL(name, 1, panels, layout, dtype)                                                                         \
    KERNEL(name, 2, panels, layout, dtype)                                                                         \
    KERNEL(name, 3, panels, layout, dtype)                                                                         \
    KERNEL(name, 4, panels, layout, dtype)
#define KERNELS_6(name, panels, layout, dtype)                                                                     \
    KERNELS_4(name, panels, layout, dtype)                                                                         \
    KERNEL(name, 5, panels, layout, dtype)                                                                         \
    KERNEL(name, 6, panels, layout, dtype)
#if defined(TR_ISA_avx512)
#define KERNELS(name, panels, layout, dtype)                                                                       \
    KERNELS_6(name, panels, layout, dtype)                                                                         \
    KERNEL(name, 7, panels, layout, dtype)                                                                         \
    KERNEL(name, 8, panels, layout, dtype)                                                                         \
    KERNEL(name, 9, panels, layout, dtype)                                                                         \
    KERNEL(name, 10, panels, layout, dtype)                                                                        \
    KERNEL(name, 11, panels, layout, dtype)                                                                        \
    KERNEL(name, 12, panels, layout, dtype)                                                                        \
    static tile_kernel *const name[ROWS + 1] = {NULL,      name##_1,  name##_2, name##_3, name##_4,                \
                                                name##_5,  name##_6,  name##_7, name##_8, name##_9,                \
                                                name##_10, name##_11, name##_12};
#elif defined(TR_ISA_avx2)
#define KERNELS(name, panels, layout, dtype)                                                                       \
    KERNELS_6(name, panels, layout, dtype)                                                                         \
    static tile_kernel *const name[ROWS + 1] = {NULL, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6};
#else
#define KERNELS(name, panels, layout, dtype)                                                                       \
    KERNELS_4(name, panels, layout, dtype)                                                                         \
    static tile_kernel *const name[ROWS + 1] = {NULL, name##_1, name##_2, name##_3, name##_4};
#endif

/* Panels taken side by side when rows are few: enough independent sums to hide the latency of fma. */
#if defined(TR_ISA_avx512)
#define FEW(rows) ((rows) <= 6 ? 4 : 2)
#elif defined(TR_ISA_avx2)
#define FEW(rows) ((rows) == 1 ? 4 : (rows) <= 3 ? 2 : 1)
#else
#define FEW(rows) 1
#endif
#define ONE(rows) 1
#define FULL(rows) PANELS

KERNELS(flat_one, ONE, FLAT, TR_F32)
KERNELS(flat_full, FULL, FLAT, TR_F32)
KERNELS(tall_one, ONE, TALL, TR_F32)
KERNELS(tall_full, FULL, TALL, TR_F32)
KERNELS(few_f32, FEW, FLAT, TR_F32)
KERNELS(few_bf16, FEW, FLAT, TR_BF16)
KERNELS(few_f16, FEW, FLAT, TR_F16)
KERNELS(few_bf16_one, ONE, FLAT, TR_BF16)
KERNELS(few_f16_one, ONE, FLAT, TR_F16)

/* At most ROWS rows against FEW(rows) panels, or one, as they are stored. */
static inline void few_run(int64_t rows, int64_t panels, tr_dtype dtype, const tile *t)
{
    tile_kernel *const *one = dtype == TR_BF16 ? few_bf16_one : dtype == TR_F16 ? few_f16_one : flat_one;
    tile_kernel *const *few = dtype == TR_BF16 ? few_bf16 : dtype == TR_F16 ? few_f16 : few_f32;
    (panels == 1 ? one : few)[rows](t);
}

/* Fetches rows of C that the next tile will add to: the blocks of C are larger than the second-level cache. */
static inline void fetch_rows(const float *c, int64_t rows, int64_t panels, const tile *t)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t p = 0; p < panels; p++) {
            __builtin_prefetch(c + i * t->ldc + p * t->panel_step, 1);
            __builtin_prefetch(c + i * t->ldc + p * t->panel_step + TR_PANEL - 1, 1);
        }
    }
}

/* All tiles of a block of rows against panels of f32, `panels` at most PANELS. What comes next is fetched a line
 * for each step of the depth, since a burst would hold up the tile's own loads: by the first tile what t says, by
 * the others the elements of C that the next panels will add to. `first`: nobody has fetched what these add to. */
static inline void block_run(int64_t rows, int64_t panels, form layout, tile t, bool first)
{
    tile_kernel *const *kernels = layout == FLAT ? panels == 1 ? flat_one : flat_full
                                  : panels == 1  ? tall_one
                                                 : tall_full;
    const char *next_c = (const char *)(t.c + panels * t.panel_step + TR_PANEL - 1);
    const int64_t row_size = t.ldc * (int64_t)sizeof *t.c;
    for (int64_t i = 0, fetched = 0; i < rows;) {
        int64_t left = rows - i, take = tr_min_i64(left, ROWS);
        if (layout == FLAT && left > ROWS &&
            left < 2 * ROWS) { /* two halves are faster than a whole and a little */
            take = (left + 1) / 2;
        }
        if (first && left > take) {
            fetch_rows(t.c + take * t.ldc, tr_min_i64(left - take, ROWS), panels, &t);
        }
        kernels[take](&t);
        fetched += i > 0 ? t.depth : 0;
        t.ahead = fetched < rows ? next_c + fetched * row_size : t.b;
        t.ahead_depth = fetched < rows ? row_size : 0;
        t.ahead_step = t.panel_step * (int64_t)sizeof *t.c;
        t.a += layout == FLAT ? take * STRIDE : TALL_STEP;
        t.c += take * t.ldc;
        i += take;
    }
}

/* Rows of a block, so that all blocks are about as large: at most BLOCK, a multiple of ROWS. */
static inline int64_t block_size(int64_t rows)
{
    int64_t blocks = tr_max_i64((rows + BLOCK - 1) / BLOCK, 1);
    return tr_max_i64(((rows + blocks - 1) / blocks + ROWS - 1) / ROWS, 1) * ROWS;
}

/* a[i][0..depth) = rows of x. */
LANES_INLINE void copy_flat(float *a, const float *x, int64_t ldx, int64_t rows, int64_t depth)
{
    const int64_t whole = depth / TR_PANEL * TR_PANEL;
    const int tail = (int)(depth - whole);
    for (int64_t i = 0; i < rows; i++, a += STRIDE, x += ldx) {
        for (int64_t k = 0; k < whole; k += TR_PANEL) {
            lanes_store(a + k, lanes_load(x + k));
        }
        if (tail) {
            lanes_store_n(a + whole, lanes_load_n(x + whole, tail), tail);
        }
    }
}

/* a[tile][m][0..ROWS) = x[m][columns of the tile]; columns beyond `columns` are not read and not used. */
LANES_INLINE void copy_tall(float *a, const float *x, int64_t ldx, int64_t columns, int64_t depth)
{
    for (int64_t m = 0; m < depth; m++, x += ldx) {
        float *to = a + m * ROWS;
        int64_t k = 0;
        for (; k + ROWS <= columns; k += ROWS, to += TALL_STEP) {
            memcpy(to, x + k, ROWS * sizeof *a);
        }
        if (k < columns) {
            memcpy(to, x + k, (size_t)(columns - k) * sizeof *a);
        }
    }
}

/* b[m] = 16 columns of dy; lanes beyond `used` are zero. */
LANES_INLINE void copy_columns(float *b, const float *dy, int64_t ldy, int64_t depth, int used)
{
    for (int64_t m = 0; m < depth; m++) {
        lanes_store(b + m * TR_PANEL,
                    used == TR_PANEL ? lanes_load(dy + m * ldy) : lanes_load_n(dy + m * ldy, used));
    }
}

/* b[k] = a slice of a panel of 16-bit weights as f32. */
LANES_INLINE void widen_slice(float *b, const void *panels, const tr_dtype dtype, int64_t first, int64_t depth)
{
    for (int64_t k = 0; k < depth; k++) {
        lanes_store(b + k * TR_PANEL, load_weight(panels, dtype, first + k * TR_PANEL));
    }
}

/* b[n][i] = W[n0 + n, k0 + i] for count outputs (n0 a multiple of 16); inputs beyond `in` are zero. */
LANES_INLINE void transpose_slice(float *b, const tr_matrix *w, const tr_dtype dtype, int64_t n0, int64_t count,
                                  int64_t k0)
{
    int64_t inputs = tr_min_i64(w->in - k0, TR_PANEL);
    for (int64_t n = 0; n < count; n += TR_PANEL) {
        int64_t first = ((n0 + n) / TR_PANEL * w->in + k0) * TR_PANEL;
        lanes square[TR_PANEL];
        for (int i = 0; i < TR_PANEL; i++) {
            square[i] = i < inputs ? load_weight(w->panels, dtype, first + i * TR_PANEL) : lanes_zero();
            __builtin_prefetch(
                (const char *)w->panels + (first + (i + PANELS * TR_PANEL) * TR_PANEL) * weight_size(dtype), 0, 2);
        }
        transpose(b + n * TR_PANEL, square);
    }
}

/* The part of C that a thread computes: panels [first, last) of rows [top, bottom). Threads divide the panels, the
 * rows, or both: whichever leaves the busiest one the least time for a step of the depth, in which it multiplies
 * its tiles and fetches a value for each of its rows and columns (about two of those take as long as one product of
 * lanes). */
typedef struct share {
    int64_t first, last, top, bottom;
} share;

static inline share share_of(int64_t rows, int64_t panels, int64_t self, int64_t threads)
{
    const int64_t groups = (panels + PANELS - 1) / PANELS, tiles = (rows + ROWS - 1) / ROWS;
    int64_t across = threads, least = INT64_MAX;
    for (int64_t a = threads; a > 0; a--) {
        const int64_t down = threads / a, wide = (groups + a - 1) / a * PANELS,
                      high = (tiles + down - 1) / down * ROWS;
        const int64_t cost = 2 * wide * high + wide * TR_PANEL + high;
        if (threads % a == 0 && cost < least) {
            least = cost;
            across = a;
        }
    }
    const int64_t down = threads / across, column = self % across, row = self / across;
    return (share){groups * column / across * PANELS, tr_min_i64(groups * (column + 1) / across * PANELS, panels),
                   tiles * row / down * ROWS, tr_min_i64(tiles * (row + 1) / down * ROWS, rows)};
}

#endif
