/*
 * Bearer tokens. An input of one line is a token as a caller sends it: nothing may be accepted but what our
 * keys signed. One of two lines is a header and a payload that are signed with our key here, so that what
 * lies behind the signature is reached; what is accepted then is judged once more by a plain reading of the
 * claims.
 *
 * The keys were made for this file and secure nothing.
 */
#include "base64.h"
#include "buffer.h"
#include "fuzz.h"
#include "token.h"

#include <jansson.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#define NOW      1800000000
#define ISSUER   "https://login.microsoftonline.com/{tenantid}/v2.0"
#define TENANT   "72f988bf-86f1-41af-91ab-2d7cd011db47"
#define AUDIENCE "api://telemetryd"

static const char key_set[] =
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"ec\",\"x\":\"V2h8qS_"
    "zneExQqrpmlOlrbJiCBn2C8494o3Za0fHStA\","
    "\"y\":\"lrZUmzJV2P_npLh9nby8DuTqp7LWJL0LZ3nS4LDC_Vo\"},{\"kty\":\"RSA\",\"kid\":\"rsa\",\"n\":"
    "\"vXl8Gs7u3XrcGqaU1l8UYkY8AGj"
    "z8L3vMkAw41uJgxTWz-hSeU2cJKqOmpA09IFerAGu-VINBHXlR-"
    "Uq7d83hb05ZJZgZ1Wneds6dbe9ZBBD5sTbyvPPw1Kbyx3yENfExOqMVxFva1JXftktF0dF0yp5"
    "nwN-SY96xX8F6qc7VxaWYzBMnhlpWTHqAv6n0pPkT_jn-CxGxPqG4qgRp8D-"
    "g9gi4jY8bctfipdM5MMV9aZnJCwpb6GLa2bCqieOmsjHEGmEIVNzvv5bgWRDEnJxy-"
    "GJ6TIacn2ic8_1YFLIoUqeOEfc5aI-mIczgotMOqRjWbxExxdMNLzsAzsR__690Q\",\"e\":\"AQAB\"}]}";

static const char private_key[] = "-----BEGIN PRIVATE KEY-----\n"
                                  "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgF52wZKpqs1d+T/D3\n"
                                  "GdOu5pkiTm362lg5VCekNGW6saKhRANCAARXaHypL/Od4TFCqumaU6WtsmIIGfYL\n"
                                  "zj3ijdlrR8dK0Ja2VJsyVdj/56S4fZ28vA7k6qey1iS9C2d50uCwwv1a\n"
                                  "-----END PRIVATE KEY-----\n";

/* What was signed for the corpus, with the RSA key, whose private part is gone, and with the other. */
static const char *const signed_headers[] = {"{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"JWT\"}",
                                             "{\"alg\":\"ES256\",\"kid\":\"ec\",\"typ\":\"at+jwt\"}"};
static const char signed_payload[] =
    "{\"iss\":\"https://login.microsoftonline.com/" TENANT "/v2.0\",\"tid\":\"" TENANT
    "\",\"aud\":\"" AUDIENCE
    "\",\"exp\":1800003600,\"sub\":\"s\",\"scp\":\"Telemetry.Read Device.Read\",\"dev\":[\"d1\",\"lab-*\"]}";

static const struct token_rules rules = {
    .issuer = ISSUER, .audiences = AUDIENCE ",other", .devices_claim = "dev"};
static struct jwk_set *keys;
static EVP_PKEY *key;

static void set_up(void)
{
    BIO *bio = BIO_new_mem_buf(private_key, -1);
    key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    ALWAYS(key != NULL && jwk_set_parse(key_set, sizeof key_set - 1, &keys) == 0 && jwk_set_count(keys) == 2);
}

static enum token_verdict verify(const char *token, size_t len, const struct jwk_set *set,
                                 struct principal **ret)
{
    const char *why = NULL;
    char *copy = fuzz_copy(token, len);
    struct principal *principal = NULL;
    enum token_verdict verdict = token_verify(copy, len, set, &rules, NOW, &principal, &why);
    free(copy);
    ALWAYS((principal != NULL) == (verdict == TOKEN_GOOD));
    ALWAYS(verdict != TOKEN_BAD || why != NULL);
    ALWAYS(verdict != TOKEN_NO_MEMORY);
    *ret = principal;
    return verdict;
}

/* --- as it came -------------------------------------------------------------------------------- */

static bool segment_is(const char *segment, size_t len, const char *text)
{
    char *encoded = malloc(BASE64URL_ENCODED_SIZE(strlen(text)));
    ALWAYS(encoded != NULL);
    size_t encoded_len = base64url_encode((const unsigned char *)text, strlen(text), encoded);
    bool same = len == encoded_len && memcmp(segment, encoded, len) == 0;
    free(encoded);
    return same;
}

/* Nobody else has our keys, so what is accepted is what was signed, byte for byte. */
static void check_as_it_came(const char *token, size_t len)
{
    struct principal *principal;
    enum token_verdict verdict = verify(token, len, keys, &principal);
    if (verdict == TOKEN_GOOD) {
        const char *dot = memchr(token, '.', len), *payload = dot + 1;
        size_t header_len = (size_t)(dot - token);
        dot = memchr(payload, '.', len - header_len - 1);
        ALWAYS(segment_is(token, header_len, signed_headers[0]) ||
               segment_is(token, header_len, signed_headers[1]));
        ALWAYS(segment_is(payload, (size_t)(dot - payload), signed_payload));
        ALWAYS(len <= TOKEN_MAX);
    }
    principal_unref(principal);
    ALWAYS(verify(token, len, NULL, &principal) != TOKEN_GOOD); /* without a key there is no good token */
}

/* --- signed here ------------------------------------------------------------------------------- */

static void append_base64url(struct buffer *out, const void *bytes, size_t len)
{
    char *text = malloc(BASE64URL_ENCODED_SIZE(len));
    ALWAYS(text != NULL);
    buffer_append(out, text, base64url_encode(bytes, len, text));
    free(text);
}

static void append_signature(struct buffer *token)
{
    unsigned char der[128], raw[64];
    const unsigned char *at = der;
    size_t der_len = sizeof der;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ALWAYS(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1);
    ALWAYS(EVP_DigestSign(ctx, der, &der_len, (unsigned char *)token->data, token->len) == 1);
    EVP_MD_CTX_free(ctx);
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)der_len);
    ALWAYS(BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw, 32) == 32 &&
           BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw + 32, 32) == 32);
    ECDSA_SIG_free(pair);
    buffer_append_char(token, '.');
    append_base64url(token, raw, sizeof raw);
}

static bool text_is(const json_t *object, const char *name, const char *text)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value != NULL && strcmp(value, text) == 0;
}

static bool ours(const char *audience)
{
    return audience != NULL && (strcmp(audience, AUDIENCE) == 0 || strcmp(audience, "other") == 0);
}

static void check_header(const json_t *header)
{
    static const char *const refused[] = {"crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5u"};
    ALWAYS(json_is_object(header) && text_is(header, "alg", "ES256") && text_is(header, "kid", "ec"));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        ALWAYS(json_object_get(header, refused[i]) == NULL);
}

static void check_claims(const json_t *claims, const struct principal *principal)
{
    const char *tenant = json_string_value(json_object_get(claims, "tid"));
    const json_t *aud = json_object_get(claims, "aud"), *exp = json_object_get(claims, "exp");
    const json_t *nbf = json_object_get(claims, "nbf"), *devices = json_object_get(claims, "dev");
    bool audience = ours(json_string_value(aud));
    char issuer[128];

    ALWAYS(tenant != NULL && strlen(tenant) == 36);
    snprintf(issuer, sizeof issuer, "https://login.microsoftonline.com/%s/v2.0", tenant);
    ALWAYS(text_is(claims, "iss", issuer));
    for (size_t i = 0; i < json_array_size(aud); i++)
        audience = audience || ours(json_string_value(json_array_get(aud, i)));
    ALWAYS(audience);
    ALWAYS(json_is_integer(exp) && json_integer_value(exp) > NOW - TOKEN_SKEW_S);
    ALWAYS(nbf == NULL || (json_is_integer(nbf) && json_integer_value(nbf) <= NOW + TOKEN_SKEW_S));
    ALWAYS(principal->expires_s == json_integer_value(exp) && principal_current(principal, NOW));
    ALWAYS((principal->permissions & ~31u) == 0);
    ALWAYS(principal->permissions == 0 || json_object_get(claims, "scp") != NULL ||
           json_object_get(claims, "roles") != NULL);
    if (devices != NULL && json_array_size(devices) == 0)
        ALWAYS(!grants_has(principal->grants, "d1"));
    for (size_t i = 0; i < json_array_size(devices); i++) {
        const char *entry = json_string_value(json_array_get(devices, i));
        if (entry != NULL && entry[0] != '\0' && strchr(entry, '*') == NULL)
            ALWAYS(grants_has(principal->grants, entry));
    }
}

static enum token_verdict check_signed(const uint8_t *header, size_t header_len, const uint8_t *payload,
                                       size_t payload_len)
{
    struct buffer token = {0};
    struct principal *principal;

    append_base64url(&token, header, header_len);
    buffer_append_char(&token, '.');
    append_base64url(&token, payload, payload_len);
    append_signature(&token);
    enum token_verdict verdict = verify(token.data, token.len, keys, &principal);
    if (verdict == TOKEN_GOOD) {
        json_error_t error;
        json_t *h = json_loadb((const char *)header, header_len, JSON_REJECT_DUPLICATES, &error);
        json_t *p = json_loadb((const char *)payload, payload_len, JSON_REJECT_DUPLICATES, &error);
        ALWAYS(h != NULL && p != NULL && token.len <= TOKEN_MAX);
        check_header(h);
        check_claims(p, principal);
        json_decref(h);
        json_decref(p);
        principal_unref(principal);
    }
    buffer_free(&token);
    return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *payload;
    size_t payload_len, header_len = fuzz_line(data, size, &payload, &payload_len);

    if (keys == NULL) {
        set_up();
        /* Else all this would be about refusals. */
        ALWAYS(check_signed((const uint8_t *)signed_headers[1], strlen(signed_headers[1]),
                            (const uint8_t *)signed_payload, strlen(signed_payload)) == TOKEN_GOOD);
    }
    if (header_len == size)
        check_as_it_came((const char *)data, size);
    else
        check_signed(data, header_len, payload, payload_len);
    return 0;
}
