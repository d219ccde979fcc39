/* shared.c: tests of files that stand outside the project. */
#include "support/shared.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char ring[16][1024];
static unsigned ring_next;

static char *ring_buffer(void)
{
    return ring[ring_next++ % 16];
}

const char *shared_path(const char *relative)
{
    const char *root = getenv("TEMPR1_SHARED");
    char *path = ring_buffer();
    if (root && root[0]) {
        snprintf(path, sizeof ring[0], "%s/%s", root, relative);
    } else {
        snprintf(path, sizeof ring[0], "%s/../shared/%s", TEMPR1_SOURCE_DIR, relative);
    }
    return tr_file_exists(path) ? path : NULL;
}

const char *project_path(const char *relative)
{
    char *path = ring_buffer();
    snprintf(path, sizeof ring[0], "%s/%s", TEMPR1_SOURCE_DIR, relative);
    return path;
}

static char scratch[512];

static void remove_scratch(void)
{
    tr_directory_remove(scratch, NULL);
}

const char *scratch_path(const char *name)
{
    if (!scratch[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(scratch, sizeof scratch, "%s/tempr1-test-XXXXXX", base && base[0] ? base : "/tmp");
        if (!mkdtemp(scratch)) {
            perror("mkdtemp");
            exit(1);
        }
        atexit(remove_scratch);
    }
    char *path = ring_buffer();
    snprintf(path, sizeof ring[0], "%s/%s", scratch, name);
    return path;
}

void skip_test(const char *reason)
{
    printf("SKIP: %s\n", reason);
    fflush(stdout);
    skip();
}

const char *need_shared(const char *relative)
{
    const char *path = shared_path(relative);
    if (!path) {
        char reason[1200];
        snprintf(reason, sizeof reason, "reference data shared/%s is absent", relative);
        skip_test(reason);
    }
    return path;
}

void need_ok(tr_status status, const tr_error *err)
{
    if (status) {
        fail_msg("%s: %s", err->where, err->message);
    }
}
