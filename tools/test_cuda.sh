#!/bin/sh
# make test-cuda: every test of the GPU backend, over the emulated device (test_cuda_*) and on the GPU (test_gpu_*): the
# operations, attention, the goldens at f32 and the recorded noise of bf16, a whole model, training (the gap is 0, a step twice
# and a resumed run give the same bytes); then compute-sanitizer's memcheck and racecheck over the GPU tests, whose shapes
# are small. A part that cannot run here is skipped, counted, and says why; the status is 1 when one failed. When all
# passed on the GPU, `--device auto` takes it from then on.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}/cuda
jobs=${JOBS:-$(nproc)}
limit=${LIMIT_S:-1800} # seconds for one part; the sanitizer's tools are slow
failed=0 passed=0 skipped=0 on_gpu=0
names=$(for t in tests/cuda/test_*.c tests/model/test_golden_*.c tests/model/test_lora.c tests/rl/test_group.c tests/rl/test_optimiser.c; do t=${t##*/test_}; echo "${t%.c}"; done)
count=$(echo "$names" | wc -l)
total=$((4 * count)) number=0 start=$(date +%s)

skip() { # part, reason
    skipped=$((skipped + 1))
    echo "skipped $1: $2"
}

announce() { # part
    number=$((number + 1))
    gone=$(($(date +%s) - start))
    left=$((gone * (total - number + 1) / (number > 1 ? number - 1 : 1)))
    echo "[$number/$total] $1 (${gone} s gone, about ${left} s left)" >&2
}

# Runs a part: name, log, command. Without a GPU the tests skip themselves and say so.
part() {
    part_name=$1 log=$2
    shift 2
    announce "$part_name"
    if OMP_WAIT_POLICY=passive timeout "$limit" "$@" >"$log" 2>&1; then
        if grep -q '^SKIP: no GPU' "$log"; then
            skip "$part_name" "$(sed -n 's/^SKIP: no GPU: //p' "$log" | head -n 1)"
        else
            passed=$((passed + 1))
            case $part_name in "gpu "*) on_gpu=$((on_gpu + 1)) ;; esac
            inside=$(grep -c '^SKIP: ' "$log" || true)
            [ "$inside" -eq 0 ] || part_name="$part_name ($inside tests inside skipped: $(sed -n 's/^SKIP: //p' "$log" | head -n 1))"
            echo "passed  $part_name"
        fi
    else
        failed=$((failed + 1))
        echo "FAILED  $part_name ($log)"
        tail -n 20 "$log"
    fi
}

summary() {
    echo "test-cuda: $passed passed, $failed failed, $skipped skipped"
    if [ "$failed" -eq 0 ] && [ "$on_gpu" -eq "$count" ]; then
        "$build"/tempr1 selftest --gpu-tests-passed
        echo "test-cuda: --device auto takes this GPU from now on"
    fi
    [ "$failed" -eq 0 ]
    exit
}

if ! command -v nvcc >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
    for name in $names; do
        for kind in cuda gpu memcheck racecheck; do
            skip "$kind $name" "nvcc was not found (install the CUDA toolkit, or put nvcc in PATH)"
        done
    done
    summary
fi
cmake -G Ninja -Wno-dev -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DTEMPR1_TESTS=ON -DTEMPR1_CUDA=ON >/dev/null
# shellcheck disable=SC2046 # one word a target
ninja -C "$build" -j "$jobs" tempr1 $(for name in $names; do echo "test_cuda_$name test_gpu_$name"; done)
"$build"/tempr1 --version
for kind in cuda gpu; do
    for name in $names; do
        part "$kind $name" "$build/tests/$kind-$name.log" "$build/tests/test_${kind}_$name"
    done
done

sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
reason=
[ -x "$sanitizer" ] || reason="compute-sanitizer was not found (it comes with the CUDA toolkit)"
[ "$passed" -gt "$count" ] || [ "$failed" -gt 0 ] || reason="no test ran on a GPU"
for tool in memcheck racecheck; do
    for name in $names; do
        if [ -n "$reason" ]; then
            skip "$tool $name" "$reason"
        else
            part "$tool $name" "$build/tests/$tool-$name.log" "$sanitizer" --tool "$tool" --error-exitcode 9 \
                "$build/tests/test_gpu_$name"
        fi
    done
done
summary
