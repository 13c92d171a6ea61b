/*
 * sqlite_db.h - the embedded database: one per process, shared by the workers, behind both contracts.
 *
 * One writer thread owns the only connection that writes: it takes every write that waits, runs them in one
 * transaction and acknowledges them together after the COMMIT (WAL, synchronous=FULL), so that many small
 * writes share one fsync. Reads run on libuv's thread pool, each on a connection of its own from a small
 * pool.
 *
 * The file carries our application_id and a schema version; it is locked against a second telemetryd. What is
 * not ours, damaged, or newer is refused at open with a message that says so. Expired rows are invisible at
 * once (ttl, as a Cosmos item's) and are deleted later, a few at a time, by the writer when it is idle.
 *
 * Threads: sqlite_db_open and _close from the main thread; sqlite_store_new and sqlite_registry_new on each
 * worker, whose objects then belong to that worker.
 */
#ifndef TELEMETRYD_SQLITE_DB_H
#define TELEMETRYD_SQLITE_DB_H

#include "clock.h"
#include "device_registry.h"
#include "mailbox.h"
#include "telemetry_store.h"

#include <uv.h>

struct sqlite_db;

struct sqlite_db_options {
    const char *path;   /* a file, or ":memory:" (shared by the process, gone with it) */
    struct clock clock; /* for timestamps and expiry */
    int64_t ttl_s;      /* how long readings live: streams resume from no older position; 0: from any */
};

/* Opens or creates the database and starts the writer. On failure returns a negative errno-like code and
 * writes one line that names the file and what is wrong into message (bounded by message_size); ret_db is
 * untouched. */
int sqlite_db_open(const struct sqlite_db_options *options, struct sqlite_db **ret_db, char *message,
                   size_t message_size);

/* Commits what waits, checkpoints, closes. All stores and registries must be freed. Accepts NULL. */
void sqlite_db_close(struct sqlite_db *db);

/* A store or registry for one worker: callbacks fire on `loop`'s thread. Return NULL when out of memory. */
struct telemetry_store *sqlite_store_new(struct sqlite_db *db, uv_loop_t *loop, struct mailbox *mailbox);
struct device_registry *sqlite_registry_new(struct sqlite_db *db, uv_loop_t *loop, struct mailbox *mailbox);

/* For --demo and tests, blocking: one reading with a timestamp of its own choosing, as if stored in second
 * `at`. Queued without waiting; sqlite_db_flush() waits until all queued is durable. Return 0 or negative. */
int sqlite_db_backfill(struct sqlite_db *db, const char *device_id, const char *data, size_t data_len,
                       int64_t at, int64_t ttl_s);
int sqlite_db_flush(struct sqlite_db *db);

/* Blocking: the second of the device's newest reading, or 0 when it has none (where a demo goes on). Negative
 * on error. */
int64_t sqlite_db_newest(struct sqlite_db *db, const char *device_id);
/* Blocking: merges a patch, as patch_reported does. Returns 0 or negative. */
int sqlite_db_patch(struct sqlite_db *db, const char *device_id, const char *patch);

#endif
