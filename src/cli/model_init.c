/* model_init.c: `tempr1 model init`: writes a checkpoint with random weights. Tensors are made and written piece by
 * piece: a 3B checkpoint needs a few megabytes of memory. */
#include "cli/cli.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "model/checkpoint.h"
#include "text/tokenizer.h"
#include "text/train_bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const tr_command tr_command_model_init;

static tr_status check_tokenizer(const char *dir, tr_error *err)
{
    char *whole = tr_path_join(dir, "tokenizer.json"), *vocab = tr_path_join(dir, "vocab.json");
    tr_status status = TR_OK;
    if (!whole || !vocab) {
        status = tr_fail(err, TR_MEMORY, dir, "out of memory");
    } else if (!tr_file_exists(whole) && !tr_file_exists(vocab)) {
        status =
            tr_fail(err, TR_NOT_FOUND, dir, "%s holds no tokenizer: neither tokenizer.json nor vocab.json", dir);
    }
    free(whole);
    free(vocab);
    return status;
}

/* The shape takes the tokenizer's special ids and has a row for every id: so the two fit each other. */
static tr_status adopt_tokenizer(const char *dir, tr_model_config *c, tr_error *err)
{
    static const char *const names[] = {"<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>",
                                        "<|im_end|>"};
    int64_t *const ids[] = {&c->image_id, &c->video_id, &c->vision_start_id, &c->vision_end_id, &c->eos_id};
    tr_tokenizer *tokenizer = NULL;
    tr_status status;
    TR_TRY(check_tokenizer(dir, err));
    TR_TRY(tr_tokenizer_load(dir, &tokenizer, err));
    for (int i = 0; i < 5; i++) {
        if ((*ids[i] = tr_tokenizer_id(tokenizer, names[i])) < 0) {
            status = tr_fail(err, TR_MISMATCH, dir,
                             "the tokenizer has no token %s; expected one of the Qwen2.5-VL kind", names[i]);
            goto done;
        }
    }
    c->bos_id = tr_tokenizer_id(tokenizer, "<|endoftext|>"); /* -1: none */
    c->end_ids[0] = c->eos_id;
    c->end_ids[1] = c->bos_id;
    c->end_count = c->bos_id < 0 ? 1 : 2;
    int64_t rows = ((int64_t)tr_tokenizer_size(tokenizer) + 15) / 16 * 16;
    c->vocab = rows > c->vocab ? rows : c->vocab;
done:
    tr_tokenizer_free(tokenizer);
    return status;
}

/* A tokenizer in which every word of the file's lines is one token, written into `folder`. */
static tr_status train_tokenizer(const char *samples, const char *folder, tr_error *err)
{
    const tr_train_bpe_options options = {.vocab_size = 0};
    char **lines = NULL;
    size_t count = 0, capacity = 0;
    tr_buffer line = {0};
    FILE *f = fopen(samples, "rb");
    tr_status status = f ? TR_OK : tr_fail(err, TR_NOT_FOUND, samples, "cannot be opened");
    for (bool got = true; !status && got;) {
        TR_TRY(tr_file_read_line(f, 1 << 20, &line, &got, err));
        if (got) {
            TR_TRY(tr_grow(&lines, &capacity, count + 1, sizeof *lines, err));
            if (!(lines[count] = tr_strdup(tr_buffer_text(&line)))) {
                status = tr_fail(err, TR_MEMORY, samples, "out of memory");
                goto done;
            }
            count++;
        }
    }
    status = status ? status : tr_train_bpe((const char *const *)lines, count, &options, folder, err);
done:
    if (f) {
        fclose(f);
    }
    tr_buffer_free(&line);
    tr_names_free(lines, count);
    return status;
}

typedef struct request {
    const char *preset, *out, *dtype;
    const char *tokenizer, *samples; /* a folder to copy from, or a file to make one from; NULL: neither */
    int64_t seed;
    bool json;
} request;

static tr_status print_made(const request *r, const tr_params *params, tr_error *err)
{
    int64_t elements = 0;
    for (int i = 0; i < params->count; i++) {
        elements += tr_param_count(&params->items[i]);
    }
    if (!r->json) {
        printf("%s: %s, %d tensors, %lld parameters, %s, seed %lld\n", r->out, r->preset, params->count,
               (long long)elements, r->dtype, (long long)r->seed);
        return TR_OK;
    }
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:s, s:I, s:i}", "out", r->out, "preset", r->preset, "seed", (json_int_t)r->seed,
                  "dtype", r->dtype, "parameters", (json_int_t)elements, "tensors", params->count);
    tr_status status = tr_cli_print_json(object, err);
    json_decref(object);
    return status;
}

static tr_status init(const request *r, tr_error *err)
{
    char *made = NULL;
    const char *tokenizer = r->tokenizer;
    const uint64_t key = (uint64_t)r->seed;
    tr_model_config config;
    tr_params params = {0};
    tr_progress bar;
    tr_status status;
    TR_TRY(tr_model_config_preset(r->preset, &config, err));
    if (r->samples) {
        if (!(made = tr_format("%s.tokenizer", r->out))) {
            status = tr_fail(err, TR_MEMORY, r->out, "out of memory");
            goto done;
        }
        TR_TRY(train_tokenizer(r->samples, made, err));
        tokenizer = made;
        config.vocab = 0; /* the tokenizer says how many rows */
    }
    if (tokenizer) {
        TR_TRY(adopt_tokenizer(tokenizer, &config, err));
    }
    TR_TRY(tr_params_build(&config, &params, err));
    tr_progress_begin(&bar, "writing weights (MB)", 0);
    status = tr_checkpoint_write(r->out, &config, &params, strcmp(r->dtype, "f32") ? TR_BF16 : TR_F32, 0, tokenizer,
                                 NULL, tr_rows_random, &key, tr_cli_show_bytes, &bar, err);
    tr_progress_end(&bar, NULL);
    status = status ? status : print_made(r, &params, err);
done:
    if (made) {
        tr_directory_remove(made, NULL);
        free(made);
    }
    tr_params_free(&params);
    return status;
}

static int run(int argc, char **argv)
{
    request r = {.dtype = "bf16", .seed = 1};
    const tr_option options[] = {
        {"preset", TR_OPTION_TEXT, &r.preset, "NAME",
         "The shape: tiny, nano, xs, s, m, qwen2.5-vl-3b, qwen2.5-vl-7b, qwen2.5-vl-32b or qwen2.5-vl-72b.", 0, 0,
         true},
        {"out", TR_OPTION_TEXT, &r.out, "DIR", TR_NEW_CHECKPOINT_HELP, 0, 0, true},
        {"seed", TR_OPTION_INT, &r.seed, "N",
         "Seed of the weights; default 1. The same seed gives the same bytes on every machine.", 0, 9e18, false},
        {"dtype", TR_OPTION_TEXT, &r.dtype, "bf16|f32", "How weights are stored; default bf16.", 0, 0, false},
        {"tokenizer", TR_OPTION_TEXT, &r.tokenizer, "DIR",
         "Copies the tokenizer files of this directory beside the weights; the shape takes its special ids, and "
         "more rows of embeddings when it has more tokens than the preset.",
         0, 0, false},
        {"tokenizer-from", TR_OPTION_TEXT, &r.samples, "FILE",
         "Makes a small tokenizer instead, in which every word of this file's lines is one token: for models that "
         "are trained from nothing.",
         0, 0, false},
        {"json", TR_OPTION_FLAG, &r.json, NULL, "Prints one JSON object.", 0, 0, false},
        {0}};
    char **positional;
    int count, exit = tr_cli_parse(&tr_command_model_init, options, argc, argv, 0, 0, &positional, &count);
    if (exit >= 0) {
        return exit;
    }
    if (strcmp(r.dtype, "bf16") != 0 && strcmp(r.dtype, "f32") != 0) {
        return tr_cli_usage(&tr_command_model_init, "--dtype must be bf16 or f32, not '%s'", r.dtype);
    }
    if (r.tokenizer && r.samples) {
        return tr_cli_usage(&tr_command_model_init, "give either --tokenizer or --tokenizer-from");
    }
    tr_error err = {0};
    return init(&r, &err) ? tr_cli_fail(&tr_command_model_init, &err) : TR_EXIT_DONE;
}

const tr_command tr_command_model_init = {
    .name = "model init",
    .arguments = "--preset NAME --out DIR [options]",
    .summary = "write a checkpoint with random weights",
    .text =
        "Writes a Qwen2.5-VL checkpoint directory of a named shape with random weights (normal, standard deviation "
        "0.02; norms 1; biases 0): config.json, generation_config.json and safetensors in shards of at most 5 GB, "
        "as transformers loads them.\n\n"
        "Example: tempr1 model init --preset tiny --out tiny-model --seed 3",
    .run = run};
