/*
 * token_internal.h - the steps of token_verify(), in their order. Private to server/token*.c.
 *
 * Each returns TOKEN_GOOD, TOKEN_BAD (then *ret_why says what was wrong) or TOKEN_NO_MEMORY.
 */
#ifndef TELEMETRYD_TOKEN_INTERNAL_H
#define TELEMETRYD_TOKEN_INTERNAL_H

#include "token.h"

#include <stdbool.h>

/* --- form (token_form.c): three segments, their bytes, JSON without duplicates ----------------- */

struct token_form {
    const char *token; /* the caller's, not NUL-terminated */
    size_t signed_len; /* header "." payload */
    size_t len;
    char *header, *payload; /* JSON texts that were checked: no duplicate member, few levels */
    size_t header_len, payload_len;
    unsigned char *signature;
    size_t signature_len;
    void *block; /* holds the three */
    size_t block_size;
};

/* The segments and their bytes alone; header and payload may be anything. token_form_clear() frees it,
 * whatever came back. */
enum token_verdict token_form_decode(const char *token, size_t len, struct token_form *ret,
                                     const char **ret_why);
/* That, and the check of the two texts. */
enum token_verdict token_form_read(const char *token, size_t len, struct token_form *ret,
                                   const char **ret_why);
void token_form_clear(struct token_form *form);

/* --- header (token_header.c) ------------------------------------------------------------------- */

struct token_header {
    enum jwk_alg alg;
    bool access_token_type; /* typ at+jwt or application/at+jwt, which libjwt does not take */
    char kid[JWK_KID_MAX + 1];
    size_t kid_len;
    bool kid_worth_fetching; /* it looks like a kid that an issuer would choose */
};

enum token_verdict token_header_read(const struct token_form *form, struct token_header *ret,
                                     const char **ret_why);

/* --- claims (token_claims.c, token_issuer.c) --------------------------------------------------- */

/* Not verified yet: to be forgotten when the signature is not good. */
struct token_claims {
    char *issuer; /* iss */
    char *tenant; /* tid; NULL where there is none */
    struct principal *principal;
};

/* token_claims_clear() frees it, whatever came back; take the principal out to keep it. */
enum token_verdict token_claims_read(const struct token_form *form, const struct token_rules *rules,
                                     int64_t now_s, struct token_claims *ret, const char **ret_why);
void token_claims_clear(struct token_claims *claims);

/* iss equals the pattern, each {tenantid} in it replaced by the token's tid, which must be a GUID then. */
bool token_issuer_fits(const char *pattern, const char *iss, const char *tid);
/* A tid other than the tenant that the issuer names is wrong. tid may be NULL. */
bool token_tenant_fits(const char *iss, const char *tid);
/* Entra writes ver "1.0" under https://sts.windows.net/{tid}/ and "2.0" under .../{tid}/v2.0. ver NULL:
 * another issuer's token, or one without. */
bool token_version_fits(const char *iss, const char *ver);

/* --- signature (token_signature.c) ------------------------------------------------------------- */

enum token_verdict token_signature_check(const struct token_form *form, const struct token_header *header,
                                         const struct jwk *key, const char **ret_why);

/* Says why, for one line of the caller's. */
static inline enum token_verdict token_bad(const char **ret_why, const char *why)
{
    *ret_why = why;
    return TOKEN_BAD;
}

#endif
