/* answer_pairs.c: the tolerant parser: every pair of times in a text.
 *
 * One walk over the bytes with a small state; a byte is looked at a bounded number of times. It never guesses: a
 * number with a foreign unit ("5 minutes", "30%") is no time, a word between two times breaks their pair. */
#include "task/answer.h"

#include <math.h>

typedef enum expect {
    EXPECT_START,  /* nothing pending */
    EXPECT_JOINER, /* a time stands; "to", a dash or (in brackets) a comma may follow */
    EXPECT_END,    /* time and joiner stand */
    EXPECT_CLOSE   /* bracket, time, comma, time: only the closing bracket makes it a pair */
} expect;

enum { KEY_NONE = -1, KEY_START, KEY_END };

typedef struct walk {
    tr_span text;
    const tr_answer_units *units;
    const char *response;
    tr_answer *answer;
    expect expect;
    bool bracket; /* the pending time stands directly behind '(' or '[' */
    double first, second;
    int key; /* a key was read and its colon; the next time is its value */
    bool have_key[2];
    double key_value[2];
    bool full;
} walk;

typedef enum unit { UNIT_NONE, UNIT_SECONDS, UNIT_PERCENT, UNIT_FRAMES, UNIT_OTHER } unit;

static bool is_word(tr_span word, const char *text)
{
    for (; word.at < word.end; word.at++, text++) {
        if ((*word.at | 0x20) != *text && *word.at != *text) { /* text is small letters and '_' */
            return false;
        }
    }
    return !*text;
}

static tr_span next_word(const char *at, const char *end)
{
    tr_span word = {at, at};
    while (word.end < end && (tr_scan_letter(*word.end) || *word.end == '_')) {
        word.end++;
    }
    return word;
}

static unit unit_of(tr_span word)
{
    static const struct {
        const char *text;
        unit unit;
    } known[] = {{"s", UNIT_SECONDS},         {"sec", UNIT_SECONDS},     {"secs", UNIT_SECONDS},
                 {"second", UNIT_SECONDS},    {"seconds", UNIT_SECONDS}, {"percent", UNIT_PERCENT},
                 {"frame", UNIT_FRAMES},      {"frames", UNIT_FRAMES},   {"m", UNIT_OTHER},
                 {"min", UNIT_OTHER},         {"mins", UNIT_OTHER},      {"minute", UNIT_OTHER},
                 {"minutes", UNIT_OTHER},     {"h", UNIT_OTHER},         {"hour", UNIT_OTHER},
                 {"hours", UNIT_OTHER},       {"ms", UNIT_OTHER},        {"millisecond", UNIT_OTHER},
                 {"milliseconds", UNIT_OTHER}};
    if (word.at == word.end || !strchr("spfmh", *word.at | 0x20)) {
        return UNIT_NONE;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (is_word(word, known[i].text)) {
            return known[i].unit;
        }
    }
    return UNIT_NONE;
}

/* The unit behind a number, also behind white space; moves past it. A letter that touches the number and is no unit
 * spoils it, but "to" may touch ("5to20"). */
static unit take_unit(tr_span *text)
{
    const char *at = text->at;
    if (at < text->end && *at == '%') {
        text->at++;
        return UNIT_PERCENT;
    }
    tr_span word = next_word(at, text->end);
    if (word.at == word.end) {
        at = tr_scan_skip_space(at, text->end);
        if (at < text->end && *at == '%') {
            text->at = at + 1;
            return UNIT_PERCENT;
        }
        word = next_word(at, text->end);
        unit found = unit_of(word);
        if (found != UNIT_NONE) {
            text->at = word.end;
        }
        return found;
    }
    unit found = unit_of(word);
    if (found == UNIT_NONE && !is_word(word, "to")) {
        found = UNIT_OTHER;
    }
    if (!is_word(word, "to")) {
        text->at = word.end;
    }
    return found;
}

/* Two digits below 60. */
static bool take_sixty(tr_span *text, double *value)
{
    if (text->end - text->at < 2 || !tr_scan_digit(text->at[0]) || !tr_scan_digit(text->at[1]) ||
        text->at[0] > '5' || (text->end - text->at > 2 && tr_scan_digit(text->at[2]))) {
        return false;
    }
    *value = (text->at[0] - '0') * 10 + (text->at[1] - '0');
    text->at += 2;
    return true;
}

/* [mm]:ss[.f] or [hh]:mm:ss[.f] behind the leading number, at the colon. */
static bool take_clock(tr_span *text, double *value)
{
    double minutes = *value, seconds, more = 0;
    text->at++;
    const char *whole = text->at;
    if (!take_sixty(text, &seconds)) {
        return false;
    }
    if (text->at < text->end && *text->at == ':') {
        text->at++;
        minutes = minutes * 60 + seconds;
        whole = text->at;
        if (!take_sixty(text, &seconds)) {
            return false;
        }
    }
    if (text->end - text->at > 1 && *text->at == '.' && tr_scan_digit(text->at[1])) {
        tr_span number = {whole, text->end};
        tr_scan_number(&number, &more);
        seconds = more;
        text->at = number.at;
    }
    *value = minutes * 60 + seconds;
    return true;
}

static void skip_number_run(tr_span *text)
{
    while (text->at < text->end && (tr_scan_digit(*text->at) || *text->at == '.' || *text->at == ':')) {
        text->at++;
    }
}

/* A time at text->at (a digit, or a point before one); always moves on. False when the digits are no time. */
static bool take_time(walk *w, bool negative, bool frame, double *value)
{
    tr_span *text = &w->text;
    const char *from = text->at;
    bool clock = false;
    if (*from == '.') { /* .5 */
        const char *end = from + 1;
        while (end < text->end && tr_scan_digit(*end)) {
            end++;
        }
        text->at = end;
        tr_scan_float((tr_span){from, end}, value);
    } else {
        tr_scan_number(text, value);
        if (text->at < text->end && *text->at == ':' && text->end - text->at > 1 && tr_scan_digit(text->at[1])) {
            clock = memchr(from, '.', (size_t)(text->at - from)) == NULL && !frame && take_clock(text, value);
            if (!clock) {
                skip_number_run(text);
                return false;
            }
        }
    }
    bool more = text->end - text->at > 1 && (*text->at == '.' || *text->at == ':') && tr_scan_digit(text->at[1]);
    if (more) { /* 1.2.3 and 1:2:3:4 */
        skip_number_run(text);
        return false;
    }
    unit found = take_unit(text);
    const tr_answer_units *units = w->units;
    if (found == UNIT_OTHER || (clock && (found == UNIT_PERCENT || found == UNIT_FRAMES))) {
        return false;
    }
    if (found == UNIT_PERCENT) {
        if (!units || !units->percent || frame) {
            return false;
        }
        *value = *value / 100 * units->duration_s;
    } else if (found == UNIT_FRAMES || frame || (units && units->frames && found == UNIT_NONE && !clock)) {
        if (!units || !units->frames || !(units->fps > 0) || found == UNIT_SECONDS) {
            return false;
        }
        *value /= units->fps;
    }
    if (negative) {
        *value = -*value;
    }
    return true;
}

static void emit(walk *w, double start_s, double end_s)
{
    if (w->answer->count == TR_ANSWER_INTERVALS) {
        w->answer->count = 0;
        w->answer->error = "too many intervals";
        w->answer->error_at = (size_t)(w->text.at - w->response);
        w->full = true;
        return;
    }
    w->answer->intervals[w->answer->count++] = (tr_interval){start_s, end_s};
}

static void forget(walk *w)
{
    w->expect = EXPECT_START;
    w->bracket = false;
}

static void got_time(walk *w, bool good, bool after_bracket, double value)
{
    if (!good) {
        forget(w);
        w->key = KEY_NONE;
    } else if (w->key != KEY_NONE) {
        w->key_value[w->key] = value;
        w->have_key[w->key] = true;
        w->key = KEY_NONE;
        forget(w);
        if (w->have_key[KEY_START] && w->have_key[KEY_END]) {
            emit(w, w->key_value[KEY_START], w->key_value[KEY_END]);
            w->have_key[KEY_START] = w->have_key[KEY_END] = false;
        }
    } else if (w->expect == EXPECT_END && w->bracket) {
        w->second = value;
        w->expect = EXPECT_CLOSE;
    } else if (w->expect == EXPECT_END) {
        emit(w, w->first, value);
        forget(w);
    } else {
        w->first = value;
        w->expect = EXPECT_JOINER;
        w->bracket = after_bracket;
    }
}

/* "start_time" : and its like; at the word's first letter. */
static bool key_word(walk *w, tr_span word)
{
    char first = (char)(*word.at | 0x20);
    if (first != 's' && first != 'e') {
        return false;
    }
    int key = is_word(word, "start_time") || is_word(word, "start") ? KEY_START
              : is_word(word, "end_time") || is_word(word, "end")   ? KEY_END
                                                                    : KEY_NONE;
    if (key == KEY_NONE) {
        return false;
    }
    const char *at = word.end;
    at += at < w->text.end && (*at == '"' || *at == '\'');
    at = tr_scan_skip_space(at, w->text.end);
    if (at >= w->text.end || *at != ':') {
        return false;
    }
    forget(w);
    w->key = key;
    w->text.at = at + 1;
    return true;
}

/* Reads a word; returns true when the next number is a frame index ("frame 12"). */
static bool got_word(walk *w)
{
    tr_span word = next_word(w->text.at, w->text.end);
    if (key_word(w, word)) {
        return false;
    }
    w->text.at = word.end;
    if (is_word(word, "to") && w->expect == EXPECT_JOINER) {
        w->expect = EXPECT_END;
        w->bracket = false;
        return false;
    }
    bool frame = unit_of(word) == UNIT_FRAMES && w->units && w->units->frames;
    if (frame) {
        return true;
    }
    forget(w);
    w->key = KEY_NONE;
    if (!is_word(word, "to") && !is_word(word, "from")) { /* "x264", "take2": their digits are no time */
        while (w->text.at < w->text.end &&
               (tr_scan_digit(*w->text.at) || tr_scan_letter(*w->text.at) || *w->text.at == '_')) {
            w->text.at++;
        }
    }
    return false;
}

/* Punctuation. Quotes and emphasis marks stand inside pairs without meaning. */
static void got_mark(walk *w, char c)
{
    w->text.at++;
    if (c == '"' || c == '\'' || c == '*' || c == '`') {
        return;
    }
    if (c == ',' && w->expect == EXPECT_JOINER && w->bracket) {
        w->expect = EXPECT_END;
        return;
    }
    if ((c == ')' || c == ']') && w->expect == EXPECT_CLOSE) {
        emit(w, w->first, w->second);
    }
    if (c == '{' || c == '}') {
        w->have_key[KEY_START] = w->have_key[KEY_END] = false;
    }
    w->key = KEY_NONE;
    forget(w);
}

void tr_answer_pairs(tr_span text, const tr_answer_units *units, const char *response, tr_answer *answer)
{
    walk w = {.text = text, .units = units, .response = response, .answer = answer, .key = KEY_NONE};
    size_t before = answer->count;
    bool frame = false, after_bracket = false, negative = false;
    while (w.text.at < w.text.end && !w.full) {
        const char *at = w.text.at;
        char c = *at;
        size_t n = tr_scan_space(at, w.text.end);
        if (n) {
            w.text.at += n;
            negative = false;
            continue;
        }
        if (tr_scan_digit(c) || (c == '.' && w.text.end - at > 1 && tr_scan_digit(at[1]))) {
            double value = 0;
            bool good = take_time(&w, negative, frame, &value);
            got_time(&w, good, after_bracket, value);
            frame = after_bracket = negative = false;
            continue;
        }
        n = tr_scan_dash(at, w.text.end);
        if (n) {
            negative = w.expect != EXPECT_JOINER;
            if (!negative) {
                w.expect = EXPECT_END;
                w.bracket = false;
            }
            w.text.at += n;
            continue;
        }
        negative = false;
        if (tr_scan_letter(c)) {
            bool was_end = w.expect == EXPECT_END;
            frame = got_word(&w);
            if (frame && !was_end) {
                forget(&w);
            }
            after_bracket = after_bracket && frame;
            continue;
        }
        bool quote = c == '"' || c == '\'';
        got_mark(&w, c);
        after_bracket = c == '(' || c == '[' || (after_bracket && quote);
    }
    if (answer->count == before && !answer->error) {
        answer->error = "no pair of times in the answer";
        answer->error_at = (size_t)(text.at - response);
    }
}
