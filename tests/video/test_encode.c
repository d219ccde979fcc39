/* test_encode.c: the encoder's file: the same bytes whatever memory held before and whatever vector code the CPU has,
 * with the key frames and B-frames that were asked for. */
#include "support/shared.h"

#include "base/file.h"
#include "base/random.h"
#include "video/encode.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/cpu.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES = 60, GOP = 24 };

/* A frame of noise on which a square travels: blocks that are foretold well and others that are not. */
static void draw(uint8_t *rgb, int width, int height, uint32_t seed, int frame)
{
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            uint32_t bits[4];
            tr_random_bits(seed, (uint32_t)frame, 0, (uint32_t)y, (uint32_t)x, bits);
            int left = (int)(3 * seed + 2 * (uint32_t)frame) % width, top = height / 4 + frame / 8;
            bool inside = x >= left && x < left + width / 3 && y >= top && y < top + height / 3;
            uint8_t *pixel = rgb + 3 * (y * width + x);
            for (int c = 0; c < 3; c++) {
                pixel[c] = (uint8_t)((inside ? 40 + 70 * c : 110) + (int)(bits[c] >> 28));
            }
        }
    }
}

/* The file's bytes, for the caller to free. */
static tr_buffer encoded(int width, int height, uint32_t seed, bool plain)
{
    const char *path = scratch_path("clip.mp4");
    tr_video_writer *writer;
    tr_video_writer_options options;
    tr_error err;
    uint8_t *rgb = malloc((size_t)(3 * width * height));
    assert_non_null(rgb);
    tr_video_writer_defaults(&options);
    options.gop = GOP;
    options.plain = plain;
    assert_int_equal(tr_video_writer_open(path, width, height, 8, 1, &options, &writer, &err), TR_OK);
    for (int i = 0; i < FRAMES; i++) {
        draw(rgb, width, height, seed, i);
        assert_int_equal(tr_video_writer_add(writer, rgb, &err), TR_OK);
    }
    assert_int_equal(tr_video_writer_close(writer, &err), TR_OK);
    free(rgb);
    tr_buffer bytes = {0};
    assert_int_equal(tr_file_read(path, 1 << 24, &bytes, &err), TR_OK);
    return bytes;
}

static void expect_same(const tr_buffer *want, const tr_buffer *got, const char *what, int width, unsigned seed)
{
    if (want->length != got->length || memcmp(want->data, got->data, want->length)) {
        fail_msg("%s: the clip of seed %u, %d pixels wide, has other bytes (%zu, then %zu of them)", what, seed,
                 width, want->length, got->length);
    }
}

/* glibc fills what malloc gives by M_PERTURB: a coder that reads what it has not written gives another file. (The
 * sanitizers' malloc always fills alike, so there this test says little.) */
static void same_bytes_whatever_memory_held(void **state)
{
    static const int fills[] = {1, 85, 170, 255};
    (void)state;
    for (uint32_t seed = 0; seed < 6; seed++) {
        int width = 48 + 4 * (int)seed; /* three to five macroblocks: no whole vector */
        tr_buffer first = {0};
        for (size_t i = 0; i < sizeof fills / sizeof *fills; i++) {
            mallopt(M_PERTURB, fills[i]);
            tr_buffer bytes = encoded(width, 56, seed, false);
            mallopt(M_PERTURB, 0);
            if (i == 0) {
                first = bytes;
                continue;
            }
            expect_same(&first, &bytes, "after other contents of memory", width, seed);
            tr_buffer_free(&bytes);
        }
        tr_buffer_free(&first);
    }
}

/* FFmpeg's and x264's plain C code stand for a CPU of another kind. */
static void same_bytes_on_every_cpu(void **state)
{
    (void)state;
    for (uint32_t seed = 10; seed < 16; seed++) {
        int width = 36 + 20 * (int)(seed - 10);
        tr_buffer vector = encoded(width, 60, seed, false);
        av_force_cpu_flags(0);
        tr_buffer plain = encoded(width, 60, seed, true);
        av_force_cpu_flags(-1);
        expect_same(&plain, &vector, "without vector code", width, seed);
        tr_buffer_free(&vector);
        tr_buffer_free(&plain);
    }
}

static void key_frames_and_b_frames(void **state)
{
    tr_buffer bytes = encoded(56, 56, 3, false); /* leaves the file */
    AVFormatContext *format = NULL;
    AVPacket *packet = av_packet_alloc();
    int packets = 0, since_key = 0, out_of_order = 0;
    int64_t last = INT64_MIN;
    (void)state;
    tr_buffer_free(&bytes);
    assert_non_null(packet);
    assert_int_equal(avformat_open_input(&format, scratch_path("clip.mp4"), NULL, NULL), 0);
    while (!av_read_frame(format, packet)) {
        since_key = packet->flags & AV_PKT_FLAG_KEY ? 0 : since_key + 1;
        assert_true(packets > 0 || since_key == 0);
        assert_in_range(since_key, 0, GOP - 1);
        out_of_order += packet->pts < last;
        last = packet->pts;
        packets++;
        av_packet_unref(packet);
    }
    assert_int_equal(packets, FRAMES);
    assert_true(out_of_order > 0);
    av_packet_free(&packet);
    avformat_close_input(&format);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes_whatever_memory_held),
        cmocka_unit_test(same_bytes_on_every_cpu),
        cmocka_unit_test(key_frames_and_b_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
