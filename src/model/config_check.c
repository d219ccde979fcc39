/* config_check.c: whether a shape is one that this program can run. Every refusal names the field, its value and
 * what would be right. Bounds are generous (a hundred times the largest published model), so that products of
 * fields cannot overflow 64 bits later. */
#include "model/config.h"

#include <math.h>
#include <stdio.h>

#define REFUSE(...) return tr_fail(err, TR_FORMAT, where, __VA_ARGS__)
typedef long long ll;

static tr_status check_bounds(const tr_model_config *c, const char *where, tr_error *err)
{
    const tr_vision_config *v = &c->vision;
    const struct {
        const char *key;
        int64_t value, max;
    } fields[] = {{"hidden_size", c->hidden, 1 << 20},
                  {"num_hidden_layers", c->layers, 4096},
                  {"num_attention_heads", c->heads, 1 << 16},
                  {"num_key_value_heads", c->kv_heads, 1 << 16},
                  {"intermediate_size", c->intermediate, 1 << 22},
                  {"vocab_size", c->vocab, 1 << 24},
                  {"max_position_embeddings", c->max_positions, 1 << 30},
                  {"vision_config.depth", v->depth, 4096},
                  {"vision_config.hidden_size", v->hidden, 1 << 18},
                  {"vision_config.num_heads", v->heads, 1 << 16},
                  {"vision_config.intermediate_size", v->intermediate, 1 << 20},
                  {"vision_config.out_hidden_size", v->out_hidden, 1 << 20},
                  {"vision_config.window_size", v->window, 1 << 20}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (fields[i].value < 1 || fields[i].value > fields[i].max) {
            REFUSE("%s is %lld; it must be from 1 to %lld", fields[i].key, (ll)fields[i].value, (ll)fields[i].max);
        }
    }
    return TR_OK;
}

static tr_status check_text(const tr_model_config *c, const char *where, tr_error *err)
{
    if (c->hidden % c->heads) {
        REFUSE("hidden_size %lld is not a multiple of num_attention_heads %lld", (ll)c->hidden, (ll)c->heads);
    }
    if (c->head_dim != c->hidden / c->heads) {
        REFUSE("head_dim is %lld; only hidden_size / num_attention_heads = %lld is supported", (ll)c->head_dim,
               (ll)(c->hidden / c->heads));
    }
    if (c->heads % c->kv_heads) {
        REFUSE("num_attention_heads %lld is not a multiple of num_key_value_heads %lld", (ll)c->heads,
               (ll)c->kv_heads);
    }
    if (c->head_dim % 2) {
        REFUSE("the head size hidden_size / num_attention_heads = %lld must be even for the rotary embedding",
               (ll)c->head_dim);
    }
    int64_t sum = 0;
    for (int i = 0; i < 3; i++) {
        if (c->mrope_sections[i] < 0) {
            REFUSE("mrope_section[%d] is %d; it must not be negative", i, c->mrope_sections[i]);
        }
        sum += c->mrope_sections[i];
    }
    if (sum != c->head_dim / 2) {
        REFUSE("mrope_section [%d, %d, %d] adds up to %lld; it must be half of the head size, %lld",
               c->mrope_sections[0], c->mrope_sections[1], c->mrope_sections[2], (ll)sum, (ll)(c->head_dim / 2));
    }
    if (!(c->rope_theta > 0) || !isfinite(c->rope_theta)) {
        REFUSE("rope_theta is %g; it must be a positive number", c->rope_theta);
    }
    if (!(c->rms_eps >= 0) || !isfinite(c->rms_eps)) {
        REFUSE("rms_norm_eps is %g; it must not be negative", (double)c->rms_eps);
    }
    return TR_OK;
}

static tr_status check_vision(const tr_vision_config *v, int64_t hidden, const char *where, tr_error *err)
{
    if (v->channels != 3 || v->patch != 14 || v->temporal_patch != 2 || v->merge != 2) {
        REFUSE(
            "vision_config has in_channels %lld, patch_size %lld, temporal_patch_size %lld and spatial_merge_size "
            "%lld; only 3, 14, 2 and 2, as in every Qwen2.5-VL checkpoint, are supported",
            (ll)v->channels, (ll)v->patch, (ll)v->temporal_patch, (ll)v->merge);
    }
    if (v->hidden % v->heads) {
        REFUSE("vision_config.hidden_size %lld is not a multiple of vision_config.num_heads %lld", (ll)v->hidden,
               (ll)v->heads);
    }
    if (v->hidden / v->heads % 4) {
        REFUSE(
            "the vision head size hidden_size / num_heads = %lld must be a multiple of 4 for the two-axis rotary "
            "embedding",
            (ll)(v->hidden / v->heads));
    }
    if (v->out_hidden != hidden) {
        REFUSE(
            "vision_config.out_hidden_size is %lld, but the decoder's hidden_size is %lld: visual features would "
            "not fit",
            (ll)v->out_hidden, (ll)hidden);
    }
    if (v->window < v->patch * v->merge) {
        REFUSE("vision_config.window_size is %lld pixels; it must hold at least one merged patch of %lld",
               (ll)v->window, (ll)(v->patch * v->merge));
    }
    if (!(v->tokens_per_second > 0) || v->tokens_per_second > 1e6) {
        REFUSE("vision_config.tokens_per_second is %g; it must be positive", v->tokens_per_second);
    }
    for (int64_t i = 0; i < v->full_block_count; i++) {
        if (v->full_blocks[i] < 0 || v->full_blocks[i] >= v->depth) {
            REFUSE("vision_config.fullatt_block_indexes names block %lld, but the tower has blocks 0 to %lld",
                   (ll)v->full_blocks[i], (ll)v->depth - 1);
        }
    }
    return TR_OK;
}

static tr_status check_ids(const tr_model_config *c, const char *where, tr_error *err)
{
    const struct {
        const char *key;
        int64_t id;
        bool optional;
    } ids[] = {{"image_token_id", c->image_id, false},
               {"video_token_id", c->video_id, false},
               {"vision_start_token_id", c->vision_start_id, false},
               {"vision_end_token_id", c->vision_end_id, false},
               {"bos_token_id", c->bos_id, true},
               {"eos_token_id", c->eos_id, true},
               {"pad_token_id", c->pad_id, true}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (ids[i].optional && ids[i].id == -1) {
            continue;
        }
        if (ids[i].id < 0 || ids[i].id >= c->vocab) {
            REFUSE("%s is %lld, which is not a row of the vocabulary (vocab_size %lld)", ids[i].key, (ll)ids[i].id,
                   (ll)c->vocab);
        }
    }
    for (int64_t i = 0; i < c->end_count; i++) {
        if (c->end_ids[i] < 0 || c->end_ids[i] >= c->vocab) {
            REFUSE("eos_token_id %lld is not a row of the vocabulary (vocab_size %lld)", (ll)c->end_ids[i],
                   (ll)c->vocab);
        }
    }
    if (c->image_id == c->video_id) {
        REFUSE("image_token_id and video_token_id are both %lld; they must differ", (ll)c->image_id);
    }
    return TR_OK;
}

tr_status tr_model_config_check(const tr_model_config *config, const char *where, tr_error *err)
{
    tr_status status;
    TR_TRY(check_bounds(config, where, err));
    TR_TRY(check_text(config, where, err));
    TR_TRY(check_vision(&config->vision, config->hidden, where, err));
    TR_TRY(check_ids(config, where, err));
done:
    return status;
}
