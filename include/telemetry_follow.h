/*
 * telemetry_follow.h - following devices: first the readings after a time or a position, then new ones as
 * they are stored. Implementations: sqlite_follow, cosmos_follow. The consumer is a stream (stream.h).
 *
 * A follow delivers every reading of its devices that was stored after where it begins, once, those of one
 * device in the order in which they were stored. A reading that replaces another (the same item id) is a
 * reading of its own.
 *
 * Positions: after each reading the follow has a position, opaque printable ASCII of at most
 * TELEMETRY_POSITION_MAX bytes, that needs nothing of this process: any telemetryd over the same store
 * resumes from it, for the same devices. It comes back from a stranger and is parsed as such. What cannot be
 * understood, or is older than the store can answer for, is resynced (below), never guessed at.
 *
 * Room: the consumer says by reading()'s result whether it took the reading. While the past is being read, a
 * reading that was not taken is kept and offered again after go_on(). Once the follow is live, one that was
 * not taken means that the consumer is too slow: the follow drops it and all that come until go_on(), then
 * calls resync(TELEMETRY_RESYNC_SLOW) and goes on from that moment. So a follow holds at most one page of the
 * store, whatever its consumer does.
 *
 * Threads: all of one worker. Callbacks fire from the worker's loop, never from inside begin(), go_on() or
 * position(); close() may be called from inside a callback, and no callback fires after it. Upstream errors
 * after the opening are retried by the follow itself, for as long as it lives.
 */
#ifndef TELEMETRYD_TELEMETRY_FOLLOW_H
#define TELEMETRYD_TELEMETRY_FOLLOW_H

#include "buffer.h"
#include "upstream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TELEMETRY_FOLLOW_DEVICES_MAX 100
#define TELEMETRY_POSITION_MAX       4096

struct telemetry_follow_request {
    const char *const *device_ids; /* valid, sorted by bytes, each once; copied */
    size_t count;                  /* 1..TELEMETRY_FOLLOW_DEVICES_MAX */
    bool from_now;                 /* else readings with a timestamp > after */
    int64_t after;                 /* seconds */
    const char *position;          /* of an earlier follow; wins over both; untrusted; NULL: none */
    uint64_t deadline_ms;          /* of the opening */
};

struct telemetry_change {
    const char *device_id;
    const char *data; /* JSON text as it was stored, line breaks included; not NUL-terminated */
    size_t data_len;
    int64_t timestamp; /* seconds */
};

enum telemetry_resync { TELEMETRY_RESYNC_EXPIRED, TELEMETRY_RESYNC_SLOW };

struct telemetry_follow_events {
    /* Returns whether it was taken. Within the call, position() is the one after this reading. */
    bool (*reading)(void *ctx, const struct telemetry_change *change);
    /* Some readings may be missing; what comes next was stored after this moment. */
    void (*resync)(void *ctx, enum telemetry_resync why);
};

struct telemetry_follow;

struct telemetry_follow_ops {
    /* Deliveries begin. Once. */
    void (*begin)(struct telemetry_follow *follow, const struct telemetry_follow_events *events, void *ctx);
    /* There is room again. */
    void (*go_on)(struct telemetry_follow *follow);
    /* Appends the position after what was delivered so far; 0 or -ENOMEM. Also before the first reading. */
    int (*position)(const struct telemetry_follow *follow, struct buffer *out);
    /* Frees it. Accepts no NULL. */
    void (*close)(struct telemetry_follow *follow);
};

/* The first member of every implementation. */
struct telemetry_follow {
    const struct telemetry_follow_ops *ops;
};

/* follow is the callee's to close, NULL unless the status is UPSTREAM_OK. */
typedef void telemetry_followed_cb(void *ctx, const struct upstream_result *result,
                                   struct telemetry_follow *follow);

#endif
