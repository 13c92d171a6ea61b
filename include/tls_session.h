/*
 * tls_session.h - TLS on one client connection, beneath libmicrohttpd, which sees a plain socket.
 *
 * Why not libmicrohttpd's own TLS: 0.9.75 spins for as long as a handshake waits for its client, has no
 * deadline for one, sends no alert when it fails, and keeps one certificate for life.
 *
 * The calls behave like recv(), sendmsg() and errno on a non-blocking socket, with one promise more, which
 * edge-triggered waiting needs: receive fills the buffer, or reads until the socket has no more. So a short
 * count means that nothing is held back, and a whole one that there may be more.
 *
 * Versions and ciphers: TLS 1.2 and 1.3, AEAD only (tls.c). Threads: those of the connection's worker.
 */
#ifndef TELEMETRYD_TLS_SESSION_H
#define TELEMETRYD_TLS_SESSION_H

#include "tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct tls_session;

/* For a socket that was just accepted; it stays the caller's. Takes the credentials that are valid now. 0 or
 * -ENOMEM. */
int tls_session_new(struct tls *tls, int fd, struct tls_session **ret_session);
void tls_session_free(struct tls_session *session); /* accepts NULL */

/* The same socket is reached through another descriptor from now on. */
void tls_session_move(struct tls_session *session, int fd);

/* Goes on with the handshake. 0: done. -EAGAIN: waits for the client. -EPROTO: it failed, or is no TLS at
 * all; an alert was sent where one may be. */
int tls_session_handshake(struct tls_session *session);

/* After the handshake. -1 with EAGAIN, ECONNRESET (also for a fault in the protocol) and what read() says, or
 * EPIPE; 0 is the client's end, of TLS or of TCP. */
ssize_t tls_session_receive(struct tls_session *session, void *buffer, size_t size);
ssize_t tls_session_send(struct tls_session *session, const struct iovec *pieces, size_t count);

/* Says that nothing more will be sent (close_notify), once. Does not wait. */
void tls_session_end(struct tls_session *session);

#endif
