/* source.c: corpus rows as model inputs: clip, prompt, positions, reward.
 *
 * A source reads and checks every row when it is opened, so that a bad row stops a run before its first step; clips
 * are opened when their row is loaded, or before by other threads when the rows to come are known, through the
 * cache on disk. Never runs the network. */
#include "input/sample.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/yaml.h"
#include "corpus/rows.h"
#include "task/prompt.h"
#include "task/row.h"
#include "text/chat.h"
#include "video/ahead.h"
#include "video/cache.h"
#include "video/clip.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How rows are asked and scored. */
typedef struct style {
    char *scheme_name, *prompt_name;
    tr_prompts prompts;
    tr_scheme scheme;
} style;

/* One `data` entry: its rows, and how those are asked and scored that do not say it themselves. */
typedef struct entry {
    char *videos;
    style style;
    tr_row_list rows;
} entry;

typedef struct self {
    tr_source source; /* first: a tr_source * is a self * */
    const tr_model_config *model;
    tr_tokenizer *tokenizer;
    tr_video_options video;
    tr_video_cache cache;
    bool caching;
    entry *entries;
    size_t entry_count;
    style **own; /* those that rows name with "scheme" and "prompt_set" */
    size_t own_count, own_capacity;
    const style **style_of; /* [rows] */
    int32_t *entry_of;      /* [rows] */
    int64_t *row_of;        /* [rows] index within the entry */
    uint64_t *shared;       /* [rows] */
    double *weights, *scores;
    uint8_t *banned;
    tr_truth_holder truth;
    json_t *stand_in; /* for a question: the row with a truth made up, so that answers can be parsed; else NULL */
    tr_arena arena;
    tr_clip *clip; /* the one opened last: load and patches of a row come one after the other */
    uint64_t clip_key;
    tr_clip_queue *queue; /* clips opened ahead; NULL: none are */
} self;

static self *of(tr_source *source)
{
    return source->self;
}

static const tr_row *row_at(const self *s, int64_t row)
{
    return &s->entries[s->entry_of[row]].rows.items[s->row_of[row]];
}

/* ---- prompts ---- */

/* The ids of a row's prompt with `tokens` placeholders for its clip. */
static tr_status build_prompt(const self *s, int64_t row, int64_t tokens, tr_ids *ids, tr_error *err)
{
    const tr_row *r = row_at(s, row);
    const style *e = s->style_of[row];
    tr_buffer system = {0}, user = {0};
    tr_task task;
    tr_status status;
    TR_TRY(tr_task_from_name(r->task, &task, err));
    TR_TRY(tr_prompt_render(&e->prompts, task, r->json, r->id, &system, &user, err));
    tr_chat_part system_part = tr_chat_text(tr_buffer_text(&system));
    tr_chat_part user_parts[2] = {tr_chat_video(tokens), tr_chat_text(tr_buffer_text(&user))};
    tr_chat_message messages[2] = {{TR_CHAT_SYSTEM, &system_part, 1}, {TR_CHAT_USER, user_parts, 2}};
    int without_system = system.length == 0;
    tr_chat_options options = {.generation_prompt = true};
    TR_TRY(
        tr_prompt_build(s->tokenizer, messages + without_system, (size_t)(2 - without_system), &options, ids, err));
done:
    tr_buffer_free(&system);
    tr_buffer_free(&user);
    if (status) {
        tr_fail_where(err, status, "%s", r->id);
    }
    return status;
}

/* The text that SFT learns: the row's own response, else the scheme's template filled from the truth. */
static tr_status target_text(self *s, int64_t row, tr_buffer *out, tr_error *err)
{
    const tr_row *r = row_at(s, row);
    const style *e = s->style_of[row];
    const char *own = NULL;
    tr_status status = tr_json_get_string(r->json, "response", false, r->id, &own, err);
    if (status || own) {
        return status ? status : tr_buffer_add_text(out, own, err);
    }
    tr_task task;
    TR_TRY(tr_task_from_name(r->task, &task, err));
    TR_TRY(tr_truth_from_json(r->json, task, r->id, &s->truth, err));
    TR_TRY(tr_reward_target(&e->scheme, task, &s->truth.truth, NULL, out, err));
done:
    return status;
}

static tr_status add_end_token(const self *s, tr_ids *ids, tr_error *err)
{
    size_t count;
    const int32_t *ends = tr_tokenizer_end_ids(s->tokenizer, &count);
    if (!count) {
        return tr_fail(err, TR_MISMATCH, tr_tokenizer_directory(s->tokenizer), "the tokenizer has no end token");
    }
    return tr_ids_add(ids, ends[0], err);
}

static tr_status build_target(self *s, int64_t row, tr_buffer *text, tr_ids *ids, tr_error *err)
{
    tr_status status;
    TR_TRY(target_text(s, row, text, err));
    TR_TRY(tr_tokenizer_encode(s->tokenizer, tr_buffer_text(text), text->length, false, ids, err));
    TR_TRY(add_end_token(s, ids, err));
done:
    return status;
}

/* ---- the functions of a source ---- */

/* The clip of a row: its file (free() frees the path), its part of the video, and its key. */
static tr_status wish_for(const self *s, int64_t row, char **path, tr_clip_wish *wish, tr_error *err)
{
    const tr_row *r = row_at(s, row);
    *path = tr_row_video_path(r, s->entries[s->entry_of[row]].videos);
    if (!*path) {
        return tr_fail(err, TR_MEMORY, r->id, "out of memory");
    }
    uint64_t parts[3] = {tr_hash_text(*path)};
    memcpy(parts + 1, r->clip_s, sizeof r->clip_s);
    *wish = (tr_clip_wish){.path = *path, .options = s->video, .key = tr_hash(parts, sizeof parts)};
    if (r->clip_s[1] > 0) {
        wish->options.start_s = r->clip_s[0];
        wish->options.end_s = r->clip_s[1];
    }
    return TR_OK;
}

static tr_status open_clip(self *s, int64_t row, tr_error *err)
{
    char *path;
    tr_clip_wish wish;
    tr_status status = wish_for(s, row, &path, &wish, err);
    if (!status && (!s->clip || s->clip_key != wish.key)) {
        bool found = false;
        tr_clip_free(s->clip);
        s->clip = NULL;
        if (s->queue) {
            status = tr_clip_queue_take(s->queue, wish.key, &found, &s->clip, &s->source.decode_s, err);
        }
        if (!found) {
            double start = tr_time_s();
            status = tr_clip_open(path, &wish.options, s->caching ? &s->cache : NULL, &s->clip, err);
            s->source.decode_s += tr_time_s() - start;
        }
        s->clip_key = wish.key;
        if (status) {
            tr_fail_context(err, status, "row %s", row_at(s, row)->id);
        }
    }
    free(path);
    return status;
}

/* Neighbours with the same clip, and the clip that is open now, need no second one. A list that finds no memory
 * costs time, not the run. */
static void ahead(tr_source *source, const int64_t *rows, int64_t count)
{
    self *s = of(source);
    size_t used = 0;
    tr_clip_wish *wishes = s->queue ? tr_calloc((size_t)count, sizeof *wishes) : NULL;
    char **paths = wishes ? tr_calloc((size_t)count, sizeof *paths) : NULL;
    uint64_t before = s->clip_key;
    bool open = s->clip != NULL;
    for (int64_t i = 0; paths && i < count; i++) {
        if (wish_for(s, rows[i], &paths[used], &wishes[used], NULL)) {
            break;
        }
        bool again = open && wishes[used].key == before;
        before = wishes[used].key;
        open = true;
        if (again) {
            free(paths[used]);
        } else {
            used++;
        }
    }
    if (paths) {
        (void)tr_clip_queue_wish(s->queue, wishes, used, NULL);
    }
    for (size_t i = 0; paths && i < used; i++) {
        free(paths[i]);
    }
    free(paths);
    free(wishes);
}

static tr_status set_positions(const self *s, tr_sample *sample, tr_error *err)
{
    double second_per_grid = s->clip->second_per_grid;
    sample->grids = tr_calloc(1, sizeof *sample->grids);
    sample->positions = tr_calloc((size_t)sample->prompt, 3 * sizeof *sample->positions);
    if (!sample->grids || !sample->positions) {
        return tr_fail(err, TR_MEMORY, sample->id, "out of memory");
    }
    sample->grids[0][0] = s->clip->grid_t;
    sample->grids[0][1] = s->clip->grid_h;
    sample->grids[0][2] = s->clip->grid_w;
    sample->visual = (tr_visual){
        .rows = 4 * sample->visual_tokens, .grids = (const int32_t(*)[3])sample->grids, .grid_count = 1};
    return tr_positions(s->model, sample->prompt_ids, sample->prompt, sample->visual.grids, 1, &second_per_grid,
                        sample->positions, NULL, err);
}

static tr_status load(tr_source *source, int64_t row, bool target, tr_sample *sample, tr_error *err)
{
    self *s = of(source);
    const tr_row *r = row_at(s, row);
    tr_ids prompt = {0}, answer = {0};
    tr_buffer text = {0};
    tr_status status;
    *sample = (tr_sample){
        .row = row, .id = r->id, .task = r->task, .scheme = s->style_of[row]->scheme_name, .truth = r->json};
    TR_TRY(open_clip(s, row, err));
    sample->clip_key = s->clip_key;
    sample->duration_s = r->duration_s > 0  ? r->duration_s
                         : r->clip_s[1] > 0 ? r->clip_s[1] - r->clip_s[0]
                                            : s->clip->duration_s;
    sample->shown_s = s->clip->duration_s;
    if (r->clip_s[1] > 0) {
        sample->shown_s = fmin(r->clip_s[1], s->clip->duration_s) - r->clip_s[0];
    }
    sample->visual_tokens = s->clip->tokens;
    TR_TRY(build_prompt(s, row, sample->visual_tokens, &prompt, err));
    sample->prompt_ids = prompt.data;
    sample->prompt = (int64_t)prompt.count;
    prompt = (tr_ids){0};
    if (sample->prompt > s->model->max_positions) {
        status = tr_fail(err, TR_INVALID, r->id,
                         "the prompt has %lld tokens (%lld of them video), the model's context %lld; lower "
                         "video.total_pixels or video.max_frames",
                         (long long)sample->prompt, (long long)sample->visual_tokens,
                         (long long)s->model->max_positions);
        goto done;
    }
    TR_TRY(set_positions(s, sample, err));
    if (target) {
        TR_TRY(build_target(s, row, &text, &answer, err));
        sample->target = tr_strdup(tr_buffer_text(&text));
        sample->target_ids = answer.data;
        sample->target_count = (int64_t)answer.count;
        answer = (tr_ids){0};
    }
done:
    tr_ids_free(&prompt);
    tr_ids_free(&answer);
    tr_buffer_free(&text);
    if (status) {
        tr_sample_clear(sample);
    }
    return status;
}

static tr_status patches(tr_source *source, tr_sample *sample, tr_error *err)
{
    self *s = of(source);
    tr_status status = open_clip(s, sample->row, err);
    if (status) {
        return status;
    }
    if (!tr_sample_take_patches(sample)) {
        return tr_fail(err, TR_MEMORY, sample->id, "out of memory for the patches of this clip");
    }
    return tr_clip_patches(s->clip, sample->patches, err);
}

static tr_status text_of(tr_source *source, const int32_t *ids, int64_t count, tr_buffer *text, tr_error *err)
{
    return tr_tokenizer_decode(of(source)->tokenizer, ids, (size_t)count, false, text, err);
}

static double weight_of(const tr_scheme_task *how, tr_part part)
{
    double weight = 0;
    for (size_t i = 0; i < how->term_count; i++) {
        weight += how->terms[i].part == part ? how->terms[i].weight : 0;
    }
    return weight;
}

static tr_status fill_score(const tr_reward *reward, const tr_scheme_task *how, tr_task task, tr_score *score,
                            tr_error *err)
{
    score->reward = reward->total;
    for (int p = 0; p < TR_PART_COUNT && score->part_count < TR_SCORE_PARTS; p++) {
        if (reward->present & 1u << p) {
            snprintf(score->parts[score->part_count].name, sizeof score->parts[0].name, "%s",
                     tr_part_name((tr_part)p));
            score->parts[score->part_count].weight = weight_of(how, (tr_part)p);
            score->parts[score->part_count++].value = reward->parts[p];
        }
    }
    score->format = reward->parts[TR_PART_FORMAT] >= 1;
    score->parsed = tr_reward_parsed_json(reward, task);
    snprintf(score->error, sizeof score->error, "%s", reward->parsed || !reward->error ? "" : reward->error);
    return score->parsed ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
}

static tr_status score(tr_source *source, const tr_sample *sample, const char *text, size_t length, bool stopped,
                       tr_score *out, tr_error *err)
{
    self *s = of(source);
    const style *e = s->style_of[sample->row];
    tr_task task;
    tr_reward reward;
    tr_status status;
    (void)stopped; /* a truncated response fails its template by itself */
    TR_TRY(tr_task_from_name(sample->task, &task, err));
    TR_TRY(tr_truth_from_json(s->stand_in ? s->stand_in : sample->truth, task, sample->id, &s->truth, err));
    s->truth.truth.duration_s = sample->duration_s;
    tr_arena_reset(&s->arena, 0);
    size_t need = tr_reward_arena_bytes(s->truth.truth.count);
    if (need > s->arena.size) {
        tr_arena_free(&s->arena);
        TR_TRY(tr_arena_init(&s->arena, 2 * need, err));
    }
    TR_TRY(tr_reward_score(&e->scheme, task, text, length, (size_t)out->tokens, &s->truth.truth, &s->arena, &reward,
                           err));
    TR_TRY(fill_score(&reward, &e->scheme.tasks[task], task, out, err));
    if (s->stand_in) { /* what was understood is known, what it earns is not */
        out->reward = 0;
        out->part_count = 0;
    }
done:
    return status;
}

static void free_style(style *e)
{
    free(e->scheme_name);
    free(e->prompt_name);
    tr_prompts_free(&e->prompts);
}

static void free_source(tr_source *source)
{
    self *s = of(source);
    for (size_t i = 0; s->entries && i < s->entry_count; i++) {
        entry *e = &s->entries[i];
        free(e->videos);
        free_style(&e->style);
        tr_row_list_free(&e->rows);
    }
    for (size_t i = 0; i < s->own_count; i++) {
        free_style(s->own[i]);
        free(s->own[i]);
    }
    free(s->own);
    free(s->style_of);
    free(s->entries);
    free(s->entry_of);
    free(s->row_of);
    free(s->scores);
    free(s->shared);
    free(s->weights);
    free(s->banned);
    tr_clip_free(s->clip);
    tr_clip_queue_free(s->queue);
    if (s->caching) {
        tr_video_cache_close(&s->cache);
    }
    tr_truth_holder_free(&s->truth);
    json_decref(s->stand_in);
    tr_arena_free(&s->arena);
    tr_tokenizer_free(s->tokenizer);
    free(s);
}

static const json_t *row_json(const tr_source *source, int64_t row)
{
    return row_at(source->self, row)->json;
}

static const tr_source_functions functions = {load, patches, text_of, score, free_source, ahead};

/* ---- opening ---- */

/* Built-in prompts and schemes have plain names; a file of the user's own has a slash or says what it is. */
static bool is_file_name(const char *name)
{
    size_t length = strlen(name);
    return strchr(name, '/') || (length > 5 && !strcmp(name + length - 5, ".yaml"));
}

static tr_status read_prompts(const char *name, tr_prompts *prompts, tr_error *err)
{
    if (!is_file_name(name)) {
        return tr_prompts_builtin(name, prompts, err);
    }
    tr_buffer text = {0};
    tr_status status = tr_file_read(name, 1 << 20, &text, err);
    if (!status) {
        status = tr_prompts_parse(tr_buffer_text(&text), text.length, name, prompts, err);
    }
    tr_buffer_free(&text);
    return status;
}

/* name outlives the scheme. */
static tr_status read_scheme(const char *name, tr_scheme *scheme, tr_error *err)
{
    const tr_scheme *found;
    json_t *file = NULL;
    tr_status status;
    if (is_file_name(name)) {
        status = tr_yaml_read(name, &file, NULL, err);
        status = status ? status : tr_scheme_from_json(file, name, scheme, err);
    } else if (!(status = tr_scheme_get(name, &found, err))) {
        *scheme = *found;
    }
    json_decref(file);
    return status;
}

static tr_status open_style(const char *scheme, const char *prompt, style *to, tr_error *err)
{
    tr_status status = TR_OK;
    to->scheme_name = tr_strdup(scheme);
    to->prompt_name = tr_strdup(prompt);
    if (!to->scheme_name || !to->prompt_name) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    TR_TRY(read_scheme(to->scheme_name, &to->scheme, err));
    TR_TRY(read_prompts(to->prompt_name, &to->prompts, err));
    tr_scheme_set_think(&to->scheme, to->prompts.think);
done:
    return status;
}

static tr_status open_entry(const tr_data_entry *from, entry *to, tr_error *err)
{
    to->videos = tr_strdup(from->videos ? from->videos : "");
    tr_status status = to->videos ? open_style(from->reward, from->prompt, &to->style, err)
                                  : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    return status && from->rows[0] ? tr_fail_context(err, status, "rows %s", from->rows) : status;
}

/* The style of these two names, opened when it is new. */
static tr_status find_style(self *s, const char *scheme, const char *prompt, const style **found, tr_error *err)
{
    for (size_t i = 0; i < s->own_count; i++) {
        if (!strcmp(s->own[i]->scheme_name, scheme) && !strcmp(s->own[i]->prompt_name, prompt)) {
            *found = s->own[i];
            return TR_OK;
        }
    }
    tr_status status = tr_grow(&s->own, &s->own_capacity, s->own_count + 1, sizeof(void *), err);
    style *made = status ? NULL : tr_calloc(1, sizeof *made);
    if (!made) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    s->own[s->own_count++] = made;
    *found = made;
    return open_style(scheme, prompt, made, err);
}

/* Its entry's, unless the row names another: files count from the current directory. */
static tr_status choose_style(self *s, int64_t row, tr_error *err)
{
    const tr_row *r = row_at(s, row);
    const style *e = &s->entries[s->entry_of[row]].style;
    const char *scheme = e->scheme_name, *prompt = e->prompt_name;
    tr_status status;
    TR_TRY(tr_json_get_string(r->json, "scheme", false, r->id, &scheme, err));
    TR_TRY(tr_json_get_string(r->json, "prompt_set", false, r->id, &prompt, err));
    s->style_of[row] = e;
    if (strcmp(scheme, e->scheme_name) != 0 || strcmp(prompt, e->prompt_name) != 0) {
        TR_TRY(find_style(s, scheme, prompt, &s->style_of[row], err));
    }
done:
    return status;
}

/* What rows must have in common to share a forward: the clip, and the prompt up to its end. Returns the number of
 * the prompt's tokens behind that. ids: the prompt with one placeholder. */
static int64_t note_shared(self *s, int64_t row, const char *path, const tr_ids *ids)
{
    const tr_row *r = row_at(s, row);
    size_t end = ids->count;
    while (end > 0 && ids->data[end - 1] != s->model->video_id) {
        end--;
    }
    uint64_t parts[4] = {tr_hash_text(path), tr_hash(ids->data, end * sizeof *ids->data)};
    memcpy(parts + 2, r->clip_s, sizeof r->clip_s);
    s->shared[row] = tr_hash(parts, sizeof parts);
    return (int64_t)(ids->count - end);
}

/* Every row must be one that its scheme and prompts can serve, with a clip that is there. */
static tr_status check_row(self *s, int64_t row, bool targets, tr_error *err)
{
    const tr_row *r = row_at(s, row);
    const entry *e = &s->entries[s->entry_of[row]];
    tr_ids ids = {0};
    tr_buffer text = {0};
    tr_task task;
    char *path = NULL;
    tr_status status;
    TR_TRY(tr_task_from_name(r->task, &task, err));
    TR_TRY(choose_style(s, row, err));
    if (!s->style_of[row]->scheme.tasks[task].defined) {
        status = tr_fail(err, TR_INVALID, r->id, "the reward scheme \"%s\" has no reward for the task \"%s\"",
                         s->style_of[row]->scheme_name, r->task);
        goto done;
    }
    path = tr_row_video_path(r, e->videos);
    if (!path || !tr_file_exists(path)) {
        status = tr_fail(err, TR_NOT_FOUND, r->id, "the video %s does not exist", path ? path : r->video);
        goto done;
    }
    TR_TRY(build_prompt(s, row, 1, &ids, err));
    int64_t prompt = (int64_t)ids.count - 1 + s->source.limits.patches / 4;
    s->source.limits.prompt_tokens =
        prompt > s->source.limits.prompt_tokens ? prompt : s->source.limits.prompt_tokens;
    if (targets) {
        tr_source_limits *limits = &s->source.limits;
        int64_t rest = note_shared(s, row, path, &ids);
        ids.count = 0;
        TR_TRY(build_target(s, row, &text, &ids, err));
        int64_t count = (int64_t)ids.count;
        limits->target_tokens = count > limits->target_tokens ? count : limits->target_tokens;
        limits->pair_tokens = rest + count > limits->pair_tokens ? rest + count : limits->pair_tokens;
    }
done:
    free(path);
    tr_ids_free(&ids);
    tr_buffer_free(&text);
    return status;
}

/* The most that one clip can become under the settings: spec section 6.4's budget, the least size winning over it.
 */
void tr_source_video_limits(const tr_video_settings *video, tr_source_limits *limits)
{
    int64_t least = video->min_pixels / 784 > 0 ? video->min_pixels / 784 : 1;
    int64_t frames = video->max_frames, budget = video->total_pixels / 784;
    int64_t smallest = frames / 2 * (int64_t)ceil((double)least * 1.05 + 1);
    int64_t tokens = budget > smallest ? budget : smallest;
    int64_t few = video->min_frames > 2 ? video->min_frames / 2 : 1;
    int64_t frame = budget / few < 768 ? budget / few : 768;
    limits->patches = 4 * tokens;
    limits->largest_grid = 4 * (frame > 2 * least + 2 ? frame : 2 * least + 2);
}

/* The rows' "score" (data select writes it), where any has one. */
static tr_status read_scores(self *s, tr_error *err)
{
    for (int64_t row = 0; row < s->source.rows; row++) {
        const json_t *value = json_object_get(row_at(s, row)->json, "score");
        if (!json_is_number(value)) {
            continue;
        }
        if (!s->scores) {
            s->scores = tr_calloc((size_t)s->source.rows, sizeof *s->scores);
            if (!s->scores) {
                return tr_fail(err, TR_MEMORY, NULL, "out of memory for the scores of %lld rows",
                               (long long)s->source.rows);
            }
            for (int64_t i = 0; i < s->source.rows; i++) {
                s->scores[i] = NAN;
            }
            s->source.scores = s->scores;
        }
        s->scores[row] = json_number_value(value);
    }
    return TR_OK;
}

static tr_status index_rows(self *s, tr_error *err)
{
    int64_t total = 0, at = 0;
    for (size_t i = 0; i < s->entry_count; i++) {
        total += (int64_t)s->entries[i].rows.count;
    }
    s->entry_of = tr_calloc((size_t)total, sizeof *s->entry_of);
    s->row_of = tr_calloc((size_t)total, sizeof *s->row_of);
    s->shared = tr_calloc((size_t)total, sizeof *s->shared);
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers is meant */
    s->style_of = tr_calloc((size_t)total, sizeof *s->style_of);
    if (!s->entry_of || !s->row_of || !s->shared || !s->style_of) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for an index of %lld rows", (long long)total);
    }
    for (size_t i = 0; i < s->entry_count; i++) {
        for (size_t j = 0; j < s->entries[i].rows.count; j++, at++) {
            s->entry_of[at] = (int32_t)i;
            s->row_of[at] = (int64_t)j;
        }
    }
    s->source.rows = total;
    s->source.entry = s->entry_of;
    return read_scores(s, err);
}

/* Everything but the rows. */
static tr_status prepare(const tr_source_options *options, self **out, tr_error *err)
{
    self *s = tr_calloc(1, sizeof *s);
    *out = s;
    if (!s) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    s->source.call = &functions;
    s->source.json = row_json;
    s->source.self = s;
    s->model = options->model;
    const tr_model_config *m = options->model;
    tr_status status;
    TR_TRY(tr_chat_check_template(options->tokenizer, err));
    TR_TRY(tr_tokenizer_load(options->tokenizer, &s->tokenizer, err));
    TR_TRY(tr_tokenizer_check_model(s->tokenizer, m->vocab, m->image_id, m->video_id, m->vision_start_id,
                                    m->vision_end_id, err));
    s->banned = tr_calloc((size_t)m->vocab, 1);
    s->entries = tr_calloc(options->entry_count, sizeof *s->entries);
    s->weights = tr_calloc(options->entry_count, sizeof *s->weights);
    s->entry_count = options->entry_count;
    if (!s->banned || !s->entries || !s->weights) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    tr_tokenizer_bans(s->tokenizer, (size_t)m->vocab, s->banned);
    s->video = tr_video_options_default();
    s->video.fps = options->video.fps;
    s->video.min_frames = (int)options->video.min_frames;
    s->video.max_frames = (int)options->video.max_frames;
    s->video.total_pixels = options->video.total_pixels;
    s->video.min_pixels = options->video.min_pixels;
    if (options->video.cache) {
        TR_TRY(tr_video_cache_open(&s->cache, options->video.cache, (int64_t)options->video.cache_bytes, err));
        s->caching = true;
    }
    if (options->video.decoders > 0) {
        TR_TRY(tr_clip_queue_create((int)options->video.decoders, options->video.ahead_bytes,
                                    s->caching ? &s->cache : NULL, &s->queue, err));
    }
    TR_TRY(tr_arena_init(&s->arena, 2 * tr_reward_arena_bytes(64), err));
    tr_source_video_limits(&options->video, &s->source.limits);
    for (size_t i = 0; i < options->entry_count; i++) {
        TR_TRY(open_entry(&options->entries[i], &s->entries[i], err));
        s->weights[i] = options->entries[i].weight;
    }
    s->source.banned = s->banned;
    s->source.weights = s->weights;
    s->source.entries = (int64_t)options->entry_count;
done:
    return status;
}

tr_status tr_source_open(const tr_source_options *options, tr_source **source, tr_error *err)
{
    self *s;
    *source = NULL;
    tr_status status;
    TR_TRY(prepare(options, &s, err));
    for (size_t i = 0; i < options->entry_count; i++) {
        TR_TRY(tr_row_list_read(options->entries[i].rows, &s->entries[i].rows, err));
    }
    TR_TRY(index_rows(s, err));
    s->source.shared = options->targets ? s->shared : NULL;
    for (int64_t row = 0; row < s->source.rows; row++) {
        status = check_row(s, row, options->targets, err);
        if (status) {
            const tr_row *r = row_at(s, row);
            if (err) {
                snprintf(err->where, sizeof err->where, "%s:%ld", options->entries[s->entry_of[row]].rows, r->line);
            }
            tr_fail_context(err, status, "row %s", r->id);
            goto done;
        }
    }
done:
    if (status && s) {
        free_source(&s->source);
    } else if (!status) {
        *source = &s->source;
    }
    return status;
}

/* The question with one interval for every query and an option: any truth will do for parsing. */
static json_t *make_stand_in(const json_t *row)
{
    json_t *copy = json_deep_copy(row), *segments = json_array();
    const char *task = json_string_value(json_object_get(row, "task"));
    size_t queries = json_array_size(json_object_get(row, "queries"));
    size_t count = task && !strcmp(task, "dtg") && queries ? queries : 1;
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(segments, json_pack("[f, f]", 0.0, 1.0));
    }
    json_object_set_new(copy, "segments", segments);
    json_object_set_new(copy, "answer", json_string("A"));
    return copy;
}

tr_status tr_source_open_row(const tr_source_options *options, const json_t *row, tr_source **source, tr_error *err)
{
    self *s;
    *source = NULL;
    tr_status status;
    TR_TRY(prepare(options, &s, err));
    entry *e = &s->entries[0];
    TR_TRY(tr_grow(&e->rows.items, &e->rows.capacity, 1, sizeof *e->rows.items, err));
    TR_TRY(tr_row_question(json_deep_copy(row), &e->rows.items[0], err));
    e->rows.count = 1;
    s->stand_in = make_stand_in(row);
    if (!s->stand_in) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory for a question");
        goto done;
    }
    TR_TRY(index_rows(s, err));
    TR_TRY(check_row(s, 0, false, err));
done:
    if (status && s) {
        free_source(&s->source);
    } else if (!status) {
        *source = &s->source;
    }
    return status;
}
