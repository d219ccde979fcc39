/* bench.c: `tempr1 bench`: times the parts of a GRPO step on one group of given size. */
#include "cli/bench.h"

#include "base/thread.h"
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int run(int argc, char **argv);

const tr_command tr_command_bench = {
    .name = "bench",
    .arguments = "--model DIR --grid T,H,W --text N --group G --response R [options]",
    .summary = "time vision, prefill, decoding, log-probs, update and a whole GRPO step",
    .text = "One group on noise pixels: a video of T x H x W patches, N text tokens, G responses of exactly R tokens.\n"
            "Each phase is repeated and reported as median, minimum and maximum; peak memory is that of the phase.\n"
            "--cold starts the program anew each time and reports the seconds from its start to the model being\n"
            "loaded and to the end of the first forward (vision and prompt).\n"
            "\n"
            "  tempr1 bench --model CHECKPOINT --grid 16,16,24 --text 64 --group 8 --response 64 --json\n",
    .run = run};

static const char start_variable[] = "TEMPR1_BENCH_START"; /* set for the children of --cold: when they were started */

typedef struct settings {
    const char *model, *grid, *dtype, *isa, *phases, *recompute;
    bench_work work;
    bool cold, json;
} settings;

static double clock_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Prints an object as JSON, or its numbers one a line with their path. */
static void print_text(const json_t *value, const char *path)
{
    const char *key;
    json_t *member;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, key, member)
        {
            char below[256];
            snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", key);
            print_text(member, below);
        }
    } else if (json_is_number(value)) {
        printf("%-44s %.6g\n", path, json_number_value(value));
    } else if (json_is_string(value)) {
        printf("%-44s %s\n", path, json_string_value(value));
    }
}

static tr_status print_result(const settings *s, const json_t *result, tr_error *err)
{
    if (s->json) {
        return tr_cli_print_json(result, err);
    }
    print_text(result, "");
    return TR_OK;
}

static json_t *describe(const settings *s, const tr_model *model)
{
    const bench_work *w = &s->work;
    int64_t parameters = 0;
    for (int i = 0; i < model->params.count; i++) {
        parameters += model->params.items[i].out * model->params.items[i].in;
    }
    double load[3] = {0};
    if (getloadavg(load, 3) < 1) {
        load[0] = -1;
    }
    return json_pack("{s:s, s:[i, i, i], s:I, s:I, s:I, s:I, s:i, s:s, s:I, s:f}", "dtype",
                     model->dtype == TR_F32 ? "float32" : "bfloat16", "grid", w->grid[0], w->grid[1], w->grid[2], "text",
                     (json_int_t)w->text, "G", (json_int_t)w->group, "R", (json_int_t)w->response, "seed",
                     (json_int_t)w->seed, "threads", tr_threads_count(), "isa", model->ops->name, "parameters",
                     (json_int_t)parameters, "loadavg_before", load[0]);
}

static bool is_wanted(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = list; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, name, n) == 0 && (at[n] == ',' || !at[n])) {
            return true;
        }
    }
    return !list;
}

static tr_status run_phases(const settings *s, const tr_model_options *options, tr_error *err)
{
    bench b = {0};
    tr_model *model = NULL;
    json_t *result = NULL, *phases = json_object();
    tr_model_options load = *options;
    double start = clock_s();
    tr_status status;
    load.train = is_wanted(s->phases, "update") || is_wanted(s->phases, "step");
    TR_TRY(tr_model_load(s->model, &load, &model, err));
    result = describe(s, model);
    json_object_set_new(result, "load_seconds", json_real(clock_s() - start));
    TR_TRY(bench_open(&b, model, &s->work, load.train, err));
    for (int i = 0; bench_phases[i]; i++) {
        if (is_wanted(s->phases, bench_phases[i])) {
            json_t *figures;
            fprintf(stderr, "%s ...\n", bench_phases[i]);
            status = bench_phase(&b, bench_phases[i], &figures);
            json_object_set_new(phases, bench_phases[i], figures);
            if (status) {
                goto done;
            }
        }
    }
    json_object_set(result, "phases", phases);
    TR_TRY(print_result(s, result, err));
done:
    if (b.model) {
        bench_close(&b);
    } else {
        tr_model_free(model);
    }
    json_decref(phases);
    json_decref(result);
    return status;
}

/* ---- cold starts ---- */

/* The child: loads, runs the first forward, prints its times since the parent started it. */
static tr_status cold_child(const settings *s, const tr_model_options *options, double start, tr_error *err)
{
    bench b = {0};
    tr_model *model = NULL;
    json_t *times = NULL;
    tr_status status;
    TR_TRY(tr_model_load(s->model, options, &model, err));
    double loaded = clock_s() - start;
    bench_work work = s->work;
    TR_TRY(bench_open(&b, model, &work, false, err));
    double inputs = clock_s() - start;
    TR_TRY(bench_first_forward(&b));
    times = json_pack("{s:f, s:f, s:f, s:f}", "model_loaded", loaded, "inputs", inputs, "first_forward",
                      clock_s() - start, "peak_rss_gib", bench_peak_gib());
    TR_TRY(tr_cli_print_json(times, err));
done:
    json_decref(times);
    if (b.model) {
        bench_close(&b);
    } else {
        tr_model_free(model);
    }
    return status;
}

/* Starts this program again with the same arguments and reads the object it prints. */
static tr_status cold_start(char **argv, json_t **times, tr_error *err)
{
    int ends[2], wait_status = 0;
    char text[1024];
    size_t length = 0;
    ssize_t n;
    if (pipe(ends)) {
        return tr_fail(err, TR_IO, "bench", "cannot make a pipe");
    }
    char start[48];
    snprintf(start, sizeof start, "%.9f", clock_s());
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        setenv(start_variable, start, 1);
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    close(ends[1]);
    while (child > 0 && length < sizeof text - 1 && (n = read(ends[0], text + length, sizeof text - 1 - length)) > 0) {
        length += (size_t)n;
    }
    close(ends[0]);
    if (child < 0 || waitpid(child, &wait_status, 0) != child || !WIFEXITED(wait_status) || WEXITSTATUS(wait_status)) {
        return tr_fail(err, TR_CHILD, "bench --cold", "the program that was started did not end well");
    }
    return tr_json_parse(text, length, "bench --cold", 0, times, err);
}

static tr_status run_cold(const settings *s, int argc, char **argv, tr_error *err)
{
    static const char *const keys[] = {"model_loaded", "inputs", "first_forward", "peak_rss_gib"};
    double values[4][1000];
    json_t *result = json_pack("{s:s, s:s}", "phase", "cold", "dtype", strcmp(s->dtype, "bf16") ? "float32" : "bfloat16");
    char **again = calloc((size_t)argc + 2, sizeof *again), program[] = "tempr1";
    tr_status status = TR_OK;
    if (!again) {
        json_decref(result);
        return tr_fail(err, TR_MEMORY, "bench", "out of memory");
    }
    again[0] = program;
    memcpy(again + 1, argv, (size_t)argc * sizeof *again);
    for (int64_t i = 0; i < s->work.repeats; i++) {
        json_t *times = NULL;
        TR_TRY(cold_start(again, &times, err));
        for (int k = 0; k < 4; k++) {
            values[k][i] = json_number_value(json_object_get(times, keys[k]));
        }
        json_decref(times);
    }
    for (int k = 0; k < 4; k++) {
        json_object_set_new(result, keys[k], bench_summary(values[k], s->work.repeats));
    }
    TR_TRY(print_result(s, result, err));
done:
    free(again);
    json_decref(result);
    return status;
}

/* ---- the command ---- */

static int check(const settings *s, bench_work *work)
{
    char rest;
    if (sscanf(s->grid, "%" SCNd32 ",%" SCNd32 ",%" SCNd32 "%c", &work->grid[0], &work->grid[1], &work->grid[2], &rest) !=
            3 ||
        work->grid[0] < 1 || work->grid[1] < 2 || work->grid[2] < 2 || work->grid[1] % 2 || work->grid[2] % 2) {
        return tr_cli_usage(&tr_command_bench, "--grid %s: needs T,H,W in patches, H and W even", s->grid);
    }
    if (strcmp(s->dtype, "f32") != 0 && strcmp(s->dtype, "bf16") != 0) {
        return tr_cli_usage(&tr_command_bench, "--dtype %s: f32 or bf16", s->dtype);
    }
    if (strcmp(s->recompute, "none") != 0 && strcmp(s->recompute, "layer") != 0) {
        return tr_cli_usage(&tr_command_bench, "--recompute %s: none or layer", s->recompute);
    }
    work->recompute = strcmp(s->recompute, "none") == 0 ? TR_RECOMPUTE_NONE : TR_RECOMPUTE_LAYER;
    return -1;
}

static int run(int argc, char **argv)
{
    settings s = {.dtype = "f32", .recompute = "none", .work = {.text = 64, .group = 8, .response = 64, .repeats = 3,
                                                                .seed = 1}};
    char **positional, **copy = calloc((size_t)argc + 1, sizeof *copy);
    int count;
    const tr_option options[] = {
        {.name = "model", .kind = TR_OPTION_TEXT, .value = &s.model, .argument = "DIR", .help = "checkpoint directory",
         .required = true},
        {.name = "grid", .kind = TR_OPTION_TEXT, .value = &s.grid, .argument = "T,H,W",
         .help = "the video's grid in patches", .required = true},
        {.name = "text", .kind = TR_OPTION_INT, .value = &s.work.text, .argument = "N",
         .help = "text tokens of the prompt. Default: 64", .min = 4, .max = 1e6},
        {.name = "group", .kind = TR_OPTION_INT, .value = &s.work.group, .argument = "G",
         .help = "responses. Default: 8", .min = 1, .max = 4096},
        {.name = "response", .kind = TR_OPTION_INT, .value = &s.work.response, .argument = "R",
         .help = "tokens of each response. Default: 64", .min = 1, .max = 1e6},
        {.name = "dtype", .kind = TR_OPTION_TEXT, .value = &s.dtype, .argument = "TYPE",
         .help = "compute copies of the weights: f32 or bf16. Default: f32"},
        {.name = "isa", .kind = TR_OPTION_TEXT, .value = &s.isa, .argument = "NAME",
         .help = "kernels: scalar, avx2, avx512 or reference. Default: the widest of this machine"},
        {.name = "recompute", .kind = TR_OPTION_TEXT, .value = &s.recompute, .argument = "HOW",
         .help = "none keeps activations, layer computes each layer's again in the backward. Default: none"},
        {.name = "phases", .kind = TR_OPTION_TEXT, .value = &s.phases, .argument = "LIST",
         .help = "of vision,prefill,decode,logprob,update,step. Default: all"},
        {.name = "repeats", .kind = TR_OPTION_INT, .value = &s.work.repeats, .argument = "N",
         .help = "measurements of each phase. Default: 3", .min = 1, .max = 1000},
        {.name = "seed", .kind = TR_OPTION_INT, .value = &s.work.seed, .argument = "S",
         .help = "of pixels, ids and sampling. Default: 1", .min = 0, .max = 1e15},
        {.name = "cold", .kind = TR_OPTION_FLAG, .value = &s.cold, .help = "time cold starts instead of phases"},
        {.name = "json", .kind = TR_OPTION_FLAG, .value = &s.json, .help = "one JSON object on stdout"},
        {0}};
    if (!copy) {
        return TR_EXIT_FAILED;
    }
    memcpy(copy, argv, (size_t)argc * sizeof *copy); /* parsing moves arguments */
    int exit_status = tr_cli_parse(&tr_command_bench, options, argc, argv, 0, 0, &positional, &count);
    exit_status = exit_status >= 0 ? exit_status : check(&s, &s.work);
    if (exit_status < 0) {
        tr_error err = {0};
        tr_model_options load = {.dtype = strcmp(s.dtype, "f32") == 0 ? TR_F32 : TR_BF16, .isa = s.isa};
        const char *started = getenv(start_variable);
        tr_status status = s.cold && started ? cold_child(&s, &load, strtod(started, NULL), &err)
                           : s.cold          ? run_cold(&s, argc, copy, &err)
                                             : run_phases(&s, &load, &err);
        exit_status = status ? tr_cli_fail(&tr_command_bench, &err) : TR_EXIT_DONE;
    }
    free(copy);
    return exit_status;
}
