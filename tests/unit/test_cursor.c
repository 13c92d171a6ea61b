/* Cursors: what was written is read back, for the same list only; everything else is refused. */
#include "cursor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *written(const struct cursor *cursor)
{
    struct buffer out = {0};
    assert_int_equal(cursor_write(&out, cursor), 0);
    return buffer_take(&out, NULL);
}

static void a_cursor_comes_back_as_it_was(void **state)
{
    static const char *const positions[] = {
        "1", "1795417200.17", "{\"token\":\"+RID:a==#RT:1\",\"range\":{\"min\":\"\"}}", "a.b.c", "~"};
    (void)state;
    for (size_t i = 0; i < sizeof positions / sizeof *positions; i++) {
        const struct cursor cursor = {0xfedcba9876543210u, 1795330800, 1795417200, positions[i]};
        char *text = written(&cursor);
        char *scratch = malloc(strlen(text) + 1);
        struct cursor back;
        assert_int_equal(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
                         strlen(text));
        assert_true(cursor_read(text, cursor.fingerprint, scratch, &back));
        assert_int_equal(back.after, cursor.after);
        assert_int_equal(back.until, cursor.until);
        assert_string_equal(back.position, positions[i]);
        assert_false(cursor_read(text, cursor.fingerprint ^ 1, scratch, &back));
        free(scratch);
        free(text);
    }
}

static void damaged_cursors_are_refused(void **state)
{
    const struct cursor cursor = {0x0123456789abcdefu, 100, 200, "17.4"};
    char *text = written(&cursor);
    size_t len = strlen(text);
    char *copy = malloc(len + 2), *scratch = malloc(len + 2);
    struct cursor back;

    (void)state;
    for (size_t cut = 0; cut + 8 < len;
         cut++) { /* without its last bytes it may be a cursor to another position */
        memcpy(copy, text, cut);
        copy[cut] = '\0';
        assert_false(cursor_read(copy, cursor.fingerprint, scratch, &back));
    }
    for (size_t at = 0; at < 24; at++) { /* in the version and the fingerprint every bit counts */
        memcpy(copy, text, len + 1);
        copy[at] = copy[at] == 'A' ? 'B' : 'A';
        assert_false(cursor_read(copy, cursor.fingerprint, scratch, &back));
    }
    free(copy);
    free(scratch);
    free(text);
}

static void texts_that_are_no_cursor(void **state)
{
    static const char *const texts[] = {"A", "AA", "AAAA", "!!!!", "MS4", "nextLink", "eyJhbGciOiJub25lIn0"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char scratch[64];
        struct cursor back;
        assert_false(cursor_read(texts[i], 1, scratch, &back));
    }
}

static void a_position_too_long_is_not_handed_out(void **state)
{
    char *position = calloc(1, CURSOR_MAX + 1);
    struct buffer out = {0};
    (void)state;
    memset(position, 'x', CURSOR_MAX);
    assert_true(cursor_write(&out, &(struct cursor){.fingerprint = 1, .position = position}) < 0);
    buffer_free(&out);
    free(position);
}

static void each_part_changes_the_fingerprint(void **state)
{
    (void)state;
    assert_true(cursor_fingerprint(0, "a") == cursor_fingerprint(0, "a"));
    assert_true(cursor_fingerprint(0, "a") != cursor_fingerprint(0, "b"));
    assert_true(cursor_fingerprint(0, NULL) != cursor_fingerprint(0, ""));
    assert_true(cursor_fingerprint(cursor_fingerprint(0, "ab"), "c") !=
                cursor_fingerprint(cursor_fingerprint(0, "a"), "bc"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cursor_comes_back_as_it_was),
        cmocka_unit_test(damaged_cursors_are_refused),
        cmocka_unit_test(texts_that_are_no_cursor),
        cmocka_unit_test(a_position_too_long_is_not_handed_out),
        cmocka_unit_test(each_part_changes_the_fingerprint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
