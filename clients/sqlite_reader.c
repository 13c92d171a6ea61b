#include "sqlite_internal.h"

#include <stdlib.h>

/* After so many steps of SQLite's machine a read looks at its deadline: some milliseconds. */
#define STEPS_BETWEEN_LOOKS 50000

#define DEVICE_KEY "(SELECT key FROM devices WHERE id=?1)"

#define RANGE      "SELECT ts, seq, data FROM telemetry WHERE device_key=" DEVICE_KEY
#define DEVICE     "SELECT id, last_at, heartbeat, text FROM devices LEFT JOIN reported ON device_key=key"
#define ASCENDING  " AND expires > ?4 ORDER BY ts, seq LIMIT ?5"
#define DESCENDING " AND expires > ?4 ORDER BY ts DESC, seq DESC LIMIT ?5"

/* ?2, ?3: the window, (?2, ?3]; ?4: now; ?5: rows; ?6: seq of the reading that a following page begins with,
 * whose second is then the window's edge. First pages have statements of their own: comparing pairs costs a
 * tenth of a page's time. */
static const char *const query_sql[QUERY_COUNT] = {
    [QUERY_ASCENDING] = RANGE " AND ts > ?2 AND ts <= ?3" ASCENDING,
    [QUERY_ASCENDING_FROM] = RANGE " AND (ts, seq) >= (?2, ?6) AND ts <= ?3" ASCENDING,
    [QUERY_DESCENDING] = RANGE " AND ts > ?2 AND ts <= ?3" DESCENDING,
    [QUERY_DESCENDING_FROM] = RANGE " AND ts > ?2 AND (ts, seq) <= (?3, ?6)" DESCENDING,
    [QUERY_LATEST] = "SELECT ts, data FROM telemetry WHERE device_key=" DEVICE_KEY
                     " AND expires > ?2 ORDER BY ts DESC, seq DESC LIMIT 1",
    [QUERY_STATUS] = DEVICE " WHERE id=?1",
    [QUERY_LIST] = DEVICE " WHERE id > ?1 ORDER BY id LIMIT ?2",
    /* (?2, ?6): the reading before; the seqs (?3, ?7] */
    [QUERY_STORED] = RANGE " AND (ts, seq) > (?2, ?6) AND seq > ?3 AND seq <= ?7" ASCENDING,
    [QUERY_TURNS] = "SELECT seq, ts FROM turns WHERE seq > ?1 ORDER BY seq LIMIT 2",
};

enum upstream_status sqlite_db_status(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK: return UPSTREAM_OK;
    case SQLITE_NOMEM: return UPSTREAM_NO_MEMORY;
    case SQLITE_INTERRUPT: return UPSTREAM_TIMEOUT;
    default: return UPSTREAM_UNAVAILABLE;
    }
}

/* --- connections ------------------------------------------------------------------------------- */

static void reader_close(struct sqlite_reader *reader)
{
    for (int i = 0; i < QUERY_COUNT; i++)
        sqlite3_finalize(reader->statements[i]);
    sqlite3_close(reader->connection);
    free(reader);
}

static struct sqlite_reader *reader_open(struct sqlite_db *db)
{
    struct sqlite_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return NULL;
    int rc = sqlite_schema_connect(db, false, &reader->connection);
    for (int i = 0; i < QUERY_COUNT && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(reader->connection, query_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                &reader->statements[i], NULL);
    if (rc == SQLITE_OK)
        return reader;
    reader_close(reader);
    return NULL;
}

struct sqlite_reader *sqlite_reader_begin(struct sqlite_db *db)
{
    uv_mutex_lock(&db->readers_lock);
    struct sqlite_reader *reader = db->readers;
    if (reader != NULL)
        db->readers = reader->next;
    uv_mutex_unlock(&db->readers_lock);

    sqlite_gate_read_lock(&db->gate);
    if (reader == NULL)
        reader = reader_open(db);
    if (reader == NULL)
        sqlite_gate_read_unlock(&db->gate);
    return reader;
}

void sqlite_reader_end(struct sqlite_db *db, struct sqlite_reader *reader, int rc)
{
    for (int i = 0; i < QUERY_COUNT; i++)
        sqlite3_reset(reader->statements[i]);
    sqlite_gate_read_unlock(&db->gate);

    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_INTERRUPT:
    case SQLITE_NOMEM:
        uv_mutex_lock(&db->readers_lock);
        reader->next = db->readers;
        db->readers = reader;
        uv_mutex_unlock(&db->readers_lock);
        break;
    default: reader_close(reader); break;
    }
}

void sqlite_reader_close_all(struct sqlite_db *db)
{
    while (db->readers != NULL) {
        struct sqlite_reader *reader = db->readers;
        db->readers = reader->next;
        reader_close(reader);
    }
}

/* --- reads ------------------------------------------------------------------------------------- */

static bool past_deadline(const struct sqlite_read *read)
{
    return clock_monotonic_ms() >= read->deadline_ms;
}

/* Called by SQLite now and then while a statement runs; other than 0 ends it with SQLITE_INTERRUPT. */
static int on_progress(void *ctx)
{
    struct sqlite_read *read = ctx;
    return atomic_load_explicit(&read->cancelled, memory_order_relaxed) || past_deadline(read);
}

static void on_work(uv_work_t *work)
{
    struct sqlite_read *read = work->data;
    if (past_deadline(read)) {
        read->result.status = UPSTREAM_TIMEOUT;
        return;
    }
    struct sqlite_reader *reader = sqlite_reader_begin(read->db);
    if (reader == NULL) {
        read->result.status = UPSTREAM_UNAVAILABLE;
        return;
    }
    sqlite3_progress_handler(reader->connection, STEPS_BETWEEN_LOOKS, on_progress, read);
    int rc = read->run(read, reader);
    sqlite3_progress_handler(reader->connection, 0, NULL, NULL);
    if (rc != SQLITE_OK)
        read->result.status = sqlite_db_status(rc);
    sqlite_reader_end(read->db, reader, rc);
}

static void on_done(uv_work_t *work, int status)
{
    struct sqlite_read *read = work->data;
    if (!atomic_load_explicit(&read->cancelled, memory_order_relaxed)) {
        read->result.elapsed_us = (unsigned long)(clock_monotonic_us() - read->started_us);
        read->answer(read);
    }
    read->dispose(read);
    free(read);
}

static void read_cancel(struct operation *op)
{
    struct sqlite_read *read = (struct sqlite_read *)op;
    atomic_store_explicit(&read->cancelled, true, memory_order_relaxed);
    /* On success on_done follows soon; else a pool thread is at it and on_done follows when it is through.
     * Either way the loop still counts the request as active, so that it cannot end before the memory is
     * freed. */
    uv_cancel((uv_req_t *)&read->work);
}

struct operation *sqlite_read_start(struct sqlite_read *read, struct sqlite_db *db, uv_loop_t *loop,
                                    uint64_t deadline_ms)
{
    read->operation.cancel = read_cancel;
    read->work.data = read;
    read->db = db;
    read->deadline_ms = deadline_ms;
    read->started_us = clock_monotonic_us();
    atomic_init(&read->cancelled, false);
    if (uv_queue_work(loop, &read->work, on_work, on_done) == 0)
        return &read->operation;
    read->dispose(read);
    free(read);
    return NULL;
}
