/* test_check.c: the audit: blind guesses against brute force, findings on a corpus with known faults, real
 * annotations. */
#include "support/shared.h"

#include "base/file.h"
#include "base/random.h"
#include "corpus/check.h"
#include "corpus/check_blind.h"
#include "corpus/rows.h"
#include "task/interval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- guesses ---- */

enum { SAMPLES = 12, MOST = 3 };
typedef struct fixture {
    tr_interval segments[SAMPLES][MOST];
    tr_blind_sample samples[SAMPLES];
    size_t count;
} fixture;

static double uniform(uint32_t trial, uint32_t i, uint32_t k)
{
    return tr_random_uniform(77, trial, i, k, 0);
}

/* Up to 12 clips of 5 to 40 s with 1 to 3 intervals, on a coarse grid in every second trial (ties). */
static void make(fixture *f, uint32_t trial)
{
    f->count = 1 + (size_t)(uniform(trial, 0, 99) * SAMPLES);
    for (uint32_t i = 0; i < f->count; i++) {
        double duration = 5 + floor(35 * uniform(trial, i, 0)), snap = trial % 2 ? 1 : 1e-6;
        size_t n = trial % 3 ? 1 : 1 + (size_t)(MOST * uniform(trial, i, 1));
        for (uint32_t k = 0; k < n; k++) {
            double start = floor((duration - 1) * uniform(trial, i, 2 + 2 * k) / snap) * snap;
            double length = fmax(snap, floor((duration - start) * uniform(trial, i, 3 + 2 * k) / snap) * snap);
            f->segments[i][k] = (tr_interval){start, start + length};
        }
        f->samples[i] = (tr_blind_sample){f->segments[i], n, duration};
    }
}

/* The mean score of a guess by the interval functions of the metrics, not by the code under test. */
static double plain_score(const fixture *f, bool shares, tr_interval guess, double threshold)
{
    double sum = 0;
    for (size_t i = 0; i < f->count; i++) {
        double duration = f->samples[i].duration_s;
        tr_interval p = shares ? (tr_interval){guess.start_s * duration, guess.end_s * duration} : guess;
        tr_interval truth[MOST];
        p = tr_interval_clamp(p, duration);
        memcpy(truth, f->segments[i], sizeof truth);
        size_t n = tr_interval_union(truth, f->samples[i].count);
        double iou = tr_interval_proper(p) ? tr_union_iou(&p, 1, truth, n) : 0;
        sum += threshold > 0 ? iou >= threshold : iou;
    }
    return sum / (double)f->count;
}

static void test_scores(void **state)
{
    (void)state;
    static const double thresholds[TR_BLIND_GOALS] = {0, 0.3, 0.5, 0.7};
    for (uint32_t trial = 0; trial < 2000; trial++) {
        fixture f;
        tr_blind_set set;
        double scores[TR_BLIND_GOALS];
        bool shares = trial % 4 < 2;
        make(&f, trial);
        assert_int_equal(tr_blind_set_make(f.samples, f.count, shares, &set, NULL), TR_OK);
        assert_int_equal(set.count, f.count);
        double a = uniform(trial, 900, 0), b = a + (1 - a) * uniform(trial, 900, 1), scale = shares ? 1 : 40;
        tr_interval guess = {a * scale, b * scale};
        tr_blind_score(&set, guess, scores);
        for (int goal = 0; goal < TR_BLIND_GOALS; goal++) {
            assert_true(fabs(scores[goal] - plain_score(&f, shares, guess, thresholds[goal])) < 1e-9);
        }
        tr_blind_set_free(&set);
    }
}

/* The search equals all pairs of a start and an end, and no guess of any kind beats it. */
static void test_search_is_exact(void **state)
{
    (void)state;
    for (uint32_t trial = 0; trial < 400; trial++) {
        fixture f;
        tr_blind_set set;
        tr_blind_best best;
        bool shares = trial % 4 < 2;
        double brute = 0, any = 0;
        make(&f, trial);
        assert_int_equal(tr_blind_set_make(f.samples, f.count, shares, &set, NULL), TR_OK);
        assert_int_equal(tr_blind_search(&set, TR_BLIND_MIOU, 0, &best, NULL), TR_OK);
        for (size_t i = 0; i < set.list_count; i++) {
            for (size_t j = 0; j < set.list_count; j++) {
                tr_interval guess = {set.list[i].start_s, set.list[j].end_s};
                if (guess.start_s < guess.end_s) {
                    brute = fmax(brute, plain_score(&f, shares, guess, 0));
                }
            }
        }
        for (int i = 0; i < 60; i++) { /* the theorem: nothing between the candidates is better */
            for (int j = i + 1; j <= 60; j++) {
                double scale = (shares ? 1 : 40) / 60.0;
                any = fmax(any, plain_score(&f, shares, (tr_interval){i * scale, j * scale}, 0));
            }
        }
        assert_true(fabs(best.scores[0] - brute) < 1e-9);
        assert_true(fabs(best.bound - best.scores[0]) < 1e-9);
        assert_true(any <= best.bound + 1e-9);
        tr_blind_set_free(&set);
    }
}

static void test_search_of_shares_of_samples(void **state)
{
    (void)state;
    static const double thresholds[TR_BLIND_GOALS] = {0, 0.3, 0.5, 0.7};
    for (uint32_t trial = 0; trial < 60; trial++) {
        fixture f;
        tr_blind_set set;
        bool shares = trial % 4 < 2;
        make(&f, trial);
        assert_int_equal(tr_blind_set_make(f.samples, f.count, shares, &set, NULL), TR_OK);
        for (tr_blind_goal goal = TR_BLIND_R03; goal < TR_BLIND_GOALS; goal++) {
            tr_blind_best best;
            double any = 0;
            assert_int_equal(tr_blind_search(&set, goal, 0, &best, NULL), TR_OK);
            for (int i = 0; i < 80; i++) {
                for (int j = i + 1; j <= 80; j++) {
                    double scale = (shares ? 1 : 40) / 80.0;
                    any = fmax(any, plain_score(&f, shares, (tr_interval){i * scale, j * scale}, thresholds[goal]));
                }
            }
            double found = plain_score(&f, shares, best.guess, thresholds[goal]);
            assert_true(fabs(found - best.scores[goal]) < 1e-9);
            assert_true(best.scores[goal] <= best.bound + 1e-12);
            assert_true(any <= best.bound + 1e-9);
            /* Only optima that are single points may be missed: a grid of any offset must not do better by luck. */
            assert_true(any <= best.scores[goal] + 1.0 / (double)f.count + 1e-9);
        }
        tr_blind_set_free(&set);
    }
}

static void test_by_hand(void **state)
{
    (void)state;
    const tr_interval early = {0, 4}, late = {6, 10}, none = {3, 3};
    const tr_blind_sample samples[3] = {{&early, 1, 10}, {&late, 1, 10}, {&none, 1, 10}};
    tr_blind_set set;
    tr_blind_best best;
    double scores[TR_BLIND_GOALS];
    assert_int_equal(tr_blind_set_make(samples, 3, true, &set, NULL), TR_OK);
    assert_int_equal(set.count, 2); /* an empty interval is no sample */
    assert_int_equal(tr_blind_search(&set, TR_BLIND_MIOU, 0, &best, NULL), TR_OK);
    assert_true(fabs(best.scores[0] - 0.5) < 1e-12); /* one of them wholly: 1/2; the whole clip: 0.4 */
    assert_int_equal(tr_blind_search(&set, TR_BLIND_R03, 0, &best, NULL), TR_OK);
    assert_true(best.scores[TR_BLIND_R03] == 1); /* the whole clip */
    tr_blind_score(&set, (tr_interval){0, 1}, scores);
    assert_true(fabs(scores[0] - 0.4) < 1e-12 && scores[1] == 1 && scores[2] == 0 && scores[3] == 0);
    /* Drawn from its own rows: from the other one (IoU 0), or, as another set's prior, itself in half of the draws.
     */
    tr_blind_prior(&set, &set, true, 0, scores);
    assert_true(scores[0] == 0);
    tr_blind_prior(&set, &set, false, 0, scores);
    assert_true(fabs(scores[0] - 0.5) < 1e-12 && fabs(scores[3] - 0.5) < 1e-12);
    tr_blind_set_free(&set);
    const tr_blind_sample unknown = {&early, 1, -1};
    assert_int_equal(tr_blind_set_make(&unknown, 1, true, &set, NULL), TR_OK);
    assert_int_equal(set.count, 0);
    tr_error err = {0};
    assert_int_equal(tr_blind_search(&set, TR_BLIND_MIOU, 0, &best, &err), TR_INVALID);
    tr_blind_score(&set, early, scores);
    assert_true(isnan(scores[0]));
    tr_blind_set_free(&set);
}

/* ---- findings ---- */

static const char *put(const char *name, const char *text)
{
    const char *path = scratch_path(name);
    assert_int_equal(tr_file_write_atomic(path, text, strlen(text), NULL), TR_OK);
    return path;
}

static json_t *finding(const json_t *report, const char *kind)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(report, "findings"), i, item)
    {
        if (!strcmp(json_string_value(json_object_get(item, "kind")), kind)) {
            return item;
        }
    }
    fail_msg("no finding %s", kind);
    return NULL;
}

static void expect(const json_t *report, const char *kind, int count, const char *message)
{
    const json_t *item = finding(report, kind);
    const json_t *first = json_array_get(json_object_get(item, "examples"), 0);
    const char *text = json_string_value(json_object_get(first, "message"));
    int found = (int)json_integer_value(json_object_get(item, "count"));
    if (found != count || (message && (!text || !strstr(text, message)))) {
        fail_msg("%s: %d findings, the first \"%s\"; expected %d, \"%s\"", kind, found, text ? text : "", count,
                 message ? message : "");
    }
}

#define ROW(id, video, split, rest)                                                                                \
    "{\"id\":\"" id "\",\"task\":\"tg\",\"video\":\"" video "\",\"split\":\"" split "\"," rest "}\n"
#define FIRST "\"query\":\"q\",\"duration\":10,\"segments\":[[1,4]]"

static void test_findings(void **state)
{
    (void)state;
    const char *train =
        put("train.jsonl", ROW("a", "v1.mp4", "train", FIRST) /* */
            ROW("a", "v2.mp4", "train", FIRST)                /* duplicate-id */
            ROW("b", "./v1.mp4", "train", FIRST)              /* duplicate-row */
            ROW("c", "v1.mp4", "train", "\"query\":\"q\",\"duration\":10,\"segments\":[[2,4]]")
                ROW("d", "v3.mp4", "train", "\"query\":\"q\",\"segments\":[[2,4]]") /* no-duration */
            "\n{\"id\": \n"                                                         /* bad-row */
            ROW("e", "v3.mp4", "train", "\"query\":\"q\",\"duration\":3,\"segments\":[[2,4]]")
                ROW("f", "v4.mp4", "train", "\"query\":\"q\",\"duration\":4,\"segments\":[[2,1]]"));
    const char *test =
        put("test.jsonl", ROW("a", "v1", "test", "\"query\":\"other\",\"duration\":11,\"segments\":[[0,5]]")
                              ROW("g", "v9.mp4", "test", FIRST) "{\"id\":\"x\",\"task\":\"tg\"");
    const char *paths[] = {train, test};
    tr_check_options o;
    tr_error err = {0};
    json_t *report;
    tr_check_defaults(&o);
    assert_int_equal(tr_check_rows(paths, 2, &o, &report, &err), TR_OK);
    assert_int_equal(json_integer_value(json_object_get(report, "rows")), 7);
    assert_int_equal(json_integer_value(json_object_get(report, "videos")), 4);
    expect(report, "bad-row", 4, "train.jsonl:7");
    expect(report, "duplicate-id", 1, "\"a\" stands in line 1");
    expect(report, "duplicate-row", 1, "as \"a\"");
    expect(report, "two-truths", 1, "another truth");
    expect(report, "shared-video", 1, "v1 stands in test and in train");
    expect(report, "no-duration", 1, NULL);
    expect(report, "two-durations", 1, "11 s long here and 10 s");
    expect(report, "missing-video", 0, NULL);
    assert_int_equal(tr_check_findings(report), 4 + 6);
    const json_t *shared = json_array_get(json_object_get(report, "shared"), 0);
    assert_int_equal(json_integer_value(json_object_get(shared, "videos")), 1);
    const json_t *bias = json_object_get(report, "bias"), *last = json_array_get(bias, 1);
    assert_int_equal(json_array_size(bias), 2); /* train and test */
    assert_string_equal(json_string_value(json_object_get(last, "split")), "test");
    tr_buffer text = {0}, svg = {0};
    assert_int_equal(tr_check_text(report, &text, &err), TR_OK);
    assert_non_null(strstr(tr_buffer_text(&text), "constant of the training split"));
    assert_non_null(strstr(tr_buffer_text(&text), "test and train share 1 videos")
                        ? ""
                        : strstr(tr_buffer_text(&text), "train and test share 1 videos"));
    assert_int_equal(tr_check_svg(report, &svg, &err), TR_OK);
    assert_non_null(strstr(tr_buffer_text(&svg), "where the true intervals start"));
    tr_buffer_free(&text);
    tr_buffer_free(&svg);
    json_decref(report);
}

static void test_letters_and_histograms(void **state)
{
    (void)state;
    const char *rows =
        put("qa.jsonl",
            "{\"id\":\"a\",\"task\":\"qa\",\"video\":\"v\",\"question\":\"q1\",\"options\":[\"no\",\"longer\"],"
            "\"answer\":\"B\"}\n"
            "{\"id\":\"b\",\"task\":\"qa\",\"video\":\"v\",\"question\":\"q2\",\"options\":[\"abcd\",\"x\"],"
            "\"answer\":\"x\"}\n"
            "{\"id\":\"c\",\"task\":\"qa\",\"video\":\"v\",\"question\":\"q3\",\"options\":[\"x\",\"y\","
            "\"z\",\"w\"],\"answer\":\"A\"}\n"
            "{\"id\":\"d\",\"task\":\"tal\",\"video\":\"w\",\"duration\":10,\"action\":\"x\",\"segments\":[]}\n"
            "{\"id\":\"e\",\"task\":\"tal\",\"video\":\"u\",\"duration\":10,\"action\":\"x\",\"segments\":"
            "[[0,5],[5.5,10]]}\n");
    tr_check_options o;
    tr_error err = {0};
    json_t *report;
    tr_check_defaults(&o);
    assert_int_equal(tr_check_rows(&rows, 1, &o, &report, &err), TR_OK);
    const json_t *letters = json_array_get(json_object_get(report, "options"), 0);
    assert_string_equal(json_string_value(json_object_get(letters, "letter")), "B");
    assert_true(fabs(json_number_value(json_object_get(letters, "constant_letter")) - 2.0 / 3) < 1e-12);
    assert_true(fabs(json_number_value(json_object_get(letters, "chance")) - (0.5 + 0.5 + 0.25) / 3) < 1e-12);
    assert_true(fabs(json_number_value(json_object_get(letters, "longest_option")) - 1.0 / 3) < 1e-12);
    /* tal: one sample, since the row without a truth is none; its union covers 9.5 of 10 s */
    const json_t *group = json_array_get(json_object_get(report, "bias"), 0);
    assert_int_equal(json_integer_value(json_object_get(group, "rows")), 2);
    assert_int_equal(json_integer_value(json_object_get(group, "samples")), 1);
    const json_t *whole = json_array_get(json_object_get(group, "guesses"), 0);
    assert_true(fabs(json_number_value(json_object_get(whole, "mIoU")) - 0.95) < 1e-12);
    const json_t *histograms = json_object_get(report, "histograms");
    for (size_t i = 0; i < json_array_size(histograms); i++) {
        const json_t *one = json_array_get(histograms, i), *tasks = json_object_get(one, "tasks");
        for (size_t t = 0; t < json_array_size(tasks); t++) { /* every value is in one bin */
            const json_t *bins = json_object_get(json_array_get(tasks, t), "bins");
            json_int_t sum = 0;
            for (size_t b = 0; b < json_array_size(bins); b++) {
                sum += json_integer_value(json_array_get(bins, b));
            }
            assert_int_equal(sum, json_integer_value(json_object_get(json_array_get(tasks, t), "count")));
        }
    }
    json_decref(report);
}

/* The guess of a group with this name and unit. */
static const json_t *guess_of(const json_t *group, const char *name, const char *unit)
{
    size_t i;
    json_t *guess;
    json_array_foreach(json_object_get(group, "guesses"), i, guess)
    {
        const char *its = json_string_value(json_object_get(guess, "unit"));
        if (!strcmp(json_string_value(json_object_get(guess, "guess")), name) && its && !strcmp(its, unit)) {
            return guess;
        }
    }
    fail_msg("no guess \"%s\" in %s", name, unit);
    return NULL;
}

static void expect_score(const json_t *group, const char *name, const char *unit, double miou)
{
    double found = json_number_value(json_object_get(guess_of(group, name, unit), "mIoU"));
    if (!(fabs(found - miou) < 1e-12)) {
        fail_msg("%s in %s: %.6f, expected %.6f", name, unit, found, miou);
    }
}

/* Each sentence of a dtg row is a sample; the training split's constants are judged on the test split. */
static void test_splits_by_hand(void **state)
{
    (void)state;
    const char *rows =
        put("dtg.jsonl",
            "{\"id\":\"a\",\"task\":\"dtg\",\"video\":\"v\",\"split\":\"train\",\"duration\":10,\"queries\":"
            "[\"x\",\"y\"],\"segments\":[[0,5],[0,5]]}\n"
            "{\"id\":\"b\",\"task\":\"dtg\",\"video\":\"w\",\"split\":\"test\",\"duration\":20,\"queries\":"
            "[\"x\",\"y\"],\"segments\":[[0,20],[5,10]]}\n");
    tr_check_options o;
    tr_error err = {0};
    json_t *report;
    tr_check_defaults(&o);
    assert_int_equal(tr_check_rows(&rows, 1, &o, &report, &err), TR_OK);
    const json_t *train = json_array_get(json_object_get(report, "bias"), 0);
    const json_t *test = json_array_get(json_object_get(report, "bias"), 1);
    assert_int_equal(json_integer_value(json_object_get(test, "rows")), 1);
    assert_int_equal(json_integer_value(json_object_get(test, "samples")), 2);
    expect_score(train, "best constant for mIoU", "share", 1);
    expect_score(train, "random interval of the same rows", "share", 1); /* the other sentence: the same interval */
    expect_score(test, "whole clip", "share", (1 + 0.25) / 2);
    expect_score(test, "constant of the training split", "share", (0.5 + 0.5) / 2);    /* [0, 10] of 20 s */
    expect_score(test, "constant of the training split", "seconds", (0.25 + 0.0) / 2); /* [0, 5] s */
    expect_score(test, "random interval of the training split", "share", 0.5);
    json_decref(report);
}

static void test_positions(void **state)
{
    (void)state;
    const char *rows = put("positions.jsonl",
                           ROW("a", "v", "x", "\"query\":\"q\",\"duration\":20,\"segments\":[[0,20]]")
                               ROW("b", "w", "x", "\"query\":\"q\",\"duration\":40,\"segments\":[[10,30]]")
                                   ROW("c", "u", "x", "\"query\":\"q\",\"duration\":10,\"segments\":[[2.6,7.4]]"));
    tr_check_options o;
    tr_error err = {0};
    json_t *report;
    tr_buffer svg = {0};
    tr_check_defaults(&o);
    assert_int_equal(tr_check_rows(&rows, 1, &o, &report, &err), TR_OK);
    const json_t *one = json_array_get(json_object_get(report, "positions"), 0),
                 *cells = json_object_get(one, "cells");
    json_int_t sum = 0;
    for (size_t i = 0; i < 400; i++) {
        sum += json_integer_value(json_array_get(json_array_get(cells, i / 20), i % 20));
    }
    assert_int_equal(sum, 3);
    assert_int_equal(json_integer_value(json_array_get(json_array_get(cells, 0), 19)), 1);
    assert_int_equal(json_integer_value(json_array_get(json_array_get(cells, 5), 14)),
                     2); /* 25 to 75 %, 26 to 74 % */
    assert_int_equal(tr_check_heat_svg(report, &svg, &err), TR_OK);
    assert_non_null(strstr(tr_buffer_text(&svg), "starts at 25 to 30 %, ends at 70 to 75 %: 2 (66.67 %)"));
    tr_buffer_free(&svg);
    json_decref(report);
}

static void test_bad_files(void **state)
{
    (void)state;
    tr_check_options o;
    json_t *report;
    tr_error err = {0};
    tr_check_defaults(&o);
    const char *path = scratch_path("absent.jsonl");
    assert_int_equal(tr_check_rows(&path, 1, &o, &report, &err), TR_NOT_FOUND);
    assert_non_null(strstr(err.message, "absent.jsonl"));
    path = put("none.jsonl", "\n[1]\n\x01\n");
    assert_int_equal(tr_check_rows(&path, 1, &o, &report, &err), TR_FORMAT);
    assert_non_null(strstr(err.message, "no line reads as a corpus row"));
    path = put("empty.jsonl", "");
    assert_int_equal(tr_check_rows(&path, 1, &o, &report, &err), TR_FORMAT);
    assert_null(report);
}

/* ---- real annotations ---- */

/* Charades-STA's test file as rows (ends past the listed duration are cut off at it). */
static const char *charades_rows(void)
{
    json_t *durations;
    const char *out = scratch_path("charades.jsonl");
    tr_error err = {0};
    assert_int_equal(tr_json_read(need_shared("data/annotations/charades-sta/charades.json"), &durations, &err),
                     TR_OK);
    FILE *in = fopen(need_shared("data/annotations/charades-sta/charades_sta_test.txt"), "r"),
         *rows = fopen(out, "w");
    char line[1024], video[64], query[900];
    assert_non_null(in);
    assert_non_null(rows);
    for (int i = 0; fgets(line, sizeof line, in); i++) {
        double start, end;
        assert_int_equal(sscanf(line, "%63s %lf %lf##%899[^\n]", video, &start, &end, query), 4);
        double duration = json_number_value(json_object_get(json_object_get(durations, video), "duration"));
        json_t *row =
            json_pack("{s:s++, s:s, s:s, s:f, s:s, s:[[f,f]]}", "id", video, "-", query, "task", "tg", "video",
                      video, "duration", duration, "query", query, "segments", start, fmin(end, duration));
        char *text = json_dumps(row, JSON_COMPACT);
        fprintf(rows, "%s\n", text);
        free(text);
        json_decref(row);
    }
    fclose(in);
    fclose(rows);
    json_decref(durations);
    return out;
}

static void test_charades(void **state)
{
    (void)state;
    const char *path = charades_rows();
    tr_check_options o;
    tr_error err = {0};
    json_t *report;
    tr_check_defaults(&o);
    assert_int_equal(tr_check_rows(&path, 1, &o, &report, &err), TR_OK);
    const json_t *group = json_array_get(json_object_get(report, "bias"), 0);
    const json_t *guesses = json_object_get(group, "guesses");
    assert_int_equal(json_integer_value(json_object_get(group, "samples")), 3720);
    /* Every one of the 40 x 40 guesses on a grid of 2.5 % earns at most what the search found for its goal. */
    const char *const goals[] = {"mIoU", "R1@0.3", "R1@0.5", "R1@0.7"};
    tr_row_list rows;
    assert_int_equal(tr_row_list_read(path, &rows, &err), TR_OK);
    double grid[4] = {0};
    for (int i = 0; i < 40; i++) {
        for (int j = i + 1; j <= 40; j++) {
            double sum[4] = {0};
            for (size_t r = 0; r < rows.count; r++) {
                const json_t *pair = json_array_get(json_object_get(rows.items[r].json, "segments"), 0);
                tr_interval truth = {json_number_value(json_array_get(pair, 0)),
                                     json_number_value(json_array_get(pair, 1))};
                double d = rows.items[r].duration_s,
                       iou = tr_interval_iou((tr_interval){i * d / 40, j * d / 40}, truth);
                sum[0] += iou;
                sum[1] += iou >= 0.3;
                sum[2] += iou >= 0.5;
                sum[3] += iou >= 0.7;
            }
            for (int g = 0; g < 4; g++) {
                grid[g] = fmax(grid[g], sum[g] / (double)rows.count);
            }
        }
    }
    for (size_t g = 0; g < 4; g++) {
        const json_t *best = json_array_get(guesses, 1 + g); /* behind "whole clip": the shares */
        assert_string_equal(json_string_value(json_object_get(best, "goal")), goals[g]);
        double found = json_number_value(json_object_get(best, goals[g]));
        double bound = json_number_value(json_object_get(best, "at_most"));
        print_message("Charades-STA test, best constant for %s: %.4f (grid %.4f, none above %.4f)\n", goals[g],
                      found, grid[g], bound);
        assert_true(found >= grid[g] - 1e-9 && found <= grid[g] + 0.02);
        assert_true(bound >= found - 1e-12 && bound <= found + 1e-3);
    }
    tr_row_list_free(&rows);
    json_decref(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_search_is_exact),
        cmocka_unit_test(test_search_of_shares_of_samples),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_findings),
        cmocka_unit_test(test_letters_and_histograms),
        cmocka_unit_test(test_splits_by_hand),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_charades),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
