/* test_tokenizer_published.c: the published vocabulary of Qwen2.5-VL against the vectors of llama.cpp, Hugging Face
 * and the golden cases. */
#include "support/shared.h"

#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tr_tokenizer *tokenizer; /* NULL when shared/ is absent */

static int load(void **state)
{
    (void)state;
    const char *path = shared_path("data/tokenizer/qwen2.5-vl/vocab.json");
    tr_error err = {0};
    if (path) {
        char *directory = tr_path_directory(path);
        if (tr_tokenizer_load(directory, &tokenizer, &err)) {
            print_error("%s: %s\n", err.where, err.message);
            free(directory);
            return -1;
        }
        free(directory);
    }
    return 0;
}

static int unload(void **state)
{
    (void)state;
    tr_tokenizer_free(tokenizer);
    return 0;
}

static void need_tokenizer(void)
{
    need_shared("data/tokenizer/qwen2.5-vl/vocab.json");
    assert_non_null(tokenizer);
}

static void expect_ids(const char *text, size_t length, bool special, const int32_t *ids, size_t count)
{
    tr_ids found = {0};
    tr_error err = {0};
    if (tr_tokenizer_encode(tokenizer, text, length, special, &found, &err)) {
        fail_msg("\"%.60s\": %s", text, err.message);
    }
    for (size_t i = 0; i < found.count || i < count; i++) {
        if (i >= found.count || i >= count || found.data[i] != ids[i]) {
            fail_msg("\"%.60s\": id %zu is %d, expected %d (%zu ids, expected %zu)", text, i,
                     i < found.count ? found.data[i] : -1, i < count ? ids[i] : -1, found.count, count);
        }
    }
    tr_ids_free(&found);
}

static void expect_decoded(const int32_t *ids, size_t count, const char *text, size_t length)
{
    tr_buffer out = {0};
    assert_int_equal(tr_tokenizer_decode(tokenizer, ids, count, true, &out, NULL), TR_OK);
    assert_int_equal(out.length, length);
    assert_memory_equal(tr_buffer_text(&out), text, length);
    tr_buffer_free(&out);
}

static void test_llamacpp_vectors(void **state)
{
    (void)state;
    static const char separator[] = "\n__ggml_vocab_test__\n";
    tr_buffer in = {0}, out = {0};
    size_t cases = 0;
    need_tokenizer();
    assert_int_equal(tr_file_read(need_shared("data/tokenizer/vectors/llamacpp_qwen2.inp"), 0, &in, NULL), TR_OK);
    assert_int_equal(tr_file_read(need_shared("data/tokenizer/vectors/llamacpp_qwen2.out"), 0, &out, NULL), TR_OK);
    char *line = out.data;
    for (char *text = in.data; *text; cases++) {
        char *end = strstr(text, separator);
        assert_non_null(end);
        int32_t ids[512];
        size_t count = 0;
        char *next = strchr(line, '\n');
        if (next) {
            *next = 0;
        }
        for (char *p = line, *stop; count < 512; p = stop) {
            long id = strtol(p, &stop, 10);
            if (stop == p) {
                break;
            }
            ids[count++] = (int32_t)id;
        }
        expect_ids(text, (size_t)(end - text), false, ids, count);
        text = end + strlen(separator);
        line = next ? next + 1 : line + strlen(line);
    }
    assert_int_equal(cases, 46); /* llama.cpp counts the empty text after the last separator as the 47th */
    expect_ids("", 0, false, NULL, 0);
    tr_buffer_free(&in);
    tr_buffer_free(&out);
}

static size_t json_ids(const json_t *list, int32_t *ids, size_t limit)
{
    size_t count = json_array_size(list);
    assert_true(count <= limit);
    for (size_t i = 0; i < count; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    }
    return count;
}

static void test_hugging_face_vectors(void **state)
{
    (void)state;
    json_t *json, *entry;
    size_t i;
    int32_t ids[1024];
    need_tokenizer();
    assert_int_equal(tr_json_read(need_shared("data/tokenizer/vectors/hf_qwen2_integration.json"), &json, NULL),
                     TR_OK);
    const json_t *list = json_object_get(json, "with_real_vocab");
    assert_int_equal(json_array_size(list), 3);
    json_array_foreach(list, i, entry)
    {
        const char *text = json_string_value(json_object_get(entry, "text"));
        size_t count = json_ids(json_object_get(entry, "ids"), ids, 1024);
        expect_ids(text, strlen(text), false, ids, count);
        expect_decoded(ids, count, text, strlen(text));
    }
    json_decref(json);
}

static void test_words_of_the_specification(void **state)
{
    (void)state;
    need_tokenizer();
    expect_ids("<think>", 7, false, (int32_t[]){13708, 766, 29}, 3);
    expect_ids("</think>", 8, false, (int32_t[]){522, 26865, 29}, 3);
    expect_ids("<answer>", 8, false, (int32_t[]){27, 9217, 29}, 3);
    expect_ids("</answer>", 9, false, (int32_t[]){522, 9217, 29}, 3);
    assert_int_equal(tr_tokenizer_size(tokenizer), 151665);
    assert_int_equal(tr_tokenizer_count(tokenizer), 151665);
    assert_int_equal(tr_tokenizer_id(tokenizer, "<|video_pad|>"), 151656);
    assert_int_equal(tr_tokenizer_id(tokenizer, "<tool_call>"), 151657);
    assert_int_equal(tr_tokenizer_id(tokenizer, "<|nothing|>"), -1);
    assert_int_equal(tr_tokenizer_kind(tokenizer, 151656), TR_TOKEN_SPECIAL);
    assert_int_equal(tr_tokenizer_kind(tokenizer, 151657), TR_TOKEN_ADDED);
    assert_int_equal(tr_tokenizer_kind(tokenizer, 0), TR_TOKEN_ORDINARY);
    assert_int_equal(tr_tokenizer_kind(tokenizer, 151665), TR_TOKEN_NONE);
    assert_int_equal(tr_tokenizer_kind(tokenizer, -1), TR_TOKEN_NONE);
}

/* What libraries disagree about, as transformers 5.23.0 (split_special_tokens) has it: U+180E is no white space,
 * U+0085 and U+2028 are; the long s is an s when case is ignored; digits of all scripts stand alone; normal form C
 * comes first. */
static void test_rare_characters(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t ids[12];
        size_t count;
    } cases[] = {
        {"x\u180E\u180Ey", {87, 123970, 236, 123970, 236, 88}, 6},
        {"  \u180E!", {220, 86089, 254, 236, 0}, 5},
        {"a\xC2\x85\xC2\x85 b", {64, 126, 227, 126, 227, 293}, 6},
        {"can'\u017F I'LL", {4814, 6, 144815, 358, 6, 4086}, 6},
        {"e\u0301a\u0323\u0301", {963, 20229, 53839}, 3},
        {"  \u3000 x\u2028\n z", {256, 22441, 856, 378, 101, 198, 1147}, 7},
        {"\u0663\u06F4\u00BD"
         "1",
         {149, 96, 151, 112, 26062, 16},
         6},
        {"\u1100\u1161\u11A8", {126317}, 1},
        {"<|im_end|><tool_call>\n<|fim_pad|>", {27, 91, 318, 6213, 91, 29, 151657, 198, 151662}, 9},
    };
    need_tokenizer();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_ids(cases[i].text, strlen(cases[i].text), false, cases[i].ids, cases[i].count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llamacpp_vectors),
        cmocka_unit_test(test_hugging_face_vectors),
        cmocka_unit_test(test_words_of_the_specification),
        cmocka_unit_test(test_rare_characters),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
