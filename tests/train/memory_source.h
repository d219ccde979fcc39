/* memory_source.h: rows that live in memory, and runs on a tiny model, for the tests of the training loops.
 *
 * A prompt is [vision start, 8 placeholders, vision end, 20 + row]; its pixels come from the counter RNG. A
 * response's text is its ids in decimal; it earns the share of its tokens that are even (odd for odd rows), so that
 * there is something to learn. Rows can be told to be broken, constant (always 0.5) or to have NaN pixels. */
#ifndef TR_TESTS_TRAIN_MEMORY_SOURCE_H
#define TR_TESTS_TRAIN_MEMORY_SOURCE_H

#include "support/shared.h"

#include "base/file.h"
#include "base/random.h"
#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 8, VISUAL = 8, PROMPT = VISUAL + 3, VOCAB = 64, TARGET = 5, END = 1 };

typedef struct memory_rows {
    tr_source source; /* must stay first: the loops hold a pointer to it */
    int32_t entry[ROWS];
    double weight;
    uint8_t banned[VOCAB];
    tr_model_config config;
    char names[ROWS][8];
    int64_t broken, constant, not_finite; /* rows; -1: none */
    int64_t per_clip;                     /* rows that share a clip; 0: each has its own */
    uint64_t shared[ROWS];
    int64_t loads, stop_at; /* raises `stop` at that load; 0: never */
    bool good_targets;      /* targets earn the largest reward */
    int64_t longest_target; /* tokens that the source says a target may have; 0: TARGET */
    bool scored;            /* the rows have these scores */
    double scores[ROWS];
    int stop_algorithm; /* only in stages of that algorithm; -1: in all */
    volatile sig_atomic_t stop;
    void (*hook)(const char *what, int64_t loads); /* told of every "load" and "score"; NULL: nobody */
} memory_rows;

static memory_rows rows_template; /* what tests set; every opened source is a copy */
static memory_rows *rows_open;    /* the newest opened one */

static inline int32_t own_token(int64_t row)
{
    return 20 + (int32_t)row % 2;
}

static inline tr_status memory_load(tr_source *source, int64_t row, bool target, tr_sample *s, tr_error *err)
{
    memory_rows *m = (memory_rows *)source;
    const double spg = 1.0;
    m->loads++;
    if (m->stop_at && m->loads == m->stop_at) {
        rows_template.stop = 1;
    }
    if (m->hook) {
        m->hook("load", m->loads);
    }
    if (row == m->broken) {
        return tr_fail(err, TR_CHILD, m->names[row], "the clip is broken");
    }
    s->row = row;
    s->id = m->names[row];
    s->task = row % 2 ? "tg" : "qa";
    s->scheme = "tempr1";
    s->duration_s = 10;
    s->clip_key = m->shared[row];
    s->prompt = PROMPT;
    s->visual_tokens = VISUAL;
    s->prompt_ids = calloc(PROMPT, sizeof *s->prompt_ids);
    s->positions = calloc(3 * PROMPT, sizeof *s->positions);
    s->grids = calloc(1, sizeof *s->grids);
    s->prompt_ids[0] = (int32_t)m->config.vision_start_id;
    for (int i = 0; i < VISUAL; i++) {
        s->prompt_ids[1 + i] = (int32_t)m->config.video_id;
    }
    s->prompt_ids[VISUAL + 1] = (int32_t)m->config.vision_end_id;
    s->prompt_ids[VISUAL + 2] = own_token(row);
    s->grids[0][0] = 2;
    s->grids[0][1] = 4;
    s->grids[0][2] = 4;
    s->visual = (tr_visual){NULL, 4 * VISUAL, (const int32_t(*)[3])s->grids, 1};
    if (target) {
        s->target = strdup("target");
        s->target_count = TARGET;
        s->target_ids = calloc(TARGET, sizeof *s->target_ids);
        for (int i = 0; i < TARGET; i++) {
            s->target_ids[i] = i == TARGET - 1 ? END : own_token(row) + (m->good_targets ? 2 : 1) * i;
        }
    }
    return tr_positions(&m->config, s->prompt_ids, PROMPT, s->visual.grids, 1, &spg, s->positions, NULL, err);
}

static inline tr_status memory_patches(tr_source *source, tr_sample *s, tr_error *err)
{
    const memory_rows *m = (const memory_rows *)source;
    (void)err;
    tr_sample_take_patches(s);
    for (int64_t i = 0; i < s->visual.rows * 1176; i++) {
        s->patches[i] = (float)tr_random_uniform(5, (uint32_t)s->clip_key - 1, (uint32_t)i, 0, 0) - 0.5f;
    }
    if (s->row == m->not_finite) {
        s->patches[7] = NAN;
    }
    return TR_OK;
}

static inline tr_status memory_text(tr_source *source, const int32_t *ids, int64_t count, tr_buffer *text,
                                    tr_error *err)
{
    tr_status status = TR_OK;
    (void)source;
    for (int64_t i = 0; !status && i < count; i++) {
        status = tr_buffer_printf(text, err, "%d ", ids[i]);
    }
    return status;
}

static inline tr_status memory_score(tr_source *source, const tr_sample *s, const char *text, size_t length,
                                     bool stopped, tr_score *score, tr_error *err)
{
    const memory_rows *m = (const memory_rows *)source;
    double hits = 0, count = 0;
    if (m->hook) {
        m->hook("score", m->loads);
    }
    (void)length;
    (void)err;
    for (char *end; *text; text = end + 1, count++) {
        hits += strtol(text, &end, 10) % 2 == s->row % 2;
    }
    score->part_count = 2;
    snprintf(score->parts[0].name, sizeof score->parts[0].name, "hits");
    score->parts[0].value = s->row == m->constant || m->constant == ROWS ? 0.5 : hits / count;
    score->parts[0].weight = 1;
    snprintf(score->parts[1].name, sizeof score->parts[1].name, "stopped");
    score->parts[1].value = stopped;
    score->reward = score->parts[0].value;
    score->format = stopped;
    return TR_OK;
}

static inline void memory_free(tr_source *source)
{
    free(source);
    rows_open = NULL;
}

static inline tr_status memory_open(void *context, const tr_config *config, const tr_model_config *model, bool eval,
                                    tr_source **source, tr_error *err)
{
    static const tr_source_functions functions = {memory_load,  memory_patches, memory_text,
                                                  memory_score, memory_free,    NULL};
    memory_rows *m = malloc(sizeof *m);
    (void)context;
    (void)err;
    assert_non_null(m);
    *m = rows_template;
    m->stop_at = eval || (m->stop_algorithm >= 0 && m->stop_algorithm != config->algorithm) ? 0 : m->stop_at;
    m->config = *model;
    for (int i = 0; i < ROWS; i++) {
        snprintf(m->names[i], sizeof m->names[i], "row%d", i);
        m->shared[i] = (uint64_t)(m->per_clip ? i / m->per_clip : i) + 1;
    }
    m->banned[model->video_id] = m->banned[model->image_id] = m->banned[model->vision_start_id] =
        m->banned[model->vision_end_id] = 1;
    m->weight = 1;
    m->source = (tr_source){.call = &functions,
                            .rows = rows_template.source.rows ? rows_template.source.rows : ROWS,
                            .entry = m->entry,
                            .weights = &m->weight,
                            .entries = 1,
                            .banned = m->banned,
                            .shared = m->shared,
                            .limits = {4 * VISUAL, 16, PROMPT, TARGET, 2 + TARGET}};
    if (m->longest_target) {
        m->source.limits.target_tokens = m->longest_target;
        m->source.limits.pair_tokens = 2 + m->longest_target;
    }
    m->source.scores = m->scored ? m->scores : NULL;
    *source = &m->source;
    rows_open = m;
    return TR_OK;
}

/* The tiny model's folder, made once: every part there, no more than a few thousand numbers each. */
static inline const char *tiny_model(void)
{
    static char path[512];
    if (!path[0]) {
        tr_model_config c;
        tr_model *model;
        tr_error err = {0};
        assert_int_equal(tr_model_config_preset("nano", &c, NULL), TR_OK);
        c.hidden = c.vision.out_hidden = 32;
        c.heads = 2;
        c.kv_heads = 1;
        c.head_dim = 16;
        c.intermediate = 48;
        c.vocab = VOCAB;
        c.vision.depth = 1;
        c.vision.full_block_count = 0;
        c.vision.hidden = 32;
        c.vision.heads = 2;
        c.vision.intermediate = 40;
        c.image_id = 60;
        c.video_id = 61;
        c.vision_start_id = 62;
        c.vision_end_id = 63;
        c.bos_id = c.pad_id = -1;
        c.eos_id = c.end_ids[0] = END;
        c.end_count = 1;
        tr_model_options options = {.dtype = TR_F32};
        snprintf(path, sizeof path, "%s", scratch_path("model"));
        tr_status status = tr_model_create(&c, &options, 11, &model, &err);
        if (!status) {
            status = tr_model_save(model, path, TR_F32, 0, NULL, &err);
        }
        if (status) {
            printf("%s: %s\n", err.where, err.message);
        }
        assert_int_equal(status, TR_OK);
        tr_model_free(model);
    }
    return path;
}

static inline void reset_rows(void)
{
    memset(&rows_template, 0, sizeof rows_template);
    rows_template.broken = rows_template.constant = rows_template.not_finite = rows_template.stop_algorithm = -1;
}

/* Runs `out` below the scratch folder with further YAML lines. */
static inline tr_status run(const char *out, const char *extra, bool resume, bool strict, tr_error *err)
{
    char text[2048];
    tr_config_set set;
    json_t *summary = NULL;
    snprintf(text, sizeof text, "model: %s\nout: %s\ndata: [ {rows: r} ]\n%s", tiny_model(), scratch_path(out),
             extra);
    memset(err, 0, sizeof *err);
    tr_status status = tr_config_parse(text, strlen(text), "test.yaml", NULL, 0, &set, err);
    if (!status) {
        rows_template.stop = 0;
        tr_train_options options = {.resume = resume,
                                    .strict = strict,
                                    .quiet = true,
                                    .stop = &rows_template.stop,
                                    .open_source = memory_open};
        status = tr_train_run(&set, &options, &summary, err);
        tr_config_set_free(&set);
    }
    if (status && status != TR_INTERRUPTED) {
        printf("(%s: %s)\n", err->where, err->message);
    }
    json_decref(summary);
    return status;
}

/* metrics.jsonl of a run as a list. */
static inline json_t *metrics_of(const char *out, const char *name)
{
    char path[1024];
    json_t *list = json_array();
    tr_buffer line = {0};
    bool got;
    snprintf(path, sizeof path, "%s/%s", scratch_path(out), name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (!tr_file_read_line(f, 0, &line, &got, NULL) && got) {
        json_t *object;
        assert_int_equal(tr_json_parse(tr_buffer_text(&line), line.length, path, 0, &object, NULL), TR_OK);
        json_array_append_new(list, object);
    }
    fclose(f);
    tr_buffer_free(&line);
    return list;
}

static inline double number(const json_t *list, size_t step, const char *key)
{
    const json_t *value = json_object_get(json_array_get(list, step), key);
    if (!json_is_number(value)) {
        printf("step %zu: %s is not a number\n", step + 1, key);
    }
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static inline double mean_of(const json_t *list, size_t from, size_t to, const char *key)
{
    double sum = 0;
    for (size_t i = from; i < to; i++) {
        sum += number(list, i, key);
    }
    return sum / (double)(to - from);
}

static inline void assert_same_file(const char *a, const char *b)
{
    tr_buffer x = {0}, y = {0};
    assert_int_equal(tr_file_read(scratch_path(a), 0, &x, NULL), TR_OK);
    assert_int_equal(tr_file_read(scratch_path(b), 0, &y, NULL), TR_OK);
    if (x.length != y.length || memcmp(x.data, y.data, x.length)) {
        printf("%s and %s differ\n", a, b);
    }
    assert_int_equal(x.length, y.length);
    assert_memory_equal(x.data, y.data, x.length);
    tr_buffer_free(&x);
    tr_buffer_free(&y);
}

/* All numbers but those that clocks and the system give. */
static inline void assert_same_metrics(const char *a, const char *b)
{
    json_t *x = metrics_of(a, "metrics.jsonl"), *y = metrics_of(b, "metrics.jsonl");
    static const char *const measured[] = {"seconds", "tokens_per_second", "peak_rss_bytes"};
    assert_int_equal(json_array_size(x), json_array_size(y));
    for (size_t i = 0; i < json_array_size(x); i++) {
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(json_object_del(json_array_get(x, i), measured[k]), 0);
            assert_int_equal(json_object_del(json_array_get(y, i), measured[k]), 0);
        }
        assert_true(json_equal(json_array_get(x, i), json_array_get(y, i)));
    }
    json_decref(x);
    json_decref(y);
}

#endif
