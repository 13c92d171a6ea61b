#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct json_slice slice(const char *text)
{
    return json_root(text, strlen(text));
}

static void assert_slice(const char *rule, struct json_slice got, const char *expected)
{
    bool same = expected == NULL ? got.text == NULL && got.len == 0
                                 : got.text != NULL && got.len == strlen(expected) &&
                                       memcmp(got.text, expected, got.len) == 0;
    if (!same)
        fail_msg("%s: %.*s", rule, got.text != NULL ? (int)got.len : 7,
                 got.text != NULL ? got.text : "nothing");
}

/* --- kinds, roots ------------------------------------------------------------------------------ */

static void test_kind(void **state)
{
    static const struct {
        const char *text;
        enum json_kind kind;
        unsigned depth;
    } cases[] = {
        {"{}", JSON_OBJECT, 1},
        {" [ ] ", JSON_ARRAY, 1},
        {"\"[[\"", JSON_STRING, 0},
        {"-1.5e3", JSON_NUMBER, 0},
        {"0", JSON_NUMBER, 0},
        {"true", JSON_TRUE, 0},
        {"\r\n\tfalse\n", JSON_FALSE, 0},
        {"null", JSON_NULL, 0},
        {"", JSON_NONE, 0},
        {"  ", JSON_NONE, 0},
        {"[[],[[1]],\"[[[[\",{\"[\":{}}]", JSON_ARRAY, 3},
        {"{\"a\":{\"}\":[\"\\\"]\",{}]}}", JSON_OBJECT, 4},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct json_slice root = slice(cases[i].text);
        assert_int_equal(json_kind(root), cases[i].kind);
        if (json_depth(root) != cases[i].depth)
            fail_msg("%s: depth %u", cases[i].text, json_depth(root));
    }
    assert_int_equal(json_kind((struct json_slice){NULL, 0}), JSON_NONE);
    assert_int_equal(json_depth((struct json_slice){NULL, 0}), 0);
    assert_slice("no white space around", slice("\t {\"a\": 1 } \n"), "{\"a\": 1 }");
}

/* --- iteration --------------------------------------------------------------------------------- */

static void test_iter(void **state)
{
    static const struct {
        const char *text;
        const char *walk; /* name=value; of each */
    } cases[] = {
        {"{}", ""},
        {"[ ]", ""},
        {"1", ""},
        {"\"abc\"", ""},
        {"[1]", "=1;"},
        {"[ 1 , 2.50 ,\n\"a,b]\" ]", "=1;=2.50;=\"a,b]\";"},
        {"[[],[1,[2]],{\"x\":[3]}]", "=[];=[1,[2]];={\"x\":[3]};"},
        {"{\"a\":1}", "\"a\"=1;"},
        {" { \"a\" : 1 , \"b\" : { \"c\" : [ ] } , \"\" : null } ",
         "\"a\"=1;\"b\"={ \"c\" : [ ] };\"\"=null;"},
        {"{\"q\\\"}\":\"\\\\\",\"r\":\"{\"}", "\"q\\\"}\"=\"\\\\\";\"r\"=\"{\";"},
        {"{\"\xC3\xA9\":\"\xE2\x82\xAC\",\"b\":-0}", "\"\xC3\xA9\"=\"\xE2\x82\xAC\";\"b\"=-0;"},
        {"[true,false,null]", "=true;=false;=null;"},
        {"[{},{},[],[]]", "={};={};=[];=[];"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char walk[256];
        int n = 0;
        walk[0] = '\0';
        struct json_iter it = json_iter(slice(cases[i].text));
        while (json_next(&it))
            n += snprintf(walk + n, sizeof walk - (size_t)n, "%.*s=%.*s;", (int)it.name.len,
                          it.name.text != NULL ? it.name.text : "", (int)it.value.len, it.value.text);
        assert_string_equal(walk, cases[i].walk);
        assert_false(json_next(&it));
    }
    struct json_iter none = json_iter(json_root(NULL, 0));
    assert_false(json_next(&none));
}

/* --- members ----------------------------------------------------------------------------------- */

static void test_member(void **state)
{
    static const struct {
        const char *rule, *object, *name, *value;
    } cases[] = {
        {"by name", "{\"a\":1,\"b\":[2]}", "b", "[2]"},
        {"absent", "{\"a\":1}", "b", NULL},
        {"of no object", "[\"a\"]", "a", NULL},
        {"name with escapes", "{\"\\u0061\\/\":1}", "a/", "1"},
        {"name beyond ASCII, escaped", "{\"\\u00E9\":1}", "\xC3\xA9", "1"},
        {"surrogate pair", "{\"\\ud83d\\ude00\":1}", "\xF0\x9F\x98\x80", "1"},
        {"a backslash in the name", "{\"a\\\\b\":1}", "a\\b", "1"},
        {"raw text is not the name", "{\"a\\\\b\":1}", "a\\\\b", NULL},
        {"no prefix", "{\"abc\":1}", "ab", NULL},
        {"no longer name", "{\"ab\":1}", "abc", NULL},
        {"U+0000 ends no name", "{\"a\\u0000\":1}", "a", NULL},
        {"of duplicates the last", "{\"a\":1,\"\\u0061\":2}", "a", "2"},
        {"not of an inner object", "{\"x\":{\"a\":1},\"y\":[{\"a\":2}]}", "a", NULL},
        {"not a value", "{\"x\":\"a\",\"y\":1}", "a", NULL},
        {"empty name", "{\"\":7}", "", "7"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_slice(cases[i].rule, json_member(slice(cases[i].object), cases[i].name), cases[i].value);
    assert_slice("of nothing", json_member((struct json_slice){NULL, 0}, "a"), NULL);
}

static void test_path(void **state)
{
    static const char twin[] = "{\"properties\":{\"reported\":{\"status\":{\"a.b\":1},\"n\":null}},\"x\":1}";
    static const struct {
        const char *path, *value;
    } cases[] = {
        {"x", "1"},
        {"properties.reported.n", "null"},
        {"properties.reported.status", "{\"a.b\":1}"},
        {"properties.reported.status.a.b", NULL},
        {"properties.desired.status", NULL},
        {"x.y", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_slice(cases[i].path, json_path(slice(twin), cases[i].path), cases[i].value);
}

/* --- strings ----------------------------------------------------------------------------------- */

static void test_string(void **state)
{
    static const struct {
        const char *rule, *raw;
        size_t size;
        long len; /* -1: refused */
        const char *text;
    } cases[] = {
        {"plain", "\"abc\"", 16, 3, "abc"},
        {"empty", "\"\"", 1, 0, ""},
        {"no room for the NUL", "\"abc\"", 3, -1, NULL},
        {"just fits", "\"abc\"", 4, 3, "abc"},
        {"no room at all", "\"\"", 0, -1, NULL},
        {"short escapes", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", 16, 8, "\"\\/\b\f\n\r\t"},
        {"one byte", "\"\\u0041\\u007f\"", 16, 2, "A\x7F"},
        {"two bytes", "\"\\u0080\\u07FF\"", 16, 4, "\xC2\x80\xDF\xBF"},
        {"three bytes", "\"\\u0800\\uffff\"", 16, 6, "\xE0\xA0\x80\xEF\xBF\xBF"},
        {"surrogate pairs", "\"\\uD800\\uDC00\\uDBFF\\udfff\"", 16, 8, "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"},
        {"raw UTF-8", "\"\xE2\x82\xAC\"", 4, 3, "\xE2\x82\xAC"},
        {"U+0000", "\"a\\u0000b\"", 16, -1, NULL},
        {"lone high surrogate", "\"\\uD800x\"", 16, -1, NULL},
        {"lone low surrogate", "\"\\uDC00\"", 16, -1, NULL},
        {"two high surrogates", "\"\\uD800\\uD800\\uDC00\"", 16, -1, NULL},
        {"high surrogate, U+E000", "\"\\uD800\\uE000\"", 16, -1, NULL},
        {"high surrogate, other escape", "\"\\uD800\\u0041\"", 16, -1, NULL},
        {"a number", "12", 16, -1, NULL},
        {"an array", "[\"a\"]", 16, -1, NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[16] = "untouched";
        long len = json_string_decode(slice(cases[i].raw), out, cases[i].size);
        if (len != cases[i].len)
            fail_msg("%s: %ld", cases[i].rule, len);
        assert_string_equal(out, len < 0 ? "untouched" : cases[i].text);
        if (len >= 0)
            assert_true(json_string_equals(slice(cases[i].raw), cases[i].text));
    }
    char out[4];
    assert_int_equal(json_string_decode((struct json_slice){NULL, 0}, out, sizeof out), -1);
}

static void test_string_equals(void **state)
{
    static const struct {
        const char *raw, *text;
        bool equal;
    } cases[] = {
        {"\"a\"", "a", true},       {"\"a\"", "", false},          {"\"\"", "", true},
        {"\"a\"", "b", false},      {"\"ab\"", "a", false},        {"\"a\"", "ab", false},
        {"\"\\n\"", "\n", true},    {"\"\\n\"", "\\n", false},     {"\"\\u006E\"", "n", true},
        {"\"\\u0000\"", "", false}, {"\"a\\u0000\"", "a", false},  {"1", "1", false},
        {"[]", "", false},          {"\"\\uD800\"", "?", false},   {"\"true\"", "true", true},
        {"true", "true", false},    {"\"\\\\u0061\"", "a", false}, {"\"\\\\u0061\"", "\\u0061", true},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        if (json_string_equals(slice(cases[i].raw), cases[i].text) != cases[i].equal)
            fail_msg("%s, %s", cases[i].raw, cases[i].text);
    assert_false(json_string_equals((struct json_slice){NULL, 0}, ""));
}

/* --- integers ---------------------------------------------------------------------------------- */

static void test_int64(void **state)
{
    static const struct {
        const char *text;
        bool good;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"1795417200", true, 1795417200},
        {"-17", true, -17},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"-9223372036854775808", true, INT64_MIN},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999999999", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"1E3", false, 0},
        {"\"1\"", false, 0},
        {"null", false, 0},
        {"[1]", false, 0},
        {"", false, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t value = 4711;
        if (json_int64(slice(cases[i].text), &value) != cases[i].good)
            fail_msg("%s", cases[i].text);
        assert_true(value == (cases[i].good ? cases[i].value : 4711));
    }
}

/* A slice may end where the memory does: nothing reads on for a bracket or a quote. */
static void test_exact_memory(void **state)
{
    static const char *const texts[] = {"1",          "-12",           "true",        "\"a\"",
                                        "[1,2]",      "{\"a\":\"b\"}", "\"\\u0041\"", "[[[]]]",
                                        "{\"a\":{}}", "[\"\xC3\xA9\"]"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        for (size_t len = 0; len <= strlen(texts[i]); len++) { /* cut texts too: no answer is asked for */
            char *copy = malloc(len != 0 ? len : 1);
            assert_non_null(copy);
            memcpy(copy, texts[i], len);
            struct json_slice root = json_root(copy, len);
            struct json_iter it = json_iter(root);
            size_t members = 0;
            while (json_next(&it))
                members++;
            char out[16];
            int64_t value;
            json_string_decode(root, out, sizeof out);
            json_string_equals(root, "abc");
            json_int64(root, &value);
            json_member(root, "a");
            assert_true(members <= 2 && json_depth(root) <= 3);
            free(copy);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kind),   cmocka_unit_test(test_iter),
        cmocka_unit_test(test_member), cmocka_unit_test(test_path),
        cmocka_unit_test(test_string), cmocka_unit_test(test_string_equals),
        cmocka_unit_test(test_int64),  cmocka_unit_test(test_exact_memory),
    };
    return cmocka_run_group_tests_name("json_slice", tests, NULL, NULL);
}
