/* trace.c: `tempr1 trace`: every stage of the network on the inputs of a case, into a safetensors file. */
#include "cli/cli.h"
#include "model/trace.h"

#include <stdio.h>
#include <string.h>

static int run(int argc, char **argv);

const tr_command tr_command_trace = {
    .name = "trace",
    .arguments = "--model DIR --input CASE.safetensors --out OUT.safetensors [options]",
    .summary = "every stage of the network on given inputs, for comparison with another implementation",
    .text = "The kind of a case follows from its tensors: in/pixels_u8 (u8 patches; value = (u8 - 128) / 64) is a vision\n"
            "case, in/input_ids text, in/prompt_input_ids or in/group0/... groups, in/row0/... SFT. Given position ids\n"
            "are used, absent ones computed; a difference between both is an error. Results are whole: out/block_0,\n"
            "out/layer_0, out/logits, out/logp_t1, out/logp_t0.7, ...; with --backward also out/loss and\n"
            "out/grad/NAME for every parameter. The loss is sum(d_features * features) for vision,\n"
            "-sum(weights * logp_t1) for groups, the mean over kept tokens for SFT; text cases have none.\n"
            "\n"
            "  tempr1 trace --model CHECKPOINT --input group.safetensors --out out.safetensors --backward\n",
    .run = run};

static tr_status trace(const char *dir, const char *input, const char *output, const tr_model_options *options,
                       bool backward, tr_error *err)
{
    tr_safetensors in = {0};
    tr_safetensors_builder out = {0};
    tr_model_options load = *options;
    tr_model *model = NULL;
    tr_trace_kind kind;
    tr_status status;
    TR_TRY(tr_safetensors_open(&in, input, err));
    TR_TRY(tr_trace_kind_of(&in, &kind, err));
    if (backward && (kind == TR_TRACE_TEXT || kind == TR_TRACE_ROPE)) {
        fprintf(stderr, "tempr1 trace: a %s case has no loss; only the forward is written\n",
                kind == TR_TRACE_TEXT ? "text" : "rotary table");
        backward = false;
    }
    load.train = backward;
    TR_TRY(tr_model_load(dir, &load, &model, err));
    TR_TRY(tr_trace_run(model, &in, backward, &out, err));
    TR_TRY(tr_safetensors_builder_write(&out, output, err));
    fprintf(stderr, "%zu tensors written to %s\n", out.count, output);
done:
    if (status) {
        tr_fail_where(err, status, "%s", input);
    }
    tr_model_free(model);
    tr_safetensors_builder_free(&out);
    tr_safetensors_close(&in);
    return status;
}

static int run(int argc, char **argv)
{
    const char *model = NULL, *input = NULL, *output = NULL, *dtype = "f32", *isa = NULL;
    bool backward = false;
    char **positional;
    int count;
    const tr_option options[] = {
        {.name = "model", .kind = TR_OPTION_TEXT, .value = &model, .argument = "DIR", .help = "checkpoint directory",
         .required = true},
        {.name = "input", .kind = TR_OPTION_TEXT, .value = &input, .argument = "FILE",
         .help = "safetensors file with the in/... tensors", .required = true},
        {.name = "out", .kind = TR_OPTION_TEXT, .value = &output, .argument = "FILE",
         .help = "safetensors file that is written", .required = true},
        {.name = "backward", .kind = TR_OPTION_FLAG, .value = &backward, .help = "also the loss and all gradients"},
        {.name = "dtype", .kind = TR_OPTION_TEXT, .value = &dtype, .argument = "TYPE",
         .help = "weights as f32 or rounded to bf16; activations are f32. Default: f32"},
        {.name = "isa", .kind = TR_OPTION_TEXT, .value = &isa, .argument = "NAME",
         .help = "kernels: scalar, avx2, avx512 or reference. Default: the widest of this machine"},
        {0}};
    int exit_status = tr_cli_parse(&tr_command_trace, options, argc, argv, 0, 0, &positional, &count);
    if (exit_status >= 0) {
        return exit_status;
    }
    if (strcmp(dtype, "f32") != 0 && strcmp(dtype, "bf16") != 0) {
        return tr_cli_usage(&tr_command_trace, "--dtype %s: f32 or bf16", dtype);
    }
    tr_model_options load = {.dtype = strcmp(dtype, "f32") == 0 ? TR_F32 : TR_BF16, .isa = isa};
    tr_error err = {0};
    tr_status status = trace(model, input, output, &load, backward, &err);
    return status ? tr_cli_fail(&tr_command_trace, &err) : TR_EXIT_DONE;
}
