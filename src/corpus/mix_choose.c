/* mix_choose.c: how many rows of each source and task a mix takes, and which.
 *
 * Rows are looked at once in the order of their keys; each is taken unless its task's share is full or a cap on its
 * video is reached. Where caps leave a share short, that task's limit sinks to what it got and the shares are made
 * again, so that other tasks can take the rest; counts that stay short are errors. */
#include "base/memory.h"
#include "corpus/mix_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- shares ---- */

typedef struct leftover {
    double part;
    size_t at;
} leftover;

static int compare_leftovers(const void *a, const void *b)
{
    const leftover *x = a, *y = b;
    int c = (x->part < y->part) - (x->part > y->part);
    return c ? c : (x->at > y->at) - (x->at < y->at);
}

tr_status tr_mix_share(int64_t total, const double *weights, const int64_t *limits, size_t count, int64_t *shares,
                       int64_t *left, tr_error *err)
{
    leftover *parts = tr_calloc(count, sizeof *parts);
    bool *full = tr_calloc(count, sizeof *full);
    tr_status status = TR_OK;
    *left = total;
    if (!parts || !full) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    bool again = true;
    while (again) { /* who is full leaves, and the others share again; at most `count` rounds */
        double sum = 0;
        int64_t open = total, given = 0;
        size_t n = 0;
        again = false;
        for (size_t i = 0; i < count; i++) {
            sum += full[i] ? 0 : weights[i];
            open -= full[i] ? limits[i] : 0;
            shares[i] = full[i] ? limits[i] : 0;
        }
        for (size_t i = 0; i < count && sum > 0; i++) {
            if (!full[i] && weights[i] > 0) {
                double exact = (double)open * weights[i] / sum;
                shares[i] = (int64_t)floor(exact + 1e-9);
                parts[n++] = (leftover){exact - (double)shares[i], i};
                given += shares[i];
            }
        }
        qsort(parts, n, sizeof *parts, compare_leftovers);
        for (size_t i = 0; i < n && given < open; i++, given++) {
            shares[parts[i].at]++;
        }
        *left = open - given;
        for (size_t i = 0; i < count; i++) {
            if (!full[i] && limits[i] >= 0 && shares[i] > limits[i]) {
                full[i] = again = true;
            }
        }
    }
done:
    free(parts);
    free(full);
    return status;
}

/* What a task of a source can give: unlimited when rows may repeat and there is one. */
static int64_t limit_of(const mix_state *mix, size_t source, int task)
{
    int64_t limit = mix->files[source].limit[task];
    return mix->spec->sources[source].repeat && limit > 0 ? -1 : limit;
}

/* Rows that a source can give in all; negative: no limit. */
static int64_t source_limit(const mix_state *mix, size_t source)
{
    int64_t sum = 0;
    for (int t = 0; t < TR_TASK_COUNT; t++) {
        int64_t limit = limit_of(mix, source, t);
        sum = limit < 0 || sum < 0 ? -1 : sum + limit;
    }
    return sum;
}

/* The share of each task of one source, which is to give `rows` rows (TR_MIX_ALL: all). */
static tr_status share_tasks(mix_state *mix, size_t source, int64_t rows, tr_error *err)
{
    const tr_mix_source *s = &mix->spec->sources[source];
    mix_file *file = &mix->files[source];
    double weights[TR_TASK_COUNT];
    int64_t limits[TR_TASK_COUNT], left;
    for (int t = 0; t < TR_TASK_COUNT; t++) {
        weights[t] = s->by_task ? s->tasks[t].weight : (double)file->limit[t];
        limits[t] = limit_of(mix, source, t);
        file->asked[t] = s->tasks[t].count >= 0 ? s->tasks[t].count : rows == TR_MIX_ALL ? file->limit[t] : 0;
    }
    if (rows == TR_MIX_ALL) {
        return TR_OK;
    }
    tr_status status = tr_mix_share(rows, weights, limits, TR_TASK_COUNT, file->asked, &left, err);
    if (!status && left) {
        status =
            tr_fail(err, TR_INVALID, file->path,
                    "source '%s' has only %lld rows that fit (tasks, split, caps per video), %lld are asked for; "
                    "ask for fewer, loosen the caps, or say repeat: true",
                    s->name, (long long)(rows - left), (long long)rows);
    }
    return status;
}

/* Rows of every source: counts first; what they leave of the total goes by weight. */
static tr_status share_sources(mix_state *mix, tr_error *err)
{
    const tr_mix_spec *spec = mix->spec;
    double *weights = tr_calloc(spec->count, sizeof *weights);
    int64_t *limits = tr_calloc(spec->count, sizeof *limits), *shares = tr_calloc(spec->count, sizeof *shares);
    int64_t open = spec->total, left = 0;
    tr_status status = TR_OK;
    if (!weights || !limits || !shares) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    for (size_t i = 0; !status && i < spec->count; i++) {
        const tr_mix_source *s = &spec->sources[i];
        weights[i] = s->weight;
        limits[i] = source_limit(mix, i);
        if (!(s->weight > 0)) {
            status = share_tasks(mix, i, s->count, err);
            for (int t = 0; t < TR_TASK_COUNT; t++) {
                open -= mix->files[i].asked[t];
            }
            limits[i] = 0;
        }
    }
    if (!status && spec->total >= 0 && open < 0) {
        status = tr_fail(err, TR_INVALID, spec->path,
                         "the sources without a weight alone give %lld rows, more than the total of %lld",
                         (long long)(spec->total - open), (long long)spec->total);
    }
    if (!status && spec->total >= 0) {
        status = tr_mix_share(open, weights, limits, spec->count, shares, &left, err);
        if (!status && left) {
            status = tr_fail(
                err, TR_INVALID, spec->path,
                "the sources hold only %lld rows that fit (tasks, splits, caps per video), the total is %lld; "
                "ask for fewer, loosen the caps, or let sources repeat",
                (long long)(spec->total - left), (long long)spec->total);
        }
    }
    for (size_t i = 0; !status && i < spec->count; i++) {
        if (spec->sources[i].weight > 0) {
            status = share_tasks(mix, i, shares[i], err);
        }
    }
done:
    free(weights);
    free(limits);
    free(shares);
    return status;
}

/* ---- rows ---- */

static int compare_keys(const void *a, const void *b)
{
    const mix_entry *x = a, *y = b;
    int c = (x->key > y->key) - (x->key < y->key);
    c = c ? c : (x->source > y->source) - (x->source < y->source);
    return c ? c : (x->offset > y->offset) - (x->offset < y->offset);
}

/* Rows of each video taken so far: over all, by source, by source and task. */
typedef struct caps {
    int64_t *all, *by_source, *by_task;
} caps;

static bool below_caps(const mix_state *mix, const caps *c, const mix_entry *e)
{
    const tr_mix_source *s = &mix->spec->sources[e->source];
    size_t sources = mix->spec->count, place = e->video * sources + e->source;
    int64_t task = s->tasks[e->task].per_video;
    return (!mix->spec->per_video || c->all[e->video] < mix->spec->per_video) &&
           (!s->per_video || c->by_source[place] < s->per_video) &&
           (!task || c->by_task[place * TR_TASK_COUNT + e->task] < task);
}

/* One pass over all rows. *short_of: some share was not filled by different rows. */
static void take_rows(mix_state *mix, const caps *c, bool *short_of)
{
    size_t sources = mix->spec->count;
    memset(c->all, 0, mix->videos.count * sizeof *c->all);
    memset(c->by_source, 0, mix->videos.count * sources * sizeof *c->by_source);
    memset(c->by_task, 0, mix->videos.count * sources * TR_TASK_COUNT * sizeof *c->by_task);
    *short_of = false;
    for (size_t i = 0; i < sources; i++) {
        memset(mix->files[i].taken, 0, sizeof mix->files[i].taken);
    }
    for (size_t i = 0; i < mix->count; i++) {
        mix_entry *e = &mix->entries[i];
        mix_file *file = &mix->files[e->source];
        size_t place = e->video * sources + e->source;
        e->copies = file->taken[e->task] < file->asked[e->task] && below_caps(mix, c, e);
        if (e->copies) {
            file->taken[e->task]++;
            c->all[e->video]++;
            c->by_source[place]++;
            c->by_task[place * TR_TASK_COUNT + e->task]++;
        }
    }
    for (size_t i = 0; i < sources; i++) {
        for (int t = 0; t < TR_TASK_COUNT; t++) {
            mix_file *file = &mix->files[i];
            file->distinct[t] = file->taken[t];
            if (file->taken[t] < file->asked[t] && file->limit[t] > file->taken[t]) {
                file->limit[t] = file->taken[t]; /* the caps leave no more */
                *short_of = true;
            }
        }
    }
}

/* Fills what is short with rows that were taken already, in the order of their keys, round and round. */
static tr_status repeat_rows(mix_state *mix, tr_error *err)
{
    for (size_t i = 0; i < mix->spec->count; i++) {
        const tr_mix_source *s = &mix->spec->sources[i];
        mix_file *file = &mix->files[i];
        for (int t = 0; t < TR_TASK_COUNT; t++) {
            int64_t need = file->asked[t] - file->taken[t];
            if (need > 0 && (!s->repeat || !file->distinct[t])) {
                return tr_fail(
                    err, TR_INVALID, file->path,
                    "source '%s' has only %lld rows of the task %s that fit (split, caps per video), %lld are "
                    "asked for; ask for fewer, loosen the caps, or say repeat: true",
                    s->name, (long long)file->taken[t], tr_task_name((tr_task)t), (long long)file->asked[t]);
            }
            while (need > 0) {
                for (size_t k = 0; k < mix->count && need > 0; k++) {
                    mix_entry *e = &mix->entries[k];
                    if (e->source == i && e->task == (tr_task)t && e->copies) {
                        e->copies++;
                        file->taken[t]++;
                        need--;
                    }
                }
            }
        }
    }
    return TR_OK;
}

tr_status mix_choose(mix_state *mix, tr_error *err)
{
    size_t videos = mix->videos.count, sources = mix->spec->count;
    caps c = {tr_calloc(videos, sizeof *c.all), tr_calloc(videos, sources * sizeof *c.by_source),
              tr_calloc(videos, sources * TR_TASK_COUNT * sizeof *c.by_task)};
    tr_status status = TR_OK;
    bool short_of = true;
    if (!c.all || !c.by_source || !c.by_task) {
        status = tr_fail(err, TR_MEMORY, NULL, "no memory for %zu videos of %zu sources", videos, sources);
        goto done;
    }
    if (mix->count) {
        qsort(mix->entries, mix->count, sizeof *mix->entries, compare_keys);
    }
    for (size_t i = 0; i < sources; i++) {
        memcpy(mix->files[i].limit, mix->files[i].available, sizeof mix->files[i].limit);
    }
    while (short_of) { /* every round lowers a limit, so it ends */
        TR_TRY(share_sources(mix, err));
        take_rows(mix, &c, &short_of);
    }
    TR_TRY(repeat_rows(mix, err));
done:
    free(c.all);
    free(c.by_source);
    free(c.by_task);
    return status;
}
