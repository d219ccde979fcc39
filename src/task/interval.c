/* interval.c: intervals in time and unions of them. */
#include "task/interval.h"

#include <math.h>
#include <stdint.h>

bool tr_interval_proper(tr_interval a)
{
    return isfinite(a.start_s) && isfinite(a.end_s) && a.start_s < a.end_s;
}

double tr_interval_length(tr_interval a)
{
    return tr_interval_proper(a) ? a.end_s - a.start_s : 0;
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

tr_interval tr_interval_clamp(tr_interval a, double duration_s)
{
    if (isfinite(a.start_s) && isfinite(a.end_s) && isfinite(duration_s)) {
        a.start_s = clamp(a.start_s, 0, duration_s);
        a.end_s = clamp(a.end_s, 0, duration_s);
    }
    return a;
}

double tr_interval_intersection(tr_interval a, tr_interval b)
{
    if (!tr_interval_proper(a) || !tr_interval_proper(b)) {
        return 0;
    }
    double start_s = a.start_s > b.start_s ? a.start_s : b.start_s, end_s = a.end_s < b.end_s ? a.end_s : b.end_s;
    return end_s > start_s ? end_s - start_s : 0;
}

tr_interval tr_interval_hull(tr_interval a, tr_interval b)
{
    if (!tr_interval_proper(a)) {
        return b;
    }
    if (!tr_interval_proper(b)) {
        return a;
    }
    return (tr_interval){a.start_s < b.start_s ? a.start_s : b.start_s, a.end_s > b.end_s ? a.end_s : b.end_s};
}

double tr_interval_iou(tr_interval a, tr_interval b)
{
    double inter = tr_interval_intersection(a, b);
    if (!(inter > 0)) {
        return 0;
    }
    /* They overlap, so the hull is the union: one subtraction, exactly 1 for equal intervals. */
    return inter / tr_interval_length(tr_interval_hull(a, b));
}

double tr_interval_iop(tr_interval predicted, tr_interval truth)
{
    double inter = tr_interval_intersection(predicted, truth);
    return inter > 0 ? inter / tr_interval_length(predicted) : 0;
}

double tr_interval_giou(tr_interval a, tr_interval b)
{
    if (!tr_interval_proper(a) || !tr_interval_proper(b)) {
        return -1;
    }
    double inter = tr_interval_intersection(a, b), hull = tr_interval_length(tr_interval_hull(a, b));
    if (inter > 0) {
        return inter / hull;
    }
    double gap = a.start_s < b.start_s ? b.start_s - a.end_s : a.start_s - b.end_s; /* hull less union, exactly */
    return gap > 0 ? -gap / hull : 0;
}

static bool before(tr_interval a, tr_interval b)
{
    if (a.start_s != b.start_s && !(isnan(a.start_s) && isnan(b.start_s))) {
        return a.start_s < b.start_s || (isnan(b.start_s) && !isnan(a.start_s));
    }
    return a.end_s < b.end_s || (isnan(b.end_s) && !isnan(a.end_s));
}

static void sift(tr_interval *list, size_t root, size_t count)
{
    tr_interval moving = list[root];
    for (size_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
        child += child + 1 < count && before(list[child], list[child + 1]);
        if (!before(moving, list[child])) {
            break;
        }
        list[root] = list[child];
        root = child;
    }
    list[root] = moving;
}

void tr_interval_sort(tr_interval *list, size_t count)
{
    if (count <= 32) { /* most answers: a handful, often in order already */
        for (size_t i = 1; i < count; i++) {
            tr_interval moving = list[i];
            size_t j = i;
            for (; j > 0 && before(moving, list[j - 1]); j--) {
                list[j] = list[j - 1];
            }
            list[j] = moving;
        }
        return;
    }
    for (size_t i = count / 2; i-- > 0;) {
        sift(list, i, count);
    }
    for (size_t end = count - 1; end > 0; end--) {
        tr_interval largest = list[0];
        list[0] = list[end];
        list[end] = largest;
        sift(list, 0, end);
    }
}

size_t tr_interval_union(tr_interval *list, size_t count)
{
    size_t proper = 0, merged = 0;
    for (size_t i = 0; i < count; i++) {
        if (tr_interval_proper(list[i])) {
            list[proper++] = list[i];
        }
    }
    tr_interval_sort(list, proper);
    for (size_t i = 0; i < proper; i++) {
        if (merged && list[i].start_s <= list[merged - 1].end_s) {
            if (list[i].end_s > list[merged - 1].end_s) {
                list[merged - 1].end_s = list[i].end_s;
            }
        } else {
            list[merged++] = list[i];
        }
    }
    return merged;
}

double tr_union_length(const tr_interval *p, size_t m)
{
    double total = 0;
    for (size_t i = 0; i < m; i++) {
        total += p[i].end_s - p[i].start_s;
    }
    return total;
}

double tr_union_intersection(const tr_interval *p, size_t m, const tr_interval *g, size_t n)
{
    double total = 0;
    for (size_t i = 0, j = 0; i < m && j < n;) {
        total += tr_interval_intersection(p[i], g[j]);
        if (p[i].end_s < g[j].end_s) {
            i++;
        } else {
            j++;
        }
    }
    return total;
}

double tr_union_iou(const tr_interval *p, size_t m, const tr_interval *g, size_t n)
{
    if (m == 1 && n == 1) {
        return tr_interval_iou(p[0], g[0]);
    }
    double inter = tr_union_intersection(p, m, g, n);
    double all = tr_union_length(p, m) + tr_union_length(g, n) - inter;
    if (!(inter > 0) || !(all > 0)) {
        return 0;
    }
    double iou = inter / all;
    return iou < 1 ? iou : 1;
}

double tr_union_iop(const tr_interval *p, size_t m, const tr_interval *g, size_t n)
{
    double length = tr_union_length(p, m), inter = tr_union_intersection(p, m, g, n);
    if (!(length > 0)) {
        return 0;
    }
    double iop = inter / length;
    return iop < 1 ? iop : 1;
}

/* Walks the ends of one union in order and knows its distribution function there. */
typedef struct walk {
    const tr_interval *list;
    size_t count, at;      /* at counts ends: 2i is the start of interval i, 2i + 1 its end */
    double length, passed; /* seconds of the whole union; seconds of it that lie before the last end passed */
} walk;

static double next_end(const walk *w)
{
    if (w->at >= 2 * w->count) {
        return INFINITY;
    }
    return w->at % 2 ? w->list[w->at / 2].end_s : w->list[w->at / 2].start_s;
}

/* F at x, where x is not beyond the next end. */
static double share(const walk *w, double x)
{
    double inside = w->at % 2 ? x - w->list[w->at / 2].start_s : 0;
    return (w->passed + inside) / w->length;
}

static void pass(walk *w)
{
    if (w->at % 2) {
        w->passed += w->list[w->at / 2].end_s - w->list[w->at / 2].start_s;
    }
    w->at++;
}

double tr_union_wasserstein(const tr_interval *p, size_t m, const tr_interval *g, size_t n)
{
    walk a = {p, m, 0, tr_union_length(p, m), 0}, b = {g, n, 0, tr_union_length(g, n), 0};
    if (!(a.length > 0) || !(b.length > 0)) {
        return a.length > 0 || b.length > 0 ? INFINITY : 0;
    }
    double total = 0, x = 0, gap = 0; /* before the first end both distribution functions are 0 */
    bool begun = false;
    while (a.at < 2 * m || b.at < 2 * n) {
        double to_a = next_end(&a), to_b = next_end(&b), to = to_a < to_b ? to_a : to_b;
        double next_gap = share(&a, to) - share(&b, to), width = to - x;
        if (begun && width > 0) { /* between two ends the gap is a straight line */
            double l = fabs(gap), r = fabs(next_gap);
            bool crosses = (gap < 0) != (next_gap < 0) && l > 0 && r > 0;
            total += crosses ? width * (l * l + r * r) / (2 * (l + r)) : width * (l + r) / 2;
        }
        begun = true;
        x = to;
        gap = next_gap;
        if (to_a <= to) {
            pass(&a);
        }
        if (to_b <= to) {
            pass(&b);
        }
    }
    return total;
}
