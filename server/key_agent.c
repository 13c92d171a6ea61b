/*
 * A worker's hands: what every request with an unknown kid looks at (may a fetch be waited for?) is a few
 * atomics of the source; the fetch itself is a flight, led by the worker that began it.
 */
#include "clock.h"
#include "key_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FETCH_MS       5000
#define RETRY_MS       (5u * 60 * 1000) /* after a daily fetch that failed */
#define FIRST_RETRY_MS 1000             /* while no set was ever loaded */
#define WAITING_MAX    256
#define FLIGHT_KEY     "issuer:keys"

struct key_agent {
    struct key_source *source;
    struct http_client *http;
    struct mailbox *mailbox;
    struct log *log;
    struct metrics *metrics;
    struct jwk_set *set; /* a reference; that of `generation` */
    unsigned generation;
    struct operation *fetch; /* while it leads the flight */
    struct flight *flight;
    uint64_t started_ms;
};

/* --- leading a flight -------------------------------------------------------------------------- */

struct start {
    struct key_agent *agent;
    uint64_t now_ms;
    bool for_unknown_kid; /* else the fetch is due by itself */
};

static void land(struct key_agent *agent, enum upstream_status status)
{
    struct flight *flight = agent->flight;

    agent->flight = NULL;
    agent->fetch = NULL;
    atomic_store(&agent->source->fetching, false);
    flight_land(flight, &(struct upstream_result){.status = status}, NULL, 0, NULL);
}

static void on_fetched(void *ctx, const struct key_fetch_result *result)
{
    struct key_agent *agent = ctx;
    bool good = key_source_take(agent->source, result, agent->started_ms, agent->log);
    land(agent, good ? UPSTREAM_OK : UPSTREAM_UNAVAILABLE);
}

/* Of all who ask at the same time, one worker gets it. */
static bool claim(_Atomic uint64_t *from_ms, uint64_t now_ms, uint64_t next_ms)
{
    uint64_t from = atomic_load(from_ms);
    return now_ms >= from && atomic_compare_exchange_strong(from_ms, &from, next_ms);
}

static bool begin_fetch(struct key_agent *agent, const struct start *start)
{
    struct key_source *source = agent->source;
    char *jwks_uri = NULL;

    if (start->for_unknown_kid) { /* one that is due looks where the issuer keeps its keys now */
        uv_mutex_lock(&source->lock);
        jwks_uri = source->jwks_uri != NULL ? strdup(source->jwks_uri) : NULL;
        uv_mutex_unlock(&source->lock);
    }
    const struct key_fetch_options options = {
        .issuer = source->options.issuer,
        .jwks = source->options.jwks,
        .jwks_uri = jwks_uri,
        .http = agent->http,
        .mailbox = agent->mailbox,
        .metrics = agent->metrics,
        .deadline_ms = clock_monotonic_ms() + FETCH_MS,
    };
    agent->started_ms = start->now_ms;
    agent->fetch = key_fetch_start(&options, on_fetched, agent);
    free(jwks_uri);
    return agent->fetch != NULL;
}

static bool start_flight(void *ctx, struct flight *flight, const char *key)
{
    const struct start *start = ctx;
    struct key_agent *agent = start->agent;
    struct key_source *source = agent->source;

    /* Set before the claim: whoever sees that the cooldown has begun anew sees a fetch to join as well. */
    atomic_store(&source->fetching, true);
    if (!start->for_unknown_kid ||
        (atomic_load(&source->generation) != 0 &&
         claim(&source->unknown_kid_from_ms, start->now_ms, start->now_ms + source->options.cooldown_ms))) {
        agent->flight = flight;
        if (begin_fetch(agent, start))
            return true;
        agent->flight = NULL;
        key_source_take(source, &(struct key_fetch_result){.fault = "not started"}, start->now_ms,
                        agent->log);
    }
    atomic_store(&source->fetching, false);
    return false;
}

static struct operation *join(struct start *start, flight_cb *done, void *ctx)
{
    struct key_agent *agent = start->agent;
    return flight_join(agent->source->flights, agent->mailbox, FLIGHT_KEY, 0, start_flight, start, done, ctx);
}

static void on_nobody(void *ctx, const struct flight_answer *answer) {}

void key_agent_tick(struct key_agent *agent, uint64_t now_ms)
{
    struct key_source *source = agent->source;

    if (now_ms < atomic_load(&source->due_ms) || atomic_load(&source->fetching))
        return;
    bool first = atomic_load(&source->generation) == 0;
    if (!claim(&source->due_ms, now_ms, now_ms + (first ? FIRST_RETRY_MS : RETRY_MS)))
        return;
    /* The fetch goes on without anybody who waits. */
    operation_cancel(join(&(struct start){.agent = agent, .now_ms = now_ms}, on_nobody, NULL));
}

/* --- waiting for an unknown kid ---------------------------------------------------------------- */

struct wait {
    struct operation op;
    struct operation *joined;
    struct key_source *source;
    key_agent_cb *done;
    void *ctx;
};

static void wait_free(struct wait *wait)
{
    atomic_fetch_sub(&wait->source->waiting, 1);
    free(wait);
}

static void wait_cancel(struct operation *op)
{
    struct wait *wait = (struct wait *)op;
    operation_cancel(wait->joined);
    wait_free(wait);
}

static void on_landed(void *ctx, const struct flight_answer *answer)
{
    struct wait *wait = ctx;
    key_agent_cb *done = wait->done;
    void *done_ctx = wait->ctx;

    wait_free(wait);
    done(done_ctx);
}

struct operation *key_agent_refetch(struct key_agent *agent, uint64_t now_ms, key_agent_cb *done, void *ctx)
{
    struct key_source *source = agent->source;

    if (!atomic_load(&source->fetching) &&
        (atomic_load(&source->generation) == 0 || now_ms < atomic_load(&source->unknown_kid_from_ms)))
        return NULL;
    if (atomic_fetch_add(&source->waiting, 1) >= WAITING_MAX) {
        atomic_fetch_sub(&source->waiting, 1);
        return NULL;
    }
    struct wait *wait = malloc(sizeof *wait);
    if (wait == NULL) {
        atomic_fetch_sub(&source->waiting, 1);
        return NULL;
    }
    *wait = (struct wait){.op.cancel = wait_cancel, .source = source, .done = done, .ctx = ctx};
    struct start start = {.agent = agent, .now_ms = now_ms, .for_unknown_kid = true};
    wait->joined = join(&start, on_landed, wait);
    if (wait->joined == NULL) {
        wait_free(wait);
        return NULL;
    }
    return &wait->op;
}

/* --- the set ----------------------------------------------------------------------------------- */

const struct jwk_set *key_agent_set(struct key_agent *agent, unsigned *ret_generation)
{
    struct key_source *source = agent->source;

    if (atomic_load(&source->generation) != agent->generation) {
        struct jwk_set *old = agent->set;
        uv_mutex_lock(&source->lock);
        agent->set = jwk_set_ref(source->set);
        agent->generation = atomic_load(&source->generation);
        uv_mutex_unlock(&source->lock);
        jwk_set_unref(old);
    }
    *ret_generation = agent->generation;
    return agent->set;
}

/* --- beginning and end ------------------------------------------------------------------------- */

/* So that a server with a key file can judge its very first request. */
static void read_file_first(struct key_agent *agent)
{
    struct key_source *source = agent->source;
    const char *jwks = source->options.jwks;
    struct key_fetch_result result = {0};
    char *text = NULL;

    if (jwks[0] == '\0' || key_fetch_is_url(jwks) || atomic_load(&source->generation) != 0)
        return;
    result.fault = key_fetch_file(jwks, &text, &result.len);
    result.text = text;
    key_source_take(source, &result, clock_monotonic_ms(), agent->log);
    free(text);
}

int key_agent_new(struct key_source *source, struct http_client *http, struct mailbox *mailbox,
                  struct log *log, struct metrics *metrics, struct key_agent **ret_agent)
{
    struct key_agent *agent = calloc(1, sizeof *agent);
    if (agent == NULL)
        return -ENOMEM;
    agent->source = source;
    agent->http = http;
    agent->mailbox = mailbox;
    agent->log = log;
    agent->metrics = metrics;
    read_file_first(agent);
    *ret_agent = agent;
    return 0;
}

void key_agent_free(struct key_agent *agent)
{
    if (agent == NULL)
        return;
    if (agent->fetch != NULL) {
        operation_cancel(agent->fetch);
        land(agent, UPSTREAM_UNAVAILABLE);
    }
    jwk_set_unref(agent->set);
    free(agent);
}
