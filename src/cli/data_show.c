/* data_show.c: `tempr1 data show`: rows as strips of frames with the truth drawn on a time axis. */
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "cli/cli.h"
#include "corpus/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run(int argc, char **argv);

const tr_command tr_command_data_show = {
    .name = "data show",
    .arguments = "ROWS|ROW --out DIR [options]",
    .summary = "strips of frames with the truth drawn on a time axis, and an index page",
    .text =
        "Draws rows of a file (or one row, given as JSON) as SVG strips: sampled frames above a time axis, truths, "
        "saliency,\n"
        "options, and answers of a model beside them; DIR/index.html lists them all. Each strip needs no other "
        "file.\n\n"
        "  tempr1 data show test.jsonl --videos videos --sample 40 --out look\n"
        "  tempr1 data show test.jsonl --videos videos --id v_7/tg-0 --answers eval/predictions.jsonl --out look\n",
    .run = run,
};

typedef struct choice {
    const char *videos, *out, *task, *answers;
    tr_option_list ids;
    int64_t first, sample, seed;
} choice;

/* The row that the command line itself holds. */
static tr_status read_row(const char *text, tr_row_list *list, tr_error *err)
{
    json_t *json = NULL;
    tr_status status = tr_json_parse(text, strlen(text), "the row", 0, &json, err);
    if (!status && json_is_object(json) && !json_object_get(json, "id")) {
        json_object_set_new(json, "id", json_string("row"));
    }
    memset(list, 0, sizeof *list);
    status = status ? status : tr_grow(&list->items, &list->capacity, 1, sizeof *list->items, err);
    if (status) {
        json_decref(json);
        return status;
    }
    status = tr_row_from_json(json, "the row", 1, &list->items[0], err);
    list->count = !status;
    return status;
}

static bool is_wanted(const choice *c, const tr_row *row)
{
    bool named = !c->ids.count;
    for (size_t i = 0; i < c->ids.count; i++) {
        named |= !strcmp(c->ids.items[i], row->id);
    }
    return named && (!c->task || !strcmp(c->task, row->task));
}

/* Moves the wanted rows to the front; *count of them. The others are freed. */
static tr_status choose(const choice *c, tr_row_list *list, tr_error *err)
{
    size_t kept = 0, *order = NULL;
    for (size_t i = 0; i < list->count; i++) {
        if (is_wanted(c, &list->items[i])) {
            tr_row swap = list->items[kept];
            list->items[kept++] = list->items[i];
            list->items[i] = swap;
        }
    }
    size_t most = c->sample > 0 ? (size_t)c->sample : c->first > 0 ? (size_t)c->first : kept;
    most = most < kept ? most : kept;
    if (c->sample > 0 && most < kept) { /* a random choice, drawn in the order of the file */
        bool *drawn = tr_calloc(kept, sizeof *drawn);
        order = tr_calloc(kept, sizeof *order);
        if (!order || !drawn) {
            free(order);
            free(drawn);
            return tr_fail(err, TR_MEMORY, NULL, "out of memory");
        }
        tr_random_shuffle((uint64_t)c->seed, 0, 0, kept, order);
        for (size_t i = 0; i < most; i++) {
            drawn[order[i]] = true;
        }
        for (size_t i = 0, to = 0; i < kept; i++) {
            if (drawn[i]) {
                tr_row swap = list->items[to];
                list->items[to++] = list->items[i];
                list->items[i] = swap;
            }
        }
        free(order);
        free(drawn);
    }
    for (size_t i = most; i < list->count; i++) {
        tr_row_free(&list->items[i]);
    }
    list->count = most;
    return most ? TR_OK : tr_fail(err, TR_NOT_FOUND, NULL, "no row has the id or the task asked for");
}

/* predictions.jsonl: {"id", "parsed"} a line, into an object by id. */
static tr_status read_answers(const char *path, json_t **answers, tr_error *err)
{
    FILE *stream = fopen(path, "rb");
    tr_buffer line = {0};
    long number = 0;
    *answers = json_object();
    tr_status status = !stream    ? tr_fail(err, TR_NOT_FOUND, path, "cannot open the answers %s", path)
                       : *answers ? TR_OK
                                  : tr_fail(err, TR_MEMORY, path, "out of memory");
    for (bool got = true; !status && got; number++) {
        json_t *json = NULL;
        status = tr_file_read_line(stream, 64u << 20, &line, &got, err);
        if (status || !got || strspn(line.data, " \t\r") == line.length) {
            continue;
        }
        status = tr_json_parse(line.data, line.length, path, number, &json, err);
        const char *id = json_string_value(json_object_get(json, "id"));
        json_t *parsed = json_object_get(json, "parsed");
        if (!status && !id) {
            char where[512];
            snprintf(where, sizeof where, "%s:%ld", path, number + 1);
            status = tr_fail(err, TR_FORMAT, where, "an answer needs \"id\" (a text) and \"parsed\"");
        } else if (!status && parsed) {
            json_object_set(*answers, id, parsed);
        }
        json_decref(json);
    }
    if (stream) {
        fclose(stream);
    }
    tr_buffer_free(&line);
    return status;
}

static tr_status show(const char *rows, choice *c, tr_show_options *o, json_t **report, tr_error *err)
{
    tr_row_list list = {0};
    json_t *answers = NULL;
    char *folder = NULL;
    bool one = rows[strspn(rows, " \t\n")] == '{';
    tr_status status;
    TR_TRY(one ? read_row(rows, &list, err) : tr_row_list_read(rows, &list, err));
    TR_TRY(choose(c, &list, err));
    if (c->answers) {
        TR_TRY(read_answers(c->answers, &answers, err));
    }
    if (!c->videos && !one && !(folder = tr_path_directory(rows))) {
        status = tr_fail(err, TR_MEMORY, rows, "out of memory");
        goto done;
    }
    o->videos = c->videos ? c->videos : folder;
    o->answers = answers;
    TR_TRY(tr_show_write(list.items, list.count, one ? "one row" : rows, o, c->out, report, err));
done:
    tr_row_list_free(&list);
    json_decref(answers);
    free(folder);
    return status;
}

static int run(int argc, char **argv)
{
    const tr_command *self = &tr_command_data_show;
    tr_show_options o;
    choice c = {.first = 100, .seed = 1};
    bool as_json = false;
    tr_show_defaults(&o);
    const tr_option options[] = {
        {"out", TR_OPTION_TEXT, &c.out, "DIR", "The folder for index.html and strips/.", 0, 0, true},
        {"videos", TR_OPTION_TEXT, &c.videos, "DIR",
         "The folder in front of each row's video. Default: the folder of the rows.", 0, 0, false},
        {"id", TR_OPTION_LIST, &c.ids, "ID", "Only the row with this id; may be given several times.", 0, 0, false},
        {"task", TR_OPTION_TEXT, &c.task, "TASK", "Only rows of this task.", 0, 0, false},
        {"first", TR_OPTION_INT, &c.first, "N", "At most so many rows, from the first on. Default 100; 0: all.", 0,
         1e9, false},
        {"sample", TR_OPTION_INT, &c.sample, "N", "So many rows drawn at random instead.", 0, 1e9, false},
        {"seed", TR_OPTION_INT, &c.seed, "N", "Seed of that draw. Default 1.", 0, 9e15, false},
        {"frames", TR_OPTION_INT, &o.frames, "N", "Frames of a strip, an even number. Default 12.", 2, 64, false},
        {"quality", TR_OPTION_INT, &o.quality, "N", "Of the frames, 1 (best) to 31. Default 5.", 1, 31, false},
        {"answers", TR_OPTION_TEXT, &c.answers, "FILE", "Draw the answers of a predictions.jsonl below the truths.",
         0, 0, false},
        {"time-limit", TR_OPTION_DOUBLE, &o.time_limit_s, "S",
         "Stop a decoder that takes longer. Default 300; 0: never.", 0, 1e6, false},
        {"json", TR_OPTION_FLAG, &as_json, NULL, "Print one JSON object: the strips, and the rows without frames.",
         0, 0, false},
        {0},
    };
    char **positional;
    int count, status = tr_cli_parse(self, options, argc, argv, 1, 1, &positional, &count);
    if (status >= 0) {
        return status;
    }
    tr_error err = {0};
    json_t *report = NULL;
    o.frames += o.frames % 2;
    bool failed =
        show(positional[0], &c, &o, &report, &err) != TR_OK || (as_json && tr_cli_print_json(report, &err));
    if (!failed && !as_json) {
        printf("%s/index.html: %zu strips\n", c.out, json_array_size(json_object_get(report, "strips")));
    }
    size_t unread = json_array_size(json_object_get(report, "unread"));
    if (!failed && unread) {
        const json_t *first = json_array_get(json_object_get(report, "unread"), 0);
        fprintf(stderr, "%zu of them have no frames; the first, \"%s\": %s\n", unread,
                json_string_value(json_object_get(first, "id")),
                json_string_value(json_object_get(first, "reason")));
    }
    status = failed ? tr_cli_fail(self, &err) : TR_EXIT_DONE;
    json_decref(report);
    return status;
}
