/* video_frames.c: 2 frames per second out of clips, ours against the ffmpeg program, in paired runs.
 *
 *   bench_video_frames --program TEMPR1 [--repeats N] [--fps X] [--max-frames N] CLIP...
 *
 * Per clip and repeat, in turn: `ffmpeg -vf fps=2,scale` to raw RGB thrown away; `ffmpeg -vf fps=2` alone; the
 * program `tempr1 frames`; tr_clip_open in this process, whose decoder process is kept from clip to clip. Wall
 * seconds, medians; "worst" is the largest of the paired quotients ours / ffmpeg. The last column opens the same
 * clip from the cache. Budget: 2048*784 pixels in all, 3136 a frame, as bench/video_python.py of the measurements
 * before. Modules: video */
#include "base/buffer.h"
#include "base/file.h"
#include "video/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MOST = 51, WAYS = 5 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int count)
{
    double sorted[MOST];
    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    return sorted[count / 2];
}

/* Processor seconds of the processes that have ended. */
static double cpu_s(void)
{
    struct rusage use;
    getrusage(RUSAGE_CHILDREN, &use);
    return (double)use.ru_utime.tv_sec + (double)use.ru_stime.tv_sec +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

/* Wall seconds that a shell command (freed) takes; *cpu its processor seconds. */
static double run(char *command, double *cpu)
{
    double start = tr_time_s();
    *cpu = cpu_s();
    if (!command || system(command)) {
        fprintf(stderr, "bench_video_frames: failed: %s\n", command ? command : "no memory");
        exit(1);
    }
    free(command);
    *cpu = cpu_s() - *cpu;
    return tr_time_s() - start;
}

static double open_once(const char *path, const tr_video_options *o, tr_video_cache *cache, tr_clip *shape)
{
    tr_clip *clip;
    tr_error err = {0};
    double start = tr_time_s();
    if (tr_clip_open(path, o, cache, &clip, &err)) {
        fprintf(stderr, "bench_video_frames: %s: %s\n", err.where, err.message);
        exit(1);
    }
    start = tr_time_s() - start;
    *shape = *clip;
    tr_clip_free(clip);
    return start;
}

static void one_clip(const char *path, const char *program, const tr_video_options *o, tr_video_cache *cache,
                     int repeats)
{
    double times[WAYS][MOST], cpu[3][MOST], worst = 0;
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    tr_clip c;
    open_once(path, o, cache, &c);
    for (int r = 0; r < repeats; r++) {
        times[0][r] = run(tr_format("ffmpeg -nostdin -v quiet -i '%s' -an -vf fps=%g,scale=%d:%d -pix_fmt rgb24 -f "
                                    "rawvideo -y /dev/null",
                                    path, o->fps, c.width, c.height),
                          &cpu[0][r]);
        times[1][r] =
            run(tr_format("ffmpeg -nostdin -v quiet -i '%s' -an -vf fps=%g -pix_fmt rgb24 -f rawvideo -y /dev/null",
                          path, o->fps),
                &cpu[1][r]);
        times[2][r] = run(
            tr_format("'%s' frames '%s' --fps %g --max-frames %d --total-pixels %lld --min-pixels %lld "
                      "--json >/dev/null",
                      program, path, o->fps, o->max_frames, (long long)o->total_pixels, (long long)o->min_pixels),
            &cpu[2][r]);
        times[3][r] = open_once(path, o, NULL, &c);
        times[4][r] = open_once(path, o, cache, &c);
        worst = times[2][r] / times[0][r] > worst ? times[2][r] / times[0][r] : worst;
    }
    double scaled = median(times[0], repeats), ours = median(times[2], repeats);
    printf("%-28s %5lld %5d %4dx%-4d %8.3f %8.3f %8.3f %8.3f %8.4f %7.2f %7.2f %8.3f %8.3f\n", name,
           (long long)c.total_frames, c.frame_count, c.width, c.height, scaled, median(times[1], repeats), ours,
           median(times[3], repeats), median(times[4], repeats), ours / scaled, worst, median(cpu[0], repeats),
           median(cpu[2], repeats));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *program = getenv("TEMPR1_WORKER");
    tr_video_options o = tr_video_options_default();
    tr_video_cache cache = {0};
    tr_error err = {0};
    char folder[] = "/tmp/bench-video-XXXXXX";
    int repeats = 5, at = 1;
    o.total_pixels = 2048 * 784;
    o.min_pixels = 3136;
    o.max_frames = 768;
    for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
        if (!strcmp(argv[at], "--program")) {
            program = argv[at + 1];
        } else if (!strcmp(argv[at], "--repeats")) {
            repeats = atoi(argv[at + 1]);
        } else if (!strcmp(argv[at], "--fps")) {
            o.fps = atof(argv[at + 1]);
        } else if (!strcmp(argv[at], "--max-frames")) {
            o.max_frames = atoi(argv[at + 1]);
        }
    }
    if (!program || at >= argc || repeats < 1 || repeats > MOST) {
        fprintf(stderr,
                "usage: bench_video_frames --program TEMPR1 [--repeats N] [--fps X] [--max-frames N] CLIP...\n");
        return program && at >= argc ? 0 : 2; /* tools/bench.sh runs every program without arguments */
    }
    tr_video_set_worker(program);
    if (!mkdtemp(folder) || tr_video_cache_open(&cache, folder, 0, &err)) {
        fprintf(stderr, "bench_video_frames: no cache: %s\n", err.message);
        return 1;
    }
    printf("%-28s %5s %5s %9s %8s %8s %8s %8s %8s %7s %7s %8s %8s\n", "clip (seconds, medians)", "shown", "taken",
           "size", "ffmpeg+s", "ffmpeg", "tempr1", "library", "cached", "t/f+s", "worst", "cpu f+s", "cpu t");
    for (; at < argc; at++) {
        one_clip(argv[at], program, &o, &cache, repeats);
    }
    tr_video_cache_close(&cache);
    tr_directory_remove(folder, NULL);
    return 0;
}
