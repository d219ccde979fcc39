/* sample.c: which frames of a clip are taken and to what size they are brought. Pure arithmetic. */
#include "video/sample.h"

#include <math.h>

enum { FACTOR = 28, FRAME_PIXELS = 602112 };

tr_status tr_video_smart_resize(int64_t height, int64_t width, int64_t min_pixels, int64_t max_pixels,
                                int *out_height, int *out_width, tr_error *err)
{
    if (height < 1 || width < 1) {
        return tr_fail(err, TR_INVALID, NULL, "a frame must have a size, found %lldx%lld", (long long)width,
                       (long long)height);
    }
    double h = (double)height, w = (double)width;
    if (fmax(h, w) / fmin(h, w) > 200) {
        return tr_fail(err, TR_INVALID, NULL, "one side may be at most 200 times the other, found %lldx%lld",
                       (long long)width, (long long)height);
    }
    double hb = fmax(FACTOR, FACTOR * nearbyint(h / FACTOR)), wb = fmax(FACTOR, FACTOR * nearbyint(w / FACTOR));
    if (hb * wb > (double)max_pixels) {
        double b = sqrt(h * w / (double)max_pixels);
        hb = fmax(FACTOR, FACTOR * floor(h / b / FACTOR));
        wb = fmax(FACTOR, FACTOR * floor(w / b / FACTOR));
    } else if (hb * wb < (double)min_pixels) {
        double b = sqrt((double)min_pixels / (h * w));
        hb = FACTOR * ceil(h * b / FACTOR);
        wb = FACTOR * ceil(w * b / FACTOR);
    }
    if (hb * wb > 1e9) {
        return tr_fail(err, TR_INVALID, NULL, "frames of %.0fx%.0f pixels are too large; lower min_pixels", wb, hb);
    }
    *out_height = (int)hb;
    *out_width = (int)wb;
    return TR_OK;
}

tr_status tr_video_frame_count(int64_t total, double video_fps, double fps, int min_frames, int max_frames,
                               int *count, tr_error *err)
{
    if (total < 2) {
        return tr_fail(err, TR_INVALID, NULL, "a clip needs at least 2 frames, found %lld", (long long)total);
    }
    if (!(video_fps > 0) || !isfinite(video_fps) || !(fps > 0) || !isfinite(fps)) {
        return tr_fail(err, TR_INVALID, NULL, "frame rates must be positive, found %g in the file and %g asked for",
                       video_fps, fps);
    }
    double t = (double)total, lo = 2 * ceil(min_frames / 2.0), hi = 2 * floor(fmin(max_frames, t) / 2);
    double n = 2 * floor(fmin(fmin(fmax(t / video_fps * fps, lo), hi), t) / 2);
    if (!(n >= 2 && n <= t)) {
        return tr_fail(err, TR_INVALID, NULL, "between 2 and %lld frames can be taken, the options ask for %g",
                       (long long)total, n);
    }
    *count = (int)n;
    return TR_OK;
}

void tr_video_frame_indices(int64_t first, int64_t last, int count, int64_t *frames)
{
    float start = (float)first, end = (float)last;
    float step = count > 1 ? (end - start) / (float)(count - 1) : 0;
    for (int i = 0; i < count; i++) {
        float below = step * (float)i, above = step * (float)(count - 1 - i);
        int64_t frame = (int64_t)nearbyintf(i < count / 2 ? start + below : end - above);
        frames[i] = frame < first ? first : frame > last ? last : frame; /* f32 is coarse beyond 2^24 frames */
    }
}

tr_status tr_video_frame_size(int64_t height, int64_t width, int count, int64_t total_pixels, int64_t min_pixels,
                              int *out_height, int *out_width, tr_error *err)
{
    double budget = fmin(FRAME_PIXELS, (double)total_pixels / count * 2);
    double max_pixels = fmax(budget, floor((double)min_pixels * 1.05));
    return tr_video_smart_resize(height, width, min_pixels, (int64_t)max_pixels, out_height, out_width, err);
}
