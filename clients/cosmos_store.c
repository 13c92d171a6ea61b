#include "cosmos_feed.h"

#include <stdlib.h>

/* --- check ------------------------------------------------------------------------------------- */

struct check {
    struct cosmos_op op;
    telemetry_check_cb *done;
    void *ctx;
};

/* What to tell a caller where the container's definition could not even be read. */
static const char *const reasons[] = {
    [UPSTREAM_UNAVAILABLE] = "Cosmos DB cannot be reached or does not answer as it should",
    [UPSTREAM_THROTTLED] = "Cosmos DB throttles our requests",
    [UPSTREAM_TIMEOUT] = "Cosmos DB does not answer in time",
    [UPSTREAM_UNAUTHORIZED] = "Cosmos DB refuses our credentials",
    [UPSTREAM_OVERLOADED] = "too many requests to Cosmos DB are under way here",
    [UPSTREAM_NO_MEMORY] = "out of memory",
};

static void check_go(struct cosmos_op *op)
{
    cosmos_op_end(op, UPSTREAM_OK);
}

static void check_end(struct cosmos_op *op)
{
    struct check *check = (struct check *)op;
    enum upstream_status status = op->result.status;
    const char *reason = op->reason;

    if (reason == NULL && (size_t)status < sizeof reasons / sizeof reasons[0])
        reason = reasons[status];
    check->done(check->ctx, &op->result, reason);
}

static void check_release(struct cosmos_op *op)
{
    free(op);
}

static const struct cosmos_op_kind check_kind = {
    .recheck = true, .go = check_go, .end = check_end, .release = check_release};

static struct operation *check(struct telemetry_store *base, uint64_t deadline_ms, telemetry_check_cb *done,
                               void *ctx)
{
    struct check *check = calloc(1, sizeof *check);
    if (check == NULL)
        return NULL;
    check->done = done;
    check->ctx = ctx;
    return cosmos_op_begin(&check->op, &check_kind, (struct cosmos_store *)base, deadline_ms, UPSTREAM_OK);
}

/* --- the store --------------------------------------------------------------------------------- */

static void store_free(struct telemetry_store *base)
{
    struct cosmos_store *store = (struct cosmos_store *)base;

    if (store == NULL)
        return;
    cosmos_node_free(store->node);
    cosmos_feed_joins_end(store);
    cosmos_shared_reads_end(store);
    cosmos_signer_free(store->authorizer.signer);
    free(store);
}

static const struct telemetry_store_ops ops = {
    .mode = "cosmos",
    .read_range = cosmos_read_range,
    .latest = cosmos_latest,
    .write = cosmos_write,
    .follow = cosmos_follow,
    .check = check,
    .free = store_free,
};

struct telemetry_store *cosmos_store_new(struct cosmos_account *account, struct azure_agent *azure,
                                         struct http_client *http, struct mailbox *mailbox, uv_loop_t *loop,
                                         struct metrics *metrics)
{
    struct cosmos_store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return NULL;
    store->base.ops = &ops;
    store->account = account;
    store->names = cosmos_account_names(account);
    store->http = http;
    store->mailbox = mailbox;
    store->loop = loop;
    store->metrics = metrics;
    if (cosmos_authorizer_init(&store->authorizer, store->names.settings, azure) != 0) {
        free(store);
        return NULL;
    }
    store->node = cosmos_node_new(store, store->names.feed);
    if (store->node == NULL) {
        store_free(&store->base);
        return NULL;
    }
    return &store->base;
}
