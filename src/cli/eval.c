/* eval.c: `tempr1 eval`: answers every row and measures; `tempr1 eval compare`: two results side by side. */
#include "cli/session.h"

#include "base/file.h"
#include "base/random.h"
#include "task/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run_eval(int argc, char **argv);
static int run_compare(int argc, char **argv);

const tr_command tr_command_eval = {
    .name = "eval",
    .arguments = "--model DIR --data ROWS --out DIR [options]",
    .summary = "answer every row of a corpus and measure the answers",
    .text = "Answers every row greedily (unless --temperature is above 0) and writes DIR/predictions.jsonl and "
            "DIR/metrics.json:\n"
            "the numbers of each task with 95 % bootstrap intervals and the protocol card that says how they came "
            "about.\n"
            "Rows whose clip cannot be read are named, counted and left unanswered.\n\n"
            "  tempr1 eval --model runs/grpo/checkpoints/step-500 --data test.jsonl --videos videos --out "
            "results/grpo\n",
    .run = run_eval,
};

const tr_command tr_command_eval_compare = {
    .name = "eval compare",
    .arguments = "A B [--json]",
    .summary = "set two results of eval side by side, row by row",
    .text = "A and B are folders written by `tempr1 eval` on the same rows. Prints, for every task, the mean of "
            "both and of their\n"
            "difference with its paired 95 % bootstrap interval: an interval without 0 is a real difference on "
            "these rows.\n",
    .run = run_compare,
};

typedef struct settings {
    tr_session_settings session;
    const char *data, *videos, *out, *prompt, *scheme;
    int64_t batch, first;
} settings;

static json_t *make_card(const settings *s)
{
    tr_buffer rows = {0};
    char hash[32] = "n/a";
    if (tr_file_read(s->data, 0, &rows, NULL) == TR_OK) {
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)tr_hash(tr_buffer_text(&rows), rows.length));
    }
    tr_buffer_free(&rows);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:f, s:I, s:I, s:I, s:I}}", "model", s->session.model, "data",
                     s->data, "data_hash", hash, "prompt", s->prompt, "scheme", s->scheme, "video", "fps",
                     s->session.fps, "min_frames", (json_int_t)s->session.min_frames, "max_frames",
                     (json_int_t)s->session.max_frames, "total_pixels", (json_int_t)s->session.total_pixels,
                     "min_pixels", (json_int_t)s->session.min_pixels);
}

static void print_table(const json_t *metrics)
{
    const char *task;
    json_t *values;
    printf("%-6s %6s  %-26s %7s %7s %7s  %7s %7s\n", "task", "rows", "mIoU [95 % interval]", "R1@0.3", "R1@0.5",
           "R1@0.7", "format", "reward");
    json_object_foreach((json_t *)(uintptr_t)metrics, task, values)
    {
        const json_t *interval = json_object_get(values, "miou_interval");
        if (!json_is_object(values) || !json_object_get(values, "format_rate")) {
            continue;
        }
        char miou[64] = "n/a";
        if (interval) {
            snprintf(miou, sizeof miou, "%.4f [%.4f, %.4f]", json_number_value(json_object_get(values, "miou")),
                     json_number_value(json_array_get(interval, 0)),
                     json_number_value(json_array_get(interval, 1)));
        }
        printf("%-6s %6lld  %-26s", task, (long long)json_integer_value(json_object_get(values, "rows")), miou);
        const char *const keys[] = {"r1@0.3", "r1@0.5", "r1@0.7", "format_rate", "reward"};
        for (int i = 0; i < 5; i++) {
            const json_t *value = json_object_get(values, keys[i]);
            printf(i == 3 ? "  " : " ");
            if (value) {
                printf("%7.4f", json_number_value(value));
            } else {
                printf("%7s", "n/a");
            }
        }
        printf("\n");
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
    json_t *card = make_card(s);
    tr_data_entry entry = {
        .rows = s->data, .videos = s->videos, .weight = 1, .reward = s->scheme, .prompt = s->prompt};
    tr_status status;
    TR_TRY(tr_session_open(&s->session, &session, err));
    tr_source_options options = tr_session_source(&s->session, &session, &entry);
    TR_TRY(tr_source_open(&options, &source, err));
    tr_network_limits limits;
    tr_eval_limits(source, s->batch, 1, s->session.max_tokens, &limits);
    TR_TRY(tr_session_network(&session, &limits, err));
    tr_eval_options eval = {.sampling = session.sampling,
                            .seed = (uint64_t)s->session.seed,
                            .out = s->out,
                            .card = card,
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
    settings s = {.videos = "", .prompt = "no-think", .scheme = "tempr1", .batch = 8};
    tr_session_defaults(&s.session);
    const tr_option options[] = {
        {"data", TR_OPTION_TEXT, &s.data, "ROWS", "Corpus rows (JSON Lines).", 0, 0, true},
        {"videos", TR_OPTION_TEXT, &s.videos, "DIR", "Folder of the rows' videos. Default: as the rows say.", 0, 0,
         false},
        {"out", TR_OPTION_TEXT, &s.out, "DIR", "Where predictions.jsonl and metrics.json go.", 0, 0, true},
        {"prompt", TR_OPTION_TEXT, &s.prompt, "NAME",
         "Prompt set: think, no-think, ... or a YAML file. Default no-think.", 0, 0, false},
        {"scheme", TR_OPTION_TEXT, &s.scheme, "NAME", "Reward scheme. Default tempr1.", 0, 0, false},
        {"batch", TR_OPTION_INT, &s.batch, "N", "Rows answered together; results do not depend on it. Default 8.",
         1, 1024, false},
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
    tr_status status = evaluate(&s, &metrics, &err);
    if (!status && s.session.json) {
        status = tr_cli_print_json(metrics, &err);
    } else if (!status) {
        print_table(metrics);
    }
    json_decref(metrics);
    return status ? tr_cli_fail(self, &err) : TR_EXIT_DONE;
}

/* ---- compare ---- */

/* {id: prediction} of one result. */
static tr_status read_predictions(const char *dir, json_t **out, tr_error *err)
{
    char *path = tr_path_join(dir, "predictions.jsonl");
    FILE *f = path ? fopen(path, "rb") : NULL;
    tr_buffer line = {0};
    tr_status status = TR_OK;
    *out = json_object();
    if (!f || !*out) {
        status = tr_fail(err, TR_NOT_FOUND, path ? path : dir,
                         "cannot be opened; expected a folder written by tempr1 eval");
    }
    long number = 0;
    for (bool got = true; !status && got;) {
        json_t *row = NULL;
        status = tr_file_read_line(f, 0, &line, &got, err);
        number++;
        if (status || !got || !line.length) {
            continue;
        }
        status = tr_json_parse(line.data, line.length, path, number - 1, &row, err);
        if (!status) {
            const char *id = json_string_value(json_object_get(row, "id"));
            if (!id) {
                json_decref(row);
                status = tr_fail(err, TR_FORMAT, path, "line %ld has no \"id\"", number);
            } else if (json_object_get(*out, id)) {
                status = tr_fail(err, TR_FORMAT, path, "line %ld has the id \"%s\" again", number, id);
                json_decref(row);
            } else if (json_object_set_new(*out, id, row)) {
                status = tr_fail(err, TR_MEMORY, path, "out of memory");
            }
        }
    }
    if (f) {
        fclose(f);
    }
    tr_buffer_free(&line);
    free(path);
    return status;
}

static double measured(const json_t *prediction)
{
    const json_t *iou = json_object_get(prediction, "iou");
    return json_number_value(iou ? iou : json_object_get(prediction, "reward"));
}

/* The rows of one task in both results: their values, in a's order. */
static size_t pair_up(const json_t *a, const json_t *b, const char *task, double *x, double *y)
{
    size_t n = 0;
    const char *id;
    json_t *row;
    json_object_foreach((json_t *)(uintptr_t)a, id, row)
    {
        const json_t *other = json_object_get(b, id);
        const char *of = json_string_value(json_object_get(row, "task"));
        if (other && of && !strcmp(of, task)) {
            x[n] = measured(row);
            y[n++] = measured(other);
        }
    }
    return n;
}

static tr_status compare(const json_t *a, const json_t *b, bool json, tr_error *err)
{
    static const char *const tasks[] = {"tg", "dtg", "vhd", "gvqa", "tal", "qa"};
    size_t rows = json_object_size(a);
    double *x = calloc(rows + 1, sizeof *x), *y = calloc(rows + 1, sizeof *y);
    json_t *out = json_object();
    size_t shared = 0;
    tr_status status = x && y && out ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    for (int t = 0; !status && t < 6; t++) {
        size_t n = pair_up(a, b, tasks[t], x, y);
        tr_bootstrap first, second, difference;
        if (!n) {
            continue;
        }
        shared += n;
        TR_TRY(tr_bootstrap_mean(x, n, TR_BOOTSTRAP_RESAMPLES, 0.95, 1, &first, err));
        TR_TRY(tr_bootstrap_mean(y, n, TR_BOOTSTRAP_RESAMPLES, 0.95, 1, &second, err));
        TR_TRY(tr_bootstrap_paired(y, x, n, TR_BOOTSTRAP_RESAMPLES, 0.95, 1, &difference, err));
        const char *name = strcmp(tasks[t], "tg") ? "reward" : "miou";
        json_object_set_new(out, tasks[t],
                            json_pack("{s:I, s:s, s:f, s:f, s:f, s:[f, f]}", "rows", (json_int_t)n, "measure", name,
                                      "a", first.mean, "b", second.mean, "difference", difference.mean, "interval",
                                      difference.low, difference.high));
        if (!json) {
            printf("%-5s %6zu rows  %-6s  A %.4f  B %.4f  B - A %+.4f [%+.4f, %+.4f]%s\n", tasks[t], n, name,
                   first.mean, second.mean, difference.mean, difference.low, difference.high,
                   difference.low > 0 || difference.high < 0 ? "  differs" : "");
        }
    }
    if (!status && !shared) {
        status = tr_fail(err, TR_MISMATCH, NULL, "the two results have no row in common");
    }
    if (!status && json) {
        status = tr_cli_print_json(out, err);
    }
    if (!status && (shared < rows || shared < json_object_size(b))) {
        fprintf(stderr, "%zu rows stand in both of %zu and %zu\n", shared, rows, json_object_size(b));
    }
done:
    free(x);
    free(y);
    json_decref(out);
    return status;
}

static int run_compare(int argc, char **argv)
{
    const tr_command *self = &tr_command_eval_compare;
    bool json = false;
    const tr_option options[] = {{"json", TR_OPTION_FLAG, &json, NULL, "Print one JSON object.", 0, 0, false}, {0}};
    char **arguments;
    int count, exit_status = tr_cli_parse(self, options, argc, argv, 2, 2, &arguments, &count);
    if (exit_status >= 0) {
        return exit_status;
    }
    tr_error err = {0};
    json_t *a = NULL, *b = NULL;
    tr_status status;
    TR_TRY(read_predictions(arguments[0], &a, &err));
    TR_TRY(read_predictions(arguments[1], &b, &err));
    TR_TRY(compare(a, b, json, &err));
done:
    json_decref(a);
    json_decref(b);
    return status ? tr_cli_fail(self, &err) : TR_EXIT_DONE;
}
