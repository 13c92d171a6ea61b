/*
 * refusal.h - the answer to a request that libmicrohttpd never gets to see.
 */
#ifndef TELEMETRYD_REFUSAL_H
#define TELEMETRYD_REFUSAL_H

#include "log.h"
#include "metrics.h"
#include "problem.h"
#include "tls_session.h"

struct refusal_context {
    struct tls_session *tls; /* NULL: plain */
    bool vary_origin;        /* say `Vary: Origin` */
    struct log *log;
    struct metrics *metrics;
};

/* Sends a problem straight to a socket, with Connection: close. Best effort, without waiting: what does not
 * fit into the socket's buffer is not sent. Logged and counted like any other answer, with the method
 * `_OTHER` and no route. */
void refusal_send(int fd, const struct refusal_context *context, enum problem_code code, const char *detail);

#endif
