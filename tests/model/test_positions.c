/* test_positions.c: position ids against every row of rope-positions, worked examples, and prompts that do not fit. */
#include "support/shared.h"

#include "base/json.h"
#include "model/network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGE = 1000, VIDEO = 1001, MOST = 200000 };

static tr_model_config config_of(double tokens_per_second)
{
    tr_model_config c;
    memset(&c, 0, sizeof c);
    c.image_id = IMAGE;
    c.video_id = VIDEO;
    c.vision.merge = 2;
    c.vision.tokens_per_second = tokens_per_second;
    return c;
}

static void compare_axis(const char *text, const int32_t *ids, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        char *end;
        long id = strtol(text, &end, 10);
        assert_ptr_not_equal(text, end);
        if (id != ids[i]) {
            printf("token %lld: %d for %ld\n", (long long)i, ids[i], id);
        }
        assert_int_equal(id, ids[i]);
        text = end;
    }
}

/* parts: a number is a run of text, ["image"|"video", [t, h, w], seconds] a span between its two marks. */
static int64_t fill(const json_t *parts, int32_t *ids, int32_t (*grids)[3], int64_t *grid_count, double *seconds)
{
    int64_t n = 0, videos = 0;
    size_t i;
    json_t *part;
    *grid_count = 0;
    json_array_foreach(parts, i, part)
    {
        if (json_is_integer(part)) {
            for (int64_t k = 0; k < json_integer_value(part); k++) {
                ids[n++] = 5;
            }
            continue;
        }
        bool video = !strcmp(json_string_value(json_array_get(part, 0)), "video");
        int32_t *grid = grids[(*grid_count)++];
        for (size_t axis = 0; axis < 3; axis++) {
            grid[axis] = (int32_t)json_integer_value(json_array_get(json_array_get(part, 1), axis));
        }
        if (video) {
            seconds[videos++] = json_number_value(json_array_get(part, 2));
        }
        ids[n++] = 6;
        for (int64_t k = 0; k < (int64_t)grid[0] * grid[1] * grid[2] / 4; k++) {
            assert_true(n + 2 < MOST);
            ids[n++] = video ? VIDEO : IMAGE;
        }
        ids[n++] = 6;
    }
    return n;
}

static void test_every_row_of_the_reference(void **state)
{
    (void)state;
    json_t *json, *row;
    size_t index;
    int rows = 0;
    assert_int_equal(tr_json_read(need_shared("golden/cases/rope-positions.json"), &json, NULL), TR_OK);
    tr_model_config config = config_of(json_number_value(json_object_get(json, "tokens_per_second")));
    int32_t *ids = calloc(MOST, sizeof *ids), *positions = calloc(MOST, 3 * sizeof *positions), grids[64][3], next;
    double seconds[64];
    assert_non_null(ids);
    assert_non_null(positions);
    json_array_foreach(json_object_get(json, "rows"), index, row)
    {
        int64_t grid_count, n = fill(json_object_get(row, "parts"), ids, grids, &grid_count, seconds);
        tr_error err = {0};
        assert_int_equal(n, json_integer_value(json_object_get(row, "length")));
        tr_status status = tr_positions(&config, ids, n, (const int32_t(*)[3])grids, grid_count, seconds, positions,
                                        &next, &err);
        assert_int_equal(status, TR_OK);
        for (size_t axis = 0; axis < 3; axis++) {
            compare_axis(json_string_value(json_array_get(json_object_get(row, "position_ids"), axis)),
                         positions + (int64_t)axis * n, n);
        }
        assert_int_equal(next - n, json_integer_value(json_object_get(row, "rope_delta")));
        rows++;
    }
    assert_int_equal(rows, 47);
    free(ids);
    free(positions);
    json_decref(json);
}

/* 15 text tokens, video (3, 4, 4) at one second per grid, 5 text tokens: t steps by 2, text resumes at 20. */
static void test_a_video_by_hand(void **state)
{
    (void)state;
    tr_model_config config = config_of(2);
    const int32_t grids[1][3] = {{3, 4, 4}};
    int32_t ids[32], positions[3 * 32], next;
    for (int i = 0; i < 32; i++) {
        ids[i] = i >= 15 && i < 27 ? VIDEO : 7;
    }
    assert_int_equal(tr_positions(&config, ids, 32, grids, 1, (const double[]){1.0}, positions, &next, NULL), TR_OK);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(positions[15 + i], 15 + 2 * (i / 4));
        assert_int_equal(positions[32 + 15 + i], 15 + i % 4 / 2);
        assert_int_equal(positions[64 + 15 + i], 15 + i % 2);
    }
    for (int axis = 0; axis < 3; axis++) {
        assert_int_equal(positions[32 * axis + 14], 14);
        assert_int_equal(positions[32 * axis + 27], 20);
    }
    assert_int_equal(next, 25);
}

/* Two images without text between them are two spans; an image has no time. */
static void test_neighbouring_images(void **state)
{
    (void)state;
    tr_model_config config = config_of(2);
    const int32_t grids[2][3] = {{1, 2, 4}, {1, 2, 2}};
    const int32_t ids[4] = {IMAGE, IMAGE, IMAGE, 3};
    const int32_t expected[12] = {0, 0, 2, 3, 0, 0, 2, 3, 0, 1, 2, 3};
    int32_t positions[12], next;
    assert_int_equal(tr_positions(&config, ids, 4, grids, 2, NULL, positions, &next, NULL), TR_OK);
    assert_memory_equal(positions, expected, sizeof expected);
    assert_int_equal(next, 4);
}

static void test_prompts_that_do_not_fit(void **state)
{
    (void)state;
    tr_model_config config = config_of(2);
    const int32_t grids[2][3] = {{1, 2, 4}, {1, 2, 2}};
    const int32_t ids[4] = {3, VIDEO, VIDEO, 3};
    const double seconds[2] = {1, 1};
    int32_t positions[12];
    tr_error err = {0};
    assert_int_equal(tr_positions(&config, ids, 4, grids, 1, seconds, positions, NULL, &err), TR_OK);
    assert_int_equal(tr_positions(&config, ids, 4, grids, 0, seconds, positions, NULL, &err), TR_MISMATCH);
    assert_non_null(strstr(err.message, "grid"));
    assert_int_equal(tr_positions(&config, ids, 4, grids, 2, seconds, positions, NULL, &err), TR_MISMATCH);
    assert_int_equal(tr_positions(&config, ids, 2, grids, 1, seconds, positions, NULL, &err), TR_MISMATCH);
    assert_non_null(strstr(err.message, "2 placeholders"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_of_the_reference),
        cmocka_unit_test(test_a_video_by_hand),
        cmocka_unit_test(test_neighbouring_images),
        cmocka_unit_test(test_prompts_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
