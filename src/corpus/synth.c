/* synth.c: scenes of the synthetic corpus and their frames. Rows and files are in synth_write.c. */
#include "corpus/synth.h"

#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const colour_names[TR_SYNTH_COLOURS] = {"red", "green", "blue", "yellow", "purple", "white"};
static const uint8_t colours[TR_SYNTH_COLOURS][3] = {{220, 40, 40},  {40, 190, 60},  {50, 80, 230},
                                                     {230, 210, 40}, {180, 60, 200}, {245, 245, 245}};
static const char *const form_names[TR_SYNTH_FORMS] = {"circle", "square", "triangle"};

/* Streams of the counter RNG: what a number is drawn for. */
enum { DRAW_DURATION = 1, DRAW_COUNT, DRAW_NAME, DRAW_TIME, DRAW_PLACE, DRAW_NOISE, DRAW_REPEAT };

void tr_synth_defaults(tr_synth_options *options)
{
    *options = (tr_synth_options){.seed = 1,
                                  .clips = {400, 40, 80},
                                  .size = 56,
                                  .fps = 8,
                                  .min_duration_s = 8,
                                  .max_duration_s = 12,
                                  .min_events = 2,
                                  .max_events = 4,
                                  .min_event_s = 1.5,
                                  .snap_s = 0.5,
                                  .overlap = false,
                                  .clock = true,
                                  .noise = 6,
                                  .tasks = "tg"};
}

static uint32_t scene_key(int split, int64_t clip)
{
    return (uint32_t)split << 28 | (uint32_t)clip;
}

static double draw(const tr_synth_options *o, int split, int64_t clip, uint32_t what, uint32_t index)
{
    return tr_random_uniform(o->seed, scene_key(split, clip), what, index, 0);
}

static int draw_below(const tr_synth_options *o, int split, int64_t clip, uint32_t what, uint32_t index, int n)
{
    return (int)tr_random_below(o->seed, scene_key(split, clip), what, index, 1, (uint64_t)n);
}

/* Moves the first name of every colour to the front, in order. */
static void keep_first_of_colours(size_t *order, size_t n)
{
    bool seen[TR_SYNTH_COLOURS] = {false};
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        size_t colour = order[i] % TR_SYNTH_COLOURS;
        if (!seen[colour]) {
            seen[colour] = true;
            order[kept++] = order[i];
        }
    }
}

/* Names without repetition (with distinct_colours not even of a colour), except that `tal` needs actions that
 * happen again. */
static void draw_names(const tr_synth_options *o, int split, int64_t clip, tr_synth_scene *scene)
{
    enum { NAMES = TR_SYNTH_COLOURS * TR_SYNTH_FORMS };
    size_t order[NAMES];
    bool repeats = strstr(o->tasks, "tal") != NULL;
    tr_random_shuffle(o->seed, scene_key(split, clip), DRAW_NAME, NAMES, order);
    if (o->distinct_colours) {
        keep_first_of_colours(order, NAMES);
    }
    for (int i = 0; i < scene->event_count; i++) {
        size_t name = order[i % (o->distinct_colours ? TR_SYNTH_COLOURS : NAMES)];
        if (repeats && i > 0 && draw(o, split, clip, DRAW_REPEAT, (uint32_t)i) < 0.4) {
            name = order[draw_below(o, split, clip, DRAW_REPEAT, 100 + (uint32_t)i, i)];
        }
        scene->events[i].colour = (int)(name % TR_SYNTH_COLOURS);
        scene->events[i].form = (int)(name / TR_SYNTH_COLOURS);
    }
}

/* Events that follow each other: the free time is cut at sorted random points, in whole snaps. */
static void draw_times_apart(const tr_synth_options *o, int split, int64_t clip, tr_synth_scene *scene)
{
    int n = scene->event_count;
    long total = lround(scene->duration_s / o->snap_s), shortest = lround(ceil(o->min_event_s / o->snap_s));
    while (n > 1 && n * (shortest + 1) > total) {
        n--;
    }
    scene->event_count = n;
    long spare = total - n * shortest, cuts[2 * TR_SYNTH_EVENTS] = {0};
    for (int i = 0; i < 2 * n; i++) {
        cuts[i] = spare > 0 ? draw_below(o, split, clip, DRAW_TIME, (uint32_t)i, (int)spare + 1) : 0;
        for (int j = i; j > 0 && cuts[j - 1] > cuts[j]; j--) {
            long t = cuts[j];
            cuts[j] = cuts[j - 1];
            cuts[j - 1] = t;
        }
    }
    for (int i = 0; i < n; i++) {
        scene->events[i].start_s = (double)(cuts[2 * i] + i * shortest) * o->snap_s;
        scene->events[i].end_s = (double)(cuts[2 * i + 1] + (i + 1) * shortest) * o->snap_s;
    }
}

static void draw_times_overlapping(const tr_synth_options *o, int split, int64_t clip, tr_synth_scene *scene)
{
    int total = (int)lround(scene->duration_s / o->snap_s),
        shortest = (int)lround(ceil(o->min_event_s / o->snap_s));
    for (int i = 0; i < scene->event_count; i++) {
        int longest = total * 2 / 3 > shortest ? total * 2 / 3 : shortest;
        int length = shortest + draw_below(o, split, clip, DRAW_TIME, 2 * (uint32_t)i, longest - shortest + 1);
        int start = draw_below(o, split, clip, DRAW_TIME, 2 * (uint32_t)i + 1, total - length + 1);
        scene->events[i].start_s = start * o->snap_s;
        scene->events[i].end_s = (start + length) * o->snap_s;
    }
}

void tr_synth_scene_make(const tr_synth_options *o, int split, int64_t clip, tr_synth_scene *scene)
{
    memset(scene, 0, sizeof *scene);
    int seconds = (int)(o->max_duration_s - o->min_duration_s) + 1;
    scene->duration_s = o->min_duration_s + draw_below(o, split, clip, DRAW_DURATION, 0, seconds);
    scene->event_count =
        (int)o->min_events + draw_below(o, split, clip, DRAW_COUNT, 0, (int)(o->max_events - o->min_events) + 1);
    if (o->overlap) {
        draw_times_overlapping(o, split, clip, scene);
    } else {
        draw_times_apart(o, split, clip, scene);
    }
    draw_names(o, split, clip, scene);
    for (int i = 0; i < scene->event_count; i++) {
        tr_synth_event *e = &scene->events[i];
        double p[5];
        for (uint32_t j = 0; j < 5; j++) {
            p[j] = draw(o, split, clip, DRAW_PLACE, 8 * (uint32_t)i + j);
        }
        e->radius = 0.20 + 0.10 * p[4];
        e->x = 0.3 + 0.4 * p[0];
        e->y = 0.3 + 0.3 * p[1];
        e->vx = 0.12 * (p[2] - 0.5);
        e->vy = 0.12 * (p[3] - 0.5);
    }
}

const char *tr_synth_event_name(const tr_synth_event *event, char *buffer)
{
    snprintf(buffer, 32, "%s %s", colour_names[event->colour], form_names[event->form]);
    return buffer;
}

/* A place that moves and is reflected at the margins, so that a shape stays in the picture. */
static double reflect(double x, double low, double high)
{
    double span = high - low, t = fmod(x - low, 2 * span);
    t = t < 0 ? t + 2 * span : t;
    return low + (t > span ? 2 * span - t : t);
}

/* Is the point (dx, dy), in units of the radius from the centre, inside the form? y points down. */
static bool inside(int form, double dx, double dy)
{
    switch (form) {
    case 0:
        return dx * dx + dy * dy <= 1;
    case 1:
        return fabs(dx) <= 0.88 && fabs(dy) <= 0.88;
    default:
        return dy <= 0.8 && dy >= -1 && fabs(dx) <= (dy + 1) * 0.6;
    }
}

static void draw_event(const tr_synth_options *o, const tr_synth_event *e, double time_s, uint8_t *rgb)
{
    enum { SUB = 3 }; /* 3 x 3 samples a pixel: soft edges */
    double dt = time_s - e->start_s;
    double cx = reflect(e->x + e->vx * dt, e->radius, 1 - e->radius);
    double cy = reflect(e->y + e->vy * dt, e->radius, 0.85 - e->radius);
    for (int64_t y = 0; y < o->size; y++) {
        for (int64_t x = 0; x < o->size; x++) {
            int hits = 0;
            for (int s = 0; s < SUB * SUB; s++) {
                int below = s / SUB, right = s % SUB;
                double px = ((double)x + (right + 0.5) / SUB) / (double)o->size;
                double py = ((double)y + (below + 0.5) / SUB) / (double)o->size;
                hits += inside(e->form, (px - cx) / e->radius, (py - cy) / e->radius);
            }
            uint8_t *pixel = rgb + (y * o->size + x) * 3;
            for (int c = 0; c < 3 && hits; c++) {
                pixel[c] = (uint8_t)((colours[e->colour][c] * hits + pixel[c] * (SUB * SUB - hits)) / (SUB * SUB));
            }
        }
    }
}

void tr_synth_frame(const tr_synth_options *o, const tr_synth_scene *scene, int split, int64_t clip, double time_s,
                    uint8_t *rgb)
{
    uint32_t frame = (uint32_t)lround(time_s * o->fps);
    for (int64_t i = 0; i < o->size * o->size; i++) {
        double noise = 0;
        if (o->noise > 0) {
            uint32_t bits[4];
            tr_random_bits(o->seed, scene_key(split, clip), DRAW_NOISE, frame, (uint32_t)i, bits);
            /* the sum of four uniforms has standard deviation 1/sqrt(3) */
            for (int j = 0; j < 4; j++) {
                noise += bits[j] * 0x1p-32 - 0.5;
            }
            noise *= o->noise * 1.7320508075688772;
        }
        double grey = TR_SYNTH_BACKGROUND + noise;
        rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = (uint8_t)(grey < 0 ? 0 : grey > 255 ? 255 : lround(grey));
    }
    for (int i = 0; i < scene->event_count; i++) {
        const tr_synth_event *e = &scene->events[i];
        if (time_s >= e->start_s - 1e-9 && time_s < e->end_s - 1e-9) {
            draw_event(o, e, time_s, rgb);
        }
    }
    if (o->clock) {
        int64_t height = o->size / 7;
        int64_t filled = lround(time_s / o->max_duration_s * (double)o->size);
        for (int64_t y = o->size - height; y < o->size; y++) {
            for (int64_t x = 0; x < o->size; x++) {
                memset(rgb + (y * o->size + x) * 3, x < filled ? 230 : 10, 3);
            }
        }
    }
}
