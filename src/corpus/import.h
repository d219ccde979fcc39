/* import.h: published annotation files into corpus rows, with a report of what was kept, repaired and refused.
 *
 * One table lists the sources (their names, where they are published, which tasks they serve). Every published
 * record becomes a row or is refused by exactly one named rule: records = rows + refused. Rules that repair (cut at
 * the clip's end, drop an interval) are counted too, with the first places. JSON Lines, text and CSV files are
 * streamed (what stays in memory is one short id per row); a JSON document is read whole. No video is opened unless
 * a folder of videos is named. Files that do not parse are errors with file:line:column. */
#ifndef TR_CORPUS_IMPORT_H
#define TR_CORPUS_IMPORT_H

#include "base/json.h"

#include <stdio.h>

struct tr_import;
typedef struct tr_import_source {
    const char *name;                                      /* "charades-sta" */
    const char *tasks;                                     /* "tg" or "dtg,tg": the first is the default */
    const char *files;                                     /* which published files, in words */
    const char *from;                                      /* who publishes it, and where */
    tr_status (*run)(struct tr_import *im, tr_error *err); /* the importer */
} tr_import_source;

/* All sources, in the order of the help. */
const tr_import_source *tr_import_sources(size_t *count);
const tr_import_source *tr_import_source_find(const char *name);

typedef struct tr_import_options {
    const char *source; /* a name of the table */
    const char *task;   /* NULL: the source's first */
    const char *split;  /* for every row; NULL: as the files say, else by the file's name */
    const char *videos; /* folder: durations from the containers, names as the files are called; NULL: none */
    int examples;       /* places kept for each rule */
} tr_import_options;

/* 5 places a rule, everything else from the files. */
tr_import_options tr_import_options_default(const char *source);

/* Writes the rows to out. *report is owned by the caller:
 * {"source", "task", "files": [..], "records", "rows", "refused", "splits": {name: rows},
 *  "rules": [{"rule", "means", "count", "refused", "examples": ["file:line: ..."]}]} (rules that never applied are
 * left out). Files from which nothing can be taken are TR_FORMAT with the first reason. */
tr_status tr_import_files(const tr_import_options *options, const char *const *paths, size_t count, FILE *out,
                          json_t **report, tr_error *err);

/* The report as text, appended. */
tr_status tr_import_report_text(const json_t *report, tr_buffer *out, tr_error *err);

#endif
