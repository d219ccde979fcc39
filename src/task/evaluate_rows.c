/* evaluate_rows.c: corpus rows against predictions by id, or by video and query, or by order. */
#include "task/evaluate.h"
#include "task/row.h"

#include <stdio.h>
#include <stdlib.h>

static const char *text_of(const json_t *row, const char *const *keys, char number[32])
{
    for (; *keys; keys++) {
        const json_t *x = json_object_get(row, *keys);
        if (json_is_string(x)) {
            return json_string_value(x);
        }
        if (json_is_integer(x)) {
            snprintf(number, 32, "%lld", (long long)json_integer_value(x));
            return number;
        }
    }
    return NULL;
}

static const char *const id_keys[] = {"id", "qid", "doc_id", "idx", "index", "question_id", NULL};
static const char *const video_keys[] = {"video", "vid", "video_id", "video_path", NULL};
static const char *const query_keys[] = {"query", "question", "caption", "sentence", "action", "problem", NULL};
static const char *const answer_keys[] = {"response", "prediction", "pred", "output",
                                          "answer",   "text",       "resp", NULL};

/* "id", or "video / query"; free() frees it; NULL when the row has neither. */
static char *row_key(const json_t *row)
{
    char a[32], b[32];
    const char *id = text_of(row, id_keys, a);
    if (id) {
        return tr_strdup(id);
    }
    const char *video = text_of(row, video_keys, a), *query = text_of(row, query_keys, b);
    return video && query ? tr_format("%s / %s", video, query) : NULL;
}

/* key -> index of the truth. Truths without an id may repeat (Charades-STA does): the later ones are "key #2", ...
 */
static tr_status index_truths(const json_t *truth, json_t *index, bool *keyed, tr_error *err)
{
    size_t i;
    json_t *row;
    *keyed = true;
    json_array_foreach((json_t *)truth, i, row)
    {
        char *key = row_key(row), number[32];
        if (!key) {
            *keyed = false;
            return TR_OK;
        }
        bool by_id = text_of(row, id_keys, number) != NULL;
        for (int again = 2; json_object_get(index, key); again++) {
            if (by_id) {
                tr_status status = tr_fail(err, TR_FORMAT, NULL, "the truth holds the id '%s' twice", key);
                free(key);
                return status;
            }
            char *plain = row_key(row), *next = plain ? tr_format("%s #%d", plain, again) : NULL;
            free(plain);
            free(key);
            key = next;
            if (!key) {
                return tr_fail(err, TR_MEMORY, NULL, "out of memory");
            }
        }
        json_object_set_new(index, key, json_integer((json_int_t)i));
        free(key);
    }
    return TR_OK;
}

/* Puts every prediction at its truth: chosen[truth] is the prediction or NULL. */
static tr_status pair_up(tr_evaluation *e, const json_t *pred, const json_t *truth, const json_t **chosen,
                         tr_error *err)
{
    json_t *index = json_object(), *row;
    bool keyed;
    size_t i;
    tr_status status = index_truths(truth, index, &keyed, err);
    char *probe = row_key(json_array_get(pred, 0));
    if (!status && (!keyed || !probe)) {
        if (json_array_size(pred) != json_array_size(truth)) {
            status = tr_fail(err, TR_MISMATCH, e->options->pred_name,
                             "predictions and truths have no ids in common, and are not as many: %zu and %zu",
                             json_array_size(pred), json_array_size(truth));
        }
        for (i = 0; i < json_array_size(pred) && !status; i++) {
            chosen[i] = json_array_get(pred, i);
        }
        goto done;
    }
    json_array_foreach((json_t *)pred, i, row)
    {
        char *key = status ? NULL : row_key(row);
        if (!key) {
            status = status ? status
                            : tr_fail(err, TR_FORMAT, e->options->pred_name,
                                      "prediction %zu has no id, and no video and query either", i + 1);
            break;
        }
        const json_t *at = json_object_get(index, key);
        size_t to = (size_t)json_integer_value(at);
        for (int again = 2; at && chosen[to]; again++) { /* a repeated video and query: the next one of them */
            char *next = tr_format("%s #%d", key, again);
            const json_t *other = next ? json_object_get(index, next) : NULL;
            free(next);
            if (!other) {
                break;
            }
            at = other;
            to = (size_t)json_integer_value(at);
        }
        if (!at) {
            e->unknown++;
            tr_evaluation_name(e->unknown_ids, key);
        } else if (chosen[to]) {
            e->duplicates++;
            tr_evaluation_name(e->duplicate_ids, key);
        } else {
            chosen[to] = row;
        }
        free(key);
    }
done:
    free(probe);
    json_decref(index);
    return status;
}

/* [[s, e], ...] of a prediction that brings intervals instead of text. */
static bool given_segments(tr_evaluation *e, const json_t *list, size_t *count)
{
    if (json_is_object(list)) {
        list = json_object_get(list, "segments");
    }
    if (!json_is_array(list)) {
        return false;
    }
    *count = 0;
    bool one = json_array_size(list) == 2 && json_is_number(json_array_get(list, 0));
    size_t n = one ? 1 : json_array_size(list);
    for (size_t i = 0; i < n && i < TR_ANSWER_INTERVALS; i++) {
        const json_t *pair = one ? list : json_array_get(list, i);
        if (!json_is_number(json_array_get(pair, 0)) || !json_is_number(json_array_get(pair, 1))) {
            return false;
        }
        e->intervals[(*count)++] =
            (tr_interval){json_number_value(json_array_get(pair, 0)), json_number_value(json_array_get(pair, 1))};
    }
    return true;
}

static void count_subtask(tr_evaluation *e, const json_t *row, bool right)
{
    static const char *const keys[] = {"subtask", "sub_task", "category", "dimension", "task_type", "type", NULL};
    char number[32];
    const char *name = text_of(row, keys, number);
    if (name) {
        json_t *pair = json_object_get(e->subtasks, name);
        if (!pair) {
            pair = json_pack("[i,i]", 0, 0);
            json_object_set_new(e->subtasks, name, pair);
        }
        json_array_set_new(pair, 0, json_integer(json_integer_value(json_array_get(pair, 0)) + right));
        json_array_set_new(pair, 1, json_integer(json_integer_value(json_array_get(pair, 1)) + 1));
    }
}

static bool understand(tr_evaluation *e, tr_task task, const json_t *pred, const tr_truth *truth, size_t *count,
                       char *option)
{
    const json_t *segments = json_object_get(pred, "segments");
    char number[32];
    const char *response = json_string_value(json_object_get(pred, "response")), *text = response;
    *count = 0;
    *option = 0;
    segments = segments || response ? segments : json_object_get(pred, "parsed");
    if (!response && segments && given_segments(e, segments, count)) {
        const char *letter = json_string_value(json_object_get(pred, "answer"));
        const char *inner = json_string_value(json_object_get(segments, "option"));
        letter = letter ? letter : inner;
        if (letter) {
            *option =
                tr_answer_option((tr_span){letter, letter + strlen(letter)}, truth->options, truth->option_count);
        }
        return task != TR_TASK_GVQA || *option;
    }
    text = text ? text : text_of(pred, answer_keys, number);
    const json_t *list = json_object_get(pred, "filtered_resps");
    text = text ? text : json_string_value(json_array_get(list, 0));
    return text && tr_evaluation_parse(e, task, text, strlen(text), truth, count, option);
}

static tr_status add_row(tr_evaluation *e, const json_t *row, const json_t *pred, size_t line,
                         tr_truth_holder *holder, tr_error *err)
{
    const char *task_name = NULL;
    char where[600];
    tr_task task = e->options->task;
    snprintf(where, sizeof where, "%s:%zu", e->options->truth_name ? e->options->truth_name : "truth", line);
    tr_status status = json_is_object(row) ? TR_OK
                                           : tr_fail(err, TR_FORMAT, where, "a row must be an object, found %s",
                                                     tr_json_type_name(row));
    if (!status && !e->options->task_given) {
        status = tr_json_get_string(row, "task", false, where, &task_name, err);
        status = status || !task_name ? status : tr_task_from_name(task_name, &task, err);
    }
    status = status ? status : tr_truth_from_json(row, task, where, holder, err);
    if (status) {
        return status;
    }
    size_t count = 0;
    char option = 0, *key = row_key(row);
    e->truths++;
    if (!pred) {
        e->missing++;
        tr_evaluation_name(e->missing_ids, key ? key : where);
    } else if (understand(e, task, pred, &holder->truth, &count, &option)) {
        e->parsed++;
    } else {
        e->unparsed++;
        tr_evaluation_name(e->unparsed_ids, key ? key : where);
    }
    free(key);
    status = tr_evaluation_add(e, task, e->intervals, count, option, &holder->truth, err);
    if (!status && task == TR_TASK_QA) {
        size_t n = e->count[task][TR_METRIC_ACCURACY];
        count_subtask(e, row, n && e->values[task][TR_METRIC_ACCURACY][n - 1] > 0);
    }
    return status;
}

tr_status tr_evaluate_rows(tr_evaluation *e, const json_t *pred, const json_t *truth, tr_error *err)
{
    if (!json_is_array(pred) || !json_is_array(truth) || !json_array_size(truth)) {
        return tr_fail(err, TR_FORMAT, json_is_array(pred) ? e->options->truth_name : e->options->pred_name,
                       "rows are expected (JSON Lines, or a list of objects), found %s",
                       json_array_size(truth) || !json_is_array(truth)
                           ? tr_json_type_name(json_is_array(pred) ? truth : pred)
                           : "no row");
    }
    size_t n = json_array_size(truth);
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers is meant */
    const json_t **chosen = tr_calloc(n > json_array_size(pred) ? n : json_array_size(pred), sizeof *chosen);
    tr_truth_holder holder = {0};
    tr_status status = chosen ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    e->predictions = (int64_t)json_array_size(pred);
    status = status ? status : pair_up(e, pred, truth, chosen, err);
    for (size_t i = 0; i < n && !status; i++) {
        status = add_row(e, json_array_get(truth, i), chosen[i], i + 1, &holder, err);
    }
    free(chosen);
    tr_truth_holder_free(&holder);
    return status;
}
