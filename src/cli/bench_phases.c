/* bench_phases.c: the phases of `tempr1 bench` on one group: vision, prefill, decode, logprob, update, step.
 *
 * The work is a training step's: the same network functions in the same order as the GRPO loop calls them. Pixels are
 * noise (the cost does not depend on content) and every response has exactly R tokens. */
#include "cli/bench.h"

#include "base/memory.h"
#include "base/progress.h"
#include "base/random.h"
#include "rl/optimiser.h"
#include "rl/policy.h"
#include "rl/rollout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PATCH_VALUES = 1176, MOST_REPEATS = 1000 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- small things ---- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *times, int64_t count)
{
    qsort(times, (size_t)count, sizeof *times, ascending);
    return count % 2 ? times[count / 2] : 0.5 * (times[count / 2 - 1] + times[count / 2]);
}

json_t *bench_summary(double *times, int64_t count)
{
    double middle = median(times, count);
    return json_pack("{s:f, s:f, s:f, s:I}", "median", middle, "min", times[0], "max", times[count - 1], "n",
                     (json_int_t)count);
}

void bench_reset_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (f) {
        fputs("5", f);
        fclose(f);
    }
}

double bench_peak_gib(void)
{
    char line[256];
    double gib = (double)tr_peak_rss_bytes() / (1u << 30);
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        long long kib;
        if (sscanf(line, "VmHWM: %lld", &kib) == 1) {
            gib = (double)kib / (1 << 20);
        }
    }
    if (f) {
        fclose(f);
    }
    return gib;
}

/* ---- inputs ---- */

static int32_t ordinary_id(const tr_model_config *c, uint64_t seed, uint32_t stream, uint32_t at)
{
    const int64_t special[] = {c->image_id, c->video_id, c->vision_start_id, c->vision_end_id};
    int64_t high = c->vocab < 30000 ? c->vocab : 30000, low = high > 200 ? 100 : 0;
    for (uint32_t again = 0;; again++) {
        int64_t id = low + (int64_t)tr_random_below(seed, stream, at, again, 0, (uint64_t)(high - low));
        bool taken = false;
        for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
            taken = taken || special[i] == id;
        }
        if (!taken || again == 1000) {
            return (int32_t)id;
        }
    }
}

static void fill_inputs(bench *b)
{
    const tr_model_config *c = &b->model->config;
    const bench_work *w = &b->work;
    uint64_t seed = (uint64_t)w->seed;
    int64_t visual = b->visual.rows / 4, before = w->text > 20 ? 15 : w->text / 2;
    for (int64_t i = 0; i < w->text + visual; i++) {
        bool video = i >= before && i < before + visual;
        b->ids[i] = video ? (int32_t)c->video_id : ordinary_id(c, seed, 1, (uint32_t)i);
    }
    b->ids[before - 1] = (int32_t)c->vision_start_id;
    b->ids[before + visual] = (int32_t)c->vision_end_id;
    for (int64_t i = 0; i < w->group * w->response; i++) {
        b->responses[i] = ordinary_id(c, seed, 2, (uint32_t)i);
    }
    for (int64_t i = 0; i < w->group; i++) {
        b->lengths[i] = w->response;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < b->visual.rows * PATCH_VALUES; i++) {
        b->patches[i] = (float)tr_random_normal(seed, 3, (uint32_t)i, 0, 0);
    }
}

tr_status bench_open(bench *b, tr_model *model, const bench_work *work, bool train, tr_error *err)
{
    const tr_model_config *c = &model->config;
    *b = (bench){.work = *work, .model = model, .err = err};
    const bench_work *w = &b->work;
    int64_t rows = (int64_t)w->grid[0] * w->grid[1] * w->grid[2], prompt = w->text + rows / 4;
    size_t tokens = (size_t)(w->group * w->response), features = (size_t)(rows / 4 * c->hidden);
    b->ids = tr_calloc((size_t)prompt, sizeof *b->ids);
    b->positions = tr_calloc((size_t)prompt, 3 * sizeof *b->positions);
    b->responses = tr_calloc(tokens, sizeof *b->responses);
    b->lengths = tr_calloc((size_t)w->group, sizeof *b->lengths);
    b->patches = tr_calloc_aligned((size_t)rows * PATCH_VALUES, sizeof(float));
    b->features = tr_calloc_aligned(features, sizeof(float));
    b->dfeatures = tr_calloc_aligned(train ? features : 1, sizeof(float));
    b->logp = tr_calloc(tokens, sizeof(float));
    b->ref = tr_calloc(tokens, sizeof(float));
    b->entropy = tr_calloc(tokens, sizeof(float));
    b->dlogp = tr_calloc(tokens, sizeof(float));
    b->logits = tr_calloc((size_t)c->vocab, sizeof(float));
    if (!b->ids || !b->positions || !b->responses || !b->lengths || !b->patches || !b->features || !b->dfeatures ||
        !b->logp || !b->ref || !b->entropy || !b->dlogp || !b->logits) {
        return tr_fail(err, TR_MEMORY, "bench", "out of memory for the inputs");
    }
    b->visual = (tr_visual){b->patches, rows, (const int32_t(*)[3])&b->work.grid, 1};
    fill_inputs(b);
    b->group = (tr_group){.prompt_ids = b->ids,
                          .positions = b->positions,
                          .prompt = prompt,
                          .features = b->features,
                          .visual_tokens = rows / 4,
                          .response_ids = b->responses,
                          .lengths = b->lengths,
                          .responses = w->group};
    b->limits = (tr_network_limits){.patches = rows,
                                    .largest_grid = (int64_t)w->grid[1] * w->grid[2],
                                    .prompt_tokens = prompt,
                                    .response_tokens = w->group * w->response,
                                    .responses = w->group,
                                    .targets = w->group * w->response,
                                    .train_text = train,
                                    .train_vision = train,
                                    .decode_rows = w->group,
                                    .decode_groups = 1,
                                    .decode_tokens = w->response,
                                    .recompute = w->recompute};
    tr_status status = tr_positions(c, b->ids, prompt, b->visual.grids, 1, (const double[]){1.0}, b->positions, NULL, err);
    return status ? status : tr_network_create(model, &b->limits, &b->network, err);
}

void bench_close(bench *b)
{
    tr_network_free(b->network);
    tr_model_free(b->model);
    free(b->ids);
    free(b->positions);
    free(b->responses);
    free(b->lengths);
    free(b->patches);
    free(b->features);
    free(b->dfeatures);
    free(b->logp);
    free(b->ref);
    free(b->entropy);
    free(b->dlogp);
    free(b->logits);
    *b = (bench){0};
}

/* ---- the phases ---- */

static tr_status encode(bench *b, bool keep)
{
    return tr_network_vision_forward(b->network, &b->visual, keep, b->features, b->err);
}

static tr_status prefill(bench *b)
{
    return tr_network_prefill(b->network, 0, &b->group, b->logits, b->err);
}

tr_status bench_first_forward(bench *b)
{
    tr_status status = encode(b, false);
    return status ? status : prefill(b);
}

static tr_status score(bench *b)
{
    tr_status status = encode(b, false);
    return status ? status
                  : tr_network_group_forward(b->network, &b->group, 1, false, b->logp, b->entropy, b->err);
}

static tr_status encode_only(bench *b)
{
    return encode(b, false);
}

/* Runs f once to warm up and `repeats` times on the clock. */
static tr_status timed(bench *b, tr_status (*f)(bench *), double *times)
{
    tr_status status = f(b);
    for (int64_t i = 0; i < b->work.repeats && !status; i++) {
        double start = now_s();
        status = f(b);
        times[i] = now_s() - start;
    }
    return status;
}

static tr_status simple_phase(bench *b, tr_status (*f)(bench *), json_t *out)
{
    double times[MOST_REPEATS];
    tr_status status = timed(b, f, times);
    if (!status) {
        json_object_set_new(out, "seconds", bench_summary(times, b->work.repeats));
    }
    return status;
}

static tr_status phase_vision(bench *b, json_t *out)
{
    return simple_phase(b, encode_only, out);
}

static tr_status phase_prefill(bench *b, json_t *out)
{
    tr_status status = encode(b, false);
    status = status ? status : simple_phase(b, prefill, out);
    if (!status) {
        double seconds = json_number_value(json_object_get(json_object_get(out, "seconds"), "median"));
        json_object_set_new(out, "tokens_per_s", json_real((double)b->group.prompt / seconds));
    }
    return status;
}

/* The G responses of the group, each of exactly R tokens: nothing ends them. */
static tr_status roll_out(bench *b, tr_rollout *rollout, uint32_t step, tr_rollout_group *group,
                          tr_rollout_times *times)
{
    tr_rollout_prompt prompt = {.prompt = b->group};
    tr_sampling sampling = {.temperature = 1, .top_p = 1, .max_tokens = b->work.response};
    prompt.prompt.responses = 0;
    return tr_rollout_run(rollout, &prompt, 1, b->work.group, &sampling, (uint64_t)b->work.seed, step, group, times, NULL,
                          NULL, b->err);
}

static tr_status phase_decode(bench *b, json_t *out)
{
    double prefills[MOST_REPEATS], decodes[MOST_REPEATS], steps[MOST_REPEATS];
    tr_rollout *rollout = NULL;
    tr_rollout_group group;
    tr_rollout_times times;
    tr_status status;
    int64_t n = b->work.repeats, each = b->work.response > 1 ? b->work.response - 1 : 1;
    TR_TRY(tr_rollout_create(b->network, &b->limits, b->model, 1, b->work.group, b->work.response, &rollout, b->err));
    TR_TRY(encode(b, false));
    for (int64_t i = -1; i < n; i++) { /* the first only warms up */
        times = (tr_rollout_times){0};
        TR_TRY(roll_out(b, rollout, (uint32_t)(i + 1), &group, &times));
        if (i >= 0) {
            prefills[i] = times.prefill_s;
            decodes[i] = times.decode_s;
            steps[i] = times.decode_s / (double)each;
        }
    }
    double step = median(steps, n);
    json_object_set_new(out, "shared",
                        json_pack("{s:o, s:o, s:o, s:f}", "prefill_seconds", bench_summary(prefills, n), "decode_seconds",
                                  bench_summary(decodes, n), "step_seconds", bench_summary(steps, n), "tokens_per_s",
                                  (double)b->work.group / step));
done:
    tr_rollout_free(rollout);
    return status;
}

static tr_status phase_logprob(bench *b, json_t *out)
{
    return simple_phase(b, score, out);
}

typedef struct update_times {
    double forward_s, backward_s, optimizer_s, norm;
} update_times;

/* Forward, loss (clip 0.2, k3 with 0.01), backward and AdamW of one group. ref and old are as given. */
static tr_status update(bench *b, tr_optimiser *optimiser, const float *old, update_times *t)
{
    tr_status status;
    double start = now_s(), *advantages = tr_calloc((size_t)b->work.group, sizeof *advantages);
    tr_policy policy = {.kl_form = TR_KL_K3, .clip_low = 0.2, .clip_high = 0.2, .kl = 0.01};
    tr_policy_sums sums = {0};
    int64_t n = b->work.group, tokens = n * b->work.response;
    if (!advantages) {
        return tr_fail(b->err, TR_MEMORY, "bench", "out of memory");
    }
    for (int64_t i = 0; i < n; i++) {
        advantages[i] = n > 1 ? -1 + 2 * (double)i / (double)(n - 1) : 1;
    }
    tr_model_zero_gradients(b->model);
    TR_TRY(encode(b, true));
    TR_TRY(tr_network_group_forward(b->network, &b->group, 1, true, b->logp, b->entropy, b->err));
    tr_policy_input input = {.responses = n,
                             .lengths = b->lengths,
                             .advantages = advantages,
                             .logp = b->logp,
                             .old = old ? old : b->logp,
                             .ref = b->ref,
                             .entropy = b->entropy,
                             .step_responses = n,
                             .step_tokens = tokens,
                             .constant_length = b->work.response};
    tr_policy_loss(&policy, &input, &sums, b->dlogp, NULL);
    double forward = now_s();
    TR_TRY(tr_network_group_backward(b->network, &b->group, b->dlogp, NULL, b->dfeatures, b->err));
    TR_TRY(tr_network_vision_backward(b->network, &b->visual, b->dfeatures, b->err));
    double backward = now_s();
    t->norm = tr_optimiser_norm(b->model);
    tr_optimiser_step(optimiser, b->model, 1e-6, t->norm);
    t->forward_s = forward - start;
    t->backward_s = backward - forward;
    t->optimizer_s = now_s() - backward;
done:
    free(advantages);
    return status;
}

static tr_optimiser new_optimiser(void)
{
    return (tr_optimiser){.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip_norm = 1};
}

static tr_status phase_update(bench *b, json_t *out)
{
    double all[MOST_REPEATS], forward[MOST_REPEATS], backward[MOST_REPEATS], optimizer[MOST_REPEATS];
    tr_optimiser optimiser = new_optimiser();
    update_times t = {0};
    tr_status status;
    int64_t n = b->work.repeats;
    TR_TRY(score(b));
    memcpy(b->ref, b->logp, (size_t)(b->work.group * b->work.response) * sizeof(float));
    for (int64_t i = -1; i < n; i++) {
        TR_TRY(update(b, &optimiser, NULL, &t));
        if (i >= 0) {
            forward[i] = t.forward_s;
            backward[i] = t.backward_s;
            optimizer[i] = t.optimizer_s;
            all[i] = t.forward_s + t.backward_s + t.optimizer_s;
        }
    }
    json_object_set_new(out, "seconds", bench_summary(all, n));
    json_object_set_new(out, "forward_seconds", bench_summary(forward, n));
    json_object_set_new(out, "backward_seconds", bench_summary(backward, n));
    json_object_set_new(out, "optimizer_seconds", json_real(median(optimizer, n)));
    json_object_set_new(out, "grad_norm", json_real(t.norm));
done:
    return status;
}

enum { PART_ROLLOUT, PART_PREFILL, PART_DECODE, PART_REFERENCE, PART_UPDATE, PART_OPTIMIZER, PARTS };
static const char *const part_names[PARTS] = {"rollout", "rollout_prefill", "rollout_decode", "reference", "update",
                                              "optimizer"};

/* One full GRPO step: rollout with vision and prefill, reference (a second model), update. There is no pass for old
 * log-probs: the sampled ones equal the recomputed ones; the largest difference goes to *gap. */
static tr_status one_step(bench *b, tr_rollout *rollout, tr_network *reference, tr_optimiser *optimiser, uint32_t number,
                          double parts[PARTS], double *gap)
{
    tr_rollout_group rolled;
    tr_rollout_times times = {0};
    update_times t = {0};
    tr_status status;
    double start = now_s();
    int64_t tokens = b->work.group * b->work.response;
    TR_TRY(encode(b, false));
    TR_TRY(roll_out(b, rollout, number, &rolled, &times));
    memcpy(b->responses, rolled.ids, (size_t)tokens * sizeof *b->responses);
    double sampled = now_s();
    TR_TRY(tr_network_vision_forward(reference, &b->visual, false, b->features, b->err));
    TR_TRY(tr_network_group_forward(reference, &b->group, 1, false, b->ref, NULL, b->err));
    double referred = now_s();
    TR_TRY(update(b, optimiser, rolled.logp, &t));
    parts[PART_ROLLOUT] = sampled - start;
    parts[PART_DECODE] = times.decode_s;
    parts[PART_PREFILL] = sampled - start - times.decode_s;
    parts[PART_REFERENCE] = referred - sampled;
    parts[PART_UPDATE] = now_s() - referred;
    parts[PART_OPTIMIZER] = t.optimizer_s;
    for (int64_t i = 0; i < tokens; i++) {
        double d = (double)rolled.logp[i] - (double)b->logp[i];
        *gap = d > *gap ? d : -d > *gap ? -d : *gap;
    }
done:
    return status;
}

static tr_status phase_step(bench *b, json_t *out)
{
    double all[MOST_REPEATS], parts[PARTS], collected[PARTS][MOST_REPEATS], gap = 0;
    tr_rollout *rollout = NULL;
    tr_model *frozen = NULL;
    tr_network *reference = NULL;
    tr_network_limits limits = b->limits;
    tr_optimiser optimiser = new_optimiser();
    tr_status status;
    int64_t n = b->work.repeats;
    limits.train_text = limits.train_vision = false;
    limits.decode_rows = limits.decode_groups = limits.decode_tokens = 0;
    TR_TRY(tr_rollout_create(b->network, &b->limits, b->model, 1, b->work.group, b->work.response, &rollout, b->err));
    TR_TRY(tr_model_clone_frozen(b->model, &frozen, b->err));
    TR_TRY(tr_network_create(frozen, &limits, &reference, b->err));
    for (int64_t i = 0; i < n; i++) {
        TR_TRY(one_step(b, rollout, reference, &optimiser, (uint32_t)i, parts, &gap));
        all[i] = parts[PART_ROLLOUT] + parts[PART_REFERENCE] + parts[PART_UPDATE];
        for (int p = 0; p < PARTS; p++) {
            collected[p][i] = parts[p];
        }
    }
    json_t *medians = json_object();
    for (int p = 0; p < PARTS; p++) {
        json_object_set_new(medians, part_names[p], json_real(median(collected[p], n)));
    }
    json_object_set_new(out, "seconds", bench_summary(all, n));
    json_object_set_new(out, "parts", medians);
    json_object_set_new(out, "logprob_gap", json_real(gap));
    json_object_set_new(out, "sequences_measured", json_integer(b->work.group));
done:
    tr_network_free(reference);
    tr_model_free(frozen);
    tr_rollout_free(rollout);
    return status;
}

const char *const bench_phases[] = {"vision", "prefill", "decode", "logprob", "update", "step", NULL};

tr_status bench_phase(bench *b, const char *name, json_t **out)
{
    static tr_status (*const phases[])(bench *, json_t *) = {phase_vision,  phase_prefill, phase_decode,
                                                             phase_logprob, phase_update,  phase_step};
    *out = json_object();
    for (int i = 0; bench_phases[i]; i++) {
        if (strcmp(name, bench_phases[i]) == 0) {
            bench_reset_peak();
            tr_status status = phases[i](b, *out);
            json_object_set_new(*out, "peak_rss_gib", json_real(bench_peak_gib()));
            return status;
        }
    }
    return tr_fail(b->err, TR_INVALID, "--phases", "there is no phase \"%s\"", name);
}
