/* eval.c: `tempr1 eval`: answers every row and measures; `tempr1 eval compare`: two results side by side. */
#include "cli/session.h"

#include "base/file.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run_eval(int argc, char **argv);

const tr_command tr_command_eval = {
    .name = "eval",
    .arguments = "--model DIR --data ROWS --out DIR [options]",
    .summary = "answer every row of a corpus and measure the answers",
    .text =
        "Answers every row greedily (unless --temperature is above 0) and writes into DIR: predictions.jsonl, one "
        "line a row,\n"
        "appended as it goes; metrics.json, the official numbers of each task with 95 % bootstrap intervals; and "
        "protocol.json,\n"
        "the card that says how they came about (it stands in metrics.json too). Rows whose clip cannot be read "
        "are named,\n"
        "counted apart and left unanswered; answers without content count as wrong.\n\n"
        "Run again after a kill it continues, and the files come out with the same bytes. Another protocol in the "
        "same DIR is\n"
        "refused with what differs. `tempr1 eval compare A B` sets two results side by side.\n\n"
        "  tempr1 eval --model runs/grpo/checkpoints/step-500 --data test.jsonl --videos videos --out "
        "results/grpo\n"
        "  tempr1 eval ... --prompt think --temperature 1 --samples 8          (mean and best of 8 answers a "
        "row)\n"
        "  tempr1 eval ... --prompt mvbench --parser mvbench                   (multiple choice as MVBench "
        "scores it)\n",
    .run = run_eval,
};

typedef struct settings {
    tr_session_settings session;
    const char *data, *videos, *out, *prompt, *scheme, *parser;
    int64_t batch, first, samples;
    bool restart;
} settings;

/* The numbers that a table shows of a task: the first is the headline. In metrics.json they are in lower case, with
 * _ for the spaces. */
static const struct {
    const char *task, *names[5];
} shown[] = {
    {"tg", {"mIoU", "R1@0.3", "R1@0.5", "R1@0.7", NULL}},
    {"dtg", {"mIoU", "R1@0.3", "R1@0.5", "R1@0.7", NULL}},
    {"vhd", {"mIoU", "R1@0.3", "R1@0.5", "R1@0.7", NULL}},
    {"gvqa", {"accuracy", "mIoU", "mIoP", "Acc@GQA", NULL}},
    {"tal", {"mF1", "F1@0.5", "Hungarian F1", "count accuracy", NULL}},
    {"qa", {"accuracy", "subtask mean", NULL}},
};

static void print_number(const json_t *values, const char *name)
{
    char key[64], interval_key[80];
    size_t i = 0;
    for (; name[i] && i < sizeof key - 1; i++) {
        key[i] = name[i] == ' ' ? '_' : (char)tolower((unsigned char)name[i]);
    }
    key[i] = 0;
    snprintf(interval_key, sizeof interval_key, "%s_interval", key);
    const json_t *value = json_object_get(values, key), *interval = json_object_get(values, interval_key);
    if (value) {
        printf("  %s %.4f", name, json_number_value(value));
    }
    if (value && interval) {
        printf(" [%.4f, %.4f]", json_number_value(json_array_get(interval, 0)),
               json_number_value(json_array_get(interval, 1)));
    }
}

static void print_groups(const json_t *values, const char *key, const char *title)
{
    const char *name;
    json_t *one;
    if (json_object_get(values, key)) {
        printf("       %s\n", title);
    }
    json_object_foreach(json_object_get(values, key), name, one)
    {
        printf("         %-32s %6lld rows", name, (long long)json_integer_value(json_object_get(one, "rows")));
        print_number(one, "accuracy");
        printf("\n");
    }
}

static void print_task(const char *task, const json_t *values, int64_t samples)
{
    for (size_t t = 0; t < sizeof shown / sizeof *shown; t++) {
        if (strcmp(shown[t].task, task) != 0) {
            continue;
        }
        printf("%-5s %6lld rows", task, (long long)json_integer_value(json_object_get(values, "rows")));
        for (size_t k = 0; shown[t].names[k]; k++) {
            print_number(values, shown[t].names[k]);
        }
        printf("\n       reward %.4f  format %.4f  parsed %.4f  cut off %.4f  tokens %.1f\n",
               json_number_value(json_object_get(values, "reward")),
               json_number_value(json_object_get(values, "format_rate")),
               json_number_value(json_object_get(values, "parsed_rate")),
               json_number_value(json_object_get(values, "truncated_rate")),
               json_number_value(json_object_get(values, "mean_tokens")));
        if (samples > 1) {
            printf("       best of %lld:", (long long)samples);
            for (size_t k = 0; shown[t].names[k]; k++) {
                print_number(json_object_get(values, "best"), shown[t].names[k]);
            }
            printf("\n");
        }
        print_groups(values, "subtasks", "by sub-task");
        print_groups(values, "lengths", "by length of the video");
        print_groups(values, "question_types", "by type of question");
    }
}

static void print_metrics(const json_t *metrics)
{
    const char *task;
    json_t *values;
    int64_t samples = json_integer_value(json_object_get(metrics, "samples"));
    json_object_foreach((json_t *)(uintptr_t)metrics, task, values)
    {
        if (json_is_object(values)) {
            print_task(task, values, samples);
        }
    }
    if (samples > 1) {
        printf("means are over %lld answers a row\n", (long long)samples);
    }
    json_int_t unanswered = json_integer_value(json_object_get(metrics, "unanswered"));
    if (unanswered) {
        printf("%lld rows were not answered; see metrics.json\n", (long long)unanswered);
    }
}

static tr_status evaluate(const settings *s, json_t **metrics, tr_error *err)
{
    tr_session session = {0};
    tr_source *source = NULL;
    json_t *card = NULL;
    const tr_session_work work = {
        .entry = {.rows = s->data, .videos = s->videos, .weight = 1, .reward = s->scheme, .prompt = s->prompt},
        .parser = s->parser,
        .samples = s->samples,
        .first = s->first};
    tr_status status;
    TR_TRY(tr_session_open_rows(&s->session, &work, &session, &source, &card, err));
    tr_network_limits limits;
    int64_t own = s->samples < 8 ? 8 / s->samples : 1; /* about as many answers at once */
    tr_eval_limits(source, s->batch ? s->batch : own, s->samples, s->session.max_tokens, &limits);
    TR_TRY(tr_session_network(&session, &limits, err));
    tr_eval_options eval = {.sampling = session.sampling,
                            .seed = (uint64_t)s->session.seed,
                            .out = s->out,
                            .card = card,
                            .parser = s->parser,
                            .samples = s->samples,
                            .resume = !s->restart,
                            .first_rows = s->first};
    TR_TRY(tr_eval_run(&session.evaluator, source, &eval, metrics, err));
done:
    json_decref(card);
    tr_source_free(source);
    tr_session_close(&session);
    return status;
}

static int run_eval(int argc, char **argv)
{
    const tr_command *self = &tr_command_eval;
    settings s = {.videos = "", .prompt = "no-think", .scheme = "tempr1", .parser = "scheme", .samples = 1};
    tr_session_defaults(&s.session);
    const tr_option options[] = {
        {"data", TR_OPTION_TEXT, &s.data, "ROWS", "Corpus rows (JSON Lines).", 0, 0, true},
        {"videos", TR_OPTION_TEXT, &s.videos, "DIR", "Folder of the rows' videos. Default: as the rows say.", 0, 0,
         false},
        {"out", TR_OPTION_TEXT, &s.out, "DIR", "Where predictions.jsonl and metrics.json go.", 0, 0, true},
        {"prompt", TR_OPTION_TEXT, &s.prompt, "NAME",
         "Prompt set: think, no-think, ... or a YAML file. Default no-think.", 0, 0, false},
        {"scheme", TR_OPTION_TEXT, &s.scheme, "NAME", "Reward scheme. Default tempr1.", 0, 0, false},
        {"parser", TR_OPTION_TEXT, &s.parser, "NAME",
         "How answers are read for the metrics: scheme (as the reward reads them, the default), tolerant (also "
         "without <answer>), or as a published evaluation does: temporal-r1, mvbench, video-mme, tempcompass.",
         0, 0, false},
        {"samples", TR_OPTION_INT, &s.samples, "K",
         "Answers a row, at --temperature above 0: metrics are means over them, and the best of them. Default 1.",
         1, 1024, false},
        {"restart", TR_OPTION_FLAG, &s.restart, NULL, "Begin anew where OUT holds another result.", 0, 0, false},
        {"batch", TR_OPTION_INT, &s.batch, "N",
         "Rows answered together; results do not depend on it. Default 8, less with --samples.", 0, 1024, false},
        {"first", TR_OPTION_INT, &s.first, "N", "Only the first N rows. Default 0: all.", 0, 1e12, false},
        TR_SESSION_OPTIONS(s.session),
        {0},
    };
    char **arguments;
    int count, exit_status = tr_cli_parse(self, options, argc, argv, 0, 0, &arguments, &count);
    if (exit_status >= 0) {
        return exit_status;
    }
    tr_error err = {0};
    json_t *metrics = NULL;
    if (s.samples > 1 && s.session.temperature <= 0 && !s.session.generation_config) {
        return tr_cli_usage(self, "--samples %lld needs --temperature above 0: greedy answers are all the same",
                            (long long)s.samples);
    }
    tr_status status = evaluate(&s, &metrics, &err);
    if (!status && s.session.json) {
        status = tr_cli_print_json(metrics, &err);
    } else if (!status) {
        print_metrics(metrics);
    }
    json_decref(metrics);
    return status ? tr_cli_fail(self, &err) : TR_EXIT_DONE;
}
