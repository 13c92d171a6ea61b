#include "cosmos_feed.h"

#include "clock.h"
#include "json.h"
#include "percent.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_OPERATIONS = 100,    /* the service's limit (azure-protocols 1.7) */
    BATCH_BYTES = 1800 * 1000, /* the service takes 2 MB; some of it is left for its own framing */
    OPERATION_OVERHEAD =
        3 * 256 + 512, /* of an operation around its reading and its id: names, the device id thrice */
    RANDOM_ID_SIZE = 33,
    FAILED_DEPENDENCY = 424, /* of an operation that failed because another one of its batch did */
};

struct write_op {
    struct cosmos_op op;
    telemetry_stored_cb *done;
    void *ctx;

    char device_id[DEVICE_ID_MAX + 1];
    struct reading *readings;
    size_t count;
    int64_t ttl_s;
    int64_t first_stamp; /* microseconds; reading i was processed at first_stamp + i */

    size_t stored;    /* readings of the batches that are durable */
    size_t batch_end; /* the batch under way holds the readings from `stored` up to here */
    unsigned operations;
    bool single;    /* it is one upsert, not a batch */
    bool untrusted; /* the answer of a batch was none */
    char partition_key_header[64 + 2 * DEVICE_ID_MAX];
    struct buffer body; /* stays as it is over retries: the ids must not change */
    int64_t at;
    uint64_t asked_us; /* when the batch under way was sent first */
};

/* --- the request ------------------------------------------------------------------------------- */

static bool random_id(char out[RANDOM_ID_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char bytes[(RANDOM_ID_SIZE - 1) / 2];

    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    for (size_t i = 0; i < sizeof bytes; i++) {
        out[2 * i] = hex[bytes[i] >> 4];
        out[2 * i + 1] = hex[bytes[i] & 15];
    }
    out[RANDOM_ID_SIZE - 1] = '\0';
    return true;
}

static int append_item(struct write_op *write, size_t i, const char *random)
{
    return cosmos_item_append(&write->body, write->device_id, &write->readings[i], random,
                              write->first_stamp + (int64_t)i, write->ttl_s);
}

static int append_operation(struct write_op *write, size_t i, const char *random)
{
    const char *id = write->readings[i].id != NULL ? write->readings[i].id : random;
    struct buffer key = {0};

    buffer_append_text(&write->body, write->operations == 0 ? "[" : ",");
    buffer_append_text(&write->body, "{\"operationType\":\"Upsert\",\"id\":");
    buffer_append_json_string(&write->body, id, strlen(id));
    /* The service takes the key from the header; the npm emulator from each operation, as JSON in a string.
     */
    buffer_append_char(&key, '[');
    buffer_append_json_string(&key, write->device_id, strlen(write->device_id));
    buffer_append_char(&key, ']');
    buffer_append_text(&write->body, ",\"partitionKey\":");
    if (!key.failed)
        buffer_append_json_string(&write->body, key.data, key.len);
    int r = key.failed ? -ENOMEM : 0;
    buffer_free(&key);
    buffer_append_text(&write->body, ",\"resourceBody\":");
    if (r == 0)
        r = append_item(write, i, random);
    buffer_append_char(&write->body, '}');
    write->operations++;
    return r;
}

/* The end of the batch that begins at write->stored. */
static size_t batch_end(const struct write_op *write)
{
    size_t bytes = 0, i = write->stored;

    for (; i < write->count && i - write->stored < BATCH_OPERATIONS; i++) {
        const struct reading *reading = &write->readings[i];
        bytes += reading->data_len + OPERATION_OVERHEAD + (reading->id != NULL ? 2 * strlen(reading->id) : 0);
        if (bytes > BATCH_BYTES && i > write->stored)
            break;
    }
    return i;
}

/* A batch may not name an item twice; what counts is the last. */
static bool superseded(const struct write_op *write, size_t i)
{
    if (write->readings[i].id == NULL)
        return false;
    for (size_t later = i + 1; later < write->batch_end; later++)
        if (write->readings[later].id != NULL &&
            strcmp(write->readings[i].id, write->readings[later].id) == 0)
            return true;
    return false;
}

static int build_batch(struct write_op *write)
{
    char random[RANDOM_ID_SIZE];

    write->batch_end = batch_end(write);
    write->operations = 0;
    write->single = write->count == 1;
    buffer_clear(&write->body);
    for (size_t i = write->stored; i < write->batch_end; i++) {
        if (superseded(write, i))
            continue;
        if (!random_id(random))
            return -ENOMEM;
        int r = write->single ? append_item(write, i, random) : append_operation(write, i, random);
        if (r != 0)
            return r;
    }
    if (!write->single)
        buffer_append_char(&write->body, ']');
    return write->body.failed ? -ENOMEM : 0;
}

/* --- the answer -------------------------------------------------------------------------------- */

static struct json_slice answer_text(const struct http_answer *http)
{
    return json_root(http->body.data + http->body_start, http->body_len);
}

static bool answer_valid(const struct http_answer *http)
{
    return json_valid(http->body.data + http->body_start, http->body_len, COSMOS_DEPTH_MAX);
}

static unsigned small_number(struct json_slice value)
{
    int64_t n;
    return json_int64(value, &n) && n >= 0 && n < 1000000 ? (unsigned)n : 0;
}

/* A batch is stored when every operation says so. Else the operation that is to blame decides, as if its
 * status was the answer's; the others only say that it failed. */
static void judge_batch(void *ctx, const struct http_answer *http, struct cosmos_verdict *verdict)
{
    struct write_op *write = ctx;
    unsigned results = 0;
    struct json_slice culprit = {0};
    bool failed = false;

    if (verdict->status < 200 || verdict->status > 299)
        return;
    write->untrusted = true;
    if (!answer_valid(http) || json_kind(answer_text(http)) != JSON_ARRAY)
        return;
    struct json_iter it = json_iter(answer_text(http));
    for (; json_next(&it); results++) {
        unsigned status = small_number(json_member(it.value, "statusCode"));
        if (status >= 200 && status <= 299)
            continue;
        failed = true;
        if (culprit.text == NULL && status >= 400 && status != FAILED_DEPENDENCY)
            culprit = it.value;
    }
    if (culprit.text != NULL) {
        write->untrusted = false;
        verdict->status = small_number(json_member(culprit, "statusCode"));
        verdict->substatus = small_number(json_member(culprit, "subStatusCode"));
        struct json_slice wait = json_member(culprit, "retryAfterMilliseconds");
        if (json_kind(wait) == JSON_NUMBER)
            verdict->retry_after_ms = small_number(wait);
    } else if (!failed && results == write->operations) {
        write->untrusted = false;
    }
}

/* Whether the answer of an upsert is the service's: it sends the item back. Anybody between us can say 200.
 */
static bool upsert_trusted(const struct http_answer *http)
{
    if (http->body_len == 0)
        return http->status == 201;
    return (http->status == 200 || http->status == 201) && answer_valid(http) &&
           json_kind(answer_text(http)) == JSON_OBJECT;
}

/* The second in which the last reading was stored, as the service says it; else by our own clock. */
static int64_t stored_at(const struct write_op *write, const struct http_answer *http)
{
    int64_t at;

    if (!answer_valid(http))
        return clock_wall_s();
    struct json_slice item = answer_text(http);
    if (!write->single) {
        struct json_iter it = json_iter(item);
        while (json_next(&it))
            item = json_member(it.value, "resourceBody");
    }
    return json_int64(json_member(item, "_ts"), &at) && at > 0 ? at : clock_wall_s();
}

/* Tells those who follow the device. What the service made of the readings is looked at only for them. */
static void tell_feed(const struct write_op *write, const struct http_answer *http)
{
    const struct reading *readings[BATCH_OPERATIONS];
    struct json_slice items[BATCH_OPERATIONS];
    struct cosmos_batch *early = NULL;
    size_t count = 0;

    if (!cosmos_feed_follows_device(write->op.store->names.feed, write->device_id))
        return;
    struct json_slice text = answer_valid(http) ? answer_text(http) : (struct json_slice){0};
    struct json_iter results = json_iter(text);
    for (size_t i = write->stored; i < write->batch_end; i++) {
        if (superseded(write, i) || (!write->single && !json_next(&results)))
            continue;
        readings[count] = &write->readings[i];
        items[count++] = write->single ? text : json_member(results.value, "resourceBody");
    }
    if (count > 0 && json_kind(items[0]) == JSON_OBJECT)
        early = cosmos_batch_of_writes(write->device_id, readings, items, count);
    cosmos_feed_written(write->op.store, early, write->asked_us);
}

/* --- the op ------------------------------------------------------------------------------------ */

static void write_next(struct write_op *write);

static void on_written(void *ctx, struct cosmos_answer *answer)
{
    struct write_op *write = ctx;

    if (answer->status != UPSTREAM_OK) {
        cosmos_op_end_answer(&write->op, answer);
        return;
    }
    if (write->untrusted || (write->single && !upsert_trusted(answer->http))) {
        cosmos_op_end(&write->op, UPSTREAM_UNAVAILABLE);
        return;
    }
    tell_feed(write, answer->http);
    write->stored = write->batch_end;
    if (write->stored < write->count) {
        write_next(write);
        return;
    }
    write->at = stored_at(write, answer->http);
    cosmos_op_end(&write->op, UPSTREAM_OK);
}

static void write_next(struct write_op *write)
{
    const struct cosmos_store *store = write->op.store;

    write->asked_us = clock_monotonic_us();
    if (build_batch(write) != 0) {
        cosmos_op_end(&write->op, UPSTREAM_NO_MEMORY);
        return;
    }
    struct cosmos_request request = {
        .operation = write->single ? "upsert" : "batch",
        .verb = "POST",
        .resource_type = "docs",
        .resource_link = store->names.container_link,
        .path = store->names.docs_path,
        .write = true,
        .headers = {"Content-Type: application/json", write->partition_key_header,
                    write->single ? "x-ms-documentdb-is-upsert: True" : "x-ms-cosmos-is-batch-request: True",
                    write->single ? NULL : "x-ms-cosmos-batch-atomic: True"},
        .body = write->body.data,
        .body_len = write->body.len,
        .max_body = COSMOS_ANSWER_MAX,
        .judge = write->single ? NULL : judge_batch,
    };
    write->untrusted = false;
    cosmos_op_call(&write->op, &request, on_written);
}

static void write_go(struct cosmos_op *op)
{
    struct write_op *write = (struct write_op *)op;

    write->first_stamp = cosmos_account_stamp(op->store->account, clock_wall_us(), write->count);
    write_next(write);
}

static void write_end(struct cosmos_op *op)
{
    struct write_op *write = (struct write_op *)op;
    write->done(write->ctx, &op->result, write->stored, write->at);
}

static void write_release(struct cosmos_op *op)
{
    struct write_op *write = (struct write_op *)op;

    buffer_free(&write->body);
    free(write->readings);
    free(write);
}

static const struct cosmos_op_kind write_kind = {.go = write_go, .end = write_end, .release = write_release};

struct operation *cosmos_write(struct telemetry_store *store, const struct telemetry_write *wanted,
                               telemetry_stored_cb *done, void *ctx)
{
    struct write_op *write = calloc(1, sizeof *write);
    if (write == NULL)
        return NULL;
    write->done = done;
    write->ctx = ctx;
    write->count = wanted->count;
    write->ttl_s = wanted->ttl_s;
    snprintf(write->device_id, sizeof write->device_id, "%s", wanted->device_id);
    write->readings = calloc(wanted->count, sizeof *write->readings);
    if (write->readings == NULL ||
        cosmos_partition_key_header(write->partition_key_header, sizeof write->partition_key_header,
                                    write->device_id) != 0) {
        write_release(&write->op);
        return NULL;
    }
    memcpy(write->readings, wanted->readings, wanted->count * sizeof *write->readings);
    return cosmos_op_begin(&write->op, &write_kind, (struct cosmos_store *)store, wanted->deadline_ms,
                           UPSTREAM_OK);
}
