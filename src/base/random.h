/* random.h: counter-based random numbers (Philox 4x32-10; Salmon et al., SC 2011).
 *
 * A number is a pure function of a 64-bit seed and four 32-bit counters, so it does not depend on what was drawn
 * before, on threads or on batch composition. Thread safe. */
#ifndef TR_BASE_RANDOM_H
#define TR_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Four independent 32-bit words for (seed, a, b, c, d). */
void tr_random_bits(uint64_t seed, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t out[4]);

/* Uniform in [0, 1) with 53 bits. */
double tr_random_uniform(uint64_t seed, uint32_t a, uint32_t b, uint32_t c, uint32_t d);

/* Uniform integer in [0, n), n >= 1, without modulo bias beyond 2^-53. */
uint64_t tr_random_below(uint64_t seed, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint64_t n);

/* Standard normal, by Box-Muller with the project's own log, sin and cos (same bits everywhere). */
double tr_random_normal(uint64_t seed, uint32_t a, uint32_t b, uint32_t c, uint32_t d);

/* Fills order with 0..n-1 shuffled (Fisher-Yates) by (seed, a, b). */
void tr_random_shuffle(uint64_t seed, uint32_t a, uint32_t b, size_t n, size_t *order);

/* A 64-bit hash of bytes (XXH3) and of a text: seeds, cache keys, checksums. */
uint64_t tr_hash(const void *bytes, size_t count);
uint64_t tr_hash_text(const char *text);

#endif
