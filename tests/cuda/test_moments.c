/* test_moments.c: the GPU's AdamW with moments in 8 bits gives the CPU's parameters and the CPU's records, byte for
 * byte: ragged shapes, more tiles than a block takes, bands of a matrix, many steps. */
#include "cuda/cuda_fixture.h"
#include "tensor/moments.h"

static void test_the_cpus_bytes(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{16, 16}, {1, 1},  {17, 15},  {15, 17},  {33, 40},
                                        {4, 200}, {70, 4}, {40, 520}, {160, 160}};
    const tr_ops *ops = table_of(TR_F32), *cpu = cpu_table();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t out = shapes[i][0], in = shapes[i][1], n = tr_matrix_elements(out, in);
        const size_t bytes = (size_t)tr_moments8_bytes(out, in);
        const int64_t words = (int64_t)(bytes + 3) / 4;
        float *rows = filled(out * in, 1, 1.0f), *records = zeros(words), *p = zeros(n);
        float *gp = on_device(rows, out * in), *grecords = on_device(records, words);
        tr_matrix w = {TR_F32, out, in, p};
        tr_matrix_pack(&w, rows, TR_F32, 0, out);
        for (int step = 1; step <= 4; step++) {
            const tr_adamw a = {1e-3, 0.9, 0.999, 1e-8, 0.1, 0.1 * step, 1e-3 * step, 0.5};
            float *g = filled(out * in, (uint32_t)step + 1, 1.0f), *panels = zeros(n);
            for (int64_t k = 0; k < out * in; k++) {
                g[k] *= k % 5 == 0 ? 0.0f : k % 7 == 0 ? 1e-6f : 1.0f;
            }
            tr_matrix d = {TR_F32, out, in, panels};
            tr_matrix_pack(&d, g, TR_F32, 0, out);
            float *gg = on_device(g, out * in);
            const int64_t first = step % 2 && out > 16 ? 16 : out; /* every other step in two bands */
            ops->adamw8_step(gp, gg, grecords, first, in, &a);
            if (first < out) {
                ops->adamw8_step(gp + first * in, gg + first * in,
                                 (unsigned char *)grecords + tr_moments8_bytes(first, in), out - first, in, &a);
            }
            cpu->adamw8_step(p, panels, records, out, in, &a);
            same_bits("parameter", ops->name, from_device(gp, out * in), rows_of_panels(p, out, in), out * in);
            float *back = from_device(grecords, words);
            assert_memory_equal(back, records, bytes);
        }
        finish();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_cpus_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
