/* test_text_formats.c: JSON and YAML readers: values, types and the places that errors name. */
#include "support/shared.h"

#include "base/json.h"
#include "base/yaml.h"

#include <string.h>

static void test_json_errors_have_a_place(void **state)
{
    (void)state;
    tr_error err = {0};
    json_t *value;
    const char *text = "{\"a\": 1,\n \"b\": }";
    assert_int_equal(tr_json_parse(text, strlen(text), "rows.jsonl", 6, &value, &err), TR_FORMAT);
    assert_non_null(strstr(err.where, "rows.jsonl:8:"));
    assert_int_equal(tr_json_parse("{\"a\":1,\"a\":2}", 13, "x", 0, &value, &err), TR_FORMAT);
    assert_int_equal(tr_json_parse("NaN", 3, "x", 0, &value, &err), TR_FORMAT);
    assert_int_equal(tr_json_parse("1 2", 3, "x", 0, &value, &err), TR_FORMAT);
}

static void test_json_members(void **state)
{
    (void)state;
    tr_error err = {0};
    json_t *value;
    const char *text = "{\"n\": 3, \"x\": 2.5, \"s\": \"t\", \"b\": true, \"z\": null}";
    assert_int_equal(tr_json_parse(text, strlen(text), "x", 0, &value, &err), TR_OK);
    double x = 7;
    int64_t n = 0;
    bool b = false;
    const char *s = NULL;
    assert_int_equal(tr_json_get_double(value, "n", true, "x", &x, &err), TR_OK);
    assert_true(x == 3);
    assert_int_equal(tr_json_get_int(value, "x", true, "x", &n, &err), TR_FORMAT);
    assert_non_null(strstr(err.message, "must be an integer, found a number"));
    assert_int_equal(tr_json_get_bool(value, "b", true, "x", &b, &err), TR_OK);
    assert_int_equal(tr_json_get_string(value, "s", true, "x", &s, &err), TR_OK);
    assert_string_equal(s, "t");
    x = 7;
    assert_int_equal(tr_json_get_double(value, "z", false, "x", &x, &err), TR_OK);
    assert_true(x == 7);
    assert_int_equal(tr_json_get_double(value, "z", true, "row 4", &x, &err), TR_FORMAT);
    assert_string_equal(err.where, "row 4");
    json_decref(value);
}

static void test_numbers_survive_a_round_trip(void **state)
{
    (void)state;
    const double numbers[] = {0.1, 1e-300, 12345.678901234567, -0.0, 3.0};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        json_t *value = json_real(numbers[i]), *again;
        tr_buffer text = {0};
        assert_int_equal(tr_json_print(value, &text, NULL), TR_OK);
        assert_int_equal(tr_json_parse(text.data, text.length, "x", 0, &again, NULL), TR_OK);
        assert_true(json_number_value(again) == numbers[i]);
        json_decref(value);
        json_decref(again);
        tr_buffer_free(&text);
    }
}

static void test_yaml_values_and_places(void **state)
{
    (void)state;
    const char *text = "a: 1\nvideo:\n  fps: 2.5\n  name: \"3\"\nlist: [1, x, true]\nlr: 1e-6\nnone:\nsize: 20G\n";
    json_t *root;
    tr_yaml_places places = {0};
    tr_error err = {0};
    assert_int_equal(tr_yaml_parse(text, strlen(text), "c.yaml", &root, &places, &err), TR_OK);
    assert_true(json_is_integer(json_object_get(root, "a")));
    json_t *video = json_object_get(root, "video");
    assert_true(json_real_value(json_object_get(video, "fps")) == 2.5);
    assert_true(json_is_string(json_object_get(video, "name")));
    assert_true(json_is_true(json_array_get(json_object_get(root, "list"), 2)));
    assert_true(json_real_value(json_object_get(root, "lr")) == 1e-6);
    assert_true(json_is_null(json_object_get(root, "none")));
    assert_string_equal(json_string_value(json_object_get(root, "size")), "20G");
    assert_int_equal(tr_yaml_line(&places, "/video/fps"), 3);
    assert_int_equal(tr_yaml_line(&places, "/list/1"), 5);
    assert_int_equal(tr_yaml_line(&places, "/absent"), 0);
    json_decref(root);
    tr_yaml_places_free(&places);
}

static void test_yaml_errors(void **state)
{
    (void)state;
    tr_error err = {0};
    json_t *root;
    const char *twice = "a: 1\nb: 2\na: 3\n", *broken = "a: [1, 2\nb: }\n";
    assert_int_equal(tr_yaml_parse(twice, strlen(twice), "c.yaml", &root, NULL, &err), TR_FORMAT);
    assert_non_null(strstr(err.where, "c.yaml:3"));
    assert_int_equal(tr_yaml_parse(broken, strlen(broken), "c.yaml", &root, NULL, &err), TR_FORMAT);
    assert_non_null(strstr(err.where, "c.yaml:"));
    assert_int_equal(tr_yaml_parse("a\0b", 3, "c.yaml", &root, NULL, &err), TR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_errors_have_a_place),
        cmocka_unit_test(test_json_members),
        cmocka_unit_test(test_numbers_survive_a_round_trip),
        cmocka_unit_test(test_yaml_values_and_places),
        cmocka_unit_test(test_yaml_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
