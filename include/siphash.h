/*
 * siphash.h - SipHash-2-4 with an answer of 128 bits: a keyed hash for tables whose keys strangers choose.
 *
 * Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", and their reference code (the answer is
 * 16 bytes, each half little-endian). Pure; any thread.
 */
#ifndef TELEMETRYD_SIPHASH_H
#define TELEMETRYD_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t words[2]; /* the key's bytes, each half little-endian */
};

void siphash(const struct siphash_key *key, const unsigned char *bytes, size_t len, uint64_t ret_digest[2]);

#endif
