#include <stdlib.h>

/* What allocates, built here with allocations that fail when a test says so. (The linker then takes nothing
 * of the library's copies.) */
static int allocations_left = -1; /* -1: all of them work */

static int allocation_fails(void)
{
    if (allocations_left == 0)
        return 1;
    if (allocations_left > 0)
        allocations_left--;
    return 0;
}

static void *test_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : calloc(count, size);
}

static void *test_realloc(void *block, size_t size)
{
    return allocation_fails() ? NULL : realloc(block, size);
}

#define calloc(count, size)  test_calloc(count, size)
#define realloc(block, size) test_realloc(block, size)
#include "../../base/buffer.c"
#include "../../base/json_merge.c"
#undef calloc
#undef realloc

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct {
    const char *rule, *target, *patch, *result; /* target NULL: absent */
} cases[] = {
    /* RFC 7396, appendix A */
    {"A1", "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
    {"A2", "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
    {"A3", "{\"a\":\"b\"}", "{\"a\":null}", "{}"},
    {"A4", "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
    {"A5", "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
    {"A6", "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
    {"A7", "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
    {"A8", "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
    {"A9", "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
    {"A10", "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
    {"A11", "{\"a\":\"foo\"}", "null", "null"},
    {"A12", "{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
    {"A13", "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
    {"A14", "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
    {"A15", "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
    /* the example of section 3 */
    {"section 3",
     "{\"title\":\"Goodbye!\",\"author\":{\"givenName\":\"John\",\"familyName\":\"Doe\"},"
     "\"tags\":[\"example\",\"sample\"],\"content\":\"This will be unchanged\"}",
     "{\"title\":\"Hello!\",\"phoneNumber\":\"+01-123-456-7890\",\"author\":{\"familyName\":null},"
     "\"tags\":[\"example\"]}",
     "{\"title\":\"Hello!\",\"author\":{\"givenName\":\"John\"},\"tags\":[\"example\"],"
     "\"content\":\"This will be unchanged\",\"phoneNumber\":\"+01-123-456-7890\"}"},
    /* absent targets, and targets that are no object */
    {"absent target", NULL, "{\"a\":1,\"b\":null}", "{\"a\":1}"},
    {"absent target, scalar patch", NULL, "1.0", "1.0"},
    {"absent target, nulls at every depth", NULL, "{\"a\":{\"b\":null,\"c\":{\"d\":null}}}",
     "{\"a\":{\"c\":{}}}"},
    {"scalar becomes object", "{\"a\":1}", "{\"a\":{\"b\":null,\"c\":2}}", "{\"a\":{\"c\":2}}"},
    {"null target becomes object", "null", "{\"a\":{\"b\":null}}", "{\"a\":{}}"},
    {"array becomes object", "{\"a\":[1,{\"b\":2}]}", "{\"a\":{\"b\":null}}", "{\"a\":{}}"},
    {"null inside arrays stays", "{}", "{\"a\":[null,{\"b\":null}]}", "{\"a\":[null,{\"b\":null}]}"},
    {"null in the target stays", "{\"a\":{\"n\":null}}", "{\"a\":{\"x\":1}}", "{\"a\":{\"n\":null,\"x\":1}}"},
    {"removal of what is not there", "{\"a\":1}", "{\"b\":null,\"c\":{\"d\":null}}", "{\"a\":1,\"c\":{}}"},
    {"empty patch", "{\"a\":1}", "{}", "{\"a\":1}"},
    {"empty patch of a scalar", "7", "{}", "{}"},
    {"all members go", "{\"a\":1,\"b\":2}", "{\"b\":null,\"a\":null}", "{}"},
    {"the first goes", "{\"a\":1,\"b\":2}", "{\"a\":null}", "{\"b\":2}"},
    {"the last goes", "{\"a\":1,\"b\":2}", "{\"b\":null}", "{\"a\":1}"},
    /* bytes */
    {"numbers keep their bytes", "{\"a\":1.10,\"b\":1E+2}", "{\"c\":-0.0,\"d\":1e400}",
     "{\"a\":1.10,\"b\":1E+2,\"c\":-0.0,\"d\":1e400}"},
    {"same value, other bytes", "{\"a\":1.0}", "{\"a\":1.00}", "{\"a\":1.00}"},
    {"escapes keep their bytes", "{\"\\u0061\":\"\\u0062\"}", "{\"c\":\"\\/\"}",
     "{\"\\u0061\":\"\\u0062\",\"c\":\"\\/\"}"},
    {"untouched values keep their white space", "{ \"a\" : [ 1, 2 ] }", "{ \"b\" : { \"c\" : 3 } }",
     "{\"a\":[ 1, 2 ],\"b\":{\"c\":3}}"},
    {"order of the target, then of the patch", "{\"z\":1,\"m\":2,\"a\":3}", "{\"y\":4,\"a\":5,\"b\":6}",
     "{\"z\":1,\"m\":2,\"a\":5,\"y\":4,\"b\":6}"},
    /* names */
    {"one name, two spellings", "{\"abc\":1}", "{\"\\u0061bc\":2}", "{\"abc\":2}"},
    {"one name, two spellings, the other way", "{\"a\\u002fb\":1}", "{\"a\\/b\":2}", "{\"a\\u002fb\":2}"},
    {"removed by another spelling", "{\"\xC3\xA9\":1}", "{\"\\u00e9\":null}", "{}"},
    {"surrogate pair and raw character", "{\"\\ud83d\\ude00\":1}", "{\"\xF0\x9F\x98\x80\":2}",
     "{\"\\ud83d\\ude00\":2}"},
    {"names with U+0000", "{\"a\\u0000b\":1,\"a\\u0000c\":2}", "{\"a\\u0000c\":null}", "{\"a\\u0000b\":1}"},
    {"a name that begins as another", "{\"ab\":1,\"a\":2,\"abc\":3}", "{\"a\":4}",
     "{\"ab\":1,\"a\":4,\"abc\":3}"},
    {"the empty name", "{\"\":1}", "{\"\":2}", "{\"\":2}"},
    {"lone surrogates are names too", "{\"\\uD800\":1,\"\\uD801\":2}", "{\"\\ud800\":null}",
     "{\"\\uD801\":2}"},
};

static struct json_slice slice(const char *text)
{
    return text != NULL ? json_root(text, strlen(text)) : (struct json_slice){NULL, 0};
}

static void test_cases(void **state)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer out = {0};
        buffer_append_text(&out, "before:");
        assert_int_equal(json_merge_patch(&out, slice(cases[i].target), slice(cases[i].patch)), 0);
        const char *text = buffer_terminate(&out);
        if (strncmp(text, "before:", 7) != 0 || strcmp(text + 7, cases[i].result) != 0)
            fail_msg("%s: %s", cases[i].rule, text);
        buffer_free(&out);
    }
}

/* The same patch once more changes nothing more. */
static void test_idempotent(void **state)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer once = {0}, twice = {0};
        assert_int_equal(json_merge_patch(&once, slice(cases[i].target), slice(cases[i].patch)), 0);
        assert_int_equal(json_merge_patch(&twice, json_root(once.data, once.len), slice(cases[i].patch)), 0);
        assert_int_equal(once.len, twice.len);
        assert_memory_equal(once.data, twice.data, once.len);
        buffer_free(&once);
        buffer_free(&twice);
    }
}

/* 10,000 members that are replaced, removed and added in another order than they stand in. */
static void test_large(void **state)
{
    enum { MEMBERS = 10000 };
    struct buffer target = {0}, patch = {0}, expected = {0}, out = {0};

    for (int i = 0; i < MEMBERS; i++) {
        buffer_printf(&target, "%s\"member-%d\":%d.10", i == 0 ? "{" : ",", i, i);
        int k = (int)((i * 7919L) % MEMBERS); /* every number once, as 7,919 is prime */
        buffer_printf(&patch, "%s\"member-%d\":", i == 0 ? "{" : ",", k);
        buffer_append_text(&patch, k % 3 == 0 ? "null" : "true");
        buffer_printf(&patch, ",\"new-%d\":%s", k, k % 2 == 0 ? "null" : "{\"x\":null}");
    }
    buffer_append_char(&target, '}');
    buffer_append_char(&patch, '}');
    buffer_append_char(&expected, '{');
    for (int i = 0; i < MEMBERS; i++)
        if (i % 3 != 0)
            buffer_printf(&expected, "\"member-%d\":true,", i);
    for (int i = 0; i < MEMBERS; i++) {
        int k = (int)((i * 7919L) % MEMBERS);
        if (k % 2 != 0)
            buffer_printf(&expected, "\"new-%d\":{},", k);
    }
    expected.data[expected.len - 1] = '}';
    assert_int_equal(
        json_merge_patch(&out, json_root(target.data, target.len), json_root(patch.data, patch.len)), 0);
    assert_int_equal(out.len, expected.len);
    assert_memory_equal(out.data, expected.data, out.len);
    buffer_free(&target);
    buffer_free(&patch);
    buffer_free(&expected);
    buffer_free(&out);
}

static void test_deep(void **state)
{
    struct buffer patch = {0}, out = {0};
    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        buffer_append_text(&patch, "{\"a\":");
    buffer_append_char(&patch, '1');
    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        buffer_append_char(&patch, '}');
    struct json_slice root = json_root(patch.data, patch.len);
    assert_int_equal(json_merge_patch(&out, root, root), 0);
    assert_int_equal(out.len, patch.len);
    assert_memory_equal(out.data, patch.data, out.len);
    buffer_free(&patch);
    buffer_free(&out);
}

static void test_out_of_memory(void **state)
{
    static const char target[] = "{\"a\":{\"b\":{\"c\":1}},\"d\":2}";
    static const char patch[] =
        "{\"a\":{\"b\":{\"c\":{\"long\":\"0123456789012345678901234567890123456789\"}}},\"e\":{\"f\":3}}";
    int n = 0, result;
    do {
        struct buffer out = {0};
        allocations_left = n++;
        result = json_merge_patch(&out, slice(target), slice(patch));
        allocations_left = -1;
        if (result != 0)
            assert_int_equal(result, -ENOMEM);
        buffer_free(&out);
    } while (result != 0);
    assert_int_equal(n - 1, 12); /* two for each of the five objects of the patch, two for the text */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases), cmocka_unit_test(test_idempotent),    cmocka_unit_test(test_large),
        cmocka_unit_test(test_deep),  cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("json_merge", tests, NULL, NULL);
}
