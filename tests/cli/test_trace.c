/* test_trace.c: `tempr1 trace` and `tempr1 bench` as scripts use them, on a generated checkpoint and generated cases
 * (no reference data): outputs, shapes, given and computed positions, refused input, key names. */
#include "support/shared.h"

#include "base/file.h"
#include "base/json.h"
#include "model/network.h"
#include "model/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { VISUAL = 15, PROMPT = 4 + VISUAL + 3, PATCHES = 4 * VISUAL, TOKENS = 7 };

static char model_dir[4096];
static tr_model_config config;

/* Runs the program; what it printed on stdout and stderr together is in *said (valid until the next run). */
static int run(const char *arguments, const char **said)
{
    static tr_buffer out;
    char path[4096];
    snprintf(path, sizeof path, "%s", scratch_path("said"));
    char *command = tr_format("'%s' %s >'%s' 2>&1", TEMPR1_PROGRAM, arguments, path);
    int status = system(command);
    free(command);
    tr_buffer_clear(&out);
    assert_int_equal(tr_file_read(path, 0, &out, NULL), TR_OK);
    *said = tr_buffer_text(&out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int setup(void **state)
{
    (void)state;
    const char *said;
    snprintf(model_dir, sizeof model_dir, "%s", scratch_path("model"));
    char *arguments = tr_format("model init --preset nano --out '%s'", model_dir);
    int status = run(arguments, &said);
    free(arguments);
    return status || tr_model_config_read(model_dir, &config, NULL);
}

/* ---- cases ---- */

static void add(tr_safetensors_builder *b, const char *prefix, const char *name, tr_dtype dtype, int rank,
                const int64_t *shape, const void *data)
{
    char full[96];
    snprintf(full, sizeof full, "in/%s%s", prefix, name);
    assert_int_equal(tr_safetensors_builder_add(b, full, dtype, rank, shape, data, NULL), TR_OK);
}

/* A prompt with one video of grid (1, 6, 10). */
static void add_prompt(tr_safetensors_builder *b, const char *prefix)
{
    int64_t ids[PROMPT], grid[3] = {1, 6, 10};
    uint8_t *pixels = malloc(PATCHES * 1176);
    assert_non_null(pixels);
    for (int i = 0; i < PROMPT; i++) {
        ids[i] = i >= 4 && i < 4 + VISUAL ? config.video_id : 3 + 7 * i;
    }
    for (int i = 0; i < PATCHES * 1176; i++) {
        pixels[i] = (uint8_t)(i * 37 % 251);
    }
    add(b, prefix, "input_ids", TR_I64, 1, (const int64_t[]){PROMPT}, ids);
    add(b, prefix, "video_grid_thw", TR_I64, 2, (const int64_t[]){1, 3}, grid);
    add(b, prefix, "video_pixels_u8", TR_U8, 2, (const int64_t[]){PATCHES, 1176}, pixels);
    free(pixels);
}

static void add_responses(tr_safetensors_builder *b, bool weights)
{
    const int64_t ids[TOKENS] = {5, 6, 7, 8, 9, 10, 11}, lengths[3] = {4, 1, 2};
    const float w[TOKENS] = {1, -1, 0.5f, 0.25f, 2, -0.5f, 1};
    add(b, "", "response_ids", TR_I64, 1, (const int64_t[]){TOKENS}, ids);
    add(b, "", "response_lengths", TR_I64, 1, (const int64_t[]){3}, lengths);
    if (weights) {
        add(b, "", "weights", TR_F32, 1, (const int64_t[]){TOKENS}, w);
    }
}

/* Writes the case, runs trace, and expects an exit status and a text among what it says. */
static void trace(tr_safetensors_builder *b, const char *flags, int exit_status, const char *says)
{
    char in[4096], out[4096];
    const char *said;
    snprintf(in, sizeof in, "%s", scratch_path("case.safetensors"));
    snprintf(out, sizeof out, "%s", scratch_path("out.safetensors"));
    remove(out);
    assert_int_equal(tr_safetensors_builder_write(b, in, NULL), TR_OK);
    tr_safetensors_builder_free(b);
    *b = (tr_safetensors_builder){0};
    char *arguments = tr_format("trace --model '%s' --input '%s' --out '%s' %s", model_dir, in, out, flags);
    int status = run(arguments, &said);
    free(arguments);
    if (status != exit_status || !strstr(said, says) || tr_file_exists(out) != !exit_status) {
        fail_msg("status %d, said: %s", status, said);
    }
}

/* An output of the last run: dtype, shape as text, all values finite. */
static void expect(const tr_safetensors *out, const char *name, tr_dtype dtype, const char *shape)
{
    char text[96];
    const tr_safetensor *t = tr_safetensors_find(out, name);
    if (!t) {
        fail_msg("no %s", name);
    }
    assert_int_equal(t->dtype, dtype);
    assert_string_equal(tr_shape_text(t->shape, t->rank, text, sizeof text), shape);
    double *x = calloc((size_t)t->elements + 1, sizeof *x), square = 0;
    assert_non_null(x);
    assert_int_equal(tr_safetensors_copy(t, 0, t->elements, x, TR_F64, NULL), TR_OK);
    for (int64_t i = 0; i < t->elements; i++) {
        assert_true(isfinite(x[i]));
        square += x[i] * x[i];
    }
    assert_true(square > 0);
    free(x);
}

static void open_outputs(tr_safetensors *out)
{
    *out = (tr_safetensors){0};
    assert_int_equal(tr_safetensors_open(out, scratch_path("out.safetensors"), NULL), TR_OK);
}

static void test_a_group(void **state)
{
    (void)state;
    tr_safetensors_builder b = {0};
    tr_safetensors out;
    add_prompt(&b, "prompt_");
    add_responses(&b, true);
    trace(&b, "--backward", 0, "");
    open_outputs(&out);
    expect(&out, "out/logp_t1", TR_F32, "[7]");
    expect(&out, "out/entropy_t0.7", TR_F32, "[7]");
    expect(&out, "out/loss", TR_F64, "[]");
    expect(&out, "out/grad/model.embed_tokens.weight", TR_F32, "[512, 64]");
    expect(&out, "out/grad/visual.patch_embed.proj.weight", TR_F32, "[64, 3, 2, 14, 14]");
    expect(&out, "out/grad/visual.blocks.2.mlp.gate_proj.bias", TR_F32, "[80]");
    tr_safetensors_close(&out);
    add_prompt(&b, "prompt_");
    add_responses(&b, false);
    trace(&b, "--backward", 1, "in/weights");
    add_prompt(&b, "prompt_");
    add_responses(&b, false);
    trace(&b, "--dtype bf16 --isa reference", 0, "");
}

static void test_text(void **state)
{
    (void)state;
    tr_safetensors_builder b = {0};
    tr_safetensors out;
    add_prompt(&b, "");
    trace(&b, "--backward", 0, "has no loss");
    open_outputs(&out);
    expect(&out, "out/inputs_embeds", TR_F32, "[22, 64]");
    expect(&out, "out/rope_cos", TR_F32, "[22, 16]");
    expect(&out, "out/layer_1", TR_F32, "[22, 64]");
    expect(&out, "out/final_norm", TR_F32, "[22, 64]");
    expect(&out, "out/logits", TR_F32, "[22, 512]");
    expect(&out, "out/next_token_logp", TR_F32, "[21]");
    int64_t positions[3 * PROMPT];
    int32_t ids[PROMPT], computed[3 * PROMPT];
    for (int i = 0; i < PROMPT; i++) {
        ids[i] = i >= 4 && i < 4 + VISUAL ? (int32_t)config.video_id : 3 + 7 * i;
    }
    assert_int_equal(tr_positions(&config, ids, PROMPT, (const int32_t[1][3]){{1, 6, 10}}, 1, (const double[]){1},
                                  computed, NULL, NULL),
                     TR_OK);
    for (int i = 0; i < 3 * PROMPT; i++) {
        positions[i] = computed[i];
    }
    tr_safetensors_close(&out);
    add_prompt(&b, "");
    add(&b, "", "position_ids", TR_I64, 2, (const int64_t[]){3, PROMPT}, positions);
    add(&b, "", "second_per_grid", TR_F64, 1, (const int64_t[]){1}, &(const double){1});
    trace(&b, "", 0, "");
    positions[PROMPT + 7]++;
    add_prompt(&b, "");
    add(&b, "", "position_ids", TR_I64, 2, (const int64_t[]){3, PROMPT}, positions);
    add(&b, "", "second_per_grid", TR_F64, 1, (const int64_t[]){1}, &(const double){1});
    trace(&b, "", 1, "axis 1 of token 7 is 5");
}

static void test_supervised_rows_and_vision(void **state)
{
    (void)state;
    tr_safetensors_builder b = {0};
    tr_safetensors out;
    int64_t labels[PROMPT], grid[6] = {1, 4, 4, 2, 4, 2};
    uint8_t pixels[32 * 1176];
    float d[8 * 64];
    for (int i = 0; i < PROMPT; i++) {
        labels[i] = i < 4 + VISUAL ? -100 : 3 + 7 * i;
    }
    add_prompt(&b, "row0/");
    add(&b, "row0/", "labels", TR_I64, 1, (const int64_t[]){PROMPT}, labels);
    trace(&b, "--backward", 0, "");
    open_outputs(&out);
    expect(&out, "out/loss", TR_F64, "[]");
    expect(&out, "out/grad/model.norm.weight", TR_F32, "[64]");
    tr_safetensors_close(&out);
    for (size_t i = 0; i < sizeof pixels; i++) {
        pixels[i] = (uint8_t)(i * 11 % 256);
    }
    for (int i = 0; i < 8 * 64; i++) {
        d[i] = (float)(i % 5) - 2;
    }
    add(&b, "", "pixels_u8", TR_U8, 2, (const int64_t[]){32, 1176}, pixels);
    add(&b, "", "grid_thw", TR_I64, 2, (const int64_t[]){2, 3}, grid);
    add(&b, "", "d_features", TR_F32, 2, (const int64_t[]){8, 64}, d);
    trace(&b, "--backward", 0, "");
    open_outputs(&out);
    expect(&out, "out/cu_window_seqlens", TR_I64, "[4]");
    expect(&out, "out/block_2", TR_F32, "[32, 64]");
    expect(&out, "out/features", TR_F32, "[8, 64]");
    expect(&out, "out/grad/visual.merger.mlp.2.weight", TR_F32, "[64, 256]");
    assert_null(tr_safetensors_find(&out, "out/grad/model.norm.weight"));
    tr_safetensors_close(&out);
}

static void test_refused_input(void **state)
{
    (void)state;
    tr_safetensors_builder b = {0};
    const int64_t grid[3] = {1, 6, 8}, ids[3] = {1, 2, 3};
    add(&b, "", "nothing", TR_I64, 1, (const int64_t[]){3}, ids);
    trace(&b, "", 1, "in/pixels_u8 (vision)");
    uint8_t pixels[48 * 1176] = {0};
    add(&b, "", "input_ids", TR_I64, 1, (const int64_t[]){3}, ids);
    add(&b, "", "video_grid_thw", TR_I64, 2, (const int64_t[]){1, 3}, grid);
    add(&b, "", "video_pixels_u8", TR_U8, 2, (const int64_t[]){48, 1176}, pixels);
    trace(&b, "", 1, "0 and 1 are given");
    add(&b, "", "pixels_u8", TR_U8, 2, (const int64_t[]){44, 1176}, pixels);
    add(&b, "", "grid_thw", TR_I64, 2, (const int64_t[]){1, 3}, grid);
    trace(&b, "", 1, "48 patches");
    const char *said;
    assert_int_equal(run("trace --model x --input y", &said), 2);
    assert_int_equal(run("trace --model x --input y --out z", &said), 1);
    assert_int_equal(run("trace --model x --input y --out z --dtype f16", &said), 2);
}

static void test_the_keys_of_bench(void **state)
{
    (void)state;
    static const char *const paths[][4] = {{"vision", "seconds", "median", NULL},
                                           {"prefill", "seconds", "median", NULL},
                                           {"decode", "shared", "step_seconds", "median"},
                                           {"logprob", "seconds", "median", NULL},
                                           {"update", "seconds", "median", NULL},
                                           {"step", "seconds", "median", NULL},
                                           {"step", "parts", "rollout", NULL},
                                           {"step", "parts", "reference", NULL},
                                           {"step", "parts", "update", NULL},
                                           {"update", "peak_rss_gib", NULL, NULL}};
    const char *said;
    json_t *json;
    char *arguments = tr_format("bench --model '%s' --grid 1,6,10 --text 8 --group 2 --response 4 --repeats 1 --json"
                                "", model_dir);
    assert_int_equal(run(arguments, &said), 0);
    free(arguments);
    said = strchr(said, '{') ? strchr(said, '{') : said;
    assert_int_equal(tr_json_parse(said, strlen(said), "bench", 0, &json, NULL), TR_OK);
    const json_t *phases = json_object_get(json, "phases");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const json_t *value = phases;
        for (int k = 0; k < 4 && paths[i][k]; k++) {
            value = json_object_get(value, paths[i][k]);
        }
        if (!(json_is_number(value) && json_number_value(value) > 0)) {
            fail_msg("phases.%s.%s is missing", paths[i][0], paths[i][1]);
        }
    }
    assert_true(json_number_value(json_object_get(json_object_get(phases, "step"), "logprob_gap")) == 0);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_group),       cmocka_unit_test(test_text),
        cmocka_unit_test(test_refused_input), cmocka_unit_test(test_supervised_rows_and_vision),
        cmocka_unit_test(test_the_keys_of_bench),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
