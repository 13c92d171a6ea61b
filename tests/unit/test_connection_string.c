#include "connection_string.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define KEY "c2VjcmV0LWtleQ==" /* secret-key */

static void reads_cosmos_strings(void **state)
{
    static const struct {
        const char *rule, *text, *endpoint; /* NULL: refused */
        const char *message;                /* a part of it */
    } cases[] = {
        {"as the portal shows it", "AccountEndpoint=https://a.documents.azure.com:443/;AccountKey=" KEY ";",
         "https://a.documents.azure.com:443", NULL},
        {"no semicolon at the end", "AccountEndpoint=https://a.documents.azure.com;AccountKey=" KEY,
         "https://a.documents.azure.com", NULL},
        {"any order and case of names", "accountkey=" KEY ";ACCOUNTENDPOINT=https://a.example/",
         "https://a.example", NULL},
        {"unknown names are ignored", "Database=x;AccountEndpoint=https://a.example;AccountKey=" KEY,
         "https://a.example", NULL},
        {"http, which the settings decide on", "AccountEndpoint=http://cosmos:8081/;AccountKey=" KEY,
         "http://cosmos:8081", NULL},
        {"no key", "AccountEndpoint=https://a.example/;", NULL, "AccountKey is missing"},
        {"no endpoint", "AccountKey=" KEY, NULL, "AccountEndpoint is missing"},
        {"nothing", "", NULL, "AccountEndpoint is missing"},
        {"an empty key", "AccountEndpoint=https://a.example/;AccountKey=;", NULL, "AccountKey is empty"},
        {"two keys", "AccountEndpoint=https://a.example/;AccountKey=" KEY ";AccountKey=" KEY, NULL,
         "AccountKey is given twice"},
        {"a key that is not base64", "AccountEndpoint=https://a.example/;AccountKey=secret-key!", NULL,
         "AccountKey is not base64"},
        {"a key of padding", "AccountEndpoint=https://a.example/;AccountKey====", NULL,
         "AccountKey is not base64"},
        {"a piece without =", "AccountEndpoint=https://a.example/;secret-key", NULL, "not Name=value"},
        {"a path", "AccountEndpoint=https://a.example/dbs;AccountKey=" KEY, NULL, "AccountEndpoint: a path"},
        {"a space before a name", "AccountEndpoint=https://a.example/; AccountKey=" KEY, NULL,
         "AccountKey is missing"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct cosmos_account_settings account = {.endpoint = "untouched"};
        char message[256] = "";
        print_message("# %s\n", cases[i].rule);
        bool good = cosmos_connection_parse(cases[i].text, &account, message, sizeof message);
        assert_int_equal(good, cases[i].endpoint != NULL);
        assert_string_equal(account.endpoint, good ? cases[i].endpoint : "untouched");
        if (good) {
            assert_int_equal(account.key_len, 10);
            assert_memory_equal(account.key, "secret-key", 10);
        } else {
            assert_int_equal(account.key_len, 0);
            assert_non_null(strstr(message, cases[i].message));
            assert_null(strstr(message, "secret-key"));
            assert_null(strstr(message, "c2Vjcm"));
        }
    }
}

static void reads_iothub_strings(void **state)
{
    static const struct {
        const char *rule, *text, *host, *message;
    } cases[] = {
        {"as the portal shows it",
         "HostName=hub.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey=" KEY,
         "hub.azure-devices.net", NULL},
        {"a port, for a test double",
         "HostName=localhost:4711;SharedAccessKeyName=service;SharedAccessKey=" KEY, "localhost:4711", NULL},
        {"a device's string has no policy", "HostName=h.example;DeviceId=d;SharedAccessKey=" KEY, NULL,
         "SharedAccessKeyName is missing"},
        {"no host", "SharedAccessKeyName=service;SharedAccessKey=" KEY, NULL, "HostName is missing"},
        {"no key", "HostName=h.example;SharedAccessKeyName=service", NULL, "SharedAccessKey is missing"},
        {"a URL for a host", "HostName=https://h.example;SharedAccessKeyName=s;SharedAccessKey=" KEY, NULL,
         "HostName is not"},
        {"a path behind the host", "HostName=h.example/x;SharedAccessKeyName=s;SharedAccessKey=" KEY, NULL,
         "HostName is not"},
        {"a path behind the port", "HostName=h.example:1/;SharedAccessKeyName=s;SharedAccessKey=" KEY, NULL,
         "HostName is not"},
        {"a line end in the policy", "HostName=h.example;SharedAccessKeyName=s\r\nx: y;SharedAccessKey=" KEY,
         NULL, "SharedAccessKeyName is not printable"},
        {"white space in the key", "HostName=h.example;SharedAccessKeyName=s;SharedAccessKey=" KEY "\n", NULL,
         "SharedAccessKey is not base64"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct iothub_settings hub = {.host = "untouched"};
        char message[256] = "";
        print_message("# %s\n", cases[i].rule);
        bool good = iothub_connection_parse(cases[i].text, &hub, message, sizeof message);
        assert_int_equal(good, cases[i].host != NULL);
        assert_string_equal(hub.host, good ? cases[i].host : "untouched");
        if (good) {
            assert_string_equal(hub.policy, "service");
            assert_memory_equal(hub.key, "secret-key", hub.key_len);
        } else {
            assert_non_null(strstr(message, cases[i].message));
            assert_null(strstr(message, "c2Vjcm"));
        }
    }
}

static void sizes_are_bounded(void **state)
{
    static char text[6000];
    struct cosmos_account_settings account;
    struct iothub_settings hub;
    char message[256];

    memset(text, 'x', sizeof text - 1);
    memcpy(text, "AccountEndpoint=https://", 24);
    assert_false(cosmos_connection_parse(text, &account, message, sizeof message));
    assert_non_null(strstr(message, "longer than 4096"));

    text[1000] = '\0';
    assert_false(cosmos_connection_parse(text, &account, message, sizeof message));
    memcpy(text + 1000, ";AccountKey=" KEY, sizeof ";AccountKey=" KEY);
    assert_false(cosmos_connection_parse(text, &account, message, sizeof message));
    assert_non_null(strstr(message, "AccountEndpoint is longer than 511"));

    /* 256 bytes of key are taken, 257 are not. 4 characters hold 3 bytes. */
    int head = snprintf(text, sizeof text, "HostName=h.example;SharedAccessKeyName=s;SharedAccessKey=");
    memset(text + head, 'A', 344);
    memcpy(text + head + 340, "AA==", 5);
    assert_true(iothub_connection_parse(text, &hub, message, sizeof message));
    assert_int_equal(hub.key_len, 256);
    memcpy(text + head + 340, "AAA=", 5);
    assert_false(iothub_connection_parse(text, &hub, message, sizeof message));
}

static void checks_base_urls(void **state)
{
    static const struct {
        const char *rule, *url, *out; /* NULL: refused */
        bool allow_http;
    } cases[] = {
        {"https", "https://a.example", "https://a.example", false},
        {"one trailing slash goes", "https://a.example/", "https://a.example", false},
        {"a port", "https://a.example:8443/", "https://a.example:8443", false},
        {"the scheme in any case", "HTTPS://A.example", "https://A.example", false},
        {"IPv6", "https://[2001:db8::1]:443", "https://[2001:db8::1]:443", false},
        {"a container's name", "https://cosmos_db:8081", "https://cosmos_db:8081", false},
        {"http on localhost", "http://localhost:1", "http://localhost:1", false},
        {"http on LOCALHOST", "http://LOCALHOST", "http://LOCALHOST", false},
        {"http on 127.0.0.1", "http://127.0.0.1:8081/", "http://127.0.0.1:8081", false},
        {"http on all of 127.0.0.0/8", "http://127.9.8.7", "http://127.9.8.7", false},
        {"http on ::1", "http://[::1]:8081", "http://[::1]:8081", false},
        {"http elsewhere where allowed", "http://cosmos:8081", "http://cosmos:8081", true},
        {"http elsewhere", "http://cosmos:8081", NULL, false},
        {"http on an address elsewhere", "http://128.0.0.1", NULL, false},
        {"http on ::", "http://[::]", NULL, false},
        {"http on a name that looks like loopback", "http://127.0.0.1.evil.example", NULL, false},
        {"http on a name that begins like localhost", "http://localhost.evil.example", NULL, false},
        {"a short form of an address", "http://127.1", NULL, true},
        {"an address as one number", "http://2130706433", NULL, true},
        {"user information", "https://user:pw@a.example", NULL, false},
        {"user information that looks like loopback", "http://localhost@a.example", NULL, false},
        {"a path", "https://a.example/x", NULL, false},
        {"two slashes", "https://a.example//", NULL, false},
        {"a query", "https://a.example?x=1", NULL, false},
        {"a query after a slash", "https://a.example/?x=1", NULL, false},
        {"a fragment", "https://a.example#x", NULL, false},
        {"another scheme", "ftp://a.example", NULL, true},
        {"no scheme", "a.example", NULL, true},
        {"no host", "https://", NULL, false},
        {"no host but a port", "https://:443", NULL, false},
        {"no host but a slash", "https:///", NULL, false},
        {"an empty port", "https://a.example:", NULL, false},
        {"port 0", "https://a.example:0", NULL, false},
        {"port 65536", "https://a.example:65536", NULL, false},
        {"a port of letters", "https://a.example:http", NULL, false},
        {"an unclosed bracket", "https://[::1", NULL, false},
        {"text after a bracket", "https://[::1]x", NULL, false},
        {"no IPv6 in brackets", "https://[a.example]", NULL, false},
        {"IPv6 without brackets", "https://::1", NULL, false},
        {"an empty label", "https://a..example", NULL, false},
        {"a label that begins with a hyphen", "https://-a.example", NULL, false},
        {"a space", "https://a example", NULL, false},
        {"a line end", "https://a.example\n", NULL, false},
        {"a percent sign", "https://a%2eexample", NULL, false},
        {"UTF-8", "https://\xc3\xa9.example", NULL, false},
        {"nothing", "", NULL, false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[64] = "untouched";
        char message[128] = "";
        print_message("# %s\n", cases[i].rule);
        bool good =
            upstream_url_check(cases[i].url, cases[i].allow_http, out, sizeof out, message, sizeof message);
        assert_int_equal(good, cases[i].out != NULL);
        assert_string_equal(out, good ? cases[i].out : "untouched");
        assert_int_equal(message[0] == '\0', good);
    }
}

static void a_url_that_does_not_fit_is_refused(void **state)
{
    char out[sizeof "https://a.example"] = "";
    char message[128];
    assert_true(upstream_url_check("https://a.example/", false, out, sizeof out, message, sizeof message));
    assert_false(upstream_url_check("https://ab.example/", false, out, sizeof out, message, sizeof message));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_cosmos_strings),
        cmocka_unit_test(reads_iothub_strings),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(checks_base_urls),
        cmocka_unit_test(a_url_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
