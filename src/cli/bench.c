/* bench.c: `tempr1 bench`: what one group costs, phase by phase, on noise pixels with forced response lengths.
 *
 * The work and the key names are those of the peer's benchmark: vision, prefill, decode, logprob, update, and one
 * full GRPO step (rollout, reference, update). Weights change in update and step, so those come last. */
#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/products.h"

#include "base/file.h"
#include "base/thread.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const tr_command tr_command_bench;

static bool wanted(const tr_bench_request *r, const char *phase)
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

/* The tokens at `index` of the responses [first, first + count) and their log-probs, each from its row of logits,
 * or all from the prompt's (`shared`). On the CPU the tokens are the given ones, in every group. */
static void record(tr_bench_work *w, int64_t index, int64_t first, int64_t count, bool shared)
{
    const tr_model *model = w->model;
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = first + i, at = row * w->r->response + index;
        w->tokens[row] = w->responses[row % w->r->group * w->r->response + index];
        model->host_ops->logsoftmax_forward(&w->recorded[at], NULL, NULL,
                                            w->logits + (shared ? 0 : i * model->config.vocab), &w->tokens[row], 1,
                                            model->config.vocab, 1.0f);
    }
}

/* The same where logits stay on a GPU: tokens were sampled there, as in a rollout, and the first group's become the
 * responses that the passes behind compute. */
static void take_sampled(tr_bench_work *w, int64_t index, int64_t first, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = first + i;
        w->tokens[row] = w->sampled[i].id < 0 ? 0 : w->sampled[i].id;
        w->recorded[row * w->r->response + index] = w->sampled[i].logp;
        if (row < w->r->group) {
            w->responses[row * w->r->response + index] = w->tokens[row];
        }
    }
}

static void make_draws(tr_bench_work *w, int64_t index, int64_t first, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        w->draws[i] = (tr_draw){.seed = (uint64_t)w->r->seed,
                                .row = (uint32_t)((first + i) / w->r->group),
                                .response = (uint32_t)((first + i) % w->r->group),
                                .token = (uint32_t)index};
    }
}

/* A prompt's slot, and the first token of its responses. */
static tr_status prefill_slot(tr_bench_work *w, int64_t slot, const tr_sampling *sampling, tr_error *err)
{
    const tr_group prompt = tr_bench_prompt_of(w);
    const int64_t group = w->r->group, first = slot * group;
    const bool host = w->model->ops->memory->host;
    tr_status status;
    TR_TRY(tr_network_prefill(w->network, slot, &prompt, host ? w->logits : NULL, err));
    if (host) {
        record(w, 0, first, group, true);
    } else {
        make_draws(w, 0, first, group);
        TR_TRY(tr_network_sample(w->network, NULL, true, w->draws, group, sampling, w->sampled, err));
        take_sampled(w, 0, first, group);
    }
done:
    return status;
}

/* Appends the tokens at `index` of all responses and brings the next ones. */
static tr_status decode_step(tr_bench_work *w, int64_t index, int64_t rows, const tr_sampling *sampling,
                             tr_error *err)
{
    tr_status status;
    for (int64_t row = 0; row < rows; row++) {
        w->index[row] = index;
    }
    if (w->model->ops->memory->host) {
        TR_TRY(tr_network_decode(w->network, w->streams, w->slots, w->index, w->tokens, rows, w->logits, err));
        record(w, index + 1, 0, rows, false);
    } else {
        make_draws(w, index + 1, 0, rows);
        TR_TRY(tr_network_step(w->network, w->streams, w->slots, w->index, w->tokens, rows, NULL, w->draws,
                               sampling, w->sampled, err));
        take_sampled(w, index + 1, 0, rows);
    }
done:
    return status;
}

/* Prefill of every group's prompt, then every response one token at a time. */
static tr_status decode(tr_bench_work *w, int64_t groups, double *prefill_s, tr_bench_times *steps,
                        double *decode_s, tr_error *err)
{
    const tr_bench_request *r = w->r;
    const tr_sampling sampling = {
        .temperature = 1, .top_p = 1, .max_tokens = r->response, .banned = w->banned}; /* nothing ends it early */
    double start = tr_time_s();
    tr_status status = TR_OK;
    for (int64_t slot = 0; slot < groups; slot++) {
        TR_TRY(prefill_slot(w, slot, &sampling, err));
    }
    double after = tr_time_s();
    *prefill_s = after - start;
    for (int64_t i = 0; i + 1 < r->response; i++) {
        double before = tr_time_s();
        TR_TRY(decode_step(w, i, groups * r->group, &sampling, err));
        tr_bench_note(steps, tr_time_s() - before);
    }
    *decode_s = tr_time_s() - after;
done:
    return status;
}

typedef struct update_times {
    double vision, forward, backward, optimizer;
} update_times;

/* Forward, loss (clip 0.2, k3 KL 0.01), backward, clipping, AdamW. old and expected are log-probs. */
static tr_status update(tr_bench_work *w, bool with_vision, const float *old, const float *expected,
                        update_times *t, tr_error *err)
{
    int64_t tokens = w->r->group * w->r->response, each = w->r->response;
    double start = tr_time_s();
    tr_status status;
    t->vision = 0;
    if (with_vision) {
        TR_TRY(tr_bench_vision(w, w->network, !w->r->lora, err));
        t->vision = tr_time_s() - start;
    }
    TR_TRY(tr_network_group_forward(w->network, &w->group, 1.0f, true, w->logp, NULL, err));
    w->gap = 0;
    for (int64_t i = 0; i < tokens; i++) {
        const int64_t member = i / each;
        double advantage = w->r->group > 1 ? -1 + 2 * (double)member / (double)(w->r->group - 1) : 1;
        double from = old ? (double)old[i] : 0, to = expected ? (double)expected[i] : 0, x = (double)w->logp[i];
        double ratio = exp(x - from);
        bool clipped = advantage > 0 ? ratio > 1.2 : ratio < 0.8;
        double policy = clipped ? 0 : -ratio * advantage, kl = 0.01 * (1 - exp(to - x));
        w->dlogp[i] = (float)((policy + kl) / (double)tokens);
        w->gap = old && fabs(x - from) > w->gap ? fabs(x - from) : w->gap;
    }
    double middle = tr_time_s();
    t->forward = middle - start;
    if (w->r->lora) { /* nothing below the decoder trains */
        TR_TRY(tr_network_group_backward(w->network, &w->group, w->dlogp, NULL, NULL, err));
    } else {
        TR_TRY(tr_network_group_backward(w->network, &w->group, w->dlogp, NULL, w->dfeatures, err));
        TR_TRY(tr_network_vision_backward(w->network, &w->visual, w->dfeatures, err));
    }
    double end = tr_time_s();
    t->backward = end - middle;
    w->grad_norm = tr_optimiser_norm(w->model);
    tr_optimiser_step(&w->optimiser, w->model, 1e-6, w->grad_norm);
    tr_model_zero_gradients(w->model);
    TR_TRY(w->model->ops->memory->check(err)); /* a GPU is waited for */
    t->optimizer = tr_time_s() - end;
done:
    return status;
}

/* ---- phases ---- */

static tr_status phase_vision(tr_bench_work *w, json_t *out, tr_error *err)
{
    tr_bench_times t = {.count = 0};
    tr_status status = TR_OK;
    for (int64_t i = -1; i < w->r->repeats; i++) {
        double start = tr_time_s();
        TR_TRY(tr_bench_vision(w, w->network, false, err));
        if (i >= 0) {
            tr_bench_note(&t, tr_time_s() - start);
        }
    }
    json_object_set_new(out, "seconds", tr_bench_summary(&t));
done:
    return status;
}

static tr_status phase_prefill(tr_bench_work *w, json_t *out, tr_error *err)
{
    tr_bench_times t = {.count = 0}, whole = {.count = 0};
    tr_group prompt = tr_bench_prompt_of(w);
    tr_status status = TR_OK;
    for (int64_t i = -1; i < w->r->repeats; i++) {
        double start = tr_time_s();
        TR_TRY(tr_bench_vision(w, w->network, false, err));
        double middle = tr_time_s();
        TR_TRY(tr_network_prefill(w->network, 0, &prompt, w->logits, err));
        if (i >= 0) {
            tr_bench_note(&t, tr_time_s() - middle);
            tr_bench_note(&whole, tr_time_s() - start);
        }
    }
    json_object_set_new(out, "seconds", tr_bench_summary(&t));
    json_object_set_new(out, "with_vision_seconds", tr_bench_summary(&whole));
done:
    return status;
}

static tr_status phase_decode(tr_bench_work *w, json_t *out, tr_error *err)
{
    tr_bench_times prefill = {.count = 0}, all = {.count = 0}, steps = {.count = 0};
    tr_status status = TR_OK;
    TR_TRY(tr_bench_vision(w, w->network, false, err));
    int64_t rounds = w->r->repeats > 1 ? w->r->repeats - 1 : 1;
    for (int64_t i = 0; i < rounds; i++) {
        double before = 0, during = 0;
        TR_TRY(decode(w, w->r->groups, &before, &steps, &during, err));
        tr_bench_note(&prefill, before);
        tr_bench_note(&all, during);
    }
    json_object_set_new(
        out, "shared",
        json_pack("{s:o, s:o, s:o, s:f}", "prefill_seconds", tr_bench_summary(&prefill), "decode_seconds",
                  tr_bench_summary(&all), "step_seconds", tr_bench_summary(&steps), "tokens_per_s",
                  steps.count ? (double)(w->r->groups * w->r->group) / tr_bench_median(&steps) : 0.0));
done:
    return status;
}

static tr_status phase_logprob(tr_bench_work *w, json_t *out, tr_error *err)
{
    tr_bench_times t = {.count = 0};
    tr_status status = TR_OK;
    for (int64_t i = 0; i < w->r->repeats; i++) {
        double start = tr_time_s();
        TR_TRY(tr_bench_vision(w, w->network, false, err));
        TR_TRY(tr_network_group_forward(w->network, &w->group, 1.0f, false, w->logp, NULL, err));
        tr_bench_note(&t, tr_time_s() - start);
    }
    json_object_set_new(out, "seconds", tr_bench_summary(&t));
    json_object_set_new(out, "sequences_measured", json_integer(w->r->group));
done:
    return status;
}

static tr_status phase_update(tr_bench_work *w, json_t *out, tr_error *err)
{
    tr_bench_times whole = {.count = 0}, forward = {.count = 0}, backward = {.count = 0}, optimizer = {.count = 0};
    tr_status status = TR_OK;
    for (int64_t i = 0; i < w->r->repeats; i++) {
        update_times u;
        TR_TRY(update(w, true, NULL, NULL, &u, err));
        tr_bench_note(&forward, u.forward);
        tr_bench_note(&backward, u.backward);
        tr_bench_note(&optimizer, u.optimizer);
        tr_bench_note(&whole, u.forward + u.backward + u.optimizer);
    }
    json_object_set_new(out, "seconds", tr_bench_summary(&whole));
    json_object_set_new(out, "forward_seconds", tr_bench_summary(&forward));
    json_object_set_new(out, "backward_seconds", tr_bench_summary(&backward));
    json_object_set_new(out, "optimizer_seconds", tr_bench_summary(&optimizer));
    json_object_set_new(out, "grad_norm", json_real(w->grad_norm));
done:
    return status;
}

enum { WHOLE, ROLLOUT, VISION, PREFILL, DECODE, REFERENCE, UPDATE, FORWARD, BACKWARD, OPTIMIZER, PARTS };

/* Log-probs of the sampled responses by the reference: the model without its adapter, which has the same features;
 * else one with weights and features of its own. */
static tr_status reference(tr_bench_work *w, tr_error *err)
{
    tr_group group = w->group;
    tr_status status;
    if (w->r->lora) {
        tr_network_set_adapter(w->network, TR_ADAPTER_START);
        status = tr_network_group_forward(w->network, &group, 1.0f, false, w->expected, NULL, err);
        tr_network_set_adapter(w->network, TR_ADAPTER_ON);
        return status;
    }
    group.features = w->reference_features;
    TR_TRY(tr_network_vision_forward(w->reference_network, &w->visual, false, w->reference_features, err));
    TR_TRY(tr_network_group_forward(w->reference_network, &group, 1.0f, false, w->expected, NULL, err));
done:
    return status;
}

/* Rollout, reference, update. The vision features of the rollout serve the update: the weights are the same. */
static tr_status one_step(tr_bench_work *w, double part[PARTS], tr_bench_times *steps, tr_error *err)
{
    update_times u;
    tr_status status;
    double start = tr_time_s();
    TR_TRY(tr_bench_vision(w, w->network, !w->r->lora, err));
    part[VISION] = tr_time_s() - start;
    TR_TRY(decode(w, 1, &part[PREFILL], steps, &part[DECODE], err));
    part[ROLLOUT] = tr_time_s() - start;
    start = tr_time_s();
    TR_TRY(reference(w, err));
    part[REFERENCE] = tr_time_s() - start;
    TR_TRY(update(w, false, w->recorded, w->expected, &u, err));
    part[FORWARD] = u.forward;
    part[BACKWARD] = u.backward;
    part[OPTIMIZER] = u.optimizer;
    part[UPDATE] = u.forward + u.backward + u.optimizer;
    part[WHOLE] = part[ROLLOUT] + part[REFERENCE] + part[UPDATE];
done:
    return status;
}

static tr_status phase_step(tr_bench_work *w, json_t *out, tr_error *err)
{
    static const char *const names[PARTS] = {"seconds",         "rollout",   "rollout_vision", "rollout_prefill",
                                             "rollout_decode",  "reference", "update",         "update_forward",
                                             "update_backward", "optimizer"};
    static tr_bench_times t[PARTS], steps;
    tr_status status = TR_OK;
    memset(t, 0, sizeof t);
    steps.count = 0;
    for (int64_t i = 0; i < w->r->repeats; i++) {
        double part[PARTS] = {0};
        TR_TRY(one_step(w, part, &steps, err));
        for (int p = 0; p < PARTS; p++) {
            tr_bench_note(&t[p], part[p]);
        }
    }
    json_t *parts = json_object();
    for (int p = 1; p < PARTS; p++) {
        json_object_set_new(parts, names[p], json_real(tr_bench_median(&t[p])));
    }
    json_object_set_new(parts, "old_logprob", json_real(0)); /* the rollout's own numbers, bit for bit */
    json_object_set_new(out, "seconds", tr_bench_summary(&t[WHOLE]));
    json_object_set_new(out, "parts", parts);
    json_object_set_new(out, "sequences_measured", json_integer(w->r->group));
    json_object_set_new(out, "logprob_gap", json_real(w->gap));
    json_object_set_new(out, "grad_norm", json_real(w->grad_norm));
    if (w->r->digest) {
        json_object_set_new(out, "digest", tr_bench_digest(w));
    }
done:
    return status;
}

static const struct phase {
    const char *name;
    tr_status (*run)(tr_bench_work *, json_t *, tr_error *);
    bool train;
} phases[] = {{"vision", phase_vision, false},   {"prefill", phase_prefill, false}, {"decode", phase_decode, false},
              {"logprob", phase_logprob, false}, {"update", phase_update, true},    {"step", phase_step, true}};

/* ---- the whole ---- */

static tr_status make_networks(tr_bench_work *w, const struct phase *phase, json_t *out, tr_error *err)
{
    tr_network_limits limits = tr_bench_limits_of(w, phase->train, phase->run == phase_decode ? w->r->groups : 1),
                      forward = tr_bench_limits_of(w, false, 0);
    const bool refers = phase->run == phase_step && !w->r->lora; /* to another model than the one that trains */
    tr_status status;
    tr_bench_free_networks(w);
    if (refers) {
        if (!w->reference) {
            TR_TRY(tr_model_clone_frozen(w->model, w->r->offload, &w->reference, err));
        }
        TR_TRY(tr_network_plan(w->reference, &forward, &limits.lends, err));
    }
    TR_TRY(tr_network_create(w->model, &limits, &w->network, err));
    if (refers) {
        TR_TRY(tr_network_create_within(w->reference, &forward, w->network, &w->reference_network, err));
    }
    const bool apart = refers && !w->model->ops->memory->host; /* a GPU's reference works in memory of its own */
    const double planned = tr_bench_planned_bytes(w, &limits, apart ? &forward : NULL);
    json_object_set_new(out, "planned_gib", planned > 0 ? json_real(planned / 0x1p30) : json_null());
done:
    return status;
}

static tr_status bench(const tr_bench_request *r, json_t *out, tr_error *err)
{
    tr_bench_work w = {
        .r = r, .optimiser = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip_norm = 1}};
    json_t *results = json_object();
    bool trains = false;
    double start = tr_time_s();
    tr_status status;
    TR_TRY(tr_bench_load(&w, false, err));
    json_object_set_new(out, "load_seconds", json_real(tr_time_s() - start));
    json_object_set_new(out, "isa", json_string(w.model->ops->name));
    const bool away = !w.model->ops->memory->host;
    if (away) {
        json_object_set_new(out, "ceiling", tr_bench_measure_ceiling(&w));
        json_object_set_new(out, "products", tr_cli_products());
    }
    TR_TRY(tr_bench_make_inputs(&w, err));
    tr_bench_operations operations;
    tr_bench_count_operations(&w, &operations);
    json_object_set_new(out, "flop", tr_bench_operations_json(&w, &operations));
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        const struct phase *phase = &phases[i];
        if (!wanted(r, phase->name)) {
            continue;
        }
        if (phase->train && !trains) { /* masters, gradients and moments from here on */
            tr_bench_free_networks(&w);
            TR_TRY(tr_bench_load(&w, true, err));
            trains = true;
        }
        tr_bench_reset_peak();
        json_t *result = json_object();
        json_object_set_new(results, phase->name, result);
        TR_TRY(make_networks(&w, phase, result, err));
        TR_TRY(phase->run(&w, result, err));
        json_object_set_new(result, "peak_rss_gib", json_real(tr_bench_peak_gib()));
        json_t *device = away ? tr_bench_device_gib() : NULL; /* all that the phase took is still there */
        if (device) {
            json_object_set_new(result, "peak_gpu_gib", device);
        }
        tr_bench_add_rates(&w, phase->name, result);
        tr_bench_say(phase->name, result);
    }
    json_object_set(out, "phases", results);
done:
    json_decref(results);
    tr_bench_free(&w);
    return status;
}

/* ---- command line ---- */

static int check(tr_bench_request *r)
{
    int64_t grid[3];
    if (!tr_cli_grid(r->grid, 4096, grid)) {
        return tr_cli_usage(&tr_command_bench, "--grid %s: expected T,H,W in patches, H and W even", r->grid);
    }
    for (int i = 0; i < 3; i++) {
        r->thw[0][i] = (int32_t)grid[i];
    }
    if (strcmp(r->dtype, "f32") != 0 && strcmp(r->dtype, "bf16") != 0) {
        return tr_cli_usage(&tr_command_bench, "--dtype %s: expected f32 or bf16", r->dtype);
    }
    if (r->lora && r->cold) {
        return tr_cli_usage(&tr_command_bench, "--lora and --cold: a cold start has no adapters; leave one out");
    }
    if (strcmp(r->recompute, "none") != 0 && strcmp(r->recompute, "layer") != 0) {
        return tr_cli_usage(&tr_command_bench, "--recompute %s: expected none or layer", r->recompute);
    }
    r->kind = !strcmp(r->dtype, "bf16") ? TR_BF16 : TR_F32;
    return -1;
}

static void describe(const tr_bench_request *r, json_t *out)
{
    json_object_set_new(out, "dtype", json_string(r->dtype));
    json_object_set_new(out, "grid", json_pack("[i, i, i]", r->thw[0][0], r->thw[0][1], r->thw[0][2]));
    json_object_set_new(out, "text", json_integer(r->text));
    json_object_set_new(out, "G", json_integer(r->group));
    json_object_set_new(out, "groups", json_integer(r->groups));
    json_object_set_new(out, "R", json_integer(r->response));
    json_object_set_new(out, "seed", json_integer(r->seed));
    json_object_set_new(out, "lora", json_integer(r->lora));
    json_object_set_new(out, "recompute", json_string(r->recompute));
    json_object_set_new(out, "offload", json_boolean(r->offload != NULL));
    json_object_set_new(out, "threads", json_integer(tr_threads_count()));
}

static int run(int argc, char **argv)
{
    tr_bench_request r = {.grid = "16,16,24",
                          .dtype = "f32",
                          .phases = "vision,prefill,decode,logprob,update,step",
                          .recompute = "none",
                          .text = 64,
                          .group = 8,
                          .groups = 1,
                          .response = 64,
                          .repeats = 3,
                          .seed = 1};
    const tr_option options[] = {
        {"model", TR_OPTION_TEXT, &r.model, "DIR", "The checkpoint; its weights do not matter, its shape does.", 0,
         0, true},
        {"grid", TR_OPTION_TEXT, &r.grid, "T,H,W", "The video in patches (default 16,16,24).", 0, 0, false},
        {"text", TR_OPTION_INT, &r.text, "N", "Text tokens of the prompt (default 64).", 4, 1 << 20, false},
        {"group", TR_OPTION_INT, &r.group, "G", "Responses (default 8).", 1, 4096, false},
        {"groups", TR_OPTION_INT, &r.groups, "N",
         "Groups that the decode phase decodes together, each with a prompt of its own (default 1).", 1, 1024,
         false},
        {"response", TR_OPTION_INT, &r.response, "R", "Tokens of each response (default 64).", 1, 1 << 20, false},
        {"dtype", TR_OPTION_TEXT, &r.dtype, "f32|bf16", "Of the weights (default f32).", 0, 0, false},
        {"repeats", TR_OPTION_INT, &r.repeats, "N", "How often each phase is measured (default 3).", 1, 1000,
         false},
        {"seed", TR_OPTION_INT, &r.seed, "N", "Of pixels and tokens (default 1).", 0, 1e15, false},
        {"phases", TR_OPTION_TEXT, &r.phases, "LIST",
         "Comma list of vision, prefill, decode, logprob, update, step (default all).", 0, 0, false},
        {"recompute", TR_OPTION_TEXT, &r.recompute, "none|layer",
         "Activations in backward: kept, or computed again layer by layer (default none).", 0, 0, false},
        {"lora", TR_OPTION_INT, &r.lora, "RANK",
         "Trains adapters of this rank on every linear layer of the decoder, as train.lora does by default, and "
         "nothing else: every phase computes with them, the step's reference is the model without them (default 0: "
         "whole weights).",
         0, TR_LORA_RANK_MAX, false},
        {"offload", TR_OPTION_TEXT, &r.offload, "DIR",
         "Keeps moments and reference weights in files of this folder instead of memory (train.offload).", 0, 0,
         false},
        {"device", TR_OPTION_TEXT, &r.device, "auto|cpu|cuda:N", TR_DEVICE_HELP, 0, 0, false},
        {"isa", TR_OPTION_TEXT, &r.isa, "NAME", TR_ISA_HELP, 0, 0, false},
        {"digest", TR_OPTION_FLAG, &r.digest, NULL,
         "Adds phases.step.digest, a hash of log-probs, gradient norm and all weights after the steps: equal runs "
         "give equal digests.",
         0, 0, false},
        {"json", TR_OPTION_FLAG, &r.json, NULL, "Accepted for scripts: the result on stdout is JSON in any case.",
         0, 0, false},
        {"cold", TR_OPTION_FLAG, &r.cold, NULL,
         "Measures process start to model loaded and to the first forward instead.", 0, 0, false},
        {"cold-child", TR_OPTION_INT, &r.child, "MICROSECONDS",
         "Used by --cold for its child processes: when the parent started it.", 0, 9e15, false},
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
    tr_status status = r.child  ? tr_bench_cold_child(&r, out, &err)
                       : r.cold ? tr_bench_cold(&r, out, &err)
                                : bench(&r, out, &err);
    status = status ? status : tr_cli_print_json(out, &err);
    json_decref(out);
    return status ? tr_cli_fail(&tr_command_bench, &err) : TR_EXIT_DONE;
}

const tr_command tr_command_bench = {
    .name = "bench",
    .arguments = "--model DIR [--grid T,H,W] [--text N] [--group G] [--response R] [options]",
    .summary = "times one group: vision, prefill, decode, logprob, update, a full step",
    .text =
        "Noise pixels, random tokens (on a GPU sampled there, as in a rollout) and forced response lengths; prints "
        "one JSON object with the peer's key names "
        "(phases.vision.seconds.median, phases.decode.shared.step_seconds.median, phases.step.parts, ...). "
        "phases.step.logprob_gap is the largest difference between the log-probs of decoding and of the training "
        "forward: 0. gflops counts what this program computes for the packed group, peer_gflops what the peer's "
        "form "
        "(every response a sequence of its own) computes for the same result; on a GPU ceiling holds what a large "
        "bf16 product and a large copy reach in this process, and ceiling_share, bandwidth_share the parts of it. "
        "planned_gib and peak_gpu_gib or peak_rss_gib are memory by plan and in use. A readable line per phase "
        "goes "
        "to stderr.\n\n"
        "Examples:\n"
        "  tempr1 bench --model xs --grid 16,16,24 --text 64 --group 8 --response 64\n"
        "  tempr1 bench --model 7b --dtype bf16 --device cuda --lora 16 --recompute layer",
    .run = run};
