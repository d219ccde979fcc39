/* mix.h: a training mix: rows of several sources and tasks, by weights or counts, with caps per video, seeded.
 *
 * The specification is YAML (docs/data.md has all keys; unknown ones are refused with the nearest known one). A row
 * is chosen by a number that depends only on the seed, its source's name and its line, so another source, or
 * another count, leaves the rest of the choice alone. Beside the rows a manifest is written: the hashes of the
 * specification, of every source file and of the result. A mix is made again only from files with the same hashes,
 * unless the caller accepts the changes. Videos are never opened. */
#ifndef TR_CORPUS_MIX_H
#define TR_CORPUS_MIX_H

#include "base/json.h"
#include "task/reward.h"

enum { TR_MIX_ALL = -1 }; /* a count that was not given */

/* One task of one source. Exactly one of weight > 0, count >= 0 and neither (all rows) holds. */
typedef struct tr_mix_task {
    bool taken;
    double weight;     /* share of the source's rows; 0: not given */
    int64_t count;     /* TR_MIX_ALL: not given */
    int64_t per_video; /* most rows of one video; 0: no cap */
} tr_mix_task;

typedef struct tr_mix_source {
    char *name, *rows, *videos, *exclude; /* paths as written; videos and exclude NULL: not given */
    char *split;                          /* only rows of this split; NULL: all */
    double weight;                        /* share of what the counts leave of the total; 0: not given */
    int64_t count, per_video;
    bool repeat;  /* rows may come several times when there are too few */
    bool by_task; /* `tasks` says weights or counts; else only which tasks are taken */
    tr_mix_task tasks[TR_TASK_COUNT];
} tr_mix_source;

typedef struct tr_mix_spec {
    char *path, *folder;            /* of the file; paths in it are relative to the folder */
    int64_t seed, total, per_video; /* total TR_MIX_ALL, per_video 0: not given */
    tr_mix_source *sources;
    size_t count;
    uint64_t hash; /* of the specification's meaning: not of its comments and layout */
} tr_mix_spec;

tr_status tr_mix_spec_read(const char *path, tr_mix_spec *spec, tr_error *err);
/* Another seed than the file's; the hash follows. */
void tr_mix_spec_seed(tr_mix_spec *spec, int64_t seed);
void tr_mix_spec_free(tr_mix_spec *spec);

typedef struct tr_mix_options {
    const char *out; /* rows; the manifest is OUT with ".manifest.json" behind it */
    const char
        *manifest; /* the manifest that the files must fit; NULL: the one of an earlier OUT, if there is one */
    bool accept_changes; /* make the mix although something differs from that manifest */
    bool check;          /* only compare; write nothing */
} tr_mix_options;

/* Makes the mix, or leaves it when OUT is already what the specification and the sources give. *manifest (owned by
 * the caller) is what was written; its member "made" says "new", "again" (the same rows as the manifest says),
 * "unchanged" (nothing was written) or "changed". TR_MISMATCH names what changed. */
tr_status tr_mix_make(const tr_mix_spec *spec, const tr_mix_options *options, json_t **manifest, tr_error *err);

/* Rows per stratum so that they add up to `total` in proportion to the weights (largest remainders; ties to the
 * earlier one), where none gets more than its limit (< 0: none) and what one cannot take goes to the others.
 * *left: what no stratum could take. */
tr_status tr_mix_share(int64_t total, const double *weights, const int64_t *limits, size_t count, int64_t *shares,
                       int64_t *left, tr_error *err);

#endif
