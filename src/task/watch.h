/* watch.h: signs that a policy earns its reward without looking at the clip.
 *
 * All responses of a step are looked at together. Each sign is counted; none changes a reward. Pure functions: no
 * files, no tensors, no state between steps. The only memory used is the caller's. Thread safe.
 *
 *   whole_clip    the union of the intervals covers 95 % of the clip or more, and the truth's does not
 *   constant      the same intervals (to a tenth of a second) were also given to a prompt with another truth; the
 *                 same option in nine of ten answers to four or more prompts whose truths differ
 *   same_offsets  the same shares of the clip (to a hundredth) were also given to a clip of another length, whole
 *                 clips aside: "from a quarter to three quarters, whatever is asked"
 *   repeated      half of the response's runs of 16 tokens, or more, stood in it before
 *   identical     the same text as an earlier response of its group
 *   empty         nothing but tags and white space
 *   degenerate    intervals were given, and none has a length inside the clip
 *   no_thought    a <think> block without a letter or digit in it */
#ifndef TR_TASK_WATCH_H
#define TR_TASK_WATCH_H

#include "task/interval.h"

#include <stdint.h>

#define TR_WATCH_LIST(X)                                                                                           \
    X(WHOLE_CLIP, "whole_clip")                                                                                    \
    X(CONSTANT, "constant")                                                                                        \
    X(SAME_OFFSETS, "same_offsets")                                                                                \
    X(REPEATED, "repeated")                                                                                        \
    X(IDENTICAL, "identical")                                                                                      \
    X(EMPTY, "empty")                                                                                              \
    X(DEGENERATE, "degenerate")                                                                                    \
    X(NO_THOUGHT, "no_thought")
typedef enum tr_watch_sign {
#define X(name, text) TR_WATCH_##name,
    TR_WATCH_LIST(X)
#undef X
} tr_watch_sign;
enum { TR_WATCH_COUNT = TR_WATCH_NO_THOUGHT + 1 };
const char *tr_watch_name(tr_watch_sign sign);
/* The same for a line that a person reads: "cover the whole clip". */
const char *tr_watch_words(tr_watch_sign sign);

/* One response. Borrowed; only `signs` is written, bit tr_watch_sign for each sign. */
typedef struct tr_watch_answer {
    int64_t row, group; /* which prompt; responses of equal groups are compared as texts */
    uint64_t truth;     /* equal numbers mean equal truths; 0: not known, then rows count as different */
    double truth_s;     /* seconds that the truth covers; 0: not known */
    double duration_s;  /* of the clip; <= 0: not known, then nothing is said about its share */
    const char *text;
    size_t length;
    const int32_t *ids; /* [tokens], NULL: not known */
    size_t tokens;
    tr_interval *intervals; /* [count] as understood, in the response's order */
    size_t count;
    char option; /* 0: none */
    unsigned signs;
} tr_watch_answer;

enum { TR_WATCH_RUN = 16 };
/* The share of the runs of TR_WATCH_RUN ids that stood earlier in ids; 0 for fewer than two runs' worth of ids.
 * table: scratch of `slots` numbers, a power of two, at least 2 * count. */
double tr_watch_repetition(const int32_t *ids, size_t count, int32_t *table, size_t slots);

/* Sets the signs of all answers of a step. table as above, for the longest response; room: scratch of as many
 * intervals as the longest answer has. */
void tr_watch_judge(tr_watch_answer *answers, size_t count, int32_t *table, size_t slots, tr_interval *room);

#endif
