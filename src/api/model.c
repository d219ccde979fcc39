/* model.c: the public functions of models: a checkpoint for inference, scoring and asking. */
#include "api/handles.h"

#include "eval/score.h"
#include "rl/rollout.h"
#include "model/windows.h"

#include <stdlib.h>
#include <string.h>

struct tempr1_model {
    tr_model *model;
    char *tokenizer, *cache;
    tr_video_settings video;
    tr_scorer *scorer; /* made at the first tempr1_model_score */
};

static int64_t or_default(int64_t value, int64_t standard)
{
    return value > 0 ? value : standard;
}

static tr_status read_options(const char *directory, const tempr1_model_options *o, tempr1_model *m,
                              tr_model_options *options, tr_error *err)
{
    const char *dtype = o->dtype ? o->dtype : "f32";
    bool bf16 = !strcmp(dtype, "bf16");
    if (!bf16 && strcmp(dtype, "f32") != 0) {
        return tr_fail(err, TR_INVALID, "dtype", "expected f32 or bf16, found %s", dtype);
    }
    *options = (tr_model_options){.dtype = bf16 ? TR_BF16 : TR_F32, .isa = o->isa};
    tr_status status = tr_lora_tokenizer(o->tokenizer ? o->tokenizer : directory, &m->tokenizer, err);
    if (status) {
        return status;
    }
    m->cache = o->cache ? tr_strdup(o->cache) : NULL;
    if (o->cache && !m->cache) {
        return tr_fail(err, TR_MEMORY, directory, "out of memory");
    }
    m->video = (tr_video_settings){.fps = o->fps > 0 ? o->fps : 2,
                                   .min_frames = or_default(o->min_frames, 4),
                                   .max_frames = or_default(o->max_frames, 448),
                                   .total_pixels = or_default(o->total_pixels, 2809856),
                                   .min_pixels = or_default(o->min_pixels, 12544),
                                   .cache = m->cache,
                                   .cache_bytes = 20000000000};
    return TR_OK;
}

tempr1_status tempr1_model_open(const char *directory, const tempr1_model_options *options, tempr1_model **model,
                                tempr1_error *error)
{
    tr_error *err = api_error(error);
    const tempr1_model_options none = {0};
    tr_model_options own;
    tr_status status;
    tempr1_model *m = tr_calloc(1, sizeof *m);
    if (!m) {
        return (tempr1_status)tr_fail(err, TR_MEMORY, directory, "out of memory");
    }
    TR_TRY(read_options(directory, options ? options : &none, m, &own, err));
    TR_TRY(tr_model_load(directory, &own, &m->model, err));
    *model = m;
done:
    if (status) {
        tempr1_model_free(m);
    }
    return (tempr1_status)status;
}

void tempr1_model_free(tempr1_model *m)
{
    if (m) {
        tr_scorer_free(m->scorer);
        tr_model_free(m->model);
        free(m->tokenizer);
        free(m->cache);
        free(m);
    }
}

tempr1_status tempr1_model_score(tempr1_model *m, const char *row, size_t length,
                                 const tempr1_score_options *options, char **json, tempr1_error *error)
{
    tr_error *err = api_error(error);
    const tempr1_score_options none = {0}, *o = options ? options : &none;
    json_t *object = NULL, *results = NULL;
    tr_status status;
    if (!m->scorer) {
        const tr_scorer_options own = {.model = m->model, .tokenizer = m->tokenizer, .video = m->video};
        TR_TRY(tr_scorer_open(&own, &m->scorer, err));
    }
    tr_scorer_set(m->scorer, o->temperature, o->special != 0, o->end_token != 0, o->entropy != 0);
    TR_TRY(tr_json_parse(row, length, "row", 0, &object, err));
    TR_TRY(tr_scorer_row(m->scorer, object, "row", &results, err));
    TR_TRY(api_json(results, json, err));
done:
    json_decref(object);
    json_decref(results);
    return (tempr1_status)status;
}

/* ---- asking ---- */

/* The answers of a group as JSON. Without a truth only the parsing of a score is meant. */
static tr_status answers_json(tr_source *source, const tr_sample *sample, const tr_rollout_group *group,
                              json_t *list, tr_error *err)
{
    tr_status status = TR_OK;
    tr_buffer text = {0};
    for (int64_t i = 0, at = 0; !status && i < group->responses; at += group->lengths[i], i++) {
        tr_score score = {0};
        json_t *ids = json_array(), *logprobs = json_array();
        tr_buffer_clear(&text);
        status = source->call->text(source, group->ids + at, group->lengths[i], &text, err);
        source->call->score(source, sample, tr_buffer_text(&text), text.length, group->stopped[i], &score, NULL);
        for (int64_t t = at; t < at + group->lengths[i]; t++) {
            json_array_append_new(ids, json_integer(group->ids[t]));
            json_array_append_new(logprobs, json_real((double)group->logp[t]));
        }
        json_t *one = json_pack("{s:s%, s:O?, s:s, s:o, s:o}", "text", tr_buffer_text(&text), text.length, "parsed",
                                score.parsed, "finish", group->stopped[i] ? "stop" : "length", "ids", ids,
                                "logprobs", logprobs);
        tr_score_clear(&score);
        if (!status && (!one || json_array_append_new(list, one))) {
            status = tr_fail(err, TR_MEMORY, NULL, "out of memory for the answers");
        } else if (status) {
            json_decref(one);
        }
    }
    tr_buffer_free(&text);
    return status;
}

static tr_status ask(tempr1_model *m, tr_source *source, const tr_sampling *sampling, int64_t answers,
                     uint64_t seed, json_t *list, tr_error *err)
{
    tr_sample sample = {0};
    tr_network *network = NULL;
    tr_features *features = NULL;
    tr_rollout *rollout = NULL;
    tr_rollout_group group;
    const float *visual;
    tr_status status;
    TR_TRY(source->call->load(source, 0, false, &sample, err));
    const tr_network_limits limits = {.patches = sample.visual.rows,
                                      .largest_grid = (int64_t)sample.grids[0][1] * sample.grids[0][2],
                                      .windows = tr_windows_count(&m->model->config.vision, sample.grids[0][0],
                                                                  sample.grids[0][1], sample.grids[0][2]),
                                      .prompt_tokens = sample.prompt,
                                      .decode_rows = answers,
                                      .decode_groups = 1,
                                      .decode_tokens = sampling->max_tokens};
    TR_TRY(tr_network_create(m->model, &limits, &network, err));
    TR_TRY(tr_features_create(1, &features, err));
    TR_TRY(tr_features_get(features, network, &m->model->config, source, &sample, 0, &visual, NULL, NULL, err));
    TR_TRY(tr_rollout_create(network, &limits, m->model, 1, answers, sampling->max_tokens, &rollout, err));
    const tr_rollout_prompt prompt = {.prompt = {.prompt_ids = sample.prompt_ids,
                                                 .positions = sample.positions,
                                                 .prompt = sample.prompt,
                                                 .features = visual,
                                                 .visual_tokens = sample.visual_tokens}};
    TR_TRY(tr_rollout_run(rollout, &prompt, 1, answers, sampling, seed, 0, &group, NULL, NULL, NULL, err));
    TR_TRY(answers_json(source, &sample, &group, list, err));
done:
    tr_rollout_free(rollout);
    tr_features_free(features);
    tr_network_free(network);
    tr_sample_clear(&sample);
    return status;
}

tempr1_status tempr1_model_ask(tempr1_model *m, const char *row, size_t length, const tempr1_ask_options *options,
                               char **json, tempr1_error *error)
{
    tr_error *err = api_error(error);
    const tempr1_ask_options none = {0}, *o = options ? options : &none;
    const tr_data_entry entry = {.rows = "",
                                 .videos = "",
                                 .weight = 1,
                                 .reward = o->scheme ? o->scheme : "tempr1",
                                 .prompt = o->prompt ? o->prompt : "no-think"};
    const tr_source_options source_options = {.model = &m->model->config,
                                              .tokenizer = m->tokenizer,
                                              .video = m->video,
                                              .entries = &entry,
                                              .entry_count = 1};
    tr_sampling sampling = {.temperature = o->temperature,
                            .top_p = o->top_p > 0 ? o->top_p : 1,
                            .min_p = o->min_p,
                            .top_k = o->top_k,
                            .max_tokens = or_default(o->max_tokens, 1024),
                            .end_ids = m->model->config.end_ids,
                            .end_count = m->model->config.end_count};
    json_t *object = NULL, *list = json_array();
    tr_source *source = NULL;
    tr_status status;
    TR_TRY(tr_sampling_check(&sampling, "sampling options", err));
    TR_TRY(tr_json_parse(row, length, "row", 0, &object, err));
    if (!json_object_get(object, "id")) {
        json_object_set_new(object, "id", json_string("row"));
    }
    TR_TRY(tr_source_open_row(&source_options, object, &source, err));
    sampling.banned = source->banned;
    TR_TRY(ask(m, source, &sampling, or_default(o->answers, 1), o->seed, list, err));
    TR_TRY(api_json(list, json, err));
done:
    tr_source_free(source);
    json_decref(object);
    json_decref(list);
    return (tempr1_status)status;
}
