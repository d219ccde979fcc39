/* ask.c: `tempr1 ask`: one clip, one question. */
#include "cli/session.h"

#include "base/file.h"
#include "model/windows.h"
#include "task/reward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run(int argc, char **argv);

const tr_command tr_command_ask = {
    .name = "ask",
    .arguments = "--model DIR [--task tg] VIDEO \"QUERY\" [options]",
    .summary = "ask one question about one clip",
    .text = "Answers a question about a video: the text of the answer and, for the temporal tasks, the intervals "
            "in seconds that\n"
            "it names. Greedy unless --temperature is above 0; -n N gives N sampled answers. For qa and gvqa the "
            "options\n"
            "are given as --option, in order.\n\n"
            "  tempr1 ask --model Qwen2.5-VL-3B-Instruct --task tg clip.mp4 \"a person opens the door\"\n"
            "  tempr1 ask --model DIR --json -n 8 --temperature 1 clip.mp4 \"the red car turns\"\n",
    .run = run,
};

typedef struct settings {
    tr_session_settings session;
    const char *task, *prompt, *scheme;
    int64_t answers;
    tr_option_list options;
} settings;

/* The question as a corpus row without its truth. */
static json_t *make_row(const settings *s, const char *video, const char *query)
{
    char *path = realpath(video, NULL);
    json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "id", "ask", "task", s->task, "video",
                            path ? path : video, "query", query, "question", query, "action", query);
    free(path);
    if (row) {
        json_object_set_new(row, "queries", json_pack("[s]", query));
        json_t *options = json_array();
        for (size_t i = 0; i < s->options.count; i++) {
            json_array_append_new(options, json_string(s->options.items[i]));
        }
        json_object_set_new(row, "options", options);
    }
    return row;
}

/* What was understood, below the text: intervals, the option, or both. */
static void print_parsed(const json_t *parsed)
{
    const json_t *segments = json_is_object(parsed) ? json_object_get(parsed, "segments") : parsed;
    const char *option = json_string_value(json_is_object(parsed) ? json_object_get(parsed, "option") : parsed);
    size_t i;
    const json_t *pair;
    if (option) {
        printf("  option %s\n", option);
    }
    json_array_foreach(segments, i, pair)
    {
        printf("  %.2f s to %.2f s\n", json_number_value(json_array_get(pair, 0)),
               json_number_value(json_array_get(pair, 1)));
    }
}

static tr_status print_answer(const settings *s, tr_source *source, const tr_sample *sample,
                              const tr_rollout_group *group, int64_t index, int64_t at, tr_error *err)
{
    tr_buffer text = {0};
    tr_score score = {0};
    json_t *out = NULL, *ids = json_array(), *logprobs = json_array();
    tr_status status;
    int64_t count = group->lengths[index];
    TR_TRY(source->call->text(source, group->ids + at, count, &text, err));
    /* Without a truth only the parsing is meant. */
    tr_error ignored = {0};
    source->call->score(source, sample, tr_buffer_text(&text), text.length, group->stopped[index], &score,
                        &ignored);
    for (int64_t i = 0; i < count; i++) {
        json_array_append_new(ids, json_integer(group->ids[at + i]));
        json_array_append_new(logprobs, json_real((double)group->logp[at + i]));
    }
    if (s->session.json) {
        out = json_pack("{s:s%, s:O?, s:s, s:O, s:O}", "text", tr_buffer_text(&text), text.length, "parsed",
                        score.parsed, "finish", group->stopped[index] ? "stop" : "length", "ids", ids, "logprobs",
                        logprobs);
        status = out ? tr_cli_print_json(out, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    } else {
        printf("%s\n", tr_buffer_text(&text));
        print_parsed(score.parsed);
        if (score.error[0]) {
            fprintf(stderr, "the answer was not understood: %s\n", score.error);
        }
    }
done:
    json_decref(ids);
    json_decref(logprobs);
    json_decref(out);
    tr_score_clear(&score);
    tr_buffer_free(&text);
    return status;
}

static tr_status answer(const settings *s, tr_session *session, tr_source *source, tr_error *err)
{
    tr_sample sample = {0};
    tr_rollout *rollout = NULL;
    tr_rollout_group group;
    const float *features;
    tr_status status;
    TR_TRY(source->call->load(source, 0, false, &sample, err));
    tr_network_limits limits = {.patches = sample.visual.rows,
                                .largest_grid = (int64_t)sample.grids[0][1] * sample.grids[0][2],
                                .windows = tr_windows_count(&session->model->config.vision, sample.grids[0][0],
                                                            sample.grids[0][1], sample.grids[0][2]),
                                .prompt_tokens = sample.prompt,
                                .decode_rows = s->answers,
                                .decode_groups = 1,
                                .decode_tokens = s->session.max_tokens};
    TR_TRY(tr_session_network(session, &limits, err));
    session->sampling.banned = source->banned;
    TR_TRY(tr_features_get(session->evaluator.features, session->evaluator.network, &session->model->config, source,
                           &sample, 0, &features, NULL, NULL, err));
    TR_TRY(tr_rollout_create(session->evaluator.network, &limits, session->model, 1, s->answers,
                             s->session.max_tokens, &rollout, err));
    tr_rollout_prompt prompt = {.prompt = {.prompt_ids = sample.prompt_ids,
                                           .positions = sample.positions,
                                           .prompt = sample.prompt,
                                           .features = features,
                                           .visual_tokens = sample.visual_tokens}};
    TR_TRY(tr_rollout_run(rollout, &prompt, 1, s->answers, &session->sampling, (uint64_t)s->session.seed, 0, &group,
                          NULL, NULL, NULL, err));
    for (int64_t i = 0, at = 0; i < s->answers; at += group.lengths[i], i++) {
        TR_TRY(print_answer(s, source, &sample, &group, i, at, err));
    }
done:
    tr_rollout_free(rollout);
    tr_sample_clear(&sample);
    return status;
}

/* What the words alone show to be wrong, before a model of gigabytes is read; -1 when nothing is. */
static int check_words(const settings *s, const char *query)
{
    tr_error err = {0};
    tr_task task;
    if (tr_task_from_name(s->task, &task, &err)) {
        return tr_cli_usage(&tr_command_ask, "--task: %s", err.message);
    }
    if (!query[strspn(query, " \t\r\n")]) {
        return tr_cli_usage(&tr_command_ask, "the QUERY is empty");
    }
    bool choice = task == TR_TASK_QA || task == TR_TASK_GVQA;
    if (choice && s->options.count < 2) {
        return tr_cli_usage(&tr_command_ask, "--task %s needs the answer options: --option TEXT, once for each",
                            s->task);
    }
    if (!choice && s->options.count) {
        return tr_cli_usage(&tr_command_ask, "--option goes with --task qa or gvqa, not with %s", s->task);
    }
    return -1;
}

static int run(int argc, char **argv)
{
    const tr_command *self = &tr_command_ask;
    settings s = {.task = "tg", .prompt = "no-think", .scheme = "tempr1", .answers = 1};
    tr_session_defaults(&s.session);
    const tr_option options[] = {
        {"task", TR_OPTION_TEXT, &s.task, "TASK", "tg, dtg, vhd, gvqa, tal or qa. Default tg.", 0, 0, false},
        {"option", TR_OPTION_LIST, &s.options, "TEXT", "One answer option of qa or gvqa; give it once for each.", 0,
         0, false},
        {"prompt", TR_OPTION_TEXT, &s.prompt, "NAME",
         "Prompt set: think, no-think, ... or a YAML file. Default no-think.", 0, 0, false},
        {"scheme", TR_OPTION_TEXT, &s.scheme, "NAME", "Whose answer form is read. Default tempr1.", 0, 0, false},
        {"n", TR_OPTION_INT, &s.answers, "N", "Answers (-n N works too). Default 1.", 1, 4096, false},
        TR_SESSION_OPTIONS(s.session),
        {0},
    };
    char **arguments;
    int count, exit_status = tr_cli_parse(self, options, argc, argv, 2, 2, &arguments, &count);
    exit_status = exit_status >= 0 ? exit_status : check_words(&s, arguments[1]);
    if (exit_status >= 0) {
        return exit_status;
    }
    tr_error err = {0};
    tr_session session = {0};
    tr_source *source = NULL;
    tr_data_entry entry = {.rows = "", .videos = "", .weight = 1, .reward = s.scheme, .prompt = s.prompt};
    json_t *row = make_row(&s, arguments[0], arguments[1]);
    tr_status status;
    if (!row) {
        status = tr_fail(&err, TR_FORMAT, NULL, "VIDEO, QUERY or an option is not valid UTF-8");
        goto done;
    }
    TR_TRY(tr_session_open(&s.session, &session, &err));
    tr_source_options source_options = tr_session_source(&s.session, &session, &entry);
    TR_TRY(tr_source_open_row(&source_options, row, &source, &err));
    TR_TRY(answer(&s, &session, source, &err));
done:
    json_decref(row);
    tr_source_free(source);
    tr_session_close(&session);
    return status ? tr_cli_fail(self, &err) : TR_EXIT_DONE;
}
