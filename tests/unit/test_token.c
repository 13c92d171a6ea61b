#include "token_fixture.h"

#include <openssl/param_build.h>

/* The attack list: form, header, keys and signatures. Every token here says the right things in its claims
 * and, but where the signature is the point, is signed with the issuer's own key. */

#define CLAIMS                                                                                               \
    "{\"iss\":\"https://issuer.example\",\"aud\":\"api://telemetryd\",\"sub\":\"s\",\"exp\":1800003600,"     \
    "\"scp\":\"Telemetry.Read\"}"

static struct {
    EVP_PKEY *rsa, *rsa_1024, *rsa_8192, *p256, *stranger; /* stranger: RSA, in no set */
    struct jwk_set *set;                                   /* kids "rsa" and "ec" */
} fixture;

/* Of two primes that everybody knows, because looking for others takes minutes under valgrind: those of RFC
 * 3526's and RFC 7919's groups of 4,096 bits. */
static EVP_PKEY *rsa_8192(void)
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *p = BN_get_rfc3526_prime_4096(NULL), *q = NULL, *e = BN_new();
    BIGNUM *n = BN_new(), *d = BN_new(), *phi = BN_new();
    OSSL_PARAM group[] = {OSSL_PARAM_construct_utf8_string("group", (char[]){"ffdhe4096"}, 0),
                          OSSL_PARAM_construct_end()};
    EVP_PKEY *dh = NULL, *key = NULL;

    EVP_PKEY_CTX *dh_ctx = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
    assert_true(EVP_PKEY_fromdata_init(dh_ctx) > 0);
    assert_true(EVP_PKEY_fromdata(dh_ctx, &dh, EVP_PKEY_KEY_PARAMETERS, group) > 0);
    assert_int_equal(EVP_PKEY_get_bn_param(dh, "p", &q), 1);
    BN_set_word(e, 65537);
    BN_mul(n, p, q, ctx);
    /* phi = n - p - q + 1 */
    BN_sub(phi, n, p);
    BN_sub(phi, phi, q);
    BN_add_word(phi, 1);
    assert_non_null(BN_mod_inverse(d, e, phi, ctx));

    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_BN(builder, "n", n);
    OSSL_PARAM_BLD_push_BN(builder, "e", e);
    OSSL_PARAM_BLD_push_BN(builder, "d", d);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *rsa_ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_true(EVP_PKEY_fromdata_init(rsa_ctx) > 0);
    assert_true(EVP_PKEY_fromdata(rsa_ctx, &key, EVP_PKEY_KEYPAIR, params) > 0);
    assert_int_equal(EVP_PKEY_get_bits(key), 8192);

    EVP_PKEY_CTX_free(rsa_ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    EVP_PKEY_free(dh);
    EVP_PKEY_CTX_free(dh_ctx);
    BN_free(p);
    BN_free(q);
    BN_free(e);
    BN_free(n);
    BN_free(d);
    BN_free(phi);
    BN_CTX_free(ctx);
    return key;
}

static int set_up(void **state)
{
    struct buffer jwks = {0};

    fixture.rsa = new_rsa(2048);
    fixture.rsa_1024 = new_rsa(1024);
    fixture.rsa_8192 = rsa_8192();
    fixture.p256 = new_p256();
    fixture.stranger = new_rsa(2048);
    append_jwk(&jwks, fixture.rsa, "rsa", "");
    buffer_append_char(&jwks, ',');
    append_jwk(&jwks, fixture.p256, "ec", "");
    fixture.set = set_of(buffer_terminate(&jwks));
    buffer_free(&jwks);
    return 0;
}

static int tear_down(void **state)
{
    EVP_PKEY_free(fixture.rsa);
    EVP_PKEY_free(fixture.rsa_1024);
    EVP_PKEY_free(fixture.rsa_8192);
    EVP_PKEY_free(fixture.p256);
    EVP_PKEY_free(fixture.stranger);
    jwk_set_unref(fixture.set);
    return 0;
}

static void expect(const char *rule, const char *token, size_t len, enum token_verdict expected)
{
    enum token_verdict verdict = verdict_on(token, len, fixture.set, &plain_rules, NOW, NULL);
    if (verdict != expected)
        fail_msg("%s: %s", rule, verdict_name(verdict));
}

static void expect_text(const char *rule, const char *token, enum token_verdict expected)
{
    expect(rule, token, strlen(token), expected);
}

/* --- headers ----------------------------------------------------------------------------------- */

enum signer { BY_RSA, BY_EC };

static const struct {
    const char *rule;
    enum signer signer;
    const char *header;
    enum token_verdict expect;
} headers[] = {
    /* what is taken */
    {"RS256", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\"}", TOKEN_GOOD},
    {"ES256", BY_EC, "{\"alg\":\"ES256\",\"kid\":\"ec\"}", TOKEN_GOOD},
    {"typ JWT", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"JWT\"}", TOKEN_GOOD},
    {"typ jwt", BY_EC, "{\"alg\":\"ES256\",\"kid\":\"ec\",\"typ\":\"jwt\"}", TOKEN_GOOD},
    {"typ at+jwt, RSA", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"at+jwt\"}", TOKEN_GOOD},
    {"typ at+jwt, EC", BY_EC, "{\"alg\":\"ES256\",\"kid\":\"ec\",\"typ\":\"at+jwt\"}", TOKEN_GOOD},
    {"typ application/at+jwt", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"application/at+jwt\"}",
     TOKEN_GOOD},
    {"a media type has no case", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"Application/AT+JWT\"}",
     TOKEN_GOOD},
    {"Entra's header", BY_RSA, "{\"typ\":\"JWT\",\"alg\":\"RS256\",\"x5t\":\"abc\",\"kid\":\"rsa\"}",
     TOKEN_GOOD},
    {"white space and escapes", BY_RSA,
     " {\n\"\\u0061lg\" : \"RS\\u0032\\u0035\\u0036\" ,\t\"kid\":\"rsa\"} ", TOKEN_GOOD},
    {"members that nobody knows", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"x\":[1,{\"a\":null}]}",
     TOKEN_GOOD},

    /* alg */
    {"none", BY_RSA, "{\"alg\":\"none\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"None", BY_RSA, "{\"alg\":\"None\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"NONE", BY_RSA, "{\"alg\":\"NONE\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"nOnE", BY_RSA, "{\"alg\":\"nOnE\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"escaped none", BY_RSA, "{\"alg\":\"\\u006eone\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"none with a blank", BY_RSA, "{\"alg\":\"none \",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"empty alg", BY_RSA, "{\"alg\":\"\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"no alg", BY_RSA, "{\"kid\":\"rsa\"}", TOKEN_BAD},
    {"alg null", BY_RSA, "{\"alg\":null,\"kid\":\"rsa\"}", TOKEN_BAD},
    {"alg an array", BY_RSA, "{\"alg\":[\"RS256\"],\"kid\":\"rsa\"}", TOKEN_BAD},
    {"alg a number", BY_RSA, "{\"alg\":256,\"kid\":\"rsa\"}", TOKEN_BAD},
    {"alg in lower case", BY_RSA, "{\"alg\":\"rs256\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"alg with a NUL behind", BY_RSA, "{\"alg\":\"RS256\\u0000\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"RS384", BY_RSA, "{\"alg\":\"RS384\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"PS256", BY_RSA, "{\"alg\":\"PS256\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"ES256K", BY_EC, "{\"alg\":\"ES256K\",\"kid\":\"ec\"}", TOKEN_BAD},
    {"EdDSA", BY_EC, "{\"alg\":\"EdDSA\",\"kid\":\"ec\"}", TOKEN_BAD},
    {"HS256", BY_RSA, "{\"alg\":\"HS256\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"ES256 with an RSA key", BY_RSA, "{\"alg\":\"ES256\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"RS256 with an EC key", BY_EC, "{\"alg\":\"RS256\",\"kid\":\"ec\"}", TOKEN_BAD},
    {"ES256 with an RSA key, at+jwt", BY_RSA, "{\"alg\":\"ES256\",\"kid\":\"rsa\",\"typ\":\"at+jwt\"}",
     TOKEN_BAD},
    {"RS256 with an EC key, at+jwt", BY_EC, "{\"alg\":\"RS256\",\"kid\":\"ec\",\"typ\":\"at+jwt\"}",
     TOKEN_BAD},
    {"another key's kid", BY_RSA, "{\"alg\":\"ES256\",\"kid\":\"ec\"}", TOKEN_BAD},
    {"another key's kid, reverse", BY_EC, "{\"alg\":\"RS256\",\"kid\":\"rsa\"}", TOKEN_BAD},

    /* typ */
    {"typ JWS", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"JWS\"}", TOKEN_BAD},
    {"typ JWE", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"JWE\"}", TOKEN_BAD},
    {"typ dpop+jwt", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"dpop+jwt\"}", TOKEN_BAD},
    {"typ id_token", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"id_token\"}", TOKEN_BAD},
    {"typ empty", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"\"}", TOKEN_BAD},
    {"typ null", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":null}", TOKEN_BAD},
    {"typ an array", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":[\"JWT\"]}", TOKEN_BAD},

    /* what changes how a token is read, or says where its key is */
    {"unknown crit", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"crit\":[\"x\"],\"x\":1}", TOKEN_BAD},
    {"crit exp", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"crit\":[\"exp\"],\"exp\":1}", TOKEN_BAD},
    {"crit empty", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"crit\":[]}", TOKEN_BAD},
    {"crit null", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"crit\":null}", TOKEN_BAD},
    {"b64 false", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"b64\":false}", TOKEN_BAD},
    {"b64 false, said to be critical", BY_RSA,
     "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"b64\":false,\"crit\":[\"b64\"]}", TOKEN_BAD},
    {"b64 true", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"b64\":true}", TOKEN_BAD},
    {"zip", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"zip\":\"DEF\"}", TOKEN_BAD},
    {"enc", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"enc\":\"A256GCM\"}", TOKEN_BAD},
    {"cty", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"cty\":\"JWT\"}", TOKEN_BAD},
    {"jwk", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"jwk\":{\"kty\":\"RSA\"}}", TOKEN_BAD},
    {"jku", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"jku\":\"https://issuer.example/keys\"}", TOKEN_BAD},
    {"x5u", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"x5u\":\"https://issuer.example/c\"}", TOKEN_BAD},
    {"x5c", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"x5c\":[\"AAAA\"]}", TOKEN_BAD},
    {"an escaped name is that name", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"cri\\u0074\":[\"x\"]}",
     TOKEN_BAD},

    /* kid */
    {"no kid", BY_RSA, "{\"alg\":\"RS256\"}", TOKEN_BAD},
    {"kid empty", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"\"}", TOKEN_BAD},
    {"kid null", BY_RSA, "{\"alg\":\"RS256\",\"kid\":null}", TOKEN_BAD},
    {"kid a number", BY_RSA, "{\"alg\":\"RS256\",\"kid\":1}", TOKEN_BAD},
    {"kid an array", BY_RSA, "{\"alg\":\"RS256\",\"kid\":[\"rsa\"]}", TOKEN_BAD},
    {"kid with a NUL behind", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\\u0000\"}", TOKEN_BAD},
    {"kid's case counts", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"RSA\"}", TOKEN_UNKNOWN_KEY},
    {"a beginning of a kid", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rs\"}", TOKEN_UNKNOWN_KEY},
    {"more than a kid", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsaa\"}", TOKEN_UNKNOWN_KEY},
    {"unknown, a UUID", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"5b3cbb64-10d4-4a5e-bf9c-9c2d4e7b1f0a\"}",
     TOKEN_UNKNOWN_KEY},
    {"unknown, base64", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"a+b/c_d-e=.f\"}", TOKEN_UNKNOWN_KEY},
    {"traversal", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"../../../../dev/null\"}", TOKEN_BAD},
    {"traversal within", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"keys/../../etc/passwd\"}", TOKEN_BAD},
    {"an absolute path", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"/dev/null\"}", TOKEN_BAD},
    {"a path with escaped dots", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"%2e%2e%2fx\"}", TOKEN_BAD},
    {"a URL", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"https://evil.example/k\"}", TOKEN_BAD},
    {"two slashes", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"a//b\"}", TOKEN_BAD},
    {"SQL", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"x' UNION SELECT 'AA\"}", TOKEN_BAD},
    {"a command", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"x|sleep 9\"}", TOKEN_BAD},
    {"a line break", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"x\\r\\ny\"}", TOKEN_BAD},
    {"unknown and worth a fetch, but alg is not", BY_RSA, "{\"alg\":\"PS256\",\"kid\":\"new\"}", TOKEN_BAD},

    /* the object */
    {"alg twice", BY_RSA, "{\"alg\":\"RS256\",\"alg\":\"RS256\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"alg twice, none first", BY_RSA, "{\"alg\":\"none\",\"alg\":\"RS256\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"alg twice, once escaped", BY_RSA, "{\"alg\":\"RS256\",\"\\u0061lg\":\"RS256\",\"kid\":\"rsa\"}",
     TOKEN_BAD},
    {"kid twice", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"a name twice, deeper", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"x\":{\"a\":1,\"a\":1}}",
     TOKEN_BAD},
    {"an array", BY_RSA, "[{\"alg\":\"RS256\",\"kid\":\"rsa\"}]", TOKEN_BAD},
    {"text", BY_RSA, "\"RS256\"", TOKEN_BAD},
    {"bytes after it", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\"}x", TOKEN_BAD},
    {"two of them", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\"}{}", TOKEN_BAD},
    {"not closed", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\"", TOKEN_BAD},
    {"a comma too many", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",}", TOKEN_BAD},
    {"single quotes", BY_RSA, "{'alg':'RS256','kid':'rsa'}", TOKEN_BAD},
    {"a byte order mark", BY_RSA, "\xEF\xBB\xBF{\"alg\":\"RS256\",\"kid\":\"rsa\"}", TOKEN_BAD},
    {"not UTF-8", BY_RSA, "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"x\":\"\xC0\xAF\"}", TOKEN_BAD},
};

static void test_headers(void **state)
{
    for (size_t i = 0; i < COUNT(headers); i++) {
        EVP_PKEY *key = headers[i].signer == BY_RSA ? fixture.rsa : fixture.p256;
        char *token = token_of(headers[i].header, CLAIMS, key);
        expect_text(headers[i].rule, token, headers[i].expect);
        free(token);
    }
}

static void test_kid_lengths(void **state)
{
    static const struct {
        size_t len;
        enum token_verdict expect;
    } cases[] = {{JWK_KID_MAX, TOKEN_UNKNOWN_KEY}, {JWK_KID_MAX + 1, TOKEN_BAD}, {64 << 10, TOKEN_BAD}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer header = {0};
        buffer_append_text(&header, "{\"alg\":\"RS256\",\"kid\":\"");
        for (size_t k = 0; k < cases[i].len; k++)
            buffer_append_char(&header, 'k');
        buffer_append_text(&header, "\"}");
        char *token = token_of(buffer_terminate(&header), CLAIMS, fixture.rsa);
        expect_text("the length of a kid", token, cases[i].expect);
        free(token);
        buffer_free(&header);
    }
}

static void test_nul_bytes(void **state)
{
    static const char nul_after[] = "{\"alg\":\"RS256\",\"kid\":\"rsa\"}"; /* with its NUL */
    static const char nul_within[] = "{\"alg\":\"RS256\",\"kid\":\"rsa\0\"}";
    static const char claims[] = CLAIMS;

    char *after = token_of_bytes(nul_after, sizeof nul_after, claims, strlen(claims), fixture.rsa);
    char *within = token_of_bytes(nul_within, sizeof nul_within - 1, claims, strlen(claims), fixture.rsa);
    char *payload = token_of_bytes(nul_after, strlen(nul_after), claims, sizeof claims, fixture.rsa);
    expect_text("a NUL after the header", after, TOKEN_BAD);
    expect_text("a NUL in the kid", within, TOKEN_BAD);
    expect_text("a NUL after the payload", payload, TOKEN_BAD);
    free(after);
    free(within);
    free(payload);
}

/* --- form -------------------------------------------------------------------------------------- */

#define RSA_HEADER "{\"alg\":\"RS256\",\"kid\":\"rsa\"}"
#define EC_HEADER  "{\"alg\":\"ES256\",\"kid\":\"ec\"}"

/* Each case is a change of a good token's text; H, P and S stand for its segments. */
static void test_segments(void **state)
{
    static const struct {
        const char *rule, *form;
        enum token_verdict expect;
    } cases[] = {
        {"as it is", "H.P.S", TOKEN_GOOD},
        {"no signature", "H.P.", TOKEN_BAD},
        {"no signature and no dot", "H.P", TOKEN_BAD},
        {"no payload", "H..S", TOKEN_BAD},
        {"no header", ".P.S", TOKEN_BAD},
        {"header alone", "H", TOKEN_BAD},
        {"dots alone", "..", TOKEN_BAD},
        {"nothing", "", TOKEN_BAD},
        {"a dot after it", "H.P.S.", TOKEN_BAD},
        {"a dot before it", ".H.P.S", TOKEN_BAD},
        {"four segments", "H.P.S.S", TOKEN_BAD},
        {"five segments", "H.P.S.S.S", TOKEN_BAD},
        {"the signature first", "S.P.H", TOKEN_BAD},
        {"padding", "H.P.S==", TOKEN_BAD},
        {"padding of the header", "H=.P.S", TOKEN_BAD},
        {"a blank after it", "H.P.S ", TOKEN_BAD},
        {"a blank before it", " H.P.S", TOKEN_BAD},
        {"a line break after it", "H.P.S\n", TOKEN_BAD},
        {"a line break within", "H.\nP.S", TOKEN_BAD},
        {"junk after the signature", "H.P.SAAAA", TOKEN_BAD},
        {"one character after the signature", "H.P.SA", TOKEN_BAD},
        {"a comma after it", "H.P.S,", TOKEN_BAD},
        {"not base64url", "H.P.S!", TOKEN_BAD},
    };
    char *token = token_of(RSA_HEADER, CLAIMS, fixture.rsa);
    char *header = strtok(token, "."), *payload = strtok(NULL, "."), *signature = strtok(NULL, ".");

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer changed = {0};
        for (const char *c = cases[i].form; *c != '\0'; c++) {
            if (*c == 'H' || *c == 'P' || *c == 'S')
                buffer_append_text(&changed, *c == 'H' ? header : *c == 'P' ? payload : signature);
            else
                buffer_append_char(&changed, *c);
        }
        assert_non_null(buffer_terminate(&changed));
        expect(cases[i].rule, changed.data, changed.len, cases[i].expect);
        buffer_free(&changed);
    }
    free(token);
}

/* 256 bytes in base64url: 342 characters, of which the last has four bits that belong to nothing. */
static void test_stray_bits(void **state)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *token = token_of(RSA_HEADER, CLAIMS, fixture.rsa);
    size_t len = strlen(token), good = (size_t)(strchr(alphabet, token[len - 1]) - alphabet);

    assert_int_equal(good % 16, 0);
    for (size_t bits = 0; bits < 16; bits++) {
        token[len - 1] = alphabet[good + bits];
        expect("bits behind the last byte", token, len, bits == 0 ? TOKEN_GOOD : TOKEN_BAD);
    }
    free(token);
}

/* Every byte of a good token counts: no other in its place is taken. */
static void test_every_character(void **state)
{
    static const char others[] = "Ag.= ";
    static const struct {
        const char *header;
        enum signer signer;
    } kinds[] = {{EC_HEADER, BY_EC}, {"{\"alg\":\"ES256\",\"kid\":\"ec\",\"typ\":\"at+jwt\"}", BY_EC}};

    for (size_t kind = 0; kind < COUNT(kinds); kind++) {
        char *token = token_of(kinds[kind].header, CLAIMS, fixture.p256);
        size_t len = strlen(token);
        for (size_t i = 0; i < len; i++) {
            char original = token[i];
            for (size_t k = 0; k < sizeof others; k++) { /* its NUL too */
                if (others[k] == original)
                    continue;
                token[i] = others[k];
                if (verdict_on(token, len, fixture.set, &plain_rules, NOW, NULL) == TOKEN_GOOD)
                    fail_msg("byte %zu may be %d", i, others[k]);
            }
            token[i] = original;
        }
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(verdict_on(token, cut, fixture.set, &plain_rules, NOW, NULL), TOKEN_BAD);
        expect("unharmed", token, len, TOKEN_GOOD);
        free(token);
    }
}

/* A token of that many characters or, where base64url has no such length, of one more. */
static char *token_of_length(size_t wanted)
{
    static const char member[] = ",\"fill\":\"%0*d\"}";
    const size_t others = BASE64URL_ENCODED_SIZE(strlen(RSA_HEADER)) + BASE64URL_ENCODED_SIZE(256);

    for (size_t fill = (wanted - others) * 3 / 4 - strlen(CLAIMS) - sizeof member;; fill++) {
        struct buffer payload = {0};
        buffer_append(&payload, CLAIMS, strlen(CLAIMS) - 1);
        buffer_printf(&payload, member, (int)fill, 0);
        char *token = token_of(RSA_HEADER, buffer_terminate(&payload), fixture.rsa);
        buffer_free(&payload);
        if (strlen(token) >= wanted)
            return token;
        free(token);
    }
}

static void test_length(void **state)
{
    static const struct {
        const char *rule;
        size_t len;
        enum token_verdict expect;
    } cases[] = {
        {"8 kB", TOKEN_MAX, TOKEN_GOOD},
        {"more than 8 kB", TOKEN_MAX + 1, TOKEN_BAD},
        {"64 kB", 64 << 10, TOKEN_BAD},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *token = token_of_length(cases[i].len);
        assert_in_range(strlen(token), cases[i].len, cases[i].len + (cases[i].expect == TOKEN_BAD));
        expect_text(cases[i].rule, token, cases[i].expect);
        free(token);
    }
}

static void test_nesting(void **state)
{
    static const struct {
        unsigned levels;
        enum token_verdict expect;
    } cases[] = {{10, TOKEN_GOOD}, {200, TOKEN_BAD}, {1900, TOKEN_BAD}, {2800, TOKEN_BAD}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer payload = {0};
        buffer_append(&payload, CLAIMS, strlen(CLAIMS) - 1);
        buffer_append_text(&payload, ",\"x\":");
        for (unsigned k = 0; k < cases[i].levels; k++)
            buffer_append_char(&payload, '[');
        for (unsigned k = 0; k < cases[i].levels; k++)
            buffer_append_char(&payload, ']');
        buffer_append_char(&payload, '}');
        char *token = token_of(RSA_HEADER, buffer_terminate(&payload), fixture.rsa);
        assert_true(strlen(token) <= TOKEN_MAX);
        expect_text("nested arrays", token, cases[i].expect);
        free(token);
        buffer_free(&payload);
    }
}

static void test_payloads_that_are_no_claims(void **state)
{
    static const struct {
        const char *rule, *payload;
    } cases[] = {
        {"an array", "[" CLAIMS "]"},
        {"text", "\"claims\""},
        {"two objects", CLAIMS CLAIMS},
        {"bytes after it", CLAIMS "x"},
        {"a number", "5"},
        {"null", "null"},
        {"not JSON", "foo"},
        {"a single brace", "{"},
        {"a form", "iss=x&aud=y&exp=999999"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *token = token_of(RSA_HEADER, cases[i].payload, fixture.rsa);
        expect_text(cases[i].rule, token, TOKEN_BAD);
        free(token);
    }

    char *inner = token_of(RSA_HEADER, CLAIMS, fixture.rsa);
    char *nested = token_of(RSA_HEADER, inner, fixture.rsa);
    expect_text("a token within a token", nested, TOKEN_BAD);
    free(nested);
    free(inner);
}

/* --- signatures -------------------------------------------------------------------------------- */

static void test_hmac_with_the_public_key(void **state)
{
    static const char *const headers_to_try[] = {
        "{\"alg\":\"HS256\",\"kid\":\"rsa\"}",
        "{\"alg\":\"RS256\",\"kid\":\"rsa\"}",
        "{\"alg\":\"HS256\",\"kid\":\"rsa\",\"typ\":\"JWT\"}",
    };
    const struct jwk *key = jwk_set_find(fixture.set, "rsa", 3);

    for (size_t i = 0; i < COUNT(headers_to_try); i++) {
        unsigned char mac[32];
        size_t mac_len = 0;
        struct buffer token = {0};
        append_base64url(&token, headers_to_try[i], strlen(headers_to_try[i]));
        buffer_append_char(&token, '.');
        append_base64url(&token, CLAIMS, strlen(CLAIMS));
        assert_non_null(EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key->pem, strlen(key->pem),
                                  (unsigned char *)token.data, token.len, mac, sizeof mac, &mac_len));
        buffer_append_char(&token, '.');
        append_base64url(&token, mac, mac_len);
        expect("an HMAC keyed with the public key", token.data, token.len, TOKEN_BAD);
        buffer_free(&token);
    }
}

/* A good token's head and payload with other bytes for a signature. */
static void expect_signature(const char *rule, const char *header, const void *signature, size_t len,
                             enum token_verdict expected)
{
    struct buffer token = {0};
    append_base64url(&token, header, strlen(header));
    buffer_append_char(&token, '.');
    append_base64url(&token, CLAIMS, strlen(CLAIMS));
    buffer_append_char(&token, '.');
    append_base64url(&token, signature, len);
    expect(rule, token.data, token.len, expected);
    buffer_free(&token);
}

#define EC_AT_HEADER  "{\"alg\":\"ES256\",\"kid\":\"ec\",\"typ\":\"at+jwt\"}"
#define RSA_AT_HEADER "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"at+jwt\"}"

static void test_ecdsa_numbers_out_of_range(void **state)
{
    static const unsigned char order[32] = {
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    };
    static const unsigned char zero[32], one[32] = {[31] = 1}, most[32] = {[0 ... 31] = 0xff};
    static const unsigned char *const numbers[] = {zero, one, order, most};
    static const char *const kinds[] = {EC_HEADER, EC_AT_HEADER};

    for (size_t kind = 0; kind < COUNT(kinds); kind++) {
        for (size_t r = 0; r < COUNT(numbers); r++) {
            for (size_t s = 0; s < COUNT(numbers); s++) {
                unsigned char signature[64];
                memcpy(signature, numbers[r], 32);
                memcpy(signature + 32, numbers[s], 32);
                expect_signature("r or s out of range", kinds[kind], signature, 64, TOKEN_BAD);
            }
        }
    }
}

/* r and s of a good signature in other forms. */
static void test_ecdsa_forms(void **state)
{
    static const char *const kinds[] = {EC_HEADER, EC_AT_HEADER};

    for (size_t kind = 0; kind < COUNT(kinds); kind++) {
        unsigned char raw[1024], der[80], other[80] = {0};
        struct buffer input = {0};
        append_base64url(&input, kinds[kind], strlen(kinds[kind]));
        buffer_append_char(&input, '.');
        append_base64url(&input, CLAIMS, strlen(CLAIMS));
        assert_int_equal(sign(fixture.p256, input.data, input.len, raw), 64);

        expect_signature("r and s", kinds[kind], raw, 64, TOKEN_GOOD);
        memcpy(other, raw, 64);
        expect_signature("a byte after s", kinds[kind], other, 65, TOKEN_BAD);
        expect_signature("s cut", kinds[kind], raw, 63, TOKEN_BAD);
        memcpy(other + 1, raw, 32);
        other[0] = 0;
        other[33] = 0;
        memcpy(other + 34, raw + 32, 32);
        expect_signature("33 bytes each", kinds[kind], other, 66, TOKEN_BAD);
        memcpy(other, raw + 32, 32);
        memcpy(other + 32, raw, 32);
        expect_signature("s and r", kinds[kind], other, 64, TOKEN_BAD);

        ECDSA_SIG *pair = ECDSA_SIG_new();
        ECDSA_SIG_set0(pair, BN_bin2bn(raw, 32, NULL), BN_bin2bn(raw + 32, 32, NULL));
        unsigned char *at = der;
        int der_len = i2d_ECDSA_SIG(pair, &at);
        ECDSA_SIG_free(pair);
        expect_signature("DER", kinds[kind], der, (size_t)der_len, TOKEN_BAD);
        buffer_free(&input);
    }
}

static void test_rsa_forms(void **state)
{
    static const char *const kinds[] = {RSA_HEADER, RSA_AT_HEADER};

    for (size_t kind = 0; kind < COUNT(kinds); kind++) {
        unsigned char raw[1024] = {0}, other[300] = {0};
        struct buffer input = {0};
        append_base64url(&input, kinds[kind], strlen(kinds[kind]));
        buffer_append_char(&input, '.');
        append_base64url(&input, CLAIMS, strlen(CLAIMS));
        assert_int_equal(sign(fixture.rsa, input.data, input.len, raw), 256);

        expect_signature("as it is", kinds[kind], raw, 256, TOKEN_GOOD);
        expect_signature("a byte after it", kinds[kind], raw, 257, TOKEN_BAD);
        expect_signature("cut", kinds[kind], raw, 255, TOKEN_BAD);
        memcpy(other + 1, raw, 256);
        expect_signature("a zero before it", kinds[kind], other, 257, TOKEN_BAD);
        expect_signature("zeros", kinds[kind], other + 290, 1, TOKEN_BAD);
        memset(other, 0, sizeof other);
        expect_signature("256 zeros", kinds[kind], other, 256, TOKEN_BAD);
        other[255] = 1;
        expect_signature("one", kinds[kind], other, 256, TOKEN_BAD);
        memset(other, 0xff, sizeof other);
        expect_signature("more than the modulus", kinds[kind], other, 256, TOKEN_BAD);
        raw[100] ^= 1;
        expect_signature("one bit", kinds[kind], raw, 256, TOKEN_BAD);
        buffer_free(&input);
    }
}

/* PKCS #1 v1.5 with SHA-256 and nothing else, under each of the two verifiers. */
static void test_rsa_with_another_digest_or_padding(void **state)
{
    static const struct {
        const char *rule, *digest;
        int padding;
    } cases[] = {
        {"SHA-512", "SHA512", RSA_PKCS1_PADDING},
        {"SHA-1", "SHA1", RSA_PKCS1_PADDING},
        {"PSS", "SHA256", RSA_PKCS1_PSS_PADDING},
    };
    static const char *const kinds[] = {RSA_HEADER, RSA_AT_HEADER};

    for (size_t i = 0; i < 2 * COUNT(cases); i++) {
        const char *header = kinds[i % 2];
        unsigned char signature[256];
        size_t len = sizeof signature;
        struct buffer input = {0};
        EVP_PKEY_CTX *padding = NULL;
        append_base64url(&input, header, strlen(header));
        buffer_append_char(&input, '.');
        append_base64url(&input, CLAIMS, strlen(CLAIMS));
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        assert_int_equal(
            EVP_DigestSignInit_ex(ctx, &padding, cases[i / 2].digest, NULL, NULL, fixture.rsa, NULL), 1);
        assert_true(EVP_PKEY_CTX_set_rsa_padding(padding, cases[i / 2].padding) > 0);
        assert_int_equal(EVP_DigestSign(ctx, signature, &len, (unsigned char *)input.data, input.len), 1);
        EVP_MD_CTX_free(ctx);
        expect_signature(cases[i / 2].rule, header, signature, len, TOKEN_BAD);
        buffer_free(&input);
    }
}

static void test_a_stranger_signs(void **state)
{
    EVP_PKEY *other_p256 = new_p256();
    const struct {
        const char *header;
        EVP_PKEY *key;
    } cases[] = {
        {RSA_HEADER, fixture.stranger}, {RSA_AT_HEADER, fixture.stranger}, {EC_HEADER, other_p256},
        {EC_AT_HEADER, other_p256},     {RSA_HEADER, fixture.rsa_1024},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        char *token = token_of(cases[i].header, CLAIMS, cases[i].key);
        expect_text("another's signature", token, TOKEN_BAD);
        free(token);
    }
    /* The key that it brings along is not looked at. */
    struct buffer header = {0};
    buffer_append_text(&header, "{\"alg\":\"ES256\",\"kid\":\"ec\",\"jwk\":");
    append_jwk(&header, other_p256, "ec", "");
    buffer_append_char(&header, '}');
    char *token = token_of(buffer_terminate(&header), CLAIMS, other_p256);
    expect_text("an embedded key", token, TOKEN_BAD);
    free(token);
    buffer_free(&header);
    EVP_PKEY_free(other_p256);
}

/* --- keys -------------------------------------------------------------------------------------- */

static void test_rsa_1024_is_no_key(void **state)
{
    struct buffer jwks = {0};
    append_jwk(&jwks, fixture.rsa_1024, "weak", "");
    buffer_append_char(&jwks, ',');
    append_jwk(&jwks, fixture.rsa, "rsa", "");
    struct jwk_set *set = set_of(buffer_terminate(&jwks));
    char *token = token_of("{\"alg\":\"RS256\",\"kid\":\"weak\"}", CLAIMS, fixture.rsa_1024);

    assert_int_equal(jwk_set_count(set), 1);
    /* Nor a reason to fetch the set again, which has it. */
    assert_int_equal(verdict_on(token, strlen(token), set, &plain_rules, NOW, NULL), TOKEN_BAD);
    free(token);
    jwk_set_unref(set);
    buffer_free(&jwks);
}

static void test_rsa_8192_is_one(void **state)
{
    static const char *const kinds[] = {"{\"alg\":\"RS256\",\"kid\":\"big\"}",
                                        "{\"alg\":\"RS256\",\"kid\":\"big\",\"typ\":\"at+jwt\"}"};
    struct jwk_set *set = set_of_key(fixture.rsa_8192, "big", "");

    for (size_t i = 0; i < COUNT(kinds); i++) {
        char *token = token_of(kinds[i], CLAIMS, fixture.rsa_8192);
        assert_int_equal(verdict_on(token, strlen(token), set, &plain_rules, NOW, NULL), TOKEN_GOOD);
        free(token);
    }
    jwk_set_unref(set);
}

static void test_no_keys_yet(void **state)
{
    char *good = token_of(RSA_HEADER, CLAIMS, fixture.rsa);
    char *bad_kid = token_of("{\"alg\":\"RS256\",\"kid\":\"../x\"}", CLAIMS, fixture.rsa);
    char *late =
        token_of(RSA_HEADER, "{\"iss\":\"https://issuer.example\",\"aud\":\"api://telemetryd\",\"exp\":1}",
                 fixture.rsa);

    assert_int_equal(verdict_on(good, strlen(good), NULL, &plain_rules, NOW, NULL), TOKEN_UNKNOWN_KEY);
    assert_int_equal(verdict_on(bad_kid, strlen(bad_kid), NULL, &plain_rules, NOW, NULL), TOKEN_BAD);
    assert_int_equal(verdict_on(late, strlen(late), NULL, &plain_rules, NOW, NULL), TOKEN_BAD);
    free(good);
    free(bad_kid);
    free(late);
}

/* A key that says whose it is. */
static void test_issuer_of_a_key(void **state)
{
    static const struct {
        const char *rule, *more;
        enum token_verdict expect;
    } cases[] = {
        {"says nothing", "", TOKEN_GOOD},
        {"the token's issuer", ",\"issuer\":\"https://issuer.example\"", TOKEN_GOOD},
        {"another issuer", ",\"issuer\":\"https://other.example\"", TOKEN_BAD},
        {"a template, and a token without a tenant", ",\"issuer\":\"https://issuer.example/{tenantid}\"",
         TOKEN_BAD},
    };
    char *token = token_of(RSA_HEADER, CLAIMS, fixture.rsa);

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct jwk_set *set = set_of_key(fixture.rsa, "rsa", cases[i].more);
        enum token_verdict verdict = verdict_on(token, strlen(token), set, &plain_rules, NOW, NULL);
        if (verdict != cases[i].expect)
            fail_msg("%s: %s", cases[i].rule, verdict_name(verdict));
        jwk_set_unref(set);
    }
    free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_kid_lengths),
        cmocka_unit_test(test_nul_bytes),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_stray_bits),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_payloads_that_are_no_claims),
        cmocka_unit_test(test_hmac_with_the_public_key),
        cmocka_unit_test(test_ecdsa_numbers_out_of_range),
        cmocka_unit_test(test_ecdsa_forms),
        cmocka_unit_test(test_rsa_forms),
        cmocka_unit_test(test_rsa_with_another_digest_or_padding),
        cmocka_unit_test(test_a_stranger_signs),
        cmocka_unit_test(test_rsa_1024_is_no_key),
        cmocka_unit_test(test_rsa_8192_is_one),
        cmocka_unit_test(test_no_keys_yet),
        cmocka_unit_test(test_issuer_of_a_key),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
