/* test_import_real.c: the published annotation files. The expected counts are the data sets' own statistics (papers
 * and project pages) or were counted in the files by other means (Python's json and csv modules), never by the
 * importer. */
#include "import_support.h"

#include <math.h>

#define FOLDER "data/annotations/"

/* How often a rule must have applied, and how many records it must have refused. */
typedef struct expected_rule {
    const char *name;
    long long count, refused;
} expected_rule;

typedef struct real_case {
    const char *source, *task;
    const char *files[8];
    long long rows, train, val, test;
    expected_rule rules[6]; /* exactly these, beside the ones of notes[] */
} real_case;

/* Rules that only say something and that no statistic counts. */
static const char *const notes[] = {"trimmed-text", "times-as-text", "no-duration", "duration-in-clips"};

static const real_case cases[] = {
    /* 12,408 and 3,720 sentences (TALL); ends past the listed length: 1,802 and 562 in these files */
    {"charades-sta",
     NULL,
     {"charades-sta/charades_sta_train.txt", "charades-sta/charades_sta_test.txt", "charades-sta/charades.json"},
     16128,
     12408,
     0,
     3720,
     {{"end-past-duration", 2364, 0}}},
    /* Charades-CD's test-ood: 3,375 sentences; three begin behind the end of the clip */
    {"charades-sta",
     NULL,
     {"charades-sta/charades_test_ood.json"},
     3372,
     0,
     0,
     3372,
     {{"end-past-duration", 345, 0}, {"outside-clip", 3, 3}}},
    /* 10,009, 4,917 and 4,885 videos; 37,421, 17,505 and 17,031 sentences; 261 + 134 + 111 past the end, 4 inverted
     */
    {"activitynet-captions",
     NULL,
     {"activitynet-captions/train.json", "activitynet-captions/val_1.json", "activitynet-captions/val_2.json"},
     19811,
     10009,
     9802,
     0,
     {{"start-not-before-end", 4, 0}, {"end-past-duration", 506, 0}}},
    {"activitynet-captions",
     "tg",
     {"activitynet-captions/val_1.json"},
     17505,
     0,
     17505,
     0,
     {{"end-past-duration", 134, 0}}},
    /* 19,228 videos in these files, 4,851 of them the withheld test set; a row for each video and class: 9,654 and
     * 4,734, of which 8 and 2 hold nothing but inverted intervals (12 in all); 215 ends past the listed length */
    {"activitynet-1.3",
     NULL,
     {"activitynet-1.3/video_info_new.csv", "activitynet-1.3/anet_anno_action.json",
      "activitynet-1.3/action_name.csv"},
     14378,
     9646,
     4732,
     0,
     {{"no-truth", 4851, 4851}, {"start-not-before-end", 12, 10}, {"end-past-duration", 215, 0}}},
    /* 7,218, 1,550 and 1,542 queries (QVHighlights) */
    {"qvhighlights",
     NULL,
     {"qvhighlights/highlight_train_release.jsonl", "qvhighlights/highlight_val_release.jsonl",
      "qvhighlights/highlight_test_with_gt.jsonl"},
     10310,
     7218,
     1550,
     1542,
     {{NULL, 0, 0}}},
    /* 3,358 and 5,553 questions (NExT-GQA); "happy" stands twice among the options of one */
    {"next-gqa",
     NULL,
     {"next-gqa/val.csv", "next-gqa/test.csv", "next-gqa/gsub_val.json", "next-gqa/gsub_test.json",
      "next-gqa/map_vid_vidorID.json", "next-gqa/frame2time_val.json", "next-gqa/upbd_test.json"},
     8911,
     0,
     3358,
     5553,
     {{"end-past-duration", 3, 0}, {"negative-start", 36, 0}, {"answer-twice", 1, 0}}},
    /* 921 and 2,143 questions (ReXTime), the test set's answers withheld */
    {"rextime",
     NULL,
     {"rextime/rextime_val.json", "rextime/rextime_test_release.json"},
     919,
     0,
     919,
     0,
     {{"no-truth", 2143, 2143}, {"start-not-before-end", 2, 2}, {"end-past-duration", 4, 0}}},
    {"rextime",
     "tg",
     {"rextime/rextime_val.jsonl"},
     919,
     0,
     919,
     0,
     {{"start-not-before-end", 2, 2}, {"end-past-duration", 4, 0}}},
    /* 9,790, 4,436 and 4,001 sentences of 75, 27 and 25 videos (2D-TAN's split) */
    {"tacos",
     NULL,
     {"tacos/train.json", "tacos/val.json", "tacos/test.json"},
     18227,
     9790,
     4436,
     4001,
     {{"end-past-duration", 48, 0}}},
    {"tacos",
     "dtg",
     {"tacos/train.json", "tacos/val.json", "tacos/test.json"},
     127,
     75,
     27,
     25,
     {{"end-past-duration", 48, 0}}},
    /* 200 and 213 videos with 20 classes; 262 and 284 pairs of video and class, 35 and 37 of them Ambiguous */
    {"thumos14",
     NULL,
     {"thumos14/val_Annotation.csv", "thumos14/test_Annotation.csv", "thumos14/thumos14_test_groundtruth.csv"},
     474,
     0,
     227,
     247,
     {{"ambiguous-action", 72, 72}, {"outside-clip", 26, 0}}},
    {"thumos14",
     NULL,
     {"thumos14/thumos14_test_groundtruth.csv"},
     247,
     0,
     0,
     247,
     {{"ambiguous-action", 37, 37}, {"outside-clip", 26, 0}}},
    {"thumos14", NULL, {"thumos14/thumos_gt.json"}, 472, 227, 0, 245, {{NULL, 0, 0}}},
    /* 1,333 and 457 videos, 210 withheld (YouCook2) */
    {"youcook2",
     NULL,
     {"youcook2/yc2_train.json", "youcook2/yc2_val.json", "youcook2/yc2_test.json"},
     1790,
     1333,
     457,
     0,
     {{"no-truth", 210, 210}}},
    {"youcook2", "tg", {"youcook2/yc2_train.json", "youcook2/yc2_val.json"}, 13829, 10337, 3492, 0, {{NULL, 0, 0}}},
    /* 50 videos (TVSum) */
    {"tvsum",
     NULL,
     {"tvsum/tvsum_train_release.jsonl", "tvsum/tvsum_val_release.jsonl"},
     50,
     40,
     10,
     0,
     {{NULL, 0, 0}}},
    {"youtube-highlights",
     NULL,
     {"youtube-highlights/youtube_highlight_train_release.jsonl",
      "youtube-highlights/youtube_highlight_val_release.jsonl"},
     385,
     233,
     152,
     0,
     {{"end-past-duration", 22, 0}}},
    /* 800 items (TVGBench), 11 with start >= end, 27 past the end */
    {"tvgbench",
     NULL,
     {"time-r1/tvgbench.json"},
     789,
     0,
     0,
     789,
     {{"start-not-before-end", 11, 11}, {"end-past-duration", 27, 0}}},
    /* 2,570 and 3,211 rows of tal, 3,030 and 3,789 of tvg */
    {"museg",
     "tal",
     {"museg/stage_1.jsonl"},
     2570,
     2570,
     0,
     0,
     {{"other-task", 3030, 3030},
      {"start-not-before-end", 2, 0},
      {"outside-clip", 3, 0},
      {"end-past-duration", 193, 0}}},
    {"museg",
     "tg",
     {"museg/stage_2.jsonl"},
     3787,
     3787,
     0,
     0,
     {{"other-task", 3211, 3211}, {"start-not-before-end", 2, 2}}},
    {"museg",
     NULL,
     {"museg/eval_charades_sta.json", "museg/eval_thumos14.json", "museg/eval_thumos15.json"},
     4421,
     0,
     0,
     4421,
     {{NULL, 0, 0}}},
};

static void check_rules(const real_case *c, const imported *r)
{
    size_t i;
    json_t *rule;
    for (size_t k = 0; k < 6 && c->rules[k].name; k++) {
        const expected_rule *e = &c->rules[k];
        if (rule_number(r, e->name, "count") != e->count || rule_number(r, e->name, "refused") != e->refused) {
            fail_msg("%s %s: rule %s: %lld times and %lld refused, expected %lld and %lld", c->source, c->files[0],
                     e->name, rule_number(r, e->name, "count"), rule_number(r, e->name, "refused"), e->count,
                     e->refused);
        }
    }
    json_array_foreach(json_object_get(r->report, "rules"), i, rule)
    {
        const char *name = json_string_value(json_object_get(rule, "rule"));
        bool known = false;
        for (size_t k = 0; k < 6 && c->rules[k].name; k++) {
            known |= !strcmp(name, c->rules[k].name);
        }
        for (size_t k = 0; k < sizeof notes / sizeof notes[0]; k++) {
            known |= !strcmp(name, notes[k]);
        }
        if (!known) {
            fail_msg("%s %s: the rule %s was not expected", c->source, c->files[0], name);
        }
    }
}

static void published_files_import_without_an_unexplained_row(void **state)
{
    (void)state;
    need_shared(FOLDER "charades-sta/charades_sta_train.txt");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const real_case *c = &cases[i];
        char *paths[8];
        size_t count = 0;
        imported r;
        for (; count < 8 && c->files[count]; count++) {
            char *relative = tr_format(FOLDER "%s", c->files[count]);
            paths[count] = tr_strdup(need_shared(relative));
            free(relative);
        }
        if (import_files(&r, c->source, c->task, (const char *const *)paths, count)) {
            fail_msg("%s: %s: %s", c->source, r.err.where, r.err.message);
        }
        if ((long long)r.rows.count != c->rows || rows_of_split(&r, "train") != c->train ||
            rows_of_split(&r, "val") != c->val || rows_of_split(&r, "test") != c->test) {
            fail_msg("%s %s: %zu rows (%lld train, %lld val, %lld test), expected %lld (%lld, %lld, %lld)",
                     c->source, c->files[0], r.rows.count, rows_of_split(&r, "train"), rows_of_split(&r, "val"),
                     rows_of_split(&r, "test"), c->rows, c->train, c->val, c->test);
        }
        check_rules(c, &r);
        import_free(&r);
        while (count) {
            free(paths[--count]);
        }
    }
}

static const tr_row *row_of(const imported *r, const char *id)
{
    for (size_t i = 0; i < r->rows.count; i++) {
        if (!strcmp(r->rows.items[i].id, id)) {
            return &r->rows.items[i];
        }
    }
    fail_msg("no row %s", id);
    return NULL;
}

/* Whole rows, read in the published files by eye. */
static void known_rows(void **state)
{
    (void)state;
    imported r;
    const char *next[] = {need_shared(FOLDER "next-gqa/test.csv"), need_shared(FOLDER "next-gqa/gsub_test.json")};
    assert_int_equal(import_files(&r, "next-gqa", NULL, next, 2), TR_OK);
    const json_t *row = row_of(&r, "next-gqa/3083302557/3")->json;
    assert_string_equal(json_string_value(json_object_get(row, "question")),
                        "what did the lady do while turning back");
    assert_string_equal(json_string_value(json_object_get(row, "answer")), "B");
    assert_string_equal(json_string_value(json_object_get(row, "category")), "TC");
    assert_int_equal(json_array_size(json_object_get(row, "options")), 5);
    import_free(&r);
    const char *qvh[] = {need_shared(FOLDER "qvhighlights/highlight_test_with_gt.jsonl")};
    assert_int_equal(import_files(&r, "qvhighlights", NULL, qvh, 1), TR_OK);
    row = row_of(&r, "qvhighlights/3158")->json;
    const json_t *pair = json_array_get(json_object_get(row, "segments"), 0);
    assert_true(json_number_value(json_array_get(pair, 0)) == 70 &&
                json_number_value(json_array_get(pair, 1)) == 110);
    const json_t *saliency = json_object_get(row, "saliency");
    assert_int_equal(json_array_size(saliency), 75);
    assert_int_equal(json_integer_value(json_array_get(json_array_get(saliency, 35), 1)), 3); /* [0, 3, 2] */
    assert_int_equal(json_integer_value(json_array_get(json_array_get(saliency, 34), 1)), 0);
    import_free(&r);
    const char *tvsum[] = {need_shared(FOLDER "tvsum/tvsum_val_release.jsonl")};
    assert_int_equal(import_files(&r, "tvsum", NULL, tvsum, 1), TR_OK);
    /* "BBC - Train crash 2013" is 149 s long (TVSum's table of videos), the file says 74 */
    assert_true(row_of(&r, "tvsum/sTEELN-vY30")->duration_s == 148);
    import_free(&r);
    const char *museg[] = {need_shared(FOLDER "museg/stage_2.jsonl")};
    assert_int_equal(import_files(&r, "museg", NULL, museg, 1), TR_OK);
    assert_string_equal(json_string_value(json_object_get(row_of(&r, "museg/stage_2/2")->json, "action")),
                        "long jump");
    assert_int_equal(json_array_size(json_object_get(row_of(&r, "museg/stage_2/2")->json, "segments")), 7);
    import_free(&r);
    const char *tacos[] = {need_shared(FOLDER "tacos/train.json")};
    assert_int_equal(import_files(&r, "tacos", NULL, tacos, 1), TR_OK);
    pair = json_array_get(json_object_get(row_of(&r, "tacos/train/s17-d69.avi/0")->json, "segments"), 0);
    assert_true(fabs(json_number_value(json_array_get(pair, 0)) - 224 / 29.4) <
                1e-9); /* frame 224 at 29.4 a second */
    import_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_files_import_without_an_unexplained_row),
        cmocka_unit_test(known_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
