#include "cosmos_internal.h"

#include "cosmos_page.h"
#include "json.h"
#include "percent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The newest reading. The service orders by `_ts`, whole seconds, and promises nothing about the order within
 * one; our own processedAt does (cosmos_item.c). So all readings of the newest second are looked at.
 */

enum {
    FIRST_ITEMS = 10, /* nearly always all there is in one second */
    MORE_ITEMS = 100,
    PAGES_MAX = 10, /* 910 readings of one device in one second; past that the best of them is good enough */
    EMPTY_PAGES_MAX = 100,
};

struct latest_op {
    struct cosmos_op op;
    telemetry_latest_cb *done;
    void *ctx;

    char device_id[DEVICE_ID_MAX + 1];
    struct buffer body;
    struct cosmos_query_headers headers;
    char *continuation;
    unsigned asked, pages, empty_pages;

    bool found;
    bool second_over; /* a reading of an older second was seen */
    int64_t timestamp;
    struct buffer data, processed_at; /* of the best so far; processed_at raw, empty where it has none */
};

static void on_page(void *ctx, struct cosmos_answer *answer);

static void ask(struct latest_op *latest)
{
    struct cosmos_request request;

    latest->asked = latest->pages == 0 ? FIRST_ITEMS : MORE_ITEMS;
    if (cosmos_query_request(latest->op.store, &latest->headers, latest->device_id, latest->asked,
                             latest->continuation, &latest->body, 0, &request) != 0)
        cosmos_op_end(&latest->op, UPSTREAM_NO_MEMORY);
    else
        cosmos_op_call(&latest->op, &request, on_page);
}

/* Our processedAt has one width, so that bytes compare as times. Whoever has none is older. */
static bool stored_later(struct json_slice processed_at, const struct buffer *than)
{
    if (json_kind(processed_at) != JSON_STRING)
        return false;
    size_t shorter = processed_at.len < than->len ? processed_at.len : than->len;
    int order = shorter > 0 ? memcmp(processed_at.text, than->data, shorter) : 0;
    return order > 0 || (order == 0 && processed_at.len > than->len);
}

static void look_at(struct latest_op *latest, struct json_slice item)
{
    struct json_slice data = json_member(item, "data");
    struct json_slice processed_at = json_member(item, "processedAt");
    int64_t timestamp;

    if (data.text == NULL || !json_int64(json_member(item, "timestamp"), &timestamp))
        return;
    if (latest->found && timestamp < latest->timestamp) {
        latest->second_over = true;
        return;
    }
    if (latest->found && timestamp == latest->timestamp && !stored_later(processed_at, &latest->processed_at))
        return;
    latest->found = true;
    latest->timestamp = timestamp;
    buffer_clear(&latest->data);
    buffer_append(&latest->data, data.text, data.len);
    buffer_clear(&latest->processed_at);
    if (json_kind(processed_at) == JSON_STRING)
        buffer_append(&latest->processed_at, processed_at.text, processed_at.len);
}

/* Whether a further page could hold a reading that was stored later than the best one. */
static bool more_needed(struct latest_op *latest, const struct cosmos_page *page)
{
    if (latest->continuation == NULL || latest->second_over)
        return false;
    if (page->count == 0)
        return ++latest->empty_pages < EMPTY_PAGES_MAX;
    return ++latest->pages < PAGES_MAX;
}

static void on_page(void *ctx, struct cosmos_answer *answer)
{
    struct latest_op *latest = ctx;
    struct http_answer *http = answer->http;
    struct cosmos_page page;

    if (answer->status != UPSTREAM_OK) {
        cosmos_op_end_answer(&latest->op, answer);
        return;
    }
    const char *text = http->body.data + http->body_start;
    if (!cosmos_page_scan(text, http->body_len, COSMOS_DEPTH_MAX, &page) || page.count > latest->asked ||
        (http->continuation != NULL && !cosmos_continuation_valid(http->continuation))) {
        cosmos_op_end(&latest->op, UPSTREAM_UNAVAILABLE);
        return;
    }
    struct json_iter items = json_iter(json_root(text + page.start, page.length));
    while (json_next(&items))
        look_at(latest, items.value);

    free(latest->continuation);
    latest->continuation = http->continuation != NULL ? strdup(http->continuation) : NULL;
    if (latest->data.failed || latest->processed_at.failed ||
        (http->continuation != NULL && latest->continuation == NULL))
        cosmos_op_end(&latest->op, UPSTREAM_NO_MEMORY);
    else if (more_needed(latest, &page))
        ask(latest);
    else if (!latest->found && latest->continuation != NULL)
        cosmos_op_end(&latest->op, UPSTREAM_UNAVAILABLE); /* empty pages without end */
    else
        cosmos_op_end(&latest->op, UPSTREAM_OK);
}

static void latest_go(struct cosmos_op *op)
{
    struct latest_op *latest = (struct latest_op *)op;

    if (cosmos_query_latest(&latest->body, op->store->view.partition_key, latest->device_id) != 0)
        cosmos_op_end(op, UPSTREAM_NO_MEMORY);
    else
        ask(latest);
}

static void latest_end(struct cosmos_op *op)
{
    struct latest_op *latest = (struct latest_op *)op;
    bool found = op->result.status == UPSTREAM_OK && latest->found;

    latest->done(latest->ctx, &op->result, found ? latest->data.data : NULL, found ? latest->data.len : 0,
                 found ? latest->timestamp : 0);
}

static void latest_release(struct cosmos_op *op)
{
    struct latest_op *latest = (struct latest_op *)op;

    buffer_free(&latest->body);
    buffer_free(&latest->headers.continuation);
    buffer_free(&latest->data);
    buffer_free(&latest->processed_at);
    free(latest->continuation);
    free(latest);
}

static const struct cosmos_op_kind latest_kind = {
    .go = latest_go, .end = latest_end, .release = latest_release};

struct operation *cosmos_latest(struct telemetry_store *store, const char *device_id, uint64_t deadline_ms,
                                telemetry_latest_cb *done, void *ctx)
{
    struct latest_op *latest = calloc(1, sizeof *latest);
    if (latest == NULL)
        return NULL;
    latest->done = done;
    latest->ctx = ctx;
    snprintf(latest->device_id, sizeof latest->device_id, "%s", device_id);
    return cosmos_op_begin(&latest->op, &latest_kind, (struct cosmos_store *)store, deadline_ms, UPSTREAM_OK);
}
