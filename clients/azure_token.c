#include "azure_internal.h"

#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* After so many failures in a row nobody waits for the next attempt: who holds on to every request while an
 * authority is down for long soon has no room for those that need none. */
#define FAILURES_MAX 3

/* --- agents ------------------------------------------------------------------------------------ */

struct azure_token {
    struct azure_token *next;
    struct azure_agent *agent;
    struct azure_slot *slot;
    char *prefix;
    struct buffer text; /* prefix and token; empty where there is none */
    uint64_t good_until_ms;
    unsigned generation;
};

static void token_free(struct azure_token *token)
{
    azure_secret_free(&token->text);
    free(token->prefix);
    free(token);
}

int azure_agent_new(const struct azure_agent_options *options, struct azure_agent **ret_agent)
{
    struct azure_agent *agent = calloc(1, sizeof *agent);
    if (agent == NULL)
        return -ENOMEM;
    agent->options = *options;
    *ret_agent = agent;
    return 0;
}

void azure_agent_free(struct azure_agent *agent)
{
    if (agent == NULL)
        return;
    azure_fetches_abandon(agent);
    while (agent->tokens != NULL) {
        struct azure_token *token = agent->tokens;
        agent->tokens = token->next;
        token_free(token);
    }
    free(agent);
}

int azure_token_open(struct azure_agent *agent, const char *resource, const char *fallback,
                     const char *prefix, struct azure_token **ret_token)
{
    struct azure_token *token = calloc(1, sizeof *token);
    if (token == NULL)
        return -ENOMEM;
    errno = ENOMEM;
    token->agent = agent;
    token->prefix = strdup(prefix);
    token->slot =
        token->prefix != NULL ? azure_slot_open(agent->options.credential, resource, fallback) : NULL;
    if (token->slot == NULL) {
        int error = errno;
        token_free(token);
        return -error;
    }
    token->next = agent->tokens;
    agent->tokens = token;
    *ret_token = token;
    return 0;
}

static struct operation *join(struct azure_token *token, flight_cb *done, void *ctx)
{
    struct azure_agent *agent = token->agent;
    struct azure_fetch_start start = {.agent = agent, .slot = token->slot};

    return flight_join(azure_credential_flights(agent->options.credential), agent->options.mailbox,
                       token->slot->key, 0, azure_fetch_start, &start, done, ctx);
}

static void on_nothing(void *ctx, const struct flight_answer *answer) {}

void azure_agent_tick(struct azure_agent *agent, uint64_t now_ms)
{
    /* The fetch goes on without us. */
    for (struct azure_token *token = agent->tokens; token != NULL; token = token->next)
        if (azure_slot_due(token->slot, now_ms))
            operation_cancel(join(token, on_nothing, NULL));
}

/* --- the copy ---------------------------------------------------------------------------------- */

const char *azure_token_get(struct azure_token *token, uint64_t now_ms, unsigned *ret_generation)
{
    struct azure_slot *slot = token->slot;

    if (atomic_load_explicit(&slot->generation, memory_order_acquire) != token->generation)
        azure_slot_copy(slot, token->prefix, &token->text, &token->good_until_ms, &token->generation);
    if (token->text.len == 0 || now_ms >= token->good_until_ms)
        return NULL;
    *ret_generation = token->generation;
    return token->text.data;
}

void azure_token_refused(struct azure_token *token, unsigned generation)
{
    azure_slot_refused(token->slot, generation);
}

/* --- waits ------------------------------------------------------------------------------------- */

/* Freed by the close callback of its timer. */
struct wait {
    struct operation op;
    uv_timer_t timer; /* for the deadline, or for the time of the next attempt */
    struct azure_token *token;
    struct operation *flight;
    uint64_t deadline_ms;
    azure_token_cb *done;
    void *ctx;
};

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void wait_free(struct wait *wait)
{
    operation_cancel(wait->flight);
    wait->flight = NULL;
    uv_close((uv_handle_t *)&wait->timer, on_closed);
}

static void wait_cancel(struct operation *op)
{
    wait_free((struct wait *)op);
}

static void answer(struct wait *wait, enum upstream_status status, unsigned retry_after_s)
{
    const struct upstream_result result = {.status = status, .retry_after_s = retry_after_s};
    azure_token_cb *done = wait->done;
    void *ctx = wait->ctx;

    wait_free(wait);
    done(ctx, &result);
}

static void answer_failure(struct wait *wait, const struct azure_outlook *outlook, uint64_t now_ms)
{
    unsigned retry_after_s = 0;

    if (outlook->failure == UPSTREAM_THROTTLED || outlook->failure == UPSTREAM_OVERLOADED)
        retry_after_s = outlook->next_ms > now_ms ? (unsigned)((outlook->next_ms - now_ms + 999) / 1000) : 1;
    answer(wait, outlook->failure, retry_after_s);
}

static void on_timer(uv_timer_t *timer);

static void set_timer(struct wait *wait, uint64_t at_ms, uint64_t now_ms)
{
    uv_update_time(wait->timer.loop); /* the wait counts from now, not from the start of this turn */
    uv_timer_start(&wait->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

static void on_landed(void *ctx, const struct flight_answer *landed);

/* Goes on as things stand: there is a token, or an attempt to wait for, or a reason to give up. */
static void go_on(struct wait *wait)
{
    uint64_t now_ms = clock_monotonic_ms();
    unsigned generation;

    if (azure_token_get(wait->token, now_ms, &generation) != NULL) {
        answer(wait, UPSTREAM_OK, 0);
        return;
    }
    struct azure_outlook outlook = azure_slot_look(wait->token->slot);
    if (now_ms >= wait->deadline_ms) {
        if (outlook.failure == UPSTREAM_OK)
            outlook.failure = UPSTREAM_TIMEOUT;
        answer_failure(wait, &outlook, now_ms);
    } else if (outlook.under_way || now_ms >= outlook.next_ms) {
        set_timer(wait, wait->deadline_ms, now_ms);
        wait->flight = join(wait->token, on_landed, wait);
        if (wait->flight == NULL)
            answer(wait, UPSTREAM_NO_MEMORY, 0);
    } else if (outlook.failure == UPSTREAM_OK) {
        /* A token that was refused is not replaced more than once a second. */
        set_timer(wait, outlook.next_ms < wait->deadline_ms ? outlook.next_ms : wait->deadline_ms, now_ms);
    } else if (outlook.retry && (outlook.failures < FAILURES_MAX || outlook.patient) &&
               outlook.next_ms < wait->deadline_ms) {
        set_timer(wait, outlook.next_ms, now_ms);
    } else {
        answer_failure(wait, &outlook, now_ms);
    }
}

static void on_landed(void *ctx, const struct flight_answer *landed)
{
    struct wait *wait = ctx;

    wait->flight = NULL;
    go_on(wait);
}

static void on_timer(uv_timer_t *timer)
{
    struct wait *wait = timer->data;

    operation_cancel(wait->flight);
    wait->flight = NULL;
    go_on(wait);
}

struct operation *azure_token_wait(struct azure_token *token, uint64_t deadline_ms, azure_token_cb *done,
                                   void *ctx)
{
    struct wait *wait = calloc(1, sizeof *wait);
    if (wait == NULL)
        return NULL;
    wait->op.cancel = wait_cancel;
    wait->token = token;
    wait->deadline_ms = deadline_ms;
    wait->done = done;
    wait->ctx = ctx;
    uv_timer_init(token->agent->options.loop, &wait->timer);
    wait->timer.data = wait;
    /* Where things stand is looked at from the loop: the callback may not come from inside this call. */
    set_timer(wait, 0, 0);
    return &wait->op;
}
