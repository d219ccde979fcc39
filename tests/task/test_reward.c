/* test_reward.c: every scheme on cases worked by hand, the published edge cases, targets, switches, threads. */
#include "support/shared.h"

#include "base/random.h"
#include "task/row.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tr_arena arena;

static int setup(void **state)
{
    (void)state;
    return tr_arena_init(&arena, tr_reward_arena_bytes(64), NULL) ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    tr_arena_free(&arena);
    return 0;
}

static tr_reward score(const tr_scheme *scheme, tr_task task, const char *response, const tr_truth *truth)
{
    tr_reward result;
    tr_error err = {0};
    tr_arena_reset(&arena, 0);
    if (tr_reward_score(scheme, task, response, strlen(response), 0, truth, &arena, &result, &err)) {
        fail_msg("'%s': %s", response, err.message);
    }
    return result;
}

static void near(const char *what, double x, double y)
{
    if (!(fabs(x - y) <= 1e-12)) {
        fail_msg("%s: %.15g, expected %.15g", what, x, y);
    }
}

static const tr_interval five_twenty[] = {{5, 20}};
static const tr_truth tg_truth = {.segments = five_twenty, .count = 1, .duration_s = 30};

/* Section 2.2 of the specification, row by row. */
static void test_temporal_r1(void **state)
{
    (void)state;
#define R1(s, e) "<think>a\nb</think> <answer>{\"start_time\": " s ", \"end_time\": " e "}</answer>"
    static const struct {
        const char *response;
        double iou, format;
    } cases[] = {
        {R1("\"5\"", "\"20\""), 1, 1},
        {R1("\"5.0\"", "\"20.0\""), 1, 1},
        {R1("5", "20.0"), 1, 0},
        {"<answer>{\"start_time\": \"5\", \"end_time\": \"20\"}</answer>", 1, 0},
        {"<think>a</think> {\"start_time\": \"5\", \"end_time\": \"20\"}", 0, 0},
        {R1("\"5\"", "\"20\"") "\n", 1, 0},
        {"\n" R1("\"5\"", "\"20\""), 1, 0},
        {"<think>a</think><answer>{\"end_time\": \"20\", \"start_time\": \"5\"}</answer>", 1, 0},
        {"<think>a</think><answer>{\"start_time\": \"5\", \"end_time\": \"20\", \"x\": 1}</answer>", 1, 0},
        {R1("\"20\"", "\"5\""), 0, 1},
        {R1("\"10\"", "\"10\""), 0, 1},
        {R1("\"5\"", "\"60\""), 15.0 / 55, 1},
        {R1("\"-5\"", "\"20\""), 15.0 / 25, 0},
        {R1("\"5s\"", "\"20s\""), 0, 0},
        {R1("\"00:05\"", "\"00:20\""), 0, 0},
        {"<think>a</think><answer>```json\n{\"start_time\": \"5\", \"end_time\": \"20\"}\n```</answer>", 0, 0},
        {R1("\"1.2.3\"", "\"20\""), 0, 1},
        {"<think>a</think><answer>{\"start_time\": \"5\", \"end_time\": \"20\"}</answer><answer>{\"start_time\": "
         "\"0\", "
         "\"end_time\": \"1\"}</answer>",
         1, 0},
        {"<think><answer>{\"start_time\": \"5\", \"end_time\": \"20\"}</answer></think><answer>{\"start_time\": "
         "\"0\", "
         "\"end_time\": \"1\"}</answer>",
         1, 1}, /* the first block is scored: the exploit of the original */
        {"<think></think><answer>{\"start_time\": \"5\", \"end_time\": \"20\"}</answer>", 1, 1},
        {R1("\"0\"", "\"30\""), 0.5, 1},
        {R1("NaN", "20"), 0, 0},
        {R1("5", "Infinity"), 0, 0},
        {R1("\"nan\"", "\"20\""), 0, 0},
        {R1("true", "20"), 15.0 / 19, 0}, /* float(True) is 1 */
        {R1("\" 5 \"", "\"20\""), 1, 0},
        {R1("0.5e1", "2E1"), 1, 0},
        {R1("05", "20"), 0, 0}, /* no JSON number */
        {"<think>a</think><answer>[5, 20]</answer>", 0, 0},
        {"<think>a</think><answer>{\"start_time\": \"5\"}</answer>", 0, 0},
        {"", 0, 0},
    };
    const tr_scheme *scheme = tr_scheme_find("temporal-r1");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tr_reward r = score(scheme, TR_TASK_TG, cases[i].response, &tg_truth);
        near(cases[i].response, r.parts[TR_PART_IOU], cases[i].iou);
        near(cases[i].response, r.parts[TR_PART_FORMAT], cases[i].format);
        near(cases[i].response, r.total, 0.5 * cases[i].iou + 0.5 * cases[i].format);
        assert_true(r.parsed == !r.error);
    }
    tr_interval point[] = {{10, 10}};
    tr_truth zero = {.segments = point, .count = 1, .duration_s = 30};
    near("zero-length truth", score(scheme, TR_TASK_TG, R1("\"10\"", "\"10\""), &zero).total, 0.5);
}

static void test_tempr1_one_to_one(void **state)
{
    (void)state;
    const tr_scheme *s = tr_scheme_find("tempr1");
    near("perfect", score(s, TR_TASK_TG, "<answer>5.0 to 20.0</answer>", &tg_truth).total, 2);
    near("thought", score(s, TR_TASK_TG, "<think>x</think><answer>5.0 to 20.0</answer>", &tg_truth).total, 2);
    near("half", score(s, TR_TASK_TG, "<answer>5 to 12.5</answer>", &tg_truth).total, 1.5);
    near("tolerant", score(s, TR_TASK_TG, "<answer>5s - 20s</answer>", &tg_truth).total, 1);
    near("two pairs", score(s, TR_TASK_TG, "<answer>5 to 20, 1 to 2</answer>", &tg_truth).total, 1);
    near("no tag", score(s, TR_TASK_TG, "5 to 20", &tg_truth).total, 0);
    near("reversed", score(s, TR_TASK_TG, "<answer>20 to 5</answer>", &tg_truth).total, 1);
    near("clamped", score(s, TR_TASK_TG, "<answer>5 to 60</answer>", &tg_truth).parts[TR_PART_IOU], 15.0 / 25);
    near("outside", score(s, TR_TASK_TG, "<answer>40 to 60</answer>", &tg_truth).parts[TR_PART_IOU], 0);
    const char *hidden = "<think><answer>5 to 20</answer></think><answer>0 to 1</answer>";
    near("the answer stands behind the reasoning", score(s, TR_TASK_TG, hidden, &tg_truth).parts[TR_PART_IOU], 0);
    tr_interval two[] = {{10, 20}, {0, 10}}; /* not in order of time: pairs go by the order of the queries */
    tr_truth dtg = {.segments = two, .count = 2, .duration_s = 30};
    near("dtg", score(s, TR_TASK_DTG, "<answer>10 to 20, 0 to 5</answer>", &dtg).total, 1 + 0.75);
    near("dtg swapped", score(s, TR_TASK_DTG, "<answer>0 to 10, 10 to 20</answer>", &dtg).total, 1);
    near("dtg one missing", score(s, TR_TASK_DTG, "<answer>10 to 20</answer>", &dtg).total, 0.5);
    near("dtg one more", score(s, TR_TASK_DTG, "<answer>10 to 20, 0 to 10, 5 to 6</answer>", &dtg).total, 1);
}

static void test_tempr1_unions(void **state)
{
    (void)state;
    const tr_scheme *s = tr_scheme_find("tempr1");
    tr_interval g[] = {{0, 10}, {20, 30}};
    const char *options[] = {"red", "blue"};
    tr_truth t = {
        .segments = g, .count = 2, .answer = "B", .options = options, .option_count = 2, .duration_s = 30};
    near("vhd", score(s, TR_TASK_VHD, "<answer>20 to 25, 25 to 30, 5 to 10, 6 to 8</answer>", &t).total,
         1 + 15.0 / 20);
    near("vhd none", score(s, TR_TASK_VHD, "<answer></answer>", &t).total, 1);
    tr_truth none = {.duration_s = 30};
    near("vhd none of none", score(s, TR_TASK_VHD, "<answer></answer>", &none).total, 2);
    near("vhd some of none", score(s, TR_TASK_VHD, "<answer>1 to 2</answer>", &none).total, 1);
    near("vhd no answer of none", score(s, TR_TASK_VHD, "what?", &none).total, 0);
    const char *good = "<answer>B</answer> <glue>[(0, 10), (20, 30)]</glue>";
    near("gvqa", score(s, TR_TASK_GVQA, good, &t).total, 3);
    tr_reward r = score(s, TR_TASK_GVQA, "<answer>blue</answer><glue>0 to 10</glue>", &t);
    near("gvqa tolerant", r.total, 0 + 1 + 0.5);
    near("gvqa wrong", score(s, TR_TASK_GVQA, "<answer>A</answer><glue>[(0, 10)]</glue>", &t).total, 1.5);
    r = score(s, TR_TASK_GVQA, "<answer>B</answer>", &t);
    near("gvqa without evidence", r.total, 1);
    assert_false(r.parsed);
    near("qa", score(s, TR_TASK_QA, "<think>x</think><answer>B</answer>", &t).total, 2);
    near("qa text", score(s, TR_TASK_QA, "<answer>Blue.</answer>", &t).total, 1);
    tr_truth by_text = t;
    by_text.answer = "blue";
    near("qa truth as text", score(s, TR_TASK_QA, "<answer>B</answer>", &by_text).total, 2);
}

static void test_tempr1_tal(void **state)
{
    (void)state;
    tr_scheme s = *tr_scheme_find("tempr1");
    tr_interval g[] = {{0, 10}, {20, 30}, {40, 50}, {60, 70}};
    for (size_t n = 1; n <= 4; n++) { /* the count part's published values */
        tr_truth t = {.segments = g, .count = n, .duration_s = 80};
        static const double off[5][3] = {
            {0, 0, 0}, {0.368, 0.135, 0}, {0.607, 0.368, 0.223}, {0.717, 0.513, 0.368}, {0.717, 0.513, 0.368}};
        char text[256] = "<answer>0 to 1";
        for (size_t m = 2; m <= n + 3; m++) {
            strcat(text, ", 0 to 1");
            if (m > n) {
                char whole[300];
                snprintf(whole, sizeof whole, "%s</answer>", text);
                double num = score(&s, TR_TASK_TAL, whole, &t).parts[TR_PART_NUM];
                assert_true(m - n > 2 && n == 1 ? fabs(num - exp(-3)) < 1e-12
                                                : fabs(num - off[n][m - n - 1]) < 6e-4);
            }
        }
    }
    tr_truth t = {.segments = g, .count = 4, .duration_s = 80};
    near("tal perfect", score(&s, TR_TASK_TAL, "<answer>60 to 70, 0 to 10, 40 to 50, 20 to 30</answer>", &t).total,
         3);
    /* one false alarm at the front: the programme passes over it, naive pairing falls apart */
    const char *shifted = "<answer>0 to 1, 0 to 10, 20 to 30, 40 to 50</answer>";
    near("tal shifted", score(&s, TR_TASK_TAL, shifted, &t).parts[TR_PART_MATCH], 2 * 3.0 / 8);
    s.matching = TR_MATCH_NAIVE;
    near("tal shifted, naive", score(&s, TR_TASK_TAL, shifted, &t).parts[TR_PART_MATCH], 2 * 0.1 / 8);
    s.matching = TR_MATCH_MONOTONE;
    near("right count, wrong places",
         score(&s, TR_TASK_TAL, "<answer>11 to 12, 13 to 14, 15 to 16, 17 to 18</answer>", &t).total, 2);
    tr_truth none = {.duration_s = 80};
    tr_reward r = score(&s, TR_TASK_TAL, "<answer>1 to 2</answer>", &none);
    near("no truth, some answers", r.parts[TR_PART_NUM] + r.parts[TR_PART_MATCH], 0);
    near("nothing of nothing", score(&s, TR_TASK_TAL, "<answer></answer>", &none).total, 3);
    near("nothing of something", score(&s, TR_TASK_TAL, "<answer></answer>", &t).total, 1);
    near("empty intervals count",
         score(&s, TR_TASK_TAL, "<answer>9 to 9, 9 to 9, 9 to 9, 9 to 9</answer>", &t).total, 2);
}

static void test_family(void **state)
{
    (void)state;
    const tr_scheme *s = tr_scheme_find("time-r1");
    near("time-r1", score(s, TR_TASK_TG, "<think>a</think><answer>8 to 20</answer>", &tg_truth).total,
         1 + 12.0 / 15 * (1 - 3.0 / 30));
    near("time-r1 and", score(s, TR_TASK_TG, "<answer>1 to 2</answer><answer>5 and 20</answer>", &tg_truth).total,
         1);
    near("time-r1 reversed", score(s, TR_TASK_TG, "<answer>20 to 5</answer>", &tg_truth).total, 0);
    s = tr_scheme_find("videochat-r1");
    near("videochat-r1", score(s, TR_TASK_TG, "<think>a</think> <answer>5 to 35</answer>", &tg_truth).total,
         1 + 15.0 / 30);
    const char *options[] = {"x", "y"};
    tr_truth q = {.segments = five_twenty,
                  .count = 1,
                  .answer = "B",
                  .options = options,
                  .option_count = 2,
                  .duration_s = 30};
    near("videochat-r1 gvqa",
         score(s, TR_TASK_GVQA, "<think>a</think><answer>B</answer><glue>[(5, 12.5)]</glue>", &q).total, 2.5);
    near("videochat-r1 gvqa, list of the wrong form",
         score(s, TR_TASK_GVQA, "<think>a</think><answer>B</answer><glue>5 to 12.5</glue>", &q).total, 1);
    s = tr_scheme_find("museg");
    tr_reward r = score(s, TR_TASK_TG, "<think>5.0 20.0</think><answer>5-20</answer>", &tg_truth);
    assert_true(fabs(r.total - 3) < 1e-5 && r.parts[TR_PART_LOCAL] == 1);
    r = score(s, TR_TASK_TG, "<think>5.0 12.5</think><answer>5-12.5</answer>", &tg_truth);
    assert_true(fabs(r.parts[TR_PART_GLOBAL] - 2.0 / 3) < 1e-5); /* precision 1, recall 1/2 */
    near("museg local", r.parts[TR_PART_LOCAL], 0.75);
    s = tr_scheme_find("timelens");
    near("timelens", score(s, TR_TASK_TG, "The event happens in 5.0 - 12.5 seconds.", &tg_truth).total, 0.5);
    s = tr_scheme_find("timelens2");
    near("timelens2", score(s, TR_TASK_TG, "<answer>10 to 25</answer>", &tg_truth).total,
         exp(-5.0 / 15) + 10.0 / 20);
    near("timelens2 unparsed", score(s, TR_TASK_TG, "no", &tg_truth).total, -1);
    s = tr_scheme_find("omtg");
    tr_interval g[] = {{0, 10}, {20, 30}};
    tr_truth t = {.segments = g, .count = 2, .duration_s = 40};
    /* IoU 0.6 and 1: matched at 0.3 and 0.5, one at 0.7 */
    r = score(s, TR_TASK_TAL, "<answer>20 to 30, 0 to 6</answer>", &t);
    near("omtg", r.total, 1 + 1 + (1 + 1 + 0.5) / 3);
    near("overlong 50", tr_reward_overlong(50, 100, 20), 0);
    near("overlong 90", tr_reward_overlong(90, 100, 20), -0.5);
    near("overlong 110", tr_reward_overlong(110, 100, 20), -1);
    near("overlong 80", tr_reward_overlong(80, 100, 20), 0);
    near("overlong 100", tr_reward_overlong(100, 100, 20), -1);
}

/* What a scheme would teach earns what it can give at most. */
static void test_targets(void **state)
{
    (void)state;
    const char *options[] = {"a", "b", "c"};
    size_t checked = 0;
    for (const char *const *name = tr_scheme_names(); *name; name++) {
        for (int task = 0; task < TR_TASK_COUNT; task++) {
            for (int think = 0; think < 3; think++) {
                for (uint32_t i = 0; i < 20; i++) {
                    tr_scheme s = *tr_scheme_find(*name);
                    tr_interval g[5];
                    size_t n = task == TR_TASK_TG ? 1 : 1 + tr_random_below(1, i, 0, 0, 0, 5);
                    for (size_t k = 0; k < n; k++) {
                        double from =
                            (double)k * 20 + floor(tr_random_uniform(1, i, 1, (uint32_t)k, 0) * 900) / 100;
                        g[k] = (tr_interval){
                            from, from + 0.5 + floor(tr_random_uniform(1, i, 2, (uint32_t)k, 0) * 1000) / 1000};
                    }
                    tr_truth t = {.segments = g,
                                  .count = n,
                                  .answer = "C",
                                  .options = options,
                                  .option_count = 3,
                                  .duration_s = 200};
                    if (!s.tasks[task].defined) {
                        continue;
                    }
                    tr_buffer text = {0};
                    const char *thought = think == 0 ? NULL : think == 1 ? "" : "first this, then that";
                    assert_int_equal(tr_reward_target(&s, (tr_task)task, &t, thought, &text, NULL), TR_OK);
                    tr_reward r = score(&s, (tr_task)task, text.data, &t);
                    if (!(fabs(r.total - tr_reward_largest(&s, (tr_task)task)) < 1e-5)) {
                        fail_msg("%s/%s: '%s' earns %g of %g (%s)", *name, tr_task_name((tr_task)task), text.data,
                                 r.total, tr_reward_largest(&s, (tr_task)task), r.error ? r.error : "parsed");
                    }
                    tr_buffer_free(&text);
                    checked++;
                }
            }
        }
    }
    assert_true(checked > 1000);
    tr_buffer text = {0};
    assert_int_equal(tr_reward_target(tr_scheme_find("tempr1"), TR_TASK_TG, &tg_truth, NULL, &text, NULL), TR_OK);
    assert_string_equal(text.data, "<answer>5.0 to 20.0</answer>");
    tr_buffer_clear(&text);
    assert_int_equal(tr_reward_target(tr_scheme_find("temporal-r1"), TR_TASK_TG, &tg_truth, "x", &text, NULL),
                     TR_OK);
    assert_string_equal(text.data,
                        "<think>x</think> <answer>{\"start_time\": \"5.0\", \"end_time\": \"20.0\"}</answer>");
    tr_buffer_free(&text);
    tr_truth none = {.duration_s = 10};
    assert_int_equal(tr_reward_target(tr_scheme_find("tempr1"), TR_TASK_TAL, &none, NULL, &text, NULL), TR_OK);
    near("empty target", score(tr_scheme_find("tempr1"), TR_TASK_TAL, text.data, &none).total, 3);
    tr_buffer_free(&text);
}

static void test_bad_calls(void **state)
{
    (void)state;
    tr_error err = {0};
    tr_reward r;
    const tr_scheme *s;
    tr_task task;
    tr_arena_reset(&arena, 0);
    assert_int_equal(tr_scheme_get("temporal-r2", &s, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "did you mean 'temporal-r1'"));
    assert_int_equal(tr_task_from_name("tgg", &task, &err), TR_INVALID);
    s = tr_scheme_find("temporal-r1");
    assert_int_equal(tr_reward_score(s, TR_TASK_TAL, "", 0, 0, &tg_truth, &arena, &r, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "temporal-r1 has no reward for the task tal; it has tg, gvqa, qa"));
    assert_int_equal(tr_reward_score(s, TR_TASK_QA, "", 0, 0, &tg_truth, &arena, &r, &err), TR_INVALID);
    tr_arena tiny;
    assert_int_equal(tr_arena_init(&tiny, 4096, NULL), TR_OK);
    assert_int_equal(tr_reward_score(s, TR_TASK_TG, "", 0, 0, &tg_truth, &tiny, &r, &err), TR_MEMORY);
    tr_arena_free(&tiny);
}

static void test_own_scheme(void **state)
{
    (void)state;
    tr_scheme s;
    tr_error err = {0};
    json_t *j = json_pack("{s:{s:f,s:f},s:s,s:s}", "parts", "format", 0.5, "iou", 0.5, "template", "json", "think",
                          "required");
    assert_int_equal(tr_scheme_from_json(j, "mine", &s, &err), TR_OK);
    near("own", score(&s, TR_TASK_TG, R1("\"5\"", "\"20\""), &tg_truth).total, 1);
    near("own, without thought",
         score(&s, TR_TASK_TG, "<answer>{\"start_time\": 5, \"end_time\": 12.5}</answer>", &tg_truth).total, 0.25);
    json_decref(j);
    j = json_pack("{s:{s:f},s:s}", "parts", "fromat", 1.0, "matching", "naive");
    assert_int_equal(tr_scheme_from_json(j, "mine", &s, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "did you mean 'format'"));
    json_decref(j);
    j = json_pack("{s:{s:{s:{s:f,s:f}}},s:f,s:s}", "tasks", "tal", "parts", "num", 0.25, "match", 0.75, "sigma",
                  2.0, "matching", "naive");
    assert_int_equal(tr_scheme_from_json(j, "mine", &s, &err), TR_OK);
    tr_interval g[] = {{0, 10}};
    tr_truth t = {.segments = g, .count = 1, .duration_s = 80};
    near("own tal", score(&s, TR_TASK_TAL, "<answer>0 to 10, 20 to 30</answer>", &t).total,
         0.25 * exp(-0.5) + 0.75 * 2 / 3);
    json_decref(j);
}

/* The same from many threads at once, each with its arena. */
static void *worker(void *sum)
{
    tr_arena mine;
    double total = 0;
    if (tr_arena_init(&mine, tr_reward_arena_bytes(4), NULL)) {
        return NULL;
    }
    for (int i = 0; i < 20000; i++) {
        tr_reward r;
        char text[64];
        int n = snprintf(text, sizeof text, "<answer>%d.5 to 20.0</answer>", i % 20);
        tr_arena_reset(&mine, 0);
        if (!tr_reward_score(tr_scheme_find("tempr1"), TR_TASK_TG, text, (size_t)n, 0, &tg_truth, &mine, &r,
                             NULL)) {
            total += r.total;
        }
    }
    tr_arena_free(&mine);
    *(double *)sum = total;
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    double sums[4] = {0};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, worker, &sums[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(sums[0] > 20000 && sums[0] == sums[1] && sums[0] == sums[2] && sums[0] == sums[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_temporal_r1),   cmocka_unit_test(test_tempr1_one_to_one),
        cmocka_unit_test(test_tempr1_unions), cmocka_unit_test(test_tempr1_tal),
        cmocka_unit_test(test_family),        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_bad_calls),     cmocka_unit_test(test_own_scheme),
        cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
