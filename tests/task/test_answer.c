/* test_answer.c: templates and parsers on every accepted and many refused forms. */
#include "support/shared.h"

#include "base/file.h"
#include "base/random.h"
#include "task/answer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tr_interval list[TR_ANSWER_INTERVALS];

static tr_span span(const char *text)
{
    return (tr_span){text, text + strlen(text)};
}

/* Prints what the tolerant parser finds: "5-20 30-40". */
static const char *pairs(const char *text, const tr_answer_units *units)
{
    static char out[4096];
    tr_answer answer = {.intervals = list};
    tr_answer_pairs(span(text), units, text, &answer);
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < answer.count && used < sizeof out - 64; i++) {
        used += (size_t)snprintf(out + used, sizeof out - used, "%s%g-%g", i ? " " : "", list[i].start_s,
                                 list[i].end_s);
    }
    assert_true(answer.count || answer.error);
    return out;
}

static void test_accepted(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"5 to 20", "5-20"},
        {" 5.0 to 20.25 ", "5-20.25"},
        {"5.0s to 20s", "5-20"},
        {"5 seconds to 20.5 seconds", "5-20.5"},
        {"5 sec - 20 secs", "5-20"},
        {"from 5 to 20", "5-20"},
        {"It happens from 5.0 to 20.0 seconds.", "5-20"},
        {"5-20", "5-20"},
        {"5 - 20", "5-20"},
        {"5\xE2\x80\x93"
         "20",
         "5-20"},                      /* en dash */
        {"5 \xE2\x80\x94 20", "5-20"}, /* em dash */
        {"5 \xE2\x88\x92 20", "5-20"}, /* minus sign */
        {"5\xC2\xA0to\xC2\xA0"
         "20",
         "5-20"}, /* no-break spaces */
        {"1 to 2, 3 to 4,5 - 6", "1-2 3-4 5-6"},
        {"[5, 20]", "5-20"},
        {"(5.5, 20)", "5.5-20"},
        {"[[5, 20], [30, 40]]", "5-20 30-40"},
        {"[(5.2, 10.4), (12, 13.5)]", "5.2-10.4 12-13.5"},
        {"[\"5.0\", \"20.0\"]", "5-20"},
        {"{\"start_time\": \"5.0\", \"end_time\": \"20.0\"}", "5-20"},
        {"{\"start_time\": 5, \"end_time\": 20.0}", "5-20"},
        {"{\"end_time\": 20, \"start_time\": 5}", "5-20"},
        {"{\"start\": 5, \"end\": 20}", "5-20"},
        {"[{\"start_time\": 1, \"end_time\": 2}, {\"start_time\": 3, \"end_time\": 4}]", "1-2 3-4"},
        {"```json\n[{\"start_time\": \"00:23.90\", \"end_time\": \"01:35.60\", \"x\": \"y\"}]\n```", "23.9-95.6"},
        {"**00:00.00 - 00:21.80:**\t\tA person", "0-21.8"},
        {"1:05 to 2:10", "65-130"},
        {"01:00:05.5 to 01:01:00", "3605.5-3660"},
        {"from 00 to 29", "0-29"},
        {"5TO20", "5-20"},
        {"-5 to 20", "-5-20"},
        {".5 to 1", "0.5-1"},
        {"20 to 5", "20-5"}, /* reversed pairs stay: the reward gives them 0 */
        {"64.0 - 72.0 seconds.", "64-72"},
        {"(5 to 20)", "5-20"},
        {"- 5 to 20\n- 30 to 40", "5-20 30-40"},
        {"The answer: 5 to 20 and 30 to 40", "5-20 30-40"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(pairs(cases[i][0], NULL), cases[i][1])) {
            fail_msg("'%s' gives '%s', expected '%s'", cases[i][0], pairs(cases[i][0], NULL), cases[i][1]);
        }
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {"",
                                        "5",
                                        "5 20",
                                        "5, 20",
                                        "5 and 20",
                                        "5 to",
                                        "to 20",
                                        "between 5 and 20",
                                        "five to twenty",
                                        "5 minutes to 6 minutes",
                                        "5 to 6 minutes",
                                        "10% to 20%",
                                        "frame 5 to frame 20",
                                        "frames 5 - 9 frames",
                                        "1.2.3 to 4",
                                        "5 to 1.2.3",
                                        "5x to 20",
                                        "[1, 2, 3]",
                                        "(1, 2, 3)",
                                        "{\"start_time\": 5}",
                                        "{\"start_time\": \"a\", \"end_time\": 20}",
                                        "5 hours to 6 hours",
                                        "1:75 to 2:10",
                                        "1:5 to 2:1",
                                        "1:2:3:4 to 5",
                                        "x264 to y265",
                                        "start 5 end 20",
                                        "5 then to 20",
                                        "5e1 to 6e1",
                                        "NaN to Infinity",
                                        "5 to twenty",
                                        "\xFF\xFE 5 \xE2 20",
                                        "12 frames to 15 frames",
                                        "0x10 to 0x20"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (pairs(cases[i], NULL)[0]) {
            fail_msg("'%s' gives '%s', expected nothing", cases[i], pairs(cases[i], NULL));
        }
    }
}

static void test_units(void **state)
{
    (void)state;
    tr_answer_units percent = {.percent = true, .duration_s = 200}, frames = {.frames = true, .fps = 2};
    assert_string_equal(pairs("10% to 20 percent", &percent), "20-40");
    assert_string_equal(pairs("5 to 20", &percent), "5-20");
    assert_string_equal(pairs("frame 10 to frame 20", &frames), "5-10");
    assert_string_equal(pairs("10 to 20", &frames), "5-10");
    assert_string_equal(pairs("10s to 20s", &frames), "10-20");
    assert_string_equal(pairs("10% to 20%", &frames), "");
}

static double format(tr_template kind, tr_think think, bool strip, size_t fewest, size_t most, const char *text)
{
    tr_template_check check = {kind, think, strip, fewest, most};
    return tr_answer_format(&check, span(text));
}

static void test_list_template(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int optional, required, forbidden;
    } cases[] = {
        {"<answer>5.0 to 20.0</answer>", 1, 0, 1},
        {"<think>a</think><answer>5 to 20</answer>", 1, 1, 0},
        {"<think></think>\n\n<answer> 5 to 20 </answer>", 1, 1, 0},
        {"<think>a</think>b</think> <answer>5 to 20</answer>", 1, 1, 0},
        {"\n<answer>5 to 20</answer>\n", 1, 0, 1},
        {"<answer>5 to 20, 30 to 40</answer>", 1, 0, 1},
        {"<answer>5 to 20 ,30 to 40</answer>", 1, 0, 1},
        {"<answer>5 to 20,</answer>", 0, 0, 0},
        {"<answer>, 5 to 20</answer>", 0, 0, 0},
        {"<answer>5 - 20</answer>", 0, 0, 0},
        {"<answer>5to20</answer>", 0, 0, 0},
        {"<answer>5s to 20s</answer>", 0, 0, 0},
        {"<answer>-5 to 20</answer>", 0, 0, 0},
        {"<answer>5. to 20</answer>", 0, 0, 0},
        {"<answer>5 to 20</answer> so", 0, 0, 0},
        {"so <answer>5 to 20</answer>", 0, 0, 0},
        {"<answer>5 to 20", 0, 0, 0},
        {"<think>a <answer>5 to 20</answer>", 0, 0, 0},
        {"<answer>1 to 2</answer><answer>5 to 20</answer>", 0, 0, 0},
        {"", 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int think = 0; think < 3; think++) {
            int want = think == 0 ? cases[i].optional : think == 1 ? cases[i].required : cases[i].forbidden;
            if (format(TR_TEMPLATE_LIST, (tr_think)think, true, 1, SIZE_MAX, cases[i].text) != want) {
                fail_msg("'%s' with think %d: expected %d", cases[i].text, think, want);
            }
        }
    }
    assert_true(format(TR_TEMPLATE_LIST, TR_THINK_OPTIONAL, true, 1, 1, "<answer>1 to 2, 3 to 4</answer>") == 0);
    assert_true(format(TR_TEMPLATE_LIST, TR_THINK_OPTIONAL, true, 2, 2, "<answer>1 to 2, 3 to 4</answer>") == 1);
    assert_true(format(TR_TEMPLATE_LIST, TR_THINK_OPTIONAL, true, 0, 9, "<answer></answer>") == 1);
    assert_true(format(TR_TEMPLATE_LIST, TR_THINK_OPTIONAL, true, 1, 9, "<answer></answer>") == 0);
    assert_true(format(TR_TEMPLATE_LIST, TR_THINK_OPTIONAL, false, 1, 1, "<answer>1 to 2</answer>\n") == 0);
}

static void test_other_templates(void **state)
{
    (void)state;
    assert_true(format(TR_TEMPLATE_OPTION, TR_THINK_OPTIONAL, true, 0, 0, "<answer>B</answer>") == 1);
    assert_true(format(TR_TEMPLATE_OPTION, TR_THINK_OPTIONAL, true, 0, 0, "<answer> (B). </answer>") == 1);
    assert_true(format(TR_TEMPLATE_OPTION, TR_THINK_OPTIONAL, true, 0, 0, "<answer>B because</answer>") == 0);
    assert_true(format(TR_TEMPLATE_OPTION, TR_THINK_OPTIONAL, true, 0, 0, "<answer>b</answer>") == 0);
    const char *glue = "<think>x</think><answer>A</answer> <glue>[(5.2, 10.4), (12, 13)]</glue>";
    assert_true(format(TR_TEMPLATE_OPTION_GLUE, TR_THINK_OPTIONAL, true, 0, SIZE_MAX, glue) == 1);
    assert_true(format(TR_TEMPLATE_ANY_GLUE, TR_THINK_REQUIRED, true, 0, 0, glue) == 1);
    assert_true(format(TR_TEMPLATE_OPTION_GLUE, TR_THINK_OPTIONAL, true, 0, SIZE_MAX,
                       "<answer>A</answer><glue>5 to 6</glue>") == 0);
    assert_true(format(TR_TEMPLATE_ANY_GLUE, TR_THINK_REQUIRED, true, 0, 0,
                       "<think></think><answer>A</answer><glue>[(9, 5)]</glue>") == 0);
    assert_true(format(TR_TEMPLATE_ANY, TR_THINK_REQUIRED, true, 0, 0,
                       " <think>a</think>\n<answer>anything</answer> ") == 1);
    assert_true(format(TR_TEMPLATE_ANY, TR_THINK_REQUIRED, true, 0, 0, "<think>a</think> x <answer>b</answer>") ==
                0);
    assert_true(
        format(TR_TEMPLATE_ANY, TR_THINK_REQUIRED, true, 0, 0, "<think>a</think> x </think><answer>b</answer>") ==
        1); /* ".*?" may pass the first closing tag */
    /* MUSEG's grades */
    assert_true(format(TR_TEMPLATE_SPACED, TR_THINK_REQUIRED, true, 0, 0,
                       "<think>from 5.0 to 20.5</think><answer>5.00-20.50</answer>") == 1);
    assert_true(format(TR_TEMPLATE_SPACED, TR_THINK_REQUIRED, true, 0, 0,
                       "<think>early</think><answer>5.00-20.50</answer>") == 0.6);
    assert_true(format(TR_TEMPLATE_SPACED, TR_THINK_REQUIRED, true, 0, 0,
                       "<think>5.0</think><answer>5 to 20</answer>") == 0.2);
    assert_true(format(TR_TEMPLATE_SPACED, TR_THINK_REQUIRED, true, 0, 0, "<answer>5-20</answer>") == 0);
}

static void test_parsers(void **state)
{
    (void)state;
    tr_answer answer = {.intervals = list};
    const char *text = "2.5 to 3 then 4 AND 5.";
    tr_answer_last_to(span(text), text, &answer);
    assert_true(answer.count == 1 && list[0].start_s == 4 && list[0].end_s == 5);
    answer = (tr_answer){.intervals = list};
    text = "1.2.3 to 4  5  to 6";
    tr_answer_last_to(span(text), text, &answer);
    assert_true(answer.count == 1 && list[0].start_s == 2.3 && list[0].end_s == 4);
    answer = (tr_answer){.intervals = list};
    text = " 1.5-2 3-4.25 ";
    tr_answer_spaced(span(text), text, &answer);
    assert_true(answer.count == 2 && list[1].end_s == 4.25 && !answer.error);
    answer = (tr_answer){.intervals = list};
    text = "1-2 4-3";
    tr_answer_spaced(span(text), text, &answer);
    assert_true(answer.count == 0 && answer.error && answer.error_at == 4);
    answer = (tr_answer){.intervals = list};
    assert_true(tr_answer_glue(span("[]"), "[]", &answer) && answer.count == 0);
    assert_true(tr_answer_glue(span("[(1, 2),(3.5,4),]"), "", &answer) && answer.count == 2);
    static const char *const bad[] = {"",          "[",        "[(1, 2)",         "(1, 2)",
                                      "[(1 , 2)]", "[(2, 1)]", "[(1, 2) (3, 4)]", "[1, 2]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        answer = (tr_answer){.intervals = list};
        assert_false(tr_answer_glue(span(bad[i]), bad[i], &answer));
    }
}

static void test_options(void **state)
{
    (void)state;
    static const char *const options[] = {"a red ball", "A blue cube", "nothing"};
    static const struct {
        const char *text;
        char want;
    } cases[] = {{"B", 'B'},
                 {" (C) ", 'C'},
                 {"B.", 'B'},
                 {"b", 'B'},
                 {"A) a red ball", 'A'},
                 {"a blue cube", 'B'},
                 {"Nothing.", 'C'},
                 {"Option B", 'B'},
                 {"The answer is C", 'C'},
                 {"A man walks", 0},
                 {"", 0},
                 {"42", 0},
                 {"B or C", 0},
                 {"The answer is A", 'A'},
                 {"I think it is B", 'B'},
                 {"[D]", 'D'}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char got = tr_answer_option(span(cases[i].text), options, 3);
        if (got != cases[i].want) {
            fail_msg("'%s' names %d, expected %d", cases[i].text, got, cases[i].want);
        }
    }
    assert_int_equal(tr_answer_option_first(span("the answer is B")), 'B');
    assert_int_equal(tr_answer_option_first(span("none")), 0);
}

static void test_find(void **state)
{
    (void)state;
    tr_span inside;
    const char *text = "<think><answer>1</answer></think><answer>2</answer> <answer>3</answer><answer>4";
    assert_true(tr_answer_find(TR_WHERE_FIRST, span(text), &inside) && *inside.at == '1');
    assert_true(tr_answer_find(TR_WHERE_LAST, span(text), &inside) && *inside.at == '3');
    assert_true(tr_answer_find(TR_WHERE_FINAL, span(text), &inside) && *inside.at == '3');
    const char *thought = "<answer>1</answer></think>5 to 6";
    assert_false(tr_answer_find(TR_WHERE_LAST, span(thought), &inside));
    assert_true(tr_answer_find(TR_WHERE_FINAL, span(thought), &inside) && *inside.at == '1');
    assert_true(tr_answer_find(TR_WHERE_ANYWHERE, span(thought), &inside) && *inside.at == '5');
}

/* Numbers are rounded correctly, also long ones. */
static void test_numbers(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 20000; i++) {
        char text[64];
        int decimals = (int)tr_random_below(1, i, 0, 0, 0, 25);
        double value, scale = tr_random_below(1, i, 1, 0, 0, 2) ? 1000 : 1e12;
        snprintf(text, sizeof text, "%.*f", decimals, tr_random_uniform(1, i, 2, 0, 0) * scale);
        tr_span at = span(text);
        assert_true(tr_scan_number(&at, &value) && at.at == at.end);
        if (value != strtod(text, NULL)) {
            fail_msg("%s reads as %.17g", text, value);
        }
    }
    double value;
    char digits[2000];
    memset(digits, '9', sizeof digits - 1);
    digits[sizeof digits - 1] = 0;
    assert_true(tr_scan_float(span(digits), &value) && isinf(value));
    memset(digits, '0', 1000);
    digits[1] = '.';
    assert_true(tr_scan_float(span(digits), &value) && value == 0);
    assert_false(tr_scan_float(span("1.2.3"), &value) || tr_scan_float(span("."), &value));
}

/* A megabyte of anything nasty, through every parser and template, in little time. */
static void test_megabyte(void **state)
{
    (void)state;
    static const char *const pieces[] = {"[",          "(",
                                         "{",          "<answer>",
                                         "</think>",   "<think>",
                                         "1",          "1.",
                                         "1:",         "1 to ",
                                         "-",          "<",
                                         " ",          "\"",
                                         "1 to 2, ",   "</answer><glue>",
                                         "start_time", "\xE2\x80",
                                         "(1, ",       "1-2 ",
                                         "a ",         "<think>1-2</think>"};
    size_t size = 1u << 20;
    char *text = malloc(size + 64);
    assert_non_null(text);
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        for (int wrapped = 0; wrapped < 2; wrapped++) {
            size_t n = strlen(pieces[p]), used = 0;
            if (wrapped) {
                used = (size_t)sprintf(text, "<think></think><answer>");
            }
            for (; used + n < size; used += n) {
                memcpy(text + used, pieces[p], n);
            }
            if (wrapped) {
                used += (size_t)sprintf(text + used, "</answer>");
            }
            tr_span all = {text, text + used}, inside;
            double start = tr_time_s();
            for (int k = TR_TEMPLATE_NONE; k <= TR_TEMPLATE_SPACED; k++) {
                tr_template_check check = {(tr_template)k, TR_THINK_OPTIONAL, true, 1, SIZE_MAX};
                (void)tr_answer_format(&check, all);
            }
            for (int w = 0; w < 4; w++) {
                inside = all;
                (void)tr_answer_find((tr_where)w, all, &inside);
                if (w != TR_WHERE_LAST) { /* one pass of the parsers is enough: sanitizers make a byte dear */
                    continue;
                }
                tr_answer a = {.intervals = list}, b = a, c = a, d = a, e = a;
                tr_interval out;
                tr_answer_pairs(inside, NULL, text, &a);
                tr_answer_json(inside, text, &b);
                tr_answer_last_to(inside, text, &c);
                tr_answer_spaced(inside, text, &d);
                (void)tr_answer_glue(inside, text, &e);
                (void)tr_answer_option(inside, NULL, 0);
                (void)tr_answer_option_first(inside);
                (void)tr_answer_compat_pair(inside, &out);
            }
            double seconds = tr_time_s() - start;
            if (seconds > 4) { /* 20 walks over a megabyte; sanitizers and a busy machine included */
                fail_msg("a megabyte of '%s' took %.2f s", pieces[p], seconds);
            }
        }
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accepted),        cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_units),           cmocka_unit_test(test_list_template),
                                       cmocka_unit_test(test_other_templates), cmocka_unit_test(test_parsers),
                                       cmocka_unit_test(test_options),         cmocka_unit_test(test_find),
                                       cmocka_unit_test(test_numbers),         cmocka_unit_test(test_megabyte)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
