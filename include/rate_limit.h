/*
 * rate_limit.h - fair use: a token bucket per caller, shared by all workers, in bounded memory.
 *
 * A caller is 32 bytes: that of a principal, or of an address (rate_limit_address_key(): IPv6 counts per
 * /64). The table has a fixed number of slots (65,536 of 32 bytes: 2 MB, taken when it is made); when a
 * caller is new and its place is taken, the fullest bucket there gives way, so that forgetting one never
 * gives anybody more than a full bucket, and a flood of new callers cannot push out one that is being limited
 * while a fuller one is there. Keyed hashing: nobody can choose whom they collide with.
 *
 * Threads: any; sharded locks, each held for a few dozen instructions. Time is handed in.
 */
#ifndef TELEMETRYD_RATE_LIMIT_H
#define TELEMETRYD_RATE_LIMIT_H

#include "network.h"

#include <stdbool.h>
#include <stdint.h>

struct rate_limit;

struct rate_limit_verdict {
    bool allowed;
    unsigned remaining; /* whole requests left */
    unsigned reset_s;   /* seconds until the bucket is full again; where refused, until the next one is
                           allowed: 1..60 */
};

/* quota (1 or more) requests per window_s (1 or 60) seconds; a bucket holds `quota`. 0, -ENOMEM, or -EIO
 * where the kernel gives no random bytes. */
int rate_limit_new(unsigned quota, unsigned window_s, struct rate_limit **ret_limit);
void rate_limit_free(struct rate_limit *limit); /* accepts NULL */

/* Takes one request from the caller's bucket: `quota` at once, then one per window_s / quota, exactly.
 * now_us: monotonic; one that stands still refills nothing, one that was set back goes on from there. */
struct rate_limit_verdict rate_limit_take(struct rate_limit *limit, const unsigned char caller[32],
                                          uint64_t now_us);

/* `RateLimit: "default";r=9;t=1` and `RateLimit-Policy: "default";q=10;w=1`
 * (draft-ietf-httpapi-ratelimit-headers). */
void rate_limit_header(const struct rate_limit *limit, const struct rate_limit_verdict *verdict, char *out,
                       size_t size);
void rate_limit_policy_header(const struct rate_limit *limit, char *out, size_t size);

void rate_limit_address_key(const struct network_address *address, unsigned char ret_caller[32]);

#endif
