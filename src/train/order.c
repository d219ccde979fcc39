/* order.c: in which order a run takes the rows of its source. */
#include "train/order.h"

#include "base/math.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Whole copies and further rows that an entry of n rows gives to one epoch. */
static void share(double weight, int64_t n, int64_t *copies, int64_t *extra)
{
    *copies = (int64_t)weight;
    *extra = (int64_t)((weight - (double)*copies) * (double)n + 0.5);
}

/* The rows [first, end) of each entry are neighbours. */
static int64_t entry_end(const tr_source *source, int64_t first)
{
    int64_t end = first;
    while (end < source->rows && source->entry[end] == source->entry[first]) {
        end++;
    }
    return end;
}

tr_status tr_order_create(tr_order *order, const tr_source *source, uint64_t seed, tr_error *err)
{
    memset(order, 0, sizeof *order);
    for (int64_t first = 0, end; first < source->rows; first = end) {
        int64_t copies, extra;
        end = entry_end(source, first);
        share(source->weights[source->entry[first]], end - first, &copies, &extra);
        order->length += copies * (end - first) + extra;
    }
    if (!order->length) {
        return tr_fail(err, TR_INVALID, "data",
                       "there are no rows to train on: %lld rows, and their weights leave none",
                       (long long)source->rows);
    }
    order->seed = seed;
    order->together = 1;
    order->source = source;
    for (int i = 0; i < 2; i++) {
        order->epoch[i] = -1;
        order->rows[i] = tr_calloc((size_t)order->length, sizeof *order->rows[i]);
    }
    return order->rows[0] && order->rows[1] ? TR_OK : tr_fail(err, TR_MEMORY, "data", "out of memory");
}

void tr_order_free(tr_order *order)
{
    free(order->rows[0]);
    free(order->rows[1]);
    free(order->shares);
    memset(order, 0, sizeof *order);
}

/* ---- difficulty ---- */

enum { BINS = 20 };

/* The share of all scores that lies in a score's bin, per width of a bin. */
static void divide_by_density(double *shares, const double *scores, int64_t rows)
{
    double least = scores[0], most = scores[0];
    int64_t counts[BINS] = {0};
    for (int64_t i = 1; i < rows; i++) {
        least = scores[i] < least ? scores[i] : least;
        most = scores[i] > most ? scores[i] : most;
    }
    double width = (most - least) / BINS;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < rows; i++) {
            int bin = width > 0 ? (int)((scores[i] - least) / width) : 0;
            bin = bin < BINS ? bin : BINS - 1;
            counts[bin] += !pass;
            shares[i] /= pass ? (double)counts[bin] : 1;
        }
    }
}

tr_status tr_order_weigh(tr_order *order, tr_difficulty kind, const double gaussian[2], tr_error *err)
{
    const tr_source *s = order->source;
    double sum = 0;
    for (int64_t i = 0; i < s->rows; i++) {
        if (!s->scores || !isfinite(s->scores[i])) {
            return tr_fail(
                err, TR_NOT_FOUND, "grpo.difficulty",
                "row %lld of %lld (counted from 1 over all of data) has no number \"score\": let `tempr1 "
                "data select` write one, or set grpo.difficulty to none",
                (long long)i + 1, (long long)s->rows);
        }
    }
    order->shares = tr_calloc((size_t)s->rows, sizeof *order->shares);
    if (!order->shares) {
        return tr_fail(err, TR_MEMORY, "data", "out of memory");
    }
    for (int64_t i = 0; i < s->rows; i++) {
        double z = (s->scores[i] - gaussian[0]) / gaussian[1];
        order->shares[i] = tr_math_exp(-0.5 * z * z);
    }
    if (kind == TR_DIFFICULTY_DENSITY) {
        divide_by_density(order->shares, s->scores, s->rows);
    }
    for (int64_t i = 0; i < s->rows; i++) {
        sum += order->shares[i];
    }
    order->epoch[0] = order->epoch[1] = -1;
    return sum > 0
               ? TR_OK
               : tr_fail(err, TR_INVALID, "grpo.difficulty_gaussian",
                         "[%g, %g] gives no row a chance: all scores lie too far away", gaussian[0], gaussian[1]);
}

/* rows [length]: each is drawn by its share, with one random number for the whole epoch; their order does not
 * matter here. */
static tr_status resample(const tr_order *order, int64_t epoch, int64_t *rows)
{
    const int64_t n = order->length;
    int64_t *drawn = tr_calloc((size_t)n, sizeof *drawn), count = 0;
    double sum = 0, passed = 0;
    if (!drawn) {
        return TR_MEMORY;
    }
    for (int64_t i = 0; i < n; i++) {
        sum += order->shares[rows[i]];
    }
    if (sum > 0) { /* else all of this epoch's rows are out of reach: they come as they are */
        const double offset = tr_random_uniform(order->seed, (uint32_t)epoch, 0, 0, 1);
        for (int64_t i = 0; i < n; i++) {
            passed += order->shares[rows[i]];
            while (count < n && ((double)count + offset) * sum < passed * (double)n) {
                drawn[count++] = rows[i];
            }
        }
        while (count < n) { /* rounding at the very end */
            drawn[count++] = rows[n - 1];
        }
        memcpy(rows, drawn, (size_t)n * sizeof *rows);
    }
    free(drawn);
    return TR_OK;
}

/* ---- rows of one clip together ---- */

typedef struct place {
    uint64_t shared;
    int64_t at; /* in the epoch, or the row */
} place;

static int by_shared(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->shared != y->shared) {
        return x->shared < y->shared ? -1 : 1;
    }
    return (x->at > y->at) - (x->at < y->at);
}

/* Reorders an epoch: each row brings those of its clip that come later, as many as may come together. */
static tr_status gather(const tr_order *order, int64_t *rows, tr_error *err)
{
    const int64_t n = order->length;
    place *places = tr_calloc((size_t)n, sizeof *places);
    int64_t *next = tr_calloc((size_t)n, sizeof *next), *before = tr_calloc((size_t)n, sizeof *before), used = 0;
    bool ok = places && next && before;
    for (int64_t i = 0; ok && i < n; i++) {
        places[i] = (place){order->source->shared[rows[i]], i};
        before[i] = rows[i];
    }
    if (ok) {
        qsort(places, (size_t)n, sizeof *places, by_shared);
    }
    for (int64_t i = 0; ok && i < n; i++) {
        bool more = i + 1 < n && places[i + 1].shared == places[i].shared;
        next[places[i].at] = more ? places[i + 1].at : -1;
    }
    for (int64_t i = 0; ok && i < n; i++) {
        for (int64_t at = i, count = 0; at >= 0 && before[at] >= 0 && count < order->together; at = next[at]) {
            rows[used++] = before[at];
            before[at] = -1; /* taken */
            count++;
        }
    }
    free(places);
    free(next);
    free(before);
    return ok ? TR_OK : tr_fail(err, TR_MEMORY, "data", "out of memory");
}

tr_status tr_order_gather(tr_order *order, int64_t most, int64_t *longest, tr_error *err)
{
    const tr_source *s = order->source;
    place *places = tr_calloc((size_t)s->rows, sizeof *places);
    *longest = 1;
    if (!places) {
        return tr_fail(err, TR_MEMORY, "data", "out of memory");
    }
    for (int64_t row = 0; s->shared && row < s->rows; row++) {
        places[row] = (place){s->shared[row], row};
    }
    if (s->shared) {
        qsort(places, (size_t)s->rows, sizeof *places, by_shared);
    }
    for (int64_t i = 0, count = 0; s->shared && i < s->rows; i++) {
        double weight = s->weights[s->entry[places[i].at]];
        count = i && places[i].shared == places[i - 1].shared ? count : 0;
        count += (int64_t)weight + (weight > (double)(int64_t)weight);
        *longest = count > *longest ? count : *longest;
    }
    free(places);
    *longest = *longest < most ? *longest : most;
    order->together = *longest;
    return TR_OK;
}

/* Fills the list that epochs of this parity use. */
static tr_status fill_epoch(tr_order *order, int64_t epoch, tr_error *err)
{
    const tr_source *s = order->source;
    size_t largest = (size_t)(s->rows > order->length ? s->rows : order->length), at = 0;
    size_t *shuffled = tr_calloc(largest, sizeof *shuffled);
    int64_t *rows = tr_calloc((size_t)order->length, sizeof *rows);
    if (!shuffled || !rows) {
        free(shuffled);
        free(rows);
        return tr_fail(err, TR_MEMORY, "data", "out of memory");
    }
    for (int64_t first = 0, end; first < s->rows; first = end) {
        int64_t copies, extra, n;
        end = entry_end(s, first);
        n = end - first;
        share(s->weights[s->entry[first]], n, &copies, &extra);
        for (int64_t c = 0; c < copies; c++) {
            for (int64_t row = first; row < end; row++) {
                rows[at++] = row;
            }
        }
        tr_random_shuffle(order->seed, 0, 1 + (uint32_t)s->entry[first], (size_t)n, shuffled);
        for (int64_t i = 0; i < extra; i++) {
            rows[at++] = first + (int64_t)shuffled[(epoch % n * extra + i) % n];
        }
    }
    if (order->shares && resample(order, epoch, rows)) {
        free(shuffled);
        free(rows);
        return tr_fail(err, TR_MEMORY, "data", "out of memory");
    }
    tr_random_shuffle(order->seed, (uint32_t)epoch, 0, (size_t)order->length, shuffled);
    for (int64_t i = 0; i < order->length; i++) {
        order->rows[epoch % 2][i] = rows[shuffled[i]];
    }
    free(shuffled);
    free(rows);
    tr_status status = order->together > 1 ? gather(order, order->rows[epoch % 2], err) : TR_OK;
    order->epoch[epoch % 2] = status ? -1 : epoch;
    return status;
}

static tr_status row_at(tr_order *order, int64_t position, int64_t *row, tr_error *err)
{
    int64_t epoch = position / order->length;
    tr_status status = epoch == order->epoch[epoch % 2] ? TR_OK : fill_epoch(order, epoch, err);
    if (!status) {
        *row = order->rows[epoch % 2][position % order->length];
    }
    return status;
}

tr_status tr_order_next(tr_order *order, int64_t *row, tr_error *err)
{
    tr_status status = row_at(order, order->position, row, err);
    order->position += !status;
    return status;
}

tr_status tr_order_peek(tr_order *order, int64_t *rows, int64_t count, tr_error *err)
{
    tr_status status = TR_OK;
    for (int64_t i = 0; !status && i < count; i++) {
        status = row_at(order, order->position + i, &rows[i], err);
    }
    return status;
}
