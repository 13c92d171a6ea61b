#include "sqlite_harness.h"

#define ALL INT64_MAX /* as `until`: no upper edge */

/* --- order, windows, paging -------------------------------------------------------------------- */

static void readings_of_one_second_keep_their_order(void **state)
{
    struct fixture *fx = *state;
    static const char *const batch[] = {"{\"n\":2}", "{\"n\":3}"};
    store_ok(fx, "d", "{\"n\":1}", NULL);
    assert_int_equal(store_many(fx, "d", batch, NULL, 2, TTL).stored, 2);
    store_ok(fx, "d", "{\"n\":4}", NULL);
    assert_page(
        read_page(fx, "d", 0, ALL, true, 10, NULL),
        "[{\"data\":{\"n\":1},\"timestamp\":1795417200},{\"data\":{\"n\":2},\"timestamp\":1795417200},"
        "{\"data\":{\"n\":3},\"timestamp\":1795417200},{\"data\":{\"n\":4},\"timestamp\":1795417200}]",
        false);
    assert_page(
        read_page(fx, "d", 0, ALL, false, 10, NULL),
        "[{\"data\":{\"n\":4},\"timestamp\":1795417200},{\"data\":{\"n\":3},\"timestamp\":1795417200},"
        "{\"data\":{\"n\":2},\"timestamp\":1795417200},{\"data\":{\"n\":1},\"timestamp\":1795417200}]",
        false);
    struct outcome latest = read_latest(fx, "d");
    assert_string_equal(latest.text, "{\"n\":4}");
    assert_int_equal(latest.at, NOW);
    outcome_free(&latest);
}

static void a_window_excludes_its_start_and_includes_its_end(void **state)
{
    static const struct {
        const char *rule;
        int64_t after, until;
        const char *ascending; /* the readings of the seconds 100, 200 and 300 in the window */
    } cases[] = {
        {"all", 0, 1000, "123"},
        {"the start is outside", 100, 300, "23"},
        {"just before the start", 99, 300, "123"},
        {"the end is inside", 0, 200, "12"},
        {"just before the end", 0, 199, "1"},
        {"one second", 199, 200, "2"},
        {"nothing between", 100, 199, ""},
        {"before all", 0, 99, ""},
        {"after all", 300, 1000, ""},
        {"the wrong way round", 300, 100, ""},
        {"the farthest edges", INT64_MIN, INT64_MAX, "123"},
    };
    struct fixture *fx = *state;
    fx->now = 50;
    for (int i = 1; i <= 3; i++) {
        char text[2] = {(char)('0' + i), '\0'};
        assert_int_equal(sqlite_db_backfill(fx->db, "d", text, 1, i * 100, TTL), 0);
    }
    assert_int_equal(sqlite_db_flush(fx->db), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int ascending = 0; ascending <= 1; ascending++) {
            char expected[256] = "[";
            size_t n = strlen(cases[i].ascending);
            for (size_t k = 0; k < n; k++) {
                char c = cases[i].ascending[ascending ? k : n - 1 - k];
                snprintf(expected + strlen(expected), 64, "%s{\"data\":%c,\"timestamp\":%c00}",
                         k > 0 ? "," : "", c, c);
            }
            strncat(expected, "]", 2);
            struct outcome page = read_page(fx, "d", cases[i].after, cases[i].until, ascending, 10, NULL);
            if (page.text == NULL || strcmp(page.text, expected) != 0)
                fail_msg("%s: %s instead of %s", cases[i].rule, page.text, expected);
            assert_int_equal(page.count, n);
            assert_null(page.next);
            outcome_free(&page);
        }
    }
}

/* Thirteen readings, several to a second, so that page ends fall inside seconds. */
static void fill_thirteen(struct fixture *fx)
{
    static const int per_second[] = {1, 4, 2, 5, 1};
    int n = 0;
    for (size_t second = 0; second < COUNT(per_second); second++) {
        for (int i = 0; i < per_second[second]; i++) {
            char text[32];
            snprintf(text, sizeof text, "{\"n\":%d}", n++);
            assert_int_equal(sqlite_db_backfill(fx->db, "d", text, strlen(text), NOW + (int64_t)second, TTL),
                             0);
        }
    }
    assert_int_equal(sqlite_db_backfill(fx->db, "other", "{}", 2, NOW + 2, TTL), 0);
    assert_int_equal(sqlite_db_flush(fx->db), 0);
}

static void following_next_yields_the_whole_whatever_the_limit(void **state)
{
    struct fixture *fx = *state;
    fill_thirteen(fx);
    for (int ascending = 0; ascending <= 1; ascending++) {
        struct outcome whole = read_page(fx, "d", 0, ALL, ascending, 100, NULL);
        assert_int_equal(whole.count, 13);
        for (unsigned limit = 1; limit <= 14; limit++) {
            char joined[2048] = "[";
            unsigned pages = 0;
            char *position = NULL;
            do {
                struct outcome page = read_page(fx, "d", 0, ALL, ascending, limit, position);
                assert_int_equal(page.result.status, UPSTREAM_OK);
                assert_int_equal(page.count, page.next != NULL ? limit : 13 - limit * pages);
                page.text[strlen(page.text) - 1] = '\0';
                snprintf(joined + strlen(joined), sizeof joined - strlen(joined), "%s%s",
                         pages++ > 0 ? "," : "", page.text + 1);
                free(position);
                position = page.next;
                page.next = NULL;
                outcome_free(&page);
            } while (position != NULL);
            assert_int_equal(pages, (13 + limit - 1) / limit);
            strncat(joined, "]", 2);
            assert_string_equal(joined, whole.text);
        }
        outcome_free(&whole);
    }
}

static void a_page_goes_on_after_what_was_removed_or_added(void **state)
{
    struct fixture *fx = *state;
    store_ok(fx, "d", "1", "d-a");
    store_ok(fx, "d", "2", "d-b");
    store_ok(fx, "d", "3", NULL);
    struct outcome page = read_page(fx, "d", 0, ALL, true, 1, NULL);
    assert_non_null(page.next);
    store_ok(fx, "d", "4", "d-b"); /* the reading that the next page would begin with is gone, another came */
    assert_page(read_page(fx, "d", 0, ALL, true, 10, page.next),
                "[{\"data\":3,\"timestamp\":1795417200},{\"data\":4,\"timestamp\":1795417200}]", false);
    outcome_free(&page);
}

static void a_page_ends_early_rather_than_grow_without_bound(void **state)
{
    struct fixture *fx = *state;
    enum { size = 3 << 20, readings = 8 };
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, ' ', size);
    text[0] = '1';
    for (int i = 0; i < readings; i++)
        assert_int_equal(sqlite_db_backfill(fx->db, "d", text, size, NOW, TTL), 0);
    assert_int_equal(sqlite_db_flush(fx->db), 0);
    free(text);
    struct outcome page = read_page(fx, "d", 0, ALL, true, 100, NULL);
    assert_int_equal(page.count, 5);
    assert_non_null(page.next);
    struct outcome rest = read_page(fx, "d", 0, ALL, true, 100, page.next);
    assert_int_equal(rest.count, 3);
    assert_null(rest.next);
    outcome_free(&page);
    outcome_free(&rest);
}

static void an_unknown_device_has_an_empty_page_and_no_latest(void **state)
{
    struct fixture *fx = *state;
    store_ok(fx, "d", "{}", NULL);
    static const char *const unknown[] = {"x", "D", "d2", "", "d%00"};
    for (size_t i = 0; i < COUNT(unknown); i++) {
        assert_page(read_page(fx, unknown[i], 0, ALL, false, 10, NULL), "[]", false);
        struct outcome latest = read_latest(fx, unknown[i]);
        assert_int_equal(latest.result.status, UPSTREAM_OK);
        assert_null(latest.text);
    }
}

static void only_a_position_of_ours_is_taken(void **state)
{
    static const struct {
        const char *position;
        enum upstream_status status;
    } cases[] = {
        {"1795417200-1", UPSTREAM_OK},
        {"0-0", UPSTREAM_OK},
        {"9223372036854775807-9223372036854775807", UPSTREAM_OK},
        {"", UPSTREAM_BAD_CURSOR},
        {"-", UPSTREAM_BAD_CURSOR},
        {"1", UPSTREAM_BAD_CURSOR},
        {"1-", UPSTREAM_BAD_CURSOR},
        {"-1", UPSTREAM_BAD_CURSOR},
        {"1-2-3", UPSTREAM_BAD_CURSOR},
        {"1--2", UPSTREAM_BAD_CURSOR},
        {"1-2 ", UPSTREAM_BAD_CURSOR},
        {" 1-2", UPSTREAM_BAD_CURSOR},
        {"+1-2", UPSTREAM_BAD_CURSOR},
        {"01-2", UPSTREAM_BAD_CURSOR},
        {"1-02", UPSTREAM_BAD_CURSOR},
        {"1.5-2", UPSTREAM_BAD_CURSOR},
        {"1e3-2", UPSTREAM_BAD_CURSOR},
        {"0x1-2", UPSTREAM_BAD_CURSOR},
        {"1_2", UPSTREAM_BAD_CURSOR},
        {"9223372036854775808-1", UPSTREAM_BAD_CURSOR},
        {"1-9223372036854775808", UPSTREAM_BAD_CURSOR},
        {"99999999999999999999999999999999999999999999999999-1", UPSTREAM_BAD_CURSOR},
        {"1-2\n", UPSTREAM_BAD_CURSOR},
        {"1-2' OR 1=1", UPSTREAM_BAD_CURSOR},
        {"\xff\xfe", UPSTREAM_BAD_CURSOR},
        {"{\"token\":1}", UPSTREAM_BAD_CURSOR},
    };
    struct fixture *fx = *state;
    store_ok(fx, "d", "{}", NULL);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct outcome page = read_page(fx, "d", 0, ALL, i % 2, 10, cases[i].position);
        if (page.result.status != cases[i].status)
            fail_msg("'%s': status %d", cases[i].position, (int)page.result.status);
        outcome_free(&page);
    }
}

static void a_position_never_leads_out_of_the_window(void **state)
{
    struct fixture *fx = *state;
    fill_thirteen(fx);
    static const char *const positions[] = {"0-0", "1-1", "1795417199-999", "9223372036854775807-1",
                                            "1795417300-5"};
    for (size_t i = 0; i < COUNT(positions); i++) {
        for (int ascending = 0; ascending <= 1; ascending++) {
            struct outcome page = read_page(fx, "d", NOW, NOW + 1, ascending, 100, positions[i]);
            assert_int_equal(page.result.status, UPSTREAM_OK);
            assert_true(page.count == 4 || page.count == 0);
            outcome_free(&page);
        }
    }
}

/* --- what is stored ---------------------------------------------------------------------------- */

static void a_reading_keeps_its_bytes(void **state)
{
    static const char *const texts[] = {
        "{}",
        "{ \"b\" : 1 , \"a\" : 2 }",
        "{\"n\":33.990,\"e\":1E+2,\"z\":-0,\"big\":123456789012345678901234567890}",
        "{\"s\":\"\\u0000\\ud800 \xc3\xa9 \\/\"}",
    };
    struct fixture *fx = *state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        store_ok(fx, "d", texts[i], NULL);
        struct outcome latest = read_latest(fx, "d");
        assert_string_equal(latest.text, texts[i]);
        outcome_free(&latest);
    }
}

static void a_repeated_id_replaces_and_moves_to_the_end(void **state)
{
    struct fixture *fx = *state;
    static const char *const texts[] = {"1", "2", "3"};
    static const char *const ids[] = {"d-t", NULL, "d-t"};
    struct outcome outcome = store_many(fx, "d", texts, ids, 3, TTL);
    assert_int_equal(outcome.stored, 3); /* counts both */
    assert_page(read_page(fx, "d", 0, ALL, true, 10, NULL),
                "[{\"data\":2,\"timestamp\":1795417200},{\"data\":3,\"timestamp\":1795417200}]", false);
    fx->now = NOW + 5;
    store_ok(fx, "d", "4", "d-t");
    store_ok(fx, "e", "5", "d-t"); /* an id belongs to its device */
    assert_page(read_page(fx, "d", 0, ALL, true, 10, NULL),
                "[{\"data\":2,\"timestamp\":1795417200},{\"data\":4,\"timestamp\":1795417205}]", false);
    assert_page(read_page(fx, "e", 0, ALL, true, 10, NULL), "[{\"data\":5,\"timestamp\":1795417205}]", false);
}

static void a_reading_is_gone_at_the_second_it_expires(void **state)
{
    struct fixture *fx = *state;
    static const char *const one[] = {"1"}, *const two[] = {"2"};
    store_many(fx, "d", one, NULL, 1, 10);
    fx->now = NOW + 5;
    store_many(fx, "d", two, NULL, 1, INT64_MAX);
    static const struct {
        int64_t at;
        const char *page;
    } cases[] = {
        {NOW + 9, "[{\"data\":1,\"timestamp\":1795417200},{\"data\":2,\"timestamp\":1795417205}]"},
        {NOW + 10, "[{\"data\":2,\"timestamp\":1795417205}]"},
        {NOW + 1000000, "[{\"data\":2,\"timestamp\":1795417205}]"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        fx->now = cases[i].at;
        assert_page(read_page(fx, "d", 0, ALL, true, 10, NULL), cases[i].page, false);
    }
    /* Under load the expired go with what is written. */
    store_many(fx, "d", one, NULL, 1, 10);
    fx->now = NOW;
    assert_page(read_page(fx, "d", 0, NOW + 100, true, 10, NULL), "[{\"data\":2,\"timestamp\":1795417205}]",
                false);
}

static void the_latest_is_the_newest_that_has_not_expired(void **state)
{
    struct fixture *fx = *state;
    static const char *const longer[] = {"1"}, *const shorter[] = {"2"};
    store_many(fx, "d", longer, NULL, 1, 100);
    store_many(fx, "d", shorter, NULL, 1, 10);
    fx->now = NOW + 10;
    struct outcome latest = read_latest(fx, "d");
    assert_string_equal(latest.text, "1");
    outcome_free(&latest);
    fx->now = NOW + 100;
    assert_null(read_latest(fx, "d").text);
}

static void a_clock_that_steps_back_a_little_keeps_the_order(void **state)
{
    static const struct {
        int64_t now, at;
    } cases[] = {
        {NOW, NOW},           {NOW - 1, NOW}, /* held */
        {NOW - 60, NOW},                      /* held */
        {NOW + 1, NOW + 1},                   /* caught up */
        {NOW - 60, NOW - 60},                 /* 61 seconds: it had been wrong, and is followed */
        {NOW - 59, NOW - 59},
    };
    struct fixture *fx = *state;
    static const char *const one[] = {"1"};
    for (size_t i = 0; i < COUNT(cases); i++) {
        fx->now = cases[i].now;
        assert_int_equal(store_many(fx, "d", one, NULL, 1, TTL).at, cases[i].at);
    }
}

static void the_order_of_a_second_survives_a_restart(void **state)
{
    struct fixture *fx = *state;
    static const char *const texts[] = {"1", "2", "3"};
    store_many(fx, "d", texts, NULL, 3, 1);
    struct outcome page = read_page(fx, "d", 0, ALL, true, 2, NULL);
    assert_non_null(page.next);
    fx->now = NOW + 1;
    assert_int_equal(sqlite_db_patch(fx->db, "e", "{}"),
                     0); /* every reading has expired; this write removes them */
    fx->now = NOW;
    assert_page(read_page(fx, "d", 0, ALL, true, 10, NULL), "[]", false);
    fixture_reopen(fx);
    store_ok(fx, "d", "4", NULL); /* in the same second, and after all that were ever in it */
    assert_page(read_page(fx, "d", 0, ALL, true, 10, page.next), "[{\"data\":4,\"timestamp\":1795417200}]",
                false);
    outcome_free(&page);
}

static void past_its_deadline_nothing_is_done(void **state)
{
    struct fixture *fx = *state;
    struct outcome outcome = {0};
    const struct reading reading = {"{}", 2, NULL};
    const struct telemetry_write write = {.device_id = "d", .readings = &reading, .count = 1, .ttl_s = TTL};
    await(fx, fx->store->ops->write(fx->store, &write, on_stored, &outcome), &outcome);
    assert_int_equal(outcome.result.status, UPSTREAM_OK); /* 0 is no deadline */
    outcome = (struct outcome){0};
    struct telemetry_write late = write;
    late.deadline_ms = 1;
    late.device_id = "late";
    await(fx, fx->store->ops->write(fx->store, &late, on_stored, &outcome), &outcome);
    assert_int_equal(outcome.result.status, UPSTREAM_TIMEOUT);
    assert_int_equal(outcome.stored, 0);
    assert_null(read_latest(fx, "late").text);

    const struct telemetry_range range = {"d", 0, ALL, true, 10, NULL, 1};
    outcome = (struct outcome){0};
    await(fx, fx->store->ops->read_range(fx->store, &range, on_page, &outcome), &outcome);
    assert_int_equal(outcome.result.status, UPSTREAM_TIMEOUT);
    outcome = (struct outcome){0};
    await(fx, fx->store->ops->latest(fx->store, "d", 1, on_latest, &outcome), &outcome);
    assert_int_equal(outcome.result.status, UPSTREAM_TIMEOUT);
}

struct taker {
    struct buffer text;
    size_t start, length;
    bool answered;
};

static void take_page(void *ctx, const struct upstream_result *result, struct telemetry_page *page)
{
    struct taker *taker = ctx;
    assert_non_null(page);
    taker->text = page->text;
    page->text = (struct buffer){0};
    taker->start = page->start;
    taker->length = page->length;
    taker->answered = true;
}

static void a_callback_may_take_the_page(void **state)
{
    struct fixture *fx = *state;
    store_ok(fx, "d", "{}", NULL);
    struct taker taker = {0};
    const struct telemetry_range range = {"d", 0, ALL, true, 10, NULL, NO_DEADLINE};
    assert_non_null(fx->store->ops->read_range(fx->store, &range, take_page, &taker));
    while (!taker.answered)
        uv_run(&fx->loop, UV_RUN_ONCE);
    memset(taker.text.data, 'x', taker.start);
    assert_memory_equal(taker.text.data + taker.start, "[{\"data\":{},\"timestamp\":1795417200}]",
                        taker.length);
    buffer_free(&taker.text);
}

static void it_says_that_it_can_serve(void **state)
{
    struct fixture *fx = *state;
    struct outcome outcome = {0};
    await(fx, fx->store->ops->check(fx->store, NO_DEADLINE, on_check, &outcome), &outcome);
    assert_int_equal(outcome.result.status, UPSTREAM_OK);
    assert_null(outcome.reason);
    assert_string_equal(fx->store->ops->mode, "embedded");
}

/* --- many at once ------------------------------------------------------------------------------ */

struct overload {
    unsigned ok, overloaded, other;
};

static void on_overload(void *ctx, const struct upstream_result *result, size_t stored, int64_t at)
{
    struct overload *overload = ctx;
    if (result->status == UPSTREAM_OK && stored == 1)
        overload->ok++;
    else if (result->status == UPSTREAM_OVERLOADED && stored == 0 && result->retry_after_s == 1)
        overload->overloaded++;
    else
        overload->other++;
}

static void what_does_not_fit_the_queue_is_refused_and_nothing_is_lost(void **state)
{
    enum { size = 1 << 20, writes = 200 };
    struct fixture *fx = *state;
    struct overload overload = {0};
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, ' ', size);
    text[0] = '1';
    const struct reading reading = {text, size, NULL};
    const struct telemetry_write write = {"d", &reading, 1, TTL, NO_DEADLINE};
    for (unsigned i = 0; i < writes; i++)
        assert_non_null(fx->store->ops->write(fx->store, &write, on_overload, &overload));
    free(text);
    while (overload.ok + overload.overloaded + overload.other < writes)
        uv_run(&fx->loop, UV_RUN_ONCE);
    assert_int_equal(overload.other, 0);
    assert_true(overload.ok >= 60); /* 64 MiB */
    unsigned found = 0;
    struct outcome page = {0};
    do {
        char *position = page.next;
        page.next = NULL;
        outcome_free(&page);
        page = read_page(fx, "d", 0, ALL, true, 100, position);
        free(position);
        found += page.count;
    } while (page.next != NULL);
    outcome_free(&page);
    assert_int_equal(found, overload.ok);
}

#define STORM_THREADS 3
#define STORM_ROUNDS  400
#define STORM_DEPTH   8

/* A worker of its own: stores and reads at the same time, and gives some of it up at any moment. */
struct storm {
    struct fixture *fx;
    uv_thread_t thread;
    unsigned number, seed;
    uv_loop_t loop;
    struct mailbox *mailbox;
    struct telemetry_store *store;
    unsigned acknowledged, cancelled, bad;
};

struct storm_slot {
    struct storm *storm;
    struct operation *op;
    bool write, reading;
};

static unsigned storm_random(struct storm *storm)
{
    storm->seed = storm->seed * 1103515245u + 12345u;
    return storm->seed >> 16;
}

static void storm_stored(void *ctx, const struct upstream_result *result, size_t stored, int64_t at)
{
    struct storm_slot *slot = ctx;
    slot->op = NULL;
    if (result->status == UPSTREAM_OK && stored == 2)
        slot->storm->acknowledged += 2;
    else
        slot->storm->bad++;
}

static void storm_page(void *ctx, const struct upstream_result *result, struct telemetry_page *page)
{
    struct storm_slot *slot = ctx;
    slot->op = NULL;
    if (result->status != UPSTREAM_OK || page->text.data[page->start + page->length - 1] != ']' ||
        page->count % 2 != 0)
        slot->storm->bad++; /* arrays of two come whole or not at all */
}

static void storm_start(struct storm *storm, struct storm_slot *slot)
{
    char device[32];
    snprintf(device, sizeof device, "storm-%u", storm->number);
    if (storm_random(storm) % 3 != 0) {
        char *text = harness_copy("{\"a\":1}{\"b\":2}", 14);
        const struct reading readings[2] = {{text, 7, NULL}, {text + 7, 7, NULL}};
        const struct telemetry_write write = {device, readings, 2, TTL, NO_DEADLINE};
        slot->op = storm->store->ops->write(storm->store, &write, storm_stored, slot);
        free(text);
    } else {
        const struct telemetry_range range = {device, 0,    ALL,        storm_random(storm) % 2,
                                              100,    NULL, NO_DEADLINE};
        slot->op = storm->store->ops->read_range(storm->store, &range, storm_page, slot);
    }
    if (slot->op == NULL)
        storm->bad++;
}

static void storm_main(void *ctx)
{
    struct storm *storm = ctx;
    struct storm_slot slots[STORM_DEPTH] = {0};
    if (uv_loop_init(&storm->loop) != 0 || mailbox_new(&storm->loop, &storm->mailbox) != 0)
        abort();
    storm->store = sqlite_store_new(storm->fx->db, &storm->loop, storm->mailbox);
    for (unsigned round = 0; round < STORM_ROUNDS; round++) {
        for (unsigned i = 0; i < STORM_DEPTH; i++) {
            slots[i].storm = storm;
            if (slots[i].op == NULL) {
                storm_start(storm, &slots[i]);
            } else if (storm_random(storm) % 4 == 0) {
                operation_cancel(slots[i].op);
                slots[i].op = NULL;
                storm->cancelled++;
            }
        }
        uv_run(&storm->loop, storm_random(storm) % 2 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    }
    /* As a worker ends: gives up what is under way and closes at once, while the writer may be at it. */
    for (unsigned i = 0; i < STORM_DEPTH; i++)
        operation_cancel(slots[i].op);
    storm->store->ops->free(storm->store);
    mailbox_close(storm->mailbox);
    uv_run(&storm->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&storm->loop) != 0)
        storm->bad++;
}

static void workers_store_read_and_cancel_at_once(void **state)
{
    struct fixture *fx = *state;
    static struct storm storms[STORM_THREADS];
    memset(storms, 0, sizeof storms);
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        storms[i].fx = fx;
        storms[i].number = i;
        storms[i].seed = i + 1;
        assert_int_equal(uv_thread_create(&storms[i].thread, storm_main, &storms[i]), 0);
    }
    for (unsigned i = 0; i < STORM_THREADS; i++)
        uv_thread_join(&storms[i].thread);
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        char device[32];
        snprintf(device, sizeof device, "storm-%u", i);
        assert_int_equal(storms[i].bad, 0);
        assert_true(storms[i].acknowledged > 0);
        assert_true(storms[i].cancelled > 0);
        struct outcome page = read_page(fx, device, 0, ALL, true, 10000, NULL);
        assert_int_equal(page.count % 2, 0);
        assert_true(page.count >= storms[i].acknowledged);
        assert_true(page.count <= storms[i].acknowledged + 2 * storms[i].cancelled + 2 * STORM_DEPTH);
        outcome_free(&page);
    }
}

static void never_called(void *ctx, const struct upstream_result *result, size_t stored, int64_t at)
{
    fail_msg("the callback of a cancelled write was called");
}

static void a_cancelled_operation_never_calls_back(void **state)
{
    struct fixture *fx = *state;
    const struct reading reading = {"{}", 2, NULL};
    const struct telemetry_write write = {"d", &reading, 1, TTL, NO_DEADLINE};
    for (unsigned i = 0; i < 200; i++) {
        struct operation *op = fx->store->ops->write(fx->store, &write, never_called, NULL);
        assert_non_null(op);
        if (i % 3 == 1)
            uv_sleep(0);
        else if (i % 3 == 2)
            assert_int_equal(sqlite_db_flush(fx->db), 0); /* it is in the mailbox by now */
        operation_cancel(op);
        uv_run(&fx->loop, UV_RUN_NOWAIT);
    }
    store_ok(fx, "d", "{}", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(readings_of_one_second_keep_their_order, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(a_window_excludes_its_start_and_includes_its_end, setup_memory,
                                        teardown),
        cmocka_unit_test_setup_teardown(following_next_yields_the_whole_whatever_the_limit, setup_memory,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_page_goes_on_after_what_was_removed_or_added, setup_memory,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_page_ends_early_rather_than_grow_without_bound, setup_memory,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_unknown_device_has_an_empty_page_and_no_latest, setup_memory,
                                        teardown),
        cmocka_unit_test_setup_teardown(only_a_position_of_ours_is_taken, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(a_position_never_leads_out_of_the_window, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(a_reading_keeps_its_bytes, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(a_repeated_id_replaces_and_moves_to_the_end, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(a_reading_is_gone_at_the_second_it_expires, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(the_latest_is_the_newest_that_has_not_expired, setup_memory,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_steps_back_a_little_keeps_the_order, setup_memory,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_order_of_a_second_survives_a_restart, setup_file, teardown),
        cmocka_unit_test_setup_teardown(past_its_deadline_nothing_is_done, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(a_callback_may_take_the_page, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(it_says_that_it_can_serve, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit_the_queue_is_refused_and_nothing_is_lost,
                                        setup_memory, teardown),
        cmocka_unit_test_setup_teardown(workers_store_read_and_cancel_at_once, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(workers_store_read_and_cancel_at_once, setup_file, teardown),
        cmocka_unit_test_setup_teardown(a_cancelled_operation_never_calls_back, setup_memory, teardown),
    };
    return cmocka_run_group_tests_name("sqlite_store", tests, NULL, NULL);
}
