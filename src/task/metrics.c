/* metrics.c: values per sample, bootstrap intervals, average precision. */
#include "task/metrics.h"

#include "base/random.h"

#include <math.h>
#include <stdlib.h>

static const char *const metric_names[] = {
#define X(name, text) text,
    TR_METRIC_LIST(X)
#undef X
};

const char *tr_metric_name(tr_metric metric, tr_task task)
{
    static const char *const grounded[] = {"IoU@0.3", "IoU@0.5", "IoU@0.7"};
    if (task == TR_TASK_GVQA && metric >= TR_METRIC_IOU_03 && metric <= TR_METRIC_IOU_07) {
        return grounded[metric - TR_METRIC_IOU_03];
    }
    return metric_names[metric];
}

static void set(tr_metric_values *values, tr_metric metric, double value)
{
    values->present |= 1u << metric;
    values->value[metric] = value;
}

static void set_iou(tr_metric_values *values, double iou)
{
    set(values, TR_METRIC_IOU, iou);
    set(values, TR_METRIC_IOU_03, iou >= 0.3);
    set(values, TR_METRIC_IOU_05, iou >= 0.5);
    set(values, TR_METRIC_IOU_07, iou >= 0.7);
}

double tr_metric_f1(const tr_interval *p, size_t m, const tr_interval *g, size_t n, double threshold)
{
    if (!m || !n) {
        return m == n;
    }
    size_t hit_p = 0, hit_g = 0;
    for (size_t i = 0; i < m; i++) {
        bool hit = false;
        for (size_t j = 0; j < n && !hit; j++) {
            hit = tr_interval_iou(p[i], g[j]) >= threshold;
        }
        hit_p += hit;
    }
    for (size_t j = 0; j < n; j++) {
        bool hit = false;
        for (size_t i = 0; i < m && !hit; i++) {
            hit = tr_interval_iou(p[i], g[j]) >= threshold;
        }
        hit_g += hit;
    }
    double precision = (double)hit_p / (double)m, recall = (double)hit_g / (double)n;
    return hit_p && hit_g ? 2 * precision * recall / (precision + recall) : 0;
}

/* The scheme that carries the part "hungarian_f1", so that metric and reward are one computation. */
static tr_status hungarian(const tr_interval *p, size_t m, const tr_truth *truth, tr_arena *arena, double *f1,
                           tr_error *err)
{
    size_t n = truth->count, mark = tr_arena_mark(arena);
    if (!m || !n) {
        *f1 = m == n;
        return TR_OK;
    }
    double *gain = tr_arena_take(arena, m * n, sizeof *gain);
    size_t *column = tr_arena_take(arena, m, sizeof *column);
    void *scratch = tr_arena_take(arena, 1, tr_match_assign_scratch(m, n));
    if (!gain || !column || !scratch) {
        return tr_fail(err, TR_MEMORY, NULL, "the arena for metrics is too small: %zu bytes", arena->size);
    }
    for (size_t k = 0; k < m * n; k++) {
        gain[k] = tr_interval_iou(p[k / n], truth->segments[k % n]);
    }
    tr_status status = tr_match_assign(gain, m, n, 1, column, NULL, scratch, err);
    static const double thresholds[] = {0.3, 0.5, 0.7};
    double sum = 0;
    for (int t = 0; t < 3 && !status; t++) {
        size_t hits = 0;
        for (size_t i = 0; i < m; i++) {
            hits += column[i] != SIZE_MAX && gain[i * n + column[i]] >= thresholds[t];
        }
        sum += 2 * (double)hits / (double)(m + n);
    }
    *f1 = sum / 3;
    tr_arena_reset(arena, mark);
    return status;
}

static tr_status unions(const tr_interval *p, size_t m, const tr_truth *truth, tr_arena *arena, double *iou,
                        double *iop, tr_error *err)
{
    size_t mark = tr_arena_mark(arena), n = truth->count;
    tr_interval *a = tr_arena_take(arena, m, sizeof *a), *b = tr_arena_take(arena, n, sizeof *b);
    if (!a || !b) {
        return tr_fail(err, TR_MEMORY, NULL, "the arena for metrics is too small: %zu bytes", arena->size);
    }
    for (size_t i = 0; i < m; i++) {
        a[i] = p[i];
    }
    for (size_t j = 0; j < n; j++) {
        b[j] = truth->segments[j];
    }
    m = tr_interval_union(a, m);
    n = tr_interval_union(b, n);
    *iou = m || n ? tr_union_iou(a, m, b, n) : 1;
    *iop = m || n ? tr_union_iop(a, m, b, n) : 1;
    tr_arena_reset(arena, mark);
    return TR_OK;
}

static tr_status tal_values(const tr_interval *p, size_t m, const tr_truth *truth, tr_arena *arena,
                            tr_metric_values *values, tr_error *err)
{
    static const double thresholds[] = {0.1, 0.3, 0.5, 0.7};
    double sum = 0, f1 = 0;
    for (int t = 0; t < 4; t++) {
        double x = tr_metric_f1(p, m, truth->segments, truth->count, thresholds[t]);
        set(values, (tr_metric)(TR_METRIC_F1_01 + t), x);
        sum += x;
    }
    tr_status status = hungarian(p, m, truth, arena, &f1, err);
    set(values, TR_METRIC_MF1, sum / 4);
    set(values, TR_METRIC_HUNGARIAN, f1);
    set(values, TR_METRIC_COUNT, m == truth->count);
    return status;
}

tr_status tr_metric_sample(tr_task task, const tr_interval *p, size_t m, char option, const tr_truth *truth,
                           tr_arena *arena, tr_metric_values *values, tr_error *err)
{
    values->present = 0;
    size_t mark = tr_arena_mark(arena);
    tr_status status = TR_OK;
    tr_interval *clamped = tr_arena_take(arena, m, sizeof *clamped);
    if (!clamped) {
        return tr_fail(err, TR_MEMORY, NULL, "the arena for metrics is too small: %zu bytes", arena->size);
    }
    for (size_t i = 0; i < m; i++) {
        clamped[i] = truth->duration_s > 0 ? tr_interval_clamp(p[i], truth->duration_s) : p[i];
    }
    bool right = false;
    if (truth->answer && option) {
        tr_span text = {truth->answer, truth->answer + strlen(truth->answer)};
        right = option == tr_answer_option(text, truth->options, truth->option_count);
    }
    double iou = 0, iop = 0;
    switch (task) {
    case TR_TASK_TG:
    case TR_TASK_DTG:
        set_iou(values, m && truth->count ? tr_interval_iou(clamped[0], truth->segments[0]) : 0);
        break;
    case TR_TASK_VHD:
    case TR_TASK_GVQA:
        status = unions(clamped, m, truth, arena, &iou, &iop, err);
        set_iou(values, iou);
        if (task == TR_TASK_GVQA) {
            set(values, TR_METRIC_IOP, iop);
            set(values, TR_METRIC_IOP_03, iop >= 0.3);
            set(values, TR_METRIC_IOP_05, iop >= 0.5);
            set(values, TR_METRIC_ACCURACY, right);
            set(values, TR_METRIC_ACC_GQA, right && iop >= 0.5);
        }
        break;
    case TR_TASK_TAL:
        status = tal_values(clamped, m, truth, arena, values, err);
        break;
    case TR_TASK_QA:
        set(values, TR_METRIC_ACCURACY, right);
        break;
    case TR_TASK_COUNT:
        break;
    }
    tr_arena_reset(arena, mark);
    return status;
}

/* ---- bootstrap ---- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t count, double q)
{
    double at = q * (double)(count - 1), low = floor(at);
    size_t i = (size_t)low, next = i + 1 < count ? i + 1 : i;
    return sorted[i] + (at - low) * (sorted[next] - sorted[i]);
}

static tr_status bootstrap(const double *a, const double *b, size_t n, size_t resamples, double share,
                           uint64_t seed, tr_bootstrap *out, tr_error *err)
{
    if (!n || !resamples || n > UINT32_MAX || !(share > 0 && share < 1)) {
        return tr_fail(err, TR_INVALID, NULL, "a bootstrap needs values, resamples and a share between 0 and 1");
    }
    double *means = tr_calloc(resamples, sizeof *means), sum = 0;
    if (!means) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for %zu resamples", resamples);
    }
    for (size_t i = 0; i < n; i++) {
        sum += b ? a[i] - b[i] : a[i];
    }
    out->mean = sum / (double)n;
    for (size_t r = 0; r < resamples; r++) {
        double total = 0;
        for (size_t i = 0; i < n; i += 4) { /* one counter gives four draws */
            uint32_t bits[4];
            tr_random_bits(seed, (uint32_t)r, (uint32_t)(i / 4), 0x626f6f74, 0, bits);
            for (size_t k = 0; k < 4 && i + k < n; k++) {
                size_t pick = (size_t)((uint64_t)bits[k] * n >> 32);
                total += b ? a[pick] - b[pick] : a[pick];
            }
        }
        means[r] = total / (double)n;
    }
    qsort(means, resamples, sizeof *means, ascending);
    out->low = quantile(means, resamples, (1 - share) / 2);
    out->high = quantile(means, resamples, (1 + share) / 2);
    free(means);
    return TR_OK;
}

tr_status tr_bootstrap_mean(const double *values, size_t n, size_t resamples, double share, uint64_t seed,
                            tr_bootstrap *out, tr_error *err)
{
    return bootstrap(values, NULL, n, resamples, share, seed, out, err);
}

tr_status tr_bootstrap_paired(const double *a, const double *b, size_t n, size_t resamples, double share,
                              uint64_t seed, tr_bootstrap *out, tr_error *err)
{
    return bootstrap(a, b, n, resamples, share, seed, out, err);
}

/* ---- average precision ---- */

double tr_metric_hull_iou(tr_interval p, tr_interval g)
{
    double inter = fmax(0, fmin(p.end_s, g.end_s) - fmax(p.start_s, g.start_s));
    double hull = fmax(p.end_s, g.end_s) - fmin(p.start_s, g.start_s);
    return hull != 0 ? inter / hull : 0;
}

/* inter / (a + b - inter), the detection evaluators' form: near a threshold the last bit can matter. Two points
 * (three published ActivityNet truths have no length) give 0/0 there, and a NaN is not below any threshold: a hit.
 */
static double sum_iou(tr_interval p, tr_interval g)
{
    double inter = fmax(0, fmin(p.end_s, g.end_s) - fmax(p.start_s, g.start_s));
    double all = (p.end_s - p.start_s) + (g.end_s - g.start_s) - inter;
    return all != 0 ? inter / all : 1;
}

/* Merge sort from the bottom up: stable, and no memory but its scratch. */
static void sort_detections(tr_detection *list, tr_detection *other, size_t count)
{
    tr_detection *from = list, *to = other;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t start = 0; start < count; start += 2 * width) {
            size_t i = start, middle = start + width < count ? start + width : count, j = middle;
            size_t end = start + 2 * width < count ? start + 2 * width : count;
            for (size_t k = start; k < end; k++) {
                bool left = i < middle && (j >= end || !(from[j].score > from[i].score));
                to[k] = left ? from[i++] : from[j++];
            }
        }
        tr_detection *swap = from;
        from = to;
        to = swap;
    }
    for (size_t k = 0; from != list && k < count; k++) {
        list[k] = from[k];
    }
}

size_t tr_average_precision_scratch(size_t detections, size_t truths, size_t thresholds)
{
    return detections * sizeof(tr_detection) + truths * (sizeof(double) + sizeof(size_t)) +
           (detections + truths) * thresholds + 64;
}

/* Precision made falling from behind, summed over the steps of recall. */
static double area(const unsigned char *hit, size_t count, size_t truths)
{
    size_t hits = 0;
    double sum = 0, best = 0;
    for (size_t k = 0; k < count; k++) {
        hits += hit[k];
    }
    for (size_t k = count; k-- > 0;) {
        double precision = (double)hits / (double)(k + 1);
        best = precision > best ? precision : best;
        if (hit[k]) {
            sum += ((double)hits / (double)truths - (double)(hits - 1) / (double)truths) * best;
            hits--;
        }
    }
    return sum;
}

void tr_average_precision(tr_detection *detections, size_t count, const tr_detection *truths, size_t truth_count,
                          const double *thresholds, size_t threshold_count, bool later_first, void *scratch,
                          double *ap)
{
    tr_detection *other = scratch;
    double *iou = (double *)(other + count);
    size_t *near = (size_t *)(iou + truth_count);
    unsigned char *taken = (unsigned char *)(near + truth_count), *hit = taken + truth_count * threshold_count;
    memset(taken, 0, (truth_count + count) * threshold_count);
    for (size_t i = 0; later_first && i < count / 2; i++) {
        tr_detection swap = detections[i];
        detections[i] = detections[count - 1 - i];
        detections[count - 1 - i] = swap;
    }
    sort_detections(detections, other, count);
    for (size_t d = 0; d < count; d++) {
        size_t found = 0;
        for (size_t g = 0; g < truth_count; g++) { /* this video's truths by falling IoU, of ties the later first */
            if (truths[g].video == detections[d].video) {
                double x = sum_iou(detections[d].interval, truths[g].interval);
                size_t at = found++;
                for (; at > 0 && iou[at - 1] <= x; at--) {
                    iou[at] = iou[at - 1];
                    near[at] = near[at - 1];
                }
                iou[at] = x;
                near[at] = g;
            }
        }
        for (size_t t = 0; t < threshold_count; t++) {
            for (size_t k = 0; k < found && iou[k] >= thresholds[t]; k++) {
                unsigned char *lock = &taken[t * truth_count + near[k]];
                if (!*lock) {
                    *lock = hit[t * count + d] = 1;
                    break;
                }
            }
        }
    }
    for (size_t t = 0; t < threshold_count; t++) {
        ap[t] = truth_count ? area(hit + t * count, count, truth_count) : 0;
    }
}

double tr_ranking_precision(double *scores, unsigned char *hits, size_t count)
{
    size_t total = 0, gained = 0;
    for (size_t i = 0; i < count; i++) {
        total += hits[i] != 0;
    }
    if (!total || total == count) {
        return total && count ? 1 : 0;
    }
    for (size_t i = 1; i < count; i++) { /* insertion: videos have some 75 clips; a sorted list costs nothing */
        double score = scores[i];
        unsigned char hit = hits[i];
        size_t j = i;
        for (; j > 0 && scores[j - 1] < score; j--) {
            scores[j] = scores[j - 1];
            hits[j] = hits[j - 1];
        }
        scores[j] = score;
        hits[j] = hit;
    }
    double sum = 0, best = 0;
    for (size_t end = count, left = total; end > 0;) { /* groups of equal score, from the lowest up */
        size_t start = end, group = 0;
        while (start > 0 && scores[start - 1] == scores[end - 1]) {
            group += hits[--start] != 0;
        }
        double precision = (double)left / (double)end;
        best = precision > best ? precision : best;
        if (group) {
            sum += best;
            gained++;
        }
        left -= group;
        end = start;
    }
    return sum / (double)gained;
}

void tr_metric_timechat_detection(const tr_interval *p, size_t m, const tr_interval *g, size_t n,
                                  double precision[4], double recall[4])
{
    static const double thresholds[] = {0.3, 0.5, 0.7, 0.9};
    for (int t = 0; t < 4; t++) {
        size_t hit[2] = {0, 0};
        for (int side = 0; side < 2; side++) {
            const tr_interval *a = side ? g : p, *b = side ? p : g;
            size_t rows = side ? n : m, columns = side ? m : n;
            for (size_t i = 0; i < rows; i++) {
                bool any = false;
                for (size_t j = 0; j < columns && !any; j++) {
                    tr_interval x = a[i], y = b[j];
                    x = x.start_s <= x.end_s ? x : (tr_interval){x.end_s, x.start_s};
                    y = y.start_s <= y.end_s ? y : (tr_interval){y.end_s, y.start_s};
                    double inter = fmax(0, fmin(x.end_s, y.end_s) - fmax(x.start_s, y.start_s));
                    double all = fmin(fmax(x.end_s, y.end_s) - fmin(x.start_s, y.start_s),
                                      x.end_s - x.start_s + y.end_s - y.start_s);
                    any = inter / (all + 1e-8) > thresholds[t]; /* as published, the tiny term included */
                }
                hit[side] += any;
            }
        }
        precision[t] = (double)hit[0] / (m ? (double)m : 1);
        recall[t] = n ? (double)hit[1] / (double)n : 0;
    }
}
