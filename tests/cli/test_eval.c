/* test_eval.c: `tempr1 eval` and `tempr1 eval compare`: files, numbers that do not depend on the batch, rows that
 * cannot be answered, and refusals. */
#include "cli/program.h"
#include "support/tiny.h"

static char model[512], second[512], corpus[512];
static const char small[] = "--min-frames 2 --max-frames 4 --total-pixels 12544 --min-pixels 784 --max-tokens 10 "
                            "--threads 1 --quiet";

static int make(void **state)
{
    (void)state;
    char tokenizer[512];
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    snprintf(model, sizeof model, "%s", scratch_path("model"));
    snprintf(second, sizeof second, "%s", scratch_path("second"));
    snprintf(corpus, sizeof corpus, "%s", scratch_path("corpus"));
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, model, 3, 0);
    tiny_checkpoint(tokenizer, second, 4, 0);
    tiny_corpus(corpus, "tg,tal,qa", 4);
    return 0;
}

static char *eval(const char *checkpoint, const char *rows, const char *out, const char *more)
{
    return tr_format("eval --model '%s' --data '%s' --videos '%s/videos' --out '%s' %s %s", checkpoint, rows,
                     corpus, scratch_path(out), small, more);
}

static char *rows_path(void)
{
    return tr_format("%s/test.jsonl", corpus);
}

static json_t *read_json(const char *out, const char *name)
{
    json_t *value;
    char *path = tr_path_join(scratch_path(out), name);
    tr_error err = {0};
    if (tr_json_read(path, &value, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    free(path);
    return value;
}

static void read_text(const char *out, const char *name, tr_buffer *text)
{
    char *path = tr_path_join(scratch_path(out), name);
    tr_buffer_clear(text);
    assert_int_equal(tr_file_read(path, 0, text, NULL), TR_OK);
    free(path);
}

static size_t lines_of(const tr_buffer *text)
{
    size_t lines = 0;
    for (const char *at = tr_buffer_text(text); *at; at++) {
        lines += *at == '\n';
    }
    return lines;
}

static void test_files_and_batches(void **state)
{
    (void)state;
    char *rows = rows_path();
    tr_buffer one = {0}, eight = {0}, input = {0};
    json_t *printed = program_lines(eval(model, rows, "one", "--batch 1 --json"));
    program_expect(eval(model, rows, "eight", "--batch 8"), 0, "mIoU", "");
    read_text("one", "predictions.jsonl", &one);
    read_text("eight", "predictions.jsonl", &eight);
    assert_int_equal(tr_file_read(rows, 0, &input, NULL), TR_OK);
    assert_int_equal(lines_of(&one), lines_of(&input));
    assert_string_equal(tr_buffer_text(&one), tr_buffer_text(&eight)); /* whatever the batch */
    json_t *metrics = read_json("one", "metrics.json");
    json_t *shown = json_array_get(printed, 0);
    assert_true(json_equal(metrics, shown));
    const json_t *card = json_object_get(metrics, "protocol");
    assert_string_equal(json_string_value(json_object_get(card, "model")), model);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(card, "video"), "max_frames")), 4);
    assert_non_null(json_object_get(json_object_get(card, "sampling"), "temperature"));
    assert_int_equal(strlen(json_string_value(json_object_get(card, "data_hash"))), 16);
    assert_int_equal(json_integer_value(json_object_get(metrics, "rows")), lines_of(&input));
    assert_int_equal(json_integer_value(json_object_get(metrics, "unanswered")), 0);
    assert_non_null(json_object_get(json_object_get(metrics, "tg"), "miou_interval"));
    assert_non_null(json_object_get(json_object_get(metrics, "tal"), "mf1_interval"));
    assert_non_null(json_object_get(json_object_get(metrics, "qa"), "accuracy"));
    assert_int_equal(strlen(json_string_value(json_object_get(card, "model_hash"))), 16);
    assert_string_equal(json_string_value(json_object_get(json_object_get(card, "sampling"), "decoding")),
                        "greedy");
    program_expect(tr_format("metrics --pred '%s/predictions.jsonl' --truth '%s'", scratch_path("one"), rows), 0,
                   "mIoU", "0 missing 0 unknown 0 duplicates");
    json_decref(printed);
    json_decref(metrics);
    tr_buffer_free(&one);
    tr_buffer_free(&eight);
    tr_buffer_free(&input);
    free(rows);
}

static void test_first_rows_and_sampling(void **state)
{
    (void)state;
    char *rows = rows_path();
    tr_buffer a = {0}, b = {0};
    program_expect(eval(model, rows, "a", "--first 3 --temperature 1 --seed 4"), 0, "", "");
    program_expect(eval(model, rows, "b", "--first 3 --temperature 1 --seed 4 --batch 2"), 0, "", "");
    read_text("a", "predictions.jsonl", &a);
    read_text("b", "predictions.jsonl", &b);
    assert_int_equal(lines_of(&a), 3);
    assert_string_equal(tr_buffer_text(&a), tr_buffer_text(&b));
    tr_buffer_free(&a);
    tr_buffer_free(&b);
    free(rows);
}

static const char *rows_file(const char *name, const char *video)
{
    char text[1024];
    snprintf(text, sizeof text,
             "{\"id\":\"x\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[0,0.5]],\"video\":\"%s\"}\n"
             "{\"id\":\"y\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[0,0.5]],\"video\":\"test-00001.mp4\"}\n",
             video);
    return program_file(name, text);
}

/* A clip that cannot be decoded is one row, named, counted and left unanswered; the others go on. */
static void test_a_broken_clip_is_counted(void **state)
{
    (void)state;
    tr_buffer text = {0};
    char *broken = tr_format("%s/videos/broken.mp4", corpus);
    assert_int_equal(tr_file_write_atomic(broken, "no video", 8, NULL), TR_OK);
    program_expect(eval(model, rows_file("broken.jsonl", "broken.mp4"), "broken", ""), 0,
                   "1 rows were not answered", "broken.mp4");
    json_t *metrics = read_json("broken", "metrics.json");
    assert_int_equal(json_integer_value(json_object_get(metrics, "unanswered")), 1);
    assert_int_equal(json_integer_value(json_object_get(metrics, "rows")), 1);
    assert_int_equal(json_object_size(json_object_get(metrics, "unanswered_why")), 1);
    read_text("broken", "predictions.jsonl", &text);
    assert_int_equal(lines_of(&text), 2); /* the row that could not be answered says why */
    assert_non_null(strstr(tr_buffer_text(&text), "\"unanswered\""));
    json_decref(metrics);
    tr_buffer_free(&text);
    free(broken);
}

/* No row can be answered: the files are written all the same, with what is known. */
static void test_no_row_can_be_answered(void **state)
{
    (void)state;
    char *other = tr_format("%s-context", model);
    tiny_checkpoint(scratch_path("tokenizer"), other, 3, 24);
    program_expect(eval(other, rows_file("long.jsonl", "test-00000.mp4"), "long", ""), 0,
                   "2 rows were not answered", "the model's context 24");
    json_t *metrics = read_json("long", "metrics.json");
    assert_int_equal(json_integer_value(json_object_get(metrics, "rows")), 0);
    assert_null(json_object_get(metrics, "tg"));
    json_decref(metrics);
    free(other);
}

static void refuse(char *arguments, int status, const char *text)
{
    program_expect(arguments, status, "", text);
}

/* What a folder holds is not mixed with other answers. */
static void refuse_later(const char *rows, const char *how)
{
    char *other = tr_format("%s --max-tokens 9 --top-k 7", how);
    refuse(eval(model, rows, "killed", other), 1, "sampling.top_k (0 and 7), sampling.max_tokens (10 and 9)");
    refuse(eval(second, rows, "killed", how), 1, "another protocol: model_hash");
    program_expect(eval(second, rows, "killed", "--restart"), 0, "", "");
    char *path = tr_path_join(scratch_path("killed"), "protocol.json");
    remove(path);
    refuse(eval(second, rows, "killed", ""), 1, "without the protocol.json");
    free(path);
    free(other);
}

static void test_refusals(void **state)
{
    (void)state;
    char *rows = rows_path();
    refuse(tr_format("eval --model '%s' --data '%s'", model, rows), 2, "--out DIR is needed");
    refuse(tr_format("eval --model '%s' --data '%s' --out x y", model, rows), 2, "unexpected argument 'y'");
    refuse(eval(model, "/nonexistent.jsonl", "no", ""), 1, "/nonexistent.jsonl");
    refuse(eval(model, program_file("empty.jsonl", ""), "no", ""), 1, "empty.jsonl");
    refuse(eval(model, rows_file("absent.jsonl", "absent.mp4"), "no", ""), 1, "absent.jsonl:1");
    refuse(eval(model, program_file("json.jsonl", "{\"id\":\n"), "no", ""), 1, "json.jsonl:1:");
    refuse(eval(model, program_file("field.jsonl", "{\"id\":\"a\",\"task\":\"tg\",\"video\":\"test-00000.mp4\"}\n"),
                "no", ""),
           1, "field.jsonl:1");
    refuse(eval(model, rows, "no", "--scheme tempr2"), 1, "tempr2");
    refuse(eval(model, rows, "no", "--prompt thonk"), 1, "thonk");
    refuse(eval(model, rows, "no", "--parser tolerand"), 1, "did you mean \"tolerant\"");
    refuse(eval(model, rows, "no", "--samples 2"), 2, "--samples 2 needs --temperature above 0");
    refuse(eval("/nonexistent", rows, "no", ""), 1, "/nonexistent");
    refuse(eval(model, rows, "no", "--batch -1"), 2, "must lie between");
    program_file("a-file", "x");
    refuse(eval(model, rows, "a-file", ""), 1, "a-file");
    refuse(eval(model, rows, "a-file/below", ""), 1, "a-file");
    free(rows);
}

/* The first `bytes` of a result's predictions with its card: what a kill leaves. More bytes than there are: a line
 * that was begun behind them. */
static void leave(const char *from, const char *to, size_t bytes)
{
    static const char *const names[] = {"predictions.jsonl", "protocol.json"};
    tr_buffer text = {0};
    tr_directory_remove(scratch_path(to), NULL);
    assert_int_equal(tr_directory_make(scratch_path(to), NULL), TR_OK);
    for (int i = 0; i < 2; i++) {
        read_text(from, names[i], &text);
        char *path = tr_path_join(scratch_path(to), names[i]);
        while (!i && text.length < bytes) {
            assert_int_equal(tr_buffer_add(&text, "x", 1, NULL), TR_OK);
        }
        assert_int_equal(tr_file_write_atomic(path, text.data, i ? text.length : bytes, NULL), TR_OK);
        free(path);
    }
    tr_buffer_free(&text);
}

static void same_result(const char *a, const char *b)
{
    static const char *const names[] = {"predictions.jsonl", "protocol.json", "metrics.json"};
    tr_buffer x = {0}, y = {0};
    for (int i = 0; i < 3; i++) {
        read_text(a, names[i], &x);
        read_text(b, names[i], &y);
        if (x.length != y.length || memcmp(x.data, y.data, x.length) != 0) {
            fail_msg("%s of %s and %s differ", names[i], a, b);
        }
    }
    tr_buffer_free(&x);
    tr_buffer_free(&y);
}

/* Killed wherever it may be and run again, with another batch: the same bytes. */
static void test_a_killed_job_continues(void **state)
{
    (void)state;
    char *rows = rows_path();
    tr_buffer text = {0};
    const char *how = "--temperature 1 --samples 2 --seed 5";
    char *again = tr_format("%s --batch 3", how);
    program_expect(eval(model, rows, "whole", how), 0, "best of 2", "");
    read_text("whole", "predictions.jsonl", &text);
    size_t line = (size_t)(strchr(tr_buffer_text(&text), '\n') - text.data) + 1;
    const size_t cuts[] = {0, line / 2, line - 1, line, line + 1, text.length - 1, text.length, text.length + 9};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        leave("whole", "killed", cuts[i]);
        program_expect(eval(model, rows, "killed", again), 0, "best of 2",
                       cuts[i] >= line ? "rows are answered already" : "");
        same_result("whole", "killed");
    }
    refuse_later(rows, again);
    tr_buffer_free(&text);
    free(again);
    free(rows);
}

/* A disk that is full stops with what was answered; with space again the job goes on as if nothing had been. (The
 * limit must let the decoder's reply of 19 kB through.) */
static void test_a_full_disk(void **state)
{
    (void)state;
    tr_buffer rows = {0};
    for (int i = 0; i < 200; i++) {
        tr_buffer_printf(&rows, NULL,
                         "{\"id\":\"%d\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[0,0.5]],"
                         "\"video\":\"test-00001.mp4\"}\n",
                         i);
    }
    char *path = tr_strdup(program_file("many.jsonl", tr_buffer_text(&rows)));
    const char *more = "--max-frames 2 --max-tokens 2";
    program_before = "trap '' XFSZ; ulimit -f 60;";
    refuse(eval(second, path, "full", more), 1, "cannot write");
    program_before = "";
    program_expect(eval(second, path, "full", more), 0, "tg", "of 200 rows are answered already");
    program_expect(eval(second, path, "space", more), 0, "tg", "");
    same_result("full", "space");
    tr_buffer_free(&rows);
    free(path);
}

static const char *result(const char *name, const char *predictions)
{
    char *dir = tr_strdup(scratch_path(name)), *path = tr_format("%s/predictions.jsonl", dir);
    assert_int_equal(tr_directory_make(dir, NULL), TR_OK);
    assert_int_equal(tr_file_write_atomic(path, predictions, strlen(predictions), NULL), TR_OK);
    free(dir);
    free(path);
    return scratch_path(name);
}

static void test_compare(void **state)
{
    (void)state;
    char a[512], b[512];
    snprintf(a, sizeof a, "%s",
             result("A", "{\"id\":\"1\",\"task\":\"tg\",\"iou\":0.0,\"reward\":1}\n"
                         "{\"id\":\"2\",\"task\":\"tg\",\"iou\":0.5,\"reward\":1}\n"
                         "{\"id\":\"3\",\"task\":\"qa\",\"reward\":0.0}\n"));
    snprintf(b, sizeof b, "%s",
             result("B", "{\"id\":\"2\",\"task\":\"tg\",\"iou\":0.75,\"reward\":0}\n\n"
                         "{\"id\":\"1\",\"task\":\"tg\",\"iou\":0.25,\"reward\":0}\n"
                         "{\"id\":\"3\",\"task\":\"qa\",\"reward\":1.0}\n"
                         "{\"id\":\"4\",\"task\":\"qa\",\"reward\":1.0}\n"));
    json_t *list = program_lines(tr_format("eval compare '%s' '%s' --json", a, b));
    const json_t *tg = json_object_get(json_array_get(list, 0), "tg"), *interval = json_object_get(tg, "interval");
    assert_int_equal(json_integer_value(json_object_get(tg, "rows")), 2);
    assert_string_equal(json_string_value(json_object_get(tg, "measure")), "miou");
    assert_true(json_number_value(json_object_get(tg, "a")) == 0.25 &&
                json_number_value(json_object_get(tg, "b")) == 0.5);
    assert_true(json_number_value(json_object_get(tg, "difference")) == 0.25);
    assert_true(json_number_value(json_array_get(interval, 0)) == 0.25 &&
                json_number_value(json_array_get(interval, 1)) == 0.25);
    json_decref(list);
    program_expect(tr_format("eval compare '%s' '%s'", a, b), 0, "B - A +0.2500 [+0.2500, +0.2500]  differs",
                   "3 rows stand in both of 3 and 4");
    const char *c = result("C", "{\"id\":\"9\",\"task\":\"tg\",\"iou\":0.75,\"reward\":0}\n");
    refuse(tr_format("eval compare '%s' '%s'", a, c), 1, "no row in common");
    refuse(tr_format("eval compare '%s' '%s-absent'", a, a), 1, "A-absent");
    refuse(tr_format("eval compare '%s'", a), 2, "an argument is missing");
    refuse(tr_format("eval compare '%s' '%s'", a, result("D", "\n{\"id\":\"1\",\n")), 1, "predictions.jsonl:2:");
    refuse(tr_format("eval compare '%s' '%s'", a, result("E", "\n{\"task\":\"tg\"}\n")), 1,
           "predictions.jsonl:2: this line has no \"id\"");
    refuse(tr_format("eval compare '%s' '%s'", a, result("F", "{\"id\":\"1\"}\n{\"id\":\"1\"}\n")), 1,
           "predictions.jsonl:2: this line has the id \"1\" again");
    refuse(tr_format("eval compare '%s' '%s'", a, result("G", "[1]\n")), 1,
           "predictions.jsonl:1: this line has no \"id\"");
}

/* Metrics by hand: dtg's sentences count one by one, sub-tasks weigh the same, the best of several answers. */
static void test_compare_metrics(void **state)
{
    (void)state;
    char a[512], b[512];
    snprintf(a, sizeof a, "%s",
             result("M",
                    "{\"id\":\"1\",\"task\":\"dtg\",\"row\":\"x\",\"reward\":1,\"metrics\":{\"miou\":[0,1]}}\n"
                    "{\"id\":\"2\",\"task\":\"qa\",\"subtask\":\"p\",\"reward\":1,\"metrics\":{\"accuracy\":1}}\n"
                    "{\"id\":\"3\",\"task\":\"qa\",\"subtask\":\"p\",\"reward\":1,\"metrics\":{\"accuracy\":1}}\n"
                    "{\"id\":\"4\",\"task\":\"qa\",\"subtask\":\"q\",\"reward\":0,\"metrics\":{\"accuracy\":0}}\n"
                    "{\"id\":\"5\",\"task\":\"tg\",\"reward\":0,\"mean\":{\"miou\":0.2},\"best\":{\"miou\":0.4}}\n"
                    "{\"id\":\"6\",\"task\":\"tg\",\"unanswered\":\"no clip\"}\n"));
    snprintf(b, sizeof b, "%s",
             result("N",
                    "{\"id\":\"1\",\"task\":\"dtg\",\"row\":\"x\",\"reward\":1,\"metrics\":{\"miou\":[1,1]}}\n"
                    "{\"id\":\"2\",\"task\":\"qa\",\"subtask\":\"p\",\"reward\":1,\"metrics\":{\"accuracy\":0}}\n"
                    "{\"id\":\"3\",\"task\":\"qa\",\"subtask\":\"p\",\"reward\":1,\"metrics\":{\"accuracy\":1}}\n"
                    "{\"id\":\"4\",\"task\":\"qa\",\"subtask\":\"q\",\"reward\":0,\"metrics\":{\"accuracy\":1}}\n"
                    "{\"id\":\"5\",\"task\":\"tg\",\"reward\":0,\"mean\":{\"miou\":0.3},\"best\":{\"miou\":0.9}}\n"
                    "{\"id\":\"6\",\"task\":\"tg\",\"reward\":1,\"mean\":{\"miou\":1},\"best\":{\"miou\":1}}\n"));
    char *picture = tr_strdup(scratch_path("compare.svg"));
    json_t *list = program_lines(tr_format("eval compare '%s' '%s' --json --svg '%s'", a, b, picture));
    const json_t *all = json_array_get(list, 0), *qa = json_object_get(all, "qa"),
                 *dtg = json_object_get(json_object_get(json_object_get(all, "dtg"), "metrics"), "miou"),
                 *tg = json_object_get(all, "tg"), *mean = json_object_get(qa, "subtask_mean");
    assert_int_equal(json_integer_value(json_object_get(dtg, "values")), 2);
    assert_true(json_number_value(json_object_get(dtg, "difference")) == 0.5);
    assert_int_equal(json_integer_value(json_object_get(dtg, "better")), 1);
    assert_int_equal(json_integer_value(json_object_get(dtg, "worse")), 0);
    assert_true(json_number_value(json_object_get(qa, "difference")) == 0);
    assert_true(json_number_value(json_object_get(mean, "a")) == 0.5 &&
                json_number_value(json_object_get(mean, "b")) == 0.75);
    const json_t *best = json_object_get(json_object_get(tg, "best"), "miou");
    assert_true(json_number_value(json_object_get(best, "difference")) == 0.5);
    assert_int_equal(json_integer_value(json_object_get(tg, "rows")), 1);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(all, "rows"), "unanswered")), 1);
    assert_true(json_is_null(json_object_get(all, "protocol")));
    tr_buffer svg = {0};
    assert_int_equal(tr_file_read(picture, 0, &svg, NULL), TR_OK);
    assert_non_null(strstr(svg.data, "dtg miou"));
    assert_non_null(strstr(svg.data, "tg best miou"));
    tr_buffer_free(&svg);
    json_decref(list);
    /* the same id over another row */
    const char *c =
        result("O", "{\"id\":\"1\",\"task\":\"dtg\",\"row\":\"y\",\"reward\":1,\"metrics\":{\"miou\":[1,1]}}\n");
    refuse(tr_format("eval compare '%s' '%s'", a, c), 1, "the results are over different rows");
    c = result("P", "{\"id\":\"1\",\"task\":\"tg\",\"row\":\"x\",\"reward\":1}\n");
    refuse(tr_format("eval compare '%s' '%s'", a, c), 1, "is a dtg row in");
    c = result("Q", "{\"id\":\"1\",\"task\":\"dtg\",\"reward\":1,\"metrics\":{\"miou\":[1]}}\n");
    refuse(tr_format("eval compare '%s' '%s'", a, c), 1, "different numbers of \"miou\"");
    c = result("R", "{\"id\":\"1\",\"task\":\"dtg\"");
    refuse(tr_format("eval compare '%s' '%s'", a, c), 1, "has no end");
    free(picture);
}

/* A published benchmark through the whole way: import, its prompt, its reader, its sub-tasks. */
static void test_multiple_choice(void **state)
{
    (void)state;
    static const char *const questions =
        "[{\"video\":\"test-00000.mp4\",\"question\":\"How often?\",\"candidates\":[\"once\",\"twice\"],"
        "\"answer\":\"once\"},{\"video\":\"test-00001.mp4\",\"question\":\"Where?\",\"candidates\":[\"left\","
        "\"right\"],"
        "\"answer\":\"right\"}]";
    char *first = tr_strdup(program_file("action_count.json", questions)),
         *other = tr_strdup(program_file("object_shuffle.json", questions)),
         *rows = tr_strdup(scratch_path("mvbench.jsonl"));
    program_expect(
        tr_format("data import mvbench '%s' '%s' --videos '%s/videos' --out '%s'", first, other, corpus, rows), 0,
        "4", "");
    program_expect(eval(model, rows, "mvbench", "--prompt mvbench --parser mvbench"), 0, "by sub-task", "");
    json_t *metrics = read_json("mvbench", "metrics.json");
    const json_t *qa = json_object_get(metrics, "qa"), *subtasks = json_object_get(qa, "subtasks");
    assert_int_equal(json_object_size(subtasks), 2);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(subtasks, "object_shuffle"), "rows")), 2);
    assert_non_null(json_object_get(qa, "subtask_mean_interval"));
    assert_string_equal(json_string_value(json_object_get(json_object_get(metrics, "protocol"), "parser")),
                        "mvbench");
    json_decref(metrics);
    free(first);
    free(other);
    free(rows);
}

/* Two checkpoints through the whole way, one of them over fewer rows and with another prompt. */
static void test_compare_two_checkpoints(void **state)
{
    (void)state;
    char *rows = rows_path();
    program_expect(eval(second, rows, "second-result", "--first 4 --prompt think"), 0, "", "");
    char *b = tr_strdup(scratch_path("second-result"));
    program_expect(tr_format("eval compare '%s' '%s'", scratch_path("one"), b), 0, "miou",
                   "4 rows stand in both of");
    json_t *list = program_lines(tr_format("eval compare '%s' '%s' --json", scratch_path("one"), b));
    const json_t *all = json_array_get(list, 0), *one;
    size_t i, found = 0;
    json_array_foreach(json_object_get(all, "protocol"), i, one)
    {
        const char *key = json_string_value(json_object_get(one, "key"));
        found += !strcmp(key, "prompt") || !strcmp(key, "model_hash") || !strcmp(key, "first");
        assert_true(strcmp(key, "model") != 0); /* where files lie is no difference */
    }
    assert_int_equal(found, 3);
    assert_true(json_array_size(json_object_get(json_object_get(all, "rows"), "only_a")) > 0);
    json_decref(list);
    free(b);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_and_batches),
        cmocka_unit_test(test_first_rows_and_sampling),
        cmocka_unit_test(test_a_broken_clip_is_counted),
        cmocka_unit_test(test_no_row_can_be_answered),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_a_killed_job_continues),
        cmocka_unit_test(test_a_full_disk),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_compare_metrics),
        cmocka_unit_test(test_multiple_choice),
        cmocka_unit_test(test_compare_two_checkpoints),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
