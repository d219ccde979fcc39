/* check_parts.h: what the files of the audit share (internal to corpus/check*.c). */
#ifndef TR_CORPUS_CHECK_PARTS_H
#define TR_CORPUS_CHECK_PARTS_H

#include "corpus/check.h"
#include "task/interval.h"
#include "task/reward.h"

/* Texts by number: each is kept once. */
typedef struct check_names {
    char **items;
    size_t count, capacity, *slots, slot_count; /* slots: open addressing, number + 1 */
} check_names;
tr_status check_names_add(check_names *names, const char *text, size_t *number, tr_error *err);
bool check_names_find(const check_names *names, const char *text);
void check_names_free(check_names *names);

typedef struct check_row {
    size_t file, split, source, video; /* numbers of files and names */
    long line;
    char *id; /* owned */
    tr_task task;
    double duration_s, clip_s[2]; /* as in tr_row */
    size_t segment_at, segment_count;
    uint64_t question, content; /* hashes: of what is asked of which clip; and of the truth too */
    int options, answer;        /* number of options (0: none), and which is right, from 0 */
    bool longest;               /* the right option is the longest one */
} check_row;

typedef struct check_video {
    char *path;
    tr_status status; /* TR_OK: it decodes; TR_NOT_FOUND: no file; else broken */
    char message[320];
    double duration_s, fps;
    int64_t frames, bytes;
    uint64_t hash; /* of the file, where another one has as many bytes */
    bool hashed;
} check_video;

typedef struct check_audit {
    const tr_check_options *options;
    const char *const *paths;
    size_t path_count;
    check_names splits, sources, videos;
    check_row *rows;
    size_t row_count, row_capacity;
    tr_interval *segments;
    size_t segment_count, segment_capacity;
    check_video *files; /* [videos.count] when options->videos */
    int64_t counts[TR_CHECK_KINDS];
    json_t *items[TR_CHECK_KINDS]; /* lists of examples */
} check_audit;

/* Counts a finding and lists it as an example. row may be NULL; line 0: none. */
tr_status check_find(check_audit *audit, tr_check_kind kind, const check_row *row, tr_error *err,
                     const char *format, ...) __attribute__((format(printf, 5, 6)));

/* check_video.c: opens every video and reports what is wrong with files, durations and truths. */
tr_status check_videos(check_audit *audit, tr_error *err);

/* check_bias.c: the members "histograms", "bias" and "options" of the report. NULL when memory is out. */
json_t *check_histograms(const check_audit *audit);
tr_status check_bias(const check_audit *audit, json_t **bias, tr_error *err);
json_t *check_letters(const check_audit *audit);

/* check_heat.c: the member "positions". NULL when memory is out. */
json_t *check_positions(const check_audit *audit);

/* The clip's length that counts: the container's where it is known, else the row's; <= 0: unknown. */
double check_duration(const check_audit *audit, const check_row *row);

#endif
