/* test_shared.c: every clip of ../shared: counts, times and frames as ffprobe.json, torchcodec and the ffmpeg
 * program say, and the preprocessing of the goldens to the byte. */
#include "video/ffmpeg.h"

#include "base/json.h"

#include <math.h>

static json_t *load(const char *relative)
{
    json_t *value = NULL;
    tr_buffer text = {0};
    tr_error err = {0};
    const char *path = need_shared(relative);
    assert_int_equal(tr_file_read(path, 0, &text, &err), TR_OK);
    if (tr_json_parse(text.data, text.length, path, 0, &value, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    tr_buffer_free(&text);
    return value;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* At most so many frames, evenly chosen, in the size of the file. NULL: err says why. */
static tr_clip *open_as_is(const char *path, int most, tr_error *err)
{
    tr_video_options o = tr_video_options_default();
    tr_clip *clip = NULL;
    o.fps = 1e5;
    o.max_frames = most;
    o.original_size = 1;
    tr_clip_open(path, &o, NULL, &clip, err);
    return clip;
}

/* Clips of ffprobe.json whose first video stream is not the one that FFmpeg prefers. */
static bool another_stream(const char *name)
{
    return !strcmp(name, "torchcodec/nasa_13013.mp4");
}

/* Nobody gives the same frames twice: what libavcodec conceals there depends on the timing of its threads. */
static bool unsteady(const char *name)
{
    return !strcmp(name, "bad/mozilla_no_timescale.mp4");
}

static void one_clip(const json_t *file)
{
    char path[1100], relative[300];
    const char *name = text_of(file, "file"), *count = text_of(json_object_get(file, "video"), "nb_read_frames");
    tr_error err = {0};
    snprintf(relative, sizeof relative, "data/video/%s", name);
    if (!shared_path(relative)) {
        printf("SKIP: reference data shared/%s is absent\n", relative);
        return;
    }
    snprintf(path, sizeof path, "%s", shared_path(relative));
    tr_clip *clip = open_as_is(path, 6, &err);
    if (atoi(count) < 2) { /* said, with the file's name and what was found */
        assert_null(clip);
        assert_true(err.code == TR_FORMAT && strstr(err.where, name) && strlen(err.message) > 20);
        return;
    }
    if (!clip) {
        fail_msg("%s: %s: %s", name, err.where, err.message);
    }
    if (!another_stream(name)) {
        assert_int_equal(clip->total_frames, atoi(count));
    }
    oracle expected = oracle_run(path, "", clip->frames, clip->frame_count);
    assert_int_equal(expected.count, clip->frame_count);
    for (int i = 0; i < expected.count; i++) {
        if (!(fabs(expected.pts_s[i] - clip->pts_s[i]) < 1e-9)) {
            fail_msg("%s: frame %lld is shown at %.9f s, ffmpeg says %.9f", name, (long long)clip->frames[i],
                     clip->pts_s[i], expected.pts_s[i]);
        }
    }
    size_t different = oracle_differences(&expected, clip);
    if (different && !unsteady(name)) {
        fail_msg("%s: %zu bytes differ from ffmpeg's rgb24", name, different);
    }
    oracle_free(&expected);
    tr_clip_free(clip);
}

static void every_clip(void **state)
{
    (void)state;
    need_ffmpeg();
    json_t *all = load("data/video/ffprobe.json"), *file;
    size_t i;
    json_array_foreach(json_object_get(all, "files"), i, file)
    {
        one_clip(file);
    }
    assert_true(i > 60);
    json_decref(all);
}

/* Conformance streams: no container, so no times; lost frames and sizes that change are among them. */
static void conformance(void **state)
{
    (void)state;
    need_ffmpeg();
    char folder[1100];
    char **names;
    size_t count;
    snprintf(folder, sizeof folder, "%s", need_shared("data/video/h264-conformance"));
    assert_int_equal(tr_directory_list(folder, &names, &count, NULL), TR_OK);
    for (size_t i = 0; i < count; i++) {
        char path[1400];
        tr_error err = {0};
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (strstr(names[i], ".tsv")) {
            continue;
        }
        tr_clip *clip = open_as_is(path, 6, &err);
        if (!clip) {
            fail_msg("%s: %s", err.where, err.message);
        }
        oracle expected = oracle_run(path, "", clip->frames, clip->frame_count);
        if (oracle_differences(&expected, clip)) {
            fail_msg("%s: %zu bytes differ from ffmpeg's rgb24", path, oracle_differences(&expected, clip));
        }
        oracle_free(&expected);
        tr_clip_free(clip);
    }
    tr_names_free(names, count);
}

/* torchcodec's list of all frames. */
static void torchcodec_times(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"nasa_13013.mp4", "stream3"},
                                           {"nasa_13013_rotated.mp4", "stream0"},
                                           {"test_non_zero_start.mp4", "stream0"}};
    for (size_t n = 0; n < 3; n++) {
        char relative[300];
        snprintf(relative, sizeof relative, "data/video/torchcodec/%s.%s.all_frames_info.json", names[n][0],
                 names[n][1]);
        json_t *list = load(relative);
        snprintf(relative, sizeof relative, "data/video/torchcodec/%s", names[n][0]);
        tr_error err = {0};
        tr_clip *clip = open_as_is(need_shared(relative), 64, &err);
        assert_non_null(clip);
        assert_int_equal(clip->total_frames, json_array_size(list));
        for (int i = 0; i < clip->frame_count; i++) {
            double expected = atof(text_of(json_array_get(list, (size_t)clip->frames[i]), "pts_time"));
            assert_true(fabs(expected - clip->pts_s[i]) < 1e-6);
            assert_true(fabs(clip->seconds[i] - (clip->pts_s[i] - clip->start_s)) < 1e-12);
        }
        tr_clip_free(clip);
        json_decref(list);
    }
}

/* torchcodec's own frames of the stream that we take too, at their numbers. */
static void torchcodec_frames(void **state)
{
    (void)state;
    json_t *index = load("data/video/torchcodec/frames/index.json"), *frame;
    size_t i;
    int compared = 0;
    json_array_foreach(json_object_get(index, "frames"), i, frame)
    {
        char relative[300];
        const char *name = text_of(frame, "clip");
        int64_t stream = json_integer_value(json_object_get(frame, "stream"));
        bool has_number = json_is_integer(json_object_get(frame, "frame_index"));
        if (text_of(frame, "filter")[0] || !has_number || (!strncmp(name, "nasa", 4) && stream != 3)) {
            continue;
        }
        snprintf(relative, sizeof relative, "data/video/torchcodec/frames/%s", text_of(frame, "file"));
        tr_buffer expected = {0};
        assert_int_equal(tr_file_read(need_shared(relative), 0, &expected, NULL), TR_OK);
        snprintf(relative, sizeof relative, "data/video/torchcodec/%s", name);
        tr_error err = {0};
        tr_clip *clip = open_as_is(need_shared(relative), 400, &err);
        assert_non_null(clip);
        int64_t number = json_integer_value(json_object_get(frame, "frame_index"));
        size_t plane = (size_t)clip->height * (size_t)clip->width;
        int at = -1;
        for (int k = 0; k < clip->frame_count; k++) {
            at = clip->frames[k] == number ? k : at;
        }
        if (at >= 0) {
            assert_int_equal(expected.length, 3 * plane);
            for (size_t k = 0; k < 3 * plane; k++) {
                assert_int_equal((uint8_t)expected.data[k], clip->pixels[((size_t)at * 3 + k % 3) * plane + k / 3]);
            }
            compared++;
        }
        tr_clip_free(clip);
        tr_buffer_free(&expected);
    }
    assert_true(compared >= 5);
    json_decref(index);
}

/* The first digits of a file's SHA-256, by the system's program. */
static void sha256_of(const void *bytes, size_t count, char hex[65])
{
    char path[600], sums[600];
    tr_buffer text = {0};
    snprintf(path, sizeof path, "%s", scratch_path("bytes"));
    snprintf(sums, sizeof sums, "%s", scratch_path("bytes.sha256"));
    assert_int_equal(tr_file_write_atomic(path, bytes, count, NULL), TR_OK);
    assert_int_equal(shell(tr_format("sha256sum '%s' >'%s'", path, sums)), 0);
    assert_int_equal(tr_file_read(sums, 0, &text, NULL), TR_OK);
    snprintf(hex, 65, "%.64s", tr_buffer_text(&text));
    tr_buffer_free(&text);
}

static void golden(const char *name)
{
    char relative[300], hex[65];
    snprintf(relative, sizeof relative, "golden/cases/endtoend-%s.json", name);
    json_t *expected = load(relative), *list = json_object_get(expected, "frame_indices");
    snprintf(relative, sizeof relative, "data/%s", text_of(expected, "clip"));
    tr_video_options o = tr_video_options_default();
    o.total_pixels = 2048 * 784;
    o.min_pixels = 3136;
    o.max_frames = 768;
    tr_clip *clip = NULL;
    tr_error err = {0};
    if (tr_clip_open(need_shared(relative), &o, NULL, &clip, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    assert_int_equal(clip->frame_count, json_array_size(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        assert_int_equal(clip->frames[i], json_integer_value(json_array_get(list, i)));
        double second = json_real_value(json_array_get(json_object_get(expected, "frame_times_s"), i));
        assert_true(fabs(second - clip->pts_s[i]) < 1e-9);
    }
    assert_true(fabs(json_real_value(json_object_get(expected, "sample_fps")) - clip->sampled_fps) < 1e-12);
    assert_true(fabs(json_real_value(json_object_get(expected, "second_per_grid")) - clip->second_per_grid) <
                1e-12);
    json_t *grid = json_object_get(expected, "grid_thw");
    assert_int_equal(clip->grid_t, json_integer_value(json_array_get(grid, 0)));
    assert_int_equal(clip->grid_h, json_integer_value(json_array_get(grid, 1)));
    assert_int_equal(clip->grid_w, json_integer_value(json_array_get(grid, 2)));
    sha256_of(clip->pixels, (size_t)clip->frame_count * 3 * (size_t)clip->height * (size_t)clip->width, hex);
    assert_string_equal(hex, text_of(expected, "frames_sha256"));
    size_t bytes = (size_t)clip->patches * 1176 * sizeof(float);
    float *patches = malloc(bytes);
    assert_non_null(patches);
    assert_int_equal(tr_clip_patches(clip, patches, NULL), TR_OK);
    sha256_of(patches, bytes, hex);
    assert_string_equal(hex, text_of(expected, "pixel_values_sha256"));
    free(patches);
    tr_clip_free(clip);
    json_decref(expected);
}

static void goldens(void **state)
{
    (void)state;
    golden("square");
    golden("ntsc");
    golden("natural");
    golden("timecode");
}

int main(void)
{
    setenv("TEMPR1_WORKER", TEMPR1_PROGRAM, 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_clip), cmocka_unit_test(conformance),
                                       cmocka_unit_test(torchcodec_times), cmocka_unit_test(torchcodec_frames),
                                       cmocka_unit_test(goldens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
