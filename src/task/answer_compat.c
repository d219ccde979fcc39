/* answer_compat.c: the text parser of Temporal-R1's evaluation (lmms-eval's temporal grounding), as it behaves.
 *
 * It lower-cases, drops a fixed example sentence, turns every "to" into "-", takes the first `number - number`;
 * else the first number of each sentence that holds a start, end or happen word, paired in order. Its third step,
 * hh:mm:ss times in the same sentences, can never add anything: every such sentence already gave a number to the
 * second step. */
#include "task/answer.h"

#include <strings.h>

static const char example[] = "a specific example is : 20.8 - 30.0 seconds";

/* Bytes at `at` that stand for a dash after the replacement: '-' or "to" in any case; 0 for none. */
static size_t joiner(const char *at, const char *end)
{
    if (at < end && *at == '-') {
        return 1;
    }
    return end - at > 1 && (at[0] | 0x20) == 't' && (at[1] | 0x20) == 'o' ? 2 : 0;
}

static bool skip_example(tr_span *text)
{
    size_t length = sizeof example - 1;
    if ((size_t)(text->end - text->at) < length || (*text->at | 0x20) != 'a' ||
        strncasecmp(text->at, example, length) != 0) {
        return false;
    }
    text->at += length;
    return true;
}

/* \d+\.*\d*; *rest is where the last digits begin (or the end). False for a text that float() refuses ("5..2"). */
static bool dotted(tr_span *text, double *value, const char **rest)
{
    const char *from = text->at, *at = from;
    while (at < text->end && tr_scan_digit(*at)) {
        at++;
    }
    while (at < text->end && *at == '.') {
        at++;
    }
    *rest = at;
    while (at < text->end && tr_scan_digit(*at)) {
        at++;
    }
    text->at = at;
    return tr_scan_float((tr_span){from, at}, value);
}

static bool first_range(tr_span text, tr_interval *out, bool *found)
{
    *found = false;
    while (text.at < text.end) {
        if (!tr_scan_digit(*text.at)) {
            text.at += !skip_example(&text);
            continue;
        }
        double value[2];
        const char *rest, *second;
        tr_span ahead = text;
        bool first_good = dotted(&ahead, &value[0], &rest);
        const char *behind = ahead.at;
        ahead.at = tr_scan_skip_space(ahead.at, ahead.end);
        size_t n = joiner(ahead.at, ahead.end);
        ahead.at = tr_scan_skip_space(ahead.at + n, ahead.end);
        if (n && ahead.at < ahead.end && tr_scan_digit(*ahead.at)) {
            *found = true;
            bool second_good = dotted(&ahead, &value[1], &second);
            *out = (tr_interval){value[0], value[1]};
            return first_good && second_good;
        }
        text.at = rest < behind && rest > text.at ? rest : behind;
    }
    return false;
}

/* Whether the character at `at` belongs to a word for a regular expression: of those beyond ASCII all but the
 * spaces and the common punctuation of Latin-1, U+2000 to U+206F, U+3000 to U+303F and the full-width forms. */
static bool word_at(const char *at, const char *end)
{
    unsigned char c = (unsigned char)at[0], d = end - at > 1 ? (unsigned char)at[1] : 0;
    if (c < 0x80) {
        return tr_scan_letter(*at) || tr_scan_digit(*at) || c == '_';
    }
    if (c == 0xC2) {
        return d == 0xAA || d == 0xB2 || d == 0xB3 || d == 0xB5 || d == 0xB9 || d == 0xBA ||
               (d >= 0xBC && d <= 0xBE);
    }
    return !((c == 0xE2 && (d == 0x80 || d == 0x81)) || (c == 0xE3 && d == 0x80) || (c == 0xEF && d == 0xBC));
}

static bool word_before(const char *begin, const char *at)
{
    const char *c = at - 1;
    while (c > begin && at - c < 4 && ((unsigned char)*c & 0xC0) == 0x80) {
        c--;
    }
    return at > begin && word_at(c, at);
}

/* The first \b(\d+\.\d+\b|\b\d+)\b. */
static bool first_number(tr_span text, double *value)
{
    for (const char *at = text.at; at < text.end; at++) {
        if (!tr_scan_digit(*at) || word_before(text.at, at)) {
            continue;
        }
        const char *whole = at, *end;
        while (whole < text.end && tr_scan_digit(*whole)) {
            whole++;
        }
        end = whole;
        if (text.end - whole > 1 && *whole == '.' && tr_scan_digit(whole[1])) {
            for (end = whole + 1; end < text.end && tr_scan_digit(*end); end++) {
            }
            if (end < text.end && word_at(end, text.end)) {
                end = whole;
            }
        }
        if (end == text.end || !word_at(end, text.end)) {
            return tr_scan_float((tr_span){at, end}, value);
        }
        at = whole;
    }
    return false;
}

static bool has_keyword(tr_span sentence)
{
    for (const char *at = sentence.at; at < sentence.end; at++) {
        size_t left = (size_t)(sentence.end - at);
        char c = (char)(*at | 0x20);
        if ((c == 's' && left >= 5 && !strncasecmp(at, "start", 5)) ||
            (c == 'e' && left >= 3 && !strncasecmp(at, "end", 3)) ||
            (c == 'h' && left >= 6 && !strncasecmp(at, "happen", 6))) {
            return true;
        }
    }
    return false;
}

bool tr_answer_compat_pair(tr_span text, tr_interval *out)
{
    bool found;
    double number[2] = {0, 0};
    size_t count = 0;
    bool good = first_range(text, out, &found);
    if (!found) {
        while (text.at < text.end && count < 2) {
            const char *end = text.at;
            while (end < text.end && *end != '!' && *end != '?' && *end != '\n') {
                end++;
            }
            tr_span sentence = {text.at, end};
            count += has_keyword(sentence) && first_number(sentence, &number[count]);
            text.at = end + (end < text.end);
        }
        good = count == 2;
        *out = (tr_interval){number[0], number[1]};
    }
    if (good && !(out->end_s > out->start_s)) {
        *out = (tr_interval){out->end_s, out->start_s};
    }
    return good;
}
