/*
 * token.h - one decision: is this bearer token (RFC 6750; a JWT in JWS compact form, RFC 7515 and 7519) good,
 * and what does it say about its caller?
 *
 * The order is: our own strict checks of form and header, then of the claims (unverified, so that what is
 * refused anyway costs no signature and no fetch), the key by its kid, the signature by that key's own
 * algorithm. Nothing that a header says chooses an algorithm, a key or a place to fetch one from.
 *
 * The signature itself is checked by libjwt, behind all of these checks, which it lacks. A `typ` of at+jwt it
 * refuses, so there OpenSSL does the same with the same key. The length of a signature and the range of
 * ECDSA's r and s are looked at before either.
 *
 * Times: good while nbf - TOKEN_SKEW_S <= now < exp + TOKEN_SKEW_S.
 *
 * Sources: the API contract, "Tokens"; azure-protocols.md section 3 (Entra's v1 and v2 tokens).
 * Threads: pure; a principal belongs to one worker (its count of references is not atomic).
 */
#ifndef TELEMETRYD_TOKEN_H
#define TELEMETRYD_TOKEN_H

#include "grants.h"
#include "jwk_set.h"
#include "permission.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_MAX    8192
#define TOKEN_SKEW_S 60

struct token_rules {
    const char *issuer;        /* one exact string, or with {tenantid} */
    const char *audiences;     /* comma-separated */
    const char *devices_claim; /* NULL or "": tokens are not limited to devices */
};

#define CALLER_KEY_SIZE 32

/* What a verified token says about its caller. */
struct principal {
    unsigned references;
    unsigned permissions;  /* bits of enum permission */
    struct grants *grants; /* NULL: every device */
    int64_t expires_s;     /* exp */
    int64_t not_before_s;  /* nbf, INT64_MIN where there is none */
    /* SHA-256 of issuer and subject, else client id (azp, appid, client_id); else of the token: whom fair use
     * counts */
    unsigned char caller[CALLER_KEY_SIZE];
};

enum token_verdict {
    TOKEN_GOOD,
    TOKEN_BAD,
    TOKEN_UNKNOWN_KEY, /* nothing is wrong with it but that its kid is not in the set: a fetch may bring the
                          key */
    TOKEN_NO_MEMORY
};

/* keys NULL: none were loaded yet (then TOKEN_UNKNOWN_KEY at best). now_s: seconds since the epoch.
 * *ret_principal is set (one reference, the caller's) with TOKEN_GOOD only. *ret_why: static text for a debug
 * log, never shown to a caller; set with TOKEN_BAD and TOKEN_UNKNOWN_KEY. */
enum token_verdict token_verify(const char *token, size_t len, const struct jwk_set *keys,
                                const struct token_rules *rules, int64_t now_s,
                                struct principal **ret_principal, const char **ret_why);

/* True while a principal's token is within nbf and exp, skew included. */
bool principal_current(const struct principal *principal, int64_t now_s);

struct principal *principal_ref(struct principal *principal);
void principal_unref(struct principal *principal); /* accepts NULL */

/* `telemetryd token ...`: mints a token signed with a local key and writes the matching key set. Returns an
 * exit status. */
int token_command(int argc, char *const *argv);

#endif
