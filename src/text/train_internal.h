/* train_internal.h: what training hands to the writer of the files. */
#ifndef TR_TEXT_TRAIN_INTERNAL_H
#define TR_TEXT_TRAIN_INTERNAL_H

#include "base/buffer.h"
#include "text/train_bpe.h"

typedef struct tr_trained {
    tr_buffer bytes; /* of all tokens, one after the other */
    size_t *starts;  /* [tokens + 1] */
    size_t tokens, token_capacity;
    int32_t (*merges)[2]; /* [merge_count] left and right ids, by rank */
    size_t merge_count, merge_capacity;
} tr_trained;

tr_status tr_trained_write(const tr_trained *trained, const tr_train_bpe_options *options, const char *directory,
                           tr_error *err);

#endif
