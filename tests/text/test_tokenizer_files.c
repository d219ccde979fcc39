/* test_tokenizer_files.c: every fault of a tokenizer's files is refused with the file, the place and what is wrong;
 * and the published vocabulary read as tokenizer.json. */
#include "support/shared.h"

#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer.h"
#include "text/train_bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"vocab.json", "merges.txt", "tokenizer_config.json", "tokenizer.json"};
enum { VOCAB, MERGES, CONFIG, JSON, FILES };
static tr_buffer good[FILES];

static int train(void **state)
{
    (void)state;
    const char *texts[] = {"the red ball then the other ball rolls there"};
    tr_train_bpe_options options = {TR_TRAIN_SMALLEST + 8, true};
    tr_error err = {0};
    if (tr_train_bpe(texts, 1, &options, scratch_path("good"), &err)) {
        print_error("%s\n", err.message);
        return -1;
    }
    for (int i = 0; i < FILES; i++) {
        char *path = tr_path_join(scratch_path("good"), names[i]);
        if (tr_file_read(path, 0, &good[i], NULL)) {
            return -1;
        }
        free(path);
    }
    return 0;
}

static int unload(void **state)
{
    (void)state;
    for (int i = 0; i < FILES; i++) {
        tr_buffer_free(&good[i]);
    }
    return 0;
}

static void put(const char *directory, const char *name, const char *text)
{
    char *path = tr_path_join(directory, name);
    assert_int_equal(tr_directory_make(directory, NULL), TR_OK);
    assert_int_equal(tr_file_write_atomic(path, text, strlen(text), NULL), TR_OK);
    free(path);
}

/* text with the first `from` replaced; free() frees it. */
static char *replaced(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    if (!at) {
        fail_msg("\"%s\" is not in the file to damage", from);
        abort();
    }
    return tr_format("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

/* The good files by one route, one of them damaged; loading must fail and say these two things. */
static void expect_refused(int file, const char *from, const char *to, const char *where, const char *says)
{
    const char *directory = scratch_path("damaged");
    tr_tokenizer *t;
    tr_error err = {0};
    char *text = replaced(good[file].data, from, to);
    assert_int_equal(tr_directory_remove(directory, NULL), TR_OK);
    for (int i = 0; i < FILES; i++) {
        bool route = file == JSON ? i == JSON || i == CONFIG : i != JSON;
        if (route) {
            put(directory, names[i], i == file ? text : good[i].data);
        }
    }
    tr_status status = tr_tokenizer_load(directory, &t, &err);
    if (!status || t) {
        fail_msg("%s with \"%s\" was accepted", names[file], to);
    }
    if (!strstr(err.where, where) || !strstr(err.message, says)) {
        fail_msg("%s with \"%s\": %s: %s", names[file], to, err.where, err.message);
    }
    free(text);
}

static void test_vocab_faults(void **state)
{
    (void)state;
    expect_refused(VOCAB, "\"!\": 0", "\"!\": 1", "vocab.json", "share the id 1");
    expect_refused(VOCAB, "\"!\": 0", "\"!\": 0, \"!\": 0", "vocab.json", "duplicate");
    expect_refused(VOCAB, "\"!\": 0", "\"!\": \"0\"", "vocab.json", "must be an integer, found a string");
    expect_refused(VOCAB, "\"!\": 0", "\"!\": -3", "vocab.json", "id -3");
    expect_refused(VOCAB, "\"!\": 0", "\"!\": 99999999", "vocab.json", "id 99999999");
    expect_refused(VOCAB, "\"!\": 0", "\"\": 0", "vocab.json", "empty");
    expect_refused(VOCAB, "\"!\": 0", "\"!!!\": 0", "vocab.json", "no token for byte 0x21");
    expect_refused(VOCAB, "\"!\": 0", "\"!\": 0, \"!!!\": 264", "tokenizer_config.json", "another token");
    expect_refused(VOCAB, "\"!\": 0", "\"!\": 0, \"!!!\": 400", "vocab.json", "no token has id 286");
    expect_refused(VOCAB, "{", "[", "vocab.json", "JSON");
}

static void test_merge_faults(void **state)
{
    (void)state;
    expect_refused(MERGES, "#version: 0.2\n", "#version: 0.2\na\n", "merges.txt:2", "found \"a\"");
    expect_refused(MERGES, "#version: 0.2\n", "#version: 0.2\na b c\n", "merges.txt:2", "one space");
    expect_refused(MERGES, "#version: 0.2\n", "#version: 0.2\n\nx qq\n", "merges.txt:3", "\"qq\" is not in");
    expect_refused(MERGES, "#version: 0.2\n", "#version: 0.2\nx q\n", "merges.txt:2", "makes \"xq\"");
    expect_refused(MERGES, "h e\n", "h e\nh e\n", "merges.txt:", "stands here and at merge number");
    expect_refused(MERGES, "#version: 0.2\n", "x \xFF\n", "merges.txt:1", "not UTF-8 at column 3");
}

static void test_config_faults(void **state)
{
    (void)state;
    expect_refused(CONFIG, "\"add_prefix_space\": false", "\"add_prefix_space\": true", "tokenizer_config.json",
                   "add_prefix_space");
    expect_refused(CONFIG, "Qwen2Tokenizer", "LlamaTokenizer", "tokenizer_config.json", "LlamaTokenizer");
    expect_refused(CONFIG, "\"eos_token\": \"<|im_end|>\"", "\"eos_token\": \"<|none|>\"", "tokenizer_config.json",
                   "<|none|>");
    expect_refused(CONFIG, "\"lstrip\": false", "\"lstrip\": true", "tokenizer_config.json", "lstrip");
    expect_refused(CONFIG, "\"content\": \"<|im_start|>\"", "\"content\": \"<|im_end|>\"", "tokenizer_config.json",
                   "two ids");
    expect_refused(CONFIG, "\"content\": \"<|im_start|>\"", "\"content\": \"\"", "tokenizer_config.json", "empty");
    expect_refused(CONFIG, "\"264\": {", "\"x264\": {", "tokenizer_config.json", "map ids to objects");
    expect_refused(CONFIG, "\"264\": {", "\"5\": {", "tokenizer_config.json", "another token");
    expect_refused(CONFIG, "\"special\": true", "\"special\": 1", "tokenizer_config.json", "special");
    expect_refused(CONFIG, "{", "[", "tokenizer_config.json", "JSON");
}

static void test_json_faults(void **state)
{
    (void)state;
    expect_refused(JSON, "\"type\": \"NFC\"", "\"type\": \"NFKC\"", "tokenizer.json", "normalizer \"NFKC\"");
    expect_refused(JSON, "\"type\": \"Split\"", "\"type\": \"Digits\"", "tokenizer.json",
                   "pre-tokenizer \"Digits\"");
    expect_refused(JSON, "\"behavior\": \"Isolated\"", "\"behavior\": \"Removed\"", "tokenizer.json", "Isolated");
    expect_refused(JSON, "\"type\": \"BPE\"", "\"type\": \"Unigram\"", "tokenizer.json", "model \"Unigram\"");
    expect_refused(JSON, "\"fuse_unk\": false", "\"fuse_unk\": true", "tokenizer.json", "fuse_unk");
    expect_refused(JSON, "\"dropout\": null", "\"dropout\": 0.1", "tokenizer.json", "dropout");
    expect_refused(JSON, "\"use_regex\": false", "\"use_regex\": true", "tokenizer.json", "use_regex");
    expect_refused(JSON, "\"Regex\": \"(?i:", "\"Regex\": \"(?q:", "tokenizer.json", "pattern");
    expect_refused(JSON, "\"merges\": [", "\"merges\": [7,", "merge number 1", "an integer");
    expect_refused(JSON, "\"merges\": [", "\"merges\": [[\"a\"],", "merge number 1", "a merge is");
    expect_refused(JSON, "\"merges\": [", "\"merges\": [[\"x\",\"q\"],", "merge number 1", "makes \"xq\"");
    expect_refused(JSON, "\"!\": 0", "\"!\": 1", "tokenizer.json", "share the id 1");
    expect_refused(JSON, "\"model\"", "\"modell\"", "tokenizer.json", "\"model\" is missing");
}

static void test_missing_files(void **state)
{
    (void)state;
    tr_tokenizer *t;
    tr_error err = {0};
    assert_int_equal(tr_tokenizer_load(scratch_path("nowhere"), &t, &err), TR_NOT_FOUND);
    assert_non_null(strstr(err.message, "no such directory"));
    assert_int_equal(tr_directory_make(scratch_path("bare"), NULL), TR_OK);
    assert_int_equal(tr_tokenizer_load(scratch_path("bare"), &t, &err), TR_NOT_FOUND);
    assert_non_null(strstr(err.message, "neither tokenizer.json nor vocab.json"));
    put(scratch_path("bare"), "vocab.json", good[VOCAB].data);
    assert_int_equal(tr_tokenizer_load(scratch_path("bare"), &t, &err), TR_NOT_FOUND);
    assert_non_null(strstr(err.message, "vocab.json but no merges.txt"));
    assert_null(t);
    /* both without any settings: a tokenizer without added tokens */
    put(scratch_path("bare"), "merges.txt", good[MERGES].data);
    assert_int_equal(tr_tokenizer_load(scratch_path("bare"), &t, &err), TR_OK);
    assert_int_equal(tr_tokenizer_size(t), 264);
    tr_tokenizer_free(t);
    /* end tokens and added tokens in the older files */
    put(scratch_path("bare"), "added_tokens.json", "{\"<|end|>\": 264, \"<x>\": 266}");
    put(scratch_path("bare"), "special_tokens_map.json", "{\"eos_token\": {\"content\": \"<|end|>\"}}");
    put(scratch_path("bare"), "generation_config.json", "{\"eos_token_id\": [264, 1]}");
    assert_int_equal(tr_tokenizer_load(scratch_path("bare"), &t, &err), TR_OK);
    size_t ends;
    assert_int_equal(tr_tokenizer_kind(t, 264), TR_TOKEN_SPECIAL);
    assert_int_equal(tr_tokenizer_kind(t, 265), TR_TOKEN_NONE);
    assert_int_equal(tr_tokenizer_kind(t, 266), TR_TOKEN_ADDED);
    assert_int_equal(tr_tokenizer_end_ids(t, &ends)[1], 1);
    assert_int_equal(ends, 2);
    tr_tokenizer_free(t);
    put(scratch_path("bare"), "generation_config.json", "{\"eos_token_id\": 265}");
    assert_int_equal(tr_tokenizer_load(scratch_path("bare"), &t, &err), TR_MISMATCH);
    assert_non_null(strstr(err.message, "265"));
}

/* Hugging Face's own toy vocabulary: a merge that begins with '#', added tokens, normal form C. */
static void test_hugging_face_toy(void **state)
{
    (void)state;
    json_t *vectors;
    assert_int_equal(tr_json_read(need_shared("data/tokenizer/vectors/hf_qwen2_integration.json"), &vectors, NULL),
                     TR_OK);
    const json_t *toy = json_object_get(vectors, "toy_vocab");
    json_t *vocab, *entry;
    size_t i;
    tr_buffer merges = {0};
    tr_tokenizer *t;
    tr_ids ids = {0};
    assert_int_equal(tr_json_parse(good[VOCAB].data, good[VOCAB].length, "v", 0, &vocab, NULL), TR_OK);
    for (i = 256; i < 264; i++) { /* keep the bytes */
        const char *key;
        json_t *id;
        json_object_foreach(vocab, key, id)
        {
            if (json_integer_value(id) == (json_int_t)i) {
                json_object_del(vocab, key);
                break;
            }
        }
    }
    json_array_foreach(json_object_get(toy, "extra"), i, entry)
    {
        json_object_set_new(vocab, json_string_value(entry), json_integer((json_int_t)(256 + i)));
    }
    json_array_foreach(json_object_get(toy, "merges"), i, entry)
    {
        tr_buffer_printf(&merges, NULL, "%s\n", json_string_value(entry));
    }
    put(scratch_path("toy"), "merges.txt", merges.data);
    put(scratch_path("toy"), "added_tokens.json", "{\"<|endoftext|>\": 270}");
    put(scratch_path("toy"), "special_tokens_map.json", "{\"eos_token\": \"<|endoftext|>\"}");
    char *path = tr_path_join(scratch_path("toy"), "vocab.json");
    assert_int_equal(tr_json_write(path, vocab, NULL), TR_OK);
    tr_error err = {0};
    if (tr_tokenizer_load(scratch_path("toy"), &t, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    const char *text = json_string_value(json_object_get(toy, "text"));
    const json_t *expected = json_object_get(toy, "ids");
    assert_int_equal(tr_tokenizer_encode(t, text, strlen(text), true, &ids, NULL), TR_OK);
    assert_int_equal(ids.count, json_array_size(expected));
    for (i = 0; i < ids.count; i++) {
        assert_int_equal(ids.data[i], json_integer_value(json_array_get(expected, i)));
    }
    tr_ids_free(&ids);
    tr_tokenizer_free(t);
    tr_buffer_free(&merges);
    json_decref(vocab);
    json_decref(vectors);
    free(path);
}

/* The published files written as tokenizer.json give the same tokenizer. */
static void test_published_as_json(void **state)
{
    (void)state;
    json_t *vocab, *config, *token, *merges = json_array(), *added = json_array();
    const char *id;
    tr_buffer lines = {0};
    tr_tokenizer *a, *b;
    char *directory = tr_path_directory(need_shared("data/tokenizer/qwen2.5-vl/vocab.json"));
    assert_int_equal(tr_json_read(need_shared("data/tokenizer/qwen2.5-vl/vocab.json"), &vocab, NULL), TR_OK);
    assert_int_equal(tr_json_read(need_shared("data/tokenizer/qwen2.5-vl/tokenizer_config.json"), &config, NULL),
                     TR_OK);
    assert_int_equal(tr_file_read(need_shared("data/tokenizer/qwen2.5-vl/merges.txt"), 0, &lines, NULL), TR_OK);
    for (char *line = strtok(lines.data, "\n"); line; line = strtok(NULL, "\n")) {
        json_array_append_new(merges, json_string(line));
    }
    json_object_foreach(json_object_get(config, "added_tokens_decoder"), id, token)
    {
        json_object_set_new(token, "id", json_integer(atoi(id)));
        json_array_append(added, token);
    }
    json_t *json = json_pack("{s:{s:s},s:{s:s,s:o,s:o},s:o}", "normalizer", "type", "NFC", "model", "type", "BPE",
                             "vocab", vocab, "merges", merges, "added_tokens", added);
    assert_int_equal(tr_directory_make(scratch_path("published"), NULL), TR_OK);
    char *path = tr_path_join(scratch_path("published"), "tokenizer.json");
    assert_int_equal(tr_json_write(path, json, NULL), TR_OK);
    assert_int_equal(tr_tokenizer_load(directory, &a, NULL), TR_OK);
    assert_int_equal(tr_tokenizer_load(scratch_path("published"), &b, NULL), TR_OK);
    assert_int_equal(tr_tokenizer_size(a), tr_tokenizer_size(b));
    for (int32_t i = 0; (size_t)i < tr_tokenizer_size(a); i++) {
        size_t m, n;
        const uint8_t *p = tr_tokenizer_bytes(a, i, &m), *q = tr_tokenizer_bytes(b, i, &n);
        if (m != n || memcmp(p, q, n) || tr_tokenizer_kind(a, i) != tr_tokenizer_kind(b, i)) {
            fail_msg("token %d differs", i);
        }
    }
    tr_buffer text = {0};
    tr_ids x = {0}, y = {0};
    assert_int_equal(tr_file_read(need_shared("data/tokenizer/vectors/llamacpp_qwen2.inp"), 0, &text, NULL), TR_OK);
    assert_int_equal(tr_tokenizer_encode(a, text.data, text.length, true, &x, NULL), TR_OK);
    assert_int_equal(tr_tokenizer_encode(b, text.data, text.length, true, &y, NULL), TR_OK);
    assert_int_equal(x.count, y.count);
    assert_memory_equal(x.data, y.data, x.count * sizeof *x.data);
    tr_ids_free(&x);
    tr_ids_free(&y);
    tr_buffer_free(&text);
    tr_buffer_free(&lines);
    tr_tokenizer_free(a);
    tr_tokenizer_free(b);
    json_decref(json);
    json_decref(config);
    free(path);
    free(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocab_faults),      cmocka_unit_test(test_merge_faults),
        cmocka_unit_test(test_config_faults),     cmocka_unit_test(test_json_faults),
        cmocka_unit_test(test_missing_files),     cmocka_unit_test(test_hugging_face_toy),
        cmocka_unit_test(test_published_as_json),
    };
    return cmocka_run_group_tests(tests, train, unload);
}
