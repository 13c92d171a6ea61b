/* GET /devices, GET /devices/{deviceId}/status, PATCH /devices/{deviceId}/reported. */
#include "handlers.h"

#include "device_registry.h"
#include "entity.h"
#include "json.h"
#include "respond.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_LIMIT   100
#define CHECK_DEPTH     1024
#define PATCH_DEPTH_MAX 10 /* a twin's limit */

static void on_status(void *ctx, const struct upstream_result *result, const char *text, size_t len)
{
    struct request *request = ctx;
    struct buffer copy = {0};

    if (!request_went_well(request, result))
        return;
    buffer_append(&copy, text, len);
    entity_respond_json(request, &copy);
}

void device_status_read(struct request *request)
{
    struct device_registry *registry = request->worker->registry;
    if (entity_choose_type(request, entity_json_only) < 0)
        return;
    request_await(request, registry->ops->status(registry, request->device_id, request->deadline_ms,
                                                 on_status, request));
}

/* --- the list ---------------------------------------------------------------------------------- */

static unsigned limit_of(const struct request *request)
{
    const struct param_value *limit = &request->params[DEVICES_LIMIT];
    return limit->given ? (unsigned)limit->integer : DEFAULT_LIMIT;
}

static void on_list(void *ctx, const struct upstream_result *result, const struct device_list *list)
{
    struct request *request = ctx;
    const struct devices_state *state = request->state;
    struct buffer text = {0}, link = {0};
    char number[48];

    if (!request_went_well(request, result))
        return;
    buffer_append_text(&text, "{\"value\":");
    buffer_append(&text, list->text, list->len);
    if (list->next != NULL) {
        const struct cursor cursor = {.fingerprint = state->fingerprint, .position = list->next};
        buffer_printf(&link, "/devices?limit=%u&cursor=", limit_of(request));
        if (cursor_write(&link, &cursor) != 0 || buffer_terminate(&link) == NULL) {
            buffer_free(&text);
            buffer_free(&link);
            respond_problem_code(request, PROBLEM_UPSTREAM_UNAVAILABLE,
                                 "The upstream's continuation cannot be passed on");
            return;
        }
        buffer_printf(&text, ",\"nextLink\":\"%s\"", link.data);
    }
    buffer_append_char(&text, '}');
    respond_json(request, 200, &text, 0, text.len);
    if (list->next != NULL) {
        struct buffer header = {0};
        buffer_printf(&header, "<%s>; rel=\"next\"", link.data);
        if (buffer_terminate(&header) != NULL)
            respond_header(request, "Link", header.data);
        buffer_free(&header);
    }
    buffer_free(&link);
    if (list->max_age_s > 0) {
        snprintf(number, sizeof number, "%u", list->age_s);
        respond_header(request, "Age", number);
        snprintf(number, sizeof number, "private, max-age=%u", list->max_age_s);
        respond_header(request, "Cache-Control", number);
    }
}

void devices_list(struct request *request)
{
    struct device_registry *registry = request->worker->registry;
    struct devices_state *state = request->state;
    const struct param_value *given = &request->params[DEVICES_CURSOR];
    struct cursor cursor = {0};
    char number[16];

    snprintf(number, sizeof number, "%u", limit_of(request));
    state->fingerprint = cursor_fingerprint(cursor_fingerprint(0, "devices"), number);
    if (given->given) {
        state->scratch = malloc(strlen(given->text) + 1);
        if (state->scratch == NULL ||
            !cursor_read(given->text, state->fingerprint, state->scratch, &cursor)) {
            respond_problem(request, &(struct problem){.code = PROBLEM_INVALID_CURSOR,
                                                       .target = "cursor",
                                                       .detail = "The cursor is not one of this list"});
            return;
        }
    }
    struct grants *grants = request->access.principal != NULL ? request->access.principal->grants : NULL;
    request_await(request, registry->ops->list(registry, limit_of(request), cursor.position, grants,
                                               request->deadline_ms, on_list, request));
}

void devices_list_release(struct request *request)
{
    struct devices_state *state = request->state;
    free(state->scratch);
}

/* --- the patch --------------------------------------------------------------------------------- */

static bool patch_fits(struct request *request, const char *text)
{
    struct json_error error = {0};
    enum json_fault fault = json_check(text, request->body.len, CHECK_DEPTH, true, &error);
    const char *detail = "The patch must be a JSON object, at most 10 deep";

    if (fault == JSON_SYNTAX || fault == JSON_DUPLICATE) {
        respond_problem(request, &(struct problem){.code = PROBLEM_INVALID_JSON,
                                                   .detail = error.message,
                                                   .line = error.line,
                                                   .column = error.column});
        return false;
    }
    if (fault == JSON_OK) {
        struct json_slice root = json_root(text, request->body.len);
        if (json_kind(root) == JSON_OBJECT && json_depth(root) <= PATCH_DEPTH_MAX)
            return true;
    }
    respond_problem_code(request, fault == JSON_NO_MEMORY ? PROBLEM_OVERLOADED : PROBLEM_INVALID_PATCH,
                         detail);
    return false;
}

static void on_reported(void *ctx, const struct upstream_result *result, const char *text, size_t len)
{
    struct request *request = ctx;
    struct buffer copy = {0};

    if (!request_went_well(request, result))
        return;
    buffer_append(&copy, text, len);
    respond_json(request, 200, &copy, 0, len);
}

void device_reported_patch(struct request *request)
{
    struct device_registry *registry = request->worker->registry;
    const char *text = buffer_terminate(&request->body);

    if (text == NULL) {
        respond_problem_code(request, PROBLEM_OVERLOADED, "Out of memory");
        return;
    }
    if (!patch_fits(request, text))
        return;
    request_await(request,
                  registry->ops->patch_reported(registry, request->device_id, text, request->body.len,
                                                request->deadline_ms, on_reported, request));
}
