/* test_algorithm.c: the algorithm family in whole runs on a tiny model: every preset, advantages as the formulas
 * make them from the logged rewards, dynamic sampling, the row's target in the group, difficulty, filter, early
 * stop; and all of it resumed bit for bit. */
#include "memory_source.h"

#include "task/reward.h"

#define FAST "optim: {lr: 0.01}\n"

/* ---- reading a run ---- */

typedef struct logged {
    int64_t step, row, tokens, group; /* group: counted over the run */
    double reward, advantage, hits, stopped, logp;
    bool target, cut;
    const char *task;
} logged;

enum { MOST = 4096 };
static logged responses[MOST];

static double number_in(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* rollouts.jsonl; groups of `group` neighbours. The list keeps the texts alive. */
static size_t read_run(const char *out, int64_t group, json_t **list)
{
    *list = metrics_of(out, "rollouts.jsonl");
    size_t count = json_array_size(*list);
    assert_in_range(count, 1, MOST);
    for (size_t i = 0; i < count; i++) {
        const json_t *o = json_array_get(*list, i), *parts = json_object_get(o, "parts");
        const char *finish = json_string_value(json_object_get(o, "finish"));
        double logp = 0;
        size_t k;
        json_t *value;
        json_array_foreach(json_object_get(o, "logprobs"), k, value)
        {
            logp += json_number_value(value);
        }
        responses[i] = (logged){.step = (int64_t)number_in(o, "step"),
                                .row = (int64_t)number_in(o, "row_index"),
                                .tokens = (int64_t)json_array_size(json_object_get(o, "ids")),
                                .group = (int64_t)i / group,
                                .reward = number_in(o, "reward"),
                                .advantage = number_in(o, "advantage"),
                                .hits = number_in(parts, "hits"),
                                .stopped = number_in(parts, "stopped"),
                                .logp = logp,
                                .target = !strcmp(finish, "target"),
                                .cut = !strcmp(finish, "length"),
                                .task = json_string_value(json_object_get(o, "task"))};
        assert_int_equal(responses[i].row, responses[i - i % (size_t)group].row);
    }
    return count;
}

static void go(const char *out, const char *extra)
{
    tr_error err;
    assert_int_equal(run(out, extra, false, false, &err), TR_OK);
    json_t *m = metrics_of(out, "metrics.jsonl");
    for (size_t i = 0; i < json_array_size(m); i++) {
        assert_true(number(m, i, "logprob_gap") == 0);
        assert_true(isfinite(number(m, i, "loss")) && isfinite(number(m, i, "grad_norm")));
    }
    json_decref(m);
}

static void same(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * (1 + fabs(b)))) { /* f64 throughout; the log has 17 digits */
        printf("%.17g is not %.17g\n", a, b);
    }
    assert_true(fabs(a - b) <= 1e-9 * (1 + fabs(b)));
}

static double mean(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum / (double)n;
}

static double spread(const double *x, size_t n, size_t divisor)
{
    double m = mean(x, n), sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (x[i] - m) * (x[i] - m);
    }
    return sqrt(sum / (double)divisor);
}

/* ---- every paper's name ---- */

static void test_every_preset_trains(void **state)
{
    (void)state;
    static const char *const names[] = {
        "tempr1", "grpo",        "temporal-r1",          "dr-grpo",  "dapo",        "gspo",    "cispo",   "gdpo",
        "rloo",   "reinforce++", "reinforce++-baseline", "ema-grpo", "tempsamp-r1", "time-r1", "timelens"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char extra[512], out[32];
        reset_rows();
        rows_template.scored = true;
        for (int r = 0; r < ROWS; r++) {
            rows_template.scores[r] = 0.1 + 0.07 * r;
        }
        snprintf(extra, sizeof extra,
                 "rollout: {group: 4, max_tokens: 5}\n"
                 "grpo: {preset: %s, prompts_per_step: 3, updates_per_rollout: 2}\n" FAST
                 "train: {dtype: f32, steps: 3, freeze: [vision, merger]}\n",
                 names[i]);
        snprintf(out, sizeof out, "preset%zu", i);
        go(out, extra);
        json_t *m = metrics_of(out, "metrics.jsonl");
        double moved = 0;
        for (size_t k = 0; k < 3; k++) {
            moved += number(m, k, "grad_norm");
        }
        assert_true(moved > 0);
        json_decref(m);
    }
}

/* ---- advantages ---- */

static const char small[] =
    "train: {dtype: f32, steps: 6, freeze: [vision, merger]}\n" FAST "rollout: {group: 4, max_tokens: 6}\n";

/* Calls `check` with each step's responses. */
static void each_step(const char *out, const char *keys, int64_t group, void (*check)(const logged *, size_t))
{
    char extra[512];
    json_t *list;
    snprintf(extra, sizeof extra, "%sgrpo: {prompts_per_step: 3, %s}\n", small, keys);
    go(out, extra);
    size_t count = read_run(out, group, &list), steps = 0;
    for (size_t first = 0, end; first < count; first = end, steps++) {
        for (end = first; end < count && responses[end].step == responses[first].step; end++) {
        }
        check(responses + first, end - first);
    }
    assert_int_equal(steps, 6);
    json_decref(list);
}

static void rloo_step(const logged *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double others = 0;
        for (size_t j = i / 4 * 4; j < i / 4 * 4 + 4; j++) {
            others += j == i ? 0 : r[j].reward / 3;
        }
        same(r[i].advantage, r[i].reward - others);
    }
}

static void baseline_step(const logged *r, size_t n)
{
    double centred[MOST];
    for (size_t i = 0; i < n; i++) {
        double group[4];
        for (size_t j = 0; j < 4; j++) {
            group[j] = r[i / 4 * 4 + j].reward;
        }
        centred[i] = r[i].reward - mean(group, 4);
    }
    double deviation = spread(centred, n, n) + 1e-8;
    for (size_t i = 0; i < n; i++) {
        same(r[i].advantage, centred[i] / deviation);
    }
}

/* Every token carries its response's reward: the mean and deviation are weighted by length. */
static void batch_step(const logged *r, size_t n)
{
    double tokens[MOST];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < r[i].tokens; k++) {
            tokens[count++] = r[i].reward;
        }
    }
    double m = mean(tokens, count), deviation = spread(tokens, count, count) + 1e-8;
    for (size_t i = 0; i < n; i++) {
        same(r[i].advantage, (r[i].reward - m) / deviation);
    }
}

static struct {
    const char *task;
    double first, second;
    int updates;
} moments[2];

static void ema_step(const logged *r, size_t n)
{
    double sigma[2] = {0};
    for (int t = 0; t < 2; t++) {
        double sum = 0, squares = 0;
        size_t count = 0;
        for (size_t i = 0; i < n; i++) {
            if (!strcmp(r[i].task, t ? "tg" : "qa")) {
                sum += r[i].reward;
                squares += r[i].reward * r[i].reward;
                count++;
            }
        }
        if (count) {
            double keep = moments[t].updates++ ? 0.9 : 0;
            moments[t].first = keep * moments[t].first + (1 - keep) * sum / (double)count;
            moments[t].second = keep * moments[t].second + (1 - keep) * squares / (double)count;
        }
        sigma[t] = sqrt(moments[t].second - moments[t].first * moments[t].first);
    }
    for (size_t i = 0; i < n; i++) {
        double group[4];
        for (size_t j = 0; j < 4; j++) {
            group[j] = r[i / 4 * 4 + j].reward;
        }
        bool flat = spread(group, 4, 4) < 1e-12;
        same(r[i].advantage, flat ? 0 : (r[i].reward - mean(group, 4)) / (sigma[!strcmp(r[i].task, "tg")] + 1e-4));
    }
}

/* hits has weight 1, stopped weight 0: one part within the group, then the deviation of the step. */
static void gdpo_step(const logged *r, size_t n)
{
    double a[MOST];
    for (size_t i = 0; i < n; i++) {
        double group[4];
        for (size_t j = 0; j < 4; j++) {
            group[j] = r[i / 4 * 4 + j].hits;
        }
        double deviation = spread(group, 4, 3);
        a[i] = deviation < 1e-12 ? 0 : (r[i].hits - mean(group, 4)) / (deviation + 1e-4);
    }
    double whole = spread(a, n, n - 1) + 1e-4;
    for (size_t i = 0; i < n; i++) {
        same(r[i].advantage, a[i] / whole);
    }
}

/* DAPO's penalty over the last half of six tokens, inside of the group's comparison. */
static void overlong_step(const logged *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double group[4];
        for (size_t j = 0; j < 4; j++) {
            const logged *x = &r[i / 4 * 4 + j];
            double penalty = x->tokens <= 3 ? 0 : (double)(3 - x->tokens) / 3;
            assert_true(penalty == tr_reward_overlong((size_t)x->tokens, 6, 3));
            group[j] = x->reward + penalty;
        }
        double deviation = spread(group, 4, 3);
        same(r[i].advantage, deviation < 1e-12 ? 0 : (group[i % 4] - mean(group, 4)) / (deviation + 1e-4));
    }
}

static void test_advantages_are_those_of_the_formulas(void **state)
{
    (void)state;
    reset_rows();
    each_step("rloo", "advantage: rloo, kl: 0", 4, rloo_step);
    each_step("baseline", "preset: reinforce++-baseline, kl: 0", 4, baseline_step);
    each_step("batch", "preset: reinforce++, kl: 0", 4, batch_step);
    memset(moments, 0, sizeof moments);
    each_step("ema", "advantage: ema, ema_decay: 0.9, kl: 0", 4, ema_step);
    each_step("gdpo", "preset: gdpo, kl: 0", 4, gdpo_step);
    each_step("overlong", "overlong: 0.5, kl: 0", 4, overlong_step);
}

/* TRL's three published cases of the penalty. */
static void test_overlong_penalty_equals_trl(void **state)
{
    (void)state;
    assert_true(tr_reward_overlong(50, 100, 20) == 0);
    assert_true(tr_reward_overlong(90, 100, 20) == -0.5);
    assert_true(tr_reward_overlong(110, 100, 20) == -1);
}

/* The KL in the reward is 0 at the first step (the reference is the start) and moves advantages later; none is left
 * in the loss. With reinforce++ each token has its own. */
static void test_kl_in_the_reward_moves_advantages(void **state)
{
    (void)state;
    static const char *const settings[] = {"preset: rloo, kl: 5", "preset: reinforce++, kl: 5",
                                           "kl_in: reward, kl_form: k3, kl: 5"};
    for (int i = 0; i < 3; i++) {
        char extra[512], out[32];
        json_t *list;
        reset_rows();
        rows_template.constant = ROWS; /* rewards are all alike: what moves is the KL */
        snprintf(extra, sizeof extra, "%sgrpo: {prompts_per_step: 3, %s, updates_per_rollout: 2, entropy: 0.05}\n",
                 small, settings[i]);
        snprintf(out, sizeof out, "klreward%d", i);
        go(out, extra);
        size_t count = read_run(out, 4, &list);
        double first = 0, last = 0;
        for (size_t k = 0; k < count; k++) {
            first += responses[k].step == 1 ? fabs(responses[k].advantage) : 0;
            last += responses[k].step == 6 ? fabs(responses[k].advantage) : 0;
        }
        assert_true(first == 0 && last > 0);
        json_t *m = metrics_of(out, "metrics.jsonl");
        assert_true(number(m, 5, "kl") != 0);
        json_decref(m);
        json_decref(list);
    }
}

/* ---- dynamic sampling ---- */

static void test_flat_groups_are_replaced(void **state)
{
    (void)state;
    json_t *list, *m;
    char extra[512];
    double replaced = 0;
    reset_rows();
    rows_template.constant = 2;
    snprintf(extra, sizeof extra, "%sgrpo: {prompts_per_step: 4, kl: 0, dynamic_rounds: 8}\n", small);
    go("dynamic", extra);
    size_t count = read_run("dynamic", 4, &list);
    m = metrics_of("dynamic", "metrics.jsonl");
    assert_int_equal(count, 6 * 4 * 4);
    for (size_t i = 0; i < count; i++) {
        assert_true(responses[i].row != 2);
        double group[4];
        for (size_t j = 0; j < 4; j++) {
            group[j] = responses[i / 4 * 4 + j].reward;
        }
        assert_true(spread(group, 4, 4) > 0);
    }
    for (size_t s = 0; s < 6; s++) {
        assert_true(number(m, s, "zero_variance_groups") == number(m, s, "resampled_groups"));
        replaced += number(m, s, "resampled_groups");
    }
    assert_true(replaced >= 3); /* row 2 comes once in each epoch of 8 rows */
    assert_true(number(m, 5, "epoch") == (24 + replaced) / ROWS);
    json_decref(m);
    json_decref(list);
}

/* Where nothing varies, the rounds are the limit; the step goes on with what it has, which is exactly 0. */
static void test_resampling_has_a_limit(void **state)
{
    (void)state;
    json_t *list, *m;
    char extra[512];
    reset_rows();
    rows_template.constant = ROWS;
    snprintf(extra, sizeof extra, "%sgrpo: {prompts_per_step: 3, kl: 0, dynamic_rounds: 2}\n", small);
    go("hopeless", extra);
    read_run("hopeless", 4, &list);
    m = metrics_of("hopeless", "metrics.jsonl");
    for (size_t s = 0; s < 6; s++) {
        assert_int_equal(number(m, s, "resampled_groups"), 6);
        assert_int_equal(number(m, s, "zero_variance_groups"), 9);
        assert_true(number(m, s, "grad_norm") == 0 && number(m, s, "loss") == 0);
        assert_true(number(m, s, "reward") == 0.5); /* over all responses, also those replaced */
    }
    json_decref(m);
    json_decref(list);
    /* a row that comes again in a step has other random numbers: its responses count on */
    rows_template.source.rows = 1;
    snprintf(extra, sizeof extra, "%sgrpo: {prompts_per_step: 2, kl: 0, dynamic_rounds: 2}\n", small);
    go("again", extra);
    size_t count = read_run("again", 4, &list);
    for (size_t i = 0; i < count; i++) { /* groups 0 to 3 were replaced, 4 and 5 are left */
        assert_int_equal(json_integer_value(json_object_get(json_array_get(list, i), "response")), 16 + i % 8);
    }
    json_decref(list);
}

/* ---- the target in the group ---- */

static void scale_step_check(const logged *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double group[4];
        for (size_t j = 0; j < 4; j++) {
            group[j] = r[i / 4 * 4 + j].reward * (j == 3 ? 0.8 : 1);
        }
        double deviation = spread(group, 4, 3);
        same(r[i].advantage, deviation < 1e-12 ? 0 : (group[i % 4] - mean(group, 4)) / (deviation + 1e-4));
    }
}

static void anchor_step(const logged *r, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        double group[3], best = -1e9;
        for (size_t j = 0; j < 3; j++) {
            group[j] = r[i + j].reward;
        }
        double deviation = spread(group, 3, 2);
        for (size_t j = 0; j < 3; j++) {
            double a = deviation < 1e-12 ? 0 : (group[j] - mean(group, 3)) / (deviation + 1e-4);
            same(r[i + j].advantage, a);
            best = a > best ? a : best;
        }
        same(r[i + 3].advantage, 1.2 * best);
    }
}

static void test_the_target_is_one_of_the_group(void **state)
{
    (void)state;
    reset_rows();
    rows_template.source.rows = 7;
    rows_template.good_targets = true;
    /* even rows' targets end with an odd token, and earn 0.8: only odd ones earn the most */
    rows_template.constant = -1;
    each_step("scale", "off_policy: scale, kl: 0", 4, scale_step_check);
    each_step("anchor", "off_policy: anchor, kl: 0", 4, anchor_step);
    rows_template.source.rows = 1; /* row 0 */
    char extra[512];
    json_t *list, *m;
    snprintf(extra, sizeof extra, "%sgrpo: {prompts_per_step: 2, off_policy: shape, updates_per_rollout: 2}\n",
             small);
    go("shape", extra);
    size_t count = read_run("shape", 4, &list);
    m = metrics_of("shape", "metrics.jsonl");
    double before = 0, after = 0;
    for (size_t i = 0; i < count; i++) {
        double group[4];
        for (size_t j = 0; j < 4; j++) { /* in units of the target's reward */
            group[j] = 0.8 * tr_advantage_shape(responses[i / 4 * 4 + j].reward / 0.8);
        }
        double deviation = spread(group, 4, 3);
        assert_true(responses[i].target == (i % 4 == 3));
        same(responses[i].advantage, deviation < 1e-12 ? 0 : (group[i % 4] - mean(group, 4)) / (deviation + 1e-4));
        if (responses[i].target) {
            assert_true(responses[i].tokens == TARGET && responses[i].logp < 0 && responses[i].reward == 0.8);
            before += responses[i].step == 1 ? responses[i].logp : 0;
            after += responses[i].step == 6 ? responses[i].logp : 0;
        }
    }
    assert_true(after > before + 1); /* it is learned */
    for (size_t s = 0; s < 6; s++) { /* counted are the sampled ones */
        double sum = 0, tokens = 0;
        for (size_t i = s * 8; i < s * 8 + 8; i++) {
            sum += responses[i].target ? 0 : responses[i].reward / 6;
            tokens += responses[i].target ? 0 : (double)responses[i].tokens;
        }
        same(number(m, s, "reward"), sum);
        same(number(m, s, "response_tokens"), tokens);
    }
    json_decref(list);
    json_decref(m);
}

/* ---- what the loss is divided by ---- */

/* On the policy every ratio is 1: the loss is -sum of w A over the tokens, w = 1 / (N |o|), 1 / M or 1 / (N L),
 * with N and M of what is not masked, the target included. */
static void test_the_loss_is_the_weighted_sum_of_advantages(void **state)
{
    (void)state;
    static const char *const losses[] = {"sequence", "token", "constant"};
    static const char *const others[] = {"std: population", "truncated: mask", "off_policy: anchor",
                                         "advantage: reinforce++, truncated: mask"};
    for (int loss = 0; loss < 3; loss++) {
        for (int other = 0; other < 4; other++) {
            char extra[512], out[32];
            json_t *list, *m;
            reset_rows();
            snprintf(extra, sizeof extra, "%sgrpo: {prompts_per_step: 3, kl: 0, loss: %s, %s}\n", small,
                     losses[loss], others[other]);
            snprintf(out, sizeof out, "loss%d%d", loss, other);
            go(out, extra);
            size_t count = read_run(out, 4, &list);
            m = metrics_of(out, "metrics.jsonl");
            for (int64_t step = 1; step <= 6; step++) {
                double n = 0, tokens = 0, sum = 0;
                for (int pass = 0; pass < 2; pass++) {
                    for (size_t i = 0; i < count; i++) {
                        const logged *r = &responses[i];
                        if (r->step != step || (other % 2 && r->cut)) {
                            continue;
                        }
                        n += !pass;
                        tokens += pass ? 0 : (double)r->tokens;
                        sum -= pass ? r->advantage * (double)r->tokens *
                                          (loss == 0   ? 1 / (n * (double)r->tokens)
                                           : loss == 1 ? 1 / tokens
                                                       : 1 / (n * 6))
                                    : 0;
                    }
                }
                same(number(m, (size_t)step - 1, "loss"), sum);
            }
            json_decref(m);
            json_decref(list);
        }
    }
}

/* ---- masks ---- */

static void test_cut_off_responses_leave_the_loss(void **state)
{
    (void)state;
    json_t *m;
    reset_rows();
    /* one token is never an end here in most responses: all of a step may be cut off, and nothing is divided by 0
     */
    go("cut", "rollout: {group: 4, max_tokens: 1}\ngrpo: {prompts_per_step: 3, truncated: mask, entropy: 0.1}\n"
              "train: {dtype: f32, steps: 4, freeze: [vision, merger]}\n" FAST);
    m = metrics_of("cut", "metrics.jsonl");
    int whole = 0;
    for (size_t s = 0; s < 4; s++) {
        if (number(m, s, "truncated") == 12) {
            assert_true(number(m, s, "grad_norm") == 0 && number(m, s, "loss") == 0);
            whole++;
        }
    }
    assert_true(whole > 0);
    json_decref(m);
}

/* ---- rows by difficulty ---- */

static void test_a_row_without_a_score_is_named(void **state)
{
    (void)state;
    tr_error err;
    static const char keys[] = "grpo: {difficulty: gaussian, prompts_per_step: 2}\n"
                               "rollout: {group: 3, max_tokens: 4}\ntrain: {dtype: f32, steps: 2}\n";
    reset_rows();
    assert_int_equal(run("unscored", keys, false, false, &err), TR_NOT_FOUND);
    assert_non_null(strstr(err.message, "data select"));
    rows_template.scored = true;
    rows_template.scores[5] = NAN;
    assert_int_equal(run("unscored2", keys, false, false, &err), TR_NOT_FOUND);
    assert_non_null(strstr(err.message, "row 6 of 8"));
    rows_template.scores[5] = 0;
    assert_int_equal(run("unscored3",
                         "grpo: {difficulty: gaussian, difficulty_gaussian: [10, 0.01], prompts_per_step: 2}\n"
                         "rollout: {group: 3, max_tokens: 4}\ntrain: {dtype: f32, steps: 2}\n",
                         false, false, &err),
                     TR_INVALID);
    assert_non_null(strstr(err.where, "grpo.difficulty_gaussian"));
}

/* A row whose newest mean is out of the range is not seen again. */
static void test_the_filter_keeps_rows_out(void **state)
{
    (void)state;
    json_t *list, *m;
    char extra[512];
    bool out[ROWS] = {false};
    double filtered = 0;
    reset_rows();
    snprintf(extra, sizeof extra,
             "rollout: {group: 4, max_tokens: 6}\ngrpo: {prompts_per_step: 2, kl: 0, filter: score, filter_range: "
             "[0.3, 0.55]}\ntrain: {dtype: f32, steps: 10, freeze: [vision, merger]}\noptim: {lr: 0}\n");
    go("filter", extra);
    size_t count = read_run("filter", 4, &list);
    m = metrics_of("filter", "metrics.jsonl");
    for (size_t i = 0; i < count; i += 8) { /* a step: two groups */
        for (size_t g = i; g < i + 8; g += 4) {
            assert_false(out[responses[g].row]);
        }
        for (size_t g = i; g < i + 8; g += 4) {
            double sum = 0;
            for (size_t j = g; j < g + 4; j++) {
                sum += responses[j].reward / 4;
            }
            out[responses[g].row] = !(sum > 0.3 && sum <= 0.55);
        }
    }
    for (size_t s = 0; s < json_array_size(m); s++) {
        filtered += number(m, s, "filtered_rows");
    }
    assert_true(filtered > 0);
    json_decref(list);
    json_decref(m);
    /* scores from the file count before anything was seen; when all are out, all come again */
    rows_template.scored = true;
    for (int r = 0; r < ROWS; r++) {
        rows_template.scores[r] = r == 4 ? 0.5 : 1;
    }
    snprintf(extra, sizeof extra,
             "rollout: {group: 4, max_tokens: 6}\ngrpo: {prompts_per_step: 1, kl: 0, filter: score, filter_range: "
             "[2, 3]}\ntrain: {dtype: f32, steps: 2, freeze: [vision, merger]}\n");
    go("filter2", extra);
    snprintf(extra, sizeof extra,
             "rollout: {group: 4, max_tokens: 6}\ngrpo: {prompts_per_step: 1, kl: 0, filter: score, filter_range: "
             "[0, 0.7]}\ntrain: {dtype: f32, steps: 1, freeze: [vision, merger]}\n");
    go("filter3", extra);
    read_run("filter3", 4, &list);
    assert_int_equal(responses[0].row, 4);
    json_decref(list);
}

/* ---- early stop ---- */

static void test_a_flat_run_ends(void **state)
{
    (void)state;
    tr_error err;
    static const char keys[] =
        "rollout: {group: 3, max_tokens: 4}\n"
        "grpo: {prompts_per_step: 2, kl: 0, stop_window: 3}\ntrain: {dtype: f32, steps: 50}\n";
    reset_rows();
    rows_template.constant = ROWS;
    go("flat", keys);
    json_t *m = metrics_of("flat", "metrics.jsonl");
    assert_int_equal(json_array_size(m), 6);
    json_decref(m);
    assert_true(tr_directory_exists(scratch_path("flat/checkpoints/step-6")));
    assert_int_equal(run("flat", keys, true, false, &err), TR_OK); /* it stays ended */
    m = metrics_of("flat", "metrics.jsonl");
    assert_int_equal(json_array_size(m), 6);
    json_decref(m);
}

/* ---- interrupted and resumed ---- */

static void assert_same_bytes(const char *a, const char *b)
{
    tr_buffer x = {0}, y = {0};
    assert_int_equal(tr_file_read(scratch_path(a), 0, &x, NULL), TR_OK);
    assert_int_equal(tr_file_read(scratch_path(b), 0, &y, NULL), TR_OK);
    assert_int_equal(x.length, y.length);
    assert_memory_equal(x.data, y.data, x.length);
    tr_buffer_free(&x);
    tr_buffer_free(&y);
}

static void test_every_switch_goes_on_bit_for_bit(void **state)
{
    (void)state;
    static const char *const settings[] = {
        "advantage: ema, dynamic_rounds: 3, overlong: 0.5, filter: score, filter_range: [0, 0.9], stop_window: 40",
        "preset: tempsamp-r1, updates_per_rollout: 2, truncate_ratio: 1.3, dynamic_rounds: 2, truncated: mask",
        "preset: reinforce++, difficulty: gaussian, filter: score, updates_per_rollout: 2",
    };
    for (int i = 0; i < 3; i++) {
        char extra[512], a[64], b[64], x[128], y[128];
        tr_error err;
        snprintf(extra, sizeof extra,
                 "rollout: {group: 4, max_tokens: 4}\ngrpo: {prompts_per_step: 3, %s}\n" FAST
                 "train: {dtype: f32, steps: 6, save_every: 2, freeze: [vision, merger]}\n",
                 settings[i]);
        snprintf(a, sizeof a, "whole%d", i);
        snprintf(b, sizeof b, "broken%d", i);
        for (int broken = 0; broken < 2; broken++) {
            reset_rows();
            rows_template.constant = 3;
            rows_template.scored = true;
            for (int r = 0; r < ROWS; r++) {
                rows_template.scores[r] = 0.1 * r + 0.05;
            }
            rows_template.stop_at = broken ? 11 : 0;
            assert_int_equal(run(broken ? b : a, extra, false, false, &err), broken ? TR_INTERRUPTED : TR_OK);
        }
        rows_template.stop_at = 0;
        assert_int_equal(run(b, extra, true, false, &err), TR_OK);
        static const char *const files[] = {"checkpoints/step-6/model.safetensors",
                                            "checkpoints/step-6/state.safetensors", "rollouts.jsonl"};
        for (int f = 0; f < 3; f++) {
            snprintf(x, sizeof x, "%s/%s", a, files[f]);
            snprintf(y, sizeof y, "%s/%s", b, files[f]);
            assert_same_bytes(x, y);
        }
        json_t *p = metrics_of(a, "metrics.jsonl"), *q = metrics_of(b, "metrics.jsonl");
        static const char *const keys[] = {"reward", "loss", "resampled_groups", "filtered_rows",
                                           "zero_variance_groups"};
        for (size_t s = 0; s < 6; s++) {
            for (size_t k = 0; k < 5; k++) {
                assert_true(number(p, s, keys[k]) == number(q, s, keys[k]));
            }
        }
        json_decref(p);
        json_decref(q);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_preset_trains),
        cmocka_unit_test(test_advantages_are_those_of_the_formulas),
        cmocka_unit_test(test_overlong_penalty_equals_trl),
        cmocka_unit_test(test_kl_in_the_reward_moves_advantages),
        cmocka_unit_test(test_flat_groups_are_replaced),
        cmocka_unit_test(test_resampling_has_a_limit),
        cmocka_unit_test(test_the_target_is_one_of_the_group),
        cmocka_unit_test(test_the_loss_is_the_weighted_sum_of_advantages),
        cmocka_unit_test(test_cut_off_responses_leave_the_loss),
        cmocka_unit_test(test_a_row_without_a_score_is_named),
        cmocka_unit_test(test_the_filter_keeps_rows_out),
        cmocka_unit_test(test_a_flat_run_ends),
        cmocka_unit_test(test_every_switch_goes_on_bit_for_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
