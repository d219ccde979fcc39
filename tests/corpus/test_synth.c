/* test_synth.c: the synthetic corpus: scenes, rows and files hold what they promise. */
#include "support/shared.h"

#include "base/file.h"
#include "corpus/rows.h"
#include "corpus/synth.h"
#include "corpus/synth_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check_scene(const tr_synth_options *o, const tr_synth_scene *scene)
{
    assert_in_range(scene->event_count, 1, o->max_events);
    assert_true(scene->duration_s >= o->min_duration_s && scene->duration_s <= o->max_duration_s);
    for (int i = 0; i < scene->event_count; i++) {
        const tr_synth_event *e = &scene->events[i];
        assert_true(e->start_s >= 0 && e->end_s <= scene->duration_s + 1e-9);
        assert_true(e->end_s - e->start_s >= o->min_event_s - 1e-9);
        assert_true(fabs(e->start_s / o->snap_s - round(e->start_s / o->snap_s)) < 1e-9);
        for (int j = 0; j < i && !o->overlap; j++) {
            const tr_synth_event *f = &scene->events[j];
            assert_true(f->end_s <= e->start_s + 1e-9 || e->end_s <= f->start_s + 1e-9);
        }
    }
}

static void test_scenes_keep_their_bounds(void **state)
{
    (void)state;
    for (int overlap = 0; overlap < 2; overlap++) {
        tr_synth_options o;
        tr_synth_defaults(&o);
        o.overlap = overlap;
        o.max_events = TR_SYNTH_EVENTS;
        for (int64_t clip = 0; clip < 500; clip++) {
            tr_synth_scene scene;
            tr_synth_scene_make(&o, (int)(clip % 3), clip, &scene);
            check_scene(&o, &scene);
        }
    }
}

static void test_splits_and_seeds_differ(void **state)
{
    (void)state;
    tr_synth_options o;
    tr_synth_defaults(&o);
    tr_synth_scene a, b, c, again;
    tr_synth_scene_make(&o, 0, 7, &a);
    tr_synth_scene_make(&o, 2, 7, &b);
    tr_synth_scene_make(&o, 0, 7, &again);
    o.seed = 2;
    tr_synth_scene_make(&o, 0, 7, &c);
    assert_memory_equal(&a, &again, sizeof a);
    assert_memory_not_equal(&a, &b, sizeof a);
    assert_memory_not_equal(&a, &c, sizeof a);
}

/* The picture shows an event inside its time and not outside: colours differ from the grey background. */
static void test_frames_show_the_events(void **state)
{
    (void)state;
    tr_synth_options o;
    tr_synth_defaults(&o);
    o.noise = 0;
    o.clock = false;
    uint8_t *rgb = malloc((size_t)(o.size * o.size * 3));
    for (int64_t clip = 0; clip < 20; clip++) {
        tr_synth_scene scene;
        tr_synth_scene_make(&o, 0, clip, &scene);
        for (double t = 0; t < scene.duration_s; t += 0.25) {
            bool shown = false, seen = false;
            for (int i = 0; i < scene.event_count; i++) {
                shown |= t >= scene.events[i].start_s - 1e-9 && t < scene.events[i].end_s - 1e-9;
            }
            tr_synth_frame(&o, &scene, 0, clip, t, rgb);
            for (int64_t i = 0; i < o.size * o.size * 3; i++) {
                seen |= rgb[i] != TR_SYNTH_BACKGROUND;
            }
            assert_int_equal(shown, seen);
        }
    }
    free(rgb);
}

static void test_distinct_colours(void **state)
{
    (void)state;
    tr_synth_options o;
    tr_synth_defaults(&o);
    o.distinct_colours = true;
    o.min_events = o.max_events = 4;
    o.min_event_s = 1;
    unsigned forms = 0;
    for (int64_t clip = 0; clip < 200; clip++) {
        tr_synth_scene scene;
        tr_synth_scene_make(&o, 0, clip, &scene);
        unsigned seen = 0;
        for (int i = 0; i < scene.event_count; i++) {
            assert_false(seen & 1u << scene.events[i].colour);
            seen |= 1u << scene.events[i].colour;
            forms |= 1u << scene.events[i].form;
        }
    }
    assert_int_equal(forms, (1u << TR_SYNTH_FORMS) - 1);
}

static void test_rows_of_every_task_are_good(void **state)
{
    (void)state;
    tr_synth_options o;
    tr_synth_defaults(&o);
    o.tasks = "tg,dtg,vhd,gvqa,tal,qa";
    o.overlap = true;
    int seen[6] = {0}, answers = 0, first_option = 0;
    const char *const tasks[6] = {"tg", "dtg", "vhd", "gvqa", "tal", "qa"};
    for (int64_t clip = 0; clip < 100; clip++) {
        tr_synth_scene scene;
        char name[32];
        snprintf(name, sizeof name, "c%lld", (long long)clip);
        json_t *list = json_array();
        tr_synth_scene_make(&o, 0, clip, &scene);
        assert_int_equal(tr_synth_rows(&o, &scene, 0, name, list, NULL), TR_OK);
        for (size_t i = 0; i < json_array_size(list); i++) {
            tr_row row;
            tr_error err = {0};
            if (tr_row_from_json(json_incref(json_array_get(list, i)), name, (long)i, &row, &err)) {
                fail_msg("%s: %s", err.where, err.message);
            }
            for (int t = 0; t < 6; t++) {
                seen[t] += !strcmp(row.task, tasks[t]);
            }
            const char *answer = json_string_value(json_object_get(json_array_get(list, i), "answer"));
            if (answer && !strcmp(row.task, "qa")) {
                answers++;
                first_option += answer[0] == 'A';
            }
            tr_row_free(&row);
        }
        json_decref(list);
    }
    assert_true(first_option > 0 && first_option < answers * 3 / 4); /* the place of an option says nothing */
    for (int t = 0; t < 6; t++) {
        assert_true(seen[t] > 10);
    }
}

static void test_files(void **state)
{
    (void)state;
    tr_synth_options o;
    tr_synth_defaults(&o);
    o.clips[0] = 2;
    o.clips[1] = o.clips[2] = 1;
    tr_error err = {0};
    const char *out = scratch_path("synth");
    assert_int_equal(tr_synth_write(&o, out, &err), TR_OK);
    tr_row_list rows;
    assert_int_equal(tr_row_list_read(scratch_path("synth/train.jsonl"), &rows, &err), TR_OK);
    assert_true(rows.count >= 2);
    char *video = tr_row_video_path(&rows.items[0], scratch_path("synth/videos"));
    assert_true(tr_file_exists(video));
    free(video);
    tr_row_list_free(&rows);
    assert_int_equal(tr_synth_write(&o, out, &err), TR_OK);
    o.seed = 9;
    assert_int_equal(tr_synth_write(&o, out, &err), TR_MISMATCH);
    o.size = 27;
    assert_int_equal(tr_synth_write(&o, scratch_path("other"), &err), TR_INVALID);
    o.size = 56;
    static const char *const wrong[] = {"", "tg,xx", "tg, dtg", "tg,", ",tg", "tal,dtgs,tg"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) { /* before a clip is made */
        o.tasks = wrong[i];
        assert_int_equal(tr_synth_write(&o, scratch_path("other"), &err), TR_INVALID);
        assert_string_equal(err.where, "tasks");
        assert_false(tr_file_exists(scratch_path("other/videos/train-00000.mp4")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scenes_keep_their_bounds),    cmocka_unit_test(test_splits_and_seeds_differ),
        cmocka_unit_test(test_frames_show_the_events),      cmocka_unit_test(test_distinct_colours),
        cmocka_unit_test(test_rows_of_every_task_are_good), cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
