/*
 * Whole requests through the server as it runs, with TELEMETRYD_AUTH=jwt, while the n-th allocation fails,
 * for every n: each is answered, or its connection closed, in time; a bad token never gets what a good one
 * gets; afterwards all is as before, and at the end nothing has leaked.
 */
#include "allocation_sweep.h"
#include "config.h"
#include "server.h"
#include "token_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_S = 20, ALLOCATIONS_MAX = 100000 };

static struct {
    struct config config;
    pthread_t thread;
    struct sockaddr_in address;
    int holder; /* keeps the port ours until the server listens there, and never listens itself */
    int status;
    char directory[64], key_set[96];
    EVP_PKEY *key, *other;
    unsigned minted;
} fixture;

/* --- the client -------------------------------------------------------------------------------- */

static int dial(void)
{
    const struct timeval patience = {.tv_sec = ANSWER_S};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&fixture.address, sizeof fixture.address) == 0)
        return fd;
    close(fd);
    return -1;
}

/* The status of the answer; 0 where the connection was closed without one. */
static int ask(const char *text, size_t len)
{
    char answer[8192];
    size_t got = 0;
    int fd = dial(), status = 0;

    assert_true(fd >= 0);
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(fd, text + sent, len - sent, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    for (;;) {
        ssize_t n = recv(fd, answer + got, sizeof answer - 1 - got, 0);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            fail_msg("neither an answer nor an end within %d s", ANSWER_S);
        if (n <= 0 || (got += (size_t)n) == sizeof answer - 1)
            break;
    }
    close(fd);
    answer[got] = '\0';
    return sscanf(answer, "HTTP/1.1 %d ", &status) == 1 ? status : 0;
}

/* --- requests ---------------------------------------------------------------------------------- */

enum token { NONE, GOOD, AT_JWT, FORGED, FORGED_AT_JWT, EXPIRED, NO_PERMISSION, OTHER_DEVICES, GARBLED };

/* A new one each time: a token that is known is not verified again. */
static char *mint(enum token kind)
{
    char claims[512], *token;
    snprintf(claims, sizeof claims,
             "{\"iss\":\"" ISSUER "\",\"aud\":\"" AUDIENCE
             "\",\"exp\":%lld,\"sub\":\"s\",\"jti\":\"%u\",\"scp\":\"%s\","
             "\"devices\":[\"%s\"]}",
             (long long)time(NULL) + (kind == EXPIRED ? -3600 : 3600), fixture.minted++,
             kind == NO_PERMISSION ? "x" : "Telemetry.Read Telemetry.Write Device.Read",
             kind == OTHER_DEVICES ? "e*" : "d*");
    token = token_of(kind == GOOD || kind == FORGED ? "{\"alg\":\"ES256\",\"kid\":\"k\"}"
                                                    : "{\"alg\":\"ES256\",\"kid\":\"k\",\"typ\":\"at+jwt\"}",
                     claims, kind == FORGED || kind == FORGED_AT_JWT ? fixture.other : fixture.key);
    if (kind == GARBLED)
        token[strlen(token) / 2] = '!';
    return token;
}

#define BODY "[{\"t\":1},{\"t\":2,\"timestamp\":\"2026-11-23T07:00:00Z\"}]"

static const struct {
    const char *name, *line, *fields, *body;
    enum token token;
    int expected;  /* when nothing fails */
    int tolerated; /* besides: no answer, 5xx, and 413 or 431 for want of room. OpenSSL does not always tell
                    * lack of memory from a bad signature, hence 401. */
    unsigned step; /* 0: 1 */
} cases[] = {
    /* The first makes the device. */
    {"readings to store", "POST /devices/d1/telemetry", "Content-Type: application/json\r\n", BODY, AT_JWT,
     201, 401, 0},
    /* libjwt needs thousands of allocations for a signature; OpenSSL alone, for at+jwt, about 150. */
    {"a page, good token by libjwt", "GET /devices/d1/telemetry?hours=1&limit=5", "", "", GOOD, 200, 401, 7},
    {"a page, good token", "GET /devices/d1/telemetry?hours=1&limit=5", "Origin: https://app.example\r\n", "",
     AT_JWT, 200, 401, 0},
    {"a page, forged token by libjwt", "GET /devices/d1/telemetry", "", "", FORGED, 401, 0, 3},
    {"a page, forged token", "GET /devices/d1/telemetry", "", "", FORGED_AT_JWT, 401, 0, 0},
    {"a page, expired token", "GET /devices/d1/telemetry", "", "", EXPIRED, 401, 0, 0},
    {"a page, garbled token", "GET /devices/d1/telemetry", "", "", GARBLED, 401, 0, 0},
    {"a page, no token", "GET /devices/d1/telemetry", "", "", NONE, 401, 0, 0},
    {"a page, no permission", "GET /devices/d1/telemetry", "", "", NO_PERMISSION, 403, 401, 0},
    {"another's device", "GET /devices/d1/status", "", "", OTHER_DEVICES, 404, 401, 0},
    {"the devices", "GET /devices?limit=10", "X-Forwarded-For: 203.0.113.9\r\n", "", AT_JWT, 200, 401, 0},
    {"readings to store, forged token", "POST /devices/d1/telemetry", "Content-Type: application/json\r\n",
     BODY, FORGED_AT_JWT, 401, 0, 0},
    {"a reading that is none", "POST /devices/d1/telemetry", "Content-Type: application/json\r\n", "[1]",
     AT_JWT, 400, 401, 0},
    {"a bad parameter", "GET /devices/d1/telemetry?limit=x", "", "", AT_JWT, 400, 401, 0},
    {"a bad head", "GET /livez", "Host: twice\r\n", "", NONE, 400, 0, 0},
    {"a preflight", "OPTIONS /devices",
     "Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n", "", NONE, 204, 0, 0},
    {"a probe", "GET /readyz", "", "", NONE, 200, 0, 0},
};

static size_t write_request(char *out, size_t size, size_t i)
{
    char *token = cases[i].token != NONE ? mint(cases[i].token) : NULL;
    int len = snprintf(
        out, size, "%s HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %zu\r\n%s%s%s%s\r\n%s",
        cases[i].line, strlen(cases[i].body), cases[i].fields, token != NULL ? "Authorization: Bearer " : "",
        token != NULL ? token : "", token != NULL ? "\r\n" : "", cases[i].body);
    free(token);
    assert_in_range(len, 1, size - 1);
    return (size_t)len;
}

/* --- the sweep --------------------------------------------------------------------------------- */

static bool acceptable(size_t i, int status)
{
    return status == 0 || status >= 500 || status == cases[i].expected ||
           (cases[i].tolerated != 0 && status == cases[i].tolerated) || status == 413 || status == 431;
}

static void sweep(size_t i, bool onwards)
{
    char request[4096];
    unsigned step = cases[i].step != 0 ? cases[i].step : 1;
    long n = 1;

    for (;; n += onwards ? 5 * step : step) {
        size_t len = write_request(request, sizeof request, i);
        sweep_arm(n, onwards);
        int status = ask(request, len);
        bool failed = sweep_disarm();
        if (!acceptable(i, status) || (!failed && status != cases[i].expected)) {
            sweep_show();
            fail_msg("%s: %d when allocation %ld fails%s", cases[i].name, status, n,
                     onwards ? " with all that follow" : "");
        }
        if (!failed)
            break;
        assert_true(n < ALLOCATIONS_MAX);
    }
    print_message("# %s: %ld allocations\n", cases[i].name, n - 1);
}

static void requests_when_an_allocation_fails(void **state)
{
    char request[4096];
    for (size_t i = 0; i < COUNT(cases); i++) {
        /* Once without a failure: what the libraries set up for good is not swept. */
        int status = ask(request, write_request(request, sizeof request, i));
        if (status != cases[i].expected)
            fail_msg("%s: %d", cases[i].name, status);
        sweep(i, false);
        sweep(i, true);
        status = ask(request, write_request(request, sizeof request, i));
        if (status != cases[i].expected)
            fail_msg("%s: %d after the sweep", cases[i].name, status);
    }
}

/* --- the server -------------------------------------------------------------------------------- */

static void *serve(void *ctx)
{
    fixture.status = server_run(&fixture.config);
    return NULL;
}

static void write_key_set(void)
{
    struct buffer text = {0};
    buffer_append_text(&text, "{\"keys\":[");
    append_jwk(&text, fixture.key, "k", "");
    buffer_append_text(&text, "]}");
    FILE *file = fopen(fixture.key_set, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text.data, 1, text.len, file), text.len);
    fclose(file);
    buffer_free(&text);
}

static void take_port(void)
{
    const int on = 1;
    socklen_t len = sizeof fixture.address;
    fixture.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    fixture.holder = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fixture.holder, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fixture.holder, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    assert_int_equal(bind(fixture.holder, (struct sockaddr *)&fixture.address, sizeof fixture.address), 0);
    assert_int_equal(getsockname(fixture.holder, (struct sockaddr *)&fixture.address, &len), 0);
}

static void configure(void)
{
    char listen[48], jwks[128];
    const char *const environment[] = {listen,
                                       jwks,
                                       "TELEMETRYD_DATA=:memory:",
                                       "TELEMETRYD_WORKERS=1",
                                       "TELEMETRYD_AUTH=jwt",
                                       "TELEMETRYD_LOG_LEVEL=error",
                                       "TELEMETRYD_JWT_ISSUER=" ISSUER,
                                       "TELEMETRYD_JWT_AUDIENCE=" AUDIENCE,
                                       "TELEMETRYD_JWT_DEVICES_CLAIM=devices",
                                       "TELEMETRYD_RATE_LIMIT=1000000/s",
                                       "TELEMETRYD_TRUSTED_PROXIES=127.0.0.1",
                                       "TELEMETRYD_CORS_ORIGINS=https://app.example",
                                       "TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS=1000",
                                       NULL};
    const char *const arguments[] = {"telemetryd", NULL};
    enum config_action action;
    snprintf(listen, sizeof listen, "TELEMETRYD_LISTEN=127.0.0.1:%u", ntohs(fixture.address.sin_port));
    snprintf(jwks, sizeof jwks, "TELEMETRYD_JWT_JWKS=%s", fixture.key_set);
    assert_int_equal(config_load(1, (char *const *)arguments, (char *const *)environment, &fixture.config,
                                 &action, stdout, stderr),
                     0);
    assert_int_equal(action, CONFIG_SERVE);
}

static int start(void **state)
{
    sweep_exempt = true;
    snprintf(fixture.directory, sizeof fixture.directory, "/tmp/telemetryd-test-XXXXXX");
    assert_non_null(mkdtemp(fixture.directory));
    snprintf(fixture.key_set, sizeof fixture.key_set, "%s/keys.json", fixture.directory);
    fixture.key = new_p256();
    fixture.other = new_p256();
    write_key_set();
    take_port();
    configure();
    assert_int_equal(pthread_create(&fixture.thread, NULL, serve, NULL), 0);
    for (int i = 0, fd = -1; fd < 0; i++) {
        assert_true(i < 1000 * ANSWER_S);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        fd = dial();
        if (fd >= 0)
            close(fd);
    }
    return 0;
}

static int stop(void **state)
{
    kill(getpid(), SIGTERM);
    pthread_join(fixture.thread, NULL);
    assert_int_equal(fixture.status, 0);
    config_clear(&fixture.config);
    EVP_PKEY_free(fixture.key);
    EVP_PKEY_free(fixture.other);
    close(fixture.holder);
    unlink(fixture.key_set);
    rmdir(fixture.directory);
    return 0;
}

int main(void)
{
    if (!sweep_take_libraries())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_when_an_allocation_fails),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
