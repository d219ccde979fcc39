/* data_check.c: `tempr1 data check`: audits corpus rows. */
#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"
#include "cli/cli.h"
#include "corpus/check.h"

#include <stdio.h>
#include <stdlib.h>

static int run(int argc, char **argv);

const tr_command tr_command_data_check = {
    .name = "data check",
    .arguments = "ROWS... [options]",
    .summary = "audit rows: duplicates, shared videos, times, broken clips, blind guesses",
    .text = "Reads one or several files of corpus rows and prints what is wrong with them, how long and where "
            "their true\n"
            "intervals are, and what an answer earns that never looks at the video: the whole clip, the best "
            "constant interval\n"
            "(found by exact search, in shares of the clip and in seconds), a random interval of the training "
            "split. With\n"
            "--videos every video is decoded, and times are held against the containers.\n"
            "The split of a row is its field \"split\", else its file's name.\n\n"
            "  tempr1 data check train.jsonl test.jsonl --videos videos --out audit\n",
    .run = run,
};

static tr_status write_part(const char *folder, const char *name, const tr_buffer *text, tr_error *err)
{
    char *path = tr_path_join(folder, name);
    tr_status status = path ? tr_file_write_atomic(path, tr_buffer_text(text), text->length, err)
                            : tr_fail(err, TR_MEMORY, folder, "out of memory");
    free(path);
    return status;
}

static tr_status write_report(const json_t *report, const char *folder, tr_error *err)
{
    tr_buffer text = {0}, svg = {0}, heat = {0}, list = {0};
    char *path = tr_path_join(folder, "check.json");
    size_t i;
    json_t *item;
    tr_status status = path ? TR_OK : tr_fail(err, TR_MEMORY, folder, "out of memory");
    json_array_foreach(json_object_get(report, "quarantine"), i, item)
    {
        const char *video = json_string_value(json_object_get(item, "video"));
        status = status ? status : tr_buffer_printf(&list, err, "%s\n", video);
    }
    if (status) {
        goto done;
    }
    TR_TRY(tr_directory_make(folder, err));
    TR_TRY(tr_check_text(report, &text, err));
    TR_TRY(tr_check_svg(report, &svg, err));
    TR_TRY(tr_check_heat_svg(report, &heat, err));
    TR_TRY(write_part(folder, "positions.svg", &heat, err));
    TR_TRY(write_part(folder, "check.txt", &text, err));
    TR_TRY(write_part(folder, "check.svg", &svg, err));
    TR_TRY(write_part(folder, "quarantine.txt", &list, err));
    TR_TRY(tr_json_write(path, report, err));
done:
    tr_buffer_free(&text);
    tr_buffer_free(&svg);
    tr_buffer_free(&heat);
    tr_buffer_free(&list);
    free(path);
    return status;
}

static tr_status print_text(const json_t *report, tr_error *err)
{
    tr_buffer text = {0};
    tr_status status = tr_check_text(report, &text, err);
    if (!status && (fwrite(text.data, 1, text.length, stdout) != text.length || fflush(stdout))) {
        status = tr_fail(err, TR_IO, NULL, "cannot write to stdout");
    }
    tr_buffer_free(&text);
    return status;
}

static int run(int argc, char **argv)
{
    const tr_command *self = &tr_command_data_check;
    tr_check_options o;
    tr_check_defaults(&o);
    const char *out = NULL;
    bool as_json = false, strict = false;
    o.jobs = tr_threads_count();
    const tr_option options[] = {
        {"videos", TR_OPTION_TEXT, &o.videos, "DIR",
         "The folder in front of each row's video. Without it no video is opened.", 0, 0, false},
        {"quick", TR_OPTION_FLAG, &o.quick, NULL,
         "Decode only the first two seconds of each video; all packets are counted all the same.", 0, 0, false},
        {"out", TR_OPTION_TEXT, &out, "DIR",
         "Write check.json, check.txt, check.svg, positions.svg and quarantine.txt (videos that are "
         "missing or broken, one a line) there.",
         0, 0, false},
        {"tolerance", TR_OPTION_DOUBLE, &o.tolerance_s, "S",
         "By how many seconds times may differ from the container's. Default 0.5.", 0, 3600, false},
        {"jobs", TR_OPTION_INT, &o.jobs, "N", "Videos decoded at a time. Default: the machine's cores.", 1, 256,
         false},
        {"time-limit", TR_OPTION_DOUBLE, &o.time_limit_s, "S",
         "Stop a decoder that takes longer. Default 300; 0: never.", 0, 1e6, false},
        {"examples", TR_OPTION_INT, &o.examples, "N",
         "Findings of each kind listed in the JSON. Default 100; 0: all.", 0, 1e9, false},
        {"strict", TR_OPTION_FLAG, &strict, NULL, "Exit with status 1 when anything was found.", 0, 0, false},
        {"json", TR_OPTION_FLAG, &as_json, NULL, "Print the report as one JSON object.", 0, 0, false},
        {0},
    };
    char **paths;
    int count, status = tr_cli_parse(self, options, argc, argv, 1, 4096, &paths, &count);
    if (status >= 0) {
        return status;
    }
    tr_error err = {0};
    json_t *report = NULL;
    bool failed = tr_check_rows((const char *const *)paths, (size_t)count, &o, &report, &err) != TR_OK ||
                  (out && write_report(report, out, &err)) ||
                  (as_json ? tr_cli_print_json(report, &err) : print_text(report, &err));
    status = failed ? tr_cli_fail(self, &err) : strict && tr_check_findings(report) ? TR_EXIT_FAILED : TR_EXIT_DONE;
    json_decref(report);
    return status;
}
