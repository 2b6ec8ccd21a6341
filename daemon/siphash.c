#include "daemon/siphash.h"

struct state {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void rounds(struct state *s, unsigned count)
{
    while (count-- > 0) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 = rotate(s->v2, 32);
    }
}

static uint64_t little_endian(const uint8_t *at, size_t len)
{
    uint64_t word = 0;
    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)at[i] << (8 * i);
    return word;
}

static void take(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    rounds(s, 2);
    s->v0 ^= word;
}

struct siphash siphash(const struct siphash_key *key, const void *data, size_t len)
{
    struct state s = {key->k0 ^ 0x736f6d6570736575, key->k1 ^ 0x646f72616e646f6d ^ 0xee,
                      key->k0 ^ 0x6c7967656e657261, key->k1 ^ 0x7465646279746573};
    const uint8_t *at = data;
    size_t left = len;
    for (; left >= 8; at += 8, left -= 8)
        take(&s, little_endian(at, 8));
    take(&s, (uint64_t)len << 56 | little_endian(at, left));
    s.v2 ^= 0xee;
    rounds(&s, 4);
    uint64_t lo = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    s.v1 ^= 0xdd;
    rounds(&s, 4);
    return (struct siphash){lo, s.v0 ^ s.v1 ^ s.v2 ^ s.v3};
}

bool siphash_same(const struct siphash *a, const struct siphash *b)
{
    volatile uint64_t difference = (a->lo ^ b->lo) | (a->hi ^ b->hi);
    return difference == 0;
}
