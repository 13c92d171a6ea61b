#include "rate_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define SECOND 1000000u
#define HOUR   (3600ull * SECOND)
#define START  (77 * HOUR) /* some time of a monotonic clock */

struct caller {
    unsigned char bytes[32];
};

static struct caller caller(unsigned number)
{
    struct caller c = {{1}};
    memcpy(c.bytes + 28, &number, sizeof number);
    return c;
}

static struct rate_limit *make(unsigned quota, unsigned window_s)
{
    struct rate_limit *limit;
    assert_int_equal(rate_limit_new(quota, window_s, &limit), 0);
    return limit;
}

static struct rate_limit_verdict take(struct rate_limit *limit, unsigned number, uint64_t now_us)
{
    struct caller c = caller(number);
    return rate_limit_take(limit, c.bytes, now_us);
}

/* How many of `tries` requests at one time are allowed. */
static unsigned burst(struct rate_limit *limit, unsigned number, unsigned tries, uint64_t now_us)
{
    unsigned allowed = 0;
    while (tries-- > 0)
        allowed += take(limit, number, now_us).allowed;
    return allowed;
}

/* --- arithmetic -------------------------------------------------------------------------------- */

static const struct {
    unsigned quota, window_s;
} rates[] = {{1, 1},  {2, 1},  {3, 1},   {7, 1},    {10, 1},    {1000, 1},  {9973, 1},
             {1, 60}, {7, 60}, {60, 60}, {100, 60}, {7919, 60}, {20000, 60}};

static void test_a_burst_is_the_quota(void **state)
{
    for (size_t i = 0; i < COUNT(rates); i++) {
        struct rate_limit *limit = make(rates[i].quota, rates[i].window_s);
        assert_int_equal(burst(limit, 1, rates[i].quota + 10, START), rates[i].quota);
        /* and again once the window is over, but not more for having waited longer */
        uint64_t later = START + rates[i].window_s * (uint64_t)SECOND;
        assert_int_equal(burst(limit, 1, rates[i].quota + 10, later), rates[i].quota);
        assert_int_equal(burst(limit, 1, rates[i].quota + 10, later + HOUR), rates[i].quota);
        rate_limit_free(limit);
    }
}

/* The k-th after the burst is due k * window / quota later: not a microsecond before that. */
static void test_then_one_comes_back_at_its_microsecond(void **state)
{
    for (size_t i = 0; i < COUNT(rates); i++) {
        struct rate_limit *limit = make(rates[i].quota, rates[i].window_s);
        uint64_t window_us = rates[i].window_s * (uint64_t)SECOND, quota = rates[i].quota;
        burst(limit, 1, rates[i].quota, START);
        for (uint64_t k = 1; k <= 300; k++) {
            uint64_t due = (k * window_us + quota - 1) / quota;
            if (take(limit, 1, START + due - 1).allowed)
                fail_msg("%u per %u s: number %u came early", rates[i].quota, rates[i].window_s, (unsigned)k);
            if (!take(limit, 1, START + due).allowed)
                fail_msg("%u per %u s: number %u came late", rates[i].quota, rates[i].window_s, (unsigned)k);
        }
        rate_limit_free(limit);
    }
}

/* Whoever asks all the time gets the burst and the rate, with nothing lost to rounding on the way. (A bucket
 * of one runs over between two steps.) */
static void test_nothing_is_lost_over_time(void **state)
{
    for (size_t i = 0; i < COUNT(rates); i++) {
        if (rates[i].quota == 1)
            continue;
        struct rate_limit *limit = make(rates[i].quota, rates[i].window_s);
        uint64_t window_us = rates[i].window_s * (uint64_t)SECOND, quota = rates[i].quota;
        uint64_t step = window_us / quota, elapsed = 0;
        uint64_t allowed = burst(limit, 1, rates[i].quota, START);
        unsigned random = 12345;
        for (unsigned n = 0; n < 20000; n++) {
            random = random * 1103515245 + 12345;
            elapsed += (random >> 8) % (step + 1);
            allowed += take(limit, 1, START + elapsed).allowed;
        }
        uint64_t due = quota + elapsed * quota / window_us;
        if (allowed != due)
            fail_msg("%u per %u s: %llu of %llu", rates[i].quota, rates[i].window_s,
                     (unsigned long long)allowed, (unsigned long long)due);
        rate_limit_free(limit);
    }
}

static const struct {
    const char *rule;
    unsigned quota, window_s, before; /* requests at the start */
    uint64_t after_us;                /* then one so much later, of which this is the verdict: */
    struct rate_limit_verdict expect;
} verdicts[] = {
    {"the first of ten", 10, 1, 0, 0, {true, 9, 1}},
    {"the tenth of ten", 10, 1, 9, 0, {true, 0, 1}},
    {"the eleventh of ten", 10, 1, 10, 0, {false, 0, 1}},
    {"what is being refilled does not count", 10, 1, 5, 199999, {true, 5, 1}},
    {"until it is whole", 10, 1, 5, 200000, {true, 6, 1}},
    {"refused a microsecond too early", 10, 1, 10, 99999, {false, 0, 1}},
    {"the only one a second", 1, 1, 0, 0, {true, 0, 1}},
    {"the second one in a second", 1, 1, 1, 0, {false, 0, 1}},
    {"the only one a minute", 1, 60, 0, 0, {true, 0, 60}},
    {"the second one in a minute", 1, 60, 1, 0, {false, 0, 60}},
    {"the wait shrinks", 1, 60, 1, 30000000, {false, 0, 30}},
    {"in whole seconds, rounded up", 1, 60, 1, 29999999, {false, 0, 31}},
    {"never 0", 1, 60, 1, 59999999, {false, 0, 1}},
    {"a minute for all of them", 60, 60, 59, 0, {true, 0, 60}},
    {"a second for the next one", 60, 60, 60, 0, {false, 0, 1}},
    {"half of them", 60, 60, 29, 0, {true, 30, 30}},
    {"the fastest", 1000000, 1, 0, 0, {true, 999999, 1}},
    {"the largest number there is", 4294967295u, 60, 0, 0, {true, 4294967294u, 1}},
    {"an hour later all is back", 10, 1, 10, HOUR, {true, 9, 1}},
    {"centuries later too", 10, 1, 10, 1ull << 60, {true, 9, 1}},
};

static void test_a_verdict_says_what_is_left_and_when(void **state)
{
    for (size_t i = 0; i < COUNT(verdicts); i++) {
        struct rate_limit *limit = make(verdicts[i].quota, verdicts[i].window_s);
        burst(limit, 1, verdicts[i].before, START);
        struct rate_limit_verdict v = take(limit, 1, START + verdicts[i].after_us);
        const struct rate_limit_verdict *e = &verdicts[i].expect;
        if (v.allowed != e->allowed || v.remaining != e->remaining || v.reset_s != e->reset_s)
            fail_msg("%s: %d, %u left, %u s", verdicts[i].rule, v.allowed, v.remaining, v.reset_s);
        rate_limit_free(limit);
    }
}

static void test_whoever_waits_as_told_is_served(void **state)
{
    for (size_t i = 0; i < COUNT(rates); i++) {
        struct rate_limit *limit = make(rates[i].quota, rates[i].window_s);
        burst(limit, 1, rates[i].quota, START);
        struct rate_limit_verdict v = take(limit, 1, START);
        assert_false(v.allowed);
        assert_in_range(v.reset_s, 1, 60);
        assert_true(take(limit, 1, START + v.reset_s * (uint64_t)SECOND).allowed);
        rate_limit_free(limit);
    }
}

/* A million a second: one every microsecond. */
static void test_the_fastest_rate_is_exact_too(void **state)
{
    struct rate_limit *limit = make(1000000, 1);
    assert_int_equal(burst(limit, 1, 1000001, START), 1000000);
    for (unsigned i = 1; i < 1000; i++)
        assert_int_equal(burst(limit, 1, 3, START + i), 1);
    assert_int_equal(burst(limit, 1, 100, START + 1000 + 9), 10);
    rate_limit_free(limit);
}

static void test_refusals_cost_nothing(void **state)
{
    struct rate_limit *limit = make(2, 1);
    burst(limit, 1, 1000, START);
    assert_int_equal(burst(limit, 1, 10, START + SECOND / 2), 1);
    rate_limit_free(limit);
}

/* --- the clock --------------------------------------------------------------------------------- */

static void test_a_clock_that_stands_still_refills_nothing(void **state)
{
    struct rate_limit *limit = make(10, 1);
    assert_int_equal(burst(limit, 1, 1000, 0), 10);
    assert_int_equal(burst(limit, 1, 1000, 0), 0);
    rate_limit_free(limit);
}

/* Threads read the clock before they wait for the lock. */
static void test_a_clock_slightly_back_neither_gives_nor_takes(void **state)
{
    struct rate_limit *limit = make(10, 1);
    assert_int_equal(burst(limit, 1, 10, START), 10);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(burst(limit, 1, 1, START - i % 500), 0);
    assert_int_equal(burst(limit, 1, 10, START + SECOND / 10 - 1), 0);
    assert_int_equal(burst(limit, 1, 10, START + SECOND / 10), 1);
    rate_limit_free(limit);
}

static void test_a_clock_set_back_goes_on_from_there(void **state)
{
    struct rate_limit *limit = make(10, 1);
    assert_int_equal(burst(limit, 1, 10, START), 10);
    assert_int_equal(burst(limit, 1, 10, START - HOUR), 0);
    assert_int_equal(burst(limit, 1, 20, START - HOUR + SECOND), 10);
    rate_limit_free(limit);
}

static void test_a_clock_that_wraps_goes_on(void **state)
{
    struct rate_limit *limit = make(10, 1);
    assert_int_equal(burst(limit, 1, 20, UINT64_MAX - 50000 + 1), 10);
    assert_int_equal(burst(limit, 1, 20, 49999), 0);
    assert_int_equal(burst(limit, 1, 20, 50000), 1);
    rate_limit_free(limit);
}

/* --- callers ----------------------------------------------------------------------------------- */

static void test_every_caller_has_their_own(void **state)
{
    enum { CALLERS = 2000 };
    struct rate_limit *limit = make(5, 1);
    for (unsigned turn = 0; turn < 8; turn++)
        for (unsigned n = 0; n < CALLERS; n++)
            if (take(limit, n, START).allowed != (turn < 5))
                fail_msg("caller %u, request %u", n, turn);
    rate_limit_free(limit);
}

static void test_every_byte_of_a_caller_counts(void **state)
{
    struct rate_limit *limit = make(1, 60);
    for (unsigned i = 0; i < 32 * 8; i++) {
        struct caller c = {{0}};
        c.bytes[i / 8] = (unsigned char)(1u << i % 8);
        assert_true(rate_limit_take(limit, c.bytes, START).allowed);
        assert_false(rate_limit_take(limit, c.bytes, START).allowed);
    }
    rate_limit_free(limit);
}

/* More callers than there is room for: whoever is limited stays so, and the newcomers are served. */
static void test_a_flood_of_callers_frees_nobody(void **state)
{
    struct rate_limit *limit = make(10, 1);
    for (unsigned n = 0; n < 50; n++)
        burst(limit, n, 10, START);
    for (unsigned n = 1000; n < 151000; n++)
        if (!take(limit, n, START).allowed)
            fail_msg("newcomer %u was refused", n);
    for (unsigned n = 0; n < 50; n++)
        if (take(limit, n, START).allowed)
            fail_msg("caller %u was forgotten", n);
    rate_limit_free(limit);
}

/* Where all have used up theirs, somebody is forgotten; a full bucket is all that it gives. */
static void test_being_forgotten_gives_a_full_bucket_at_most(void **state)
{
    struct rate_limit *limit = make(2, 60);
    for (unsigned n = 0; n < 80000; n++)
        assert_int_equal(burst(limit, n, 3, START), 2);
    for (unsigned n = 0; n < 80000; n++)
        assert_in_range(burst(limit, n, 3, START), 0, 2);
    rate_limit_free(limit);
}

static const struct {
    const char *rule, *one, *other;
    bool same;
} addresses[] = {
    {"an IPv4 address is itself", "192.0.2.1", "192.0.2.1", true},
    {"IPv4 neighbours are two callers", "192.0.2.1", "192.0.2.2", false},
    {"IPv4 addresses that differ at the front", "192.0.2.1", "193.0.2.1", false},
    {"an IPv4 address and its mapped form are one", "192.0.2.1", "::ffff:192.0.2.1", true},
    {"an IPv6 /64 is one caller", "2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true},
    {"the next /64 is another", "2001:db8:1:2::1", "2001:db8:1:3::1", false},
    {"a /48 has many callers", "2001:db8:1::1", "2001:db8:1:ffff::1", false},
    {"an IPv4 address is not ::1", "127.0.0.1", "::1", false},
    {"nor is it the /64 that begins like its mapped form", "0.0.0.0", "::", false},
};

static void test_addresses_become_callers(void **state)
{
    for (size_t i = 0; i < COUNT(addresses); i++) {
        struct network_address one, other;
        unsigned char key[32], key_of_other[32];
        assert_true(network_address_parse(addresses[i].one, strlen(addresses[i].one), &one));
        assert_true(network_address_parse(addresses[i].other, strlen(addresses[i].other), &other));
        rate_limit_address_key(&one, key);
        rate_limit_address_key(&other, key_of_other);
        if ((memcmp(key, key_of_other, sizeof key) == 0) != addresses[i].same)
            fail_msg("%s", addresses[i].rule);
    }
}

/* --- threads ----------------------------------------------------------------------------------- */

#define THREADS 8

struct hammer {
    struct rate_limit *limit;
    atomic_uint_least64_t *clock; /* NULL: it stands still */
    unsigned tries, allowed;
    uv_thread_t thread;
};

static void hammer(void *arg)
{
    struct hammer *h = arg;
    for (unsigned i = 0; i < h->tries; i++)
        h->allowed += take(h->limit, 1, h->clock == NULL ? START : atomic_fetch_add(h->clock, 1)).allowed;
}

static uint64_t hammer_all(struct rate_limit *limit, atomic_uint_least64_t *clock, unsigned tries)
{
    struct hammer hammers[THREADS];
    uint64_t allowed = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        hammers[i] = (struct hammer){.limit = limit, .clock = clock, .tries = tries};
        assert_int_equal(uv_thread_create(&hammers[i].thread, hammer, &hammers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        uv_thread_join(&hammers[i].thread);
        allowed += hammers[i].allowed;
    }
    return allowed;
}

static void test_threads_share_a_bucket_exactly(void **state)
{
    struct rate_limit *limit = make(10000, 1);
    assert_int_equal(hammer_all(limit, NULL, 5000), 10000);
    rate_limit_free(limit);
}

/* The clock goes on while they fight over it: never more than it gives. */
static void test_threads_share_the_clock_too(void **state)
{
    struct rate_limit *limit = make(1000, 1);
    atomic_uint_least64_t clock = START;
    uint64_t allowed = hammer_all(limit, &clock, 20000);
    uint64_t due = 1000 + (atomic_load(&clock) - START) / 1000;
    assert_in_range(allowed, due - 1, due);
    rate_limit_free(limit);
}

/* --- the fields -------------------------------------------------------------------------------- */

static void test_the_fields_are_written(void **state)
{
    static const struct {
        unsigned quota, window_s;
        struct rate_limit_verdict verdict;
        const char *fields, *policy;
    } cases[] = {
        {10, 1, {true, 9, 1}, "\"default\";r=9;t=1", "\"default\";q=10;w=1"},
        {10, 1, {false, 0, 1}, "\"default\";r=0;t=1", "\"default\";q=10;w=1"},
        {100, 60, {false, 0, 60}, "\"default\";r=0;t=60", "\"default\";q=100;w=60"},
        {1000000, 60, {true, 999999, 1}, "\"default\";r=999999;t=1", "\"default\";q=1000000;w=60"},
    };
    char text[64];

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rate_limit *limit = make(cases[i].quota, cases[i].window_s);
        rate_limit_header(limit, &cases[i].verdict, text, sizeof text);
        assert_string_equal(text, cases[i].fields);
        rate_limit_policy_header(limit, text, sizeof text);
        assert_string_equal(text, cases[i].policy);
        rate_limit_free(limit);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_burst_is_the_quota),
        cmocka_unit_test(test_then_one_comes_back_at_its_microsecond),
        cmocka_unit_test(test_nothing_is_lost_over_time),
        cmocka_unit_test(test_a_verdict_says_what_is_left_and_when),
        cmocka_unit_test(test_whoever_waits_as_told_is_served),
        cmocka_unit_test(test_the_fastest_rate_is_exact_too),
        cmocka_unit_test(test_refusals_cost_nothing),
        cmocka_unit_test(test_a_clock_that_stands_still_refills_nothing),
        cmocka_unit_test(test_a_clock_slightly_back_neither_gives_nor_takes),
        cmocka_unit_test(test_a_clock_set_back_goes_on_from_there),
        cmocka_unit_test(test_a_clock_that_wraps_goes_on),
        cmocka_unit_test(test_every_caller_has_their_own),
        cmocka_unit_test(test_every_byte_of_a_caller_counts),
        cmocka_unit_test(test_a_flood_of_callers_frees_nobody),
        cmocka_unit_test(test_being_forgotten_gives_a_full_bucket_at_most),
        cmocka_unit_test(test_addresses_become_callers),
        cmocka_unit_test(test_threads_share_a_bucket_exactly),
        cmocka_unit_test(test_threads_share_the_clock_too),
        cmocka_unit_test(test_the_fields_are_written),
    };
    rate_limit_free(NULL);
    return cmocka_run_group_tests_name("rate_limit", tests, NULL, NULL);
}
