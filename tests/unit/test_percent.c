#include "percent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define ID_128 /* 128 bytes */                                                                               \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"                                       \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void encodes(void **state)
{
    static const struct {
        const char *rule, *text, *expected;
    } cases[] = {
        {"nothing", "", ""},
        {"unreserved bytes as they are", "azAZ09-._~", "azAZ09-._~"},
        {"reserved ones escaped",
         "/?#[]@!$&'()*+,;=:", "%2F%3F%23%5B%5D%40%21%24%26%27%28%29%2A%2B%2C%3B%3D%3A"},
        {"a percent sign and a space", "100 %", "100%20%25"},
        {"every byte of UTF-8, in upper case", "\xc3\xa9", "%C3%A9"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer b = {0};
        print_message("# %s\n", cases[i].rule);
        percent_encode(&b, cases[i].text, strlen(cases[i].text));
        assert_string_equal(buffer_terminate(&b), cases[i].expected);
        buffer_free(&b);
    }
}

static void decodes(void **state)
{
    static const struct {
        const char *rule, *text, *expected; /* NULL: refused */
    } cases[] = {
        {"nothing", "", ""},
        {"escapes in either case", "%2F%2f%C3%a9", "//\xc3\xa9"},
        {"a plus is a plus", "a+b", "a+b"},
        {"once, not twice", "%2541", "%41"},
        {"an escape cut short", "a%", NULL},
        {"an escape cut after one digit", "a%4", NULL},
        {"no hex", "%4g", NULL},
        {"no hex in the first digit", "%+4", NULL},
        {"a NUL", "a%00b", NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[64];
        print_message("# %s\n", cases[i].rule);
        long len = percent_decode(cases[i].text, strlen(cases[i].text), out);
        if (cases[i].expected == NULL) {
            assert_int_equal(len, -1);
        } else {
            assert_int_equal(len, strlen(cases[i].expected));
            assert_string_equal(out, cases[i].expected);
        }
    }
}

static void decoding_never_reads_past_the_end(void **state)
{
    char out[8];
    assert_int_equal(percent_decode("%41", 2, out), -1);
    assert_int_equal(percent_decode("ab%41", 2, out), 2);
    assert_string_equal(out, "ab");
}

static void knows_device_ids(void **state)
{
    static const struct {
        const char *rule, *segment, *id; /* NULL: refused */
    } cases[] = {
        {"plain", "d1", "d1"},
        {"the whole alphabet, escaped where a URL needs it", "A-Z.a_z~0:9*!(),=@;$'+%25%3F%23",
         "A-Z.a_z~0:9*!(),=@;$'+%?#"},
        {"128 characters", ID_128, ID_128},
        {"129 characters", ID_128 "x", NULL},
        {"one character, escaped", "%41", "A"},
        {"empty", "", NULL},
        {"a dot", ".", NULL},
        {"two dots", "..", NULL},
        {"an escaped dot", "%2e", NULL},
        {"two escaped dots", "%2E%2e", NULL},
        {"three dots", "...", "..."},
        {"a dot and more", ".a", ".a"},
        {"an escaped slash", "a%2Fb", NULL},
        {"a space", "a%20b", NULL},
        {"a backslash", "a%5Cb", NULL},
        {"an ampersand", "a&b", NULL},
        {"a quote", "a\"b", NULL},
        {"UTF-8", "%C3%A9", NULL},
        {"a NUL", "a%00", NULL},
        {"DEL", "a%7F", NULL},
        {"a bare percent sign", "50%", NULL},
        {"a malformed escape", "%zz", NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[DEVICE_ID_MAX + 1] = "untouched";
        print_message("# %s\n", cases[i].rule);
        bool good = device_id_from_segment(cases[i].segment, strlen(cases[i].segment), out);
        assert_int_equal(good, cases[i].id != NULL);
        assert_string_equal(out, good ? cases[i].id : "untouched");
    }
}

static void a_segment_of_128_escapes_fits(void **state)
{
    char segment[3 * DEVICE_ID_MAX + 4];
    char out[DEVICE_ID_MAX + 1] = "";
    for (size_t i = 0; i <= DEVICE_ID_MAX; i++)
        memcpy(segment + 3 * i, "%41", 3);
    assert_true(device_id_from_segment(segment, (size_t)3 * DEVICE_ID_MAX, out));
    assert_int_equal(strlen(out), DEVICE_ID_MAX);
    assert_false(device_id_from_segment(segment, (size_t)3 * DEVICE_ID_MAX + 3, out));
}

static void makes_item_ids(void **state)
{
    static const struct {
        const char *rule, *device_id, *timestamp, *expected;
    } cases[] = {
        {"plain", "d1", "2026-11-23T07:00:00Z", "d1-2026-11-23T07:00:00Z"},
        {"what Cosmos forbids is escaped", "a/b\\c%d?e#f", "t", "a%2Fb%5Cc%25d%3Fe%23f-t"},
        {"the rest is not", "a b+~\xc3\xa9", "x+02:00", "a b+~\xc3\xa9-x+02:00"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer b = {0};
        print_message("# %s\n", cases[i].rule);
        item_id_append(&b, cases[i].device_id, cases[i].timestamp);
        assert_string_equal(buffer_terminate(&b), cases[i].expected);
        buffer_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes),
        cmocka_unit_test(decodes),
        cmocka_unit_test(decoding_never_reads_past_the_end),
        cmocka_unit_test(knows_device_ids),
        cmocka_unit_test(a_segment_of_128_escapes_fits),
        cmocka_unit_test(makes_item_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
