/* restore.c: sets a trainer to a checkpoint of its run. */
#include "train/trainer.h"

#include "base/file.h"
#include "train/origin.h"
#include "train/state.h"

#include <stdio.h>
#include <stdlib.h>

/* What may differ without changing a number of the run. */
static const char *const harmless[] = {"out",
                                       "tokenizer",
                                       "device",
                                       "eval",
                                       "video.cache",
                                       "video.cache_bytes",
                                       "video.decoders",
                                       "video.ahead_bytes",
                                       "train.save_every",
                                       "train.save_minutes",
                                       "train.save_mode",
                                       "train.keep",
                                       "train.keep_best",
                                       "train.eval_every",
                                       "train.eval_loss_every",
                                       "train.watch",
                                       "train.recompute",
                                       "train.offload",
                                       NULL};

/* Configuration and start, by content. */
static tr_status check_changes(const tr_trainer *t, const json_t *state, const char *checkpoint)
{
    tr_buffer list = {0};
    tr_status status =
        tr_config_differences(json_object_get(state, "config"), t->resolved, harmless, &list, t->err);
    status =
        status ? status : tr_origin_differences(json_object_get(state, "origin"), t->saving.origin, &list, t->err);
    if (!status && list.length && t->options->accept_changes) {
        fprintf(stderr, "the configuration, data or start differ from the checkpoint's, as accepted:\n%s",
                tr_buffer_text(&list));
    } else if (!status && list.length) {
        fprintf(stderr, "the configuration, data or start differ from the checkpoint's:\n%s",
                tr_buffer_text(&list));
        status = tr_fail(t->err, TR_MISMATCH, checkpoint,
                         "the configuration, data or start differ from the checkpoint's (see above): undo the "
                         "change, or give --accept-changes");
    }
    tr_buffer_free(&list);
    return status;
}

static tr_status restore_counters(tr_trainer *t, const json_t *object, const char *note)
{
    tr_saving *s = &t->saving;
    const json_t *best = json_object_get(object, "best"), *logs = json_object_get(object, "log_bytes");
    int64_t updates = 0, position = 0;
    tr_status status;
    TR_TRY(tr_json_get_int(object, "step", true, note, &t->step, t->err));
    TR_TRY(tr_json_get_int(object, "updates", true, note, &updates, t->err));
    TR_TRY(tr_json_get_int(object, "position", true, note, &position, t->err));
    TR_TRY(tr_json_get_int(object, "skipped_steps", true, note, &t->skipped_steps, t->err));
    TR_TRY(tr_json_get_int(object, "skipped_in_a_row", true, note, &t->skipped_in_a_row, t->err));
    TR_TRY(tr_json_get_int(object, "skipped_rows", true, note, &t->skipped_rows, t->err));
    TR_TRY(tr_json_get_double(object, "elapsed_s", true, note, &t->elapsed_s, t->err));
    TR_TRY(tr_algorithm_state_from_json(&t->algorithm, json_object_get(object, "algorithm"), note, t->err));
    t->steps = t->algorithm.flat ? t->step : t->steps; /* it has ended early */
    if (json_is_object(best)) {
        TR_TRY(tr_json_get_int(best, "step", true, note, &s->best_step, t->err));
        TR_TRY(tr_json_get_double(best, "score", true, note, &s->best_score, t->err));
    }
    for (size_t i = 0; i < 2; i++) {
        s->log_bytes[i] = json_integer_value(json_array_get(logs, i));
    }
    t->optimiser.step = updates;
    t->order.position = position;
    t->version = (uint64_t)updates;
done:
    return status;
}

static tr_status read_note(tr_trainer *t, const char *note, json_t **object)
{
    int64_t version = 0;
    tr_status status;
    TR_TRY(tr_json_read(note, object, t->err));
    TR_TRY(tr_json_get_int(*object, "version", true, note, &version, t->err));
    if (version != TR_STATE_VERSION) {
        status = tr_fail(t->err, TR_UNSUPPORTED, note, "the state has version %lld, this program reads %d",
                         (long long)version, TR_STATE_VERSION);
    }
done:
    return status;
}

tr_status tr_trainer_check_start(tr_trainer *t, const char *checkpoint)
{
    char *note = tr_path_join(checkpoint, "state.json");
    json_t *object = NULL;
    tr_status status = note ? read_note(t, note, &object) : tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
    status = status ? status : check_changes(t, object, checkpoint);
    json_decref(object);
    free(note);
    return status;
}

tr_status tr_trainer_restore(tr_trainer *t, const char *checkpoint)
{
    char *note = tr_path_join(checkpoint, "state.json"), *state = tr_path_join(checkpoint, "state.safetensors");
    json_t *object = NULL;
    tr_status status;
    if (!note || !state) {
        status = tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    TR_TRY(read_note(t, note, &object));
    TR_TRY(check_changes(t, object, checkpoint));
    TR_TRY(restore_counters(t, object, note));
    TR_TRY(tr_state_read(t->model, state, json_object_get(object, "checksums"), t->err));
    tr_model_refresh(t->model);
done:
    json_decref(object);
    free(note);
    free(state);
    return status;
}
