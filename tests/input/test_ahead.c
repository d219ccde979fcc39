/* test_ahead.c: a source whose clips are opened ahead gives the same samples and the same errors as one that opens
 * them when they are asked for; ending early waits for nothing and leaves nothing. */
#include "support/tiny.h"

#include "base/file.h"
#include "input/sample.h"
#include "video/clip.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char tokenizer[512], corpus[512], videos[600], rows[600];
static tr_model_config config;

static int make(void **state)
{
    (void)state;
    tr_video_set_worker(TEMPR1_PROGRAM);
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    snprintf(corpus, sizeof corpus, "%s", scratch_path("corpus"));
    snprintf(videos, sizeof videos, "%s/videos", corpus);
    snprintf(rows, sizeof rows, "%s/test.jsonl", corpus);
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, scratch_path("model"), 3, 0);
    tiny_corpus(corpus, "tg,dtg,qa", 5);
    return tr_model_config_read(scratch_path("model"), &config, NULL) ? -1 : 0;
}

static tr_source *open_source(int64_t decoders, uint64_t bytes, const char *cache)
{
    const tr_data_entry entry = {
        .rows = rows, .videos = videos, .weight = 1, .reward = "tempr1", .prompt = "no-think"};
    const tr_source_options options = {.model = &config,
                                       .tokenizer = tokenizer,
                                       .video = {.fps = 2,
                                                 .min_frames = 2,
                                                 .max_frames = 4,
                                                 .total_pixels = 12544,
                                                 .min_pixels = 784,
                                                 .cache = cache,
                                                 .decoders = decoders,
                                                 .ahead_bytes = bytes},
                                       .entries = &entry,
                                       .entry_count = 1};
    tr_source *source;
    tr_error err = {0};
    if (tr_source_open(&options, &source, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return source;
}

/* Rows [first, first + count), the last ones fewer. */
static void tell(tr_source *source, int64_t first, int64_t count)
{
    int64_t list[64];
    int64_t n = 0;
    for (; n < count && first + n < source->rows; n++) {
        list[n] = first + n;
    }
    tr_source_ahead(source, list, n);
}

static void same_row(tr_source *a, tr_source *b, int64_t row)
{
    tr_sample x = {0}, y = {0};
    tr_error err_a = {0}, err_b = {0};
    tr_status status = a->call->load(a, row, false, &x, &err_a);
    assert_int_equal(b->call->load(b, row, false, &y, &err_b), status);
    if (status) {
        assert_string_equal(err_a.message, err_b.message);
        assert_string_equal(err_a.where, err_b.where);
        assert_non_null(strstr(err_a.message, x.id ? x.id : "row"));
        return;
    }
    assert_int_equal(a->call->patches(a, &x, NULL), TR_OK);
    assert_int_equal(b->call->patches(b, &y, NULL), TR_OK);
    assert_true(x.prompt == y.prompt && x.visual.rows == y.visual.rows && x.clip_key == y.clip_key);
    assert_memory_equal(x.prompt_ids, y.prompt_ids, (size_t)x.prompt * sizeof *x.prompt_ids);
    assert_memory_equal(x.positions, y.positions, 3 * (size_t)x.prompt * sizeof *x.positions);
    assert_memory_equal(x.patches, y.patches, (size_t)x.visual.rows * 1176 * sizeof *x.patches);
    tr_sample_clear(&x);
    tr_sample_clear(&y);
}

/* One clip of the corpus is damaged: its rows say so, and only they. */
static void test_the_same_samples_and_errors(void **state)
{
    (void)state;
    static const struct {
        int64_t decoders;
        uint64_t bytes;
        const char *cache;
    } settings[] = {{2, 1u << 30, NULL}, {4, 1, NULL}, {3, 1u << 20, "ahead-cache"}, {0, 1u << 30, NULL}};
    char *broken = tr_format("%s/test-00002.mp4", videos), *aside = tr_format("%s.aside", broken);
    assert_int_equal(rename(broken, aside), 0);
    assert_int_equal(tr_file_write_atomic(broken, "this is no video", 16, NULL), TR_OK);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        char cache[600];
        snprintf(cache, sizeof cache, "%s", scratch_path("ahead-cache"));
        tr_source *plain = open_source(0, 0, NULL);
        tr_source *source = open_source(settings[i].decoders, settings[i].bytes, settings[i].cache ? cache : NULL);
        int failed = 0;
        for (int pass = 0; pass < 2; pass++) {
            for (int64_t row = 0; row < source->rows; row++) {
                if (row % 3 == 0) {
                    tell(source, row, 6);
                }
                same_row(plain, source, row);
            }
        }
        for (int64_t row = 0; row < source->rows; row++) {
            tr_sample s = {0};
            failed += source->call->load(source, row, false, &s, NULL) != TR_OK;
            tr_sample_clear(&s);
        }
        assert_true(failed > 0 && failed < source->rows);
        assert_true(source->decode_s > 0);
        tell(source, 0, source->rows < 64 ? source->rows : 64); /* nobody will take these */
        tr_source_free(source);
        tr_source_free(plain);
    }
    assert_int_equal(rename(aside, broken), 0);
    free(broken);
    free(aside);
}

/* A run that stops does not wait for a decoder that hangs. */
static void test_an_early_end_waits_for_nothing(void **state)
{
    (void)state;
    tr_source *source = open_source(2, 1u << 30, NULL);
    tr_video_workers_stop();
    setenv("TEMPR1_WORKER_FAULT", "hang", 1);
    tell(source, 0, 8);
    nanosleep(&(struct timespec){0, 300000000}, NULL);
    double start_s = tr_time_s();
    tr_source_free(source);
    unsetenv("TEMPR1_WORKER_FAULT");
    assert_true(tr_time_s() - start_s < 10); /* the decoders' limit is 300 s */
}

/* What other threads did meanwhile is counted as decoding, not waited for. */
static void test_time_spent_ahead_is_no_waiting(void **state)
{
    (void)state;
    tr_source *source = open_source(2, 1u << 30, NULL);
    tr_sample s = {0};
    tell(source, 0, 1);
    nanosleep(&(struct timespec){2, 0}, NULL); /* "computing": long enough for a clip of 4 s */
    double start_s = tr_time_s();
    assert_int_equal(source->call->load(source, 0, false, &s, NULL), TR_OK);
    double waited_s = tr_time_s() - start_s;
    if (waited_s >= source->decode_s) {
        fail_msg("waited %.4f s for a clip that took %.4f s", waited_s, source->decode_s);
    }
    tr_sample_clear(&s);
    tr_source_free(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_samples_and_errors),
        cmocka_unit_test(test_an_early_end_waits_for_nothing),
        cmocka_unit_test(test_time_spent_ahead_is_no_waiting),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
