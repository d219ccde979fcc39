/* test_select.c: the choice of rows from scores: every rule by hand, strata, draws, and files that do not fit. */
#include "support/shared.h"

#include "base/file.h"
#include "corpus/select.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tr_error err;

enum { K = 4 };

static tr_select_score score(tr_task task, double duration_s, const double *values, uint64_t key)
{
    return (tr_select_score){.task = task, .duration_s = duration_s, .values = values, .k = K, .key = key};
}

static tr_select_choice choose(const tr_select_score *scores, size_t rows, const tr_select_options *options)
{
    tr_select_choice choice;
    if (tr_select(scores, rows, options, &choice, &err)) {
        fail_msg("%s", err.message);
    }
    return choice;
}

static void expect(const tr_select_choice *choice, size_t row, tr_select_verdict verdict)
{
    if (choice->verdicts[row] != verdict) {
        fail_msg("row %zu: %s, expected %s", row, tr_select_verdict_name(choice->verdicts[row]),
                 tr_select_verdict_name(verdict));
    }
}

static const double right[K] = {1, 1, 1, 1}, wrong[K] = {0, 0, 0, 0}, half[K] = {1, 0, 1, 0}, one[K] = {1, 0, 0, 0};
static const double alike[K] = {0.8, 0.8, 0.82, 0.78}, spread[K] = {0.1, 0.9, 0.5, 0.5}, poor[K] = {0, 0.4, 0, 0.4},
                    wide[K] = {0, 1, 0, 1};

static void test_moments(void **state)
{
    (void)state;
    tr_select_moments m = tr_select_moments_of(spread, K);
    assert_true(fabs(m.mean - 0.5) < 1e-15 && fabs(m.std - sqrt(0.08)) < 1e-15 && m.best == 0.9);
    m = tr_select_moments_of(NULL, 0);
    assert_true(m.mean == 0 && m.std == 0 && m.best == 0);
}

/* The rules of the specification's section 3. */
static void test_variance(void **state)
{
    (void)state;
    tr_select_options o = tr_select_options_default();
    const tr_select_score scores[] = {score(TR_TASK_QA, 10, right, 1),
                                      score(TR_TASK_QA, 10, wrong, 2),
                                      score(TR_TASK_QA, 10, half, 3),
                                      score(TR_TASK_QA, 10, one, 4),
                                      score(TR_TASK_TG, 10, alike, 5),
                                      score(TR_TASK_TG, 10, poor, 6),
                                      score(TR_TASK_TG, 10, spread, 7),
                                      score(TR_TASK_TG, 10, wide, 8),
                                      {.task = TR_TASK_TG, .duration_s = 10, .key = 9}};
    static const tr_select_verdict all[] = {
        TR_SELECT_IS_ALL_RIGHT, TR_SELECT_IS_ALL_WRONG, TR_SELECT_IS_KEPT,
        TR_SELECT_IS_KEPT,      TR_SELECT_IS_LOW_STD,   TR_SELECT_IS_LOW_BEST,
        TR_SELECT_IS_KEPT,      TR_SELECT_IS_KEPT,      TR_SELECT_IS_UNANSWERED};
    tr_select_choice choice = choose(scores, 9, &o);
    for (size_t i = 0; i < 9; i++) {
        expect(&choice, i, all[i]);
    }
    assert_int_equal(choice.kept, 4);
    assert_true(choice.priorities[2] == 0.25 && fabs(choice.priorities[3] - 0.1875) < 1e-15);
    assert_true(fabs(choice.priorities[7] - 0.5) < 1e-15);
    tr_select_choice_free(&choice);
    o.count = 2; /* of each task the first by priority: 4 of 9 rows are qa, 5 tg */
    choice = choose(scores, 9, &o);
    expect(&choice, 2, TR_SELECT_IS_KEPT);
    expect(&choice, 3, TR_SELECT_IS_NOT_DRAWN);
    expect(&choice, 6, TR_SELECT_IS_NOT_DRAWN);
    expect(&choice, 7, TR_SELECT_IS_KEPT);
    tr_select_choice_free(&choice);
    o.min_std = 0.3;
    o.count = -1;
    choice = choose(scores, 9, &o); /* spread's standard deviation is 0.283 */
    expect(&choice, 6, TR_SELECT_IS_LOW_STD);
    tr_select_choice_free(&choice);
}

/* gvqa qualifies by its option or by its intervals. */
static void test_grounded_questions(void **state)
{
    (void)state;
    tr_select_options o = tr_select_options_default();
    tr_select_score scores[] = {score(TR_TASK_GVQA, 10, alike, 1), score(TR_TASK_GVQA, 10, alike, 2),
                                score(TR_TASK_GVQA, 10, wide, 3)};
    scores[0].right = right;
    scores[1].right = half;
    scores[2].right = right;
    tr_select_choice choice = choose(scores, 3, &o);
    expect(&choice, 0, TR_SELECT_IS_LOW_STD);
    expect(&choice, 1, TR_SELECT_IS_KEPT);
    expect(&choice, 2, TR_SELECT_IS_KEPT);
    assert_true(choice.priorities[1] == 0.25 && choice.priorities[2] == 0.5);
    tr_select_choice_free(&choice);
}

enum { MANY = 4000 };
static double many_values[MANY][K];
static tr_select_score many[MANY];

/* Rows whose means lie evenly in [0, 1]. */
static void make_many(void)
{
    for (size_t i = 0; i < MANY; i++) {
        for (size_t j = 0; j < K; j++) {
            many_values[i][j] = ((double)i + 0.5) / MANY;
        }
        many[i] = score(TR_TASK_TG, 10 + (double)(i % 40), many_values[i], 0x9e3779b97f4a7c15u * (i + 1));
    }
}

static double kept_in(const tr_select_choice *choice, double from, double to)
{
    double kept = 0;
    for (size_t i = 0; i < MANY; i++) {
        kept += choice->verdicts[i] == TR_SELECT_IS_KEPT && many_values[i][0] >= from && many_values[i][0] < to;
    }
    return kept;
}

/* Weights: the ratio of kept rows between two ranges is that of the Gaussian's areas, within four standard errors
 * of a count (variance at most the count). */
static void test_gaussian_draws(void **state)
{
    (void)state;
    make_many();
    tr_select_options o = tr_select_options_default();
    o.rule = TR_SELECT_GAUSSIAN;
    tr_select_choice choice = choose(many, MANY, &o);
    const double ranges[][2] = {{0.2, 0.4}, {0.4, 0.6}, {0.6, 0.8}};
    for (size_t r = 0; r < 3; r++) {
        double expected = 0;
        for (size_t i = 0; i < MANY; i++) {
            double x = many_values[i][0], z = (x - 0.3) / 0.2;
            expected += x >= ranges[r][0] && x < ranges[r][1] ? exp(-0.5 * z * z) : 0;
        }
        assert_true(fabs(kept_in(&choice, ranges[r][0], ranges[r][1]) - expected) < 4 * sqrt(expected));
    }
    tr_select_choice_free(&choice);
    o.rule = TR_SELECT_FILTER;
    choice = choose(many, MANY, &o);
    assert_true(kept_in(&choice, 0, 0.7) == 0.7 * MANY && kept_in(&choice, 0.7001, 1.1) == 0);
    tr_select_choice_free(&choice);
    o.rule = TR_SELECT_TIME_R1;
    o.count = 300;
    choice = choose(many, MANY, &o);
    assert_int_equal(choice.kept, 300);
    assert_true(kept_in(&choice, 0.7001, 1.1) == 0 && kept_in(&choice, 0.2, 0.4) > kept_in(&choice, 0.5, 0.7));
    tr_select_choice_free(&choice);
}

/* Over the density: where means crowd at one place, what is kept still follows the Gaussian. */
static void test_timelens_evens_the_density_out(void **state)
{
    (void)state;
    make_many();
    for (size_t i = 0; i < MANY / 2; i++) { /* half of all rows at 0.025, the first bin */
        for (size_t j = 0; j < K; j++) {
            many_values[i][j] = 0.025;
        }
    }
    tr_select_options o = tr_select_options_default();
    o.rule = TR_SELECT_TIMELENS;
    o.centre = 0.5;
    o.count = 100;
    tr_select_choice choice = choose(many, MANY, &o);
    double crowd = kept_in(&choice, 0, 0.05), middle = kept_in(&choice, 0.5, 0.55);
    /* weights exp(-0.5 (0.475 / 0.2)^2) = 0.06 against 1 for bins of any size: about 1 row against 19 */
    assert_true(middle >= 8 && crowd <= 6);
    assert_int_equal(choice.kept, 100);
    tr_select_choice_free(&choice);
    o.rule = TR_SELECT_GAUSSIAN; /* without the density 2000 rows of weight 0.06 weigh like 120: about 11 of 100 */
    choice = choose(many, MANY, &o);
    assert_true(kept_in(&choice, 0, 0.05) > crowd + 2);
    tr_select_choice_free(&choice);
    make_many();
}

/* Strata keep the shares of tasks and durations; the choice does not depend on the order of the rows. */
static void test_strata(void **state)
{
    (void)state;
    make_many();
    for (size_t i = 0; i < MANY; i++) {
        many[i].task = i % 4 == 0 ? TR_TASK_QA : TR_TASK_TG;
        many[i].duration_s = i % 8 == 1 ? -1 : many[i].duration_s;
    }
    tr_select_options o = tr_select_options_default();
    o.rule = TR_SELECT_RANDOM;
    o.share = 0.1;
    tr_select_choice choice = choose(many, MANY, &o);
    assert_int_equal(choice.kept, MANY / 10);
    size_t rows = 0;
    for (size_t s = 0; s < choice.strata_count; s++) {
        const tr_select_stratum *t = &choice.strata[s];
        rows += t->rows;
        assert_true(fabs((double)t->kept - 0.1 * (double)t->rows) <= 1);
    }
    assert_int_equal(rows, MANY);
    assert_int_equal(choice.strata_count, 9); /* four durations of each task, and tg of unknown duration */
    static tr_select_score turned[MANY];
    for (size_t i = 0; i < MANY; i++) {
        turned[i] = many[MANY - 1 - i];
    }
    tr_select_choice other = choose(turned, MANY, &o);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(choice.verdicts[i], other.verdicts[MANY - 1 - i]);
    }
    tr_select_choice_free(&other);
    o.seed = 2;
    other = choose(many, MANY, &o);
    assert_memory_not_equal(choice.verdicts, other.verdicts, MANY);
    tr_select_choice_free(&other);
    tr_select_choice_free(&choice);
    for (size_t i = 0; i < MANY; i++) {
        many[i].task = TR_TASK_TG;
    }
    o.rule = TR_SELECT_VARIANCE; /* nothing varies: nothing qualifies, whatever is asked for */
    choice = choose(many, MANY, &o);
    assert_int_equal(choice.kept, 0);
    tr_select_choice_free(&choice);
}

static void test_settings_that_contradict(void **state)
{
    (void)state;
    tr_select_choice choice;
    tr_select_options o = tr_select_options_default();
    tr_select_rule rule;
    o.count = 3;
    o.share = 0.5;
    assert_int_equal(tr_select(many, 3, &o, &choice, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "--count and --share"));
    o = tr_select_options_default();
    o.rule = TR_SELECT_RANDOM;
    assert_int_equal(tr_select(many, 3, &o, &choice, &err), TR_INVALID);
    o.rule = TR_SELECT_ALL;
    o.share = 0.5;
    assert_int_equal(tr_select(many, 3, &o, &choice, &err), TR_INVALID);
    o = tr_select_options_default();
    o.above = 0.8;
    assert_int_equal(tr_select(many, 3, &o, &choice, &err), TR_INVALID);
    assert_int_equal(tr_select_rule_find("varience", &rule, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "did you mean \"variance\""));
    assert_int_equal(tr_select_rule_find("timelens", &rule, &err), TR_OK);
    assert_int_equal(rule, TR_SELECT_TIMELENS);
}

static void test_report_and_picture(void **state)
{
    (void)state;
    tr_select_options o = tr_select_options_default();
    const tr_select_score scores[] = {score(TR_TASK_QA, 10, right, 1), score(TR_TASK_QA, 20, half, 3),
                                      score(TR_TASK_TG, 10, spread, 7), score(TR_TASK_TG, -1, alike, 8)};
    tr_select_choice choice = choose(scores, 4, &o);
    json_t *report;
    tr_buffer svg = {0};
    assert_int_equal(tr_select_report(scores, &o, &choice, &report, &err), TR_OK);
    const json_t *tg = json_object_get(json_object_get(report, "tasks"), "tg");
    assert_int_equal(json_integer_value(json_object_get(report, "kept")), 2);
    assert_int_equal(json_integer_value(json_object_get(tg, "rows")), 2);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(tg, "verdicts"), "low-std")), 1);
    double mean = json_number_value(json_object_get(json_object_get(tg, "mean"), "all"));
    assert_true(fabs(mean - 0.65) < 1e-12);
    assert_true(fabs(json_number_value(json_object_get(json_object_get(tg, "mean"), "kept")) - 0.5) < 1e-12);
    assert_true(json_is_null(json_object_get(report, "asked")));
    assert_int_equal(tr_select_svg(scores, &o, &choice, &svg, &err), TR_OK);
    assert_non_null(strstr(svg.data, "tg: mean IoU (1 of 2 kept)"));
    assert_non_null(strstr(svg.data, "class=\"dropped\" x="));
    assert_non_null(strstr(svg.data, "</svg>"));
    tr_buffer_free(&svg);
    json_decref(report);
    tr_select_choice_free(&choice);
}

/* ---- files ---- */

static const char rows_text[] =
    "{\"id\":\"a\",\"task\":\"tg\",\"video\":\"a.mp4\",\"query\":\"q\",\"segments\":[[0,5]],\"duration\":9}\n"
    "{\"id\":\"b\",\"task\":\"qa\",\"video\":\"a.mp4\",\"question\":\"q\",\"options\":[\"x\",\"y\"],\"answer\":"
    "\"A\"}\n";

static void read_scores(const char *scores_text, tr_status expected, const char *says)
{
    tr_row_list rows;
    tr_select_file file;
    char hash[17];
    tr_buffer text = {0};
    const char *rows_path = scratch_path("rows.jsonl"), *path = scratch_path("scores.jsonl");
    assert_int_equal(tr_file_write_atomic(rows_path, rows_text, strlen(rows_text), NULL), TR_OK);
    assert_int_equal(tr_row_list_read(rows_path, &rows, &err), TR_OK);
    for (const char *at = scores_text; *at; at++) { /* @a and @b are the rows' hashes */
        if (*at == '@' && at[1]) {
            tr_row_hash(rows.items[*++at - 'a'].json, hash);
            assert_int_equal(tr_buffer_add_text(&text, hash, NULL), TR_OK);
        } else {
            assert_int_equal(tr_buffer_add(&text, at, 1, NULL), TR_OK);
        }
    }
    assert_int_equal(tr_file_write_atomic(path, text.data, text.length, NULL), TR_OK);
    err = (tr_error){0};
    tr_status status = tr_select_file_read(path, rows_path, &rows, &file, &err);
    if (status != expected || !strstr(err.message, says)) {
        fail_msg("%d %s: %s", status, err.where, err.message);
    }
    if (!status) {
        assert_int_equal(file.k, 2);
        assert_true(file.scores[0].values[1] == 0.5 && file.scores[1].values[0] == 1 &&
                    file.scores[0].duration_s == 8);
        assert_true(file.scores[0].key != file.scores[1].key);
        tr_select_file_free(&file);
    }
    tr_buffer_free(&text);
    tr_row_list_free(&rows);
}

static void test_files(void **state)
{
    (void)state;
    static const char a[] = "{\"id\":\"a\",\"row\":\"@a\",\"duration\":8,\"ious\":[0,0.5]}\n";
    static const char b[] = "{\"id\":\"b\",\"row\":\"@b\",\"right\":[1,0]}\n";
    static const struct {
        const char *first, *second, *third;
        tr_status status;
        const char *says;
    } cases[] = {
        {a, b, "", TR_OK, ""},
        {a, "", "", TR_MISMATCH, "holds scores of 1 of the 2 rows"},
        {a, b, b, TR_MISMATCH, "more scores than"},
        {b, a, "", TR_MISMATCH, "are of other rows than"},
        {a, "{\"id\":\"b\",\"row\":\"0123456789abcdef\",\"right\":[1,0]}\n", "", TR_MISMATCH,
         "the row \"b\" (line 2)"},
        {a, "{\"id\":\"b\",\"right\":[1,0]}\n", "", TR_FORMAT, "needs \"id\" and \"row\""},
        {a, "{\"id\":\"b\",\"row\":\"@b\"}\n", "", TR_FORMAT, "needs the list \"right\""},
        {a, "{\"id\":\"b\",\"row\":\"@b\",\"right\":[1,0,1]}\n", "", TR_FORMAT, "3 answers of this row, but 2"},
        {a, "{\"id\":\"b\",\"row\":\"@b\",\"right\":[1,\"x\"]}\n", "", TR_FORMAT, "found a string at place 2"},
        {a, "{\"id\":\"b\",\"row\":\"@b\",\"right\":[1,7]}\n", "", TR_FORMAT, "numbers between 0 and 1"},
        {a, "{\"id\":\"b\",\n", "", TR_FORMAT, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1000];
        snprintf(text, sizeof text, "%s%s%s", cases[i].first, cases[i].second, cases[i].third);
        read_scores(text, cases[i].status, cases[i].says);
    }
}

/* An own row hash: the order of keys is nothing, what a selection adds is nothing, everything else is. */
static void test_row_hash(void **state)
{
    (void)state;
    static const char *const texts[] = {"{\"id\":\"a\",\"query\":\"x\"}", "{\"query\":\"x\",\"id\":\"a\"}",
                                        "{\"id\":\"a\",\"query\":\"x\",\"difficulty\":0.5,\"score\":0.5}",
                                        "{\"id\":\"a\",\"query\":\"y\"}"};
    char hashes[4][17];
    for (int i = 0; i < 4; i++) {
        json_t *row;
        assert_int_equal(tr_json_parse(texts[i], strlen(texts[i]), "row", 0, &row, &err), TR_OK);
        tr_row_hash(row, hashes[i]);
        json_decref(row);
    }
    assert_string_equal(hashes[0], hashes[1]);
    assert_string_equal(hashes[0], hashes[2]);
    assert_string_not_equal(hashes[0], hashes[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_variance),
        cmocka_unit_test(test_grounded_questions),
        cmocka_unit_test(test_gaussian_draws),
        cmocka_unit_test(test_timelens_evens_the_density_out),
        cmocka_unit_test(test_strata),
        cmocka_unit_test(test_settings_that_contradict),
        cmocka_unit_test(test_report_and_picture),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_row_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
