/* synth.h: the synthetic corpus: H.264 clips of moving shapes whose events have known starts and ends.
 *
 * Every clip shows several events: a shape of one colour and form that is visible, moving, in [start, end). Events
 * of a clip differ in colour or form, so each is one query. Clips of different splits never share a scene.
 * Everything is a pure function of the seed: the same options make the same files, byte for byte, with the same
 * encoder. A narrow bar along the bottom edge grows with time (`clock`), so that even a tiny vision tower can tell
 * time. */
#ifndef TR_CORPUS_SYNTH_H
#define TR_CORPUS_SYNTH_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { TR_SYNTH_COLOURS = 6, TR_SYNTH_FORMS = 3, TR_SYNTH_EVENTS = 8 };
/* Grey level of the background: about the mean by which the model normalises pixels, so that an empty picture is
 * near 0 and a tiny model sees the shapes and not one large constant. */
enum { TR_SYNTH_BACKGROUND = 116 };

typedef struct tr_synth_options {
    uint64_t seed;
    int64_t clips[3];                      /* of the splits train, tune, test */
    int64_t size;                          /* pixels a side, even */
    double fps;                            /* of the video */
    double min_duration_s, max_duration_s; /* whole seconds are drawn from this range */
    int64_t min_events, max_events;        /* a clip; at most TR_SYNTH_EVENTS */
    double min_event_s;                    /* shortest event */
    double snap_s;                         /* events start and end on multiples of this */
    bool overlap;                          /* events may overlap in time (else they follow each other) */
    bool distinct_colours; /* no two events of a clip share a colour; at most TR_SYNTH_COLOURS events then */
    bool clock;            /* draw the time bar */
    double noise;          /* standard deviation of the background noise, in grey levels */
    const char *tasks;     /* comma-separated: "tg", "tg,dtg,vhd,gvqa,tal,qa" */
} tr_synth_options;

typedef struct tr_synth_event {
    double start_s, end_s;
    int colour, form;
    double x, y, vx, vy; /* centre at start and speed, in fractions of the picture (a second) */
    double radius;       /* fraction of the picture */
} tr_synth_event;

typedef struct tr_synth_scene {
    double duration_s;
    int event_count;
    tr_synth_event events[TR_SYNTH_EVENTS];
} tr_synth_scene;

/* Small clips that a tiny model learns from in minutes. */
void tr_synth_defaults(tr_synth_options *options);

/* The scene of one clip. */
void tr_synth_scene_make(const tr_synth_options *options, int split, int64_t clip, tr_synth_scene *scene);

/* One frame, size * size * 3 bytes RGB, at time_s. */
void tr_synth_frame(const tr_synth_options *options, const tr_synth_scene *scene, int split, int64_t clip,
                    double time_s, uint8_t *rgb);

/* "red circle" and so on; buffer of at least 32 bytes. */
const char *tr_synth_event_name(const tr_synth_event *event, char *buffer);

/* Writes OUT/videos/SPLIT-NNNNN.mp4 and OUT/{train,tune,test}.jsonl, with a progress bar. OUT must not hold a
 * corpus made with other options (OUT/synth.json says with which; the same options: nothing is made again). */
tr_status tr_synth_write(const tr_synth_options *options, const char *out, tr_error *err);

#endif
