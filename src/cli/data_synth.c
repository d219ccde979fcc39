/* data_synth.c: `tempr1 data synth`: writes the synthetic corpus. */
#include "cli/cli.h"

#include "corpus/synth.h"

#include <stdio.h>
#include <string.h>

static int run(int argc, char **argv);

const tr_command tr_command_data_synth = {
    .name = "data synth",
    .arguments = "--out DIR [options]",
    .summary = "write synthetic H.264 clips with known events, and their rows",
    .text =
        "Writes DIR/videos/*.mp4 (moving shapes on a noisy background, H.264 in MP4) and DIR/train.jsonl, "
        "tune.jsonl and\n"
        "test.jsonl with rows for the tasks asked for. No scene stands in two splits. The same options and "
        "seed make the\n"
        "same files, byte for byte, on every CPU (with one version of FFmpeg and libx264); a folder made with the "
        "same\n"
        "options is left as it is.\n\n"
        "  tempr1 data synth --out corpus --tasks tg,dtg,vhd,gvqa,tal,qa --overlap\n",
    .run = run,
};

static tr_status print_summary(const tr_synth_options *o, const char *out, tr_error *err)
{
    json_t *object = json_pack("{s:s, s:I, s:I, s:I}", "out", out, "train", (json_int_t)o->clips[0], "tune",
                               (json_int_t)o->clips[1], "test", (json_int_t)o->clips[2]);
    tr_status status = object ? tr_cli_print_json(object, err)
                              : tr_fail(err, TR_FORMAT, out, "the folder's name is not valid UTF-8");
    json_decref(object);
    return status;
}

static int run(int argc, char **argv)
{
    const tr_command *self = &tr_command_data_synth;
    tr_synth_options o;
    tr_synth_defaults(&o);
    const char *out = NULL;
    int64_t seed = (int64_t)o.seed;
    bool no_clock = false, json = false;
    const tr_option options[] = {
        {"out", TR_OPTION_TEXT, &out, "DIR", "The folder to write.", 0, 0, true},
        {"tasks", TR_OPTION_TEXT, &o.tasks, "LIST",
         "Tasks to write rows for, separated by commas: tg, dtg, vhd, gvqa, tal, qa. Default tg.", 0, 0, false},
        {"seed", TR_OPTION_INT, &seed, "N", "Seed of all scenes. Default 1.", 0, 0, false},
        {"train", TR_OPTION_INT, &o.clips[0], "N", "Clips of the split train. Default 400.", 0, 1e6, false},
        {"tune", TR_OPTION_INT, &o.clips[1], "N", "Clips of the split tune. Default 40.", 0, 1e6, false},
        {"test", TR_OPTION_INT, &o.clips[2], "N", "Clips of the split test. Default 80.", 0, 1e6, false},
        {"size", TR_OPTION_INT, &o.size, "PIXELS", "Side of the square picture, even. Default 56.", 28, 2048,
         false},
        {"fps", TR_OPTION_DOUBLE, &o.fps, "X", "Frames a second of the video. Default 8.", 2, 60, false},
        {"min-duration", TR_OPTION_DOUBLE, &o.min_duration_s, "S", "Shortest clip in seconds. Default 8.", 2, 3600,
         false},
        {"max-duration", TR_OPTION_DOUBLE, &o.max_duration_s, "S", "Longest clip in seconds. Default 12.", 2, 3600,
         false},
        {"min-events", TR_OPTION_INT, &o.min_events, "N", "Fewest events of a clip. Default 2.", 1, TR_SYNTH_EVENTS,
         false},
        {"max-events", TR_OPTION_INT, &o.max_events, "N", "Most events of a clip. Default 4.", 1, TR_SYNTH_EVENTS,
         false},
        {"min-event", TR_OPTION_DOUBLE, &o.min_event_s, "S", "Shortest event in seconds. Default 1.5.", 0.05, 600,
         false},
        {"snap", TR_OPTION_DOUBLE, &o.snap_s, "S", "Events start and end on multiples of this. Default 0.5.", 0.01,
         60, false},
        {"noise", TR_OPTION_DOUBLE, &o.noise, "LEVELS",
         "Background noise, standard deviation in grey levels. Default 6.", 0, 60, false},
        {"overlap", TR_OPTION_FLAG, &o.overlap, NULL, "Events may overlap in time.", 0, 0, false},
        {"distinct-colours", TR_OPTION_FLAG, &o.distinct_colours, NULL,
         "No two events of a clip share a colour (at most 6 events).", 0, 0, false},
        {"no-clock", TR_OPTION_FLAG, &no_clock, NULL, "Leave out the bar that grows with time.", 0, 0, false},
        {"json", TR_OPTION_FLAG, &json, NULL, "Print one JSON object: out and the clips of each split.", 0, 0,
         false},
        {0},
    };
    char **arguments;
    int count, status = tr_cli_parse(self, options, argc, argv, 0, 0, &arguments, &count);
    if (status >= 0) {
        return status;
    }
    o.seed = (uint64_t)seed;
    o.clock = !no_clock;
    tr_error err = {0};
    if (tr_synth_write(&o, out, &err)) {
        return tr_cli_fail(self, &err);
    }
    fprintf(stderr, "%s holds %lld clips\n", out, (long long)o.clips[0] + o.clips[1] + o.clips[2]);
    return !json || !print_summary(&o, out, &err) ? TR_EXIT_DONE : tr_cli_fail(self, &err);
}
