/* gpu.h: what gpu.c, gpu_stream.c and kernels.cu share: the stream of the lane in use, and the first error.
 * Includes CUDA's headers; internal. */
#ifndef TR_TENSOR_CUDA_GPU_H
#define TR_TENSOR_CUDA_GPU_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

cudaStream_t tr_gpu_stream(void);
bool tr_gpu_fine(cudaError_t status, const char *what); /* remembers the first that is not */

/* While a graph is recorded errors are the recording's: on begins, off ends holding them apart; off: whether there
 * was none, else `why` has the first. */
bool tr_gpu_hold_errors(bool on, char why[160]);

/* Whether a grid can be launched: false for an empty one (nothing to do) and for one beyond the device's limits
 * (remembered). */
bool tr_gpu_launchable(const char *kernel, int64_t x, int64_t y, int64_t z);
/* Remembers the error of the launch just made, if there was one. */
void tr_gpu_launched(const char *kernel);

#ifdef __cplusplus
}
#endif

#endif
