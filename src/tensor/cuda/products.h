/* products.h: cuBLASLt, loaded when it is first used. Internal to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_PRODUCTS_H
#define TR_TENSOR_CUDA_PRODUCTS_H

#include "base/status.h"

#include <stdint.h>

/* TR_UNSUPPORTED when the library is not there or is another major version. */
tr_status tr_products_open(tr_error *err);
int64_t tr_products_version(void); /* 0: not found */

#endif
