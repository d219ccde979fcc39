/* plan.c: which packets of a video have to be decoded for the chosen frames. */
#include "video/plan.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { WORTH = 16 }; /* packets left out that pay for emptying and filling the decoder's threads */

tr_status tr_video_plan_add(tr_video_plan *plan, int64_t pts, bool shown, bool key, tr_error *err)
{
    tr_status status = tr_grow(&plan->packets, &plan->capacity, plan->count + 1, sizeof *plan->packets, err);
    if (status == TR_OK) {
        plan->packets[plan->count++] = (tr_plan_packet){.pts = pts, .shown = shown, .key = key};
        plan->shown += shown;
    }
    return status;
}

static int by_time(const void *a, const void *b, void *packets)
{
    const tr_plan_packet *p = packets;
    int64_t x = p[*(const size_t *)a].pts, y = p[*(const size_t *)b].pts;
    return (x > y) - (x < y);
}

bool tr_video_plan_holds(tr_video_plan *plan)
{
    size_t used = 0;
    if (!plan->shown || !plan->packets[0].key || !(plan->order = tr_calloc(plan->shown, sizeof *plan->order))) {
        return false;
    }
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->packets[i].pts == INT64_MIN) {
            return false;
        }
        if (plan->packets[i].shown) {
            plan->order[used++] = i;
        }
    }
    qsort_r(plan->order, used, sizeof *plan->order, by_time, plan->packets);
    for (size_t i = 1; i < used; i++) {
        if (plan->packets[plan->order[i]].pts == plan->packets[plan->order[i - 1]].pts) {
            return false;
        }
    }
    return true;
}

bool tr_video_plan_reorders(const tr_video_plan *plan)
{
    for (size_t i = 1; i < plan->count; i++) {
        if (plan->packets[i].pts < plan->packets[i - 1].pts) {
            return true;
        }
    }
    return false;
}

/* The end of the group that starts with the key frame at `start`. */
static size_t group_end(const tr_video_plan *plan, size_t start)
{
    size_t end = start + 1;
    while (end < plan->count && !plan->packets[end].key) {
        end++;
    }
    return end;
}

/* A group's frames up to its last chosen one. Those that are shown before the key frame need the group before. */
static void mark_group(tr_video_plan *plan, size_t before, size_t start, size_t end)
{
    bool leading = false;
    size_t last = end;
    while (last > start && !plan->packets[last - 1].chosen) {
        last--;
    }
    for (size_t i = start; i < last; i++) {
        plan->packets[i].send = true;
        leading |= plan->packets[i].chosen && plan->packets[i].pts < plan->packets[start].pts;
    }
    for (size_t i = before; leading && i < start; i++) {
        plan->packets[i].send = true;
    }
}

/* Whether a chosen frame of the group that starts at `start` is shown before its key frame: then the decoder has to
 * come there from the group before. */
static bool leads(const tr_video_plan *plan, size_t start)
{
    for (size_t end = group_end(plan, start), i = start + 1; i < end; i++) {
        if (plan->packets[i].chosen && plan->packets[i].pts < plan->packets[start].pts) {
            return true;
        }
    }
    return false;
}

tr_status tr_video_plan_make(tr_video_plan *plan, const int64_t *frames, int count, tr_error *err)
{
    size_t before = 0;
    for (size_t i = 0; i < plan->count; i++) {
        plan->packets[i].send = plan->packets[i].chosen = plan->packets[i].jump = false;
    }
    for (int i = 0; i < count; i++) {
        if (frames[i] < 0 || (uint64_t)frames[i] >= plan->shown) {
            return tr_fail(err, TR_INVALID, NULL, "frame %lld is not one of the clip's %zu", (long long)frames[i],
                           plan->shown);
        }
        plan->packets[plan->order[frames[i]]].chosen = true;
    }
    for (size_t start = 0, end; start < plan->count; start = end) {
        end = group_end(plan, start);
        mark_group(plan, before, start, end);
        before = start;
    }
    plan->end = 0;
    for (size_t i = 0; i < plan->count; i++) {
        if (!plan->packets[i].send) {
            continue;
        }
        if (plan->packets[i].key && i - plan->end >= WORTH && !leads(plan, i)) {
            plan->packets[i].jump = true;
            for (size_t end = group_end(plan, i), k = i + 1; k < end; k++) {
                /* frames shown before the key frame lean on the ones left out; nothing else leans on them */
                plan->packets[k].send &= plan->packets[k].pts > plan->packets[i].pts;
            }
        } else if (plan->packets[i].key) { /* a short gap between groups costs less than a restart */
            for (size_t k = plan->end; k < i; k++) {
                plan->packets[k].send = true;
            }
        }
        plan->end = i + 1;
    }
    return TR_OK;
}

int64_t tr_video_plan_pts(const tr_video_plan *plan, int64_t frame)
{
    return plan->packets[plan->order[frame]].pts;
}

void tr_video_plan_free(tr_video_plan *plan)
{
    free(plan->packets);
    free(plan->order);
    *plan = (tr_video_plan){0};
}
