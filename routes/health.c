/* GET /livez, /readyz, /metrics. */
#include "handlers.h"

#include "clock.h"
#include "flight.h"
#include "respond.h"

#include <string.h>

#define CHECK_KEPT_MS     5000 /* /readyz answers from a check at most 10 s old */
#define CHECK_DEADLINE_MS 2000 /* of one side; a probe's own patience is short */

void health_live(struct request *request)
{
    respond_static(request, 200, "text/plain; charset=utf-8", "ok", 2);
}

void health_metrics(struct request *request)
{
    const struct server *server = request->worker->server;
    struct buffer text = {0};
    metrics_write(&text, server->metrics, server->worker_count);
    respond_text(request, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

/* --- readiness --------------------------------------------------------------------------------- */

/* A flight is what a check is for: everybody who asks meanwhile gets its answer. */
static void on_checked(void *ctx, const struct upstream_result *result, const char *reason)
{
    flight_land(ctx, result, reason, reason != NULL ? strlen(reason) : 0, NULL);
}

typedef struct operation *begin_check_fn(struct worker *worker, uint64_t deadline_ms, struct flight *flight);

static struct operation *begin_store_check(struct worker *worker, uint64_t deadline_ms, struct flight *flight)
{
    return worker->store->ops->check(worker->store, deadline_ms, on_checked, flight);
}

static struct operation *begin_registry_check(struct worker *worker, uint64_t deadline_ms,
                                              struct flight *flight)
{
    return worker->registry->ops->check(worker->registry, deadline_ms, on_checked, flight);
}

static const struct side {
    const char *name;
    const char *key;
    begin_check_fn *begin;
} sides[] = {
    {"telemetry", "ready:telemetry", begin_store_check},
    {"registry", "ready:registry", begin_registry_check},
};

struct check_start {
    struct worker *worker;
    begin_check_fn *begin;
};

static bool start_check(void *ctx, struct flight *flight, const char *key)
{
    const struct check_start *start = ctx;
    /* Both sides must have answered before the request's own deadline. */
    uint64_t patience = start->worker->config->request_timeout_ms / 3;
    if (patience > CHECK_DEADLINE_MS)
        patience = CHECK_DEADLINE_MS;
    return start->begin(start->worker, clock_monotonic_ms() + patience, flight) != NULL;
}

static void check_side(struct request *request);

static void on_side(void *ctx, const struct flight_answer *answer)
{
    struct request *request = ctx;
    struct readiness_state *state = request->state;
    const struct worker *worker = request->worker;
    bool ok = answer->result.status == UPSTREAM_OK;

    request_operation_over(request, &answer->result);
    state->failed |= !ok;
    buffer_printf(&state->text, "%s\"%s\":{\"status\":\"%s\",\"mode\":\"%s\"", state->side > 0 ? "," : "",
                  sides[state->side].name, ok ? "ok" : "unavailable",
                  state->side == 0 ? worker->store->ops->mode : worker->registry->ops->mode);
    if (!ok && answer->len > 0) {
        buffer_append_text(&state->text, ",\"reason\":");
        buffer_append_json_string(&state->text, answer->text, answer->len);
    }
    buffer_append_char(&state->text, '}');
    state->side++;
    check_side(request);
}

static void answer_readiness(struct request *request)
{
    struct readiness_state *state = request->state;
    bool draining = atomic_load_explicit(&request->worker->server->draining, memory_order_relaxed);
    struct buffer text = {0};

    buffer_printf(&text, "{\"status\":\"%s\",\"checks\":{",
                  draining        ? "draining"
                  : state->failed ? "unavailable"
                                  : "ok");
    buffer_append(&text, state->text.data, state->text.len);
    buffer_append_text(&text, "}}");
    respond_json(request, draining || state->failed ? 503 : 200, &text, 0, text.len);
}

static void check_side(struct request *request)
{
    struct readiness_state *state = request->state;
    struct worker *worker = request->worker;

    if (state->side == sizeof sides / sizeof *sides) {
        answer_readiness(request);
        return;
    }
    struct check_start start = {worker, sides[state->side].begin};
    request_await(request, flight_join(worker->server->flights, worker->mailbox, sides[state->side].key,
                                       CHECK_KEPT_MS, start_check, &start, on_side, request));
}

void health_ready(struct request *request)
{
    check_side(request);
}

void health_ready_release(struct request *request)
{
    struct readiness_state *state = request->state;
    buffer_free(&state->text);
}
