#include "retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* One attempt that ended so, after what `state` says had happened before; 10 s are left unless said
 * otherwise. */
static const struct {
    const char *rule;
    struct retry_input input;
    struct retry_state state;
    struct retry_decision expect;
} decisions[] = {
    /* what stands */
    {"success stands", {.status = 200}, {0}, {RETRY_NO}},
    {"not modified stands", {.status = 304}, {0}, {RETRY_NO}},
    {"a bad request stands", {.status = 400}, {0}, {RETRY_NO}},
    {"refused credentials stand", {.status = 401}, {0}, {RETRY_NO}},
    {"forbidden stands", {.status = 403}, {0}, {RETRY_NO}},
    {"a missing container stands", {.status = 404}, {0}, {RETRY_NO}},
    {"a conflict stands", {.status = 409, .write = true}, {0}, {RETRY_NO}},
    {"too large for the upstream stands", {.status = 413, .write = true}, {0}, {RETRY_NO}},
    {"an answer too large for us stands", {.outcome = HTTP_TOO_LARGE}, {0}, {RETRY_NO}},
    {"out of memory stands", {.outcome = HTTP_NO_MEMORY}, {0}, {RETRY_NO}},

    /* 429 */
    {"a throttled request waits as long as it is told",
     {.status = 429, .retry_after_ms = 1234},
     {0},
     {RETRY_AFTER, 1234}},
    {"a wait of nothing is taken too", {.status = 429, .retry_after_ms = 0}, {0}, {RETRY_AFTER, 0}},
    {"throttled without a word on how long", {.status = 429, .retry_after_ms = -1}, {0}, {RETRY_AFTER, 100}},
    {"without a word the waits grow",
     {.status = 429, .retry_after_ms = -1},
     {.throttles = 3},
     {RETRY_AFTER, 800}},
    {"the eighth 429 is tried again",
     {.status = 429, .retry_after_ms = 1},
     {.throttles = 7},
     {RETRY_AFTER, 1}},
    {"the ninth 429 is the last",
     {.status = 429, .retry_after_ms = 1500},
     {.throttles = 8},
     {RETRY_GIVE_UP, 1500, false, 2}},
    {"given up with no wait named: a second",
     {.status = 429, .retry_after_ms = 0},
     {.throttles = 8},
     {RETRY_GIVE_UP, 0, false, 1}},
    {"a wait past the deadline is given up at once",
     {.status = 429, .retry_after_ms = 10001},
     {0},
     {RETRY_GIVE_UP, 10001, false, 11}},
    {"a wait that ends with the deadline too",
     {.status = 429, .retry_after_ms = 10000},
     {0},
     {RETRY_GIVE_UP, 10000, false, 10}},
    {"failures before it do not count",
     {.status = 429, .retry_after_ms = 5},
     {.failures = 2},
     {RETRY_AFTER, 5}},

    /* 449, 410, 408 */
    {"contention starts at 10 ms", {.status = 449}, {0}, {RETRY_AFTER, 10}},
    {"with at most 5 ms of jitter", {.status = 449, .jitter = 5}, {0}, {RETRY_AFTER, 15}},
    {"jitter is taken modulo", {.status = 449, .jitter = 6}, {0}, {RETRY_AFTER, 10}},
    {"contention doubles", {.status = 449}, {.contention = 4}, {RETRY_AFTER, 160}},
    {"contention up to a second", {.status = 449}, {.contention = 30}, {RETRY_AFTER, 1000}},
    {"contention ends with the time",
     {.status = 449, .deadline_ms = 1500},
     {.contention = 9},
     {RETRY_GIVE_UP, 1000}},
    {"a range that is gone", {.status = 410, .substatus = 1002}, {0}, {RETRY_AFTER, 50}},
    {"a range that was split", {.status = 410, .substatus = 1007}, {.gone = 1}, {RETRY_AFTER, 100}},
    {"a request timeout", {.status = 408, .write = true}, {0}, {RETRY_AFTER, 50}},
    {"gone four times more at most", {.status = 410}, {.gone = 4}, {RETRY_GIVE_UP, 800}},

    /* regions */
    {"503 goes to the next region",
     {.status = 503, .another_region = true},
     {0},
     {RETRY_OTHER_REGION, 0, true}},
    {"503 with one region once more", {.status = 503}, {0}, {RETRY_AFTER, 100, true}},
    {"503 with one region only once more", {.status = 503}, {.failures = 1}, {RETRY_GIVE_UP, 200, true}},
    {"503 honours a wait", {.status = 503, .retry_after_ms = 700}, {0}, {RETRY_AFTER, 700, true}},
    {"503 in the third region is the end",
     {.status = 503, .another_region = true},
     {.failures = 2},
     {RETRY_GIVE_UP, 400, true}},
    {"not in this region: the next",
     {.status = 403, .substatus = 1008, .another_region = true},
     {0},
     {RETRY_OTHER_REGION, 0, true}},
    {"not in the only region", {.status = 403, .substatus = 1008}, {0}, {RETRY_GIVE_UP, 100, true}},
    {"a region that takes no writes: ask where",
     {.status = 403, .substatus = 3, .write = true},
     {0},
     {RETRY_REFRESH_ACCOUNT, 0}},
    {"asked before: after a second",
     {.status = 403, .substatus = 3, .write = true},
     {.failures = 1},
     {RETRY_REFRESH_ACCOUNT, 1000}},
    {"not for ever", {.status = 403, .substatus = 3, .write = true}, {.failures = 2}, {RETRY_GIVE_UP, 1000}},
    {"403/3 for a read stands", {.status = 403, .substatus = 3}, {0}, {RETRY_NO}},
    {"the session is not there yet", {.status = 404, .substatus = 1002}, {0}, {RETRY_AFTER, 100}},
    {"the session never came", {.status = 404, .substatus = 1002}, {.failures = 2}, {RETRY_GIVE_UP, 400}},

    /* transport and 5xx: at most two retries */
    {"refused: the next region",
     {.outcome = HTTP_REFUSED, .another_region = true},
     {0},
     {RETRY_OTHER_REGION, 0, true}},
    {"broken: the next region",
     {.outcome = HTTP_BROKEN, .another_region = true},
     {.failures = 1},
     {RETRY_OTHER_REGION, 0, true}},
    {"timed out: the next region",
     {.outcome = HTTP_TIMED_OUT, .another_region = true},
     {0},
     {RETRY_OTHER_REGION, 0, true}},
    {"refused by the only region", {.outcome = HTTP_REFUSED}, {.failures = 1}, {RETRY_AFTER, 200, true}},
    {"refused for the third time",
     {.outcome = HTTP_REFUSED, .another_region = true},
     {.failures = 2},
     {RETRY_GIVE_UP, 400, true}},
    {"timed out with the deadline",
     {.outcome = HTTP_TIMED_OUT, .another_region = true, .deadline_ms = 1000},
     {0},
     {RETRY_GIVE_UP, 0, true}},
    {"an error inside it: the same region", {.status = 500, .another_region = true}, {0}, {RETRY_AFTER, 100}},
    {"502 waits longer the second time", {.status = 502}, {.failures = 1}, {RETRY_AFTER, 200}},
    {"500 for the third time", {.status = 500}, {.failures = 2}, {RETRY_GIVE_UP, 400}},
    {"a failure after throttles has its two retries",
     {.status = 500},
     {.attempts = 6, .throttles = 6},
     {RETRY_AFTER, 100}},

    /* IoT Hub */
    {"hub: throttled, told how long",
     {.service = RETRY_IOTHUB, .status = 429, .retry_after_ms = 2000},
     {0},
     {RETRY_AFTER, 2000}},
    {"hub: throttled, not told",
     {.service = RETRY_IOTHUB, .status = 429, .retry_after_ms = -1},
     {0},
     {RETRY_AFTER, 1000}},
    {"hub: too long a wait",
     {.service = RETRY_IOTHUB, .status = 429, .retry_after_ms = 60000},
     {0},
     {RETRY_GIVE_UP, 60000, false, 60}},
    {"hub: a spent quota stands", {.service = RETRY_IOTHUB, .status = 403}, {0}, {RETRY_NO}},
    {"hub: no such twin stands", {.service = RETRY_IOTHUB, .status = 404}, {0}, {RETRY_NO}},
    {"hub: gone is not Cosmos DB's", {.service = RETRY_IOTHUB, .status = 410}, {0}, {RETRY_NO}},
    {"hub: a substatus is not Cosmos DB's",
     {.service = RETRY_IOTHUB, .status = 404, .substatus = 1002},
     {0},
     {RETRY_NO}},
    {"hub: 503 is a failure like others",
     {.service = RETRY_IOTHUB, .status = 503},
     {.failures = 1},
     {RETRY_AFTER, 200}},
    {"hub: 408 is a failure",
     {.service = RETRY_IOTHUB, .status = 408},
     {.failures = 2},
     {RETRY_GIVE_UP, 400}},
};

static void test_decisions(void **state)
{
    for (size_t i = 0; i < COUNT(decisions); i++) {
        struct retry_state before = decisions[i].state;
        struct retry_input input = decisions[i].input;
        const struct retry_decision *expect = &decisions[i].expect;
        input.now_ms = 1000;
        if (input.deadline_ms == 0)
            input.deadline_ms = 11000;
        struct retry_decision got = retry_decide(&before, &input);
        if (got.action != expect->action || (got.action != RETRY_NO && got.wait_ms != expect->wait_ms) ||
            got.region_failed != expect->region_failed || got.retry_after_s != expect->retry_after_s)
            fail_msg("%s: got action %d, wait %u, region failed %d, retry after %u", decisions[i].rule,
                     (int)got.action, got.wait_ms, got.region_failed, got.retry_after_s);
        assert_int_equal(before.attempts, decisions[i].state.attempts + 1);
    }
}

/* Whatever an upstream answers, it is asked a bounded number of times. */
static void test_requests_in_all(void **state)
{
    static const struct {
        const char *rule;
        struct retry_input input;
        unsigned requests;
    } cases[] = {
        {"refused", {.outcome = HTTP_REFUSED}, 3},
        {"reset", {.outcome = HTTP_BROKEN}, 3},
        {"refused, with other regions", {.outcome = HTTP_REFUSED, .another_region = true}, 3},
        {"500", {.status = 500}, 3},
        {"503", {.status = 503}, 2},
        {"503 with other regions", {.status = 503, .another_region = true}, 3},
        {"429", {.status = 429, .retry_after_ms = 1}, 9},
        {"410", {.status = 410}, 5},
        {"403/3", {.status = 403, .substatus = 3, .write = true}, 3},
        {"401", {.status = 401}, 1},
        {"hub 503", {.service = RETRY_IOTHUB, .status = 503}, 3},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct retry_state retries = {0};
        struct retry_input input = cases[i].input;
        enum retry_action action;
        input.deadline_ms = 60000;
        do {
            action = retry_decide(&retries, &input).action;
        } while (action != RETRY_NO && action != RETRY_GIVE_UP && retries.attempts < 100);
        if (retries.attempts != cases[i].requests)
            fail_msg("%s: %u requests", cases[i].rule, retries.attempts);
    }
}

static void test_retry_after(void **state)
{
    const int64_t now_s = 1795417200; /* Mon, 23 Nov 2026 07:00:00 GMT */
    static const struct {
        const char *rule, *ms, *seconds;
        int64_t expect;
    } cases[] = {
        {"neither", NULL, NULL, -1},
        {"milliseconds", "250", NULL, 250},
        {"zero", "0", NULL, 0},
        {"fractions round up", "12.25", NULL, 13},
        {"a fraction of nothing", "12.000", NULL, 12},
        {"milliseconds before seconds", "250", "9", 250},
        {"seconds", NULL, "3", 3000},
        {"seconds where the milliseconds cannot be read", "soon", "3", 3000},
        {"negative is no wait", "-5", NULL, -1},
        {"empty", "", "", -1},
        {"trailing text", "5 ms", NULL, -1},
        {"an hour at most", "999999999999999999999999", NULL, 3600000},
        {"an hour of seconds at most", NULL, "7200", 3600000},
        {"a date", NULL, "Mon, 23 Nov 2026 07:00:30 GMT", 30000},
        {"a date that has passed", NULL, "Mon, 23 Nov 2026 06:00:00 GMT", 0},
        {"a date far off", NULL, "Tue, 23 Nov 2027 07:00:00 GMT", 3600000},
        {"no date", NULL, "Mon, 23 Nov 2026", -1},
        {"text after a date", NULL, "Mon, 23 Nov 2026 07:00:30 GMT+1", -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t got = retry_after_from_headers(cases[i].ms, cases[i].seconds, now_s);
        if (got != cases[i].expect)
            fail_msg("%s: %lld", cases[i].rule, (long long)got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decisions),
        cmocka_unit_test(test_requests_in_all),
        cmocka_unit_test(test_retry_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
