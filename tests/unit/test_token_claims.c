#include "token_fixture.h"

/* What a token says: times, issuers and tenants, audiences, permissions, devices and callers. All tokens here
 * are signed with the issuer's key. */

#define ISS   "\"iss\":\"https://issuer.example\""
#define AUD   "\"aud\":\"api://telemetryd\""
#define EXP   "\"exp\":1800003600"
#define PLAIN ISS "," AUD "," EXP

static struct {
    EVP_PKEY *key;
    struct jwk_set *set;
} fixture;

static int set_up(void **state)
{
    fixture.key = new_p256();
    fixture.set = set_of_key(fixture.key, "k", "");
    return 0;
}

static int tear_down(void **state)
{
    EVP_PKEY_free(fixture.key);
    jwk_set_unref(fixture.set);
    return 0;
}

static enum token_verdict judge(const char *claims, const struct token_rules *rules, int64_t now_s,
                                struct principal **ret_principal)
{
    char *token = token_of("{\"alg\":\"ES256\",\"kid\":\"k\"}", claims, fixture.key);
    enum token_verdict verdict = verdict_on(token, strlen(token), fixture.set, rules, now_s, ret_principal);
    free(token);
    return verdict;
}

/* --- times ------------------------------------------------------------------------------------- */

static const struct {
    const char *rule, *times; /* beside iss and aud */
    int64_t now_s;
    bool good;
} times[] = {
    {"before exp", "\"exp\":1800000001", NOW, true},
    {"at exp", "\"exp\":1800000000", NOW, true},
    {"59 s past exp", "\"exp\":1800000000", NOW + 59, true},
    {"60 s past exp", "\"exp\":1800000000", NOW + 60, false},
    {"61 s past exp", "\"exp\":1800000000", NOW + 61, false},
    {"at nbf", "\"exp\":1800003600,\"nbf\":1800000000", NOW, true},
    {"60 s before nbf", "\"exp\":1800003600,\"nbf\":1800000000", NOW - 60, true},
    {"61 s before nbf", "\"exp\":1800003600,\"nbf\":1800000000", NOW - 61, false},
    {"nbf long ago", "\"exp\":1800003600,\"nbf\":0", NOW, true},
    {"nbf behind exp", "\"exp\":1800000000,\"nbf\":1800000001", NOW, true},
    {"nbf far behind exp", "\"exp\":1800000000,\"nbf\":1800000200", NOW, false},
    {"the largest exp", "\"exp\":9007199254740992", NOW, true},

    {"no exp", "\"nbf\":1", NOW, false},
    {"exp null", "\"exp\":null", NOW, false},
    {"exp as text", "\"exp\":\"1800003600\"", NOW, false},
    {"exp true", "\"exp\":true", NOW, false},
    {"exp an array", "\"exp\":[1800003600]", NOW, false},
    {"exp an object", "\"exp\":{}", NOW, false},
    {"exp with a fraction", "\"exp\":1800003600.5", NOW, false},
    {"exp with a fraction of nothing", "\"exp\":1800003600.0", NOW, false},
    {"exp with an exponent", "\"exp\":1.8000036e9", NOW, false},
    {"exp 2e9", "\"exp\":2e9", NOW, false},
    {"exp 1e400", "\"exp\":1e400", NOW, false},
    {"exp -1e400", "\"exp\":-1e400", NOW, false},
    {"exp negative", "\"exp\":-1800003600", NOW, false},
    {"exp zero", "\"exp\":0", NOW, false},
    {"exp past 2^53", "\"exp\":9007199254740993", NOW, false},
    {"exp 2^63 - 1", "\"exp\":9223372036854775807", NOW, false},
    {"exp 2^63", "\"exp\":9223372036854775808", NOW, false},
    {"exp 2^64 and some", "\"exp\":18446744075509551616", NOW, false},
    {"exp of 400 digits", "\"exp\":1800003600000000000000000000000000000000000000000000000000000000000", NOW,
     false},
    {"exp with a plus", "\"exp\":+1800003600", NOW, false},
    {"exp with a zero before it", "\"exp\":01800003600", NOW, false},
    {"exp in hexadecimal", "\"exp\":0x6b49d200", NOW, false},
    {"exp Infinity", "\"exp\":Infinity", NOW, false},
    {"exp twice", "\"exp\":1,\"exp\":1800003600", NOW, false},
    {"exp twice, once escaped", "\"e\\u0078p\":1800003600,\"exp\":1800003600", NOW, false},
    {"exp by another name", "\"Exp\":1800003600", NOW, false},
    {"nbf null", "\"exp\":1800003600,\"nbf\":null", NOW, false},
    {"nbf as text", "\"exp\":1800003600,\"nbf\":\"1\"", NOW, false},
    {"nbf with a fraction", "\"exp\":1800003600,\"nbf\":1.0", NOW, false},
    {"nbf with an exponent", "\"exp\":1800003600,\"nbf\":1e9", NOW, false},
    {"nbf 1e400", "\"exp\":1800003600,\"nbf\":1e400", NOW, false},
    {"nbf negative", "\"exp\":1800003600,\"nbf\":-1", NOW, false},
    {"nbf past 2^53", "\"exp\":1800003600,\"nbf\":9007199254740993", NOW, false},
    {"nbf twice", "\"exp\":1800003600,\"nbf\":1,\"nbf\":1", NOW, false},
    /* iat decides nothing, and others write it with a fraction. */
    {"iat with a fraction", "\"exp\":1800003600,\"iat\":1799999999.5", NOW, true},
};

static void test_times(void **state)
{
    for (size_t i = 0; i < COUNT(times); i++) {
        struct principal *principal = NULL;
        char claims[512];
        snprintf(claims, sizeof claims, "{" ISS "," AUD ",%s}", times[i].times);
        if ((judge(claims, &plain_rules, times[i].now_s, &principal) == TOKEN_GOOD) != times[i].good)
            fail_msg("%s", times[i].rule);
        if (principal != NULL)
            assert_true(principal_current(principal, times[i].now_s));
        principal_unref(principal);
    }
}

/* A token that was verified before is held to the same second. */
static void test_principal_current(void **state)
{
    struct principal *principal = NULL;
    assert_int_equal(
        judge("{" ISS "," AUD ",\"exp\":1800000100,\"nbf\":1800000000}", &plain_rules, NOW, &principal),
        TOKEN_GOOD);
    assert_int_equal(principal->expires_s, 1800000100);
    assert_int_equal(principal->not_before_s, 1800000000);
    assert_false(principal_current(principal, NOW - 61));
    assert_true(principal_current(principal, NOW - 60));
    assert_true(principal_current(principal, NOW + 159));
    assert_false(principal_current(principal, NOW + 160));
    assert_ptr_equal(principal_ref(principal), principal);
    principal_unref(principal);
    principal_unref(principal);

    principal = NULL;
    assert_int_equal(judge("{" PLAIN "}", &plain_rules, NOW, &principal), TOKEN_GOOD);
    assert_true(principal->not_before_s == INT64_MIN);
    assert_true(principal_current(principal, 0));
    principal_unref(principal);
}

/* --- issuers ----------------------------------------------------------------------------------- */

#define TENANT "9188040d-6c67-4c5b-b112-36a304b66dad"
#define OTHER  "72f988bf-86f1-41af-91ab-2d7cd011db47"
#define V1(t)  "https://sts.windows.net/" t "/"
#define V2(t)  "https://login.microsoftonline.com/" t "/v2.0"

static const struct {
    const char *rule, *setting, *claims;
    bool good;
} issuers[] = {
    {"equal", ISSUER, ISS, true},
    {"a slash more", ISSUER, "\"iss\":\"https://issuer.example/\"", false},
    {"a slash less", ISSUER "/", ISS, false},
    {"another case", ISSUER, "\"iss\":\"https://Issuer.example\"", false},
    {"another scheme", ISSUER, "\"iss\":\"http://issuer.example\"", false},
    {"a beginning", ISSUER, "\"iss\":\"https://issuer.exampl\"", false},
    {"more behind it", ISSUER, "\"iss\":\"https://issuer.example.evil\"", false},
    {"empty", ISSUER, "\"iss\":\"\"", false},
    {"none", ISSUER, "\"x\":1", false},
    {"null", ISSUER, "\"iss\":null", false},
    {"an array", ISSUER, "\"iss\":[\"https://issuer.example\"]", false},
    {"a NUL behind it", ISSUER, "\"iss\":\"https://issuer.example\\u0000\"", false},
    {"twice", ISSUER, ISS ",\"iss\":\"https://other.example\"", false},
    {"an issuer without a tenant takes any tid", ISSUER, ISS ",\"tid\":\"x\"", true},
    {"a tid that is no text", ISSUER, ISS ",\"tid\":1", false},

    {"Entra v2", V2(TENANT), "\"iss\":\"" V2(TENANT) "\",\"tid\":\"" TENANT "\",\"ver\":\"2.0\"", true},
    {"Entra v1", V1(TENANT), "\"iss\":\"" V1(TENANT) "\",\"tid\":\"" TENANT "\",\"ver\":\"1.0\"", true},
    {"without tid and ver", V2(TENANT), "\"iss\":\"" V2(TENANT) "\"", true},
    {"another tenant", V2(TENANT), "\"iss\":\"" V2(OTHER) "\",\"tid\":\"" OTHER "\",\"ver\":\"2.0\"", false},
    {"another tid", V2(TENANT), "\"iss\":\"" V2(TENANT) "\",\"tid\":\"" OTHER "\",\"ver\":\"2.0\"", false},
    {"another tid, v1", V1(TENANT), "\"iss\":\"" V1(TENANT) "\",\"tid\":\"" OTHER "\",\"ver\":\"1.0\"",
     false},
    {"an empty tid", V2(TENANT), "\"iss\":\"" V2(TENANT) "\",\"tid\":\"\"", false},
    {"a beginning of the tid", V2(TENANT), "\"iss\":\"" V2(TENANT) "\",\"tid\":\"9188040d\"", false},
    {"more than the tid", V2(TENANT), "\"iss\":\"" V2(TENANT) "\",\"tid\":\"" TENANT "0\"", false},
    {"a v1 token for v2", V2(TENANT), "\"iss\":\"" V1(TENANT) "\",\"tid\":\"" TENANT "\",\"ver\":\"1.0\"",
     false},
    {"a v2 token for v1", V1(TENANT), "\"iss\":\"" V2(TENANT) "\",\"tid\":\"" TENANT "\",\"ver\":\"2.0\"",
     false},
    {"v2's iss with v1's ver", V2(TENANT),
     "\"iss\":\"" V2(TENANT) "\",\"tid\":\"" TENANT "\",\"ver\":\"1.0\"", false},
    {"v1's iss with v2's ver", V1(TENANT),
     "\"iss\":\"" V1(TENANT) "\",\"tid\":\"" TENANT "\",\"ver\":\"2.0\"", false},
    {"a ver that is no text", V2(TENANT), "\"iss\":\"" V2(TENANT) "\",\"ver\":2", false},
    {"ver 3.0", V2(TENANT), "\"iss\":\"" V2(TENANT) "\",\"ver\":\"3.0\"", false},
    {"another issuer's ver", ISSUER, ISS ",\"ver\":1", true},

    {"a template", V2("{tenantid}"), "\"iss\":\"" V2(TENANT) "\",\"tid\":\"" TENANT "\",\"ver\":\"2.0\"",
     true},
    {"any tenant", V2("{tenantid}"), "\"iss\":\"" V2(OTHER) "\",\"tid\":\"" OTHER "\"", true},
    {"a v1 template", V1("{tenantid}"), "\"iss\":\"" V1(TENANT) "\",\"tid\":\"" TENANT "\",\"ver\":\"1.0\"",
     true},
    {"iss of another than tid", V2("{tenantid}"), "\"iss\":\"" V2(TENANT) "\",\"tid\":\"" OTHER "\"", false},
    {"a template without tid", V2("{tenantid}"), "\"iss\":\"" V2(TENANT) "\"", false},
    {"a tid that is no GUID", V2("{tenantid}"), "\"iss\":\"" V2("common") "\",\"tid\":\"common\"", false},
    {"a tid with a path", V2("{tenantid}"), "\"iss\":\"" V2(TENANT "/x") "\",\"tid\":\"" TENANT "/x\"",
     false},
    {"a tid of 36 other characters", V2("{tenantid}"),
     "\"iss\":\"" V2(
         "9188040d-6c67-4c5b-b112-36a304b66dag") "\",\"tid\":\"9188040d-6c67-4c5b-b112-36a304b66dag\"",
     false},
    {"a tid without hyphens", V2("{tenantid}"),
     "\"iss\":\"" V2(
         "9188040d06c6704c5b0b112036a304b66dad") "\",\"tid\":\"9188040d06c6704c5b0b112036a304b66dad\"",
     false},
    {"an empty tid for a template", V2("{tenantid}"), "\"iss\":\"" V2("") "\",\"tid\":\"\"", false},
    {"the template itself", V2("{tenantid}"), "\"iss\":\"" V2("{tenantid}") "\",\"tid\":\"{tenantid}\"",
     false},
    {"a v1 token for a v2 template", V2("{tenantid}"), "\"iss\":\"" V1(TENANT) "\",\"tid\":\"" TENANT "\"",
     false},
    {"v1's ver under a v2 template", V2("{tenantid}"),
     "\"iss\":\"" V2(TENANT) "\",\"tid\":\"" TENANT "\",\"ver\":\"1.0\"", false},
    {"a template in another's host", "https://{tenantid}.ciamlogin.com/{tenantid}/v2.0",
     "\"iss\":\"https://" TENANT ".ciamlogin.com/" TENANT "/v2.0\",\"tid\":\"" TENANT "\",\"ver\":\"2.0\"",
     true},
    {"two tenants in one", "https://{tenantid}.ciamlogin.com/{tenantid}/v2.0",
     "\"iss\":\"https://" TENANT ".ciamlogin.com/" OTHER "/v2.0\",\"tid\":\"" TENANT "\"", false},
    {"an iss that ends in the middle", V2("{tenantid}"), "\"iss\":\"https://login\",\"tid\":\"" TENANT "\"",
     false},
};

static void test_issuers(void **state)
{
    for (size_t i = 0; i < COUNT(issuers); i++) {
        char claims[512];
        struct token_rules rules = {.issuer = issuers[i].setting, .audiences = AUDIENCE};
        snprintf(claims, sizeof claims, "{%s," AUD "," EXP "}", issuers[i].claims);
        if ((judge(claims, &rules, NOW, NULL) == TOKEN_GOOD) != issuers[i].good)
            fail_msg("%s", issuers[i].rule);
    }
}

/* Entra's keys name their issuer by template. */
static void test_issuer_templates_of_keys(void **state)
{
    static const struct {
        const char *rule, *key, *iss;
        bool good;
    } cases[] = {
        {"its tenant's", V2("{tenantid}"), V2(TENANT), true},
        {"spelt out", V2(TENANT), V2(TENANT), true},
        {"another tenant's", V2(OTHER), V2(TENANT), false},
        {"another version's", V1("{tenantid}"), V2(TENANT), false},
        {"another cloud's", "https://login.microsoftonline.us/{tenantid}/v2.0", V2(TENANT), false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char claims[512], more[256];
        struct token_rules rules = {.issuer = V2("{tenantid}"), .audiences = AUDIENCE};
        snprintf(claims, sizeof claims, "{\"iss\":\"%s\",\"tid\":\"" TENANT "\"," AUD "," EXP "}",
                 cases[i].iss);
        snprintf(more, sizeof more, ",\"issuer\":\"%s\"", cases[i].key);
        struct jwk_set *set = set_of_key(fixture.key, "k", more);
        char *token = token_of("{\"alg\":\"ES256\",\"kid\":\"k\"}", claims, fixture.key);
        if ((verdict_on(token, strlen(token), set, &rules, NOW, NULL) == TOKEN_GOOD) != cases[i].good)
            fail_msg("%s", cases[i].rule);
        free(token);
        jwk_set_unref(set);
    }
}

/* --- audiences --------------------------------------------------------------------------------- */

static const struct {
    const char *rule, *setting, *aud; /* with its comma */
    bool good;
} audiences[] = {
    {"equal", "a", ",\"aud\":\"a\"", true},
    {"another", "a", ",\"aud\":\"b\"", false},
    {"one of the setting's", "a,b,c", ",\"aud\":\"b\"", true},
    {"the last of the setting's", "a,b,c", ",\"aud\":\"c\"", true},
    {"the setting's text", "a,b", ",\"aud\":\"a,b\"", false},
    {"a beginning", "abc", ",\"aud\":\"ab\"", false},
    {"more", "ab", ",\"aud\":\"abc\"", false},
    {"another case", "a", ",\"aud\":\"A\"", false},
    {"one of the token's", "a", ",\"aud\":[\"x\",\"a\"]", true},
    {"none of the token's", "a", ",\"aud\":[\"x\",\"y\"]", false},
    {"an empty array", "a", ",\"aud\":[]", false},
    {"empty", "a", ",\"aud\":\"\"", false},
    {"empty, and a gap in the setting", "a,,b", ",\"aud\":\"\"", false},
    {"none", "a", "", false},
    {"null", "a", ",\"aud\":null", false},
    {"a number among them", "a", ",\"aud\":[\"a\",1]", false},
    {"an array among them", "a", ",\"aud\":[[\"a\"]]", false},
    {"an object", "a", ",\"aud\":{\"a\":1}", false},
    {"twice", "a", ",\"aud\":\"a\",\"aud\":\"a\"", false},
};

static void test_audiences(void **state)
{
    for (size_t i = 0; i < COUNT(audiences); i++) {
        char claims[512];
        struct token_rules rules = {.issuer = ISSUER, .audiences = audiences[i].setting};
        snprintf(claims, sizeof claims, "{" ISS "," EXP "%s}", audiences[i].aud);
        if ((judge(claims, &rules, NOW, NULL) == TOKEN_GOOD) != audiences[i].good)
            fail_msg("%s", audiences[i].rule);
    }
}

/* --- permissions and devices ------------------------------------------------------------------- */

enum { REFUSED = -1 };

static const struct {
    const char *rule, *claims; /* with their comma */
    int permissions;
} permissions[] = {
    {"neither", "", 0},
    {"one scope", ",\"scp\":\"Telemetry.Read\"", PERMISSION_TELEMETRY_READ},
    {"all scopes", ",\"scp\":\"Telemetry.Read Telemetry.Write Device.Read Device.Write Ops.Read\"", 31},
    {"scopes of others among them", ",\"scp\":\"User.Read Device.Read offline_access\"",
     PERMISSION_DEVICE_READ},
    {"more than one blank", ",\"scp\":\"  Device.Read   Ops.Read \"",
     PERMISSION_DEVICE_READ | PERMISSION_OPS_READ},
    {"an empty scope", ",\"scp\":\"\"", 0},
    {"another case", ",\"scp\":\"telemetry.read\"", 0},
    {"a comma", ",\"scp\":\"Telemetry.Read,Ops.Read\"", 0},
    {"a line break", ",\"scp\":\"Telemetry.Read\\nOps.Read\"", 0},
    {"a URI before it", ",\"scp\":\"api://telemetryd/Telemetry.Read\"", 0},
    {"one role", ",\"roles\":[\"Device.Write\"]", PERMISSION_DEVICE_WRITE},
    {"roles and scopes add up", ",\"roles\":[\"Ops.Read\"],\"scp\":\"Device.Read\"",
     PERMISSION_OPS_READ | PERMISSION_DEVICE_READ},
    {"no role", ",\"roles\":[]", 0},
    {"two in one role", ",\"roles\":[\"Ops.Read Device.Read\"]", 0},
    {"a scope by the standard's other name", ",\"scope\":\"Telemetry.Read\"", 0},
    {"scp an array", ",\"scp\":[\"Telemetry.Read\"]", REFUSED},
    {"scp null", ",\"scp\":null", REFUSED},
    {"roles as text", ",\"roles\":\"Ops.Read\"", REFUSED},
    {"roles an object", ",\"roles\":{\"Ops.Read\":true}", REFUSED},
    {"roles null", ",\"roles\":null", REFUSED},
    {"a number among the roles", ",\"roles\":[\"Ops.Read\",1]", REFUSED},
    {"scp twice", ",\"scp\":\"\",\"scp\":\"Ops.Read\"", REFUSED},
};

static void test_permissions(void **state)
{
    for (size_t i = 0; i < COUNT(permissions); i++) {
        struct principal *principal = NULL;
        char claims[512];
        snprintf(claims, sizeof claims, "{" PLAIN "%s}", permissions[i].claims);
        enum token_verdict verdict = judge(claims, &plain_rules, NOW, &principal);
        int got = verdict == TOKEN_GOOD ? (int)principal->permissions : REFUSED;
        if (got != permissions[i].permissions)
            fail_msg("%s: %d", permissions[i].rule, got);
        principal_unref(principal);
    }
}

static void test_devices(void **state)
{
    static const struct {
        const char *rule, *setting, *claim;
        bool d1, d2;
    } cases[] = {
        {"no setting", NULL, ",\"devices\":[\"d1\"]", true, true},
        {"an empty setting", "", ",\"devices\":[\"d1\"],\"\":[]", true, true},
        {"no claim", "devices", "", true, true},
        {"another claim", "devices", ",\"Devices\":[\"d1\"]", true, true},
        {"an id", "devices", ",\"devices\":[\"d1\"]", true, false},
        {"a name that is a URL", "https://example.com/devices", ",\"https://example.com/devices\":[\"d2\"]",
         false, true},
        {"a name is no path", "a.b", ",\"a\":{\"b\":[]}", true, true},
        {"an empty array", "devices", ",\"devices\":[]", false, false},
        {"null", "devices", ",\"devices\":null", false, false},
        {"text", "devices", ",\"devices\":\"*\"", false, false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct principal *principal = NULL;
        char claims[512];
        struct token_rules rules = {
            .issuer = ISSUER, .audiences = AUDIENCE, .devices_claim = cases[i].setting};
        snprintf(claims, sizeof claims, "{" PLAIN "%s}", cases[i].claim);
        assert_int_equal(judge(claims, &rules, NOW, &principal), TOKEN_GOOD);
        if (grants_has(principal->grants, "d1") != cases[i].d1 ||
            grants_has(principal->grants, "d2") != cases[i].d2)
            fail_msg("%s", cases[i].rule);
        principal_unref(principal);
    }
}

/* --- callers ----------------------------------------------------------------------------------- */

static void caller_of(const char *claims, const char *issuer, unsigned char caller[CALLER_KEY_SIZE])
{
    struct principal *principal = NULL;
    struct token_rules rules = {.issuer = issuer, .audiences = AUDIENCE};
    assert_int_equal(judge(claims, &rules, NOW, &principal), TOKEN_GOOD);
    memcpy(caller, principal->caller, CALLER_KEY_SIZE);
    principal_unref(principal);
}

static void test_callers(void **state)
{
    static const struct {
        const char *rule, *a, *b; /* beside aud; iss is one of two */
        bool same;
    } cases[] = {
        {"one subject, two tokens", ISS ",\"sub\":\"s\",\"jti\":\"1\"", ISS ",\"sub\":\"s\",\"jti\":\"2\"",
         true},
        {"two subjects", ISS ",\"sub\":\"s\"", ISS ",\"sub\":\"t\"", false},
        {"one subject, two clients", ISS ",\"sub\":\"s\",\"azp\":\"a\"", ISS ",\"sub\":\"s\",\"azp\":\"b\"",
         true},
        {"one subject of two issuers", ISS ",\"sub\":\"s\"",
         "\"iss\":\"https://issuer.examples\",\"sub\":\"s\"", false},
        {"a subject cut elsewhere", "\"iss\":\"https://issuer.examples\",\"sub\":\"ub\"",
         ISS ",\"sub\":\"sub\"", false},
        {"a client, by two names", ISS ",\"azp\":\"a\"", ISS ",\"appid\":\"a\"", true},
        {"a client, by a third", ISS ",\"azp\":\"a\",\"jti\":\"1\"", ISS ",\"client_id\":\"a\"", true},
        {"two clients", ISS ",\"azp\":\"a\"", ISS ",\"azp\":\"b\"", false},
        {"a client is no subject", ISS ",\"azp\":\"a\"", ISS ",\"sub\":\"a\"", false},
        {"azp comes before appid", ISS ",\"appid\":\"b\",\"azp\":\"a\"", ISS ",\"azp\":\"a\"", true},
        {"an empty subject is none", ISS ",\"sub\":\"\",\"azp\":\"a\"", ISS ",\"azp\":\"a\"", true},
        {"nobody, two tokens", ISS ",\"jti\":\"1\"", ISS ",\"jti\":\"2\"", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        unsigned char a[CALLER_KEY_SIZE], b[CALLER_KEY_SIZE];
        char claims[512];
        snprintf(claims, sizeof claims, "{%s," AUD "," EXP "}", cases[i].a);
        caller_of(claims, strstr(cases[i].a, "examples") != NULL ? ISSUER "s" : ISSUER, a);
        snprintf(claims, sizeof claims, "{%s," AUD "," EXP "}", cases[i].b);
        caller_of(claims, strstr(cases[i].b, "examples") != NULL ? ISSUER "s" : ISSUER, b);
        if ((memcmp(a, b, CALLER_KEY_SIZE) == 0) != cases[i].same)
            fail_msg("%s", cases[i].rule);
    }
}

static void test_names_that_are_no_text(void **state)
{
    static const char *const names[] = {"sub", "azp", "appid", "client_id"};
    static const char *const values[] = {"1", "null", "[\"a\"]", "{}", "true"};

    for (size_t i = 0; i < COUNT(names) * COUNT(values); i++) {
        char claims[512];
        snprintf(claims, sizeof claims, "{" PLAIN ",\"%s\":%s}", names[i % COUNT(names)],
                 values[i / COUNT(names)]);
        if (judge(claims, &plain_rules, NOW, NULL) != TOKEN_BAD)
            fail_msg("%s", claims);
    }
}

/* --- what a fetch of keys is worth ------------------------------------------------------------- */

/* Only a token of which nothing else is wrong makes the server ask its issuer. */
static void test_unknown_keys(void **state)
{
    static const struct {
        const char *rule, *claims;
        enum token_verdict expect;
    } cases[] = {
        {"nothing wrong", "{" PLAIN "}", TOKEN_UNKNOWN_KEY},
        {"expired", "{" ISS "," AUD ",\"exp\":1799999000}", TOKEN_BAD},
        {"another issuer", "{\"iss\":\"https://x\"," AUD "," EXP "}", TOKEN_BAD},
        {"another audience", "{" ISS ",\"aud\":\"x\"," EXP "}", TOKEN_BAD},
        {"roles of the wrong type", "{" PLAIN ",\"roles\":1}", TOKEN_BAD},
        {"no claims", "{}", TOKEN_BAD},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *token = token_of("{\"alg\":\"ES256\",\"kid\":\"new\"}", cases[i].claims, fixture.key);
        enum token_verdict verdict = verdict_on(token, strlen(token), fixture.set, &plain_rules, NOW, NULL);
        if (verdict != cases[i].expect)
            fail_msg("%s: %s", cases[i].rule, verdict_name(verdict));
        free(token);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_principal_current),
        cmocka_unit_test(test_issuers),
        cmocka_unit_test(test_issuer_templates_of_keys),
        cmocka_unit_test(test_audiences),
        cmocka_unit_test(test_permissions),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_callers),
        cmocka_unit_test(test_names_that_are_no_text),
        cmocka_unit_test(test_unknown_keys),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
