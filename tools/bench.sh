#!/bin/sh
# Builds and runs the benchmarks: each prints ratios against a named peer or ceiling measured in the same run.
set -u
build=${BUILD:-build}
cmake -G Ninja -Wno-dev -S . -B "$build/bench" -DCMAKE_BUILD_TYPE=Release -DTEMPR1_BENCH=ON >/dev/null || exit 1
ninja -C "$build/bench" || exit 1
for program in "$build"/bench/bench/bench_*; do
    [ -x "$program" ] && [ -f "$program" ] || continue
    echo "== $(basename "$program")"
    "$program" || exit 1
done
