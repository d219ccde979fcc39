/* reward.c: `tempr1 reward`: scores responses that stand on standard input, whoever gave them. */
#include "cli/cli.h"

#include "base/file.h"
#include "task/row.h"

#include <stdio.h>
#include <string.h>

extern const tr_command tr_command_reward;

typedef struct settings {
    const char *task, *scheme, *think, *matching, *config;
    bool json, keep_going;
} settings;

typedef struct state {
    const settings *settings;
    tr_scheme own; /* of --config */
    bool has_own;
    tr_truth_holder truth;
    tr_arena arena;
    long line, rows, unparsed;
    double sum;
} state;

static tr_status choose_scheme(const state *s, const json_t *row, const char *where, tr_scheme *out, tr_error *err)
{
    const char *name = s->settings->scheme;
    tr_status status = name ? TR_OK : tr_json_get_string(row, "scheme", false, where, &name, err);
    if (status) {
        return status;
    }
    if (s->has_own && !name) {
        *out = s->own;
    } else {
        const tr_scheme *found;
        status = tr_scheme_get(name ? name : "tempr1", &found, err);
        if (status) {
            return tr_fail_where(err, status, "%s", where);
        }
        *out = *found;
    }
    static const char *const thinks[] = {"optional", "required", "forbidden"};
    for (int i = 0; i < 3; i++) {
        if (s->settings->think && !strcmp(s->settings->think, thinks[i])) {
            tr_scheme_set_think(out, (tr_think)i);
        }
    }
    if (s->settings->matching) {
        out->matching = !strcmp(s->settings->matching, "naive") ? TR_MATCH_NAIVE : TR_MATCH_MONOTONE;
    }
    return TR_OK;
}

static tr_status score_row(state *s, const json_t *row, const char *where, json_t **out, tr_error *err)
{
    const char *task_name = s->settings->task;
    tr_scheme scheme;
    tr_task task;
    tr_reward reward;
    int64_t tokens = 0;
    *out = NULL;
    if (!json_is_object(row)) {
        return tr_fail(err, TR_FORMAT, where, "a row must be an object, found %s", tr_json_type_name(row));
    }
    tr_status status = task_name ? TR_OK : tr_json_get_string(row, "task", false, where, &task_name, err);
    status = status ? status : tr_task_from_name(task_name ? task_name : "tg", &task, err);
    status = status ? status : choose_scheme(s, row, where, &scheme, err);
    status = status ? status : tr_truth_from_json(row, task, where, &s->truth, err);
    const json_t *response = json_object_get(row, "response");
    if (!status && !json_is_string(response)) {
        status = tr_fail(err, TR_FORMAT, where, "the field \"response\" (a string) is %s",
                         response ? "of another type" : "missing");
    }
    status = status ? status : tr_json_get_int(row, "tokens", false, where, &tokens, err);
    size_t need = status ? 0 : tr_reward_arena_bytes(s->truth.truth.count);
    if (!status && need > s->arena.size) {
        tr_arena_free(&s->arena);
        status = tr_arena_init(&s->arena, need, err);
    }
    if (!status) {
        tr_arena_reset(&s->arena, 0);
        status = tr_reward_score(&scheme, task, json_string_value(response), json_string_length(response),
                                 tokens > 0 ? (size_t)tokens : 0, &s->truth.truth, &s->arena, &reward, err);
    }
    if (status) {
        return tr_fail_where(err, status, "%s", where);
    }
    s->sum += reward.total;
    s->unparsed += !reward.parsed;
    *out = tr_reward_to_json(&reward, task);
    json_t *id = json_object_get(row, "id");
    if (*out && id) {
        json_object_set(*out, "id", id);
    }
    return *out ? TR_OK : tr_fail(err, TR_MEMORY, where, "out of memory");
}

static tr_status score_all(state *s, tr_error *err)
{
    tr_buffer text = {0};
    tr_status status = TR_OK;
    for (bool got = true; got && !status;) {
        char where[64];
        json_t *row = NULL, *out = NULL;
        status = tr_file_read_line(stdin, 0, &text, &got, err);
        if (status || !got) {
            break;
        }
        s->line++;
        if (!text.length || strspn(tr_buffer_text(&text), " \t\r") == text.length) {
            continue;
        }
        snprintf(where, sizeof where, "standard input:%ld", s->line);
        status = tr_json_parse(text.data, text.length, "standard input", s->line - 1, &row, err);
        status = status ? status : score_row(s, row, where, &out, err);
        if (!status) {
            s->rows++;
            status = tr_cli_print_json(out, err);
        } else if (s->settings->keep_going && status != TR_MEMORY) {
            fflush(stdout);
            tr_cli_fail(&tr_command_reward, err);
            json_t *bad = json_pack("{s:n,s:{},s:n,s:s}", "reward", "parts", "parsed", "error", err->message);
            status = bad ? tr_cli_print_json(bad, err) : TR_MEMORY;
            json_decref(bad);
        }
        json_decref(row);
        json_decref(out);
    }
    tr_buffer_free(&text);
    return status;
}

static int check_words(const settings *o)
{
    const char *think = o->think, *matching = o->matching;
    if (think && strcmp(think, "optional") != 0 && strcmp(think, "required") != 0 &&
        strcmp(think, "forbidden") != 0) {
        return tr_cli_usage(&tr_command_reward, "--think is optional, required or forbidden, found '%s'", think);
    }
    if (matching && strcmp(matching, "monotone") != 0 && strcmp(matching, "naive") != 0) {
        return tr_cli_usage(&tr_command_reward, "--matching is monotone or naive, found '%s'", matching);
    }
    return -1;
}

static int run(int argc, char **argv)
{
    settings o = {0};
    const tr_option options[] = {
        {"task", TR_OPTION_TEXT, &o.task, "T",
         "tg, dtg, vhd, gvqa, tal or qa. Default: each row's \"task\", else tg.", 0, 0, false},
        {"scheme", TR_OPTION_TEXT, &o.scheme, "S",
         "tempr1, temporal-r1, time-r1, videochat-r1, museg, timelens, timelens2 or omtg. Default: each row's "
         "\"scheme\", else tempr1.",
         0, 0, false},
        {"config", TR_OPTION_TEXT, &o.config, "FILE",
         "a JSON file with a scheme of your own, e.g. {\"parts\": {\"format\": 0.5, \"iou\": 0.5}}; used where no "
         "scheme is named.",
         0, 0, false},
        {"think", TR_OPTION_TEXT, &o.think, "WORD",
         "whether <think>...</think> must stand before the answer for the format part: optional, required or "
         "forbidden. Default: as the scheme says.",
         0, 0, false},
        {"matching", TR_OPTION_TEXT, &o.matching, "WORD",
         "how the tal part \"match\" pairs intervals: monotone (the dynamic programme) or naive (i-th with i-th, "
         "the paper's ablation). Default: monotone.",
         0, 0, false},
        {"keep-going", TR_OPTION_FLAG, &o.keep_going, NULL,
         "a bad row gives {\"reward\": null, ..., \"error\"} and a message; without it the first one ends the run.",
         0, 0, false},
        {"json", TR_OPTION_FLAG, &o.json, NULL,
         "one JSON object per row: the only form there is, so this changes nothing.", 0, 0, false},
        {0}};
    char **positional;
    int count;
    int usage = tr_cli_parse(&tr_command_reward, options, argc, argv, 0, 0, &positional, &count);
    usage = usage >= 0 ? usage : check_words(&o);
    if (usage >= 0) {
        return usage;
    }
    tr_error err = {0};
    state s = {.settings = &o};
    json_t *config = NULL;
    tr_task task;
    const tr_scheme *scheme;
    if ((o.task && tr_task_from_name(o.task, &task, &err)) ||
        (o.scheme && tr_scheme_get(o.scheme, &scheme, &err))) {
        return tr_cli_usage(&tr_command_reward, "%s", err.message);
    }
    tr_status status = tr_arena_init(&s.arena, tr_reward_arena_bytes(64), &err);
    if (!status && o.config) {
        status = tr_json_read(o.config, &config, &err);
        status = status ? status : tr_scheme_from_json(config, o.config, &s.own, &err);
        s.has_own = true;
    }
    status = status ? status : score_all(&s, &err);
    if (!status && s.rows) {
        fprintf(stderr, "%ld rows, mean reward %.4f, %ld answers not understood\n", s.rows, s.sum / (double)s.rows,
                s.unparsed);
    }
    tr_truth_holder_free(&s.truth);
    tr_arena_free(&s.arena);
    json_decref(config);
    return status ? tr_cli_fail(&tr_command_reward, &err) : TR_EXIT_DONE;
}

const tr_command tr_command_reward = {
    "reward", "--task T [--scheme S] < ROWS.jsonl",
    "score responses: the reward of each, its parts, what was understood",
    "Reads rows (JSON Lines) from standard input and prints one object per row:\n"
    "  in   {\"response\": TEXT, \"segments\": [[s, e], ...], \"answer\": \"B\", \"options\": [...], \"duration\": "
    "T}\n"
    "       with the truth fields of the task; \"task\", \"scheme\", \"tokens\" and \"id\" may stand in a row\n"
    "  out  {\"reward\": 1.5, \"parts\": {\"format\": 1.0, \"iou\": 0.5}, \"parsed\": [[s, e]], \"error\": null}\n"
    "Times are seconds from the clip's start. The rewards are described in docs/tasks.md.\n\n"
    "  echo '{\"response\": \"<answer>5.0 to 20.0</answer>\", \"segments\": [[5, 20]], \"duration\": 30}' |\n"
    "      tempr1 reward --task tg",
    run};
