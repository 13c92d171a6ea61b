/*
 * Request parsing and authentication, module by module, while the n-th allocation fails, for every n: what
 * comes back is either whole or says "no memory", nothing leaks, and no bad token becomes a good one.
 */
#include "../../clients/azure_internal.h"
#include "allocation_sweep.h"
#include "cosmos.h"
#include "cursor.h"
#include "iothub.h"
#include "json.h"
#include "rate_limit.h"
#include "reading_body.h"
#include "token_cache.h"
#include "token_fixture.h"

#include <errno.h>

enum outcome { WHOLE, NO_MEMORY, WRONG };

/* A code that may be 0 or -ENOMEM. */
static enum outcome of_code(int code)
{
    return code == 0 ? WHOLE : code == -ENOMEM ? NO_MEMORY : WRONG;
}

/* --- bodies, cursors, upstreams' answers ------------------------------------------------------- */

static const char readings[] =
    "[{\"t\":21.5,\"timestamp\":\"2026-11-23T07:00:00Z\"},{},{\"timestamp\":\"2026-11-23T07:00:01Z\"}]";

/* More names than are compared without memory. */
#define NAMES(n)                                                                                             \
    "\"a" n "\":1,\"b" n "\":1,\"c" n "\":1,\"d" n "\":1,\"e" n "\":1,\"f" n "\":1,\"g" n "\":1,\"h" n "\":" \
    "1,"
static const char many_names[] =
    "{" NAMES("1") NAMES("2") NAMES("3") NAMES("4") NAMES("5") NAMES("6") NAMES("7") NAMES("8") "\"z\":1}";

static enum outcome parse_body(void)
{
    struct reading_body body = {0};
    struct problem problem = {0};
    if (!reading_body_parse(readings, sizeof readings - 1, "d1", &body, &problem))
        return problem.code == PROBLEM_OVERLOADED && body.readings == NULL ? NO_MEMORY : WRONG;
    bool whole = body.count == 3 && body.readings[0].id != NULL && body.readings[2].id != NULL;
    reading_body_free(&body);
    return whole ? WHOLE : WRONG;
}

static enum outcome check_names(void)
{
    switch (json_check(many_names, sizeof many_names - 1, 10, true, NULL)) {
    case JSON_OK: return WHOLE;
    case JSON_NO_MEMORY: return NO_MEMORY;
    default: return WRONG;
    }
}

static enum outcome write_item(void)
{
    struct buffer out = {0};
    const struct reading reading = {.data = "{\"t\":1}", .data_len = 7};
    enum outcome outcome = of_code(cosmos_item_append(&out, "d1", &reading, "0123", 1, 60));
    buffer_free(&out);
    return outcome;
}

static enum outcome merge_patch(void)
{
    static const char target[] = "{\"a\":{\"b\":1,\"c\":2},\"d\":3}",
                      patch[] = "{\"a\":{\"b\":null,\"x\":{\"y\":1}},\"z\":0}";
    struct buffer out = {0};
    enum outcome outcome = of_code(
        json_merge_patch(&out, json_root(target, sizeof target - 1), json_root(patch, sizeof patch - 1)));
    buffer_free(&out);
    return outcome;
}

static enum outcome write_cursor(void)
{
    struct buffer out = {0};
    const struct cursor cursor = {
        .fingerprint = 7, .after = 1, .until = 2, .position = "{\"token\":\"abc\"}"};
    enum outcome outcome = of_code(cursor_write(&out, &cursor));
    buffer_free(&out);
    return outcome;
}

static enum outcome of_upstream(enum upstream_status status)
{
    return status == UPSTREAM_OK ? WHOLE : status == UPSTREAM_NO_MEMORY ? NO_MEMORY : WRONG;
}

static enum outcome read_twins(void)
{
    static const char page[] =
        "[{\"deviceId\":\"d1\",\"status\":\"enabled\",\"connectionState\":\"Connected\",\"properties\":"
        "{\"reported\":{\"status\":\"online\"}}}]";
    struct buffer out = {0};
    enum outcome outcome = of_upstream(iothub_read_devices(&out, page, sizeof page - 1));
    buffer_free(&out);
    return outcome;
}

static enum outcome read_azure_token(void)
{
    static char body[] = "{\"access_token\":\"abc\",\"expires_in\":\"3599\",\"token_type\":\"Bearer\"}";
    const struct http_answer http = {
        .outcome = HTTP_ANSWERED, .status = 200, .body = {.data = body}, .body_len = sizeof body - 1};
    struct azure_token_answer answer = {0};
    azure_token_answer_read(&http, AZURE_IMDS, NOW, &answer);
    enum outcome outcome = of_upstream(answer.status);
    azure_token_answer_free(&answer);
    return outcome;
}

static enum outcome make_buckets(void)
{
    struct rate_limit *limit = NULL;
    int r = rate_limit_new(10, 1, &limit);
    if (r != 0 && limit != NULL)
        return WRONG;
    rate_limit_free(limit);
    return of_code(r);
}

/* --- keys and tokens --------------------------------------------------------------------------- */

/* Longer than jansson's token buffer at first: where that could not grow, it once lost a byte (json_tree.h).
 */
#define LONG_ID "a-device-whose-name-makes-the-buffer-grow-more-than-once"

static const struct token_rules rules = {.issuer = ISSUER, .audiences = AUDIENCE, .devices_claim = "devices"};

static struct {
    struct buffer text; /* of a set with both keys */
    struct jwk_set *set;
    char *good[2], *typed[2], *bad[2]; /* by RSA and by EC; typed: at+jwt, which libjwt does not take */
    char *expired, *unsigned_;
} fixture;

static enum outcome parse_keys(void)
{
    struct jwk_set *set = NULL;
    int r = jwk_set_parse(fixture.text.data, fixture.text.len, &set);
    size_t count = r == 0 ? jwk_set_count(set) : 0;
    if (r != 0 && set != NULL)
        return WRONG;
    jwk_set_unref(set);
    return r != 0 ? of_code(r) : count == 2 ? WHOLE : WRONG; /* never a set that lacks a key */
}

static enum token_verdict verify(const char *token, struct principal **ret_principal)
{
    const char *why = NULL;
    *ret_principal = NULL;
    enum token_verdict verdict =
        token_verify(token, strlen(token), fixture.set, &rules, NOW, ret_principal, &why);
    if ((verdict == TOKEN_GOOD) != (*ret_principal != NULL))
        fail_msg("a principal comes with a good token and with no other");
    return verdict;
}

static enum outcome accepts(const char *token)
{
    struct principal *principal;
    switch (verify(token, &principal)) {
    case TOKEN_GOOD: break;
    case TOKEN_BAD: /* OpenSSL does not always tell lack of memory from a bad signature */
    case TOKEN_NO_MEMORY: return NO_MEMORY;
    default: return WRONG;
    }
    bool whole = principal->permissions == (PERMISSION_TELEMETRY_READ | PERMISSION_OPS_READ) &&
                 principal->expires_s == NOW + 600 && grants_has(principal->grants, "lab-7") &&
                 grants_has(principal->grants, LONG_ID) && !grants_has(principal->grants, "d2");
    principal_unref(principal);
    return whole ? WHOLE : WRONG;
}

static enum outcome accept_rsa(void)
{
    return accepts(fixture.good[0]);
}

static enum outcome accept_ec(void)
{
    return accepts(fixture.good[1]);
}

static enum outcome accept_typed_rsa(void)
{
    return accepts(fixture.typed[0]);
}

static enum outcome accept_typed_ec(void)
{
    return accepts(fixture.typed[1]);
}

/* WHOLE is here: refused, for whatever reason. */
static enum outcome refuses(const char *token)
{
    struct principal *principal;
    switch (verify(token, &principal)) {
    case TOKEN_BAD: return WHOLE;
    case TOKEN_NO_MEMORY: return NO_MEMORY;
    default: return WRONG;
    }
}

static enum outcome refuse_forged_rsa(void)
{
    return refuses(fixture.bad[0]);
}

static enum outcome refuse_forged_ec(void)
{
    return refuses(fixture.bad[1]);
}

static enum outcome refuse_expired(void)
{
    return refuses(fixture.expired);
}

static enum outcome refuse_unsigned(void)
{
    return refuses(fixture.unsigned_);
}

static enum outcome keep_token(void)
{
    static const char token[] = "a.b.c", other[] = "a.b.d";
    struct token_cache *cache = NULL;
    int r = token_cache_new(&cache);
    if (r != 0)
        return cache == NULL ? of_code(r) : WRONG;
    struct principal *principal = __wrap_calloc(1, sizeof *principal);
    enum outcome outcome = NO_MEMORY;
    if (principal != NULL) {
        *principal = (struct principal){.references = 1, .expires_s = NOW + 600, .not_before_s = INT64_MIN};
        token_cache_put(cache, token, sizeof token - 1, 1, principal);
        const struct principal *found = token_cache_find(cache, token, sizeof token - 1, 1, NOW);
        outcome = found == principal ? WHOLE : found == NULL ? NO_MEMORY : WRONG;
        if (token_cache_find(cache, other, sizeof other - 1, 1, NOW) != NULL)
            outcome = WRONG;
    }
    principal_unref(principal);
    token_cache_free(cache);
    return outcome;
}

/* --- the sweep --------------------------------------------------------------------------------- */

/* libjwt reads a key's PEM text anew for every token, in thousands of allocations. What must not go wrong is
 * swept through all of them; of the rest a part that differs from row to row. */
static const struct {
    const char *name;
    enum outcome (*run)(void);
    unsigned step; /* 0: 1 */
} cases[] = {
    {"a body of readings", parse_body},
    {"names that must be unique", check_names},
    {"an item to store", write_item},
    {"a merge patch", merge_patch},
    {"a cursor", write_cursor},
    {"a page of twins", read_twins},
    {"a token for Azure", read_azure_token},
    {"buckets", make_buckets},
    {"a key set", parse_keys},
    {"a good token, RS256", accept_rsa, 5},
    {"a good token, ES256", accept_ec, 7},
    {"a good token, RS256, at+jwt", accept_typed_rsa},
    {"a good token, ES256, at+jwt", accept_typed_ec},
    {"a forged token, RS256", refuse_forged_rsa},
    {"a forged token, ES256", refuse_forged_ec},
    {"an expired token", refuse_expired},
    {"an unsigned token", refuse_unsigned},
    {"the cache of tokens", keep_token},
};

enum { ALLOCATIONS_MAX = 100000 };

/* What fails alone, and what fails with all that follows. */
static void sweep(const char *name, enum outcome (*run)(void), unsigned step, bool onwards)
{
    long n = 1;
    for (;; n += step) {
        sweep_arm(n, onwards);
        enum outcome outcome = run();
        bool failed = sweep_disarm();
        if (outcome == WRONG) {
            sweep_show();
            fail_msg("%s: wrong when allocation %ld fails%s", name, n,
                     onwards ? " with all that follow" : "");
        }
        if (!failed && outcome != WHOLE)
            fail_msg("%s: not whole although nothing failed", name);
        if (!failed)
            break;
        if (n > ALLOCATIONS_MAX)
            fail_msg("%s: no end", name);
    }
    if (n == 1)
        fail_msg("%s: no allocation was counted", name);
    print_message("# %s: %ld allocations, every %u\n", name, n - 1, step);
}

static void modules_when_an_allocation_fails(void **state)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        /* Once without a failure: what the libraries set up for good is not swept. */
        if (cases[i].run() != WHOLE)
            fail_msg("%s: not whole although nothing failed", cases[i].name);
        unsigned step = cases[i].step != 0 ? cases[i].step : 1;
        sweep(cases[i].name, cases[i].run, step, false);
        sweep(cases[i].name, cases[i].run, 3 * step, true);
    }
}

static int make_fixture(void **state)
{
    static const char claims[] =
        "{\"iss\":\"" ISSUER "\",\"aud\":[\"x\",\"" AUDIENCE "\"],\"exp\":1800000600,\"nbf\":1700000000,"
        "\"sub\":\"s\",\"scp\":\"Telemetry.Read x\",\"roles\":[\"Ops.Read\"],\"devices\":[\"" LONG_ID
        "\",\"lab-*\"]}";
    static const char *const headers[] = {"{\"alg\":\"RS256\",\"kid\":\"rsa\"}",
                                          "{\"alg\":\"ES256\",\"kid\":\"ec\"}"};
    static const char *const typed[] = {"{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"at+jwt\"}",
                                        "{\"alg\":\"ES256\",\"kid\":\"ec\",\"typ\":\"at+jwt\"}"};
    EVP_PKEY *keys[] = {new_rsa(2048), new_p256()}, *others[] = {new_rsa(2048), new_p256()};

    buffer_append_text(&fixture.text, "{\"keys\":[");
    append_jwk(&fixture.text, keys[0], "rsa", ",\"use\":\"sig\",\"issuer\":\"" ISSUER "\"");
    buffer_append_char(&fixture.text, ',');
    append_jwk(&fixture.text, keys[1], "ec", ",\"key_ops\":[\"verify\"]");
    buffer_append_text(&fixture.text, "]}");
    assert_int_equal(jwk_set_parse(fixture.text.data, fixture.text.len, &fixture.set), 0);
    for (int i = 0; i < 2; i++) {
        fixture.good[i] = token_of(headers[i], claims, keys[i]);
        fixture.typed[i] = token_of(typed[i], claims, keys[i]);
        fixture.bad[i] = token_of(headers[i], claims, others[i]);
    }
    fixture.expired =
        token_of(headers[1], "{\"iss\":\"" ISSUER "\",\"aud\":\"" AUDIENCE "\",\"exp\":1}", keys[1]);
    fixture.unsigned_ = token_of("{\"alg\":\"none\",\"kid\":\"ec\"}", claims, keys[1]);
    for (int i = 0; i < 2; i++) {
        EVP_PKEY_free(keys[i]);
        EVP_PKEY_free(others[i]);
    }
    return 0;
}

static int drop_fixture(void **state)
{
    for (int i = 0; i < 2; i++) {
        free(fixture.good[i]);
        free(fixture.typed[i]);
        free(fixture.bad[i]);
    }
    free(fixture.expired);
    free(fixture.unsigned_);
    jwk_set_unref(fixture.set);
    buffer_free(&fixture.text);
    return 0;
}

int main(void)
{
    if (!sweep_take_libraries())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modules_when_an_allocation_fails),
    };
    return cmocka_run_group_tests(tests, make_fixture, drop_fixture);
}
