/* fuzz_answer.c: every template, parser and scheme on arbitrary bytes. Modules: task
 *
 * Beside crashes and sanitizer findings it checks what must always hold: finite rewards within the scheme's bounds,
 * interval counts within the limit, error places inside the response, the same reward twice. */
#include "task/reward.h"
#include "task/row.h"

#include <math.h>
#include <stdlib.h>

#define CHECK(x) ((x) ? (void)0 : abort())

static tr_arena arena;
static tr_interval list[TR_ANSWER_INTERVALS];

static void parsers(tr_span text)
{
    tr_answer_units odd = {.percent = true, .frames = true, .duration_s = 100, .fps = 2};
    for (int k = 0; k < 6; k++) {
        tr_answer answer = {.intervals = list};
        switch (k) {
        case 0:
            tr_answer_pairs(text, NULL, text.at, &answer);
            break;
        case 1:
            tr_answer_pairs(text, &odd, text.at, &answer);
            break;
        case 2:
            tr_answer_json(text, text.at, &answer);
            break;
        case 3:
            tr_answer_last_to(text, text.at, &answer);
            break;
        case 4:
            tr_answer_spaced(text, text.at, &answer);
            break;
        default:
            CHECK(tr_answer_glue(text, text.at, &answer) || (!answer.count && answer.error));
        }
        CHECK(answer.count <= TR_ANSWER_INTERVALS && answer.error_at <= (size_t)(text.end - text.at));
        CHECK(k == 5 || k == 4 || answer.count || answer.error);
    }
    tr_interval pair;
    if (tr_answer_compat_pair(text, &pair)) {
        CHECK(!(pair.start_s > pair.end_s));
    }
    static const char *const options[] = {"a red ball", "B", "three"};
    char option = tr_answer_option(text, options, 3);
    CHECK(!option || (option >= 'A' && option <= 'Z'));
    option = tr_answer_option_first(text);
    CHECK(!option || (option >= 'A' && option <= 'G'));
}

static void rewards(const char *data, size_t size)
{
    static const tr_interval segments[] = {{5, 20}, {18, 30}, {40.5, 41}};
    static const char *const options[] = {"a red ball", "B", "three"};
    for (const char *const *name = tr_scheme_names(); *name; name++) {
        const tr_scheme *scheme = tr_scheme_find(*name);
        for (int task = 0; task < TR_TASK_COUNT; task++) {
            tr_truth truth = {.segments = segments,
                              .count = task == TR_TASK_TG ? 1 : 3,
                              .answer = "C",
                              .options = options,
                              .option_count = 3,
                              .duration_s = 60};
            tr_reward once, twice;
            if (!scheme->tasks[task].defined) {
                continue;
            }
            tr_arena_reset(&arena, 0);
            CHECK(!tr_reward_score(scheme, (tr_task)task, data, size, size, &truth, &arena, &once, NULL));
            CHECK(isfinite(once.total) && once.total <= tr_reward_largest(scheme, (tr_task)task) + 1e-9);
            CHECK(once.total >= -3 && once.error_at <= size && once.parsed == !once.error);
            for (int p = 0; p < TR_PART_COUNT;
                 p++) { /* Time-R1's own formula can go below 0, far outside the clip */
                CHECK(once.parts[p] <= 1 + 1e-9 && (p == TR_PART_BOUNDARY_IOU || once.parts[p] >= -1));
            }
            tr_arena_reset(&arena, 0);
            CHECK(!tr_reward_score(scheme, (tr_task)task, data, size, size, &truth, &arena, &twice, NULL));
            CHECK(once.total == twice.total && once.answer.count == twice.answer.count);
        }
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const char empty[1];
    const char *bytes = size ? (const char *)data : empty;
    tr_span text = {bytes, bytes + size}, inside;
    if (!arena.block && tr_arena_init(&arena, tr_reward_arena_bytes(3), NULL)) {
        abort();
    }
    for (int kind = 0; kind <= TR_TEMPLATE_SPACED; kind++) {
        for (int think = 0; think < 3; think++) {
            tr_template_check check = {(tr_template)kind, (tr_think)think, think != 1, 0, SIZE_MAX};
            double kept = tr_answer_format(&check, text);
            CHECK(kept == 0 || kept == 1 || (kind == TR_TEMPLATE_SPACED && (kept == 0.2 || kept == 0.6)));
        }
    }
    for (int where = 0; where < 4; where++) {
        if (tr_answer_find((tr_where)where, text, &inside)) {
            CHECK(inside.at >= text.at && inside.at <= inside.end && inside.end <= text.end);
        }
    }
    parsers(text);
    rewards(bytes, size);
    return 0;
}
