/* random.c: counter-based random numbers (Philox 4x32-10). */
#include "base/random.h"

#include "base/math.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

void tr_random_bits(uint64_t seed, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t out[4])
{
    uint32_t x[4] = {a, b, c, d}, k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * x[0], p1 = (uint64_t)0xCD9E8D57u * x[2];
        uint32_t y0 = (uint32_t)(p1 >> 32) ^ x[1] ^ k0, y2 = (uint32_t)(p0 >> 32) ^ x[3] ^ k1;
        x[1] = (uint32_t)p1;
        x[3] = (uint32_t)p0;
        x[0] = y0;
        x[2] = y2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    memcpy(out, x, sizeof x);
}

static double unit(uint32_t high, uint32_t low)
{
    return (double)(((uint64_t)high << 21) ^ (low >> 11)) * 0x1p-53;
}

double tr_random_uniform(uint64_t seed, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    uint32_t x[4];
    tr_random_bits(seed, a, b, c, d, x);
    return unit(x[0], x[1]);
}

uint64_t tr_random_below(uint64_t seed, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint64_t n)
{
    uint32_t x[4];
    tr_random_bits(seed, a, b, c, d, x);
    return (uint64_t)(((unsigned __int128)((uint64_t)x[0] << 32 | x[1]) * n) >> 64);
}

double tr_random_normal(uint64_t seed, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    uint32_t x[4];
    tr_random_bits(seed, a, b, c, d, x);
    double radius = sqrt(-2.0 * tr_math_log(1.0 - unit(x[0], x[1])));
    return radius * tr_math_cos(6.283185307179586 * unit(x[2], x[3]));
}

void tr_random_shuffle(uint64_t seed, uint32_t a, uint32_t b, size_t n, size_t *order)
{
    for (size_t i = 0; i < n; i++) {
        order[i] = i;
    }
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)tr_random_below(seed, a, b, (uint32_t)i, (uint32_t)(i >> 32), i), t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
}

uint64_t tr_hash(const void *bytes, size_t count)
{
    return XXH3_64bits(bytes, count);
}

uint64_t tr_hash_text(const char *text)
{
    return tr_hash(text, strlen(text));
}
