/* file.c: reading, mapping and atomically replacing files; directories; locks. */
#include "base/file.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static tr_status fail_os(tr_error *err, const char *path, const char *what)
{
    int code = errno;
    tr_status status = code == ENOENT || code == ENOTDIR ? TR_NOT_FOUND : TR_IO;
    return tr_fail(err, status, path, "cannot %s %s: %s", what, path, strerror(code));
}

tr_status tr_file_read(const char *path, size_t limit, tr_buffer *out, tr_error *err)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        return fail_os(err, path, "open");
    }
    char block[65536];
    size_t got, total = 0;
    tr_status status = TR_OK;
    while (!status && (got = fread(block, 1, sizeof block, f)) > 0) {
        total += got;
        status = limit && total > limit
                     ? tr_fail(err, TR_FORMAT, path, "%s is larger than the %zu bytes allowed here", path, limit)
                     : tr_buffer_add(out, block, got, err);
    }
    if (!status && ferror(f)) {
        status = fail_os(err, path, "read");
    }
    fclose(f);
    return status;
}

char *tr_path_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) {
        return tr_strdup(".");
    }
    return slash == path ? tr_strdup("/") : tr_strndup(path, (size_t)(slash - path));
}

tr_status tr_file_writer_open(tr_file_writer *writer, const char *path, tr_error *err)
{
    static atomic_uint number; /* two threads may write the same file: the last commit stays, whole */
    memset(writer, 0, sizeof *writer);
    writer->path = tr_strdup(path);
    writer->temporary = tr_format("%s.part-%ld-%u", path, (long)getpid(), atomic_fetch_add(&number, 1));
    if (!writer->path || !writer->temporary) {
        tr_file_writer_abandon(writer);
        return tr_fail(err, TR_MEMORY, path, "out of memory");
    }
    writer->stream = fopen(writer->temporary, "wb");
    if (!writer->stream) {
        tr_status status = fail_os(err, writer->temporary, "create");
        tr_file_writer_abandon(writer);
        return status;
    }
    return TR_OK;
}

tr_status tr_file_writer_write(tr_file_writer *writer, const void *bytes, size_t count, tr_error *err)
{
    if (count && fwrite(bytes, 1, count, writer->stream) != count) {
        return fail_os(err, writer->path, "write");
    }
    return TR_OK;
}

static tr_status sync_directory(const char *path, tr_error *err)
{
    char *dir = tr_path_directory(path);
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(dir);
    if (fd < 0) {
        return fail_os(err, path, "open the directory of");
    }
    fsync(fd); /* some file systems refuse this for directories; the rename itself is still atomic */
    close(fd);
    return TR_OK;
}

tr_status tr_file_writer_commit(tr_file_writer *writer, tr_error *err)
{
    tr_status status = TR_OK;
    if (fflush(writer->stream) || fsync(fileno(writer->stream))) {
        status = fail_os(err, writer->path, "write");
    }
    if (fclose(writer->stream) && !status) {
        status = fail_os(err, writer->path, "close");
    }
    writer->stream = NULL;
    if (!status && rename(writer->temporary, writer->path)) {
        status = fail_os(err, writer->path, "replace");
    }
    if (!status) {
        free(writer->temporary);
        writer->temporary = NULL;
        status = sync_directory(writer->path, err);
    }
    tr_file_writer_abandon(writer);
    return status;
}

void tr_file_writer_abandon(tr_file_writer *writer)
{
    if (writer->stream) {
        fclose(writer->stream);
    }
    if (writer->temporary) {
        unlink(writer->temporary);
    }
    free(writer->path);
    free(writer->temporary);
    memset(writer, 0, sizeof *writer);
}

tr_status tr_file_write_atomic(const char *path, const void *bytes, size_t count, tr_error *err)
{
    tr_file_writer writer;
    tr_status status = tr_file_writer_open(&writer, path, err);
    if (status) {
        return status;
    }
    status = tr_file_writer_write(&writer, bytes, count, err);
    if (status) {
        tr_file_writer_abandon(&writer);
        return status;
    }
    return tr_file_writer_commit(&writer, err);
}

tr_status tr_file_map_open(tr_file_map *map, const char *path, tr_error *err)
{
    memset(map, 0, sizeof *map);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fail_os(err, path, "open");
    }
    struct stat info;
    tr_status status = TR_OK;
    if (fstat(fd, &info)) {
        status = fail_os(err, path, "inspect");
    } else if (!S_ISREG(info.st_mode)) {
        status = tr_fail(err, TR_INVALID, path, "%s is not a regular file", path);
    } else if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = fail_os(err, path, "map");
        } else {
            map->data = data;
            map->size = (size_t)info.st_size;
        }
    }
    close(fd);
    return status;
}

void tr_file_map_close(tr_file_map *map)
{
    if (map && map->data) {
        munmap((void *)(uintptr_t)map->data, map->size);
        memset(map, 0, sizeof *map);
    }
}

bool tr_file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool tr_directory_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

tr_status tr_directory_make(const char *path, tr_error *err)
{
    char *copy = tr_strdup(path);
    if (!copy) {
        return tr_fail(err, TR_MEMORY, path, "out of memory");
    }
    tr_status status = TR_OK;
    for (char *p = copy + (copy[0] == '/'); !status; p++) {
        if (*p == '/' || *p == 0) {
            char old = *p;
            *p = 0;
            if (copy[0] && mkdir(copy, 0777) && errno != EEXIST) {
                status = fail_os(err, copy, "make the directory");
            }
            *p = old;
            if (!old) {
                break;
            }
        }
    }
    if (!status && !tr_directory_exists(path)) {
        status = tr_fail(err, TR_IO, path, "%s exists but is not a directory", path);
    }
    free(copy);
    return status;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    return remove(path);
}

tr_status tr_directory_remove(const char *path, tr_error *err)
{
    if (!path[0] || !strcmp(path, "/")) {
        return tr_fail(err, TR_INVALID, path, "refusing to remove the directory '%s'", path);
    }
    if (!tr_file_exists(path)) {
        return TR_OK;
    }
    return nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) ? fail_os(err, path, "remove") : TR_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

tr_status tr_directory_list(const char *path, char ***names, size_t *count, tr_error *err)
{
    *names = NULL;
    *count = 0;
    DIR *dir = opendir(path);
    if (!dir) {
        return fail_os(err, path, "read the directory");
    }
    size_t capacity = 0;
    tr_status status = TR_OK;
    for (struct dirent *entry; !status && (entry = readdir(dir));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) {
            continue;
        }
        status = tr_grow(names, &capacity, *count + 1, sizeof **names, err);
        if (!status && !((*names)[*count] = tr_strdup(entry->d_name))) {
            status = tr_fail(err, TR_MEMORY, path, "out of memory");
        }
        *count += !status;
    }
    closedir(dir);
    if (status) {
        tr_names_free(*names, *count);
        *names = NULL;
        *count = 0;
    } else if (*count) {
        qsort(*names, *count, sizeof **names, compare_names);
    }
    return status;
}

void tr_names_free(char **names, size_t count)
{
    for (size_t i = 0; names && i < count; i++) {
        free(names[i]);
    }
    free(names);
}

tr_status tr_file_read_line(FILE *stream, size_t limit, tr_buffer *line, bool *got, tr_error *err)
{
    tr_buffer_clear(line);
    *got = false;
    ssize_t n = getline(&line->data, &line->capacity, stream); /* keeps NUL bytes, unlike fgets */
    if (n < 0) {
        if (line->data) {
            line->data[0] = 0;
        }
        return ferror(stream) ? tr_fail(err, TR_IO, NULL, "cannot read: %s", strerror(errno)) : TR_OK;
    }
    *got = true;
    line->length = (size_t)n;
    if (n && line->data[n - 1] == '\n') {
        line->data[--line->length] = 0;
    }
    if (limit && line->length > limit) {
        return tr_fail(err, TR_FORMAT, NULL, "a line of %zu bytes is longer than the %zu allowed here",
                       line->length, limit);
    }
    return TR_OK;
}

tr_status tr_file_lock(const char *path, int *descriptor, tr_error *err)
{
    *descriptor = -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        return fail_os(err, path, "open");
    }
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        char owner[32] = "";
        ssize_t n = read(fd, owner, sizeof owner - 1);
        close(fd);
        return tr_fail(err, TR_LOCKED, path, "%s is held by another tempr1 process (id %s)", path,
                       n > 0 ? owner : "unknown");
    }
    char text[32];
    int n = snprintf(text, sizeof text, "%ld", (long)getpid());
    if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)n, 0) != n) {
        tr_status status = fail_os(err, path, "write");
        close(fd);
        return status;
    }
    *descriptor = fd;
    return TR_OK;
}

void tr_file_unlock(int descriptor)
{
    if (descriptor >= 0) {
        close(descriptor);
    }
}

double tr_time_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
