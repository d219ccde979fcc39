/* temporal_r1_rules.c: what becomes of each of Temporal-R1's settings.
 *
 * One table says it; what needs a look at other settings has a function, which lists its own outcome. */
#include "train/temporal_r1_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The value under "a.b.c"; NULL when there is none. */
json_t *tr_r1_at(const json_t *root, const char *path)
{
    char key[128];
    const char *dot;
    for (; (dot = strchr(path, '.')); path = dot + 1) {
        snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
        root = json_object_get(root, key);
    }
    return json_object_get(root, path);
}

/* Sets "a.b.c", making the objects above it. Takes value. */
void tr_r1_put(json_t *root, const char *path, json_t *value)
{
    char key[128];
    const char *dot;
    for (; (dot = strchr(path, '.')); path = dot + 1) {
        snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
        if (!json_is_object(json_object_get(root, key))) {
            json_object_set_new(root, key, json_object());
        }
        root = json_object_get(root, key);
    }
    json_object_set_new(root, path, value);
}

const char *tr_r1_text(const tr_r1_translation *t, const char *path, const char *fallback)
{
    const char *text = json_string_value(tr_r1_at(t->theirs, path));
    return text ? text : fallback;
}

double tr_r1_number(const tr_r1_translation *t, const char *path, double fallback)
{
    const json_t *value = tr_r1_at(t->theirs, path);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

/* Whether a word on the command line sets this key of ours. */
const char *tr_r1_own(const tr_r1_translation *t, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < t->own_count; i++) {
        if (!strncmp(t->own[i], key, n) && t->own[i][n] == '=') {
            return t->own[i] + n + 1;
        }
    }
    return NULL;
}

/* A value as it is printed: texts without quotes, at most 60 bytes. */
void tr_r1_print(const json_t *value, char *out, size_t size)
{
    char *text = json_is_string(value) ? tr_strdup(json_string_value(value))
                                       : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    snprintf(out, size, "%.60s%s", text ? text : "", text && strlen(text) > 60 ? "..." : "");
    free(text);
}

void tr_r1_list(tr_r1_translation *t, const char *key, const json_t *value, const char *became, const char *as,
                const char *why)
{
    char text[96] = "";
    if (value) {
        tr_r1_print(value, text, sizeof text);
    }
    json_array_append_new(t->run->settings,
                          json_pack("{s:s,s:s,s:s,s:o,s:s}", "key", key, "value", text, "became", became, "as",
                                    as ? json_string(as) : json_null(), "why", why));
}

/* Sets a key of ours and lists it. Takes mine. */
void tr_r1_take(tr_r1_translation *t, const char *key, const json_t *value, const char *our_key, json_t *mine,
                const char *why)
{
    char text[96], as[192];
    tr_r1_print(mine, text, sizeof text);
    snprintf(as, sizeof as, "%s: %s", our_key, text);
    tr_r1_put(t->ours, our_key, mine);
    tr_r1_list(t, key, value, "taken", as, why);
}

/* ---- settings with a function: each lists what became of the value ---- */

typedef tr_status (*translate)(tr_r1_translation *t, const char *key, const json_t *value);

static tr_status model(tr_r1_translation *t, const char *key, const json_t *value)
{
    const char *path = json_string_value(value);
    char *found = NULL;
    if (tr_r1_own(t, "model")) {
        tr_r1_list(t, key, value, "ignored", NULL, "model=... on the command line");
        return TR_OK;
    }
    if (!path || tr_temporal_r1_find(path, t->path, key, &found, NULL)) {
        tr_r1_list(t, key, value, "refused", NULL, "no such folder: download the checkpoint and give model=DIR");
        return TR_OK;
    }
    tr_r1_take(t, key, value, "model", json_string(found), "");
    free(found);
    return TR_OK;
}

static tr_status top_k(tr_r1_translation *t, const char *key, const json_t *value)
{
    double k = json_number_value(value);
    tr_r1_take(t, key, value, "rollout.top_k", json_integer(k < 0 ? 0 : (json_int_t)k), k < 0 ? "-1 is off" : "");
    return TR_OK;
}

static tr_status freeze(tr_r1_translation *t, const char *key, const json_t *value)
{
    bool on = json_is_true(value);
    tr_r1_take(t, key, value, "train.freeze", on ? json_pack("[s,s]", "vision", "merger") : json_array(),
               on ? "the tower there holds the merger" : "");
    return TR_OK;
}

static tr_status recompute(tr_r1_translation *t, const char *key, const json_t *value)
{
    tr_r1_take(t, key, value, "train.recompute", json_string(json_is_true(value) ? "layer" : "none"), "");
    return TR_OK;
}

static tr_status clip(tr_r1_translation *t, const char *key, const json_t *value)
{
    tr_r1_take(t, key, value, "grpo.clip", json_pack("[O,O]", value, value), "");
    return TR_OK;
}

static tr_status estimator(tr_r1_translation *t, const char *key, const json_t *value)
{
    static const char *const names[][2] = {
        {"grpo", "group"}, {"rloo", "rloo"}, {"reinforce_plus_plus", "reinforce++"}};
    const char *name = json_is_string(value) ? json_string_value(value) : "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(name, names[i][0])) {
            tr_r1_take(t, key, value, "grpo.advantage", json_string(names[i][1]), "");
            return TR_OK;
        }
    }
    tr_r1_list(t, key, value, "refused", NULL,
               "there are grpo, rloo and reinforce_plus_plus (no critic, no greedy rollout)");
    return TR_OK;
}

static const char *kl_form(const char *name)
{
    static const char *const forms[][2] = {{"low_var_kl", "k3"}, {"kl", "k1"}, {"mse", "k2"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (!strcmp(name, forms[i][0])) {
            return forms[i][1];
        }
    }
    return NULL;
}

static bool loss_kl(const tr_r1_translation *t)
{
    return json_is_true(tr_r1_at(t->theirs, "worker.actor.use_kl_loss"));
}

static tr_status loss_kl_coef(tr_r1_translation *t, const char *key, const json_t *value)
{
    if (loss_kl(t)) {
        tr_r1_take(t, key, value, "grpo.kl", json_incref((json_t *)(uintptr_t)value), "");
    } else {
        tr_r1_list(t, key, value, "ignored", NULL, "has no effect while worker.actor.use_kl_loss is false");
    }
    return TR_OK;
}

/* The estimator's name, of the loss or of the reward, whichever holds. */
static tr_status kl_type(tr_r1_translation *t, const char *key, const json_t *value)
{
    bool in_loss = !strncmp(key, "worker.", 7);
    const char *form = kl_form(json_is_string(value) ? json_string_value(value) : "");
    if (in_loss != loss_kl(t)) {
        tr_r1_list(t, key, value, "ignored", NULL, "has no effect: the KL term stands at the other place");
    } else if (!form) {
        tr_r1_list(t, key, value, "refused", NULL, "there are kl (k1), mse (k2) and low_var_kl (k3)");
    } else {
        tr_r1_take(t, key, value, "grpo.kl_form", json_string(form), "");
    }
    return TR_OK;
}

static tr_status reward_kl_coef(tr_r1_translation *t, const char *key, const json_t *value)
{
    if (loss_kl(t)) {
        tr_r1_list(t, key, value, "ignored", NULL, "has no effect while worker.actor.use_kl_loss is true");
        return TR_OK;
    }
    tr_r1_put(t->ours, "grpo.kl_in", json_string("reward"));
    if (!tr_r1_at(t->theirs, "algorithm.kl_penalty")) {
        tr_r1_put(t->ours, "grpo.kl_form", json_string("k1")); /* its default */
    }
    tr_r1_take(t, key, value, "grpo.kl", json_incref((json_t *)(uintptr_t)value), "in the reward (grpo.kl_in)");
    return TR_OK;
}

/* One optimiser step for each rollout is what the published runs do. */
static tr_status global_batch(tr_r1_translation *t, const char *key, const json_t *value)
{
    double batch = json_number_value(value), rollout = tr_r1_number(t, "data.rollout_batch_size", batch);
    char why[160];
    if (batch == rollout) {
        tr_r1_list(t, key, value, "taken", "grpo.prompts_per_step", "as many prompts in an update as in a rollout");
        return TR_OK;
    }
    snprintf(why, sizeof why,
             "several updates on parts of one rollout (data.rollout_batch_size %g) do not exist here: set both to "
             "the same number",
             rollout);
    tr_r1_list(t, key, value, "refused", NULL, why);
    return TR_OK;
}

static tr_status warmup(tr_r1_translation *t, const char *key, const json_t *value)
{
    double ratio = json_number_value(value), batch = tr_r1_number(t, "data.rollout_batch_size", 0);
    double most = tr_r1_number(t, "trainer.max_steps", 0), episodes = tr_r1_number(t, "trainer.total_episodes", 1);
    double steps = most > 0 ? most : batch > 0 ? floor((double)t->rows / batch) * episodes : 0;
    tr_r1_take(t, key, value, "optim.warmup_steps", json_integer((json_int_t)(ratio * steps)),
               ratio > 0 ? "share of all steps" : "");
    return TR_OK;
}

static tr_status save_freq(tr_r1_translation *t, const char *key, const json_t *value)
{
    double n = json_number_value(value);
    tr_r1_take(t, key, value, "train.save_every", json_integer(n > 0 ? (json_int_t)n : 0),
               n > 0 ? "" : "at the end alone");
    return TR_OK;
}

static tr_status remove_previous(tr_r1_translation *t, const char *key, const json_t *value)
{
    if (json_is_true(value)) {
        tr_r1_take(t, key, value, "train.keep", json_integer(1), "");
    } else {
        tr_r1_list(t, key, value, "ignored", NULL, "the newest train.keep (2) checkpoints stay, not all of them");
    }
    return TR_OK;
}

static tr_status max_steps(tr_r1_translation *t, const char *key, const json_t *value)
{
    if (json_is_integer(value) && json_integer_value(value) > 0) {
        tr_r1_take(t, key, value, "train.steps", json_incref((json_t *)(uintptr_t)value), "");
    } else {
        tr_r1_list(t, key, value, "ignored", NULL, "not set: trainer.total_episodes decides");
    }
    return TR_OK;
}

/* Data, prompts and out are made before: they are listed here. */
static tr_status made(tr_r1_translation *t, const char *key, const json_t *value)
{
    if (!strcmp(key, "data.train_files")) {
        char as[64];
        snprintf(as, sizeof as, "data: %zu entries, %lld rows", json_array_size(json_object_get(t->ours, "data")),
                 (long long)t->rows);
        tr_r1_list(t, key, value, "taken", as, "");
    } else if (!strcmp(key, "data.system_prompt")) {
        const json_t *entry = json_array_get(json_object_get(t->ours, "data"), 0);
        char as[128], name[96];
        tr_r1_print(json_object_get(entry, "prompt"), name, sizeof name);
        snprintf(as, sizeof as, "data.prompt: %s", name);
        tr_r1_list(t, key, value, "taken", as, "line breaks and the spaces behind them are one space");
    } else if (json_object_get(t->ours, "eval")) { /* val_files, val_freq */
        tr_r1_list(t, key, value, "taken", strcmp(key, "trainer.val_freq") != 0 ? "eval" : "train.eval_every", "");
    } else {
        tr_r1_list(t, key, value, "ignored", NULL,
                   "never within a run there; eval: and train.eval_every=N evaluate here");
    }
    return TR_OK;
}

static tr_status output(tr_r1_translation *t, const char *key, const json_t *value)
{
    if (tr_r1_own(t, "out")) {
        tr_r1_list(t, key, value, "ignored", NULL, "out=... on the command line");
    } else {
        tr_r1_list(t, key, value, "taken", "out", "");
    }
    return TR_OK;
}

static tr_status load_path(tr_r1_translation *t, const char *key, const json_t *value)
{
    tr_r1_list(t, key, value, "refused", NULL,
               "its shards are not read; merge them and give model=DIR, or --resume a run of this program");
    return TR_OK;
}

/* ---- the table ---- */

enum fate { TAKE, IGNORE, ONLY, CALL };
static const struct rule {
    const char *key; /* "a.b.*": all below */
    enum fate fate;
    const char *arg; /* TAKE: our key; ONLY: the one value; else NULL */
    const char *why;
    translate call;
} rules[] = {
    {"config", IGNORE, NULL, "the file is given as --from-temporal-r1", NULL},
    {"data.train_files", CALL, NULL, NULL, made},
    {"data.val_files", CALL, NULL, NULL, made},
    {"data.prompt_key", IGNORE, NULL, "its video rows have fixed names", NULL},
    {"data.answer_key", IGNORE, NULL, "its video rows have fixed names", NULL},
    {"data.image_key", IGNORE, NULL, "its video rows have fixed names", NULL},
    {"data.max_prompt_length", IGNORE, NULL,
     "prompts are never cut: one that is too long is an error that names it", NULL},
    {"data.max_response_length", TAKE, "rollout.max_tokens", "", NULL},
    {"data.rollout_batch_size", TAKE, "grpo.prompts_per_step", "", NULL},
    {"data.shuffle", ONLY, "true", "rows are always shuffled", NULL},
    {"data.seed", TAKE, "train.seed", "", NULL},
    {"data.max_pixels", TAKE, "video.total_pixels", "of the whole clip, as there", NULL},
    {"data.min_pixels", TAKE, "video.min_pixels", "", NULL},
    {"data.system_prompt", CALL, NULL, NULL, made},
    {"data.val_batch_size", IGNORE, NULL, "evaluation takes as many rows at once as memory allows", NULL},
    {"data.num_workers", IGNORE, NULL, "clips are decoded ahead by child processes (video.decoders)", NULL},
    {"algorithm.adv_estimator", CALL, NULL, NULL, estimator},
    {"algorithm.kl_coef", CALL, NULL, NULL, reward_kl_coef},
    {"algorithm.kl_penalty", CALL, NULL, NULL, kl_type},
    {"algorithm.kl_type", ONLY, "fixed", "the coefficient does not adapt", NULL},
    {"algorithm.kl_horizon", IGNORE, NULL, "belongs to an adaptive coefficient", NULL},
    {"algorithm.kl_target", IGNORE, NULL, "belongs to an adaptive coefficient", NULL},
    {"algorithm.horizon", IGNORE, NULL, "belongs to an adaptive coefficient", NULL},
    {"algorithm.target", IGNORE, NULL, "belongs to an adaptive coefficient", NULL},
    {"algorithm.gamma", ONLY, "1", "rewards are not discounted", NULL},
    {"algorithm.lam", ONLY, "1", "there is no critic", NULL},
    {"worker.hybrid_engine", IGNORE, NULL, "one process samples and trains", NULL},
    {"worker.actor.global_batch_size", CALL, NULL, NULL, global_batch},
    {"worker.actor.micro_batch_size_per_device_for_update", IGNORE, NULL,
     "a mean over all tokens of the step does not depend on it (there it is a mean of means)", NULL},
    {"worker.actor.micro_batch_size_per_device_for_experience", IGNORE, NULL,
     "log-probabilities are those of sampling: nothing is computed again", NULL},
    {"worker.actor.max_grad_norm", TAKE, "optim.clip_norm", "", NULL},
    {"worker.actor.clip_ratio", CALL, NULL, NULL, clip},
    {"worker.actor.entropy_coeff", TAKE, "grpo.entropy", "", NULL},
    {"worker.actor.use_kl_loss", IGNORE, NULL, "says where the KL term stands: see kl_loss_coef and kl_coef", NULL},
    {"worker.actor.kl_loss_coef", CALL, NULL, NULL, loss_kl_coef},
    {"worker.actor.kl_loss_type", CALL, NULL, NULL, kl_type},
    {"worker.actor.ppo_epochs", TAKE, "grpo.updates_per_rollout", "", NULL},
    {"worker.actor.padding_free", IGNORE, NULL, "groups are packed: there is no padding", NULL},
    {"worker.actor.ulysses_sequence_parallel_size", IGNORE, NULL, "one process", NULL},
    {"worker.actor.use_torch_compile", IGNORE, NULL, "nothing is compiled at run time", NULL},
    {"worker.actor.strategy", IGNORE, NULL, "one process holds the model", NULL},
    {"worker.actor.fsdp.*", IGNORE, NULL, "one process holds the model: nothing is sharded", NULL},
    {"worker.actor.offload.*", IGNORE, NULL, "train.offload: [moments, reference] saves memory here", NULL},
    {"worker.actor.model.model_path", CALL, NULL, NULL, model},
    {"worker.actor.model.tokenizer_path", TAKE, "tokenizer", "", NULL},
    {"worker.actor.model.enable_gradient_checkpointing", CALL, NULL, NULL, recompute},
    {"worker.actor.model.freeze_vision_tower", CALL, NULL, NULL, freeze},
    {"worker.actor.model.trust_remote_code", IGNORE, NULL, "no code is loaded with a model", NULL},
    {"worker.actor.optim.lr", TAKE, "optim.lr", "", NULL},
    {"worker.actor.optim.betas", TAKE, "optim.betas", "", NULL},
    {"worker.actor.optim.weight_decay", TAKE, "optim.weight_decay", "", NULL},
    {"worker.actor.optim.lr_warmup_ratio", CALL, NULL, NULL, warmup},
    {"worker.actor.optim.lr_warmup_steps_ratio", CALL, NULL, NULL, warmup},
    {"worker.actor.optim.warmup_style", TAKE, "optim.schedule", "", NULL},
    {"worker.actor.optim.min_lr_ratio", ONLY, "0", "a cosine falls to 0", NULL},
    {"worker.actor.optim.strategy", ONLY, "adamw", "AdamW with float32 moments", NULL},
    {"worker.rollout.temperature", TAKE, "rollout.temperature", "", NULL},
    {"worker.rollout.n", TAKE, "rollout.group", "", NULL},
    {"worker.rollout.top_p", TAKE, "rollout.top_p", "", NULL},
    {"worker.rollout.top_k", CALL, NULL, NULL, top_k},
    {"worker.rollout.ignore_eos", ONLY, "false", "a response ends with its end token", NULL},
    {"worker.rollout.dtype", IGNORE, NULL, "sampling and training use the same weights (train.dtype)", NULL},
    {"worker.rollout.seed", IGNORE, NULL, "sampling is a function of train.seed, step, row and token", NULL},
    {"worker.rollout.*", IGNORE, NULL, "belongs to vLLM; sampling is this program's own", NULL},
    {"worker.ref.*", IGNORE, NULL, "the reference is the run's first weights, in this process", NULL},
    {"worker.reward.reward_type", ONLY, "function", "there is no reward model", NULL},
    {"worker.reward.compute_score", IGNORE, NULL, "its video rows are always scored by the tvg rule: data.reward",
     NULL},
    {"worker.reward.*", IGNORE, NULL, "its video rows are always scored by the tvg rule: data.reward", NULL},
    {"worker.critic.*", IGNORE, NULL, "there is no critic", NULL},
    {"trainer.total_episodes", TAKE, "train.epochs", "", NULL},
    {"trainer.max_steps", CALL, NULL, NULL, max_steps},
    {"trainer.logger", IGNORE, NULL, "metrics.jsonl, curves.svg and TensorBoard's event files are always written",
     NULL},
    {"trainer.project_name", IGNORE, NULL, "names the folder where trainer.save_checkpoint_path is not set", NULL},
    {"trainer.experiment_name", IGNORE, NULL, "names the folder where trainer.save_checkpoint_path is not set",
     NULL},
    {"trainer.n_gpus_per_node", IGNORE, NULL, "device: what there is", NULL},
    {"trainer.nnodes", IGNORE, NULL, "one machine", NULL},
    {"trainer.val_freq", CALL, NULL, NULL, made},
    {"trainer.val_before_train", IGNORE, NULL, "tempr1 eval measures a checkpoint before training", NULL},
    {"trainer.val_only", ONLY, "false", "tempr1 eval evaluates", NULL},
    {"trainer.val_generations_to_log", IGNORE, NULL, "rollouts.jsonl holds every response", NULL},
    {"trainer.save_freq", CALL, NULL, NULL, save_freq},
    {"trainer.save_limit", TAKE, "train.keep", "", NULL},
    {"trainer.remove_previous_ckpt", CALL, NULL, NULL, remove_previous},
    {"trainer.remove_ckpt_after_load", IGNORE, NULL, "a checkpoint that was read stays", NULL},
    {"trainer.save_checkpoint_path", CALL, NULL, NULL, output},
    {"trainer.load_checkpoint_path", CALL, NULL, NULL, load_path},
};
enum { RULES = sizeof rules / sizeof *rules };

static const struct rule *find_rule(const char *key)
{
    for (size_t i = 0; i < RULES; i++) {
        size_t n = strlen(rules[i].key);
        if (!strcmp(rules[i].key, key) || (rules[i].key[n - 1] == '*' && !strncmp(rules[i].key, key, n - 1))) {
            return &rules[i];
        }
    }
    return NULL;
}

static bool is_only(const json_t *value, const char *only)
{
    char text[96], *end;
    double number = strtod(only, &end);
    tr_r1_print(value, text, sizeof text);
    return json_is_number(value) ? !*end && json_number_value(value) == number : !strcmp(text, only);
}

static tr_status one_setting(tr_r1_translation *t, const char *key, const json_t *value)
{
    const struct rule *rule = find_rule(key);
    char why[256];
    if (!rule) {
        const char *names[RULES];
        for (size_t i = 0; i < RULES; i++) {
            names[i] = rules[i].key;
        }
        const char *near = tr_nearest(key, names, RULES);
        snprintf(why, sizeof why, "unknown%s%s%s", near ? " (did you mean '" : "", near ? near : "",
                 near ? "'?)" : "");
        tr_r1_list(t, key, value, "refused", NULL, why);
        return TR_OK;
    }
    if (json_is_null(value)) {
        tr_r1_list(t, key, value, "ignored", NULL, "not set");
        return TR_OK;
    }
    switch (rule->fate) {
    case TAKE:
        tr_r1_take(t, key, value, rule->arg, json_incref((json_t *)(uintptr_t)value), rule->why);
        break;
    case IGNORE:
        tr_r1_list(t, key, value, "ignored", NULL, rule->why);
        break;
    case ONLY:
        if (is_only(value, rule->arg)) {
            tr_r1_list(t, key, value, "taken", "it is", rule->why);
        } else {
            snprintf(why, sizeof why, "only %s: %s", rule->arg, rule->why);
            tr_r1_list(t, key, value, "refused", NULL, why);
        }
        break;
    case CALL:
        return rule->call(t, key, value);
    }
    return TR_OK;
}

tr_status tr_r1_all(tr_r1_translation *t, const json_t *object, const char *prefix)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        char key[256];
        snprintf(key, sizeof key, "%s%s%.120s", prefix, prefix[0] ? "." : "", name);
        tr_status status = json_is_object(value) ? tr_r1_all(t, value, key) : one_setting(t, key, value);
        if (status) {
            return status;
        }
    }
    return TR_OK;
}
