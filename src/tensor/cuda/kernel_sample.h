/* kernel_sample.h: the draw of the next token where the logits are, in three kernels: the largest logits of every
 * chunk of 4096 ids; the sums of weights and of exponentials of every chunk; the draw of every row.
 *
 * The same numbers in the same order as the CPU's (tensor/cpu/sample.c, isa_softmax.c), so the same token and the
 * same bits of its log-probability. A list of candidates is made in the order of ids by the threads' spans and
 * sorted by a stable radix sort, so equal weights stay in the order of ids; no atomics. What changes from token to
 * token (draws, settings) is read from memory. Internal to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_KERNEL_SAMPLE_H
#define TR_TENSOR_CUDA_KERNEL_SAMPLE_H

#include "tensor/cuda/kernel_rows.h"
#include "tensor/sampler.h"

enum {
    SAMPLE_THREADS = 256,
    SAMPLE_CHUNK = SOFTMAX_CHUNK, /* ids of a block of the first two kernels */
    SAMPLE_BLOCK = 256,           /* weights are summed block by block: the CPU's order */
    SAMPLE_BLOCKS = SAMPLE_CHUNK / SAMPLE_BLOCK,
    SAMPLE_PITCH = SAMPLE_BLOCK + 1,
    SAMPLE_DIGITS = 16, /* four bits of a weight at a time */
};

typedef struct sample_settings {
    double temperature, top_p, min_p;
    int64_t top_k, end_count;
    float inverse, recorded; /* 1 / temperature; the temperature of log-probs */
} sample_settings;

typedef struct sample_args {
    const float *logits; /* [rows or 1][vocab] */
    const sample_settings *settings;
    const uint32_t *banned; /* a bit an id, or NULL */
    const tr_draw *draws;   /* [rows] */
    const int64_t *end_ids;
    tr_sampled *out; /* [rows] */
    float *top, *largest,
        *part;     /* [rows or 1][chunks]: of what may be drawn (NaN: one is NaN), of all, sums of exp */
    double *sums;  /* [rows or 1][blocks] of weights */
    int32_t *list; /* [rows][2][vocab] candidates */
    int64_t vocab;
    int shared; /* one row of logits for all */
} sample_args;

TR_DEVICE int64_t sample_chunks(const sample_args *a)
{
    return (a->vocab + SAMPLE_CHUNK - 1) / SAMPLE_CHUNK;
}
TR_DEVICE int64_t sample_blocks(const sample_args *a)
{
    return (a->vocab + SAMPLE_BLOCK - 1) / SAMPLE_BLOCK;
}
TR_DEVICE int sample_is_banned(const sample_args *a, int64_t i)
{
    return a->banned ? (int)(a->banned[i >> 5] >> (i & 31) & 1u) : 0;
}

/* ---- the largest ---- */

typedef struct sample_top_shared {
    float top[SAMPLE_THREADS], largest[SAMPLE_THREADS];
} sample_top_shared;

/* The larger of two, or NaN where one is. */
TR_DEVICE float sample_larger(float a, float b)
{
    return b != b || b > a ? b : a;
}

TR_DEVICE void sample_top_block(const sample_args *a, int x, int y, int z, void *memory)
{
    (void)z;
    sample_top_shared *s = (sample_top_shared *)memory;
    const float *row = a->logits + (int64_t)y * a->vocab;
    const int64_t first = (int64_t)x * SAMPLE_CHUNK, last = cu_min64(first + SAMPLE_CHUNK, a->vocab);
    THREADS(t, SAMPLE_THREADS)
    {
        float top = -cu_infinity(), largest = -cu_infinity();
        for (int64_t i = first + t; i < last; i += SAMPLE_THREADS) {
            const float v = row[i];
            largest = v > largest ? v : largest;
            top = v == v && sample_is_banned(a, i) ? top : sample_larger(top, v);
        }
        s->top[t] = top;
        s->largest[t] = largest;
    }
    SYNC();
    for (int step = SAMPLE_THREADS / 2; step > 0; step /= 2) {
        THREADS(t, SAMPLE_THREADS)
        {
            if (t < step) {
                s->top[t] = sample_larger(s->top[t], s->top[t + step]);
                s->largest[t] = sample_larger(s->largest[t], s->largest[t + step]);
            }
        }
        SYNC();
    }
    THREADS(t, SAMPLE_THREADS)
    {
        if (t == 0) {
            a->top[y * sample_chunks(a) + x] = s->top[0];
            a->largest[y * sample_chunks(a) + x] = s->largest[0];
        }
    }
}

/* The largest of a row from those of its chunks; every thread computes it for itself. */
TR_DEVICE float sample_largest(const float *of_chunks, int64_t chunks)
{
    float top = -cu_infinity();
    for (int64_t c = 0; c < chunks; c++) {
        top = sample_larger(top, of_chunks[c]);
    }
    return top;
}
TR_DEVICE int sample_finite(float x)
{
    return (cu_bits(x) & 0x7FFFFFFFu) < 0x7F800000u;
}

/* ---- weights ---- */

/* e^x for -87 <= x <= 0, the CPU's sequence. */
TR_DEVICE float sample_weigh(float x)
{
    const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * cu_from_bits((uint32_t)((int32_t)n + 127) << 23);
}

TR_DEVICE float sample_weight(const sample_args *a, const float *row, int64_t i, float top)
{
    const float x = (row[i] - top) * a->settings->inverse;
    return sample_is_banned(a, i) || x <= -87.0f ? 0.0f : sample_weigh(x > -87.0f ? x : -87.0f);
}

typedef struct sample_sums_shared {
    float weight[SAMPLE_BLOCKS * SAMPLE_PITCH], e[SAMPLE_CHUNK], lane[LANES];
} sample_sums_shared;

TR_DEVICE void sample_sums_block(const sample_args *a, int x, int y, int z, void *memory)
{
    (void)z;
    sample_sums_shared *s = (sample_sums_shared *)memory;
    const float *row = a->logits + (int64_t)y * a->vocab, temperature = a->settings->recorded;
    const int64_t chunks = sample_chunks(a), first = (int64_t)x * SAMPLE_CHUNK;
    const int64_t count = cu_min64(SAMPLE_CHUNK, a->vocab - first);
    const float top = sample_largest(a->top + y * chunks, chunks);
    const float best = cu_divide(sample_largest(a->largest + y * chunks, chunks), temperature);
    if (!sample_finite(top)) { /* the same for all threads; nothing can be drawn */
        return;
    }
    THREADS(t, SAMPLE_THREADS)
    {
        for (int64_t i = t; i < count; i += SAMPLE_THREADS) {
            s->e[i] = cu_exp(cu_max(-200.0f, cu_divide(row[first + i], temperature) - best));
            s->weight[i / SAMPLE_BLOCK * SAMPLE_PITCH + i % SAMPLE_BLOCK] =
                a->settings->temperature > 0.0 ? sample_weight(a, row, first + i, top) : 0.0f;
        }
    }
    SYNC();
    THREADS(t, SAMPLE_THREADS)
    {
        if (t < LANES) {
            float sum = 0.0f;
            for (int64_t i = t; i < count; i += LANES) {
                sum = sum + s->e[i];
            }
            s->lane[t] = sum;
        } else if (t >= 32 && t < 32 + SAMPLE_BLOCKS && (t - 32) * SAMPLE_BLOCK < count) {
            const int64_t end = cu_min64(SAMPLE_BLOCK, count - (t - 32) * SAMPLE_BLOCK);
            double sum = 0.0;
            for (int64_t i = 0; i < end; i++) {
                sum += (double)s->weight[(t - 32) * SAMPLE_PITCH + i];
            }
            a->sums[y * sample_blocks(a) + x * SAMPLE_BLOCKS + t - 32] = sum;
        }
    }
    SYNC();
    THREADS(t, SAMPLE_THREADS)
    {
        if (t == 0) {
            a->part[y * chunks + x] = cu_lanes_sum(s->lane);
        }
    }
}

/* ---- the draw: a block a row ---- */

typedef struct sample_shared {
    uint32_t count[SAMPLE_DIGITS * SAMPLE_THREADS]; /* of a digit, by thread */
    uint32_t scan[2][SAMPLE_THREADS], digit[SAMPLE_DIGITS];
    float weight[SAMPLE_THREADS];
    double sum, total, target, first;
    int64_t listed, kept, at;
    int id, done;
} sample_shared;

/* What a block holds of its row; the same for all threads. */
typedef struct sample_row {
    const sample_args *a;
    sample_shared *s;
    const float *row;
    const double *sums;
    float top;
} sample_row;

TR_DEVICE float sample_weight_of(const sample_row *r, int64_t i)
{
    return sample_weight(r->a, r->row, i, r->top);
}

/* The counter's number in [0, 1): Philox 4x32-10 (base/random.c). */
TR_DEVICE double sample_uniform(const tr_draw *d)
{
    uint32_t x0 = d->step, x1 = d->row, x2 = d->response, x3 = d->token;
    uint32_t k0 = (uint32_t)d->seed, k1 = (uint32_t)(d->seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * x0, p1 = (uint64_t)0xCD9E8D57u * x2;
        x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
        x2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
        x1 = (uint32_t)p1;
        x3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (double)(((uint64_t)x0 << 21) ^ (x1 >> 11)) * 0x1p-53;
}

/* Inclusive sums of scan[0] over the threads, in place. */
TR_DEVICE void sample_scan(sample_shared *s)
{
    int from = 0;
    for (int step = 1; step < SAMPLE_THREADS; step *= 2, from = 1 - from) {
        THREADS(t, SAMPLE_THREADS)
        {
            s->scan[1 - from][t] = s->scan[from][t] + (t >= step ? s->scan[from][t - step] : 0u);
        }
        SYNC();
    }
}

/* The lowest id of the largest logit. */
TR_DEVICE void sample_greedy(const sample_row *r)
{
    sample_shared *s = r->s;
    const int64_t vocab = r->a->vocab;
    THREADS(t, SAMPLE_THREADS)
    {
        uint32_t id = 0xFFFFFFFFu;
        for (int64_t i = t; i < vocab && id == 0xFFFFFFFFu; i += SAMPLE_THREADS) {
            id = r->row[i] == r->top && !sample_is_banned(r->a, i) ? (uint32_t)i : id;
        }
        s->scan[0][t] = id;
    }
    SYNC();
    THREADS(t, SAMPLE_THREADS)
    {
        if (t == 0) {
            uint32_t id = 0xFFFFFFFFu;
            for (int i = 0; i < SAMPLE_THREADS; i++) {
                id = s->scan[0][i] < id ? s->scan[0][i] : id;
            }
            s->id = (int)id;
        }
    }
    SYNC();
}

/* Walks the sums of all blocks in their order: their total, or (search) the block in which the target lies, -1
 * where rounding left none, with what stands before it in s->sum. */
TR_DEVICE void sample_walk_sums(const sample_row *r, int search)
{
    sample_shared *s = r->s;
    THREADS(t, SAMPLE_THREADS)
    {
        if (t == 0) {
            double before = 0.0;
            int64_t at = -1;
            for (int64_t b = 0; b < sample_blocks(r->a) && at < 0; b++) {
                const double sum = r->sums[b];
                if (search && sum > 0.0 && before + sum > s->target) {
                    at = b;
                } else {
                    before += sum;
                }
            }
            s->at = at;
            s->sum = before;
            if (!search) {
                s->total = before;
            }
        }
    }
    SYNC();
}

/* The last id that has a weight: the target lies behind all of them by rounding. */
TR_DEVICE void sample_last(const sample_row *r)
{
    sample_shared *s = r->s;
    THREADS(t, SAMPLE_THREADS)
    {
        uint32_t last = 0; /* the id and one more */
        for (int64_t i = t; i < r->a->vocab; i += SAMPLE_THREADS) {
            last = sample_weight_of(r, i) > 0.0f ? (uint32_t)i + 1u : last;
        }
        s->scan[0][t] = last;
    }
    SYNC();
    THREADS(t, SAMPLE_THREADS)
    {
        if (t == 0) {
            uint32_t last = 0;
            for (int i = 0; i < SAMPLE_THREADS; i++) {
                last = s->scan[0][i] > last ? s->scan[0][i] : last;
            }
            s->id = (int)last - 1;
        }
    }
    SYNC();
}

/* Draws from all ids by the sums of their blocks; u of the total is the target. */
TR_DEVICE void sample_all(const sample_row *r, double u)
{
    sample_shared *s = r->s;
    sample_walk_sums(r, 0);
    THREADS(t, SAMPLE_THREADS)
    {
        if (t == 0) {
            s->target = u * s->total;
        }
    }
    SYNC();
    sample_walk_sums(r, 1);
    const int64_t block = s->at, first = block * SAMPLE_BLOCK;
    if (block < 0) {
        sample_last(r);
        return;
    }
    THREADS(t, SAMPLE_THREADS)
    {
        s->weight[t] = first + t < r->a->vocab ? sample_weight_of(r, first + t) : 0.0f;
    }
    SYNC();
    THREADS(t, SAMPLE_THREADS)
    {
        if (t == 0) {
            double at = s->sum;
            int last = -1, found = -1;
            for (int i = 0; i < SAMPLE_BLOCK && found < 0; i++) {
                at += (double)s->weight[i];
                last = s->weight[i] > 0.0f ? i : last;
                found = s->weight[i] > 0.0f && at > s->target ? i : -1;
            }
            found = found < 0 ? last : found;
            s->id = found < 0 ? -1 : (int)first + found;
        }
    }
    SYNC();
}

/* ---- lists ---- */

/* The bits of the k-th largest weight, and how many of the ids that have just these are among the k best; 0 and 0
 * where no more than k weigh anything. Positive numbers are in the order of their bits. */
TR_DEVICE uint32_t sample_threshold(const sample_row *r, int64_t k, uint32_t *equal)
{
    sample_shared *s = r->s;
    uint32_t prefix = 0, left = (uint32_t)k;
    for (int shift = 28; shift >= 0; shift -= 4) {
        THREADS(t, SAMPLE_THREADS)
        {
            for (int d = 0; d < SAMPLE_DIGITS; d++) {
                s->count[d * SAMPLE_THREADS + t] = 0;
            }
            for (int64_t i = t; i < r->a->vocab; i += SAMPLE_THREADS) {
                const uint32_t bits = cu_bits(sample_weight_of(r, i));
                if (bits && (uint64_t)bits >> (shift + 4) == (uint64_t)prefix >> (shift + 4)) {
                    s->count[(bits >> shift & 15u) * SAMPLE_THREADS + t]++;
                }
            }
        }
        SYNC();
        THREADS(t, SAMPLE_THREADS)
        {
            if (t < SAMPLE_DIGITS) {
                uint32_t sum = 0;
                for (int i = 0; i < SAMPLE_THREADS; i++) {
                    sum += s->count[t * SAMPLE_THREADS + i];
                }
                s->digit[t] = sum;
            }
        }
        SYNC();
        int d = SAMPLE_DIGITS - 1;
        for (; d >= 0 && s->digit[d] < left; d--) {
            left -= s->digit[d];
        }
        if (d < 0) { /* in the first round only */
            *equal = 0;
            return 0;
        }
        prefix |= (uint32_t)d << shift;
    }
    *equal = left;
    return prefix;
}

/* The ids whose weight has larger bits than `above` and is at least `least`, and the first `equal` of those with
 * just these bits, in the order of ids; every thread looks through one span of them. s->listed: how many. */
TR_DEVICE void sample_list(const sample_row *r, int32_t *list, uint32_t above, uint32_t equal, double least)
{
    sample_shared *s = r->s;
    const int64_t vocab = r->a->vocab, span = (vocab + SAMPLE_THREADS - 1) / SAMPLE_THREADS;
    uint32_t *more = s->count, *same = s->count + SAMPLE_THREADS, *before = s->count + 2 * SAMPLE_THREADS;
    THREADS(t, SAMPLE_THREADS)
    {
        more[t] = same[t] = 0;
        for (int64_t i = t * span; i < cu_min64((t + 1) * span, vocab); i++) {
            const float w = sample_weight_of(r, i);
            more[t] += cu_bits(w) > above && (double)w >= least;
            same[t] += equal && cu_bits(w) == above;
        }
        s->scan[0][t] = more[t];
    }
    SYNC();
    sample_scan(s);
    THREADS(t, SAMPLE_THREADS)
    {
        before[t] = s->scan[0][t] - more[t];
        if (t == SAMPLE_THREADS - 1) {
            s->listed = (int64_t)s->scan[0][t] + equal; /* as many of the equal ones are there */
        }
        s->scan[0][t] = same[t];
    }
    SYNC();
    sample_scan(s);
    THREADS(t, SAMPLE_THREADS)
    {
        uint32_t larger = before[t], equals = s->scan[0][t] - same[t];
        equals = equals < equal ? equals : equal;
        for (int64_t i = t * span; i < cu_min64((t + 1) * span, vocab); i++) {
            const float w = sample_weight_of(r, i);
            const int is_more = cu_bits(w) > above && (double)w >= least;
            const int is_same = cu_bits(w) == above && equals < equal;
            if (is_more || is_same) {
                list[larger + equals] = (int32_t)i;
            }
            larger += (uint32_t)is_more;
            equals += (uint32_t)is_same;
        }
    }
    SYNC();
}

/* Exclusive sums of s->count over digits and, in a digit, threads, in place. */
TR_DEVICE void sample_scan_digits(sample_shared *s)
{
    THREADS(t, SAMPLE_THREADS)
    {
        uint32_t sum = 0;
        for (int i = 0; i < SAMPLE_DIGITS; i++) {
            sum += s->count[t * SAMPLE_DIGITS + i];
        }
        s->scan[0][t] = sum;
    }
    SYNC();
    sample_scan(s);
    THREADS(t, SAMPLE_THREADS)
    {
        uint32_t before = t ? s->scan[0][t - 1] : 0u;
        for (int i = 0; i < SAMPLE_DIGITS; i++) {
            const uint32_t own = s->count[t * SAMPLE_DIGITS + i];
            s->count[t * SAMPLE_DIGITS + i] = before;
            before += own;
        }
    }
    SYNC();
}

/* The list by falling weight, equal ones in the order that they have: eight stable rounds, so the result is in
 * `list` again; other is as long. */
TR_DEVICE void sample_sort(const sample_row *r, int32_t *list, int32_t *other, int64_t count)
{
    sample_shared *s = r->s;
    const int64_t span = (count + SAMPLE_THREADS - 1) / SAMPLE_THREADS;
    for (int shift = 0; shift < 32; shift += 4) {
        const int32_t *from = shift / 4 % 2 ? other : list;
        int32_t *to = shift / 4 % 2 ? list : other;
        THREADS(t, SAMPLE_THREADS)
        {
            for (int d = 0; d < SAMPLE_DIGITS; d++) {
                s->count[d * SAMPLE_THREADS + t] = 0;
            }
            for (int64_t i = t * span; i < cu_min64((t + 1) * span, count); i++) {
                const uint32_t digit = 15u - (cu_bits(sample_weight_of(r, from[i])) >> shift & 15u);
                s->count[digit * SAMPLE_THREADS + t]++;
            }
        }
        SYNC();
        sample_scan_digits(s);
        THREADS(t, SAMPLE_THREADS)
        {
            for (int64_t i = t * span; i < cu_min64((t + 1) * span, count); i++) {
                const uint32_t digit = 15u - (cu_bits(sample_weight_of(r, from[i])) >> shift & 15u);
                to[s->count[digit * SAMPLE_THREADS + t]++] = from[i];
            }
        }
        SYNC();
    }
}

typedef enum sample_walk { SAMPLE_TOTAL, SAMPLE_KEEP, SAMPLE_DRAW } sample_walk;

/* One tile of the walk below, by one thread. */
TR_DEVICE void sample_walk_tile(const sample_row *r, const int32_t *list, int64_t first, int64_t count, int what)
{
    sample_shared *s = r->s;
    const sample_settings *set = r->a->settings;
    for (int64_t i = first; i < cu_min64(first + SAMPLE_THREADS, count) && !s->done; i++) {
        const double w = (double)s->weight[i - first];
        s->first = i == 0 ? w : s->first;
        if (what == SAMPLE_KEEP && i > 0 &&
            !((set->top_p >= 1.0 || s->sum < set->top_p * s->total) && w >= set->min_p * s->first)) {
            s->done = 1;
            return;
        }
        s->sum += w;
        s->kept = i + 1;
        if (what == SAMPLE_DRAW) {
            s->id = list[i];
            s->done = s->sum > s->target;
        }
    }
}

/* Adds up the weights of a sorted list in its order: all of them; as far as top_p and min_p let it (s->kept);
 * or until the target is passed (s->id, the last one where it never is). */
TR_DEVICE void sample_walk_list(const sample_row *r, const int32_t *list, int64_t count, int what)
{
    sample_shared *s = r->s;
    THREADS(t, SAMPLE_THREADS)
    {
        if (t == 0) {
            s->sum = 0.0;
            s->kept = 0;
            s->id = -1;
            s->done = 0;
        }
    }
    SYNC();
    for (int64_t first = 0; first < count && !s->done; first += SAMPLE_THREADS) {
        THREADS(t, SAMPLE_THREADS)
        {
            s->weight[t] = first + t < count ? sample_weight_of(r, list[first + t]) : 0.0f;
        }
        SYNC();
        THREADS(t, SAMPLE_THREADS)
        {
            if (t == 0) {
                sample_walk_tile(r, list, first, count, what);
            }
        }
        SYNC();
    }
}

TR_DEVICE void sample_from_list(const sample_row *r, int32_t *list, int32_t *other, double u)
{
    sample_shared *s = r->s;
    const sample_settings *set = r->a->settings;
    if (set->top_k > 0 && set->top_k < r->a->vocab) {
        uint32_t equal;
        const uint32_t above = sample_threshold(r, set->top_k, &equal);
        sample_list(r, list, above, equal, 0.0);
        sample_sort(r, list, other, s->listed);
        sample_walk_list(r, list, s->listed, SAMPLE_TOTAL);
        THREADS(t, SAMPLE_THREADS)
        {
            if (t == 0) {
                s->total = s->sum;
            }
        }
        SYNC();
    } else { /* what cannot be in the nucleus, or is below min_p of the largest, need not be sorted */
        sample_walk_sums(r, 0);
        THREADS(t, SAMPLE_THREADS)
        {
            if (t == 0) {
                const float zero = 0.0f * set->inverse;
                const double nucleus = (1.0 - set->top_p) * s->total / (double)r->a->vocab;
                const double floor = set->min_p * (double)sample_weigh(zero > -87.0f ? zero : -87.0f);
                s->target = nucleus > floor ? nucleus : floor;
            }
        }
        SYNC();
        sample_list(r, list, 0u, 0u, s->target);
        sample_sort(r, list, other, s->listed);
    }
    sample_walk_list(r, list, s->listed, SAMPLE_KEEP);
    const int64_t kept = s->kept;
    THREADS(t, SAMPLE_THREADS)
    {
        if (t == 0) {
            s->target = u * s->sum;
        }
    }
    SYNC();
    sample_walk_list(r, list, kept, SAMPLE_DRAW);
}

/* The token's log-probability from the chunks' sums, in softmax_block's order. */
TR_DEVICE float sample_logp(const sample_row *r, int64_t logit_row, int id)
{
    const sample_args *a = r->a;
    const int64_t chunks = sample_chunks(a);
    const float temperature = a->settings->recorded;
    const float best = cu_divide(sample_largest(a->largest + logit_row * chunks, chunks), temperature);
    double total = 0.0;
    for (int64_t c = 0; c < chunks; c++) {
        total += (double)a->part[logit_row * chunks + c];
    }
    return (float)((double)cu_divide(r->row[id], temperature) - ((double)best + cu_log64(total)));
}

TR_DEVICE void sample_pick_block(const sample_args *a, int x, int y, int z, void *memory)
{
    (void)y, (void)z;
    sample_shared *s = (sample_shared *)memory;
    const int64_t from = a->shared ? 0 : x, chunks = sample_chunks(a);
    const sample_row r = {a, s, a->logits + from * a->vocab, a->sums + from * sample_blocks(a),
                          sample_largest(a->top + from * chunks, chunks)};
    const sample_settings *set = a->settings;
    const double u = sample_uniform(&a->draws[x]);
    THREADS(t, SAMPLE_THREADS)
    {
        if (t == 0) {
            s->id = -1;
        }
    }
    SYNC();
    if (sample_finite(r.top)) {
        if (set->temperature <= 0.0) {
            sample_greedy(&r);
        } else if ((set->top_k > 0 && set->top_k < a->vocab) || set->top_p < 1.0 || set->min_p > 0.0) {
            int32_t *list = a->list + 2 * (int64_t)x * a->vocab;
            sample_from_list(&r, list, list + a->vocab, u);
        } else {
            sample_all(&r, u);
        }
    }
    THREADS(t, SAMPLE_THREADS)
    {
        if (t == 0) {
            int ended = 0;
            for (int64_t i = 0; i < set->end_count; i++) {
                ended |= a->end_ids[i] == s->id;
            }
            a->out[x].id = s->id;
            a->out[x].logp = s->id < 0 ? 0.0f : sample_logp(&r, from, s->id);
            a->out[x].ended = ended;
        }
    }
}

#endif
