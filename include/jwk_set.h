/*
 * jwk_set.h - the public keys of an issuer: a JSON Web Key Set (RFC 7517), of which the keys that can verify
 * RS256 (RSA, 2048 to 8192 bits) or ES256 (EC P-256) are kept.
 *
 * A key is left out, and the others still count, when its kty, size, curve, point, alg, use or key_ops do not
 * fit, when it has no kid, or holds a private part or a symmetric key. Of two keys with one kid neither is
 * kept. Members that we do not know are ignored.
 *
 * Threads: a set is immutable and shared by reference.
 */
#ifndef TELEMETRYD_JWK_SET_H
#define TELEMETRYD_JWK_SET_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>

#define JWK_SET_TEXT_MAX (1u << 20)
#define JWK_SET_KEYS_MAX 256
#define JWK_KID_MAX      256

enum jwk_alg { JWK_RS256, JWK_ES256 };

struct jwk {
    const char *kid;
    enum jwk_alg alg;
    EVP_PKEY *key;      /* for EVP_DigestVerify */
    const char *pem;    /* the same key for libjwt: SubjectPublicKeyInfo */
    const char *issuer; /* its `issuer` member, which may hold {tenantid}; NULL: any */
};

struct jwk_set;

/* 0; -EINVAL for text that is no key set, has a duplicate member, or not one key that can be used; -ENOMEM.
 */
int jwk_set_parse(const char *text, size_t len, struct jwk_set **ret_set);

struct jwk_set *jwk_set_ref(struct jwk_set *set);
void jwk_set_unref(struct jwk_set *set); /* the last one frees; accepts NULL */

const struct jwk *jwk_set_find(const struct jwk_set *set, const char *kid, size_t len);
/* The set has a key of that name, though perhaps one that cannot be used: a fetch would bring nothing new. */
bool jwk_set_names(const struct jwk_set *set, const char *kid, size_t len);
size_t jwk_set_count(const struct jwk_set *set); /* of keys that can be used */

#endif
