/* test_data_select.c: `tempr1 data select`: scores that continue after a kill, choices without a model, refusals.
 */
#include "cli/program.h"
#include "support/tiny.h"

static char model[512], corpus[512], rows[600], scores[600];

static int make(void **state)
{
    (void)state;
    char tokenizer[512];
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    snprintf(model, sizeof model, "%s", scratch_path("model"));
    snprintf(corpus, sizeof corpus, "%s", scratch_path("corpus"));
    snprintf(rows, sizeof rows, "%s/test.jsonl", corpus);
    snprintf(scores, sizeof scores, "%s", scratch_path("scores.jsonl"));
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, model, 3, 0);
    tiny_corpus(corpus, "tg,gvqa,tal,qa", 3);
    return 0;
}

static char *select_with_model(const char *to, const char *more)
{
    return tr_format("data select '%s' --model '%s' --videos '%s/videos' --scores '%s' --k 3 --min-frames 2 "
                     "--max-frames 4 --total-pixels 12544 --min-pixels 784 --max-tokens 8 --threads 1 --quiet %s",
                     rows, model, corpus, to, more);
}

static void read_text(const char *path, tr_buffer *text)
{
    tr_buffer_clear(text);
    assert_int_equal(tr_file_read(path, 0, text, NULL), TR_OK);
}

static size_t lines_of(const tr_buffer *text)
{
    size_t lines = 0;
    for (const char *at = tr_buffer_text(text); *at; at++) {
        lines += *at == '\n';
    }
    return lines;
}

static void test_scores_continue(void **state)
{
    (void)state;
    tr_buffer whole = {0}, card = {0}, again = {0}, input = {0};
    json_t *list = program_lines(select_with_model(scores, "--rule all --json"));
    read_text(scores, &whole);
    read_text(rows, &input);
    assert_int_equal(lines_of(&whole), lines_of(&input));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "kept")), lines_of(&input));
    json_decref(list);
    assert_non_null(strstr(whole.data, "\"ious\":[") && strstr(whole.data, "\"right\":["));
    assert_non_null(strstr(whole.data, "\"difficulty\":"));
    char *killed = tr_strdup(scratch_path("killed.jsonl")), *protocol = tr_format("%s.protocol.json", scores),
         *killed_protocol = tr_format("%s.protocol.json", killed);
    read_text(protocol, &card);
    size_t line = (size_t)(strchr(whole.data, '\n') - whole.data) + 1;
    const size_t cuts[] = {0, line - 1, line, whole.length / 2, whole.length};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        assert_int_equal(tr_file_write_atomic(killed, whole.data, cuts[i], NULL), TR_OK);
        assert_int_equal(tr_file_write_atomic(killed_protocol, card.data, card.length, NULL), TR_OK);
        program_expect(select_with_model(killed, "--batch 3"), 0, "rows kept by the rule variance",
                       cuts[i] >= line ? "rows are scored already" : "");
        read_text(killed, &again);
        assert_string_equal(tr_buffer_text(&whole), tr_buffer_text(&again));
    }
    program_expect(select_with_model(killed, "--prompt think"), 1, "", "scores of another protocol: prompt");
    remove(killed_protocol);
    program_expect(select_with_model(killed, ""), 1, "", "cannot be continued without their protocol");
    free(killed);
    free(protocol);
    free(killed_protocol);
    tr_buffer_free(&whole);
    tr_buffer_free(&card);
    tr_buffer_free(&again);
    tr_buffer_free(&input);
}

/* Without a model: rows with their difficulty, a report and a picture; the rows are rows again. */
static void test_choices_without_a_model(void **state)
{
    (void)state;
    char *out = tr_strdup(scratch_path("kept.jsonl")), *report_path = tr_format("%s.select.json", out),
         *picture = tr_format("%s.svg", out);
    json_t *list = program_lines(
        tr_format("data select '%s' --scores '%s' --rule random --count 4 --out '%s' --json", rows, scores, out));
    json_t *printed = json_array_get(list, 0), *report;
    tr_buffer text = {0};
    assert_int_equal(json_integer_value(json_object_get(printed, "kept")), 4);
    assert_int_equal(strlen(json_string_value(json_object_get(printed, "data_hash"))), 16);
    assert_int_equal(tr_json_read(report_path, &report, NULL), TR_OK);
    assert_true(json_equal(printed, report));
    read_text(out, &text);
    assert_int_equal(lines_of(&text), 4);
    assert_non_null(strstr(text.data, "\"difficulty\":"));
    assert_non_null(strstr(text.data, "\"score\":"));
    read_text(picture, &text);
    assert_non_null(strstr(text.data, "4 of"));
    program_expect(tr_format("data check '%s'", out), 0, "4 rows", "");
    /* a selection's rows are the same rows: its own scores still fit them in part, and say so */
    program_expect(tr_format("data select '%s' --scores '%s'", out, scores), 1, "", "of other rows than");
    program_expect(tr_format("data select '%s' --scores '%s' --rule variance --count 100", rows, scores), 0,
                   "rows kept by the rule variance", "100 rows were asked for, only");
    json_decref(list);
    json_decref(report);
    tr_buffer_free(&text);
    free(out);
    free(report_path);
    free(picture);
}

static void test_refusals(void **state)
{
    (void)state;
    program_expect(tr_format("data select '%s'", rows), 2, "", "--model DIR makes scores");
    program_expect(tr_format("data select --scores '%s'", scores), 2, "", "an argument is missing");
    program_expect(tr_format("data select '%s' --scores /nonexistent", rows), 1, "", "/nonexistent");
    program_expect(tr_format("data select '%s' --scores '%s' --rule gausian", rows, scores), 1, "",
                   "did you mean \"gaussian\"");
    program_expect(tr_format("data select '%s' --scores '%s' --count 2 --share 0.5", rows, scores), 1, "",
                   "--count and --share");
    program_expect(select_with_model(scores, "--temperature 0"), 1, "", "above 0");
    program_expect(tr_format("data select '%s' --model '%s'", rows, model), 2, "", "--scores FILE or --out ROWS");
    const char *other = program_file(
        "other.jsonl", "{\"id\":\"z\",\"task\":\"tg\",\"video\":\"v\",\"query\":\"q\",\"segments\":[[0,1]]}\n");
    program_expect(tr_format("data select '%s' --scores '%s'", other, scores), 1, "", "the row \"z\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores_continue),
        cmocka_unit_test(test_choices_without_a_model),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
