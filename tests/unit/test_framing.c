/* Which bytes get through to the HTTP parser, and what is answered to the rest (RFC 9112). */
#include "framing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OK (-1)

static const struct {
    const char *rule;
    const char *bytes;
    size_t len; /* 0: strlen */
    int code;   /* OK, or the problem */
} cases[] = {
    {"a plain GET passes", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, OK},
    {"HTTP/1.0 needs no Host", "GET / HTTP/1.0\r\n\r\n", 0, OK},
    {"two requests in one piece pass", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
     0, OK},
    {"one empty line before a request is forgiven", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, OK},
    {"two empty lines are not", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"absolute form passes", "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", 0, OK},
    {"OPTIONS * passes", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 0, OK},
    {"GET * does not", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"authority form is refused", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"an unknown method is the router's", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 0, OK},
    {"a method is a token", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"a method has a bound", "ABCDEFGHIJKLMNOPQRSTUVWXYZ / HTTP/1.1\r\nHost: a\r\n\r\n", 0,
     PROBLEM_BAD_REQUEST},
    {"one space after the method", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"one space before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"no space after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"no tab for a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"no request without a version", "GET /\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"HTTP/2.0 is not spoken", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 0, PROBLEM_VERSION_NOT_SUPPORTED},
    {"HTTP/1.2 is not spoken", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 0, PROBLEM_VERSION_NOT_SUPPORTED},
    {"HTTP/0.9 is not spoken", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", 0, PROBLEM_VERSION_NOT_SUPPORTED},
    {"a version has one digit each", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"a version is upper-case", "GET / http/1.1\r\nHost: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"a fragment is never sent", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"a target is ASCII", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"a target has no NUL", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 28, PROBLEM_BAD_REQUEST},

    {"bare LF ends no line", "GET / HTTP/1.1\nHost: a\n\n", 0, PROBLEM_BAD_REQUEST},
    {"bare LF ends no field", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"bare CR ends no field", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"no folded field", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"no space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"no space before a colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"no field without a colon", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"no field without a name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"no NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 36, PROBLEM_BAD_REQUEST},
    {"bytes above ASCII pass in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\r\n\r\n", 0, OK},
    {"an empty value passes", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", 0, OK},

    {"a Host is needed", "GET / HTTP/1.1\r\nX: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"one Host only", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"no empty Host", "GET / HTTP/1.1\r\nHost: \r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"no path in a Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"no space in a Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"IPv6 and port in a Host", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 0, OK},

    {"a name and a port in a Host", "GET / HTTP/1.1\r\nHost: a.b-c_d:8080 \r\n\r\n", 0, OK},
    {"no open bracket in a Host", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"nothing but a port behind the bracket", "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", 0,
     PROBLEM_BAD_REQUEST},
    {"one colon in a Host", "GET / HTTP/1.1\r\nHost: x:y:z\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"a port is a number", "GET / HTTP/1.1\r\nHost: x:8a\r\n\r\n", 0, PROBLEM_BAD_REQUEST},
    {"a port needs a host", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 0, PROBLEM_BAD_REQUEST},

    {"a counted body passes", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 0, OK},
    {"a request after a counted body",
     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\naGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, OK},
    {"white space around a length passes", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t3 \r\n\r\nabc", 0,
     OK},
    {"two equal lengths are refused",
     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 0,
     PROBLEM_BAD_REQUEST},
    {"two different lengths too",
     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 0,
     PROBLEM_BAD_REQUEST},
    {"no list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 0,
     PROBLEM_BAD_REQUEST},
    {"no sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 0, PROBLEM_BAD_REQUEST},
    {"no negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", 0,
     PROBLEM_BAD_REQUEST},
    {"no space inside", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\nabc", 0,
     PROBLEM_BAD_REQUEST},
    {"no hexadecimal", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", 0,
     PROBLEM_BAD_REQUEST},
    {"no empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabc", 0, PROBLEM_BAD_REQUEST},
    {"no overflow", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n", 0,
     PROBLEM_PAYLOAD_TOO_LARGE},

    {"a chunked body passes",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 0, OK},
    {"chunked in any case", "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n0\r\n\r\n", 0,
     OK},
    {"a chunk extension passes",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n", 0, OK},
    {"a trailer passes", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
     0, OK},
    {"a request after a chunked body",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\nGET / "
     "HTTP/1.1\r\nHost: a\r\n\r\n",
     0, OK},
    {"not beside a length",
     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0,
     PROBLEM_BAD_REQUEST},
    {"nor before one",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 0,
     PROBLEM_BAD_REQUEST},
    {"not twice",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
     "chunked\r\n\r\n0\r\n\r\n",
     0, PROBLEM_BAD_REQUEST},
    {"not in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0,
     PROBLEM_BAD_REQUEST},
    {"another coding is not implemented", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 0,
     PROBLEM_NOT_IMPLEMENTED},
    {"a coding that looks like chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
     0, PROBLEM_NOT_IMPLEMENTED},
    {"a list of codings", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip,chunked\r\n\r\n", 0,
     PROBLEM_NOT_IMPLEMENTED},
    {"a list of codings with spaces",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 0, PROBLEM_NOT_IMPLEMENTED},
    {"a list of expectations", "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\n\r\n", 0,
     PROBLEM_EXPECTATION_FAILED},
    {"a vertical tab hides nothing",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b"
     "chunked\r\n\r\n",
     0, PROBLEM_BAD_REQUEST},
    {"a chunk size is hexadecimal", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
     0, PROBLEM_BAD_REQUEST},
    {"no 0x before a chunk size",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n", 0,
     PROBLEM_BAD_REQUEST},
    {"no sign before a chunk size",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n", 0, PROBLEM_BAD_REQUEST},
    {"no empty chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n;a\r\n", 0,
     PROBLEM_BAD_REQUEST},
    {"a chunk size has a bound",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n", 0,
     PROBLEM_BAD_REQUEST},
    {"bare LF ends no chunk size",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n", 0, PROBLEM_BAD_REQUEST},
    {"bare LF ends no chunk extension",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n", 0, PROBLEM_BAD_REQUEST},
    {"a chunk ends where its size says",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", 0, PROBLEM_BAD_REQUEST},
    {"bare LF ends no chunk",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", 0,
     PROBLEM_BAD_REQUEST},
    {"a trailer has a name",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n: y\r\n\r\n", 0,
     PROBLEM_BAD_REQUEST},
    {"a trailer is not folded",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n z\r\n\r\n", 0,
     PROBLEM_BAD_REQUEST},

    {"100-continue is met", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 0\r\n\r\n",
     0, OK},
    {"another expectation is not", "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 0,
     PROBLEM_EXPECTATION_FAILED},
};

static size_t length_of(size_t i)
{
    return cases[i].len != 0 ? cases[i].len : strlen(cases[i].bytes);
}

static int verdict(const struct framing *f)
{
    return f->fault ? (int)f->code : OK;
}

static void requests_in_one_piece(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct framing f = {0};
        size_t passed = framing_feed(&f, cases[i].bytes, length_of(i));
        if (verdict(&f) != cases[i].code)
            fail_msg("%s: %d instead of %d", cases[i].rule, verdict(&f), cases[i].code);
        if (cases[i].code == OK && (passed != length_of(i) || !framing_idle(&f)))
            fail_msg("%s: %zu bytes passed, idle %d", cases[i].rule, passed, framing_idle(&f));
    }
}

static void requests_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct framing f = {0};
        for (size_t at = 0; at < length_of(i) && !f.fault; at++)
            framing_feed(&f, cases[i].bytes + at, 1);
        if (verdict(&f) != cases[i].code)
            fail_msg("%s: %d instead of %d", cases[i].rule, verdict(&f), cases[i].code);
    }
}

static void only_what_came_before_the_fault_passes(void **state)
{
    static const char good[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    char text[256];
    struct framing f = {0};

    (void)state;
    int len = snprintf(text, sizeof text, "%sPOST /x HTTP/1.1\r\nHost : a\r\n\r\n", good);
    assert_int_equal(framing_feed(&f, text, (size_t)len), strlen(good));
    assert_true(f.fault);
    assert_int_equal(framing_feed(&f, good, strlen(good)), 0);
}

/* A head of `fields` fields and a target of `target` bytes, each field with a value of `value` bytes. */
static int verdict_of_size(size_t target, size_t fields, size_t value)
{
    struct framing f = {0};
    char *bytes = malloc(target + 16 > value + 16 ? target + 16 : value + 16);
    assert_non_null(bytes);
    framing_feed(&f, "GET /", 5);
    memset(bytes, 'a', target);
    framing_feed(&f, bytes, target - 1);
    framing_feed(&f, " HTTP/1.1\r\nHost: a\r\n", 20);
    memset(bytes, 'v', value);
    for (size_t i = 1; i < fields; i++) {
        framing_feed(&f, "X: ", 3);
        framing_feed(&f, bytes, value);
        framing_feed(&f, "\r\n", 2);
    }
    framing_feed(&f, "\r\n", 2);
    free(bytes);
    return verdict(&f);
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    assert_int_equal(verdict_of_size(FRAMING_TARGET_MAX, 1, 0), OK);
    assert_int_equal(verdict_of_size(FRAMING_TARGET_MAX + 1, 1, 0), PROBLEM_URI_TOO_LONG);
    assert_int_equal(verdict_of_size(FRAMING_TARGET_MAX * 3, 1, 0), PROBLEM_URI_TOO_LONG);
    assert_int_equal(verdict_of_size(1, FRAMING_FIELDS_MAX, 1), OK);
    assert_int_equal(verdict_of_size(1, FRAMING_FIELDS_MAX + 1, 1), PROBLEM_HEADERS_TOO_LARGE);
    assert_int_equal(verdict_of_size(1, 2, FRAMING_HEAD_MAX - 100), OK);
    assert_int_equal(verdict_of_size(1, 2, FRAMING_HEAD_MAX), PROBLEM_HEADERS_TOO_LARGE);
}

static void a_head_under_way_is_known(void **state)
{
    struct framing f = {0};

    (void)state;
    assert_true(framing_idle(&f) && !framing_in_head(&f));
    framing_feed(&f, "G", 1);
    assert_true(!framing_idle(&f) && framing_in_head(&f));
    framing_feed(&f, "ET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r", 44);
    assert_true(framing_in_head(&f));
    framing_feed(&f, "\n", 1);
    assert_true(!framing_idle(&f) && !framing_in_head(&f));
    framing_feed(&f, "ab", 2);
    assert_true(framing_idle(&f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_in_one_piece),
        cmocka_unit_test(requests_byte_by_byte),
        cmocka_unit_test(only_what_came_before_the_fault_passes),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(a_head_under_way_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
