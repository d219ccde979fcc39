/* kernels.cu: the kernels of kernels.h as the device runs them, and their launchers.
 *
 * Everything is launched on one stream (gpu.h). A launch that fails is remembered and told by tr_cuda_check.
 * Compiled with -fmad=false: fma only where the kernels say so. */
#include "tensor/cuda/kernels.h"

#include "tensor/cuda/gpu.h"

#define X(name, arguments, threads, bytes)                                                                         \
    __global__ void __launch_bounds__(threads) name##_kernel(const arguments a)                                    \
    {                                                                                                              \
        extern __shared__ __align__(16) unsigned char memory[];                                                    \
        name##_block(&a, (int)blockIdx.x, (int)blockIdx.y, (int)blockIdx.z, memory);                               \
    }                                                                                                              \
    extern "C" void tr_cuda_run_##name(const arguments *a, tr_cuda_grid grid)                                   \
    {                                                                                                              \
        if (tr_gpu_launchable(#name, grid.x, grid.y, grid.z)) {                                                    \
            name##_kernel<<<dim3((unsigned)grid.x, (unsigned)grid.y, (unsigned)grid.z), (threads), (bytes),        \
                            tr_gpu_stream()>>>(*a);                                                                \
            tr_gpu_launched(#name);                                                                                \
        }                                                                                                          \
    }
TR_CUDA_KERNELS(X)
#undef X

/* Blocks whose shared memory is above the 48 KiB that need no asking. */
template <typename Kernel> static void allow_shared(Kernel *kernel, size_t bytes)
{
    if (bytes > 48 * 1024) {
        cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    }
}

#define X(name, arguments, threads, bytes)                                                                         \
    template <int side> __global__ void __launch_bounds__(threads) name##_kernel(const arguments a)                \
    {                                                                                                              \
        extern __shared__ __align__(16) unsigned char memory[];                                                    \
        name##_block(&a, (int)blockIdx.x, (int)blockIdx.y, (int)blockIdx.z, memory, side);                         \
    }                                                                                                              \
    template <int side> static void name##_run(const arguments *a, tr_cuda_grid grid)                              \
    {                                                                                                              \
        allow_shared(name##_kernel<side>, (bytes));                                                                \
        name##_kernel<side>                                                                                        \
            <<<dim3((unsigned)grid.x, (unsigned)grid.y, (unsigned)grid.z), (threads), (bytes), tr_gpu_stream()>>>( \
                *a);                                                                                               \
    }                                                                                                              \
    extern "C" void tr_cuda_run_##name(const arguments *a, tr_cuda_grid grid, int side)                         \
    {                                                                                                              \
        if (!tr_gpu_launchable(#name, grid.x, grid.y, grid.z)) {                                                   \
            return;                                                                                                \
        }                                                                                                          \
        if (side == 32) {                                                                                          \
            name##_run<32>(a, grid);                                                                               \
        } else if (side == 80) {                                                                                   \
            name##_run<80>(a, grid);                                                                               \
        } else {                                                                                                   \
            name##_run<MMA_SIDE_MAX>(a, grid);                                                                     \
        }                                                                                                          \
        tr_gpu_launched(#name);                                                                                    \
    }
TR_CUDA_SIDE_KERNELS(X)
#undef X
