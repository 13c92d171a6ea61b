/* GET /devices/{deviceId}/telemetry and /latest. */
#include "handlers.h"

#include "device_registry.h"
#include "entity.h"
#include "respond.h"
#include "telemetry_format.h"
#include "time_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_US      1000000
#define DEFAULT_HOURS  24
#define DEFAULT_LIMIT  1000
#define CLOSED_AFTER_S 60 /* a window that ended so long ago gets no more readings */

static const char *const telemetry_formats[] = {[TELEMETRY_JSON] = "application/json",
                                                [TELEMETRY_CSV] = "text/csv",
                                                [TELEMETRY_NDJSON] = "application/x-ndjson",
                                                NULL};

static const char *const content_types[] = {
    [TELEMETRY_JSON] = RESPOND_JSON_TYPE,
    [TELEMETRY_CSV] = "text/csv; charset=utf-8; header=present",
    [TELEMETRY_NDJSON] = "application/x-ndjson",
};

/* --- the window -------------------------------------------------------------------------------- */

static bool invalid(struct request *request, const char *target, const char *detail)
{
    respond_problem(request,
                    &(struct problem){.code = PROBLEM_INVALID_PARAMETER, .target = target, .detail = detail});
    return false;
}

/* Readings have whole seconds, so after < timestamp <= until holds for the fractions of a window when it
 * holds for their floors. */
static bool window_from_params(struct request *request, struct telemetry_range *range)
{
    const struct param_value *p = request->params;
    const struct param_value *hours = &p[TELEMETRY_HOURS], *from = &p[TELEMETRY_FROM], *to = &p[TELEMETRY_TO];

    if (hours->given && (from->given || to->given))
        return invalid(request, "hours", "hours excludes from and to");
    double width = (hours->given ? hours->number : DEFAULT_HOURS) * 3600 * SECOND_US;
    int64_t until_us = to->given ? to->integer : request->now_us;
    int64_t after_us = from->given ? from->integer : until_us - (int64_t)width;
    if (after_us >= until_us)
        return invalid(request, "from", "from must be before to");
    range->after = after_us > 0 ? after_us / SECOND_US : 0;
    range->until = until_us / SECOND_US;
    return true;
}

/* Everything that the pages of one list have in common, as its caller wrote it. */
static uint64_t fingerprint(const struct request *request)
{
    const struct param_value *p = request->params;
    char numbers[64];

    snprintf(numbers, sizeof numbers, "%.17g %d %d",
             p[TELEMETRY_HOURS].given ? p[TELEMETRY_HOURS].number : DEFAULT_HOURS,
             (int)p[TELEMETRY_ORDER].integer,
             p[TELEMETRY_LIMIT].given ? (int)p[TELEMETRY_LIMIT].integer : DEFAULT_LIMIT);
    uint64_t f = cursor_fingerprint(0, request->device_id);
    f = cursor_fingerprint(f, numbers);
    f = cursor_fingerprint(f, p[TELEMETRY_FROM].text);
    return cursor_fingerprint(f, p[TELEMETRY_TO].text);
}

static bool window_from_cursor(struct request *request, struct telemetry_read_state *state)
{
    const char *text = request->params[TELEMETRY_CURSOR].text;
    struct cursor cursor;

    state->scratch = malloc(strlen(text) + 1);
    if (state->scratch == NULL || !cursor_read(text, fingerprint(request), state->scratch, &cursor)) {
        respond_problem(request, &(struct problem){.code = PROBLEM_INVALID_CURSOR,
                                                   .target = "cursor",
                                                   .detail = "The cursor is not one of this list"});
        return false;
    }
    state->range.after = cursor.after;
    state->range.until = cursor.until;
    state->range.position = cursor.position;
    return true;
}

/* --- the answer -------------------------------------------------------------------------------- */

void telemetry_charge_header(struct request *request, double request_charge)
{
    char text[32];
    if (request_charge <= 0)
        return;
    snprintf(text, sizeof text, "%.10g", request_charge);
    respond_header(request, "x-ms-request-charge", text);
}

static void append_query_text(struct buffer *out, const char *name, const struct param_value *value)
{
    if (!value->given)
        return;
    buffer_printf(out, "%s=", name);
    percent_encode(out, value->text, strlen(value->text));
    buffer_append_char(out, '&');
}

/* The parameters as they were given, and where the next page begins. */
static int write_next_link(struct buffer *out, struct request *request, const char *position)
{
    const struct telemetry_read_state *state = request->state;
    const struct cursor cursor = {fingerprint(request), state->range.after, state->range.until, position};

    buffer_append_text(out, "/devices/");
    percent_encode(out, request->device_id, strlen(request->device_id));
    buffer_append_text(out, "/telemetry?");
    for (unsigned i = TELEMETRY_HOURS; i <= TELEMETRY_LIMIT; i++)
        append_query_text(out, request->route->params[i].name, &request->params[i]);
    buffer_append_text(out, "cursor=");
    int r = cursor_write(out, &cursor);
    return r != 0 ? r : buffer_terminate(out) == NULL ? -1 : 0;
}

/* Writes the answer's head into the room that the store left before the page, so that the page itself is not
 * moved. */
static size_t write_head(struct request *request, struct telemetry_page *page)
{
    const struct telemetry_range *range = &((const struct telemetry_read_state *)request->state)->range;
    char from[TIME_RFC3339_SIZE], to[TIME_RFC3339_SIZE], head[TELEMETRY_PAGE_HEADROOM];

    time_format_rfc3339(range->after, from);
    time_format_rfc3339(range->until, to);
    /* A device id holds no character that JSON escapes. */
    int len = snprintf(head, sizeof head,
                       "{\"deviceId\":\"%s\",\"from\":\"%s\",\"to\":\"%s\",\"count\":%u,\"telemetry\":",
                       request->device_id, from, to, page->count);
    memcpy(page->text.data + page->start - len, head, (size_t)len);
    return (size_t)len;
}

/* What the tag is made of: the readings, and whether more remain. Not the window, which moves with every
 * second where it ends now: a caller who polls it is told 304 until the readings are others. */
static void respond_page(struct request *request, const struct entity *page, bool more)
{
    const struct telemetry_read_state *state = request->state;
    struct entity entity = *page;

    entity.content_type = content_types[state->format];
    entity.variant = 2 * (unsigned)state->format + more;
    if (state->range.until < request->now_us / SECOND_US - CLOSED_AFTER_S)
        entity.cache_control = "private, max-age=60";
    entity_respond(request, &entity);
}

static void answer_json(struct request *request, struct telemetry_page *page, const struct buffer *link)
{
    size_t head = write_head(request, page);

    page->text.len = page->start + page->length;
    if (link->len > 0) {
        buffer_append_text(&page->text, ",\"nextLink\":\"");
        buffer_append(&page->text, link->data, link->len);
        buffer_append_char(&page->text, '"');
    }
    buffer_append_char(&page->text, '}');
    const struct entity entity = {
        .text = &page->text,
        .start = page->start - head,
        .len = page->text.len - (page->start - head),
        .tagged_start = page->start,
        .tagged_len = page->length,
    };
    respond_page(request, &entity, link->len > 0);
}

/* Made as a whole: a page is bounded by `limit`, and a fault in its middle is still an error then. */
static void answer_rows(struct request *request, const struct telemetry_page *page, bool more)
{
    const struct telemetry_read_state *state = request->state;
    struct buffer text = {0};
    const char *readings = page->text.data + page->start;

    int r = state->format == TELEMETRY_CSV ? telemetry_csv_append(&text, readings, page->length)
                                           : telemetry_ndjson_append(&text, readings, page->length);
    if (r != 0) {
        buffer_free(&text);
        if (r == -E2BIG)
            entity_not_acceptable(request, "The readings have too many different fields for a table");
        else
            respond_problem_code(request, PROBLEM_OVERLOADED, "Out of memory");
        return;
    }
    buffer_reserve(&text, 1); /* an empty text is one too */
    const struct entity entity = {.text = &text, .len = text.len, .tagged_len = text.len};
    respond_page(request, &entity, more);
}

static void answer_page(struct request *request, struct telemetry_page *page, double request_charge)
{
    const struct telemetry_read_state *state = request->state;
    struct buffer link = {0}, header = {0};

    if (page->next != NULL && write_next_link(&link, request, page->next) != 0) {
        buffer_free(&link);
        respond_problem_code(request, PROBLEM_UPSTREAM_UNAVAILABLE,
                             "The upstream's continuation cannot be passed on");
        return;
    }
    if (state->format == TELEMETRY_JSON)
        answer_json(request, page, &link);
    else
        answer_rows(request, page, link.len > 0);
    if (link.len > 0)
        buffer_printf(&header, "<%s>; rel=\"next\"", link.data);
    if (header.len > 0 && request->status < 400 && buffer_terminate(&header) != NULL)
        respond_header(request, "Link", header.data);
    telemetry_charge_header(request, request_charge);
    buffer_free(&link);
    buffer_free(&header);
}

/* --- the steps --------------------------------------------------------------------------------- */

/* An empty window is an answer when the registry knows the device. */
static void on_known(void *ctx, const struct upstream_result *result, const char *text, size_t len)
{
    struct request *request = ctx;
    const struct telemetry_read_state *state = request->state;
    struct telemetry_page page = {.start = TELEMETRY_PAGE_HEADROOM, .length = 2};

    if (!request_went_well(request, result))
        return;
    if (buffer_reserve(&page.text, TELEMETRY_PAGE_HEADROOM + 64) != 0) {
        respond_problem_code(request, PROBLEM_OVERLOADED, "Out of memory");
        return;
    }
    memcpy(page.text.data + page.start, "[]", 2);
    answer_page(request, &page, state->request_charge);
    buffer_free(&page.text);
}

static void on_page(void *ctx, const struct upstream_result *result, struct telemetry_page *page)
{
    struct request *request = ctx;
    struct device_registry *registry = request->worker->registry;
    struct telemetry_read_state *state = request->state;

    if (!request_went_well(request, result))
        return;
    if (page->count > 0 || page->next != NULL) {
        answer_page(request, page, result->request_charge);
        return;
    }
    state->request_charge = result->request_charge;
    request_await(request, registry->ops->status(registry, request->device_id, request->deadline_ms, on_known,
                                                 request));
}

void telemetry_read(struct request *request)
{
    struct telemetry_store *store = request->worker->store;
    struct telemetry_read_state *state = request->state;
    const struct param_value *p = request->params;

    state->range = (struct telemetry_range){
        .device_id = request->device_id,
        .ascending = p[TELEMETRY_ORDER].integer != 0,
        .limit = p[TELEMETRY_LIMIT].given ? (unsigned)p[TELEMETRY_LIMIT].integer : DEFAULT_LIMIT,
        .deadline_ms = request->deadline_ms,
    };
    if (!window_from_params(request, &state->range))
        return;
    if (p[TELEMETRY_CURSOR].given && !window_from_cursor(request, state))
        return;
    int format = entity_choose_type(request, telemetry_formats);
    if (format < 0)
        return;
    state->format = (enum telemetry_format)format;
    request_await(request, store->ops->read_range(store, &state->range, on_page, request));
}

void telemetry_read_release(struct request *request)
{
    struct telemetry_read_state *state = request->state;
    free(state->scratch);
}

static void on_latest(void *ctx, const struct upstream_result *result, const char *data, size_t len,
                      int64_t timestamp)
{
    struct request *request = ctx;
    struct buffer text = {0};

    if (!request_went_well(request, result))
        return;
    if (data == NULL) {
        respond_problem_code(request, PROBLEM_DEVICE_NOT_FOUND, "Device not found");
        return;
    }
    buffer_printf(&text, "{\"deviceId\":\"%s\",\"data\":", request->device_id);
    buffer_append(&text, data, len);
    buffer_printf(&text, ",\"timestamp\":%lld}", (long long)timestamp);
    entity_respond_json(request, &text);
    telemetry_charge_header(request, result->request_charge);
}

void telemetry_latest(struct request *request)
{
    struct telemetry_store *store = request->worker->store;
    if (entity_choose_type(request, entity_json_only) < 0)
        return;
    request_await(request,
                  store->ops->latest(store, request->device_id, request->deadline_ms, on_latest, request));
}
