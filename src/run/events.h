/* events.h: TensorBoard event files: numbers over steps, in the form that TensorBoard reads.
 *
 * A file is a sequence of TFRecord frames: u64 length, u32 masked CRC-32C of those eight bytes, the bytes, u32
 * masked CRC-32C of the bytes; all little-endian. Each holds one Event message of protocol buffers:
 *   Event     1 wall_time (double)  2 step (varint)  3 file_version  5 summary  7 session_log
 *   Summary   1 value (repeated)    Value   1 tag  2 simple_value (float)    SessionLog   1 status (1: start)
 * The two forms are small and fixed, and no packaged C library writes them: hence this one. Files are
 * FOLDER/events.out.tfevents.SECONDS.tempr1. Nothing is read but files of that name. Not thread safe. */
#ifndef TR_RUN_EVENTS_H
#define TR_RUN_EVENTS_H

#include "base/buffer.h"
#include "base/json.h"

#include <stdio.h>

/* CRC-32C (Castagnoli), as iSCSI and TFRecord have it; and TFRecord's mask over it. */
uint32_t tr_crc32c(const void *bytes, size_t count);
uint32_t tr_crc32c_masked(const void *bytes, size_t count);

typedef struct tr_events {
    FILE *file; /* NULL: nothing was added yet */
    char *path; /* NULL: not open */
    int64_t last_step;
} tr_events;

/* A new file behind those that are in the folder already. Steps after last_step are cut from the old ones (a
 * file that is left without numbers is removed), and the new one opens with the message that makes a TensorBoard
 * which is looking on forget them; it is made with the first step. An old file that is damaged is cut where the
 * damage begins. */
tr_status tr_events_open(tr_events *events, const char *folder, int64_t last_step, tr_error *err);

/* One step: every number of the object (at any depth) under its keys joined with '/'; null, texts and lists are
 * left out, `step` too. Flushed. */
tr_status tr_events_add(tr_events *events, int64_t step, const json_t *numbers, tr_error *err);

/* NULL and closed ones are fine. TR_IO when the last bytes could not be written. */
tr_status tr_events_close(tr_events *events, tr_error *err);

#endif
