/* next.c: the next prompt's vision pass and prefill, begun and finished apart.
 *
 * Without a second lane nothing is computed until it is finished. */
#include "model/network_parts.h"

#include "base/file.h"

bool tr_network_runs_ahead(const tr_network *n)
{
    (void)n;
    return false;
}

int64_t tr_network_slots(const tr_network *n)
{
    return n->limits.decode_groups;
}

tr_status tr_network_next_begin(tr_network *n, const tr_network_next *next, tr_error *err)
{
    if (n->next.slot >= 0) {
        return tr_fail(err, TR_INVALID, "prefill", "a prompt is on its way to slot %lld already",
                       (long long)n->next.slot);
    }
    n->next = *next;
    return TR_OK;
}

bool tr_network_next_ready(tr_network *n)
{
    return n->next.slot >= 0;
}

tr_status tr_network_next_finish(tr_network *n, float *logits, double *vision_s, tr_error *err)
{
    tr_network_next next = n->next;
    tr_status status;
    n->next.slot = -1;
    if (next.slot < 0) {
        return tr_fail(err, TR_INVALID, "prefill", "no prompt is on its way");
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
    n->next.slot = -1;
}
