/* Query parameters: what is taken, and what is said of the rest. */
#include "params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW_US (1795417200LL * 1000000) /* 2026-11-23T07:00:00Z */
#define OK     (-1)

static const char *const orders[] = {"desc", "asc", NULL};
static const struct param params[] = {
    {"hours", PARAM_NUMBER, 0, 8784, .accepts = "hours!"},
    {"from", PARAM_POINT, .accepts = "from!"},
    {"order", PARAM_CHOICE, .choices = orders, .accepts = "order!"},
    {"limit", PARAM_INTEGER, 1, 10000, .accepts = "limit!"},
    {"cursor", PARAM_CURSOR, .max = 8, .accepts = "cursor!"},
    {0},
};

static const struct {
    const char *query;
    int code;
    const char *target; /* of the problem */
    double number;      /* of the one value that is given */
} cases[] = {
    {NULL, OK, NULL, 0},
    {"", OK, NULL, 0},
    {"&&", OK, NULL, 0},
    {"hours=24", OK, NULL, 24},
    {"hours=0.25", OK, NULL, 0.25},
    {"hours=8784", OK, NULL, 8784},
    {"%68ours=%32", OK, NULL, 2},
    {"hours=8784.1", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours=0", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours=-1", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours=+1", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours=", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours=1e2", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours=0x10", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours=nan", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours=inf", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours=1.", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours=.5", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours=%201", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours=1%", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"hours=1%00", PROBLEM_INVALID_PARAMETER, "hours", 0},
    {"limit=1", OK, NULL, 1},
    {"limit=10000", OK, NULL, 10000},
    {"limit=0", PROBLEM_INVALID_PARAMETER, "limit", 0},
    {"limit=10001", PROBLEM_INVALID_PARAMETER, "limit", 0},
    {"limit=1.5", PROBLEM_INVALID_PARAMETER, "limit", 0},
    {"limit=99999999999999999999", PROBLEM_INVALID_PARAMETER, "limit", 0},
    {"order=desc", OK, NULL, 0},
    {"order=asc", OK, NULL, 1},
    {"order=ASC", PROBLEM_INVALID_PARAMETER, "order", 0},
    {"from=now", OK, NULL, (double)NOW_US},
    {"from=2026-11-23T08:00:00+01:00", OK, NULL, (double)NOW_US}, /* a literal plus is a plus */
    {"from=2026-11-23T08:00:00%2B01:00", OK, NULL, (double)NOW_US},
    {"from=yesterday", PROBLEM_INVALID_PARAMETER, "from", 0},
    {"cursor=aZ09-_", OK, NULL, 0},
    {"cursor=", PROBLEM_INVALID_CURSOR, "cursor", 0},
    {"cursor=a.b", PROBLEM_INVALID_CURSOR, "cursor", 0},
    {"cursor=123456789", PROBLEM_INVALID_CURSOR, "cursor", 0},
    {"nope=1", PROBLEM_UNKNOWN_PARAMETER, "nope", 0},
    {"=1", PROBLEM_UNKNOWN_PARAMETER, "", 0},
    {"Limit=1", PROBLEM_UNKNOWN_PARAMETER, "Limit", 0},
    {"a%zz=1", PROBLEM_UNKNOWN_PARAMETER, "a%zz", 0},
    {"limit=1&limit=1", PROBLEM_DUPLICATE_PARAMETER, "limit", 0},
    {"limit=1&%6cimit=2", PROBLEM_DUPLICATE_PARAMETER, "limit", 0},
    {"nope=1&limit=0", PROBLEM_UNKNOWN_PARAMETER, "nope", 0},
    {"limit=0&nope=1", PROBLEM_INVALID_PARAMETER, "limit", 0},
};

static void queries(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct param_value values[PARAMS_MAX];
        struct problem problem;
        char *scratch = malloc(cases[i].query != NULL ? strlen(cases[i].query) + 1 : 1);
        assert_non_null(scratch);
        bool ok = params_parse(cases[i].query, params, NOW_US, scratch, values, &problem);
        if (ok != (cases[i].code == OK))
            fail_msg("%s", cases[i].query);
        if (!ok) {
            assert_int_equal(problem.code, cases[i].code);
            assert_string_equal(problem.target, cases[i].target);
        } else
            for (size_t p = 0; p < 4; p++)
                if (values[p].given)
                    assert_true(
                        cases[i].number ==
                        (params[p].type == PARAM_NUMBER ? values[p].number : (double)values[p].integer));
        free(scratch);
    }
}

static void a_long_unknown_name_is_cut(void **state)
{
    char query[300], scratch[300];
    struct param_value values[PARAMS_MAX];
    struct problem problem;

    (void)state;
    memset(query, 'x', sizeof query - 1);
    query[sizeof query - 1] = '\0';
    assert_false(params_parse(query, NULL, NOW_US, scratch, values, &problem));
    assert_int_equal(problem.code, PROBLEM_UNKNOWN_PARAMETER);
    assert_int_equal(strlen(problem.target), 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries),
        cmocka_unit_test(a_long_unknown_name_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
