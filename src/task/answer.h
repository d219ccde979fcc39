/* answer.h: what a response says: strict templates (did it keep the form?) and parsers (what does it mean?).
 *
 * Nothing here allocates or recurses, with one exception that its function names; every parser is linear in the
 * response, so a megabyte of brackets is refused in milliseconds. Responses are bytes with a length: they may hold
 * NUL and broken UTF-8. Thread safe. Intervals are seconds as the response gives them: not clamped, not sorted, and
 * an interval that ends before it starts stays in the list. */
#ifndef TR_TASK_ANSWER_H
#define TR_TASK_ANSWER_H

#include "task/interval.h"
#include "task/scan.h"

#include <stdint.h>

/* More intervals than this in one answer are refused (error "too many intervals"): no clip has so many events, and
 * it bounds the work that a runaway response can cause. */
enum { TR_ANSWER_INTERVALS = 1024 };

typedef struct tr_answer {
    tr_interval *intervals; /* the caller's array of TR_ANSWER_INTERVALS */
    size_t count;
    char option;       /* 'A'..'Z'; 0 when the answer names none */
    const char *error; /* why nothing (or not all) was understood: static text; NULL when all was */
    size_t error_at;   /* byte of the response that the error is about */
} tr_answer;

/* Whether the reasoning block <think>...</think> must, may or must not stand before the answer. */
typedef enum tr_think { TR_THINK_OPTIONAL, TR_THINK_REQUIRED, TR_THINK_FORBIDDEN } tr_think;

/* The forms of a whole response. LIST: <answer>s to e, s to e</answer>. OPTION: <answer>B</answer>. OPTION_GLUE:
 * <answer>B</answer> <glue>[(s, e), (s, e)]</glue>. JSON: Temporal-R1's {"start_time": "s", "end_time": "e"}. ANY:
 * any text in <answer>. ANY_GLUE: any text in <answer>, then VideoChat-R1's list in <glue>. SPACED: MUSEG's s-e
 * s-e, graded. */
typedef enum tr_template {
    TR_TEMPLATE_NONE,
    TR_TEMPLATE_LIST,
    TR_TEMPLATE_OPTION,
    TR_TEMPLATE_OPTION_GLUE,
    TR_TEMPLATE_JSON,
    TR_TEMPLATE_ANY,
    TR_TEMPLATE_ANY_GLUE,
    TR_TEMPLATE_SPACED
} tr_template;

typedef struct tr_template_check {
    tr_template kind;
    tr_think think;
    bool strip;          /* white space around the whole response is no fault */
    size_t fewest, most; /* pairs that the list must hold; most SIZE_MAX: any number */
} tr_template_check;

/* How well the whole response keeps the template: 1 or 0 (MUSEG's form also 0.6 and 0.2). */
double tr_answer_format(const tr_template_check *check, tr_span response);

/* Which part of a response is the answer. */
typedef enum tr_where {
    TR_WHERE_LAST,    /* the last complete <answer> block behind the reasoning */
    TR_WHERE_FIRST,   /* the first complete <answer> block, wherever it is (Temporal-R1) */
    TR_WHERE_FINAL,   /* the last complete <answer> block, wherever it is (Time-R1, VideoChat-R1) */
    TR_WHERE_ANYWHERE /* LAST, and without such a block all the text behind the reasoning (others' outputs) */
} tr_where;
bool tr_answer_find(tr_where where, tr_span response, tr_span *inside);

/* What numbers mean, beyond seconds and clock times, which always count. */
typedef struct tr_answer_units {
    bool percent; /* "12.5%" is that share of duration_s */
    bool frames;  /* plain numbers, and "frame 12", are frame indices at fps */
    double duration_s, fps;
} tr_answer_units;

/* The tolerant parser, over the text inside an answer block: appends every pair of times to answer->intervals.
 * A pair is: "s to e", "s - e" with any dash, "from s to e"; "(s, e)" and "[s, e]"; "start_time": s, "end_time": e
 * (also start, end; quoted or bare; either order). A time is seconds ("12", "12.5", "12.5s", "12.5 seconds"), mm:ss
 * or hh:mm:ss with decimals. Nothing else counts. units may be NULL. */
void tr_answer_pairs(tr_span text, const tr_answer_units *units, const char *response, tr_answer *answer);

/* Temporal-R1's accuracy part: the text as JSON with start_time and end_time that float() accepts, seconds. One
 * shape is scanned directly, without allocating: an object of those two keys in either order with plain decimals,
 * quoted or bare. Every other text is given to jansson (which allocates, and refuses nesting deeper than 2048). */
void tr_answer_json(tr_span text, const char *response, tr_answer *answer);

/* Time-R1's and VideoChat-R1's: the last "number to number" or "number and number" with single spaces. */
void tr_answer_last_to(tr_span text, const char *response, tr_answer *answer);

/* MUSEG's: "s-e" items between white space; any other item refuses the whole answer, and so does s >= e. */
void tr_answer_spaced(tr_span text, const char *response, tr_answer *answer);

/* VideoChat-R1's list "[(s, e), (s, e)]": nothing before, between or behind but white space after commas and one
 * comma at the end; a pair that runs backwards refuses the list. False when the text is not such a list. */
bool tr_answer_glue(tr_span text, const char *response, tr_answer *answer);

/* The option that a text names: "B", "(B)", "B.", "B) text", "Option B", "The answer is B", or the text of an
 * option itself (without regard to case). 0 when it names none or several. */
char tr_answer_option(tr_span text, const char *const *options, size_t count);

/* VideoChat-R1's: the first of the capitals A to G, after its usual opening phrases are taken out. */
char tr_answer_option_first(tr_span text);

/* What evaluations of others' free text do, for `metrics` (Temporal-R1's eval_tvg.py): exactly one pair, or none. A
 * reversed pair is swapped. False when the text does not give exactly one. Lower-casing and "to" to "-" are done on
 * the fly; linear time, no allocation. */
bool tr_answer_compat_pair(tr_span text, tr_interval *out);

#endif
