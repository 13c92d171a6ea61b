#include "grants.h"
#include "permission.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct {
    const char *rule, *claim, *device;
    bool has;
} cases[] = {
    {"an id", "[\"d1\"]", "d1", true},
    {"another id", "[\"d1\"]", "d2", false},
    {"an id is not a beginning", "[\"d1\"]", "d10", false},
    {"an id is whole", "[\"d10\"]", "d1", false},
    {"case counts", "[\"Dev\"]", "dev", false},
    {"one of several", "[\"a\",\"b\",\"c\"]", "c", true},
    {"none of several", "[\"a\",\"b\",\"c\"]", "d", false},
    {"a prefix", "[\"eu-*\"]", "eu-1", true},
    {"a prefix with nothing behind", "[\"eu-*\"]", "eu-", true},
    {"not the prefix", "[\"eu-*\"]", "us-1", false},
    {"shorter than the prefix", "[\"eu-*\"]", "eu", false},
    {"the case of a prefix counts", "[\"EU-*\"]", "eu-1", false},
    {"everything", "[\"*\"]", "any", true},
    {"a star within is a character", "[\"a*b\"]", "a*b", true},
    {"a star within is no pattern", "[\"a*b\"]", "axb", false},
    {"a star at the front is a character", "[\"*b\"]", "ab", false},
    {"of two stars the last is the pattern", "[\"a**\"]", "a*x", true},
    {"of two stars the first is a character", "[\"a**\"]", "abx", false},
    {"a device whose name ends in a star", "[\"a*\"]", "a*", true},
    {"a question mark is a character", "[\"a?\"]", "ab", false},
    {"blanks are not trimmed", "[\" a\"]", "a", false},
    {"an escaped id", "[\"\\u0064\\u0031\"]", "d1", true},
    {"no id", "[]", "d1", false},
    {"an empty id", "[\"\"]", "d1", false},
    {"text", "\"d1\"", "d1", false},
    {"a star as text", "\"*\"", "d1", false},
    {"null", "null", "d1", false},
    {"true", "true", "d1", false},
    {"a number", "1", "1", false},
    {"an object", "{\"d1\":true}", "d1", false},
    {"a number among them", "[\"d1\",1]", "d1", false},
    {"null among them", "[\"*\",null]", "d1", false},
    {"an array among them", "[\"d1\",[\"d2\"]]", "d1", false},
};

static void test_cases(void **state)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct grants *grants = NULL;
        json_t *claim = json_loads(cases[i].claim, JSON_DECODE_ANY, NULL);
        assert_non_null(claim);
        assert_int_equal(grants_new(claim, &grants), 0);
        json_decref(claim); /* nothing of it is kept */
        assert_non_null(grants);
        if (grants_has(grants, cases[i].device) != cases[i].has)
            fail_msg("%s", cases[i].rule);
        grants_unref(grants);
    }
}

static void test_no_claim_is_every_device(void **state)
{
    assert_true(grants_has(NULL, "d1"));
    grants_unref(NULL);
}

static void test_too_many_are_none(void **state)
{
    for (int more = 0; more < 2; more++) {
        struct grants *grants = NULL;
        json_t *claim = json_array();
        for (int i = 0; i < GRANTS_MAX - 1 + more; i++)
            json_array_append_new(claim, json_string("x"));
        json_array_append_new(claim, json_string("last"));
        assert_int_equal(grants_new(claim, &grants), 0);
        assert_int_equal(grants_has(grants, "last"), more == 0);
        grants_unref(grants);
        json_decref(claim);
    }
}

/* --- permissions ------------------------------------------------------------------------------- */

static void test_permission_names(void **state)
{
    static const char *const names[] = {"Telemetry.Read", "Telemetry.Write", "Device.Read", "Device.Write",
                                        "Ops.Read"};
    static const char *const others[] = {
        "",  "telemetry.read", "Telemetry.Rea",  "Telemetry.Read ", "Telemetry.*",
        "*", "Ops.Write",      "Telemetry.ReadX"};

    for (size_t i = 0; i < COUNT(names); i++) {
        assert_int_equal(permission_from_name(names[i], strlen(names[i])), 1u << i);
        assert_string_equal(permission_name(1u << i), names[i]);
    }
    for (size_t i = 0; i < COUNT(others); i++)
        assert_int_equal(permission_from_name(others[i], strlen(others[i])), PERMISSION_NONE);
    assert_int_equal(permission_from_name("Ops.Read Device.Read", 8), PERMISSION_OPS_READ);
    assert_string_equal(permission_name(PERMISSION_NONE), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_no_claim_is_every_device),
        cmocka_unit_test(test_too_many_are_none),
        cmocka_unit_test(test_permission_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
