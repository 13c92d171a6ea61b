#include "respond.h"

#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEM_TYPE "application/problem+json"

static void begin(struct request *request, unsigned status, struct MHD_Response *response, size_t bytes)
{
    if (request->status != 0) { /* a second answer is a bug of ours; the first one stands */
        if (response != NULL)
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
    access_add_headers(request);
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

void respond_slice(struct request *request, unsigned status, const char *type, struct buffer *text,
                   size_t start, size_t len)
{
    struct MHD_Response *response = from_buffer(text, start, len);
    buffer_free(text);
    begin(request, status, response, len);
    respond_header(request, "Content-Type", type);
}

void respond_json(struct request *request, unsigned status, struct buffer *text, size_t start, size_t len)
{
    respond_slice(request, status, RESPOND_JSON_TYPE, text, start, len);
}

void respond_text(struct request *request, unsigned status, const char *content_type, struct buffer *text)
{
    respond_slice(request, status, content_type, text, 0, text->len);
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

void respond_stream(struct request *request, struct stream *stream)
{
    request->stream = stream;
    respond_empty(request, 200);
    respond_header(request, "Content-Type", "text/event-stream; charset=utf-8");
    respond_header(request, "X-Accel-Buffering", "no"); /* nginx would keep events back */
}

void respond_problem(struct request *request, const struct problem *problem)
{
    struct buffer text = {0};
    char seconds[16];

    problem_write(&text, problem, request->id);
    respond_slice(request, problem_row(problem->code)->status, PROBLEM_TYPE, &text, 0, text.len);
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
