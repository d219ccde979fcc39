/* algorithm.h: what the algorithm family remembers from step to step, beside weights and order: moving moments of
 * the rewards of each task (EMA-GRPO), each row's newest mean score (Time-R1's filter), the last steps' rewards
 * (TimeLens' early stop). Saved in checkpoints as one JSON value. */
#ifndef TR_TRAIN_ALGORITHM_H
#define TR_TRAIN_ALGORITHM_H

#include "base/json.h"
#include "train/config.h"

enum { TR_ALGORITHM_TASKS = 16 };

typedef struct tr_algorithm_state {
    struct {
        char name[24];
        tr_moments moments;
    } tasks[TR_ALGORITHM_TASKS];
    int task_count;

    double *scores; /* [rows] newest mean score of each row, NaN: none yet; NULL without a filter */
    int64_t rows;

    double *history[2]; /* [2 * window] mean reward and mean deviation in groups, oldest first; NULL without */
    int64_t window, steps /* kept so far, at most 2 * window */;
    bool flat; /* the run ends here */
} tr_algorithm_state;

/* Only what the configuration needs is kept. scores [rows] are those known beforehand (NaN: none), NULL: none. */
tr_status tr_algorithm_state_create(tr_algorithm_state *state, const tr_config *config, int64_t rows,
                                    const double *scores, tr_error *err);
void tr_algorithm_state_free(tr_algorithm_state *state);

/* The moments of a task, which are made when it is new; NULL when there are too many tasks. */
tr_moments *tr_algorithm_state_moments(tr_algorithm_state *state, const char *task);

/* Keeps a step's means and says whether both have been flat: the means of the newer and the older half of the last
 * 2 * window steps differ by no more than `change`. */
bool tr_algorithm_state_is_flat(tr_algorithm_state *state, double reward, double deviation, double change);

/* The state as a JSON object (owned by the caller, NULL out of memory) that reads back to the same bits. */
json_t *tr_algorithm_state_to_json(const tr_algorithm_state *state);
/* Fills a state made for the same configuration. NULL (a checkpoint without it) leaves the state as it is. `where`
 * names the file in errors. */
tr_status tr_algorithm_state_from_json(tr_algorithm_state *state, const json_t *object, const char *where,
                                       tr_error *err);

#endif
