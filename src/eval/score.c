/* score.c: log-probabilities of given responses: a row becomes a conversation, its clips features, its responses
 * one packed group. The clips of the row before are kept, so that neighbouring rows of one video decode it once. */
#include "eval/score.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "task/prompt.h"
#include "text/chat.h"
#include "video/cache.h"
#include "video/clip.h"

#include <stdlib.h>
#include <string.h>

/* The clips of one row: opened, then turned into features. */
typedef struct clips {
    uint64_t key; /* of paths and ranges; 0: none */
    size_t count, capacity;
    tr_clip **items;     /* [count], all NULL once the features exist */
    int32_t (*grids)[3]; /* [count] */
    double *seconds_per_grid;
    int64_t *tokens; /* [count] */
    int64_t all_tokens, largest_grid;
    float *features; /* [all_tokens][hidden], NULL until asked for */
} clips;

struct tr_scorer {
    tr_model *model;
    tr_tokenizer *tokenizer;
    tr_prompts prompts;
    char *videos;
    tr_video_options video;
    tr_video_cache cache;
    bool caching, special, end_token, entropy;
    double temperature;
    tr_network *network;
    tr_network_limits limits; /* of network */
    clips clips;
};

/* What one row holds while it is being scored. */
typedef struct row_state {
    json_t *messages; /* owned */
    tr_chat chat;
    tr_ids prompt, answers;
    int64_t *lengths; /* [responses], some may be 0 */
    size_t responses;
    bool list; /* the row has a list of responses */
    int32_t *positions;
    float *logp, *entropy;
} row_state;

static void clips_clear(clips *c)
{
    for (size_t i = 0; i < c->count; i++) {
        tr_clip_free(c->items[i]);
    }
    free(c->items);
    free(c->grids);
    free(c->seconds_per_grid);
    free(c->tokens);
    free(c->features);
    memset(c, 0, sizeof *c);
}

static void row_clear(row_state *r)
{
    tr_chat_free(&r->chat);
    json_decref(r->messages);
    tr_ids_free(&r->prompt);
    tr_ids_free(&r->answers);
    free(r->lengths);
    free(r->positions);
    free(r->logp);
    free(r->entropy);
}

/* ---- the conversation ---- */

static json_t *video_part(void)
{
    return json_pack("{s:s}", "type", "video");
}

/* A conversation of at most a system text and a user's video and text. */
static json_t *simple_messages(const char *system, const char *user, bool video)
{
    json_t *messages = json_array();
    if (system && system[0]) {
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", system));
    }
    json_t *text = json_pack("{s:s, s:s}", "type", "text", "text", user);
    json_t *content = video ? json_pack("[o, o]", video_part(), text) : json_pack("[o]", text);
    json_array_append_new(messages, json_pack("{s:s, s:o}", "role", "user", "content", content));
    return messages;
}

static bool has_video_part(const json_t *messages)
{
    size_t i, p;
    json_t *message, *part;
    json_array_foreach(messages, i, message)
    {
        json_array_foreach(json_object_get(message, "content"), p, part)
        {
            const char *type = json_string_value(json_object_get(part, "type"));
            if (type && !strcmp(type, "video")) {
                return true;
            }
        }
    }
    return false;
}

/* Puts the row's video before the text of the first user message. */
static tr_status place_video(json_t *messages, const char *where, tr_error *err)
{
    size_t i;
    json_t *message;
    json_array_foreach(messages, i, message)
    {
        const char *role = json_string_value(json_object_get(message, "role"));
        json_t *content = json_object_get(message, "content");
        if (!role || strcmp(role, "user") != 0) {
            continue;
        }
        if (json_is_string(content)) {
            json_object_set_new(message, "content",
                                json_pack("[o, {s:s, s:O}]", video_part(), "type", "text", "text", content));
        } else if (json_is_array(content)) {
            json_array_insert_new(content, 0, video_part());
        }
        return TR_OK;
    }
    return tr_fail(err, TR_FORMAT, where, "the row has a \"video\", but \"messages\" has no user message for it");
}

static tr_status task_messages(const tr_scorer *s, const json_t *row, const char *where, bool video, json_t **out,
                               tr_error *err)
{
    const char *name = NULL;
    tr_task task;
    tr_buffer system = {0}, user = {0};
    tr_status status;
    TR_TRY(tr_json_get_string(row, "task", false, where, &name, err));
    if (!name) {
        status = tr_fail(err, TR_FORMAT, where,
                         "the row has no prompt: expected \"prompt\", \"messages\" or a corpus row's \"task\"");
        goto done;
    }
    TR_TRY(tr_task_from_name(name, &task, err));
    TR_TRY(tr_prompt_render(&s->prompts, task, row, where, &system, &user, err));
    *out = simple_messages(tr_buffer_text(&system), tr_buffer_text(&user), video);
done:
    tr_buffer_free(&system);
    tr_buffer_free(&user);
    return status;
}

static tr_status build_messages(const tr_scorer *s, const json_t *row, const char *where, row_state *r,
                                tr_error *err)
{
    const json_t *given = json_object_get(row, "messages");
    const char *prompt = NULL, *video = NULL;
    tr_status status;
    TR_TRY(tr_json_get_string(row, "prompt", false, where, &prompt, err));
    TR_TRY(tr_json_get_string(row, "video", false, where, &video, err));
    if (prompt && given) {
        status =
            tr_fail(err, TR_FORMAT, where, "the row has both \"prompt\" and \"messages\"; one of them is enough");
        goto done;
    }
    if (given) {
        r->messages = json_deep_copy(given);
        if (video && json_is_array(r->messages) && !has_video_part(r->messages)) {
            TR_TRY(place_video(r->messages, where, err));
        }
    } else if (prompt) {
        r->messages = simple_messages(NULL, prompt, video != NULL);
    } else {
        TR_TRY(task_messages(s, row, where, video != NULL, &r->messages, err));
    }
    if (!r->messages) {
        status = tr_fail(err, TR_MEMORY, where, "out of memory for the conversation");
        goto done;
    }
    TR_TRY(tr_chat_read(r->messages, where, &r->chat, err));
done:
    return status;
}

/* ---- clips ---- */

/* The file of one video part, free() frees it, and the range of it that is meant. */
static tr_status part_path(const tr_scorer *s, const json_t *row, const tr_chat_part *part, const char *where,
                           char **path, double range_s[2], tr_error *err)
{
    const char *own = NULL, *name = NULL;
    const json_t *clip = NULL;
    tr_status status = tr_json_get_string(part->json, "video", false, where, &own, err);
    status = status || own ? status : tr_json_get_string(row, "video", false, where, &name, err);
    *path = NULL;
    range_s[0] = range_s[1] = 0;
    if (status) {
        return status;
    }
    if (!own && !name) {
        return tr_fail(err, TR_FORMAT, where, "a video part names no file, and the row has no \"video\"");
    }
    if (!own && (clip = json_object_get(row, "clip"))) {
        range_s[0] = json_number_value(json_array_get(clip, 0));
        range_s[1] = json_number_value(json_array_get(clip, 1));
        if (json_array_size(clip) != 2 || !json_is_number(json_array_get(clip, 0)) ||
            !json_is_number(json_array_get(clip, 1)) || range_s[0] < 0 || !(range_s[1] > range_s[0])) {
            return tr_fail(err, TR_FORMAT, where, "\"clip\" must be [start, end] in seconds with 0 <= start < end");
        }
    }
    *path = tr_path_join(s->videos, own ? own : name);
    if (!*path) {
        tr_fail(err, TR_MEMORY, where, "out of memory");
        return TR_MEMORY;
    }
    return TR_OK;
}

static tr_status clips_add(tr_scorer *s, const char *path, const double range_s[2], const char *where,
                           tr_error *err)
{
    clips *c = &s->clips;
    tr_video_options options = s->video;
    tr_clip *clip;
    options.start_s = range_s[0];
    options.end_s = range_s[1];
    tr_status status = tr_clip_open(path, &options, s->caching ? &s->cache : NULL, &clip, err);
    if (status) {
        if (err && err->where[0]) { /* the row is the place; the file belongs to the message */
            tr_fail_context(err, status, "%s", path);
            err->where[0] = 0;
        }
        return tr_fail_where(err, status, "%s", where);
    }
    size_t i = c->count++;
    c->items[i] = clip;
    c->grids[i][0] = clip->grid_t;
    c->grids[i][1] = clip->grid_h;
    c->grids[i][2] = clip->grid_w;
    c->seconds_per_grid[i] = clip->second_per_grid;
    c->tokens[i] = clip->tokens;
    c->all_tokens += clip->tokens;
    int64_t grid = (int64_t)clip->grid_h * clip->grid_w;
    c->largest_grid = grid > c->largest_grid ? grid : c->largest_grid;
    return TR_OK;
}

/* Opens the clips of all video parts, unless they are those of the row before, and sets the parts' tokens. */
static tr_status open_clips(tr_scorer *s, const json_t *row, const char *where, row_state *r, tr_error *err)
{
    clips *c = &s->clips;
    size_t count = r->chat.part_count, videos = 0;
    char **paths = tr_calloc(count, sizeof *paths);
    double(*ranges)[2] = tr_calloc(count, sizeof *ranges);
    uint64_t key = 0;
    tr_status status = TR_OK;
    if (!paths || !ranges) {
        status = TR_MEMORY;
        tr_fail(err, status, where, "out of memory");
    }
    for (size_t i = 0; !status && i < count; i++) {
        if (r->chat.parts[i].kind == TR_CHAT_IMAGE) {
            status = tr_fail(err, TR_UNSUPPORTED, where, "images are not supported here; expected text and videos");
        } else if (r->chat.parts[i].kind == TR_CHAT_VIDEO) {
            TR_TRY(part_path(s, row, &r->chat.parts[i], where, &paths[videos], ranges[videos], err));
            uint64_t words[4] = {key, tr_hash_text(paths[videos])};
            memcpy(words + 2, ranges[videos], sizeof ranges[videos]);
            key = tr_hash(words, sizeof words);
            videos++;
        }
    }
    if (!status && (key != c->key || videos != c->count)) {
        clips_clear(c);
        c->items = tr_calloc(videos, sizeof(tr_clip *));
        c->grids = tr_calloc(videos, sizeof *c->grids);
        c->seconds_per_grid = tr_calloc(videos, sizeof *c->seconds_per_grid);
        c->tokens = tr_calloc(videos, sizeof *c->tokens);
        if (!c->items || !c->grids || !c->seconds_per_grid || !c->tokens) {
            status = TR_MEMORY;
            tr_fail(err, status, where, "out of memory for the clips of this row");
        }
        for (size_t i = 0; !status && i < videos; i++) {
            status = clips_add(s, paths[i], ranges[i], where, err);
        }
        c->key = status ? 0 : key;
    }
    for (size_t i = 0, video = 0; !status && i < count; i++) {
        if (r->chat.parts[i].kind == TR_CHAT_VIDEO) {
            r->chat.parts[i].tokens = c->tokens[video++];
        }
    }
done:
    if (status) {
        clips_clear(c);
    }
    for (size_t i = 0; paths && i < count; i++) {
        free(paths[i]);
    }
    free(paths);
    free(ranges);
    return status;
}

static tr_status make_features(tr_scorer *s, const char *where, tr_error *err)
{
    clips *c = &s->clips;
    size_t hidden = (size_t)s->model->config.hidden, bytes;
    if (!c->all_tokens || c->features) {
        return TR_OK;
    }
    if (!tr_size_mul((size_t)c->all_tokens, hidden * sizeof(float), &bytes)) {
        return tr_fail(err, TR_MEMORY, where, "the clips of this row do not fit in memory");
    }
    float *patches = tr_calloc_aligned(4 * (size_t)c->all_tokens, 1176 * sizeof *patches);
    c->features = tr_calloc_aligned(bytes, 1);
    tr_status status = patches && c->features
                           ? TR_OK
                           : tr_fail(err, TR_MEMORY, where, "out of memory for the patches of this row's clips");
    float *at = patches;
    for (size_t i = 0; !status && i < c->count; i++) {
        status = tr_clip_patches(c->items[i], at, err);
        at += 4 * c->tokens[i] * 1176;
    }
    const tr_visual visual = {patches, 4 * c->all_tokens, (const int32_t(*)[3])c->grids, (int64_t)c->count};
    status = status ? status : tr_network_vision_forward(s->network, &visual, false, c->features, err);
    for (size_t i = 0; i < c->count; i++) {
        tr_clip_free(c->items[i]);
        c->items[i] = NULL;
    }
    free(patches);
    if (status) {
        clips_clear(c);
    }
    return status;
}

/* ---- responses ---- */

static tr_status add_text(const tr_scorer *s, const json_t *text, const char *where, row_state *r, tr_error *err)
{
    size_t before = r->answers.count;
    tr_status status;
    TR_TRY(tr_tokenizer_encode(s->tokenizer, json_string_value(text), json_string_length(text), s->special,
                               &r->answers, err));
    if (s->end_token && !s->model->config.end_count) {
        status = tr_fail(err, TR_MISMATCH, s->model->directory, "the checkpoint names no end token");
        goto done;
    }
    if (s->end_token) {
        TR_TRY(tr_ids_add(&r->answers, (int32_t)s->model->config.end_ids[0], err));
    }
    r->lengths[r->responses++] = (int64_t)(r->answers.count - before);
done:
    return status ? tr_fail_where(err, status, "%s", where) : TR_OK;
}

static tr_status add_list(const tr_scorer *s, const json_t *ids, const char *where, row_state *r, tr_error *err)
{
    size_t i;
    const json_t *id;
    json_array_foreach(ids, i, id)
    {
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value >= s->model->config.vocab) {
            char found[32];
            snprintf(found, sizeof found, "%lld", (long long)value);
            return tr_fail(
                err, TR_FORMAT, where, "\"response_ids\": entry %zu must be an id from 0 to %lld, found %s", i + 1,
                (long long)s->model->config.vocab - 1, json_is_integer(id) ? found : tr_json_type_name(id));
        }
        tr_status status = tr_ids_add(&r->answers, (int32_t)value, err);
        if (status) {
            return status;
        }
    }
    r->lengths[r->responses++] = (int64_t)json_array_size(ids);
    return TR_OK;
}

static tr_status find_responses(const json_t *row, const char *where, const json_t **given, bool *ids, bool *list,
                                tr_error *err)
{
    static const char *const names[] = {"response", "responses", "response_ids"};
    int which = -1;
    for (int i = 0; i < 3; i++) {
        const json_t *one = json_object_get(row, names[i]);
        if (one && which >= 0) {
            return tr_fail(err, TR_FORMAT, where, "the row has both \"%s\" and \"%s\"; one of them is enough",
                           names[which], names[i]);
        }
        if (one) {
            which = i;
            *given = one;
        }
    }
    if (which < 0) {
        return tr_fail(err, TR_FORMAT, where,
                       "the row has no answer: expected \"response\", \"responses\" or \"response_ids\"");
    }
    *ids = which == 2;
    *list = which == 1 || (*ids && json_is_array(json_array_get(*given, 0)));
    if (which ? !json_is_array(*given) : !json_is_string(*given)) {
        return tr_fail(err, TR_FORMAT, where, "\"%s\" must be %s, found %s", names[which],
                       which ? "a list" : "a string", tr_json_type_name(*given));
    }
    return TR_OK;
}

static tr_status read_responses(const tr_scorer *s, const json_t *row, const char *where, row_state *r,
                                tr_error *err)
{
    const json_t *given = NULL;
    bool ids = false;
    tr_status status = find_responses(row, where, &given, &ids, &r->list, err);
    if (status) {
        return status;
    }
    size_t count = r->list ? json_array_size(given) : 1;
    r->lengths = tr_calloc(count, sizeof *r->lengths);
    if (!r->lengths) {
        return tr_fail(err, TR_MEMORY, where, "out of memory");
    }
    for (size_t i = 0; !status && i < count; i++) {
        const json_t *one = r->list ? json_array_get(given, i) : given;
        if (ids ? !json_is_array(one) : !json_is_string(one)) {
            return tr_fail(err, TR_FORMAT, where, "response %zu must be %s, found %s", i + 1,
                           ids ? "a list of ids" : "a string", tr_json_type_name(one));
        }
        status = ids ? add_list(s, one, where, r, err) : add_text(s, one, where, r, err);
    }
    return status;
}

/* ---- the forward ---- */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The network for this row: the one there is, or a larger one. */
static tr_status fit_network(tr_scorer *s, const row_state *r, tr_error *err)
{
    const tr_network_limits *old = &s->limits;
    tr_network_limits need = {.patches = larger(old->patches, 4 * s->clips.all_tokens),
                              .largest_grid = larger(old->largest_grid, s->clips.largest_grid),
                              .prompt_tokens = larger(old->prompt_tokens, (int64_t)r->prompt.count),
                              .response_tokens = larger(old->response_tokens, (int64_t)r->answers.count),
                              .responses = larger(old->responses, (int64_t)r->responses)};
    need.targets = need.response_tokens;
    if (s->network && need.patches == old->patches && need.largest_grid == old->largest_grid &&
        need.prompt_tokens == old->prompt_tokens && need.response_tokens == old->response_tokens &&
        need.responses == old->responses) {
        return TR_OK;
    }
    tr_network_free(s->network);
    s->network = NULL;
    s->limits = need;
    tr_status status = tr_network_create(s->model, &need, &s->network, err);
    if (status) {
        s->limits = (tr_network_limits){0};
    }
    return status;
}

static tr_status check_length(const tr_scorer *s, const row_state *r, const char *where, tr_error *err)
{
    int64_t longest = 0, context = s->model->config.max_positions;
    for (size_t i = 0; i < r->responses; i++) {
        longest = larger(longest, r->lengths[i]);
    }
    if ((int64_t)r->prompt.count + longest > context) {
        return tr_fail(err, TR_INVALID, where,
                       "the prompt has %zu tokens (%lld of them video) and the response %lld, the model's context "
                       "%lld; lower the frames or pixels of the clip or shorten the text",
                       r->prompt.count, (long long)s->clips.all_tokens, (long long)longest, (long long)context);
    }
    return TR_OK;
}

static tr_status forward(tr_scorer *s, const char *where, row_state *r, tr_error *err)
{
    int64_t prompt = (int64_t)r->prompt.count, live = 0;
    int64_t *lengths = tr_calloc(r->responses, sizeof *lengths);
    r->positions = tr_calloc((size_t)prompt, 3 * sizeof *r->positions);
    r->logp = tr_calloc(r->answers.count, sizeof *r->logp);
    r->entropy = tr_calloc(r->answers.count, sizeof *r->entropy);
    tr_status status = TR_OK;
    if (!lengths || !r->positions || !r->logp || !r->entropy) {
        status = tr_fail(err, TR_MEMORY, where, "out of memory");
        goto done;
    }
    for (size_t i = 0; i < r->responses; i++) { /* an empty response has the log-probability 0 and no row */
        if (r->lengths[i]) {
            lengths[live++] = r->lengths[i];
        }
    }
    if (!live) {
        goto done;
    }
    TR_TRY(fit_network(s, r, err));
    TR_TRY(make_features(s, where, err));
    TR_TRY(tr_positions(&s->model->config, r->prompt.data, prompt, (const int32_t(*)[3])s->clips.grids,
                        (int64_t)s->clips.count, s->clips.seconds_per_grid, r->positions, NULL, err));
    const tr_group group = {.prompt_ids = r->prompt.data,
                            .positions = r->positions,
                            .prompt = prompt,
                            .features = s->clips.features,
                            .visual_tokens = s->clips.all_tokens,
                            .response_ids = r->answers.data,
                            .lengths = lengths,
                            .responses = live};
    TR_TRY(tr_network_group_forward(s->network, &group, (float)s->temperature, false, r->logp, r->entropy, err));
    if (!s->model->host_ops->all_finite(r->logp, (int64_t)r->answers.count)) {
        status =
            tr_fail(err, TR_NUMERIC, where, "a log-probability is not finite: the checkpoint's weights are broken");
    }
done:
    free(lengths);
    return status ? tr_fail_where(err, status, "%s", where) : TR_OK;
}

static json_t *result(const tr_scorer *s, const json_t *row, const row_state *r, size_t index, int64_t at)
{
    json_t *out = json_object(), *ids = json_array(), *logprobs = json_array(), *entropies = json_array();
    double sum = 0;
    for (int64_t i = at; i < at + r->lengths[index]; i++) {
        json_array_append_new(ids, json_integer(r->answers.data[i]));
        json_array_append_new(logprobs, json_real((double)r->logp[i]));
        json_array_append_new(entropies, json_real((double)r->entropy[i]));
        sum += (double)r->logp[i];
    }
    if (json_object_get(row, "id")) {
        json_object_set(out, "id", json_object_get(row, "id"));
    }
    if (r->list) {
        json_object_set_new(out, "response", json_integer((json_int_t)index));
    }
    json_object_set_new(out, "ids", ids);
    json_object_set_new(out, "logprobs", logprobs);
    if (s->entropy) {
        json_object_set(out, "entropies", entropies);
    }
    json_decref(entropies);
    json_object_set_new(out, "sum", json_real(sum));
    return out;
}

tr_status tr_scorer_row(tr_scorer *s, const json_t *row, const char *where, json_t **results, tr_error *err)
{
    row_state r = {0};
    tr_chat_options options = {.generation_prompt = true};
    tr_status status;
    *results = NULL;
    if (!json_is_object(row)) {
        return tr_fail(err, TR_FORMAT, where, "a row must be an object, found %s", tr_json_type_name(row));
    }
    TR_TRY(read_responses(s, row, where, &r, err));
    TR_TRY(build_messages(s, row, where, &r, err));
    TR_TRY(open_clips(s, row, where, &r, err));
    TR_TRY(tr_prompt_build(s->tokenizer, r.chat.messages, r.chat.message_count, &options, &r.prompt, err));
    TR_TRY(check_length(s, &r, where, err));
    TR_TRY(forward(s, where, &r, err));
    *results = json_array();
    int64_t at = 0;
    for (size_t i = 0; i < r.responses; i++) {
        if (json_array_append_new(*results, result(s, row, &r, i, at))) {
            status = tr_fail(err, TR_MEMORY, where, "out of memory for the results");
            goto done;
        }
        at += r.lengths[i];
    }
done:
    row_clear(&r);
    if (status) {
        json_decref(*results);
        *results = NULL;
        tr_fail_where(err, status, "%s", where);
    }
    return status;
}

/* ---- opening ---- */

static tr_status open_prompts(tr_scorer *s, const char *name, tr_error *err)
{
    size_t length = strlen(name);
    if (!strchr(name, '/') && !(length > 5 && !strcmp(name + length - 5, ".yaml"))) {
        return tr_prompts_builtin(name, &s->prompts, err);
    }
    tr_buffer text = {0};
    tr_status status = tr_file_read(name, 1 << 20, &text, err);
    status = status ? status : tr_prompts_parse(tr_buffer_text(&text), text.length, name, &s->prompts, err);
    tr_buffer_free(&text);
    return status;
}

void tr_scorer_set(tr_scorer *s, double temperature, bool special, bool end_token, bool entropy)
{
    s->temperature = temperature > 0 ? temperature : 1;
    s->special = special;
    s->end_token = end_token;
    s->entropy = entropy;
}

tr_status tr_scorer_open(const tr_scorer_options *o, tr_scorer **scorer, tr_error *err)
{
    const tr_model_config *m = &o->model->config;
    tr_scorer *s = tr_calloc(1, sizeof *s);
    tr_status status;
    *scorer = NULL;
    if (!s || !(s->videos = tr_strdup(o->videos ? o->videos : ""))) {
        free(s);
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    s->model = o->model;
    tr_scorer_set(s, o->temperature, o->special, o->end_token, o->entropy);
    s->video = tr_video_options_default();
    s->video.fps = o->video.fps;
    s->video.min_frames = (int)o->video.min_frames;
    s->video.max_frames = (int)o->video.max_frames;
    s->video.total_pixels = o->video.total_pixels;
    s->video.min_pixels = o->video.min_pixels;
    TR_TRY(tr_chat_check_template(o->tokenizer, err));
    TR_TRY(tr_tokenizer_load(o->tokenizer, &s->tokenizer, err));
    TR_TRY(tr_tokenizer_check_model(s->tokenizer, m->vocab, m->image_id, m->video_id, m->vision_start_id,
                                    m->vision_end_id, err));
    TR_TRY(open_prompts(s, o->prompt ? o->prompt : "no-think", err));
    if (o->video.cache) {
        TR_TRY(tr_video_cache_open(&s->cache, o->video.cache, (int64_t)o->video.cache_bytes, err));
        s->caching = true;
    }
    *scorer = s;
done:
    if (status) {
        tr_scorer_free(s);
    }
    return status;
}

void tr_scorer_free(tr_scorer *s)
{
    if (s) {
        clips_clear(&s->clips);
        tr_network_free(s->network);
        if (s->caching) {
            tr_video_cache_close(&s->cache);
        }
        tr_prompts_free(&s->prompts);
        tr_tokenizer_free(s->tokenizer);
        free(s->videos);
        free(s);
    }
}
