/* show.h: rows as pictures: a strip of frames above a time axis with the truth drawn on it, and an index page.
 *
 * A strip is one SVG file that needs nothing else (its frames are JPEG data inside). Frames come through the clip
 * and its clock, so a strip shows what the model would be shown, when. A clip that cannot be read leaves a strip
 * without frames that says why. */
#ifndef TR_CORPUS_SHOW_H
#define TR_CORPUS_SHOW_H

#include "corpus/rows.h"
#include "task/interval.h"

typedef struct tr_show_options {
    const char *videos;    /* folder in front of each row's video */
    int64_t frames;        /* of a strip, 2 to 64 */
    int64_t quality;       /* of the JPEG frames: 1 (best) to 31 */
    double time_limit_s;   /* of one decoder process */
    const json_t *answers; /* by row id: [[start, end], ...] to draw below the truth; NULL: none */
} tr_show_options;
/* 12 frames, quality 5, 300 s, no answers. */
void tr_show_defaults(tr_show_options *options);

/* The strip of one row, appended to svg. reason (may be NULL) is set to why there are no frames, or to "". Fails
 * only for want of memory or of an encoder. */
tr_status tr_show_strip(const tr_row *row, const tr_show_options *options, tr_buffer *svg, char reason[320],
                        tr_error *err);

/* Writes OUT/strips/NNNN-ID.svg for every row and OUT/index.html. *report (owned by the caller): {"out", "rows",
 * "strips": [{"id", "file"}], "unread": [{"id", "reason"}]}. */
tr_status tr_show_write(const tr_row *rows, size_t count, const char *title, const tr_show_options *options,
                        const char *out, json_t **report, tr_error *err);

#endif
