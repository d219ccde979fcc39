/* test_unicode.c: UTF-8, normal form C and the byte alphabet. */
#include "support/shared.h"

#include "base/random.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

static void test_valid_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int bad; /* -1: valid */
    } cases[] = {
        {"", -1},
        {"plain", -1},
        {"\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", -1},
        {"ab\x80", 2},              /* a continuation alone */
        {"a\xC0\x80", 1},           /* overlong */
        {"a\xC1\xBF", 1},           /* overlong */
        {"a\xE0\x9F\xBF", 1},       /* overlong */
        {"a\xED\xA0\x80", 1},       /* a surrogate */
        {"a\xF0\x8F\xBF\xBF", 1},   /* overlong */
        {"abc\xF4\x90\x80\x80", 3}, /* above U+10FFFF */
        {"\xF5\x80\x80\x80", 0},
        {"x\xE2\x82", 1}, /* cut short */
        {"x\xE2\x82y", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t bad = 99;
        bool valid = tr_utf8_valid(cases[i].text, strlen(cases[i].text), &bad);
        if (valid != (cases[i].bad < 0) || (!valid && (int)bad != cases[i].bad)) {
            fail_msg("case %zu: valid %d, bad byte %zu, expected %d", i, valid, bad, cases[i].bad);
        }
    }
}

static void expect_lossy(const char *bytes, const char *text)
{
    tr_buffer out = {0};
    size_t used;
    assert_int_equal(tr_utf8_lossy((const uint8_t *)bytes, strlen(bytes), true, &used, &out, NULL), TR_OK);
    assert_int_equal(used, strlen(bytes));
    assert_string_equal(tr_buffer_text(&out), text);
    tr_buffer_free(&out);
}

#define R "\xEF\xBF\xBD"

/* One replacement per maximal subpart (the Unicode standard, table 3-8 and its neighbours). */
static void test_replacement(void **state)
{
    (void)state;
    expect_lossy("", "");
    expect_lossy("a\xF1\x80\x80\xE1\x80\xC2"
                 "b\x80"
                 "c\x80\xBF"
                 "d",
                 "a" R R R "b" R "c" R R "d");
    expect_lossy("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82"
                 "A",
                 R R R R R R R R "A");
    expect_lossy("\xED\xA0\x80\xED\xBF\xBF\xED\xAF"
                 "A",
                 R R R R R R R R "A");
    expect_lossy("\xF4\x91\x92\x93\xFF"
                 "A\x80\xBF"
                 "B",
                 R R R R R "A" R R "B");
    expect_lossy("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                 "A",
                 R R R R "A");
    expect_lossy("\xE2\x82", R);
}

/* Bytes given one at a time make the same text as all at once, and nothing is given twice. */
static void test_lossy_in_pieces(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 2000; round++) {
        uint8_t bytes[24];
        tr_buffer whole = {0}, pieces = {0}, held = {0};
        size_t count = (size_t)tr_random_below(5, round, 0, 0, 0, 25), used;
        for (size_t i = 0; i < count; i++) {
            static const uint8_t likely[] = {0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0x80, 'a', 0xC3, 0xED, 0xA0, 0xFF};
            bytes[i] = likely[tr_random_below(5, round, (uint32_t)i, 1, 0, sizeof likely)];
        }
        tr_utf8_lossy(bytes, count, true, &used, &whole, NULL);
        for (size_t i = 0; i < count; i++) {
            tr_buffer_add(&held, bytes + i, 1, NULL);
            tr_utf8_lossy((const uint8_t *)held.data, held.length, false, &used, &pieces, NULL);
            memmove(held.data, held.data + used, held.length - used);
            held.length -= used;
            assert_true(held.length <= 3);
        }
        tr_utf8_lossy((const uint8_t *)held.data, held.length, true, &used, &pieces, NULL);
        assert_string_equal(tr_buffer_text(&pieces), tr_buffer_text(&whole));
        tr_buffer_free(&whole);
        tr_buffer_free(&pieces);
        tr_buffer_free(&held);
    }
}

static void expect_nfc(const char *text, const char *form)
{
    tr_buffer out = {0};
    assert_int_equal(tr_nfc(text, strlen(text), &out, NULL), TR_OK);
    assert_string_equal(tr_buffer_text(&out), form);
    tr_buffer_free(&out);
}

static void test_normal_form(void **state)
{
    (void)state;
    expect_nfc("plain", "plain");
    expect_nfc("e\u0301", "\u00E9");
    expect_nfc("a\u0301\u0323", "\u1EA1\u0301"); /* marks are ordered first: below before above */
    expect_nfc("a\u0323\u0301", "\u1EA1\u0301");
    expect_nfc("\u212B", "\u00C5");             /* the Angstrom sign */
    expect_nfc("\u1100\u1161\u11A8", "\uAC01"); /* Hangul */
    expect_nfc("\u0958", "\u0915\u093C");       /* excluded from composition */
    expect_nfc("\uFB01", "\uFB01");             /* compatibility forms stay */
    expect_nfc("\u03D3\u03D4\u1E9B", "\u03D3\u03D4\u1E9B");
}

/* A long run of marks with mixed classes is ordered in linear time: 200,000 of them within the test's time limit,
 * and in the right order. */
static void test_many_marks(void **state)
{
    (void)state;
    enum { MARKS = 200000 };
    tr_buffer text = {0}, out = {0};
    tr_buffer_add_text(&text, "x", NULL);
    for (int i = 0; i < MARKS; i++) {
        tr_buffer_add_text(&text, i % 2 ? "\u0323" : "\u0301", NULL); /* below has the smaller class */
    }
    assert_int_equal(tr_nfc(text.data, text.length, &out, NULL), TR_OK);
    assert_memory_equal(out.data, "x\u0323\u0323", 5);
    assert_memory_equal(out.data + out.length - 4, "\u0301\u0301", 4);
    assert_int_equal(out.length, text.length);
    tr_buffer_free(&text);
    tr_buffer_free(&out);
}

static void test_byte_alphabet(void **state)
{
    (void)state;
    uint8_t order[256];
    bool seen[512] = {false};
    tr_byte_order(order);
    for (int b = 0; b < 256; b++) {
        uint32_t symbol = tr_byte_symbol((uint8_t)b);
        assert_true(symbol < 512 && !seen[symbol] && symbol != ' ' && symbol > 32);
        seen[symbol] = true;
        assert_int_equal(tr_symbol_byte(symbol), b);
    }
    assert_int_equal(tr_byte_symbol(' '), 0x120);
    assert_int_equal(tr_byte_symbol('\n'), 0x10A);
    assert_int_equal(tr_byte_symbol(0x7F), 0x121);
    assert_int_equal(tr_byte_symbol(0xAD), 0x143);
    assert_int_equal(order[0], '!');
    assert_int_equal(order[188], 0);
    assert_int_equal(order[255], 0xAD);
    assert_int_equal(tr_symbol_byte(' '), -1);
    assert_int_equal(tr_symbol_byte(0x144), -1);
    tr_buffer bytes = {0};
    bool ok;
    assert_int_equal(tr_symbols_to_bytes("\u0120a\u010A", 5, &bytes, &ok, NULL), TR_OK);
    assert_true(ok);
    assert_string_equal(tr_buffer_text(&bytes), " a\n");
    assert_int_equal(tr_symbols_to_bytes("a b", 3, &bytes, &ok, NULL), TR_OK);
    assert_false(ok);
    assert_int_equal(bytes.length, 3);
    tr_buffer_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid_utf8),      cmocka_unit_test(test_replacement),
        cmocka_unit_test(test_lossy_in_pieces), cmocka_unit_test(test_normal_form),
        cmocka_unit_test(test_many_marks),      cmocka_unit_test(test_byte_alphabet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
