#include "cosmos_harness.h"

#define TOLD   "x-ms-request-charge: 5\r\n"
#define STORED "{\"statusCode\":201,\"requestCharge\":1,\"resourceBody\":{\"id\":\"i\",\"_ts\":1795417200}}"
#define FAILED "{\"statusCode\":424}"

#define COUNT_OF(text, what) count_of(text, what, sizeof(what) - 1)

static size_t count_of(const char *text, const char *what, size_t len)
{
    size_t n = 0;
    for (; (text = strstr(text, what)) != NULL; text += len)
        n++;
    return n;
}

/* The answer of a batch in which all operations were stored. */
static char *all_stored(size_t count)
{
    struct buffer b = {0};
    for (size_t i = 0; i < count; i++)
        buffer_append_text(&b, i == 0 ? "[" STORED : "," STORED);
    buffer_append_char(&b, ']');
    return buffer_take(&b, NULL);
}

static const struct reading one = {.data = "{\"t\":1}", .data_len = 7};

/* One reading is one upsert. */
static void test_upserts(void **state)
{
    static const struct {
        const char *rule;
        struct step steps[4];
        unsigned requests;
        enum upstream_status status;
        size_t stored;
    } cases[] = {
        {"created", {{201, TOLD, "{\"id\":\"i\",\"_ts\":1795417200}"}}, 1, UPSTREAM_OK, 1},
        {"replaced", {{200, TOLD, "{\"id\":\"i\",\"_ts\":1795417200}"}}, 1, UPSTREAM_OK, 1},
        {"somebody else's page", {{200, NULL, "<html>"}}, 1, UPSTREAM_UNAVAILABLE, 0},
        {"nothing under a 200", {{200, NULL, ""}}, 1, UPSTREAM_UNAVAILABLE, 0},
        {"a status that an upsert does not have", {{202, NULL, "{}"}}, 1, UPSTREAM_UNAVAILABLE, 0},
        {"a redirect", {{302, "Location: /\r\n", "{}"}}, 1, UPSTREAM_UNAVAILABLE, 0},
        {"too large", {{413, NULL, "{}"}}, 1, UPSTREAM_REJECTED, 0},
        {"bad", {{400, "x-ms-substatus: 1001\r\n", "{}"}}, 1, UPSTREAM_REJECTED, 0},
        {"refused credentials", {{401, NULL, "{}"}}, 1, UPSTREAM_UNAUTHORIZED, 0},
        {"a missing container", {{404, NULL, "{}"}}, 1, UPSTREAM_UNAVAILABLE, 0},
        {"throttled", {{429, "x-ms-retry-after-ms: 9999\r\n", "{}"}}, 1, UPSTREAM_THROTTLED, 0},
        {"contended, then stored",
         {{449, NULL, "{}"}, {201, NULL, "{\"_ts\":1795417200}"}},
         2,
         UPSTREAM_OK,
         1},
        {"503 once more", {{503, NULL, "{}"}}, 2, UPSTREAM_UNAVAILABLE, 0},
        {"reset, then stored", {{.how = RESET}, {201, NULL, "{\"_ts\":1795417200}"}}, 2, UPSTREAM_OK, 1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct harness h;
        harness_start(&h);
        fake_script(&h.fakes[0], DOCS, cases[i].steps, cases[i].steps[1].status != 0 ? 2 : 1);
        write_readings(&h, &one, 1, 5000);
        if (h.result.status != cases[i].status || h.stored != cases[i].stored ||
            asked(&h, 0, DOCS) != cases[i].requests)
            fail_msg("%s: status %d, %zu stored, %u requests", cases[i].rule, (int)h.result.status, h.stored,
                     asked(&h, 0, DOCS));
        if (cases[i].status == UPSTREAM_OK)
            assert_int_equal(h.at, 1795417200);
        /* An id does not change over retries. */
        for (size_t n = 1; n < cases[i].requests; n++)
            assert_string_equal(asked_body(&h, 0, n), asked_body(&h, 0, 0));
        harness_end(&h);
    }
}

static void test_one_upsert_in_full(void **state)
{
    static const struct step step = {201, NULL, "{\"_ts\":1795417200}"};
    const struct reading reading = {.data = "{\"t\":33.990}", .data_len = 12, .id = "d1-2026"};
    struct harness h;
    harness_start(&h);
    fake_script(&h.fakes[0], DOCS, &step, 1);
    write_readings(&h, &reading, 1, 5000);
    const char *body = asked_body(&h, 0, 0);
    static const char head[] = "{\"id\":\"d1-2026\",\"deviceId\":\"d1\",\"partitionKey\":\"d1\",\"data\":{"
                               "\"t\":33.990},\"processedAt\":\"20";
    assert_memory_equal(body, head, sizeof head - 1);
    assert_string_equal(strstr(body, ",\"ttl\""), ",\"ttl\":60}");
    assert_string_equal(asked_header(&h, 0, "x-ms-documentdb-is-upsert"), "True");
    assert_string_equal(asked_header(&h, 0, "x-ms-documentdb-partitionkey"), "[\"d1\"]");
    assert_string_equal(asked_header(&h, 0, "Content-Type"), "application/json");
    assert_null(asked_header(&h, 0, "x-ms-cosmos-is-batch-request"));
    harness_end(&h);
}

/* Random ids differ; processedAt grows from reading to reading. */
static void test_ids_and_order(void **state)
{
    static const struct step step = {201, NULL, "{\"_ts\":1795417200}"};
    char ids[3][33], at[3][28];
    struct harness h;
    harness_start(&h);
    fake_script(&h.fakes[0], DOCS, &step, 1);
    for (size_t i = 0; i < 3; i++) {
        write_readings(&h, &one, 1, 5000);
        const char *body = asked_body(&h, 0, i);
        assert_int_equal(sscanf(body, "{\"id\":\"%32[0-9a-f]\"", ids[i]), 1);
        assert_int_equal(sscanf(strstr(body, "\"processedAt\""), "\"processedAt\":\"%27[0-9TZ:.-]\"", at[i]),
                         1);
        assert_int_equal(strlen(ids[i]), 32);
        assert_int_equal(strlen(at[i]), 27);
    }
    assert_string_not_equal(ids[0], ids[1]);
    assert_string_not_equal(ids[1], ids[2]);
    assert_true(strcmp(at[0], at[1]) < 0 && strcmp(at[1], at[2]) < 0);
    harness_end(&h);
}

/* A batch of three: the answers, and what comes of them. */
static void test_batch_answers(void **state)
{
    static const struct {
        const char *rule;
        struct step steps[2];
        size_t count;
        unsigned requests;
        enum upstream_status status;
        unsigned retry_after_s;
    } cases[] = {
        {"all stored", {{200, TOLD, "[" STORED "," STORED "," STORED "]"}}, 1, 1, UPSTREAM_OK, 0},
        {"too few results", {{200, NULL, "[" STORED "," STORED "]"}}, 1, 1, UPSTREAM_UNAVAILABLE, 0},
        {"no array", {{200, NULL, "{}"}}, 1, 1, UPSTREAM_UNAVAILABLE, 0},
        {"no JSON", {{200, NULL, "[" STORED}}, 1, 1, UPSTREAM_UNAVAILABLE, 0},
        {"no status", {{200, NULL, "[{},{},{}]"}}, 1, 1, UPSTREAM_UNAVAILABLE, 0},
        {"nobody to blame",
         {{207, NULL, "[" FAILED "," FAILED "," FAILED "]"}},
         1,
         1,
         UPSTREAM_UNAVAILABLE,
         0},
        {"one too large",
         {{207, NULL, "[" FAILED ",{\"statusCode\":413}," FAILED "]"}},
         1,
         1,
         UPSTREAM_REJECTED,
         0},
        {"one bad, said under a 200",
         {{200, NULL, "[" STORED ",{\"statusCode\":400}," STORED "]"}},
         1,
         1,
         UPSTREAM_REJECTED,
         0},
        {"one throttled, then all stored",
         {{207, NULL, "[" FAILED ",{\"statusCode\":429,\"retryAfterMilliseconds\":1}," FAILED "]"},
          {200, NULL, "[" STORED "," STORED "," STORED "]"}},
         2,
         2,
         UPSTREAM_OK,
         0},
        {"one throttled for too long",
         {{207, NULL, "[" FAILED "," FAILED ",{\"statusCode\":429,\"retryAfterMilliseconds\":7500}]"}},
         1,
         1,
         UPSTREAM_THROTTLED,
         8},
        {"one contended, then all stored",
         {{207, NULL, "[{\"statusCode\":449}," FAILED "," FAILED "]"},
          {200, NULL, "[" STORED "," STORED "," STORED "]"}},
         2,
         2,
         UPSTREAM_OK,
         0},
        {"the whole throttled",
         {{429, "x-ms-retry-after-ms: 1\r\n", "{}"}, {200, NULL, "[" STORED "," STORED "," STORED "]"}},
         2,
         2,
         UPSTREAM_OK,
         0},
        {"the whole too large", {{413, NULL, "{}"}}, 1, 1, UPSTREAM_REJECTED, 0},
    };
    const struct reading readings[] = {one, one, one};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct harness h;
        harness_start(&h);
        fake_script(&h.fakes[0], DOCS, cases[i].steps, cases[i].count);
        write_readings(&h, readings, COUNT(readings), 5000);
        if (h.result.status != cases[i].status || asked(&h, 0, DOCS) != cases[i].requests ||
            h.stored != (cases[i].status == UPSTREAM_OK ? 3 : 0) ||
            h.result.retry_after_s != cases[i].retry_after_s)
            fail_msg("%s: status %d, %zu stored, %u requests, retry after %u", cases[i].rule,
                     (int)h.result.status, h.stored, asked(&h, 0, DOCS), h.result.retry_after_s);
        if (cases[i].status == UPSTREAM_OK)
            assert_int_equal(h.at, 1795417200);
        harness_end(&h);
    }
}

static void test_one_batch_in_full(void **state)
{
    const struct reading readings[] = {{.data = "{\"a\":1}", .data_len = 7, .id = "d1-1"}, one};
    static const struct step step = {200, TOLD, "[" STORED "," STORED "]"};
    struct harness h;
    harness_start(&h);
    fake_script(&h.fakes[0], DOCS, &step, 1);
    write_readings(&h, readings, COUNT(readings), 5000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    assert_true(h.result.request_charge > 4.9 && h.result.request_charge < 5.1);
    const char *body = asked_body(&h, 0, 0);
    static const char head[] =
        "[{\"operationType\":\"Upsert\",\"id\":\"d1-1\",\"partitionKey\":\"[\\\"d1\\\"]\",\"resourceBody\":"
        "{\"id\":\"d1-1\",\"deviceId\":\"d1\",\"partitionKey\":\"d1\",\"data\":{\"a\":1},\"processedAt\":";
    assert_memory_equal(body, head, sizeof head - 1);
    assert_int_equal(COUNT_OF(body, "\"operationType\""), 2);
    assert_string_equal(body + strlen(body) - 12, ",\"ttl\":60}}]");
    assert_string_equal(asked_header(&h, 0, "x-ms-cosmos-is-batch-request"), "True");
    assert_string_equal(asked_header(&h, 0, "x-ms-cosmos-batch-atomic"), "True");
    assert_string_equal(asked_header(&h, 0, "x-ms-documentdb-partitionkey"), "[\"d1\"]");
    assert_null(asked_header(&h, 0, "x-ms-documentdb-is-upsert"));
    harness_end(&h);
}

/* 250 readings are three batches, one after the other; the first that fails ends it. */
static void test_batches(void **state)
{
    struct reading readings[250];
    char *hundred = all_stored(100), *fifty = all_stored(50);
    const struct step good[] = {{200, NULL, hundred}, {200, NULL, hundred}, {200, NULL, fifty}};
    const struct step bad[] = {{200, NULL, hundred}, {401, NULL, "{}"}};
    for (size_t i = 0; i < COUNT(readings); i++)
        readings[i] = one;
    struct harness h;
    harness_start(&h);
    fake_script(&h.fakes[0], DOCS, good, COUNT(good));
    write_readings(&h, readings, COUNT(readings), 5000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    assert_int_equal(h.stored, 250);
    assert_int_equal(asked(&h, 0, DOCS), 3);
    assert_int_equal(COUNT_OF(asked_body(&h, 0, 2), "\"operationType\""), 50);

    fake_script(&h.fakes[0], DOCS, bad, COUNT(bad));
    write_readings(&h, readings, COUNT(readings), 5000);
    assert_int_equal(h.result.status, UPSTREAM_UNAUTHORIZED);
    assert_int_equal(h.stored, 100);
    assert_int_equal(asked(&h, 0, DOCS), 2);
    harness_end(&h);
    free(hundred);
    free(fifty);
}

/* No batch is larger than the service takes. */
static void test_batches_by_size(void **state)
{
    enum { SIZE = 500 * 1000 };
    char *data = malloc(SIZE), *three = all_stored(3), *two = all_stored(2);
    const struct step steps[] = {{200, NULL, three}, {200, NULL, two}};
    struct reading readings[5];
    memset(data, ' ', SIZE);
    data[0] = '{';
    data[SIZE - 1] = '}';
    for (size_t i = 0; i < COUNT(readings); i++)
        readings[i] = (struct reading){.data = data, .data_len = SIZE};
    struct harness h;
    harness_start(&h);
    fake_script(&h.fakes[0], DOCS, steps, COUNT(steps));
    write_readings(&h, readings, COUNT(readings), 10000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    assert_int_equal(h.stored, 5);
    assert_int_equal(asked(&h, 0, DOCS), 2);
    assert_true(strlen(asked_body(&h, 0, 0)) < 1800 * 1000);
    harness_end(&h);
    free(data);
    free(three);
    free(two);
}

/* The same id twice in a batch: the last one is sent, both count. */
static void test_an_id_twice(void **state)
{
    const struct reading readings[] = {{"{\"v\":1}", 7, "x"}, {"{\"v\":2}", 7, "y"}, {"{\"v\":3}", 7, "x"}};
    static const struct step step = {200, NULL, "[" STORED "," STORED "]"};
    struct harness h;
    harness_start(&h);
    fake_script(&h.fakes[0], DOCS, &step, 1);
    write_readings(&h, readings, COUNT(readings), 5000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    assert_int_equal(h.stored, 3);
    const char *body = asked_body(&h, 0, 0);
    assert_int_equal(COUNT_OF(body, "\"operationType\""), 2);
    assert_null(strstr(body, "{\"v\":1}"));
    assert_true(strstr(body, "{\"v\":2}") < strstr(body, "{\"v\":3}"));
    harness_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upserts),           cmocka_unit_test(test_one_upsert_in_full),
        cmocka_unit_test(test_ids_and_order),     cmocka_unit_test(test_batch_answers),
        cmocka_unit_test(test_one_batch_in_full), cmocka_unit_test(test_batches),
        cmocka_unit_test(test_batches_by_size),   cmocka_unit_test(test_an_id_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
