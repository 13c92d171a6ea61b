#include "cosmos_internal.h"

#include "clock.h"

#include <errno.h>
#include <stdlib.h>

enum {
    DOCUMENT_MAX = 1024 * 1024, /* of an account document or a container's definition */
    BACKGROUND_MS = 10 * 1000,  /* how long a read that nobody waits for may take */
    REFRESH_LOOK_MS = 1000,
};

/* Lives from the start of a flight until it lands. */
struct cosmos_shared_read {
    struct cosmos_store *store;
    struct cosmos_shared_read **slot; /* where the store knows it */
    struct flight *flight;
    struct cosmos_call call;
};

struct start {
    struct cosmos_store *store;
    uint64_t deadline_ms;
    int error;
};

static void land(struct cosmos_shared_read *read, const struct upstream_result *result)
{
    struct flight *flight = read->flight;

    /* Forgotten first: whoever hears of the landing may start the next one. */
    *read->slot = NULL;
    free(read);
    flight_land(flight, result, NULL, 0, NULL);
}

static struct upstream_result result_of(const struct cosmos_answer *answer)
{
    return (struct upstream_result){.status = answer->status, .retry_after_s = answer->retry_after_s};
}

static void on_account(void *ctx, struct cosmos_answer *answer)
{
    struct cosmos_shared_read *read = ctx;
    struct upstream_result result = result_of(answer);
    const struct http_answer *http = answer->http;

    if (result.status == UPSTREAM_OK &&
        !cosmos_account_take_document(read->store->account, http->body.data + http->body_start,
                                      http->body_len, clock_monotonic_ms()))
        result.status = UPSTREAM_UNAVAILABLE;
    land(read, &result);
}

static void on_container(void *ctx, struct cosmos_answer *answer)
{
    struct cosmos_shared_read *read = ctx;
    struct cosmos_account *account = read->store->account;
    struct upstream_result result = result_of(answer);
    const struct http_answer *http = answer->http;

    if (cosmos_says_no_container(answer)) {
        cosmos_account_container_missing(account, clock_monotonic_ms());
        result.status = UPSTREAM_OK;
    } else if (result.status == UPSTREAM_OK &&
               !cosmos_account_take_container(account, http->body.data + http->body_start, http->body_len,
                                              clock_monotonic_ms())) {
        result.status = UPSTREAM_UNAVAILABLE;
    }
    land(read, &result);
}

static bool start_read(struct start *start, struct flight *flight, struct cosmos_shared_read **slot,
                       const struct cosmos_request *request, cosmos_call_cb *done)
{
    struct cosmos_shared_read *read = calloc(1, sizeof *read);
    if (read == NULL) {
        start->error = -ENOMEM;
        return false;
    }
    read->store = start->store;
    read->slot = slot;
    read->flight = flight;
    start->error = cosmos_call_start(&read->call, start->store, request, done, read);
    if (start->error != 0) {
        free(read);
        return false;
    }
    *slot = read;
    return true;
}

static bool start_account(void *ctx, struct flight *flight, const char *key)
{
    struct start *start = ctx;
    struct cosmos_request request = {
        .operation = "account",
        .verb = "GET",
        .resource_type = "",
        .resource_link = "",
        .path = "/",
        .max_body = DOCUMENT_MAX,
        .deadline_ms = start->deadline_ms,
    };
    return start_read(start, flight, &start->store->account_read, &request, on_account);
}

static bool start_container(void *ctx, struct flight *flight, const char *key)
{
    struct start *start = ctx;
    struct cosmos_request request = {
        .operation = "container",
        .verb = "GET",
        .resource_type = "colls",
        .resource_link = start->store->names.container_link,
        .path = start->store->names.container_path,
        .max_body = DOCUMENT_MAX,
        .deadline_ms = start->deadline_ms,
    };
    return start_read(start, flight, &start->store->container_read, &request, on_container);
}

static struct operation *join(struct cosmos_store *store, const char *key, flight_start_fn *start_fn,
                              uint64_t deadline_ms, flight_cb *done, void *ctx)
{
    struct start start = {.store = store, .deadline_ms = deadline_ms};
    struct operation *op =
        flight_join(store->names.flights, store->mailbox, key, 0, start_fn, &start, done, ctx);

    if (op == NULL)
        errno = start.error != 0 ? -start.error : ENOMEM;
    return op;
}

struct operation *cosmos_join_account(struct cosmos_store *store, uint64_t deadline_ms, flight_cb *done,
                                      void *ctx)
{
    return join(store, "cosmos:account", start_account, deadline_ms, done, ctx);
}

struct operation *cosmos_join_container(struct cosmos_store *store, uint64_t deadline_ms, flight_cb *done,
                                        void *ctx)
{
    return join(store, "cosmos:container", start_container, deadline_ms, done, ctx);
}

static void on_refreshed(void *ctx, const struct flight_answer *answer) {}

void cosmos_refresh_account(struct cosmos_store *store)
{
    uint64_t now_ms = clock_monotonic_ms(), read_ms = store->view.account_at_ms;

    if ((read_ms != 0 && now_ms - read_ms < COSMOS_ACCOUNT_AGE_MS) ||
        now_ms - store->refresh_looked_ms < REFRESH_LOOK_MS)
        return;
    store->refresh_looked_ms = now_ms;
    /* The read goes on without us; what it brings is in the account then. */
    if (cosmos_account_claim_refresh(store->account, now_ms))
        operation_cancel(cosmos_join_account(store, now_ms + BACKGROUND_MS, on_refreshed, NULL));
}

void cosmos_shared_reads_end(struct cosmos_store *store)
{
    struct cosmos_shared_read *reads[] = {store->account_read, store->container_read};

    for (unsigned i = 0; i < sizeof reads / sizeof reads[0]; i++) {
        if (reads[i] == NULL)
            continue;
        cosmos_call_cancel(&reads[i]->call);
        land(reads[i], &(struct upstream_result){.status = UPSTREAM_UNAVAILABLE});
    }
}
