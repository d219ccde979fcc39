/* import_video.c: which file a published video name means, and how long it really is. */
#include "corpus/import_parts.h"

#include "base/file.h"
#include "video/clip.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool regular(const char *folder, const char *name)
{
    struct stat info;
    char *path = tr_format("%s/%s", folder, name);
    bool is = path && stat(path, &info) == 0 && S_ISREG(info.st_mode);
    free(path);
    return is;
}

/* Where the published name lies in the folder: as it is, without leading folders, with another extension. Returns
 * an owned name or NULL. */
static char *locate(const char *folder, const char *name)
{
    static const char *const kinds[] = {"", ".mp4", ".mkv", ".webm", ".avi", ".mov"};
    for (const char *from = name; from && *from; from = strchr(from, '/'), from = from ? from + 1 : NULL) {
        const char *slash = strrchr(from, '/'), *dot = strrchr(slash ? slash : from, '.');
        int bare = dot ? (int)(dot - from) : (int)strlen(from);
        if (strstr(from, "../") || *from == '/') {
            continue;
        }
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
            char *candidate = i ? tr_format("%.*s%s", bare, from, kinds[i]) : tr_strdup(from);
            if (candidate && regular(folder, candidate)) {
                return candidate;
            }
            free(candidate);
        }
    }
    return NULL;
}

/* The first two seconds tell that it decodes; the container's packets give the duration. */
static tr_status measure(const char *path, double *duration_s, tr_error *err)
{
    tr_video_options o = {.fps = 1,
                          .min_frames = 2,
                          .max_frames = 2,
                          .total_pixels = 1568,
                          .min_pixels = 784,
                          .end_s = 2,
                          .time_limit_s = 300,
                          .memory_limit_bytes = tr_video_options_default().memory_limit_bytes};
    tr_clip *clip = NULL;
    tr_status status = tr_clip_open(path, &o, NULL, &clip, err);
    if (status == TR_INVALID) { /* fewer than two frames in the first seconds */
        o.end_s = 0;
        status = tr_clip_open(path, &o, NULL, &clip, err);
    }
    *duration_s = status ? 0 : clip->duration_s;
    tr_clip_free(clip);
    return status;
}

/* Looks once at every name: {"file": where, "duration": seconds} or {"broken": why} or {}. */
static json_t *look(const char *folder, const char *name)
{
    json_t *entry = json_object();
    char *file = locate(folder, name), *path = file ? tr_path_join(folder, file) : NULL;
    double duration_s;
    tr_error err = {0};
    if (path) {
        json_object_set_new(entry, "file", json_string(file));
        if (measure(path, &duration_s, &err)) {
            json_object_set_new(entry, "broken", json_string(err.message));
        } else {
            json_object_set_new(entry, "duration", json_real(duration_s));
        }
    }
    free(file);
    free(path);
    return entry;
}

bool tr_import_video(tr_import *im, const char *name, const char **found, double *duration_s)
{
    json_t *entry = name ? json_object_get(im->seen_videos, name) : NULL;
    if (!name) {
        return false;
    }
    if (!entry) {
        entry = look(im->options->videos, name);
        if (!json_object_get(entry, "file")) {
            tr_import_note(im, TR_IMPORT_NO_VIDEO, "%s", name);
        } else if (json_object_get(entry, "broken")) {
            tr_import_note(im, TR_IMPORT_BROKEN_VIDEO, "%s: %s", name, tr_import_text(entry, "broken"));
        }
        if (json_object_set_new(im->seen_videos, name, entry)) {
            return false; /* the name is not UTF-8: the row is refused for that */
        }
    }
    *found = tr_import_text(entry, "file");
    *duration_s = tr_import_double(entry, "duration");
    return *found != NULL;
}
