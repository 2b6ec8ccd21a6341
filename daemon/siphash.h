/*
 * siphash: SipHash-2-4 with 128 bits of output (Aumasson and Bernstein), a keyed hash.
 *
 * Here it stands for a password in memory: with a random key that never leaves the process it can
 * be compared, and kept, where the password itself should not be.
 */
#ifndef DAEMON_SIPHASH_H
#define DAEMON_SIPHASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t k0, k1;
};
struct siphash {
    uint64_t lo, hi;
};

struct siphash siphash(const struct siphash_key *key, const void *data, size_t len);
/* In a time that does not depend on the values. */
bool siphash_same(const struct siphash *a, const struct siphash *b);

#endif
