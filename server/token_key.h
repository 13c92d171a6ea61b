/*
 * token_key.h - the local key of `telemetryd token`: a PEM file with a private key, and the key set that
 * goes with it. Private to server/token_*.c.
 *
 * Both functions that use files write to one path and report 0 or a negative errno. -EKEYREJECTED: the file
 * holds no key that the verifier would take (RSA of 2048 to 8192 bits or EC P-256, PEM, not encrypted).
 */
#ifndef TELEMETRYD_TOKEN_KEY_H
#define TELEMETRYD_TOKEN_KEY_H

#include "buffer.h"

#include <jwt.h>
#include <openssl/bio.h>
#include <openssl/evp.h>

struct token_key {
    EVP_PKEY *key;
    BIO *pem; /* the private key as libjwt takes it; OpenSSL clears it when it is freed */
    jwt_alg_t alg;
    char kid[44];      /* RFC 7638: SHA-256 of the public key's members, base64url */
    struct buffer set; /* JSON Web Key Set of this one key, no private part */
};

/* Reads the key or, where there is no such file, makes one (RSA 2048; mode 0600, never over an existing
 * file). */
int token_key_open(const char *path, struct token_key *ret);
void token_key_clear(struct token_key *key); /* accepts a zeroed one */

/* Writes the set beside itself and renames it, so that a server never reads half of it. */
int token_key_write_set(const struct token_key *key, const char *path);

#endif
