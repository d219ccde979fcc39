/* synth_rows.c: the rows of one synthetic scene, for every task.
 *
 *   tg    each name that is seen once: when is it there?    dtg   all such names of the clip, in scene order
 *   vhd   a colour: every time something of it is there     tal   a name: each of its instances
 *   gvqa  which form has the colour? with the evidence      qa    what comes first? */
#include "corpus/synth_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const tr_synth_splits[3] = {"train", "tune", "test"};

typedef struct maker {
    const tr_synth_options *options;
    const tr_synth_scene *scene;
    const char *split, *name;
    json_t *list;
    int made;
} maker;

static bool wanted(const maker *m, const char *task)
{
    size_t n = strlen(task);
    for (const char *p = m->options->tasks; (p = strstr(p, task)); p += n) {
        if ((p == m->options->tasks || p[-1] == ',') && (p[n] == 0 || p[n] == ',')) {
            return true;
        }
    }
    return false;
}

static bool same_name(const tr_synth_event *a, const tr_synth_event *b)
{
    return a->colour == b->colour && a->form == b->form;
}

static bool seen_once(const tr_synth_scene *scene, int index)
{
    for (int i = 0; i < scene->event_count; i++) {
        if (i != index && same_name(&scene->events[i], &scene->events[index])) {
            return false;
        }
    }
    return true;
}

/* A row with the common fields; the caller adds the task's. */
static json_t *begin(maker *m, const char *task)
{
    char id[64];
    snprintf(id, sizeof id, "%s/%s-%d", m->name, task, m->made++);
    json_t *row = json_pack("{s:s, s:s, s:s+, s:f, s:s, s:s}", "id", id, "task", task, "video", m->name, ".mp4",
                            "duration", m->scene->duration_s, "source", "synth", "split", m->split);
    if (row) {
        json_array_append_new(m->list, row);
    }
    return row;
}

static json_t *pair(double start_s, double end_s)
{
    return json_pack("[f, f]", start_s, end_s);
}

static int compare_pairs(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (x[0] > y[0]) - (x[0] < y[0]);
}

/* The union of the events that match, merged and sorted. */
static json_t *merged(const tr_synth_scene *scene, int colour, int form)
{
    double spans[TR_SYNTH_EVENTS][2];
    size_t count = 0, kept = 0;
    for (int i = 0; i < scene->event_count; i++) {
        const tr_synth_event *e = &scene->events[i];
        if (e->colour == colour && (form < 0 || e->form == form)) {
            spans[count][0] = e->start_s;
            spans[count++][1] = e->end_s;
        }
    }
    qsort(spans, count, sizeof *spans, compare_pairs);
    for (size_t i = 1; i < count; i++) {
        if (spans[i][0] <= spans[kept][1]) {
            spans[kept][1] = spans[i][1] > spans[kept][1] ? spans[i][1] : spans[kept][1];
        } else {
            kept++;
            memmove(spans[kept], spans[i], sizeof spans[i]);
        }
    }
    json_t *list = json_array();
    for (size_t i = 0; i < (count ? kept + 1 : 0); i++) {
        json_array_append_new(list, pair(spans[i][0], spans[i][1]));
    }
    return list;
}

static void set_query(json_t *row, const char *key, const char *name)
{
    json_object_set_new(row, key, json_sprintf("the %s is in the picture", name));
}

static void make_tg(maker *m)
{
    char name[32];
    for (int i = 0; i < m->scene->event_count; i++) {
        const tr_synth_event *e = &m->scene->events[i];
        json_t *row = seen_once(m->scene, i) ? begin(m, "tg") : NULL;
        if (row) {
            set_query(row, "query", tr_synth_event_name(e, name));
            json_object_set_new(row, "segments", json_pack("[o]", pair(e->start_s, e->end_s)));
        }
    }
}

static void make_dtg(maker *m)
{
    char name[32];
    json_t *queries = json_array(), *segments = json_array();
    /* By name, not by time: real annotations are not always in order either. */
    for (int key = 0; key < TR_SYNTH_COLOURS * TR_SYNTH_FORMS; key++) {
        for (int i = 0; i < m->scene->event_count; i++) {
            const tr_synth_event *e = &m->scene->events[i];
            if (e->form * TR_SYNTH_COLOURS + e->colour == key && seen_once(m->scene, i)) {
                json_array_append_new(queries,
                                      json_sprintf("the %s is in the picture", tr_synth_event_name(e, name)));
                json_array_append_new(segments, pair(e->start_s, e->end_s));
            }
        }
    }
    json_t *row = json_array_size(queries) ? begin(m, "dtg") : NULL;
    if (row) {
        json_object_set(row, "queries", queries);
        json_object_set(row, "segments", segments);
    }
    json_decref(queries);
    json_decref(segments);
}

/* Saliency of every two-second window, 0 to 4 by how much of it the highlight covers (QVHighlights' grid). */
static json_t *saliency(const json_t *segments, double duration_s)
{
    json_t *list = json_array();
    for (int window = 0; 2.0 * window < duration_s; window++) {
        double t = 2.0 * window, covered = 0;
        size_t i;
        json_t *segment;
        json_array_foreach(segments, i, segment)
        {
            double s = json_number_value(json_array_get(segment, 0)),
                   e = json_number_value(json_array_get(segment, 1));
            double from = s > t ? s : t, to = e < t + 2 ? e : t + 2;
            covered += to > from ? to - from : 0;
        }
        json_array_append_new(list, json_integer(lround(covered * 2)));
    }
    return list;
}

static void make_vhd(maker *m)
{
    for (int colour = 0; colour < TR_SYNTH_COLOURS; colour++) {
        json_t *segments = merged(m->scene, colour, -1);
        json_t *row = json_array_size(segments) ? begin(m, "vhd") : NULL;
        if (row) {
            char name[32];
            tr_synth_event sample = {.colour = colour};
            tr_synth_event_name(&sample, name);
            *strchr(name, ' ') = 0;
            json_object_set_new(row, "query", json_sprintf("something %s is in the picture", name));
            json_object_set(row, "segments", segments);
            json_object_set_new(row, "saliency", saliency(segments, m->scene->duration_s));
        }
        json_decref(segments);
    }
}

static void make_tal(maker *m)
{
    char name[32];
    for (int i = 0; i < m->scene->event_count; i++) {
        const tr_synth_event *e = &m->scene->events[i];
        bool first = true;
        for (int j = 0; j < i; j++) {
            first &= !same_name(&m->scene->events[j], e);
        }
        json_t *row = first ? begin(m, "tal") : NULL;
        if (row) {
            json_object_set_new(row, "action", json_sprintf("%s appears", tr_synth_event_name(e, name)));
            json_object_set_new(row, "segments", merged(m->scene, e->colour, e->form));
        }
    }
}

static void set_options(json_t *row, const char *const *options, int count, int right)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        json_array_append_new(list, json_string(options[i]));
    }
    json_object_set_new(row, "options", list);
    json_object_set_new(row, "answer", json_sprintf("%c", 'A' + right));
}

static void make_gvqa(maker *m)
{
    static const char *const forms[TR_SYNTH_FORMS] = {"circle", "square", "triangle"};
    for (int i = 0; i < m->scene->event_count; i++) {
        const tr_synth_event *e = &m->scene->events[i];
        bool only = true; /* of its colour: else the question has two answers */
        for (int j = 0; j < m->scene->event_count; j++) {
            only &= j == i || m->scene->events[j].colour != e->colour;
        }
        json_t *row = only ? begin(m, "gvqa") : NULL;
        if (row) {
            char name[32];
            tr_synth_event_name(e, name);
            *strchr(name, ' ') = 0;
            json_object_set_new(row, "question", json_sprintf("which form does the %s thing have?", name));
            set_options(row, forms, TR_SYNTH_FORMS, e->form);
            json_object_set_new(row, "segments", json_pack("[o]", pair(e->start_s, e->end_s)));
        }
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Options stand in alphabetical order: in that of time, the first would always be right. */
static void make_qa(maker *m)
{
    char names[TR_SYNTH_EVENTS][32];
    const char *options[TR_SYNTH_EVENTS];
    int count = 0, first = -1, right = 0;
    for (int i = 0; i < m->scene->event_count; i++) {
        if (!seen_once(m->scene, i)) {
            return; /* "first" of a repeated name would be ambiguous among the options */
        }
        options[count++] = tr_synth_event_name(&m->scene->events[i], names[i]);
        if (first < 0 || m->scene->events[i].start_s < m->scene->events[first].start_s) {
            first = i;
        } else if (m->scene->events[i].start_s == m->scene->events[first].start_s) {
            return; /* a tie */
        }
    }
    json_t *row = count >= 2 ? begin(m, "qa") : NULL;
    if (row) {
        qsort(options, (size_t)count, sizeof *options, by_text);
        while (options[right] != names[first]) {
            right++;
        }
        json_object_set_new(row, "question", json_string("what comes into the picture first?"));
        set_options(row, options, count, right);
    }
}

tr_status tr_synth_rows(const tr_synth_options *options, const tr_synth_scene *scene, int split, const char *name,
                        json_t *list, tr_error *err)
{
    static const struct {
        const char *task;
        void (*make)(maker *);
    } makers[] = {{"tg", make_tg},   {"dtg", make_dtg},   {"vhd", make_vhd},
                  {"tal", make_tal}, {"gvqa", make_gvqa}, {"qa", make_qa}};
    maker m = {options, scene, tr_synth_splits[split], name, list, 0};
    size_t before = json_array_size(list);
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        if (wanted(&m, makers[i].task)) {
            makers[i].make(&m);
        }
    }
    if (json_array_size(list) - before != (size_t)m.made) {
        return tr_fail(err, TR_MEMORY, name, "out of memory");
    }
    return TR_OK;
}
