/* edge.h: where the network's tensors meet the host: what callers give and take are host arrays, what operations
 * read and write is the backend's memory. On the CPU both are the same and nothing is copied; elsewhere each
 * direction has a buffer of the network's own. Internal to src/model. */
#ifndef TR_MODEL_EDGE_H
#define TR_MODEL_EDGE_H

#include "tensor/ops.h"

/* The network's own buffers; NULL on the CPU. P patches, M merged tokens, N rows, T targets, B decode rows. */
typedef struct tr_edge {
    float *patches;                 /* (P, inputs of a patch) */
    float *features, *dfeatures;    /* (M or N, hidden) */
    float *logp, *dlogp, *dentropy; /* (T) */
    float *logits;                  /* (B, V) */
    float *sample;                  /* working memory of sampling */
    int64_t sample_floats;
} tr_edge;

/* What operations read for a host array: the array itself, or its copy in `buffer`. NULL stays NULL. */
static inline const float *tr_edge_in(const tr_ops *ops, float *buffer, const float *host, int64_t count)
{
    if (ops->memory->host || !host) {
        return host;
    }
    ops->memory->write(buffer, host, (size_t)count * sizeof *host);
    return buffer;
}

/* Where operations write what the host asks for; tr_edge_done brings it there. */
static inline float *tr_edge_out(const tr_ops *ops, float *buffer, float *host)
{
    return ops->memory->host || !host ? host : buffer;
}
static inline void tr_edge_done(const tr_ops *ops, float *host, const float *buffer, int64_t count)
{
    if (!ops->memory->host && host) {
        ops->memory->read(host, buffer, (size_t)count * sizeof *host);
    }
}

#endif
