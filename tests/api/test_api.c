/* test_api.c: the functions of tempr1.h: what they give, that they fail as promised, several threads at once. */
#include "support/tiny.h"

#include "base/file.h"
#include "base/json.h"
#include "tempr1.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const tempr1_interval right = {5, 20};
static const tempr1_truth truth = {.segments = &right, .count = 1, .duration_s = 30};
static const char response[] = "<answer>5.0 to 12.5</answer>";

static json_t *parse(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);
    assert_non_null(value);
    return value;
}

static void test_version_and_names(void **state)
{
    (void)state;
    char expected[32];
    tempr1_task task;
    tempr1_error error = {0};
    snprintf(expected, sizeof expected, "%d.%d.%d", TEMPR1_VERSION_MAJOR, TEMPR1_VERSION_MINOR,
             TEMPR1_VERSION_PATCH);
    assert_string_equal(tempr1_version(), expected);
    assert_non_null(strstr(tempr1_status_text(TEMPR1_MISMATCH), "mismatch"));
    for (int t = 0; t < TEMPR1_TASKS; t++) {
        assert_int_equal(tempr1_task_from_name(tempr1_task_name((tempr1_task)t), &task, &error), TEMPR1_OK);
        assert_int_equal(task, t);
    }
    assert_null(tempr1_task_name(TEMPR1_TASKS));
    assert_int_equal(tempr1_task_from_name("tgg", &task, &error), TEMPR1_INVALID);
    assert_non_null(strstr(error.message, "tg"));
    assert_int_equal(tempr1_task_from_name(NULL, &task, NULL), TEMPR1_INVALID);
    assert_string_equal(tempr1_part_name(0), "format");
    assert_null(tempr1_part_name(-1));
    assert_null(tempr1_part_name(TEMPR1_PARTS_MAX));
    assert_string_equal(tempr1_metric_name(0, TEMPR1_TASK_TG), "mIoU");
    assert_null(tempr1_metric_name(TEMPR1_METRICS_MAX, TEMPR1_TASK_TG));
    assert_true(tempr1_interval_iou(right, (tempr1_interval){5, 12.5}) == 0.5);
}

static void test_rewards(void **state)
{
    (void)state;
    tempr1_error error = {0};
    tempr1_scheme *scheme;
    tempr1_arena *arena;
    tempr1_reward reward;
    char *text;
    for (const char *const *name = tempr1_scheme_names(); *name; name++) {
        assert_int_equal(tempr1_scheme_open(*name, &scheme, &error), TEMPR1_OK);
        tempr1_scheme_free(scheme);
    }
    assert_int_equal(tempr1_scheme_open("tempr2", &scheme, &error), TEMPR1_INVALID);
    assert_non_null(strstr(error.message, "tempr1"));
    assert_int_equal(tempr1_scheme_open("tempr1", &scheme, &error), TEMPR1_OK);
    assert_int_equal(tempr1_arena_create(tempr1_reward_arena_bytes(1), &arena, &error), TEMPR1_OK);
    assert_int_equal(tempr1_scheme_set_think(scheme, TEMPR1_THINK_FORBIDDEN, &error), TEMPR1_OK);
    assert_int_equal(tempr1_scheme_set_think(scheme, (tempr1_think)7, &error), TEMPR1_INVALID);
    assert_int_equal(tempr1_reward_score(scheme, TEMPR1_TASK_TG, response, sizeof response - 1, 0, &truth, arena,
                                         &reward, &error),
                     TEMPR1_OK);
    assert_int_equal(reward.parsed, 1);
    assert_null(reward.error);
    assert_int_equal(reward.interval_count, 1);
    assert_true(reward.intervals[0].start_s == 5 && reward.intervals[0].end_s == 12.5);
    double sum = 0;
    for (int p = 0; p < TEMPR1_PARTS_MAX; p++) {
        if (reward.present & 1u << p) {
            assert_non_null(tempr1_part_name(p));
            assert_true(strcmp(tempr1_part_name(p), "iou") || reward.parts[p] == 0.5);
            sum += reward.parts[p];
        } else {
            assert_true(reward.parts[p] == 0);
        }
    }
    assert_true(sum > 0.5 && reward.total > 0 && reward.total < tempr1_reward_largest(scheme, TEMPR1_TASK_TG));
    assert_int_equal(tempr1_reward_target(scheme, TEMPR1_TASK_TG, &truth, NULL, &text, &error), TEMPR1_OK);
    tempr1_arena_reset(arena);
    assert_int_equal(
        tempr1_reward_score(scheme, TEMPR1_TASK_TG, text, strlen(text), 0, &truth, arena, &reward, &error),
        TEMPR1_OK);
    assert_true(reward.total == tempr1_reward_largest(scheme, TEMPR1_TASK_TG));
    tempr1_free(text);
    tempr1_arena_reset(arena);
    assert_int_equal(
        tempr1_reward_score(scheme, TEMPR1_TASK_TG, "I do not know", 13, 0, &truth, arena, &reward, &error),
        TEMPR1_OK);
    assert_true(!reward.parsed && reward.error && reward.total == 0);
    assert_int_equal(tempr1_reward_score(scheme, (tempr1_task)9, response, 5, 0, &truth, arena, &reward, &error),
                     TEMPR1_INVALID);
    assert_int_equal(tempr1_reward_score(scheme, TEMPR1_TASK_TG, response, 5, 0, NULL, arena, &reward, &error),
                     TEMPR1_INVALID);
    tempr1_arena *tiny;
    assert_int_equal(tempr1_arena_create(64, &tiny, &error), TEMPR1_OK);
    assert_int_equal(tempr1_reward_score(scheme, TEMPR1_TASK_TG, response, sizeof response - 1, 0, &truth, tiny,
                                         &reward, &error),
                     TEMPR1_MEMORY);
    tempr1_arena_free(tiny);
    tempr1_arena_free(arena);
    tempr1_scheme_free(scheme);
    tempr1_scheme_free(NULL);
    tempr1_arena_free(NULL);
}

static void test_own_scheme_and_rows(void **state)
{
    (void)state;
    tempr1_error error = {0};
    tempr1_scheme *scheme;
    char *json;
    const char own[] = "{\"parts\": {\"iou\": 2}}";
    const char row[] =
        "{\"task\": \"tg\", \"response\": \"<answer>5.0 to 12.5</answer>\", \"segments\": [[5, 20]], "
        "\"duration\": 30}";
    assert_int_equal(tempr1_scheme_parse(own, sizeof own - 1, "mine", &scheme, &error), TEMPR1_OK);
    assert_int_equal(tempr1_reward_row(scheme, NULL, row, sizeof row - 1, &json, &error), TEMPR1_OK);
    json_t *value = parse(json);
    assert_true(json_number_value(json_object_get(value, "reward")) == 1.0);
    json_decref(value);
    tempr1_free(json);
    assert_int_equal(tempr1_reward_row(scheme, NULL, "{\"task\":\"tg\"", 11, &json, &error), TEMPR1_FORMAT);
    assert_non_null(strstr(error.where, "row:1:"));
    assert_int_equal(tempr1_reward_row(scheme, NULL, "{\"task\":\"tg\"}", 13, &json, &error), TEMPR1_FORMAT);
    assert_int_equal(tempr1_reward_row(scheme, NULL, "[]", 2, &json, &error), TEMPR1_FORMAT);
    tempr1_scheme_free(scheme);
    assert_int_equal(tempr1_scheme_parse("{\"parts\": {\"ioo\": 2}}", 21, "mine", &scheme, &error), TEMPR1_INVALID);
    assert_non_null(strstr(error.message, "iou"));
}

typedef struct worker {
    const tempr1_scheme *scheme;
    double sum;
} worker;

static void *score_many(void *context)
{
    worker *w = context;
    tempr1_arena *arena;
    tempr1_reward reward;
    if (tempr1_arena_create(tempr1_reward_arena_bytes(1), &arena, NULL)) {
        return NULL;
    }
    for (int i = 0; i < 2000; i++) {
        tempr1_arena_reset(arena);
        if (tempr1_reward_score(w->scheme, TEMPR1_TASK_TG, response, sizeof response - 1, 0, &truth, arena, &reward,
                                NULL)) {
            break;
        }
        w->sum += reward.total;
    }
    tempr1_arena_free(arena);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    tempr1_scheme *scheme;
    pthread_t threads[4];
    worker workers[4];
    assert_int_equal(tempr1_scheme_open("tempr1", &scheme, NULL), TEMPR1_OK);
    for (int i = 0; i < 4; i++) {
        workers[i] = (worker){scheme, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, score_many, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(workers[i].sum > 0 && workers[i].sum == workers[0].sum);
    }
    tempr1_scheme_free(scheme);
}

static void test_metrics(void **state)
{
    (void)state;
    tempr1_error error = {0};
    tempr1_arena *arena;
    tempr1_metric_values values;
    tempr1_bootstrap b;
    const tempr1_interval predicted = {5, 12.5};
    const double x[4] = {0, 1, 0, 1}, y[4] = {0, 1, 0, 1};
    assert_int_equal(tempr1_arena_create(tempr1_reward_arena_bytes(1), &arena, &error), TEMPR1_OK);
    assert_int_equal(tempr1_metric_sample(TEMPR1_TASK_TG, &predicted, 1, 0, &truth, arena, &values, &error),
                     TEMPR1_OK);
    assert_true(values.present & 1 && values.value[0] == 0.5);
    tempr1_arena_free(arena);
    assert_int_equal(tempr1_bootstrap_mean(x, 4, 200, 0.95, 1, &b, &error), TEMPR1_OK);
    assert_true(b.mean == 0.5 && b.low <= 0.5 && b.high >= 0.5 && b.low < b.high);
    assert_int_equal(tempr1_bootstrap_paired(x, y, 4, 200, 0.95, 1, &b, &error), TEMPR1_OK);
    assert_true(b.mean == 0 && b.low == 0 && b.high == 0);
    assert_int_equal(tempr1_bootstrap_mean(x, 0, 200, 0.95, 1, &b, &error), TEMPR1_INVALID);
    assert_int_equal(tempr1_bootstrap_mean(x, 4, 200, NAN, 1, &b, &error), TEMPR1_INVALID);
}

static void test_evaluate(void **state)
{
    (void)state;
    tempr1_error error = {0};
    char *json;
    const char right_rows[] =
        "{\"id\":\"a\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[5,20]],\"duration\":30}\n"
        "{\"id\":\"b\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[0,10]],\"duration\":30}\n";
    const char answers[] = "{\"id\":\"a\",\"response\":\"<answer>5.0 to 12.5</answer>\"}\n"
                           "{\"id\":\"b\",\"segments\":[[0,10]]}\n";
    const tempr1_evaluate_options options = {.seed = 1, .resamples = 100};
    assert_int_equal(
        tempr1_evaluate(answers, sizeof answers - 1, right_rows, sizeof right_rows - 1, &options, &json, &error),
        TEMPR1_OK);
    json_t *value = parse(json);
    const json_t *iou = json_object_get(json_object_get(json_object_get(value, "metrics"), "tg"), "mIoU");
    assert_true(json_number_value(json_object_get(iou, "value")) == 0.75);
    assert_non_null(json_object_get(iou, "low"));
    json_decref(value);
    tempr1_free(json);
    /* one line alone, and no options */
    assert_int_equal(tempr1_evaluate(answers, strcspn(answers, "\n"), right_rows, strcspn(right_rows, "\n"), NULL,
                                     &json, &error),
                     TEMPR1_OK);
    tempr1_free(json);
    assert_int_equal(
        tempr1_evaluate("{\"id\":\"a\"}\n{bad\n", 16, right_rows, sizeof right_rows - 1, NULL, &json, &error),
        TEMPR1_FORMAT);
    assert_non_null(strstr(error.where, "predictions:2"));
}

static void test_tokenizer(void **state)
{
    (void)state;
    tempr1_error error = {0};
    tempr1_tokenizer *tokenizer;
    int32_t *ids, *special;
    size_t count, special_count, length;
    char *text;
    const char sample[] = "the red circle<|im_end|>";
    assert_int_equal(tempr1_tokenizer_load(scratch_path("tokenizer"), &tokenizer, &error), TEMPR1_OK);
    assert_int_equal(tempr1_tokenizer_encode(tokenizer, sample, sizeof sample - 1, 0, &ids, &count, &error),
                     TEMPR1_OK);
    assert_int_equal(
        tempr1_tokenizer_encode(tokenizer, sample, sizeof sample - 1, 1, &special, &special_count, &error),
        TEMPR1_OK);
    assert_true(special_count < count);
    assert_int_equal(special[special_count - 1], tempr1_tokenizer_id(tokenizer, "<|im_end|>"));
    assert_true((size_t)special[special_count - 1] < tempr1_tokenizer_size(tokenizer));
    assert_int_equal(tempr1_tokenizer_decode(tokenizer, special, special_count, 0, &text, &length, &error),
                     TEMPR1_OK);
    assert_string_equal(text, "the red circle");
    assert_int_equal(length, strlen(text));
    tempr1_free(text);
    tempr1_free(ids);
    tempr1_free(special);
    assert_int_equal(tempr1_tokenizer_encode(tokenizer, "", 0, 0, &ids, &count, &error), TEMPR1_OK);
    assert_int_equal(count, 0);
    assert_int_equal(tempr1_tokenizer_decode(tokenizer, ids, 0, 0, &text, NULL, &error), TEMPR1_OK);
    assert_string_equal(text, "");
    tempr1_free(text);
    tempr1_free(ids);
    assert_int_equal(tempr1_tokenizer_encode(tokenizer, "\xff", 1, 0, &ids, &count, &error), TEMPR1_INVALID);
    tempr1_tokenizer_free(tokenizer);
    tempr1_tokenizer_free(NULL);
}

static void test_model(void **state)
{
    (void)state;
    tempr1_error error = {0};
    tempr1_model *model;
    char *json, row[1400];
    const tempr1_model_options options = {
        .min_frames = 2, .max_frames = 4, .total_pixels = 12544, .min_pixels = 784};
    const tempr1_model_options bad = {.dtype = "f16"};
    assert_int_equal(tempr1_model_open("/nonexistent", NULL, &model, &error), TEMPR1_NOT_FOUND);
    assert_int_equal(tempr1_model_open(scratch_path("model"), &bad, &model, &error), TEMPR1_INVALID);
    assert_int_equal(tempr1_model_open(scratch_path("model"), &options, &model, &error), TEMPR1_OK);
    snprintf(row, sizeof row, "{\"task\":\"tg\",\"query\":\"the red circle\",\"video\":\"%s\"}",
             scratch_path("corpus/videos/test-00000.mp4"));
    const tempr1_ask_options ask = {.answers = 2, .max_tokens = 8, .temperature = 1, .seed = 5};
    if (tempr1_model_ask(model, row, strlen(row), &ask, &json, &error)) {
        fail_msg("%s: %s", error.where, error.message);
    }
    json_t *answers = parse(json);
    tempr1_free(json);
    assert_int_equal(json_array_size(answers), 2);
    /* what was sampled scores the same */
    json_t *scored_row = parse(row);
    json_object_set(scored_row, "response_ids", json_object_get(json_array_get(answers, 1), "ids"));
    char *text = json_dumps(scored_row, JSON_COMPACT);
    assert_int_equal(tempr1_model_score(model, text, strlen(text), NULL, &json, &error), TEMPR1_OK);
    json_t *scored = parse(json);
    assert_true(json_equal(json_object_get(json_array_get(scored, 0), "logprobs"),
                           json_object_get(json_array_get(answers, 1), "logprobs")));
    free(text);
    tempr1_free(json);
    json_decref(scored);
    json_decref(scored_row);
    json_decref(answers);
    assert_int_equal(tempr1_model_score(model, "{}", 2, NULL, &json, &error), TEMPR1_FORMAT);
    assert_int_equal(tempr1_model_ask(model, "{\"task\":\"tg\",\"query\":\"q\",\"video\":\"/nonexistent.mp4\"}", 52,
                                      NULL, &json, &error),
                     TEMPR1_NOT_FOUND);
    assert_int_equal(tempr1_model_ask(model, "[]", 2, NULL, &json, &error), TEMPR1_FORMAT);
    tempr1_model_free(model);
    tempr1_model_free(NULL);
}

static int make(void **state)
{
    (void)state;
    char tokenizer[512];
    tempr1_set_decoder(TEMPR1_PROGRAM);
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, scratch_path("model"), 3, 0);
    tiny_corpus(scratch_path("corpus"), "tg", 1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_and_names),
        cmocka_unit_test(test_rewards),
        cmocka_unit_test(test_own_scheme_and_rows),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_evaluate),
        cmocka_unit_test(test_tokenizer),
        cmocka_unit_test(test_model),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
