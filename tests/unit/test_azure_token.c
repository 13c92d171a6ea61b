/*
 * Tokens for Azure, the pure part: which source is chosen, what is sent to it, and what its answers mean.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../clients/azure_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* --- sources ----------------------------------------------------------------------------------- */

#define APPLICATION .tenant_id = "contoso", .client_id = "6f2c"
#define APP_SERVICE .identity_endpoint = "http://127.0.0.1:41741/msi/token/", .identity_header = "h 1"
#define AUTHORITY   .authority_host = "https://login.microsoftonline.com"
#define IMDS_HOST   .imds_host = "http://169.254.169.254"

static const struct {
    const char *name;
    struct azure_identity identity;
    enum azure_source source;
} sources[] = {
    {"nothing is set", {IMDS_HOST}, AZURE_IMDS},
    {"a secret", {APPLICATION, .client_secret = "s"}, AZURE_CLIENT_SECRET},
    {"a secret before all others",
     {APPLICATION, APP_SERVICE, .client_secret = "s", .federated_token_file = "f"},
     AZURE_CLIENT_SECRET},
    {"a token file", {APPLICATION, .federated_token_file = "f"}, AZURE_WORKLOAD_IDENTITY},
    {"a token file before a managed identity",
     {APPLICATION, APP_SERVICE, .federated_token_file = "f"},
     AZURE_WORKLOAD_IDENTITY},
    {"a tenant without secret or file falls through", {APPLICATION}, AZURE_IMDS},
    {"the same in App Service", {APPLICATION, APP_SERVICE}, AZURE_APP_SERVICE},
    {"a secret without a tenant", {.client_id = "c", .client_secret = "s"}, AZURE_IMDS},
    {"a secret without a client", {.tenant_id = "t", .client_secret = "s"}, AZURE_IMDS},
    {"App Service", {APP_SERVICE}, AZURE_APP_SERVICE},
    {"an endpoint without a header", {.identity_endpoint = "http://127.0.0.1/"}, AZURE_IMDS},
    {"a header without an endpoint", {.identity_header = "h"}, AZURE_IMDS},
};

static void sources_are_chosen_as_the_default_credential_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(sources); i++)
        if (azure_identity_source(&sources[i].identity) != sources[i].source)
            fail_msg("%s: %s", sources[i].name,
                     azure_source_name(azure_identity_source(&sources[i].identity)));
}

/* --- requests ---------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    struct azure_identity identity;
    const char *resource, *assertion;
    const char *method, *url, *header, *body;
} requests[] = {
    {"a secret, escaped byte by byte",
     {APPLICATION, AUTHORITY, .client_secret = "a+b&c=d%e ~\"/"},
     "https://iothubs.azure.net",
     NULL,
     "POST",
     "https://login.microsoftonline.com/contoso/oauth2/v2.0/token",
     "Content-Type: application/x-www-form-urlencoded",
     "client_id=6f2c&scope=https%3A%2F%2Fiothubs.azure.net%2F.default&client_secret="
     "a%2Bb%26c%3Dd%25e%20~%22%2F&grant_type=client_credentials"},
    {"an assertion",
     {APPLICATION, AUTHORITY, .federated_token_file = "f"},
     "https://acc.documents.azure.com",
     "e.y-J_.x",
     "POST",
     "https://login.microsoftonline.com/contoso/oauth2/v2.0/token",
     "Content-Type: application/x-www-form-urlencoded",
     "client_id=6f2c&scope=https%3A%2F%2Facc.documents.azure.com%2F.default&client_assertion_type="
     "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=e.y-J_.x"
     "&grant_type=client_credentials"},
    {"App Service, a system-assigned identity",
     {APP_SERVICE},
     "https://cosmos.azure.com",
     NULL,
     "GET",
     "http://127.0.0.1:41741/msi/token/?api-version=2019-08-01&resource=https%3A%2F%2Fcosmos.azure.com",
     "X-IDENTITY-HEADER: h 1",
     ""},
    {"App Service, an endpoint with a query, a user-assigned identity",
     {.identity_endpoint = "http://localhost/t?a=b", .identity_header = "h", .client_id = "c"},
     "https://x",
     NULL,
     "GET",
     "http://localhost/t?a=b&api-version=2019-08-01&resource=https%3A%2F%2Fx&client_id=c",
     "X-IDENTITY-HEADER: h",
     ""},
    {"IMDS, a system-assigned identity",
     {IMDS_HOST},
     "https://x",
     NULL,
     "GET",
     "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fx",
     "Metadata: true",
     ""},
    {"IMDS, a user-assigned identity",
     {APPLICATION, IMDS_HOST},
     "https://x",
     NULL,
     "GET",
     "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fx"
     "&client_id=6f2c",
     "Metadata: true",
     ""},
};

static void requests_are_built_for_each_source(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(requests); i++) {
        struct azure_token_request request;
        const char *assertion = requests[i].assertion;
        assert_int_equal(azure_token_request_build(&request, &requests[i].identity, requests[i].resource,
                                                   assertion, assertion != NULL ? strlen(assertion) : 0),
                         0);
        buffer_terminate(&request.body);
        if (strcmp(request.method, requests[i].method) != 0 ||
            strcmp(request.url.data, requests[i].url) != 0 ||
            strcmp(request.header.data, requests[i].header) != 0 ||
            strcmp(request.body.data, requests[i].body) != 0)
            fail_msg("%s: %s %s | %s | %s", requests[i].name, request.method, request.url.data,
                     request.header.data, request.body.data);
        azure_token_request_free(&request);
        azure_token_request_free(&request); /* a freed one too */
    }
}

static void token_files_are_trimmed_and_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t padding; /* letters after it */
        int expected;
        const char *read;
    } files[] = {
        {"e.y.J", 0, 0, "e.y.J"},
        {"\r\n e.y.J\t\n\n", 0, 0, "e.y.J"},
        {"", 0, -ENODATA, NULL},
        {" \n", 0, -ENODATA, NULL},
        {"e", AZURE_ASSERTION_MAX - 1, 0, NULL},
        {"e", AZURE_ASSERTION_MAX, -EFBIG, NULL},
    };
    char path[] = "/tmp/telemetryd-token-XXXXXX";
    struct buffer text = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < COUNT(files); i++) {
        FILE *file = fopen(path, "w");
        fputs(files[i].text, file);
        for (size_t n = 0; n < files[i].padding; n++)
            fputc('x', file);
        fclose(file);
        int r = azure_assertion_read(path, &text);
        if (r != files[i].expected ||
            (r == 0 && files[i].read != NULL &&
             (text.len != strlen(files[i].read) || memcmp(text.data, files[i].read, text.len) != 0)))
            fail_msg("file %zu: %d", i, r);
        azure_secret_free(&text);
    }
    unlink(path);
    assert_int_equal(azure_assertion_read(path, &text), -EIO);
    assert_int_equal(azure_assertion_read("/tmp", &text), -EIO);
    /* Opening a pipe that nobody writes to must not wait. */
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(azure_assertion_read(path, &text), -EIO);
    unlink(path);
}

/* --- answers ----------------------------------------------------------------------------------- */

#define NOW_S    1795417200 /* 2026-11-23T07:00:00Z */
#define OK(life) UPSTREAM_OK, false, false, false, 0, life
#define BAD      UPSTREAM_UNAVAILABLE, true, false, false, 0, 0
#define TOKEN    "{\"token_type\":\"Bearer\",\"access_token\":\"ey.J-_~+/9==\","

static const struct {
    const char *name;
    enum azure_source source;
    enum http_outcome outcome;
    unsigned status;
    const char *body;
    enum upstream_status expected;
    bool retry, patient, unknown_resource;
    unsigned aadsts;
    int64_t lifetime_s;
} answers[] = {
    {"Entra", AZURE_CLIENT_SECRET, HTTP_ANSWERED, 200, TOKEN "\"expires_in\":3599,\"ext_expires_in\":3599}",
     OK(3599)},
    {"IMDS: strings", AZURE_IMDS, HTTP_ANSWERED, 200,
     TOKEN "\"refresh_token\":\"\",\"expires_in\":\"3599\",\"expires_on\":\"1506484173\"}", OK(3599)},
    {"App Service: a string", AZURE_APP_SERVICE, HTTP_ANSWERED, 200, TOKEN "\"expires_on\":\"1795420800\"}",
     OK(3600)},
    {"a number", AZURE_APP_SERVICE, HTTP_ANSWERED, 200, TOKEN "\"expires_on\":1795420800}", OK(3600)},
    {"a fraction", AZURE_APP_SERVICE, HTTP_ANSWERED, 200, TOKEN "\"expires_on\":1795420800.75}", OK(3600)},
    {"ISO 8601", AZURE_APP_SERVICE, HTTP_ANSWERED, 200, TOKEN "\"expires_on\":\"2026-11-23T08:00:00Z\"}",
     OK(3600)},
    {"ISO 8601 as .NET writes it", AZURE_APP_SERVICE, HTTP_ANSWERED, 200,
     TOKEN "\"expires_on\":\"2026-11-23T09:00:00.0000000+01:00\"}", OK(3600)},
    {"ISO 8601 without an offset", AZURE_APP_SERVICE, HTTP_ANSWERED, 200,
     TOKEN "\"expires_on\":\"2026-11-23T08:00:00\"}", OK(3600)},
    {"expires_in goes before", AZURE_IMDS, HTTP_ANSWERED, 200,
     TOKEN "\"expires_on\":1795420800,\"expires_in\":7}", OK(7)},
    {"but not when it is nonsense", AZURE_IMDS, HTTP_ANSWERED, 200,
     TOKEN "\"expires_on\":1795420800,\"expires_in\":\"soon\"}", OK(3600)},
    {"a life past belief", AZURE_IMDS, HTTP_ANSWERED, 200, TOKEN "\"expires_in\":99999999999}", OK(86400)},
    {"no token type", AZURE_APP_SERVICE, HTTP_ANSWERED, 200, "{\"access_token\":\"a\",\"expires_in\":1}",
     OK(1)},
    {"a type in capitals", AZURE_APP_SERVICE, HTTP_ANSWERED, 200,
     "{\"token_type\":\"BEARER\",\"access_token\":\"a\",\"expires_in\":1}", OK(1)},
    {"an escaped token", AZURE_IMDS, HTTP_ANSWERED, 200, "{\"access_token\":\"\\u0061\",\"expires_in\":1}",
     OK(1)},

    {"another type", AZURE_IMDS, HTTP_ANSWERED, 200,
     "{\"token_type\":\"pop\",\"access_token\":\"a\",\"expires_in\":1}", BAD},
    {"a type that is no string", AZURE_IMDS, HTTP_ANSWERED, 200,
     "{\"token_type\":1,\"access_token\":\"a\",\"expires_in\":1}", BAD},
    {"no lifetime", AZURE_IMDS, HTTP_ANSWERED, 200, "{\"access_token\":\"a\"}", BAD},
    {"a lifetime of 0", AZURE_IMDS, HTTP_ANSWERED, 200, TOKEN "\"expires_in\":0}", BAD},
    {"a negative lifetime", AZURE_IMDS, HTTP_ANSWERED, 200, TOKEN "\"expires_in\":-1}", BAD},
    {"a lifetime of 1e9", AZURE_IMDS, HTTP_ANSWERED, 200, TOKEN "\"expires_in\":1e9}", BAD},
    {"a lifetime that does not fit", AZURE_IMDS, HTTP_ANSWERED, 200,
     TOKEN "\"expires_in\":99999999999999999999999999}", BAD},
    {"an end that is over", AZURE_IMDS, HTTP_ANSWERED, 200, TOKEN "\"expires_on\":1795417200}", BAD},
    {"null for a lifetime", AZURE_IMDS, HTTP_ANSWERED, 200, TOKEN "\"expires_in\":null,\"expires_on\":[]}",
     BAD},
    {"an empty token", AZURE_IMDS, HTTP_ANSWERED, 200, "{\"access_token\":\"\",\"expires_in\":9}", BAD},
    {"a line break in it", AZURE_IMDS, HTTP_ANSWERED, 200,
     "{\"access_token\":\"a\\r\\nX: y\",\"expires_in\":9}", BAD},
    {"a blank in it", AZURE_IMDS, HTTP_ANSWERED, 200, "{\"access_token\":\"a b\",\"expires_in\":9}", BAD},
    {"NUL in it", AZURE_IMDS, HTTP_ANSWERED, 200, "{\"access_token\":\"a\\u0000b\",\"expires_in\":9}", BAD},
    {"a letter outside ASCII", AZURE_IMDS, HTTP_ANSWERED, 200,
     "{\"access_token\":\"\xc3\xa9\",\"expires_in\":9}", BAD},
    {"padding inside", AZURE_IMDS, HTTP_ANSWERED, 200, "{\"access_token\":\"a=b\",\"expires_in\":9}", BAD},
    {"padding alone", AZURE_IMDS, HTTP_ANSWERED, 200, "{\"access_token\":\"==\",\"expires_in\":9}", BAD},
    {"a token that is no string", AZURE_IMDS, HTTP_ANSWERED, 200, "{\"access_token\":1,\"expires_in\":9}",
     BAD},
    {"two tokens", AZURE_IMDS, HTTP_ANSWERED, 200, TOKEN "\"access_token\":\"b\",\"expires_in\":9}", BAD},
    {"an array", AZURE_IMDS, HTTP_ANSWERED, 200, "[" TOKEN "\"expires_in\":9}]", BAD},
    {"cut short", AZURE_IMDS, HTTP_ANSWERED, 200, TOKEN "\"expires_in\":9", BAD},
    {"something behind it", AZURE_IMDS, HTTP_ANSWERED, 200, TOKEN "\"expires_in\":9}x", BAD},
    {"HTML", AZURE_IMDS, HTTP_ANSWERED, 200, "<html>", BAD},
    {"nothing", AZURE_IMDS, HTTP_ANSWERED, 200, "", BAD},

    {"a wrong secret", AZURE_CLIENT_SECRET, HTTP_ANSWERED, 401,
     "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: Invalid client secret\"}",
     UPSTREAM_UNAUTHORIZED, false, false, false, 7000215, 0},
    {"400", AZURE_CLIENT_SECRET, HTTP_ANSWERED, 400, "", UPSTREAM_UNAUTHORIZED, false, false, false, 0, 0},
    {"403", AZURE_APP_SERVICE, HTTP_ANSWERED, 403, "no", UPSTREAM_UNAUTHORIZED, false, false, false, 0, 0},
    {"an unknown resource, Entra's form", AZURE_CLIENT_SECRET, HTTP_ANSWERED, 400,
     "{\"error\":\"x\",\"error_description\":\"AADSTS500011: The resource principal\"}",
     UPSTREAM_UNAUTHORIZED, false, false, true, 500011, 0},
    {"an unknown resource, IMDS's form", AZURE_IMDS, HTTP_ANSWERED, 400,
     "{\"error\":\"invalid_resource\",\"error_description\":\"\"}", UPSTREAM_UNAUTHORIZED, false, false, true,
     0, 0},
    {"an unknown resource, App Service's form", AZURE_APP_SERVICE, HTTP_ANSWERED, 500,
     "{\"statusCode\":500,\"message\":\"{\\\"error\\\":\\\"AADSTS500011\\\"}\"}", UPSTREAM_UNAVAILABLE, true,
     false, true, 500011, 0},
    {"a number without end", AZURE_IMDS, HTTP_ANSWERED, 400, "AADSTS12345678901234567890",
     UPSTREAM_UNAUTHORIZED, false, false, false, 123456789, 0},
    {"no number", AZURE_IMDS, HTTP_ANSWERED, 400, "AADSTS", UPSTREAM_UNAUTHORIZED, false, false, false, 0, 0},
    {"404 of IMDS", AZURE_IMDS, HTTP_ANSWERED, 404, "", UPSTREAM_UNAVAILABLE, true, false, false, 0, 0},
    {"404 of Entra", AZURE_CLIENT_SECRET, HTTP_ANSWERED, 404, "", UPSTREAM_UNAVAILABLE, false, false, false,
     0, 0},
    {"410 of IMDS", AZURE_IMDS, HTTP_ANSWERED, 410, "", UPSTREAM_UNAVAILABLE, true, true, false, 0, 0},
    {"408", AZURE_CLIENT_SECRET, HTTP_ANSWERED, 408, "", UPSTREAM_UNAVAILABLE, true, false, false, 0, 0},
    {"429", AZURE_CLIENT_SECRET, HTTP_ANSWERED, 429, "", UPSTREAM_THROTTLED, true, false, false, 0, 0},
    {"500", AZURE_CLIENT_SECRET, HTTP_ANSWERED, 500, "", UPSTREAM_UNAVAILABLE, true, false, false, 0, 0},
    {"599", AZURE_APP_SERVICE, HTTP_ANSWERED, 599, "", UPSTREAM_UNAVAILABLE, true, false, false, 0, 0},
    {"a redirect", AZURE_CLIENT_SECRET, HTTP_ANSWERED, 302, "", UPSTREAM_UNAVAILABLE, false, false, false, 0,
     0},
    {"201 is no token", AZURE_CLIENT_SECRET, HTTP_ANSWERED, 201, TOKEN "\"expires_in\":9}",
     UPSTREAM_UNAVAILABLE, false, false, false, 0, 0},
    {"no connection", AZURE_IMDS, HTTP_REFUSED, 0, "", BAD},
    {"a broken answer", AZURE_IMDS, HTTP_BROKEN, 0, "", BAD},
    {"too large", AZURE_IMDS, HTTP_TOO_LARGE, 0, "", BAD},
    {"silence", AZURE_IMDS, HTTP_TIMED_OUT, 0, "", UPSTREAM_TIMEOUT, true, false, false, 0, 0},
    {"no memory", AZURE_IMDS, HTTP_NO_MEMORY, 0, "", UPSTREAM_NO_MEMORY, true, false, false, 0, 0},
};

static void read_body(const char *body, size_t len, enum azure_source source, enum http_outcome outcome,
                      unsigned status, const char *retry_after, struct azure_token_answer *ret)
{
    struct http_answer http = {
        .outcome = outcome, .status = status, .body_len = len, .retry_after = retry_after};
    buffer_append(&http.body, body, len);
    buffer_terminate(&http.body);
    azure_token_answer_read(&http, source, NOW_S, ret);
    buffer_free(&http.body);
}

static void answers_are_read_strictly(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct azure_token_answer answer;
        read_body(answers[i].body, strlen(answers[i].body), answers[i].source, answers[i].outcome,
                  answers[i].status, NULL, &answer);
        bool good = answers[i].expected == UPSTREAM_OK;
        if (answer.status != answers[i].expected || answer.retry != answers[i].retry ||
            answer.patient != answers[i].patient || answer.unknown_resource != answers[i].unknown_resource ||
            answer.aadsts != answers[i].aadsts || answer.retry_after_ms != -1 ||
            (answer.token != NULL) != good || (good && answer.lifetime_s != answers[i].lifetime_s))
            fail_msg("%s: status %d retry %d aadsts %u life %lld token %s", answers[i].name,
                     (int)answer.status, answer.retry, answer.aadsts, (long long)answer.lifetime_s,
                     answer.token != NULL ? answer.token : "-");
        if (good && strstr(answers[i].body, "ey.J") != NULL)
            assert_string_equal(answer.token, "ey.J-_~+/9==");
        azure_token_answer_free(&answer);
        azure_token_answer_free(&answer);
    }
}

static void tokens_are_bounded(void **state)
{
    (void)state;
    for (unsigned more = 0; more < 2; more++) {
        struct buffer body = {0};
        struct azure_token_answer answer;
        buffer_append_text(&body, "{\"expires_in\":9,\"access_token\":\"");
        for (size_t i = 0; i < AZURE_TOKEN_MAX + more; i++)
            buffer_append_char(&body, 'x');
        buffer_append_text(&body, "\"}");
        read_body(body.data, body.len, AZURE_IMDS, HTTP_ANSWERED, 200, NULL, &answer);
        assert_int_equal(answer.status, more == 0 ? UPSTREAM_OK : UPSTREAM_UNAVAILABLE);
        azure_token_answer_free(&answer);
        buffer_free(&body);
    }
}

static void waits_are_taken_from_errors(void **state)
{
    (void)state;
    struct azure_token_answer answer;
    read_body("", 0, AZURE_CLIENT_SECRET, HTTP_ANSWERED, 429, "7", &answer);
    assert_int_equal(answer.retry_after_ms, 7000);
    read_body("", 0, AZURE_CLIENT_SECRET, HTTP_ANSWERED, 503, "Mon, 23 Nov 2026 07:00:03 GMT", &answer);
    assert_int_equal(answer.retry_after_ms, 3000);
    read_body("", 0, AZURE_CLIENT_SECRET, HTTP_ANSWERED, 429, "soon", &answer);
    assert_int_equal(answer.retry_after_ms, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sources_are_chosen_as_the_default_credential_does),
        cmocka_unit_test(requests_are_built_for_each_source),
        cmocka_unit_test(token_files_are_trimmed_and_bounded),
        cmocka_unit_test(answers_are_read_strictly),
        cmocka_unit_test(tokens_are_bounded),
        cmocka_unit_test(waits_are_taken_from_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
