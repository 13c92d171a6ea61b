/*
 * The HTTP client over TLS: what differs from plain connections. The certificate is made at the start and
 * names 127.0.0.1 only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "http_client.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BIG 300000

/* --- the server: one connection after the other ------------------------------------------------ */

struct server {
    int listener;
    unsigned port;
    pthread_t thread;
    gnutls_certificate_credentials_t credentials;
    char ca_file[64];
    atomic_uint handshakes, requests;
    atomic_bool stop;
};

static void say(gnutls_session_t session, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = gnutls_record_send(session, bytes, len);
        if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)
            continue;
        if (n <= 0)
            return;
        bytes += n;
        len -= (size_t)n;
    }
}

/* Returns false when the connection is to be closed. */
static bool answer(gnutls_session_t session, const char *request)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    static const char cut[] = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
    if (strncmp(request, "GET /big ", 9) == 0) {
        char *text = malloc(BIG + 100);
        int head = snprintf(text, 100, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BIG);
        memset(text + head, 'x', BIG);
        say(session, text, (size_t)head + BIG);
        free(text);
    } else if (strncmp(request, "GET /cut ", 9) == 0) {
        say(session, cut, sizeof cut - 1);
        return false;
    } else {
        say(session, ok, sizeof ok - 1);
        if (strncmp(request, "GET /unasked ", 13) == 0)
            say(session, ok, sizeof ok - 1);
    }
    return true;
}

static void serve_one(struct server *server, int fd)
{
    gnutls_session_t session;
    char request[65536];
    size_t len = 0;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    gnutls_init(&session, GNUTLS_SERVER);
    gnutls_set_default_priority(session);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, server->credentials);
    gnutls_transport_set_int(session, fd);
    int r;
    do
        r = gnutls_handshake(session);
    while (r < 0 && gnutls_error_is_fatal(r) == 0);
    if (r == 0)
        atomic_fetch_add(&server->handshakes, 1);
    while (r == 0) {
        ssize_t n = gnutls_record_recv(session, request + len, sizeof request - 1 - len);
        if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
        request[len] = '\0';
        const char *body = strstr(request, "\r\n\r\n"), *length = strstr(request, "Content-Length: ");
        if (body == NULL || (length != NULL && strlen(body + 4) < strtoul(length + 16, NULL, 10)))
            continue;
        len = 0;
        atomic_fetch_add(&server->requests, 1);
        if (!answer(session, request))
            break;
    }
    gnutls_deinit(session);
    close(fd);
}

static void *serve(void *ctx)
{
    struct server *server = ctx;
    for (;;) {
        int fd = accept(server->listener, NULL, NULL);
        if (fd < 0 || atomic_load(&server->stop)) {
            close(fd);
            return NULL;
        }
        serve_one(server, fd);
    }
}

static void write_file(int fd, const gnutls_datum_t *data)
{
    assert_int_equal(write(fd, data->data, data->size), data->size);
    close(fd);
}

static void make_certificate(struct server *server)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    gnutls_datum_t pem;
    const unsigned char address[4] = {127, 0, 0, 1};

    gnutls_x509_privkey_init(&key);
    assert_int_equal(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                                  GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                     0);
    gnutls_x509_crt_init(&crt);
    gnutls_x509_crt_set_version(crt, 3);
    gnutls_x509_crt_set_serial(crt, "\x01", 1);
    gnutls_x509_crt_set_activation_time(crt, clock_wall_s() - 3600);
    gnutls_x509_crt_set_expiration_time(crt, clock_wall_s() + 3600);
    gnutls_x509_crt_set_dn(crt, "CN=test", NULL);
    gnutls_x509_crt_set_key(crt, key);
    gnutls_x509_crt_set_ca_status(crt, 1);
    gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, address, sizeof address, GNUTLS_FSAN_SET);
    assert_int_equal(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);

    gnutls_certificate_allocate_credentials(&server->credentials);
    assert_int_equal(gnutls_certificate_set_x509_key(server->credentials, &crt, 1, key), 0);
    gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem);
    snprintf(server->ca_file, sizeof server->ca_file, "/tmp/telemetryd-test-XXXXXX");
    write_file(mkstemp(server->ca_file), &pem);
    gnutls_free(pem.data);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
}

static void server_start(struct server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    make_certificate(server);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(server->listener, 16), 0);
    getsockname(server->listener, (struct sockaddr *)&address, &len);
    server->port = ntohs(address.sin_port);
    pthread_create(&server->thread, NULL, serve, server);
}

static void server_stop(struct server *server)
{
    atomic_store(&server->stop, true);
    shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listener);
    gnutls_certificate_free_credentials(server->credentials);
    unlink(server->ca_file);
}

/* --- the client's side ------------------------------------------------------------------------- */

struct fixture {
    struct server server;
    uv_loop_t loop;
    struct http_client *client;
    unsigned calls;
    enum http_outcome outcome;
    size_t body_len;
    bool resent;
};

static void setup(struct fixture *f, bool trusted)
{
    *f = (struct fixture){0};
    server_start(&f->server);
    const struct http_client_options options = {
        .ca_file = trusted ? f->server.ca_file : NULL, .max_in_flight = 4, .max_waiting = 4};
    uv_loop_init(&f->loop);
    assert_int_equal(http_client_new(&f->loop, &options, &f->client), 0);
}

static void teardown(struct fixture *f)
{
    http_client_close(f->client);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    server_stop(&f->server);
}

static void on_answer(void *ctx, struct http_answer *got)
{
    struct fixture *f = ctx;
    f->calls++;
    f->outcome = got->outcome;
    f->body_len = got->body_len;
    f->resent = got->resent;
}

static enum http_outcome ask(struct fixture *f, const char *host, const char *path, const char *body)
{
    char url[128];
    snprintf(url, sizeof url, "https://%s:%u%s", host, f->server.port, path);
    const struct http_call_options options = {.method = body != NULL ? "POST" : "GET",
                                              .url = url,
                                              .headers = {"Content-Type: text/plain"},
                                              .body = body,
                                              .body_len = body != NULL ? strlen(body) : 0,
                                              .max_body = BIG,
                                              .deadline_ms = clock_monotonic_ms() + 20000};
    unsigned before = f->calls;
    assert_non_null(http_call_start(f->client, &options, on_answer, f));
    for (;;) {
        while (http_client_turn(f->client))
            continue;
        if (f->calls > before)
            return f->outcome;
        /* Never waits in the poll: a timer that fires just before it is only acted upon in the next turn. */
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(200);
    }
}

static void turn_for(struct fixture *f, unsigned ms)
{
    uint64_t end = clock_monotonic_ms() + ms;
    while (clock_monotonic_ms() < end) {
        while (http_client_turn(f->client))
            continue;
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(200);
    }
}

/* --- tests ------------------------------------------------------------------------------------- */

static void one_handshake_serves_many_requests(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, true);
    char *large = malloc(60001); /* is not copied behind the head */
    memset(large, 'b', 60000);
    large[60000] = '\0';
    static const char *const paths[] = {"/", "/big", "/", "/big"};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(ask(&f, "127.0.0.1", paths[i], NULL), HTTP_ANSWERED);
        assert_int_equal(f.body_len, i % 2 == 0 ? 2 : BIG);
        turn_for(&f, 3); /* session tickets may come meanwhile */
    }
    assert_int_equal(ask(&f, "127.0.0.1", "/", "small"), HTTP_ANSWERED);
    assert_int_equal(ask(&f, "127.0.0.1", "/", large), HTTP_ANSWERED);
    assert_int_equal(atomic_load(&f.server.requests), 6);
    assert_int_equal(atomic_load(&f.server.handshakes), 1);
    free(large);
    teardown(&f);
}

static void strangers_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, false); /* an issuer that nobody knows */
    assert_int_equal(ask(&f, "127.0.0.1", "/", NULL), HTTP_REFUSED);
    assert_int_equal(atomic_load(&f.server.requests), 0);
    teardown(&f);

    setup(&f, true);
    assert_int_equal(ask(&f, "localhost", "/", NULL), HTTP_REFUSED); /* not the name in the certificate */
    assert_int_equal(atomic_load(&f.server.requests), 0);
    teardown(&f);
}

static void an_answer_cut_short_is_broken(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, true);
    assert_int_equal(ask(&f, "127.0.0.1", "/cut", NULL), HTTP_BROKEN);
    assert_int_equal(ask(&f, "127.0.0.1", "/", NULL), HTTP_ANSWERED);
    teardown(&f);
}

static void unasked_records_are_nobodys_answer(void **state)
{
    (void)state;
    struct fixture f;
    for (unsigned wait = 0; wait <= 10; wait += 10) { /* found before the next use, or while idle */
        setup(&f, true);
        assert_int_equal(ask(&f, "127.0.0.1", "/unasked", NULL), HTTP_ANSWERED);
        usleep(5000);
        if (wait > 0)
            turn_for(&f, wait);
        assert_int_equal(ask(&f, "127.0.0.1", "/big", NULL), HTTP_ANSWERED);
        assert_int_equal(f.body_len, BIG);
        assert_false(f.resent);
        assert_int_equal(atomic_load(&f.server.handshakes), 2);
        teardown(&f);
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    alarm(100);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_handshake_serves_many_requests),
        cmocka_unit_test(strangers_are_refused),
        cmocka_unit_test(an_answer_cut_short_is_broken),
        cmocka_unit_test(unasked_records_are_nobodys_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
