/* cli.h: what every command of the program shares: options, help, errors, results.
 *
 * A command is one file, cli/NAME.c, that defines one tr_command; cli/commands.def lists them all. Help, parser and
 * docs come from the command's own table of options. Results go to stdout, everything else to stderr; exit status
 * 0 done, 1 failed, 2 wrong usage. */
#ifndef TR_CLI_CLI_H
#define TR_CLI_CLI_H

#include "base/json.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum tr_option_kind {
    TR_OPTION_FLAG,   /* bool *           --name                        */
    TR_OPTION_INT,    /* int64_t *        --name N                      */
    TR_OPTION_DOUBLE, /* double *         --name X                      */
    TR_OPTION_TEXT,   /* const char **    --name TEXT (borrowed)        */
    TR_OPTION_LIST    /* tr_option_list * --name TEXT, may be repeated  */
} tr_option_kind;

typedef struct tr_option_list {
    const char *items[64];
    size_t count;
} tr_option_list;

/* One long option. value points at where it goes; its contents before parsing are the default. */
typedef struct tr_option {
    const char *name; /* without the dashes */
    tr_option_kind kind;
    void *value;
    const char *argument; /* how help shows the value: "DIR", "N", ...; NULL for flags */
    const char *help;     /* one or more sentences; say the default */
    double min, max;      /* inclusive range of numbers; both 0: any */
    bool required;
} tr_option;

typedef struct tr_command {
    const char *name;                  /* "frames", or two words: "model info" */
    const char *arguments;             /* usage after the name: "VIDEO [options]" */
    const char *summary;               /* one line for the list of commands; NULL: not listed, not for users */
    const char *text;                  /* what it does, what it prints, an example or two */
    int (*run)(int argc, char **argv); /* argv[0] is the command's last word; returns the exit status */
} tr_command;

enum { TR_EXIT_DONE = 0, TR_EXIT_FAILED = 1, TR_EXIT_USAGE = 2 };

/* Parses long options (anywhere on the line; "--" ends them; "--name=value" works) and moves the positional
 * arguments to the front: *positional is argv + 1 and *count their number.
 * `options` ends with an entry without a name. "--help" prints the command's help on stdout.
 * Returns -1 to go on, else the exit status to return at once. Refuses fewer than min or more than max positionals.
 */
int tr_cli_parse(const tr_command *command, const tr_option *options, int argc, char **argv, int min, int max,
                 char ***positional, int *count);

/* A visual input's grid "T,H,W" in patches, each 1 to most, H and W even. False when text is anything else. */
bool tr_cli_grid(const char *text, int64_t most, int64_t grid[3]);

/* Prints "tempr1 NAME: where: message" to stderr; returns TR_EXIT_FAILED. */
int tr_cli_fail(const tr_command *command, const tr_error *err);

/* Prints a usage error with a pointer to --help; returns TR_EXIT_USAGE. */
int tr_cli_usage(const tr_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Help of options that several commands have: --out where a checkpoint is written, --device, --isa. */
#define TR_NEW_CHECKPOINT_HELP                                                                                     \
    "The new checkpoint directory. An existing checkpoint there is replaced, anything else is refused."
#define TR_DEVICE_HELP                                                                                             \
    "Where the network is computed (default auto: a GPU on which make test-cuda passed, else the CPU)."
#define TR_ISA_HELP "Kernels: scalar, avx2, avx512 or reference (default: $TEMPR1_ISA, else the widest)."

/* Moves a tr_progress (context) that counts megabytes: what the writers of checkpoints tell. */
void tr_cli_show_bytes(void *context, uint64_t bytes, uint64_t total);

/* Prints one JSON value as one line on stdout. TR_IO when stdout cannot be written. */
tr_status tr_cli_print_json(const json_t *value, tr_error *err);

/* All commands, in the order of commands.def. */
extern const tr_command *const tr_commands[];
extern const size_t tr_commands_count;

#endif
