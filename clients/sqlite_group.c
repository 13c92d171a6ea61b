#include "sqlite_internal.h"

#include "json.h"
#include "time_text.h"

#include <stdlib.h>
#include <string.h>

/* A clock that steps back by at most this much does not take the order of readings back: new ones stay in the
 * newest second until it has caught up. A longer step is a clock that was wrong, and is followed: new
 * readings must not lie in the future of those who ask for the last hour. */
#define CLOCK_HOLD_S 60

#define TOUCHES_MAX  1024
#define TOUCH_SLOTS  2048 /* a power of two */
#define REPORTED_MAX (4U * 1024 * 1024)

/* Expired rows go a few at a time, so that no writer waits long for them; under load faster than new ones
 * come. */
#define SWEEP_ROWS_IDLE  500
#define SWEEP_ROWS_LEAST 100

/* Pages in the write-ahead log (4 KiB each): brought into the file from the first number on; from the second
 * the log is also begun anew, which waits for the readers of the moment. */
#define LOG_PAGES_CHECKPOINT 4096
#define LOG_PAGES_RESTART    16384

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    FIND_DEVICE,
    ADD_DEVICE,
    TOUCH_DEVICE,
    ADD_READING,
    REPLACE_READING,
    GET_REPORTED,
    SET_REPORTED,
    CLEAR_HEARTBEAT,
    SWEEP,
    FIRST_EXPIRY,
    LAST_GIVEN,
    PROBE,
    STATEMENT_COUNT
};

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
    [PROBE] = "PRAGMA user_version=1", /* writes a page without changing anything */
};

/* A device that this transaction stored readings for: its row is updated once, at the end. */
struct touch {
    const char *id; /* the write's own text */
    int64_t key, at, seq;
};

struct sqlite_group {
    struct sqlite_db *db;
    sqlite3 *connection;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    int64_t seq;          /* the last one given */
    int64_t newest;       /* the second of the newest reading */
    int64_t first_expiry; /* no row expires before; INT64_MAX: there is none */
    bool faulted;         /* the last transaction that wrote could not be committed */
    int log_pages, checkpoint_at;
    bool log_waits; /* the log holds pages that are not in the file */
    unsigned touched;
    struct touch touches[TOUCHES_MAX];
    uint16_t slots[TOUCH_SLOTS]; /* index into touches + 1 */
};

/* --- statements
 * -------------------------------------------------------------------------------------------------- */

/* Runs a statement that answers no row, with what is bound to it. */
static int run(struct sqlite_group *group, enum statement which) {
    sqlite3_stmt *statement = group->statements[which];
    int rc = sqlite3_step(statement);
    int end = sqlite3_reset(statement);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : end;
}

static int integers(struct sqlite_group *group, enum statement which, int count, int64_t *ret) {
    sqlite3_stmt *statement = group->statements[which];
    int rc = sqlite3_step(statement);
    for (int i = 0; i < count && rc == SQLITE_ROW; i++)
        if (sqlite3_column_type(statement, i) != SQLITE_NULL)
            ret[i] = sqlite3_column_int64(statement, i);
    int end = sqlite3_reset(statement);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : end;
}

static int find_first_expiry(struct sqlite_group *group) {
    int64_t first = INT64_MAX;
    int rc = integers(group, FIRST_EXPIRY, 1, &first);
    if (rc == SQLITE_OK)
        group->first_expiry = first;
    return rc;
}

/* --- devices
 * ----------------------------------------------------------------------------------------------------- */

static unsigned hash_id(const char *id) {
    uint32_t hash = 2166136261u; /* FNV-1a; a collision costs a few steps among at most 1024 */
    for (; *id != '\0'; id++)
        hash = (hash ^ (unsigned char)*id) * 16777619u;
    return hash;
}

static int flush_touches(struct sqlite_group *group) {
    sqlite3_stmt *statement = group->statements[TOUCH_DEVICE];
    int rc = SQLITE_OK;
    for (unsigned i = 0; i < group->touched && rc == SQLITE_OK; i++) {
        const struct touch *touch = &group->touches[i];
        if (touch->at == 0)
            continue;
        sqlite3_bind_int64(statement, 1, touch->key);
        sqlite3_bind_int64(statement, 2, touch->at);
        sqlite3_bind_int64(statement, 3, touch->seq);
        rc = run(group, TOUCH_DEVICE);
    }
    group->touched = 0;
    memset(group->slots, 0, sizeof group->slots);
    return rc;
}

/* The key of a device, 0 where there is none. */
static int find_device(struct sqlite_group *group, const char *id, int64_t *ret_key) {
    *ret_key = 0;
    sqlite3_bind_text(group->statements[FIND_DEVICE], 1, id, -1, SQLITE_STATIC);
    return integers(group, FIND_DEVICE, 1, ret_key);
}

static int find_or_add_device(struct sqlite_group *group, const char *id, int64_t *ret_key) {
    int rc = find_device(group, id, ret_key);
    if (rc != SQLITE_OK || *ret_key != 0)
        return rc;
    sqlite3_bind_text(group->statements[ADD_DEVICE], 1, id, -1, SQLITE_STATIC);
    rc = run(group, ADD_DEVICE);
    *ret_key = sqlite3_last_insert_rowid(group->connection);
    return rc;
}

/* The note of a device in this transaction, created with the device where there is none. */
static int touch_device(struct sqlite_group *group, const char *id, struct touch **ret_touch) {
    int rc = SQLITE_OK;
    unsigned slot = hash_id(id) & (TOUCH_SLOTS - 1);
    for (; group->slots[slot] != 0; slot = (slot + 1) & (TOUCH_SLOTS - 1)) {
        struct touch *touch = &group->touches[group->slots[slot] - 1];
        if (strcmp(touch->id, id) == 0) {
            *ret_touch = touch;
            return SQLITE_OK;
        }
    }
    if (group->touched == TOUCHES_MAX) {
        rc = flush_touches(group);
        slot = hash_id(id) & (TOUCH_SLOTS - 1);
    }
    int64_t key = 0;
    if (rc == SQLITE_OK)
        rc = find_or_add_device(group, id, &key);
    if (rc != SQLITE_OK)
        return rc;
    struct touch *touch = &group->touches[group->touched++];
    group->slots[slot] = (uint16_t)group->touched;
    *touch = (struct touch){.id = id, .key = key};
    *ret_touch = touch;
    return SQLITE_OK;
}

static void note_at(struct touch *touch, int64_t at, int64_t seq) {
    if (at > touch->at)
        touch->at = at;
    if (seq > touch->seq)
        touch->seq = seq;
}

/* --- the writes
 * -------------------------------------------------------------------------------------------------- */

static int64_t expiry(int64_t at, int64_t ttl_s) {
    int64_t expires;
    return __builtin_add_overflow(at, ttl_s, &expires) ? INT64_MAX : expires;
}

static int apply_readings(struct sqlite_group *group, struct sqlite_write *write, int64_t at) {
    struct touch *touch;
    int rc = touch_device(group, write->device_id, &touch);
    if (rc != SQLITE_OK)
        return rc;
    int64_t expires = expiry(at, write->ttl_s);
    for (size_t i = 0; i < write->count && rc == SQLITE_OK; i++) {
        const struct sqlite_reading *reading = &write->readings[i];
        enum statement which = reading->id != NULL ? REPLACE_READING : ADD_READING;
        sqlite3_stmt *statement = group->statements[which];
        sqlite3_bind_int64(statement, 1, touch->key);
        sqlite3_bind_int64(statement, 2, at);
        sqlite3_bind_int64(statement, 3, ++group->seq);
        sqlite3_bind_int64(statement, 4, expires);
        sqlite3_bind_blob64(statement, 5, reading->data, reading->data_len, SQLITE_STATIC);
        if (reading->id != NULL)
            sqlite3_bind_text(statement, 6, reading->id, -1, SQLITE_STATIC);
        rc = run(group, which);
    }
    if (rc != SQLITE_OK)
        return rc;
    write->at = at;
    note_at(touch, at, group->seq);
    if (expires < group->first_expiry)
        group->first_expiry = expires;
    return SQLITE_OK;
}

static int apply_note(struct sqlite_group *group, const struct sqlite_write *write) {
    struct touch *touch;
    int rc = touch_device(group, write->device_id, &touch);
    if (rc == SQLITE_OK)
        note_at(touch, write->at, 0);
    return rc;
}

/* Appends the reported properties as they stand: what was reported, with the heartbeat of a later reading in
 * it. */
static int effective_reported(struct sqlite_group *group, int64_t key, struct buffer *out) {
    sqlite3_stmt *statement = group->statements[GET_REPORTED];
    sqlite3_bind_int64(statement, 1, key);
    int rc = sqlite3_step(statement);
    int r = 0;
    if (rc == SQLITE_ROW) {
        struct json_slice target = {0};
        const char *text = sqlite3_column_blob(statement, 1);
        size_t len = (size_t)sqlite3_column_bytes(statement, 1);
        if (text != NULL && json_valid(text, len, 32))
            target = json_root(text, len);
        if (sqlite3_column_type(statement, 0) == SQLITE_NULL) {
            buffer_append(out, target.text, target.len);
        } else {
            char heartbeat[64] = "{\"lastHeartbeat\":\"";
            size_t n = strlen(heartbeat);
            n += time_format_rfc3339(sqlite3_column_int64(statement, 0), heartbeat + n);
            memcpy(heartbeat + n, "\"}", 3);
            r = json_merge_patch(out, target, json_root(heartbeat, n + 2));
        }
    }
    int end = sqlite3_reset(statement);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return end;
    return r != 0 || out->failed ? SQLITE_NOMEM : SQLITE_OK;
}

static int store_reported(struct sqlite_group *group, struct sqlite_write *write, const struct buffer *text) {
    int64_t key = 0;
    int rc = find_or_add_device(group, write->device_id, &key);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_bind_int64(group->statements[SET_REPORTED], 1, key);
    sqlite3_bind_blob64(group->statements[SET_REPORTED], 2, text->data, text->len, SQLITE_STATIC);
    rc = run(group, SET_REPORTED);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_bind_int64(group->statements[CLEAR_HEARTBEAT], 1, key);
    return run(group, CLEAR_HEARTBEAT);
}

static int apply_patch(struct sqlite_group *group, struct sqlite_write *write) {
    struct buffer before = {0}, after = {0};
    int64_t key = 0;
    int rc = flush_touches(group); /* readings stored just before it move the heartbeat first */
    if (rc == SQLITE_OK)
        rc = find_device(group, write->device_id, &key);
    if (rc == SQLITE_OK && key != 0)
        rc = effective_reported(group, key, &before);
    if (rc != SQLITE_OK)
        goto out;
    const struct json_slice target = {before.data, before.len};
    if (json_merge_patch(&after, target, json_root(write->patch, write->patch_len)) != 0 || after.failed) {
        rc = SQLITE_NOMEM;
        goto out;
    }
    if (after.len > REPORTED_MAX) {
        write->result.status = UPSTREAM_REJECTED;
        goto out;
    }
    rc = store_reported(group, write, &after);
    if (rc == SQLITE_OK) {
        free(write->reported);
        write->reported = buffer_take(&after, &write->reported_len);
        if (write->reported == NULL)
            rc = SQLITE_NOMEM;
    }
out:
    buffer_free(&before);
    buffer_free(&after);
    return rc;
}

static int apply(struct sqlite_group *group, struct sqlite_write *write, int64_t at) {
    switch (write->kind) {
    case WRITE_READINGS: return apply_readings(group, write, at);
    case WRITE_BACKFILL: return apply_readings(group, write, write->at);
    case WRITE_NOTE: return apply_note(group, write);
    case WRITE_PATCH: return apply_patch(group, write);
    case WRITE_CHECK: return group->faulted ? run(group, PROBE) : SQLITE_OK;
    }
    return SQLITE_INTERNAL;
}

/* --- one transaction
 * --------------------------------------------------------------------------------------------- */

static int sweep(struct sqlite_group *group, int64_t now, size_t rows) {
    sqlite3_bind_int64(group->statements[SWEEP], 1, now);
    sqlite3_bind_int64(group->statements[SWEEP], 2, (int64_t)rows);
    int rc = run(group, SWEEP);
    return rc == SQLITE_OK ? find_first_expiry(group) : rc;
}

/* The second of this group's readings. */
static int64_t second_of_group(struct sqlite_group *group, int64_t now) {
    if (now < group->newest && group->newest - now <= CLOCK_HOLD_S)
        return group->newest;
    group->newest = now;
    return now;
}

static bool runs(const struct sqlite_group *group, const struct sqlite_write *write) {
    return write->result.status == UPSTREAM_OK && (write->kind != WRITE_CHECK || group->faulted);
}

/* Applies the writes from first on, or this one alone. */
static int transact(struct sqlite_group *group, struct sqlite_write *first, bool alone) {
    int64_t now = clock_now(&group->db->clock);
    int64_t at = second_of_group(group, now);
    size_t readings = 0;

    sqlite_gate_write_lock(&group->db->gate);
    group->touched = 0;
    memset(group->slots, 0, sizeof group->slots);
    int rc = run(group, BEGIN);
    for (struct sqlite_write *write = first; write != NULL && rc == SQLITE_OK;
         write = alone ? NULL : write->next) {
        if (!runs(group, write))
            continue;
        rc = apply(group, write, at);
        readings += write->count;
        if (write->kind == WRITE_BACKFILL && write->at > group->newest)
            group->newest = write->at;
    }
    if (rc == SQLITE_OK)
        rc = flush_touches(group);
    if (rc == SQLITE_OK && group->first_expiry <= now)
        rc = sweep(group, now, readings < SWEEP_ROWS_LEAST / 2 ? SWEEP_ROWS_LEAST : readings * 2);
    if (rc == SQLITE_OK)
        rc = run(group, COMMIT);
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(group->connection))
        run(group, ROLLBACK);
    sqlite_gate_write_unlock(&group->db->gate);
    return rc;
}

/* True for a failure of the file or the disk, which trying each write alone would only repeat. */
static bool of_the_file(int rc) {
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH: return false;
    default: return true;
    }
}

static void fail(struct sqlite_group *group, struct sqlite_write *write, int rc) {
    write->result.status = sqlite_db_status(rc);
    if (write->kind == WRITE_CHECK)
        write->reason = "the embedded database cannot be written";
    if (of_the_file(rc))
        group->faulted = true;
}

static void run_each_alone(struct sqlite_group *group, struct sqlite_write *first) {
    for (struct sqlite_write *write = first; write != NULL; write = write->next) {
        if (!runs(group, write))
            continue;
        int rc = transact(group, write, true);
        if (rc != SQLITE_OK)
            fail(group, write, rc);
    }
}

uint64_t sqlite_group_run(struct sqlite_group *group, struct sqlite_write *first) {
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

/* --- upkeep
 * ------------------------------------------------------------------------------------------------------ */

static int on_log_growth(void *ctx, sqlite3 *connection, const char *schema, int pages) {
    struct sqlite_group *group = ctx;
    group->log_pages = pages;
    group->log_waits = true;
    return SQLITE_OK;
}

static void checkpoint(struct sqlite_group *group, int mode) {
    int pages = group->log_pages, done = 0;
    int rc = sqlite3_wal_checkpoint_v2(group->connection, NULL, mode, &pages, &done);
    group->log_waits = rc != SQLITE_OK || done < pages;
    /* Not at every commit where a reader holds the log. */
    group->checkpoint_at = group->log_pages + LOG_PAGES_CHECKPOINT;
}

void sqlite_group_checkpoint(struct sqlite_group *group) {
    if (group->log_pages < LOG_PAGES_CHECKPOINT)
        group->checkpoint_at = LOG_PAGES_CHECKPOINT;
    if (group->log_waits && group->log_pages >= group->checkpoint_at)
        checkpoint(group, group->log_pages >= LOG_PAGES_RESTART ? SQLITE_CHECKPOINT_RESTART
                                                                : SQLITE_CHECKPOINT_PASSIVE);
}

bool sqlite_group_idle(struct sqlite_group *group) {
    int64_t now = clock_now(&group->db->clock);
    if (group->first_expiry <= now && !group->faulted) {
        sqlite_gate_write_lock(&group->db->gate);
        int rc = run(group, BEGIN);
        if (rc == SQLITE_OK)
            rc = sweep(group, now, SWEEP_ROWS_IDLE);
        if (rc == SQLITE_OK)
            rc = run(group, COMMIT);
        if (rc != SQLITE_OK && !sqlite3_get_autocommit(group->connection))
            run(group, ROLLBACK);
        sqlite_gate_write_unlock(&group->db->gate);
        return rc == SQLITE_OK && group->first_expiry <= now;
    }
    if (group->log_waits)
        checkpoint(group, SQLITE_CHECKPOINT_PASSIVE);
    return false;
}

/* --- life
 * -------------------------------------------------------------------------------------------------------- */

int sqlite_group_new(struct sqlite_db *db, sqlite3 *connection, struct sqlite_group **ret_group) {
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
        rc = integers(group, LAST_GIVEN, 2, given);
    if (rc == SQLITE_OK)
        rc = find_first_expiry(group);
    if (rc != SQLITE_OK) {
        sqlite_group_free(group);
        return rc;
    }
    group->seq = given[0];
    group->newest = given[1];
    sqlite3_wal_hook(connection, on_log_growth, group);
    *ret_group = group;
    return SQLITE_OK;
}

void sqlite_group_free(struct sqlite_group *group) {
    if (group == NULL)
        return;
    for (int i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(group->statements[i]);
    sqlite3_close(group->connection);
    free(group);
}
