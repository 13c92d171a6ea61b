/*
 * problem.h - what callers see when something is wrong: RFC 9457 problem+json, from one table of codes.
 */
#ifndef TELEMETRYD_PROBLEM_H
#define TELEMETRYD_PROBLEM_H

#include "buffer.h"
#include "upstream.h"

#include <stdbool.h>

enum problem_code {
    PROBLEM_BAD_REQUEST,
    PROBLEM_UNKNOWN_PARAMETER,
    PROBLEM_DUPLICATE_PARAMETER,
    PROBLEM_INVALID_PARAMETER,
    PROBLEM_INVALID_DEVICE_ID,
    PROBLEM_INVALID_CURSOR,
    PROBLEM_INVALID_JSON,
    PROBLEM_INVALID_READING,
    PROBLEM_INVALID_PATCH,
    PROBLEM_UNAUTHORIZED,
    PROBLEM_FORBIDDEN,
    PROBLEM_NOT_FOUND,
    PROBLEM_DEVICE_NOT_FOUND,
    PROBLEM_METHOD_NOT_ALLOWED,
    PROBLEM_NOT_ACCEPTABLE,
    PROBLEM_REQUEST_TIMEOUT,
    PROBLEM_PAYLOAD_TOO_LARGE,
    PROBLEM_URI_TOO_LONG,
    PROBLEM_UNSUPPORTED_MEDIA_TYPE,
    PROBLEM_EXPECTATION_FAILED,
    PROBLEM_TOO_MANY_REQUESTS,
    PROBLEM_HEADERS_TOO_LARGE,
    PROBLEM_INTERNAL_ERROR,
    PROBLEM_NOT_IMPLEMENTED,
    PROBLEM_UPSTREAM_UNAVAILABLE,
    PROBLEM_UPSTREAM_UNAUTHORIZED,
    PROBLEM_UPSTREAM_REJECTED,
    PROBLEM_UPSTREAM_THROTTLED,
    PROBLEM_OVERLOADED,
    PROBLEM_KEYS_UNAVAILABLE,
    PROBLEM_UPSTREAM_TIMEOUT,
    PROBLEM_VERSION_NOT_SUPPORTED,
    PROBLEM_COUNT
};

struct problem_row {
    const char *code;  /* "DeviceNotFound" */
    unsigned status;   /* 404 */
    const char *title; /* "Not Found" */
};

const struct problem_row *problem_row(enum problem_code code);

/* The members of a problem beyond code: zero or NULL leaves a member out. */
struct problem {
    enum problem_code code;
    const char *detail; /* what is wrong, in words fit for a caller; NULL: the title again */
    const char *target; /* the parameter at fault; ASCII */
    unsigned line, column;
    long index;  /* of the reading at fault, from 0; with has_index */
    long stored; /* readings that are durable; with has_stored */
    bool has_index, has_stored;
    unsigned retry_after_s; /* for the Retry-After header */
};

/* Appends the JSON text. */
void problem_write(struct buffer *out, const struct problem *problem, const char *request_id);

/* The table as JSON, for the test that holds the documents against it. */
void problems_print(struct buffer *out);

/* The one place where an upstream's trouble becomes a problem. status must not be UPSTREAM_OK. */
struct problem problem_from_upstream(const struct upstream_result *result);

#endif
