/* worker.c: the decoder process: limits itself, serves requests one after another, ends with its parent. */
#include "video/wire.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* A request and its shared memory. 1: one came, 0: the parent is gone, -1: nonsense. */
static int next_request(tr_wire_request *request, int *memory)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = request, .iov_len = sizeof *request};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got;
    while ((got = recvmsg(TR_WIRE_FD, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
    }
    if (!got) {
        return 0;
    }
    struct cmsghdr *rights = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!rights || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS ||
        rights->cmsg_len != CMSG_LEN(sizeof *memory)) {
        return -1;
    }
    memcpy(memory, CMSG_DATA(rights), sizeof *memory);
    return tr_wire_request_holds(request, (size_t)got) ? 1 : -1;
}

/* Ends the process when the parent has closed its end, also in the middle of a decoding that hangs. */
static void *watch_parent(void *nothing)
{
    struct pollfd parent = {.fd = TR_WIRE_FD, .events = POLLRDHUP};
    (void)nothing;
    while (poll(&parent, 1, -1) < 0 && errno == EINTR) {
    }
    _exit(0);
}

static void limit_memory(int64_t bytes)
{
#ifndef __SANITIZE_ADDRESS__ /* whose shadow takes terabytes of address space */
    struct rlimit limit;
    if (!getrlimit(RLIMIT_AS, &limit)) {
        limit.rlim_cur = bytes > 0 && (rlim_t)bytes < limit.rlim_max ? (rlim_t)bytes : limit.rlim_max;
        setrlimit(RLIMIT_AS, &limit);
    }
#else
    (void)bytes;
#endif
}

/* Serves one request; false when there is no way to leave a reply. */
static bool serve(const tr_wire_request *request, int memory)
{
    tr_error err = {0};
    const uint32_t word = TR_WIRE_MAGIC;
    limit_memory(request->options.memory_limit_bytes);
    if (tr_video_decode(request, memory, &err) != TR_OK) {
        tr_wire_reply reply = {
            .magic = TR_WIRE_MAGIC, .version = TR_WIRE_VERSION, .status = (int32_t)err.code, .bytes = sizeof reply};
        memcpy(reply.message, err.message, sizeof reply.message);
        if (ftruncate(memory, 0) || pwrite(memory, &reply, sizeof reply, 0) != (ssize_t)sizeof reply) {
            return false;
        }
    }
    return send(TR_WIRE_FD, &word, sizeof word, MSG_NOSIGNAL) == (ssize_t)sizeof word;
}

int tr_video_worker_main(void)
{
    static tr_wire_request request;
    const char *fault = getenv("TEMPR1_WORKER_FAULT"); /* for the tests of the supervision */
    pthread_t watcher;
    int memory, got;
    signal(SIGINT, SIG_IGN); /* whoever interrupts the parent wants it to finish its step first */
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    if (pthread_create(&watcher, NULL, watch_parent, NULL)) {
        return 2;
    }
    while ((got = next_request(&request, &memory)) > 0) {
        if (fault && !strcmp(fault, "hang")) {
            pause();
        } else if (fault && !strcmp(fault, "crash")) {
            raise(SIGKILL);
        } else if (fault && !strcmp(fault, "exit")) {
            return 2;
        }
        if (!serve(&request, memory)) {
            return 2;
        }
        close(memory);
    }
    return got ? 2 : 0;
}
