/* test_data_tools.c: `tempr1 data check`, `data mix` and `data show` as scripts use them, on generated clips and
 * real ones. */
#include "support/shared.h"

#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static tr_buffer out, errors;

/* Runs `tempr1 data ARGUMENTS` in the scratch folder; out and errors hold what it printed. */
static int run(const char *arguments)
{
    const char *folder = scratch_path("");
    char *out_path = tr_strdup(scratch_path("stdout")), *error_path = tr_strdup(scratch_path("stderr"));
    char *command =
        tr_format("cd '%s' && '%s' data %s >'%s' 2>'%s'", folder, TEMPR1_PROGRAM, arguments, out_path, error_path);
    int status = system(command);
    tr_buffer_clear(&out);
    tr_buffer_clear(&errors);
    assert_int_equal(tr_file_read(out_path, 0, &out, NULL), TR_OK);
    assert_int_equal(tr_file_read(error_path, 0, &errors, NULL), TR_OK);
    free(command);
    free(out_path);
    free(error_path);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(const char *arguments, int status, const char *out_has, const char *errors_have)
{
    int found = run(arguments);
    if (found != status || !strstr(tr_buffer_text(&out), out_has) ||
        !strstr(tr_buffer_text(&errors), errors_have)) {
        fail_msg("data %s: status %d, out \"%s\", errors \"%s\"", arguments, found, tr_buffer_text(&out),
                 tr_buffer_text(&errors));
    }
}

static void put(const char *name, const char *text)
{
    assert_int_equal(tr_file_write_atomic(scratch_path(name), text, strlen(text), NULL), TR_OK);
}

static json_t *read_json(const char *name)
{
    json_t *json = NULL;
    tr_error err = {0};
    if (tr_json_read(scratch_path(name), &json, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return json;
}

/* Copies the first `bytes` (0: all) of a file. */
static void copy(const char *from, const char *to, size_t bytes)
{
    tr_buffer text = {0};
    assert_int_equal(tr_file_read(from, 0, &text, NULL), TR_OK);
    size_t n = bytes && bytes < text.length ? bytes : text.length;
    assert_int_equal(tr_file_write_atomic(to, text.data, n, NULL), TR_OK);
    tr_buffer_free(&text);
}

/* scratch/corpus: six clips of 8 s, with rows of every task. */
static int make_corpus(void **state)
{
    (void)state;
    return run("synth --out corpus --train 3 --tune 1 --test 2 --min-duration 8 --max-duration 8 --tasks "
               "tg,dtg,vhd,gvqa,tal,qa --overlap --seed 5");
}

static int free_buffers(void **state)
{
    (void)state;
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
    return 0;
}

/* ---- check ---- */

static int count_of(const json_t *report, const char *kind)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(report, "findings"), i, item)
    {
        if (!strcmp(json_string_value(json_object_get(item, "kind")), kind)) {
            return (int)json_integer_value(json_object_get(item, "count"));
        }
    }
    fail_msg("no finding %s", kind);
    return -1;
}

static void test_check_of_a_good_corpus(void **state)
{
    (void)state;
    expect("check corpus/train.jsonl corpus/test.jsonl --videos corpus/videos --strict --out audit", 0,
           "5 videos, 5 of which decode", "");
    json_t *report = read_json("audit/check.json");
    assert_int_equal(json_array_size(json_object_get(report, "quarantine")), 0);
    json_decref(report);
    assert_true(tr_file_exists(scratch_path("audit/check.svg")));
    assert_true(tr_file_exists(scratch_path("audit/check.txt")));
    assert_true(tr_file_exists(scratch_path("audit/positions.svg")));
    expect("check corpus/train.jsonl --quick --videos corpus/videos --json", 0, "\"videos_decoded\":3", "");
}

#define TG(id, video, rest) "{\"id\":\"" id "\",\"task\":\"tg\",\"video\":\"" video "\",\"query\":\"q\"," rest "}\n"

static void test_check_of_bad_videos(void **state)
{
    (void)state;
    copy(scratch_path("corpus/videos/train-00000.mp4"), scratch_path("corpus/videos/again.mp4"), 0);
    copy(scratch_path("corpus/videos/train-00001.mp4"), scratch_path("corpus/videos/cut.mp4"), 900);
    put("corpus/videos/noise.mp4", "this is no video at all");
    put("corpus/videos/empty.mp4", "");
    put("bad.jsonl", TG("a", "train-00000.mp4", "\"duration\":8,\"segments\":[[1,2]]")
                         TG("b", "again.mp4", "\"duration\":8,\"segments\":[[1,2]]") /* same-file */
        TG("c", "cut.mp4", "\"duration\":8,\"segments\":[[1,2]]")                    /* broken-video */
        TG("d", "noise.mp4", "\"duration\":8,\"segments\":[[1,2]]")                  /* broken-video */
        TG("e", "empty.mp4", "\"duration\":8,\"segments\":[[1,2]]")                  /* broken-video */
        TG("f", "absent.mp4", "\"duration\":8,\"segments\":[[1,2]]")                 /* missing-video */
        TG("g", "train-00002.mp4", "\"duration\":20,\"segments\":[[1,12]]")          /* wrong-duration, past-end */
        TG("h", "test-00000.mp4", "\"segments\":[[1,2]],\"clip\":[4,30]")            /* clip-outside */
        TG("i", "test-00001.mp4", "\"duration\":3,\"segments\":[[1,2]],\"clip\":[4,7]"));
    expect("check bad.jsonl --videos corpus/videos --out bad", 0, "cut.mp4", "");
    json_t *report = read_json("bad/check.json");
    assert_int_equal(count_of(report, "same-file"), 1);
    assert_non_null(
        strstr(tr_buffer_text(&out), "again.mp4 (bad.jsonl) and corpus/videos/train-00000.mp4 (bad.jsonl)"));
    assert_int_equal(count_of(report, "broken-video"), 3);
    assert_int_equal(count_of(report, "missing-video"), 1);
    assert_int_equal(count_of(report, "wrong-duration"), 1);
    assert_int_equal(count_of(report, "past-end"), 1);
    assert_int_equal(count_of(report, "clip-outside"), 1);
    json_decref(report);
    tr_buffer list = {0};
    assert_int_equal(tr_file_read(scratch_path("bad/quarantine.txt"), 0, &list, NULL), TR_OK);
    assert_string_equal(tr_buffer_text(&list), "cut.mp4\nnoise.mp4\nempty.mp4\nabsent.mp4\n");
    tr_buffer_free(&list);
    expect("check bad.jsonl --videos corpus/videos --strict", 1, "past-end", "");
    expect("check bad.jsonl absent.jsonl", 1, "", "absent.jsonl");
    expect("check", 2, "", "usage");
    expect("check bad.jsonl --vidoes x", 2, "", "did you mean --videos?");
    expect("check --help", 0, "quarantine.txt", "");
}

/* Real clips with the lengths that ffprobe gives, and files that no decoder opens. */
static void test_check_of_real_videos(void **state)
{
    (void)state;
    const char *folder = need_shared("data/video");
    put("real.jsonl", TG("a", "annotated/OHOFG.mp4", "\"duration\":35,\"segments\":[[1,2]]")
                          TG("b", "timed-events/fades.mp4", "\"duration\":10,\"segments\":[[1,2]]")
                              TG("c", "natural/testcard_timecode_16s.mp4", "\"duration\":26,\"segments\":[[20,25]]")
                                  TG("d", "bad/mozilla_minimal.mp4", "\"duration\":8,\"segments\":[[1,2]]")
                                      TG("e", "bad/mozilla_sine-3s-xhe-aac-44khz-mono.mp4",
                                         "\"duration\":3,\"segments\":[[1,2]]"));
    char *arguments = tr_format("check real.jsonl --videos '%s' --tolerance 1 --json", folder);
    expect(arguments, 0, "\"videos_decoded\":3", "");
    json_t *report = NULL;
    assert_int_equal(tr_json_parse(out.data, out.length, "stdout", 0, &report, NULL), TR_OK);
    assert_int_equal(count_of(report, "wrong-duration"), 1); /* 16 s, not 26 */
    assert_int_equal(count_of(report, "past-end"), 1);
    assert_int_equal(count_of(report, "broken-video"), 2);
    json_decref(report);
    free(arguments);
}

/* ---- mix ---- */

static void test_mix(void **state)
{
    (void)state;
    put("spec.yaml", "sources:\n  - {rows: corpus/train.jsonl, videos: corpus/videos, tasks: [tg, tal]}\n"
                     "  - {rows: corpus/test.jsonl, videos: corpus/videos, tasks: {vhd: {count: 2}}}\n");
    expect("mix spec.yaml --out mixed/mix.jsonl", 0, "test                     vhd", "");
    assert_non_null(strstr(tr_buffer_text(&out), ", new"));
    expect("mix spec.yaml --out mixed/mix.jsonl --json", 0, "\"made\":\"unchanged\"", "");
    expect("mix spec.yaml --out mixed/mix.jsonl --check", 0, "unchanged", "");
    expect("mix spec.yaml --out mixed/mix.jsonl --seed 9", 1, "", "the specification is another one");
    expect("mix spec.yaml --out mixed/mix.jsonl --seed 9 --accept-changes", 0, ", changed", "");
    /* The videos of the mix are found from its own folder, as training looks for them. */
    expect("check mixed/mix.jsonl --videos mixed --strict", 0, "4 of which decode", "");
    put("wrong.yaml", "sauces: []\n");
    expect("mix wrong.yaml --out x.jsonl", 1, "", "wrong.yaml:1: unknown key 'sauces' (did you mean 'sources'?)");
    expect("mix spec.yaml", 2, "", "--out");
    expect("mix absent.yaml --out x.jsonl", 1, "", "absent.yaml");
    expect("mix --help", 0, "per_video: 8", "");
}

/* ---- show ---- */

static size_t occurrences(const char *name, const char *what)
{
    tr_buffer text = {0};
    size_t count = 0;
    assert_int_equal(tr_file_read(scratch_path(name), 0, &text, NULL), TR_OK);
    for (const char *p = tr_buffer_text(&text); (p = strstr(p, what)); p++) {
        count++;
    }
    tr_buffer_free(&text);
    return count;
}

static void test_show(void **state)
{
    (void)state;
    expect("show corpus/train.jsonl --videos corpus/videos --task dtg --out look", 0, "look/index.html: ", "");
    assert_true(occurrences("look/index.html", "data-task=\"dtg\"") > 0);
    assert_int_equal(occurrences("look/index.html", "data-task=\"tg\""), 0);
    char **names;
    size_t count;
    assert_int_equal(tr_directory_list(scratch_path("look/strips"), &names, &count, NULL), TR_OK);
    assert_int_equal(count, occurrences("look/index.html", "<img"));
    char *first = tr_format("look/strips/%s", names[0]);
    assert_int_equal(occurrences(first, "data:image/jpeg;base64,/9j/"), 12);
    assert_int_equal(occurrences(first, "frame 0, 0.000 s"), 1);
    assert_int_equal(occurrences(first, "frame 63, 7.875 s"), 1); /* the last of 64 frames at 8 a second */
    free(first);
    tr_names_free(names, count);
    expect("show corpus/train.jsonl --videos corpus/videos --sample 2 --frames 4 --out s --json", 0, "\"rows\":2",
           "");
    char *once = tr_strdup(tr_buffer_text(&out));
    expect("show corpus/train.jsonl --videos corpus/videos --sample 2 --frames 4 --out s --json", 0, once, "");
    free(once);
    /* one row, with a part of the video: eight frames from 2 s on, counted from there */
    expect("show "
           "'{\"task\":\"tg\",\"video\":\"train-00000.mp4\",\"clip\":[2,6],\"query\":\"q\",\"segments\":[[1,2]]}' "
           "--videos corpus/videos --frames 8 --out one",
           0, "1 strips", "");
    assert_int_equal(occurrences("one/strips/0001-row.svg", "<image"), 8);
    assert_int_equal(occurrences("one/strips/0001-row.svg", "frame 16, 0.000 s"), 1);
    /* answers of a model; a clip that does not decode leaves a strip that says so */
    put("answers.jsonl", "{\"id\":\"a\",\"parsed\":[[1,3]]}\n\n{\"id\":\"c\",\"parsed\":null}\n");
    put("pair.jsonl",
        TG("a", "train-00000.mp4", "\"segments\":[[1,2]]") TG("c", "torn.mp4", "\"segments\":[[1,2]]"));
    put("corpus/videos/torn.mp4", "this is no video");
    expect("show pair.jsonl --videos corpus/videos --answers answers.jsonl --out pair", 0, "2 strips",
           "1 of them have no frames; the first, \"c\": ");
    assert_int_equal(occurrences("pair/strips/0001-a.svg", "class=\"answer\""), 1);
    assert_int_equal(occurrences("pair/strips/0002-c.svg", "no frames: "), 1);
    put("bad-answers.jsonl", "{\"id\":\"a\"}\n{\"parsed\":[]}\n");
    expect("show pair.jsonl --answers bad-answers.jsonl --out x", 1, "", "bad-answers.jsonl:2: an answer needs");
    expect("show pair.jsonl --answers absent.jsonl --out x", 1, "", "absent.jsonl");
    expect("show pair.jsonl --id zz --out x", 1, "", "no row has the id");
    expect("show absent.jsonl --out x", 1, "", "absent.jsonl");
    expect("show '{\"task\":\"tg\"' --out x", 1, "", "the row");
    expect("show '{\"task\":\"tg\",\"video\":\"v\"}' --out x", 1, "", "query");
    expect("show pair.jsonl", 2, "", "--out");
    expect("show --help", 0, "--answers", "");
}

static void test_show_of_a_real_clip(void **state)
{
    (void)state;
    const char *folder = need_shared("data/video/annotated");
    put("real-tg.jsonl", TG("OHOFG", "OHOFG.mp4", "\"segments\":[[1.5,9.25]]"));
    char *arguments = tr_format("show real-tg.jsonl --videos '%s' --out real-look --json", folder);
    expect(arguments, 0, "\"unread\":[]", "");
    assert_int_equal(occurrences("real-look/strips/0001-OHOFG.svg", "data:image/jpeg;base64,/9j/"), 12);
    assert_int_equal(occurrences("real-look/strips/0001-OHOFG.svg", "1.50 to 9.25"), 2);
    free(arguments);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_of_a_good_corpus),
        cmocka_unit_test(test_check_of_bad_videos),
        cmocka_unit_test(test_check_of_real_videos),
        cmocka_unit_test(test_mix),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_show_of_a_real_clip),
    };
    return cmocka_run_group_tests(tests, make_corpus, free_buffers);
}
