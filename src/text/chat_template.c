/* chat_template.c: recognises the chat template of a checkpoint.
 *
 * Templates are programs (Jinja) that this project does not run. Known ones are recognised by the hash of their
 * text; anything else is refused, since rendering it by our own rules could be wrong without a sign. */
#include "base/file.h"
#include "base/random.h"
#include "text/chat.h"

#include <stdlib.h>
#include <string.h>

/* XXH3 of the normalised text of templates that tr_chat_render reproduces. */
static const uint64_t known_templates[] = {
    UINT64_C(0xD63C0AB8AC046A45), /* Qwen2.5-VL's vision template, as in chat_template.json since January 2025 */
};

/* The text without carriage returns and without blanks and line ends around it. */
static tr_status normalise(const char *text, size_t length, tr_buffer *out)
{
    tr_status status = TR_OK;
    while (length && strchr(" \t\r\n", text[length - 1])) {
        length--;
    }
    while (length && strchr(" \t\r\n", *text)) {
        text++;
        length--;
    }
    for (size_t i = 0; i < length && !status; i++) {
        if (text[i] != '\r') {
            status = tr_buffer_add(out, text + i, 1, NULL);
        }
    }
    return status;
}

bool tr_chat_template_known(const char *text, size_t length)
{
    tr_buffer plain = {0};
    bool known = false;
    if (!normalise(text, length, &plain)) {
        uint64_t hash = tr_hash(tr_buffer_text(&plain), plain.length);
        for (size_t i = 0; i < sizeof known_templates / sizeof *known_templates; i++) {
            known |= known_templates[i] == hash;
        }
    }
    tr_buffer_free(&plain);
    return known;
}

/* Qwen2.5's text-only template with tools stood in tokenizer_config.json until April 2025, beside the vision
 * template in chat_template.json, which is the one in force. It is told by what it speaks of. */
static bool is_text_tool_template(const char *text)
{
    return strstr(text, "tools") && strstr(text, "<tool_call>") && strstr(text, "<|im_start|>") &&
           !strstr(text, "<|vision_start|>") && !strstr(text, "<|image_pad|>") && !strstr(text, "<|video_pad|>");
}

/* The template in a JSON file: a string, or a list of {"name", "template"} of which "default" counts. NULL: none.
 */
static tr_status template_of(const json_t *json, const char *path, const char **text, tr_error *err)
{
    const json_t *value = json_object_get(json, "chat_template");
    size_t i;
    json_t *entry;
    *text = NULL;
    if (!value || json_is_null(value)) {
        return TR_OK;
    }
    if (json_is_string(value)) {
        *text = json_string_value(value);
        return TR_OK;
    }
    json_array_foreach(value, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name && !strcmp(name, "default")) {
            *text = json_string_value(json_object_get(entry, "template"));
        }
    }
    return *text ? TR_OK
                 : tr_fail(err, TR_FORMAT, path,
                           "\"chat_template\" must be a string or a list with a \"default\" template, found %s",
                           tr_json_type_name(value));
}

static tr_status refuse(const char *path, tr_error *err)
{
    return tr_fail(
        err, TR_UNSUPPORTED, path,
        "the chat template is not Qwen2.5-VL's published one, and this program renders only that; prompts "
        "would differ from those the checkpoint was made with. Remove the template to use the published "
        "form, or use a checkpoint with it");
}

static tr_status read_json(const char *path, json_t **json, const char **text, tr_error *err)
{
    *json = NULL;
    *text = NULL;
    if (!tr_file_exists(path)) {
        return TR_OK;
    }
    tr_status status = tr_json_read(path, json, err);
    return status ? status : template_of(*json, path, text, err);
}

tr_status tr_chat_check_template(const char *directory, tr_error *err)
{
    char *jinja = tr_path_join(directory, "chat_template.jinja"),
         *processor = tr_path_join(directory, "chat_template.json"),
         *config = tr_path_join(directory, "tokenizer_config.json");
    json_t *processor_json = NULL, *config_json = NULL;
    const char *processor_text = NULL, *config_text = NULL;
    tr_buffer jinja_text = {0};
    bool in_force = false; /* one of the first two files has spoken */
    tr_status status;
    if (!jinja || !processor || !config) {
        status = tr_fail(err, TR_MEMORY, NULL, "no memory for a path");
        goto done;
    }
    if (tr_file_exists(jinja)) {
        TR_TRY(tr_file_read(jinja, (size_t)16 << 20, &jinja_text, err));
        if (!tr_chat_template_known(tr_buffer_text(&jinja_text), jinja_text.length)) {
            status = refuse(jinja, err);
            goto done;
        }
        in_force = true;
    }
    TR_TRY(read_json(processor, &processor_json, &processor_text, err));
    if (processor_text) {
        if (!tr_chat_template_known(processor_text, strlen(processor_text))) {
            status = refuse(processor, err);
            goto done;
        }
        in_force = true;
    }
    TR_TRY(read_json(config, &config_json, &config_text, err));
    if (config_text && !tr_chat_template_known(config_text, strlen(config_text)) &&
        !(in_force && is_text_tool_template(config_text))) {
        status = refuse(config, err);
    }
done:
    free(jinja);
    free(processor);
    free(config);
    json_decref(processor_json);
    json_decref(config_json);
    tr_buffer_free(&jinja_text);
    return status;
}
