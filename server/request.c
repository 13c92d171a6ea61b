#include "request.h"

#include "clock.h"
#include "connections.h"
#include "key_source.h"
#include "random_id.h"
#include "respond.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* A body that is too large is read to its end and then refused with 413, so that the client sees the answer
 * rather than a reset; but not for ever. */
#define DISCARD_MAX (16u << 20)

/* An operation knows the deadline too and has more to say about it (how many readings were stored), so it
 * goes first. */
#define EXPIRE_SLACK_MS 50

/* --- the first call: the head is complete ------------------------------------------------------ */

static void take_request_id(struct request *request)
{
    const char *sent = MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, "x-request-id");
    if (sent != NULL) {
        size_t len = strspn(sent, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
        if (len >= 1 && len <= REQUEST_ID_MAX && sent[len] == '\0') {
            memcpy(request->id, sent, len + 1);
            return;
        }
    }
    random_id(request->id);
}

/* "application/json" and "application/json; charset=utf-8" are the same type; another charset is not. */
static bool same_media_type(const char *sent, const char *type)
{
    size_t len = strlen(type);
    if (strncasecmp(sent, type, len) != 0)
        return false;
    const char *rest = sent + len + strspn(sent + len, " \t");
    if (*rest == '\0')
        return true;
    if (*rest != ';')
        return false;
    rest += 1 + strspn(rest + 1, " \t");
    return *rest == '\0' || strcasecmp(rest, "charset=utf-8") == 0 ||
           strcasecmp(rest, "charset=\"utf-8\"") == 0;
}

/* No coding is undone here, so a coded body is not of the type that it says. */
static bool coded(const struct request *request)
{
    const char *coding = MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, "Content-Encoding");
    return coding != NULL && strcasecmp(coding, "identity") != 0;
}

static bool media_type_fits(const struct request *request)
{
    const char *sent = MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, "Content-Type");
    for (const char *const *type = request->route->media_types; sent != NULL && *type != NULL; type++)
        if (same_media_type(sent, *type))
            return true;
    return false;
}

static unsigned rows_left_out(const struct request *request)
{
    return request->worker->registry->ops->patch_reported == NULL ? ROUTE_EMBEDDED_ONLY : 0;
}

static void respond_allow(struct request *request)
{
    struct buffer allow = {0};
    route_allow(request->match.first, rows_left_out(request), &allow);
    const char *text = buffer_terminate(&allow);
    if (text != NULL) {
        respond_header(request, "Allow", text);
        access_add_preflight_headers(request, text);
    }
    buffer_free(&allow);
}

/* Where an extra address serves the metrics, it serves nothing else, and the main one does not serve them. */
static bool on_wrong_address(const struct request *request)
{
    if (!request->worker->config->has_metrics_listen || request->connection == NULL)
        return false;
    bool metrics = (routes[request->match.first].flags & ROUTE_METRICS) != 0;
    return metrics != request->connection->metrics_only;
}

/* Finds the row; NULL where none fits the target and the method. */
static const struct route *find_route(const struct request *request)
{
    const struct route_match *match = &request->match;
    if ((match->kind != ROUTE_MATCH && match->kind != ROUTE_BAD_DEVICE_ID) || on_wrong_address(request))
        return NULL;
    const struct route *route = route_for_method(match->first, request->method);
    return route != NULL && (route->flags & rows_left_out(request)) == 0 ? route : NULL;
}

/* Answers what no row fits. */
static void respond_without_route(struct request *request)
{
    const struct route_match *match = &request->match;
    if (match->kind == ROUTE_BAD_TARGET) {
        respond_problem_code(request, PROBLEM_BAD_REQUEST, "The request target is malformed");
        return;
    }
    if (match->kind == ROUTE_NO_MATCH || on_wrong_address(request)) {
        respond_problem_code(request, PROBLEM_NOT_FOUND, "No such route");
        return;
    }
    if (strcmp(request->method, "OPTIONS") == 0)
        respond_empty(request, 204);
    else
        respond_problem_code(request, PROBLEM_METHOD_NOT_ALLOWED, "The route does not take this method");
    respond_allow(request);
}

/* The request's own faults, before anything is asked of anybody. */
static bool vet(struct request *request)
{
    struct problem problem;

    if (request->match.kind == ROUTE_BAD_DEVICE_ID) {
        respond_problem(request,
                        &(struct problem){.code = PROBLEM_INVALID_DEVICE_ID,
                                          .detail = "A device id is 1 to 128 of IoT Hub's characters",
                                          .target = "deviceId"});
        return false;
    }
    if (!params_parse(request->match.query, request->route->params, request->now_us, request->scratch,
                      request->params, &problem)) {
        respond_problem(request, &problem);
        return false;
    }
    if (request->route->media_types != NULL && (coded(request) || !media_type_fits(request))) {
        respond_problem_code(request, PROBLEM_UNSUPPORTED_MEDIA_TYPE,
                             "The body's Content-Type is not one that is taken");
        return false;
    }
    return true;
}

static void append_to_worker(struct request *request)
{
    struct worker *worker = request->worker;
    request->prev = worker->last_request;
    *(worker->last_request != NULL ? &worker->last_request->next : &worker->first_request) = request;
    worker->last_request = request;
}

static const char *method_label(const char *method)
{
    static const char *const known[] = {"GET", "POST", "PATCH", "HEAD", "OPTIONS", "PUT", "DELETE"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i], method) == 0)
            return known[i];
    return "_OTHER";
}

static const char *route_label(const struct request *request)
{
    return request->match.kind == ROUTE_MATCH || request->match.kind == ROUTE_BAD_DEVICE_ID
               ? routes[request->match.first].template
               : "";
}

static void begin(struct request *request, const char *method)
{
    request->begun = true;
    request->method = method_label(method);
    request->began_us = clock_monotonic_us();
    request->now_us = clock_wall_us();
    request->deadline_ms = request->began_us / 1000 + request->worker->config->request_timeout_ms;
    append_to_worker(request);
    if (request->connection != NULL)
        connections_request_begins(request->worker->connections, request->connection);
    metrics_request_begin(request->worker->metrics, request->method, route_label(request));
    take_request_id(request);
    request->route = find_route(request);
    if (access_check(request, true) != ACCESS_PASSED)
        return;
    if (request->route != NULL)
        request->admitted = vet(request);
    else
        respond_without_route(request);
}

/* --- the body ---------------------------------------------------------------------------------- */

static void take_body(struct request *request, const char *bytes, size_t len)
{
    size_t max = request->worker->config->max_body;
    bool wanted = request->status == 0 && request->route != NULL && request->route->media_types != NULL;

    if (request->too_large || len > max - request->body.len) {
        request->too_large = true;
        buffer_free(&request->body);
        request->discarded += len;
    } else if (wanted)
        buffer_append(&request->body, bytes, len);
    else
        request->discarded += len;
    if (request->discarded > max)
        request->too_large = true;
}

/* --- handling ---------------------------------------------------------------------------------- */

static bool overloaded(struct request *request)
{
    struct server *server = request->worker->server;
    if ((request->route->flags & ROUTE_PROBE) != 0)
        return false;
    unsigned before = atomic_fetch_add_explicit(&server->in_flight, 1, memory_order_relaxed);
    request->counted = true;
    return before >= server->max_in_flight;
}

static void run(struct request *request)
{
    if (request->body.failed || overloaded(request)) {
        respond_problem(request, &(struct problem){.code = PROBLEM_OVERLOADED,
                                                   .detail = "Too many requests are in flight",
                                                   .retry_after_s = 1});
        return;
    }
    if (!access_covers_device(request)) {
        respond_problem_code(request, PROBLEM_DEVICE_NOT_FOUND, "Device not found");
        return;
    }
    request->route->handle(request);
}

/* The keys were fetched, or may not be: the verdict is final now. */
static void on_keys(void *ctx)
{
    struct request *request = ctx;
    request->operation = NULL;
    request->admitted = access_check(request, false) == ACCESS_PASSED && vet(request);
    if (request->admitted)
        run(request);
}

static void handle(struct request *request)
{
    request->handled = true;
    if (request->too_large && request->status == 0)
        respond_problem_code(request, PROBLEM_PAYLOAD_TOO_LARGE, "The body is larger than this server takes");
    if (request->status != 0)
        return;
    if (!request->access.waits) {
        if (request->admitted)
            run(request);
        return;
    }
    request->operation = key_agent_refetch(request->worker->keys, clock_monotonic_ms(), on_keys, request);
    if (request->operation == NULL)
        on_keys(request);
}

void request_await(struct request *request, struct operation *operation)
{
    if (operation != NULL)
        request->operation = operation;
    else
        respond_problem(request, &(struct problem){.code = PROBLEM_OVERLOADED,
                                                   .detail = "Too many requests are in flight",
                                                   .retry_after_s = 1});
}

void request_operation_over(struct request *request, const struct upstream_result *result)
{
    request->operation = NULL;
    request->upstream_us += result->elapsed_us;
}

bool request_went_well(struct request *request, const struct upstream_result *result)
{
    request_operation_over(request, result);
    if (result->status == UPSTREAM_OK)
        return true;
    struct problem problem = problem_from_upstream(result);
    respond_problem(request, &problem);
    return false;
}

void request_resume(struct request *request)
{
    if (!request->suspended)
        return;
    request->suspended = false;
    MHD_resume_connection(request->mhd);
    request->worker->daemon_due = true;
}

/* An answer that its client is slow to read must not count as work: others would be told that there is too
 * much of it. */
static void leave_flight(struct request *request)
{
    if (request->counted)
        atomic_fetch_sub_explicit(&request->worker->server->in_flight, 1, memory_order_relaxed);
    request->counted = false;
}

static enum MHD_Result append_field(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    buffer_printf(cls, "%s: %s\r\n", name, value);
    return MHD_YES;
}

/* The head that libmicrohttpd would write, but for the length of a body that has none. */
static void write_stream_head(const struct request *request, struct buffer *head)
{
    char date[64];
    time_t now = request->now_us / 1000000;
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    buffer_printf(head, "HTTP/1.1 200 OK\r\nDate: %s\r\n", date);
    MHD_get_response_headers(request->response, append_field, head);
    buffer_append_text(head, request->is_http_1_0 ? "Connection: close\r\n\r\n"
                                                  : "Transfer-Encoding: chunked\r\n\r\n");
}

/* The stream leaves with the connection. libmicrohttpd is told to close what it still has of it. */
static enum MHD_Result detach(struct request *request)
{
    struct buffer head = {0};
    struct connection *connection = NULL;

    write_stream_head(request, &head);
    int r = head.failed ? -ENOMEM
                        : connections_detach(request->worker->connections, request->connection, &connection);
    if (r == 0) {
        request->connection = NULL;
        stream_start(request->stream, connection, &head, !request->is_http_1_0);
        request->stream = NULL;
        request->detached = true;
    }
    buffer_free(&head);
    request->queued = true;
    leave_flight(request);
    return MHD_NO;
}

/* Hands the answer over to libmicrohttpd. */
static enum MHD_Result queue(struct request *request)
{
    if (request->response == NULL)
        return MHD_NO; /* no memory even for an error: the connection is closed */
    if (request->stream != NULL && request->status == 200 && request->connection != NULL &&
        strcmp(request->method, "HEAD") != 0)
        return detach(request);
    if (request->worker->draining || request->too_large || request->match.kind == ROUTE_BAD_TARGET)
        MHD_add_response_header(request->response, "Connection", "close");
    enum MHD_Result r = MHD_queue_response(request->mhd, request->status, request->response);
    MHD_destroy_response(request->response);
    request->response = NULL;
    request->queued = true;
    leave_flight(request);
    return r;
}

/* --- what libmicrohttpd calls ------------------------------------------------------------------ */

void *request_on_uri(void *cls, const char *target, struct MHD_Connection *mhd)
{
    struct worker *worker = cls;
    struct route_match match;

    if (target == NULL)
        return NULL;
    route_match(target, &match);
    bool found = match.kind == ROUTE_MATCH || match.kind == ROUTE_BAD_DEVICE_ID;
    size_t state_size = found ? route_state_size(match.first) : 0;
    size_t target_size = strlen(target) + 1;
    size_t state_at = (sizeof(struct request) + 2 * target_size + 15) & ~(size_t)15;
    struct request *request = calloc(1, state_at + state_size);
    if (request == NULL)
        return NULL;
    request->worker = worker;
    request->mhd = mhd;
    memcpy(request->target, target, target_size);
    request->scratch = request->target + target_size;
    request->state = (char *)request + state_at;
    request->match = match;
    if (match.query != NULL)
        request->match.query = request->target + (match.query - target);
    if (match.path != NULL && match.path >= target && match.path <= target + target_size)
        request->match.path = request->target + (match.path - target);
    memcpy(request->device_id, match.device_id, sizeof match.device_id);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    request->connection = info != NULL ? info->socket_context : NULL;
    return request;
}

enum MHD_Result request_on_access(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                  const char *version, const char *upload_data, size_t *upload_size,
                                  void **context)
{
    struct request *request = *context;
    if (request == NULL)
        return MHD_NO;
    if (!request->begun) {
        request->is_http_1_0 = strcmp(version, "HTTP/1.0") == 0;
        begin(request, method);
        return MHD_YES; /* an answer queued in the first call would close the connection */
    }
    if (*upload_size > 0) {
        take_body(request, upload_data, *upload_size);
        *upload_size = 0;
        return request->discarded <= DISCARD_MAX + request->worker->config->max_body ? MHD_YES : MHD_NO;
    }
    if (request->queued)
        return MHD_YES;
    if (!request->handled)
        handle(request);
    if (request->response == NULL && request->operation != NULL) {
        request->suspended = true;
        MHD_suspend_connection(mhd);
        return MHD_YES;
    }
    return queue(request);
}

static void log_request(struct request *request, bool sent)
{
    struct log *log = request->worker->log;
    if (!log_begin(log, LOG_LEVEL_INFO, "request"))
        return;
    log_text(log, "requestId", request->id);
    log_text(log, "method", request->method);
    log_text(log, "route", route_label(request));
    log_number(log, "status", request->status);
    log_milliseconds(log, "durationMs", clock_monotonic_us() - request->began_us);
    log_milliseconds(log, "upstreamMs", request->upstream_us);
    log_number(log, "bytes", (int64_t)request->response_bytes);
    if (!sent)
        log_bool(log, "aborted", true);
    log_end(log);
}

static void remove_from_worker(struct request *request)
{
    struct worker *worker = request->worker;
    *(request->prev != NULL ? &request->prev->next : &worker->first_request) = request->next;
    *(request->next != NULL ? &request->next->prev : &worker->last_request) = request->prev;
}

void request_on_completed(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_RequestTerminationCode why)
{
    struct request *request = *context;
    *context = NULL;
    if (request == NULL)
        return;
    operation_cancel(request->operation);
    if (request->route != NULL && request->route->release != NULL)
        request->route->release(request);
    if (request->begun) {
        remove_from_worker(request);
        leave_flight(request);
        log_request(request, request->detached || why == MHD_REQUEST_TERMINATED_COMPLETED_OK);
        metrics_request_end(request->worker->metrics, request->method, route_label(request), request->status,
                            clock_monotonic_us() - request->began_us);
        if (request->connection != NULL)
            connections_request_ends(request->worker->connections, request->connection);
    }
    if (request->response != NULL)
        MHD_destroy_response(request->response);
    if (request->stream != NULL) {
        stream_free(request->stream);
        atomic_fetch_sub_explicit(&request->worker->server->streams, 1, memory_order_relaxed);
    }
    access_release(&request->access);
    buffer_free(&request->body);
    free(request);
}

/* --- deadlines and the end --------------------------------------------------------------------- */

static void give_up(struct request *request, enum problem_code code, const char *detail)
{
    operation_cancel(request->operation);
    request->operation = NULL;
    respond_problem(
        request,
        &(struct problem){.code = code, .detail = detail, .retry_after_s = code == PROBLEM_OVERLOADED});
}

void requests_expire(struct worker *worker, uint64_t now_ms)
{
    struct request *next;
    for (struct request *request = worker->first_request; request != NULL; request = next) {
        next = request->next;
        if (now_ms < request->deadline_ms + EXPIRE_SLACK_MS)
            return; /* the rest began later */
        if (request->suspended)
            give_up(request, PROBLEM_UPSTREAM_TIMEOUT, "The upstream service did not answer in time");
        else if (!request->handled && request->connection != NULL) {
            request->status = problem_row(PROBLEM_REQUEST_TIMEOUT)->status;
            connections_refuse(worker->connections, request->connection, PROBLEM_REQUEST_TIMEOUT,
                               "The request body was not complete in time");
        }
    }
}

void requests_abandon(struct worker *worker)
{
    for (struct request *request = worker->first_request; request != NULL; request = request->next)
        if (request->suspended)
            give_up(request, PROBLEM_OVERLOADED, "The server is stopping");
}
