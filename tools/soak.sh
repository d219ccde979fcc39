#!/bin/sh
# The long campaigns: every test that has a long form runs it (TEMPR1_SOAK=1), one process at a time.
set -u
build=${BUILD:-build}
export TEMPR1_SOAK=1
ninja -C "$build/release" || exit 1
cd "$build/release" && ctest --output-on-failure --timeout 7200
