#include "connections_internal.h"

#include <errno.h>

static struct connection *lookup(const struct connections *connections, int fd)
{
    return connections != NULL && (size_t)fd < connections->by_fd_size ? connections->by_fd[fd] : NULL;
}

/* Throws away what a refused client still sends, encrypted or not; 0 at its end, else -1 with EAGAIN. */
static ssize_t discard(const struct connections_io *io, int fd)
{
    char scratch[16384];
    for (unsigned rounds = 0; rounds < 16; rounds++) {
        ssize_t n = io->receive(fd, scratch, sizeof scratch, 0);
        if (n <= 0)
            return n;
    }
    errno = EAGAIN;
    return -1;
}

/* True when there is TLS to read from. */
static bool shake_hands(struct connections *connections, struct connection *c)
{
    int r = tls_session_handshake(c->tls);
    if (r == 0)
        connections_move(connections, c, CONNECTION_HEAD);
    else if (r != -EAGAIN)
        connections_linger(connections, c);
    errno = EAGAIN;
    return r == 0;
}

static ssize_t take(const struct connections_io *io, const struct connection *c, void *buffer, size_t size,
                    int flags)
{
    return c->tls != NULL ? tls_session_receive(c->tls, buffer, size)
                          : io->receive(c->fd, buffer, size, flags);
}

/* A client that sends half a request and goes may have been announced by one edge alone, of which
 * libmicrohttpd takes a short count for the last word. Another edge makes it look again. */
static void look_for_end(const struct connections_io *io, const struct connection *c)
{
    char byte;
    if (c->tls == NULL && !framing_idle(&c->framing) && io->receive(c->fd, &byte, 1, MSG_PEEK) == 0)
        io->shutdown(c->fd, SHUT_RD);
}

/* What the bytes have made of the connection. */
static void note_progress(struct connections *connections, struct connection *c)
{
    if (c->phase == CONNECTION_IDLE)
        connections_move(connections, c, CONNECTION_HEAD);
    else if (c->phase == CONNECTION_REQUEST && connections_in_body(c))
        connections_stalls(connections, c);
    else
        connections_stalls_not(connections, c);
}

ssize_t connections_receive(const struct connections_io *io, int fd, void *buffer, size_t size, int flags)
{
    struct connections *connections = connections_current();
    struct connection *c = lookup(connections, fd);
    if (c == NULL)
        return io->receive(fd, buffer, size, flags);
    if (c->detached) {
        errno = EAGAIN;
        return -1;
    }
    if (c->phase == CONNECTION_HANDSHAKE && !shake_hands(connections, c) && c->phase == CONNECTION_HANDSHAKE)
        return -1;
    if (c->phase == CONNECTION_LINGERING)
        return discard(io, fd);

    if (c->framing.fault) { /* what came before the fault has been answered */
        connections_refuse(connections, c, c->framing.code, c->framing.detail);
        return discard(io, fd);
    }
    ssize_t n = take(io, c, buffer, size, flags);
    if (n <= 0)
        return n;
    size_t passed = framing_feed(&c->framing, buffer, (size_t)n);
    note_progress(connections, c);
    if (!c->framing.fault) {
        if ((size_t)n < size)
            look_for_end(io, c);
        return n;
    }
    if (passed > 0) {
        /* libmicrohttpd waits for an edge before it reads again: the end of input makes one. */
        io->shutdown(fd, SHUT_RD);
        return (ssize_t)passed;
    }
    connections_refuse(connections, c, c->framing.code, c->framing.detail);
    return discard(io, fd);
}

static size_t total(const struct msghdr *message)
{
    size_t len = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        len += message->msg_iov[i].iov_len;
    return len;
}

ssize_t connections_send(const struct connections_io *io, int fd, const struct msghdr *message, int flags)
{
    struct connections *connections = connections_current();
    struct connection *c = lookup(connections, fd);
    if (c == NULL)
        return io->send(fd, message, flags);
    if (c->detached) {
        errno = EPIPE;
        return -1;
    }
    ssize_t n = c->tls != NULL ? tls_session_send(c->tls, message->msg_iov, message->msg_iovlen)
                               : io->send(fd, message, flags);
    if (c->phase != CONNECTION_REQUEST)
        return n;
    bool moved = n > 0, all = n >= 0 && (size_t)n == total(message);
    if (all && !connections_in_body(c))
        connections_stalls_not(connections, c);
    else if (moved || !c->stalled)
        connections_stalls(connections, c);
    return n;
}

int connections_shutdown(const struct connections_io *io, int fd, int how)
{
    const struct connection *c = lookup(connections_current(), fd);
    if (c != NULL && c->detached)
        return 0; /* it acts on the socket, not on the descriptor */
    if (c != NULL && how != SHUT_RD)
        connections_say_end(c);
    return io->shutdown(fd, how);
}
