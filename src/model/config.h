/* config.h: the hyper-parameters of a Qwen2.5-VL checkpoint, read from config.json.
 *
 * The three published layouts are accepted (spec section 1.4): `text_config.X`, else top-level X, else the class
 * default. Impossible combinations are refused by name. */
#ifndef TR_MODEL_CONFIG_H
#define TR_MODEL_CONFIG_H

#include "base/json.h"

typedef struct tr_vision_config {
    int64_t depth, hidden, heads, intermediate, out_hidden;
    int64_t channels, patch, merge, temporal_patch, window; /* window in pixels */
    int64_t full_blocks[64], full_block_count;              /* blocks with attention over the whole grid */
    double tokens_per_second;
} tr_vision_config;

typedef struct tr_model_config {
    int64_t hidden, layers, heads, kv_heads, head_dim, intermediate, vocab, max_positions;
    int32_t mrope_sections[3];
    double rope_theta;
    float rms_eps;
    bool tied; /* the head is the embedding */
    int64_t image_id, video_id, vision_start_id, vision_end_id;
    int64_t bos_id, eos_id, pad_id; /* -1 when absent */
    int64_t end_ids[8], end_count;  /* where generation stops: generation_config.json's eos, else config's */
    tr_vision_config vision;
} tr_model_config;

/* Reads DIR/config.json (and generation_config.json for the end ids). */
tr_status tr_model_config_read(const char *dir, tr_model_config *config, tr_error *err);

/* Writes config.json (layout 1, that every reader accepts) and generation_config.json; dtype is
 * "float32"/"bfloat16". source: the checkpoint whose other generation settings stay; NULL: none. */
tr_status tr_model_config_write(const char *dir, const tr_model_config *config, const char *dtype,
                                const char *source, tr_error *err);

/* A preset's shape: "tiny" (the demo's), "xs", "s", "m" (bench), "qwen2.5-vl-3b", "qwen2.5-vl-7b", ...;
 * TR_NOT_FOUND lists the names. */
tr_status tr_model_config_preset(const char *name, tr_model_config *config, tr_error *err);

/* Checks that the shape is one that this program can run. */
tr_status tr_model_config_check(const tr_model_config *config, const char *where, tr_error *err);

#endif
