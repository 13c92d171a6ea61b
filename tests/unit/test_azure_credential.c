/*
 * Tokens for Azure, what all workers know: when a token is renewed, how often an authority is asked, what is
 * remembered. The clock is the test's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../clients/azure_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START 1000000u /* ms; any */

static struct azure_credential *credential;
static struct azure_slot *slot;
static const struct azure_identity identity;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(azure_credential_new(&identity, NULL, &credential), 0);
    slot = azure_slot_open(credential, "https://a", "https://b");
    assert_non_null(slot);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    azure_credential_free(credential);
    return 0;
}

static unsigned take(const char *token, int64_t lifetime_s, uint64_t now_ms)
{
    struct azure_token_answer answer = {.status = UPSTREAM_OK,
                                        .token = strdup(token),
                                        .token_size = strlen(token) + 1,
                                        .lifetime_s = lifetime_s};
    unsigned failures = azure_slot_take(slot, &answer, false, now_ms);
    assert_null(answer.token);
    return failures;
}

static void fail_with(enum upstream_status status, bool retry, int64_t retry_after_ms, uint64_t now_ms)
{
    const struct azure_token_answer answer = {
        .status = status, .retry = retry, .retry_after_ms = retry_after_ms};
    azure_slot_failed(slot, &answer, now_ms);
}

static bool claim(uint64_t now_ms)
{
    bool use_fallback;
    return azure_slot_claim(slot, now_ms, &use_fallback);
}

/* The first second at which a claim for the background succeeds. */
static uint64_t due_after_s(uint64_t from_ms)
{
    for (uint64_t s = 0; s < 100000; s++)
        if (azure_slot_due(slot, from_ms + s * 1000))
            return s;
    return UINT64_MAX;
}

static void tokens_are_renewed_before_their_end(void **state)
{
    (void)state;
    static const struct {
        int64_t lifetime_s;
        uint64_t due_s, good_s;
    } lives[] = {
        {3600, 3300, 3595}, {7200, 6900, 7195}, {7201, 3601, 7196}, {86400, 43200, 86395},
        {601, 301, 596},    {600, 300, 595},    {599, 300, 594},    {300, 150, 295},
        {10, 5, 9},         {2, 1, 2},
    };
    for (size_t i = 0; i < sizeof lives / sizeof lives[0]; i++) {
        uint64_t now = START + i * 1000000000u, good_until;
        unsigned generation;
        struct buffer text = {0};
        take("t", lives[i].lifetime_s, now);
        azure_slot_copy(slot, "Bearer ", &text, &good_until, &generation);
        assert_string_equal(text.data, "Bearer t");
        azure_secret_free(&text);
        if ((good_until - now + 999) / 1000 != lives[i].good_s || due_after_s(now) != lives[i].due_s)
            fail_msg("%lld s: good for %llu ms", (long long)lives[i].lifetime_s,
                     (unsigned long long)(good_until - now));
    }
}

static void a_good_token_is_not_asked_for_again(void **state)
{
    (void)state;
    assert_true(claim(START));
    take("t", 3600, START);
    assert_false(claim(START + 60000));
    assert_false(azure_slot_due(slot, START + 60000));
    assert_true(claim(START + 3300000));
}

static void an_authority_is_asked_once_a_second(void **state)
{
    (void)state;
    assert_true(claim(START));
    assert_true(azure_slot_look(slot).under_way);
    assert_false(claim(START + 999));
    fail_with(UPSTREAM_UNAVAILABLE, true, -1, START + 10);
    assert_false(azure_slot_look(slot).under_way);
    assert_int_equal(azure_slot_look(slot).failure, UPSTREAM_UNAVAILABLE);
    assert_false(claim(START + 1009));
    assert_true(claim(START + 1010));
    fail_with(UPSTREAM_UNAVAILABLE, true, -1, START + 1020);
    assert_false(claim(START + 3019));
    assert_true(claim(START + 3020)); /* and less often when it goes on failing */
    assert_int_equal(take("t", 3600, START + 3030), 2);
    assert_int_equal(azure_slot_look(slot).failure, UPSTREAM_OK);
    assert_int_equal(take("t", 3600, START + 3040), 0);
}

static void the_time_that_it_names_is_obeyed_within_bounds(void **state)
{
    (void)state;
    static const struct {
        int64_t said_ms;
        uint64_t waited_ms;
    } waits[] = {{-1, 1000}, {0, 1000}, {500, 1000}, {7000, 7000}, {60000, 60000}, {3600000, 60000}};
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        take("t", 1, START); /* ends the row of failures */
        fail_with(UPSTREAM_THROTTLED, true, waits[i].said_ms, START);
        assert_int_equal(azure_slot_look(slot).next_ms - START, waits[i].waited_ms);
    }
}

static void the_background_asks_every_three_seconds(void **state)
{
    (void)state;
    take("t", 3600, START);
    uint64_t now = START + 3300000;
    assert_true(azure_slot_due(slot, now));
    assert_false(azure_slot_due(slot, now)); /* one of the workers */
    assert_true(claim(now));
    assert_false(azure_slot_due(slot, now + 4000)); /* it is still under way */
    fail_with(UPSTREAM_TIMEOUT, true, -1, now + 100);
    assert_false(azure_slot_due(slot, now + 2999));
    assert_true(azure_slot_due(slot, now + 3000));
    assert_true(claim(now + 1200)); /* whoever has no token may ask sooner */
}

static void a_refused_token_is_dropped_if_it_is_still_the_one(void **state)
{
    (void)state;
    struct buffer text = {0};
    uint64_t good_until;
    unsigned first, second, third;
    take("a", 3600, START);
    azure_slot_copy(slot, "", &text, &good_until, &first);
    take("b", 3600, START);
    azure_slot_refused(slot, first);
    azure_slot_copy(slot, "", &text, &good_until, &second);
    assert_string_equal(text.data, "b");
    assert_int_not_equal(first, second);
    azure_slot_refused(slot, second);
    azure_slot_copy(slot, "", &text, &good_until, &third);
    assert_int_equal(text.len, 0);
    assert_int_not_equal(second, third);
    azure_slot_refused(slot, third); /* nothing to drop */
    assert_int_equal(atomic_load(&slot->generation), third);
    assert_true(claim(START));
    azure_secret_free(&text);
}

static void an_abandoned_fetch_leaves_no_trace(void **state)
{
    (void)state;
    assert_true(claim(START));
    azure_slot_given_up(slot);
    assert_false(azure_slot_look(slot).under_way);
    assert_int_equal(azure_slot_look(slot).failure, UPSTREAM_OK);
    assert_true(claim(START));
}

static void resources_are_few_and_each_has_one_slot(void **state)
{
    (void)state;
    char name[32];
    assert_ptr_equal(azure_slot_open(credential, "https://a", "https://b"), slot);
    for (unsigned i = 1; i < AZURE_RESOURCES_MAX; i++) {
        snprintf(name, sizeof name, "https://r%u", i);
        assert_non_null(azure_slot_open(credential, name, NULL));
    }
    assert_null(azure_slot_open(credential, "https://one-too-many", NULL));
    assert_int_equal(errno, ENOSPC);
    assert_ptr_equal(azure_slot_open(credential, "https://a", NULL), slot);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tokens_are_renewed_before_their_end),
        TEST(a_good_token_is_not_asked_for_again),
        TEST(an_authority_is_asked_once_a_second),
        TEST(the_time_that_it_names_is_obeyed_within_bounds),
        TEST(the_background_asks_every_three_seconds),
        TEST(a_refused_token_is_dropped_if_it_is_still_the_one),
        TEST(an_abandoned_fetch_leaves_no_trace),
        TEST(resources_are_few_and_each_has_one_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
