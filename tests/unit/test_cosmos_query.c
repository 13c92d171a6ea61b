#include "cosmos.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void test_range(void **state)
{
    static const struct {
        const char *rule, *partition_key;
        struct telemetry_range range;
        const char *expect;
    } cases[] = {
        {"newest first",
         "deviceId",
         {.device_id = "d1", .after = 1795330800, .until = 1795417200},
         "{\"query\":\"SELECT c.data, c._ts AS timestamp FROM c WHERE c.deviceId = @deviceId AND c._ts > "
         "@from "
         "AND c._ts <= @to AND IS_DEFINED(c.data) ORDER BY c._ts DESC\",\"parameters\":["
         "{\"name\":\"@deviceId\",\"value\":\"d1\"},{\"name\":\"@from\",\"value\":1795330800},"
         "{\"name\":\"@to\",\"value\":1795417200}]}"},
        {"oldest first, the other partition key",
         "partitionKey",
         {.device_id = "d1", .after = -1, .until = 253402300799, .ascending = true},
         "{\"query\":\"SELECT c.data, c._ts AS timestamp FROM c WHERE c.partitionKey = @deviceId AND c._ts > "
         "@from "
         "AND c._ts <= @to AND IS_DEFINED(c.data) ORDER BY c._ts ASC\",\"parameters\":["
         "{\"name\":\"@deviceId\",\"value\":\"d1\"},{\"name\":\"@from\",\"value\":-1},"
         "{\"name\":\"@to\",\"value\":253402300799}]}"},
        {"an id stays a value",
         "deviceId",
         {.device_id = "a'=;$\"\\", .after = 1, .until = 2},
         "{\"query\":\"SELECT c.data, c._ts AS timestamp FROM c WHERE c.deviceId = @deviceId AND c._ts > "
         "@from "
         "AND c._ts <= @to AND IS_DEFINED(c.data) ORDER BY c._ts DESC\",\"parameters\":["
         "{\"name\":\"@deviceId\",\"value\":\"a'=;$\\\"\\\\\"},{\"name\":\"@from\",\"value\":1},"
         "{\"name\":\"@to\",\"value\":2}]}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer b = {0};
        assert_int_equal(cosmos_query_range(&b, cases[i].partition_key, &cases[i].range), 0);
        if (strcmp(buffer_terminate(&b), cases[i].expect) != 0)
            fail_msg("%s: %s", cases[i].rule, b.data);
        buffer_free(&b);
    }
}

static void test_latest(void **state)
{
    struct buffer b = {0};
    assert_int_equal(cosmos_query_latest(&b, "partitionKey", "d1"), 0);
    assert_string_equal(buffer_terminate(&b),
                        "{\"query\":\"SELECT c.data, c._ts AS timestamp, c.processedAt FROM c "
                        "WHERE c.partitionKey = @deviceId AND IS_DEFINED(c.data) ORDER BY c._ts DESC\","
                        "\"parameters\":[{\"name\":\"@deviceId\",\"value\":\"d1\"}]}");
    buffer_free(&b);
}

/* A name from a container's definition must not become query text. */
static void test_other_partition_keys_are_refused(void **state)
{
    const struct telemetry_range range = {.device_id = "d1"};
    static const char *const names[] = {"", "tenant", "deviceid", "deviceId = c.deviceId OR 1"};
    for (size_t i = 0; i < COUNT(names); i++) {
        struct buffer b = {0};
        assert_int_equal(cosmos_query_range(&b, names[i], &range), -EINVAL);
        assert_int_equal(cosmos_query_latest(&b, names[i], "d1"), -EINVAL);
        assert_int_equal(b.len, 0);
        buffer_free(&b);
    }
}

static void test_item(void **state)
{
    static const struct {
        const char *rule, *data, *id, *expect;
    } cases[] = {
        {"an id of its own", "{\"t\":33.990,\"z\":1E400,\"a\":\"\\u0000\"}", "d1-2026-11-23T07:00:00Z",
         "{\"id\":\"d1-2026-11-23T07:00:00Z\",\"deviceId\":\"d1\",\"partitionKey\":\"d1\","
         "\"data\":{\"t\":33.990,\"z\":1E400,\"a\":\"\\u0000\"},\"processedAt\":\"2026-11-23T07:00:00."
         "123456Z\",\"ttl\":604800}"},
        {"a random id, bytes kept", "{ \"t\" :\n1 }", NULL,
         "{\"id\":\"0123456789abcdef0123456789abcdef\",\"deviceId\":\"d1\",\"partitionKey\":\"d1\","
         "\"data\":{ \"t\" :\n1 },\"processedAt\":\"2026-11-23T07:00:00.123456Z\",\"ttl\":604800}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer b = {0};
        struct reading reading = {cases[i].data, strlen(cases[i].data), cases[i].id};
        assert_int_equal(cosmos_item_append(&b, "d1", &reading, "0123456789abcdef0123456789abcdef",
                                            1795417200123456, 604800),
                         0);
        if (strcmp(buffer_terminate(&b), cases[i].expect) != 0)
            fail_msg("%s: %s", cases[i].rule, b.data);
        buffer_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_latest),
        cmocka_unit_test(test_other_partition_keys_are_refused),
        cmocka_unit_test(test_item),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
