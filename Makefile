# Thin front of CMake: `make demo` and `make test` work on a fresh Debian machine.
BUILD ?= build
JOBS ?= $(shell nproc)
CMAKE = cmake -G Ninja -Wno-dev

.PHONY: all deps demo test test-release test-asan test-cuda bench bench-cuda fuzz soak lint format install clean

all: deps
	@$(CMAKE) -S . -B $(BUILD)/release -DCMAKE_BUILD_TYPE=Release -DTEMPR1_TESTS=ON -DTEMPR1_CUDA=AUTO >/dev/null
	@ninja -C $(BUILD)/release -j $(JOBS) tempr1 libtempr1

# Installs what is missing, by Debian package names; quiet when nothing is.
deps:
	@tools/deps.sh

demo: all
	@$(BUILD)/release/tempr1 demo --out out/demo

# The whole suite: once in release, once under ASan, UBSan and LeakSanitizer; counts skips; ends with the summary.
test: deps
	@tools/test.sh

bench: deps
	@tools/bench.sh

# The GPU's operations on the GPU, compute-sanitizer where it is installed; skipped, with the reason, where there is none.
test-cuda: deps
	@tools/test_cuda.sh

# Vision, prefill, decode, update and step at 3B and 7B shapes on the GPU.
bench-cuda: deps
	@tools/bench_cuda.sh

# Every fuzzer for FUZZ_SECONDS (default 600); a short form runs in `make test`.
fuzz: deps
	@tools/fuzz.sh

# The long campaigns that `make test` runs in short form.
soak: all
	@tools/soak.sh

lint: deps
	@tools/lint.sh

format:
	@git ls-files '*.c' '*.h' | xargs clang-format-14 -i

install: all
	@cmake --install $(BUILD)/release

clean:
	@rm -rf $(BUILD)
