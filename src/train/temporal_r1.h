/* temporal_r1.h: a run from Temporal-R1's own settings: EasyR1's YAML with the shell's key=value behind it, the
 * `datasets:` YAML that it names, and the annotation rows that this one names, all as they are.
 *
 * Every setting is listed with what became of it; one that changes the training and cannot be had here is refused.
 * That project's defects are not rebuilt; the list says which (docs/temporal-r1.md). What is made: OUT/temporal-r1/
 * (rows, a prompt set where the system text is another one) and OUT/from-temporal-r1.txt. No video is opened but
 * for lengths that the rows do not say. */
#ifndef TR_TRAIN_TEMPORAL_R1_H
#define TR_TRAIN_TEMPORAL_R1_H

#include "train/config.h"

typedef struct tr_temporal_r1 {
    json_t *settings; /* [{"key", "value", "became": "taken" | "ignored" | "refused", "as", "why"}]; "as" or null */
    tr_buffer rows;   /* the importers' reports as text */
    tr_config_set set; /* the run */
} tr_temporal_r1;

/* words: key=value. Those of Temporal-R1 (worker.*, trainer.*, algorithm.*, data.NAME) are laid over its file, the
 * others over what came out of it, so that `out=DIR model=DIR` and every key of docs/configuration.md work as
 * always. Paths are relative to the current directory, as there; a file that is not there is looked for beside the
 * file that names it, then one folder up. On failure the settings seen so far are still listed. */
tr_status tr_temporal_r1_read(const char *path, const char *const *words, size_t count, tr_temporal_r1 *run,
                              tr_error *err);
void tr_temporal_r1_free(tr_temporal_r1 *run);

/* The list as a table, and what is known to be better left out; appended. */
tr_status tr_temporal_r1_text(const tr_temporal_r1 *run, tr_buffer *out, tr_error *err);

/* ---- temporal_r1_rows.c ---- */

/* Reads the `datasets:` list at list_path and writes folder/NAME-i.jsonl for its entry i. Appends to entries
 * {"rows", "videos"} objects, adds to *count the rows taken and appends the reports to notes. seed: of random:N. */
tr_status tr_temporal_r1_rows(const char *list_path, const char *folder, const char *name, uint64_t seed,
                              json_t *entries, int64_t *count, tr_buffer *notes, tr_error *err);

/* How many of `length` records a strategy takes and from where: "all", "first:N", "end:N", "random:N"; N may be P%,
 * which is ceil(P * length / 100). chosen [length] is set to true for each taken. number: of the entry. */
tr_status tr_temporal_r1_choose(const char *strategy, size_t length, uint64_t seed, uint32_t number, bool *chosen,
                                const char *where, tr_error *err);

/* path when it is there, else beside `beside`, else one folder above that; absolute; free() frees it. When it is
 * nowhere: TR_NOT_FOUND, where it was looked for. */
tr_status tr_temporal_r1_find(const char *path, const char *beside, const char *where, char **found, tr_error *err);

#endif
