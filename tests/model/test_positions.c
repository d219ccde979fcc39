/* test_positions.c: M-RoPE position ids: every row of the reference's table, the spec's worked example, refusals.
 */
#include "support/shared.h"

#include "model/network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 1, IMAGE = 2, VIDEO = 3, START = 4, END = 5, MOST = 1 << 15 };

static tr_model_config config_of(void)
{
    tr_model_config c = {.image_id = IMAGE, .video_id = VIDEO, .vision_start_id = START, .vision_end_id = END};
    c.vision.merge = 2;
    c.vision.tokens_per_second = 2;
    return c;
}

static int64_t add(int32_t *ids, int64_t at, int32_t id, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        assert_true(at < MOST);
        ids[at++] = id;
    }
    return at;
}

static void check_row(const tr_model_config *c, const json_t *row)
{
    static int32_t ids[MOST], positions[3 * MOST];
    int32_t grids[16][3], next;
    double seconds[16];
    int64_t count = 0, grid = 0, videos = 0;
    size_t index;
    json_t *part;
    json_array_foreach(json_object_get(row, "parts"), index, part)
    {
        if (!json_is_array(part)) {
            count = add(ids, count, TEXT, json_integer_value(part));
            continue;
        }
        bool video = !strcmp(json_string_value(json_array_get(part, 0)), "video");
        for (size_t i = 0; i < 3; i++) {
            grids[grid][i] = (int32_t)json_integer_value(json_array_get(json_array_get(part, 1), i));
        }
        if (video) {
            seconds[videos++] = json_number_value(json_array_get(part, 2));
        }
        count = add(ids, count, START, 1);
        count =
            add(ids, count, video ? VIDEO : IMAGE, (int64_t)grids[grid][0] * grids[grid][1] * grids[grid][2] / 4);
        count = add(ids, count, END, 1);
        grid++;
    }
    assert_int_equal(count, json_integer_value(json_object_get(row, "length")));
    assert_int_equal(tr_positions(c, ids, count, (const int32_t(*)[3])grids, grid, seconds, positions, &next, NULL),
                     TR_OK);
    assert_int_equal(next - count, json_integer_value(json_object_get(row, "rope_delta")));
    for (size_t axis = 0; axis < 3; axis++) {
        const char *text = json_string_value(json_array_get(json_object_get(row, "position_ids"), axis));
        for (int64_t i = 0; i < count; i++) {
            char *end;
            assert_int_equal(strtol(text, &end, 10), positions[(int64_t)axis * count + i]);
            text = end;
        }
        assert_int_equal(*text, 0);
    }
}

static void test_reference_rows(void **state)
{
    (void)state;
    json_t *json, *row;
    size_t index;
    tr_model_config c = config_of();
    assert_int_equal(tr_json_read(need_shared("golden/cases/rope-positions.json"), &json, NULL), TR_OK);
    c.vision.tokens_per_second = json_number_value(json_object_get(json, "tokens_per_second"));
    json_array_foreach(json_object_get(json, "rows"), index, row)
    {
        check_row(&c, row);
    }
    assert_true(index >= 47);
    json_decref(json);
}

/* Spec section 4.1: 15 text tokens, a video (3, 4, 4) of one second per grid, 5 text tokens. */
static void test_worked_example(void **state)
{
    (void)state;
    tr_model_config c = config_of();
    int32_t ids[32], positions[96], next;
    const int32_t grid[1][3] = {{3, 4, 4}};
    const double seconds = 1.0;
    int64_t count = add(ids, add(ids, add(ids, 0, TEXT, 15), VIDEO, 12), TEXT, 5);
    assert_int_equal(tr_positions(&c, ids, count, grid, 1, &seconds, positions, &next, NULL), TR_OK);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(positions[15 + i], 15 + i / 4 * 2);
        assert_int_equal(positions[32 + 15 + i], 15 + i % 4 / 2);
        assert_int_equal(positions[64 + 15 + i], 15 + i % 2);
    }
    for (int axis = 0; axis < 3; axis++) {
        assert_int_equal(positions[axis * 32 + 14], 14);
        assert_int_equal(positions[axis * 32 + 27], 20);
        assert_int_equal(positions[axis * 32 + 31], 24);
    }
    assert_int_equal(next - count, -7);
}

static void test_refusals(void **state)
{
    (void)state;
    tr_model_config c = config_of();
    int32_t ids[8], positions[24];
    const int32_t grid[2][3] = {{1, 4, 4}, {1, 2, 2}};
    const double seconds[2] = {1, 1};
    tr_error err = {0};
    int64_t count = add(ids, add(ids, 0, VIDEO, 3), TEXT, 1);
    assert_int_equal(tr_positions(&c, ids, count, grid, 1, seconds, positions, NULL, &err), TR_MISMATCH);
    assert_non_null(strstr(err.message, "needs 4 placeholders"));
    assert_non_null(strstr(err.message, "token 3"));
    count = add(ids, 0, VIDEO, 5);
    assert_int_equal(tr_positions(&c, ids, count, grid, 1, seconds, positions, NULL, &err), TR_MISMATCH);
    assert_non_null(strstr(err.message, "only 1 grids"));
    count = add(ids, 0, VIDEO, 4);
    assert_int_equal(tr_positions(&c, ids, count, grid, 2, seconds, positions, NULL, &err), TR_MISMATCH);
    assert_non_null(strstr(err.message, "1 images and videos, but 2 grids"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_rows),
        cmocka_unit_test(test_worked_example),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
