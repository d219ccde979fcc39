/* emulate.h: the emulated device of the tests: the tables of tensor/cuda over it, what they launched, and what was
 * allocated. */
#ifndef TR_TESTS_CUDA_EMULATE_H
#define TR_TESTS_CUDA_EMULATE_H

#include "tensor/cuda/device.h"

int64_t tr_emulated_launches(void);
int64_t tr_emulated_copies(void); /* asynchronous copies so far */
void tr_emulated_block(void);     /* a block begins: nothing is under way */

/* The device says to have so much memory and gives no more by tr_cuda_take; 0: all. */
void tr_emulated_set_memory(size_t bytes);
/* Bytes that tr_cuda_take has given out and that were not given back; the largest tr_cuda_scratch so far. */
size_t tr_emulated_live(void);
size_t tr_emulated_scratch(void);
/* Which of two lanes' work runs when the host waits for one: of the others nothing but what that one waits for, or
 * all that they were given, before it. $TEMPR1_EMULATED_ORDER ("last" or "first") says it to whole programs. */
typedef enum tr_emulated_policy { TR_OTHERS_LAST, TR_OTHERS_FIRST } tr_emulated_policy;
void tr_emulated_order(tr_emulated_policy policy);

/* Recording a graph fails from here on, or works again. */
void tr_emulated_refuse_graphs(bool refuse);

#endif
