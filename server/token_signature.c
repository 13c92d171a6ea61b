#include "token_internal.h"

#include <errno.h>
#include <jwt.h>
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#define P256_BYTES 32

/* The order of P-256's group (FIPS 186-4, D.1.2.3). */
static const unsigned char p256_order[P256_BYTES] = {
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
};

/* --- the signature's own form ------------------------------------------------------------------ */

/* 0 < number < order. */
static bool is_scalar(const unsigned char *number)
{
    static const unsigned char zero[P256_BYTES];

    return memcmp(number, zero, P256_BYTES) != 0 && memcmp(number, p256_order, P256_BYTES) < 0;
}

static bool has_form(const struct token_form *form, const struct jwk *key)
{
    if (key->alg == JWK_RS256)
        return form->signature_len == (size_t)EVP_PKEY_get_size(key->key);
    return form->signature_len == 2 * P256_BYTES && is_scalar(form->signature) &&
           is_scalar(form->signature + P256_BYTES);
}

/* --- libjwt ------------------------------------------------------------------------------------ */

/* libjwt takes its algorithm from the header, which was found to be the key's own; that it used that one is
 * looked at again afterwards. */
static enum token_verdict check_with_libjwt(const struct token_form *form, const struct jwk *key,
                                            const char **ret_why)
{
    static const jwt_alg_t algorithms[] = {[JWK_RS256] = JWT_ALG_RS256, [JWK_ES256] = JWT_ALG_ES256};

    jwt_t *jwt = NULL;
    char *token = OPENSSL_strndup(form->token, form->len);
    if (token == NULL)
        return TOKEN_NO_MEMORY;
    int r = jwt_decode(&jwt, token, (const unsigned char *)key->pem, (int)strlen(key->pem));
    bool good = r == 0 && jwt != NULL && jwt_get_alg(jwt) == algorithms[key->alg];
    jwt_free(jwt);
    OPENSSL_clear_free(token, form->len + 1);
    if (good)
        return TOKEN_GOOD;
    return r == ENOMEM ? TOKEN_NO_MEMORY : token_bad(ret_why, "its signature is not good");
}

/* --- OpenSSL ----------------------------------------------------------------------------------- */

/* r and s side by side (RFC 7518 section 3.4) as the DER that OpenSSL takes. Returns its length, or a
 * negative number when out of memory. */
static int der_of(const unsigned char *signature, unsigned char **ret_der)
{
    int len = -1;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, P256_BYTES, NULL);
    BIGNUM *s = BN_bin2bn(signature + P256_BYTES, P256_BYTES, NULL);
    if (pair != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = s = NULL; /* the pair's now */
        len = i2d_ECDSA_SIG(pair, ret_der);
    }
    ECDSA_SIG_free(pair);
    BN_free(r);
    BN_free(s);
    return len;
}

static enum token_verdict check_with_openssl(const struct token_form *form, const struct jwk *key,
                                             const char **ret_why)
{
    enum token_verdict verdict = TOKEN_NO_MEMORY;
    unsigned char *der = NULL;
    const unsigned char *signature = form->signature;
    size_t len = form->signature_len;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (ctx == NULL)
        goto out;
    if (key->alg == JWK_ES256) {
        int der_len = der_of(form->signature, &der);
        if (der_len <= 0)
            goto out;
        signature = der;
        len = (size_t)der_len;
    }
    /* RSA: PKCS #1 v1.5, which is the default. */
    if (EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key->key) != 1)
        goto out;
    verdict = EVP_DigestVerify(ctx, signature, len, (const unsigned char *)form->token, form->signed_len) == 1
                  ? TOKEN_GOOD
                  : token_bad(ret_why, "its signature is not good");
out:
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    return verdict;
}

enum token_verdict token_signature_check(const struct token_form *form, const struct token_header *header,
                                         const struct jwk *key, const char **ret_why)
{
    if (header->alg != key->alg)
        return token_bad(ret_why, "alg is not its key's");
    if (!has_form(form, key))
        return token_bad(ret_why, "its signature has the wrong length or a number out of range");
    enum token_verdict verdict = header->access_token_type ? check_with_openssl(form, key, ret_why)
                                                           : check_with_libjwt(form, key, ret_why);
    ERR_clear_error(); /* curl shares this thread's queue */
    return verdict;
}
