#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "flight.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- one loop ---------------------------------------------------------------------------------- */

struct fixture {
    uv_loop_t loop;
    struct mailbox *mailbox;
    struct flight_table *table;
    struct flight *flight; /* the last that was started */
    unsigned starts;
    bool refuse;
    struct waiting *joins_in_start;
};

struct waiting {
    struct fixture *fixture;
    struct operation *op;
    unsigned calls;
    enum upstream_status status;
    unsigned retry_after_s;
    char text[32], next[32];
    size_t len;
    uint64_t at_ms;
};

static void setup(struct fixture *f, unsigned max_kept)
{
    *f = (struct fixture){0};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(mailbox_new(&f->loop, &f->mailbox), 0);
    assert_int_equal(flight_table_new(max_kept, &f->table), 0);
}

static void teardown(struct fixture *f)
{
    mailbox_close(f->mailbox);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    flight_table_free(f->table);
}

static void deliver(struct fixture *f)
{
    uv_run(&f->loop, UV_RUN_NOWAIT);
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void on_answer(void *ctx, const struct flight_answer *answer)
{
    struct waiting *w = ctx;
    w->calls++;
    w->op = NULL;
    w->status = answer->result.status;
    w->retry_after_s = answer->result.retry_after_s;
    w->len = answer->len;
    w->at_ms = answer->at_ms;
    snprintf(w->text, sizeof w->text, "%s", answer->text != NULL ? answer->text : "(none)");
    snprintf(w->next, sizeof w->next, "%s", answer->next != NULL ? answer->next : "(none)");
}

static void join(struct fixture *f, struct waiting *w, const char *key, unsigned ttl_ms);

static bool start(void *ctx, struct flight *flight, const char *key)
{
    struct fixture *f = ctx;
    (void)key;
    f->starts++;
    f->flight = flight;
    if (f->joins_in_start != NULL) {
        struct waiting *w = f->joins_in_start;
        f->joins_in_start = NULL;
        join(f, w, key, 0);
    }
    return !f->refuse;
}

static void join(struct fixture *f, struct waiting *w, const char *key, unsigned ttl_ms)
{
    w->fixture = f;
    w->op = flight_join(f->table, f->mailbox, key, ttl_ms, start, f, on_answer, w);
    assert_int_equal(w->calls, 0);
}

static const struct upstream_result ok = {.status = UPSTREAM_OK};

static void all_who_wait_get_one_answer(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 4);
    struct waiting w[4] = {0};
    join(&f, &w[0], "k", 0);
    join(&f, &w[1], "k", 0);
    join(&f, &w[2], "k", 0);
    struct flight *first = f.flight;
    join(&f, &w[3], "other", 0);
    assert_int_equal(f.starts, 2);
    flight_land(f.flight, &(struct upstream_result){.status = UPSTREAM_NOT_FOUND}, NULL, 0, NULL);
    flight_land(first, &ok, "answer", 6, "more");
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(w[i].calls, 0); /* never from inside */
    deliver(&f);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(w[i].calls, 1);
        assert_int_equal(w[i].status, UPSTREAM_OK);
        assert_string_equal(w[i].text, "answer");
        assert_int_equal(w[i].len, 6);
        assert_string_equal(w[i].next, "more");
    }
    assert_int_equal(w[3].status, UPSTREAM_NOT_FOUND);
    assert_string_equal(w[3].text, "(none)");
    assert_string_equal(w[3].next, "(none)");

    /* Without a time to live the next one asks anew. */
    struct waiting again = {0};
    join(&f, &again, "k", 0);
    assert_int_equal(f.starts, 3);
    flight_land(f.flight, &ok, NULL, 0, "only next");
    deliver(&f);
    assert_string_equal(again.text, "(none)");
    assert_string_equal(again.next, "only next");
    teardown(&f);
}

static void who_cancels_is_left_out(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 4);
    struct waiting w[5] = {0};
    for (unsigned i = 0; i < 4; i++)
        join(&f, &w[i], "k", 0);
    operation_cancel(w[1].op); /* from the middle, the front and the end */
    operation_cancel(w[0].op);
    operation_cancel(w[3].op);
    operation_cancel(w[2].op);
    join(&f, &w[4], "k", 0); /* the read is still under way, though nobody waited */
    assert_int_equal(f.starts, 1);
    flight_land(f.flight, &ok, "a", 1, NULL);
    deliver(&f);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(w[i].calls, 0);
    assert_int_equal(w[4].calls, 1);

    /* Landed, but not delivered yet. */
    struct waiting late[2] = {0};
    join(&f, &late[0], "k", 0);
    join(&f, &late[1], "k", 0);
    flight_land(f.flight, &ok, "b", 1, NULL);
    operation_cancel(late[0].op);
    deliver(&f);
    assert_int_equal(late[0].calls, 0);
    assert_int_equal(late[1].calls, 1);

    /* Nobody waits at all. */
    struct waiting gone = {0};
    join(&f, &gone, "k", 0);
    operation_cancel(gone.op);
    flight_land(f.flight, &ok, "c", 1, NULL);
    deliver(&f);
    assert_int_equal(gone.calls, 0);
    teardown(&f);
}

static void a_good_answer_is_kept_for_its_time(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned ttl_ms;
        enum upstream_status status;
        unsigned sleep_ms;
        unsigned starts; /* after a second asker */
    } cases[] = {
        {"kept", 60000, UPSTREAM_OK, 3, 1},
        {"too old", 2, UPSTREAM_OK, 5, 2},
        {"not to be kept", 0, UPSTREAM_OK, 0, 2},
        {"an error is not kept", 60000, UPSTREAM_UNAVAILABLE, 0, 2},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        setup(&f, 4);
        struct waiting w[3] = {0};
        join(&f, &w[0], "k", cases[i].ttl_ms);
        flight_land(f.flight, &(struct upstream_result){.status = cases[i].status}, "a", 1, NULL);
        deliver(&f);
        usleep(cases[i].sleep_ms * 1000);
        join(&f, &w[1], "k", cases[i].ttl_ms);
        join(&f, &w[2], "k", cases[i].ttl_ms);
        if (f.starts != cases[i].starts)
            fail_msg("%s: %u starts", cases[i].name, f.starts);
        if (f.starts == 2)
            flight_land(f.flight, &ok, "b", 1, NULL);
        operation_cancel(w[2].op); /* one whose kept answer is on its way */
        deliver(&f);
        assert_int_equal(w[1].calls, 1);
        assert_int_equal(w[2].calls, 0);
        assert_string_equal(w[1].text, f.starts == 2 ? "b" : "a");
        if (f.starts == 1)
            assert_int_equal(w[1].at_ms, w[0].at_ms);
        else
            assert_true(w[1].at_ms >= w[0].at_ms);
        teardown(&f);
    }
}

static void ask(struct fixture *f, const char *key, unsigned ttl_ms, bool expect_start)
{
    struct waiting w = {0};
    unsigned before = f->starts;
    join(f, &w, key, ttl_ms);
    if ((f->starts > before) != expect_start)
        fail_msg("%s: was %sstarted", key, expect_start ? "not " : "");
    if (f->starts > before)
        flight_land(f->flight, &ok, key, strlen(key), NULL);
    deliver(f);
    assert_int_equal(w.calls, 1);
    assert_string_equal(w.text, key);
}

static void the_oldest_kept_answer_gives_way(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 3);
    ask(&f, "a", 60000, true);
    ask(&f, "b", 1, true);
    ask(&f, "c", 60000, true);
    ask(&f, "a", 60000, false);
    usleep(3000);
    ask(&f, "b", 1, true); /* too old, from the middle of the kept ones */
    ask(&f, "d", 60000, true);
    ask(&f, "a", 60000, true); /* had given way to d */
    ask(&f, "d", 60000, false);
    ask(&f, "a", 60000, false);
    teardown(&f);

    setup(&f, 0); /* nothing is kept */
    ask(&f, "a", 60000, true);
    ask(&f, "a", 60000, true);
    teardown(&f);
}

static void a_flight_that_cannot_start(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 4);
    struct waiting w = {0}, other = {0};
    f.refuse = true;
    join(&f, &w, "k", 0);
    assert_null(w.op);
    f.joins_in_start = &other; /* as another worker may in that moment */
    join(&f, &w, "k", 0);
    assert_null(w.op);
    assert_non_null(other.op);
    deliver(&f);
    assert_int_equal(w.calls, 0);
    assert_int_equal(other.calls, 1);
    assert_int_equal(other.status, UPSTREAM_OVERLOADED);
    assert_int_equal(other.retry_after_s, 1);
    f.refuse = false;
    ask(&f, "k", 0, true);

    char *key = malloc(10000);
    memset(key, 'k', 9999);
    key[9999] = '\0';
    join(&f, &w, key, 0);
    assert_null(w.op);
    free(key);
    teardown(&f);
}

/* --- several workers --------------------------------------------------------------------------- */

enum { WORKERS = 4, ROUNDS = 400, KEYS = 5, AT_ONCE = 8 };

struct worker {
    struct flight_table *table;
    unsigned number;
    uv_thread_t thread;
    uv_loop_t loop;
    struct mailbox *mailbox;
    uv_timer_t landing; /* lands what this worker started */
    struct flight *flights[AT_ONCE + 1];
    char keys[AT_ONCE + 1][8];
    unsigned flying;
    struct ask {
        struct worker *worker;
        struct operation *op;
        char key[8];
    } asks[AT_ONCE];
    unsigned joins, answers, cancels, wrong;
    unsigned seed;
};

static atomic_uint all_starts;

static void land_all(uv_timer_t *timer)
{
    struct worker *worker = timer->data;
    while (worker->flying > 0) {
        unsigned i = --worker->flying;
        flight_land(worker->flights[i], &ok, worker->keys[i], strlen(worker->keys[i]), NULL);
    }
}

static bool start_in_worker(void *ctx, struct flight *flight, const char *key)
{
    struct worker *worker = ctx;
    if (rand_r(&worker->seed) % 16 == 0)
        return false;
    atomic_fetch_add(&all_starts, 1);
    snprintf(worker->keys[worker->flying], sizeof worker->keys[0], "%s", key);
    worker->flights[worker->flying++] = flight;
    uv_timer_start(&worker->landing, land_all, rand_r(&worker->seed) % 2, 0);
    return true;
}

static void on_worker_answer(void *ctx, const struct flight_answer *answer)
{
    struct ask *one = ctx;
    one->op = NULL;
    one->worker->answers++;
    if (answer->result.status == UPSTREAM_OVERLOADED)
        return;
    if (answer->text == NULL || strcmp(answer->text, one->key) != 0)
        one->worker->wrong++;
}

static void one_round(struct worker *worker)
{
    for (unsigned i = 0; i < AT_ONCE; i++) {
        struct ask *one = &worker->asks[i];
        if (one->op != NULL)
            continue;
        unsigned key = (unsigned)rand_r(&worker->seed) % KEYS;
        snprintf(one->key, sizeof one->key, "k%u", key);
        one->worker = worker;
        one->op = flight_join(worker->table, worker->mailbox, one->key, key == 0 ? 1 : 0, start_in_worker,
                              worker, on_worker_answer, one);
        worker->joins += one->op != NULL;
    }
    uv_run(&worker->loop, UV_RUN_NOWAIT);
    for (unsigned i = 0; i < AT_ONCE; i++) {
        struct ask *one = &worker->asks[i];
        if (one->op == NULL || rand_r(&worker->seed) % 4 != 0)
            continue;
        operation_cancel(one->op);
        one->op = NULL;
        worker->cancels++;
    }
}

static void work(void *ctx)
{
    struct worker *worker = ctx;
    for (unsigned round = 0; round < ROUNDS; round++)
        one_round(worker);
    /* Leaves at once, while others may land for it: first its own flights land, then it gives up what it
     * waits for. */
    land_all(&worker->landing);
    for (unsigned i = 0; i < AT_ONCE; i++) {
        worker->cancels += worker->asks[i].op != NULL;
        operation_cancel(worker->asks[i].op);
    }
    mailbox_close(worker->mailbox);
    uv_close((uv_handle_t *)&worker->landing, NULL);
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    uv_loop_close(&worker->loop);
}

static void workers_share_flights(void **state)
{
    (void)state;
    struct flight_table *table;
    assert_int_equal(flight_table_new(2, &table), 0);
    struct worker *workers = calloc(WORKERS, sizeof *workers);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *worker = &workers[i];
        worker->table = table;
        worker->number = i;
        worker->seed = i + 1;
        uv_loop_init(&worker->loop);
        assert_int_equal(mailbox_new(&worker->loop, &worker->mailbox), 0);
        uv_timer_init(&worker->loop, &worker->landing);
        worker->landing.data = worker;
        assert_int_equal(uv_thread_create(&worker->thread, work, worker), 0);
    }
    unsigned joins = 0;
    for (unsigned i = 0; i < WORKERS; i++) {
        uv_thread_join(&workers[i].thread);
        assert_int_equal(workers[i].wrong, 0);
        assert_int_equal(workers[i].joins, workers[i].answers + workers[i].cancels);
        assert_true(workers[i].answers > 0);
        joins += workers[i].joins;
    }
    assert_true(atomic_load(&all_starts) < joins); /* some were shared */
    flight_table_free(table);
    free(workers);
}

/* All workers ask for one key before it lands: one start. */
static uv_barrier_t barrier;

static bool start_and_hold(void *ctx, struct flight *flight, const char *key)
{
    struct worker *worker = ctx;
    (void)key;
    atomic_fetch_add(&all_starts, 1);
    worker->flights[0] = flight;
    worker->flying = 1;
    snprintf(worker->keys[0], sizeof worker->keys[0], "k");
    return true;
}

static void ask_together(void *ctx)
{
    struct worker *worker = ctx;
    struct ask *one = &worker->asks[0];
    one->worker = worker;
    snprintf(one->key, sizeof one->key, "k");
    uv_barrier_wait(&barrier);
    one->op =
        flight_join(worker->table, worker->mailbox, "k", 0, start_and_hold, worker, on_worker_answer, one);
    uv_barrier_wait(&barrier);
    land_all(&worker->landing);
    while (one->op != NULL)
        uv_run(&worker->loop, UV_RUN_ONCE);
    uv_barrier_wait(&barrier);
    mailbox_close(worker->mailbox);
    uv_close((uv_handle_t *)&worker->landing, NULL);
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    uv_loop_close(&worker->loop);
}

static void one_read_for_all_workers(void **state)
{
    (void)state;
    struct flight_table *table;
    assert_int_equal(flight_table_new(2, &table), 0);
    atomic_store(&all_starts, 0);
    assert_int_equal(uv_barrier_init(&barrier, WORKERS), 0);
    struct worker *workers = calloc(WORKERS, sizeof *workers);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].table = table;
        uv_loop_init(&workers[i].loop);
        assert_int_equal(mailbox_new(&workers[i].loop, &workers[i].mailbox), 0);
        uv_timer_init(&workers[i].loop, &workers[i].landing);
        workers[i].landing.data = &workers[i];
        assert_int_equal(uv_thread_create(&workers[i].thread, ask_together, &workers[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        uv_thread_join(&workers[i].thread);
        assert_int_equal(workers[i].answers, 1);
        assert_int_equal(workers[i].wrong, 0);
    }
    assert_int_equal(atomic_load(&all_starts), 1);
    uv_barrier_destroy(&barrier);
    flight_table_free(table);
    free(workers);
}

int main(void)
{
    alarm(100);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_who_wait_get_one_answer),
        cmocka_unit_test(who_cancels_is_left_out),
        cmocka_unit_test(a_good_answer_is_kept_for_its_time),
        cmocka_unit_test(the_oldest_kept_answer_gives_way),
        cmocka_unit_test(a_flight_that_cannot_start),
        cmocka_unit_test(workers_share_flights),
        cmocka_unit_test(one_read_for_all_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
