/*
 * A fetch lives from the start of its flight until it lands. What can be decided without asking the authority
 * lands by a letter, since a flight may not land inside the call that starts it.
 */
#include "azure_internal.h"

#include "clock.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

struct azure_fetch {
    struct letter letter;
    struct azure_agent *agent; /* NULL: it was abandoned while its letter was on the way */
    struct azure_slot *slot;
    struct azure_fetch *prev, *next;
    struct flight *flight;
    struct operation *call;
    struct azure_token_request request; /* lives as long as the call */
    bool posted;                        /* its letter is on the way, or has come */
    bool claimed;                       /* the slot waits to hear of it */
    bool use_fallback;
    bool turned; /* it has asked for both the resource and its fallback */
};

static void unlink_fetch(struct azure_fetch *fetch)
{
    if (fetch->prev != NULL)
        fetch->prev->next = fetch->next;
    else
        fetch->agent->fetches = fetch->next;
    if (fetch->next != NULL)
        fetch->next->prev = fetch->prev;
}

/* Those who wait look at the slot themselves; the status only says that there is something to see. */
static void land(struct azure_fetch *fetch)
{
    struct flight *flight = fetch->flight;
    bool on_the_way = fetch->posted && fetch->call == NULL;

    unlink_fetch(fetch);
    operation_cancel(fetch->call);
    azure_token_request_free(&fetch->request);
    if (fetch->claimed)
        azure_slot_given_up(fetch->slot);
    fetch->agent = NULL;
    fetch->flight = NULL;
    if (!on_the_way)
        free(fetch);
    flight_land(flight, &(struct upstream_result){.status = UPSTREAM_OK}, NULL, 0, NULL);
}

static void deliver(struct letter *letter)
{
    struct azure_fetch *fetch = (struct azure_fetch *)letter;

    fetch->posted = false;
    if (fetch->agent == NULL)
        free(fetch);
    else
        land(fetch);
}

/* --- how it went ------------------------------------------------------------------------------- */

static void log_failure(const struct azure_fetch *fetch, const struct azure_token_answer *answer,
                        unsigned status)
{
    const struct azure_agent_options *options = &fetch->agent->options;
    const struct azure_identity *identity = azure_credential_identity(options->credential);
    struct log *log = options->log;

    if (log == NULL || !log_begin(log, LOG_LEVEL_WARN, "no access token for Azure"))
        return;
    log_text(log, "source", azure_source_name(azure_identity_source(identity)));
    log_text(log, "resource", fetch->use_fallback ? fetch->slot->fallback : fetch->slot->resource);
    log_number(log, "status", status);
    if (answer->aadsts != 0)
        log_number(log, "aadsts", answer->aadsts);
    if (answer->reason != NULL)
        log_text(log, "reason", answer->reason);
    log_end(log);
}

static void log_recovery(const struct azure_fetch *fetch)
{
    struct log *log = fetch->agent->options.log;

    if (log == NULL || !log_begin(log, LOG_LEVEL_INFO, "access token for Azure again"))
        return;
    log_text(log, "resource", fetch->slot->resource);
    log_end(log);
}

static void fail(struct azure_fetch *fetch, const struct azure_token_answer *answer, unsigned status)
{
    fetch->claimed = false;
    azure_slot_failed(fetch->slot, answer, clock_monotonic_ms());
    log_failure(fetch, answer, status);
}

static int ask(struct azure_fetch *fetch);

/* What keeps a fetch from being sent. */
static void fail_to_ask(struct azure_fetch *fetch, int error)
{
    struct azure_token_answer answer = {.status = UPSTREAM_NO_MEMORY, .reason = "out of memory"};

    if (error == -EBUSY)
        answer = (struct azure_token_answer){
            .status = UPSTREAM_OVERLOADED, .retry = true, .reason = "too many fetches are under way"};
    else if (error != -ENOMEM)
        answer = (struct azure_token_answer){.status = UPSTREAM_UNAVAILABLE,
                                             .retry = true,
                                             .reason = error == -EINVAL
                                                           ? "the authority's address cannot be used"
                                                           : "the federated token file cannot be used"};
    answer.retry_after_ms = -1;
    fail(fetch, &answer, 0);
}

/* The directory does not know the resource: the other one may be known. True when that is being asked for. */
static bool turn(struct azure_fetch *fetch, const struct azure_token_answer *answer)
{
    if (!answer->unknown_resource || fetch->slot->fallback == NULL || fetch->turned)
        return false;
    fetch->turned = true;
    fetch->use_fallback = !fetch->use_fallback;
    return ask(fetch) == 0;
}

static void on_answer(void *ctx, struct http_answer *http)
{
    struct azure_fetch *fetch = ctx;
    const struct azure_agent_options *options = &fetch->agent->options;
    const struct azure_identity *identity = azure_credential_identity(options->credential);
    struct azure_token_answer answer;

    fetch->call = NULL;
    azure_token_request_free(&fetch->request);
    if (options->metrics != NULL)
        metrics_upstream(options->metrics, "entra", "token", http->status, http->elapsed_us);
    azure_token_answer_read(http, azure_identity_source(identity), clock_wall_s(), &answer);
    if (http->body.data != NULL)
        OPENSSL_cleanse(http->body.data, http->body.cap);
    if (answer.status != UPSTREAM_OK) {
        if (turn(fetch, &answer))
            return;
        fail(fetch, &answer, http->status);
    } else {
        fetch->claimed = false;
        if (azure_slot_take(fetch->slot, &answer, fetch->use_fallback, clock_monotonic_ms()) > 0)
            log_recovery(fetch);
    }
    land(fetch);
}

/* --- asking ------------------------------------------------------------------------------------ */

static int build(struct azure_fetch *fetch)
{
    const struct azure_identity *identity = azure_credential_identity(fetch->agent->options.credential);
    const char *resource = fetch->use_fallback ? fetch->slot->fallback : fetch->slot->resource;
    struct buffer assertion = {0};
    int r = 0;

    if (azure_identity_source(identity) == AZURE_WORKLOAD_IDENTITY)
        r = azure_assertion_read(identity->federated_token_file, &assertion);
    if (r == 0)
        r = azure_token_request_build(&fetch->request, identity, resource, assertion.data, assertion.len);
    azure_secret_free(&assertion);
    return r;
}

static int ask(struct azure_fetch *fetch)
{
    struct azure_token_request *request = &fetch->request;
    int r = build(fetch);

    if (r == 0) {
        const struct http_call_options options = {
            .method = request->method,
            .url = request->url.data,
            .headers = {"Accept: application/json", request->header.data},
            .body = request->body.len > 0 ? request->body.data : NULL,
            .body_len = request->body.len,
            .max_body = AZURE_ANSWER_MAX,
            .deadline_ms = clock_monotonic_ms() + AZURE_FETCH_MS,
        };
        errno = ENOMEM;
        fetch->call = http_call_start(fetch->agent->options.http, &options, on_answer, fetch);
        if (fetch->call == NULL)
            r = -errno;
    }
    if (r != 0)
        azure_token_request_free(request);
    return r;
}

bool azure_fetch_start(void *ctx, struct flight *flight, const char *key)
{
    const struct azure_fetch_start *start = ctx;
    struct azure_agent *agent = start->agent;
    struct azure_fetch *fetch = calloc(1, sizeof *fetch);

    (void)key;
    if (fetch == NULL)
        return false;
    fetch->letter.deliver = deliver;
    fetch->agent = agent;
    fetch->slot = start->slot;
    fetch->flight = flight;
    fetch->next = agent->fetches;
    if (fetch->next != NULL)
        fetch->next->prev = fetch;
    agent->fetches = fetch;

    /* Another flight may have landed since this one was thought of. */
    fetch->claimed = azure_slot_claim(fetch->slot, clock_monotonic_ms(), &fetch->use_fallback);
    if (fetch->claimed) {
        int r = ask(fetch);
        if (r == 0)
            return true;
        fail_to_ask(fetch, r);
    }
    fetch->posted = true;
    mailbox_post(agent->options.mailbox, &fetch->letter);
    return true;
}

void azure_fetches_abandon(struct azure_agent *agent)
{
    while (agent->fetches != NULL)
        land(agent->fetches);
}
