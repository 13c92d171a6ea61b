#include "respond.h"

#include "random_id.h"
#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define JSON_TYPE    "application/json; charset=utf-8"
#define PROBLEM_TYPE "application/problem+json"

static void begin(struct request *request, unsigned status, struct MHD_Response *response, size_t bytes)
{
    if (request->response != NULL) { /* a second answer is a bug of ours; the first one stands */
        MHD_destroy_response(response);
        return;
    }
    request->status = status;
    request->response = response;
    request->response_bytes = bytes;
    if (response == NULL) {
        request_resume(request); /* the connection is closed: there is not even memory for an error */
        return;
    }
    MHD_add_response_header(response, "x-request-id", request->id);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    request_resume(request);
}

/* The bytes in the middle of a buffer, without a copy: libmicrohttpd gets them with the buffer's start to
 * free. */
static struct MHD_Response *from_buffer(struct buffer *text, size_t start, size_t len)
{
    if (text->failed || text->data == NULL)
        return NULL;
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback_cls(len, text->data + start, free, text->data);
    if (response != NULL)
        *text = (struct buffer){0};
    return response;
}

static void respond_buffer(struct request *request, unsigned status, const char *type, struct buffer *text,
                           size_t start, size_t len)
{
    struct MHD_Response *response = from_buffer(text, start, len);
    buffer_free(text);
    begin(request, response != NULL ? status : 503, response, len);
    respond_header(request, "Content-Type", type);
}

void respond_json(struct request *request, unsigned status, struct buffer *text, size_t start, size_t len)
{
    respond_buffer(request, status, JSON_TYPE, text, start, len);
}

void respond_text(struct request *request, unsigned status, const char *content_type, struct buffer *text)
{
    respond_buffer(request, status, content_type, text, 0, text->len);
}

void respond_static(struct request *request, unsigned status, const char *content_type, const char *text,
                    size_t len)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
    begin(request, status, response, len);
    respond_header(request, "Content-Type", content_type);
}

void respond_empty(struct request *request, unsigned status)
{
    begin(request, status, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT), 0);
}

void respond_problem(struct request *request, const struct problem *problem)
{
    struct buffer text = {0};
    char seconds[16];

    problem_write(&text, problem, request->id);
    respond_buffer(request, problem_row(problem->code)->status, PROBLEM_TYPE, &text, 0, text.len);
    if (problem->retry_after_s > 0) {
        snprintf(seconds, sizeof seconds, "%u", problem->retry_after_s);
        respond_header(request, "Retry-After", seconds);
    }
}

void respond_problem_code(struct request *request, enum problem_code code, const char *detail)
{
    respond_problem(request, &(struct problem){.code = code, .detail = detail});
}

void respond_header(struct request *request, const char *name, const char *value)
{
    if (request->response == NULL)
        return;
    if (strcmp(name, "Cache-Control") == 0)
        MHD_del_response_header(request->response, name, "no-store");
    MHD_add_response_header(request->response, name, value);
}

static void log_refusal(struct log *log, const char *id, const struct problem_row *row, size_t bytes)
{
    if (!log_begin(log, LOG_LEVEL_INFO, "request"))
        return;
    log_text(log, "requestId", id);
    log_text(log, "method", "_OTHER");
    log_text(log, "route", "");
    log_number(log, "status", row->status);
    log_text(log, "code", row->code);
    log_number(log, "bytes", (int64_t)bytes);
    log_end(log);
}

void respond_raw(int fd, enum problem_code code, const char *detail, struct log *log, struct metrics *metrics)
{
    const struct problem_row *row = problem_row(code);
    char id[REQUEST_ID_MAX + 1];
    struct buffer body = {0}, answer = {0};

    random_id(id);
    problem_write(&body, &(struct problem){.code = code, .detail = detail}, id);
    buffer_printf(&answer,
                  "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Type: " PROBLEM_TYPE
                  "\r\nContent-Length: %zu\r\n"
                  "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nx-request-id: %s\r\n\r\n",
                  row->status, row->title, body.len, id);
    buffer_append(&answer, body.data, body.len);
    if (!answer.failed && !body.failed)
        (void)!send(fd, answer.data, answer.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    log_refusal(log, id, row, body.len);
    metrics_request_begin(metrics, "_OTHER", "");
    metrics_request_end(metrics, "_OTHER", "", row->status, 0);
    buffer_free(&answer);
    buffer_free(&body);
}
