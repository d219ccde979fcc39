/* sample.c: what samples and scores own, and giving it back. */
#include "input/sample.h"

#include <stdlib.h>
#include <string.h>

void tr_score_clear(tr_score *score)
{
    if (score) {
        json_decref(score->parsed);
        memset(score, 0, sizeof *score);
    }
}

float *tr_sample_take_patches(tr_sample *sample)
{
    sample->patches =
        sample->lent ? sample->lent : tr_calloc_aligned((size_t)sample->visual.rows, 1176 * sizeof(float));
    sample->visual.patches = sample->patches;
    return sample->patches;
}

void tr_sample_drop_patches(tr_sample *sample)
{
    if (sample->patches != sample->lent) {
        free(sample->patches);
    }
    sample->patches = NULL;
    sample->visual.patches = NULL;
}

void tr_sample_clear(tr_sample *sample)
{
    if (sample) {
        tr_sample_drop_patches(sample);
        free(sample->prompt_ids);
        free(sample->positions);
        free(sample->grids);
        free(sample->target);
        free(sample->target_ids);
        memset(sample, 0, sizeof *sample);
    }
}

void tr_source_free(tr_source *source)
{
    if (source) {
        source->call->free(source);
    }
}

void tr_source_ahead(tr_source *source, const int64_t *rows, int64_t count)
{
    if (source->call->ahead) {
        source->call->ahead(source, rows, count);
    }
}
