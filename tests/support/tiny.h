/* tiny.h: a checkpoint with its own tokenizer and a synthetic corpus, small enough to make in every test process.
 *
 * The network is the preset "nano" with random weights, the tokenizer a byte-level BPE trained on a few sentences;
 * the corpus is that of `tempr1 data synth`. For tests of modules that see model, text and corpus. */
#ifndef TR_TESTS_SUPPORT_TINY_H
#define TR_TESTS_SUPPORT_TINY_H

#include "support/shared.h"

#include "corpus/synth.h"
#include "model/model.h"
#include "text/tokenizer.h"
#include "text/train_bpe.h"

#include <string.h>

/* Writes the tokenizer's files into directory. */
static inline void tiny_tokenizer(const char *directory)
{
    const char *texts[] = {
        "system You are a helpful assistant. user When does the red circle move? assistant 2.0 to 5.0",
        "<answer>1.5 to 4.0</answer> <think>the blue square moves</think> between seconds and"};
    const tr_train_bpe_options options = {.vocab_size = TR_TRAIN_SMALLEST + 24};
    tr_error err = {0};
    if (tr_train_bpe(texts, 2, &options, directory, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
}

/* Writes a checkpoint into directory with the tokenizer's files beside it. context 0: the preset's. */
static inline void tiny_checkpoint(const char *tokenizer_directory, const char *directory, uint64_t seed,
                                   int64_t context)
{
    tr_tokenizer *tokenizer;
    tr_model_config c;
    tr_model *model;
    const tr_model_options options = {.dtype = TR_F32};
    tr_error err = {0};
    assert_int_equal(tr_tokenizer_load(tokenizer_directory, &tokenizer, &err), TR_OK);
    assert_int_equal(tr_model_config_preset("nano", &c, &err), TR_OK);
    c.vocab = (int64_t)(tr_tokenizer_size(tokenizer) + 15) / 16 * 16;
    c.max_positions = context ? context : c.max_positions;
    c.image_id = tr_tokenizer_id(tokenizer, "<|image_pad|>");
    c.video_id = tr_tokenizer_id(tokenizer, "<|video_pad|>");
    c.vision_start_id = tr_tokenizer_id(tokenizer, "<|vision_start|>");
    c.vision_end_id = tr_tokenizer_id(tokenizer, "<|vision_end|>");
    c.eos_id = c.end_ids[0] = tr_tokenizer_id(tokenizer, "<|im_end|>");
    c.bos_id = c.pad_id = tr_tokenizer_id(tokenizer, "<|endoftext|>");
    c.end_count = 1;
    assert_int_equal(tr_model_create(&c, &options, seed, &model, &err), TR_OK);
    assert_int_equal(tr_model_save(model, directory, TR_F32, 0, tokenizer_directory, &err), TR_OK);
    tr_model_free(model);
    tr_tokenizer_free(tokenizer);
}

/* DIRECTORY/test.jsonl with rows of the tasks over `clips` clips of 56 x 56 pixels and 2 to 4 seconds. */
static inline void tiny_corpus(const char *directory, const char *tasks, int64_t clips)
{
    tr_synth_options o;
    tr_error err = {0};
    tr_synth_defaults(&o);
    o.clips[0] = o.clips[1] = 0;
    o.clips[2] = clips;
    o.min_duration_s = 2;
    o.max_duration_s = 4;
    o.min_events = 1;
    o.max_events = 2;
    o.min_event_s = 0.5;
    o.tasks = tasks;
    if (tr_synth_write(&o, directory, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
}

#endif
