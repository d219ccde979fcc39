/* ahead.h: clips that are opened before they are asked for, by a few threads beside the computing.
 *
 * A list of wishes says what will be asked for next, in which order; the threads work from its front, as far as
 * memory allows. A clip comes out as tr_clip_open would have given it, its error too. Clips that nobody takes are
 * freed, decoders that still work when the queue is freed are stopped. A queue belongs to one thread. */
#ifndef TR_VIDEO_AHEAD_H
#define TR_VIDEO_AHEAD_H

#include "video/clip.h"

#include <stdbool.h>

typedef struct tr_clip_wish {
    const char *path; /* copied */
    tr_video_options options;
    uint64_t key; /* equal keys mean equal clips */
} tr_clip_wish;

typedef struct tr_clip_queue tr_clip_queue;

/* `workers` threads, begun with the first wish; opened clips that wait may take `bytes` together (one may always
 * wait). cache (NULL: none) must outlive the queue. */
tr_status tr_clip_queue_create(int workers, uint64_t bytes, struct tr_video_cache *cache, tr_clip_queue **queue,
                               tr_error *err);
void tr_clip_queue_free(tr_clip_queue *queue);

/* Replaces the list: what was wished for before and is in the new list keeps its clip, the rest is dropped. On an
 * error the list is empty. */
tr_status tr_clip_queue_wish(tr_clip_queue *queue, const tr_clip_wish *wishes, size_t count, tr_error *err);

/* The first clip of that key, waiting for the thread that opens it; *found is false when no thread has begun with
 * it: the caller then opens it itself. *open_s grows by the seconds that opening took, wherever it ran. */
tr_status tr_clip_queue_take(tr_clip_queue *queue, uint64_t key, bool *found, tr_clip **clip, double *open_s,
                             tr_error *err);

#endif
