/* data_select.c: `tempr1 data select`: answers rows several times and keeps those worth training on. */
#include "cli/session.h"

#include "base/file.h"
#include "corpus/select.h"
#include "eval/protocol.h"
#include "eval/select.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run(int argc, char **argv);

const tr_command tr_command_data_select = {
    .name = "data select",
    .arguments = "ROWS [--model DIR] [--scores FILE] [--out ROWS] [options]",
    .summary = "the rows worth training on, from how a model answers them several times",
    .text =
        "With --model every row is answered K times (temperature 1) and the scores are kept in a file, one line a "
        "row; run\n"
        "again after a kill it continues. From the scores a rule keeps rows; without --model the file alone is "
        "used, so that\n"
        "another rule costs nothing. The rows kept go to --out as they are, with \"difficulty\" (the mean IoU of "
        "the answers; qa:\n"
        "the share of right ones) and \"score\" (the same number, which training's difficulty weights read), "
        "beside OUT.select.json\n"
        "and the picture OUT.svg. Rows are kept from every task and duration in the shares that they have in "
        "ROWS.\n\n"
        "Rules: variance (default), gaussian, filter, time-r1, timelens, random, all; docs/data.md says what each "
        "keeps.\n\n"
        "  tempr1 data select train.jsonl --videos videos --model base --k 8 --scores base.scores.jsonl --out "
        "kept.jsonl\n"
        "  tempr1 data select train.jsonl --scores base.scores.jsonl --rule time-r1 --count 2500 --out "
        "easy.jsonl\n",
    .run = run,
};

typedef struct settings {
    tr_session_settings session;
    const char *rows, *videos, *scores, *out, *svg, *prompt, *scheme, *rule;
    int64_t answers, batch;
    bool restart;
    tr_select_options select;
} settings;

/* ---- scoring ---- */

static tr_status score_rows(const settings *s, tr_error *err)
{
    tr_session session = {0};
    tr_source *source = NULL;
    json_t *card = NULL;
    const tr_session_work work = {
        .entry = {.rows = s->rows, .videos = s->videos, .weight = 1, .reward = s->scheme, .prompt = s->prompt},
        .parser = "scheme",
        .samples = s->answers};
    tr_status status;
    TR_TRY(tr_session_open_rows(&s->session, &work, &session, &source, &card, err));
    json_object_set_new(card, "program", json_string("tempr1 " TEMPR1_VERSION));
    json_object_set_new(card, "dtype", json_string(tr_dtype_name(session.model->dtype)));
    tr_network_limits limits;
    tr_eval_limits(source, s->batch, s->answers, s->session.max_tokens, &limits);
    TR_TRY(tr_session_network(&session, &limits, err));
    const tr_scoring_options scoring = {.sampling = session.sampling,
                                        .seed = (uint64_t)s->session.seed,
                                        .answers = s->answers,
                                        .scores = s->scores,
                                        .card = card,
                                        .restart = s->restart};
    TR_TRY(tr_scoring_run(&session.evaluator, source, &scoring, err));
done:
    json_decref(card);
    tr_source_free(source);
    tr_session_close(&session);
    return status;
}

/* ---- choosing ---- */

/* The kept rows, in their order, with how hard they are. */
static tr_status write_rows(const settings *s, const tr_row_list *rows, const tr_select_file *file,
                            const tr_select_choice *choice, tr_error *err)
{
    tr_file_writer writer;
    tr_status status = tr_file_writer_open(&writer, s->out, err);
    if (status) {
        return status;
    }
    for (size_t i = 0; i < rows->count && !status; i++) {
        const tr_select_score *score = &file->scores[i];
        if (choice->verdicts[i] == TR_SELECT_IS_KEPT) {
            double mean = tr_select_moments_of(score->values, score->k).mean;
            json_object_set_new(rows->items[i].json, "difficulty", json_real(mean));
            json_object_set_new(rows->items[i].json, "score", json_real(mean));
            status = tr_row_write(writer.stream, rows->items[i].json, err);
        }
    }
    if (status) {
        tr_file_writer_abandon(&writer);
        return status;
    }
    return tr_file_writer_commit(&writer, err);
}

static tr_status write_picture(const settings *s, const tr_select_file *file, const tr_select_choice *choice,
                               tr_error *err)
{
    char *own = s->svg || !s->out ? NULL : tr_format("%s.svg", s->out);
    const char *path = s->svg ? s->svg : own;
    tr_buffer svg = {0};
    tr_status status = path ? tr_select_svg(file->scores, &s->select, choice, &svg, err) : TR_OK;
    if (!status && path) {
        status = tr_file_write_atomic(path, svg.data, svg.length, err);
    }
    tr_buffer_free(&svg);
    free(own);
    return status;
}

/* What the files are, so that a selection can be told from another. */
static tr_status add_hashes(const settings *s, json_t *report, tr_error *err)
{
    char hash[17];
    tr_status status;
    json_object_set_new(report, "data", json_string(s->rows));
    TR_TRY(tr_protocol_file_hash(s->rows, hash, err));
    json_object_set_new(report, "data_hash", json_string(hash));
    json_object_set_new(report, "scores", json_string(s->scores));
    TR_TRY(tr_protocol_file_hash(s->scores, hash, err));
    json_object_set_new(report, "scores_hash", json_string(hash));
    if (s->out) {
        json_object_set_new(report, "out", json_string(s->out));
    }
done:
    return status;
}

static tr_status choose(const settings *s, json_t **report, tr_error *err)
{
    tr_row_list rows = {0};
    tr_select_file file = {0};
    tr_select_choice choice = {0};
    char *summary = s->out ? tr_format("%s.select.json", s->out) : NULL;
    tr_status status;
    TR_TRY(tr_row_list_read(s->rows, &rows, err));
    TR_TRY(tr_select_file_read(s->scores, s->rows, &rows, &file, err));
    TR_TRY(tr_select(file.scores, file.count, &s->select, &choice, err));
    TR_TRY(tr_select_report(file.scores, &s->select, &choice, report, err));
    TR_TRY(add_hashes(s, *report, err));
    if (choice.asked > (int64_t)choice.kept) {
        fprintf(stderr, "%lld rows were asked for, only %zu qualify by the rule %s\n", (long long)choice.asked,
                choice.kept, tr_select_rule_name(s->select.rule));
    } else if (!choice.kept) {
        fprintf(
            stderr,
            "no row qualifies by the rule %s: the table and the picture say why; another rule or other thresholds "
            "need no model (--scores %s without --model)\n",
            tr_select_rule_name(s->select.rule), s->scores);
    }
    TR_TRY(write_picture(s, &file, &choice, err));
    if (s->out) {
        TR_TRY(summary ? tr_json_write(summary, *report, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory"));
        TR_TRY(write_rows(s, &rows, &file, &choice, err));
    }
done:
    free(summary);
    tr_select_choice_free(&choice);
    tr_select_file_free(&file);
    tr_row_list_free(&rows);
    return status;
}

static void print_average(const json_t *task, const char *key)
{
    const json_t *values = json_object_get(task, key), *kept = json_object_get(values, "kept");
    char text[32] = "n/a";
    if (json_is_number(kept)) {
        snprintf(text, sizeof text, "%.3f", json_number_value(kept));
    }
    printf("  %s %.3f, of those kept %s", key, json_number_value(json_object_get(values, "all")), text);
}

static void print_report(const json_t *report)
{
    const char *name, *verdict;
    json_t *task, *count;
    printf("%lld of %lld rows kept by the rule %s\n",
           (long long)json_integer_value(json_object_get(report, "kept")),
           (long long)json_integer_value(json_object_get(report, "rows")),
           json_string_value(json_object_get(report, "rule")));
    json_object_foreach(json_object_get(report, "tasks"), name, task)
    {
        printf("%-5s %6lld of %6lld kept", name, (long long)json_integer_value(json_object_get(task, "kept")),
               (long long)json_integer_value(json_object_get(task, "rows")));
        print_average(task, "mean");
        print_average(task, "std");
        printf("\n     ");
        json_object_foreach(json_object_get(task, "verdicts"), verdict, count)
        {
            printf(" %s %lld", verdict, (long long)json_integer_value(count));
        }
        printf("\n");
    }
}

/* ---- the command ---- */

static int execute(settings *s)
{
    const tr_command *self = &tr_command_data_select;
    tr_error err = {0};
    json_t *report = NULL;
    char *own = NULL;
    tr_status status;
    if (!s->scores) {
        own = tr_format("%s.scores.jsonl", s->out);
        s->scores = own;
    }
    TR_TRY(own || s->scores ? TR_OK : tr_fail(&err, TR_MEMORY, NULL, "out of memory"));
    TR_TRY(tr_select_rule_find(s->rule, &s->select.rule, &err));
    s->select.seed = (uint64_t)s->session.seed;
    TR_TRY(tr_select_options_check(&s->select, &err));
    if (s->session.model) {
        TR_TRY(score_rows(s, &err));
    }
    TR_TRY(choose(s, &report, &err));
    if (s->session.json) {
        TR_TRY(tr_cli_print_json(report, &err));
    } else {
        print_report(report);
    }
done:
    json_decref(report);
    free(own);
    return status ? tr_cli_fail(self, &err) : TR_EXIT_DONE;
}

static int run(int argc, char **argv)
{
    const tr_command *self = &tr_command_data_select;
    settings s = {.videos = "",
                  .prompt = "no-think",
                  .scheme = "tempr1",
                  .rule = "variance",
                  .answers = 8,
                  .batch = 2,
                  .select = tr_select_options_default()};
    tr_session_defaults(&s.session);
    s.session.temperature = 1;
    tr_option options[] = {
        {"scores", TR_OPTION_TEXT, &s.scores, "FILE",
         "The scores: written with --model, else read. Default OUT.scores.jsonl.", 0, 0, false},
        {"out", TR_OPTION_TEXT, &s.out, "ROWS", "Where the rows that are kept go.", 0, 0, false},
        {"svg", TR_OPTION_TEXT, &s.svg, "FILE", "Where the picture goes. Default OUT.svg.", 0, 0, false},
        {"k", TR_OPTION_INT, &s.answers, "K", "Answers a row. Default 8.", 2, 1024, false},
        {"rule", TR_OPTION_TEXT, &s.rule, "NAME",
         "variance (default), gaussian, filter, time-r1, timelens, random or all.", 0, 0, false},
        {"min-std", TR_OPTION_DOUBLE, &s.select.min_std, "X",
         "variance: least standard deviation of the IoUs. Default 0.1.", 0, 1, false},
        {"min-best", TR_OPTION_DOUBLE, &s.select.min_best, "X",
         "variance: least IoU of the best answer. Default 0.5.", 0, 1, false},
        {"above", TR_OPTION_DOUBLE, &s.select.above, "X", "filter, time-r1: the mean lies above X. Default 0.", -1,
         1, false},
        {"at-most", TR_OPTION_DOUBLE, &s.select.at_most, "X",
         "filter, time-r1: the mean is at most X. Default 0.7.", 0, 1, false},
        {"centre", TR_OPTION_DOUBLE, &s.select.centre, "X", "Of the Gaussian. Default 0.3 (timelens: 0.05).", -10,
         10, false},
        {"spread", TR_OPTION_DOUBLE, &s.select.spread, "X", "Of the Gaussian. Default 0.2.", 0.001, 100, false},
        {"bins", TR_OPTION_INT, &s.select.density_bins, "N", "timelens: bins of the density. Default 20.", 1, 1000,
         false},
        {"count", TR_OPTION_INT, &s.select.count, "N", "Keep at most N rows. Default: all that the rule keeps.", 0,
         1e12, false},
        {"share", TR_OPTION_DOUBLE, &s.select.share, "X", "Keep at most this share of all rows.", 0, 1, false},
        {"duration-bins", TR_OPTION_INT, &s.select.duration_bins, "N",
         "Strata of each task by duration, of equally many rows. Default 4.", 1, 1000, false},
        {"videos", TR_OPTION_TEXT, &s.videos, "DIR", "Folder of the rows' videos. Default: as the rows say.", 0, 0,
         false},
        {"prompt", TR_OPTION_TEXT, &s.prompt, "NAME", "Prompt set. Default no-think.", 0, 0, false},
        {"scheme", TR_OPTION_TEXT, &s.scheme, "NAME", "Reward scheme. Default tempr1.", 0, 0, false},
        {"batch", TR_OPTION_INT, &s.batch, "N", "Rows answered together; results do not depend on it. Default 2.",
         1, 1024, false},
        {"restart", TR_OPTION_FLAG, &s.restart, NULL, "Score anew whatever the file of scores holds.", 0, 0, false},
        TR_SESSION_OPTIONS(s.session),
        {0},
    };
    for (tr_option *o = options; o->name; o++) {
        if (!strcmp(o->name, "model")) {
            o->required = false;
            o->help = "The checkpoint that answers. Without it the file of scores is used as it is.";
        } else if (!strcmp(o->name, "temperature")) {
            o->help = "Of the answers, above 0. Default 1.";
        } else if (!strcmp(o->name, "seed")) {
            o->help = "Seed of the answers and of the draws among rows. Default 1.";
        }
    }
    char **arguments;
    int count, exit_status = tr_cli_parse(self, options, argc, argv, 1, 1, &arguments, &count);
    if (exit_status >= 0) {
        return exit_status;
    }
    s.rows = arguments[0];
    if (!s.scores && !(s.session.model && s.out)) {
        return tr_cli_usage(self, "%s",
                            s.session.model ? "--scores FILE or --out ROWS says where the scores go"
                                            : "--model DIR makes scores, --scores FILE reads them");
    }
    return execute(&s);
}
