/*
 * cosmos_feed_harness.h - a container with a change feed for the tests of cosmos_follow: a log for each
 * range, in which an item stands with its newest version only, splits, faults; and a consumer that writes
 * down what a follow tells it.
 */
#ifndef COSMOS_FEED_HARNESS_H
#define COSMOS_FEED_HARNESS_H

#include "cosmos_harness.h"

#include "json.h"

#define ITEMS_MAX  8192
#define RANGES_MAX 8
#define TOLD_MAX   8192

struct item {
    unsigned device; /* "d<n>" */
    unsigned id;
    unsigned value; /* data is {"v":value} */
    int64_t ts;
    long lsn;
    bool gone; /* replaced by a newer version */
};

struct fake_range {
    char id[8];
    char parents[32]; /* JSON array */
    bool gone;
    unsigned modulus, rest; /* holds the devices with n % modulus == rest */
};

struct container {
    struct item items[ITEMS_MAX];
    size_t count;
    long lsn;
    int64_t now; /* seconds that items are stored in; 0: the clock's */
    struct fake_range ranges[RANGES_MAX];
    unsigned range_count;
    unsigned page_items; /* at most so many documents in a page, but for a batch's */
    unsigned feed_requests, list_requests, queries, answered_gone;
    bool stuck;           /* the feed does not show what is stored */
    unsigned fault_every; /* every so many requests for the feed fail */
    unsigned fault_status;
    struct buffer body;
    char headers[256];
};

static inline const char *header_of(const char *request, const char *name)
{
    static char value[512];
    char line[128];
    snprintf(line, sizeof line, "\r\n%s: ", name);
    const char *at = strcasestr(request, line);
    if (at == NULL)
        return NULL;
    at += strlen(line);
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

static inline void put_item(struct container *c, const struct item *item)
{
    buffer_printf(&c->body,
                  "{\"id\":\"i%u\",\"deviceId\":\"d%u\",\"data\":{\"v\":%u},\"_ts\":%lld,\"_lsn\":%ld,"
                  "\"_etag\":\"\\\"%ld-%u\\\"\"}",
                  item->id, item->device, item->value, (long long)item->ts, item->lsn, item->lsn,
                  item->value);
}

static inline void answer_list(struct container *c, struct step *step)
{
    unsigned count = 0;
    c->list_requests++;
    buffer_append_text(&c->body, "{\"_rid\":\"rid\",\"PartitionKeyRanges\":[");
    for (unsigned i = 0; i < c->range_count; i++)
        if (!c->ranges[i].gone)
            buffer_printf(&c->body, "%s{\"id\":\"%s\",\"parents\":%s}", count++ > 0 ? "," : "",
                          c->ranges[i].id, c->ranges[i].parents);
    buffer_printf(&c->body, "],\"_count\":%u}", count);
    step->status = 200;
}

static inline void answer_feed(struct container *c, const char *request, struct step *step)
{
    const struct fake_range *range = NULL;
    const char *id = header_of(request, "x-ms-documentdb-partitionkeyrangeid");

    c->feed_requests++;
    assert_non_null(id);
    assert_string_equal(strcasestr(request, "A-IM: ") != NULL ? "there" : "missing", "there");
    for (unsigned i = 0; i < c->range_count; i++)
        if (strcmp(c->ranges[i].id, id) == 0)
            range = &c->ranges[i];
    if (c->fault_every > 0 && c->feed_requests % c->fault_every == 0) {
        step->status = c->fault_status;
        step->headers = "x-ms-retry-after-ms: 5\r\n";
        return;
    }
    if (range == NULL || range->gone) {
        c->answered_gone++;
        step->status = 410;
        step->headers = "x-ms-substatus: 1002\r\n";
        return;
    }
    long after = 0;
    int64_t since = 0;
    const char *etag = header_of(request, "If-None-Match");
    if (etag != NULL) {
        after = strcmp(etag, "*") == 0 ? c->lsn : strtol(etag + 1, NULL, 10);
    } else {
        const char *date = header_of(request, "If-Modified-Since");
        struct tm tm = {0};
        assert_non_null(date);
        assert_non_null(strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm));
        since = (int64_t)timegm(&tm);
    }
    unsigned count = 0;
    long last = 0;
    buffer_append_text(&c->body, "{\"_rid\":\"rid\",\"Documents\":[");
    for (size_t i = 0; i < c->count && !c->stuck; i++) {
        const struct item *item = &c->items[i];
        if (item->gone || item->lsn <= after || item->ts < since ||
            item->device % range->modulus != range->rest)
            continue;
        if (count >= c->page_items && item->lsn != last)
            break;
        if (count++ > 0)
            buffer_append_char(&c->body, ',');
        put_item(c, item);
        last = item->lsn;
    }
    buffer_printf(&c->body, "],\"_count\":%u}", count);
    step->status = count > 0 ? 200 : 304;
    if (count == 0)
        buffer_clear(&c->body);
    snprintf(c->headers, sizeof c->headers, "ETag: \"%ld\"\r\nx-ms-request-charge: 2\r\n",
             count > 0  ? last
             : c->stuck ? after
                        : c->lsn);
    step->headers = c->headers;
}

static inline int64_t parameter(const char *request, const char *name)
{
    char text[64];
    snprintf(text, sizeof text, "\"name\":\"%s\",\"value\":", name);
    const char *at = strstr(request, text);
    assert_non_null(at);
    return strtoll(at + strlen(text), NULL, 10);
}

/* The query of a range of one device; its continuation is how many rows were given out. */
static inline void answer_query(struct container *c, const char *request, struct step *step)
{
    const char *device_at = strstr(request, "\"name\":\"@deviceId\",\"value\":\"d");
    assert_non_null(device_at);
    unsigned device = (unsigned)strtoul(device_at + 29, NULL, 10);
    int64_t from = parameter(request, "@from"), to = parameter(request, "@to");
    const char *continuation = header_of(request, "x-ms-continuation");
    unsigned skip = continuation != NULL ? (unsigned)strtoul(continuation, NULL, 10) : 0;
    const char *most = header_of(request, "x-ms-max-item-count");
    unsigned max = (unsigned)strtoul(most, NULL, 10), row = 0, count = 0;
    bool more = false;

    if (max > c->page_items)
        max = c->page_items;
    c->queries++;
    buffer_append_text(&c->body, "{\"Documents\":[");
    for (size_t i = 0; i < c->count; i++) {
        const struct item *item = &c->items[i];
        if (item->gone || item->device != device || item->ts <= from || item->ts > to || row++ < skip)
            continue;
        if (count == max) {
            more = true;
            break;
        }
        buffer_printf(&c->body, "%s{\"data\":{\"v\":%u},\"timestamp\":%lld}", count++ > 0 ? "," : "",
                      item->value, (long long)item->ts);
    }
    buffer_printf(&c->body, "],\"_count\":%u}", count);
    step->status = 200;
    snprintf(c->headers, sizeof c->headers, "x-ms-continuation: %u\r\n", skip + count);
    step->headers = more ? c->headers : NULL;
}

/* Stores the items of an upsert or of a batch, and answers with what became of them. */
static inline void answer_write(struct container *c, const char *request, struct step *step)
{
    const char *body = strstr(request, "\r\n\r\n") + 4;
    struct json_slice root = json_root(body, strlen(body));
    bool batch = json_kind(root) == JSON_ARRAY;
    struct json_iter it = json_iter(root);
    unsigned n = 0;

    c->lsn++;
    if (batch)
        buffer_append_char(&c->body, '[');
    while (batch ? json_next(&it) : n == 0) {
        struct json_slice item = batch ? json_member(it.value, "resourceBody") : root;
        int64_t value;
        assert_true(json_int64(json_path(item, "data.v"), &value));
        unsigned device = (unsigned)strtoul(json_member(item, "deviceId").text + 2, NULL, 10);
        c->items[c->count] = (struct item){.device = device,
                                           .id = device * 100000 + (unsigned)value,
                                           .value = (unsigned)value,
                                           .ts = (int64_t)time(NULL),
                                           .lsn = c->lsn};
        if (batch)
            buffer_printf(&c->body, "%s{\"statusCode\":201,\"resourceBody\":", n > 0 ? "," : "");
        put_item(c, &c->items[c->count++]);
        if (batch)
            buffer_append_char(&c->body, '}');
        n++;
    }
    if (batch)
        buffer_append_char(&c->body, ']');
    step->status = batch ? 200 : 201;
}

static inline bool container_serve(void *ctx, const char *request, struct step *step)
{
    struct container *c = ctx;

    buffer_clear(&c->body);
    if (strncmp(request, "GET /dbs/db/colls/c/pkranges ", 29) == 0)
        answer_list(c, step);
    else if (strncmp(request, "GET /dbs/db/colls/c/docs ", 25) == 0)
        answer_feed(c, request, step);
    else if (strcasestr(request, "x-ms-documentdb-isquery: True") != NULL)
        answer_query(c, request, step);
    else if (strncmp(request, "POST /dbs/db/colls/c/docs ", 26) == 0)
        answer_write(c, request, step);
    else
        return false;
    step->body = c->body.len > 0 ? buffer_terminate(&c->body) : "";
    return true;
}

/* --- what writers do --------------------------------------------------------------------------- */

static inline void container_init(struct container *c)
{
    memset(c, 0, sizeof *c);
    c->lsn = 100;
    c->page_items = 1000;
    c->ranges[0] = (struct fake_range){.id = "0", .parents = "[]", .modulus = 1};
    c->range_count = 1;
}

/* Stores `n` items of one device in one transaction, with the values from `value` on. */
static inline void store_items(struct container *c, unsigned device, unsigned value, unsigned n)
{
    c->lsn++;
    for (unsigned i = 0; i < n; i++) {
        assert_true(c->count < ITEMS_MAX);
        c->items[c->count++] = (struct item){.device = device,
                                             .id = device * 100000 + value + i,
                                             .value = value + i,
                                             .ts = c->now > 0 ? c->now : (int64_t)time(NULL),
                                             .lsn = c->lsn};
    }
}

/* Replaces the item that was stored with `value` by one with another value. */
static inline void replace_item(struct container *c, unsigned device, unsigned value, unsigned by)
{
    for (size_t i = 0; i < c->count; i++) {
        struct item *item = &c->items[i];
        if (item->device == device && item->value == value && !item->gone) {
            struct item newer = *item;
            item->gone = true;
            newer.value = by;
            newer.lsn = ++c->lsn;
            newer.ts = (int64_t)time(NULL);
            c->items[c->count++] = newer;
            return;
        }
    }
    fail_msg("no such item");
}

static inline void split_range(struct container *c, const char *id, const char *a, const char *b)
{
    struct fake_range *parent = NULL;
    for (unsigned i = 0; i < c->range_count; i++)
        if (strcmp(c->ranges[i].id, id) == 0)
            parent = &c->ranges[i];
    assert_non_null(parent);
    parent->gone = true;
    for (unsigned k = 0; k < 2; k++) {
        struct fake_range *child = &c->ranges[c->range_count++];
        snprintf(child->id, sizeof child->id, "%s", k == 0 ? a : b);
        size_t known = strlen(parent->parents);
        snprintf(child->parents, sizeof child->parents, "%.*s%s\"%s\"]", (int)known - 1, parent->parents,
                 known > 2 ? "," : "", id);
        child->modulus = parent->modulus * 2;
        child->rest = parent->rest + k * parent->modulus;
    }
    c->lsn++;
}

/* --- a consumer -------------------------------------------------------------------------------- */

struct told {
    unsigned device, value;
};

struct consumer {
    struct harness *h;
    struct telemetry_follow *follow;
    struct operation *opening;
    bool opened;
    struct upstream_result result;
    struct told told[TOLD_MAX];
    size_t count;
    char position[TELEMETRY_POSITION_MAX + 1]; /* after the last reading */
    size_t room;                               /* readings that are taken from now on */
    unsigned refused;
    unsigned expired, slow;
    size_t close_at; /* closes the follow within the callback of that reading; 0: never */
};

static inline void keep_position(struct consumer *k)
{
    struct buffer text = {0};
    assert_int_equal(k->follow->ops->position(k->follow, &text), 0);
    assert_non_null(buffer_terminate(&text));
    assert_true(text.len <= TELEMETRY_POSITION_MAX);
    snprintf(k->position, sizeof k->position, "%s", text.data);
    buffer_free(&text);
}

static inline bool on_reading(void *ctx, const struct telemetry_change *change)
{
    struct consumer *k = ctx;

    if (k->room == 0) {
        k->refused++;
        return false;
    }
    k->room--;
    assert_true(k->count < TOLD_MAX);
    struct json_slice data = {change->data, change->data_len};
    int64_t value;
    assert_true(json_int64(json_member(data, "v"), &value));
    assert_int_equal(change->device_id[0], 'd');
    k->told[k->count++] =
        (struct told){.device = (unsigned)strtoul(change->device_id + 1, NULL, 10), .value = (unsigned)value};
    keep_position(k);
    if (k->close_at > 0 && k->count == k->close_at) {
        k->follow->ops->close(k->follow);
        k->follow = NULL;
    }
    return true;
}

static inline void on_resync(void *ctx, enum telemetry_resync why)
{
    struct consumer *k = ctx;
    if (why == TELEMETRY_RESYNC_EXPIRED)
        k->expired++;
    else
        k->slow++;
    keep_position(k);
}

static const struct telemetry_follow_events consumer_events = {.reading = on_reading, .resync = on_resync};

static inline void on_followed(void *ctx, const struct upstream_result *result,
                               struct telemetry_follow *follow)
{
    struct consumer *k = ctx;
    k->opening = NULL;
    k->opened = true;
    k->result = *result;
    k->follow = follow;
    assert_true((follow != NULL) == (result->status == UPSTREAM_OK));
}

static inline void consumer_init(struct consumer *k, struct harness *h)
{
    memset(k, 0, sizeof *k);
    k->h = h;
    k->room = SIZE_MAX;
}

static inline void consumer_ask(struct consumer *k, struct telemetry_store *store, const char *const *devices,
                                size_t count, bool from_now, int64_t after, const char *position)
{
    const struct telemetry_follow_request request = {.device_ids = devices,
                                                     .count = count,
                                                     .from_now = from_now,
                                                     .after = after,
                                                     .position = position,
                                                     .deadline_ms = in_ms(5000)};
    k->opened = false;
    k->follow = NULL;
    k->opening = store->ops->follow(store, &request, on_followed, k);
    assert_non_null(k->opening);
}

static inline void consumer_begin(struct consumer *k)
{
    while (!k->opened)
        uv_run(&k->h->loop, UV_RUN_ONCE);
    assert_int_equal(k->result.status, UPSTREAM_OK);
    keep_position(k);
    k->follow->ops->begin(k->follow, &consumer_events, k);
}

/* Opens and begins, and waits for neither more nor less than that. */
static inline void consumer_open(struct consumer *k, const char *const *devices, size_t count, bool from_now,
                                 int64_t after, const char *position)
{
    consumer_ask(k, k->h->store, devices, count, from_now, after, position);
    consumer_begin(k);
}

static inline void consumer_close(struct consumer *k)
{
    if (k->follow != NULL)
        k->follow->ops->close(k->follow);
    k->follow = NULL;
}

static inline void run_for(struct harness *h, unsigned ms)
{
    uint64_t until = in_ms(ms);
    uv_timer_t timer;
    uv_timer_init(&h->loop, &timer);
    uv_timer_start(&timer, (uv_timer_cb)uv_stop, ms, ms);
    while (clock_monotonic_ms() < until)
        uv_run(&h->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&h->loop, UV_RUN_NOWAIT);
}

/* Runs until so many readings came, and a little longer, so that one too many shows. */
static inline void wait_told(struct consumer *k, size_t count)
{
    uint64_t until = in_ms(count > 0 ? 5000 : 0);
    while (k->count < count && clock_monotonic_ms() < until)
        run_for(k->h, 5);
    run_for(k->h, 60);
}

static inline void assert_told(const struct consumer *k, const struct told *expected, size_t count)
{
    assert_int_equal(k->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(k->told[i].device, expected[i].device);
        assert_int_equal(k->told[i].value, expected[i].value);
    }
}

#endif
