/* check.c: reads the rows of an audit and finds what is wrong with them; joins the parts of the report. */
#include "corpus/check.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "corpus/check_parts.h"
#include "corpus/rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *text;
} kinds[TR_CHECK_KINDS] = {
#define X(name, key, text) {key, text},
    TR_CHECK_LIST(X)
#undef X
};

void tr_check_defaults(tr_check_options *options)
{
    *options = (tr_check_options){
        .tolerance_s = 0.5, .time_limit_s = 300, .jobs = 2, .examples = 100, .work = UINT64_C(1000000000)};
}

/* ---- names ---- */

static size_t find_slot(const check_names *names, const char *text)
{
    size_t slot = (size_t)tr_hash_text(text) & (names->slot_count - 1);
    while (names->slots[slot] && strcmp(names->items[names->slots[slot] - 1], text) != 0) {
        slot = (slot + 1) & (names->slot_count - 1);
    }
    return slot;
}

static tr_status grow_slots(check_names *names, tr_error *err)
{
    size_t count = names->slot_count ? names->slot_count * 2 : 64;
    size_t *slots = tr_calloc(count, sizeof *slots);
    if (!slots) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for %zu names", names->count);
    }
    free(names->slots);
    names->slots = slots;
    names->slot_count = count;
    for (size_t i = 0; i < names->count; i++) {
        slots[find_slot(names, names->items[i])] = i + 1;
    }
    return TR_OK;
}

tr_status check_names_add(check_names *names, const char *text, size_t *number, tr_error *err)
{
    tr_status status = TR_OK;
    if (2 * (names->count + 1) > names->slot_count) {
        TR_TRY(grow_slots(names, err));
    }
    size_t slot = find_slot(names, text);
    if (!names->slots[slot]) {
        TR_TRY(tr_grow(&names->items, &names->capacity, names->count + 1, sizeof *names->items, err));
        if (!(names->items[names->count] = tr_strdup(text))) {
            return tr_fail(err, TR_MEMORY, NULL, "no memory for %zu names", names->count);
        }
        names->slots[slot] = ++names->count;
    }
    *number = names->slots[slot] - 1;
done:
    return status;
}

bool check_names_find(const check_names *names, const char *text)
{
    return names->count && names->slots[find_slot(names, text)];
}

void check_names_free(check_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->items[i]);
    }
    free(names->items);
    free(names->slots);
    memset(names, 0, sizeof *names);
}

/* ---- findings ---- */

tr_status check_find(check_audit *audit, tr_check_kind kind, const check_row *row, tr_error *err,
                     const char *format, ...)
{
    char message[640];
    int64_t most = audit->options->examples;
    if (audit->counts[kind]++ >= most && most > 0) {
        return TR_OK;
    }
    va_list ap;
    va_start(ap, format);
    vsnprintf(message, sizeof message, format, ap);
    va_end(ap);
    json_t *item = json_object(), *text = json_string(message);
    if (!text) { /* a message cut within a character */
        text = json_string(kinds[kind].text);
    }
    int failed = !item || json_array_append(audit->items[kind], item);
    if (!failed && row) {
        failed = json_object_set_new(item, "file", json_string(audit->paths[row->file])) ||
                 json_object_set_new(item, "line", json_integer(row->line)) ||
                 (row->id && json_object_set_new(item, "id", json_string(row->id)));
    }
    failed = failed || json_object_set(item, "message", text);
    json_decref(item);
    json_decref(text);
    return failed ? tr_fail(err, TR_MEMORY, NULL, "no memory for the findings") : TR_OK;
}

/* ---- reading ---- */

/* "./a/b.mp4" and "a/b.mp4" are one video; the extension is left out, so that rows that name the id alone match. */
static void video_key(const char *video, char *key, size_t size)
{
    while (!strncmp(video, "./", 2)) {
        video += 2;
    }
    snprintf(key, size, "%s", video);
    char *slash = strrchr(key, '/'), *dot = strrchr(slash ? slash : key, '.');
    if (dot && dot > (slash ? slash + 1 : key) && strlen(dot) <= 5) {
        *dot = 0;
    }
}

static tr_status add_field(const json_t *json, const char *key, tr_buffer *out, tr_error *err)
{
    const json_t *value = json_object_get(json, key);
    tr_status status = tr_buffer_printf(out, err, "\n%s=", key);
    return status || !value ? status : tr_json_print(value, out, err);
}

/* Hashes of the question and of the whole content, over the fields that say them. */
static tr_status hash_row(const tr_row *row, const char *key, check_row *out, tr_error *err)
{
    static const char *const asked[] = {"clip", "query", "queries", "question", "options", "action"};
    static const char *const told[] = {"segments", "answer"};
    tr_buffer text = {0};
    tr_status status;
    TR_TRY(tr_buffer_printf(&text, err, "%s\n%s", row->task, key));
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        TR_TRY(add_field(row->json, asked[i], &text, err));
    }
    out->question = tr_hash(text.data, text.length);
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        TR_TRY(add_field(row->json, told[i], &text, err));
    }
    out->content = tr_hash(text.data, text.length);
done:
    tr_buffer_free(&text);
    return status;
}

static void read_options(const json_t *json, check_row *out)
{
    const json_t *options = json_object_get(json, "options");
    const char *answer = json_string_value(json_object_get(json, "answer"));
    size_t longest = 0, ties = 0;
    out->options = (int)json_array_size(options);
    out->answer = -1;
    for (int i = 0; i < out->options && answer; i++) {
        const char *option = json_string_value(json_array_get(options, (size_t)i));
        size_t length = json_string_length(json_array_get(options, (size_t)i));
        bool letter = answer[0] == (char)('A' + i) && !answer[1];
        if (out->answer < 0 && (letter || !strcmp(answer, option))) {
            out->answer = i;
        }
        ties = length > longest ? 1 : ties + (length == longest);
        longest = length > longest ? length : longest;
    }
    out->longest = out->answer >= 0 && ties == 1 &&
                   json_string_length(json_array_get(options, (size_t)out->answer)) == longest;
}

static tr_status keep_segments(check_audit *audit, const json_t *json, check_row *out, tr_error *err)
{
    const json_t *list = json_object_get(json, "segments");
    size_t n = json_array_size(list);
    tr_status status =
        tr_grow(&audit->segments, &audit->segment_capacity, audit->segment_count + n, sizeof *audit->segments, err);
    out->segment_at = audit->segment_count;
    out->segment_count = n;
    for (size_t i = 0; !status && i < n; i++) {
        const json_t *pair = json_array_get(list, i);
        audit->segments[audit->segment_count++] =
            (tr_interval){json_number_value(json_array_get(pair, 0)), json_number_value(json_array_get(pair, 1))};
    }
    return status;
}

static tr_status keep_row(check_audit *audit, size_t file, const tr_row *row, tr_error *err)
{
    const char *base = strrchr(audit->paths[file], '/');
    const char *split = json_string_value(json_object_get(row->json, "split"));
    const char *source = json_string_value(json_object_get(row->json, "source"));
    check_row out = {.file = file, .line = row->line, .duration_s = row->duration_s};
    char key[4096];
    tr_status status;
    memcpy(out.clip_s, row->clip_s, sizeof out.clip_s);
    video_key(row->video, key, sizeof key);
    TR_TRY(tr_task_from_name(row->task, &out.task, err));
    TR_TRY(check_names_add(&audit->splits, split ? split : base ? base + 1 : audit->paths[file], &out.split, err));
    TR_TRY(check_names_add(&audit->sources, source ? source : "", &out.source, err));
    TR_TRY(check_names_add(&audit->videos, audit->options->videos ? row->video : key, &out.video, err));
    TR_TRY(hash_row(row, key, &out, err));
    read_options(row->json, &out);
    TR_TRY(keep_segments(audit, row->json, &out, err));
    TR_TRY(tr_grow(&audit->rows, &audit->row_capacity, audit->row_count + 1, sizeof *audit->rows, err));
    if (!(out.id = tr_strdup(row->id))) {
        return tr_fail(err, TR_MEMORY, audit->paths[file], "out of memory");
    }
    audit->rows[audit->row_count++] = out;
done:
    return status;
}

/* Reads one file to its end, past bad rows. */
static tr_status read_file(check_audit *audit, size_t file, tr_error *err)
{
    tr_row_reader reader;
    tr_status status = tr_row_reader_open(&reader, audit->paths[file], err);
    for (bool got = true; !status && got;) {
        tr_row row;
        tr_error bad = {0};
        status = tr_row_reader_next(&reader, &row, &got, &bad);
        if (status == TR_FORMAT || status == TR_NOT_FOUND) {
            const check_row place = {.file = file, .line = reader.line};
            got = !feof(reader.stream);
            status = check_find(audit, TR_CHECK_BAD_ROW, &place, err, "%s: %s", bad.where, bad.message);
        } else if (status) {
            if (err) {
                *err = bad;
            }
        } else if (got) {
            status = keep_row(audit, file, &row, err);
            tr_row_free(&row);
        }
    }
    tr_row_reader_close(&reader);
    return status;
}

/* ---- rows against each other ---- */

typedef struct entry {
    uint64_t key;
    const char *text;
    size_t row;
} entry;

static int compare_entries(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int c = (x->key > y->key) - (x->key < y->key);
    c = c || !x->text ? c : strcmp(x->text, y->text);
    return c ? c : (x->row > y->row) - (x->row < y->row);
}

static tr_status find_ids(check_audit *audit, entry *list, tr_error *err)
{
    tr_status status = TR_OK;
    for (size_t i = 0; i < audit->row_count; i++) {
        list[i] = (entry){audit->rows[i].file, audit->rows[i].id, i};
    }
    qsort(list, audit->row_count, sizeof *list, compare_entries);
    for (size_t i = 1; !status && i < audit->row_count; i++) {
        if (list[i].key == list[i - 1].key && !strcmp(list[i].text, list[i - 1].text)) {
            status = check_find(audit, TR_CHECK_DUPLICATE_ID, &audit->rows[list[i].row], err,
                                "the id \"%s\" stands in line %ld already", list[i].text,
                                audit->rows[list[i - 1].row].line);
        }
    }
    return status;
}

/* Rows that ask the same of the same clip. */
static tr_status find_questions(check_audit *audit, entry *list, tr_error *err)
{
    tr_status status = TR_OK;
    for (size_t i = 0; i < audit->row_count; i++) {
        list[i] = (entry){audit->rows[i].question, NULL, i};
    }
    qsort(list, audit->row_count, sizeof *list, compare_entries);
    for (size_t i = 1, first = 0; !status && i < audit->row_count; i++) {
        const check_row *row = &audit->rows[list[i].row], *old;
        if (list[i].key != list[first].key) {
            first = i;
            continue;
        }
        size_t same = first;
        while (same < i && audit->rows[list[same].row].content != row->content) {
            same++;
        }
        old = &audit->rows[list[same < i ? same : first].row];
        status = check_find(audit, same < i ? TR_CHECK_DUPLICATE_ROW : TR_CHECK_TWO_TRUTHS, row, err,
                            "the same video%s as \"%s\" (%s:%ld, split %s)",
                            same < i ? ", question and truth" : " and question, with another truth,", old->id,
                            audit->paths[old->file], old->line, audit->splits.items[old->split]);
    }
    return status;
}

/* Rows sorted by video key: shared between splits, and with one duration. pairs[a * splits + b] counts videos. */
static tr_status find_shared(check_audit *audit, entry *list, char **keys, int64_t *pairs, tr_error *err)
{
    size_t splits = audit->splits.count;
    tr_status status = TR_OK;
    for (size_t i = 0; i < audit->row_count; i++) {
        list[i] = (entry){0, keys[audit->rows[i].video], i};
    }
    qsort(list, audit->row_count, sizeof *list, compare_entries);
    for (size_t i = 0, next; !status && i < audit->row_count; i = next) {
        const check_row *first = &audit->rows[list[i].row], *whole = NULL, *other = NULL;
        for (next = i; !status && next < audit->row_count && !strcmp(list[next].text, list[i].text); next++) {
            const check_row *row = &audit->rows[list[next].row];
            bool part = row->clip_s[1] >= 0 || !(row->duration_s > 0);
            other = !other && row->split != first->split ? row : other;
            if (!part && whole && fabs(row->duration_s - whole->duration_s) > 1e-3) {
                status =
                    check_find(audit, TR_CHECK_TWO_DURATIONS, row, err, "%s is %g s long here and %g s in \"%s\"",
                               list[i].text, row->duration_s, whole->duration_s, whole->id);
            }
            whole = whole || part ? whole : row;
        }
        if (!status && other) {
            status = check_find(audit, TR_CHECK_SHARED_VIDEO, other, err, "%s stands in %s and in %s (\"%s\")",
                                list[i].text, audit->splits.items[other->split], audit->splits.items[first->split],
                                first->id);
        }
        for (size_t a = 0; other && a < splits; a++) {
            for (size_t b = a + 1; b < splits; b++) {
                bool in_a = false, in_b = false;
                for (size_t k = i; k < next; k++) {
                    in_a |= audit->rows[list[k].row].split == a;
                    in_b |= audit->rows[list[k].row].split == b;
                }
                pairs[a * splits + b] += in_a && in_b;
            }
        }
    }
    return status;
}

/* The member "shared": how many videos each two splits share. */
static json_t *shared_json(const check_audit *audit, const int64_t *pairs)
{
    json_t *list = json_array();
    size_t splits = audit->splits.count;
    for (size_t k = 0; list && k < splits * splits; k++) {
        if (pairs[k]) {
            json_array_append_new(list, json_pack("{s:[s,s], s:I}", "splits", audit->splits.items[k / splits],
                                                  audit->splits.items[k % splits], "videos", (json_int_t)pairs[k]));
        }
    }
    return list;
}

static tr_status compare_rows(check_audit *audit, json_t **shared, tr_error *err)
{
    tr_status status = TR_OK;
    entry *list = tr_calloc(audit->row_count, sizeof *list);
    char **keys = tr_calloc(audit->videos.count, sizeof *keys);
    int64_t *pairs = tr_calloc(audit->splits.count * audit->splits.count, sizeof *pairs);
    bool made = list && keys && pairs;
    for (size_t i = 0; made && i < audit->videos.count; i++) {
        char key[4096];
        video_key(audit->videos.items[i], key, sizeof key);
        made = (keys[i] = tr_strdup(key)) != NULL;
    }
    if (!made) {
        status = tr_fail(err, TR_MEMORY, NULL, "no memory to compare %zu rows", audit->row_count);
        goto done;
    }
    TR_TRY(find_ids(audit, list, err));
    TR_TRY(find_questions(audit, list, err));
    TR_TRY(find_shared(audit, list, keys, pairs, err));
    for (size_t i = 0; i < audit->row_count; i++) {
        if (!(audit->rows[i].duration_s > 0)) {
            TR_TRY(
                check_find(audit, TR_CHECK_NO_DURATION, &audit->rows[i], err, "the field \"duration\" is missing"));
        }
    }
    if (!(*shared = shared_json(audit, pairs))) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
done:
    for (size_t i = 0; keys && i < audit->videos.count; i++) {
        free(keys[i]);
    }
    free(keys);
    free(list);
    free(pairs);
    return status;
}

/* ---- the report ---- */

static json_t *files_json(const check_audit *audit)
{
    json_t *list = json_array();
    for (size_t f = 0; list && f < audit->path_count; f++) {
        json_int_t rows = 0, tasks[TR_TASK_COUNT] = {0};
        for (size_t i = 0; i < audit->row_count; i++) {
            if (audit->rows[i].file == f) {
                rows++;
                tasks[audit->rows[i].task]++;
            }
        }
        json_t *by_task = json_object();
        for (int t = 0; t < TR_TASK_COUNT; t++) {
            if (tasks[t]) {
                json_object_set_new(by_task, tr_task_name((tr_task)t), json_integer(tasks[t]));
            }
        }
        json_array_append_new(
            list, json_pack("{s:s, s:I, s:o}", "file", audit->paths[f], "rows", rows, "tasks", by_task));
    }
    return list;
}

static json_t *findings_json(const check_audit *audit)
{
    json_t *list = json_array();
    for (int kind = 0; list && kind < TR_CHECK_KINDS; kind++) {
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:I, s:O}", "kind", kinds[kind].name, "means", kinds[kind].text,
                                        "count", (json_int_t)audit->counts[kind], "examples", audit->items[kind]));
    }
    return list;
}

/* Every video that is missing or broken, whatever the number of examples. */
static json_t *quarantine_json(const check_audit *audit)
{
    json_t *list = json_array();
    for (size_t i = 0; list && audit->files && i < audit->videos.count; i++) {
        if (audit->files[i].status) {
            json_array_append_new(
                list, json_pack("{s:s, s:s}", "video", audit->videos.items[i], "reason", audit->files[i].message));
        }
    }
    return list;
}

static tr_status make_report(const check_audit *audit, json_t *shared, json_t **report, tr_error *err)
{
    json_t *bias = NULL;
    tr_status status = check_bias(audit, &bias, err);
    if (status) {
        return status;
    }
    *report = json_pack("{s:I, s:I, s:o, s:o, s:O, s:o, s:o, s:o, s:o, s:o}", "rows", (json_int_t)audit->row_count,
                        "videos", (json_int_t)audit->videos.count, "files", files_json(audit), "findings",
                        findings_json(audit), "shared", shared, "quarantine", quarantine_json(audit), "histograms",
                        check_histograms(audit), "positions", check_positions(audit), "bias", bias, "options",
                        check_letters(audit));
    if (*report && audit->files) {
        json_int_t good = 0;
        for (size_t i = 0; i < audit->videos.count; i++) {
            good += !audit->files[i].status;
        }
        json_object_set_new(*report, "videos_decoded", json_integer(good));
    }
    return *report ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "no memory for the report");
}

static void audit_free(check_audit *audit)
{
    for (size_t i = 0; i < audit->row_count; i++) {
        free(audit->rows[i].id);
    }
    for (size_t i = 0; audit->files && i < audit->videos.count; i++) {
        free(audit->files[i].path);
    }
    for (int kind = 0; kind < TR_CHECK_KINDS; kind++) {
        json_decref(audit->items[kind]);
    }
    free(audit->rows);
    free(audit->segments);
    free(audit->files);
    check_names_free(&audit->splits);
    check_names_free(&audit->sources);
    check_names_free(&audit->videos);
}

tr_status tr_check_rows(const char *const *paths, size_t count, const tr_check_options *options, json_t **report,
                        tr_error *err)
{
    tr_status status = TR_OK;
    check_audit audit = {.options = options, .paths = paths, .path_count = count};
    json_t *shared = NULL;
    *report = NULL;
    for (int kind = 0; kind < TR_CHECK_KINDS; kind++) {
        if (!(audit.items[kind] = json_array())) {
            status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
            goto done;
        }
    }
    for (size_t i = 0; i < count; i++) {
        TR_TRY(read_file(&audit, i, err));
    }
    if (!audit.row_count) {
        const json_t *first = json_array_get(audit.items[TR_CHECK_BAD_ROW], 0);
        const char *message = json_string_value(json_object_get(first, "message"));
        status = tr_fail(err, TR_FORMAT, count ? paths[0] : NULL, "no line reads as a corpus row%s%s",
                         message ? "; the first: " : "", message ? message : "");
        goto done;
    }
    TR_TRY(compare_rows(&audit, &shared, err));
    if (options->videos) {
        TR_TRY(check_videos(&audit, err));
    }
    TR_TRY(make_report(&audit, shared, report, err));
done:
    json_decref(shared);
    audit_free(&audit);
    return status;
}

int64_t tr_check_findings(const json_t *report)
{
    int64_t total = 0;
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(report, "findings"), i, item)
    {
        total += json_integer_value(json_object_get(item, "count"));
    }
    return total;
}
