/* eval.c: from a source to predictions.jsonl and metrics.json; continuing after a kill. */
#include "eval/eval.h"

#include "base/file.h"
#include "base/memory.h"
#include "eval/answers.h"
#include "eval/lines.h"
#include "eval/measure.h"
#include "eval/prediction.h"
#include "eval/protocol.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct run {
    const tr_evaluator *evaluator;
    tr_source *source;
    const tr_eval_options *options;
    int64_t samples, rows;
    tr_reader reader;
    tr_measure *measure;
    tr_given *given;  /* [samples] */
    tr_score *scores; /* [samples] */
    tr_buffer *texts; /* [samples] */
    tr_lines lines;   /* when there is an `out` */
    json_t *card;
} run;

static const json_t *row_json(const run *r, int64_t row)
{
    return r->source->json ? r->source->json(r->source, row) : NULL;
}

/* ---- taking answers ---- */

static tr_status read_answers(run *r, const tr_answered *one, tr_error *err)
{
    const tr_rollout_group *group = one->group;
    int64_t at = 0;
    tr_status status = TR_OK;
    for (int64_t i = 0; !status && i < r->samples; i++) {
        tr_buffer *text = &r->texts[i];
        tr_buffer_clear(text);
        status = r->source->call->text(r->source, group->ids + at, group->lengths[i], text, err);
        at += group->lengths[i];
        r->scores[i].tokens = group->lengths[i];
        status = status ? status
                        : r->source->call->score(r->source, one->sample, tr_buffer_text(text), text->length,
                                                 group->stopped[i], &r->scores[i], err);
        r->given[i] =
            (tr_given){tr_buffer_text(text), text->length, group->lengths[i], group->stopped[i], &r->scores[i]};
    }
    return status;
}

static tr_status take(void *context, const tr_answered *one, tr_error *err)
{
    run *r = context;
    const json_t *row = row_json(r, one->row);
    json_t *line = NULL;
    tr_status status;
    if (one->group) {
        TR_TRY(read_answers(r, one, err));
        TR_TRY(tr_prediction_make(&r->reader, one->sample, r->given, (size_t)r->samples, &line, err));
    } else {
        TR_TRY(tr_prediction_unanswered(row, one->row, one->why, &line, err));
    }
    TR_TRY(tr_measure_add(r->measure, line,
                          row           ? row
                          : one->sample ? one->sample->truth
                                        : NULL,
                          "prediction", err));
    if (r->lines.stream) {
        TR_TRY(tr_lines_add(&r->lines, line, err));
    }
done:
    for (int64_t i = 0; i < r->samples; i++) {
        tr_score_clear(&r->scores[i]);
    }
    json_decref(line);
    return status;
}

static tr_status flush(void *context, char *note, size_t size, tr_error *err)
{
    run *r = context;
    snprintf(note, size, "mean reward %.3f", tr_measure_reward(r->measure));
    return r->lines.stream ? tr_lines_flush(&r->lines, err) : TR_OK;
}

/* ---- what is there already ---- */

static tr_status take_line(void *context, int64_t index, const json_t *line, const char *where, tr_error *err)
{
    run *r = context;
    if (index >= r->rows) {
        return tr_fail(err, TR_MISMATCH, where, "there are more predictions than the %lld rows to answer",
                       (long long)r->rows);
    }
    const json_t *row = row_json(r, index);
    tr_status status = tr_prediction_check(line, row, where, "the data", err);
    return status ? status : tr_measure_add(r->measure, line, row, where, err);
}

/* Holds the card of the answers that are there against this one. */
static tr_status settle_protocol(run *r, const char *path, tr_error *err)
{
    json_t *old = NULL;
    tr_status status;
    if (!tr_file_exists(path)) {
        return tr_fail(err, TR_MISMATCH, r->options->out,
                       "holds predictions.jsonl without the protocol.json that it was made with, so it cannot be "
                       "continued; give another --out, or --restart to begin anew");
    }
    TR_TRY(tr_json_read(path, &old, err));
    TR_TRY(tr_protocol_hold(old, r->card, r->options->out, "a result", "--out", err));
    json_decref(r->card); /* the first process's: the same bytes, wherever it is continued */
    r->card = old;
    old = NULL;
done:
    json_decref(old);
    return status;
}

static tr_status open_out(run *r, tr_error *err)
{
    char *predictions = tr_path_join(r->options->out, "predictions.jsonl");
    char *protocol = tr_path_join(r->options->out, "protocol.json");
    char *metrics = tr_path_join(r->options->out, "metrics.json");
    tr_status status;
    if (!predictions || !protocol || !metrics) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    TR_TRY(tr_directory_make(r->options->out, err));
    bool resume = r->options->resume && tr_lines_stand(predictions);
    if (resume) {
        TR_TRY(settle_protocol(r, protocol, err));
    }
    TR_TRY(tr_lines_open(&r->lines, predictions, resume, take_line, r, err));
    if (!resume) { /* behind the emptied predictions: a card never stands beside others' answers */
        TR_TRY(tr_json_write(protocol, r->card, err));
    }
    if (r->lines.count < r->rows) {
        unlink(metrics); /* of other predictions */
    }
done:
    free(predictions);
    free(protocol);
    free(metrics);
    return status;
}

/* ---- the run ---- */

/* What produced these numbers: what is known here, then what the caller knows. */
static tr_status make_card(run *r, tr_error *err)
{
    const tr_sampling *s = &r->options->sampling;
    r->card = json_pack("{s:s, s:I, s:{s:f, s:f, s:I, s:f, s:I, s:I, s:I}, s:s, s:s, s:s}", "program",
                        "tempr1 " TEMPR1_VERSION, "rows", (json_int_t)r->rows, "sampling", "temperature",
                        s->temperature, "top_p", s->top_p, "top_k", (json_int_t)s->top_k, "min_p", s->min_p,
                        "max_tokens", (json_int_t)s->max_tokens, "seed", (json_int_t)r->options->seed, "samples",
                        (json_int_t)r->samples, "parser", tr_reader_name(&r->reader), "kernels",
                        r->evaluator->model->ops->name, "dtype", tr_dtype_name(r->evaluator->model->dtype));
    if (!r->card || (r->options->card && json_object_update(r->card, (json_t *)(uintptr_t)r->options->card))) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for the protocol card");
    }
    return TR_OK;
}

static tr_status start(run *r, tr_error *err)
{
    size_t n = (size_t)r->samples;
    tr_status status;
    r->given = tr_calloc(n, sizeof *r->given);
    r->scores = tr_calloc(n, sizeof *r->scores);
    r->texts = tr_calloc(n, sizeof *r->texts);
    if (!r->given || !r->scores || !r->texts) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    if (r->samples > 1 && r->options->sampling.temperature <= 0) {
        return tr_fail(err, TR_INVALID, "--samples",
                       "%lld answers a row need --temperature above 0: greedy answers are all the same",
                       (long long)r->samples);
    }
    TR_TRY(tr_reader_open(r->options->parser, &r->reader, err));
    TR_TRY(tr_measure_create(&r->measure, err));
    TR_TRY(make_card(r, err));
    if (r->options->out) {
        TR_TRY(open_out(r, err));
    }
done:
    return status;
}

static tr_status write_timing(const run *r, const tr_answers_cost *cost, tr_error *err)
{
    char *path = tr_path_join(r->options->out, "timing.json");
    json_t *timing =
        json_pack("{s:f, s:I, s:I, s:I}", "seconds", cost->seconds, "rows", (json_int_t)cost->rows, "rows_before",
                  (json_int_t)(r->rows - cost->rows), "tokens", (json_int_t)cost->tokens);
    tr_status status =
        path && timing ? tr_json_write(path, timing, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    json_decref(timing);
    free(path);
    return status;
}

static tr_status finish(run *r, const tr_answers_cost *cost, json_t **metrics, tr_error *err)
{
    char *path = r->options->out ? tr_path_join(r->options->out, "metrics.json") : NULL;
    tr_status status;
    TR_TRY(tr_measure_metrics(r->measure, metrics, err));
    if (json_object_set(*metrics, "protocol", r->card) || (r->options->out && !path)) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory for the metrics");
        goto done;
    }
    if (path) {
        TR_TRY(tr_lines_finish(&r->lines, err));
        if (cost->rows) {
            TR_TRY(write_timing(r, cost, err));
        }
        TR_TRY(tr_json_write(path, *metrics, err));
    }
done:
    free(path);
    return status;
}

static tr_status answer_all(run *r, tr_answers_cost *cost, tr_error *err)
{
    static const tr_answers_calls calls = {take, flush};
    const tr_answers_options options = {.sampling = r->options->sampling,
                                        .seed = r->options->seed,
                                        .feature_version = r->options->feature_version,
                                        .samples = r->samples,
                                        .first = r->lines.stream ? r->lines.count : 0,
                                        .end = r->rows,
                                        .label = r->options->label ? r->options->label : "evaluation"};
    if (options.first) {
        fprintf(stderr, "%s: %lld of %lld rows are answered already\n", options.label, (long long)options.first,
                (long long)options.end);
    }
    return tr_answers_run(r->evaluator, r->source, &options, &calls, r, cost, err);
}

tr_status tr_eval_run(const tr_evaluator *evaluator, tr_source *source, const tr_eval_options *options,
                      json_t **metrics, tr_error *err)
{
    run r = {.evaluator = evaluator,
             .source = source,
             .options = options,
             .samples = options->samples > 1 ? options->samples : 1,
             .rows = source->rows};
    tr_answers_cost cost;
    *metrics = NULL;
    tr_status status;
    if (options->first_rows > 0 && options->first_rows < r.rows) {
        r.rows = options->first_rows;
    }
    TR_TRY(start(&r, err));
    TR_TRY(answer_all(&r, &cost, err));
    TR_TRY(finish(&r, &cost, metrics, err));
done:
    if (status) {
        json_decref(*metrics);
        *metrics = NULL;
    }
    for (int64_t i = 0; r.texts && i < r.samples; i++) {
        tr_buffer_free(&r.texts[i]);
    }
    free(r.given);
    free(r.scores);
    free(r.texts);
    tr_lines_close(&r.lines);
    json_decref(r.card);
    tr_measure_free(r.measure);
    tr_reader_close(&r.reader);
    return status;
}

void tr_eval_limits(const tr_source *source, int64_t groups, int64_t responses, int64_t max_tokens,
                    tr_network_limits *limits)
{
    *limits = (tr_network_limits){.patches = source->limits.patches,
                                  .largest_grid = source->limits.largest_grid,
                                  .prompt_tokens = source->limits.prompt_tokens,
                                  .responses = 0,
                                  .decode_rows = groups * responses,
                                  .decode_groups = groups,
                                  .decode_tokens = max_tokens};
}
