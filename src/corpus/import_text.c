/* import_text.c: Charades-STA ("VID start end##sentence") and DiDeMo (segments of five seconds). */
#include "corpus/import_parts.h"

#include <math.h>
#include <string.h>

/* ---- Charades-STA ---- */

static tr_status add_length_record(tr_import *im, const tr_import_table *table, tr_error *err)
{
    const char *id = tr_import_cell(table, "id"), *length = tr_import_cell(table, "length");
    double seconds;
    if (!id || !length) {
        return tr_fail(err, TR_FORMAT, im->paths[im->path],
                       "expected the columns \"id\" and \"length\" of Charades_v1_*.csv in the header");
    }
    if (tr_import_number(length, &seconds)) {
        json_object_set_new(im->durations, id, json_real(seconds));
    }
    return TR_OK;
}

/* charades.json is {video: {"duration", ...}}; Charades-CD's files hold the sentences too. */
static tr_status add_charades_json(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    if (json_object_get(value, "sentences")) {
        return tr_import_captioned_video(im, key, value, err);
    }
    if (key && tr_import_double(value, "duration") > 0) {
        json_object_set(im->durations, key, json_object_get(value, "duration"));
        return TR_OK;
    }
    tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "neither \"duration\" nor \"sentences\"");
    return TR_OK;
}

/* VID start end##sentence */
static tr_status add_charades_line(tr_import *im, char *text, tr_error *err)
{
    char *mark = strstr(text, "##"), *save, *fields[4] = {0}, video[300];
    size_t count = 0;
    double start, end;
    if (!mark) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "column %zu: expected \"##\" between the times and the sentence",
                         strlen(text) + 1);
        return TR_OK;
    }
    *mark = 0;
    for (char *word = strtok_r(text, " \t", &save); word && count < 4; word = strtok_r(NULL, " \t", &save)) {
        fields[count++] = word;
    }
    if (count != 3 || !tr_import_number(fields[1], &start) || !tr_import_number(fields[2], &end)) {
        const char *bad = count != 3 ? mark : !tr_import_number(fields[1], &start) ? fields[1] : fields[2];
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "column %td: expected \"VIDEO START END##sentence\"",
                         bad - text + 1);
        return TR_OK;
    }
    tr_import_item item = {.video = tr_import_mp4(fields[0], video, sizeof video),
                           .text = mark + 2,
                           .duration_s = json_number_value(json_object_get(im->durations, fields[0])),
                           .segments = tr_import_pair(start, end)};
    return tr_import_add(im, &item, err);
}

tr_status tr_import_charades(tr_import *im, tr_error *err)
{
    tr_status status = TR_OK;
    for (size_t i = 0; !status && i < im->path_count; i++) { /* durations first, whatever the order of the files */
        tr_import_open(im, i);
        if (tr_import_is(im, ".json")) {
            status = tr_import_each_json(im, add_charades_json, err);
        } else if (tr_import_is(im, ".csv")) {
            status = tr_import_each_record(im, add_length_record, err);
        }
    }
    for (size_t i = 0; !status && i < im->path_count; i++) {
        tr_import_open(im, i);
        if (!tr_import_is(im, ".json") && !tr_import_is(im, ".csv")) {
            status = tr_import_each_line(im, add_charades_line, err);
        }
    }
    return status;
}

/* ---- DiDeMo ---- */

static double overlap(double a0, double a1, double b0, double b1)
{
    double both = fmin(a1, b1) - fmax(a0, b0), either = fmax(a1, b1) - fmin(a0, b0);
    return both > 0 ? both / either : 0;
}

/* The annotation that agrees most with all of them (largest sum of IoU, the first of equals): the published files
 * hold four or more [first, last] segments of 5 s for a sentence, and a row has one truth. */
static bool consensus(const json_t *times, double *first, double *last)
{
    double best = -1;
    size_t count = json_array_size(times);
    for (size_t i = 0; i < count && i < 64; i++) {
        double a, b, sum = 0;
        for (size_t k = 0; k < count && k < 64; k++) {
            const json_t *x = json_array_get(times, i), *y = json_array_get(times, k);
            double c, d;
            if (json_array_size(x) != 2 || json_array_size(y) != 2 || !tr_import_value(json_array_get(x, 0), &a) ||
                !tr_import_value(json_array_get(x, 1), &b) || !tr_import_value(json_array_get(y, 0), &c) ||
                !tr_import_value(json_array_get(y, 1), &d)) {
                return false;
            }
            sum += overlap(a, b + 1, c, d + 1);
        }
        if (sum > best) {
            best = sum;
            *first = a;
            *last = b;
        }
    }
    return best >= 0;
}

/* {"annotation_id", "description", "video", "times": [[first, last], ..], "num_segments"}: LocalizingMoments'
 * README. */
static tr_status add_didemo(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    const double segment_s = 5;
    double first = 0, last = 0;
    const json_t *times = json_object_get(value, "times");
    char id[32], video[300];
    const char *name = tr_import_text(value, "video");
    json_int_t number = json_integer_value(json_object_get(value, "annotation_id"));
    (void)key;
    if (!name || !json_array_size(times) || !consensus(times, &first, &last)) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD,
                         "expected \"video\" and \"times\", a list of [first, last] segments");
        return TR_OK;
    }
    snprintf(id, sizeof id, "%lld", (long long)number);
    tr_import_item item = {
        .id = json_object_get(value, "annotation_id") ? id : NULL,
        .video = tr_import_mp4(name, video, sizeof video),
        .text = tr_import_text(value, "description"),
        .duration_s = segment_s * tr_import_double(value, "num_segments"),
        .segments = tr_import_pair(first * segment_s, (last + 1) * segment_s),
        .extra = json_pack("{s:O}", "times", times),
    };
    return tr_import_add(im, &item, err);
}

tr_status tr_import_didemo(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_didemo, err);
}
