/* test_answer_choice.c: the option letters of published benchmarks' rules: worked cases, and TempCompass' own
 * ratings of real answers. */
#include "support/shared.h"

#include "base/json.h"
#include "task/answer_choice.h"

#include <stdio.h>
#include <string.h>

static tr_span span(const char *text)
{
    return (tr_span){text, text + strlen(text)};
}

static void expect(const char *rule, const char *text, char got, char option)
{
    if (got != option) {
        fail_msg("%s reads '%s' as %c, expected %c", rule, text, got ? got : '-', option ? option : '-');
    }
}

static void test_rules(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        char mvbench, video_mme, tempcompass, temporal_r1;
    } cases[] = {
        {"", 0, 0, 0, 0},
        {"A", 'A', 'A', 'A', 'A'},
        {" (B) a cat ", 'B', 'B', 0, 'B'},
        {"C. there", 'C', 'C', 'C', 'C'},
        {"d) there", 'D', 0, 0, 'D'},
        {"D) there", 'D', 'D', 'D', 'D'},
        {"E.", 'E', 0, 0, 'E'},
        {"F", 0, 0, 0, 0},
        {"it is a dog", 'A', 0, 0, 'A'},
        {"Dog", 0, 'D', 0, 0},
        {"b_c 2b", 'B', 0, 0, 'B'},
        {"b-c", 'B', 0, 0, 'B'},
        {"x e.g. c", 'C', 0, 0, 'C'},        /* full stops are gone: "eg" is a word */
        {"word-B, a - b", 'A', 'B', 0, 'A'}, /* a dash beside a space takes them all away: "wordB" */
        {"it_B_is 2", 'B', 'B', 0, 'B'},     /* an underscore is a mark as well */
        {"Sentence B", 'B', 'B', 'B', 'B'},
        {"Option 2: x", 0, 0, 'B', 0},
        {"Option 12", 0, 0, 0, 0},
        {"<answer>(D)</answer> A", 'D', 'D', 0, 'D'},
        {"<answer>x (D) y</answer> A", 'D', 'D', 0, 'D'},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tr_span t = span(cases[i].text);
        expect("mvbench", cases[i].text, tr_choice_mvbench(t), cases[i].mvbench);
        expect("video-mme", cases[i].text, tr_choice_video_mme(t), cases[i].video_mme);
        expect("tempcompass", cases[i].text, tr_choice_tempcompass(t, NULL, 0), cases[i].tempcompass);
        expect("temporal-r1", cases[i].text, tr_choice_temporal_r1(t), cases[i].temporal_r1);
    }
    static const char *const said[] = {"no", "yes"};
    expect("tempcompass", "Yes, it does", tr_choice_tempcompass(span("Yes, it does"), said, 2), 'B');
    expect("tempcompass", "yesterday", tr_choice_tempcompass(span("yesterday"), said, 2), 'B');
    expect("tempcompass", "None of it", tr_choice_tempcompass(span("None of it"), said, 2), 'A');
    expect("tempcompass", "It is", tr_choice_tempcompass(span("It is"), said, 2), 0);
    const char cut[2] = {'A', 'B'}; /* a span without an end mark is not read behind its end */
    expect("tempcompass", "A", tr_choice_tempcompass((tr_span){cut, cut + 1}, NULL, 0), 'A');
    expect("mvbench", "A", tr_choice_mvbench((tr_span){cut, cut + 1}), 'A');
}

/* Where the benchmark's rule decided (match_success) ours gives the same rating. Elsewhere it asked a language
 * model, and ours reads nothing. */
static void test_tempcompass_ratings(void **state)
{
    (void)state;
    json_t *rated, *videos, *list, *item;
    tr_error err = {0};
    const char *video, *dimension;
    size_t i, by_rule = 0, by_judge = 0;
    if (tr_json_read(need_shared("data/oracles/tempcompass/gemini_multi-choice_rated.json"), &rated, &err)) {
        fail_msg("%s", err.message);
    }
    json_object_foreach(rated, video, videos)
    {
        json_object_foreach(videos, dimension, list)
        {
            json_array_foreach(list, i, item)
            {
                const char *given = json_string_value(json_object_get(item, "video-llm-prediction"));
                const char *truth = json_string_value(json_object_get(item, "gt-answer"));
                char option = given ? tr_choice_tempcompass(span(given), NULL, 0) : 0;
                bool right = option && option == truth[0];
                if (!json_is_true(json_object_get(item, "match_success"))) {
                    assert_true(option == 0);
                    by_judge++;
                    continue;
                }
                by_rule++;
                if (right != (json_integer_value(json_object_get(item, "rating")) == 1)) {
                    fail_msg("%s %s: '%s' for '%s'", video, dimension, given ? given : "(none)", truth);
                }
            }
        }
    }
    printf("TempCompass: %zu answers rated alike by rule, %zu left to a judge there\n", by_rule, by_judge);
    assert_int_equal(by_rule, 1458);
    json_decref(rated);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules), cmocka_unit_test(test_tempcompass_ratings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
