/*
 * Key sets of an issuer: what is kept can verify what we take, and nothing private or symmetric gets in.
 */
#include "fuzz.h"
#include "jwk_set.h"

#include <errno.h>

static void check_key(const struct jwk *jwk, const char *kid)
{
    ALWAYS(strcmp(jwk->kid, kid) == 0 && strlen(kid) >= 1 && strlen(kid) <= JWK_KID_MAX);
    ALWAYS(jwk->key != NULL && strncmp(jwk->pem, "-----BEGIN PUBLIC KEY-----\n", 27) == 0);
    if (jwk->alg == JWK_RS256)
        ALWAYS(EVP_PKEY_is_a(jwk->key, "RSA") && EVP_PKEY_get_bits(jwk->key) >= 2048 &&
               EVP_PKEY_get_bits(jwk->key) <= 8192);
    else
        ALWAYS(jwk->alg == JWK_ES256 && EVP_PKEY_is_a(jwk->key, "EC") && EVP_PKEY_get_bits(jwk->key) == 256);
}

static char *member(const char *text, size_t len, long i, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "keys.%ld.%s", i, name);
    return oracle_string_at(text, len, path);
}

/* How many keys have this kid, and how many of these show a private part. */
static long count_kid(const char *text, size_t len, const char *kid, long *ret_private)
{
    long count = 0;
    *ret_private = 0;
    for (long i = 0; i < oracle_count_at(text, len, "keys"); i++) {
        char *other = member(text, len, i, "kid"), *private_part = member(text, len, i, "d");
        if (other != NULL && strcmp(kid, other) == 0) {
            count++;
            *ret_private += private_part != NULL;
        }
        free(other);
        free(private_part);
    }
    return count;
}

static void check_set(const char *text, size_t len, const struct jwk_set *set)
{
    size_t found = 0;

    ALWAYS(oracle_json(text, len, true) != ORACLE_REFUSES);
    ALWAYS(jwk_set_count(set) >= 1 && jwk_set_count(set) <= JWK_SET_KEYS_MAX);
    ALWAYS(jwk_set_find(set, "no such kid", 11) == NULL);
    for (long i = 0; i < oracle_count_at(text, len, "keys") && i < 16; i++) {
        char *kid = member(text, len, i, "kid");
        const struct jwk *jwk = kid != NULL ? jwk_set_find(set, kid, strlen(kid)) : NULL;
        if (jwk != NULL) {
            long private_parts, count = count_kid(text, len, kid, &private_parts);
            check_key(jwk, kid);
            ALWAYS(private_parts < count);
            found++;
        }
        free(kid);
    }
    /* More where a key that was left out has the kid of one that was not. */
    ALWAYS(found >= jwk_set_count(set) || oracle_count_at(text, len, "keys") > 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct jwk_set *set = NULL;
    char *text = fuzz_copy(data, size);
    int r = jwk_set_parse(text, size, &set);
    ALWAYS((r == 0) == (set != NULL) && (r == 0 || r == -EINVAL));
    if (set != NULL)
        check_set(text, size, set);
    jwk_set_unref(set);
    free(text);
    return 0;
}
