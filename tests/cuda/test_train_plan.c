/* test_train_plan.c: the plan of a GPU's memory is what a run allocates there, byte for byte, and bounds what its
 * operations ask for; a run that does not fit is refused before anything is allocated, with the plan and the keys
 * that would make it smaller. */
#ifndef TEMPR1_TEST_GPU
#include "cuda/emulate.h"
#endif
#include "train/memory_source.h"
#include "train/trainer.h"

#ifndef TEMPR1_TEST_GPU

#define GRPO "rollout: {group: 4, max_tokens: 5}\ngrpo: {prompts_per_step: 2, kl: 0.01}\n"

typedef struct opened {
    tr_config_set set;
    tr_train_options options;
    tr_trainer t;
    tr_error err;
} opened;

static tr_status open_run(opened *o, const char *extra)
{
    char text[1024];
    memset(o, 0, sizeof *o);
    reset_rows();
    snprintf(text, sizeof text, "model: %s\nout: %s\ndata: [ {rows: r} ]\n%sdevice: cuda\n", tiny_model(),
             scratch_path("plan"), extra);
    assert_int_equal(tr_config_parse(text, strlen(text), "test.yaml", NULL, 0, &o->set, &o->err), TR_OK);
    o->options = (tr_train_options){.quiet = true, .stop = &rows_template.stop, .open_source = memory_open};
    return tr_trainer_create(&o->t, &o->set.stages[0], tiny_model(), &o->options, &o->err);
}

static void close_run(opened *o)
{
    tr_trainer_free(&o->t);
    tr_config_set_free(&o->set);
}

static void test_planned_is_allocated(void **state)
{
    (void)state;
    static const char *const runs[] = {
        GRPO "train: {dtype: f32}\n",
        GRPO "train: {dtype: bf16}\n",
        GRPO "train: {dtype: bf16, recompute: none}\noptim: {moments: 8bit}\n",
        GRPO "train: {dtype: bf16, freeze: [vision, merger]}\n",
        GRPO "train: {dtype: bf16, lora: {rank: 4, alpha: 8}}\noptim: {moments: 8bit}\n",
        GRPO "train: {dtype: f32, freeze: [vision], lora: {rank: 4, alpha: 8}}\n",
        "rollout: {group: 3, max_tokens: 7}\ngrpo: {prompts_per_step: 3, kl: 0}\ntrain: {dtype: bf16}\n",
        "algorithm: sft\ngrpo: {prompts_per_step: 3}\ntrain: {dtype: bf16}\noptim: {moments: 8bit}\n",
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        opened o;
        assert_int_equal(tr_emulated_live(), 0);
        if (open_run(&o, runs[i])) {
            fail_msg("%s: %s", runs[i], o.err.message);
        }
        const tr_device_plan *p = &o.t.plan;
        const uint64_t taken = p->total - p->scratch - p->staging; /* these two are no pieces of a run's own */
        if (tr_emulated_live() != taken) {
            fail_msg("%s: %zu bytes are allocated, %llu were planned", runs[i], tr_emulated_live(),
                     (unsigned long long)taken);
        }
        assert_true(p->weights + p->masters > 0 && p->moments > 0 && p->network > p->kv);
        tr_step_report report = {0};
        assert_int_equal(tr_trainer_step(&o.t, &report), TR_OK);
        assert_false(report.skipped);
        assert_int_equal(tr_emulated_live(), taken); /* a step allocates nothing */
        assert_true(tr_emulated_scratch() > 0 && tr_emulated_scratch() <= p->scratch);
        close_run(&o);
    }
}

static void test_what_does_not_fit_is_refused(void **state)
{
    (void)state;
    opened o;
    assert_int_equal(open_run(&o, GRPO "train: {dtype: f32, recompute: none}\n"), TR_OK);
    const size_t need = (size_t)o.t.plan.total, staging = (size_t)o.t.plan.staging;
    close_run(&o);
    assert_true(need > staging);
    tr_emulated_set_memory(need); /* just enough; one byte less is not, but for fewer prompts in the decode batch */
    assert_int_equal(open_run(&o, GRPO "train: {dtype: f32, recompute: none}\n"), TR_OK);
    assert_int_equal(o.t.plan.total, need);
    close_run(&o);
    tr_emulated_set_memory(need - 1);
    assert_int_equal(open_run(&o, GRPO "train: {dtype: f32, recompute: none}\n"), TR_OK);
    assert_int_equal(o.t.limits.decode_groups, 1);
    assert_true(o.t.limits.ahead);
    const size_t beside = (size_t)o.t.plan.total;
    assert_true(beside < need);
    close_run(&o);
    tr_emulated_set_memory(beside - 1); /* and without a second lane */
    assert_int_equal(open_run(&o, GRPO "train: {dtype: f32, recompute: none}\n"), TR_OK);
    assert_false(o.t.limits.ahead);
    const size_t least = (size_t)o.t.plan.total;
    assert_true(least < beside);
    close_run(&o);
    tr_emulated_set_memory(least - 1);
    const int64_t launches = tr_emulated_launches();
    assert_int_equal(open_run(&o, GRPO "train: {dtype: f32, recompute: none}\n"), TR_MEMORY);
    assert_int_equal(tr_emulated_live(), 0);
    assert_int_equal(tr_emulated_launches(), launches);
    /* bf16 would add compute copies: it is no advice here */
    static const char *const said[] = {
        "masters", "moments", "free", "train.recompute: layer", "optim.moments: 8bit", "train.lora", "grpo.kl: 0"};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        if (!strstr(o.err.message, said[i])) {
            fail_msg("'%s' is not in: %s", said[i], o.err.message);
        }
    }
    close_run(&o);
    tr_emulated_set_memory(0);
}
#else
static void test_planned_is_allocated(void **state)
{
    (void)state;
    skip(); /* counted over the emulated device */
}
static void test_what_does_not_fit_is_refused(void **state)
{
    (void)state;
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planned_is_allocated),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
