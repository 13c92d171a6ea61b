/*
 * sqlite_harness.h - an embedded database on a loop of its own, and its asynchronous operations made
 * synchronous, for the tests of sqlite_db, sqlite_store and sqlite_registry.
 */
#ifndef TELEMETRYD_TEST_SQLITE_HARNESS_H
#define TELEMETRYD_TEST_SQLITE_HARNESS_H

#include "sqlite_db.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define NOW          1795417200 /* where the clock of a test stands at first */
#define TTL          3600
#define NO_DEADLINE  UINT64_MAX
#define HARNESS_PATH 256

struct fixture {
    char directory[HARNESS_PATH];
    char path[HARNESS_PATH];
    _Atomic int64_t now;
    int64_t ttl_s; /* of the database's options */
    uv_loop_t loop;
    struct mailbox *mailbox;
    struct sqlite_db *db;
    struct telemetry_store *store;
    struct device_registry *registry;
};

/* What a callback said. Texts are copies, freed by outcome_free(). */
struct outcome {
    bool answered;
    struct upstream_result result;
    size_t stored;
    int64_t at;
    unsigned count;
    char *text, *next;
    const char *reason;
};

static inline int64_t harness_now(void *ctx)
{
    struct fixture *fx = ctx;
    return atomic_load(&fx->now);
}

static inline void fixture_open(struct fixture *fx)
{
    char message[512] = "";
    const struct sqlite_db_options options = {
        .path = fx->path, .clock = {harness_now, fx}, .ttl_s = fx->ttl_s};
    int r = sqlite_db_open(&options, &fx->db, message, sizeof message);
    if (r != 0)
        fail_msg("open: %d %s", r, message);
    assert_int_equal(uv_loop_init(&fx->loop), 0);
    assert_int_equal(mailbox_new(&fx->loop, &fx->mailbox), 0);
    fx->store = sqlite_store_new(fx->db, &fx->loop, fx->mailbox);
    fx->registry = sqlite_registry_new(fx->db, &fx->loop, fx->mailbox);
    assert_non_null(fx->store);
    assert_non_null(fx->registry);
}

static inline void fixture_close(struct fixture *fx)
{
    fx->store->ops->free(fx->store);
    fx->registry->ops->free(fx->registry);
    mailbox_close(fx->mailbox);
    uv_run(&fx->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fx->loop), 0);
    sqlite_db_close(fx->db);
}

static inline void fixture_reopen(struct fixture *fx)
{
    fixture_close(fx);
    fixture_open(fx);
}

static inline void harness_make_directory(char out[HARNESS_PATH])
{
    const char *base = getenv("TMPDIR");
    snprintf(out, HARNESS_PATH, "%s/telemetryd-test-XXXXXX",
             base != NULL && strlen(base) < 200 ? base : "/tmp");
    assert_non_null(mkdtemp(out));
}

static inline void harness_remove_directory(const char *directory)
{
    uv_fs_t request;
    uv_dirent_t entry;
    assert_true(uv_fs_scandir(NULL, &request, directory, 0, NULL) >= 0);
    while (uv_fs_scandir_next(&request, &entry) != UV_EOF) {
        char name[HARNESS_PATH + 256];
        snprintf(name, sizeof name, "%s/%s", directory, entry.name);
        if (unlink(name) != 0)
            rmdir(name);
    }
    uv_fs_req_cleanup(&request);
    assert_int_equal(rmdir(directory), 0);
}

static inline int setup_memory(void **state)
{
    struct fixture *fx = calloc(1, sizeof *fx);
    if (fx == NULL)
        return -1;
    fx->now = NOW;
    snprintf(fx->path, sizeof fx->path, ":memory:");
    fixture_open(fx);
    *state = fx;
    return 0;
}

static inline int setup_file(void **state)
{
    struct fixture *fx = calloc(1, sizeof *fx);
    if (fx == NULL)
        return -1;
    fx->now = NOW;
    harness_make_directory(fx->directory);
    snprintf(fx->path, sizeof fx->path, "%.200s/data.db", fx->directory);
    fixture_open(fx);
    *state = fx;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *fx = *state;
    fixture_close(fx);
    if (fx->directory[0] != '\0')
        harness_remove_directory(fx->directory);
    free(fx);
    return 0;
}

static inline char *harness_copy(const char *text, size_t len)
{
    char *copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

static inline void outcome_free(struct outcome *outcome)
{
    free(outcome->text);
    free(outcome->next);
    *outcome = (struct outcome){0};
}

/* Runs the loop until the operation has answered. */
static inline void await(struct fixture *fx, struct operation *op, struct outcome *outcome)
{
    assert_non_null(op);
    assert_false(outcome->answered); /* never from inside the call that starts it */
    while (!outcome->answered)
        uv_run(&fx->loop, UV_RUN_ONCE);
}

static inline void begin_answer(struct outcome *outcome, const struct upstream_result *result)
{
    assert_false(outcome->answered); /* exactly once */
    outcome->answered = true;
    outcome->result = *result;
}

static inline void on_stored(void *ctx, const struct upstream_result *result, size_t stored, int64_t at)
{
    struct outcome *outcome = ctx;
    begin_answer(outcome, result);
    outcome->stored = stored;
    outcome->at = at;
}

static inline void on_page(void *ctx, const struct upstream_result *result, struct telemetry_page *page)
{
    struct outcome *outcome = ctx;
    begin_answer(outcome, result);
    assert_int_equal(page != NULL, result->status == UPSTREAM_OK);
    if (page == NULL)
        return;
    assert_true(page->start >= TELEMETRY_PAGE_HEADROOM);
    outcome->text = harness_copy(page->text.data + page->start, page->length);
    outcome->count = page->count;
    outcome->next = page->next != NULL ? harness_copy(page->next, strlen(page->next)) : NULL;
}

static inline void on_latest(void *ctx, const struct upstream_result *result, const char *data, size_t len,
                             int64_t at)
{
    struct outcome *outcome = ctx;
    begin_answer(outcome, result);
    outcome->text = data != NULL ? harness_copy(data, len) : NULL;
    outcome->at = at;
}

static inline void on_text(void *ctx, const struct upstream_result *result, const char *text, size_t len)
{
    struct outcome *outcome = ctx;
    begin_answer(outcome, result);
    assert_int_equal(text != NULL, result->status == UPSTREAM_OK);
    outcome->text = text != NULL ? harness_copy(text, len) : NULL;
}

static inline void on_list(void *ctx, const struct upstream_result *result, const struct device_list *list)
{
    struct outcome *outcome = ctx;
    begin_answer(outcome, result);
    assert_int_equal(list != NULL, result->status == UPSTREAM_OK);
    if (list == NULL)
        return;
    assert_int_equal(list->age_s, 0);
    assert_int_equal(list->max_age_s, 0);
    outcome->text = harness_copy(list->text, list->len);
    outcome->next = list->next != NULL ? harness_copy(list->next, strlen(list->next)) : NULL;
}

static inline void on_done(void *ctx, const struct upstream_result *result)
{
    begin_answer(ctx, result);
}

static inline void on_check(void *ctx, const struct upstream_result *result, const char *reason)
{
    struct outcome *outcome = ctx;
    begin_answer(outcome, result);
    outcome->reason = reason;
}

/* Stores readings given as texts; ids may be NULL, or hold NULLs. */
static inline struct outcome store_many(struct fixture *fx, const char *device, const char *const *texts,
                                        const char *const *ids, size_t count, int64_t ttl_s)
{
    struct outcome outcome = {0};
    struct reading *readings = calloc(count, sizeof *readings);
    assert_non_null(readings);
    for (size_t i = 0; i < count; i++)
        readings[i] = (struct reading){texts[i], strlen(texts[i]), ids != NULL ? ids[i] : NULL};
    const struct telemetry_write write = {.device_id = device,
                                          .readings = readings,
                                          .count = count,
                                          .ttl_s = ttl_s,
                                          .deadline_ms = NO_DEADLINE};
    await(fx, fx->store->ops->write(fx->store, &write, on_stored, &outcome), &outcome);
    free(readings);
    return outcome;
}

static inline void store_ok(struct fixture *fx, const char *device, const char *text, const char *id)
{
    struct outcome outcome = store_many(fx, device, &text, &id, 1, TTL);
    assert_int_equal(outcome.result.status, UPSTREAM_OK);
    assert_int_equal(outcome.stored, 1);
}

static inline struct outcome read_page(struct fixture *fx, const char *device, int64_t after, int64_t until,
                                       bool ascending, unsigned limit, const char *position)
{
    struct outcome outcome = {0};
    const struct telemetry_range range = {device, after, until, ascending, limit, position, NO_DEADLINE};
    await(fx, fx->store->ops->read_range(fx->store, &range, on_page, &outcome), &outcome);
    return outcome;
}

static inline struct outcome read_latest(struct fixture *fx, const char *device)
{
    struct outcome outcome = {0};
    await(fx, fx->store->ops->latest(fx->store, device, NO_DEADLINE, on_latest, &outcome), &outcome);
    return outcome;
}

/* The whole page equals `text`, and whether there is more. */
static inline void assert_page(struct outcome page, const char *text, bool more)
{
    assert_int_equal(page.result.status, UPSTREAM_OK);
    assert_string_equal(page.text, text);
    assert_int_equal(page.next != NULL, more);
    outcome_free(&page);
}

#endif
