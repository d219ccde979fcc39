/* plan.h: which packets of a video have to be decoded for the chosen frames. Pure arithmetic over what a scan of
 * the packets has noted: no files, no decoder.
 *
 * Packets before the key frame that a chosen frame needs, and those after the last chosen frame of a group, are
 * left out where that saves more than the restart of the decoder costs. */
#ifndef TR_VIDEO_PLAN_H
#define TR_VIDEO_PLAN_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tr_plan_packet {
    int64_t pts; /* ticks; INT64_MIN: the file does not say */
    bool shown, key;
    bool send, chosen, jump; /* decode it; its frame is wanted; the decoder starts anew with it */
} tr_plan_packet;

typedef struct tr_video_plan {
    tr_plan_packet *packets; /* in the file's order */
    size_t count, capacity;
    size_t *order; /* (shown) packets in the order shown; made by tr_video_plan_holds */
    size_t shown;
    size_t end; /* packets from here on are not needed */
} tr_video_plan;

tr_status tr_video_plan_add(tr_video_plan *plan, int64_t pts, bool shown, bool key, tr_error *err);

/* Whether the packets allow a plan: the first is a key frame and every one has a time of its own. */
bool tr_video_plan_holds(tr_video_plan *plan);

/* Whether any frame is shown before one that comes earlier in the file. */
bool tr_video_plan_reorders(const tr_video_plan *plan);

/* Marks the packets for the frames with these indices (ascending, in the order shown); only where it holds. */
tr_status tr_video_plan_make(tr_video_plan *plan, const int64_t *frames, int count, tr_error *err);

/* The time of a frame; only where it holds. */
int64_t tr_video_plan_pts(const tr_video_plan *plan, int64_t frame);

void tr_video_plan_free(tr_video_plan *plan);

#endif
