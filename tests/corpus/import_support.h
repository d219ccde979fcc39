/* import_support.h: imports files into a scratch rows file and looks at the report and the rows. */
#ifndef TR_TESTS_CORPUS_IMPORT_SUPPORT_H
#define TR_TESTS_CORPUS_IMPORT_SUPPORT_H

#include "support/shared.h"

#include "base/file.h"
#include "corpus/import.h"
#include "corpus/rows.h"

#include <stdlib.h>
#include <string.h>

typedef struct imported {
    json_t *report;
    tr_row_list rows;
    tr_error err;
} imported;

/* task, split and folder may be NULL. Rows are read back by the row reader; the sums of the report are checked. */
static inline tr_status import_files(imported *r, const char *source, const char *task, const char *const *paths,
                                     size_t count)
{
    tr_import_options o = tr_import_options_default(source);
    const char *path = scratch_path("imported.jsonl");
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    memset(r, 0, sizeof *r);
    o.task = task;
    tr_status status = tr_import_files(&o, paths, count, out, &r->report, &r->err);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(status, r->err.code);
    assert_true(status ? !r->report : r->report != NULL);
    if (!status) {
        size_t i, refused = 0;
        json_t *rule;
        if (tr_row_list_read(path, &r->rows, &r->err)) {
            fail_msg("%s: %s: %s", source, r->err.where, r->err.message);
        }
        json_array_foreach(json_object_get(r->report, "rules"), i, rule)
        {
            refused += (size_t)json_integer_value(json_object_get(rule, "refused"));
            assert_true(json_integer_value(json_object_get(rule, "count")) >=
                        json_integer_value(json_object_get(rule, "refused")));
            assert_true(json_array_size(json_object_get(rule, "examples")) > 0);
        }
        assert_int_equal(refused, json_integer_value(json_object_get(r->report, "refused")));
        assert_int_equal(r->rows.count, json_integer_value(json_object_get(r->report, "rows")));
        assert_int_equal(r->rows.count + refused, json_integer_value(json_object_get(r->report, "records")));
    }
    return status;
}

static inline void import_free(imported *r)
{
    json_decref(r->report);
    tr_row_list_free(&r->rows);
    memset(r, 0, sizeof *r);
}

/* How often a rule applied, and how many records it refused; 0 when it is not in the report. */
static inline long long rule_number(const imported *r, const char *name, const char *field)
{
    size_t i;
    json_t *rule;
    json_array_foreach(json_object_get(r->report, "rules"), i, rule)
    {
        if (!strcmp(json_string_value(json_object_get(rule, "rule")), name)) {
            return (long long)json_integer_value(json_object_get(rule, field));
        }
    }
    return 0;
}

static inline long long rows_of_split(const imported *r, const char *split)
{
    return (long long)json_integer_value(json_object_get(json_object_get(r->report, "splits"), split));
}

#endif
