#include "time_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define REFUSED    INT64_MIN
#define S(seconds) (INT64_C(seconds) * 1000000)
#define NOW        (S(1795417200) + 250000) /* 2026-11-23T07:00:00.25Z */
#define LAST       S(253402300799)          /* 9999-12-31T23:59:59Z */

struct text_case {
    const char *rule, *text;
    int64_t us;
};

static void reads_rfc3339(void **state)
{
    static const struct text_case cases[] = {
        {"the epoch", "1970-01-01T00:00:00Z", 0},
        {"UTC", "2026-11-23T07:00:00Z", S(1795417200)},
        {"lower case t and z", "2026-11-23t07:00:00z", S(1795417200)},
        {"before 1970", "1969-12-31T23:59:59.5Z", -500000},
        {"the first year", "0001-01-01T00:00:00Z", S(-62135596800)},
        {"the last second", "9999-12-31T23:59:59Z", LAST},
        {"east of UTC", "2026-11-23T09:30:00+02:30", S(1795417200)},
        {"west of UTC", "2026-11-22T23:00:00-08:00", S(1795417200)},
        {"east over a day's border", "2026-01-01T00:30:00+01:00", S(1767223800)},
        {"west over a year's border", "2025-12-31T23:30:00-01:00", S(1767227400)},
        {"-00:00", "2026-11-23T07:00:00-00:00", S(1795417200)},
        {"the largest offset", "1970-01-01T23:59:00+23:59", 0},
        {"one fraction digit", "1970-01-01T00:00:00.1Z", 100000},
        {"six fraction digits", "1970-01-01T00:00:00.123456Z", 123456},
        {"more are cut, not rounded", "1970-01-01T00:00:00.12345699999999999999999999Z", 123456},
        {"a leap day", "2024-02-29T00:00:00Z", S(1709164800)},
        {"a leap day of a fourth century", "2000-02-29T12:00:00Z", S(951825600)},
        {"a leap second in December", "2016-12-31T23:59:60Z", S(1483228800)},
        {"a leap second in June", "2015-06-30T23:59:60.5Z", S(1435708800) + 500000},
        {"a leap second elsewhere on earth", "1990-12-31T15:59:60-08:00", S(662688000)},
        {"no leap second in March", "2016-03-31T23:59:60Z", REFUSED},
        {"no leap second at noon", "2016-12-31T12:00:60Z", REFUSED},
        {"no leap second at local midnight", "2016-12-31T23:59:60+01:00", REFUSED},
        {"second 61", "2016-12-31T23:59:61Z", REFUSED},
        {"29 February of a common year", "2026-02-29T00:00:00Z", REFUSED},
        {"29 February of a common century", "1900-02-29T00:00:00Z", REFUSED},
        {"31 April", "2026-04-31T00:00:00Z", REFUSED},
        {"day 0", "2026-04-00T00:00:00Z", REFUSED},
        {"month 0", "2026-00-01T00:00:00Z", REFUSED},
        {"month 13", "2026-13-01T00:00:00Z", REFUSED},
        {"year 0", "0000-01-01T00:00:00Z", REFUSED},
        {"hour 24", "2026-01-01T24:00:00Z", REFUSED},
        {"minute 60", "2026-01-01T00:60:00Z", REFUSED},
        {"offset hour 24", "2026-01-01T00:00:00+24:00", REFUSED},
        {"offset minute 60", "2026-01-01T00:00:00+01:60", REFUSED},
        {"no offset", "2026-11-23T07:00:00", REFUSED},
        {"an offset without a colon", "2026-11-23T07:00:00+0100", REFUSED},
        {"an offset without minutes", "2026-11-23T07:00:00+01", REFUSED},
        {"a space for T", "2026-11-23 07:00:00Z", REFUSED},
        {"a space for the plus", "2026-11-23T07:00:00 02:00", REFUSED},
        {"no seconds", "2026-11-23T07:00Z", REFUSED},
        {"a date alone", "2026-11-23", REFUSED},
        {"a fraction without digits", "2026-11-23T07:00:00.Z", REFUSED},
        {"a comma", "2026-11-23T07:00:00,5Z", REFUSED},
        {"text after the end", "2026-11-23T07:00:00Zz", REFUSED},
        {"a space before", " 2026-11-23T07:00:00Z", REFUSED},
        {"a short year", "226-11-23T07:00:00Z", REFUSED},
        {"a long year", "12026-11-23T07:00:00Z", REFUSED},
        {"a sign in a number", "2026-+1-23T07:00:00Z", REFUSED},
        {"nothing", "", REFUSED},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t us = REFUSED;
        print_message("# %s\n", cases[i].rule);
        assert_int_equal(time_parse_rfc3339(cases[i].text, strlen(cases[i].text), &us),
                         cases[i].us != REFUSED);
        assert_int_equal(us, cases[i].us);
    }
}

static void reads_only_len_bytes(void **state)
{
    static const char text[] = "2026-11-23T07:00:00Z+";
    int64_t us = 0;
    assert_true(time_parse_rfc3339(text, sizeof text - 2, &us));
    for (size_t len = 0; len < sizeof text - 2; len++) {
        char *cut = malloc(len > 0 ? len : 1); /* so that a byte too far is seen by the sanitizer */
        assert_non_null(cut);
        memcpy(cut, text, len);
        assert_false(time_parse_rfc3339(cut, len, &us));
        free(cut);
    }
}

static void reads_points(void **state)
{
    static const struct text_case cases[] = {
        {"RFC 3339", "2026-11-23T07:00:00Z", S(1795417200)},
        {"now", "now", NOW},
        {"seconds back", "now-90s", NOW - S(90)},
        {"minutes back", "now-5m", NOW - S(300)},
        {"hours back", "now-6h", NOW - S(6 * 3600)},
        {"days back", "now-7d", NOW - S(7 * 86400)},
        {"weeks back", "now-2w", NOW - S(14 * 86400)},
        {"nothing back", "now-0s", NOW},
        {"epoch 0", "0", 0},
        {"epoch seconds", "1795417200", S(1795417200)},
        {"the largest number of seconds", "99999999999", S(99999999999)},
        {"the smallest number of milliseconds", "100000000000", S(100000000)},
        {"epoch milliseconds", "1795417200123", S(1795417200) + 123000},
        {"the last millisecond", "253402300799999", LAST + 999000},
        {"a millisecond past 9999", "253402300800000", REFUSED},
        {"too large for 64 bits", "18446744073709551616", REFUSED},
        {"microseconds past 64 bits", "9300000000000000", REFUSED},
        {"before 1970", "1969-12-31T23:59:59Z", REFUSED},
        {"before 1970 by an offset", "1970-01-01T00:00:00+01:00", REFUSED},
        {"past 9999 by an offset", "9999-12-31T23:59:59-01:00", REFUSED},
        {"back before 1970", "now-100000d", REFUSED},
        {"back past 64 bits", "now-99999999999999999999s", REFUSED},
        {"back by a product past 64 bits", "now-18446744073709551615w", REFUSED},
        {"back by microseconds past 64 bits", "now-9300000000000000s", REFUSED},
        {"a negative number", "-5", REFUSED},
        {"a sign", "+5", REFUSED},
        {"a fraction of a second", "1795417200.5", REFUSED},
        {"an exponent", "1e9", REFUSED},
        {"hex", "0x10", REFUSED},
        {"forward", "now+6h", REFUSED},
        {"no number", "now-h", REFUSED},
        {"no unit", "now-6", REFUSED},
        {"an unknown unit", "now-6y", REFUSED},
        {"milliseconds back", "now-6ms", REFUSED},
        {"a fraction back", "now-1.5h", REFUSED},
        {"a sign in it", "now--6h", REFUSED},
        {"two steps", "now-1h30m", REFUSED},
        {"upper case", "NOW", REFUSED},
        {"a longer word", "nowadays", REFUSED},
        {"a space", "now ", REFUSED},
        {"nothing", "", REFUSED},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t us = REFUSED;
        print_message("# %s\n", cases[i].rule);
        assert_int_equal(time_parse_point(cases[i].text, strlen(cases[i].text), NOW, &us),
                         cases[i].us != REFUSED);
        assert_int_equal(us, cases[i].us);
    }
}

static void reads_durations(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms; /* 0: refused, but for "0s" */
    } cases[] = {
        {"100ms", 100},
        {"10s", 10000},
        {"5m", 300000},
        {"2h", 7200000},
        {"7d", 604800000},
        {"0s", 0},
        {"007s", 7000},
        {"18446744073709551615ms", UINT64_MAX},
        {"", 0},
        {"10", 0},
        {"s", 0},
        {"-1s", 0},
        {"+1s", 0},
        {"1.5s", 0},
        {" 1s", 0},
        {"1s ", 0},
        {"1 s", 0},
        {"1w", 0},
        {"1S", 0},
        {"1sm", 0},
        {"18446744073709551616ms", 0},
        {"18446744073709552s", 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t ms = 12345;
        bool good = cases[i].ms != 0 || strcmp(cases[i].text, "0s") == 0;
        print_message("# '%s'\n", cases[i].text);
        assert_int_equal(time_parse_duration_ms(cases[i].text, &ms), good);
        assert_true(ms == (good ? cases[i].ms : 12345));
    }
}

static void writes_times(void **state)
{
    static const struct {
        int64_t seconds;
        const char *rfc3339, *rfc1123;
    } cases[] = {
        {0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"},
        {1493254272, "2017-04-27T00:51:12Z", "Thu, 27 Apr 2017 00:51:12 GMT"},
        {1795417200, "2026-11-23T07:00:00Z", "Mon, 23 Nov 2026 07:00:00 GMT"},
        {951782399, "2000-02-28T23:59:59Z", "Mon, 28 Feb 2000 23:59:59 GMT"},
        {951782400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 GMT"},
        {951868800, "2000-03-01T00:00:00Z", "Wed, 01 Mar 2000 00:00:00 GMT"},
        {-1, "1969-12-31T23:59:59Z", "Wed, 31 Dec 1969 23:59:59 GMT"},
        {253402300799, "9999-12-31T23:59:59Z", "Fri, 31 Dec 9999 23:59:59 GMT"},
        {INT64_MAX, "9999-12-31T23:59:59Z", "Fri, 31 Dec 9999 23:59:59 GMT"},
        {INT64_MIN, "0001-01-01T00:00:00Z", "Mon, 01 Jan 0001 00:00:00 GMT"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[TIME_RFC3339_SIZE];
        print_message("# %s\n", cases[i].rfc3339);
        assert_int_equal(time_format_rfc3339(cases[i].seconds, out), strlen(cases[i].rfc3339));
        assert_string_equal(out, cases[i].rfc3339);
        assert_int_equal(time_format_rfc1123(cases[i].seconds, out), strlen(cases[i].rfc1123));
        assert_string_equal(out, cases[i].rfc1123);
    }
}

static void writes_microseconds(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {S(1795417200) + 123456, "2026-11-23T07:00:00.123456Z"},
        {S(1795417200) + 7, "2026-11-23T07:00:00.000007Z"},
        {-1, "1969-12-31T23:59:59.999999Z"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[TIME_RFC3339_SIZE];
        assert_int_equal(time_format_rfc3339_us(cases[i].us, out), strlen(cases[i].text));
        assert_string_equal(out, cases[i].text);
    }
}

/* About once a week over all years, at ever other times of day. */
static void reads_what_it_writes(void **state)
{
    for (int64_t s = S(-62135596800) / 1000000; s <= 253402300799; s += 86399 * 7) {
        char out[TIME_RFC3339_SIZE];
        int64_t us = 0;
        size_t len = time_format_rfc3339(s, out);
        assert_true(time_parse_rfc3339(out, len, &us));
        assert_int_equal(us, s * 1000000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_rfc3339),        cmocka_unit_test(reads_only_len_bytes),
        cmocka_unit_test(reads_points),         cmocka_unit_test(reads_durations),
        cmocka_unit_test(writes_times),         cmocka_unit_test(writes_microseconds),
        cmocka_unit_test(reads_what_it_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
