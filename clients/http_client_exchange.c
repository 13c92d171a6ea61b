#include "http_client_internal.h"

#include <stdlib.h>
#include <string.h>

/* A body up to that is copied behind the head and sent with it: one TLS record, one segment. */
#define BODY_COPIED_MAX (16 * 1024)
#define OUT_MEMORY_KEPT (32 * 1024)

/* --- transfers --------------------------------------------------------------------------------- */

void transfer_free(struct transfer *transfer)
{
    buffer_free(&transfer->out);
    answer_free(&transfer->reader);
    free(transfer);
}

void transfer_release(struct http_pool *pool, struct transfer *transfer)
{
    if (transfer == NULL)
        return;
    buffer_free(&transfer->reader.body);
    if (transfer->out.data != NULL) /* it held a signature, a token, or a form with a secret */
        explicit_bzero(transfer->out.data, transfer->out.len);
    if (pool->transfer_count >= pool->max_idle) {
        transfer_free(transfer);
        return;
    }
    transfer->next_free = pool->transfers;
    pool->transfers = transfer;
    pool->transfer_count++;
}

/* The path and query of a URL; "/" stands for an empty path. */
static void append_target(struct buffer *out, const char *path)
{
    if (path[0] != '/')
        buffer_append_char(out, '/');
    buffer_append_text(out, path);
}

/* Host is the authority without a scheme's own port. */
static void append_host(struct buffer *out, const char *url, size_t origin_len)
{
    bool tls = url[4] == 's';
    const char *host = url + (tls ? 8 : 7), *port = tls ? ":443" : ":80";
    size_t len = origin_len - (size_t)(host - url), port_len = strlen(port);
    if (len > port_len && memcmp(host + len - port_len, port, port_len) == 0)
        len -= port_len;
    buffer_append_text(out, "\r\nHost: ");
    buffer_append(out, host, len);
}

static bool wants_length(const struct transfer_request *request)
{
    static const char *const with_body[] = {"POST", "PUT", "PATCH"};
    for (size_t i = 0; i < sizeof with_body / sizeof with_body[0]; i++)
        if (strcmp(request->method, with_body[i]) == 0)
            return true;
    return request->body != NULL;
}

/* At least what the head takes. */
static size_t head_size(const struct transfer_request *request)
{
    size_t size = strlen(request->method) + 2 * strlen(request->url) + 128;
    for (unsigned i = 0; i < request->header_count; i++)
        size += strlen(request->headers[i]) + 2;
    return size;
}

static void build(struct transfer *transfer)
{
    const struct transfer_request *request = transfer->request;
    struct buffer *out = &transfer->out;
    size_t origin_len = origin_length(request->url);
    size_t body_len = request->body != NULL ? request->body_len : 0;
    bool copied = body_len <= BODY_COPIED_MAX;

    if (out->failed || out->cap > OUT_MEMORY_KEPT)
        buffer_free(out);
    buffer_clear(out);
    buffer_reserve(out, head_size(request) + (copied ? body_len : 0)); /* growing would leave copies behind */
    buffer_append_text(out, request->method);
    buffer_append_char(out, ' ');
    append_target(out, request->url + origin_len);
    buffer_append_text(out, " HTTP/1.1");
    append_host(out, request->url, origin_len);
    for (unsigned i = 0; i < request->header_count; i++) {
        buffer_append(out, "\r\n", 2);
        buffer_append_text(out, request->headers[i]);
    }
    if (wants_length(request))
        buffer_printf(out, "\r\nContent-Length: %zu", body_len);
    buffer_append(out, "\r\n\r\n", 4);
    if (copied)
        buffer_append(out, request->body, body_len);
    transfer->body_left_out = copied ? 0 : body_len;
}

struct transfer *transfer_get(struct http_pool *pool, const struct transfer_request *request, void *owner)
{
    struct transfer *transfer = pool->transfers;
    if (transfer != NULL) {
        pool->transfers = transfer->next_free;
        pool->transfer_count--;
    } else {
        transfer = calloc(1, sizeof *transfer);
        if (transfer == NULL)
            return NULL;
    }
    transfer->pool = pool;
    transfer->owner = owner;
    transfer->request = request;
    transfer->connection = NULL;
    transfer->sent = 0;
    transfer->resent = transfer->mute = false;
    answer_begin(&transfer->reader, strcmp(request->method, "HEAD") == 0, request->max_body,
                 request->headroom);
    build(transfer);
    if (transfer->out.failed) {
        transfer_release(pool, transfer);
        return NULL;
    }
    return transfer;
}

/* --- ends -------------------------------------------------------------------------------------- */

void transfer_refused(struct transfer *transfer, enum http_outcome outcome)
{
    transfer->pool->over(transfer->pool, transfer->owner, outcome);
}

static void end(struct transfer *transfer, enum http_outcome outcome, bool reusable)
{
    struct connection *connection = transfer->connection;
    transfer->connection = NULL;
    if (reusable)
        connection_keep(connection);
    else
        connection_close(connection);
    transfer->pool->over(transfer->pool, transfer->owner, outcome);
}

void transfer_abort(struct transfer *transfer)
{
    if (transfer->connection != NULL)
        connection_close(transfer->connection);
    transfer->connection = NULL;
}

void transfer_go(struct transfer *transfer)
{
    if (connection_get(transfer->pool, transfer, transfer->request->fresh) != 0)
        transfer_refused(transfer, HTTP_NO_MEMORY);
}

/* The connection has ended before the answer has. A kept one may have been closed just when we wanted to use
 * it again: then, and only once, the request is sent on a fresh one. */
static void lost(struct transfer *transfer)
{
    struct connection *connection = transfer->connection;
    if (transfer->reader.any) {
        end(transfer, HTTP_BROKEN, false);
    } else if (!connection->used) {
        end(transfer, HTTP_REFUSED, false);
    } else {
        transfer->connection = NULL;
        connection_close(connection);
        transfer->resent = true;
        transfer->sent = 0;
        transfer->mute = false;
        if (connection_get(transfer->pool, transfer, true) != 0)
            transfer_refused(transfer, HTTP_NO_MEMORY);
    }
}

/* --- bytes ------------------------------------------------------------------------------------- */

static bool all_sent(const struct transfer *transfer)
{
    return transfer->sent == transfer->out.len + transfer->body_left_out;
}

static void send_more(struct transfer *transfer)
{
    const struct transfer_request *request = transfer->request;
    size_t head = transfer->out.len;
    while (!all_sent(transfer)) {
        size_t sent = transfer->sent, body_sent = sent > head ? sent - head : 0;
        const char *body = transfer->body_left_out > 0 ? request->body + body_sent : NULL;
        ssize_t n = connection_send(transfer->connection, transfer->out.data + (sent < head ? sent : head),
                                    sent < head ? head - sent : 0, body, transfer->body_left_out - body_sent);
        if (n == IO_AGAIN) {
            watch_want(transfer->connection->watch, UV_READABLE | UV_WRITABLE);
            return;
        }
        if (n == IO_LOST) {
            /* An upstream may refuse a request before it has read the whole of it: its answer is to be read.
             */
            transfer->mute = true;
            break;
        }
        transfer->sent += (size_t)n;
    }
    watch_want(transfer->connection->watch, UV_READABLE);
}

/* Feeds what has come: n bytes, the first of them in the body's own room. False when the transfer has ended.
 */
static bool take(struct transfer *transfer, size_t n, size_t room_len)
{
    struct answer_reader *reader = &transfer->reader;
    size_t direct = n < room_len ? n : room_len, rest = n - direct;
    if (direct > 0)
        answer_filled(reader, direct);
    size_t used = answer_feed(reader, transfer->pool->scratch, rest);
    if (reader->verdict != HTTP_ANSWERED) {
        end(transfer, reader->verdict, false);
        return false;
    }
    if (reader->state != ANSWER_COMPLETE)
        return true;
    end(transfer, HTTP_ANSWERED, used == rest && !reader->close && all_sent(transfer));
    return false;
}

static void receive(struct transfer *transfer)
{
    struct connection *connection = transfer->connection;
    for (;;) {
        size_t room_len = 0;
        char *room = answer_room(&transfer->reader, &room_len);
        if (transfer->reader.verdict != HTTP_ANSWERED) {
            end(transfer, transfer->reader.verdict, false);
            return;
        }
        ssize_t n = connection_receive(connection, room, room_len, transfer->pool->scratch, SCRATCH_SIZE);
        if (n == IO_LOST) {
            lost(transfer);
            return;
        }
        /* Having been sent to without a word, a connection that cannot be written to will not say anything
         * either. */
        if (n == IO_AGAIN) {
            if (transfer->mute)
                lost(transfer);
            return;
        }
        if (!take(transfer, (size_t)n, room_len))
            return;
        /* libuv tells again of what remains in the socket, not of what remains in TLS. */
        if (!connection->tls && (size_t)n < room_len + SCRATCH_SIZE)
            return;
    }
}

void transfer_event(struct transfer *transfer, int events)
{
    if ((events & UV_WRITABLE) != 0 && !transfer->mute && !all_sent(transfer))
        send_more(transfer);
    if ((events & UV_READABLE) != 0 || transfer->mute)
        receive(transfer);
}

void transfer_connected(struct transfer *transfer)
{
    send_more(transfer);
    if (transfer->mute)
        receive(transfer);
}
