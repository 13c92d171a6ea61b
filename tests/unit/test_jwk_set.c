#include "token_fixture.h"

#include <errno.h>

/* A good P-256 key: Wycheproof's, whose private part is public. An RSA modulus need not be one here. */
#define X "04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY"
#define Y "UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw"

#define EC(more)    "{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"P-256\",\"x\":\"" X "\",\"y\":\"" Y "\"" more "}"
#define POINT(x, y) "{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"P-256\",\"x\":\"" x "\",\"y\":\"" y "\"}"
#define ZERO        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define FIELD_PRIME "_____wAAAAEAAAAAAAAAAAAAAAD_______________8" /* 2^256 - 2^224 + 2^192 + 2^96 - 1 */

static const struct {
    const char *rule, *key;
    bool kept;
} ec_keys[] = {
    {"a P-256 key", EC(""), true},
    {"its alg", EC(",\"alg\":\"ES256\""), true},
    {"its use", EC(",\"use\":\"sig\""), true},
    {"its operations", EC(",\"key_ops\":[\"verify\"]"), true},
    {"verify among its operations", EC(",\"key_ops\":[\"sign\",\"verify\"]"), true},
    {"members that nobody knows", EC(",\"x5t\":\"abc\",\"x5c\":[\"A\"],\"exp\":1,\"foo\":{\"d\":1}"), true},
    {"an issuer", EC(",\"issuer\":\"https://i/{tenantid}\""), true},

    {"another alg", EC(",\"alg\":\"ES384\""), false},
    {"RSA's alg", EC(",\"alg\":\"RS256\""), false},
    {"HMAC's alg", EC(",\"alg\":\"HS256\""), false},
    {"alg in lower case", EC(",\"alg\":\"es256\""), false},
    {"alg null", EC(",\"alg\":null"), false},
    {"alg an array", EC(",\"alg\":[\"ES256\"]"), false},
    {"for encryption", EC(",\"use\":\"enc\""), false},
    {"use null", EC(",\"use\":null"), false},
    {"use empty", EC(",\"use\":\"\""), false},
    {"for signing alone", EC(",\"key_ops\":[\"sign\"]"), false},
    {"for no operation", EC(",\"key_ops\":[]"), false},
    {"operations as text", EC(",\"key_ops\":\"verify\""), false},
    {"operations that are no text", EC(",\"key_ops\":[\"verify\",1]"), false},
    {"two operations in one text", EC(",\"key_ops\":[\"sign, verify\"]"), false},
    {"a private part", EC(",\"d\":\"" X "\""), false},
    {"a symmetric part", EC(",\"k\":\"" X "\""), false},
    {"an issuer that is no text", EC(",\"issuer\":1"), false},
    {"an issuer null", EC(",\"issuer\":null"), false},

    {"a point that is not on the curve", POINT(X, X), false},
    {"x and y swapped", POINT(Y, X), false},
    {"zero", POINT(ZERO, ZERO), false},
    {"x is the field's prime", POINT(FIELD_PRIME, Y), false},
    {"a short x", POINT("AQAB", Y), false},
    {"a long x", POINT(X "AA", Y), false},
    {"x with padding", POINT(X "=", Y), false},
    {"stray bits in x", POINT("04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wZ", Y), false},
    {"an empty y", POINT(X, ""), false},
    {"no y", "{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"P-256\",\"x\":\"" X "\"}", false},
    {"y a number", "{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"P-256\",\"x\":\"" X "\",\"y\":1}", false},
    {"no curve", "{\"kty\":\"EC\",\"kid\":\"k\",\"x\":\"" X "\",\"y\":\"" Y "\"}", false},
    {"P-384", "{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"P-384\",\"x\":\"" X "\",\"y\":\"" Y "\"}", false},
    {"secp256k1", "{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"secp256k1\",\"x\":\"" X "\",\"y\":\"" Y "\"}",
     false},

    {"no kid", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X "\",\"y\":\"" Y "\"}", false},
    {"an empty kid", "{\"kid\":\"\",\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X "\",\"y\":\"" Y "\"}",
     false},
    {"a kid that is no text", "{\"kid\":1,\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X "\",\"y\":\"" Y "\"}",
     false},
    {"no kty", "{\"kid\":\"k\",\"crv\":\"P-256\",\"x\":\"" X "\",\"y\":\"" Y "\"}", false},
    {"OKP", "{\"kid\":\"k\",\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\"}", false},
    {"a symmetric key", "{\"kid\":\"k\",\"kty\":\"oct\",\"k\":\"" X "\"}", false},
    {"an RSA key by name alone", "{\"kid\":\"k\",\"kty\":\"RSA\",\"x\":\"" X "\",\"y\":\"" Y "\"}", false},
    {"text", "\"key\"", false},
    {"null", "null", false},
    {"an empty object", "{}", false},
    {"an array", "[]", false},
};

static void expect_kept(const char *rule, const char *key, size_t len, bool kept)
{
    struct buffer text = {0};
    struct jwk_set *untouched = (struct jwk_set *)&untouched, *set = untouched;

    /* Alone, and beside a good one, which counts all the same. */
    buffer_printf(&text, "{\"keys\":[%.*s]}", (int)len, key);
    int r = jwk_set_parse(text.data, text.len, &set);
    if (r != (kept ? 0 : -EINVAL) || (r != 0) != (set == untouched))
        fail_msg("%s, alone: %d", rule, r);
    if (r == 0) {
        assert_int_equal(jwk_set_count(set), 1);
        jwk_set_unref(set);
    }
    buffer_clear(&text);
    buffer_printf(&text,
                  "{\"keys\":[%.*s,{\"kty\":\"EC\",\"kid\":\"good\",\"crv\":\"P-256\",\"x\":\"" X
                  "\",\"y\":\"" Y "\"}]}",
                  (int)len, key);
    assert_int_equal(jwk_set_parse(text.data, text.len, &set), 0);
    if (jwk_set_count(set) != (kept ? 2 : 1))
        fail_msg("%s, beside a good one", rule);
    assert_non_null(jwk_set_find(set, "good", 4));
    assert_int_equal(jwk_set_find(set, "k", 1) != NULL, kept);
    jwk_set_unref(set);
    buffer_free(&text);
}

static void test_ec_keys(void **state)
{
    for (size_t i = 0; i < COUNT(ec_keys); i++)
        expect_kept(ec_keys[i].rule, ec_keys[i].key, strlen(ec_keys[i].key), ec_keys[i].kept);
}

/* --- RSA: an odd number of so many bits is a modulus as far as we look ------------------------- */

static const struct {
    const char *rule;
    unsigned bits;
    const char *exponent; /* hexadecimal */
    const char *more;
    bool kept;
} rsa_keys[] = {
    {"2,048 bits", 2048, "010001", "", true},
    {"2,049 bits", 2049, "010001", "", true},
    {"3,072 bits", 3072, "010001", "", true},
    {"8,192 bits", 8192, "010001", "", true},
    {"2,047 bits", 2047, "010001", "", false},
    {"1,024 bits", 1024, "010001", "", false},
    {"512 bits", 512, "010001", "", false},
    {"8,193 bits", 8193, "010001", "", false},
    {"16,384 bits", 16384, "010001", "", false},
    {"exponent 3", 2048, "03", "", true},
    {"exponent 1", 2048, "01", "", false},
    {"exponent 0", 2048, "00", "", false},
    {"exponent 2", 2048, "02", "", false},
    {"an even exponent", 2048, "010000", "", false},
    {"no exponent", 2048, "", "", false},
    {"an exponent of 8 bytes", 2048, "8000000000000001", "", true},
    {"an exponent of 9 bytes", 2048, "018000000000000001", "", false},
    {"a zero before the exponent", 2048, "00010001", "", false},
    {"its alg", 2048, "010001", ",\"alg\":\"RS256\",\"use\":\"sig\"", true},
    {"alg RS512", 2048, "010001", ",\"alg\":\"RS512\"", false},
    {"alg PS256", 2048, "010001", ",\"alg\":\"PS256\"", false},
    {"alg ES256", 2048, "010001", ",\"alg\":\"ES256\"", false},
    {"alg HS256", 2048, "010001", ",\"alg\":\"HS256\"", false},
    {"for encryption", 2048, "010001", ",\"use\":\"enc\"", false},
    {"its d", 2048, "010001", ",\"d\":\"AQ\"", false},
    {"its p", 2048, "010001", ",\"p\":\"AQ\"", false},
    {"its dp", 2048, "010001", ",\"dp\":\"AQ\"", false},
    {"its other primes", 2048, "010001", ",\"oth\":[]", false},
};

static void append_rsa(struct buffer *out, const unsigned char *n, size_t n_len, const char *exponent,
                       const char *more)
{
    unsigned char e[32];
    size_t e_len = 0;

    OPENSSL_hexstr2buf_ex(e, sizeof e, &e_len, exponent, '\0');
    buffer_append_text(out, "{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"");
    append_base64url(out, n, n_len);
    buffer_append_text(out, "\",\"e\":\"");
    append_base64url(out, e, e_len);
    buffer_printf(out, "\"%s}", more);
}

static void test_rsa_keys(void **state)
{
    for (size_t i = 0; i < COUNT(rsa_keys); i++) {
        unsigned char n[16384 / 8];
        struct buffer key = {0};
        size_t n_len = (rsa_keys[i].bits + 7) / 8;
        memset(n, 0xA5, sizeof n);
        n[0] = (unsigned char)(1u << (rsa_keys[i].bits - 1) % 8);
        append_rsa(&key, n, n_len, rsa_keys[i].exponent, rsa_keys[i].more);
        expect_kept(rsa_keys[i].rule, key.data, key.len, rsa_keys[i].kept);
        buffer_free(&key);
    }
}

static void test_rsa_moduli(void **state)
{
    unsigned char n[258] = {0};
    struct buffer key = {0};

    memset(n + 1, 0xA5, 256);
    append_rsa(&key, n, 257, "010001", "");
    expect_kept("a zero before the modulus", key.data, key.len, false);
    buffer_clear(&key);
    n[256] = 0xA4;
    append_rsa(&key, n + 1, 256, "010001", "");
    expect_kept("an even modulus", key.data, key.len, false);
    buffer_free(&key);
}

/* --- sets -------------------------------------------------------------------------------------- */

static void test_texts(void **state)
{
    static const struct {
        const char *rule, *text;
    } cases[] = {
        {"nothing", ""},
        {"not JSON", "keys"},
        {"an HTML page", "<html></html>"},
        {"an array", "[" EC("") "]"},
        {"a key alone", EC("")},
        {"no keys", "{}"},
        {"an empty set", "{\"keys\":[]}"},
        {"keys null", "{\"keys\":null}"},
        {"keys an object", "{\"keys\":{\"k\":" EC("") "}}"},
        {"keys twice", "{\"keys\":[" EC("") "],\"keys\":[" EC("") "]}"},
        {"a member twice, deeper", "{\"keys\":[" EC(",\"kid\":\"other\"") "]}"},
        {"a member twice, once escaped", "{\"keys\":[" EC(",\"k\\u0069d\":\"other\"") "]}"},
        {"bytes after it", "{\"keys\":[" EC("") "]}x"},
        {"cut", "{\"keys\":[" EC("")},
        {"not UTF-8", "{\"keys\":[" EC("") "],\"x\":\"\xC0\xAF\"}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct jwk_set *set = NULL;
        if (jwk_set_parse(cases[i].text, strlen(cases[i].text), &set) != -EINVAL)
            fail_msg("%s", cases[i].rule);
        assert_null(set);
    }
}

static void test_depth(void **state)
{
    for (unsigned levels = 1000; levels <= 100000; levels *= 100) {
        struct jwk_set *set = NULL;
        struct buffer text = {0};
        buffer_append_text(&text, "{\"keys\":[" EC("") "],\"x\":");
        for (unsigned i = 0; i < levels; i++)
            buffer_append_char(&text, '[');
        for (unsigned i = 0; i < levels; i++)
            buffer_append_char(&text, ']');
        buffer_append_char(&text, '}');
        assert_int_equal(jwk_set_parse(text.data, text.len, &set), levels == 1000 ? 0 : -EINVAL);
        jwk_set_unref(set);
        buffer_free(&text);
    }
}

static void append_p256(struct buffer *text, const char *kid)
{
    buffer_printf(text, "%s{\"kty\":\"EC\",\"kid\":\"%s\",\"crv\":\"P-256\",\"x\":\"" X "\",\"y\":\"" Y "\"}",
                  text->len > 9 ? "," : "", kid);
}

static void test_bounds(void **state)
{
    static const struct {
        unsigned keys;
        int expect;
    } cases[] = {{JWK_SET_KEYS_MAX, 0}, {JWK_SET_KEYS_MAX + 1, -EINVAL}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct jwk_set *set = NULL;
        struct buffer text = {0};
        buffer_append_text(&text, "{\"keys\":[");
        for (unsigned k = 0; k < cases[i].keys; k++) {
            char kid[16];
            snprintf(kid, sizeof kid, "key-%u", k);
            append_p256(&text, kid);
        }
        buffer_append_text(&text, "]}");
        assert_int_equal(jwk_set_parse(text.data, text.len, &set), cases[i].expect);
        for (unsigned k = 0; set != NULL && k < cases[i].keys; k++) {
            char kid[16];
            int len = snprintf(kid, sizeof kid, "key-%u", k);
            const struct jwk *key = jwk_set_find(set, kid, (size_t)len);
            assert_non_null(key);
            assert_string_equal(key->kid, kid);
        }
        jwk_set_unref(set);
        buffer_free(&text);
    }

    /* 1 MB, white space included, and one byte more. */
    for (size_t more = 0; more < 2; more++) {
        struct jwk_set *set = NULL;
        struct buffer text = {0};
        buffer_append_text(&text, "{\"keys\":[" EC("") "]}");
        while (text.len < JWK_SET_TEXT_MAX + more)
            buffer_append_char(&text, ' ');
        assert_int_equal(jwk_set_parse(text.data, text.len, &set), more == 0 ? 0 : -EINVAL);
        jwk_set_unref(set);
        buffer_free(&text);
    }

    for (size_t len = JWK_KID_MAX; len <= JWK_KID_MAX + 1; len++) {
        struct jwk_set *set = NULL;
        struct buffer text = {0};
        buffer_printf(&text,
                      "{\"keys\":[{\"kid\":\"%0*d\",\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X
                      "\",\"y\":\"" Y "\"}]}",
                      (int)len, 0);
        assert_int_equal(jwk_set_parse(text.data, text.len, &set), len == JWK_KID_MAX ? 0 : -EINVAL);
        jwk_set_unref(set);
        buffer_free(&text);
    }
}

static void test_two_keys_of_one_kid(void **state)
{
    struct jwk_set *set = NULL;
    struct buffer text = {0};

    buffer_append_text(&text, "{\"keys\":[");
    append_p256(&text, "b");
    append_p256(&text, "twice");
    append_p256(&text, "a");
    append_p256(&text, "twice");
    append_p256(&text, "twicer");
    buffer_append_text(&text, "]}");
    assert_int_equal(jwk_set_parse(text.data, text.len, &set), 0);
    assert_int_equal(jwk_set_count(set), 3);
    assert_null(jwk_set_find(set, "twice", 5));
    assert_true(jwk_set_names(set, "twice", 5));
    assert_false(jwk_set_names(set, "thrice", 6));
    assert_non_null(jwk_set_find(set, "twicer", 6));
    assert_non_null(jwk_set_find(set, "a", 1));
    assert_non_null(jwk_set_find(set, "b", 1));
    jwk_set_unref(set);

    buffer_clear(&text);
    buffer_append_text(&text, "{\"keys\":[");
    append_p256(&text, "twice");
    append_p256(&text, "twice");
    buffer_append_text(&text, "]}");
    set = NULL;
    assert_int_equal(jwk_set_parse(text.data, text.len, &set), -EINVAL);
    buffer_free(&text);

    /* One that cannot be used does not count, wherever it stands. */
    static const char *const mixed[] = {
        "{\"keys\":[" EC("") "," EC(",\"use\":\"enc\"") "]}",
        "{\"keys\":[" EC(",\"use\":\"enc\"") "," EC("") "," EC(",\"alg\":\"x\"") "]}",
    };
    for (size_t i = 0; i < COUNT(mixed); i++) {
        assert_int_equal(jwk_set_parse(mixed[i], strlen(mixed[i]), &set), 0);
        assert_int_equal(jwk_set_count(set), 1);
        assert_non_null(jwk_set_find(set, "k", 1));
        jwk_set_unref(set);
    }
}

static void test_find(void **state)
{
    static const char *const kids[] = {"m", "key", "keys", "ke", "z", "K"};
    static const struct {
        const char *kid;
        size_t len;
        bool found;
    } cases[] = {
        {"m", 1, true},    {"key", 3, true},   {"keys", 4, true},   {"ke", 2, true},   {"keys", 3, true},
        {"k", 1, false},   {"key", 0, false},  {"keyss", 5, false}, {"kez", 3, false}, {"M", 1, false},
        {"m\0", 2, false}, {"m\0m", 3, false}, {"\0", 1, false},    {"zz", 2, false},
    };
    struct jwk_set *set = NULL;
    struct buffer text = {0};

    buffer_append_text(&text, "{\"keys\":[");
    for (size_t i = 0; i < COUNT(kids); i++)
        append_p256(&text, kids[i]);
    buffer_append_text(&text, "]}");
    assert_int_equal(jwk_set_parse(text.data, text.len, &set), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct jwk *key = jwk_set_find(set, cases[i].kid, cases[i].len);
        if ((key != NULL) != cases[i].found)
            fail_msg("%.*s", (int)cases[i].len, cases[i].kid);
        if (key != NULL)
            assert_memory_equal(key->kid, cases[i].kid, cases[i].len);
    }
    assert_ptr_equal(jwk_set_ref(set), set);
    jwk_set_unref(set);
    assert_non_null(jwk_set_find(set, "m", 1));
    jwk_set_unref(set);
    buffer_free(&text);
}

/* What Entra publishes: keys without alg, with an issuer that is a template. */
static void test_entra(void **state)
{
    EVP_PKEY *key = new_rsa(2048);
    struct jwk_set *set =
        set_of_key(key, "nOo3ZDrODXEK1jKWhXslHR_KXEg",
                   ",\"use\":\"sig\",\"x5t\":\"nOo3ZDrODXEK1jKWhXslHR_KXEg\",\"x5c\":[\"MIIC\"],"
                   "\"cloud_instance_name\":\"microsoftonline.com\","
                   "\"issuer\":\"https://login.microsoftonline.com/{tenantid}/v2.0\"");
    const struct jwk *found = jwk_set_find(set, "nOo3ZDrODXEK1jKWhXslHR_KXEg", 27);

    assert_non_null(found);
    assert_int_equal(found->alg, JWK_RS256);
    assert_string_equal(found->issuer, "https://login.microsoftonline.com/{tenantid}/v2.0");
    assert_int_equal(EVP_PKEY_eq(found->key, key), 1);
    assert_int_equal(strncmp(found->pem, "-----BEGIN PUBLIC KEY-----\n", 27), 0);
    jwk_set_unref(set);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ec_keys),
        cmocka_unit_test(test_rsa_keys),
        cmocka_unit_test(test_rsa_moduli),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_two_keys_of_one_kid),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_entra),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
