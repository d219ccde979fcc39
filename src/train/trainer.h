/* trainer.h: what the parts of a run share: the trainer and its steps. Internal to src/train. */
#ifndef TR_TRAIN_TRAINER_H
#define TR_TRAIN_TRAINER_H

#include "base/progress.h"
#include "model/device_plan.h"
#include "rl/optimiser.h"
#include "run/events.h"
#include "task/watch.h"
#include "train/algorithm.h"
#include "train/order.h"
#include "train/pack.h"
#include "train/save.h"
#include "train/train.h"

/* Seconds of one step, by part. `decode` is what opening its clips took, mostly beside the computing; `stall` the
 * waiting for input. */
typedef struct tr_step_seconds {
    double decode, vision, prefill, rollout, reference, update, save, stall, total;
} tr_step_seconds;

enum { TR_STEP_NAMES = 16, TR_STEP_TASKS = 8 };
typedef struct tr_named_sum {
    char name[24];
    double sum;
    int64_t count;
} tr_named_sum;

/* The share of one task in a step. Sums, as in the step's own report. */
typedef struct tr_task_report {
    char name[16];
    int64_t prompts, prompt_tokens, responses, response_tokens, shortest, longest; /* lengths in tokens */
    int64_t truncated, formatted, parsed, zero_variance;
    double reward, reward_std;
    double loss, kl, entropy; /* loss as weighted; the others summed over the tokens of all updates */
    int64_t tokens;           /* of all updates */
    tr_named_sum parts[TR_STEP_NAMES];
    int64_t watched, watch[TR_WATCH_COUNT];
} tr_task_report;

/* What one step did; made anew for each. */
typedef struct tr_step_report {
    bool skipped; /* a loss, gradient or logit was not finite: no update was made (or not all) */
    char reason[160];
    tr_policy_sums sums;    /* over all updates */
    int64_t updates;        /* made */
    double loss, grad_norm; /* mean over the updates tried */
    int64_t tried;
    double lr, gap; /* of the last update; largest |sampled - recomputed| */
    int64_t responses, response_tokens, prompt_tokens, truncated, formatted, zero_variance, groups;
    int64_t resampled, filtered;       /* groups replaced by dynamic sampling, rows left out by grpo.filter */
    int64_t shared_tokens;             /* SFT: prompt tokens that pairs of one clip did not compute again */
    int64_t parsed, shortest, longest; /* responses that were understood; tokens of the extreme ones */
    double reward, reward_std;         /* sums over responses and groups */
    tr_named_sum parts[TR_STEP_NAMES];
    tr_task_report tasks[TR_STEP_TASKS];    /* those with a name, in the order of tr_task */
    int64_t watched, watch[TR_WATCH_COUNT]; /* responses looked at; those that show a sign of task/watch.h */
    tr_step_seconds seconds;
} tr_step_report;

typedef struct tr_trainer {
    const tr_config *config;
    const tr_train_options *options;
    tr_error *err;
    char *model_dir; /* where the weights came from */
    char *tokenizer_dir;
    json_t *resolved;

    tr_model_config shape;       /* of the model, from its headers; the rows are opened against it */
    tr_device_plan plan;         /* of a GPU; else all 0 */
    tr_model *model, *reference; /* reference NULL without KL; the model itself where only an adapter trains */
    tr_network *network, *reference_network;
    tr_network_limits limits;
    tr_source *source, *eval_source;
    tr_rollout *rollout; /* NULL for SFT */
    tr_features *features, *reference_features;
    float *coming;      /* where the features of the row taken last are to be made; NULL: it has them, or none */
    bool vision_trains; /* tower or merger */
    tr_optimiser optimiser;
    tr_order order;
    tr_sampling sampling;
    tr_algorithm_state algorithm; /* saved with the order and the counters */

    int64_t step, steps; /* done, in all */
    int64_t skipped_steps, skipped_in_a_row, skipped_rows, first_step /* of this process */;
    uint64_t version; /* of the vision weights */
    double elapsed_s, start_s;

    /* Working memory of a step, planned once. P prompts, T tokens of all their responses at most. */
    int64_t prompts, group;     /* P; responses to each, 1 for SFT */
    int64_t sampled;            /* of these: all, or all but the row's target (grpo.off_policy) */
    tr_sample *samples;         /* [P] */
    tr_group *groups;           /* [P] */
    tr_rollout_prompt *asked;   /* [P] */
    tr_rollout_group *answered; /* [P] in the kept memory below */
    int64_t *leaders; /* [P] SFT: the sample whose group a sample belongs to: itself, or one before with its clip */
    tr_pack pack;     /* SFT: the group that is computed now */
    double *rewards, *advantages;              /* [P * group]; rewards with penalties once advantages are made */
    double *penalties;                         /* [P * group] what length and KL add to the rewards */
    double *token_advantages;                  /* [P][T / P] reinforce++ only, else NULL */
    double *scratch;                           /* for making advantages */
    uint8_t *masked;                           /* [P * group] 1: not in the loss */
    int64_t loss_responses, loss_tokens;       /* what is in it */
    tr_score *scores;                          /* [P * group] */
    char **texts;                              /* [P * group], owned */
    unsigned *signs;                           /* [P * group] bits of tr_watch_sign */
    int32_t *kept_ids;                         /* [P][T / P] the step's responses, target included, packed */
    float *kept_logp;                          /* the same */
    int64_t *kept_lengths;                     /* [P * group] */
    uint8_t *kept_stopped;                     /* [P * group] */
    int64_t *places, *asked_rows, asked_count; /* [P]; [P * (1 + dynamic_rounds)] rows asked in this step so far */
    tr_rollout_prompt *round_asked;            /* [P] */
    tr_rollout_group *round_answered;          /* [P] */
    float *reference_logp;                     /* [T] */
    float *logp, *entropy, *dlogp, *dentropy;  /* [tokens of one group] */
    float *dfeatures, *kept_features;          /* [visual tokens][hidden] when the vision trains */

    tr_saving saving;
    FILE *metrics, *rollouts;
    double curves_s, curves_cost_s; /* when curves.svg was drawn last, and how long that took */
    tr_events events;               /* closed when it cannot be written: a run does not end for it */
    unsigned warned;                /* signs whose share was above train.watch at the last step */
    bool many_tasks;                /* more than one has been seen: the step's line names them */
    int lock;                       /* descriptor, -1: none */
} tr_trainer;

/* setup.c: makes everything that a stage needs (fresh weights of model_dir), and releases it. */
tr_status tr_trainer_create(tr_trainer *t, const tr_config *config, const char *model_dir,
                            const tr_train_options *options, tr_error *err);
void tr_trainer_free(tr_trainer *t);

/* batch.c: takes the rows of a step: samples and groups without responses. Broken rows are said, counted and left
 * out. SFT takes all of them with their features under the present weights; GRPO begins, and takes each when the
 * rollout has room for it: what features are not there are made with its prefill, in t->coming. */
tr_status tr_trainer_take(tr_trainer *t, tr_step_report *report);
tr_status tr_trainer_take_begin(tr_trainer *t);
tr_status tr_trainer_take_one(tr_trainer *t, int64_t i, tr_step_report *report);
void tr_trainer_clear(tr_trainer *t); /* samples, scores, texts */
/* Makes ready for other rows in `count` places (ascending), whose samples, scores and texts go; the features of the
 * rest stay. The rows are taken one by one. */
tr_status tr_trainer_take_again(tr_trainer *t, const int64_t *places, int64_t count, tr_step_report *report);

/* collect.c: takes, answers and judges the step's groups: answered, scores, texts and rewards are filled. */
tr_status tr_trainer_collect(tr_trainer *t, tr_step_report *report);
/* advantages.c: advantages, masked and the totals of the loss from the rewards (and log-probabilities of policy and
 * reference, where the KL stands in the reward). Brings the moving moments up to the step. */
tr_status tr_trainer_make_advantages(tr_trainer *t);

/* One step; the report is filled also when the step is skipped. Errors are only those that end a run. */
tr_status tr_trainer_step_grpo(tr_trainer *t, tr_step_report *report); /* step_grpo.c */
tr_status tr_trainer_step_sft(tr_trainer *t, tr_step_report *report);  /* step_sft.c */

/* eval_loss.c: puts "loss" (the mean cross-entropy of the eval rows' targets), "loss_rows" and "loss_tokens" into
 * *metrics, which is made when it is NULL. */
tr_status tr_trainer_eval_loss(tr_trainer *t, json_t **metrics);

/* update.c: forward with kept activations of group i (features under the present weights are made where the vision
 * trains), and its backward with dlogp and dentropy. */
tr_status tr_trainer_forward(tr_trainer *t, int64_t i, float temperature);
tr_status tr_trainer_backward(tr_trainer *t, int64_t i);
/* Norm, clip and optimiser step after all groups; loss is the step's. Marks the report skipped instead when
 * something is not finite. */
tr_status tr_trainer_apply(tr_trainer *t, double loss, int64_t update, tr_step_report *report);

/* train.c: one step by the configured algorithm, and the counters that go on with it. */
tr_status tr_trainer_step(tr_trainer *t, tr_step_report *report);

/* log.c */
tr_status tr_trainer_open_logs(tr_trainer *t, int64_t last_step);
tr_status tr_trainer_log_rollouts(tr_trainer *t);
/* eval (may be NULL) is put beside the step's numbers. *last (may be NULL) gets a reference to the object. */
tr_status tr_trainer_log_step(tr_trainer *t, const tr_step_report *report, json_t *eval, json_t **last);

/* report.c: what a step's parts add to its report, for the step and for the task. */
void tr_report_add(tr_named_sum *sums, const char *name, double value);
tr_task_report *tr_report_task(tr_step_report *report, const char *task);
void tr_report_prompt(tr_step_report *report, const tr_sample *sample);
void tr_report_response(tr_step_report *report, const char *task, const tr_score *score, int64_t tokens,
                        bool stopped);
void tr_report_group(tr_step_report *report, const char *task, double deviation, bool zero_variance);
/* What one group added to the sums of its update. */
void tr_report_policy(tr_step_report *report, const char *task, const tr_policy_sums *before,
                      const tr_policy_sums *after);
/* Looks over all responses of the step (t->signs), counts, and warns on stderr when a share passes train.watch. */
tr_status tr_trainer_watch(tr_trainer *t, tr_step_report *report);

/* curves.c: RUN/curves.svg from RUN/metrics.jsonl. */
tr_status tr_train_curves(const char *out, tr_error *err);

#endif
