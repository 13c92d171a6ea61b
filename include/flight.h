/*
 * flight.h - identical reads asked for once, across all workers of the process ("single flight").
 *
 * The first to ask for a key starts the read on its own worker; everybody who asks while it is under way gets
 * the same answer on their own worker. An answer may be kept for a time (ttl_ms > 0): then later askers get
 * it at once, with its age. The number of kept answers is bounded; the oldest gives way.
 *
 * A flight belongs to nobody who waits: a waiter may cancel, the read goes on for the others and ends by its
 * own deadline.
 *
 * Threads: the table is shared (one mutex, held only to look up and link); callbacks fire on the worker of
 * the waiter.
 */
#ifndef TELEMETRYD_FLIGHT_H
#define TELEMETRYD_FLIGHT_H

#include "mailbox.h"
#include "operation.h"
#include "upstream.h"

#include <stdbool.h>

#include <stddef.h>
#include <stdint.h>

struct flight_table;

int flight_table_new(unsigned max_kept, struct flight_table **ret_table);
/* Only when no flight is under way and no waiter waits. Accepts NULL. */
void flight_table_free(struct flight_table *table);

/* What everybody who waited gets. Immutable; freed when the last reference goes. */
struct flight_answer {
    struct upstream_result result;
    const char *text; /* what the reader made of the answer; may be NULL */
    size_t len;
    const char *next; /* a second text (a continuation), or NULL */
    uint64_t at_ms;   /* clock_monotonic_ms() when it came */
};

struct flight;

/* Starts the read on the calling worker; must end in exactly one flight_land() from that worker, never from
 * inside this call; or return false when it cannot start. */
typedef bool flight_start_fn(void *start_ctx, struct flight *flight, const char *key);

/* The answer must not be used after the callback returns. */
typedef void flight_cb(void *ctx, const struct flight_answer *answer);

/* key: what is asked for, e.g. "twin:d1". start_ctx only needs to live until this function returns (the
 * reader copies what it keeps). mailbox: the calling worker's. NULL when out of memory or when start returned
 * false. */
struct operation *flight_join(struct flight_table *table, struct mailbox *mailbox, const char *key,
                              unsigned ttl_ms, flight_start_fn *start, void *start_ctx, flight_cb *done,
                              void *ctx);

/* Hands the answer to all who wait; text and next are copied. It is kept for the ttl_ms of the flight when
 * the status is UPSTREAM_OK, else not at all. */
void flight_land(struct flight *flight, const struct upstream_result *result, const char *text, size_t len,
                 const char *next);

#endif
