/* test_bad_input.c: what every command says to input that it cannot use: help and unknown options of all commands,
 * configurations, checkpoints, tokenizers, videos and rows. Exit status 1 (2 for usage), and where and what. */
#include "cli/program.h"
#include "support/tiny.h"

static char model[512], tokenizer[512], corpus[512], clip[600];

static int make(void **state)
{
    (void)state;
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    snprintf(model, sizeof model, "%s", scratch_path("model"));
    snprintf(corpus, sizeof corpus, "%s", scratch_path("corpus"));
    snprintf(clip, sizeof clip, "%s/videos/test-00000.mp4", corpus);
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, model, 3, 0);
    tiny_corpus(corpus, "tg", 1);
    return 0;
}

static void refuse(char *arguments, int status, const char *text)
{
    program_expect(arguments, status, "", text);
}

/* ---- every command ---- */

static void test_every_command_has_help(void **state)
{
    (void)state;
    tr_buffer out = {0}, errors = {0};
    int commands = 0;
    assert_int_equal(program_run(tr_format("--help"), &out, &errors), 0);
    char *list = tr_strdup(tr_buffer_text(&out)), *at = strstr(list, "commands:\n");
    assert_non_null(at);
    for (char *line = strtok(strchr(at, '\n') + 1, "\n"); line && line[0] == ' '; line = strtok(NULL, "\n")) {
        char name[64] = "", usage[96];
        size_t length = strcspn(line + 2, "\n");
        for (size_t i = 0; i + 1 < length && i + 1 < sizeof name; i++) { /* two blanks end a name */
            if (line[2 + i] == ' ' && (line[3 + i] == ' ' || i >= 15)) {
                break;
            }
            name[i] = line[2 + i];
        }
        snprintf(usage, sizeof usage, "usage: tempr1 %s", name);
        if (strcmp(name, "decode-worker")) { /* the program's own child: it takes no words */
            program_expect(tr_format("%s --help", name), 0, usage, "");
            program_expect(tr_format("%s --help", name), 0, "\n  --json ", "");
            refuse(tr_format("%s --no-such-option", name), 2, "unknown option --no-such-option");
        }
        commands++;
    }
    assert_true(commands >= 15);
    free(list);
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
    refuse(tr_format("evil"), 2, "did you mean 'eval'?");
    refuse(tr_format("model"), 2, "model init");
    refuse(tr_strdup(""), 2, "usage: tempr1");
    program_expect(tr_format("--version"), 0, "tempr1 0.", "");
}

/* The worked lines name commands and options that exist: each is asked for its help, where options are not looked
 * at further than their names. */
static void test_worked_lines_name_what_exists(void **state)
{
    (void)state;
    tr_buffer page = {0}, out = {0}, errors = {0};
    int lines = 0;
    assert_int_equal(tr_file_read(project_path("examples/commands.md"), 0, &page, NULL), TR_OK);
    for (const char *at = tr_buffer_text(&page); (at = strstr(at, "tempr1 ")); at += 7) {
        size_t length = strcspn(at, "\n`|");
        const char *start = at;
        while (start > tr_buffer_text(&page) && start[-1] != '\n') {
            start--;
        }
        if (strncmp(start, "    ", 4) || (at != start + 4 && at[-1] != ' ')) { /* not a line to type */
            continue;
        }
        char words[2][32] = {"", ""}, *line = tr_strndup(at, length);
        sscanf(line, "tempr1 %31s %31s", words[0], words[1]);
        bool family = !strcmp(words[0], "data") || !strcmp(words[0], "model") || !strcmp(words[1], "compare");
        assert_int_equal(program_run(tr_format("%s %s --help", words[0], family ? words[1] : ""), &out, &errors),
                         0);
        for (char *option = line; (option = strstr(option, " --")); option += 3) {
            char name[40] = "";
            sscanf(option + 1, "%39[-a-z0-9]", name);
            if (!strstr(tr_buffer_text(&out), name)) {
                fail_msg("%s: there is no option %s", line, name);
            }
        }
        lines++;
        free(line);
    }
    assert_true(lines >= 20);
    tr_buffer_free(&page);
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
}

/* ---- configurations ---- */

static void test_configurations(void **state)
{
    (void)state;
    static const struct {
        const char *lines, *message;
    } cases[] = {
        {"algorithm: ppo", "c.yaml:4: algorithm must be one of grpo|sft, found 'ppo'"},
        {"grpo: {kl: x}", "c.yaml:4: grpo.kl must be a number"},
        {"grpo: {kl: -1}", "grpo.kl must be a number from 0 to 1000, found -1"},
        {"grpo:\n  clip: [2]", "c.yaml:5: grpo.clip must be a list of two numbers"},
        {"rollout: {group: 0}", "rollout.group must be an integer from 1"},
        {"rollout: {max_tokens: 1.5}", "rollout.max_tokens must be an integer"},
        {"rollout: 7", "rollout must be a mapping, found an integer"},
        {"rollot: {group: 2}", "unknown key 'rollot' (did you mean 'rollout'?)"},
        {"rollout: {grup: 2}", "unknown key 'rollout.grup' (did you mean 'rollout.group'?)"},
        {"video: {min_frames: 10, max_frames: 4}", "video.min_frames (10) is larger than video.max_frames (4)"},
        {"train: {dtype: f16}", "train.dtype must be one of f32|bf16"},
        {"train: {freeze: [eyes]}", "train.freeze must be a list out of"},
        {"  bad: [unclosed", "c.yaml:4:3: not valid YAML"},
        {"out: again", "c.yaml:4:1: not valid YAML: duplicate key"},
        {"train: {steps: 2.0}", "train.steps must be an integer from 0 to 1000000000, found 2.0"},
        {"trian: 1\ngrpo: {k1: 0}", "c.yaml:4: unknown key 'trian' (did you mean 'train'?); "},
        {"trian: 1\ngrpo: {k1: 0}", "c.yaml:5: unknown key 'grpo.k1' (did you mean 'grpo.kl'?)"},
        {"---\ntrain: {steps: 1}", "c.yaml:4: a second YAML document begins here"},
        {"optim:\n  schedule: \xE4", "c.yaml:5: not valid UTF-8"},
    };
    char text[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "model: m\nout: o\ndata: [ {rows: r.jsonl} ]\n%s\n", cases[i].lines);
        const char *path = program_file("c.yaml", text);
        refuse(tr_format("train '%s'", path), 1, cases[i].message);
        refuse(tr_format("model plan '%s'", path), 1, cases[i].message);
    }
    const char *good =
        program_file("e.yaml", "\xEF\xBB\xBF%YAML 1.2\n# a mark and a comment\n---\nmodel: m\nout: o\n"
                               "data: [ {rows: r.jsonl} ]\n---\n# nothing more\n");
    refuse(tr_format("train '%s' gpro.kl=0", good), 1,
           "train: command line: unknown key 'gpro' (did you mean 'grpo'?)");
    refuse(tr_format("train /nonexistent/c.yaml"), 1, "/nonexistent/c.yaml");
    refuse(tr_format("model plan /nonexistent/c.yaml"), 1, "/nonexistent/c.yaml");
    refuse(tr_format("train '%s'", corpus), 1, "Is a directory");
    refuse(tr_format("train '%s'", program_file("d.yaml", "model: m\nout: o\ndata: [ {videos: v} ]\n")), 1,
           "the key 'data.0.rows' is needed");
}

/* The files that a configuration names. */
static void test_files_of_a_configuration(void **state)
{
    (void)state;
    char text[2400], out[512], rows[600];
    snprintf(out, sizeof out, "%s", scratch_path("run"));
    snprintf(rows, sizeof rows, "%s/test.jsonl", corpus);
    const struct {
        const char *model, *tokenizer, *rows, *videos, *message;
    } cases[] = {
        {"/nonexistent", tokenizer, rows, "videos", "/nonexistent"},
        {model, "/nonexistent", rows, "videos", "/nonexistent"},
        {model, tokenizer, "/nonexistent.jsonl", "videos", "/nonexistent.jsonl"},
        {model, tokenizer, rows, "no-videos", "test.jsonl:1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text,
                 "algorithm: sft\nmodel: %s\ntokenizer: %s\nout: %s\ndata: [ {rows: %s, videos: %s/%s} ]\n"
                 "train: {steps: 1, dtype: f32}\n",
                 cases[i].model, cases[i].tokenizer, out, cases[i].rows, corpus, cases[i].videos);
        refuse(tr_format("train '%s'", program_file("files.yaml", text)), 1, cases[i].message);
    }
}

/* Truths that the container does not hold, which a row without a duration, or with a wrong one, cannot tell; rows
 * in a file that begins with a byte order mark. */
static void test_training_on_times_outside_the_clip(void **state)
{
    (void)state;
    char text[2400];
    const char *rows = program_file(
        "outside.jsonl", "\xEF\xBB\xBF{\"id\":\"a\",\"task\":\"tg\",\"video\":\"test-00000.mp4\",\"query\":\"q\","
                         "\"segments\":[[300,310]]}\n"
                         "{\"id\":\"b\",\"task\":\"tg\",\"video\":\"test-00000.mp4\",\"duration\":99,"
                         "\"query\":\"q\",\"segments\":[[1,30]]}\n");
    snprintf(text, sizeof text,
             "algorithm: sft\nmodel: %s\nout: %s\ndata: [ {rows: %s, videos: %s/videos, prompt: no-think} ]\n"
             "video: {total_pixels: 12544, min_pixels: 784}\ntrain: {steps: 1, dtype: f32}\n",
             model, scratch_path("outside-run"), rows, corpus);
    const char *path = program_file("outside.yaml", text);
    refuse(tr_format("train '%s'", path), 1,
           "row left out: a: \"segments[0]\": [300, 310] s lies outside the clip");
    refuse(tr_format("train '%s' --resume", path), 1, "row left out: b: \"segments[0]\": [1, 30] s lies outside");
}

/* No prompt fits the context: every row is named with the numbers, then the run ends. */
static void test_training_on_prompts_longer_than_the_context(void **state)
{
    (void)state;
    char text[2400], *other = tr_format("%s-context", model);
    tiny_checkpoint(tokenizer, other, 3, 24);
    snprintf(
        text, sizeof text,
        "algorithm: sft\nmodel: %s\nout: %s\ndata: [ {rows: %s/test.jsonl, videos: %s/videos, prompt: no-think} ]\n"
        "video: {total_pixels: 12544, min_pixels: 784}\ntrain: {steps: 1, dtype: f32}\n",
        other, scratch_path("context-run"), corpus, corpus);
    const char *path = program_file("context.yaml", text);
    refuse(tr_format("train '%s'", path), 1, "the model's context 24");
    free(other);
}

/* ---- checkpoints ---- */

/* Every command that reads a checkpoint says the same about it. */
static void every_reader(const char *directory, const char *message)
{
    char text[2048];
    const char *row = program_file("row.jsonl", "{\"prompt\":\"a\",\"response\":\"b\"}\n");
    refuse(tr_format("ask --model '%s' --tokenizer '%s' '%s' q", directory, tokenizer, clip), 1, message);
    refuse(tr_format("score --model '%s' --tokenizer '%s' --input '%s'", directory, tokenizer, row), 1, message);
    refuse(tr_format("eval --model '%s' --tokenizer '%s' --data '%s/test.jsonl' --videos '%s/videos' --out '%s'",
                     directory, tokenizer, corpus, corpus, scratch_path("results")),
           1, message);
    refuse(tr_format("model info '%s' --check", directory), 1, message);
    refuse(tr_format("bench --model '%s' --grid 2,4,4 --text 4 --group 2 --response 3 --seed 1", directory), 1,
           message);
    snprintf(text, sizeof text,
             "algorithm: sft\nmodel: %s\ntokenizer: %s\nout: %s\ndata: [ {rows: %s/test.jsonl, "
             "videos: %s/videos} ]\ntrain: {steps: 1, dtype: f32}\n",
             directory, tokenizer, scratch_path("run"), corpus, corpus);
    refuse(tr_format("train '%s'", program_file("reader.yaml", text)), 1, message);
}

static void test_checkpoints(void **state)
{
    (void)state;
    char *path = tr_format("%s/model.safetensors", model), *config = tr_format("%s/config.json", model);
    tr_buffer weights = {0}, good = {0};
    assert_int_equal(tr_file_read(path, 0, &weights, NULL), TR_OK);
    assert_int_equal(tr_file_read(config, 0, &good, NULL), TR_OK);
    assert_int_equal(tr_file_write_atomic(path, weights.data, weights.length - 100, NULL), TR_OK);
    every_reader(model, "the file is truncated");
    assert_int_equal(tr_file_write_atomic(path, weights.data, weights.length, NULL), TR_OK);
    assert_int_equal(tr_file_write_atomic(config, good.data, good.length / 2, NULL), TR_OK);
    every_reader(model, "config.json:");
    assert_int_equal(tr_file_write_atomic(config, good.data, good.length, NULL), TR_OK);
    char *trace = tr_format("trace --model '%s' --out '%s' --input ", model, scratch_path("out.safetensors"));
    refuse(tr_format("%s /nonexistent.safetensors", trace), 1, "/nonexistent.safetensors");
    refuse(tr_format("%s '%s'", trace, program_file("text.safetensors", "no tensors at all")), 1,
           "text.safetensors");
    free(trace);
    free(path);
    free(config);
    tr_buffer_free(&weights);
    tr_buffer_free(&good);
}

/* A tokenizer with more ids than the checkpoint has rows, or special tokens in other places. */
static void test_vocabulary_mismatch(void **state)
{
    (void)state;
    const char *texts[] = {
        "when where which while whose what why who how many words make a larger vocabulary of tokens "
        "than the tiny one that stands beside the tiny checkpoint so that the ids cannot fit"};
    const tr_train_bpe_options larger = {.vocab_size = TR_TRAIN_SMALLEST + 80};
    char other[512];
    snprintf(other, sizeof other, "%s", scratch_path("larger-tokenizer"));
    assert_int_equal(tr_train_bpe(texts, 1, &larger, other, NULL), TR_OK);
    const char *row = program_file("row.jsonl", "{\"prompt\":\"a\",\"response\":\"b\"}\n"),
               *message = "it belongs to another model";
    refuse(tr_format("ask --model '%s' --tokenizer '%s' '%s' q", model, other, clip), 1, message);
    refuse(tr_format("score --model '%s' --tokenizer '%s' --input '%s'", model, other, row), 1, message);
    refuse(tr_format("eval --model '%s' --tokenizer '%s' --data '%s/test.jsonl' --videos '%s/videos' --out '%s'",
                     model, other, corpus, corpus, scratch_path("results")),
           1, message);
    refuse(tr_format("tokenize --tokenizer /nonexistent </dev/null"), 1, "/nonexistent");
    refuse(tr_format("tokenize </dev/null"), 2, "--model DIR or --tokenizer DIR is needed");
}

/* ---- videos and rows ---- */

static void test_videos(void **state)
{
    (void)state;
    refuse(tr_format("frames /nonexistent.mp4"), 1, "/nonexistent.mp4");
    refuse(tr_format("frames '%s'", program_file("text.mp4", "no video")), 1, "text.mp4");
    refuse(tr_format("frames '%s'", program_file("empty.mp4", "")), 1, "empty.mp4");
    refuse(tr_format("frames '%s'", corpus), 1, "corpus");
    refuse(tr_format("frames '%s' --fps 0", clip), 2, "must lie between");
    refuse(tr_format("frames"), 2, "an argument is missing");
    program_expect(tr_format("frames '%s' --min-pixels 784", clip), 0, "taken", "");
    program_before = "TEMPR1_WORKER=/nonexistent";
    refuse(tr_format("frames '%s'", clip), 1, "TEMPR1_WORKER");
    program_before = "";
}

static void test_rows_of_responses(void **state)
{
    (void)state;
    const char *good = "{\"task\":\"tg\",\"response\":\"x\",\"segments\":[[0,1]]}\n";
    char *rows = tr_format("%s\n{\"task\":\"tg\",\"response\":\"x\"}\n", good);
    refuse(tr_format("reward < '%s'", program_file("r1.jsonl", rows)), 1, "3");
    free(rows);
    refuse(tr_format("reward < '%s'", program_file("r2.jsonl", "{\"response\":\n")), 1, "1:");
    refuse(tr_format("reward --scheme tempr2 </dev/null"), 2, "tempr1");
    refuse(tr_format("reward --task tgg </dev/null"), 2, "tg");
    refuse(tr_format("metrics --pred /nonexistent"), 1, "/nonexistent");
    refuse(tr_format("metrics --pred '%s' --truth '%s'", program_file("p.jsonl", "{bad\n"),
                     program_file("t.jsonl", good)),
           1, "p.jsonl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_command_has_help),
        cmocka_unit_test(test_worked_lines_name_what_exists),
        cmocka_unit_test(test_configurations),
        cmocka_unit_test(test_files_of_a_configuration),
        cmocka_unit_test(test_training_on_times_outside_the_clip),
        cmocka_unit_test(test_training_on_prompts_longer_than_the_context),
        cmocka_unit_test(test_checkpoints),
        cmocka_unit_test(test_vocabulary_mismatch),
        cmocka_unit_test(test_videos),
        cmocka_unit_test(test_rows_of_responses),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
