/* test_trace.c: runs `tempr1 trace` on a generated checkpoint and inputs: what it writes, that it is the same
 * again, and what it refuses. The goldens are compared through the same code by the tests of src/model. */
#include "support/shared.h"

#include "base/buffer.h"
#include "base/file.h"
#include "model/model.h"
#include "model/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char directory[512], input[512], output[512];

static int run(const char *arguments, char *said, size_t size)
{
    char *command = tr_format("'%s' trace %s 2>&1", TEMPR1_PROGRAM, arguments);
    assert_non_null(command);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t count = fread(said, 1, size - 1, pipe);
    said[count] = 0;
    free(command);
    int code = pclose(pipe);
    return code < 0 ? code : code >> 8;
}

static void add(tr_safetensors_builder *b, const char *name, tr_dtype dtype, int rank, int64_t side0, int64_t side1,
                const void *data)
{
    const int64_t shape[2] = {side0, side1};
    assert_int_equal(tr_safetensors_builder_add(b, name, dtype, rank, shape, data, NULL), TR_OK);
}

/* A group: text, a video of (1, 4, 4), text; two responses. wrong: the positions of another rate. */
static void write_group(const tr_model_config *c, bool wrong, bool weights)
{
    static uint8_t pixels[16 * 1176];
    int64_t ids[10] = {5, 6, 7, c->video_id, c->video_id, c->video_id, c->video_id, 8, 9, 10};
    int64_t positions[30] = {0, 1, 2, 3, 3, 3, 3, 5, 6, 7, 0, 1, 2, 3, 3,
                             4, 4, 5, 6, 7, 0, 1, 2, 3, 4, 3, 4, 5, 6, 7};
    const int64_t grid[3] = {1, 4, 4}, responses[5] = {11, 12, 13, 14, 15}, lengths[2] = {2, 3};
    const double seconds = 1.0;
    const float weight[5] = {1, -1, 0.5f, 2, -0.25f};
    tr_safetensors_builder b = {0};
    for (size_t i = 0; i < sizeof pixels; i++) {
        pixels[i] = (uint8_t)(i * 37 % 251);
    }
    positions[9] += wrong;
    add(&b, "in/prompt_input_ids", TR_I64, 1, 10, 0, ids);
    add(&b, "in/prompt_position_ids", TR_I64, 2, 3, 10, positions);
    add(&b, "in/prompt_video_pixels_u8", TR_U8, 2, 16, 1176, pixels);
    add(&b, "in/prompt_video_grid_thw", TR_I64, 2, 1, 3, grid);
    add(&b, "in/prompt_second_per_grid", TR_F64, 1, 1, 0, &seconds);
    add(&b, "in/response_ids", TR_I64, 1, 5, 0, responses);
    add(&b, "in/response_lengths", TR_I64, 1, 2, 0, lengths);
    if (weights) {
        add(&b, "in/weights", TR_F32, 1, 5, 0, weight);
    }
    assert_int_equal(tr_safetensors_builder_write(&b, input, NULL), TR_OK);
    tr_safetensors_builder_free(&b);
}

static int setup(void **state)
{
    (void)state;
    tr_model_config config;
    tr_model *model;
    const tr_model_options options = {.dtype = TR_F32};
    snprintf(directory, sizeof directory, "%s", scratch_path("model"));
    snprintf(input, sizeof input, "%s", scratch_path("in.safetensors"));
    snprintf(output, sizeof output, "%s", scratch_path("out.safetensors"));
    assert_int_equal(tr_model_config_preset("nano", &config, NULL), TR_OK);
    assert_int_equal(tr_model_create(&config, &options, 1, &model, NULL), TR_OK);
    assert_int_equal(tr_model_save(model, directory, TR_F32, 0, NULL, NULL), TR_OK);
    tr_model_free(model);
    write_group(&config, false, true);
    return 0;
}

static void test_group(void **state)
{
    (void)state;
    char arguments[2048], said[2048], shape[64];
    tr_safetensors first = {0}, again = {0};
    snprintf(arguments, sizeof arguments, "--model '%s' --input '%s' --out '%s' --backward", directory, input,
             output);
    assert_int_equal(run(arguments, said, sizeof said), 0);
    assert_string_equal(said, "");
    assert_int_equal(tr_safetensors_open(&first, output, NULL), TR_OK);
    const tr_safetensor *t = tr_safetensors_find(&first, "out/logp_t0.7");
    assert_non_null(t);
    assert_string_equal(tr_shape_text(t->shape, t->rank, shape, sizeof shape), "[5]");
    t = tr_safetensors_find(&first, "out/loss");
    assert_non_null(t);
    assert_int_equal(t->rank, 0);
    assert_int_equal(t->dtype, TR_F64);
    t = tr_safetensors_find(&first, "out/grad/visual.patch_embed.proj.weight");
    assert_non_null(t);
    assert_string_equal(tr_shape_text(t->shape, t->rank, shape, sizeof shape), "[64, 3, 2, 14, 14]");
    char *other = tr_format("--model '%s' --input '%s' --out '%s.2' --backward --isa scalar --json", directory,
                            input, output);
    assert_int_equal(run(other, said, sizeof said), 0);
    assert_non_null(strstr(said, "{\"kind\":\"groups\",\"out\":"));
    assert_non_null(strstr(said, "\"backward\":true}"));
    free(other);
    other = tr_format("%s.2", output);
    assert_int_equal(tr_safetensors_open(&again, other, NULL), TR_OK);
    free(other);
    assert_int_equal(first.count, again.count);
    for (size_t i = 0; i < first.count; i++) {
        assert_string_equal(first.items[i].name, again.items[i].name);
        assert_memory_equal(first.items[i].data, again.items[i].data, first.items[i].bytes);
    }
    tr_safetensors_close(&first);
    tr_safetensors_close(&again);
}

/* ---- the other kinds ---- */

enum { LONGEST = 64 };

static const uint8_t *pixels_from(int64_t first)
{
    static uint8_t pixels[80 * 1176];
    for (size_t i = 0; i < sizeof pixels; i++) {
        pixels[i] = (uint8_t)(i * 41 % 253);
    }
    return pixels + first * 1176;
}

/* A sequence under prefix: two images that touch, a text token, a video of two grids; then `answer` tokens, which
 * are labels in an SFT row. */
static void add_sequence(tr_safetensors_builder *b, const tr_model_config *c, const char *prefix, int answer,
                         bool labels)
{
    int64_t ids[LONGEST], label[LONGEST], count = 0;
    const int64_t images[2][3] = {{1, 2, 4}, {1, 4, 2}}, video[1][3] = {{2, 2, 6}};
    const double seconds = 0.75;
    char name[64];
    for (int i = 0; i < 3 + 4 + 1 + 6 + 2 + answer; i++) {
        ids[count] = i >= 3 && i < 7 ? c->image_id : i >= 8 && i < 14 ? c->video_id : 20 + i * 7 % 400;
        label[count] = i < 16 || i == 18 ? -100 : ids[count];
        count++;
    }
#define NAMED(key) (snprintf(name, sizeof name, "%s" key, prefix), name)
    add(b, NAMED("input_ids"), TR_I64, 1, count, 0, ids);
    add(b, NAMED("image_pixels_u8"), TR_U8, 2, 16, 1176, pixels_from(0));
    add(b, NAMED("image_grid_thw"), TR_I64, 2, 2, 3, images);
    add(b, NAMED("video_pixels_u8"), TR_U8, 2, 24, 1176, pixels_from(16));
    add(b, NAMED("video_grid_thw"), TR_I64, 2, 1, 3, video);
    add(b, NAMED("second_per_grid"), TR_F64, 1, 1, 0, &seconds);
    if (labels) {
        add(b, NAMED("labels"), TR_I64, 1, count, 0, label);
    }
}

static void add_responses(tr_safetensors_builder *b, const char *prefix, int64_t first, int64_t second)
{
    int64_t ids[LONGEST], lengths[2] = {first, second};
    char name[64];
    for (int i = 0; i < first + second; i++) {
        ids[i] = 30 + i * 11 % 300;
    }
    add(b, NAMED("response_ids"), TR_I64, 1, first + second, 0, ids);
    add(b, NAMED("response_lengths"), TR_I64, 1, 2, 0, lengths);
}

static void trace_kind(tr_safetensors_builder *b, const char *options, const char *says, tr_safetensors *result)
{
    char arguments[2048], said[2048];
    assert_int_equal(tr_safetensors_builder_write(b, input, NULL), TR_OK);
    tr_safetensors_builder_free(b);
    memset(b, 0, sizeof *b);
    snprintf(arguments, sizeof arguments, "--model '%s' --input '%s' --out '%s' %s", directory, input, output,
             options);
    assert_int_equal(run(arguments, said, sizeof said), 0);
    assert_true(*says ? strstr(said, says) != NULL : !*said);
    tr_safetensors_close(result);
    assert_int_equal(tr_safetensors_open(result, output, NULL), TR_OK);
}

static const float *result_of(const tr_safetensors *file, const char *name, const char *shape)
{
    char text[64];
    const tr_safetensor *t = tr_safetensors_find(file, name);
    if (!t || strcmp(tr_shape_text(t->shape, t->rank, text, sizeof text), shape)) {
        fail_msg("%s: %s, expected %s", name, t ? text : "absent", shape);
    }
    return t ? (const float *)(const void *)t->data : NULL;
}

static double scalar_of(const tr_safetensors *file, const char *name)
{
    double x;
    memcpy(&x, result_of(file, name, "[]"), sizeof x);
    return x;
}

static void test_vision_and_text(void **state)
{
    (void)state;
    tr_model_config c;
    tr_safetensors result = {0};
    tr_safetensors_builder b = {0};
    const int64_t grids[2][3] = {{1, 2, 2}, {3, 6, 4}};
    static float d[19 * 64];
    assert_int_equal(tr_model_config_read(directory, &c, NULL), TR_OK);
    for (int i = 0; i < 19 * 64; i++) {
        d[i] = (float)(i % 13) / 8 - 0.5f;
    }
    add(&b, "in/pixels_u8", TR_U8, 2, 76, 1176, pixels_from(0));
    add(&b, "in/grid_thw", TR_I64, 2, 2, 3, grids);
    add(&b, "in/d_features", TR_F32, 2, 19, 64, d);
    trace_kind(&b, "--backward", "", &result);
    result_of(&result, "out/window_index", "[19]");
    result_of(&result, "out/cu_seqlens", "[5]");
    result_of(&result, "out/rope_cos_windowed", "[76, 16]");
    result_of(&result, "out/block_2", "[76, 64]");
    result_of(&result, "out/grad/visual.blocks.1.attn.qkv.bias", "[192]");
    const float *x = result_of(&result, "out/features", "[19, 64]");
    double loss = 0;
    for (int i = 0; i < 19 * 64; i++) {
        loss += (double)x[i] * (double)d[i];
    }
    /* f32 sums of 1216 terms at most: far within a millionth of the sum of magnitudes, which are below 1 or so */
    assert_true(fabs(loss - scalar_of(&result, "out/loss")) <= 1e-4 * (1 + fabs(loss)));

    add_sequence(&b, &c, "in/", 5, false);
    trace_kind(&b, "--backward", "a text input has no loss", &result);
    result_of(&result, "out/inputs_embeds", "[21, 64]");
    result_of(&result, "out/layer_1", "[21, 64]");
    result_of(&result, "out/logits", "[21, 512]");
    result_of(&result, "out/next_token_logp", "[20]");
    assert_null(tr_safetensors_find(&result, "out/loss"));
    tr_safetensors_close(&result);
}

/* Two groups and two SFT rows: each has the bits that it has alone, and the losses are the sum and the mean. */
static void test_several_groups_and_rows(void **state)
{
    (void)state;
    tr_model_config c;
    tr_safetensors both = {0}, one = {0};
    tr_safetensors_builder b = {0};
    const float weights[9] = {1, -0.5f, 2, 0.25f, -1, 1, 3, -2, 0.5f};
    double loss = 0;
    assert_int_equal(tr_model_config_read(directory, &c, NULL), TR_OK);
    add_sequence(&b, &c, "in/group0/prompt_", 0, false);
    add_responses(&b, "in/group0/", 1, 3);
    add_sequence(&b, &c, "in/group1/prompt_", 9, false);
    add_responses(&b, "in/group1/", 4, 1);
    add(&b, "in/weights", TR_F32, 1, 9, 0, weights);
    trace_kind(&b, "--backward", "", &both);
    const float *logp = result_of(&both, "out/logp_t1", "[9]");
    for (int i = 0; i < 9; i++) {
        loss -= (double)weights[i] * (double)logp[i];
    }
    assert_true(fabs(loss - scalar_of(&both, "out/loss")) <= 1e-6 * (1 + fabs(loss)));
    add_sequence(&b, &c, "in/prompt_", 9, false);
    add_responses(&b, "in/", 4, 1);
    trace_kind(&b, "", "", &one);
    assert_memory_equal(result_of(&one, "out/logp_t1", "[5]"), logp + 4, 5 * sizeof *logp);
    assert_memory_equal(result_of(&one, "out/entropy_t0.7", "[5]"), result_of(&both, "out/entropy_t0.7", "[9]") + 4,
                        5 * sizeof *logp);

    add_sequence(&b, &c, "in/row0/", 4, true); /* three labels are kept, one is a hole */
    add_sequence(&b, &c, "in/row1/", 8, true); /* seven */
    trace_kind(&b, "--backward", "", &both);
    double first = scalar_of(&both, "out/row0_mean_loss"), second = scalar_of(&both, "out/row1_mean_loss");
    assert_true(first > 0 && second > 0);
    assert_true(fabs((3 * first + 7 * second) / 10 - scalar_of(&both, "out/loss")) <= 1e-6 * (first + second));
    result_of(&both, "out/grad/model.layers.0.mlp.up_proj.weight", "[96, 64]");
    tr_safetensors_close(&both);
    tr_safetensors_close(&one);
}

static void refuses(const char *options, int code, const char *text)
{
    char arguments[2048], said[2048];
    snprintf(arguments, sizeof arguments, "--model '%s' --input '%s' --out '%s.3' %s", directory, input, output,
             options);
    assert_int_equal(run(arguments, said, sizeof said), code);
    if (!strstr(said, text)) {
        printf("'%s' is not in '%s'\n", text, said);
        fail();
    }
}

static void test_refusals(void **state)
{
    (void)state;
    tr_model_config config;
    assert_int_equal(tr_model_config_preset("nano", &config, NULL), TR_OK);
    refuses("--dtype f64", 2, "expected f32 or bf16");
    refuses("--isa mmx", 1, "mmx");
    write_group(&config, true, true);
    refuses("", 1, "axis 0 of token 9 is 8, but the grids and seconds per grid of the input give 7");
    write_group(&config, false, false);
    refuses("--backward", 1, "in/weights");
    refuses("--model /nonexistent", 1, "/nonexistent");
    assert_int_equal(tr_file_write_atomic(input, "x", 1, NULL), TR_OK);
    refuses("", 1, "in.safetensors");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group),
        cmocka_unit_test(test_vision_and_text),
        cmocka_unit_test(test_several_groups_and_rows),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
