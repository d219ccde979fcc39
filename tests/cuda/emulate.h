/* emulate.h: the emulated device of the tests: the tables of tensor/cuda over it, and what they launched. */
#ifndef TR_TESTS_CUDA_EMULATE_H
#define TR_TESTS_CUDA_EMULATE_H

#include "tensor/cuda/device.h"

int64_t tr_emulated_launches(void);
int64_t tr_emulated_copies(void); /* asynchronous copies so far */
void tr_emulated_block(void);     /* a block begins: nothing is under way */

#endif
