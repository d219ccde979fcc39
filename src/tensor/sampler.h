/* sampler.h: how the next token is drawn from a row of logits.
 *
 * Filters in the usual order: temperature, bans, top-k, top-p, min-p. The random number is a function of (seed,
 * step, row, response, token) alone, so a response is the same whatever batch it was made in. The operation
 * `sample` of tensor/ops.h draws for a batch and records log-probabilities; tr_sampler_pick is the CPU's draw
 * alone. */
#ifndef TR_TENSOR_SAMPLER_H
#define TR_TENSOR_SAMPLER_H

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

/* What came of one draw. */
typedef struct tr_sampled {
    int32_t id;    /* -1: none can be drawn (all banned, or logits that are not finite); logp is 0 then */
    float logp;    /* log-softmax(logits / temperature) over the whole vocabulary, before bans */
    int32_t ended; /* 1: the token is one of end_ids */
} tr_sampled;

/* The temperature of recorded log-probs. */
float tr_sampling_temperature(const tr_sampling *sampling);

bool tr_sampling_is_end(const tr_sampling *sampling, int32_t id);

/* Bytes of working memory that one pick needs. */
uint64_t tr_sampler_work(int64_t vocab);

/* Floats that the CPU's operation `sample` works with. */
int64_t tr_cpu_sample_work(int64_t vocab, int64_t rows);

/* Picks a token; work holds tr_sampler_work(vocab) bytes. -1 when no token is left (all banned or NaN logits).
 * Thread safe with separate work. Never computes the recorded log-probability. */
int32_t tr_sampler_pick(const tr_sampling *sampling, const float *logits, int64_t vocab, const tr_draw *draw,
                        void *work);

#endif
