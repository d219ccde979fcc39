/* test_rows.c: corpus rows: what is accepted, what is refused and where the message points. */
#include "support/shared.h"

#include "base/file.h"
#include "corpus/rows.h"

#include <stdlib.h>
#include <string.h>

static tr_status parse(const char *text, tr_error *err)
{
    json_t *json;
    tr_row row;
    assert_int_equal(tr_json_parse(text, strlen(text), "r", 0, &json, NULL), TR_OK);
    tr_status status = tr_row_from_json(json, "r.jsonl", 3, &row, err);
    if (!status) {
        tr_row_free(&row);
    }
    return status;
}

#define HEAD "{\"id\":\"a\",\"video\":\"v.mp4\",\"duration\":10,"

static void test_good_rows(void **state)
{
    (void)state;
    const char *good[] = {
        HEAD "\"task\":\"tg\",\"query\":\"q\",\"segments\":[[1,2.5]]}",
        HEAD "\"task\":\"dtg\",\"queries\":[\"q\",\"r\"],\"segments\":[[1,2],[0,10]]}",
        HEAD "\"task\":\"vhd\",\"query\":\"q\",\"segments\":[[1,2],[3,4]],\"extra\":{\"kept\":1}}",
        HEAD "\"task\":\"tal\",\"action\":\"run\",\"segments\":[]}",
        HEAD
        "\"task\":\"gvqa\",\"question\":\"q\",\"options\":[\"x\",\"y\"],\"answer\":\"B\",\"segments\":[[1,2]]}",
        HEAD "\"task\":\"qa\",\"question\":\"q\",\"options\":[\"x\",\"y\"],\"answer\":\"x\"}",
        HEAD "\"task\":\"tg\",\"query\":\"q\",\"segments\":[[1,10.0004]],\"clip\":[5,15]}",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        tr_error err = {0};
        if (parse(good[i], &err)) {
            fail_msg("%s: %s", good[i], err.message);
        }
    }
}

static void test_bad_rows_name_the_field(void **state)
{
    (void)state;
    const struct {
        const char *row, *says;
    } bad[] = {
        {"[1]", "must be an object"},
        {"{\"id\":\"a\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[1,2]]}", "\"video\""},
        {HEAD "\"task\":\"tg\",\"segments\":[[1,2]]}", "\"query\""},
        {HEAD "\"task\":\"tg\",\"query\":7,\"segments\":[[1,2]]}", "must be a string, found an integer"},
        {HEAD "\"task\":\"tg\",\"query\":\"q\"}", "\"segments\""},
        {HEAD "\"task\":\"tg\",\"query\":\"q\",\"segments\":[[3,2]]}", "not before the end"},
        {HEAD "\"task\":\"tg\",\"query\":\"q\",\"segments\":[[2,2]]}", "not before the end"},
        {HEAD "\"task\":\"tg\",\"query\":\"q\",\"segments\":[[2,11]]}", "outside the clip of 10 s"},
        {HEAD "\"task\":\"tg\",\"query\":\"q\",\"segments\":[[-1,2]]}", "outside the clip"},
        {HEAD "\"task\":\"tg\",\"query\":\"q\",\"segments\":[[1,2],[3,4]]}", "exactly 1 segment"},
        {HEAD "\"task\":\"dtg\",\"queries\":[\"q\"],\"segments\":[[1,2],[3,4]]}", "exactly 1 segment"},
        {HEAD "\"task\":\"qa\",\"question\":\"q\",\"options\":[\"x\",\"y\"],\"answer\":\"C\"}", "\"answer\""},
        {HEAD "\"task\":\"nope\"}", "unknown task"},
        {"{\"id\":\"a\",\"video\":\"v\",\"duration\":0,\"task\":\"tal\"}", "\"duration\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tr_error err = {0};
        assert_int_equal(parse(bad[i].row, &err), TR_FORMAT);
        if (!strstr(err.message, bad[i].says)) {
            fail_msg("%s: '%s' does not say '%s'", bad[i].row, err.message, bad[i].says);
        }
        assert_string_equal(err.where, "r.jsonl:3");
    }
}

static void write_text(const char *path, const char *text)
{
    assert_int_equal(tr_file_write_atomic(path, text, strlen(text), NULL), TR_OK);
}

static void test_files(void **state)
{
    (void)state;
    const char *path = scratch_path("rows.jsonl");
    tr_row_list list;
    tr_error err = {0};
    write_text(path,
               HEAD "\"task\":\"tal\",\"action\":\"x\",\"segments\":[]}\n\n"
                    "{\"id\":\"b\",\"video\":\"/abs/w.mp4\",\"task\":\"tal\",\"action\":\"x\",\"segments\":[]}");
    assert_int_equal(tr_row_list_read(path, &list, &err), TR_OK);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.items[1].line, 3);
    assert_true(list.items[1].duration_s < 0);
    char *a = tr_row_video_path(&list.items[0], "videos"), *b = tr_row_video_path(&list.items[1], "videos");
    assert_string_equal(a, "videos/v.mp4");
    assert_string_equal(b, "/abs/w.mp4");
    free(a);
    free(b);
    tr_row_list_free(&list);

    write_text(path, HEAD "\"task\":\"tal\",\"action\":\"x\",\"segments\":[]}\n" HEAD
                          "\"task\":\"tal\",\"action\":\"y\",\"segments\":[]}\n");
    assert_int_equal(tr_row_list_read(path, &list, &err), TR_FORMAT);
    assert_non_null(strstr(err.message, "line 1 already"));
    write_text(path, "\n{\"id\": }\n");
    assert_int_equal(tr_row_list_read(path, &list, &err), TR_FORMAT);
    assert_non_null(strstr(err.where, "rows.jsonl:2:"));
    write_text(path, "\n");
    assert_int_equal(tr_row_list_read(path, &list, &err), TR_FORMAT);
    assert_int_equal(tr_row_list_read(scratch_path("absent"), &list, &err), TR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_rows),
        cmocka_unit_test(test_bad_rows_name_the_field),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
