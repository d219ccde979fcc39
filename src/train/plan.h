/* plan.h: what a stage takes in memory beside its weights and their state: the shapes of its network and the bytes
 * of everything else that is made before the first step. One account, by which the run allocates (setup.c) and
 * which `model plan` prints; both begin with limits of rows, the run with its rows' own, `model plan` also with
 * bounds.
 *
 * Counts nothing that a step frees again and that depends on a row's text: prompt ids, response texts, log lines.
 */
#ifndef TR_TRAIN_PLAN_H
#define TR_TRAIN_PLAN_H

#include "train/config.h"

/* What the rows of a stage ask for. */
typedef struct tr_plan_rows {
    tr_source_limits limits; /* the largest over training and evaluation rows */
    int64_t pairs;           /* SFT: most rows of one clip in one packed group; 1: each has its own */
    bool evaluates;          /* answers of evaluation rows are sampled */
} tr_plan_rows;

/* Bytes beside weights and networks. */
typedef struct tr_plan_bytes {
    uint64_t responses; /* ids, log-probs and advantages of a step's responses, logits of the decode batch */
    uint64_t features, reference_features; /* the vision tower's output for the clips of a step */
    uint64_t kept, reference_kept;         /* the same of further clips, at most: room that is there for it */
    uint64_t evaluation;                   /* answers of an evaluation and the features of its batch */
    uint64_t pixels;                       /* patches of the clips that a forward or backward reads */
    uint64_t saving;                       /* what the writer of a checkpoint works in, its copy apart */
    uint64_t waiting;                      /* decoded clips: open, or opened ahead */
} tr_plan_bytes;

bool tr_plan_trains_vision(const tr_config *config); /* tower or merger */

/* The configuration's video block as a source takes it. */
tr_video_settings tr_plan_video(const tr_config *config);

/* What the rows ask for, without opening a row: a clip as large as the video settings allow (patches and
 * largest_grid may be set, else 0), `text` further tokens of a prompt, `target` tokens of a target, and, for SFT,
 * as many rows of one clip as may be packed. */
void tr_plan_rows_bound(const tr_config *config, int64_t text, int64_t target, tr_plan_rows *rows);
/* What they do ask for: opens the rows of data and eval as the run does (the videos must be there). */
tr_status tr_plan_rows_read(const tr_config *config, const tr_model_config *model, tr_plan_rows *rows,
                            tr_error *err);

/* The larger of both, field by field. */
void tr_plan_join(tr_source_limits *limits, const tr_source_limits *other);

/* The shapes of the run's network, and of a reference that is not the model itself. */
void tr_plan_limits(const tr_config *config, const tr_plan_rows *rows, tr_network_limits *limits);
void tr_plan_reference_limits(const tr_config *config, const tr_network_limits *limits,
                              tr_network_limits *reference);

/* Room for that reference's network in the run's own (limits->lends): they never work at the same time. model: the
 * reference; NULL: `shape` on the configuration's device. A GPU's network lends nothing: there the bytes come on
 * top. */
tr_status tr_plan_lend(const tr_config *config, const tr_model *model, const tr_model_config *shape,
                       tr_network_limits *limits, tr_error *err);

/* Fewer prompts share a decode batch until the network takes no more than `room` bytes; *bytes is what it takes.
 * model: with its own kernels and device; NULL: `shape` on the configuration's device. */
tr_status tr_plan_fit(const tr_config *config, const tr_model *model, const tr_model_config *shape, uint64_t room,
                      tr_network_limits *limits, uint64_t *bytes, tr_error *err);

/* refers: the stage has a reference; own_reference: which is not the model itself with its adapter off. machine:
 * bytes of the machine's memory, of which kept features take a share. */
void tr_plan_step(const tr_config *config, const tr_network_limits *limits, const tr_model_config *model,
                  bool refers, bool own_reference, uint64_t machine, tr_plan_bytes *bytes);

/* Of the machine, UINT64_MAX where unknown. */
uint64_t tr_plan_machine_bytes(void);

/* ---- the pieces of a trainer (trainer.h) that tr_plan_step counts under `responses`, by which setup.c allocates
 * and releases them ---- */

typedef struct tr_plan_piece {
    size_t place, count, size; /* offset of the pointer in tr_trainer */
    bool aligned;              /* read by vector kernels */
} tr_plan_piece;
enum { TR_PLAN_PIECES = 40 };
size_t tr_plan_pieces(const tr_config *config, const tr_network_limits *limits, bool refers, int64_t hidden,
                      tr_plan_piece pieces[TR_PLAN_PIECES]);

#endif
