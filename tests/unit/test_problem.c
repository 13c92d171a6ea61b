/* Problems: their JSON, and what each trouble of an upstream becomes. */
#include "problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void a_problem_is_rfc_9457(void **state)
{
#define HEAD "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"detail\":"
    static const struct {
        struct problem problem;
        const char *text;
    } cases[] = {
        {{.code = PROBLEM_BAD_REQUEST}, HEAD "\"Bad Request\",\"code\":\"BadRequest\",\"requestId\":\"r1\"}"},
        {{.code = PROBLEM_INVALID_PARAMETER, .detail = "no", .target = "limit"},
         HEAD "\"no\",\"code\":\"InvalidParameter\",\"requestId\":\"r1\",\"target\":\"limit\"}"},
        {{.code = PROBLEM_INVALID_JSON, .detail = "no", .line = 2, .column = 7},
         HEAD "\"no\",\"code\":\"InvalidJson\",\"requestId\":\"r1\",\"line\":2,\"column\":7}"},
        {{.code = PROBLEM_INVALID_READING, .detail = "no", .has_index = true, .index = 0},
         HEAD "\"no\",\"code\":\"InvalidReading\",\"requestId\":\"r1\",\"index\":0}"},
        {{.code = PROBLEM_UNKNOWN_PARAMETER, .detail = "no", .target = "a\"b"},
         HEAD "\"no\",\"code\":\"UnknownParameter\",\"requestId\":\"r1\",\"target\":\"a\\\"b\"}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buffer out = {0};
        problem_write(&out, &cases[i].problem, "r1");
        assert_string_equal(buffer_terminate(&out), cases[i].text);
        buffer_free(&out);
    }
}

static void troubles_of_an_upstream(void **state)
{
    static const struct {
        struct upstream_result result;
        const char *code;
        unsigned status, retry_after_s;
    } cases[] = {
        {{.status = UPSTREAM_NOT_FOUND}, "DeviceNotFound", 404, 0},
        {{.status = UPSTREAM_BAD_CURSOR}, "InvalidCursor", 400, 0},
        {{.status = UPSTREAM_THROTTLED, .retry_after_s = 7}, "UpstreamThrottled", 503, 7},
        {{.status = UPSTREAM_THROTTLED}, "UpstreamThrottled", 503, 1},
        {{.status = UPSTREAM_UNAVAILABLE}, "UpstreamUnavailable", 502, 0},
        {{.status = UPSTREAM_TIMEOUT}, "UpstreamTimeout", 504, 0},
        {{.status = UPSTREAM_UNAUTHORIZED}, "UpstreamUnauthorized", 502, 0},
        {{.status = UPSTREAM_OVERLOADED}, "Overloaded", 503, 1},
        {{.status = UPSTREAM_REJECTED}, "UpstreamRejected", 502, 0},
        {{.status = UPSTREAM_NO_MEMORY}, "Overloaded", 503, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct problem problem = problem_from_upstream(&cases[i].result);
        assert_string_equal(problem_row(problem.code)->code, cases[i].code);
        assert_int_equal(problem_row(problem.code)->status, cases[i].status);
        assert_int_equal(problem.retry_after_s, cases[i].retry_after_s);
    }
}

static void every_code_has_its_row(void **state)
{
    (void)state;
    for (unsigned a = 0; a < PROBLEM_COUNT; a++) {
        assert_non_null(problem_row(a)->code);
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(problem_row(a)->code, problem_row(b)->code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_problem_is_rfc_9457),
        cmocka_unit_test(troubles_of_an_upstream),
        cmocka_unit_test(every_code_has_its_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
