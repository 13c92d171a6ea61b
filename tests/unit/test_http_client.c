/*
 * The HTTP client against a server that says exactly the bytes of a table: what it takes for an answer, and
 * what it sends.
 */
#include "http_client_harness.h"

static void answers_are_whole_or_refused(void **state)
{
    (void)state;
    for (unsigned i = 0; i < REPLIES_IN_TABLE; i++) {
        struct fixture *f;
        setup_with(&f, 4, 4);
        call(f, 0, i, LONG_S);
        turn(f, 1);
        check_reply(&f->got[0], &replies[i], "fresh connection");
        /* What came before must not leave a trace in the next answer, and the same on a kept connection. */
        call(f, 1, 0, LONG_S);
        turn(f, 2);
        check_reply(&f->got[1], &replies[0], replies[i].name);
        call(f, 2, i, LONG_S);
        turn(f, 3);
        check_reply(&f->got[2], &replies[i], "kept connection");
        call(f, 3, 0, LONG_S);
        turn(f, 4);
        check_reply(&f->got[3], &replies[0], replies[i].name);
        teardown(f);
    }
}

static void headers_are_kept(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    call(f, 0, reply_index("headers"), LONG_S);
    turn(f, 1);
    assert_string_equal(f->got[0].headers, "c 1|2.5|1002|7|3|\"a\"|application/json");
    call(f, 1, 0, LONG_S);
    turn(f, 2);
    assert_string_equal(f->got[1].headers, "-|-|-|-|-|-|-");
    teardown(f);
}

static void requests_are_sent_as_told(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    char *large = malloc(KB(1100));
    memset(large, 'b', KB(1100));
    const struct {
        const char *method, *headers[3], *body;
        size_t body_len;
        const char *start, *with[3], *end;
    } cases[] = {
        {"GET", {0}, NULL, 0, "GET /0?q=%20 HTTP/1.1\r\n", {"\r\nHost: 127.0.0.1:"}, "\r\n\r\n"},
        {"POST",
         {"A: b", "Content-Type: application/json"},
         "{}",
         2,
         "POST /0?q=%20 HTTP/1.1\r\n",
         {"\r\nA: b\r\n", "\r\nContent-Type: application/json\r\n", "\r\nContent-Length: 2\r\n"},
         "\r\n\r\n{}"},
        {"POST", {"Content-Type: a"}, large, KB(1100), "POST /", {"\r\nContent-Length: 1126400\r\n"}, "bbb"},
        {"POST", {"Content-Type: a"}, NULL, 0, "POST /", {"\r\nContent-Length: 0\r\n"}, "\r\n\r\n"},
        {"PATCH", {"Content-Type: a"}, "p", 1, "PATCH /", {"\r\nContent-Length: 1\r\n"}, "\r\n\r\np"},
        {"DELETE", {0}, NULL, 0, "DELETE /", {NULL}, "\r\n\r\n"},
        {"HEAD", {0}, NULL, 0, "HEAD /", {NULL}, "\r\n\r\n"},
        {"GET", {0}, NULL, 0, "GET /0?q=%20 HTTP/1.1\r\n", {NULL}, "\r\n\r\n"},
    };

    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/0?q=%%20", f->server.port);
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_call_options options = {.method = cases[i].method,
                                            .url = url,
                                            .body = cases[i].body,
                                            .body_len = cases[i].body_len,
                                            .max_body = 10,
                                            .deadline_ms = clock_monotonic_ms() + LONG_S};
        memcpy(options.headers, cases[i].headers, sizeof cases[i].headers);
        f->got[i].fixture = f;
        assert_non_null(http_call_start(f->client, &options, on_answer, &f->got[i]));
        turn(f, i + 1);
        assert_int_equal(f->got[i].outcome, HTTP_ANSWERED);
        assert_string_equal(f->got[i].body, strcmp(cases[i].method, "HEAD") == 0 ? "" : "ok");

        pthread_mutex_lock(&f->server.lock);
        const char *sent = f->server.last_request;
        const char *end = cases[i].end;
        assert_memory_equal(sent, cases[i].start, strlen(cases[i].start));
        assert_string_equal(sent + f->server.last_len - strlen(end), end);
        for (unsigned j = 0; j < 3 && cases[i].with[j] != NULL; j++)
            assert_non_null(strstr(sent, cases[i].with[j]));
        assert_null(strstr(sent, "Expect:"));
        assert_null(strstr(sent, "Accept-Encoding:"));
        if (cases[i].body == NULL && cases[i].with[0] == NULL)
            assert_null(strstr(sent, "Content-"));
        pthread_mutex_unlock(&f->server.lock);
    }
    free(large);
    teardown(f);
}

static void line_ends_in_headers_are_refused(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    static const char *const headers[] = {"A: b\r\nC: d", "A: b\n", "A: b\r"};
    for (unsigned i = 0; i < 3; i++) {
        const struct http_call_options options = {.method = "GET",
                                                  .url = "http://127.0.0.1:1/",
                                                  .headers = {headers[i]},
                                                  .deadline_ms = UINT64_MAX - 1};
        errno = 0;
        assert_null(http_call_start(f->client, &options, on_answer, NULL));
        assert_int_equal(errno, EINVAL);
    }
    teardown(f);
}

static void bad_urls_are_refused(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    static const char *const urls[] = {"",
                                       "/path",
                                       "ftp://127.0.0.1/",
                                       "http://",
                                       "https:///path",
                                       "http://a b/",
                                       "http://a/b c",
                                       "http://a/b\r\nc: d",
                                       "http://user@a/",
                                       "http://a/#fragment",
                                       "http://a/\xc3\xa9"};
    for (unsigned i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        const struct http_call_options options = {
            .method = "GET", .url = urls[i], .deadline_ms = UINT64_MAX - 1};
        errno = 0;
        assert_null(http_call_start(f->client, &options, on_answer, NULL));
        assert_int_equal(errno, EINVAL);
    }
    teardown(f);
}

static void targets_and_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *path, *line;
    } cases[] = {{"", "GET / HTTP/1.1\r\n"},
                 {"?a=/b", "GET /?a=/b HTTP/1.1\r\n"},
                 {"/a/../b%2F?c", "GET /a/../b%2F?c HTTP/1.1\r\n"}};
    struct fixture *f;
    setup_with(&f, 4, 4);
    for (unsigned i = 0; i < 3; i++) {
        char url[64], host[64];
        snprintf(url, sizeof url, "http://127.0.0.1:%u%s", f->server.port, cases[i].path);
        snprintf(host, sizeof host, "\r\nHost: 127.0.0.1:%u\r\n", f->server.port);
        const struct http_call_options options = {
            .method = "GET", .url = url, .max_body = 10, .deadline_ms = clock_monotonic_ms() + LONG_S};
        f->got[i].fixture = f;
        assert_non_null(http_call_start(f->client, &options, on_answer, &f->got[i]));
        turn(f, i + 1);
        pthread_mutex_lock(&f->server.lock);
        assert_memory_equal(f->server.last_request, cases[i].line, strlen(cases[i].line));
        assert_non_null(strstr(f->server.last_request, host));
        pthread_mutex_unlock(&f->server.lock);
    }
    teardown(f);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    alarm(100);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_whole_or_refused), cmocka_unit_test(headers_are_kept),
        cmocka_unit_test(requests_are_sent_as_told),    cmocka_unit_test(line_ends_in_headers_are_refused),
        cmocka_unit_test(bad_urls_are_refused),         cmocka_unit_test(targets_and_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
