/* fuzz_safetensors.c: the tensor file reader on any bytes: it refuses or it hands out tensors that lie wholly
 * inside the bytes; every element of every tensor is then read (a wrong bound shows under the address sanitizer).
 */
#include "model/safetensors.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tr_safetensors tensors;
    tr_error err = {0};
    if (tr_safetensors_parse(&tensors, data, size, "fuzz", &err)) {
        if (!err.message[0]) {
            abort(); /* a refusal must say why */
        }
        return 0;
    }
    for (size_t i = 0; i < tensors.count; i++) {
        const tr_safetensor *t = &tensors.items[i];
        double values[256];
        if (t->data < data || t->bytes > size || t->data + t->bytes > data + size ||
            tr_safetensors_find(&tensors, t->name) == NULL) {
            abort();
        }
        for (int64_t at = 0; at < t->elements; at += 256) {
            int64_t n = t->elements - at < 256 ? t->elements - at : 256;
            if (tr_safetensors_copy(t, at, n, values, t->dtype, &err)) {
                abort();
            }
        }
    }
    tr_safetensors_close(&tensors);
    return 0;
}
