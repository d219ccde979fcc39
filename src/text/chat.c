/* chat.c: renders conversations and builds prompts.
 *
 * One walk over the messages feeds a sink: text between special tokens, and special tokens by name. Rendering
 * writes both as text; building encodes the text and puts the special tokens in as ids. */
#include "text/chat.h"

#include "base/memory.h"
#include "text/unicode.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Where the walk writes to: ids when tokenizer is given, else out. */
typedef struct sink {
    const tr_tokenizer *tokenizer;
    tr_buffer *out; /* rendering: everything; building: the run of text since the last special token */
    tr_ids *ids;
    tr_error *err;
} sink;

static const char *const role_names[] = {"system", "user", "assistant"};

tr_chat_part tr_chat_text(const char *text)
{
    return (tr_chat_part){.kind = TR_CHAT_TEXT, .text = text, .length = strlen(text)};
}

tr_chat_part tr_chat_video(int64_t tokens)
{
    return (tr_chat_part){.kind = TR_CHAT_VIDEO, .tokens = tokens};
}

tr_chat_part tr_chat_image(int64_t tokens)
{
    return (tr_chat_part){.kind = TR_CHAT_IMAGE, .tokens = tokens};
}

static tr_status put_text(sink *s, const char *text)
{
    return tr_buffer_add_text(s->out, text, s->err);
}

/* Encodes the run of text that has gathered. */
static tr_status end_run(sink *s)
{
    if (!s->tokenizer || !s->out->length) {
        return TR_OK;
    }
    tr_status status = tr_tokenizer_encode(s->tokenizer, s->out->data, s->out->length, false, s->ids, s->err);
    tr_buffer_clear(s->out);
    return status;
}

static tr_status put_special(sink *s, const char *name, int64_t repeat)
{
    if (!s->tokenizer) {
        return put_text(s, name);
    }
    int32_t id = tr_tokenizer_id(s->tokenizer, name);
    if (id < 0 || tr_tokenizer_kind(s->tokenizer, id) != TR_TOKEN_SPECIAL) {
        return tr_fail(s->err, TR_MISMATCH, tr_tokenizer_directory(s->tokenizer),
                       "the tokenizer has no special token %s, which the chat template needs; is "
                       "tokenizer_config.json missing?",
                       name);
    }
    tr_status status = end_run(s);
    return status ? status : tr_ids_repeat(s->ids, id, (size_t)repeat, s->err);
}

static tr_status put_vision(sink *s, const tr_chat_part *part, int number, bool named, size_t message, size_t index)
{
    bool video = part->kind == TR_CHAT_VIDEO;
    tr_status status;
    if (s->tokenizer && (part->tokens < 1 || part->tokens > INT32_MAX)) {
        return tr_fail(s->err, TR_INVALID, NULL,
                       "message %zu, part %zu: %s needs between 1 and %d tokens, found %" PRId64, message + 1,
                       index + 1, video ? "a video" : "an image", INT32_MAX, part->tokens);
    }
    if (named) {
        TR_TRY(tr_buffer_printf(s->out, s->err, "%s %d: ", video ? "Video" : "Picture", number));
    }
    TR_TRY(put_special(s, "<|vision_start|>", 1));
    TR_TRY(put_special(s, video ? "<|video_pad|>" : "<|image_pad|>", part->tokens));
    TR_TRY(put_special(s, "<|vision_end|>", 1));
done:
    return status;
}

static tr_status put_user_text(sink *s, const tr_chat_part *part, size_t message, size_t index)
{
    size_t bad;
    if (!tr_utf8_valid(part->text, part->length, &bad)) {
        return tr_fail(s->err, TR_INVALID, NULL,
                       "message %zu, part %zu: the text is not UTF-8: byte 0x%02X at offset %zu", message + 1,
                       index + 1, (uint8_t)part->text[bad], bad);
    }
    return tr_buffer_add(s->out, part->text, part->length, s->err);
}

static tr_status walk(sink *s, const tr_chat_message *messages, size_t count, const tr_chat_options *options)
{
    int pictures = 0, videos = 0;
    tr_status status = TR_OK;
    for (size_t m = 0; m < count; m++) {
        const tr_chat_message *message = &messages[m];
        if (m == 0 && message->role != TR_CHAT_SYSTEM) {
            TR_TRY(put_special(s, "<|im_start|>", 1));
            TR_TRY(put_text(s, "system\nYou are a helpful assistant."));
            TR_TRY(put_special(s, "<|im_end|>", 1));
            TR_TRY(put_text(s, "\n"));
        }
        TR_TRY(put_special(s, "<|im_start|>", 1));
        TR_TRY(put_text(s, role_names[message->role]));
        TR_TRY(put_text(s, "\n"));
        for (size_t p = 0; p < message->part_count; p++) {
            const tr_chat_part *part = &message->parts[p];
            if (part->kind == TR_CHAT_TEXT) {
                TR_TRY(put_user_text(s, part, m, p));
            } else {
                int *number = part->kind == TR_CHAT_VIDEO ? &videos : &pictures;
                TR_TRY(put_vision(s, part, ++*number, options->vision_ids, m, p));
            }
        }
        TR_TRY(put_special(s, "<|im_end|>", 1));
        TR_TRY(put_text(s, "\n"));
    }
    if (options->generation_prompt) {
        TR_TRY(put_special(s, "<|im_start|>", 1));
        TR_TRY(put_text(s, "assistant\n"));
    }
    status = end_run(s);
done:
    return status;
}

tr_status tr_chat_render(const tr_chat_message *messages, size_t count, const tr_chat_options *options,
                         tr_buffer *out, tr_error *err)
{
    sink s = {NULL, out, NULL, err};
    return walk(&s, messages, count, options);
}

tr_status tr_prompt_build(const tr_tokenizer *tokenizer, const tr_chat_message *messages, size_t count,
                          const tr_chat_options *options, tr_ids *ids, tr_error *err)
{
    tr_buffer run = {0};
    sink s = {tokenizer, &run, ids, err};
    size_t before = ids->count;
    tr_status status = walk(&s, messages, count, options);
    if (status) {
        ids->count = before;
    }
    tr_buffer_free(&run);
    return status;
}

void tr_chat_free(tr_chat *chat)
{
    free(chat->messages);
    free(chat->parts);
    *chat = (tr_chat){0};
}

/* One part, by the same order of questions as the published template. */
static tr_status read_part(const json_t *json, const char *place, size_t message, size_t index, tr_chat_part *part,
                           tr_error *err)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    const json_t *text = json_object_get(json, "text");
    part->json = json;
    if ((type && !strcmp(type, "image")) || json_object_get(json, "image") || json_object_get(json, "image_url")) {
        part->kind = TR_CHAT_IMAGE;
    } else if ((type && !strcmp(type, "video")) || json_object_get(json, "video")) {
        part->kind = TR_CHAT_VIDEO;
    } else if (json_is_string(text)) {
        part->kind = TR_CHAT_TEXT;
        part->text = json_string_value(text);
        part->length = json_string_length(text);
    } else {
        return tr_fail(err, TR_FORMAT, place,
                       "message %zu, part %zu must be an object with \"text\" (a string), \"image\" or \"video\"",
                       message + 1, index + 1);
    }
    return TR_OK;
}

static tr_status read_message(const json_t *json, const char *place, size_t index, tr_chat *chat, tr_error *err)
{
    const char *role = json_string_value(json_object_get(json, "role"));
    const json_t *content = json_object_get(json, "content");
    tr_chat_message *message = &chat->messages[index];
    size_t known = 0;
    while (role && known < 3 && strcmp(role, role_names[known]) != 0) {
        known++;
    }
    if (!role || known == 3) {
        return tr_fail(err, TR_FORMAT, place,
                       "message %zu must have the \"role\" system, user or assistant, found %s%s%s", index + 1,
                       role ? "\"" : "", role ? role : "none", role ? "\"" : "");
    }
    message->role = (tr_chat_role)known;
    message->parts = chat->parts + chat->part_count;
    if (json_is_string(content)) {
        chat->parts[chat->part_count++] = (tr_chat_part){.kind = TR_CHAT_TEXT,
                                                         .text = json_string_value(content),
                                                         .length = json_string_length(content),
                                                         .json = content};
        message->part_count = 1;
        return TR_OK;
    }
    if (!json_is_array(content)) {
        return tr_fail(err, TR_FORMAT, place, "the \"content\" of message %zu must be a string or a list, found %s",
                       index + 1, tr_json_type_name(content));
    }
    message->part_count = json_array_size(content);
    for (size_t p = 0; p < message->part_count; p++) {
        tr_status status =
            read_part(json_array_get(content, p), place, index, p, &chat->parts[chat->part_count++], err);
        if (status) {
            return status;
        }
    }
    return TR_OK;
}

tr_status tr_chat_read(const json_t *json, const char *place, tr_chat *chat, tr_error *err)
{
    size_t parts = 0, i;
    json_t *message;
    tr_status status = TR_OK;
    *chat = (tr_chat){0};
    if (!json_is_array(json) || !json_array_size(json)) {
        return tr_fail(err, TR_FORMAT, place, "messages must be a list with at least one message");
    }
    json_array_foreach(json, i, message)
    {
        const json_t *content = json_object_get(message, "content");
        parts += json_is_array(content) ? json_array_size(content) : 1;
    }
    chat->message_count = json_array_size(json);
    chat->messages = tr_calloc(chat->message_count, sizeof *chat->messages);
    chat->parts = tr_calloc(parts, sizeof *chat->parts);
    if (!chat->messages || !chat->parts) {
        status = tr_fail(err, TR_MEMORY, place, "no memory for %zu messages", chat->message_count);
        goto done;
    }
    json_array_foreach(json, i, message)
    {
        TR_TRY(read_message(message, place, i, chat, err));
    }
done:
    if (status) {
        tr_chat_free(chat);
    }
    return status;
}
