/* test_measure.c: answers become lines of predictions, lines become metrics: means, shares, intervals, sub-tasks,
 * several answers a row, the reasons of the unanswered. */
#include "support/shared.h"

#include "base/buffer.h"
#include "eval/measure.h"
#include "eval/prediction.h"
#include "eval/reading.h"
#include "eval/select.h"

#include <math.h>
#include <string.h>

static tr_reader reader;
static tr_error err;

static int make(void **state)
{
    (void)state;
    return tr_reader_open(NULL, &reader, &err);
}

static int drop(void **state)
{
    (void)state;
    tr_reader_close(&reader);
    return 0;
}

static json_t *parse(const char *text)
{
    json_t *value;
    if (tr_json_parse(text, strlen(text), "test", 0, &value, &err)) {
        fail_msg("%s", err.message);
    }
    return value;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static const json_t *at(const json_t *object, const char *key)
{
    return json_object_get(object, key);
}

/* One answer as the source would have judged it. parsed is JSON, or NULL for one that was not understood. */
static tr_score judged(const char *parsed, double reward)
{
    tr_score score = {.reward = reward, .part_count = 1, .format = parsed != NULL};
    snprintf(score.parts[0].name, sizeof score.parts[0].name, "iou");
    score.parts[0].value = reward;
    if (parsed) {
        score.parsed = parse(parsed);
    } else {
        snprintf(score.error, sizeof score.error, "no answer block");
    }
    return score;
}

/* Adds answers to a row; the line is returned. */
static json_t *add(tr_measure *m, const char *row_text, const char *const *parsed, const double *rewards,
                   size_t count, bool stopped)
{
    json_t *row = parse(row_text), *line;
    tr_score scores[4];
    tr_given given[4];
    for (size_t i = 0; i < count; i++) {
        scores[i] = judged(parsed[i], rewards[i]);
        given[i] = (tr_given){"text", 4, 7, stopped, &scores[i]};
    }
    const tr_sample sample = {.id = json_string_value(at(row, "id")),
                              .task = json_string_value(at(row, "task")),
                              .truth = row,
                              .duration_s = 30};
    assert_int_equal(tr_prediction_make(&reader, &sample, given, count, &line, &err), TR_OK);
    if (tr_measure_add(m, line, row, "line", &err)) {
        fail_msg("%s", err.message);
    }
    for (size_t i = 0; i < count; i++) {
        tr_score_clear(&scores[i]);
    }
    json_decref(row);
    return line;
}

static json_t *add_one(tr_measure *m, const char *row, const char *parsed, double reward, bool stopped)
{
    return add(m, row, &parsed, &reward, 1, stopped);
}

static json_t *metrics_of(tr_measure *m)
{
    json_t *metrics;
    assert_int_equal(tr_measure_metrics(m, &metrics, &err), TR_OK);
    tr_measure_free(m);
    return metrics;
}

static tr_measure *new_measure(void)
{
    tr_measure *m;
    assert_int_equal(tr_measure_create(&m, &err), TR_OK);
    return m;
}

static const char tg[] = "{\"id\":\"a\",\"task\":\"tg\",\"segments\":[[10,20]]}";

static void test_grounding(void **state)
{
    (void)state;
    tr_measure *m = new_measure();
    assert_true(tr_measure_reward(m) == 0);
    json_t *first = add_one(m, tg, "[[10,20]]", 1, true); /* IoU 1 */
    assert_true(number(first, "iou") == 1 && number(at(first, "metrics"), "r1@0.7") == 1);
    assert_string_equal(json_string_value(at(first, "finish")), "stop");
    assert_string_equal(json_string_value(at(first, "response")), "text");
    assert_int_equal(strlen(json_string_value(at(first, "row"))), 16);
    assert_int_equal(json_integer_value(at(first, "tokens")), 7);
    json_decref(first);
    json_decref(add_one(m, tg, "[[10,15]]", 0.5, true)); /* 0.5 */
    json_decref(add_one(m, tg, "[[25,100]]", 0, true));  /* clamped to the clip's end: 0 */
    json_t *last = add_one(m, tg, NULL, 0, false);       /* not understood, cut off */
    assert_true(number(last, "iou") == 0);
    assert_string_equal(json_string_value(at(last, "error")), "no answer block");
    assert_string_equal(json_string_value(at(last, "finish")), "length");
    json_decref(last);
    assert_true(tr_measure_reward(m) == 0.375);
    json_t *metrics = metrics_of(m);
    const json_t *values = at(metrics, "tg"), *interval = at(values, "miou_interval");
    assert_int_equal(json_integer_value(at(values, "rows")), 4);
    assert_true(number(values, "miou") == 0.375);
    assert_true(number(values, "r1@0.3") == 0.5 && number(values, "r1@0.5") == 0.5 &&
                number(values, "r1@0.7") == 0.25);
    assert_true(number(values, "format_rate") == 0.75 && number(values, "parsed_rate") == 0.75);
    assert_true(number(values, "truncated_rate") == 0.25 && number(values, "mean_tokens") == 7);
    assert_true(number(values, "reward") == 0.375 && number(at(values, "parts"), "iou") == 0.375);
    assert_true(json_number_value(json_array_get(interval, 0)) >= 0 &&
                json_number_value(json_array_get(interval, 0)) < 0.375 &&
                json_number_value(json_array_get(interval, 1)) > 0.375 &&
                json_number_value(json_array_get(interval, 1)) <= 1);
    assert_null(at(metrics, "qa"));
    json_decref(metrics);
}

/* Every other task by its own metrics: worked by hand. */
static void test_other_tasks(void **state)
{
    (void)state;
    tr_measure *m = new_measure();
    json_decref(add_one(m,
                        "{\"id\":\"d\",\"task\":\"dtg\",\"queries\":[\"x\",\"y\",\"z\"],"
                        "\"segments\":[[0,10],[10,20],[20,30]]}",
                        "[[0,10],[10,15]]", 1, true)); /* IoU 1, 0.5 and nothing for the third sentence */
    json_decref(add_one(m, "{\"id\":\"v\",\"task\":\"vhd\",\"segments\":[[0,10],[20,30]]}", "[[5,10],[20,30]]", 1,
                        true)); /* 15 of 20 s */
    json_decref(add_one(m,
                        "{\"id\":\"g\",\"task\":\"gvqa\",\"options\":[\"p\",\"q\"],\"answer\":\"B\","
                        "\"segments\":[[0,10]]}",
                        "{\"option\":\"B\",\"segments\":[[0,20]]}", 1, true)); /* IoU 0.5, IoP 0.5, right */
    json_decref(add_one(m,
                        "{\"id\":\"t\",\"task\":\"tal\",\"action\":\"run\",\"video\":\"a.mp4\","
                        "\"segments\":[[0,10],[20,30],[40,50]]}",
                        "[[0,10],[12,14],[20,25]]", 1, true)); /* docs/tasks.md's picture */
    json_t *metrics = metrics_of(m);
    assert_true(fabs(number(at(metrics, "dtg"), "miou") - 0.5) < 1e-12);
    assert_true(fabs(number(at(metrics, "dtg"), "r1@0.7") - 1.0 / 3) < 1e-12);
    assert_int_equal(json_integer_value(at(at(metrics, "dtg"), "rows")), 1);
    assert_true(number(at(metrics, "vhd"), "miou") == 0.75);
    assert_true(number(at(at(metrics, "vhd"), "qvhighlights"), "MR-full-R1@0.5") == 100); /* [20, 30] is found */
    const json_t *gvqa = at(metrics, "gvqa"), *tal = at(metrics, "tal");
    assert_true(number(gvqa, "accuracy") == 1 && number(gvqa, "miou") == 0.5 && number(gvqa, "miop") == 0.5 &&
                number(gvqa, "acc@gqa") == 1 && number(gvqa, "iou@0.5") == 1);
    assert_true(fabs(number(tal, "f1@0.5") - 2.0 / 3) < 1e-12 && fabs(number(tal, "f1@0.7") - 1.0 / 3) < 1e-12);
    assert_true(number(tal, "count_accuracy") == 1);
    assert_true(number(at(tal, "activitynet"), "average_mAP") > 0);
    json_decref(metrics);
}

/* Two sub-tasks of different size: the mean over them is not the mean over rows; an empty answer counts. */
static void test_subtasks(void **state)
{
    (void)state;
    static const char one[] = "{\"id\":\"1\",\"task\":\"qa\",\"options\":[\"x\",\"y\"],\"answer\":\"A\","
                              "\"category\":\"order\",\"length\":\"short\"}";
    static const char two[] = "{\"id\":\"2\",\"task\":\"qa\",\"options\":[\"x\",\"y\"],\"answer\":\"B\","
                              "\"category\":\"speed\"}";
    tr_measure *m = new_measure();
    json_t *line = add_one(m, one, "\"A\"", 1, true);
    assert_string_equal(json_string_value(at(line, "subtask")), "order");
    json_decref(line);
    json_decref(add_one(m, one, "\"A\"", 1, true));
    json_decref(add_one(m, one, NULL, 0, true));
    json_decref(add_one(m, two, "\"A\"", 0, true));
    json_t *metrics = metrics_of(m);
    const json_t *qa = at(metrics, "qa"), *subtasks = at(qa, "subtasks");
    assert_true(number(qa, "accuracy") == 0.5);
    assert_true(fabs(number(at(subtasks, "order"), "accuracy") - 2.0 / 3) < 1e-12);
    assert_int_equal(json_integer_value(at(at(subtasks, "order"), "rows")), 3);
    assert_true(number(at(subtasks, "speed"), "accuracy") == 0);
    assert_true(fabs(number(qa, "subtask_mean") - 1.0 / 3) < 1e-12);
    assert_int_equal(json_integer_value(at(at(at(qa, "lengths"), "short"), "rows")), 3);
    const json_t *interval = at(qa, "subtask_mean_interval");
    assert_true(json_number_value(json_array_get(interval, 0)) < 1.0 / 3 &&
                json_number_value(json_array_get(interval, 1)) > 1.0 / 3);
    json_decref(metrics);
}

static void test_several_answers(void **state)
{
    (void)state;
    static const char *const parsed[] = {"[[10,20]]", NULL, "[[10,15]]"};
    static const double rewards[] = {2, 0, 1};
    tr_measure *m = new_measure();
    json_t *line = add(m, tg, parsed, rewards, 3, true);
    assert_int_equal(tr_prediction_count(line), 3);
    assert_true(fabs(number(at(line, "mean"), "miou") - 0.5) < 1e-12 && number(at(line, "best"), "miou") == 1);
    assert_true(number(line, "reward") == 1);
    /* a line with another number of answers does not belong to these */
    json_t *other = parse("{\"id\":\"b\",\"task\":\"tg\",\"reward\":1,\"metrics\":{\"miou\":1}}");
    assert_int_equal(tr_measure_add(m, other, NULL, "p.jsonl:2", &err), TR_FORMAT);
    assert_non_null(strstr(err.message, "1 answers of \"b\", but 3"));
    json_decref(other);
    json_decref(line);
    json_t *metrics = metrics_of(m);
    const json_t *values = at(metrics, "tg");
    assert_int_equal(json_integer_value(at(metrics, "samples")), 3);
    assert_true(fabs(number(values, "r1@0.5") - 2.0 / 3) < 1e-12 && number(at(values, "best"), "r1@0.7") == 1);
    assert_true(fabs(number(values, "parsed_rate") - 2.0 / 3) < 1e-12);
    assert_true(number(at(values, "best"), "reward") == 2);
    json_decref(metrics);
}

static void test_unanswered_rows_are_counted_by_reason(void **state)
{
    (void)state;
    tr_measure *m = new_measure();
    const tr_error broken = {.code = TR_FORMAT, .message = "no video stream", .where = "a.mp4"};
    json_t *line, *row = parse(tg);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tr_prediction_unanswered(i ? row : NULL, 4, &broken, &line, &err), TR_OK);
        assert_string_equal(json_string_value(at(line, "id")), i ? "a" : "#5");
        assert_int_equal(tr_measure_add(m, line, row, "line", &err), TR_OK);
        json_decref(line);
    }
    json_t *metrics = metrics_of(m);
    assert_int_equal(json_integer_value(at(metrics, "unanswered")), 2);
    assert_int_equal(json_integer_value(at(at(metrics, "unanswered_why"), "no video stream")), 2);
    assert_int_equal(json_integer_value(at(metrics, "rows")), 0);
    json_decref(metrics);
    json_decref(row);
    tr_measure_free(NULL);
}

/* A part that only the second row has: the first counts as 0 there, and so does the third. */
static void test_parts_that_come_late(void **state)
{
    (void)state;
    tr_measure *m = new_measure();
    json_decref(add_one(m, tg, "[[10,20]]", 1, true));
    json_t *line = parse("{\"id\":\"b\",\"task\":\"tg\",\"reward\":2,\"parts\":{\"cls\":1}}");
    assert_int_equal(tr_measure_add(m, line, NULL, "line", &err), TR_OK);
    json_decref(line);
    json_decref(add_one(m, tg, "[[10,20]]", 1, true));
    json_t *metrics = metrics_of(m);
    const json_t *parts = at(at(metrics, "tg"), "parts");
    assert_true(fabs(number(parts, "cls") - 1.0 / 3) < 1e-12);
    assert_true(fabs(number(parts, "iou") - 2.0 / 3) < 1e-12);
    json_decref(metrics);
}

static void test_what_is_no_line(void **state)
{
    (void)state;
    tr_measure *m = new_measure();
    static const char *const bad[] = {"{\"task\":\"tg\",\"reward\":1}", "{\"id\":\"a\",\"reward\":1}",
                                      "{\"id\":\"a\",\"task\":\"poem\",\"reward\":1}",
                                      "{\"id\":\"a\",\"task\":\"tg\"}",
                                      "{\"id\":\"a\",\"task\":\"tg\",\"reward\":1,\"samples\":[]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *line = parse(bad[i]);
        assert_int_not_equal(tr_measure_add(m, line, NULL, "p.jsonl:1", &err), TR_OK);
        json_decref(line);
    }
    tr_measure_free(m);
}

static void test_text_that_is_not_utf8(void **state)
{
    (void)state;
    const tr_score score = {.reward = 0};
    const tr_given given = {"\xff\xfe", 2, 1, true, &score};
    json_t *line = NULL, *row = parse(tg);
    tr_sample sample = {.id = "a", .task = "tg", .truth = row, .duration_s = 30};
    assert_int_equal(tr_prediction_make(&reader, &sample, &given, 1, &line, &err), TR_OK);
    assert_true(json_is_null(at(line, "response")));
    json_decref(line);
    sample.task = "poem";
    assert_int_equal(tr_prediction_make(&reader, &sample, &given, 1, &line, &err), TR_INVALID);
    assert_null(line);
    json_decref(row);
}

/* ---- readers ---- */

/* What a reader makes of a text: the option, or the IoU with [10, 20] as text. */
static void expect(const char *name, const char *task, const char *row_text, const char *text, const char *what)
{
    tr_reader r;
    json_t *row = parse(row_text), *parsed = NULL, *metrics = NULL;
    const tr_sample sample = {.id = "a", .task = task, .truth = row, .duration_s = 30};
    const tr_score score = {0};
    tr_task t;
    bool has_truth;
    char got[64];
    assert_int_equal(tr_reader_open(name, &r, &err), TR_OK);
    assert_int_equal(tr_reader_truth(&r, &sample, &t, &has_truth, &err), TR_OK);
    assert_true(has_truth);
    assert_int_equal(tr_reader_read(&r, t, text, strlen(text), &score, &parsed, &metrics, &err), TR_OK);
    snprintf(got, sizeof got, "%s", json_is_string(parsed) ? json_string_value(parsed) : "-");
    if (!strcmp(task, "tg")) {
        snprintf(got, sizeof got, "%.2f", number(metrics, "miou"));
    }
    if (strcmp(got, what) != 0) {
        fail_msg("%s reads '%s' as %s, expected %s", name, text, got, what);
    }
    json_decref(parsed);
    json_decref(metrics);
    json_decref(row);
    tr_reader_close(&r);
}

static void test_readers(void **state)
{
    (void)state;
    static const char qa[] =
        "{\"id\":\"a\",\"task\":\"qa\",\"options\":[\"a dog\",\"a cat\",\"no\"],\"answer\":\"B\"}";
    static const char yes[] = "{\"id\":\"a\",\"task\":\"qa\",\"options\":[\"yes\",\"no\"],\"answer\":\"B\"}";
    static const struct {
        const char *reader, *row, *text, *option;
    } cases[] = {
        {"tolerant", qa, "<answer>B</answer>", "B"},
        {"tolerant", qa, "The answer is B", "B"},
        {"tolerant", qa, "I cannot say", "-"},
        {"mvbench", qa, "B. a cat", "B"},
        {"mvbench", qa, "(C) because", "C"},
        {"mvbench", qa, "It is a cat, so B", "A"}, /* the article */
        {"mvbench", qa, "b", "B"},
        {"mvbench", qa, "Cat", "-"},
        {"mvbench", qa, "<think>A or C?</think><answer>B</answer>", "B"},
        {"video-mme", qa, "The best answer is: C", "C"},
        {"video-mme", qa, "cat B", "B"},
        {"video-mme", qa, "none of these", "-"},
        {"video-mme", qa, "Cats", "C"},
        {"tempcompass", qa, "B", "B"},
        {"tempcompass", qa, "B. a cat", "B"},
        {"tempcompass", qa, "B) a cat", "B"},
        {"tempcompass", qa, "Because", "-"},
        {"tempcompass", qa, "The answer is B", "-"}, /* the language model's turn there */
        {"tempcompass", qa, "Caption B: a cat", "B"},
        {"tempcompass", qa, "Option 2: a cat", "B"},
        {"tempcompass", qa, "a cat", "B"},
        {"tempcompass", yes, "No, it is not.", "B"},
        {"tempcompass", yes, "Nothing", "B"},
        {"temporal-r1", qa, "<answer>The option is (B)</answer>", "B"},
        {"temporal-r1", qa, "<answer> C </answer>", "C"},
        {"temporal-r1", qa, "B. a cat", "B"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect(cases[i].reader, "qa", cases[i].row, cases[i].text, cases[i].option);
    }
    expect("tolerant", "tg", tg, "from 10 to 15 seconds", "0.50");
    expect("scheme", "tg", tg, "from 10 to 15 seconds", "0.00");    /* the reward's reading was nothing */
    expect("temporal-r1", "tg", tg, "it happens 20 to 10", "1.00"); /* reversed pairs are swapped there */
    expect("tolerant", "tg", tg, "it happens 20 to 10", "0.00");
    tr_reader r;
    assert_int_equal(tr_reader_open("mvbenhc", &r, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "did you mean \"mvbench\""));
}

/* A line is held against its row, with both named. */
static void test_rows_that_differ(void **state)
{
    (void)state;
    tr_measure *m = new_measure();
    json_t *line = add_one(m, tg, "[[10,20]]", 1, true), *same = parse(tg),
           *changed = parse("{\"id\":\"a\",\"task\":\"tg\",\"segments\":[[10,21]]}"),
           *other = parse("{\"id\":\"b\",\"task\":\"tg\",\"segments\":[[10,20]]}");
    json_object_set_new(same, "difficulty", json_real(0.5)); /* what a selection adds is no other row */
    assert_int_equal(tr_prediction_check(line, same, "p.jsonl:1", "rows.jsonl", &err), TR_OK);
    assert_int_equal(tr_prediction_check(line, changed, "p.jsonl:1", "rows.jsonl", &err), TR_MISMATCH);
    assert_non_null(strstr(err.message, "rows.jsonl"));
    assert_int_equal(tr_prediction_check(line, other, "p.jsonl:1", "rows.jsonl", &err), TR_MISMATCH);
    assert_non_null(strstr(err.message, "the row \"a\""));
    assert_non_null(strstr(err.message, "the row \"b\""));
    json_decref(line);
    json_decref(same);
    json_decref(changed);
    json_decref(other);
    tr_measure_free(m);
}

/* What eval measures equals what `tempr1 metrics` measures of the same texts: every value of every task. */
static void test_equal_to_metrics(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "{\"id\":\"1\",\"task\":\"tg\",\"duration\":30,\"segments\":[[5,20]]}",
        "{\"id\":\"2\",\"task\":\"tg\",\"duration\":30,\"segments\":[[5,20]]}",
        "{\"id\":\"3\",\"task\":\"dtg\",\"duration\":30,\"queries\":[\"x\",\"y\"],\"segments\":[[0,10],[5,20]]}",
        "{\"id\":\"4\",\"task\":\"vhd\",\"duration\":30,\"segments\":[[0,10],[20,30]]}",
        "{\"id\":\"5\",\"task\":\"gvqa\",\"options\":[\"p\",\"q\"],\"answer\":\"B\",\"segments\":[[0,10]]}",
        "{\"id\":\"6\",\"task\":\"tal\",\"duration\":30,\"action\":\"run\",\"segments\":[[0,10],[20,30]]}",
        "{\"id\":\"7\",\"task\":\"tal\",\"duration\":30,\"action\":\"run\",\"segments\":[[0,10]]}",
        "{\"id\":\"8\",\"task\":\"qa\",\"options\":[\"p\",\"q\"],\"answer\":\"A\",\"category\":\"s\"}"};
    static const char *const texts[] = {"<answer>8 to 25</answer>",
                                        "no idea",
                                        "<answer>0 to 5, 6 to 20</answer>",
                                        "2 - 9 s, 21 to 35",
                                        "<answer>B</answer> <glue>[(2, 14)]</glue>",
                                        "<answer>1 to 9, 12 to 14, 22 to 29</answer>",
                                        "",
                                        "The answer is A"};
    enum { N = sizeof rows / sizeof *rows };
    tr_reader tolerant;
    tr_measure *m = new_measure();
    json_t *truths = json_array(), *preds = json_array(), *result;
    const tr_score score = {0};
    assert_int_equal(tr_reader_open("tolerant", &tolerant, &err), TR_OK);
    for (size_t i = 0; i < N; i++) {
        json_t *row = parse(rows[i]), *line;
        const tr_sample sample = {.id = json_string_value(at(row, "id")),
                                  .task = json_string_value(at(row, "task")),
                                  .truth = row,
                                  .duration_s = 30};
        const tr_given given = {texts[i], strlen(texts[i]), 1, true, &score};
        assert_int_equal(tr_prediction_make(&tolerant, &sample, &given, 1, &line, &err), TR_OK);
        assert_int_equal(tr_measure_add(m, line, row, "line", &err), TR_OK);
        json_array_append_new(preds, json_pack("{s:s, s:s}", "id", sample.id, "response", texts[i]));
        json_array_append_new(truths, row);
        json_decref(line);
    }
    json_t *metrics = metrics_of(m), *task, *one;
    const tr_evaluate_options options = {.format = "rows", .pred_name = "pred", .truth_name = "truth"};
    assert_int_equal(tr_evaluate(preds, truths, &options, &result, &err), TR_OK);
    size_t compared = 0;
    for (int t = 0; t < TR_TASK_COUNT; t++) {
        const char *name, *task_name = tr_task_name((tr_task)t);
        task = json_object_get(at(result, "metrics"), task_name);
        json_object_foreach(task, name, one)
        {
            char key[32];
            size_t i = 0;
            for (; name[i]; i++) {
                key[i] = name[i] == ' ' ? '_' : (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
            }
            key[i] = 0;
            double ours = number(at(metrics, task_name), key), theirs = number(one, "value");
            if (!(fabs(ours - theirs) < 1e-12)) {
                fail_msg("%s %s: %.17g, metrics says %.17g", task_name, key, ours, theirs);
            }
            compared++;
        }
    }
    assert_int_equal(compared, 3 * 4 + 9 + 7 + 1); /* tg, dtg, vhd; gvqa; tal; qa */
    json_decref(metrics);
    json_decref(result);
    json_decref(truths);
    json_decref(preds);
    tr_reader_close(&tolerant);
}

/* ---- scores for a selection ---- */

static json_t *scored(const char *prediction, tr_task task)
{
    json_t *line = parse(prediction), *out;
    tr_select_moments moments;
    assert_int_equal(tr_scoring_line(line, task, 12, &out, &moments, &err), TR_OK);
    assert_true(number(out, "difficulty") == moments.mean && number(out, "std") == moments.std);
    json_decref(line);
    return out;
}

static void test_scores(void **state)
{
    (void)state;
    json_t *dtg = scored("{\"id\":\"a\",\"task\":\"dtg\",\"row\":\"x\",\"samples\":["
                         "{\"reward\":2,\"format\":true,\"metrics\":{\"miou\":[1,0.5]}},"
                         "{\"reward\":0,\"format\":false,\"error\":\"none\",\"metrics\":{\"miou\":[0,0.25]}}]}",
                         TR_TASK_DTG);
    assert_true(number(dtg, "mean") == 0.4375 && number(dtg, "best") == 0.75 && number(dtg, "duration") == 12);
    assert_true(json_number_value(json_array_get(at(dtg, "ious"), 1)) == 0.125);
    assert_true(json_is_true(json_array_get(at(dtg, "parsed"), 0)) &&
                json_is_false(json_array_get(at(dtg, "parsed"), 1)));
    assert_true(json_number_value(json_array_get(at(dtg, "rewards"), 0)) == 2);
    assert_null(at(dtg, "right"));
    json_t *qa = scored("{\"id\":\"a\",\"task\":\"qa\",\"row\":\"x\",\"samples\":["
                        "{\"reward\":1,\"format\":true,\"metrics\":{\"accuracy\":1}},"
                        "{\"reward\":1,\"format\":true,\"metrics\":{\"accuracy\":0}}]}",
                        TR_TASK_QA);
    assert_true(number(qa, "mean") == 0.5 && number(qa, "std") == 0.5);
    assert_null(at(qa, "ious"));
    assert_int_equal(json_integer_value(json_array_get(at(qa, "right"), 0)), 1);
    json_t *tal = scored("{\"id\":\"a\",\"task\":\"tal\",\"row\":\"x\",\"samples\":["
                         "{\"reward\":1,\"format\":true,\"metrics\":{\"mf1\":0.5,\"f1@0.1\":1}},"
                         "{\"reward\":1,\"format\":true,\"metrics\":{\"mf1\":1,\"f1@0.1\":1}}]}",
                         TR_TASK_TAL);
    assert_true(number(tal, "mean") == 0.75);
    json_decref(dtg);
    json_decref(qa);
    json_decref(tal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grounding),
        cmocka_unit_test(test_other_tasks),
        cmocka_unit_test(test_subtasks),
        cmocka_unit_test(test_several_answers),
        cmocka_unit_test(test_unanswered_rows_are_counted_by_reason),
        cmocka_unit_test(test_parts_that_come_late),
        cmocka_unit_test(test_what_is_no_line),
        cmocka_unit_test(test_text_that_is_not_utf8),
        cmocka_unit_test(test_readers),
        cmocka_unit_test(test_rows_that_differ),
        cmocka_unit_test(test_equal_to_metrics),
        cmocka_unit_test(test_scores),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
