/*
 * Answers of IoT Hub: a twin, a page of twins, and what an error's body makes of its status.
 */
#include "fuzz.h"
#include "iothub.h"
#include "json.h"
#include "percent.h"

static const char *const members[] = {"deviceId",        "status",          "lastSeen",
                                      "firmwareVersion", "connectionState", "enabled"};

/* A status object has these members, once each and in this order. */
static void check_status(struct json_slice status)
{
    size_t n = 0;
    char id[DEVICE_ID_MAX + 1];
    for (struct json_iter it = json_iter(status); json_next(&it); n++)
        ALWAYS(n < sizeof members / sizeof *members && json_string_equals(it.name, members[n]));
    ALWAYS(n == sizeof members / sizeof *members);
    long len = json_string_decode(json_member(status, "deviceId"), id, sizeof id);
    ALWAYS(len > 0 && device_id_valid(id, (size_t)len));
    enum json_kind enabled = json_kind(json_member(status, "enabled"));
    ALWAYS(enabled == JSON_TRUE || enabled == JSON_FALSE);
    ALWAYS(json_kind(json_member(status, "connectionState")) == JSON_STRING);
}

static void check_twin(const char *device_id, const char *text, size_t len)
{
    struct buffer out = {0};
    enum upstream_status status = iothub_read_twin(&out, device_id, text, len);
    ALWAYS(status == UPSTREAM_OK || status == UPSTREAM_UNAVAILABLE);
    if (status == UPSTREAM_OK) {
        ALWAYS(json_check(out.data, out.len, JSON_DEPTH_MAX, false, NULL) == JSON_OK);
        check_status(json_root(out.data, out.len));
        ALWAYS(json_string_equals(json_member(json_root(out.data, out.len), "deviceId"), device_id));
    }
    buffer_free(&out);
}

static void check_page(const char *text, size_t len)
{
    struct buffer out = {0};
    enum upstream_status status = iothub_read_devices(&out, text, len);
    long count = 0;
    ALWAYS(status == UPSTREAM_OK || status == UPSTREAM_UNAVAILABLE);
    if (status == UPSTREAM_OK) {
        ALWAYS(json_check(out.data, out.len, JSON_DEPTH_MAX, false, NULL) == JSON_OK);
        for (struct json_iter it = json_iter(json_root(out.data, out.len)); json_next(&it); count++)
            check_status(it.value);
        if (oracle_json(text, len, false) == ORACLE_ACCEPTS)
            ALWAYS(oracle_count_at(text, len, "") == count);
    }
    buffer_free(&out);
}

/* An error stays an error whatever its body says; only a 404 can be a device that is not there, only 200 is
 * good. */
static void check_error(const char *text, size_t len)
{
    static const unsigned statuses[] = {200, 201, 302, 400, 401, 403, 404, 412, 413, 429, 500, 503};
    const struct iothub_question questions[] = {{.kind = IOTHUB_TWIN, .device_id = "d1"},
                                                {.kind = IOTHUB_DEVICES, .limit = 10}};
    char *body = fuzz_text(text, len);
    for (size_t i = 0; i < 2 * (sizeof statuses / sizeof *statuses); i++) {
        struct http_answer answer = {
            .outcome = HTTP_ANSWERED, .status = statuses[i / 2], .body_len = strlen(body)};
        answer.body.data = body;
        enum upstream_status status = iothub_judge(&questions[i % 2], &answer);
        ALWAYS((status == UPSTREAM_OK) == (answer.status == 200));
        ALWAYS(status != UPSTREAM_NOT_FOUND || (answer.status == 404 && i % 2 == 0));
    }
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_copy(data, size);
    char *device_id = oracle_string_at(text, size, "deviceId");
    check_twin("d1", text, size);
    if (device_id != NULL)
        check_twin(device_id, text, size);
    check_page(text, size);
    check_error(text, size);
    if (memchr(text, '\0', size) == NULL) {
        char *position = fuzz_text(data, size);
        ALWAYS(!iothub_position_valid(position) ||
               (size >= 1 && size <= 4096 && strpbrk(position, "\r\n") == NULL));
        free(position);
    }
    free(device_id);
    free(text);
    return 0;
}
