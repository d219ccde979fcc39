/* survive.h: training runs of the real program on synthetic clips, as child processes that can be killed, and the
 * comparison of two runs' files. */
#ifndef TR_TESTS_CLI_SURVIVE_H
#define TR_TESTS_CLI_SURVIVE_H

#include "cli/program.h"
#include "support/tiny.h"

#include "base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#ifndef SURVIVE_STEPS
#define SURVIVE_STEPS 24
#endif
enum { STEPS = SURVIVE_STEPS, SAVE_EVERY = 3 };

static char run_model[512], run_corpus[512];
static char run_config[512];
static const char *run_program = TEMPR1_PROGRAM;

/* `soak`: the long form of a test was asked for. */
static inline bool is_soak(void)
{
    const char *asked = getenv("TEMPR1_SOAK");
    return asked && asked[0] && strcmp(asked, "0");
}

static inline bool is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return true;
#else
    return false;
#endif
}

/* Model, clips and configuration below the scratch folder. Every number of the model is trained. */
static inline int survive_make(void **state)
{
    (void)state;
    char text[2048], tokenizer[512];
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    snprintf(run_model, sizeof run_model, "%s", scratch_path("model"));
    snprintf(run_corpus, sizeof run_corpus, "%s", scratch_path("corpus"));
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, run_model, 3, 0);
    tiny_corpus(run_corpus, "tg,qa", 4);
    snprintf(text, sizeof text,
             "model: %s\nout: unset\ndata: [ {rows: %s/test.jsonl, videos: %s/videos, prompt: no-think} ]\n"
             "video: {fps: 2, min_frames: 2, max_frames: 4, total_pixels: 12544, min_pixels: 784}\n"
             "eval: [ {rows: %s/test.jsonl, videos: %s/videos, prompt: no-think} ]\n"
             "rollout: {group: 4, max_tokens: 8}\n" /* random weights earn nothing: the entropy bonus moves them */
             "grpo: {prompts_per_step: 2, entropy: 0.1}\n"
             "optim: {lr: 0.01, schedule: cosine, warmup_steps: 2}\n"
             "train: {dtype: f32, steps: %d, save_every: %d, keep: 2}\n",
             run_model, run_corpus, run_corpus, run_corpus, run_corpus, STEPS, SAVE_EVERY);
    snprintf(run_config, sizeof run_config, "%s", program_file("run.yaml", text));
    return 0;
}

/* Arguments of a run into scratch folder `out` with a cache of its own; more: further words. */
static inline char *run_arguments(const char *out, const char *more)
{
    return tr_format("train %s out=%s %s", run_config, scratch_path(out), more);
}

/* Starts the program without a shell between, so that a signal reaches it. Its stderr goes to OUT.err. */
static inline pid_t run_start(const char *out, const char *more)
{
    char *line = run_arguments(out, more), *words[32] = {(char *)(uintptr_t)run_program}, *rest = line;
    char errors[600];
    size_t count = 1;
    for (char *word; (word = strsep(&rest, " ")) && count < 31;) {
        if (word[0]) {
            words[count++] = word;
        }
    }
    snprintf(errors, sizeof errors, "%s.err", scratch_path(out));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        int file = open(errors, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        dup2(file, 2);
        dup2(file, 1);
        execv(words[0], words);
        _exit(127);
    }
    free(line);
    return pid;
}

/* What the run said, for messages; valid until the next call. */
static inline const char *run_said(const char *out)
{
    static tr_buffer text;
    char path[600];
    snprintf(path, sizeof path, "%s.err", scratch_path(out));
    tr_buffer_clear(&text);
    tr_file_read(path, 0, &text, NULL);
    return tr_buffer_text(&text);
}

/* Waits for its end: the exit status, or 128 + signal. */
static inline int run_wait(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
        assert_int_equal(errno, EINTR);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Whether it still works; its end is then in *status (not waited for again). */
static inline bool run_lives(pid_t pid, int *status)
{
    pid_t got = waitpid(pid, status, WNOHANG);
    return got == 0;
}

static inline void run_whole(const char *out, const char *more)
{
    int status = run_wait(run_start(out, more));
    if (status) {
        fail_msg("%s: status %d\n%s", out, status, run_said(out));
    }
}

static inline void pause_s(double seconds)
{
    usleep((useconds_t)(seconds * 1e6));
}

/* Lines of a run's log so far. */
static inline int64_t count_lines(const char *out, const char *name)
{
    char path[700];
    tr_buffer text = {0};
    int64_t lines = 0;
    snprintf(path, sizeof path, "%s/%s", scratch_path(out), name);
    if (!tr_file_read(path, 0, &text, NULL)) {
        for (size_t i = 0; i < text.length; i++) {
            lines += text.data[i] == '\n';
        }
    }
    tr_buffer_free(&text);
    return lines;
}

/* Waits until the run has logged so many steps (or has ended). */
static inline void await_steps(const char *out, pid_t pid, int64_t steps)
{
    int status;
    while (count_lines(out, "metrics.jsonl") < steps) {
        if (!run_lives(pid, &status)) {
            fail_msg("%s ended before its step %lld:\n%s", out, (long long)steps, run_said(out));
        }
        pause_s(0.002);
    }
}

static inline void same_file(const char *a, const char *b, const char *name)
{
    char first[700], second[700];
    tr_buffer x = {0}, y = {0};
    snprintf(first, sizeof first, "%s/%s", scratch_path(a), name);
    snprintf(second, sizeof second, "%s/%s", scratch_path(b), name);
    assert_int_equal(tr_file_read(first, 0, &x, NULL), TR_OK);
    assert_int_equal(tr_file_read(second, 0, &y, NULL), TR_OK);
    if (x.length != y.length || memcmp(x.data, y.data, x.length)) {
        fail_msg("%s of %s (%zu bytes) and of %s (%zu bytes) differ", name, a, x.length, b, y.length);
    }
    tr_buffer_free(&x);
    tr_buffer_free(&y);
}

/* metrics.jsonl as a list without what clocks and the system measure. */
static inline json_t *numbers_of(const char *out)
{
    static const char *const measured[] = {"seconds", "tokens_per_second", "peak_rss_bytes"};
    char path[700];
    tr_buffer line = {0};
    json_t *list = json_array();
    bool got;
    snprintf(path, sizeof path, "%s/metrics.jsonl", scratch_path(out));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (!tr_file_read_line(f, 0, &line, &got, NULL) && got) {
        json_t *object;
        assert_int_equal(tr_json_parse(tr_buffer_text(&line), line.length, path, 0, &object, NULL), TR_OK);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(json_object_del(object, measured[i]), 0);
        }
        json_array_append_new(list, object);
    }
    fclose(f);
    tr_buffer_free(&line);
    return list;
}

static inline void same_metrics(const char *a, const char *b)
{
    json_t *x = numbers_of(a), *y = numbers_of(b);
    assert_int_equal(json_array_size(x), json_array_size(y));
    for (size_t i = 0; i < json_array_size(x); i++) {
        if (!json_equal(json_array_get(x, i), json_array_get(y, i))) {
            fail_msg("%s and %s: the numbers of line %zu differ:\n%s\n%s", a, b, i + 1,
                     json_dumps(json_array_get(x, i), JSON_SORT_KEYS),
                     json_dumps(json_array_get(y, i), JSON_SORT_KEYS));
        }
    }
    json_decref(x);
    json_decref(y);
}

/* The last number of that name in a run's metrics. */
static inline double last_number(const char *out, const char *key)
{
    json_t *numbers = numbers_of(out);
    double value = json_number_value(json_object_get(json_array_get(numbers, json_array_size(numbers) - 1), key));
    assert_int_equal(json_array_size(numbers), STEPS);
    json_decref(numbers);
    return value;
}

/* Weights, moments, metrics and rollouts of two finished runs. */
static inline void same_runs(const char *a, const char *b)
{
    char name[96], path[700];
    assert_true(last_number(a, "grad_norm") > 0); /* there was something to lose */
    same_metrics(a, b);
    snprintf(path, sizeof path, "%s/rollouts.jsonl", scratch_path(a));
    if (tr_file_exists(path)) {
        same_file(a, b, "rollouts.jsonl");
    }
    snprintf(name, sizeof name, "checkpoints/step-%d/model.safetensors", STEPS);
    snprintf(path, sizeof path, "%s/%s", scratch_path(a), name);
    if (!tr_file_exists(path)) {
        snprintf(name, sizeof name, "checkpoints/step-%d/adapter_model.safetensors", STEPS);
    }
    same_file(a, b, name);
    snprintf(name, sizeof name, "checkpoints/step-%d/state.safetensors", STEPS);
    same_file(a, b, name);
}

#endif
