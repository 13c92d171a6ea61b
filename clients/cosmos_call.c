#include "cosmos_internal.h"

#include "clock.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    URL_SIZE = COSMOS_URL_SIZE + 2048, /* two names of 255 bytes, each byte at most three */
    ATTEMPT_MIN_MS = 100, /* an attempt that had less time says nothing about its region when it times out */
    CONTAINER_STALE = 1000, /* 410/1000: the name stands for another container by now */
    SERVER_SUBSTATUS_MAX = 99999,
};

/* What callers see of an answer that stands. The first row that fits decides. */
static const struct {
    unsigned status, substatus; /* 0: any */
    bool write_only;
    enum upstream_status result;
} meanings[] = {
    {400, 0, true, UPSTREAM_REJECTED},        {409, 0, true, UPSTREAM_REJECTED},
    {412, 0, true, UPSTREAM_REJECTED},        {413, 0, true, UPSTREAM_REJECTED},
    {401, 0, false, UPSTREAM_UNAUTHORIZED},   {403, 3, false, UPSTREAM_UNAVAILABLE},
    {403, 1008, false, UPSTREAM_UNAVAILABLE}, {403, 0, false, UPSTREAM_UNAUTHORIZED},
    {429, 0, false, UPSTREAM_THROTTLED},
};

static void attempt_or_finish(struct cosmos_call *call);

static unsigned number(const char *text, unsigned max)
{
    unsigned value = 0;

    if (text == NULL || *text == '\0')
        return 0;
    for (; *text >= '0' && *text <= '9'; text++) {
        value = value * 10 + (unsigned)(*text - '0');
        if (value > max)
            return 0;
    }
    return *text == '\0' ? value : 0;
}

/* A decimal number of request units; what is not one counts as nothing. */
static double request_charge(const char *text)
{
    char *end;

    if (text == NULL || *text < '0' || *text > '9')
        return 0;
    double charge = strtod(text, &end);
    return *end == '\0' && charge >= 0 && charge < 1e9 ? charge : 0;
}

static unsigned jitter(void)
{
    unsigned value = 0;
    RAND_bytes((unsigned char *)&value, sizeof value);
    return value;
}

/* --- how a call ends --------------------------------------------------------------------------- */

static void finish(struct cosmos_call *call, struct cosmos_answer *answer)
{
    call->waiting = NULL;
    call->timer = NULL;
    call->done(call->ctx, answer);
}

static void finish_with(struct cosmos_call *call, enum upstream_status status, unsigned retry_after_s)
{
    struct cosmos_answer answer = {.status = status, .retry_after_s = retry_after_s};
    finish(call, &answer);
}

static enum upstream_status meaning(const struct retry_input *input, const struct retry_decision *decision)
{
    switch (input->outcome) {
    case HTTP_TIMED_OUT: return UPSTREAM_TIMEOUT;
    case HTTP_NO_MEMORY: return UPSTREAM_NO_MEMORY;
    case HTTP_REFUSED:
    case HTTP_BROKEN:
    case HTTP_TOO_LARGE: return UPSTREAM_UNAVAILABLE;
    case HTTP_ANSWERED: break;
    }
    if (input->status >= 200 && input->status <= 299)
        return UPSTREAM_OK;
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        if (meanings[i].status == input->status && (input->write || !meanings[i].write_only) &&
            (meanings[i].substatus == 0 || meanings[i].substatus == input->substatus))
            return meanings[i].result;
    /* Contention and the like that lasted until the time was spent. */
    bool late = decision->action == RETRY_GIVE_UP && input->now_ms + decision->wait_ms >= input->deadline_ms;
    return late && input->status < 500 ? UPSTREAM_TIMEOUT : UPSTREAM_UNAVAILABLE;
}

/* --- tokens ------------------------------------------------------------------------------------ */

static void on_token(void *ctx, const struct upstream_result *result)
{
    struct cosmos_call *call = ctx;

    call->waiting = NULL;
    if (result->status == UPSTREAM_OK)
        attempt_or_finish(call);
    else
        finish_with(call, result->status, result->retry_after_s);
}

static int wait_for_token(struct cosmos_call *call)
{
    call->waiting =
        azure_token_wait(call->store->authorizer.token, call->request.deadline_ms, on_token, call);
    return call->waiting != NULL ? 0 : -ENOMEM;
}

/* A refused token is replaced once: true when the call goes on with another. */
static bool renew_token(struct cosmos_call *call, const struct http_answer *http)
{
    struct cosmos_store *store = call->store;

    if (store->authorizer.token == NULL || http->outcome != HTTP_ANSWERED || http->status != 401 ||
        call->renewed)
        return false;
    call->renewed = true;
    azure_token_refused(store->authorizer.token, call->token_generation);
    if (store->metrics != NULL)
        metrics_retry(store->metrics, "cosmos", call->request.operation);
    attempt_or_finish(call);
    return true;
}

/* --- one attempt ------------------------------------------------------------------------------- */

static void on_wait_over(void *ctx)
{
    struct cosmos_call *call = ctx;
    call->timer = NULL;
    attempt_or_finish(call);
}

static void wait_and_attempt(struct cosmos_call *call, uint32_t wait_ms)
{
    call->timer = delay_start(call->store->loop, wait_ms, on_wait_over, call);
    if (call->timer == NULL)
        finish_with(call, UPSTREAM_NO_MEMORY, 0);
}

static void on_account(void *ctx, const struct flight_answer *answer)
{
    struct cosmos_call *call = ctx;

    call->waiting = NULL;
    if (answer->result.status != UPSTREAM_OK) {
        finish_with(call, answer->result.status, answer->result.retry_after_s);
        return;
    }
    cosmos_account_writes_moved(call->store->account);
    call->endpoint[0] = '\0';
    attempt_or_finish(call);
}

/* 403/3: the account document names the region that takes writes now. */
static void on_refresh_due(void *ctx)
{
    struct cosmos_call *call = ctx;

    call->timer = NULL;
    call->waiting = cosmos_join_account(call->store, call->request.deadline_ms, on_account, call);
    if (call->waiting == NULL)
        finish_with(call, UPSTREAM_NO_MEMORY, 0);
}

static void refresh_and_attempt(struct cosmos_call *call, uint32_t wait_ms)
{
    if (wait_ms == 0) {
        on_refresh_due(call);
        return;
    }
    call->timer = delay_start(call->store->loop, wait_ms, on_refresh_due, call);
    if (call->timer == NULL)
        finish_with(call, UPSTREAM_NO_MEMORY, 0);
}

static void count_attempt(struct cosmos_call *call, const struct http_answer *http)
{
    struct metrics *metrics = call->store->metrics;
    double charge = http->outcome == HTTP_ANSWERED ? request_charge(http->request_charge) : 0;

    call->charge += charge;
    if (metrics == NULL)
        return;
    metrics_upstream(metrics, "cosmos", call->request.operation, http->status, http->elapsed_us);
    if (charge > 0)
        metrics_request_units(metrics, charge);
}

/* What the answer says to the retry rules. */
static struct retry_input judge(struct cosmos_call *call, const struct http_answer *http)
{
    struct cosmos_verdict verdict = {.status = http->status, .retry_after_ms = -1};

    if (http->outcome == HTTP_ANSWERED) {
        verdict.substatus = number(http->substatus, SERVER_SUBSTATUS_MAX);
        verdict.retry_after_ms =
            retry_after_from_headers(http->retry_after_ms, http->retry_after, clock_wall_s());
        if (call->request.judge != NULL)
            call->request.judge(call->ctx, http, &verdict);
    }
    return (struct retry_input){
        .service = RETRY_COSMOS,
        .write = call->request.write,
        .outcome = http->outcome,
        .status = verdict.status,
        .substatus = verdict.substatus,
        .retry_after_ms = verdict.retry_after_ms,
        .now_ms = clock_monotonic_ms(),
        .deadline_ms = call->request.deadline_ms,
    };
}

static void mark_region(struct cosmos_call *call, const struct retry_input *input)
{
    if (input->outcome == HTTP_TIMED_OUT && call->attempt_ms < ATTEMPT_MIN_MS)
        return;
    cosmos_account_region_failed(call->store->account, call->endpoint, input->now_ms);
    call->endpoint[0] = '\0'; /* the next attempt chooses anew */
}

static void on_http(void *ctx, struct http_answer *http)
{
    struct cosmos_call *call = ctx;
    struct cosmos_store *store = call->store;

    call->waiting = NULL;
    count_attempt(call, http);
    if (renew_token(call, http))
        return;
    /* Sent twice; where an answer came, the first went into a connection that was closed already. */
    if (http->resent && http->outcome != HTTP_ANSWERED)
        call->retries.failures++;
    struct retry_input input = judge(call, http);
    if (input.outcome != HTTP_ANSWERED || input.status >= 400) {
        cosmos_account_view(store->account, &store->view);
        input.another_region = cosmos_view_another(&store->view, input.write, call->endpoint, input.now_ms);
        input.jitter = jitter();
    }
    struct retry_decision decision = retry_decide(&call->retries, &input);
    if (decision.region_failed)
        mark_region(call, &input);

    if (decision.action == RETRY_NO || decision.action == RETRY_GIVE_UP) {
        struct cosmos_answer answer = {
            .status = meaning(&input, &decision),
            .retry_after_s = decision.retry_after_s,
            .http_status = input.outcome == HTTP_ANSWERED ? input.status : 0,
            .substatus = input.substatus,
        };
        if (answer.status == UPSTREAM_OK)
            answer.http = http;
        if (input.status == 410 && input.substatus == CONTAINER_STALE)
            cosmos_account_forget_container(store->account);
        finish(call, &answer);
        return;
    }
    if (store->metrics != NULL)
        metrics_retry(store->metrics, "cosmos", call->request.operation);
    if (decision.action == RETRY_REFRESH_ACCOUNT)
        refresh_and_attempt(call, decision.wait_ms);
    else
        wait_and_attempt(call, decision.wait_ms);
}

/* The time that this attempt may take: where another region could still be asked, a third of what is left, so
 * that a region which hangs leaves time for the next. */
static uint64_t attempt_time(struct cosmos_call *call, uint64_t now_ms)
{
    uint64_t left = call->request.deadline_ms - now_ms;
    bool last_try = call->retries.failures >= 2;
    bool another =
        !last_try && cosmos_view_another(&call->store->view, call->request.write, call->endpoint, now_ms);

    return another && left >= 3 ? left / 3 : left;
}

/* Starts an attempt, or the wait for its token. Returns 0, -ETIMEDOUT, -EBUSY or -ENOMEM. */
static int attempt(struct cosmos_call *call)
{
    struct cosmos_store *store = call->store;
    const struct cosmos_request *request = &call->request;
    struct cosmos_authorization authorization;
    char url[URL_SIZE];

    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms >= request->deadline_ms)
        return -ETIMEDOUT;
    int r = cosmos_authorize(&store->authorizer, request->verb, request->resource_type,
                             request->resource_link, &authorization);
    if (r != 0)
        return r == -EAGAIN ? wait_for_token(call) : r;
    call->token_generation = authorization.generation;
    cosmos_account_view(store->account, &store->view);
    if (call->endpoint[0] == '\0') {
        unsigned i = cosmos_view_endpoint(&store->view, request->write, now_ms);
        memcpy(call->endpoint, store->view.endpoints[i].url, sizeof call->endpoint);
    }
    call->attempt_ms = attempt_time(call, now_ms);

    if ((size_t)snprintf(url, sizeof url, "%s%s", call->endpoint, request->path) >= sizeof url)
        return -ENOMEM;
    struct http_call_options options = {
        .method = request->verb,
        .url = url,
        .headers = {authorization.authorization, authorization.date, "x-ms-version: 2020-07-15"},
        .body = request->body,
        .body_len = request->body_len,
        .max_body = request->max_body,
        .headroom = request->headroom,
        .fresh = call->retries.failures > 0,
        .deadline_ms = now_ms + call->attempt_ms,
    };
    _Static_assert(3 + COSMOS_CALL_HEADERS_MAX <= HTTP_CALL_HEADERS_MAX, "all headers must fit");
    for (unsigned i = 0; i < COSMOS_CALL_HEADERS_MAX && request->headers[i] != NULL; i++)
        options.headers[3 + i] = request->headers[i];
    errno = 0;
    call->waiting = http_call_start(store->http, &options, on_http, call);
    if (call->waiting == NULL)
        return errno == EBUSY ? -EBUSY : -ENOMEM;
    return 0;
}

/* An attempt after the first: what keeps it from starting ends the call. */
static void attempt_or_finish(struct cosmos_call *call)
{
    int r = attempt(call);

    if (r == -EBUSY)
        finish_with(call, UPSTREAM_OVERLOADED, 1);
    else if (r != 0)
        finish_with(call, r == -ETIMEDOUT ? UPSTREAM_TIMEOUT : UPSTREAM_NO_MEMORY, 0);
}

int cosmos_call_start(struct cosmos_call *call, struct cosmos_store *store,
                      const struct cosmos_request *request, cosmos_call_cb *done, void *ctx)
{
    call->store = store;
    call->request = *request;
    call->done = done;
    call->ctx = ctx;
    call->endpoint[0] = '\0';
    call->renewed = false;
    /* Failures count over all calls of a request, the rest has its own rules for each call. */
    call->retries =
        (struct retry_state){.attempts = call->retries.attempts, .failures = call->retries.failures};
    return attempt(call);
}

void cosmos_call_cancel(struct cosmos_call *call)
{
    operation_cancel(call->waiting);
    delay_stop(call->timer);
    call->waiting = NULL;
    call->timer = NULL;
}
