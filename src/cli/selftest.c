/* selftest.c: `tempr1 selftest`: does this build do what it must on this machine? The list of checks, the small
 * ones, and the table. */
#include "cli/cli.h"
#include "cli/products.h"
#include "cli/selftest.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"
#include "model/model.h"
#include "task/reward.h"
#include "tensor/cuda/cuda.h"
#include "text/chat.h"
#include "text/train_bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int run(int argc, char **argv);

const tr_command tr_command_selftest = {
    .name = "selftest",
    .arguments = "[--dir DIR] [--cache DIR] [--model DIR] [--json]",
    .summary = "check this machine and this build",
    .text =
        "Runs quick checks and prints a table: every kernel variant that this CPU can run gives the committed "
        "checksum,\n"
        "on one thread and on all; a tiny model samples, trains, and is written and read again; a clip is encoded "
        "and\n"
        "decoded to its exact times; a hanging decoder is ended; the cache works; there is room on the disk. With\n"
        "--model the checkpoint's tensors, tokenizer and chat template are checked too. Exit status 1 when a "
        "check\n"
        "failed.\n\n"
        "  tempr1 selftest --model Qwen2.5-VL-3B-Instruct\n",
    .run = run,
};

/* ---- small checks ---- */

/* A CPU that cannot run the kernels is a fault of the machine: nothing else works there unasked. */
static tr_status check_cpu(tr_selftest *s, tr_error *err)
{
    const char *names[4];
    const tr_ops *ops;
    int count = tr_ops_cpu_variants(names);
    tr_status status = tr_ops_cpu(NULL, &ops, err);
    if (!status) {
        size_t used = (size_t)snprintf(s->detail, sizeof s->detail, "%s of", ops->name);
        for (int i = 0; i < count; i++) {
            used += (size_t)snprintf(s->detail + used, sizeof s->detail - used, " %s", names[i]);
        }
        snprintf(s->detail + used, sizeof s->detail - used, ", %d threads", tr_threads_count());
    }
    return status == TR_UNSUPPORTED ? TR_INVALID : status;
}

/* One addition as a decode step has it: collected, and from the second time on a recorded graph. */
static void try_graphs(const tr_ops *ops, void *a, void *b, char *said, size_t size)
{
    tr_cuda_graphs graphs;
    float first;
    for (int i = 0; i < 3; i++) {
        ops->memory->collect();
        ops->add(a, b, 64);
        ops->memory->read(&first, a, sizeof first);
    }
    tr_cuda_graphs_describe(&graphs);
    if (graphs.replayed) {
        snprintf(said, size, "%lld graph recorded and replayed %lld times", (long long)graphs.recorded,
                 (long long)graphs.replayed);
    } else {
        snprintf(said, size, "no graphs: %s", graphs.on ? graphs.why : "TEMPR1_CUDA_GRAPHS=0");
    }
}

/* Not there is no failure: the check is skipped and says what is missing. A GPU that is there must add. */
static tr_status check_cuda(tr_selftest *s, tr_error *err)
{
    tr_cuda_info info;
    const tr_ops *ops;
    float one[64], two[64];
    char graphs[200];
    void *a = NULL, *b = NULL;
    tr_cuda_describe(&info);
    if (info.missing) {
        return tr_fail(err, TR_UNSUPPORTED, NULL, "%s", info.missing);
    }
    for (int i = 0; i < 64; i++) {
        one[i] = (float)i;
    }
    tr_status status = tr_ops_cuda(0, TR_F32, &ops, err);
    TR_TRY(status);
    TR_TRY(ops->memory->take(&a, sizeof one, false, err));
    TR_TRY(ops->memory->take(&b, sizeof one, false, err));
    ops->memory->write(a, one, sizeof one);
    ops->memory->write(b, one, sizeof one);
    try_graphs(ops, a, b, graphs, sizeof graphs);
    ops->memory->read(two, a, sizeof two);
    TR_TRY(ops->memory->check(err));
    for (int i = 0; i < 64 && !status; i++) {
        if (!(two[i] == 4.0f * one[i])) {
            status = tr_fail(err, TR_MISMATCH, NULL, "%s adds three times %g to %g and has %g", info.name,
                             (double)one[i], (double)one[i], (double)two[i]);
        }
    }
    snprintf(s->detail, sizeof s->detail, "%s, %.1f GiB, driver %d.%d, cuBLASLt %s, %s; --device auto takes %s",
             info.name, (double)info.memory_bytes / 1073741824.0, info.driver / 1000, info.driver % 1000 / 10,
             info.products ? "found" : "not found: dtype bf16 needs it", graphs,
             tr_cuda_passed() ? "it" : "the CPU: make test-cuda has not passed here");
done:
    if (a) {
        ops->memory->give(b);
        ops->memory->give(a);
    }
    return status;
}

static tr_status check_memory(tr_selftest *s, tr_error *err)
{
    const double gib = 1073741824.0;
    double page = (double)sysconf(_SC_PAGESIZE);
    double all = (double)sysconf(_SC_PHYS_PAGES) * page, free_now = (double)sysconf(_SC_AVPHYS_PAGES) * page;
    if (all < gib) {
        return tr_fail(err, TR_MEMORY, NULL, "%.2f GiB of memory; expected at least 1", all / gib);
    }
    snprintf(s->detail, sizeof s->detail, "%.1f GiB, %.1f GiB of them unused", all / gib, free_now / gib);
    return TR_OK;
}

static tr_status check_disk(tr_selftest *s, tr_error *err)
{
    struct statvfs disk;
    static char block[1 << 22];
    char *path = tr_path_join(s->scratch, "disk");
    tr_status status = path ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    double start_s = tr_time_s();
    TR_TRY(status);
    TR_TRY(tr_file_write_atomic(path, block, sizeof block, err));
    double rate = (double)sizeof block / (tr_time_s() - start_s);
    if (statvfs(s->scratch, &disk)) {
        status = tr_fail(err, TR_IO, s->scratch, "the file system cannot be asked for its room");
        goto done;
    }
    double room = (double)disk.f_bavail * (double)disk.f_frsize / 1073741824.0;
    if (room < 0.25) {
        status = tr_fail(err, TR_IO, s->scratch, "%.2f GiB are free; even a small run needs a quarter", room);
        goto done;
    }
    snprintf(s->detail, sizeof s->detail, "%.1f GiB free, durable writes at %.0f MB/s", room, rate * 1e-6);
done:
    free(path);
    return status;
}

static tr_status check_text(tr_selftest *s, tr_error *err)
{
    static const char sample[] = "When does the red circle move? 2.5 to 7.25 \xe2\x80\x94 <|im_end|>";
    const char *texts[] = {"When does the red circle move? The blue square moves from 2.0 to 5.0 seconds."};
    const tr_train_bpe_options options = {.vocab_size = TR_TRAIN_SMALLEST + 16};
    char *dir = tr_path_join(s->scratch, "tokenizer");
    tr_tokenizer *tokenizer = NULL;
    tr_ids ids = {0};
    tr_buffer text = {0};
    tr_status status = dir ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    TR_TRY(status);
    TR_TRY(tr_train_bpe(texts, 1, &options, dir, err));
    TR_TRY(tr_tokenizer_load(dir, &tokenizer, err));
    TR_TRY(tr_tokenizer_encode(tokenizer, sample, sizeof sample - 1, false, &ids, err));
    TR_TRY(tr_tokenizer_decode(tokenizer, ids.data, ids.count, true, &text, err));
    if (strcmp(tr_buffer_text(&text), sample) != 0) {
        status = tr_fail(err, TR_MISMATCH, NULL, "\"%s\" came back as \"%s\"", sample, tr_buffer_text(&text));
        goto done;
    }
    snprintf(s->detail, sizeof s->detail, "%zu tokens to text and back", ids.count);
done:
    free(dir);
    tr_tokenizer_free(tokenizer);
    tr_ids_free(&ids);
    tr_buffer_free(&text);
    return status;
}

/* A response made from the truth earns the largest reward, in every scheme and task. */
static tr_status check_rewards(tr_selftest *s, tr_error *err)
{
    const tr_interval segment = {5, 20};
    const char *options[] = {"a dog", "a cat"};
    const tr_truth truth = {&segment, 1, "B", options, 2, 30, 2};
    tr_arena arena = {0};
    tr_buffer text = {0};
    int checked = 0;
    tr_status status = tr_arena_init(&arena, tr_reward_arena_bytes(1), err);
    for (const char *const *name = tr_scheme_names(); !status && *name; name++) {
        const tr_scheme *scheme;
        TR_TRY(tr_scheme_get(*name, &scheme, err));
        for (int t = 0; t < TR_TASK_COUNT; t++) {
            tr_reward reward;
            if (!scheme->tasks[t].defined) {
                continue;
            }
            tr_buffer_clear(&text);
            tr_arena_reset(&arena, 0);
            TR_TRY(tr_reward_target(scheme, (tr_task)t, &truth, "because", &text, err));
            TR_TRY(tr_reward_score(scheme, (tr_task)t, tr_buffer_text(&text), text.length, 0, &truth, &arena,
                                   &reward, err));
            double best = tr_reward_largest(scheme, (tr_task)t);
            if (!(reward.total > best - 1e-5)) { /* museg's has an epsilon in its denominators */
                status = tr_fail(err, TR_MISMATCH, *name, "the right answer to %s earns %.9g, expected %.9g",
                                 tr_task_name((tr_task)t), reward.total, best);
                goto done;
            }
            checked++;
        }
    }
    snprintf(s->detail, sizeof s->detail, "%d pairs of scheme and task give the right answer its reward", checked);
done:
    tr_arena_free(&arena);
    tr_buffer_free(&text);
    return status;
}

static tr_status check_model(tr_selftest *s, tr_error *err)
{
    tr_model_config c;
    tr_tokenizer *tokenizer = NULL;
    char *folder = NULL;
    tr_status status;
    if (!s->model) {
        return tr_fail(err, TR_UNSUPPORTED, NULL, "no --model given");
    }
    TR_TRY(tr_model_config_read(s->model, &c, err));
    TR_TRY(tr_model_check(s->model, false, err));
    TR_TRY(tr_lora_tokenizer(s->model, &folder, err));
    TR_TRY(tr_chat_check_template(folder, err));
    TR_TRY(tr_tokenizer_load(folder, &tokenizer, err));
    TR_TRY(tr_tokenizer_check_model(tokenizer, c.vocab, c.image_id, c.video_id, c.vision_start_id, c.vision_end_id,
                                    err));
    snprintf(s->detail, sizeof s->detail, "%s: tensors, tokenizer and template fit", s->model);
done:
    free(folder);
    tr_tokenizer_free(tokenizer);
    return status;
}

/* ---- the list ---- */

static const struct {
    const char *name;
    tr_status (*run)(tr_selftest *s, tr_error *err);
} checks[] = {
    {"cpu", check_cpu},
    {"cuda", check_cuda},
    {"products", tr_selftest_products},
    {"memory", check_memory},
    {"disk", check_disk},
    {"text", check_text},
    {"rewards", check_rewards},
    {"kernels", tr_selftest_kernels},
    {"rollout", tr_selftest_rollout},
    {"training", tr_selftest_training},
    {"checkpoint", tr_selftest_checkpoint},
    {"decoder", tr_selftest_decoder},
    {"decoder guard", tr_selftest_guard},
    {"cache", tr_selftest_cache},
    {"model", check_model},
};
enum { CHECKS = sizeof checks / sizeof *checks };

/* Runs one check; returns 1 when it failed. */
static int run_check(tr_selftest *s, int index, bool json, json_t *list)
{
    tr_error err = {0};
    s->detail[0] = 0;
    double start_s = tr_time_s();
    tr_status status = checks[index].run(s, &err);
    double seconds = tr_time_s() - start_s;
    const char *word = status == TR_OK ? "ok" : status == TR_UNSUPPORTED ? "skipped" : "FAILED";
    char detail[1600];
    snprintf(detail, sizeof detail, "%s%s%s", status ? err.where : "", status && err.where[0] ? ": " : "",
             status ? err.message : s->detail);
    if (json) {
        json_array_append_new(list, json_pack("{s:s, s:s, s:f, s:s}", "name", checks[index].name, "result",
                                              status && status != TR_UNSUPPORTED ? "failed" : word, "seconds",
                                              seconds, "detail", detail));
    } else {
        printf("%-14s %-8s %6.2f s  %s\n", checks[index].name, word, seconds, detail);
        fflush(stdout);
    }
    return status != TR_OK && status != TR_UNSUPPORTED;
}

static tr_status make_scratch(const char *dir, char **scratch, tr_error *err)
{
    tr_status status = tr_directory_make(dir, err);
    if (status) {
        return status;
    }
    *scratch = tr_format("%s/tempr1-selftest-XXXXXX", dir);
    if (!*scratch || !mkdtemp(*scratch)) {
        free(*scratch);
        *scratch = NULL;
        return tr_fail(err, TR_IO, dir,
                       "a folder for the checks cannot be made here; choose another one with --dir");
    }
    return TR_OK;
}

static int run(int argc, char **argv)
{
    const tr_command *self = &tr_command_selftest;
    const char *dir = ".", *cache = NULL, *model = NULL;
    bool json = false, passed = false;
    const tr_option options[] = {
        {"dir", TR_OPTION_TEXT, &dir, "DIR",
         "Where runs are to be written: its room is checked, files of the checks go into a folder below it and are "
         "removed. Default: here.",
         0, 0, false},
        {"cache", TR_OPTION_TEXT, &cache, "DIR", "The cache of clips to check. Default: one below --dir.", 0, 0,
         false},
        {"model", TR_OPTION_TEXT, &model, "DIR", "Also check this checkpoint.", 0, 0, false},
        {"gpu-tests-passed", TR_OPTION_FLAG, &passed, NULL,
         "Only notes that the GPU tests passed on this machine, so that --device auto takes the GPU; make "
         "test-cuda "
         "calls it.",
         0, 0, false},
        {"json", TR_OPTION_FLAG, &json, NULL, "Print one JSON object.", 0, 0, false},
        {0},
    };
    char **arguments;
    int count, failed = 0, exit_status = tr_cli_parse(self, options, argc, argv, 0, 0, &arguments, &count);
    if (exit_status >= 0) {
        return exit_status;
    }
    tr_error err = {0};
    if (passed) {
        return tr_cuda_mark_passed(&err) ? tr_cli_fail(self, &err) : TR_EXIT_DONE;
    }
    char *scratch = NULL, *own_cache = NULL;
    json_t *list = json_array();
    tr_status status = make_scratch(dir, &scratch, &err);
    TR_TRY(status);
    own_cache = tr_path_join(scratch, "cache");
    tr_selftest s = {.scratch = scratch, .cache = cache ? cache : own_cache, .model = model};
    for (int i = 0; i < CHECKS; i++) {
        failed += run_check(&s, i, json, list);
    }
    if (json) {
        json_t *out = json_pack("{s:b, s:s, s:i, s:O}", "ok", failed == 0, "version", TEMPR1_VERSION, "failed",
                                failed, "checks", list);
        status = tr_cli_print_json(out, &err);
        json_decref(out);
    }
    if (failed) {
        fprintf(stderr, "tempr1 selftest: %d of %d checks failed\n", failed, (int)CHECKS);
    }
done:
    if (scratch) {
        tr_directory_remove(scratch, NULL);
    }
    free(scratch);
    free(own_cache);
    json_decref(list);
    return status ? tr_cli_fail(self, &err) : failed ? TR_EXIT_FAILED : TR_EXIT_DONE;
}
