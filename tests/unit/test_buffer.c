#include "buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void assert_text(struct buffer *b, const char *expected)
{
    assert_string_equal(buffer_terminate(b), expected);
    assert_int_equal(b->len, strlen(expected));
}

static void appends_in_order(void **state)
{
    struct buffer b = {0};
    buffer_append(&b, "ab-", 2);
    buffer_append_char(&b, 'c');
    buffer_append_text(&b, "de");
    buffer_printf(&b, "%d%s", 42, "!");
    assert_text(&b, "abcde42!");
    buffer_free(&b);
}

static void grows_past_any_first_size(void **state)
{
    struct buffer b = {0};
    for (int i = 0; i < 100000; i++)
        buffer_append_char(&b, (char)('a' + i % 26));
    assert_int_equal(b.len, 100000);
    assert_true(b.cap >= b.len);
    for (int i = 0; i < 100000; i += 999)
        assert_int_equal(b.data[i], 'a' + i % 26);
    buffer_free(&b);
}

static void escapes_json_strings(void **state)
{
    static const struct {
        const char *rule, *text, *json;
        size_t len;
    } cases[] = {
        {"an empty string", "", "\"\"", 0},
        {"plain text as it is", "abc", "\"abc\"", 3},
        {"a quote and a backslash", "a\"b\\c", "\"a\\\"b\\\\c\"", 5},
        {"control characters as \\u00xx", "\n\t\x1f", "\"\\u000a\\u0009\\u001f\"", 3},
        {"a NUL inside", "a\0b", "\"a\\u0000b\"", 3},
        {"UTF-8 and DEL as they are", "\xc3\xa9\x7f", "\"\xc3\xa9\x7f\"", 3},
        {"an escape at both ends", "\"x\"", "\"\\\"x\\\"\"", 3},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer b = {0};
        print_message("# %s\n", cases[i].rule);
        buffer_append_json_string(&b, cases[i].text, cases[i].len);
        assert_text(&b, cases[i].json);
        buffer_free(&b);
    }
}

static void an_impossible_size_fails_and_stays_failed(void **state)
{
    struct buffer b = {0};
    buffer_append_text(&b, "abc");
    assert_int_not_equal(buffer_reserve(&b, SIZE_MAX / 2), 0);
    assert_true(b.failed);
    assert_null(b.data);
    buffer_append_text(&b, "abc");
    buffer_printf(&b, "%d", 1);
    assert_int_equal(b.len, 0);
    assert_null(buffer_terminate(&b));
    assert_null(buffer_take(&b, NULL));
    buffer_free(&b);
    assert_false(b.failed);
}

static void take_hands_the_bytes_over(void **state)
{
    struct buffer b = {0};
    size_t len = 0;
    buffer_append_text(&b, "abc");
    char *text = buffer_take(&b, &len);
    assert_string_equal(text, "abc");
    assert_int_equal(len, 3);
    assert_null(b.data);
    assert_int_equal(b.len, 0);
    free(text);
    text = buffer_take(&b, NULL);
    assert_string_equal(text, "");
    free(text);
}

static void clear_keeps_the_memory(void **state)
{
    struct buffer b = {0};
    buffer_append_text(&b, "abc");
    size_t cap = b.cap;
    buffer_clear(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.cap, cap);
    buffer_append_text(&b, "x");
    assert_text(&b, "x");
    buffer_free(&b);
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_in_order),
        cmocka_unit_test(grows_past_any_first_size),
        cmocka_unit_test(escapes_json_strings),
        cmocka_unit_test(an_impossible_size_fails_and_stays_failed),
        cmocka_unit_test(take_hands_the_bytes_over),
        cmocka_unit_test(clear_keeps_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
