/* temporal_r1.c: Temporal-R1's settings (EasyR1's YAML and its command line) as a configuration of this program:
 * reads the files, chooses folder, prompt and rows, and puts what came of the settings through our own parser. */
#include "train/temporal_r1_parts.h"

#include "base/file.h"
#include "base/yaml.h"
#include "task/prompt.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the command line ---- */

/* worker.a, trainer.a, algorithm.a, data.a and config are theirs; data.0.a and all others are ours. */
static bool is_theirs(const char *word)
{
    return !strncmp(word, "worker.", 7) || !strncmp(word, "trainer.", 8) || !strncmp(word, "algorithm.", 10) ||
           !strncmp(word, "config=", 7) || (!strncmp(word, "data.", 5) && !isdigit((unsigned char)word[5]));
}

static tr_status lay_over(tr_r1_translation *t, const char *word)
{
    const char *equal = strchr(word, '=');
    json_t *value = NULL;
    if (!equal || equal == word) {
        return tr_fail(t->err, TR_INVALID, "command line", "'%s' is not of the form key=value", word);
    }
    char *key = tr_strndup(word, (size_t)(equal - word));
    if (!key) {
        return tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
    }
    /* A system prompt is text whatever it holds; what YAML cannot read is text too. */
    if (!strcmp(key, "data.system_prompt") || tr_yaml_value(equal + 1, &value, NULL)) {
        value = json_string(equal + 1);
    }
    tr_status status =
        value ? TR_OK : tr_fail(t->err, TR_FORMAT, "command line", "the value of %s is not valid UTF-8", key);
    if (value) {
        tr_r1_put(t->theirs, key, value);
    }
    free(key);
    return status;
}

/* ---- paths, prompt, data ---- */

/* The text with every ${a.b} replaced by that setting. Owned. */
static char *interpolate(const tr_r1_translation *t, const char *text)
{
    tr_buffer out = {0};
    for (const char *open; (open = strstr(text, "${"));) {
        const char *close = strchr(open, '}');
        char key[128], value[96];
        if (!close) {
            break;
        }
        snprintf(key, sizeof key, "%.*s", (int)(close - open - 2), open + 2);
        const json_t *found = tr_r1_at(t->theirs, key);
        tr_r1_print(found ? found : json_null(), value, sizeof value);
        tr_buffer_add(&out, text, (size_t)(open - text), NULL);
        tr_buffer_add_text(&out, value, NULL);
        text = close + 1;
    }
    tr_buffer_add_text(&out, text, NULL);
    return out.data;
}

static tr_status choose_out(tr_r1_translation *t)
{
    const char *own = tr_r1_own(t, "out"), *path = tr_r1_text(t, "trainer.save_checkpoint_path", NULL);
    char here[4096], *text = own ? tr_strdup(own)
                             : path
                                 ? interpolate(t, path)
                                 : tr_format("checkpoints/%s/%s", tr_r1_text(t, "trainer.project_name", "easy_r1"),
                                             tr_r1_text(t, "trainer.experiment_name", "demo"));
    if (text && getcwd(here, sizeof here)) {
        t->out = text[0] == '/' ? tr_strdup(text) : tr_path_join(here, text);
    }
    free(text);
    if (!t->out) {
        return tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
    }
    tr_r1_put(t->ours, "out", json_string(t->out));
    return TR_OK;
}

/* A line break with the spaces around it is one space, as when the shell's text went through YAML there. Owned. */
static char *fold(const char *text)
{
    char *out = tr_strdup(text), *to = out;
    for (const char *p = out; out && *p;) {
        const char *q = p;
        bool line = false;
        for (; isspace((unsigned char)*q); q++) {
            line = line || *q == '\n';
        }
        if (line) {
            if (to > out && *q) {
                *to++ = ' ';
            }
            p = q;
        } else if (q > p) {
            memmove(to, p, (size_t)(q - p));
            to += q - p;
            p = q;
        } else {
            *to++ = *p++;
        }
    }
    if (out) {
        *to = 0;
    }
    return out;
}

/* The prompt set of all entries: the built-in one, or one with the settings' own system text. */
static tr_status choose_prompt(tr_r1_translation *t, char **name)
{
    tr_prompts known = {0};
    char *system = fold(tr_r1_text(t, "data.system_prompt", "You are a helpful assistant."));
    json_t *set = NULL;
    tr_status status = system ? TR_OK : tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
    TR_TRY(status);
    TR_TRY(tr_prompts_builtin("temporal-r1", &known, t->err));
    if (!strcmp(system, known.tasks[TR_TASK_TG].system)) {
        *name = tr_strdup("temporal-r1");
        goto done;
    }
    *name = tr_format("%s/temporal-r1/prompt.yaml", t->out);
    set = json_pack("{s:s,s:s,s:s,s:{s:s}}", "name", "temporal-r1 with its own system text", "think", "required",
                    "system", system, "tasks", "tg", known.tasks[TR_TASK_TG].user);
    status = *name && set ? tr_json_write(*name, set, t->err) : tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
done:
    tr_prompts_free(&known);
    json_decref(set);
    free(system);
    return status;
}

/* Rows of the list that `key` names, with scheme and prompt, under `ours`. */
static tr_status one_list(tr_r1_translation *t, const char *key, const char *name, const char *ours,
                          const char *prompt, int64_t *rows)
{
    const char *path = tr_r1_text(t, key, NULL);
    char *found = NULL, *folder = tr_format("%s/temporal-r1", t->out);
    json_t *entries = json_array(), *entry;
    size_t i, n = path ? strlen(path) : 0;
    tr_status status;
    if (!path || n < 5 || strcmp(path + n - 5, ".yaml") != 0) {
        status = tr_fail(t->err, TR_UNSUPPORTED, t->path,
                         "%s must name a YAML file with `datasets:` (docs/temporal-r1.md), found '%s'", key,
                         path ? path : "none");
        goto done;
    }
    TR_TRY(folder && entries ? TR_OK : tr_fail(t->err, TR_MEMORY, NULL, "out of memory"));
    TR_TRY(tr_temporal_r1_find(path, t->path, key, &found, t->err));
    TR_TRY(tr_temporal_r1_rows(found, folder, name, (uint64_t)tr_r1_number(t, "data.seed", 1), entries, rows,
                               &t->run->rows, t->err));
    json_array_foreach(entries, i, entry)
    {
        json_object_set_new(entry, "reward", json_string("temporal-r1"));
        json_object_set_new(entry, "prompt", json_string(prompt));
    }
    json_object_set(t->ours, ours, entries);
done:
    free(found);
    free(folder);
    json_decref(entries);
    return status;
}

enum { NEVER = 100000 }; /* a run that validates less often does not validate: its script says 5,000,000 */

static tr_status make_data(tr_r1_translation *t)
{
    char *prompt = NULL, *folder = tr_format("%s/temporal-r1", t->out);
    double every = tr_r1_number(t, "trainer.val_freq", -1);
    int64_t eval_rows = 0;
    tr_status status =
        folder ? tr_directory_make(folder, t->err) : tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
    TR_TRY(status);
    TR_TRY(choose_prompt(t, &prompt));
    TR_TRY(one_list(t, "data.train_files", "train", "data", prompt, &t->rows));
    if (every > 0 && every < NEVER && tr_r1_at(t->theirs, "data.val_files")) {
        TR_TRY(one_list(t, "data.val_files", "val", "eval", prompt, &eval_rows));
        tr_r1_put(t->ours, "train.eval_every", json_integer((json_int_t)every));
    }
done:
    free(prompt);
    free(folder);
    return status;
}

/* What its code has without a setting. */
static void built_in(tr_r1_translation *t)
{
    static const char why[] = "a constant of its code";
    tr_r1_take(t, "(frames a second)", NULL, "video.fps", json_integer(2), why);
    tr_r1_take(t, "(fewest frames)", NULL, "video.min_frames", json_integer(4), why);
    tr_r1_take(t, "(most frames)", NULL, "video.max_frames", json_integer(768), why);
    tr_r1_take(t, "(averaging)", NULL, "grpo.loss", json_string("token"), why);
    tr_r1_take(t, "(deviation of a group)", NULL, "grpo.std", json_string("sample"), why);
    tr_r1_take(t, "(added to it)", NULL, "grpo.std_eps", json_real(1e-6), why);
    tr_r1_take(t, "(clip, its default)", NULL, "grpo.clip", json_pack("[f,f]", 0.2, 0.2), why);
    tr_r1_list(t, "(reward of video rows)", NULL, "taken", "data.reward: temporal-r1", why);
    tr_r1_put(t->ours, "grpo.preset", json_string("temporal-r1"));
    json_object_set_new(t->ours, "algorithm", json_string("grpo"));
}

/* ---- all of it ---- */

static tr_status first_refused(const tr_r1_translation *t)
{
    size_t i;
    json_t *setting;
    json_array_foreach(t->run->settings, i, setting)
    {
        if (!strcmp(json_string_value(json_object_get(setting, "became")), "refused")) {
            return tr_fail(t->err, TR_UNSUPPORTED, t->path, "%s: %s is not supported: %s",
                           json_string_value(json_object_get(setting, "key")),
                           json_string_value(json_object_get(setting, "value")),
                           json_string_value(json_object_get(setting, "why")));
        }
    }
    return TR_OK;
}

static tr_status write_list(const tr_r1_translation *t)
{
    tr_buffer text = {0};
    char *path = tr_path_join(t->out, "from-temporal-r1.txt");
    tr_status status =
        path ? tr_temporal_r1_text(t->run, &text, t->err) : tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
    status = status ? status : tr_file_write_atomic(path, text.data, text.length, t->err);
    tr_buffer_free(&text);
    free(path);
    return status;
}

static tr_status configure(tr_r1_translation *t)
{
    char *text = json_dumps(t->ours, JSON_REAL_PRECISION(17)), *name = tr_format("settings of %s", t->path);
    tr_status status = text && name
                           ? tr_config_parse(text, strlen(text), name, t->own, t->own_count, &t->run->set, t->err)
                           : tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
    free(text);
    free(name);
    return status;
}

tr_status tr_temporal_r1_read(const char *path, const char *const *words, size_t count, tr_temporal_r1 *run,
                              tr_error *err)
{
    const char **own = calloc(count + 1, sizeof *own);
    tr_r1_translation t = {.path = path, .ours = json_object(), .own = own, .run = run, .err = err};
    tr_status status;
    memset(run, 0, sizeof *run);
    run->settings = json_array();
    TR_TRY(own && t.ours && run->settings ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory"));
    TR_TRY(tr_yaml_read(path, &t.theirs, NULL, err));
    if (!json_is_object(t.theirs)) {
        status = tr_fail(err, TR_FORMAT, path, "must be a mapping, found %s", tr_json_type_name(t.theirs));
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        if (is_theirs(words[i])) {
            TR_TRY(lay_over(&t, words[i]));
        } else {
            own[t.own_count++] = words[i];
        }
    }
    TR_TRY(choose_out(&t));
    TR_TRY(make_data(&t));
    built_in(&t);
    TR_TRY(tr_r1_all(&t, t.theirs, ""));
    TR_TRY(first_refused(&t));
    TR_TRY(configure(&t));
    TR_TRY(write_list(&t));
done:
    json_decref(t.theirs);
    json_decref(t.ours);
    free(t.out);
    free(own);
    return status;
}

void tr_temporal_r1_free(tr_temporal_r1 *run)
{
    json_decref(run->settings);
    tr_buffer_free(&run->rows);
    tr_config_set_free(&run->set);
    memset(run, 0, sizeof *run);
}

/* ---- the list as text ---- */

static const char not_rebuilt[] =
    "Not rebuilt from there:\n"
    "  - the first step has the full learning rate (there 0, when the warm-up is 0)\n"
    "  - all steps are made (there the last one is left out)\n"
    "  - positions hold the clip's true seconds (there one second for each pair of frames in training)\n"
    "  - a group whose rewards are equal has advantages of exactly 0 (there rounding divided by 1e-6)\n"
    "  - parts of the reward are logged apart; random:N works; a folder belongs to its own list entry\n"
    "  - rows that cannot be right are refused and counted; ends behind the clip are cut (below)\n";

tr_status tr_temporal_r1_text(const tr_temporal_r1 *run, tr_buffer *out, tr_error *err)
{
    size_t i;
    json_t *setting;
    tr_status status = TR_OK;
    json_array_foreach(run->settings, i, setting)
    {
        const char *became = json_string_value(json_object_get(setting, "became"));
        const char *as = json_string_value(json_object_get(setting, "as"));
        const char *why = json_string_value(json_object_get(setting, "why"));
        char value[40];
        snprintf(value, sizeof value, "%.36s", json_string_value(json_object_get(setting, "value")));
        TR_TRY(
            tr_buffer_printf(out, err, "%-54s %-36s ", json_string_value(json_object_get(setting, "key")), value));
        if (!strcmp(became, "taken")) {
            TR_TRY(tr_buffer_printf(out, err, "taken over as %s%s%s%s\n", as, why[0] ? " (" : "", why,
                                    why[0] ? ")" : ""));
        } else {
            TR_TRY(tr_buffer_printf(out, err, "%s: %s\n", !strcmp(became, "refused") ? "NOT SUPPORTED" : "ignored",
                                    why));
        }
    }
    TR_TRY(tr_buffer_add_text(out, not_rebuilt, err));
    TR_TRY(tr_buffer_add_text(out, tr_buffer_text(&run->rows), err));
done:
    return status;
}
