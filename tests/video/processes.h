/* processes.h: clips of our own encoder, and which decoder processes are alive, for the tests of src/video. */
#ifndef TR_TESTS_VIDEO_PROCESSES_H
#define TR_TESTS_VIDEO_PROCESSES_H

#include "support/shared.h"

#include "video/encode.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIDE = 64 };

/* A clip of so many frames whose gray level follows the frame's number. */
static inline const char *write_clip(const char *name, int frames)
{
    static char path[600];
    uint8_t rgb[SIDE * SIDE * 3];
    tr_video_writer *writer;
    snprintf(path, sizeof path, "%s", scratch_path(name));
    assert_int_equal(tr_video_writer_open(path, SIDE, SIDE, 10, 1, NULL, &writer, NULL), TR_OK);
    for (int i = 0; i < frames; i++) {
        memset(rgb, 20 + i % 200, sizeof rgb);
        assert_int_equal(tr_video_writer_add(writer, rgb, NULL), TR_OK);
    }
    assert_int_equal(tr_video_writer_close(writer, NULL), TR_OK);
    return path;
}

/* The process ids of this process's children that are alive, as one number each; how many. */
static inline int children(pid_t *ids, int most)
{
    char line[400];
    int count = 0;
    DIR *proc = opendir("/proc");
    assert_non_null(proc);
    for (struct dirent *one; (one = readdir(proc));) {
        snprintf(line, sizeof line, "/proc/%.20s/stat", one->d_name);
        FILE *file = atoi(one->d_name) > 0 ? fopen(line, "r") : NULL;
        int id, parent;
        char state;
        if (file && fscanf(file, "%d (%*[^)]) %c %d", &id, &state, &parent) == 3 && parent == getpid() &&
            state != 'Z' && count < most) {
            ids[count++] = id;
        }
        if (file) {
            fclose(file);
        }
    }
    closedir(proc);
    return count;
}

#endif
