#!/bin/sh
# Formatting and clang-tidy over the project's own sources, syntax of its shell and Python files. Needs clang-format
# and clang-tidy 14. `tools/lint.sh src/FOLDER ...` looks at those folders alone.
set -u
for program in clang-format-14 clang-tidy-14; do
    command -v $program >/dev/null || {
        echo "lint: $program is missing (apt-get install clang-format-14 clang-tidy-14)" >&2
        exit 1
    }
done
build=${BUILD:-build}
[ $# -gt 0 ] || set -- .
# A folder of its own: a compiler launcher of other builds is not for clang-tidy.
cmake -G Ninja -Wno-dev -S . -B "$build/lint" -DCMAKE_BUILD_TYPE=Release >/dev/null || exit 1
failed=0
for file in $(git grep -lE '^#!/bin/sh' -- "$@"); do
    sh -n "$file" || failed=1
done
for file in $(git grep -lE '^#!.*bash' -- "$@"); do
    bash -n "$file" || failed=1
done
for file in $(git grep -lE '^#!.*python3' -- "$@"; git ls-files -- "$@" | grep '\.py$'); do
    python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$file" || failed=1
done
files() { # pattern, folders
    pattern=$1
    shift
    git ls-files -- "$@" | grep -E "$pattern"
}
files '\.[ch]$' "$@" | xargs -r clang-format-14 --dry-run --Werror || failed=1
files '^src/.*\.c$' "$@" | grep -v '/isa_' | xargs -r -P "${JOBS:-$(nproc)}" -n 1 clang-tidy-14 -p "$build/lint" --quiet \
    --extra-arg=-Wno-unknown-warning-option || # flags that only gcc knows
    failed=1
exit $failed
