/* reward_speed.c: rewards per second on one core, in process.
 *
 *   reward_speed [ROWS.jsonl [PEER.json]] [--repeats N]
 *
 * Without files: answers of up to 100 bytes for every task of tempr1 and tg of temporal-r1 (reading excluded, one
 * thread). ROWS are what reward_python.py --dump writes; they are scored by the same three rewards (temporal-r1 tg,
 * tempr1 vhd, tempr1 tal), the sum is checked against the peer's mean where PEER (its --json output) is given, and
 * the ratio of the medians is printed. Modules: task */
#include "base/file.h"
#include "base/random.h"
#include "task/row.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REPEATS = 101 };

typedef struct item {
    char *response;
    size_t length;
    tr_truth truth;
    tr_interval segments[8];
} item;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median rewards per second over the repeats; *mean gets the mean reward. */
static double measure(const tr_scheme *scheme, tr_task task, const item *items, size_t count, int repeats,
                      double *mean)
{
    double rates[MAX_REPEATS], sum = 0;
    tr_arena arena;
    tr_reward reward;
    if (tr_arena_init(&arena, tr_reward_arena_bytes(8), NULL)) {
        exit(1);
    }
    for (int r = 0; r < repeats; r++) {
        double start = tr_time_s();
        sum = 0;
        for (size_t i = 0; i < count; i++) {
            tr_arena_reset(&arena, 0);
            if (tr_reward_score(scheme, task, items[i].response, items[i].length, 0, &items[i].truth, &arena,
                                &reward, NULL)) {
                exit(1);
            }
            sum += reward.total;
        }
        rates[r] = (double)count / (tr_time_s() - start);
    }
    tr_arena_free(&arena);
    qsort(rates, (size_t)repeats, sizeof *rates, ascending);
    *mean = sum / (double)count;
    return rates[repeats / 2];
}

static void make(item *it, tr_task task, int json, uint32_t i)
{
    size_t n = task == TR_TASK_TG || task == TR_TASK_GVQA ? 1 : task == TR_TASK_QA ? 0 : 3;
    char text[256] = "";
    size_t used = 0;
    for (size_t k = 0; k < n; k++) {
        double from = 30.0 * (double)k + 20 * tr_random_uniform(1, i, (uint32_t)k, 0, 0);
        double to = from + 1 + 8 * tr_random_uniform(1, i, (uint32_t)k, 1, 0);
        double off = 4 * tr_random_uniform(1, i, (uint32_t)k, 2, 0);
        it->segments[k] = (tr_interval){from, to};
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 json                   ? "<think>so</think> <answer>{\"start_time\": \"%.2f\", "
                                                          "\"end_time\": \"%.2f\"}</answer>"
                                 : task == TR_TASK_GVQA ? "<answer>B</answer> <glue>[(%.2f, %.2f)]</glue>"
                                 : k == 0 && task != TR_TASK_TG ? "<answer>%.2f to %.2f"
                                 : task == TR_TASK_TG ? "<think>it is here</think><answer>%.2f to %.2f</answer>"
                                                      : ", %.2f to %.2f",
                                 from + off, to + off);
    }
    if (task == TR_TASK_QA) {
        snprintf(text, sizeof text, "<think>it is blue</think><answer>%c</answer>", "AB"[i % 2]);
    } else if (n > 1) {
        strcat(text, "</answer>");
    }
    static const char *const options[] = {"red", "blue"};
    it->response = strdup(text);
    it->length = strlen(text);
    it->truth = (tr_truth){.segments = it->segments,
                           .count = n,
                           .answer = "B",
                           .options = options,
                           .option_count = 2,
                           .duration_s = 120};
}

static void bench_short(int repeats)
{
    enum { COUNT = 10000 };
    item *items = calloc(COUNT, sizeof *items);
    for (int k = 0; items && k <= TR_TASK_COUNT; k++) {
        tr_task task = k == TR_TASK_COUNT ? TR_TASK_TG : (tr_task)k;
        const char *name = k == TR_TASK_COUNT ? "temporal-r1" : "tempr1";
        double mean, bytes = 0;
        for (uint32_t i = 0; i < COUNT; i++) {
            make(&items[i], task, k == TR_TASK_COUNT, i);
            bytes += (double)items[i].length / COUNT;
        }
        double rate = measure(tr_scheme_find(name), task, items, COUNT, repeats, &mean);
        printf("%-12s %-5s %8.3f million rewards/s/core   (%.0f bytes, mean reward %.4f)\n", name,
               tr_task_name(task), rate / 1e6, bytes, mean);
        for (uint32_t i = 0; i < COUNT; i++) {
            free(items[i].response);
        }
    }
    free(items);
}

/* The rows of one kind, their strings owned by the items. */
static size_t load(const char *path, const char *kind, item *items, size_t limit)
{
    FILE *stream = fopen(path, "r");
    tr_buffer line = {0};
    tr_error err = {0};
    size_t count = 0;
    for (bool got = stream != NULL; got && count < limit;) {
        json_t *row = NULL;
        if (tr_file_read_line(stream, 0, &line, &got, &err) || !got ||
            tr_json_parse(line.data, line.length, path, 0, &row, &err)) {
            break;
        }
        const json_t *segments = json_object_get(row, "segments"), *text = json_object_get(row, "response");
        if (!strcmp(json_string_value(json_object_get(row, "kind")), kind)) {
            item *it = &items[count++];
            it->response = strdup(json_string_value(text));
            it->length = json_string_length(text);
            it->truth = (tr_truth){.segments = it->segments,
                                   .count = json_array_size(segments),
                                   .duration_s = json_number_value(json_object_get(row, "duration"))};
            for (size_t k = 0; k < it->truth.count && k < 8; k++) {
                const json_t *pair = json_array_get(segments, k);
                it->segments[k] = (tr_interval){json_number_value(json_array_get(pair, 0)),
                                                json_number_value(json_array_get(pair, 1))};
            }
        }
        json_decref(row);
    }
    tr_buffer_free(&line);
    if (stream) {
        fclose(stream);
    }
    return count;
}

static int bench_rows(const char *path, const char *peer_path, int repeats)
{
    enum { LIMIT = 200000 };
    static const struct {
        const char *kind, *scheme;
        tr_task task;
    } kinds[] = {{"temporal_r1", "temporal-r1", TR_TASK_TG},
                 {"union_iou", "tempr1", TR_TASK_VHD},
                 {"dp_f1_count", "tempr1", TR_TASK_TAL}};
    json_t *peer = NULL;
    item *items = calloc(LIMIT, sizeof *items);
    tr_error err = {0};
    if (!items || (peer_path && tr_json_read(peer_path, &peer, &err))) {
        fprintf(stderr, "reward_speed: %s\n", err.message);
        return 1;
    }
    for (size_t k = 0; k < 3; k++) {
        size_t count = load(path, kinds[k].kind, items, LIMIT);
        tr_scheme scheme = *tr_scheme_find(kinds[k].scheme);
        double mean;
        tr_scheme_set_think(&scheme, TR_THINK_REQUIRED); /* as the peer's expressions ask */
        if (!count) {
            fprintf(stderr, "reward_speed: %s holds no rows of kind %s\n", path, kinds[k].kind);
            return 1;
        }
        double rate = measure(&scheme, kinds[k].task, items, count, repeats, &mean);
        const json_t *theirs = json_object_get(json_object_get(peer, "rewards"), kinds[k].kind);
        printf("%-12s %8.3f million rewards/s/core, mean %.12f", kinds[k].kind, rate / 1e6, mean);
        if (theirs) {
            double other = json_number_value(json_object_get(theirs, "rewards_per_s"));
            double other_mean = json_number_value(json_object_get(theirs, "mean_reward"));
            printf("; Python %.0f/s, ratio %.0fx, difference of the means %.2g", other, rate / other,
                   fabs(mean - other_mean));
        }
        printf("\n");
        for (size_t i = 0; i < count; i++) {
            free(items[i].response);
        }
    }
    free(items);
    json_decref(peer);
    return 0;
}

int main(int argc, char **argv)
{
    const char *files[2] = {NULL, NULL};
    int repeats = 9, used = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--repeats") && i + 1 < argc) {
            repeats = atoi(argv[++i]);
        } else if (used < 2) {
            files[used++] = argv[i];
        }
    }
    repeats = repeats < 1 ? 1 : repeats > MAX_REPEATS ? MAX_REPEATS : repeats;
    if (files[0]) {
        return bench_rows(files[0], files[1], repeats);
    }
    bench_short(repeats);
    return 0;
}
