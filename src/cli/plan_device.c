/* plan_device.c: the plan of a run for a GPU, also on a machine that has none, and of a model that does not exist
 * yet: shapes are enough. */
#include "cli/plan_device.h"

#include "model/checkpoint.h"
#include "tensor/cuda/cuda.h"
#include "train/room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tr_status tr_plan_device_shape(const char *model, const char *preset, tr_model_config *config, tr_error *err)
{
    char *base = NULL;
    tr_status status;
    if (preset) {
        return tr_model_config_preset(preset, config, err);
    }
    status = tr_lora_base(model, &base, err);
    status = status ? status : tr_model_config_read(base, config, err);
    free(base);
    return status;
}

tr_status tr_plan_device_memory(const char *text, uint64_t *bytes, tr_error *err)
{
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"", 1},     {"M", 1e6},      {"G", 1e9},      {"MB", 1e6},
                 {"GB", 1e9}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"T", 1e12}};
    tr_cuda_info info;
    char *end;
    if (!text) {
        tr_cuda_describe(&info);
        *bytes = info.missing ? 0 : info.memory_bytes;
        return TR_OK;
    }
    const double number = strtod(text, &end);
    for (size_t i = 0; end != text && i < sizeof units / sizeof *units; i++) {
        if (!strcmp(end, units[i].name) && number > 0 && number * units[i].bytes < 0x1p60) {
            *bytes = (uint64_t)(number * units[i].bytes);
            return TR_OK;
        }
    }
    return tr_fail(err, TR_INVALID, "--memory", "expected a size such as 139GiB or 80G, found '%s'", text);
}

/* Names, shapes and stored dtypes. */
static tr_status read_table(const tr_plan_device *what, tr_model_config *config, tr_params *params, tr_error *err)
{
    tr_safetensors tensors = {0};
    const tr_safetensor **found = NULL;
    char *base = NULL;
    tr_status status;
    if (what->preset) {
        TR_TRY(tr_model_config_preset(what->preset, config, err));
        TR_TRY(tr_params_build(config, params, err));
    } else {
        TR_TRY(tr_lora_base(what->model, &base, err));
        TR_TRY(tr_checkpoint_open(base, config, params, &tensors, &found, err));
    }
    for (int i = 0; i < params->count; i++) {
        params->items[i].stored = found ? found[i]->dtype : TR_BF16;
    }
done:
    free(base);
    free(found);
    tr_safetensors_close(&tensors);
    return status;
}

static tr_status plan_question(const tr_plan_device *what, const tr_model_config *config, const tr_params *params,
                               tr_device_plan *plan, tr_error *err)
{
    const tr_model_options options = {.dtype = what->dtype};
    tr_device_work work = {.options = &options, .limits = &what->limits};
    tr_adapter file = {0};
    tr_status status = TR_OK;
    if (!what->preset && tr_lora_is_adapter(what->model)) {
        TR_TRY(tr_adapter_open(&file, what->model, err));
        TR_TRY(tr_adapter_match(&file, params, err));
        work.adapter = file.parameters;
        work.adapter_rank = file.lora.rank;
    }
    TR_TRY(tr_device_plan_make(config, params, &work, plan, err));
done:
    tr_adapter_close(&file);
    return status;
}

static const char *name_of(const tr_plan_device *what)
{
    return what->preset ? what->preset : what->model;
}

static void print_row(const char *name, const char *form, uint64_t bytes)
{
    if (bytes) {
        printf("  %-28s %-20s %9.3f GiB\n", name, form, (double)bytes / 0x1p30);
    }
}

static void print_text(const tr_plan_device *what, const tr_device_plan *p, const tr_room_other *others, int count)
{
    const tr_config *c = what->config;
    const tr_network_limits *l = &what->limits;
    const bool narrow = c && c->optim.moments == TR_MOMENTS_8BIT;
    const char *dtype = what->dtype == TR_BF16 ? "bf16" : "f32";
    printf("%s on a GPU: prompts of up to %lld tokens, %lld of them visual (grid %lld,%lld,%lld); ", name_of(what),
           (long long)l->prompt_tokens, (long long)l->patches / 4, (long long)what->grid[0],
           (long long)what->grid[1], (long long)what->grid[2]);
    printf("%lld tokens of responses in a packed group\n", (long long)l->response_tokens);
    print_row("weights for computing", dtype, p->weights);
    print_row("masters", "f32", p->masters);
    print_row("gradients", "f32", p->gradients);
    print_row("moments", narrow ? "8 bits" : "f32", p->moments);
    print_row("reference weights", dtype, p->reference);
    print_row("KV cache", "", p->kv);
    print_row("activations and logits",
              !c                                         ? ""
              : c->train.recompute == TR_RECOMPUTE_LAYER ? "recompute: layer"
                                                         : "recompute: none",
              p->network - p->kv);
    print_row("reference's activations", "", p->reference_network);
    print_row("operations' own memory", "at most", p->scratch);
    print_row("staging", "", p->staging);
    printf("  %-49s %9.3f GiB", "total", (double)p->total / 0x1p30);
    if (what->memory) {
        printf(" of %.1f GiB%s", (double)what->memory / 0x1p30, p->total > what->memory ? ": DOES NOT FIT" : "");
    }
    printf("\n");
    if (p->decode_groups) {
        printf("  %lld prompt%s share%s a decode batch\n", (long long)p->decode_groups,
               p->decode_groups == 1 ? "" : "s", p->decode_groups == 1 ? "s" : "");
    }
    for (int i = 0; i < count; i++) {
        printf("  with %-44s %9.3f GiB%s\n", others[i].key, (double)others[i].total / 0x1p30,
               what->memory && others[i].total > what->memory ? ": does not fit" : "");
    }
}

static json_t *to_json(const tr_plan_device *what, const tr_device_plan *p, const tr_room_other *others, int count)
{
    json_t *bytes =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "weights", (json_int_t)p->weights,
                  "masters", (json_int_t)p->masters, "gradients", (json_int_t)p->gradients, "moments",
                  (json_int_t)p->moments, "reference_weights", (json_int_t)p->reference, "kv", (json_int_t)p->kv,
                  "activations", (json_int_t)(p->network - p->kv), "reference_working",
                  (json_int_t)p->reference_network, "workspace", (json_int_t)p->scratch, "staging",
                  (json_int_t)p->staging, "total", (json_int_t)p->total, "memory", (json_int_t)what->memory);
    json_t *with = json_object();
    for (int i = 0; i < count; i++) {
        json_object_set_new(with, others[i].key, json_integer((json_int_t)others[i].total));
    }
    return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:o}", "model", name_of(what), "device", "cuda",
                     "bytes", bytes, "total_with", with, "prompt_tokens", (json_int_t)what->limits.prompt_tokens,
                     "visual_tokens", (json_int_t)(what->limits.patches / 4), "group_tokens",
                     (json_int_t)what->limits.response_tokens, "decode_groups", (json_int_t)p->decode_groups,
                     "fits", what->memory ? json_boolean(p->total <= what->memory) : json_null());
}

tr_status tr_plan_device_show(const tr_plan_device *asked, tr_error *err)
{
    tr_plan_device what = *asked;
    tr_model_config config;
    tr_params params = {0};
    tr_device_plan plan;
    tr_room_other others[TR_ROOM_OTHERS];
    int count = 0;
    tr_status status;
    TR_TRY(read_table(&what, &config, &params, err));
    if (what.config) {
        const bool adapter = !what.preset && tr_lora_is_adapter(what.model);
        const uint64_t room = what.memory ? what.memory : UINT64_MAX;
        TR_TRY(tr_room_plan(what.config, &config, &params, adapter, room, &what.limits, &plan, err));
        count = tr_room_others(what.config, &config, &params, adapter, &what.limits, others);
    } else {
        TR_TRY(plan_question(&what, &config, &params, &plan, err));
    }
    if (what.json) {
        json_t *object = to_json(&what, &plan, others, count);
        status = object ? tr_cli_print_json(object, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
        json_decref(object);
    } else {
        print_text(&what, &plan, others, count);
    }
done:
    tr_params_free(&params);
    return status;
}
