#include "connections.h"

#include "clock.h"
#include "refusal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

struct list {
    struct connection *first, *last;
};

struct connections {
    struct connections_options options;
    struct list phases[CONNECTION_PHASES];
    struct connection **by_fd;
    size_t by_fd_size;
    unsigned open;
};

/* Thread-local because recv() has no argument through which a table could be passed. */
static _Thread_local struct connections *current;

static void unlink_connection(struct connections *connections, struct connection *c)
{
    struct list *list = &connections->phases[c->phase];
    *(c->prev != NULL ? &c->prev->next : &list->first) = c->next;
    *(c->next != NULL ? &c->next->prev : &list->last) = c->prev;
}

static void enter(struct connections *connections, struct connection *c, enum connection_phase phase)
{
    struct list *list = &connections->phases[phase];
    c->phase = phase;
    c->since_ms = clock_monotonic_ms();
    c->next = NULL;
    c->prev = list->last;
    *(list->last != NULL ? &list->last->next : &list->first) = c;
    list->last = c;
}

static void move(struct connections *connections, struct connection *c, enum connection_phase phase)
{
    unlink_connection(connections, c);
    enter(connections, c, phase);
}

static void cut(struct connections *connections, struct connection *c)
{
    shutdown(c->fd, SHUT_RDWR);
    move(connections, c, CONNECTION_CLOSING);
}

int connections_new(const struct connections_options *options, struct connections **ret_connections)
{
    struct connections *connections = calloc(1, sizeof *connections);
    if (connections == NULL)
        return -ENOMEM;
    connections->options = *options;
    *ret_connections = connections;
    return 0;
}

void connections_free(struct connections *connections)
{
    if (connections == NULL)
        return;
    free(connections->by_fd);
    free(connections);
}

void connections_use(struct connections *connections)
{
    current = connections;
}

bool connections_may_accept(struct connections *connections)
{
    if (atomic_load_explicit(connections->options.count, memory_order_relaxed) <
        connections->options.max_connections)
        return true;
    /* Whoever holds a connection without a request gives way to whoever may have one. */
    static const enum connection_phase order[] = {CONNECTION_LINGERING, CONNECTION_HEAD, CONNECTION_IDLE};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        struct connection *oldest = connections->phases[order[i]].first;
        if (oldest != NULL) {
            cut(connections, oldest);
            return true;
        }
    }
    return false;
}

static int reserve_fd(struct connections *connections, int fd)
{
    if ((size_t)fd < connections->by_fd_size)
        return 0;
    size_t size = (size_t)fd * 2 + 64;
    struct connection **by_fd = realloc(connections->by_fd, size * sizeof *by_fd);
    if (by_fd == NULL)
        return -ENOMEM;
    for (size_t i = connections->by_fd_size; i < size; i++)
        by_fd[i] = NULL;
    connections->by_fd = by_fd;
    connections->by_fd_size = size;
    return 0;
}

struct connection *connections_open(struct connections *connections, int fd)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL || reserve_fd(connections, fd) != 0) {
        free(c);
        shutdown(fd, SHUT_RDWR);
        return NULL;
    }
    c->fd = fd;
    connections->by_fd[fd] = c;
    connections->open++;
    atomic_fetch_add_explicit(connections->options.count, 1, memory_order_relaxed);
    /* A client that connects owes a request: it gets the time of a head, not that of an idle connection. */
    enter(connections, c, CONNECTION_HEAD);
    return c;
}

void connections_closed(struct connections *connections, struct connection *c)
{
    if (c == NULL)
        return;
    unlink_connection(connections, c);
    connections->by_fd[c->fd] = NULL;
    connections->open--;
    atomic_fetch_sub_explicit(connections->options.count, 1, memory_order_relaxed);
    free(c);
}

void connections_request_begins(struct connections *connections, struct connection *c)
{
    move(connections, c, CONNECTION_REQUEST);
}

void connections_request_ends(struct connections *connections, struct connection *c)
{
    if (c->phase == CONNECTION_REQUEST)
        move(connections, c, framing_in_head(&c->framing) ? CONNECTION_HEAD : CONNECTION_IDLE);
}

/* Answers what libmicrohttpd never gets to see, then lets the client read the answer: closing at once would
 * reset the connection while its bytes are still coming, and the reset may overtake the answer. */
void connections_refuse(struct connections *connections, struct connection *c, enum problem_code code,
                        const char *detail)
{
    if (c->refused)
        return;
    c->refused = true;
    refusal_send(c->fd, code, detail, connections->options.log, connections->options.metrics);
    shutdown(c->fd, SHUT_WR);
    move(connections, c, CONNECTION_LINGERING);
}

/* Throws away what a refused client still sends; 0 at its end, else -1 with EAGAIN. */
static ssize_t discard(int fd, recv_fn *receive)
{
    char scratch[16384];
    for (unsigned rounds = 0; rounds < 16; rounds++) {
        ssize_t n = receive(fd, scratch, sizeof scratch, 0);
        if (n <= 0)
            return n;
    }
    errno = EAGAIN;
    return -1;
}

ssize_t connections_recv(int fd, void *buffer, size_t size, int flags, recv_fn *receive)
{
    struct connections *connections = current;
    struct connection *c =
        connections != NULL && (size_t)fd < connections->by_fd_size ? connections->by_fd[fd] : NULL;
    if (c == NULL)
        return receive(fd, buffer, size, flags);
    if (c->phase == CONNECTION_LINGERING)
        return discard(fd, receive);

    ssize_t n = receive(fd, buffer, size, flags);
    if (c->framing.fault) { /* what came before the fault has been answered */
        connections_refuse(connections, c, c->framing.code, c->framing.detail);
        return discard(fd, receive);
    }
    if (n <= 0)
        return n;
    size_t passed = framing_feed(&c->framing, buffer, (size_t)n);
    if (c->phase == CONNECTION_IDLE)
        move(connections, c, CONNECTION_HEAD);
    if (!c->framing.fault)
        return n;
    if (passed > 0) {
        /* libmicrohttpd waits for an edge before it reads again: the end of input makes one. */
        shutdown(fd, SHUT_RD);
        return (ssize_t)passed;
    }
    connections_refuse(connections, c, c->framing.code, c->framing.detail);
    return discard(fd, receive);
}

static void sweep_phase(struct connections *connections, enum connection_phase phase, uint64_t before_ms)
{
    struct connection *c = connections->phases[phase].first;
    while (c != NULL && c->since_ms <= before_ms) {
        struct connection *next = c->next;
        if (phase == CONNECTION_HEAD && (framing_in_head(&c->framing)))
            connections_refuse(connections, c, PROBLEM_REQUEST_TIMEOUT,
                               "The request head was not complete in time");
        else
            cut(connections, c);
        c = next;
    }
}

void connections_sweep(struct connections *connections, uint64_t now_ms)
{
    const uint64_t patience[CONNECTION_PHASES] = {
        [CONNECTION_IDLE] = CONNECTION_IDLE_MS,
        [CONNECTION_HEAD] = CONNECTION_HEAD_MS,
        [CONNECTION_REQUEST] = connections->options.request_timeout_ms + CONNECTION_ANSWER_MS,
        [CONNECTION_LINGERING] = CONNECTION_LINGER_MS,
    };
    for (enum connection_phase phase = 0; phase < CONNECTION_CLOSING; phase++)
        if (now_ms > patience[phase])
            sweep_phase(connections, phase, now_ms - patience[phase]);
}

unsigned connections_close_idle(struct connections *connections)
{
    static const enum connection_phase between[] = {CONNECTION_IDLE, CONNECTION_HEAD};
    for (size_t i = 0; i < sizeof between / sizeof *between; i++)
        for (struct connection *c = connections->phases[between[i]].first, *next; c != NULL; c = next) {
            next = c->next;
            if (framing_idle(&c->framing))
                cut(connections, c);
        }
    return connections->open;
}

unsigned connections_open_count(const struct connections *connections)
{
    return connections->open;
}
