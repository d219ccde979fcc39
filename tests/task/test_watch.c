/* test_watch.c: each sign on answers that show it, on answers that nearly do, and the repetition against counting
 * by hand. */
#include "support/shared.h"

#include "base/random.h"
#include "task/watch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 4096, MOST = 16 };
static int32_t table[SLOTS];
static tr_interval room[MOST];

static tr_watch_answer say(int64_t row, const char *text, tr_interval *intervals, size_t count, double duration_s)
{
    return (tr_watch_answer){.row = row,
                             .group = row,
                             .text = text,
                             .length = strlen(text),
                             .intervals = intervals,
                             .count = count,
                             .duration_s = duration_s};
}

static int has(const tr_watch_answer *a, tr_watch_sign sign)
{
    return (int)(a->signs >> sign & 1u);
}

static unsigned alone(tr_watch_answer a)
{
    tr_watch_judge(&a, 1, table, SLOTS, room);
    return a.signs;
}

static void test_whole_clip(void **state)
{
    (void)state;
    tr_interval whole[] = {{0, 30}}, two[] = {{0, 16}, {14, 29}}, most[] = {{1, 29.4}}, beyond[] = {{-5, 100}};
    const unsigned it = 1u << TR_WATCH_WHOLE_CLIP;
    assert_int_equal(alone(say(1, "x", whole, 1, 30)), it);
    assert_int_equal(alone(say(1, "x", two, 2, 30)), it);    /* 29 of 30 seconds */
    assert_int_equal(alone(say(1, "x", most, 1, 30)), 0);    /* 28.4 of 30: below 95 % */
    assert_int_equal(alone(say(1, "x", beyond, 1, 30)), it); /* what lies outside the clip does not count */
    assert_int_equal(alone(say(1, "x", whole, 1, 0)), 0);    /* the clip's length is not known */
    assert_int_equal(alone(say(1, "x", whole, 1, 100)), 0);
    tr_watch_answer right = say(1, "x", whole, 1, 30);
    right.truth_s = 29; /* the event fills the clip: the answer is right */
    assert_int_equal(alone(right), 0);
    right.truth_s = 20;
    assert_int_equal(alone(right), it);
}

static void test_degenerate_and_empty(void **state)
{
    (void)state;
    tr_interval reversed[] = {{9, 3}, {4, 4}}, outside[] = {{40, 50}}, nan[] = {{NAN, 3}},
                good[] = {{9, 3}, {4, 5}};
    const unsigned degenerate = 1u << TR_WATCH_DEGENERATE, empty = 1u << TR_WATCH_EMPTY;
    const unsigned no_thought = 1u << TR_WATCH_NO_THOUGHT;
    assert_int_equal(alone(say(1, "x", reversed, 2, 30)), degenerate);
    assert_int_equal(alone(say(1, "x", outside, 1, 30)), degenerate);
    assert_int_equal(alone(say(1, "x", nan, 1, 30)), degenerate);
    assert_int_equal(alone(say(1, "x", good, 2, 30)), 0);
    assert_int_equal(alone(say(1, "", NULL, 0, 30)), empty);
    assert_int_equal(alone(say(1, " \n\t", NULL, 0, 30)), empty);
    assert_int_equal(alone(say(1, "<answer> </answer>", NULL, 0, 30)), empty);
    assert_int_equal(alone(say(1, "<think></think>\n<answer></answer>", NULL, 0, 30)), empty | no_thought);
    assert_int_equal(alone(say(1, "<answer>.</answer>", NULL, 0, 30)), 0);
    assert_int_equal(alone(say(1, "< answer", NULL, 0, 30)), 0); /* no whole tag */
    assert_int_equal(alone(say(1, "<think> ...\n</think><answer>1 to 2</answer>", NULL, 0, 30)), no_thought);
    assert_int_equal(alone(say(1, "<think>a</think>1", NULL, 0, 30)), 0);
    assert_int_equal(alone(say(1, "<think>\xc3\xa9</think>1", NULL, 0, 30)), 0);
    assert_int_equal(alone(say(1, "<think> cut off", NULL, 0, 30)), 0);
    assert_int_equal(alone(say(1, "1 to 2</think>", NULL, 0, 30)), 0);
}

static void test_constant(void **state)
{
    (void)state;
    tr_interval a[] = {{3, 8}}, near[] = {{3.04, 7.96}}, off[] = {{3.2, 8}}, two[] = {{3, 8}, {3, 8}};
    tr_watch_answer all[] = {say(1, "a", a, 1, 30), say(2, "b", near, 1, 30), say(3, "c", off, 1, 30),
                             say(3, "d", off, 1, 30), say(4, "e", two, 2, 30)};
    tr_watch_judge(all, 5, table, SLOTS, room);
    assert_true(has(&all[0], TR_WATCH_CONSTANT) && has(&all[1], TR_WATCH_CONSTANT));
    assert_false(has(&all[2], TR_WATCH_CONSTANT)); /* its only equal answers the same prompt */
    assert_false(has(&all[3], TR_WATCH_CONSTANT));
    assert_false(has(&all[4], TR_WATCH_CONSTANT));
    assert_false(has(&all[0], TR_WATCH_SAME_OFFSETS)); /* clips of one length */
    all[0].truth = all[1].truth = 7; /* two questions with one truth: an equal answer may be right */
    tr_watch_judge(all, 5, table, SLOTS, room);
    assert_false(has(&all[0], TR_WATCH_CONSTANT) || has(&all[1], TR_WATCH_CONSTANT));
}

static void test_same_offsets(void **state)
{
    (void)state;
    tr_interval a[] = {{10, 20}}, b[] = {{25.1, 49.9}}, c[] = {{0, 40}}, d[] = {{0, 100}};
    tr_watch_answer all[] = {say(1, "a", a, 1, 40), say(2, "b", b, 1, 100), say(3, "c", c, 1, 40),
                             say(4, "d", d, 1, 100)};
    tr_watch_judge(all, 4, table, SLOTS, room);
    assert_true(has(&all[0], TR_WATCH_SAME_OFFSETS) && has(&all[1], TR_WATCH_SAME_OFFSETS)); /* 25 % to 50 % */
    assert_false(has(&all[2], TR_WATCH_SAME_OFFSETS)); /* whole clips are counted as such alone */
    assert_true(has(&all[2], TR_WATCH_WHOLE_CLIP) && has(&all[3], TR_WATCH_WHOLE_CLIP));
    b[0] = (tr_interval){10.25, 20.5};
    all[1].duration_s = 41; /* about the same length: equal shares are nearly equal seconds */
    tr_watch_judge(all, 2, table, SLOTS, room);
    assert_false(has(&all[0], TR_WATCH_SAME_OFFSETS));
    all[1].duration_s = 45;
    b[0] = (tr_interval){11.25, 22.5};
    tr_watch_judge(all, 2, table, SLOTS, room);
    assert_true(has(&all[0], TR_WATCH_SAME_OFFSETS));
}

static void test_options(void **state)
{
    (void)state;
    tr_watch_answer all[40];
    for (int i = 0; i < 40; i++) { /* five prompts, eight answers each, all B */
        all[i] = say(i / 8, i % 2 ? "B" : "(B)", NULL, 0, 30);
        all[i].option = 'B';
        all[i].truth = 1 + (uint64_t)(i / 8 % 2);
    }
    tr_watch_judge(all, 24, table, SLOTS, room); /* three prompts say nothing yet */
    assert_false(has(&all[0], TR_WATCH_CONSTANT));
    tr_watch_judge(all, 32, table, SLOTS, room); /* four do */
    assert_true(has(&all[0], TR_WATCH_CONSTANT));
    tr_watch_judge(all, 40, table, SLOTS, room);
    for (int i = 0; i < 40; i++) {
        assert_true(has(&all[i], TR_WATCH_CONSTANT));
    }
    for (int i = 0; i < 5; i++) {
        all[i].option = 'C'; /* 35 of 40 is below nine tenths */
    }
    tr_watch_judge(all, 40, table, SLOTS, room);
    assert_false(has(&all[39], TR_WATCH_CONSTANT));
    all[0].option = 'B'; /* 36 of 40 */
    tr_watch_judge(all, 40, table, SLOTS, room);
    assert_true(has(&all[39], TR_WATCH_CONSTANT) && !has(&all[1], TR_WATCH_CONSTANT));
    for (int i = 0; i < 40; i++) {
        all[i].truth = 5; /* B is right everywhere */
        all[i].option = 'B';
    }
    tr_watch_judge(all, 40, table, SLOTS, room);
    assert_false(has(&all[0], TR_WATCH_CONSTANT));
}

static void test_identical(void **state)
{
    (void)state;
    tr_watch_answer all[] = {say(1, "same", NULL, 0, 30), say(1, "same", NULL, 0, 30), say(1, "other", NULL, 0, 30),
                             say(2, "same", NULL, 0, 30), say(1, "same", NULL, 0, 30)};
    tr_watch_judge(all, 5, table, SLOTS, room);
    const int expected[] = {0, 1, 0, 0,
                            1}; /* the first of them counts as its own; another group is another matter */
    for (int i = 0; i < 5; i++) {
        assert_int_equal(has(&all[i], TR_WATCH_IDENTICAL), expected[i]);
    }
}

/* Counting by comparing every run with every earlier one. */
static double by_hand(const int32_t *ids, size_t count)
{
    size_t hits = 0, runs = count - TR_WATCH_RUN + 1;
    for (size_t i = 0; i < runs; i++) {
        for (size_t k = 0; k < i; k++) {
            if (!memcmp(ids + i, ids + k, TR_WATCH_RUN * sizeof *ids)) {
                hits++;
                break;
            }
        }
    }
    return (double)hits / (double)runs;
}

static void test_repetition(void **state)
{
    (void)state;
    int32_t ids[1024];
    for (uint32_t c = 0; c < 60; c++) {
        size_t count = 32 + (size_t)tr_random_below(3, c, 0, 0, 0, 900);
        int64_t period = 1 + (int64_t)tr_random_below(3, c, 1, 0, 0, 60);
        size_t from = (size_t)tr_random_below(3, c, 2, 0, 0, (uint32_t)count);
        for (size_t i = 0; i < count; i++) { /* at first anything, then a loop */
            ids[i] = i < from + (size_t)period ? (int32_t)tr_random_below(4, c, (uint32_t)i, 0, 0, 6)
                                               : ids[i - (size_t)period];
        }
        double expected = by_hand(ids, count), found = tr_watch_repetition(ids, count, table, SLOTS);
        assert_true(found == expected);
    }
    for (int i = 0; i < 1024; i++) {
        ids[i] = i < 200 ? i : i % 20;
    }
    assert_true(tr_watch_repetition(ids, 31, table, SLOTS) == 0); /* too short to say */
    assert_true(tr_watch_repetition(ids, 200, table, SLOTS) == 0);
    tr_watch_answer a = say(1, "x", NULL, 0, 30);
    a.ids = ids;
    a.tokens = 200;
    assert_int_equal(alone(a), 0);
    a.tokens = 1024;
    assert_int_equal(alone(a), 1u << TR_WATCH_REPEATED);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < TR_WATCH_COUNT; i++) {
        assert_true(strlen(tr_watch_name((tr_watch_sign)i)) > 3 && strlen(tr_watch_words((tr_watch_sign)i)) > 8);
    }
    assert_string_equal(tr_watch_name(TR_WATCH_NO_THOUGHT), "no_thought");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_clip), cmocka_unit_test(test_degenerate_and_empty),
        cmocka_unit_test(test_constant),   cmocka_unit_test(test_same_offsets),
        cmocka_unit_test(test_options),    cmocka_unit_test(test_identical),
        cmocka_unit_test(test_repetition), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
