/* main.c: finds the command that the first words name and runs it. */
#include "cli/cli.h"

#include "tensor/cuda/cuda.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define X(symbol) extern const tr_command tr_command_##symbol;
#include "cli/commands.def"
#undef X

const tr_command *const tr_commands[] = {
#define X(symbol) &tr_command_##symbol,
#include "cli/commands.def"
#undef X
    NULL};
/* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers is meant */
const size_t tr_commands_count = sizeof tr_commands / sizeof *tr_commands - 1;

static void print_help(FILE *out)
{
    fputs("tempr1: teaches video multimodal LLMs (the Qwen2.5-VL family) when things happen, and measures it\n\n"
          "usage: tempr1 COMMAND [ARGUMENTS]      tempr1 COMMAND --help\n\ncommands:\n",
          out);
    for (size_t i = 0; i < tr_commands_count; i++) {
        if (tr_commands[i]->summary) {
            fprintf(out, "  %-16s %s\n", tr_commands[i]->name, tr_commands[i]->summary);
        }
    }
    fputs("\nResults go to stdout, everything else to stderr. Exit status: 0 done, 1 failed, 2 wrong usage.\n",
          out);
}

/* Matches "model info" against two words and "frames" against one; returns the words used, 0 when none. */
static int match(const tr_command *command, int argc, char **argv)
{
    const char *space = strchr(command->name, ' ');
    size_t first = space ? (size_t)(space - command->name) : strlen(command->name);
    if (strlen(argv[0]) != first || strncmp(argv[0], command->name, first) != 0) {
        return 0;
    }
    if (!space) {
        return 1;
    }
    return argc > 1 && !strcmp(argv[1], space + 1) ? 2 : 0;
}

static int list_family(const char *word)
{
    int found = 0;
    size_t length = strlen(word);
    for (size_t i = 0; i < tr_commands_count; i++) {
        const char *name = tr_commands[i]->name;
        if (!strncmp(name, word, length) && name[length] == ' ') {
            if (!found++) {
                fprintf(stderr, "tempr1 %s needs one of these words:\n", word);
            }
            fprintf(stderr, "  %-24s %s\n", name, tr_commands[i]->summary);
        }
    }
    return found;
}

static int unknown_command(const char *word)
{
    if (list_family(word)) {
        return TR_EXIT_USAGE;
    }
    const char *names[64];
    size_t count = 0;
    for (size_t i = 0; i < tr_commands_count && count < 64; i++) {
        if (tr_commands[i]->summary) {
            names[count++] = tr_commands[i]->name;
        }
    }
    const char *near = tr_nearest(word, names, count);
    fprintf(stderr, "tempr1: there is no command '%s'%s%s%s; see tempr1 --help\n", word,
            near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    return TR_EXIT_USAGE;
}

/* Threads that wait at a barrier sleep. OpenMP's own choice, to spin for milliseconds, makes a step 50 times slower
 * as soon as another program wants one of the cores. The runtime reads its settings before main begins, hence the
 * second start of the program with them; a user's own settings stand. */
static void start_with_sleeping_barriers(char **argv)
{
    if (argv[0] && argv[1] && (!strcmp(argv[1], "frames") || !strcmp(argv[1], "decode-worker"))) {
        return; /* no barriers there, and a start costs as much as a short video */
    }
    if (!getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT") && !setenv("OMP_WAIT_POLICY", "passive", 1)) {
        execv("/proc/self/exe", argv); /* where this fails, the program is merely slower on a busy machine */
    }
}

/* One line that scripts may read; what is missing for a GPU follows on lines of its own. */
static void print_version(void)
{
    tr_cuda_info cuda;
    tr_cuda_describe(&cuda);
    printf("tempr1 " TEMPR1_VERSION " (cpu: yes, cuda: %s, mpi: no, server: no)\n", cuda.built ? "yes" : "no");
    if (cuda.built) {
        printf("cuda: runtime %d.%d, driver ", cuda.runtime / 1000, cuda.runtime % 1000 / 10);
        if (cuda.driver) {
            printf("%d.%d, ", cuda.driver / 1000, cuda.driver % 1000 / 10);
        } else {
            printf("none, ");
        }
        printf("cuBLASLt %s, ", cuda.products ? "found" : "not found");
        printf("%s\n", cuda.missing ? cuda.missing : cuda.name);
    }
}

/* Blocks of this size are given back to the system when they are freed. Otherwise the C library raises the limit to
 * 32 MiB by itself, and the buffers of a thread that writes checkpoints stay behind in pieces: a long run would
 * grow. */
static void keep_memory_flat(void)
{
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
#endif
}

int main(int argc, char **argv)
{
    start_with_sleeping_barriers(argv);
    keep_memory_flat();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write(), said and counted like any other */
    if (argc < 2) {
        print_help(stderr);
        return TR_EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
        print_help(stdout);
        return TR_EXIT_DONE;
    }
    if (!strcmp(argv[1], "--version")) {
        print_version();
        return TR_EXIT_DONE;
    }
    const tr_command *best = NULL;
    int words = 0;
    for (size_t i = 0; i < tr_commands_count; i++) {
        int used = match(tr_commands[i], argc - 1, argv + 1);
        if (used > words) {
            best = tr_commands[i];
            words = used;
        }
    }
    if (!best) {
        return unknown_command(argv[1]);
    }
    int status = best->run(argc - words, argv + words);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "tempr1: standard output could not be written\n");
        status = status ? status : TR_EXIT_FAILED;
    }
    return status;
}
