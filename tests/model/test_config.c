/* test_config.c: the three config layouts, class defaults, every refusal by name, presets and their published
 * parameter counts, and that what is written reads back the same. */
#include "support/shared.h"

#include "base/file.h"
#include "model/params.h"

#include <stdio.h>
#include <string.h>

static const char *const good =
    "{\"model_type\": \"qwen2_5_vl\", \"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 4,"
    " \"num_key_value_heads\": 2, \"intermediate_size\": 96, \"vocab_size\": 512, \"rms_norm_eps\": 1e-06,"
    " \"tie_word_embeddings\": true, \"image_token_id\": 506, \"video_token_id\": 507,"
    " \"vision_start_token_id\": 503, \"vision_end_token_id\": 504, \"bos_token_id\": 500, \"eos_token_id\": 502,"
    " \"rope_scaling\": {\"type\": \"mrope\", \"mrope_section\": [2, 3, 3]},"
    " \"vision_config\": {\"depth\": 3, \"hidden_size\": 64, \"num_heads\": 4, \"intermediate_size\": 80,"
    " \"out_hidden_size\": 64, \"in_chans\": 3, \"fullatt_block_indexes\": [1], \"tokens_per_second\": 2}}";

/* Writes text as config.json of a scratch directory, with `from` (when given) replaced by `to`. */
static const char *make_directory(const char *from, const char *to)
{
    static int number;
    static char dir[600], path[700], text[4096];
    snprintf(dir, sizeof dir, "%s-%d", scratch_path("config"), number++);
    assert_int_equal(tr_directory_make(dir, NULL), TR_OK);
    const char *at = from ? strstr(good, from) : NULL;
    if (from) {
        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    } else {
        snprintf(text, sizeof text, "%s", good);
    }
    snprintf(path, sizeof path, "%s/config.json", dir);
    assert_int_equal(tr_file_write_atomic(path, text, strlen(text), NULL), TR_OK);
    return dir;
}

static void same_config(const tr_model_config *a, const tr_model_config *b)
{
    assert_int_equal(a->hidden, b->hidden);
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(a->kv_heads, b->kv_heads);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->intermediate, b->intermediate);
    assert_int_equal(a->vocab, b->vocab);
    assert_int_equal(a->max_positions, b->max_positions);
    assert_memory_equal(a->mrope_sections, b->mrope_sections, sizeof a->mrope_sections);
    assert_true(a->rope_theta == b->rope_theta && a->rms_eps == b->rms_eps && a->tied == b->tied);
    assert_int_equal(a->image_id, b->image_id);
    assert_int_equal(a->video_id, b->video_id);
    assert_int_equal(a->vision_start_id, b->vision_start_id);
    assert_int_equal(a->vision_end_id, b->vision_end_id);
    assert_int_equal(a->bos_id, b->bos_id);
    assert_int_equal(a->eos_id, b->eos_id);
    assert_int_equal(a->pad_id, b->pad_id);
    assert_int_equal(a->end_count, b->end_count);
    for (int64_t i = 0; i < a->end_count; i++) {
        assert_int_equal(a->end_ids[i], b->end_ids[i]);
    }
    const tr_vision_config *v = &a->vision, *w = &b->vision;
    assert_int_equal(v->depth, w->depth);
    assert_int_equal(v->hidden, w->hidden);
    assert_int_equal(v->heads, w->heads);
    assert_int_equal(v->intermediate, w->intermediate);
    assert_int_equal(v->out_hidden, w->out_hidden);
    assert_int_equal(v->window, w->window);
    assert_int_equal(v->full_block_count, w->full_block_count);
    for (int64_t i = 0; i < v->full_block_count; i++) {
        assert_int_equal(v->full_blocks[i], w->full_blocks[i]);
    }
    assert_true(v->tokens_per_second == w->tokens_per_second);
}

static void read_or_say(const char *dir, tr_model_config *config)
{
    tr_error err = {0};
    if (tr_model_config_read(dir, config, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
}

static void test_flat_layout(void **state)
{
    (void)state;
    tr_model_config c;
    read_or_say(make_directory(NULL, NULL), &c);
    assert_int_equal(c.hidden, 64);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.mrope_sections[2], 3);
    assert_true(c.tied);
    assert_true(c.rms_eps == 1e-6f);
    assert_int_equal(c.max_positions, 32768); /* a class default */
    assert_int_equal(c.pad_id, -1);
    assert_int_equal(c.end_count, 1);
    assert_int_equal(c.end_ids[0], 502);
    assert_int_equal(c.vision.window, 112); /* a class default */
    assert_int_equal(c.vision.full_block_count, 1);
    assert_true(c.vision.tokens_per_second == 2);
}

static void test_nested_first(void **state)
{
    (void)state;
    tr_model_config c;
    /* text_config wins over the flat copy; rope_parameters over rope_scaling; null falls through */
    read_or_say(
        make_directory("\"model_type\": \"qwen2_5_vl\",",
                       "\"text_config\": {\"intermediate_size\": 100, \"vocab_size\": null, \"rope_parameters\":"
                       " {\"rope_theta\": 5000.0, \"rope_type\": \"default\", \"mrope_section\": [4, 2, 2]}},"),
        &c);
    assert_int_equal(c.intermediate, 100);
    assert_int_equal(c.vocab, 512);
    assert_true(c.rope_theta == 5000.0);
    assert_int_equal(c.mrope_sections[0], 4);
}

static void test_vision_defaults(void **state)
{
    (void)state;
    tr_model_config c;
    read_or_say(make_directory("\"depth\": 3, \"hidden_size\": 64, \"num_heads\": 4, \"intermediate_size\": 80,",
                               "\"hidden_size\": 64, "),
                &c);
    assert_int_equal(c.vision.depth, 32);
    assert_int_equal(c.vision.heads, 16);
    assert_int_equal(c.vision.intermediate, 3420);
}

typedef struct refusal {
    const char *from, *to, *says;
} refusal;

static void test_refusals(void **state)
{
    (void)state;
    static const refusal table[] = {
        {"\"hidden_size\": 64, \"num_h", "\"hidden_size\": 66, \"num_h", "num_attention_heads"},
        {"\"hidden_size\": 64, \"num_h", "\"hidden_size\": \"64\", \"num_h", "hidden_size must be an integer"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 0", "num_hidden_layers is 0"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 999999999", "num_hidden_layers"},
        {"\"num_attention_heads\": 4", "\"num_attention_heads\": 0", "num_attention_heads is 0"},
        {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "num_key_value_heads 3"},
        {"\"vocab_size\": 512", "\"vocab_size\": 507", "video_token_id is 507"},
        {"\"vocab_size\": 512", "\"vocab_size\": 512, \"head_dim\": 8", "head_dim is 8"},
        {"\"vocab_size\": 512", "\"vocab_size\": 512, \"use_sliding_window\": true", "use_sliding_window"},
        {"\"vocab_size\": 512", "\"vocab_size\": 512, \"layer_types\": [\"sliding_attention\"]", "layer_types"},
        {"\"vocab_size\": 512", "\"vocab_size\": 512, \"hidden_act\": \"gelu\"", "hidden_act is \"gelu\""},
        {"\"vocab_size\": 512", "\"vocab_size\": 512, \"rope_theta\": -1", "rope_theta is -1"},
        {"\"tie_word_embeddings\": true", "\"tie_word_embeddings\": 1",
         "tie_word_embeddings must be true or false"},
        {"[2, 3, 3]", "[2, 3, 4]", "mrope_section [2, 3, 4] adds up to 9"},
        {"[2, 3, 3]", "[2, 6]", "mrope_section must be a list of three"},
        {"[2, 3, 3]", "[2, -3, 9]", "mrope_section[1]"},
        {"\"type\": \"mrope\"", "\"type\": \"yarn\"", "\"yarn\""},
        {"\"model_type\": \"qwen2_5_vl\"", "\"model_type\": \"llama\"", "model_type is \"llama\""},
        {"\"eos_token_id\": 502", "\"eos_token_id\": \"x\"", "eos_token_id must be"},
        {"\"eos_token_id\": 502", "\"eos_token_id\": [1,2,3,4,5,6,7,8,9]", "eos_token_id has 9 ids"},
        {"\"video_token_id\": 507", "\"video_token_id\": 506", "must differ"},
        {"\"num_heads\": 4", "\"num_heads\": 5", "vision_config.num_heads 5"},
        {"\"num_heads\": 4", "\"num_heads\": 32", "multiple of 4"},
        {"\"out_hidden_size\": 64", "\"out_hidden_size\": 32", "out_hidden_size is 32"},
        {"\"in_chans\": 3", "\"in_chans\": 4", "in_channels 4"},
        {"\"in_chans\": 3", "\"in_chans\": 3, \"patch_size\": 16", "patch_size 16"},
        {"\"in_chans\": 3", "\"in_chans\": 3, \"window_size\": 20", "window_size is 20"},
        {"\"fullatt_block_indexes\": [1]", "\"fullatt_block_indexes\": [3]", "names block 3"},
        {"\"fullatt_block_indexes\": [1]", "\"fullatt_block_indexes\": 1", "fullatt_block_indexes must be a list"},
        {"\"tokens_per_second\": 2", "\"tokens_per_second\": 0", "tokens_per_second is 0"},
        {"\"vision_config\"", "\"other_config\"", "vision_config is missing"},
        {"\"tokens_per_second\": 2}}", "\"tokens_per_second\"", "config.json"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        tr_model_config c;
        tr_error err = {0};
        tr_status status = tr_model_config_read(make_directory(table[i].from, table[i].to), &c, &err);
        char all[2048];
        snprintf(all, sizeof all, "%s: %s", err.where, err.message);
        if (!status || !strstr(all, table[i].says) || !strstr(all, "config.json")) {
            fail_msg("row %zu (%s): status %d, \"%s\"", i, table[i].to, status, all);
        }
    }
}

static void test_golden_layouts(void **state)
{
    (void)state;
    tr_model_config nano, other;
    read_or_say(need_shared("golden/checkpoints/nano"), &nano);
    assert_int_equal(nano.end_count, 2); /* generation_config.json */
    assert_int_equal(nano.end_ids[0], 502);
    assert_int_equal(nano.end_ids[1], 500);
    assert_int_equal(nano.eos_id, 502);
    static const char *const copies[] = {"golden/checkpoints/nano-legacy-sharded", "golden/checkpoints/nano-tf449"};
    for (int i = 0; i < 2; i++) {
        read_or_say(need_shared(copies[i]), &other);
        same_config(&nano, &other);
    }
}

/* Spec section 1.3. */
static void test_published_counts(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t text, vision, total;
        int tensors;
    } table[] = {{"qwen2.5-vl-3b", 3085938688, 668684288, 3754622976, 824},
                 {"qwen2.5-vl-7b", 7615616512, 676550144, 8292166656, 729},
                 {"qwen2.5-vl-32b", 32763876352, 688841984, 33452718336, 64 * 12 + 3 + 390},
                 {"qwen2.5-vl-72b", 72706203648, 704573696, 73410777344, 80 * 12 + 3 + 390}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        tr_model_config c;
        tr_params p;
        int64_t counts[3] = {0};
        assert_int_equal(tr_model_config_preset(table[i].name, &c, NULL), TR_OK);
        assert_int_equal(tr_params_build(&c, &p, NULL), TR_OK);
        for (int k = 0; k < p.count; k++) {
            counts[p.items[k].part] += p.items[k].out * p.items[k].in;
        }
        assert_int_equal(p.count, table[i].tensors);
        assert_int_equal(counts[TR_PART_TEXT], table[i].text);
        assert_int_equal(counts[TR_PART_VISION] + counts[TR_PART_MERGER], table[i].vision);
        assert_int_equal(counts[0] + counts[1] + counts[2], table[i].total);
        tr_params_free(&p);
    }
}

static void test_bench_counts(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double millions; /* bench/README.md */
    } table[] = {{"xs", 46.3}, {"s", 360.0}, {"m", 815.3}};
    for (size_t i = 0; i < 3; i++) {
        tr_model_config c;
        tr_params p;
        int64_t count = 0;
        assert_int_equal(tr_model_config_preset(table[i].name, &c, NULL), TR_OK);
        assert_int_equal(tr_params_build(&c, &p, NULL), TR_OK);
        for (int k = 0; k < p.count; k++) {
            count += p.items[k].out * p.items[k].in;
        }
        assert_true((double)count > (table[i].millions - 0.05) * 1e6 &&
                    (double)count < (table[i].millions + 0.05) * 1e6);
        tr_params_free(&p);
    }
}

static void test_presets_round_trip(void **state)
{
    (void)state;
    static const char *const names[] = {"tiny", "nano", "xs", "s", "m", "qwen2.5-vl-3b", "qwen2.5-vl-7b"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tr_model_config c, back;
        char dir[600];
        snprintf(dir, sizeof dir, "%s-%s", scratch_path("preset"), names[i]);
        assert_int_equal(tr_directory_make(dir, NULL), TR_OK);
        assert_int_equal(tr_model_config_preset(names[i], &c, NULL), TR_OK);
        assert_int_equal(tr_model_config_write(dir, &c, "float32", NULL, NULL), TR_OK);
        read_or_say(dir, &back);
        same_config(&c, &back);
    }
    tr_model_config c;
    tr_error err = {0};
    assert_int_equal(tr_model_config_preset("qwen", &c, &err), TR_NOT_FOUND);
    assert_non_null(strstr(err.message, "qwen2.5-vl-3b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flat_layout),     cmocka_unit_test(test_nested_first),
        cmocka_unit_test(test_vision_defaults), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_golden_layouts),  cmocka_unit_test(test_published_counts),
        cmocka_unit_test(test_bench_counts),    cmocka_unit_test(test_presets_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
