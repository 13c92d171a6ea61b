/*
 * request.h - the life of one request, from its head to its answer, on one worker.
 *
 *     socket -> framing -> route_match -> access_check -> params_parse -> handle() -> an operation -> its
 *     callback -> respond_*()
 *
 * A handler is a list of steps that reads from top to bottom: each step either answers (respond.h) or starts
 * one operation and hands it to request_await(), naming the callback that goes on. Only server/request.c
 * knows how libmicrohttpd suspends and resumes a connection.
 *
 * Ownership: one calloc holds the request, its route's state and its target; it is freed when libmicrohttpd
 * has sent the answer or lost the client. What the state points to is freed by the route's release().
 */
#ifndef TELEMETRYD_REQUEST_H
#define TELEMETRYD_REQUEST_H

#include "access.h"
#include "operation.h"
#include "routes.h"
#include "upstream.h"
#include "worker.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_ID_MAX 128

struct request {
    struct worker *worker;
    const struct route *route; /* NULL until the method is known, and where no row fits */
    const char *method;
    char id[REQUEST_ID_MAX + 1];
    char device_id[DEVICE_ID_MAX + 1]; /* of the path, checked; "" where the route has none */
    struct access access;
    struct param_value params[PARAMS_MAX];
    struct stream *stream; /* what the answer turns into; its own once it is handed over */
    struct buffer body;
    int64_t now_us;       /* the one reading of the wall clock that this request's answer goes by */
    uint64_t deadline_ms; /* bounds everything that is done for it */
    void *state;          /* the route's own, route->state_size bytes, zeroed */

    /* Private to server/request.c and server/respond.c. */
    struct MHD_Connection *mhd;
    struct connection *connection;
    struct MHD_Response *response; /* the answer, not yet queued */
    unsigned
        status; /* of the answer; 0: not answered yet. Set even where there was no memory for the answer */
    size_t response_bytes;
    struct operation *operation; /* what it waits for */
    unsigned long upstream_us;
    uint64_t began_us;
    struct request *prev, *next; /* the worker's requests, oldest first */
    struct route_match match;
    size_t discarded; /* bytes of a body that nobody wants */
    bool admitted; /* its caller may make it, and it has no fault of its own: without this no handler runs */
    bool is_http_1_0, detached;
    bool begun, handled, counted, suspended, queued, too_large;
    char *scratch; /* of the parameters */
    char target[];
};

/* Waits for an operation whose callback will answer or await the next. NULL means that it could not start:
 * the request is answered 503 Overloaded. Call it last in a step. */
void request_await(struct request *request, struct operation *operation);

/* The first thing that an operation's callback calls: the operation is over. Returns true when it went well;
 * else the problem is answered and the callback returns. */
bool request_went_well(struct request *request, const struct upstream_result *result);

/* For respond.c: the answer is there; the connection goes on if it was suspended. */
void request_resume(struct request *request);

/* The same without answering: only notes that the operation is over. */
void request_operation_over(struct request *request, const struct upstream_result *result);

/* --- for the worker ---------------------------------------------------------------------------- */

void *request_on_uri(void *worker, const char *target, struct MHD_Connection *mhd);
enum MHD_Result request_on_access(void *worker, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *upload_data,
                                  size_t *upload_size, void **request);
void request_on_completed(void *worker, struct MHD_Connection *mhd, void **request,
                          enum MHD_RequestTerminationCode why);

/* Answers 504 to what is past its deadline. */
void requests_expire(struct worker *worker, uint64_t now_ms);
/* Cancels what is under way and answers 503, so that the daemon can be stopped. */
void requests_abandon(struct worker *worker);

#endif
