#include "cosmos_feed_harness.h"

struct world {
    struct harness h;
    struct container c;
    struct consumer k;
};

static const char *const d1[] = {"d1"};
static const char *const three[] = {"d1", "d2", "d3"};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    harness_start(&w->h);
    container_init(&w->c);
    w->h.fakes[0].serve = container_serve;
    w->h.fakes[0].serve_ctx = &w->c;
    consumer_init(&w->k, &w->h);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    consumer_close(&w->k);
    harness_end(&w->h);
    buffer_free(&w->c.body);
    free(w);
    return 0;
}

/* The values of one device from `first` on, in order, without a gap. */
static void assert_run(const struct consumer *k, unsigned device, unsigned first, size_t count)
{
    unsigned next = first;
    for (size_t i = 0; i < k->count; i++)
        if (k->told[i].device == device)
            assert_int_equal(k->told[i].value, next++);
    assert_int_equal(next - first, count);
}

/* --- live -------------------------------------------------------------------------------------- */

static void from_now_only_what_comes(void **state)
{
    struct world *w = *state;
    store_items(&w->c, 1, 1, 3);
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    run_for(&w->h, 60);
    assert_int_equal(w->k.count, 0);
    store_items(&w->c, 1, 4, 1);
    store_items(&w->c, 2, 1, 1);
    store_items(&w->c, 1, 5, 2);
    wait_told(&w->k, 3);
    assert_told(&w->k, (struct told[]){{1, 4}, {1, 5}, {1, 6}}, 3);
}

static void what_was_stored_before_the_opening_is_no_news(void **state)
{
    struct world *w = *state;
    struct consumer other;
    consumer_init(&other, &w->h);
    consumer_open(&other, d1, 1, true, 0, NULL);
    store_items(&w->c, 1, 1, 1); /* the reader has not seen it yet */
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    wait_told(&other, 1);
    assert_int_equal(w->k.count, 0);
    assert_int_equal(other.count, 1);
    consumer_close(&other);
}

static void before_begin_nothing_is_lost(void **state)
{
    struct world *w = *state;
    consumer_ask(&w->k, w->h.store, d1, 1, true, 0, NULL);
    while (!w->k.opened)
        uv_run(&w->h.loop, UV_RUN_ONCE);
    store_items(&w->c, 1, 1, 2);
    run_for(&w->h, 80);
    assert_int_equal(w->k.count, 0);
    consumer_begin(&w->k);
    wait_told(&w->k, 2);
    assert_run(&w->k, 1, 1, 2);
}

static void a_replaced_reading_is_one_more(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    store_items(&w->c, 1, 1, 2);
    wait_told(&w->k, 2);
    replace_item(&w->c, 1, 1, 9);
    wait_told(&w->k, 3);
    assert_told(&w->k, (struct told[]){{1, 1}, {1, 2}, {1, 9}}, 3);
}

static void small_pages_come_all(void **state)
{
    struct world *w = *state;
    w->c.page_items = 3;
    consumer_open(&w->k, three, 3, true, 0, NULL);
    for (unsigned i = 1; i <= 40; i++)
        for (unsigned d = 1; d <= 3; d++)
            store_items(&w->c, d, i, 1);
    wait_told(&w->k, 120);
    for (unsigned d = 1; d <= 3; d++)
        assert_run(&w->k, d, 1, 40);
}

static void a_split_loses_and_doubles_nothing(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, three, 3, true, 0, NULL);
    for (unsigned i = 1; i <= 30; i++) {
        for (unsigned d = 1; d <= 3; d++)
            store_items(&w->c, d, i, 1);
        if (i == 10)
            split_range(&w->c, "0", "1", "2");
        if (i == 20)
            split_range(&w->c, "2", "3", "4");
        run_for(&w->h, 4);
    }
    wait_told(&w->k, 90);
    for (unsigned d = 1; d <= 3; d++)
        assert_run(&w->k, d, 1, 30);
    assert_true(w->c.answered_gone >= 2);
}

static void failures_lose_nothing(void **state)
{
    static const unsigned statuses[] = {429, 503, 500, 449};
    struct world *w = *state;
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    for (unsigned i = 1; i <= 40; i++) {
        w->c.fault_status = statuses[i / 10 % 4];
        w->c.fault_every = 2;
        store_items(&w->c, 1, i, 1);
        run_for(&w->h, 10);
    }
    w->c.fault_every = 0;
    wait_told(&w->k, 40);
    assert_run(&w->k, 1, 1, 40);
}

static void one_reader_for_all(void **state)
{
    struct world *w = *state;
    struct consumer *many = calloc(50, sizeof *many);
    for (unsigned i = 0; i < 50; i++) {
        consumer_init(&many[i], &w->h);
        consumer_ask(&many[i], w->h.store, d1, 1, true, 0, NULL);
    }
    for (unsigned i = 0; i < 50; i++)
        consumer_begin(&many[i]);
    run_for(&w->h, 30);
    unsigned before = w->c.feed_requests;
    store_items(&w->c, 1, 1, 1);
    run_for(&w->h, 200);
    assert_true(w->c.feed_requests - before <= 12); /* 200 ms of 20 ms each, and a little */
    for (unsigned i = 0; i < 50; i++) {
        assert_run(&many[i], 1, 1, 1);
        consumer_close(&many[i]);
    }
    free(many);
}

static void two_workers_share_the_reader(void **state)
{
    struct world *w = *state;
    struct mailbox *mailbox;
    struct consumer other;
    assert_int_equal(mailbox_new(&w->h.loop, &mailbox), 0);
    struct telemetry_store *second =
        cosmos_store_new(w->h.account, NULL, w->h.http, mailbox, &w->h.loop, NULL);
    assert_non_null(second);
    consumer_init(&other, &w->h);
    consumer_ask(&other, second, d1, 1, true, 0, NULL);
    consumer_begin(&other);
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    store_items(&w->c, 1, 1, 3);
    wait_told(&w->k, 3);
    assert_run(&w->k, 1, 1, 3);
    assert_run(&other, 1, 1, 3);
    consumer_close(&other);
    second->ops->free(second);
    mailbox_close(mailbox);
}

/* --- room -------------------------------------------------------------------------------------- */

static void too_slow_is_resynced(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    w->k.room = 2;
    store_items(&w->c, 1, 1, 3);
    wait_told(&w->k, 2);
    store_items(&w->c, 1, 4, 1);
    run_for(&w->h, 60);
    assert_int_equal(w->k.refused, 1);
    assert_int_equal(w->k.slow, 0);
    w->k.room = SIZE_MAX;
    w->k.follow->ops->go_on(w->k.follow);
    assert_int_equal(w->k.slow, 0); /* not from inside of go_on() */
    run_for(&w->h, 60);
    assert_int_equal(w->k.slow, 1);
    store_items(&w->c, 1, 5, 1);
    wait_told(&w->k, 3);
    assert_told(&w->k, (struct told[]){{1, 1}, {1, 2}, {1, 5}}, 3);
}

static void a_slow_ones_position_is_after_what_it_took(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    w->k.room = 2;
    store_items(&w->c, 1, 1, 4); /* one transaction */
    wait_told(&w->k, 2);
    keep_position(&w->k);
    consumer_close(&w->k);
    w->k.room = SIZE_MAX;
    consumer_open(&w->k, d1, 1, false, 0, w->k.position);
    wait_told(&w->k, 4);
    assert_run(&w->k, 1, 1, 4);
    assert_int_equal(w->k.expired + w->k.slow, 0);
}

static void the_past_waits_for_room(void **state)
{
    struct world *w = *state;
    w->c.page_items = 7;
    w->c.now = time(NULL) - 100;
    store_items(&w->c, 1, 1, 20);
    w->c.now = 0;
    w->k.room = 0;
    consumer_open(&w->k, d1, 1, false, time(NULL) - 200, NULL);
    for (unsigned i = 1; i <= 10; i++) {
        w->k.room = 3;
        w->k.follow->ops->go_on(w->k.follow);
        run_for(&w->h, 20);
        if (i == 3)
            store_items(&w->c, 1, 21, 5);
    }
    wait_told(&w->k, 25);
    assert_run(&w->k, 1, 1, 25);
    assert_int_equal(w->k.slow, 0);
}

static void closed_within_its_callback(void **state)
{
    struct world *w = *state;
    struct consumer others[3];
    for (unsigned i = 0; i < 3; i++) {
        consumer_init(&others[i], &w->h);
        others[i].close_at = i + 1;
        consumer_open(&others[i], d1, 1, true, 0, NULL);
    }
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    store_items(&w->c, 1, 1, 5);
    wait_told(&w->k, 5);
    for (unsigned i = 0; i < 3; i++) {
        assert_null(others[i].follow);
        assert_run(&others[i], 1, 1, i + 1);
    }
    w->k.close_at = 8;
    consumer_close(&w->k);
    consumer_open(&w->k, d1, 1, false, time(NULL) - 60, NULL);
    wait_told(&w->k, 8);
    assert_null(w->k.follow);
    assert_int_equal(w->k.count, 8);
}

/* --- from a time ------------------------------------------------------------------------------- */

static void from_a_time_first_the_past_then_the_feed(void **state)
{
    struct world *w = *state;
    int64_t now = time(NULL);
    w->c.page_items = 4;
    unsigned value = 1;
    for (int64_t age = 30; age >= 0; age--) {
        w->c.now = now - age;
        for (unsigned d = 1; d <= 3; d++)
            store_items(&w->c, d, value, 3);
        value += 3;
    }
    w->c.now = 0;
    consumer_open(&w->k, three, 3, false, now - 20 - 1, NULL);
    for (unsigned d = 1; d <= 3; d++)
        store_items(&w->c, d, value, 3);
    wait_told(&w->k, (21 + 1) * 9);
    for (unsigned d = 1; d <= 3; d++)
        assert_run(&w->k, d, 31, (21 + 1) * 3);
}

static void from_a_moment_ago_needs_no_query(void **state)
{
    struct world *w = *state;
    w->c.now = time(NULL) - 2;
    store_items(&w->c, 1, 1, 1);
    w->c.now = time(NULL) - 1;
    store_items(&w->c, 1, 2, 1);
    w->c.now = 0;
    consumer_open(&w->k, d1, 1, false, time(NULL) - 2, NULL);
    wait_told(&w->k, 1);
    assert_told(&w->k, (struct told[]){{1, 2}}, 1);
    assert_int_equal(w->c.queries, 0);
}

/* --- positions --------------------------------------------------------------------------------- */

static void resumed_where_it_was_left(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, three, 3, true, 0, NULL);
    store_items(&w->c, 1, 1, 2);
    wait_told(&w->k, 2);
    consumer_close(&w->k);
    store_items(&w->c, 1, 3, 2);
    store_items(&w->c, 2, 1, 2);
    consumer_open(&w->k, three, 3, false, 0, w->k.position);
    wait_told(&w->k, 6);
    store_items(&w->c, 1, 5, 1);
    wait_told(&w->k, 7);
    assert_run(&w->k, 1, 1, 5);
    assert_run(&w->k, 2, 1, 2);
}

static void resumed_before_its_first_reading(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    consumer_close(&w->k);
    store_items(&w->c, 1, 1, 2);
    consumer_open(&w->k, d1, 1, false, 0, w->k.position);
    wait_told(&w->k, 2);
    assert_run(&w->k, 1, 1, 2);
}

static void resumed_in_the_middle_of_a_transaction(void **state)
{
    struct world *w = *state;
    for (size_t cut = 1; cut < 100; cut += 14) {
        consumer_init(&w->k, &w->h);
        consumer_open(&w->k, d1, 1, true, 0, NULL);
        w->k.close_at = cut;
        store_items(&w->c, 1, 1, 100);
        wait_told(&w->k, cut);
        assert_null(w->k.follow);
        w->k.close_at = 0;
        consumer_open(&w->k, d1, 1, false, 0, w->k.position);
        wait_told(&w->k, 100);
        assert_run(&w->k, 1, 1, 100);
        consumer_close(&w->k);
    }
}

static void the_last_one_taken_was_replaced_meanwhile(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    w->k.close_at = 3;
    store_items(&w->c, 1, 1, 5);
    wait_told(&w->k, 3);
    replace_item(&w->c, 1, 3, 33);
    replace_item(&w->c, 1, 1, 11);
    w->k.close_at = 0;
    consumer_open(&w->k, d1, 1, false, 0, w->k.position);
    wait_told(&w->k, 7);
    assert_told(&w->k, (struct told[]){{1, 1}, {1, 2}, {1, 3}, {1, 4}, {1, 5}, {1, 33}, {1, 11}}, 7);
}

static void resumed_after_a_split(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, three, 3, true, 0, NULL);
    w->k.close_at = 4;
    store_items(&w->c, 1, 1, 2);
    store_items(&w->c, 2, 1, 4);
    wait_told(&w->k, 4);
    split_range(&w->c, "0", "1", "2");
    split_range(&w->c, "1", "3", "4");
    store_items(&w->c, 1, 3, 2);
    store_items(&w->c, 2, 5, 1);
    store_items(&w->c, 3, 1, 1);
    w->k.close_at = 0;
    consumer_open(&w->k, three, 3, false, 0, w->k.position);
    wait_told(&w->k, 10);
    assert_run(&w->k, 1, 1, 4);
    assert_run(&w->k, 2, 1, 5);
    assert_run(&w->k, 3, 1, 1);
}

static void resumed_in_the_past(void **state)
{
    struct world *w = *state;
    int64_t now = time(NULL);
    w->c.page_items = 3;
    for (unsigned i = 0; i < 10; i++) {
        w->c.now = now - 40 + i;
        for (unsigned d = 1; d <= 3; d++)
            store_items(&w->c, d, 1 + 2 * i, 2);
    }
    w->c.now = 0;
    for (size_t cut = 1; cut <= 62; cut += 5) {
        consumer_init(&w->k, &w->h);
        w->k.close_at = cut;
        consumer_open(&w->k, three, 3, false, now - 41, NULL);
        wait_told(&w->k, cut < 60 ? cut : 60);
        consumer_close(&w->k);
        w->k.close_at = 0;
        consumer_open(&w->k, three, 3, false, 0, w->k.position);
        wait_told(&w->k, 60);
        for (unsigned d = 1; d <= 3; d++)
            assert_run(&w->k, d, 1, 20);
        consumer_close(&w->k);
    }
}

/* The feed's own pages may be ahead of the reader, which then comes with what is known already. */
static void resumed_further_than_the_reader_is(void **state)
{
    struct world *w = *state;
    for (unsigned round = 0; round < 20; round++) {
        consumer_init(&w->k, &w->h);
        consumer_open(&w->k, d1, 1, true, 0, NULL);
        w->k.close_at = 1;
        store_items(&w->c, 1, 1, 3);
        wait_told(&w->k, 1);
        w->k.close_at = 0;
        consumer_open(&w->k, d1, 1, false, 0, w->k.position);
        store_items(&w->c, 1, 4, 1);
        for (unsigned i = 0; i < 8; i++) {
            run_for(&w->h, 1);
            store_items(&w->c, 1, 5 + i, 1);
        }
        wait_told(&w->k, 12);
        assert_run(&w->k, 1, 1, 12);
        consumer_close(&w->k);
    }
}

/* A position of another container, of other devices' past, of too long ago, and what is none. */
static void what_cannot_be_resumed_is_said(void **state)
{
    static const char *const positions[] = {
        "", "A", "AAAA", "not a position", "AQAAAAAA", "////////////////////////////////"};
    struct world *w = *state;
    for (size_t i = 0; i < COUNT(positions); i++) {
        consumer_init(&w->k, &w->h);
        store_items(&w->c, 1, 1, 1);
        consumer_open(&w->k, d1, 1, false, 0, positions[i]);
        run_for(&w->h, 40);
        assert_int_equal(w->k.expired, 1);
        store_items(&w->c, 1, 2, 1);
        wait_told(&w->k, 1);
        assert_told(&w->k, (struct told[]){{1, 2}}, 1);
        consumer_close(&w->k);
    }
}

static void readings_too_old_for_their_position_expire_it(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    consumer_close(&w->k);
    w->c.now = time(NULL) - 5000; /* so the position is older than it says */
    store_items(&w->c, 1, 1, 1);
    w->c.now = 0;
    consumer_open(&w->k, d1, 1, false, 0, w->k.position);
    run_for(&w->h, 80);
    assert_int_equal(w->k.count, 0);
    assert_int_equal(w->k.expired, 1);
}

/* --- what this process stores ------------------------------------------------------------------ */

static void on_stored(void *ctx, const struct upstream_result *result, size_t stored, int64_t at)
{
    assert_int_equal(result->status, UPSTREAM_OK);
    *(bool *)ctx = true;
}

/* Writes readings of d1 with the values from `first` on, through the store. */
static void post(struct world *w, unsigned first, unsigned count)
{
    char texts[8][32];
    struct reading readings[8] = {0};
    bool stored = false;
    for (unsigned i = 0; i < count; i++) {
        snprintf(texts[i], sizeof texts[i], "{\"v\":%u}", first + i);
        readings[i].data = texts[i];
        readings[i].data_len = strlen(texts[i]);
    }
    const struct telemetry_write write = {
        .device_id = "d1", .readings = readings, .count = count, .ttl_s = 60, .deadline_ms = in_ms(5000)};
    assert_non_null(w->h.store->ops->write(w->h.store, &write, on_stored, &stored));
    while (!stored)
        uv_run(&w->h.loop, UV_RUN_ONCE);
}

static void own_writes_come_by_the_feed(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    post(w, 1, 1);
    post(w, 2, 5);
    wait_told(&w->k, 6);
    run_for(&w->h, 400);
    assert_run(&w->k, 1, 1, 6);
}

static void own_writes_that_the_feed_does_not_show_come_all_the_same(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    w->c.stuck = true;
    post(w, 1, 1);
    post(w, 2, 3);
    run_for(&w->h, 150);
    assert_int_equal(w->k.count, 0);
    wait_told(&w->k, 4);
    assert_run(&w->k, 1, 1, 4);
    w->c.stuck = false; /* and now it does */
    run_for(&w->h, 100);
    assert_run(&w->k, 1, 1, 4);
    post(w, 5, 1);
    store_items(&w->c, 1, 6, 1);
    wait_told(&w->k, 6);
    run_for(&w->h, 400);
    assert_run(&w->k, 1, 1, 6);
}

static void a_feed_that_is_a_little_late_doubles_nothing(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    w->c.stuck = true;
    post(w, 1, 3);
    run_for(&w->h, 150);
    w->c.stuck = false;
    run_for(&w->h, 500);
    assert_run(&w->k, 1, 1, 3);
}

static void early_ones_are_not_doubled_by_a_resumption(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    w->c.stuck = true;
    w->k.close_at = 3;
    post(w, 1, 5);
    wait_told(&w->k, 3);
    assert_null(w->k.follow);
    w->c.stuck = false;
    w->k.close_at = 0;
    consumer_open(&w->k, d1, 1, false, 0, w->k.position);
    wait_told(&w->k, 5);
    assert_run(&w->k, 1, 1, 5);
}

static void early_ones_are_no_news_to_who_came_later(void **state)
{
    struct world *w = *state;
    struct consumer first;
    consumer_init(&first, &w->h);
    consumer_open(&first, d1, 1, true, 0, NULL);
    w->c.stuck = true;
    post(w, 1, 1);
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    wait_told(&first, 1);
    assert_run(&first, 1, 1, 1);
    assert_int_equal(w->k.count, 0);
    consumer_close(&first);
}

static void too_slow_for_early_ones(void **state)
{
    struct world *w = *state;
    consumer_open(&w->k, d1, 1, true, 0, NULL);
    w->c.stuck = true;
    w->k.room = 2;
    post(w, 1, 4);
    wait_told(&w->k, 2);
    keep_position(&w->k);
    consumer_close(&w->k);
    w->c.stuck = false;
    w->k.room = SIZE_MAX;
    consumer_open(&w->k, d1, 1, false, 0, w->k.position);
    wait_told(&w->k, 4);
    assert_run(&w->k, 1, 1, 4);
}

/* --- openings ---------------------------------------------------------------------------------- */

static void an_opening_that_fails_says_why(void **state)
{
    struct world *w = *state;
    w->c.fault_every = 1;
    w->c.fault_status = 403;
    consumer_ask(&w->k, w->h.store, d1, 1, true, 0, NULL);
    while (!w->k.opened)
        uv_run(&w->h.loop, UV_RUN_ONCE);
    assert_int_equal(w->k.result.status, UPSTREAM_UNAUTHORIZED);
    w->c.fault_every = 0;
    consumer_open(&w->k, d1, 1, true, 0, NULL);
}

static void an_opening_can_be_given_up(void **state)
{
    struct world *w = *state;
    consumer_ask(&w->k, w->h.store, d1, 1, true, 0, NULL);
    operation_cancel(w->k.opening);
    run_for(&w->h, 60);
    assert_false(w->k.opened);
    consumer_ask(&w->k, w->h.store, d1, 1, true, 0, NULL);
    run_for(&w->h, 1);
    if (w->k.opening != NULL)
        operation_cancel(w->k.opening);
    run_for(&w->h, 60);
}

/* --- at random --------------------------------------------------------------------------------- */

/* Writers, faults, splits, and a follower that is cut and resumed at any point. */
static void nothing_lost_or_doubled(void **state)
{
    struct world *w = *state;
    unsigned values[4] = {1, 1, 1, 1}, cuts = 0, seed = 12345;

    w->c.page_items = 5;
    consumer_open(&w->k, three, 3, true, 0, NULL);
    while (cuts < 200) {
        for (unsigned i = 0; i < 3; i++) {
            unsigned device = 1 + (unsigned)rand_r(&seed) % 3, n = 1 + (unsigned)rand_r(&seed) % 8;
            if (rand_r(&seed) % 2 == 0)
                continue;
            store_items(&w->c, device, values[device], n);
            values[device] += n;
        }
        if (cuts == 60)
            w->c.fault_every = 7, w->c.fault_status = 503;
        if (cuts == 120)
            w->c.fault_every = 5, w->c.fault_status = 429;
        if (cuts == 80 && w->c.range_count == 1)
            split_range(&w->c, "0", "1", "2");
        if (cuts == 140 && w->c.range_count == 3)
            split_range(&w->c, "1", "3", "4");
        w->k.close_at = w->k.count + 1 + (unsigned)rand_r(&seed) % 9;
        run_for(&w->h, (unsigned)rand_r(&seed) % 25);
        if (w->k.follow == NULL || rand_r(&seed) % 3 == 0) {
            cuts++;
            consumer_close(&w->k);
            w->k.close_at = 0;
            do { /* the faults may hit an opening */
                consumer_ask(&w->k, w->h.store, three, 3, false, 0, w->k.position);
                while (!w->k.opened)
                    uv_run(&w->h.loop, UV_RUN_ONCE);
            } while (w->k.follow == NULL);
            consumer_begin(&w->k);
        }
    }
    w->c.fault_every = 0;
    w->k.close_at = 0;
    wait_told(&w->k, values[1] + values[2] + values[3] - 3);
    for (unsigned d = 1; d <= 3; d++)
        assert_run(&w->k, d, 1, values[d] - 1);
    assert_int_equal(w->k.expired, 0);
    assert_int_equal(w->k.slow, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(from_now_only_what_comes),
        TEST(what_was_stored_before_the_opening_is_no_news),
        TEST(before_begin_nothing_is_lost),
        TEST(a_replaced_reading_is_one_more),
        TEST(small_pages_come_all),
        TEST(a_split_loses_and_doubles_nothing),
        TEST(failures_lose_nothing),
        TEST(one_reader_for_all),
        TEST(two_workers_share_the_reader),
        TEST(too_slow_is_resynced),
        TEST(a_slow_ones_position_is_after_what_it_took),
        TEST(the_past_waits_for_room),
        TEST(closed_within_its_callback),
        TEST(from_a_time_first_the_past_then_the_feed),
        TEST(from_a_moment_ago_needs_no_query),
        TEST(resumed_where_it_was_left),
        TEST(resumed_before_its_first_reading),
        TEST(resumed_in_the_middle_of_a_transaction),
        TEST(the_last_one_taken_was_replaced_meanwhile),
        TEST(resumed_after_a_split),
        TEST(resumed_in_the_past),
        TEST(resumed_further_than_the_reader_is),
        TEST(what_cannot_be_resumed_is_said),
        TEST(readings_too_old_for_their_position_expire_it),
        TEST(own_writes_come_by_the_feed),
        TEST(own_writes_that_the_feed_does_not_show_come_all_the_same),
        TEST(a_feed_that_is_a_little_late_doubles_nothing),
        TEST(early_ones_are_not_doubled_by_a_resumption),
        TEST(early_ones_are_no_news_to_who_came_later),
        TEST(too_slow_for_early_ones),
        TEST(an_opening_that_fails_says_why),
        TEST(an_opening_can_be_given_up),
        TEST(nothing_lost_or_doubled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
