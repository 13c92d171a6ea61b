/*
 * cosmos_harness.h - a Cosmos DB store on one loop together with scripted upstreams, for the tests of the
 * store.
 *
 * A fake answers `GET /`, `GET /dbs/db/colls/c` and `POST /dbs/db/colls/c/docs` each from a script of its
 * own: step after step, the last one again and again. What it was asked stays readable until the harness
 * ends.
 */
#ifndef COSMOS_HARNESS_H
#define COSMOS_HARNESS_H

#include "clock.h"
#include "cosmos.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum how { ANSWER, RESET, HANG };

struct step {
    unsigned status;
    const char *headers; /* further header lines, each with its CRLF; may be NULL */
    const char *body;
    enum how how;
};

#define GOOD_CONTAINER                                                                                       \
    {                                                                                                        \
        200, NULL, "{\"id\":\"c\",\"partitionKey\":{\"paths\":[\"/deviceId\"],\"kind\":\"Hash\"}}"           \
    }
#define NO_REGIONS                                                                                           \
    {                                                                                                        \
        200, NULL, "{\"writableLocations\":[],\"readableLocations\":[]}"                                     \
    }

#define STEPS_MAX    16
#define REQUESTS_MAX 64

enum resource { ACCOUNT, CONTAINER, DOCS, RESOURCES };

struct script {
    struct step steps[STEPS_MAX];
    size_t count;
    size_t at; /* requests so far */
};

struct fake {
    uv_tcp_t server;
    unsigned port;
    struct script scripts[RESOURCES];
    char *asked[REQUESTS_MAX]; /* the first requests for docs: header block and body */
    /* Where it is set, it may answer a request itself: true, and then *step is what is sent. */
    bool (*serve)(void *ctx, const char *request, struct step *step);
    void *serve_ctx;
    struct connection *connections;
};

struct connection {
    uv_tcp_t tcp;
    struct fake *fake;
    struct connection *next;
    struct buffer in;
};

struct harness {
    uv_loop_t loop;
    uv_prepare_t prepare;
    uv_check_t check;
    struct mailbox *mailbox;
    struct flight_table *flights;
    struct http_client *http;
    struct cosmos_account *account;
    struct telemetry_store *store;
    struct fake fakes[2];

    /* of the last operation */
    bool done;
    struct upstream_result result;
    char *text; /* the page's array, or the latest reading's data */
    char *next;
    unsigned count;
    size_t stored;
    int64_t at;
    const char *reason;
};

/* --- the fake ---------------------------------------------------------------------------------- */

static void on_written(uv_write_t *write, int status)
{
    free(write->data);
    free(write);
}

static void send_step(struct connection *connection, const struct step *step)
{
    struct buffer out = {0};
    const char *body = step->body != NULL ? step->body : "";
    buffer_printf(&out, "HTTP/1.1 %u X\r\nContent-Length: %zu\r\n%s\r\n%s", step->status, strlen(body),
                  step->headers != NULL ? step->headers : "", body);
    uv_write_t *write = calloc(1, sizeof *write);
    write->data = out.data;
    uv_buf_t buf = uv_buf_init(out.data, (unsigned)out.len);
    uv_write(write, (uv_stream_t *)&connection->tcp, &buf, 1, on_written);
}

static void close_connection(struct connection *connection)
{
    if (!uv_is_closing((uv_handle_t *)&connection->tcp))
        uv_close((uv_handle_t *)&connection->tcp, NULL);
}

static void serve(struct connection *connection, const char *request)
{
    struct fake *fake = connection->fake;
    struct step own = {0};
    if (fake->serve != NULL && fake->serve(fake->serve_ctx, request, &own)) {
        if (own.how == RESET)
            close_connection(connection);
        else if (own.how == ANSWER)
            send_step(connection, &own);
        return;
    }
    enum resource resource = strncmp(request, "GET / ", 6) == 0                  ? ACCOUNT
                             : strncmp(request, "GET /dbs/db/colls/c ", 20) == 0 ? CONTAINER
                                                                                 : DOCS;
    struct script *script = &fake->scripts[resource];
    if (resource == DOCS) {
        assert_memory_equal(request, "POST /dbs/db/colls/c/docs HTTP/1.1\r\n", 36);
        if (script->at < REQUESTS_MAX) {
            free(fake->asked[script->at]);
            fake->asked[script->at] = strdup(request);
        }
    }
    const struct step *step = &script->steps[script->at < script->count ? script->at : script->count - 1];
    script->at++;
    if (step->how == RESET)
        close_connection(connection);
    else if (step->how == ANSWER)
        send_step(connection, step);
}

static void on_request_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct connection *connection = stream->data;
    if (n > 0)
        buffer_append(&connection->in, buf->base, (size_t)n);
    free(buf->base);
    if (n < 0) {
        close_connection(connection);
        return;
    }
    const char *text = buffer_terminate(&connection->in);
    const char *end = strstr(text, "\r\n\r\n");
    if (end == NULL)
        return;
    const char *length = strcasestr(text, "\r\nContent-Length:");
    size_t body = length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
    if (connection->in.len < (size_t)(end + 4 - text) + body)
        return;
    serve(connection, text);
    buffer_clear(&connection->in);
}

static void alloc_bytes(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    *buf = uv_buf_init(malloc(65536), 65536);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct fake *fake = server->data;
    struct connection *connection = calloc(1, sizeof *connection);
    connection->fake = fake;
    connection->next = fake->connections;
    fake->connections = connection;
    uv_tcp_init(server->loop, &connection->tcp);
    connection->tcp.data = connection;
    assert_int_equal(uv_accept(server, (uv_stream_t *)&connection->tcp), 0);
    uv_read_start((uv_stream_t *)&connection->tcp, alloc_bytes, on_request_bytes);
}

static void fake_listen(struct fake *fake, uv_loop_t *loop)
{
    struct sockaddr_in address;
    int size = sizeof address;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_init(loop, &fake->server);
    fake->server.data = fake;
    assert_int_equal(uv_tcp_bind(&fake->server, (struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&fake->server, 16, on_connection), 0);
    uv_tcp_getsockname(&fake->server, (struct sockaddr *)&address, &size);
    fake->port = ntohs(address.sin_port);
    fake->scripts[ACCOUNT] = (struct script){.steps = {NO_REGIONS}, .count = 1};
    fake->scripts[CONTAINER] = (struct script){.steps = {GOOD_CONTAINER}, .count = 1};
    fake->scripts[DOCS] = (struct script){.steps = {{500, NULL, "unscripted"}}, .count = 1};
}

/* The address refuses connections from now on. */
static inline void fake_stop(struct fake *fake)
{
    if (!uv_is_closing((uv_handle_t *)&fake->server))
        uv_close((uv_handle_t *)&fake->server, NULL);
    for (struct connection *c = fake->connections; c != NULL; c = c->next)
        close_connection(c);
}

static inline void fake_script(struct fake *fake, enum resource resource, const struct step *steps,
                               size_t count)
{
    memcpy(fake->scripts[resource].steps, steps, count * sizeof *steps);
    fake->scripts[resource].count = count;
    fake->scripts[resource].at = 0;
}

/* --- the harness ------------------------------------------------------------------------------- */

static void turn_prepare(uv_prepare_t *prepare)
{
    while (http_client_turn(prepare->data))
        ;
}

static void turn_check(uv_check_t *check)
{
    while (http_client_turn(check->data))
        ;
}

static void harness_start(struct harness *h)
{
    struct http_client_options http = {.max_in_flight = 16, .max_waiting = 16};
    struct cosmos_options options = {.account.key = "secret",
                                     .account.key_len = 6,
                                     .database = "db",
                                     .container = "c",
                                     .feed_interval_ms = 20};

    memset(h, 0, sizeof *h);
    assert_int_equal(uv_loop_init(&h->loop), 0);
    for (size_t i = 0; i < COUNT(h->fakes); i++)
        fake_listen(&h->fakes[i], &h->loop);
    assert_int_equal(mailbox_new(&h->loop, &h->mailbox), 0);
    assert_int_equal(flight_table_new(4, &h->flights), 0);
    assert_int_equal(http_client_new(&h->loop, &http, &h->http), 0);
    uv_prepare_init(&h->loop, &h->prepare);
    uv_check_init(&h->loop, &h->check);
    h->prepare.data = h->check.data = h->http;
    uv_prepare_start(&h->prepare, turn_prepare);
    uv_check_start(&h->check, turn_check);
    snprintf(options.account.endpoint, sizeof options.account.endpoint, "http://127.0.0.1:%u",
             h->fakes[0].port);
    assert_int_equal(cosmos_account_new(&options, h->flights, &h->account), 0);
    h->store = cosmos_store_new(h->account, NULL, h->http, h->mailbox, &h->loop, NULL);
    assert_non_null(h->store);
}

static void harness_forget(struct harness *h)
{
    free(h->text);
    free(h->next);
    h->text = h->next = NULL;
    h->done = false;
    h->result = (struct upstream_result){0};
}

static void close_all(uv_handle_t *handle, void *ctx)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void harness_end(struct harness *h)
{
    harness_forget(h);
    h->store->ops->free(h->store);
    uv_run(&h->loop, UV_RUN_NOWAIT); /* letters that the store's end posted */
    uv_close((uv_handle_t *)&h->prepare, NULL);
    uv_close((uv_handle_t *)&h->check, NULL);
    http_client_close(h->http);
    mailbox_close(h->mailbox);
    for (size_t i = 0; i < COUNT(h->fakes); i++)
        fake_stop(&h->fakes[i]);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    uv_walk(&h->loop, close_all, NULL);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&h->loop), 0);
    flight_table_free(h->flights);
    cosmos_account_free(h->account);
    for (size_t i = 0; i < COUNT(h->fakes); i++) {
        for (struct connection *c = h->fakes[i].connections, *next; c != NULL; c = next) {
            next = c->next;
            buffer_free(&c->in);
            free(c);
        }
        for (size_t k = 0; k < REQUESTS_MAX; k++)
            free(h->fakes[i].asked[k]);
    }
}

static void harness_wait(struct harness *h)
{
    while (!h->done)
        uv_run(&h->loop, UV_RUN_ONCE);
}

static inline uint64_t in_ms(unsigned ms)
{
    return clock_monotonic_ms() + ms;
}

/* How often a fake was asked for something. */
static inline unsigned asked(const struct harness *h, size_t fake, enum resource resource)
{
    return (unsigned)h->fakes[fake].scripts[resource].at;
}

/* The value of a header of the n-th request for docs, in a buffer that lasts until the next call; NULL if
 * absent. */
static inline const char *asked_header(const struct harness *h, size_t n, const char *name)
{
    static char value[16384];
    char line[128];
    snprintf(line, sizeof line, "\r\n%s: ", name);
    assert_non_null(h->fakes[0].asked[n]);
    const char *at = strcasestr(h->fakes[0].asked[n], line);
    if (at == NULL)
        return NULL;
    at += strlen(line);
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

static inline const char *asked_body(const struct harness *h, size_t fake, size_t n)
{
    assert_non_null(h->fakes[fake].asked[n]);
    return strstr(h->fakes[fake].asked[n], "\r\n\r\n") + 4;
}

/* --- operations -------------------------------------------------------------------------------- */

static inline void on_page_done(void *ctx, const struct upstream_result *result, struct telemetry_page *page)
{
    struct harness *h = ctx;
    h->done = true;
    h->result = *result;
    assert_true((page != NULL) == (result->status == UPSTREAM_OK));
    if (page == NULL)
        return;
    assert_true(page->start >= TELEMETRY_PAGE_HEADROOM);
    h->text = strndup(page->text.data + page->start, page->length);
    h->next = page->next != NULL ? strdup(page->next) : NULL;
    h->count = page->count;
}

static inline void on_latest_done(void *ctx, const struct upstream_result *result, const char *data,
                                  size_t data_len, int64_t timestamp)
{
    struct harness *h = ctx;
    h->done = true;
    h->result = *result;
    h->text = data != NULL ? strndup(data, data_len) : NULL;
    h->at = timestamp;
}

static inline void on_stored_done(void *ctx, const struct upstream_result *result, size_t stored, int64_t at)
{
    struct harness *h = ctx;
    h->done = true;
    h->result = *result;
    h->stored = stored;
    h->at = at;
}

static inline void on_check_done(void *ctx, const struct upstream_result *result, const char *reason)
{
    struct harness *h = ctx;
    h->done = true;
    h->result = *result;
    h->reason = reason;
}

static inline void read_range(struct harness *h, unsigned limit, const char *position, unsigned ms)
{
    struct telemetry_range range = {.device_id = "d1",
                                    .after = 100,
                                    .until = 200,
                                    .limit = limit,
                                    .position = position,
                                    .deadline_ms = in_ms(ms)};
    harness_forget(h);
    assert_non_null(h->store->ops->read_range(h->store, &range, on_page_done, h));
    assert_false(h->done);
    harness_wait(h);
}

static inline void read_latest(struct harness *h, unsigned ms)
{
    harness_forget(h);
    assert_non_null(h->store->ops->latest(h->store, "d1", in_ms(ms), on_latest_done, h));
    assert_false(h->done);
    harness_wait(h);
}

static inline void write_readings(struct harness *h, const struct reading *readings, size_t count,
                                  unsigned ms)
{
    struct telemetry_write write = {
        .device_id = "d1", .readings = readings, .count = count, .ttl_s = 60, .deadline_ms = in_ms(ms)};
    harness_forget(h);
    assert_non_null(h->store->ops->write(h->store, &write, on_stored_done, h));
    assert_false(h->done);
    harness_wait(h);
}

static inline void check_store(struct harness *h, unsigned ms)
{
    harness_forget(h);
    assert_non_null(h->store->ops->check(h->store, in_ms(ms), on_check_done, h));
    harness_wait(h);
}

#endif
