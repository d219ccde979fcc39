/* curves.c: draws RUN/curves.svg from RUN/metrics.jsonl: reward, its parts, loss, KL, entropy, lengths, format,
 * groups, the watch, learning rate, seconds, memory over the steps; and, where a run has several tasks, the same
 * for each of them. Panels that only warn (rows left out, clipped ratios, a gap) are there when they have something
 * to say. */
#include "train/trainer.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/plot.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERIES = 16, KEY = 64, ROWS_MOST = 1024 /* more points than a page is wide show nothing */ };

typedef struct table {
    json_t **rows;
    size_t count, capacity;
    double *steps;
} table;

static void table_free(table *t)
{
    for (size_t i = 0; i < t->count; i++) {
        json_decref(t->rows[i]);
    }
    free(t->rows);
    free(t->steps);
}

/* Leaves every second row, so that the curves of a run of a million steps take no more memory than a page. */
static void thin_out(table *t)
{
    for (size_t i = 0; i < t->count; i++) {
        if (i % 2) {
            json_decref(t->rows[i]);
        } else {
            t->rows[i / 2] = t->rows[i];
        }
    }
    t->count = (t->count + 1) / 2;
}

static tr_status table_read(table *t, const char *path, tr_error *err)
{
    FILE *f = fopen(path, "r");
    tr_buffer line = {0};
    bool got = false;
    long lines = 0, stride = 1;
    tr_status status = f ? TR_OK : tr_fail(err, TR_IO, path, "cannot be read: %s", strerror(errno));
    while (!status && !(status = tr_file_read_line(f, 0, &line, &got, err)) && got) {
        json_t *object;
        if (lines++ % stride) {
            continue;
        }
        if (t->count == ROWS_MOST) {
            thin_out(t);
            stride *= 2;
        }
        status = tr_json_parse(tr_buffer_text(&line), line.length, path, lines - 1, &object, err);
        status = status ? status : tr_grow(&t->rows, &t->capacity, t->count + 1, sizeof(void *), err);
        if (!status) {
            t->rows[t->count++] = object;
        }
    }
    if (!status && !(t->steps = tr_calloc(t->count, sizeof *t->steps))) {
        status = tr_fail(err, TR_MEMORY, path, "out of memory");
    }
    for (size_t i = 0; !status && t->steps && i < t->count; i++) {
        t->steps[i] = json_number_value(json_object_get(t->rows[i], "step"));
    }
    if (f) {
        fclose(f);
    }
    tr_buffer_free(&line);
    return status;
}

/* The number under a path of keys joined with '/'; NaN when there is none. */
static double number_at(const json_t *object, const char *path)
{
    char key[KEY];
    const char *slash;
    for (; (slash = strchr(path, '/')); path = slash + 1) {
        snprintf(key, sizeof key, "%.*s", (int)(slash - path), path);
        object = json_object_get(object, key);
    }
    object = json_object_get(object, path);
    return json_is_number(object) ? json_number_value(object) : NAN;
}

/* All keys that the object under `outer` ever had, in order of appearance. */
static size_t inner_keys(const table *t, const char *outer, char keys[SERIES][KEY])
{
    size_t count = 0;
    const char *key;
    json_t *value;
    for (size_t i = 0; i < t->count; i++) {
        const json_t *object = t->rows[i];
        char name[KEY], *rest = name;
        snprintf(name, sizeof name, "%s", outer);
        for (char *step; (step = strsep(&rest, "/"));) {
            object = json_object_get(object, step);
        }
        json_object_foreach((json_t *)(uintptr_t)object, key, value)
        {
            bool known = false;
            for (size_t k = 0; k < count; k++) {
                known = known || !strcmp(keys[k], key);
            }
            if (!known && count < SERIES) {
                snprintf(keys[count++], KEY, "%s", key);
            }
        }
    }
    return count;
}

/* ---- the page ---- */

typedef struct panel {
    char title[2 * KEY], names[SERIES][KEY], paths[SERIES][2 * KEY];
    bool share;  /* of the step's responses */
    bool alarm;  /* drawn only where something is not 0 */
    double unit; /* values are divided by it */
    size_t count;
} panel;

typedef struct page {
    panel *panels;
    size_t count, capacity;
} page;

/* A new panel, NULL when memory is out. */
static panel *add_panel(page *p, const char *title)
{
    if (tr_grow(&p->panels, &p->capacity, p->count + 1, sizeof *p->panels, NULL)) {
        return NULL;
    }
    panel *made = &p->panels[p->count++];
    *made = (panel){.unit = 1};
    snprintf(made->title, sizeof made->title, "%s", title);
    return made;
}

static void add_line(panel *to, const char *name, const char *path)
{
    if (to && to->count < SERIES) {
        snprintf(to->names[to->count], KEY, "%s", name);
        snprintf(to->paths[to->count++], sizeof to->paths[0], "%s", path);
    }
}

/* A line for every key of the object under `outer`. */
static void add_inner(panel *to, const table *t, const char *outer)
{
    char keys[SERIES][KEY], path[2 * KEY];
    size_t count = inner_keys(t, outer, keys);
    for (size_t k = 0; k < count; k++) {
        snprintf(path, sizeof path, "%.63s/%.63s", outer, keys[k]);
        if (strcmp(path, "watch/responses") != 0) { /* what the others are shares of */
            add_line(to, keys[k], path);
        }
    }
}

/* A line for every task: tasks/NAME/key. */
static void add_per_task(page *p, const char *title, const char *key, char tasks[SERIES][KEY], size_t count)
{
    char path[2 * KEY];
    panel *made = add_panel(p, title);
    for (size_t k = 0; k < count; k++) {
        snprintf(path, sizeof path, "tasks/%.50s/%.60s", tasks[k], key);
        add_line(made, tasks[k], path);
    }
}

static const struct {
    const char *title, *lines; /* "name=path ..." */
    bool alarm;
    double unit;
} plan[] = {
    {"reward", "reward=reward", false, 1},
    {"deviation of rewards within a group", "std=reward_std", false, 1},
    {"format and understanding (share)", "format=format_rate understood=parsed_rate truncated=truncated_rate",
     false, 1},
    {"response length (tokens)", "mean=response_length min=response_length_min max=response_length_max", false, 1},
    {"loss", "loss=loss held-out=eval/loss", false, 1},
    {"KL to the start", "kl=kl", false, 1},
    {"entropy (nats)", "entropy=entropy", false, 1},
    {"gradient norm", "norm=grad_norm", false, 1},
    {"learning rate", "lr=lr", false, 1},
    {"groups with equal rewards; replaced by others", "equal=zero_variance_groups replaced=resampled_groups", false,
     1},
    {"clipped and truncated ratios (share)", "clipped=clip_fraction truncated=truncated_ratios", true, 1},
    {"largest importance ratio", "ratio=ratio_max", false, 1},
    {"prompt tokens of a step", "all=prompt_tokens shared=shared_tokens", false, 1},
    {"sampled against recomputed log-probs: must be 0", "gap=logprob_gap", true, 1},
    {"left out: by the filter; broken rows, steps so far",
     "filtered=filtered_rows rows=skipped_rows steps=skipped_steps", true, 1},
    {"tokens of responses per second", "tokens=tokens_per_second", false, 1},
    {"resident memory at most (GiB)", "memory=peak_rss_bytes", false, 1 << 30}};

static const struct {
    const char *title, *key;
} per_task[] = {{"reward by task", "reward"},
                {"loss by task", "loss"},
                {"format rate by task", "format_rate"},
                {"response length by task (tokens)", "response_length"},
                {"truncated by task (share)", "truncated_rate"},
                {"KL by task", "kl"},
                {"entropy by task (nats)", "entropy"},
                {"deviation within a group by task", "reward_std"}};

static void add_planned(page *p)
{
    for (size_t i = 0; i < sizeof plan / sizeof *plan; i++) {
        char lines[3 * KEY], *rest = lines;
        panel *made = add_panel(p, plan[i].title);
        snprintf(lines, sizeof lines, "%s", plan[i].lines);
        if (made) {
            made->alarm = plan[i].alarm;
            made->unit = plan[i].unit;
        }
        for (char *line; (line = strsep(&rest, " "));) {
            char *path = strchr(line, '=');
            *path = 0;
            add_line(made, line, path + 1);
        }
    }
}

/* A number of each task that train.eval_every measured: the first of `names` (ends with NULL) that the task has. */
static void add_evaluation(page *p, const table *t, const char *title, const char *const *names)
{
    char keys[SERIES][KEY], path[2 * KEY], label[KEY];
    size_t count = inner_keys(t, "eval", keys);
    panel *made = add_panel(p, title);
    for (size_t k = 0; k < count; k++) {
        bool found = false;
        for (size_t n = 0; !found && names[n]; n++) {
            snprintf(path, sizeof path, "eval/%.50s/%s", keys[k], names[n]);
            for (size_t i = 0; i < t->count; i++) {
                found = found || isfinite(number_at(t->rows[i], path));
            }
            snprintf(label, sizeof label, "%.30s%s%s", keys[k], names[1] ? " " : "", names[1] ? names[n] : "");
        }
        if (found) {
            add_line(made, label, path);
        }
    }
}

static void lay_out(page *p, const table *t)
{
    char tasks[SERIES][KEY], path[2 * KEY], title[2 * KEY];
    static const char *const reward[] = {"reward", NULL};
    static const char *const official[] = {"accuracy", "mf1", "miou", NULL}; /* the first that a task has */
    size_t count = inner_keys(t, "tasks", tasks);
    add_planned(p);
    add_evaluation(p, t, "evaluation: reward by task", reward);
    add_evaluation(p, t, "evaluation: the task's own number", official);
    add_inner(add_panel(p, "parts of the reward"), t, "parts");
    add_inner(add_panel(p, "seconds of a step"), t, "seconds");
    panel *watch = add_panel(p, "watch over reward hacking (share of responses)");
    add_inner(watch, t, "watch");
    if (watch) {
        watch->share = true;
    }
    for (size_t i = 0; count > 1 && i < sizeof per_task / sizeof *per_task; i++) {
        add_per_task(p, per_task[i].title, per_task[i].key, tasks, count);
    }
    for (size_t k = 0; count > 1 && k < count; k++) {
        snprintf(path, sizeof path, "tasks/%.50s/parts", tasks[k]);
        snprintf(title, sizeof title, "parts of the reward: %.60s", tasks[k]);
        add_inner(add_panel(p, title), t, path);
    }
}

/* The points of one line: its steps, then its values (one block). Steps without a number are left out: not every
 * batch holds every task, and a line with holes says less. NULL when memory is out. */
static double *points_of(const table *t, const panel *p, size_t line, size_t *count)
{
    double *points = tr_calloc(t->count, 2 * sizeof *points);
    size_t n = 0;
    for (size_t i = 0; points && i < t->count; i++) {
        double all = p->share ? number_at(t->rows[i], "watch/responses") : 1;
        double value = number_at(t->rows[i], p->paths[line]) / all / p->unit;
        if (isfinite(value)) {
            points[n] = t->steps[i];
            points[t->count + n++] = value;
        }
    }
    *count = n;
    return points;
}

static tr_status draw(const table *t, const page *p, const char *out, tr_error *err)
{
    tr_plot_panel *panels = tr_calloc(p->count, sizeof *panels);
    tr_plot_series *series = tr_calloc(p->count * SERIES, sizeof *series);
    tr_buffer text = {0};
    char *path = tr_path_join(out, "curves.svg"), *title = tr_format("run %s", out);
    bool ok = panels && series && path && title;
    size_t shown = 0; /* panels with a point: SFT has no rewards */
    for (size_t i = 0; ok && i < p->count; i++) {
        const panel *from = &p->panels[i];
        size_t points_in_all = 0;
        for (size_t s = 0; ok && s < from->count; s++) {
            size_t count;
            double *points = points_of(t, from, s, &count);
            series[i * SERIES + s] = (tr_plot_series){from->names[s], points, points + t->count, count};
            ok = points != NULL;
            for (size_t k = 0; ok && k < count; k++) {
                points_in_all += !from->alarm || points[t->count + k] != 0;
            }
        }
        panels[shown] = (tr_plot_panel){from->title, "step", series + i * SERIES, from->count, t->count / 20};
        shown += points_in_all > 0;
    }
    tr_status status = ok ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory for the curves");
    status = status ? status : tr_plot_svg(title, panels, shown, 3, &text, err);
    status = status ? status : tr_file_write_atomic(path, tr_buffer_text(&text), text.length, err);
    for (size_t i = 0; series && i < p->count * SERIES; i++) {
        free((void *)(uintptr_t)series[i].x);
    }
    tr_buffer_free(&text);
    free(panels);
    free(series);
    free(path);
    free(title);
    return status;
}

tr_status tr_train_curves(const char *out, tr_error *err)
{
    table t = {0};
    page p = {0};
    char *path = tr_path_join(out, "metrics.jsonl");
    tr_status status = path ? table_read(&t, path, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    if (!status) {
        lay_out(&p, &t);
        status = draw(&t, &p, out, err);
    }
    table_free(&t);
    free(p.panels);
    free(path);
#ifdef __GLIBC__
    malloc_trim(0); /* many small objects were freed: a run's memory is what it was before the drawing */
#endif
    return status;
}
