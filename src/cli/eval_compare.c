/* eval_compare.c: `tempr1 eval compare`: two results side by side. */
#include "cli/cli.h"

#include "base/file.h"
#include "eval/compare.h"
#include "eval/protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run(int argc, char **argv);

const tr_command tr_command_eval_compare = {
    .name = "eval compare",
    .arguments = "A B [--svg FILE] [--json]",
    .summary = "set two results of eval side by side, row by row",
    .text =
        "A and B are folders written by `tempr1 eval`. Prints every metric of every task on the rows that stand in "
        "both: the\n"
        "mean of A, of B, and B - A with its paired 95 % bootstrap interval; \"differs\" where 0 lies outside, so "
        "that the\n"
        "difference is more than chance on these rows. Differences of the two protocols are printed first: numbers "
        "of other\n"
        "prompts, budgets or readers of answers are not the same measurement. Rows that stand in one result only "
        "are counted\n"
        "and named; results without a common row, and rows whose content differs, are refused.\n\n"
        "  tempr1 eval compare results/sft results/grpo --svg grpo.svg\n",
    .run = run,
};

static void print_one(const char *name, const json_t *one)
{
    const json_t *interval = json_object_get(one, "interval");
    printf("  %-24s A %.4f  B %.4f  B - A %+.4f [%+.4f, %+.4f]%s\n", name,
           json_number_value(json_object_get(one, "a")), json_number_value(json_object_get(one, "b")),
           json_number_value(json_object_get(one, "difference")), json_number_value(json_array_get(interval, 0)),
           json_number_value(json_array_get(interval, 1)),
           json_is_true(json_object_get(one, "differs")) ? "  differs" : "");
}

static void print_all(const json_t *task, const char *member, const char *before)
{
    const char *key;
    json_t *one;
    char name[100];
    json_object_foreach(json_object_get(task, member), key, one)
    {
        snprintf(name, sizeof name, "%s%s", before, key);
        print_one(name, one);
    }
}

static void print_names(const json_t *rows, const char *member, const char *which)
{
    const json_t *list = json_object_get(rows, member);
    size_t i;
    json_t *id;
    if (!json_array_size(list)) {
        return;
    }
    fprintf(stderr, "only in %s:", which);
    json_array_foreach((json_t *)(uintptr_t)list, i, id)
    {
        fprintf(stderr, " %s", json_string_value(id));
    }
    fprintf(stderr, "%s\n", json_array_size(list) >= 10 ? " ..." : "");
}

/* What limits the comparison, on stderr, so that it is seen with --json too. */
static tr_status print_limits(const json_t *report, tr_error *err)
{
    const json_t *rows = json_object_get(report, "rows"), *protocol = json_object_get(report, "protocol");
    json_int_t common = json_integer_value(json_object_get(rows, "common"));
    json_int_t a = json_integer_value(json_object_get(rows, "a")),
               b = json_integer_value(json_object_get(rows, "b"));
    json_int_t unanswered = json_integer_value(json_object_get(rows, "unanswered"));
    tr_buffer text = {0};
    tr_status status = TR_OK;
    if (json_is_null(protocol)) {
        fprintf(stderr, "a protocol.json is missing: whether both were measured alike is not known\n");
    } else if (json_array_size(protocol)) {
        status = tr_protocol_differences_text(protocol, &text, err);
        fprintf(stderr, "the protocols of A and B differ: %s\n", tr_buffer_text(&text));
    }
    if (common < a || common < b) {
        fprintf(stderr, "%lld rows stand in both of %lld and %lld\n", (long long)common, (long long)a,
                (long long)b);
        print_names(rows, "only_a", "A");
        print_names(rows, "only_b", "B");
    }
    if (unanswered) {
        fprintf(stderr, "%lld rows are unanswered in one of them and left out\n", (long long)unanswered);
    }
    tr_buffer_free(&text);
    return status;
}

static void print_report(const json_t *report)
{
    for (size_t t = 0; tr_compare_tasks[t]; t++) {
        const json_t *task = json_object_get(report, tr_compare_tasks[t]);
        if (!task) {
            continue;
        }
        printf("%s %lld rows\n", tr_compare_tasks[t], (long long)json_integer_value(json_object_get(task, "rows")));
        print_all(task, "metrics", "");
        print_all(task, "best", "best ");
        print_all(task, "subtasks", "- ");
        if (json_object_get(task, "subtask_mean")) {
            print_one("mean over sub-tasks", json_object_get(task, "subtask_mean"));
        }
    }
}

static int run(int argc, char **argv)
{
    const tr_command *self = &tr_command_eval_compare;
    bool json = false;
    const char *svg = NULL;
    const tr_option options[] = {
        {"svg", TR_OPTION_TEXT, &svg, "FILE", "Draw the differences with their intervals.", 0, 0, false},
        {"json", TR_OPTION_FLAG, &json, NULL, "Print one JSON object.", 0, 0, false},
        {0},
    };
    char **arguments;
    int count, exit_status = tr_cli_parse(self, options, argc, argv, 2, 2, &arguments, &count);
    if (exit_status >= 0) {
        return exit_status;
    }
    tr_error err = {0};
    json_t *report = NULL;
    tr_buffer picture = {0};
    tr_status status;
    TR_TRY(tr_compare(arguments[0], arguments[1], &report, &err));
    TR_TRY(print_limits(report, &err));
    if (svg) {
        TR_TRY(tr_compare_svg(report, &picture, &err));
        TR_TRY(tr_file_write_atomic(svg, picture.data, picture.length, &err));
    }
    if (json) {
        TR_TRY(tr_cli_print_json(report, &err));
    } else {
        print_report(report);
    }
done:
    tr_buffer_free(&picture);
    json_decref(report);
    return status ? tr_cli_fail(self, &err) : TR_EXIT_DONE;
}
