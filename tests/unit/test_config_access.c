/* The settings of access: who may call, how fairly, and as whom we call Azure. */
#include "config_fixture.h"

#define JWT                                                                                                  \
    "TELEMETRYD_AUTH=jwt", "TELEMETRYD_JWT_ISSUER=https://login.example/t/v2.0", "TELEMETRYD_JWT_AUDIENCE=api"

static void by_default_everything_is_off(void **state)
{
    struct config c = load_good(ARGS(), ENV());
    assert_string_equal(c.tls_cert, "");
    assert_string_equal(c.tls_key, "");
    assert_string_equal(c.tls_client_ca, "");
    assert_int_equal(c.auth, AUTH_NONE);
    assert_false(c.auth_open_warning);
    assert_string_equal(c.jwt_issuer, "");
    assert_string_equal(c.jwt_audience, "");
    assert_string_equal(c.jwt_jwks, "");
    assert_int_equal(c.jwt_cooldown_ms, 60000);
    assert_string_equal(c.jwt_devices_claim, "");
    assert_false(c.has_metrics_listen);
    assert_string_equal(c.cors_origins, "");
    assert_int_equal(c.rate_limit, 0);
    assert_int_equal(c.max_connections_per_address, 0);
    assert_int_equal(c.trusted_proxies.count, 0);
    assert_string_equal(c.azure.tenant_id, "");
    assert_string_equal(c.azure.client_secret, "");
    assert_string_equal(c.azure.authority_host, "");
}

static void values_are_read(void **state)
{
    struct config c = load_good(
        ARGS(),
        ENV(JWT, "TELEMETRYD_JWT_JWKS=HTTPS://keys.example/a?b=c/", "TELEMETRYD_JWT_COOLDOWN=5m",
            "TELEMETRYD_JWT_DEVICES_CLAIM=https://example.com/devices",
            "TELEMETRYD_METRICS_LISTEN=[::1]:9090", "TELEMETRYD_RATE_LIMIT=600/m",
            "TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS=20", "TELEMETRYD_TRUSTED_PROXIES=10.0.0.0/8, ::1"));
    assert_int_equal(c.auth, AUTH_JWT);
    assert_string_equal(c.jwt_issuer, "https://login.example/t/v2.0");
    assert_string_equal(c.jwt_audience, "api");
    assert_string_equal(c.jwt_jwks, "https://keys.example/a?b=c/");
    assert_int_equal(c.jwt_cooldown_ms, 300000);
    assert_string_equal(c.jwt_devices_claim, "https://example.com/devices");
    assert_true(c.has_metrics_listen);
    assert_string_equal(c.metrics_host, "::1");
    assert_int_equal(c.metrics_port, 9090);
    assert_int_equal(c.rate_limit, 600);
    assert_int_equal(c.rate_limit_window_s, 60);
    assert_int_equal(c.max_connections_per_address, 20);
    assert_int_equal(c.trusted_proxies.count, 2);
    assert_int_equal(c.trusted_proxies.networks[0].prefix, 104);
}

static void lists_lose_their_blanks(void **state)
{
    struct config c = load_good(
        ARGS(), ENV("TELEMETRYD_AUTH=none", "TELEMETRYD_JWT_AUDIENCE= api ,\tapi://a/b, 1234",
                    "TELEMETRYD_CORS_ORIGINS=https://a.example ,  http://localhost:3000,https://a.example"));
    assert_string_equal(c.jwt_audience, "api,api://a/b,1234");
    assert_string_equal(c.cors_origins, "https://a.example,http://localhost:3000,https://a.example");
}

static void rates_are_of_a_second_or_a_minute(void **state)
{
    struct config c = load_good(ARGS(), ENV("TELEMETRYD_RATE_LIMIT=10/s"));
    assert_int_equal(c.rate_limit, 10);
    assert_int_equal(c.rate_limit_window_s, 1);
    c = load_good(ARGS(), ENV("TELEMETRYD_RATE_LIMIT=off", "TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS=off"));
    assert_int_equal(c.rate_limit, 0);
    assert_int_equal(c.max_connections_per_address, 0);
}

/* With TELEMETRYD_AUTH=none each setting of tokens is looked at by itself. */
static void a_value_is_checked_by_itself(void **state)
{
    static const struct {
        const char *name, *value, *wrong; /* NULL: taken */
    } cases[] = {
        {"TELEMETRYD_AUTH", "JWT", "give jwt or none"},
        {"TELEMETRYD_AUTH", "yes", "give jwt or none"},
        {"TELEMETRYD_JWT_ISSUER", "https://login.example/a b", "without blanks"},
        {"TELEMETRYD_JWT_ISSUER", "https://login.example/\xc3\xa9", "without blanks"},
        {"TELEMETRYD_JWT_AUDIENCE", "a b", "without blanks"},
        {"TELEMETRYD_JWT_AUDIENCE", "a,,b", "empty"},
        {"TELEMETRYD_JWT_AUDIENCE", "a,", "empty"},
        {"TELEMETRYD_JWT_AUDIENCE", ",", "empty"},
        {"TELEMETRYD_JWT_AUDIENCE", " ", "empty"},
        {"TELEMETRYD_JWT_JWKS", "/proc/self/status", NULL},
        {"TELEMETRYD_JWT_JWKS", "/nowhere/keys.json", "cannot be read"},
        {"TELEMETRYD_JWT_JWKS", "/tmp", "readable file"},
        {"TELEMETRYD_JWT_JWKS", "ftp://keys.example/", "cannot be read"},
        {"TELEMETRYD_JWT_JWKS", "https://keys.example", NULL},
        {"TELEMETRYD_JWT_JWKS", "https://keys.example/a?b=c&d=e", NULL},
        {"TELEMETRYD_JWT_JWKS", "http://localhost:1/keys", NULL},
        {"TELEMETRYD_JWT_JWKS", "http://127.3.2.1:1/keys", NULL},
        {"TELEMETRYD_JWT_JWKS", "http://[::1]:1/keys", NULL},
        {"TELEMETRYD_JWT_JWKS", "http://keys.example/", "on loopback only"},
        {"TELEMETRYD_JWT_JWKS", "HTTP://keys.example/", "on loopback only"},
        {"TELEMETRYD_JWT_JWKS", "http://169.254.169.254/", "on loopback only"},
        {"TELEMETRYD_JWT_JWKS", "https://keys.example/#a", "a fragment"},
        {"TELEMETRYD_JWT_JWKS", "https://keys.example/?a#a", "a fragment"},
        {"TELEMETRYD_JWT_JWKS", "https://keys.example?a=u@b", "user information"},
        {"TELEMETRYD_JWT_JWKS", "https://keys.example/a b", "printable"},
        {"TELEMETRYD_JWT_JWKS", "https://keys.example\\@evil.example/", "user information"},
        {"TELEMETRYD_JWT_JWKS", "https://keys.example/\\evil.example/", "printable"},
        {"TELEMETRYD_JWT_JWKS", "https://:443/", "the host"},
        {"TELEMETRYD_JWT_COOLDOWN", "100ms", NULL},
        {"TELEMETRYD_JWT_COOLDOWN", "1d", NULL},
        {"TELEMETRYD_JWT_COOLDOWN", "99ms", "from 100ms to 1d"},
        {"TELEMETRYD_JWT_COOLDOWN", "25h", "from 100ms to 1d"},
        {"TELEMETRYD_JWT_COOLDOWN", "60", "from 100ms to 1d"},
        {"TELEMETRYD_JWT_DEVICES_CLAIM", "devices of \xc3\xa9", NULL},
        {"TELEMETRYD_JWT_DEVICES_CLAIM", "dev\tices", "the name of a claim"},
        {"TELEMETRYD_METRICS_LISTEN", "0.0.0.0:0", NULL},
        {"TELEMETRYD_METRICS_LISTEN", "127.0.0.1:8081", NULL},
        {"TELEMETRYD_METRICS_LISTEN", "127.0.0.2:8080", NULL},
        {"TELEMETRYD_METRICS_LISTEN", "9090", "HOST:PORT"},
        {"TELEMETRYD_METRICS_LISTEN", "127.0.0.1", "HOST:PORT"},
        {"TELEMETRYD_METRICS_LISTEN", "127.0.0.1:65536", "HOST:PORT"},
        {"TELEMETRYD_METRICS_LISTEN", "::1:80", "HOST:PORT"},
        {"TELEMETRYD_RATE_LIMIT", "1/s", NULL},
        {"TELEMETRYD_RATE_LIMIT", "1000000/m", NULL},
        {"TELEMETRYD_RATE_LIMIT", "0/s", "from 1 to 1000000"},
        {"TELEMETRYD_RATE_LIMIT", "1000001/s", "from 1 to 1000000"},
        {"TELEMETRYD_RATE_LIMIT", "18446744073709551617/s", "from 1 to 1000000"},
        {"TELEMETRYD_RATE_LIMIT", "10", "/s or /m"},
        {"TELEMETRYD_RATE_LIMIT", "10/h", "/s or /m"},
        {"TELEMETRYD_RATE_LIMIT", "10/sec", "/s or /m"},
        {"TELEMETRYD_RATE_LIMIT", "10 /s", "/s or /m"},
        {"TELEMETRYD_RATE_LIMIT", "+1/s", "/s or /m"},
        {"TELEMETRYD_RATE_LIMIT", "-1/s", "/s or /m"},
        {"TELEMETRYD_RATE_LIMIT", "/s", "/s or /m"},
        {"TELEMETRYD_RATE_LIMIT", "OFF", "/s or /m"},
        {"TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS", "1", NULL},
        {"TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS", "1000000", NULL},
        {"TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS", "0", "off, or a whole number"},
        {"TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS", "1000001", "off, or a whole number"},
        {"TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS", "-1", "off, or a whole number"},
        {"TELEMETRYD_TRUSTED_PROXIES", "192.0.2.1", NULL},
        {"TELEMETRYD_TRUSTED_PROXIES", "192.0.2.1,", "addresses and CIDRs"},
        {"TELEMETRYD_TRUSTED_PROXIES", "192.0.2.1/24", "addresses and CIDRs"},
        {"TELEMETRYD_TRUSTED_PROXIES", "proxy.example", "addresses and CIDRs"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *setting = join(cases[i].name, cases[i].value);
        bool of_auth = strcmp(cases[i].name, "TELEMETRYD_AUTH") == 0;
        const char *none = of_auth ? "TELEMETRYD_DATA=/d" : "TELEMETRYD_AUTH=none";
        char part[512];
        print_message("# %s\n", setting);
        if (cases[i].wrong == NULL) {
            load_good(ARGS(), ENV(none, setting));
        } else {
            snprintf(part, sizeof part, "%s: '", cases[i].name);
            assert_refused(ARGS(), ENV(none, setting), (const char *const[]){part, NULL});
            assert_refused(ARGS(), ENV(none, setting), (const char *const[]){cases[i].wrong, NULL});
        }
        free(setting);
    }
}

static void origins_are_what_browsers_send(void **state)
{
    static const struct {
        const char *rule, *value, *wrong;
    } cases[] = {
        {"https", "https://a.example", NULL},
        {"http", "http://a.example", NULL},
        {"a port", "https://a.example:8443", NULL},
        {"the other scheme's port", "http://a.example:443", NULL},
        {"an IPv4 address", "http://192.0.2.1:8080", NULL},
        {"an IPv6 address", "http://[2001:db8::1]:8080", NULL},
        {"a name of one label", "http://dashboard", NULL},
        {"a path", "https://a.example/app", "no path"},
        {"a slash at the end", "https://a.example/", "no path, not even a slash"},
        {"a slash after a port", "https://a.example:8443/", "no path, not even a slash"},
        {"a query", "https://a.example?x", "the host"},
        {"a fragment", "https://a.example#x", "the host"},
        {"everything", "*", "begins with http:// or https://"},
        {"a wildcard", "https://*.example", "wildcards"},
        {"a wildcard for the port", "https://a.example:*", "wildcards"},
        {"null", "null", "begins with http:// or https://"},
        {"another scheme", "ftp://a.example", "begins with http:// or https://"},
        {"a scheme of an extension", "chrome-extension://abc", "begins with http:// or https://"},
        {"no scheme", "a.example", "begins with http:// or https://"},
        {"a scheme in upper case", "HTTPS://a.example", "in lower case"},
        {"a host in upper case", "https://A.example", "in lower case"},
        {"the scheme's own port", "https://a.example:443", "never match"},
        {"that of http", "http://a.example:80", "never match"},
        {"port 0", "https://a.example:0", "1 to 65535"},
        {"port 65536", "https://a.example:65536", "1 to 65535"},
        {"a port with a zero before it", "https://a.example:08443", "1 to 65535"},
        {"an empty port", "https://a.example:", "1 to 65535"},
        {"a port of letters", "https://a.example:http", "a number"},
        {"no host", "https://", "the host"},
        {"user information", "https://u@a.example", "the host"},
        {"UTF-8", "https://\xc3\xa9.example", "the host"},
        {"a blank inside", "https://a. example", "the host"},
        {"a long form of an IPv6 address", "https://[2001:db8:0:0:0:0:0:1]", "as browsers write it"},
        {"an IPv6 address in upper case", "https://[2001:DB8::1]", "in lower case"},
        {"an unclosed bracket", "https://[2001:db8::1", "as browsers write it"},
        {"text after a bracket", "https://[2001:db8::1]x", "the host"},
        {"an empty piece", "https://a.example,,https://b.example", "empty"},
        {"a comma at the end", "https://a.example,", "empty"},
        {"one bad among good", "https://a.example,*,https://b.example", "begins with"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *setting = join("TELEMETRYD_CORS_ORIGINS", cases[i].value);
        print_message("# %s\n", cases[i].rule);
        if (cases[i].wrong == NULL) {
            assert_string_equal(load_good(ARGS(), ENV(setting)).cors_origins, cases[i].value);
        } else {
            assert_refused(ARGS(), ENV(setting), (const char *const[]){"TELEMETRYD_CORS_ORIGINS: '", NULL});
            assert_refused(ARGS(), ENV(setting), (const char *const[]){cases[i].wrong, NULL});
        }
        free(setting);
    }
}

static void without_authentication_only_loopback_is_served(void **state)
{
    static const struct {
        const char *rule, *argument, *listen, *auth;
        bool good, warning;
    } cases[] = {
        {"loopback", NULL, "127.0.0.1:1", NULL, true, false},
        {"all of 127.0.0.0/8", NULL, "127.9.9.9:1", NULL, true, false},
        {"::1", NULL, "[::1]:1", NULL, true, false},
        {"IPv4 loopback in IPv6 clothes", NULL, "[::ffff:127.0.0.1]:1", NULL, true, false},
        {"a name of loopback", NULL, "localhost:1", NULL, true, false},
        {"every address", NULL, "0.0.0.0:1", NULL, false, false},
        {"every address of IPv6", NULL, "[::]:1", NULL, false, false},
        {"another address", NULL, "192.0.2.1:1", NULL, false, false},
        {"a name that nobody knows", NULL, "nowhere.invalid:1", NULL, false, false},
        {"none by name", NULL, "0.0.0.0:1", "none", true, true},
        {"none by name on loopback", NULL, "127.0.0.1:1", "none", true, false},
        {"a demo", "--demo", "0.0.0.0:1", NULL, true, true},
        {"a demo on loopback", "--demo", "127.0.0.1:1", NULL, true, false},
        {"a demo with none by name", "--demo", "0.0.0.0:1", "none", true, true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const argv[] = {"telemetryd", cases[i].argument, NULL};
        char *listen = join("TELEMETRYD_LISTEN", cases[i].listen);
        char *auth = join("TELEMETRYD_AUTH", cases[i].auth != NULL ? cases[i].auth : "");
        print_message("# %s\n", cases[i].rule);
        if (cases[i].good) {
            struct config c = load_good(argv, ENV(listen, auth));
            assert_int_equal(c.auth, AUTH_NONE);
            assert_int_equal(c.auth_open_warning, cases[i].warning);
        } else {
            assert_refused(
                argv, ENV(listen, auth),
                (const char *const[]){"TELEMETRYD_AUTH: is not set, and TELEMETRYD_LISTEN is not", NULL});
        }
        free(listen);
        free(auth);
    }
    assert_false(load_good(ARGS(), ENV("TELEMETRYD_LISTEN=0.0.0.0:1", JWT)).auth_open_warning);
}

static void tokens_need_their_settings(void **state)
{
    static const struct {
        const char *rule, *argument, *environment[5], *parts[3];
    } cases[] = {
        {"nothing given",
         NULL,
         {"TELEMETRYD_AUTH=jwt"},
         {"TELEMETRYD_JWT_ISSUER: is missing", "TELEMETRYD_JWT_AUDIENCE: is missing"}},
        {"no issuer",
         NULL,
         {"TELEMETRYD_AUTH=jwt", "TELEMETRYD_JWT_AUDIENCE=a"},
         {"TELEMETRYD_JWT_ISSUER: is missing"}},
        {"no audience",
         NULL,
         {"TELEMETRYD_AUTH=jwt", "TELEMETRYD_JWT_ISSUER=https://a.example"},
         {"TELEMETRYD_JWT_AUDIENCE: is missing"}},
        {"an issuer without a word on AUTH",
         NULL,
         {"TELEMETRYD_JWT_ISSUER=https://a.example"},
         {"TELEMETRYD_AUTH: is not set, but TELEMETRYD_JWT_ISSUER is"}},
        {"a cooldown without a word on AUTH",
         NULL,
         {"TELEMETRYD_JWT_COOLDOWN=60s"},
         {"TELEMETRYD_AUTH: is not set, but TELEMETRYD_JWT_COOLDOWN is"}},
        {"a claim without a word on AUTH, in a demo",
         "--demo",
         {"TELEMETRYD_JWT_DEVICES_CLAIM=d"},
         {"TELEMETRYD_AUTH: is not set, but TELEMETRYD_JWT_DEVICES_CLAIM is"}},
        {"the same where others could call: once",
         NULL,
         {"TELEMETRYD_LISTEN=0.0.0.0:1", "TELEMETRYD_JWT_AUDIENCE=a"},
         {"TELEMETRYD_AUTH: is not set, but TELEMETRYD_JWT_AUDIENCE is"}},
        {"none by name", NULL, {"TELEMETRYD_AUTH=none", "TELEMETRYD_JWT_AUDIENCE=a"}, {NULL}},
        {"a template needs keys",
         NULL,
         {"TELEMETRYD_AUTH=jwt", "TELEMETRYD_JWT_ISSUER=https://a.example/{tenantid}/v2.0",
          "TELEMETRYD_JWT_AUDIENCE=a"},
         {"TELEMETRYD_JWT_ISSUER: {tenantid} names no place to discover keys at: give TELEMETRYD_JWT_JWKS"}},
        {"a template with keys",
         NULL,
         {"TELEMETRYD_AUTH=jwt", "TELEMETRYD_JWT_ISSUER=https://a.example/{tenantid}/v2.0",
          "TELEMETRYD_JWT_AUDIENCE=a", "TELEMETRYD_JWT_JWKS=https://a.example/keys"},
         {NULL}},
        {"discovery needs a URL",
         NULL,
         {"TELEMETRYD_AUTH=jwt", "TELEMETRYD_JWT_ISSUER=me", "TELEMETRYD_JWT_AUDIENCE=a"},
         {"TELEMETRYD_JWT_ISSUER: 'me' is not accepted"}},
        {"discovery has no query",
         NULL,
         {"TELEMETRYD_AUTH=jwt", "TELEMETRYD_JWT_ISSUER=https://a.example/?x", "TELEMETRYD_JWT_AUDIENCE=a"},
         {"TELEMETRYD_JWT_ISSUER: 'https://a.example/?x' is not accepted: a query"}},
        {"any text with keys",
         NULL,
         {"TELEMETRYD_AUTH=jwt", "TELEMETRYD_JWT_ISSUER=me", "TELEMETRYD_JWT_AUDIENCE=a",
          "TELEMETRYD_JWT_JWKS=https://a.example/keys"},
         {NULL}},
        {"http on loopback",
         NULL,
         {"TELEMETRYD_AUTH=jwt", "TELEMETRYD_JWT_ISSUER=http://127.0.0.1:9/t/", "TELEMETRYD_JWT_AUDIENCE=a"},
         {NULL}},
        {"http elsewhere, whatever upstreams may do",
         NULL,
         {"TELEMETRYD_AUTH=jwt", "TELEMETRYD_JWT_ISSUER=http://a.example", "TELEMETRYD_JWT_AUDIENCE=a",
          "TELEMETRYD_ALLOW_HTTP_UPSTREAM=1"},
         {"TELEMETRYD_JWT_ISSUER: 'http://a.example' is not accepted: http:// is taken on loopback only"}},
        {"http elsewhere with keys",
         NULL,
         {"TELEMETRYD_AUTH=jwt", "TELEMETRYD_JWT_ISSUER=http://a.example", "TELEMETRYD_JWT_AUDIENCE=a",
          "TELEMETRYD_JWT_JWKS=https://a.example/keys"},
         {"TELEMETRYD_JWT_ISSUER: 'http://a.example' is not accepted: http:// is taken on loopback only"}},
        {"AUTH at fault is told alone",
         NULL,
         {"TELEMETRYD_AUTH=on", "TELEMETRYD_JWT_AUDIENCE=a"},
         {"TELEMETRYD_AUTH: 'on'"}},
        {"metrics on the main address",
         NULL,
         {"TELEMETRYD_METRICS_LISTEN=127.0.0.1:8080"},
         {"TELEMETRYD_METRICS_LISTEN: is the address of TELEMETRYD_LISTEN"}},
        {"metrics on the main address, written otherwise",
         NULL,
         {"TELEMETRYD_LISTEN=[0:0::1]:8080", "TELEMETRYD_METRICS_LISTEN=[::1]:8080"},
         {"TELEMETRYD_METRICS_LISTEN: is the address of TELEMETRYD_LISTEN"}},
        {"metrics on the main name",
         NULL,
         {"TELEMETRYD_LISTEN=localhost:8080", "TELEMETRYD_METRICS_LISTEN=LOCALHOST:8080"},
         {"TELEMETRYD_METRICS_LISTEN: is the address of TELEMETRYD_LISTEN"}},
        {"each on a free port",
         NULL,
         {"TELEMETRYD_LISTEN=127.0.0.1:0", "TELEMETRYD_METRICS_LISTEN=127.0.0.1:0"},
         {NULL}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const argv[] = {"telemetryd", cases[i].argument, NULL};
        print_message("# %s\n", cases[i].rule);
        if (cases[i].parts[0] == NULL)
            load_good(argv, cases[i].environment);
        else
            assert_refused(argv, cases[i].environment, cases[i].parts);
    }
}

static void texts_that_do_not_fit_are_refused(void **state)
{
    static char text[5000];
    static const struct {
        const char *name, *begin, *rest;
        size_t most;
    } cases[] = {
        {"TELEMETRYD_JWT_ISSUER", "", "longer than 511 bytes", 511},
        {"TELEMETRYD_JWT_AUDIENCE", "", "the list is too long", 1023},
        {"TELEMETRYD_JWT_JWKS", "https://a.example/", "the URL is too long", 4095},
        {"TELEMETRYD_JWT_DEVICES_CLAIM", "", "longer than 255 bytes", 255},
        {"AZURE_TENANT_ID", "", "longer than 127 bytes", 127},
        {"AZURE_CLIENT_SECRET", "", "longer than 511 bytes", 511},
        {"AZURE_FEDERATED_TOKEN_FILE", "/", "longer than 4095 bytes", 4095},
        {"AZURE_AUTHORITY_HOST", "https://a.example/", "the URL is too long", 511},
        {"IDENTITY_ENDPOINT", "https://a.example/", "the URL is too long", 511},
        {"IDENTITY_HEADER", "", "longer than 511 bytes", 511},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t head = (size_t)snprintf(text, sizeof text, "%s=", cases[i].name);
        memset(text + head, 'x', cases[i].most);
        memcpy(text + head, cases[i].begin, strlen(cases[i].begin));
        text[head + cases[i].most] = '\0';
        print_message("# %s\n", cases[i].name);
        load_good(ARGS(), ENV("TELEMETRYD_AUTH=none", "COSMOS_ENDPOINT=https://a.example", text));
        memcpy(text + head + cases[i].most, "x", 2);
        assert_refused(ARGS(), ENV("TELEMETRYD_AUTH=none", "COSMOS_ENDPOINT=https://a.example", text),
                       (const char *const[]){cases[i].rest, NULL});
    }
}

int main(void)
{
    setenv("RES_OPTIONS", "timeout:1 attempts:1", 1); /* a name that nobody knows, and perhaps no network */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_default_everything_is_off),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(lists_lose_their_blanks),
        cmocka_unit_test(rates_are_of_a_second_or_a_minute),
        cmocka_unit_test(a_value_is_checked_by_itself),
        cmocka_unit_test(origins_are_what_browsers_send),
        cmocka_unit_test(without_authentication_only_loopback_is_served),
        cmocka_unit_test(tokens_need_their_settings),
        cmocka_unit_test(texts_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
