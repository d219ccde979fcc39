/* trace.c: `tempr1 trace`: every stage of the network on given inputs, for comparison with another implementation.
 */
#include "cli/cli.h"

#include "model/trace.h"

#include <stdio.h>
#include <string.h>

extern const tr_command tr_command_trace;

typedef struct request {
    const char *model, *adapter, *input, *out, *dtype, *device, *isa;
    bool backward, json;
} request;

static tr_status print_summary(const request *r, tr_trace_kind kind, size_t tensors, tr_error *err)
{
    static const char *const kinds[] = {[TR_TRACE_VISION] = "vision",
                                        [TR_TRACE_TEXT] = "text",
                                        [TR_TRACE_GROUPS] = "groups",
                                        [TR_TRACE_SFT] = "sft"};
    json_t *object = json_pack("{s:s, s:s, s:I, s:b}", "kind", kinds[kind], "out", r->out, "tensors",
                               (json_int_t)tensors, "backward", r->backward && kind != TR_TRACE_TEXT);
    tr_status status = object ? tr_cli_print_json(object, err)
                              : tr_fail(err, TR_FORMAT, r->out, "the file's name is not valid UTF-8");
    json_decref(object);
    return status;
}

static tr_status trace(const request *r, tr_error *err)
{
    tr_model_options options = {
        .dtype = !strcmp(r->dtype, "bf16") ? TR_BF16 : TR_F32, .device = r->device, .isa = r->isa};
    tr_model *model = NULL;
    tr_safetensors file = {0};
    tr_trace_input input = {0};
    tr_safetensors_builder builder = {0};
    tr_model_config config;
    tr_status status;
    TR_TRY(tr_safetensors_open(&file, r->input, err));
    TR_TRY(tr_model_config_read(r->model, &config, err));
    status = tr_trace_input_read(&config, &file, &input, err);
    if (status) {
        tr_fail_context(err, status, "%s", r->input);
        goto done;
    }
    if (r->backward && input.kind == TR_TRACE_TEXT) {
        fprintf(stderr, "tempr1 trace: a text input has no loss: --backward adds nothing\n");
    }
    options.train = r->backward && input.kind != TR_TRACE_TEXT;
    options.adapter = r->adapter;
    if (r->adapter || tr_lora_is_adapter(r->model)) { /* only the adapter has gradients */
        options.freeze_text = options.freeze_vision = options.freeze_merger = true;
    }
    TR_TRY(tr_model_load(r->model, &options, &model, err));
    TR_TRY(tr_trace_run(model, &input, r->backward, &builder, err));
    TR_TRY(tr_safetensors_builder_write(&builder, r->out, err));
    if (r->json) {
        TR_TRY(print_summary(r, input.kind, builder.count, err));
    }
done:
    tr_safetensors_builder_free(&builder);
    tr_trace_input_free(&input);
    tr_model_free(model);
    tr_safetensors_close(&file);
    return status;
}

static int run(int argc, char **argv)
{
    request r = {.dtype = "f32"};
    const tr_option options[] = {
        {"model", TR_OPTION_TEXT, &r.model, "DIR", "The checkpoint, or an adapter folder, which names its base.", 0,
         0, true},
        {"adapter", TR_OPTION_TEXT, &r.adapter, "DIR",
         "An adapter for the checkpoint (peft's files), when --model is its base.", 0, 0, false},
        {"input", TR_OPTION_TEXT, &r.input, "FILE", "A safetensors file with in/... tensors.", 0, 0, true},
        {"out", TR_OPTION_TEXT, &r.out, "FILE", "The safetensors file to write, with out/... tensors.", 0, 0, true},
        {"backward", TR_OPTION_FLAG, &r.backward, NULL, "Also the loss and the gradient of every parameter.", 0, 0,
         false},
        {"dtype", TR_OPTION_TEXT, &r.dtype, "f32|bf16",
         "Of the weights (default f32); activations and accumulation are f32.", 0, 0, false},
        {"device", TR_OPTION_TEXT, &r.device, "auto|cpu|cuda:N", TR_DEVICE_HELP, 0, 0, false},
        {"isa", TR_OPTION_TEXT, &r.isa, "NAME", TR_ISA_HELP, 0, 0, false},
        {"json", TR_OPTION_FLAG, &r.json, NULL, "Print one JSON object: kind, out, tensors, backward.", 0, 0,
         false},
        {0}};
    char **positional;
    int count, exit = tr_cli_parse(&tr_command_trace, options, argc, argv, 0, 0, &positional, &count);
    if (exit >= 0) {
        return exit;
    }
    if (strcmp(r.dtype, "f32") != 0 && strcmp(r.dtype, "bf16") != 0) {
        return tr_cli_usage(&tr_command_trace, "--dtype %s: expected f32 or bf16", r.dtype);
    }
    tr_error err = {0};
    return trace(&r, &err) ? tr_cli_fail(&tr_command_trace, &err) : TR_EXIT_DONE;
}

const tr_command tr_command_trace = {
    .name = "trace",
    .arguments = "--model DIR --input FILE --out FILE [--backward] [--dtype f32|bf16] [options]",
    .summary = "every stage of the network on given inputs, to compare with another implementation",
    .text =
        "Reads named tensors (in/pixels_u8: vision; in/input_ids: text; in/prompt_input_ids or "
        "in/group0/...: groups; in/row0/...: SFT), runs the network, and writes every stage as out/NAME, whole. "
        "With --backward also out/loss and out/grad/NAME of every parameter, in checkpoint names; with an adapter "
        "of its matrices alone, in peft's names.\n\n"
        "Example: tempr1 trace --model nano --input group.safetensors --out trace.safetensors --backward",
    .run = run};
