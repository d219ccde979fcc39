/* import_parts.h: what the importers share (not for users of import.h): reading, rules, building a row. */
#ifndef TR_CORPUS_IMPORT_PARTS_H
#define TR_CORPUS_IMPORT_PARTS_H

#include "corpus/import.h"

#include <stdbool.h>

/* Every rule: name, what it means and what was done. */
#define TR_IMPORT_RULES(X)                                                                                         \
    X(BAD_RECORD, "bad-record", "a field is missing or has the wrong form; the record is refused")                 \
    X(EMPTY_TEXT, "empty-text", "the sentence or question is empty; refused, a dtg row goes on without it")        \
    X(NO_TRUTH, "no-truth", "the file holds no answer or no interval (a withheld test set); refused")              \
    X(INVERTED, "start-not-before-end", "start >= end; the interval is dropped, a record without others refused")  \
    X(OUTSIDE, "outside-clip",                                                                                     \
      "the interval lies wholly outside the clip; it is dropped, a record without others refused")                 \
    X(CUT, "end-past-duration", "the end lies past the clip's duration; cut there")                                \
    X(NEGATIVE, "negative-start", "the start lies before 0; set to 0")                                             \
    X(SEVERAL, "several-intervals", "the task takes exactly one interval; refused")                                \
    X(OPEN_ENDED, "open-ended", "a question without options; refused")                                             \
    X(NO_OPTION, "answer-not-an-option", "the answer is none of the options; refused")                             \
    X(TWICE, "answer-twice", "two options have the answer's text; the first one is taken")                         \
    X(AMBIGUOUS, "ambiguous-action", "THUMOS14's class Ambiguous, which its evaluation leaves out; refused")       \
    X(OTHER_TASK, "other-task", "the record belongs to a task that was not asked for; refused")                    \
    X(NO_LENGTH, "no-length", "times are shares of a length that is not known (try --videos); refused")            \
    X(DUPLICATE, "duplicate-id", "the id stands above already; refused")                                           \
    X(TRIMMED, "trimmed-text", "white space around a text is taken off")                                           \
    X(TEXT_TIMES, "times-as-text", "times stand in quotes; read as numbers")                                       \
    X(CLIP_UNITS, "duration-in-clips", "the listed duration counts two-second clips; doubled")                     \
    X(NO_DURATION, "no-duration", "the files do not state the clip's duration; the row is kept without it")        \
    X(NO_VIDEO, "no-video", "the video is not in the folder; the row is kept as listed")                           \
    X(BROKEN_VIDEO, "broken-video", "the video cannot be read; the row is kept as listed")                         \
    X(CONTAINER, "duration-differs", "the container is over 0.5 s longer or shorter than listed; it counts")

typedef enum tr_import_rule {
#define X(name, text, means) TR_IMPORT_##name,
    TR_IMPORT_RULES(X)
#undef X
        TR_IMPORT_RULE_COUNT
} tr_import_rule;

typedef struct tr_import {
    const tr_import_options *options;
    const tr_import_source *source;
    char task[8];
    const char *const *paths;
    size_t path_count, path; /* path: the file that is being read */
    FILE *out;
    char stem[256], place[512]; /* of the file, unique; of the record */
    long line;                  /* of the record, 0 in a JSON document */
    size_t number;              /* of the record in its file, from 1 */
    json_t *durations, *splits; /* {video: ...} from files beside the annotations */
    json_t *ids, *seen_videos, *split_rows;
    size_t records, rows, count[TR_IMPORT_RULE_COUNT], refused[TR_IMPORT_RULE_COUNT];
    json_t *examples[TR_IMPORT_RULE_COUNT];
} tr_import;

/* One record on its way to a row. Texts are borrowed; the JSON values are owned and taken by tr_import_add. */
typedef struct tr_import_item {
    const char *id;     /* unique; NULL: STEM/NUMBER */
    const char *task;   /* NULL: im->task */
    const char *video;  /* as published, with an extension where one is usual */
    const char *split;  /* "train", "val", "test", the published subset, or NULL */
    const char *text;   /* query, action or question */
    const char *answer; /* a letter or an option's text */
    double duration_s;  /* of the clip; 0: not known */
    double clip_s[2];   /* part of the video when clip_s[1] > 0 */
    double scale_s;     /* seconds in the unit of the segments; 0: they are seconds */
    json_t *queries;    /* dtg */
    json_t *segments;   /* pairs, numbers or numbers in quotes */
    json_t *options;    /* list of texts, {"A": text, ..}, or lines of text */
    json_t *extra;      /* further fields of the row */
} tr_import_item;

/* ---- import_read.c: the files ---- */

typedef tr_status (*tr_import_each)(tr_import *im, const char *key, json_t *value, tr_error *err);
typedef tr_status (*tr_import_line)(tr_import *im, char *text, tr_error *err);

/* A record of a CSV or TSV file (RFC 4180: quotes, doubled quotes, line ends inside quotes), with its header. */
enum { TR_IMPORT_COLUMNS = 64 };
typedef struct tr_import_table {
    char *names[TR_IMPORT_COLUMNS], *cells[TR_IMPORT_COLUMNS];
    size_t count;
} tr_import_table;
typedef tr_status (*tr_import_record)(tr_import *im, const tr_import_table *table, tr_error *err);

bool tr_import_is(const tr_import *im, const char *extension); /* of the current file, ".csv" */
/* Goes to file i and says what its records are called in messages and ids. */
void tr_import_open(tr_import *im, size_t i);
/* .jsonl: every line; else every member of the list (key NULL) or object. */
tr_status tr_import_each_json(tr_import *im, tr_import_each each, tr_error *err);
/* The same for all of the files, one after the other; for a document that is in memory already: borrowed. */
tr_status tr_import_each_file(tr_import *im, tr_import_each each, tr_error *err);
tr_status tr_import_each_value(tr_import *im, json_t *document, tr_import_each each, tr_error *err);
tr_status tr_import_each_line(tr_import *im, tr_import_line each, tr_error *err);
tr_status tr_import_each_record(tr_import *im, tr_import_record each, tr_error *err);
const char *tr_import_cell(const tr_import_table *table, const char *name); /* NULL: no such column */
void tr_import_place(tr_import *im, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One member of a document in ActivityNet's form, {"version", "taxonomy", "database": {video: ..}}: `inside` for
 * each video of the database; `alone` for a video that stands in the document itself. */
tr_status tr_import_database(tr_import *im, const char *key, json_t *value, tr_import_each inside,
                             tr_import_each alone, tr_error *err);

/* ---- import_rules.c, import_add.c: rules and rows ---- */

/* A rule applied, the record goes on. */
void tr_import_note(tr_import *im, tr_import_rule rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A record is refused (it counts as a record). */
void tr_import_refuse(tr_import *im, tr_import_rule rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Builds, checks and writes a row, or refuses the record. Fails only when out cannot be written or memory is out.
 */
tr_status tr_import_add(tr_import *im, tr_import_item *item, tr_error *err);

/* The whole text as a plain decimal number. */
bool tr_import_number(const char *text, double *out);
/* A JSON number, or a text that is one. */
bool tr_import_value(const json_t *value, double *out);
/* A member as a text or a number, NULL or 0 when it is absent or something else. */
const char *tr_import_text(const json_t *object, const char *key);
double tr_import_double(const json_t *object, const char *key);
/* "[[start, end]]", owned. */
json_t *tr_import_pair(double start_s, double end_s);
/* name with ".mp4" when it has no extension of a video, in buffer; a name that is too long for it as it is. */
const char *tr_import_mp4(const char *name, char *buffer, size_t size);

/* ---- import_video.c ---- */

/* The file for a published name below options.videos: its name there (borrowed from im) and duration, or false. */
bool tr_import_video(tr_import *im, const char *name, const char **found, double *duration_s);

/* ---- the importers ---- */
tr_status tr_import_charades(tr_import *im, tr_error *err);
tr_status tr_import_captions(tr_import *im, tr_error *err);
tr_status tr_import_detection(tr_import *im, tr_error *err);
tr_status tr_import_thumos(tr_import *im, tr_error *err);
tr_status tr_import_qvhighlights(tr_import *im, tr_error *err);
tr_status tr_import_tvsum(tr_import *im, tr_error *err);
tr_status tr_import_youtube_highlights(tr_import *im, tr_error *err);
tr_status tr_import_next_gqa(tr_import *im, tr_error *err);
tr_status tr_import_rextime(tr_import *im, tr_error *err);
tr_status tr_import_didemo(tr_import *im, tr_error *err);
tr_status tr_import_time_r1(tr_import *im, tr_error *err);
tr_status tr_import_tvgbench(tr_import *im, tr_error *err);
tr_status tr_import_museg(tr_import *im, tr_error *err);
tr_status tr_import_temporal_r1(tr_import *im, tr_error *err);
tr_status tr_import_videochat_r1(tr_import *im, tr_error *err);
tr_status tr_import_mvbench(tr_import *im, tr_error *err);
tr_status tr_import_video_mme(tr_import *im, tr_error *err);
tr_status tr_import_tempcompass(tr_import *im, tr_error *err);
tr_status tr_import_mmvu(tr_import *im, tr_error *err);

/* One video with "timestamps" and "sentences" (captions.c); VideoChat-R1 and Charades-CD publish it too. */
tr_status tr_import_captioned_video(tr_import *im, const char *key, json_t *value, tr_error *err);

#endif
