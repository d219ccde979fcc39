/* test_measure.c: answers become metrics: means, shares, intervals, the reasons of the unanswered. */
#include "support/shared.h"

#include "base/buffer.h"
#include "eval/measure.h"

#include <math.h>
#include <string.h>

static json_t *truth;

static int make(void **state)
{
    (void)state;
    truth = json_pack("{s:s, s:s, s:[[f, f]]}", "id", "a", "task", "tg", "segments", 10.0, 20.0);
    return truth ? 0 : -1;
}

static int drop(void **state)
{
    (void)state;
    json_decref(truth);
    return 0;
}

/* Adds one answer to tg with this interval (start < 0: none was understood). */
static json_t *add(tr_measure *m, double start_s, double end_s, double reward, bool stopped)
{
    const tr_sample sample = {.id = "a", .task = "tg", .truth = truth, .duration_s = 30};
    tr_score score = {.reward = reward, .part_count = 1, .format = start_s >= 0};
    json_t *prediction = NULL;
    tr_error err = {0};
    snprintf(score.parts[0].name, sizeof score.parts[0].name, "iou");
    score.parts[0].value = reward;
    if (start_s >= 0) {
        score.parsed = json_pack("[[f, f]]", start_s, end_s);
    } else {
        snprintf(score.error, sizeof score.error, "no answer block");
    }
    assert_int_equal(tr_measure_add(m, &sample, "text", 4, 7, stopped, &score, &prediction, &err), TR_OK);
    tr_score_clear(&score);
    assert_non_null(prediction);
    return prediction;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void test_grounding(void **state)
{
    (void)state;
    tr_measure *m;
    tr_error err = {0};
    json_t *metrics;
    assert_int_equal(tr_measure_create(&m, &err), TR_OK);
    assert_true(tr_measure_reward(m) == 0);
    json_t *first = add(m, 10, 20, 1, true); /* IoU 1 */
    assert_true(number(first, "iou") == 1);
    assert_string_equal(json_string_value(json_object_get(first, "finish")), "stop");
    assert_string_equal(json_string_value(json_object_get(first, "response")), "text");
    assert_int_equal(json_integer_value(json_object_get(first, "tokens")), 7);
    json_decref(first);
    json_decref(add(m, 10, 15, 0.5, true)); /* 0.5 */
    json_decref(add(m, 25, 100, 0, true));  /* clamped to the clip's end: 0 */
    json_t *last = add(m, -1, 0, 0, false); /* not understood, cut off */
    assert_true(number(last, "iou") == 0);
    assert_string_equal(json_string_value(json_object_get(last, "error")), "no answer block");
    assert_string_equal(json_string_value(json_object_get(last, "finish")), "length");
    json_decref(last);
    assert_true(tr_measure_reward(m) == 0.375);
    assert_int_equal(tr_measure_metrics(m, &metrics, &err), TR_OK);
    const json_t *tg = json_object_get(metrics, "tg"), *interval = json_object_get(tg, "miou_interval");
    assert_int_equal(json_integer_value(json_object_get(tg, "rows")), 4);
    assert_true(number(tg, "miou") == 0.375);
    assert_true(number(tg, "r1@0.3") == 0.5 && number(tg, "r1@0.5") == 0.5 && number(tg, "r1@0.7") == 0.25);
    assert_true(number(tg, "format_rate") == 0.75 && number(tg, "parsed_rate") == 0.75);
    assert_true(number(tg, "truncated_rate") == 0.25 && number(tg, "mean_tokens") == 7);
    assert_true(number(tg, "reward") == 0.375 && number(json_object_get(tg, "parts"), "iou") == 0.375);
    assert_true(json_number_value(json_array_get(interval, 0)) >= 0 &&
                json_number_value(json_array_get(interval, 0)) < 0.375 &&
                json_number_value(json_array_get(interval, 1)) > 0.375 &&
                json_number_value(json_array_get(interval, 1)) <= 1);
    assert_null(json_object_get(metrics, "qa"));
    json_decref(metrics);
    tr_measure_free(m);
}

static void test_unanswered_rows_are_counted_by_reason(void **state)
{
    (void)state;
    tr_measure *m;
    tr_error err = {0};
    const tr_error broken = {.code = TR_FORMAT, .message = "no video stream", .where = "a.mp4"};
    json_t *metrics;
    assert_int_equal(tr_measure_create(&m, &err), TR_OK);
    assert_int_equal(tr_measure_skip(m, &broken, &err), TR_OK);
    assert_int_equal(tr_measure_skip(m, &broken, &err), TR_OK);
    assert_int_equal(tr_measure_metrics(m, &metrics, &err), TR_OK);
    assert_int_equal(json_integer_value(json_object_get(metrics, "unanswered")), 2);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(metrics, "unanswered_why"), "no video stream")), 2);
    assert_int_equal(json_integer_value(json_object_get(metrics, "rows")), 0);
    json_decref(metrics);
    tr_measure_free(m);
    tr_measure_free(NULL);
}

/* A part that only the second row has: the first counts as 0 there. */
static void test_parts_that_come_late(void **state)
{
    (void)state;
    tr_measure *m;
    tr_error err = {0};
    json_t *metrics, *prediction;
    assert_int_equal(tr_measure_create(&m, &err), TR_OK);
    json_decref(add(m, 10, 20, 1, true));
    const tr_sample sample = {.id = "b", .task = "tg", .truth = truth, .duration_s = 30};
    tr_score score = {.reward = 2, .part_count = 1};
    snprintf(score.parts[0].name, sizeof score.parts[0].name, "cls");
    score.parts[0].value = 1;
    assert_int_equal(tr_measure_add(m, &sample, "", 0, 0, true, &score, &prediction, &err), TR_OK);
    json_decref(prediction);
    json_decref(add(m, 10, 20, 1, true));
    assert_int_equal(tr_measure_metrics(m, &metrics, &err), TR_OK);
    const json_t *parts = json_object_get(json_object_get(metrics, "tg"), "parts");
    assert_true(fabs(number(parts, "cls") - 1.0 / 3) < 1e-12);
    assert_true(fabs(number(parts, "iou") - 2.0 / 3) < 1e-12);
    json_decref(metrics);
    tr_measure_free(m);
}

static void test_text_that_is_not_utf8(void **state)
{
    (void)state;
    tr_measure *m;
    tr_error err = {0};
    const tr_sample sample = {.id = "a", .task = "qa", .truth = truth, .duration_s = 30};
    const tr_score score = {.reward = 0};
    json_t *prediction = NULL;
    assert_int_equal(tr_measure_create(&m, &err), TR_OK);
    assert_int_equal(tr_measure_add(m, &sample, "\xff\xfe", 2, 1, true, &score, &prediction, &err), TR_OK);
    assert_true(json_is_null(json_object_get(prediction, "response")));
    json_decref(prediction);
    const tr_sample other = {.id = "a", .task = "poem", .truth = truth};
    assert_int_equal(tr_measure_add(m, &other, "", 0, 1, true, &score, &prediction, &err), TR_INVALID);
    assert_null(prediction);
    tr_measure_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grounding),
        cmocka_unit_test(test_unanswered_rows_are_counted_by_reason),
        cmocka_unit_test(test_parts_that_come_late),
        cmocka_unit_test(test_text_that_is_not_utf8),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
