/* test_checkpoint.c: whole checkpoint directories: the reference's copies tensor by tensor, every damaged one
 * refused by name, save and load again, random start, compute copies, frozen copies. Fixtures are made by
 * tr_model_create, so that most of it runs without the reference data. */
#include "support/shared.h"

#include "base/file.h"
#include "base/memory.h"
#include "model/checkpoint.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const tr_model_options plain = {.dtype = TR_F32};

static tr_model *load(const char *dir, tr_model_options options)
{
    tr_model *model = NULL;
    tr_error err = {0};
    if (tr_model_load(dir, &options, &model, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return model;
}

static tr_model *create(const char *preset, tr_model_options options, uint64_t seed)
{
    tr_model *model = NULL;
    tr_model_config config;
    assert_int_equal(tr_model_config_preset(preset, &config, NULL), TR_OK);
    assert_int_equal(tr_model_create(&config, &options, seed, &model, NULL), TR_OK);
    return model;
}

/* A parameter's compute copy as row-major f32; free() frees it. */
static float *values(const tr_param *p)
{
    float *out = tr_calloc((size_t)(p->out * p->in), sizeof *out);
    assert_non_null(out);
    if (p->matrix) {
        tr_matrix_unpack(&p->value, out, TR_F32, 0, p->out);
    } else {
        memcpy(out, p->value.panels, (size_t)p->out * sizeof *out);
    }
    return out;
}

static const tr_param *find(const tr_model *model, const char *name)
{
    for (int i = 0; i < model->params.count; i++) {
        if (!strcmp(model->params.items[i].name, name)) {
            return &model->params.items[i];
        }
    }
    return NULL;
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* The probes of golden/README.md: sums of float64 products, so only the order of summation differs: 1e-12 of the
 * sum of magnitudes (bounded by l2 * sqrt(n)) covers n <= 5e6 terms of 2^-53 each with a wide margin in practice.
 */
static void check_probes(const tr_param *p, const json_t *probe, const char *where)
{
    float *x = values(p);
    double sum = 0, square = 0, dot = 0;
    int64_t n = p->out * p->in;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
        square += (double)x[i] * x[i];
        dot += x[i] * ((double)(uint32_t)((uint64_t)i * 2654435761u) * 0x1p-32 - 0.5);
    }
    double close = 1e-12 * (1 + number(probe, "l2") * sqrt((double)n));
    if (!(fabs(sum - number(probe, "sum")) <= close) || !(fabs(sqrt(square) - number(probe, "l2")) <= close) ||
        !(fabs(dot - number(probe, "dot")) <= close)) {
        fail_msg("%s %s: sum %.17g l2 %.17g dot %.17g", where, p->name, sum, sqrt(square), dot);
    }
    free(x);
}

static void test_golden_probes(void **state)
{
    (void)state;
    static const char *const names[] = {"nano",      "micro",    "vocab",        "nano-ref", "nano-legacy-sharded",
                                        "nano-bf16", "nano-f16", "nano-prefixed"};
    json_t *all;
    assert_int_equal(tr_json_read(need_shared("golden/checkpoints/tensors.json"), &all, NULL), TR_OK);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char relative[128];
        snprintf(relative, sizeof relative, "golden/checkpoints/%s", names[i]);
        tr_model *model = load(need_shared(relative), plain);
        const json_t *probes = json_object_get(all, names[i]);
        const char *key;
        json_t *probe;
        size_t seen = 0;
        json_object_foreach((json_t *)(uintptr_t)probes, key, probe)
        {
            char name[96];
            assert_true(tr_checkpoint_name(key, name));
            const tr_param *p = find(model, name);
            assert_non_null(p);
            check_probes(p, probe, names[i]);
            seen++;
        }
        assert_int_equal(seen, model->params.count);
        tr_model_free(model);
    }
    json_decref(all);
}

static void same_values(const tr_model *a, const tr_model *b)
{
    assert_int_equal(a->params.count, b->params.count);
    for (int i = 0; i < a->params.count; i++) {
        const tr_param *p = &a->params.items[i];
        float *x = values(p), *y = values(&b->params.items[i]);
        if (memcmp(x, y, (size_t)(p->out * p->in) * sizeof *x)) {
            fail_msg("%s differs", p->name);
        }
        free(x);
        free(y);
    }
}

static void test_golden_copies_agree(void **state)
{
    (void)state;
    tr_model *nano = load(need_shared("golden/checkpoints/nano"), plain);
    tr_model *sharded = load(need_shared("golden/checkpoints/nano-legacy-sharded"), plain);
    tr_model *bf16 = load(need_shared("golden/checkpoints/nano-bf16"), plain);
    tr_model *prefixed = load(need_shared("golden/checkpoints/nano-prefixed"), plain);
    tr_model *tf449 = load(need_shared("golden/checkpoints/nano-tf449"), plain);
    same_values(nano, sharded);
    same_values(bf16, prefixed);
    same_values(bf16, tf449);
    assert_int_equal(bf16->params.items[bf16->params.embed].value.dtype, TR_BF16); /* frozen: as stored */
    /* f32 rounded at loading is the stored bf16 */
    tr_model_options rounded = {.dtype = TR_BF16};
    tr_model *nano16 = load(need_shared("golden/checkpoints/nano"), rounded);
    same_values(nano16, bf16);
    tr_model_free(nano);
    tr_model_free(sharded);
    tr_model_free(bf16);
    tr_model_free(prefixed);
    tr_model_free(tf449);
    tr_model_free(nano16);
    tr_model_free(load(need_shared("golden/checkpoints/nano-lora-merged"), plain));
}

static void test_broken(void **state)
{
    (void)state;
    static const char *const table[][3] = {
        {"missing-tensor", "model.layers.0.self_attn.k_proj.bias", "missing"},
        {"extra-tensor", "model.layers.1.input_layernorm.weight", "unexpected"},
        {"wrong-shape", "model.layers.0.mlp.up_proj.weight has shape [8, 7]", "asks for [8, 8]"},
        {"truncated", "model.safetensors", "truncated"},
        {"header-too-long", "model.safetensors", "header length"},
        {"header-huge", "model.safetensors", "9223372036854775807"},
        {"header-not-json", "model.safetensors", "not valid JSON"},
        {"empty-file", "model.safetensors", "0 bytes"},
        {"overlapping-offsets", "model.layers.0.input_layernorm.weight", "model.embed_tokens.weight overlap"},
        {"unknown-dtype", "model.embed_tokens.weight has dtype F12", "model.safetensors"},
        {"size-mismatch", "model.embed_tokens.weight", "needs"},
        {"missing-shard", "model-00002-of-00002.safetensors", "model.safetensors.index.json"},
        {"no-vision-config", "vision_config", "config.json"},
        {"untied-without-head", "lm_head.weight", "tie_word_embeddings"},
        {"config-not-json", "config.json", "config.json:"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char relative[128], all[2048];
        snprintf(relative, sizeof relative, "golden/checkpoints/broken/%s", table[i][0]);
        tr_model *model = NULL;
        tr_error err = {0};
        tr_status status = tr_model_load(need_shared(relative), &plain, &model, &err);
        snprintf(all, sizeof all, "%s: %s", err.where, err.message);
        if (!status || model || !strstr(all, table[i][1]) || !strstr(all, table[i][2])) {
            fail_msg("%s: status %d, \"%s\"", table[i][0], status, all);
        }
        assert_int_not_equal(tr_model_check(need_shared(relative), true, NULL), TR_OK);
    }
    tr_model_free(load(need_shared("golden/checkpoints/broken/good"), plain));
    assert_int_equal(tr_model_check(need_shared("golden/checkpoints/broken/good"), true, NULL), TR_OK);
}

static const char *scratch_copy(const char *name)
{
    static char ring[8][600];
    static int next;
    char *path = ring[next++ % 8];
    snprintf(path, sizeof ring[0], "%s", scratch_path(name));
    return path;
}

static void save(const tr_model *model, const char *dir, tr_dtype dtype, uint64_t shard)
{
    tr_error err = {0};
    if (tr_model_save(model, dir, dtype, shard, NULL, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
}

/* What is in each file of a directory of shards, against its limit and its index. */
static void check_shards(const char *dir, uint64_t limit)
{
    char path[700];
    char **names;
    json_t *index;
    uint64_t all = 0, before = 0;
    size_t tensors = 0, count;
    int shards = 0;
    assert_int_equal(tr_directory_list(dir, &names, &count, NULL), TR_OK);
    for (size_t i = 0; i < count; i++) {
        shards += !strncmp(names[i], "model-", 6);
    }
    tr_names_free(names, count);
    assert_true(shards > 2);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
    assert_int_equal(tr_json_read(path, &index, NULL), TR_OK);
    const json_t *map = json_object_get(index, "weight_map");
    for (int i = 1; i <= shards; i++) {
        tr_safetensors s;
        char name[64];
        uint64_t bytes = 0;
        const tr_safetensor *first = NULL;
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", i, shards);
        snprintf(path, sizeof path, "%s/%s", dir, name);
        assert_int_equal(tr_safetensors_open(&s, path, NULL), TR_OK);
        assert_string_equal(json_string_value(json_object_get(s.files[0].metadata, "format")), "pt");
        for (size_t k = 0; k < s.count; k++) {
            bytes += s.items[k].bytes;
            first = !first || s.items[k].data < first->data ? &s.items[k] : first;
            assert_string_equal(json_string_value(json_object_get(map, s.items[k].name)), name);
        }
        assert_true(bytes <= limit || s.count == 1);
        assert_true(first && (i == 1 || before + first->bytes > limit)); /* none begins too early */
        before = bytes;
        all += bytes;
        tensors += s.count;
        tr_safetensors_close(&s);
    }
    assert_int_equal(json_object_size(map), tensors);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")), all);
    json_decref(index);
}

static void test_round_trip(void **state)
{
    (void)state;
    tr_model_options train = {.dtype = TR_F32, .train = true};
    tr_model *a = create("nano", train, 7);
    const char *one = scratch_copy("round-one"), *many = scratch_copy("round-many"),
               *half = scratch_copy("round-half");
    save(a, one, TR_F32, 0);
    save(a, many, TR_F32, 100000);
    assert_int_equal(tr_model_check(many, true, NULL), TR_OK);
    check_shards(many, 100000);
    tr_model *b = load(one, plain), *c = load(many, plain);
    same_values(a, b);
    same_values(a, c);
    /* bf16: what is written equals rounding, and written again gives the same bytes */
    save(a, half, TR_BF16, 0);
    tr_model *d = load(half, plain), *e = load(one, (tr_model_options){.dtype = TR_BF16});
    same_values(d, e);
    const char *again = scratch_copy("round-again");
    save(d, again, TR_BF16, 0);
    char path[700];
    tr_file_map x, y;
    snprintf(path, sizeof path, "%s/model.safetensors", half);
    assert_int_equal(tr_file_map_open(&x, path, NULL), TR_OK);
    snprintf(path, sizeof path, "%s/model.safetensors", again);
    assert_int_equal(tr_file_map_open(&y, path, NULL), TR_OK);
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    tr_file_map_close(&x);
    tr_file_map_close(&y);
    tr_model_free(a);
    tr_model_free(b);
    tr_model_free(c);
    tr_model_free(d);
    tr_model_free(e);
}

static void no_rows(const void *context, const tr_param *param, int64_t row0, int64_t rows, void *to,
                    tr_dtype dtype)
{
    (void)context;
    (void)row0;
    memset(to, 0, (size_t)(rows * param->in) * tr_dtype_size(dtype));
}

/* Into how many files the published shapes go where no limit is asked for: of at most 5 GB. The first write does
 * not fit on the disk, so that only its name is made: 3B has 7.5 GB in bf16, 7B 16.6 GB. */
static void test_five_gigabytes(void **state)
{
    (void)state;
    static const struct {
        const char *preset, *first;
        tr_dtype dtype;
    } table[] = {{"qwen2.5-vl-3b", "model-00001-of-00002.safetensors", TR_BF16},
                 {"qwen2.5-vl-3b", "model-00001-of-00004.safetensors", TR_F32},
                 {"qwen2.5-vl-7b", "model-00001-of-00004.safetensors", TR_BF16},
                 {"s", "model.safetensors", TR_F32}};
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){65536, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 4; i++) {
        tr_model_config config;
        tr_params params = {0};
        tr_error err = {0};
        assert_int_equal(tr_model_config_preset(table[i].preset, &config, NULL), TR_OK);
        assert_int_equal(tr_params_build(&config, &params, NULL), TR_OK);
        setrlimit(RLIMIT_FSIZE, &small);
        tr_status status = tr_checkpoint_write(scratch_copy("large"), &config, &params, table[i].dtype, 0, NULL,
                                               NULL, no_rows, NULL, NULL, NULL, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(status, TR_IO);
        if (!strstr(err.where, table[i].first)) {
            fail_msg("%s: %s: %s", table[i].preset, err.where, err.message);
        }
        tr_params_free(&params);
    }
    signal(SIGXFSZ, SIG_DFL);
}

static void write_text(const char *dir, const char *name, const char *text)
{
    char path[700];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(tr_file_write_atomic(path, text, strlen(text), NULL), TR_OK);
}

/* The sampling settings of the checkpoint that was loaded, and the tokenizer's files, stand beside the weights. */
static void test_files_beside(void **state)
{
    (void)state;
    tr_model *a = create("nano", plain, 3);
    const char *from = scratch_copy("beside-from"), *to = scratch_copy("beside-to"),
               *other = scratch_copy("beside-tok");
    save(a, from, TR_F32, 0);
    write_text(from, "generation_config.json",
               "{\"do_sample\": true, \"eos_token_id\": [502, 500], \"repetition_penalty\": 1.05,"
               " \"temperature\": 1e-06, \"pad_token_id\": 500}");
    assert_int_equal(tr_directory_make(other, NULL), TR_OK);
    write_text(other, "vocab.json", "{}");
    write_text(other, "preprocessor_config.json", "{\"a\": 1}");
    tr_model *b = load(from, plain);
    for (int round = 0; round < 2; round++) { /* in the second one the source has gone: what is left is ours */
        json_t *g;
        char path[700];
        assert_int_equal(tr_model_save(b, to, TR_F32, 0, other, NULL), TR_OK);
        snprintf(path, sizeof path, "%s/generation_config.json", to);
        assert_int_equal(tr_json_read(path, &g, NULL), TR_OK);
        assert_int_equal(json_array_size(json_object_get(g, "eos_token_id")), 2);
        assert_int_equal(json_integer_value(json_array_get(json_object_get(g, "eos_token_id"), 0)), 502);
        assert_int_equal(json_integer_value(json_object_get(g, "pad_token_id")), 500);
        assert_true(json_real_value(json_object_get(g, "temperature")) == (round ? 0.0 : 1e-6));
        assert_true(json_real_value(json_object_get(g, "repetition_penalty")) == (round ? 0.0 : 1.05));
        assert_true(json_is_true(json_object_get(g, "do_sample")) == !round);
        json_decref(g);
        snprintf(path, sizeof path, "%s/preprocessor_config.json", to);
        assert_true(tr_file_exists(path));
        snprintf(path, sizeof path, "%s/vocab.json", to);
        assert_true(tr_file_exists(path));
        assert_int_equal(tr_directory_remove(from, NULL), TR_OK);
    }
    tr_model_free(a);
    tr_model_free(b);
}

static void test_create(void **state)
{
    (void)state;
    tr_model *a = create("nano", plain, 1), *b = create("nano", plain, 1), *c = create("nano", plain, 2);
    same_values(a, b);
    const tr_param *q = find(a, "model.layers.0.self_attn.q_proj.weight"),
                   *k = find(a, "visual.blocks.0.attn.proj.weight");
    float *x = values(q), *y = values(find(c, q->name)), *z = values(k);
    assert_memory_not_equal(x, y, 4096 * sizeof *x);
    assert_memory_not_equal(x, z, 4096 * sizeof *x); /* another tensor, other numbers */
    double sum = 0, square = 0;
    for (int i = 0; i < 4096; i++) {
        sum += x[i];
        square += (double)x[i] * x[i];
    }
    /* 4096 draws of sd 1/sqrt(64): the mean's deviation is sd/64, the sd's sd/sqrt(8192): five of each */
    assert_true(fabs(sum / 4096) < 5 * 0.125 / 64);
    assert_true(fabs(sqrt(square / 4096) - 0.125) < 5 * 0.125 / 90.5);
    free(x);
    free(y);
    free(z);
    assert_true(tr_model_vector(a, a->params.norm)[5] == 1.0f);
    assert_true(tr_model_vector(a, a->params.layers[0].q_bias)[5] == 0.0f);
    tr_model_free(a);
    tr_model_free(b);
    tr_model_free(c);
}

/* Who has masters, gradients and moments; what the compute copy is; refresh and zeroing. */
static void test_memory(void **state)
{
    (void)state;
    const char *dir = scratch_copy("memory");
    tr_model *a = create("nano", plain, 3);
    save(a, dir, TR_F32, 0);
    tr_model *m = load(dir, (tr_model_options){.dtype = TR_BF16, .train = true, .freeze_vision = true});
    for (int i = 0; i < m->params.count; i++) {
        tr_param *p = &m->params.items[i];
        assert_int_equal(p->trainable, p->part != TR_PART_VISION);
        assert_int_equal(p->master != NULL, p->trainable);
        assert_int_equal(p->gradient != NULL && p->m != NULL && p->v != NULL, p->trainable);
        assert_int_equal(p->value.dtype, p->matrix ? TR_BF16 : TR_F32);
        assert_true(p->value.panels != p->master);
    }
    same_values(m, m);
    tr_param *p = &m->params.items[m->params.layers[0].gate];
    tr_param *n = &m->params.items[m->params.norm];
    p->master[0] = 1.00390625f;  /* halfway between two bf16 numbers: rounds to even, 1 */
    p->master[16] = 1.01171875f; /* halfway: rounds to even, 1.015625 */
    n->master[0] = 1.001f;
    p->gradient[3] = 5;
    tr_model_refresh(m);
    float *x = values(p);
    assert_true(x[0] == 1.0f && x[1] == 1.015625f);
    free(x);
    assert_true(tr_model_vector(m, m->params.norm)[0] == 1.0f && n->master[0] == 1.001f);
    tr_model_zero_gradients(m);
    assert_true(p->gradient[3] == 0);
    tr_model *copy;
    assert_int_equal(tr_model_clone_frozen(m, NULL, &copy, NULL), TR_OK);
    same_values(m, copy);
    for (int i = 0; i < copy->params.count; i++) {
        assert_true(!copy->params.items[i].master && !copy->params.items[i].trainable);
        bool shared = copy->params.items[i].value.panels == m->params.items[i].value.panels;
        assert_true(shared == !m->params.items[i].trainable); /* what is frozen never changes */
    }
    tr_model_free(copy);
    tr_model_free(m);
    /* f32: the master is the compute copy; saving writes masters, not rounded copies */
    m = load(dir, (tr_model_options){.dtype = TR_F32, .train = true, .freeze_text = true, .freeze_merger = true});
    p = &m->params.items[m->params.patch];
    assert_true(p->value.panels == p->master && p->master);
    assert_null(m->params.items[m->params.embed].master);
    assert_null(m->params.items[m->params.merger_fc1].master);
    assert_int_equal(tr_model_clone_frozen(m, NULL, &copy, NULL), TR_OK);
    same_values(m, copy);
    tr_model_free(copy);
    tr_model_free(m);
    tr_model_free(a);
}

/* Padding lanes of the last panel are zero: 171 = 10 * 16 + 11 rows in micro's vision; here vocab 513. */
static void test_padding(void **state)
{
    (void)state;
    tr_model_config config;
    assert_int_equal(tr_model_config_preset("nano", &config, NULL), TR_OK);
    config.vocab = 515;
    config.vision.intermediate = 81;
    tr_model *m;
    tr_model_options train = {.dtype = TR_BF16, .train = true};
    assert_int_equal(tr_model_create(&config, &train, 1, &m, NULL), TR_OK);
    const tr_param *p = &m->params.items[m->params.embed];
    for (int64_t k = 0; k < p->in; k++) {
        for (int64_t row = 515; row < 528; row++) {
            assert_true(p->master[tr_matrix_index(p->in, row, k)] == 0);
            assert_int_equal(((uint16_t *)p->value.panels)[tr_matrix_index(p->in, row, k)], 0);
        }
    }
    tr_model_free(m);
}

/* The head's rule, made from a saved checkpoint: absent needs tied, equal is ignored, different is refused. */
static void test_head_rule(void **state)
{
    (void)state;
    tr_model *a = create("nano", plain, 3);
    const char *dir = scratch_copy("head");
    char path[700];
    save(a, dir, TR_F32, 0);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    for (int round = 0; round < 3; round++) {
        tr_safetensors s;
        tr_safetensors_builder b = {0};
        float *other = NULL;
        assert_int_equal(tr_safetensors_open(&s, path, NULL), TR_OK);
        for (size_t i = 0; i < s.count; i++) {
            const tr_safetensor *t = &s.items[i];
            if (!strcmp(t->name, "lm_head.weight")) {
                continue;
            }
            char name[128]; /* the newer names in the last round */
            const char *plain_name = t->name;
            if (round == 2) {
                snprintf(name, sizeof name, "model.%s%s", !strncmp(t->name, "model.", 6) ? "language_" : "",
                         t->name);
                plain_name = name;
            }
            assert_int_equal(tr_safetensors_builder_add(&b, plain_name, t->dtype, t->rank, t->shape, t->data, NULL),
                             TR_OK);
            if (!strcmp(t->name, "model.embed_tokens.weight") && round < 2) {
                other = malloc(t->bytes);
                memcpy(other, t->data, t->bytes);
                other[77] += (float)round;
                assert_int_equal(
                    tr_safetensors_builder_add(&b, "lm_head.weight", t->dtype, t->rank, t->shape, other, NULL),
                    TR_OK);
            }
        }
        assert_int_equal(tr_safetensors_builder_write(&b, path, NULL), TR_OK);
        tr_safetensors_close(&s);
        tr_safetensors_builder_free(&b);
        free(other);
        tr_error err = {0};
        tr_model *m = NULL;
        tr_status status = tr_model_load(dir, &plain, &m, &err);
        if (round == 1) {
            assert_int_equal(status, TR_MISMATCH);
            assert_non_null(strstr(err.message, "lm_head.weight differs"));
        } else {
            assert_int_equal(status, TR_OK);
            same_values(a, m);
        }
        tr_model_free(m);
    }
    tr_model_free(a);
}

/* A head of its own and a vocabulary that fills no panel, stored as F16, in shards, under the newer names. */
static void test_untied_f16_shards(void **state)
{
    (void)state;
    tr_model_config config;
    tr_model *a;
    const char *dir = scratch_copy("untied"), *half = scratch_copy("untied-f16");
    char path[700];
    assert_int_equal(tr_model_config_preset("nano", &config, NULL), TR_OK);
    config.tied = false;
    config.vocab = 515;
    assert_int_equal(tr_model_create(&config, &plain, 5, &a, NULL), TR_OK);
    const tr_param *head = &a->params.items[a->params.head];
    assert_string_equal(head->name, "lm_head.weight");
    save(a, dir, TR_F32, 50000);
    tr_model *b = load(dir, plain);
    same_values(a, b);
    tr_model_free(b);
    save(a, half, TR_F32, 0); /* its config; the weights are replaced */
    tr_safetensors s;
    assert_int_equal(tr_safetensors_open_directory(&s, dir, NULL), TR_OK);
    json_t *map = json_object(), *index = json_pack("{s:o}", "weight_map", map);
    for (size_t shard = 0; shard < 2; shard++) {
        tr_safetensors_builder builder = {0};
        const char *file = shard ? "b.safetensors" : "a.safetensors";
        for (size_t i = shard; i < s.count; i += 2) {
            const tr_safetensor *t = &s.items[i];
            char name[128];
            snprintf(name, sizeof name, "%s%s", !strncmp(t->name, "lm_head", 7) ? "" : "model.",
                     !strncmp(t->name, "model.", 6) ? "language_model." : "");
            strcat(name, t->name + (!strncmp(t->name, "model.", 6) ? 6 : 0));
            assert_int_equal(
                tr_safetensors_builder_add_as(&builder, name, TR_F16, t->rank, t->shape, t->data, TR_F32, NULL),
                TR_OK);
            json_object_set_new(map, name, json_string(file));
        }
        snprintf(path, sizeof path, "%s/%s", half, file);
        assert_int_equal(tr_safetensors_builder_write(&builder, path, NULL), TR_OK);
        tr_safetensors_builder_free(&builder);
    }
    tr_safetensors_close(&s);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", half);
    assert_int_equal(tr_json_write(path, index, NULL), TR_OK);
    json_decref(index);
    snprintf(path, sizeof path, "%s/model.safetensors", half);
    assert_int_equal(remove(path), 0);
    b = load(half, plain);
    for (int i = 0; i < a->params.count; i++) {
        const tr_param *p = &a->params.items[i];
        float *x = values(p), *y = values(&b->params.items[i]);
        for (int64_t k = 0; k < p->out * p->in; k++) {
            uint16_t narrow;
            tr_convert(&narrow, TR_F16, x + k, TR_F32, 1);
            assert_true(y[k] == tr_f16_to_f32(narrow));
        }
        free(x);
        free(y);
    }
    assert_int_equal(b->params.items[b->params.head].value.dtype, TR_F16); /* frozen: as stored */
    tr_model_free(a);
    tr_model_free(b);
}

static void test_not_finite(void **state)
{
    (void)state;
    tr_model *a = create("nano", plain, 3);
    const char *dir = scratch_copy("nan");
    tr_param *p = &a->params.items[a->params.layers[1].down];
    ((float *)p->value.panels)[tr_matrix_index(p->in, 2, 5)] = NAN;
    save(a, dir, TR_F32, 0);
    tr_error err = {0};
    assert_int_equal(tr_model_check(dir, false, NULL), TR_OK);
    assert_int_equal(tr_model_check(dir, true, &err), TR_NUMERIC);
    assert_non_null(strstr(err.message, "model.layers.1.mlp.down_proj.weight"));
    assert_non_null(strstr(err.message, "element 197")); /* 2 * 96 + 5 */
    tr_model_free(a);
}

/* A full disk while replacing a checkpoint: the old one stays whole, nothing is left beside it. */
static void test_full_disk(void **state)
{
    (void)state;
    tr_model *a = create("nano", plain, 1), *b = create("nano", plain, 2);
    const char *parent = scratch_copy("disk");
    char dir[700];
    snprintf(dir, sizeof dir, "%s/checkpoint", parent);
    save(a, dir, TR_F32, 0);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){65536, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    tr_error err = {0};
    tr_status status = tr_model_save(b, dir, TR_F32, 0, NULL, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, TR_IO);
    tr_model *back = load(dir, plain);
    same_values(a, back);
    char **names;
    size_t count;
    assert_int_equal(tr_directory_list(parent, &names, &count, NULL), TR_OK);
    assert_int_equal(count, 1);
    tr_names_free(names, count);
    tr_model_free(back);
    save(b, dir, TR_F32, 0); /* and with room again it is replaced */
    back = load(dir, plain);
    same_values(b, back);
    tr_model_free(back);
    /* a directory with anything else in it is not replaced */
    char path[800];
    snprintf(path, sizeof path, "%s/notes.txt", dir);
    assert_int_equal(tr_file_write_atomic(path, "x", 1, NULL), TR_OK);
    assert_int_equal(tr_model_save(a, dir, TR_F32, 0, NULL, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "notes.txt"));
    assert_true(tr_file_exists(path));
    tr_model_free(a);
    tr_model_free(b);
}

static void test_absent(void **state)
{
    (void)state;
    tr_model *m = NULL;
    tr_error err = {0};
    assert_int_equal(tr_model_load(scratch_copy("nowhere"), &plain, &m, &err), TR_NOT_FOUND);
    assert_non_null(strstr(err.message, "nowhere"));
    assert_null(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_probes), cmocka_unit_test(test_golden_copies_agree),
        cmocka_unit_test(test_broken),        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_create),        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_padding),       cmocka_unit_test(test_head_rule),
        cmocka_unit_test(test_not_finite),    cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_absent),        cmocka_unit_test(test_five_gigabytes),
        cmocka_unit_test(test_files_beside),  cmocka_unit_test(test_untied_f16_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
