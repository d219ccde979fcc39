# The GPU's kernels. TEMPR1_CUDA: ON (an error where nvcc is missing), OFF, or AUTO (ON where nvcc is found). The
# program starts without a driver and without cuBLASLt: the runtime is linked statically, cuBLASLt loaded when used.
# TEMPR1_CUDA_ARCHS lists the compute capabilities to compile for; PTX of the last serves later ones.
set(TEMPR1_CUDA OFF CACHE STRING "build the CUDA backend: ON, OFF or AUTO (where nvcc is found)")
set_property(CACHE TEMPR1_CUDA PROPERTY STRINGS ON OFF AUTO)
set(TEMPR1_CUDA_ARCHS "80;90;100" CACHE STRING "compute capabilities to compile the GPU's kernels for")
option(TEMPR1_CUDA_VERBOSE "print the registers and shared memory of every kernel" OFF)

set(TR_CUDA_OBJECTS "")
set(TR_CUDA FALSE)
string(TOUPPER "${TEMPR1_CUDA}" wanted)
if(wanted STREQUAL "AUTO" OR wanted)
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER AND NOT TEMPR1_SANITIZE) # the sanitizers reserve the addresses that CUDA maps
        set(TR_CUDA TRUE)
    elseif(NOT wanted STREQUAL "AUTO")
        message(FATAL_ERROR "TEMPR1_CUDA=ON: no CUDA compiler was found, or TEMPR1_SANITIZE is ON. Install the CUDA "
                            "toolkit (nvcc in PATH, or -DCMAKE_CUDA_COMPILER=.../nvcc), or use -DTEMPR1_CUDA=OFF")
    endif()
endif()

if(TR_CUDA)
    set(CMAKE_CUDA_ARCHITECTURES 80) # for CMake's own test of the compiler
    set(CMAKE_CUDA_STANDARD 17)
    enable_language(CUDA)
    find_package(CUDAToolkit)
    if(NOT CUDAToolkit_FOUND OR NOT EXISTS "${CUDAToolkit_INCLUDE_DIRS}/cublasLt.h" OR NOT TARGET CUDA::cudart_static)
        if(wanted STREQUAL "AUTO")
            message(STATUS "CUDA: nvcc is there, but not cublasLt.h and cudart_static; built without")
            set(TR_CUDA FALSE)
        else()
            message(FATAL_ERROR "TEMPR1_CUDA=ON: the toolkit of ${CMAKE_CUDA_COMPILER} lacks cublasLt.h or cudart_static")
        endif()
    endif()
endif()

if(TR_CUDA)
    set(archs ${TEMPR1_CUDA_ARCHS})
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8 AND "100" IN_LIST archs)
        list(REMOVE_ITEM archs 100)
        message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION} does not know sm_100: left out")
    endif()
    set(CMAKE_CUDA_ARCHITECTURES ${archs})
    set(shared_sources src/tensor/cuda/table.c src/tensor/cuda/table_attention.c src/tensor/cuda/stream.c
        src/tensor/cuda/product_own.c src/tensor/cuda/products_match.c src/tensor/cuda/table_moments.c
        src/tensor/cuda/table_sample.c src/tensor/cuda/graph.c)
    add_library(tr_cuda OBJECT ${shared_sources} src/tensor/cuda/gpu.c src/tensor/cuda/gpu_stream.c src/tensor/cuda/gpu_graph.c
        src/tensor/cuda/ceiling.c src/tensor/cuda/products.c src/tensor/cuda/kernels.cu
        src/tensor/cuda/kernels_tile.cu)
    target_include_directories(tr_cuda PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
    target_include_directories(tr_cuda SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
    target_compile_definitions(tr_cuda PRIVATE _GNU_SOURCE TEMPR1_VERSION="${PROJECT_VERSION}")
    target_compile_options(tr_cuda PRIVATE $<$<COMPILE_LANGUAGE:C>:$<TARGET_PROPERTY:tr_flags,INTERFACE_COMPILE_OPTIONS>>
        $<$<COMPILE_LANGUAGE:CUDA>:-O3 -fmad=false -diag-suppress=177 # loops over threads that do not ask which one
            $<$<BOOL:${TEMPR1_CUDA_VERBOSE}>:-Xptxas=-v>>)
    target_link_libraries(tr_cuda PRIVATE OpenMP::OpenMP_C)
    set(TR_CUDA_OBJECTS $<TARGET_OBJECTS:tr_cuda>)
    list(JOIN archs ", sm_" archs)
    message(STATUS "CUDA ${CUDAToolkit_VERSION}: sm_${archs}")
endif()

# The tensor library holds them. A checksum of their sources tells whether the tests that passed were theirs.
function(tr_cuda_attach)
    if(TR_CUDA)
        file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/tensor/cuda/*)
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${sources})
        set(sums "")
        foreach(source ${sources})
            file(SHA256 ${source} sum)
            string(APPEND sums ${sum})
        endforeach()
        string(SHA256 sums "${sums}")
        set_source_files_properties(${PROJECT_SOURCE_DIR}/src/tensor/cuda_passed.c PROPERTIES
            COMPILE_DEFINITIONS TEMPR1_CUDA_SOURCES="${sums}")
        target_sources(tr_tensor PRIVATE ${TR_CUDA_OBJECTS})
        target_compile_definitions(tr_tensor PRIVATE TEMPR1_CUDA=1)
        target_link_libraries(tr_tensor PUBLIC CUDA::cudart_static)
    endif()
endfunction()
