/* kernels_tile.cu: the tensor-core products of kernel_tile.h as the device runs them, one kernel a shape of tile.
 *
 * On the one stream (gpu.h); a launch that fails is remembered. Compiled with -fmad=false like the other kernels.
 */
#include "tensor/cuda/kernels.h"

#include "tensor/cuda/gpu.h"

/* Blocks that shall fit a multiprocessor: two of the largest forward tile where there is shared memory for them;
 * dX and dW would spill. */
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ < 900
#define TILE_AT_ONCE(bm, bn, a_along) 1
#else
#define TILE_AT_ONCE(bm, bn, a_along) ((bm) * (bn) == 128 * 128 && (a_along) ? 2 : 1)
#endif

#define X(name, bm, bn, deep, stages, wm, wn, a_along, b_along)                                                    \
    __global__ void __launch_bounds__((wm) * (wn)*32, TILE_AT_ONCE(bm, bn, a_along))                               \
        name##_kernel(const tile_args a)                                                                           \
    {                                                                                                              \
        extern __shared__ __align__(16) unsigned char memory[];                                                    \
        tile_block(&a, (int)blockIdx.x, 0, 0, memory, bm, bn, deep, stages, wm, wn, a_along, b_along);             \
    }                                                                                                              \
    static void name##_run(const tile_args *a, unsigned blocks)                                                    \
    {                                                                                                              \
        const int bytes = TILE_BYTES(bm, bn, deep, stages, a_along, b_along);                                      \
        static bool allowed = false;                                                                               \
        if (!allowed) {                                                                                            \
            cudaFuncSetAttribute((const void *)name##_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes); \
            allowed = true;                                                                                        \
        }                                                                                                          \
        name##_kernel<<<blocks, (wm) * (wn)*32, bytes, tr_gpu_stream()>>>(*a);                                     \
    }
TR_CUDA_TILES(X)
#undef X

extern "C" size_t tr_cuda_tile_limit(void)
{
    static int bytes = 0;
    int device = 0;
    if (!bytes &&
        (cudaGetDevice(&device) != cudaSuccess ||
         cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)) {
        bytes = 0;
        return 99 * 1024; /* what every GPU from compute capability 8.0 on has */
    }
    return (size_t)bytes;
}

extern "C" void tr_cuda_launch_tile(const tile_args *a, tr_cuda_grid grid, tile_shape shape)
{
    static const struct {
        const char *name;
        void (*run)(const tile_args *, unsigned);
    } shapes[] = {
#define X(name, bm, bn, deep, stages, wm, wn, a_along, b_along) {"product " #name, name##_run},
        TR_CUDA_TILES(X)
#undef X
    };
    if (tr_gpu_launchable(shapes[shape].name, grid.x, grid.y, grid.z)) {
        shapes[shape].run(a, (unsigned)grid.x);
        tr_gpu_launched(shapes[shape].name);
    }
}
