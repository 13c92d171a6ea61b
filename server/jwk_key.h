/*
 * jwk_key.h - one JSON Web Key (RFC 7517 section 4, RFC 7518 section 6) as OpenSSL and libjwt take it.
 * Private to jwk_set.c.
 */
#ifndef TELEMETRYD_JWK_KEY_H
#define TELEMETRYD_JWK_KEY_H

#include "jwk_set.h"

#include <jansson.h>

/* 0 and *ret filled; -EINVAL for a key that is not one for our signatures (see jwk_set.h); -ENOMEM. */
int jwk_key_read(const json_t *json, struct jwk *ret);

/* The same for a key that was refused: of it the kid is kept, with no key to it. -EINVAL where it has none.
 */
int jwk_key_read_refused(const json_t *json, struct jwk *ret);

void jwk_key_clear(struct jwk *key); /* frees what it holds; accepts a zeroed one */

#endif
