/* answer.c: finding the answer in a response; the parsers of the published schemes; option letters. */
#include "task/answer.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

bool tr_answer_find(tr_where where, tr_span response, tr_span *inside)
{
    tr_span rest = response;
    if (where == TR_WHERE_LAST || where == TR_WHERE_ANYWHERE) {
        const char *close = tr_scan_find_last(response, "</think>", 8);
        rest.at = close ? close + 8 : rest.at;
    }
    if (where == TR_WHERE_FIRST) {
        return tr_scan_block(rest, "<answer>", "</answer>", inside, NULL);
    }
    if (tr_scan_last_block(rest, "<answer>", "</answer>", inside)) {
        return true;
    }
    *inside = rest;
    return where == TR_WHERE_ANYWHERE;
}

static bool refuse(tr_answer *answer, const char *error, const char *at, const char *response)
{
    if (!answer->error) {
        answer->error = error;
        answer->error_at = (size_t)(at - response);
    }
    return false;
}

static bool append(tr_answer *answer, double start_s, double end_s, const char *at, const char *response)
{
    if (answer->count == TR_ANSWER_INTERVALS) {
        answer->count = 0;
        return refuse(answer, "too many intervals", at, response);
    }
    answer->intervals[answer->count++] = (tr_interval){start_s, end_s};
    return true;
}

/* ---- Temporal-R1: JSON with start_time and end_time ---- */

static void skip_json_space(tr_span *text)
{
    while (text->at < text->end &&
           (*text->at == ' ' || *text->at == '\n' || *text->at == '\t' || *text->at == '\r')) {
        text->at++;
    }
}

/* A JSON number without sign and exponent, or the same digits quoted; false for anything else, right or wrong. */
static bool plain_value(tr_span *text, double *value)
{
    bool quoted = TR_SCAN_TAKE(text, "\"");
    const char *from = text->at;
    if (!tr_scan_number(text, value) || (!quoted && *from == '0' && text->at - from > 1 && from[1] != '.')) {
        return false;
    }
    return !quoted || TR_SCAN_TAKE(text, "\"");
}

/* The one shape that almost every answer has. False: let jansson look at it. */
static bool plain_object(tr_span text, double value[2])
{
    bool have[2] = {false, false};
    skip_json_space(&text);
    if (!TR_SCAN_TAKE(&text, "{")) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        skip_json_space(&text);
        int which = TR_SCAN_TAKE(&text, "\"start_time\"") ? 0 : TR_SCAN_TAKE(&text, "\"end_time\"") ? 1 : -1;
        if (which < 0 || have[which]) {
            return false;
        }
        have[which] = true;
        skip_json_space(&text);
        if (!TR_SCAN_TAKE(&text, ":")) {
            return false;
        }
        skip_json_space(&text);
        if (!plain_value(&text, &value[which])) {
            return false;
        }
        skip_json_space(&text);
        if (i == 0 ? !TR_SCAN_TAKE(&text, ",") : !TR_SCAN_TAKE(&text, "}")) {
            return false;
        }
    }
    skip_json_space(&text);
    return text.at == text.end;
}

/* float() of a JSON value: numbers, booleans, and strings that hold a number with white space around it. */
static bool to_float(const json_t *value, double *number)
{
    if (json_is_number(value)) {
        *number = json_number_value(value);
        return true;
    }
    if (json_is_boolean(value)) {
        *number = json_is_true(value);
        return true;
    }
    if (!json_is_string(value)) {
        return false;
    }
    const char *string = json_string_value(value);
    tr_span text = tr_scan_trim((tr_span){string, string + json_string_length(value)});
    char copy[128], *end;
    size_t length = (size_t)(text.end - text.at);
    if (tr_scan_float(text, number)) {
        return true;
    }
    if (!length || length >= sizeof copy || memchr(text.at, 'x', length) || memchr(text.at, 'X', length) ||
        memchr(text.at, '(', length)) {
        return false; /* float() has no hexadecimal and no nan(...) */
    }
    memcpy(copy, text.at, length);
    copy[length] = 0;
    if (tr_scan_space(copy, copy + length)) {
        return false;
    }
    *number = strtod(copy, &end);
    return end == copy + length;
}

void tr_answer_json(tr_span text, const char *response, tr_answer *answer)
{
    double value[2];
    if (plain_object(text, value)) {
        append(answer, value[0], value[1], text.at, response);
        return;
    }
    text = tr_scan_trim(text);
    json_error_t detail;
    json_t *object = json_loadb(text.at, (size_t)(text.end - text.at), JSON_DECODE_ANY | JSON_ALLOW_NUL, &detail);
    if (!object) {
        size_t at = detail.position > 0 && detail.position <= text.end - text.at ? (size_t)detail.position : 0;
        refuse(answer, "the answer is not valid JSON", text.at + at, response);
    } else if (!json_is_object(object)) {
        refuse(answer, "the answer is JSON, but not an object", text.at, response);
    } else {
        const json_t *start = json_object_get(object, "start_time"), *end = json_object_get(object, "end_time");
        if (!start || !end) {
            refuse(answer, start ? "end_time is missing" : "start_time is missing", text.at, response);
        } else if (!to_float(start, &value[0]) || !to_float(end, &value[1])) {
            refuse(answer, "start_time or end_time is not a number", text.at, response);
        } else {
            append(answer, value[0], value[1], text.at, response);
        }
    }
    json_decref(object);
}

/* ---- Time-R1 and VideoChat-R1: the last "(\d+\.?\d*) (to|and) (\d+\.?\d*)" ---- */

/* \d+\.?\d* at text->at; *fraction is where the digits behind the point begin, or the end. */
static bool take_loose(tr_span *text, double *value, const char **fraction)
{
    const char *from = text->at, *at = from;
    while (at < text->end && tr_scan_digit(*at)) {
        at++;
    }
    if (at == from) {
        return false;
    }
    if (at < text->end && *at == '.') {
        at++;
    }
    *fraction = at;
    while (at < text->end && tr_scan_digit(*at)) {
        at++;
    }
    text->at = at;
    return tr_scan_float((tr_span){from, at}, value);
}

static bool take_word(tr_span *text, const char *word, size_t length)
{
    if ((size_t)(text->end - text->at) < length || strncasecmp(text->at, word, length) != 0) {
        return false;
    }
    text->at += length;
    return true;
}

void tr_answer_last_to(tr_span text, const char *response, tr_answer *answer)
{
    bool found = false;
    double value[2];
    tr_interval last = {0, 0};
    while (text.at < text.end) {
        if (!tr_scan_digit(*text.at)) {
            text.at++;
            continue;
        }
        const char *fraction = text.at, *second = text.at;
        tr_span ahead = text;
        take_loose(&ahead, &value[0], &fraction);
        const char *behind = ahead.at;
        if ((take_word(&ahead, " to ", 4) || take_word(&ahead, " and ", 5)) &&
            take_loose(&ahead, &value[1], &second)) {
            last = (tr_interval){value[0], value[1]};
            found = true;
            text.at = ahead.at;
        } else { /* a match can still begin with the digits behind the point: "1.2.3 to 4" */
            text.at = fraction < behind ? fraction : behind;
        }
    }
    if (!found) {
        refuse(answer, "no \"number to number\" in the answer", text.at, response);
    } else {
        append(answer, last.start_s, last.end_s, text.at, response);
    }
}

/* ---- MUSEG: s-e s-e ---- */

void tr_answer_spaced(tr_span text, const char *response, tr_answer *answer)
{
    for (text.at = tr_scan_skip_space(text.at, text.end); text.at < text.end;
         text.at = tr_scan_skip_space(text.at, text.end)) {
        double value[2];
        const char *start = text.at;
        if (!tr_scan_dashed(&text, value) || !(value[0] < value[1])) {
            answer->count = 0;
            refuse(answer, "an item of the answer is not start-end with start before end", start, response);
            return;
        }
        if (!append(answer, value[0], value[1], start, response)) {
            return;
        }
    }
}

/* ---- VideoChat-R1: [(s, e), (s, e)] ---- */

static bool glue_pair(tr_span *text, double value[2])
{
    if (!TR_SCAN_TAKE(text, "(") || !tr_scan_number(text, &value[0]) || !TR_SCAN_TAKE(text, ",")) {
        return false;
    }
    text->at = tr_scan_skip_space(text->at, text->end);
    return tr_scan_number(text, &value[1]) && TR_SCAN_TAKE(text, ")") && value[0] <= value[1];
}

bool tr_answer_glue(tr_span text, const char *response, tr_answer *answer)
{
    const char *error = "the evidence is not a list [(s, e), ...]", *from = text.at;
    bool first = true, good = TR_SCAN_TAKE(&text, "[");
    while (good && text.at < text.end && *text.at != ']') {
        double value[2];
        if (!first) {
            good = TR_SCAN_TAKE(&text, ",");
            if (good && text.at < text.end && *text.at == ']') {
                break; /* one comma at the end is allowed */
            }
            text.at = tr_scan_skip_space(text.at, text.end);
        }
        good = good && glue_pair(&text, value);
        if (good && !append(answer, value[0], value[1], text.at, response)) {
            return false;
        }
        first = false;
    }
    if (!good || !TR_SCAN_TAKE(&text, "]") || text.at != text.end) {
        answer->count = 0;
        return refuse(answer, error, from, response);
    }
    return true;
}

/* ---- options ---- */

static bool word_byte(char c)
{
    return tr_scan_letter(c) || tr_scan_digit(c) || c == '_' || c == '\'' || (unsigned char)c >= 0x80;
}

static char option_text(tr_span text, const char *const *options, size_t count)
{
    size_t length = (size_t)(text.end - text.at);
    for (size_t i = 0; i < count && i < 26; i++) {
        const char *option = options[i];
        tr_span given = tr_scan_trim((tr_span){option, option + strlen(option)});
        size_t want = (size_t)(given.end - given.at);
        bool dot = length == want + 1 && want && text.at[want] == '.';
        if (want && (length == want || dot) && !strncasecmp(text.at, given.at, want)) {
            return (char)('A' + i);
        }
    }
    return 0;
}

char tr_answer_option(tr_span text, const char *const *options, size_t count)
{
    text = tr_scan_trim(text);
    char found = option_text(text, options, count);
    if (found || text.at == text.end) {
        return found;
    }
    if (text.end - text.at == 1 && tr_scan_letter(*text.at)) {
        return (char)(*text.at & ~0x20);
    }
    /* A letter that opens the answer and is followed by a mark: "B.", "B)", "B:", "B,", "(B)". */
    const char *at = text.at + (*text.at == '(' || *text.at == '[');
    if (at < text.end && *at >= 'A' && *at <= 'Z' && at + 1 < text.end && strchr(".):,]", at[1])) {
        return *at;
    }
    /* Else the one capital that stands alone anywhere ("Option B", "The answer is B"). The article "A" and the
     * pronoun "I" are words, not options, when a small letter follows after a space. */
    for (at = text.at; at < text.end; at++) {
        bool alone = *at >= 'A' && *at <= 'Z' && (at == text.at || !word_byte(at[-1])) &&
                     (at + 1 == text.end || !word_byte(at[1]));
        bool article =
            (*at == 'A' || *at == 'I') && text.end - at > 2 && at[1] == ' ' && at[2] >= 'a' && at[2] <= 'z';
        if (alone && !article) {
            if (found && found != *at) {
                return 0;
            }
            found = *at;
        }
    }
    return found;
}

/* Python replaces each phrase everywhere, one phrase after the other. A phrase can only hide or join letters by
 * standing in the text, and none holds a capital A to G but "Best answer:Best option:" (one phrase in the original,
 * which forgot a comma), so it is enough to pass over whole phrases while looking for the first capital. */
char tr_answer_option_first(tr_span text)
{
    static const char phrase[] = "Best answer:Best option:";
    for (const char *at = text.at; at < text.end; at++) {
        tr_span rest = {at, text.end};
        if (tr_scan_take(&rest, phrase, sizeof phrase - 1)) {
            at = rest.at - 1;
        } else if (*at >= 'A' && *at <= 'G') {
            return *at;
        }
    }
    return 0;
}
