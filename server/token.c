#include "token.h"

#include "token_internal.h"

#include <stdlib.h>

/* --- principals -------------------------------------------------------------------------------- */

/* As additions to now_s: a difference of an nbf that is not there would overflow. */
bool principal_current(const struct principal *principal, int64_t now_s)
{
    return now_s - TOKEN_SKEW_S < principal->expires_s && now_s + TOKEN_SKEW_S >= principal->not_before_s;
}

struct principal *principal_ref(struct principal *principal)
{
    principal->references++;
    return principal;
}

void principal_unref(struct principal *principal)
{
    if (principal == NULL || --principal->references > 0)
        return;
    grants_unref(principal->grants);
    free(principal);
}

/* --- the decision ------------------------------------------------------------------------------ */

static enum token_verdict check_key(const struct token_form *form, const struct token_header *header,
                                    const struct token_claims *claims, const struct jwk_set *keys,
                                    const char **ret_why)
{
    const struct jwk *key = keys != NULL ? jwk_set_find(keys, header->kid, header->kid_len) : NULL;

    if (key == NULL && keys != NULL && jwk_set_names(keys, header->kid, header->kid_len))
        return token_bad(ret_why, "its key cannot be used");
    if (key == NULL && !header->kid_worth_fetching)
        return token_bad(ret_why, "its kid is nothing that an issuer would use");
    if (key == NULL) {
        *ret_why = "its key is not in the set";
        return TOKEN_UNKNOWN_KEY;
    }
    if (key->issuer != NULL && !token_issuer_fits(key->issuer, claims->issuer, claims->tenant))
        return token_bad(ret_why, "its key is another issuer's");
    return token_signature_check(form, header, key, ret_why);
}

enum token_verdict token_verify(const char *token, size_t len, const struct jwk_set *keys,
                                const struct token_rules *rules, int64_t now_s,
                                struct principal **ret_principal, const char **ret_why)
{
    struct token_form form;
    struct token_header header;
    struct token_claims claims = {0};

    enum token_verdict verdict = token_form_read(token, len, &form, ret_why);
    if (verdict == TOKEN_GOOD)
        verdict = token_header_read(&form, &header, ret_why);
    if (verdict == TOKEN_GOOD)
        verdict = token_claims_read(&form, rules, now_s, &claims, ret_why);
    if (verdict == TOKEN_GOOD)
        verdict = check_key(&form, &header, &claims, keys, ret_why);
    if (verdict == TOKEN_GOOD) {
        *ret_principal = claims.principal;
        claims.principal = NULL;
    }
    token_claims_clear(&claims);
    token_form_clear(&form);
    return verdict;
}
