/* sampler.h: picks the next token from a row of logits.
 *
 * Filters in the usual order: temperature, bans, top-k, top-p, min-p. The random number is a function of (seed,
 * step, row, response, token) alone, so a response is the same whatever batch it was made in. Never computes the
 * recorded log-probability: that is ops->logsoftmax_forward's, over the whole vocabulary, before bans. */
#ifndef TR_RL_SAMPLER_H
#define TR_RL_SAMPLER_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tr_sampling {
    double temperature; /* 0: greedy (the lowest id among equals); recorded log-probs are then at temperature 1 */
    double top_p;       /* 1: off */
    double min_p;       /* 0: off */
    int64_t top_k;      /* 0: off */
    int64_t max_tokens; /* of one response, the end token included */
    const uint8_t *banned; /* [vocab], or NULL */
    const int64_t *end_ids;
    int64_t end_count;
} tr_sampling;

/* The counters of one draw. */
typedef struct tr_draw {
    uint64_t seed;
    uint32_t step, row, response, token;
} tr_draw;

/* Checks ranges; `where` names the settings in errors. */
tr_status tr_sampling_check(const tr_sampling *sampling, const char *where, tr_error *err);

/* The temperature of recorded log-probs. */
float tr_sampling_temperature(const tr_sampling *sampling);

/* Bytes of working memory that one pick needs. */
uint64_t tr_sampler_work(int64_t vocab);

/* Picks a token; work holds tr_sampler_work(vocab) bytes. -1 when no token is left (all banned or NaN logits).
 * Thread safe with separate work. */
int32_t tr_sampler_pick(const tr_sampling *sampling, const float *logits, int64_t vocab, const tr_draw *draw,
                        void *work);

bool tr_sampling_is_end(const tr_sampling *sampling, int32_t id);

#endif
