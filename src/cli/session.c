/* session.c: a model for inference with its options, and its memory. */
#include "cli/session.h"

#include "base/buffer.h"
#include "base/progress.h"
#include "base/thread.h"
#include "eval/protocol.h"

#include <stdlib.h>
#include <string.h>

void tr_session_defaults(tr_session_settings *s)
{
    *s = (tr_session_settings){.dtype = "f32",
                               .min_frames = 4,
                               .max_frames = 448,
                               .total_pixels = 2809856,
                               .min_pixels = 12544,
                               .max_tokens = 1024,
                               .seed = 1,
                               .fps = 2,
                               .top_p = 1};
}

/* What the checkpoint says about sampling; options that were given stay. */
static tr_status read_generation_config(const tr_session_settings *s, tr_sampling *sampling, tr_error *err)
{
    char *base = NULL, *path = NULL;
    json_t *json = NULL;
    bool sample = false;
    tr_status status = tr_lora_base(s->model, &base, err);
    if (!status) {
        path = tr_path_join(base, "generation_config.json");
        status = path ? tr_json_read(path, &json, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    if (!status) {
        status = tr_json_get_bool(json, "do_sample", false, path, &sample, err);
    }
    if (!status && sample) {
        double temperature = 1, top_p = 1;
        int64_t top_k = 0;
        TR_TRY(tr_json_get_double(json, "temperature", false, path, &temperature, err));
        TR_TRY(tr_json_get_double(json, "top_p", false, path, &top_p, err));
        TR_TRY(tr_json_get_int(json, "top_k", false, path, &top_k, err));
        sampling->temperature = s->temperature > 0 ? s->temperature : temperature;
        sampling->top_p = s->top_p < 1 ? s->top_p : top_p;
        sampling->top_k = s->top_k ? s->top_k : top_k;
    }
done:
    json_decref(json);
    free(base);
    free(path);
    return status;
}

tr_status tr_session_open(const tr_session_settings *s, tr_session *session, tr_error *err)
{
    memset(session, 0, sizeof *session);
    tr_progress_set_quiet(s->quiet);
    if (s->threads > 0) {
        tr_threads_set((int)s->threads);
    }
    tr_model_options options = {.device = s->device, .isa = s->isa, .adapter = s->adapter};
    if (!strcmp(s->dtype, "f32")) {
        options.dtype = TR_F32;
    } else if (!strcmp(s->dtype, "bf16")) {
        options.dtype = TR_BF16;
    } else {
        return tr_fail(err, TR_INVALID, "--dtype", "expected f32 or bf16, found %s", s->dtype);
    }
    tr_status status;
    TR_TRY(tr_model_load(s->model, &options, &session->model, err));
    const tr_model_config *c = &session->model->config;
    TR_TRY(tr_lora_tokenizer(s->tokenizer ? s->tokenizer : s->model, &session->tokenizer, err));
    session->sampling = (tr_sampling){.temperature = s->temperature,
                                      .top_p = s->top_p,
                                      .min_p = s->min_p,
                                      .top_k = s->top_k,
                                      .max_tokens = s->max_tokens,
                                      .end_ids = c->end_ids,
                                      .end_count = c->end_count};
    if (s->generation_config) {
        TR_TRY(read_generation_config(s, &session->sampling, err));
    }
    TR_TRY(tr_sampling_check(&session->sampling, "sampling options", err));
done:
    if (status) {
        tr_session_close(session);
    }
    return status;
}

tr_source_options tr_session_source(const tr_session_settings *s, const tr_session *session,
                                    const tr_data_entry *entry)
{
    return (tr_source_options){.model = &session->model->config,
                               .tokenizer = session->tokenizer,
                               .video = {.fps = s->fps,
                                         .min_frames = s->min_frames,
                                         .max_frames = s->max_frames,
                                         .total_pixels = s->total_pixels,
                                         .min_pixels = s->min_pixels,
                                         .cache = s->cache,
                                         .cache_bytes = 20000000000,
                                         .decoders = 2,
                                         .ahead_bytes = 1000000000},
                               .entries = entry,
                               .entry_count = 1};
}

tr_status tr_session_open_rows(const tr_session_settings *s, const tr_session_work *work, tr_session *session,
                               tr_source **source, json_t **card, tr_error *err)
{
    tr_status status;
    TR_TRY(tr_session_open(s, session, err));
    const tr_source_options options = tr_session_source(s, session, &work->entry);
    TR_TRY(tr_source_open(&options, source, err));
    const tr_protocol protocol = {.model = s->model,
                                  .adapter = s->adapter,
                                  .tokenizer = session->tokenizer,
                                  .data = work->entry.rows,
                                  .prompt = work->entry.prompt,
                                  .scheme = work->entry.reward,
                                  .parser = work->parser,
                                  .video = options.video,
                                  .sampling = &session->sampling,
                                  .samples = work->samples,
                                  .seed = s->seed,
                                  .rows = (*source)->rows,
                                  .first = work->first};
    TR_TRY(tr_protocol_card(&protocol, card, err));
done:
    return status;
}

tr_status tr_session_network(tr_session *session, const tr_network_limits *limits, tr_error *err)
{
    session->evaluator.model = session->model;
    session->evaluator.limits = *limits;
    tr_status status;
    TR_TRY(tr_network_create(session->model, limits, &session->evaluator.network, err));
    TR_TRY(tr_features_create(1u << 30, &session->evaluator.features, err));
done:
    return status;
}

void tr_session_close(tr_session *session)
{
    tr_features_free(session->evaluator.features);
    tr_network_free(session->evaluator.network);
    tr_model_free(session->model);
    free(session->tokenizer);
    memset(session, 0, sizeof *session);
}
