#include "../../clients/cosmos_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define GATEWAY "https://acc.documents.azure.com"
#define WEST    "https://acc-west.documents.azure.com"
#define EAST    "https://acc-east.documents.azure.com"
#define NOW     UINT64_C(1000000)

/* writable, readable: the elements of the arrays. */
#define DOCUMENT(writable, readable)                                                                         \
    "{\"id\":\"acc\",\"writableLocations\":[" writable "],\"readableLocations\":[" readable "]}"
#define LOCATION(url) "{\"name\":\"R\",\"databaseAccountEndpoint\":\"" url "\"}"

static struct cosmos_account *account_at(const char *endpoint)
{
    struct cosmos_options options = {
        .account.key = "k", .account.key_len = 1, .database = "my db", .container = "t/1"};
    struct cosmos_account *account = NULL;
    snprintf(options.account.endpoint, sizeof options.account.endpoint, "%s", endpoint);
    assert_int_equal(cosmos_account_new(&options, NULL, &account), 0);
    return account;
}

static struct cosmos_view *view_of(struct cosmos_account *account)
{
    static struct cosmos_view view;
    view.generation = 0;
    cosmos_account_view(account, &view);
    return &view;
}

static bool take(struct cosmos_account *account, const char *document)
{
    return cosmos_account_take_document(account, document, strlen(document), NOW);
}

static void assert_endpoint(struct cosmos_account *account, bool write, const char *expect, const char *rule)
{
    const struct cosmos_view *view = view_of(account);
    const char *url = view->endpoints[cosmos_view_endpoint(view, write, NOW)].url;
    if (strcmp(url, expect) != 0)
        fail_msg("%s: %s", rule, url);
}

static void test_names(void **state)
{
    struct cosmos_account *account = account_at(GATEWAY);
    struct cosmos_names names = cosmos_account_names(account);
    assert_string_equal(names.container_path, "/dbs/my%20db/colls/t%2F1");
    assert_string_equal(names.docs_path, "/dbs/my%20db/colls/t%2F1/docs");
    assert_string_equal(names.container_link, "dbs/my db/colls/t/1");
    cosmos_account_free(account);
    cosmos_account_free(NULL);
}

/* Which endpoint is asked, given the account document and what has failed. */
static void test_endpoints(void **state)
{
    static const struct {
        const char *rule, *document, *failed[3];
        bool moved;
        const char *read, *write;
    } cases[] = {
        {"before the account is known", NULL, {0}, false, GATEWAY, GATEWAY},
        {"nothing else to ask", NULL, {GATEWAY}, false, GATEWAY, GATEWAY},
        {"the configured one first",
         DOCUMENT(LOCATION(WEST), LOCATION(WEST) "," LOCATION(EAST)),
         {0},
         false,
         GATEWAY,
         GATEWAY},
        {"then the account's order",
         DOCUMENT(LOCATION(EAST), LOCATION(WEST) "," LOCATION(EAST)),
         {GATEWAY},
         false,
         WEST,
         EAST},
        {"and on",
         DOCUMENT(LOCATION(WEST), LOCATION(WEST) "," LOCATION(EAST)),
         {GATEWAY, WEST},
         false,
         EAST,
         GATEWAY},
        {"as if none had failed",
         DOCUMENT(LOCATION(WEST), LOCATION(WEST) "," LOCATION(EAST)),
         {GATEWAY, WEST, EAST},
         false,
         GATEWAY,
         GATEWAY},
        {"writes that have moved",
         DOCUMENT(LOCATION(EAST), LOCATION(WEST) "," LOCATION(EAST)),
         {0},
         true,
         GATEWAY,
         EAST},
        {"writes stay, whoever can be read",
         DOCUMENT(LOCATION(EAST), LOCATION(WEST) "," LOCATION(EAST)),
         {GATEWAY, EAST},
         true,
         WEST,
         EAST},
        {"moved, but down: the configured one",
         DOCUMENT(LOCATION(EAST), LOCATION(WEST)),
         {EAST},
         true,
         GATEWAY,
         GATEWAY},
        {"a write region is not read from",
         DOCUMENT(LOCATION(EAST), LOCATION(WEST)),
         {GATEWAY, WEST},
         true,
         GATEWAY,
         EAST},
        {"a trailing slash is the same endpoint",
         DOCUMENT(LOCATION(GATEWAY "/"), LOCATION(GATEWAY "/")),
         {GATEWAY},
         false,
         GATEWAY,
         GATEWAY},
        {"http on other hosts is not followed",
         DOCUMENT(LOCATION("http://evil.example"), LOCATION("http://evil.example")),
         {GATEWAY},
         true,
         GATEWAY,
         GATEWAY},
        {"http on loopback is",
         DOCUMENT(LOCATION("http://127.0.0.1:8081/"), LOCATION("http://127.0.0.1:8081/")),
         {GATEWAY},
         true,
         "http://127.0.0.1:8081",
         "http://127.0.0.1:8081"},
        {"odd entries are passed over",
         DOCUMENT("7", "null,{},{\"databaseAccountEndpoint\":5}," LOCATION(EAST)),
         {GATEWAY},
         true,
         EAST,
         GATEWAY},
        {"no regions at all", DOCUMENT("", ""), {GATEWAY}, true, GATEWAY, GATEWAY},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct cosmos_account *account = account_at(GATEWAY);
        if (cases[i].document != NULL)
            assert_true(take(account, cases[i].document));
        for (size_t k = 0; k < COUNT(cases[i].failed) && cases[i].failed[k] != NULL; k++)
            cosmos_account_region_failed(account, cases[i].failed[k], NOW);
        if (cases[i].moved)
            cosmos_account_writes_moved(account);
        assert_endpoint(account, false, cases[i].read, cases[i].rule);
        assert_endpoint(account, true, cases[i].write, cases[i].rule);
        cosmos_account_free(account);
    }
}

static void test_another(void **state)
{
    struct cosmos_account *account = account_at(GATEWAY);
    assert_false(cosmos_view_another(view_of(account), false, GATEWAY, NOW));
    take(account, DOCUMENT(LOCATION(WEST), LOCATION(WEST) "," LOCATION(EAST)));
    assert_true(cosmos_view_another(view_of(account), false, GATEWAY, NOW));
    assert_true(cosmos_view_another(view_of(account), true, GATEWAY, NOW));
    cosmos_account_region_failed(account, WEST, NOW);
    assert_true(cosmos_view_another(view_of(account), false, GATEWAY, NOW));
    assert_false(cosmos_view_another(view_of(account), true, GATEWAY, NOW));
    cosmos_account_region_failed(account, EAST, NOW);
    assert_false(cosmos_view_another(view_of(account), false, GATEWAY, NOW));
    assert_true(cosmos_view_another(view_of(account), false, GATEWAY, NOW + COSMOS_UNAVAILABLE_MS));
    cosmos_account_free(account);
}

/* A region that failed stays unavailable over a new document, and comes back after five minutes. */
static void test_availability_outlives_the_document(void **state)
{
    static const char document[] = DOCUMENT(LOCATION(WEST), LOCATION(WEST) "," LOCATION(EAST));
    struct cosmos_account *account = account_at(GATEWAY);
    take(account, document);
    cosmos_account_region_failed(account, GATEWAY, NOW);
    cosmos_account_region_failed(account, WEST, NOW);
    take(account, document);
    assert_endpoint(account, false, EAST, "still unavailable");
    const struct cosmos_view *view = view_of(account);
    assert_int_equal(cosmos_view_endpoint(view, false, NOW + COSMOS_UNAVAILABLE_MS - 1), 2);
    assert_int_equal(cosmos_view_endpoint(view, false, NOW + COSMOS_UNAVAILABLE_MS), 0);
    cosmos_account_free(account);
}

static void test_many_regions(void **state)
{
    struct buffer document = {0};
    buffer_append_text(&document, "{\"writableLocations\":[" LOCATION(EAST) "],\"readableLocations\":[");
    for (int i = 0; i < 100; i++)
        buffer_printf(&document, "%s{\"databaseAccountEndpoint\":\"https://r%d.example\"}", i > 0 ? "," : "",
                      i);
    buffer_append_text(&document, "]}");
    struct cosmos_account *account = account_at(GATEWAY);
    assert_true(cosmos_account_take_document(account, document.data, document.len, NOW));
    const struct cosmos_view *view = view_of(account);
    assert_int_equal(view->endpoint_count, 1 + COSMOS_REGIONS_MAX);
    assert_string_equal(view->endpoints[view->write_region].url, EAST);
    cosmos_account_free(account);
    buffer_free(&document);
}

static void test_what_is_no_document(void **state)
{
    static const char *const texts[] = {"",
                                        "[]",
                                        "{}",
                                        "{\"writableLocations\":[]}",
                                        "{\"writableLocations\":[],",
                                        "<html>",
                                        "{\"writableLocations\":{},\"readableLocations\":[]}"};
    struct cosmos_account *account = account_at(GATEWAY);
    unsigned generation = view_of(account)->generation;
    for (size_t i = 0; i < COUNT(texts); i++)
        assert_false(take(account, texts[i]));
    assert_int_equal(view_of(account)->generation, generation);
    cosmos_account_free(account);
}

static void test_container(void **state)
{
    static const struct {
        const char *definition;
        enum cosmos_container_state state;
        const char *partition_key, *reason;
    } cases[] = {
        {"{\"id\":\"c\",\"partitionKey\":{\"paths\":[\"/deviceId\"],\"kind\":\"Hash\",\"version\":2}}",
         COSMOS_CONTAINER_GOOD, "deviceId", NULL},
        {"{\"partitionKey\":{\"paths\":[\"/partitionKey\"],\"kind\":\"Hash\"}}", COSMOS_CONTAINER_GOOD,
         "partitionKey", NULL},
        {"{\"partitionKey\":{\"paths\":[\"/deviceId\"]}}", COSMOS_CONTAINER_GOOD, "deviceId", NULL},
        {"{\"partitionKey\":{\"paths\":[\"/tenant\"],\"kind\":\"Hash\"}}", COSMOS_CONTAINER_UNUSABLE, NULL,
         "the container's partition key is /tenant; it must be /deviceId or /partitionKey"},
        {"{\"partitionKey\":{\"paths\":[\"/deviceId\",\"/t\"],\"kind\":\"MultiHash\"}}",
         COSMOS_CONTAINER_UNUSABLE, NULL,
         "the container's partition key is /deviceId, /t (not of kind Hash); it must be /deviceId or "
         "/partitionKey"},
        {"{\"partitionKey\":{\"paths\":[\"/deviceId\"],\"kind\":\"Range\"}}", COSMOS_CONTAINER_UNUSABLE, NULL,
         "the container's partition key is /deviceId (not of kind Hash); it must be /deviceId or "
         "/partitionKey"},
        {"{\"partitionKey\":{\"paths\":[\"/\\u0007\\u00e9\"],\"kind\":\"Hash\"}}", COSMOS_CONTAINER_UNUSABLE,
         NULL, "the container's partition key is /???; it must be /deviceId or /partitionKey"},
        {"{\"id\":\"c\"}", COSMOS_CONTAINER_UNUSABLE, NULL,
         "the container's partition key is missing; it must be /deviceId or /partitionKey"},
        {"{\"partitionKey\":{\"paths\":[]}}", COSMOS_CONTAINER_UNUSABLE, NULL,
         "the container's partition key is missing; it must be /deviceId or /partitionKey"},
    };
    struct cosmos_account *account = account_at(GATEWAY);
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_true(
            cosmos_account_take_container(account, cases[i].definition, strlen(cases[i].definition), NOW));
        const struct cosmos_view *view = view_of(account);
        assert_int_equal(view->container, cases[i].state);
        if (cases[i].partition_key != NULL)
            assert_string_equal(view->partition_key, cases[i].partition_key);
        else
            assert_null(view->partition_key);
        if (cases[i].reason != NULL)
            assert_string_equal(view->reason, cases[i].reason);
        else
            assert_null(view->reason);
    }
    assert_false(cosmos_account_take_container(account, "[]", 2, NOW));
    assert_int_equal(view_of(account)->container, COSMOS_CONTAINER_UNUSABLE);
    cosmos_account_free(account);
}

/* A text given out stays, however many follow it. */
static void test_reasons_are_kept(void **state)
{
    struct cosmos_account *account = account_at(GATEWAY);
    char definition[128];
    const char *first = NULL;
    for (int i = 0; i < 20; i++) {
        snprintf(definition, sizeof definition, "{\"partitionKey\":{\"paths\":[\"/p%d\"]}}", i);
        cosmos_account_take_container(account, definition, strlen(definition), NOW);
        const char *reason = view_of(account)->reason;
        assert_non_null(reason);
        if (i == 0)
            first = reason;
    }
    assert_string_equal(first, "the container's partition key is /p0; it must be /deviceId or /partitionKey");
    cosmos_account_free(account);
}

static void test_refresh_is_claimed_once(void **state)
{
    struct cosmos_account *account = account_at(GATEWAY);
    assert_true(cosmos_account_claim_refresh(account, NOW));
    assert_false(cosmos_account_claim_refresh(account, NOW));
    assert_false(cosmos_account_claim_refresh(account, NOW + COSMOS_RECHECK_MS - 1));
    assert_true(cosmos_account_claim_refresh(account, NOW + COSMOS_RECHECK_MS));
    take(account, DOCUMENT("", ""));
    assert_false(cosmos_account_claim_refresh(account, NOW + COSMOS_ACCOUNT_AGE_MS - 1));
    assert_true(cosmos_account_claim_refresh(account, NOW + COSMOS_ACCOUNT_AGE_MS));
    cosmos_account_free(account);
}

static void test_stamps_only_grow(void **state)
{
    struct cosmos_account *account = account_at(GATEWAY);
    assert_int_equal(cosmos_account_stamp(account, 5000, 1), 5000);
    assert_int_equal(cosmos_account_stamp(account, 5000, 3), 5001);
    assert_int_equal(cosmos_account_stamp(account, 4000, 1), 5004);
    assert_int_equal(cosmos_account_stamp(account, 9000, 1), 9000);
    cosmos_account_free(account);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_another),
        cmocka_unit_test(test_availability_outlives_the_document),
        cmocka_unit_test(test_many_regions),
        cmocka_unit_test(test_what_is_no_document),
        cmocka_unit_test(test_container),
        cmocka_unit_test(test_reasons_are_kept),
        cmocka_unit_test(test_refresh_is_claimed_once),
        cmocka_unit_test(test_stamps_only_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
