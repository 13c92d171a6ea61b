/*
 * telemetry_store.h - the contract of a telemetry store. Implementations: cosmos_store (Cosmos DB),
 * sqlite_store.
 *
 * A store is bound to one worker: its functions are called on that worker's thread, and callbacks fire there.
 * The rules of operation.h hold for every function that returns an operation. All text that a function is
 * given may be freed when it returns; all text a callback is given lives until the callback returns, unless
 * said otherwise.
 *
 * A reading's `timestamp` is the second in which it was stored (Cosmos: `_ts`), seconds since 1970.
 */
#ifndef TELEMETRYD_TELEMETRY_STORE_H
#define TELEMETRYD_TELEMETRY_STORE_H

#include "buffer.h"
#include "operation.h"
#include "telemetry_follow.h"
#include "upstream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct telemetry_store;

/* Bytes that read_range leaves unused before the page, so that an answer's head can be written in place. */
#define TELEMETRY_PAGE_HEADROOM 1024

struct telemetry_range {
    const char *device_id; /* valid (device_id.h) */
    int64_t after;         /* seconds; readings with after < timestamp <= until */
    int64_t until;
    bool ascending;
    unsigned limit;       /* 1..10000 readings at most */
    const char *position; /* the `next` of the page before, byte for byte as a caller sent it back; or NULL.
                             Untrusted. */
    uint64_t deadline_ms; /* clock_monotonic_ms() */
};

struct telemetry_page {
    /* text.data + TELEMETRY_PAGE_HEADROOM (or more, see `start`) begins a JSON array
     * `[{"data":..,"timestamp":..},..]`. Everything before `start` and after `start + length` is scratch. */
    struct buffer text; /* a callback may take it: then set it to a zeroed buffer; else it is freed after the
                           callback */
    size_t start;       /* >= TELEMETRY_PAGE_HEADROOM */
    size_t length;      /* of the array, brackets included */
    unsigned count;     /* readings in it */
    const char
        *next; /* the position after the last reading, printable ASCII, where more remains; NULL at the end */
};

/* page is NULL unless result->status is UPSTREAM_OK. */
typedef void telemetry_page_cb(void *ctx, const struct upstream_result *result, struct telemetry_page *page);

/* data is the reading's JSON text (not NUL-terminated), NULL where the device has no reading (status
 * UPSTREAM_OK). */
typedef void telemetry_latest_cb(void *ctx, const struct upstream_result *result, const char *data,
                                 size_t data_len, int64_t timestamp);

/* One reading to store. */
struct reading {
    const char *data; /* the JSON object as the caller sent it, validated, not NUL-terminated */
    size_t data_len;
    /* The item id: `deviceId-timestamp` percent-encoded for Cosmos, so that a repeated delivery replaces; or
     * NULL where the reading has no timestamp (the id is then random). NUL-terminated. */
    const char *id;
};

struct telemetry_write {
    const char *device_id;
    const struct reading
        *readings; /* of 1..500; the text stays the caller's and must live until the callback or cancel */
    size_t count;
    int64_t ttl_s; /* >= 1: how long the readings live */
    uint64_t deadline_ms;
};

/* stored: how many of the first readings are durable; equals count when the status is UPSTREAM_OK.
 * at: the second they were stored in. A write that is cancelled may or may not happen. */
typedef void telemetry_stored_cb(void *ctx, const struct upstream_result *result, size_t stored, int64_t at);

typedef void telemetry_check_cb(void *ctx, const struct upstream_result *result, const char *reason);

struct telemetry_store_ops {
    const char *mode; /* "cosmos" or "embedded": what /readyz and the first log line call it */

    /* Required. One page of readings, in the order of their timestamps, those of one second in the order in
     * which they were stored (reversed when descending). Never a part of a page: an error is an error of the
     * whole. */
    struct operation *(*read_range)(struct telemetry_store *store, const struct telemetry_range *range,
                                    telemetry_page_cb *done, void *ctx);
    /* Required. The newest reading. */
    struct operation *(*latest)(struct telemetry_store *store, const char *device_id, uint64_t deadline_ms,
                                telemetry_latest_cb *done, void *ctx);
    /* Required. Stores readings in order; UPSTREAM_OK only when every one is durable. */
    struct operation *(*write)(struct telemetry_store *store, const struct telemetry_write *write,
                               telemetry_stored_cb *done, void *ctx);
    /* Required. Opens a follow (telemetry_follow.h); UPSTREAM_OK once the store is known to answer. Follows
     * are closed before the store is freed. */
    struct operation *(*follow)(struct telemetry_store *store, const struct telemetry_follow_request *request,
                                telemetry_followed_cb *done, void *ctx);
    /* Required. Asks whether the store could serve now; reason (static, or NULL) says what is wrong in words
     * fit for a caller, e.g. "the container's partition key is /x". */
    struct operation *(*check)(struct telemetry_store *store, uint64_t deadline_ms, telemetry_check_cb *done,
                               void *ctx);
    /* Required. Frees the store. No operation may be under way. Accepts NULL. */
    void (*free)(struct telemetry_store *store);
};

/* The first member of every implementation. */
struct telemetry_store {
    const struct telemetry_store_ops *ops;
};

#endif
