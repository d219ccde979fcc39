/* data_mix.c: `tempr1 data mix`: makes a training mix of several sources and tasks. */
#include "cli/cli.h"
#include "corpus/mix.h"

#include <stdio.h>
#include <string.h>

static int run(int argc, char **argv);

const tr_command tr_command_data_mix = {
    .name = "data mix",
    .arguments = "SPEC.yaml --out ROWS.jsonl [options]",
    .summary = "a training mix of several sources and tasks, by weights or counts, seeded",
    .text = "Chooses rows of several sources by weights or counts, per source and task, with caps per video, "
            "shuffles them by\n"
            "a seed, and writes them with a manifest (ROWS.jsonl.manifest.json) of the hashes of everything they "
            "came from.\n"
            "When the manifest is there already, the mix is made again only if the specification and every source "
            "are the\n"
            "same; what changed is named.\n\n"
            "  seed: 1\n"
            "  total: 60000\n"
            "  per_video: 8\n"
            "  sources:\n"
            "    - {name: charades, rows: charades/train.jsonl, videos: charades/videos, weight: 2}\n"
            "    - {name: anet, rows: anet/train.jsonl, videos: anet/videos, weight: 3, tasks: {dtg: 2, tal: 1}}\n"
            "    - {name: nextgqa, rows: nextgqa/val.jsonl, videos: nextgqa/videos, count: 3000, exclude: "
            "quarantine.txt}\n\n"
            "All keys: docs/data.md.\n",
    .run = run,
};

static void print_table(const json_t *manifest, const char *out)
{
    size_t i;
    json_t *source, *task;
    const char *name;
    printf("%-24s %-5s %10s %10s %10s\n", "source", "task", "available", "rows", "different");
    json_array_foreach(json_object_get(manifest, "sources"), i, source)
    {
        json_t *tasks = json_object_get(source, "tasks");
        json_object_foreach(tasks, name, task)
        {
            printf("%-24s %-5s %10lld %10lld %10lld\n", json_string_value(json_object_get(source, "name")), name,
                   (long long)json_integer_value(json_object_get(task, "available")),
                   (long long)json_integer_value(json_object_get(task, "rows")),
                   (long long)json_integer_value(json_object_get(task, "different")));
        }
    }
    printf("%s: %lld rows of %lld videos, xxh3 %s, %s\n", out,
           (long long)json_integer_value(json_object_get(manifest, "rows")),
           (long long)json_integer_value(json_object_get(manifest, "videos")),
           json_string_value(json_object_get(manifest, "xxh3")),
           json_string_value(json_object_get(manifest, "made")));
}

static int run(int argc, char **argv)
{
    const tr_command *self = &tr_command_data_mix;
    tr_mix_options o = {0};
    int64_t seed = -1;
    bool as_json = false;
    const tr_option options[] = {
        {"out", TR_OPTION_TEXT, &o.out, "FILE", "The rows to write; the manifest stands beside them.", 0, 0, true},
        {"manifest", TR_OPTION_TEXT, &o.manifest, "FILE",
         "Hold specification, sources and rows against this manifest instead of the one beside the rows.", 0, 0,
         false},
        {"accept-changes", TR_OPTION_FLAG, &o.accept_changes, NULL,
         "Make the mix although something differs from the manifest.", 0, 0, false},
        {"check", TR_OPTION_FLAG, &o.check, NULL, "Only compare with the manifest; write nothing.", 0, 0, false},
        {"seed", TR_OPTION_INT, &seed, "N", "Use this seed instead of the specification's.", 0, 9e15, false},
        {"json", TR_OPTION_FLAG, &as_json, NULL, "Print the manifest as one JSON object.", 0, 0, false},
        {0},
    };
    char **positional;
    int count, status = tr_cli_parse(self, options, argc, argv, 1, 1, &positional, &count);
    if (status >= 0) {
        return status;
    }
    tr_error err = {0};
    tr_mix_spec spec;
    json_t *manifest = NULL;
    if (tr_mix_spec_read(positional[0], &spec, &err)) {
        return tr_cli_fail(self, &err);
    }
    if (seed >= 0 && seed != spec.seed) {
        tr_mix_spec_seed(&spec, seed);
    }
    bool failed =
        tr_mix_make(&spec, &o, &manifest, &err) != TR_OK || (as_json && tr_cli_print_json(manifest, &err));
    if (!failed && !as_json) {
        print_table(manifest, o.out);
    }
    status = failed ? tr_cli_fail(self, &err) : TR_EXIT_DONE;
    json_decref(manifest);
    tr_mix_spec_free(&spec);
    return status;
}
