/* gpu_graph.c: a GPU's graphs: recorded from the stream, made executable, replayed.
 *
 * An error while recording is the recording's, not the run's: it is taken back and told as the reason. */
#include "tensor/cuda/gpu.h"
#include "tensor/cuda/graph.h"

#include <stdio.h>
#include <string.h>

bool tr_cuda_region(char **host, char **device, size_t *bytes)
{
    void *from = NULL, *to = NULL;
    if (cudaHostAlloc(&from, TR_CUDA_REGION_BYTES, cudaHostAllocDefault) != cudaSuccess ||
        cudaMalloc(&to, TR_CUDA_REGION_BYTES) != cudaSuccess) {
        cudaGetLastError();
        cudaFreeHost(from);
        return false;
    }
    *host = from;
    *device = to;
    *bytes = TR_CUDA_REGION_BYTES;
    return true;
}

bool tr_cuda_capture_begin(char why[160])
{
    tr_gpu_hold_errors(true, why);
    const cudaError_t status = cudaStreamBeginCapture(tr_gpu_stream(), cudaStreamCaptureModeRelaxed);
    if (status != cudaSuccess) {
        tr_gpu_hold_errors(false, why);
        snprintf(why, 160, "recording cannot begin: %s", cudaGetErrorString(status));
        cudaGetLastError();
    }
    return status == cudaSuccess;
}

void *tr_cuda_capture_end(char why[160])
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t made = NULL;
    cudaError_t status = cudaStreamEndCapture(tr_gpu_stream(), &graph);
    const bool launched = tr_gpu_hold_errors(false, why);
    if (status == cudaSuccess && launched) {
        status = cudaGraphInstantiateWithFlags(&made, graph, 0);
    }
    if (graph) {
        cudaGraphDestroy(graph);
    }
    if (status != cudaSuccess) {
        snprintf(why, 160, "a graph of the list cannot be made: %s", cudaGetErrorString(status));
        made = NULL;
    }
    cudaGetLastError();
    return made;
}

void tr_cuda_graph_launch(void *graph)
{
    tr_gpu_fine(cudaGraphLaunch(graph, tr_gpu_stream()), "a recorded graph");
}

void tr_cuda_graph_free(void *graph)
{
    tr_gpu_fine(cudaStreamSynchronize(tr_gpu_stream()), "before a graph is given back");
    tr_gpu_fine(cudaGraphExecDestroy(graph), "giving a graph back");
}
