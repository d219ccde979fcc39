/* test_frames.c: the command `tempr1 frames` as scripts use it: text, JSON, pixels, errors and exit statuses. */
#include "cli/program.h"

#include "video/encode.h"

#include <math.h>

enum { WIDTH = 96, HEIGHT = 64 };

static char clip[600];

/* 50 frames at 10 per second; frame i is gray with level 20 + 4 i. */
static int write_clip(void **state)
{
    (void)state;
    static uint8_t rgb[WIDTH * HEIGHT * 3];
    tr_video_writer *writer;
    snprintf(clip, sizeof clip, "%s", scratch_path("gray.mp4"));
    if (tr_video_writer_open(clip, WIDTH, HEIGHT, 10, 1, NULL, &writer, NULL)) {
        return -1;
    }
    for (int i = 0; i < 50; i++) {
        memset(rgb, 20 + 4 * i, sizeof rgb);
        tr_video_writer_add(writer, rgb, NULL);
    }
    return tr_video_writer_close(writer, NULL) ? -1 : 0;
}

static json_t *frames(const char *options)
{
    json_t *lines = program_lines(tr_format("frames '%s' --json %s", clip, options));
    assert_int_equal(json_array_size(lines), 1);
    json_t *one = json_incref(json_array_get(lines, 0));
    json_decref(lines);
    return one;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) {
        fail_msg("%s is missing", key);
    }
    return json_number_value(value);
}

static double item(const json_t *object, const char *key, size_t at)
{
    return json_number_value(json_array_get(json_object_get(object, key), at));
}

static void clock_as_json(void **state)
{
    (void)state;
    json_t *o = frames("");
    assert_string_equal(json_string_value(json_object_get(o, "video")), clip);
    assert_true(number(o, "total_frames") == 50 && number(o, "fps") == 10 && number(o, "duration") == 5);
    assert_int_equal(json_array_size(json_object_get(o, "frames")), 10);
    for (size_t i = 0; i < 10; i++) { /* 49 / 9 apart, half to even */
        assert_true(item(o, "frames", i) == nearbyint((double)i * 49 / 9));
        assert_true(fabs(item(o, "seconds", i) - item(o, "frames", i) / 10) < 1e-9);
    }
    assert_true(number(o, "sampled_fps") == 2 && number(o, "second_per_grid") == 1);
    assert_true(item(o, "grid", 0) == 5 && item(o, "grid", 1) == number(o, "height") / 14 &&
                item(o, "grid", 2) == number(o, "width") / 14);
    assert_true(number(o, "tokens") == item(o, "grid", 0) * item(o, "grid", 1) * item(o, "grid", 2) / 4);
    assert_true(number(o, "source_height") == HEIGHT && number(o, "source_width") == WIDTH);
    json_decref(o);
    o = frames("--fps 1 --min-pixels 784 --total-pixels 20000");
    assert_int_equal(json_array_size(json_object_get(o, "frames")), 4);
    assert_true(number(o, "height") * number(o, "width") <= 20000 / 4 * 2);
    json_decref(o);
    o = frames("--max-frames=6 --fps 100");
    assert_int_equal(json_array_size(json_object_get(o, "frames")), 6);
    json_decref(o);
    o = frames("--min-frames 20 --fps 0.1");
    assert_int_equal(json_array_size(json_object_get(o, "frames")), 20);
    json_decref(o);
    o = frames("--start 1.05 --end 3");
    assert_true(item(o, "frames", 0) == 11 && fabs(item(o, "seconds", 0) - 0.05) < 1e-9);
    assert_true(item(o, "frames", json_array_size(json_object_get(o, "frames")) - 1) == 30);
    assert_true(fabs(item(o, "presentation_seconds", 0) - 1.1) < 1e-9);
    json_decref(o);
}

static void clock_as_text(void **state)
{
    (void)state;
    program_expect(tr_format("frames '%s' --fps 1", clip), 0, "50 frames, 10 per second, 5.000 s, 96x64", "");
    program_expect(tr_format("frames '%s' --fps 1", clip), 0, "     49       4.900\n", "");
}

/* The pixels beside the clock: planes of the gray levels that were written, and their normalised patches. */
static void pixels(void **state)
{
    (void)state;
    char out[600];
    tr_buffer bytes = {0};
    tr_error err = {0};
    uint64_t header;
    json_t *head = NULL;
    snprintf(out, sizeof out, "%s", scratch_path("pixels.safetensors"));
    char *options = tr_format("--fps 1 --out '%s'", out);
    json_t *o = frames(options);
    free(options);
    assert_int_equal(tr_file_read(out, 0, &bytes, NULL), TR_OK);
    memcpy(&header, bytes.data, sizeof header);
    assert_int_equal(tr_json_parse(bytes.data + 8, header, out, 0, &head, &err), TR_OK);
    json_t *u8 = json_object_get(head, "frames"), *f32 = json_object_get(head, "pixel_values");
    size_t plane = (size_t)(number(o, "height") * number(o, "width")),
           count = json_array_size(json_object_get(o, "frames"));
    const uint8_t *data = (uint8_t *)bytes.data + 8 + header, *at = data + (size_t)item(u8, "data_offsets", 0);
    for (size_t i = 0; i < 3 * count * plane; i++) {
        double expected = 20 + 4 * item(o, "frames", i / (3 * plane));
        if (!(fabs(at[i] - expected) <= 4)) { /* H.264 at its default quality */
            fail_msg("byte %zu is %d, expected %g", i, at[i], expected);
        }
    }
    assert_true(item(f32, "shape", 0) == 4 * number(o, "tokens") && item(f32, "shape", 1) == 1176);
    float first;
    memcpy(&first, data + (size_t)item(f32, "data_offsets", 0), sizeof first);
    assert_true(fabs(first - (at[0] / 255.0 - 0.48145466) / 0.26862954) < 1e-5);
    tr_buffer_free(&bytes);
    json_decref(head);
    json_decref(o);
}

static void errors(void **state)
{
    (void)state;
    program_expect(tr_strdup("frames"), 2, "", "an argument is missing");
    program_expect(tr_format("frames '%s' second", clip), 2, "", "unexpected argument 'second'");
    program_expect(tr_format("frames '%s' --fpps 2", clip), 2, "", "did you mean --fps?");
    program_expect(tr_format("frames '%s' --fps 0", clip), 2, "", "--fps must lie between");
    program_expect(tr_strdup("frames /nonexistent.mp4"), 1, "", "/nonexistent.mp4: cannot open the video: No such");
    program_expect(tr_strdup("frames /tmp"), 1, "", "this is a directory");
    program_expect(tr_format("frames '%s'", program_file("empty.mp4", "")), 1, "", "the file is empty");
    program_expect(tr_format("frames '%s'", program_file("text.mp4", "no video at all\n")), 1, "",
                   "cannot open it as a video");
    program_expect(tr_format("frames '%s' --start 3 --end 2", clip), 1, "",
                   "the part from 3 s to 2 s: the end must lie");
    program_expect(tr_format("frames '%s' --start 7", clip), 1, "", "fewer than 2 of the clip's 50 frames (5 s)");
    program_expect(tr_format("frames '%s' --out /nonexistent/x.safetensors", clip), 1, "",
                   "/nonexistent/x.safetensors");
    program_before = "TEMPR1_WORKER=/nonexistent/tempr1";
    program_expect(tr_format("frames '%s'", clip), 1, "", "cannot start the decoder program /nonexistent/tempr1");
    program_before = "TEMPR1_WORKER=false";
    program_expect(tr_format("frames '%s'", clip), 1, "", "ended with status 1");
    program_before = "TEMPR1_WORKER_FAULT=hang";
    program_expect(tr_format("frames '%s' --time-limit 0.5", clip), 1, "", "did not finish within 0.5 s");
    program_before = "TEMPR1_WORKER_FAULT=crash";
    program_expect(tr_format("frames '%s'", clip), 1, "", "gray.mp4: its decoder process died of signal 9");
    program_before = "";
}

/* A file cut off in the middle of its frames: what is left is used, or said to be too little. */
static void truncated(void **state)
{
    (void)state;
    tr_buffer bytes = {0};
    char path[600];
    snprintf(path, sizeof path, "%s", scratch_path("cut.mp4"));
    assert_int_equal(tr_file_read(clip, 0, &bytes, NULL), TR_OK);
    for (size_t part = 1; part < 8; part++) {
        tr_buffer out = {0}, said = {0};
        assert_int_equal(tr_file_write_atomic(path, bytes.data, bytes.length * part / 8, NULL), TR_OK);
        int status = program_run(tr_format("frames '%s' --json", path), &out, &said);
        if (status != (out.length ? 0 : 1) || (status && !strstr(tr_buffer_text(&said), "cut.mp4: "))) {
            fail_msg("%zu eighths: status %d, %s", part, status, tr_buffer_text(&said));
        }
        tr_buffer_free(&out);
        tr_buffer_free(&said);
    }
    tr_buffer_free(&bytes);
}

static void not_listed(void **state)
{
    (void)state;
    tr_buffer out = {0}, said = {0};
    assert_int_equal(program_run(tr_strdup("--help"), &out, &said), 0);
    assert_non_null(strstr(tr_buffer_text(&out), "frames"));
    assert_null(strstr(tr_buffer_text(&out), "decode-worker"));
    tr_buffer_free(&out);
    tr_buffer_free(&said);
    program_expect(tr_strdup("frames --help"), 0, "--total-pixels N", "");
}

int main(void)
{
    unsetenv("TEMPR1_WORKER"); /* the program as users start it: it is its own decoder process */
    const struct CMUnitTest tests[] = {cmocka_unit_test(clock_as_json), cmocka_unit_test(clock_as_text),
                                       cmocka_unit_test(pixels),        cmocka_unit_test(errors),
                                       cmocka_unit_test(truncated),     cmocka_unit_test(not_listed)};
    return cmocka_run_group_tests(tests, write_clip, NULL);
}
