/* file.h: reading, mapping and atomically replacing files; directories; locks.
 *
 * A writer writes beside the target and renames at the end: whoever reads sees the old file or the new one,
 * whole, also when the disk fills up. Errors name the file and the operating system's reason. */
#ifndef TR_BASE_FILE_H
#define TR_BASE_FILE_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The whole file appended to out. limit in bytes (0: no limit): a larger file is TR_FORMAT. */
tr_status tr_file_read(const char *path, size_t limit, tr_buffer *out, tr_error *err);

/* Writes bytes to path atomically and durably (temporary file, fsync, rename, fsync of the directory). */
tr_status tr_file_write_atomic(const char *path, const void *bytes, size_t count, tr_error *err);

/* A file being written atomically: open, write to .stream, then commit or abandon (one of them, once). */
typedef struct tr_file_writer {
    FILE *stream;
    char *path, *temporary;
} tr_file_writer;
tr_status tr_file_writer_open(tr_file_writer *writer, const char *path, tr_error *err);
tr_status tr_file_writer_write(tr_file_writer *writer, const void *bytes, size_t count, tr_error *err);
tr_status tr_file_writer_commit(tr_file_writer *writer, tr_error *err);
void tr_file_writer_abandon(tr_file_writer *writer);

/* A read-only memory map. An empty file maps to data NULL, size 0. */
typedef struct tr_file_map {
    const uint8_t *data;
    size_t size; /* bytes */
} tr_file_map;
tr_status tr_file_map_open(tr_file_map *map, const char *path, tr_error *err);
void tr_file_map_close(tr_file_map *map);

bool tr_file_exists(const char *path);      /* any kind */
bool tr_directory_exists(const char *path); /* a directory */

/* Makes the directory and its parents; an existing one is fine. */
tr_status tr_directory_make(const char *path, tr_error *err);

/* Removes a directory and all below it. Refuses "" and "/". An absent one is fine. */
tr_status tr_directory_remove(const char *path, tr_error *err);

/* Sorted names in a directory ("." and ".." left out). tr_names_free frees it. */
tr_status tr_directory_list(const char *path, char ***names, size_t *count, tr_error *err);
void tr_names_free(char **names, size_t count);

/* The directory part of a path ("." when there is none), free() frees it; NULL when memory is out. */
char *tr_path_directory(const char *path);

/* Lines of a stream: reads one line without its newline into line (cleared first). *got is false at the end.
 * Lines longer than limit bytes (0: no limit) are TR_FORMAT. */
tr_status tr_file_read_line(FILE *stream, size_t limit, tr_buffer *line, bool *got, tr_error *err);

/* An advisory lock on path (made when absent), held until tr_file_unlock. TR_LOCKED when another process holds
 * it; the message names its process id. */
tr_status tr_file_lock(const char *path, int *descriptor, tr_error *err);
void tr_file_unlock(int descriptor);

/* Seconds on a clock that only moves forward. */
double tr_time_s(void);

#endif
