/* rollout.c: answers prompts by sampling, several prompts in one decode batch.
 *
 * A prompt joins the batch when there is a slot for its keys and rows for all its responses: it is prefilled, its
 * responses' first tokens are drawn from the one row of logits, then they advance with all that live; a finished
 * one leaves at once. Rows of one prompt stay neighbours. A network with a second lane makes the next prompt ready
 * meanwhile, in a slot beyond those that decode. When a prompt joins never shows in a response: rows do not depend
 * on each other, and random numbers are counted by row and token. */
#include "rl/rollout.h"

#include "base/file.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct tr_rollout {
    tr_network *network;
    int64_t vocab;
    int64_t prompts, responses, max_tokens; /* capacities */
    int64_t rows, slots;                    /* of the network's decode batch */
    const tr_rollout_feed *feed;
    bool host; /* the network computes in the host's memory */

    int32_t *ids;        /* [prompts * responses][max_tokens] */
    float *logp;         /* the same */
    int64_t *lengths;    /* [prompts * responses] */
    uint8_t *stopped;    /* [prompts * responses] */
    int32_t *packed_ids; /* one after the other, in the order of the groups */
    float *packed_logp;

    float *logits; /* [rows][vocab]; the first row also holds a prefill's. NULL on a GPU: they stay there */
    int64_t *streams, *slot_of, *index, *response_of; /* [rows] of the live responses */
    int64_t *free_streams, *slot_live;                /* [rows] not in use; [slots] responses that live in each */
    int32_t *tokens;
    tr_draw *draws;      /* [rows] */
    tr_sampled *sampled; /* [rows] */
};

/* What one run works with. */
typedef struct run {
    tr_rollout *r;
    const tr_rollout_prompt *prompts;
    const tr_sampling *sampling;
    uint64_t seed;
    uint32_t step;
    int64_t responses, live, tokens, finished, all;
    tr_error *err;
    int64_t count, next;         /* prompts, and the first that has not been begun */
    int64_t coming, coming_slot; /* the prompt on its way into a slot; -1: none */
    bool coming_made;            /* its features are made on the way */
    int64_t free_count;          /* of free_streams */
    double feed_s;               /* spent in the feed */
} run;

/* One array of a rollout: the plan and the making walk the same list. */
typedef struct piece {
    size_t place, count, size; /* offset of the pointer in tr_rollout */
    bool aligned;              /* read by vector kernels */
} piece;
enum { PIECES = 16 };

#define PIECE(member, count, aligned)                                                                              \
    {                                                                                                              \
        offsetof(tr_rollout, member), count, sizeof *((tr_rollout *)0)->member, aligned                            \
    }

static void list_pieces(const tr_rollout *r, piece pieces[PIECES])
{
    const size_t all = (size_t)r->prompts * (size_t)r->responses, cells = all * (size_t)r->max_tokens;
    const size_t rows = (size_t)r->rows;
    const piece list[PIECES] = {PIECE(ids, cells, false),
                                PIECE(logp, cells, false),
                                PIECE(packed_ids, cells, false),
                                PIECE(packed_logp, cells, false),
                                PIECE(lengths, all, false),
                                PIECE(stopped, all, false),
                                PIECE(logits, r->host ? rows * (size_t)r->vocab : 0, true),
                                PIECE(streams, rows, false),
                                PIECE(slot_of, rows, false),
                                PIECE(index, rows, false),
                                PIECE(response_of, rows, false),
                                PIECE(tokens, rows, false),
                                PIECE(draws, rows, false),
                                PIECE(sampled, rows, false),
                                PIECE(free_streams, rows, false),
                                PIECE(slot_live, (size_t)r->slots, false)};
    memcpy(pieces, list, sizeof list);
}

/* Sizes alone. */
static tr_rollout measured(const tr_network_limits *limits, int64_t vocab, int64_t prompts, int64_t responses,
                           int64_t max_tokens)
{
    return (tr_rollout){.vocab = vocab,
                        .prompts = prompts,
                        .responses = responses,
                        .max_tokens = max_tokens,
                        .rows = limits->decode_rows,
                        .slots = limits->decode_groups + 1, /* one more where the network runs ahead */
                        .host = true};
}

uint64_t tr_rollout_bytes(const tr_network_limits *limits, int64_t vocab, int64_t prompts, int64_t responses,
                          int64_t max_tokens)
{
    const tr_rollout r = measured(limits, vocab, prompts, responses, max_tokens);
    piece pieces[PIECES];
    /* sampling works in memory that the network makes, beyond its plan: it depends on the threads */
    uint64_t bytes = (uint64_t)tr_cpu_sample_work(vocab, r.rows) * sizeof(float);
    list_pieces(&r, pieces);
    for (size_t i = 0; i < PIECES; i++) {
        bytes += pieces[i].count * pieces[i].size;
    }
    return bytes;
}

void tr_rollout_free(tr_rollout *r)
{
    piece pieces[PIECES];
    if (!r) {
        return;
    }
    list_pieces(r, pieces);
    for (size_t i = 0; i < PIECES; i++) {
        void *made;
        memcpy(&made, (char *)r + pieces[i].place, sizeof made);
        free(made);
    }
    free(r);
}

tr_status tr_rollout_create(tr_network *network, const tr_network_limits *limits, const tr_model *model,
                            int64_t prompts, int64_t responses, int64_t max_tokens, tr_rollout **rollout,
                            tr_error *err)
{
    piece pieces[PIECES];
    *rollout = NULL;
    if (responses < 1 || prompts < 1 || max_tokens < 1 || limits->decode_rows < responses ||
        limits->decode_groups < 1 || limits->decode_tokens < max_tokens) {
        return tr_fail(err, TR_INVALID, "rollout",
                       "the network decodes %lld responses of %lld tokens at once, %lld of %lld are asked for",
                       (long long)limits->decode_rows, (long long)limits->decode_tokens, (long long)responses,
                       (long long)max_tokens);
    }
    tr_rollout *r = calloc(1, sizeof *r);
    if (!r) {
        return tr_fail(err, TR_MEMORY, "rollout", "out of memory");
    }
    *r = measured(limits, model->config.vocab, prompts, responses, max_tokens);
    r->network = network;
    r->slots = tr_network_slots(network);
    r->host = model->ops->memory->host;
    list_pieces(r, pieces);
    for (size_t i = 0; i < PIECES; i++) {
        if (!pieces[i].count) { /* stays NULL */
            continue;
        }
        void *made = (pieces[i].aligned ? tr_calloc_aligned : tr_calloc)(pieces[i].count, pieces[i].size);
        if (!made) {
            tr_rollout_free(r);
            return tr_fail(err, TR_MEMORY, "rollout", "out of memory for %lld responses of %lld tokens",
                           (long long)(prompts * responses), (long long)max_tokens);
        }
        memcpy((char *)r + pieces[i].place, &made, sizeof made);
    }
    *rollout = r;
    return TR_OK;
}

void tr_rollout_set_feed(tr_rollout *rollout, const tr_rollout_feed *feed)
{
    rollout->feed = feed;
}

/* The counters of the next token of a response (numbered over all prompts of the run). */
static tr_draw draw_of(const run *u, int64_t response)
{
    const tr_rollout_prompt *p = &u->prompts[response / u->responses];
    return (tr_draw){u->seed, u->step, p->row, p->response + (uint32_t)(response % u->responses),
                     (uint32_t)u->r->lengths[response]};
}

/* Notes a drawn token; true when the response goes on. */
static bool append(run *u, int64_t response, const tr_sampled *sampled)
{
    tr_rollout *r = u->r;
    int64_t at = response * r->max_tokens + r->lengths[response]++;
    r->ids[at] = sampled->id;
    r->logp[at] = sampled->logp;
    u->tokens++;
    r->stopped[response] = sampled->ended != 0;
    bool live = !r->stopped[response] && r->lengths[response] < u->sampling->max_tokens;
    u->finished += !live;
    return live;
}

static tr_status no_token(const run *u, int64_t response)
{
    return tr_fail(
        u->err, TR_NUMERIC, NULL,
        "no token can be drawn for response %lld of row %u: its logits are not finite, or every token is "
        "banned; the weights have probably diverged",
        (long long)(response % u->responses), (unsigned)u->prompts[response / u->responses].row);
}

/* ---- a prompt joins ---- */

static bool is_room(const run *u)
{
    return u->live + u->responses <= u->r->rows;
}

/* A slot without responses that live and without a prompt on its way; -1: none. */
static int64_t free_slot(const run *u)
{
    for (int64_t i = 0; i < u->r->slots; i++) {
        if (!u->r->slot_live[i]) {
            return i;
        }
    }
    return -1;
}

/* Sets the next prompt on its way into a slot. */
static tr_status begin(run *u, int64_t slot)
{
    tr_rollout *r = u->r;
    const int64_t p = u->next++;
    const double start_s = tr_time_s();
    tr_network_next next = {.slot = slot};
    tr_status status;
    if (r->feed) {
        TR_TRY(r->feed->take(r->feed->context, p, &next.visual, &next.features, u->err));
        u->feed_s += tr_time_s() - start_s;
    }
    next.prompt = u->prompts[p].prompt;
    TR_TRY(tr_network_next_begin(r->network, &next, u->err));
    u->coming = p;
    u->coming_slot = slot;
    u->coming_made = next.visual != NULL;
done:
    return status;
}

/* The prompt on its way joins: draws the first token of its responses. */
static tr_status join(run *u, tr_rollout_times *times)
{
    tr_rollout *r = u->r;
    const int64_t p = u->coming, slot = u->coming_slot;
    tr_status status;
    u->coming = -1;
    TR_TRY(tr_network_next_finish(r->network, r->logits, times ? &times->vision_s : NULL, u->err));
    if (u->coming_made && r->feed) {
        r->feed->made(r->feed->context, p);
    }
    for (int64_t i = 0; i < u->responses; i++) {
        r->draws[i] = draw_of(u, p * u->responses + i);
    }
    TR_TRY(tr_network_sample(r->network, r->logits, true, r->draws, u->responses, u->sampling, r->sampled, u->err));
    for (int64_t i = 0; i < u->responses; i++) {
        int64_t response = p * u->responses + i;
        if (r->sampled[i].id < 0) {
            return no_token(u, response);
        }
        if (append(u, response, &r->sampled[i])) {
            r->streams[u->live] = r->free_streams[--u->free_count];
            r->slot_of[u->live] = slot;
            r->response_of[u->live] = response;
            r->tokens[u->live] = r->sampled[i].id;
            r->index[u->live++] = 0;
            r->slot_live[slot]++;
        }
    }
done:
    return status;
}

/* Begins what can be begun, and lets join what is ready and finds room. Without a second lane a prompt is begun
 * when it can join. */
static tr_status admit(run *u, tr_rollout_times *times)
{
    const bool ahead = tr_network_runs_ahead(u->r->network);
    tr_status status = TR_OK;
    for (bool more = true; more;) {
        const int64_t slot = u->coming < 0 && u->next < u->count && (ahead || is_room(u)) ? free_slot(u) : -1;
        more = false;
        if (slot >= 0) {
            TR_TRY(begin(u, slot));
        }
        if (u->coming >= 0 && is_room(u) && (!u->live || tr_network_next_ready(u->r->network))) {
            TR_TRY(join(u, times));
            more = true;
        }
    }
done:
    return status;
}

/* One token for every live response. */
static tr_status advance(run *u)
{
    tr_rollout *r = u->r;
    for (int64_t i = 0; i < u->live; i++) {
        r->draws[i] = draw_of(u, r->response_of[i]);
    }
    tr_status status = tr_network_step(r->network, r->streams, r->slot_of, r->index, r->tokens, u->live, r->logits,
                                       r->draws, u->sampling, r->sampled, u->err);
    if (status) {
        return status;
    }
    for (int64_t i = 0; i < u->live; i++) {
        if (r->sampled[i].id < 0) {
            return no_token(u, r->response_of[i]);
        }
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < u->live; i++) {
        if (append(u, r->response_of[i], &r->sampled[i])) {
            r->streams[kept] = r->streams[i];
            r->slot_of[kept] = r->slot_of[i];
            r->response_of[kept] = r->response_of[i];
            r->tokens[kept] = r->sampled[i].id;
            r->index[kept++] = r->index[i] + 1;
        } else {
            r->free_streams[u->free_count++] = r->streams[i];
            r->slot_live[r->slot_of[i]]--;
        }
    }
    u->live = kept;
    return TR_OK;
}

/* Packs the responses of prompt p behind `at` tokens; returns the new end. */
static int64_t pack(run *u, int64_t p, int64_t at, tr_rollout_group *group)
{
    tr_rollout *r = u->r;
    int64_t first = p * u->responses, start = at;
    for (int64_t i = first; i < first + u->responses; i++) {
        size_t n = (size_t)r->lengths[i];
        memcpy(r->packed_ids + at, r->ids + i * r->max_tokens, n * sizeof *r->ids);
        memcpy(r->packed_logp + at, r->logp + i * r->max_tokens, n * sizeof *r->logp);
        at += r->lengths[i];
    }
    *group = (tr_rollout_group){u->responses,           at - start,         r->packed_ids + start,
                                r->packed_logp + start, r->lengths + first, r->stopped + first};
    return at;
}

tr_status tr_rollout_run(tr_rollout *r, const tr_rollout_prompt *prompts, int64_t count, int64_t responses,
                         const tr_sampling *sampling, uint64_t seed, uint32_t step, tr_rollout_group *groups,
                         tr_rollout_times *times, tr_rollout_progress progress, void *context, tr_error *err)
{
    tr_status status = tr_sampling_check(sampling, "sampling", err);
    if (status) {
        return status;
    }
    if (count * responses > r->prompts * r->responses || responses < 1 || responses > r->rows ||
        sampling->max_tokens > r->max_tokens) {
        return tr_fail(err, TR_INVALID, "rollout",
                       "%lld prompts with %lld responses of %lld tokens do not fit a "
                       "rollout planned for %lld, %lld and %lld",
                       (long long)count, (long long)responses, (long long)sampling->max_tokens,
                       (long long)r->prompts, (long long)r->responses, (long long)r->max_tokens);
    }
    run u = {.r = r,
             .prompts = prompts,
             .sampling = sampling,
             .seed = seed,
             .step = step,
             .responses = responses,
             .all = count * responses,
             .err = err,
             .count = count,
             .coming = -1,
             .free_count = r->rows};
    int64_t at = 0;
    memset(r->lengths, 0, (size_t)(count * responses) * sizeof *r->lengths);
    memset(r->slot_live, 0, (size_t)r->slots * sizeof *r->slot_live);
    for (int64_t i = 0; i < r->rows; i++) {
        r->free_streams[i] = r->rows - 1 - i;
    }
    while (u.finished < u.all) {
        const double start_s = tr_time_s(), fed_s = u.feed_s, seen_s = times ? times->vision_s : 0;
        TR_TRY(admit(&u, times));
        const double admitted_s = tr_time_s();
        if (u.live) {
            TR_TRY(advance(&u));
            if (progress) {
                progress(context, u.tokens, u.finished, u.all);
            }
        }
        if (times) {
            times->prefill_s += admitted_s - start_s - (u.feed_s - fed_s) - (times->vision_s - seen_s);
            times->decode_s += tr_time_s() - admitted_s;
        }
    }
    for (int64_t p = 0; p < count; p++) {
        at = pack(&u, p, at, &groups[p]);
    }
done:
    if (status) {
        tr_network_next_drop(r->network); /* nothing may go on reading what the caller gives back */
    }
    return status;
}
