/* pool.c: starts decoder processes, hands them requests, and watches over them. */
#include "video/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

extern char **environ;

enum { IDLE_MOST = 8, CLIPS_MOST = 256 }; /* kept for later; served by one before a fresh one takes its place */

typedef struct worker {
    pid_t pid;
    int socket; /* closed: the process ends */
    int served;
    char path[PATH_MAX];
} worker;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char given_path[PATH_MAX];
static worker idle[IDLE_MOST];
static int idle_count;
static pid_t owner; /* of idle[] */

void tr_video_set_worker(const char *path)
{
    pthread_mutex_lock(&lock);
    snprintf(given_path, sizeof given_path, "%s", path ? path : "");
    pthread_mutex_unlock(&lock);
}

/* The program to start; a name without a slash is looked up in PATH. */
static void find_worker(char path[PATH_MAX])
{
    const char *given = getenv("TEMPR1_WORKER");
    char own[PATH_MAX];
    pthread_mutex_lock(&lock);
    snprintf(path, PATH_MAX, "%s", given_path[0] ? given_path : given ? given : "");
    pthread_mutex_unlock(&lock);
    ssize_t length = path[0] ? 0 : readlink("/proc/self/exe", own, sizeof own - 1);
    if (path[0]) {
        return;
    }
    snprintf(path, PATH_MAX, "tempr1");
    if (length > 0) {
        own[length] = 0;
        char *slash = strrchr(own, '/');
        if (slash && (size_t)(slash - own) + 8 < sizeof own) {
            memcpy(slash + 1, "tempr1", 7);
            if (!access(own, X_OK)) {
                snprintf(path, PATH_MAX, "%s", own);
            }
        }
    }
}

/* Closes the connection and waits for the end, which the caller or the closing has brought about. */
static int bury(worker *w)
{
    int result = 0;
    close(w->socket);
    while (waitpid(w->pid, &result, 0) < 0) {
        if (errno != EINTR) { /* someone else has waited for all children */
            return 0;
        }
    }
    return result;
}

static tr_status start(worker *w, const char *clip, tr_error *err)
{
    char *argv[] = {w->path, (char *)(uintptr_t) "decode-worker", NULL};
    posix_spawn_file_actions_t actions;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
        return tr_fail(err, TR_IO, clip, "cannot make a connection to its decoder: %s", strerror(errno));
    }
    if (posix_spawn_file_actions_init(&actions)) {
        close(pair[0]);
        close(pair[1]);
        return tr_fail(err, TR_MEMORY, clip, "no memory to start its decoder");
    }
    posix_spawn_file_actions_adddup2(&actions, pair[1], TR_WIRE_FD);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&actions, TR_WIRE_FD + 1);
    int result = pair[1] == TR_WIRE_FD ? fcntl(pair[1], F_SETFD, 0) : 0; /* dup2 onto itself keeps close-on-exec */
    result = result ? errno : posix_spawnp(&w->pid, w->path, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    if (result) {
        close(pair[0]);
        return tr_fail(err, TR_CHILD, clip,
                       "cannot start the decoder program %s: %s; set TEMPR1_WORKER to the tempr1 program", w->path,
                       strerror(result));
    }
    w->socket = pair[0];
    w->served = 0;
    return TR_OK;
}

/* An idle process of that program. */
static bool take_idle(worker *w)
{
    bool found = false;
    pthread_mutex_lock(&lock);
    if (owner != getpid()) { /* after a fork they belong to the parent */
        for (int i = 0; i < idle_count; i++) {
            close(idle[i].socket);
        }
        idle_count = 0;
        owner = getpid();
    }
    for (int i = idle_count - 1; i >= 0 && !found; i--) {
        if (!strcmp(idle[i].path, w->path)) {
            *w = idle[i];
            idle[i] = idle[--idle_count];
            found = true;
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static void keep(worker *w)
{
    bool kept = false;
    pthread_mutex_lock(&lock);
    if (idle_count < IDLE_MOST && owner == getpid() && w->served < CLIPS_MOST) {
        idle[idle_count++] = *w;
        kept = true;
    }
    pthread_mutex_unlock(&lock);
    if (!kept) {
        bury(w);
    }
}

/* The child of a fork: becomes the decoder process on its end of the connection. */
static void become_worker(int connection)
{
    int nothing = open("/dev/null", O_RDWR);
    if (nothing < 0 || dup2(connection, TR_WIRE_FD) < 0 || dup2(nothing, 0) < 0 || dup2(nothing, 1) < 0 ||
        close_range(TR_WIRE_FD + 1, ~0U, 0)) {
        _exit(2);
    }
    _exit(tr_video_worker_main());
}

void tr_video_workers_prepare(void)
{
    worker w = {0};
    int pair[2];
    if (given_path[0] || getenv("TEMPR1_WORKER") || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
        return;
    }
    find_worker(w.path);
    fflush(NULL);
    w.pid = fork();
    if (!w.pid) {
        become_worker(pair[1]);
    }
    close(pair[1]);
    w.socket = pair[0];
    if (w.pid < 0) {
        close(w.socket);
        return;
    }
    pthread_mutex_lock(&lock);
    owner = getpid();
    pthread_mutex_unlock(&lock);
    keep(&w);
}

void tr_video_workers_stop(void)
{
    worker w;
    bool found = true;
    while (found) {
        pthread_mutex_lock(&lock);
        found = idle_count > 0 && owner == getpid();
        if (found) {
            w = idle[--idle_count];
        }
        pthread_mutex_unlock(&lock);
        if (found) {
            bury(&w);
        }
    }
}

static bool send_request(const worker *w, const tr_wire_request *request, int memory)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)request, .iov_len = sizeof *request};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof memory);
    memcpy(CMSG_DATA(rights), &memory, sizeof memory);
    return sendmsg(w->socket, &message, MSG_NOSIGNAL) == (ssize_t)sizeof *request;
}

static bool is_true(const atomic_bool *flag)
{
    return flag && atomic_load(flag);
}

/* Waits for the word that the reply is there: 1 it came, 0 the process is gone, -1 the time is up or nobody waits
 * any more. */
static int await_word(const worker *w, double limit_s, const atomic_bool *cancel)
{
    const double look_s = cancel ? 0.05 : 1e6; /* how often the flag is looked at */
    double end_s = tr_time_s() + limit_s;
    for (;;) {
        double left_s = limit_s > 0 ? end_s - tr_time_s() : 1e6;
        struct pollfd wait_for = {.fd = w->socket, .events = POLLIN};
        if (left_s <= 0 || is_true(cancel)) {
            return -1;
        }
        int ready = poll(&wait_for, 1, (int)fmin(ceil(fmin(left_s, look_s) * 1000), 1e9));
        if (ready > 0) {
            uint32_t word = 0;
            return recv(w->socket, &word, sizeof word, MSG_DONTWAIT) == (ssize_t)sizeof word &&
                   word == TR_WIRE_MAGIC;
        }
        if (ready < 0 && errno != EINTR) {
            return 0;
        }
    }
}

tr_status tr_video_pool_run(const tr_wire_request *request, int memory, const atomic_bool *cancel, tr_error *err)
{
    worker w = {0};
    int result;
    double limit_s = request->options.time_limit_s;
    find_worker(w.path);
    for (bool kept = take_idle(&w);; kept = false) {
        if (!kept) {
            tr_status status = start(&w, request->path, err);
            if (status != TR_OK) {
                return status;
            }
        }
        int word = send_request(&w, request, memory) ? await_word(&w, limit_s, cancel) : 0;
        if (word > 0) {
            w.served++;
            keep(&w);
            return TR_OK;
        }
        if (word < 0) {
            kill(w.pid, SIGKILL);
            bury(&w);
            if (is_true(cancel)) {
                return tr_fail(err, TR_INTERRUPTED, request->path, "it is not wanted any more");
            }
            return tr_fail(err, TR_TIMEOUT, request->path, "its decoder did not finish within %g s and was stopped",
                           limit_s);
        }
        result = bury(&w);
        if (!kept) { /* one that was kept may have died of something else: a fresh one tries again */
            break;
        }
    }
    if (WIFSIGNALED(result)) {
        return tr_fail(
            err, TR_CHILD, request->path,
            "its decoder process died of signal %d (%s); the file is probably damaged or needs more than "
            "its memory limit",
            WTERMSIG(result), strsignal(WTERMSIG(result)));
    }
    return tr_fail(err, TR_CHILD, request->path,
                   "its decoder process ended with status %d; is the program that TEMPR1_WORKER names (or tempr1 "
                   "beside this one) of this version?",
                   WEXITSTATUS(result));
}
