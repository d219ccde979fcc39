/* plan_device.h: `model plan --device cuda`: the memory of a GPU, part by part. */
#ifndef TR_CLI_PLAN_DEVICE_H
#define TR_CLI_PLAN_DEVICE_H

#include "cli/cli.h"
#include "model/device_plan.h"
#include "train/config.h"

/* What is planned: a stage of a configuration, or one question to a model. */
typedef struct tr_plan_device {
    const tr_config *config; /* NULL: one question, */
    tr_dtype dtype;          /* computed with this */
    const char *model;       /* folder, or */
    const char *preset;      /* shapes of `model init`, taken as stored in bf16; NULL: the folder */
    uint64_t memory;         /* bytes of the GPU; 0: unknown */
    int64_t grid[3], text;   /* for the heading */
    tr_network_limits limits;
    bool json;
} tr_plan_device;

/* The shape that is meant: of the preset, or of the folder. */
tr_status tr_plan_device_shape(const char *model, const char *preset, tr_model_config *config, tr_error *err);

/* Bytes of the GPU that is planned for: a size such as 139GiB or 80G; of the machine's own GPU where `text` is
 * NULL, 0 where there is none. */
tr_status tr_plan_device_memory(const char *text, uint64_t *bytes, tr_error *err);

/* Prints the plan. */
tr_status tr_plan_device_show(const tr_plan_device *what, tr_error *err);

#endif
