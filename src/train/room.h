/* room.h: whether a stage fits the memory of its GPU, before anything is allocated. */
#ifndef TR_TRAIN_ROOM_H
#define TR_TRAIN_ROOM_H

#include "model/device_plan.h"
#include "train/config.h"

/* What tr_model_load is asked for by a configuration; device and files aside. */
tr_model_options tr_room_options(const tr_config *config);

/* The plan of a stage on a GPU: limits as in a run (decode_groups are halved, at the caller's, until the plan is
 * within `room` or one is left). adapter_there: the model is an adapter's folder. */
tr_status tr_room_plan(const tr_config *config, const tr_model_config *model, const tr_params *params,
                       bool adapter_there, uint64_t room, tr_network_limits *limits, tr_device_plan *plan,
                       tr_error *err);

/* What the run would take with one other setting: key is the key with its value. Returns their number. */
enum { TR_ROOM_OTHERS = 6 };
typedef struct tr_room_other {
    const char *key;
    uint64_t total;
} tr_room_other;
int tr_room_others(const tr_config *config, const tr_model_config *model, const tr_params *params,
                   bool adapter_there, const tr_network_limits *limits, tr_room_other others[TR_ROOM_OTHERS]);

/* TR_MEMORY with the plan and the keys that would make it smaller, by how much, when the plan is above `room`.
 * where: the device. */
tr_status tr_room_check(const tr_config *config, const tr_model_config *model, const tr_params *params,
                        bool adapter_there, uint64_t room, uint64_t all, const char *where,
                        tr_network_limits *limits, tr_device_plan *plan, tr_error *err);

#endif
