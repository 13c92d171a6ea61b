#include "telemetry_format.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define R(data)      "{\"data\":" data ",\"timestamp\":1795417200}"
#define T            "2026-11-23T07:00:00Z"

static void rows_of_a_table(void **state)
{
    static const struct {
        const char *rule, *page, *csv;
    } cases[] = {
        {"nothing", "[]", "timestamp\r\n"},
        {"a reading", "[" R("{\"t\":1.50,\"on\":true}") "]", "timestamp,t,on\r\n" T ",1.50,true\r\n"},
        {"the union of the fields, as they first appear", "[" R("{\"b\":1}") "," R("{\"a\":2,\"b\":3}") "]",
         "timestamp,b,a\r\n" T ",1,\r\n" T ",3,2\r\n"},
        {"numbers stay as they are", "[" R("{\"n\":1E400,\"m\":-0.10}") "]",
         "timestamp,n,m\r\n" T ",1E400,-0.10\r\n"},
        {"null and an empty text differ", "[" R("{\"n\":null,\"e\":\"\"}") "]",
         "timestamp,n,e\r\n" T ",,\"\"\r\n"},
        {"quotes, commas, line ends", "[" R("{\"a\\\"b\":\"x,y\",\"l\":\"1\\r\\n2\",\"q\":\"\\\"\"}") "]",
         "timestamp,\"a\"\"b\",l,q\r\n" T ",\"x,y\",\"1\r\n2\",\"\"\"\"\r\n"},
        {"blanks at the ends", "[" R("{\"a\":\" x\",\"b\":\"x \"}") "]",
         "timestamp,a,b\r\n" T ",\" x\",\"x \"\r\n"},
        {"escapes are decoded", "[" R("{\"a\":\"\\u00e9\\ud83d\\ude00\\/\"}") "]",
         "timestamp,a\r\n" T ",\xC3\xA9\xF0\x9F\x98\x80/\r\n"},
        {"a lone surrogate is replaced", "[" R("{\"a\":\"x\\ud800y\"}") "]",
         "timestamp,a\r\n" T ",x\xEF\xBF\xBDy\r\n"},
        {"the last characters before the surrogates", "[" R("{\"a\":\"\\ud7ff\\\\\xED\x9F\xBF\"}") "]",
         "timestamp,a\r\n" T ",\xED\x9F\xBF\\\xED\x9F\xBF\r\n"},
        {"what is nested is JSON", "[" R("{\"p\":{\"x\":[1,\"a\"]},\"e\":[]}") "]",
         "timestamp,p,e\r\n" T ",\"{\"\"x\"\":[1,\"\"a\"\"]}\",\"[]\"\r\n"},
        {"names are compared as they are meant", "[" R("{\"a\":1}") "," R("{\"\\u0061\":2}") "]",
         "timestamp,a\r\n" T ",1\r\n" T ",2\r\n"},
        {"a field called timestamp is one of its own", "[" R("{\"timestamp\":\"x\"}") "]",
         "timestamp,timestamp\r\n" T ",x\r\n"},
        {"an empty name", "[" R("{\"\":1}") "]", "timestamp,\"\"\r\n" T ",1\r\n"},
        {"data that is no object", "[" R("7") "," R("[1]") "," R("null") "]",
         "timestamp,data\r\n" T ",7\r\n" T ",\"[1]\"\r\n" T ",\r\n"},
        {"white space", "[ { \"timestamp\" : 1795417200 , \"data\" : { \"a\" : 1 } } ]",
         "timestamp,a\r\n" T ",1\r\n"},
        {"formulas are texts like others", "[" R("{\"a\":\"=1+1\"}") "]", "timestamp,a\r\n" T ",=1+1\r\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer out = {0};
        print_message("# %s\n", cases[i].rule);
        assert_int_equal(telemetry_csv_append(&out, cases[i].page, strlen(cases[i].page)), 0);
        assert_string_equal(buffer_terminate(&out), cases[i].csv);
        buffer_free(&out);
    }
}

/* One reading with `fields` fields. */
static int csv_of(unsigned fields, struct buffer *out)
{
    struct buffer page = {0};
    buffer_append_text(&page, "[{\"data\":{");
    for (unsigned i = 0; i < fields; i++)
        buffer_printf(&page, "%s\"f%u\":%u", i > 0 ? "," : "", i, i);
    buffer_append_text(&page, "},\"timestamp\":0}]");
    int r = telemetry_csv_append(out, page.data, page.len);
    buffer_free(&page);
    return r;
}

static void columns_are_bounded(void **state)
{
    struct buffer out = {0};
    assert_int_equal(csv_of(TELEMETRY_CSV_COLUMNS_MAX, &out), 0);
    assert_non_null(strstr(buffer_terminate(&out), ",999\r\n"));
    buffer_free(&out);
    assert_int_equal(csv_of(TELEMETRY_CSV_COLUMNS_MAX + 1, &out), -E2BIG);
    buffer_free(&out);
}

static void a_line_for_each_reading(void **state)
{
    static const struct {
        const char *page, *lines;
    } cases[] = {
        {"[]", ""},
        {"[" R("{\"a\":1}") "," R("[]") "]", R("{\"a\":1}") "\n" R("[]") "\n"},
        {"[ " R("{\r\n \"a\\n\":\n\"\\r\" }") " ]", R("{ \"a\\n\":\"\\r\" }") "\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer out = {0};
        assert_int_equal(telemetry_ndjson_append(&out, cases[i].page, strlen(cases[i].page)), 0);
        assert_string_equal(buffer_terminate(&out), cases[i].lines);
        buffer_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_a_table),
        cmocka_unit_test(columns_are_bounded),
        cmocka_unit_test(a_line_for_each_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
