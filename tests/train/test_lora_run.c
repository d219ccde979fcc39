/* test_lora_run.c: runs that train an adapter: what is sampled is what is trained, the base stays as it is, the
 * reference is the start, checkpoints hold the adapter and serve as models of further stages, and what contradicts
 * an adapter that is there is refused. */
#include "memory_source.h"

static const char grpo[] = "rollout: {group: 4, max_tokens: 5}\ngrpo: {prompts_per_step: 3, kl: 0.1}\n"
                           "optim: {lr: 0.02}\n";

/* Six steps; the first has no distance to its start, the gap is 0 throughout, the distance grows. */
static void check_run(const char *name, const char *train)
{
    char extra[512];
    tr_error err;
    snprintf(extra, sizeof extra, "%strain: %s\n", grpo, train);
    reset_rows();
    assert_int_equal(run(name, extra, false, true, &err), TR_OK);
    json_t *m = metrics_of(name, "metrics.jsonl");
    assert_int_equal(json_array_size(m), 6);
    for (size_t i = 0; i < 6; i++) {
        assert_true(number(m, i, "logprob_gap") == 0);
        assert_true(json_is_number(json_object_get(json_array_get(m, i), "kl")));
    }
    assert_true(number(m, 0, "kl") == 0);
    assert_true(number(m, 5, "kl") > 1e-6);
    json_decref(m);
}

static void test_sampling_and_training_agree(void **state)
{
    (void)state;
    check_run("f32", "{dtype: f32, steps: 6, lora: {rank: 4}}");
    check_run("bf16", "{dtype: bf16, steps: 6, lora: {rank: 4}}");
    check_run("merger", "{dtype: f32, steps: 6, freeze: [vision], lora: {rank: 4}}");
    check_run("all", "{dtype: f32, steps: 6, freeze: [], lora: {rank: 4, targets: [down_proj]}}");
}

/* Every mixture of frozen parts, without an adapter: what is frozen stays, what trains moves. */
static void test_any_parts_may_be_frozen(void **state)
{
    (void)state;
    static const char *const parts[] = {"vision", "merger", "text"};
    static const tr_param_part kinds[] = {TR_PART_VISION, TR_PART_MERGER, TR_PART_TEXT};
    const tr_model_options plain = {.dtype = TR_F32};
    tr_model *base, *trained;
    tr_error err = {0};
    assert_int_equal(tr_model_load(tiny_model(), &plain, &base, &err), TR_OK);
    for (int mask = 0; mask < 7; mask++) {
        char name[32], path[64], train[160], list[64] = "";
        for (int k = 0; k < 3; k++) {
            if (mask & 1 << k) {
                snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", list[0] ? ", " : "", parts[k]);
            }
        }
        snprintf(name, sizeof name, "freeze-%d", mask);
        snprintf(train, sizeof train, "{dtype: f32, steps: 6, freeze: [%s]}", list);
        check_run(name, train);
        snprintf(path, sizeof path, "%s/checkpoints/step-6", name);
        assert_int_equal(tr_model_load(scratch_path(path), &plain, &trained, &err), TR_OK);
        for (int k = 0; k < 3; k++) {
            int moved = 0;
            for (int i = 0; i < base->params.count; i++) {
                const tr_param *p = &base->params.items[i];
                moved += p->part == kinds[k] && memcmp(p->value.panels, trained->params.items[i].value.panels,
                                                       (size_t)p->elements * sizeof(float)) != 0;
            }
            assert_true(mask & 1 << k ? moved == 0 : moved > 0);
        }
        tr_model_free(trained);
    }
    tr_model_free(base);
}

static bool has(const char *name)
{
    return tr_file_exists(scratch_path(name));
}

static void test_a_checkpoint_is_an_adapter(void **state)
{
    (void)state;
    const tr_model_options plain = {.dtype = TR_F32};
    tr_model *base, *trained;
    tr_error err = {0};
    check_run("files", "{dtype: f32, steps: 6, lora: {rank: 4}}");
    assert_true(has("files/checkpoints/step-6/adapter_model.safetensors"));
    assert_true(has("files/checkpoints/step-6/adapter_config.json"));
    assert_false(has("files/checkpoints/step-6/model.safetensors"));
    assert_int_equal(tr_model_load(tiny_model(), &plain, &base, &err), TR_OK);
    assert_int_equal(tr_model_load(scratch_path("files/checkpoints/step-6"), &plain, &trained, &err), TR_OK);
    for (int i = 0; i < base->params.count; i++) { /* the base is what it was */
        const tr_param *p = &base->params.items[i];
        assert_memory_equal(p->value.panels, trained->params.items[i].value.panels,
                            (size_t)p->elements * sizeof(float));
    }
    int moved = 0;
    for (int i = trained->params.base; i < trained->params.count; i++) {
        const float *x = trained->params.items[i].value.panels;
        moved += x[0] != 0;
    }
    assert_int_equal(moved, trained->params.count - trained->params.base); /* B started at 0 */
    tr_model_free(base);
    tr_model_free(trained);
}

/* SFT, then GRPO with the same adapter, whose reference is the adapter as SFT left it; then whole weights. */
static void test_stages_hand_the_adapter_on(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    const char text[] =
        "rollout: {group: 4, max_tokens: 5}\ngrpo: {prompts_per_step: 2, kl: 0.1}\noptim: {lr: 0.02}\n"
        "train: {dtype: f32, steps: 4, lora: {rank: 4}}\n"
        "stages:\n  - {algorithm: sft}\n  - {algorithm: grpo}\n  - {algorithm: sft, train: {lora: null}}\n";
    assert_int_equal(run("stages", text, false, true, &err), TR_OK);
    json_t *sft = metrics_of("stages/1-sft", "metrics.jsonl"), *m = metrics_of("stages/2-grpo", "metrics.jsonl");
    assert_true(number(sft, 3, "loss") < number(sft, 0, "loss"));
    assert_true(number(m, 0, "kl") == 0 && number(m, 0, "logprob_gap") == 0);
    assert_true(number(m, 3, "kl") > 1e-6);
    json_decref(sft);
    json_decref(m);
    assert_true(has("stages/2-grpo/checkpoints/step-4/adapter_model.safetensors"));
    assert_true(has("stages/3-sft/checkpoints/step-4/model.safetensors"));
    assert_false(has("stages/3-sft/checkpoints/step-4/adapter_model.safetensors"));
}

static void test_contradictions_are_refused(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    assert_int_equal(run("nothing", "train: {steps: 1, lora: {targets: [wq, wk]}}\n", false, false, &err),
                     TR_NOT_FOUND);
    assert_non_null(strstr(err.message, "train.lora.targets"));
    assert_non_null(strstr(err.message, "\"wq\""));
    assert_non_null(strstr(err.message, "model.language_model.layers.0.self_attn.q_proj"));
    const char text[] = "rollout: {group: 4, max_tokens: 5}\ngrpo: {prompts_per_step: 2}\ntrain: {steps: 1}\n"
                        "stages:\n  - {algorithm: sft, train: {lora: {rank: 4}}}\n"
                        "  - {algorithm: grpo, train: {lora: {rank: 8}}}\n";
    assert_int_equal(run("other-rank", text, false, false, &err), TR_MISMATCH);
    assert_non_null(strstr(err.message, "rank 8"));
    char *changed = tr_format("%strain: {dtype: f32, steps: 6, lora: {rank: 4, alpha: 16}}\n", grpo);
    check_run("changed", "{dtype: f32, steps: 6, lora: {rank: 4}}");
    assert_int_equal(run("changed", changed, true, false, &err), TR_MISMATCH); /* resumed with another alpha */
    free(changed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sampling_and_training_agree), cmocka_unit_test(test_any_parts_may_be_frozen),
        cmocka_unit_test(test_a_checkpoint_is_an_adapter),  cmocka_unit_test(test_stages_hand_the_adapter_on),
        cmocka_unit_test(test_contradictions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
