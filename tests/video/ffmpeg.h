/* ffmpeg.h: the ffmpeg program as the oracle of frames and times, and as the maker of clips for tests. */
#ifndef TR_TESTS_VIDEO_FFMPEG_H
#define TR_TESTS_VIDEO_FFMPEG_H

#include "support/shared.h"

#include "base/buffer.h"
#include "base/file.h"
#include "video/clip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Runs a shell command (freed); its exit status, -1 when it was killed. */
static inline int shell(char *command)
{
    assert_non_null(command);
    int result = system(command);
    free(command);
    return WIFEXITED(result) ? WEXITSTATUS(result) : -1;
}

static inline void need_ffmpeg(void)
{
    if (shell(tr_strdup("ffmpeg -version >/dev/null 2>&1"))) {
        skip_test("the ffmpeg program is absent");
    }
}

/* A clip made by `ffmpeg ARGUMENTS PATH`; its path, valid until the next one is made. */
static inline const char *ffmpeg_make(const char *name, const char *arguments)
{
    static char path[600];
    snprintf(path, sizeof path, "%s", scratch_path(name));
    if (shell(tr_format("ffmpeg -nostdin -v error -y -threads 1 %s '%s'", arguments, path))) {
        fail_msg("ffmpeg cannot make %s by %s", name, arguments);
    }
    return path;
}

/* The frames in the order shown with these indices, as RGB, and their presentation times. */
typedef struct oracle {
    uint8_t *rgb;  /* (count, height, width, 3) */
    double *pts_s; /* (count) */
    int count;     /* that the program gave */
    size_t bytes;
} oracle;

static inline void oracle_free(oracle *o)
{
    free(o->rgb);
    free(o->pts_s);
    *o = (oracle){0};
}

/* indices ascending. `before` are options in front of -i. */
static inline oracle oracle_run(const char *path, const char *before, const int64_t *indices, int count)
{
    tr_buffer select = {0}, rgb = {0}, text = {0};
    oracle o = {.pts_s = calloc((size_t)count, sizeof(double))};
    static char out[600], log[600];
    if (!out[0]) {
        snprintf(out, sizeof out, "%s", scratch_path("oracle.rgb"));
        snprintf(log, sizeof log, "%s", scratch_path("oracle.log"));
    }
    bool all = indices[count - 1] == count - 1; /* expressions may not be long */
    for (int i = 0; i < count && !all; i++) {
        tr_buffer_printf(&select, NULL, "%seq(n\\,%lld)", i ? "+" : "", (long long)indices[i]);
    }
    shell(tr_format("ffmpeg -nostdin -hide_banner -y -copyts %s -i '%s' -an -sn -fps_mode passthrough -vf "
                    "\"select='%s',showinfo=checksum=0\" -frames:v %d -pix_fmt rgb24 -f rawvideo '%s' >'%s' 2>&1",
                    before, path, all ? "1" : tr_buffer_text(&select), count, out, log));
    tr_file_read(out, 0, &rgb, NULL);
    tr_file_read(log, 0, &text, NULL);
    double base = 0;
    for (char *line = text.data; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        long long pts, numerator, denominator;
        char *end = strchr(line, '\n'), *at;
        if (end) {
            *end = 0;
        }
        if ((at = strstr(line, "config in time_base: ")) &&
            sscanf(at, "config in time_base: %lld/%lld", &numerator, &denominator) == 2) {
            base = (double)numerator / (double)denominator;
        } else if (strstr(line, "showinfo") && (at = strstr(line, " pts:")) &&
                   sscanf(at, " pts: %lld", &pts) == 1 && o.count < count) {
            o.pts_s[o.count++] = (double)pts * base;
        }
        if (end) {
            *end = '\n';
        }
    }
    o.rgb = (uint8_t *)rgb.data;
    o.bytes = rgb.length;
    tr_buffer_free(&select);
    tr_buffer_free(&text);
    return o;
}

/* How many of the clip's bytes (original size) differ from the oracle's frames; all of them when sizes differ. */
static inline size_t oracle_differences(const oracle *o, const tr_clip *clip)
{
    size_t plane = (size_t)clip->height * (size_t)clip->width, different = 0;
    if (o->bytes != (size_t)clip->frame_count * 3 * plane) {
        return (size_t)-1;
    }
    for (size_t f = 0; f < (size_t)clip->frame_count; f++) {
        for (size_t c = 0; c < 3; c++) {
            const uint8_t *a = clip->pixels + (f * 3 + c) * plane, *b = o->rgb + f * 3 * plane + c;
            for (size_t i = 0; i < plane; i++) {
                different += a[i] != b[3 * i];
            }
        }
    }
    return different;
}

#endif
