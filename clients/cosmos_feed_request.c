#include "cosmos_feed.h"

#include "clock.h"
#include "time_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    JOIN_MS = 15 * 1000, /* how long a page that several may wait for can take, retries included */
    /* As which statuses the answers stand that the rules of retries do not know. */
    SAYS_NOTHING = 204,
    SAYS_GONE = 412,
    /* The filter by T0 is ours. The service's own only saves pages, and is good to some five seconds. */
    SINCE_MARGIN_S = 10,
};

bool cosmos_etag_valid(const char *etag)
{
    size_t len = 0;

    for (; etag[len] != '\0'; len++)
        if (len + 1 == COSMOS_ETAG_SIZE || etag[len] < ' ' || etag[len] > '~')
            return false;
    return len > 0;
}

/* 304 says that nothing is new, and a range that is gone is asked for no more, whatever the time. */
static void judge(void *ctx, const struct http_answer *http, struct cosmos_verdict *verdict)
{
    if (verdict->status == 304)
        verdict->status = SAYS_NOTHING;
    else if (verdict->status == 410 && (verdict->substatus == 1002 || verdict->substatus == 1007 ||
                                        verdict->substatus == 1008 || verdict->substatus == 0))
        verdict->status = SAYS_GONE;
}

void cosmos_feed_request(const struct cosmos_store *store, const struct cosmos_place *place, int64_t since,
                         struct cosmos_feed_headers *headers, struct cosmos_request *ret_request)
{
    char date[TIME_RFC1123_SIZE];

    snprintf(headers->range, sizeof headers->range, "x-ms-documentdb-partitionkeyrangeid: %s", place->range);
    snprintf(headers->max_items, sizeof headers->max_items, "x-ms-max-item-count: %d", COSMOS_FEED_ITEMS);
    if (place->etag[0] != '\0') {
        snprintf(headers->from, sizeof headers->from, "If-None-Match: %s", place->etag);
    } else {
        time_format_rfc1123(since > SINCE_MARGIN_S ? since - SINCE_MARGIN_S : 0, date);
        snprintf(headers->from, sizeof headers->from, "If-Modified-Since: %s", date);
    }
    *ret_request = (struct cosmos_request){
        .operation = "feed",
        .verb = "GET",
        .resource_type = "docs",
        .resource_link = store->names.container_link,
        .path = store->names.docs_path,
        .headers = {"A-IM: Incremental Feed", headers->range, headers->from, headers->max_items},
        .max_body = COSMOS_ANSWER_MAX,
        .judge = judge,
    };
}

enum cosmos_feed_said cosmos_feed_answer(const struct cosmos_answer *answer)
{
    if (answer->http_status == SAYS_GONE)
        return COSMOS_FEED_GONE;
    if (answer->status != UPSTREAM_OK)
        return COSMOS_FEED_FAILED;
    const struct http_answer *http = answer->http;
    if (http->etag != NULL && !cosmos_etag_valid(http->etag))
        return COSMOS_FEED_FAILED;
    if (http->status == 304)
        return COSMOS_FEED_NOTHING;
    /* A page that nothing could follow is of no use. */
    return http->status == 200 && http->etag != NULL ? COSMOS_FEED_PAGE : COSMOS_FEED_FAILED;
}

/* --- a page that is shared --------------------------------------------------------------------- */

struct cosmos_feed_read {
    struct cosmos_feed_read *next, **link;
    struct cosmos_store *store;
    struct flight *flight;
    struct cosmos_call call;
    struct cosmos_feed_headers headers;
};

struct start {
    struct cosmos_store *store;
    const struct cosmos_place *place;
    int64_t since;
};

static void land(struct cosmos_feed_read *read, enum upstream_status status, const char *text, size_t len,
                 const char *etag)
{
    struct flight *flight = read->flight;
    struct upstream_result result = {.status = status};

    *read->link = read->next;
    if (read->next != NULL)
        read->next->link = read->link;
    free(read);
    flight_land(flight, &result, text, len, etag);
}

static void on_answer(void *ctx, struct cosmos_answer *answer)
{
    struct cosmos_feed_read *read = ctx;
    const struct http_answer *http = answer->http;

    if (cosmos_says_no_container(answer))
        cosmos_account_forget_container(read->store->account);
    switch (cosmos_feed_answer(answer)) {
    case COSMOS_FEED_PAGE:
        land(read, UPSTREAM_OK, http->body.data + http->body_start, http->body_len, http->etag);
        break;
    case COSMOS_FEED_NOTHING: land(read, UPSTREAM_OK, NULL, 0, http->etag); break;
    case COSMOS_FEED_GONE: land(read, UPSTREAM_NOT_FOUND, NULL, 0, NULL); break;
    case COSMOS_FEED_FAILED:
        land(read, answer->status != UPSTREAM_OK ? answer->status : UPSTREAM_UNAVAILABLE, NULL, 0, NULL);
        break;
    }
}

static bool start_read(void *ctx, struct flight *flight, const char *key)
{
    const struct start *start = ctx;
    struct cosmos_request request;
    struct cosmos_feed_read *read = calloc(1, sizeof *read);

    if (read == NULL)
        return false;
    read->store = start->store;
    read->flight = flight;
    cosmos_feed_request(start->store, start->place, start->since, &read->headers, &request);
    request.deadline_ms = clock_monotonic_ms() + JOIN_MS;
    if (cosmos_call_start(&read->call, start->store, &request, on_answer, read) != 0) {
        free(read);
        return false;
    }
    read->next = start->store->feed_reads;
    read->link = &start->store->feed_reads;
    if (read->next != NULL)
        read->next->link = &read->next;
    start->store->feed_reads = read;
    return true;
}

struct operation *cosmos_feed_join(struct cosmos_store *store, const struct cosmos_place *place,
                                   int64_t since, flight_cb *done, void *ctx)
{
    struct start start = {.store = store, .place = place, .since = since};
    char key[64 + COSMOS_RANGE_ID_SIZE + COSMOS_ETAG_SIZE];

    if (place->etag[0] != '\0')
        snprintf(key, sizeof key, "cosmos:feed:%s:%s", place->range, place->etag);
    else
        snprintf(key, sizeof key, "cosmos:feed:%s since %lld", place->range, (long long)since);
    return flight_join(store->names.flights, store->mailbox, key, 0, start_read, &start, done, ctx);
}

void cosmos_feed_joins_end(struct cosmos_store *store)
{
    while (store->feed_reads != NULL) {
        cosmos_call_cancel(&store->feed_reads->call);
        land(store->feed_reads, UPSTREAM_UNAVAILABLE, NULL, 0, NULL);
    }
}
