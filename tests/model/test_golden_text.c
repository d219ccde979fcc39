/* test_golden_text.c: the decoder against the reference implementation: rotary tables, embeddings, every layer, logits,
 * log-probs; and that every copy of a checkpoint gives that copy's logits. */
#include "golden_trace.h"

static void test_rotary_tables(void **state)
{
    (void)state;
    golden_run_both("rope-nano-tables", false, 2);
    golden_run_both("rope-micro-tables", false, 2);
}

static void test_plain_text(void **state)
{
    (void)state;
    golden_run_both("text-nano-plain", false, 8);
}

static void test_an_image(void **state)
{
    (void)state;
    golden_run_both("text-nano-image", false, 8);
}

static void test_a_video(void **state)
{
    (void)state;
    golden_run_both("text-nano-video", false, 8);
}

static void test_an_image_between_two_videos(void **state)
{
    (void)state;
    golden_run_both("text-nano-mixed", false, 8);
}

static void test_real_head_size(void **state)
{
    (void)state;
    golden_run_both("text-micro-video", false, 7);
}

static void test_real_vocabulary(void **state)
{
    (void)state;
    golden_run("text-vocab-video", NULL, false, 6);
}

/* Last-position logits of every copy of a checkpoint: layouts, shards, names, 16-bit weights read exactly. */
static void test_every_copy_of_a_checkpoint(void **state)
{
    (void)state;
    static const char *const copies[] = {"nano",     "nano-legacy-sharded", "nano-bf16", "nano-f16", "nano-prefixed",
                                         "nano-tf449", "nano-lora-merged",  "nano-ref"};
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) {
        golden_case g;
        tr_error err = {0};
        char name[96], key[96];
        golden_case_open(&g, "load-nano-copies", copies[i], (tr_model_options){.dtype = TR_F32});
        golden_ok(tr_trace_run(g.model, &g.in, false, &g.out, &err), &err);
        snprintf(name, sizeof name, "logits/%s", copies[i]);
        snprintf(key, sizeof key, "truth/%s", name);
        int out = golden_out(&g, "logits");
        assert_true(out >= 0);
        /* keep the last row: the case holds no more */
        tr_safetensors_entry *e = &g.out.entries[out];
        const float *x = g.out.data[out];
        memmove(g.out.data[out], x + (e->shape[0] - 1) * e->shape[1], (size_t)e->shape[1] * sizeof *x);
        e->rank = 1;
        e->shape[0] = e->shape[1];
        const tr_safetensor *truth = tr_safetensors_find(&g.in, key);
        assert_non_null(truth);
        golden_compare(&g, name, "logits", truth);
        assert_int_equal(g.failed, 0);
        golden_case_close(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rotary_tables),  cmocka_unit_test(test_plain_text),
        cmocka_unit_test(test_an_image),       cmocka_unit_test(test_a_video),
        cmocka_unit_test(test_an_image_between_two_videos),
        cmocka_unit_test(test_real_head_size), cmocka_unit_test(test_real_vocabulary),
        cmocka_unit_test(test_every_copy_of_a_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
