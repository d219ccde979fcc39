/* test_train_graphs.c: rollouts whose decode steps are recorded and replayed are those whose steps are launched one
 * by one, byte for byte, while responses leave and prompts join; in f32 they are the CPU's. A graph serves many
 * steps. */
#include "support/shared.h"

#include "base/random.h"
#include "rl/rollout.h"
#include "tensor/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

#ifndef TEMPR1_TEST_GPU
#include "cuda/emulate.h"
#endif

enum { PROMPTS = 5, PROMPT = 9, RESPONSES = 3, TOKENS = 24, ENDS = 30, CELLS = PROMPTS * RESPONSES * TOKENS };

/* What came of a rollout. */
typedef struct made {
    int64_t tokens;
    int32_t ids[CELLS];
    float logp[CELLS];
    int64_t lengths[PROMPTS * RESPONSES];
    uint8_t stopped[PROMPTS * RESPONSES];
    tr_cuda_graphs graphs; /* of its first run */
    tr_cuda_graphs again;  /* of the same run once more */
} made;

static void need_device(void)
{
    tr_cuda_info info;
    tr_cuda_describe(&info);
    if (info.missing) {
        printf("SKIP: no GPU: %s\n", info.missing);
        skip();
    }
}

static tr_model *make_model(const char *device, tr_dtype dtype)
{
    tr_model_config config;
    tr_model *model;
    tr_error err = {0};
    const tr_model_options options = {.dtype = dtype, .device = device, .isa = "scalar"};
    need_ok(tr_model_config_preset("nano", &config, &err), &err);
    need_ok(tr_model_create(&config, &options, 7, &model, &err), &err);
    return model;
}

static tr_cuda_graphs since(const tr_cuda_graphs *before)
{
    tr_cuda_graphs now;
    tr_cuda_graphs_describe(&now);
    now.recorded -= before->recorded;
    now.replayed -= before->replayed;
    now.plain -= before->plain;
    now.refused -= before->refused;
    return now;
}

/* Five prompts of different lengths in a batch of two: prompts join as responses end. Twice with one network, as
 * the steps of a training are. */
static void roll(tr_model *model, const tr_sampling *settings, made *m)
{
    static int64_t ends[ENDS];
    static uint8_t banned[4096];
    int32_t ids[PROMPTS][PROMPT], positions[PROMPTS][3 * PROMPT];
    tr_rollout_prompt prompts[PROMPTS] = {0};
    tr_rollout_group groups[PROMPTS];
    tr_sampling sampling = *settings;
    tr_network *network;
    tr_rollout *rollout;
    tr_cuda_graphs before;
    tr_error err = {0};
    const tr_network_limits limits = {
        .prompt_tokens = PROMPT, .decode_rows = 2 * RESPONSES, .decode_groups = 2, .decode_tokens = TOKENS};
    memset(m, 0, sizeof *m);
    for (int i = 0; i < ENDS; i++) {
        ends[i] = 3 * i;
    }
    banned[5] = banned[100] = 1;
    sampling.end_ids = ends;
    sampling.end_count = ENDS;
    sampling.banned = banned;
    sampling.max_tokens = TOKENS;
    for (uint32_t p = 0; p < PROMPTS; p++) {
        const int64_t count = PROMPT - p;
        for (int64_t i = 0; i < count; i++) {
            ids[p][i] = (int32_t)tr_random_below(3, p, (uint32_t)i, 0, 0, 200);
            for (int64_t axis = 0; axis < 3; axis++) {
                positions[p][axis * count + i] = (int32_t)i;
            }
        }
        prompts[p].row = p;
        prompts[p].prompt = (tr_group){.prompt_ids = ids[p], .positions = positions[p], .prompt = count};
    }
    tr_cuda_graphs_describe(&before);
    need_ok(tr_network_create(model, &limits, &network, &err), &err);
    need_ok(tr_rollout_create(network, &limits, model, PROMPTS, RESPONSES, TOKENS, &rollout, &err), &err);
    need_ok(tr_rollout_run(rollout, prompts, PROMPTS, RESPONSES, &sampling, 11, 1, groups, NULL, NULL, NULL, &err),
            &err);
    for (int p = 0; p < PROMPTS; p++) {
        memcpy(m->ids + m->tokens, groups[p].ids, (size_t)groups[p].tokens * sizeof *m->ids);
        memcpy(m->logp + m->tokens, groups[p].logp, (size_t)groups[p].tokens * sizeof *m->logp);
        memcpy(m->lengths + p * RESPONSES, groups[p].lengths, RESPONSES * sizeof *m->lengths);
        memcpy(m->stopped + p * RESPONSES, groups[p].stopped, RESPONSES);
        m->tokens += groups[p].tokens;
    }
    m->graphs = since(&before);
    tr_cuda_graphs_describe(&before);
    need_ok(tr_rollout_run(rollout, prompts, PROMPTS, RESPONSES, &sampling, 11, 1, groups, NULL, NULL, NULL, &err),
            &err);
    m->again = since(&before);
    for (int64_t p = 0, at = 0; p < PROMPTS; at += groups[p++].tokens) {
        assert_memory_equal(m->ids + at, groups[p].ids, (size_t)groups[p].tokens * sizeof *m->ids);
        assert_memory_equal(m->logp + at, groups[p].logp, (size_t)groups[p].tokens * sizeof *m->logp);
    }
    tr_rollout_free(rollout);
    tr_network_free(network);
}

static void expect_same(const made *a, const made *b)
{
    assert_int_equal(a->tokens, b->tokens);
    assert_memory_equal(a->lengths, b->lengths, sizeof a->lengths);
    assert_memory_equal(a->stopped, b->stopped, sizeof a->stopped);
    assert_memory_equal(a->ids, b->ids, sizeof a->ids);
    assert_memory_equal(a->logp, b->logp, sizeof a->logp);
}

static const tr_sampling settings[] = {
    {.temperature = 1.2, .top_p = 1},
    {.temperature = 1, .top_p = 0.9, .min_p = 0.01},
    {.temperature = 1.5, .top_p = 1, .top_k = 20},
};

static void test_graphs_do_not_show(void **state)
{
    (void)state;
    need_device();
    made *without = calloc(1, sizeof *without), *with = calloc(1, sizeof *with);
    assert_true(without && with);
    tr_model *model = make_model("cuda", TR_BF16);
    for (int i = 0; i < 3; i++) {
        setenv("TEMPR1_CUDA_GRAPHS", "0", 1);
        roll(model, &settings[i], without);
        unsetenv("TEMPR1_CUDA_GRAPHS");
        assert_true(without->graphs.replayed == 0 && without->graphs.plain == 0);
        roll(model, &settings[i], with);
        expect_same(without, with);
        printf("%ld tokens: %ld lists one by one, %ld recorded, %ld replays\n", (long)with->tokens,
               (long)with->graphs.plain, (long)with->graphs.recorded, (long)with->graphs.replayed);
        assert_true(with->graphs.recorded > 1); /* responses leave: other shapes */
        assert_true(with->graphs.replayed > with->graphs.recorded);
        assert_int_equal(with->graphs.refused, 0);
        assert_int_equal(with->again.plain, 0); /* every list was met before */
    }
#ifndef TEMPR1_TEST_GPU
    tr_emulated_refuse_graphs(true);
    roll(model, &(tr_sampling){.temperature = 1.1, .top_p = 1, .top_k = 30}, with);
    tr_emulated_refuse_graphs(false);
    assert_int_equal(with->graphs.recorded, 0);
    setenv("TEMPR1_CUDA_GRAPHS", "0", 1);
    roll(model, &(tr_sampling){.temperature = 1.1, .top_p = 1, .top_k = 30}, without);
    unsetenv("TEMPR1_CUDA_GRAPHS");
    expect_same(without, with);
#endif
    tr_model_free(model);
    free(without);
    free(with);
}

static void test_f32_is_the_cpus(void **state)
{
    (void)state;
    need_device();
    made *cpu = calloc(1, sizeof *cpu), *device = calloc(1, sizeof *device);
    assert_true(cpu && device);
    tr_model *a = make_model("cpu", TR_F32), *b = make_model("cuda", TR_F32);
    for (int i = 0; i < 3; i++) {
        roll(a, &settings[i], cpu);
        roll(b, &settings[i], device);
        expect_same(cpu, device);
    }
    assert_true(device->graphs.replayed > 0);
    tr_model_free(a);
    tr_model_free(b);
    free(cpu);
    free(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_graphs_do_not_show),
                                       cmocka_unit_test(test_f32_is_the_cpus)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
