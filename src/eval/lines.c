/* lines.c: appending JSON lines, reading back those of a killed job. */
#include "eval/lines.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static tr_status fail_os(const tr_lines *lines, const char *what, tr_error *err)
{
    return tr_fail(err, TR_IO, lines->path, "cannot %s %s: %s", what, lines->path, strerror(errno));
}

/* Gives every whole line to each; *whole is the byte behind the last one, *torn whether bytes follow it. */
static tr_status read_whole(FILE *stream, const char *path, tr_lines_each each, void *context, int64_t *count,
                            off_t *whole, bool *torn, tr_error *err)
{
    char *text = NULL, where[520];
    size_t capacity = 0;
    ssize_t length;
    long number = 0;
    tr_status status = TR_OK;
    *count = 0;
    *whole = 0;
    *torn = false;
    while (!status && (length = getline(&text, &capacity, stream)) > 0) {
        json_t *line = NULL;
        if (text[length - 1] != '\n') {
            *torn = true;
            break;
        }
        *whole += length;
        number++;
        if (length == 1) {
            continue; /* an empty line is no row */
        }
        snprintf(where, sizeof where, "%s:%ld", path, number);
        status = tr_json_parse(text, (size_t)length - 1, path, number - 1, &line, err);
        status = status ? status : each(context, *count, line, where, err);
        json_decref(line);
        ++*count;
    }
    if (!status && ferror(stream)) {
        status = tr_fail(err, TR_IO, path, "cannot read %s: %s", path, strerror(errno));
    }
    free(text);
    return status;
}

bool tr_lines_stand(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0;
}

tr_status tr_lines_open(tr_lines *lines, const char *path, bool resume, tr_lines_each each, void *context,
                        tr_error *err)
{
    off_t whole = 0;
    bool torn = false;
    *lines = (tr_lines){.path = tr_strdup(path)};
    if (!lines->path) {
        return tr_fail(err, TR_MEMORY, path, "out of memory");
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    lines->stream = fd < 0 ? NULL : fdopen(fd, "r+b");
    tr_status status = TR_OK;
    if (!lines->stream) {
        status = fail_os(lines, "open", err);
        if (fd >= 0) {
            close(fd);
        }
    } else if (flock(fd, LOCK_EX | LOCK_NB)) {
        status =
            tr_fail(err, TR_LOCKED, path, "another process is writing %s; wait for it or give another place", path);
    } else if (resume) {
        status = read_whole(lines->stream, path, each, context, &lines->count, &whole, &torn, err);
    }
    if (!status && (ftruncate(fd, whole) || fseeko(lines->stream, whole, SEEK_SET))) {
        status = fail_os(lines, "continue", err);
    }
    if (status) {
        tr_lines_close(lines);
    }
    return status;
}

tr_status tr_lines_add(tr_lines *lines, const json_t *line, tr_error *err)
{
    tr_buffer text = {0};
    tr_status status = tr_json_print(line, &text, err);
    status = status ? status : tr_buffer_add(&text, "\n", 1, err);
    if (!status && fwrite(text.data, 1, text.length, lines->stream) != text.length) {
        status = fail_os(lines, "write", err);
    }
    lines->count += !status;
    tr_buffer_free(&text);
    return status;
}

tr_status tr_lines_flush(tr_lines *lines, tr_error *err)
{
    return fflush(lines->stream) ? fail_os(lines, "write", err) : TR_OK;
}

tr_status tr_lines_finish(tr_lines *lines, tr_error *err)
{
    tr_status status = fflush(lines->stream) || fsync(fileno(lines->stream)) ? fail_os(lines, "write", err) : TR_OK;
    tr_lines_close(lines);
    return status;
}

void tr_lines_close(tr_lines *lines)
{
    if (lines->stream) {
        fclose(lines->stream);
    }
    free(lines->path);
    *lines = (tr_lines){0};
}

tr_status tr_lines_read(const char *path, tr_lines_each each, void *context, tr_error *err)
{
    FILE *stream = fopen(path, "rbe");
    if (!stream) {
        return tr_fail(err, TR_NOT_FOUND, path, "cannot open %s: %s", path, strerror(errno));
    }
    int64_t count;
    off_t whole;
    bool torn;
    tr_status status = read_whole(stream, path, each, context, &count, &whole, &torn, err);
    if (!status && torn) {
        status =
            tr_fail(err, TR_FORMAT, path,
                    "the last line of %s (behind line %lld) has no end: the job that wrote it was killed; run it "
                    "again, it continues there",
                    path, (long long)count);
    }
    fclose(stream);
    return status;
}
