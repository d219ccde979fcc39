/* isa_moments.c: AdamW with its moments in 8 bits (tensor/moments.h): a tile's moments are widened, stepped in f32
 * as AdamW steps them, and narrowed again by the scales of the new values. Parameters get the step of the f32
 * values.
 *
 * Panels are shared among threads; a tile is 256 neighbours of a panel, [columns][16]. */
#include "tensor/cpu/lanes_adamw.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/variant.h"
#include "tensor/moments.h"

enum { TILE = TR_PANEL * TR_MOMENTS_TILE };

/* The lanes of a tile's columns in a record's codes: row-major there, [columns][16] here. */
static void widen(float *values, const uint8_t *code, const float *table, float scale, int64_t columns)
{
    float shares[TILE];
    for (int64_t c = 0; c < columns; c++) {
        for (int64_t r = 0; r < TR_PANEL; r++) {
            shares[c * TR_PANEL + r] = table[code[r * columns + c]];
        }
    }
    for (int64_t c = 0; c < columns; c++) {
        lanes_store(values + c * TR_PANEL, lanes_mul(lanes_load(shares + c * TR_PANEL), lanes_set(scale)));
    }
}

static void shares_of(float *values, float scale, int64_t columns)
{
    for (int64_t c = 0; c < columns; c++) {
        lanes_store(values + c * TR_PANEL, lanes_div(lanes_load(values + c * TR_PANEL), lanes_set(scale)));
    }
}

static void narrow_m(uint8_t *code, float *m, float scale, int64_t columns, const tr_moments8_tables *t)
{
    if (scale == 0.0f) {
        memset(code, TR_MOMENTS_ZERO, (size_t)(TR_PANEL * columns));
        return;
    }
    shares_of(m, scale, columns);
    for (int64_t c = 0; c < columns; c++) {
        for (int64_t r = 0; r < TR_PANEL; r++) {
            code[r * columns + c] = tr_moments8_code_m(t, m[c * TR_PANEL + r]);
        }
    }
}

static void narrow_v(uint8_t *code, float *v, float scale, int64_t columns, const tr_moments8_tables *t)
{
    if (scale == 0.0f) {
        memset(code, 0, (size_t)(TR_PANEL * columns));
        return;
    }
    shares_of(v, scale, columns);
    for (int64_t c = 0; c < columns; c++) {
        for (int64_t r = 0; r < TR_PANEL; r++) {
            code[r * columns + c] = tr_moments8_code_v(t, v[c * TR_PANEL + r]);
        }
    }
}

/* p, g [columns][16] */
static void step_tile(float *p, const float *g, unsigned char *record, int64_t columns, const tr_adamw_constants *k,
                      const tr_moments8_tables *t)
{
    float m[TILE], v[TILE], scale[2];
    uint8_t *code_m = record + sizeof scale, *code_v = code_m + TR_PANEL * columns;
    memcpy(scale, record, sizeof scale);
    widen(m, code_m, t->m, scale[0], columns);
    widen(v, code_v, t->v, scale[1], columns);
    lanes largest = lanes_zero(), smallest = lanes_zero(), most = lanes_zero();
    for (int64_t c = 0; c < columns; c++) {
        const int64_t at = c * TR_PANEL;
        lanes x = lanes_load(p + at), a = lanes_load(m + at), b = lanes_load(v + at);
        adamw_lanes(&x, lanes_load(g + at), &a, &b, k);
        lanes_store(p + at, x), lanes_store(m + at, a), lanes_store(v + at, b);
        largest = lanes_max(a, largest), smallest = lanes_min(a, smallest), most = lanes_max(b, most);
    }
    scale[0] = tr_moments8_scale(lanes_largest(largest), 0.0f - lanes_largest(lanes_sub(lanes_zero(), smallest)));
    scale[1] = lanes_largest(most);
    memcpy(record, scale, sizeof scale);
    narrow_m(code_m, m, scale[0], columns, t);
    narrow_v(code_v, v, scale[1], columns, t);
}

void TR_VARIANT(adamw8_step)(float *parameter, const float *gradient, void *records, int64_t out, int64_t in,
                             const tr_adamw *adamw)
{
    const tr_adamw_constants k = tr_adamw_constants_of(adamw);
    const tr_moments8_tables *t = tr_moments8_tables_get();
    const int64_t panels = (out + TR_PANEL - 1) / TR_PANEL, bytes = tr_moments8_panel_bytes(in);
    const bool fork = tr_worth(panels * in * TR_PANEL * 2);
#pragma omp parallel for schedule(static) if (fork)
    for (int64_t panel = 0; panel < panels; panel++) {
        unsigned char *record = (unsigned char *)records + panel * bytes;
        for (int64_t c = 0; c < in; c += TR_MOMENTS_TILE) {
            const int64_t columns = tr_min_i64(TR_MOMENTS_TILE, in - c), at = (panel * in + c) * TR_PANEL;
            step_tile(parameter + at, gradient + at, record, columns, &k, t);
            record += 2 * TR_PANEL * columns + 8;
        }
    }
}
