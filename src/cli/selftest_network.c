/* selftest_network.c: a tiny network with random weights on noise pixels: kernels, sampling, training, checkpoints.
 *
 * One prompt of text, a video of (2, 8, 8) patches and text, and three responses. P prompt tokens, T response
 * tokens, H hidden. All inputs come from the counter RNG, so that every machine must give the same bits. */
#include "cli/selftest.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/thread.h"
#include "rl/optimiser.h"
#include "rl/policy.h"
#include "rl/rollout.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRID_T = 2, SIDE = 8, PATCHES = GRID_T * SIDE * SIDE, VISUAL = PATCHES / 4, BEFORE = 9, AFTER = 40 };
enum {
    PROMPT = BEFORE + VISUAL + AFTER,
    RESPONSES = 3,
    TOKENS = 1 + 18 + 34,
    LONGEST = 34,
    MOST = RESPONSES * LONGEST,
    STEPS = 8
};

/* Features, log-probs, entropies and all gradients of the case below, made on an AVX-512 machine. */
static const uint64_t checksum = 0xc12c65a5cca443e5;

typedef struct net_case {
    tr_model *model;
    tr_network *network;
    tr_network_limits limits;
    tr_visual visual;
    tr_group group;
    int32_t grids[1][3], prompt[PROMPT], positions[3 * PROMPT], responses[TOKENS];
    int64_t lengths[RESPONSES];
    float *patches, *features, *dfeatures;
    float logp[MOST], entropy[MOST], dlogp[TOKENS]; /* MOST: sampled responses may be longer than the given */
} net_case;

static void case_free(net_case *c)
{
    if (c) {
        tr_network_free(c->network);
        tr_model_free(c->model);
        free(c->patches);
        free(c->features);
        free(c->dfeatures);
        free(c);
    }
}

static void fill_inputs(net_case *c)
{
    const tr_model_config *m = &c->model->config;
    for (int i = 0; i < PATCHES * 1176; i++) { /* as a picture's: whole steps of 1/64 */
        c->patches[i] = (float)((int)tr_random_below(1, 1, (uint32_t)i, 0, 0, 256) - 128) / 64.0f;
    }
    for (int i = 0; i < PROMPT; i++) {
        bool video = i >= BEFORE && i < BEFORE + VISUAL;
        c->prompt[i] = video ? (int32_t)m->video_id : 5 + (int32_t)tr_random_below(1, 2, (uint32_t)i, 0, 0, 400);
    }
    for (int i = 0; i < TOKENS; i++) {
        c->responses[i] = 5 + (int32_t)tr_random_below(1, 3, (uint32_t)i, 0, 0, 400);
        c->dlogp[i] = (float)tr_random_uniform(1, 4, (uint32_t)i, 0, 0) - 0.5f;
    }
    const int64_t lengths[RESPONSES] = {1, 18, 34};
    const int32_t grid[3] = {GRID_T, SIDE, SIDE};
    memcpy(c->lengths, lengths, sizeof lengths);
    memcpy(c->grids, grid, sizeof grid);
    c->visual = (tr_visual){c->patches, PATCHES, (const int32_t(*)[3])c->grids, 1};
    c->group = (tr_group){.prompt_ids = c->prompt,
                          .positions = c->positions,
                          .prompt = PROMPT,
                          .features = c->features,
                          .visual_tokens = VISUAL,
                          .response_ids = c->responses,
                          .lengths = c->lengths,
                          .responses = RESPONSES};
}

static tr_status case_make(const char *isa, net_case **out, tr_error *err)
{
    const tr_model_options options = {.dtype = TR_F32, .train = true, .isa = isa};
    const double second_per_grid = 1;
    tr_model_config config;
    tr_status status;
    net_case *c = tr_calloc(1, sizeof *c);
    if (!c) {
        tr_fail(err, TR_MEMORY, NULL, "out of memory");
        return TR_MEMORY;
    }
    TR_TRY(tr_model_config_preset("nano", &config, err));
    TR_TRY(tr_model_create(&config, &options, 7, &c->model, err));
    c->patches = tr_calloc_aligned(PATCHES, 1176 * sizeof *c->patches);
    c->features = tr_calloc_aligned(VISUAL * (size_t)config.hidden, sizeof *c->features);
    c->dfeatures = tr_calloc_aligned(VISUAL * (size_t)config.hidden, sizeof *c->dfeatures);
    if (!c->patches || !c->features || !c->dfeatures) {
        status = TR_MEMORY;
        tr_fail(err, status, NULL, "out of memory");
        goto done;
    }
    fill_inputs(c);
    TR_TRY(tr_positions(&config, c->prompt, PROMPT, (const int32_t(*)[3])c->grids, 1, &second_per_grid,
                        c->positions, NULL, err));
    c->limits = (tr_network_limits){.patches = PATCHES,
                                    .largest_grid = SIDE * SIDE,
                                    .prompt_tokens = PROMPT,
                                    .response_tokens = MOST,
                                    .responses = RESPONSES,
                                    .targets = MOST,
                                    .train_text = true,
                                    .train_vision = true,
                                    .decode_rows = RESPONSES,
                                    .decode_groups = 1,
                                    .decode_tokens = LONGEST};
    TR_TRY(tr_network_create(c->model, &c->limits, &c->network, err));
    *out = c;
done:
    if (status) {
        case_free(c);
    }
    return status;
}

static bool same_bits(const float *a, const float *b, size_t count)
{
    return memcmp((const void *)a, (const void *)b, count * sizeof *a) ==
           0; /* NOLINT(bugprone-suspicious-*): bits are meant */
}

/* ---- kernels ---- */

/* Forward and backward; *hash is of everything that they give. */
static tr_status case_pass(net_case *c, uint64_t *hash, tr_error *err)
{
    tr_status status;
    tr_model_zero_gradients(c->model);
    TR_TRY(tr_network_vision_forward(c->network, &c->visual, true, c->features, err));
    TR_TRY(tr_network_group_forward(c->network, &c->group, 0.8f, true, c->logp, c->entropy, err));
    TR_TRY(tr_network_group_backward(c->network, &c->group, c->dlogp, NULL, c->dfeatures, err));
    TR_TRY(tr_network_vision_backward(c->network, &c->visual, c->dfeatures, err));
    uint64_t all = tr_hash(c->features, VISUAL * (size_t)c->model->config.hidden * sizeof(float));
    const uint64_t logp = tr_hash(c->logp, TOKENS * sizeof(float)),
                   entropy = tr_hash(c->entropy, TOKENS * sizeof(float));
    const uint64_t first[3] = {all, logp, entropy};
    all = tr_hash(first, sizeof first);
    for (int i = 0; i < c->model->params.count; i++) {
        const tr_param *p = &c->model->params.items[i];
        if (p->gradient) {
            const uint64_t words[2] = {all, tr_hash(p->gradient, (size_t)p->elements * sizeof(float))};
            all = tr_hash(words, sizeof words);
        }
    }
    *hash = all;
done:
    return status;
}

static tr_status run_variant(const char *isa, int threads, uint64_t *hash, tr_error *err)
{
    net_case *c = NULL;
    tr_status status = case_make(isa, &c, err);
    if (!status) {
        tr_threads_set(threads);
        status = case_pass(c, hash, err);
    }
    case_free(c);
    return status;
}

tr_status tr_selftest_kernels(tr_selftest *s, tr_error *err)
{
    const char *names[4];
    int variants = tr_ops_cpu_variants(names), most = tr_threads_count();
    tr_status status = TR_OK;
    char ran[96] = "";
    for (int v = 0; !status && v < variants; v++) {
        if (!strcmp(names[v], "reference")) { /* the plain code has an order of its own */
            continue;
        }
        for (int threads = 1; !status; threads = most) {
            uint64_t hash = 0;
            status = run_variant(names[v], threads, &hash, err);
            if (!status && hash != checksum) {
                status =
                    tr_fail(err, TR_MISMATCH, names[v],
                            "%d threads give the checksum %016llx, expected %016llx: this machine or this build "
                            "computes other bits; please report it with the output of `tempr1 --version`",
                            threads, (unsigned long long)hash, (unsigned long long)checksum);
            }
            if (threads == most) {
                break;
            }
        }
        snprintf(ran + strlen(ran), sizeof ran - strlen(ran), "%s%s", ran[0] ? ", " : "", names[v]);
    }
    tr_threads_set(most);
    if (!status && !ran[0]) {
        return tr_fail(err, TR_UNSUPPORTED, NULL, "this CPU can run none of them");
    }
    snprintf(s->detail, sizeof s->detail, "%s, 1 and %d threads: the committed checksum", ran, most);
    return status;
}

/* ---- sampling ---- */

tr_status tr_selftest_rollout(tr_selftest *s, tr_error *err)
{
    net_case *c = NULL;
    tr_rollout *rollout = NULL;
    tr_rollout_group answers;
    static uint8_t banned[1024];
    tr_status status;
    TR_TRY(case_make(NULL, &c, err));
    if (!strcmp(c->model->ops->name, "reference")) {
        status = tr_fail(err, TR_UNSUPPORTED, NULL, "the reference kernels promise no gap of 0");
        goto done;
    }
    banned[c->model->config.image_id] = banned[c->model->config.video_id] = 1; /* below the preset's 512 */
    const tr_sampling sampling = {.temperature = 0.8,
                                  .top_p = 1,
                                  .max_tokens = 24,
                                  .banned = banned,
                                  .end_ids = c->model->config.end_ids,
                                  .end_count = c->model->config.end_count};
    TR_TRY(tr_network_vision_forward(c->network, &c->visual, false, c->features, err));
    TR_TRY(tr_rollout_create(c->network, &c->limits, c->model, 1, RESPONSES, sampling.max_tokens, &rollout, err));
    tr_rollout_prompt prompt = {.prompt = c->group};
    prompt.prompt.responses = 0;
    TR_TRY(tr_rollout_run(rollout, &prompt, 1, RESPONSES, &sampling, 1, 0, &answers, NULL, NULL, NULL, err));
    c->group.response_ids = answers.ids;
    c->group.lengths = answers.lengths;
    TR_TRY(tr_network_group_forward(c->network, &c->group, 0.8f, false, c->logp, NULL, err));
    for (int64_t i = 0; i < answers.tokens; i++) {
        if (!same_bits(&c->logp[i], &answers.logp[i], 1)) {
            status = tr_fail(err, TR_MISMATCH, NULL,
                             "token %lld was sampled with log-probability %.9g, the training forward gives %.9g",
                             (long long)i, (double)answers.logp[i], (double)c->logp[i]);
            goto done;
        }
    }
    snprintf(s->detail, sizeof s->detail, "%lld sampled tokens, gap 0", (long long)answers.tokens);
done:
    tr_rollout_free(rollout);
    case_free(c);
    return status;
}

/* ---- training ---- */

/* The mean negative log-probability of the responses, and one step of AdamW down. */
static tr_status train_step(net_case *c, tr_optimiser *optimiser, double *loss, tr_error *err)
{
    tr_policy_sums sums = {0};
    float dlogp[TOKENS];
    tr_status status;
    tr_model_zero_gradients(c->model);
    TR_TRY(tr_network_vision_forward(c->network, &c->visual, true, c->features, err));
    TR_TRY(tr_network_group_forward(c->network, &c->group, 1, true, c->logp, NULL, err));
    tr_supervised_loss(c->logp, NULL, TOKENS, TOKENS, &sums, dlogp);
    *loss = sums.loss;
    TR_TRY(tr_network_group_backward(c->network, &c->group, dlogp, NULL, c->dfeatures, err));
    TR_TRY(tr_network_vision_backward(c->network, &c->visual, c->dfeatures, err));
    tr_optimiser_step(optimiser, c->model, 3e-3, tr_optimiser_norm(c->model));
done:
    return status;
}

tr_status tr_selftest_training(tr_selftest *s, tr_error *err)
{
    net_case *c = NULL;
    tr_optimiser optimiser = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip_norm = 1};
    double first = 0, last = 0;
    tr_status status = case_make(NULL, &c, err);
    for (int step = 0; !status && step < STEPS; step++) {
        status = train_step(c, &optimiser, step ? &last : &first, err);
    }
    if (!status && !(last < 0.9 * first)) {
        status =
            tr_fail(err, TR_NUMERIC, NULL, "%d steps of SFT moved the loss from %.4f to %.4f; expected it to fall",
                    STEPS, first, last);
    }
    snprintf(s->detail, sizeof s->detail, "%d steps: loss %.3f to %.3f", STEPS, first, last);
    case_free(c);
    return status;
}

tr_status tr_selftest_checkpoint(tr_selftest *s, tr_error *err)
{
    net_case *c = NULL;
    tr_model *again = NULL;
    tr_network *network = NULL;
    static float logp[TOKENS], features[VISUAL * 128];
    char *dir = tr_path_join(s->scratch, "checkpoint");
    const tr_model_options options = {.dtype = TR_F32};
    tr_status status = dir ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    TR_TRY(status);
    TR_TRY(case_make(NULL, &c, err));
    TR_TRY(tr_network_vision_forward(c->network, &c->visual, false, c->features, err));
    TR_TRY(tr_network_group_forward(c->network, &c->group, 1, false, c->logp, NULL, err));
    TR_TRY(tr_model_save(c->model, dir, TR_F32, 1 << 20, NULL, err)); /* small shards: an index too */
    TR_TRY(tr_model_load(dir, &options, &again, err));
    tr_network_limits limits = c->limits;
    limits.train_text = limits.train_vision = false;
    TR_TRY(tr_network_create(again, &limits, &network, err));
    TR_TRY(tr_network_vision_forward(network, &c->visual, false, features, err));
    c->group.features = features;
    TR_TRY(tr_network_group_forward(network, &c->group, 1, false, logp, NULL, err));
    if (!same_bits(logp, c->logp, TOKENS)) {
        status =
            tr_fail(err, TR_MISMATCH, dir, "a checkpoint that was written and read again gives other log-probs");
        goto done;
    }
    snprintf(s->detail, sizeof s->detail, "%d tensors written and read in shards, the same log-probs",
             c->model->params.count);
done:
    free(dir);
    tr_network_free(network);
    tr_model_free(again);
    case_free(c);
    return status;
}
