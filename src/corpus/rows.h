/* rows.h: the one reader and writer of corpus rows (JSON Lines).
 *
 * A row is {"id","task","video","duration","source","split", ...} plus the fields of its task; times are seconds
 * (float64) relative to the clip's start; optional "clip": [start, end] takes a part of the video. Unknown fields
 * are kept. Errors name file:line:column and the field. Reading is streaming; nothing here opens a video. */
#ifndef TR_CORPUS_ROWS_H
#define TR_CORPUS_ROWS_H

#include "base/json.h"

#include <stdio.h>

typedef struct tr_row {
    json_t *json;      /* the whole row, owned; the texts below are borrowed from it */
    const char *id;    /* unique within a file */
    const char *task;  /* "tg", "dtg", "vhd", "gvqa", "tal" or "qa" */
    const char *video; /* as written: relative to the videos folder, or absolute */
    double duration_s; /* of the clip (after "clip"); negative when the row does not say */
    double clip_s[2];  /* part of the video; {0, -1} when all of it */
    long line;         /* in its file, from 1 */
} tr_row;

/* Takes ownership of json (also on failure). name and line stand in errors. Checks the fields of the task: their
 * presence and types, start < end, times inside [0, duration] (one millisecond of slack for rounded annotations),
 * an answer that is one of the options. */
tr_status tr_row_from_json(json_t *json, const char *name, long line, tr_row *row, tr_error *err);
void tr_row_free(tr_row *row);

/* The same for a question without its truth (`ask`): only task, video and the task's question are needed. */
tr_status tr_row_question(json_t *json, tr_row *row, tr_error *err);

/* Streaming reader. */
typedef struct tr_row_reader {
    FILE *stream;
    char *path;
    long line;
    tr_buffer text;
} tr_row_reader;
tr_status tr_row_reader_open(tr_row_reader *reader, const char *path, tr_error *err);
/* *got false at the end. Empty lines are passed over. On an error the reader stands behind the bad line. */
tr_status tr_row_reader_next(tr_row_reader *reader, tr_row *row, bool *got, tr_error *err);
void tr_row_reader_close(tr_row_reader *reader);

/* A whole file; duplicate ids are refused (both lines named), and so is a file without rows. */
typedef struct tr_row_list {
    tr_row *items;
    size_t count, capacity;
} tr_row_list;
tr_status tr_row_list_read(const char *path, tr_row_list *list, tr_error *err);
void tr_row_list_free(tr_row_list *list);

/* The video's path: row->video below videos_dir (NULL or absolute: as it is), free() frees it; NULL when memory is
 * out. */
char *tr_row_video_path(const tr_row *row, const char *videos_dir);

/* A hash of the row's content (16 hexadecimal digits): whatever the order of its keys, and without the fields that
 * a selection adds ("difficulty", "score", "selection"). */
void tr_row_hash(const json_t *row, char hash[17]);

/* Writes one row as a line. */
tr_status tr_row_write(FILE *stream, const json_t *json, tr_error *err);

#endif
