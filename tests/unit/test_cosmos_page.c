#include "buffer.h"
#include "json_variants.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define R1           "{\"data\":{\"t\":21.50},\"timestamp\":1795417200}"
#define R2           "{\"data\":{\"t\":-1e3},\"timestamp\":1795417260}"
#define NO_DATA      "{\"timestamp\":1795417300}"

/* Both builds of the scanner on a copy of exactly this size; they must agree. */
static bool scan(const char *text, size_t len, unsigned max_depth, struct cosmos_page *ret_page)
{
    struct cosmos_page page, portable_page;
    memset(&page, 0xA5, sizeof page);
    memset(&portable_page, 0xA5, sizeof portable_page);
    char *copy = exact_copy(text, len);
    bool good = cosmos_page_scan(copy, len, max_depth, &page);
    bool portable = cosmos_page_scan_portable(copy, len, max_depth, &portable_page);
    free(copy);
    if (good != portable || memcmp(&page, &portable_page, sizeof page) != 0)
        fail_msg("the portable scanner disagrees: %d, %d: %.*s", good, portable, (int)(len < 200 ? len : 200),
                 text);
    if (good)
        *ret_page = page;
    return good;
}

/* --- pages that are vouched for ---------------------------------------------------------------- */

static const struct {
    const char *rule, *text, *documents;
    unsigned count, without_data;
    int64_t last_timestamp;
} good_pages[] = {
    {"empty page", "{\"_rid\":\"x\",\"Documents\":[],\"_count\":0}", "[]", 0, 0, 0},
    {"as Cosmos writes it", "{\"_rid\":\"x==\",\"Documents\":[" R1 "," R2 "],\"_count\":2}",
     "[" R1 "," R2 "]", 2, 0, 1795417260},
    {"members in any order", "{\"_count\":1,\"Documents\":[" R1 "],\"_rid\":\"x\"}", "[" R1 "]", 1, 0,
     1795417200},
    {"no _rid", "{\"_count\":1,\"Documents\":[" R1 "]}", "[" R1 "]", 1, 0, 1795417200},
    {"white space anywhere",
     " \r\n{ \"_rid\" :\t\"x\" , \"Documents\" : [ { \"data\" : { } , \"timestamp\" : 7 } , {} ] , "
     "\"_count\" : 2 } \n",
     "[ { \"data\" : { } , \"timestamp\" : 7 } , {} ]", 2, 1, 7},
    {"names with escapes",
     "{\"D\\u006fcuments\":[{\"d\\u0061ta\":1,\"timest\\u0061mp\":2}],\"\\u005Fcount\":1}",
     "[{\"d\\u0061ta\":1,\"timest\\u0061mp\":2}]", 1, 0, 2},
    {"timestamp before data", "{\"Documents\":[{\"timestamp\":5,\"data\":[1]}],\"_count\":1}",
     "[{\"timestamp\":5,\"data\":[1]}]", 1, 0, 5},
    {"other members of an element",
     "{\"Documents\":[{\"id\":\"a\",\"data\":0,\"_ts\":9,\"timestamp\":5}],\"_count\":1}",
     "[{\"id\":\"a\",\"data\":0,\"_ts\":9,\"timestamp\":5}]", 1, 0, 5},
    {"names inside of values count for nothing",
     "{\"x\":{\"Documents\":[1],\"_count\":[{\"_count\":9}]},"
     "\"Documents\":[{\"data\":{\"data\":1,\"data\":2,\"timestamp\":\"2026\",\"Documents\":{}},\"timestamp\":"
     "3,"
     "\"y\":[{\"timestamp\":1.5,\"data\":null}]}],\"_count\":1}",
     "[{\"data\":{\"data\":1,\"data\":2,\"timestamp\":\"2026\",\"Documents\":{}},\"timestamp\":3,"
     "\"y\":[{\"timestamp\":1.5,\"data\":null}]}]",
     1, 0, 3},
    {"names inside of strings count for nothing",
     "{\"_rid\":\"\\\"Documents\\\":[]\",\"Documents\":[{\"data\":\"],\\\"_count\\\":7}\",\"timestamp\":3}],"
     "\"_count\":1}",
     "[{\"data\":\"],\\\"_count\\\":7}\",\"timestamp\":3}]", 1, 0, 3},
    {"names that begin alike",
     "{\"Documents2\":1,\"Document\":2,\"_counts\":3,\"Documents\":[],\"_count\":0}", "[]", 0, 0, 0},
    {"null data is data", "{\"Documents\":[{\"data\":null,\"timestamp\":3}],\"_count\":1}",
     "[{\"data\":null,\"timestamp\":3}]", 1, 0, 3},
    {"elements without data", "{\"Documents\":[" NO_DATA "," R1 ",{}," NO_DATA "],\"_count\":4}",
     "[" NO_DATA "," R1 ",{}," NO_DATA "]", 4, 3, 1795417200},
    {"none with data", "{\"Documents\":[{},{}],\"_count\":2}", "[{},{}]", 2, 2, 0},
    {"largest timestamps",
     "{\"Documents\":[{\"data\":1,\"timestamp\":-9223372036854775808},"
     "{\"data\":1,\"timestamp\":9223372036854775807}],\"_count\":2}",
     "[{\"data\":1,\"timestamp\":-9223372036854775808},{\"data\":1,\"timestamp\":9223372036854775807}]", 2, 0,
     INT64_MAX},
    {"numbers of any size in data",
     "{\"Documents\":[{\"data\":[1e999,-123456789012345678901.50],\"timestamp\":0}],\"_count\":1}",
     "[{\"data\":[1e999,-123456789012345678901.50],\"timestamp\":0}]", 1, 0, 0},
    {"U+0000 and lone surrogates in data",
     "{\"Documents\":[{\"data\":{\"\\u0000\":\"\\uD800\"},\"timestamp\":4}],\"_count\":1}",
     "[{\"data\":{\"\\u0000\":\"\\uD800\"},\"timestamp\":4}]", 1, 0, 4},
    {"UTF-8", "{\"Documents\":[{\"data\":\"\xE2\x82\xAC\xF0\x9F\x98\x80\",\"timestamp\":4}],\"_count\":1}",
     "[{\"data\":\"\xE2\x82\xAC\xF0\x9F\x98\x80\",\"timestamp\":4}]", 1, 0, 4},
};

static void test_good(void **state)
{
    for (size_t i = 0; i < COUNT(good_pages); i++) {
        struct cosmos_page page;
        const char *text = good_pages[i].text, *documents = good_pages[i].documents;
        if (!scan(text, strlen(text), 32, &page))
            fail_msg("%s: refused", good_pages[i].rule);
        if (page.length != strlen(documents) || memcmp(text + page.start, documents, page.length) != 0)
            fail_msg("%s: %.*s", good_pages[i].rule, (int)page.length, text + page.start);
        if (page.count != good_pages[i].count || page.without_data != good_pages[i].without_data ||
            page.last_timestamp != good_pages[i].last_timestamp)
            fail_msg("%s: %u elements, %u without data, last %lld", good_pages[i].rule, page.count,
                     page.without_data, (long long)page.last_timestamp);
    }
}

/* --- pages that are refused -------------------------------------------------------------------- */

static const struct {
    const char *rule, *text;
} bad_pages[] = {
    {"empty", ""},
    {"white space", " \n"},
    {"no object", "[]"},
    {"a scalar", "1"},
    {"empty object", "{}"},
    {"no Documents", "{\"_rid\":\"x\",\"_count\":0}"},
    {"no _count", "{\"_rid\":\"x\",\"Documents\":[]}"},
    {"Documents no array", "{\"Documents\":{},\"_count\":0}"},
    {"Documents null", "{\"Documents\":null,\"_count\":0}"},
    {"Documents twice", "{\"Documents\":[],\"Documents\":[],\"_count\":0}"},
    {"Documents twice, once escaped", "{\"Documents\":[],\"Document\\u0073\":[],\"_count\":0}"},
    {"_count twice", "{\"_count\":0,\"Documents\":[],\"_count\":0}"},
    {"_count twice, once escaped", "{\"_count\":0,\"Documents\":[],\"\\u005fcount\":0}"},
    {"_count too large", "{\"Documents\":[" R1 "],\"_count\":2}"},
    {"_count too small", "{\"Documents\":[" R1 "," R2 "],\"_count\":1}"},
    {"_count negative", "{\"Documents\":[],\"_count\":-1}"},
    {"_count with a fraction", "{\"Documents\":[" R1 "],\"_count\":1.0}"},
    {"_count with an exponent", "{\"Documents\":[" R1 "],\"_count\":1e0}"},
    {"_count a string", "{\"Documents\":[" R1 "],\"_count\":\"1\"}"},
    {"_count null", "{\"Documents\":[],\"_count\":null}"},
    {"_count past 64 bits", "{\"Documents\":[],\"_count\":18446744073709551616}"},
    {"_count equal modulo 2^32", "{\"Documents\":[],\"_count\":4294967296}"},
    {"an element that is no object", "{\"Documents\":[1],\"_count\":1}"},
    {"an element that is an array", "{\"Documents\":[[]],\"_count\":1}"},
    {"an element that is null", "{\"Documents\":[" R1 ",null],\"_count\":2}"},
    {"data twice", "{\"Documents\":[{\"data\":1,\"data\":2,\"timestamp\":3}],\"_count\":1}"},
    {"data twice, once escaped",
     "{\"Documents\":[{\"data\":1,\"\\u0064ata\":2,\"timestamp\":3}],\"_count\":1}"},
    {"timestamp twice", "{\"Documents\":[{\"data\":1,\"timestamp\":3,\"timestamp\":3}],\"_count\":1}"},
    {"timestamp missing", "{\"Documents\":[{\"data\":1}],\"_count\":1}"},
    {"timestamp with a fraction", "{\"Documents\":[{\"data\":1,\"timestamp\":3.0}],\"_count\":1}"},
    {"timestamp with an exponent", "{\"Documents\":[{\"data\":1,\"timestamp\":3e9}],\"_count\":1}"},
    {"timestamp a string", "{\"Documents\":[{\"data\":1,\"timestamp\":\"3\"}],\"_count\":1}"},
    {"timestamp null", "{\"Documents\":[{\"data\":1,\"timestamp\":null}],\"_count\":1}"},
    {"timestamp an object", "{\"Documents\":[{\"data\":1,\"timestamp\":{}}],\"_count\":1}"},
    {"timestamp no integer, without data", "{\"Documents\":[{\"timestamp\":1.5}],\"_count\":1}"},
    {"timestamp past 64 bits",
     "{\"Documents\":[{\"data\":1,\"timestamp\":9223372036854775808}],\"_count\":1}"},
    {"timestamp with a leading zero", "{\"Documents\":[{\"data\":1,\"timestamp\":03}],\"_count\":1}"},
    {"text after the end", "{\"Documents\":[],\"_count\":0}{}"},
    {"a bracket after the end", "{\"Documents\":[],\"_count\":0}}"},
    {"a comma after the end", "{\"Documents\":[],\"_count\":0},"},
    {"comma before the end", "{\"Documents\":[],\"_count\":0,}"},
    {"comma after the last element", "{\"Documents\":[" R1 ",],\"_count\":1}"},
    {"comma after the last member", "{\"Documents\":[{\"data\":1,\"timestamp\":3,}],\"_count\":1}"},
    {"no comma between elements", "{\"Documents\":[" R1 " " R2 "],\"_count\":2}"},
    {"no comma between members", "{\"Documents\":[{\"data\":1 \"timestamp\":3}],\"_count\":1}"},
    {"no colon", "{\"Documents\":[{\"data\" 1,\"timestamp\":3}],\"_count\":1}"},
    {"name without quotes", "{\"Documents\":[{data:1,\"timestamp\":3}],\"_count\":1}"},
    {"wrong bracket after the elements", "{\"Documents\":[" R1 "},\"_count\":1}"},
    {"wrong bracket after an element", "{\"Documents\":[{\"data\":1,\"timestamp\":3]],\"_count\":1}"},
    {"wrong bracket in data", "{\"Documents\":[{\"data\":[1},\"timestamp\":3}],\"_count\":1}"},
    {"data cut off", "{\"Documents\":[{\"data\":}],\"_count\":1}"},
    {"bad UTF-8 in data", "{\"Documents\":[{\"data\":\"\xC3(\",\"timestamp\":3}],\"_count\":1}"},
    {"bad UTF-8 in a name", "{\"Documents\":[{\"\xFF\":1}],\"_count\":1}"},
    {"bad UTF-8 in _rid", "{\"_rid\":\"\xED\xA0\x80\",\"Documents\":[],\"_count\":0}"},
    {"control character", "{\"_rid\":\"\n\",\"Documents\":[],\"_count\":0}"},
    {"unknown escape", "{\"Documents\":[{\"data\":\"\\a\",\"timestamp\":3}],\"_count\":1}"},
    {"byte order mark", "\xEF\xBB\xBF{\"Documents\":[],\"_count\":0}"},
    {"NaN", "{\"Documents\":[{\"data\":NaN,\"timestamp\":3}],\"_count\":1}"},
    {"an error body", "{\"code\":\"TooManyRequests\",\"message\":\"..\"}"},
};

static void test_bad(void **state)
{
    for (size_t i = 0; i < COUNT(bad_pages); i++) {
        struct cosmos_page page = {.start = 4711};
        if (scan(bad_pages[i].text, strlen(bad_pages[i].text), 32, &page))
            fail_msg("%s: accepted", bad_pages[i].rule);
        assert_int_equal(page.start, 4711);
    }
    struct cosmos_page unread;
    assert_false(cosmos_page_scan(NULL, 0, 32, &unread));
    /* a NUL byte after the page is text after the page */
    static const char nul[] = "{\"Documents\":[],\"_count\":0}";
    struct cosmos_page page;
    assert_true(scan(nul, sizeof nul - 1, 32, &page));
    assert_false(scan(nul, sizeof nul, 32, &page));
}

static void test_truncated(void **state)
{
    struct cosmos_page page;
    for (size_t i = 0; i < COUNT(good_pages); i++) {
        const char *text = good_pages[i].text;
        size_t len = strlen(text);
        while (len > 0 && text[len - 1] != '}')
            len--;
        for (size_t cut = 0; cut < len; cut++)
            if (scan(text, cut, 32, &page))
                fail_msg("%s: accepted at %zu bytes", good_pages[i].rule, cut);
        assert_true(scan(text, len, 32, &page));
    }
}

/* Whatever one byte does to a page: it is refused, or a page of which json_check and a walk over slices say
 * the same. */
static void vouch(const char *text, size_t len)
{
    struct cosmos_page page;
    if (!scan(text, len, 32, &page))
        return;
    if (json_check(text, len, 32, false, NULL) != JSON_OK)
        fail_msg("accepted: %.*s", (int)len, text);
    struct json_slice root = json_root(text, len);
    struct json_slice documents = json_member(root, "Documents");
    int64_t count = -1, last = 0;
    unsigned elements = 0, without_data = 0;
    assert_ptr_equal(documents.text, text + page.start);
    assert_int_equal(documents.len, page.length);
    for (struct json_iter it = json_iter(documents); json_next(&it); elements++) {
        assert_int_equal(json_kind(it.value), JSON_OBJECT);
        if (json_member(it.value, "data").text == NULL)
            without_data++;
        else
            assert_true(json_int64(json_member(it.value, "timestamp"), &last));
    }
    assert_true(json_int64(json_member(root, "_count"), &count));
    assert_int_equal(count, elements);
    assert_int_equal(page.count, elements);
    assert_int_equal(page.without_data, without_data);
    assert_int_equal(page.last_timestamp, last);
}

static void test_one_byte_replaced(void **state)
{
    static const char hostile[] = "\"\\{}[],:0-.eE+u \n\x1F\x7F\x80\xBF\xC3\xE0\xED\xF4\xFF"
                                  "dt";
    char text[512];
    for (size_t i = 0; i < COUNT(good_pages); i++) {
        size_t len = strlen(good_pages[i].text);
        assert_true(len < sizeof text);
        memcpy(text, good_pages[i].text, len);
        for (size_t at = 0; at < len; at++) {
            for (size_t k = 0; k < sizeof hostile; k++) { /* its NUL too */
                text[at] = hostile[k];
                vouch(text, len);
            }
            text[at] = good_pages[i].text[at];
        }
    }
}

/* --- bounds ------------------------------------------------------------------------------------ */

static void test_depth(void **state)
{
    static const struct {
        const char *text;
        unsigned needs;
    } cases[] = {
        {"{\"Documents\":[],\"_count\":0}", 2},
        {"{\"Documents\":[{}],\"_count\":1}", 3},
        {"{\"Documents\":[{\"data\":1,\"timestamp\":1}],\"_count\":1}", 3},
        {"{\"Documents\":[{\"data\":[[]],\"timestamp\":1}],\"_count\":1}", 5},
        {"{\"Documents\":[{\"x\":{\"y\":{\"z\":{}}}}],\"_count\":1}", 6},
        {"{\"x\":[[[[]]]],\"Documents\":[],\"_count\":0}", 5},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct cosmos_page page;
        for (unsigned depth = 0; depth < 10; depth++)
            if (scan(cases[i].text, strlen(cases[i].text), depth, &page) != (depth >= cases[i].needs))
                fail_msg("%s at depth %u", cases[i].text, depth);
        assert_true(scan(cases[i].text, strlen(cases[i].text), UINT32_MAX, &page));
    }
}

static void test_hostile_nesting(void **state)
{
    static const char *const heads[] = {"", "{\"_rid\":", "{\"Documents\":", "{\"Documents\":[",
                                        "{\"Documents\":[{\"data\":"};
    static const char *const units[] = {"[", "{\"a\":", "[{\"data\":"};
    for (size_t h = 0; h < COUNT(heads); h++) {
        for (size_t u = 0; u < COUNT(units); u++) {
            struct buffer text = {0};
            struct cosmos_page page;
            buffer_append_text(&text, heads[h]);
            for (int i = 0; i < 100000; i++)
                buffer_append_text(&text, units[u]);
            buffer_append_char(&text, '}');
            assert_false(scan(text.data, text.len, UINT32_MAX, &page));
            buffer_free(&text);
        }
    }
}

static void append_page(struct buffer *text, unsigned readings)
{
    buffer_append_text(text, "{\"_rid\":\"kXQ1AL9fJxI=\",\"Documents\":[");
    for (unsigned i = 0; i < readings; i++)
        buffer_printf(text,
                      "%s{\"data\":{\"temperature\":%d.%02u,\"humidity\":%u.%u,\"timestamp\":\"2026-11-23T07:"
                      "%02u:%02uZ\"},"
                      "\"timestamp\":%u}",
                      i == 0 ? "" : ",", (int)(i * 7 % 60) - 10, i * 13 % 100, i % 100, i % 10, i / 60 % 60,
                      i % 60, 1795417200 + i);
    buffer_printf(text, "],\"_count\":%u}", readings);
}

static void test_large(void **state)
{
    enum { READINGS = 45000 }; /* more than 4 MB, the most that Cosmos puts on a page */
    struct buffer text = {0};
    struct cosmos_page page;
    append_page(&text, READINGS);
    assert_false(text.failed);
    assert_true(text.len > 4 << 20);
    assert_true(scan(text.data, text.len, 32, &page));
    assert_int_equal(page.count, READINGS);
    assert_int_equal(page.without_data, 0);
    assert_int_equal(page.last_timestamp, 1795417200 + READINGS - 1);
    assert_int_equal(text.data[page.start], '[');
    assert_int_equal(text.data[page.start + page.length - 1], ']');
    for (size_t cut = 1; cut < text.len; cut += text.len / 50)
        assert_false(scan(text.data, text.len - cut, 32, &page));
    buffer_free(&text);
}

/* --- compaction -------------------------------------------------------------------------------- */

static void test_compact(void **state)
{
    static const struct {
        const char *rule, *documents, *compact;
        unsigned count, left;
    } cases[] = {
        {"nothing to leave out", "[" R1 "," R2 "]", "[" R1 "," R2 "]", 2, 2},
        {"nothing at all", "[]", "[]", 0, 0},
        {"the only one", "[" NO_DATA "]", "[]", 1, 0},
        {"all of them", "[{} , {},{\"x\":{\"data\":1}}]", "[]", 3, 0},
        {"the first", "[{}," R1 "," R2 "]", "[" R1 "," R2 "]", 3, 2},
        {"the last", "[" R1 "," R2 "," NO_DATA "]", "[" R1 "," R2 "]", 3, 2},
        {"in the middle", "[" R1 ",{}," NO_DATA "," R2 "]", "[" R1 "," R2 "]", 4, 2},
        {"by turns", "[{}," R1 ",{}," R2 ",{}," R1 ",{}]", "[" R1 "," R2 "," R1 "]", 7, 3},
        {"white space", "[ {} ,\n " R1 " , {} ,\n" R2 " ]", "[" R1 "," R2 "]", 4, 2},
        {"escaped name", "[{},{\"\\u0064ata\":[],\"timestamp\":1}]", "[{\"\\u0064ata\":[],\"timestamp\":1}]",
         2, 1},
        {"null data stays", "[{\"data\":null,\"timestamp\":1},{}]", "[{\"data\":null,\"timestamp\":1}]", 2,
         1},
        {"brackets in strings", "[{\"x\":\"}],\"},{\"data\":\"]{,\",\"timestamp\":1}]",
         "[{\"data\":\"]{,\",\"timestamp\":1}]", 2, 1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[512];
        struct cosmos_page page;
        int len = snprintf(text, sizeof text, "{\"Documents\":%s,\"_count\":%u}", cases[i].documents,
                           cases[i].count);
        assert_true(scan(text, (size_t)len, 32, &page));
        int64_t last = page.last_timestamp;
        char *copy = exact_copy(text, (size_t)len);
        cosmos_page_compact(copy, &page);
        if (page.length != strlen(cases[i].compact) ||
            memcmp(copy + page.start, cases[i].compact, page.length) != 0)
            fail_msg("%s: %.*s", cases[i].rule, (int)page.length, copy + page.start);
        assert_int_equal(page.count, cases[i].left);
        assert_int_equal(page.without_data, 0);
        assert_int_equal(page.last_timestamp, last);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),      cmocka_unit_test(test_bad),
        cmocka_unit_test(test_truncated), cmocka_unit_test(test_one_byte_replaced),
        cmocka_unit_test(test_depth),     cmocka_unit_test(test_hostile_nesting),
        cmocka_unit_test(test_large),     cmocka_unit_test(test_compact),
    };
    return cmocka_run_group_tests_name("cosmos_page", tests, NULL, NULL);
}
