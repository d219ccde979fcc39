/* gpu_stream.c: a GPU's events, pinned memory and the memory of the staging rings. Nothing here waits but reach. */
#include "tensor/cuda/gpu.h"
#include "tensor/cuda/table.h"

#include <stdlib.h>
#include <string.h>

enum { RING_BYTES = 64 << 20 };

tr_status tr_cuda_event_take(void **event, tr_error *err)
{
    cudaEvent_t made = NULL;
    cudaError_t status = cudaEventCreateWithFlags(&made, cudaEventDisableTiming);
    *event = made;
    return status
               ? tr_fail(err, TR_UNSUPPORTED, "device", "an event cannot be made: %s", cudaGetErrorString(status))
               : TR_OK;
}

void tr_cuda_event_give(void *event)
{
    if (event) {
        tr_gpu_fine(cudaEventDestroy(event), "giving an event back");
    }
}

void tr_cuda_event_mark(void *event)
{
    tr_gpu_fine(cudaEventRecord(event, tr_gpu_stream()), "marking an event");
}

void tr_cuda_event_wait(void *event)
{
    tr_gpu_fine(cudaStreamWaitEvent(tr_gpu_stream(), event, 0), "waiting for an event");
}

bool tr_cuda_event_passed(void *event)
{
    cudaError_t status = cudaEventQuery(event);
    if (status == cudaErrorNotReady) {
        cudaGetLastError();
        return false;
    }
    tr_gpu_fine(status, "asking for an event");
    return true; /* an error is told by the check that follows */
}

void tr_cuda_event_reach(void *event)
{
    tr_gpu_fine(cudaEventSynchronize(event), "waiting for an event");
}

/* What cannot be page-locked (a limit of the system, or too much of it) is ordinary memory: its copies are the
 * same, only that the driver copies them once more and the call may wait. */
tr_status tr_cuda_pin(void **memory, size_t bytes, tr_error *err)
{
    const size_t pages = (bytes + 4096) / 4096 * 4096;
    *memory = aligned_alloc(4096, pages);
    if (!*memory) {
        return tr_fail(err, TR_MEMORY, "device", "out of memory for %.2f GiB of the host", (double)bytes / 0x1p30);
    }
    memset(*memory, 0, pages);
    if (cudaHostRegister(*memory, pages, cudaHostRegisterDefault) != cudaSuccess) {
        cudaGetLastError();
    }
    return TR_OK;
}

void tr_cuda_unpin(void *memory)
{
    if (memory && cudaHostUnregister(memory) != cudaSuccess) {
        cudaGetLastError();
    }
    free(memory);
}

void tr_cuda_send(void *to, const void *pinned, size_t bytes)
{
    tr_gpu_fine(cudaMemcpyAsync(to, pinned, bytes, cudaMemcpyHostToDevice, tr_gpu_stream()),
                "a copy to the device");
}

void tr_cuda_fetch(void *pinned, const void *from, size_t bytes)
{
    tr_gpu_fine(cudaMemcpyAsync(pinned, from, bytes, cudaMemcpyDeviceToHost, tr_gpu_stream()),
                "a copy from the device");
}

bool tr_cuda_ring(char **host, char **device, size_t *bytes)
{
    void *from = NULL, *to = NULL;
    if (!tr_gpu_fine(cudaHostAlloc(&from, RING_BYTES, cudaHostAllocDefault), "a staging ring of the host")) {
        return false;
    }
    if (!tr_gpu_fine(cudaMalloc(&to, RING_BYTES), "a staging ring of the device")) {
        cudaFreeHost(from);
        return false;
    }
    *host = from;
    *device = to;
    *bytes = RING_BYTES;
    return true;
}
