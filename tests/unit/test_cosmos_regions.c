#include "cosmos_harness.h"

#define EMPTY_PAGE "{\"Documents\":[],\"_count\":0}"
#define STORED     "{\"_ts\":1795417200}"

static const struct reading one = {.data = "{\"t\":1}", .data_len = 7};

static const struct step page = {200, NULL, EMPTY_PAGE};
static const struct step stored = {201, NULL, STORED};

/* An account document with the fakes of these numbers as regions; -1: a port nobody listens on. */
static char *account_document(const struct harness *h, int write, const int *read, size_t count)
{
    struct buffer b = {0};
    buffer_append_text(&b, "{\"writableLocations\":[");
    for (size_t i = 0; i <= count; i++) {
        int n = i == 0 ? write : read[i - 1];
        buffer_append_text(&b, i == 1 ? "],\"readableLocations\":[" : i > 1 ? "," : "");
        if (n < 0)
            buffer_append_text(&b, "{\"name\":\"R\",\"databaseAccountEndpoint\":\"https://127.0.0.1:1/\"}");
        else
            buffer_printf(&b, "{\"name\":\"R\",\"databaseAccountEndpoint\":\"http://127.0.0.1:%u/\"}",
                          h->fakes[n].port);
    }
    buffer_append_text(&b, "]}");
    return buffer_take(&b, NULL);
}

static void turn_until(struct harness *h, size_t fake, enum resource resource, unsigned requests)
{
    while (asked(h, fake, resource) < requests)
        uv_run(&h->loop, UV_RUN_ONCE);
}

/* A harness whose store knows the container and the account; both fakes serve reads. */
static char *start_with_account(struct harness *h, int write, const int *read, size_t count)
{
    harness_start(h);
    char *document = account_document(h, write, read, count);
    const struct step step = {200, NULL, document};
    fake_script(&h->fakes[0], ACCOUNT, &step, 1);
    fake_script(&h->fakes[1], ACCOUNT, &step, 1);
    fake_script(&h->fakes[0], DOCS, &page, 1);
    fake_script(&h->fakes[1], DOCS, &page, 1);
    read_range(h, 10, NULL, 5000);
    assert_int_equal(h->result.status, UPSTREAM_OK);
    turn_until(h, 0, ACCOUNT, 1);
    for (int i = 0; i < 20; i++) { /* its answer is on its way */
        read_range(h, 10, NULL, 5000);
        assert_int_equal(h->result.status, UPSTREAM_OK);
    }
    fake_script(&h->fakes[0], DOCS, &page, 1);
    return document;
}

/* What makes a region unavailable: a read goes to the next one, and so does the one after it. */
static void test_reads_go_to_the_next_region(void **state)
{
    static const struct {
        const char *rule;
        struct step step;
        unsigned requests; /* that the first region sees of both reads */
    } cases[] = {
        {"503", {503, NULL, "{}"}, 1},
        {"403/1008", {403, "x-ms-substatus: 1008\r\n", "{}"}, 1},
        {"reset", {.how = RESET}, 2}, /* on a kept connection, which is tried again on a new one */
        {"silence", {.how = HANG}, 1},
    };
    static const int both[] = {0, 1};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct harness h;
        char *document = start_with_account(&h, 0, both, COUNT(both));
        fake_script(&h.fakes[0], DOCS, &cases[i].step, 1);
        for (unsigned n = 1; n <= 2; n++) {
            read_range(&h, 10, NULL, 600);
            if (h.result.status != UPSTREAM_OK || asked(&h, 0, DOCS) != cases[i].requests ||
                asked(&h, 1, DOCS) != n)
                fail_msg("%s: status %d, asked %u and %u times", cases[i].rule, (int)h.result.status,
                         asked(&h, 0, DOCS), asked(&h, 1, DOCS));
        }
        harness_end(&h);
        free(document);
    }
}

static void test_refused_goes_to_the_next_region(void **state)
{
    static const int both[] = {0, 1};
    struct harness h;
    char *document = start_with_account(&h, 0, both, COUNT(both));
    fake_stop(&h.fakes[0]);
    read_range(&h, 10, NULL, 2000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    assert_int_equal(asked(&h, 1, DOCS), 1);
    /* Writes stay with the write region. */
    write_readings(&h, &one, 1, 5000);
    assert_int_equal(h.result.status, UPSTREAM_UNAVAILABLE);
    assert_int_equal(h.stored, 0);
    assert_int_equal(asked(&h, 1, DOCS), 1);
    harness_end(&h);
    free(document);
}

/* 403/3: the account document is read, the write goes where it says, and so do the later ones. */
static void test_writes_follow_the_write_region(void **state)
{
    static const struct step moved = {403, "x-ms-substatus: 3\r\n", "{}"};
    static const int both[] = {0, 1};
    struct harness h;
    char *document = start_with_account(&h, 1, both, COUNT(both));
    fake_script(&h.fakes[0], DOCS, &moved, 1);
    fake_script(&h.fakes[1], DOCS, &stored, 1);
    unsigned before = asked(&h, 0, ACCOUNT);
    for (unsigned n = 1; n <= 2; n++) {
        write_readings(&h, &one, 1, 5000);
        assert_int_equal(h.result.status, UPSTREAM_OK);
        assert_int_equal(asked(&h, 0, DOCS), 1);
        assert_int_equal(asked(&h, 1, DOCS), n);
    }
    assert_int_equal(asked(&h, 0, ACCOUNT), before + 1);
    harness_end(&h);
    free(document);
}

/* An account that advertises what cannot be reached does not keep the configured endpoint from serving. */
static void test_advertised_but_unreachable(void **state)
{
    static const int nowhere[] = {-1};
    struct harness h;
    char *document = start_with_account(&h, -1, nowhere, COUNT(nowhere));
    read_range(&h, 10, NULL, 5000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    assert_int_equal(asked(&h, 0, DOCS), 1);
    static const struct step steps[] = {{503, NULL, "{}"}, {200, NULL, EMPTY_PAGE}};
    fake_script(&h.fakes[0], DOCS, steps, COUNT(steps));
    read_range(&h, 10, NULL, 5000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    assert_int_equal(asked(&h, 0, DOCS), 2);
    fake_script(&h.fakes[0], DOCS, &stored, 1);
    write_readings(&h, &one, 1, 5000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    harness_end(&h);
    free(document);
}

/* The account document is only needed for other regions: reads work without it. */
static void test_account_that_cannot_be_read(void **state)
{
    static const struct step broken = {500, NULL, "{}"};
    struct harness h;
    harness_start(&h);
    fake_script(&h.fakes[0], ACCOUNT, &broken, 1);
    fake_script(&h.fakes[0], DOCS, &page, 1);
    for (int i = 0; i < 3; i++) {
        read_range(&h, 10, NULL, 5000);
        assert_int_equal(h.result.status, UPSTREAM_OK);
    }
    harness_end(&h); /* with a read of the account still under way */
}

/* A service that is down gets three requests for one of ours. */
static void test_down_from_the_start(void **state)
{
    static const struct step reset = {.how = RESET};
    struct harness h;
    harness_start(&h);
    fake_script(&h.fakes[0], CONTAINER, &reset, 1);
    fake_script(&h.fakes[0], ACCOUNT, &reset, 1);
    read_range(&h, 10, NULL, 5000);
    assert_int_equal(h.result.status, UPSTREAM_UNAVAILABLE);
    assert_int_equal(asked(&h, 0, CONTAINER) + asked(&h, 0, ACCOUNT) + asked(&h, 0, DOCS), 3);

    /* On kept connections too. */
    static const struct step good = GOOD_CONTAINER;
    fake_script(&h.fakes[0], CONTAINER, &good, 1);
    fake_script(&h.fakes[0], DOCS, &page, 1);
    read_range(&h, 10, NULL, 5000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    turn_until(&h, 0, ACCOUNT, 1);
    fake_script(&h.fakes[0], DOCS, &reset, 1);
    read_range(&h, 10, NULL, 5000);
    assert_int_equal(h.result.status, UPSTREAM_UNAVAILABLE);
    assert_int_equal(asked(&h, 0, DOCS), 3);

    /* And it is served as soon as it is back. */
    fake_script(&h.fakes[0], DOCS, &page, 1);
    read_range(&h, 10, NULL, 5000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    harness_end(&h);
}

/* What the container's definition says, what a request gets then, and what the check says. */
static void test_container_states(void **state)
{
    static const struct {
        const char *rule;
        struct step step;
        enum upstream_status request, check;
        const char *reason; /* a part of it */
        unsigned requests;  /* for the definition, over two requests and a check */
    } cases[] = {
        {"good", GOOD_CONTAINER, UPSTREAM_OK, UPSTREAM_OK, NULL, 2},
        {"another partition key",
         {200, NULL, "{\"partitionKey\":{\"paths\":[\"/tenant\"],\"kind\":\"Hash\"}}"},
         UPSTREAM_UNAVAILABLE,
         UPSTREAM_UNAVAILABLE,
         "/tenant",
         2},
        {"missing", {404, NULL, "{}"}, UPSTREAM_UNAVAILABLE, UPSTREAM_UNAVAILABLE, "does not exist", 2},
        {"no JSON", {200, NULL, "<html>"}, UPSTREAM_UNAVAILABLE, UPSTREAM_UNAVAILABLE, "as it should", 3},
        {"refused credentials",
         {401, NULL, "{}"},
         UPSTREAM_UNAUTHORIZED,
         UPSTREAM_UNAUTHORIZED,
         "credentials",
         3},
        {"throttled",
         {429, "x-ms-retry-after-ms: 60000\r\n", "{}"},
         UPSTREAM_THROTTLED,
         UPSTREAM_THROTTLED,
         "throttles",
         3},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct harness h;
        harness_start(&h);
        fake_script(&h.fakes[0], CONTAINER, &cases[i].step, 1);
        fake_script(&h.fakes[0], DOCS, &page, 1);
        for (int n = 0; n < 2; n++) {
            read_range(&h, 10, NULL, 2000);
            if (h.result.status != cases[i].request)
                fail_msg("%s: status %d", cases[i].rule, (int)h.result.status);
        }
        check_store(&h, 2000);
        if (h.result.status != cases[i].check || (h.reason == NULL) != (cases[i].reason == NULL) ||
            (h.reason != NULL && strstr(h.reason, cases[i].reason) == NULL))
            fail_msg("%s: check %d, %s", cases[i].rule, (int)h.result.status, h.reason);
        if (asked(&h, 0, CONTAINER) != cases[i].requests)
            fail_msg("%s: %u reads of the definition", cases[i].rule, asked(&h, 0, CONTAINER));
        harness_end(&h);
    }
}

/* A check finds out that the container is of use by now. */
static void test_check_recovers(void **state)
{
    static const struct step steps[] = {{404, NULL, "{}"}, GOOD_CONTAINER};
    struct harness h;
    harness_start(&h);
    fake_script(&h.fakes[0], CONTAINER, steps, COUNT(steps));
    fake_script(&h.fakes[0], DOCS, &page, 1);
    check_store(&h, 2000);
    assert_int_equal(h.result.status, UPSTREAM_UNAVAILABLE);
    check_store(&h, 2000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    assert_null(h.reason);
    read_range(&h, 10, NULL, 2000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    harness_end(&h);
}

struct tally {
    unsigned done, by_status[UPSTREAM_NO_MEMORY + 1];
};

static void on_tallied(void *ctx, const struct upstream_result *result, struct telemetry_page *got)
{
    struct tally *tally = ctx;
    tally->done++;
    tally->by_status[result->status]++;
    if (result->status == UPSTREAM_OVERLOADED)
        assert_int_equal(result->retry_after_s, 1);
}

static struct operation *start_read(struct harness *h, struct tally *tally, unsigned ms)
{
    const struct telemetry_range range = {
        .device_id = "d1", .until = 200, .limit = 10, .deadline_ms = in_ms(ms)};
    struct operation *op = h->store->ops->read_range(h->store, &range, on_tallied, tally);
    assert_non_null(op);
    return op;
}

/* However many wait, the definition is read once. */
static void test_definition_is_read_once(void **state)
{
    struct harness h;
    struct tally tally = {0};
    harness_start(&h);
    fake_script(&h.fakes[0], DOCS, &page, 1);
    for (int i = 0; i < 10; i++)
        start_read(&h, &tally, 5000);
    while (tally.done < 10)
        uv_run(&h.loop, UV_RUN_ONCE);
    assert_int_equal(tally.by_status[UPSTREAM_OK], 10);
    assert_int_equal(asked(&h, 0, CONTAINER), 1);
    harness_end(&h);
}

/* A request does not wait longer for the definition than its own deadline, nor is it bound to another's. */
static void test_deadlines_while_the_definition_is_read(void **state)
{
    static const struct step steps[] = {{.how = HANG}, GOOD_CONTAINER};
    struct harness h;
    struct tally patient = {0}, hasty = {0}, later = {0};
    harness_start(&h);
    fake_script(&h.fakes[0], CONTAINER, steps, COUNT(steps));
    fake_script(&h.fakes[0], DOCS, &page, 1);
    start_read(&h, &patient, 200);
    start_read(&h, &hasty, 50);
    start_read(&h, &later, 5000);
    while (hasty.done < 1)
        uv_run(&h.loop, UV_RUN_ONCE);
    assert_int_equal(patient.done, 0);
    assert_int_equal(hasty.by_status[UPSTREAM_TIMEOUT], 1);
    while (later.done < 1)
        uv_run(&h.loop, UV_RUN_ONCE);
    assert_int_equal(patient.by_status[UPSTREAM_TIMEOUT], 1);
    assert_int_equal(later.by_status[UPSTREAM_OK], 1);
    harness_end(&h);
}

/* More than may be under way and wait is refused, in a callback like everything else. */
static void test_overload(void **state)
{
    static const struct step hang = {.how = HANG};
    struct harness h;
    struct tally tally = {0};
    struct operation *ops[40];
    harness_start(&h);
    check_store(&h, 2000);
    turn_until(&h, 0, ACCOUNT, 1);
    fake_script(&h.fakes[0], DOCS, &hang, 1);
    for (size_t i = 0; i < COUNT(ops); i++)
        ops[i] = start_read(&h, &tally, 60000);
    assert_int_equal(tally.done, 0);
    for (int i = 0; i < 20; i++)
        uv_run(&h.loop, UV_RUN_NOWAIT);
    assert_in_range(tally.by_status[UPSTREAM_OVERLOADED], 8, 9);
    assert_int_equal(tally.done, tally.by_status[UPSTREAM_OVERLOADED]);
    for (size_t i = 0; i < COUNT(ops) - tally.done; i++)
        operation_cancel(ops[i]);
    harness_end(&h);
}

/* A cancel is clean wherever the request stands, and its callback does not fire. */
static void test_cancel(void **state)
{
    static const struct {
        const char *rule;
        struct step container, docs;
        enum resource until;
        unsigned requests; /* of that; then some turns of the loop */
    } cases[] = {
        {"before anything happened", GOOD_CONTAINER, {200, NULL, EMPTY_PAGE}, DOCS, 0},
        {"while the definition is read", {.how = HANG}, {200, NULL, EMPTY_PAGE}, CONTAINER, 1},
        {"while the definition is asked for again",
         {503, "x-ms-retry-after-ms: 30000\r\n", "{}"},
         {200, NULL, EMPTY_PAGE},
         CONTAINER,
         1},
        {"while a query is under way", GOOD_CONTAINER, {.how = HANG}, DOCS, 1},
        {"while it waits to ask again",
         GOOD_CONTAINER,
         {429, "x-ms-retry-after-ms: 30000\r\n", "{}"},
         DOCS,
         1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct harness h;
        struct tally tally = {0};
        harness_start(&h);
        fake_script(&h.fakes[0], CONTAINER, &cases[i].container, 1);
        fake_script(&h.fakes[0], DOCS, &cases[i].docs, 1);
        struct operation *op = start_read(&h, &tally, 60000);
        turn_until(&h, 0, cases[i].until, cases[i].requests);
        for (int n = 0; n < 5; n++)
            uv_run(&h.loop, UV_RUN_NOWAIT);
        operation_cancel(op);
        for (int n = 0; n < 5; n++)
            uv_run(&h.loop, UV_RUN_NOWAIT);
        if (tally.done != 0)
            fail_msg("%s: the callback fired", cases[i].rule);
        harness_end(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_go_to_the_next_region),
        cmocka_unit_test(test_refused_goes_to_the_next_region),
        cmocka_unit_test(test_writes_follow_the_write_region),
        cmocka_unit_test(test_advertised_but_unreachable),
        cmocka_unit_test(test_account_that_cannot_be_read),
        cmocka_unit_test(test_down_from_the_start),
        cmocka_unit_test(test_container_states),
        cmocka_unit_test(test_check_recovers),
        cmocka_unit_test(test_definition_is_read_once),
        cmocka_unit_test(test_deadlines_while_the_definition_is_read),
        cmocka_unit_test(test_overload),
        cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
