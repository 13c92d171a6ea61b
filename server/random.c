#include "random_id.h"

#include <stdint.h>
#include <sys/random.h>

#include "clock.h"

/* Each thread draws one seed from the kernel and walks on from it (splitmix64): a system call per request
 * would cost more than the rest of the id. */
struct walk {
    uint64_t high, low;
    int seeded;
};

static _Thread_local struct walk walk;

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

void random_id(char out[RANDOM_ID_SIZE])
{
    static const char hex[] = "0123456789abcdef";

    if (!walk.seeded) {
        if (getrandom(&walk, sizeof walk.high + sizeof walk.low, 0) < 0)
            walk.high = clock_monotonic_us() ^ (uintptr_t)&walk;
        walk.seeded = 1;
    }
    walk.low += 0x9e3779b97f4a7c15u;
    uint64_t words[2] = {mix(walk.high ^ walk.low), mix(walk.low)};
    for (unsigned i = 0; i < 32; i++)
        out[i] = hex[words[i / 16] >> (i % 16 * 4) & 15];
    out[32] = '\0';
}
