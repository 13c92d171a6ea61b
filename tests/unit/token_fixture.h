/*
 * token_fixture.h - keys, key sets and tokens for tests of the token verifier: any bytes can be signed, so
 * that what is wrong with a token is never its signature unless that is the point.
 */
#ifndef TELEMETRYD_TESTS_TOKEN_FIXTURE_H
#define TELEMETRYD_TESTS_TOKEN_FIXTURE_H

#include "base64.h"
#include "buffer.h"
#include "token.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define NOW 1800000000 /* the verifier's clock, wherever a case does not turn it */

static inline EVP_PKEY *new_rsa(unsigned bits)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);
    assert_true(EVP_PKEY_keygen_init(ctx) > 0);
    assert_true(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits) > 0);
    assert_true(EVP_PKEY_generate(ctx, &key) > 0);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static inline EVP_PKEY *new_p256(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_non_null(key);
    return key;
}

static inline bool is_rsa(const EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "RSA");
}

static inline void append_base64url(struct buffer *out, const void *bytes, size_t len)
{
    char *text = malloc(BASE64URL_ENCODED_SIZE(len));
    assert_non_null(text);
    buffer_append(out, text, base64url_encode(bytes, len, text));
    free(text);
}

/* A number of the key as base64url, in `size` bytes or, with 0, as few as it takes. */
static inline void append_number(struct buffer *out, const EVP_PKEY *key, const char *name, int size)
{
    unsigned char bytes[1024 + 1];
    BIGNUM *number = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(key, name, &number), 1);
    if (size == 0)
        size = BN_num_bytes(number);
    assert_int_equal(BN_bn2binpad(number, bytes, size), size);
    append_base64url(out, bytes, (size_t)size);
    BN_free(number);
}

/* One key as a JWK; more: further members, with a comma before each. */
static inline void append_jwk(struct buffer *out, const EVP_PKEY *key, const char *kid, const char *more)
{
    buffer_printf(out, "{\"kid\":\"%s\",", kid);
    if (is_rsa(key)) {
        buffer_append_text(out, "\"kty\":\"RSA\",\"n\":\"");
        append_number(out, key, OSSL_PKEY_PARAM_RSA_N, 0);
        buffer_append_text(out, "\",\"e\":\"");
        append_number(out, key, OSSL_PKEY_PARAM_RSA_E, 0);
    } else {
        buffer_append_text(out, "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"");
        append_number(out, key, OSSL_PKEY_PARAM_EC_PUB_X, 32);
        buffer_append_text(out, "\",\"y\":\"");
        append_number(out, key, OSSL_PKEY_PARAM_EC_PUB_Y, 32);
    }
    buffer_printf(out, "\"%s}", more);
}

/* The set of some JWKs, a comma between them. */
static inline struct jwk_set *set_of(const char *jwks)
{
    struct jwk_set *set = NULL;
    struct buffer text = {0};
    buffer_printf(&text, "{\"keys\":[%s]}", jwks);
    assert_non_null(buffer_terminate(&text));
    assert_int_equal(jwk_set_parse(text.data, text.len, &set), 0);
    buffer_free(&text);
    return set;
}

static inline struct jwk_set *set_of_key(const EVP_PKEY *key, const char *kid, const char *more)
{
    struct buffer jwk = {0};
    append_jwk(&jwk, key, kid, more);
    struct jwk_set *set = set_of(buffer_terminate(&jwk));
    buffer_free(&jwk);
    return set;
}

/* RS256 with an RSA key, ES256 with the other; ret is written to. Returns the signature's length. */
static inline size_t sign(EVP_PKEY *key, const void *bytes, size_t len, unsigned char ret[1024])
{
    unsigned char raw[1024];
    size_t raw_len = sizeof raw;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, raw, &raw_len, bytes, len), 1);
    EVP_MD_CTX_free(ctx);
    if (is_rsa(key)) {
        memcpy(ret, raw, raw_len);
        return raw_len;
    }
    const unsigned char *at = raw;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)raw_len);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(pair), ret, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(pair), ret + 32, 32), 32);
    ECDSA_SIG_free(pair);
    return 64;
}

/* Signs "a.b" as it stands, and appends the third segment. */
static inline void append_signature(struct buffer *token, EVP_PKEY *key)
{
    unsigned char signature[1024];
    size_t len = sign(key, token->data, token->len, signature);
    buffer_append_char(token, '.');
    append_base64url(token, signature, len);
}

/* The whole token, which the caller frees. */
static inline char *token_of_bytes(const void *header, size_t header_len, const void *payload,
                                   size_t payload_len, EVP_PKEY *key)
{
    struct buffer token = {0};
    append_base64url(&token, header, header_len);
    buffer_append_char(&token, '.');
    append_base64url(&token, payload, payload_len);
    append_signature(&token, key);
    return buffer_take(&token, NULL);
}

static inline char *token_of(const char *header, const char *payload, EVP_PKEY *key)
{
    return token_of_bytes(header, strlen(header), payload, strlen(payload), key);
}

/* --- verdicts ---------------------------------------------------------------------------------- */

#define ISSUER   "https://issuer.example"
#define AUDIENCE "api://telemetryd"

static const struct token_rules plain_rules = {.issuer = ISSUER, .audiences = AUDIENCE};

/* The verdict on a token that stands in a heap block of its own size, so that a byte too far is seen. */
static inline enum token_verdict verdict_on(const char *token, size_t len, const struct jwk_set *keys,
                                            const struct token_rules *rules, int64_t now_s,
                                            struct principal **ret_principal)
{
    static struct principal untouched;
    struct principal *principal = &untouched;
    const char *why = NULL;
    char *copy = malloc(len != 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, token, len);

    enum token_verdict verdict = token_verify(copy, len, keys, rules, now_s, &principal, &why);
    free(copy);
    if ((verdict == TOKEN_GOOD) != (principal != &untouched))
        fail_msg("a principal comes with a good token and with no other");
    if (verdict == TOKEN_BAD && why == NULL)
        fail_msg("a bad token comes with a reason");
    if (verdict == TOKEN_GOOD && ret_principal != NULL)
        *ret_principal = principal;
    else if (verdict == TOKEN_GOOD)
        principal_unref(principal);
    return verdict;
}

static inline const char *verdict_name(enum token_verdict verdict)
{
    static const char *const names[] = {"good", "bad", "unknown key", "no memory"};
    return names[verdict];
}

#endif
