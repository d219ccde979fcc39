/* scan.c: reading bytes of a response: white space, numbers, tags. */
#include "task/scan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

size_t tr_scan_wide_space(const char *at, const char *end)
{
    unsigned char c = (unsigned char)at[0];
    unsigned char d = end - at > 1 ? (unsigned char)at[1] : 0, e = end - at > 2 ? (unsigned char)at[2] : 0;
    if (c == 0xC2) { /* next line, no-break space */
        return d == 0x85 || d == 0xA0 ? 2 : 0;
    }
    if (c == 0xE1) { /* U+1680 */
        return d == 0x9A && e == 0x80 ? 3 : 0;
    }
    if (c == 0xE2) { /* U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F */
        bool wide = d == 0x80 && ((e >= 0x80 && e <= 0x8A) || e == 0xA8 || e == 0xA9 || e == 0xAF);
        return wide || (d == 0x81 && e == 0x9F) ? 3 : 0;
    }
    return c == 0xE3 && d == 0x80 && e == 0x80 ? 3 : 0; /* U+3000 */
}

tr_span tr_scan_trim(tr_span text)
{
    text.at = tr_scan_skip_space(text.at, text.end);
    while (text.end > text.at) {
        size_t back = 1; /* a character of UTF-8 has at most three bytes here */
        while (back < 3 && text.end - (ptrdiff_t)back > text.at &&
               ((unsigned char)text.end[-(ptrdiff_t)back] & 0xC0) == 0x80) {
            back++;
        }
        if (tr_scan_space(text.end - back, text.end) != back) {
            break;
        }
        text.end -= back;
    }
    return text;
}

size_t tr_scan_dash(const char *at, const char *end)
{
    if (at < end && *at == '-') {
        return 1;
    }
    if (end - at < 3) {
        return 0;
    }
    unsigned char c = (unsigned char)at[0], d = (unsigned char)at[1], e = (unsigned char)at[2];
    bool dash = (c == 0xE2 && d == 0x80 && e >= 0x90 && e <= 0x95) || (c == 0xE2 && d == 0x88 && e == 0x92) ||
                (c == 0xEF && d == 0xB9 && (e == 0x98 || e == 0xA3)) || (c == 0xEF && d == 0xBC && e == 0x8D);
    return dash ? 3 : 0;
}

/* digits[0, count) without the point, `decimals` of them behind it: correctly rounded by strtod, written with an
 * exponent so that no locale's decimal comma matters. */
static double slow_number(const char *from, const char *to, size_t decimals)
{
    char text[512];
    size_t used = 0, dropped = 0;
    for (; from < to; from++) {
        if (*from == '.') {
            continue;
        }
        if (used + 32 < sizeof text) {
            text[used++] = *from;
        } else {
            dropped++; /* behind 480 digits: below any rounding, it only shifts the exponent */
        }
    }
    snprintf(text + used, sizeof text - used, "e%lld", (long long)dropped - (long long)decimals);
    return strtod(text, NULL);
}

static const double ten_to[] = {1,    1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Up to 15 digits and 22 decimals one division of two exact numbers is the correctly rounded value. */
static double digits_value(const char *from, const char *to)
{
    unsigned long long mantissa = 0;
    size_t digits = 0, decimals = 0;
    bool behind = false;
    for (const char *c = from; c < to; c++) {
        if (*c == '.') {
            behind = true;
            continue;
        }
        mantissa = digits < 18 ? mantissa * 10 + (unsigned long long)(*c - '0') : mantissa;
        digits++;
        decimals += behind;
    }
    return digits <= 15 ? (double)mantissa / ten_to[decimals] : slow_number(from, to, decimals);
}

bool tr_scan_number(tr_span *text, double *value)
{
    const char *at = text->at, *end = text->end;
    if (at >= end || !tr_scan_digit(*at)) {
        return false;
    }
    while (at < end && tr_scan_digit(*at)) {
        at++;
    }
    if (end - at > 1 && *at == '.' && tr_scan_digit(at[1])) {
        at++;
        while (at < end && tr_scan_digit(*at)) {
            at++;
        }
    }
    *value = digits_value(text->at, at);
    text->at = at;
    return true;
}

bool tr_scan_float(tr_span text, double *value)
{
    size_t digits = 0, points = 0;
    for (const char *c = text.at; c < text.end; c++) {
        if (!tr_scan_digit(*c) && *c != '.') {
            return false;
        }
        points += *c == '.';
        digits += *c != '.';
    }
    if (!digits || points > 1) {
        return false;
    }
    *value = digits_value(text.at, text.end);
    return true;
}

bool tr_scan_dashed(tr_span *text, double value[2])
{
    const char *start = text->at;
    while (text->at < text->end && !tr_scan_space(text->at, text->end)) {
        text->at++;
    }
    const char *dash = (const char *)memchr(start, '-', (size_t)(text->at - start));
    const char *stop = dash ? (const char *)memchr(dash + 1, '-', (size_t)(text->at - dash - 1)) : NULL;
    return dash && tr_scan_float((tr_span){start, dash}, &value[0]) &&
           tr_scan_float((tr_span){dash + 1, stop ? stop : text->at}, &value[1]);
}

bool tr_scan_block(tr_span text, const char *open, const char *close, tr_span *inside, const char **after)
{
    size_t close_length = strlen(close), open_length = strlen(open);
    const char *from = tr_scan_find(text.at, text.end, open, open_length);
    if (!from) {
        return false;
    }
    from += open_length;
    const char *to = tr_scan_find(from, text.end, close, close_length);
    if (!to) {
        return false;
    }
    *inside = (tr_span){from, to};
    if (after) {
        *after = to + close_length;
    }
    return true;
}

bool tr_scan_last_block(tr_span text, const char *open, const char *close, tr_span *inside)
{
    bool found = false;
    for (tr_span block; tr_scan_block(text, open, close, &block, &text.at);) {
        *inside = block;
        found = true;
    }
    return found;
}

const char *tr_scan_find_last(tr_span text, const char *word, size_t length)
{
    if ((size_t)(text.end - text.at) < length) {
        return NULL;
    }
    for (const char *at = text.end - length + 1; at > text.at;) {
        at--;
        if (*at == *word && !memcmp(at, word, length)) {
            return at;
        }
    }
    return NULL;
}
