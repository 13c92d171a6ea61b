#include "sqlite_feed.h"

#include <stdlib.h>
#include <string.h>

/* Of a page, so that thousands of slow ones at once hold little. */
#define PAGE_ROWS  256
#define PAGE_BYTES 65536

#define READ_MS     30000 /* a page takes milliseconds */
#define WAIT_MS     100   /* before a failed one is asked for again; then twice as long, and so on */
#define WAIT_MAX_MS 5000

/* A row of a page; its text follows. */
struct row {
    struct sqlite_cursor cursor; /* after it */
    int64_t timestamp;
    size_t len;
};

struct past_read {
    struct sqlite_read read;
    struct sqlite_follow *follow;
    struct sqlite_cursor cursor;
    struct sqlite_point goal;
    unsigned rows;
    struct buffer page;
    bool done;
    size_t count;
    const char *device_ids[]; /* their text lies behind them */
};

/* --- on a pool thread -------------------------------------------------------------------------- */

/* Where the order of timestamps ends to be that of storing. */
static int begin_stretch(struct past_read *past, struct sqlite_reader *reader)
{
    struct sqlite_cursor *cursor = &past->cursor;
    sqlite3_stmt *statement = reader->statements[QUERY_TURNS];
    int rc;

    cursor->until = past->goal.seq;
    sqlite3_bind_int64(statement, 1, cursor->after);
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        int64_t seq = sqlite3_column_int64(statement, 0), ts = sqlite3_column_int64(statement, 1);
        if (seq > cursor->after + 1) {
            if (seq <= cursor->until)
                cursor->until = seq - 1;
            rc = SQLITE_DONE;
            break;
        }
        cursor->second = ts > cursor->least ? ts : cursor->least;
    }
    int end = sqlite3_reset(statement);
    return rc == SQLITE_DONE ? SQLITE_OK : end;
}

/* Appends the row; false when the page was full before it. */
static bool take_row(struct past_read *past, sqlite3_stmt *statement, const void *data, size_t len)
{
    if (past->rows == PAGE_ROWS || (past->rows > 0 && past->page.len + sizeof(struct row) + len > PAGE_BYTES))
        return false;
    struct row row = {.cursor = past->cursor, .timestamp = sqlite3_column_int64(statement, 0), .len = len};
    row.cursor.ts = row.timestamp;
    row.cursor.seq = sqlite3_column_int64(statement, 1);
    buffer_append(&past->page, (const char *)&row, sizeof row);
    buffer_append(&past->page, data, len);
    past->cursor = row.cursor;
    past->rows++;
    return true;
}

/* The rest of a device's part of the stretch; *ret_full where it did not fit. */
static int read_device(struct past_read *past, struct sqlite_reader *reader, bool *ret_full)
{
    const struct sqlite_cursor *cursor = &past->cursor;
    sqlite3_stmt *statement = reader->statements[QUERY_STORED];
    bool begun = cursor->ts >= cursor->second;
    int rc;

    sqlite3_bind_text(statement, 1, past->device_ids[cursor->device], -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, begun ? cursor->ts : cursor->second - 1);
    sqlite3_bind_int64(statement, 6, begun ? cursor->seq : INT64_MAX);
    sqlite3_bind_int64(statement, 3, cursor->after);
    sqlite3_bind_int64(statement, 7, cursor->until);
    sqlite3_bind_int64(statement, 4, clock_now(&past->read.db->clock));
    sqlite3_bind_int64(statement, 5, PAGE_ROWS + 1);
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        const void *data = sqlite3_column_blob(statement, 2);
        size_t len = (size_t)sqlite3_column_bytes(statement, 2);
        if (data == NULL)
            rc = len == 0 ? SQLITE_CORRUPT : SQLITE_NOMEM; /* a reading is never empty */
        else if (take_row(past, statement, data, len))
            continue;
        *ret_full = data != NULL;
        sqlite3_reset(statement);
        return data != NULL ? SQLITE_OK : rc;
    }
    int end = sqlite3_reset(statement);
    return rc == SQLITE_DONE ? SQLITE_OK : end;
}

static int run(struct sqlite_read *read, struct sqlite_reader *reader)
{
    struct past_read *past = (struct past_read *)read;
    struct sqlite_cursor *cursor = &past->cursor;
    bool full = false;
    int rc = SQLITE_OK;

    while (cursor->until != 0 || cursor->after < past->goal.seq) {
        if (cursor->until == 0)
            rc = begin_stretch(past, reader);
        for (; cursor->device < past->count && rc == SQLITE_OK; cursor->device++) {
            rc = read_device(past, reader, &full);
            if (full)
                return past->page.failed ? SQLITE_NOMEM : rc;
            cursor->ts = cursor->seq = 0;
        }
        if (rc != SQLITE_OK)
            return rc;
        *cursor =
            (struct sqlite_cursor){.after = cursor->until, .second = cursor->second, .least = cursor->least};
    }
    if (cursor->after == past->goal.seq)
        cursor->second = past->goal.second;
    past->done = true;
    return past->page.failed ? SQLITE_NOMEM : SQLITE_OK;
}

/* --- the reading ------------------------------------------------------------------------------- */

static void on_again(void *ctx)
{
    struct sqlite_follow *follow = ctx;
    follow->past->delay = NULL;
    sqlite_node_todo(follow->node, follow);
}

static void wait(struct sqlite_follow *follow)
{
    struct sqlite_past *past = follow->past;
    uint64_t wait_ms = (uint64_t)WAIT_MS << (past->failures < 6 ? past->failures : 6);

    past->failures++;
    past->delay =
        delay_start(follow->node->loop, wait_ms < WAIT_MAX_MS ? wait_ms : WAIT_MAX_MS, on_again, follow);
    if (past->delay == NULL)
        sqlite_node_todo(follow->node, follow);
}

static void answer(struct sqlite_read *read)
{
    struct past_read *result = (struct past_read *)read;
    struct sqlite_follow *follow = result->follow;
    struct sqlite_past *past = follow->past;

    past->reading = NULL;
    if (read->result.status != UPSTREAM_OK) {
        wait(follow);
        return;
    }
    past->failures = 0;
    past->page = result->page;
    past->page_at = 0;
    result->page = (struct buffer){0};
    past->ahead = result->cursor;
    past->tables_end = result->done;
    sqlite_node_todo(follow->node, follow);
}

static void dispose(struct sqlite_read *read)
{
    buffer_free(&((struct past_read *)read)->page);
}

static void ask(struct sqlite_follow *follow)
{
    struct sqlite_past *past = follow->past;
    size_t size = sizeof(struct past_read) + follow->count * sizeof(const char *), text = 0;

    for (size_t i = 0; i < follow->count; i++)
        text += strlen(topics_device(&follow->links[i].base)) + 1;
    struct past_read *read = calloc(1, size + text);
    if (read != NULL) {
        char *at = (char *)read + size;
        for (size_t i = 0; i < follow->count; i++) {
            const char *id = topics_device(&follow->links[i].base);
            read->device_ids[i] = memcpy(at, id, strlen(id) + 1);
            at += strlen(id) + 1;
        }
        read->count = follow->count;
        read->follow = follow;
        read->cursor = past->cursor;
        read->goal = follow->node->seen;
        read->read.run = run;
        read->read.answer = answer;
        read->read.dispose = dispose;
        past->reading = sqlite_read_start(&read->read, follow->node->db, follow->node->loop,
                                          clock_monotonic_ms() + READ_MS);
    }
    if (past->reading == NULL)
        wait(follow);
}

/* --- steps ------------------------------------------------------------------------------------- */

/* Delivers what lies in the page; false when one was not taken, or the follow is closed. */
static bool deliver_page(struct sqlite_follow *follow)
{
    struct sqlite_past *past = follow->past;

    while (past->page_at < past->page.len) {
        const struct sqlite_cursor before = past->cursor;
        struct row row;
        memcpy(&row, past->page.data + past->page_at, sizeof row);
        past->cursor = row.cursor;
        if (!sqlite_follow_deliver(
                follow,
                &(struct telemetry_change){.device_id = topics_device(&follow->links[row.cursor.device].base),
                                           .data = past->page.data + past->page_at + sizeof row,
                                           .data_len = row.len,
                                           .timestamp = row.timestamp})) {
            past->cursor = before;
            return false;
        }
        past->page_at += sizeof row + row.len;
    }
    buffer_free(&past->page);
    past->page_at = 0;
    return true;
}

static bool follows(const struct sqlite_follow *follow, const char *device_id)
{
    size_t low = 0, high = follow->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(device_id, topics_device(&follow->links[middle].base));
        if (order == 0)
            return true;
        *(order < 0 ? &high : &low) = order < 0 ? middle : middle + 1;
    }
    return false;
}

/* False when one was not taken, or the follow is closed. */
static bool deliver_batch(struct sqlite_follow *follow, const struct sqlite_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct sqlite_change *change = &batch->changes[i];
        if (change->seq <= follow->point.seq || !follows(follow, change->device_id))
            continue;
        const struct sqlite_point before = follow->point;
        follow->point = (struct sqlite_point){.seq = change->seq, .second = batch->point.second};
        if (!sqlite_follow_deliver(follow, &(struct telemetry_change){.device_id = change->device_id,
                                                                      .data = change->data,
                                                                      .data_len = change->data_len,
                                                                      .timestamp = change->timestamp})) {
            follow->point = before;
            return false;
        }
    }
    if (follow->point.seq < batch->point.seq)
        follow->point = batch->point;
    return true;
}

/* Goes through the batches up to the one that the node has handed out last. */
static bool join(struct sqlite_follow *follow)
{
    struct sqlite_node *node = follow->node;

    while (follow->point.seq < node->seen.seq) {
        struct sqlite_batch *batch;
        struct sqlite_point newest;
        if (sqlite_feed_next(&node->db->feed, follow->point.seq, &batch, &newest) != SQLITE_FEED_BATCH) {
            follow->past->joining = false;
            follow->past->tables_end = false;
            follow->past->cursor = follow->past->ahead =
                (struct sqlite_cursor){.after = follow->point.seq, .second = follow->point.second};
            ask(follow);
            return false;
        }
        bool all = deliver_batch(follow, batch);
        sqlite_batch_unref(batch);
        if (!all)
            return false;
    }
    return true;
}

bool sqlite_past_step(struct sqlite_follow *follow)
{
    struct sqlite_past *past = follow->past;

    if (past->joining)
        return join(follow);
    if (past->reading != NULL || past->delay != NULL)
        return false;
    if (past->page.len > 0 && !deliver_page(follow))
        return false;
    past->cursor = past->ahead;
    if (!past->tables_end) {
        ask(follow);
        return false;
    }
    follow->point = (struct sqlite_point){.seq = past->cursor.after, .second = past->cursor.second};
    past->joining = true;
    return join(follow);
}

/* --- life -------------------------------------------------------------------------------------- */

struct sqlite_past *sqlite_past_new(const struct sqlite_cursor *from)
{
    struct sqlite_past *past = calloc(1, sizeof *past);
    if (past != NULL)
        past->cursor = past->ahead = *from;
    return past;
}

void sqlite_past_stop(struct sqlite_past *past)
{
    operation_cancel(past->reading);
    delay_stop(past->delay);
    past->reading = NULL;
    past->delay = NULL;
}

void sqlite_past_free(struct sqlite_past *past)
{
    if (past == NULL)
        return;
    buffer_free(&past->page);
    free(past);
}
