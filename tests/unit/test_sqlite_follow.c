#include "sqlite_harness.h"

#include "clock.h"

#define TOLD_MAX 8192
#define ALWAYS   UINT_MAX

/* Writes down what a follow tells it: "d1=3 d2=1 !slow". Readings are numbers. */
struct consumer {
    struct telemetry_follow *follow;
    struct operation *opening;
    struct buffer log;
    unsigned told, resyncs;
    unsigned room;     /* takes so many more */
    unsigned close_at; /* closes the follow when it was told so many; 0: never */
    bool keeps;        /* the position after each */
    char *positions[TOLD_MAX];
};

static void close_follow(struct consumer *k)
{
    if (k->follow != NULL)
        k->follow->ops->close(k->follow);
    k->follow = NULL;
}

static char *position_of(const struct consumer *k)
{
    struct buffer text = {0};
    assert_int_equal(k->follow->ops->position(k->follow, &text), 0);
    assert_true(text.len > 0 && text.len <= TELEMETRY_POSITION_MAX);
    return buffer_take(&text, NULL);
}

static bool on_reading(void *ctx, const struct telemetry_change *change)
{
    struct consumer *k = ctx;
    assert_non_null(k->follow);
    if (k->room == 0)
        return false;
    if (k->room != ALWAYS)
        k->room--;
    assert_true(k->told < TOLD_MAX);
    if (k->keeps)
        k->positions[k->told] = position_of(k);
    buffer_printf(&k->log, "%s%s=%.*s", k->log.len > 0 ? " " : "", change->device_id,
                  (int)(change->data_len < 16 ? change->data_len : 16), change->data);
    if (++k->told == k->close_at)
        close_follow(k);
    return true;
}

static void on_resync(void *ctx, enum telemetry_resync why)
{
    struct consumer *k = ctx;
    assert_non_null(k->follow);
    k->resyncs++;
    buffer_printf(&k->log, "%s!%s", k->log.len > 0 ? " " : "",
                  why == TELEMETRY_RESYNC_SLOW ? "slow" : "expired");
}

static const struct telemetry_follow_events events = {on_reading, on_resync};

static void on_followed(void *ctx, const struct upstream_result *result, struct telemetry_follow *follow)
{
    struct consumer *k = ctx;
    k->opening = NULL;
    assert_int_equal(result->status, UPSTREAM_OK);
    k->follow = follow;
    follow->ops->begin(follow, &events, k);
}

static void open_in(struct consumer *k, struct telemetry_store *store, const char *devices, int64_t after,
                    const char *position)
{
    char text[64];
    const char *ids[8];
    size_t count = 0;
    snprintf(text, sizeof text, "%s", devices);
    for (char *rest = NULL, *id = strtok_r(text, ",", &rest); id != NULL; id = strtok_r(NULL, ",", &rest))
        ids[count++] = id;
    k->room = k->room == 0 ? ALWAYS : k->room;
    k->opening = store->ops->follow(store,
                                    &(struct telemetry_follow_request){.device_ids = ids,
                                                                       .count = count,
                                                                       .from_now = after < 0,
                                                                       .after = after,
                                                                       .position = position,
                                                                       .deadline_ms = NO_DEADLINE},
                                    on_followed, k);
    assert_non_null(k->opening);
}

#define FROM_NOW (-1)

static void open_follow(struct fixture *fx, struct consumer *k, const char *devices, int64_t after,
                        const char *position)
{
    open_in(k, fx->store, devices, after, position);
}

/* Runs the loop until no page is being read on another thread, and what the writer posted was seen. */
static void settle(struct fixture *fx)
{
    for (unsigned quiet = 0; quiet < 3; usleep(1000)) {
        uv_run(&fx->loop, UV_RUN_NOWAIT);
        quiet = fx->loop.active_reqs.count > 0 ? 0 : quiet + 1;
    }
}

static void wait_told(struct fixture *fx, const struct consumer *k, unsigned told)
{
    uint64_t until = clock_monotonic_ms() + 20000;
    while (k->told < told && clock_monotonic_ms() < until) {
        uv_run(&fx->loop, UV_RUN_NOWAIT);
        usleep(200);
    }
    settle(fx);
    assert_int_equal(k->told, told);
}

static void forget(struct consumer *k)
{
    close_follow(k);
    for (unsigned i = 0; i < TOLD_MAX; i++)
        free(k->positions[i]);
    buffer_free(&k->log);
    *k = (struct consumer){0};
}

static void assert_log(struct consumer *k, const char *expected)
{
    assert_string_equal(k->log.len > 0 ? buffer_terminate(&k->log) : "", expected);
}

/* From another thread's point of view: stored, durable, and nobody here has looked yet. */
static void store_behind(struct fixture *fx, const char *device, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char text[16];
        snprintf(text, sizeof text, "%u", first + i);
        assert_int_equal(sqlite_db_backfill(fx->db, device, text, strlen(text), fx->now, TTL), 0);
    }
    assert_int_equal(sqlite_db_flush(fx->db), 0);
}

/* "d=1 d=2 .. d=n" */
static char *numbers(const char *device, unsigned first, unsigned last)
{
    struct buffer text = {0};
    for (unsigned i = first; i <= last; i++)
        buffer_printf(&text, "%s%s=%u", i > first ? " " : "", device, i);
    return buffer_take(&text, NULL);
}

static void assert_numbers(struct consumer *k, const char *device, unsigned first, unsigned last)
{
    char *expected = numbers(device, first, last);
    assert_log(k, expected);
    free(expected);
}

/* --- what is told ------------------------------------------------------------------------------ */

static void new_readings_of_its_devices(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {0};
    store_ok(fx, "a", "1", NULL);
    open_follow(fx, &k, "a,c", FROM_NOW, NULL);
    settle(fx);
    store_ok(fx, "a", "2", NULL);
    store_ok(fx, "b", "3", NULL);
    store_ok(fx, "c", "4", NULL);
    static const char *const batch[] = {"5", "6"};
    assert_int_equal(store_many(fx, "a", batch, NULL, 2, TTL).stored, 2);
    wait_told(fx, &k, 4);
    assert_log(&k, "a=2 c=4 a=5 a=6");
    forget(&k);
}

static void what_is_stored_between_opening_and_beginning(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {0};
    open_follow(fx, &k, "a", FROM_NOW, NULL);
    store_behind(fx, "a", 1, 3);
    wait_told(fx, &k, 3);
    assert_numbers(&k, "a", 1, 3);
    forget(&k);
}

static void a_reading_that_replaces_another_is_one_of_its_own(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {0};
    store_ok(fx, "a", "1", "a-x");
    open_follow(fx, &k, "a", 0, NULL);
    settle(fx);
    store_ok(fx, "a", "2", "a-x");
    wait_told(fx, &k, 2);
    assert_log(&k, "a=1 a=2");
    forget(&k);
}

static void the_past_begins_after_a_time(void **state)
{
    static const struct {
        const char *rule, *devices;
        int64_t after;
        const char *log; /* a1 and b2 in second 100, a3 in 200, b4 in 300 */
    } cases[] = {
        {"all, device by device", "a,b", 0, "a=1 a=3 b=2 b=4"},
        {"its start is outside", "a,b", 100, "a=3 b=4"},
        {"just before", "a,b", 99, "a=1 a=3 b=2 b=4"},
        {"one device", "a", 0, "a=1 a=3"},
        {"nobody", "c", 0, ""},
        {"the last second", "a,b", 299, "b=4"},
        {"nothing left", "a,b", 300, ""},
    };
    struct fixture *fx = *state;
    static const struct {
        const char *device, *text;
        int64_t at;
    } stored[] = {{"a", "1", 100}, {"b", "2", 100}, {"a", "3", 200}, {"b", "4", 300}};
    fx->now = 50;
    for (size_t i = 0; i < COUNT(stored); i++)
        assert_int_equal(sqlite_db_backfill(fx->db, stored[i].device, stored[i].text, 1, stored[i].at, TTL),
                         0);
    assert_int_equal(sqlite_db_flush(fx->db), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct consumer k = {0};
        open_follow(fx, &k, cases[i].devices, cases[i].after, NULL);
        settle(fx);
        print_message("%s\n", cases[i].rule);
        assert_log(&k, cases[i].log);
        forget(&k);
    }
}

static void the_past_meets_the_present(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {0};
    store_behind(fx, "a", 1, 1000);
    open_follow(fx, &k, "a", 0, NULL);
    for (unsigned i = 0; i < 100; i++) {
        store_behind(fx, "a", 1001 + i * 10, 10);
        uv_run(&fx->loop, UV_RUN_NOWAIT);
    }
    wait_told(fx, &k, 2000);
    assert_numbers(&k, "a", 1, 2000);
    forget(&k);
}

/* A page is bounded in bytes too, but for a reading that is larger than one. */
static void large_readings(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {0};
    char *text = malloc(300000);
    assert_non_null(text);
    memset(text, '1', 300000);
    for (size_t len = 10; len <= 300000; len *= 2)
        assert_int_equal(sqlite_db_backfill(fx->db, "a", text, len, NOW, TTL), 0);
    assert_int_equal(sqlite_db_flush(fx->db), 0);
    free(text);
    open_follow(fx, &k, "a", 0, NULL);
    wait_told(fx, &k, 15);
    forget(&k);
}

static void what_has_expired_is_not_told(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {0};
    store_ok(fx, "a", "1", NULL);
    fx->now += TTL;
    store_ok(fx, "a", "2", NULL);
    open_follow(fx, &k, "a", 0, NULL);
    settle(fx);
    assert_log(&k, "a=2");
    forget(&k);
}

/* --- room -------------------------------------------------------------------------------------- */

static void the_past_waits_for_room(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {.room = 3};
    store_behind(fx, "a", 1, 700);
    open_follow(fx, &k, "a", 0, NULL);
    settle(fx);
    assert_int_equal(k.told, 3);
    for (unsigned told = 3; told < 700;) {
        k.room = 97;
        told = told + 97 < 700 ? told + 97 : 700;
        k.follow->ops->go_on(k.follow);
        wait_told(fx, &k, told);
    }
    assert_numbers(&k, "a", 1, 700);
    forget(&k);
}

static void who_is_slow_is_told_so_once(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {.room = 2};
    open_follow(fx, &k, "a", FROM_NOW, NULL);
    settle(fx);
    store_behind(fx, "a", 1, 5);
    settle(fx);
    char *position = position_of(&k); /* of what it took */
    store_behind(fx, "a", 6, 5);
    settle(fx);
    k.room = ALWAYS;
    k.follow->ops->go_on(k.follow);
    k.follow->ops->go_on(k.follow);
    settle(fx);
    store_behind(fx, "a", 11, 2);
    settle(fx);
    assert_log(&k, "a=1 a=2 !slow a=11 a=12");
    forget(&k);
    open_follow(fx, &k, "a", FROM_NOW, position);
    wait_told(fx, &k, 10);
    assert_numbers(&k, "a", 3, 12);
    free(position);
    forget(&k);
}

/* --- positions --------------------------------------------------------------------------------- */

/* Every position of a run leads to the rest of it: in the past of several devices, and live. */
static void resumed_after_every_reading(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {.keeps = true};
    for (unsigned i = 0; i < 20; i++) {
        fx->now += i % 3;
        store_behind(fx, "a", 1 + i, 1);
        store_behind(fx, "b", 1 + i, 1);
    }
    open_follow(fx, &k, "a,b", 0, NULL);
    wait_told(fx, &k, 40);
    for (unsigned i = 20; i < 30; i++) {
        store_behind(fx, "a", 1 + i, 1);
        store_behind(fx, "b", 1 + i, 1);
        fx->now += i % 2;
    }
    wait_told(fx, &k, 60);
    close_follow(&k);
    fixture_reopen(fx);
    for (unsigned i = 0; i < 60; i++) {
        struct consumer rest = {0};
        open_follow(fx, &rest, "a,b", FROM_NOW, k.positions[i]);
        wait_told(fx, &rest, 59 - i);
        assert_int_equal(rest.resyncs, 0);
        /* Each device's own, in order; between them the order may be another one. */
        const char *at = buffer_terminate(&k.log);
        for (unsigned n = 0; n <= i; n++)
            at = strchr(at, ' ') != NULL ? strchr(at, ' ') + 1 : at + strlen(at);
        unsigned next[2] = {31, 31};
        for (const char *c = at; *c != '\0'; c++)
            if (c[1] == '=' && next[*c - 'a'] == 31)
                next[*c - 'a'] = (unsigned)strtoul(c + 2, NULL, 10);
        const char *told = rest.log.len > 0 ? buffer_terminate(&rest.log) : "";
        for (const char *c = told; *c != '\0'; c++)
            if (c[1] == '=')
                assert_int_equal(strtoul(c + 2, NULL, 10), next[*c - 'a']++);
        assert_int_equal(next[0], 31);
        assert_int_equal(next[1], 31);
        forget(&rest);
    }
    forget(&k);
}

/* Cut off at random, while readings are stored: nothing is lost, nothing comes twice. */
static void resumed_at_random(void **state)
{
    struct fixture *fx = *state;
    unsigned stored = 0, told = 0;
    char *position = NULL;
    srandom(7);
    for (unsigned round = 0; round < 200; round++) {
        struct consumer k = {.keeps = true, .close_at = 1 + (unsigned)random() % 30};
        store_behind(fx, "a", stored + 1, 5);
        stored += 5;
        open_follow(fx, &k, "a", 0, position);
        for (unsigned i = 0; i < 4; i++) {
            unsigned count = (unsigned)random() % 8;
            store_behind(fx, "a", stored + 1, count);
            stored += count;
            fx->now += random() % 2;
            uv_run(&fx->loop, UV_RUN_NOWAIT);
            if (random() % 2 == 0)
                usleep(1000);
        }
        settle(fx);
        assert_int_equal(k.resyncs, 0);
        if (k.told > 0) {
            assert_numbers(&k, "a", told + 1, told + k.told);
            told += k.told;
            free(position);
            position = k.positions[k.told - 1];
            k.positions[k.told - 1] = NULL;
        }
        forget(&k);
    }
    assert_true(told > 1000);
    free(position);
}

static void a_position_before_the_first_reading(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {0};
    open_follow(fx, &k, "a", FROM_NOW, NULL);
    settle(fx);
    char *position = position_of(&k);
    forget(&k);
    store_behind(fx, "a", 1, 3);
    open_follow(fx, &k, "a", FROM_NOW, position);
    wait_told(fx, &k, 3);
    assert_numbers(&k, "a", 1, 3);
    free(position);
    forget(&k);
}

/* The clock steps back by hours: what is stored then has an older timestamp than what was told. */
static void resumed_behind_a_clock_that_stepped_back(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {.keeps = true};
    open_follow(fx, &k, "a,b", FROM_NOW, NULL);
    settle(fx);
    static const int64_t steps[] = {0, 10, -7200, 5, 9000, -600, 0, -30};
    unsigned stored = 0;
    for (size_t i = 0; i < COUNT(steps); i++) {
        fx->now += steps[i];
        char text[16];
        for (unsigned n = 0; n < 2; n++) {
            const char *readings = text;
            snprintf(text, sizeof text, "%u", ++stored);
            struct outcome outcome = store_many(fx, "a", &readings, NULL, 1, 100 * TTL);
            assert_int_equal(outcome.stored, 1);
        }
    }
    wait_told(fx, &k, stored);
    close_follow(&k);
    fixture_reopen(fx);
    for (unsigned i = 0; i < stored; i++) {
        struct consumer rest = {0};
        open_follow(fx, &rest, "a,b", FROM_NOW, k.positions[i]);
        wait_told(fx, &rest, stored - i - 1);
        if (rest.told > 0)
            assert_numbers(&rest, "a", i + 2, stored);
        forget(&rest);
    }
    forget(&k);
}

static void what_cannot_be_resumed_is_said(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {0};
    fx->ttl_s = TTL;
    fixture_reopen(fx);
    store_behind(fx, "a", 1, 300);
    open_follow(fx, &k, "a", 0, NULL);
    k.room = 10;
    settle(fx);
    char *inside = position_of(&k);
    k.room = ALWAYS;
    k.follow->ops->go_on(k.follow);
    wait_told(fx, &k, 300);
    char *live = position_of(&k);
    forget(&k);

    const struct {
        const char *rule, *position, *devices;
        int64_t later_s;
        bool can;
    } cases[] = {
        {"as it was", live, "a", 0, true},
        {"of other devices, where the order of storing is enough", live, "a,b", 0, true},
        {"in the middle of the past", inside, "a", 0, true},
        {"in the middle of other devices' past", inside, "a,b", 0, false},
        {"not one of ours", "0", "a", 0, false},
        {"a number", "1795417200", "a", 0, false},
        {"with bytes behind it", "AXpJPdzSt4IGtaGU2AagOPD-jtgGAA", "a", 0, false},
        {"of another database", "AXpJPdzSt4IGtaGU2AagOPD-jtgG", "a", 0, false},
        {"just young enough", live, "a", TTL - 1, true},
        {"older than what is kept", live, "a", TTL, false},
    };
    for (unsigned i = 0; i < COUNT(cases); i++) {
        print_message("%s\n", cases[i].rule);
        fx->now += cases[i].later_s;
        open_follow(fx, &k, cases[i].devices, FROM_NOW, cases[i].position);
        settle(fx);
        fx->now -= cases[i].later_s;
        assert_int_equal(k.resyncs, !cases[i].can);
        unsigned before = k.told;
        if (!cases[i].can)
            assert_int_equal(before, 0);
        store_behind(fx, "a", 301 + i, 1);
        wait_told(fx, &k, before + 1);
        if (cases[i].can)
            assert_numbers(&k, "a", cases[i].position == inside ? 11 : 301, 301 + i);
        forget(&k);
    }
    free(inside);
    free(live);
}

/* A copy of the file from before: its order of storing has not come so far. */
static void a_position_from_the_future(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {0};
    store_behind(fx, "a", 1, 5);
    fixture_reopen(fx);
    char copy[HARNESS_PATH + 300];
    snprintf(copy, sizeof copy, "cp '%s' '%s.old'", fx->path, fx->path);
    fixture_close(fx);
    assert_int_equal(system(copy), 0);
    fixture_open(fx);
    store_behind(fx, "a", 6, 5);
    open_follow(fx, &k, "a", 0, NULL);
    wait_told(fx, &k, 10);
    char *position = position_of(&k);
    forget(&k);
    fixture_close(fx);
    snprintf(copy, sizeof copy, "mv '%s.old' '%s'", fx->path, fx->path);
    assert_int_equal(system(copy), 0);
    fixture_open(fx);
    open_follow(fx, &k, "a", 0, position);
    settle(fx);
    assert_log(&k, "!expired");
    free(position);
    forget(&k);
}

/* --- threads and memory ------------------------------------------------------------------------ */

/* More is stored than is kept for a worker that does not look. */
static void a_worker_that_fell_behind(void **state)
{
    struct fixture *fx = *state;
    struct consumer k = {0}, slow = {.room = 1};
    char *large = malloc(1 << 20);
    assert_non_null(large);
    memset(large, '1', 1 << 20);
    open_follow(fx, &k, "a", FROM_NOW, NULL);
    open_follow(fx, &slow, "a", FROM_NOW, NULL);
    settle(fx);
    store_behind(fx, "a", 1, 2);
    settle(fx);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(sqlite_db_backfill(fx->db, "b", large, 1 << 20, NOW, TTL), 0);
        store_behind(fx, "a", 3 + i, 1);
    }
    free(large);
    wait_told(fx, &k, 22);
    assert_numbers(&k, "a", 1, 22);
    slow.room = ALWAYS;
    slow.follow->ops->go_on(slow.follow);
    settle(fx);
    store_behind(fx, "a", 23, 1);
    wait_told(fx, &slow, 2);
    assert_log(&slow, "a=1 !slow a=23");
    forget(&k);
    forget(&slow);
}

/* A position of a worker that is ahead of the one where it is resumed. */
static void resumed_on_a_worker_that_is_behind(void **state)
{
    struct fixture *fx = *state;
    uv_loop_t loop;
    struct mailbox *mailbox;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(mailbox_new(&loop, &mailbox), 0);
    struct telemetry_store *other = sqlite_store_new(fx->db, &loop, mailbox);
    struct consumer k = {0}, first = {0}, resumed = {0};
    open_follow(fx, &k, "a", FROM_NOW, NULL);
    open_in(&first, other, "a", FROM_NOW, NULL);
    settle(fx);
    uv_run(&loop, UV_RUN_NOWAIT);
    store_behind(fx, "a", 1, 3);
    wait_told(fx, &k, 3);
    char *position = position_of(&k);
    open_in(&resumed, other, "a", FROM_NOW, position);
    for (unsigned i = 0; i < 50; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        if (i == 25)
            store_behind(fx, "a", 4, 1);
        usleep(1000);
    }
    assert_numbers(&first, "a", 1, 4);
    assert_log(&resumed, "a=4");
    free(position);
    forget(&k);
    forget(&first);
    forget(&resumed);
    other->ops->free(other);
    mailbox_close(mailbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void closed_inside_of_a_callback(void **state)
{
    struct fixture *fx = *state;
    struct consumer past = {.close_at = 2}, live = {.close_at = 2}, stays = {0};
    store_behind(fx, "a", 1, 3);
    open_follow(fx, &past, "a", 0, NULL);
    open_follow(fx, &live, "a", FROM_NOW, NULL);
    open_follow(fx, &stays, "a", FROM_NOW, NULL);
    settle(fx);
    store_behind(fx, "a", 4, 3);
    wait_told(fx, &stays, 3);
    assert_log(&past, "a=1 a=2");
    assert_log(&live, "a=4 a=5");
    assert_log(&stays, "a=4 a=5 a=6");
    forget(&past);
    forget(&live);
    forget(&stays);
}

static void given_up_at_every_stage(void **state)
{
    struct fixture *fx = *state;
    store_behind(fx, "a", 1, 600);
    for (unsigned turns = 0; turns < 40; turns++) {
        struct consumer k = {0};
        open_follow(fx, &k, "a", 0, NULL);
        for (unsigned i = 0; i < turns; i++) {
            uv_run(&fx->loop, UV_RUN_NOWAIT);
            if (i % 4 == 3)
                usleep(300);
        }
        if (k.opening != NULL)
            operation_cancel(k.opening);
        forget(&k);
    }
}

#define TEST(name)      cmocka_unit_test_setup_teardown(name, setup_memory, teardown)
#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, setup_file, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(new_readings_of_its_devices),
        TEST(what_is_stored_between_opening_and_beginning),
        TEST(a_reading_that_replaces_another_is_one_of_its_own),
        TEST(the_past_begins_after_a_time),
        TEST(the_past_meets_the_present),
        TEST(large_readings),
        TEST(what_has_expired_is_not_told),
        TEST(the_past_waits_for_room),
        TEST(who_is_slow_is_told_so_once),
        FILE_TEST(resumed_after_every_reading),
        FILE_TEST(resumed_at_random),
        TEST(a_position_before_the_first_reading),
        FILE_TEST(resumed_behind_a_clock_that_stepped_back),
        FILE_TEST(what_cannot_be_resumed_is_said),
        FILE_TEST(a_position_from_the_future),
        TEST(a_worker_that_fell_behind),
        TEST(resumed_on_a_worker_that_is_behind),
        TEST(closed_inside_of_a_callback),
        TEST(given_up_at_every_stage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
