#include "problem.h"

static const struct problem_row rows[PROBLEM_COUNT] = {
    [PROBLEM_BAD_REQUEST] = {"BadRequest", 400, "Bad Request"},
    [PROBLEM_UNKNOWN_PARAMETER] = {"UnknownParameter", 400, "Bad Request"},
    [PROBLEM_DUPLICATE_PARAMETER] = {"DuplicateParameter", 400, "Bad Request"},
    [PROBLEM_INVALID_PARAMETER] = {"InvalidParameter", 400, "Bad Request"},
    [PROBLEM_INVALID_DEVICE_ID] = {"InvalidDeviceId", 400, "Bad Request"},
    [PROBLEM_INVALID_CURSOR] = {"InvalidCursor", 400, "Bad Request"},
    [PROBLEM_INVALID_JSON] = {"InvalidJson", 400, "Bad Request"},
    [PROBLEM_INVALID_READING] = {"InvalidReading", 400, "Bad Request"},
    [PROBLEM_INVALID_PATCH] = {"InvalidPatch", 400, "Bad Request"},
    [PROBLEM_UNAUTHORIZED] = {"Unauthorized", 401, "Unauthorized"},
    [PROBLEM_FORBIDDEN] = {"Forbidden", 403, "Forbidden"},
    [PROBLEM_NOT_FOUND] = {"NotFound", 404, "Not Found"},
    [PROBLEM_DEVICE_NOT_FOUND] = {"DeviceNotFound", 404, "Not Found"},
    [PROBLEM_METHOD_NOT_ALLOWED] = {"MethodNotAllowed", 405, "Method Not Allowed"},
    [PROBLEM_NOT_ACCEPTABLE] = {"NotAcceptable", 406, "Not Acceptable"},
    [PROBLEM_REQUEST_TIMEOUT] = {"RequestTimeout", 408, "Request Timeout"},
    [PROBLEM_PAYLOAD_TOO_LARGE] = {"PayloadTooLarge", 413, "Content Too Large"},
    [PROBLEM_URI_TOO_LONG] = {"UriTooLong", 414, "URI Too Long"},
    [PROBLEM_UNSUPPORTED_MEDIA_TYPE] = {"UnsupportedMediaType", 415, "Unsupported Media Type"},
    [PROBLEM_EXPECTATION_FAILED] = {"ExpectationFailed", 417, "Expectation Failed"},
    [PROBLEM_TOO_MANY_REQUESTS] = {"TooManyRequests", 429, "Too Many Requests"},
    [PROBLEM_HEADERS_TOO_LARGE] = {"HeadersTooLarge", 431, "Request Header Fields Too Large"},
    [PROBLEM_INTERNAL_ERROR] = {"InternalError", 500, "Internal Server Error"},
    [PROBLEM_NOT_IMPLEMENTED] = {"NotImplemented", 501, "Not Implemented"},
    [PROBLEM_UPSTREAM_UNAVAILABLE] = {"UpstreamUnavailable", 502, "Bad Gateway"},
    [PROBLEM_UPSTREAM_UNAUTHORIZED] = {"UpstreamUnauthorized", 502, "Bad Gateway"},
    [PROBLEM_UPSTREAM_REJECTED] = {"UpstreamRejected", 502, "Bad Gateway"},
    [PROBLEM_UPSTREAM_THROTTLED] = {"UpstreamThrottled", 503, "Service Unavailable"},
    [PROBLEM_OVERLOADED] = {"Overloaded", 503, "Service Unavailable"},
    [PROBLEM_KEYS_UNAVAILABLE] = {"KeysUnavailable", 503, "Service Unavailable"},
    [PROBLEM_UPSTREAM_TIMEOUT] = {"UpstreamTimeout", 504, "Gateway Timeout"},
    [PROBLEM_VERSION_NOT_SUPPORTED] = {"VersionNotSupported", 505, "HTTP Version Not Supported"},
};

const struct problem_row *problem_row(enum problem_code code)
{
    return &rows[code];
}

static void append_text_member(struct buffer *out, const char *name, const char *value)
{
    buffer_printf(out, ",\"%s\":", name);
    buffer_append_json_string(out, value, __builtin_strlen(value));
}

void problem_write(struct buffer *out, const struct problem *problem, const char *request_id)
{
    const struct problem_row *row = &rows[problem->code];

    buffer_printf(out, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u", row->title, row->status);
    append_text_member(out, "detail", problem->detail != NULL ? problem->detail : row->title);
    append_text_member(out, "code", row->code);
    append_text_member(out, "requestId", request_id);
    if (problem->target != NULL)
        append_text_member(out, "target", problem->target);
    if (problem->line != 0)
        buffer_printf(out, ",\"line\":%u,\"column\":%u", problem->line, problem->column);
    if (problem->has_index)
        buffer_printf(out, ",\"index\":%ld", problem->index);
    if (problem->has_stored)
        buffer_printf(out, ",\"stored\":%ld", problem->stored);
    buffer_append_char(out, '}');
}

static const struct problem from_upstream[] = {
    [UPSTREAM_NOT_FOUND] = {.code = PROBLEM_DEVICE_NOT_FOUND, .detail = "Device not found"},
    [UPSTREAM_BAD_CURSOR] = {.code = PROBLEM_INVALID_CURSOR,
                             .detail = "The cursor is not one of this server's",
                             .target = "cursor"},
    [UPSTREAM_THROTTLED] = {.code = PROBLEM_UPSTREAM_THROTTLED,
                            .detail = "The upstream service is throttling"},
    [UPSTREAM_UNAVAILABLE] =
        {.code = PROBLEM_UPSTREAM_UNAVAILABLE,
         .detail = "The upstream service cannot be reached or gave no answer that can be trusted"},
    [UPSTREAM_TIMEOUT] = {.code = PROBLEM_UPSTREAM_TIMEOUT,
                          .detail = "The upstream service did not answer in time"},
    [UPSTREAM_UNAUTHORIZED] = {.code = PROBLEM_UPSTREAM_UNAUTHORIZED,
                               .detail = "The upstream service refused this server's credentials"},
    [UPSTREAM_OVERLOADED] = {.code = PROBLEM_OVERLOADED, .detail = "Too many requests are in flight"},
    [UPSTREAM_REJECTED] = {.code = PROBLEM_UPSTREAM_REJECTED,
                           .detail = "The upstream service refused the request"},
    [UPSTREAM_NO_MEMORY] = {.code = PROBLEM_OVERLOADED, .detail = "Out of memory"},
};

struct problem problem_from_upstream(const struct upstream_result *result)
{
    struct problem problem = from_upstream[result->status];
    problem.retry_after_s = result->retry_after_s;
    if (rows[problem.code].status == 503 && problem.retry_after_s == 0)
        problem.retry_after_s = 1;
    return problem;
}

void problems_print(struct buffer *out)
{
    for (unsigned i = 0; i < PROBLEM_COUNT; i++)
        buffer_printf(out, "%c{\"code\":\"%s\",\"status\":%u,\"title\":\"%s\"}", i == 0 ? '[' : ',',
                      rows[i].code, rows[i].status, rows[i].title);
    buffer_append_text(out, "]\n");
}
