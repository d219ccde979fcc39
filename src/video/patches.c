/* patches.c: from resized frames to the rows that the vision tower reads. */
#include "video/clip.h"

enum { PATCH = 14, ROW = 1176 };

tr_status tr_video_patches(const uint8_t *pixels, int count, int height, int width, float *out, tr_error *err)
{
    static const float mean[3] = {0.48145466f, 0.4578275f, 0.40821073f};
    static const float deviation[3] = {0.26862954f, 0.26130258f, 0.27577711f};
    float level[3][256];
    if (count < 1 || height < 1 || width < 1 || height % (2 * PATCH) || width % (2 * PATCH)) {
        return tr_fail(err, TR_INVALID, NULL,
                       "patches need frames whose sides are multiples of 28, found %d of %dx%d", count, width,
                       height);
    }
    for (int c = 0; c < 3; c++) {
        for (int v = 0; v < 256; v++) {
            level[c][v] = ((float)v - mean[c] * 255.0f) / (deviation[c] * 255.0f);
        }
    }
    int h = height / PATCH, w = width / PATCH, pairs = (count + 1) / 2;
    size_t plane = (size_t)height * (size_t)width;
#pragma omp parallel for schedule(static)
    for (int t = 0; t < pairs; t++) {
        float *to = out + (size_t)t * (size_t)h * (size_t)w * ROW;
        for (int patch = 0; patch < h * w; patch++) {
            int merged = patch / 4, my = patch / 2 % 2, mx = patch % 2;
            int top = (merged / (w / 2) * 2 + my) * PATCH, left = (merged % (w / 2) * 2 + mx) * PATCH;
            for (int part = 0; part < 6 * PATCH; part++) {
                int c = part / (2 * PATCH), f = part / PATCH % 2, y = part % PATCH;
                int frame = 2 * t + f < count ? 2 * t + f : count - 1;
                const uint8_t *from = pixels + ((size_t)frame * 3 + (size_t)c) * plane +
                                      (size_t)(top + y) * (size_t)width + (size_t)left;
                for (int x = 0; x < PATCH; x++) {
                    *to++ = level[c][from[x]];
                }
            }
        }
    }
    return TR_OK;
}

tr_status tr_clip_patches(const tr_clip *clip, float *out, tr_error *err)
{
    return tr_video_patches(clip->pixels, clip->frame_count, clip->height, clip->width, out, err);
}
