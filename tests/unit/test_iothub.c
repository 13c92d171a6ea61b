/*
 * IoT Hub: what its answers mean, and the registry against a hub that says what a table tells it to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "iothub.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TWIN(id)                                                                                             \
    "{\"deviceId\":\"" id "\",\"status\":\"enabled\",\"connectionState\":\"Connected\",\"properties\":"      \
    "{\"desired\":{},\"reported\":{\"status\":\"online\",\"firmwareVersion\":\"1.4.2\"}}}"
#define STATUS(id)                                                                                           \
    "{\"deviceId\":\"" id "\",\"status\":\"online\",\"lastSeen\":null,\"firmwareVersion\":\"1.4.2\","        \
    "\"connectionState\":\"Connected\",\"enabled\":true}"

/* --- what an answer means ---------------------------------------------------------------------- */

enum { T, Q, P }; /* a twin, a first page, a page at a position */

static const struct {
    const char *name;
    int question;
    enum http_outcome outcome;
    unsigned status;
    const char *body;
    enum upstream_status expected;
} judged[] = {
    {"ok", T, HTTP_ANSWERED, 200, "{}", UPSTREAM_OK},
    {"no connection", T, HTTP_REFUSED, 0, "", UPSTREAM_UNAVAILABLE},
    {"broken answer", T, HTTP_BROKEN, 0, "", UPSTREAM_UNAVAILABLE},
    {"too large", Q, HTTP_TOO_LARGE, 0, "", UPSTREAM_UNAVAILABLE},
    {"too late", T, HTTP_TIMED_OUT, 0, "", UPSTREAM_TIMEOUT},
    {"no memory", T, HTTP_NO_MEMORY, 0, "", UPSTREAM_NO_MEMORY},
    {"404, form 1", T, HTTP_ANSWERED, 404,
     "{\"Message\":\"ErrorCode:DeviceNotFound;dev-9\",\"ExceptionMessage\":\"Tracking ID:1\"}",
     UPSTREAM_NOT_FOUND},
    {"404, form 1 without a device", T, HTTP_ANSWERED, 404, "{\"Message\":\"ErrorCode:DeviceNotFound\"}",
     UPSTREAM_NOT_FOUND},
    {"404, form 1 of the hub", T, HTTP_ANSWERED, 404, "{\"Message\":\"ErrorCode:IotHubNotFound;myhub\"}",
     UPSTREAM_UNAVAILABLE},
    {"404, form 2", T, HTTP_ANSWERED, 404,
     "{\"Message\":\"{\\\"errorCode\\\":404001,\\\"trackingId\\\":\\\"x\\\",\\\"message\\\":\\\"No such "
     "device\\\"}\",\"ExceptionMessage\":\"\"}",
     UPSTREAM_NOT_FOUND},
    {"404, form 2 of the hub", T, HTTP_ANSWERED, 404, "{\"Message\":\"{\\\"errorCode\\\":404002}\"}",
     UPSTREAM_UNAVAILABLE},
    {"404, code as a number", T, HTTP_ANSWERED, 404, "{\"errorCode\":404001,\"message\":\"gone\"}",
     UPSTREAM_NOT_FOUND},
    {"404, code of the hub as a number", T, HTTP_ANSWERED, 404, "{\"errorCode\":404002}",
     UPSTREAM_UNAVAILABLE},
    {"404, code as a name", T, HTTP_ANSWERED, 404, "{\"code\":\"DeviceNotFound\"}", UPSTREAM_NOT_FOUND},
    {"404, code of the hub as a name", T, HTTP_ANSWERED, 404, "{\"code\":\"IotHubNotFound\"}",
     UPSTREAM_UNAVAILABLE},
    {"404, another form", T, HTTP_ANSWERED, 404, "{\"error\":{\"text\":\"nothing here\"}}",
     UPSTREAM_NOT_FOUND},
    {"404, another form that names the hub", T, HTTP_ANSWERED, 404, "<h1>iothubnotfound</h1>",
     UPSTREAM_UNAVAILABLE},
    {"404, empty", T, HTTP_ANSWERED, 404, "", UPSTREAM_NOT_FOUND},
    {"404 to a query is no missing device", Q, HTTP_ANSWERED, 404,
     "{\"Message\":\"ErrorCode:DeviceNotFound;\"}", UPSTREAM_UNAVAILABLE},
    {"400 to a twin", T, HTTP_ANSWERED, 400, "", UPSTREAM_REJECTED},
    {"400 to a first page", Q, HTTP_ANSWERED, 400, "", UPSTREAM_REJECTED},
    {"400 to a position", P, HTTP_ANSWERED, 400, "", UPSTREAM_BAD_CURSOR},
    {"401", T, HTTP_ANSWERED, 401, "", UPSTREAM_UNAUTHORIZED},
    {"403", T, HTTP_ANSWERED, 403, "{\"Message\":\"ErrorCode:Forbidden\"}", UPSTREAM_UNAUTHORIZED},
    {"403, quota by code", T, HTTP_ANSWERED, 403, "{\"Message\":\"{\\\"errorCode\\\":403002}\"}",
     UPSTREAM_THROTTLED},
    {"403, quota by name", T, HTTP_ANSWERED, 403, "{\"Message\":\"ErrorCode:IotHubQuotaExceeded;x\"}",
     UPSTREAM_THROTTLED},
    {"429", Q, HTTP_ANSWERED, 429, "", UPSTREAM_THROTTLED},
    {"413", T, HTTP_ANSWERED, 413, "", UPSTREAM_REJECTED},
    {"500", T, HTTP_ANSWERED, 500, "", UPSTREAM_UNAVAILABLE},
    {"503", Q, HTTP_ANSWERED, 503, "", UPSTREAM_UNAVAILABLE},
    {"a redirect is not followed", T, HTTP_ANSWERED, 302, "", UPSTREAM_UNAVAILABLE},
    {"no content is no twin", T, HTTP_ANSWERED, 204, "", UPSTREAM_UNAVAILABLE},
};

static void answers_are_judged(void **state)
{
    (void)state;
    static const struct iothub_question questions[] = {
        [T] = {.kind = IOTHUB_TWIN, .device_id = "d1"},
        [Q] = {.kind = IOTHUB_DEVICES, .limit = 10},
        [P] = {.kind = IOTHUB_DEVICES, .limit = 10, .position = "p"},
    };
    for (size_t i = 0; i < sizeof judged / sizeof judged[0]; i++) {
        struct http_answer answer = {
            .outcome = judged[i].outcome, .status = judged[i].status, .body_start = 7};
        answer.body_len = strlen(judged[i].body);
        buffer_append_text(&answer.body, "1234567");
        buffer_append_text(&answer.body, judged[i].body);
        enum upstream_status status = iothub_judge(&questions[judged[i].question], &answer);
        if (status != judged[i].expected)
            fail_msg("%s: %d, not %d", judged[i].name, (int)status, (int)judged[i].expected);
        buffer_free(&answer.body);
    }
}

static const struct {
    const char *name, *body;
    enum upstream_status expected;
    const char *text;
} twins[] = {
    {"a twin", TWIN("d1"), UPSTREAM_OK, STATUS("d1")},
    {"an escaped id", TWIN("\\u0064\\u0031"), UPSTREAM_OK, STATUS("d1")},
    {"somebody else's", TWIN("d2"), UPSTREAM_UNAVAILABLE, NULL},
    {"in another case", TWIN("D1"), UPSTREAM_UNAVAILABLE, NULL},
    {"no id", "{\"status\":\"enabled\",\"connectionState\":\"Connected\"}", UPSTREAM_UNAVAILABLE, NULL},
    {"an array", "[" TWIN("d1") "]", UPSTREAM_UNAVAILABLE, NULL},
    {"cut short", "{\"deviceId\":\"d1\"", UPSTREAM_UNAVAILABLE, NULL},
    {"two texts", TWIN("d1") TWIN("d1"), UPSTREAM_UNAVAILABLE, NULL},
    {"not UTF-8", "{\"deviceId\":\"d1\",\"a\":\"\xff\"}", UPSTREAM_UNAVAILABLE, NULL},
    {"empty", "", UPSTREAM_UNAVAILABLE, NULL},
};

static const struct {
    const char *name, *body;
    enum upstream_status expected;
    const char *text;
} pages[] = {
    {"no devices", "[]", UPSTREAM_OK, "[]"},
    {"two", " [" TWIN("d1") " ,\n" TWIN("d2") "] ", UPSTREAM_OK, "[" STATUS("d1") "," STATUS("d2") "]"},
    {"an element that is no object", "[" TWIN("d1") ",7]", UPSTREAM_UNAVAILABLE, NULL},
    {"an element that is no twin", "[{}]", UPSTREAM_UNAVAILABLE, NULL},
    {"an object", TWIN("d1"), UPSTREAM_UNAVAILABLE, NULL},
    {"cut short", "[" TWIN("d1"), UPSTREAM_UNAVAILABLE, NULL},
};

static void bodies_are_read_whole_or_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof twins / sizeof twins[0]; i++) {
        struct buffer out = {0};
        enum upstream_status status = iothub_read_twin(&out, "d1", twins[i].body, strlen(twins[i].body));
        if (status != twins[i].expected ||
            (status == UPSTREAM_OK && strcmp(buffer_terminate(&out), twins[i].text) != 0))
            fail_msg("twin, %s: %d", twins[i].name, (int)status);
        buffer_free(&out);
    }
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        struct buffer out = {0};
        enum upstream_status status = iothub_read_devices(&out, pages[i].body, strlen(pages[i].body));
        if (status != pages[i].expected ||
            (status == UPSTREAM_OK && strcmp(buffer_terminate(&out), pages[i].text) != 0))
            fail_msg("page, %s: %d", pages[i].name, (int)status);
        buffer_free(&out);
    }
}

static void positions_are_vetted(void **state)
{
    (void)state;
    char longest[4098];
    memset(longest, 'p', sizeof longest);
    longest[4097] = '\0';
    assert_false(iothub_position_valid(longest));
    longest[4096] = '\0';
    assert_true(iothub_position_valid(longest));
    assert_true(iothub_position_valid("{\"token\":\"+RID:~ a#RT:1\"}"));
    static const char *const bad[] = {"", "a\r\nAuthorization: x", "a\nb", "a\tb", "\x7f", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(iothub_position_valid(bad[i]));
}

/* --- a hub ------------------------------------------------------------------------------------- */

enum { ANSWERS_MAX = 6 };
#define SILENCE "silence" /* instead of an answer */

struct hub {
    int listener, stop[2];
    unsigned port;
    pthread_t thread;
    const char *const *answers; /* said in turn, the last for ever; NULL-terminated unless full */
    atomic_uint requests;
    char seen[ANSWERS_MAX][1024]; /* the requests */
    int silent[64];
    unsigned silent_count;
};

static void answer_one(struct hub *hub, int fd)
{
    char request[8192];
    size_t len = 0;
    char *end = NULL;
    while (end == NULL || len < (size_t)(end + 4 - request) + (strncmp(request, "POST", 4) == 0 ? 33 : 0)) {
        ssize_t n = recv(fd, request + len, sizeof request - 1 - len, 0);
        if (n <= 0) {
            close(fd);
            return;
        }
        len += (size_t)n;
        request[len] = '\0';
        end = strstr(request, "\r\n\r\n");
    }
    unsigned i = atomic_fetch_add(&hub->requests, 1);
    if (i < ANSWERS_MAX)
        snprintf(hub->seen[i], sizeof hub->seen[i], "%.1023s", request);
    unsigned last = 0;
    while (last + 1 < ANSWERS_MAX && hub->answers[last + 1] != NULL)
        last++;
    const char *answer = hub->answers[i < last ? i : last];
    if (strcmp(answer, SILENCE) == 0) {
        hub->silent[hub->silent_count++] = fd;
        return;
    }
    /* "<status> <headers>|<body>" */
    const char *body = strchr(answer, '|');
    char head[8192];
    int head_len =
        snprintf(head, sizeof head, "HTTP/1.1 %.3s X\r\nConnection: close\r\nContent-Length: %zu\r\n%.*s\r\n",
                 answer, strlen(body + 1), (int)(body - answer - 4), answer + 4);
    send(fd, head, (size_t)head_len, MSG_NOSIGNAL);
    send(fd, body + 1, strlen(body + 1), MSG_NOSIGNAL);
    close(fd);
}

static void *serve(void *ctx)
{
    struct hub *hub = ctx;
    for (;;) {
        struct pollfd fds[2] = {{hub->stop[0], POLLIN, 0}, {hub->listener, POLLIN, 0}};
        if (poll(fds, 2, -1) < 0)
            continue; /* it was interrupted, and says nothing about the two */
        if (fds[0].revents != 0)
            return NULL;
        int fd = accept(hub->listener, NULL, NULL);
        if (fd >= 0)
            answer_one(hub, fd);
    }
}

struct fixture {
    struct hub hub;
    uv_loop_t loop;
    struct http_client *http;
    struct flight_table *flights;
    struct mailbox *mailbox;
    struct metrics *metrics;
    struct iothub_options options;
    char endpoint[64];
    struct device_registry *registry;
};

static void setup(struct fixture *f, const char *const *answers)
{
    *f = (struct fixture){0};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    f->hub.answers = answers;
    f->hub.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(f->hub.listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(f->hub.listener, 64), 0);
    getsockname(f->hub.listener, (struct sockaddr *)&address, &len);
    assert_int_equal(pipe(f->hub.stop), 0);
    pthread_create(&f->hub.thread, NULL, serve, &f->hub);

    const struct http_client_options http = {.max_in_flight = 2, .max_waiting = 0};
    uv_loop_init(&f->loop);
    assert_int_equal(http_client_new(&f->loop, &http, &f->http), 0);
    assert_int_equal(flight_table_new(8, &f->flights), 0);
    assert_int_equal(mailbox_new(&f->loop, &f->mailbox), 0);
    f->metrics = metrics_new();
    snprintf(f->endpoint, sizeof f->endpoint, "http://127.0.0.1:%u", ntohs(address.sin_port));
    f->options = (struct iothub_options){
        .hub = {.host = "myhub.azure-devices.net", .policy = "service", .key = "k", .key_len = 1},
        .endpoint = f->endpoint};
    f->registry =
        iothub_registry_new(&f->options, NULL, f->http, f->flights, f->mailbox, &f->loop, f->metrics);
    assert_non_null(f->registry);
}

static void teardown(struct fixture *f)
{
    f->registry->ops->free(f->registry);
    assert_int_equal(http_client_in_flight(f->http), 0);
    http_client_close(f->http);
    mailbox_close(f->mailbox);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    flight_table_free(f->flights);
    metrics_free(f->metrics);
    assert_int_equal(write(f->hub.stop[1], "x", 1), 1);
    pthread_join(f->hub.thread, NULL);
    for (unsigned i = 0; i < f->hub.silent_count; i++)
        close(f->hub.silent[i]);
    close(f->hub.listener);
    close(f->hub.stop[0]);
    close(f->hub.stop[1]);
}

struct got {
    unsigned calls;
    struct upstream_result result;
    char text[2048], next[64], reason[128];
    unsigned age_s, max_age_s;
};

static void on_status(void *ctx, const struct upstream_result *result, const char *text, size_t len)
{
    struct got *got = ctx;
    got->calls++;
    got->result = *result;
    snprintf(got->text, sizeof got->text, "%.*s", (int)len, text != NULL ? text : "");
}

static void on_list(void *ctx, const struct upstream_result *result, const struct device_list *list)
{
    struct got *got = ctx;
    got->calls++;
    got->result = *result;
    if (list == NULL)
        return;
    snprintf(got->text, sizeof got->text, "%.*s", (int)list->len, list->text);
    snprintf(got->next, sizeof got->next, "%s", list->next != NULL ? list->next : "(none)");
    got->age_s = list->age_s;
    got->max_age_s = list->max_age_s;
}

static void on_check(void *ctx, const struct upstream_result *result, const char *reason)
{
    struct got *got = ctx;
    got->calls++;
    got->result = *result;
    snprintf(got->reason, sizeof got->reason, "%s", reason != NULL ? reason : "(none)");
}

static void turn(struct fixture *f, const struct got *got)
{
    for (;;) {
        while (http_client_turn(f->http))
            continue;
        if (got->calls > 0)
            return;
        /* Never waits in the poll: a timer that fires just before it is only acted upon in the next turn. */
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(200);
    }
}

static uint64_t in_ms(uint64_t ms)
{
    return clock_monotonic_ms() + ms;
}

/* --- the registry ------------------------------------------------------------------------------ */

#define NOT_FOUND_1 "404 |{\"Message\":\"ErrorCode:DeviceNotFound;d1\"}"

static const struct {
    const char *name;
    const char *answers[ANSWERS_MAX];
    unsigned within_ms;
    enum upstream_status status;
    unsigned retry_after_s, requests;
} stories[] = {
    {"a twin", {"200 |" TWIN("d1")}, 5000, UPSTREAM_OK, 0, 1},
    {"no such device", {NOT_FOUND_1}, 5000, UPSTREAM_NOT_FOUND, 0, 1},
    {"a twin that cannot be trusted is not asked for again", {"200 |{}"}, 5000, UPSTREAM_UNAVAILABLE, 0, 1},
    {"down, then up", {"503 |", "500 |", "200 |" TWIN("d1")}, 5000, UPSTREAM_OK, 0, 3},
    {"down: three requests and no more", {"503 |"}, 5000, UPSTREAM_UNAVAILABLE, 0, 3},
    {"down, with little time", {"503 |"}, 50, UPSTREAM_UNAVAILABLE, 0, 1},
    {"throttled, then not", {"429 Retry-After: 0\r\n|", "200 |" TWIN("d1")}, 5000, UPSTREAM_OK, 0, 2},
    {"throttled for longer than there is time",
     {"429 Retry-After: 17\r\n|"},
     5000,
     UPSTREAM_THROTTLED,
     17,
     1},
    {"quota spent",
     {"403 |{\"Message\":\"ErrorCode:IotHubQuotaExceeded\"}"},
     5000,
     UPSTREAM_THROTTLED,
     60,
     1},
    {"quota spent, with a time",
     {"403 Retry-After: 5\r\n|{\"Message\":\"quota\"}"},
     5000,
     UPSTREAM_THROTTLED,
     5,
     1},
    {"a refused token is made anew once", {"401 |", "200 |" TWIN("d1")}, 5000, UPSTREAM_OK, 0, 2},
    {"refused for good", {"401 |"}, 5000, UPSTREAM_UNAUTHORIZED, 0, 2},
    {"silent", {SILENCE}, 60, UPSTREAM_TIMEOUT, 0, 1},
};

static void attempts_and_their_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++) {
        struct fixture f;
        struct got got = {0};
        setup(&f, stories[i].answers);
        assert_non_null(
            f.registry->ops->status(f.registry, "d1", in_ms(stories[i].within_ms), on_status, &got));
        turn(&f, &got);
        unsigned requests = atomic_load(&f.hub.requests);
        if (got.result.status != stories[i].status || got.result.retry_after_s != stories[i].retry_after_s ||
            requests != stories[i].requests)
            fail_msg("%s: status %d, retry after %u, %u requests", stories[i].name, (int)got.result.status,
                     got.result.retry_after_s, requests);
        assert_string_equal(got.text, stories[i].status == UPSTREAM_OK ? STATUS("d1") : "");
        assert_int_equal(got.calls, 1);
        teardown(&f);
    }
}

static void requests_are_as_the_hub_wants_them(void **state)
{
    (void)state;
    static const char *const answers[] = {"200 |" TWIN("a%b:c"), "200 x-ms-continuation: more\r\n|[]",
                                          "200 |[]", NULL};
    struct fixture f;
    struct got got[3] = {0};
    setup(&f, answers);
    assert_non_null(f.registry->ops->status(f.registry, "a%b:c", in_ms(5000), on_status, &got[0]));
    turn(&f, &got[0]);
    assert_int_equal(got[0].result.status, UPSTREAM_OK);
    assert_non_null(f.registry->ops->list(f.registry, 50, NULL, NULL, in_ms(5000), on_list, &got[1]));
    turn(&f, &got[1]);
    assert_string_equal(got[1].next, "more");
    assert_non_null(f.registry->ops->list(f.registry, 50, "more", NULL, in_ms(5000), on_list, &got[2]));
    turn(&f, &got[2]);
    assert_string_equal(got[2].next, "(none)");

    const char *twin = f.hub.seen[0], *first = f.hub.seen[1], *second = f.hub.seen[2];
    const char *start = "GET /twins/a%25b%3Ac?api-version=2021-04-12 HTTP/1.1\r\n";
    assert_memory_equal(twin, start, strlen(start));
    assert_non_null(strstr(twin, "\r\nAuthorization: SharedAccessSignature sr=myhub.azure-devices.net&sig="));
    assert_non_null(strstr(twin, "&skn=service\r\n"));
    start = "POST /devices/query?api-version=2021-04-12 HTTP/1.1\r\n";
    assert_memory_equal(first, start, strlen(start));
    assert_non_null(strstr(first, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(first, "\r\nx-ms-max-item-count: 50\r\n"));
    assert_null(strstr(first, "x-ms-continuation"));
    assert_non_null(strstr(first, "\r\n\r\n{\"query\":\"SELECT * FROM devices\"}"));
    assert_non_null(strstr(second, "\r\nx-ms-continuation: more\r\n"));
    teardown(&f);
}

static void identical_reads_are_one(void **state)
{
    (void)state;
    static const char *const answers[] = {"200 |" TWIN("d1"), NULL};
    struct fixture f;
    struct got got[4] = {0};
    setup(&f, answers);
    struct operation *ops[4];
    for (unsigned i = 0; i < 4; i++)
        ops[i] = f.registry->ops->status(f.registry, "d1", in_ms(5000), on_status, &got[i]);
    operation_cancel(ops[0]); /* who asked first may leave */
    turn(&f, &got[3]);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(got[i].calls, i > 0);
    assert_int_equal(atomic_load(&f.hub.requests), 1);

    struct got later = {0}; /* a twin is not kept */
    assert_non_null(f.registry->ops->status(f.registry, "d1", in_ms(5000), on_status, &later));
    turn(&f, &later);
    assert_int_equal(atomic_load(&f.hub.requests), 2);
    teardown(&f);
}

static void a_page_of_devices_is_kept(void **state)
{
    (void)state;
    static const char *const answers[] = {"200 |[" TWIN("d1") "]", NULL};
    struct fixture f;
    struct got got[3] = {0};
    setup(&f, answers);
    for (unsigned i = 0; i < 3; i++) {
        assert_non_null(
            f.registry->ops->list(f.registry, i < 2 ? 10 : 11, NULL, NULL, in_ms(5000), on_list, &got[i]));
        assert_int_equal(got[i].calls, 0);
        turn(&f, &got[i]);
        assert_string_equal(got[i].text, "[" STATUS("d1") "]");
        assert_int_equal(got[i].age_s, 0);
        assert_int_equal(got[i].max_age_s, 30);
    }
    assert_int_equal(atomic_load(&f.hub.requests), 2); /* another limit is another page */
    teardown(&f);
}

static void a_position_that_is_not_the_hubs(void **state)
{
    (void)state;
    static const char *const answers[] = {"400 |{\"Message\":\"ErrorCode:ArgumentInvalid\"}", NULL};
    struct fixture f;
    struct got got[3] = {0};
    setup(&f, answers);
    assert_non_null(f.registry->ops->list(f.registry, 10, "a\r\nb: c", NULL, in_ms(5000), on_list, &got[0]));
    operation_cancel(f.registry->ops->list(f.registry, 10, "\n", NULL, in_ms(5000), on_list, &got[1]));
    assert_int_equal(got[0].calls, 0);
    turn(&f, &got[0]);
    assert_int_equal(got[0].result.status, UPSTREAM_BAD_CURSOR);
    assert_int_equal(got[1].calls, 0);
    assert_int_equal(atomic_load(&f.hub.requests), 0);
    assert_non_null(f.registry->ops->list(f.registry, 10, "forged", NULL, in_ms(5000), on_list, &got[2]));
    turn(&f, &got[2]);
    assert_int_equal(got[2].result.status, UPSTREAM_BAD_CURSOR);
    teardown(&f);
}

static void a_continuation_that_cannot_be_passed_on(void **state)
{
    (void)state;
    char position[4098], answer[4200];
    memset(position, 'p', sizeof position - 1);
    position[sizeof position - 1] = '\0'; /* a byte more than may come back */
    snprintf(answer, sizeof answer, "200 x-ms-continuation: %s\r\n|[]", position);
    const char *const answers[] = {answer, NULL};
    struct fixture f;
    struct got got = {0};
    setup(&f, answers);
    assert_non_null(f.registry->ops->list(f.registry, 10, NULL, NULL, in_ms(5000), on_list, &got));
    turn(&f, &got);
    assert_int_equal(got.result.status, UPSTREAM_UNAVAILABLE);
    teardown(&f);
}

static const struct {
    const char *name, *answers[2];
    enum upstream_status status;
    const char *reason;
} checks[] = {
    {"the device is missing, the hub answers", {NOT_FOUND_1}, UPSTREAM_OK, "(none)"},
    {"there is such a device", {"200 |" TWIN("telemetryd-readyz")}, UPSTREAM_OK, "(none)"},
    {"the hub is missing",
     {"404 |{\"Message\":\"ErrorCode:IotHubNotFound\"}"},
     UPSTREAM_UNAVAILABLE,
     "the IoT hub cannot be reached, or is not there"},
    {"refused", {"401 |"}, UPSTREAM_UNAUTHORIZED, "the IoT hub refuses the credentials"},
    {"throttled", {"429 Retry-After: 100\r\n|"}, UPSTREAM_THROTTLED, "the IoT hub is throttling"},
    {"silent", {SILENCE}, UPSTREAM_TIMEOUT, "the IoT hub does not answer in time"},
};

static void a_check_asks_the_hub(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        struct fixture f;
        struct got got = {0};
        setup(&f, checks[i].answers);
        assert_non_null(f.registry->ops->check(f.registry, in_ms(100), on_check, &got));
        turn(&f, &got);
        if (got.result.status != checks[i].status || strcmp(got.reason, checks[i].reason) != 0)
            fail_msg("%s: %d, %s", checks[i].name, (int)got.result.status, got.reason);
        teardown(&f);
    }
}

static void too_much_in_flight_is_said_at_once(void **state)
{
    (void)state;
    static const char *const answers[] = {SILENCE, NULL};
    struct fixture f;
    struct got got = {0};
    setup(&f, answers);
    struct operation *a = f.registry->ops->status(f.registry, "a", in_ms(5000), on_status, &got);
    struct operation *b = f.registry->ops->status(f.registry, "b", in_ms(5000), on_status, &got);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(f.registry->ops->status(f.registry, "c", in_ms(5000), on_status, &got));
    operation_cancel(a);
    operation_cancel(b);
    assert_int_equal(got.calls, 0);
    teardown(&f); /* with two reads under way that nobody waits for */
}

/* Who joins a read late does not share its deadline. */
static void a_late_waiter_has_its_own_time(void **state)
{
    (void)state;
    static const char *const answers[] = {SILENCE, "200 |" TWIN("d1"), NULL};
    struct fixture f;
    struct got early = {0}, late = {0};
    setup(&f, answers);
    assert_non_null(f.registry->ops->status(f.registry, "d1", in_ms(40), on_status, &early));
    assert_non_null(f.registry->ops->status(f.registry, "d1", in_ms(5000), on_status, &late));
    turn(&f, &early);
    assert_int_equal(early.result.status, UPSTREAM_TIMEOUT);
    turn(&f, &late);
    assert_int_equal(late.result.status, UPSTREAM_OK);
    assert_int_equal(atomic_load(&f.hub.requests), 2);
    teardown(&f);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    alarm(100);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_judged),
        cmocka_unit_test(bodies_are_read_whole_or_refused),
        cmocka_unit_test(positions_are_vetted),
        cmocka_unit_test(attempts_and_their_end),
        cmocka_unit_test(requests_are_as_the_hub_wants_them),
        cmocka_unit_test(identical_reads_are_one),
        cmocka_unit_test(a_page_of_devices_is_kept),
        cmocka_unit_test(a_position_that_is_not_the_hubs),
        cmocka_unit_test(a_continuation_that_cannot_be_passed_on),
        cmocka_unit_test(a_check_asks_the_hub),
        cmocka_unit_test(too_much_in_flight_is_said_at_once),
        cmocka_unit_test(a_late_waiter_has_its_own_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
