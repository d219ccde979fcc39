/* model_info.c: `tempr1 model info`: what a checkpoint directory holds, without loading it; --check reads all of
 * it. */
#include "cli/adapter_info.h"
#include "cli/cli.h"

#include "model/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const tr_command tr_command_model_info;

typedef struct summary {
    tr_model_config config;
    tr_params params;
    tr_safetensors tensors;
    const tr_safetensor **found;
    int64_t text, layer, embedding, patch, block, vision, merger, total; /* parameters */
    uint64_t bytes;
    int dtypes[7]; /* tensors of each */
    const char *layout;
} summary;

static tr_status collect(const char *dir, summary *s, tr_error *err)
{
    tr_status status;
    TR_TRY(tr_model_config_read(dir, &s->config, err));
    TR_TRY(tr_params_build(&s->config, &s->params, err));
    TR_TRY(tr_safetensors_open_directory(&s->tensors, dir, err));
    TR_TRY(tr_checkpoint_match(&s->tensors, &s->config, &s->params, dir, &s->found, err));
    s->layout = "published (model.layers..., visual...)";
    for (int i = 0; i < s->params.count; i++) {
        const tr_param *p = &s->params.items[i];
        int64_t count = tr_param_count(p);
        s->total += count;
        s->text += p->part == TR_PART_TEXT ? count : 0;
        s->merger += p->part == TR_PART_MERGER ? count : 0;
        s->layer += !strncmp(p->name, "model.layers.0.", 15) ? count : 0;
        s->block += !strncmp(p->name, "visual.blocks.0.", 16) ? count : 0;
        s->bytes += s->found[i]->bytes;
        s->dtypes[s->found[i]->dtype]++;
        if (strcmp(s->found[i]->name, p->name) != 0) {
            s->layout = "newer (model.language_model..., model.visual...)";
        }
    }
    s->embedding = tr_param_count(&s->params.items[s->params.embed]);
    s->patch = tr_param_count(&s->params.items[s->params.patch]);
    s->vision = s->total - s->text;
done:
    return status;
}

static json_t *to_json(const char *dir, const summary *s, bool checked)
{
    const tr_model_config *c = &s->config;
    const tr_vision_config *v = &c->vision;
    json_t *dtypes = json_object(), *files = json_array(), *full = json_array(), *ends = json_array();
    for (int i = 0; i < 7; i++) {
        if (s->dtypes[i]) {
            json_object_set_new(dtypes, tr_dtype_name((tr_dtype)i), json_integer(s->dtypes[i]));
        }
    }
    for (size_t i = 0; i < s->tensors.file_count; i++) {
        const char *path = s->tensors.files[i].path, *slash = strrchr(path, '/');
        json_array_append_new(files, json_string(slash ? slash + 1 : path));
    }
    for (int64_t i = 0; i < v->full_block_count; i++) {
        json_array_append_new(full, json_integer(v->full_blocks[i]));
    }
    for (int64_t i = 0; i < c->end_count; i++) {
        json_array_append_new(ends, json_integer(c->end_ids[i]));
    }
    json_t *text = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:f, s:[i, i, i]}", "hidden",
                             (json_int_t)c->hidden, "layers", (json_int_t)c->layers, "heads", (json_int_t)c->heads,
                             "kv_heads", (json_int_t)c->kv_heads, "head_dim", (json_int_t)c->head_dim,
                             "intermediate", (json_int_t)c->intermediate, "vocab", (json_int_t)c->vocab, "tied",
                             (int)c->tied, "rope_theta", c->rope_theta, "mrope_section", (int)c->mrope_sections[0],
                             (int)c->mrope_sections[1], (int)c->mrope_sections[2]);
    json_t *vision =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:f}", "hidden", (json_int_t)v->hidden, "depth",
                  (json_int_t)v->depth, "heads", (json_int_t)v->heads, "intermediate", (json_int_t)v->intermediate,
                  "window", (json_int_t)v->window, "full_blocks", full, "tokens_per_second", v->tokens_per_second);
    json_t *counts = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "total", (json_int_t)s->total, "text", (json_int_t)s->text,
        "layer", (json_int_t)s->layer, "embedding", (json_int_t)s->embedding, "vision", (json_int_t)s->vision,
        "patch_embed", (json_int_t)s->patch, "block", (json_int_t)s->block, "merger", (json_int_t)s->merger);
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:I, s:i, s:s, s:o, s:o, s:b}", "dir", dir, "text", text, "vision",
                     vision, "parameters", counts, "dtypes", dtypes, "bytes", (json_int_t)s->bytes, "tensors",
                     s->params.count, "layout", s->layout, "files", files, "end_ids", ends, "checked",
                     (int)checked);
}

static void print_text(const char *dir, const summary *s, bool checked)
{
    const tr_model_config *c = &s->config;
    const tr_vision_config *v = &c->vision;
    typedef long long ll;
    printf("%s\n", dir);
    printf("  decoder       %lld layers of width %lld, %lld heads of %lld (%lld for keys and values), mlp %lld, "
           "vocabulary %lld, head %s\n",
           (ll)c->layers, (ll)c->hidden, (ll)c->heads, (ll)c->head_dim, (ll)c->kv_heads, (ll)c->intermediate,
           (ll)c->vocab, c->tied ? "tied to the embedding" : "of its own");
    printf("  vision tower  %lld blocks of width %lld, %lld heads of %lld, mlp %lld, windows of %lld pixels, full "
           "attention in %lld blocks\n",
           (ll)v->depth, (ll)v->hidden, (ll)v->heads, (ll)(v->hidden / v->heads), (ll)v->intermediate,
           (ll)v->window, (ll)v->full_block_count);
    printf("  parameters    %lld\n", (ll)s->total);
    printf("    text        %lld (one layer %lld, one embedding matrix %lld)\n", (ll)s->text, (ll)s->layer,
           (ll)s->embedding);
    printf("    vision      %lld (patch embedding %lld, one block %lld, merger %lld)\n", (ll)s->vision,
           (ll)s->patch, (ll)s->block, (ll)s->merger);
    printf("  tensors       %d in %zu file%s, %llu bytes:", s->params.count, s->tensors.file_count,
           s->tensors.file_count == 1 ? "" : "s", (unsigned long long)s->bytes);
    for (int i = 0; i < 7; i++) {
        if (s->dtypes[i]) {
            printf(" %d %s", s->dtypes[i], tr_dtype_name((tr_dtype)i));
        }
    }
    printf("\n  names         %s\n", s->layout);
    if (checked) {
        printf("  checked       every tensor is there, has its shape and holds finite values only\n");
    }
}

static int run(int argc, char **argv)
{
    bool check = false, json = false;
    const tr_option options[] = {
        {.name = "check",
         .kind = TR_OPTION_FLAG,
         .value = &check,
         .help = "Reads every tensor and refuses values that are not finite."},
        {.name = "json", .kind = TR_OPTION_FLAG, .value = &json, .help = "Prints one JSON object."},
        {0}};
    char **positional;
    int count, exit = tr_cli_parse(&tr_command_model_info, options, argc, argv, 1, 1, &positional, &count);
    if (exit >= 0) {
        return exit;
    }
    const char *dir = positional[0];
    summary s = {0};
    tr_error err = {0};
    tr_status status;
    if (tr_lora_is_adapter(dir)) {
        TR_TRY(tr_cli_adapter_info(dir, check, json, &err));
        goto done;
    }
    TR_TRY(collect(dir, &s, &err));
    if (check) {
        TR_TRY(tr_model_check(dir, true, &err));
    }
    if (json) {
        json_t *object = to_json(dir, &s, check);
        status = tr_cli_print_json(object, &err);
        json_decref(object);
    } else {
        print_text(dir, &s, check);
    }
done:
    free(s.found);
    tr_safetensors_close(&s.tensors);
    tr_params_free(&s.params);
    return status ? tr_cli_fail(&tr_command_model_info, &err) : TR_EXIT_DONE;
}

const tr_command tr_command_model_info = {
    .name = "model info",
    .arguments = "DIR [--check] [--json]",
    .summary = "what a checkpoint holds; --check verifies every tensor",
    .text = "Prints shapes, parameter counts, dtypes, bytes and files of a checkpoint directory. Names, shapes and "
            "data ranges of all tensors are always checked against config.json; --check also reads every value. Of "
            "an adapter folder: its base, rank, targets and tensors.\n\n"
            "Example: tempr1 model info Qwen2.5-VL-3B-Instruct --check",
    .run = run};
