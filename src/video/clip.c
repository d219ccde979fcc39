/* clip.c: the parent's side: starts the decoder process, watches over it, believes only what it has checked. */
#include "video/clip.h"
#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "video/cache.h"
#include "video/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static pthread_mutex_t worker_lock = PTHREAD_MUTEX_INITIALIZER;
static char worker_path[PATH_MAX];

void tr_video_set_worker(const char *path)
{
    pthread_mutex_lock(&worker_lock);
    snprintf(worker_path, sizeof worker_path, "%s", path ? path : "");
    pthread_mutex_unlock(&worker_lock);
}

/* The program to start; a name without a slash is looked up in PATH. */
static void find_worker(char path[PATH_MAX])
{
    const char *given = getenv("TEMPR1_WORKER");
    char own[PATH_MAX];
    pthread_mutex_lock(&worker_lock);
    snprintf(path, PATH_MAX, "%s", worker_path[0] ? worker_path : given ? given : "");
    pthread_mutex_unlock(&worker_lock);
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

tr_video_options tr_video_options_default(void)
{
    return (tr_video_options){.fps = 2,
                              .min_frames = 4,
                              .max_frames = 448,
                              .total_pixels = 2809856,
                              .min_pixels = 12544,
                              .time_limit_s = 300,
                              .memory_limit_bytes = INT64_C(16) << 30};
}

/* Waits for the child at most limit_s (0: for ever), then kills it; *wait_status is its end. */
static tr_status supervise(pid_t child, double limit_s, const char *path, tr_error *err)
{
    double end_s = tr_time_s() + limit_s;
    int late = 0, result = 0;
    int handle = (int)syscall(SYS_pidfd_open, child, 0);
    while (limit_s > 0 && handle >= 0) {
        double left_s = end_s - tr_time_s();
        struct pollfd wait_for = {.fd = handle, .events = POLLIN};
        int ready = left_s > 0 ? poll(&wait_for, 1, (int)fmin(ceil(left_s * 1000), 1e9)) : 0;
        if (ready > 0) {
            break;
        }
        if (left_s <= 0) {
            kill(child, SIGKILL);
            late = 1;
            break;
        }
    }
    if (handle >= 0) {
        close(handle);
    }
    while (waitpid(child, &result, 0) < 0 && errno == EINTR) {
    }
    if (late) {
        return tr_fail(err, TR_TIMEOUT, path, "its decoder did not finish within %g s and was stopped", limit_s);
    }
    if (WIFSIGNALED(result)) {
        return tr_fail(err, TR_CHILD, path,
                       "its decoder process died of signal %d (%s); the file is probably damaged "
                       "or needs more than its memory limit",
                       WTERMSIG(result), strsignal(WTERMSIG(result)));
    }
    if (WEXITSTATUS(result)) {
        return tr_fail(err, TR_CHILD, path,
                       "its decoder process ended with status %d; is the program that "
                       "TEMPR1_WORKER names (or tempr1 beside this one) of this version?",
                       WEXITSTATUS(result));
    }
    return TR_OK;
}

static tr_status run_worker(const char *path, const tr_video_options *options, int memory, tr_error *err)
{
    char worker[PATH_MAX];
    char *argv[] = {worker, (char *)(uintptr_t) "decode-worker", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    find_worker(worker);
    tr_wire_request *request = tr_calloc(1, sizeof *request);
    if (!request) {
        return tr_fail(err, TR_MEMORY, path, "no memory to start its decoder");
    }
    request->magic = TR_WIRE_MAGIC;
    request->version = TR_WIRE_VERSION;
    request->options = *options;
    memcpy(request->path, path, strlen(path)); /* the caller has checked the length */
    ssize_t written = pwrite(memory, request, sizeof *request, 0);
    free(request);
    if (written != (ssize_t)sizeof *request) {
        return tr_fail(err, TR_IO, path, "cannot write to shared memory: %s", strerror(errno));
    }
    if (posix_spawn_file_actions_init(&actions)) {
        return tr_fail(err, TR_MEMORY, path, "no memory to start its decoder");
    }
    posix_spawn_file_actions_adddup2(&actions, memory, TR_WIRE_FD);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&actions, TR_WIRE_FD + 1);
    int result = posix_spawnp(&child, worker, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (result) {
        return tr_fail(err, TR_CHILD, path,
                       "cannot start the decoder program %s: %s; set TEMPR1_WORKER to the tempr1 "
                       "program",
                       worker, strerror(result));
    }
    return supervise(child, options->time_limit_s, path, err);
}

/* Whether size bytes are a whole, consistent reply. */
static int reply_holds(const void *bytes, size_t size)
{
    const tr_wire_reply *head = bytes;
    return size >= sizeof *head && head->magic == TR_WIRE_MAGIC && head->version == TR_WIRE_VERSION &&
           !head->status && head->bytes == size &&
           head->bytes == tr_wire_bytes(head->count, head->height, head->width) && head->fps > 0 &&
           head->source_height > 0 && head->source_width > 0;
}

static tr_status decode(const char *path, const tr_video_options *options, void **bytes, size_t *size,
                        tr_error *err)
{
    tr_status status = TR_OK;
    struct stat info;
    int memory = memfd_create("tempr1-frames", MFD_CLOEXEC);
    if (memory < 0) {
        return tr_fail(err, TR_IO, path, "cannot make shared memory: %s", strerror(errno));
    }
    TR_TRY(run_worker(path, options, memory, err));
    if (fstat(memory, &info) || (size_t)info.st_size < sizeof(tr_wire_reply)) {
        status = tr_fail(err, TR_CHILD, path, "its decoder process left no answer");
        goto done;
    }
    *size = (size_t)info.st_size;
    if (!(*bytes = malloc(*size))) {
        status = tr_fail(err, TR_MEMORY, path, "no memory for %zu bytes of frames", *size);
        goto done;
    }
    for (size_t at = 0; at < *size;) {
        ssize_t got = pread(memory, (char *)*bytes + at, *size - at, (off_t)at);
        if (got <= 0) {
            status = tr_fail(err, TR_IO, path, "cannot read shared memory: %s", strerror(errno));
            goto done;
        }
        at += (size_t)got;
    }
    tr_wire_reply *head = *bytes;
    head->message[sizeof head->message - 1] = 0;
    if (head->magic == TR_WIRE_MAGIC && head->status > 0 && head->status <= (int32_t)TR_LOCKED) {
        status = tr_fail(err, (tr_status)head->status, path, "%s", head->message);
    } else if (!reply_holds(*bytes, *size)) {
        status = tr_fail(err, TR_CHILD, path, "its decoder process left a malformed answer");
    }
done:
    close(memory);
    if (status != TR_OK) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

/* A clip over a checked reply, which it owns from then on. */
static tr_status clip_make(const char *path, const tr_video_options *options, void *bytes, size_t size,
                           tr_clip **out, tr_error *err)
{
    const tr_wire_reply *head = bytes;
    tr_clip *clip = tr_calloc(1, sizeof *clip);
    if (!clip || !(clip->path = tr_strdup(path)) ||
        !(clip->seconds = tr_calloc((size_t)head->count, sizeof *clip->seconds))) {
        tr_clip_free(clip);
        return tr_fail(err, TR_MEMORY, path, "no memory for the clip");
    }
    clip->storage = bytes;
    clip->storage_bytes = size;
    clip->total_frames = head->total_frames;
    clip->fps = head->fps;
    clip->duration_s = head->duration_s;
    clip->start_s = head->start_s;
    clip->frame_count = head->count;
    clip->frames = (const int64_t *)(const void *)((const char *)bytes + sizeof *head);
    clip->pts_s = (const double *)(const void *)(clip->frames + head->count);
    clip->pixels = (const uint8_t *)(clip->pts_s + head->count);
    for (int i = 0; i < head->count; i++) {
        clip->seconds[i] = clip->pts_s[i] - head->start_s - options->start_s;
    }
    int64_t total = head->total_frames;
    if (options->start_s > 0 || options->end_s > 0) {
        total = clip->frames[head->count - 1] - clip->frames[0] + 1;
    }
    clip->sampled_fps = (double)head->count / (double)total * head->fps;
    clip->second_per_grid = 2 / clip->sampled_fps;
    clip->source_height = head->source_height;
    clip->source_width = head->source_width;
    clip->height = head->height;
    clip->width = head->width;
    if (!options->original_size) {
        clip->grid_t = (head->count + 1) / 2;
        clip->grid_h = head->height / 14;
        clip->grid_w = head->width / 14;
        clip->patches = (int64_t)clip->grid_t * clip->grid_h * clip->grid_w;
        clip->tokens = clip->patches / 4;
    }
    *out = clip;
    return TR_OK;
}

static tr_status check(const char *path, const tr_video_options *o, tr_error *err)
{
    struct stat info;
    if (strlen(path) >= TR_WIRE_PATH) {
        return tr_fail(err, TR_INVALID, path, "its path is longer than %d bytes", TR_WIRE_PATH - 1);
    }
    if (!(o->fps > 0) || o->min_frames < 1 || o->max_frames < 2 || o->total_pixels < 1 || o->min_pixels < 1 ||
        !(o->start_s >= 0) || !(o->end_s >= 0) || (o->end_s > 0 && o->end_s <= o->start_s)) {
        return tr_fail(err, TR_INVALID, path,
                       "fps and pixels must be positive, max_frames at least 2, and the end "
                       "after the start");
    }
    if (stat(path, &info)) {
        return tr_fail(err, errno == ENOENT ? TR_NOT_FOUND : TR_IO, path, "cannot open the video: %s",
                       strerror(errno));
    }
    if (S_ISDIR(info.st_mode)) {
        return tr_fail(err, TR_INVALID, path, "a video file is needed, this is a directory");
    }
    if (access(path, R_OK)) {
        return tr_fail(err, TR_IO, path, "cannot open the video: %s", strerror(errno));
    }
    return S_ISREG(info.st_mode) && !info.st_size ? tr_fail(err, TR_FORMAT, path, "the file is empty") : TR_OK;
}

tr_status tr_clip_open(const char *path, const tr_video_options *options, struct tr_video_cache *cache,
                       tr_clip **clip, tr_error *err)
{
    tr_status status = TR_OK;
    tr_video_options defaults = tr_video_options_default();
    const tr_video_options *o = options ? options : &defaults;
    char key[40];
    void *bytes = NULL;
    size_t size = 0;
    *clip = NULL;
    TR_TRY(check(path, o, err));
    if (cache) {
        TR_TRY(tr_video_cache_key(path, o, key, err));
        TR_TRY(tr_video_cache_get(cache, key, &bytes, &size, err));
        if (bytes && !reply_holds(bytes, size)) { /* of another version */
            free(bytes);
            bytes = NULL;
        }
    }
    if (!bytes) {
        TR_TRY(decode(path, o, &bytes, &size, err));
        if (cache) {
            tr_video_cache_put(cache, key, bytes, size, NULL); /* a full disk costs time, not the run */
        }
    }
    TR_TRY(clip_make(path, o, bytes, size, clip, err));
    bytes = NULL;
done:
    free(bytes);
    return status;
}

void tr_clip_free(tr_clip *clip)
{
    if (clip) {
        free(clip->path);
        free(clip->seconds);
        free(clip->storage);
        free(clip);
    }
}
