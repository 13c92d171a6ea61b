/*
 * The connections of the HTTP client: when one is kept, shared, made anew or given up, and who waits for
 * whom.
 */
#include "http_client_harness.h"

static void a_fresh_connection_on_demand(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    for (unsigned i = 0; i < 2; i++) {
        char url[64];
        snprintf(url, sizeof url, "http://127.0.0.1:%u/0", f->server.port);
        const struct http_call_options options = {.method = "GET",
                                                  .url = url,
                                                  .max_body = 10,
                                                  .fresh = true,
                                                  .deadline_ms = clock_monotonic_ms() + LONG_S};
        f->got[i].fixture = f;
        assert_non_null(http_call_start(f->client, &options, on_answer, &f->got[i]));
        turn(f, i + 1);
        assert_int_equal(f->got[i].outcome, HTTP_ANSWERED);
    }
    assert_int_equal(atomic_load(&f->server.accepted), 2);
    teardown(f);
}

static void a_kept_connection_is_used_again(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    for (unsigned i = 0; i < 20; i++) {
        call(f, i, 0, LONG_S);
        turn(f, i + 1);
        assert_int_equal(f->got[i].outcome, HTTP_ANSWERED);
    }
    assert_int_equal(atomic_load(&f->server.accepted), 1);
    teardown(f);
}

/* localhost is looked up in curl's resolver thread, which has sockets of its own. */
static void names_are_looked_up(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    for (unsigned i = 0; i < 3; i++)
        call_to(f, i, "localhost", 0, LONG_S);
    operation_cancel(f->got[2].op);
    turn(f, 2);
    assert_int_equal(f->got[0].outcome, HTTP_ANSWERED);
    assert_int_equal(f->got[1].outcome, HTTP_ANSWERED);
    teardown(f);
}

static void a_lookup_can_be_given_up(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    call_to(f, 0, "localhost", 0, LONG_S);
    http_client_turn(f->client); /* the thread is started in here */
    operation_cancel(f->got[0].op);
    call(f, 1, 0, LONG_S);
    turn(f, 1);
    assert_int_equal(f->got[1].outcome, HTTP_ANSWERED);
    assert_int_equal(f->got[0].calls, 0);
    teardown(f);
    usleep(20000); /* the thread frees what it holds when it is through */
}

static void a_closed_port_refuses(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0); /* bound, not listening */
    getsockname(fd, (struct sockaddr *)&address, &len);
    unsigned port = f->server.port;
    f->server.port = ntohs(address.sin_port);
    call(f, 0, 0, LONG_S);
    turn(f, 1);
    assert_int_equal(f->got[0].outcome, HTTP_REFUSED);
    f->server.port = port;
    close(fd);
    teardown(f);
}

/* Bytes that come on an idle connection must not become the next request's answer. */
static void unasked_bytes_are_nobodys_answer(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    call(f, 0, reply_index("unasked"), LONG_S);
    turn(f, 1);
    turn_for(f, 30);
    call(f, 1, 0, LONG_S);
    turn(f, 2);
    check_reply(&f->got[1], &replies[0], "after unasked bytes");
    assert_false(f->got[1].resent);
    assert_int_equal(atomic_load(&f->server.accepted), 2);
    teardown(f);
}

static void a_connection_closed_while_idle_costs_nothing(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    call(f, 0, 1, LONG_S); /* answers, then closes */
    turn(f, 1);
    turn_for(f, 20);
    call(f, 1, 0, LONG_S);
    turn(f, 2);
    check_reply(&f->got[1], &replies[0], "after a close");
    assert_false(f->got[1].resent);
    assert_int_equal(atomic_load(&f->server.requests), 2);
    teardown(f);
}

/* A request is sent again when a kept connection dies under it: once, however many others are kept. */
static void an_upstream_that_closes_sees_how_many_requests(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 4, 4);
    for (unsigned i = 0; i < 4; i++)
        call(f, i, 0, LONG_S);
    turn(f, 4);
    assert_int_equal(atomic_load(&f->server.accepted), 4);
    atomic_store(&f->server.dying, true);
    atomic_store(&f->server.requests, 0);

    call(f, 10, 0, LONG_S);
    turn(f, 5);
    assert_int_equal(f->got[10].outcome, HTTP_REFUSED);
    assert_true(f->got[10].resent);
    assert_int_equal(atomic_load(&f->server.requests), 2);

    struct fixture *fresh;
    setup_with(&fresh, 4, 4);
    atomic_store(&fresh->server.dying, true);
    call(fresh, 0, 0, LONG_S);
    turn(fresh, 1);
    assert_int_equal(fresh->got[0].outcome, HTTP_REFUSED);
    assert_false(fresh->got[0].resent);
    assert_int_equal(atomic_load(&fresh->server.requests), 1);
    teardown(fresh);

    /* And when the upstream is back, the request that was sent again is answered. */
    atomic_store(&f->server.dying, false);
    call(f, 11, 0, LONG_S);
    turn(f, 6);
    check_reply(&f->got[11], &replies[0], "upstream is back");
    teardown(f);
}

static void a_thousand_calls_share_64_connections(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 64, 936);
    for (unsigned i = 0; i < 1000; i++) {
        call(f, i, i % 2 == 0 ? 0 : reply_index("chunked"), LONG_S);
        assert_non_null(f->got[i].op);
    }
    assert_int_equal(http_client_in_flight(f->client), 1000);
    const struct http_call_options options = {
        .method = "GET", .url = "http://127.0.0.1/", .deadline_ms = UINT64_MAX - 1};
    errno = 0;
    assert_null(http_call_start(f->client, &options, on_answer, NULL));
    assert_int_equal(errno, EBUSY);
    turn(f, 1000);
    for (unsigned i = 0; i < 1000; i++)
        if (f->got[i].calls != 1 || f->got[i].outcome != HTTP_ANSWERED || strcmp(f->got[i].body, "ok") != 0)
            fail_msg("call %u: %u callbacks, outcome %d", i, f->got[i].calls, (int)f->got[i].outcome);
    assert_in_range(atomic_load(&f->server.most_open), 1, 64);
    assert_int_equal(atomic_load(&f->server.requests), 1000);
    teardown(f);
}

static void waiting_calls_go_in_order(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 1, 100);
    for (unsigned i = 0; i < 101; i++)
        call(f, i, REPLIES + i, LONG_S); /* answered with the first of the table */
    turn(f, 101);
    for (unsigned i = 0; i < 101; i++) {
        assert_int_equal(f->server.order[i], REPLIES + i);
        assert_int_equal(f->got[i].rank, i + 1);
    }
    teardown(f);
}

static void deadlines_hold_everywhere(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 3, 10);
    uint64_t start = clock_monotonic_ms();
    call(f, 0, reply_index("silent"), 40);
    call(f, 1, reply_index("half a body"), 30);
    call(f, 2, reply_index("silent"), 20);
    call(f, 3, 0, 10);     /* waits, and is given up before one of the above makes room */
    call(f, 4, 0, 0);      /* is past it from the start */
    call(f, 5, 0, LONG_S); /* waits, and gets its turn */
    turn(f, 6);
    static const enum http_outcome outcomes[] = {HTTP_TIMED_OUT, HTTP_TIMED_OUT, HTTP_TIMED_OUT,
                                                 HTTP_TIMED_OUT, HTTP_TIMED_OUT, HTTP_ANSWERED};
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(f->got[i].calls, 1);
        assert_int_equal(f->got[i].outcome, outcomes[i]);
    }
    assert_int_equal(f->got[4].rank, 1);
    assert_int_equal(f->got[3].rank, 2);
    assert_int_equal(f->got[2].rank, 3);
    assert_true(clock_monotonic_ms() >= start + 40);
    teardown(f);
}

static void cancel_other(struct got *got)
{
    if (got->other->calls == 0)
        operation_cancel(got->other->op);
    got->other->op = NULL;
}

static void a_cancelled_call_is_silent(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 2, 10);
    /* waiting, just started, sent, half answered */
    call(f, 0, reply_index("silent"), LONG_S);
    call(f, 1, reply_index("half a body"), LONG_S);
    call(f, 2, 0, LONG_S);
    operation_cancel(f->got[2].op);
    turn_for(f, 20);
    call(f, 3, 0, LONG_S);
    operation_cancel(f->got[0].op);
    operation_cancel(f->got[1].op);
    turn(f, 1);
    assert_int_equal(f->got[3].outcome, HTTP_ANSWERED);
    call(f, 4, 0, LONG_S);
    operation_cancel(f->got[4].op);

    /* finished, with the callback still to come: two that are past their deadline give up each other */
    call(f, 5, reply_index("silent"), 5);
    call(f, 6, reply_index("silent"), 5);
    for (unsigned i = 5; i <= 6; i++) {
        f->got[i].other = &f->got[11 - i];
        f->got[i].then = cancel_other;
    }
    usleep(10000);
    turn(f, 2);
    turn_for(f, 5);
    assert_int_equal(f->got[5].calls + f->got[6].calls, 1);

    /* from a callback: one that waits */
    call(f, 7, 0, LONG_S);
    call(f, 8, 0, LONG_S);
    call(f, 9, 0, LONG_S);
    f->got[7].other = &f->got[9];
    f->got[7].then = cancel_other;
    turn(f, 4);
    turn_for(f, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(f->got[i].calls, i == 3);
    assert_int_equal(f->got[7].calls, 1);
    assert_int_equal(f->got[8].calls, 1);
    teardown(f);
}

static void ask_again(struct got *got)
{
    unsigned slot = (unsigned)(got - got->fixture->got) + 1;
    if (slot < 50) {
        got->fixture->got[slot].then = ask_again;
        call(got->fixture, slot, 0, LONG_S);
        assert_int_equal(got->fixture->got[slot].calls, 0);
    }
}

static void a_callback_may_start_the_next_call(void **state)
{
    (void)state;
    struct fixture *f;
    setup_with(&f, 1, 1);
    f->got[0].then = ask_again;
    call(f, 0, 0, LONG_S);
    turn(f, 50);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(f->got[i].outcome, HTTP_ANSWERED);
    assert_int_equal(atomic_load(&f->server.accepted), 1);
    teardown(f);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    alarm(100);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_connection_on_demand),
        cmocka_unit_test(a_kept_connection_is_used_again),
        cmocka_unit_test(names_are_looked_up),
        cmocka_unit_test(a_lookup_can_be_given_up),
        cmocka_unit_test(a_closed_port_refuses),
        cmocka_unit_test(unasked_bytes_are_nobodys_answer),
        cmocka_unit_test(a_connection_closed_while_idle_costs_nothing),
        cmocka_unit_test(an_upstream_that_closes_sees_how_many_requests),
        cmocka_unit_test(a_thousand_calls_share_64_connections),
        cmocka_unit_test(waiting_calls_go_in_order),
        cmocka_unit_test(deadlines_hold_everywhere),
        cmocka_unit_test(a_cancelled_call_is_silent),
        cmocka_unit_test(a_callback_may_start_the_next_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
