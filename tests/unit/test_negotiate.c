#include "negotiate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { NONE = -1, JSON, CSV, NDJSON };

static void the_best_type_is_chosen(void **state)
{
    static const char *const offered[] = {"application/json", "text/csv", "application/x-ndjson", NULL};
    static const struct {
        const char *accept;
        int chosen;
    } cases[] = {
        {NULL, JSON},
        {"", JSON},
        {" , ", JSON},
        {"*/*", JSON},
        {"application/json", JSON},
        {"APPLICATION/JSON", JSON},
        {"text/csv", CSV},
        {"text/*", CSV},
        {"application/*", JSON},
        {"application/x-ndjson", NDJSON},
        {"text/csv, application/json", JSON},
        {"text/csv, application/json;q=0.9", CSV},
        {"text/csv;q=0.5,application/x-ndjson;q=0.6", NDJSON},
        {"text/csv;header=present", CSV},
        {"text/csv ; q=1.000", CSV},
        {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON},
        {"application/json;q=0, */*", CSV},
        {"application/*;q=0, */*;q=0.1", CSV},
        {"*/*;q=0, application/x-ndjson;q=0.001", NDJSON},
        {"image/png", NONE},
        {"application/json;q=0", NONE},
        {"*/*;q=0", NONE},
        {"text", NONE},
        {"text/csvx", NONE},
        {"text/cs", NONE},
        {"application/json;q=2", NONE},
        {"application/json;q=0.1234", NONE},
        {"application/json;q=", NONE},
        {"application/json;q=x, text/csv", CSV},
        {";q=1, text/csv", CSV},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("# %s\n", cases[i].accept != NULL ? cases[i].accept : "no field");
        assert_int_equal(negotiate_media_type(cases[i].accept, offered), cases[i].chosen);
    }
}

static void gzip_is_sent_where_it_is_wanted(void **state)
{
    static const struct {
        const char *accept;
        bool wanted;
    } cases[] = {
        {NULL, false},
        {"", false},
        {"gzip", true},
        {"GZIP", true},
        {"x-gzip", true},
        {"gzip, deflate, br, zstd", true},
        {"br;q=1.0, gzip;q=0.8, *;q=0.1", true},
        {"*", true},
        {"gzip;q=0", false},
        {"*;q=0", false},
        {"gzip;q=0, *", false},
        {"deflate, br", false},
        {"identity", false},
        {"identity, gzip;q=0.5", false},
        {"identity;q=0.5, gzip", true},
        {"identity;q=0, gzip;q=0.1", true},
        {"gzipped", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("# %s\n", cases[i].accept != NULL ? cases[i].accept : "no field");
        assert_int_equal(negotiate_gzip(cases[i].accept), cases[i].wanted);
    }
}

static void tags_are_compared_as_lists(void **state)
{
    static const struct {
        const char *field;
        bool matches; /* "abc" */
    } cases[] = {
        {NULL, false},
        {"", false},
        {"\"abc\"", true},
        {"W/\"abc\"", true},
        {"\"x\", \"abc\"", true},
        {"\"x\",W/\"y\",\"abc\" ", true},
        {"*", true},
        {" * ", true},
        {"\"abcd\"", false},
        {"\"ab\"", false},
        {"\"ABC\"", false},
        {"abc", false},
        {"\"a*c\"", false},
        {"\"abc", false},
        {"w/\"abc\"", false},
        {"x, \"abc\"", false},
        {"\"x\", *", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("# %s\n", cases[i].field != NULL ? cases[i].field : "no field");
        assert_int_equal(negotiate_etag_matches(cases[i].field, "\"abc\""), cases[i].matches);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_type_is_chosen),
        cmocka_unit_test(gzip_is_sent_where_it_is_wanted),
        cmocka_unit_test(tags_are_compared_as_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
