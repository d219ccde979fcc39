#!/bin/sh
# make test-cuda: builds with CUDA and runs the operation tests on the GPU. Without nvcc or without a GPU everything is
# skipped, counted and said, and the exit status is 0: there is nothing that failed.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}/cuda
jobs=${JOBS:-$(nproc)}
if ! command -v nvcc >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
    echo "test-cuda: 1 skipped: nvcc was not found (install the CUDA toolkit, or put nvcc in PATH)"
    exit 0
fi
cmake -G Ninja -Wno-dev -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DTEMPR1_TESTS=ON -DTEMPR1_CUDA=ON >/dev/null
ninja -C "$build" -j "$jobs" tempr1 $(cd tests/cuda && for t in test_*.c; do t=${t#test_}; echo "test_cuda_${t%.c} test_gpu_${t%.c}"; done)
"$build"/tempr1 --version
failed=0 passed=0 skipped=0
for test in "$build"/tests/test_cuda_* "$build"/tests/test_gpu_*; do
    [ -x "$test" ] || continue
    name=$(basename "$test")
    if OMP_WAIT_POLICY=passive "$test" >"$test.log" 2>&1; then
        if grep -q '^SKIP: no GPU' "$test.log"; then
            skipped=$((skipped + 1))
            echo "skipped $name: $(grep -m1 '^SKIP' "$test.log")"
        else
            passed=$((passed + 1))
            echo "passed  $name"
        fi
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
        tail -n 20 "$test.log"
    fi
done
if [ "$skipped" -eq 0 ] && command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
        for test in "$build"/tests/test_gpu_*; do
            case $test in *.log) continue ;; esac
            if compute-sanitizer --tool $tool --error-exitcode 9 "$test" >"$test.$tool.log" 2>&1; then
                passed=$((passed + 1))
                echo "passed  $tool $(basename "$test")"
            else
                failed=$((failed + 1))
                echo "FAILED  $tool $(basename "$test")"
                tail -n 20 "$test.$tool.log"
            fi
        done
    done
else
    skipped=$((skipped + 1))
    echo "skipped compute-sanitizer: not installed, or no GPU"
fi
echo "test-cuda: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
