/* order.h: in which order a run takes the rows of its source.
 *
 * A row comes as often in an epoch as its entry's weight says: the whole part of the weight for every row, and for
 * the rest a window over a fixed permutation of the entry's rows that moves on from epoch to epoch (so that weight
 * 0.5 shows every row once in two epochs). Then the epoch is shuffled, and where asked for the rows of one clip are
 * gathered. All of it is a function of (seed, epoch): the position is the only state that a checkpoint needs. */
#ifndef TR_TRAIN_ORDER_H
#define TR_TRAIN_ORDER_H

#include "input/sample.h"

typedef enum tr_difficulty { TR_DIFFICULTY_NONE, TR_DIFFICULTY_GAUSSIAN, TR_DIFFICULTY_DENSITY } tr_difficulty;

typedef struct tr_order {
    uint64_t seed;
    int64_t length;   /* rows of one epoch */
    int64_t position; /* rows taken so far, over all epochs */
    int64_t epoch[2]; /* of the two lists: the present one and one that was looked at ahead; -1: none yet */
    int64_t *rows[2]; /* [length] of that epoch */
    int64_t together; /* rows of one clip that come together at most; 1: rows stand alone */
    const tr_source *source;
    double *shares; /* [source rows] how likely a row is, by its score; NULL: all alike */
} tr_order;

/* The source must outlive the order. TR_INVALID when every weight rounds to no rows. */
tr_status tr_order_create(tr_order *order, const tr_source *source, uint64_t seed, tr_error *err);
void tr_order_free(tr_order *order);

/* From now on a row comes as often, on average, as its source's score says, an epoch keeping its length: by a
 * Gaussian [centre, deviation], or by it over the density of all scores (a histogram of 20 bins from the least to
 * the largest). Systematic resampling: with n rows, one of share p comes n p or one more or less times.
 * TR_NOT_FOUND names a row without a score; TR_INVALID when no row has a share. */
tr_status tr_order_weigh(tr_order *order, tr_difficulty kind, const double gaussian[2], tr_error *err);

/* From here on rows with equal numbers in the source's `shared` come one after the other, at most `most` of them;
 * the place of the first one in the shuffled epoch decides. *longest: how many come together at most. To be called
 * before the first row is taken. */
tr_status tr_order_gather(tr_order *order, int64_t most, int64_t *longest, tr_error *err);

/* The next row, and one step on. */
tr_status tr_order_next(tr_order *order, int64_t *row, tr_error *err);

/* The next `count` rows without a step. */
tr_status tr_order_peek(tr_order *order, int64_t *rows, int64_t count, tr_error *err);

#endif
