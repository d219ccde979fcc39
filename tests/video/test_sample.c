/* test_sample.c: counts, indices and sizes against published numbers; resizing of a flat frame; patch order. */
#include "support/shared.h"
#include "video/clip.h"
#include "video/resize.h"
#include "video/sample.h"

#include <string.h>

static void sizes(void **state)
{
    (void)state;
    int h, w;
    assert_int_equal(tr_video_smart_resize(561, 278, 3136, 12845056, &h, &w, NULL), TR_OK);
    assert_int_equal(h, 560);
    assert_int_equal(w, 280);
    assert_int_equal(tr_video_smart_resize(70, 98, 1, 12845056, &h, &w, NULL), TR_OK); /* ties go to even */
    assert_int_equal(h, 56);
    assert_int_equal(w, 112);
    assert_int_equal(tr_video_frame_size(720, 1280, 240, 2048 * 784, 3136, &h, &w, NULL), TR_OK);
    assert_int_equal(h, 84);
    assert_int_equal(w, 140);
    assert_int_equal(tr_video_smart_resize(1, 300, 1, 1000, &h, &w, NULL), TR_INVALID);
}

static void counts(void **state)
{
    (void)state;
    int n;
    int64_t frames[4];
    assert_int_equal(tr_video_frame_count(900, 30, 2, 4, 768, &n, NULL), TR_OK);
    assert_int_equal(n, 60);
    assert_int_equal(tr_video_frame_count(3, 30, 2, 4, 768, &n, NULL), TR_OK);
    assert_int_equal(n, 2);
    assert_int_equal(tr_video_frame_count(1, 30, 2, 4, 768, &n, NULL), TR_INVALID);
    tr_video_frame_indices(0, 7, 3, frames); /* 0, 3.5, 7: half to even */
    assert_int_equal(frames[1], 4);
    assert_int_equal(frames[2], 7);
}

static void flat_stays_flat(void **state)
{
    (void)state;
    static uint8_t in[31 * 17 * 3], out[3 * 28 * 56];
    memset(in, 77, sizeof in);
    assert_int_equal(tr_video_resize(in, 17, 31, 31 * 3, out, 28, 56, NULL), TR_OK);
    for (size_t i = 0; i < sizeof out; i++) {
        assert_int_equal(out[i], 77);
    }
}

static void patch_order(void **state)
{
    (void)state;
    static uint8_t in[3 * 28 * 28];
    static float out[4 * 1176];
    in[2 * 784 + 14 * 28 + 15] = 255; /* blue, second row of patches, second column, pixel (0, 1) */
    assert_int_equal(tr_video_patches(in, 1, 28, 28, out, NULL), TR_OK);
    size_t at = 3 * 1176 + (2 * 2 * 14) * 14 + 1;
    assert_true(out[at] > 2 && out[at + 196] > 2 && out[at + 1] < -1); /* the single frame is repeated */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes), cmocka_unit_test(counts),
                                       cmocka_unit_test(flat_stays_flat), cmocka_unit_test(patch_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
