/*
 * access.h - who may make a request: the caller's address or token, fair use, the route's permission, the
 * token's devices.
 *
 * The order: the token is verified, so that the caller is known; one request is taken from the caller's
 * bucket; then the token must be good and carry the route's permission. A token that fails counts against its
 * address.
 *
 * Threads: on the request's worker.
 */
#ifndef TELEMETRYD_ACCESS_H
#define TELEMETRYD_ACCESS_H

#include "rate_limit.h"
#include "token.h"

#include <stdbool.h>

struct request;

enum access_verdict {
    ACCESS_PASSED,
    ACCESS_REFUSED,    /* answered */
    ACCESS_UNKNOWN_KEY /* the token may be good, but its key is not in the set: a fetch may bring it */
};

/* What is known of a request's caller; part of struct request, all zero at first. */
struct access {
    struct principal *principal; /* NULL: no token, or none was asked for */
    struct rate_limit_verdict rate;
    bool rated; /* `rate` holds a verdict */
    bool waits; /* for a key */
};

/* Judges the request, whose route is NULL where none fits it. may_wait: false once the keys were fetched;
 * then ACCESS_UNKNOWN_KEY is not returned. */
enum access_verdict access_check(struct request *request, bool may_wait);

/* False where the token is limited to other devices; true where the route has none. */
bool access_covers_device(const struct request *request);

void access_release(struct access *access);

/* --- server/access_fields.c -------------------------------------------------------------------- */

/* An OPTIONS by which a browser asks whether a page of another origin may call. */
bool access_is_preflight(const struct request *request);

/* For respond.c: the fields that every answer carries because of the settings of access (HSTS, CORS, rate
 * limit). */
void access_add_headers(struct request *request);

/* The fields of a preflight's answer; allow: the methods of the route. */
void access_add_preflight_headers(struct request *request, const char *allow);

#endif
