/* pack.h: several question-answer pairs of one clip as one packed group.
 *
 * The group's prompt is what their prompts have in common from the start on: the clip and all before the questions
 * differ. What is left of a prompt and then its target are one response. So the clip is computed once, forward and
 * backward; a response sees the shared part and itself, and its positions go on from it, as in a sequence of its
 * own. The loss takes the targets only: the rest of a prompt has weight 0.
 *
 * The same function of the same numbers, but not in the same order of additions: attention's key tiles begin anew
 * where the shared part ends, not where the prompt ends. Losses and gradients agree to f32 rounding; they are equal
 * bit for bit where both ends fall on a multiple of 64 tokens, and for a pair that is alone. */
#ifndef TR_TRAIN_PACK_H
#define TR_TRAIN_PACK_H

#include "input/sample.h"

typedef struct tr_pack {
    int64_t pairs, prompt_tokens, response_tokens; /* planned: the most of one group */
    int64_t *lengths, *rests;                      /* [pairs] tokens of a response; of them the prompt's */
    int32_t *ids;                                  /* [response_tokens] */
    int32_t *positions;                            /* [3][prompt_tokens] */
} tr_pack;

tr_status tr_pack_create(tr_pack *pack, int64_t pairs, int64_t prompt_tokens, int64_t response_tokens,
                         tr_error *err);
void tr_pack_free(tr_pack *pack);

/* The group of samples [0, count) of one clip, all with targets; it borrows from pack and samples. features: the
 * clip's. *saved: prompt tokens that only the first one needed. TR_MISMATCH when the prompts differ before the clip
 * ends, TR_MEMORY when they do not fit the plan. */
tr_status tr_pack_build(tr_pack *pack, const tr_model_config *model, const tr_sample *samples, int64_t count,
                        const float *features, tr_group *group, int64_t *saved, tr_error *err);

#endif
