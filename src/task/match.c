/* match.c: the monotone dynamic programme, naive pairing and optimal assignment. */
#include "task/match.h"

#include "base/memory.h"

#include <math.h>

double tr_match_monotone(const tr_interval *p, size_t m, const tr_interval *g, size_t n, double *row)
{
    for (size_t j = 0; j <= n; j++) {
        row[j] = 0;
    }
    for (size_t i = 0; i < m; i++) {
        double diagonal = 0; /* D[i-1][j-1] while row[j] still holds D[i-1][j] */
        for (size_t j = 1; j <= n; j++) {
            double up = row[j], best = diagonal + tr_interval_iou(p[i], g[j - 1]);
            best = up > best ? up : best;
            row[j] = row[j - 1] > best ? row[j - 1] : best;
            diagonal = up;
        }
    }
    return row[n];
}

double tr_match_naive(const tr_interval *p, size_t m, const tr_interval *g, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < m && i < n; i++) {
        sum += tr_interval_iou(p[i], g[i]);
    }
    return sum;
}

/* Names the short side "worker" and the long side "job", both from 1; 0 is the virtual start. */
typedef struct assignment {
    const double *cost;
    size_t workers, jobs, columns;
    int transposed, maximise;
    double *worker_potential, *job_potential, *slack;
    size_t *worker_of, *from; /* per job */
    unsigned char *used;      /* per job */
} assignment;

static double cost_of(const assignment *a, size_t worker, size_t job)
{
    size_t row = a->transposed ? job - 1 : worker - 1, column = a->transposed ? worker - 1 : job - 1;
    double cost = a->cost[row * a->columns + column];
    return a->maximise ? -cost : cost;
}

size_t tr_match_assign_scratch(size_t rows, size_t columns)
{
    size_t small = rows < columns ? rows : columns, large = rows < columns ? columns : rows, each, total, more;
    each = 3 * sizeof(double) + 2 * sizeof(size_t); /* potentials of both, slack; worker_of, from; used is apart */
    if (!tr_size_add(large, 1, &large) || !tr_size_mul(large, each + 1, &total) ||
        !tr_size_mul(small + 1, sizeof(double), &more) || !tr_size_add(total, more, &total)) {
        return SIZE_MAX;
    }
    return total;
}

/* One worker more: a shortest augmenting path (Dijkstra on reduced costs). False when none exists. */
static int augment(assignment *a, size_t worker)
{
    a->worker_of[0] = worker;
    for (size_t j = 0; j <= a->jobs; j++) {
        a->slack[j] = INFINITY;
        a->used[j] = 0;
        a->from[j] = 0;
    }
    size_t job = 0;
    do {
        a->used[job] = 1;
        size_t at = a->worker_of[job], next = 0;
        double delta = INFINITY;
        for (size_t j = 1; j <= a->jobs; j++) {
            if (a->used[j]) {
                continue;
            }
            double reduced = cost_of(a, at, j) - a->worker_potential[at] - a->job_potential[j];
            if (reduced < a->slack[j]) {
                a->slack[j] = reduced;
                a->from[j] = job;
            }
            if (a->slack[j] < delta) {
                delta = a->slack[j];
                next = j;
            }
        }
        if (!next) {
            return 0;
        }
        for (size_t j = 0; j <= a->jobs; j++) {
            if (a->used[j]) {
                a->worker_potential[a->worker_of[j]] += delta;
                a->job_potential[j] -= delta;
            } else {
                a->slack[j] -= delta;
            }
        }
        job = next;
    } while (a->worker_of[job]);
    for (; job; job = a->from[job]) {
        a->worker_of[job] = a->worker_of[a->from[job]];
    }
    return 1;
}

static tr_status check_costs(const double *cost, size_t rows, size_t columns, int maximise, tr_error *err)
{
    for (size_t i = 0; i < rows * columns; i++) {
        if (isnan(cost[i]) || (isinf(cost[i]) && (cost[i] < 0) != !!maximise)) {
            return tr_fail(err, TR_NUMERIC, NULL,
                           "the cost in row %zu, column %zu of an assignment is %g; a finite number or %s "
                           "(forbidden) is expected",
                           i / columns, i % columns, cost[i], maximise ? "-inf" : "inf");
        }
    }
    return TR_OK;
}

tr_status tr_match_assign(const double *cost, size_t rows, size_t columns, int maximise, size_t *column_of,
                          double *total, void *scratch, tr_error *err)
{
    double sum = 0;
    for (size_t i = 0; i < rows; i++) {
        column_of[i] = SIZE_MAX;
    }
    tr_status status = check_costs(cost, rows, columns, maximise, err);
    if (status) {
        return status;
    }
    assignment a = {.cost = cost, .columns = columns, .transposed = rows > columns, .maximise = maximise};
    a.workers = a.transposed ? columns : rows;
    a.jobs = a.transposed ? rows : columns;
    a.worker_potential = scratch;
    a.job_potential = a.worker_potential + a.workers + 1;
    a.slack = a.job_potential + a.jobs + 1;
    a.worker_of = (size_t *)(a.slack + a.jobs + 1);
    a.from = a.worker_of + a.jobs + 1;
    a.used = (unsigned char *)(a.from + a.jobs + 1);
    for (size_t i = 0; i <= a.workers; i++) {
        a.worker_potential[i] = 0;
    }
    for (size_t j = 0; j <= a.jobs; j++) {
        a.job_potential[j] = 0;
        a.worker_of[j] = 0;
    }
    for (size_t worker = 1; worker <= a.workers; worker++) {
        if (!augment(&a, worker)) {
            return tr_fail(err, TR_INVALID, NULL,
                           "no full assignment of %zu rows to %zu columns avoids the forbidden pairs", rows,
                           columns);
        }
    }
    for (size_t job = 1; job <= a.jobs; job++) {
        if (a.worker_of[job]) {
            size_t row = a.transposed ? job - 1 : a.worker_of[job] - 1;
            size_t column = a.transposed ? a.worker_of[job] - 1 : job - 1;
            column_of[row] = column;
            sum += cost[row * columns + column];
        }
    }
    if (total) {
        *total = sum;
    }
    return TR_OK;
}
