/* test_moments.c: runs with AdamW's moments in 8 bits: they learn, go on bit for bit, may change their form when
 * that is accepted, and are a quarter of f32's bytes; with whole weights, adapters, offloading and in bf16. */
#include "model/safetensors.h"
#include "tensor/moments.h"
#include "train/memory_source.h"
#include "train/state.h"

static const char grpo[] = "rollout: {group: 4, max_tokens: 5}\ngrpo: {prompts_per_step: 2, kl: 0.01}\n";
#define NARROW "optim: {lr: 0.01, moments: 8bit}\n"
#define WIDE "optim: {lr: 0.01}\n"

static void must(const char *out, const char *extra, bool resume, tr_status expected)
{
    tr_error err = {0};
    const tr_status status = run(out, extra, resume, false, &err);
    if (status != expected) {
        fail_msg("%s: status %d, expected %d: %s: %s", out, status, expected, err.where, err.message);
    }
}

static void same_checkpoints(const char *a, const char *b, const char *weights)
{
    char x[160], y[160];
    const char *files[] = {weights, "state.safetensors"};
    for (int i = 0; i < 2; i++) {
        snprintf(x, sizeof x, "%s/checkpoints/step-6/%s", a, files[i]);
        snprintf(y, sizeof y, "%s/checkpoints/step-6/%s", b, files[i]);
        assert_same_file(x, y);
    }
}

/* Whole, interrupted after step 2 and resumed, and with moments in a file: the same bytes. */
static void test_resume_and_offload(void **state)
{
    (void)state;
    static const struct {
        const char *train, *weights;
    } kinds[] = {{"dtype: f32", "model.safetensors"},
                 {"dtype: bf16", "model.safetensors"},
                 {"dtype: f32, freeze: [vision], lora: {rank: 4, alpha: 8}", "adapter_model.safetensors"}};
    for (int k = 0; k < 3; k++) {
        static const char *const how[] = {"", ", offload: [moments, reference]", ", save_mode: wait"};
        char names[3][32], extra[512];
        for (int i = 0; i < 3; i++) {
            snprintf(names[i], sizeof names[i], "narrow%d-%d", k, i);
            snprintf(extra, sizeof extra, "%s" NARROW "train: {%s, steps: 6, save_every: 3%s}\n", grpo,
                     kinds[k].train, how[i]);
            reset_rows();
            rows_template.stop_at = i ? 4 : 0;
            must(names[i], extra, false, i ? TR_INTERRUPTED : TR_OK);
            reset_rows();
            if (i) {
                must(names[i], extra, true, TR_OK);
                same_checkpoints(names[0], names[i], kinds[k].weights);
            }
        }
    }
}

/* Tensors and bytes of a state, apart by the first part of their names. */
static int64_t bytes_of(const char *out, const char *kind)
{
    char path[160];
    tr_safetensors file = {0};
    tr_error err = {0};
    int64_t bytes = 0;
    snprintf(path, sizeof path, "%s/checkpoints/step-3/state.safetensors", out);
    assert_int_equal(tr_safetensors_open(&file, scratch_path(path), &err), TR_OK);
    for (size_t i = 0; i < file.count; i++) {
        const char *name = file.items[i].name;
        bytes += !strncmp(name, kind, strlen(kind)) ? (int64_t)file.items[i].bytes : 0;
    }
    tr_safetensors_close(&file);
    return bytes;
}

static void test_the_bytes_of_a_state(void **state)
{
    (void)state;
    reset_rows();
    char extra[512];
    snprintf(extra, sizeof extra, "algorithm: sft\n%s" NARROW "train: {dtype: f32, steps: 3}\n", grpo);
    must("bytes", extra, false, TR_OK);
    const int64_t m = bytes_of("bytes", "m/"), v = bytes_of("bytes", "v/"), narrow = bytes_of("bytes", "moments8/"),
                  masters = bytes_of("bytes", "master/");
    assert_true(m == v && m > 0 && narrow > 0); /* vectors are f32 */
    const int64_t matrices = (masters - m) / 4;
    /* two bytes a number, a scale of 4 for every 256, and the padding of the last panels */
    assert_true(narrow >= 2 * matrices + matrices / 32 && narrow < 3 * matrices);
}

static tr_status resume_accepting(const char *out, const char *extra)
{
    char text[1024];
    tr_config_set set;
    json_t *summary = NULL;
    tr_error err = {0};
    snprintf(text, sizeof text, "model: %s\nout: %s\ndata: [ {rows: r} ]\n%s", tiny_model(), scratch_path(out),
             extra);
    assert_int_equal(tr_config_parse(text, strlen(text), "test.yaml", NULL, 0, &set, &err), TR_OK);
    rows_template.stop = 0;
    tr_train_options options = {.resume = true,
                                .accept_changes = true,
                                .quiet = true,
                                .stop = &rows_template.stop,
                                .open_source = memory_open};
    tr_status status = tr_train_run(&set, &options, &summary, &err);
    tr_config_set_free(&set);
    json_decref(summary);
    return status;
}

/* A small model whose moments are in one form. */
static tr_model *model_of(bool narrow, uint64_t seed)
{
    tr_model_config c;
    tr_model *model;
    tr_error err = {0};
    const tr_model_options options = {.dtype = TR_F32, .train = true, .moments8 = narrow};
    assert_int_equal(tr_model_config_preset("nano", &c, NULL), TR_OK);
    c.layers = c.vision.depth = 1;
    c.vision.full_block_count = 0;
    c.hidden = c.vision.out_hidden = 32;
    c.heads = 2;
    c.kv_heads = 1;
    c.head_dim = 16;
    c.intermediate = 40; /* ragged tiles and panels */
    c.vocab = 513;
    c.vision.hidden = 32;
    c.vision.heads = 2;
    c.vision.intermediate = 40;
    if (tr_model_create(&c, &options, seed, &model, &err)) {
        fail_msg("%s", err.message);
    }
    return model;
}

/* Moments of a parameter, row-major. */
static void moments_of(const tr_param *p, float *m, float *v)
{
    if (p->moments8) {
        tr_moments8_unpack(m, v, p->moments8, p->out, p->in);
    } else if (p->matrix) {
        const tr_matrix a = {TR_F32, p->out, p->in, p->m}, b = {TR_F32, p->out, p->in, p->v};
        tr_matrix_unpack(&a, m, TR_F32, 0, p->out);
        tr_matrix_unpack(&b, v, TR_F32, 0, p->out);
    } else {
        memcpy(m, p->m, (size_t)p->out * sizeof *m);
        memcpy(v, p->v, (size_t)p->out * sizeof *v);
    }
}

/* A state of either form read into a model of either form: what is widened is exact, what is narrowed is what
 * tr_moments8_pack makes. */
static void test_states_change_their_form(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        tr_model *from = model_of(way & 1, 1), *to = model_of(way & 2, 2);
        json_t *sums = json_object();
        tr_error err = {0};
        for (int i = 0; i < from->params.count; i++) {
            tr_param *p = &from->params.items[i];
            const int64_t n = p->out * p->in;
            float *m = calloc((size_t)n, sizeof *m), *v = calloc((size_t)n, sizeof *v);
            assert_true(m && v);
            for (int64_t k = 0; k < n; k++) {
                m[k] = (float)tr_random_normal(7, (uint32_t)i, (uint32_t)k, 0, 0);
                v[k] = (float)tr_random_uniform(7, (uint32_t)i, (uint32_t)k, 1, 0);
            }
            if (p->moments8) {
                tr_moments8_pack(p->moments8, m, v, p->out, p->in);
            } else if (p->matrix) {
                tr_matrix a = {TR_F32, p->out, p->in, p->m}, b = {TR_F32, p->out, p->in, p->v};
                tr_matrix_pack(&a, m, TR_F32, 0, p->out);
                tr_matrix_pack(&b, v, TR_F32, 0, p->out);
            } else {
                memcpy(p->m, m, (size_t)n * sizeof *m);
                memcpy(p->v, v, (size_t)n * sizeof *v);
            }
            free(m);
            free(v);
        }
        const char *path = scratch_path("form.safetensors");
        assert_int_equal(tr_state_write(from, path, sums, &err), TR_OK);
        if (tr_state_read(to, path, sums, &err)) {
            fail_msg("%s: %s", err.where, err.message);
        }
        for (int i = 0; i < from->params.count; i++) {
            const tr_param *p = &from->params.items[i], *q = &to->params.items[i];
            const size_t n = (size_t)(p->out * p->in), bytes = tr_param_moments8_bytes(q);
            float *x = calloc(4 * n, sizeof *x);
            assert_non_null(x);
            assert_true((q->moments8 != NULL) == (q->matrix && !q->embedding && way & 2));
            assert_memory_equal(p->master, q->master, n * sizeof *x);
            moments_of(p, x, x + n);
            if (q->moments8) {
                unsigned char *expected = calloc(1, bytes);
                tr_moments8_pack(expected, x, x + n, q->out, q->in);
                assert_memory_equal(q->moments8, expected, bytes);
                free(expected);
            } else {
                moments_of(q, x + 2 * n, x + 3 * n);
                assert_memory_equal(x, x + 2 * n, 2 * n * sizeof *x);
            }
            free(x);
        }
        json_decref(sums);
        tr_model_free(from);
        tr_model_free(to);
    }
}

/* A change of the form is refused, named, and converted once it is accepted. */
static void test_a_changed_form(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) { /* to 8 bits, and back */
        const char *out = i ? "to-wide" : "to-narrow", *first = i ? NARROW : WIDE, *then = i ? WIDE : NARROW;
        char extra[512];
        reset_rows();
        snprintf(extra, sizeof extra, "algorithm: sft\n%s%strain: {dtype: f32, steps: 3}\n", grpo, first);
        must(out, extra, false, TR_OK);
        snprintf(extra, sizeof extra, "algorithm: sft\n%s%strain: {dtype: f32, steps: 3}\n", grpo, then);
        must(out, extra, true, TR_MISMATCH);
        snprintf(extra, sizeof extra, "algorithm: sft\n%s%strain: {dtype: f32, steps: 6, save_every: 3}\n", grpo,
                 then);
        assert_int_equal(resume_accepting(out, extra), TR_OK);
        json_t *m = metrics_of(out, "metrics.jsonl");
        assert_int_equal(json_array_size(m), 6);
        assert_true(number(m, 5, "loss") < number(m, 0, "loss"));
        json_decref(m);
    }
}

/* The same seeds in both forms: what they learn is near, the bytes are not. */
static void test_it_learns(void **state)
{
    (void)state;
    static const char *const form[] = {WIDE, NARROW};
    double loss[2];
    for (int i = 0; i < 2; i++) {
        char extra[512], out[16];
        reset_rows();
        snprintf(out, sizeof out, "learns%d", i);
        snprintf(extra, sizeof extra, "algorithm: sft\n%s%strain: {dtype: f32, steps: 40, save_every: 0}\n", grpo,
                 form[i]);
        must(out, extra, false, TR_OK);
        json_t *m = metrics_of(out, "metrics.jsonl");
        loss[i] = mean_of(m, 36, 40, "loss");
        assert_true(loss[i] < 0.25 * number(m, 0, "loss"));
        json_decref(m);
    }
    assert_true(loss[0] != loss[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resume_and_offload),
        cmocka_unit_test(test_the_bytes_of_a_state),
        cmocka_unit_test(test_states_change_their_form),
        cmocka_unit_test(test_a_changed_form),
        cmocka_unit_test(test_it_learns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
