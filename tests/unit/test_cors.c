#include "cors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define LIST "https://a.example,http://localhost:5173,https://b.example:8443"

static const struct {
    const char *rule, *origins, *origin;
    bool allowed;
} origins[] = {
    {"the first of the list", LIST, "https://a.example", true},
    {"one in the middle", LIST, "http://localhost:5173", true},
    {"the last of the list", LIST, "https://b.example:8443", true},
    {"the only one", "https://a.example", "https://a.example", true},
    {"blanks about a piece are not of it", "https://a.example , https://c.example", "https://c.example",
     true},

    {"no list", "", "https://a.example", false},
    {"no origin", LIST, NULL, false},
    {"an empty origin", LIST, "", false},
    {"an empty origin of no list", "", "", false},
    {"another host", LIST, "https://evil.example", false},
    {"another scheme", LIST, "http://a.example", false},
    {"another port", LIST, "http://localhost:5174", false},
    {"no port", LIST, "https://b.example", false},
    {"a port that is the default", LIST, "https://a.example:443", false},
    {"a slash behind it", LIST, "https://a.example/", false},
    {"a path", LIST, "https://a.example/x", false},
    {"more letters behind it", LIST, "https://a.example.evil", false},
    {"more letters before it", LIST, "xhttps://a.example", false},
    {"a subdomain", LIST, "https://x.a.example", false},
    {"fewer letters", LIST, "https://a.exampl", false},
    {"a piece's end", LIST, "a.example", false},
    {"capitals: an origin is lower case", LIST, "https://A.example", false},
    {"two of the list", LIST, "https://a.example,http://localhost:5173", false},
    {"two of the list with a blank", LIST, "https://a.example http://localhost:5173", false},
    {"the comma between two", LIST, ",", false},
    {"a blank behind it", LIST, "https://a.example ", false},
    {"null", LIST, "null", false},
    {"a wildcard", LIST, "*", false},
};

static void test_an_origin_is_compared_exactly(void **state)
{
    for (size_t i = 0; i < COUNT(origins); i++)
        if (cors_origin_allowed(origins[i].origins, origins[i].origin) != origins[i].allowed)
            fail_msg("%s", origins[i].rule);
}

static void test_a_preflight_names_its_origin_and_method(void **state)
{
    static const struct {
        const char *rule, *method, *origin, *request_method;
        bool preflight;
    } cases[] = {
        {"as a browser sends it", "OPTIONS", "https://a.example", "PATCH", true},
        {"of an origin that is not allowed", "OPTIONS", "null", "GET", true},
        {"no method asked for", "OPTIONS", "https://a.example", NULL, false},
        {"an empty method", "OPTIONS", "https://a.example", "", false},
        {"no origin", "OPTIONS", NULL, "GET", false},
        {"an empty origin", "OPTIONS", "", "GET", false},
        {"a plain OPTIONS", "OPTIONS", NULL, NULL, false},
        {"another method", "GET", "https://a.example", "GET", false},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        if (cors_is_preflight(cases[i].method, cases[i].origin, cases[i].request_method) !=
            cases[i].preflight)
            fail_msg("%s", cases[i].rule);
}

static bool lists(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = list; *at != '\0'; at += strcspn(at, ","), at += strspn(at, ", "))
        if (strncasecmp(at, name, len) == 0 && (at[len] == '\0' || at[len] == ','))
            return true;
    return false;
}

static void test_the_fields_name_what_pages_need(void **state)
{
    static const char *const exposed[] = {"x-request-id", "Link",      "ETag",
                                          "Retry-After",  "RateLimit", "RateLimit-Policy"};
    static const char *const allowed[] = {"authorization", "content-type", "x-request-id", "if-none-match",
                                          "last-event-id"};

    for (size_t i = 0; i < COUNT(exposed); i++)
        if (!lists(cors_exposed_headers, exposed[i]))
            fail_msg("%s is not exposed", exposed[i]);
    for (size_t i = 0; i < COUNT(allowed); i++)
        if (!lists(cors_allowed_headers, allowed[i]))
            fail_msg("%s is not allowed", allowed[i]);
    /* With credentials a * would be a header of that name, and it never stands for authorization. */
    assert_null(strchr(cors_exposed_headers, '*'));
    assert_null(strchr(cors_allowed_headers, '*'));
    assert_in_range(atoi(cors_max_age), 1, 86400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_origin_is_compared_exactly),
        cmocka_unit_test(test_a_preflight_names_its_origin_and_method),
        cmocka_unit_test(test_the_fields_name_what_pages_need),
    };
    return cmocka_run_group_tests_name("cors", tests, NULL, NULL);
}
