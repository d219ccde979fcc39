/* mix_parts.h: what the files of the mix share (internal to corpus/mix*.c). */
#ifndef TR_CORPUS_MIX_PARTS_H
#define TR_CORPUS_MIX_PARTS_H

#include "corpus/check_parts.h"
#include "corpus/mix.h"

/* One row of a source that may be taken. */
typedef struct mix_entry {
    size_t source, video;
    tr_task task;
    int64_t offset; /* in its file, at or before the row's line */
    long before;    /* lines read before that offset */
    uint64_t key;   /* rows with smaller keys are chosen first */
    int64_t copies; /* taken: 0 not at all */
} mix_entry;

/* What a source's file holds. */
typedef struct mix_file {
    char *path, *exclude; /* as opened */
    int64_t bytes, rows;
    int64_t other_split, excluded, other_task; /* rows passed over */
    uint64_t hash, exclude_hash;
    int64_t available[TR_TASK_COUNT], limit[TR_TASK_COUNT]; /* rows; rows that the caps leave */
    int64_t asked[TR_TASK_COUNT], taken[TR_TASK_COUNT], distinct[TR_TASK_COUNT];
} mix_file;

typedef struct mix_state {
    const tr_mix_spec *spec;
    mix_file *files; /* [spec->count] */
    mix_entry *entries;
    size_t count, capacity;
    check_names videos;
} mix_state;

/* mix_load.c */
tr_status mix_load(mix_state *mix, tr_error *err);
void mix_free(mix_state *mix);

/* mix_choose.c: sets `copies` of every entry, and asked, taken and distinct of every file. */
tr_status mix_choose(mix_state *mix, tr_error *err);

#endif
