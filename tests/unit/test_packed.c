#include "packed.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void numbers_come_back(void **state)
{
    static const uint64_t numbers[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, INT64_MAX - 1, INT64_MAX};
    struct buffer bytes = {0}, text = {0};
    for (size_t i = 0; i < COUNT(numbers); i++) {
        packed_put_varint(&bytes, numbers[i]);
        packed_put_word(&bytes, (uint32_t)numbers[i]);
    }
    assert_int_equal(packed_append_text(&text, &bytes), 0);
    unsigned char decoded[PACKED_SIZE(1000)];
    struct packed in = packed_read_text(buffer_terminate(&text), 1000, decoded);
    for (size_t i = 0; i < COUNT(numbers); i++) {
        assert_false(packed_ends(&in));
        assert_true(packed_varint(&in, INT64_MAX) == numbers[i]);
        assert_int_equal(packed_word(&in), (uint32_t)numbers[i]);
    }
    assert_true(packed_ends(&in));
    assert_int_equal(packed_byte(&in), 0);
    assert_false(packed_ends(&in));
    buffer_free(&bytes);
    buffer_free(&text);
}

static void a_number_has_one_text(void **state)
{
    static const struct {
        const char *rule;
        unsigned char bytes[12];
        size_t len;
        uint64_t max;
        bool good;
    } cases[] = {
        {"as it should be", {0x80, 0x01}, 2, 128, true},
        {"larger than what is wanted", {0x80, 0x01}, 2, 127, false},
        {"a zero in front", {0x81, 0x00}, 2, INT64_MAX, false},
        {"cut off", {0x80}, 1, INT64_MAX, false},
        {"nothing", {0}, 0, INT64_MAX, false},
        {"zero", {0}, 1, 0, true},
        {"63 bits", {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 9, INT64_MAX, true},
        {"64 bits", {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 10, UINT64_MAX, false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct packed in = {.at = cases[i].bytes, .end = cases[i].bytes + cases[i].len};
        uint64_t value = packed_varint(&in, cases[i].max);
        print_message("%s\n", cases[i].rule);
        assert_int_equal(packed_ends(&in), cases[i].good);
        assert_true(cases[i].good || value == 0);
    }
}

static void a_text_is_base64url_of_at_most_its_size(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {{"AQID", true},  {"AQIDBAUG", true}, {"AQIDBAUGBw", false}, {"AQ==", false},
                 {"A Q", false},  {"A", false},       {"AR", false},         {"", true},
                 {"+/+/", false}, {"-_-_", true}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        unsigned char bytes[PACKED_SIZE(8)];
        struct packed in = packed_read_text(cases[i].text, 8, bytes);
        print_message("%s\n", cases[i].text);
        assert_int_equal(!in.failed, cases[i].good);
        packed_byte(&in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back),
        cmocka_unit_test(a_number_has_one_text),
        cmocka_unit_test(a_text_is_base64url_of_at_most_its_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
