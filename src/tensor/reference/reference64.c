/* reference64.c: the reference operations in f64, for finite differences. */
#include "tensor/reference/reference.h"

#include <math.h>

#define real double
#define REFERENCE(name) tr_reference64_##name
#include "tensor/reference/operations.inc"
