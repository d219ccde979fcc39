/* config.c: a user's own reward scheme from the configuration. */
#include "task/row.h"

#include <math.h>

typedef struct word {
    const char *text;
    int value;
} word;

static const word template_words[] = {{"none", TR_TEMPLATE_NONE},
                                      {"list", TR_TEMPLATE_LIST},
                                      {"option", TR_TEMPLATE_OPTION},
                                      {"option_glue", TR_TEMPLATE_OPTION_GLUE},
                                      {"json", TR_TEMPLATE_JSON},
                                      {"any", TR_TEMPLATE_ANY},
                                      {"any_glue", TR_TEMPLATE_ANY_GLUE},
                                      {"spaced", TR_TEMPLATE_SPACED},
                                      {NULL, 0}};
static const word think_words[] = {
    {"optional", TR_THINK_OPTIONAL}, {"required", TR_THINK_REQUIRED}, {"forbidden", TR_THINK_FORBIDDEN}, {NULL, 0}};
static const word where_words[] = {{"last", TR_WHERE_LAST},
                                   {"first", TR_WHERE_FIRST},
                                   {"final", TR_WHERE_FINAL},
                                   {"anywhere", TR_WHERE_ANYWHERE},
                                   {NULL, 0}};
static const word parser_words[] = {{"none", TR_PARSER_NONE},
                                    {"pairs", TR_PARSER_PAIRS},
                                    {"json", TR_PARSER_JSON},
                                    {"last_to", TR_PARSER_LAST_TO},
                                    {"spaced", TR_PARSER_SPACED},
                                    {"glue", TR_PARSER_GLUE},
                                    {NULL, 0}};
static const word matching_words[] = {{"monotone", TR_MATCH_MONOTONE}, {"naive", TR_MATCH_NAIVE}, {NULL, 0}};

static tr_status unknown(const char *what, const char *name, const char *found, const char *const *known,
                         size_t count, tr_error *err)
{
    const char *near = tr_nearest(found, known, count);
    return tr_fail(err, TR_INVALID, name, "there is no %s '%s' in a reward scheme%s%s%s", what, found,
                   near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

/* Where a name stands among the known ones; count when it does not. */
static size_t place_of(const char *name, const char *const *known, size_t count)
{
    size_t k = 0;
    while (k < count && strcmp(known[k], name) != 0) {
        k++;
    }
    return k;
}

static tr_status pick(const json_t *object, const char *key, const word *words, const char *name, int *out,
                      bool *given, tr_error *err)
{
    const char *text = NULL, *known[12];
    size_t count = 0;
    tr_status status = tr_json_get_string(object, key, false, name, &text, err);
    if (status || !text) {
        return status;
    }
    for (; words[count].text; count++) {
        if (!strcmp(words[count].text, text)) {
            *out = words[count].value;
            *given = true;
            return TR_OK;
        }
        known[count] = words[count].text;
    }
    return unknown(key, name, text, known, count, err);
}

/* Which parts a task can have. */
static bool part_fits(tr_part part, tr_task task)
{
    bool option = task == TR_TASK_QA || task == TR_TASK_GVQA;
    switch (part) {
    case TR_PART_FORMAT:
    case TR_PART_PARSE:
    case TR_PART_LENGTH:
        return true;
    case TR_PART_CLS:
        return option;
    case TR_PART_BOUNDARY_IOU:
        return task == TR_TASK_TG;
    default:
        return task != TR_TASK_QA;
    }
}

static tr_status read_parts(const json_t *parts, const char *name, tr_task task, tr_scheme_task *how, tr_error *err)
{
    const char *key, *known[TR_PART_COUNT];
    json_t *weight;
    if (!json_is_object(parts)) {
        return tr_fail(err, TR_INVALID, name, "\"parts\" must be an object of part: weight, found %s",
                       tr_json_type_name(parts));
    }
    for (int p = 0; p < TR_PART_COUNT; p++) {
        known[p] = tr_part_name((tr_part)p);
    }
    how->term_count = 0;
    json_object_foreach((json_t *)parts, key, weight)
    {
        const size_t part = place_of(key, known, TR_PART_COUNT);
        if (part == TR_PART_COUNT) {
            return unknown("part", name, key, known, TR_PART_COUNT, err);
        }
        if (!json_is_number(weight) || !isfinite(json_number_value(weight))) {
            return tr_fail(err, TR_INVALID, name, "the weight of the part \"%s\" must be a number, found %s", key,
                           tr_json_type_name(weight));
        }
        if (!part_fits((tr_part)part, task)) {
            continue;
        }
        if (how->term_count == TR_SCHEME_TERMS) {
            return tr_fail(err, TR_INVALID, name, "a reward has at most %d parts", TR_SCHEME_TERMS);
        }
        how->terms[how->term_count].part = (tr_part)part;
        how->terms[how->term_count++].weight = json_number_value(weight);
    }
    how->defined = how->term_count > 0;
    return TR_OK;
}

static bool template_fits(tr_template kind, tr_task task)
{
    bool option = kind == TR_TEMPLATE_OPTION,
         glue = kind == TR_TEMPLATE_OPTION_GLUE || kind == TR_TEMPLATE_ANY_GLUE;
    if (task == TR_TASK_QA) {
        return !glue && kind != TR_TEMPLATE_LIST && kind != TR_TEMPLATE_JSON && kind != TR_TEMPLATE_SPACED;
    }
    if (task == TR_TASK_GVQA) {
        return glue || kind == TR_TEMPLATE_NONE;
    }
    return !option && !glue && (kind != TR_TEMPLATE_JSON || task == TR_TASK_TG);
}

/* The keys that the whole scheme and one task's entry share. */
static tr_status read_task(const json_t *object, const char *name, tr_task task, bool own, tr_scheme_task *how,
                           tr_error *err)
{
    int kind = how->check.kind, think = how->check.think, where = how->where, parser = how->parser;
    bool given = false, given_parser = false, any = false;
    tr_status status = pick(object, "template", template_words, name, &kind, &given, err);
    status = status ? status : pick(object, "think", think_words, name, &think, &any, err);
    status = status ? status : pick(object, "answer", where_words, name, &where, &any, err);
    status = status ? status : pick(object, "parser", parser_words, name, &parser, &given_parser, err);
    const json_t *parts = json_object_get(object, "parts");
    status = status || !parts ? status : read_parts(parts, name, task, how, err);
    if (status) {
        return status;
    }
    if (given && !template_fits((tr_template)kind, task)) {
        if (own) {
            return tr_fail(err, TR_INVALID, name, "that template does not fit the task %s", tr_task_name(task));
        }
        kind = how->check.kind; /* a template for all tasks leaves alone those whose answers have another shape */
    } else if (given && !given_parser) { /* the parser that reads what the template asks for */
        parser = kind == TR_TEMPLATE_JSON ? TR_PARSER_JSON : kind == TR_TEMPLATE_SPACED ? TR_PARSER_SPACED : parser;
    }
    how->check.kind = (tr_template)kind;
    how->check.think = (tr_think)think;
    how->where = (tr_where)where;
    if (task != TR_TASK_QA && (task != TR_TASK_GVQA || parser == TR_PARSER_PAIRS || parser == TR_PARSER_GLUE)) {
        how->parser = (tr_parser)parser;
    }
    return TR_OK;
}

static tr_status check_keys(const json_t *object, const char *const *known, size_t count, const char *name,
                            tr_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object)) {
        return tr_fail(err, TR_INVALID, name, "a reward scheme must be an object, found %s",
                       tr_json_type_name(object));
    }
    json_object_foreach((json_t *)object, key, value)
    {
        if (place_of(key, known, count) == count) {
            return unknown("key", name, key, known, count, err);
        }
    }
    return TR_OK;
}

static tr_status read_overlong(const json_t *object, const char *name, tr_scheme *scheme, tr_error *err)
{
    static const char *const keys[] = {"tokens", "cache"};
    int64_t tokens = 0, cache = 0;
    if (!object) {
        return TR_OK;
    }
    tr_status status = check_keys(object, keys, 2, name, err);
    status = status ? status : tr_json_get_int(object, "tokens", true, name, &tokens, err);
    status = status ? status : tr_json_get_int(object, "cache", true, name, &cache, err);
    if (!status && (tokens < 1 || cache < 0 || cache > tokens)) {
        return tr_fail(err, TR_INVALID, name, "overlong needs 0 <= cache <= tokens and tokens >= 1");
    }
    if (!status) {
        scheme->overlong_tokens = (size_t)tokens;
        scheme->overlong_cache = (size_t)cache;
    }
    return status;
}

static tr_status read_tasks(const json_t *tasks, const char *name, tr_scheme *scheme, tr_error *err)
{
    static const char *const keys[] = {"parts", "template", "think", "answer", "parser"};
    const char *key;
    json_t *entry;
    tr_status status = TR_OK;
    if (!tasks) {
        return TR_OK;
    }
    if (!json_is_object(tasks)) {
        return tr_fail(err, TR_INVALID, name, "\"tasks\" must be an object, found %s", tr_json_type_name(tasks));
    }
    json_object_foreach((json_t *)tasks, key, entry)
    {
        tr_task task = TR_TASK_TG;
        status = tr_task_from_name(key, &task, err);
        status = status ? tr_fail_where(err, status, "%s", name) : check_keys(entry, keys, 5, name, err);
        status = status ? status : read_task(entry, name, task, true, &scheme->tasks[task], err);
        if (status) {
            break;
        }
    }
    return status;
}

tr_status tr_scheme_from_json(const json_t *object, const char *name, tr_scheme *scheme, tr_error *err)
{
    static const char *const keys[] = {"base",  "parts",    "template", "think",   "answer", "parser",
                                       "tasks", "matching", "sigma",    "percent", "frames", "overlong"};
    const char *base = "tempr1";
    const tr_scheme *found;
    tr_status status = check_keys(object, keys, sizeof keys / sizeof *keys, name, err);
    status = status ? status : tr_json_get_string(object, "base", false, name, &base, err);
    status = status ? status : tr_scheme_get(base, &found, err);
    if (status) {
        return tr_fail_where(err, status, "%s", name);
    }
    *scheme = *found;
    scheme->name = name;
    int matching = scheme->matching;
    bool any = false;
    for (int t = 0; t < TR_TASK_COUNT && !status; t++) {
        if (scheme->tasks[t].defined) {
            status = read_task(object, name, (tr_task)t, false, &scheme->tasks[t], err);
        }
    }
    status = status ? status : read_tasks(json_object_get(object, "tasks"), name, scheme, err);
    status = status ? status : pick(object, "matching", matching_words, name, &matching, &any, err);
    status = status ? status : tr_json_get_double(object, "sigma", false, name, &scheme->sigma, err);
    status = status ? status : tr_json_get_bool(object, "percent", false, name, &scheme->percent, err);
    status = status ? status : tr_json_get_bool(object, "frames", false, name, &scheme->frames, err);
    status = status ? status : read_overlong(json_object_get(object, "overlong"), name, scheme, err);
    scheme->matching = (tr_matching)matching;
    if (!status && !(scheme->sigma > 0)) {
        return tr_fail(err, TR_INVALID, name, "\"sigma\" must be positive, found %g", scheme->sigma);
    }
    return status;
}
