/* test_clips.c: frames and times of clips against the ffmpeg program, against ../shared's expectations, and against
 * numbers that follow from how a generated clip was made. */
#include "video/ffmpeg.h"

#include "base/json.h"

#include <limits.h>
#include <math.h>
#include <unistd.h>

static tr_video_options as_they_are(int most)
{
    tr_video_options o = tr_video_options_default();
    o.fps = 1e5;
    o.max_frames = most;
    o.original_size = 1;
    return o;
}

/* Frames and times of path, `most` of them, are the ffmpeg program's; the clip (freed by the caller). */
static tr_clip *same_as_ffmpeg(const char *path, const tr_video_options *o)
{
    tr_clip *clip = NULL;
    tr_error err = {0};
    if (tr_clip_open(path, o, NULL, &clip, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    oracle expected = oracle_run(path, "", clip->frames, clip->frame_count);
    if (expected.count != clip->frame_count) {
        fail_msg("%s: %d frames, ffmpeg gives %d of them", path, clip->frame_count, expected.count);
    }
    for (int i = 0; i < expected.count; i++) {
        if (!(fabs(expected.pts_s[i] - clip->pts_s[i]) < 1e-9)) {
            fail_msg("%s: frame %lld is shown at %.9f s, ffmpeg says %.9f", path, (long long)clip->frames[i],
                     clip->pts_s[i], expected.pts_s[i]);
        }
    }
    size_t different = oracle_differences(&expected, clip);
    if (different) {
        fail_msg("%s: %zu bytes differ from ffmpeg's rgb24", path, different);
    }
    oracle_free(&expected);
    return clip;
}

/* How a clip is made, what it then shows, and what makes it hard. */
typedef struct made {
    const char *name, *arguments;
    int frames, width, height;
    double first_s, last_s; /* presentation times; NAN: not stated here */
} made;

static const made made_clips[] = {
    {"bframes.mp4", "-f lavfi -i testsrc2=size=128x96:rate=25:duration=4 -c:v libx264 -g 30 -bf 3 -b_strategy 0",
     100, 128, 96, 0, 3.96},
    {"opengop.mkv",
     "-f lavfi -i testsrc2=size=128x96:rate=25:duration=6 -c:v libx264 -x264-params "
     "open-gop=1:keyint=24:min-keyint=24:scenecut=0:bframes=3:b-adapt=0",
     150, 128, 96, 0, NAN},
    {"hevc.mp4",
     "-f lavfi -i testsrc2=size=128x96:rate=25:duration=4 -c:v libx265 -x265-params log-level=none:keyint=20", 100,
     128, 96, 0, 3.96},
    {"negative.mp4",
     "-f lavfi -i testsrc2=size=96x64:rate=10:duration=3 -c:v libx264 -g 10 -bf 2 -avoid_negative_ts disabled "
     "-output_ts_offset -0.5",
     -1, 96, 64, NAN, NAN},
    {"late.mkv", "-f lavfi -i testsrc2=size=96x64:rate=10:duration=3 -c:v libx264 -output_ts_offset 7.25", 30, 96,
     64, 7.25, 10.15},
    {"vfr.mkv",
     "-f lavfi -i testsrc2=size=96x64:rate=30:duration=4 -vf \"select='if(lt(t,2),not(mod(n,6)),1)'\" -fps_mode "
     "vfr "
     "-c:v libx264",
     70, 96, 64, 0, NAN},
    {"ten_bits.mkv", "-f lavfi -i testsrc2=size=64x64:rate=10:duration=2 -c:v libx264 -pix_fmt yuv420p10le", 20, 64,
     64, 0, 1.9},
    {"gray.mkv", "-f lavfi -i testsrc2=size=64x64:rate=10:duration=2 -c:v ffv1 -pix_fmt gray", 20, 64, 64, 0, 1.9},
    {"alpha.mov", "-f lavfi -i testsrc2=size=64x64:rate=10:duration=2 -c:v qtrle -pix_fmt argb", 20, 64, 64, 0,
     1.9},
    {"odd_sides.mkv", "-f lavfi -i testsrc=size=65x67:rate=10:duration=2 -c:v libx264 -pix_fmt yuv444p", 20, 65, 67,
     0, 1.9},
    {"odd_sides_420.mkv", "-f lavfi -i testsrc=size=65x67:rate=10:duration=2 -c:v ffv1 -pix_fmt yuv420p", 20, 65,
     67, 0, 1.9},
    {"interlaced.mpg",
     "-f lavfi -i testsrc2=size=96x64:rate=25:duration=2 -c:v mpeg2video -flags +ilme+ildct -top 1", 50, 96, 64,
     NAN, NAN},
    {"full_range.mp4",
     "-f lavfi -i testsrc2=size=64x64:rate=10:duration=2 -c:v libx264 -pix_fmt yuvj420p -colorspace bt709", 20, 64,
     64, 0, 1.9},
    {"theora.ogv", "-f lavfi -i testsrc2=size=64x64:rate=10:duration=2 -c:v libtheora", 20, 64, 64, 0, 1.9},
    {"altref.webm",
     "-f lavfi -i testsrc2=size=64x64:rate=10:duration=4 -c:v libvpx -auto-alt-ref 1 -lag-in-frames 16 -b:v 100k",
     40, 64, 64, 0, NAN},
    {"gbr16.mkv", "-f lavfi -i testsrc2=size=64x64:rate=10:duration=2 -c:v ffv1 -pix_fmt gbrp16le", 20, 64, 64, 0,
     1.9},
    {"packed.avi", "-f lavfi -i testsrc2=size=64x64:rate=10:duration=4 -c:v mpeg4 -bf 2", 40, 64, 64, NAN, NAN},
};

static void made_clips_are_ffmpegs(void **state)
{
    (void)state;
    need_ffmpeg();
    for (size_t i = 0; i < sizeof made_clips / sizeof *made_clips; i++) {
        const made *m = made_clips + i;
        const char *path = ffmpeg_make(m->name, m->arguments);
        for (int most = 4; most < 500; most = most * 40) {
            tr_video_options o = as_they_are(most);
            tr_clip *clip = same_as_ffmpeg(path, &o);
            if (m->frames > 0 && clip->total_frames != m->frames) {
                fail_msg("%s: %lld frames, %d were written", m->name, (long long)clip->total_frames, m->frames);
            }
            assert_int_equal(clip->width, m->width);
            assert_int_equal(clip->height, m->height);
            assert_true(isnan(m->first_s) || fabs(clip->pts_s[0] - m->first_s) < 2e-3);
            assert_true(isnan(m->last_s) || fabs(clip->pts_s[clip->frame_count - 1] - m->last_s) < 2e-3);
            assert_true(fabs(clip->seconds[0] - (clip->pts_s[0] - clip->start_s)) < 1e-12);
            tr_clip_free(clip);
        }
    }
}

/* Turned clips: written upright, then marked. */
static void turned_clips(void **state)
{
    (void)state;
    need_ffmpeg();
    static const char *const angles[] = {"90", "180", "270"};
    char *upright =
        tr_strdup(ffmpeg_make("upright.mp4", "-f lavfi -i testsrc2=size=96x64:rate=10:duration=1 -c:v libx264"));
    for (int i = 0; i < 3; i++) {
        char *arguments = tr_format("-i '%s' -c copy -metadata:s:v rotate=%s", upright, angles[i]);
        const char *path = ffmpeg_make("turned.mp4", arguments);
        tr_video_options o = as_they_are(10);
        tr_clip *clip = same_as_ffmpeg(path, &o);
        assert_int_equal(clip->width, i == 1 ? 96 : 64);
        assert_int_equal(clip->source_height, i == 1 ? 64 : 96);
        tr_clip_free(clip);
        free(arguments);
    }
    free(upright);
}

/* Writes a display matrix {a b, c d} over the one in the file's track header, in place. */
static void set_matrix(const char *path, const int matrix[4])
{
    tr_buffer bytes = {0};
    assert_int_equal(tr_file_read(path, 0, &bytes, NULL), TR_OK);
    char *head = memmem(bytes.data, bytes.length, "tkhd", 4);
    assert_non_null(head);
    head += 4 + (head[4] ? 52 : 40); /* version 1 has longer times */
    const int32_t values[9] = {matrix[0], matrix[1], 0, matrix[2], matrix[3], 0, 0, 0, 0};
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < 4; k++) {
            head[4 * i + k] = (char)((uint32_t)(values[i] * 65536) >> (24 - 8 * k));
        }
    }
    assert_int_equal(tr_file_write_atomic(path, bytes.data, bytes.length, NULL), TR_OK);
    tr_buffer_free(&bytes);
}

/* Quarter turns, mirrors and both, in formats that can be turned as they are and in those that cannot (chroma of
 * half width only, pixels in pairs, bits, palettes), which the ffmpeg program turns as RGB. */
static void turned_and_mirrored(void **state)
{
    (void)state;
    need_ffmpeg();
    static const char *const formats[] = {"libx264 -pix_fmt yuv420p", "prores_ks -pix_fmt yuv422p10le",
                                          "mjpeg -pix_fmt yuvj422p",  "rawvideo -pix_fmt uyvy422",
                                          "png -pix_fmt pal8",        "png -pix_fmt monob",
                                          "png -pix_fmt rgba64be"};
    static const int matrices[][4] = {{0, 1, -1, 0}, {0, -1, 1, 0}, {-1, 0, 0, -1}, {-1, 0, 0, 1},
                                      {1, 0, 0, -1}, {0, 1, 1, 0},  {0, -1, -1, 0}, {0, 0, 0, 0}};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        char *arguments =
            tr_format("-f lavfi -i testsrc2=size=70x46:rate=10:duration=0.3 -strict -1 -c:v %s", formats[f]);
        const char *path = ffmpeg_make("matrix.mov", arguments);
        for (size_t m = 0; m < sizeof matrices / sizeof *matrices; m++) {
            tr_video_options o = as_they_are(4);
            set_matrix(path, matrices[m]);
            tr_clip *clip = same_as_ffmpeg(path, &o);
            assert_int_equal(clip->width, matrices[m][1] ? 46 : 70);
            tr_clip_free(clip);
        }
        free(arguments);
    }
}

/* A bare stream put into a container by name only: the packets' times are in the file's order although its frames
 * are shown in another. Few frames and all of them must give the same clock. */
static void times_in_file_order(void **state)
{
    (void)state;
    need_ffmpeg();
    char *bare = tr_strdup(ffmpeg_make("bare.h264", "-f lavfi -i testsrc2=size=96x64:rate=10:duration=4 -c:v "
                                                    "libx264 -bf 3 -b_strategy 0 -x264-params b-pyramid=none"));
    char *arguments = tr_format("-framerate 10 -i '%s' -c copy", bare);
    const char *path = ffmpeg_make("bare.mp4", arguments);
    for (int most = 4; most < 500; most *= 5) {
        tr_video_options o = as_they_are(most);
        tr_clip_free(same_as_ffmpeg(path, &o));
    }
    free(arguments);
    free(bare);
}

static double opened_duration(const char *path)
{
    tr_video_options o = as_they_are(4);
    tr_clip *clip = NULL;
    tr_error err = {0};
    need_ok(tr_clip_open(path, &o, NULL, &clip, &err), &err);
    double duration_s = clip->duration_s;
    assert_true(clip->seconds[3] < duration_s);
    tr_clip_free(clip);
    return duration_s;
}

/* A clip is as long as its frames are shown: a pause that the container's rate does not tell of, a video that
 * starts after the sound. */
static void durations(void **state)
{
    (void)state;
    need_ffmpeg();
    const char *path =
        ffmpeg_make("pause.mkv", "-f lavfi -i testsrc2=size=64x64:rate=10:duration=4 -vf "
                                 "\"setpts='if(gte(N,20),PTS+300/TB,PTS)'\" -fps_mode vfr -c:v libx264");
    assert_true(fabs(opened_duration(path) - 304) < 1e-6);
    path =
        ffmpeg_make("late_video.mkv", "-itsoffset 1.5 -f lavfi -i testsrc2=size=64x64:rate=10:duration=4 -f lavfi "
                                      "-i sine=duration=4 -c:v libx264 -c:a aac");
    assert_true(fabs(opened_duration(path) - 5.5) < 0.05); /* the sound begins a frame of its coder early */
    path = ffmpeg_make("steady.mp4", "-f lavfi -i testsrc2=size=64x64:rate=30000/1001:duration=4 -c:v libx264");
    assert_true(fabs(opened_duration(path) - 120 * 1001.0 / 30000) < 1e-9);
}

/* Matroska cannot say times below 0: the frames there follow from the first that has one. */
static void times_left_out_at_the_start(void **state)
{
    (void)state;
    need_ffmpeg();
    const char *path = ffmpeg_make("below.mkv", "-f lavfi -i testsrc2=size=64x64:rate=10:duration=3 -c:v libx264 "
                                                "-output_ts_offset -0.5 -avoid_negative_ts disabled");
    for (int most = 4; most < 500; most *= 10) {
        tr_video_options o = as_they_are(most);
        tr_clip *clip = NULL;
        tr_error err = {0};
        need_ok(tr_clip_open(path, &o, NULL, &clip, &err), &err);
        assert_int_equal(clip->total_frames, 30);
        for (int i = 0; i < clip->frame_count; i++) {
            assert_true(fabs(clip->pts_s[i] - ((double)clip->frames[i] / 10 - 0.5)) < 1e-6);
        }
        tr_clip_free(clip);
    }
}

/* Names that FFmpeg would take for a protocol's. */
static void names_with_colons(void **state)
{
    (void)state;
    need_ffmpeg();
    static const char *const names[] = {"12:30.mp4", "http:clip.mp4", "concat:a.mp4"};
    char before[PATH_MAX], folder[600];
    snprintf(folder, sizeof folder, "%s", scratch_path("colons"));
    assert_int_equal(tr_directory_make(folder, NULL), TR_OK);
    assert_non_null(getcwd(before, sizeof before));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[100];
        tr_clip *clip = NULL;
        tr_error err = {0};
        snprintf(name, sizeof name, "colons/%s", names[i]);
        ffmpeg_make(name, "-f lavfi -i testsrc2=size=64x64:rate=10:duration=0.4 -c:v libx264");
        assert_int_equal(chdir(folder), 0);
        need_ok(tr_clip_open(names[i], NULL, NULL, &clip, &err), &err);
        assert_int_equal(clip->total_frames, 4);
        tr_clip_free(clip);
        assert_int_equal(chdir(before), 0);
    }
}

/* Under whatever memory limit: all frames, or a word about memory. Never that the file lacks frames, and never as if
 * this process were short of memory, which would end a run. */
static void memory_is_not_damage(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip_test("address space cannot be limited under AddressSanitizer");
#endif
    need_ffmpeg();
    static const char *const names[] = {"large.mp4", "large.ts"};
    int refused = 0;
    for (int i = 0; i < 2; i++) {
        const char *path = ffmpeg_make(names[i], "-f lavfi -i color=gray:size=3840x2160:rate=10:duration=0.8 -c:v "
                                                 "libx264 -preset ultrafast");
        for (int64_t limit = 240; limit < 640; limit += 16) {
            tr_video_options o = tr_video_options_default();
            tr_clip *clip = NULL;
            tr_error err = {0};
            o.memory_limit_bytes = limit << 20;
            tr_status status = tr_clip_open(path, &o, NULL, &clip, &err);
            refused += status == TR_CHILD;
            assert_int_not_equal(status, TR_MEMORY);
            if (status == TR_FORMAT && strstr(err.message, "that decode")) {
                fail_msg("%s within %d MiB: %s", names[i], (int)limit, err.message);
            }
            assert_true(status || clip->total_frames == 8);
            tr_clip_free(clip);
        }
    }
    assert_true(refused > 0);
}

/* Clips that end in the middle of a packet, with frames still in the decoder's threads: as many as ffmpeg gives. */
static void cut_off(void **state)
{
    (void)state;
    need_ffmpeg();
    int64_t all[100];
    tr_buffer bytes = {0};
    for (int i = 0; i < 100; i++) {
        all[i] = i;
    }
    const char *path =
        ffmpeg_make("fragments.mp4", "-f lavfi -i testsrc2=size=96x64:rate=10:duration=3 -c:v libx264 "
                                     "-g 10 -bf 2 -movflags frag_keyframe+empty_moov -frag_duration "
                                     "300000");
    assert_int_equal(tr_file_read(path, 0, &bytes, NULL), TR_OK);
    for (size_t part = 20; part < 100; part += 12) {
        tr_video_options o = as_they_are(4);
        tr_clip *clip = NULL;
        tr_error err = {0};
        assert_int_equal(tr_file_write_atomic(path, bytes.data, bytes.length * part / 100, NULL), TR_OK);
        oracle expected = oracle_run(path, "", all, 100);
        for (; o.max_frames < 100; o.max_frames *= 20) {
            need_ok(tr_clip_open(path, &o, NULL, &clip, &err), &err);
            if (clip->total_frames != expected.count) {
                fail_msg("%d of 100 parts, up to %d frames: %lld frames, ffmpeg gives %d", (int)part, o.max_frames,
                         (long long)clip->total_frames, expected.count);
            }
            tr_clip_free(clip);
        }
        oracle_free(&expected);
    }
    tr_buffer_free(&bytes);
}

/* A part of a video whose edit list leaves out its beginning, which is decoded but never shown. */
static void edit_lists(void **state)
{
    (void)state;
    need_ffmpeg();
    const char *whole =
        ffmpeg_make("whole.mp4", "-f lavfi -i testsrc2=size=96x64:rate=10:duration=6 -c:v libx264 -g 60 -bf 0");
    char *arguments = tr_format("-ss 2.5 -i '%s' -c copy", whole);
    const char *path = ffmpeg_make("edited.mp4", arguments);
    tr_video_options o = as_they_are(200);
    tr_clip *clip = same_as_ffmpeg(path, &o);
    assert_int_equal(clip->total_frames, 35);
    assert_true(fabs(clip->seconds[0]) < 1e-9);
    tr_clip_free(clip);
    o.max_frames = 4;
    tr_clip_free(same_as_ffmpeg(path, &o));
    free(arguments);
}

/* Parts: the indices are those of the rule, frames and times the whole clip's, seconds count from the start. */
static void parts(void **state)
{
    (void)state;
    need_ffmpeg();
    const char *path =
        ffmpeg_make("long.mp4", "-f lavfi -i testsrc2=size=96x64:rate=25:duration=40 -c:v libx264 -g 50");
    static const double ranges[][2] = {{0, 3}, {7.3, 9.9}, {20, 0}, {33.33, 39}, {2, 38}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        for (int most = 2; most < 100; most *= 35) {
            tr_video_options o = as_they_are(most);
            o.start_s = ranges[i][0];
            o.end_s = ranges[i][1];
            if (most == 70) {
                o.fps = 2;
            }
            tr_clip *clip = same_as_ffmpeg(path, &o);
            int64_t last = ranges[i][1] > 0 ? (int64_t)floor(ranges[i][1] * 25) : 999;
            assert_int_equal(clip->frames[0], (int64_t)ceil(ranges[i][0] * 25));
            assert_int_equal(clip->frames[clip->frame_count - 1], last > 999 ? 999 : last);
            for (int k = 0; k < clip->frame_count; k++) {
                assert_true(fabs(clip->seconds[k] - ((double)clip->frames[k] / 25 - ranges[i][0])) < 1e-9);
            }
            tr_clip_free(clip);
        }
    }
    tr_video_options o = as_they_are(10);
    tr_clip *clip = NULL;
    tr_error err = {0};
    o.start_s = 50;
    assert_int_equal(tr_clip_open(path, &o, NULL, &clip, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "fewer than 2"));
    o.start_s = 5;
    o.end_s = 4;
    assert_int_equal(tr_clip_open(path, &o, NULL, &clip, &err), TR_INVALID);
}

int main(void)
{
    setenv("TEMPR1_WORKER", TEMPR1_PROGRAM, 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(made_clips_are_ffmpegs),
                                       cmocka_unit_test(turned_clips),
                                       cmocka_unit_test(turned_and_mirrored),
                                       cmocka_unit_test(times_in_file_order),
                                       cmocka_unit_test(durations),
                                       cmocka_unit_test(times_left_out_at_the_start),
                                       cmocka_unit_test(names_with_colons),
                                       cmocka_unit_test(memory_is_not_damage),
                                       cmocka_unit_test(cut_off),
                                       cmocka_unit_test(edit_lists),
                                       cmocka_unit_test(parts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
