#include "cosmos_feed.h"

#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    CALL_MS = 10 * 1000,     /* of one poll, its retries included */
    SPACING_MS = 20,         /* between two polls of a range, as far as they are asked for out of turn */
    FAILED_SPACING_MS = 500, /* the same while the service fails */
    BACKOFF_MAX_MS = 30 * 1000,
    DOCUMENT_MAX = 1024 * 1024,
    FULL_BYTES = 512 * 1024, /* a page of so many bytes may have been cut for its size */
};

struct polled {
    struct cosmos_reader *reader;
    struct cosmos_place place;
    struct cosmos_call call;
    struct cosmos_feed_headers headers;
    struct delay *timer; /* until the next poll, unless one is under way */
    bool polling, again; /* again: asked for while a poll was under way */
    uint64_t started_us; /* of the last poll */
    uint64_t fresh_us;   /* when the last poll began that came to the end of the log */
    unsigned failures;
};

struct cosmos_reader {
    struct cosmos_store *store;
    struct cosmos_feed *feed;
    const char *partition_key;
    struct polled **polled;
    unsigned count;
    struct cosmos_ranges *ranges; /* as they were last listed, with the parents */
    struct cosmos_call call;      /* of the list of ranges */
    struct delay *timer;          /* before it is asked for again */
    struct delay *early;          /* until the feed should have shown what this process stored */
    bool running, listing;
    unsigned failures;
    uint64_t poked_us; /* the last poke that was heeded */
};

static void poll_range(struct polled *polled);
static void list_ranges(struct cosmos_reader *reader);

struct cosmos_reader *cosmos_reader_new(struct cosmos_store *store)
{
    struct cosmos_reader *reader = calloc(1, sizeof *reader);

    if (reader != NULL) {
        reader->store = store;
        reader->feed = store->names.feed;
    }
    return reader;
}

/* --- stopping ---------------------------------------------------------------------------------- */

static void free_polled(struct cosmos_reader *reader)
{
    for (unsigned i = 0; i < reader->count; i++) {
        struct polled *polled = reader->polled[i];
        if (polled == NULL)
            continue;
        delay_stop(polled->timer);
        if (polled->polling)
            cosmos_call_cancel(&polled->call);
        free(polled);
    }
    free(reader->polled);
    reader->polled = NULL;
    reader->count = 0;
}

static void stop(struct cosmos_reader *reader)
{
    free_polled(reader);
    delay_stop(reader->timer);
    delay_stop(reader->early);
    if (reader->listing)
        cosmos_call_cancel(&reader->call);
    free(reader->ranges);
    reader->ranges = NULL;
    reader->timer = reader->early = NULL;
    reader->listing = reader->running = false;
    reader->failures = 0;
}

void cosmos_reader_free(struct cosmos_reader *reader)
{
    if (reader == NULL)
        return;
    stop(reader);
    free(reader);
}

/* Nobody has followed for a while. */
static bool stop_if_unwanted(struct cosmos_reader *reader)
{
    if (cosmos_feed_wish(reader->feed).wanted)
        return false;
    stop(reader);
    cosmos_feed_stopped(reader->feed);
    return true;
}

/* --- the list of ranges ------------------------------------------------------------------------ */

static uint64_t backoff_ms(unsigned failures)
{
    uint64_t wait = 250;

    for (unsigned i = 1; i < failures && wait < BACKOFF_MAX_MS; i++)
        wait *= 2;
    return wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS;
}

static void on_list_due(void *ctx)
{
    struct cosmos_reader *reader = ctx;

    reader->timer = NULL;
    if (!stop_if_unwanted(reader))
        list_ranges(reader);
}

static void list_failed(struct cosmos_reader *reader, enum upstream_status status, unsigned retry_after_s)
{
    reader->failures++;
    cosmos_feed_failed(reader->feed, status, retry_after_s);
    reader->timer = delay_start(reader->store->loop, backoff_ms(reader->failures), on_list_due, reader);
}

/* Takes a list over: ranges that are new begin where their parents were. */
static int take_list(struct cosmos_reader *reader, struct cosmos_ranges *ranges)
{
    if (reader->ranges != NULL) {
        for (unsigned i = 0; i < reader->count; i++) {
            struct cosmos_range *range = cosmos_ranges_find(reader->ranges, reader->polled[i]->place.range);
            if (range != NULL)
                range->place = reader->polled[i]->place;
        }
        /* A container that was made anew has another log. */
        if (ranges->container == reader->ranges->container)
            cosmos_ranges_inherit(ranges, reader->ranges);
    }
    struct polled **polled = calloc(ranges->count, sizeof(struct polled *));
    struct cosmos_batch *batch = cosmos_batch_of_ranges(ranges);
    bool failed = polled == NULL || batch == NULL;
    for (unsigned i = 0; i < ranges->count && !failed; i++) {
        polled[i] = calloc(1, sizeof **polled);
        failed = polled[i] == NULL;
    }
    if (failed) {
        for (unsigned i = 0; polled != NULL && i < ranges->count; i++)
            free(polled[i]);
        free(polled);
        cosmos_batch_unref(batch);
        return -ENOMEM;
    }
    free_polled(reader);
    free(reader->ranges);
    reader->ranges = ranges;
    reader->polled = polled;
    reader->count = ranges->count;
    for (unsigned i = 0; i < reader->count; i++) {
        polled[i]->reader = reader;
        polled[i]->place = ranges->at[i].place;
    }
    cosmos_feed_publish(reader->feed, batch, NULL, 0);
    return 0;
}

static void on_list(void *ctx, struct cosmos_answer *answer)
{
    struct cosmos_reader *reader = ctx;
    struct cosmos_ranges *ranges;
    enum upstream_status status = answer->status;

    reader->listing = false;
    if (cosmos_says_no_container(answer))
        cosmos_account_forget_container(reader->store->account);
    if (status == UPSTREAM_OK) {
        const struct http_answer *http = answer->http;
        int r = cosmos_ranges_parse(http->body.data + http->body_start, http->body_len, &ranges);
        if (r == 0) {
            r = take_list(reader, ranges);
            if (r != 0)
                free(ranges);
        }
        status = r == 0 ? UPSTREAM_OK : r == -ENOMEM ? UPSTREAM_NO_MEMORY : UPSTREAM_UNAVAILABLE;
    }
    if (status != UPSTREAM_OK) {
        list_failed(reader, status, answer->retry_after_s);
        return;
    }
    reader->failures = 0;
    for (unsigned i = 0; i < reader->count && reader->running; i++)
        poll_range(reader->polled[i]);
}

static void list_ranges(struct cosmos_reader *reader)
{
    const struct cosmos_store *store = reader->store;
    struct cosmos_request request = {
        .operation = "feed",
        .verb = "GET",
        .resource_type = "pkranges",
        .resource_link = store->names.container_link,
        .path = store->names.ranges_path,
        .headers = {"x-ms-max-item-count: -1"},
        .max_body = DOCUMENT_MAX,
        .deadline_ms = clock_monotonic_ms() + CALL_MS,
    };
    reader->call.retries = (struct retry_state){0};
    reader->listing = true;
    int r = cosmos_call_start(&reader->call, reader->store, &request, on_list, reader);
    if (r == 0)
        return;
    reader->listing = false;
    list_failed(reader, r == -EBUSY ? UPSTREAM_OVERLOADED : UPSTREAM_NO_MEMORY, 1);
}

/* A range is gone: the list has changed. */
static void relist(struct cosmos_reader *reader)
{
    if (!reader->listing && reader->timer == NULL)
        list_ranges(reader);
}

/* --- polls ------------------------------------------------------------------------------------- */

static void on_poll_due(void *ctx)
{
    struct polled *polled = ctx;

    polled->timer = NULL;
    if (!stop_if_unwanted(polled->reader))
        poll_range(polled);
}

static void poll_after(struct polled *polled, uint64_t wait_ms)
{
    polled->timer = delay_start(polled->reader->store->loop, wait_ms, on_poll_due, polled);
    /* Without memory for a timer the range waits for the next poke. */
}

/* Up to when the logs of all ranges are known. */
static uint64_t fresh_us(const struct cosmos_reader *reader)
{
    uint64_t fresh = reader->count > 0 ? UINT64_MAX : 0;

    for (unsigned i = 0; i < reader->count; i++)
        if (reader->polled[i]->fresh_us < fresh)
            fresh = reader->polled[i]->fresh_us;
    return fresh;
}

static void next_poll(struct polled *polled, bool at_once)
{
    uint64_t wait = cosmos_feed_interval_ms(polled->reader->feed);

    polled->failures = 0;
    if (at_once)
        wait = 0;
    else if (polled->again && wait > SPACING_MS)
        wait = SPACING_MS;
    polled->again = false;
    poll_after(polled, wait);
}

static void poll_failed(struct polled *polled, enum upstream_status status, unsigned retry_after_s)
{
    uint64_t asked_ms = (uint64_t)retry_after_s * 1000;

    polled->failures++;
    polled->again = false;
    cosmos_feed_failed(polled->reader->feed, status, retry_after_s);
    uint64_t wait = backoff_ms(polled->failures);
    poll_after(polled, wait > asked_ms ? wait : asked_ms);
}

static void take_page(struct polled *polled, struct http_answer *http)
{
    struct cosmos_reader *reader = polled->reader;
    struct cosmos_batch *batch;

    int r = cosmos_batch_parse(&http->body, http->body_start, http->body_len, reader->partition_key, &batch);
    if (r != 0) {
        poll_failed(polled, r == -ENOMEM ? UPSTREAM_NO_MEMORY : UPSTREAM_UNAVAILABLE, 0);
        return;
    }
    bool same = strcmp(http->etag, polled->place.etag) == 0;
    bool full = !same && (batch->documents >= COSMOS_FEED_ITEMS / 2 || http->body_len >= FULL_BYTES);
    memcpy(batch->range, polled->place.range, sizeof batch->range);
    memcpy(batch->etag_before, polled->place.etag, sizeof batch->etag_before);
    memcpy(batch->etag_after, http->etag, strlen(http->etag) + 1);
    cosmos_place_after_page(&polled->place, batch);
    if (!full)
        polled->fresh_us = polled->started_us;
    if (batch->count == 0) {
        cosmos_batch_unref(batch);
        batch = NULL;
    }
    cosmos_feed_publish(reader->feed, batch, &polled->place, fresh_us(reader));
    next_poll(polled, full);
}

static void on_poll(void *ctx, struct cosmos_answer *answer)
{
    struct polled *polled = ctx;
    struct cosmos_reader *reader = polled->reader;

    polled->polling = false;
    if (cosmos_says_no_container(answer))
        cosmos_account_forget_container(reader->store->account);
    switch (cosmos_feed_answer(answer)) {
    case COSMOS_FEED_PAGE: take_page(polled, answer->http); break;
    case COSMOS_FEED_NOTHING:
        if (answer->http->etag != NULL)
            memcpy(polled->place.etag, answer->http->etag, strlen(answer->http->etag) + 1);
        polled->fresh_us = polled->started_us;
        cosmos_feed_publish(reader->feed, NULL, &polled->place, fresh_us(reader));
        next_poll(polled, false);
        break;
    case COSMOS_FEED_GONE: relist(reader); break;
    case COSMOS_FEED_FAILED:
        /* The name may stand for another container by now. */
        if ((answer->http_status == 404 || answer->http_status == 410) && !reader->listing &&
            reader->timer == NULL)
            reader->timer = delay_start(reader->store->loop, 1000, on_list_due, reader);
        poll_failed(polled, answer->status != UPSTREAM_OK ? answer->status : UPSTREAM_UNAVAILABLE,
                    answer->retry_after_s);
        break;
    }
}

static void poll_range(struct polled *polled)
{
    struct cosmos_reader *reader = polled->reader;
    struct cosmos_request request;

    cosmos_feed_request(reader->store, &polled->place, 0, &polled->headers, &request);
    request.deadline_ms = clock_monotonic_ms() + CALL_MS;
    polled->call.retries = (struct retry_state){0};
    polled->started_us = clock_monotonic_us();
    polled->polling = true;
    int r = cosmos_call_start(&polled->call, reader->store, &request, on_poll, polled);
    if (r == 0)
        return;
    polled->polling = false;
    poll_failed(polled, r == -EBUSY ? UPSTREAM_OVERLOADED : UPSTREAM_NO_MEMORY, 1);
}

/* --- wishes ------------------------------------------------------------------------------------ */

/* Brings the next poll of a range forward. */
static void hurry(struct polled *polled)
{
    uint64_t since_ms = (clock_monotonic_us() - polled->started_us) / 1000;
    uint64_t spacing = polled->failures > 0 ? FAILED_SPACING_MS : SPACING_MS;

    if (polled->polling) {
        polled->again = true;
        return;
    }
    delay_stop(polled->timer);
    polled->timer = NULL;
    if (since_ms >= spacing)
        poll_range(polled);
    else
        poll_after(polled, spacing - since_ms);
}

static void start(struct cosmos_reader *reader)
{
    struct cosmos_store *store = reader->store;

    cosmos_account_view(store->account, &store->view);
    if (store->view.partition_key == NULL)
        return; /* whoever opens a follow has it read first, and looks again */
    reader->partition_key = store->view.partition_key;
    reader->running = true;
    list_ranges(reader);
}

static void look_for_early(struct cosmos_reader *reader);

static void on_early_due(void *ctx)
{
    struct cosmos_reader *reader = ctx;

    reader->early = NULL;
    look_for_early(reader);
}

static void look_for_early(struct cosmos_reader *reader)
{
    uint64_t now_us = clock_monotonic_us(), due_us;

    if (reader->early == NULL && cosmos_feed_early(reader->feed, now_us, &due_us))
        reader->early = delay_start(reader->store->loop, (due_us - now_us) / 1000 + 1, on_early_due, reader);
}

void cosmos_reader_look(struct cosmos_reader *reader)
{
    struct cosmos_feed_wish wish = cosmos_feed_wish(reader->feed);

    if (!wish.wanted || wish.poked_us == reader->poked_us)
        return;
    reader->poked_us = wish.poked_us;
    look_for_early(reader);
    if (!reader->running) {
        start(reader);
        return;
    }
    if (reader->count == 0 && reader->timer != NULL) {
        /* The list failed; whoever asks now does not wait for the end of the backoff. */
        delay_stop(reader->timer);
        reader->timer = NULL;
        list_ranges(reader);
    }
    for (unsigned i = 0; i < reader->count; i++)
        hurry(reader->polled[i]);
}
