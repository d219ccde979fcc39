/* test_plan.c: what a run of each kind takes in memory is what was planned: live bytes (heap and mappings) are
 * counted from its beginning. What setup makes is the plan to within small change; nothing that
 * a step allocates exceeds it. Packed SFT groups, kept responses of dynamic sampling and off-policy truth included.
 */
#include "memory_source.h"

#include "train/plan.h"
#include "train/trainer.h"

#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define COUNTS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COUNTS 0
#endif
#endif
#ifndef COUNTS
#define COUNTS 1
#endif

static long long live, peak;

#if COUNTS
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

static void count(long long bytes)
{
    const long long now = __atomic_add_fetch(&live, bytes, __ATOMIC_RELAXED);
    if (now > __atomic_load_n(&peak, __ATOMIC_RELAXED)) { /* two threads: a sample that is lost is near the other */
        __atomic_store_n(&peak, now, __ATOMIC_RELAXED);
    }
}
static void *counted(void *p)
{
    count((long long)malloc_usable_size(p));
    return p;
}
void *malloc(size_t size)
{
    return counted(__libc_malloc(size));
}
void *calloc(size_t n, size_t size)
{
    return counted(__libc_calloc(n, size));
}
void *realloc(void *old, size_t size)
{
    count(-(long long)malloc_usable_size(old));
    return counted(__libc_realloc(old, size));
}
void *aligned_alloc(size_t alignment, size_t size)
{
    return counted(__libc_memalign(alignment, size));
}
/* By these OpenMP takes what it frees again after every parallel region. */
void *memalign(size_t alignment, size_t size)
{
    return counted(__libc_memalign(alignment, size));
}
int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *p = counted(__libc_memalign(alignment, size));
    *out = p ? p : *out;
    return p ? 0 : ENOMEM;
}
void free(void *p)
{
    count(-(long long)malloc_usable_size(p));
    __libc_free(p);
}
/* The program's own mappings; the C library's (thread stacks, its heap) do not come this way. */
void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset)
{
    void *p = (void *)syscall(SYS_mmap, at, size, protection, flags, file, offset);
    count(p == MAP_FAILED ? 0 : (long long)size);
    return p;
}
int munmap(void *at, size_t size)
{
    count(-(long long)size);
    return (int)syscall(SYS_munmap, at, size);
}
#endif

/* ---- one run ---- */

static long long before; /* live bytes when a run begins */
static long long after_setup;
static bool first_load;

/* Called with every load; the first one of a run comes when all of setup is done. */
static void watch(const char *what, int64_t loads)
{
    (void)what;
    (void)loads;
    if (first_load) {
        first_load = false;
        after_setup = live - before;
        peak = live;
    }
}

static tr_status open_and_note(void *context, const tr_config *config, const tr_model_config *model, bool eval,
                               tr_source **source, tr_error *err)
{
    tr_status status = memory_open(context, config, model, eval, source, err);
    first_load = first_load || !eval;
    return status;
}

/* What the models themselves take: loaded as a run loads them. */
static uint64_t models_bytes(const tr_config *c, bool apart)
{
    const tr_lora_settings lora = {c->train.lora.rank, c->train.lora.alpha, c->train.lora.targets, 1};
    const tr_model_options options = {.dtype = TR_F32,
                                      .train = true,
                                      .freeze_text = c->train.freeze & TR_FREEZE_TEXT,
                                      .freeze_vision = c->train.freeze & TR_FREEZE_VISION,
                                      .freeze_merger = c->train.freeze & TR_FREEZE_MERGER,
                                      .lora = lora.rank ? &lora : NULL,
                                      .merge_adapter = !lora.rank};
    const long long empty = live;
    tr_model *model = NULL, *reference = NULL;
    tr_error err = {0};
    assert_int_equal(tr_model_load(c->model, &options, &model, &err), TR_OK);
    assert_int_equal(apart ? tr_model_clone_frozen(model, NULL, &reference, &err) : TR_OK, TR_OK);
    const uint64_t bytes = (uint64_t)(live - empty);
    tr_model_free(reference);
    tr_model_free(model);
    return bytes;
}

/* Setup of a stage alone, as tr_train_run makes it, for what only it knows. */
static uint64_t planned(const tr_config *c, int64_t pairs, tr_plan_bytes *step)
{
    tr_trainer t;
    tr_error err = {0};
    const tr_train_options options = {.quiet = true, .open_source = memory_open};
    assert_int_equal(tr_trainer_create(&t, c, c->model, &options, &err), TR_OK);
    uint64_t network;
    tr_network_limits limits;
    const tr_plan_rows rows = {t.source->limits, pairs, false};
    tr_plan_limits(c, &rows, &limits);
    const bool refers = t.reference != NULL, apart = refers && t.reference != t.model;
    if (apart) { /* the reference works in the run's own network */
        assert_int_equal(tr_plan_lend(c, t.reference, NULL, &limits, &err), TR_OK);
        assert_true(limits.lends > 0);
    }
    assert_int_equal(tr_plan_fit(c, t.model, NULL, UINT64_MAX, &limits, &network, &err), TR_OK);
    tr_plan_step(c, &limits, &t.model->config, refers, apart, 0, step);
    const uint64_t copy = c->train.save_mode == TR_SAVE_BESIDE && !(c->train.offload & TR_OFFLOAD_MOMENTS)
                              ? tr_snapshot_bytes(&t.model->params)
                              : 0;
    tr_trainer_free(&t);
    return network + copy + step->responses + models_bytes(c, apart);
}

/* Small change: names, JSON, the order, tables of the network, libraries' own; at the end the curves (their panels,
 * 1,024 rows at most). */
enum { CHANGE = 384 << 10 };

static void measure(const char *name, const char *extra, int64_t pairs)
{
    char text[2048];
    tr_config_set set;
    tr_error err = {0};
    json_t *summary = NULL;
    tr_plan_bytes step;
    snprintf(text, sizeof text, "model: %s\nout: %s\ndata: [ {rows: r} ]\nvideo: {decoders: 0}\n%s", tiny_model(),
             scratch_path(name), extra);
    assert_int_equal(tr_config_parse(text, strlen(text), "test.yaml", NULL, 0, &set, &err), TR_OK);
    const tr_config *c = &set.stages[0];
    rows_template.hook = NULL;
    const uint64_t plan = planned(c, pairs, &step);
    rows_template.hook = watch;
    const tr_train_options options = {.quiet = true, .stop = &rows_template.stop, .open_source = open_and_note};
    before = live;
    assert_int_equal(tr_train_run(&set, &options, &summary, &err), TR_OK);
    json_decref(summary);
    const long long highest = peak - before;
    printf("%-12s planned %9llu, made %9lld, most in a step %9lld bytes\n", name, (unsigned long long)plan,
           after_setup, highest);
#if COUNTS
    const long long clips = (long long)(step.features + step.reference_features + step.pixels + step.saving);
    assert_true(plan > 4 * CHANGE); /* what is left uncounted would show */
    assert_true(after_setup <= (long long)plan + CHANGE);
    assert_true(after_setup >= (long long)plan - CHANGE);
    assert_true(highest <= (long long)plan + clips + CHANGE);
#else
    (void)highest;
#endif
    tr_config_set_free(&set);
}

/* Long responses planned, few sampled: the first token that ends one comes soon. */
#define RUN "train: {dtype: f32, steps: 3, save_every: 2}\nrollout: {group: 6, max_tokens: 200}\n"
#define PROMPTS "grpo: {prompts_per_step: 4"

static void test_grpo(void **state)
{
    (void)state;
    reset_rows();
    measure("grpo", RUN PROMPTS "}\n", 1);
    measure("no-kl", RUN PROMPTS ", kl: 0}\n", 1);
    measure("by-token", RUN PROMPTS ", preset: reinforce++}\n", 1);
    measure("waiting", "train: {dtype: f32, steps: 2, save_mode: wait}\nrollout: {group: 6, max_tokens: 200}\n", 1);
    measure("frozen",
            "train: {dtype: f32, steps: 2, freeze: [vision, merger]}\nrollout: {group: 6, max_tokens: 200}\n", 1);
    measure("adapter",
            "train: {dtype: f32, steps: 2, lora: {rank: 4, alpha: 8}}\nrollout: {group: 6, max_tokens: 200}\n", 1);
}

static void test_dynamic_sampling(void **state)
{
    (void)state;
    reset_rows();
    rows_template.constant = 1; /* its groups are flat and are replaced */
    measure("dynamic", RUN PROMPTS ", preset: dapo}\n", 1);
}

/* Also with targets that are longer than what is sampled. */
static void test_off_policy(void **state)
{
    (void)state;
    reset_rows();
    measure("off-policy", RUN PROMPTS ", preset: tempsamp-r1}\n", 1);
    measure("long-target",
            "train: {dtype: f32, steps: 2}\nrollout: {group: 60, max_tokens: 3}\n" PROMPTS
            ", preset: tempsamp-r1}\n",
            1);
}

static void test_sft(void **state)
{
    (void)state;
    reset_rows();
    rows_template.longest_target = 3000;
    measure("sft", "algorithm: sft\ntrain: {dtype: f32, steps: 2}\n" PROMPTS "}\nsft: {share_clip: false}\n", 1);
    rows_template.per_clip = 4;
    measure("packed", "algorithm: sft\ntrain: {dtype: f32, steps: 3}\n" PROMPTS "}\n", 4);
    rows_template.per_clip = 2;
    measure("pairs", "algorithm: sft\ntrain: {dtype: f32, steps: 3}\n" PROMPTS "}\n", 2);
}

/* Bounds from a configuration alone hold what its rows ask for. */
static void test_bounds(void **state)
{
    (void)state;
    tr_config c = {.algorithm = TR_ALGORITHM_SFT, .train = {.freeze = 0}};
    c.sft.share_clip = true;
    c.sft.pairs_per_clip = 8;
    c.grpo.prompts_per_step = 4;
    tr_plan_rows rows = {.limits = {.patches = 400, .largest_grid = 100}};
    tr_network_limits n;
    tr_plan_rows_bound(&c, 30, 50, &rows);
    tr_plan_limits(&c, &rows, &n);
    assert_int_equal(rows.pairs, 4); /* no more rows than a step has */
    assert_int_equal(n.responses, 4);
    assert_int_equal(n.response_tokens, 4 * (30 + 50));
    assert_int_equal(n.prompt_tokens, 130);
    c.sft.share_clip = false;
    tr_plan_rows_bound(&c, 30, 50, &rows);
    tr_plan_limits(&c, &rows, &n);
    assert_int_equal(n.response_tokens, 50);
    c.algorithm = TR_ALGORITHM_GRPO;
    c.rollout.group = 3;
    c.rollout.max_tokens = 20;
    tr_plan_rows_bound(&c, 30, 50, &rows);
    tr_plan_limits(&c, &rows, &n);
    assert_int_equal(n.response_tokens, 60);
    c.grpo.off_policy = TR_OFF_POLICY_SHAPE; /* two sampled of 20, one target of 50 */
    tr_plan_rows_bound(&c, 30, 50, &rows);
    tr_plan_limits(&c, &rows, &n);
    assert_int_equal(n.response_tokens, 90);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sft), cmocka_unit_test(test_grpo),
                                       cmocka_unit_test(test_dynamic_sampling), cmocka_unit_test(test_off_policy),
                                       cmocka_unit_test(test_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
