/* replay.c: `tempr1 replay`: makes a rollout of a run again and says whether it is the same. */
#include "base/progress.h"
#include "cli/cli.h"
#include "train/replay.h"

#include <stdio.h>
#include <stdlib.h>

static int run(int argc, char **argv);

const tr_command tr_command_replay = {
    .name = "replay",
    .arguments = "RUN --step N --row ID [options]",
    .summary = "any rollout of a training run again, bit for bit",
    .text =
        "Makes the responses to a row at a step again, from the run's files alone: the nearest checkpoint before "
        "that step (or the start weights), trained on in memory up to the step. Then compares token ids, "
        "log-probs, rewards and advantages with RUN/rollouts.jsonl, bit for bit. Exit status 0: the same; 1: not, "
        "and where. Only reads RUN, so a run that is going on can be looked at. A change of start weights, rows or "
        "program since then is said.\n"
        "  tempr1 replay runs/charades --step 120 --row AO8RW-17\n"
        "  tempr1 replay runs/charades --step 120 --row AO8RW-17 --response 3 --json\n",
    .run = run,
};

/* Printed text of a model may hold anything: control characters become spaces. */
static void print_text(const char *text)
{
    for (const char *p = text ? text : "(not UTF-8)"; *p; p++) {
        putchar((unsigned char)*p < ' ' ? ' ' : *p);
    }
    putchar('\n');
}

static void print_result(const json_t *result)
{
    size_t i, k;
    json_t *one, *difference;
    printf("weights of step %lld from %s, %lld steps trained on\n",
           (long long)json_integer_value(json_object_get(result, "step")) - 1,
           json_string_value(json_object_get(result, "from")),
           (long long)json_integer_value(json_object_get(result, "trained_steps")));
    json_array_foreach(json_object_get(result, "responses"), i, one)
    {
        const json_t *replayed = json_object_get(one, "replayed"),
                     *differences = json_object_get(one, "differences");
        printf("response %lld: %zu tokens, reward %g: %s\n  ",
               (long long)json_integer_value(json_object_get(one, "response")),
               json_array_size(json_object_get(replayed, "ids")),
               json_number_value(json_object_get(replayed, "reward")),
               json_array_size(differences) ? "DIFFERS" : "the same bits");
        print_text(json_string_value(json_object_get(replayed, "text")));
        json_array_foreach(differences, k, difference)
        {
            printf("  %s\n", json_string_value(difference));
        }
    }
}

static int run(int argc, char **argv)
{
    tr_replay_options how = {.response = -1, .open_source = tr_train_open_source};
    bool as_json = false, quiet = false;
    const tr_option options[] = {
        {.name = "step",
         .kind = TR_OPTION_INT,
         .value = &how.step,
         .argument = "N",
         .min = 1,
         .max = 1e15,
         .required = true,
         .help = "the step, as in rollouts.jsonl"},
        {.name = "row",
         .kind = TR_OPTION_TEXT,
         .value = &how.row,
         .argument = "ID",
         .required = true,
         .help = "the row's id, as in rollouts.jsonl"},
        {.name = "response",
         .kind = TR_OPTION_INT,
         .value = &how.response,
         .argument = "R",
         .min = 0,
         .max = 1e9,
         .help = "only this response; the default is all that the step has for the row"},
        {.name = "quiet", .kind = TR_OPTION_FLAG, .value = &quiet, .help = "no progress bar"},
        {.name = "json",
         .kind = TR_OPTION_FLAG,
         .value = &as_json,
         .help = "print one JSON object: step, row, from, trained_steps, same, responses with their differences"},
        {0},
    };
    char **words;
    int count, status = tr_cli_parse(&tr_command_replay, options, argc, argv, 1, 1, &words, &count);
    tr_error err = {0};
    json_t *result = NULL;
    if (status >= 0) {
        return status;
    }
    tr_progress_set_quiet(quiet);
    if (tr_train_replay(words[0], &how, &result, &err)) {
        return tr_cli_fail(&tr_command_replay, &err);
    }
    bool same = json_is_true(json_object_get(result, "same"));
    bool printed = !as_json || !tr_cli_print_json(result, &err);
    if (!as_json) {
        print_result(result);
    }
    json_decref(result);
    if (!printed) {
        return tr_cli_fail(&tr_command_replay, &err);
    }
    if (!same) {
        fprintf(stderr, "tempr1 replay: the replayed rollout differs from the recorded one\n");
    }
    return same ? TR_EXIT_DONE : TR_EXIT_FAILED;
}
