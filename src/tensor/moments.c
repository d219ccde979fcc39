/* moments.c: the codes of 8-bit moments, computed from their rule, and whole matrices to records and back, for
 * checkpoints. Steps are taken by the backends (isa_moments.c, cuda/kernel_moments.h). */
#include "tensor/moments.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum { DECADES = 7 };

static tr_moments8_tables tables;
static pthread_once_t made = PTHREAD_ONCE_INIT;

/* Magnitudes in ascending order behind 0 at [0], 1 at the end; `first` cells in the decade below 1. */
static int make_magnitudes(double *magnitude, int first)
{
    int count = 1;
    double decade = 1e6; /* powers of ten are exact: one rounding a value */
    magnitude[0] = 0;
    for (int d = DECADES - 1; d >= 0; d--, decade /= 10) {
        const int cells = first >> d;
        for (int i = 0; i < cells; i++) {
            magnitude[count++] = (0.1 + 0.9 * (i + 0.5) / cells) / decade;
        }
    }
    magnitude[count++] = 1;
    return count;
}

static void make_edges(float *edge, const double *magnitude, int count)
{
    for (int r = 0; r + 1 < count; r++) {
        edge[r] = (float)(((double)(float)magnitude[r] + (double)(float)magnitude[r + 1]) / 2);
    }
    edge[count - 1] = INFINITY;
}

static void make_cells(uint8_t *cell, const float *edge)
{
    for (int c = 0, rank = 0; c < TR_MOMENTS_CELLS; c++) {
        const uint32_t bits = (uint32_t)(TR_MOMENTS_BASE + c) << 16;
        float smallest;
        memcpy(&smallest, &bits, sizeof smallest);
        while (smallest > edge[rank]) {
            rank++;
        }
        cell[c] = (uint8_t)rank;
    }
}

static void make(void)
{
    double magnitude[256];
    int count = make_magnitudes(magnitude, 64); /* 0, 127 middles, 1 */
    for (int r = 0; r < count; r++) {
        tables.m[TR_MOMENTS_ZERO + r] = (float)magnitude[r];
        if (r < count - 1) {
            tables.m[TR_MOMENTS_ZERO - r] = (float)-magnitude[r];
        }
    }
    tables.m[TR_MOMENTS_ZERO] = 0; /* not -0 */
    make_edges(tables.m_edge, magnitude, count);
    make_cells(tables.m_cell, tables.m_edge);
    count = make_magnitudes(magnitude, 128); /* 0, 254 middles, 1 */
    for (int r = 0; r < count; r++) {
        tables.v[r] = (float)magnitude[r];
    }
    make_edges(tables.v_edge, magnitude, count);
    make_cells(tables.v_cell, tables.v_edge);
}

const tr_moments8_tables *tr_moments8_tables_get(void)
{
    pthread_once(&made, make);
    return &tables;
}

/* ---- whole matrices ---- */

/* One tile: values of its rows at m, v with a stride of `in`. */
static void pack_tile(unsigned char *record, const float *m, const float *v, int64_t rows, int64_t columns,
                      int64_t in)
{
    const tr_moments8_tables *t = tr_moments8_tables_get();
    float largest = 0, smallest = 0, most = 0;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++) {
            const float a = m[r * in + c], b = v[r * in + c];
            largest = a > largest ? a : largest;
            smallest = a < smallest ? a : smallest;
            most = b > most ? b : most;
        }
    }
    const float scale[2] = {tr_moments8_scale(largest, smallest), most};
    memcpy(record, scale, sizeof scale);
    uint8_t *code_m = record + sizeof scale, *code_v = code_m + TR_PANEL * columns;
    for (int64_t i = 0; i < TR_PANEL * columns; i++) {
        const int64_t r = i / columns, c = i % columns;
        const bool there = r < rows;
        code_m[i] = there && scale[0] != 0 ? tr_moments8_code_m(t, m[r * in + c] / scale[0]) : TR_MOMENTS_ZERO;
        code_v[i] = there && scale[1] != 0 ? tr_moments8_code_v(t, v[r * in + c] / scale[1]) : 0;
    }
}

static void unpack_tile(float *m, float *v, const unsigned char *record, int64_t rows, int64_t columns, int64_t in)
{
    const tr_moments8_tables *t = tr_moments8_tables_get();
    float scale[2];
    memcpy(scale, record, sizeof scale);
    const uint8_t *code_m = record + sizeof scale, *code_v = code_m + TR_PANEL * columns;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++) {
            const int64_t i = r * columns + c;
            if (m) {
                m[r * in + c] = t->m[code_m[i]] * scale[0];
            }
            if (v) {
                v[r * in + c] = t->v[code_v[i]] * scale[1];
            }
        }
    }
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void tr_moments8_pack(void *records, const float *m, const float *v, int64_t rows, int64_t in)
{
    unsigned char *record = records;
    for (int64_t row = 0; row < rows; row += TR_PANEL) {
        for (int64_t column = 0; column < in; column += TR_MOMENTS_TILE) {
            const int64_t columns = least(in - column, TR_MOMENTS_TILE), at = row * in + column;
            pack_tile(record, m + at, v + at, least(rows - row, TR_PANEL), columns, in);
            record += tr_moments8_panel_bytes(columns);
        }
    }
}

void tr_moments8_unpack(float *m, float *v, const void *records, int64_t rows, int64_t in)
{
    const unsigned char *record = records;
    for (int64_t row = 0; row < rows; row += TR_PANEL) {
        for (int64_t column = 0; column < in; column += TR_MOMENTS_TILE) {
            const int64_t columns = least(in - column, TR_MOMENTS_TILE), at = row * in + column;
            unpack_tile(m ? m + at : NULL, v ? v + at : NULL, record, least(rows - row, TR_PANEL), columns, in);
            record += tr_moments8_panel_bytes(columns);
        }
    }
}
