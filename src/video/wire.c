/* wire.c: what parent and decoder process believe of each other. */
#include "video/wire.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

uint64_t tr_wire_bytes(int count, int height, int width)
{
    size_t pixels, bytes;
    if (count < 1 || height < 1 || width < 1 || !tr_size_mul((size_t)height * 3, (size_t)width, &pixels) ||
        !tr_size_mul(pixels + 16, (size_t)count, &bytes) || bytes > SIZE_MAX / 4) {
        return 0;
    }
    return bytes + sizeof(tr_wire_reply);
}

bool tr_wire_request_holds(const void *bytes, size_t size)
{
    const tr_wire_request *request = bytes;
    return size == sizeof *request && request->magic == TR_WIRE_MAGIC && request->version == TR_WIRE_VERSION &&
           memchr(request->path, 0, sizeof request->path);
}

bool tr_wire_reply_holds(const void *bytes, size_t size)
{
    const tr_wire_reply *head = bytes;
    if (size < sizeof *head || head->magic != TR_WIRE_MAGIC || head->version != TR_WIRE_VERSION || head->status ||
        head->bytes != size || head->bytes != tr_wire_bytes(head->count, head->height, head->width) ||
        !(head->fps > 0) || !isfinite(head->fps) || !isfinite(head->start_s) || !isfinite(head->duration_s) ||
        head->source_height < 1 || head->source_width < 1 || head->total_frames < head->count) {
        return false;
    }
    const int64_t *frames = (const int64_t *)(const void *)(head + 1);
    const double *pts_s = (const double *)(const void *)(frames + head->count);
    for (int i = 0; i < head->count; i++) {
        if (frames[i] < (i ? frames[i - 1] : 0) || frames[i] >= head->total_frames || !isfinite(pts_s[i])) {
            return false;
        }
    }
    return true;
}
