/* products.c: who computes the GPU's bf16 products, for selftest and bench. Never chooses: it asks and shows. */
#include "cli/products.h"

#include "tensor/cuda/cuda.h"

#include <stdio.h>

enum { SHAPES = 512 };

json_t *tr_cli_products(void)
{
    static tr_cuda_product_choice list[SHAPES];
    const int count = tr_cuda_products_chosen(list, SHAPES);
    json_t *shapes = json_array();
    for (int i = 0; i < count; i++) {
        const tr_cuda_product_choice *c = &list[i];
        json_array_append_new(shapes, json_pack("{s:I, s:I, s:b, s:b, s:i, s:i}", "out", (json_int_t)c->out, "in",
                                                (json_int_t)c->in, "bias", c->biased, "same_bits", c->same,
                                                "candidate", c->candidate, "tried", c->tried));
    }
    return json_pack("{s:s, s:o}", "choice", tr_cuda_products_name(), "shapes", shapes);
}

tr_status tr_selftest_products(tr_selftest *s, tr_error *err)
{
    /* out, in of the linear layers of the 3B and 7B models, and the 3B model's head */
    static const int64_t shapes[][2] = {{2048, 2048}, {256, 2048},  {11008, 2048}, {2048, 11008}, {151936, 2048},
                                        {3584, 3584}, {512, 3584},  {18944, 3584}, {3584, 18944}, {1280, 1280},
                                        {3840, 1280}, {3420, 1280}, {1280, 3420}};
    static tr_cuda_product_choice list[SHAPES];
    tr_cuda_info info;
    const tr_ops *ops;
    tr_status status;
    tr_cuda_describe(&info);
    if (info.missing) {
        return tr_fail(err, TR_UNSUPPORTED, NULL, "%s", info.missing);
    }
    TR_TRY(tr_ops_cuda(0, TR_BF16, &ops, err));
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        tr_cuda_products_try(shapes[i][0], shapes[i][1]);
    }
    TR_TRY(ops->memory->check(err));
    const int count = tr_cuda_products_chosen(list, SHAPES);
    size_t used = (size_t)snprintf(s->detail, sizeof s->detail,
                                   "%s; out x in and cuBLASLt's candidate with our bits:", tr_cuda_products_name());
    for (int i = 0; i < count && used + 64 < sizeof s->detail; i++) {
        const tr_cuda_product_choice *c = &list[i];
        used += (size_t)snprintf(s->detail + used, sizeof s->detail - used, "%s %lldx%lld%s ", i ? "," : "",
                                 (long long)c->out, (long long)c->in, c->biased ? " with bias" : "");
        used += c->same ? (size_t)snprintf(s->detail + used, sizeof s->detail - used, "%d", c->candidate)
                        : (size_t)snprintf(s->detail + used, sizeof s->detail - used, "none of %d", c->tried);
    }
    if (!count) {
        snprintf(s->detail + used, sizeof s->detail - used, " nothing to choose");
    }
done:
    return status;
}
