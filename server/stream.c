#include "stream.h"

#include "clock.h"
#include "sse.h"
#include "worker.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RETRY_MS    2000
#define STALL_MS    60000 /* a listener that takes nothing for so long is gone */
#define REFRESH_MS  60000 /* an id that was sent so long ago is renewed */
#define DISCARD_MAX 65536 /* a listener has nothing to say */

struct stream {
    struct worker *worker;
    struct connection *connection; /* NULL before the start, and when it is over */
    struct telemetry_follow *follow;
    struct principal *principal;
    uv_poll_t poll;
    struct buffer out; /* from `sent` on it waits */
    size_t sent, received;
    uint64_t next_heartbeat_ms, moved_ms, id_ms, began_ms;
    uint64_t readings, bytes;
    struct stream *prev, *next, *prev_dirty, *next_dirty;
    bool chunked, dirty, no_room, ending;
    char request_id[129];
};

/* --- what is written --------------------------------------------------------------------------- */

static size_t waiting(const struct stream *s)
{
    return s->out.len - s->sent;
}

static void mark_dirty(struct stream *s)
{
    if (s->dirty)
        return;
    struct streams *streams = &s->worker->streams;
    s->dirty = true;
    s->prev_dirty = NULL;
    s->next_dirty = streams->dirty;
    if (streams->dirty != NULL)
        streams->dirty->prev_dirty = s;
    streams->dirty = s;
}

static void mark_clean(struct stream *s)
{
    if (!s->dirty)
        return;
    s->dirty = false;
    *(s->prev_dirty != NULL ? &s->prev_dirty->next_dirty : &s->worker->streams.dirty) = s->next_dirty;
    if (s->next_dirty != NULL)
        s->next_dirty->prev_dirty = s->prev_dirty;
}

static size_t begin_block(struct stream *s)
{
    return sse_begin(&s->out, s->chunked);
}

static void end_block(struct stream *s, size_t block)
{
    sse_end(&s->out, s->chunked, block);
    mark_dirty(s);
}

static void append_id(struct stream *s)
{
    buffer_append_text(&s->out, "id: ");
    if (s->follow->ops->position(s->follow, &s->out) != 0)
        s->out.failed = true; /* a reading without its position must not leave */
    buffer_append_char(&s->out, '\n');
    s->id_ms = clock_monotonic_ms();
}

static bool on_reading(void *ctx, const struct telemetry_change *change)
{
    struct stream *s = ctx;

    if (s->ending || (waiting(s) > 0 && waiting(s) + change->data_len > s->worker->config->stream_buffer)) {
        s->no_room = true;
        return false;
    }
    size_t block = begin_block(s);
    buffer_append_text(&s->out, "event: reading\n");
    append_id(s);
    buffer_printf(&s->out, "data: {\"deviceId\":\"%s\",\"data\":", change->device_id);
    sse_data(&s->out, change->data, change->data_len);
    buffer_printf(&s->out, ",\"timestamp\":%lld}\n\n", (long long)change->timestamp);
    end_block(s, block);
    s->readings++;
    metrics_stream_reading(s->worker->metrics);
    return true;
}

static void on_resync(void *ctx, enum telemetry_resync why)
{
    struct stream *s = ctx;
    if (s->ending)
        return;
    size_t block = begin_block(s);
    buffer_append_text(&s->out, "event: resync\n");
    append_id(s);
    buffer_printf(&s->out, "data: {\"reason\":\"%s\"}\n\n",
                  why == TELEMETRY_RESYNC_SLOW ? "slow" : "expired");
    end_block(s, block);
    metrics_stream_resync(s->worker->metrics);
}

static const struct telemetry_follow_events events = {.reading = on_reading, .resync = on_resync};

static void heartbeat(struct stream *s, uint64_t now_ms)
{
    if (waiting(s) > s->worker->config->stream_buffer)
        return; /* there is enough to read that says the same */
    size_t block = begin_block(s);
    buffer_append_text(&s->out, ": heartbeat\n");
    if (now_ms - s->id_ms >= REFRESH_MS)
        append_id(s);
    buffer_append_char(&s->out, '\n');
    end_block(s, block);
}

/* --- life -------------------------------------------------------------------------------------- */

struct stream *stream_new(struct worker *worker, struct telemetry_follow *follow, struct principal *principal,
                          const char *request_id)
{
    struct stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->worker = worker;
    s->follow = follow;
    s->principal = principal != NULL ? principal_ref(principal) : NULL;
    snprintf(s->request_id, sizeof s->request_id, "%s", request_id);
    return s;
}

void stream_free(struct stream *s)
{
    if (s == NULL)
        return;
    if (s->follow != NULL)
        s->follow->ops->close(s->follow);
    principal_unref(s->principal);
    buffer_free(&s->out);
    free(s);
}

static void append(struct streams *streams, struct stream *s)
{
    s->next = NULL;
    s->prev = streams->last;
    *(streams->last != NULL ? &streams->last->next : &streams->first) = s;
    streams->last = s;
}

static void take_out(struct streams *streams, struct stream *s)
{
    *(s->prev != NULL ? &s->prev->next : &streams->first) = s->next;
    *(s->next != NULL ? &s->next->prev : &streams->last) = s->prev;
}

/* Gives up its place, and the connection. */
static void forget(struct stream *s)
{
    struct worker *worker = s->worker;
    take_out(&worker->streams, s);
    atomic_fetch_sub_explicit(&worker->server->streams, 1, memory_order_relaxed);
    metrics_stream(worker->metrics, -1);
    connections_close_stream(worker->connections, s->connection);
    s->connection = NULL;
}

static void on_closed(uv_handle_t *handle)
{
    stream_free(handle->data);
}

static void log_stream(const struct stream *s, const char *why)
{
    struct log *log = s->worker->log;
    if (!log_begin(log, LOG_LEVEL_INFO, "stream"))
        return;
    log_text(log, "requestId", s->request_id);
    log_text(log, "end", why);
    log_milliseconds(log, "durationMs", (clock_monotonic_ms() - s->began_ms) * 1000);
    log_number(log, "readings", (int64_t)s->readings);
    log_number(log, "bytes", (int64_t)s->bytes);
    log_end(log);
}

/* Over: what could not be sent is lost, and the listener resumes elsewhere. */
static void stop(struct stream *s, const char *why)
{
    mark_clean(s);
    log_stream(s, why);
    s->follow->ops->close(s->follow);
    s->follow = NULL;
    forget(s);
    uv_close((uv_handle_t *)&s->poll, on_closed);
}

static void on_socket(uv_poll_t *poll, int status, int happened);

/* Looks for the listener's end always, and for room while something waits. */
static void watch(struct stream *s)
{
    uv_poll_start(&s->poll, UV_READABLE | (waiting(s) > 0 ? UV_WRITABLE : 0), on_socket);
}

static ssize_t send_some(struct stream *s)
{
    const struct connection *c = s->connection;
    struct iovec rest = {.iov_base = s->out.data + s->sent, .iov_len = waiting(s)};
    return c->tls != NULL ? tls_session_send(c->tls, &rest, 1)
                          : send(c->fd, rest.iov_base, rest.iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void forget_sent(struct stream *s)
{
    if (waiting(s) == 0) {
        if (s->out.cap > s->worker->config->stream_buffer / 4)
            buffer_free(&s->out); /* thousands that were slow once need not keep it */
        else
            buffer_clear(&s->out);
    } else if (s->sent > s->out.len / 2) {
        memmove(s->out.data, s->out.data + s->sent, waiting(s));
        s->out.len -= s->sent;
    } else {
        return;
    }
    s->sent = 0;
}

static void flush(struct stream *s)
{
    bool blocked = false;
    while (waiting(s) > 0 && !blocked) {
        ssize_t n = send_some(s);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            stop(s, "lost");
            return;
        }
        blocked = n < 0 && errno == EAGAIN;
        if (n > 0) {
            s->sent += (size_t)n;
            s->bytes += (size_t)n;
            s->moved_ms = clock_monotonic_ms();
        }
    }
    forget_sent(s);
    if (s->ending) {
        stop(s, "ended");
        return;
    }
    if (s->no_room && waiting(s) <= s->worker->config->stream_buffer / 2) {
        s->no_room = false;
        s->follow->ops->go_on(s->follow);
    }
    watch(s);
}

/* Throws away what a listener says; false at its end. */
static bool still_there(struct stream *s)
{
    char scratch[4096];
    const struct connection *c = s->connection;
    for (;;) {
        ssize_t n = c->tls != NULL ? tls_session_receive(c->tls, scratch, sizeof scratch)
                                   : recv(c->fd, scratch, sizeof scratch, MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        s->received += (size_t)n;
        if (n == 0 || s->received > DISCARD_MAX)
            return false;
    }
}

static void on_socket(uv_poll_t *poll, int status, int happened)
{
    struct stream *s = poll->data;
    if (status < 0 || ((happened & UV_READABLE) != 0 && !still_there(s)))
        stop(s, "left");
    else if ((happened & UV_WRITABLE) != 0)
        flush(s);
}

/* The kernel must not hold much more for a slow listener than we would. */
static void bound_kernel(int fd, size_t size)
{
    int room = size < INT32_MAX ? (int)size : INT32_MAX, on = 1;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void stream_start(struct stream *s, struct connection *connection, const struct buffer *head, bool chunked)
{
    struct worker *worker = s->worker;
    uint64_t now_ms = clock_monotonic_ms();

    s->chunked = chunked;
    s->began_ms = s->moved_ms = now_ms;
    s->next_heartbeat_ms = now_ms + worker->config->stream_heartbeat_ms;
    s->connection = connection;
    s->poll.data = s;
    buffer_append(&s->out, head->data, head->len);
    bound_kernel(connection->fd, worker->config->stream_buffer);
    append(&worker->streams, s);
    metrics_stream(worker->metrics, 1);
    if (uv_poll_init(&worker->loop, &s->poll, connection->fd) != 0) {
        forget(s);
        stream_free(s);
        return;
    }
    if (s->principal != NULL) {
        int64_t expiry_s = s->principal->expires_s + TOKEN_SKEW_S;
        if (worker->streams.next_expiry_s == 0 || expiry_s < worker->streams.next_expiry_s)
            worker->streams.next_expiry_s = expiry_s;
    }
    size_t block = begin_block(s);
    buffer_printf(&s->out, "retry: %d\n", RETRY_MS);
    append_id(s);
    buffer_append_char(&s->out, '\n');
    end_block(s, block);
    s->follow->ops->begin(s->follow, &events, s);
}

/* --- for the worker ---------------------------------------------------------------------------- */

void streams_flush(struct streams *streams)
{
    for (struct stream *s; (s = streams->dirty) != NULL;) {
        mark_clean(s);
        if (s->out.failed)
            stop(s, "out of memory");
        else
            flush(s);
    }
}

static void end(struct stream *s, const char *comment)
{
    if (s->ending)
        return;
    sse_comment(&s->out, s->chunked, comment);
    sse_close(&s->out, s->chunked);
    mark_dirty(s);
    s->ending = true;
}

static void end_expired(struct streams *streams, int64_t now_s)
{
    streams->next_expiry_s = 0;
    for (struct stream *s = streams->first; s != NULL; s = s->next) {
        if (s->principal == NULL)
            continue;
        int64_t expiry_s = s->principal->expires_s + TOKEN_SKEW_S;
        if (!principal_current(s->principal, now_s))
            end(s, "the token has ended");
        else if (streams->next_expiry_s == 0 || expiry_s < streams->next_expiry_s)
            streams->next_expiry_s = expiry_s;
    }
}

void streams_tick(struct streams *streams, uint64_t now_ms)
{
    int64_t now_s = clock_wall_s();
    if (streams->next_expiry_s != 0 && now_s >= streams->next_expiry_s)
        end_expired(streams, now_s);
    for (struct stream *s = streams->first, *next; s != NULL && s->next_heartbeat_ms <= now_ms; s = next) {
        next = s->next;
        if (waiting(s) > 0 && now_ms - s->moved_ms >= STALL_MS) {
            stop(s, "stalled");
            continue;
        }
        heartbeat(s, now_ms);
        take_out(streams, s);
        s->next_heartbeat_ms = now_ms + s->worker->config->stream_heartbeat_ms;
        append(streams, s);
    }
    streams_flush(streams);
}

void streams_end(struct streams *streams, const char *comment)
{
    for (struct stream *s = streams->first; s != NULL; s = s->next)
        end(s, comment);
    streams_flush(streams);
}
