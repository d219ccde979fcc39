/* progress.c: a progress bar with time left, on stderr. */
#include "base/progress.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR_CELLS = 24 };

static int all_quiet;

void tr_progress_set_quiet(int quiet)
{
    all_quiet = quiet;
}

static void format_time(double seconds, char *out, size_t size)
{
    long s = (long)(seconds + 0.5);
    if (s >= 3600) {
        snprintf(out, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    } else {
        snprintf(out, size, "%ld:%02ld", s / 60, s % 60);
    }
}

static void draw(tr_progress *p, const char *note, int last)
{
    double elapsed = tr_time_s() - p->start_s;
    char spent[32], left[32] = "n/a";
    format_time(elapsed, spent, sizeof spent);
    if (p->total > 0 && p->done > 0) {
        format_time(elapsed / (double)p->done * (double)(p->total - p->done), left, sizeof left);
    }
    fprintf(stderr, "%s%s ", p->terminal ? "\r\033[K" : "", p->label);
    if (p->total > 0) {
        int filled = (int)(p->done * BAR_CELLS / p->total);
        if (p->terminal) {
            fputc('[', stderr);
            for (int i = 0; i < BAR_CELLS; i++) {
                fputc(i < filled ? '#' : '.', stderr);
            }
            fputs("] ", stderr);
        }
        fprintf(stderr, "%lld/%lld ", (long long)p->done, (long long)p->total);
    } else {
        fprintf(stderr, "%lld ", (long long)p->done);
    }
    fprintf(stderr, "%s", spent);
    if (!last && p->total > 0) {
        fprintf(stderr, " left %s", left);
    }
    if (note && note[0]) {
        fprintf(stderr, "  %s", note);
    }
    if (last || !p->terminal) {
        fputc('\n', stderr);
    }
    fflush(stderr);
    p->drawn = 1;
}

void tr_progress_begin(tr_progress *progress, const char *label, int64_t total)
{
    memset(progress, 0, sizeof *progress);
    snprintf(progress->label, sizeof progress->label, "%s", label);
    progress->total = total;
    progress->start_s = progress->last_s = tr_time_s();
    progress->terminal = isatty(STDERR_FILENO);
    progress->quiet = all_quiet;
}

void tr_progress_update(tr_progress *progress, int64_t done, const char *note)
{
    progress->done = done;
    double now = tr_time_s();
    if (!progress->quiet && now - progress->last_s >= (progress->terminal ? 0.1 : 30.0)) {
        progress->last_s = now;
        draw(progress, note, 0);
    }
}

void tr_progress_end(tr_progress *progress, const char *note)
{
    if (!progress->quiet) {
        draw(progress, note, 1);
    }
}
