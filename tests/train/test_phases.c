/* test_phases.c: a run that is killed with SIGKILL in the rollout or in the update of a step, and resumed, equals
 * one that was not. The run is this program started again ("--child"); its source of rows knows where a step
 * stands: after the last load comes the rollout, after the last score reference and update. A thread kills it some
 * way into that phase, whose length the steps before have shown. Also: a checkpoint that cannot be written once is
 * tried again. */
#include "memory_source.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROMPTS = 3, GROUP = 4, LAST = 8 };

#define SETTINGS(train)                                                                                            \
    "rollout: {group: 4, max_tokens: 5}\ngrpo: {prompts_per_step: 3}\n"                                            \
    "optim: {lr: 0.01, schedule: cosine, warmup_steps: 2}\n"                                                       \
    "train: {dtype: f32, steps: 8, save_every: 2, keep: 8" train "}\n"
static const char settings[] = SETTINGS("");

/* ---- the child ---- */

static const char *phase;        /* "rollout" or "update" */
static int64_t kill_step, score; /* scores of this step so far */
static double share, began_s, length_s;

static void *killer(void *unused)
{
    double end_s = tr_time_s() + share * length_s;
    (void)unused;
    while (tr_time_s() < end_s) {
    }
    kill(getpid(), SIGKILL);
    return NULL;
}

static void enter(int64_t step)
{
    pthread_t thread;
    began_s = tr_time_s();
    if (step == kill_step && pthread_create(&thread, NULL, killer, NULL)) {
        _exit(3);
    }
}

static void leave(int64_t step)
{
    if (step > 1 && began_s > 0) { /* the first step is slower */
        double took_s = tr_time_s() - began_s;
        length_s = length_s > 0 && length_s < took_s ? length_s : took_s;
    }
}

static void watch(const char *what, int64_t loads)
{
    const int64_t step = (loads + PROMPTS - 1) / PROMPTS;
    bool rollout = !strcmp(phase, "rollout");
    if (!strcmp(what, "load")) {
        score = 0;
        if (!rollout && loads % PROMPTS == 1) {
            leave(step - 1);
        } else if (rollout && loads % PROMPTS == 0) {
            enter(step);
        }
    } else {
        score++;
        if (rollout && score == 1) {
            leave(step);
        } else if (!rollout && score == PROMPTS * GROUP) {
            enter(step);
        }
    }
}

/* --child OUT MODEL PHASE STEP SHARE */
static int child(char **words)
{
    char text[2048];
    tr_config_set set;
    json_t *summary = NULL;
    tr_error err = {0};
    reset_rows();
    phase = words[2];
    kill_step = strtol(words[3], NULL, 10);
    share = strtod(words[4], NULL);
    rows_template.hook = watch;
    snprintf(text, sizeof text, "model: %s\nout: %s\ndata: [ {rows: r} ]\n%s", words[1], words[0], settings);
    tr_train_options options = {.quiet = true, .open_source = memory_open};
    if (tr_config_parse(text, strlen(text), "test.yaml", NULL, 0, &set, &err) ||
        tr_train_run(&set, &options, &summary, &err)) {
        fprintf(stderr, "%s: %s\n", err.where, err.message);
        return 1;
    }
    return 0;
}

/* ---- the parent ---- */

static void same(const char *a, const char *b, const char *name)
{
    char path[256];
    tr_buffer x = {0}, y = {0};
    snprintf(path, sizeof path, "%s/%s", a, name);
    assert_int_equal(tr_file_read(scratch_path(path), 0, &x, NULL), TR_OK);
    snprintf(path, sizeof path, "%s/%s", b, name);
    assert_int_equal(tr_file_read(scratch_path(path), 0, &y, NULL), TR_OK);
    assert_int_equal(x.length, y.length);
    assert_memory_equal(x.data, y.data, x.length);
    tr_buffer_free(&x);
    tr_buffer_free(&y);
}

static void kill_in(const char *name, int64_t step, double at)
{
    char out[64], folder[600], model[600], number[32], fraction[32];
    tr_error err;
    int status = 0;
    snprintf(out, sizeof out, "%s-%d-%d", name, (int)step, (int)(100 * at));
    snprintf(folder, sizeof folder, "%s", scratch_path(out));
    snprintf(model, sizeof model, "%s", tiny_model());
    snprintf(number, sizeof number, "%d", (int)step);
    snprintf(fraction, sizeof fraction, "%g", at);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        execl("/proc/self/exe", "test_phases", "--child", folder, model, name, number, fraction, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    json_t *before = metrics_of(out, "metrics.jsonl");
    printf("killed in %s of step %d at %g of it: %zu steps logged\n", name, (int)step, at, json_array_size(before));
    if (at <= 0.5) { /* later, a phase that is quicker than before may be over */
        assert_int_equal(json_array_size(before), step - 1);
    }
    json_decref(before);
    reset_rows();
    assert_int_equal(run(out, settings, true, false, &err), TR_OK);
    same("whole", out, "rollouts.jsonl");
    same("whole", out, "checkpoints/step-8/model.safetensors");
    same("whole", out, "checkpoints/step-8/state.safetensors");
    json_t *x = metrics_of("whole", "metrics.jsonl"), *y = metrics_of(out, "metrics.jsonl");
    static const char *const measured[] = {"seconds", "tokens_per_second", "peak_rss_bytes"};
    assert_int_equal(json_array_size(x), json_array_size(y));
    for (size_t i = 0; i < json_array_size(x); i++) {
        for (size_t k = 0; k < 3; k++) {
            json_object_del(json_array_get(x, i), measured[k]);
            json_object_del(json_array_get(y, i), measured[k]);
        }
        assert_true(json_equal(json_array_get(x, i), json_array_get(y, i)));
    }
    json_decref(x);
    json_decref(y);
}

static void test_killed_in_each_phase(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    assert_int_equal(run("whole", settings, false, false, &err), TR_OK);
    kill_in("rollout", 4, 0.3); /* of these tiny steps the checkpoint before may not be whole yet */
    kill_in("rollout", 5, 0.8);
    kill_in("update", 4, 0.1); /* reference and forward */
    kill_in("update", 6, 0.5);
    kill_in("update", 7, 0.9); /* backward, optimiser */
}

/* ---- a disk that is full for a moment ---- */

static char obstacle[600];

static void clear_the_way(const char *what, int64_t loads)
{
    if (!strcmp(what, "load") && loads == 3 * PROMPTS) { /* in step 3 */
        unlink(obstacle);
    }
}

static void test_a_checkpoint_that_fails_once_is_tried_again(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    assert_int_equal(tr_directory_make(scratch_path("once"), NULL), TR_OK);
    snprintf(obstacle, sizeof obstacle, "%s", scratch_path("once/checkpoints"));
    assert_int_equal(tr_file_write_atomic(obstacle, "x", 1, NULL), TR_OK); /* a file where the folder must be */
    rows_template.hook = clear_the_way;
    /* written while the step waits: beside the training it might come after the way is clear */
    assert_int_equal(run("once", SETTINGS(", save_mode: wait"), true, false, &err), TR_OK);
    assert_false(tr_directory_exists(scratch_path("once/checkpoints/step-2")));
    assert_true(tr_directory_exists(scratch_path("once/checkpoints/step-4")));
    same("whole", "once", "checkpoints/step-8/state.safetensors");
    /* and one that never goes away ends the run after three tries, the last of them at the end */
    reset_rows();
    assert_int_equal(tr_directory_make(scratch_path("never"), NULL), TR_OK);
    assert_int_equal(tr_file_write_atomic(scratch_path("never/checkpoints"), "x", 1, NULL), TR_OK);
    assert_int_equal(run("never", settings, true, false, &err), TR_IO);
    assert_non_null(strstr(err.message, "3 checkpoints in a row"));
}

int main(int argc, char **argv)
{
    if (argc == 7 && !strcmp(argv[1], "--child")) {
        return child(argv + 2);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_in_each_phase),
        cmocka_unit_test(test_a_checkpoint_that_fails_once_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
