/* room.c: the plan of a stage on a GPU against the memory that is free there, and which keys would make it smaller.
 */
#include "train/room.h"

#include "tensor/cuda/cuda.h"
#include "train/plan.h"

#include <stdio.h>
#include <string.h>

tr_model_options tr_room_options(const tr_config *c)
{
    return (tr_model_options){.dtype = (tr_dtype)c->train.dtype,
                              .train = true,
                              .moments8 = c->optim.moments == TR_MOMENTS_8BIT,
                              .moments_folder = c->train.offload & TR_OFFLOAD_MOMENTS ? c->out : NULL,
                              .freeze_text = c->train.freeze & TR_FREEZE_TEXT,
                              .freeze_vision = c->train.freeze & TR_FREEZE_VISION,
                              .freeze_merger = c->train.freeze & TR_FREEZE_MERGER};
}

static tr_status plan_once(const tr_config *c, const tr_model_config *model, const tr_params *params,
                           bool adapter_there, const tr_network_limits *limits, tr_device_plan *plan, tr_error *err)
{
    const tr_model_options options = tr_room_options(c);
    const tr_lora_settings lora = {
        .rank = c->train.lora.rank, .alpha = c->train.lora.alpha, .targets = c->train.lora.targets};
    const bool vision = !options.freeze_vision || !options.freeze_merger,
               refers = c->algorithm == TR_ALGORITHM_GRPO && c->grpo.kl > 0, own = refers && (!lora.rank || vision);
    tr_device_work work = {.options = &options,
                           .reference = own,
                           .reference_away = c->train.offload & TR_OFFLOAD_REFERENCE,
                           .adapter_rank = lora.rank,
                           .adapter_starts = lora.rank && adapter_there,
                           .limits = limits};
    tr_network_limits reference;
    tr_plan_reference_limits(c, limits, &reference);
    work.reference_limits = own ? &reference : NULL;
    int64_t matrices;
    tr_status status =
        lora.rank ? tr_lora_plan(params, &lora, &matrices, &work.adapter, &work.adapter_moments8, err) : TR_OK;
    status = status ? status : tr_device_plan_make(model, params, &work, plan, err);
    if (!status && !c->train.exact && options.dtype == TR_BF16) {
        plan->scratch += TR_CUDA_LOOSE_WORKSPACE;
        plan->total += TR_CUDA_LOOSE_WORKSPACE;
    }
    return status;
}

tr_status tr_room_plan(const tr_config *c, const tr_model_config *model, const tr_params *params,
                       bool adapter_there, uint64_t room, tr_network_limits *limits, tr_device_plan *plan,
                       tr_error *err)
{
    const int64_t group = limits->decode_groups ? limits->decode_rows / limits->decode_groups : 0;
    tr_status status;
    while (!(status = plan_once(c, model, params, adapter_there, limits, plan, err)) && plan->total > room &&
           (limits->decode_groups > 1 || limits->ahead)) {
        if (limits->decode_groups <= 1) { /* as tr_plan_fit */
            limits->ahead = false;
            continue;
        }
        limits->decode_groups /= 2;
        limits->decode_rows = limits->decode_groups * group;
    }
    return status;
}

/* The configuration with one key changed. NULL: it has that value already. */
static const char *change(int i, tr_config *c)
{
    const unsigned tower = TR_FREEZE_VISION | TR_FREEZE_MERGER;
    switch (i) {
    case 0:
        c->train.recompute =
            c->train.recompute == TR_RECOMPUTE_LAYER ? (int)TR_RECOMPUTE_NONE : (int)TR_RECOMPUTE_LAYER;
        return c->train.recompute == TR_RECOMPUTE_LAYER ? "train.recompute: layer" : "train.recompute: none";
    case 1:
        c->optim.moments = c->optim.moments == TR_MOMENTS_8BIT ? TR_MOMENTS_F32 : TR_MOMENTS_8BIT;
        return c->optim.moments == TR_MOMENTS_8BIT ? "optim.moments: 8bit" : "optim.moments: f32";
    case 2:
        if (c->train.dtype == TR_BF16) {
            return NULL;
        }
        c->train.dtype = TR_BF16;
        return "train.dtype: bf16";
    case 3:
        if (c->algorithm != TR_ALGORITHM_GRPO || !(c->grpo.kl > 0)) {
            return NULL;
        }
        c->grpo.kl = 0;
        return "grpo.kl: 0";
    case 4:
        if ((c->train.freeze & tower) == tower) {
            return NULL;
        }
        c->train.freeze |= tower;
        return "train.freeze: [vision, merger]";
    default:
        if (c->train.lora.rank) {
            return NULL;
        }
        c->train.lora.rank = 16;
        c->train.freeze |= tower | TR_FREEZE_TEXT;
        return "train.lora: {rank: 16}";
    }
}

int tr_room_others(const tr_config *config, const tr_model_config *model, const tr_params *params,
                   bool adapter_there, const tr_network_limits *limits, tr_room_other others[TR_ROOM_OTHERS])
{
    int count = 0;
    for (int i = 0; i < TR_ROOM_OTHERS; i++) {
        tr_config c = *config;
        tr_network_limits its = *limits;
        tr_device_plan plan;
        const char *key = change(i, &c);
        const unsigned tower = TR_FREEZE_VISION | TR_FREEZE_MERGER;
        json_t *all = json_string("all-linear");
        c.train.lora.targets = c.train.lora.targets ? c.train.lora.targets : all;
        its.recompute = (tr_recompute)c.train.recompute;
        its.train_vision = (c.train.freeze & tower) != tower;
        if (key && !plan_once(&c, model, params, adapter_there && config->train.lora.rank, &its, &plan, NULL)) {
            others[count++] = (tr_room_other){key, plan.total};
        }
        json_decref(all);
    }
    return count;
}

/* "; less with train.recompute: layer (-12.3 GiB), ..." */
static void advise(const tr_room_other *others, int count, uint64_t total, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < count && used < size; i++) {
        if (others[i].total < total) {
            used += (size_t)snprintf(text + used, size - used, "%s%s (-%.3g GiB)", used ? ", " : "; less with ",
                                     others[i].key, (double)(total - others[i].total) / 0x1p30);
        }
    }
}

tr_status tr_room_check(const tr_config *config, const tr_model_config *model, const tr_params *params,
                        bool adapter_there, uint64_t room, uint64_t all, const char *where,
                        tr_network_limits *limits, tr_device_plan *plan, tr_error *err)
{
    tr_room_other others[TR_ROOM_OTHERS];
    char parts[320], less[480];
    tr_status status = tr_room_plan(config, model, params, adapter_there, room, limits, plan, err);
    if (status || plan->total <= room) {
        return status;
    }
    tr_device_plan_text(plan, parts, sizeof parts);
    advise(others, tr_room_others(config, model, params, adapter_there, limits, others), plan->total, less,
           sizeof less);
    return tr_fail(err, TR_MEMORY, where, "the run needs %.4g GiB of GPU memory (%s), %.4g of %.4g GiB are free%s",
                   (double)plan->total / 0x1p30, parts, (double)room / 0x1p30, (double)all / 0x1p30, less);
}
