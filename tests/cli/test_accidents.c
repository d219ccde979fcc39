/* test_accidents.c: what docs/reliability.md promises for each kind of accident, by runs of the program: a full
 * disk, a clip that is deleted, damaged cache entries, decoders that are killed, and starts that have changed. */
#include "cli/survive.h"

#include <dirent.h>
#include <math.h>
#include <sys/stat.h>

static int make(void **state)
{
    char more[700];
    survive_make(state);
    snprintf(more, sizeof more, "video.cache=%s", scratch_path("cache"));
    run_whole("whole", more);
    return 0;
}

static int64_t size_of(const char *name)
{
    struct stat info;
    assert_int_equal(stat(scratch_path(name), &info), 0);
    return info.st_size;
}

static void copy_of(const char *from, const char *to)
{
    char *command = tr_format("cp -r '%s' '%s'", from, to);
    assert_int_equal(system(command), 0);
    free(command);
}

/* Names in RUN/checkpoints, joined by spaces. */
static const char *checkpoints_of(const char *out)
{
    static char text[400];
    char path[700], **names = NULL;
    size_t count = 0, used = 0;
    snprintf(path, sizeof path, "%s/checkpoints", scratch_path(out));
    text[0] = 0;
    if (tr_directory_exists(path)) {
        assert_int_equal(tr_directory_list(path, &names, &count, NULL), TR_OK);
    }
    for (size_t i = 0; i < count && used < sizeof text; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? " " : "", names[i]);
    }
    tr_names_free(names, count);
    return text;
}

/* A shell that lets files grow to so many bytes only, as a full disk would. */
static char limit[96];
static void limit_files(int64_t bytes)
{
    snprintf(limit, sizeof limit, "trap '' XFSZ; ulimit -f %lld;", (long long)(bytes / 512));
    program_before = limit;
}

/* Starts a run and kills it when it has logged so many steps. */
static void run_until(const char *out, int64_t steps)
{
    pid_t pid = run_start(out, "");
    await_steps(out, pid, steps);
    kill(pid, SIGKILL);
    run_wait(pid);
}

static void test_no_room_for_checkpoints(void **state)
{
    (void)state;
    limit_files(size_of("whole/checkpoints/step-24/model.safetensors") / 2);
    program_expect(run_arguments("full", ""), 1, "", "the checkpoint of step 3 was not written");
    program_expect(run_arguments("full", "--resume"), 1, "", "3 checkpoints in a row could not be written");
    program_before = "";
    assert_string_equal(checkpoints_of("full"), "");
    run_whole("full", "--resume");
    same_runs("whole", "full");
}

static void test_no_room_for_the_next_checkpoint(void **state)
{
    (void)state;
    char before[400];
    run_until("later", 8);
    snprintf(before, sizeof before, "%s", checkpoints_of("later"));
    limit_files(size_of("whole/checkpoints/step-24/model.safetensors") / 2);
    program_expect(run_arguments("later", "--resume"), 1, "", "the one before is whole");
    program_before = "";
    const char *first = strstr(before, "step-"), *after = checkpoints_of("later");
    assert_non_null(first);
    assert_non_null(strstr(after, first)); /* what was whole is there, nothing half-written beside it */
    assert_null(strstr(after, "part-"));
    run_whole("later", "--resume");
    same_runs("whole", "later");
}

static void test_no_room_for_the_logs(void **state)
{
    (void)state;
    run_until("log", 6);
    limit_files(size_of("log/rollouts.jsonl") + 1024);
    program_expect(run_arguments("log", "--resume"), 1, "", "cannot be written");
    program_before = "";
    assert_null(strstr(checkpoints_of("log"), "part-"));
    run_whole("log", "--resume");
    same_runs("whole", "log");
}

static void test_a_clip_that_is_deleted(void **state)
{
    (void)state;
    char clip[700], more[1600];
    copy_of(run_corpus, scratch_path("corpus-clip"));
    snprintf(clip, sizeof clip, "%s/videos/test-00000.mp4", scratch_path("corpus-clip"));
    snprintf(more, sizeof more, "data.0.rows=%s/test.jsonl data.0.videos=%s/videos", scratch_path("corpus-clip"),
             scratch_path("corpus-clip"));
    pid_t pid = run_start("clip", more);
    await_steps("clip", pid, 1);
    assert_int_equal(unlink(clip), 0);
    if (run_wait(pid)) {
        fail_msg("the run did not go on:\n%s", run_said("clip"));
    }
    assert_non_null(strstr(run_said("clip"), "row left out"));
    assert_non_null(strstr(run_said("clip"), "test-00000.mp4"));
    assert_true(last_number("clip", "skipped_rows") > 0);
    assert_string_equal(checkpoints_of("clip"), "step-21 step-24");
    char *again = tr_format("%s --resume", more); /* a start looks at every clip first */
    program_expect(run_arguments("clip", again), 1, "", "test-00000.mp4");
    free(again);
}

/* Changes a byte in the middle of every entry; a hash of all entries as they were. */
static void damage_cache(const char *dir, bool damage, uint64_t *hash)
{
    char **names;
    size_t count, entries = 0;
    *hash = 0;
    assert_int_equal(tr_directory_list(dir, &names, &count, NULL), TR_OK);
    for (size_t i = 0; i < count; i++) {
        tr_buffer bytes = {0};
        char *path = tr_path_join(dir, names[i]);
        if (strstr(names[i], ".clip")) {
            assert_int_equal(tr_file_read(path, 0, &bytes, NULL), TR_OK);
            uint64_t both[2] = {*hash, tr_hash(bytes.data, bytes.length)};
            *hash = tr_hash(both, sizeof both);
            bytes.data[bytes.length / 2] ^= 1;
            entries++;
            if (damage) {
                assert_int_equal(tr_file_write_atomic(path, bytes.data, bytes.length, NULL), TR_OK);
            }
        }
        tr_buffer_free(&bytes);
        free(path);
    }
    tr_names_free(names, count);
    assert_true(entries > 0);
}

static void test_damaged_cache_entries(void **state)
{
    (void)state;
    char more[700];
    uint64_t before, broken, after;
    damage_cache(scratch_path("cache"), true, &before);
    damage_cache(scratch_path("cache"), false, &broken);
    assert_true(before != broken);
    snprintf(more, sizeof more, "video.cache=%s", scratch_path("cache"));
    run_whole("cached", more);
    same_runs("whole", "cached");
    damage_cache(scratch_path("cache"), false, &after);
    assert_true(after == before); /* decoded and kept again */
}

/* A child of that process, 0: none. */
static pid_t child_of(pid_t parent)
{
    pid_t found = 0;
    DIR *proc = opendir("/proc");
    assert_non_null(proc);
    for (struct dirent *one; !found && (one = readdir(proc));) {
        char path[300], state;
        int id, above;
        snprintf(path, sizeof path, "/proc/%.20s/stat", one->d_name);
        FILE *file = atoi(one->d_name) > 0 ? fopen(path, "r") : NULL;
        if (file && fscanf(file, "%d (%*[^)]) %c %d", &id, &state, &above) == 3 && above == parent &&
            state != 'Z') {
            found = id;
        }
        if (file) {
            fclose(file);
        }
    }
    closedir(proc);
    return found;
}

static void test_decoders_that_are_killed(void **state)
{
    (void)state;
    int killed = 0, status = 0;
    pid_t pid = run_start("decoder", "video.cache_bytes=1"); /* no entry stays: every clip is decoded each time */
    while (run_lives(pid, &status)) {
        pid_t child = killed < 6 ? child_of(pid) : 0;
        killed += child && !kill(child, SIGKILL);
        pause_s(0.03);
    }
    if (status) {
        fail_msg("the run did not go on:\n%s", run_said("decoder"));
    }
    printf("%d decoders killed, %g rows left out\n", killed, last_number("decoder", "skipped_rows"));
    assert_true(killed > 0);
    assert_string_equal(checkpoints_of("decoder"), "step-21 step-24");
}

static void test_a_changed_start_is_told(void **state)
{
    (void)state;
    char more[2400], tokenizer[512], *again, *accepted;
    copy_of(run_corpus, scratch_path("corpus-new"));
    copy_of(run_model, scratch_path("model-new"));
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    snprintf(more, sizeof more, "data.0.rows=%s/test.jsonl data.0.videos=%s/videos model=%s train.steps=3",
             scratch_path("corpus-new"), scratch_path("corpus-new"), scratch_path("model-new"));
    again = tr_format("%s --resume", more);
    accepted = tr_format("%s --accept-changes", again);
    run_whole("changed", more);
    run_whole("changed", again);
    tiny_checkpoint(tokenizer, scratch_path("model-new"), 4, 0); /* the same sizes, other weights */
    program_expect(run_arguments("changed", again), 1, "",
                   "model (the start weights and the reference): model.safetensors: ");
    char *command =
        tr_format("head -n 1 '%s/test.jsonl' >'%s/one' && mv '%s/one' '%s/test.jsonl'", scratch_path("corpus-new"),
                  scratch_path("corpus-new"), scratch_path("corpus-new"), scratch_path("corpus-new"));
    assert_int_equal(system(command), 0);
    free(command);
    program_expect(run_arguments("changed", again), 1, "", "-> 1 rows in ");
    program_expect(run_arguments("changed", again), 1, "", "--accept-changes");
    program_expect(run_arguments("changed", accepted), 0, "", "as accepted");
    free(again);
    free(accepted);
}

static void test_the_best_is_kept(void **state)
{
    (void)state;
    char target[64], more[] = "train.keep_best=entropy train.keep=1";
    json_t *note;
    run_whole("best", more);
    ssize_t n = readlink(scratch_path("best/checkpoints/best"), target, sizeof target - 1);
    assert_true(n > 0);
    target[n] = 0;
    char *path = tr_format("%s/best/checkpoints/step-24/state.json", scratch_path("."));
    assert_int_equal(tr_json_read(path, &note, NULL), TR_OK);
    free(path);
    /* by hand: the mean entropy of each three steps */
    json_t *numbers = numbers_of("best");
    double best = -1;
    int64_t best_step = 0;
    for (int64_t step = SAVE_EVERY; step <= STEPS; step += SAVE_EVERY) {
        double sum = 0;
        for (int64_t i = step - SAVE_EVERY; i < step; i++) {
            sum += json_number_value(json_object_get(json_array_get(numbers, (size_t)i), "entropy"));
        }
        if (sum > best) {
            best = sum;
            best_step = step;
        }
    }
    json_decref(numbers);
    const json_t *kept = json_object_get(note, "best");
    assert_int_equal(json_integer_value(json_object_get(kept, "step")), best_step);
    assert_true(fabs(json_number_value(json_object_get(kept, "score")) - best / SAVE_EVERY) < 1e-12);
    path = tr_format("step-%lld", (long long)best_step);
    assert_string_equal(target, path);
    free(path);
    json_decref(note);
    assert_true(tr_file_exists(scratch_path("best/checkpoints/best/model.safetensors")));
    same_runs("whole", "best"); /* what is kept changes no number */
    program_expect(run_arguments("nobody", "train.keep_best=eval.loss"), 1, "", "train.eval_every is 0");
}

static void test_saving_by_minutes_and_without_a_copy(void **state)
{
    (void)state;
    run_whole("minutes", "train.save_every=0 train.save_minutes=0.0001 train.save_mode=wait");
    same_runs("whole", "minutes");
    assert_string_equal(checkpoints_of("minutes"), "step-23 step-24");
    run_whole("offload", "train.offload=[moments,reference]"); /* the copy is in a file too */
    same_runs("whole", "offload");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_room_for_checkpoints),
        cmocka_unit_test(test_no_room_for_the_next_checkpoint),
        cmocka_unit_test(test_no_room_for_the_logs),
        cmocka_unit_test(test_a_clip_that_is_deleted),
        cmocka_unit_test(test_damaged_cache_entries),
        cmocka_unit_test(test_decoders_that_are_killed),
        cmocka_unit_test(test_a_changed_start_is_told),
        cmocka_unit_test(test_the_best_is_kept),
        cmocka_unit_test(test_saving_by_minutes_and_without_a_copy),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
