#include "address_counts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

static struct network_address address(const char *text)
{
    struct network_address r;
    assert_true(network_address_parse(text, strlen(text), &r));
    return r;
}

static struct address_counts *counts_with(unsigned limit)
{
    struct address_counts *counts = NULL;
    assert_int_equal(address_counts_new(limit, 1000, &counts), 0);
    return counts;
}

static void test_an_address_has_as_many_as_the_limit(void **state)
{
    struct address_counts *counts = counts_with(3);
    struct network_address one = address("192.0.2.1"), other = address("192.0.2.2");

    for (unsigned i = 0; i < 3; i++) {
        assert_false(address_counts_at_limit(counts, &one));
        assert_true(address_counts_enter(counts, &one));
    }
    assert_true(address_counts_at_limit(counts, &one));
    assert_false(address_counts_enter(counts, &one));
    assert_false(address_counts_at_limit(counts, &other));
    assert_true(address_counts_enter(counts, &other));

    address_counts_leave(counts, &one);
    assert_true(address_counts_enter(counts, &one));
    assert_false(address_counts_enter(counts, &one));
    address_counts_free(counts);
}

static void test_which_addresses_count_together(void **state)
{
    static const struct {
        const char *a, *b;
        bool together;
    } rows[] = {
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "::ffff:192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"192.0.2.1", "193.0.2.1", false},
        {"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true},
        {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
        {"2001:db8:1:2::1", "2001:db9:1:2::1", false},
        {"::1", "192.0.2.1", false},
        {"::1", "::2", true},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct address_counts *counts = counts_with(1);
        struct network_address a = address(rows[i].a), b = address(rows[i].b);
        assert_true(address_counts_enter(counts, &a));
        assert_int_equal(address_counts_at_limit(counts, &b), rows[i].together);
        assert_int_equal(address_counts_enter(counts, &b), !rows[i].together);
        address_counts_leave(counts, &a);
        assert_int_equal(address_counts_at_limit(counts, &b), !rows[i].together);
        address_counts_free(counts);
    }
}

/* More addresses than the table has places, in an order that takes entries from the middle of a chain. */
static void test_nobody_is_lost_among_many(void **state)
{
    enum { ADDRESSES = 5000 };
    struct address_counts *counts = counts_with(2);
    char text[32];

    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < ADDRESSES; i++) {
            snprintf(text, sizeof text, "10.0.%u.%u", i / 256, i % 256);
            struct network_address a = address(text);
            assert_true(address_counts_enter(counts, &a));
        }
    for (unsigned i = 0; i < ADDRESSES; i++) {
        snprintf(text, sizeof text, "10.0.%u.%u", i / 256, i % 256);
        struct network_address a = address(text);
        assert_false(address_counts_enter(counts, &a));
        if (i % 3 == 0)
            for (unsigned times = 0; times < 2; times++)
                address_counts_leave(counts, &a);
    }
    for (unsigned i = 0; i < ADDRESSES; i++) {
        snprintf(text, sizeof text, "10.0.%u.%u", i / 256, i % 256);
        struct network_address a = address(text);
        assert_int_equal(address_counts_enter(counts, &a), i % 3 == 0);
    }
    address_counts_free(counts);
}

static void test_leaving_without_having_entered_is_nothing(void **state)
{
    struct address_counts *counts = counts_with(1);
    struct network_address a = address("192.0.2.1");

    address_counts_leave(counts, &a);
    assert_true(address_counts_enter(counts, &a));
    assert_false(address_counts_enter(counts, &a));
    address_counts_free(counts);
    address_counts_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_address_has_as_many_as_the_limit),
        cmocka_unit_test(test_which_addresses_count_together),
        cmocka_unit_test(test_nobody_is_lost_among_many),
        cmocka_unit_test(test_leaving_without_having_entered_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
