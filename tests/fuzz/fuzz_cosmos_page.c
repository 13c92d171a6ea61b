/*
 * Answers of Cosmos DB: a page of a query (both builds of the scanner), the account document and the
 * container's definition; and queries about whatever device and position.
 */
#include "../../clients/cosmos_internal.h"
#include "../unit/json_variants.h"
#include "clock.h"
#include "fuzz.h"
#include "percent.h"

/* What is left of a page is an array of its readings, each with data. */
static void check_compacted(char *text, struct cosmos_page page)
{
    unsigned with_data = page.count - page.without_data, elements = 0;
    cosmos_page_compact(text, &page);
    ALWAYS(page.count == with_data && page.without_data == 0);
    ALWAYS(json_valid(text + page.start, page.length, COSMOS_DEPTH_MAX));
    for (struct json_iter it = json_iter(json_root(text + page.start, page.length)); json_next(&it);
         elements++)
        ALWAYS(json_member(it.value, "data").text != NULL && json_member(it.value, "timestamp").text != NULL);
    ALWAYS(elements == with_data);
}

static void check_page(const char *input, size_t len)
{
    struct cosmos_page page, portable;
    char *text = fuzz_copy(input, len);

    memset(&page, 0xA5, sizeof page);
    memset(&portable, 0xA5, sizeof portable);
    bool good = cosmos_page_scan(text, len, COSMOS_DEPTH_MAX, &page);
    ALWAYS(cosmos_page_scan_portable(text, len, COSMOS_DEPTH_MAX, &portable) == good);
    ALWAYS(memcmp(&page, &portable, sizeof page) == 0);
    if (good) {
        ALWAYS(json_check(text, len, COSMOS_DEPTH_MAX, false, NULL) == JSON_OK);
        ALWAYS(page.start + page.length <= len && page.length >= 2);
        ALWAYS(text[page.start] == '[' && text[page.start + page.length - 1] == ']');
        ALWAYS(json_valid(text + page.start, page.length, COSMOS_DEPTH_MAX));
        ALWAYS(page.without_data <= page.count);
        if (oracle_json(text, len, false) == ORACLE_ACCEPTS)
            ALWAYS(oracle_count_at(text, len, "Documents") == (long)page.count);
        check_compacted(text, page);
    }
    free(text);
}

static void check_documents(const char *text, size_t len)
{
    struct cosmos_options options = {
        .account = {.endpoint = "https://acc.documents.azure.com", .key_len = 32},
        .database = "iot",
        .container = "telemetry"};
    struct flight_table *flights = NULL;
    struct cosmos_account *account = NULL;
    struct cosmos_view view = {0};
    char url[COSMOS_URL_SIZE], message[256];

    ALWAYS(flight_table_new(4, &flights) == 0 && cosmos_account_new(&options, flights, &account) == 0);
    cosmos_account_take_document(account, text, len, 1000);
    cosmos_account_take_container(account, text, len, 1000);
    cosmos_account_view(account, &view);
    ALWAYS(view.endpoint_count >= 1 && view.endpoint_count <= 1 + COSMOS_REGIONS_MAX);
    ALWAYS(strcmp(view.endpoints[0].url, options.account.endpoint) == 0);
    for (unsigned i = 0; i < view.endpoint_count; i++) {
        ALWAYS(upstream_url_check(view.endpoints[i].url, false, url, sizeof url, message, sizeof message));
        ALWAYS(strcmp(url, view.endpoints[i].url) == 0);
    }
    ALWAYS(view.write_region < view.endpoint_count);
    ALWAYS(cosmos_view_endpoint(&view, true, 2000) < view.endpoint_count);
    ALWAYS((view.partition_key != NULL) == (view.container == COSMOS_CONTAINER_GOOD));
    if (view.partition_key != NULL)
        ALWAYS(strcmp(view.partition_key, "deviceId") == 0 ||
               strcmp(view.partition_key, "partitionKey") == 0);
    cosmos_account_free(account);
    flight_table_free(flights);
}

/* No device id changes the text of a query: it is a parameter's value, whole. */
static void check_query(const char *device_id)
{
    const struct telemetry_range range = {.device_id = device_id, .after = 1, .until = 2};
    const struct telemetry_range plain = {.device_id = "d", .after = 1, .until = 2};
    struct buffer query = {0}, expected = {0};

    ALWAYS(cosmos_query_range(&query, "deviceId", &range) == 0);
    ALWAYS(cosmos_query_range(&expected, "deviceId", &plain) == 0);
    char *id = oracle_string_at(query.data, query.len, "parameters.0.value");
    char *text = oracle_string_at(query.data, query.len, "query");
    char *expected_text = oracle_string_at(expected.data, expected.len, "query");
    ALWAYS(id != NULL && strcmp(id, device_id) == 0 && strcmp(text, expected_text) == 0);
    ALWAYS(oracle_count_at(query.data, query.len, "parameters") == 3);
    free(id);
    free(text);
    free(expected_text);
    buffer_free(&query);
    buffer_free(&expected);
}

static void check_texts(const char *text)
{
    char header[64 + 2 * 128];
    if (device_id_valid(text, strlen(text))) {
        check_query(text);
        ALWAYS(cosmos_partition_key_header(header, sizeof header, text) == 0);
        ALWAYS(strpbrk(header, "\r\n") == NULL && strlen(header) < sizeof header);
    }
    if (cosmos_continuation_valid(text)) {
        ALWAYS(strlen(text) <= COSMOS_CONTINUATION_MAX);
        for (const char *c = text; *c != '\0'; c++)
            ALWAYS(*c >= 0x20 && *c < 0x7f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_copy(data, size), *string = fuzz_text(data, size);
    check_page(text, size);
    check_documents(text, size);
    check_texts(string);
    free(text);
    free(string);
    return 0;
}
