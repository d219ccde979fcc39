/* sample.h: the CPU's operation `sample`, which its tables share but for their log-softmax. Internal to src/tensor.
 */
#ifndef TR_TENSOR_CPU_SAMPLE_H
#define TR_TENSOR_CPU_SAMPLE_H

#include "tensor/ops.h"

typedef void tr_cpu_logsoftmax(float *logp, float *entropy, float *lse, const float *logits, const int32_t *ids,
                               int64_t rows, int64_t vocab, float temperature);

void tr_cpu_sample(tr_cpu_logsoftmax *logsoftmax, tr_sampled *out, const float *logits, bool shared,
                   const tr_draw *draws, int64_t rows, int64_t vocab, const tr_sampling *sampling, float *work,
                   int64_t work_floats);

/* A table's own: NAME(sample) by its log-softmax. */
#define TR_CPU_SAMPLE(name, logsoftmax)                                                                            \
    static void name(tr_sampled *out, const float *logits, bool shared, const tr_draw *draws, int64_t rows,        \
                     int64_t vocab, const tr_sampling *sampling, float *work, int64_t work_floats)                 \
    {                                                                                                              \
        tr_cpu_sample(logsoftmax, out, logits, shared, draws, rows, vocab, sampling, work, work_floats);           \
    }

#endif
