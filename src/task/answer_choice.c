/* answer_choice.c: the option letters of published benchmarks' own rules. */
#include "task/answer_choice.h"

#include <string.h>
#include <strings.h>

static bool is_choice(char c)
{
    return (c >= 'A' && c <= 'E') || (c >= 'a' && c <= 'e');
}

static char upper(char c)
{
    return (char)(c >= 'a' ? c - 'a' + 'A' : c);
}

/* What a regular expression's \w holds; bytes of other alphabets' letters count as such. */
static bool in_word(char c)
{
    return tr_scan_letter(c) || tr_scan_digit(c) || c == '_' || (unsigned char)c >= 0x80;
}

/* ---- lmms-eval's rule for MVBench ---- */

static bool is_mark(char c)
{
    return c && strchr(";/[]\"{}()=+\\_-><@`,?!", c);
}

static bool is_gap(char c)
{
    return c == ' ' || c == '\n' || c == '\t';
}

/* Which marks vanish: those that stand beside a space somewhere in the text, or all where a comma stands between
 * two digits; the others become spaces. */
typedef struct marks {
    bool vanishes[128];
} marks;

static void find_marks(tr_span text, marks *m)
{
    bool all = false;
    memset(m, 0, sizeof *m);
    for (const char *c = text.at; c < text.end; c++) {
        const bool before = c > text.at, after = c + 1 < text.end;
        if (is_mark(*c) && ((before && is_gap(c[-1])) || (after && is_gap(c[1])))) {
            m->vanishes[(unsigned char)*c] = true;
        }
        all = all || (*c == ',' && before && after && tr_scan_digit(c[-1]) && tr_scan_digit(c[1]));
    }
    for (int c = 0; all && c < 128; c++) {
        m->vanishes[c] = is_mark((char)c);
    }
}

/* What the character at c has become: 0 gone, ' ', or itself. A full stop is gone unless a digit follows. */
static char seen(const marks *m, tr_span text, const char *c)
{
    if (*c == '.') {
        return c + 1 < text.end && tr_scan_digit(c[1]) ? '.' : 0;
    }
    return is_mark(*c) ? (m->vanishes[(unsigned char)*c] ? 0 : ' ') : *c;
}

/* Whether the text goes on as one word from c in a direction, over what is gone. */
static bool goes_on(const marks *m, tr_span text, const char *c, int direction)
{
    while ((direction > 0 ? text.end - c - 1 : c - text.at) > 0) {
        c += direction;
        const char now = seen(m, text, c);
        if (now) {
            return in_word(now);
        }
    }
    return false;
}

char tr_choice_mvbench(tr_span text)
{
    marks m;
    text = tr_scan_trim(text);
    if (text.end - text.at >= 2 && is_choice(text.at[0]) && text.at[1] == '.') {
        return upper(text.at[0]);
    }
    find_marks(text, &m);
    for (const char *c = text.at; c < text.end; c++) {
        if (is_choice(*c) && !goes_on(&m, text, c, -1) && !goes_on(&m, text, c, 1)) {
            return upper(*c);
        }
    }
    return 0;
}

char tr_choice_video_mme(tr_span text)
{
    for (const char *c = text.at; c < text.end; c++) {
        if (*c >= 'A' && *c <= 'D') {
            return *c;
        }
    }
    return 0;
}

static bool same_text(tr_span text, const char *option)
{
    size_t length = strlen(option);
    return (size_t)(text.end - text.at) == length && !strncasecmp(text.at, option, length);
}

/* What begins with yes or no, where these are the options. The benchmark looks at no more: "not" is a no. */
static char yes_or_no(tr_span text, const char *const *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(options[i]);
        if (strcasecmp(options[i], "yes") != 0 && strcasecmp(options[i], "no") != 0) {
            return 0;
        }
        if ((size_t)(text.end - text.at) >= length && !strncasecmp(text.at, options[i], length)) {
            return (char)('A' + i);
        }
    }
    return 0;
}

char tr_choice_tempcompass(tr_span text, const char *const *options, size_t count)
{
    text = tr_scan_trim(text);
    bool names = TR_SCAN_TAKE(&text, "Caption ") || TR_SCAN_TAKE(&text, "Sentence ");
    bool numbered = !names && TR_SCAN_TAKE(&text, "Option ");
    if (text.at < text.end) {
        char next = text.end - text.at > 1 ? text.at[1] : 0;
        bool letter = *text.at >= 'A' && *text.at <= 'D', digit = *text.at >= '1' && *text.at <= '4';
        if (letter && (!next || next == '.' || next == ')' || (names && !in_word(next)))) {
            return *text.at;
        }
        if (numbered && digit && !tr_scan_digit(next)) {
            return (char)('A' + (*text.at - '1'));
        }
    }
    char said = yes_or_no(text, options, count);
    for (size_t i = 0; i < count && i < 26 && !said; i++) {
        said = same_text(text, options[i]) ? (char)('A' + i) : 0;
    }
    return said;
}

char tr_choice_temporal_r1(tr_span response)
{
    tr_span inside;
    if (tr_scan_block(response, "<answer>", "</answer>", &inside, NULL)) {
        inside = tr_scan_trim(inside);
        for (const char *c = inside.at; c + 2 < inside.end; c++) {
            if (c[0] == '(' && c[2] == ')' && c[1] >= 'A' && c[1] <= 'Z') {
                return c[1];
            }
        }
        if (inside.end - inside.at == 1 && *inside.at >= 'A' && *inside.at <= 'Z') {
            return *inside.at;
        }
    }
    return tr_choice_mvbench(response);
}
