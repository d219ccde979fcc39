/* model_plan.c: `tempr1 model plan`: the memory of a run, part by part, and a rough time, before anything is
 * loaded.
 *
 * Weights follow from the checkpoint's header and the configuration, working memory from the same plan that the
 * network is made by. Times are arithmetic divided by the rate of this machine's own kernels, measured for a
 * moment. */
#include "cli/cli.h"
#include "cli/plan_device.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"
#include "model/away.h"
#include "model/checkpoint.h"
#include "model/network.h"
#include "model/windows.h"
#include "rl/rollout.h"
#include "train/config.h"
#include "train/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const tr_command tr_command_model_plan;

/* What is asked: one stage of a training configuration, or one question to a model. */
typedef struct work {
    const char *model_dir;
    const tr_config *config; /* NULL: one question */
    tr_plan_rows rows;       /* of the configuration */
    bool given_grid;         /* --grid: this shape and no other */
    tr_model_options options;
    bool reference, reference_offloaded, trains_vision, grpo, answers_only, snapshot;
    int64_t grid[3], text, group, response, prompts, updates, rounds /* of dynamic sampling */;
    tr_recompute recompute;
    tr_lora_settings lora; /* rank 0: none */
} work;

typedef struct plan {
    tr_model_config config;
    uint64_t weights, state, snapshot, reference, network, reference_network, total, machine; /* bytes */
    tr_plan_bytes step;                                                                       /* beside these */
    tr_network_limits limits;
    uint64_t pinned;                              /* bytes of the host that a GPU's run locks; not in total */
    int64_t adapted;                              /* linear layers with an adapter */
    uint64_t adapter;                             /* its parameters, padding included */
    bool self_reference;                          /* the model with its adapter off serves as the reference */
    double vision, prefill, decode, update, pass; /* operations */
    double decode_bytes;                          /* read from memory by all decode steps of one prompt's group */
    double rate, bandwidth;
    double rollout_s, reference_s, update_s, step_s;
} plan;

/* A and B: f32, with the state of training, and their first values where the run goes on with an adapter. */
static tr_status plan_adapter(const work *w, const tr_params *params, plan *p, tr_error *err)
{
    const bool there = tr_lora_is_adapter(w->model_dir);
    tr_adapter file = {0};
    tr_status status = TR_OK;
    if (w->lora.rank) {
        uint64_t records = 0;
        TR_TRY(tr_lora_plan(params, &w->lora, &p->adapted, &p->adapter, &records, err));
        const uint64_t moments = w->options.moments8 ? records : p->adapter * 8;
        p->state += p->adapter * (there ? 12 : 8) + moments;
        p->snapshot += w->snapshot ? p->adapter * 4 + moments : 0;
        p->reference += w->reference && !p->self_reference ? p->adapter * 4 : 0;
    } else if (there && w->answers_only) {
        TR_TRY(tr_adapter_open(&file, w->model_dir, err));
        TR_TRY(tr_adapter_match(&file, params, err));
        p->adapted = file.lora.matrices;
        p->adapter = file.parameters;
        p->weights += p->adapter * 4;
    }
done:
    tr_adapter_close(&file);
    return status;
}

/* What a GPU's run keeps in the host's memory (train.offload), and the buffers that it passes through. */
static tr_status plan_away(const work *w, const tr_params *params, plan *p, tr_error *err)
{
    bool *trains = tr_calloc((size_t)params->count, sizeof *trains);
    uint64_t *copies = tr_calloc((size_t)params->count, sizeof *copies), device, host, all = 0;
    tr_status status = TR_OK;
    if (!trains || !copies) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    for (int i = 0; i < params->count; i++) {
        const tr_param *param = &params->items[i];
        uint64_t compute, state;
        tr_param_plan(param, &w->options, &compute, &state);
        trains[i] = state > 0;
        copies[i] = state ? (uint64_t)param->elements * (param->matrix ? tr_dtype_size(w->options.dtype) : 4) : 0;
        all += copies[i];
    }
    if (w->options.moments_folder) {
        tr_away_plan_moments(params, trains, &device, &host);
        p->state += device;
        p->pinned += host;
    }
    if (w->reference && w->reference_offloaded && !p->self_reference) {
        tr_away_plan_layers(params, copies, &device, &host);
        p->reference += (all > host ? all - host : 0) + device;
        p->pinned += host;
    }
done:
    free(trains);
    free(copies);
    return status;
}

static tr_status plan_weights(const work *w, plan *p, tr_error *err)
{
    tr_params params = {0};
    tr_safetensors tensors = {0};
    const tr_safetensor **found = NULL;
    char *base = NULL;
    tr_status status;
    const bool gpu = w->config && tr_config_on_gpu(w->config);
    p->self_reference = w->reference && w->lora.rank && !w->trains_vision;
    TR_TRY(tr_lora_base(w->model_dir, &base, err));
    TR_TRY(tr_checkpoint_open(base, &p->config, &params, &tensors, &found, err));
    for (int i = 0; i < params.count; i++) {
        tr_param *param = &params.items[i];
        uint64_t compute, state;
        param->stored = found[i]->dtype;
        tr_param_plan(param, &w->options, &compute, &state);
        p->weights += compute;
        p->state += state;
        p->snapshot += w->snapshot && state ? state - (uint64_t)param->elements * 4 : 0; /* all but the gradients */
        /* the reference is a copy of the compute values that train; the host holds as bf16 what came from it */
        bool half = param->matrix && (w->options.dtype == TR_BF16 || (!gpu && param->stored != TR_F32));
        bool copied = w->reference && state && !w->reference_offloaded;
        p->reference += copied ? (uint64_t)param->elements * (half ? 2 : 4) : 0;
    }
    TR_TRY(plan_adapter(w, &params, p, err));
    if (gpu) {
        TR_TRY(plan_away(w, &params, p, err));
    }
done:
    free(base);
    free(found);
    tr_safetensors_close(&tensors);
    tr_params_free(&params);
    return status;
}

/* The largest shapes, before the decode batch is fitted to the memory. For one question nothing is kept for a
 * backward. */
static void limits_of(const work *w, const plan *p, tr_network_limits *limits)
{
    const int64_t patches = w->grid[0] * w->grid[1] * w->grid[2];
    if (w->config) {
        tr_plan_limits(w->config, &w->rows, limits);
        if (w->given_grid) {
            limits->windows = tr_windows_count(&p->config.vision, w->grid[0], w->grid[1], w->grid[2]);
        }
        return;
    }
    *limits =
        (tr_network_limits){.patches = patches,
                            .largest_grid = w->grid[1] * w->grid[2],
                            .windows = tr_windows_count(&p->config.vision, w->grid[0], w->grid[1], w->grid[2]),
                            .prompt_tokens = patches / 4 + w->text,
                            .responses = w->group,
                            .decode_groups = 1,
                            .decode_rows = w->group,
                            .decode_tokens = w->response,
                            .recompute = w->recompute};
}

static tr_status plan_question_memory(const work *w, plan *p, tr_error *err)
{
    const int64_t patches = w->grid[0] * w->grid[1] * w->grid[2];
    limits_of(w, p, &p->limits);
    p->step.features = (uint64_t)(patches / 4) * (uint64_t)p->config.hidden * sizeof(float);
    p->step.responses = tr_rollout_bytes(&p->limits, p->config.vocab, 1, w->group, w->response);
    return tr_network_plan_config(&p->config, &p->limits, &p->network, err);
}

/* As setup.c plans a run, for the rows' own limits or bounds of them. */
static tr_status plan_training_memory(const work *w, plan *p, tr_error *err)
{
    tr_status status;
    limits_of(w, p, &p->limits);
    const bool own = w->reference && !p->self_reference;
    if (own) {
        TR_TRY(tr_plan_lend(w->config, NULL, &p->config, &p->limits, err));
        p->reference_network = tr_config_on_gpu(w->config) ? p->limits.lends : 0;
    }
    TR_TRY(tr_plan_fit(w->config, NULL, &p->config, p->machine / 3 * 2, &p->limits, &p->network, err));
    tr_plan_step(w->config, &p->limits, &p->config, w->reference, own, p->machine, &p->step);
done:
    return status;
}

static tr_status plan_working(const work *w, plan *p, tr_error *err)
{
    tr_status status = w->config ? plan_training_memory(w, p, err) : plan_question_memory(w, p, err);
    const tr_plan_bytes *s = &p->step;
    p->total = p->weights + p->state + p->snapshot + p->reference + p->network + p->reference_network +
               s->responses + s->features + s->reference_features + s->evaluation + s->pixels + s->saving +
               s->waiting;
    return status;
}

/* Multiply-adds counted as two, of one prompt's group. */
static void count_operations(const work *w, plan *p)
{
    const tr_model_config *c = &p->config;
    const tr_vision_config *v = &c->vision;
    const double patches = (double)(w->grid[0] * w->grid[1] * w->grid[2]), area = (double)(w->grid[1] * w->grid[2]);
    const double d = (double)v->hidden, i = (double)v->intermediate, depth = (double)v->depth;
    const double full = (double)v->full_block_count, h = (double)c->hidden, layers = (double)c->layers;
    const int64_t side = v->window / v->patch;
    const double whole = (double)(side * side), window = whole < area ? whole : area;
    p->vision = patches * 2 * 1176 * d + patches * depth * 2 * (4 * d * d + 3 * d * i) +
                4 * d * patches * ((depth - full) * window + full * area) +
                patches / 4 * 2 * (16 * d * d + 4 * d * h);
    const double kv = (double)(c->kv_heads * c->head_dim), head = 2 * h * (double)c->vocab;
    const double token = layers * 2 * (2 * h * h + 2 * h * kv + 3 * h * (double)c->intermediate),
                 pair = layers * 4 * h;
    const double prompt = patches / 4 + (double)w->text, g = (double)w->group, r = (double)w->response;
    const double responses = g * (r * (token + head) + pair * (r * prompt + r * r / 2));
    p->prefill = prompt * token + pair * prompt * prompt / 2 + head;
    p->decode = responses;
    p->pass = p->prefill + responses;
    /* forward, again when recomputing, gradients of inputs, and of weights where they train */
    p->update = ((w->recompute == TR_RECOMPUTE_LAYER ? 3 : 2) + !w->options.freeze_text) * p->pass +
                (w->trains_vision ? 3 : 0) * p->vision;
    const double element = w->options.dtype == TR_BF16 ? 2 : 4;
    p->decode_bytes = r * (element * (token + head) / 2 + layers * 8 * kv * (prompt + g * r / 2));
}

/* Operations per second of a large product and bytes per second of reading weights, a tenth of a second each. */
static tr_status measure(plan *p, tr_error *err)
{
    enum { SIDE = 1024, ROWS = 256, TALL = 16384 };
    const tr_ops *ops;
    tr_matrix w = {.dtype = TR_F32, .out = TALL, .in = SIDE};
    float *x = tr_calloc_aligned((size_t)ROWS * SIDE, sizeof *x),
          *y = tr_calloc_aligned((size_t)ROWS * SIDE, sizeof *y);
    tr_status status = tr_ops_cpu(NULL, &ops, err);
    w.panels = tr_calloc_aligned((size_t)TALL * SIDE, sizeof(float));
    if (!status && (!x || !y || !w.panels)) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory for the measurement of this machine's speed");
    }
    for (int kind = 0; !status && kind < 2; kind++) {
        w.out = kind ? TALL : SIDE;
        const int64_t rows = kind ? 1 : ROWS;
        int rounds = 0;
        ops->linear_forward(y, x, &w, NULL, rows);
        double start = tr_time_s(), passed;
        do {
            ops->linear_forward(y, x, &w, NULL, rows);
            rounds++;
        } while ((passed = tr_time_s() - start) < 0.1);
        if (kind) {
            p->bandwidth = rounds * (double)TALL * SIDE * sizeof(float) / passed;
        } else {
            p->rate = rounds * 2.0 * ROWS * SIDE * SIDE / passed;
        }
    }
    free(x);
    free(y);
    free(w.panels);
    return status;
}

static void estimate(const work *w, plan *p)
{
    const double decode_memory = p->decode_bytes / p->bandwidth, decode_work = p->decode / p->rate;
    const double decode = decode_memory > decode_work ? decode_memory : decode_work;
    const double answers = (p->vision + p->prefill) / p->rate + decode, prompts = (double)w->prompts;
    p->rollout_s = w->grpo || w->answers_only ? prompts * answers : 0;
    p->reference_s = w->reference ? prompts * (p->pass + (w->trains_vision ? p->vision : 0)) / p->rate : 0;
    p->update_s = w->answers_only ? 0 : prompts * (double)w->updates * p->update / p->rate;
    if (!w->grpo && !w->answers_only && !w->trains_vision) {
        p->update_s +=
            prompts * p->vision / p->rate; /* SFT on a frozen tower still needs its features, once a clip */
    }
    p->step_s = p->rollout_s + p->reference_s + p->update_s;
}

static tr_status make_plan(const work *w, plan *p, tr_error *err)
{
    tr_status status;
    memset(p, 0, sizeof *p);
    const uint64_t machine = tr_plan_machine_bytes();
    p->machine = machine == UINT64_MAX ? 0 : machine; /* not known */
    TR_TRY(plan_weights(w, p, err));
    TR_TRY(plan_working(w, p, err));
    p->pinned += tr_network_pinned_plan(&p->config, &p->limits);
    count_operations(w, p);
    TR_TRY(measure(p, err));
    estimate(w, p);
done:
    return status;
}

static json_t *to_json(const work *w, const plan *p)
{
    json_t *bytes = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "weights",
        (json_int_t)p->weights, "masters_gradients_moments", (json_int_t)p->state, "checkpoint_copy",
        (json_int_t)p->snapshot, "reference_weights", (json_int_t)p->reference, "working", (json_int_t)p->network,
        "reference_working", (json_int_t)p->reference_network, "responses", (json_int_t)p->step.responses,
        "features", (json_int_t)p->step.features + (json_int_t)p->step.reference_features, "evaluation",
        (json_int_t)p->step.evaluation, "checkpoint_writer", (json_int_t)p->step.saving, "clips",
        (json_int_t)p->step.pixels + (json_int_t)p->step.waiting, "features_of_further_clips",
        (json_int_t)p->step.kept + (json_int_t)p->step.reference_kept, "total", (json_int_t)p->total, "machine",
        (json_int_t)p->machine, "page_locked", (json_int_t)p->pinned);
    json_t *seconds = json_pack("{s:f, s:f, s:f, s:f}", "rollout", p->rollout_s, "reference", p->reference_s,
                                "update", p->update_s, "step", p->step_s);
    return json_pack("{s:s, s:o, s:o, s:[I, I, I], s:I, s:I, s:I, s:I, s:f, s:f, s:b, s:{s:I, s:I}}", "model",
                     w->model_dir, "bytes", bytes, "seconds", seconds, "grid", (json_int_t)w->grid[0],
                     (json_int_t)w->grid[1], (json_int_t)w->grid[2], "text_tokens", (json_int_t)w->text, "group",
                     (json_int_t)w->group, "response_tokens", (json_int_t)w->response, "prompts",
                     (json_int_t)w->prompts, "gflops", p->rate * 1e-9, "gigabytes_per_second", p->bandwidth * 1e-9,
                     "fits", !p->machine || p->total < p->machine, "adapter", "layers", (json_int_t)p->adapted,
                     "parameters", (json_int_t)p->adapter);
}

static void print_text(const work *w, const plan *p)
{
    const double gib = 1u << 30;
    const struct {
        const char *name;
        uint64_t bytes;
    } rows[] = {{"weights for computing", p->weights},
                {"masters, gradients, moments", p->state},
                {"copy for checkpoints", p->snapshot},
                {"writing a checkpoint", p->step.saving},
                {"reference weights", p->reference},
                {"working memory", p->network},
                {"working memory, reference", p->reference_network},
                {"responses and log-probs", p->step.responses},
                {"visual features of a step", p->step.features + p->step.reference_features},
                {"evaluation", p->step.evaluation},
                {"clips and their pixels", p->step.pixels + p->step.waiting}};
    if (p->adapted) {
        printf("adapter on %lld linear layers, %.1f million parameters%s\n", (long long)p->adapted,
               (double)p->adapter * 1e-6, p->self_reference ? "; the reference is the model with it off" : "");
    }
    printf("%s: grid %lld,%lld,%lld, %lld text tokens, %lld response%s of %lld tokens, %lld prompt%s a step\n",
           w->model_dir, (long long)w->grid[0], (long long)w->grid[1], (long long)w->grid[2], (long long)w->text,
           (long long)w->group, w->group == 1 ? "" : "s", (long long)w->response, (long long)w->prompts,
           w->prompts == 1 ? "" : "s");
    if (w->config && w->rows.pairs > 1) {
        printf("up to %lld rows of one clip are packed: %lld tokens behind what their prompts share\n",
               (long long)w->rows.pairs, (long long)p->limits.response_tokens);
    } else if (w->config && w->grpo && w->config->grpo.off_policy) {
        printf("one response of a group is its row's target, of up to %lld tokens\n",
               (long long)w->rows.limits.target_tokens);
    }
    if (p->limits.decode_groups > 1) {
        printf("%lld prompts share a decode batch\n", (long long)p->limits.decode_groups);
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].bytes) {
            printf("  %-28s %9.3f GiB\n", rows[i].name, (double)rows[i].bytes / gib);
        }
    }
    printf("  %-28s %9.3f GiB of the machine's %.1f GiB%s\n", "total", (double)p->total / gib,
           (double)p->machine / gib, p->machine && p->total >= p->machine ? ": DOES NOT FIT" : "");
    if (p->pinned) {
        printf("  %-28s %9.3f GiB of the host's memory, page-locked, beside the GPU's\n", "kept for the GPU",
               (double)p->pinned / gib);
    }
    if (p->step.kept + p->step.reference_kept && p->total < p->machine) {
        printf("  and up to %.3f GiB for the visual features of further clips, which later epochs use again\n",
               (double)(p->step.kept + p->step.reference_kept) / gib);
    }
    if (p->machine && p->total >= p->machine && p->total - p->snapshot < p->machine) {
        printf("  it fits with train.save_mode=wait, which needs no copy for checkpoints\n");
    }
    printf(
        "  at most about %.3g s a %s (rollout %.3g, reference %.3g, update %.3g) at %.0f GFLOP/s and %.0f GB/s, as "
        "measured now with %d threads\n",
        p->step_s, w->answers_only ? "question" : "step", p->rollout_s, p->reference_s, p->update_s, p->rate * 1e-9,
        p->bandwidth * 1e-9, tr_threads_count());
    if (w->rounds) {
        printf("  dynamic sampling may add up to %lld rollouts of %.3g s to a step\n", (long long)w->rounds,
               p->rollout_s);
    }
}

/* The largest visual grid that the video settings allow: the pixel budget over 28 x 28 pixels and two frames a
 * merged token, but never less than min_pixels for each of max_frames frames; as square as it gets. */
static void largest_grid(const tr_config *c, int64_t grid[3])
{
    int64_t steps = c->video.max_frames / 2 > 0 ? c->video.max_frames / 2 : 1;
    int64_t tokens = c->video.total_pixels / 784,
            least = c->video.min_pixels / 784 > 0 ? c->video.min_pixels / 784 : 1;
    int64_t area = tokens / steps > least ? tokens / steps : least, side = 1;
    while ((side + 1) * (side + 1) <= area) {
        side++;
    }
    grid[0] = steps;
    grid[1] = 2 * side;
    grid[2] = 2 * (area / side);
}

static void from_config(const tr_config *c, work *w)
{
    const unsigned freeze = c->train.freeze;
    w->config = c;
    w->model_dir = c->model;
    w->grpo = c->algorithm == TR_ALGORITHM_GRPO;
    w->options = (tr_model_options){.dtype = (tr_dtype)c->train.dtype,
                                    .train = true,
                                    .moments8 = c->optim.moments == TR_MOMENTS_8BIT,
                                    .moments_folder = c->train.offload & TR_OFFLOAD_MOMENTS ? c->out : NULL,
                                    .freeze_text = freeze & TR_FREEZE_TEXT,
                                    .freeze_vision = freeze & TR_FREEZE_VISION,
                                    .freeze_merger = freeze & TR_FREEZE_MERGER};
    w->trains_vision = tr_plan_trains_vision(c);
    w->reference = w->grpo && c->grpo.kl > 0;
    w->reference_offloaded = c->train.offload & TR_OFFLOAD_REFERENCE;
    w->snapshot = c->train.save_mode == TR_SAVE_BESIDE && !(c->train.offload & TR_OFFLOAD_MOMENTS);
    w->group = w->grpo ? c->rollout.group : 1;
    w->response = c->rollout.max_tokens;
    w->prompts = c->grpo.prompts_per_step;
    w->updates = w->grpo ? c->grpo.updates_per_rollout : 1;
    w->rounds = w->grpo ? c->grpo.dynamic_rounds : 0;
    w->recompute = (tr_recompute)c->train.recompute;
    w->lora = (tr_lora_settings){
        .rank = c->train.lora.rank, .alpha = c->train.lora.alpha, .targets = c->train.lora.targets};
    largest_grid(c, w->grid);
}

/* Plans one piece of work and prints it. */
static tr_status show(const work *w, bool json, tr_error *err)
{
    plan p;
    tr_status status = make_plan(w, &p, err);
    if (!status && json) {
        json_t *object = to_json(w, &p);
        status = tr_cli_print_json(object, err);
        json_decref(object);
    } else if (!status) {
        print_text(w, &p);
    }
    return status;
}

typedef struct settings {
    const char *device, *memory, *preset; /* device: not NULL for a GPU */
    const char *model, *dtype, *grid;
    int64_t text, response, group, target;
    bool json, rows;
} settings;

/* A GPU's plan: the same shapes; times are not known. */
static tr_status show_device(const settings *s, const work *w, const tr_config *config, tr_error *err)
{
    tr_plan_device what = {.config = config,
                           .dtype = w->options.dtype,
                           .model = w->model_dir,
                           .preset = s->preset,
                           .grid = {w->grid[0], w->grid[1], w->grid[2]},
                           .text = w->text,
                           .json = s->json};
    plan p = {0};
    tr_status status;
    TR_TRY(tr_plan_device_memory(s->memory, &what.memory, err));
    TR_TRY(tr_plan_device_shape(w->model_dir, s->preset, &p.config, err));
    limits_of(w, &p, &what.limits);
    TR_TRY(tr_plan_device_show(&what, err));
done:
    return status;
}

static int plan_question(const settings *s)
{
    work w = {.model_dir = s->model,
              .answers_only = true,
              .prompts = 1,
              .updates = 0,
              .text = s->text,
              .group = s->group ? s->group : 1,
              .response = s->response ? s->response : 1024,
              .grid = {16, 16, 24}};
    tr_error err = {0};
    w.options.dtype = !strcmp(s->dtype, "f32") ? TR_F32 : TR_BF16;
    if (strcmp(s->dtype, "f32") != 0 && strcmp(s->dtype, "bf16") != 0) {
        return tr_cli_usage(&tr_command_model_plan, "--dtype must be f32 or bf16, not '%s'", s->dtype);
    }
    if (s->grid && !tr_cli_grid(s->grid, 100000, w.grid)) {
        return tr_cli_usage(&tr_command_model_plan, "--grid must be T,H,W with even H and W, found '%s'", s->grid);
    }
    tr_status status = s->device ? show_device(s, &w, NULL, &err) : show(&w, s->json, &err);
    return status ? tr_cli_fail(&tr_command_model_plan, &err) : TR_EXIT_DONE;
}

/* The rows as they are (--rows), or bounds. */
static tr_status take_rows(const settings *s, const tr_config *c, work *w, tr_error *err)
{
    tr_model_config shape;
    char *base = NULL;
    tr_status status = TR_OK;
    if (s->rows) {
        TR_TRY(tr_lora_base(c->model, &base, err));
        TR_TRY(tr_model_config_read(base, &shape, err));
        TR_TRY(tr_plan_rows_read(c, &shape, &w->rows, err));
        w->text = w->rows.limits.prompt_tokens - w->rows.limits.patches / 4;
        w->response = w->grpo ? w->response : w->rows.limits.target_tokens;
    } else {
        w->response = w->grpo ? w->response : s->target ? s->target : w->response;
        if (w->given_grid) {
            w->rows.limits.patches = w->grid[0] * w->grid[1] * w->grid[2];
            w->rows.limits.largest_grid = w->grid[1] * w->grid[2];
        }
        tr_plan_rows_bound(c, s->text, s->target ? s->target : c->rollout.max_tokens, &w->rows);
    }
done:
    free(base);
    return status;
}

static int plan_training(const settings *s, char **arguments, int count)
{
    tr_config_set set = {0};
    tr_error err = {0};
    tr_status status;
    int exit = -1;
    TR_TRY(tr_config_read(arguments[0], (const char *const *)arguments + 1, (size_t)count - 1, &set, &err));
    for (size_t i = 0; i < set.count; i++) {
        tr_config *c = &set.stages[i];
        work w = {.text = s->text, .given_grid = s->grid != NULL};
        c->rollout.max_tokens = s->response ? s->response : c->rollout.max_tokens;
        c->rollout.group = s->group ? s->group : c->rollout.group;
        from_config(c, &w);
        if (s->grid && !tr_cli_grid(s->grid, 100000, w.grid)) {
            exit =
                tr_cli_usage(&tr_command_model_plan, "--grid must be T,H,W with even H and W, found '%s'", s->grid);
            goto done;
        }
        TR_TRY(take_rows(s, c, &w, &err));
        TR_TRY(s->device ? show_device(s, &w, c, &err) : show(&w, s->json, &err));
    }
done:
    tr_config_set_free(&set);
    return exit >= 0 ? exit : status ? tr_cli_fail(&tr_command_model_plan, &err) : TR_EXIT_DONE;
}

/* Options that do not go together; -1: fine. */
static int check_options(settings *s, int count)
{
    if (s->device && strcmp(s->device, "cpu") != 0 && strncmp(s->device, "cuda", 4) != 0) {
        return tr_cli_usage(&tr_command_model_plan, "--device must be cpu or cuda, not '%s'", s->device);
    }
    s->device = s->device && strcmp(s->device, "cpu") != 0 ? s->device : NULL;
    if (!s->device && (s->memory || s->preset)) {
        return tr_cli_usage(&tr_command_model_plan, "--%s belongs to --device cuda",
                            s->memory ? "memory" : "preset");
    }
    s->model = !s->model && !count ? s->preset : s->model; /* one question to a preset */
    if (!s->model == !count) {
        return tr_cli_usage(&tr_command_model_plan, "give either a configuration file or --model DIR");
    }
    if (s->rows && (s->model || s->grid || s->target)) {
        return tr_cli_usage(&tr_command_model_plan,
                            "--rows reads a configuration's rows: it goes without --model, --grid and --target");
    }
    return -1;
}

static int run(int argc, char **argv)
{
    settings s = {.dtype = "bf16", .text = 256};
    const tr_option options[] = {
        {.name = "model",
         .kind = TR_OPTION_TEXT,
         .value = &s.model,
         .argument = "DIR",
         .help = "Plans one question to this checkpoint (tempr1 ask) instead of a training run."},
        {.name = "dtype",
         .kind = TR_OPTION_TEXT,
         .value = &s.dtype,
         .argument = "bf16|f32",
         .help = "With --model: as for ask; default bf16. A configuration has its own train.dtype."},
        {"grid", TR_OPTION_TEXT, &s.grid, "T,H,W",
         "The visual grid in patches. Default: the largest that the video settings allow; 16,16,24 with --model.",
         0, 0, false},
        {"text", TR_OPTION_INT, &s.text, "N", "Text tokens of a prompt; default 256.", 1, 1e6, false},
        {"response", TR_OPTION_INT, &s.response, "N",
         "Tokens of a response; default rollout.max_tokens, 1024 with --model.", 1, 1e6, false},
        {"group", TR_OPTION_INT, &s.group, "N", "Responses to a prompt; default rollout.group, 1 with --model.", 1,
         4096, false},
        {"target", TR_OPTION_INT, &s.target, "N",
         "Tokens of a row's target (SFT, and grpo.off_policy); default as --response.", 1, 1e6, false},
        {"rows", TR_OPTION_FLAG, &s.rows, NULL,
         "Reads the configuration's rows for their longest prompt and target and for how many share a clip, as "
         "training "
         "does, instead of taking --text, --target and the largest packed group.",
         0, 0, false},
        {"device", TR_OPTION_TEXT, &s.device, "cpu|cuda",
         "cuda: plans the memory of a GPU, part by part, also on a machine without one. Default: cpu.", 0, 0,
         false},
        {"memory", TR_OPTION_TEXT, &s.memory, "SIZE",
         "The GPU's memory, such as 139GiB or 80G. Default: that of this machine's GPU.", 0, 0, false},
        {"preset", TR_OPTION_TEXT, &s.preset, "NAME",
         "With --device cuda: shapes of model init in the place of the model's folder, such as qwen2.5-vl-3b; its "
         "weights "
         "count as stored in bf16 and need not exist.",
         0, 0, false},
        {.name = "json", .kind = TR_OPTION_FLAG, .value = &s.json, .help = "Prints one JSON object a stage."},
        {0}};
    char **positional;
    int count, exit = tr_cli_parse(&tr_command_model_plan, options, argc, argv, 0, -1, &positional, &count);
    if (exit >= 0) {
        return exit;
    }
    exit = check_options(&s, count);
    if (exit >= 0) {
        return exit;
    }
    return s.model ? plan_question(&s) : plan_training(&s, positional, count);
}

const tr_command tr_command_model_plan = {
    .name = "model plan",
    .arguments = "CONFIG.yaml [key=value ...] | --model DIR [options]",
    .summary = "memory by part and rough time, before a run",
    .text =
        "Prints how many bytes a run will take, part by part, and roughly how long a step takes on this machine. "
        "The checkpoint is not loaded. Shapes are the largest that the configuration allows, so that real steps "
        "need at most this much.\n\n"
        "Example: tempr1 model plan run.yaml grpo.prompts_per_step=4\n\n"
        "Example: tempr1 model plan --model Qwen2.5-VL-3B-Instruct --grid 64,16,28 --response 256\n\n"
        "Example: tempr1 model plan run.yaml --device cuda --memory 139GiB --preset qwen2.5-vl-7b",
    .run = run};
