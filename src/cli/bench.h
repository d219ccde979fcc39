/* bench.h: what the two files of `tempr1 bench` share: the work that is timed and one function for each phase. */
#ifndef TR_CLI_BENCH_H
#define TR_CLI_BENCH_H

#include "base/json.h"
#include "model/network.h"

/* Sizes and seeds of the work, as the user asked for them. */
typedef struct bench_work {
    int32_t grid[3]; /* (t, h, w) in patches */
    int64_t text, group, response, repeats, seed;
    tr_recompute recompute;
} bench_work;

/* One group: noise pixels, ordinary random ids, forced response lengths. */
typedef struct bench {
    bench_work work;
    tr_model *model;
    tr_network *network;
    tr_network_limits limits;
    int32_t *ids, *positions, *responses;
    int64_t *lengths;
    float *patches, *features, *dfeatures, *logp, *ref, *entropy, *dlogp, *logits;
    tr_visual visual;
    tr_group group;
    tr_error *err;
} bench;

/* Makes inputs and a network (training memory included when `train`). bench_close frees what bench_open made and the
 * model. */
tr_status bench_open(bench *b, tr_model *model, const bench_work *work, bool train, tr_error *err);
void bench_close(bench *b);

/* Names of the phases in order, ending with NULL, and one phase's figures as an object (owned by the caller). */
extern const char *const bench_phases[];
tr_status bench_phase(bench *b, const char *name, json_t **out);

/* Vision, prefill of the prompt: the first forward after a start. */
tr_status bench_first_forward(bench *b);

/* {"median", "min", "max", "n"} of times (sorted in place). */
json_t *bench_summary(double *times, int64_t count);

/* Peak resident set since the last reset, in GiB. */
void bench_reset_peak(void);
double bench_peak_gib(void);

#endif
