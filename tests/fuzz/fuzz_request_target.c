/*
 * A request's target: route_match(), params_parse() over the parameters of every row that the target finds,
 * and the cursor in it.
 */
#include "cursor.h"
#include "fuzz.h"
#include "routes.h"

#define NOW_US 1795417200000000

static const char *const methods[] = {"GET", "HEAD", "POST", "PATCH", "OPTIONS", "DELETE"};

/* What a cursor says is what it is written from again. */
static void check_cursor(const char *text)
{
    char *scratch = fuzz_copy(text, strlen(text) + 1);
    struct cursor cursor = {0}, again = {0};

    /* Nobody but us knows a fingerprint; the corpus has cursors of this one. */
    if (cursor_read(text, 0x0123456789abcdef, scratch, &cursor)) {
        struct buffer written = {0};
        ALWAYS(cursor.fingerprint == 0x0123456789abcdef);
        ALWAYS(cursor.after >= 0 && cursor.until >= cursor.after);
        ALWAYS(cursor.position >= scratch && cursor.position < scratch + strlen(text));
        ALWAYS(cursor.position[0] != '\0');
        ALWAYS(cursor_write(&written, &cursor) == 0);
        const char *second = buffer_terminate(&written);
        char *room = fuzz_copy(second, strlen(second) + 1);
        ALWAYS(cursor_read(second, cursor.fingerprint, room, &again));
        ALWAYS(again.after == cursor.after && again.until == cursor.until);
        ALWAYS(strcmp(again.position, cursor.position) == 0);
        ALWAYS(!cursor_read(second, cursor.fingerprint ^ 1, room, &again));
        free(room);
        buffer_free(&written);
    }
    free(scratch);
}

static void check_value(const struct param *param, const struct param_value *value)
{
    switch (param->type) {
    case PARAM_NUMBER: ALWAYS(value->number > param->min && value->number <= param->max); break;
    case PARAM_INTEGER:
        ALWAYS((double)value->integer >= param->min && (double)value->integer <= param->max);
        break;
    case PARAM_POINT: ALWAYS(value->integer >= 0 && value->integer < 253402300800 * 1000000); break;
    case PARAM_CHOICE: ALWAYS(strcmp(param->choices[value->integer], value->text) == 0); break;
    case PARAM_CURSOR:
        ALWAYS(value->text[0] != '\0' && strlen(value->text) <= CURSOR_MAX);
        check_cursor(value->text);
        break;
    }
}

static void check_query(const char *query, const struct param *params)
{
    size_t room = query != NULL ? strlen(query) + 1 : 1;
    char *scratch = malloc(room);
    struct param_value values[PARAMS_MAX];
    struct problem problem = {0};

    ALWAYS(scratch != NULL);
    if (params_parse(query, params, NOW_US, scratch, values, &problem)) {
        for (size_t i = 0; params != NULL && params[i].name != NULL; i++) {
            if (!values[i].given)
                continue;
            ALWAYS(values[i].text >= scratch && values[i].text + strlen(values[i].text) < scratch + room);
            check_value(&params[i], &values[i]);
        }
    } else {
        ALWAYS(problem.code == PROBLEM_UNKNOWN_PARAMETER || problem.code == PROBLEM_DUPLICATE_PARAMETER ||
               problem.code == PROBLEM_INVALID_PARAMETER || problem.code == PROBLEM_INVALID_CURSOR);
        ALWAYS(problem.detail != NULL && problem.target != NULL);
        ALWAYS(strlen(problem.target) <= 64);
    }
    free(scratch);
}

/* The device that a path names can be named again: encoded, it finds the same row and the same device. */
static void check_device(const struct route_match *match)
{
    const char *template = routes[match->first].template;
    const char *place = strstr(template, "{deviceId}");
    if (place == NULL)
        return;
    struct buffer target = {0};
    struct route_match again;
    ALWAYS(device_id_valid(match->device_id, strlen(match->device_id)));
    buffer_append(&target, template, (size_t)(place - template));
    percent_encode(&target, match->device_id, strlen(match->device_id));
    buffer_append_text(&target, place + strlen("{deviceId}"));
    route_match(buffer_terminate(&target), &again);
    ALWAYS(again.kind == ROUTE_MATCH && again.first == match->first && again.query == NULL);
    ALWAYS(strcmp(again.device_id, match->device_id) == 0);
    buffer_free(&target);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *target = fuzz_text(data, size);
    struct route_match match;

    route_match(target, &match);
    if (match.query != NULL)
        ALWAYS(match.query > target && match.query <= target + strlen(target) && match.query[-1] == '?');
    if (match.kind == ROUTE_MATCH || match.kind == ROUTE_BAD_DEVICE_ID) {
        ALWAYS(match.first < routes_count);
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
            const struct route *route = route_for_method(match.first, methods[i]);
            if (route != NULL) {
                ALWAYS(strcmp(route->template, routes[match.first].template) == 0);
                ALWAYS(route->state_size <= route_state_size(match.first));
                check_query(match.query, route->params);
            }
        }
    }
    if (match.kind == ROUTE_MATCH)
        check_device(&match);
    else
        ALWAYS(match.kind == ROUTE_BAD_DEVICE_ID || match.first == 0);
    free(target);
    return 0;
}
