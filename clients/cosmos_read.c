#include "cosmos_internal.h"

#include "cosmos_page.h"
#include "percent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGES_MAX = 1000,             /* upstream pages for one request, empty ones included */
    RANGE_MAX = 64 * 1024 * 1024, /* bytes of one request's readings */
};

/* --- a query's request ------------------------------------------------------------------------- */

int cosmos_partition_key_header(char *out, size_t size, const char *device_id)
{
    struct buffer b = {0};

    buffer_append_json_string(&b, device_id, strlen(device_id));
    const char *quoted = buffer_terminate(&b);
    if (quoted == NULL)
        return -ENOMEM;
    snprintf(out, size, "x-ms-documentdb-partitionkey: [%s]", quoted);
    buffer_free(&b);
    return 0;
}

int cosmos_query_request(const struct cosmos_store *store, struct cosmos_query_headers *headers,
                         const char *device_id, unsigned max_items, const char *continuation,
                         const struct buffer *body, size_t headroom, struct cosmos_request *ret_request)
{
    if (cosmos_partition_key_header(headers->partition_key, sizeof headers->partition_key, device_id) != 0)
        return -ENOMEM;
    snprintf(headers->max_items, sizeof headers->max_items, "x-ms-max-item-count: %u", max_items);
    buffer_clear(&headers->continuation);
    if (continuation != NULL) {
        buffer_append_text(&headers->continuation, "x-ms-continuation: ");
        buffer_append_text(&headers->continuation, continuation);
        if (buffer_terminate(&headers->continuation) == NULL)
            return -ENOMEM;
    }
    *ret_request = (struct cosmos_request){
        .operation = "query",
        .verb = "POST",
        .resource_type = "docs",
        .resource_link = store->names.container_link,
        .path = store->names.docs_path,
        .headers =
            {
                "Content-Type: application/query+json",
                "x-ms-documentdb-isquery: True",
                "x-ms-documentdb-query-iscontinuationexpected: True",
                /* A continuation becomes part of a caller's URL, where 8 KB is the usual limit. */
                "x-ms-documentdb-responsecontinuationtokenlimitinkb: 2",
                headers->partition_key,
                headers->max_items,
                continuation != NULL ? headers->continuation.data : NULL,
            },
        .body = body->data,
        .body_len = body->len,
        .max_body = COSMOS_ANSWER_MAX,
        .headroom = headroom,
    };
    return 0;
}

bool cosmos_continuation_valid(const char *continuation)
{
    size_t len = 0;

    for (; continuation[len] != '\0'; len++)
        if (len == COSMOS_CONTINUATION_MAX || continuation[len] < 0x20 || continuation[len] > 0x7e)
            return false;
    return len > 0;
}

/* --- a range ----------------------------------------------------------------------------------- */

struct range_op {
    struct cosmos_op op;
    telemetry_page_cb *done;
    void *ctx;

    char device_id[DEVICE_ID_MAX + 1];
    struct telemetry_range range; /* its device_id is the copy above */
    bool from_position;           /* the first page is asked for with the caller's position */

    struct buffer body;
    struct cosmos_query_headers headers;
    char *continuation; /* of the page asked for; NULL at the start */
    unsigned asked;     /* documents that the page may have */
    unsigned pages;
    bool probing; /* the limit is reached: does anything remain after `next`? */
    char *next;   /* the continuation after the last reading taken */

    struct telemetry_page page; /* what has come so far */
};

static void on_page(void *ctx, struct cosmos_answer *answer);

static void ask(struct range_op *range)
{
    struct cosmos_request request;

    if (range->pages++ == PAGES_MAX) {
        cosmos_op_end(&range->op, UPSTREAM_UNAVAILABLE);
        return;
    }
    range->asked = range->probing ? 1 : range->range.limit - range->page.count;
    if (cosmos_query_request(range->op.store, &range->headers, range->device_id, range->asked,
                             range->continuation, &range->body, TELEMETRY_PAGE_HEADROOM, &request) != 0)
        cosmos_op_end(&range->op, UPSTREAM_NO_MEMORY);
    else
        cosmos_op_call(&range->op, &request, on_page);
}

/* Adds the scanned array of an answer. The first page with readings is taken over as it is, buffer and all.
 */
static enum upstream_status add_page(struct range_op *range, struct http_answer *http,
                                     const struct cosmos_page *page)
{
    struct telemetry_page *all = &range->page;

    if (all->count == 0) {
        buffer_free(&all->text);
        all->text = http->body;
        http->body = (struct buffer){0};
        all->start = http->body_start + page->start;
        all->length = page->length;
        all->count = page->count;
        return UPSTREAM_OK;
    }
    if (page->count == 0)
        return UPSTREAM_OK;
    if (all->length + page->length > RANGE_MAX)
        return UPSTREAM_UNAVAILABLE;
    /* Over the closing bracket go a comma and the other array without its opening one. */
    all->text.len = all->start + all->length - 1;
    buffer_append_char(&all->text, ',');
    buffer_append(&all->text, http->body.data + http->body_start + page->start + 1, page->length - 1);
    if (all->text.failed)
        return UPSTREAM_NO_MEMORY;
    all->length += page->length - 1;
    all->count += page->count;
    return UPSTREAM_OK;
}

/* Takes over the answer's continuation, if it is one that can be followed. */
static enum upstream_status take_continuation(struct range_op *range, const char *continuation)
{
    if (continuation != NULL && !cosmos_continuation_valid(continuation))
        return UPSTREAM_UNAVAILABLE;
    free(range->continuation);
    range->continuation = continuation != NULL ? strdup(continuation) : NULL;
    return continuation != NULL && range->continuation == NULL ? UPSTREAM_NO_MEMORY : UPSTREAM_OK;
}

/* The position after the last reading is only handed out when something remains there; the service gives one
 * whenever the page was full. */
static void on_probed(struct range_op *range, const struct cosmos_page *page)
{
    if (page->count > 0) {
        cosmos_op_end(&range->op, UPSTREAM_OK);
    } else if (range->continuation != NULL) {
        ask(range);
    } else {
        free(range->next);
        range->next = NULL;
        cosmos_op_end(&range->op, UPSTREAM_OK);
    }
}

static void on_more(struct range_op *range)
{
    if (range->continuation == NULL) {
        cosmos_op_end(&range->op, UPSTREAM_OK);
        return;
    }
    if (range->page.count == range->range.limit) {
        range->probing = true;
        range->next = strdup(range->continuation);
        if (range->next == NULL) {
            cosmos_op_end(&range->op, UPSTREAM_NO_MEMORY);
            return;
        }
    }
    ask(range);
}

static void on_page(void *ctx, struct cosmos_answer *answer)
{
    struct range_op *range = ctx;
    struct http_answer *http = answer->http;
    struct cosmos_page page;

    if (answer->status != UPSTREAM_OK) {
        if (answer->http_status == 400 && range->pages == 1 && range->from_position)
            cosmos_op_end(&range->op, UPSTREAM_BAD_CURSOR);
        else
            cosmos_op_end_answer(&range->op, answer);
        return;
    }
    char *text = http->body.data + http->body_start;
    if (!cosmos_page_scan(text, http->body_len, COSMOS_DEPTH_MAX, &page) || page.count > range->asked) {
        cosmos_op_end(&range->op, UPSTREAM_UNAVAILABLE);
        return;
    }
    if (page.without_data > 0)
        cosmos_page_compact(text, &page);
    enum upstream_status status = take_continuation(range, http->continuation);
    if (status == UPSTREAM_OK && !range->probing)
        status = add_page(range, http, &page);
    if (status != UPSTREAM_OK)
        cosmos_op_end(&range->op, status);
    else if (range->probing)
        on_probed(range, &page);
    else
        on_more(range);
}

static void range_go(struct cosmos_op *op)
{
    struct range_op *range = (struct range_op *)op;

    if (cosmos_query_range(&range->body, op->store->view.partition_key, &range->range) != 0)
        cosmos_op_end(op, UPSTREAM_NO_MEMORY);
    else
        ask(range);
}

static void range_end(struct cosmos_op *op)
{
    struct range_op *range = (struct range_op *)op;
    bool ok = op->result.status == UPSTREAM_OK;

    range->page.next = range->next;
    range->done(range->ctx, &op->result, ok ? &range->page : NULL);
}

static void range_release(struct cosmos_op *op)
{
    struct range_op *range = (struct range_op *)op;

    buffer_free(&range->body);
    buffer_free(&range->headers.continuation);
    buffer_free(&range->page.text);
    free(range->continuation);
    free(range->next);
    free(range);
}

static const struct cosmos_op_kind range_kind = {.go = range_go, .end = range_end, .release = range_release};

struct operation *cosmos_read_range(struct telemetry_store *store, const struct telemetry_range *wanted,
                                    telemetry_page_cb *done, void *ctx)
{
    bool refused = wanted->position != NULL && !cosmos_continuation_valid(wanted->position);
    struct range_op *range = calloc(1, sizeof *range);
    if (range == NULL)
        return NULL;
    range->done = done;
    range->ctx = ctx;
    snprintf(range->device_id, sizeof range->device_id, "%s", wanted->device_id);
    range->range = *wanted;
    range->range.device_id = range->device_id;
    range->range.position = NULL;
    if (wanted->position != NULL && !refused) {
        range->from_position = true;
        range->continuation = strdup(wanted->position);
        if (range->continuation == NULL) {
            range_release(&range->op);
            return NULL;
        }
    }
    return cosmos_op_begin(&range->op, &range_kind, (struct cosmos_store *)store, wanted->deadline_ms,
                           refused ? UPSTREAM_BAD_CURSOR : UPSTREAM_OK);
}
