/* test_lora.c: an adapter from its training to its use by the program: train, info, ask, score, eval, tokenize,
 * trace, plan, merge-lora; what is refused says why. */
#include "cli/program.h"
#include "support/tiny.h"

#include <math.h>

static char model[512], corpus[512], config[600], adapter[700];
static const char small[] = "--min-frames 2 --max-frames 4 --total-pixels 12544 --min-pixels 784 --quiet";

static int make(void **state)
{
    (void)state;
    char tokenizer[512], text[2048];
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    snprintf(model, sizeof model, "%s", scratch_path("model"));
    snprintf(corpus, sizeof corpus, "%s", scratch_path("corpus"));
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, model, 3, 0);
    tiny_corpus(corpus, "tg", 2);
    snprintf(
        text, sizeof text,
        "model: model\nout: run\ndata: [ {rows: corpus/test.jsonl, videos: corpus/videos, prompt: no-think} ]\n"
        "video: {min_frames: 2, max_frames: 4, total_pixels: 12544, min_pixels: 784}\n"
        "algorithm: sft\ngrpo: {prompts_per_step: 2}\noptim: {lr: 0.02}\n"
        "train: {dtype: f32, steps: 4, lora: {rank: 4, alpha: 8}}\n");
    snprintf(config, sizeof config, "%s", program_file("run.yaml", text));
    snprintf(adapter, sizeof adapter, "%s", scratch_path("run/checkpoints/step-4"));
    program_expect(tr_format("train '%s'", config), 0, "step-4", "adapter: rank 4 on 14 linear layers");
    return 0;
}

static json_t *ask(const char *who)
{
    return program_lines(tr_format("ask %s --json %s --max-tokens 8 '%s/videos/test-00000.mp4' 'the red circle'",
                                   who, small, corpus));
}

static double first_logprob(const json_t *answers)
{
    return json_real_value(json_array_get(json_object_get(json_array_get(answers, 0), "logprobs"), 0));
}

/* The folder alone, base and adapter apart, and the merged checkpoint answer alike; the base does not. */
static void test_every_way_to_use_it(void **state)
{
    (void)state;
    char *folder = tr_format("--model '%s'", adapter),
         *both = tr_format("--model '%s' --adapter '%s'", model, adapter), *base = tr_format("--model '%s'", model),
         *merged = tr_format("--model '%s'", scratch_path("merged"));
    program_expect(tr_format("model merge-lora '%s' '%s' --out '%s'", model, adapter, scratch_path("merged")), 0,
                   "merged in", "");
    json_t *a = ask(folder), *b = ask(both), *c = ask(base), *d = ask(merged);
    assert_true(json_equal(a, b));
    assert_false(json_equal(a, c));
    assert_true(fabs(first_logprob(a) - first_logprob(d)) < 1e-4); /* merging rounds every weight once, to f32 */
    assert_true(fabs(first_logprob(a) - first_logprob(c)) > 1e-3);
    json_decref(a);
    json_decref(b);
    json_decref(c);
    json_decref(d);
    const char *rows = program_file("score.jsonl", "{\"prompt\": \"when\", \"response\": \"2.0 to 5.0\"}\n");
    json_t *x = program_lines(tr_format("score %s --input '%s'", folder, rows)),
           *y = program_lines(tr_format("score %s --input '%s'", both, rows));
    assert_true(json_array_size(x) == 1 && json_equal(x, y));
    json_decref(x);
    json_decref(y);
    const char *out[] = {scratch_path("eval-a"), scratch_path("eval-b")};
    for (int i = 0; i < 2; i++) {
        program_expect(tr_format("eval %s --data '%s/test.jsonl' --videos '%s/videos' --out '%s' %s --max-tokens 6",
                                 i ? both : folder, corpus, corpus, out[i], small),
                       0, "tg", "");
    }
    json_t *cards[2];
    for (int i = 0; i < 2; i++) {
        char *path = tr_path_join(out[i], "metrics.json");
        assert_int_equal(tr_json_read(path, &cards[i], NULL), TR_OK);
        free(path);
    }
    const char *hash = json_string_value(json_object_get(json_object_get(cards[0], "protocol"), "model_hash"));
    assert_non_null(hash);
    assert_string_equal(hash,
                        json_string_value(json_object_get(json_object_get(cards[1], "protocol"), "model_hash")));
    json_decref(cards[0]);
    json_decref(cards[1]);
    program_expect(tr_format("selftest --model '%s'", adapter), 0, "tokenizer and template fit", "");
    free(folder);
    free(both);
    free(base);
    free(merged);
}

static void test_info(void **state)
{
    (void)state;
    program_expect(tr_format("model info '%s' --check", adapter), 0, "every tensor fits the base", "");
    json_t *lines = program_lines(tr_format("model info '%s' --json", adapter)), *one = json_array_get(lines, 0);
    assert_int_equal(json_integer_value(json_object_get(one, "rank")), 4);
    assert_int_equal(json_integer_value(json_object_get(one, "adapted")), 14);
    assert_int_equal(json_integer_value(json_object_get(one, "whole_tensors")), 0);
    json_decref(lines);
    program_expect(tr_format("model info '%s'", scratch_path("merged")), 0, "2 layers of width 64", "");
}

static void test_plan(void **state)
{
    (void)state;
    const char *const ways[] = {"", "train.lora=null"};
    long long bytes[2], reference[2];
    for (int i = 0; i < 2; i++) {
        json_t *lines = program_lines(tr_format("model plan '%s' algorithm=grpo --json %s", config, ways[i])),
               *one = json_array_get(lines, 0), *all = json_object_get(one, "bytes");
        bytes[i] = json_integer_value(json_object_get(all, "masters_gradients_moments"));
        reference[i] = json_integer_value(json_object_get(all, "reference_weights"));
        assert_int_equal(json_integer_value(json_object_get(json_object_get(one, "adapter"), "layers")),
                         i ? 0 : 14);
        json_decref(lines);
    }
    /* rank 4 takes the room of 16; of each layer A of 6 inputs of 64 and one of 96, B of outputs 4 * 64 + ... */
    const long long a = 16 * (6 * 64 + 96), b = 4 * (64 + 32 + 32 + 64 + 96 + 96 + 64);
    assert_int_equal(bytes[0], 16 * 2 * (a + b));
    assert_true(bytes[1] > 10 * bytes[0]);
    assert_int_equal(reference[0], 0); /* the model itself with its adapter off */
    assert_true(reference[1] > 0);
    program_expect(tr_format("model plan '%s'", config), 0, "adapter on 14 linear layers", "");
}

static void test_trace(void **state)
{
    (void)state;
    char *folder = tr_strdup(need_shared("golden/checkpoints/nano-lora"));
    char *out = tr_strdup(scratch_path("trace.safetensors"));
    program_expect(tr_format("trace --model '%s' --input '%s' --out '%s' --backward", folder,
                             need_shared("golden/cases/lora-nano.safetensors"), out),
                   0, "", "");
    tr_safetensors t = {0};
    assert_int_equal(tr_safetensors_open(&t, out, NULL), TR_OK);
    assert_non_null(tr_safetensors_find(&t, "out/last_logits"));
    assert_non_null(tr_safetensors_find(
        &t, "out/grad/base_model.model.model.language_model.layers.1.mlp.down_proj.lora_B.weight"));
    assert_null(tr_safetensors_find(&t, "out/grad/model.layers.1.mlp.down_proj.weight")); /* frozen */
    tr_safetensors_close(&t);
    free(folder);
    free(out);
}

static void test_refusals(void **state)
{
    (void)state;
    program_expect(tr_format("train '%s' train.lora.targets='[wq]' out='%s'", config, scratch_path("x")), 1, "",
                   "train.lora.targets: [\"wq\"] matches no linear layer");
    program_expect(tr_format("train '%s' train.lora.dropout=0.1", config), 1, "", "train.lora.dropout is 0.1");
    program_expect(
        tr_format("train '%s' train.lora.rank=8 model='%s' out='%s'", config, adapter, scratch_path("y")), 1, "",
        "rank 8");
    program_expect(tr_format("model merge-lora '%s' '%s' --out '%s'", adapter, model, scratch_path("z")), 1, "",
                   "the order is BASE ADAPTER");
    program_expect(tr_format("model merge-lora '%s' '%s' --out '%s'", model, model, scratch_path("z")), 1, "",
                   "no adapter here");
    program_expect(tr_format("ask --model '%s' --adapter '%s' x.mp4 when", adapter, adapter), 1, "",
                   "must be its base");
    /* a run goes on with an adapter, or trains whole weights from it */
    program_expect(
        tr_format("train '%s' model='%s' out='%s' train.steps=1", config, adapter, scratch_path("again")), 0,
        "step-1", "as the model has it");
    program_expect(tr_format("train '%s' model='%s' out='%s' train.steps=1 train.lora=null", config, adapter,
                             scratch_path("whole")),
                   0, "step-1", "");
    assert_true(tr_file_exists(scratch_path("again/checkpoints/step-1/adapter_model.safetensors")));
    assert_true(tr_file_exists(scratch_path("whole/checkpoints/step-1/model.safetensors")));
    assert_true(tr_file_exists(scratch_path("again/checkpoints/step-1/tokenizer.json")) ||
                tr_file_exists(scratch_path("again/checkpoints/step-1/vocab.json")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_way_to_use_it),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
