#include "iothub.h"

#include "device_status.h"
#include "json.h"
#include "percent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define API_VERSION "?api-version=2021-04-12"
#define ANSWER_MAX                                                                                           \
    (8 * 1024 * 1024) /* a page of 1000 twins; each has up to 72 kB of properties, few come near it */
#define DEPTH_MAX      64
#define POSITION_MAX   4096
#define ERROR_TEXT_MAX 4096 /* of an error body's Message; a longer one is not read */
#define ERROR_NAME_MAX 64

static const char devices_query[] = "{\"query\":\"SELECT * FROM devices\"}";

/* --- asking ------------------------------------------------------------------------------------ */

bool iothub_position_valid(const char *position)
{
    size_t len = strnlen(position, POSITION_MAX + 1);
    if (len == 0 || len > POSITION_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (position[i] < ' ' || position[i] > '~')
            return false;
    return true;
}

struct operation *iothub_call(struct http_client *http, const char *base, const char *token,
                              const struct iothub_question *question, bool fresh, uint64_t deadline_ms,
                              http_call_cb *done, void *ctx)
{
    struct buffer url = {0}, authorization = {0}, continuation = {0};
    char max_items[40];
    struct operation *op = NULL;

    buffer_append_text(&url, base);
    buffer_append_text(&authorization, "Authorization: ");
    buffer_append_text(&authorization, token);
    struct http_call_options options = {.max_body = ANSWER_MAX, .fresh = fresh, .deadline_ms = deadline_ms};
    options.headers[0] = buffer_terminate(&authorization);
    if (question->kind == IOTHUB_TWIN) {
        options.method = "GET";
        buffer_append_text(&url, "/twins/");
        percent_encode(&url, question->device_id, strlen(question->device_id));
    } else {
        options.method = "POST";
        options.body = devices_query;
        options.body_len = sizeof devices_query - 1;
        buffer_append_text(&url, "/devices/query");
        snprintf(max_items, sizeof max_items, "x-ms-max-item-count: %u", question->limit);
        options.headers[1] = "Content-Type: application/json";
        options.headers[2] = max_items;
        if (question->position != NULL) {
            buffer_append_text(&continuation, "x-ms-continuation: ");
            buffer_append_text(&continuation, question->position);
            options.headers[3] = buffer_terminate(&continuation);
        }
    }
    buffer_append_text(&url, API_VERSION);
    options.url = buffer_terminate(&url);
    if (authorization.failed || continuation.failed || url.failed)
        errno = ENOMEM;
    else
        op = http_call_start(http, &options, done, ctx);
    int error = errno;
    buffer_free(&url);
    buffer_free(&authorization);
    buffer_free(&continuation);
    errno = error;
    return op;
}

/* --- errors ------------------------------------------------------------------------------------ */

/* Writes a code, be it a number or a name, as text. */
static bool code_text(struct json_slice value, char name[ERROR_NAME_MAX])
{
    int64_t number;
    if (json_int64(value, &number)) {
        snprintf(name, ERROR_NAME_MAX, "%lld", (long long)number);
        return true;
    }
    return json_string_decode(value, name, ERROR_NAME_MAX) > 0;
}

/* The code in a Message: "ErrorCode:DeviceNotFound;dev-9", or an object in a string:
 * "{\"errorCode\":404001,..}". */
static bool message_code(const char *message, size_t len, char name[ERROR_NAME_MAX])
{
    static const char prefix[] = "ErrorCode:";
    if (strncasecmp(message, prefix, sizeof prefix - 1) == 0) {
        const char *start = message + sizeof prefix - 1;
        size_t name_len = strcspn(start, "; ");
        if (name_len == 0 || name_len >= ERROR_NAME_MAX)
            return false;
        memcpy(name, start, name_len);
        name[name_len] = '\0';
        return true;
    }
    if (json_check(message, len, DEPTH_MAX, false, NULL) != JSON_OK)
        return false;
    return code_text(json_member(json_root(message, len), "errorCode"), name);
}

/* What an error body calls itself, in any of the forms of azure-protocols 2.3; false for another form. */
static bool error_name(const char *body, size_t len, char name[ERROR_NAME_MAX])
{
    char message[ERROR_TEXT_MAX];

    if (json_check(body, len, DEPTH_MAX, false, NULL) != JSON_OK)
        return false;
    struct json_slice root = json_root(body, len);
    long message_len = json_string_decode(json_member(root, "Message"), message, sizeof message);
    if (message_len > 0 && message_code(message, (size_t)message_len, name))
        return true;
    return code_text(json_member(root, "errorCode"), name) || code_text(json_member(root, "code"), name);
}

static bool contains(const char *body, size_t len, const char *word)
{
    size_t word_len = strlen(word);
    for (size_t i = 0; i + word_len <= len; i++)
        if (strncasecmp(body + i, word, word_len) == 0)
            return true;
    return false;
}

/* A 404 says that the device is missing, unless it names something else: a missing hub is no missing device.
 */
static enum upstream_status judge_404(const char *body, size_t len)
{
    char name[ERROR_NAME_MAX];
    if (error_name(body, len, name))
        return strcasecmp(name, "DeviceNotFound") == 0 || strcmp(name, "404001") == 0 ? UPSTREAM_NOT_FOUND
                                                                                      : UPSTREAM_UNAVAILABLE;
    return contains(body, len, "IotHubNotFound") || contains(body, len, "404002") ? UPSTREAM_UNAVAILABLE
                                                                                  : UPSTREAM_NOT_FOUND;
}

static bool quota_spent(const char *body, size_t len)
{
    return contains(body, len, "403002") || contains(body, len, "quota");
}

enum upstream_status iothub_judge(const struct iothub_question *question, const struct http_answer *answer)
{
    switch (answer->outcome) {
    case HTTP_ANSWERED: break;
    case HTTP_TIMED_OUT: return UPSTREAM_TIMEOUT;
    case HTTP_NO_MEMORY: return UPSTREAM_NO_MEMORY;
    case HTTP_REFUSED:
    case HTTP_BROKEN:
    case HTTP_TOO_LARGE: return UPSTREAM_UNAVAILABLE;
    }

    const char *body = answer->body.data + answer->body_start;
    switch (answer->status) {
    case 200: return UPSTREAM_OK;
    case 400:
        return question->kind == IOTHUB_DEVICES && question->position != NULL ? UPSTREAM_BAD_CURSOR
                                                                              : UPSTREAM_REJECTED;
    case 401: return UPSTREAM_UNAUTHORIZED;
    case 403: return quota_spent(body, answer->body_len) ? UPSTREAM_THROTTLED : UPSTREAM_UNAUTHORIZED;
    case 404: return question->kind == IOTHUB_TWIN ? judge_404(body, answer->body_len) : UPSTREAM_UNAVAILABLE;
    case 413: return UPSTREAM_REJECTED;
    case 429: return UPSTREAM_THROTTLED;
    default: return UPSTREAM_UNAVAILABLE;
    }
}

/* --- reading ----------------------------------------------------------------------------------- */

enum upstream_status iothub_read_twin(struct buffer *out, const char *device_id, const char *body, size_t len)
{
    if (json_check(body, len, DEPTH_MAX, false, NULL) != JSON_OK)
        return UPSTREAM_UNAVAILABLE;
    struct json_slice twin = json_root(body, len);
    if (json_kind(twin) != JSON_OBJECT || !json_string_equals(json_member(twin, "deviceId"), device_id) ||
        !status_text_from_twin(out, twin))
        return UPSTREAM_UNAVAILABLE;
    return out->failed ? UPSTREAM_NO_MEMORY : UPSTREAM_OK;
}

enum upstream_status iothub_read_devices(struct buffer *out, const char *body, size_t len)
{
    if (json_check(body, len, DEPTH_MAX, false, NULL) != JSON_OK)
        return UPSTREAM_UNAVAILABLE;
    struct json_slice page = json_root(body, len);
    if (json_kind(page) != JSON_ARRAY)
        return UPSTREAM_UNAVAILABLE;

    buffer_append_char(out, '[');
    bool first = true;
    for (struct json_iter it = json_iter(page); json_next(&it); first = false) {
        if (!first)
            buffer_append_char(out, ',');
        if (json_kind(it.value) != JSON_OBJECT || !status_text_from_twin(out, it.value))
            return UPSTREAM_UNAVAILABLE;
    }
    buffer_append_char(out, ']');
    return out->failed ? UPSTREAM_NO_MEMORY : UPSTREAM_OK;
}
