/* GET /devices/{deviceId}/telemetry/stream and GET /telemetry/stream: readings as they are stored. */
#include "handlers.h"

#include "device_registry.h"
#include "respond.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_US 1000000
/* Of all connections so many may be listeners: requests and probes must still get in. */
#define SHARE_NUMERATOR   9
#define SHARE_DENOMINATOR 10

/* --- nobody ------------------------------------------------------------------------------------ */

/* A token that covers none of the devices gets what devices that never send would give. */
static void nothing_begins(struct telemetry_follow *nothing, const struct telemetry_follow_events *events,
                           void *ctx)
{
}

static void nothing_goes_on(struct telemetry_follow *nothing) {}

static int position_of_nothing(const struct telemetry_follow *nothing, struct buffer *out)
{
    buffer_append_char(out, '0');
    return out->failed ? -ENOMEM : 0;
}

static void close_nothing(struct telemetry_follow *nothing) {}

static const struct telemetry_follow_ops nothing_ops = {nothing_begins, nothing_goes_on, position_of_nothing,
                                                        close_nothing};
static struct telemetry_follow nothing = {&nothing_ops};

/* --- the follow -------------------------------------------------------------------------------- */

static bool take_place(struct request *request)
{
    struct server *server = request->worker->server;
    unsigned most =
        (unsigned)((uint64_t)server->config->max_connections * SHARE_NUMERATOR / SHARE_DENOMINATOR);
    if (atomic_fetch_add_explicit(&server->streams, 1, memory_order_relaxed) < most &&
        !request->worker->draining)
        return true;
    atomic_fetch_sub_explicit(&server->streams, 1, memory_order_relaxed);
    respond_problem(request, &(struct problem){.code = PROBLEM_OVERLOADED,
                                               .detail = "There are too many listeners",
                                               .retry_after_s = 1});
    return false;
}

static void start(struct request *request, struct telemetry_follow *follow)
{
    if (!take_place(request)) {
        follow->ops->close(follow);
        return;
    }
    struct stream *stream = stream_new(request->worker, follow, request->access.principal, request->id);
    if (stream != NULL) {
        respond_stream(request, stream);
        return;
    }
    follow->ops->close(follow);
    atomic_fetch_sub_explicit(&request->worker->server->streams, 1, memory_order_relaxed);
    respond_problem_code(request, PROBLEM_OVERLOADED, "Out of memory");
}

static void on_follow(void *ctx, const struct upstream_result *result, struct telemetry_follow *follow)
{
    struct request *request = ctx;

    if (request_went_well(request, result))
        start(request, follow);
}

static void follow(struct request *request)
{
    const struct stream_state *state = request->state;
    struct telemetry_store *store = request->worker->store;
    const struct param_value *from = &request->params[STREAM_FROM];
    const char *last_id = MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, "Last-Event-ID");
    const struct telemetry_follow_request wanted = {
        .device_ids = state->device_ids,
        .count = state->count,
        .from_now = !from->given,
        .after = from->given && from->integer > 0 ? from->integer / SECOND_US : 0,
        .position = last_id != NULL && last_id[0] != '\0' ? last_id : NULL,
        .deadline_ms = request->deadline_ms,
    };
    request_await(request, store->ops->follow(store, &wanted, on_follow, request));
}

/* --- one device: known to somebody -------------------------------------------------------------- */

static void on_latest(void *ctx, const struct upstream_result *result, const char *data, size_t len,
                      int64_t timestamp)
{
    struct request *request = ctx;
    if (!request_went_well(request, result))
        return;
    if (data == NULL)
        respond_problem_code(request, PROBLEM_DEVICE_NOT_FOUND, "Device not found");
    else
        follow(request);
}

static void on_status(void *ctx, const struct upstream_result *result, const char *text, size_t len)
{
    struct request *request = ctx;
    struct telemetry_store *store = request->worker->store;

    if (result->status == UPSTREAM_NOT_FOUND) {
        request_operation_over(request, result);
        request_await(
            request, store->ops->latest(store, request->device_id, request->deadline_ms, on_latest, request));
    } else if (request_went_well(request, result)) {
        follow(request);
    }
}

/* --- the handlers ------------------------------------------------------------------------------ */

static bool from_is_past(struct request *request)
{
    const struct param_value *from = &request->params[STREAM_FROM];
    if (!from->given || from->integer <= request->now_us)
        return true;
    respond_problem(request, &(struct problem){.code = PROBLEM_INVALID_PARAMETER,
                                               .target = "from",
                                               .detail = "from must not be in the future"});
    return false;
}

void stream_device(struct request *request)
{
    struct device_registry *registry = request->worker->registry;
    struct stream_state *state = request->state;

    if (!from_is_past(request))
        return;
    state->device_ids[0] = request->device_id;
    state->count = 1;
    request_await(request, registry->ops->status(registry, request->device_id, request->deadline_ms,
                                                 on_status, request));
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Those that the token covers, sorted, each once. Others are silent, as if nothing were ever stored for them.
 */
static void take_devices(struct request *request, char *text)
{
    struct stream_state *state = request->state;
    const struct principal *principal = request->access.principal;
    const char *all[TELEMETRY_FOLLOW_DEVICES_MAX];
    size_t count = 0;

    for (char *rest = NULL, *id = strtok_r(text, ",", &rest); id != NULL; id = strtok_r(NULL, ",", &rest))
        if (principal == NULL || grants_has(principal->grants, id))
            all[count++] = id;
    qsort(all, count, sizeof *all, compare);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(all[i], all[i - 1]) != 0)
            state->device_ids[state->count++] = all[i];
}

void stream_devices(struct request *request)
{
    struct stream_state *state = request->state;
    const struct param_value *devices = &request->params[STREAM_DEVICES];

    if (!devices->given) {
        respond_problem(
            request, &(struct problem){.code = PROBLEM_INVALID_PARAMETER,
                                       .target = "devices",
                                       .detail = "devices must name 1 to 100 devices, separated by commas"});
        return;
    }
    if (!from_is_past(request))
        return;
    state->ids = strdup(devices->text);
    if (state->ids == NULL) {
        respond_problem_code(request, PROBLEM_OVERLOADED, "Out of memory");
        return;
    }
    take_devices(request, state->ids);
    if (state->count > 0)
        follow(request);
    else
        start(request, &nothing);
}

void stream_devices_release(struct request *request)
{
    struct stream_state *state = request->state;
    free(state->ids);
}
