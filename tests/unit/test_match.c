/* Which row of the table a raw request target finds. */
#include "routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *target;
    enum route_match_kind kind;
    const char *operation; /* of GET, else of the first row */
    const char *device;
    const char *query;
} cases[] = {
    {"/livez", ROUTE_MATCH, "probeLiveness", "", NULL},
    {"/livez?", ROUTE_MATCH, "probeLiveness", "", ""},
    {"/livez?a=b", ROUTE_MATCH, "probeLiveness", "", "a=b"},
    {"/livez/", ROUTE_NO_MATCH, NULL, NULL, NULL},
    {"//livez", ROUTE_NO_MATCH, NULL, NULL, NULL},
    {"/", ROUTE_MATCH, "showDashboard", "", NULL},
    {"/assets/a.b.js?x", ROUTE_MATCH, "readAsset", "", "x"},
    {"/assets/", ROUTE_MATCH, "readAsset", "", NULL},
    {"/assets/a/b", ROUTE_NO_MATCH, NULL, NULL, NULL},
    {"/nothing", ROUTE_NO_MATCH, NULL, NULL, NULL},
    {"/devices", ROUTE_MATCH, "listDevices", "", NULL},
    {"/%64evices", ROUTE_MATCH, "listDevices", "", NULL},
    {"/Devices", ROUTE_NO_MATCH, NULL, NULL, NULL},
    {"/devices/", ROUTE_NO_MATCH, NULL, NULL, NULL},
    {"/devices/d1", ROUTE_NO_MATCH, NULL, NULL, NULL},
    {"/devices/d1/telemetry", ROUTE_MATCH, "readTelemetry", "d1", NULL},
    {"/devices/d1/telemetry?hours=1&limit=2", ROUTE_MATCH, "readTelemetry", "d1", "hours=1&limit=2"},
    {"/devices/d1/telemetry/", ROUTE_NO_MATCH, NULL, NULL, NULL},
    {"/devices/d1/telemetry/latest", ROUTE_MATCH, "readLatestReading", "d1", NULL},
    {"/devices/d1/status", ROUTE_MATCH, "readDeviceStatus", "d1", NULL},
    {"/devices/d1/reported", ROUTE_MATCH, "patchReportedProperties", "d1", NULL},
    {"/devices/a%23b%3F%25/status", ROUTE_MATCH, "readDeviceStatus", "a#b?%", NULL},
    {"/devices/-._~:*!(),=@;$'+/status", ROUTE_MATCH, "readDeviceStatus", "-._~:*!(),=@;$'+", NULL},
    {"/devices//status", ROUTE_BAD_DEVICE_ID, "readDeviceStatus", NULL, NULL},
    {"/devices/./status", ROUTE_BAD_DEVICE_ID, "readDeviceStatus", NULL, NULL},
    {"/devices/../status", ROUTE_BAD_DEVICE_ID, "readDeviceStatus", NULL, NULL},
    {"/devices/%2e%2E/status", ROUTE_BAD_DEVICE_ID, "readDeviceStatus", NULL, NULL},
    {"/devices/a%2Fb/status", ROUTE_BAD_DEVICE_ID, "readDeviceStatus", NULL, NULL},
    {"/devices/a%00b/status", ROUTE_BAD_DEVICE_ID, "readDeviceStatus", NULL, NULL},
    {"/devices/a%/status", ROUTE_BAD_DEVICE_ID, "readDeviceStatus", NULL, NULL},
    {"/devices/a%zz/status", ROUTE_BAD_DEVICE_ID, "readDeviceStatus", NULL, NULL},
    {"/devices/a%20b/status", ROUTE_BAD_DEVICE_ID, "readDeviceStatus", NULL, NULL},
    {"/devices/a\"b/status", ROUTE_BAD_DEVICE_ID, "readDeviceStatus", NULL, NULL},
    {"http://host/livez", ROUTE_MATCH, "probeLiveness", "", NULL},
    {"HTTPS://host:1/devices?limit=1", ROUTE_MATCH, "listDevices", "", "limit=1"},
    {"http://host", ROUTE_MATCH, "showDashboard", "", NULL},
    {"http:///livez", ROUTE_BAD_TARGET, NULL, NULL, NULL},
    {"host/livez", ROUTE_BAD_TARGET, NULL, NULL, NULL},
    {"*", ROUTE_BAD_TARGET, NULL, NULL, NULL},
};

static void targets_find_their_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct route_match match;
        route_match(cases[i].target, &match);
        if (match.kind != cases[i].kind)
            fail_msg("%s: kind %d", cases[i].target, match.kind);
        if (cases[i].operation != NULL)
            assert_string_equal(routes[match.first].operation_id, cases[i].operation);
        if (cases[i].device != NULL)
            assert_string_equal(match.device_id, cases[i].device);
        if (match.kind == ROUTE_MATCH && cases[i].query != NULL)
            assert_string_equal(match.query, cases[i].query);
        else if (match.kind == ROUTE_MATCH)
            assert_null(match.query);
    }
}

static void device_ids_have_128_characters_at_most(void **state)
{
    char target[256];
    struct route_match match;

    (void)state;
    for (int length = 127; length <= 129; length++) {
        snprintf(target, sizeof target, "/devices/%0*d/status", length, 0);
        route_match(target, &match);
        assert_int_equal(match.kind, length <= 128 ? ROUTE_MATCH : ROUTE_BAD_DEVICE_ID);
    }
}

static void methods_find_their_row(void **state)
{
    static const struct {
        const char *target, *method, *operation;
    } rows[] = {
        {"/devices/d/telemetry", "GET", "readTelemetry"},
        {"/devices/d/telemetry", "HEAD", "readTelemetry"},
        {"/devices/d/telemetry", "POST", "storeTelemetry"},
        {"/devices/d/telemetry", "PUT", NULL},
        {"/devices/d/reported", "GET", NULL},
        {"/devices/d/reported", "HEAD", NULL},
        {"/devices/d/telemetry", "get", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct route_match match;
        route_match(rows[i].target, &match);
        const struct route *route = route_for_method(match.first, rows[i].method);
        if (rows[i].operation == NULL)
            assert_null(route);
        else
            assert_string_equal(route->operation_id, rows[i].operation);
    }
}

static void allow_names_what_the_path_takes(void **state)
{
    static const struct {
        const char *target;
        unsigned without;
        const char *allow;
    } rows[] = {
        {"/devices/d/telemetry", 0, "GET, HEAD, POST, OPTIONS"},
        {"/devices/d/reported", 0, "PATCH, OPTIONS"},
        {"/devices/d/reported", ROUTE_EMBEDDED_ONLY, "OPTIONS"},
        {"/livez", 0, "GET, HEAD, OPTIONS"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct route_match match;
        struct buffer out = {0};
        route_match(rows[i].target, &match);
        route_allow(match.first, rows[i].without, &out);
        assert_string_equal(buffer_terminate(&out), rows[i].allow);
        buffer_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_find_their_row),
        cmocka_unit_test(device_ids_have_128_characters_at_most),
        cmocka_unit_test(methods_find_their_row),
        cmocka_unit_test(allow_names_what_the_path_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
