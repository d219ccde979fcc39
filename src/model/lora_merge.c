/* lora_merge.c: an adapter becomes part of the weights: W + (alpha / rank) B A, summed in double and rounded once.
 */
#include "model/checkpoint.h"

#include <stdlib.h>

enum { COLUMNS = 512 };

/* `count` elements of row `row` from column `first`. */
static void merged_piece(const tr_safetensor *tensor, const tr_adapter_pair *pair, const tr_lora *lora, int64_t in,
                         int64_t row, int64_t first, int64_t count, float *to)
{
    double sum[COLUMNS] = {0};
    const double scale = lora->alpha / (double)lora->rank;
    for (int64_t k = 0; k < lora->rank; k++) {
        const double b = (double)pair->b[row * lora->rank + k];
        const float *a = pair->a + k * in + first;
        for (int64_t j = 0; j < count; j++) {
            sum[j] += b * (double)a[j];
        }
    }
    tr_safetensors_copy(tensor, row * in + first, count, to, TR_F32, NULL);
    for (int64_t j = 0; j < count; j++) {
        to[j] = (float)((double)to[j] + scale * sum[j]);
    }
}

void tr_merged_rows(const void *context, const tr_param *param, int64_t row0, int64_t rows, void *to,
                    tr_dtype dtype)
{
    const tr_merged *m = context;
    const int64_t index = param - m->params->items, in = param->in;
    const tr_adapter_pair *pair = &m->adapter->found[index];
    const tr_safetensor *tensor = pair->whole ? pair->whole : m->found[index];
    if (!pair->a) {
        tr_safetensors_copy(tensor, row0 * in, rows * in, to, dtype, NULL);
        return;
    }
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t first = 0; first < in; first += COLUMNS) {
            float piece[COLUMNS];
            const int64_t n = in - first < COLUMNS ? in - first : COLUMNS;
            merged_piece(tensor, pair, &m->adapter->lora, in, row0 + row, first, n, piece);
            tr_convert((char *)to + (size_t)(row * in + first) * tr_dtype_size(dtype), dtype, piece, TR_F32, n);
        }
    }
}

/* What the base is stored in: bf16 when its largest tensor is. */
static tr_dtype dtype_of(const tr_params *params, const tr_safetensor *const *found)
{
    return found[params->embed]->dtype == TR_BF16 ? TR_BF16 : TR_F32;
}

tr_status tr_lora_merge(const char *base, const char *adapter_dir, const char *dir, tr_dtype dtype,
                        const char *tokenizer_dir, void (*progress)(void *context, uint64_t bytes, uint64_t total),
                        void *context, tr_error *err)
{
    tr_model_config config;
    tr_params params = {0};
    tr_safetensors tensors = {0};
    const tr_safetensor **found = NULL;
    tr_adapter adapter = {0};
    tr_status status;
    TR_TRY(tr_checkpoint_open(base, &config, &params, &tensors, &found, err));
    TR_TRY(tr_adapter_open(&adapter, adapter_dir, err));
    TR_TRY(tr_adapter_match(&adapter, &params, err));
    const tr_merged merged = {&params, found, &adapter};
    TR_TRY(tr_checkpoint_write(dir, &config, &params, dtype == TR_U8 ? dtype_of(&params, found) : dtype, 0,
                               tokenizer_dir, base, tr_merged_rows, &merged, progress, context, err));
done:
    tr_adapter_close(&adapter);
    free(found);
    tr_safetensors_close(&tensors);
    tr_params_free(&params);
    return status;
}
