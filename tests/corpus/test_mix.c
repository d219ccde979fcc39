/* test_mix.c: the mix: shares, seeds, caps, counts, manifests and refusals. */
#include "support/shared.h"

#include "base/file.h"
#include "base/random.h"
#include "corpus/mix.h"
#include "corpus/rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- shares ---- */

static void test_shares(void **state)
{
    (void)state;
    int64_t shares[4], left;
    const double weights[4] = {1, 1, 1, 0};
    const int64_t none[4] = {-1, -1, -1, -1}, some[4] = {2, -1, -1, -1}, few[4] = {2, 3, 1, 9};
    assert_int_equal(tr_mix_share(10, weights, none, 4, shares, &left, NULL), TR_OK);
    assert_true(shares[0] == 4 && shares[1] == 3 && shares[2] == 3 && shares[3] == 0 && left == 0);
    assert_int_equal(tr_mix_share(10, weights, some, 4, shares, &left, NULL), TR_OK);
    assert_true(shares[0] == 2 && shares[1] == 4 && shares[2] == 4 && left == 0);
    assert_int_equal(tr_mix_share(10, weights, few, 4, shares, &left, NULL), TR_OK);
    assert_true(shares[0] == 2 && shares[1] == 3 && shares[2] == 1 && shares[3] == 0 && left == 4);
    for (uint32_t trial = 0; trial < 5000; trial++) { /* sums, limits, and no share further than 1 from its due */
        double w[4], sum = 0;
        int64_t limits[4], total = (int64_t)(tr_random_uniform(3, trial, 9, 0, 0) * 50), given = 0, room = 0;
        bool limited = trial % 2;
        for (uint32_t i = 0; i < 4; i++) {
            w[i] = floor(4 * tr_random_uniform(3, trial, i, 0, 0));
            limits[i] = limited ? (int64_t)(20 * tr_random_uniform(3, trial, i, 1, 0)) : -1;
            sum += w[i];
            room += w[i] > 0 ? limits[i] : 0;
        }
        assert_int_equal(tr_mix_share(total, w, limits, 4, shares, &left, NULL), TR_OK);
        for (int i = 0; i < 4; i++) {
            given += shares[i];
            assert_true(shares[i] >= 0 && (limits[i] < 0 || shares[i] <= limits[i]) && (w[i] > 0 || !shares[i]));
            if (!limited && sum > 0) {
                assert_true(fabs((double)shares[i] - (double)total * w[i] / sum) < 1);
            }
        }
        assert_int_equal(given + left, total);
        assert_int_equal(left, sum > 0 ? (limited && room < total ? total - room : 0) : total);
    }
}

/* ---- files ---- */

static void put(const char *name, const char *text)
{
    assert_int_equal(tr_file_write_atomic(scratch_path(name), text, strlen(text), NULL), TR_OK);
}

/* rows rows: videos of `each` rows; tasks tg and tal in turn. */
static void put_rows(const char *name, int rows, int each)
{
    FILE *f = fopen(scratch_path(name), "w");
    assert_non_null(f);
    for (int i = 0; i < rows; i++) {
        fprintf(
            f,
            "{\"id\":\"r%d\",\"task\":\"%s\",\"video\":\"v%d.mp4\",\"split\":\"%s\",\"duration\":10,\"%s\":\"q\","
            "\"segments\":[[1,2.5]],\"extra\":%d}\n%s",
            i, i % 2 ? "tal" : "tg", i / each, i % 5 ? "train" : "test", i % 2 ? "action" : "query", i,
            i % 7 ? "" : "\n");
    }
    fclose(f);
}

static tr_status make(const char *spec_text, const char *out, const tr_mix_options *more, json_t **manifest,
                      tr_error *err)
{
    tr_mix_spec spec;
    tr_mix_options o = more ? *more : (tr_mix_options){0};
    put("spec.yaml", spec_text);
    char *path = tr_strdup(scratch_path("spec.yaml")), *out_path = tr_strdup(scratch_path(out));
    o.out = out_path;
    *manifest = NULL;
    memset(err, 0, sizeof *err);
    tr_status status = tr_mix_spec_read(path, &spec, err);
    status = status ? status : tr_mix_make(&spec, &o, manifest, err);
    tr_mix_spec_free(&spec);
    free(path);
    free(out_path);
    return status;
}

static void good(const char *spec_text, const char *out, const tr_mix_options *more, const char *made)
{
    tr_error err;
    json_t *manifest;
    if (make(spec_text, out, more, &manifest, &err)) {
        fail_msg("%s: %s: %s", spec_text, err.where, err.message);
    }
    assert_string_equal(json_string_value(json_object_get(manifest, "made")), made);
    json_decref(manifest);
}

static void bad(const char *spec_text, const tr_mix_options *more, tr_status status, const char *message)
{
    tr_error err;
    json_t *manifest;
    tr_status found = make(spec_text, "bad.jsonl", more, &manifest, &err);
    char *text = tr_format("%s: %s", err.where, err.message);
    if (found != status || !strstr(text, message)) {
        fail_msg("%s: status %d, %s", spec_text, found, text);
    }
    free(text);
    assert_null(manifest);
}

typedef struct tally {
    size_t rows, tg, tal, a, b, copies;
    int most_of_a_video;
} tally;

/* Reads a mix back (which checks every row and that ids are unique). */
static tally read_mix(const char *name)
{
    tr_row_list list;
    tr_error err = {0};
    tally t = {0};
    int videos[2][1000] = {{0}};
    if (tr_row_list_read(scratch_path(name), &list, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    for (size_t i = 0; i < list.count; i++) {
        const tr_row *row = &list.items[i];
        bool b = row->id[0] == 'b';
        const char *slash = strrchr(row->video, '/');
        int video = atoi((slash ? slash + 1 : row->video) + 1);
        const json_t *mix = json_object_get(row->json, "mix");
        t.rows++;
        t.tg += !strcmp(row->task, "tg");
        t.tal += !strcmp(row->task, "tal");
        t.a += !b;
        t.b += b;
        t.copies += strchr(row->id, '#') != NULL;
        videos[b][video]++;
        t.most_of_a_video = videos[b][video] > t.most_of_a_video ? videos[b][video] : t.most_of_a_video;
        /* unknown fields are kept, and the row is the one that its id names */
        const char *id = json_string_value(json_object_get(mix, "id"));
        assert_int_equal(json_integer_value(json_object_get(row->json, "extra")), atoi(id + 1));
        assert_int_equal(strncmp(row->id + 2, id, strlen(id)), 0);
    }
    tr_row_list_free(&list);
    return t;
}

static char *read_text(const char *name)
{
    tr_buffer text = {0};
    assert_int_equal(tr_file_read(scratch_path(name), 0, &text, NULL), TR_OK);
    return text.data;
}

#define TWO "sources:\n  - {name: a, rows: a.jsonl, "
#define AND "}\n  - {name: b, rows: b.jsonl, "

static void test_weights_and_counts(void **state)
{
    (void)state;
    put_rows("a.jsonl", 200, 4);
    put_rows("b.jsonl", 100, 4);
    good("total: 90\n" TWO "weight: 2" AND "weight: 1}\n", "m1.jsonl", NULL, "new");
    tally t = read_mix("m1.jsonl");
    assert_true(t.rows == 90 && t.a == 60 && t.b == 30 && t.tg + t.tal == 90);
    good("total: 280\n" TWO "weight: 1" AND "weight: 1}\n", "m2.jsonl", NULL, "new");
    t = read_mix("m2.jsonl"); /* b has 100 only: a gives the rest */
    assert_true(t.rows == 280 && t.a == 180 && t.b == 100);
    good("total: 50\n" TWO "count: 20" AND "weight: 1, tasks: {tg: 2, tal: 1}}\n", "m3.jsonl", NULL, "new");
    t = read_mix("m3.jsonl");
    assert_true(t.a == 20 && t.b == 30 && t.tg == 20 + 10 && t.tal == 10 + 10);
    good(TWO "tasks: {tal: {count: 7}, tg: {count: 2}}" AND "tasks: [tg]}\n", "m4.jsonl", NULL, "new");
    t = read_mix("m4.jsonl");
    assert_true(t.a == 9 && t.b == 50 && t.tal == 7);
    good(TWO "split: test" AND "count: 0}\n", "m5.jsonl", NULL, "new");
    assert_int_equal(read_mix("m5.jsonl").rows, 40);
    good(TWO "count: 450, repeat: true, tasks: [tg]" AND "count: 0}\n", "m6.jsonl", NULL, "new");
    t = read_mix("m6.jsonl"); /* 100 rows of tg, each four or five times */
    assert_true(t.rows == 450 && t.copies == 350 && t.tal == 0);
}

static void test_caps_per_video(void **state)
{
    (void)state;
    bad("per_video: 1\ntotal: 60\n" TWO "weight: 1" AND "weight: 1}\n", NULL, TR_INVALID,
        "hold only 50 rows that fit");
    good("per_video: 1\ntotal: 50\n" TWO "weight: 1" AND "weight: 1}\n", "c1.jsonl", NULL, "new");
    tally t = read_mix("c1.jsonl");
    assert_true(t.rows == 50 && t.most_of_a_video == 1 && t.a >= 25);
    good(TWO "per_video: 3, count: 150" AND "count: 100}\n", "c2.jsonl", NULL, "new");
    t = read_mix("c2.jsonl");
    assert_true(t.a == 150 && t.b == 100 && t.most_of_a_video == 4);
    good(TWO "tasks: {tg: {count: 50, per_video: 1}, tal: {count: 10}}" AND "count: 0}\n", "c3.jsonl", NULL, "new");
    t = read_mix("c3.jsonl");
    assert_true(t.tg == 50 && t.tal == 10);
    bad(TWO "per_video: 3, count: 151" AND "count: 0}\n", NULL, TR_INVALID, "only 150 rows that fit");
    bad(TWO "tasks: {tg: {count: 51, per_video: 1}}" AND "count: 0}\n", NULL, TR_INVALID,
        "only 50 rows of the task tg");
    good(TWO "per_video: 2" AND "videos: other}\n", "c4.jsonl", NULL, "new"); /* all rows that the cap leaves */
    t = read_mix("c4.jsonl");
    assert_true(t.a == 100 && t.b == 100);
}

static void test_seeds(void **state)
{
    (void)state;
    const char *spec = "seed: 5\ntotal: 60\n" TWO "weight: 1" AND "weight: 1}\n";
    good(spec, "s1.jsonl", NULL, "new");
    good(spec, "s2.jsonl", NULL, "new");
    good("seed: 6\ntotal: 60\n" TWO "weight: 1" AND "weight: 1}\n", "s3.jsonl", NULL, "new");
    char *one = read_text("s1.jsonl"), *two = read_text("s2.jsonl"), *three = read_text("s3.jsonl");
    assert_string_equal(one, two);
    assert_string_not_equal(one, three);
    free(one);
    free(two);
    free(three);
    /* A larger count keeps the rows that a smaller one chose; another source, even before it, changes nothing. */
    good(TWO "count: 30" AND "count: 0}\n", "s4.jsonl", NULL, "new");
    put_rows("more.jsonl", 37, 1);
    good("sources:\n  - {name: b, rows: more.jsonl, count: 9}\n  - {name: a, rows: a.jsonl, count: 40}\n",
         "s5.jsonl", NULL, "new");
    tr_row_list list;
    char *more = read_text("s5.jsonl");
    assert_int_equal(tr_row_list_read(scratch_path("s4.jsonl"), &list, NULL), TR_OK);
    for (size_t i = 0; i < list.count; i++) {
        char *id = tr_format("\"id\":\"%s\"", list.items[i].id);
        assert_non_null(strstr(more, id));
        free(id);
    }
    tr_row_list_free(&list);
    free(more);
}

static void test_manifest(void **state)
{
    (void)state;
    const char *spec = "total: 60\n" TWO "weight: 1" AND "weight: 1}\n";
    const tr_mix_options accept = {.accept_changes = true}, check = {.check = true};
    char *elsewhere = tr_strdup(scratch_path("elsewhere.json"));
    bad(spec, &check, TR_NOT_FOUND, "no manifest");
    good(spec, "bad.jsonl", NULL, "new");
    good(spec, "bad.jsonl", NULL, "unchanged");
    good("# a comment, and another order of keys\n" TWO "weight: 1" AND "weight: 1}\ntotal: 60\n", "bad.jsonl",
         NULL, "unchanged");
    good(spec, "bad.jsonl", &check, "unchanged");
    char *first = read_text("bad.jsonl"), *manifest = read_text("bad.jsonl.manifest.json");
    put("elsewhere.json", manifest);
    assert_int_equal(remove(scratch_path("bad.jsonl")), 0);
    bad(spec, &check, TR_NOT_FOUND, "the rows are not there");
    good(spec, "bad.jsonl", NULL, "again");
    char *again = read_text("bad.jsonl");
    assert_string_equal(first, again);
    good(spec, "copy.jsonl", &(tr_mix_options){.manifest = elsewhere}, "again");
    /* a manifest that says other rows of the same files */
    char *hash = strstr(manifest, "\"rows\": 60");
    assert_non_null(hash);
    hash = strstr(hash, "\"xxh3\": \"") + 9;
    hash[0] = hash[0] == '0' ? '1' : '0';
    put("elsewhere2.json", manifest);
    char *elsewhere2 = tr_strdup(scratch_path("elsewhere2.json"));
    remove(scratch_path("bad.jsonl"));
    remove(scratch_path("bad.jsonl.manifest.json"));
    bad(spec, &(tr_mix_options){.manifest = elsewhere2}, TR_MISMATCH,
        "give other rows here than the manifest says");
    assert_false(tr_file_exists(scratch_path("bad.jsonl")));
    free(elsewhere2);
    good(spec, "bad.jsonl", NULL, "new");
    /* by hand */
    put("bad.jsonl", "{}\n");
    bad(spec, NULL, TR_MISMATCH, "changed by hand");
    good(spec, "bad.jsonl", &accept, "again");
    /* another specification */
    bad("total: 61\n" TWO "weight: 1" AND "weight: 1}\n", NULL, TR_MISMATCH, "the specification is another one");
    /* another source */
    put_rows("b.jsonl", 99, 4);
    bad(spec, NULL, TR_MISMATCH, "the file of the source 'b' has changed (b.jsonl: 99 rows");
    bad(spec, &check, TR_MISMATCH, "'b' has changed");
    bad(spec, &(tr_mix_options){.manifest = elsewhere}, TR_MISMATCH, "was 100 rows");
    good(spec, "bad.jsonl", &accept, "changed");
    good(spec, "bad.jsonl", NULL, "unchanged");
    put("bad.jsonl.manifest.json", "{\"format\": \"x\"}");
    bad(spec, NULL, TR_FORMAT, "is not the manifest of a mix");
    put("bad.jsonl.manifest.json", "{");
    bad(spec, NULL, TR_FORMAT, "manifest.json");
    assert_int_equal(remove(scratch_path("bad.jsonl.manifest.json")), 0);
    put_rows("b.jsonl", 100, 4);
    free(first);
    free(again);
    free(manifest);
    free(elsewhere);
}

static void test_videos_and_exclusion(void **state)
{
    (void)state;
    put("quarantine.txt", "v0.mp4\nv1.mp4 \r\n\nabsent.mp4\n");
    good(TWO "videos: clips/a, exclude: quarantine.txt" AND "count: 0}\n", "deep/er/v.jsonl", NULL, "new");
    char *text = read_text("deep/er/v.jsonl");
    assert_non_null(strstr(text, "\"video\":\"../../clips/a/v2.mp4\""));
    assert_null(strstr(text, "/v0.mp4"));
    assert_null(strstr(text, "/v1.mp4"));
    free(text);
    json_t *manifest = NULL;
    assert_int_equal(tr_json_read(scratch_path("deep/er/v.jsonl.manifest.json"), &manifest, NULL), TR_OK);
    const json_t *source = json_array_get(json_object_get(manifest, "sources"), 0);
    assert_int_equal(json_integer_value(json_object_get(source, "excluded")), 8);
    assert_int_equal(json_integer_value(json_object_get(manifest, "rows")), 192);
    assert_int_equal(json_integer_value(json_object_get(manifest, "videos")), 48);
    json_decref(manifest);
    char *from = tr_strdup(scratch_path("linked")); /* a folder behind a link keeps the link's name */
    assert_int_equal(symlink("/", from), 0);
    free(from);
    good(TWO "videos: ./x/../linked" AND "count: 0}\n", "deep/l.jsonl", NULL, "new");
    text = read_text("deep/l.jsonl");
    assert_non_null(strstr(text, "\"video\":\"../linked/v2.mp4\""));
    free(text);
    put("quarantine.txt", "v0.mp4\n");
    tr_error err;
    assert_int_equal(make(TWO "videos: clips/a, exclude: quarantine.txt" AND "count: 0}\n", "deep/er/v.jsonl", NULL,
                          &manifest, &err),
                     TR_MISMATCH);
    assert_non_null(strstr(err.message, "the excluded videos of the source 'a' have changed"));
    good(TWO "videos: /clips" AND "count: 0}\n", "abs.jsonl", NULL, "new");
    text = read_text("abs.jsonl");
    assert_non_null(strstr(text, "\"video\":\"/clips/v2.mp4\""));
    free(text);
}

static void test_refusals(void **state)
{
    (void)state;
    put("bad.jsonl", "my own notes\n");
    bad(TWO "count: 1" AND "count: 1}\n", NULL, TR_MISMATCH, "without the manifest of a mix");
    assert_int_equal(remove(scratch_path("bad.jsonl")), 0);
    json_t *manifest;
    tr_error err;
    assert_int_equal(make(TWO "count: 1" AND "count: 1}\n", "./b.jsonl", &(tr_mix_options){.accept_changes = true},
                          &manifest, &err),
                     TR_INVALID);
    assert_non_null(strstr(err.message, "a file that it is made from"));
    bad("totl: 3\n" TWO "weight: 1" AND "weight: 1}\n", NULL, TR_FORMAT,
        "spec.yaml:1: unknown key 'totl' (did you mean 'total'?)");
    bad(TWO "wieght: 1" AND "weight: 1}\n", NULL, TR_FORMAT,
        "spec.yaml:2: unknown key 'wieght' (did you mean 'weight'?)");
    bad(TWO "tasks: {tg: {cuont: 1}}" AND "count: 1}\n", NULL, TR_FORMAT, "(did you mean 'count'?)");
    bad(TWO "tasks: [tgg]" AND "count: 1}\n", NULL, TR_INVALID, "tgg");
    bad(TWO "tasks: []" AND "count: 1}\n", NULL, TR_FORMAT, "at least one task");
    bad(TWO "tasks: 3" AND "count: 1}\n", NULL, TR_FORMAT, "a list of tasks");
    bad(TWO "zzzz: 1" AND "weight: 1}\n", NULL, TR_FORMAT, "the keys here are name, rows");
    bad("total: 5\n" TWO "weight: 1, count: 2" AND "weight: 1}\n", NULL, TR_INVALID, "both a weight and a count");
    bad(TWO "weight: 1" AND "weight: 1}\n", NULL, TR_INVALID, "give the key 'total'");
    bad("total: 5\n" TWO "count: 1" AND "count: 1}\n", NULL, TR_INVALID, "no source has one");
    bad("total: 5\n" TWO "weight: -1" AND "weight: 1}\n", NULL, TR_FORMAT,
        "sources/0/weight must be a number above 0, found -1");
    bad("total: 5\n" TWO "weight: .inf" AND "weight: 1}\n", NULL, TR_FORMAT, "a number above 0");
    bad("total: 2.5\n" TWO "weight: 1" AND "weight: 1}\n", NULL, TR_FORMAT,
        "total must be an integer of at least 1");
    bad("total: 5\n" TWO "weight: 1, repeat: 3" AND "weight: 1}\n", NULL, TR_FORMAT, "true or false");
    bad(TWO "tasks: {tg: 1, tal: {per_video: 2}}, count: 3" AND "count: 1}\n", NULL, TR_INVALID,
        "give one to each");
    bad(TWO "tasks: {tg: 1}" AND "count: 1}\n", NULL, TR_INVALID, "needs a weight or a count itself");
    bad(TWO "tasks: {tg: {count: 3}}, count: 4" AND "count: 1}\n", NULL, TR_INVALID,
        "counts the rows of its tasks");
    bad("total: 5\n" TWO "count: 6" AND "weight: 1}\n", NULL, TR_INVALID, "more than the total of 5");
    bad(TWO "count: 201" AND "count: 1}\n", NULL, TR_INVALID, "has only 200 rows that fit");
    bad("sources:\n  - {name: a, rows: a.jsonl}\n  - {name: a, rows: b.jsonl}\n", NULL, TR_INVALID, "called 'a'");
    bad("sources:\n  - {name: a}\n", NULL, TR_NOT_FOUND, "needs the key 'rows'");
    bad("sources:\n  - {rows: absent.jsonl}\n", NULL, TR_NOT_FOUND, "absent.jsonl");
    bad("sources: []\n", NULL, TR_FORMAT, "a list of sources");
    bad("sources: {rows: a.jsonl}\n", NULL, TR_FORMAT, "a list of sources");
    bad("- 1\n", NULL, TR_FORMAT, "a mapping with the key 'sources'");
    bad("sources: [\n", NULL, TR_FORMAT, "not valid YAML");
    bad("", NULL, TR_FORMAT, "a mapping with the key 'sources'");
    put("broken.jsonl",
        "{\"id\":\"a\",\"task\":\"tg\",\"video\":\"v\",\"query\":\"q\",\"segments\":[[1,2]]}\n{\"id\": \n");
    bad("sources:\n  - {rows: broken.jsonl}\n", NULL, TR_FORMAT, "broken.jsonl:2");
    put("twice.jsonl", "{\"id\":\"a\",\"task\":\"tg\",\"video\":\"v\",\"query\":\"q\",\"segments\":[[1,2]]}\n"
                       "{\"id\":\"a\",\"task\":\"tg\",\"video\":\"v\",\"query\":\"q\",\"segments\":[[1,2]]}\n");
    bad("sources:\n  - {rows: twice.jsonl}\n", NULL, TR_FORMAT, "\"a\" stands there twice");
    bad("sources:\n  - {rows: a.jsonl, exclude: absent.txt}\n", NULL, TR_NOT_FOUND, "absent.txt");
    bad("sources:\n  - {rows: a.jsonl, count: 0}\n", NULL, TR_INVALID, "the mix has no rows");
    assert_false(tr_file_exists(scratch_path("bad.jsonl")));
}

/* The example of the project reads as a specification. */
static void test_example(void **state)
{
    (void)state;
    tr_mix_spec spec;
    tr_error err = {0};
    if (tr_mix_spec_read(project_path("examples/mix.yaml"), &spec, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    assert_int_equal(spec.total, 60000);
    assert_true(spec.count >= 5);
    tr_mix_spec_free(&spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares),         cmocka_unit_test(test_weights_and_counts),
        cmocka_unit_test(test_caps_per_video), cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_manifest),       cmocka_unit_test(test_videos_and_exclusion),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_example),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
