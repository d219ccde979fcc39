/* setup.c: makes everything that a stage needs before its first step, and says what memory it plans.
 *
 * A step then allocates only what depends on its rows (prompts, texts, features). The decode batch takes as many
 * prompts at once as memory allows; results do not depend on how many. */
#include "train/trainer.h"

#include "base/file.h"
#include "base/memory.h"
#include "model/checkpoint.h"
#include "tensor/cuda/cuda.h"
#include "tensor/select.h"
#include "train/config_table.h"
#include "train/plan.h"
#include "train/room.h"
#include "train/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The largest shapes over training and evaluation rows; `pairs` rows of one clip are packed at most. */
static void fill_limits(tr_trainer *t, int64_t pairs)
{
    tr_plan_rows rows = {t->source->limits, pairs, t->config->train.eval_every && t->options->evaluate};
    if (t->eval_source) {
        tr_plan_join(&rows.limits, &t->eval_source->limits);
    }
    tr_plan_limits(t->config, &rows, &t->limits);
}

/* What working memory may take: beside weights, states and the rest on the machine, or of what a GPU has left. */
static uint64_t tensor_room(const tr_model *model)
{
    uint64_t left, all;
    if (model->ops->memory->host || tr_cuda_memory(&left, &all, NULL)) {
        return tr_plan_machine_bytes() / 3 * 2;
    }
    return left / 20 * 19;
}

static bool has_own_reference(const tr_trainer *t)
{
    return t->reference && t->reference != t->model;
}

/* Fewer prompts at once until the plan leaves a third of the machine's memory to weights and the rest. */
static tr_status fit_memory(tr_trainer *t)
{
    const tr_config *c = t->config;
    uint64_t bytes = 0;
    tr_status status = has_own_reference(t) ? tr_plan_lend(c, t->reference, NULL, &t->limits, t->err) : TR_OK;
    status = status ? status : tr_plan_fit(c, t->model, NULL, tensor_room(t->model), &t->limits, &bytes, t->err);
    const bool lanes = t->model->ops->memory->lanes != NULL;
    if (!status && !t->options->quiet) {
        uint64_t weights = 0, state = 0;
        for (int i = 0; i < t->model->params.count; i++) {
            const tr_param *p = &t->model->params.items[i];
            bool shared = p->master && (void *)p->master == p->value.panels;
            weights += shared ? 0 : (uint64_t)p->elements * tr_dtype_size(p->value.dtype);
            state += p->master ? (uint64_t)p->elements * 8 : 0; /* masters and gradients */
            for (int kind = TR_STATE_M; kind < TR_STATE_KINDS && !t->model->params.spill.block && !p->moments_away;
                 kind++) {
                state += p->master ? tr_state_bytes(p, kind) : 0;
            }
        }
        const uint64_t host = tr_params_away_bytes(&t->model->params) +
                              (t->reference ? tr_params_away_bytes(&t->reference->params) : 0) +
                              (lanes ? tr_network_pinned_plan(&t->model->config, &t->limits) : 0);
        const double gib = 1u << 30;
        tr_plan_bytes plan;
        tr_plan_step(c, &t->limits, &t->model->config, t->reference != NULL, has_own_reference(t),
                     tr_plan_machine_bytes(), &plan);
        fprintf(stderr,
                "memory: weights %.2f GiB%s, masters, gradients and moments %.2f GiB, working memory %.2f GiB, "
                "responses %.2f GiB, clips and their features %.2f GiB\n",
                (double)weights / gib, t->reference && t->reference != t->model ? " (and a reference copy)" : "",
                (double)state / gib, (double)bytes / gib, (double)(plan.responses + plan.evaluation) / gib,
                (double)(plan.features + plan.reference_features + plan.pixels + plan.waiting) / gib);
        if (t->model->lora) {
            fprintf(stderr, "adapter: rank %lld on %lld linear layers%s\n", (long long)t->model->lora->rank,
                    (long long)t->model->lora->matrices, t->model->lora->fresh ? "" : ", as the model has it");
        }
        if (c->train.offload) {
            const bool file = t->model->ops->memory->host;
            fprintf(stderr, "offloaded to %s%s:%s%s\n", file ? "files in " : "the host's memory",
                    file ? c->out : "", c->train.offload & TR_OFFLOAD_MOMENTS ? " moments" : "",
                    t->reference && t->reference != t->model && c->train.offload & TR_OFFLOAD_REFERENCE
                        ? " reference"
                        : "");
        }
        if (c->train.save_mode == TR_SAVE_BESIDE && t->model->ops->memory->host) {
            fprintf(stderr, "%s: %.2f GiB for the copy from which checkpoints are written beside the training\n",
                    c->train.offload & TR_OFFLOAD_MOMENTS ? "in a file" : "memory",
                    (double)tr_snapshot_bytes(&t->model->params) / gib);
        }
        if (t->pack.pairs > 1) {
            fprintf(stderr, "up to %lld rows of one clip are packed, %lld tokens behind what their prompts share\n",
                    (long long)t->pack.pairs, (long long)t->limits.response_tokens);
        }
        if (host) {
            fprintf(stderr, "memory of the host, page-locked: %.2f GiB\n", (double)host / gib);
        }
        if (t->limits.decode_groups) {
            fprintf(stderr, "%lld prompts share a decode batch%s\n", (long long)t->limits.decode_groups,
                    lanes && t->limits.ahead ? ", the next is made ready beside it" : "");
        }
    }
    return status;
}

/* The configured device by its name. */
static void name_device(const tr_config *c, char *name, size_t size)
{
    for (size_t i = 0; i < tr_config_keys_count; i++) {
        if (!strcmp(tr_config_keys[i].name, "device")) {
            tr_key_choice(&tr_config_keys[i], c->device, name, size);
        }
    }
}

static tr_status check_settings(const tr_trainer *t)
{
    const tr_config *c = t->config;
    return c->train.arithmetic == TR_BF16 && c->train.dtype != TR_BF16
               ? tr_fail(t->err, TR_INVALID, "train.arithmetic",
                         "bf16 arithmetic needs bf16 weights: set train.dtype to bf16, or train.arithmetic to f32")
               : TR_OK;
}

/* The model's shape and its table of parameters, with the dtypes that are stored; the weights are not read. */
static tr_status read_headers(tr_trainer *t, tr_params *params)
{
    const tr_config *c = t->config;
    tr_safetensors tensors = {0};
    const tr_safetensor **found = NULL;
    char *base = NULL;
    tr_status status;
    TR_TRY(tr_lora_base(t->model_dir, &base, t->err));
    TR_TRY(tr_checkpoint_open(base, &t->shape, params, &tensors, &found, t->err));
    for (int i = 0; i < params->count; i++) {
        params->items[i].stored = found[i]->dtype;
    }
    if (c->train.lora.rank) { /* targets that match nothing are an error before the weights are read */
        const tr_lora_settings lora = {
            .rank = c->train.lora.rank, .alpha = c->train.lora.alpha, .targets = c->train.lora.targets};
        int64_t matrices;
        uint64_t numbers, bytes;
        TR_TRY(tr_lora_plan(params, &lora, &matrices, &numbers, &bytes, t->err));
    }
done:
    free(base);
    free(found);
    tr_safetensors_close(&tensors);
    return status;
}

static tr_status make_models(tr_trainer *t)
{
    char device[16] = "auto";
    const tr_config *c = t->config;
    const bool narrow = c->train.arithmetic == TR_BF16;
    const char *moments = c->train.offload & TR_OFFLOAD_MOMENTS ? c->out : NULL;
    const char *reference = c->train.offload & TR_OFFLOAD_REFERENCE ? c->out : NULL;
    name_device(c, device, sizeof device);
    tr_model_options options = {.device = device,
                                .dtype = (tr_dtype)c->train.dtype,
                                .train = true,
                                .moments8 = c->optim.moments == TR_MOMENTS_8BIT,
                                .moments_folder = moments,
                                .isa = narrow ? "avx512bf16" : NULL,
                                .freeze_text = c->train.freeze & TR_FREEZE_TEXT,
                                .freeze_vision = c->train.freeze & TR_FREEZE_VISION,
                                .freeze_merger = c->train.freeze & TR_FREEZE_MERGER};
    const tr_lora_settings lora = {c->train.lora.rank, c->train.lora.alpha, c->train.lora.targets,
                                   (uint64_t)c->train.seed};
    options.lora = lora.rank ? &lora : NULL;
    tr_cuda_set_exact(c->train.exact);
    options.merge_adapter = !lora.rank; /* whole weights are trained from an adapter's: it becomes part of them */
    tr_status status = tr_model_load(t->model_dir, &options, &t->model, t->err);
    if (!status && !c->train.exact && !t->options->quiet) {
        fprintf(stderr, "train.exact: false %s\n",
                t->model->ops->memory->host
                    ? "changes nothing on the CPU, which has one order of sums for every number of rows"
                    : "takes the fastest products; logprob_gap says how far sampling and training differ");
    }
    bool refers = !status && c->algorithm == TR_ALGORITHM_GRPO && c->grpo.kl > 0;
    if (refers && t->model->lora && !t->vision_trains) {
        t->reference = t->model; /* with its adapter as it started: no second copy */
    } else if (refers) {
        status = tr_model_clone_frozen(t->model, reference, &t->reference, t->err);
    }
    return status;
}

static tr_status make_networks(tr_trainer *t)
{
    const tr_config *c = t->config;
    tr_plan_bytes plan;
    tr_plan_step(c, &t->limits, &t->model->config, t->reference != NULL, has_own_reference(t),
                 tr_plan_machine_bytes(), &plan);
    tr_status status = tr_network_create(t->model, &t->limits, &t->network, t->err);
    status = status ? status : tr_features_create(plan.features + plan.kept, &t->features, t->err);
    if (t->reference == t->model) {
        t->reference_network = t->network;
    } else if (!status && t->reference) {
        tr_network_limits limits;
        tr_plan_reference_limits(c, &t->limits, &limits);
        status = tr_network_create_within(t->reference, &limits, t->network, &t->reference_network, t->err);
        if (!status && t->vision_trains) {
            status =
                tr_features_create(plan.reference_features + plan.reference_kept, &t->reference_features, t->err);
        }
    }
    if (!status && c->algorithm == TR_ALGORITHM_GRPO) {
        status = tr_rollout_create(t->network, &t->limits, t->model, t->prompts, t->group, c->rollout.max_tokens,
                                   &t->rollout, t->err);
    }
    return status;
}

/* The pieces of the plan: what a step works in. */
static tr_status make_buffers(tr_trainer *t)
{
    tr_plan_piece pieces[TR_PLAN_PIECES];
    const size_t count = tr_plan_pieces(t->config, &t->limits, t->reference != NULL, t->shape.hidden, pieces);
    for (size_t i = 0; i < count; i++) {
        void *made = (pieces[i].aligned ? tr_calloc_aligned : tr_calloc)(pieces[i].count, pieces[i].size);
        if (!made) {
            return tr_fail(t->err, TR_MEMORY, NULL,
                           "out of memory for the working memory of a step (%zu times %zu bytes)", pieces[i].count,
                           pieces[i].size);
        }
        memcpy((char *)t + pieces[i].place, &made, sizeof made);
    }
    return TR_OK;
}

/* Releases them, made or not. */
static void free_buffers(tr_trainer *t)
{
    tr_plan_piece pieces[TR_PLAN_PIECES];
    const size_t count = tr_plan_pieces(t->config, &t->limits, false, 0, pieces);
    for (size_t i = 0; i < count; i++) {
        void *made;
        memcpy(&made, (char *)t + pieces[i].place, sizeof made);
        free(made);
    }
}

static void fill_settings(tr_trainer *t)
{
    const tr_config *c = t->config;
    t->optimiser = (tr_optimiser){.beta1 = c->optim.betas[0],
                                  .beta2 = c->optim.betas[1],
                                  .eps = c->optim.eps,
                                  .weight_decay = c->optim.weight_decay,
                                  .clip_norm = c->optim.clip_norm};
    t->sampling = (tr_sampling){.temperature = c->rollout.temperature,
                                .top_p = c->rollout.top_p,
                                .min_p = c->rollout.min_p,
                                .top_k = c->rollout.top_k,
                                .max_tokens = c->rollout.max_tokens,
                                .banned = t->source->banned,
                                .end_ids = t->model->config.end_ids,
                                .end_count = t->model->config.end_count};
    int64_t rows = t->order.length, steps = c->train.steps;
    if (!steps) {
        double want = c->train.epochs * (double)rows / (double)t->prompts;
        steps = (int64_t)want + (want > (double)(int64_t)want); /* the last batch goes on into the next epoch */
    }
    t->steps = steps > 0 ? steps : 1;
}

/* A GPU's memory must hold the whole plan. The rows are open by then, the checkpoint's headers too, the weights
 * are not read. */
static tr_status check_room(tr_trainer *t, const tr_params *params)
{
    char device[16] = "auto";
    const tr_ops *ops, *host;
    uint64_t left = 0, all = 0;
    int index;
    tr_status status;
    name_device(t->config, device, sizeof device);
    if (!tr_device_parse(device, &index) || index < 0) {
        return TR_OK;
    }
    TR_TRY(tr_ops_select(device, NULL, (tr_dtype)t->config->train.dtype, &ops, &host, t->err));
    TR_TRY(tr_cuda_memory(&left, &all, t->err));
    status = tr_room_check(t->config, &t->shape, params, tr_lora_is_adapter(t->model_dir), left, all, device,
                           &t->limits, &t->plan, t->err);
done:
    return status;
}

/* Everything that can be known of the model without reading its weights; then the rows, against its shape. */
static tr_status open_rows(tr_trainer *t)
{
    const tr_config *c = t->config;
    const tr_train_options *options = t->options;
    tr_status status;
    TR_TRY(options->open_source(options->open_context, c, &t->shape, false, &t->source, t->err));
    if ((c->train.eval_every && options->evaluate) || c->train.eval_loss_every) {
        TR_TRY(options->open_source(options->open_context, c, &t->shape, true, &t->eval_source, t->err));
    }
done:
    return status;
}

static bool is_context_small(const tr_trainer *t, int64_t *need)
{
    *need = t->limits.prompt_tokens + (t->config->algorithm == TR_ALGORITHM_GRPO ? t->config->rollout.max_tokens
                                                                                 : t->source->limits.target_tokens);
    return t->model->config.max_positions > 0 && *need > t->model->config.max_positions;
}

tr_status tr_trainer_create(tr_trainer *t, const tr_config *config, const char *model_dir,
                            const tr_train_options *options, tr_error *err)
{
    memset(t, 0, sizeof *t);
    t->config = config;
    t->options = options;
    t->err = err;
    t->lock = -1;
    t->start_s = tr_time_s();
    t->prompts = config->grpo.prompts_per_step;
    t->group = config->algorithm == TR_ALGORITHM_GRPO ? config->rollout.group : 1;
    t->sampled = t->group - (config->algorithm == TR_ALGORITHM_GRPO && config->grpo.off_policy);
    t->vision_trains = tr_plan_trains_vision(config);
    t->model_dir = tr_strdup(model_dir);
    if (!t->model_dir) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    tr_status status;
    int64_t need, pairs = 1;
    const bool away = tr_config_on_gpu(config);
    tr_params params = {0};
    TR_TRY(tr_lora_tokenizer(config->tokenizer ? config->tokenizer : model_dir, &t->tokenizer_dir, err));
    TR_TRY(check_settings(t));
    TR_TRY(away ? read_headers(t, &params) : make_models(t));
    t->shape = away ? t->shape : t->model->config;
    TR_TRY(open_rows(t));
    TR_TRY(tr_order_create(&t->order, t->source, (uint64_t)config->train.seed, err));
    if (config->algorithm == TR_ALGORITHM_GRPO && config->grpo.difficulty) {
        TR_TRY(tr_order_weigh(&t->order, (tr_difficulty)config->grpo.difficulty, config->grpo.difficulty_gaussian,
                              err));
    }
    TR_TRY(tr_algorithm_state_create(&t->algorithm, config, t->source->rows, t->source->scores, err));
    if (config->algorithm == TR_ALGORITHM_SFT && config->sft.share_clip) {
        int64_t most = config->sft.pairs_per_clip < t->prompts ? config->sft.pairs_per_clip : t->prompts;
        TR_TRY(tr_order_gather(&t->order, most, &pairs, err));
    }
    fill_limits(t, pairs);
    TR_TRY(tr_pack_create(&t->pack, pairs, t->limits.prompt_tokens, t->limits.response_tokens, err));
    if (away) { /* what does not fit a GPU is refused before anything is allocated there */
        TR_TRY(check_room(t, &params));
        TR_TRY(make_models(t));
    }
    if (is_context_small(t, &need) && !options->quiet) {
        fprintf(stderr, "note: the longest prompt and answer may take %lld tokens, the model was made for %lld\n",
                (long long)need, (long long)t->model->config.max_positions);
    }
    TR_TRY(fit_memory(t));
    TR_TRY(make_networks(t));
    TR_TRY(make_buffers(t));
    fill_settings(t);
done:
    tr_params_free(&params);
    return status;
}

void tr_trainer_free(tr_trainer *t)
{
    tr_trainer_save_close(t); /* waits for a checkpoint that is being written, while model and logs are there */
    if (t->samples && t->scores && t->texts) {
        tr_trainer_clear(t);
    }
    if (t->config) {
        free_buffers(t);
    }
    free(t->model_dir);
    free(t->tokenizer_dir);
    tr_events_close(&t->events, NULL);
    if (t->metrics) {
        fclose(t->metrics);
    }
    if (t->rollouts) {
        fclose(t->rollouts);
    }
    tr_pack_free(&t->pack);
    tr_order_free(&t->order);
    tr_algorithm_state_free(&t->algorithm);
    tr_rollout_free(t->rollout);
    tr_features_free(t->features);
    tr_features_free(t->reference_features);
    tr_network_free(t->network);
    if (t->reference != t->model) {
        tr_network_free(t->reference_network);
        tr_model_free(t->reference);
    }
    tr_model_free(t->model);
    tr_source_free(t->source);
    tr_source_free(t->eval_source);
    json_decref(t->resolved);
    if (t->lock >= 0) {
        tr_file_unlock(t->lock);
    }
    memset(t, 0, sizeof *t);
    t->lock = -1;
}
