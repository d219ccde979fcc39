/* test_data_import.c: `tempr1 data import` as scripts use it: report, errors, no half files, durations of
 * containers. */
#include "program.h"

static void put(const char *name, const char *text)
{
    assert_int_equal(tr_file_write_atomic(scratch_path(name), text, strlen(text), NULL), TR_OK);
}

static json_t *rows_of(const char *name)
{
    FILE *stream = fopen(scratch_path(name), "rb");
    tr_buffer line = {0};
    json_t *rows = json_array();
    assert_non_null(stream);
    for (bool got = true; got;) {
        json_t *row;
        assert_int_equal(tr_file_read_line(stream, 0, &line, &got, NULL), TR_OK);
        if (got) {
            assert_int_equal(tr_json_parse(line.data, line.length, name, 0, &row, NULL), TR_OK);
            json_array_append_new(rows, row);
        }
    }
    fclose(stream);
    tr_buffer_free(&line);
    return rows;
}

static void report_and_rows(void **state)
{
    (void)state;
    put("charades_sta_test.txt", "AAAAA 1.0 4.5##person sits.\nAAAAA 4 4##nothing\n");
    put("charades.json", "{\"AAAAA\": {\"duration\": 4.25}}");
    char *files = tr_format("charades-sta '%s' '%s' --out '%s'", scratch_path("charades_sta_test.txt"),
                            scratch_path("charades.json"), scratch_path("rows.jsonl"));
    program_expect(tr_format("data import %s", files), 0, "2 records, 1 rows, 1 refused", "");
    program_expect(tr_format("data import %s", files), 0, "charades_sta_test.txt:1: [1, 4.5] in 4.25 s", "");
    program_expect(tr_format("data import %s --json --split tune", files), 0, "\"splits\":{\"tune\":1}", "");
    free(files);
    json_t *rows = rows_of("rows.jsonl");
    assert_int_equal(json_array_size(rows), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 0), "split")), "tune");
    json_decref(rows);
    program_expect(tr_format("data check '%s'", scratch_path("rows.jsonl")), 0, "", "");
}

static void wrong_use(void **state)
{
    (void)state;
    put("damaged.json", "[{\"id\": 1},\n {\"id\": ]");
    put("kept.jsonl", "as it was\n");
    program_expect(tr_strdup("data import --help"), 0, "youtube-highlights tvgbench", "");
    program_expect(tr_strdup("data import --list"), 0, "github.com/jayleicn/moment_detr", "");
    program_expect(tr_strdup("data import --list --json"), 0, "\"source\":\"mmvu\"", "");
    program_expect(tr_strdup("data import"), 2, "", "a SOURCE and its FILES");
    program_expect(tr_strdup("data import mmvu x.json"), 2, "", "--out ROWS is needed");
    program_expect(tr_strdup("data import charades_sta x.txt --out y"), 2, "", "did you mean \"charades-sta\"?");
    program_expect(tr_strdup("data import mmvu x.json --out y --videos /nowhere/at/all"), 2, "", "does not exist");
    program_expect(tr_format("data import mmvu --task tg x.json --out '%s'", scratch_path("none.jsonl")), 1, "",
                   "it has qa");
    program_expect(
        tr_format("data import mmvu '%s' --out '%s'", scratch_path("damaged.json"), scratch_path("kept.jsonl")), 1,
        "", "damaged.json:2:");
    tr_buffer kept = {0};
    assert_int_equal(tr_file_read(scratch_path("kept.jsonl"), 0, &kept, NULL), TR_OK);
    assert_string_equal(tr_buffer_text(&kept), "as it was\n"); /* a failed import leaves the old rows */
    tr_buffer_free(&kept);
    assert_false(tr_file_exists(scratch_path("none.jsonl")));
}

/* Two clips of four seconds at 8 frames a second, made by `data synth`; one more that is no video. */
static void durations_of_containers(void **state)
{
    (void)state;
    program_expect(tr_format("data synth --out '%s' --train 1 --tune 0 --test 0 --min-duration 4 --max-duration 4 "
                             "--min-events 1 --max-events 1 --json",
                             scratch_path("corpus")),
                   0, "\"train\":1,\"tune\":0,\"test\":0}", "");
    char **names, *folder = tr_strdup(scratch_path("corpus/videos"));
    size_t count;
    assert_int_equal(tr_directory_list(folder, &names, &count, NULL), TR_OK);
    assert_true(count >= 1);
    char *stem = tr_strndup(names[0], strlen(names[0]) - strlen(".mp4"));
    put("corpus/videos/broken.mp4", "this is no video");
    /* the published path has folders and another extension than the file */
    char *text =
        tr_format("[{\"video\": \"./data/timer1/%s.avi\", \"duration\": 9, \"timestamp\": [1, 8], \"sentence\": "
                  "\"s\"}, {\"video\": \"broken.mp4\", \"duration\": 9, \"timestamp\": [1, 8], \"sentence\": "
                  "\"s\"}, {\"video\": \"absent.mp4\", \"duration\": 9, \"timestamp\": [1, 8], \"sentence\": "
                  "\"s\"}, {\"video\": \"%s\", \"duration\": 2, \"timestamp\": [0.5, 1], \"sentence\": \"s\", "
                  "\"video_start\": 1, \"video_end\": 3}]",
                  stem, names[0]);
    put("train_2k5.json", text);
    free(text);
    program_expect(tr_format("data import time-r1 '%s' --videos '%s' --out '%s'", scratch_path("train_2k5.json"),
                             folder, scratch_path("real.jsonl")),
                   0, "duration-differs", "");
    json_t *rows = rows_of("real.jsonl");
    const json_t *row = json_array_get(rows, 0), *part = json_array_get(rows, 3);
    assert_int_equal(json_array_size(rows), 4);
    assert_string_equal(json_string_value(json_object_get(row, "video")), names[0]);
    assert_true(json_number_value(json_object_get(row, "duration")) == 4);
    assert_true(json_number_value(json_array_get(json_array_get(json_object_get(row, "segments"), 0), 1)) == 4);
    assert_true(json_number_value(json_object_get(json_array_get(rows, 1), "duration")) == 9);
    assert_true(json_number_value(json_object_get(part, "duration")) == 2);
    json_decref(rows);
    program_expect(tr_format("data import time-r1 '%s' --videos '%s' --out '%s' --json",
                             scratch_path("train_2k5.json"), folder, scratch_path("real.jsonl")),
                   0, "\"broken-video\"", "");
    tr_names_free(names, count);
    free(folder);
    free(stem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_and_rows),
        cmocka_unit_test(wrong_use),
        cmocka_unit_test(durations_of_containers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
