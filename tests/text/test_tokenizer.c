/* test_tokenizer.c: a small tokenizer, trained here: training, both file routes, round trips, special tokens, the
 * bound on its steps, streaming, and every fault of the files that must be refused. */
#include "support/shared.h"

#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "text/stream.h"
#include "text/train_bpe.h"
#include "text/tokenizer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const samples[] = {
    "The red ball enters from the left at 2.5 seconds and leaves at 4.0 seconds.",
    "Find when the man turns his head. Describe this video, then answer: from 12.50 to 17.25 seconds.",
    "<think>The event starts at 3 seconds.</think> <answer>{\"start_time\": \"3.0\", \"end_time\": "
    "\"7.5\"}</answer>",
    "I'm sure it's there; they're late, you've seen we'll go, he'd stay.\n\n    indented\tand tabbed\r\n",
    "na\u00EFve caf\u00E9 \u4E16\u754C\uFF0C\u4F60\u597D \u0431\u044B\u043B\u0430 \U0001F917",
};
static char directory[4096];
static tr_tokenizer *tokenizer;

static int train(void **state)
{
    (void)state;
    tr_error err = {0};
    tr_train_bpe_options options = {400, true};
    snprintf(directory, sizeof directory, "%s", scratch_path("tokenizer"));
    if (tr_train_bpe(samples, sizeof samples / sizeof *samples, &options, directory, &err) ||
        tr_tokenizer_load(directory, &tokenizer, &err)) {
        print_error("%s: %s\n", err.where, err.message);
        return -1;
    }
    return 0;
}

static int unload(void **state)
{
    (void)state;
    tr_tokenizer_free(tokenizer);
    return 0;
}

static tr_ids encode(const tr_tokenizer *t, const char *text, size_t length, bool special)
{
    tr_ids ids = {0};
    tr_error err = {0};
    if (tr_tokenizer_encode(t, text, length, special, &ids, &err)) {
        fail_msg("%s", err.message);
    }
    return ids;
}

static void same_ids(const tr_ids *a, const tr_ids *b)
{
    assert_int_equal(a->count, b->count);
    if (a->count) {
        assert_memory_equal(a->data, b->data, a->count * sizeof *a->data);
    }
}

static void test_training_is_deterministic(void **state)
{
    (void)state;
    static const char *const files[] = {"vocab.json", "merges.txt", "tokenizer_config.json", "tokenizer.json"};
    tr_train_bpe_options options = {400, true};
    char other[4096];
    snprintf(other, sizeof other, "%s", scratch_path("again"));
    assert_int_equal(tr_train_bpe(samples, sizeof samples / sizeof *samples, &options, other, NULL), TR_OK);
    for (size_t i = 0; i < 4; i++) {
        char *p = tr_path_join(directory, files[i]), *q = tr_path_join(other, files[i]);
        tr_buffer a = {0}, b = {0};
        assert_int_equal(tr_file_read(p, 0, &a, NULL), TR_OK);
        assert_int_equal(tr_file_read(q, 0, &b, NULL), TR_OK);
        assert_string_equal(a.data, b.data);
        tr_buffer_free(&a);
        tr_buffer_free(&b);
        free(p);
        free(q);
    }
}

/* By hand: "aaab aab ab" has words aaab, " aab", " ab": pairs aa 2 + 1, ab 3, " a" 2; the pair with the smaller ids
 * of the two that occur three times is (a, a). */
static void test_training_order(void **state)
{
    (void)state;
    const char *text[] = {"aaab aab ab"};
    tr_train_bpe_options options = {TR_TRAIN_SMALLEST + 3, false};
    const char *out = scratch_path("order");
    tr_buffer merges = {0};
    assert_int_equal(tr_train_bpe(text, 1, &options, out, NULL), TR_OK);
    char *path = tr_path_join(out, "merges.txt");
    assert_int_equal(tr_file_read(path, 0, &merges, NULL), TR_OK);
    /* then: aaab is aa,a,b; " aab" is " ",aa,b; " ab" is " ",a,b: ab 2, the others 1; then ties by ids */
    assert_string_equal(merges.data, "#version: 0.2\na a\na b\n\u0120 aa\n");
    tr_buffer_free(&merges);
    free(path);
}

/* A size of 0 merges until every word of the samples is one token. */
static void test_training_whole_words(void **state)
{
    (void)state;
    const char *text[] = {"when the yellow circle moves"},
               *words[] = {"when", " the", " yellow", " circle", " moves"};
    tr_train_bpe_options options = {0, false};
    tr_tokenizer *whole = NULL;
    const char *out = scratch_path("whole");
    assert_int_equal(tr_train_bpe(text, 1, &options, out, NULL), TR_OK);
    assert_int_equal(tr_tokenizer_load(out, &whole, NULL), TR_OK);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        tr_ids ids = {0};
        assert_int_equal(tr_tokenizer_encode(whole, words[i], strlen(words[i]), 0, &ids, NULL), TR_OK);
        assert_int_equal(ids.count, 1);
        tr_ids_free(&ids);
    }
    tr_tokenizer_free(whole);
}

static void test_training_refuses(void **state)
{
    (void)state;
    tr_error err = {0};
    const char *few[] = {"ab"}, *bad[] = {"ab\xFF"};
    tr_train_bpe_options options = {TR_TRAIN_SMALLEST + 2, false}, small = {TR_TRAIN_SMALLEST - 1, false};
    assert_int_equal(tr_train_bpe(few, 1, &options, scratch_path("few"), &err), TR_INVALID);
    assert_non_null(strstr(err.message, "only 279 tokens"));
    assert_int_equal(tr_train_bpe(bad, 1, &options, scratch_path("few"), &err), TR_INVALID);
    assert_non_null(strstr(err.message, "offset 2"));
    assert_int_equal(tr_train_bpe(few, 1, &small, scratch_path("few"), &err), TR_INVALID);
}

static void test_queries(void **state)
{
    (void)state;
    size_t count;
    tr_ids ids = {0};
    assert_int_equal(tr_tokenizer_size(tokenizer), 400);
    assert_int_equal(tr_tokenizer_count(tokenizer), 400);
    assert_int_equal(tr_tokenizer_id(tokenizer, "<|endoftext|>"), 378);
    assert_int_equal(tr_tokenizer_id(tokenizer, "<|file_sep|>"), 399);
    assert_int_equal(tr_tokenizer_id(tokenizer, "!"), 0);
    assert_int_equal(tr_tokenizer_id(tokenizer, ""), -1);
    const int32_t *ends = tr_tokenizer_end_ids(tokenizer, &count);
    assert_int_equal(count, 1);
    assert_int_equal(ends[0], 380);
    assert_int_equal(tr_tokenizer_missing_ids(tokenizer, 403, &ids, NULL), TR_OK);
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.data[0], 400);
    ids.count = 0;
    assert_int_equal(tr_tokenizer_vision_ids(tokenizer, &ids, NULL), TR_OK);
    assert_int_equal(ids.count, 5);
    assert_int_equal(ids.data[0], tr_tokenizer_id(tokenizer, "<|vision_start|>"));
    assert_int_equal(ids.data[4], tr_tokenizer_id(tokenizer, "<|video_pad|>"));
    uint8_t banned[403];
    tr_tokenizer_bans(tokenizer, 403, banned);
    size_t bans = 0;
    for (size_t i = 0; i < 403; i++) {
        bans += banned[i];
    }
    assert_int_equal(bans, 8);
    assert_true(banned[402] && banned[ids.data[0]] && !banned[380] && !banned[0]);
    tr_ids_free(&ids);
}

static void test_model_must_fit(void **state)
{
    (void)state;
    tr_error err = {0};
    int32_t image = tr_tokenizer_id(tokenizer, "<|image_pad|>"), video = image + 1, start = image - 3;
    assert_int_equal(tr_tokenizer_check_model(tokenizer, 400, image, video, start, start + 1, &err), TR_OK);
    assert_int_equal(tr_tokenizer_check_model(tokenizer, 512, -1, -1, -1, -1, &err), TR_OK);
    assert_int_equal(tr_tokenizer_check_model(tokenizer, 399, image, video, start, start + 1, &err), TR_MISMATCH);
    assert_non_null(strstr(err.message, "399"));
    assert_int_equal(tr_tokenizer_check_model(tokenizer, 512, image, 507, start, start + 1, &err), TR_MISMATCH);
    assert_non_null(strstr(err.message, "video_token_id"));
}

/* Random text comes back; random bytes as decode's bytes; encode never gives a special id with specials off. */
static void test_round_trips(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 3000; round++) {
        tr_buffer text = {0}, back = {0};
        size_t pieces = (size_t)tr_random_below(9, round, 0, 0, 0, 30);
        for (size_t i = 0; i < pieces; i++) {
            static const char *const likely[] = {
                "a",  " ",      "\n",         "<|im_end|>", "<|video_pad|>", "'s",
                "7",  "\u00E9", "\U0001F917", "the",        "<tool_call>",   "\r\n",
                "\t", "<|",     "\u4E16",     "."};
            tr_buffer_add_text(&text, likely[tr_random_below(9, round, (uint32_t)i, 1, 0, 16)], NULL);
        }
        tr_ids ids = encode(tokenizer, tr_buffer_text(&text), text.length, round % 2);
        assert_int_equal(tr_tokenizer_decode_bytes(tokenizer, ids.data, ids.count, true, &back, NULL), TR_OK);
        assert_string_equal(tr_buffer_text(&back), tr_buffer_text(&text));
        for (size_t i = 0; i < ids.count && round % 2 == 0; i++) {
            assert_int_not_equal(tr_tokenizer_kind(tokenizer, ids.data[i]), TR_TOKEN_SPECIAL);
        }
        tr_ids_free(&ids);
        tr_buffer_free(&text);
        tr_buffer_free(&back);
    }
}

/* Hugging Face's split_special_tokens: special tokens are text, other added tokens are tokens all the same. */
static void test_what_is_special(void **state)
{
    (void)state;
    tr_ids plain = encode(tokenizer, "<|im_end|>", 10, false), special = encode(tokenizer, "<|im_end|>", 10, true),
           added = encode(tokenizer, "<tool_call>", 11, false);
    assert_int_equal(special.count, 1);
    assert_int_equal(special.data[0], 380);
    assert_true(plain.count > 1);
    assert_int_equal(added.count, 1);
    assert_int_equal(added.data[0], tr_tokenizer_id(tokenizer, "<tool_call>"));
    tr_buffer text = {0};
    int32_t mixed[] = {380, added.data[0], tr_tokenizer_id(tokenizer, "a")};
    assert_int_equal(tr_tokenizer_decode(tokenizer, mixed, 3, false, &text, NULL), TR_OK);
    assert_string_equal(text.data, "<tool_call>a");
    tr_buffer_free(&text);
    tr_ids_free(&plain);
    tr_ids_free(&special);
    tr_ids_free(&added);
}

static void test_bad_text_and_ids(void **state)
{
    (void)state;
    tr_error err = {0};
    tr_ids ids = {0};
    tr_buffer out = {0};
    assert_int_equal(tr_tokenizer_encode(tokenizer, "ab\xE2\x82", 4, false, &ids, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "byte 0xE2 at offset 2"));
    assert_int_equal(ids.count, 0);
    int32_t bad[] = {1, 400}, negative[] = {-1};
    assert_int_equal(tr_tokenizer_decode(tokenizer, bad, 2, true, &out, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "id 400 (number 2"));
    assert_int_equal(tr_tokenizer_decode(tokenizer, negative, 1, true, &out, &err), TR_INVALID);
    assert_int_equal(tr_tokenizer_encode(tokenizer, "a\0b", 3, false, &ids, &err),
                     TR_OK); /* NUL is a byte like others */
    assert_int_equal(ids.count, 3);
    tr_ids_free(&ids);
    tr_buffer_free(&out);
}

/* vocab.json + merges.txt, tokenizer.json with merges "a b" and with merges ["a","b"] give the same ids. */
static void test_file_routes_agree(void **state)
{
    (void)state;
    tr_tokenizer *routes[3] = {NULL};
    char pairs[4096];
    char *from = tr_path_join(directory, "tokenizer.json");
    json_t *json, *merge;
    size_t i;
    assert_int_equal(tr_tokenizer_load_from(directory, TR_TOKENIZER_VOCAB_MERGES, &routes[0], NULL), TR_OK);
    assert_int_equal(tr_tokenizer_load_from(directory, TR_TOKENIZER_JSON, &routes[1], NULL), TR_OK);
    assert_int_equal(tr_json_read(from, &json, NULL), TR_OK);
    json_t *list = json_object_get(json_object_get(json, "model"), "merges");
    json_array_foreach(list, i, merge)
    {
        const char *text = json_string_value(merge), *space = strchr(text, ' ');
        json_array_set_new(list, i, json_pack("[s#,s]", text, (int)(space - text), space + 1));
    }
    snprintf(pairs, sizeof pairs, "%s", scratch_path("pairs"));
    assert_int_equal(tr_directory_make(pairs, NULL), TR_OK);
    char *to = tr_path_join(pairs, "tokenizer.json");
    assert_int_equal(tr_json_write(to, json, NULL), TR_OK);
    assert_int_equal(tr_tokenizer_load(pairs, &routes[2], NULL), TR_OK);
    for (size_t s = 0; s < sizeof samples / sizeof *samples; s++) {
        tr_ids expected = encode(tokenizer, samples[s], strlen(samples[s]), true);
        for (i = 0; i < 3; i++) {
            tr_ids found = encode(routes[i], samples[s], strlen(samples[s]), true);
            same_ids(&found, &expected);
            tr_ids_free(&found);
        }
        tr_ids_free(&expected);
    }
    for (i = 0; i < 3; i++) {
        tr_tokenizer_free(routes[i]);
    }
    json_decref(json);
    free(from);
    free(to);
}

static void test_stream_equals_decode(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 500; round++) {
        int32_t ids[20];
        size_t count = (size_t)tr_random_below(3, round, 0, 0, 0, 21);
        tr_buffer whole = {0}, text = {0};
        tr_text_stream stream;
        tr_text_stream_start(&stream, tokenizer, round % 2);
        for (size_t i = 0; i < count; i++) {
            size_t before = text.length;
            ids[i] = (int32_t)tr_random_below(3, round, (uint32_t)i, 1, 0, 400);
            assert_int_equal(tr_text_stream_push(&stream, ids[i], &text, NULL), TR_OK);
            assert_true(text.length >= before);
            assert_true(stream.held.length <= 3);
        }
        assert_int_equal(tr_text_stream_finish(&stream, &text, NULL), TR_OK);
        assert_int_equal(tr_tokenizer_decode(tokenizer, ids, count, round % 2, &whole, NULL), TR_OK);
        assert_string_equal(tr_buffer_text(&text), tr_buffer_text(&whole));
        tr_text_stream_free(&stream);
        tr_buffer_free(&whole);
        tr_buffer_free(&text);
    }
}

static void test_stream_holds_back(void **state)
{
    (void)state;
    tr_text_stream stream;
    tr_buffer text = {0};
    const char euro[] = "\xE2\x82\xAC";
    tr_text_stream_start(&stream, tokenizer, false);
    for (int i = 0; i < 3; i++) {
        int32_t id = tr_tokenizer_id_of_bytes(tokenizer, (const uint8_t *)euro + i, 1);
        assert_int_equal(text.length, 0);
        assert_int_equal(tr_text_stream_push(&stream, id, &text, NULL), TR_OK);
    }
    assert_string_equal(text.data, euro);
    tr_text_stream_free(&stream);
    tr_buffer_free(&text);
}

/* Steps for n bytes stay below 3 n (pairs looked up: n at first and three per merge, as heap levels: log2 n each):
 * c * n * log2(n) with c = 8, while a quadratic method needs n * n / 2 = 5 * 10^11 for a megabyte. */
static void test_hostile_texts_are_not_quadratic(void **state)
{
    (void)state;
    static const char *const units[] = {"a", " ",      "\n",  "the ",  "<", "<|",
                                        "7", "\u00E9", "aab", "\r\n ", "!", " \n"};
    enum { BYTES = 1 << 20, LEVELS = 20 };
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        tr_buffer text = {0};
        uint64_t work = 0;
        tr_ids ids = {0};
        while (text.length < BYTES) {
            tr_buffer_add_text(&text, units[u], NULL);
        }
        assert_int_equal(tr_tokenizer_encode_counted(tokenizer, text.data, text.length, true, &ids, &work, NULL),
                         TR_OK);
        if (work == 0 || work > (uint64_t)8 * BYTES * LEVELS) {
            fail_msg("\"%s\": %llu steps for %zu bytes", units[u], (unsigned long long)work, text.length);
        }
        tr_ids_free(&ids);
        tr_buffer_free(&text);
    }
}

static void *encode_often(void *expected)
{
    for (int i = 0; i < 300; i++) {
        for (size_t s = 0; s < sizeof samples / sizeof *samples; s++) {
            tr_ids ids = {0};
            if (tr_tokenizer_encode(tokenizer, samples[s], strlen(samples[s]), false, &ids, NULL) ||
                ids.count != ((tr_ids *)expected)[s].count ||
                memcmp(ids.data, ((tr_ids *)expected)[s].data, ids.count * sizeof *ids.data)) {
                return "differs";
            }
            tr_ids_free(&ids);
        }
    }
    return NULL;
}

static void test_threads_share_it(void **state)
{
    (void)state;
    enum { SAMPLES = sizeof samples / sizeof *samples };
    tr_ids expected[SAMPLES];
    pthread_t threads[4];
    void *result;
    for (size_t s = 0; s < SAMPLES; s++) {
        expected[s] = encode(tokenizer, samples[s], strlen(samples[s]), false);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, expected), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &result);
        assert_null(result);
    }
    for (size_t s = 0; s < SAMPLES; s++) {
        tr_ids_free(&expected[s]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training_is_deterministic),
        cmocka_unit_test(test_training_order),
        cmocka_unit_test(test_training_whole_words),
        cmocka_unit_test(test_training_refuses),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_model_must_fit),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_what_is_special),
        cmocka_unit_test(test_bad_text_and_ids),
        cmocka_unit_test(test_file_routes_agree),
        cmocka_unit_test(test_stream_equals_decode),
        cmocka_unit_test(test_stream_holds_back),
        cmocka_unit_test(test_hostile_texts_are_not_quadratic),
        cmocka_unit_test(test_threads_share_it),
    };
    return cmocka_run_group_tests(tests, train, unload);
}
