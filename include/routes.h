/*
 * routes.h - THE table: what this server answers, in one place (routes/table.c).
 */
#ifndef TELEMETRYD_ROUTES_H
#define TELEMETRYD_ROUTES_H

#include "buffer.h"
#include "params.h"
#include "percent.h"
#include "permission.h"

#include <stdbool.h>
#include <stddef.h>

struct request;

enum {
    ROUTE_PROBE = 1,         /* answered while everything else is refused: overload, drain */
    ROUTE_EMBEDDED_ONLY = 2, /* only where the registry can patch: elsewhere 405 */
    ROUTE_METRICS = 4,       /* what the metrics address serves, and the main one then does not */
    ROUTE_PAGE = 8,          /* for people, not for programs: not in the API's contract, and not counted */
};

struct route {
    const char *method;   /* "GET" also answers HEAD */
    const char *template; /* "/devices/{deviceId}/telemetry"; {deviceId} is checked and kept, {file} is any
                             segment */
    const struct param *params;     /* ends with a row without a name; NULL: none */
    const char *const *media_types; /* what a body may be; NULL: the route takes no body */
    const char *operation_id;       /* in openapi.yaml */
    enum permission permission;     /* that a token must carry; PERMISSION_NONE: open to everybody */
    size_t state_size;              /* bytes of request->state, zeroed */
    /* Answers, or starts one operation and awaits it. request_await() and the respond functions are in
     * request.h. */
    void (*handle)(struct request *request);
    /* Frees what the state holds; NULL where it holds nothing. Called exactly once, after the answer or the
     * end. */
    void (*release)(struct request *request);
    unsigned flags;
};

extern const struct route routes[];
extern const size_t routes_count;

enum route_match_kind { ROUTE_NO_MATCH, ROUTE_MATCH, ROUTE_BAD_DEVICE_ID, ROUTE_BAD_TARGET };

struct route_match {
    enum route_match_kind kind;
    size_t first;      /* the first row of the template, with ROUTE_MATCH and ROUTE_BAD_DEVICE_ID */
    const char *path;  /* within the target; NULL with ROUTE_BAD_TARGET */
    const char *query; /* behind the '?', or NULL */
    char device_id[DEVICE_ID_MAX + 1];
};

/* Matches a raw request target (origin form or absolute form, NUL-terminated). */
void route_match(const char *target, struct route_match *ret);

/* The row of the matched template for a method, or NULL. HEAD finds GET. */
const struct route *route_for_method(size_t first, const char *method);

/* "GET, HEAD, OPTIONS" for the template; rows with one of the `without` flags are left out. */
void route_allow(size_t first, unsigned without, struct buffer *out);

/* The largest state of the template's rows. */
size_t route_state_size(size_t first);

/* The table as JSON, for the test that holds openapi.yaml against it. */
void routes_print(struct buffer *out);

#endif
