#!/bin/sh
# Runs every fuzzer for FUZZ_SECONDS seconds (default 600) with clang's libFuzzer, ASan and UBSan. A finding fails.
# FUZZ_SEED fixes the mutations (the short form in `make test`, so that it tells of a change and not of luck); default: new ones.
set -u
build=${BUILD:-build}
seconds=${FUZZ_SECONDS:-600}
seed=${FUZZ_SEED:-0}
jobs=$(nproc)
cmake -G Ninja -Wno-dev -S . -B "$build/fuzz" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang \
    -DTEMPR1_FUZZ=ON -DTEMPR1_TESTS=OFF -DTEMPR1_SANITIZE=ON >/dev/null || exit 1
ninja -C "$build/fuzz" -j "$jobs" fuzzers || exit 1
failed=0
for program in "$build"/fuzz/fuzz/fuzz_*; do
    [ -x "$program" ] && [ -f "$program" ] || continue
    name=$(basename "$program")
    corpus=$build/fuzz/corpus/$name
    mkdir -p "$corpus"
    [ -d "fuzz/seeds/$name" ] && cp -n fuzz/seeds/"$name"/* "$corpus"/ 2>/dev/null
    if "$program" -max_total_time="$seconds" -seed="$seed" -artifact_prefix="$build/fuzz/" -rss_limit_mb=4096 -print_final_stats=1 "$corpus" >"$build/fuzz/$name.log" 2>&1; then
        echo "fuzz $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$build/fuzz/$name.log") executions, no finding"
    else
        failed=1
        tail -40 "$build/fuzz/$name.log"
        echo "fuzz $name: FINDING, see $build/fuzz/$name.log"
    fi
done
exit $failed
