#include "refusal.h"

#include "random_id.h"

#include <sys/socket.h>

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

static void send_text(int fd, struct tls_session *tls, const struct buffer *text)
{
    const struct iovec piece = {.iov_base = text->data, .iov_len = text->len};
    if (tls != NULL)
        (void)!tls_session_send(tls, &piece, 1);
    else
        (void)!send(fd, text->data, text->len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void refusal_send(int fd, const struct refusal_context *context, enum problem_code code, const char *detail)
{
    const struct problem_row *row = problem_row(code);
    char id[RANDOM_ID_SIZE];
    struct buffer body = {0}, answer = {0};

    random_id(id);
    problem_write(&body, &(struct problem){.code = code, .detail = detail}, id);
    buffer_printf(
        &answer,
        "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Type: "
        "application/problem+json"
        "\r\nContent-Length: %zu\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nx-request-id: %s\r\n%s%s\r\n",
        row->status, row->title, body.len, id, context->vary_origin ? "Vary: Origin\r\n" : "",
        context->tls != NULL ? "Strict-Transport-Security: " TLS_HSTS "\r\n" : "");
    buffer_append(&answer, body.data, body.len);
    if (!answer.failed && !body.failed)
        send_text(fd, context->tls, &answer);
    log_refusal(context->log, id, row, body.len);
    metrics_request_begin(context->metrics, "_OTHER", "");
    metrics_request_end(context->metrics, "_OTHER", "", row->status, 0);
    buffer_free(&answer);
    buffer_free(&body);
}
