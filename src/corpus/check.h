/* check.h: an audit of corpus rows: what is wrong with them, how they are spread, and what a blind guess earns.
 *
 * Reading goes on past bad rows; everything found is counted by kind, with examples. The result is one JSON object
 * (docs/data.md lists its members), from which the table and the plots are made. Rows are never changed. */
#ifndef TR_CORPUS_CHECK_H
#define TR_CORPUS_CHECK_H

#include "base/json.h"

/* What can be found, by name. */
/* clang-format off */
#define TR_CHECK_LIST(X)                                                                                      \
    X(BAD_ROW, "bad-row", "does not read as a corpus row")                                                    \
    X(DUPLICATE_ID, "duplicate-id", "an id that stands in the same file already")                             \
    X(DUPLICATE_ROW, "duplicate-row", "the same video, question and truth as an earlier row")                 \
    X(TWO_TRUTHS, "two-truths", "the same video and question as an earlier row, with another truth")          \
    X(SHARED_VIDEO, "shared-video", "a video that stands in more than one split")                             \
    X(NO_DURATION, "no-duration", "a row that does not say how long its clip is")                             \
    X(TWO_DURATIONS, "two-durations", "another duration than an earlier row of the same clip")                \
    X(MISSING_VIDEO, "missing-video", "a video without a file")                                               \
    X(BROKEN_VIDEO, "broken-video", "a video that does not decode")                                           \
    X(SAME_FILE, "same-file", "a video whose file equals that of another name")                               \
    X(WRONG_DURATION, "wrong-duration", "a duration that differs from the container's")                       \
    X(CLIP_OUTSIDE, "clip-outside", "a part that reaches past the end of its video")                          \
    X(PAST_END, "past-end", "a truth that reaches past the real end of its clip")
/* clang-format on */
typedef enum tr_check_kind {
#define X(name, key, text) TR_CHECK_##name,
    TR_CHECK_LIST(X)
#undef X
        TR_CHECK_KINDS
} tr_check_kind;

typedef struct tr_check_options {
    const char *videos;  /* folder in front of each row's video; NULL: no file is opened */
    bool quick;          /* decode only the first seconds of each video (all packets are still counted) */
    double tolerance_s;  /* by which times may differ from the container's */
    double time_limit_s; /* of one decoder process */
    int64_t jobs;        /* decoder processes at a time */
    int64_t examples;    /* findings of each kind that are listed; 0: all */
    uint64_t work;       /* IoUs that one search for a blind guess may compute; 0: no limit */
} tr_check_options;
/* Full decoding, 0.5 s, 300 s, 2 jobs, 100 examples, 1e9 IoUs. */
void tr_check_defaults(tr_check_options *options);

/* Audits the rows of all files together. *report is owned by the caller. Fails only when a file cannot be read at
 * all, when none holds a good row, or when memory is out; what is wrong with rows and videos stands in the report.
 */
tr_status tr_check_rows(const char *const *paths, size_t count, const tr_check_options *options, json_t **report,
                        tr_error *err);

/* The number of findings of all kinds in a report. */
int64_t tr_check_findings(const json_t *report);

/* The report as tables of text, and its histograms as one SVG page; appended to out. */
tr_status tr_check_text(const json_t *report, tr_buffer *out, tr_error *err);
tr_status tr_check_svg(const json_t *report, tr_buffer *out, tr_error *err);
/* Starts against ends of the true intervals, one square of 20 x 20 cells a task. */
tr_status tr_check_heat_svg(const json_t *report, tr_buffer *out, tr_error *err);

#endif
