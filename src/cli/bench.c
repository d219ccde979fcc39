/* bench.c: `tempr1 bench`: what one group costs, phase by phase, on noise pixels with forced response lengths.
 *
 * The work and the key names are those of the peer's benchmark: vision, prefill, decode, logprob, update, and one
 * full GRPO step (rollout, reference, update). Weights change in update and step, so those come last. */
#include "cli/cli.h"

#include "base/file.h"
#include "base/random.h"
#include "base/thread.h"
#include "model/network.h"
#include "rl/optimiser.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern const tr_command tr_command_bench;

enum { MOST_TIMES = 4096, PATCH = 1176 };

typedef struct request {
    const char *model, *grid, *dtype, *isa, *phases, *recompute;
    int64_t text, group, response, repeats, seed, child;
    bool cold;
    int32_t thw[1][3];
    tr_dtype kind;
} request;

typedef struct times {
    double all[MOST_TIMES];
    int count;
} times;

typedef struct work {
    const request *r;
    tr_model *model, *reference;
    tr_network *network, *reference_network;
    tr_optimiser optimiser;
    tr_visual visual;
    tr_group group;
    float *pixels, *features, *dfeatures, *logits, *logp, *recorded, *expected, *dlogp;
    int32_t *ids, *positions, *responses;
    int64_t *lengths, *slots, *streams, *index;
    double gap; /* largest |sampled - recomputed| log-prob of the last step */
    double grad_norm;
} work;

/* ---- small things ---- */

static void reset_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (f) {
        fputs("5", f);
        fclose(f);
    }
}

static double peak_gib(void)
{
    char line[256];
    long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        sscanf(line, "VmHWM: %lld", &kib);
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

static void note(times *t, double seconds)
{
    if (t->count < MOST_TIMES) {
        t->all[t->count++] = seconds;
    }
}

static double median(const times *t)
{
    static double sorted[MOST_TIMES];
    memcpy(sorted, t->all, (size_t)t->count * sizeof *sorted);
    qsort(sorted, (size_t)t->count, sizeof *sorted, by_size);
    int half = t->count / 2;
    return !t->count ? 0 : t->count % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

static json_t *summary(const times *t)
{
    double low = t->count ? t->all[0] : 0, high = low;
    for (int i = 1; i < t->count; i++) {
        low = t->all[i] < low ? t->all[i] : low;
        high = t->all[i] > high ? t->all[i] : high;
    }
    return json_pack("{s:f, s:f, s:f, s:i}", "median", median(t), "min", low, "max", high, "n", t->count);
}

static bool wanted(const request *r, const char *phase)
{
    size_t length = strlen(phase);
    for (const char *at = r->phases; at && *at;) {
        const char *end = strchr(at, ',');
        size_t count = end ? (size_t)(end - at) : strlen(at);
        if (count == length && !strncmp(at, phase, length)) {
            return true;
        }
        at = end ? end + 1 : NULL;
    }
    return false;
}

/* ---- inputs ---- */

/* One prompt: text, video placeholders, text; ids are random but ordinary. */
static tr_status make_prompt(work *w, tr_error *err)
{
    const request *r = w->r;
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
        w->streams[i] = i;
        w->slots[i] = 0;
    }
    const double seconds = 1.0;
    return tr_positions(c, w->ids, visual + r->text, r->thw, 1, &seconds, w->positions, NULL, err);
}

static void *room(bool *failed, int64_t count, size_t size)
{
    void *memory = tr_calloc((size_t)count, size);
    *failed |= !memory;
    return memory;
}

static tr_status make_inputs(work *w, tr_error *err)
{
    const request *r = w->r;
    const tr_model_config *c = &w->model->config;
    int64_t patches = (int64_t)r->thw[0][0] * r->thw[0][1] * r->thw[0][2], prompt = patches / 4 + r->text;
    int64_t tokens = r->group * r->response;
    bool failed = false;
    w->pixels = room(&failed, patches, PATCH * sizeof(float));
    w->features = room(&failed, patches / 4 * c->hidden, sizeof(float));
    w->dfeatures = room(&failed, patches / 4 * c->hidden, sizeof(float));
    w->logits = room(&failed, r->group * c->vocab, sizeof(float));
    w->logp = room(&failed, tokens, sizeof(float));
    w->recorded = room(&failed, tokens, sizeof(float));
    w->expected = room(&failed, tokens, sizeof(float));
    w->dlogp = room(&failed, tokens, sizeof(float));
    w->ids = room(&failed, prompt, sizeof(int32_t));
    w->positions = room(&failed, 3 * prompt, sizeof(int32_t));
    w->responses = room(&failed, tokens, sizeof(int32_t));
    w->lengths = room(&failed, r->group, sizeof(int64_t));
    w->slots = room(&failed, r->group, sizeof(int64_t));
    w->streams = room(&failed, r->group, sizeof(int64_t));
    w->index = room(&failed, r->group, sizeof(int64_t));
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

static tr_network_limits limits_of(const work *w, bool train, bool decode)
{
    const request *r = w->r;
    tr_network_limits l = {.patches = w->visual.rows,
                           .largest_grid = (int64_t)r->thw[0][1] * r->thw[0][2],
                           .prompt_tokens = w->group.prompt,
                           .response_tokens = r->group * r->response,
                           .responses = r->group,
                           .train_text = train,
                           .train_vision = train,
                           .recompute = !strcmp(r->recompute, "layer") ? TR_RECOMPUTE_LAYER : TR_RECOMPUTE_NONE};
    if (decode) {
        l.decode_rows = r->group;
        l.decode_groups = 1;
        l.decode_tokens = r->response;
    }
    return l;
}

/* ---- the pieces of a step ---- */

static tr_status vision(work *w, tr_network *network, bool keep, tr_error *err)
{
    return tr_network_vision_forward(network, &w->visual, keep, w->features, err);
}

static tr_group prompt_of(const work *w)
{
    tr_group prompt = w->group;
    prompt.responses = 0;
    return prompt;
}

/* Log-probs of every response's token at `index`, from its row of logits (`shared`: all from the prompt's). */
static void record(work *w, int64_t index, bool shared)
{
    const tr_model *model = w->model;
    for (int64_t g = 0; g < w->r->group; g++) {
        int64_t at = g * w->r->response + index;
        model->ops->logsoftmax_forward(&w->recorded[at], NULL, NULL,
                                       w->logits + (shared ? 0 : g * model->config.vocab), &w->responses[at], 1,
                                       model->config.vocab, 1.0f);
    }
}

/* Prefill, then every response one token at a time. */
static tr_status decode(work *w, double *prefill_s, times *steps, double *decode_s, tr_error *err)
{
    const request *r = w->r;
    tr_group prompt = prompt_of(w);
    int32_t *tokens;
    double start = tr_time_s();
    tr_status status = tr_network_prefill(w->network, 0, &prompt, w->logits, err);
    if (status) {
        return status;
    }
    record(w, 0, true);
    double after = tr_time_s();
    *prefill_s = after - start;
    tokens = tr_calloc((size_t)r->group, sizeof *tokens);
    if (!tokens) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for %lld tokens", (long long)r->group);
    }
    for (int64_t i = 0; i + 1 < r->response; i++) {
        double before = tr_time_s();
        for (int64_t g = 0; g < r->group; g++) {
            tokens[g] = w->responses[g * r->response + i];
            w->index[g] = i;
        }
        TR_TRY(tr_network_decode(w->network, w->streams, w->slots, w->index, tokens, r->group, w->logits, err));
        record(w, i + 1, false);
        note(steps, tr_time_s() - before);
    }
    *decode_s = tr_time_s() - after;
done:
    free(tokens);
    return status;
}

typedef struct update_times {
    double vision, forward, backward, optimizer;
} update_times;

/* Forward, loss (clip 0.2, k3 KL 0.01), backward, clipping, AdamW. old and expected are log-probs. */
static tr_status update(work *w, bool with_vision, const float *old, const float *expected, update_times *t,
                        tr_error *err)
{
    int64_t tokens = w->r->group * w->r->response, each = w->r->response;
    double start = tr_time_s();
    tr_status status;
    t->vision = 0;
    if (with_vision) {
        TR_TRY(vision(w, w->network, true, err));
        t->vision = tr_time_s() - start;
    }
    TR_TRY(tr_network_group_forward(w->network, &w->group, 1.0f, true, w->logp, NULL, err));
    w->gap = 0;
    for (int64_t i = 0; i < tokens; i++) {
        double advantage = w->r->group > 1 ? -1 + 2 * (double)(i / each) / (double)(w->r->group - 1) : 1;
        double from = old ? (double)old[i] : 0, to = expected ? (double)expected[i] : 0, x = (double)w->logp[i];
        double ratio = exp(x - from);
        bool clipped = advantage > 0 ? ratio > 1.2 : ratio < 0.8;
        double policy = clipped ? 0 : -ratio * advantage, kl = 0.01 * (1 - exp(to - x));
        w->dlogp[i] = (float)((policy + kl) / (double)tokens);
        w->gap = old && fabs(x - from) > w->gap ? fabs(x - from) : w->gap;
    }
    double middle = tr_time_s();
    t->forward = middle - start;
    TR_TRY(tr_network_group_backward(w->network, &w->group, w->dlogp, NULL, w->dfeatures, err));
    TR_TRY(tr_network_vision_backward(w->network, &w->visual, w->dfeatures, err));
    double end = tr_time_s();
    t->backward = end - middle;
    w->grad_norm = tr_optimiser_norm(w->model);
    tr_optimiser_step(&w->optimiser, w->model, 1e-6, w->grad_norm);
    tr_model_zero_gradients(w->model);
    t->optimizer = tr_time_s() - end;
done:
    return status;
}

/* ---- phases ---- */

static tr_status phase_vision(work *w, json_t *out, tr_error *err)
{
    times t = {.count = 0};
    tr_status status = TR_OK;
    for (int64_t i = -1; i < w->r->repeats; i++) {
        double start = tr_time_s();
        TR_TRY(vision(w, w->network, false, err));
        if (i >= 0) {
            note(&t, tr_time_s() - start);
        }
    }
    json_object_set_new(out, "seconds", summary(&t));
done:
    return status;
}

static tr_status phase_prefill(work *w, json_t *out, tr_error *err)
{
    times t = {.count = 0}, whole = {.count = 0};
    tr_group prompt = prompt_of(w);
    tr_status status = TR_OK;
    for (int64_t i = -1; i < w->r->repeats; i++) {
        double start = tr_time_s();
        TR_TRY(vision(w, w->network, false, err));
        double middle = tr_time_s();
        TR_TRY(tr_network_prefill(w->network, 0, &prompt, w->logits, err));
        if (i >= 0) {
            note(&t, tr_time_s() - middle);
            note(&whole, tr_time_s() - start);
        }
    }
    json_object_set_new(out, "seconds", summary(&t));
    json_object_set_new(out, "tokens_per_s", json_real((double)w->group.prompt / median(&t)));
    json_object_set_new(out, "with_vision_seconds", summary(&whole));
done:
    return status;
}

static tr_status phase_decode(work *w, json_t *out, tr_error *err)
{
    times prefill = {.count = 0}, all = {.count = 0}, steps = {.count = 0};
    tr_status status = TR_OK;
    TR_TRY(vision(w, w->network, false, err));
    int64_t rounds = w->r->repeats > 1 ? w->r->repeats - 1 : 1;
    for (int64_t i = 0; i < rounds; i++) {
        double before, during = 0;
        TR_TRY(decode(w, &before, &steps, &during, err));
        note(&prefill, before);
        note(&all, during);
    }
    json_object_set_new(out, "shared",
                        json_pack("{s:o, s:o, s:o, s:f}", "prefill_seconds", summary(&prefill), "decode_seconds",
                                  summary(&all), "step_seconds", summary(&steps), "tokens_per_s",
                                  steps.count ? (double)w->r->group / median(&steps) : 0.0));
done:
    return status;
}

static tr_status phase_logprob(work *w, json_t *out, tr_error *err)
{
    times t = {.count = 0};
    tr_status status = TR_OK;
    for (int64_t i = 0; i < w->r->repeats; i++) {
        double start = tr_time_s();
        TR_TRY(vision(w, w->network, false, err));
        TR_TRY(tr_network_group_forward(w->network, &w->group, 1.0f, false, w->logp, NULL, err));
        note(&t, tr_time_s() - start);
    }
    json_object_set_new(out, "seconds", summary(&t));
    json_object_set_new(out, "sequences_measured", json_integer(w->r->group));
done:
    return status;
}

static tr_status phase_update(work *w, json_t *out, tr_error *err)
{
    times whole = {.count = 0}, forward = {.count = 0}, backward = {.count = 0}, optimizer = {.count = 0};
    tr_status status = TR_OK;
    for (int64_t i = 0; i < w->r->repeats; i++) {
        update_times u;
        TR_TRY(update(w, true, NULL, NULL, &u, err));
        note(&forward, u.forward);
        note(&backward, u.backward);
        note(&optimizer, u.optimizer);
        note(&whole, u.forward + u.backward + u.optimizer);
    }
    json_object_set_new(out, "seconds", summary(&whole));
    json_object_set_new(out, "forward_seconds", summary(&forward));
    json_object_set_new(out, "backward_seconds", summary(&backward));
    json_object_set_new(out, "optimizer_seconds", summary(&optimizer));
    json_object_set_new(out, "grad_norm", json_real(w->grad_norm));
done:
    return status;
}

enum { WHOLE, ROLLOUT, VISION, PREFILL, DECODE, REFERENCE, UPDATE, FORWARD, BACKWARD, OPTIMIZER, PARTS };

/* Rollout, reference, update. The vision features of the rollout serve the update: the weights are the same. */
static tr_status one_step(work *w, double part[PARTS], times *steps, tr_error *err)
{
    update_times u;
    tr_status status;
    double start = tr_time_s();
    TR_TRY(vision(w, w->reference_network, false, err));
    TR_TRY(tr_network_group_forward(w->reference_network, &w->group, 1.0f, false, w->expected, NULL, err));
    part[REFERENCE] = tr_time_s() - start;
    start = tr_time_s();
    TR_TRY(vision(w, w->network, true, err));
    part[VISION] = tr_time_s() - start;
    TR_TRY(decode(w, &part[PREFILL], steps, &part[DECODE], err));
    part[ROLLOUT] = tr_time_s() - start;
    TR_TRY(update(w, false, w->recorded, w->expected, &u, err));
    part[FORWARD] = u.forward;
    part[BACKWARD] = u.backward;
    part[OPTIMIZER] = u.optimizer;
    part[UPDATE] = u.forward + u.backward + u.optimizer;
    part[WHOLE] = part[ROLLOUT] + part[REFERENCE] + part[UPDATE];
done:
    return status;
}

static tr_status phase_step(work *w, json_t *out, tr_error *err)
{
    static const char *const names[PARTS] = {"seconds",         "rollout",   "rollout_vision", "rollout_prefill",
                                             "rollout_decode",  "reference", "update",         "update_forward",
                                             "update_backward", "optimizer"};
    static times t[PARTS], steps;
    tr_status status = TR_OK;
    memset(t, 0, sizeof t);
    steps.count = 0;
    for (int64_t i = 0; i < w->r->repeats; i++) {
        double part[PARTS] = {0};
        TR_TRY(one_step(w, part, &steps, err));
        for (int p = 0; p < PARTS; p++) {
            note(&t[p], part[p]);
        }
    }
    json_t *parts = json_object();
    for (int p = 1; p < PARTS; p++) {
        json_object_set_new(parts, names[p], json_real(median(&t[p])));
    }
    json_object_set_new(parts, "old_logprob", json_real(0)); /* the rollout's own numbers, bit for bit */
    json_object_set_new(out, "seconds", summary(&t[WHOLE]));
    json_object_set_new(out, "parts", parts);
    json_object_set_new(out, "sequences_measured", json_integer(w->r->group));
    json_object_set_new(out, "logprob_gap", json_real(w->gap));
    json_object_set_new(out, "grad_norm", json_real(w->grad_norm));
done:
    return status;
}

static const struct phase {
    const char *name;
    tr_status (*run)(work *, json_t *, tr_error *);
    bool train;
} phases[] = {{"vision", phase_vision, false},   {"prefill", phase_prefill, false}, {"decode", phase_decode, false},
              {"logprob", phase_logprob, false}, {"update", phase_update, true},    {"step", phase_step, true}};

/* ---- the whole ---- */

static void free_networks(work *w)
{
    tr_network_free(w->network);
    tr_network_free(w->reference_network);
    w->network = w->reference_network = NULL;
}

/* Working memory as the phase needs it: nothing for backward before the first phase that trains. */
static tr_status make_networks(work *w, const struct phase *phase, tr_error *err)
{
    tr_network_limits limits = limits_of(w, phase->train, true), forward = limits_of(w, false, false);
    bool step = phase->run == phase_step;
    tr_status status;
    free_networks(w);
    TR_TRY(tr_network_create(w->model, &limits, &w->network, err));
    if (step) {
        if (!w->reference) {
            TR_TRY(tr_model_clone_frozen(w->model, &w->reference, err));
        }
        TR_TRY(tr_network_create(w->reference, &forward, &w->reference_network, err));
    }
done:
    return status;
}

static tr_status load(work *w, bool train, tr_error *err)
{
    const tr_model_options options = {.dtype = w->r->kind, .train = train, .isa = w->r->isa};
    tr_model_free(w->model);
    w->model = NULL;
    return tr_model_load(w->r->model, &options, &w->model, err);
}

static void free_work(work *w)
{
    free_networks(w);
    tr_model_free(w->model);
    tr_model_free(w->reference);
    void *all[] = {w->pixels, w->features,  w->dfeatures, w->logits,  w->logp,  w->recorded, w->expected, w->dlogp,
                   w->ids,    w->positions, w->responses, w->lengths, w->slots, w->streams,  w->index};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

static tr_status bench(const request *r, json_t *out, tr_error *err)
{
    work w = {.r = r,
              .optimiser = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip_norm = 1}};
    json_t *results = json_object();
    bool trains = false;
    double start = tr_time_s();
    tr_status status;
    TR_TRY(load(&w, false, err));
    json_object_set_new(out, "load_seconds", json_real(tr_time_s() - start));
    json_object_set_new(out, "isa", json_string(w.model->ops->name));
    TR_TRY(make_inputs(&w, err));
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        const struct phase *phase = &phases[i];
        if (!wanted(r, phase->name)) {
            continue;
        }
        if (phase->train && !trains) { /* masters, gradients and moments from here on */
            free_networks(&w);
            TR_TRY(load(&w, true, err));
            trains = true;
        }
        reset_peak();
        json_t *result = json_object();
        json_object_set_new(results, phase->name, result);
        TR_TRY(make_networks(&w, phase, err));
        TR_TRY(phase->run(&w, result, err));
        json_object_set_new(result, "peak_rss_gib", json_real(peak_gib()));
        char *text = json_dumps(result, JSON_COMPACT | JSON_REAL_PRECISION(5));
        fprintf(stderr, "%s %s\n", phase->name, text ? text : "");
        free(text);
    }
    json_object_set(out, "phases", results);
done:
    json_decref(results);
    free_work(&w);
    return status;
}

/* ---- cold: process start to model loaded and to the first forward ---- */

static double wall_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The child: times count from the moment its parent started it (--cold-child, in microseconds of the wall clock).
 */
static tr_status cold_child(const request *r, json_t *out, tr_error *err)
{
    work w = {.r = r};
    double start = (double)r->child * 1e-6;
    tr_status status;
    TR_TRY(load(&w, false, err));
    json_object_set_new(out, "model_loaded", json_real(wall_s() - start));
    TR_TRY(make_inputs(&w, err));
    json_object_set_new(out, "inputs", json_real(wall_s() - start));
    tr_network_limits limits = limits_of(&w, false, true);
    limits.decode_rows = 1; /* one prompt, no responses */
    limits.decode_tokens = 1;
    limits.responses = limits.response_tokens = 0;
    TR_TRY(tr_network_create(w.model, &limits, &w.network, err));
    TR_TRY(vision(&w, w.network, false, err));
    tr_group prompt = prompt_of(&w);
    TR_TRY(tr_network_prefill(w.network, 0, &prompt, w.logits, err));
    json_object_set_new(out, "first_forward", json_real(wall_s() - start));
    json_object_set_new(out, "peak_rss_gib", json_real(peak_gib()));
done:
    free_work(&w);
    return status;
}

/* Starts this program again and reads the one line of JSON that it prints. */
static tr_status run_child(const request *r, json_t **out, tr_error *err)
{
    char text[32], response[32], group[32], seed[32], started[32], line[1024];
    int ends[2], code = 0;
    snprintf(text, sizeof text, "%lld", (long long)r->text);
    snprintf(response, sizeof response, "%lld", (long long)r->response);
    snprintf(group, sizeof group, "%lld", (long long)r->group);
    snprintf(seed, sizeof seed, "%lld", (long long)r->seed);
    if (pipe(ends)) {
        return tr_fail(err, TR_IO, "pipe", "%s", strerror(errno));
    }
    snprintf(started, sizeof started, "%.0f", wall_s() * 1e6);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execl("/proc/self/exe", "tempr1", "bench", "--model", r->model, "--grid", r->grid, "--text", text,
              "--group", group, "--response", response, "--seed", seed, "--dtype", r->dtype, "--cold-child",
              started, r->isa ? "--isa" : (char *)NULL, r->isa, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *in = child > 0 ? fdopen(ends[0], "r") : NULL;
    bool got = in && fgets(line, sizeof line, in);
    if (in) {
        fclose(in);
    } else {
        close(ends[0]);
    }
    if (child > 0) {
        while (waitpid(child, &code, 0) < 0 && errno == EINTR) {
        }
    }
    if (child < 0 || code || !got) {
        return tr_fail(err, TR_CHILD, "--cold", "the child process that loads the model failed");
    }
    return tr_json_parse(line, strlen(line), "the child's result", 0, out, err);
}

static tr_status cold(const request *r, json_t *out, tr_error *err)
{
    static const char *const names[] = {"model_loaded", "inputs", "first_forward", "peak_rss_gib"};
    static times t[4];
    tr_status status = TR_OK;
    memset(t, 0, sizeof t);
    for (int64_t i = 0; i < r->repeats; i++) {
        json_t *row = NULL;
        TR_TRY(run_child(r, &row, err));
        for (size_t k = 0; k < 4; k++) {
            note(&t[k], json_number_value(json_object_get(row, names[k])));
        }
        json_decref(row);
    }
    json_object_set_new(out, "phase", json_string("cold"));
    for (size_t k = 0; k < 4; k++) {
        json_object_set_new(out, names[k], summary(&t[k]));
    }
done:
    return status;
}

/* ---- command line ---- */

static int check(request *r)
{
    char rest;
    if (sscanf(r->grid, "%d,%d,%d%c", &r->thw[0][0], &r->thw[0][1], &r->thw[0][2], &rest) != 3 ||
        r->thw[0][0] < 1 || r->thw[0][1] < 2 || r->thw[0][2] < 2 || r->thw[0][1] % 2 || r->thw[0][2] % 2 ||
        r->thw[0][0] > 4096 || r->thw[0][1] > 4096 || r->thw[0][2] > 4096) {
        return tr_cli_usage(&tr_command_bench, "--grid %s: expected T,H,W in patches, H and W even", r->grid);
    }
    if (strcmp(r->dtype, "f32") && strcmp(r->dtype, "bf16")) {
        return tr_cli_usage(&tr_command_bench, "--dtype %s: expected f32 or bf16", r->dtype);
    }
    if (strcmp(r->recompute, "none") && strcmp(r->recompute, "layer")) {
        return tr_cli_usage(&tr_command_bench, "--recompute %s: expected none or layer", r->recompute);
    }
    r->kind = !strcmp(r->dtype, "bf16") ? TR_BF16 : TR_F32;
    return -1;
}

static void describe(const request *r, json_t *out)
{
    json_object_set_new(out, "dtype", json_string(r->dtype));
    json_object_set_new(out, "grid", json_pack("[i, i, i]", r->thw[0][0], r->thw[0][1], r->thw[0][2]));
    json_object_set_new(out, "text", json_integer(r->text));
    json_object_set_new(out, "G", json_integer(r->group));
    json_object_set_new(out, "R", json_integer(r->response));
    json_object_set_new(out, "seed", json_integer(r->seed));
    json_object_set_new(out, "recompute", json_string(r->recompute));
    json_object_set_new(out, "threads", json_integer(tr_threads_count()));
}

static int run(int argc, char **argv)
{
    request r = {.grid = "16,16,24",
                 .dtype = "f32",
                 .phases = "vision,prefill,decode,logprob,update,step",
                 .recompute = "none",
                 .text = 64,
                 .group = 8,
                 .response = 64,
                 .repeats = 3,
                 .seed = 1};
    const tr_option options[] = {
        {.name = "model",
         .kind = TR_OPTION_TEXT,
         .value = &r.model,
         .argument = "DIR",
         .required = true,
         .help = "The checkpoint; its weights do not matter, its shape does."},
        {.name = "grid",
         .kind = TR_OPTION_TEXT,
         .value = &r.grid,
         .argument = "T,H,W",
         .help = "The video in patches (default 16,16,24)."},
        {.name = "text",
         .kind = TR_OPTION_INT,
         .value = &r.text,
         .argument = "N",
         .min = 4,
         .max = 1 << 20,
         .help = "Text tokens of the prompt (default 64)."},
        {.name = "group",
         .kind = TR_OPTION_INT,
         .value = &r.group,
         .argument = "G",
         .min = 1,
         .max = 4096,
         .help = "Responses (default 8)."},
        {.name = "response",
         .kind = TR_OPTION_INT,
         .value = &r.response,
         .argument = "R",
         .min = 1,
         .max = 1 << 20,
         .help = "Tokens of each response (default 64)."},
        {.name = "dtype",
         .kind = TR_OPTION_TEXT,
         .value = &r.dtype,
         .argument = "f32|bf16",
         .help = "Of the weights (default f32)."},
        {.name = "repeats",
         .kind = TR_OPTION_INT,
         .value = &r.repeats,
         .argument = "N",
         .min = 1,
         .max = 1000,
         .help = "How often each phase is measured (default 3)."},
        {.name = "seed",
         .kind = TR_OPTION_INT,
         .value = &r.seed,
         .argument = "N",
         .min = 0,
         .max = 1e15,
         .help = "Of pixels and tokens (default 1)."},
        {.name = "phases",
         .kind = TR_OPTION_TEXT,
         .value = &r.phases,
         .argument = "LIST",
         .help = "Comma list of vision, prefill, decode, logprob, update, step (default all)."},
        {.name = "recompute",
         .kind = TR_OPTION_TEXT,
         .value = &r.recompute,
         .argument = "none|layer",
         .help = "Activations in backward: kept, or computed again layer by layer (default none)."},
        {.name = "isa",
         .kind = TR_OPTION_TEXT,
         .value = &r.isa,
         .argument = "NAME",
         .help = "Kernels: scalar, avx2, avx512 or reference (default: $TEMPR1_ISA, else the widest)."},
        {.name = "cold",
         .kind = TR_OPTION_FLAG,
         .value = &r.cold,
         .help = "Measures process start to model loaded and to the first forward instead."},
        {.name = "cold-child",
         .kind = TR_OPTION_INT,
         .value = &r.child,
         .argument = "MICROSECONDS",
         .min = 0,
         .max = 9e15,
         .help = "Used by --cold for its child processes: when the parent started it."},
        {0}};
    char **positional;
    int count, exit = tr_cli_parse(&tr_command_bench, options, argc, argv, 0, 0, &positional, &count);
    if (exit < 0) {
        exit = check(&r);
    }
    if (exit >= 0) {
        return exit;
    }
    tr_error err = {0};
    json_t *out = json_object();
    if (!r.child) {
        describe(&r, out);
    }
    tr_status status = r.child ? cold_child(&r, out, &err) : r.cold ? cold(&r, out, &err) : bench(&r, out, &err);
    status = status ? status : tr_cli_print_json(out, &err);
    json_decref(out);
    return status ? tr_cli_fail(&tr_command_bench, &err) : TR_EXIT_DONE;
}

const tr_command tr_command_bench = {
    .name = "bench",
    .arguments = "--model DIR [--grid T,H,W] [--text N] [--group G] [--response R] [options]",
    .summary = "times one group: vision, prefill, decode, logprob, update, a full step",
    .text =
        "Noise pixels, random tokens and forced response lengths; prints one JSON object with the peer's key names "
        "(phases.vision.seconds.median, phases.decode.shared.step_seconds.median, phases.step.parts, ...). "
        "phases.step.logprob_gap is the largest difference between the log-probs of decoding and of the training "
        "forward: 0.\n\n"
        "Example: tempr1 bench --model xs --grid 16,16,24 --text 64 --group 8 --response 64",
    .run = run};
