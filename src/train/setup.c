/* setup.c: makes everything that a stage needs before its first step, and says what memory it plans.
 *
 * A step then allocates only what depends on its rows (prompts, texts, features). The decode batch takes as many
 * prompts at once as memory allows; results do not depend on how many. */
#include "train/trainer.h"

#include "base/file.h"
#include "base/memory.h"
#include "tensor/cuda/cuda.h"
#include "train/config_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t machine_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The largest shapes over training and evaluation rows; `pairs` rows of one clip are packed at most. */
static void fill_limits(tr_trainer *t, int64_t pairs)
{
    const tr_config *c = t->config;
    bool grpo = c->algorithm == TR_ALGORITHM_GRPO;
    tr_source_limits s = t->source->limits;
    if (t->eval_source) {
        s.patches = larger(s.patches, t->eval_source->limits.patches);
        s.largest_grid = larger(s.largest_grid, t->eval_source->limits.largest_grid);
        s.prompt_tokens = larger(s.prompt_tokens, t->eval_source->limits.prompt_tokens);
        s.target_tokens = larger(s.target_tokens, t->eval_source->limits.target_tokens);
        s.pair_tokens = larger(s.pair_tokens, t->eval_source->limits.pair_tokens);
    }
    tr_network_limits *n = &t->limits;
    memset(n, 0, sizeof *n);
    n->patches = s.patches;
    n->largest_grid = s.largest_grid;
    n->prompt_tokens = s.prompt_tokens;
    n->responses = grpo ? t->group : pairs;
    n->response_tokens = grpo        ? t->group * c->rollout.max_tokens
                         : pairs > 1 ? pairs * s.pair_tokens
                                     : s.target_tokens;
    if (grpo && t->sampled < t->group && s.target_tokens > c->rollout.max_tokens) {
        n->response_tokens += s.target_tokens - c->rollout.max_tokens;
    }
    n->response_tokens = larger(n->response_tokens, s.target_tokens);
    n->targets = n->response_tokens;
    n->train_text = true;
    n->train_vision = t->vision_trains;
    n->recompute = (tr_recompute)c->train.recompute;
    if (grpo || (c->train.eval_every && t->options->evaluate)) {
        n->decode_groups = grpo ? t->prompts : 16;
        n->decode_rows = n->decode_groups * t->group;
        n->decode_tokens = c->rollout.max_tokens;
    }
}

/* What working memory may take: beside weights, states and the rest on the machine, or of what a GPU has left. */
static uint64_t tensor_room(const tr_model *model)
{
    uint64_t left, all;
    if (model->ops->memory->host || tr_cuda_memory(&left, &all, NULL)) {
        return machine_bytes() / 3 * 2;
    }
    return left / 20 * 19;
}

/* Fewer prompts at once until the plan leaves a third of the machine's memory to weights and the rest. */
static tr_status fit_memory(tr_trainer *t)
{
    const tr_config *c = t->config;
    uint64_t bytes = 0, room = tensor_room(t->model);
    tr_status status;
    while (!(status = tr_network_plan(t->model, &t->limits, &bytes, t->err)) && bytes > room &&
           t->limits.decode_groups > 1) {
        t->limits.decode_groups /= 2;
        t->limits.decode_rows = t->limits.decode_groups * t->group;
    }
    if (!status && !t->options->quiet) {
        uint64_t weights = 0, state = 0;
        for (int i = 0; i < t->model->params.count; i++) {
            const tr_param *p = &t->model->params.items[i];
            bool shared = p->master && (void *)p->master == p->value.panels;
            weights += shared ? 0 : (uint64_t)p->elements * tr_dtype_size(p->value.dtype);
            state += p->master ? (uint64_t)p->elements * (t->model->params.spill.block ? 8 : 16) : 0;
        }
        const double gib = 1u << 30;
        fprintf(stderr,
                "memory: weights %.2f GiB%s, masters, gradients and moments %.2f GiB, working memory %.2f GiB\n",
                (double)weights / gib, t->reference && t->reference != t->model ? " (and a reference copy)" : "",
                (double)state / gib, (double)bytes / gib);
        if (t->model->lora) {
            fprintf(stderr, "adapter: rank %lld on %lld linear layers%s\n", (long long)t->model->lora->rank,
                    (long long)t->model->lora->matrices, t->model->lora->fresh ? "" : ", as the model has it");
        }
        if (c->train.offload) {
            fprintf(stderr, "offloaded to files in %s:%s%s\n", c->out,
                    c->train.offload & TR_OFFLOAD_MOMENTS ? " moments" : "",
                    t->reference && t->reference != t->model && c->train.offload & TR_OFFLOAD_REFERENCE
                        ? " reference"
                        : "");
        }
        if (c->train.save_mode == TR_SAVE_BESIDE && t->model->ops->memory->host) {
            fprintf(stderr, "%s: %.2f GiB for the copy from which checkpoints are written beside the training\n",
                    c->train.offload & TR_OFFLOAD_MOMENTS ? "in a file" : "memory",
                    (double)tr_snapshot_bytes(&t->model->params) / gib);
        }
        if (t->limits.decode_groups) {
            fprintf(stderr, "%lld prompts share a decode batch\n", (long long)t->limits.decode_groups);
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

static tr_status make_models(tr_trainer *t)
{
    char device[16] = "auto";
    const tr_config *c = t->config;
    const bool narrow = c->train.arithmetic == TR_BF16;
    if (narrow && c->train.dtype != TR_BF16) {
        return tr_fail(t->err, TR_INVALID, "train.arithmetic",
                       "bf16 arithmetic needs bf16 weights: set train.dtype to bf16, or train.arithmetic to f32");
    }
    const char *moments = c->train.offload & TR_OFFLOAD_MOMENTS ? c->out : NULL;
    const char *reference = c->train.offload & TR_OFFLOAD_REFERENCE ? c->out : NULL;
    name_device(c, device, sizeof device);
    tr_model_options options = {.device = device,
                                .dtype = (tr_dtype)c->train.dtype,
                                .train = true,
                                .moments_folder = moments,
                                .isa = narrow ? "avx512bf16" : NULL,
                                .freeze_text = c->train.freeze & TR_FREEZE_TEXT,
                                .freeze_vision = c->train.freeze & TR_FREEZE_VISION,
                                .freeze_merger = c->train.freeze & TR_FREEZE_MERGER};
    const tr_lora_settings lora = {c->train.lora.rank, c->train.lora.alpha, c->train.lora.targets,
                                   (uint64_t)c->train.seed};
    options.lora = lora.rank ? &lora : NULL;
    options.merge_adapter = !lora.rank; /* whole weights are trained from an adapter's: it becomes part of them */
    tr_status status = tr_model_load(t->model_dir, &options, &t->model, t->err);
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
    uint64_t feature_bytes = (uint64_t)(t->limits.patches / 4) * (uint64_t)t->model->config.hidden * sizeof(float);
    uint64_t step_bytes = feature_bytes * (uint64_t)t->prompts, spare = t->vision_trains ? 0 : machine_bytes() / 16;
    tr_status status = tr_network_create(t->model, &t->limits, &t->network, t->err);
    status = status ? status : tr_features_create(step_bytes + spare, &t->features, t->err);
    if (t->reference == t->model) {
        t->reference_network = t->network;
    } else if (!status && t->reference) {
        tr_network_limits limits = t->limits;
        limits.patches = t->vision_trains ? limits.patches : 0;
        limits.train_text = limits.train_vision = false;
        limits.decode_rows = limits.decode_groups = limits.decode_tokens = 0;
        status = tr_network_create(t->reference, &limits, &t->reference_network, t->err);
        if (!status && t->vision_trains) {
            status = tr_features_create(step_bytes + machine_bytes() / 16, &t->reference_features, t->err);
        }
    }
    if (!status && t->config->algorithm == TR_ALGORITHM_GRPO) {
        status = tr_rollout_create(t->network, &t->limits, t->model, t->prompts, t->group,
                                   t->config->rollout.max_tokens, &t->rollout, t->err);
    }
    return status;
}

static tr_status make_buffers(tr_trainer *t)
{
    size_t prompts = (size_t)t->prompts, all = prompts * (size_t)t->group, tokens = (size_t)t->limits.targets;
    t->samples = tr_calloc(prompts, sizeof *t->samples);
    t->groups = tr_calloc(prompts, sizeof *t->groups);
    t->asked = tr_calloc(prompts, sizeof *t->asked);
    t->answered = tr_calloc(prompts, sizeof *t->answered);
    t->leaders = tr_calloc(prompts, sizeof *t->leaders);
    t->rewards = tr_calloc(all, sizeof *t->rewards);
    t->advantages = tr_calloc(all, sizeof *t->advantages);
    t->scores = tr_calloc(all, sizeof *t->scores);
    t->texts = tr_calloc(all, sizeof *t->texts);
    t->signs = tr_calloc(all, sizeof *t->signs);
    t->penalties = tr_calloc(all, sizeof *t->penalties);
    t->masked = tr_calloc(all, sizeof *t->masked);
    t->reference_logp = tr_calloc(t->reference ? prompts * tokens : 0, sizeof *t->reference_logp);
    t->logp = tr_calloc(tokens, sizeof *t->logp);
    t->entropy = tr_calloc(tokens, sizeof *t->entropy);
    t->dlogp = tr_calloc(tokens, sizeof *t->dlogp);
    t->dentropy = tr_calloc(tokens, sizeof *t->dentropy);
    size_t visual = t->vision_trains ? (size_t)(t->limits.patches / 4) : 0;
    t->dfeatures = tr_calloc_aligned(visual * (size_t)t->model->config.hidden, sizeof *t->dfeatures);
    t->kept_features = tr_calloc_aligned(visual * (size_t)t->model->config.hidden, sizeof *t->kept_features);
    bool ok = t->samples && t->groups && t->asked && t->answered && t->leaders && t->rewards && t->advantages &&
              t->scores && t->texts && t->signs && t->penalties && t->masked && t->reference_logp && t->logp &&
              t->entropy && t->dlogp && t->dentropy && t->dfeatures && t->kept_features;
    return ok ? TR_OK : tr_fail(t->err, TR_MEMORY, NULL, "out of memory for the working memory of a step");
}

/* What only GRPO needs: its responses, and room to make advantages in. */
static tr_status make_collection(tr_trainer *t)
{
    const tr_config *c = t->config;
    if (c->algorithm != TR_ALGORITHM_GRPO) {
        return TR_OK;
    }
    size_t prompts = (size_t)t->prompts, all = prompts * (size_t)t->group, tokens = (size_t)t->limits.targets;
    bool by_token = c->grpo.advantage == TR_ADVANTAGE_BATCH;
    size_t scratch = by_token ? prompts * tokens : all + (size_t)t->group * (TR_SCORE_PARTS + 1);
    t->kept_ids = tr_calloc(prompts * tokens, sizeof *t->kept_ids);
    t->kept_logp = tr_calloc(prompts * tokens, sizeof *t->kept_logp);
    t->kept_lengths = tr_calloc(all, sizeof *t->kept_lengths);
    t->kept_stopped = tr_calloc(all, sizeof *t->kept_stopped);
    t->places = tr_calloc(prompts, sizeof *t->places);
    t->asked_rows = tr_calloc(prompts * (size_t)(1 + c->grpo.dynamic_rounds), sizeof *t->asked_rows);
    t->round_asked = tr_calloc(prompts, sizeof *t->round_asked);
    t->round_answered = tr_calloc(prompts, sizeof *t->round_answered);
    t->token_advantages = by_token ? tr_calloc(prompts * tokens, sizeof *t->token_advantages) : NULL;
    t->scratch = tr_calloc(scratch, sizeof *t->scratch);
    bool ok = t->kept_ids && t->kept_logp && t->kept_lengths && t->kept_stopped && t->places && t->asked_rows &&
              t->round_asked && t->round_answered && t->scratch && (t->token_advantages || !by_token);
    return ok ? TR_OK : tr_fail(t->err, TR_MEMORY, NULL, "out of memory for the responses of a step");
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
    t->vision_trains =
        (config->train.freeze & (TR_FREEZE_VISION | TR_FREEZE_MERGER)) != (TR_FREEZE_VISION | TR_FREEZE_MERGER);
    t->model_dir = tr_strdup(model_dir);
    if (!t->model_dir) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    tr_status status;
    int64_t need, pairs = 1;
    TR_TRY(tr_lora_tokenizer(config->tokenizer ? config->tokenizer : model_dir, &t->tokenizer_dir, err));
    TR_TRY(make_models(t));
    TR_TRY(options->open_source(options->open_context, config, &t->model->config, false, &t->source, err));
    if ((config->train.eval_every && options->evaluate) || config->train.eval_loss_every) {
        TR_TRY(options->open_source(options->open_context, config, &t->model->config, true, &t->eval_source, err));
    }
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
    if (is_context_small(t, &need) && !options->quiet) {
        fprintf(stderr, "note: the longest prompt and answer may take %lld tokens, the model was made for %lld\n",
                (long long)need, (long long)t->model->config.max_positions);
    }
    TR_TRY(fit_memory(t));
    TR_TRY(make_networks(t));
    TR_TRY(make_buffers(t));
    TR_TRY(make_collection(t));
    fill_settings(t);
done:
    return status;
}

void tr_trainer_free(tr_trainer *t)
{
    tr_trainer_save_close(t); /* waits for a checkpoint that is being written, while model and logs are there */
    if (t->samples && t->scores && t->texts) {
        tr_trainer_clear(t);
    }
    void *made[] = {t->penalties,  t->masked,      t->token_advantages, t->scratch,
                    t->kept_ids,   t->kept_logp,   t->kept_lengths,     t->places,
                    t->asked_rows, t->round_asked, t->round_answered,   t->kept_stopped};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        free(made[i]);
    }
    void *owned[] = {t->samples,        t->groups,     t->asked,         t->answered, t->leaders,
                     t->rewards,        t->advantages, t->scores,        t->texts,    t->logp,
                     t->reference_logp, t->entropy,    t->dlogp,         t->dentropy, t->dfeatures,
                     t->kept_features,  t->model_dir,  t->tokenizer_dir, t->signs};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) {
        free(owned[i]);
    }
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
