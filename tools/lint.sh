#!/bin/sh
# Formatting and clang-tidy over the project's own sources. Needs clang-format and clang-tidy 14.
set -u
for program in clang-format-14 clang-tidy-14; do
    command -v $program >/dev/null || { echo "lint: $program is missing (apt-get install clang-format-14 clang-tidy-14)" >&2; exit 1; }
done
build=${BUILD:-build}
cmake -G Ninja -Wno-dev -S . -B "$build/release" -DCMAKE_BUILD_TYPE=Release >/dev/null || exit 1
failed=0
git ls-files '*.c' '*.h' | xargs clang-format-14 --dry-run --Werror || failed=1
git ls-files 'src/*.c' | grep -v '/isa_' | xargs -P "$(nproc)" -n 1 clang-tidy-14 -p "$build/release" --quiet \
    --extra-arg=-Wno-unknown-warning-option || # flags that only gcc knows
    failed=1
exit $failed
