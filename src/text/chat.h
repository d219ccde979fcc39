/* chat.h: a conversation as the prompt of a Qwen2.5-VL model.
 *
 * The text is what the published template renders, written out by our own code: a default system message when the
 * first one is not a system message, then per message <|im_start|>ROLE, a newline, the parts without separators,
 * <|im_end|> and a newline. Jinja is never run: a checkpoint whose template says something else is refused by
 * tr_chat_check_template.
 *
 * Prompts are built piece by piece: the template's special tokens are put in as ids, everything between two of them
 * is encoded as one run with special tokens off. So the ids equal those of the whole rendered text, and text of a
 * user can never make a special token. Thread safe. */
#ifndef TR_TEXT_CHAT_H
#define TR_TEXT_CHAT_H

#include "base/json.h"
#include "text/tokenizer.h"

typedef enum tr_chat_role { TR_CHAT_SYSTEM, TR_CHAT_USER, TR_CHAT_ASSISTANT } tr_chat_role;
typedef enum tr_chat_kind { TR_CHAT_TEXT, TR_CHAT_IMAGE, TR_CHAT_VIDEO } tr_chat_kind;

typedef struct tr_chat_part {
    tr_chat_kind kind;
    const char *text;   /* TEXT: UTF-8, borrowed */
    size_t length;      /* bytes of text */
    int64_t tokens;     /* IMAGE, VIDEO: placeholders in the prompt, at least 1 for tr_prompt_build */
    const json_t *json; /* where it was read from, borrowed; NULL otherwise */
} tr_chat_part;

typedef struct tr_chat_message {
    tr_chat_role role;
    const tr_chat_part *parts; /* borrowed */
    size_t part_count;
} tr_chat_message;

typedef struct tr_chat_options {
    bool generation_prompt; /* end with <|im_start|>assistant and a newline */
    bool vision_ids;        /* "Picture 1: ", "Video 1: " before images and videos */
} tr_chat_options;

/* A text part from a NUL-terminated string, a video and an image part. */
tr_chat_part tr_chat_text(const char *text);
tr_chat_part tr_chat_video(int64_t tokens);
tr_chat_part tr_chat_image(int64_t tokens);

/* Appends the rendered text, one placeholder for each image and video: what the reference's template gives. */
tr_status tr_chat_render(const tr_chat_message *messages, size_t count, const tr_chat_options *options,
                         tr_buffer *out, tr_error *err);

/* Appends the ids of the prompt, placeholders repeated `tokens` times. TR_MISMATCH when the tokenizer lacks a token
 * of the template; TR_INVALID names message and part. */
tr_status tr_prompt_build(const tr_tokenizer *tokenizer, const tr_chat_message *messages, size_t count,
                          const tr_chat_options *options, tr_ids *ids, tr_error *err);

/* A conversation read from JSON: [{"role", "content": text or [{"type": "text"|"image"|"video", ...}]}, ...]. */
typedef struct tr_chat {
    tr_chat_message *messages;
    tr_chat_part *parts; /* of all messages, in order: set `tokens` of images and videos here */
    size_t message_count, part_count;
} tr_chat;
/* json must outlive chat. place names it in errors. tr_chat_free frees. */
tr_status tr_chat_read(const json_t *json, const char *place, tr_chat *chat, tr_error *err);
void tr_chat_free(tr_chat *chat);

/* TR_OK when the checkpoint directory has no chat template or the one that this file renders; else TR_UNSUPPORTED
 * with the file's name. The template in force is chat_template.jinja, else chat_template.json, else the
 * chat_template of tokenizer_config.json; behind one of the first two, the last may also be Qwen2.5's text-only
 * tool template. */
tr_status tr_chat_check_template(const char *directory, tr_error *err);
/* True for the text of a template that tr_chat_render reproduces. Line ends and blanks around it do not matter. */
bool tr_chat_template_known(const char *text, size_t length);

#endif
