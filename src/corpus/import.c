/* import.c: the table of published sources, the run over their files, and the report. */
#include "corpus/import_parts.h"

#include "base/file.h"

#include <string.h>

static const tr_import_source sources[] = {
    {"charades-sta", "tg", "charades_sta_*.txt with charades.json or Charades_v1_*.csv; Charades-CD's JSON",
     "Gao et al. 2017, github.com/jiyanggao/TALL; durations github.com/26hzhang/VSLNet", tr_import_charades},
    {"activitynet-captions", "dtg,tg", "train.json, val_1.json, val_2.json",
     "Krishna et al. 2017, cs.stanford.edu/people/ranjaykrishna/densevid", tr_import_captions},
    {"activitynet-1.3", "tal", "activity_net.v1-3.min.json, or BMN's anet_anno_action.json with video_info_new.csv",
     "Caba Heilbron et al. 2015, activity-net.org; github.com/JJBOY/BMN-Boundary-Matching-Network",
     tr_import_detection},
    {"qvhighlights", "vhd,tg", "highlight_*_release.jsonl, highlight_test_with_gt.jsonl",
     "Lei et al. 2021, github.com/jayleicn/moment_detr", tr_import_qvhighlights},
    {"next-gqa", "gvqa,qa", "val.csv, test.csv with gsub_*.json, and map_vid_vidorID.json for the folders",
     "Xiao et al. 2024, github.com/doc-doc/NExT-GQA", tr_import_next_gqa},
    {"rextime", "gvqa,qa,tg", "rextime_*.json, rextime_val.jsonl (has no options: --task tg)",
     "Chen et al. 2024, github.com/ReXTime/ReXTime", tr_import_rextime},
    {"tacos", "tg,dtg", "train.json, val.json, test.json (times in frames)",
     "Regneri et al. 2013; JSON of github.com/26hzhang/VSLNet and 2D-TAN", tr_import_captions},
    {"thumos14", "tal", "*_Annotation.csv with thumos14_test_groundtruth.csv for durations; thumos_gt.json",
     "Idrees et al. 2017, crcv.ucf.edu/THUMOS14; github.com/Frostinassiky/gtad", tr_import_thumos},
    {"youcook2", "dtg,tg", "youcookii_annotations_trainval.json, or yc2_*.json of PDVC and VidChapters",
     "Zhou et al. 2018, youcook2.eecs.umich.edu", tr_import_captions},
    {"didemo", "tg", "train_data.json, val_data.json, test_data.json (segments of 5 s, several annotators)",
     "Hendricks et al. 2017, github.com/LisaAnne/LocalizingMoments", tr_import_didemo},
    {"hacs", "tal", "HACS_segments_v1.1.1.json (the clips' CSV holds no segments)",
     "Zhao et al. 2019, github.com/hangzhaomit/HACS-dataset", tr_import_detection},
    {"tvsum", "vhd", "tvsum_*_release.jsonl (ratings of 20 people for each clip of 2 s)",
     "Song et al. 2015; JSON Lines of github.com/line/lighthouse", tr_import_tvsum},
    {"youtube-highlights", "vhd", "youtube_highlight_*_release.jsonl",
     "Sun et al. 2014; JSON Lines of github.com/line/lighthouse", tr_import_youtube_highlights},
    {"tvgbench", "tg", "tvgbench.json", "Wang et al. 2025 (Time-R1), github.com/xiaomi-research/time-r1",
     tr_import_tvgbench},
    {"museg", "all,tg,tal", "stage_1.jsonl, stage_2.jsonl, eval/grounding/*.json",
     "Luo et al. 2025, github.com/THUNLP-MT/MUSEG", tr_import_museg},
    {"time-r1", "tg", "train_2k5.json", "Wang et al. 2025, github.com/xiaomi-research/time-r1", tr_import_time_r1},
    {"temporal-r1", "tg", "charades_train.json and others (times as shares of the length)",
     "Li et al. 2025, github.com/appletea233/Temporal-R1", tr_import_temporal_r1},
    {"videochat-r1", "all,tg,gvqa,qa", "charades_*.json, ActivityNet's, nextgqa_*.json and other option lists",
     "Li et al. 2025, github.com/OpenGVLab/VideoChat-R1", tr_import_videochat_r1},
    {"mvbench", "qa", "json/*.json, one file for each sub-task", "Li et al. 2024, huggingface.co/OpenGVLab/MVBench",
     tr_import_mvbench},
    {"video-mme", "qa", "published as Parquet: its export as JSON or JSON Lines (to_json); the older nested JSON",
     "Fu et al. 2024, huggingface.co/datasets/lmms-lab/Video-MME", tr_import_video_mme},
    {"tempcompass", "qa", "questions/multi-choice.json, yes_no.json, caption_matching.json",
     "Liu et al. 2024, github.com/llyx97/TempCompass", tr_import_tempcompass},
    {"mmvu", "qa", "validation.json", "Zhao et al. 2025, huggingface.co/datasets/yale-nlp/MMVU", tr_import_mmvu},
};

const tr_import_source *tr_import_sources(size_t *count)
{
    *count = sizeof sources / sizeof sources[0];
    return sources;
}

const tr_import_source *tr_import_source_find(const char *name)
{
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        if (!strcmp(sources[i].name, name)) {
            return &sources[i];
        }
    }
    return NULL;
}

tr_import_options tr_import_options_default(const char *source)
{
    return (tr_import_options){.source = source, .examples = 5};
}

/* The task asked for, which must be one of the source's; else its first. */
static tr_status choose_task(tr_import *im, tr_error *err)
{
    const char *asked = im->options->task, *list = im->source->tasks;
    while (*list) {
        size_t length = strcspn(list, ",");
        if (!asked || (strlen(asked) == length && !strncmp(list, asked, length))) {
            snprintf(im->task, sizeof im->task, "%.*s", (int)length, list);
            return TR_OK;
        }
        list += length + (list[length] == ',');
    }
    return tr_fail(err, TR_INVALID, im->source->name, "no rows for the task \"%s\" in %s; it has %s", asked,
                   im->source->name, im->source->tasks);
}

static const char *const rule_names[] = {
#define X(name, text, means) text,
    TR_IMPORT_RULES(X)
#undef X
};

static const char *const rule_means[] = {
#define X(name, text, means) means,
    TR_IMPORT_RULES(X)
#undef X
};

static json_t *make_report(const tr_import *im)
{
    json_t *rules = json_array(), *files = json_array();
    size_t refused = 0;
    for (size_t i = 0; i < im->path_count; i++) {
        json_t *path = json_string(im->paths[i]);
        json_array_append_new(files, path ? path : json_string("?"));
    }
    for (size_t i = 0; i < TR_IMPORT_RULE_COUNT; i++) {
        refused += im->refused[i];
        if (im->count[i]) {
            json_t *examples = im->examples[i] ? json_incref(im->examples[i]) : json_array();
            json_array_append_new(rules, json_pack("{s:s,s:s,s:I,s:I,s:o}", "rule", rule_names[i], "means",
                                                   rule_means[i], "count", (json_int_t)im->count[i], "refused",
                                                   (json_int_t)im->refused[i], "examples", examples));
        }
    }
    return json_pack("{s:s,s:s,s:o,s:I,s:I,s:I,s:O,s:o}", "source", im->source->name, "task", im->task, "files",
                     files, "records", (json_int_t)im->records, "rows", (json_int_t)im->rows, "refused",
                     (json_int_t)refused, "splits", im->split_rows, "rules", rules);
}

/* Nothing came out: says why in the words of the first refusal. */
static tr_status fail_empty(const tr_import *im, tr_error *err)
{
    for (size_t i = 0; i < TR_IMPORT_RULE_COUNT; i++) {
        const char *example = json_string_value(json_array_get(im->examples[i], 0));
        if (im->refused[i] && example) {
            return tr_fail(err, TR_FORMAT, im->paths[0],
                           "all %zu records are refused, by %s (%zu): %s; expected %s", im->records, rule_names[i],
                           im->refused[i], example, im->source->files);
        }
    }
    return tr_fail(err, TR_FORMAT, im->paths[0], "no records of %s in the %zu file%s; expected %s",
                   im->source->name, im->path_count, im->path_count == 1 ? "" : "s", im->source->files);
}

tr_status tr_import_files(const tr_import_options *options, const char *const *paths, size_t count, FILE *out,
                          json_t **report, tr_error *err)
{
    tr_import im = {.options = options,
                    .source = tr_import_source_find(options->source),
                    .paths = paths,
                    .path_count = count,
                    .out = out,
                    .durations = json_object(),
                    .splits = json_object(),
                    .ids = json_object(),
                    .seen_videos = json_object(),
                    .split_rows = json_object()};
    tr_status status;
    *report = NULL;
    if (!im.source) {
        status = tr_fail(err, TR_INVALID, options->source, "unknown source \"%s\"", options->source);
        goto done;
    }
    if (!im.durations || !im.splits || !im.ids || !im.seen_videos || !im.split_rows) {
        status = tr_fail(err, TR_MEMORY, options->source, "out of memory");
        goto done;
    }
    TR_TRY(count ? TR_OK : tr_fail(err, TR_INVALID, options->source, "no files to import"));
    TR_TRY(choose_task(&im, err));
    TR_TRY(im.source->run(&im, err));
    TR_TRY(im.rows ? TR_OK : fail_empty(&im, err));
    *report = make_report(&im);
    TR_TRY(*report ? TR_OK : tr_fail(err, TR_MEMORY, options->source, "out of memory for the report"));
done:
    json_decref(im.durations);
    json_decref(im.splits);
    json_decref(im.ids);
    json_decref(im.seen_videos);
    json_decref(im.split_rows);
    for (size_t i = 0; i < TR_IMPORT_RULE_COUNT; i++) {
        json_decref(im.examples[i]);
    }
    return status;
}

static long long whole(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

tr_status tr_import_report_text(const json_t *report, tr_buffer *out, tr_error *err)
{
    const char *key;
    json_t *value, *splits = json_object_get(report, "splits"), *rules = json_object_get(report, "rules");
    size_t i, k;
    tr_status status;
    TR_TRY(tr_buffer_printf(out, err, "%s: %lld records, %lld rows, %lld refused\n",
                            json_string_value(json_object_get(report, "source")), whole(report, "records"),
                            whole(report, "rows"), whole(report, "refused")));
    json_object_foreach(splits, key, value)
    {
        TR_TRY(tr_buffer_printf(out, err, "  %-24s %8lld rows\n", key, (long long)json_integer_value(value)));
    }
    json_array_foreach(rules, i, value)
    {
        json_t *place, *examples = json_object_get(value, "examples");
        TR_TRY(tr_buffer_printf(out, err, "  %-24s %8lld times, %lld records refused: %s\n",
                                json_string_value(json_object_get(value, "rule")), whole(value, "count"),
                                whole(value, "refused"), json_string_value(json_object_get(value, "means"))));
        json_array_foreach(examples, k, place)
        {
            TR_TRY(tr_buffer_printf(out, err, "      %s\n", json_string_value(place)));
        }
    }
done:
    return status;
}
