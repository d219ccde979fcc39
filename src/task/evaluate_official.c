/* evaluate_official.c: the evaluators of QVHighlights and ActivityNet, equal to the last printed digit. */
#include "task/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { THRESHOLDS = 10 };
static const double moment_thresholds[THRESHOLDS] = {0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95};
static const char *const threshold_names[THRESHOLDS] = {"0.5",  "0.55", "0.6",  "0.65", "0.7",
                                                        "0.75", "0.8",  "0.85", "0.9",  "0.95"};

/* float(f"{100 * v:.2f}") */
static json_t *percent(double share)
{
    char text[64];
    snprintf(text, sizeof text, "%.2f", 100 * share);
    return json_real(strtod(text, NULL));
}

/* ---- QVHighlights ---- */

typedef struct query {
    const json_t *pred, *truth;
} query;

static tr_status read_window(const json_t *window, const char *what, size_t index, double out[3], tr_error *err)
{
    size_t count = json_array_size(window);
    bool good = count >= 2;
    for (size_t k = 0; k < 3; k++) {
        const json_t *x = json_array_get(window, k);
        good = good && (k >= count || (json_is_number(x) && isfinite(json_number_value(x))));
        out[k] = x ? json_number_value(x) : 0;
    }
    if (!good) {
        return tr_fail(err, TR_FORMAT, NULL, "window %zu of %s must be [start, end, score] in numbers", index + 1,
                       what);
    }
    return TR_OK;
}

static bool in_range(const json_t *window, double low, double high)
{
    double length = json_number_value(json_array_get(window, 1)) - json_number_value(json_array_get(window, 0));
    return low < length && length <= high;
}

/* One query's average precisions and its R1 IoU among the truths whose length lies in (low, high]. *used false when
 * it has none. */
static tr_status one_query(const query *q, double low, double high, bool all, double ap[THRESHOLDS], double *r1,
                           bool *used, tr_error *err)
{
    const json_t *windows = json_object_get(q->pred, "pred_relevant_windows");
    const json_t *truths = json_object_get(q->truth, "relevant_windows");
    size_t m = json_array_size(windows), n = 0, total = json_array_size(truths);
    double best = -1, x[3];
    tr_status status = TR_OK;
    m = m < 10 ? m : 10; /* the evaluator looks at ten windows */
    tr_detection *p = tr_calloc(m, sizeof *p), *g = tr_calloc(total, sizeof *g);
    void *scratch = tr_calloc(1, tr_average_precision_scratch(m, total, THRESHOLDS));
    if (!p || !g || !scratch) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    for (size_t j = 0; j < total && !status; j++) {
        status = read_window(json_array_get(truths, j), "the truth", j, x, err);
        if (!status && (all || in_range(json_array_get(truths, j), low, high))) {
            g[n++].interval = (tr_interval){x[0], x[1]};
        }
    }
    for (size_t i = 0; i < m && !status; i++) {
        status = read_window(json_array_get(windows, i), "pred_relevant_windows", i, x, err);
        p[i] = (tr_detection){{x[0], x[1]}, x[2], 0};
    }
    *used = n > 0;
    *r1 = 0;
    if (!status && n) {
        for (size_t j = 0; j < n && m; j++) { /* the truth nearest to the first window, then IoU over the hull */
            double near = tr_interval_iou(p[0].interval, g[j].interval);
            if (near > best) {
                best = near;
                *r1 = tr_metric_hull_iou(p[0].interval, g[j].interval);
            }
        }
        tr_average_precision(p, m, g, n, moment_thresholds, THRESHOLDS, false, scratch, ap);
    }
    free(p);
    free(g);
    free(scratch);
    return status;
}

static tr_status moments(const query *queries, size_t count, double low, double high, bool all, json_t **out,
                         tr_error *err)
{
    double ap_sum[THRESHOLDS] = {0}, r1_sum[THRESHOLDS] = {0}, average = 0;
    size_t used_count = 0;
    tr_status status = TR_OK;
    for (size_t i = 0; i < count && !status; i++) {
        double ap[THRESHOLDS] = {0}, r1;
        bool used;
        status = one_query(&queries[i], low, high, all, ap, &r1, &used, err);
        for (int t = 0; t < THRESHOLDS && !status && used; t++) {
            ap_sum[t] += ap[t];
            r1_sum[t] += r1 >= moment_thresholds[t];
        }
        used_count += !status && used;
    }
    json_t *map = json_object(), *recall = json_object();
    double n = used_count ? (double)used_count : 1;
    for (int t = 0; t < THRESHOLDS; t++) {
        json_object_set_new(map, threshold_names[t], percent(ap_sum[t] / n));
        json_object_set_new(recall, threshold_names[t], percent(r1_sum[t] / n));
        average += ap_sum[t] / n / THRESHOLDS;
    }
    json_object_set_new(map, "average", percent(average));
    *out = json_pack("{s:o,s:o}", "MR-mAP", map, "MR-R1", recall);
    return status;
}

/* The annotators' scores of one query as clips x 3; free() frees it. */
static tr_status clip_scores(const json_t *truth, double **scores, size_t *clips, tr_error *err)
{
    const json_t *ids = json_object_get(truth, "relevant_clip_ids");
    const json_t *given = json_object_get(truth, "saliency_scores");
    double duration_s = json_number_value(json_object_get(truth, "duration"));
    if (!(duration_s >= 2 && duration_s < 1e7) || json_array_size(ids) != json_array_size(given)) {
        return tr_fail(err, TR_FORMAT, NULL,
                       "a highlight truth needs its duration, and relevant_clip_ids as many as "
                       "saliency_scores");
    }
    *clips = (size_t)(duration_s / 2);
    *scores = tr_calloc(*clips * 3, sizeof **scores);
    if (!*scores) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    for (size_t k = 0; k < json_array_size(ids); k++) {
        json_int_t clip = json_integer_value(json_array_get(ids, k));
        if (clip < 0 || (size_t)clip >= *clips) {
            return tr_fail(err, TR_FORMAT, NULL, "clip %lld of a highlight truth lies outside its %zu clips",
                           (long long)clip, *clips);
        }
        for (size_t a = 0; a < 3; a++) {
            (*scores)[(size_t)clip * 3 + a] = json_number_value(json_array_get(json_array_get(given, k), a));
        }
    }
    return TR_OK;
}

/* Sums of average precision and of hits at the three levels, over one query. */
static tr_status one_highlight(const query *q, double precision[3], double hit[3], tr_error *err)
{
    const json_t *pred = json_object_get(q->pred, "pred_saliency_scores");
    double *truth = NULL, *scores = NULL;
    unsigned char *hits = NULL;
    size_t clips = 0, given = json_array_size(pred), top = 0;
    tr_status status = clip_scores(q->truth, &truth, &clips, err);
    scores = tr_calloc(clips, sizeof *scores);
    hits = tr_calloc(clips, 1);
    if (!status && (!scores || !hits)) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    for (size_t i = 1; i < given && !status; i++) {
        if (json_number_value(json_array_get(pred, i)) > json_number_value(json_array_get(pred, top))) {
            top = i;
        }
    }
    for (int level = 0; level < 3 && !status; level++) {
        precision[level] = hit[level] = 0;
        for (size_t a = 0; a < 3; a++) {
            for (size_t i = 0; i < clips; i++) {
                scores[i] = i < given ? json_number_value(json_array_get(pred, i)) : 0;
                hits[i] = truth[i * 3 + a] >= level + 2;
            }
            if (top < clips && given && hits[top]) {
                hit[level] = 1;
            }
            precision[level] += tr_ranking_precision(scores, hits, clips) / 3;
        }
    }
    free(truth);
    free(scores);
    free(hits);
    return status;
}

static tr_status highlights(const query *queries, size_t count, json_t *result, json_t *brief, tr_error *err)
{
    static const char *const names[] = {"HL-min-Fair", "HL-min-Good", "HL-min-VeryGood"};
    double precision[3] = {0}, hit[3] = {0};
    for (size_t i = 0; i < count; i++) {
        double p[3], h[3];
        tr_status status = one_highlight(&queries[i], p, h, err);
        if (status) {
            return status;
        }
        for (int level = 0; level < 3; level++) {
            precision[level] += p[level] / (double)count;
            hit[level] += h[level] / (double)count;
        }
    }
    for (int level = 0; level < 3; level++) {
        char key[64];
        json_object_set_new(
            result, names[level],
            json_pack("{s:o,s:o}", "HL-mAP", percent(precision[level]), "HL-Hit1", percent(hit[level])));
        snprintf(key, sizeof key, "%s-mAP", names[level]);
        json_object_set_new(brief, key, percent(precision[level]));
        snprintf(key, sizeof key, "%s-Hit1", names[level]);
        json_object_set_new(brief, key, percent(hit[level]));
    }
    return TR_OK;
}

static void moment_brief(const json_t *result, json_t *brief)
{
    static const char *const lines[][4] = {
        {"MR-full-R1@0.5", "full", "MR-R1", "0.5"},       {"MR-full-R1@0.7", "full", "MR-R1", "0.7"},
        {"MR-full-mAP", "full", "MR-mAP", "average"},     {"MR-full-mAP@0.5", "full", "MR-mAP", "0.5"},
        {"MR-full-mAP@0.75", "full", "MR-mAP", "0.75"},   {"MR-long-mAP", "long", "MR-mAP", "average"},
        {"MR-middle-mAP", "middle", "MR-mAP", "average"}, {"MR-short-mAP", "short", "MR-mAP", "average"}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        json_t *group = json_object_get(json_object_get(result, lines[i][1]), lines[i][2]);
        json_object_set(brief, lines[i][0], json_object_get(group, lines[i][3]));
    }
}

static const char *query_key(const json_t *item, char text[64])
{
    const json_t *qid = json_object_get(item, "qid");
    if (json_is_string(qid)) {
        return json_string_value(qid);
    }
    snprintf(text, 64, "%lld", (long long)json_integer_value(qid));
    return json_is_integer(qid) ? text : NULL;
}

tr_status tr_evaluate_qvhighlights(const json_t *pred, const json_t *truth, json_t **result, size_t *shared,
                                   tr_error *err)
{
    static const struct {
        const char *name;
        double low, high;
    } ranges[] = {{"full", 0, 150}, {"long", 30, 150}, {"middle", 10, 30}, {"short", 0, 10}};
    json_t *index = json_object(), *brief = json_object(), *item;
    query *queries = tr_calloc(json_array_size(pred), sizeof *queries);
    size_t i, count = 0;
    tr_status status = queries && index ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    char text[64];
    *result = json_object();
    json_array_foreach((json_t *)truth, i, item)
    {
        const char *key = query_key(item, text);
        if (key) {
            json_object_set(index, key, item);
        }
    }
    json_array_foreach((json_t *)pred, i, item)
    {
        const char *key = query_key(item, text);
        const json_t *found = key ? json_object_get(index, key) : NULL;
        if (found && !status) {
            queries[count++] = (query){item, found};
        }
    }
    *shared = count;
    if (!status && !count) {
        status = tr_fail(err, TR_MISMATCH, NULL, "no query of the predictions is in the truth");
    }
    bool windows = count && json_object_get(queries[0].pred, "pred_relevant_windows");
    bool saliency = count && json_object_get(queries[0].pred, "pred_saliency_scores");
    for (size_t r = 0; r < 4 && windows && !status; r++) {
        json_t *part = NULL;
        status = moments(queries, count, ranges[r].low, ranges[r].high, r == 0, &part, err);
        json_object_set_new(*result, ranges[r].name, part);
    }
    if (!status && windows) {
        moment_brief(*result, brief);
    }
    if (!status && saliency) {
        status = highlights(queries, count, *result, brief, err);
    }
    json_object_set_new(*result, "brief", brief);
    json_decref(index);
    free(queries);
    if (status) {
        json_decref(*result);
        *result = NULL;
    }
    return status;
}

/* ---- ActivityNet ---- */

typedef struct labelled {
    tr_detection detection;
    size_t label;
} labelled;

typedef struct detection_set {
    labelled *items;
    size_t count, capacity;
} detection_set;

static size_t number_of(json_t *names, const char *name, bool add)
{
    json_t *found = json_object_get(names, name);
    if (!found && !add) {
        return SIZE_MAX;
    }
    if (!found) {
        json_object_set_new(names, name, json_integer((json_int_t)json_object_size(names)));
        found = json_object_get(names, name);
    }
    return (size_t)json_integer_value(found);
}

static const char *bare(const char *video)
{
    return !strncmp(video, "v_", 2) ? video + 2 : video;
}

/* "12.5" counts as a number too: THUMOS writes its times as strings. */
static bool time_value(const json_t *x, double *out)
{
    if (json_is_number(x)) {
        *out = json_number_value(x);
        return isfinite(*out);
    }
    const char *text = json_string_value(x);
    return text && tr_scan_float(tr_scan_trim((tr_span){text, text + strlen(text)}), out);
}

static tr_status add_segments(detection_set *set, const char *video, const json_t *list, json_t *videos,
                              json_t *labels, bool truth, size_t *unknown, tr_error *err)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        const json_t *segment = json_object_get(item, "segment"), *score = json_object_get(item, "score");
        const char *label = json_string_value(json_object_get(item, "label"));
        tr_interval x;
        double value = 1;
        if (!label || !time_value(json_array_get(segment, 0), &x.start_s) ||
            !time_value(json_array_get(segment, 1), &x.end_s) || (!truth && !time_value(score, &value))) {
            char where[200];
            snprintf(where, sizeof where, "video %s, item %zu", video, i + 1);
            return tr_fail(err, TR_FORMAT, where, "needs \"label\", \"segment\": [start, end]%s",
                           truth ? "" : " and \"score\"");
        }
        size_t number = number_of(labels, label, truth);
        if (number == SIZE_MAX) {
            ++*unknown;
            continue;
        }
        tr_status status = tr_grow(&set->items, &set->capacity, set->count + 1, sizeof *set->items, err);
        if (status) {
            return status;
        }
        set->items[set->count++] = (labelled){{x, value, number_of(videos, bare(video), true)}, number};
    }
    return TR_OK;
}

static tr_status average_classes(const detection_set *truths, const detection_set *preds, size_t labels,
                                 double map[THRESHOLDS], tr_error *err)
{
    double thresholds[THRESHOLDS], step = (0.95 - 0.5) / 9;
    for (int t = 0; t < THRESHOLDS; t++) { /* numpy's linspace(0.5, 0.95, 10) */
        thresholds[t] = t == 9 ? 0.95 : t * step + 0.5;
        map[t] = 0;
    }
    tr_detection *g = tr_calloc(truths->count, sizeof *g), *p = tr_calloc(preds->count, sizeof *p);
    void *scratch = tr_calloc(1, tr_average_precision_scratch(preds->count, truths->count, THRESHOLDS));
    tr_status status = g && p && scratch ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    for (size_t label = 0; label < labels && !status; label++) {
        size_t m = 0, n = 0;
        double ap[THRESHOLDS];
        for (size_t i = 0; i < truths->count; i++) {
            if (truths->items[i].label == label) {
                g[n++] = truths->items[i].detection;
            }
        }
        for (size_t i = 0; i < preds->count; i++) {
            if (preds->items[i].label == label) {
                p[m++] = preds->items[i].detection;
            }
        }
        tr_average_precision(p, m, g, n, thresholds, THRESHOLDS, true, scratch, ap);
        for (int t = 0; t < THRESHOLDS; t++) {
            map[t] += ap[t] / (double)labels;
        }
    }
    free(g);
    free(p);
    free(scratch);
    return status;
}

tr_status tr_evaluate_activitynet(const json_t *pred, const json_t *truth, const char *subset, json_t **result,
                                  tr_error *err)
{
    json_t *videos = json_object(), *labels = json_object(), *value;
    detection_set truths = {0}, preds = {0};
    const json_t *database = json_object_get(truth, "database"), *results = json_object_get(pred, "results");
    const char *key;
    size_t unknown = 0;
    double map[THRESHOLDS], average = 0;
    tr_status status = TR_OK;
    database = database ? database : truth;
    *result = NULL;
    if (!json_is_object(database) || !json_is_object(results)) {
        status = tr_fail(err, TR_FORMAT, NULL,
                         "needs {\"database\": {video: ...}} as truth and {\"results\": {video: ...}} as "
                         "predictions");
    }
    json_object_foreach((json_t *)database, key, value)
    {
        const char *part = json_string_value(json_object_get(value, "subset"));
        if (!status && (!subset || !part || !strcmp(part, subset))) {
            status = add_segments(&truths, key, json_object_get(value, "annotations"), videos, labels, true,
                                  &unknown, err);
        }
    }
    json_object_foreach((json_t *)results, key, value)
    {
        status = status ? status : add_segments(&preds, key, value, videos, labels, false, &unknown, err);
    }
    if (!status && !truths.count) {
        status = tr_fail(err, TR_FORMAT, NULL, "the truth holds no annotation%s%s", subset ? " of the subset " : "",
                         subset ? subset : "");
    }
    status = status ? status : average_classes(&truths, &preds, json_object_size(labels), map, err);
    if (!status) {
        json_t *list = json_object();
        for (int t = 0; t < THRESHOLDS; t++) {
            char name[8];
            snprintf(name, sizeof name, "%.2f", moment_thresholds[t]);
            json_object_set_new(list, name, json_real(map[t]));
            average += map[t] / THRESHOLDS;
        }
        *result = json_pack("{s:o,s:f,s:I,s:I,s:I}", "mAP", list, "average_mAP", average, "n_gt",
                            (json_int_t)truths.count, "n_pred", (json_int_t)preds.count, "unknown_labels",
                            (json_int_t)unknown);
    }
    free(truths.items);
    free(preds.items);
    json_decref(videos);
    json_decref(labels);
    return status;
}

/* ---- TimeChat, dense captioning: where the events are ---- */

static tr_status read_segments(const json_t *list, const char *key, const char *video, tr_interval *out,
                               size_t *count, tr_error *err)
{
    *count = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *pair = json_array_get(list, i);
        pair = key ? json_object_get(pair, key) : pair;
        tr_interval x;
        if (!time_value(json_array_get(pair, 0), &x.start_s) || !time_value(json_array_get(pair, 1), &x.end_s)) {
            return tr_fail(err, TR_FORMAT, video, "event %zu needs %s[start, end] in numbers", i + 1,
                           key ? "\"timestamp\": " : "");
        }
        if (*count < TR_ANSWER_INTERVALS) {
            out[(*count)++] = x;
        }
    }
    return TR_OK;
}

__attribute__((format(printf, 2, 0))) static void add_mean(json_t *mean, const char *format, const char *threshold,
                                                           double value)
{
    char name[32];
    snprintf(name, sizeof name, format, threshold);
    json_object_set_new(mean, name, json_real(value));
}

tr_status tr_evaluate_timechat_dense(const json_t *pred, const json_t *truth, json_t **result, tr_error *err)
{
    static const char *const thresholds[] = {"0.3", "0.5", "0.7", "0.9"};
    const json_t *list = json_object_get(truth, "annotations");
    tr_interval *p = tr_calloc(2 * TR_ANSWER_INTERVALS, sizeof *p), *g = p + TR_ANSWER_INTERVALS;
    double precision[4] = {0}, recall[4] = {0}, mean[3] = {0}, predictions = 0,
           videos = (double)json_array_size(list);
    tr_status status = p ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    *result = NULL;
    if (!status && (!json_is_object(pred) || !(videos > 0))) {
        status = tr_fail(err, TR_FORMAT, NULL,
                         "needs {\"annotations\": [{\"image_id\", \"segments\"}]} as truth and {video: "
                         "[{\"timestamp\": [start, end]}]} as predictions");
    }
    for (size_t i = 0; !status && i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *path = json_string_value(json_object_get(item, "image_id"));
        const char *slash = path ? strrchr(path, '/') : NULL, *video = slash ? slash + 1 : path ? path : "?";
        size_t m, n;
        double one[4], two[4], sum[2] = {0, 0};
        status = read_segments(json_object_get(item, "segments"), NULL, video, g, &n, err);
        status = status ? status : read_segments(json_object_get(pred, video), "timestamp", video, p, &m, err);
        if (status) {
            break;
        }
        tr_metric_timechat_detection(p, m, g, n, one, two);
        for (int t = 0; t < 4; t++) {
            precision[t] += one[t] / videos;
            recall[t] += two[t] / videos;
            sum[0] += one[t] / 4;
            sum[1] += two[t] / 4;
        }
        mean[0] += sum[0] / videos;
        mean[1] += sum[1] / videos;
        mean[2] += sum[0] + sum[1] > 0 ? 2 * sum[0] * sum[1] / (sum[0] + sum[1]) / videos : 0;
        predictions += (double)m / videos;
    }
    free(p);
    if (status) {
        return status;
    }
    json_t *out = json_object();
    for (int t = 0; t < 4; t++) {
        add_mean(out, "Precision@%s", thresholds[t], precision[t]);
        add_mean(out, "Recall@%s", thresholds[t], recall[t]);
    }
    add_mean(out, "Precision_%s", "Mean", mean[0]);
    add_mean(out, "Recall_%s", "Mean", mean[1]);
    add_mean(out, "F1_%s", "Score", mean[2]);
    add_mean(out, "n_%s", "preds", predictions);
    *result = json_pack("{s:I,s:o}", "n_videos", (json_int_t)videos, "mean", out);
    return *result ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
}
