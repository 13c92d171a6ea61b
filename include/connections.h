/*
 * connections.h - what one worker knows of each client connection beneath libmicrohttpd: its TLS, its framing
 * (framing.h), what it is waiting for, and since when.
 *
 * Why: libmicrohttpd's own timeout counts inactivity, so a client that trickles lives for ever, and a
 * suspended or refused connection is not watched at all. Here every wait of a connection has a deadline:
 *
 *   handshake accepted until TLS stands              HANDSHAKE_MS, then closed
 *   head      first byte of a head until its last    HEAD_MS, then 408
 *   idle      between requests                       IDLE_MS, then closed
 *   request   head complete until its answer is out  the request's deadline + ANSWER_MS, then cut off
 *   stream    left libmicrohttpd for stream.h, which watches it itself
 *   lingering refused; the answer is sent and what still comes is thrown away, so that the client can read
 *             the answer before the connection is reset   LINGER_MS, then closed
 *
 * When the process has as many connections as it may, one of those that are not at work gives way to a new
 * one (connections_have_room). An address may have a limit of its own.
 *
 * Reading and writing: the linker puts the functions below in the place of recv(), send(), sendmsg() and
 * shutdown() inside libmicrohttpd (see meson.build and framing_io.c), so that each byte is seen here first
 * and libmicrohttpd knows nothing of TLS. Those have no argument through which the worker's table could be
 * passed, so it is found through a thread-local pointer, set by connections_use(). Descriptors that are not
 * in the table pass untouched.
 *
 * Threads: one table per worker, used on its thread only. The count of all connections and the counts by
 * address are shared.
 */
#ifndef TELEMETRYD_CONNECTIONS_H
#define TELEMETRYD_CONNECTIONS_H

#include "address_counts.h"
#include "framing.h"
#include "log.h"
#include "metrics.h"
#include "network.h"
#include "tls_session.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define CONNECTION_HANDSHAKE_MS 10000
#define CONNECTION_IDLE_MS      75000
#define CONNECTION_HEAD_MS      10000
#define CONNECTION_ANSWER_MS    15000
#define CONNECTION_LINGER_MS    2000
#define CONNECTION_GRACE_MS     500

enum connection_phase {
    CONNECTION_HANDSHAKE,
    CONNECTION_IDLE,
    CONNECTION_HEAD,
    CONNECTION_REQUEST,
    CONNECTION_LINGERING,
    CONNECTION_CLOSING, /* shut down by us, or detached; libmicrohttpd has not noticed yet */
    CONNECTION_STREAM,
    CONNECTION_PHASES
};

struct connection {
    int fd;
    enum connection_phase phase;
    uint64_t since_ms;       /* when the phase began */
    struct tls_session *tls; /* NULL: plain */
    struct framing framing;
    bool metrics_only; /* came in through the metrics address */
    bool detached;     /* its socket is another connection's now: libmicrohttpd gets nothing from it */
    bool refused;      /* the framing's fault was answered, or will be when the requests before it are */
    struct connection *prev, *next; /* in its phase's list, oldest first */

    /* private */
    struct network_address address;
    bool counted; /* by its address */
    bool stalled; /* in a request that waits for its client: for more of the body, or to take the answer */
    uint64_t stalled_ms;                            /* when the client last moved */
    struct connection *stalled_prev, *stalled_next; /* who has not moved for longest is first */
};

struct connections;

struct connections_options {
    uint64_t request_timeout_ms;
    unsigned max_connections;             /* of the process */
    atomic_uint *count;                   /* of the process */
    struct address_counts *addresses;     /* of the process; NULL: no limit */
    const struct network_list *unlimited; /* addresses that have no limit */
    struct tls *tls;                      /* NULL: none */
    bool vary_origin;                     /* every refusal says `Vary: Origin` */
    struct log *log;
    struct metrics *metrics;
};

/* 0, -ENOMEM, or another negative errno where /dev/null cannot be opened. */
int connections_new(const struct connections_options *options, struct connections **ret_connections);
void connections_free(struct connections *connections); /* accepts NULL */

/* Makes this table the one that this thread consults. NULL: none. */
void connections_use(struct connections *connections);

/* Whether a new connection may be taken: the process is not full, or somebody of this worker's can give way.
 * Those are, in this order: a refused one; a handshake under way, a head that is still coming, a request that
 * waits for its client (for more of the body, or to take the answer); an idle one, unless the ones before are
 * more. Each kind's oldest goes first, and none but the refused before it has had CONNECTION_GRACE_MS: a
 * crowd of newcomers cannot keep those out who would need only a moment. A request that waits for us never
 * gives way. */
bool connections_have_room(const struct connections *connections);

/* For a connection that was just taken: closes the one that gives way, where somebody must. False where the
 * new one is to be closed instead: nobody gives way to one whose address has too many. */
bool connections_make_room(struct connections *connections, const struct sockaddr *from);

/* libmicrohttpd's notifications. open returns NULL when out of memory: the descriptor then leads nowhere, and
 * libmicrohttpd gives it up. A connection too many from its address is opened too, to be closed without a
 * reset. */
struct connection *connections_open(struct connections *connections, int fd, const struct sockaddr *from);
void connections_closed(struct connections *connections, struct connection *connection);

/* Takes the socket of a connection that is in a request away from libmicrohttpd: another descriptor, with a
 * struct connection of its own, in CONNECTION_STREAM; TLS and the places that it has are handed over. What
 * libmicrohttpd still does to the old one reaches nobody. It is the caller's to close with
 * connections_close_stream(). 0, -ENOMEM or another negative errno, and then nothing has changed. */
int connections_detach(struct connections *connections, struct connection *connection,
                       struct connection **ret_stream);
void connections_close_stream(struct connections *connections, struct connection *stream);

/* The real functions. */
struct connections_io {
    ssize_t (*receive)(int fd, void *buffer, size_t size, int flags);
    ssize_t (*send)(int fd, const struct msghdr *message, int flags);
    int (*shutdown)(int fd, int how);
};

/* recv(), with every byte vetted. A refused request is answered from here; libmicrohttpd sees the end of
 * input. */
ssize_t connections_receive(const struct connections_io *io, int fd, void *buffer, size_t size, int flags);
/* sendmsg() and shutdown(). */
ssize_t connections_send(const struct connections_io *io, int fd, const struct msghdr *message, int flags);
int connections_shutdown(const struct connections_io *io, int fd, int how);

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
