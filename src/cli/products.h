/* products.h: who computes the GPU's bf16 products, shown. */
#ifndef TR_CLI_PRODUCTS_H
#define TR_CLI_PRODUCTS_H

#include "cli/selftest.h"

#include <jansson.h>

/* {choice, shapes: [{out, in, bias, same_bits, candidate, tried}]} of the forward shapes met so far. */
json_t *tr_cli_products(void);

/* The check of selftest: chooses for the shapes of the 3B and 7B models. */
tr_status tr_selftest_products(tr_selftest *s, tr_error *err);

#endif
