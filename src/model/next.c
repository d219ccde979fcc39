/* next.c: the next prompt's vision pass and prefill, begun and finished apart.
 *
 * On a backend with lanes a network that runs ahead has a second one for them: a network of its own with a prompt's
 * working memory, whose work goes to TR_LANE_NEXT, and pinned memory that patches come from and features go to. Its
 * keys and values go into a slot of the first network's that nobody decodes. Two events order the lanes: what is
 * begun comes after all that the first lane was given (the weights' last step, the slot's last reader), and what
 * follows the finish comes after the prompt. Without a second lane nothing is computed until it is finished. */
#include "model/network_parts.h"

#include "base/file.h"

typedef struct tr_side {
    tr_network *network;
    float *features;     /* pinned, [visual tokens][hidden] */
    void *begun, *ready; /* events */
} tr_side;

static size_t feature_bytes(const tr_model_config *c, const tr_network_limits *limits)
{
    return (size_t)(limits->patches / 4 * c->hidden) * sizeof(float);
}

static size_t patch_bytes(const tr_model_config *c, const tr_network_limits *limits)
{
    const tr_vision_config *v = &c->vision;
    return (size_t)(limits->patches * v->channels * v->temporal_patch * v->patch * v->patch) * sizeof(float);
}

uint64_t tr_network_pinned_plan(const tr_model_config *config, const tr_network_limits *limits)
{
    return limits->ahead ? feature_bytes(config, limits) + patch_bytes(config, limits) : 0;
}

tr_status tr_side_create(tr_network *n, tr_error *err)
{
    const tr_lanes *lanes = n->ops->memory->lanes;
    const tr_network_limits limits = tr_side_limits(&n->limits);
    void *memory = NULL;
    tr_status status = TR_OK;
    tr_side *side = n->side = calloc(1, sizeof *side);
    if (!side) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for the network's second lane");
    }
    TR_TRY(tr_network_create(n->model, &limits, &side->network, err));
    TR_TRY(lanes->event_take(&side->begun, err));
    TR_TRY(lanes->event_take(&side->ready, err));
    TR_TRY(lanes->event_take(&side->network->patches_sent, err));
    TR_TRY(lanes->pin(&memory, feature_bytes(&n->model->config, &n->limits), err));
    side->features = memory;
    TR_TRY(lanes->pin(&memory, patch_bytes(&n->model->config, &n->limits), err));
    side->network->pinned_patches = memory;
done:
    return status ? tr_fail_context(err, status, "the second lane of the network") : TR_OK;
}

void tr_side_free(tr_network *n)
{
    tr_side *side = n->side;
    const tr_lanes *lanes = n->ops->memory->lanes;
    if (!side) {
        return;
    }
    tr_network_next_drop(n);
    if (side->network) {
        lanes->event_give(side->network->patches_sent);
        lanes->unpin(side->network->pinned_patches);
    }
    lanes->unpin(side->features);
    lanes->event_give(side->begun);
    lanes->event_give(side->ready);
    tr_network_free(side->network);
    free(side);
    n->side = NULL;
}

bool tr_network_runs_ahead(const tr_network *n)
{
    return n->side != NULL;
}

int64_t tr_network_slots(const tr_network *n)
{
    return n->limits.decode_groups;
}

float *tr_network_patches(tr_network *n)
{
    if (!n->side) {
        return NULL;
    }
    n->ops->memory->lanes->reach(n->side->network->patches_sent);
    return n->side->network->pinned_patches;
}

/* Gives the second lane all of its work. The lane in use is TR_LANE_NEXT. */
static tr_status run(tr_network *n, const tr_network_next *next, tr_error *err)
{
    const tr_lanes *lanes = n->ops->memory->lanes;
    tr_network *s = n->side->network;
    tr_group prompt = next->prompt;
    tr_status status;
    s->adapter_use = n->adapter_use;
    s->features_here = next->visual != NULL;
    lanes->wait(n->side->begun);
    if (next->visual) {
        TR_TRY(tr_vision_run(s, next->visual, false, s->edge.features, err));
        lanes->fetch(n->side->features, s->edge.features,
                     (size_t)(next->visual->rows / 4 * n->model->config.vision.out_hidden) * sizeof(float));
        prompt.features = next->features; /* not read: they are there */
    }
    TR_TRY(tr_prefill_run(s, n, next->slot, &prompt, s->edge.logits, err));
done:
    lanes->mark(n->side->ready);
    return status;
}

tr_status tr_network_next_begin(tr_network *n, const tr_network_next *next, tr_error *err)
{
    const tr_lanes *lanes = n->ops->memory->lanes;
    tr_status status = TR_OK;
    if (n->next.slot >= 0) {
        return tr_fail(err, TR_INVALID, "prefill", "a prompt is on its way to slot %lld already",
                       (long long)n->next.slot);
    }
    n->next = *next;
    if (n->side) {
        lanes->mark(n->side->begun);
        lanes->use(TR_LANE_NEXT);
        status = run(n, next, err);
        lanes->use(TR_LANE_MAIN);
    }
    if (status) {
        tr_network_next_drop(n);
    }
    return status;
}

bool tr_network_next_ready(tr_network *n)
{
    return n->next.slot >= 0 && (!n->side || n->ops->memory->lanes->passed(n->side->ready));
}

/* What the second lane made comes to the first. */
static tr_status take_over(tr_network *n, const tr_network_next *next, float *logits, tr_error *err)
{
    const tr_memory *memory = n->ops->memory;
    const size_t bytes = (size_t)n->model->config.vocab * sizeof *logits;
    memory->lanes->wait(n->side->ready);
    memory->copy(n->edge.logits, n->side->network->edge.logits, bytes);
    if (next->visual) {
        memory->lanes->reach(n->side->ready);
        memcpy(next->features, n->side->features,
               (size_t)(next->visual->rows / 4 * n->model->config.hidden) * sizeof *next->features);
    }
    if (logits) {
        memory->read(logits, n->edge.logits, bytes);
    }
    return memory->check(err);
}

tr_status tr_network_next_finish(tr_network *n, float *logits, double *vision_s, tr_error *err)
{
    tr_network_next next = n->next;
    tr_status status;
    if (next.slot < 0) {
        return tr_fail(err, TR_INVALID, "prefill", "no prompt is on its way");
    }
    n->next.slot = -1;
    if (n->side) {
        return take_over(n, &next, logits, err);
    }
    if (next.visual) {
        const double start_s = tr_time_s();
        TR_TRY(tr_network_vision_forward(n, next.visual, false, next.features, err));
        next.prompt.features = next.features;
        if (vision_s) {
            *vision_s += tr_time_s() - start_s;
        }
    }
    status = tr_network_prefill(n, next.slot, &next.prompt, logits, err);
done:
    return status;
}

void tr_network_next_drop(tr_network *n)
{
    if (n->side && n->next.slot >= 0) {
        n->ops->memory->lanes->reach(n->side->ready);
    }
    n->next.slot = -1;
}
