/* client.c: a program of somebody else's: built against the installed header and library by
 * tests/cli/test_install.c. Scores a response, measures it and prints the library's version; any surprise gives an
 * exit status. */
#include <tempr1.h>

#include <stdio.h>
#include <string.h>

static int check_rewards(tempr1_error *error)
{
    tempr1_scheme *scheme;
    tempr1_arena *arena;
    const tempr1_interval right = {5, 20};
    const tempr1_truth truth = {.segments = &right, .count = 1, .duration_s = 30};
    const char *response = "<think>it starts late</think><answer>5.0 to 12.5</answer>";
    tempr1_reward reward;
    tempr1_metric_values values;
    if (tempr1_scheme_open("tempr1", &scheme, error) ||
        tempr1_arena_create(tempr1_reward_arena_bytes(1), &arena, error) ||
        tempr1_reward_score(scheme, TEMPR1_TASK_TG, response, strlen(response), 0, &truth, arena, &reward, error) ||
        tempr1_metric_sample(TEMPR1_TASK_TG, reward.intervals, reward.interval_count, 0, &truth, arena, &values,
                             error)) {
        return 1;
    }
    printf("reward %.3f, %s %.3f\n", reward.total, tempr1_metric_name(0, TEMPR1_TASK_TG), values.value[0]);
    int wrong =
        !reward.parsed || reward.interval_count != 1 || reward.intervals[0].end_s != 12.5 || values.value[0] != 0.5;
    tempr1_arena_free(arena);
    tempr1_scheme_free(scheme);
    return wrong;
}

int main(int argc, char **argv)
{
    tempr1_error error = {0};
    tempr1_tokenizer *tokenizer = NULL;
    printf("tempr1 %s\n", tempr1_version());
    if (check_rewards(&error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    if (tempr1_tokenizer_load("/nonexistent", &tokenizer, &error) != TEMPR1_NOT_FOUND || tokenizer) {
        fprintf(stderr, "an absent tokenizer: %s\n", error.message);
        return 2;
    }
    if (argc > 1) { /* a checkpoint: text alone needs no decoder */
        tempr1_model *model;
        char *json;
        const char *row = "{\"prompt\": \"When?\", \"response\": \"2.0\"}";
        if (tempr1_model_open(argv[1], NULL, &model, &error) ||
            tempr1_model_score(model, row, strlen(row), NULL, &json, &error)) {
            fprintf(stderr, "%s: %s\n", error.where, error.message);
            return 3;
        }
        printf("%s\n", json);
        tempr1_free(json);
        tempr1_model_free(model);
    }
    return 0;
}
