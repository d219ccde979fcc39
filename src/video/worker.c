/* worker.c: the decoder process: limits itself, reads the request, decodes, and leaves the reply. */
#include "video/wire.h"

#include <libavutil/log.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* AddressSanitizer reserves terabytes of address space: there the limit would end every decoder. */
static void limit_memory(int64_t bytes)
{
#ifndef __SANITIZE_ADDRESS__
    if (bytes > 0) {
        setrlimit(RLIMIT_AS, &(struct rlimit){(rlim_t)bytes, (rlim_t)bytes});
    }
#else
    (void)bytes;
#endif
}

int tr_video_worker_main(void)
{
    static tr_wire_request request;
    tr_error err = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (pread(TR_WIRE_FD, &request, sizeof request, 0) != sizeof request || request.magic != TR_WIRE_MAGIC ||
        request.version != TR_WIRE_VERSION || !memchr(request.path, 0, sizeof request.path)) {
        return 2;
    }
    const char *fault = getenv("TEMPR1_WORKER_FAULT"); /* for the tests of the supervision */
    if (fault && !strcmp(fault, "hang")) {
        pause();
    } else if (fault && !strcmp(fault, "crash")) {
        raise(SIGKILL);
    }
    limit_memory(request.options.memory_limit_bytes);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    av_log_set_level(AV_LOG_QUIET);
    if (tr_video_decode(&request, TR_WIRE_FD, &err) != TR_OK) {
        tr_wire_reply reply = {
            .magic = TR_WIRE_MAGIC, .version = TR_WIRE_VERSION, .status = (int32_t)err.code, .bytes = sizeof reply};
        memcpy(reply.message, err.message, sizeof reply.message);
        if (ftruncate(TR_WIRE_FD, 0) || pwrite(TR_WIRE_FD, &reply, sizeof reply, 0) != sizeof reply) {
            return 2;
        }
    }
    return 0;
}
