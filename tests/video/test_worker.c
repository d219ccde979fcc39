/* test_worker.c: the decoder processes: kept, replaced, killed on time, reported when they die; the rules of the
 * wire; the plan of packets. Clips are written by our own encoder. */
#include "processes.h"

#include "base/file.h"
#include "video/clip.h"
#include "video/encode.h"
#include "video/plan.h"
#include "video/wire.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void one_process_serves_many(void **state)
{
    (void)state;
    const char *path = write_clip("many.mp4", 20);
    pid_t first[8], later[8];
    tr_video_workers_stop();
    assert_int_equal(children(first, 8), 0);
    for (int i = 0; i < 20; i++) {
        tr_clip *clip = NULL;
        tr_error err = {0};
        if (tr_clip_open(path, NULL, NULL, &clip, &err)) {
            fail_msg("%s: %s", err.where, err.message);
        }
        assert_int_equal(clip->total_frames, 20);
        tr_clip_free(clip);
        assert_int_equal(children(i ? later : first, 8), 1);
        assert_int_equal(first[0], i ? later[0] : first[0]);
    }
    kill(first[0], SIGKILL); /* dies while idle: the next clip does not notice */
    tr_clip *clip = NULL;
    assert_int_equal(tr_clip_open(path, NULL, NULL, &clip, NULL), TR_OK);
    tr_clip_free(clip);
    assert_int_equal(children(later, 8), 1);
    assert_true(later[0] != first[0]);
    tr_video_workers_stop();
    assert_int_equal(children(later, 8), 0);
}

/* Opens with the fault that the decoder process is told to show, and again without. */
static void with_fault(const char *fault, double limit_s, tr_status code, const char *says)
{
    const char *path = write_clip("fault.mp4", 12);
    tr_video_options o = tr_video_options_default();
    tr_clip *clip = NULL;
    tr_error err = {0};
    pid_t ids[8];
    o.time_limit_s = limit_s;
    tr_video_workers_stop();
    setenv("TEMPR1_WORKER_FAULT", fault, 1);
    double start_s = tr_time_s();
    assert_int_equal(tr_clip_open(path, &o, NULL, &clip, &err), code);
    unsetenv("TEMPR1_WORKER_FAULT");
    assert_null(clip);
    assert_true(tr_time_s() - start_s < limit_s + 10);
    assert_true(strstr(err.where, "fault.mp4") && strstr(err.message, says));
    assert_int_equal(children(ids, 8), 0);
    o.time_limit_s = 100;
    assert_int_equal(tr_clip_open(path, &o, NULL, &clip, &err), TR_OK); /* the run goes on */
    tr_clip_free(clip);
    tr_video_workers_stop();
}

static void faults(void **state)
{
    (void)state;
    with_fault("hang", 0.7, TR_TIMEOUT, "did not finish within 0.7 s");
    with_fault("crash", 100, TR_CHILD, "died of signal 9");
    with_fault("exit", 100, TR_CHILD, "ended with status 2");
}

static void absent_program(void **state)
{
    (void)state;
    const char *path = write_clip("absent.mp4", 12);
    tr_clip *clip = NULL;
    tr_error err = {0};
    tr_video_set_worker("/nonexistent/tempr1");
    assert_int_equal(tr_clip_open(path, NULL, NULL, &clip, &err), TR_CHILD);
    assert_non_null(strstr(err.message, "/nonexistent/tempr1"));
    tr_video_set_worker("false"); /* starts, but is no decoder */
    assert_int_equal(tr_clip_open(path, NULL, NULL, &clip, &err), TR_CHILD);
    assert_non_null(strstr(err.message, "status 1"));
    tr_video_set_worker(NULL);
    assert_int_equal(tr_clip_open(path, NULL, NULL, &clip, &err), TR_OK);
    tr_clip_free(clip);
}

static void memory_limit(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip_test("address space cannot be limited under AddressSanitizer");
#endif
    const char *path = write_clip("memory.mp4", 12);
    tr_video_options o = tr_video_options_default();
    tr_clip *clip = NULL;
    tr_error err = {0};
    o.memory_limit_bytes = 1 << 20; /* less than the program itself takes: nothing more can be had */
    assert_true(tr_clip_open(path, &o, NULL, &clip, &err) != TR_OK);
    assert_null(clip);
    o.memory_limit_bytes = INT64_C(16) << 30;
    assert_int_equal(tr_clip_open(path, &o, NULL, &clip, &err), TR_OK);
    tr_clip_free(clip);
}

/* A child that is forked, not started anew, must not speak over its parent's connections. */
static void after_a_fork(void **state)
{
    (void)state;
    const char *path = write_clip("fork.mp4", 12);
    tr_clip *clip = NULL;
    int result = 0;
    assert_int_equal(tr_clip_open(path, NULL, NULL, &clip, NULL), TR_OK);
    tr_clip_free(clip);
    pid_t child = fork();
    if (!child) {
        tr_status status = tr_clip_open(path, NULL, NULL, &clip, NULL);
        tr_clip_free(clip);
        tr_video_workers_stop();
        _exit(status == TR_OK ? 0 : 1);
    }
    assert_int_equal(tr_clip_open(path, NULL, NULL, &clip, NULL), TR_OK);
    tr_clip_free(clip);
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result) && !WEXITSTATUS(result));
}

static void *open_some(void *path)
{
    size_t bad = 0;
    for (int i = 0; i < 4; i++) {
        tr_clip *clip = NULL;
        bad += tr_clip_open(path, NULL, NULL, &clip, NULL) != TR_OK || clip->total_frames != 12;
        tr_clip_free(clip);
    }
    return (void *)bad;
}

static void threads(void **state)
{
    (void)state;
    char path[600];
    pthread_t threads[4];
    snprintf(path, sizeof path, "%s", write_clip("threads.mp4", 12));
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, open_some, path), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    tr_video_workers_stop();
}

/* A whole reply of 2 frames of 28x28, then with one fault each. */
static void wire_replies(void **state)
{
    (void)state;
    size_t size = tr_wire_bytes(2, 28, 28);
    tr_wire_reply *good = calloc(1, size), *bad = malloc(size);
    assert_non_null(good);
    assert_non_null(bad);
    *good = (tr_wire_reply){.magic = TR_WIRE_MAGIC,
                            .version = TR_WIRE_VERSION,
                            .count = 2,
                            .total_frames = 9,
                            .fps = 10,
                            .duration_s = 0.9,
                            .source_height = 30,
                            .source_width = 30,
                            .height = 28,
                            .width = 28,
                            .bytes = size};
    int64_t *frames = (int64_t *)(void *)(good + 1);
    frames[1] = 8;
    assert_true(tr_wire_reply_holds(good, size));
    assert_false(tr_wire_reply_holds(good, size - 1));
    assert_false(tr_wire_reply_holds(good, sizeof *good - 1));
    assert_false(tr_wire_reply_holds(good, 0));
#define BAD(change)                                                                                                \
    do {                                                                                                           \
        memcpy(bad, good, size);                                                                                   \
        frames = (int64_t *)(void *)(bad + 1);                                                                     \
        change;                                                                                                    \
        assert_false(tr_wire_reply_holds(bad, size));                                                              \
    } while (0)
    BAD(bad->magic++);
    BAD(bad->version--);
    BAD(bad->status = TR_IO);
    BAD(bad->count = 3);
    BAD(bad->count = -2);
    BAD(bad->count = INT32_MAX);
    BAD(bad->height = 0);
    BAD(bad->width = INT32_MAX; bad->height = INT32_MAX);
    BAD(bad->bytes++);
    BAD(bad->fps = 0);
    BAD(bad->fps = (double)NAN);
    BAD(bad->source_width = -1);
    BAD(bad->total_frames = 1);
    BAD(frames[0] = -1);
    BAD(frames[1] = 9);
    BAD(frames[0] = 8; frames[1] = 7);
    BAD(((double *)(void *)(frames + 2))[1] = (double)INFINITY);
    assert_int_equal(tr_wire_bytes(0, 1, 1), 0);
    assert_int_equal(tr_wire_bytes(INT32_MAX, INT32_MAX, INT32_MAX), 0);
    free(good);
    free(bad);
}

static void wire_requests(void **state)
{
    (void)state;
    tr_wire_request *request = calloc(1, sizeof *request);
    assert_non_null(request);
    assert_false(tr_wire_request_holds(request, sizeof *request));
    request->magic = TR_WIRE_MAGIC;
    request->version = TR_WIRE_VERSION;
    assert_true(tr_wire_request_holds(request, sizeof *request));
    assert_false(tr_wire_request_holds(request, sizeof *request - 1));
    memset(request->path, 'a', sizeof request->path);
    assert_false(tr_wire_request_holds(request, sizeof *request));
    free(request);
    char longest[TR_WIRE_PATH + 1];
    tr_clip *clip;
    tr_error err = {0};
    memset(longest, 'a', sizeof longest);
    longest[TR_WIRE_PATH] = 0;
    assert_int_equal(tr_clip_open(longest, NULL, NULL, &clip, &err), TR_INVALID);
}

/* Nonsense over the connection ends the decoder process; it never answers it. */
static void nonsense_to_the_worker(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        int pair[2], result;
        char bytes[sizeof(tr_wire_request)];
        memset(bytes, kind, sizeof bytes);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
        pid_t child = fork();
        if (!child) {
            dup2(pair[1], TR_WIRE_FD);
            for (int i = TR_WIRE_FD + 1; i < 64; i++) {
                close(i);
            }
            execl(TEMPR1_PROGRAM, TEMPR1_PROGRAM, "decode-worker", (char *)NULL);
            _exit(9);
        }
        close(pair[1]);
        if (kind) {
            assert_true(send(pair[0], bytes, kind == 1 ? 7 : sizeof bytes, MSG_NOSIGNAL) > 0);
        } else {
            close(pair[0]); /* the parent is gone: a quiet end */
        }
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_true(WIFEXITED(result));
        assert_int_equal(WEXITSTATUS(result), kind ? 2 : 0);
        if (kind) {
            assert_int_equal(recv(pair[0], bytes, sizeof bytes, MSG_DONTWAIT), 0);
            close(pair[0]);
        }
    }
}

/* Groups of 30 packets: a key frame, then frames in the order shown. */
/* Found by the fuzzer: a group of frames shown before their key frame is passed over by a restart there, and leaves
 * a gap in front of the next group, whose own leading frame is wanted. */
static void plan_keeps_a_leading_frame(void **state)
{
    (void)state;
    tr_video_plan plan = {0};
    const struct {
        int64_t key, first;
        int frames;
    } groups[] = {{1000, 1001, 20}, {100, 1, 20}, {200, 150, 1}};
    for (int g = 0; g < 3; g++) {
        assert_int_equal(tr_video_plan_add(&plan, groups[g].key, true, true, NULL), TR_OK);
        for (int i = 0; i < groups[g].frames; i++) {
            assert_int_equal(tr_video_plan_add(&plan, groups[g].first + i, true, false, NULL), TR_OK);
        }
    }
    assert_true(tr_video_plan_holds(&plan));
    assert_int_equal(tr_video_plan_make(&plan, (int64_t[]){21}, 1, NULL), TR_OK); /* times 1 to 20, 100, 150 */
    assert_int_equal(tr_video_plan_pts(&plan, 21), 150);
    assert_true(plan.packets[plan.count - 1].chosen && plan.packets[plan.count - 1].send);
    tr_video_plan_free(&plan);
}

static void plans(void **state)
{
    (void)state;
    tr_video_plan plan = {0};
    for (int i = 0; i < 120; i++) {
        assert_int_equal(tr_video_plan_add(&plan, 10 * i, true, i % 30 == 0, NULL), TR_OK);
    }
    assert_true(tr_video_plan_holds(&plan));
    assert_int_equal(tr_video_plan_make(&plan, (int64_t[]){3, 64, 64, 70}, 4, NULL), TR_OK);
    assert_int_equal(tr_video_plan_pts(&plan, 64), 640);
    assert_int_equal(plan.end, 71);
    for (int i = 0; i < 120; i++) {
        assert_int_equal(plan.packets[i].send, i <= 3 || (i >= 60 && i <= 70));
        assert_int_equal(plan.packets[i].jump, i == 60);
        assert_int_equal(plan.packets[i].chosen, i == 3 || i == 64 || i == 70);
    }
    assert_int_equal(tr_video_plan_make(&plan, (int64_t[]){20, 31}, 2, NULL), TR_OK); /* 9 between: not worth it */
    for (int i = 0; i < 120; i++) {
        assert_int_equal(plan.packets[i].send, i <= 31);
        assert_false(plan.packets[i].jump);
    }
    assert_int_equal(tr_video_plan_make(&plan, (int64_t[]){0, 120}, 2, NULL), TR_INVALID);
    assert_int_equal(tr_video_plan_make(&plan, (int64_t[]){-1, 2}, 2, NULL), TR_INVALID);
    tr_video_plan_free(&plan);
    for (int i = 0; i < 40; i++) { /* open groups: two frames shown before the key frame come after it */
        int at = i % 20, shown = at == 0 ? i + 2 : at <= 2 ? i - 1 : i;
        assert_int_equal(tr_video_plan_add(&plan, shown, true, at == 0, NULL), TR_OK);
    }
    assert_true(tr_video_plan_holds(&plan));
    assert_int_equal(tr_video_plan_make(&plan, (int64_t[]){20, 30}, 2, NULL),
                     TR_OK); /* leans on the group before */
    for (int i = 0; i < 31; i++) {
        assert_true(plan.packets[i].send && !plan.packets[i].jump);
    }
    assert_int_equal(tr_video_plan_make(&plan, (int64_t[]){24, 30}, 2, NULL), TR_OK);
    for (int i = 0; i < 31; i++) {
        assert_int_equal(plan.packets[i].send, i >= 20 && i != 21 && i != 22);
    }
    tr_video_plan_free(&plan);
    assert_false(tr_video_plan_holds(&plan));
    assert_int_equal(tr_video_plan_add(&plan, 1, true, true, NULL), TR_OK);
    assert_int_equal(tr_video_plan_add(&plan, 1, true, false, NULL), TR_OK);
    assert_false(tr_video_plan_holds(&plan)); /* two frames at one time */
    tr_video_plan_free(&plan);
    assert_int_equal(tr_video_plan_add(&plan, INT64_MIN, true, true, NULL), TR_OK);
    assert_false(tr_video_plan_holds(&plan));
    tr_video_plan_free(&plan);
}

int main(void)
{
    setenv("TEMPR1_WORKER", TEMPR1_PROGRAM, 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_process_serves_many),
                                       cmocka_unit_test(faults),
                                       cmocka_unit_test(absent_program),
                                       cmocka_unit_test(memory_limit),
                                       cmocka_unit_test(after_a_fork),
                                       cmocka_unit_test(threads),
                                       cmocka_unit_test(wire_replies),
                                       cmocka_unit_test(wire_requests),
                                       cmocka_unit_test(nonsense_to_the_worker),
                                       cmocka_unit_test(plans),
                                       cmocka_unit_test(plan_keeps_a_leading_frame)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
