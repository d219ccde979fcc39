/* reward.h: what a response earns, by scheme and task: named parts and their weighted sum.
 *
 * A scheme is data: for each task a template (the format part), where and how the answer is parsed, and a list of
 * parts with weights. The published schemes are built in; a user's own comes as a JSON object (task/scheme.c). Pure
 * functions: no files, no tensors, no state. Thread safe; the only memory used is the caller's arena (one parser
 * falls back on jansson for unusual JSON: task/answer.h). Times are float64 seconds. */
#ifndef TR_TASK_REWARD_H
#define TR_TASK_REWARD_H

#include "base/buffer.h"
#include "base/memory.h"
#include "base/status.h"
#include "task/answer.h"
#include "task/match.h"

#define TR_TASK_LIST(X) X(TG, "tg") X(DTG, "dtg") X(VHD, "vhd") X(GVQA, "gvqa") X(TAL, "tal") X(QA, "qa")
typedef enum tr_task {
#define X(name, text) TR_TASK_##name,
    TR_TASK_LIST(X)
#undef X
        TR_TASK_COUNT
} tr_task;
const char *tr_task_name(tr_task task);
/* TR_INVALID names the known tasks and the nearest one. */
tr_status tr_task_from_name(const char *name, tr_task *task, tr_error *err);

/* The parts. Every part lies in [0, 1] unless its line says otherwise. */
/* clang-format off */
#define TR_PART_LIST(X)                                                                                       \
    X(FORMAT, "format") /* the whole response keeps the template */                                           \
    X(IOU, "iou") /* tg: IoU; dtg: mean IoU by position; else IoU of the two unions */                        \
    X(CLS, "cls") /* the option is right */                                                                   \
    X(NUM, "num") /* exp(-|m - n| / (min(n, 3) sigma)) */                                                     \
    X(MATCH, "match") /* F1 of the matching with the largest sum of IoU: 2 sIoU / (m + n) */                  \
    X(BOUNDARY_IOU, "iou_v2") /* Time-R1: IoU (1 - |ds| / T) (1 - |de| / T) */                                \
    X(GLOBAL, "global") /* MUSEG: F1 of the union's seconds */                                                \
    X(LOCAL, "local") /* MUSEG: mean (1 + GIoU) / 2 of pairs in order, missing ones far away */               \
    X(WASSERSTEIN, "wasserstein") /* TimeLens2: exp(-W1 / |G|) */                                             \
    X(PARSE, "parse") /* 0 when the answer was understood, else -1 */                                         \
    X(HUNGARIAN_F1, "hungarian_f1") /* OMTG: mean over 0.3, 0.5, 0.7 of the F1 of the optimal assignment */   \
    X(COUNTED, "count") /* the number of intervals is right */                                                \
    X(LENGTH, "length") /* DAPO's soft overlong penalty, in [-1, 0] */
/* clang-format on */
typedef enum tr_part {
#define X(name, text) TR_PART_##name,
    TR_PART_LIST(X)
#undef X
} tr_part;
enum { TR_PART_COUNT = TR_PART_LENGTH + 1 }; /* not a part itself, so that a switch over tr_part is complete */
const char *tr_part_name(tr_part part);

/* How the answer's text becomes intervals and an option. */
typedef enum tr_parser {
    TR_PARSER_NONE,    /* no intervals (qa) */
    TR_PARSER_PAIRS,   /* tolerant */
    TR_PARSER_JSON,    /* Temporal-R1 */
    TR_PARSER_LAST_TO, /* Time-R1, VideoChat-R1 */
    TR_PARSER_SPACED,  /* MUSEG */
    TR_PARSER_GLUE     /* VideoChat-R1's evidence list; from the first <glue> block */
} tr_parser;

/* Edge cases in which published schemes differ from each other. */
typedef enum tr_iou_rule {
    TR_IOU_CLAMPED,    /* predictions are clamped to the clip; the exact IoU */
    TR_IOU_NORMALISED, /* Temporal-R1: not clamped, all divided by the duration, hull as the denominator */
    TR_IOU_HULL,       /* Time-R1: not clamped, hull as the denominator */
    TR_IOU_VIDEOCHAT   /* not clamped; a reversed pair is no answer; nothing against nothing is 1 */
} tr_iou_rule;

enum { TR_SCHEME_TERMS = 8 };
typedef struct tr_scheme_task {
    bool defined; /* the scheme has a reward for this task */
    tr_template_check check;
    tr_where where;
    tr_parser parser;
    bool glue;         /* gvqa: intervals come from <glue> */
    bool option_first; /* VideoChat-R1's reading of the letter */
    tr_iou_rule rule;
    size_t term_count;
    struct {
        tr_part part;
        double weight;
    } terms[TR_SCHEME_TERMS];
} tr_scheme_task;

typedef struct tr_scheme {
    const char *name;
    tr_scheme_task tasks[TR_TASK_COUNT];
    tr_matching matching; /* of the part "match": the monotone programme, or naive pairing (the ablation) */
    double sigma;         /* of the part "num" */
    size_t overlong_tokens,
        overlong_cache;   /* part "length": 0 from overlong_tokens - overlong_cache on down to -1 */
    bool percent, frames; /* units that the tolerant parser accepts beside seconds */
} tr_scheme;

/* A built-in scheme; NULL for an unknown name. tr_scheme_get names the known ones in its error. */
const tr_scheme *tr_scheme_find(const char *name);
tr_status tr_scheme_get(const char *name, const tr_scheme **scheme, tr_error *err);
/* The built-in names, NULL at the end. */
const char *const *tr_scheme_names(void);
/* Sets how reasoning is treated in the templates of all tasks (the prompt decides: "think" requires it). */
void tr_scheme_set_think(tr_scheme *scheme, tr_think think);

/* The truth of a row. Borrowed. */
typedef struct tr_truth {
    const tr_interval *segments; /* dtg: one per query, in their order */
    size_t count;
    const char *answer; /* gvqa, qa: a letter, or the text of an option; NULL elsewhere */
    const char *const *options;
    size_t option_count;
    double duration_s; /* of the clip; <= 0: unknown, then nothing is clamped */
    double fps;        /* for schemes that accept frame indices; else 0 */
} tr_truth;

typedef struct tr_reward {
    double total;
    unsigned present; /* bit tr_part: the scheme has this part for this task */
    double parts[TR_PART_COUNT];
    tr_answer answer;  /* what was understood; intervals lie in the arena */
    bool parsed;       /* everything the task asks for was found */
    const char *error; /* static text; NULL when parsed */
    size_t error_at;   /* byte of the response */
} tr_reward;

/* Bytes of arena that tr_reward_score takes at most for a truth of `count` segments. */
size_t tr_reward_arena_bytes(size_t count);

/* Scores one response of `length` bytes. tokens is its length in tokens (0: unknown, then the part "length" is 0).
 * The result's intervals stay in the arena until the caller resets it. TR_INVALID when the scheme has no reward for
 * the task or the truth lacks what the task needs, TR_MEMORY when the arena is too small; a bad response is no
 * error. */
tr_status tr_reward_score(const tr_scheme *scheme, tr_task task, const char *response, size_t length, size_t tokens,
                          const tr_truth *truth, tr_arena *arena, tr_reward *result, tr_error *err);

/* DAPO: 0 up to limit - cache tokens, then linear, -1 from limit on. */
double tr_reward_overlong(size_t tokens, size_t limit, size_t cache);

/* What the response would have been if it were right: the scheme's template filled from the truth (SFT targets). It
 * earns the scheme's largest reward. thought (may be NULL: "") is put into the reasoning block where there is one:
 * always when the template requires it, never when it forbids it, else when thought is not NULL. Appended to out.
 */
tr_status tr_reward_target(const tr_scheme *scheme, tr_task task, const tr_truth *truth, const char *thought,
                           tr_buffer *out, tr_error *err);

/* The largest reward of a scheme for a task (without length penalty). */
double tr_reward_largest(const tr_scheme *scheme, tr_task task);

#endif
