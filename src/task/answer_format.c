/* answer_format.c: strict templates: does the whole response keep the form?
 *
 * Each is what its regular expression says, walked by hand in linear time. Where an expression has a lazy ".*?"
 * before a fixed word, the first (or, before a tail without '<', the last) place of that word decides, so there is
 * no backtracking. */
#include "task/answer.h"

#include <stdio.h>
#include <stdlib.h>

static void skip_space(tr_span *text)
{
    text->at = tr_scan_skip_space(text->at, text->end);
}

/* ts to te, ts to te, ... up to the closing tag; counts the pairs. White space as the peers' expressions allow it.
 */
static bool take_list(tr_span *text, size_t *pairs)
{
    double number;
    skip_space(text);
    while (text->at < text->end && tr_scan_digit(*text->at)) {
        if (!tr_scan_number(text, &number)) {
            return false;
        }
        const char *before = text->at;
        skip_space(text);
        if (text->at == before || !TR_SCAN_TAKE(text, "to")) {
            return false;
        }
        before = text->at;
        skip_space(text);
        if (text->at == before || !tr_scan_number(text, &number)) {
            return false;
        }
        ++*pairs;
        skip_space(text);
        if (!TR_SCAN_TAKE(text, ",")) {
            return true;
        }
        skip_space(text);
        if (text->at >= text->end || !tr_scan_digit(*text->at)) {
            return false; /* a comma that no pair follows */
        }
    }
    return true;
}

/* White space, then this and nothing else. */
static bool take_next(tr_span *text, const char *word, size_t length)
{
    skip_space(text);
    return tr_scan_take(text, word, length);
}
#define TAKE_NEXT(text, literal) take_next(text, literal, sizeof literal - 1)

static bool take_next_number(tr_span *text)
{
    double number;
    skip_space(text);
    return tr_scan_number(text, &number);
}

/* [(s, e), (s, e)] */
static bool take_glue(tr_span *text, size_t *pairs)
{
    if (!TAKE_NEXT(text, "[")) {
        return false;
    }
    skip_space(text);
    while (TR_SCAN_TAKE(text, "(")) {
        if (!take_next_number(text) || !TAKE_NEXT(text, ",") || !take_next_number(text) || !TAKE_NEXT(text, ")")) {
            return false;
        }
        ++*pairs;
        if (!TAKE_NEXT(text, ",")) {
            break;
        }
        skip_space(text);
        if (text->at >= text->end || *text->at != '(') {
            return false;
        }
    }
    if (!TR_SCAN_TAKE(text, "]")) {
        return false;
    }
    skip_space(text);
    return true;
}

static bool take_option(tr_span *text)
{
    skip_space(text);
    bool bracket = TR_SCAN_TAKE(text, "(");
    if (text->at >= text->end || *text->at < 'A' || *text->at > 'Z') {
        return false;
    }
    text->at++;
    if (bracket && !TR_SCAN_TAKE(text, ")")) {
        return false;
    }
    (void)TR_SCAN_TAKE(text, ".");
    skip_space(text);
    return true;
}

/* White space and [\d.]+ in quotes: Temporal-R1's format part accepts "1.2.3" (its accuracy part does not). */
static bool take_quoted_digits(tr_span *text)
{
    if (!TAKE_NEXT(text, "\"")) {
        return false;
    }
    const char *before = text->at;
    while (text->at < text->end && (tr_scan_digit(*text->at) || *text->at == '.')) {
        text->at++;
    }
    return text->at > before && TR_SCAN_TAKE(text, "\"");
}

static bool take_json(tr_span *text)
{
    bool good = TAKE_NEXT(text, "{") && TAKE_NEXT(text, "\"start_time\"") && TAKE_NEXT(text, ":") &&
                take_quoted_digits(text) && TAKE_NEXT(text, ",") && TAKE_NEXT(text, "\"end_time\"") &&
                TAKE_NEXT(text, ":") && take_quoted_digits(text) && TAKE_NEXT(text, "}");
    skip_space(text);
    return good;
}

/* <think>.*?</think>\s* before a tail that holds no "</think>" itself: the last one ends the reasoning. */
static bool take_think(tr_span *text, tr_think think)
{
    bool there = TR_SCAN_TAKE(text, "<think>");
    if (!there) {
        return think != TR_THINK_REQUIRED;
    }
    const char *close = think == TR_THINK_FORBIDDEN ? NULL : tr_scan_find_last(*text, "</think>", 8);
    if (!close) {
        return false;
    }
    text->at = close + 8;
    skip_space(text);
    return true;
}

/* The same before <answer>.*?</answer>, whose text may hold anything: the first "</think>" that an "<answer>"
 * follows. */
static bool take_think_before_any(tr_span *text, tr_think think)
{
    if (!TR_SCAN_TAKE(text, "<think>")) {
        return think != TR_THINK_REQUIRED && TR_SCAN_TAKE(text, "<answer>");
    }
    if (think == TR_THINK_FORBIDDEN) {
        return false;
    }
    for (const char *close; (close = tr_scan_find(text->at, text->end, "</think>", 8));) {
        text->at = close + 8;
        skip_space(text);
        if (TR_SCAN_TAKE(text, "<answer>")) {
            return true;
        }
    }
    return false;
}

static bool ends_with(tr_span text, const char *word, size_t length)
{
    return (size_t)(text.end - text.at) >= length && !memcmp(text.end - length, word, length);
}

static bool any_glue(tr_span text, tr_span response)
{
    for (const char *close; (close = tr_scan_find(text.at, text.end, "</answer>", 9));) {
        text.at = close + 9;
        skip_space(&text);
        if (TR_SCAN_TAKE(&text, "<glue>")) {
            tr_span inside;
            tr_interval list[TR_ANSWER_INTERVALS];
            tr_answer answer = {.intervals = list};
            return ends_with(text, "</glue>", 7) && tr_scan_block(response, "<glue>", "</glue>", &inside, NULL) &&
                   tr_answer_glue(inside, response.at, &answer);
        }
    }
    return false;
}

/* How often text matches number's decimal text, whose point stands for any byte, up to 11 times. */
static int mentions(tr_span text, double number)
{
    char word[64];
    if (!(number < 1e16)) {
        return 0;
    }
    for (int decimals = 1; decimals <= 17;
         decimals++) { /* the shortest decimal that gives the number back: "5.0" */
        snprintf(word, sizeof word, "%.*f", decimals, number);
        if (strtod(word, NULL) == number) {
            break;
        }
    }
    size_t length = strlen(word);
    int count = 0;
    for (const char *at = text.at; (size_t)(text.end - at) >= length && count <= 10;) {
        size_t k = 0;
        while (k < length && (word[k] == '.' || word[k] == at[k])) {
            k++;
        }
        count += k == length;
        at += k == length ? length : 1;
    }
    return count;
}

static bool once(tr_span text, const char *word, size_t length, const char **at)
{
    *at = tr_scan_find(text.at, text.end, word, length);
    return *at && !tr_scan_find(*at + length, text.end, word, length);
}

/* MUSEG: 1 when every time is mentioned in the reasoning (1 to 10 times), 0.6 when not, 0.2 when the answer is not
 * a list of segments, 0 when the tags are not in order, each once. */
static double spaced(tr_span response)
{
    const char *tags[4];
    tr_span text = tr_scan_trim(response);
    if (!once(text, "<think>", 7, &tags[0]) || !once(text, "</think>", 8, &tags[1]) ||
        !once(text, "<answer>", 8, &tags[2]) || !once(text, "</answer>", 9, &tags[3]) || tags[0] != text.at ||
        tags[1] < tags[0] || tags[2] != tr_scan_skip_space(tags[1] + 8, text.end) || tags[3] < tags[2] ||
        tags[3] + 9 != text.end) {
        return 0;
    }
    tr_span thought = {tags[0] + 7, tags[1]}, rest = {tags[2] + 8, tags[3]};
    const size_t patience =
        16u << 20; /* bytes compared before the answer counts as not mentioned: bounds the work */
    size_t compared = 0;
    double grade = 1;
    for (skip_space(&rest); rest.at < rest.end; skip_space(&rest)) {
        double value[2];
        if (!tr_scan_dashed(&rest, value)) {
            return 0.2;
        }
        for (int i = 0; i < 2 && grade == 1; i++) {
            compared += (size_t)(thought.end - thought.at);
            int count = compared < patience ? mentions(thought, value[i]) : 0;
            grade = count >= 1 && count <= 10 ? 1 : 0.6;
        }
    }
    return grade;
}

double tr_answer_format(const tr_template_check *check, tr_span response)
{
    tr_span text = check->strip ? tr_scan_trim(response) : response;
    size_t pairs = 0;
    switch (check->kind) {
    case TR_TEMPLATE_NONE:
        return 0;
    case TR_TEMPLATE_SPACED:
        return spaced(response);
    case TR_TEMPLATE_ANY:
        return take_think_before_any(&text, check->think) && ends_with(text, "</answer>", 9);
    case TR_TEMPLATE_ANY_GLUE:
        return take_think_before_any(&text, check->think) && any_glue(text, response);
    case TR_TEMPLATE_LIST:
    case TR_TEMPLATE_OPTION:
    case TR_TEMPLATE_OPTION_GLUE:
    case TR_TEMPLATE_JSON:
        break;
    }
    if (!take_think(&text, check->think) || !TR_SCAN_TAKE(&text, "<answer>")) {
        return 0;
    }
    bool kept = check->kind == TR_TEMPLATE_LIST   ? take_list(&text, &pairs)
                : check->kind == TR_TEMPLATE_JSON ? take_json(&text)
                                                  : take_option(&text);
    if (!kept || !TR_SCAN_TAKE(&text, "</answer>")) {
        return 0;
    }
    if (check->kind == TR_TEMPLATE_OPTION_GLUE) {
        skip_space(&text);
        if (!TR_SCAN_TAKE(&text, "<glue>") || !take_glue(&text, &pairs) || !TR_SCAN_TAKE(&text, "</glue>")) {
            return 0;
        }
    }
    bool counted = check->kind == TR_TEMPLATE_LIST || check->kind == TR_TEMPLATE_OPTION_GLUE;
    return text.at == text.end && (!counted || (pairs >= check->fewest && pairs <= check->most));
}
