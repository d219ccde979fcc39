#!/bin/sh
# The test suite: release build, then the sanitizer build (ASan, UBSan, LeakSanitizer), then the fuzzers' short form.
# Prints every skip with its reason and ends with ctest's summary of the release run and the plain count of all.
set -u
build=${BUILD:-build}
jobs=$(nproc)
logs=$build/logs
mkdir -p "$logs"

configure_and_build() { # directory, cmake options
    directory=$1
    shift
    cmake -G Ninja -Wno-dev -S . -B "$directory" "$@" >"$logs/cmake.log" 2>&1 || { cat "$logs/cmake.log"; exit 1; }
    ninja -C "$directory" -j "$jobs" >"$logs/build.log" 2>&1 || { grep -E 'error|FAILED|warning' "$logs/build.log" | head -50; exit 1; }
}

run_suite() { # directory, log
    (cd "$1" && ctest --output-on-failure --no-tests=error -j "$jobs") >"$2" 2>&1
}

echo "building (release) ..."
configure_and_build "$build/release" -DCMAKE_BUILD_TYPE=Release
echo "building (sanitizers) ..."
configure_and_build "$build/asan" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTEMPR1_SANITIZE=ON

failed=0
echo "running (release) ..."
run_suite "$build/release" "$logs/release.log" || failed=1
sed -n '/^ *[0-9]*\/[0-9]* Test/p' "$logs/release.log"
[ $failed -eq 0 ] || cat "$logs/release.log"

echo "running (ASan, UBSan, LeakSanitizer) ..."
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
export TEMPR1_TEST_SANITIZED=1
if ! run_suite "$build/asan" "$logs/asan.log"; then
    failed=1
    cat "$logs/asan.log"
fi

echo "fuzzing (short form) ..."
FUZZ_SEED=1 FUZZ_SECONDS=${FUZZ_SECONDS:-10} tools/fuzz.sh >"$logs/fuzz.log" 2>&1 || { failed=1; tail -60 "$logs/fuzz.log"; }
tail -n 20 "$logs/fuzz.log" | grep -E '^fuzz' || true

echo "skipped, with reasons:"
cat "$build"/release/Testing/Temporary/LastTest.log 2>/dev/null | grep -h '^SKIP: ' | sort | uniq -c || true

tests_in() { sed -n 's/^[0-9]*% tests passed, \([0-9]*\) tests failed out of \([0-9]*\)$/\1 \2/p' "$1"; }
set -- $(tests_in "$logs/release.log") $(tests_in "$logs/asan.log")
echo "sanitizers: ${3:-?} of ${4:-?} tests failed"
grep -E 'tests passed|Total Test time' "$logs/release.log"
bad=$(( ${1:-1} + ${3:-1} ))
[ $failed -eq 0 ] || [ $bad -gt 0 ] || bad=1
echo "$(( ${2:-0} + ${4:-0} - ${1:-0} - ${3:-0} )) passed, $bad failed"
exit $failed
