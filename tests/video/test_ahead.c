/* test_ahead.c: clips opened ahead are those that tr_clip_open gives, errors too; memory is bounded, hung decoders
 * are stopped, nothing is left behind. Also under the sanitizers, which would see a race's leak. */
#include "processes.h"

#include "base/file.h"
#include "base/random.h"
#include "video/ahead.h"
#include "video/cache.h"

#include <time.h>

enum { CLIPS = 6 };

static char paths[CLIPS][600];
static tr_clip *direct[CLIPS];

static int make(void **state)
{
    (void)state;
    tr_video_set_worker(TEMPR1_PROGRAM);
    for (int i = 0; i < CLIPS; i++) {
        char name[32];
        snprintf(name, sizeof name, "ahead%d.mp4", i);
        snprintf(paths[i], sizeof paths[i], "%s", write_clip(name, 8 + 3 * i));
        if (tr_clip_open(paths[i], NULL, NULL, &direct[i], NULL)) {
            return -1;
        }
    }
    return 0;
}

static int clear(void **state)
{
    (void)state;
    for (int i = 0; i < CLIPS; i++) {
        tr_clip_free(direct[i]);
    }
    tr_video_workers_stop();
    return 0;
}

static tr_clip_wish wish(int clip)
{
    return (tr_clip_wish){.path = paths[clip], .options = tr_video_options_default(), .key = (uint64_t)clip + 100};
}

static tr_clip_queue *make_queue(int workers, uint64_t bytes, tr_video_cache *cache)
{
    tr_clip_queue *queue;
    assert_int_equal(tr_clip_queue_create(workers, bytes, cache, &queue, NULL), TR_OK);
    return queue;
}

static void check_clip(tr_clip *clip, int index)
{
    assert_non_null(clip);
    assert_int_equal(clip->storage_bytes, direct[index]->storage_bytes);
    assert_memory_equal(clip->storage, direct[index]->storage, clip->storage_bytes);
    assert_string_equal(clip->path, paths[index]);
    tr_clip_free(clip);
}

/* Waits until a thread has begun with the clip, and takes it. */
static tr_status take_begun(tr_clip_queue *queue, const tr_clip_wish *wishes, size_t count, uint64_t key,
                            tr_clip **clip, double *open_s, tr_error *err)
{
    for (int tries = 0; tries < 500; tries++) {
        bool found;
        assert_int_equal(tr_clip_queue_wish(queue, wishes, count, NULL), TR_OK);
        nanosleep(&(struct timespec){0, 20000000}, NULL);
        tr_status status = tr_clip_queue_take(queue, key, &found, clip, open_s, err);
        if (found) {
            return status;
        }
    }
    fail_msg("no thread opened the clip within 10 s");
    return TR_TIMEOUT;
}

static void the_same_clips(void **state)
{
    (void)state;
    tr_clip_queue *queue = make_queue(3, 1 << 30, NULL);
    tr_clip_wish wishes[CLIPS];
    tr_clip *clip;
    tr_error err = {0};
    bool found = true;
    double open_s = 0;
    for (int i = 0; i < CLIPS; i++) {
        wishes[i] = wish(i);
    }
    for (int i = 0; i < CLIPS; i++) {
        double before_s = open_s;
        assert_int_equal(take_begun(queue, wishes + i, (size_t)(CLIPS - i), wishes[i].key, &clip, &open_s, &err),
                         TR_OK);
        check_clip(clip, i);
        assert_true(open_s > before_s && open_s < before_s + 60);
    }
    assert_int_equal(tr_clip_queue_take(queue, 5, &found, &clip, &open_s, &err), TR_OK); /* never wished for */
    assert_true(!found && !clip);
    tr_clip_queue_free(queue);
    tr_clip_queue_free(NULL);
}

/* What goes wrong is given when the clip is taken, as tr_clip_open gives it. */
static void errors_come_with_their_clip(void **state)
{
    (void)state;
    tr_clip_queue *queue = make_queue(2, 1 << 30, NULL);
    tr_clip_wish wishes[3] = {wish(0), wish(1), wish(2)};
    tr_clip *clip;
    tr_error err = {0}, same = {0};
    double open_s = 0;
    wishes[1].path = "/nonexistent.mp4";
    wishes[1].key = 1;
    assert_int_equal(take_begun(queue, wishes, 3, wishes[0].key, &clip, &open_s, &err), TR_OK);
    check_clip(clip, 0);
    assert_int_equal(take_begun(queue, wishes + 1, 2, 1, &clip, &open_s, &err), TR_NOT_FOUND);
    assert_null(clip);
    assert_int_equal(tr_clip_open("/nonexistent.mp4", NULL, NULL, &clip, &same), TR_NOT_FOUND);
    assert_string_equal(err.message, same.message);
    assert_string_equal(err.where, same.where);
    assert_int_equal(take_begun(queue, wishes + 2, 1, wishes[2].key, &clip, &open_s, &err), TR_OK);
    check_clip(clip, 2);
    tr_clip_queue_free(queue);
}

/* With no room for a second clip each waits for the one before it; whoever asks early opens the clip itself. */
static void memory_is_bounded(void **state)
{
    (void)state;
    tr_clip_queue *queue = make_queue(4, 1, NULL);
    tr_clip_wish wishes[CLIPS];
    tr_clip *clip;
    double open_s = 0;
    bool found;
    for (int i = 0; i < CLIPS; i++) {
        wishes[i] = wish(i);
    }
    assert_int_equal(take_begun(queue, wishes, CLIPS, wishes[0].key, &clip, &open_s, NULL), TR_OK);
    check_clip(clip, 0);
    assert_int_equal(tr_clip_queue_wish(queue, wishes + 1, CLIPS - 1, NULL), TR_OK);
    nanosleep(&(struct timespec){0, 300000000}, NULL); /* more threads would have begun with more clips by now */
    for (int i = CLIPS - 1; i >= 2; i--) {
        assert_int_equal(tr_clip_queue_take(queue, wishes[i].key, &found, &clip, &open_s, NULL), TR_OK);
        assert_true(!found && !clip);
    }
    assert_int_equal(take_begun(queue, wishes + 1, 1, wishes[1].key, &clip, &open_s, NULL), TR_OK);
    check_clip(clip, 1);
    tr_clip_queue_free(queue);
}

/* A clip that is wished for twice is decoded once where there is a cache. */
static void twice_the_same_clip(void **state)
{
    (void)state;
    tr_video_cache cache;
    assert_int_equal(tr_video_cache_open(&cache, scratch_path("cache"), 0, NULL), TR_OK);
    tr_clip_queue *queue = make_queue(4, 1 << 30, &cache);
    const tr_clip_wish wishes[3] = {wish(3), wish(4), wish(3)};
    tr_clip *clip;
    double open_s = 0;
    assert_int_equal(take_begun(queue, wishes, 3, wishes[0].key, &clip, &open_s, NULL), TR_OK);
    check_clip(clip, 3);
    assert_int_equal(take_begun(queue, wishes + 1, 2, wishes[1].key, &clip, &open_s, NULL), TR_OK);
    check_clip(clip, 4);
    assert_int_equal(take_begun(queue, wishes + 2, 1, wishes[2].key, &clip, &open_s, NULL), TR_OK);
    check_clip(clip, 3);
    tr_clip_queue_free(queue);
    assert_int_equal(atomic_load(&cache.misses), 2);
    assert_true(atomic_load(&cache.hits) >= 1);
    tr_video_cache_close(&cache);
}

/* A decoder that hangs is stopped at its limit, one that dies is reported; freeing the queue waits for neither. */
static void faults(void **state)
{
    (void)state;
    static const struct {
        const char *fault;
        double limit_s;
        tr_status status;
    } cases[] = {{"hang", 0.5, TR_TIMEOUT}, {"crash", 100, TR_CHILD}};
    pid_t ids[8];
    double open_s = 0;
    for (size_t i = 0; i < 2; i++) {
        tr_clip_queue *queue = make_queue(2, 1 << 30, NULL);
        tr_clip *clip;
        tr_error err = {0};
        tr_clip_wish one = wish(0);
        one.options.time_limit_s = cases[i].limit_s;
        tr_video_workers_stop();
        setenv("TEMPR1_WORKER_FAULT", cases[i].fault, 1);
        assert_int_equal(take_begun(queue, &one, 1, one.key, &clip, &open_s, &err), cases[i].status);
        unsetenv("TEMPR1_WORKER_FAULT");
        assert_null(clip);
        assert_non_null(strstr(err.where, "ahead0.mp4"));
        tr_clip_queue_free(queue);
        assert_int_equal(children(ids, 8), 0);
    }
    tr_clip_queue *queue = make_queue(2, 1 << 30, NULL);
    const tr_clip_wish two[2] = {wish(0), wish(1)};
    setenv("TEMPR1_WORKER_FAULT", "hang", 1);
    assert_int_equal(tr_clip_queue_wish(queue, two, 2, NULL), TR_OK);
    for (int tries = 0; tries < 500 && children(ids, 8) < 2; tries++) {
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    assert_int_equal(children(ids, 8), 2);
    double start_s = tr_time_s();
    tr_clip_queue_free(queue);
    unsetenv("TEMPR1_WORKER_FAULT");
    assert_true(tr_time_s() - start_s < 10); /* their limit is 300 s */
    assert_int_equal(children(ids, 8), 0);
}

/* Lists that change all the time, clips taken or not: each one that comes is right. */
static void changing_lists(void **state)
{
    (void)state;
    for (int workers = 0; workers < 4; workers++) {
        tr_clip_queue *queue = make_queue(workers, workers % 2 ? 1 << 20 : 1 << 30, NULL);
        int came = 0;
        for (uint32_t round = 0; round < 40; round++) {
            tr_clip_wish wishes[8];
            int clips[8], count = (int)(tr_random_uniform(3, round, 0, 0, (uint32_t)workers) * 9);
            for (int i = 0; i < count; i++) {
                clips[i] = (int)(tr_random_uniform(3, round, 1, (uint32_t)i, (uint32_t)workers) * CLIPS);
                wishes[i] = wish(clips[i]);
            }
            assert_int_equal(tr_clip_queue_wish(queue, wishes, (size_t)count, NULL), TR_OK);
            for (int i = 0; i < count / 2; i++) {
                tr_clip *clip;
                double open_s = 0;
                bool found;
                assert_int_equal(tr_clip_queue_take(queue, wishes[i].key, &found, &clip, &open_s, NULL), TR_OK);
                if (found) {
                    check_clip(clip, clips[i]);
                    came++;
                }
            }
        }
        assert_true(workers || !came);
        tr_clip_queue_free(queue);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_clips),
        cmocka_unit_test(errors_come_with_their_clip),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(twice_the_same_clip),
        cmocka_unit_test(faults),
        cmocka_unit_test(changing_lists),
    };
    return cmocka_run_group_tests(tests, make, clear);
}
