/* gpu.c: the device behind the table: one GPU, a stream for each lane, its memory, copies and errors.
 *
 * The runtime is linked statically and finds the driver when it is first used, so a program without a GPU starts
 * and says what is missing. Nothing here waits but read, check and give; gpu_stream.c has the rings and events. */
#include "tensor/cuda/gpu.h"
#include "tensor/cuda/graph.h"
#include "tensor/cuda/products.h"
#include "tensor/cuda/table.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct {
    bool open;
    int index;
    cudaStream_t streams[TR_LANES];
    struct {
        void *memory;
        size_t bytes;
    } scratch[TR_LANES];
    char failed[256]; /* the first error, "" is none */
    bool holding;     /* a graph is recorded: errors go to held */
    char held[256];
    pthread_mutex_t lock;
} gpu = {.lock = PTHREAD_MUTEX_INITIALIZER};

void tr_cuda_remember(const char *message)
{
    pthread_mutex_lock(&gpu.lock);
    char *to = gpu.holding ? gpu.held : gpu.failed;
    if (!to[0]) {
        snprintf(to, sizeof gpu.failed, "%s", message);
    }
    pthread_mutex_unlock(&gpu.lock);
}

bool tr_gpu_hold_errors(bool on, char why[160])
{
    pthread_mutex_lock(&gpu.lock);
    const bool none = on || !gpu.held[0];
    if (!none) {
        snprintf(why, 160, "%.150s", gpu.held);
    }
    gpu.holding = on;
    gpu.held[0] = 0;
    pthread_mutex_unlock(&gpu.lock);
    return none;
}

bool tr_gpu_fine(cudaError_t status, const char *what)
{
    if (status != cudaSuccess) {
        char message[200];
        snprintf(message, sizeof message, "%s: %s", what, cudaGetErrorString(status));
        tr_cuda_remember(message);
    }
    return status == cudaSuccess;
}

cudaStream_t tr_gpu_stream(void)
{
    return gpu.streams[tr_cuda_lane()];
}

bool tr_gpu_launchable(const char *kernel, int64_t x, int64_t y, int64_t z)
{
    if (x > INT32_MAX || y > 65535 || z > 65535) {
        char message[200];
        snprintf(message, sizeof message,
                 "kernel %s: a grid of %lld x %lld x %lld blocks is beyond the device's limits", kernel,
                 (long long)x, (long long)y, (long long)z);
        tr_cuda_remember(message);
        return false;
    }
    return x > 0 && y > 0 && z > 0;
}

void tr_gpu_launched(const char *kernel)
{
    tr_gpu_fine(cudaGetLastError(), kernel);
}

/* ---- what there is ---- */

void tr_cuda_describe(tr_cuda_info *info)
{
    memset(info, 0, sizeof *info);
    info->built = true;
    struct cudaDeviceProp properties;
    cudaError_t status = cudaGetDeviceCount(&info->devices);
    cudaRuntimeGetVersion(&info->runtime);
    cudaDriverGetVersion(&info->driver);
    info->products = tr_products_version();
    if (status != cudaSuccess || info->devices < 1) {
        info->devices = 0;
        info->missing = status == cudaErrorInsufficientDriver || info->driver == 0
                            ? "no CUDA driver that is new enough was found (libcuda.so.1)"
                            : "the driver finds no GPU";
        cudaGetLastError();
        return;
    }
    if (cudaGetDeviceProperties(&properties, 0) == cudaSuccess) {
        snprintf(info->name, sizeof info->name, "%s, compute capability %d.%d", properties.name, properties.major,
                 properties.minor);
        info->memory_bytes = properties.totalGlobalMem;
        if (properties.major < 8) {
            info->missing = "the GPU is older than compute capability 8.0, which bf16 needs";
        }
    }
}

static tr_status opened(int index, tr_error *err)
{
    tr_cuda_info info;
    if (gpu.open) {
        return index == gpu.index
                   ? TR_OK
                   : tr_fail(err, TR_UNSUPPORTED, "device",
                             "cuda:%d: this process uses cuda:%d already; a process has one GPU", index, gpu.index);
    }
    tr_cuda_describe(&info);
    if (info.missing) {
        return tr_fail(err, TR_UNSUPPORTED, "device", "cuda:%d: %s", index, info.missing);
    }
    if (index < 0 || index >= info.devices) {
        return tr_fail(err, TR_UNSUPPORTED, "device", "cuda:%d: there are %d GPUs, cuda:0 to cuda:%d", index,
                       info.devices, info.devices - 1);
    }
    cudaError_t status = cudaSetDevice(index);
    for (int lane = 0; lane < TR_LANES; lane++) {
        status = status ? status : cudaStreamCreateWithFlags(&gpu.streams[lane], cudaStreamNonBlocking);
    }
    if (status) {
        return tr_fail(err, TR_UNSUPPORTED, "device", "cuda:%d cannot be opened: %s", index,
                       cudaGetErrorString(status));
    }
    gpu.open = true;
    gpu.index = index;
    return TR_OK;
}

tr_status tr_ops_cuda(int index, tr_dtype dtype, const tr_ops **ops, tr_error *err)
{
    tr_status status;
    *ops = NULL;
    TR_TRY(opened(index, err));
    if (dtype == TR_BF16) {
        TR_TRY(tr_products_open(err));
    }
    *ops = dtype == TR_BF16 ? &tr_cuda_table_bf16 : &tr_cuda_table_f32;
done:
    return status;
}

tr_status tr_cuda_memory(uint64_t *free_bytes, uint64_t *all_bytes, tr_error *err)
{
    size_t available = 0, all = 0;
    cudaError_t status = cudaMemGetInfo(&available, &all);
    *free_bytes = available;
    *all_bytes = all;
    return status ? tr_fail(err, TR_UNSUPPORTED, "device", "the GPU's memory: %s", cudaGetErrorString(status))
                  : TR_OK;
}

/* ---- memory ---- */

tr_status tr_cuda_take(void **memory, size_t bytes, bool zero, tr_error *err)
{
    cudaError_t status = cudaMalloc(memory, bytes ? bytes : 1);
    if (status != cudaSuccess) {
        uint64_t available, all;
        cudaGetLastError();
        *memory = NULL;
        tr_cuda_memory(&available, &all, NULL);
        return tr_fail(
            err, TR_MEMORY, "device",
            "%.2f GiB of GPU memory cannot be had: %.2f of %.2f GiB are free (%s); tempr1 model plan CONFIG "
            "says what a run needs",
            (double)bytes / 0x1p30, (double)available / 0x1p30, (double)all / 0x1p30, cudaGetErrorString(status));
    }
    if (zero) {
        tr_cuda_zero(*memory, bytes);
    }
    return TR_OK;
}

void tr_cuda_give(void *memory)
{
    if (memory) {
        tr_cuda_settle();
        for (int lane = 0; lane < TR_LANES; lane++) {
            tr_gpu_fine(cudaStreamSynchronize(gpu.streams[lane]), "before memory is given back");
        }
        tr_gpu_fine(cudaFree(memory), "giving memory back");
    }
}

void tr_cuda_zero(void *to, size_t bytes)
{
    tr_gpu_fine(cudaMemsetAsync(to, 0, bytes, tr_gpu_stream()), "filling with zeros");
}

void tr_cuda_copy(void *to, const void *from, size_t bytes)
{
    if (to != from) {
        tr_gpu_fine(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, tr_gpu_stream()),
                    "a copy on the device");
    }
}

void tr_cuda_read(void *host, const void *from, size_t bytes)
{
    tr_cuda_settle();
    tr_gpu_fine(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, tr_gpu_stream()),
                "a copy from the device");
    tr_gpu_fine(cudaStreamSynchronize(tr_gpu_stream()), "a copy from the device");
}

tr_status tr_cuda_check(tr_error *err)
{
    tr_cuda_settle();
    tr_gpu_fine(cudaStreamSynchronize(tr_gpu_stream()), "the device's work");
    if (!gpu.failed[0]) {
        return TR_OK;
    }
    tr_status status = tr_fail(err, TR_UNSUPPORTED, "device", "cuda:%d: %s", gpu.index, gpu.failed);
    gpu.failed[0] = 0;
    return status;
}

void *tr_cuda_scratch(size_t bytes)
{
    const int lane = tr_cuda_lane();
    if (bytes > gpu.scratch[lane].bytes) {
        const size_t rounded = (bytes + TR_CUDA_SCRATCH_UNIT) / TR_CUDA_SCRATCH_UNIT * TR_CUDA_SCRATCH_UNIT;
        tr_cuda_give(gpu.scratch[lane].memory);
        gpu.scratch[lane].memory = NULL;
        gpu.scratch[lane].bytes = 0;
        if (!tr_gpu_fine(cudaMalloc(&gpu.scratch[lane].memory, rounded), "working memory of an operation")) {
            cudaGetLastError();
            return NULL;
        }
        gpu.scratch[lane].bytes = rounded;
    }
    return gpu.scratch[lane].memory;
}
