/*
 * connections.h - what one worker knows of each client connection beneath libmicrohttpd: its framing
 * (framing.h), what it is waiting for, and since when.
 *
 * Why: libmicrohttpd's own timeout counts inactivity, so a client that trickles lives for ever, and a
 * suspended or refused connection is not watched at all. Here every wait of a connection has a deadline:
 *
 *   idle      between requests                       IDLE_MS, then closed
 *   head      first byte of a head until its last    HEAD_MS, then 408
 *   request   head complete until its answer is out  the request's deadline + ANSWER_MS, then cut off
 *   lingering refused; the answer is sent and what still comes is thrown away, so that the client can read
 * the answer before the connection is reset         LINGER_MS, then closed
 *
 * Reading: the linker wraps recv() inside libmicrohttpd (see meson.build) so that connections_recv() sees
 * each byte first. recv() carries no context, so the worker's table is found through a thread-local pointer,
 * set by connections_use().
 *
 * Threads: one table per worker, used on its thread only. The count of all connections is shared and atomic.
 */
#ifndef TELEMETRYD_CONNECTIONS_H
#define TELEMETRYD_CONNECTIONS_H

#include "framing.h"
#include "log.h"
#include "metrics.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CONNECTION_IDLE_MS   75000
#define CONNECTION_HEAD_MS   10000
#define CONNECTION_ANSWER_MS 15000
#define CONNECTION_LINGER_MS 2000

enum connection_phase {
    CONNECTION_IDLE,
    CONNECTION_HEAD,
    CONNECTION_REQUEST,
    CONNECTION_LINGERING,
    CONNECTION_CLOSING, /* shut down by us; libmicrohttpd has not noticed yet */
    CONNECTION_PHASES
};

struct connection {
    int fd;
    enum connection_phase phase;
    uint64_t since_ms; /* when the phase began */
    struct framing framing;
    bool refused; /* the framing's fault was answered, or will be when the requests before it are */
    struct connection *prev, *next; /* in its phase's list, oldest first */
};

struct connections;

struct connections_options {
    uint64_t request_timeout_ms;
    unsigned max_connections; /* of the process */
    atomic_uint *count;       /* of the process */
    struct log *log;
    struct metrics *metrics;
};

int connections_new(const struct connections_options *options, struct connections **ret_connections);
void connections_free(struct connections *connections); /* accepts NULL */

/* Makes this table the one that recv() of this thread consults. NULL: none. */
void connections_use(struct connections *connections);

/* True when a new connection may be accepted; when the process is full, the connection of this worker that
 * has been without a whole request for longest is closed to make room. */
bool connections_may_accept(struct connections *connections);

/* libmicrohttpd's notifications. open returns NULL when out of memory (the connection is then shut down). */
struct connection *connections_open(struct connections *connections, int fd);
void connections_closed(struct connections *connections, struct connection *connection);

/* recv(), with every byte vetted. `receive` is the real one. A refused request is answered from here;
 * libmicrohttpd sees the end of input. */
typedef ssize_t recv_fn(int fd, void *buffer, size_t size, int flags);
ssize_t connections_recv(int fd, void *buffer, size_t size, int flags, recv_fn *receive);

/* A request's head is complete / its answer is out. */
void connections_request_begins(struct connections *connections, struct connection *connection);
void connections_request_ends(struct connections *connections, struct connection *connection);

/* Answers a request that cannot be waited for any longer, past libmicrohttpd, and ends its connection. Does
 * nothing when it was refused before. */
void connections_refuse(struct connections *connections, struct connection *connection,
                        enum problem_code code, const char *detail);

/* Closes what has waited too long. Call it about four times a second. */
void connections_sweep(struct connections *connections, uint64_t now_ms);

/* For a drain: shuts down connections that are between requests; returns how many connections are still open.
 */
unsigned connections_close_idle(struct connections *connections);
unsigned connections_open_count(const struct connections *connections);

#endif
