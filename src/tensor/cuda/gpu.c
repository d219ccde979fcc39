/* gpu.c: the device behind the table: one GPU, one stream, its memory, copies and errors.
 *
 * The runtime is linked statically and finds the driver when it is first used, so a program without a GPU starts
 * and says what is missing. Small arrays travel through a ring of pinned memory: a launch reads what was staged for
 * it, and the ring waits for the stream when it comes round. Nothing here waits otherwise, but read and check. */
#include "tensor/cuda/gpu.h"
#include "tensor/cuda/products.h"
#include "tensor/cuda/table.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { RING_BYTES = TR_CUDA_RING_BYTES };

static struct {
    bool open;
    int index;
    cudaStream_t stream;
    char *ring, *device_ring;
    size_t ring_used;
    void *scratch;
    size_t scratch_bytes;
    char failed[256]; /* the first error, "" is none */
    pthread_mutex_t lock;
} gpu = {.lock = PTHREAD_MUTEX_INITIALIZER};

void tr_cuda_remember(const char *message)
{
    pthread_mutex_lock(&gpu.lock);
    if (!gpu.failed[0]) {
        snprintf(gpu.failed, sizeof gpu.failed, "%s", message);
    }
    pthread_mutex_unlock(&gpu.lock);
}

static bool fine(cudaError_t status, const char *what)
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
    return gpu.stream;
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
    fine(cudaGetLastError(), kernel);
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
    status = status ? status : cudaStreamCreateWithFlags(&gpu.stream, cudaStreamNonBlocking);
    status = status ? status : cudaHostAlloc((void **)&gpu.ring, RING_BYTES, cudaHostAllocDefault);
    status = status ? status : cudaMalloc((void **)&gpu.device_ring, RING_BYTES);
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
        fine(cudaStreamSynchronize(gpu.stream), "before memory is given back");
        fine(cudaFree(memory), "giving memory back");
    }
}

void tr_cuda_zero(void *to, size_t bytes)
{
    fine(cudaMemsetAsync(to, 0, bytes, gpu.stream), "filling with zeros");
}

void tr_cuda_copy(void *to, const void *from, size_t bytes)
{
    if (to != from) {
        fine(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, gpu.stream), "a copy on the device");
    }
}

void tr_cuda_write(void *to, const void *host, size_t bytes)
{
    fine(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, gpu.stream), "a copy to the device");
    fine(cudaStreamSynchronize(gpu.stream), "a copy to the device"); /* host memory may be pinned: it is free now */
}

void tr_cuda_read(void *host, const void *from, size_t bytes)
{
    fine(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, gpu.stream), "a copy from the device");
    fine(cudaStreamSynchronize(gpu.stream), "a copy from the device");
}

tr_status tr_cuda_check(tr_error *err)
{
    fine(cudaStreamSynchronize(gpu.stream), "the device's work");
    if (!gpu.failed[0]) {
        return TR_OK;
    }
    tr_status status = tr_fail(err, TR_UNSUPPORTED, "device", "cuda:%d: %s", gpu.index, gpu.failed);
    gpu.failed[0] = 0;
    return status;
}

void *tr_cuda_stage(const void *host, size_t bytes)
{
    const size_t need = (bytes + 255) / 256 * 256;
    if (need > RING_BYTES) {
        tr_cuda_remember("the arguments of a kernel do not fit the ring of 64 MiB");
        return NULL;
    }
    if (gpu.ring_used + need > RING_BYTES) {
        if (!fine(cudaStreamSynchronize(gpu.stream), "waiting for room in the ring")) {
            return NULL;
        }
        gpu.ring_used = 0;
    }
    char *from = gpu.ring + gpu.ring_used, *to = gpu.device_ring + gpu.ring_used;
    gpu.ring_used += need;
    memcpy(from, host, bytes);
    return fine(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, gpu.stream), "arguments of a kernel")
               ? to
               : NULL;
}

void *tr_cuda_scratch(size_t bytes)
{
    if (bytes > gpu.scratch_bytes) {
        const size_t rounded = (bytes + TR_CUDA_SCRATCH_UNIT) / TR_CUDA_SCRATCH_UNIT * TR_CUDA_SCRATCH_UNIT;
        tr_cuda_give(gpu.scratch);
        gpu.scratch = NULL;
        gpu.scratch_bytes = 0;
        if (!fine(cudaMalloc(&gpu.scratch, rounded), "working memory of an operation")) {
            cudaGetLastError();
            return NULL;
        }
        gpu.scratch_bytes = rounded;
    }
    return gpu.scratch;
}
