/* fuzz_tokenizer.c: hostile text, ids and tokenizer files.
 *
 * The first byte of the input chooses: text through encode and back, ids through decode and the stream, or the rest
 * as vocab.json, merges.txt, tokenizer_config.json, tokenizer.json or a conversation. A file that loads must work.
 * Modules: text */
#include "base/file.h"
#include "text/chat.h"
#include "text/stream.h"
#include "text/train_bpe.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char directory[256], damaged[256];
static tr_tokenizer *tokenizer;

static void clean(void)
{
    tr_tokenizer_free(tokenizer);
    tr_directory_remove(directory, NULL);
    tr_directory_remove(damaged, NULL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    const char *texts[] = {
        "the red ball then the other ball rolls there <think> 12.5 seconds </answer>\n\n caf\u00E9"};
    tr_train_bpe_options options = {TR_TRAIN_SMALLEST + 20, false};
    snprintf(directory, sizeof directory, "/tmp/tempr1-fuzz-%d", (int)getpid());
    snprintf(damaged, sizeof damaged, "/tmp/tempr1-fuzz-%d-files", (int)getpid());
    if (tr_train_bpe(texts, 1, &options, directory, NULL) || tr_tokenizer_load(directory, &tokenizer, NULL) ||
        tr_directory_make(damaged, NULL)) {
        fputs("the fuzzer could not make its tokenizer\n", stderr);
        abort();
    }
    atexit(clean);
    return 0;
}

static void require(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

/* Valid text encodes, and what comes back is the text or at least encodes to the same ids (normal form C). */
static void try_text(const tr_tokenizer *t, const char *text, size_t length, bool special)
{
    tr_ids ids = {0}, again = {0};
    tr_buffer back = {0};
    tr_error err = {0};
    if (!tr_tokenizer_encode(t, text, length, special, &ids, &err)) {
        require(!tr_tokenizer_decode_bytes(t, ids.data, ids.count, true, &back, &err), "ids do not decode");
        require(!tr_tokenizer_encode(t, tr_buffer_text(&back), back.length, special, &again, &err),
                "decoded text is not UTF-8");
        require(ids.count == again.count &&
                    (!ids.count || !memcmp(ids.data, again.data, ids.count * sizeof *ids.data)),
                "decoded text has other ids");
        for (size_t i = 0; i < ids.count && !special; i++) {
            require(tr_tokenizer_kind(t, ids.data[i]) != TR_TOKEN_SPECIAL, "text became a special token");
        }
    }
    tr_ids_free(&ids);
    tr_ids_free(&again);
    tr_buffer_free(&back);
}

static void try_ids(const uint8_t *data, size_t size)
{
    tr_ids ids = {0};
    tr_buffer whole = {0}, text = {0};
    tr_text_stream stream;
    tr_text_stream_start(&stream, tokenizer, true);
    for (size_t i = 0; i + 1 < size; i += 2) {
        int32_t id = (data[i] | data[i + 1] << 8) % 300;
        tr_ids_add(&ids, id, NULL);
        tr_text_stream_push(&stream, id, &text, NULL);
    }
    tr_text_stream_finish(&stream, &text, NULL);
    if (!tr_tokenizer_decode(tokenizer, ids.data, ids.count, true, &whole, NULL)) {
        require(whole.length == text.length && !memcmp(tr_buffer_text(&whole), tr_buffer_text(&text), text.length),
                "the stream's text differs");
    }
    tr_text_stream_free(&stream);
    tr_ids_free(&ids);
    tr_buffer_free(&whole);
    tr_buffer_free(&text);
}

static void copy(const char *name)
{
    char *from = tr_path_join(directory, name), *to = tr_path_join(damaged, name);
    tr_buffer text = {0};
    if (from && to && !tr_file_read(from, 0, &text, NULL)) {
        FILE *f = fopen(to, "wb");
        if (f) {
            fwrite(text.data, 1, text.length, f);
            fclose(f);
        }
    }
    tr_buffer_free(&text);
    free(from);
    free(to);
}

static void try_file(const char *name, const uint8_t *data, size_t size)
{
    static const char *const names[] = {"vocab.json", "merges.txt", "tokenizer_config.json", "tokenizer.json"};
    tr_tokenizer *t = NULL;
    tr_error err = {0};
    for (size_t i = 0; i < 4; i++) {
        char *path = tr_path_join(damaged, names[i]);
        unlink(path);
        if (!strcmp(names[i], name)) {
            FILE *f = fopen(path, "wb");
            if (f) {
                fwrite(data, 1, size, f);
                fclose(f);
            }
        } else if (i < 3 && strcmp(name, "tokenizer.json")) {
            copy(names[i]);
        }
        free(path);
    }
    if (!tr_tokenizer_load(damaged, &t, &err)) {
        try_text(t, "the ball <|im_end|> \n", 21, false);
        try_text(t, (const char *)data, size < 200 ? size : 200, false);
    } else {
        require(err.message[0] != 0, "a refusal without a message");
    }
    tr_tokenizer_free(t);
    tr_chat_check_template(damaged, NULL);
}

static void try_chat(const uint8_t *data, size_t size)
{
    json_t *json = NULL;
    tr_chat chat = {0};
    tr_ids ids = {0};
    if (!tr_json_parse((const char *)data, size, "fuzz", 0, &json, NULL) &&
        !tr_chat_read(json, "fuzz", &chat, NULL)) {
        for (size_t i = 0; i < chat.part_count; i++) {
            chat.parts[i].tokens = 2;
        }
        require(!tr_prompt_build(tokenizer, chat.messages, chat.message_count, &(tr_chat_options){true, true}, &ids,
                                 NULL),
                "a conversation that was read has no prompt");
    }
    tr_chat_free(&chat);
    json_decref(json);
    tr_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) {
        return 0;
    }
    const uint8_t *rest = data + 1;
    switch (data[0] % 8) {
    case 0:
    case 1:
        try_text(tokenizer, (const char *)rest, size - 1, data[0] % 8);
        break;
    case 2:
        try_ids(rest, size - 1);
        break;
    case 3:
        try_file("vocab.json", rest, size - 1);
        break;
    case 4:
        try_file("merges.txt", rest, size - 1);
        break;
    case 5:
        try_file("tokenizer_config.json", rest, size - 1);
        break;
    case 6:
        try_file("tokenizer.json", rest, size - 1);
        break;
    default:
        try_chat(rest, size - 1);
    }
    return 0;
}
