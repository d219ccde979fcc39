/* scheme.c: the published reward schemes as data. */
#include "task/reward.h"

#include <stdio.h>
#include <string.h>

static const char *const task_names[] = {
#define X(name, text) text,
    TR_TASK_LIST(X)
#undef X
};
static const char *const part_names[] = {
#define X(name, text) text,
    TR_PART_LIST(X)
#undef X
};

const char *tr_task_name(tr_task task)
{
    return (unsigned)task < TR_TASK_COUNT ? task_names[task] : "?";
}

const char *tr_part_name(tr_part part)
{
    return (unsigned)part < TR_PART_COUNT ? part_names[part] : "?";
}

tr_status tr_task_from_name(const char *name, tr_task *task, tr_error *err)
{
    for (int t = 0; t < TR_TASK_COUNT; t++) {
        if (!strcmp(name, task_names[t])) {
            *task = (tr_task)t;
            return TR_OK;
        }
    }
    return tr_fail(err, TR_INVALID, NULL, "there is no task '%s'; the tasks are tg, dtg, vhd, gvqa, tal and qa",
                   name);
}

#define ONE                                                                                                        \
    {                                                                                                              \
        TR_TEMPLATE_LIST, TR_THINK_OPTIONAL, true, 1, 1                                                            \
    }
#define SOME                                                                                                       \
    {                                                                                                              \
        TR_TEMPLATE_LIST, TR_THINK_OPTIONAL, true, 1, SIZE_MAX                                                     \
    }
#define MANY                                                                                                       \
    {                                                                                                              \
        TR_TEMPLATE_LIST, TR_THINK_OPTIONAL, true, 0, SIZE_MAX                                                     \
    }
#define LETTER                                                                                                     \
    {                                                                                                              \
        TR_TEMPLATE_OPTION, TR_THINK_OPTIONAL, true, 0, 0                                                          \
    }
#define LETTER_GLUE                                                                                                \
    {                                                                                                              \
        TR_TEMPLATE_OPTION_GLUE, TR_THINK_OPTIONAL, true, 0, SIZE_MAX                                              \
    }
#define THOUGHT_ANY                                                                                                \
    {                                                                                                              \
        TR_TEMPLATE_ANY, TR_THINK_REQUIRED, true, 0, 0                                                             \
    }
#define THOUGHT_ANY_GLUE                                                                                           \
    {                                                                                                              \
        TR_TEMPLATE_ANY_GLUE, TR_THINK_REQUIRED, true, 0, 0                                                        \
    }
#define BARE_LIST                                                                                                  \
    {                                                                                                              \
        TR_TEMPLATE_LIST, TR_THINK_FORBIDDEN, true, 1, SIZE_MAX                                                    \
    }
#define TASK(...)                                                                                                  \
    {                                                                                                              \
        .defined = true, __VA_ARGS__                                                                               \
    }
#define TOLERANT .where = TR_WHERE_LAST, .parser = TR_PARSER_PAIRS
#define TERM(name, weight)                                                                                         \
    {                                                                                                              \
        TR_PART_##name, weight                                                                                     \
    }
#define NO_INTERVALS .where = TR_WHERE_LAST, .parser = TR_PARSER_NONE

static const tr_scheme schemes[] = {
    {.name = "tempr1",
     .sigma = 1,
     .tasks =
         {[TR_TASK_TG] = TASK(.check = ONE, TOLERANT, .term_count = 2, .terms = {TERM(FORMAT, 1), TERM(IOU, 1)}),
          [TR_TASK_DTG] = TASK(.check = SOME, TOLERANT, .term_count = 2, .terms = {TERM(FORMAT, 1), TERM(IOU, 1)}),
          [TR_TASK_VHD] = TASK(.check = MANY, TOLERANT, .term_count = 2, .terms = {TERM(FORMAT, 1), TERM(IOU, 1)}),
          [TR_TASK_GVQA] = TASK(.check = LETTER_GLUE, TOLERANT, .glue = true, .term_count = 3,
                                .terms = {TERM(FORMAT, 1), TERM(IOU, 1), TERM(CLS, 1)}),
          [TR_TASK_TAL] = TASK(.check = MANY, TOLERANT, .term_count = 3,
                               .terms = {TERM(FORMAT, 1), TERM(NUM, 1), TERM(MATCH, 1)}),
          [TR_TASK_QA] =
              TASK(.check = LETTER, NO_INTERVALS, .term_count = 2, .terms = {TERM(FORMAT, 1), TERM(CLS, 1)})}},
    {.name = "temporal-r1",
     .sigma = 1,
     .tasks = {[TR_TASK_TG] = TASK(.check = {TR_TEMPLATE_JSON, TR_THINK_REQUIRED, false, 1, 1},
                                   .where = TR_WHERE_FIRST, .parser = TR_PARSER_JSON, .rule = TR_IOU_NORMALISED,
                                   .term_count = 2, .terms = {TERM(IOU, 0.5), TERM(FORMAT, 0.5)}),
               [TR_TASK_GVQA] = TASK(.check = {TR_TEMPLATE_OPTION_GLUE, TR_THINK_REQUIRED, false, 0, SIZE_MAX},
                                     TOLERANT, .glue = true, .term_count = 3,
                                     .terms = {TERM(CLS, 0.5), TERM(IOU, 0.5), TERM(FORMAT, 0.5)}),
               [TR_TASK_QA] =
                   TASK(.check = {TR_TEMPLATE_ANY, TR_THINK_REQUIRED, false, 0, 0}, .where = TR_WHERE_FIRST,
                        .parser = TR_PARSER_NONE, .term_count = 2, .terms = {TERM(CLS, 0.5), TERM(FORMAT, 0.5)})}},
    {.name = "time-r1",
     .sigma = 1,
     .tasks = {[TR_TASK_TG] =
                   TASK(.check = THOUGHT_ANY, .where = TR_WHERE_FINAL, .parser = TR_PARSER_LAST_TO,
                        .rule = TR_IOU_HULL, .term_count = 2, .terms = {TERM(BOUNDARY_IOU, 1), TERM(FORMAT, 1)})}},
    {.name = "videochat-r1",
     .sigma = 1,
     .tasks = {[TR_TASK_TG] =
                   TASK(.check = THOUGHT_ANY, .where = TR_WHERE_FINAL, .parser = TR_PARSER_LAST_TO,
                        .rule = TR_IOU_VIDEOCHAT, .term_count = 2, .terms = {TERM(IOU, 1), TERM(FORMAT, 1)}),
               [TR_TASK_GVQA] = TASK(.check = THOUGHT_ANY_GLUE, .where = TR_WHERE_FIRST, .parser = TR_PARSER_GLUE,
                                     .glue = true, .option_first = true, .rule = TR_IOU_VIDEOCHAT, .term_count = 3,
                                     .terms = {TERM(IOU, 1), TERM(FORMAT, 1), TERM(CLS, 1)}),
               [TR_TASK_QA] =
                   TASK(.check = THOUGHT_ANY, .where = TR_WHERE_FIRST, .parser = TR_PARSER_NONE,
                        .option_first = true, .term_count = 2, .terms = {TERM(CLS, 1), TERM(FORMAT, 1)})}},
#define MUSEG                                                                                                      \
    TASK(.check = {TR_TEMPLATE_SPACED, TR_THINK_REQUIRED, true, 0, 0}, .where = TR_WHERE_FIRST,                    \
         .parser = TR_PARSER_SPACED, .rule = TR_IOU_HULL, .term_count = 3,                                         \
         .terms = {TERM(FORMAT, 1), TERM(GLOBAL, 1), TERM(LOCAL, 1)})
    {.name = "museg", .sigma = 1, .tasks = {[TR_TASK_TG] = MUSEG, [TR_TASK_VHD] = MUSEG, [TR_TASK_TAL] = MUSEG}},
    {.name = "timelens",
     .sigma = 1,
     .tasks = {[TR_TASK_TG] = TASK(.check = BARE_LIST, .where = TR_WHERE_ANYWHERE, .parser = TR_PARSER_PAIRS,
                                   .term_count = 1, .terms = {TERM(IOU, 1)})}},
#define TIMELENS2                                                                                                  \
    TASK(.check = BARE_LIST, .where = TR_WHERE_ANYWHERE, .parser = TR_PARSER_PAIRS, .term_count = 3,               \
         .terms = {TERM(WASSERSTEIN, 1), TERM(IOU, 1), TERM(PARSE, 1)})
    {.name = "timelens2",
     .sigma = 1,
     .tasks = {[TR_TASK_TG] = TIMELENS2, [TR_TASK_VHD] = TIMELENS2, [TR_TASK_TAL] = TIMELENS2}},
#define OMTG                                                                                                       \
    TASK(.check = MANY, TOLERANT, .term_count = 4,                                                                 \
         .terms = {TERM(FORMAT, 1), TERM(HUNGARIAN_F1, 1), TERM(COUNTED, 1), TERM(LENGTH, 1)})
    {.name = "omtg",
     .sigma = 1,
     .overlong_tokens = 1024,
     .overlong_cache = 256,
     .tasks = {[TR_TASK_TG] = OMTG, [TR_TASK_VHD] = OMTG, [TR_TASK_TAL] = OMTG}},
};

static const char *const names[] = {"tempr1",    "temporal-r1", "time-r1", "videochat-r1", "museg", "timelens",
                                    "timelens2", "omtg",        NULL};

const char *const *tr_scheme_names(void)
{
    return names;
}

const tr_scheme *tr_scheme_find(const char *name)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (!strcmp(schemes[i].name, name)) {
            return &schemes[i];
        }
    }
    return NULL;
}

tr_status tr_scheme_get(const char *name, const tr_scheme **scheme, tr_error *err)
{
    *scheme = tr_scheme_find(name);
    if (*scheme) {
        return TR_OK;
    }
    char list[256] = "";
    for (size_t i = 0, used = 0; names[i]; i++) {
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = tr_nearest(name, names, sizeof names / sizeof *names - 1);
    return tr_fail(err, TR_INVALID, NULL, "there is no reward scheme '%s'%s%s%s; the schemes are %s", name,
                   near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "", list);
}

void tr_scheme_set_think(tr_scheme *scheme, tr_think think)
{
    for (int t = 0; t < TR_TASK_COUNT; t++) {
        scheme->tasks[t].check.think = think;
    }
}
