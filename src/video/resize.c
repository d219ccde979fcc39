/* resize.c: antialiased bicubic resizing of RGB frames, to the bit what the reference computes.
 *
 * The reference's CPU kernel is compiled with contraction, and its loop over the taps of one output is unrolled by
 * vectors of four: the first product starts the sum, products of whole groups of four are rounded and added one by
 * one, and the one to three left over are joined by fused multiply-adds. Both passes and both variants below (AVX2,
 * plain) execute exactly that; vectors run over pixels and channels only. TEMPR1_ISA=scalar selects the plain one.
 */
#include "video/resize.h"
#include "base/buffer.h"
#include "base/memory.h"

#include <immintrin.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 4, ROWS = 4 }; /* of one pixel (red, green, blue, unused); input rows filtered together */

/* For each of `out` positions: the first input, how many, and their weights (`most` per position). */
typedef struct taps {
    int *first, *count;
    float *weight;
    int most;
} taps;

struct tr_video_resizer {
    int height, width, out_height, out_width;
    taps across, down;
    float *wide;   /* [width][ROWS][LANES]: the input rows that are filtered now */
    float *middle; /* [height rounded up to ROWS][out_width][LANES] */
    float *sums;   /* [out_width][LANES] */
    bool vectors;
};

static float bicubic(float x)
{
    const float a = -0.5f;
    x = fabsf(x);
    if (x < 1) {
        return fmaf(fmaf(a + 2, x, -(a + 3)) * x, x, 1);
    }
    return x < 2 ? fmaf(fmaf(x - 5, x, 8), x, -4) * a : 0;
}

static void taps_free(taps *t)
{
    free(t->first);
    free(t->count);
    free(t->weight);
}

static tr_status taps_make(taps *t, int in, int out, tr_error *err)
{
    float scale = (float)in / (float)out, support = scale >= 1 ? 2 * scale : 2,
          inverse = scale >= 1 ? 1 / scale : 1;
    t->most = (int)ceilf(support) * 2 + 1;
    t->first = tr_calloc((size_t)out, sizeof *t->first);
    t->count = tr_calloc((size_t)out, sizeof *t->count);
    t->weight = tr_calloc((size_t)out * (size_t)t->most, sizeof *t->weight);
    if (!t->first || !t->count || !t->weight) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for the weights of a resize from %d to %d", in, out);
    }
    for (int i = 0; i < out; i++) {
        float centre = (float)(scale * (i + 0.5)), total = 0, *weight = t->weight + (size_t)i * (size_t)t->most;
        int64_t low = (int64_t)(centre - support + 0.5), high = (int64_t)(centre + support + 0.5);
        low = low < 0 ? 0 : low;
        high = high > in ? in : high;
        t->first[i] = (int)low;
        t->count[i] = high - low > t->most ? t->most : (int)(high - low);
        for (int j = 0; j < t->count[i]; j++) {
            weight[j] = bicubic((float)(((float)(j + low) - centre + 0.5) * inverse));
            total += weight[j];
        }
        for (int j = 0; j < t->count[i]; j++) {
            weight[j] /= total;
        }
    }
    return TR_OK;
}

/* count values, `stride` apart, by their weights: the order that this file is about. */
static float weigh(const float *value, size_t stride, const float *weight, int count)
{
    float sum = value[0] * weight[0];
    int j = 1;
    for (; j < 1 + (count - 1) / 4 * 4; j++) {
        sum += value[(size_t)j * stride] * weight[j];
    }
    for (; j < count; j++) {
        sum = fmaf(value[(size_t)j * stride], weight[j], sum);
    }
    return sum;
}

static void across_plain(const tr_video_resizer *r, float *to)
{
    for (int x = 0; x < r->out_width; x++) {
        const float *from = r->wide + (size_t)r->across.first[x] * ROWS * LANES;
        const float *weight = r->across.weight + (size_t)x * (size_t)r->across.most;
        for (size_t i = 0; i < ROWS * LANES; i++) {
            to[(i / LANES * (size_t)r->out_width + (size_t)x) * LANES + i % LANES] =
                weigh(from + i, ROWS * LANES, weight, r->across.count[x]);
        }
    }
}

static void down_plain(const tr_video_resizer *r, int y)
{
    size_t row = (size_t)r->out_width * LANES;
    for (size_t x = 0; x < row; x++) {
        r->sums[x] = weigh(r->middle + (size_t)r->down.first[y] * row + x, row,
                           r->down.weight + (size_t)y * (size_t)r->down.most, r->down.count[y]);
    }
}

__attribute__((target("avx2,fma"))) static void across_avx2(const tr_video_resizer *r, float *to)
{
    size_t row = (size_t)r->out_width * LANES;
    for (int x = 0; x < r->out_width; x++, to += LANES) {
        const float *from = r->wide + (size_t)r->across.first[x] * ROWS * LANES;
        const float *weight = r->across.weight + (size_t)x * (size_t)r->across.most;
        int j = 1, count = r->across.count[x];
        __m256 w = _mm256_broadcast_ss(weight);
        __m256 a = _mm256_mul_ps(_mm256_loadu_ps(from), w), b = _mm256_mul_ps(_mm256_loadu_ps(from + 8), w);
        for (; j < 1 + (count - 1) / 4 * 4; j++) {
            from += ROWS * LANES;
            w = _mm256_broadcast_ss(weight + j);
            a = _mm256_add_ps(a, _mm256_mul_ps(_mm256_loadu_ps(from), w));
            b = _mm256_add_ps(b, _mm256_mul_ps(_mm256_loadu_ps(from + 8), w));
        }
        for (; j < count; j++) {
            from += ROWS * LANES;
            w = _mm256_broadcast_ss(weight + j);
            a = _mm256_fmadd_ps(_mm256_loadu_ps(from), w, a);
            b = _mm256_fmadd_ps(_mm256_loadu_ps(from + 8), w, b);
        }
        _mm_storeu_ps(to, _mm256_castps256_ps128(a));
        _mm_storeu_ps(to + row, _mm256_extractf128_ps(a, 1));
        _mm_storeu_ps(to + 2 * row, _mm256_castps256_ps128(b));
        _mm_storeu_ps(to + 3 * row, _mm256_extractf128_ps(b, 1));
    }
}

/* Pixels in pairs of eight lanes; an odd last one as four. */
__attribute__((target("avx2,fma"))) static void down_avx2(const tr_video_resizer *r, int y)
{
    size_t row = (size_t)r->out_width * LANES, x = 0;
    const float *weight = r->down.weight + (size_t)y * (size_t)r->down.most;
    const float *start = r->middle + (size_t)r->down.first[y] * row;
    int count = r->down.count[y], grouped = 1 + (count - 1) / 4 * 4;
    for (; x + 8 <= row; x += 8) {
        const float *from = start + x;
        __m256 a = _mm256_mul_ps(_mm256_loadu_ps(from), _mm256_broadcast_ss(weight));
        int j = 1;
        for (; j < grouped; j++) {
            from += row;
            a = _mm256_add_ps(a, _mm256_mul_ps(_mm256_loadu_ps(from), _mm256_broadcast_ss(weight + j)));
        }
        for (; j < count; j++) {
            from += row;
            a = _mm256_fmadd_ps(_mm256_loadu_ps(from), _mm256_broadcast_ss(weight + j), a);
        }
        _mm256_storeu_ps(r->sums + x, a);
    }
    for (; x < row; x++) {
        r->sums[x] = weigh(start + x, row, weight, count);
    }
}

/* Input rows y to y + ROWS as floats, the last row again where the frame has ended. */
__attribute__((target("avx2,fma"))) static void widen_avx2(const tr_video_resizer *r, const uint8_t *rgb,
                                                           int64_t stride, int y)
{
    for (int k = 0; k < ROWS; k++) {
        const uint8_t *from = rgb + (y + k < r->height ? y + k : r->height - 1) * stride;
        float *to = r->wide + k * LANES;
        int32_t four;
        for (int x = 0; x + 1 < r->width; x++, from += 3, to += ROWS * LANES) { /* four bytes: the next red too */
            memcpy(&four, from, 4);
            _mm_storeu_ps(to, _mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four))));
        }
        to[0] = from[0];
        to[1] = from[1];
        to[2] = from[2];
        to[3] = 0;
    }
}

static void widen_plain(const tr_video_resizer *r, const uint8_t *rgb, int64_t stride, int y)
{
    for (int k = 0; k < ROWS; k++) {
        const uint8_t *from = rgb + (y + k < r->height ? y + k : r->height - 1) * stride;
        float *to = r->wide + k * LANES;
        for (int x = 0; x < r->width; x++, from += 3, to += ROWS * LANES) {
            to[0] = from[0];
            to[1] = from[1];
            to[2] = from[2];
            to[3] = 0;
        }
    }
}

void tr_video_resizer_free(tr_video_resizer *resizer)
{
    if (resizer) {
        taps_free(&resizer->across);
        taps_free(&resizer->down);
        free(resizer->wide);
        free(resizer->middle);
        free(resizer->sums);
        free(resizer);
    }
}

tr_status tr_video_resizer_make(tr_video_resizer **resizer, int height, int width, int out_height, int out_width,
                                tr_error *err)
{
    tr_status status = TR_OK;
    tr_video_resizer *r = NULL;
    size_t row = (size_t)out_width * LANES;
    const char *isa = getenv("TEMPR1_ISA");
    *resizer = NULL;
    if (height < 1 || width < 1 || out_height < 1 || out_width < 1) {
        return tr_fail(err, TR_INVALID, NULL, "frames need a size, found %dx%d to be brought to %dx%d", width,
                       height, out_width, out_height);
    }
    if (!(r = tr_calloc(1, sizeof *r))) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory to resize frames");
    }
    r->height = height;
    r->width = width;
    r->out_height = out_height;
    r->out_width = out_width;
    r->vectors =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && !(isa && !strcmp(isa, "scalar"));
    if (height != out_height || width != out_width) {
        size_t rows = ((size_t)height + ROWS - 1) / ROWS * ROWS, bytes;
        TR_TRY(taps_make(&r->across, width, out_width, err));
        TR_TRY(taps_make(&r->down, height, out_height, err));
        r->wide = tr_calloc((size_t)width, ROWS * LANES * sizeof *r->wide);
        r->middle = tr_size_mul(rows, row * sizeof *r->middle, &bytes) ? tr_calloc(1, bytes) : NULL;
        r->sums = tr_calloc(row, sizeof *r->sums);
        if (!r->wide || !r->middle || !r->sums) {
            status = tr_fail(err, TR_MEMORY, NULL, "no memory to resize frames of %dx%d to %dx%d", width, height,
                             out_width, out_height);
            goto done;
        }
    }
    *resizer = r;
    r = NULL;
done:
    tr_video_resizer_free(r);
    return status;
}

/* Pixels [count][LANES], rounded half to even and clamped, to the three planes. */
static void split_plain(const float *from, int count, uint8_t *to, size_t plane)
{
    for (int x = 0; x < count; x++, from += LANES, to++) {
        for (size_t c = 0; c < 3; c++) {
            float v = from[c];
            v = v < 0 ? 0 : v > 255 ? 255 : v;
            to[c * plane] = (uint8_t)lrintf(v);
        }
    }
}

__attribute__((target("avx2,fma"))) static void split_avx2(const float *from, int count, uint8_t *to, size_t plane)
{
    const __m128i colours = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    int x = 0;
    for (; x + 4 <= count; x += 4, from += 4 * LANES, to += 4) {
        __m128i a = _mm_packs_epi32(_mm_cvtps_epi32(_mm_loadu_ps(from)), _mm_cvtps_epi32(_mm_loadu_ps(from + 4)));
        __m128i b =
            _mm_packs_epi32(_mm_cvtps_epi32(_mm_loadu_ps(from + 8)), _mm_cvtps_epi32(_mm_loadu_ps(from + 12)));
        __m128i four = _mm_shuffle_epi8(_mm_packus_epi16(a, b), colours);
        int32_t red = _mm_extract_epi32(four, 0), green = _mm_extract_epi32(four, 1),
                blue = _mm_extract_epi32(four, 2);
        memcpy(to, &red, 4);
        memcpy(to + plane, &green, 4);
        memcpy(to + 2 * plane, &blue, 4);
    }
    split_plain(from, count - x, to, plane);
}

void tr_video_resizer_run(tr_video_resizer *r, const uint8_t *rgb, int64_t stride, uint8_t *out)
{
    size_t plane = (size_t)r->out_height * (size_t)r->out_width;
    if (!r->middle) { /* the size is right already */
        for (int y = 0; y < r->height; y++, out += r->width, rgb += stride) {
            for (int x = 0; x < r->width; x++) {
                out[x] = rgb[3 * x];
                out[plane + (size_t)x] = rgb[3 * x + 1];
                out[2 * plane + (size_t)x] = rgb[3 * x + 2];
            }
        }
        return;
    }
    for (int y = 0; y < r->height; y += ROWS) {
        float *to = r->middle + (size_t)y * (size_t)r->out_width * LANES;
        (r->vectors ? widen_avx2 : widen_plain)(r, rgb, stride, y);
        (r->vectors ? across_avx2 : across_plain)(r, to);
    }
    for (int y = 0; y < r->out_height; y++) {
        (r->vectors ? down_avx2 : down_plain)(r, y);
        (r->vectors ? split_avx2 : split_plain)(r->sums, r->out_width, out + (size_t)y * (size_t)r->out_width,
                                                plane);
    }
}

tr_status tr_video_resize(const uint8_t *rgb, int height, int width, int64_t stride, uint8_t *out, int out_height,
                          int out_width, tr_error *err)
{
    tr_video_resizer *resizer;
    tr_status status = tr_video_resizer_make(&resizer, height, width, out_height, out_width, err);
    if (status == TR_OK) {
        tr_video_resizer_run(resizer, rgb, stride, out);
        tr_video_resizer_free(resizer);
    }
    return status;
}
