/* POST /devices/{deviceId}/telemetry. */
#include "handlers.h"

#include "device_registry.h"
#include "respond.h"

static void answer(struct request *request)
{
    const struct telemetry_write_state *state = request->state;
    struct buffer text = {0};

    if (state->result.status == UPSTREAM_OK) {
        buffer_printf(&text, "{\"deviceId\":\"%s\",\"stored\":%zu}", request->device_id, state->body.count);
        respond_json(request, 201, &text, 0, text.len);
    } else {
        struct problem problem = problem_from_upstream(&state->result);
        problem.has_stored = state->body.array;
        problem.stored = (long)state->stored;
        respond_problem(request, &problem);
    }
    telemetry_charge_header(request, state->result.request_charge);
}

static void on_noted(void *ctx, const struct upstream_result *result)
{
    struct request *request = ctx;
    if (request_went_well(request, result))
        answer(request);
}

static void on_stored(void *ctx, const struct upstream_result *result, size_t stored, int64_t at)
{
    struct request *request = ctx;
    struct device_registry *registry = request->worker->registry;
    struct telemetry_write_state *state = request->state;

    request_operation_over(request, result);
    state->result = *result;
    state->stored = stored;
    /* An embedded registry beside another store hears of the reading from us; the embedded store tells it in
     * its own transaction. */
    bool same_database = request->worker->server->cosmos == NULL;
    if (stored > 0 && !same_database && registry->ops->note_reading != NULL)
        request_await(request, registry->ops->note_reading(registry, request->device_id, at,
                                                           request->deadline_ms, on_noted, request));
    else
        answer(request);
}

void telemetry_write(struct request *request)
{
    struct telemetry_store *store = request->worker->store;
    struct telemetry_write_state *state = request->state;
    struct problem problem;
    const char *text = buffer_terminate(&request->body);

    if (text == NULL) {
        respond_problem_code(request, PROBLEM_OVERLOADED, "Out of memory");
        return;
    }
    if (!reading_body_parse(text, request->body.len, request->device_id, &state->body, &problem)) {
        respond_problem(request, &problem);
        return;
    }
    const struct telemetry_write write = {
        .device_id = request->device_id,
        .readings = state->body.readings,
        .count = state->body.count,
        .ttl_s = request->worker->config->ttl_s,
        .deadline_ms = request->deadline_ms,
    };
    request_await(request, store->ops->write(store, &write, on_stored, request));
}

void telemetry_write_release(struct request *request)
{
    struct telemetry_write_state *state = request->state;
    reading_body_free(&state->body);
}
