/* metrics.c: `tempr1 metrics`: the field's numbers for any system's predictions. */
#include "cli/cli.h"

#include "base/buffer.h"
#include "base/file.h"
#include "task/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const tr_command tr_command_metrics;

/* JSON Lines into a list. */
static tr_status read_lines(const char *text, size_t length, const char *path, json_t **out, tr_error *err)
{
    long line = 0;
    tr_status status = TR_OK;
    *out = json_array();
    for (const char *at = text, *end = text + length; at < end && !status; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        json_t *one = NULL;
        if (strspn(at, " \t\r") < (size_t)(stop - at)) {
            status = tr_json_parse(at, (size_t)(stop - at), path, line, &one, err);
            if (!status) {
                json_array_append_new(*out, one);
            }
        }
        at = stop + 1;
    }
    if (status) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}

/* One line of Charades-STA's own text, "VIDEO start end##sentence": where the video's name, of *name bytes, begins,
 * the two times and where the sentence begins. False when it is anything else. */
static bool split_charades(const char **video, size_t *name, const char *end, double times_s[2],
                           const char **sentence)
{
    *video += strspn(*video, " \t");
    *name = strcspn(*video, " \t\r\n");
    const char *at = *video + *name;
    for (int i = 0; i < 2; i++) {
        char *behind;
        times_s[i] = strtod(at, &behind);
        if (behind == at || !isfinite(times_s[i])) {
            return false;
        }
        at = behind;
    }
    *sentence = at + 2;
    return *name && *sentence <= end && !strncmp(at, "##", 2);
}

static tr_status read_charades(const char *text, const char *path, json_t **out, tr_error *err)
{
    long line = 0;
    *out = json_array();
    for (const char *at = text; *at;) {
        size_t length = strcspn(at, "\r\n"), name;
        const char *video = at, *sentence;
        double times_s[2];
        line++;
        bool good = !length || split_charades(&video, &name, at + length, times_s, &sentence);
        if (good && length && times_s[0] < times_s[1]) { /* four training lines run backwards: not to be scored */
            json_t *one = json_pack("{s:s,s:s%,s:s%,s:[[f,f]]}", "task", "tg", "video", video, name, "query",
                                    sentence, (size_t)(at + length - sentence), "segments", times_s[0], times_s[1]);
            good = one && !json_array_append_new(*out, one);
        }
        if (!good) {
            char where[512];
            snprintf(where, sizeof where, "%s:%ld", path, line);
            json_decref(*out);
            *out = NULL;
            return tr_fail(err, TR_FORMAT, where, "neither JSON nor a line \"VIDEO start end##sentence\" in UTF-8");
        }
        at += length;
        at += *at == '\r';
        at += *at == '\n';
    }
    return TR_OK;
}

static tr_status read_any(const char *path, json_t **out, tr_error *err)
{
    tr_buffer text = {0};
    tr_error whole = {0};
    *out = NULL;
    tr_status status = tr_file_read(path, 0, &text, err);
    if (!status) {
        const char *body = tr_buffer_text(&text);
        size_t blank = strspn(body, " \t\r\n");
        bool json = body[blank] == '{' || body[blank] == '[';
        const char *newline = strchr(body + blank, '\n');
        bool several = json && newline && newline[strspn(newline, " \t\r\n")] == body[blank] && body[blank] == '{';
        if (!json) {
            status = read_charades(body, path, out, err);
        } else if (several) {
            status = read_lines(body, text.length, path, out, err);
        } else if (tr_json_parse(body, text.length, path, 0, out, &whole)) {
            status = body[blank] == '{' && newline && !read_lines(body, text.length, path, out, err)
                         ? TR_OK
                         : (*err = whole, whole.code);
        } else if (json_is_object(*out) && json_object_get(*out, "id")) { /* one line of JSON Lines */
            *out = json_pack("[o]", *out);
        }
    }
    tr_buffer_free(&text);
    return status;
}

static void print_metric(const char *task, const char *name, const json_t *one)
{
    const json_t *low = json_object_get(one, "low");
    double value = json_number_value(json_object_get(one, "value"));
    printf("%-18s %-16s %7.2f", task, name, 100 * value);
    if (low) {
        printf("   [%6.2f, %6.2f]", 100 * json_number_value(low),
               100 * json_number_value(json_object_get(one, "high")));
    } else {
        printf("   %-16s", "n/a");
    }
    printf("  %lld\n", (long long)json_integer_value(json_object_get(one, "count")));
}

static void print_tree(const json_t *object, const char *prefix)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        char path[256];
        snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] ? " " : "", key);
        if (json_is_object(value)) {
            print_tree(value, path);
        } else if (json_is_integer(value)) {
            printf("%-36s %lld\n", path, (long long)json_integer_value(value));
        } else {
            printf("%-36s %.*f\n", path, 6, json_number_value(value));
        }
    }
}

static void print_table(const json_t *result)
{
    const char *task, *name;
    json_t *metrics, *one;
    if (json_object_get(result, "official")) {
        print_tree(json_object_get(result, "official"), "");
    } else {
        printf("%-18s %-16s %7s   %-16s  %s\n", "task", "metric", "%", "95 % interval", "answers");
    }
    json_object_foreach(json_object_get(result, "metrics"), task, metrics)
    {
        json_object_foreach(metrics, name, one)
        {
            print_metric(task, name, one);
        }
    }
}

static void print_problems(const json_t *result)
{
    const char *key;
    json_t *list, *id;
    size_t i;
    const json_t *counts = json_object_get(result, "counts");
    fprintf(stderr, "format %s:", json_string_value(json_object_get(result, "format")));
    json_object_foreach((json_t *)counts, key, id)
    {
        fprintf(stderr, " %lld %s", (long long)json_integer_value(id), key);
    }
    fprintf(stderr, "\n");
    json_object_foreach(json_object_get(result, "problems"), key, list)
    {
        json_array_foreach(list, i, id)
        {
            fprintf(stderr, "%s%s", i ? ", " : key, i ? "" : ": ");
            fprintf(stderr, "%s", json_string_value(id));
        }
        if (json_array_size(list)) {
            long long all = json_integer_value(json_object_get(counts, key));
            fprintf(stderr, all > (long long)json_array_size(list) ? " and more\n" : "\n");
        }
    }
}

static int run(int argc, char **argv)
{
    const char *task = NULL, *pred_path = NULL, *truth_path = NULL, *format = NULL, *out = NULL;
    int64_t seed = 1, resamples = TR_BOOTSTRAP_RESAMPLES;
    bool json = false, compat = false;
    const tr_option options[] = {
        {"task", TR_OPTION_TEXT, &task, "T",
         "tg, dtg, vhd, gvqa, tal or qa. Default: each row's \"task\", else tg.", 0, 0, false},
        {"pred", TR_OPTION_TEXT, &pred_path, "FILE", "the predictions.", 0, 0, true},
        {"truth", TR_OPTION_TEXT, &truth_path, "FILE",
         "the truth; not needed where the predictions carry it (lmms-eval, tempcompass).", 0, 0, false},
        {"format", TR_OPTION_TEXT, &format, "NAME",
         "rows, qvhighlights, activitynet, timechat, timechat-dense, lmms-eval, vtimellm, tempcompass or next-gqa. "
         "Default: what the keys of the files say.",
         0, 0, false},
        {"temporal-r1", TR_OPTION_FLAG, &compat, NULL,
         "read free-text answers to tg as Temporal-R1's evaluation does (every \"to\" is a dash, reversed pairs "
         "are swapped).",
         0, 0, false},
        {"resamples", TR_OPTION_INT, &resamples, "N", "bootstrap resamples; 0: no intervals. Default 2000.", 0, 1e6,
         false},
        {"seed", TR_OPTION_INT, &seed, "N", "of the bootstrap. Default 1.", 0, 0, false},
        {"out", TR_OPTION_TEXT, &out, "FILE", "also write the JSON object there.", 0, 0, false},
        {"json", TR_OPTION_FLAG, &json, NULL, "print one JSON object instead of the table.", 0, 0, false},
        {0}};
    char **positional;
    int count;
    int usage = tr_cli_parse(&tr_command_metrics, options, argc, argv, 0, 0, &positional, &count);
    if (usage >= 0) {
        return usage;
    }
    tr_error err = {0};
    json_t *pred = NULL, *truth = NULL, *result = NULL;
    tr_evaluate_options o = {.task = TR_TASK_TG,
                             .task_given = task != NULL,
                             .format = format,
                             .compat = compat,
                             .seed = (uint64_t)seed,
                             .resamples = (size_t)resamples,
                             .pred_name = pred_path,
                             .truth_name = truth_path};
    if (task && tr_task_from_name(task, &o.task, &err)) {
        return tr_cli_usage(&tr_command_metrics, "%s", err.message);
    }
    tr_status status = read_any(pred_path, &pred, &err);
    status = status || !truth_path ? status : read_any(truth_path, &truth, &err);
    status = status ? status : tr_evaluate(pred, truth, &o, &result, &err);
    status = status || !out ? status : tr_json_write(out, result, &err);
    if (!status && json) {
        status = tr_cli_print_json(result, &err);
    } else if (!status) {
        print_table(result);
    }
    if (!status) {
        print_problems(result);
    }
    json_decref(pred);
    json_decref(truth);
    json_decref(result);
    return status ? tr_cli_fail(&tr_command_metrics, &err) : TR_EXIT_DONE;
}

const tr_command tr_command_metrics = {
    "metrics", "--pred FILE [--truth FILE] [--task T]",
    "official metrics of any system's predictions, with intervals",
    "Compares predictions with a truth and prints the numbers of the task, each with a bootstrap 95 % interval and "
    "the\n"
    "number of answers behind it. Predictions may be our predictions.jsonl ({\"id\", \"response\"}), intervals\n"
    "({\"id\", \"segments\"}), a QVHighlights submission, an ActivityNet detection file, or what TimeChat, "
    "lmms-eval,\n"
    "VTimeLLM, TempCompass and NExT-GQA write; QVHighlights and ActivityNet print their own evaluators' numbers.\n"
    "A truth may also be Charades-STA's text file. Missing answers count as wrong; missing, unknown, duplicate "
    "and\n"
    "unreadable ones are counted and named on stderr. The metrics are described in docs/tasks.md.\n\n"
    "  tempr1 metrics --pred predictions.jsonl --truth charades_test.jsonl\n"
    "  tempr1 metrics --pred submission.jsonl --truth highlight_val_release.jsonl --json",
    run};
