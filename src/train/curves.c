/* curves.c: draws RUN/curves.svg from RUN/metrics.jsonl: reward, its parts, loss, KL, entropy, length, format rate,
 * learning rate over the steps. */
#include "train/trainer.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/plot.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERIES = 16, PANELS = 9 };

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

static tr_status table_read(table *t, const char *path, tr_error *err)
{
    FILE *f = fopen(path, "r");
    tr_buffer line = {0};
    bool got = false;
    tr_status status = f ? TR_OK : tr_fail(err, TR_IO, path, "cannot be read: %s", strerror(errno));
    while (!status && !(status = tr_file_read_line(f, 0, &line, &got, err)) && got) {
        json_t *object;
        status = tr_json_parse(tr_buffer_text(&line), line.length, path, (long)t->count, &object, err);
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

static double *values_of(const table *t, const char *outer, const char *key)
{
    double *values = tr_calloc(t->count, sizeof *values);
    for (size_t i = 0; values && i < t->count; i++) {
        const json_t *object = outer ? json_object_get(t->rows[i], outer) : t->rows[i];
        const json_t *value = json_object_get(object, key);
        values[i] = json_is_number(value) ? json_number_value(value) : NAN;
    }
    return values;
}

/* All keys that an inner object ever had, in order of appearance. */
static size_t inner_keys(const table *t, const char *outer, char keys[SERIES][64])
{
    size_t count = 0;
    const char *key;
    json_t *value;
    for (size_t i = 0; i < t->count; i++) {
        json_object_foreach(json_object_get(t->rows[i], outer), key, value)
        {
            bool known = false;
            for (size_t k = 0; k < count; k++) {
                known = known || !strcmp(keys[k], key);
            }
            if (!known && count < SERIES) {
                snprintf(keys[count++], 64, "%s", key);
            }
        }
    }
    return count;
}

static const struct {
    const char *title, *outer, *key; /* outer: every key of that object is a line */
} plan[PANELS] = {{"reward", NULL, "reward"},
                  {"parts of the reward", "parts", NULL},
                  {"format rate", NULL, "format_rate"},
                  {"loss", NULL, "loss"},
                  {"KL to the start", NULL, "kl"},
                  {"entropy (nats)", NULL, "entropy"},
                  {"response length (tokens)", NULL, "response_length"},
                  {"gradient norm", NULL, "grad_norm"},
                  {"learning rate", NULL, "lr"}};

static tr_status draw(const table *t, const char *out, tr_error *err)
{
    static const char x_label[] = "step";
    tr_plot_panel panels[PANELS];
    tr_plot_series series[PANELS][SERIES];
    char keys[PANELS][SERIES][64];
    tr_buffer page = {0};
    char *path = tr_path_join(out, "curves.svg"), *title = tr_format("run %s", out);
    tr_status status = path && title ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    memset(series, 0, sizeof series);
    for (size_t p = 0; p < PANELS; p++) {
        size_t count = 1;
        if (plan[p].outer) {
            count = inner_keys(t, plan[p].outer, keys[p]);
        } else {
            snprintf(keys[p][0], sizeof keys[p][0], "%s", plan[p].key);
        }
        for (size_t s = 0; s < count; s++) {
            double *values = values_of(t, plan[p].outer, keys[p][s]);
            series[p][s] = (tr_plot_series){keys[p][s], t->steps, values, values ? t->count : 0};
        }
        panels[p] = (tr_plot_panel){plan[p].title, x_label, series[p], count, t->count / 20};
    }
    status = status ? status : tr_plot_svg(title, panels, PANELS, 3, &page, err);
    status = status ? status : tr_file_write_atomic(path, tr_buffer_text(&page), page.length, err);
    for (size_t p = 0; p < PANELS; p++) {
        for (size_t s = 0; s < SERIES; s++) {
            free((void *)(uintptr_t)series[p][s].y);
        }
    }
    tr_buffer_free(&page);
    free(path);
    free(title);
    return status;
}

tr_status tr_train_curves(const char *out, tr_error *err)
{
    table t = {0};
    char *path = tr_path_join(out, "metrics.jsonl");
    tr_status status = path ? table_read(&t, path, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    status = status ? status : draw(&t, out, err);
    table_free(&t);
    free(path);
    return status;
}
