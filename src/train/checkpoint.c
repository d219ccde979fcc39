/* checkpoint.c: RUN/checkpoints/step-N: the model as a Hugging Face checkpoint, and beside it what a run needs to
 * go on bit for bit.
 *
 *   model.safetensors, config.json, tokenizer files   usable by every command as --model
 *                       (adapter_model.safetensors and adapter_config.json of a run that trains an adapter)
 *   state.safetensors   masters and moments (state.c)
 *   state.json          counters, position in the rows, resolved configuration, the start's hashes (origin.c), a
 *                       checksum of each tensor
 *
 * Random numbers are functions of counters, so they need no state. The folder is made as part-N and renamed; it is
 * renamed to gone-N before it is removed: one that is called step-N is complete. */
#include "train/checkpoint.h"

#include "base/file.h"
#include "base/memory.h"
#include "train/state.h"
#include "train/train.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Step numbers of a run's checkpoints, in no order. free() frees *steps. */
static tr_status list_steps(const char *folder, int64_t **steps, size_t *count, tr_error *err)
{
    char **names = NULL;
    size_t n = 0;
    *count = 0;
    *steps = NULL;
    if (!tr_directory_exists(folder)) {
        return TR_OK;
    }
    tr_status status = tr_directory_list(folder, &names, &n, err);
    if (!status && !(*steps = tr_calloc(n, sizeof **steps))) {
        status = tr_fail(err, TR_MEMORY, folder, "out of memory");
    }
    for (size_t i = 0; !status && *steps && i < n; i++) {
        char *end;
        long long step = strncmp(names[i], "step-", 5) ? -1 : strtoll(names[i] + 5, &end, 10);
        if (step >= 0 && end != names[i] + 5 && !*end) {
            (*steps)[(*count)++] = step;
        }
    }
    tr_names_free(names, n);
    return status;
}

/* RUN/checkpoints/PREFIX-N; free() frees it. */
static char *folder_of(const char *out, const char *prefix, int64_t step)
{
    return tr_format("%s/checkpoints/%s-%lld", out, prefix, (long long)step);
}

static tr_status remove_one(const char *out, int64_t step, tr_error *err)
{
    char *path = folder_of(out, "step", step), *gone = folder_of(out, "gone", step);
    tr_status status =
        path && gone ? tr_directory_remove(gone, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    if (!status && rename(path, gone)) {
        status = tr_fail(err, TR_IO, path, "cannot be removed: %s", strerror(errno));
    }
    status = status ? status : tr_directory_remove(gone, err);
    free(path);
    free(gone);
    return status;
}

/* All but the newest and the best. */
static tr_status remove_old(const tr_checkpoint *c, const char *folder, tr_error *err)
{
    int64_t *steps = NULL;
    size_t count = 0;
    tr_status status = list_steps(folder, &steps, &count, err);
    for (size_t i = 0; !status && i < count; i++) {
        int64_t newer = 0;
        for (size_t j = 0; j < count; j++) {
            newer += steps[j] > steps[i];
        }
        if (newer >= c->keep && steps[i] != c->best) {
            status = remove_one(c->out, steps[i], err);
        }
    }
    free(steps);
    return status;
}

tr_status tr_checkpoint_clean(const char *out, tr_error *err)
{
    char *folder = tr_path_join(out, "checkpoints"), **names = NULL;
    size_t count = 0;
    tr_status status = folder ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    if (!status && tr_directory_exists(folder)) {
        status = tr_directory_list(folder, &names, &count, err);
    }
    for (size_t i = 0; !status && i < count; i++) {
        if (!strncmp(names[i], "part-", 5) || !strncmp(names[i], "gone-", 5)) {
            char *path = tr_path_join(folder, names[i]);
            status = path ? tr_directory_remove(path, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
            free(path);
        }
    }
    tr_names_free(names, count);
    free(folder);
    return status;
}

static void sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd); /* some file systems refuse this for directories; the rename itself is still atomic */
        close(fd);
    }
}

/* A link is made under another name and renamed, so that there always is one. */
tr_status tr_checkpoint_mark_best(const char *out, int64_t step, tr_error *err)
{
    char *target = tr_format("step-%lld", (long long)step), *link = tr_format("%s/checkpoints/best", out),
         *part = tr_format("%s/checkpoints/part-best", out);
    tr_status status = TR_OK;
    if (!target || !link || !part) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
    } else if ((unlink(part) && errno != ENOENT) || symlink(target, part) || rename(part, link)) {
        status = tr_fail(err, TR_IO, link, "cannot be pointed to %s: %s", target, strerror(errno));
    }
    free(target);
    free(link);
    free(part);
    return status;
}

/* Everything in the folder `part`. */
static tr_status write_parts(const tr_checkpoint *c, const char *part, tr_error *err)
{
    char *state = tr_path_join(part, "state.safetensors"), *note = tr_path_join(part, "state.json");
    json_t *sums = json_object();
    tr_status status;
    if (!state || !note || !sums) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    TR_TRY(tr_directory_remove(part, err));
    TR_TRY(tr_model_save(c->model, part, c->model->dtype, 0, c->tokenizer, err));
    TR_TRY(tr_state_write(c->model, state, sums, err));
    json_object_set(c->state, "checksums", sums);
    TR_TRY(tr_json_write(note, c->state, err));
    for (int i = 0; i < 2; i++) { /* what the checkpoint's step logged must not be lost before the checkpoint is */
        if (c->logs[i] >= 0 && fdatasync(c->logs[i]) && errno != EINVAL && errno != ENOSYS) {
            status = tr_fail(err, TR_IO, c->out, "the logs cannot be written: %s", strerror(errno));
            goto done;
        }
    }
done:
    json_decref(sums);
    free(state);
    free(note);
    return status;
}

tr_status tr_checkpoint_save(const tr_checkpoint *c, tr_error *err)
{
    char *folder = tr_path_join(c->out, "checkpoints"), *whole = folder_of(c->out, "step", c->step),
         *part = folder_of(c->out, "part", c->step);
    tr_error why = {0};
    tr_status status;
    if (!folder || !whole || !part) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    TR_TRY(tr_directory_make(folder, err));
    TR_TRY(write_parts(c, part, err));
    if (tr_directory_exists(whole)) { /* an older run of this step, which was refused as damaged */
        TR_TRY(remove_one(c->out, c->step, err));
    }
    if (rename(part, whole)) {
        status = tr_fail(err, TR_IO, whole, "the checkpoint cannot be put in place: %s", strerror(errno));
        goto done;
    }
    sync_path(folder);
    if ((c->best == c->step && tr_checkpoint_mark_best(c->out, c->best, &why)) || remove_old(c, folder, &why)) {
        fprintf(stderr, "%s: %s\n", why.where, why.message); /* the checkpoint is whole: no reason to fail */
    }
done:
    if (status && part) {
        tr_directory_remove(part, NULL);
    }
    free(folder);
    free(whole);
    free(part);
    return status;
}

tr_status tr_checkpoint_newest(const char *out, int64_t most, char **checkpoint, int64_t *step, tr_error *err)
{
    char *folder = tr_path_join(out, "checkpoints");
    int64_t *steps = NULL, best = -1;
    size_t count = 0;
    *checkpoint = NULL;
    tr_status status =
        folder ? list_steps(folder, &steps, &count, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    for (size_t i = 0; i < count; i++) {
        best = steps[i] > best && steps[i] <= most ? steps[i] : best;
    }
    if (!status && best < 0) {
        status = tr_fail(err, TR_NOT_FOUND, folder, "there is no checkpoint here");
    }
    if (!status && !(*checkpoint = tr_format("%s/step-%lld", folder, (long long)best))) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    *step = best;
    free(steps);
    free(folder);
    return status;
}

tr_status tr_train_newest_checkpoint(const char *out, char **checkpoint, int64_t *step, tr_error *err)
{
    return tr_checkpoint_newest(out, INT64_MAX, checkpoint, step, err);
}
