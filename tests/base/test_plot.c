/* test_plot.c: the SVG line plots. */
#include "support/shared.h"

#include "base/plot.h"

#include <math.h>
#include <string.h>

static int count_of(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what)) {
        n++;
    }
    return n;
}

static void test_a_page_holds_its_panels(void **state)
{
    (void)state;
    const double x[5] = {0, 1, 2, 3, 4}, y[5] = {0.5, NAN, 2, 3, INFINITY}, none[5] = {NAN, NAN, NAN, NAN, NAN};
    const tr_plot_series two[2] = {{"a<b", x, y, 5}, {"c", x, x, 5}}, empty = {"e", x, none, 5},
                         flat = {"f", x, x, 1};
    const tr_plot_panel panels[3] = {
        {"first & second", "step", two, 2, 3}, {"gone", "step", &empty, 1, 0}, {"one point", "step", &flat, 1, 0}};
    tr_buffer out = {0};
    assert_int_equal(tr_plot_svg("page", panels, 3, 2, &out, NULL), TR_OK);
    const char *svg = tr_buffer_text(&out);
    assert_true(!strncmp(svg, "<svg ", 5) && strstr(svg, "</svg>"));
    assert_int_equal(count_of(svg, "class=\"line\""), 3); /* two smoothed and the lone point */
    assert_int_equal(count_of(svg, "class=\"raw\""), 2);
    assert_non_null(strstr(svg, "a&lt;b"));
    assert_non_null(strstr(svg, "first &amp; second"));
    assert_non_null(strstr(svg, "nothing was measured"));
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf"));
    tr_buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_page_holds_its_panels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
