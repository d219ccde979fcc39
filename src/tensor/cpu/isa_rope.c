/* isa_rope.c: rotary embeddings: tables of cosine and sine, and the rotation of pairs (d, d + head_dim / 2).
 *
 * Angles are computed in double and rounded once to f32. The rotation is orthogonal: backward turns by the negative
 * angle. cos, sin [rows, head_dim / 2]; x [rows] at a stride, heads * head_dim values each, in place. */
#include "base/math.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/variant.h"

enum { HALF_MAX = TR_HEAD_DIM_MAX / 2 };

/* One head: low and high are its two halves of `half` values. direction is 1 or -1. */
LANES_INLINE void rotate(float *low, float *high, const float *cosine, const float *sine, int64_t half,
                         float direction)
{
    lanes turn = lanes_set(direction);
    for (int64_t i = 0; i < half; i += 16) {
        int n = (int)tr_min_i64(16, half - i);
        lanes a = n == 16 ? lanes_load(low + i) : lanes_load_n(low + i, n);
        lanes b = n == 16 ? lanes_load(high + i) : lanes_load_n(high + i, n);
        lanes c = n == 16 ? lanes_load(cosine + i) : lanes_load_n(cosine + i, n);
        lanes s = lanes_mul(n == 16 ? lanes_load(sine + i) : lanes_load_n(sine + i, n), turn);
        lanes x = lanes_fma(a, c, lanes_mul(lanes_sub(lanes_zero(), b), s));
        lanes y = lanes_fma(b, c, lanes_mul(a, s));
        if (n == 16) {
            lanes_store(low + i, x);
            lanes_store(high + i, y);
        } else {
            lanes_store_n(low + i, x, n);
            lanes_store_n(high + i, y, n);
        }
    }
}

static void rotate_rows(float *x, const float *cosine, const float *sine, int64_t rows, int64_t heads,
                        int64_t head_dim, int64_t stride, float direction)
{
    int64_t half = head_dim / 2;
#pragma omp parallel for schedule(static) if (tr_worth(rows * heads * head_dim / 4))
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t h = 0; h < heads; h++) {
            float *head = x + i * stride + h * head_dim;
            rotate(head, head + half, cosine + i * half, sine + i * half, half, direction);
        }
    }
}

void TR_VARIANT(rope_forward)(float *x, const float *cos, const float *sin, int64_t rows, int64_t heads,
                              int64_t head_dim, int64_t stride)
{
    rotate_rows(x, cos, sin, rows, heads, head_dim, stride, 1.0f);
}

void TR_VARIANT(rope_backward)(float *dx, const float *cos, const float *sin, int64_t rows, int64_t heads,
                               int64_t head_dim, int64_t stride)
{
    rotate_rows(dx, cos, sin, rows, heads, head_dim, stride, -1.0f);
}

/* Positions of rows along two or three axes: of row i along axis a at[a * axis_step + i * row_step]. Pairs
 * [edge[a], edge[a + 1]) turn with axis a. */
typedef struct places {
    const int32_t *at;
    int64_t axis_step, row_step, edge[4];
    int axes;
} places;

/* cos, sin [rows][half] of position * inverse. Rows of a picture share most positions, and a sine in double is
 * dear: where one of this thread's last rows had the same position, its values are copied. */
static void fill_table(float *cos, float *sin, const places *p, const double *inverse, int64_t rows, int64_t half)
{
    enum { KNOWN = 256 };
#pragma omp parallel if (tr_worth(rows * half * 10))
    {
        int64_t known[3][KNOWN]; /* a row with a position of this remainder, or -1 */
        memset(known, 0xff, sizeof known);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < rows; i++) {
            for (int a = 0; a < p->axes; a++) {
                const int32_t *at = p->at + a * p->axis_step, position = at[i * p->row_step];
                const int64_t first = p->edge[a], count = p->edge[a + 1] - first;
                int64_t *same = &known[a][(uint32_t)position % KNOWN];
                float *c = cos + i * half + first, *s = sin + i * half + first;
                if (*same >= 0 && at[*same * p->row_step] == position) {
                    memcpy(c, cos + *same * half + first, (size_t)count * sizeof *c);
                    memcpy(s, sin + *same * half + first, (size_t)count * sizeof *s);
                    continue;
                }
                for (int64_t f = 0; f < count; f++) {
                    const double angle = (double)position * inverse[first + f];
                    c[f] = (float)tr_math_cos(angle);
                    s[f] = (float)tr_math_sin(angle);
                }
                *same = i;
            }
        }
    }
}

void TR_VARIANT(rope_mrope_table)(float *cos, float *sin, const int32_t *positions, int64_t rows, int64_t head_dim,
                                  const int32_t sections[3], double theta)
{
    double inverse[HALF_MAX];
    const int64_t half = head_dim / 2, first = sections[0], second = first + sections[1];
    for (int64_t f = 0; f < half; f++) {
        inverse[f] = tr_math_pow(theta, -(double)(2 * f) / (double)head_dim);
    }
    const places p = {
        .at = positions, .axis_step = rows, .row_step = 1, .edge = {0, first, second, half}, .axes = 3};
    fill_table(cos, sin, &p, inverse, rows, half);
}

void TR_VARIANT(rope_vision_table)(float *cos, float *sin, const int32_t *coords, int64_t rows, int64_t head_dim,
                                   double theta)
{
    double inverse[HALF_MAX];
    const int64_t half = head_dim / 2, quarter = head_dim / 4;
    for (int64_t f = 0; f < half; f++) {
        int64_t j = f < quarter ? f : f - quarter;
        inverse[f] = tr_math_pow(theta, -(double)(2 * j) / (double)half);
    }
    const places p = {.at = coords, .axis_step = 1, .row_step = 2, .edge = {0, quarter, half}, .axes = 2};
    fill_table(cos, sin, &p, inverse, rows, half);
}
