/* test_soak.c: a long run of the program on a tiny model: its memory stays flat, its checkpoints hold the training
 * for less than 5 % of its time, and resuming adds less than 2 %. TEMPR1_SOAK=1: 2,000 steps; else a few, which can
 * show a leak of memory but no fair shares of time. Lines that begin with SOAK are the table of tools/soak.sh. */
#include "cli/survive.h"

enum {
    FROM = 100,
    WINDOW = 20
}; /* memory is measured in so many steps from that one on: by then every buffer was used */

static int64_t resident_bytes(pid_t pid)
{
    char path[64], line[256];
    long long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmRSS: %lld kB", &kib) == 1) {
            break;
        }
    }
    if (f) {
        fclose(f);
    }
    return kib * 1024;
}

/* Sums of metrics.jsonl: seconds.total and seconds.save, and the peak of memory at a step. */
static void sums_of(const char *out, double *total_s, double *save_s, int64_t step, int64_t *peak)
{
    char path[700];
    tr_buffer line = {0};
    bool got;
    *total_s = *save_s = 0;
    *peak = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", scratch_path(out));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (!tr_file_read_line(f, 0, &line, &got, NULL) && got) {
        json_t *object;
        assert_int_equal(tr_json_parse(tr_buffer_text(&line), line.length, path, 0, &object, NULL), TR_OK);
        const json_t *seconds = json_object_get(object, "seconds");
        *total_s += json_number_value(json_object_get(seconds, "total"));
        *save_s += json_number_value(json_object_get(seconds, "save"));
        if (json_integer_value(json_object_get(object, "step")) == step) {
            *peak = json_integer_value(json_object_get(object, "peak_rss_bytes"));
        }
        json_decref(object);
    }
    fclose(f);
    tr_buffer_free(&line);
}

static void test_memory_is_flat_and_saves_are_short(void **state)
{
    (void)state;
    const int64_t steps = is_soak() ? 2000 : 160;
    char more[128];
    int status = 0;
    int64_t early = 0, late = 0, peak_early, peak_late, now;
    double total_s, save_s;
    snprintf(more, sizeof more, "train.steps=%lld train.save_every=50", (long long)steps);
    double start_s = tr_time_s();
    pid_t pid = run_start("long", more);
    await_steps("long", pid, FROM);
    while (run_lives(pid, &status)) {
        int64_t step = count_lines("long", "metrics.jsonl");
        now = resident_bytes(pid);
        if (now > 0 &&
            step <= FROM + WINDOW) { /* the least: not while a checkpoint is written or curves are drawn */
            early = early && early < now ? early : now;
        } else if (now > 0 && step >= steps - WINDOW && step < steps) {
            late = late && late < now ? late : now;
        }
        pause_s(step > FROM + WINDOW && step < steps - 2 * WINDOW ? 0.1 : 0.002);
    }
    double whole_s = tr_time_s() - start_s;
    if (status) {
        fail_msg("status %d:\n%s", status, run_said("long"));
    }
    sums_of("long", &total_s, &save_s, FROM, &peak_early);
    sums_of("long", &total_s, &save_s, steps, &peak_late);
    assert_int_equal(count_lines("long", "metrics.jsonl"), steps);
    const double growth = 100 * ((double)late / (double)early - 1), held = 100 * save_s / total_s;
    printf(
        "SOAK memory: resident %.2f MiB from step %d on, %.2f MiB at the end of %lld steps: %+.2f %% (limit 2)\n",
        (double)early / (1 << 20), FROM, (double)late / (1 << 20), (long long)steps, growth);
    printf("SOAK memory peak: %.2f MiB at step %d, %.2f MiB at step %lld\n", (double)peak_early / (1 << 20), FROM,
           (double)peak_late / (1 << 20), (long long)steps);
    printf("SOAK saves: %lld checkpoints held the training %.3f s of %.1f s: %.2f %% (limit 5)\n",
           (long long)(steps / 50), save_s, total_s, held);
    /* What resuming adds to a start: hashes of the start, reading the state, cutting the logs; the run says it. */
    char *again = tr_format("%s --resume", more);
    run_whole("long", again);
    free(again);
    const char *said = strstr(run_said("long"), "resumed from step ");
    assert_non_null(said);
    double resumed_s = strtod(strstr(said, " in ") + 4, NULL), added = 100 * resumed_s / whole_s;
    printf("SOAK resume: it adds %.3f s to a run of %.1f s: %.2f %% (limit 2)\n", resumed_s, whole_s, added);
    if (!is_sanitized()) { /* a sanitizer keeps what was freed */
        assert_true(early > 0 && late > 0 && growth < 2);
    }
    if (is_soak() && !is_sanitized()) {
        assert_true(held < 5);
        assert_true(added < 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory_is_flat_and_saves_are_short)};
    return cmocka_run_group_tests(tests, survive_make, NULL);
}
