#include "buffer.h"
#include "json_variants.h"

#include <stdlib.h>

/* json_check() and its table of names, built here with allocations that fail when a test says so. (The linker
 * then takes nothing of the library's copies.) */
static int allocations_left = -1; /* -1: all of them work */

static void *test_calloc(size_t count, size_t size)
{
    if (allocations_left == 0)
        return NULL;
    if (allocations_left > 0)
        allocations_left--;
    return calloc(count, size);
}

#define malloc(size)        test_calloc(1, size)
#define calloc(count, size) test_calloc(count, size)
#include "../../base/json_check.c"
#include "../../base/json_names.c"
#undef malloc
#undef calloc

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define DEEP         JSON_DEPTH_MAX

/* --- faults ------------------------------------------------------------------------------------ */

struct fault_case {
    const char *rule;
    const char *text;
    unsigned max_depth;
    bool unique;
    enum json_fault fault;
    size_t offset;
    unsigned line, column;
};

static const struct fault_case fault_cases[] = {
    {"empty text is a fault at 1:1", "", 32, true, JSON_SYNTAX, 0, 1, 1},
    {"white space alone ends too early", " \n ", 32, true, JSON_SYNTAX, 3, 2, 2},
    {"scalar at depth 0", "true", 0, true, JSON_OK, 0, 0, 0},
    {"string at depth 0", " \"a\" ", 0, true, JSON_OK, 0, 0, 0},
    {"number at depth 0", "-0", 0, true, JSON_OK, 0, 0, 0},
    {"[] is depth 1", "[]", 0, true, JSON_TOO_DEEP, 0, 1, 1},
    {"{} is depth 1", "{}", 1, true, JSON_OK, 0, 0, 0},
    {"depth counts what is open", "[[],{},[[]]]", 2, true, JSON_TOO_DEEP, 8, 1, 9},
    {"siblings are no depth", "[[],{},[]]", 2, true, JSON_OK, 0, 0, 0},
    {"offset of what is wrong", "{\"a\":tru}", 32, true, JSON_SYNTAX, 5, 1, 6},
    {"line and column from 1", "{\n  \"a\": 1,\n  \"b\" 2\n}", 32, true, JSON_SYNTAX, 18, 3, 7},
    {"CRLF is one line end", "[1,\r\n 2,\r\n x]", 32, true, JSON_SYNTAX, 11, 3, 2},
    {"column in bytes", "[\"\xC3\xA9\" 1]", 32, true, JSON_SYNTAX, 6, 1, 7},
    {"comma before the end", "[1,]", 32, true, JSON_SYNTAX, 3, 1, 4},
    {"comma after the last member", "{\"a\":1,}", 32, true, JSON_SYNTAX, 7, 1, 8},
    {"no comma", "[1 2]", 32, true, JSON_SYNTAX, 3, 1, 4},
    {"wrong closing bracket", "[1}", 32, true, JSON_SYNTAX, 2, 1, 3},
    {"wrong closing brace", "{\"a\":1]", 32, true, JSON_SYNTAX, 6, 1, 7},
    {"name without quotes", "{a:1}", 32, true, JSON_SYNTAX, 1, 1, 2},
    {"name without colon", "{\"a\"}", 32, true, JSON_SYNTAX, 4, 1, 5},
    {"text after the value", "{} {}", 32, true, JSON_SYNTAX, 3, 1, 4},
    {"unterminated string", "[\"ab", 32, true, JSON_SYNTAX, 4, 1, 5},
    {"unterminated escape", "\"\\", 32, true, JSON_SYNTAX, 2, 1, 3},
    {"unknown escape", "\"\\x41\"", 32, true, JSON_SYNTAX, 2, 1, 3},
    {"short \\u", "\"\\u12g4\"", 32, true, JSON_SYNTAX, 5, 1, 6},
    {"control character", "\"a\nb\"", 32, true, JSON_SYNTAX, 2, 1, 3},
    {"DEL is no control character", "\"\x7F\"", 32, true, JSON_OK, 0, 0, 0},
    {"overlong UTF-8", "\"a\xC0\xAF\"", 32, true, JSON_SYNTAX, 2, 1, 3},
    {"surrogate in UTF-8", "\"\xED\xA0\x80\"", 32, true, JSON_SYNTAX, 1, 1, 2},
    {"past U+10FFFF", "\"\xF4\x90\x80\x80\"", 32, true, JSON_SYNTAX, 1, 1, 2},
    {"lone surrogate escape passes", "\"\\uD800\"", 32, true, JSON_OK, 0, 0, 0},
    {"\\u0000 passes", "{\"\\u0000\":\"\\u0000\"}", 32, true, JSON_OK, 0, 0, 0},
    {"leading zero", "[01]", 32, true, JSON_SYNTAX, 2, 1, 3},
    {"leading plus", "[+1]", 32, true, JSON_SYNTAX, 1, 1, 2},
    {"minus alone", "[-]", 32, true, JSON_SYNTAX, 2, 1, 3},
    {"point without digits", "[1.]", 32, true, JSON_SYNTAX, 3, 1, 4},
    {"exponent without digits", "[1e+]", 32, true, JSON_SYNTAX, 4, 1, 5},
    {"numbers of any size", "[1e9999,-123456789012345678901234567890,0.00000000000000000001]", 32, true,
     JSON_OK, 0, 0, 0},
    {"byte order mark", "\xEF\xBB\xBF{}", 32, true, JSON_SYNTAX, 0, 1, 1},
    {"duplicate name: the second one", "{\"a\":1, \"a\":2}", 32, true, JSON_DUPLICATE, 8, 1, 9},
    {"duplicates pass when not asked", "{\"a\":1, \"a\":2}", 32, false, JSON_OK, 0, 0, 0},
    {"duplicate by escape", "{\"a\":1,\"\\u0061\":2}", 32, true, JSON_DUPLICATE, 7, 1, 8},
    {"duplicate by short escape", "{\"\\n\":1,\"\\u000a\":2}", 32, true, JSON_DUPLICATE, 8, 1, 9},
    {"duplicate by surrogate pair", "{\"\xF0\x9F\x98\x80\":1,\"\\ud83D\\ude00\":2}", 32, true, JSON_DUPLICATE,
     10, 1, 11},
    {"duplicate lone surrogates", "{\"\\uD800\":1,\"\\ud800\":2}", 32, true, JSON_DUPLICATE, 12, 1, 13},
    {"lone surrogates differ", "{\"\\uD800\":1,\"\\uD801\":2,\"\\uDC00\":3,\"\\uD800\\uDC00\":4}", 32, true,
     JSON_OK, 0, 0, 0},
    {"duplicate empty names", "{\"\":1,\"\":2}", 32, true, JSON_DUPLICATE, 6, 1, 7},
    {"\\u0000 does not end a name", "{\"\\u0000\":1,\"\":2,\"\\u0000\\u0000\":3,\"\\u0000a\":4}", 32, true,
     JSON_OK, 0, 0, 0},
    {"duplicate with \\u0000", "{\"x\\u0000\":1,\"\\u0078\\u0000\":2}", 32, true, JSON_DUPLICATE, 13, 1, 14},
    {"duplicate inside", "{\"a\":[{\"b\":{\"c\":1,\n\"c\":2}}]}", 32, true, JSON_DUPLICATE, 19, 2, 1},
    {"duplicate after an inner object", "{\"a\":{\"a\":{\"b\":1}},\"b\":2,\"a\":3}", 32, true, JSON_DUPLICATE,
     25, 1, 26},
    {"one name in many objects", "[{\"a\":{\"a\":[{\"a\":1},{\"a\":2}]}},{\"a\":3}]", 32, true, JSON_OK, 0, 0,
     0},
    {"the first fault counts", "{\"a\":1,\"a\":2", 32, true, JSON_DUPLICATE, 7, 1, 8},
    {"names differ in case", "{\"a\":1,\"A\":2}", 32, true, JSON_OK, 0, 0, 0},
    {"no normalization", "{\"\xC3\xA9\":1,\"e\xCC\x81\":2}", 32, true, JSON_OK, 0, 0, 0},
};

static void test_faults(void **state)
{
    for (size_t i = 0; i < COUNT(fault_cases); i++) {
        const struct fault_case *c = &fault_cases[i];
        size_t len = strlen(c->text);
        char *text = exact_copy(c->text, len);
        struct json_error error = {.offset = 4711};
        enum json_fault fault = json_check(text, len, c->max_depth, c->unique, &error);
        if (fault != c->fault)
            fail_msg("%s: fault %d at %zu", c->rule, (int)fault, error.offset);
        if (fault == JSON_OK && error.offset != 4711)
            fail_msg("%s: ret_error was written", c->rule);
        if (fault != JSON_OK &&
            (error.offset != c->offset || error.line != c->line || error.column != c->column))
            fail_msg("%s: offset %zu, %u:%u", c->rule, error.offset, error.line, error.column);
        if (fault != JSON_OK && error.message[0] == '\0')
            fail_msg("%s: no message", c->rule);
        assert_int_equal(json_check(text, len, c->max_depth, c->unique, NULL), c->fault);
        free(text);
    }
}

static void test_no_text(void **state)
{
    struct json_error error;
    assert_int_equal(json_check(NULL, 0, DEEP, true, &error), JSON_SYNTAX);
    assert_int_equal(error.offset, 0);
    assert_int_equal(error.line, 1);
    assert_int_equal(error.column, 1);
    assert_false(json_valid(NULL, 0, DEEP));
    assert_false(json_valid_portable(NULL, 0, DEEP));
}

/* --- depth ------------------------------------------------------------------------------------- */

/* `depth` containers, of the kinds that the bits of `kinds` name in turn, and their closing brackets. */
static size_t nest(char *out, unsigned depth, uint64_t kinds)
{
    char *p = out;
    for (unsigned i = 0; i < depth; i++)
        p = kinds >> i % 61 & 1 ? memcpy(p, "{\"a\":", 5) + 5 : memcpy(p, "[", 1) + 1;
    *p++ = '0';
    for (unsigned i = depth; i-- > 0;)
        *p++ = kinds >> i % 61 & 1 ? '}' : ']';
    return (size_t)(p - out);
}

static void assert_depth(const char *text, size_t len, unsigned max_depth, bool good)
{
    assert_int_equal(json_check(text, len, max_depth, true, NULL), good ? JSON_OK : JSON_TOO_DEEP);
    assert_int_equal(json_valid(text, len, max_depth), good);
    assert_int_equal(json_valid_portable(text, len, max_depth), good);
}

static void test_depth(void **state)
{
    static const unsigned depths[] = {1, 2, 63, 64, 65, 127, 128, 129, 500, 1023, 1024};
    static const uint64_t kinds[] = {0, UINT64_MAX, UINT64_C(0x5555555555555555),
                                     UINT64_C(0x123456789abcdef)};
    static char text[1100 * 8];

    for (size_t d = 0; d < COUNT(depths); d++) {
        for (size_t k = 0; k < COUNT(kinds); k++) {
            size_t len = nest(text, depths[d], kinds[k]);
            assert_depth(text, len, depths[d], true);
            assert_depth(text, len, depths[d] - 1, false);
            assert_depth(text, len, UINT32_MAX, true);
        }
    }
    assert_depth(text, nest(text, JSON_DEPTH_MAX + 1, 5), UINT32_MAX, false);
}

static void test_depth_wrong_bracket(void **state)
{
    static char text[1100 * 8];
    size_t len = nest(text, 300, UINT64_C(0x123456789abcdef));
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '}' && text[i] != ']')
            continue;
        text[i] ^= '}' ^ ']';
        assert_int_equal(json_check(text, len, DEEP, true, NULL), JSON_SYNTAX);
        assert_false(json_valid(text, len, DEEP));
        assert_false(json_valid_portable(text, len, DEEP));
        text[i] ^= '}' ^ ']';
    }
}

static void test_depth_hostile(void **state)
{
    struct buffer text = {0};
    for (int i = 0; i < 100000; i++)
        buffer_append_text(&text, i % 2 ? "{\"a\":" : "[");
    struct json_error error;
    assert_int_equal(json_check(text.data, text.len, UINT32_MAX, true, &error), JSON_TOO_DEEP);
    assert_int_equal(error.offset, JSON_DEPTH_MAX / 2 * 6);
    assert_false(json_valid(text.data, text.len, UINT32_MAX));
    assert_false(json_valid_portable(text.data, text.len, UINT32_MAX));
    buffer_free(&text);
}

/* --- unique names ------------------------------------------------------------------------------ */

/* {"n0":0,..} with `count` names; with `inner`, each value is an object of that many names. */
static void many_names(struct buffer *out, int count, int inner)
{
    for (int i = 0; i < count; i++) {
        buffer_printf(out, "%s\"n%d\":", i == 0 ? "{" : ",", i);
        if (inner > 0)
            many_names(out, inner, 0);
        else
            buffer_append_char(out, '0');
    }
    buffer_append_char(out, '}');
}

static void test_unique_many(void **state)
{
    static const struct {
        int count, inner;
    } sizes[] = {{31, 0}, {32, 0}, {33, 0}, {1000, 0}, {200000, 0}, {40, 40}, {300, 100}, {5, 2000}};

    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct buffer text = {0};
        struct json_error error;
        many_names(&text, sizes[i].count, sizes[i].inner);
        assert_int_equal(json_check(text.data, text.len, 2, true, NULL), JSON_OK);
        /* and again with a last name that stands there already, as the first, in the middle, as the last */
        const int again[] = {0, sizes[i].count / 2, sizes[i].count - 1};
        size_t len = text.len - 1;
        for (size_t k = 0; k < COUNT(again); k++) {
            text.len = len;
            buffer_printf(&text, ",\"\\u006E%d\":0}", again[k]);
            assert_int_equal(json_check(text.data, text.len, 2, true, &error), JSON_DUPLICATE);
            assert_int_equal(error.offset, len + 1);
        }
        buffer_free(&text);
    }
}

static void test_unique_same_name_deep(void **state)
{
    static char text[1100 * 8];
    size_t len = nest(text, 1024, UINT64_MAX);
    assert_int_equal(json_check(text, len, DEEP, true, NULL), JSON_OK);
}

static void test_out_of_memory(void **state)
{
    struct buffer text = {0};
    many_names(&text, 500, 0);
    struct json_error error;
    int n = 0;
    enum json_fault fault;
    do {
        allocations_left = n++;
        fault = json_check(text.data, text.len, 2, true, &error);
        if (fault != JSON_OK)
            assert_int_equal(fault, JSON_NO_MEMORY);
    } while (fault != JSON_OK);
    allocations_left = -1;
    assert_int_equal(n - 1, 8); /* 32 names at hand; 64, 128, 256, 512 take two blocks each */
    buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_no_text),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_depth_wrong_bracket),
        cmocka_unit_test(test_depth_hostile),
        cmocka_unit_test(test_unique_many),
        cmocka_unit_test(test_unique_same_name_deep),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("json_check", tests, NULL, NULL);
}
