/* products.h: cuBLASLt, loaded when it is first used. Internal to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_PRODUCTS_H
#define TR_TENSOR_CUDA_PRODUCTS_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* TR_UNSUPPORTED when the library is not there or is another major version. */
tr_status tr_products_open(tr_error *err);
int64_t tr_products_version(void); /* 0: not found */

/* Whether an algorithm gives the bits of our own kernels: seeded random operands of a forward shape, several
 * numbers of rows, every element compared. product computes y[rows, out] from x and w by the algorithm; false when
 * it cannot. tr_match_open gives NULL when memory is out: nothing is the same then. */
typedef struct tr_match tr_match;
typedef bool tr_match_product(void *context, float *y, const uint16_t *x, const uint16_t *w, const float *bias,
                              int64_t rows);
tr_match *tr_match_open(int64_t out, int64_t in, bool biased);
bool tr_match_same(tr_match *match, tr_match_product *product, void *context);
void tr_match_close(tr_match *match);
uint16_t tr_match_number(uint32_t *state); /* the next of its bf16 numbers */

#endif
