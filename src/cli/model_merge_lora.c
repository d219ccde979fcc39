/* model_merge_lora.c: `tempr1 model merge-lora`: an adapter becomes part of its base's weights. Tensor by tensor:
 * the memory does not grow with the model. */
#include "cli/cli.h"

#include "base/progress.h"
#include "model/lora.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const tr_command tr_command_model_merge_lora;

/* The adapter's tokenizer when it has one: it is the one that was trained with. */
static tr_status merge(const char *base, const char *adapter, const char *out, tr_dtype dtype,
                       const char *tokenizer, tr_error *err)
{
    char *own = NULL, *path = NULL;
    tr_progress bar;
    tr_status status = TR_OK;
    if (tr_lora_is_adapter(base)) {
        return tr_fail(err, TR_INVALID, base, "BASE is an adapter itself: the order is BASE ADAPTER");
    }
    path = tr_path_join(adapter, "tokenizer_config.json");
    own = tokenizer ? tr_strdup(tokenizer) : tr_strdup(path && tr_file_exists(path) ? adapter : base);
    free(path);
    if (!own) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    tr_progress_begin(&bar, "merging (MB)", 0);
    status = tr_lora_merge(base, adapter, out, dtype, own, tr_cli_show_bytes, &bar, err);
    tr_progress_end(&bar, NULL);
    free(own);
    return status;
}

static int run(int argc, char **argv)
{
    const char *out = NULL, *dtype = NULL, *tokenizer = NULL;
    bool json = false;
    const tr_option options[] = {
        {"out", TR_OPTION_TEXT, &out, "DIR", TR_NEW_CHECKPOINT_HELP, 0, 0, true},
        {"dtype", TR_OPTION_TEXT, &dtype, "f32|bf16",
         "Of the merged weights. Default: bf16 when the base is stored so, else f32.", 0, 0, false},
        {"tokenizer", TR_OPTION_TEXT, &tokenizer, "DIR",
         "Whose tokenizer files are copied. Default: the adapter's, else the base's.", 0, 0, false},
        {"json", TR_OPTION_FLAG, &json, NULL, "Prints one JSON object.", 0, 0, false},
        {0}};
    char **positional;
    int count, exit = tr_cli_parse(&tr_command_model_merge_lora, options, argc, argv, 2, 2, &positional, &count);
    if (exit >= 0) {
        return exit;
    }
    if (dtype && strcmp(dtype, "bf16") != 0 && strcmp(dtype, "f32") != 0) {
        return tr_cli_usage(&tr_command_model_merge_lora, "--dtype must be bf16 or f32, not '%s'", dtype);
    }
    tr_error err = {0};
    tr_status status = merge(positional[0], positional[1], out,
                             !dtype                  ? TR_U8
                             : !strcmp(dtype, "f32") ? TR_F32
                                                     : TR_BF16,
                             tokenizer, &err);
    if (!status && json) {
        json_t *object = json_pack("{s:s, s:s, s:s}", "out", out, "base", positional[0], "adapter", positional[1]);
        status = tr_cli_print_json(object, &err);
        json_decref(object);
    } else if (!status) {
        printf("%s: %s with %s merged in\n", out, positional[0], positional[1]);
    }
    return status ? tr_cli_fail(&tr_command_model_merge_lora, &err) : TR_EXIT_DONE;
}

const tr_command tr_command_model_merge_lora = {
    .name = "model merge-lora",
    .arguments = "BASE ADAPTER --out DIR [options]",
    .summary = "make an adapter part of its base's weights",
    .text =
        "Writes a checkpoint with W + (alpha / rank) B A in place of every adapted W: summed in double, rounded "
        "once. ADAPTER is a folder as peft or a LoRA run of this program writes it (adapter_config.json, "
        "adapter_model.safetensors); BASE is the checkpoint that it was trained on.\n\n"
        "Example: tempr1 model merge-lora Qwen2.5-VL-3B-Instruct runs/lora/checkpoints/step-500 --out merged",
    .run = run};
