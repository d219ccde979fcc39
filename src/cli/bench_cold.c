/* bench_cold.c: `tempr1 bench --cold`: from process start to model loaded and to the first forward, in child
 * processes.
 */
#include "cli/bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double wall_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The child: times count from the moment its parent started it (--cold-child, in microseconds of the wall clock).
 */
tr_status tr_bench_cold_child(const tr_bench_request *r, json_t *out, tr_error *err)
{
    tr_bench_work w = {.r = r};
    double start = (double)r->child * 1e-6;
    tr_status status;
    TR_TRY(tr_bench_load(&w, false, err));
    json_object_set_new(out, "model_loaded", json_real(wall_s() - start));
    TR_TRY(tr_bench_make_inputs(&w, err));
    json_object_set_new(out, "inputs", json_real(wall_s() - start));
    tr_network_limits limits = tr_bench_limits_of(&w, false, 1);
    limits.decode_rows = 1; /* one prompt, no responses */
    limits.decode_tokens = 1;
    limits.responses = limits.response_tokens = 0;
    TR_TRY(tr_network_create(w.model, &limits, &w.network, err));
    TR_TRY(tr_bench_vision(&w, w.network, false, err));
    tr_group prompt = tr_bench_prompt_of(&w);
    TR_TRY(tr_network_prefill(w.network, 0, &prompt, w.logits, err));
    json_object_set_new(out, "first_forward", json_real(wall_s() - start));
    json_object_set_new(out, "peak_rss_gib", json_real(tr_bench_peak_gib()));
done:
    tr_bench_free(&w);
    return status;
}

/* Starts this program again and reads the one line of JSON that it prints. */
static tr_status run_child(const tr_bench_request *r, json_t **out, tr_error *err)
{
    char text[32], response[32], group[32], seed[32], started[32], line[1024];
    int ends[2], code = 0;
    snprintf(text, sizeof text, "%lld", (long long)r->text);
    snprintf(response, sizeof response, "%lld", (long long)r->response);
    snprintf(group, sizeof group, "%lld", (long long)r->group);
    snprintf(seed, sizeof seed, "%lld", (long long)r->seed);
    if (pipe(ends)) {
        return tr_fail(err, TR_IO, "pipe", "%s", strerror(errno));
    }
    snprintf(started, sizeof started, "%.0f", wall_s() * 1e6);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execl("/proc/self/exe", "tempr1", "bench", "--model", r->model, "--grid", r->grid, "--text", text,
              "--group", group, "--response", response, "--seed", seed, "--dtype", r->dtype, "--cold-child",
              started, "--device", r->device ? r->device : "auto", r->isa ? "--isa" : (char *)NULL, r->isa,
              (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *in = child > 0 ? fdopen(ends[0], "r") : NULL;
    bool got = in && fgets(line, sizeof line, in);
    if (in) {
        fclose(in);
    } else {
        close(ends[0]);
    }
    if (child > 0) {
        while (waitpid(child, &code, 0) < 0 && errno == EINTR) {
        }
    }
    if (child < 0 || code || !got) {
        return tr_fail(err, TR_CHILD, "--cold", "the child process that loads the model failed");
    }
    return tr_json_parse(line, strlen(line), "the child's result", 0, out, err);
}

tr_status tr_bench_cold(const tr_bench_request *r, json_t *out, tr_error *err)
{
    static const char *const names[] = {"model_loaded", "inputs", "first_forward", "peak_rss_gib"};
    static tr_bench_times t[4];
    tr_status status = TR_OK;
    memset(t, 0, sizeof t);
    for (int64_t i = 0; i < r->repeats; i++) {
        json_t *row = NULL;
        TR_TRY(run_child(r, &row, err));
        for (size_t k = 0; k < 4; k++) {
            tr_bench_note(&t[k], json_number_value(json_object_get(row, names[k])));
        }
        json_decref(row);
    }
    json_object_set_new(out, "phase", json_string("cold"));
    for (size_t k = 0; k < 4; k++) {
        json_object_set_new(out, names[k], tr_bench_summary(&t[k]));
    }
done:
    return status;
}
