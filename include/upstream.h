/*
 * upstream.h - how an answer of an upstream (Cosmos DB, IoT Hub, SQLite) ended, as the routes see it.
 *
 * The clients turn transport errors, HTTP statuses and bodies that cannot be trusted into one of these; the
 * one function problem_from_upstream() (problem.h) turns these into what callers see. Nothing else of an
 * upstream's error (texts, urls, query text) leaves the client.
 */
#ifndef TELEMETRYD_UPSTREAM_H
#define TELEMETRYD_UPSTREAM_H

enum upstream_status {
    UPSTREAM_OK = 0,
    UPSTREAM_NOT_FOUND,  /* the one thing asked for is not there (a twin); never a missing container or hub */
    UPSTREAM_BAD_CURSOR, /* the position given is not one of this store's */
    UPSTREAM_THROTTLED,  /* throttled past the retries, or the wait asked for outlasts the deadline:
                            retry_after_s */
    UPSTREAM_UNAVAILABLE,  /* unreachable, 5xx, missing container, or an answer that cannot be trusted */
    UPSTREAM_TIMEOUT,      /* the deadline passed */
    UPSTREAM_UNAUTHORIZED, /* our credentials were refused */
    UPSTREAM_OVERLOADED,   /* too much in flight here: retry_after_s */
    UPSTREAM_REJECTED, /* the upstream refuses this very request for good (413, 400): asking again will not
                          help */
    UPSTREAM_NO_MEMORY
};

struct upstream_result {
    enum upstream_status status;
    unsigned retry_after_s; /* 1.. where the status says so, else 0 */
    double
        request_charge; /* RUs summed over every attempt that reported one; 0 where the upstream has none */
    unsigned long elapsed_us; /* time spent waiting for the upstream, for logs and metrics */
};

#endif
