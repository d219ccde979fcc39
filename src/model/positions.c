/* positions.c: M-RoPE position ids of a prompt, by the authors' semantics (spec section 4.1, A).
 *
 * Text runs count on all three axes; an image or video span starts at the next free id, its temporal axis steps by
 * trunc(grid index * seconds per grid * tokens per second) in f32 products, and text resumes behind the largest id
 * of any axis. */
#include "model/network.h"

typedef struct walk {
    const tr_model_config *config;
    const int32_t (*grids)[3];
    int64_t grid_count, grid, videos, count;
    const double *second_per_grid;
    int32_t *positions;
    int32_t next;
} walk;

static void set(walk *w, int64_t at, int32_t t, int32_t y, int32_t x)
{
    w->positions[at] = t;
    w->positions[w->count + at] = y;
    w->positions[2 * w->count + at] = x;
}

/* The placeholders of one image or video from `at` on; moves past them. */
static tr_status span(walk *w, const int32_t *ids, int64_t *at, tr_error *err)
{
    int32_t id = ids[*at];
    bool video = id == w->config->video_id;
    if (w->grid == w->grid_count) {
        return tr_fail(err, TR_MISMATCH, "prompt",
                       "token %lld starts an image or video, but only %lld grids are given", (long long)*at,
                       (long long)w->grid_count);
    }
    const int32_t *grid = w->grids[w->grid++];
    int64_t merge = w->config->vision.merge, rows = grid[1] / merge, columns = grid[2] / merge;
    float step = video ? (float)w->second_per_grid[w->videos++] : 0.0f;
    int32_t largest = w->next;
    for (int64_t t = 0; t < grid[0]; t++) {
        /* the reference's products: an integer tensor times a float, then times tokens_per_second, all f32 */
        float scaled = (float)t * step;
        int32_t time = video ? w->next + (int32_t)(scaled * (float)w->config->vision.tokens_per_second) : w->next;
        for (int64_t i = 0; i < rows * columns; i++, ++*at) {
            if (*at == w->count || ids[*at] != id) {
                return tr_fail(
                    err, TR_MISMATCH, "prompt",
                    "grid %lld (%d, %d, %d) needs %lld placeholders, the prompt ends it early at token %lld",
                    (long long)(w->grid - 1), grid[0], grid[1], grid[2], (long long)(grid[0] * rows * columns),
                    (long long)*at);
            }
            int32_t y = w->next + (int32_t)(i / columns), x = w->next + (int32_t)(i % columns);
            set(w, *at, time, y, x);
            largest = time > largest ? time : largest;
            largest = y > largest ? y : largest;
            largest = x > largest ? x : largest;
        }
    }
    w->next = largest + 1;
    return TR_OK;
}

tr_status tr_positions(const tr_model_config *config, const int32_t *ids, int64_t count, const int32_t (*grids)[3],
                       int64_t grid_count, const double *second_per_grid, int32_t *positions, int32_t *next,
                       tr_error *err)
{
    walk w = {.config = config,
              .grids = grids,
              .grid_count = grid_count,
              .count = count,
              .second_per_grid = second_per_grid,
              .positions = positions};
    for (int64_t at = 0; at < count;) {
        if (ids[at] == config->image_id || ids[at] == config->video_id) {
            tr_status status = span(&w, ids, &at, err);
            if (status) {
                return status;
            }
        } else {
            set(&w, at, w.next, w.next, w.next);
            w.next++;
            at++;
        }
    }
    if (w.grid != grid_count) {
        return tr_fail(err, TR_MISMATCH, "prompt",
                       "the prompt has %lld images and videos, but %lld grids are given", (long long)w.grid,
                       (long long)grid_count);
    }
    if (next) {
        *next = w.next;
    }
    return TR_OK;
}
