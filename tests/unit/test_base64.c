#include "base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct {
    const char *text, *bytes;
    long len;
} pairs[] = {
    /* RFC 4648 section 10, without padding */
    {"", "", 0},
    {"Zg", "f", 1},
    {"Zm8", "fo", 2},
    {"Zm9v", "foo", 3},
    {"Zm9vYg", "foob", 4},
    {"Zm9vYmE", "fooba", 5},
    {"Zm9vYmFy", "foobar", 6},
    {"-_8", "\xfb\xff", 2},
    {"AA", "\0", 1},
    {"____", "\xff\xff\xff", 3},
};

static const struct {
    const char *rule, *text;
} refused[] = {
    {"one character is no byte", "Z"},
    {"five characters are no bytes", "Zm9vY"},
    {"six bits of nothing are no byte", "A"},
    {"four characters and six bits of nothing", "AAAAA"},
    {"padding", "Zg=="},
    {"padding in place of a character", "Zm9="},
    {"bits behind one byte", "Zh"},
    {"the last of them", "Zv"},
    {"bits behind two bytes", "Zm9"},
    {"base64's plus", "+_8A"},
    {"base64's slash", "-/8A"},
    {"a blank", "Zm 9v"},
    {"a blank after it", "Zm9v "},
    {"a line break", "Zm9v\nZm9v"},
    {"a dot", "Zm9v.m9v"},
    {"a byte past ASCII", "Zm9\xE9"},
};

/* In heap blocks of their own size, so that the sanitizer sees a byte too far. */
static long decode(const char *text, size_t len, unsigned char **ret_out)
{
    char *copy = malloc(len + 1);
    *ret_out = malloc(BASE64URL_DECODED_SIZE(len));
    assert_non_null(copy);
    assert_non_null(*ret_out);
    memmove(copy + 1, text, len);
    long decoded = base64url_decode(copy + 1, len, *ret_out);
    free(copy);
    return decoded;
}

static void test_pairs(void **state)
{
    for (size_t i = 0; i < COUNT(pairs); i++) {
        unsigned char *out;
        char text[32];
        long len = decode(pairs[i].text, strlen(pairs[i].text), &out);
        assert_int_equal(len, pairs[i].len);
        assert_memory_equal(out, pairs[i].bytes, (size_t)len);
        free(out);
        size_t written = base64url_encode((const unsigned char *)pairs[i].bytes, (size_t)pairs[i].len, text);
        assert_int_equal(written, strlen(pairs[i].text));
        assert_string_equal(text, pairs[i].text);
    }
}

static void test_refused(void **state)
{
    for (size_t i = 0; i < COUNT(refused); i++) {
        unsigned char *out;
        if (decode(refused[i].text, strlen(refused[i].text), &out) != -1)
            fail_msg("%s", refused[i].rule);
        free(out);
    }
    unsigned char *out;
    assert_int_equal(decode("Zm\0v", 4, &out), -1);
    free(out);
}

/* Of all texts of two characters exactly the 256 that a byte has are taken, and each comes back. */
static void test_one_text_for_one_byte(void **state)
{
    unsigned taken = 0;

    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b++) {
            char text[2] = {(char)a, (char)b}, again[8];
            unsigned char byte[BASE64URL_DECODED_SIZE(2)];
            if (base64url_decode(text, 2, byte) != 1)
                continue;
            taken++;
            assert_int_equal(base64url_encode(byte, 1, again), 2);
            assert_memory_equal(again, text, 2);
        }
    }
    assert_int_equal(taken, 256);
}

static void test_sizes(void **state)
{
    unsigned char bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 37);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        char *text = malloc(BASE64URL_ENCODED_SIZE(len));
        unsigned char *out;
        assert_non_null(text);
        size_t written = base64url_encode(bytes, len, text);
        assert_int_equal(written + 1, BASE64URL_ENCODED_SIZE(len));
        assert_int_equal(decode(text, written, &out), len);
        assert_memory_equal(out, bytes, len);
        free(out);
        free(text);
    }
}

static void decodes_base64(void **state)
{
    static const struct {
        const char *rule, *text, *bytes; /* NULL: refused */
        long len;
    } cases[] = {
        {"nothing", "", "", 0},
        {"RFC 4648, 10", "Zg==", "f", 1},
        {"one padding character", "Zm8=", "fo", 2},
        {"none", "Zm9v", "foo", 3},
        {"several groups", "Zm9vYmFy", "foobar", 6},
        {"plus and slash", "+/+/", "\xfb\xff\xbf", 3},
        {"a NUL byte", "AAAA", "\0\0\0", 3},
        {"no padding", "Zg", NULL, -1},
        {"too much padding", "Zg===", NULL, -1},
        {"padding inside", "Zg==Zg==", NULL, -1},
        {"padding alone", "====", NULL, -1},
        {"bits left over", "Zh==", NULL, -1},
        {"bits left over with one padding character", "Zm9=", NULL, -1},
        {"the URL's alphabet", "-_-_", NULL, -1},
        {"white space", "Zm 9v", NULL, -1},
        {"a line end", "Zm9v\n", NULL, -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        unsigned char out[16];
        print_message("# %s\n", cases[i].rule);
        assert_int_equal(base64_decode(cases[i].text, strlen(cases[i].text), out, sizeof out), cases[i].len);
        if (cases[i].len > 0)
            assert_memory_equal(out, cases[i].bytes, (size_t)cases[i].len);
    }
}

static void base64_keeps_to_its_room(void **state)
{
    unsigned char out[4] = {0, 0, 0, 0x5a};
    assert_int_equal(base64_decode("Zm9v", 4, out, 3), 3);
    assert_int_equal(out[3], 0x5a);
    assert_int_equal(base64_decode("Zm9v", 4, out, 2), -1);
    assert_int_equal(base64_decode("Zm8=", 4, out, 2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_base64),
        cmocka_unit_test(base64_keeps_to_its_room),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_one_text_for_one_byte),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
