#include "buffer.h"
#include "json_variants.h"

/* jansson.h and json.h name some kinds of values alike. */
#define JSON_OBJECT  JANSSON_OBJECT
#define JSON_ARRAY   JANSSON_ARRAY
#define JSON_STRING  JANSSON_STRING
#define JSON_TRUE    JANSSON_TRUE
#define JSON_FALSE   JANSSON_FALSE
#define JSON_NULL    JANSSON_NULL
#define json_integer jansson_integer
#include <jansson.h>
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_STRING
#undef JSON_TRUE
#undef JSON_FALSE
#undef JSON_NULL
#undef json_integer

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define DEEP         JSON_DEPTH_MAX

/* The vectors of tests/vectors/json are the test_parsing files of Nicolas Seriot's JSONTestSuite. */

/* --- two implementations, and jansson, side by side -------------------------------------------- */

static size_t texts_compared;

static bool contains(const char *text, size_t len, const char *what)
{
    return memmem(text, len, what, strlen(what)) != NULL;
}

/* Where jansson refuses what RFC 8259 allows: \u0000, lone surrogates, numbers past its own types, 2,048
 * levels. */
static bool jansson_may_refuse(const char *text, size_t len, const json_error_t *error)
{
    switch (json_error_code(error)) {
    case json_error_null_character:
    case json_error_null_byte_in_key:
    case json_error_numeric_overflow:
    case json_error_stack_overflow: return true;
    default: return contains(text, len, "\\uD") || contains(text, len, "\\ud");
    }
}

/* The answers of all checkers to one text; the text is copied to a heap block of its own size. */
static bool accepted(const char *name, const char *bytes, size_t len)
{
    char *text = exact_copy(bytes, len);
    struct json_error error = {0};
    bool check = json_check(text, len, DEEP, false, &error) == JSON_OK;
    bool valid = json_valid(text, len, DEEP);
    bool portable = json_valid_portable(text, len, DEEP);
    json_error_t their_error;
    json_t *theirs = json_loadb(text, len, JSON_DECODE_ANY, &their_error);
    bool other = theirs != NULL || jansson_may_refuse(text, len, &their_error);

    if (check != valid || check != portable)
        fail_msg("%s, %zu bytes: json_check %d (%s at %zu), json_valid %d, portable %d: %.*s", name, len,
                 check, check ? "" : error.message, error.offset, valid, portable,
                 (int)(len < 200 ? len : 200), text);
    /* To jansson a NUL byte can be the end of the text. */
    if (memchr(text, '\0', len) == NULL && (check ? !other : theirs != NULL))
        fail_msg("%s, %zu bytes: json_check %d, jansson %d (%s): %.*s", name, len, check, theirs != NULL,
                 theirs == NULL ? their_error.text : "", (int)(len < 200 ? len : 200), text);
    json_decref(theirs);
    free(text);
    texts_compared++;
    return check;
}

/* Our answers to the vectors that RFC 8259 leaves to the implementation (i_*). Numbers of any size and lone
 * surrogate escapes are accepted; what is not UTF-8, UTF-16 and a byte order mark are refused. */
static const struct {
    const char *name;
    bool accepted;
} implementation_cases[] = {
    {"i_number_double_huge_neg_exp.json", true},
    {"i_number_huge_exp.json", true},
    {"i_number_neg_int_huge_exp.json", true},
    {"i_number_pos_double_huge_exp.json", true},
    {"i_number_real_neg_overflow.json", true},
    {"i_number_real_pos_overflow.json", true},
    {"i_number_real_underflow.json", true},
    {"i_number_too_big_neg_int.json", true},
    {"i_number_too_big_pos_int.json", true},
    {"i_number_very_big_negative_int.json", true},
    {"i_object_key_lone_2nd_surrogate.json", true},
    {"i_string_1st_surrogate_but_2nd_missing.json", true},
    {"i_string_1st_valid_surrogate_2nd_invalid.json", true},
    {"i_string_UTF-16LE_with_BOM.json", false},
    {"i_string_UTF-8_invalid_sequence.json", false},
    {"i_string_UTF8_surrogate_U+D800.json", false},
    {"i_string_incomplete_surrogate_and_escape_valid.json", true},
    {"i_string_incomplete_surrogate_pair.json", true},
    {"i_string_incomplete_surrogates_escape_valid.json", true},
    {"i_string_invalid_lonely_surrogate.json", true},
    {"i_string_invalid_surrogate.json", true},
    {"i_string_invalid_utf-8.json", false},
    {"i_string_inverted_surrogates_U+1D11E.json", true},
    {"i_string_iso_latin_1.json", false},
    {"i_string_lone_second_surrogate.json", true},
    {"i_string_lone_utf8_continuation_byte.json", false},
    {"i_string_not_in_unicode_range.json", false},
    {"i_string_overlong_sequence_2_bytes.json", false},
    {"i_string_overlong_sequence_6_bytes.json", false},
    {"i_string_overlong_sequence_6_bytes_null.json", false},
    {"i_string_truncated-utf-8.json", false},
    {"i_string_utf16BE_no_BOM.json", false},
    {"i_string_utf16LE_no_BOM.json", false},
    {"i_structure_500_nested_arrays.json", true},
    {"i_structure_UTF-8_BOM_empty_object.json", false},
};

static bool expected(const char *name)
{
    if (name[0] != 'i')
        return name[0] == 'y';
    for (size_t i = 0; i < COUNT(implementation_cases); i++)
        if (strcmp(implementation_cases[i].name, name) == 0)
            return implementation_cases[i].accepted;
    fail_msg("%s: not decided", name);
    return false;
}

static void read_vector(struct buffer *out, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/json/test_parsing/%s", VECTORS_DIR, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char block[4096];
    buffer_clear(out);
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;)
        buffer_append(out, block, n);
    fclose(file);
    assert_false(out->failed);
}

static void for_each_vector(void (*visit)(const char *name, char *text, size_t len))
{
    struct buffer text = {0};
    struct dirent *entry;
    unsigned files = 0;
    DIR *dir = opendir(VECTORS_DIR "/json/test_parsing");
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (strstr(entry->d_name, ".json") == NULL)
            continue;
        read_vector(&text, entry->d_name);
        visit(entry->d_name, text.len != 0 ? text.data : (char[]){0}, text.len);
        files++;
    }
    closedir(dir);
    buffer_free(&text);
    assert_int_equal(files, 318);
}

static void visit_whole(const char *name, char *text, size_t len)
{
    if (accepted(name, text, len) != expected(name))
        fail_msg("%s: %s", name, expected(name) ? "refused" : "accepted");
}

static void test_vectors(void **state)
{
    for_each_vector(visit_whole);
}

/* The two files of 100,000 brackets are looked at in a sample of places. */
static size_t stride(size_t len)
{
    return len < 2000 ? 1 : len / 20;
}

static void visit_truncated(const char *name, char *text, size_t len)
{
    for (size_t cut = 0; cut < len; cut += stride(len))
        accepted(name, text, cut);
}

static void test_vectors_truncated(void **state)
{
    texts_compared = 0;
    for_each_vector(visit_truncated);
    assert_true(texts_compared > 4000);
}

static void visit_replaced(const char *name, char *text, size_t len)
{
    static const char hostile[] = "\"\\{}[],:0-.eE+u \n\x1F\x7F\x80\xBF\xC0\xC3\xE0\xED\xF4\xFF";

    for (size_t at = 0; at < len; at += stride(len)) {
        char original = text[at];
        for (size_t i = 0; i < sizeof hostile; i++) { /* its NUL too */
            text[at] = hostile[i];
            accepted(name, text, len);
        }
        text[at] = original;
    }
}

static void test_vectors_one_byte_replaced(void **state)
{
    texts_compared = 0;
    for_each_vector(visit_replaced);
    assert_true(texts_compared > 100000);
}

/* --- blocks: each special byte at each place of a block, each length of what is scanned -------- */

static void test_string_blocks(void **state)
{
    static const struct {
        const char *part;
        bool accepted;
    } parts[] = {
        {"\\\"", true},
        {"\\\\", true},
        {"\\u00e9", true},
        {"\xC3\xA9", true},
        {"\xF0\x9F\x98\x80", true},
        {"\x7F", true},
        {"\xE2\x82\xAC\\n", true},
        {"\x1F", false},
        {"\x80", false},
        {"\xC3", false},
        {"\"", false},
        {"\\", false},
        {"\\x", false},
        {"\\u00g0", false},
        {"\xF0\x9F\x98", false},
    };
    char text[128];

    for (size_t i = 0; i < COUNT(parts); i++) {
        for (int before = 0; before < 36; before++) {
            for (int after = 0; after < 36; after += after < 3 ? 1 : 5) {
                int n = snprintf(text, sizeof text, "[\"%.*s%s%.*s\",1]", before,
                                 "abcdefghijklmnopqrstuvwxyz0123456789", parts[i].part, after,
                                 ".................................... ");
                /* a lone backslash takes the byte after it: a dot, or the quote */
                assert_int_equal(accepted(parts[i].part, text, (size_t)n), parts[i].accepted);
                n -= 3; /* the string alone, without its brackets */
                assert_int_equal(accepted(parts[i].part, text + 1, (size_t)n - 1), parts[i].accepted);
            }
        }
    }
}

static void test_number_blocks(void **state)
{
    static const struct {
        const char *number;
        bool accepted;
    } numbers[] = {
        {"0", true},
        {"-0", true},
        {"00", false},
        {"-01", false},
        {"0.5", true},
        {"00.5", false},
        {"1.", false},
        {".5", false},
        {"1.2.3", false},
        {"-", false},
        {"--1", false},
        {"1-1", false},
        {"1e5", true},
        {"1E-5", true},
        {"1e+", false},
        {"1.5e10", true},
        {"1.e5", false},
        {"1e5.5", false},
        {"123456789012345", true},
        {"1234567890123456", true},
        {"12345678901234567", true},
        {"-1234567890123456", true},
        {"123456789012345.", false},
        {"1234567890123456.", false},
        {"1234567890123456.7", true},
        {"12345678901234.5", true},
        {"123456789012345.6", true},
        {"1.23456789012345", true},
        {"1.2345678901234567890", true},
        {"1.2345678901234567890e", false},
        {"12345678901234e1", true},
        {"123456789012345e", false},
        {"0x10", false},
        {"1:", false},
        {"1/", false},
    };
    char text[96];

    for (size_t i = 0; i < COUNT(numbers); i++) {
        for (int after = 0; after < 20; after++) {
            int n = snprintf(text, sizeof text, "[%s%*s]", numbers[i].number, after, "");
            assert_int_equal(accepted(numbers[i].number, text, (size_t)n), numbers[i].accepted);
        }
        assert_int_equal(accepted(numbers[i].number, numbers[i].number, strlen(numbers[i].number)),
                         numbers[i].accepted);
    }
}

/* Every code point, and every combination of edge bytes, against the definition: decode, and compare with the
 * shortest form. */
static int encode_utf8(uint32_t code, char *out)
{
    if (code < 0x80)
        return out[0] = (char)code, 1;
    if (code < 0x800)
        return out[0] = (char)(0xC0 | code >> 6), out[1] = (char)(0x80 | (code & 63)), 2;
    if (code < 0x10000)
        return out[0] = (char)(0xE0 | code >> 12), out[1] = (char)(0x80 | (code >> 6 & 63)),
               out[2] = (char)(0x80 | (code & 63)), 3;
    return out[0] = (char)(0xF0 | code >> 18), out[1] = (char)(0x80 | (code >> 12 & 63)),
           out[2] = (char)(0x80 | (code >> 6 & 63)), out[3] = (char)(0x80 | (code & 63)), 4;
}

static bool is_utf8(const unsigned char *s, size_t len)
{
    while (len > 0) {
        uint32_t code = s[0] < 0x80 ? s[0] : s[0] < 0xE0 ? s[0] & 31 : s[0] < 0xF0 ? s[0] & 15 : s[0] & 7;
        size_t need = s[0] < 0x80   ? 1
                      : s[0] < 0xC0 ? 9
                      : s[0] < 0xE0 ? 2
                      : s[0] < 0xF0 ? 3
                      : s[0] < 0xF8 ? 4
                                    : 9;
        char shortest[4];
        if (need > len)
            return false;
        for (size_t i = 1; i < need; i++)
            code = code << 6 | (s[i] & 63);
        if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
            return false;
        if ((size_t)encode_utf8(code, shortest) != need || memcmp(shortest, s, need) != 0)
            return false;
        s += need;
        len -= need;
    }
    return true;
}

static void test_utf8_code_points(void **state)
{
    char text[8] = "\"";
    for (uint32_t code = 0x80; code < 0x120000; code++) {
        int n = encode_utf8(code, text + 1);
        text[1 + n] = '"';
        bool good = code < 0x110000 && (code < 0xD800 || code >= 0xE000);
        if (json_valid(text, (size_t)n + 2, 0) != good ||
            (json_check(text, (size_t)n + 2, 0, false, NULL) == 0) != good)
            fail_msg("U+%04X", (unsigned)code);
    }
}

static void test_utf8_edges(void **state)
{
    static const unsigned char edges[] = {0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF,
                                          0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xEC, 0xED, 0xEE,
                                          0xEF, 0xF0, 0xF3, 0xF4, 0xF5, 0xF8, 0xFF};
    char text[] = "\"????\"";
    for (unsigned i = 0; i < COUNT(edges) * COUNT(edges) * COUNT(edges) * COUNT(edges); i++) {
        for (unsigned k = 0, rest = i; k < 4; k++, rest /= COUNT(edges))
            text[1 + k] = (char)edges[rest % COUNT(edges)];
        bool good = is_utf8((const unsigned char *)text + 1, 4);
        if (json_valid(text, 6, 0) != good || (json_check(text, 6, 0, false, NULL) == JSON_OK) != good)
            fail_msg("%02x %02x %02x %02x", text[1] & 255, text[2] & 255, text[3] & 255, text[4] & 255);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_vectors_truncated),
        cmocka_unit_test(test_vectors_one_byte_replaced),
        cmocka_unit_test(test_string_blocks),
        cmocka_unit_test(test_number_blocks),
        cmocka_unit_test(test_utf8_code_points),
        cmocka_unit_test(test_utf8_edges),
    };
    return cmocka_run_group_tests_name("json_vectors", tests, NULL, NULL);
}
