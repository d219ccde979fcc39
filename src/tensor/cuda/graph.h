/* graph.h: launches that are collected and executed as one: a decode step is some eight hundred of them, and a GPU
 * takes a recorded graph faster than it is told them one by one. Internal to tensor/cuda.
 *
 * Between tr_cuda_collect and the next thing that waits (a read, a check), launches, copies, fills and products are
 * written down with all of their arguments instead of being given to the device, and staged arrays gather in one
 * piece of pinned memory. tr_cuda_settle then sends that piece in one copy and looks the list up: the same kernels
 * with the same arguments, byte for byte, are a graph that is replayed. So nothing can be in a graph that ought to
 * have changed: a list that differs anywhere is another graph. What changes from token to token must be staged. */
#ifndef TR_TENSOR_CUDA_GRAPH_H
#define TR_TENSOR_CUDA_GRAPH_H

#include "tensor/cuda/device.h"

void tr_cuda_collect(void);
/* Executes what was collected and ends collecting; nothing where nothing is. Whatever is not collected calls it. */
void tr_cuda_settle(void);

/* A staged array of the collection; NULL where none is, or where its memory is full (which settles it). */
void *tr_cuda_collect_stage(const void *host, size_t bytes);

/* Collected, or given to the device at once. */
void tr_cuda_later_copy(void *to, const void *from, size_t bytes);
void tr_cuda_later_zero(void *to, size_t bytes);
void tr_cuda_later_product(tr_cuda_form form, float *c, const uint16_t *a, const uint16_t *b, const float *bias,
                           int64_t rows, int64_t out, int64_t in);

/* ---- the device's side (gpu_graph.c, emulate.c) ---- */

/* Pinned memory and device memory of the same size for staged arrays, for the life of the process. */
bool tr_cuda_region(char **host, char **device, size_t *bytes);
/* From here on what the lane in use is given is recorded, not executed. false: `why` says the reason. */
bool tr_cuda_capture_begin(char why[160]);
/* NULL: it could not be recorded; the lane is as it was before. */
void *tr_cuda_capture_end(char why[160]);
void tr_cuda_graph_launch(void *graph);
void tr_cuda_graph_free(void *graph);

#endif
