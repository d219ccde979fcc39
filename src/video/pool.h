/* pool.h: the decoder processes of this process: started when needed, kept for the next clip, watched over.
 *
 * Each serves one request at a time. One that does not answer in time is killed, one that dies is reported (one
 * that had been kept: replaced first); neither serves again. Idle ones end when this process ends, however it ends.
 * Thread safe; after a fork without exec the child starts its own. Internal to src/video. */
#ifndef TR_VIDEO_POOL_H
#define TR_VIDEO_POOL_H

#include "video/wire.h"

#include <stdatomic.h>

/* Has a decoder process serve the request; its reply is then in the shared memory file `memory`. TR_TIMEOUT when it
 * took longer than the request's time limit, TR_CHILD when it died or cannot be started, TR_INTERRUPTED when
 * *cancel (may be NULL) became true: the process is then killed. */
tr_status tr_video_pool_run(const tr_wire_request *request, int memory, const atomic_bool *cancel, tr_error *err);

#endif
