#include "sqlite_internal.h"

#include <stdlib.h>

/* A clock that steps back by at most this much does not take the order of readings back: new ones stay in the
 * newest second until it has caught up. A longer step is a clock that was wrong, and is followed: new
 * readings must not lie in the future of those who ask for the last hour. */
#define CLOCK_HOLD_S 60

/* Expired rows go a few at a time, so that no writer waits long for them; under load faster than new ones
 * come. */
#define SWEEP_ROWS_IDLE  500
#define SWEEP_ROWS_LEAST 100

/* Pages in the write-ahead log (4 KiB each): brought into the file from the first number on; from the second
 * the log is also begun anew, which waits for the readers of the moment. */
#define LOG_PAGES_CHECKPOINT 4096
#define LOG_PAGES_RESTART    16384

#define ROWS4 "(?,?,?,?,?),(?,?,?,?,?),(?,?,?,?,?),(?,?,?,?,?)"
_Static_assert(SQLITE_BATCH == 16, "ADD_READINGS has four times ROWS4");

static const char *const statement_sql[STATEMENT_COUNT] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [FIND_DEVICE] = "SELECT key FROM devices WHERE id=?1",
    [ADD_DEVICE] = "INSERT INTO devices(id, last_at, last_seq) VALUES(?1, 0, 0)",
    [TOUCH_DEVICE] = "UPDATE devices SET last_seq=max(last_seq, ?3),"
                     " heartbeat=CASE WHEN ?2 >= last_at THEN ?2 ELSE heartbeat END, last_at=max(last_at, "
                     "?2) WHERE key=?1",
    [ADD_READING] = "INSERT INTO telemetry(device_key, ts, seq, expires, data) VALUES(?1, ?2, ?3, ?4, ?5)",
    /* OR FAIL: as the whole transaction is rolled back on any error, SQLite need not keep a copy of every
     * page that it touches, for an undo of this statement alone. */
    [ADD_READINGS] = "INSERT OR FAIL INTO telemetry(device_key, ts, seq, expires, data) VALUES" ROWS4
                     "," ROWS4 "," ROWS4 "," ROWS4,
    [REPLACE_READING] = "INSERT OR REPLACE INTO telemetry(device_key, ts, seq, expires, data, id) VALUES(?1, "
                        "?2, ?3, ?4, ?5, ?6)",
    [GET_REPORTED] = "SELECT heartbeat, text FROM devices LEFT JOIN reported ON device_key=key WHERE key=?1",
    [SET_REPORTED] = "INSERT OR REPLACE INTO reported(device_key, text) VALUES(?1, ?2)",
    [CLEAR_HEARTBEAT] = "UPDATE devices SET heartbeat=NULL WHERE key=?1",
    [SWEEP] = "DELETE FROM telemetry WHERE (device_key, ts, seq) IN"
              " (SELECT device_key, ts, seq FROM telemetry INDEXED BY telemetry_expires"
              " WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
    [FIRST_EXPIRY] = "SELECT min(expires) FROM telemetry",
    [LAST_GIVEN] = "SELECT max(last_seq), max(last_at) FROM devices",
    [ADD_TURN] = "INSERT INTO turns(seq, ts) VALUES(?1, ?2)",
    [PROBE] = "PRAGMA user_version=1", /* writes a page without changing anything */
};

/* --- statements -------------------------------------------------------------------------------- */

/* Runs a statement that answers no row, with what is bound to it. */
int sqlite_group_step(struct sqlite_group *group, enum sqlite_statement which)
{
    sqlite3_stmt *statement = group->statements[which];
    int rc = sqlite3_step(statement);
    int end = sqlite3_reset(statement);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : end;
}

int sqlite_group_integers(struct sqlite_group *group, enum sqlite_statement which, int count, int64_t *ret)
{
    sqlite3_stmt *statement = group->statements[which];
    int rc = sqlite3_step(statement);
    for (int i = 0; i < count && rc == SQLITE_ROW; i++)
        if (sqlite3_column_type(statement, i) != SQLITE_NULL)
            ret[i] = sqlite3_column_int64(statement, i);
    int end = sqlite3_reset(statement);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : end;
}

static int find_first_expiry(struct sqlite_group *group)
{
    int64_t first = INT64_MAX;
    int rc = sqlite_group_integers(group, FIRST_EXPIRY, 1, &first);
    if (rc == SQLITE_OK)
        group->first_expiry = first;
    return rc;
}

/* --- one transaction --------------------------------------------------------------------------- */

static int sweep(struct sqlite_group *group, int64_t now, size_t rows)
{
    sqlite3_bind_int64(group->statements[SWEEP], 1, now);
    sqlite3_bind_int64(group->statements[SWEEP], 2, (int64_t)rows);
    int rc = sqlite_group_step(group, SWEEP);
    return rc == SQLITE_OK ? find_first_expiry(group) : rc;
}

static void roll_back(struct sqlite_group *group)
{
    if (!sqlite3_get_autocommit(group->connection)) /* some failures do it by themselves */
        sqlite_group_step(group, ROLLBACK);
    group->first_expiry = INT64_MIN; /* what was swept is back: look again */
}

/* The second of this group's readings. */
static int64_t second_of_group(struct sqlite_group *group, int64_t now)
{
    if (now < group->newest && group->newest - now <= CLOCK_HOLD_S)
        return group->newest;
    group->turned |= now < group->newest;
    group->newest = now;
    return now;
}

/* The readings of this transaction are the first ones that may be older than what was stored before. */
static int note_turn(struct sqlite_group *group, int64_t at)
{
    if (!group->turned)
        return SQLITE_OK;
    sqlite3_bind_int64(group->statements[ADD_TURN], 1, group->seq + 1);
    sqlite3_bind_int64(group->statements[ADD_TURN], 2, at);
    return sqlite_group_step(group, ADD_TURN);
}

static bool runs(const struct sqlite_group *group, const struct sqlite_write *write)
{
    return write->result.status == UPSTREAM_OK && (write->kind != WRITE_CHECK || group->faulted);
}

/* Applies the writes from first on, or this one alone. */
static int transact(struct sqlite_group *group, struct sqlite_write *first, bool alone)
{
    int64_t now = clock_now(&group->db->clock);
    int64_t at = second_of_group(group, now);
    size_t readings = 0;

    sqlite_gate_write_lock(&group->db->gate);
    sqlite_apply_begin(group);
    int rc = sqlite_group_step(group, BEGIN);
    if (rc == SQLITE_OK)
        rc = note_turn(group, at);
    for (struct sqlite_write *write = first; write != NULL && rc == SQLITE_OK;
         write = alone ? NULL : write->next) {
        if (!runs(group, write))
            continue;
        rc = sqlite_apply(group, write, at);
        readings += write->count;
        if (write->kind == WRITE_BACKFILL && write->at > group->newest)
            group->newest = write->at;
    }
    if (rc == SQLITE_OK)
        rc = sqlite_apply_end(group);
    if (rc == SQLITE_OK && group->first_expiry <= now)
        rc = sweep(group, now, readings < SWEEP_ROWS_LEAST / 2 ? SWEEP_ROWS_LEAST : readings * 2);
    if (rc == SQLITE_OK)
        rc = sqlite_group_step(group, COMMIT);
    if (rc == SQLITE_OK)
        group->turned = false;
    else
        roll_back(group);
    sqlite_gate_write_unlock(&group->db->gate);
    return rc;
}

/* True for a failure of the file or the disk, which trying each write alone would only repeat. */
static bool of_the_file(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH: return false;
    default: return true;
    }
}

static void fail(struct sqlite_group *group, struct sqlite_write *write, int rc)
{
    write->result.status = sqlite_db_status(rc);
    if (write->kind == WRITE_CHECK)
        write->reason = "the embedded database cannot be written";
    if (of_the_file(rc))
        group->faulted = true;
}

static void run_each_alone(struct sqlite_group *group, struct sqlite_write *first)
{
    for (struct sqlite_write *write = first; write != NULL; write = write->next) {
        if (!runs(group, write))
            continue;
        int rc = transact(group, write, true);
        if (rc != SQLITE_OK)
            fail(group, write, rc);
    }
}

uint64_t sqlite_group_run(struct sqlite_group *group, struct sqlite_write *first)
{
    uint64_t started = clock_monotonic_us();
    size_t live = 0;
    for (struct sqlite_write *write = first; write != NULL; write = write->next) {
        if (write->deadline_ms != 0 && started / 1000 >= write->deadline_ms)
            write->result.status = UPSTREAM_TIMEOUT;
        live += runs(group, write);
    }
    if (live == 0)
        return 0;
    int rc = transact(group, first, false);
    if (rc == SQLITE_OK) {
        group->faulted = false;
    } else if (live > 1 && !of_the_file(rc)) {
        for (struct sqlite_write *write = first; write != NULL; write = write->next)
            if (write->result.status == UPSTREAM_REJECTED)
                write->result.status = UPSTREAM_OK;
        run_each_alone(group, first);
    } else {
        for (struct sqlite_write *write = first; write != NULL; write = write->next)
            if (runs(group, write))
                fail(group, write, rc);
    }
    return clock_monotonic_us() - started;
}

/* --- upkeep ------------------------------------------------------------------------------------ */

static int on_log_growth(void *ctx, sqlite3 *connection, const char *schema, int pages)
{
    struct sqlite_group *group = ctx;
    group->log_pages = pages;
    group->log_waits = true;
    return SQLITE_OK;
}

static void checkpoint(struct sqlite_group *group, int mode)
{
    int pages = group->log_pages, done = 0;
    int rc = sqlite3_wal_checkpoint_v2(group->connection, NULL, mode, &pages, &done);
    group->log_waits = rc != SQLITE_OK || done < pages;
    /* Not at every commit where a reader holds the log. */
    group->checkpoint_at = group->log_pages + LOG_PAGES_CHECKPOINT;
}

void sqlite_group_checkpoint(struct sqlite_group *group)
{
    if (group->log_pages < LOG_PAGES_CHECKPOINT)
        group->checkpoint_at = LOG_PAGES_CHECKPOINT;
    if (group->log_waits && group->log_pages >= group->checkpoint_at)
        checkpoint(group, group->log_pages >= LOG_PAGES_RESTART ? SQLITE_CHECKPOINT_RESTART
                                                                : SQLITE_CHECKPOINT_PASSIVE);
}

bool sqlite_group_idle(struct sqlite_group *group)
{
    int64_t now = clock_now(&group->db->clock);
    if (group->first_expiry <= now && !group->faulted) {
        sqlite_gate_write_lock(&group->db->gate);
        int rc = sqlite_group_step(group, BEGIN);
        if (rc == SQLITE_OK)
            rc = sweep(group, now, SWEEP_ROWS_IDLE);
        if (rc == SQLITE_OK)
            rc = sqlite_group_step(group, COMMIT);
        if (rc != SQLITE_OK)
            roll_back(group);
        sqlite_gate_write_unlock(&group->db->gate);
        return rc == SQLITE_OK && group->first_expiry <= now;
    }
    if (group->log_waits)
        checkpoint(group, SQLITE_CHECKPOINT_PASSIVE);
    return false;
}

/* --- life -------------------------------------------------------------------------------------- */

int sqlite_group_new(struct sqlite_db *db, sqlite3 *connection, struct sqlite_group **ret_group)
{
    struct sqlite_group *group = calloc(1, sizeof *group);
    if (group == NULL) {
        sqlite3_close(connection);
        return SQLITE_NOMEM;
    }
    group->db = db;
    group->connection = connection;
    group->checkpoint_at = LOG_PAGES_CHECKPOINT;
    int rc = SQLITE_OK;
    for (int i = 0; i < STATEMENT_COUNT && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(connection, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                &group->statements[i], NULL);
    int64_t given[2] = {0, 0};
    if (rc == SQLITE_OK)
        rc = sqlite_group_integers(group, LAST_GIVEN, 2, given);
    if (rc == SQLITE_OK)
        rc = find_first_expiry(group);
    if (rc != SQLITE_OK) {
        sqlite_group_free(group);
        return rc;
    }
    group->seq = given[0];
    group->newest = given[1];
    group->db->feed.point = (struct sqlite_point){.seq = given[0], .second = given[1]};
    sqlite3_wal_hook(connection, on_log_growth, group);
    *ret_group = group;
    return SQLITE_OK;
}

void sqlite_group_free(struct sqlite_group *group)
{
    if (group == NULL)
        return;
    for (int i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(group->statements[i]);
    sqlite3_close(group->connection);
    free(group);
}
