#include "cosmos_harness.h"

#define DOC(n, ts)    "{\"data\":{\"n\":" n "},\"timestamp\":" ts "}"
#define BARE          "{\"timestamp\":150}"
#define PAGE(n, docs) "{\"_rid\":\"r\",\"Documents\":[" docs "],\"_count\":" n "}"
#define NEXT(token)   "x-ms-continuation: " token "\r\n"
#define CHARGE(c)     "x-ms-request-charge: " c "\r\n"

/* A range read: what the upstream says, page after page, and what comes of it. */
static const struct {
    const char *rule;
    unsigned limit;
    const char *position;
    struct step steps[6];
    size_t count; /* of steps, and of the requests that are expected */
    enum upstream_status status;
    const char *text, *next;
    double charge;
} ranges[] = {
    {"one page",
     10,
     NULL,
     {{200, CHARGE("2.5"), PAGE("2", DOC("1", "150") "," DOC("2", "140"))}},
     1,
     UPSTREAM_OK,
     "[" DOC("1", "150") "," DOC("2", "140") "]",
     NULL,
     2.5},
    {"nothing", 10, NULL, {{200, NULL, PAGE("0", "")}}, 1, UPSTREAM_OK, "[]", NULL, 0},
    {"a continuation is followed",
     10,
     NULL,
     {{200, CHARGE("1") NEXT("{\"t\":\"a b\"}"), PAGE("1", DOC("1", "150"))},
      {200, CHARGE("2"), PAGE("1", DOC("2", "140"))}},
     2,
     UPSTREAM_OK,
     "[" DOC("1", "150") "," DOC("2", "140") "]",
     NULL,
     3},
    {"over empty pages",
     10,
     NULL,
     {{200, NEXT("a"), PAGE("0", "")},
      {200, NEXT("b"), PAGE("1", DOC("1", "150"))},
      {200, NEXT("c"), PAGE("0", "")},
      {200, NULL, PAGE("1", DOC("2", "140"))}},
     4,
     UPSTREAM_OK,
     "[" DOC("1", "150") "," DOC("2", "140") "]",
     NULL,
     0},
    {"to an empty end",
     10,
     NULL,
     {{200, NEXT("a"), PAGE("1", DOC("1", "150"))}, {200, NULL, PAGE("0", "")}},
     2,
     UPSTREAM_OK,
     "[" DOC("1", "150") "]",
     NULL,
     0},
    {"documents without data are left out and do not count",
     2,
     NULL,
     {{200, NEXT("a"), PAGE("2", BARE "," DOC("1", "150"))}, {200, NULL, PAGE("1", DOC("2", "140"))}},
     2,
     UPSTREAM_OK,
     "[" DOC("1", "150") "," DOC("2", "140") "]",
     NULL,
     0},
    {"white space in a page",
     10,
     NULL,
     {{200, NEXT("a"), "{ \"Documents\" : [ " DOC("1", "150") " ] , \"_count\":1 }"},
      {200, NULL, PAGE("1", DOC("2", "140"))}},
     2,
     UPSTREAM_OK,
     "[ " DOC("1", "150") " ," DOC("2", "140") "]",
     NULL,
     0},
    {"full, nothing said of more",
     1,
     NULL,
     {{200, NULL, PAGE("1", DOC("1", "150"))}},
     1,
     UPSTREAM_OK,
     "[" DOC("1", "150") "]",
     NULL,
     0},
    {"full, and there is more",
     1,
     NULL,
     {{200, CHARGE("1") NEXT("a"), PAGE("1", DOC("1", "150"))},
      {200, CHARGE("1") NEXT("b"), PAGE("1", DOC("2", "140"))}},
     2,
     UPSTREAM_OK,
     "[" DOC("1", "150") "]",
     "a",
     2},
    {"full, and there is no more in spite of a continuation",
     1,
     NULL,
     {{200, NEXT("a"), PAGE("1", DOC("1", "150"))}, {200, NULL, PAGE("0", "")}},
     2,
     UPSTREAM_OK,
     "[" DOC("1", "150") "]",
     NULL,
     0},
    {"the probe follows empty pages to a reading",
     1,
     NULL,
     {{200, NEXT("a"), PAGE("1", DOC("1", "150"))},
      {200, NEXT("b"), PAGE("0", "")},
      {200, NEXT("c"), PAGE("1", BARE)},
      {200, NULL, PAGE("1", DOC("2", "140"))}},
     4,
     UPSTREAM_OK,
     "[" DOC("1", "150") "]",
     "a",
     0},
    {"the probe follows empty pages to the end",
     1,
     NULL,
     {{200, NEXT("a"), PAGE("1", DOC("1", "150"))},
      {200, NEXT("b"), PAGE("0", "")},
      {200, NULL, PAGE("1", BARE)}},
     3,
     UPSTREAM_OK,
     "[" DOC("1", "150") "]",
     NULL,
     0},
    {"more than was asked for",
     1,
     NULL,
     {{200, NULL, PAGE("2", DOC("1", "150") "," DOC("2", "140"))}},
     1,
     UPSTREAM_UNAVAILABLE,
     NULL,
     NULL,
     0},
    {"a count that is wrong",
     10,
     NULL,
     {{200, NULL, PAGE("2", DOC("1", "150"))}},
     1,
     UPSTREAM_UNAVAILABLE,
     NULL,
     NULL,
     0},
    {"a page cut short",
     10,
     NULL,
     {{200, NULL, "{\"Documents\":[" DOC("1", "150")}},
     1,
     UPSTREAM_UNAVAILABLE,
     NULL,
     NULL,
     0},
    {"half an answer is no answer",
     10,
     NULL,
     {{200, NEXT("a"), PAGE("1", DOC("1", "150"))}, {200, NULL, "{}"}},
     2,
     UPSTREAM_UNAVAILABLE,
     NULL,
     NULL,
     0},
    {"a continuation that cannot be handed on",
     1,
     NULL,
     {{200, NEXT("\xc3\xa9"), PAGE("1", DOC("1", "150"))}},
     1,
     UPSTREAM_UNAVAILABLE,
     NULL,
     NULL,
     0},
    {"a position is sent back",
     10,
     "{\"t\":\"a b\"}",
     {{200, NULL, PAGE("1", DOC("1", "150"))}},
     1,
     UPSTREAM_OK,
     "[" DOC("1", "150") "]",
     NULL,
     0},
    {"a position that the service refuses",
     10,
     "x",
     {{400, NULL, "{}"}},
     1,
     UPSTREAM_BAD_CURSOR,
     NULL,
     NULL,
     0},
    {"a later 400 is not the caller's",
     10,
     "x",
     {{200, NEXT("a"), PAGE("0", "")}, {400, NULL, "{}"}},
     2,
     UPSTREAM_UNAVAILABLE,
     NULL,
     NULL,
     0},
    {"400 without a position", 10, NULL, {{400, NULL, "{}"}}, 1, UPSTREAM_UNAVAILABLE, NULL, NULL, 0},
    {"a position with a line break",
     10,
     "a\r\nx: y",
     {{200, NULL, PAGE("0", "")}},
     0,
     UPSTREAM_BAD_CURSOR,
     NULL,
     NULL,
     0},
    {"an empty position", 10, "", {{200, NULL, PAGE("0", "")}}, 0, UPSTREAM_BAD_CURSOR, NULL, NULL, 0},
    {"refused credentials", 10, NULL, {{401, NULL, "{}"}}, 1, UPSTREAM_UNAUTHORIZED, NULL, NULL, 0},
    {"forbidden", 10, NULL, {{403, NULL, "{}"}}, 1, UPSTREAM_UNAUTHORIZED, NULL, NULL, 0},
    {"a missing container", 10, NULL, {{404, NULL, "{}"}}, 1, UPSTREAM_UNAVAILABLE, NULL, NULL, 0},
    {"throttled, then served; every charge counts",
     10,
     NULL,
     {{429, CHARGE("0.5") "x-ms-retry-after-ms: 1\r\n", "{}"},
      {429, "x-ms-retry-after-ms: 0\r\n", "{}"},
      {200, CHARGE("2"), PAGE("0", "")}},
     3,
     UPSTREAM_OK,
     "[]",
     NULL,
     2.5},
    {"gone, timed out over there, contended: again",
     10,
     NULL,
     {{410, "x-ms-substatus: 1002\r\n", "{}"},
      {408, NULL, "{}"},
      {449, NULL, "{}"},
      {200, NULL, PAGE("0", "")}},
     4,
     UPSTREAM_OK,
     "[]",
     NULL,
     0},
    {"503 with one region once more",
     10,
     NULL,
     {{503, NULL, "{}"}, {503, NULL, "{}"}},
     2,
     UPSTREAM_UNAVAILABLE,
     NULL,
     NULL,
     0},
    {"500 twice more",
     10,
     NULL,
     {{500, NULL, "{}"}, {500, NULL, "{}"}, {500, NULL, "{}"}},
     3,
     UPSTREAM_UNAVAILABLE,
     NULL,
     NULL,
     0},
    {"a reset connection, then an answer",
     10,
     NULL,
     {{.how = RESET}, {200, NULL, PAGE("0", "")}},
     2,
     UPSTREAM_OK,
     "[]",
     NULL,
     0},
};

static void test_ranges(void **state)
{
    for (size_t i = 0; i < COUNT(ranges); i++) {
        struct harness h;
        harness_start(&h);
        fake_script(&h.fakes[0], DOCS, ranges[i].steps, ranges[i].count > 0 ? ranges[i].count : 1);
        read_range(&h, ranges[i].limit, ranges[i].position, 5000);
        if (h.result.status != ranges[i].status || asked(&h, 0, DOCS) != ranges[i].count)
            fail_msg("%s: status %d after %u requests", ranges[i].rule, (int)h.result.status,
                     asked(&h, 0, DOCS));
        if ((h.text == NULL) != (ranges[i].text == NULL) ||
            (h.text != NULL && strcmp(h.text, ranges[i].text) != 0))
            fail_msg("%s: %s", ranges[i].rule, h.text);
        if ((h.next == NULL) != (ranges[i].next == NULL) ||
            (h.next != NULL && strcmp(h.next, ranges[i].next) != 0))
            fail_msg("%s: next %s", ranges[i].rule, h.next);
        if (h.result.request_charge < ranges[i].charge - 1e-9 ||
            h.result.request_charge > ranges[i].charge + 1e-9)
            fail_msg("%s: %g RU", ranges[i].rule, h.result.request_charge);
        harness_end(&h);
    }
}

/* azure-protocols 1.4 */
static void test_headers_of_a_query(void **state)
{
    static const struct step steps[] = {{200, NEXT("{\"t\":1}"), PAGE("1", DOC("1", "150"))},
                                        {200, NULL, PAGE("0", "")}};
    static const struct {
        const char *name, *first, *second;
    } headers[] = {
        {"Content-Type", "application/query+json", "application/query+json"},
        {"x-ms-documentdb-isquery", "True", "True"},
        {"x-ms-documentdb-partitionkey", "[\"d1\"]", "[\"d1\"]"},
        {"x-ms-max-item-count", "7", "6"},
        {"x-ms-continuation", NULL, "{\"t\":1}"},
        {"x-ms-documentdb-query-iscontinuationexpected", "True", "True"},
        {"x-ms-documentdb-responsecontinuationtokenlimitinkb", "2", "2"},
        {"x-ms-documentdb-query-parallelizecrosspartitionquery", NULL, NULL},
        {"x-ms-version", "2020-07-15", "2020-07-15"},
    };
    struct harness h;
    harness_start(&h);
    fake_script(&h.fakes[0], DOCS, steps, COUNT(steps));
    read_range(&h, 7, NULL, 5000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    for (size_t i = 0; i < COUNT(headers); i++) {
        for (size_t n = 0; n < 2; n++) {
            const char *expect = n == 0 ? headers[i].first : headers[i].second;
            const char *got = asked_header(&h, n, headers[i].name);
            if ((got == NULL) != (expect == NULL) || (got != NULL && strcmp(got, expect) != 0))
                fail_msg("request %zu: %s: %s", n, headers[i].name, got);
        }
    }
    assert_non_null(strstr(asked_header(&h, 0, "Authorization"), "type%3Dmaster%26ver%3D1.0%26sig%3D"));
    assert_non_null(strstr(asked_header(&h, 0, "x-ms-date"), " GMT"));
    assert_non_null(strstr(asked_body(&h, 0, 0), "ORDER BY c._ts DESC"));
    assert_string_equal(asked_body(&h, 0, 0), asked_body(&h, 0, 1));
    harness_end(&h);
}

/* A continuation that leads nowhere ends by the deadline; so does an upstream that asks for patience. */
static void test_no_end(void **state)
{
    static const struct {
        const char *rule;
        struct step step;
        enum upstream_status status;
        unsigned retry_after_s;
    } cases[] = {
        {"silence", {.how = HANG}, UPSTREAM_TIMEOUT, 0},
        {"a wait past the deadline", {429, "x-ms-retry-after-ms: 4200\r\n", "{}"}, UPSTREAM_THROTTLED, 5},
        {"a wait past the deadline in seconds", {429, "Retry-After: 30\r\n", "{}"}, UPSTREAM_THROTTLED, 30},
        {"throttled nine times", {429, "x-ms-retry-after-ms: 1\r\n", "{}"}, UPSTREAM_THROTTLED, 1},
        {"contention", {449, NULL, "{}"}, UPSTREAM_TIMEOUT, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct harness h;
        harness_start(&h);
        fake_script(&h.fakes[0], DOCS, &cases[i].step, 1);
        uint64_t started = clock_monotonic_ms();
        read_range(&h, 10, NULL, 150);
        if (h.result.status != cases[i].status || h.result.retry_after_s != cases[i].retry_after_s)
            fail_msg("%s: status %d, retry after %u", cases[i].rule, (int)h.result.status,
                     h.result.retry_after_s);
        assert_in_range(clock_monotonic_ms() - started, 0, 1000);
        harness_end(&h);
    }
}

static void test_empty_pages_without_end(void **state)
{
    static const struct step same = {200, NEXT("a"), PAGE("0", "")};
    struct harness h;
    harness_start(&h);
    fake_script(&h.fakes[0], DOCS, &same, 1);
    read_range(&h, 10, NULL, 30000);
    assert_int_equal(h.result.status, UPSTREAM_UNAVAILABLE);
    assert_int_equal(asked(&h, 0, DOCS), 1000);
    harness_end(&h);
}

/* The latest reading. */
static const struct {
    const char *rule;
    struct step steps[3];
    size_t count;
    enum upstream_status status;
    const char *data;
    int64_t timestamp;
} latests[] = {
#define AT(n, ts, at)                                                                                        \
    "{\"data\":{\"n\":" n "},\"timestamp\":" ts ",\"processedAt\":\"2026-11-23T07:00:00." at "Z\"}"
    {"one", {{200, NULL, PAGE("1", AT("1", "150", "000001"))}}, 1, UPSTREAM_OK, "{\"n\":1}", 150},
    {"none", {{200, NULL, PAGE("0", "")}}, 1, UPSTREAM_OK, NULL, 0},
    {"the first of the newest second is not the last stored",
     {{200, NULL,
       PAGE("3", AT("1", "150", "000001") "," AT("2", "150", "000002") "," AT("0", "140", "000009"))}},
     1,
     UPSTREAM_OK,
     "{\"n\":2}",
     150},
    {"one without processedAt loses",
     {{200, NULL, PAGE("2", AT("1", "150", "000001") "," DOC("2", "150"))}},
     1,
     UPSTREAM_OK,
     "{\"n\":1}",
     150},
    {"even if it came first",
     {{200, NULL, PAGE("2", DOC("2", "150") "," AT("1", "150", "000001"))}},
     1,
     UPSTREAM_OK,
     "{\"n\":1}",
     150},
    {"the second goes on over pages",
     {{200, NEXT("a"), PAGE("2", AT("1", "150", "000001") "," AT("2", "150", "000002"))},
      {200, NEXT("b"), PAGE("1", AT("3", "150", "000003"))},
      {200, NULL, PAGE("1", AT("4", "150", "000000"))}},
     3,
     UPSTREAM_OK,
     "{\"n\":3}",
     150},
    {"no page is asked for once the second is over",
     {{200, NEXT("a"), PAGE("2", AT("1", "150", "000001") "," AT("2", "149", "000002"))}},
     1,
     UPSTREAM_OK,
     "{\"n\":1}",
     150},
    {"an empty page is not the end",
     {{200, NEXT("a"), PAGE("0", "")}, {200, NULL, PAGE("1", AT("1", "150", "000001"))}},
     2,
     UPSTREAM_OK,
     "{\"n\":1}",
     150},
    {"documents without data are passed over",
     {{200, NULL, PAGE("2", BARE "," AT("1", "140", "000001"))}},
     1,
     UPSTREAM_OK,
     "{\"n\":1}",
     140},
    {"a page that cannot be trusted",
     {{200, NULL, PAGE("2", AT("1", "150", "000001"))}},
     1,
     UPSTREAM_UNAVAILABLE,
     NULL,
     0},
    {"refused credentials", {{401, NULL, "{}"}}, 1, UPSTREAM_UNAUTHORIZED, NULL, 0},
};

static void test_latest(void **state)
{
    for (size_t i = 0; i < COUNT(latests); i++) {
        struct harness h;
        harness_start(&h);
        fake_script(&h.fakes[0], DOCS, latests[i].steps, latests[i].count);
        read_latest(&h, 5000);
        if (h.result.status != latests[i].status || asked(&h, 0, DOCS) != latests[i].count ||
            h.at != latests[i].timestamp)
            fail_msg("%s: status %d after %u requests, %lld", latests[i].rule, (int)h.result.status,
                     asked(&h, 0, DOCS), (long long)h.at);
        if ((h.text == NULL) != (latests[i].data == NULL) ||
            (h.text != NULL && strcmp(h.text, latests[i].data) != 0))
            fail_msg("%s: %s", latests[i].rule, h.text);
        harness_end(&h);
    }
}

static void test_latest_gives_up_a_second_without_end(void **state)
{
    static const struct step same = {200, NEXT("a"), PAGE("1", AT("1", "150", "000001"))};
    struct harness h;
    harness_start(&h);
    fake_script(&h.fakes[0], DOCS, &same, 1);
    read_latest(&h, 5000);
    assert_int_equal(h.result.status, UPSTREAM_OK);
    assert_int_equal(asked(&h, 0, DOCS), 10);
    assert_string_equal(asked_header(&h, 0, "x-ms-max-item-count"), "10");
    assert_string_equal(asked_header(&h, 1, "x-ms-max-item-count"), "100");
    harness_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges), cmocka_unit_test(test_headers_of_a_query),
        cmocka_unit_test(test_no_end), cmocka_unit_test(test_empty_pages_without_end),
        cmocka_unit_test(test_latest), cmocka_unit_test(test_latest_gives_up_a_second_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
