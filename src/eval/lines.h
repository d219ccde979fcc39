/* lines.h: a JSON Lines file that grows while a long job runs and is continued after a kill (internal to eval).
 *
 * Whole lines that are there when the file is opened again are handed to the caller; a line without its end (the
 * process died while it was written) is cut off. One process writes at a time: the file is locked. Never rewrites a
 * line. */
#ifndef TR_EVAL_LINES_H
#define TR_EVAL_LINES_H

#include "base/json.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct tr_lines {
    FILE *stream;
    char *path;
    int64_t count; /* whole lines in the file */
} tr_lines;

/* One line that was there: index from 0; where is "path:line" for messages. */
typedef tr_status (*tr_lines_each)(void *context, int64_t index, const json_t *line, const char *where,
                                   tr_error *err);

/* Whether path is a file with bytes: something to continue. */
bool tr_lines_stand(const char *path);

/* Opens path for appending. resume: `each` sees every whole line that is there; else the file starts empty. */
tr_status tr_lines_open(tr_lines *lines, const char *path, bool resume, tr_lines_each each, void *context,
                        tr_error *err);
tr_status tr_lines_add(tr_lines *lines, const json_t *line, tr_error *err);
/* What was added is in the file (not necessarily on the disk). */
tr_status tr_lines_flush(tr_lines *lines, tr_error *err);
/* Puts everything on the disk and closes. */
tr_status tr_lines_finish(tr_lines *lines, tr_error *err);
/* Closes after an error; a closed or zeroed one is fine. */
void tr_lines_close(tr_lines *lines);

/* Reads a finished file of that kind: every line must be whole. */
tr_status tr_lines_read(const char *path, tr_lines_each each, void *context, tr_error *err);

#endif
