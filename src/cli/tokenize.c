/* tokenize.c: `tempr1 tokenize`: text lines to lists of token ids, or back. Reads stdin to its end, line by line.
 */
#include "base/file.h"
#include "cli/cli.h"
#include "model/lora.h"
#include "text/tokenizer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run(int argc, char **argv);

const tr_command tr_command_tokenize = {
    .name = "tokenize",
    .arguments = "--model DIR [--tokenizer DIR] [--decode] [--special] [--json] < LINES",
    .summary = "text lines to token ids, or back",
    .text =
        "Reads lines from standard input and writes one line for each: the ids of a line of text, separated by\n"
        "spaces; with --decode the text of a line of ids. With --json a line holds one JSON string, and its ids\n"
        "come as {\"ids\":[..]}; with --decode it is the other way round. So text may hold newlines.\n"
        "Special tokens in the text stay plain text unless --special is given. Decoding writes special tokens\n"
        "out, and U+FFFD for bytes that are not UTF-8.\n\n"
        "  echo 'Find the jump.' | tempr1 tokenize --model Qwen2.5-VL-3B-Instruct",
    .run = run,
};

typedef struct job {
    const tr_tokenizer *tokenizer;
    bool decode, special, json;
    size_t line; /* number of the line being read, from 1 */
    tr_buffer text;
    tr_ids ids;
    tr_error err;
} job;

static tr_status write_out(const void *bytes, size_t count, tr_error *err)
{
    return fwrite(bytes, 1, count, stdout) == count
               ? TR_OK
               : tr_fail(err, TR_IO, NULL, "standard output could not be written: %s", strerror(errno));
}

static tr_status add_id(job *j, json_int_t id)
{
    return id < 0 || id > INT32_MAX
               ? tr_fail(&j->err, TR_INVALID, NULL, "%" JSON_INTEGER_FORMAT " is not a token id", id)
               : tr_ids_add(&j->ids, (int32_t)id, &j->err);
}

/* Numbers separated by blanks or commas, perhaps in brackets. */
static tr_status read_plain_ids(job *j, const char *line, size_t length)
{
    const char *p = line, *end = line + length;
    tr_status status = TR_OK;
    while (p < end && !status) {
        char *stop;
        if (strchr(" \t\r,[]", *p) && *p) {
            p++;
            continue;
        }
        errno = 0;
        long long id = strtoll(p, &stop, 10);
        if (stop == p || errno || (stop < end && (!*stop || !strchr(" \t\r,[]", *stop)))) {
            return tr_fail(&j->err, TR_FORMAT, NULL,
                           "token ids are numbers separated by blanks, found \"%.*s\" at column %zu",
                           (int)(end - p < 40 ? end - p : 40), p, (size_t)(p - line) + 1);
        }
        status = add_id(j, id);
        p = stop;
    }
    return status;
}

static tr_status read_json_ids(job *j, const json_t *value)
{
    const json_t *list = json_is_object(value) ? json_object_get(value, "ids") : value;
    tr_status status = TR_OK;
    if (!json_is_array(list)) {
        return tr_fail(&j->err, TR_FORMAT, NULL, "expected {\"ids\":[..]}, found %s%s", tr_json_type_name(value),
                       json_is_object(value) ? " without a list \"ids\"" : "");
    }
    for (size_t i = 0; i < json_array_size(list) && !status; i++) {
        const json_t *id = json_array_get(list, i);
        status = json_is_integer(id)
                     ? add_id(j, json_integer_value(id))
                     : tr_fail(&j->err, TR_FORMAT, NULL, "entry %zu of \"ids\" must be an integer, found %s", i + 1,
                               tr_json_type_name(id));
    }
    return status;
}

static tr_status print_ids(job *j)
{
    tr_status status = TR_OK;
    tr_buffer_clear(&j->text);
    if (j->json) {
        TR_TRY(tr_buffer_add_text(&j->text, "{\"ids\":[", &j->err));
    }
    for (size_t i = 0; i < j->ids.count; i++) {
        const char *comma = j->json ? "," : " ";
        TR_TRY(tr_buffer_printf(&j->text, &j->err, "%s%" PRId32, i ? comma : "", j->ids.data[i]));
    }
    TR_TRY(tr_buffer_add_text(&j->text, j->json ? "]}\n" : "\n", &j->err));
    status = write_out(j->text.data, j->text.length, &j->err);
done:
    return status;
}

static tr_status print_text(job *j)
{
    tr_status status;
    json_t *value = NULL;
    tr_buffer_clear(&j->text);
    TR_TRY(tr_tokenizer_decode(j->tokenizer, j->ids.data, j->ids.count, true, &j->text, &j->err));
    if (j->json) {
        if (!(value = json_stringn(tr_buffer_text(&j->text), j->text.length))) {
            status = tr_fail(&j->err, TR_MEMORY, NULL, "no memory for a line of text");
            goto done;
        }
        status = tr_cli_print_json(value, &j->err);
        goto done;
    }
    TR_TRY(tr_buffer_add(&j->text, "\n", 1, &j->err));
    status = write_out(j->text.data, j->text.length, &j->err);
done:
    json_decref(value);
    return status;
}

static tr_status one_line(job *j, const tr_buffer *line)
{
    const char *text = tr_buffer_text(line);
    size_t length = line->length;
    json_t *value = NULL;
    tr_status status;
    j->ids.count = 0;
    if (j->json) {
        TR_TRY(tr_json_parse(text, length, "stdin", (long)j->line - 1, &value, &j->err));
        if (!j->decode && !json_is_string(value)) {
            status =
                tr_fail(&j->err, TR_FORMAT, NULL, "expected one JSON string, found %s", tr_json_type_name(value));
            goto done;
        }
        text = json_string_value(value);
        length = json_string_length(value);
    }
    if (j->decode) {
        TR_TRY(j->json ? read_json_ids(j, value) : read_plain_ids(j, tr_buffer_text(line), line->length));
        status = print_text(j);
    } else {
        TR_TRY(tr_tokenizer_encode(j->tokenizer, text, length, j->special, &j->ids, &j->err));
        status = print_ids(j);
    }
done:
    json_decref(value);
    return status;
}

static tr_status all_lines(job *j)
{
    tr_buffer line = {0};
    tr_status status;
    for (;;) {
        bool got = false;
        TR_TRY(tr_file_read_line(stdin, 0, &line, &got, &j->err));
        if (!got) {
            break;
        }
        j->line++;
        TR_TRY(one_line(j, &line));
        if (fflush(stdout)) { /* a line in, a line out: another program may be waiting for it */
            status = tr_fail(&j->err, TR_IO, NULL, "standard output could not be written: %s", strerror(errno));
            goto done;
        }
    }
done:
    if (status && j->line) {
        tr_fail_where(&j->err, status, "stdin:%zu", j->line);
    }
    tr_buffer_free(&line);
    return status;
}

static int run(int argc, char **argv)
{
    const char *model = NULL, *directory = NULL;
    job j = {0};
    tr_tokenizer *tokenizer = NULL;
    char **arguments;
    int count;
    const tr_option options[] = {
        {.name = "model",
         .kind = TR_OPTION_TEXT,
         .value = &model,
         .argument = "DIR",
         .help = "Checkpoint directory; its tokenizer is used. Needed unless --tokenizer is given."},
        {.name = "tokenizer",
         .kind = TR_OPTION_TEXT,
         .value = &directory,
         .argument = "DIR",
         .help = "Directory with tokenizer.json, or vocab.json and merges.txt. Default: the model's."},
        {.name = "decode", .kind = TR_OPTION_FLAG, .value = &j.decode, .help = "From ids to text."},
        {.name = "special",
         .kind = TR_OPTION_FLAG,
         .value = &j.special,
         .help = "Special tokens in the text become special."},
        {.name = "json", .kind = TR_OPTION_FLAG, .value = &j.json, .help = "One JSON value per line."},
        {0}};
    int exit_status = tr_cli_parse(&tr_command_tokenize, options, argc, argv, 0, 0, &arguments, &count);
    if (exit_status >= 0) {
        return exit_status;
    }
    if (!model && !directory) {
        return tr_cli_usage(&tr_command_tokenize, "--model DIR or --tokenizer DIR is needed");
    }
    char *folder = NULL;
    tr_status status = tr_lora_tokenizer(directory ? directory : model, &folder, &j.err);
    status = status ? status : tr_tokenizer_load(folder, &tokenizer, &j.err);
    free(folder);
    if (!status) {
        j.tokenizer = tokenizer;
        status = all_lines(&j);
    }
    tr_buffer_free(&j.text);
    tr_ids_free(&j.ids);
    tr_tokenizer_free(tokenizer);
    return status ? tr_cli_fail(&tr_command_tokenize, &j.err) : TR_EXIT_DONE;
}
