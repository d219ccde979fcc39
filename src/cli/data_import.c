/* data_import.c: `tempr1 data import`: published annotation files into corpus rows. */
#include "cli/cli.h"

#include "base/file.h"
#include "corpus/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run(int argc, char **argv);

const tr_command tr_command_data_import = {
    .name = "data import",
    .arguments = "SOURCE FILES... --out ROWS [options]",
    .summary = "published annotation files into rows, with a report of every repair and refusal",
    .text =
        "Reads the files of a source as they are published, in any order, and writes corpus rows. Every record "
        "becomes a row\n"
        "or is refused by a named rule; the report counts each rule and shows its first places. `--list` prints "
        "the sources\n"
        "with their tasks (the first is the default), files and publishers:\n\n"
        "  charades-sta activitynet-captions activitynet-1.3 qvhighlights next-gqa rextime tacos thumos14 "
        "youcook2 didemo\n"
        "  hacs tvsum youtube-highlights tvgbench museg time-r1 temporal-r1 videochat-r1 mvbench video-mme "
        "tempcompass mmvu\n\n"
        "  tempr1 data import charades-sta charades_sta_train.txt charades.json --out train.jsonl\n",
    .run = run,
};

static int list_sources(bool as_json)
{
    size_t count;
    const tr_import_source *sources = tr_import_sources(&count);
    json_t *list = json_array();
    tr_error err = {0};
    int status = TR_EXIT_DONE;
    for (size_t i = 0; i < count; i++) {
        const tr_import_source *s = &sources[i];
        json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s}", "source", s->name, "tasks", s->tasks, "files",
                                              s->files, "from", s->from));
        if (!as_json) {
            printf("%-21s %-14s %s\n%36s %s\n", s->name, s->tasks, s->files, "", s->from);
        }
    }
    if (as_json && tr_cli_print_json(list, &err)) {
        status = tr_cli_fail(&tr_command_data_import, &err);
    }
    json_decref(list);
    return status;
}

static tr_status print_text(const json_t *report, tr_error *err)
{
    tr_buffer text = {0};
    tr_status status = tr_import_report_text(report, &text, err);
    if (!status && (fwrite(tr_buffer_text(&text), 1, text.length, stdout) != text.length || fflush(stdout))) {
        status = tr_fail(err, TR_IO, NULL, "cannot write to stdout");
    }
    tr_buffer_free(&text);
    return status;
}

/* Writes beside out and renames at the end: a failed import leaves no half file. */
static tr_status import(const tr_import_options *o, char *const *paths, size_t count, const char *out,
                        json_t **report, tr_error *err)
{
    tr_file_writer writer;
    tr_status status = tr_file_writer_open(&writer, out, err);
    if (status) {
        return status;
    }
    status = tr_import_files(o, (const char *const *)paths, count, writer.stream, report, err);
    if (status) {
        tr_file_writer_abandon(&writer);
        return status;
    }
    return tr_file_writer_commit(&writer, err);
}

static int run(int argc, char **argv)
{
    const tr_command *self = &tr_command_data_import;
    tr_import_options o = tr_import_options_default(NULL);
    const char *out = NULL;
    int64_t examples = o.examples;
    bool as_json = false, list = false;
    const tr_option options[] = {
        {"out", TR_OPTION_TEXT, &out, "ROWS", "The rows file to write (JSON Lines).", 0, 0, false},
        {"task", TR_OPTION_TEXT, &o.task, "TASK", "Rows of this task, where a source serves several.", 0, 0, false},
        {"split", TR_OPTION_TEXT, &o.split, "NAME",
         "The split of every row. Default: as the files say, else by the file's name.", 0, 0, false},
        {"videos", TR_OPTION_TEXT, &o.videos, "DIR",
         "The folder of the videos: true durations are read from the containers, and rows name the files as they "
         "are there.",
         0, 0, false},
        {"examples", TR_OPTION_INT, &examples, "N", "Places shown for each rule. Default 5.", 1, 1e6, false},
        {"list", TR_OPTION_FLAG, &list, NULL, "Print the sources and stop.", 0, 0, false},
        {"json", TR_OPTION_FLAG, &as_json, NULL, "Print the report as one JSON object.", 0, 0, false},
        {0},
    };
    char **words;
    int count, status = tr_cli_parse(self, options, argc, argv, 0, 4096, &words, &count);
    if (status >= 0) {
        return status;
    }
    if (list) {
        return list_sources(as_json);
    }
    if (count < 2 || !out) {
        return tr_cli_usage(self, "%s", count < 2 ? "a SOURCE and its FILES are needed" : "--out ROWS is needed");
    }
    o.source = words[0];
    o.examples = (int)examples;
    if (!tr_import_source_find(o.source)) {
        const char *names[64], *near;
        size_t sources;
        const tr_import_source *table = tr_import_sources(&sources);
        for (size_t i = 0; i < sources; i++) {
            names[i] = table[i].name;
        }
        near = tr_nearest(o.source, names, sources);
        return tr_cli_usage(self, "unknown source \"%s\"%s%s%s (--list prints them)", o.source,
                            near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    if (o.videos && !tr_directory_exists(o.videos)) {
        return tr_cli_usage(self, "the folder of videos %s does not exist", o.videos);
    }
    tr_error err = {0};
    json_t *report = NULL;
    bool failed = import(&o, words + 1, (size_t)(count - 1), out, &report, &err) ||
                  (as_json ? tr_cli_print_json(report, &err) : print_text(report, &err));
    status = failed ? tr_cli_fail(self, &err) : TR_EXIT_DONE;
    json_decref(report);
    return status;
}
