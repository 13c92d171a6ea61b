/*
 * http_client.h - calls to upstreams over HTTP/1.1, on one worker's loop.
 *
 * What is in flight is bounded (`max_in_flight`, which is also how many connections are in use at once); more
 * waits in a FIFO of `max_waiting`, and what does not fit there is refused: http_call_start() returns NULL
 * with errno EBUSY. One call is one attempt: retries live with the client that knows what the answer means
 * (retry.h).
 *
 * An answer is only handed on as whole when its header block ended, exactly one framing was there (one
 * Content-Length or chunked; none for 204, 304 and HEAD), and the body has the length that was said (RFC
 * 9112). Everything else is HTTP_BROKEN: two lengths, a body that ends with the connection, folded lines, ...
 *
 * Connections are kept and reused. libcurl makes them: it looks names up, tries their addresses and verifies
 * TLS against ca_file or the system's bundle. Redirects are not followed; proxies from the environment are
 * not used; bodies are neither compressed nor decompressed.
 */
#ifndef TELEMETRYD_HTTP_CLIENT_H
#define TELEMETRYD_HTTP_CLIENT_H

#include "buffer.h"
#include "operation.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct http_client;

struct http_client_options {
    const char *ca_file; /* PEM bundle, or NULL for the system's */
    unsigned max_in_flight;
    unsigned max_waiting;
};

int http_client_new(uv_loop_t *loop, const struct http_client_options *options,
                    struct http_client **ret_client);
/* No call may be under way (cancel them first). Frees itself when the loop has run its close callbacks.
 * Accepts NULL. */
void http_client_close(struct http_client *client);

/* Lets the client do what is due now: deadlines, waiting calls, and the callbacks of finished ones, which run
 * inside. The worker calls it once a turn, after the events and after the handlers, and again while it
 * returns true. */
bool http_client_turn(struct http_client *client);

#define HTTP_CALL_HEADERS_MAX 16

struct http_call_options {
    const char *method;                         /* static text: "GET", "POST" */
    const char *url;                            /* absolute; copied */
    const char *headers[HTTP_CALL_HEADERS_MAX]; /* "name: value", NULL-terminated unless full; copied */
    const char *body;                           /* NULL: none. Must live until the callback or the cancel. */
    size_t body_len;
    size_t max_body; /* of the answer, in bytes; a longer one is HTTP_TOO_LARGE */
    size_t headroom; /* bytes left unused before the answer's body */
    bool fresh; /* on a connection of its own: another attempt after a failure, where a kept connection that
                   is dead too would cost the upstream one request more than the caller counts */
    uint64_t deadline_ms; /* clock_monotonic_ms() */
};

enum http_outcome {
    HTTP_ANSWERED,  /* a whole answer with `status` */
    HTTP_REFUSED,   /* no connection: refused, reset before anything came, DNS, TLS */
    HTTP_BROKEN,    /* the connection ended or garbled after the request was sent */
    HTTP_TIMED_OUT, /* deadline_ms passed */
    HTTP_TOO_LARGE,
    HTTP_NO_MEMORY
};

/* Answer headers that clients look at; NULL where absent. Of a repeated one the first. */
struct http_answer {
    enum http_outcome outcome;
    unsigned status;    /* 0 unless HTTP_ANSWERED */
    struct buffer body; /* headroom bytes, then the body, then a NUL; a callback may take it (then zero it) */
    size_t body_start;  /* = headroom */
    size_t body_len;
    const char *continuation;   /* x-ms-continuation */
    const char *request_charge; /* x-ms-request-charge */
    const char *substatus;      /* x-ms-substatus */
    const char *retry_after_ms; /* x-ms-retry-after-ms */
    const char *retry_after;    /* Retry-After */
    const char *etag;           /* ETag */
    const char *content_type;   /* Content-Type */
    unsigned long elapsed_us;   /* from start of the call, waiting in the FIFO included */
    bool resent; /* a kept connection died under the request, and it was sent once more on a fresh one: count
                  * it as two attempts, the upstream may have seen both */
};

typedef void http_call_cb(void *ctx, struct http_answer *answer);

struct operation *http_call_start(struct http_client *client, const struct http_call_options *options,
                                  http_call_cb *done, void *ctx);

unsigned http_client_in_flight(const struct http_client *client); /* waiting ones included */

#endif
