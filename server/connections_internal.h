/*
 * connections_internal.h - what connections.c (the table, the deadlines, who gives way) and connections_io.c
 * (the bytes) share.
 */
#ifndef TELEMETRYD_CONNECTIONS_INTERNAL_H
#define TELEMETRYD_CONNECTIONS_INTERNAL_H

#include "connections.h"

struct connection_list {
    struct connection *first, *last;
    unsigned count;
};

struct connections {
    struct connections_options options;
    struct connection_list phases[CONNECTION_PHASES];
    struct connection_list stalled; /* of those in a request */
    struct connection **by_fd;
    size_t by_fd_size;
    unsigned open;
    int nowhere; /* /dev/null */
};

/* The table of this thread, or NULL. */
struct connections *connections_current(void);

void connections_move(struct connections *connections, struct connection *c, enum connection_phase phase);

/* The rest of a body is to come. */
static inline bool connections_in_body(const struct connection *c)
{
    return !framing_idle(&c->framing) && !framing_in_head(&c->framing);
}

/* The client has moved, and is still waited for. */
void connections_stalls(struct connections *connections, struct connection *c);
/* The client is not waited for any more. */
void connections_stalls_not(struct connections *connections, struct connection *c);

/* Under TLS, that nothing more will be sent (close_notify). Not within a request: a client that is cut off
 * there must not take what it has for whole. */
void connections_say_end(const struct connection *c);

/* Says that nothing more will be sent; what still comes is thrown away for a while. */
void connections_linger(struct connections *connections, struct connection *c);

#endif
