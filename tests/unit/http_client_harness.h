/*
 * http_client_harness.h - an HTTP client and a server of its own, on a thread, which says what http_replies.h
 * lists: to a request for /<n> the n-th reply.
 */
#ifndef TELEMETRYD_TEST_HTTP_CLIENT_HARNESS_H
#define TELEMETRYD_TEST_HTTP_CLIENT_HARNESS_H

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

#include "http_replies.h"

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

static inline void setup_with(struct fixture **ret, unsigned max_in_flight, unsigned max_waiting)
{
    struct fixture *f = calloc(1, sizeof *f);
    const struct http_client_options options = {.max_in_flight = max_in_flight, .max_waiting = max_waiting};
    uv_loop_init(&f->loop);
    server_start(&f->server);
    assert_int_equal(http_client_new(&f->loop, &options, &f->client), 0);
    *ret = f;
}

static inline void teardown(struct fixture *f)
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
static inline void turn(struct fixture *f, unsigned until)
{
    for (;;) {
        while (http_client_turn(f->client))
            continue;
        if (f->called_back >= until)
            return;
        /* Never waits in the poll: a timer that fires just before it is only acted upon in the next turn. */
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(200);
    }
}

static inline void turn_for(struct fixture *f, unsigned ms)
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

static inline void call_to(struct fixture *f, unsigned slot, const char *host, unsigned reply,
                           uint64_t within_ms)
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

static inline void call(struct fixture *f, unsigned slot, unsigned reply, uint64_t within_ms)
{
    call_to(f, slot, "127.0.0.1", reply, within_ms);
}

static inline void check_reply(const struct got *got, const struct reply *reply, const char *when)
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

#endif
