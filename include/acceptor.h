/*
 * acceptor.h - takes the connections of one listening socket and hands them to a worker's daemon.
 *
 * Why not libmicrohttpd: it would have to turn away what there is no room for. Here a full house leaves the
 * newcomers in the kernel's queue until somebody has had a fair time and gives way (connections.h), so that a
 * crowd of clients that do nothing makes others wait for a moment, but never takes their turn.
 *
 * A worker has two: the one of its share of the main address, and, in one worker, that of the extra address
 * which serves /metrics alone (TELEMETRYD_METRICS_LISTEN). What metrics_only means for routes and permissions
 * is decided in request.c and access.c. Under TLS both speak TLS.
 *
 * Threads: the worker's.
 */
#ifndef TELEMETRYD_ACCEPTOR_H
#define TELEMETRYD_ACCEPTOR_H

#include <stdbool.h>
#include <uv.h>

struct worker;

struct acceptor {
    struct worker *worker;
    uv_poll_t poll;
    int fd; /* the listening socket; -1: none, and then nothing ever happens */
    bool metrics_only;
    bool started;
    bool waiting; /* for room, or, starved of descriptors or memory, for the next tick */
    bool starved;
};

/* Takes the socket over. acceptor_stop() is always right after it. */
void acceptor_init(struct acceptor *acceptor, struct worker *worker, int fd, bool metrics_only);

/* 0 or a negative libuv error. */
int acceptor_start(struct acceptor *acceptor);

/* Once each turn of the loop, and with `tick` a few times a second: goes on where it waits. */
void acceptor_resume(struct acceptor *acceptor, bool tick);

/* Connections that the kernel has accepted for us may have sent their request already: they are ours to
 * answer. */
void acceptor_take_the_rest(struct acceptor *acceptor);

/* Closes the socket. On the loop's thread, before the loop has ended; more than once does no harm. */
void acceptor_stop(struct acceptor *acceptor);

#endif
