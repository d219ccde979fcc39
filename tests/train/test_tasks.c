/* test_tasks.c: a step's numbers for each task and its watch, held against what rollouts.jsonl says of every
 * response; and that a resumed run writes the same. */
#include "train/memory_source.h"

#include "task/watch.h"

static tr_source_functions mine; /* the memory source with answers that are understood */
static tr_status (*plain_score)(tr_source *, const tr_sample *, const char *, size_t, bool, tr_score *, tr_error *);

/* Rows of "tg" answer the same interval whatever was asked; those of "qa" are understood every second time. */
static tr_status judged(tr_source *source, const tr_sample *s, const char *text, size_t length, bool stopped,
                        tr_score *score, tr_error *err)
{
    tr_status status = plain_score(source, s, text, length, stopped, score, err);
    if (!strcmp(s->task, "tg")) {
        score->parsed = json_pack("[[f,f]]", 2.0, 3.5);
    } else if (length % 2) {
        snprintf(score->error, sizeof score->error, "no option");
    } else {
        score->parsed = json_string("C");
    }
    return status;
}

static tr_status open_judged(void *context, const tr_config *config, const tr_model_config *model, bool eval,
                             tr_source **source, tr_error *err)
{
    tr_status status = memory_open(context, config, model, eval, source, err);
    if (!status) {
        mine = *(*source)->call;
        plain_score = mine.score;
        mine.score = judged;
        (*source)->call = &mine;
    }
    return status;
}

static tr_status go(const char *out, const char *extra, bool resume, tr_error *err)
{
    char text[2048];
    tr_config_set set;
    json_t *summary = NULL;
    snprintf(text, sizeof text, "model: %s\nout: %s\ndata: [ {rows: r} ]\n%s", tiny_model(), scratch_path(out),
             extra);
    memset(err, 0, sizeof *err);
    tr_status status = tr_config_parse(text, strlen(text), "test.yaml", NULL, 0, &set, err);
    if (!status) {
        rows_template.stop = 0;
        tr_train_options options = {
            .resume = resume, .quiet = true, .stop = &rows_template.stop, .open_source = open_judged};
        status = tr_train_run(&set, &options, &summary, err);
        tr_config_set_free(&set);
    }
    if (status && status != TR_INTERRUPTED) {
        printf("(%s: %s)\n", err->where, err->message);
    }
    json_decref(summary);
    return status;
}

static const char settings[] = "rollout: {group: 4, max_tokens: 6}\n"
                               "grpo: {prompts_per_step: 5, kl: 0.02, entropy: 0.01}\n"
                               "optim: {lr: 1.0e-3}\n"
                               "train: {dtype: f32, steps: 6, save_every: 2, seed: 3}\n";

typedef struct tally {
    double reward, hits, formatted, parsed, tokens, truncated, watch[TR_WATCH_COUNT];
    int64_t responses, shortest, longest;
} tally;

static void add_rollout(tally *sum, const json_t *o)
{
    int64_t tokens = (int64_t)json_array_size(json_object_get(o, "ids"));
    bool cut = !strcmp(json_string_value(json_object_get(o, "finish")), "length");
    sum->reward += json_number_value(json_object_get(o, "reward"));
    sum->hits += json_number_value(json_object_get(json_object_get(o, "parts"), "hits"));
    sum->formatted += !cut; /* in this source */
    sum->truncated += cut;
    sum->parsed += json_is_null(json_object_get(o, "error"));
    sum->tokens += (double)tokens;
    sum->shortest = !sum->responses || tokens < sum->shortest ? tokens : sum->shortest;
    sum->longest = !sum->responses || tokens > sum->longest ? tokens : sum->longest;
    sum->responses++;
    for (int s = 0; s < TR_WATCH_COUNT; s++) {
        size_t i;
        json_t *name;
        json_array_foreach(json_object_get(o, "watch"), i, name)
        {
            sum->watch[s] += !strcmp(json_string_value(name), tr_watch_name((tr_watch_sign)s));
        }
    }
}

/* Sums of at most 20 numbers in another order differ by less than 20 roundings of numbers of size 1. */
static void assert_same(const json_t *o, const char *key, double expected)
{
    const json_t *value = json_object_get(o, key);
    if (!json_is_number(value) ||
        !(fabs(json_number_value(value) - expected) <= 20 * 2.3e-16 * (1 + fabs(expected)))) {
        fail_msg("%s is %.17g, not %.17g", key, json_number_value(value), expected);
    }
}

static double number_of(const json_t *o, const char *key)
{
    assert_true(json_is_number(json_object_get(o, key)));
    return json_number_value(json_object_get(o, key));
}

static void check_against(const json_t *o, const tally *sum)
{
    double n = (double)sum->responses;
    assert_same(o, "responses", n);
    assert_same(o, "reward", sum->reward / n);
    assert_same(json_object_get(o, "parts"), "hits", sum->hits / n);
    assert_same(o, "format_rate", sum->formatted / n);
    assert_same(o, "parsed_rate", sum->parsed / n);
    assert_same(o, "truncated", sum->truncated);
    assert_same(o, "truncated_rate", sum->truncated / n);
    assert_same(o, "response_tokens", sum->tokens);
    assert_same(o, "response_length", sum->tokens / n);
    assert_same(o, "response_length_min", (double)sum->shortest);
    assert_same(o, "response_length_max", (double)sum->longest);
    assert_same(json_object_get(o, "watch"), "responses", n);
    for (int s = 0; s < TR_WATCH_COUNT; s++) {
        assert_same(json_object_get(o, "watch"), tr_watch_name((tr_watch_sign)s), sum->watch[s]);
    }
}

static void test_tasks_add_up(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    assert_int_equal(go("tasks", settings, false, &err), TR_OK);
    json_t *metrics = metrics_of("tasks", "metrics.jsonl"), *rollouts = metrics_of("tasks", "rollouts.jsonl");
    assert_int_equal(json_array_size(metrics), 6);
    double constant = 0, kl_apart = 0;
    for (size_t step = 1; step <= 6; step++) {
        const json_t *o = json_array_get(metrics, step - 1), *tasks = json_object_get(o, "tasks");
        tally all = {0}, tg = {0}, qa = {0};
        size_t i;
        json_t *rollout;
        json_array_foreach(rollouts, i, rollout)
        {
            if ((size_t)json_integer_value(json_object_get(rollout, "step")) == step) {
                bool is_tg = !strcmp(json_string_value(json_object_get(rollout, "task")), "tg");
                assert_string_equal(json_string_value(json_object_get(rollout, "scheme")), "tempr1");
                add_rollout(&all, rollout);
                add_rollout(is_tg ? &tg : &qa, rollout);
            }
        }
        assert_int_equal(all.responses, 20);
        check_against(o, &all);
        if (tg.responses) {
            check_against(json_object_get(tasks, "tg"), &tg);
            assert_same(json_object_get(o, "task"), "tg", tg.reward / (double)tg.responses);
        }
        if (qa.responses) {
            check_against(json_object_get(tasks, "qa"), &qa);
        }
        const json_t *a = json_object_get(tasks, "tg"), *b = json_object_get(tasks, "qa");
        if (tg.responses && qa.responses) { /* means over tokens, and over groups, join to the step's */
            const char *const keys[] = {"kl", "entropy", "reward_std"};
            for (int k = 0; k < 3; k++) {
                double wa = k < 2 ? tg.tokens : number_of(a, "prompts"),
                       wb = k < 2 ? qa.tokens : number_of(b, "prompts");
                double joined = (number_of(a, keys[k]) * wa + number_of(b, keys[k]) * wb) / (wa + wb);
                assert_true(fabs(joined - number_of(o, keys[k])) <= 1e-12);
            }
            kl_apart += fabs(number_of(a, "kl") - number_of(b, "kl"));
            assert_true(number_of(a, "zero_variance_groups") + number_of(b, "zero_variance_groups") ==
                        number_of(o, "zero_variance_groups"));
        }
        constant += number_of(json_object_get(o, "watch"), "constant");
    }
    assert_true(kl_apart > 0); /* they are not both the step's own */
    assert_true(constant > 0); /* two rows of tg in a step got the same interval */
    json_decref(metrics);
    json_decref(rollouts);
}

/* All but what the clock says. */
static void drop_times(json_t *metrics)
{
    size_t i;
    json_t *o;
    json_array_foreach(metrics, i, o)
    {
        json_object_del(o, "seconds");
        json_object_del(o, "tokens_per_second");
        json_object_del(o, "peak_rss_bytes");
    }
}

static void test_a_resumed_run_writes_the_same(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    rows_template.stop_at = 3 * 5 + 2; /* in the fourth step */
    assert_int_equal(go("tasks-stopped", settings, false, &err), TR_INTERRUPTED);
    reset_rows();
    assert_int_equal(go("tasks-stopped", settings, true, &err), TR_OK);
    json_t *whole = metrics_of("tasks", "metrics.jsonl"), *resumed = metrics_of("tasks-stopped", "metrics.jsonl");
    drop_times(whole);
    drop_times(resumed);
    assert_true(json_equal(whole, resumed));
    json_decref(whole);
    json_decref(resumed);
}

/* SFT: the tasks' losses, weighted with their targets, are the step's. */
static void test_supervised_steps_name_their_tasks(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    assert_int_equal(go("tasks-sft",
                        "algorithm: sft\ngrpo: {prompts_per_step: 5}\noptim: {lr: 1.0e-3}\n"
                        "train: {dtype: f32, steps: 4, save_every: 0, seed: 3}\n",
                        false, &err),
                     TR_OK);
    json_t *metrics = metrics_of("tasks-sft", "metrics.jsonl");
    double apart = 0;
    for (size_t step = 0; step < 4; step++) {
        const json_t *o = json_array_get(metrics, step), *tasks = json_object_get(o, "tasks");
        const json_t *a = json_object_get(tasks, "tg"), *b = json_object_get(tasks, "qa");
        if (a && b) {
            double wa = number_of(a, "response_tokens"), wb = number_of(b, "response_tokens");
            double joined = (number_of(a, "loss") * wa + number_of(b, "loss") * wb) / (wa + wb);
            assert_true(wa + wb == number_of(o, "response_tokens"));
            assert_true(fabs(joined - number_of(o, "loss")) <= 1e-12);
            assert_true(number_of(a, "prompts") + number_of(b, "prompts") == 5);
            apart += fabs(number_of(a, "loss") - number_of(b, "loss"));
        }
    }
    assert_true(apart > 0);
    json_decref(metrics);
}

static size_t count_of(const char *text, const char *word)
{
    size_t count = 0;
    for (; (text = strstr(text, word)); text++) {
        count++;
    }
    return count;
}

/* The page has a panel for every number of a task, and names both tasks in each. */
static void test_curves_show_every_task(void **state)
{
    (void)state;
    static const char *const titles[] = {
        ">reward by task<",           ">format rate by task<",     ">KL by task<",
        ">entropy by task (",         ">parts of the reward: tg<", ">parts of the reward: qa<",
        ">response length (tokens)<", "watch over reward hacking"};
    tr_buffer page = {0};
    char path[1024];
    snprintf(path, sizeof path, "%s/curves.svg", scratch_path("tasks"));
    assert_int_equal(tr_file_read(path, 0, &page, NULL), TR_OK);
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++) {
        if (!strstr(tr_buffer_text(&page), titles[i])) {
            fail_msg("no panel %s", titles[i]);
        }
    }
    assert_true(count_of(tr_buffer_text(&page), ">tg<") >= 7 && count_of(tr_buffer_text(&page), ">qa<") >= 7);
    assert_true(count_of(tr_buffer_text(&page), ">constant<") == 1);
    assert_null(strstr(tr_buffer_text(&page), "nan"));
    tr_buffer_free(&page);
}

/* Names of event files in a run's folder. */
static size_t event_files(const char *out)
{
    char **names;
    size_t count, found = 0;
    assert_int_equal(tr_directory_list(scratch_path(out), &names, &count, NULL), TR_OK);
    for (size_t i = 0; i < count; i++) {
        found += !strncmp(names[i], "events.out.tfevents.", 20);
    }
    tr_names_free(names, count);
    return found;
}

static void test_event_files_are_there(void **state)
{
    (void)state;
    assert_int_equal(event_files("tasks"), 1);
    assert_int_equal(event_files("tasks-stopped"), 2); /* one of each process */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tasks_add_up),
        cmocka_unit_test(test_a_resumed_run_writes_the_same),
        cmocka_unit_test(test_supervised_steps_name_their_tasks),
        cmocka_unit_test(test_curves_show_every_task),
        cmocka_unit_test(test_event_files_are_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
