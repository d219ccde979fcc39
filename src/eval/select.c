/* select.c: K answers a row, judged, one line a row. */
#include "eval/select.h"

#include "base/file.h"
#include "base/memory.h"
#include "eval/answers.h"
#include "eval/lines.h"
#include "eval/prediction.h"
#include "eval/protocol.h"

#include <stdlib.h>
#include <string.h>

typedef struct run {
    tr_source *source;
    const tr_scoring_options *options;
    tr_reader reader;
    tr_lines lines;
    tr_given *given;  /* [answers] */
    tr_score *scores; /* [answers] */
    double mean;      /* sum over answered rows, for the progress bar */
    int64_t rows;
} run;

static const json_t *row_json(const run *r, int64_t row)
{
    return r->source->json ? r->source->json(r->source, row) : NULL;
}

/* ---- one row ---- */

/* What counts as this answer's value in [0, 1]; dtg: the mean over its sentences. */
static double value_of(const json_t *metrics, tr_task task)
{
    const json_t *x = json_object_get(metrics, task == TR_TASK_TAL  ? "mf1"
                                               : task == TR_TASK_QA ? "accuracy"
                                                                    : "miou");
    size_t n = json_array_size(x);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += json_number_value(json_array_get(x, i)) / (double)n;
    }
    return json_is_array(x) ? sum : json_number_value(x);
}

tr_status tr_scoring_line(const json_t *prediction, tr_task task, double duration_s, json_t **line,
                          tr_select_moments *moments, tr_error *err)
{
    size_t k = tr_prediction_count(prediction);
    json_t *rewards = json_array(), *values = json_array(), *right = json_array(), *parsed = json_array(),
           *format = json_array();
    double *numbers = tr_calloc(k, sizeof *numbers);
    for (size_t i = 0; numbers && i < k; i++) {
        const json_t *answer = tr_prediction_answer(prediction, i), *metrics = json_object_get(answer, "metrics");
        numbers[i] = value_of(metrics, task);
        json_array_append(rewards, json_object_get(answer, "reward"));
        json_array_append_new(values, json_real(numbers[i]));
        json_array_append_new(right, json_integer(json_number_value(json_object_get(metrics, "accuracy")) > 0));
        json_array_append_new(parsed, json_boolean(!json_object_get(answer, "error")));
        json_array_append(format, json_object_get(answer, "format"));
    }
    *moments = numbers ? tr_select_moments_of(numbers, k) : (tr_select_moments){0};
    *line = json_pack("{s:O, s:O, s:O, s:f, s:o}", "id", json_object_get(prediction, "id"), "task",
                      json_object_get(prediction, "task"), "row", json_object_get(prediction, "row"), "duration",
                      duration_s, "rewards", rewards);
    int failed = !numbers || !*line;
    if (!failed && task != TR_TASK_QA) {
        failed |= json_object_set(*line, "ious", values);
    }
    if (!failed && (task == TR_TASK_QA || task == TR_TASK_GVQA)) {
        failed |= json_object_set(*line, "right", right);
    }
    if (!failed) {
        failed |= json_object_set(*line, "parsed", parsed) | json_object_set(*line, "format", format) |
                  json_object_set_new(*line, "mean", json_real(moments->mean)) |
                  json_object_set_new(*line, "std", json_real(moments->std)) |
                  json_object_set_new(*line, "best", json_real(moments->best)) |
                  json_object_set_new(*line, "difficulty", json_real(moments->mean));
    }
    json_decref(values);
    json_decref(right);
    json_decref(parsed);
    json_decref(format);
    free(numbers);
    return failed ? tr_fail(err, TR_MEMORY, NULL, "out of memory for the scores of a row") : TR_OK;
}

/* The prediction's line, with all answers of the row in it. */
static tr_status judge(run *r, const tr_answered *one, json_t **prediction, tr_error *err)
{
    int64_t at = 0, k = r->options->answers, read = 0;
    tr_buffer *texts = tr_calloc((size_t)k, sizeof *texts);
    tr_status status = texts ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    for (; texts && !status && read < k; read++) {
        const tr_rollout_group *g = one->group;
        tr_buffer *text = &texts[read];
        status = r->source->call->text(r->source, g->ids + at, g->lengths[read], text, err);
        r->scores[read].tokens = g->lengths[read];
        status = status ? status
                        : r->source->call->score(r->source, one->sample, tr_buffer_text(text), text->length,
                                                 g->stopped[read], &r->scores[read], err);
        r->given[read] =
            (tr_given){tr_buffer_text(text), text->length, g->lengths[read], g->stopped[read], &r->scores[read]};
        at += g->lengths[read];
    }
    status = status ? status : tr_prediction_make(&r->reader, one->sample, r->given, (size_t)k, prediction, err);
    for (int64_t i = 0; texts && i < k; i++) {
        tr_buffer_free(&texts[i]);
        tr_score_clear(&r->scores[i]);
    }
    free(texts);
    return status;
}

static tr_status take(void *context, const tr_answered *one, tr_error *err)
{
    run *r = context;
    json_t *prediction = NULL, *line = NULL;
    tr_select_moments moments;
    tr_task task;
    tr_status status;
    if (one->group) {
        TR_TRY(tr_task_from_name(one->sample->task, &task, err));
        TR_TRY(judge(r, one, &prediction, err));
        TR_TRY(tr_scoring_line(prediction, task, one->sample->duration_s, &line, &moments, err));
        r->mean += moments.mean;
        r->rows++;
    } else {
        TR_TRY(tr_prediction_unanswered(row_json(r, one->row), one->row, one->why, &line, err));
    }
    TR_TRY(tr_lines_add(&r->lines, line, err));
done:
    json_decref(prediction);
    json_decref(line);
    return status;
}

static tr_status flush(void *context, char *note, size_t size, tr_error *err)
{
    run *r = context;
    snprintf(note, size, "mean %.3f", r->rows ? r->mean / (double)r->rows : 0);
    return tr_lines_flush(&r->lines, err);
}

/* ---- continuing ---- */

static tr_status take_line(void *context, int64_t index, const json_t *line, const char *where, tr_error *err)
{
    const run *r = context;
    if (index >= r->source->rows) {
        return tr_fail(err, TR_MISMATCH, where, "there are more scores than the %lld rows",
                       (long long)r->source->rows);
    }
    return tr_prediction_check(line, row_json(r, index), where, "the rows", err);
}

static tr_status hold_against(const char *protocol, const tr_scoring_options *o, tr_error *err)
{
    json_t *old = NULL;
    tr_status status = tr_json_read(protocol, &old, err);
    if (status) {
        return tr_fail_context(err, status, "the scores in %s cannot be continued without their protocol",
                               o->scores);
    }
    status = tr_protocol_hold(old, o->card, o->scores, "scores", "--scores", err);
    json_decref(old);
    return status;
}

static tr_status open_scores(run *r, tr_error *err)
{
    const tr_scoring_options *o = r->options;
    char *protocol = tr_format("%s.protocol.json", o->scores), *folder = tr_path_directory(o->scores);
    bool resume = !o->restart && tr_lines_stand(o->scores);
    tr_status status;
    if (!protocol || !folder) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    TR_TRY(tr_directory_make(folder, err));
    if (resume) {
        TR_TRY(hold_against(protocol, o, err));
    }
    TR_TRY(tr_lines_open(&r->lines, o->scores, resume, take_line, r, err));
    if (!resume) { /* behind the emptied file: a card never stands beside others' scores */
        TR_TRY(tr_json_write(protocol, o->card, err));
    }
done:
    free(protocol);
    free(folder);
    return status;
}

tr_status tr_scoring_run(const tr_evaluator *evaluator, tr_source *source, const tr_scoring_options *options,
                         tr_error *err)
{
    static const tr_answers_calls calls = {take, flush};
    run r = {.source = source, .options = options};
    tr_answers_cost cost;
    tr_status status;
    if (options->answers < 2 || options->sampling.temperature <= 0) {
        return tr_fail(err, TR_INVALID, "--k, --temperature",
                       "a selection compares at least two answers a row, drawn at a temperature above 0");
    }
    r.given = tr_calloc((size_t)options->answers, sizeof *r.given);
    r.scores = tr_calloc((size_t)options->answers, sizeof *r.scores);
    if (!r.given || !r.scores) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    TR_TRY(tr_reader_open(NULL, &r.reader, err));
    TR_TRY(open_scores(&r, err));
    const tr_answers_options how = {.sampling = options->sampling,
                                    .seed = options->seed,
                                    .feature_version = options->feature_version,
                                    .samples = options->answers,
                                    .first = r.lines.count,
                                    .end = source->rows,
                                    .label = "answers for the selection"};
    if (how.first) {
        fprintf(stderr, "%lld of %lld rows are scored already\n", (long long)how.first, (long long)how.end);
    }
    TR_TRY(tr_answers_run(evaluator, source, &how, &calls, &r, &cost, err));
    TR_TRY(tr_lines_finish(&r.lines, err));
done:
    tr_lines_close(&r.lines);
    tr_reader_close(&r.reader);
    free(r.given);
    free(r.scores);
    return status;
}
