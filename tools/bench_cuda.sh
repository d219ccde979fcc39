#!/bin/sh
# make bench-cuda: the whole table of docs/cuda.md "Numbers" on this machine's GPU, by bench/cuda_table.py: table.md and
# table.json under build/cuda/bench. DEVICE names the GPU, REPEATS the runs of a phase, WORK the folder of the checkpoints
# (25 GB), PEER peer_transformers.py, PEER_PYTHON a Python with torch and transformers. Words behind go to cuda_table.py.
# Without nvcc or a GPU every row says why it was not run, and the status is 0.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}/cuda
jobs=${JOBS:-$(nproc)}
out=$build/bench
command -v python3 >/dev/null || { echo "bench-cuda: 1 skipped: python3 was not found"; exit 0; }
table() {
    python3 bench/cuda_table.py --tempr1 "$build/tempr1" --device "${DEVICE:-cuda:0}" --out "$out" --work "${WORK:-$out/models}" \
        --repeats "${REPEATS:-5}" --peer "${PEER:-../shared/bench/peer_transformers.py}" --python "${PEER_PYTHON:-python3}" "$@"
}
mkdir -p "$out"
if ! command -v nvcc >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
    table --not-run "nvcc was not found: install the CUDA toolkit, or put nvcc in PATH" "$@"
    exit
fi
# compiling the kernels takes minutes: not without anything that looks like a GPU
if ! ls /dev/nvidia[0-9]* /dev/nvidiactl /dev/dxg >/dev/null 2>&1 && ! command -v nvidia-smi >/dev/null; then
    table --not-run "no GPU was found: there is neither /dev/nvidia0 nor nvidia-smi" "$@"
    exit
fi
cmake -G Ninja -Wno-dev -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DTEMPR1_TESTS=ON -DTEMPR1_CUDA=ON >/dev/null
ninja -C "$build" -j "$jobs" tempr1
"$build"/tempr1 --version
table "$@"
