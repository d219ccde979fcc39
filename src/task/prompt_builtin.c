/* prompt_builtin.c: the files of share/prompts inside the program, so that one binary works without them.
 *
 * The assembler includes them (-Wa,-I share/prompts, see CMakeLists.txt): there is no second copy to keep in step.
 */
#include "task/prompt.h"

#define EMBED(symbol, file)                                                                                        \
    __asm__(".section .rodata\n"                                                                                   \
            ".global tr_prompt_" #symbol "_begin\n.hidden tr_prompt_" #symbol "_begin\n"                           \
            "tr_prompt_" #symbol "_begin:\n.incbin \"" file "\"\n"                                                 \
            ".global tr_prompt_" #symbol "_end\n.hidden tr_prompt_" #symbol "_end\n"                               \
            "tr_prompt_" #symbol "_end:\n.byte 0\n.text\n");                                                       \
    extern const char tr_prompt_##symbol##_begin[], tr_prompt_##symbol##_end[]

EMBED(think, "think.yaml");
EMBED(no_think, "no-think.yaml");
EMBED(temporal_r1, "temporal-r1.yaml");
EMBED(time_r1, "time-r1.yaml");
EMBED(videochat_r1, "videochat-r1.yaml");
EMBED(museg, "museg.yaml");
EMBED(mvbench, "mvbench.yaml");
EMBED(mvbench_official, "mvbench-official.yaml");
EMBED(video_mme, "video-mme.yaml");
EMBED(tempcompass, "tempcompass.yaml");

static const char *const names[] = {"think",        "no-think",    "temporal-r1", "time-r1",
                                    "videochat-r1", "museg",       "mvbench",     "mvbench-official",
                                    "video-mme",    "tempcompass", NULL};
static const char *const begins[] = {tr_prompt_think_begin,        tr_prompt_no_think_begin,
                                     tr_prompt_temporal_r1_begin,  tr_prompt_time_r1_begin,
                                     tr_prompt_videochat_r1_begin, tr_prompt_museg_begin,
                                     tr_prompt_mvbench_begin,      tr_prompt_mvbench_official_begin,
                                     tr_prompt_video_mme_begin,    tr_prompt_tempcompass_begin};
static const char *const ends[] = {
    tr_prompt_think_end,        tr_prompt_no_think_end,   tr_prompt_temporal_r1_end, tr_prompt_time_r1_end,
    tr_prompt_videochat_r1_end, tr_prompt_museg_end,      tr_prompt_mvbench_end,     tr_prompt_mvbench_official_end,
    tr_prompt_video_mme_end,    tr_prompt_tempcompass_end};

const char *const *tr_prompts_names(void)
{
    return names;
}

const char *tr_prompts_builtin_text(const char *name, size_t *length)
{
    for (size_t i = 0; names[i]; i++) {
        if (!strcmp(names[i], name)) {
            *length = (size_t)(ends[i] - begins[i]);
            return begins[i];
        }
    }
    return NULL;
}
