/* score.c: `tempr1 score`: the log-probabilities of given responses under a model. */
#include "cli/session.h"

#include "base/file.h"
#include "base/progress.h"
#include "eval/score.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int run(int argc, char **argv);

const tr_command tr_command_score = {
    .name = "score",
    .arguments = "--model DIR --input ROWS [options]",
    .summary = "log-probabilities of given responses",
    .text =
        "Reads rows (JSON Lines; \"-\" is standard input) and prints one object per response, in order:\n"
        "  in   {\"video\": FILE, \"prompt\": TEXT, \"response\": TEXT}\n"
        "       \"messages\": [{\"role\", \"content\"}, ...] or a corpus row's fields (\"task\", \"query\", ...) "
        "instead\n"
        "       of \"prompt\"; \"responses\": [TEXT, ...] or \"response_ids\": [ids] instead of \"response\"; "
        "\"clip\":\n"
        "       [start, end] for a part of the video; no \"video\" for text alone; an \"id\" is repeated\n"
        "  out  {\"ids\": [..], \"logprobs\": [..], \"sum\": x}    natural logarithms; sum is the whole "
        "response's\n"
        "All responses of a row are computed together, by the forward that training uses: the log-probabilities "
        "that\n"
        "`ask --json` recorded while sampling come out again, bit for bit. A text is scored as it stands, without "
        "an\n"
        "end token unless --end-token is given. The first bad row ends the run and is named with its line.\n\n"
        "  echo '{\"video\": \"clip.mp4\", \"prompt\": \"When does the door open?\", \"response\": \"2 to 5\"}' |\n"
        "      tempr1 score --model Qwen2.5-VL-3B-Instruct --input -\n",
    .run = run,
};

typedef struct settings {
    tr_session_settings session;
    const char *input, *videos, *prompt;
    double temperature;
    bool special, end_token, entropy, keep_going;
} settings;

typedef struct totals {
    int64_t rows, responses, tokens, failed;
    double sum;
} totals;

static tr_status print_results(const json_t *results, totals *t, tr_error *err)
{
    size_t i;
    json_t *one;
    json_array_foreach(results, i, one)
    {
        tr_status status = tr_cli_print_json(one, err);
        if (status) {
            return status;
        }
        t->responses++;
        t->tokens += (int64_t)json_array_size(json_object_get(one, "ids"));
        t->sum += json_number_value(json_object_get(one, "sum"));
    }
    if (fflush(stdout)) { /* a row in, its lines out: another program may be waiting for them */
        return tr_fail(err, TR_IO, NULL, "standard output could not be written: %s", strerror(errno));
    }
    return TR_OK;
}

/* A row that failed, with --keep-going: said on stderr, and a line in its place. */
static tr_status print_failure(const json_t *row, const tr_error *why, tr_error *err)
{
    tr_cli_fail(&tr_command_score, why);
    json_t *bad = json_pack("{s:n, s:n, s:n, s:s}", "ids", "logprobs", "sum", "error", why->message);
    if (bad && json_object_get(row, "id")) {
        json_object_set(bad, "id", json_object_get(row, "id"));
    }
    tr_status status = bad ? tr_cli_print_json(bad, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    json_decref(bad);
    return status;
}

static tr_status score_line(const settings *s, tr_scorer *scorer, const tr_buffer *line, long number, totals *t,
                            tr_error *err)
{
    char where[512];
    json_t *row = NULL, *results = NULL;
    tr_error why = {0};
    const char *name = strcmp(s->input, "-") ? s->input : "stdin";
    snprintf(where, sizeof where, "%s:%ld", name, number);
    tr_status status = tr_json_parse(tr_buffer_text(line), line->length, name, number - 1, &row, &why);
    status = status ? status : tr_scorer_row(scorer, row, where, &results, &why);
    if (!status) {
        status = print_results(results, t, err);
    } else if (s->keep_going && status != TR_MEMORY && status != TR_NUMERIC) {
        t->failed++;
        status = print_failure(row, &why, err);
    } else if (err) {
        *err = why;
    }
    json_decref(row);
    json_decref(results);
    return status;
}

static tr_status score_all(const settings *s, tr_scorer *scorer, FILE *input, totals *t, tr_error *err)
{
    tr_buffer line = {0};
    tr_progress bar;
    long number = 0;
    tr_status status;
    tr_progress_begin(&bar, "scoring", 0);
    for (;;) {
        bool got = false;
        number++;
        status = tr_file_read_line(input, 64u << 20, &line, &got, err);
        if (status || !got) {
            status = status ? tr_fail_where(err, status, "%s:%ld", s->input, number) : TR_OK;
            break;
        }
        if (strspn(tr_buffer_text(&line), " \t\r") == line.length) {
            continue;
        }
        status = score_line(s, scorer, &line, number, t, err);
        if (status) {
            break;
        }
        tr_progress_update(&bar, ++t->rows, NULL);
    }
    tr_progress_end(&bar, NULL);
    tr_buffer_free(&line);
    if (!status && !t->rows) {
        status = tr_fail(err, TR_FORMAT, s->input, "holds no rows");
    }
    return status;
}

static tr_status score(const settings *s, totals *t, tr_error *err)
{
    tr_session session = {0};
    tr_scorer *scorer = NULL;
    bool standard = !strcmp(s->input, "-");
    FILE *input = standard ? stdin : fopen(s->input, "rb");
    tr_status status;
    if (!input) {
        return tr_fail(err, errno == ENOENT ? TR_NOT_FOUND : TR_IO, s->input, "cannot open the rows: %s",
                       strerror(errno));
    }
    TR_TRY(tr_session_open(&s->session, &session, err));
    const tr_source_options source = tr_session_source(&s->session, &session, NULL);
    const tr_scorer_options options = {.model = session.model,
                                       .tokenizer = session.tokenizer,
                                       .videos = s->videos,
                                       .prompt = s->prompt,
                                       .video = source.video,
                                       .temperature = s->temperature,
                                       .special = s->special,
                                       .end_token = s->end_token,
                                       .entropy = s->entropy};
    TR_TRY(tr_scorer_open(&options, &scorer, err));
    TR_TRY(score_all(s, scorer, input, t, err));
done:
    if (!standard) {
        fclose(input);
    }
    tr_scorer_free(scorer);
    tr_session_close(&session);
    return status;
}

static int run(int argc, char **argv)
{
    const tr_command *self = &tr_command_score;
    settings s = {.videos = "", .prompt = "no-think", .temperature = 1};
    tr_session_defaults(&s.session);
    const tr_option options[] = {
        {"input", TR_OPTION_TEXT, &s.input, "ROWS", "The rows (JSON Lines); - is standard input.", 0, 0, true},
        {"videos", TR_OPTION_TEXT, &s.videos, "DIR", "Folder of the rows' videos. Default: as the rows say.", 0, 0,
         false},
        {"prompt", TR_OPTION_TEXT, &s.prompt, "NAME",
         "Prompt set for corpus rows: think, no-think, ... or a YAML file. Default no-think.", 0, 0, false},
        {"temperature", TR_OPTION_DOUBLE, &s.temperature, "T",
         "Log-probabilities of softmax(logits / T). Default 1.", 0.01, 100, false},
        {"end-token", TR_OPTION_FLAG, &s.end_token, NULL,
         "The model's end token follows every response that is given as text.", 0, 0, false},
        {"special", TR_OPTION_FLAG, &s.special, NULL, "Special tokens in a response's text become special.", 0, 0,
         false},
        {"entropy", TR_OPTION_FLAG, &s.entropy, NULL, "Also print \"entropies\", in nats, one per token.", 0, 0,
         false},
        {"keep-going", TR_OPTION_FLAG, &s.keep_going, NULL,
         "A bad row gives {\"ids\": null, ..., \"error\"} and a message, and the exit status 1 comes at the end; "
         "without it the first one ends the run.",
         0, 0, false},
        TR_SESSION_MODEL_OPTIONS(s.session),
        {"json", TR_OPTION_FLAG, &s.session.json, NULL,
         "One JSON object per response: the only form there is, so this changes nothing.", 0, 0, false},
        {0},
    };
    char **arguments;
    int count, exit_status = tr_cli_parse(self, options, argc, argv, 0, 0, &arguments, &count);
    if (exit_status >= 0) {
        return exit_status;
    }
    tr_error err = {0};
    totals t = {0};
    if (score(&s, &t, &err)) {
        return tr_cli_fail(self, &err);
    }
    char mean[32] = "n/a";
    if (t.tokens) {
        snprintf(mean, sizeof mean, "%.4f", t.sum / (double)t.tokens);
    }
    fprintf(stderr, "%lld responses, %lld tokens, mean log-probability of a token %s", (long long)t.responses,
            (long long)t.tokens, mean);
    fprintf(stderr, t.failed ? "; %lld rows failed\n" : "\n", (long long)t.failed);
    return t.failed ? TR_EXIT_FAILED : TR_EXIT_DONE;
}
