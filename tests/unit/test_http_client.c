/*
 * The HTTP client against a server that says exactly the bytes of a table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "http_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define OK_2   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define KB(n)  ((n)*1024)
#define LONG_S 20000 /* ms; no test waits that long unless it fails */

/* --- the server -------------------------------------------------------------------------------- */

enum manner {
    KEEP,        /* the connection stays open */
    CLOSE,       /* it is closed after the answer */
    RESET,       /* it is reset after the answer */
    DRIP,        /* one byte at a time; stays open */
    KEEP_TRAILER /* stays open, and half a millisecond later `fill` bytes come that nobody asked for */
};

/* What is said to a request for /<index>. `fill` bytes x stand where the text has a 0x01. */
struct reply {
    const char *name;
    const char *text; /* NULL: nothing is ever said */
    size_t fill;
    enum manner manner;
    enum http_outcome outcome;
    unsigned status;
    const char *body; /* expected; NULL: fill bytes */
};

#define ANSWER(headers, body) "HTTP/1.1 200 OK\r\n" headers "\r\n" body

static const struct reply replies[] = {
    {"content-length", OK_2, 0, KEEP, HTTP_ANSWERED, 200, "ok"},
    {"content-length, then closed", OK_2, 0, CLOSE, HTTP_ANSWERED, 200, "ok"},
    {"one byte at a time", OK_2, 0, DRIP, HTTP_ANSWERED, 200, "ok"},
    {"chunked", ANSWER("Transfer-Encoding: chunked\r\n", "1\r\no\r\n1\r\nk\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_ANSWERED, 200, "ok"},
    {"chunked, drip, with a trailer",
     ANSWER("Transfer-Encoding: Chunked\r\n", "2;a=b\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n"), 0, DRIP,
     HTTP_ANSWERED, 200, "ok"},
    {"no content has no framing", "HTTP/1.1 204 No Content\r\n\r\n", 0, KEEP, HTTP_ANSWERED, 204, ""},
    {"not modified has no body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 0, KEEP,
     HTTP_ANSWERED, 304, ""},
    {"empty body", ANSWER("Content-Length: 0\r\n", ""), 0, KEEP, HTTP_ANSWERED, 200, ""},
    {"an error has a body too", "HTTP/1.1 429 Slow\r\nContent-Length: 4\r\n\r\nwait", 0, KEEP, HTTP_ANSWERED,
     429, "wait"},
    {"no reason phrase", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 0, KEEP, HTTP_ANSWERED, 200, "ok"},
    {"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 0, KEEP, HTTP_ANSWERED, 200, "ok"},
    {"http/1.0 with a length", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, CLOSE, HTTP_ANSWERED, 200,
     "ok"},
    {"100 first", "HTTP/1.1 100 Continue\r\n\r\n" OK_2, 0, KEEP, HTTP_ANSWERED, 200, "ok"},
    {"103 with headers, then 102, drip",
     "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nETag: early\r\n\r\nHTTP/1.1 102 "
     "Processing\r\n\r\n" OK_2,
     0, DRIP, HTTP_ANSWERED, 200, "ok"},
    {"close that is only said", ANSWER("Connection: keep-alive, Close\r\nContent-Length: 2\r\n", "ok"), 0,
     KEEP, HTTP_ANSWERED, 200, "ok"},
    {"http/1.0 that stays open", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, KEEP, HTTP_ANSWERED,
     200, "ok"},
    {"bytes behind the body", OK_2 OK_2, 0, KEEP, HTTP_ANSWERED, 200, "ok"},
    {"a body where none may be", "HTTP/1.1 204 No Content\r\n\r\nevil", 0, KEEP, HTTP_ANSWERED, 204, ""},
    {"bytes behind the last chunk", ANSWER("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\nevil"), 0,
     KEEP, HTTP_ANSWERED, 200, "ok"},
    {"largest body", ANSWER("Content-Length: 204800\r\n", "\001"), KB(200), KEEP, HTTP_ANSWERED, 200, NULL},
    {"largest body in one chunk", ANSWER("Transfer-Encoding: chunked\r\n", "32000\r\n\001\r\n0\r\n\r\n"),
     KB(200), KEEP, HTTP_ANSWERED, 200, NULL},
    {"many headers", ANSWER("X-Fill: \001\r\nContent-Length: 2\r\n", "ok"), KB(60), KEEP, HTTP_ANSWERED, 200,
     "ok"},
    {"kept header at its bound", ANSWER("x-ms-continuation: \001\r\nContent-Length: 2\r\n", "ok"), KB(12),
     KEEP, HTTP_ANSWERED, 200, "ok"},

    {"body too long by its length", ANSWER("Content-Length: 204801\r\n", ""), 0, KEEP, HTTP_TOO_LARGE, 0,
     NULL},
    {"body too long by chunks", ANSWER("Transfer-Encoding: chunked\r\n", "32001\r\n\001\r\n0\r\n\r\n"),
     KB(200) + 1, KEEP, HTTP_TOO_LARGE, 0, NULL},
    {"length beyond any number", ANSWER("Content-Length: 99999999999999999999\r\n", ""), 0, CLOSE,
     HTTP_BROKEN, 0, NULL},

    {"closed at once", "", 0, CLOSE, HTTP_REFUSED, 0, NULL},
    {"reset at once", "", 0, RESET, HTTP_REFUSED, 0, NULL},
    {"closed within the first line", "HTTP/1.1 2", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"closed after the status line", "HTTP/1.1 200 OK\r\n", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"closed within the headers", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"closed within a header", "HTTP/1.1 200 OK\r\nContent-Le", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"closed after an interim answer", "HTTP/1.1 100 Continue\r\n\r\n", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"closed within the body", ANSWER("Content-Length: 3\r\n", "ok"), 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"reset within the body", ANSWER("Content-Length: 3\r\n", "ok"), 0, RESET, HTTP_BROKEN, 0, NULL},
    {"closed within a chunk", ANSWER("Transfer-Encoding: chunked\r\n", "3\r\nok"), 0, CLOSE, HTTP_BROKEN, 0,
     NULL},
    {"closed before the last chunk", ANSWER("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n"), 0, CLOSE,
     HTTP_BROKEN, 0, NULL},
    {"two lengths", ANSWER("Content-Length: 2\r\nContent-Length: 2\r\n", "ok"), 0, KEEP, HTTP_BROKEN, 0,
     NULL},
    {"two lengths that differ", ANSWER("Content-Length: 3\r\ncontent-length: 2\r\n", "ok"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"two lengths in one line", ANSWER("Content-Length: 2, 2\r\n", "ok"), 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"signed length", ANSWER("Content-Length: +2\r\n", "ok"), 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"no length value", ANSWER("Content-Length:\r\n", "ok"), 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"length and chunks",
     ANSWER("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"two codings", ANSWER("Transfer-Encoding: gzip, chunked\r\n", "2\r\nok\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"chunks in http/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 0,
     CLOSE, HTTP_BROKEN, 0, NULL},
    {"no framing", ANSWER("", "ok"), 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"chunk size is no number", ANSWER("Transfer-Encoding: chunked\r\n", "zz\r\nok\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"chunk longer than it says", ANSWER("Transfer-Encoding: chunked\r\n", "1\r\nok\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"chunk size ends in a bare line feed", ANSWER("Transfer-Encoding: chunked\r\n", "2\nok\r\n0\r\n\r\n"), 0,
     KEEP, HTTP_BROKEN, 0, NULL},
    {"chunk size with a sign", ANSWER("Transfer-Encoding: chunked\r\n", "+2\r\nok\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"chunk size with a prefix", ANSWER("Transfer-Encoding: chunked\r\n", "0x2\r\nok\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"chunk size beyond any number",
     ANSWER("Transfer-Encoding: chunked\r\n", "ffffffffffffffff2\r\nok\r\n0\r\n\r\n"), 0, KEEP, HTTP_BROKEN,
     0, NULL},
    {"endless chunk extension", ANSWER("Transfer-Encoding: chunked\r\n", "2;\001\r\nok\r\n0\r\n\r\n"), 300,
     KEEP, HTTP_BROKEN, 0, NULL},
    {"endless line", "HTTP/1.1 200 OK\r\nX: \001", KB(80), KEEP, HTTP_BROKEN, 0, NULL},
    {"another protocol", "HTTP/1.1 101 Switching Protocols\r\n\r\n", 0, KEEP, HTTP_BROKEN, 0, NULL},
    {"folded header", ANSWER("X-A: b\r\n c\r\nContent-Length: 2\r\n", "ok"), 0, KEEP, HTTP_BROKEN, 0, NULL},
    {"blank before the colon", ANSWER("Content-Length : 2\r\nContent-Length: 2\r\n", "ok"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"header without a colon", ANSWER("nonsense\r\nContent-Length: 2\r\n", "ok"), 0, KEEP, HTTP_BROKEN, 0,
     NULL},
    {"control character in a kept header", ANSWER("ETag: a\rb\r\nContent-Length: 2\r\n", "ok"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"too many headers", ANSWER("X-Fill: \001\r\nContent-Length: 2\r\n", "ok"), KB(64), KEEP, HTTP_BROKEN, 0,
     NULL},
    {"kept header beyond its bound", ANSWER("x-ms-continuation: \001\r\nContent-Length: 2\r\n", "ok"),
     KB(12) + 1, KEEP, HTTP_BROKEN, 0, NULL},
    {"not http", "hello\r\n\r\n", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"http/2 in text", "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"status below 100", "HTTP/1.1 099 No\r\nContent-Length: 2\r\n\r\nok", 0, CLOSE, HTTP_BROKEN, 0, NULL},

    /* From here on answers for single tests, found by name. */
    {"silent", NULL, 0, KEEP, HTTP_TIMED_OUT, 0, NULL},
    {"half a body", ANSWER("Content-Length: 3\r\n", "ok"), 0, KEEP, HTTP_TIMED_OUT, 0, NULL},
    {"unasked", OK_2, 30, KEEP_TRAILER, HTTP_ANSWERED, 200, "ok"},
    {"headers",
     ANSWER("x-ms-continuation: c 1 \r\nX-MS-Request-Charge:\t2.5\r\nx-ms-substatus: "
            "1002\r\nx-ms-retry-after-ms: 7\r\n"
            "Retry-After: 3\r\nETag: \"a\"\r\nContent-Type: application/json\r\nETag: "
            "\"b\"\r\nContent-Length: 2\r\n",
            "ok"),
     0, KEEP, HTTP_ANSWERED, 200, "ok"},
};
enum { REPLIES = sizeof replies / sizeof replies[0], REPLIES_IN_TABLE = REPLIES - 4, CONNECTIONS_MAX = 256 };

struct connection {
    int fd;
    char *in;
    size_t in_len;
    char *out;
    size_t out_len, sent;
    const struct reply *reply;
};

struct server {
    int listener, stop[2];
    unsigned port;
    pthread_t thread;
    struct connection connections[CONNECTIONS_MAX];
    unsigned open;
    atomic_uint accepted, requests, most_open;
    atomic_bool dying; /* closes a connection when a request comes, without a word */
    pthread_mutex_t lock;
    char *last_request; /* guarded by lock */
    size_t last_len;
    unsigned order[128]; /* of the first requests for /<n>: their n */
};

static unsigned reply_index(const char *name)
{
    for (unsigned i = 0; i < REPLIES; i++)
        if (strcmp(replies[i].name, name) == 0)
            return i;
    abort();
}

static void drop(struct server *server, struct connection *connection, bool reset)
{
    if (reset)
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                   sizeof(struct linger));
    close(connection->fd);
    free(connection->in);
    free(connection->out);
    *connection = (struct connection){.fd = -1};
    server->open--;
}

static void build_reply(struct connection *connection)
{
    const struct reply *reply = connection->reply;
    const char *mark = strchr(reply->text, 1);
    size_t before = mark != NULL ? (size_t)(mark - reply->text) : strlen(reply->text);
    size_t after = mark != NULL ? strlen(mark + 1) : 0, fill = mark != NULL ? reply->fill : 0;
    connection->out_len = before + fill + after;
    connection->out = malloc(connection->out_len + 1);
    memcpy(connection->out, reply->text, before);
    memset(connection->out + before, 'x', fill);
    if (after > 0)
        memcpy(connection->out + before + fill, mark + 1, after);
    connection->sent = 0;
}

/* Length of a whole request at the start of the text, or 0. */
static size_t request_length(const char *text, size_t len)
{
    const char *end = memmem(text, len, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end + 4 - text), body = 0;
    const char *field = memmem(text, head, "Content-Length: ", 16);
    if (field != NULL)
        body = strtoul(field + 16, NULL, 10);
    return len >= head + body ? head + body : 0;
}

/* Returns false when the connection is gone. */
static bool take_request(struct server *server, struct connection *connection)
{
    size_t len = request_length(connection->in, connection->in_len);
    if (len == 0 || connection->out != NULL)
        return true;
    const char *path = memchr(connection->in, '/', len);
    unsigned n = path != NULL ? (unsigned)strtoul(path + 1, NULL, 10) : 0;

    pthread_mutex_lock(&server->lock);
    unsigned seen = atomic_fetch_add(&server->requests, 1);
    if (seen < 128)
        server->order[seen] = n;
    free(server->last_request);
    server->last_request = malloc(len + 1);
    memcpy(server->last_request, connection->in, len);
    server->last_request[len] = '\0';
    server->last_len = len;
    pthread_mutex_unlock(&server->lock);

    memmove(connection->in, connection->in + len, connection->in_len - len);
    connection->in_len -= len;
    if (atomic_load(&server->dying)) {
        drop(server, connection, false);
        return false;
    }
    connection->reply = &replies[n < REPLIES ? n : 0];
    if (connection->reply->text != NULL)
        build_reply(connection);
    return true;
}

static void say(struct server *server, struct connection *connection)
{
    const struct reply *reply = connection->reply;
    size_t left = connection->out_len - connection->sent;
    ssize_t n = 0;
    if (left > 0)
        n = send(connection->fd, connection->out + connection->sent, reply->manner == DRIP ? 1 : left,
                 MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) {
        drop(server, connection, false);
        return;
    }
    connection->sent += n > 0 ? (size_t)n : 0;
    if (connection->sent < connection->out_len)
        return;
    free(connection->out);
    connection->out = NULL;
    if (reply->manner == KEEP_TRAILER) {
        usleep(500);
        send(connection->fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 42, MSG_NOSIGNAL);
    }
    if (reply->manner == CLOSE || reply->manner == RESET) {
        if (reply->manner == RESET && connection->out_len > 0)
            usleep(2000); /* so that the bytes are there before the reset */
        drop(server, connection, reply->manner == RESET);
    }
}

static void hear(struct server *server, struct connection *connection)
{
    char bytes[65536];
    ssize_t n = recv(connection->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        drop(server, connection, false);
        return;
    }
    connection->in = realloc(connection->in, connection->in_len + (size_t)n);
    memcpy(connection->in + connection->in_len, bytes, (size_t)n);
    connection->in_len += (size_t)n;
    take_request(server, connection);
}

static void welcome(struct server *server)
{
    int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
        if (server->connections[i].fd >= 0)
            continue;
        server->connections[i].fd = fd;
        atomic_fetch_add(&server->accepted, 1);
        if (++server->open > atomic_load(&server->most_open))
            atomic_store(&server->most_open, server->open);
        return;
    }
    close(fd);
}

static void *serve(void *ctx)
{
    struct server *server = ctx;
    for (;;) {
        struct pollfd fds[CONNECTIONS_MAX + 2] = {{server->stop[0], POLLIN, 0},
                                                  {server->listener, POLLIN, 0}};
        bool drips = false;
        for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
            const struct connection *connection = &server->connections[i];
            bool drip = connection->out != NULL && connection->reply->manner == DRIP;
            drips |= drip;
            fds[i + 2] = (struct pollfd){
                connection->fd, (short)(POLLIN | (connection->out != NULL && !drip ? POLLOUT : 0)), 0};
        }
        poll(fds, CONNECTIONS_MAX + 2, drips ? 1 : -1);
        if (fds[0].revents != 0)
            return NULL;
        for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
            struct connection *connection = &server->connections[i];
            if (connection->fd >= 0 && (fds[i + 2].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
                hear(server, connection);
            if (connection->fd >= 0 && connection->out != NULL)
                say(server, connection);
        }
        if (fds[1].revents != 0)
            welcome(server);
    }
}

static void server_start(struct server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        server->connections[i].fd = -1;
    pthread_mutex_init(&server->lock, NULL);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(server->listener, 512), 0);
    getsockname(server->listener, (struct sockaddr *)&address, &len);
    server->port = ntohs(address.sin_port);
    assert_int_equal(pipe(server->stop), 0);
    pthread_create(&server->thread, NULL, serve, server);
}

static void server_stop(struct server *server)
{
    assert_int_equal(write(server->stop[1], "x", 1), 1);
    pthread_join(server->thread, NULL);
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        if (server->connections[i].fd >= 0)
            drop(server, &server->connections[i], false);
    close(server->listener);
    close(server->stop[0]);
    close(server->stop[1]);
    free(server->last_request);
    pthread_mutex_destroy(&server->lock);
}

/* --- the client's side ------------------------------------------------------------------------- */

struct fixture {
    uv_loop_t loop;
    struct http_client *client;
    struct server server;
    unsigned called_back;
    struct got {
        struct operation *op;
        unsigned calls; /* of the callback */
        unsigned rank;  /* the how manieth callback it was */
        enum http_outcome outcome;
        unsigned status;
        bool resent;
        char *body;
        size_t body_len;
        char headers[512];
        struct fixture *fixture;
        void (*then)(struct got *got); /* what the callback does besides */
        struct got *other;
    } got[1000];
};

static void setup_with(struct fixture **ret, unsigned max_in_flight, unsigned max_waiting)
{
    struct fixture *f = calloc(1, sizeof *f);
    const struct http_client_options options = {.max_in_flight = max_in_flight, .max_waiting = max_waiting};
    uv_loop_init(&f->loop);
    server_start(&f->server);
    assert_int_equal(http_client_new(&f->loop, &options, &f->client), 0);
    *ret = f;
}

static void teardown(struct fixture *f)
{
    assert_int_equal(http_client_in_flight(f->client), 0);
    http_client_close(f->client);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    server_stop(&f->server);
    for (unsigned i = 0; i < 1000; i++)
        free(f->got[i].body);
    free(f);
}

/* Turns until `until` callbacks have come. */
static void turn(struct fixture *f, unsigned until)
{
    for (;;) {
        while (http_client_turn(f->client))
            continue;
        if (f->called_back >= until)
            return;
        uv_run(&f->loop, UV_RUN_ONCE);
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

#define TEXT(s) ((s) != NULL ? (s) : "-")

static void on_answer(void *ctx, struct http_answer *answer)
{
    struct got *got = ctx;
    got->calls++;
    got->rank = ++got->fixture->called_back;
    got->op = NULL;
    got->outcome = answer->outcome;
    got->status = answer->status;
    got->resent = answer->resent;
    free(got->body);
    got->body = NULL;
    if (answer->outcome == HTTP_ANSWERED) {
        got->body_len = answer->body_len;
        got->body = malloc(answer->body_len + 1);
        memcpy(got->body, answer->body.data + answer->body_start, answer->body_len + 1);
        snprintf(got->headers, sizeof got->headers, "%.40s|%.40s|%.40s|%.40s|%.40s|%.40s|%.40s",
                 TEXT(answer->continuation), TEXT(answer->request_charge), TEXT(answer->substatus),
                 TEXT(answer->retry_after_ms), TEXT(answer->retry_after), TEXT(answer->etag),
                 TEXT(answer->content_type));
    } else {
        assert_null(answer->body.data);
    }
    if (got->then != NULL)
        got->then(got);
}

static void call_to(struct fixture *f, unsigned slot, const char *host, unsigned reply, uint64_t within_ms)
{
    char url[128];
    snprintf(url, sizeof url, "http://%s:%u/%u", host, f->server.port, reply);
    const struct http_call_options options = {.method = "GET",
                                              .url = url,
                                              .max_body = KB(200),
                                              .headroom = 100,
                                              .deadline_ms = clock_monotonic_ms() + within_ms};
    f->got[slot].fixture = f;
    f->got[slot].op = http_call_start(f->client, &options, on_answer, &f->got[slot]);
}

static void call(struct fixture *f, unsigned slot, unsigned reply, uint64_t within_ms)
{
    call_to(f, slot, "127.0.0.1", reply, within_ms);
}

/* --- tests ------------------------------------------------------------------------------------- */

static void check_reply(const struct got *got, const struct reply *reply, const char *when)
{
    if (got->calls != 1 || got->outcome != reply->outcome || got->status != reply->status)
        fail_msg("%s (%s): %u callbacks, outcome %d status %u, not %d %u", reply->name, when, got->calls,
                 (int)got->outcome, got->status, (int)reply->outcome, reply->status);
    if (reply->outcome != HTTP_ANSWERED)
        return;
    size_t len = reply->body != NULL ? strlen(reply->body) : reply->fill;
    if (got->body_len != len || (reply->body != NULL && strcmp(got->body, reply->body) != 0))
        fail_msg("%s (%s): body of %zu bytes: %.20s", reply->name, when, got->body_len, got->body);
    if (reply->body == NULL && (strspn(got->body, "x") != len || got->body[len] != '\0'))
        fail_msg("%s (%s): body is not what was said", reply->name, when);
}

static void answers_are_whole_or_refused(void **state)
{
    (void)state;
    for (unsigned i = 0; i < REPLIES_IN_TABLE; i++) {
        struct fixture *f;
        setup_with(&f, 4, 4);
        call(f, 0, i, LONG_S);
        turn(f, 1);
        check_reply(&f->got[0], &replies[i], "fresh connection");
        /* What came before must not leave a trace in the next answer, and the same on a kept connection. */
        call(f, 1, 0, LONG_S);
        turn(f, 2);
        check_reply(&f->got[1], &replies[0], replies[i].name);
        call(f, 2, i, LONG_S);
        turn(f, 3);
        check_reply(&f->got[2], &replies[i], "kept connection");
        call(f, 3, 0, LONG_S);
        turn(f, 4);
        check_reply(&f->got[3], &replies[0], replies[i].name);
        teardown(f);
    }
}

static void headers_are_kept(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    call(f, 0, reply_index("headers"), LONG_S);
    turn(f, 1);
    assert_string_equal(f->got[0].headers, "c 1|2.5|1002|7|3|\"a\"|application/json");
    call(f, 1, 0, LONG_S);
    turn(f, 2);
    assert_string_equal(f->got[1].headers, "-|-|-|-|-|-|-");
    teardown(f);
}

static void requests_are_sent_as_told(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    char *large = malloc(KB(1100));
    memset(large, 'b', KB(1100));
    const struct {
        const char *method, *headers[3], *body;
        size_t body_len;
        const char *start, *with[3], *end;
    } cases[] = {
        {"GET", {0}, NULL, 0, "GET /0?q=%20 HTTP/1.1\r\n", {"\r\nHost: 127.0.0.1:"}, "\r\n\r\n"},
        {"POST",
         {"A: b", "Content-Type: application/json"},
         "{}",
         2,
         "POST /0?q=%20 HTTP/1.1\r\n",
         {"\r\nA: b\r\n", "\r\nContent-Type: application/json\r\n", "\r\nContent-Length: 2\r\n"},
         "\r\n\r\n{}"},
        {"POST", {"Content-Type: a"}, large, KB(1100), "POST /", {"\r\nContent-Length: 1126400\r\n"}, "bbb"},
        {"POST", {"Content-Type: a"}, NULL, 0, "POST /", {"\r\nContent-Length: 0\r\n"}, "\r\n\r\n"},
        {"PATCH", {"Content-Type: a"}, "p", 1, "PATCH /", {"\r\nContent-Length: 1\r\n"}, "\r\n\r\np"},
        {"DELETE", {0}, NULL, 0, "DELETE /", {NULL}, "\r\n\r\n"},
        {"HEAD", {0}, NULL, 0, "HEAD /", {NULL}, "\r\n\r\n"},
        {"GET", {0}, NULL, 0, "GET /0?q=%20 HTTP/1.1\r\n", {NULL}, "\r\n\r\n"},
    };

    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/0?q=%%20", f->server.port);
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_call_options options = {.method = cases[i].method,
                                            .url = url,
                                            .body = cases[i].body,
                                            .body_len = cases[i].body_len,
                                            .max_body = 10,
                                            .deadline_ms = clock_monotonic_ms() + LONG_S};
        memcpy(options.headers, cases[i].headers, sizeof cases[i].headers);
        f->got[i].fixture = f;
        assert_non_null(http_call_start(f->client, &options, on_answer, &f->got[i]));
        turn(f, i + 1);
        assert_int_equal(f->got[i].outcome, HTTP_ANSWERED);
        assert_string_equal(f->got[i].body, strcmp(cases[i].method, "HEAD") == 0 ? "" : "ok");

        pthread_mutex_lock(&f->server.lock);
        const char *sent = f->server.last_request;
        const char *end = cases[i].end;
        assert_memory_equal(sent, cases[i].start, strlen(cases[i].start));
        assert_string_equal(sent + f->server.last_len - strlen(end), end);
        for (unsigned j = 0; j < 3 && cases[i].with[j] != NULL; j++)
            assert_non_null(strstr(sent, cases[i].with[j]));
        assert_null(strstr(sent, "Expect:"));
        assert_null(strstr(sent, "Accept-Encoding:"));
        if (cases[i].body == NULL && cases[i].with[0] == NULL)
            assert_null(strstr(sent, "Content-"));
        pthread_mutex_unlock(&f->server.lock);
    }
    free(large);
    teardown(f);
}

static void line_ends_in_headers_are_refused(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    static const char *const headers[] = {"A: b\r\nC: d", "A: b\n", "A: b\r"};
    for (unsigned i = 0; i < 3; i++) {
        const struct http_call_options options = {.method = "GET",
                                                  .url = "http://127.0.0.1:1/",
                                                  .headers = {headers[i]},
                                                  .deadline_ms = UINT64_MAX - 1};
        errno = 0;
        assert_null(http_call_start(f->client, &options, on_answer, NULL));
        assert_int_equal(errno, EINVAL);
    }
    teardown(f);
}

static void bad_urls_are_refused(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    static const char *const urls[] = {"",
                                       "/path",
                                       "ftp://127.0.0.1/",
                                       "http://",
                                       "https:///path",
                                       "http://a b/",
                                       "http://a/b c",
                                       "http://a/b\r\nc: d",
                                       "http://user@a/",
                                       "http://a/#fragment",
                                       "http://a/\xc3\xa9"};
    for (unsigned i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        const struct http_call_options options = {
            .method = "GET", .url = urls[i], .deadline_ms = UINT64_MAX - 1};
        errno = 0;
        assert_null(http_call_start(f->client, &options, on_answer, NULL));
        assert_int_equal(errno, EINVAL);
    }
    teardown(f);
}

static void targets_and_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *path, *line;
    } cases[] = {{"", "GET / HTTP/1.1\r\n"},
                 {"?a=/b", "GET /?a=/b HTTP/1.1\r\n"},
                 {"/a/../b%2F?c", "GET /a/../b%2F?c HTTP/1.1\r\n"}};
    struct fixture *f;
    setup_with(&f, 4, 4);
    for (unsigned i = 0; i < 3; i++) {
        char url[64], host[64];
        snprintf(url, sizeof url, "http://127.0.0.1:%u%s", f->server.port, cases[i].path);
        snprintf(host, sizeof host, "\r\nHost: 127.0.0.1:%u\r\n", f->server.port);
        const struct http_call_options options = {
            .method = "GET", .url = url, .max_body = 10, .deadline_ms = clock_monotonic_ms() + LONG_S};
        f->got[i].fixture = f;
        assert_non_null(http_call_start(f->client, &options, on_answer, &f->got[i]));
        turn(f, i + 1);
        pthread_mutex_lock(&f->server.lock);
        assert_memory_equal(f->server.last_request, cases[i].line, strlen(cases[i].line));
        assert_non_null(strstr(f->server.last_request, host));
        pthread_mutex_unlock(&f->server.lock);
    }
    teardown(f);
}

static void a_fresh_connection_on_demand(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    for (unsigned i = 0; i < 2; i++) {
        char url[64];
        snprintf(url, sizeof url, "http://127.0.0.1:%u/0", f->server.port);
        const struct http_call_options options = {.method = "GET",
                                                  .url = url,
                                                  .max_body = 10,
                                                  .fresh = true,
                                                  .deadline_ms = clock_monotonic_ms() + LONG_S};
        f->got[i].fixture = f;
        assert_non_null(http_call_start(f->client, &options, on_answer, &f->got[i]));
        turn(f, i + 1);
        assert_int_equal(f->got[i].outcome, HTTP_ANSWERED);
    }
    assert_int_equal(atomic_load(&f->server.accepted), 2);
    teardown(f);
}

static void a_kept_connection_is_used_again(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    for (unsigned i = 0; i < 20; i++) {
        call(f, i, 0, LONG_S);
        turn(f, i + 1);
        assert_int_equal(f->got[i].outcome, HTTP_ANSWERED);
    }
    assert_int_equal(atomic_load(&f->server.accepted), 1);
    teardown(f);
}

/* localhost is looked up in curl's resolver thread, which has sockets of its own. */
static void names_are_looked_up(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    for (unsigned i = 0; i < 3; i++)
        call_to(f, i, "localhost", 0, LONG_S);
    operation_cancel(f->got[2].op);
    turn(f, 2);
    assert_int_equal(f->got[0].outcome, HTTP_ANSWERED);
    assert_int_equal(f->got[1].outcome, HTTP_ANSWERED);
    teardown(f);
}

static void a_lookup_can_be_given_up(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    call_to(f, 0, "localhost", 0, LONG_S);
    http_client_turn(f->client); /* the thread is started in here */
    operation_cancel(f->got[0].op);
    call(f, 1, 0, LONG_S);
    turn(f, 1);
    assert_int_equal(f->got[1].outcome, HTTP_ANSWERED);
    assert_int_equal(f->got[0].calls, 0);
    teardown(f);
    usleep(20000); /* the thread frees what it holds when it is through */
}

static void a_closed_port_refuses(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0); /* bound, not listening */
    getsockname(fd, (struct sockaddr *)&address, &len);
    unsigned port = f->server.port;
    f->server.port = ntohs(address.sin_port);
    call(f, 0, 0, LONG_S);
    turn(f, 1);
    assert_int_equal(f->got[0].outcome, HTTP_REFUSED);
    f->server.port = port;
    close(fd);
    teardown(f);
}

/* Bytes that come on an idle connection must not become the next request's answer. */
static void unasked_bytes_are_nobodys_answer(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    call(f, 0, reply_index("unasked"), LONG_S);
    turn(f, 1);
    turn_for(f, 30);
    call(f, 1, 0, LONG_S);
    turn(f, 2);
    check_reply(&f->got[1], &replies[0], "after unasked bytes");
    assert_false(f->got[1].resent);
    assert_int_equal(atomic_load(&f->server.accepted), 2);
    teardown(f);
}

static void a_connection_closed_while_idle_costs_nothing(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    call(f, 0, 1, LONG_S); /* answers, then closes */
    turn(f, 1);
    turn_for(f, 20);
    call(f, 1, 0, LONG_S);
    turn(f, 2);
    check_reply(&f->got[1], &replies[0], "after a close");
    assert_false(f->got[1].resent);
    assert_int_equal(atomic_load(&f->server.requests), 2);
    teardown(f);
}

/* A request is sent again when a kept connection dies under it: once, however many others are kept. */
static void an_upstream_that_closes_sees_how_many_requests(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    for (unsigned i = 0; i < 4; i++)
        call(f, i, 0, LONG_S);
    turn(f, 4);
    assert_int_equal(atomic_load(&f->server.accepted), 4);
    atomic_store(&f->server.dying, true);
    atomic_store(&f->server.requests, 0);

    call(f, 10, 0, LONG_S);
    turn(f, 5);
    assert_int_equal(f->got[10].outcome, HTTP_REFUSED);
    assert_true(f->got[10].resent);
    assert_int_equal(atomic_load(&f->server.requests), 2);

    struct fixture *fresh;
    setup_with(&fresh, 4, 4);
    atomic_store(&fresh->server.dying, true);
    call(fresh, 0, 0, LONG_S);
    turn(fresh, 1);
    assert_int_equal(fresh->got[0].outcome, HTTP_REFUSED);
    assert_false(fresh->got[0].resent);
    assert_int_equal(atomic_load(&fresh->server.requests), 1);
    teardown(fresh);

    /* And when the upstream is back, the request that was sent again is answered. */
    atomic_store(&f->server.dying, false);
    call(f, 11, 0, LONG_S);
    turn(f, 6);
    check_reply(&f->got[11], &replies[0], "upstream is back");
    teardown(f);
}

static void a_thousand_calls_share_64_connections(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 64, 936);
    for (unsigned i = 0; i < 1000; i++) {
        call(f, i, i % 2 == 0 ? 0 : reply_index("chunked"), LONG_S);
        assert_non_null(f->got[i].op);
    }
    assert_int_equal(http_client_in_flight(f->client), 1000);
    const struct http_call_options options = {
        .method = "GET", .url = "http://127.0.0.1/", .deadline_ms = UINT64_MAX - 1};
    errno = 0;
    assert_null(http_call_start(f->client, &options, on_answer, NULL));
    assert_int_equal(errno, EBUSY);
    turn(f, 1000);
    for (unsigned i = 0; i < 1000; i++)
        if (f->got[i].calls != 1 || f->got[i].outcome != HTTP_ANSWERED || strcmp(f->got[i].body, "ok") != 0)
            fail_msg("call %u: %u callbacks, outcome %d", i, f->got[i].calls, (int)f->got[i].outcome);
    assert_in_range(atomic_load(&f->server.most_open), 1, 64);
    assert_int_equal(atomic_load(&f->server.requests), 1000);
    teardown(f);
}

static void waiting_calls_go_in_order(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 1, 100);
    for (unsigned i = 0; i < 101; i++)
        call(f, i, REPLIES + i, LONG_S); /* answered with the first of the table */
    turn(f, 101);
    for (unsigned i = 0; i < 101; i++) {
        assert_int_equal(f->server.order[i], REPLIES + i);
        assert_int_equal(f->got[i].rank, i + 1);
    }
    teardown(f);
}

static void deadlines_hold_everywhere(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 3, 10);
    uint64_t start = clock_monotonic_ms();
    call(f, 0, reply_index("silent"), 40);
    call(f, 1, reply_index("half a body"), 30);
    call(f, 2, reply_index("silent"), 20);
    call(f, 3, 0, 10);     /* waits, and is given up before one of the above makes room */
    call(f, 4, 0, 0);      /* is past it from the start */
    call(f, 5, 0, LONG_S); /* waits, and gets its turn */
    turn(f, 6);
    static const enum http_outcome outcomes[] = {HTTP_TIMED_OUT, HTTP_TIMED_OUT, HTTP_TIMED_OUT,
                                                 HTTP_TIMED_OUT, HTTP_TIMED_OUT, HTTP_ANSWERED};
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(f->got[i].calls, 1);
        assert_int_equal(f->got[i].outcome, outcomes[i]);
    }
    assert_int_equal(f->got[4].rank, 1);
    assert_int_equal(f->got[3].rank, 2);
    assert_int_equal(f->got[2].rank, 3);
    assert_true(clock_monotonic_ms() >= start + 40);
    teardown(f);
}

static void cancel_other(struct got *got)
{
    if (got->other->calls == 0)
        operation_cancel(got->other->op);
    got->other->op = NULL;
}

static void a_cancelled_call_is_silent(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 2, 10);
    /* waiting, just started, sent, half answered */
    call(f, 0, reply_index("silent"), LONG_S);
    call(f, 1, reply_index("half a body"), LONG_S);
    call(f, 2, 0, LONG_S);
    operation_cancel(f->got[2].op);
    turn_for(f, 20);
    call(f, 3, 0, LONG_S);
    operation_cancel(f->got[0].op);
    operation_cancel(f->got[1].op);
    turn(f, 1);
    assert_int_equal(f->got[3].outcome, HTTP_ANSWERED);
    call(f, 4, 0, LONG_S);
    operation_cancel(f->got[4].op);

    /* finished, with the callback still to come: two that are past their deadline give up each other */
    call(f, 5, reply_index("silent"), 5);
    call(f, 6, reply_index("silent"), 5);
    for (unsigned i = 5; i <= 6; i++) {
        f->got[i].other = &f->got[11 - i];
        f->got[i].then = cancel_other;
    }
    usleep(10000);
    turn(f, 2);
    turn_for(f, 5);
    assert_int_equal(f->got[5].calls + f->got[6].calls, 1);

    /* from a callback: one that waits */
    call(f, 7, 0, LONG_S);
    call(f, 8, 0, LONG_S);
    call(f, 9, 0, LONG_S);
    f->got[7].other = &f->got[9];
    f->got[7].then = cancel_other;
    turn(f, 4);
    turn_for(f, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(f->got[i].calls, i == 3);
    assert_int_equal(f->got[7].calls, 1);
    assert_int_equal(f->got[8].calls, 1);
    teardown(f);
}

static void ask_again(struct got *got)
{
    unsigned slot = (unsigned)(got - got->fixture->got) + 1;
    if (slot < 50) {
        got->fixture->got[slot].then = ask_again;
        call(got->fixture, slot, 0, LONG_S);
        assert_int_equal(got->fixture->got[slot].calls, 0);
    }
}

static void a_callback_may_start_the_next_call(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 1, 1);
    f->got[0].then = ask_again;
    call(f, 0, 0, LONG_S);
    turn(f, 50);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(f->got[i].outcome, HTTP_ANSWERED);
    assert_int_equal(atomic_load(&f->server.accepted), 1);
    teardown(f);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    alarm(100);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_whole_or_refused),
        cmocka_unit_test(headers_are_kept),
        cmocka_unit_test(requests_are_sent_as_told),
        cmocka_unit_test(line_ends_in_headers_are_refused),
        cmocka_unit_test(bad_urls_are_refused),
        cmocka_unit_test(targets_and_hosts),
        cmocka_unit_test(a_fresh_connection_on_demand),
        cmocka_unit_test(a_kept_connection_is_used_again),
        cmocka_unit_test(names_are_looked_up),
        cmocka_unit_test(a_lookup_can_be_given_up),
        cmocka_unit_test(a_closed_port_refuses),
        cmocka_unit_test(unasked_bytes_are_nobodys_answer),
        cmocka_unit_test(a_connection_closed_while_idle_costs_nothing),
        cmocka_unit_test(an_upstream_that_closes_sees_how_many_requests),
        cmocka_unit_test(a_thousand_calls_share_64_connections),
        cmocka_unit_test(waiting_calls_go_in_order),
        cmocka_unit_test(deadlines_hold_everywhere),
        cmocka_unit_test(a_cancelled_call_is_silent),
        cmocka_unit_test(a_callback_may_start_the_next_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
