#include "iothub_internal.h"

#include "clock.h"
#include "retry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUOTA_WAIT_S                                                                                         \
    60 /* a spent quota lasts until midnight UTC; what callers are told where the hub says nothing */

/* Of its own memory: libuv holds on to a handle until its close callback. */
struct pause {
    uv_timer_t timer;
    struct read *read;
};

struct read {
    struct iothub_registry *registry;
    struct read *prev, *next;
    struct flight *flight;
    struct iothub_question question; /* its texts are in `text` */
    struct operation *call;          /* the attempt under way or the wait for its token, or */
    struct pause *pause;             /* the wait before the next */
    struct retry_state retry;
    unsigned token_generation; /* of the attempt's token, where it is Entra's */
    bool renewed;              /* the token was refused once and made anew */
    uint64_t deadline_ms, started_us;
    char text[];
};

static const char *operation_name(const struct read *read)
{
    return read->question.kind == IOTHUB_TWIN ? "twin" : "devices";
}

static void on_paused_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void read_free(struct read *read)
{
    operation_cancel(read->call);
    if (read->pause != NULL)
        uv_close((uv_handle_t *)&read->pause->timer, on_paused_closed);
    if (read->prev != NULL)
        read->prev->next = read->next;
    else
        read->registry->reads = read->next;
    if (read->next != NULL)
        read->next->prev = read->prev;
    free(read);
}

static void land(struct read *read, enum upstream_status status, unsigned retry_after_s,
                 const struct buffer *text, const char *next)
{
    const struct upstream_result result = {
        .status = status,
        .retry_after_s = retry_after_s,
        .elapsed_us = (unsigned long)(clock_monotonic_us() - read->started_us),
    };
    struct flight *flight = read->flight;
    read_free(read);
    if (status == UPSTREAM_OK)
        flight_land(flight, &result, text->data, text->len, next);
    else
        flight_land(flight, &result, NULL, 0, NULL);
}

/* A 200: reads the body, and lands in any case. */
static void land_answer(struct read *read, const struct http_answer *answer)
{
    const char *body = answer->body.data + answer->body_start;
    const char *next = answer->continuation;
    struct buffer text = {0};
    enum upstream_status status;

    if (read->question.kind == IOTHUB_TWIN) {
        next = NULL;
        status = iothub_read_twin(&text, read->question.device_id, body, answer->body_len);
    } else {
        status = iothub_read_devices(&text, body, answer->body_len);
        if (next != NULL && next[0] == '\0')
            next = NULL;
        /* A continuation that could not come back whole would end the list early or for good. */
        if (next != NULL && !iothub_position_valid(next))
            status = UPSTREAM_UNAVAILABLE;
    }
    land(read, status, 0, &text, next);
    buffer_free(&text);
}

static bool attempt(struct read *read);

/* Makes an attempt, or lands where that is not possible. */
static void attempt_or_land(struct read *read)
{
    errno = 0;
    if (attempt(read))
        return;
    if (errno == EBUSY)
        land(read, UPSTREAM_OVERLOADED, 1, NULL, NULL);
    else
        land(read, UPSTREAM_NO_MEMORY, 0, NULL, NULL);
}

static void go_on(struct read *read)
{
    metrics_retry(read->registry->metrics, "iothub", operation_name(read));
    attempt_or_land(read);
}

static void on_pause_over(uv_timer_t *timer)
{
    struct pause *pause = timer->data;
    struct read *read = pause->read;
    read->pause = NULL;
    uv_close((uv_handle_t *)timer, on_paused_closed);
    go_on(read);
}

static void go_on_after(struct read *read, uint32_t wait_ms)
{
    struct pause *pause = malloc(sizeof *pause);
    if (pause == NULL) {
        land(read, UPSTREAM_NO_MEMORY, 0, NULL, NULL);
        return;
    }
    pause->read = read;
    uv_timer_init(read->registry->loop, &pause->timer);
    pause->timer.data = pause;
    uv_update_time(read->registry->loop); /* the wait counts from now, not from the start of this turn */
    uv_timer_start(&pause->timer, on_pause_over, wait_ms, 0);
    read->pause = pause;
}

static void on_http_answer(void *ctx, struct http_answer *answer)
{
    struct read *read = ctx;
    struct iothub_registry *registry = read->registry;

    read->call = NULL;
    metrics_upstream(registry->metrics, "iothub", operation_name(read), answer->status, answer->elapsed_us);
    if (answer->resent)
        read->retry.failures++;
    if (answer->outcome == HTTP_ANSWERED && answer->status == 401 && !read->renewed) {
        read->renewed = true;
        if (registry->token != NULL)
            azure_token_refused(registry->token, read->token_generation);
        else
            iothub_sas_free(&registry->sas);
        go_on(read);
        return;
    }

    const struct retry_input input = {
        .service = RETRY_IOTHUB,
        .outcome = answer->outcome,
        .status = answer->status,
        .retry_after_ms =
            retry_after_from_headers(answer->retry_after_ms, answer->retry_after, clock_wall_s()),
        .now_ms = clock_monotonic_ms(),
        .deadline_ms = read->deadline_ms,
        .jitter = (unsigned)(uv_hrtime() >> 4),
    };
    struct retry_decision decision = retry_decide(&read->retry, &input);
    if (decision.action == RETRY_AFTER || decision.action == RETRY_OTHER_REGION) {
        go_on_after(read, decision.wait_ms);
        return;
    }
    enum upstream_status status = iothub_judge(&read->question, answer);
    if (status == UPSTREAM_OK) {
        land_answer(read, answer);
        return;
    }
    unsigned retry_after_s = 0;
    if (status == UPSTREAM_THROTTLED) {
        retry_after_s = decision.retry_after_s;
        if (retry_after_s == 0)
            retry_after_s =
                input.retry_after_ms >= 0 ? (unsigned)((input.retry_after_ms + 999) / 1000) : QUOTA_WAIT_S;
        if (retry_after_s == 0)
            retry_after_s = 1;
    }
    land(read, status, retry_after_s, NULL, NULL);
}

static void on_token(void *ctx, const struct upstream_result *result)
{
    struct read *read = ctx;
    read->call = NULL;
    if (result->status == UPSTREAM_OK)
        attempt_or_land(read);
    else
        land(read, result->status, result->retry_after_s, NULL, NULL);
}

/* Starts an attempt, or the wait for its token. */
static bool attempt(struct read *read)
{
    struct iothub_registry *registry = read->registry;
    const char *token;
    if (registry->token != NULL) {
        token = azure_token_get(registry->token, clock_monotonic_ms(), &read->token_generation);
        if (token == NULL)
            read->call = azure_token_wait(registry->token, read->deadline_ms, on_token, read);
    } else {
        token = iothub_sas_get(&registry->sas, registry->hub, clock_wall_s());
    }
    if (token != NULL)
        read->call = iothub_call(registry->http, registry->base.data, token, &read->question,
                                 read->retry.failures > 0, read->deadline_ms, on_http_answer, read);
    return read->call != NULL;
}

bool iothub_start_read(void *ctx, struct flight *flight, const char *key)
{
    const struct iothub_start *start = ctx;
    const struct iothub_question *question = start->question;
    (void)key;

    size_t id_size = question->device_id != NULL ? strlen(question->device_id) + 1 : 0;
    size_t position_size = question->position != NULL ? strlen(question->position) + 1 : 0;
    struct read *read = malloc(sizeof *read + id_size + position_size);
    if (read == NULL)
        return false;
    *read = (struct read){
        .registry = start->registry,
        .next = start->registry->reads,
        .flight = flight,
        .question = *question,
        .deadline_ms = start->deadline_ms,
        .started_us = clock_monotonic_us(),
    };
    if (id_size > 0)
        read->question.device_id = memcpy(read->text, question->device_id, id_size);
    if (position_size > 0)
        read->question.position = memcpy(read->text + id_size, question->position, position_size);
    if (read->next != NULL)
        read->next->prev = read;
    start->registry->reads = read;
    if (attempt(read))
        return true;
    read_free(read);
    return false;
}

void iothub_abandon_reads(struct iothub_registry *registry)
{
    while (registry->reads != NULL)
        land(registry->reads, UPSTREAM_UNAVAILABLE, 0, NULL, NULL);
}
