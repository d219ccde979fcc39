/* train_bpe.h: makes a small tokenizer from sample texts, in the files that Hugging Face and this program read.
 *
 * Byte-level BPE: the 256 bytes, then the most frequent pair of neighbours inside words becomes a token, again and
 * again; ties go to the pair with the smaller ids. The same samples give the same files, byte for byte. The 22
 * added tokens of Qwen2.5-VL stand at the end, in the published order. */
#ifndef TR_TEXT_TRAIN_BPE_H
#define TR_TEXT_TRAIN_BPE_H

#include "text/bpe.h"

enum { TR_TRAIN_ADDED = 22, TR_TRAIN_SMALLEST = 256 + TR_TRAIN_ADDED };

typedef struct tr_train_bpe_options {
    size_t vocab_size; /* ids in all, added tokens included; at least TR_TRAIN_SMALLEST; 0: until every word of the
                        * samples is one token */
    bool tokenizer_json; /* write tokenizer.json too */
} tr_train_bpe_options;

/* Trains on texts (UTF-8, NUL-terminated) and writes vocab.json, merges.txt and tokenizer_config.json into
 * directory (made when absent). TR_INVALID when the samples hold too few different words for so many tokens: the
 * message says how many they give. Time is about linear in the size of the samples' distinct words plus the
 * occurrences merged. */
tr_status tr_train_bpe(const char *const *texts, size_t count, const tr_train_bpe_options *options,
                       const char *directory, tr_error *err);

#endif
