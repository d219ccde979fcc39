/* scan.h: reading bytes of a response: white space, numbers, times, tags.
 *
 * A span is a piece of someone else's text; nothing is copied or allocated, every function is linear in what it
 * walks over and thread safe. Text is UTF-8; broken UTF-8 is just bytes that match nothing. */
#ifndef TR_TASK_SCAN_H
#define TR_TASK_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct tr_span {
    const char *at, *end;
} tr_span;

static inline bool tr_scan_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool tr_scan_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Bytes of the white-space character at `at` (Unicode's set, as regular expressions and strip() see it); 0 for
 * none. */
size_t tr_scan_wide_space(const char *at, const char *end); /* those that are not ASCII */
static inline size_t tr_scan_space(const char *at, const char *end)
{
    if (at >= end) {
        return 0;
    }
    unsigned char c = (unsigned char)*at;
    if (c > ' ' && c < 0xC2) {
        return 0;
    }
    return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31) ? 1 : c < 0xC2 ? 0 : tr_scan_wide_space(at, end);
}

/* The first byte that is not white space. */
static inline const char *tr_scan_skip_space(const char *at, const char *end)
{
    for (size_t n = tr_scan_space(at, end); n; n = tr_scan_space(at, end)) {
        at += n;
    }
    return at;
}

/* The span without white space at both ends. */
tr_span tr_scan_trim(tr_span text);

/* Bytes of the dash at `at`: '-', the Unicode dashes and the minus sign; 0 for none. */
size_t tr_scan_dash(const char *at, const char *end);

/* True when the span begins with word (and moves past it). */
static inline bool tr_scan_take(tr_span *text, const char *word, size_t length)
{
    if ((size_t)(text->end - text->at) < length || memcmp(text->at, word, length) != 0) {
        return false;
    }
    text->at += length;
    return true;
}
#define TR_SCAN_TAKE(text, literal) tr_scan_take(text, literal, sizeof literal - 1)

/* Where the text `word` first stands at or after `at`; NULL when it does not. */
static inline const char *tr_scan_find(const char *at, const char *end, const char *word, size_t length)
{
    return (const char *)memmem(at, (size_t)(end - at), word, length);
}

/* A decimal number `digits[.digits]` at text->at, rounded correctly, without sign or exponent; moves past it. A
 * point that no digit follows is left alone. False when no digit stands there. */
bool tr_scan_number(tr_span *text, double *value);

/* The value of digits and points as Python's float() reads them: "5", "5.", ".5"; false for "." and "1.2.3".
 * The whole span must be the number. */
bool tr_scan_float(tr_span text, double *value);

/* The next piece without white space as START-END (a second dash and what follows it do not count), both as
 * tr_scan_float reads them. False when it is something else; text is behind the piece either way. */
bool tr_scan_dashed(tr_span *text, double value[2]);

/* The first block <TAG>...</TAG> at or after text.at, shortest form (first opening, then first closing after it).
 * open is "<answer>", close "</answer>". *inside gets the content, *after (may be NULL) the byte behind the block.
 */
bool tr_scan_block(tr_span text, const char *open, const char *close, tr_span *inside, const char **after);

/* The last of the blocks that follow one another without overlapping. */
bool tr_scan_last_block(tr_span text, const char *open, const char *close, tr_span *inside);

/* Where the last `word` begins; NULL when there is none. */
const char *tr_scan_find_last(tr_span text, const char *word, size_t length);

#endif
