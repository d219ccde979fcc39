#!/bin/sh
# The long campaigns: every test that has a long form runs it (TEMPR1_SOAK=1), one process at a time. Ends with a table
# of what they measured: the lines that the tests begin with SOAK. SOAK_TESTS: a pattern of test names (ctest -R), to
# run some only, e.g. SOAK_TESTS='cli.(killed|soak)' make soak.
set -u
build=${BUILD:-build}
export TEMPR1_SOAK=1
log=$build/logs/soak.log
mkdir -p "$build/logs"
cmake -G Ninja -Wno-dev -S . -B "$build/release" -DCMAKE_BUILD_TYPE=Release -DTEMPR1_TESTS=ON >/dev/null || exit 1
ninja -C "$build/release" || exit 1
(cd "$build/release" && ctest --output-on-failure --timeout 7200 --no-tests=error -R "${SOAK_TESTS:-.}")
failed=$?
cp "$build/release/Testing/Temporary/LastTest.log" "$log"
echo
echo "what was measured (all output: $log)"
sed -n 's/^SOAK \([^:]*\): /\1|/p' "$log" | awk -F'|' '{printf "  %-14s %s\n", $1, $2}'
exit $failed
