#include "../../server/token_internal.h"
#include "token_fixture.h"

#include <errno.h>
#include <jansson.h>

/* Project Wycheproof's cases for JSON Web Signature (tests/vectors/jws, C2SP, Apache-2.0).
 *
 * Their payloads are no claims, so each is judged twice: as it stands, by what looks at bytes, header and
 * signature; and re-made with the private key in the file into an access token that has the same fault. */

#define CLAIMS                                                                                               \
    "{\"iss\":\"https://issuer.example\",\"aud\":\"api://telemetryd\",\"sub\":\"s\",\"exp\":1800003600}"
#define RSA_BYTES 256

/* How many there are, so that none is passed over unseen. */
#define GOOD_CASES   10
#define BAD_CASES    262
#define OTHER_GROUPS 17
#define REMADE_CASES 253

static json_t *vectors;

static int set_up(void **state)
{
    vectors = json_load_file(VECTORS_DIR "/jws/json_web_signature_test.json", 0, NULL);
    return vectors != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    json_decref(vectors);
    return 0;
}

/* A group's public key as a set, or NULL where no key in it is one for us. */
static struct jwk_set *set_of_group(const json_t *group)
{
    struct jwk_set *set = NULL;
    const json_t *public = json_object_get(group, "public");
    json_t *keys = json_pack("{s:[O]}", "keys", public != NULL ? public : json_object_get(group, "private"));
    char *text = json_dumps(keys, 0);
    assert_non_null(text);
    if (jwk_set_parse(text, strlen(text), &set) != 0)
        set = NULL;
    free(text);
    json_decref(keys);
    return set;
}

/* Valid signatures that cannot be a token's. */
static bool is_no_token(const json_t *test)
{
    return strcmp(json_string_value(json_object_get(test, "comment")), "emptyPayload") == 0;
}

/* --- as they stand ----------------------------------------------------------------------------- */

static bool passes(const char *jws, const struct jwk_set *set)
{
    struct token_form form;
    struct token_header header;
    const char *why = NULL;
    bool good = false;

    if (token_form_decode(jws, strlen(jws), &form, &why) == TOKEN_GOOD &&
        token_header_read(&form, &header, &why) == TOKEN_GOOD) {
        const struct jwk *key = jwk_set_find(set, header.kid, header.kid_len);
        header.access_token_type = true; /* libjwt looks at the payload as well */
        good = key != NULL && token_signature_check(&form, &header, key, &why) == TOKEN_GOOD;
    }
    token_form_clear(&form);
    return good;
}

static void test_signatures(void **state)
{
    unsigned good = 0, bad = 0, other_groups = 0;
    size_t g, t;
    json_t *group, *test;

    json_array_foreach(json_object_get(vectors, "testGroups"), g, group)
    {
        struct jwk_set *set = set_of_group(group);
        if (set == NULL) {
            other_groups++;
            continue;
        }
        json_array_foreach(json_object_get(group, "tests"), t, test)
        {
            const char *jws = json_string_value(json_object_get(test, "jws"));
            bool valid = strcmp(json_string_value(json_object_get(test, "result")), "valid") == 0;
            if (passes(jws, set) != (valid && !is_no_token(test)))
                fail_msg("case %lld: %s", json_integer_value(json_object_get(test, "tcId")),
                         json_string_value(json_object_get(test, "comment")));
            assert_int_not_equal(verdict_on(jws, strlen(jws), set, &plain_rules, NOW, NULL), TOKEN_GOOD);
            *(valid ? &good : &bad) += 1;
        }
        jwk_set_unref(set);
    }
    print_message("%u good and %u bad signatures; %u groups whose keys are not taken\n", good, bad,
                  other_groups);
    assert_int_equal(good, GOOD_CASES);
    assert_int_equal(bad, BAD_CASES);
    assert_int_equal(other_groups, OTHER_GROUPS);
}

/* --- made into access tokens ------------------------------------------------------------------- */

static BIGNUM *number_of(const json_t *jwk, const char *member)
{
    const char *text = json_string_value(json_object_get(jwk, member));
    unsigned char bytes[BASE64URL_DECODED_SIZE(1024)];
    assert_non_null(text);
    assert_true(strlen(text) < 1024);
    long len = base64url_decode(text, strlen(text), bytes);
    assert_true(len > 0);
    return BN_bin2bn(bytes, (int)len, NULL);
}

/* bytes to the power of that member, modulo n. */
static void rsa_power(const json_t *jwk, const char *member, unsigned char bytes[RSA_BYTES])
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *n = number_of(jwk, "n"), *exponent = number_of(jwk, member);
    BIGNUM *number = BN_bin2bn(bytes, RSA_BYTES, NULL);
    assert_int_equal(BN_mod_exp(number, number, exponent, n, ctx), 1);
    assert_int_equal(BN_bn2binpad(number, bytes, RSA_BYTES), RSA_BYTES);
    BN_free(number);
    BN_free(exponent);
    BN_free(n);
    BN_CTX_free(ctx);
}

/* The same padding, fault and all, around another text's digest. False where there is no digest in it. */
static bool repad(const json_t *jwk, const struct token_form *form, const struct buffer *input,
                  unsigned char signature[RSA_BYTES])
{
    unsigned char was[32], is[32], *at;

    if (form->signature_len != RSA_BYTES)
        return false;
    EVP_Digest(form->token, form->signed_len, was, NULL, EVP_sha256(), NULL);
    EVP_Digest(input->data, input->len, is, NULL, EVP_sha256(), NULL);
    memcpy(signature, form->signature, RSA_BYTES);
    rsa_power(jwk, "e", signature);
    if ((at = memmem(signature, RSA_BYTES, was, sizeof was)) == NULL)
        return false;
    memcpy(at, is, sizeof is);
    rsa_power(jwk, "d", signature);
    return true;
}

static EVP_PKEY *ec_key_of(const json_t *jwk)
{
    unsigned char point[65] = {4}, d[32];
    BIGNUM *x = number_of(jwk, "x"), *y = number_of(jwk, "y"), *secret = number_of(jwk, "d");
    BN_bn2binpad(x, point + 1, 32);
    BN_bn2binpad(y, point + 33, 32);
    BN_bn2nativepad(secret, d, sizeof d);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string("group", (char *)"prime256v1", 0),
        OSSL_PARAM_construct_octet_string("pub", point, sizeof point),
        OSSL_PARAM_construct_BN("priv", d, sizeof d),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    assert_true(EVP_PKEY_fromdata_init(ctx) > 0);
    assert_true(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) > 0);
    EVP_PKEY_CTX_free(ctx);
    BN_free(x);
    BN_free(y);
    BN_free(secret);
    return key;
}

/* Whatever cannot be carried over to another text keeps the bytes that it has. */
static size_t remake(const json_t *jwk, const struct token_form *form, bool valid, const struct buffer *input,
                     unsigned char signature[1024])
{
    if (strcmp(json_string_value(json_object_get(jwk, "kty")), "RSA") == 0) {
        if (repad(jwk, form, input, signature))
            return RSA_BYTES;
        assert_false(valid);
    } else if (valid) {
        EVP_PKEY *key = ec_key_of(jwk);
        size_t len = sign(key, input->data, input->len, signature);
        EVP_PKEY_free(key);
        return len;
    }
    memcpy(signature, form->signature, form->signature_len);
    return form->signature_len;
}

/* True where the vector has three segments, so that there is something to re-make. */
static bool try_remade(const json_t *group, const json_t *test, const struct jwk_set *set)
{
    const char *jws = json_string_value(json_object_get(test, "jws")), *why;
    bool valid = strcmp(json_string_value(json_object_get(test, "result")), "valid") == 0;
    struct token_form form;
    struct buffer token = {0};
    unsigned char signature[1024];

    bool whole = token_form_decode(jws, strlen(jws), &form, &why) == TOKEN_GOOD && form.signature_len <= 1024;
    if (whole) {
        append_base64url(&token, form.header, form.header_len);
        buffer_append_char(&token, '.');
        append_base64url(&token, CLAIMS, strlen(CLAIMS));
        size_t len = remake(json_object_get(group, "private"), &form, valid, &token, signature);
        buffer_append_char(&token, '.');
        append_base64url(&token, signature, len);
        enum token_verdict verdict = verdict_on(token.data, token.len, set, &plain_rules, NOW, NULL);
        if ((verdict == TOKEN_GOOD) != valid)
            fail_msg("case %lld: %s: %s", json_integer_value(json_object_get(test, "tcId")),
                     json_string_value(json_object_get(test, "comment")), verdict_name(verdict));
    }
    buffer_free(&token);
    token_form_clear(&form);
    return whole;
}

static void test_access_tokens(void **state)
{
    unsigned remade = 0;
    size_t g, t;
    json_t *group, *test;

    json_array_foreach(json_object_get(vectors, "testGroups"), g, group)
    {
        struct jwk_set *set = set_of_group(group);
        if (set == NULL || json_object_get(json_object_get(group, "private"), "d") == NULL) {
            jwk_set_unref(set);
            continue;
        }
        json_array_foreach(json_object_get(group, "tests"), t, test) remade +=
            try_remade(group, test, set) ? 1 : 0;
        jwk_set_unref(set);
    }
    print_message("%u access tokens\n", remade);
    assert_int_equal(remade, REMADE_CASES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_access_tokens),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
