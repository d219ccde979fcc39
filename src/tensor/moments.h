/* moments.h: AdamW's two moments of a matrix in one byte each.
 *
 * The idea is block-wise quantisation with a dynamic code (Dettmers, Lewis, Shleifer, Zettlemoyer, "8-bit
 * Optimizers via Block-wise Quantization", ICLR 2022, section 2): every block has an f32 scale, the value of its
 * element that is largest in magnitude, and each element is the code that is nearest to its share of the scale. The
 * codes come from a rule, not from a list. A share lies in one of seven decades (10^-(d+1), 10^-d]; the first
 * decade is cut into 64 equal cells for m and 128 for v, each further one into half as many; a cell is told by its
 * middle. With 0 and 1 that makes 128 magnitudes for m and 256 values for v, and both signs of m take 256 codes.
 *
 * Three things are our own. A block is a tile of 16 rows and 16 columns of the matrix: 256 neighbours in the CPU's
 * panels and sixteen short runs in a GPU's rows, so that both make the same blocks and the same bytes. The scale of
 * m has the sign of its largest element, which therefore is always told exactly. A positive v never becomes 0, it
 * takes the smallest code: 0 under a root would turn a small step into a very large one.
 *
 * Rounding is to the nearest code, halves to the smaller magnitude. Arithmetic is f32 in one fixed order; maxima do
 * not depend on an order. Thread safety: everything but the first call of tr_moments8_tables, which is guarded,
 * only reads the tables.
 *
 * A record is what a tile of `columns` (16, in the last tile of a row of tiles what is left) takes: the scales of m
 * and v as f32, 16 * columns codes of m, 16 * columns codes of v, both row-major in the tile. Records stand panel
 * by panel (16 rows of the matrix), in each from left to right, on every backend. Rows beyond the matrix hold
 * zeros. */
#ifndef TR_TENSOR_MOMENTS_H
#define TR_TENSOR_MOMENTS_H

#include "tensor/matrix.h"

enum {
    TR_MOMENTS_TILE = 16,           /* columns; rows are TR_PANEL */
    TR_MOMENTS_ZERO = 127,          /* the code of m = 0; larger ones are positive */
    TR_MOMENTS_BASE = 103 << 7,     /* the upper 16 bits of 2^-24, which is below half of the smallest code */
    TR_MOMENTS_CELLS = 24 * 128 + 1 /* shares from 2^-24 to 1 by their upper 16 bits */
};

/* Ranks are places among the magnitudes, 0 being 0. edge[r] is the middle between ranks r and r + 1, infinite
 * behind the last; cell[c] is the rank of the smallest share with the upper bits BASE + c, and no cell holds two
 * edges. */
typedef struct tr_moments8_tables {
    float m[256], v[256]; /* values of the codes */
    float m_edge[129], v_edge[256];
    uint8_t m_cell[TR_MOMENTS_CELLS], v_cell[TR_MOMENTS_CELLS], unused[2];
} tr_moments8_tables;

const tr_moments8_tables *tr_moments8_tables_get(void);

static inline int64_t tr_moments8_panel_bytes(int64_t in)
{
    return 2 * TR_PANEL * in + 8 * ((in + TR_MOMENTS_TILE - 1) / TR_MOMENTS_TILE);
}

/* Bytes of the records of a matrix [out, in]. */
static inline int64_t tr_moments8_bytes(int64_t out, int64_t in)
{
    return (out + TR_PANEL - 1) / TR_PANEL * tr_moments8_panel_bytes(in);
}

/* Records of `rows` rows (a multiple of 16, or the last ones) from row-major values and back. Either output of
 * unpack may be NULL. */
void tr_moments8_pack(void *records, const float *m, const float *v, int64_t rows, int64_t in);
void tr_moments8_unpack(float *m, float *v, const void *records, int64_t rows, int64_t in);

/* The scale of m from the largest and smallest element (0 where the block has no such sign). */
static inline float tr_moments8_scale(float largest, float smallest)
{
    return largest >= 0.0f - smallest ? largest : smallest;
}

/* The rank of a share's magnitude; what is not finite gives the last cell's. */
static inline uint32_t tr_moments8_rank(const uint8_t *cell, const float *edge, float magnitude)
{
    union {
        float f;
        uint32_t u;
    } bits = {magnitude};
    int32_t at = (int32_t)(bits.u << 1 >> 17) - TR_MOMENTS_BASE; /* -0 is 0 */
    at = at < 0 ? 0 : at >= TR_MOMENTS_CELLS ? TR_MOMENTS_CELLS - 1 : at;
    const uint32_t rank = cell[at];
    return rank + (magnitude > edge[rank]);
}

static inline uint8_t tr_moments8_code_m(const tr_moments8_tables *t, float share)
{
    const float magnitude = share < 0.0f ? 0.0f - share : share;
    const uint32_t rank = tr_moments8_rank(t->m_cell, t->m_edge, magnitude);
    return (uint8_t)(share < 0.0f ? TR_MOMENTS_ZERO - (rank < 127 ? rank : 127) : TR_MOMENTS_ZERO + rank);
}

static inline uint8_t tr_moments8_code_v(const tr_moments8_tables *t, float share)
{
    const uint32_t rank = tr_moments8_rank(t->v_cell, t->v_edge, share);
    return (uint8_t)(rank == 0 && share > 0.0f ? 1 : rank);
}

#endif
