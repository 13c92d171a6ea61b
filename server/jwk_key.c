#include "jwk_key.h"

#include "base64.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ecerr.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array)     (sizeof(array) / sizeof(array)[0])
#define RSA_BITS_MIN     2048
#define RSA_BITS_MAX     8192
#define RSA_BYTES_MAX    (RSA_BITS_MAX / 8)
#define RSA_EXPONENT_MAX 8 /* bytes; with a modulus past 3,072 bits OpenSSL takes no longer one */
#define P256_BYTES       32
#define ISSUER_MAX       1024

/* A key whose secret was published is nobody's key, and a symmetric one never verifies here. */
static const char *const private_members[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};

/* --- what the key says of itself --------------------------------------------------------------- */

static bool has_private_part(const json_t *json)
{
    for (size_t i = 0; i < COUNT(private_members); i++) {
        if (json_object_get(json, private_members[i]) != NULL)
            return true;
    }
    return false;
}

/* Absent, or exactly this text. */
static bool absent_or(const json_t *value, const char *text)
{
    return value == NULL || (json_is_string(value) && strcmp(json_string_value(value), text) == 0);
}

static bool is_text(const json_t *value, const char *text)
{
    return value != NULL && absent_or(value, text);
}

static bool allows_verifying(const json_t *operations)
{
    bool verifies = false;

    if (operations == NULL)
        return true;
    if (!json_is_array(operations))
        return false;
    for (size_t i = 0; i < json_array_size(operations); i++) {
        if (!json_is_string(json_array_get(operations, i)))
            return false;
        verifies = verifies || is_text(json_array_get(operations, i), "verify");
    }
    return verifies;
}

/* The bytes of a member that is canonical base64url, at most max of them. -1: it is not. */
static long read_bytes(const json_t *json, const char *member, unsigned char *out, size_t max)
{
    const json_t *value = json_object_get(json, member);
    size_t len = json_string_length(value);

    if (!json_is_string(value) || len == 0 || len >= BASE64URL_ENCODED_SIZE(max))
        return -1;
    return base64url_decode(json_string_value(value), len, out);
}

/* --- making it --------------------------------------------------------------------------------- */

/* What OpenSSL says of a point that is none. */
static const int point_faults[] = {EC_R_POINT_IS_NOT_ON_CURVE, EC_R_COORDINATES_OUT_OF_RANGE,
                                   EC_R_INVALID_ENCODING, EC_R_POINT_AT_INFINITY};

/* Why OpenSSL failed; its queue is empty again. After our own checks only a point can still be wrong, and
 * OpenSSL says so as well where it had no memory to tell. All else is lack of memory, for which it does not
 * always have a word. */
static int openssl_fault(void)
{
    bool no_memory = false, no_point = false;

    for (unsigned long error; (error = ERR_get_error()) != 0;) {
        no_memory = no_memory || ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE;
        for (size_t i = 0; i < COUNT(point_faults); i++)
            no_point =
                no_point || (ERR_GET_LIB(error) == ERR_LIB_EC && ERR_GET_REASON(error) == point_faults[i]);
    }
    return no_point && !no_memory ? -EINVAL : -ENOMEM;
}

static int key_from_params(const char *type, OSSL_PARAM *params, EVP_PKEY **ret_key)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0 || key == NULL) {
        EVP_PKEY_CTX_free(ctx);
        EVP_PKEY_free(key);
        return openssl_fault();
    }
    EVP_PKEY_CTX_free(ctx);
    *ret_key = key;
    return 0;
}

static int rsa_params(const unsigned char *n, long n_len, const unsigned char *e, long e_len,
                      OSSL_PARAM **ret_params)
{
    OSSL_PARAM *params = NULL;
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    BIGNUM *modulus = BN_bin2bn(n, (int)n_len, NULL);
    BIGNUM *exponent = BN_bin2bn(e, (int)e_len, NULL);
    if (builder != NULL && modulus != NULL && exponent != NULL &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
        params = OSSL_PARAM_BLD_to_param(builder);
    OSSL_PARAM_BLD_free(builder);
    BN_free(modulus);
    BN_free(exponent);
    if (params == NULL)
        return openssl_fault();
    *ret_params = params;
    return 0;
}

/* Modulus and exponent are odd numbers without leading zero bytes; whether the modulus is a good one is
 * between the issuer and its holder. */
static int read_rsa(const json_t *json, EVP_PKEY **ret_key)
{
    unsigned char n[BASE64URL_DECODED_SIZE(BASE64URL_ENCODED_SIZE(RSA_BYTES_MAX))];
    unsigned char e[BASE64URL_DECODED_SIZE(BASE64URL_ENCODED_SIZE(RSA_EXPONENT_MAX))];
    OSSL_PARAM *params = NULL;

    long n_len = read_bytes(json, "n", n, RSA_BYTES_MAX);
    long e_len = read_bytes(json, "e", e, RSA_EXPONENT_MAX);
    if (n_len <= 0 || e_len <= 0 || n[0] == 0 || e[0] == 0 || n[n_len - 1] % 2 == 0 ||
        e[e_len - 1] % 2 == 0 || (e_len == 1 && e[0] < 3))
        return -EINVAL;
    long bits = (n_len - 1) * 8 + (32 - __builtin_clz(n[0]));
    if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
        return -EINVAL;
    int r = rsa_params(n, n_len, e, e_len, &params);
    if (r == 0)
        r = key_from_params("RSA", params, ret_key);
    OSSL_PARAM_free(params);
    return r;
}

/* OpenSSL checks that the point is on the curve and is not the one at infinity. */
static int check_point(EVP_PKEY *key)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    int r = ctx == NULL || EVP_PKEY_public_check(ctx) != 1 ? openssl_fault() : 0;
    EVP_PKEY_CTX_free(ctx);
    return r;
}

static int read_p256(const json_t *json, EVP_PKEY **ret_key)
{
    static char curve[] = "prime256v1"; /* not written to; OSSL_PARAM has no const */
    unsigned char point[1 + P256_BYTES + BASE64URL_DECODED_SIZE(BASE64URL_ENCODED_SIZE(P256_BYTES))];

    point[0] = 4; /* uncompressed */
    if (!is_text(json_object_get(json, "crv"), "P-256") ||
        read_bytes(json, "x", point + 1, P256_BYTES) != P256_BYTES ||
        read_bytes(json, "y", point + 1 + P256_BYTES, P256_BYTES) != P256_BYTES)
        return -EINVAL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, curve, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * P256_BYTES),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY *key = NULL;
    int r = key_from_params("EC", params, &key);
    if (r == 0)
        r = check_point(key);
    if (r != 0) {
        EVP_PKEY_free(key);
        return r;
    }
    *ret_key = key;
    return 0;
}

static int write_pem(EVP_PKEY *key, char **ret_pem)
{
    int r = -ENOMEM;
    char *text = NULL, *pem;
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL || PEM_write_bio_PUBKEY(bio, key) != 1) {
        r = openssl_fault();
        goto out;
    }
    long len = BIO_get_mem_data(bio, &text);
    if (len <= 0 || (pem = strndup(text, (size_t)len)) == NULL)
        goto out;
    *ret_pem = pem;
    r = 0;
out:
    BIO_free(bio);
    return r;
}

/* --- one key ----------------------------------------------------------------------------------- */

static const struct {
    const char *kty;
    enum jwk_alg alg;
    const char *alg_name;
    int (*read)(const json_t *json, EVP_PKEY **ret_key);
} kinds[] = {
    {"RSA", JWK_RS256, "RS256", read_rsa},
    {"EC", JWK_ES256, "ES256", read_p256},
};

static int copy_text(const json_t *value, const char **ret_text)
{
    char *text = strdup(json_string_value(value));
    if (text == NULL)
        return -ENOMEM;
    *ret_text = text;
    return 0;
}

static int read_kid(const json_t *json, struct jwk *key)
{
    const json_t *kid = json_object_get(json, "kid");

    if (!json_is_string(kid) || json_string_length(kid) == 0 || json_string_length(kid) > JWK_KID_MAX)
        return -EINVAL;
    return copy_text(kid, &key->kid);
}

/* There need not be one, but it must be text. */
static int read_issuer(const json_t *json, struct jwk *key)
{
    const json_t *issuer = json_object_get(json, "issuer");

    if (issuer == NULL)
        return 0;
    if (!json_is_string(issuer) || json_string_length(issuer) > ISSUER_MAX)
        return -EINVAL;
    return copy_text(issuer, &key->issuer);
}

int jwk_key_read(const json_t *json, struct jwk *ret)
{
    struct jwk key = {0};
    char *pem = NULL;
    size_t kind = 0;

    while (kind < COUNT(kinds) && !is_text(json_object_get(json, "kty"), kinds[kind].kty))
        kind++;
    if (kind == COUNT(kinds) || has_private_part(json) ||
        !absent_or(json_object_get(json, "alg"), kinds[kind].alg_name) ||
        !absent_or(json_object_get(json, "use"), "sig") ||
        !allows_verifying(json_object_get(json, "key_ops")))
        return -EINVAL;
    key.alg = kinds[kind].alg;
    ERR_clear_error();
    int r = read_kid(json, &key);
    if (r == 0)
        r = read_issuer(json, &key);
    if (r == 0)
        r = kinds[kind].read(json, &key.key);
    if (r == 0)
        r = write_pem(key.key, &pem);
    if (r != 0) {
        jwk_key_clear(&key);
        return r;
    }
    key.pem = pem;
    *ret = key;
    return 0;
}

int jwk_key_read_refused(const json_t *json, struct jwk *ret)
{
    struct jwk key = {0};
    int r = read_kid(json, &key);
    if (r == 0)
        *ret = key;
    return r;
}

void jwk_key_clear(struct jwk *key)
{
    free((char *)key->kid);
    free((char *)key->pem);
    free((char *)key->issuer);
    EVP_PKEY_free(key->key);
    *key = (struct jwk){0};
}
