/* import_gvqa.c: questions with options and evidence: NExT-GQA and ReXTime. */
#include "corpus/import_parts.h"

#include <stdlib.h>
#include <string.h>

/* ---- NExT-GQA ---- */

/* Keeps gsub_*.json ({video: {"duration", "location": {qid: [[s, e]]}}}) and the map {video: "folder/video"} in
 * im->splits; the frame times of frame2time_* and upbd_* add nothing. */
static tr_status keep_spans(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    (void)err;
    if (key && (json_object_get(value, "location") || json_is_string(value))) {
        char *name = tr_format("%s%s", json_is_string(value) ? "map " : "span ", key);
        if (name) {
            json_object_set(im->splits, name, value);
        }
        free(name);
    } else if (!key || !json_is_array(value)) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "expected gsub_*.json, map_vid_vidorID.json or frame times");
    }
    return TR_OK;
}

static const json_t *kept(const tr_import *im, const char *kind, const char *video)
{
    char name[200];
    snprintf(name, sizeof name, "%s %s", kind, video);
    return json_object_get(im->splits, name);
}

/* video_id, frame_count, width, height, question, answer (a text), qid, type, a0 .. a4 */
static tr_status add_next_record(tr_import *im, const tr_import_table *table, tr_error *err)
{
    static const char *const columns[] = {"a0", "a1", "a2", "a3", "a4"};
    const char *video = tr_import_cell(table, "video_id"), *qid = tr_import_cell(table, "qid");
    if (!video) {
        video = tr_import_cell(table, "video"); /* NExT-QA's own table */
    }
    if (!video || !qid || !tr_import_cell(table, "question") || !tr_import_cell(table, "a4")) {
        return tr_fail(
            err, TR_FORMAT, im->paths[im->path],
            "expected the columns \"video_id\", \"question\", \"answer\", \"qid\", \"type\", \"a0\" to \"a4\"");
    }
    if (strlen(video) + strlen(qid) > 150) { /* the texts below are never cut */
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "\"video_id\" and \"qid\" have %zu bytes",
                         strlen(video) + strlen(qid));
        return TR_OK;
    }
    const json_t *span = kept(im, "span", video), *map = kept(im, "map", video);
    json_t *segments = json_object_get(json_object_get(span, "location"), qid), *options = json_array();
    const char *answer = tr_import_cell(table, "answer"), *type = tr_import_cell(table, "type");
    char id[200], path[300], letter[2] = {0, 0};
    double index;
    for (size_t i = 0; i < 5; i++) {
        json_t *option = json_string(tr_import_cell(table, columns[i]));
        json_array_append_new(options, option ? option : json_null());
    }
    if (answer && tr_import_number(answer, &index) && index >= 0 && index < 5 && strlen(answer) == 1) {
        letter[0] = (char)('A' + (int)index); /* NExT-QA counts from 0, NExT-GQA writes the text */
        for (size_t i = 0; i < 5; i++) {      /* unless an option is that very number */
            const char *text = tr_import_cell(table, columns[i]);
            letter[0] = text && !strcmp(text, answer) ? 0 : letter[0];
        }
    }
    snprintf(id, sizeof id, "%s/%s", video, qid);
    tr_import_item item = {.id = id,
                           .video = tr_import_mp4(map ? json_string_value(map) : video, path, sizeof path),
                           .text = tr_import_cell(table, "question"),
                           .answer = letter[0] ? letter : answer,
                           .duration_s = tr_import_double(span, "duration"),
                           .options = options,
                           .segments = segments ? json_incref(segments) : NULL,
                           .extra = type ? json_pack("{s:o}", "category", json_string(type)) : NULL};
    return tr_import_add(im, &item, err);
}

tr_status tr_import_next_gqa(tr_import *im, tr_error *err)
{
    tr_status status = TR_OK;
    for (int pass = 0; pass < 2; pass++) { /* the spans first, whatever the order of the files */
        for (size_t i = 0; !status && i < im->path_count; i++) {
            tr_import_open(im, i);
            bool table = tr_import_is(im, ".csv");
            if (table == (pass == 1)) {
                status = table ? tr_import_each_record(im, add_next_record, err)
                               : tr_import_each_json(im, keep_spans, err);
            }
        }
    }
    return status;
}

/* ---- ReXTime ---- */

/* {"qid", "vid", "duration", "question", "options", "span": [s, e], "ans": "A", "category", "source"}; the JSON
 * Lines have "query" and "relevant_windows" and no options. A withheld test row has the span [0, 0] and an empty
 * answer. */
static tr_status add_rextime(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    const char *name = tr_import_text(value, "vid"), *question = tr_import_text(value, "question");
    const char *answer = tr_import_text(value, "ans");
    json_t *span = json_object_get(value, "span"), *windows = json_object_get(value, "relevant_windows");
    json_t *options = json_object_get(value, "options"), *category = json_object_get(value, "category");
    char video[300];
    (void)key;
    question = question ? question : tr_import_text(value, "query");
    if (!name || !question || (!span && !windows)) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "expected \"vid\", \"question\" and \"span\"");
        return TR_OK;
    }
    if (!answer || !*answer) {
        tr_import_refuse(im, TR_IMPORT_NO_TRUTH, "the answer is withheld");
        return TR_OK;
    }
    tr_import_item item = {.id = tr_import_text(value, "qid"),
                           .video = tr_import_mp4(name, video, sizeof video),
                           .text = question,
                           .answer = answer,
                           .duration_s = tr_import_double(value, "duration"),
                           .options = options ? json_incref(options) : NULL,
                           .segments = windows ? json_incref(windows) : json_pack("[O]", span),
                           .extra = category ? json_pack("{s:O}", "category", category) : NULL};
    return tr_import_add(im, &item, err);
}

tr_status tr_import_rextime(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_rextime, err);
}
