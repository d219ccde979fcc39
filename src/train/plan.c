/* plan.c: the shapes and bytes of a stage, from its configuration and the limits of its rows. */
#include "train/plan.h"

#include "base/memory.h"
#include "base/thread.h"
#include "rl/rollout.h"
#include "tensor/cuda/cuda.h"
#include "train/trainer.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* SAVING_BYTES: a piece of a tensor as it goes into a file (model_save.c) and a band of its values. */
enum { PATCH_VALUES = 1176, EVAL_PROMPTS = 16, SAVING_BYTES = (8 + 1) << 20 };

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static bool is_grpo(const tr_config *c)
{
    return c->algorithm == TR_ALGORITHM_GRPO;
}

static int64_t group_of(const tr_config *c)
{
    return is_grpo(c) ? c->rollout.group : 1;
}

bool tr_plan_trains_vision(const tr_config *c)
{
    const unsigned both = TR_FREEZE_VISION | TR_FREEZE_MERGER;
    return (c->train.freeze & both) != both;
}

uint64_t tr_plan_machine_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
}

void tr_plan_join(tr_source_limits *limits, const tr_source_limits *other)
{
    limits->patches = larger(limits->patches, other->patches);
    limits->largest_grid = larger(limits->largest_grid, other->largest_grid);
    limits->prompt_tokens = larger(limits->prompt_tokens, other->prompt_tokens);
    limits->target_tokens = larger(limits->target_tokens, other->target_tokens);
    limits->pair_tokens = larger(limits->pair_tokens, other->pair_tokens);
}

/* ---- rows ---- */

tr_video_settings tr_plan_video(const tr_config *c)
{
    return (tr_video_settings){c->video.fps,          c->video.min_frames, c->video.max_frames,
                               c->video.total_pixels, c->video.min_pixels, c->video.cache,
                               c->video.cache_bytes,  c->video.decoders,   c->video.ahead_bytes};
}

static int64_t most_pairs(const tr_config *c)
{
    const int64_t most = c->sft.pairs_per_clip, prompts = c->grpo.prompts_per_step;
    return is_grpo(c) || !c->sft.share_clip ? 1 : most < prompts ? most : prompts;
}

void tr_plan_rows_bound(const tr_config *c, int64_t text, int64_t target, tr_plan_rows *rows)
{
    const tr_video_settings video = tr_plan_video(c);
    const bool targets = !is_grpo(c) || c->grpo.off_policy || c->train.eval_loss_every;
    tr_source_limits *l = &rows->limits;
    if (!l->patches) {
        tr_source_video_limits(&video, l);
    }
    l->prompt_tokens = l->patches / 4 + text;
    l->target_tokens = targets ? target : 0;
    l->pair_tokens = targets ? text + target : 0;
    rows->pairs = most_pairs(c);
    rows->evaluates = c->train.eval_every > 0;
}

tr_status tr_plan_rows_read(const tr_config *config, const tr_model_config *model, tr_plan_rows *rows,
                            tr_error *err)
{
    tr_config c = *config; /* nothing is decoded or kept */
    tr_source *data = NULL, *eval = NULL;
    tr_order order = {0};
    tr_status status;
    c.video.cache = NULL;
    c.video.decoders = 0;
    *rows = (tr_plan_rows){.pairs = 1, .evaluates = c.train.eval_every > 0};
    TR_TRY(tr_train_open_source(NULL, &c, model, false, &data, err));
    rows->limits = data->limits;
    if (c.train.eval_every || c.train.eval_loss_every) {
        TR_TRY(tr_train_open_source(NULL, &c, model, true, &eval, err));
        tr_plan_join(&rows->limits, &eval->limits);
    }
    if (!is_grpo(&c) && c.sft.share_clip) {
        TR_TRY(tr_order_create(&order, data, (uint64_t)c.train.seed, err));
        TR_TRY(tr_order_gather(&order, most_pairs(&c), &rows->pairs, err));
    }
done:
    tr_order_free(&order);
    tr_source_free(data);
    tr_source_free(eval);
    return status;
}

/* ---- networks ---- */

/* Tokens behind the prompt in one group. A packed group holds the rests of its prompts beside the targets; with
 * off-policy truth the last response is a target, which may be longer than what is sampled. */
static int64_t response_tokens(const tr_config *c, const tr_plan_rows *rows)
{
    const tr_source_limits *s = &rows->limits;
    int64_t tokens = s->target_tokens;
    if (is_grpo(c)) {
        const int64_t sampled = c->rollout.group * c->rollout.max_tokens,
                      more = s->target_tokens - c->rollout.max_tokens;
        tokens = larger(tokens, sampled + (c->grpo.off_policy && more > 0 ? more : 0));
    } else if (rows->pairs > 1) {
        tokens = larger(tokens, rows->pairs * s->pair_tokens);
    }
    return tokens;
}

void tr_plan_limits(const tr_config *c, const tr_plan_rows *rows, tr_network_limits *n)
{
    *n = (tr_network_limits){.patches = rows->limits.patches,
                             .largest_grid = rows->limits.largest_grid,
                             .prompt_tokens = rows->limits.prompt_tokens,
                             .responses = is_grpo(c) ? c->rollout.group : rows->pairs,
                             .response_tokens = response_tokens(c, rows),
                             .train_text = true,
                             .train_vision = tr_plan_trains_vision(c),
                             .recompute = (tr_recompute)c->train.recompute,
                             .adapter_rank = c->train.lora.rank};
    n->targets = n->response_tokens;
    if (is_grpo(c) || rows->evaluates) {
        n->decode_groups = is_grpo(c) ? c->grpo.prompts_per_step : EVAL_PROMPTS;
        n->decode_rows = n->decode_groups * group_of(c);
        n->decode_tokens = c->rollout.max_tokens;
        n->ahead = tr_config_on_gpu(c) && is_grpo(c) && c->grpo.prompts_per_step > 1;
    }
}

void tr_plan_reference_limits(const tr_config *c, const tr_network_limits *limits, tr_network_limits *reference)
{
    *reference = *limits;
    reference->patches = tr_plan_trains_vision(c) ? limits->patches : 0;
    reference->train_text = reference->train_vision = false;
    reference->decode_rows = reference->decode_groups = reference->decode_tokens = 0;
    reference->lends = 0;
}

/* By the model, or for a shape on the device of the configuration. */
static tr_status plan_network(const tr_config *c, const tr_model *model, const tr_model_config *shape,
                              const tr_network_limits *limits, uint64_t *bytes, tr_error *err)
{
    return model                 ? tr_network_plan(model, limits, bytes, err)
           : tr_config_on_gpu(c) ? tr_network_plan_for(shape, limits, &tr_cuda_plan_table, bytes, err)
                                 : tr_network_plan_config(shape, limits, bytes, err);
}

tr_status tr_plan_lend(const tr_config *c, const tr_model *model, const tr_model_config *shape,
                       tr_network_limits *limits, tr_error *err)
{
    tr_network_limits reference;
    tr_plan_reference_limits(c, limits, &reference);
    return plan_network(c, model, shape, &reference, &limits->lends, err);
}

tr_status tr_plan_fit(const tr_config *c, const tr_model *model, const tr_model_config *shape, uint64_t room,
                      tr_network_limits *limits, uint64_t *bytes, tr_error *err)
{
    for (;;) {
        tr_status status = plan_network(c, model, shape, limits, bytes, err);
        if (status || *bytes <= room || (limits->decode_groups <= 1 && !limits->ahead)) {
            return status;
        }
        if (limits->decode_groups <= 1) { /* rather one prompt after the other than not at all */
            limits->ahead = false;
            continue;
        }
        limits->decode_groups /= 2;
        limits->decode_rows = limits->decode_groups * group_of(c);
    }
}

/* ---- the rest ---- */

static void add(tr_plan_piece *pieces, size_t *n, size_t place, int64_t count, size_t size)
{
    pieces[(*n)++] = (tr_plan_piece){place, (size_t)count, size, false};
}

#define ADD(member, count) add(pieces, &n, offsetof(tr_trainer, member), count, sizeof *((tr_trainer *)0)->member)

size_t tr_plan_pieces(const tr_config *c, const tr_network_limits *limits, bool refers, int64_t hidden,
                      tr_plan_piece pieces[TR_PLAN_PIECES])
{
    const int64_t prompts = c->grpo.prompts_per_step, group = group_of(c), all = prompts * group;
    const int64_t tokens = limits->targets, visual = tr_plan_trains_vision(c) ? limits->patches / 4 : 0;
    size_t n = 0;
    ADD(samples, prompts);
    ADD(groups, prompts);
    ADD(asked, prompts);
    ADD(answered, prompts);
    ADD(leaders, prompts);
    ADD(rewards, all);
    ADD(advantages, all);
    ADD(scores, all);
    ADD(texts, all);
    ADD(signs, all);
    ADD(penalties, all);
    ADD(masked, all);
    ADD(reference_logp, refers ? prompts * tokens : 0);
    ADD(logp, tokens);
    ADD(entropy, tokens);
    ADD(dlogp, tokens);
    ADD(dentropy, tokens);
    ADD(dfeatures, visual * hidden);
    ADD(kept_features, visual * hidden);
    pieces[n - 1].aligned = pieces[n - 2].aligned = true;
    if (is_grpo(c)) { /* the responses, and room to make advantages in */
        const bool by_token = c->grpo.advantage == TR_ADVANTAGE_BATCH;
        ADD(kept_ids, prompts * tokens);
        ADD(kept_logp, prompts * tokens);
        ADD(kept_lengths, all);
        ADD(kept_stopped, all);
        ADD(places, prompts);
        ADD(asked_rows, prompts * (1 + c->grpo.dynamic_rounds));
        ADD(round_asked, prompts);
        ADD(round_answered, prompts);
        ADD(scratch, by_token ? prompts * tokens : all + group * (TR_SCORE_PARTS + 1));
        if (by_token) {
            ADD(token_advantages, prompts * tokens);
        }
    }
    return n;
}
#undef ADD

static uint64_t at_most(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void tr_plan_step(const tr_config *c, const tr_network_limits *limits, const tr_model_config *model, bool refers,
                  bool own_reference, uint64_t machine, tr_plan_bytes *b)
{
    tr_plan_piece pieces[TR_PLAN_PIECES];
    const size_t count = tr_plan_pieces(c, limits, refers, model->hidden, pieces);
    const bool trains_vision = tr_plan_trains_vision(c);
    const uint64_t prompts = (uint64_t)c->grpo.prompts_per_step, patches = (uint64_t)limits->patches;
    memset(b, 0, sizeof *b);
    for (size_t i = 0; i < count; i++) {
        b->responses += pieces[i].count * pieces[i].size;
    }
    if (is_grpo(c)) {
        b->responses += tr_rollout_bytes(limits, model->vocab, c->grpo.prompts_per_step, c->rollout.group,
                                         c->rollout.max_tokens);
    }
    b->responses += (uint64_t)(limits->response_tokens + 3 * limits->prompt_tokens) * sizeof(int32_t) +
                    (uint64_t)limits->responses * 2 * sizeof(int64_t); /* the pack */
    const uint64_t feature = patches / 4 * (uint64_t)model->hidden * sizeof(float);
    if (is_grpo(c) || !trains_vision) { /* SFT with a trained tower makes them in its one forward */
        b->features = feature * prompts;
        b->kept = trains_vision ? 0 : machine / 16;
    }
    if (own_reference && trains_vision) {
        b->reference_features = feature * prompts;
        b->reference_kept = machine / 16;
    }
    if (limits->decode_rows && c->train.eval_every) { /* one answer a row */
        b->evaluation = tr_rollout_bytes(limits, model->vocab, limits->decode_groups, 1, c->rollout.max_tokens) +
                        feature * (uint64_t)limits->decode_groups;
    }
    /* a trained tower's backward reads the pixels of every clip of the step again */
    b->pixels = patches * PATCH_VALUES * sizeof(float) * (trains_vision ? prompts : 1);
    b->saving = SAVING_BYTES;
    const uint64_t clip = patches * PATCH_VALUES; /* a byte a value */
    const uint64_t ahead = c->video.ahead_bytes > clip ? c->video.ahead_bytes : clip;
    b->waiting = clip + (c->video.decoders ? at_most(ahead, 2 * prompts * clip) : 0);
}
