/* pack.c: several question-answer pairs of one clip as one packed group. */
#include "train/pack.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

tr_status tr_pack_create(tr_pack *p, int64_t pairs, int64_t prompt_tokens, int64_t response_tokens, tr_error *err)
{
    *p = (tr_pack){.pairs = pairs, .prompt_tokens = prompt_tokens, .response_tokens = response_tokens};
    p->lengths = tr_calloc((size_t)pairs, sizeof *p->lengths);
    p->rests = tr_calloc((size_t)pairs, sizeof *p->rests);
    p->ids = tr_calloc((size_t)response_tokens, sizeof *p->ids);
    p->positions = tr_calloc((size_t)prompt_tokens, 3 * sizeof *p->positions);
    return p->lengths && p->rests && p->ids && p->positions
               ? TR_OK
               : tr_fail(err, TR_MEMORY, NULL, "out of memory for packed question-answer pairs");
}

void tr_pack_free(tr_pack *p)
{
    free(p->lengths);
    free(p->rests);
    free(p->ids);
    free(p->positions);
    memset(p, 0, sizeof *p);
}

/* Tokens that all prompts begin with; positions are a function of them and the clip. */
static int64_t common(const tr_sample *samples, int64_t count)
{
    int64_t same = samples[0].prompt;
    for (int64_t i = 1; i < count; i++) {
        const tr_sample *s = &samples[i];
        int64_t k = 0;
        while (k < same && k < s->prompt && s->prompt_ids[k] == samples[0].prompt_ids[k]) {
            k++;
        }
        same = k;
    }
    return same;
}

static bool holds_clip(const tr_model_config *model, const tr_sample *s, int64_t tokens)
{
    int64_t found = 0;
    for (int64_t i = 0; i < tokens; i++) {
        found += s->prompt_ids[i] == model->video_id || s->prompt_ids[i] == model->image_id;
    }
    return found == s->visual_tokens;
}

static tr_status check(const tr_pack *p, const tr_model_config *model, const tr_sample *samples, int64_t count,
                       int64_t shared, tr_error *err)
{
    int64_t tokens = 0;
    for (int64_t i = 0; i < count; i++) {
        tokens += samples[i].prompt - shared + samples[i].target_count;
        if (samples[i].clip_key != samples[0].clip_key || !holds_clip(model, &samples[i], shared)) {
            return tr_fail(err, TR_MISMATCH, samples[i].id,
                           "its prompt differs from that of row %s before their clip ends; sft.share_clip: false "
                           "computes them apart",
                           samples[0].id);
        }
    }
    if (count > p->pairs || shared > p->prompt_tokens || tokens > p->response_tokens) {
        return tr_fail(err, TR_MEMORY, samples[0].id,
                       "%lld pairs of %lld tokens behind %lld; planned were %lld, %lld, %lld", (long long)count,
                       (long long)tokens, (long long)shared, (long long)p->pairs, (long long)p->response_tokens,
                       (long long)p->prompt_tokens);
    }
    return TR_OK;
}

tr_status tr_pack_build(tr_pack *p, const tr_model_config *model, const tr_sample *samples, int64_t count,
                        const float *features, tr_group *group, int64_t *saved, tr_error *err)
{
    const tr_sample *first = samples;
    const int64_t shared = common(samples, count);
    tr_status status = check(p, model, samples, count, shared, err);
    if (status) {
        return status;
    }
    for (int axis = 0; axis < 3; axis++) {
        memcpy(p->positions + axis * shared, first->positions + axis * first->prompt,
               (size_t)shared * sizeof *p->positions);
    }
    int32_t *at = p->ids;
    *saved = (count - 1) * shared;
    for (int64_t i = 0; i < count; i++) {
        const tr_sample *s = &samples[i];
        p->rests[i] = s->prompt - shared;
        p->lengths[i] = p->rests[i] + s->target_count;
        memcpy(at, s->prompt_ids + shared, (size_t)p->rests[i] * sizeof *at);
        memcpy(at + p->rests[i], s->target_ids, (size_t)s->target_count * sizeof *at);
        at += p->lengths[i];
    }
    *group = (tr_group){.prompt_ids = first->prompt_ids,
                        .positions = p->positions,
                        .prompt = shared,
                        .features = features,
                        .visual_tokens = first->visual_tokens,
                        .response_ids = p->ids,
                        .lengths = p->lengths,
                        .responses = count};
    return TR_OK;
}
