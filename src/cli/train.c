/* train.c: tempr1 train CONFIG.yaml [key=value ...]: SFT and GRPO. */
#include "base/progress.h"
#include "cli/cli.h"
#include "train/temporal_r1.h"
#include "train/train.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

/* The first signal asks the run to end after its step; the second ends the
 * process at once. Files that are being written have other names until they are
 * whole, so nothing is lost but the step. */
static void interrupted(int number)
{
    static const char said[] = "\nstopping after this step with a checkpoint; once more stops at once\n";
    (void)number;
    if (stop) {
        _exit(TR_EXIT_FAILED);
    }
    stop = 1;
    ssize_t ignored = write(STDERR_FILENO, said, sizeof said - 1);
    (void)ignored;
}

static void catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = interrupted;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static char text[16384]; /* filled before the parser may print it: the keys come
                            from the configuration's table */

static int run(int argc, char **argv);

const tr_command tr_command_train = {
    .name = "train",
    .arguments = "CONFIG.yaml [key=value ...] [options]",
    .summary = "trains a model on video rows: SFT or GRPO, as a YAML file says",
    .text = text,
    .run = run,
};

static tr_status fill_text(tr_error *err)
{
    tr_buffer keys = {0};
    tr_status status = tr_config_help(&keys, err);
    snprintf(text, sizeof text,
             "Runs the configuration, one line per step on stderr, and prints the last checkpoint on stdout (with "
             "--json one object: stages with out, steps, checkpoint, seconds and the last step's numbers). The "
             "run's folder 'out' gets config.yaml, metrics.jsonl, rollouts.jsonl, checkpoints/step-N, curves.svg. "
             "Ctrl-C ends after the current step with a checkpoint, a second Ctrl-C at once.\n"
             "  tempr1 train run.yaml\n"
             "  tempr1 train run.yaml grpo.kl=0 train.steps=100 out=runs/no-kl\n"
             "  tempr1 train run.yaml 'stages=[{algorithm: sft}, {algorithm: grpo}]' stages.0.optim.lr=1e-5\n"
             "  tempr1 train run.yaml --resume\n"
             "  tempr1 train --from-temporal-r1 examples/grpo_example.yaml data.train_files=tvg.yaml model=DIR "
             "out=runs/tvg\n\n"
             "%s",
             tr_buffer_text(&keys));
    tr_buffer_free(&keys);
    return status;
}

static int print_keys(void)
{
    tr_buffer table = {0};
    tr_error err = {0};
    if (tr_config_markdown(&table, &err)) {
        return tr_cli_fail(&tr_command_train, &err);
    }
    fputs(tr_buffer_text(&table), stdout);
    tr_buffer_free(&table);
    return TR_EXIT_DONE;
}

/* Temporal-R1's settings: the list goes to stderr, also when one of them is refused. */
static tr_status read_foreign(const char *path, char **words, int count, tr_temporal_r1 *run, tr_error *err)
{
    tr_buffer table = {0};
    tr_status status = tr_temporal_r1_read(path, (const char *const *)words, (size_t)count, run, err);
    if (!tr_temporal_r1_text(run, &table, NULL)) {
        fputs(tr_buffer_text(&table), stderr);
    }
    tr_buffer_free(&table);
    return status;
}

static void print_summary(json_t *stages, json_t *settings, bool as_json, tr_error *err)
{
    if (as_json) {
        json_t *object = json_pack("{s:O}", "stages", stages);
        if (settings) {
            json_object_set(object, "settings", settings);
        }
        tr_cli_print_json(object, err);
        json_decref(object);
        return;
    }
    const char *checkpoint =
        json_string_value(json_object_get(json_array_get(stages, json_array_size(stages) - 1), "checkpoint"));
    if (checkpoint) {
        printf("%s\n", checkpoint);
    }
}

static int run(int argc, char **argv)
{
    const char *foreign = NULL;
    bool resume = false, accept = false, strict = false, as_json = false, quiet = false, keys = false;
    const tr_option options[] = {
        {.name = "resume",
         .kind = TR_OPTION_FLAG,
         .value = &resume,
         .help = "go on from the newest complete checkpoint of the run in 'out'; without one, start"},
        {.name = "accept-changes",
         .kind = TR_OPTION_FLAG,
         .value = &accept,
         .help = "resume although the configuration differs from the checkpoint's"},
        {.name = "strict",
         .kind = TR_OPTION_FLAG,
         .value = &strict,
         .help = "stop at the first step whose loss or gradient is not finite; the default skips and counts it"},
        {.name = "quiet", .kind = TR_OPTION_FLAG, .value = &quiet, .help = "no line per step and no bars"},
        {.name = "from-temporal-r1",
         .kind = TR_OPTION_TEXT,
         .value = &foreign,
         .argument = "FILE",
         .help =
             "take Temporal-R1's (EasyR1's) YAML instead of CONFIG.yaml, its key=value and ours behind it; lists "
             "what became of every setting (docs/temporal-r1.md)"},
        {.name = "keys",
         .kind = TR_OPTION_FLAG,
         .value = &keys,
         .help = "print all keys of the configuration as a Markdown table and end"},
        {.name = "json", .kind = TR_OPTION_FLAG, .value = &as_json, .help = "print the summary as one JSON object"},
        {0},
    };
    char **words;
    int count, status;
    tr_error err = {0};
    tr_temporal_r1 from = {0}; /* its set is the run, whichever way it came */
    json_t *stages = NULL;
    if (fill_text(&err)) {
        return tr_cli_fail(&tr_command_train, &err);
    }
    status = tr_cli_parse(&tr_command_train, options, argc, argv, 0, -1, &words, &count);
    if (status >= 0) {
        return status;
    }
    if (keys) {
        return print_keys();
    }
    if (!count && !foreign) {
        return tr_cli_usage(&tr_command_train, "a configuration file is needed");
    }
    if (accept && !resume) {
        return tr_cli_usage(&tr_command_train, "--accept-changes goes with --resume");
    }
    tr_progress_set_quiet(quiet);
    tr_train_options how = {.resume = resume,
                            .accept_changes = accept,
                            .strict = strict,
                            .quiet = quiet,
                            .stop = &stop,
                            .open_source = tr_train_open_source,
                            .evaluate = tr_eval_run};
    if (foreign
            ? read_foreign(foreign, words, count, &from, &err)
            : tr_config_read(words[0], (const char *const *)(words + 1), (size_t)(count - 1), &from.set, &err)) {
        tr_temporal_r1_free(&from);
        return tr_cli_fail(&tr_command_train, &err);
    }
    catch_signals();
    tr_status ended = tr_train_run(&from.set, &how, &stages, &err);
    print_summary(stages, from.settings, as_json, ended ? NULL : &err);
    json_decref(stages);
    tr_temporal_r1_free(&from);
    return ended ? tr_cli_fail(&tr_command_train, &err) : TR_EXIT_DONE;
}
