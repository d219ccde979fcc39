/* bench_work.c: the work that `tempr1 bench` times: a model, noise pixels, ordinary random ids, a group of
 * responses; and the bookkeeping of times and memory. */
#include "cli/bench.h"

#include "base/file.h"
#include "base/random.h"
#include "model/windows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATCH = 1176 };

void tr_bench_reset_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (f) {
        fputs("5", f);
        fclose(f);
    }
}

double tr_bench_peak_gib(void)
{
    char line[256];
    long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        kib = strncmp(line, "VmHWM:", 6) != 0 ? kib : strtoll(line + 6, NULL, 10);
    }
    if (f) {
        fclose(f);
    }
    return kib ? (double)kib / 1048576.0 : (double)tr_peak_rss_bytes() / 1073741824.0;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void tr_bench_note(tr_bench_times *t, double seconds)
{
    if (t->count < TR_BENCH_TIMES) {
        t->all[t->count++] = seconds;
    }
}

double tr_bench_median(const tr_bench_times *t)
{
    static double sorted[TR_BENCH_TIMES];
    memcpy(sorted, t->all, (size_t)t->count * sizeof *sorted);
    qsort(sorted, (size_t)t->count, sizeof *sorted, by_size);
    int half = t->count / 2;
    return !t->count ? 0 : t->count % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

json_t *tr_bench_summary(const tr_bench_times *t)
{
    double low = t->count ? t->all[0] : 0, high = low;
    for (int i = 1; i < t->count; i++) {
        low = t->all[i] < low ? t->all[i] : low;
        high = t->all[i] > high ? t->all[i] : high;
    }
    return json_pack("{s:f, s:f, s:f, s:i}", "median", tr_bench_median(t), "min", low, "max", high, "n", t->count);
}

/* One prompt: text, video placeholders, text; ids are random but ordinary. */
static tr_status make_prompt(tr_bench_work *w, tr_error *err)
{
    const tr_bench_request *r = w->r;
    const tr_model_config *c = &w->model->config;
    int64_t visual = w->visual.rows / 4, before = r->text > 20 ? 15 : r->text / 2;
    int64_t low = c->vocab > 1000 ? 100 : 0, high = c->vocab < 30000 ? c->vocab : 30000;
    if (high > c->vision_start_id && c->vocab < 30000) {
        high = c->vision_start_id; /* a tiny vocabulary keeps its special ids at the end */
    }
    for (int64_t i = 0; i < r->text; i++) {
        int64_t at = i < before ? i : i + visual;
        w->ids[at] = (int32_t)(low + (int64_t)tr_random_below((uint64_t)r->seed, 1, (uint32_t)i, 0, 0,
                                                              (uint64_t)(high - low)));
    }
    w->ids[before - 1] = (int32_t)c->vision_start_id;
    for (int64_t i = 0; i < visual; i++) {
        w->ids[before + i] = (int32_t)c->video_id;
    }
    w->ids[before + visual] = (int32_t)c->vision_end_id;
    for (int64_t i = 0; i < r->group * r->response; i++) {
        w->responses[i] = (int32_t)(low + (int64_t)tr_random_below((uint64_t)r->seed, 2, (uint32_t)i, 0, 0,
                                                                   (uint64_t)(high - low)));
    }
    for (int64_t i = 0; i < r->group; i++) {
        w->lengths[i] = r->response;
    }
    for (int64_t i = 0; i < r->groups * r->group;
         i++) { /* all groups are this one again, with caches of their own */
        w->streams[i] = i;
        w->slots[i] = i / r->group;
    }
    w->banned[c->image_id] = w->banned[c->video_id] = 1;
    const double seconds = 1.0;
    return tr_positions(c, w->ids, visual + r->text, r->thw, 1, &seconds, w->positions, NULL, err);
}

static void *room(bool *failed, int64_t count, size_t size)
{
    void *memory = tr_calloc((size_t)count, size);
    *failed |= !memory;
    return memory;
}

tr_status tr_bench_make_inputs(tr_bench_work *w, tr_error *err)
{
    const tr_bench_request *r = w->r;
    const tr_model_config *c = &w->model->config;
    int64_t patches = (int64_t)r->thw[0][0] * r->thw[0][1] * r->thw[0][2], prompt = patches / 4 + r->text;
    int64_t tokens = r->group * r->response, rows = r->groups * r->group;
    bool failed = false;
    w->pixels = room(&failed, patches, PATCH * sizeof(float));
    w->features = room(&failed, patches / 4 * c->hidden, sizeof(float));
    w->reference_features = room(&failed, patches / 4 * c->hidden, sizeof(float));
    w->dfeatures = room(&failed, patches / 4 * c->hidden, sizeof(float));
    w->logits = room(&failed, rows * c->vocab, sizeof(float));
    w->logp = room(&failed, tokens, sizeof(float));
    w->recorded = room(&failed, r->groups * tokens, sizeof(float));
    w->expected = room(&failed, tokens, sizeof(float));
    w->dlogp = room(&failed, tokens, sizeof(float));
    w->ids = room(&failed, prompt, sizeof(int32_t));
    w->positions = room(&failed, 3 * prompt, sizeof(int32_t));
    w->responses = room(&failed, tokens, sizeof(int32_t));
    w->lengths = room(&failed, r->group, sizeof(int64_t));
    w->slots = room(&failed, rows, sizeof(int64_t));
    w->streams = room(&failed, rows, sizeof(int64_t));
    w->index = room(&failed, rows, sizeof(int64_t));
    w->tokens = room(&failed, rows, sizeof(int32_t));
    w->banned = room(&failed, c->vocab, sizeof *w->banned);
    w->draws = room(&failed, rows, sizeof *w->draws);
    w->sampled = room(&failed, rows, sizeof *w->sampled);
    if (failed) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for the inputs of %lld patches", (long long)patches);
    }
    for (int64_t i = 0; i < patches * PATCH; i++) { /* uniform noise of deviation 1; its shape costs nothing */
        uint64_t x = (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u + (uint64_t)r->seed;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        w->pixels[i] = ((float)(x >> 40) * 0x1p-24f - 0.5f) * 3.4641016f;
    }
    w->visual = (tr_visual){w->pixels, patches, r->thw, 1};
    w->group = (tr_group){.prompt_ids = w->ids,
                          .positions = w->positions,
                          .prompt = prompt,
                          .features = w->features,
                          .visual_tokens = patches / 4,
                          .response_ids = w->responses,
                          .lengths = w->lengths,
                          .responses = r->group};
    return make_prompt(w, err);
}

tr_network_limits tr_bench_limits_of(const tr_bench_work *w, bool train, int64_t decode_groups)
{
    const tr_bench_request *r = w->r;
    tr_network_limits l = {.patches = w->visual.rows,
                           .largest_grid = (int64_t)r->thw[0][1] * r->thw[0][2],
                           .windows =
                               tr_windows_count(&w->model->config.vision, r->thw[0][0], r->thw[0][1], r->thw[0][2]),
                           .prompt_tokens = w->group.prompt,
                           .response_tokens = r->group * r->response,
                           .responses = r->group,
                           .train_text = train,
                           .train_vision = train && !r->lora,
                           .recompute = !strcmp(r->recompute, "layer") ? TR_RECOMPUTE_LAYER : TR_RECOMPUTE_NONE};
    if (decode_groups) {
        l.decode_rows = decode_groups * r->group;
        l.decode_groups = decode_groups;
        l.decode_tokens = r->response;
    }
    return l;
}

tr_status tr_bench_vision(tr_bench_work *w, tr_network *network, bool keep, tr_error *err)
{
    return tr_network_vision_forward(network, &w->visual, keep, w->features, err);
}

tr_group tr_bench_prompt_of(const tr_bench_work *w)
{
    tr_group prompt = w->group;
    prompt.responses = 0;
    return prompt;
}

void tr_bench_free_networks(tr_bench_work *w)
{
    tr_network_free(w->network);
    tr_network_free(w->reference_network);
    w->network = w->reference_network = NULL;
}

/* Working memory as the phase needs it: nothing for backward before the first phase that trains. With adapters all
 * else is frozen, as train.lora has it. */
tr_status tr_bench_load(tr_bench_work *w, bool train, tr_error *err)
{
    const bool adapts = w->r->lora > 0;
    json_t *targets = json_string(".*language_model.*_proj"); /* train.lora's default */
    const tr_lora_settings lora = {
        .rank = w->r->lora, .alpha = 2 * (double)w->r->lora, .targets = targets, .seed = (uint64_t)w->r->seed};
    const tr_model_options options = {.dtype = w->r->kind,
                                      .train = train,
                                      .freeze_text = adapts,
                                      .freeze_vision = adapts,
                                      .freeze_merger = adapts,
                                      .lora = adapts ? &lora : NULL,
                                      .moments_folder = w->r->offload,
                                      .device = w->r->device,
                                      .isa = w->r->isa};
    tr_model_free(w->model);
    w->model = NULL;
    tr_status status = tr_model_load(w->r->model, &options, &w->model, err);
    json_decref(targets);
    return status;
}

void tr_bench_free(tr_bench_work *w)
{
    tr_bench_free_networks(w);
    tr_model_free(w->reference);
    tr_model_free(w->model);
    void *all[] = {w->pixels, w->features,  w->dfeatures, w->logits,
                   w->logp,   w->recorded,  w->expected,  w->dlogp,
                   w->ids,    w->positions, w->responses, w->lengths,
                   w->slots,  w->streams,   w->index,     w->reference_features,
                   w->tokens, w->banned,    w->draws,     w->sampled};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}
