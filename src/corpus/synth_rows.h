/* synth_rows.h: the rows of one synthetic scene, for every task (internal to corpus). */
#ifndef TR_CORPUS_SYNTH_ROWS_H
#define TR_CORPUS_SYNTH_ROWS_H

#include "base/json.h"
#include "corpus/synth.h"

/* Appends the rows of a scene to list: those of the tasks named in options->tasks. name is the clip's
 * ("train-00001").
 */
tr_status tr_synth_rows(const tr_synth_options *options, const tr_synth_scene *scene, int split, const char *name,
                        json_t *list, tr_error *err);

extern const char *const tr_synth_splits[3];

#endif
