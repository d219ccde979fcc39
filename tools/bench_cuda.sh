#!/bin/sh
# make bench-cuda: phases of one group at 3B and 7B shapes on the GPU, in bf16, with random weights: P = 4096, G = 8,
# R = 256. Results as JSON under build/cuda/bench. Without nvcc or without a GPU: skipped, with the reason, status 0.
# GRPO of 7B with all of its weights does not fit one GPU: its training phases are left out.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}/cuda
jobs=${JOBS:-$(nproc)}
device=${DEVICE:-cuda:0}
if ! command -v nvcc >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
    echo "bench-cuda: 2 skipped: nvcc was not found (install the CUDA toolkit, or put nvcc in PATH)"
    exit 0
fi
cmake -G Ninja -Wno-dev -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DTEMPR1_TESTS=ON -DTEMPR1_CUDA=ON >/dev/null
ninja -C "$build" -j "$jobs" tempr1 >/dev/null
"$build"/tempr1 --version
out=$build/bench
mkdir -p "$out"
state=$("$build"/tempr1 selftest --dir "$out" 2>/dev/null | sed -n 's/^cuda  *//p')
case $state in
    ok*) echo "$state" ;;
    *)
        echo "bench-cuda: 2 skipped: cuda check: $state"
        exit 0
        ;;
esac
failed=0
for preset in qwen2.5-vl-3b qwen2.5-vl-7b; do
    model=$out/$preset
    [ -d "$model" ] || "$build"/tempr1 model init --preset $preset --out "$model" >/dev/null
    phases=vision,prefill,decode,logprob
    [ $preset = qwen2.5-vl-7b ] || phases=$phases,update,step
    if "$build"/tempr1 bench --model "$model" --grid 15,32,32 --text 256 --group 8 --response 256 --dtype bf16 \
        --device "$device" --phases $phases --repeats "${REPEATS:-5}" --seed 1 >"$out/$preset.json"; then
        echo "$preset: $out/$preset.json"
    else
        failed=$((failed + 1))
    fi
done
echo "bench-cuda: $failed failed; the reference on the same GPU: bench/README.md, peer_transformers.py"
[ $failed -eq 0 ]
