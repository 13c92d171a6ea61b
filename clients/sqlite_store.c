/*
 * The embedded database as a telemetry store: pages built straight from the rows.
 */
#include "sqlite_feed.h"

#include <stdlib.h>
#include <string.h>

/* A page ends early where it would grow past this many bytes; `next` then goes on after its last reading. */
#define PAGE_BYTES_MAX (16U * 1024 * 1024)

/* A page's first allocation: room for `limit` readings of this size, at most so much; most pages never grow.
 */
#define READING_USUAL         128U
#define PAGE_FIRST_ALLOCATION (256U * 1024)

#define LIMIT_MAX 10000U

/* Two 63-bit numbers, a hyphen and a NUL. */
#define POSITION_SIZE 40

struct sqlite_store {
    struct telemetry_store store;
    struct sqlite_db *db;
    uv_loop_t *loop;
    struct mailbox *mailbox;
    struct sqlite_node *node;
};

struct range_read {
    struct sqlite_read read;
    telemetry_page_cb *done;
    void *ctx;
    enum sqlite_query query;
    int64_t after, until, seq; /* ?2, ?3 and ?6 of the query */
    unsigned limit;
    struct telemetry_page page;
    char next[POSITION_SIZE];
    char device_id[];
};

struct latest_read {
    struct sqlite_read read;
    telemetry_latest_cb *done;
    void *ctx;
    bool found;
    struct buffer data;
    int64_t timestamp;
    char device_id[];
};

/* --- numbers and positions --------------------------------------------------------------------- */

/* Writes a number and returns its length; out has room for 20 characters. */
static size_t put_integer(char *out, int64_t value)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
        "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
        "8081828384858687888990919293949596979899";
    char digits[20];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    for (; rest >= 100; rest /= 100) {
        at -= 2;
        memcpy(digits + at, pairs + rest % 100 * 2, 2);
    }
    if (rest >= 10) {
        at -= 2;
        memcpy(digits + at, pairs + rest * 2, 2);
    } else {
        digits[--at] = (char)('0' + rest);
    }
    if (value < 0)
        digits[--at] = '-';
    memcpy(out, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

/* "<ts>-<seq>" of the reading that the next page begins with. */
static void put_position(char out[POSITION_SIZE], int64_t ts, int64_t seq)
{
    size_t len = put_integer(out, ts);
    out[len++] = '-';
    len += put_integer(out + len, seq);
    out[len] = '\0';
}

/* A number as put_integer() writes it, not negative: no sign, no leading zero, no overflow. Returns what
 * follows or NULL. */
static const char *take_integer(const char *text, int64_t *ret)
{
    const char *start = text;
    int64_t value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *text - '0', &value))
            return NULL;
    if (text == start || (*start == '0' && text - start > 1))
        return NULL;
    *ret = value;
    return text;
}

static bool take_position(const char *text, int64_t *ret_ts, int64_t *ret_seq)
{
    int64_t ts, seq;
    text = take_integer(text, &ts);
    if (text == NULL || *text != '-')
        return false;
    text = take_integer(text + 1, &seq);
    if (text == NULL || *text != '\0')
        return false;
    *ret_ts = ts;
    *ret_seq = seq;
    return true;
}

/* --- a page ------------------------------------------------------------------------------------ */

static void append_row(struct buffer *text, const void *data, size_t len, int64_t ts)
{
    static const char head[] = "{\"data\":", middle[] = ",\"timestamp\":";
    enum { head_len = sizeof head - 1, middle_len = sizeof middle - 1 };

    if (buffer_reserve(text, len + head_len + middle_len + 20 + 2) != 0)
        return;
    char *at = text->data + text->len;
    memcpy(at, head, head_len);
    at += head_len;
    memcpy(at, data, len);
    at += len;
    memcpy(at, middle, middle_len);
    at += middle_len;
    at += put_integer(at, ts);
    *at++ = '}';
    *at++ = ','; /* the last one becomes the bracket */
    text->len = (size_t)(at - text->data);
}

static int collect_rows(struct range_read *range, sqlite3_stmt *statement)
{
    struct telemetry_page *page = &range->page;
    int rc;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        int64_t ts = sqlite3_column_int64(statement, 0);
        const void *data = sqlite3_column_blob(statement, 2);
        size_t len = (size_t)sqlite3_column_bytes(statement, 2);
        if (data == NULL)
            return len == 0 ? SQLITE_CORRUPT : SQLITE_NOMEM; /* a reading is never empty */
        if (page->count == range->limit || (page->count > 0 && page->text.len + len > PAGE_BYTES_MAX)) {
            put_position(range->next, ts, sqlite3_column_int64(statement, 1));
            page->next = range->next;
            return SQLITE_OK;
        }
        append_row(&page->text, data, len, ts);
        page->count++;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int run_range(struct sqlite_read *read, struct sqlite_reader *reader)
{
    struct range_read *range = (struct range_read *)read;
    struct buffer *text = &range->page.text;
    size_t room = TELEMETRY_PAGE_HEADROOM + (size_t)range->limit * READING_USUAL;
    if (buffer_reserve(text, room < PAGE_FIRST_ALLOCATION ? room : PAGE_FIRST_ALLOCATION) != 0)
        return SQLITE_NOMEM;
    text->len = TELEMETRY_PAGE_HEADROOM;
    buffer_append_char(text, '[');

    sqlite3_stmt *statement = reader->statements[range->query];
    sqlite3_bind_text(statement, 1, range->device_id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, range->after);
    sqlite3_bind_int64(statement, 3, range->until);
    sqlite3_bind_int64(statement, 4, clock_now(&read->db->clock));
    sqlite3_bind_int64(statement, 5, (int64_t)range->limit + 1);
    if (range->query == QUERY_ASCENDING_FROM || range->query == QUERY_DESCENDING_FROM)
        sqlite3_bind_int64(statement, 6, range->seq);
    int rc = collect_rows(range, statement);
    if (rc != SQLITE_OK)
        return rc;

    if (range->page.count == 0)
        buffer_append_char(text, ']');
    else if (!text->failed)
        text->data[text->len - 1] = ']';
    if (text->failed)
        return SQLITE_NOMEM;
    range->page.start = TELEMETRY_PAGE_HEADROOM;
    range->page.length = text->len - TELEMETRY_PAGE_HEADROOM;
    return SQLITE_OK;
}

/* In the place of run_range() where the position is not one of ours. */
static int run_bad_position(struct sqlite_read *read, struct sqlite_reader *reader)
{
    read->result.status = UPSTREAM_BAD_CURSOR;
    return SQLITE_OK;
}

static void answer_range(struct sqlite_read *read)
{
    struct range_read *range = (struct range_read *)read;
    range->done(range->ctx, &read->result, read->result.status == UPSTREAM_OK ? &range->page : NULL);
}

static void dispose_range(struct sqlite_read *read)
{
    buffer_free(&((struct range_read *)read)->page.text);
}

/* Moves the window's edge to a position; one that lies outside the window leaves the window as it is. */
static bool begin_at(struct range_read *range, const char *position, bool ascending)
{
    int64_t ts, seq;
    if (!take_position(position, &ts, &seq))
        return false;
    if (ascending && ts > range->after) {
        range->query = QUERY_ASCENDING_FROM;
        range->after = ts;
        range->seq = seq;
    } else if (!ascending && ts <= range->until) {
        range->query = QUERY_DESCENDING_FROM;
        range->until = ts;
        range->seq = seq;
    }
    return true;
}

static struct operation *store_read_range(struct telemetry_store *base, const struct telemetry_range *request,
                                          telemetry_page_cb *done, void *ctx)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    size_t id_size = strlen(request->device_id) + 1;
    struct range_read *range = calloc(1, sizeof *range + id_size);
    if (range == NULL)
        return NULL;
    memcpy(range->device_id, request->device_id, id_size);
    range->done = done;
    range->ctx = ctx;
    range->after = request->after;
    range->until = request->until;
    range->query = request->ascending ? QUERY_ASCENDING : QUERY_DESCENDING;
    range->limit = request->limit > LIMIT_MAX ? LIMIT_MAX : request->limit;
    range->read.run = run_range;
    range->read.answer = answer_range;
    range->read.dispose = dispose_range;
    if (request->position != NULL && !begin_at(range, request->position, request->ascending))
        range->read.run = run_bad_position;
    return sqlite_read_start(&range->read, store->db, store->loop, request->deadline_ms);
}

/* --- latest ------------------------------------------------------------------------------------ */

static int run_latest(struct sqlite_read *read, struct sqlite_reader *reader)
{
    struct latest_read *latest = (struct latest_read *)read;
    sqlite3_stmt *statement = reader->statements[QUERY_LATEST];
    sqlite3_bind_text(statement, 1, latest->device_id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, clock_now(&read->db->clock));
    int rc = sqlite3_step(statement);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    const void *data = sqlite3_column_blob(statement, 1);
    if (data == NULL)
        return sqlite3_column_bytes(statement, 1) == 0 ? SQLITE_CORRUPT : SQLITE_NOMEM;
    buffer_append(&latest->data, data, (size_t)sqlite3_column_bytes(statement, 1));
    latest->timestamp = sqlite3_column_int64(statement, 0);
    latest->found = true;
    return latest->data.failed ? SQLITE_NOMEM : SQLITE_OK;
}

static void answer_latest(struct sqlite_read *read)
{
    struct latest_read *latest = (struct latest_read *)read;
    if (read->result.status == UPSTREAM_OK && latest->found)
        latest->done(latest->ctx, &read->result, latest->data.data, latest->data.len, latest->timestamp);
    else
        latest->done(latest->ctx, &read->result, NULL, 0, 0);
}

static void dispose_latest(struct sqlite_read *read)
{
    buffer_free(&((struct latest_read *)read)->data);
}

static struct operation *store_latest(struct telemetry_store *base, const char *device_id,
                                      uint64_t deadline_ms, telemetry_latest_cb *done, void *ctx)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    size_t id_size = strlen(device_id) + 1;
    struct latest_read *latest = calloc(1, sizeof *latest + id_size);
    if (latest == NULL)
        return NULL;
    memcpy(latest->device_id, device_id, id_size);
    latest->done = done;
    latest->ctx = ctx;
    latest->read.run = run_latest;
    latest->read.answer = answer_latest;
    latest->read.dispose = dispose_latest;
    return sqlite_read_start(&latest->read, store->db, store->loop, deadline_ms);
}

/* --- write, check ------------------------------------------------------------------------------ */

static void answer_write(struct sqlite_write *write)
{
    bool ok = write->result.status == UPSTREAM_OK;
    write->done.stored(write->ctx, &write->result, ok ? write->count : 0, ok ? write->at : 0);
}

static struct operation *store_write(struct telemetry_store *base, const struct telemetry_write *request,
                                     telemetry_stored_cb *done, void *ctx)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    struct sqlite_write *write =
        sqlite_write_new(WRITE_READINGS, request->device_id, request->readings, request->count, NULL, 0);
    if (write == NULL)
        return NULL;
    write->ttl_s = request->ttl_s;
    write->deadline_ms = request->deadline_ms;
    write->mailbox = store->mailbox;
    write->answer = answer_write;
    write->done.stored = done;
    write->ctx = ctx;
    return sqlite_writer_submit(store->db->writer, write);
}

static void answer_check(struct sqlite_write *write)
{
    write->done.checked(write->ctx, &write->result, write->reason);
}

static struct operation *store_check(struct telemetry_store *base, uint64_t deadline_ms,
                                     telemetry_check_cb *done, void *ctx)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    struct sqlite_write *write = sqlite_write_new(WRITE_CHECK, "", NULL, 0, NULL, 0);
    if (write == NULL)
        return NULL;
    write->deadline_ms = deadline_ms;
    write->mailbox = store->mailbox;
    write->answer = answer_check;
    write->done.checked = done;
    write->ctx = ctx;
    return sqlite_writer_submit(store->db->writer, write);
}

static struct operation *store_follow(struct telemetry_store *base,
                                      const struct telemetry_follow_request *request,
                                      telemetry_followed_cb *done, void *ctx)
{
    return sqlite_follow(((struct sqlite_store *)base)->node, request, done, ctx);
}

static void store_free(struct telemetry_store *base)
{
    if (base != NULL)
        sqlite_node_free(((struct sqlite_store *)base)->node);
    free(base);
}

static const struct telemetry_store_ops store_ops = {
    .mode = "embedded",
    .read_range = store_read_range,
    .latest = store_latest,
    .write = store_write,
    .follow = store_follow,
    .check = store_check,
    .free = store_free,
};

struct telemetry_store *sqlite_store_new(struct sqlite_db *db, uv_loop_t *loop, struct mailbox *mailbox)
{
    struct sqlite_store *store = malloc(sizeof *store);
    if (store == NULL)
        return NULL;
    *store = (struct sqlite_store){.store.ops = &store_ops, .db = db, .loop = loop, .mailbox = mailbox};
    store->node = sqlite_node_new(db, loop, mailbox);
    if (store->node != NULL)
        return &store->store;
    free(store);
    return NULL;
}
