/* watch.c: signs that a policy earns its reward without looking at the clip. */
#include "task/watch.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static const double WHOLE_SHARE = 0.95, REPEATED_SHARE = 0.5, OPTION_SHARE = 0.9, OTHER_LENGTH = 0.05;
enum { OPTION_ROWS = 4 };

const char *tr_watch_name(tr_watch_sign sign)
{
    static const char *const names[] = {
#define X(name, text) text,
        TR_WATCH_LIST(X)
#undef X
    };
    return names[sign];
}

const char *tr_watch_words(tr_watch_sign sign)
{
    static const char *const words[] = {"answer with the whole clip",
                                        "give the same answer to different prompts",
                                        "answer with the same shares of clips of different lengths",
                                        "repeat themselves",
                                        "equal another response to their prompt",
                                        "are empty",
                                        "give intervals without length",
                                        "have an empty reasoning block"};
    return words[sign];
}

/* ---- repetition ---- */

double tr_watch_repetition(const int32_t *ids, size_t count, int32_t *table, size_t slots)
{
    size_t repeated = 0;
    if (count < 2 * TR_WATCH_RUN || slots < 2 * count) {
        return 0;
    }
    memset(table, 0xff, slots * sizeof *table); /* -1: free */
    const size_t runs = count - TR_WATCH_RUN + 1;
    for (size_t i = 0; i < runs; i++) {
        uint64_t hash = 1469598103934665603u;
        for (size_t k = 0; k < TR_WATCH_RUN; k++) {
            hash = (hash ^ (uint32_t)ids[i + k]) * 1099511628211u;
        }
        size_t slot = (hash ^ hash >> 32) & (slots - 1);
        while (table[slot] >= 0 && memcmp(ids + table[slot], ids + i, TR_WATCH_RUN * sizeof *ids) != 0) {
            slot = (slot + 1) & (slots - 1);
        }
        repeated += table[slot] >= 0;
        table[slot] = table[slot] >= 0 ? table[slot] : (int32_t)i;
    }
    return (double)repeated / (double)runs;
}

/* ---- texts ---- */

/* Behind a tag <...> that starts at p, or p itself. */
static const char *skip_tag(const char *p, const char *end)
{
    if (p < end && *p == '<') {
        const char *q = p + 1;
        while (q < end && *q != '>' && *q != '<') {
            q++;
        }
        return q < end && *q == '>' ? q + 1 : p;
    }
    return p;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_empty(const char *text, size_t length)
{
    const char *p = text, *end = text + length;
    while (p < end) {
        const char *next = is_blank(*p) ? p + 1 : skip_tag(p, end);
        if (next == p) {
            return false;
        }
        p = next;
    }
    return true;
}

static const char *find(const char *p, const char *end, const char *word)
{
    size_t n = strlen(word);
    for (; (size_t)(end - p) >= n; p++) {
        if (!memcmp(p, word, n)) {
            return p;
        }
    }
    return NULL;
}

/* A byte above 127 belongs to a letter of another script. */
static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c > 127;
}

static bool has_no_thought(const char *text, size_t length)
{
    const char *end = text + length, *open = find(text, end, "<think>");
    const char *close = open ? find(open + 7, end, "</think>") : NULL;
    if (!close) {
        return false;
    }
    for (const char *p = open + 7; p < close; p++) {
        if (is_word(*p)) {
            return false;
        }
    }
    return true;
}

/* ---- intervals ---- */

/* The part of the clip that the answer covers, in seconds. */
static double covered(const tr_watch_answer *a, tr_interval *room)
{
    for (size_t i = 0; i < a->count; i++) {
        room[i] = a->duration_s > 0 ? tr_interval_clamp(a->intervals[i], a->duration_s) : a->intervals[i];
    }
    return tr_union_length(room, tr_interval_union(room, a->count));
}

static void judge_alone(tr_watch_answer *a, int32_t *table, size_t slots, tr_interval *room)
{
    double seconds = a->count ? covered(a, room) : 0, whole_s = WHOLE_SHARE * a->duration_s;
    a->signs = 0;
    if (a->count && a->duration_s > 0 && seconds >= whole_s && !(a->truth_s >= whole_s)) {
        a->signs |= 1u << TR_WATCH_WHOLE_CLIP;
    }
    if (a->count && !(seconds > 0)) {
        a->signs |= 1u << TR_WATCH_DEGENERATE;
    }
    if (a->ids && tr_watch_repetition(a->ids, a->tokens, table, slots) >= REPEATED_SHARE) {
        a->signs |= 1u << TR_WATCH_REPEATED;
    }
    if (is_empty(a->text, a->length)) {
        a->signs |= 1u << TR_WATCH_EMPTY;
    }
    if (has_no_thought(a->text, a->length)) {
        a->signs |= 1u << TR_WATCH_NO_THOUGHT;
    }
}

/* Equal when rounded; what is no number equals nothing. */
static bool same_time(double a, double b)
{
    return isfinite(a) && isfinite(b) && round(a) == round(b);
}

/* Both lists in units of their own (a tenth of a second, a hundredth of the clip), rounded. */
static bool same_intervals(const tr_watch_answer *a, const tr_watch_answer *b, double unit_a, double unit_b)
{
    if (!a->count || a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (!same_time(a->intervals[i].start_s / unit_a, b->intervals[i].start_s / unit_b) ||
            !same_time(a->intervals[i].end_s / unit_a, b->intervals[i].end_s / unit_b)) {
            return false;
        }
    }
    return true;
}

static bool other_prompt(const tr_watch_answer *a, const tr_watch_answer *b)
{
    return a->row != b->row && (!a->truth || a->truth != b->truth);
}

static bool other_length(const tr_watch_answer *a, const tr_watch_answer *b)
{
    return a->duration_s > 0 && b->duration_s > 0 &&
           fabs(a->duration_s - b->duration_s) > OTHER_LENGTH * fmax(a->duration_s, b->duration_s);
}

static void judge_pair(tr_watch_answer *a, tr_watch_answer *b)
{
    const unsigned whole = 1u << TR_WATCH_WHOLE_CLIP;
    if (other_prompt(a, b) && same_intervals(a, b, 0.1, 0.1)) {
        a->signs |= 1u << TR_WATCH_CONSTANT;
        b->signs |= 1u << TR_WATCH_CONSTANT;
    }
    if (other_prompt(a, b) && other_length(a, b) && !((a->signs | b->signs) & whole) &&
        same_intervals(a, b, a->duration_s / 100, b->duration_s / 100)) {
        a->signs |= 1u << TR_WATCH_SAME_OFFSETS;
        b->signs |= 1u << TR_WATCH_SAME_OFFSETS;
    }
    if (a->group == b->group && a->length == b->length && !memcmp(a->text, b->text, a->length)) {
        b->signs |= 1u << TR_WATCH_IDENTICAL;
    }
}

/* ---- options: with four of them two prompts often share one, so only all of a step say something ---- */

static bool is_option_only(const tr_watch_answer *a)
{
    return a->option && !a->count;
}

static void judge_options(tr_watch_answer *answers, size_t count)
{
    size_t given[256] = {0}, all = 0, rows = 0;
    unsigned char most = 0;
    bool differ = false;
    const tr_watch_answer *first = NULL;
    for (size_t i = 0; i < count; i++) {
        const tr_watch_answer *a = &answers[i];
        bool seen = false;
        if (!is_option_only(a)) {
            continue;
        }
        unsigned char letter = (unsigned char)a->option;
        all++;
        given[letter]++;
        most = given[letter] > given[most] ? letter : most;
        first = first ? first : a;
        differ = differ || other_prompt(first, a);
        for (size_t k = 0; k < i && !seen; k++) {
            seen = is_option_only(&answers[k]) && answers[k].row == a->row;
        }
        rows += !seen;
    }
    if (rows < OPTION_ROWS || !differ || (double)given[most] < OPTION_SHARE * (double)all) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        bool it = is_option_only(&answers[i]) && (unsigned char)answers[i].option == most;
        answers[i].signs |= it ? 1u << TR_WATCH_CONSTANT : 0;
    }
}

void tr_watch_judge(tr_watch_answer *answers, size_t count, int32_t *table, size_t slots, tr_interval *room)
{
    for (size_t i = 0; i < count; i++) {
        judge_alone(&answers[i], table, slots, room);
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t k = i + 1; k < count; k++) {
            judge_pair(&answers[i], &answers[k]);
        }
    }
    judge_options(answers, count);
}
