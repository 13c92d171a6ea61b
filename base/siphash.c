#include "siphash.h"

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
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v2 = rotate(s->v2, 32);
    }
}

static void absorb(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    rounds(s, 2);
    s->v0 ^= word;
}

static uint64_t little_endian(const unsigned char *bytes, size_t len)
{
    uint64_t word = 0;
    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)bytes[i] << (8 * i);
    return word;
}

void siphash(const struct siphash_key *key, const unsigned char *bytes, size_t len, uint64_t ret_digest[2])
{
    const uint64_t *k = key->words;
    struct state s = {k[0] ^ 0x736f6d6570736575u, k[1] ^ 0x646f72616e646f6du ^ 0xee,
                      k[0] ^ 0x6c7967656e657261u, k[1] ^ 0x7465646279746573u};
    size_t at = 0;

    for (; len - at >= 8; at += 8)
        absorb(&s, little_endian(bytes + at, 8));
    absorb(&s, little_endian(bytes + at, len - at) | (uint64_t)len << 56);
    s.v2 ^= 0xee;
    rounds(&s, 4);
    ret_digest[0] = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    s.v1 ^= 0xdd;
    rounds(&s, 4);
    ret_digest[1] = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
