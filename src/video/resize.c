/* resize.c: antialiased bicubic resizing of one RGB frame. Every product and sum is f32 in one order, uncontracted;
 * vectors run over output elements only, so that the bits are the same on every machine. */
#include "video/resize.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* For each of `out` positions: the first input, how many, and their weights (`most` per position). */
typedef struct taps {
    int *first, *count;
    float *weight;
    int most;
} taps;

static float bicubic(float x)
{
    const float a = -0.5f;
    x = fabsf(x);
    if (x < 1) {
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    }
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
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

/* One input row [width][3] to floats [3][out_width]. */
static void resize_row(const uint8_t *rgb, const taps *t, int out_width, float *out)
{
    for (int x = 0; x < out_width; x++) {
        const uint8_t *in = rgb + 3 * (size_t)t->first[x];
        const float *weight = t->weight + (size_t)x * (size_t)t->most;
        float r = 0, g = 0, b = 0;
        for (int j = 0; j < t->count[x]; j++, in += 3) {
            r += (float)in[0] * weight[j];
            g += (float)in[1] * weight[j];
            b += (float)in[2] * weight[j];
        }
        out[x] = r;
        out[out_width + x] = g;
        out[2 * out_width + x] = b;
    }
}

tr_status tr_video_resize(const uint8_t *rgb, int height, int width, int64_t stride, uint8_t *out, int out_height,
                          int out_width, tr_error *err)
{
    tr_status status = TR_OK;
    taps across = {0}, down = {0};
    size_t row = 3 * (size_t)out_width, plane = (size_t)out_height * (size_t)out_width;
    float *middle = NULL, *sum = NULL;
    if (height == out_height && width == out_width) {
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                for (size_t c = 0; c < 3; c++) {
                    out[c * plane + (size_t)y * (size_t)width + (size_t)x] = rgb[y * stride + 3 * x + (int64_t)c];
                }
            }
        }
        return TR_OK;
    }
    TR_TRY(taps_make(&across, width, out_width, err));
    TR_TRY(taps_make(&down, height, out_height, err));
    middle = tr_calloc((size_t)height * row, sizeof *middle);
    sum = tr_calloc(row, sizeof *sum);
    if (!middle || !sum) {
        status = tr_fail(err, TR_MEMORY, NULL, "no memory to resize a frame of %dx%d", width, height);
        goto done;
    }
    for (int y = 0; y < height; y++) {
        resize_row(rgb + y * stride, &across, out_width, middle + (size_t)y * row);
    }
    for (int y = 0; y < out_height; y++) {
        memset(sum, 0, row * sizeof *sum);
        for (int j = 0; j < down.count[y]; j++) {
            const float *in = middle + (size_t)(down.first[y] + j) * row;
            float weight = down.weight[(size_t)y * (size_t)down.most + (size_t)j];
            for (size_t x = 0; x < row; x++) {
                sum[x] += in[x] * weight;
            }
        }
        for (size_t c = 0; c < 3; c++) {
            uint8_t *to = out + c * plane + (size_t)y * (size_t)out_width;
            for (int x = 0; x < out_width; x++) {
                float v = sum[c * (size_t)out_width + (size_t)x];
                v = v < 0 ? 0 : v > 255 ? 255 : v;
                to[x] = (uint8_t)nearbyintf(v);
            }
        }
    }
done:
    taps_free(&across);
    taps_free(&down);
    free(middle);
    free(sum);
    return status;
}
