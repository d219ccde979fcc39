/* cuda_passed.c: whether the GPU tests of these kernels passed on this machine's GPU.
 *
 * Results of a GPU that nobody tested are nothing to take by default, so `auto` asks here. The mark is a line in
 * the user's cache folder: a checksum of the kernels' sources, the runtime, the driver, the GPU's name; whichever
 * changes, the mark is void. */
#include "base/buffer.h"
#include "base/file.h"
#include "tensor/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

#ifndef TEMPR1_CUDA_SOURCES
#define TEMPR1_CUDA_SOURCES "none" /* built without CUDA: there is no GPU to ask for */
#endif

static char *mark_path(void)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/') {
        return tr_format("%s/tempr1/gpu-tests-passed", cache);
    }
    return home && home[0] == '/' ? tr_format("%s/.cache/tempr1/gpu-tests-passed", home) : NULL;
}

static char *mark_text(const tr_cuda_info *info)
{
    return tr_format("%s %d %d %s\n", TEMPR1_CUDA_SOURCES, info->runtime, info->driver, info->name);
}

bool tr_cuda_passed(void)
{
    tr_buffer found = {0};
    char *path = mark_path(), *expected = NULL;
    bool passed = false;
    /* the file first: asking the driver takes a while */
    if (path && tr_file_exists(path) && !tr_file_read(path, 4096, &found, NULL)) {
        tr_cuda_info info;
        tr_cuda_describe(&info);
        expected = info.missing ? NULL : mark_text(&info);
        passed = expected && !strcmp(tr_buffer_text(&found), expected);
    }
    free(expected);
    free(path);
    tr_buffer_free(&found);
    return passed;
}

tr_status tr_cuda_mark_passed(tr_error *err)
{
    char *path = mark_path(), *folder = NULL, *text = NULL;
    tr_cuda_info info;
    tr_status status = TR_OK;
    tr_cuda_describe(&info);
    if (info.missing) {
        status = tr_fail(err, TR_UNSUPPORTED, "device", "%s", info.missing);
    } else if (!path) {
        status =
            tr_fail(err, TR_INVALID, "XDG_CACHE_HOME", "neither it nor HOME names a folder to keep the mark in");
    } else if (!(folder = tr_path_directory(path)) || !(text = mark_text(&info))) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
    } else {
        status = tr_directory_make(folder, err);
        status = status ? status : tr_file_write_atomic(path, text, strlen(text), err);
    }
    free(text);
    free(folder);
    free(path);
    return status;
}
