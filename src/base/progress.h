/* progress.h: a progress bar with time left, on stderr.
 *
 * On a terminal one line is redrawn at most 10 times a second; elsewhere a plain line is printed every 30 seconds
 * and at the end, so that logs stay readable. Not thread safe. */
#ifndef TR_BASE_PROGRESS_H
#define TR_BASE_PROGRESS_H

#include <stdint.h>

typedef struct tr_progress {
    char label[64];
    int64_t total, done;
    double start_s, last_s;
    int drawn, terminal, quiet;
} tr_progress;

/* Turns all bars off (--quiet) or on again. */
void tr_progress_set_quiet(int quiet);

/* total 0: unknown. */
void tr_progress_begin(tr_progress *progress, const char *label, int64_t total);
/* done so far; note (may be NULL) is a short text behind the bar, e.g. "reward 0.42". */
void tr_progress_update(tr_progress *progress, int64_t done, const char *note);
/* Draws the last state and ends the line. */
void tr_progress_end(tr_progress *progress, const char *note);

#endif
