/* import_add.c: from a published record to a row: the rules for times, texts and answers. Reads no files. */
#include "corpus/import_parts.h"

#include "corpus/rows.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- a row ---- */

typedef struct row_build {
    tr_import *im;
    tr_import_item *item;
    const char *task;
    double duration_s;
    json_t *row, *segments, *queries;
    bool refused;
} row_build;

#define REFUSE(b, ...) (tr_import_refuse((b)->im, __VA_ARGS__), (b)->refused = true)

/* A text without white space around it; NULL when it is not UTF-8 (or memory is out). *length without the space. */
static json_t *trimmed(tr_import *im, const char *text, size_t *length)
{
    const char *from = text, *end = text + strlen(text);
    while (*from && isspace((unsigned char)*from)) {
        from++;
    }
    while (end > from && isspace((unsigned char)end[-1])) {
        end--;
    }
    *length = (size_t)(end - from);
    if (*length && (from > text || *end)) {
        tr_import_note(im, TR_IMPORT_TRIMMED, "\"%.80s\"", text);
    }
    return json_stringn(from, *length);
}

/* Sets a text field of the row; refuses the record when it cannot be one. */
static void put_text(row_build *b, const char *key, const char *text, tr_import_rule absent)
{
    size_t length = 0;
    if (b->refused) {
        return;
    }
    json_t *value = text ? trimmed(b->im, text, &length) : NULL;
    if (text && !value) {
        REFUSE(b, TR_IMPORT_BAD_RECORD, "the field \"%s\" is not valid UTF-8", key);
    } else if (!length) {
        REFUSE(b, absent, "no \"%s\"", key);
        json_decref(value);
    } else {
        json_object_set_new(b->row, key, value);
    }
}

/* The clip's length: from the container where a folder is given, else as listed. */
static void find_duration(row_build *b)
{
    tr_import_item *item = b->item;
    bool part = item->clip_s[1] > 0;
    double listed = item->duration_s, real = 0;
    const char *video = item->video, *found;
    if (part && !(item->clip_s[0] < item->clip_s[1])) {
        REFUSE(b, TR_IMPORT_INVERTED, "the clip [%g, %g]", item->clip_s[0], item->clip_s[1]);
        return;
    }
    if (part && item->clip_s[0] < 0) {
        tr_import_note(b->im, TR_IMPORT_NEGATIVE, "the clip [%g, %g]", item->clip_s[0], item->clip_s[1]);
        item->clip_s[0] = 0;
    }
    if (b->im->options->videos && tr_import_video(b->im, video, &found, &real)) {
        video = found;
    }
    b->duration_s = part ? item->clip_s[1] - item->clip_s[0] : listed;
    if (real > 0) {
        double whole = part ? fmin(item->clip_s[1], real) - item->clip_s[0] : real;
        if (!(whole > 0)) {
            REFUSE(b, TR_IMPORT_OUTSIDE, "the clip [%g, %g] lies behind the end of %s (%g s)", item->clip_s[0],
                   item->clip_s[1], video, real);
            return;
        }
        if (b->duration_s > 0 && fabs(whole - b->duration_s) > 0.5) {
            tr_import_note(b->im, TR_IMPORT_CONTAINER, "%g s listed, %g s in %s", b->duration_s, whole, video);
        }
        b->duration_s = whole;
        item->clip_s[1] = part ? item->clip_s[0] + whole : item->clip_s[1];
    }
    put_text(b, "video", video, TR_IMPORT_BAD_RECORD);
    if (b->duration_s > 0 && isfinite(b->duration_s)) {
        json_object_set_new(b->row, "duration", json_real(b->duration_s));
    } else {
        b->duration_s = 0;
        tr_import_note(b->im, TR_IMPORT_NO_DURATION, "%s", video ? video : "?");
    }
    if (part) {
        json_object_set_new(b->row, "clip", json_pack("[f,f]", item->clip_s[0], item->clip_s[1]));
    }
}

/* One interval by the rules. False: it is dropped, *rule says by which. */
static bool take_interval(row_build *b, double start, double end, tr_import_rule *rule)
{
    double length = b->duration_s;
    if (!(start < end)) {
        *rule = TR_IMPORT_INVERTED;
        return false;
    }
    if ((length > 0 && start >= length) || end <= 0) {
        *rule = TR_IMPORT_OUTSIDE;
        return false;
    }
    if (start < 0) {
        tr_import_note(b->im, TR_IMPORT_NEGATIVE, "[%g, %g]", start, end);
        start = 0;
    }
    if (length > 0 && end > length) {
        tr_import_note(b->im, TR_IMPORT_CUT, "[%g, %g] in %g s", start, end, length);
        end = length;
    }
    json_array_append_new(b->segments, json_pack("[f,f]", start, end));
    return true;
}

static bool read_pair(const json_t *pair, double *start, double *end)
{
    return json_array_size(pair) == 2 && tr_import_value(json_array_get(pair, 0), start) &&
           tr_import_value(json_array_get(pair, 1), end);
}

/* The sentence of a dtg row that goes with interval i; false when it is empty or none. */
static bool take_query(row_build *b, size_t i)
{
    const char *text = json_string_value(json_array_get(b->item->queries, i));
    size_t length = 0;
    json_t *value = text ? trimmed(b->im, text, &length) : NULL;
    if (!length) {
        json_decref(value);
        return false;
    }
    json_array_append_new(b->queries, value);
    return true;
}

static void take_segments(row_build *b)
{
    const json_t *list = b->item->segments;
    bool dense = !strcmp(b->task, "dtg");
    size_t count = json_array_size(list);
    double scale = b->item->scale_s > 0 ? b->item->scale_s : 1;
    tr_import_rule rule = TR_IMPORT_NO_TRUTH;
    bool as_text = false;
    double start = 0, end = 0;
    b->segments = json_array();
    b->queries = dense ? json_array() : NULL;
    if (!json_is_array(list) || (dense && count != json_array_size(b->item->queries))) {
        REFUSE(b, json_is_array(list) ? TR_IMPORT_BAD_RECORD : TR_IMPORT_NO_TRUTH, "%s",
               json_is_array(list) ? "the sentences and the intervals are not equally many"
                                   : "no list of intervals");
        return;
    }
    if (!strcmp(b->task, "tg") && count > 1) {
        REFUSE(b, TR_IMPORT_SEVERAL, "%zu intervals", count);
        return;
    }
    for (size_t i = 0; i < count && !b->refused; i++) {
        const json_t *pair = json_array_get(list, i);
        if (!read_pair(pair, &start, &end) || !isfinite(start * scale) || !isfinite(end * scale)) {
            REFUSE(b, TR_IMPORT_BAD_RECORD, "interval %zu is no pair of numbers", i + 1);
        } else if (dense && !take_query(b, i)) {
            rule = TR_IMPORT_EMPTY_TEXT;
            if (count > 1) {
                tr_import_note(b->im, rule, "sentence %zu", i + 1);
            }
        } else if (!take_interval(b, start * scale, end * scale, &rule)) {
            if (dense) {
                json_array_remove(b->queries, json_array_size(b->queries) - 1);
            }
            if (count > 1) {
                tr_import_note(b->im, rule, "[%g, %g] in %g s", start * scale, end * scale, b->duration_s);
            }
        }
        as_text |= json_is_string(json_array_get(pair, 0));
    }
    if (!b->refused && !json_array_size(b->segments)) {
        if (count) {
            b->im->count[rule] -= count > 1; /* noted above already */
            REFUSE(b, rule, "[%g, %g]%s", start * scale, end * scale,
                   count > 1 ? ", and none of the others is left" : "");
        } else {
            REFUSE(b, rule, "no intervals");
        }
    }
    if (!b->refused && as_text) {
        tr_import_note(b->im, TR_IMPORT_TEXT_TIMES, "%zu intervals", count);
    }
}

/* ---- options ---- */

/* "A. text", "(A) text", "A) text", "A: text" for the letter of index i: where the text begins; else NULL. */
static const char *behind_letter(const char *text, size_t i)
{
    bool bracket = *text == '(';
    text += bracket;
    if (*text != (char)('A' + i) || (bracket ? text[1] != ')' : !text[1] || !strchr(".):", text[1]))) {
        return NULL;
    }
    return text + 2 + strspn(text + 2, " \t");
}

/* The options as a list of texts, owned: from a list, {"A": ..}, or lines of text; NULL when there are none. */
static json_t *option_list(const json_t *given)
{
    json_t *list = json_array();
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_object(given)) {
        json_object_foreach((json_t *)given, key, value)
        {
            json_array_append(list, value);
        }
    } else if (json_is_array(given)) {
        json_array_foreach((json_t *)given, i, value)
        {
            json_array_append(list, value);
        }
    } else if (json_is_string(given)) {
        for (const char *at = json_string_value(given); *at; at += strcspn(at, "\n"), at += *at == '\n') {
            size_t length = strcspn(at, "\n");
            if (length) {
                json_array_append_new(list, json_stringn(at, length));
            }
        }
    }
    return list;
}

/* Takes "A. " off when every option has its own letter. */
static void take_letters_off(json_t *list)
{
    size_t count = json_array_size(list);
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || !behind_letter(text, i) || !*behind_letter(text, i)) {
            return;
        }
    }
    for (size_t i = 0; i < count; i++) {
        json_array_set_new(list, i, json_string(behind_letter(json_string_value(json_array_get(list, i)), i)));
    }
}

/* The index of the option that an answer names: by its text, else by its letter; count when none. */
static size_t find_option(row_build *b, const json_t *list, const char *answer)
{
    size_t count = json_array_size(list), found = count, same = 0, space = strspn(answer, " \t\n\r");
    answer += space;
    size_t length = strlen(answer);
    while (length && isspace((unsigned char)answer[length - 1])) {
        length--;
    }
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        size_t n = text ? strlen(text) : 0;
        if (text && n == length && !strncmp(text, answer, n)) {
            found = same++ ? found : i;
        }
    }
    if (same > 1) {
        tr_import_note(b->im, TR_IMPORT_TWICE, "\"%.80s\"", answer);
    }
    for (size_t i = 0; i < count && found == count; i++) {
        if ((length == 1 && *answer == (char)('A' + i)) || (length > 1 && behind_letter(answer, i))) {
            found = i;
        }
    }
    return found;
}

static void take_options(row_build *b)
{
    json_t *list = option_list(b->item->options);
    const char *answer = b->item->answer;
    size_t count = json_array_size(list);
    for (size_t i = 0; i < count && !b->refused; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        size_t length;
        if (!text) {
            REFUSE(b, TR_IMPORT_BAD_RECORD, "option %zu is no text", i + 1);
        } else {
            json_array_set_new(list, i, trimmed(b->im, text, &length));
        }
    }
    take_letters_off(list);
    if (b->refused) {
    } else if (count < 2) {
        REFUSE(b, TR_IMPORT_OPEN_ENDED, "%zu options", count);
    } else if (count > 26) {
        REFUSE(b, TR_IMPORT_BAD_RECORD, "%zu options, 26 at most", count);
    } else if (!answer || !*answer) {
        REFUSE(b, TR_IMPORT_NO_TRUTH, "no answer");
    } else {
        size_t found = find_option(b, list, answer);
        if (found == count) {
            REFUSE(b, TR_IMPORT_NO_OPTION, "\"%.120s\"", answer);
        } else {
            char letter[2] = {(char)('A' + found), 0};
            json_object_set(b->row, "options", list);
            json_object_set_new(b->row, "answer", json_string(letter));
        }
    }
    json_decref(list);
}

/* ---- the whole ---- */

/* The split: asked for, published, listed beside, or in the file's name; NULL when nothing says. */
static const char *find_split(const tr_import *im, const tr_import_item *item)
{
    static const char *const names[][2] = {{"training", "train"}, {"validation", "val"}, {"testing", "test"}};
    const char *split = im->options->split ? im->options->split : item->split;
    for (size_t i = 0; split && !im->options->split && i < 3; i++) {
        split = !strcmp(split, names[i][0]) ? names[i][1] : split;
    }
    for (size_t i = 0; !split && i < 3; i++) {
        split = strstr(im->stem, names[i][1]) ? names[i][1] : NULL;
    }
    return split;
}

static void put_id(row_build *b)
{
    char number[32], *id;
    snprintf(number, sizeof number, "%zu", b->im->number);
    id = b->item->id ? tr_format("%s/%s", b->im->source->name, b->item->id)
                     : tr_format("%s/%s/%s", b->im->source->name, b->im->stem, number);
    if (b->refused || !id) {
        free(id);
        return;
    }
    put_text(b, "id", id, TR_IMPORT_BAD_RECORD);
    const char *written = json_string_value(json_object_get(b->row, "id"));
    if (!b->refused && json_object_get(b->im->ids, written)) {
        REFUSE(b, TR_IMPORT_DUPLICATE, "%s", written);
    }
    free(id);
}

/* The fields in the order of design.md: id, task, video, duration, source, split, the task's own. */
static void build_row(row_build *b)
{
    tr_import_item *item = b->item;
    bool choice = !strcmp(b->task, "gvqa") || !strcmp(b->task, "qa");
    const char *split = find_split(b->im, item);
    put_id(b);
    put_text(b, "task", b->task, TR_IMPORT_BAD_RECORD);
    if (!b->refused) {
        find_duration(b);
    }
    put_text(b, "source", b->im->source->name, TR_IMPORT_BAD_RECORD);
    if (split) {
        put_text(b, "split", split, TR_IMPORT_BAD_RECORD);
    }
    if (strcmp(b->task, "dtg") != 0) {
        put_text(b,
                 choice                    ? "question"
                 : !strcmp(b->task, "tal") ? "action"
                                           : "query",
                 item->text, TR_IMPORT_EMPTY_TEXT);
    }
    if (choice && !b->refused) {
        take_options(b);
    }
    if (strcmp(b->task, "qa") != 0 && !b->refused) {
        take_segments(b);
    }
    if (!b->refused && b->queries) {
        json_object_set(b->row, "queries", b->queries);
    }
    if (!b->refused && b->segments) {
        json_object_set(b->row, "segments", b->segments);
    }
    if (!b->refused && item->extra) {
        json_object_update_missing(b->row, item->extra);
    }
}

tr_status tr_import_add(tr_import *im, tr_import_item *item, tr_error *err)
{
    row_build b = {.im = im, .item = item, .task = item->task ? item->task : im->task, .row = json_object()};
    tr_row row = {0};
    tr_error found = {0};
    tr_status status = b.row ? TR_OK : tr_fail(err, TR_MEMORY, im->place, "out of memory");
    if (!status) {
        build_row(&b);
    }
    if (!status && !b.refused) {
        /* The row reader has the last word: what it would not read is never written. */
        if (tr_row_from_json(json_incref(b.row), im->place, im->line, &row, &found)) {
            tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "%s", found.message);
        } else if (!(status = tr_row_write(im->out, row.json, err))) {
            const char *split = json_string_value(json_object_get(row.json, "split"));
            json_t *rows = json_object_get(im->split_rows, split ? split : "no split");
            json_object_set_new(im->ids, row.id, json_null());
            json_object_set_new(im->split_rows, split ? split : "no split",
                                json_integer(json_integer_value(rows) + 1));
            im->records++;
            im->rows++;
        }
        tr_row_free(&row);
    }
    json_decref(b.row);
    json_decref(b.segments);
    json_decref(b.queries);
    json_decref(item->queries);
    json_decref(item->segments);
    json_decref(item->options);
    json_decref(item->extra);
    memset(item, 0, sizeof *item);
    return status;
}
