/* test_source.c: corpus rows as model inputs: prompt, positions, patches, targets, rewards, and what is refused
 * before a run begins. */
#include "support/tiny.h"

#include "base/file.h"
#include "input/sample.h"
#include "video/clip.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static char tokenizer[512], corpus[512], videos[600], rows[600];
static tr_model_config config;

static int make(void **state)
{
    (void)state;
    tr_video_set_worker(TEMPR1_PROGRAM);
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    snprintf(corpus, sizeof corpus, "%s", scratch_path("corpus"));
    snprintf(videos, sizeof videos, "%s/videos", corpus);
    snprintf(rows, sizeof rows, "%s/test.jsonl", corpus);
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, scratch_path("model"), 3, 0);
    tiny_corpus(corpus, "tg,dtg,vhd,gvqa,tal,qa", 5);
    return tr_model_config_read(scratch_path("model"), &config, NULL) ? -1 : 0;
}

static tr_source_options options_for(const tr_data_entry *entries, size_t count)
{
    return (tr_source_options){
        .model = &config,
        .tokenizer = tokenizer,
        .video = {.fps = 2, .min_frames = 2, .max_frames = 4, .total_pixels = 12544, .min_pixels = 784},
        .entries = entries,
        .entry_count = count};
}

static tr_data_entry entry_for(const char *path)
{
    return (tr_data_entry){.rows = path, .videos = videos, .weight = 1, .reward = "tempr1", .prompt = "no-think"};
}

static tr_source *open_source(const tr_source_options *options)
{
    tr_source *source;
    tr_error err = {0};
    if (tr_source_open(options, &source, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return source;
}

/* Every task's row: placeholders match the patches, positions fit, the target earns a good reward. */
static void test_rows_of_every_task(void **state)
{
    (void)state;
    const tr_data_entry entry = entry_for(rows);
    tr_source_options options = options_for(&entry, 1);
    tr_error err = {0};
    static const char *const tasks[] = {"tg", "dtg", "vhd", "gvqa", "tal", "qa"};
    unsigned seen = 0;
    options.targets = true;
    tr_source *source = open_source(&options);
    assert_true(source->rows >= 6);
    for (int64_t r = 0; r < source->rows; r++) {
        tr_sample s = {0};
        tr_score score = {0};
        int64_t visual = 0;
        assert_int_equal(source->call->load(source, r, true, &s, &err), TR_OK);
        for (int64_t i = 0; i < s.prompt; i++) {
            visual += s.prompt_ids[i] == config.video_id;
        }
        assert_int_equal(visual, s.visual_tokens);
        assert_int_equal(s.visual.rows, 4 * s.visual_tokens);
        assert_int_equal((int64_t)s.grids[0][0] * s.grids[0][1] * s.grids[0][2], s.visual.rows);
        assert_true(s.prompt <= source->limits.prompt_tokens && s.visual.rows <= source->limits.patches);
        assert_true(s.target_count <= source->limits.target_tokens);
        assert_int_equal(s.target_ids[s.target_count - 1], config.eos_id);
        for (int64_t i = 0; i < s.prompt; i++) { /* text positions are equal on all axes */
            assert_true(s.prompt_ids[i] == config.video_id || (s.positions[i] == s.positions[s.prompt + i] &&
                                                               s.positions[i] == s.positions[2 * s.prompt + i]));
        }
        assert_null(s.patches);
        assert_int_equal(source->call->patches(source, &s, &err), TR_OK);
        assert_ptr_equal(s.visual.patches, s.patches);
        tr_buffer text = {0};
        assert_int_equal(source->call->text(source, s.target_ids, s.target_count, &text, &err), TR_OK);
        assert_string_equal(tr_buffer_text(&text), s.target);
        assert_int_equal(source->call->score(source, &s, s.target, strlen(s.target), true, &score, &err), TR_OK);
        assert_true(score.format && score.reward > 0.99 && !score.error[0] && score.parsed);
        tr_score_clear(&score);
        assert_int_equal(source->call->score(source, &s, "no idea", 7, true, &score, &err), TR_OK);
        assert_true(!score.format && score.error[0]);
        tr_score_clear(&score);
        tr_buffer_free(&text);
        for (int t = 0; t < 6; t++) {
            seen |= strcmp(tasks[t], s.task) ? 0 : 1u << t;
        }
        tr_sample_clear(&s);
    }
    assert_int_equal(seen, 63);
    assert_true(source->banned[config.video_id] && source->banned[config.image_id] &&
                !source->banned[config.eos_id]);
    tr_source_free(source);
    tr_source_free(NULL);
}

/* Rows of one clip share its key and so its features; another clip, or a part of it, has another one. */
static void test_clip_keys(void **state)
{
    (void)state;
    tr_buffer text = {0};
    char *path = tr_format("%s/keys.jsonl", corpus);
    tr_error err = {0};
    const char *extra[4] = {"test-00000.mp4\"", "test-00000.mp4\"", "test-00001.mp4\"",
                            "test-00000.mp4\",\"clip\":[0,1]"};
    for (int i = 0; i < 4; i++) {
        tr_buffer_printf(&text, NULL,
                         "{\"id\":\"%d\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[0,0.5]],\"video\":\"%s}\n",
                         i, extra[i]);
    }
    assert_int_equal(tr_file_write_atomic(path, text.data, text.length, NULL), TR_OK);
    const tr_data_entry entry = entry_for(path);
    const tr_source_options options = options_for(&entry, 1);
    tr_source *source = open_source(&options);
    tr_sample s[4] = {0};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(source->call->load(source, i, false, &s[i], &err), TR_OK);
        assert_null(s[i].target);
    }
    assert_true(s[0].clip_key == s[1].clip_key && s[0].clip_key != s[2].clip_key && s[0].clip_key != s[3].clip_key);
    assert_true(s[3].duration_s == 1 && s[0].duration_s > 1.5);
    for (int i = 0; i < 4; i++) {
        tr_sample_clear(&s[i]);
    }
    tr_source_free(source);
    tr_buffer_free(&text);
    free(path);
}

/* The feature cache gives back what it computed, and computes again for other weights. */
static void test_features(void **state)
{
    (void)state;
    tr_model *model;
    tr_network *network;
    tr_features *features;
    tr_error err = {0};
    const tr_model_options model_options = {.dtype = TR_F32};
    const tr_data_entry entry = entry_for(rows);
    const tr_source_options options = options_for(&entry, 1);
    tr_source *source = open_source(&options);
    assert_int_equal(tr_model_load(scratch_path("model"), &model_options, &model, &err), TR_OK);
    const tr_network_limits limits = {.patches = source->limits.patches,
                                      .largest_grid = source->limits.largest_grid};
    assert_int_equal(tr_network_create(model, &limits, &network, &err), TR_OK);
    assert_int_equal(tr_features_create(1u << 20, &features, &err), TR_OK);
    tr_sample s = {0};
    const float *first, *again, *later;
    assert_int_equal(source->call->load(source, 0, false, &s, &err), TR_OK);
    assert_int_equal(tr_features_get(features, network, &config, source, &s, 1, &first, NULL, NULL, &err), TR_OK);
    assert_null(s.patches);
    assert_int_equal(tr_features_get(features, network, &config, source, &s, 1, &again, NULL, NULL, &err), TR_OK);
    assert_ptr_equal(first, again);
    assert_int_equal(tr_features_get(features, network, &config, source, &s, 2, &later, NULL, NULL, &err), TR_OK);
    assert_ptr_not_equal(first, later);
    assert_memory_equal(first, later, (size_t)(s.visual_tokens * config.hidden) * sizeof *first);
    tr_sample_clear(&s);
    tr_features_free(features);
    tr_network_free(network);
    tr_model_free(model);
    tr_source_free(source);
}

/* A question has no truth: its answers are parsed all the same. */
static void test_a_question_is_parsed_without_its_truth(void **state)
{
    (void)state;
    static const struct {
        const char *task, *answer, *parsed;
    } cases[] = {
        {"tg", "<answer>1.0 to 2.5</answer>", "[[1.0,2.5]]"},
        {"dtg", "<answer>1.0 to 2.5</answer>", "[[1.0,2.5]]"},
        {"vhd", "<answer>0.5 to 1.0, 1.5 to 2.0</answer>", "[[0.5,1.0],[1.5,2.0]]"},
        {"tal", "<answer>0.5 to 1.0, 1.5 to 2.0</answer>", "[[0.5,1.0],[1.5,2.0]]"},
        {"qa", "<answer>B</answer>", "\"B\""},
        {"gvqa", "<answer>B</answer> <glue>[(0.5, 1.0)]</glue>", "{\"option\":\"B\",\"segments\":[[0.5,1.0]]}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const tr_data_entry entry = entry_for("");
        const tr_source_options options = options_for(&entry, 1);
        tr_source *source;
        tr_sample s = {0};
        tr_score score = {0};
        tr_error err = {0};
        tr_buffer parsed = {0};
        json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:[s], s:[s,s]}", "id", "ask", "task",
                                cases[i].task, "video", "test-00000.mp4", "query", "q", "question", "q", "action",
                                "q", "queries", "q", "options", "a dog", "a cat");
        assert_int_equal(tr_source_open_row(&options, row, &source, &err), TR_OK);
        assert_int_equal(source->call->load(source, 0, false, &s, &err), TR_OK);
        if (source->call->score(source, &s, cases[i].answer, strlen(cases[i].answer), true, &score, &err)) {
            fail_msg("%s: %s: %s", cases[i].task, err.where, err.message);
        }
        assert_int_equal(tr_json_print(score.parsed, &parsed, &err), TR_OK);
        assert_string_equal(tr_buffer_text(&parsed), cases[i].parsed);
        assert_string_equal(score.error, "");
        tr_score_clear(&score);
        assert_int_equal(source->call->score(source, &s, "no idea", 7, true, &score, &err), TR_OK);
        assert_string_not_equal(score.error, "");
        tr_score_clear(&score);
        tr_buffer_free(&parsed);
        tr_sample_clear(&s);
        tr_source_free(source);
        json_decref(row);
    }
}

/* ---- refusals ---- */

static void refuse(const tr_source_options *options, tr_status code, const char *where, const char *message)
{
    tr_source *source = NULL;
    tr_error err = {0};
    tr_status status = tr_source_open(options, &source, &err);
    if (status != code || source || !strstr(err.where, where) || !strstr(err.message, message)) {
        fail_msg("status %d (expected %d), \"%s\", \"%s\"; expected \"%s\", \"%s\"", (int)status, (int)code,
                 err.where, err.message, where, message);
    }
}

static void refuse_row(const char *line, tr_status code, const char *where, const char *message)
{
    char *path = tr_format("%s/bad.jsonl", corpus);
    tr_buffer text = {0};
    tr_buffer_printf(&text, NULL,
                     "{\"id\":\"good\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[0,0.5]],"
                     "\"video\":\"test-00000.mp4\"}\n%s\n",
                     line);
    assert_int_equal(tr_file_write_atomic(path, text.data, text.length, NULL), TR_OK);
    const tr_data_entry entry = entry_for(path);
    const tr_source_options options = options_for(&entry, 1);
    refuse(&options, code, where, message);
    tr_buffer_free(&text);
    free(path);
}

static void test_bad_rows_stop_before_the_run(void **state)
{
    (void)state;
#define ROW "{\"id\":\"x\",\"task\":\"tg\",\"query\":\"q\",\"video\":\"test-00000.mp4\""
    refuse_row(ROW "}", TR_FORMAT, "bad.jsonl:2", "segments");
    refuse_row(ROW ",\"segments\":[[2,1]]}", TR_FORMAT, "bad.jsonl:2", "");
    refuse_row(ROW ",\"segments\":[[0,99]],\"duration\":3}", TR_FORMAT, "bad.jsonl:2", "");
    refuse_row(ROW ",\"segments\":[[0,1]]", TR_FORMAT, "bad.jsonl:2:", "not valid JSON");
    refuse_row(
        "{\"id\":\"good\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[0,1]],\"video\":\"test-00000.mp4\"}",
        TR_FORMAT, "bad.jsonl:2", "good");
    refuse_row("{\"id\":\"x\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[0,1]],\"video\":\"none.mp4\"}",
               TR_NOT_FOUND, "bad.jsonl:2", "none.mp4");
    refuse_row("{\"id\":\"x\",\"task\":\"tgg\",\"query\":\"q\",\"segments\":[[0,1]],\"video\":\"test-00000.mp4\"}",
               TR_FORMAT, "bad.jsonl:2", "tg");
#undef ROW
}

/* A scheme in a YAML file: its weights count; what is wrong in it is said with the file. */
static void test_a_scheme_of_ones_own(void **state)
{
    (void)state;
    char *path = tr_format("%s/scheme.yaml", corpus);
    tr_source *source = NULL;
    tr_sample sample = {0};
    tr_score score = {0};
    tr_error err;
    static const char own[] = "parts: {format: 1}\nmatching: naive\n", bad[] = "parts: {formt: 1}\n";
    tr_data_entry entry = entry_for(rows);
    entry.reward = path;
    const tr_source_options options = options_for(&entry, 1);
    assert_int_equal(tr_file_write_atomic(path, own, sizeof own - 1, NULL), TR_OK);
    assert_int_equal(tr_source_open(&options, &source, &err), TR_OK);
    assert_int_equal(source->call->load(source, 0, false, &sample, &err), TR_OK);
    static const char answer[] = "<answer>90.0 to 91.0</answer>";
    assert_int_equal(source->call->score(source, &sample, answer, sizeof answer - 1, true, &score, &err), TR_OK);
    assert_true(score.reward == 1 && score.part_count == 1);
    tr_score_clear(&score);
    tr_sample_clear(&sample);
    tr_source_free(source);
    assert_int_equal(tr_file_write_atomic(path, bad, sizeof bad - 1, NULL), TR_OK);
    refuse(&options, TR_INVALID, "scheme.yaml", "formt");
    entry.reward = "none/such.yaml";
    refuse(&options, TR_NOT_FOUND, "none/such.yaml", "");
    free(path);
}

/* One file may hold rows that are asked and scored in different ways; a row that says nothing follows its entry. */
static void test_rows_name_their_own_scheme_and_prompt(void **state)
{
    (void)state;
#define ROW(id, more)                                                                                              \
    "{\"id\":\"" id "\",\"task\":\"tg\",\"query\":\"q\",\"video\":\"test-00000.mp4\",\"segments\":[[0,1]]" more    \
    "}\n"
    static const char text[] = ROW("a", "") ROW("b", ",\"scheme\":\"time-r1\",\"prompt_set\":\"time-r1\"")
        ROW("c", ",\"scheme\":\"timelens\"") ROW("d", ",\"scheme\":\"time-r1\",\"prompt_set\":\"time-r1\"");
    static const char *const schemes[] = {"tempr1", "time-r1", "timelens", "time-r1"};
    static const int parts[] = {2, 2, 1, 2}; /* format and iou; format and iou_v2; iou */
    char *path = tr_format("%s/mixed.jsonl", corpus);
    int64_t lengths[4];
    assert_int_equal(tr_file_write_atomic(path, text, sizeof text - 1, NULL), TR_OK);
    const tr_data_entry entry = entry_for(path);
    const tr_source_options options = options_for(&entry, 1);
    tr_source *source = open_source(&options);
    for (int64_t r = 0; r < 4; r++) {
        tr_sample sample = {0};
        tr_score score = {0};
        assert_int_equal(source->call->load(source, r, false, &sample, NULL), TR_OK);
        assert_string_equal(sample.scheme, schemes[r]);
        static const char answer[] = "<think>.</think><answer>0 to 1</answer>";
        assert_int_equal(source->call->score(source, &sample, answer, sizeof answer - 1, true, &score, NULL),
                         TR_OK);
        assert_int_equal(score.part_count, parts[r]);
        assert_true(score.format ==
                    (r == 1 || r == 3)); /* their prompt asks for the block, the others' forbids it */
        lengths[r] = sample.prompt;
        tr_score_clear(&score);
        tr_sample_clear(&sample);
    }
    assert_true(lengths[0] == lengths[2] && lengths[1] == lengths[3] && lengths[0] != lengths[1]);
    tr_source_free(source);
    free(path);
    refuse_row(ROW("x", ",\"scheme\":\"tempr2\""), TR_INVALID, "bad.jsonl:2", "did you mean 'tempr1'?");
    refuse_row(ROW("x", ",\"prompt_set\":\"thinks\""), TR_INVALID, "bad.jsonl:2", "no built-in prompt 'thinks'");
    refuse_row(ROW("x", ",\"scheme\":3"), TR_FORMAT, "bad.jsonl:2", "scheme");
#undef ROW
}

/* The parts say what they weigh, so that their weighted sum is the reward (GDPO takes them one by one). */
static void test_parts_have_their_weights(void **state)
{
    (void)state;
    char *path = tr_format("%s/weights.yaml", corpus);
    static const char own[] = "parts: {format: 0.25, iou: 2, length: 0.5}\noverlong: {tokens: 12, cache: 10}\n";
    const char *const schemes[] = {"tempr1", path};
    assert_int_equal(tr_file_write_atomic(path, own, sizeof own - 1, NULL), TR_OK);
    for (size_t k = 0; k < 2; k++) {
        tr_data_entry entry = entry_for(rows);
        tr_error err = {0};
        entry.reward = schemes[k];
        const tr_source_options options = options_for(&entry, 1);
        tr_source *source = open_source(&options);
        for (int64_t row = 0; row < source->rows; row++) {
            tr_sample s = {0};
            tr_score score = {0};
            double sum = 0;
            score.tokens = 7; /* half of the penalty: -0.5 */
            assert_int_equal(source->call->load(source, row, true, &s, &err), TR_OK);
            assert_int_equal(source->call->score(source, &s, s.target, strlen(s.target), true, &score, &err),
                             TR_OK);
            for (int i = 0; i < score.part_count; i++) {
                sum += score.parts[i].weight * score.parts[i].value;
            }
            assert_true(score.part_count > 0 && fabs(sum - score.reward) < 1e-12);
            assert_true(k == 0 || score.reward == 2.0 ||
                        score.reward == 0.0); /* 2.25 or 0.25, less a half of a half */
            tr_score_clear(&score);
            tr_sample_clear(&s);
        }
        assert_null(source->scores);
        tr_source_free(source);
    }
    free(path);
}

/* The rows' own "score", where they have one. */
static void test_scores_of_rows(void **state)
{
    (void)state;
    char *path = tr_format("%s/scored.jsonl", corpus);
    static const char two[] = "{\"id\":\"a\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[0,1]],\"duration\":4,"
                              "\"video\":\"test-00000.mp4\"}\n"
                              "{\"id\":\"b\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[0,1]],\"duration\":4,"
                              "\"video\":\"test-00000.mp4\","
                              "\"score\":0.125}\n";
    tr_data_entry entries[2] = {entry_for(rows), entry_for(path)};
    const tr_source_options options = options_for(entries, 2);
    assert_int_equal(tr_file_write_atomic(path, two, sizeof two - 1, NULL), TR_OK);
    tr_source *source = open_source(&options);
    assert_non_null(source->scores);
    for (int64_t row = 0; row < source->rows - 1; row++) {
        assert_true(isnan(source->scores[row]));
    }
    assert_true(source->scores[source->rows - 1] == 0.125);
    tr_source_free(source);
    free(path);
}

static void test_bad_settings(void **state)
{
    (void)state;
    tr_data_entry entry = entry_for(rows);
    tr_source_options options = options_for(&entry, 1);
    entry.reward = "tempr2";
    refuse(&options, TR_INVALID, "", "tempr1");
    entry.reward = "timelens";
    refuse(&options, TR_INVALID, "test.jsonl:", "has no reward for the task");
    entry.reward = "tempr1";
    entry.prompt = "thonk";
    refuse(&options, TR_INVALID, "", "think");
    entry.prompt = "no-think";
    entry.rows = "/nonexistent.jsonl";
    refuse(&options, TR_NOT_FOUND, "/nonexistent.jsonl", "");
    entry.rows = rows;
    options.tokenizer = "/nonexistent";
    refuse(&options, TR_NOT_FOUND, "/nonexistent", "");
    options.tokenizer = tokenizer;
    tr_model_config other = config;
    other.vocab = 128;
    options.model = &other;
    refuse(&options, TR_MISMATCH, "", "128");
    other = config;
    other.video_id--;
    refuse(&options, TR_MISMATCH, "", "<|video_pad|>");
}

/* A context too small for the clip: the row is named, with the numbers; another row may still be read. */
static void test_a_prompt_longer_than_the_context(void **state)
{
    (void)state;
    tr_model_config small = config;
    const tr_data_entry entry = entry_for(rows);
    tr_source_options options = options_for(&entry, 1);
    tr_sample s = {0};
    tr_error err = {0};
    small.max_positions = 20;
    options.model = &small;
    tr_source *source = open_source(&options);
    assert_int_equal(source->call->load(source, 0, false, &s, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "context 20"));
    assert_null(s.prompt_ids);
    tr_source_free(source);
}

/* A file that is no video: the clip and the row are named, and the next row goes on. */
static void test_a_broken_clip_is_one_row(void **state)
{
    (void)state;
    char *path = tr_format("%s/broken.jsonl", corpus), *clip = tr_format("%s/broken.mp4", videos);
    const char *text =
        "{\"id\":\"bad\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[0,0.5]],\"video\":\"broken.mp4\"}\n"
        "{\"id\":\"ok\",\"task\":\"tg\",\"query\":\"q\",\"segments\":[[0,0.5]],"
        "\"video\":\"test-00000.mp4\"}\n";
    tr_error err = {0};
    tr_sample s = {0};
    assert_int_equal(tr_file_write_atomic(clip, "no video", 8, NULL), TR_OK);
    assert_int_equal(tr_file_write_atomic(path, text, strlen(text), NULL), TR_OK);
    const tr_data_entry entry = entry_for(path);
    const tr_source_options options = options_for(&entry, 1);
    tr_source *source = open_source(&options);
    assert_int_not_equal(source->call->load(source, 0, false, &s, &err), TR_OK);
    assert_non_null(strstr(err.message, "row bad"));
    assert_non_null(strstr(err.where, "broken.mp4"));
    assert_int_equal(source->call->load(source, 1, false, &s, &err), TR_OK);
    tr_sample_clear(&s);
    tr_source_free(source);
    free(path);
    free(clip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_of_every_task),
        cmocka_unit_test(test_clip_keys),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_a_question_is_parsed_without_its_truth),
        cmocka_unit_test(test_bad_rows_stop_before_the_run),
        cmocka_unit_test(test_a_scheme_of_ones_own),
        cmocka_unit_test(test_rows_name_their_own_scheme_and_prompt),
        cmocka_unit_test(test_parts_have_their_weights),
        cmocka_unit_test(test_scores_of_rows),
        cmocka_unit_test(test_bad_settings),
        cmocka_unit_test(test_a_prompt_longer_than_the_context),
        cmocka_unit_test(test_a_broken_clip_is_one_row),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
