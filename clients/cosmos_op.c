#include "cosmos_internal.h"

#include "clock.h"

#include <errno.h>
#include <stdlib.h>

enum {
    JOIN_AGAIN_MS = 50, /* with less time left, another read of the definition is not worth starting */
};

/* --- the end of an op -------------------------------------------------------------------------- */

static void stop_all(struct cosmos_op *op)
{
    delay_stop(op->timer);
    operation_cancel(op->flight);
    cosmos_call_cancel(&op->call);
    op->timer = NULL;
    op->flight = NULL;
}

static void cancel(struct operation *operation)
{
    struct cosmos_op *op = (struct cosmos_op *)operation;

    stop_all(op);
    op->kind->release(op);
}

static void conclude(struct cosmos_op *op)
{
    struct cosmos_store *store = op->store;
    struct upstream_result *result = &op->result;

    stop_all(op);
    if ((result->status == UPSTREAM_OVERLOADED || result->status == UPSTREAM_THROTTLED) &&
        result->retry_after_s == 0)
        result->retry_after_s = 1;
    result->request_charge = op->call.charge;
    result->elapsed_us = (unsigned long)(clock_monotonic_us() - op->started_us);
    /* Only where the service works: one that is down is not asked for more than the request itself asked. */
    if (result->status == UPSTREAM_OK)
        cosmos_refresh_account(store);
    op->kind->end(op);
    op->kind->release(op);
}

static void on_deferred_end(void *ctx)
{
    struct cosmos_op *op = ctx;

    op->timer = NULL;
    conclude(op);
}

void cosmos_op_end(struct cosmos_op *op, enum upstream_status status)
{
    op->result.status = status;
    if (!op->starting) {
        conclude(op);
        return;
    }
    delay_stop(op->timer);
    op->timer = delay_start(op->store->loop, 0, on_deferred_end, op);
    op->stillborn = op->timer == NULL;
}

void cosmos_op_end_answer(struct cosmos_op *op, const struct cosmos_answer *answer)
{
    if (cosmos_says_no_container(answer))
        cosmos_account_forget_container(op->store->account);
    op->result.retry_after_s = answer->retry_after_s;
    cosmos_op_end(op, answer->status);
}

static enum upstream_status status_of(int error)
{
    return error == EBUSY ? UPSTREAM_OVERLOADED : error == ETIMEDOUT ? UPSTREAM_TIMEOUT : UPSTREAM_NO_MEMORY;
}

void cosmos_op_call(struct cosmos_op *op, const struct cosmos_request *request, cosmos_call_cb *done)
{
    struct cosmos_request with_deadline = *request;

    with_deadline.deadline_ms = op->deadline_ms;
    int r = cosmos_call_start(&op->call, op->store, &with_deadline, done, op);
    if (r != 0)
        cosmos_op_end(op, status_of(-r));
}

/* --- its beginning ----------------------------------------------------------------------------- */

static void join_container(struct cosmos_op *op);

static void go_or_end(struct cosmos_op *op)
{
    const struct cosmos_view *view = &op->store->view;

    if (view->container == COSMOS_CONTAINER_GOOD) {
        op->kind->go(op);
        return;
    }
    op->reason = view->reason;
    cosmos_op_end(op, UPSTREAM_UNAVAILABLE);
}

static void on_container(void *ctx, const struct flight_answer *answer)
{
    struct cosmos_op *op = ctx;

    op->flight = NULL;
    delay_stop(op->timer);
    op->timer = NULL;
    cosmos_account_view(op->store->account, &op->store->view);
    if (answer->result.status == UPSTREAM_OK) {
        go_or_end(op);
    } else if (answer->result.status == UPSTREAM_TIMEOUT &&
               clock_monotonic_ms() + JOIN_AGAIN_MS < op->deadline_ms) {
        join_container(op); /* the read had the deadline of an earlier request */
    } else {
        op->result.retry_after_s = answer->result.retry_after_s;
        cosmos_op_end(op, answer->result.status);
    }
}

static void on_deadline(void *ctx)
{
    struct cosmos_op *op = ctx;

    op->timer = NULL;
    cosmos_op_end(op, UPSTREAM_TIMEOUT);
}

static void join_container(struct cosmos_op *op)
{
    struct cosmos_store *store = op->store;
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t left = op->deadline_ms > now_ms ? op->deadline_ms - now_ms : 0;

    op->flight = cosmos_join_container(store, op->deadline_ms, on_container, op);
    if (op->flight == NULL) {
        cosmos_op_end(op, status_of(errno));
        return;
    }
    op->timer = delay_start(store->loop, left, on_deadline, op);
    if (op->timer == NULL) {
        operation_cancel(op->flight);
        op->flight = NULL;
        cosmos_op_end(op, UPSTREAM_NO_MEMORY);
    }
}

static void enter(struct cosmos_op *op)
{
    const struct cosmos_view *view = &op->store->view;

    cosmos_account_view(op->store->account, &op->store->view);
    bool known = view->container != COSMOS_CONTAINER_UNKNOWN;
    bool stale = view->container != COSMOS_CONTAINER_GOOD &&
                 clock_monotonic_ms() - view->container_at_ms >= COSMOS_RECHECK_MS;
    if (op->kind->recheck || !known || stale)
        join_container(op);
    else
        go_or_end(op);
}

struct operation *cosmos_op_begin(struct cosmos_op *op, const struct cosmos_op_kind *kind,
                                  struct cosmos_store *store, uint64_t deadline_ms,
                                  enum upstream_status refused)
{
    op->operation.cancel = cancel;
    op->kind = kind;
    op->store = store;
    op->deadline_ms = deadline_ms;
    op->started_us = clock_monotonic_us();
    op->starting = true;
    if (refused != UPSTREAM_OK)
        cosmos_op_end(op, refused);
    else
        enter(op);
    op->starting = false;
    if (op->stillborn) {
        stop_all(op);
        kind->release(op);
        return NULL;
    }
    return &op->operation;
}
