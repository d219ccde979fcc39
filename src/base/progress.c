/* progress.c: a progress bar with time left, on stderr. */
#include "base/progress.h"

#include "base/file.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
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

/* Columns of the terminal; a line that is rewritten must not be longer, or its upper part stays behind. */
static size_t columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

static void draw(tr_progress *p, const char *note, int last)
{
    double elapsed = tr_time_s() - p->start_s;
    char spent[32], left[32] = "n/a", count[48], line[512], bar[BAR_CELLS + 4] = "";
    format_time(elapsed, spent, sizeof spent);
    if (p->total > 0 && p->done > 0) {
        format_time(elapsed / (double)p->done * (double)(p->total - p->done), left, sizeof left);
    }
    bool more = !last && p->total > 0, noted = note && note[0];
    snprintf(count, sizeof count, p->total > 0 ? "%lld/%lld" : "%lld", (long long)p->done, (long long)p->total);
    snprintf(line, sizeof line, "%s %s%s%s%s%s", count, spent, more ? " left " : "", more ? left : "",
             noted ? "  " : "", noted ? note : "");
    if (p->terminal) {
        size_t room = columns() - 1, used = strlen(p->label) + 1 + strlen(line);
        if (p->total > 0 && used + BAR_CELLS + 3 <= room) {
            int filled = (int)(p->done * BAR_CELLS / p->total);
            bar[0] = '[';
            for (int i = 0; i < BAR_CELLS; i++) {
                bar[1 + i] = i < filled ? '#' : '.';
            }
            bar[1 + BAR_CELLS] = ']';
            bar[2 + BAR_CELLS] = ' ';
        } else if (!last && used > room) {
            size_t fits = room > strlen(p->label) + 1 ? room - strlen(p->label) - 1 : 0;
            while (fits && (line[fits] & 0xC0) == 0x80) { /* not inside a letter */
                fits--;
            }
            line[fits] = 0;
        }
    }
    fprintf(stderr, "%s%s %s%s%s", p->terminal ? "\r\033[K" : "", p->label, bar, line,
            last || !p->terminal ? "\n" : "");
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
