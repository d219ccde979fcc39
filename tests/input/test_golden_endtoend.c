/* test_golden_endtoend.c: from a clip's file to tokens, against the reference: our frames, patches, prompt and
 * positions through the network; the first logits by the goldens' criterion and the greedy tokens, which must be
 * equal. The stages before the network are compared byte for byte by the tests of src/video and src/text. */
#include "support/golden.h"

#include "text/chat.h"
#include "video/clip.h"

enum { TOKENS = 16, TOP = 50 };

typedef struct chain {
    golden g;
    tr_model *model;
    tr_clip *clip;
    tr_ids ids;
    int32_t *positions;
    float *patches, *features, *logits;
} chain;

static void open_clip(chain *c)
{
    char relative[300];
    tr_video_options o = tr_video_options_default();
    snprintf(relative, sizeof relative, "data/%s", json_string_value(json_object_get(c->g.json, "clip")));
    o.total_pixels = 2048 * 784;
    o.min_pixels = 3136;
    o.max_frames = 768;
    golden_ok(tr_clip_open(need_shared(relative), &o, NULL, &c->clip, &err_));
    c->patches = tr_calloc((size_t)c->clip->patches, 1176 * sizeof *c->patches);
    assert_non_null(c->patches);
    golden_ok(tr_clip_patches(c->clip, c->patches, &err_));
}

static void build_prompt(chain *c)
{
    const tr_chat_options options = {.generation_prompt = true};
    const int32_t grid[1][3] = {{c->clip->grid_t, c->clip->grid_h, c->clip->grid_w}};
    tr_tokenizer *tokenizer = NULL;
    tr_chat chat;
    golden_ok(tr_tokenizer_load(need_shared("data/tokenizer/qwen2.5-vl"), &tokenizer, &err_));
    golden_ok(tr_chat_read(json_object_get(c->g.json, "messages"), c->g.name, &chat, &err_));
    for (size_t i = 0; i < chat.part_count; i++) {
        chat.parts[i].tokens = c->clip->patches / 4;
    }
    golden_ok(tr_prompt_build(tokenizer, chat.messages, chat.message_count, &options, &c->ids, &err_));
    c->positions = tr_calloc(c->ids.count, 3 * sizeof *c->positions);
    assert_non_null(c->positions);
    golden_ok(tr_positions(&c->model->config, c->ids.data, (int64_t)c->ids.count, grid, 1,
                           &c->clip->second_per_grid, c->positions, NULL, &err_));
    tr_chat_free(&chat);
    tr_tokenizer_free(tokenizer);
    size_t count;
    const int64_t *truth = golden_tensor(&c->g, "truth/position_ids", &count);
    assert_int_equal(count, 3 * c->ids.count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(c->positions[i], truth[i]);
    }
}

/* The prompt's last logits, then greedy decoding. */
static void generate(chain *c, float *first, int64_t *tokens, float *logp)
{
    const int64_t vocab = c->model->config.vocab, zero = 0;
    const int32_t grid[1][3] = {{c->clip->grid_t, c->clip->grid_h, c->clip->grid_w}};
    const tr_visual visual = {c->patches, c->clip->patches, grid, 1};
    const tr_group prompt = {.prompt_ids = c->ids.data,
                             .positions = c->positions,
                             .prompt = (int64_t)c->ids.count,
                             .features = c->features,
                             .visual_tokens = visual.rows / 4};
    const tr_network_limits limits = {.patches = visual.rows,
                                      .prompt_tokens = prompt.prompt,
                                      .decode_rows = 1,
                                      .decode_groups = 1,
                                      .decode_tokens = TOKENS};
    tr_network *network;
    golden_ok(tr_network_create(c->model, &limits, &network, &err_));
    golden_ok(tr_network_vision_forward(network, &visual, false, c->features, &err_));
    golden_ok(tr_network_prefill(network, 0, &prompt, c->logits, &err_));
    memcpy(first, c->logits, (size_t)vocab * sizeof *first);
    for (int64_t i = 0; i < TOKENS; i++) {
        int32_t best = 0;
        for (int32_t id = 1; id < vocab; id++) {
            best = c->logits[id] > c->logits[best] ? id : best;
        }
        c->model->host_ops->logsoftmax_forward(&logp[i], NULL, NULL, c->logits, &best, 1, vocab, 1.0f);
        tokens[i] = best;
        golden_ok(tr_network_decode(network, &zero, &zero, &i, &best, 1, c->logits, &err_));
    }
    tr_network_free(network);
}

static void case_of(const char *name)
{
    chain c = {0};
    const tr_model_options options = {.dtype = TR_F32};
    int64_t tokens[TOKENS];
    float logp[TOKENS], top[TOP];
    size_t count;
    golden_read(&c.g, name);
    c.model = golden_model(json_string_value(json_object_get(c.g.json, "checkpoint")), &options);
    open_clip(&c);
    build_prompt(&c);
    const size_t vocab = (size_t)c.model->config.vocab;
    c.features = tr_calloc((size_t)c.clip->patches / 4, (size_t)c.model->config.hidden * sizeof *c.features);
    c.logits = tr_calloc(vocab, sizeof *c.logits);
    float *first = tr_calloc(vocab, sizeof *first);
    assert_true(c.features && c.logits && first);
    generate(&c, first, tokens, logp);
    const int64_t *expected = golden_tensor(&c.g, "truth/generated_ids", &count);
    assert_int_equal(count, TOKENS);
    assert_memory_equal(tokens, expected, sizeof tokens);
    assert_true(golden_check(&c.g, "generated_logp", logp));
    const int64_t *best = golden_tensor(&c.g, "truth/top50_ids", &count);
    assert_int_equal(count, TOP);
    for (int i = 0; i < TOP; i++) {
        top[i] = first[best[i]];
    }
    assert_true(golden_check(&c.g, "top50_logits", top));
    free(first);
    free(c.patches);
    free(c.positions);
    free(c.features);
    free(c.logits);
    tr_ids_free(&c.ids);
    tr_clip_free(c.clip);
    tr_model_free(c.model);
    golden_free(&c.g);
}

#define CASE(name)                                                                                                 \
    static void test_##name(void **state)                                                                          \
    {                                                                                                              \
        (void)state;                                                                                               \
        case_of("endtoend-" #name);                                                                                \
    }
CASE(square)
CASE(ntsc)
CASE(natural)
CASE(timecode)

int main(void)
{
    setenv("TEMPR1_WORKER", TEMPR1_PROGRAM, 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_square), cmocka_unit_test(test_ntsc),
                                       cmocka_unit_test(test_natural), cmocka_unit_test(test_timecode)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
