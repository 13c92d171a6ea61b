/* The body of POST telemetry: which are taken, and what is said of the rest. */
#include "reading_body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OK   (-1)
#define NONE (-1)

static const struct {
    const char *body;
    int code;
    long index; /* NONE: the problem has none */
    unsigned line, column;
    size_t count;
    const char *first_id; /* NULL: a random one */
} cases[] = {
    {"{}", OK, NONE, 0, 0, 1, NULL},
    {" {\"v\":1} \r\n", OK, NONE, 0, 0, 1, NULL},
    {"[{\"v\":1},{\"v\":2}]", OK, NONE, 0, 0, 2, NULL},
    {"{\"timestamp\":\"2026-11-23T07:00:00Z\"}", OK, NONE, 0, 0, 1, "d%231-2026-11-23T07:00:00Z"},
    {"{\"timestamp\":\"2026-11-23T07:00:00+01:00\"}", OK, NONE, 0, 0, 1, "d%231-2026-11-23T07:00:00+01:00"},
    {"{\"\\u0074imestamp\":\"2026-11-23T07:00:00\\u005a\"}", OK, NONE, 0, 0, 1, "d%231-2026-11-23T07:00:00Z"},
    {"{\"a\":{\"timestamp\":5}}", OK, NONE, 0, 0, 1, NULL},
    {"{\"big\":123456789012345678901234567890,\"\\u0000\":1.10}", OK, NONE, 0, 0, 1, NULL},

    {"", PROBLEM_INVALID_JSON, NONE, 1, 1, 0, NULL},
    {"{", PROBLEM_INVALID_JSON, NONE, 1, 2, 0, NULL},
    {"{\"a\":1,}", PROBLEM_INVALID_JSON, NONE, 1, 8, 0, NULL},
    {"{\n  \"a\": 01}", PROBLEM_INVALID_JSON, NONE, 2, 9, 0, NULL},
    {"{\"a\":1}{", PROBLEM_INVALID_JSON, NONE, 1, 8, 0, NULL},
    {"{\"a\":\"\xff\"}", PROBLEM_INVALID_JSON, NONE, 1, 7, 0, NULL},
    {"{\"a\":1,\"a\":2}", PROBLEM_INVALID_JSON, NONE, 1, 8, 0, NULL},
    {"[{\"x\":[{\"a\":1,\"\\u0061\":2}]}]", PROBLEM_INVALID_JSON, NONE, 1, 15, 0, NULL},

    {"1", PROBLEM_INVALID_READING, NONE, 0, 0, 0, NULL},
    {"\"x\"", PROBLEM_INVALID_READING, NONE, 0, 0, 0, NULL},
    {"null", PROBLEM_INVALID_READING, NONE, 0, 0, 0, NULL},
    {"[]", PROBLEM_INVALID_READING, NONE, 0, 0, 0, NULL},
    {"[1]", PROBLEM_INVALID_READING, 0, 0, 0, 0, NULL},
    {"[{},{},[]]", PROBLEM_INVALID_READING, 2, 0, 0, 0, NULL},
    {"{\"timestamp\":1795417200}", PROBLEM_INVALID_READING, NONE, 0, 0, 0, NULL},
    {"{\"timestamp\":null}", PROBLEM_INVALID_READING, NONE, 0, 0, 0, NULL},
    {"{\"timestamp\":\"2026-11-23T07:00:00\"}", PROBLEM_INVALID_READING, NONE, 0, 0, 0, NULL},
    {"{\"timestamp\":\"2026-02-30T07:00:00Z\"}", PROBLEM_INVALID_READING, NONE, 0, 0, 0, NULL},
    {"[{},{\"timestamp\":\"yesterday\"}]", PROBLEM_INVALID_READING, 1, 0, 0, 0, NULL},
    {"{\"timestamp\":\"2026-11-23T07:00:00.000000000000000000000000000000000000000000000000000Z\"}",
     PROBLEM_INVALID_READING, NONE, 0, 0, 0, NULL},
};

static void bodies(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reading_body body = {0};
        struct problem problem = {0};
        bool ok = reading_body_parse(cases[i].body, strlen(cases[i].body), "d#1", &body, &problem);
        if (ok != (cases[i].code == OK))
            fail_msg("%s: %s", cases[i].body, ok ? "taken" : problem.detail);
        if (ok) {
            assert_int_equal(body.count, cases[i].count);
            if (cases[i].first_id == NULL)
                assert_null(body.readings[0].id);
            else
                assert_string_equal(body.readings[0].id, cases[i].first_id);
        } else if ((int)problem.code != cases[i].code || problem.line != cases[i].line ||
                   problem.column != cases[i].column ||
                   (problem.has_index ? problem.index : NONE) != cases[i].index)
            fail_msg("%s: code %d, %u:%u, index %ld", cases[i].body, problem.code, problem.line,
                     problem.column, problem.has_index ? problem.index : NONE);
        reading_body_free(&body);
    }
}

/* `before` + depth times "{"a":" .. "}" + `after`. */
static int code_at_depth(unsigned depth, const char *before, const char *after, long *ret_index)
{
    struct buffer text = {0};
    struct reading_body body = {0};
    struct problem problem = {0};

    buffer_append_text(&text, before);
    for (unsigned i = 1; i < depth; i++)
        buffer_append_text(&text, "{\"a\":");
    buffer_append_text(&text, "{}");
    for (unsigned i = 1; i < depth; i++)
        buffer_append_char(&text, '}');
    buffer_append_text(&text, after);
    int code = reading_body_parse(text.data, text.len, "d", &body, &problem) ? OK : (int)problem.code;
    *ret_index = problem.has_index ? problem.index : NONE;
    reading_body_free(&body);
    buffer_free(&text);
    return code;
}

static void a_reading_is_32_levels_deep_at_most(void **state)
{
    static const struct {
        unsigned depth;
        const char *before, *after;
        int code;
        long index;
    } rows[] = {
        {32, "", "", OK, NONE},
        {33, "", "", PROBLEM_INVALID_READING, NONE},
        {32, "[{},", "]", OK, NONE},
        {33, "[{},", "]", PROBLEM_INVALID_READING, 1},
        {100000, "[{\"x\":\"],[\"},{},", "]", PROBLEM_INVALID_READING, 2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        long index;
        assert_int_equal(code_at_depth(rows[i].depth, rows[i].before, rows[i].after, &index), rows[i].code);
        assert_int_equal(index, rows[i].index);
    }
}

static void an_array_holds_500_readings_at_most(void **state)
{
    (void)state;
    for (size_t count = 500; count <= 501; count++) {
        struct buffer text = {0};
        struct reading_body body = {0};
        struct problem problem = {0};
        for (size_t i = 0; i < count; i++)
            buffer_append_text(&text, i == 0 ? "[{}" : ",{}");
        buffer_append_char(&text, ']');
        assert_int_equal(reading_body_parse(text.data, text.len, "d", &body, &problem), count == 500);
        assert_true(count == 500 || (problem.code == PROBLEM_INVALID_READING && !problem.has_index));
        reading_body_free(&body);
        buffer_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies),
        cmocka_unit_test(a_reading_is_32_levels_deep_at_most),
        cmocka_unit_test(an_array_holds_500_readings_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
