/* replay.c: makes a rollout of a run again and holds it against what the run recorded. */
#include "train/replay.h"

#include "base/file.h"
#include "base/memory.h"
#include "train/origin.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what the run recorded ---- */

static bool is_wanted(const json_t *line, const tr_replay_options *o)
{
    const char *row = json_string_value(json_object_get(line, "row"));
    return json_integer_value(json_object_get(line, "step")) == o->step && row && !strcmp(row, o->row) &&
           (o->response < 0 || json_integer_value(json_object_get(line, "response")) == o->response);
}

/* Says which rows and responses there are instead. */
static tr_status nothing(const tr_replay_options *o, const char *path, int64_t last, const tr_buffer *rows,
                         tr_error *err)
{
    if (!last) {
        return tr_fail(err, TR_NOT_FOUND, path, "the run has recorded no rollouts yet");
    }
    if (!rows->length) {
        return tr_fail(err, TR_NOT_FOUND, path, "no rollout of step %lld is recorded: the last step is %lld",
                       (long long)o->step, (long long)last);
    }
    return tr_fail(err, TR_NOT_FOUND, path, "step %lld has no rollout of row '%s'%s; it has (row/response): %s",
                   (long long)o->step, o->row, o->response < 0 ? "" : " with that response number",
                   tr_buffer_text((tr_buffer *)(uintptr_t)rows));
}

/* The lines of rollouts.jsonl that are asked for. */
static tr_status read_recorded(const char *run, const tr_replay_options *o, json_t *found, tr_error *err)
{
    char *path = tr_path_join(run, "rollouts.jsonl");
    FILE *f = path ? fopen(path, "r") : NULL;
    tr_buffer line = {0}, rows = {0};
    int64_t last = 0;
    bool got = false;
    tr_status status = f      ? TR_OK
                       : path ? tr_fail(err, TR_NOT_FOUND, path,
                                        "there is no rollouts.jsonl: give the folder of a GRPO run or stage")
                              : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    while (!status && !(status = tr_file_read_line(f, 0, &line, &got, err)) && got) {
        json_t *object = NULL;
        if (tr_json_parse(tr_buffer_text(&line), line.length, path, 0, &object, NULL)) {
            break; /* the line that is being written */
        }
        last = json_integer_value(json_object_get(object, "step"));
        if (is_wanted(object, o)) {
            json_array_append(found, object);
        } else if (last == o->step && rows.length < 400) {
            tr_buffer_printf(&rows, NULL, "%s%s/%lld", rows.length ? ", " : "",
                             json_string_value(json_object_get(object, "row")),
                             (long long)json_integer_value(json_object_get(object, "response")));
        }
        json_decref(object);
        if (last > o->step) {
            break;
        }
    }
    if (!status && !json_array_size(found)) {
        status = nothing(o, path, last, &rows, err);
    }
    if (f) {
        fclose(f);
    }
    tr_buffer_free(&line);
    tr_buffer_free(&rows);
    free(path);
    return status;
}

/* ---- comparing ---- */

static void add_text(json_t *list, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_text(json_t *list, const char *format, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    json_array_append_new(list, json_string(text));
}

/* 17 digits give back the same double; of two zeros the sign counts. */
static bool is_same_number(const json_t *a, const json_t *b)
{
    double x = json_number_value(a), y = json_number_value(b);
    return json_typeof(a) == json_typeof(b) && x == y && signbit(x) == signbit(y);
}

/* The first place where two lists differ is said. */
static void compare_lists(const char *what, const json_t *a, const json_t *b, json_t *differences)
{
    size_t n = json_array_size(a), m = json_array_size(b);
    for (size_t i = 0; i < n && i < m; i++) {
        const json_t *x = json_array_get(a, i), *y = json_array_get(b, i);
        if (!is_same_number(x, y)) {
            add_text(differences, "%s of token %zu: recorded %.17g, replayed %.17g", what, i, json_number_value(x),
                     json_number_value(y));
            return;
        }
    }
    if (n != m) {
        add_text(differences, "%s: %zu tokens recorded, %zu replayed", what, n, m);
    }
}

/* What the two lines of one response differ in; an empty list: nothing. */
static json_t *compare(const json_t *recorded, const json_t *replayed)
{
    static const char *const others[] = {"text",   "finish", "reward",    "parts",
                                         "parsed", "error",  "advantage", "watch"};
    json_t *list = json_array();
    compare_lists("id", json_object_get(recorded, "ids"), json_object_get(replayed, "ids"), list);
    compare_lists("log-prob", json_object_get(recorded, "logprobs"), json_object_get(replayed, "logprobs"), list);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const json_t *a = json_object_get(recorded, others[i]), *b = json_object_get(replayed, others[i]);
        if (a != b && !json_equal(a, b)) { /* both may be absent */
            add_text(list, "%s differs", others[i]);
        }
    }
    return list;
}

/* Lines of the replayed step; each recorded one is found by its row and response. */
static tr_status compare_all(const json_t *recorded, char *text, json_t *result, tr_error *err)
{
    json_t *replayed = json_array(), *responses = json_array(), *a, *b;
    bool all_same = true;
    size_t i, k;
    tr_status status = TR_OK;
    for (char *line = text, *end; line && (end = strchr(line, '\n')); line = end + 1) {
        json_t *object;
        TR_TRY(tr_json_parse(line, (size_t)(end - line), "the replayed step", 0, &object, err));
        json_array_append_new(replayed, object);
    }
    json_array_foreach(recorded, i, a)
    {
        json_t *match = NULL, *differences;
        json_array_foreach(replayed, k, b)
        {
            bool same_place = json_equal(json_object_get(a, "row"), json_object_get(b, "row")) &&
                              json_equal(json_object_get(a, "response"), json_object_get(b, "response"));
            match = same_place ? b : match;
        }
        differences = match ? compare(a, match) : json_pack("[s]", "the replayed step has no such response");
        bool same = !json_array_size(differences);
        all_same = all_same && same;
        json_array_append_new(responses,
                              json_pack("{s:O, s:b, s:o, s:O?}", "response", json_object_get(a, "response"), "same",
                                        same, "differences", differences, "replayed", match));
    }
    json_object_set_new(result, "same", json_boolean(all_same));
    json_object_set(result, "responses", responses);
done:
    json_decref(replayed);
    json_decref(responses);
    return status;
}

/* ---- the run again ---- */

/* Nothing is written below the run: no cache, and what is offloaded goes to the folder for temporary files. */
static tr_status read_config(const char *run, tr_config_set *set, tr_error *err)
{
    char *path = tr_path_join(run, "config.yaml");
    const char *temporary = getenv("TMPDIR");
    tr_status status;
    if (!path) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    if (!tr_file_exists(path)) {
        free(path);
        return tr_fail(
            err, TR_NOT_FOUND, run,
            "there is no config.yaml here: give a run's folder; of a run with stages the folder of one of "
            "them, such as %s/2-grpo",
            run);
    }
    TR_TRY(tr_config_read(path, NULL, 0, set, err));
    tr_config *c = &set->stages[0];
    if (c->algorithm != TR_ALGORITHM_GRPO) {
        status = tr_fail(err, TR_INVALID, run, "this run is supervised (algorithm: sft): it has no rollouts");
        goto done;
    }
    free(c->video.cache);
    c->video.cache = NULL;
    free(c->out);
    c->out = tr_strdup(temporary && temporary[0] ? temporary : "/tmp");
    status = c->out ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
done:
    free(path);
    return status;
}

/* The weights before the step: *from is the checkpoint, or the start's folder. */
static tr_status restore(tr_trainer *t, const char *run, int64_t step, char **from)
{
    char *newest = NULL;
    int64_t at;
    tr_error why = {0};
    tr_status status;
    TR_TRY(tr_config_to_json(t->config, &t->resolved, t->err));
    TR_TRY(tr_origin_read(t->config, t->model_dir, &t->saving.origin, t->err));
    status = tr_checkpoint_newest(run, step - 1, from, &at, &why);
    if (!status) {
        status = tr_trainer_restore(t, *from);
    } else if (status == TR_NOT_FOUND) {
        status = (*from = tr_strdup(t->model_dir)) ? TR_OK : tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
        if (!status && !tr_train_newest_checkpoint(run, &newest, &at, NULL)) {
            status = tr_trainer_check_start(t, newest); /* a later checkpoint knows what the start was */
        }
    } else {
        tr_fail(t->err, status, why.where, "%s", why.message);
    }
    if (status == TR_MISMATCH) { /* there is nothing to accept here: what is replayed is what was recorded */
        tr_fail(t->err, status, *from ? *from : run,
                "config.yaml or the files it names are not what this was made with (see above): undo the change; "
                "where a "
                "resume accepted it, only steps behind a later checkpoint can be made again");
    }
done:
    free(newest);
    return status;
}

/* Trains up to the step; *text (free() frees it) is what it logs of its rollouts. */
static tr_status go(tr_trainer *t, int64_t step, char **text)
{
    tr_progress bar;
    size_t size = 0;
    tr_status status = TR_OK;
    int64_t first = t->step;
    tr_progress_begin(&bar, "replay", step - first);
    while (!status && t->step < step) {
        tr_step_report report = {0};
        if (t->step == step - 1 && !(t->rollouts = open_memstream(text, &size))) {
            return tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
        }
        status = tr_trainer_step(t, &report);
        tr_progress_update(&bar, t->step - first, NULL);
    }
    tr_progress_end(&bar, NULL);
    if (t->rollouts) {
        fclose(t->rollouts);
        t->rollouts = NULL;
    }
    return status;
}

tr_status tr_train_replay(const char *run, const tr_replay_options *o, json_t **result, tr_error *err)
{
    tr_config_set set = {0};
    tr_trainer t;
    tr_train_options options = {.quiet = true, .open_source = o->open_source, .open_context = o->open_context};
    char *from = NULL, *text = NULL;
    json_t *recorded = json_array();
    tr_status status;
    *result = json_object();
    memset(&t, 0, sizeof t);
    t.lock = -1;
    TR_TRY(read_config(run, &set, err));
    TR_TRY(read_recorded(run, o, recorded, err));
    options.open_context = o->open_context ? o->open_context : set.stages[0].model;
    TR_TRY(tr_trainer_create(&t, &set.stages[0], set.stages[0].model, &options, err));
    TR_TRY(restore(&t, run, o->step, &from));
    json_object_set_new(*result, "step", json_integer(o->step));
    json_object_set_new(*result, "row", json_string(o->row));
    json_object_set_new(*result, "from", json_string(from));
    json_object_set_new(*result, "from_step", json_integer(t.step));
    json_object_set_new(*result, "trained_steps", json_integer(o->step - 1 - t.step));
    TR_TRY(go(&t, o->step, &text));
    TR_TRY(compare_all(recorded, text, *result, err));
done:
    if (status) {
        json_decref(*result);
        *result = NULL;
    }
    tr_trainer_free(&t);
    tr_config_set_free(&set);
    json_decref(recorded);
    free(from);
    free(text);
    return status;
}
