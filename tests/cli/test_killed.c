/* test_killed.c: runs of the program that are killed with SIGKILL and resumed end with the bytes of one that was
 * not; replayed rollouts are those that were recorded; two writers are refused. TEMPR1_SOAK=1: 20 kills. */
#include "cli/survive.h"

#include <dirent.h>
#include <sys/stat.h>

static double whole_s; /* what the uninterrupted run took */

static int make(void **state)
{
    survive_make(state);
    double start_s = tr_time_s();
    run_whole("whole", "");
    whole_s = tr_time_s() - start_s;
    return 0;
}

/* A folder of a checkpoint that is being written or removed. */
static bool is_saving(const char *out)
{
    char path[700];
    bool found = false;
    snprintf(path, sizeof path, "%s/checkpoints", scratch_path(out));
    DIR *dir = opendir(path);
    for (struct dirent *one; dir && (one = readdir(dir));) {
        found = found || !strncmp(one->d_name, "part-", 5);
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

/* Kills `after_s` after so many steps were logged, or in the middle of the next save after that. Whether it was
 * killed and had not ended before. */
static bool kill_run(const char *out, const char *more, int64_t steps, double after_s, bool in_save)
{
    int status = 0;
    pid_t pid = run_start(out, more);
    while (run_lives(pid, &status) && count_lines(out, "metrics.jsonl") < steps) {
        pause_s(0.001);
    }
    double start_s = tr_time_s();
    bool lives = run_lives(pid, &status);
    while (lives && (in_save ? !is_saving(out) : tr_time_s() - start_s < after_s)) {
        lives = run_lives(pid, &status);
    }
    if (lives) {
        kill(pid, SIGKILL);
        run_wait(pid);
        printf("%s: killed with %lld steps logged%s\n", out, (long long)count_lines(out, "metrics.jsonl"),
               is_saving(out) ? ", in the middle of a save" : "");
    }
    return lives;
}

static void test_killed_at_random_moments(void **state)
{
    (void)state;
    const int kills = is_soak() ? 20 : 3;
    const uint64_t seed = (uint64_t)(tr_time_s() * 1e6); /* every run of the test tries other moments */
    int killed = 0, in_save = 0;
    for (int i = 0; killed < kills && i < 4 * kills; i++) { /* some may have ended before their kill */
        char out[32];
        const uint32_t draw = (uint32_t)i;
        bool save = killed % 3 == 1;
        int64_t steps = (int64_t)tr_random_below(seed, draw, 0, 0, 0, STEPS - (save ? 2 * SAVE_EVERY : 1));
        double after_s = whole_s / STEPS * tr_random_uniform(seed, draw, 1, 0, 0);
        snprintf(out, sizeof out, "killed-%d", i);
        if (kill_run(out, "--resume", steps, steps ? after_s : 10 * after_s, save)) {
            killed++;
            in_save += is_saving(out);
            if (killed % 4 == 0) { /* and once more, soon after it was resumed */
                kill_run(out, "--resume", steps, after_s, false);
            }
            run_whole(out, "--resume");
            same_runs("whole", out);
            assert_false(is_saving(out)); /* nothing half-written stays */
        }
        assert_int_equal(tr_directory_remove(scratch_path(out), NULL), TR_OK);
        fflush(stdout);
    }
    printf("SOAK kills: %d runs killed with SIGKILL at random moments, %d of them in the middle of a save, and "
           "resumed: "
           "all bytes equal\n",
           killed, in_save);
    assert_int_equal(killed, kills);
    assert_true(in_save > 0);
}

/* SFT, an adapter, and evaluations in between, each killed once. */
static void test_other_kinds_of_runs(void **state)
{
    (void)state;
    static const char *const kinds[][2] = {
        {"sft", "algorithm=sft"},
        {"lora", "train.lora.rank=4 train.lora.alpha=8 optim.weight_decay=0"},
        {"eval", "train.eval_every=4 train.keep_best=-eval.tg.mean_tokens grpo.advantage=ema"},
    };
    for (size_t i = 0; i < 3; i++) {
        char out[32], whole[32];
        char *resume = tr_format("%s --resume", kinds[i][1]);
        snprintf(out, sizeof out, "killed-%s", kinds[i][0]);
        snprintf(whole, sizeof whole, "whole-%s", kinds[i][0]);
        run_whole(whole, kinds[i][1]);
        assert_true(kill_run(out, kinds[i][1], 10, 0.3 * whole_s / STEPS, false));
        run_whole(out, resume);
        same_runs(whole, out);
        if (i == 1) { /* the adapter's rollouts too can be made again */
            program_expect(
                tr_format("replay '%s' --step %d --row test-00000/tg-0 --quiet", scratch_path(out), STEPS), 0,
                "the same bits", "");
        }
        free(resume);
    }
}

/* ---- replay ---- */

static json_t *rollout(int64_t line)
{
    char path[700];
    tr_buffer text = {0};
    json_t *object;
    bool got = true;
    snprintf(path, sizeof path, "%s/rollouts.jsonl", scratch_path("whole"));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (int64_t i = 0; i <= line; i++) {
        assert_int_equal(tr_file_read_line(f, 0, &text, &got, NULL), TR_OK);
        assert_true(got);
    }
    fclose(f);
    assert_int_equal(tr_json_parse(tr_buffer_text(&text), text.length, path, 0, &object, NULL), TR_OK);
    tr_buffer_free(&text);
    return object;
}

/* Names, sizes and times of everything below a folder, as one hash. */
static uint64_t picture(const char *path)
{
    char **names;
    size_t count;
    uint64_t all[4] = {0};
    assert_int_equal(tr_directory_list(path, &names, &count, NULL), TR_OK);
    for (size_t i = 0; i < count; i++) {
        struct stat info;
        char *one = tr_path_join(path, names[i]);
        assert_int_equal(lstat(one, &info), 0);
        uint64_t facts[4] = {tr_hash_text(one), (uint64_t)info.st_size, (uint64_t)info.st_mtim.tv_sec,
                             (uint64_t)info.st_mtim.tv_nsec};
        all[1] = tr_hash(facts, sizeof facts);
        all[0] = tr_hash(all, sizeof all);
        if (S_ISDIR(info.st_mode)) {
            all[1] = picture(one);
            all[0] = tr_hash(all, sizeof all);
        }
        free(one);
    }
    tr_names_free(names, count);
    return all[0];
}

static void test_replayed_rollouts_are_the_same_bits(void **state)
{
    (void)state;
    const uint64_t before = picture(scratch_path("whole"));
    static const int64_t lines[] = {0, 8 * 4 + 5, 8 * (STEPS - 1) + 3}; /* 8 lines a step: of step 1, 5, the last */
    static const int64_t from[] = {0, 0, STEPS - SAVE_EVERY};           /* the two newest checkpoints are kept */
    for (size_t i = 0; i < 3; i++) {
        json_t *line = rollout(lines[i]);
        const char *row = json_string_value(json_object_get(line, "row"));
        const json_int_t step = json_integer_value(json_object_get(line, "step"));
        json_t *said = program_lines(tr_format("replay '%s' --step %lld --row '%s' --response %lld --json",
                                               scratch_path("whole"), (long long)step, row,
                                               (long long)json_integer_value(json_object_get(line, "response"))));
        const json_t *result = json_array_get(said, 0),
                     *one = json_array_get(json_object_get(result, "responses"), 0);
        assert_true(json_is_true(json_object_get(result, "same")));
        assert_int_equal(json_integer_value(json_object_get(result, "from_step")), from[i]);
        assert_int_equal(json_integer_value(json_object_get(result, "trained_steps")), step - 1 - from[i]);
        assert_int_equal(json_array_size(json_object_get(result, "responses")), 1);
        assert_true(
            json_equal(json_object_get(json_object_get(one, "replayed"), "ids"), json_object_get(line, "ids")));
        json_decref(said);
        json_decref(line);
    }
    assert_true(picture(scratch_path("whole")) == before); /* it was only read */
}

/* Another digit in the first log-prob of a line of rollouts.jsonl: the sixth, which a double surely holds. */
static void change_a_digit(const char *path, int64_t line)
{
    tr_buffer text = {0};
    assert_int_equal(tr_file_read(path, 0, &text, NULL), TR_OK);
    char *at = text.data;
    for (int64_t i = 0; i < line; i++) {
        at = strchr(at, '\n') + 1;
    }
    at = strchr(strstr(at, "\"logprobs\":[") + 12, '.') + 6;
    *at = *at == '7' ? '3' : '7';
    assert_int_equal(tr_file_write_atomic(path, text.data, text.length, NULL), TR_OK);
    tr_buffer_free(&text);
}

static void test_a_rollout_that_differs_is_told(void **state)
{
    (void)state;
    char path[700], command[1600];
    json_t *line = rollout(8 * (STEPS - 1));
    char *row = tr_strdup(json_string_value(json_object_get(line, "row")));
    json_decref(line);
    snprintf(path, sizeof path, "%s", scratch_path("whole"));
    snprintf(command, sizeof command, "cp -r '%s' '%s-other'", path, path);
    assert_int_equal(system(command), 0);
    change_a_digit(scratch_path("whole-other/rollouts.jsonl"), 8 * (STEPS - 1));
    program_expect(tr_format("replay '%s-other' --step %d --row '%s'", path, STEPS, row), 1, "log-prob of token 0",
                   "differs from the recorded one");
    program_expect(tr_format("replay '%s' --step %d --row '%s'", path, STEPS, row), 0, "the same bits", "");
    program_expect(tr_format("replay '%s' --step %d --row nobody", path, STEPS), 1, "",
                   "has no rollout of row 'nobody'");
    program_expect(tr_format("replay '%s' --step 999 --row '%s'", path, row), 1, "", "the last step is 24");
    program_expect(tr_format("replay '%s' --step 1 --row '%s'", run_corpus, row), 1, "",
                   "there is no config.yaml here");
    program_expect(tr_format("replay '%s' --row '%s'", path, row), 2, "", "--step");
    free(row);
}

/* ---- two writers ---- */

static void test_two_writers_are_refused(void **state)
{
    (void)state;
    pid_t first = run_start("locked", "");
    await_steps("locked", first, 1);
    program_expect(run_arguments("locked", "--resume"), 1, "", "is held by another tempr1 process");
    if (run_wait(first)) {
        fail_msg("the first writer was disturbed:\n%s", run_said("locked"));
    }
    same_runs("whole", "locked");
    program_expect(run_arguments("locked", ""), 1, "", "already holds a run");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_at_random_moments),
        cmocka_unit_test(test_other_kinds_of_runs),
        cmocka_unit_test(test_replayed_rollouts_are_the_same_bits),
        cmocka_unit_test(test_a_rollout_that_differs_is_told),
        cmocka_unit_test(test_two_writers_are_refused),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
