/* test_safetensors.c: the reader on well-formed and damaged bytes, the writer, the builder, sharded directories.
 * Every fixture is made here; the damaged checkpoints of the reference data are in test_checkpoint.c. */
#include "support/shared.h"

#include "base/file.h"
#include "model/safetensors.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* A file in memory: header length, header, `data` zero bytes. */
static size_t make_bytes(uint8_t *out, const char *header, size_t data)
{
    size_t length = strlen(header);
    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)(length >> (8 * i));
    }
    memcpy(out + 8, header, length);
    memset(out + 8 + length, 0, data);
    return 8 + length + data;
}

#define F32_A "\"a\": {\"dtype\": \"F32\", \"shape\": [2, 1], \"data_offsets\": [0, 8]}"

static void test_good(void **state)
{
    (void)state;
    uint8_t bytes[512];
    tr_safetensors s;
    size_t size = make_bytes(bytes,
                             "{\"__metadata__\": {\"format\": \"pt\"}, " F32_A
                             ", \"b\": {\"dtype\": \"U8\", \"shape\": [], \"data_offsets\": [8, 9]},"
                             " \"empty\": {\"dtype\": \"I64\", \"shape\": [0, 7], \"data_offsets\": [9, 9]}}",
                             9);
    const float one = 1.5f;
    memcpy(bytes + size - 9 + 4, &one, 4);
    assert_int_equal(tr_safetensors_parse(&s, bytes, size, "memory", NULL), TR_OK);
    assert_int_equal(s.count, 3);
    const tr_safetensor *a = tr_safetensors_find(&s, "a"), *b = tr_safetensors_find(&s, "b");
    assert_non_null(a);
    assert_non_null(b);
    assert_null(tr_safetensors_find(&s, "c"));
    assert_int_equal(a->rank, 2);
    assert_int_equal(b->elements, 1);
    assert_int_equal(tr_safetensors_find(&s, "empty")->bytes, 0);
    assert_string_equal(tr_safetensors_metadata(&s, "format"), "pt");
    double wide[2];
    assert_int_equal(tr_safetensors_copy(a, 0, 2, wide, TR_F64, NULL), TR_OK);
    assert_true(wide[0] == 0 && wide[1] == 1.5);
    assert_int_equal(tr_safetensors_copy(a, 1, 2, wide, TR_F64, NULL), TR_INVALID);
    tr_safetensors_close(&s);
}

static void test_damaged(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *says; /* NULL: must be accepted */
    } table[] = {
        {"{" F32_A "}", 8, NULL},
        {"{}", 0, NULL},
        {"{" F32_A "}", 7, "truncated"},
        {"{" F32_A "}", 9, "1 bytes after the last tensor"},
        {"{" F32_A "", 8, "not valid JSON"},
        {"["
         "]",
         0, "must be a JSON object"},
        {"{" F32_A ", " F32_A "}", 8, "duplicate"},
        {"{\"a\": 1}", 0, "tensor a"},
        {"{\"a\": {\"dtype\": \"F12\", \"shape\": [1], \"data_offsets\": [0, 4]}}", 4, "tensor a has dtype F12"},
        {"{\"a\": {\"dtype\": 1, \"shape\": [1], \"data_offsets\": [0, 4]}}", 4, "tensor a"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": 1, \"data_offsets\": [0, 4]}}", 4, "tensor a: its shape"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [-1], \"data_offsets\": [0, 4]}}", 4, "dimension 0"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1.0], \"data_offsets\": [0, 4]}}", 4, "dimension 0"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1,1,1,1,1,1,1,1,1], \"data_offsets\": [0, 4]}}", 4, "at most 8"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [4294967296, 4294967296], \"data_offsets\": [0, 0]}}", 0,
         "more elements"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [9223372036854775807], \"data_offsets\": [0, 0]}}", 0,
         "more bytes"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 4]}}", 8, "needs 8"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 0]}}", 8, "data_offsets"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [-4, 0]}}", 8, "data_offsets"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0]}}", 4, "data_offsets"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1]}}", 4, "data_offsets"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 8]}}", 8, "before tensor a"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [9223372036854775803, "
         "9223372036854775807]}}",
         8, "tensor a ends at byte 9223372036854775807"},
        {"{" F32_A ", \"b\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 8]}}", 8,
         "a and b overlap"},
        {"{" F32_A ", \"b\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}}", 8,
         "a and b overlap"},
        {"{\"__metadata__\": {\"n\": 1}}", 0, "__metadata__.n must be a string"},
        {"{\"__metadata__\": []}", 0, "__metadata__ must be an object"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [99999999999999999999], \"data_offsets\": [0, 4]}}", 4, "JSON"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint8_t bytes[512];
        tr_safetensors s;
        tr_error err = {0};
        size_t size = make_bytes(bytes, table[i].header, table[i].data);
        tr_status status = tr_safetensors_parse(&s, bytes, size, "memory", &err);
        if (!table[i].says ? status != TR_OK : !status || !strstr(err.message, table[i].says)) {
            fail_msg("row %zu %s: status %d, \"%s\"", i, table[i].header, status, err.message);
        }
        tr_safetensors_close(&s);
    }
}

/* Every prefix of a good file and every single changed header byte: refused or read, never a crash (ASan watches).
 */
static void test_prefixes_and_flips(void **state)
{
    (void)state;
    uint8_t bytes[512], changed[512];
    tr_safetensors s;
    size_t size = make_bytes(bytes, "{" F32_A "}", 8);
    for (size_t n = 0; n < size; n++) {
        assert_int_not_equal(tr_safetensors_parse(&s, bytes, n, "memory", NULL), TR_OK);
    }
    for (size_t i = 0; i < size - 8; i++) {
        for (int flip = 1; flip < 256; flip++) {
            memcpy(changed, bytes, size);
            changed[i] ^= (uint8_t)flip;
            if (!tr_safetensors_parse(&s, changed, size, "memory", NULL)) {
                for (size_t k = 0; k < s.count; k++) {
                    assert_true(s.items[k].data >= changed && s.items[k].data + s.items[k].bytes <= changed + size);
                }
                tr_safetensors_close(&s);
            }
        }
    }
}

static void test_builder(void **state)
{
    (void)state;
    static const uint8_t small[3] = {1, 2, 250};
    static const double wide[2] = {1.0 / 3, -2};
    static const int64_t ids[2] = {-5, INT64_MAX}, three[] = {3}, two[] = {2}, square[] = {1, 2};
    static const int32_t whole[2] = {7, -7};
    static const float values[2] = {0.1f, 3};
    tr_safetensors_builder b = {0};
    tr_safetensors s;
    char path[600];
    snprintf(path, sizeof path, "%s", scratch_path("built.safetensors"));
    assert_int_equal(tr_safetensors_builder_add(&b, "small", TR_U8, 1, three, small, NULL), TR_OK);
    assert_int_equal(tr_safetensors_builder_add(&b, "out/loss", TR_F64, 0, NULL, wide, NULL), TR_OK);
    assert_int_equal(tr_safetensors_builder_add(&b, "ids", TR_I64, 1, two, ids, NULL), TR_OK);
    assert_int_equal(tr_safetensors_builder_add(&b, "whole", TR_I32, 1, two, whole, NULL), TR_OK);
    assert_int_equal(tr_safetensors_builder_add(&b, "values", TR_F32, 2, square, values, NULL), TR_OK);
    assert_int_equal(tr_safetensors_builder_add_as(&b, "half", TR_BF16, 1, two, values, TR_F32, NULL), TR_OK);
    assert_int_equal(tr_safetensors_builder_set(&b, "made_by", "test", NULL), TR_OK);
    assert_int_equal(tr_safetensors_builder_write(&b, path, NULL), TR_OK);
    assert_int_equal(tr_safetensors_open(&s, path, NULL), TR_OK);
    assert_int_equal(s.count, 6);
    assert_string_equal(tr_safetensors_metadata(&s, "made_by"), "test");
    const tr_safetensor *t = tr_safetensors_find(&s, "ids");
    assert_memory_equal(t->data, ids, sizeof ids);
    for (size_t i = 0; i < s.count; i++) {
        assert_int_equal((uintptr_t)s.items[i].data % tr_dtype_size(s.items[i].dtype), 0);
    }
    t = tr_safetensors_find(&s, "out/loss");
    assert_int_equal(t->rank, 0);
    assert_memory_equal(t->data, wide, 8);
    t = tr_safetensors_find(&s, "half");
    float back[2];
    assert_int_equal(tr_safetensors_copy(t, 0, 2, back, TR_F32, NULL), TR_OK);
    assert_true(back[0] == 0.10009765625f && back[1] == 3); /* 0.1 rounded to 8 bits */
    tr_safetensors_close(&s);
    tr_error err = {0};
    assert_int_equal(tr_safetensors_builder_add(&b, "ids", TR_I64, 1, two, ids, NULL), TR_OK);
    assert_int_equal(tr_safetensors_builder_write(&b, path, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "ids is given twice"));
    tr_safetensors_builder_free(&b);
}

static void test_writer_counts(void **state)
{
    (void)state;
    const tr_safetensors_entry entry = {.name = "x", .dtype = TR_F32, .rank = 1, .shape = {2}};
    static const float x[3] = {1, 2, 3};
    tr_safetensors_writer w;
    char path[600];
    snprintf(path, sizeof path, "%s", scratch_path("short.safetensors"));
    assert_int_equal(tr_safetensors_writer_open(&w, path, &entry, 1, NULL, NULL), TR_OK);
    assert_int_equal(tr_safetensors_writer_write(&w, x, 4, NULL), TR_OK);
    assert_int_equal(tr_safetensors_writer_commit(&w, NULL), TR_INVALID);
    assert_false(tr_file_exists(path));
    assert_int_equal(tr_safetensors_writer_open(&w, path, &entry, 1, NULL, NULL), TR_OK);
    assert_int_equal(tr_safetensors_writer_write(&w, x, 12, NULL), TR_INVALID);
    tr_safetensors_writer_abandon(&w);
    assert_false(tr_file_exists(path));
}

/* A disk that is full after 64 KiB (a file size limit has the same effect on write): the old file stays whole. */
static void test_full_disk(void **state)
{
    (void)state;
    static float big[65536];
    const int64_t few[] = {2}, many[] = {65536};
    char path[600];
    tr_safetensors_builder a = {0}, b = {0};
    tr_safetensors s;
    struct rlimit old, small;
    snprintf(path, sizeof path, "%s", scratch_path("full.safetensors"));
    assert_int_equal(tr_safetensors_builder_add(&a, "old", TR_F32, 1, few, big, NULL), TR_OK);
    assert_int_equal(tr_safetensors_builder_add(&b, "new", TR_F32, 1, many, big, NULL), TR_OK);
    assert_int_equal(tr_safetensors_builder_write(&a, path, NULL), TR_OK);
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){65536, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    tr_error err = {0};
    tr_status status = tr_safetensors_builder_write(&b, path, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, TR_IO);
    assert_non_null(strstr(err.message, "full.safetensors"));
    assert_int_equal(tr_safetensors_open(&s, path, NULL), TR_OK);
    assert_non_null(tr_safetensors_find(&s, "old"));
    tr_safetensors_close(&s);
    tr_safetensors_builder_free(&a);
    tr_safetensors_builder_free(&b);
}

static void write_text(const char *dir, const char *name, const char *text)
{
    char *path = tr_path_join(dir, name);
    assert_int_equal(tr_file_write_atomic(path, text, strlen(text), NULL), TR_OK);
    free(path);
}

static void write_shard(const char *dir, const char *name, const char *tensor)
{
    const int64_t one[] = {1};
    const float value = 1;
    tr_safetensors_builder b = {0};
    char *path = tr_path_join(dir, name);
    assert_int_equal(tr_safetensors_builder_add(&b, tensor, TR_F32, 1, one, &value, NULL), TR_OK);
    assert_int_equal(tr_safetensors_builder_write(&b, path, NULL), TR_OK);
    tr_safetensors_builder_free(&b);
    free(path);
}

static void test_index(void **state)
{
    (void)state;
    static const struct {
        const char *index, *says;
    } table[] = {
        {"{\"metadata\": {\"total_size\": 0}, \"weight_map\": {\"a\": \"1.st\", \"b\": \"2.st\"}}", NULL},
        {"{\"weight_map\": {\"a\": \"1.st\", \"b\": \"3.st\"}}", "3.st"},
        {"{\"weight_map\": {\"a\": \"1.st\", \"b\": \"2.st\", \"c\": \"2.st\"}}",
         "tensor c is not in the shard 2.st"},
        {"{\"weight_map\": {\"a\": \"2.st\", \"b\": \"1.st\"}}", "is not in the shard"},
        {"{\"weight_map\": {\"a\": \"1.st\", \"c\": \"2.st\"}}", "tensor b is in this shard but not in the index"},
        {"{\"weight_map\": {\"a\": \"../1.st\"}}", "same directory"},
        {"{\"weight_map\": {\"a\": \"..\"}}", "same directory"},
        {"{\"weight_map\": {\"a\": 1}}", "same directory"},
        {"{\"weight_map\": {\"a\": \"1.st\", \"b\": \"2.st\", \"x\": \"1copy.st\"}}", "is in two shards"},
        {"{\"weight_map\": []}", "weight_map"},
        {"{\"weight_map\": {", "model.safetensors.index.json"}};
    char dir[600];
    snprintf(dir, sizeof dir, "%s", scratch_path("sharded"));
    assert_int_equal(tr_directory_make(dir, NULL), TR_OK);
    tr_safetensors s;
    tr_error err = {0};
    assert_int_equal(tr_safetensors_open_directory(&s, dir, &err), TR_NOT_FOUND);
    assert_non_null(strstr(err.message, "neither model.safetensors nor"));
    write_shard(dir, "1.st", "a");
    write_shard(dir, "1copy.st", "a");
    write_shard(dir, "2.st", "b");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        write_text(dir, "model.safetensors.index.json", table[i].index);
        err = (tr_error){0};
        tr_status status = tr_safetensors_open_directory(&s, dir, &err);
        char all[2048];
        snprintf(all, sizeof all, "%s: %s", err.where, err.message);
        if (!table[i].says ? status != TR_OK : !status || !strstr(all, table[i].says)) {
            fail_msg("row %zu: status %d, \"%s\"", i, status, all);
        }
        tr_safetensors_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_prefixes_and_flips),
        cmocka_unit_test(test_builder),
        cmocka_unit_test(test_writer_counts),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
