/*
 * Tokens for Azure, the workers' part: waits, shared fetches, cancels and ends. Two agents, as of two
 * workers, on one loop together with the authority.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../clients/azure_internal.h"

#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOOD     "{\"access_token\":\"the.token\",\"expires_in\":3600}"
#define RESOURCE "https://a"
#define AGENTS   2
#define WAITS    10

struct fixture;

/* An answer that the authority holds back until it is told to give it. */
struct peer {
    uv_tcp_t tcp;
    uv_write_t write;
    struct fixture *f;
    char in[4096];
    size_t len;
};

struct got {
    struct fixture *f;
    unsigned calls;
    struct upstream_result result;
    struct operation *op;
};

struct fixture {
    uv_loop_t loop;
    uv_prepare_t prepare;
    uv_tcp_t authority;
    struct peer *peers[16];
    unsigned peer_count, requests;
    bool hold;
    unsigned status;
    const char *body;
    struct flight_table *flights;
    struct azure_identity identity;
    struct azure_credential *credential;
    struct http_client *http[AGENTS];
    struct mailbox *mailboxes[AGENTS];
    struct azure_agent *agents[AGENTS];
    struct azure_token *tokens[AGENTS];
    struct got got[AGENTS][WAITS];
    bool inside; /* the call that starts a wait */
};

/* --- the authority ----------------------------------------------------------------------------- */

static void answer(struct peer *peer)
{
    static char out[1024]; /* one loop, and the same for all */
    int len = snprintf(out, sizeof out, "HTTP/1.1 %u X\r\nContent-Length: %zu\r\n\r\n%s", peer->f->status,
                       strlen(peer->f->body), peer->f->body);
    uv_buf_t buf = uv_buf_init(out, (unsigned)len);
    peer->len = 0;
    uv_write(&peer->write, (uv_stream_t *)&peer->tcp, &buf, 1, NULL);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct peer *peer = handle->data;
    (void)size;
    *buf = uv_buf_init(peer->in + peer->len, (unsigned)(sizeof peer->in - 1 - peer->len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct peer *peer = stream->data;
    (void)buf;
    if (n <= 0) {
        uv_read_stop(stream);
        return;
    }
    peer->len += (size_t)n;
    peer->in[peer->len] = '\0';
    if (strstr(peer->in, "\r\n\r\n") == NULL)
        return;
    peer->f->requests++;
    if (!peer->f->hold)
        answer(peer);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct fixture *f = server->data;
    struct peer *peer = calloc(1, sizeof *peer);
    assert_int_equal(status, 0);
    assert_non_null(peer);
    assert_true(f->peer_count < sizeof f->peers / sizeof f->peers[0]);
    peer->f = f;
    uv_tcp_init(&f->loop, &peer->tcp);
    peer->tcp.data = peer;
    f->peers[f->peer_count++] = peer;
    uv_accept(server, (uv_stream_t *)&peer->tcp);
    uv_read_start((uv_stream_t *)&peer->tcp, on_alloc, on_read);
}

static void let_go(struct fixture *f)
{
    f->hold = false;
    for (unsigned i = 0; i < f->peer_count; i++)
        if (f->peers[i]->len > 0)
            answer(f->peers[i]);
}

/* --- two workers ------------------------------------------------------------------------------- */

static void on_prepare(uv_prepare_t *prepare)
{
    struct fixture *f = prepare->data;
    for (unsigned i = 0; i < AGENTS; i++)
        while (f->http[i] != NULL && http_client_turn(f->http[i]))
            ;
}

static void agent_end(struct fixture *f, unsigned i)
{
    azure_agent_free(f->agents[i]);
    f->agents[i] = NULL;
    if (f->http[i] != NULL)
        assert_int_equal(http_client_in_flight(f->http[i]), 0);
    http_client_close(f->http[i]);
    mailbox_close(f->mailboxes[i]);
    f->http[i] = NULL;
    f->mailboxes[i] = NULL;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct sockaddr_in address;
    int len = sizeof address;

    *state = f;
    f->status = 200;
    f->body = GOOD;
    uv_loop_init(&f->loop);
    uv_prepare_init(&f->loop, &f->prepare);
    f->prepare.data = f;
    uv_prepare_start(&f->prepare, on_prepare);
    uv_tcp_init(&f->loop, &f->authority);
    f->authority.data = f;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_bind(&f->authority, (struct sockaddr *)&address, 0);
    assert_int_equal(uv_listen((uv_stream_t *)&f->authority, 16, on_connection), 0);
    uv_tcp_getsockname(&f->authority, (struct sockaddr *)&address, &len);
    snprintf(f->identity.imds_host, sizeof f->identity.imds_host, "http://127.0.0.1:%u",
             ntohs(address.sin_port));

    assert_int_equal(flight_table_new(4, &f->flights), 0);
    assert_int_equal(azure_credential_new(&f->identity, f->flights, &f->credential), 0);
    for (unsigned i = 0; i < AGENTS; i++) {
        const struct http_client_options http = {.max_in_flight = 2, .max_waiting = 2};
        assert_int_equal(http_client_new(&f->loop, &http, &f->http[i]), 0);
        assert_int_equal(mailbox_new(&f->loop, &f->mailboxes[i]), 0);
        const struct azure_agent_options options = {
            .credential = f->credential, .http = f->http[i], .mailbox = f->mailboxes[i], .loop = &f->loop};
        assert_int_equal(azure_agent_new(&options, &f->agents[i]), 0);
        assert_int_equal(azure_token_open(f->agents[i], RESOURCE, NULL, "Bearer ", &f->tokens[i]), 0);
    }
    return 0;
}

static void on_walk(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < AGENTS; i++)
        agent_end(f, i);
    uv_walk(&f->loop, on_walk, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    for (unsigned i = 0; i < f->peer_count; i++)
        free(f->peers[i]);
    azure_credential_free(f->credential);
    flight_table_free(f->flights);
    free(f);
    return 0;
}

/* --- waits ------------------------------------------------------------------------------------- */

static void on_token(void *ctx, const struct upstream_result *result)
{
    struct got *got = ctx;
    assert_false(got->f->inside);
    got->calls++;
    got->result = *result;
    got->op = NULL;
}

static struct got *wait_for_token(struct fixture *f, unsigned agent, unsigned i, unsigned patience_ms)
{
    struct got *got = &f->got[agent][i];
    *got = (struct got){.f = f};
    f->inside = true;
    got->op = azure_token_wait(f->tokens[agent], clock_monotonic_ms() + patience_ms, on_token, got);
    f->inside = false;
    assert_non_null(got->op);
    return got;
}

static void on_beat(uv_timer_t *timer)
{
    (void)timer;
}

/* Runs the loop until *counter has reached `want`, at most some seconds. */
static void run_until(struct fixture *f, const unsigned *counter, unsigned want)
{
    uv_timer_t timer;
    uint64_t end = clock_monotonic_ms() + 20000;
    uv_timer_init(&f->loop, &timer);
    uv_timer_start(&timer, on_beat, 5, 5);
    while (*counter < want && clock_monotonic_ms() < end)
        uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(*counter, want);
}

static const char *text_of(struct fixture *f, unsigned agent)
{
    unsigned generation;
    return azure_token_get(f->tokens[agent], clock_monotonic_ms(), &generation);
}

static void one_fetch_serves_all_workers(void **state)
{
    struct fixture *f = *state;
    uint64_t began = clock_monotonic_ms();
    f->hold = true;
    for (unsigned a = 0; a < AGENTS; a++)
        for (unsigned i = 0; i < WAITS; i++)
            wait_for_token(f, a, i, 10000);
    run_until(f, &f->requests, 1);
    assert_null(text_of(f, 0));
    let_go(f);
    for (unsigned a = 0; a < AGENTS; a++)
        for (unsigned i = 0; i < WAITS; i++) {
            run_until(f, &f->got[a][i].calls, 1);
            assert_int_equal(f->got[a][i].result.status, UPSTREAM_OK);
        }
    assert_int_equal(f->requests, 1);
    assert_in_range(clock_monotonic_ms() - began, 0,
                    AZURE_PACE_MS - 1); /* nobody waits for the next attempt */
    assert_string_equal(text_of(f, 0), "Bearer the.token");
    assert_string_equal(text_of(f, 1), "Bearer the.token");
}

static void who_comes_with_a_token_there_need_not_ask(void **state)
{
    struct fixture *f = *state;
    run_until(f, &wait_for_token(f, 0, 0, 10000)->calls, 1);
    run_until(f, &wait_for_token(f, 1, 1, 10000)->calls, 1);
    assert_int_equal(f->got[1][1].result.status, UPSTREAM_OK);
    assert_int_equal(f->requests, 1);
}

static void a_fetch_goes_on_without_those_who_gave_up(void **state)
{
    struct fixture *f = *state;
    f->hold = true;
    for (unsigned i = 0; i < WAITS; i++)
        wait_for_token(f, 0, i, 10000);
    run_until(f, &f->requests, 1);
    for (unsigned i = 0; i < WAITS; i++)
        operation_cancel(f->got[0][i].op);
    struct got *other = wait_for_token(f, 1, 0, 10000);
    let_go(f);
    run_until(f, &other->calls, 1);
    assert_int_equal(other->result.status, UPSTREAM_OK);
    assert_int_equal(f->requests, 1);
    for (unsigned i = 0; i < WAITS; i++)
        assert_int_equal(f->got[0][i].calls, 0);
}

static void waits_are_cancelled_before_they_began(void **state)
{
    struct fixture *f = *state;
    operation_cancel(wait_for_token(f, 0, 0, 10000)->op);
    run_until(f, &wait_for_token(f, 0, 1, 10000)->calls, 1);
    assert_int_equal(f->got[0][0].calls, 0);
}

static void the_background_fetches_what_nobody_asked_for(void **state)
{
    struct fixture *f = *state;
    for (unsigned a = 0; a < AGENTS; a++)
        azure_agent_tick(f->agents[a], clock_monotonic_ms());
    run_until(f, &f->requests, 1);
    run_until(f, &wait_for_token(f, 1, 0, 10000)->calls, 1);
    assert_int_equal(f->got[1][0].result.status, UPSTREAM_OK);
    assert_int_equal(f->requests, 1);
}

static void a_worker_that_ends_leaves_its_fetch_to_others(void **state)
{
    struct fixture *f = *state;
    uint64_t began = clock_monotonic_ms();
    f->hold = true;
    azure_agent_tick(f->agents[0], clock_monotonic_ms());
    struct got *other = wait_for_token(f, 1, 0, 10000);
    run_until(f, &f->requests, 1);
    agent_end(f, 0);
    f->hold = false;
    run_until(f, &other->calls, 1);
    assert_int_equal(other->result.status, UPSTREAM_OK);
    assert_int_equal(f->requests, 2);
    assert_in_range(clock_monotonic_ms() - began, 0, AZURE_PACE_MS - 1);
}

static void a_worker_may_end_with_its_own_letter_on_the_way(void **state)
{
    struct fixture *f = *state;
    /* Without a file there is nothing to send: the flight lands by a letter. */
    snprintf(f->identity.tenant_id, sizeof f->identity.tenant_id, "t");
    snprintf(f->identity.client_id, sizeof f->identity.client_id, "c");
    snprintf(f->identity.federated_token_file, sizeof f->identity.federated_token_file, "/nonexistent/token");
    azure_agent_tick(f->agents[0], clock_monotonic_ms());
    agent_end(f, 0);
    struct got *other = wait_for_token(f, 1, 0, 500);
    run_until(f, &other->calls, 1);
    assert_int_equal(other->result.status, UPSTREAM_UNAVAILABLE);
    assert_int_equal(f->requests, 0);
}

static void silence_ends_with_the_deadline(void **state)
{
    struct fixture *f = *state;
    f->hold = true;
    uint64_t began = clock_monotonic_ms();
    struct got *got = wait_for_token(f, 0, 0, 300);
    run_until(f, &got->calls, 1);
    assert_int_equal(got->result.status, UPSTREAM_TIMEOUT);
    assert_true(clock_monotonic_ms() - began >= 300);
}

static void a_refusal_is_told_to_all_and_for_a_second(void **state)
{
    struct fixture *f = *state;
    f->status = 401;
    f->body = "{\"error\":\"invalid_client\"}";
    uint64_t began = clock_monotonic_ms();
    for (unsigned i = 0; i < WAITS; i++) {
        run_until(f, &wait_for_token(f, i % AGENTS, i, 10000)->calls, 1);
        assert_int_equal(f->got[i % AGENTS][i].result.status, UPSTREAM_UNAUTHORIZED);
    }
    assert_true(f->requests <= 1 + (clock_monotonic_ms() - began) / 1000);
}

static void a_passing_failure_is_waited_out(void **state)
{
    struct fixture *f = *state;
    f->status = 503;
    struct got *got = wait_for_token(f, 0, 0, 10000);
    run_until(f, &f->requests, 1);
    f->status = 200;
    run_until(f, &got->calls, 1);
    assert_int_equal(got->result.status, UPSTREAM_OK);
    assert_int_equal(f->requests, 2);
}

static void who_has_no_time_to_wait_it_out_is_told(void **state)
{
    struct fixture *f = *state;
    f->status = 429;
    uint64_t began = clock_monotonic_ms();
    struct got *got = wait_for_token(f, 0, 0, 900);
    run_until(f, &got->calls, 1);
    assert_int_equal(got->result.status, UPSTREAM_THROTTLED);
    assert_int_equal(got->result.retry_after_s, 1);
    assert_true(clock_monotonic_ms() - began < 900);
}

static void a_refused_token_is_replaced(void **state)
{
    struct fixture *f = *state;
    unsigned first, second;
    run_until(f, &wait_for_token(f, 0, 0, 10000)->calls, 1);
    assert_non_null(azure_token_get(f->tokens[0], clock_monotonic_ms(), &first));
    assert_non_null(azure_token_get(f->tokens[1], clock_monotonic_ms(), &second));
    azure_token_refused(f->tokens[0], first);
    azure_token_refused(f->tokens[1], second); /* the same one, by another worker */
    assert_null(text_of(f, 1));
    run_until(f, &wait_for_token(f, 1, 1, 10000)->calls, 1);
    assert_int_equal(f->got[1][1].result.status, UPSTREAM_OK);
    assert_non_null(azure_token_get(f->tokens[0], clock_monotonic_ms(), &second));
    assert_int_not_equal(first, second);
    azure_token_refused(f->tokens[1], first); /* late news of the old one */
    assert_non_null(text_of(f, 0));
    assert_int_equal(f->requests, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_fetch_serves_all_workers),
        TEST(who_comes_with_a_token_there_need_not_ask),
        TEST(a_fetch_goes_on_without_those_who_gave_up),
        TEST(waits_are_cancelled_before_they_began),
        TEST(the_background_fetches_what_nobody_asked_for),
        TEST(a_worker_that_ends_leaves_its_fetch_to_others),
        TEST(a_worker_may_end_with_its_own_letter_on_the_way),
        TEST(silence_ends_with_the_deadline),
        TEST(a_refusal_is_told_to_all_and_for_a_second),
        TEST(a_passing_failure_is_waited_out),
        TEST(who_has_no_time_to_wait_it_out_is_told),
        TEST(a_refused_token_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
