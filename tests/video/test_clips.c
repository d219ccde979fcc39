/* test_clips.c: frames and times of clips against the ffmpeg program, against ../shared's expectations, and against
 * numbers that follow from how a generated clip was made. */
#include "video/ffmpeg.h"

#include "base/json.h"

#include <math.h>

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
    const struct CMUnitTest tests[] = {cmocka_unit_test(made_clips_are_ffmpegs), cmocka_unit_test(turned_clips),
                                       cmocka_unit_test(edit_lists), cmocka_unit_test(parts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
