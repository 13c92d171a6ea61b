/*
 * retry.h - whether and when to ask an upstream again: pure decisions (azure-protocols 1.10, 2.3).
 */
#ifndef TELEMETRYD_RETRY_H
#define TELEMETRYD_RETRY_H

#include "http_client.h"

#include <stdbool.h>
#include <stdint.h>

enum retry_service { RETRY_COSMOS, RETRY_IOTHUB };

/* What has happened in one request so far; zeroed at its start. */
struct retry_state {
    unsigned attempts;   /* answered or failed so far */
    unsigned failures;   /* of them: transport failures and 5xx (the "at most 2 retries" budget) */
    unsigned throttles;  /* 429 */
    unsigned contention; /* 449 */
    unsigned gone;       /* 410, 408 */
};

struct retry_input {
    enum retry_service service;
    bool write;          /* every write of ours is an upsert by id, so it may be repeated */
    bool another_region; /* a region other than the one that failed can be asked (for a write: a known other
                            write region) */
    enum http_outcome outcome;
    unsigned status, substatus;
    int64_t
        retry_after_ms; /* from x-ms-retry-after-ms or Retry-After, -1 when neither was there or understood */
    uint64_t now_ms, deadline_ms;
    unsigned jitter; /* random, the decision takes it modulo what it needs */
};

enum retry_action {
    RETRY_NO,              /* the answer stands: success, or an error that asking again does not change */
    RETRY_AFTER,           /* ask again after wait_ms, same region */
    RETRY_OTHER_REGION,    /* mark this region unavailable, ask the next after wait_ms */
    RETRY_REFRESH_ACCOUNT, /* 403/3: read the account, then ask the write region */
    RETRY_GIVE_UP          /* it would be asked again, but tries or time are spent */
};

struct retry_decision {
    enum retry_action action;
    uint32_t wait_ms;
    bool region_failed;     /* the region it came from is unavailable for 5 minutes */
    unsigned retry_after_s; /* for RETRY_GIVE_UP of a throttled request: what to tell the caller, >= 1 */
};

/* Counts the attempt in *state and decides. */
struct retry_decision retry_decide(struct retry_state *state, const struct retry_input *input);

/* Reads x-ms-retry-after-ms (milliseconds, may be fractional) or Retry-After (seconds or an HTTP date,
 * against now_s). -1 when neither can be read; at most one hour. */
int64_t retry_after_from_headers(const char *retry_after_ms, const char *retry_after, int64_t now_s);

#endif
