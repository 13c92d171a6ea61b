#include "device_status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void writes_the_status_object(void **state)
{
    static const struct {
        const char *rule;
        struct device_status status;
        const char *expected;
    } cases[] = {
        {"everything known",
         {"d1", {"\"online\"", 8}, {"\"2026-11-23T07:00:00Z\"", 22}, {"\"1.4.2\"", 7}, "Connected", true},
         "{\"deviceId\":\"d1\",\"status\":\"online\",\"lastSeen\":\"2026-11-23T07:00:00Z\","
         "\"firmwareVersion\":\"1.4.2\",\"connectionState\":\"Connected\",\"enabled\":true}"},
        {"what is absent is null",
         {"d1", {NULL, 0}, {NULL, 0}, {NULL, 0}, "Disconnected", false},
         "{\"deviceId\":\"d1\",\"status\":null,\"lastSeen\":null,\"firmwareVersion\":null,"
         "\"connectionState\":\"Disconnected\",\"enabled\":false}"},
        {"any JSON value passes as it is",
         {"d1", {"{\"a\": [1.50]}", 13}, {"17", 2}, {"false", 5}, "Connected", true},
         "{\"deviceId\":\"d1\",\"status\":{\"a\": [1.50]},\"lastSeen\":17,\"firmwareVersion\":false,"
         "\"connectionState\":\"Connected\",\"enabled\":true}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer out = {0};
        print_message("# %s\n", cases[i].rule);
        status_text_append(&out, &cases[i].status);
        assert_string_equal(buffer_terminate(&out), cases[i].expected);
        buffer_free(&out);
    }
}

static void reads_twins(void **state)
{
    static const struct {
        const char *rule, *twin, *expected; /* NULL: refused */
    } cases[] = {
        {"a whole twin",
         "{\"deviceId\":\"dev-01\",\"etag\":\"A\",\"status\":\"enabled\",\"connectionState\":\"Connected\","
         "\"properties\":{\"desired\":{\"status\":\"x\"},\"reported\":{\"status\":\"online\","
         "\"lastHeartbeat\":"
         "\"2026-11-23T07:00:00Z\",\"firmwareVersion\":\"1.0\",\"$version\":1}}}",
         "{\"deviceId\":\"dev-01\",\"status\":\"online\",\"lastSeen\":\"2026-11-23T07:00:00Z\","
         "\"firmwareVersion\":\"1.0\",\"connectionState\":\"Connected\",\"enabled\":true}"},
        {"disabled, nothing reported",
         "{\"deviceId\":\"d\",\"status\":\"disabled\",\"connectionState\":\"Disconnected\",\"properties\":{}"
         "}",
         "{\"deviceId\":\"d\",\"status\":null,\"lastSeen\":null,\"firmwareVersion\":null,"
         "\"connectionState\":\"Disconnected\",\"enabled\":false}"},
        {"no properties at all",
         "{\"deviceId\":\"d\",\"status\":\"enabled\",\"connectionState\":\"Connected\"}",
         "{\"deviceId\":\"d\",\"status\":null,\"lastSeen\":null,\"firmwareVersion\":null,"
         "\"connectionState\":\"Connected\",\"enabled\":true}"},
        {"reported values of any kind",
         "{\"deviceId\":\"d\",\"status\":\"enabled\",\"connectionState\":\"Connected\",\"properties\":"
         "{\"reported\":{\"status\":null,\"lastHeartbeat\":1e3,\"firmwareVersion\":{\"major\":1}}}}",
         "{\"deviceId\":\"d\",\"status\":null,\"lastSeen\":1e3,\"firmwareVersion\":{\"major\":1},"
         "\"connectionState\":\"Connected\",\"enabled\":true}"},
        {"escapes in the device id",
         "{\"deviceId\":\"\\u0064\",\"status\":\"enabled\",\"connectionState\":\"Connected\"}",
         "{\"deviceId\":\"d\",\"status\":null,\"lastSeen\":null,\"firmwareVersion\":null,"
         "\"connectionState\":\"Connected\",\"enabled\":true}"},
        {"no device id", "{\"status\":\"enabled\",\"connectionState\":\"Connected\"}", NULL},
        {"a device id that is none",
         "{\"deviceId\":\"a b\",\"status\":\"enabled\",\"connectionState\":\"Connected\"}", NULL},
        {"a device id that is a number",
         "{\"deviceId\":1,\"status\":\"enabled\",\"connectionState\":\"Connected\"}", NULL},
        {"no connection state", "{\"deviceId\":\"d\",\"status\":\"enabled\"}", NULL},
        {"a connection state that is no string",
         "{\"deviceId\":\"d\",\"status\":\"enabled\",\"connectionState\":true}", NULL},
        {"no status", "{\"deviceId\":\"d\",\"connectionState\":\"Connected\"}", NULL},
        {"a status that is no string", "{\"deviceId\":\"d\",\"status\":1,\"connectionState\":\"Connected\"}",
         NULL},
        {"an array", "[]", NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer out = {0};
        print_message("# %s\n", cases[i].rule);
        bool good = status_text_from_twin(&out, json_root(cases[i].twin, strlen(cases[i].twin)));
        assert_int_equal(good, cases[i].expected != NULL);
        assert_string_equal(buffer_terminate(&out), good ? cases[i].expected : "");
        buffer_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_status_object),
        cmocka_unit_test(reads_twins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
