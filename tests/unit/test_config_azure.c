/* Azure with Entra credentials, and what stays in memory of the secrets. */
#include "config_fixture.h"
#include "memory_search.h"

#define ENTRA "COSMOS_ENDPOINT=https://a.example"

static void entra_is_selected_by_host(void **state)
{
    struct config c = load_good(ARGS(), ENV("COSMOS_ENDPOINT=https://a.documents.azure.com:443/"));
    assert_true(c.has_cosmos);
    assert_string_equal(c.cosmos.endpoint, "https://a.documents.azure.com:443");
    assert_string_equal(c.azure.authority_host, "https://login.microsoftonline.com");
    assert_string_equal(c.azure.imds_host, "http://169.254.169.254");
    assert_int_equal(c.cosmos.key_len, 0);
    assert_false(c.has_iothub);

    c = load_good(ARGS(), ENV("IOT_HUB_HOSTNAME=h.azure-devices.net"));
    assert_false(c.has_cosmos);
    assert_true(c.has_iothub);
    assert_string_equal(c.iothub.host, "h.azure-devices.net");
    assert_string_equal(c.iothub.policy, "");
    assert_int_equal(c.iothub.key_len, 0);
    assert_string_equal(c.iothub_endpoint, "https://h.azure-devices.net");

    c = load_good(ARGS(),
                  ENV("IOT_HUB_HOSTNAME=h.azure-devices.net", "IOT_HUB_ENDPOINT=http://localhost:9/"));
    assert_string_equal(c.iothub_endpoint, "http://localhost:9");

    c = load_good(ARGS(),
                  ENV("COSMOS_ENDPOINT=http://cosmos:8081", "TELEMETRYD_ALLOW_HTTP_UPSTREAM=1", HUB_ENV));
    assert_string_equal(c.cosmos.endpoint, "http://cosmos:8081");
    assert_true(c.iothub.key_len > 0);
}

static void values_are_read(void **state)
{
    struct config c =
        load_good(ARGS(), ENV(ENTRA, "AZURE_TENANT_ID=contoso.onmicrosoft.com",
                              "AZURE_CLIENT_ID=11111111-2222-3333-4444-555555555555",
                              "AZURE_CLIENT_SECRET=a~b 8Q=c", "AZURE_FEDERATED_TOKEN_FILE=/nowhere/yet",
                              "AZURE_AUTHORITY_HOST=https://login.chinacloudapi.cn/",
                              "IDENTITY_ENDPOINT=http://169.254.129.2:8081/msi/token/", "IDENTITY_HEADER=h-1",
                              "AZURE_POD_IDENTITY_AUTHORITY_HOST=http://imds.example:81/"));
    assert_string_equal(c.azure.tenant_id, "contoso.onmicrosoft.com");
    assert_string_equal(c.azure.client_id, "11111111-2222-3333-4444-555555555555");
    assert_string_equal(c.azure.client_secret, "a~b 8Q=c");
    assert_string_equal(c.azure.federated_token_file, "/nowhere/yet");
    assert_string_equal(c.azure.authority_host, "https://login.chinacloudapi.cn");
    assert_string_equal(c.azure.identity_endpoint, "http://169.254.129.2:8081/msi/token/");
    assert_string_equal(c.azure.identity_header, "h-1");
    assert_string_equal(c.azure.imds_host, "http://imds.example:81");
    config_clear(&c);
    for (size_t i = 0; i < sizeof c.azure.client_secret; i++)
        assert_int_equal(c.azure.client_secret[i], 0);
    for (size_t i = 0; i < sizeof c.azure.identity_header; i++)
        assert_int_equal(c.azure.identity_header[i], 0);
}

static void a_value_is_checked(void **state)
{
    static const struct {
        const char *name, *value, *wrong; /* NULL: taken */
    } cases[] = {
        {"COSMOS_ENDPOINT", "https://a.example/dbs", "a path"},
        {"COSMOS_ENDPOINT", "a.example", "a URL begins with"},
        {"IOT_HUB_HOSTNAME", "localhost:4711", NULL},
        {"IOT_HUB_HOSTNAME", "https://h.example", "host name"},
        {"IOT_HUB_HOSTNAME", "h.example/x", "host name"},
        {"IOT_HUB_HOSTNAME", "h_.example:", "host name"},
        {"IOT_HUB_HOSTNAME", "a b", "host name"},
        {"AZURE_TENANT_ID", "a/b", "letters, digits"},
        {"AZURE_TENANT_ID", "a?b", "letters, digits"},
        {"AZURE_TENANT_ID", "..", "letters, digits"},
        {"AZURE_TENANT_ID", "a_b", "letters, digits"},
        {"AZURE_CLIENT_ID", "a&b", "letters, digits"},
        {"AZURE_CLIENT_ID", "\xc3\xa9", "letters, digits"},
        {"AZURE_AUTHORITY_HOST", "login.microsoftonline.us", NULL},
        {"AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/", NULL},
        {"AZURE_AUTHORITY_HOST", "http://127.0.0.1:9", NULL},
        {"AZURE_AUTHORITY_HOST", "http://login.example", "on loopback only"},
        {"AZURE_AUTHORITY_HOST", "http://169.254.169.254", "on loopback only"},
        {"AZURE_AUTHORITY_HOST", "ftp://login.example", "a URL begins with"},
        {"AZURE_AUTHORITY_HOST", "https://login.example?x", "a query"},
        {"IDENTITY_ENDPOINT", "http://localhost:42356/msi/token", NULL},
        {"IDENTITY_ENDPOINT", "http://127.0.0.1:41741/msi/token/", NULL},
        {"IDENTITY_ENDPOINT", "http://169.254.0.1", NULL},
        {"IDENTITY_ENDPOINT", "https://identity.example/x", NULL},
        {"IDENTITY_ENDPOINT", "http://169.253.0.1/", "link-local"},
        {"IDENTITY_ENDPOINT", "http://169.254.0.1.evil.example/", "link-local"},
        {"IDENTITY_ENDPOINT", "http://identity.example/", "link-local"},
        {"IDENTITY_ENDPOINT", "https://identity.example/?a=b", "a query"},
        {"AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://169.254.169.254", NULL},
        {"AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://imds.example:1", NULL},
        {"AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://imds.example/path", "a path"},
        {"AZURE_POD_IDENTITY_AUTHORITY_HOST", "imds.example", "a URL begins with"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *setting = join(cases[i].name, cases[i].value);
        const char *entra =
            strncmp(cases[i].name, "COSMOS", 6) == 0 || strncmp(cases[i].name, "IOT", 3) == 0 ? "X=" : ENTRA;
        char part[64];
        print_message("# %s\n", setting);
        if (cases[i].wrong == NULL) {
            load_good(ARGS(), ENV(entra, setting));
        } else {
            snprintf(part, sizeof part, "%s: '", cases[i].name);
            assert_refused(ARGS(), ENV(entra, setting), (const char *const[]){part, NULL});
            assert_refused(ARGS(), ENV(entra, setting), (const char *const[]){cases[i].wrong, NULL});
        }
        free(setting);
    }
}

static void a_secret_at_fault_is_named_and_not_repeated(void **state)
{
    static const char *const cases[][2] = {
        {"AZURE_CLIENT_SECRET=secret-key\n", "AZURE_CLIENT_SECRET: give printable"},
        {"IDENTITY_HEADER=secret-key\r\nx: y", "IDENTITY_HEADER: give printable"},
        {"AZURE_CLIENT_SECRET=secret-key\xc3\xa9", "AZURE_CLIENT_SECRET: give"}};
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_refused(ARGS(), ENV(ENTRA, cases[i][0]), (const char *const[]){cases[i][1], NULL});
    assert_refused(ARGS(), ENV(ENTRA, "AZURE_CLIENT_SECRET=a", "AZURE_CLIENT_SECRET_FILE=/nowhere/x"),
                   (const char *const[]){"AZURE_CLIENT_SECRET: contradicts AZURE_CLIENT_SECRET_FILE", NULL});
    assert_refused(ARGS(), ENV(ENTRA, "IDENTITY_HEADER_FILE=/nowhere/x"),
                   (const char *const[]){"IDENTITY_HEADER_FILE: '/nowhere/x' cannot be used: No such", NULL});
}

/* Platforms put these variables into environments for others. */
static void variables_of_others_do_not_matter_without_entra(void **state)
{
    struct config c =
        load_good(ARGS(), ENV(COSMOS_ENV, HUB_ENV, "AZURE_TENANT_ID=a/b", "AZURE_CLIENT_ID=?",
                              "AZURE_CLIENT_SECRET=a\nb", "AZURE_CLIENT_SECRET_FILE=/nowhere/x",
                              "AZURE_AUTHORITY_HOST=ftp://x", "IDENTITY_ENDPOINT=x", "IDENTITY_HEADER=\x01",
                              "IDENTITY_HEADER_FILE=/nowhere/x", "AZURE_POD_IDENTITY_AUTHORITY_HOST=x/y"));
    assert_string_equal(c.azure.client_secret, "");
    assert_string_equal(c.azure.authority_host, "");
}

static void assert_line(const char *out, const char *name, const char *value, const char *source)
{
    char line[512] = "";
    const char *at = strstr(out, name);
    assert_non_null(at);
    snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
    if (strstr(line, value) == NULL || strstr(line, source) == NULL)
        fail_msg("%s", line);
}

static void settings_are_printed_without_secrets(void **state)
{
    static const char *const modes[] = {ENTRA, "X="};
    for (size_t i = 0; i < COUNT(modes); i++) {
        char *path = write_file("secret-key\n", 11);
        char *header = join("IDENTITY_HEADER_FILE", path);
        struct answer a = load(ARGS("--print-config"),
                               ENV(modes[i], "AZURE_TENANT_ID=t-1", header, "AZURE_CLIENT_SECRET=c2VjcmV0"));
        assert_int_equal(a.result, 0);
        assert_line(a.out, "AZURE_TENANT_ID ", " t-1 ", " environment");
        assert_line(a.out, "AZURE_CLIENT_SECRET ", " ******** ", " environment");
        assert_line(a.out, "IDENTITY_HEADER ", " ******** ", " file");
        assert_line(a.out, "AZURE_AUTHORITY_HOST ", " https://login.microsoftonline.com ", " default");
        assert_line(a.out, "TELEMETRYD_AUTH ", " none ", " default");
        assert_null(strstr(a.out, "secret-key"));
        config_clear(&a.config);
        forget(&a);
        unlink(path);
        free(path);
        free(header);
    }
    struct answer a =
        load(ARGS("--print-config"), ENV("AZURE_AUTHORITY_HOST=https://u:secret-key@a.example"));
    assert_int_equal(a.result, 0);
    assert_null(strstr(a.out, "secret-key"));
    forget(&a);
}

/* --- memory ------------------------------------------------------------------------------------ */

static void a_text_in_memory_is_found(void **state)
{
    struct hidden_text hidden = hidden_text_make(1);
    assert_int_equal(memory_search(&hidden), 0);
    char *copy = malloc(sizeof hidden.inverted);
    for (size_t i = 0; i < sizeof hidden.inverted; i++)
        copy[i] = (char)~hidden.inverted[i];
    assert_int_equal(memory_search(&hidden), 1);
    explicit_bzero(copy, sizeof hidden.inverted);
    assert_int_equal(memory_search(&hidden), 0);
    free(copy);
}

static void texts_of_secrets_leave_memory(void **state)
{
    static const struct {
        const char *name, *before, *after;
        unsigned kept; /* in struct config */
    } secrets[] = {
        {"COSMOS_CONNECTION_FILE", "AccountEndpoint=https://a.example;AccountKey=", ";\n", 0},
        {"IOT_HUB_CONNECTION_FILE", "HostName=h.example;SharedAccessKeyName=s;SharedAccessKey=", "\n", 0},
        {"AZURE_CLIENT_SECRET_FILE", "", "\n", 1},
        {"IDENTITY_HEADER_FILE", "", "\r\n", 1},
    };
    static struct config config;

    for (size_t i = 0; i < COUNT(secrets); i++) {
        char path[] = "/tmp/test_config.XXXXXX";
        int fd = mkstemp(path);
        struct hidden_text hidden = hidden_text_make(100 + i);
        enum config_action action;
        assert_true(fd >= 0);
        hidden_text_write(fd, secrets[i].before, &hidden, secrets[i].after);
        close(fd);
        char *setting = join(secrets[i].name, path);
        const char *const environment[] = {setting, i < 2 ? "X=" : ENTRA, NULL};
        print_message("# %s\n", secrets[i].name);
        int r = config_load(1, (char *const *)ARGS(), (char *const *)environment, &config, &action, stdout,
                            stderr);
        assert_int_equal(r, 0);
        assert_int_equal(memory_search(&hidden), secrets[i].kept);
        config_clear(&config);
        assert_int_equal(memory_search(&hidden), 0);
        unlink(path);
        free(setting);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entra_is_selected_by_host),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(a_value_is_checked),
        cmocka_unit_test(a_secret_at_fault_is_named_and_not_repeated),
        cmocka_unit_test(variables_of_others_do_not_matter_without_entra),
        cmocka_unit_test(settings_are_printed_without_secrets),
        cmocka_unit_test(a_text_in_memory_is_found),
        cmocka_unit_test(texts_of_secrets_leave_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
