/* cli.c: the option parser, help and error lines that every command shares. */
#include "cli/cli.h"

#include "base/progress.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tr_cli_fail(const tr_command *command, const tr_error *err)
{
    fprintf(stderr, "tempr1 %s: %s%s%s\n", command->name, err->where, err->where[0] ? ": " : "",
            err->message[0] ? err->message : tr_status_text(err->code));
    return TR_EXIT_FAILED;
}

int tr_cli_usage(const tr_command *command, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "tempr1 %s: ", command->name);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fprintf(stderr, "\nusage: tempr1 %s %s\nsee tempr1 %s --help\n", command->name, command->arguments,
            command->name);
    return TR_EXIT_USAGE;
}

static void print_wrapped(const char *text, int indent, int width)
{
    int column = indent;
    while (*text) {
        size_t word = strcspn(text, " \n");
        if (column > indent && column + 1 + (int)word > width) {
            printf("\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            putchar(' ');
            column++;
        }
        fwrite(text, 1, word, stdout);
        column += (int)word;
        text += word;
        text += *text != 0;
    }
    putchar('\n');
}

static void print_help(const tr_command *command, const tr_option *options)
{
    printf("usage: tempr1 %s %s\n\n%s\n", command->name, command->arguments, command->text);
    if (options[0].name) {
        printf("\noptions:\n");
    }
    for (const tr_option *o = options; o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
        printf("  %-26s ", left);
        if (strlen(left) > 26) {
            printf("\n%29s", "");
        }
        print_wrapped(o->help, 29, 110);
    }
    printf("  %-26s print this page\n", "--help");
}

static const tr_option *find(const tr_option *options, const char *name, size_t length)
{
    for (const tr_option *o = options; o->name; o++) {
        if (strlen(o->name) == length && !strncmp(o->name, name, length)) {
            return o;
        }
    }
    return NULL;
}

static int unknown_option(const tr_command *command, const tr_option *options, const char *name, size_t length)
{
    const char *names[64];
    char given[128];
    size_t count = 0;
    for (const tr_option *o = options; o->name && count < 64; o++) {
        names[count++] = o->name;
    }
    snprintf(given, sizeof given, "%.*s", (int)length, name);
    const char *near = tr_nearest(given, names, count);
    if (near) {
        return tr_cli_usage(command, "unknown option --%s (did you mean --%s?)", given, near);
    }
    return tr_cli_usage(command, "unknown option --%s", given);
}

static int set_number(const tr_command *command, const tr_option *o, const char *text)
{
    char *end;
    errno = 0;
    double number = o->kind == TR_OPTION_INT ? (double)strtoll(text, &end, 10) : strtod(text, &end);
    if (end == text || *end || errno || !isfinite(number)) {
        return tr_cli_usage(command, "--%s needs %s, found '%s'", o->name,
                            o->kind == TR_OPTION_INT ? "an integer" : "a number", text);
    }
    if ((o->min != 0 || o->max != 0) && !(number >= o->min && number <= o->max)) {
        return tr_cli_usage(command, "--%s must lie between %g and %g, found %s", o->name, o->min, o->max, text);
    }
    if (o->kind == TR_OPTION_INT) {
        *(int64_t *)o->value = strtoll(text, NULL, 10);
    } else {
        *(double *)o->value = number;
    }
    return -1;
}

static int set_value(const tr_command *command, const tr_option *o, const char *text)
{
    switch (o->kind) {
    case TR_OPTION_FLAG:
        *(bool *)o->value = true;
        return -1;
    case TR_OPTION_TEXT:
        *(const char **)o->value = text;
        return -1;
    case TR_OPTION_LIST: {
        tr_option_list *list = o->value;
        if (list->count == sizeof list->items / sizeof *list->items) {
            return tr_cli_usage(command, "--%s is given more than %zu times", o->name, list->count);
        }
        list->items[list->count++] = text;
        return -1;
    }
    case TR_OPTION_INT:
    case TR_OPTION_DOUBLE:
        return set_number(command, o, text);
    }
    return -1;
}

/* One "--..." word at argv[*at]; moves *at past a value that it takes. */
static int parse_option(const tr_command *command, const tr_option *options, int argc, char **argv, int *at,
                        bool *seen)
{
    const char *name = argv[*at] + 2, *equal = strchr(name, '=');
    size_t length = equal ? (size_t)(equal - name) : strlen(name);
    if (length == 4 && !strncmp(name, "help", 4)) {
        print_help(command, options);
        return TR_EXIT_DONE;
    }
    const tr_option *o = find(options, name, length);
    if (!o) {
        return unknown_option(command, options, name, length);
    }
    seen[o - options] = true;
    if (o->kind == TR_OPTION_FLAG) {
        return equal ? tr_cli_usage(command, "--%s takes no value", o->name) : set_value(command, o, NULL);
    }
    if (equal) {
        return set_value(command, o, equal + 1);
    }
    if (*at + 1 >= argc) {
        return tr_cli_usage(command, "--%s needs a value (%s)", o->name, o->argument);
    }
    return set_value(command, o, argv[++*at]);
}

int tr_cli_parse(const tr_command *command, const tr_option *options, int argc, char **argv, int min, int max,
                 char ***positional, int *count)
{
    bool seen[128] = {false};
    int used = 1;
    bool plain = false;
    for (int i = 1; i < argc; i++) {
        if (!plain && !strcmp(argv[i], "--")) {
            plain = true;
        } else if (!plain && !strncmp(argv[i], "--", 2)) {
            int status = parse_option(command, options, argc, argv, &i, seen);
            if (status >= 0) {
                return status;
            }
        } else if (!plain && argv[i][0] == '-' && argv[i][1] && !(argv[i][1] >= '0' && argv[i][1] <= '9')) {
            if (!strcmp(argv[i], "-n") && find(options, "n", 1) &&
                i + 1 < argc) { /* `ask -n N`, the contract's one */
                const tr_option *o = find(options, "n", 1);
                int status = set_value(command, o, argv[++i]);
                if (status >= 0) {
                    return status;
                }
                seen[o - options] = true;
            } else if (!strcmp(argv[i], "-h")) {
                print_help(command, options);
                return TR_EXIT_DONE;
            } else {
                return tr_cli_usage(command, "unknown option %s; options are long (--name)", argv[i]);
            }
        } else {
            argv[used++] = argv[i];
        }
    }
    for (const tr_option *o = options; o->name; o++) {
        if (o->required && !seen[o - options]) {
            return tr_cli_usage(command, "--%s %s is needed", o->name, o->argument);
        }
    }
    *positional = argv + 1;
    *count = used - 1;
    if (*count < min || (max >= 0 && *count > max)) {
        return tr_cli_usage(command, *count < min ? "an argument is missing" : "unexpected argument '%s'",
                            *count < min ? "" : argv[1 + max]);
    }
    return -1;
}

bool tr_cli_grid(const char *text, int64_t most, int64_t grid[3])
{
    for (int i = 0; i < 3; i++) {
        char *end;
        errno = 0;
        grid[i] = strtoll(text, &end, 10);
        if (end == text || errno || *end != (i < 2 ? ',' : 0) || grid[i] < 1 || grid[i] > most ||
            (i > 0 && grid[i] % 2)) {
            return false;
        }
        text = end + 1;
    }
    return true;
}

tr_status tr_cli_print_json(const json_t *value, tr_error *err)
{
    tr_buffer line = {0};
    tr_status status = tr_json_print(value, &line, err);
    if (!status && (fwrite(tr_buffer_text(&line), 1, line.length, stdout) != line.length || putchar('\n') == EOF)) {
        status = tr_fail(err, TR_IO, NULL, "standard output could not be written: %s", strerror(errno));
    }
    tr_buffer_free(&line);
    return status;
}

void tr_cli_show_bytes(void *context, uint64_t bytes, uint64_t total)
{
    tr_progress *bar = context;
    char note[64];
    bar->total = (int64_t)(total >> 20);
    snprintf(note, sizeof note, "%.2f GB", (double)bytes * 1e-9);
    tr_progress_update(bar, (int64_t)(bytes >> 20), note);
}
