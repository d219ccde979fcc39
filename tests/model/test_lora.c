/* test_lora.c: adapters. Against peft (golden lora-nano), and on a generated model: gradients by way of the merged
 * weights, the same bits packed, decoding, in tiles, with any threads and kernels; the base alone with the adapter
 * off; frozen parts; files written and read again; patterns; everything that must be refused. */
#include "support/golden.h"

#include "base/random.h"
#include "base/thread.h"
#include "model/network.h"

/* ---- the reference's numbers ---- */

static const tr_model_options frozen_base = {
    .dtype = TR_F32, .train = true, .freeze_text = true, .freeze_vision = true, .freeze_merger = true};

static void hide(golden *g, const char *name)
{
    for (size_t i = 0; i < g->file.count; i++) {
        if (!strcmp(g->file.items[i].name, name)) {
            g->file.items[i].name[0] = '-';
        }
    }
}

static void test_golden_adapter(void **state)
{
    (void)state;
    static const char *const isa[] = {NULL, "reference"};
    for (int i = 0; i < (GOLDEN_DEVICE ? 1 : 2); i++) {
        golden g;
        golden_read(&g, "lora-nano");
        hide(&g, "truth/merged_last_logits");
        tr_model_options options = frozen_base;
        options.isa = isa[i];
        options.device = GOLDEN_DEVICE;
        tr_model *model = golden_model("nano-lora", &options);
        golden_run(&g, model, true);
        int bad = golden_compare(&g) + golden_compare_probes(&g, "grad_probes");
        const tr_safetensor *loss = tr_safetensors_find(&g.result, "out/loss");
        const json_t *truth = json_object_get(json_object_get(g.json, "scalars"), "loss");
        double x = NAN;
        golden_ok(tr_safetensors_copy(loss, 0, 1, &x, TR_F64, &err_));
        assert_true(golden_scalar("loss", x, json_number_value(json_object_get(truth, "truth")),
                                  json_number_value(json_object_get(truth, "f32_err"))));
        assert_int_equal(bad, 0);
        assert_int_equal(g.compared, 30 + 28); /* log-probs, logits, gradients of 14 pairs and their probes */
        tr_model_free(model);
        golden_free(&g);
    }
}

static void test_golden_merged(void **state)
{
    (void)state;
    golden g;
    tr_safetensors ours = {0}, theirs = {0};
    golden_read(&g, "lora-nano");
    const char *dir = scratch_path("merged");
    golden_ok(tr_lora_merge(need_shared("golden/checkpoints/nano"), need_shared("golden/checkpoints/nano-lora"),
                            dir, TR_U8, NULL, NULL, NULL, &err_));
    golden_ok(tr_safetensors_open_directory(&ours, dir, &err_));
    golden_ok(tr_safetensors_open_directory(&theirs, need_shared("golden/checkpoints/nano-lora-merged"), &err_));
    assert_int_equal(ours.count, theirs.count);
    for (size_t i = 0; i < ours.count; i++) {
        assert_string_equal(ours.items[i].name, theirs.items[i].name);
        float *a = golden_values(&ours.items[i], TR_F32), *b = golden_values(&theirs.items[i], TR_F32), most = 0;
        for (int64_t k = 0; k < ours.items[i].elements; k++) {
            most = fabsf(b[k]) > most ? fabsf(b[k]) : most;
        }
        /* theirs sums 8 products in f32 and rounds twice more: at most 10 roundings of numbers below 2 * most */
        for (int64_t k = 0; k < ours.items[i].elements; k++) {
            assert_true(fabsf(a[k] - b[k]) <= 20 * 0x1p-24f * most);
        }
        free(a);
        free(b);
    }
    const tr_model_options options = {.dtype = TR_F32, .device = GOLDEN_DEVICE};
    tr_model *model;
    golden_ok(tr_model_load(dir, &options, &model, &err_));
    golden_run(&g, model, false);
    const tr_safetensor *x = tr_safetensors_find(&g.result, "out/last_logits"),
                        *t = tr_safetensors_find(&g.file, "truth/merged_last_logits");
    assert_non_null(x);
    float *logits = golden_values(x, TR_F32);
    double *truth = golden_values(t, TR_F64);
    assert_true(golden_floats_close(json_object_get(json_object_get(g.json, "results"), "merged_last_logits"),
                                    "merged_last_logits", logits, truth, (size_t)t->elements));
    free(logits);
    free(truth);
    tr_model_free(model);
    tr_safetensors_close(&ours);
    tr_safetensors_close(&theirs);
    golden_free(&g);
}

/* ---- a generated model with an adapter that does something ---- */

enum { PROMPT = 251, VISUAL = 12, RESPONSES = 3, TOKENS = 9 + 1 + 20, VOCAB = 512, HIDDEN = 64, RANK = 5 };
static const int64_t lengths[RESPONSES] = {9, 1, 20};
static const int32_t grids[1][3] = {{2, 4, 6}};
static const char all_text[] = "\".*language_model.*_proj\"";

typedef struct input {
    int32_t ids[PROMPT], positions[3 * PROMPT], responses[TOKENS];
    float patches[4 * VISUAL * 1176], features[VISUAL * HIDDEN], dlogp[TOKENS], logp[TOKENS];
    tr_visual visual;
    tr_group group;
} input;

static input *make_input(const tr_model_config *c)
{
    input *in = tr_calloc(1, sizeof *in);
    assert_non_null(in);
    for (int i = 0; i < PROMPT; i++) {
        bool video = i >= 3 && i < 3 + VISUAL;
        in->ids[i] = video ? (int32_t)c->video_id : (int32_t)tr_random_below(3, 1, (uint32_t)i, 0, 0, 200);
    }
    for (int i = 0; i < TOKENS; i++) {
        in->responses[i] = (int32_t)tr_random_below(3, 2, (uint32_t)i, 0, 0, 200);
        in->dlogp[i] = (float)tr_random_normal(3, 3, (uint32_t)i, 0, 0);
    }
    for (int i = 0; i < 4 * VISUAL * 1176; i++) {
        in->patches[i] = (float)tr_random_normal(3, 5, (uint32_t)i, 0, 0);
    }
    golden_ok(tr_positions(c, in->ids, PROMPT, grids, 1, (const double[]){1.0}, in->positions, NULL, &err_));
    in->visual = (tr_visual){in->patches, 4 * VISUAL, grids, 1};
    in->group = (tr_group){.prompt_ids = in->ids,
                           .positions = in->positions,
                           .prompt = PROMPT,
                           .features = in->features,
                           .visual_tokens = VISUAL,
                           .response_ids = in->responses,
                           .lengths = lengths,
                           .responses = RESPONSES};
    return in;
}

static tr_network *make_network(tr_model *model, bool train, tr_recompute recompute)
{
    tr_network *network;
    const tr_network_limits limits = {.patches = 4 * VISUAL,
                                      .largest_grid = 24,
                                      .prompt_tokens = PROMPT,
                                      .response_tokens = TOKENS,
                                      .responses = RESPONSES,
                                      .targets = TOKENS,
                                      .train_text = train,
                                      .train_vision = train,
                                      .decode_rows = RESPONSES,
                                      .decode_groups = 1,
                                      .decode_tokens = 20,
                                      .recompute = recompute};
    golden_ok(tr_network_create(model, &limits, &network, &err_));
    return network;
}

/* The base, far from uniform, made once. */
static const char *base_folder(void)
{
    static char path[512];
    if (!path[0]) {
        tr_model_config c;
        tr_model *model;
        const tr_model_options options = {.dtype = TR_F32};
        snprintf(path, sizeof path, "%s", scratch_path("base"));
        golden_ok(tr_model_config_preset("nano", &c, &err_));
        golden_ok(tr_model_create(&c, &options, 7, &model, &err_));
        for (int i = 0; i < model->params.count; i++) {
            tr_param *p = &model->params.items[i];
            for (int64_t k = 0; p->matrix && k < p->elements; k++) {
                ((float *)p->value.panels)[k] *= 4;
            }
        }
        golden_ok(tr_model_save(model, path, TR_F32, 0, NULL, &err_));
        tr_model_free(model);
    }
    return path;
}

/* The base with a fresh adapter; stir: B is given values, and A larger ones. */
static tr_model *make_model(tr_model_options options, const char *targets, bool stir)
{
    tr_model *model;
    json_t *what = json_loads(targets, JSON_DECODE_ANY, NULL);
    const tr_lora_settings lora = {.rank = RANK, .alpha = 8, .targets = what, .seed = 9};
    options.lora = &lora;
    options.freeze_text = true;
    golden_ok(tr_model_load(base_folder(), &options, &model, &err_));
    for (int i = model->params.base; stir && i < model->params.count; i++) {
        tr_param *p = &model->params.items[i];
        float *x = p->value.panels;
        for (int64_t row = 0; row < p->out; row++) {
            for (int64_t k = 0; k < p->in; k++) {
                x[tr_matrix_index(p->in, row, k)] =
                    0.2f * (float)tr_random_normal(11, (uint32_t)i, (uint32_t)row, (uint32_t)k, 0);
            }
        }
    }
    json_decref(what);
    return model;
}

static void pass(tr_network *network, input *in, bool train, float *dfeatures)
{
    golden_ok(tr_network_vision_forward(network, &in->visual, train, in->features, &err_));
    golden_ok(tr_network_group_forward(network, &in->group, 0.9f, train, in->logp, NULL, &err_));
    if (train) {
        golden_ok(tr_network_group_backward(network, &in->group, in->dlogp, NULL, dfeatures, &err_));
    }
}

static uint64_t hash_gradients(const tr_model *model, tr_param_part part, bool adapter)
{
    uint64_t hash = 1;
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        if ((i >= model->params.base) == adapter && p->part == part && p->gradient) {
            uint64_t pair[2] = {hash, tr_hash(p->gradient, (size_t)p->elements * sizeof(float))};
            hash = tr_hash(pair, sizeof pair);
        }
    }
    return hash;
}

/* y = (W + s B A) x: with the gradient G of the merged weight, dB = s G A^T and dA = s B^T G. */
static void test_gradients_agree_with_those_of_merged_weights(void **state)
{
    (void)state;
    tr_model *model = make_model((tr_model_options){.dtype = TR_F32, .train = true}, all_text, true), *merged;
    const tr_model_options whole = {.dtype = TR_F32, .train = true, .merge_adapter = true};
    input *in = make_input(&model->config);
    float expected[TOKENS], *dfeatures = tr_calloc(2 * VISUAL * HIDDEN, sizeof *dfeatures);
    golden_ok(tr_model_save(model, scratch_path("for-merge"), TR_F32, 0, NULL, &err_));
    golden_ok(tr_model_load(scratch_path("for-merge"), &whole, &merged, &err_));
    assert_null(merged->lora);
    tr_network *a = make_network(model, true, TR_RECOMPUTE_LAYER),
               *b = make_network(merged, true, TR_RECOMPUTE_NONE);
    pass(b, in, true, dfeatures);
    memcpy(expected, in->logp, sizeof expected);
    pass(a, in, true, dfeatures + VISUAL * HIDDEN);
    assert_true(all_close("logp", in->logp, expected, TOKENS, 2e-4, 1e-5)); /* 64-term sums through 2 layers */
    assert_true(all_close("dfeatures", dfeatures + VISUAL * HIDDEN, dfeatures, VISUAL * HIDDEN, 2e-3, 2e-4));
    int pairs = 0;
    for (int i = 0; i < model->params.base; i++) {
        const tr_param *w = &merged->params.items[i];
        const int at = model->params.items[i].adapter;
        if (!at) {
            continue;
        }
        pairs++;
        const tr_param *pa = &model->params.items[at], *pb = &model->params.items[at + 1];
        const float *va = pa->value.panels, *vb = pb->value.panels;
        double largest = 0, worst = 0;
        for (int half = 0; half < 2; half++) {
            for (int64_t r = 0; r < RANK; r++) {
                for (int64_t k = 0; k < (half ? w->out : w->in); k++) {
                    double sum = 0;
                    for (int64_t j = 0; j < (half ? w->in : w->out); j++) {
                        int64_t g = half ? tr_matrix_index(w->in, k, j) : tr_matrix_index(w->in, j, k);
                        float other = half ? va[tr_matrix_index(w->in, r, j)] : vb[tr_matrix_index(RANK, j, r)];
                        sum += (double)w->gradient[g] * (double)other;
                    }
                    sum *= 8.0 / RANK;
                    float found = half ? pb->gradient[tr_matrix_index(RANK, k, r)]
                                       : pa->gradient[tr_matrix_index(w->in, r, k)];
                    largest = fabs(sum) > largest ? fabs(sum) : largest;
                    worst = fabs(sum - (double)found) > worst ? fabs(sum - (double)found) : worst;
                }
            }
        }
        assert_true(largest > 1e-3);
        assert_true(worst <= 1e-4 * largest);
    }
    assert_int_equal(pairs, 14);
    tr_network_free(a);
    tr_network_free(b);
    tr_model_free(model);
    tr_model_free(merged);
    free(in);
    free(dfeatures);
}

static void test_threads_kernels_and_recomputation_give_the_same_bits(void **state)
{
    (void)state;
    const char *names[4];
    int variants = tr_ops_cpu_variants(names), before = tr_threads_count();
    for (int half = 0; half < 2; half++) {
        float first[TOKENS], *dfeatures = tr_calloc(VISUAL * HIDDEN, sizeof *dfeatures);
        uint64_t gradients = 0;
        for (int i = 0; i < variants; i++) {
            if (!strcmp(names[i], "reference")) {
                continue;
            }
            tr_threads_set(1 + i % 3);
            tr_model *model =
                make_model((tr_model_options){.dtype = half ? TR_BF16 : TR_F32, .train = true, .isa = names[i]},
                           all_text, true);
            input *in = make_input(&model->config);
            tr_network *network = make_network(model, true, i % 2 ? TR_RECOMPUTE_LAYER : TR_RECOMPUTE_NONE);
            pass(network, in, true, dfeatures);
            uint64_t hash = hash_gradients(model, TR_PART_TEXT, true);
            if (!gradients) {
                gradients = hash;
                memcpy(first, in->logp, sizeof first);
            }
            assert_memory_equal(first, in->logp, sizeof first);
            assert_true(hash == gradients);
            tr_network_free(network);
            tr_model_free(model);
            free(in);
        }
        free(dfeatures);
    }
    tr_threads_set(before);
}

static void test_decoding_has_the_bits_of_the_packed_forward(void **state)
{
    (void)state;
    static float logits[RESPONSES * VOCAB], row[VOCAB];
    for (int half = 0; half < 2; half++) {
        tr_model *model = make_model((tr_model_options){.dtype = half ? TR_BF16 : TR_F32}, all_text, true);
        input *in = make_input(&model->config);
        tr_network *network = make_network(model, false, TR_RECOMPUTE_NONE);
        pass(network, in, false, NULL);
        golden_ok(tr_network_prefill(network, 0, &in->group, logits, &err_));
        model->ops->logsoftmax_row(row, logits, VOCAB, 0.9f);
        for (int64_t r = 0, at = 0; r < RESPONSES; at += lengths[r++]) {
            assert_memory_equal(&row[in->responses[at]], &in->logp[at], sizeof *row);
        }
        for (int64_t j = 0; j < 19; j++) {
            int64_t streams[RESPONSES], slots[RESPONSES] = {0}, index[RESPONSES], rows = 0, of[RESPONSES];
            int32_t tokens[RESPONSES];
            for (int64_t r = 0, at = 0; r < RESPONSES; at += lengths[r++]) {
                if (j + 1 < lengths[r]) {
                    streams[rows] = r;
                    index[rows] = j;
                    of[rows] = at + j + 1;
                    tokens[rows++] = in->responses[at + j];
                }
            }
            golden_ok(tr_network_decode(network, streams, slots, index, tokens, rows, logits, &err_));
            for (int64_t k = 0; k < rows; k++) {
                model->ops->logsoftmax_row(row, logits + k * VOCAB, VOCAB, 0.9f);
                assert_memory_equal(&row[in->responses[of[k]]], &in->logp[of[k]], sizeof *row);
            }
        }
        tr_network_free(network);
        tr_model_free(model);
        free(in);
    }
}

/* ---- off, start, frozen parts ---- */

static void test_without_the_adapter_it_is_the_base(void **state)
{
    (void)state;
    tr_model *base, *model, *again;
    const tr_model_options plain = {.dtype = TR_BF16},
                           train = {.dtype = TR_BF16, .train = true, .freeze_text = true};
    float alone[TOKENS], start[TOKENS];
    golden_ok(tr_model_load(base_folder(), &plain, &base, &err_));
    input *in = make_input(&base->config);
    tr_network *network = make_network(base, false, TR_RECOMPUTE_NONE);
    pass(network, in, false, NULL);
    memcpy(alone, in->logp, sizeof alone);
    tr_network_free(network);
    tr_model_free(base);

    model = make_model(train, all_text, false); /* fresh: B is 0 */
    network = make_network(model, true, TR_RECOMPUTE_NONE);
    pass(network, in, false, NULL);
    assert_memory_equal(alone, in->logp, sizeof alone);
    tr_network_free(network);
    tr_model_free(model);

    model = make_model(train, all_text, true);
    network = make_network(model, true, TR_RECOMPUTE_NONE);
    pass(network, in, false, NULL);
    assert_memory_not_equal(alone, in->logp, sizeof alone);
    memcpy(start, in->logp, sizeof start);
    const tr_adapter_use off[] = {TR_ADAPTER_OFF, TR_ADAPTER_START};
    for (int i = 0; i < 2; i++) { /* it started fresh */
        tr_network_set_adapter(network, off[i]);
        pass(network, in, false, NULL);
        assert_memory_equal(alone, in->logp, sizeof alone);
    }
    tr_error err = {0};
    assert_int_equal(tr_network_group_forward(network, &in->group, 1, true, in->logp, NULL, &err), TR_INVALID);
    golden_ok(tr_model_save(model, scratch_path("started"), TR_BF16, 0, NULL, &err_));
    tr_network_free(network);
    tr_model_free(model);

    golden_ok(tr_model_load(scratch_path("started"), &train, &again, &err_)); /* started from a file */
    for (int i = again->params.base; i < again->params.count; i++) {
        again->params.items[i].master[0] += 1;
    }
    network = make_network(again, true, TR_RECOMPUTE_NONE);
    pass(network, in, false, NULL);
    assert_memory_not_equal(start, in->logp, sizeof start);
    tr_network_set_adapter(network, TR_ADAPTER_START);
    pass(network, in, false, NULL);
    assert_memory_equal(start, in->logp, sizeof start);
    tr_network_set_adapter(network, TR_ADAPTER_OFF);
    pass(network, in, false, NULL);
    assert_memory_equal(alone, in->logp, sizeof alone);
    tr_network_free(network);
    tr_model_free(again);
    free(in);
}

static void test_frozen_parts(void **state)
{
    (void)state;
    uint64_t adapter = 0, vision = 0, merger = 0;
    for (int kind = 0; kind < 4; kind++) {
        const bool no_vision = kind & 1, no_merger = kind & 2;
        tr_model *model = make_model(
            (tr_model_options){
                .dtype = TR_F32, .train = true, .freeze_vision = no_vision, .freeze_merger = no_merger},
            all_text, true);
        input *in = make_input(&model->config);
        float dfeatures[VISUAL * HIDDEN];
        tr_network *network = make_network(model, true, TR_RECOMPUTE_LAYER);
        for (int i = 0; i < model->params.count; i++) {
            const tr_param *p = &model->params.items[i];
            bool trains = i >= model->params.base || (p->part == TR_PART_VISION && !no_vision) ||
                          (p->part == TR_PART_MERGER && !no_merger);
            assert_true(trains == p->trainable && trains == (p->gradient != NULL) &&
                        trains == (p->master != NULL) && trains == (p->m != NULL) &&
                        trains == (p->v != NULL)); /* the base exists once */
        }
        bool below = !no_vision || !no_merger;
        pass(network, in, true, below ? dfeatures : NULL);
        if (below) {
            golden_ok(tr_network_vision_backward(network, &in->visual, dfeatures, &err_));
        }
        uint64_t hash = hash_gradients(model, TR_PART_TEXT, true);
        adapter = kind ? adapter : hash;
        assert_true(hash == adapter);
        uint64_t v = hash_gradients(model, TR_PART_VISION, false), m = hash_gradients(model, TR_PART_MERGER, false);
        vision = kind ? vision : v;
        merger = kind ? merger : m;
        assert_true(no_vision ? v == 1 : v == vision && v != 1);
        assert_true(no_merger ? m == 1 : m == merger && m != 1);
        tr_network_free(network);
        tr_model_free(model);
        free(in);
    }
}

/* Only some layers: the backward stops at the lowest one, and their gradients are the same whatever stops below. */
static void test_some_layers_only(void **state)
{
    (void)state;
    tr_model *model = make_model((tr_model_options){.dtype = TR_F32, .train = true},
                                 "[\"layers.1.self_attn.q_proj\", \"layers.1.mlp.down_proj\"]", true);
    input *in = make_input(&model->config);
    float dfeatures[VISUAL * HIDDEN];
    tr_network *network = make_network(model, true, TR_RECOMPUTE_NONE);
    assert_int_equal(model->lora->matrices, 2);
    assert_int_equal(model->lora->first, 1);
    assert_string_equal(model->params.items[model->params.base].name,
                        "base_model.model.model.language_model.layers.1.self_attn.q_proj.lora_A.weight");
    pass(network, in, true, dfeatures);
    uint64_t through = hash_gradients(model, TR_PART_TEXT, true);
    tr_model_zero_gradients(model);
    pass(network, in, true, NULL);
    assert_true(through == hash_gradients(model, TR_PART_TEXT, true));
    tr_network_free(network);
    tr_model_free(model);
    free(in);
}

/* ---- files ---- */

static void test_files_give_the_same_bits_again(void **state)
{
    (void)state;
    const tr_model_options plain = {.dtype = TR_F32};
    tr_model_options with = plain;
    tr_model *model = make_model((tr_model_options){.dtype = TR_F32, .train = true}, all_text, true), *again;
    tr_param *tower = &model->params.items[model->params.patch];
    tower->master[5] += 1; /* the tower trains: it must come with the adapter */
    input *in = make_input(&model->config);
    float expected[TOKENS];
    tr_network *network = make_network(model, true, TR_RECOMPUTE_NONE);
    pass(network, in, false, NULL);
    memcpy(expected, in->logp, sizeof expected);
    tr_network_free(network);
    const char *dir = scratch_path("adapter");
    with.adapter = dir;
    golden_ok(tr_model_save(model, dir, TR_F32, 0, NULL, &err_));
    golden_ok(tr_model_save(model, dir, TR_F32, 0, NULL, &err_)); /* in the place of the old one */
    json_t *config;
    golden_ok(tr_json_read(scratch_path("adapter/adapter_config.json"), &config, &err_));
    assert_string_equal(json_string_value(json_object_get(config, "peft_type")), "LORA");
    assert_string_equal(json_string_value(json_array_get(json_object_get(config, "modules_to_save"), 0)), "visual");
    assert_string_equal(json_string_value(json_object_get(config, "target_modules")), ".*language_model.*_proj");
    assert_int_equal(json_integer_value(json_object_get(config, "r")), RANK);
    json_decref(config);
    for (int way = 0; way < 2; way++) { /* the folder names its base; or both are given */
        golden_ok(tr_model_load(way ? base_folder() : dir, way ? &with : &plain, &again, &err_));
        assert_int_equal(again->lora->rank, RANK);
        assert_true(again->lora->vision_replaced);
        network = make_network(again, false, TR_RECOMPUTE_NONE);
        pass(network, in, false, NULL);
        assert_memory_equal(expected, in->logp, sizeof expected);
        tr_network_free(network);
        tr_model_free(again);
    }
    tr_model_config c;
    char *base;
    golden_ok(tr_model_config_read(dir, &c, &err_)); /* its base's shape */
    assert_int_equal(c.hidden, HIDDEN);
    golden_ok(tr_lora_tokenizer(dir, &base, &err_)); /* it has none of its own */
    assert_false(tr_lora_is_adapter(base));
    free(base);
    tr_model *copy; /* a frozen copy takes the adapter along and shares what never changes */
    golden_ok(tr_model_clone_frozen(model, NULL, &copy, &err_));
    assert_true(copy->params.items[0].value.panels == model->params.items[0].value.panels);
    assert_true(copy->params.items[model->params.patch].value.panels != tower->value.panels);
    network = make_network(copy, false, TR_RECOMPUTE_NONE);
    pass(network, in, false, NULL);
    assert_memory_equal(expected, in->logp, sizeof expected);
    tr_network_free(network);
    tr_model_free(copy);
    tr_model_free(model);
    free(in);
}

static void test_first_values(void **state)
{
    (void)state;
    tr_model *a = make_model((tr_model_options){.dtype = TR_BF16, .train = true}, all_text, false);
    double squares = 0, count = 0;
    for (int i = a->params.base; i < a->params.count; i += 2) {
        const tr_param *p = &a->params.items[i], *b = &a->params.items[i + 1];
        const double bound = 1 / sqrt((double)p->in);
        assert_true(p->value.dtype == TR_F32 && p->value.panels == p->master); /* f32 also under bf16 */
        for (int64_t k = 0; k < p->elements; k++) {
            assert_true(fabs((double)p->master[k]) <= bound);
            squares += (double)p->master[k] * (double)p->master[k] / bound / bound;
        }
        count += (double)(p->out * p->in);
        for (int64_t k = 0; k < b->elements; k++) {
            assert_true(b->master[k] == 0);
        }
    }
    assert_true(fabs(squares / count - 1.0 / 3) < 4 * 0.2981 / sqrt(count)); /* E u^2 = 1/3, its sd sqrt(4/45) */
    tr_model_free(a);
}

/* ---- patterns ---- */

static int choose(const char *targets, bool *others, tr_error *err)
{
    tr_model_config c;
    tr_params params;
    bool chosen[512];
    int count = 0;
    json_t *what = json_loads(targets, JSON_DECODE_ANY, NULL);
    golden_ok(tr_model_config_preset("nano", &c, &err_));
    golden_ok(tr_params_build(&c, &params, &err_));
    memset(err, 0, sizeof *err);
    tr_status status = tr_lora_choose(&params, what, "train.lora.targets", chosen, others, err);
    for (int i = 0; !status && i < params.base; i++) {
        count += chosen[i];
    }
    tr_params_free(&params);
    json_decref(what);
    return status ? -(int)status : count;
}

static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *targets;
        int count;
        bool others;
    } good[] = {
        {"[\"q_proj\", \"v_proj\"]", 4, false},
        {"[\"gate_proj\"]", 2, true}, /* the vision tower has modules of that name */
        {"[\"model.language_model.layers.0.mlp.up_proj\"]", 1, false},
        {"[\"self_attn.k_proj\"]", 2, false},
        {"\".*language_model.*\\\\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)\"", 14, false},
        {"\"model\\\\.language_model\\\\.layers\\\\.(0|1)\\\\.self_attn\\\\..*\"", 8, false},
        {"\"model\\\\.language_model\\\\.layers\\\\.\\\\d+\\\\.mlp\\\\.(?!down).*\"", 4, false},
        {"\"all-linear\"", 14, true},
        {"\".*\"", 14, true},
    };
    static const struct {
        const char *targets, *says;
        tr_status status;
    } bad[] = {
        {"\"q_proj\"", "\"q_proj\" matches no linear layer of the decoder",
         TR_NOT_FOUND}, /* must match the whole name */
        {"\"model\\\\.language_model\\\\.layers\\\\.0\\\\.self_attn\\\\.q\"", "matches no", TR_NOT_FOUND},
        {"[\"proj\"]", "vision tower", TR_NOT_FOUND}, /* attn.proj is the tower's */
        {"[\"lm_head\", \"wq\"]", "model.language_model.layers.0.self_attn.q_proj", TR_NOT_FOUND},
        {"\"model.layers.0.self_attn.q_proj\"", "train.lora.targets", TR_NOT_FOUND},
        {"\"(q_proj\"", "at character 8", TR_FORMAT},
        {"\"\"", "list of names", TR_FORMAT},
        {"[]", "list without names", TR_FORMAT},
        {"[3]", "list without names", TR_FORMAT},
        {"7", "an integer", TR_FORMAT},
        {"\"(.*)*(.*)*(.*)*(.*)*(.*)*[^a-z0-9._]\"", "takes too long", TR_INVALID},
    };
    tr_error err;
    bool others;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(choose(good[i].targets, &others, &err), good[i].count);
        assert_int_equal(others, good[i].others);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int status = choose(bad[i].targets, &others, &err);
        if (status != -(int)bad[i].status || !strstr(err.message, bad[i].says)) {
            printf("%s: %d, %s\n", bad[i].targets, status, err.message);
        }
        assert_int_equal(status, -(int)bad[i].status);
        assert_non_null(strstr(err.message, bad[i].says));
    }
    /* what would choose the vision tower too is saved as exact names */
    tr_model *model = make_model((tr_model_options){.dtype = TR_F32, .train = true}, "[\"gate_proj\"]", false);
    assert_int_equal(json_array_size(model->lora->targets), 2);
    assert_string_equal(json_string_value(json_array_get(model->lora->targets, 1)),
                        "model.language_model.layers.1.mlp.gate_proj");
    tr_model_free(model);
}

/* ---- refusals ---- */

/* Copies the adapter "adapter-good" and changes its configuration by a JSON patch. */
static const char *damaged(const char *name, const char *patch)
{
    static char dir[512];
    json_t *config, *change = json_loads(patch, 0, NULL);
    tr_buffer bytes = {0};
    char *path;
    assert_non_null(change);
    snprintf(dir, sizeof dir, "%s", scratch_path(name));
    golden_ok(tr_directory_make(dir, &err_));
    golden_ok(tr_json_read(scratch_path("adapter-good/adapter_config.json"), &config, &err_));
    json_object_update(config, change);
    path = tr_path_join(dir, "adapter_config.json");
    golden_ok(tr_json_write(path, config, &err_));
    free(path);
    golden_ok(tr_file_read(scratch_path("adapter-good/adapter_model.safetensors"), 0, &bytes, &err_));
    path = tr_path_join(dir, "adapter_model.safetensors");
    golden_ok(tr_file_write_atomic(path, bytes.data, bytes.length, &err_));
    free(path);
    tr_buffer_free(&bytes);
    json_decref(change);
    json_decref(config);
    return dir;
}

static void must_refuse(const char *dir, const tr_model_options *options, tr_status expected, const char *says)
{
    tr_error err = {0};
    tr_model *model = NULL;
    tr_status status = tr_model_load(dir, options, &model, &err);
    if (status != expected || !strstr(err.message, says)) {
        printf("%s: %d, %s: %s\n", dir, status, err.where, err.message);
    }
    assert_int_equal(status, expected);
    assert_non_null(strstr(err.message, says));
    assert_null(model);
}

/* An adapter file with these tensors: "NAME" of the module's end and its shape. */
static const char *with_tensors(const char *name, const char *const *names, const int64_t (*shapes)[2], int count)
{
    const char *dir = damaged(name, "{}");
    tr_safetensors_builder b = {0};
    float *zeros = tr_calloc(1 << 16, sizeof *zeros);
    char full[200], *path = tr_path_join(dir, "adapter_model.safetensors");
    for (int i = 0; i < count; i++) {
        snprintf(full, sizeof full, "base_model.model.%s.weight", names[i]);
        golden_ok(tr_safetensors_builder_add(&b, full, TR_F32, 2, shapes[i], zeros, &err_));
    }
    golden_ok(tr_safetensors_builder_write(&b, path, &err_));
    tr_safetensors_builder_free(&b);
    free(zeros);
    free(path);
    return dir;
}

static void test_bad_adapters_are_refused(void **state)
{
    (void)state;
    const tr_model_options plain = {.dtype = TR_F32};
    tr_model *model = make_model((tr_model_options){.dtype = TR_F32}, all_text, true);
    golden_ok(tr_model_save(model, scratch_path("adapter-good"), TR_F32, 0, NULL, &err_));
    tr_model_free(model);
    must_refuse(damaged("dora", "{\"use_dora\": true}"), &plain, TR_UNSUPPORTED, "use_dora");
    must_refuse(damaged("rs", "{\"use_rslora\": true}"), &plain, TR_UNSUPPORTED, "use_rslora");
    must_refuse(damaged("ranks", "{\"rank_pattern\": {\"q_proj\": 4}}"), &plain, TR_UNSUPPORTED, "rank_pattern");
    must_refuse(damaged("bias", "{\"bias\": \"all\"}"), &plain, TR_UNSUPPORTED, "biases");
    must_refuse(damaged("ia3", "{\"peft_type\": \"IA3\"}"), &plain, TR_UNSUPPORTED, "IA3");
    must_refuse(damaged("pissa", "{\"init_lora_weights\": \"pissa_niter_4\"}"), &plain, TR_UNSUPPORTED, "pissa");
    must_refuse(damaged("rank", "{\"r\": 4}"), &plain, TR_MISMATCH, "r ask for [4, ");
    must_refuse(damaged("rank0", "{\"r\": 0}"), &plain, TR_INVALID, "from 1 to");
    must_refuse(damaged("typed", "{\"r\": \"8\"}"), &plain, TR_FORMAT, "r");
    must_refuse(damaged("nobase", "{\"base_model_name_or_path\": null}"), &plain, TR_NOT_FOUND, "--adapter");
    must_refuse(damaged("hub", "{\"base_model_name_or_path\": \"Qwen/Qwen2.5-VL-3B-Instruct\"}"), &plain,
                TR_NOT_FOUND, "Qwen/Qwen2.5-VL-3B-Instruct");
    must_refuse(damaged("nested", "{\"base_model_name_or_path\": \"../adapter-good\"}"), &plain, TR_UNSUPPORTED,
                "adapter itself");
    static const int64_t shapes[][2] = {{RANK, HIDDEN}, {HIDDEN, RANK}, {HIDDEN, HIDDEN}};
#define Q0 "model.language_model.layers.0.self_attn.q_proj"
    must_refuse(with_tensors("half", (const char *const[]){Q0 ".lora_A"}, shapes, 1), &plain, TR_MISMATCH,
                "lora_A but no lora_B");
    golden_ok(tr_model_load(with_tensors("one", (const char *const[]){Q0 ".lora_A", Q0 ".lora_B"}, shapes, 2),
                            &plain, &model, &err_)); /* the others fail for what they change */
    tr_model_free(model);
    must_refuse(with_tensors("shape", (const char *const[]){Q0 ".lora_A", Q0 ".lora_B"},
                             (const int64_t[][2]){{RANK, 48}, {HIDDEN, RANK}}, 2),
                &plain, TR_MISMATCH, "[5, 48]");
    must_refuse(with_tensors("layer",
                             (const char *const[]){"model.language_model.layers.9.self_attn.q_proj.lora_A"}, shapes,
                             1),
                &plain, TR_MISMATCH, "no such layer");
    must_refuse(with_tensors("tower", (const char *const[]){"model.visual.blocks.0.attn.qkv.lora_A"}, shapes, 1),
                &plain, TR_UNSUPPORTED, "qkv");
    must_refuse(with_tensors("whole", (const char *const[]){Q0}, &shapes[2], 1), &plain, TR_UNSUPPORTED, "q_proj");
    must_refuse(with_tensors("none", NULL, NULL, 0), &plain, TR_FORMAT, "no lora_A");
#undef Q0
    tr_model_options two = plain; /* an adapter for an adapter */
    two.adapter = damaged("two", "{}");
    must_refuse(scratch_path("adapter-good"), &two, TR_INVALID, "must be its base");
    must_refuse(base_folder(), &(tr_model_options){.dtype = TR_F32, .adapter = base_folder()}, TR_NOT_FOUND,
                "no adapter here");
    /* a run that goes on with an adapter must describe it */
    json_t *all = json_string(".*language_model.*_proj"), *some = json_pack("[s]", "q_proj");
    tr_lora_settings lora = {.rank = RANK, .alpha = 8, .targets = all};
    tr_model_options go_on = {.dtype = TR_F32, .train = true, .freeze_text = true, .lora = &lora};
    golden_ok(tr_model_load(scratch_path("adapter-good"), &go_on, &model, &err_));
    assert_true(model->params.items[model->params.base].start != NULL);
    tr_model_free(model);
    lora.alpha = 9;
    must_refuse(scratch_path("adapter-good"), &go_on, TR_MISMATCH, "alpha 9");
    lora.alpha = 8;
    lora.targets = some;
    must_refuse(scratch_path("adapter-good"), &go_on, TR_MISMATCH, "leaves out");
    json_decref(all);
    json_decref(some);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_adapter),
        cmocka_unit_test(test_golden_merged),
        cmocka_unit_test(test_gradients_agree_with_those_of_merged_weights),
        cmocka_unit_test(test_threads_kernels_and_recomputation_give_the_same_bits),
        cmocka_unit_test(test_decoding_has_the_bits_of_the_packed_forward),
        cmocka_unit_test(test_without_the_adapter_it_is_the_base),
        cmocka_unit_test(test_frozen_parts),
        cmocka_unit_test(test_some_layers_only),
        cmocka_unit_test(test_files_give_the_same_bits_again),
        cmocka_unit_test(test_first_values),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_bad_adapters_are_refused),
    };
    const struct CMUnitTest on_a_device[] = {cmocka_unit_test(test_golden_adapter),
                                             cmocka_unit_test(test_golden_merged)};
    return GOLDEN_DEVICE ? cmocka_run_group_tests(on_a_device, NULL, NULL)
                         : cmocka_run_group_tests(tests, NULL, NULL);
}
