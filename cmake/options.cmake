# Build options and the flags that every target shares.
option(TEMPR1_TESTS "build the tests" ON)
option(TEMPR1_BENCH "build the benchmarks (needs oneDNN)" OFF)
option(TEMPR1_FUZZ "build the fuzzers (needs clang)" OFF)
option(TEMPR1_SANITIZE "build with ASan, UBSan and LeakSanitizer" OFF)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    message(FATAL_ERROR "tempr1's CPU kernels are written for x86-64, found ${CMAKE_SYSTEM_PROCESSOR}")
endif()

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON) # POSIX and GNU library functions
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_C_FLAGS_RELEASE "-O3 -g1")
set(CMAKE_C_FLAGS_DEBUG "-O0 -g3")

# No contraction: a*b+c is one fma exactly where the code says fma, so every build gives the same bits.
add_library(tr_flags INTERFACE)
target_compile_definitions(tr_flags INTERFACE _GNU_SOURCE TEMPR1_VERSION="${PROJECT_VERSION}")
target_compile_options(tr_flags INTERFACE
    -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wundef
    $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation> # messages and places are cut to their fields on purpose
    -fno-common -ffp-contract=off -fno-math-errno -fno-strict-aliasing)
if(TEMPR1_SANITIZE)
    target_compile_options(tr_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all
        $<$<C_COMPILER_ID:GNU>:-Wno-maybe-uninitialized> # gcc warns falsely between its own checks; the release build keeps the warning
        -fno-omit-frame-pointer)
    target_link_options(tr_flags INTERFACE -fsanitize=address,undefined)
endif()
