/* decode_worker.c: the program as its own decoder process (video/worker.c). Not for users. */
#include "cli/cli.h"
#include "video/clip.h"

static int run(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return tr_video_worker_main();
}

const tr_command tr_command_decode_worker = {
    .name = "decode-worker",
    .arguments = "",
    .summary = NULL,
    .text = "Started by tempr1 itself with a connection as an inherited descriptor.",
    .run = run,
};
