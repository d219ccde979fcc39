/* test_golden_group.c: groups and SFT rows against the reference implementation: log-probs and entropies at two
 * temperatures, losses, all gradients; the same with recomputation and frozen parts; the noise of bf16 weights. */
#include "golden_trace.h"

static void test_every_gradient_of_a_group(void **state)
{
    (void)state;
    golden_run_both("group-nano", true, 130);
}

static void test_two_groups(void **state)
{
    (void)state;
    golden_run("group-nano-two-groups", NULL, true, 100);
}

static void test_real_head_size(void **state)
{
    (void)state;
    golden_run("group-micro", NULL, true, 100);
}

static void test_supervised_rows(void **state)
{
    (void)state;
    golden_run_both("sft-nano", true, 100);
}

/* The norm of all gradients when the vision tower and the merger are frozen. */
static void test_frozen_vision(void **state)
{
    (void)state;
    static const char *const cases[] = {"group-nano", "group-micro", "group-nano-two-groups"};
    for (size_t i = 0; i < 3; i++) {
        golden_case g;
        tr_error err = {0};
        double norm;
        golden_case_open(&g, cases[i], NULL,
                         (tr_model_options){.dtype = TR_F32, .train = true, .freeze_vision = true,
                                            .freeze_merger = true});
        golden_ok(tr_trace_run(g.model, &g.in, true, &g.out, &err), &err);
        const json_t *what = json_object_get(json_object_get(g.json, "scalars"), "grad_norm_vision_frozen");
        assert_non_null(what);
        memcpy(&norm, g.out.data[golden_out(&g, "grad_norm")], sizeof norm);
        assert_true(golden_scalar(cases[i], norm, golden_number(what, "truth"), golden_number(what, "f32_err")));
        assert_int_equal(golden_out(&g, "grad/visual.patch_embed.proj.weight"), -1);
        golden_case_close(&g);
    }
}

/* Log-probs with weights rounded to bf16, activations in f32: within twice the reference's bf16 noise of the truth,
 * and close to exact arithmetic on bf16 weights. */
static void test_noise_of_bf16_weights(void **state)
{
    (void)state;
    golden_case g, noise;
    tr_error err = {0};
    golden_case_open(&g, "group-micro", NULL, (tr_model_options){.dtype = TR_BF16});
    golden_case_open(&noise, "bf16-micro", NULL, (tr_model_options){.dtype = TR_BF16});
    golden_ok(tr_trace_run(g.model, &g.in, false, &g.out, &err), &err);
    int out = golden_out(&g, "logp_t1");
    assert_true(out >= 0);
    const json_t *limits = json_object_get(json_object_get(noise.json, "noise"), "bf16_vs_truth");
    const tr_safetensor *truth = tr_safetensors_find(&noise.in, "truth/logp_t1");
    assert_non_null(truth);
    double worst = 0, square = 0;
    for (int64_t i = 0; i < truth->elements; i++) {
        double t;
        memcpy(&t, truth->data + 8 * i, sizeof t);
        double d = fabs((double)((const float *)g.out.data[out])[i] - t);
        worst = d > worst || !(d == d) ? d : worst;
        square += d * d;
    }
    double rms = sqrt(square / (double)truth->elements);
    printf("bf16: max %.3g, rms %.3g; the reference's %.3g, %.3g\n", worst, rms, golden_number(limits, "max"),
           golden_number(limits, "rms"));
    assert_true(worst <= 2 * golden_number(limits, "max") && rms <= 2 * golden_number(limits, "rms"));
    golden_case_close(&g);
    golden_case_close(&noise);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_gradient_of_a_group), cmocka_unit_test(test_two_groups),
        cmocka_unit_test(test_real_head_size),            cmocka_unit_test(test_supervised_rows),
        cmocka_unit_test(test_frozen_vision),             cmocka_unit_test(test_noise_of_bf16_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
