/* wire.h: what parent and decoder process say to each other.
 *
 * Over a connection (SOCK_SEQPACKET) the parent sends a request with the descriptor of a shared memory file. The
 * child leaves its reply in that file: the header, int64 frames[count], double pts_s[count], uint8
 * pixels[count][3][height][width], and then sends TR_WIRE_MAGIC. The cache keeps the same bytes. Whoever reads
 * checks magic, version and length before it believes anything. Internal to src/video. */
#ifndef TR_VIDEO_WIRE_H
#define TR_VIDEO_WIRE_H

#include "video/clip.h"

#include <stdbool.h>

#define TR_WIRE_MAGIC UINT32_C(0x56315254)
enum { TR_WIRE_VERSION = 3, TR_WIRE_FD = 3, TR_WIRE_PATH = 4096 };

typedef struct tr_wire_request {
    uint32_t magic, version;
    tr_video_options options;
    char path[TR_WIRE_PATH];
} tr_wire_request;

typedef struct tr_wire_reply {
    uint32_t magic, version;
    int32_t status, count;
    int64_t total_frames;
    double fps, duration_s, start_s;
    int32_t source_height, source_width, height, width;
    uint64_t bytes; /* of the whole reply */
    char message[1024];
} tr_wire_reply;

/* The bytes of a reply with so many frames of such a size; 0 on overflow or nonsense. */
uint64_t tr_wire_bytes(int count, int height, int width);

/* Whether size bytes are a request, with a path that ends. */
bool tr_wire_request_holds(const void *bytes, size_t size);

/* Whether size bytes are a whole, consistent reply with frames. bytes aligned as malloc's. */
bool tr_wire_reply_holds(const void *bytes, size_t size);

/* In the child: decodes what the request asks for and writes the reply to the file. */
tr_status tr_video_decode(const tr_wire_request *request, int descriptor, tr_error *err);

#endif
