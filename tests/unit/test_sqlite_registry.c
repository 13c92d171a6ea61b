#include "sqlite_harness.h"

#include <sqlite3.h>

static struct outcome patch(struct fixture *fx, const char *device, const char *text)
{
    struct outcome outcome = {0};
    char *copy = harness_copy(text, strlen(text));
    struct operation *op = fx->registry->ops->patch_reported(fx->registry, device, copy, strlen(copy),
                                                             NO_DEADLINE, on_text, &outcome);
    await(fx, op, &outcome);
    free(copy);
    return outcome;
}

static struct outcome status(struct fixture *fx, const char *device)
{
    struct outcome outcome = {0};
    await(fx, fx->registry->ops->status(fx->registry, device, NO_DEADLINE, on_text, &outcome), &outcome);
    return outcome;
}

static struct outcome list(struct fixture *fx, unsigned limit, const char *position)
{
    struct outcome outcome = {0};
    await(fx, fx->registry->ops->list(fx->registry, limit, position, NULL, NO_DEADLINE, on_list, &outcome),
          &outcome);
    return outcome;
}

static enum upstream_status note(struct fixture *fx, const char *device, int64_t at)
{
    struct outcome outcome = {0};
    await(fx, fx->registry->ops->note_reading(fx->registry, device, at, NO_DEADLINE, on_done, &outcome),
          &outcome);
    return outcome.result.status;
}

static void assert_text(struct outcome outcome, const char *text)
{
    assert_int_equal(outcome.result.status, UPSTREAM_OK);
    assert_string_equal(outcome.text, text);
    outcome_free(&outcome);
}

/* --- reported properties ----------------------------------------------------------------------- */

static void a_patch_merges_and_keeps_bytes(void **state)
{
    static const struct {
        const char *patch, *reported;
    } steps[] = {
        {"{}", "{}"},
        {"{\"status\":\"online\",\"n\":1.50}", "{\"status\":\"online\",\"n\":1.50}"},
        {"{\"n\":1E+2,\"firmwareVersion\":\"1.4.2\"}",
         "{\"status\":\"online\",\"n\":1E+2,\"firmwareVersion\":\"1.4.2\"}"},
        {"{\"n\":null,\"absent\":null}", "{\"status\":\"online\",\"firmwareVersion\":\"1.4.2\"}"},
        {"{\"o\":{\"a\":{\"b\":[1,null]}}}",
         "{\"status\":\"online\",\"firmwareVersion\":\"1.4.2\",\"o\":{\"a\":{\"b\":[1,null]}}}"},
        {"{\"o\":{\"a\":{\"c\":2}},\"status\":null}",
         "{\"firmwareVersion\":\"1.4.2\",\"o\":{\"a\":{\"b\":[1,null],\"c\":2}}}"},
        {"{\"firmwareVersion\":null,\"o\":null}", "{}"},
    };
    struct fixture *fx = *state;
    for (size_t i = 0; i < COUNT(steps); i++)
        assert_text(patch(fx, "d", steps[i].patch), steps[i].reported);
}

static void the_heartbeat_follows_readings_and_can_be_set(void **state)
{
    enum what { PATCH, STORE, NOTE };
    static const struct {
        const char *rule;
        enum what what;
        int64_t now;
        const char *patch, *reported; /* after it, as an empty patch answers */
    } steps[] = {
        {"a reading sets it", STORE, NOW, NULL, "{\"lastHeartbeat\":\"2026-11-23T07:00:00Z\"}"},
        {"a later one moves it", STORE, NOW + 61, NULL, "{\"lastHeartbeat\":\"2026-11-23T07:01:01Z\"}"},
        {"a patch leaves it", PATCH, NOW + 61, "{\"a\":1}",
         "{\"lastHeartbeat\":\"2026-11-23T07:01:01Z\",\"a\":1}"},
        {"a patch sets it", PATCH, NOW + 61, "{\"lastHeartbeat\":[7]}", "{\"lastHeartbeat\":[7],\"a\":1}"},
        {"a reading overrides", STORE, NOW + 62, NULL,
         "{\"lastHeartbeat\":\"2026-11-23T07:01:02Z\",\"a\":1}"},
        {"null removes it", PATCH, NOW + 62, "{\"lastHeartbeat\":null}", "{\"a\":1}"},
        {"an older note changes nothing", NOTE, NOW, NULL, "{\"a\":1}"},
        {"a note of the same second sets it", NOTE, NOW + 62, NULL,
         "{\"a\":1,\"lastHeartbeat\":\"2026-11-23T07:01:02Z\"}"},
        {"and a later note moves it", NOTE, NOW + 100, NULL,
         "{\"a\":1,\"lastHeartbeat\":\"2026-11-23T07:01:40Z\"}"},
    };
    struct fixture *fx = *state;
    for (size_t i = 0; i < COUNT(steps); i++) {
        fx->now = steps[i].now;
        if (steps[i].what == STORE)
            store_ok(fx, "d", "{}", NULL);
        else if (steps[i].what == NOTE)
            assert_int_equal(note(fx, "d", steps[i].now), UPSTREAM_OK);
        struct outcome outcome = patch(fx, "d", steps[i].what == PATCH ? steps[i].patch : "{}");
        if (outcome.text == NULL || strcmp(outcome.text, steps[i].reported) != 0)
            fail_msg("%s: %s", steps[i].rule, outcome.text);
        outcome_free(&outcome);
    }
}

static void the_status_without_a_patch_between_has_the_heartbeat(void **state)
{
    struct fixture *fx = *state;
    assert_text(patch(fx, "d", "{\"lastHeartbeat\":\"x\",\"status\":\"online\"}"),
                "{\"lastHeartbeat\":\"x\",\"status\":\"online\"}");
    store_ok(fx, "d", "{}", NULL);
    assert_text(status(fx, "d"),
                "{\"deviceId\":\"d\",\"status\":\"online\",\"lastSeen\":\"2026-11-23T07:00:00Z\","
                "\"firmwareVersion\":null,\"connectionState\":\"Connected\",\"enabled\":true}");
}

static void writes_and_patches_of_one_group_keep_their_order(void **state)
{
    struct fixture *fx = *state;
    const struct reading reading = {"{}", 2, NULL};
    const struct telemetry_write write = {"d", &reading, 1, TTL, NO_DEADLINE};
    struct outcome outcomes[4] = {{0}};
    static const char remove[] = "{\"lastHeartbeat\":null}";
    assert_non_null(fx->store->ops->write(fx->store, &write, on_stored, &outcomes[0]));
    assert_non_null(fx->registry->ops->patch_reported(fx->registry, "d", remove, strlen(remove), NO_DEADLINE,
                                                      on_text, &outcomes[1]));
    assert_non_null(fx->store->ops->write(fx->store, &write, on_stored, &outcomes[2]));
    struct operation *last =
        fx->registry->ops->patch_reported(fx->registry, "d", "{}", 2, NO_DEADLINE, on_text, &outcomes[3]);
    await(fx, last, &outcomes[3]);
    assert_text(outcomes[1], "{}");
    assert_text(outcomes[3], "{\"lastHeartbeat\":\"2026-11-23T07:00:00Z\"}");
}

static void reported_properties_have_a_bound(void **state)
{
    enum { size = 1 << 20 };
    struct fixture *fx = *state;
    char *text = malloc(size + 32);
    assert_non_null(text);
    enum upstream_status last = UPSTREAM_OK;
    unsigned taken = 0;
    for (; taken < 6 && last == UPSTREAM_OK; taken++) {
        int head = snprintf(text, 32, "{\"k%u\":\"", taken);
        memset(text + head, 'x', size);
        memcpy(text + head + size, "\"}", 3);
        struct outcome outcome = patch(fx, "d", text);
        last = outcome.result.status;
        outcome_free(&outcome);
    }
    free(text);
    assert_int_equal(last, UPSTREAM_REJECTED);
    assert_int_equal(taken, 4);
    struct outcome outcome =
        patch(fx, "d", "{\"k0\":null,\"k1\":null,\"k2\":null}"); /* what was there is whole */
    assert_string_equal(outcome.text, "{}");
    outcome_free(&outcome);
    outcome = patch(fx, "never", "{}");
    assert_int_equal(outcome.result.status, UPSTREAM_OK);
    outcome_free(&outcome);
}

/* --- status ------------------------------------------------------------------------------------ */

static void a_device_exists_once_reported_or_stored(void **state)
{
    struct fixture *fx = *state;
    static const char *const names[] = {"d", "D", "e", "n", "x", ""};
    for (size_t i = 0; i < COUNT(names); i++) {
        struct outcome outcome = status(fx, names[i]);
        assert_int_equal(outcome.result.status, UPSTREAM_NOT_FOUND);
        outcome_free(&outcome);
    }
    store_ok(fx, "d", "{}", NULL);
    struct outcome patched = patch(fx, "e", "{}");
    outcome_free(&patched);
    assert_int_equal(note(fx, "n", NOW), UPSTREAM_OK);
    static const bool known[] = {true, false, true, true, false, false};
    for (size_t i = 0; i < COUNT(names); i++) {
        struct outcome outcome = status(fx, names[i]);
        assert_int_equal(outcome.result.status, known[i] ? UPSTREAM_OK : UPSTREAM_NOT_FOUND);
        outcome_free(&outcome);
    }
}

static void it_is_connected_for_five_minutes_after_a_reading(void **state)
{
    static const struct {
        int64_t now;
        bool connected;
    } cases[] = {{NOW, true}, {NOW + 299, true}, {NOW + 300, false}, {NOW + 100000, false}, {NOW - 5, true}};
    struct fixture *fx = *state;
    store_ok(fx, "d", "{}", NULL);
    for (size_t i = 0; i < COUNT(cases); i++) {
        fx->now = cases[i].now;
        assert_text(status(fx, "d"),
                    cases[i].connected
                        ? "{\"deviceId\":\"d\",\"status\":null,\"lastSeen\":\"2026-11-23T07:00:00Z\","
                          "\"firmwareVersion\":null,\"connectionState\":\"Connected\",\"enabled\":true}"
                        : "{\"deviceId\":\"d\",\"status\":null,\"lastSeen\":\"2026-11-23T07:00:00Z\","
                          "\"firmwareVersion\":null,\"connectionState\":\"Disconnected\",\"enabled\":true}");
    }
    fx->now = NOW;
    struct outcome patched = patch(fx, "reported", "{\"lastHeartbeat\":\"2026-11-23T07:00:00Z\"}");
    outcome_free(&patched);
    struct outcome outcome = status(fx, "reported");
    assert_non_null(strstr(outcome.text, "\"Disconnected\"")); /* a heartbeat is not a reading */
    outcome_free(&outcome);
}

static void reported_values_of_any_kind_pass_as_they_are(void **state)
{
    static const char *const values[] = {"\"online\"", "1.50", "{\"a\":[null]}",
                                         "false",      "[]",   "\"\\u0000\\ud800\""};
    struct fixture *fx = *state;
    for (size_t i = 0; i < COUNT(values); i++) {
        char text[256], expected[512];
        snprintf(text, sizeof text, "{\"status\":%s,\"lastHeartbeat\":%s,\"firmwareVersion\":%s}", values[i],
                 values[i], values[i]);
        struct outcome patched = patch(fx, "d", text);
        outcome_free(&patched);
        snprintf(expected, sizeof expected,
                 "{\"deviceId\":\"d\",\"status\":%s,\"lastSeen\":%s,\"firmwareVersion\":%s,"
                 "\"connectionState\":\"Disconnected\",\"enabled\":true}",
                 values[i], values[i], values[i]);
        assert_text(status(fx, "d"), expected);
        patched = patch(fx, "d", "{\"status\":null,\"lastHeartbeat\":null,\"firmwareVersion\":null}");
        outcome_free(&patched);
    }
}

/* --- list -------------------------------------------------------------------------------------- */

/* By their bytes: upper case before lower, punctuation where ASCII has it. */
static const char *const sorted[] = {"!", "#1",  "%41", "-",  "A",  "B", "Z", "_",
                                     "a", "a-1", "a.1", "a1", "aa", "b", "~"};

static void fill_list(struct fixture *fx)
{
    for (size_t i = 0; i < COUNT(sorted); i++) /* in another order */
        assert_int_equal(note(fx, sorted[i * 7 % COUNT(sorted)], NOW), UPSTREAM_OK);
}

static void devices_come_by_the_bytes_of_their_ids_whatever_the_limit(void **state)
{
    struct fixture *fx = *state;
    fill_list(fx);
    struct outcome whole = list(fx, 1000, NULL);
    assert_null(whole.next);
    const char *at = whole.text;
    for (size_t i = 0; i < COUNT(sorted); i++) {
        char name[64];
        snprintf(name, sizeof name, "{\"deviceId\":\"%s\",", sorted[i]);
        at = strstr(at, name);
        assert_non_null(at);
    }
    for (unsigned limit = 1; limit <= COUNT(sorted) + 1; limit++) {
        struct buffer joined = {0};
        unsigned pages = 0;
        struct outcome page = {0};
        do {
            char *position = page.next;
            page.next = NULL;
            outcome_free(&page);
            page = list(fx, limit, position);
            free(position);
            assert_int_equal(page.result.status, UPSTREAM_OK);
            buffer_append_char(&joined, pages++ > 0 ? ',' : '[');
            buffer_append(&joined, page.text + 1, strlen(page.text) - 2); /* without its brackets */
        } while (page.next != NULL);
        outcome_free(&page);
        buffer_append_char(&joined, ']');
        assert_int_equal(pages, (COUNT(sorted) + limit - 1) / limit);
        assert_string_equal(buffer_terminate(&joined), whole.text);
        buffer_free(&joined);
    }
    outcome_free(&whole);
}

static void an_empty_registry_is_an_empty_list(void **state)
{
    struct fixture *fx = *state;
    struct outcome page = list(fx, 100, NULL);
    assert_null(page.next);
    assert_text(page, "[]");
}

static void only_a_position_of_ours_is_taken(void **state)
{
    static const struct {
        const char *position;
        enum upstream_status status;
    } cases[] = {
        {"a", UPSTREAM_OK},
        {"zzz", UPSTREAM_OK},
        {"a%2541", UPSTREAM_OK},
        {"%211", UPSTREAM_OK},
        {"", UPSTREAM_BAD_CURSOR},
        {"%61", UPSTREAM_BAD_CURSOR}, /* not as we encode it */
        {"%2f", UPSTREAM_BAD_CURSOR},
        {"%2F", UPSTREAM_BAD_CURSOR},
        {"!", UPSTREAM_BAD_CURSOR},
        {"%", UPSTREAM_BAD_CURSOR},
        {"%4", UPSTREAM_BAD_CURSOR},
        {"%zz", UPSTREAM_BAD_CURSOR},
        {"%00", UPSTREAM_BAD_CURSOR},
        {"a b", UPSTREAM_BAD_CURSOR},
        {"a\n", UPSTREAM_BAD_CURSOR},
        {".", UPSTREAM_BAD_CURSOR},
        {"..", UPSTREAM_BAD_CURSOR},
        {"' OR 1=1", UPSTREAM_BAD_CURSOR},
        {"\xc3\xa9", UPSTREAM_BAD_CURSOR},
    };
    struct fixture *fx = *state;
    fill_list(fx);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct outcome page = list(fx, 10, cases[i].position);
        if (page.result.status != cases[i].status)
            fail_msg("'%s': status %d", cases[i].position, (int)page.result.status);
        outcome_free(&page);
    }
    char longest[2000];
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    struct outcome page = list(fx, 10, longest);
    assert_int_equal(page.result.status, UPSTREAM_BAD_CURSOR);
    page = list(fx, 10, longest + sizeof longest - 1 - 128);
    assert_int_equal(page.result.status, UPSTREAM_OK);
    outcome_free(&page);
}

static void a_page_of_large_devices_ends_early(void **state)
{
    enum { size = 3 << 20, devices = 6 };
    struct fixture *fx = *state;
    char *text = malloc(size + 32);
    assert_non_null(text);
    int head = snprintf(text, 32, "{\"status\":\"");
    memset(text + head, 'x', size);
    memcpy(text + head + size, "\"}", 3);
    for (int i = 0; i < devices; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        assert_int_equal(sqlite_db_patch(fx->db, name, text), 0);
    }
    free(text);
    struct outcome page = list(fx, 100, NULL);
    assert_string_equal(page.next, "c");
    struct outcome rest = list(fx, 100, page.next);
    assert_null(rest.next);
    assert_memory_equal(rest.text, "[{\"deviceId\":\"d\"", 16);
    outcome_free(&page);
    outcome_free(&rest);
}

/* --- the rest ---------------------------------------------------------------------------------- */

static void past_its_deadline_nothing_is_done(void **state)
{
    struct fixture *fx = *state;
    const struct device_registry_ops *ops = fx->registry->ops;
    struct outcome outcomes[4] = {{0}};
    await(fx, ops->patch_reported(fx->registry, "d", "{}", 2, 1, on_text, &outcomes[0]), &outcomes[0]);
    await(fx, ops->note_reading(fx->registry, "d", NOW, 1, on_done, &outcomes[1]), &outcomes[1]);
    await(fx, ops->status(fx->registry, "d", 1, on_text, &outcomes[2]), &outcomes[2]);
    await(fx, ops->list(fx->registry, 10, NULL, NULL, 1, on_list, &outcomes[3]), &outcomes[3]);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        assert_int_equal(outcomes[i].result.status, UPSTREAM_TIMEOUT);
    assert_int_equal(status(fx, "d").result.status, UPSTREAM_NOT_FOUND);
}

static void it_keeps_what_was_reported(void **state)
{
    struct fixture *fx = *state;
    struct outcome patched = patch(fx, "d", "{\"status\":\"online\"}");
    outcome_free(&patched);
    store_ok(fx, "d", "{}", NULL);
    fixture_reopen(fx);
    assert_text(patch(fx, "d", "{}"), "{\"status\":\"online\",\"lastHeartbeat\":\"2026-11-23T07:00:00Z\"}");
}

static void properties_that_are_no_json_in_the_file_are_not_trusted(void **state)
{
    struct fixture *fx = *state;
    struct outcome patched = patch(fx, "d", "{}");
    outcome_free(&patched);
    sqlite3 *connection;
    assert_int_equal(sqlite3_open(fx->path, &connection), SQLITE_OK);
    assert_int_equal(sqlite3_exec(connection, "UPDATE reported SET text=CAST('{\"status\":[[\"' AS BLOB)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(connection);
    assert_int_equal(status(fx, "d").result.status, UPSTREAM_UNAVAILABLE);
    assert_text(patch(fx, "d", "{\"a\":1}"), "{\"a\":1}"); /* begins anew */
}

static void it_says_that_it_can_serve(void **state)
{
    struct fixture *fx = *state;
    struct outcome outcome = {0};
    await(fx, fx->registry->ops->check(fx->registry, NO_DEADLINE, on_check, &outcome), &outcome);
    assert_int_equal(outcome.result.status, UPSTREAM_OK);
    assert_null(outcome.reason);
    assert_string_equal(fx->registry->ops->mode, "embedded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_patch_merges_and_keeps_bytes, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(the_heartbeat_follows_readings_and_can_be_set, setup_memory,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_status_without_a_patch_between_has_the_heartbeat, setup_memory,
                                        teardown),
        cmocka_unit_test_setup_teardown(writes_and_patches_of_one_group_keep_their_order, setup_memory,
                                        teardown),
        cmocka_unit_test_setup_teardown(reported_properties_have_a_bound, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(a_device_exists_once_reported_or_stored, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(it_is_connected_for_five_minutes_after_a_reading, setup_memory,
                                        teardown),
        cmocka_unit_test_setup_teardown(reported_values_of_any_kind_pass_as_they_are, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(devices_come_by_the_bytes_of_their_ids_whatever_the_limit,
                                        setup_memory, teardown),
        cmocka_unit_test_setup_teardown(an_empty_registry_is_an_empty_list, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(only_a_position_of_ours_is_taken, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(a_page_of_large_devices_ends_early, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(past_its_deadline_nothing_is_done, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(it_keeps_what_was_reported, setup_file, teardown),
        cmocka_unit_test_setup_teardown(properties_that_are_no_json_in_the_file_are_not_trusted, setup_file,
                                        teardown),
        cmocka_unit_test_setup_teardown(it_says_that_it_can_serve, setup_memory, teardown),
    };
    return cmocka_run_group_tests_name("sqlite_registry", tests, NULL, NULL);
}
