#include "config_fixture.h"

static void defaults_are_those_of_the_contract(void **state)
{
    struct config c = load_good(ARGS(), ENV());
    assert_string_equal(c.listen_host, "127.0.0.1");
    assert_int_equal(c.listen_port, 8080);
    assert_in_range(c.workers, 1, 256);
    assert_string_equal(c.data, "./telemetryd.db");
    assert_int_equal(c.request_timeout_ms, 10000);
    assert_int_equal(c.max_connections, 10000);
    assert_int_equal(c.max_body, 1 << 20);
    assert_int_equal(c.log_level, LOG_LEVEL_INFO);
    assert_int_equal(c.ttl_s, 7 * 86400);
    assert_false(c.demo);
    assert_false(c.has_cosmos);
    assert_false(c.has_iothub);
    assert_string_equal(c.cosmos_database, "iot");
    assert_string_equal(c.cosmos_container, "telemetry");
    assert_string_equal(c.iothub_endpoint, "");
    assert_false(c.allow_http_upstream);
    assert_string_equal(c.ca_file, "");
}

static void a_flag_wins_over_the_environment(void **state)
{
    const char *const environment[] = {"TELEMETRYD_LISTEN=127.0.0.2:1", "TELEMETRYD_WORKERS=7",
                                       "TELEMETRYD_DATA=/e", NULL};
    struct config c = load_good(ARGS(), environment);
    assert_string_equal(c.listen_host, "127.0.0.2");
    assert_int_equal(c.listen_port, 1);
    assert_int_equal(c.workers, 7);
    assert_string_equal(c.data, "/e");
    c = load_good(ARGS("--listen", "[::1]:2", "--workers=3", "--data", "/f"), environment);
    assert_string_equal(c.listen_host, "::1");
    assert_int_equal(c.listen_port, 2);
    assert_int_equal(c.workers, 3);
    assert_string_equal(c.data, "/f");
    c = load_good(ARGS("--data=--odd"), environment);
    assert_string_equal(c.data, "--odd");
}

static void an_empty_variable_is_not_set(void **state)
{
    struct config c =
        load_good(ARGS(), ENV("TELEMETRYD_WORKERS=", "COSMOS_CONNECTION=", "COSMOS_CONNECTION_FILE=",
                              "IOT_HUB_ENDPOINT=", "TELEMETRYD_TTL="));
    assert_false(c.has_cosmos);
    assert_int_equal(c.ttl_s, 7 * 86400);
}

static void values_are_read(void **state)
{
    struct config c =
        load_good(ARGS(), ENV("TELEMETRYD_REQUEST_TIMEOUT=2500ms", "TELEMETRYD_MAX_CONNECTIONS=1",
                              "TELEMETRYD_MAX_BODY=64KiB", "TELEMETRYD_LOG_LEVEL=debug", "TELEMETRYD_TTL=90m",
                              "COSMOS_DATABASE=d b", "COSMOS_CONTAINER=c", COSMOS_ENV, HUB_ENV,
                              "TELEMETRYD_ALLOW_HTTP_UPSTREAM=true", "AZURE_CA_FILE=/proc/self/status"));
    assert_int_equal(c.request_timeout_ms, 2500);
    assert_int_equal(c.max_connections, 1);
    assert_int_equal(c.max_body, 65536);
    assert_int_equal(c.log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(c.ttl_s, 5400);
    assert_string_equal(c.cosmos_database, "d b");
    assert_string_equal(c.cosmos_container, "c");
    assert_true(c.has_cosmos);
    assert_string_equal(c.cosmos.endpoint, "https://a.example:443");
    assert_int_equal(c.cosmos.key_len, 10);
    assert_true(c.has_iothub);
    assert_string_equal(c.iothub.host, "hub.example");
    assert_string_equal(c.iothub_endpoint, "https://hub.example");
    assert_true(c.allow_http_upstream);
    assert_string_equal(c.ca_file, "/proc/self/status");
    config_clear(&c);
    assert_int_equal(c.cosmos.key_len, 0);
    assert_int_equal(c.cosmos.key[0], 0);
    assert_int_equal(c.iothub.key[0], 0);
}

static void a_value_is_checked_against_its_bounds(void **state)
{
    static const struct {
        const char *name, *value;
        bool good;
    } cases[] = {
        {"TELEMETRYD_WORKERS", "1", true},
        {"TELEMETRYD_WORKERS", "256", true},
        {"TELEMETRYD_WORKERS", "0", false},
        {"TELEMETRYD_WORKERS", "257", false},
        {"TELEMETRYD_WORKERS", "-1", false},
        {"TELEMETRYD_WORKERS", "+1", false},
        {"TELEMETRYD_WORKERS", "4294967297", false},
        {"TELEMETRYD_WORKERS", "18446744073709551617", false},
        {"TELEMETRYD_WORKERS", "1.5", false},
        {"TELEMETRYD_WORKERS", " 1", false},
        {"TELEMETRYD_WORKERS", "two", false},
        {"TELEMETRYD_REQUEST_TIMEOUT", "100ms", true},
        {"TELEMETRYD_REQUEST_TIMEOUT", "5m", true},
        {"TELEMETRYD_REQUEST_TIMEOUT", "99ms", false},
        {"TELEMETRYD_REQUEST_TIMEOUT", "301s", false},
        {"TELEMETRYD_REQUEST_TIMEOUT", "10", false},
        {"TELEMETRYD_MAX_CONNECTIONS", "1000000", true},
        {"TELEMETRYD_MAX_CONNECTIONS", "1000001", false},
        {"TELEMETRYD_MAX_CONNECTIONS", "0", false},
        {"TELEMETRYD_MAX_BODY", "1", true},
        {"TELEMETRYD_MAX_BODY", "64MiB", true},
        {"TELEMETRYD_MAX_BODY", "67108864", true},
        {"TELEMETRYD_MAX_BODY", "67108865", false},
        {"TELEMETRYD_MAX_BODY", "0", false},
        {"TELEMETRYD_MAX_BODY", "1GiB", false},
        {"TELEMETRYD_MAX_BODY", "1MB", false},
        {"TELEMETRYD_MAX_BODY", "1mib", false},
        {"TELEMETRYD_MAX_BODY", "1 MiB", false},
        {"TELEMETRYD_MAX_BODY", "MiB", false},
        {"TELEMETRYD_MAX_BODY", "18446744073709551615GiB", false},
        {"TELEMETRYD_LOG_LEVEL", "error", true},
        {"TELEMETRYD_LOG_LEVEL", "warn", true},
        {"TELEMETRYD_LOG_LEVEL", "INFO", false},
        {"TELEMETRYD_LOG_LEVEL", "trace", false},
        {"TELEMETRYD_TTL", "1s", true},
        {"TELEMETRYD_TTL", "2000ms", true},
        {"TELEMETRYD_TTL", "3650d", true},
        {"TELEMETRYD_TTL", "3651d", false},
        {"TELEMETRYD_TTL", "0s", false},
        {"TELEMETRYD_TTL", "1500ms", false},
        {"TELEMETRYD_LISTEN", "localhost:0", true},
        {"TELEMETRYD_LISTEN", "127.255.0.1:65535", true},
        {"TELEMETRYD_LISTEN", "[::1]:80", true},
        {"TELEMETRYD_LISTEN", "127.0.0.1:65536", false},
        {"TELEMETRYD_LISTEN", "127.0.0.1", false},
        {"TELEMETRYD_LISTEN", "127.0.0.1:", false},
        {"TELEMETRYD_LISTEN", "8080", false},
        {"TELEMETRYD_LISTEN", ":8080", false},
        {"TELEMETRYD_LISTEN", "::1:8080", false},
        {"TELEMETRYD_LISTEN", "[::1]", false},
        {"TELEMETRYD_LISTEN", "[::1]8080", false},
        {"TELEMETRYD_LISTEN", "[::1:8080", false},
        {"TELEMETRYD_LISTEN", "[127.0.0.1]:80", false},
        {"TELEMETRYD_LISTEN", "127.0.0.256:80", false},
        {"TELEMETRYD_LISTEN", "a b:80", false},
        {"TELEMETRYD_LISTEN", "http://localhost:80", false},
        {"TELEMETRYD_LISTEN", "localhost:80/", false},
        {"TELEMETRYD_LISTEN", "localhost:-1", false},
        {"COSMOS_DATABASE", "a/b", false},
        {"COSMOS_DATABASE", "a?", false},
        {"COSMOS_CONTAINER", "a#b", false},
        {"COSMOS_CONTAINER", "a\\b", false},
        {"COSMOS_CONTAINER", "a ", false},
        {"COSMOS_CONTAINER", "a\nb", false},
        {"TELEMETRYD_ALLOW_HTTP_UPSTREAM", "0", true},
        {"TELEMETRYD_ALLOW_HTTP_UPSTREAM", "1", true},
        {"TELEMETRYD_ALLOW_HTTP_UPSTREAM", "false", true},
        {"TELEMETRYD_ALLOW_HTTP_UPSTREAM", "yes", false},
        {"TELEMETRYD_ALLOW_HTTP_UPSTREAM", "2", false},
        {"AZURE_CA_FILE", "/proc/self/status", true},
        {"AZURE_CA_FILE", "/nowhere/ca.pem", false},
        {"AZURE_CA_FILE", "/tmp", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *setting = join(cases[i].name, cases[i].value);
        char part[64];
        print_message("# %s\n", cases[i].name);
        snprintf(part, sizeof part, "%s: '", cases[i].name);
        if (cases[i].good)
            load_good(ARGS(), ENV(setting));
        else
            assert_refused(ARGS(), ENV(setting), (const char *const[]){part, NULL});
        free(setting);
    }
}

static void a_message_names_setting_value_and_what_is_taken(void **state)
{
    assert_refused(ARGS(), ENV("TELEMETRYD_WORKERS=0"),
                   (const char *const[]){
                       "TELEMETRYD_WORKERS: '0' is not accepted: give a whole number from 1 to 256\n", NULL});
    assert_refused(
        ARGS("--workers", "0"), ENV(),
        (const char *const[]){"TELEMETRYD_WORKERS: --workers '0' is not accepted: give a whole", NULL});
    assert_refused(ARGS(), ENV("TELEMETRYD_LOG_LEVEL=a\nb\x1b[31m"),
                   (const char *const[]){"TELEMETRYD_LOG_LEVEL: 'a?b?[31m' is not accepted", NULL});
}

static void contradictions_are_refused_by_name(void **state)
{
    static const struct {
        const char *rule;
        const char *argument, *environment[3];
        const char *parts[4];
    } cases[] = {
        {"two ways into Cosmos DB",
         NULL,
         {COSMOS_ENV, "COSMOS_ENDPOINT=https://a.example"},
         {"COSMOS_CONNECTION: contradicts COSMOS_ENDPOINT"}},
        {"two ways into IoT Hub",
         NULL,
         {HUB_ENV, "IOT_HUB_HOSTNAME=h.example"},
         {"IOT_HUB_CONNECTION: contradicts IOT_HUB_HOSTNAME"}},
        {"an endpoint without a hub",
         NULL,
         {"IOT_HUB_ENDPOINT=https://h.example"},
         {"IOT_HUB_ENDPOINT: there is no hub: give IOT_HUB_CONNECTION or IOT_HUB_HOSTNAME"}},
        {"a demo with Cosmos DB", "--demo", {COSMOS_ENV}, {"COSMOS_CONNECTION: contradicts --demo"}},
        {"a demo with Cosmos DB and Entra",
         "--demo",
         {"COSMOS_ENDPOINT=https://a.example"},
         {"COSMOS_ENDPOINT: contradicts --demo"}},
        {"a demo with IoT Hub and Entra",
         "--demo",
         {"IOT_HUB_HOSTNAME=h.example"},
         {"IOT_HUB_HOSTNAME: contradicts --demo"}},
        {"a demo with IoT Hub", "--demo", {HUB_ENV}, {"IOT_HUB_CONNECTION: contradicts --demo"}},
        {"http on another host",
         NULL,
         {"COSMOS_CONNECTION=AccountEndpoint=http://a.example;AccountKey=" KEY},
         {"COSMOS_CONNECTION: http:// is taken on loopback"}},
        {"http for Cosmos DB with Entra on another host",
         NULL,
         {"COSMOS_ENDPOINT=http://a.example"},
         {"COSMOS_ENDPOINT: http:// is taken on loopback"}},
        {"http for the hub on another host",
         NULL,
         {HUB_ENV, "IOT_HUB_ENDPOINT=http://h.example"},
         {"IOT_HUB_ENDPOINT: http:// is taken on loopback, elsewhere only with "
          "TELEMETRYD_ALLOW_HTTP_UPSTREAM=1"}},
        {"a hub's endpoint with a path",
         NULL,
         {HUB_ENV, "IOT_HUB_ENDPOINT=https://h.example/x"},
         {"IOT_HUB_ENDPOINT: 'https://h.example/x' is not accepted: a path"}},
        {"a password in a URL is not repeated",
         NULL,
         {HUB_ENV, "IOT_HUB_ENDPOINT=https://u:secret-key@h.example"},
         {"IOT_HUB_ENDPOINT: '****' is not accepted: user information"}},
        {"a connection string in the wrong place is not repeated",
         NULL,
         {"COSMOS_ENDPOINT=" COSMOS},
         {"COSMOS_ENDPOINT: '****' is not accepted"}},
        {"a connection string among the arguments is not repeated",
         COSMOS,
         {NULL},
         {"****: unexpected argument"}},
        {"a secret at fault is not repeated",
         NULL,
         {"COSMOS_CONNECTION=AccountEndpoint=https://a.example;AccountKey=secret-key"},
         {"COSMOS_CONNECTION: AccountKey is not base64"}},
        {"a hub's secret at fault",
         NULL,
         {"IOT_HUB_CONNECTION=" KEY},
         {"IOT_HUB_CONNECTION: HostName is missing"}},
        {"every fault is reported",
         "--bogus",
         {"TELEMETRYD_WORKERS=x", "IOT_HUB_ENDPOINT=https://h.example"},
         {"--bogus: unknown flag", "TELEMETRYD_WORKERS: 'x'", "IOT_HUB_ENDPOINT: there is no hub"}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const argv[] = {"telemetryd", cases[i].argument, NULL};
        print_message("# %s\n", cases[i].rule);
        assert_refused(argv, cases[i].environment, cases[i].parts);
    }
}

static void http_is_taken_on_loopback_or_by_permission(void **state)
{
    struct config c =
        load_good(ARGS(), ENV("COSMOS_CONNECTION=AccountEndpoint=http://127.0.0.1:8081/;AccountKey=" KEY,
                              HUB_ENV, "IOT_HUB_ENDPOINT=http://localhost:1/"));
    assert_string_equal(c.cosmos.endpoint, "http://127.0.0.1:8081");
    assert_string_equal(c.iothub_endpoint, "http://localhost:1");
    c = load_good(ARGS(), ENV("COSMOS_CONNECTION=AccountEndpoint=http://cosmos:8081/;AccountKey=" KEY,
                              "TELEMETRYD_ALLOW_HTTP_UPSTREAM=1"));
    assert_string_equal(c.cosmos.endpoint, "http://cosmos:8081");
}

static void a_demo_keeps_nothing_unless_told(void **state)
{
    struct config c = load_good(ARGS("--demo"), ENV());
    assert_true(c.demo);
    assert_string_equal(c.data, ":memory:");
    c = load_good(ARGS("--demo", "--data", "/d"), ENV());
    assert_string_equal(c.data, "/d");
    c = load_good(ARGS("--demo"), ENV("TELEMETRYD_DATA=/e"));
    assert_string_equal(c.data, "/e");
}

static void texts_that_do_not_fit_are_refused(void **state)
{
    static char text[5000];
    static const struct {
        const char *name;
        size_t most;
    } cases[] = {{"TELEMETRYD_DATA", 4095}, {"COSMOS_DATABASE", 255}, {"COSMOS_CONTAINER", 255}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        char part[64];
        size_t head = (size_t)snprintf(text, sizeof text, "%s=", cases[i].name);
        memset(text + head, 'x', cases[i].most);
        text[head + cases[i].most] = '\0';
        load_good(ARGS(), ENV(text));
        memcpy(text + head + cases[i].most, "x", 2);
        snprintf(part, sizeof part, "xx...' is not accepted: longer than %zu bytes", cases[i].most);
        assert_refused(ARGS(), ENV(text), (const char *const[]){part, NULL});
    }
    memset(text, 'x', sizeof text);
    memcpy(text, "TELEMETRYD_LISTEN=", 18);
    memcpy(text + 400, ":80", 4);
    assert_refused(ARGS(), ENV(text), (const char *const[]){"TELEMETRYD_LISTEN: '", NULL});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(a_flag_wins_over_the_environment),
        cmocka_unit_test(an_empty_variable_is_not_set),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(a_value_is_checked_against_its_bounds),
        cmocka_unit_test(a_message_names_setting_value_and_what_is_taken),
        cmocka_unit_test(contradictions_are_refused_by_name),
        cmocka_unit_test(http_is_taken_on_loopback_or_by_permission),
        cmocka_unit_test(a_demo_keeps_nothing_unless_told),
        cmocka_unit_test(texts_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
