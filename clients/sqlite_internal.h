/*
 * sqlite_internal.h - what the files of the embedded database share. Nobody else includes it.
 *
 *     sqlite_schema.c    connections; the schema; is this file ours, whole and of a version we know
 *     sqlite_db.c        open and close; the blocking calls
 *     sqlite_writer.c    the queue of writes, the writer's thread, acknowledgement, cancellation
 *     sqlite_group.c     one transaction of many writes; expiry, checkpoints
 *     sqlite_apply.c     what each kind of write does inside it
 *     sqlite_reader.c    reads on libuv's pool, each with a connection of its own
 *     sqlite_store.c     telemetry_store.h        sqlite_registry.c    device_registry.h
 *     sqlite_feed.h      what is stored, as it is stored, and what follows it (telemetry_follow.h)
 *
 * Threads: a worker starts and cancels operations and is called back; the writer's thread owns struct
 * sqlite_group; a read belongs to a pool thread from on_work to its end. What is shared says which lock
 * protects it.
 */
#ifndef TELEMETRYD_SQLITE_INTERNAL_H
#define TELEMETRYD_SQLITE_INTERNAL_H

#include "sqlite_db.h"

#include <sqlite3.h>
#include <stdatomic.h>

struct sqlite_writer;
struct sqlite_write;
struct sqlite_node;
struct sqlite_batch;

/* A database in memory knows no snapshots: SQLite answers SQLITE_BUSY to a reader while a transaction is
 * open, and to a commit while somebody reads. So there readers and the writer take turns; for a file the gate
 * is always open. */
struct sqlite_gate {
    bool active;
    uv_mutex_t turnstile; /* held while the writer waits, so that a stream of readers cannot keep it out */
    uv_rwlock_t lock;
};

/* A moment in the order of storing. */
struct sqlite_point {
    int64_t seq;    /* the last one stored until then */
    int64_t second; /* nothing that was stored later has a smaller timestamp, but after a turn of the clock */
};

/* What was stored last (sqlite_feed.c); all under the lock. */
struct sqlite_feed {
    uv_mutex_t lock;
    struct sqlite_point point;
    struct sqlite_batch *first, *last; /* kept */
    size_t bytes, count;
    struct sqlite_node *nodes; /* the workers on which somebody follows */
};

struct sqlite_db {
    char *path; /* absolute, or the URI of the database in memory */
    bool in_memory;
    struct clock clock;
    int lock_fd; /* flock()ed; -1 in memory */
    struct sqlite_gate gate;
    uv_mutex_t readers_lock;
    struct sqlite_reader
        *readers; /* idle connections, under readers_lock; at most one per thread of libuv's pool */
    struct sqlite_writer *writer;
    int64_t identity; /* random, of the file */
    int64_t ttl_s;    /* a position that is older is too old; 0: none is */
    struct sqlite_feed feed;
};

/* The result that an SQLite result code means. */
enum upstream_status sqlite_db_status(int rc);

/* --- sqlite_schema.c --------------------------------------------------------------------------- */

/* Opens a connection with our settings; for the writer's, journal and synchronous are left to
 * sqlite_schema_open(). Return SQLite result codes; *ret is untouched on failure. */
int sqlite_schema_connect(const struct sqlite_db *db, bool writer, sqlite3 **ret);

/* What a result code means at open: a negative errno-like code, and a reason with `detail` in it. */
int sqlite_schema_describe(int rc, const char *detail, char *reason, size_t size);

/* Before SQLite sees the file: is it (from its first bytes) empty or ours. Returns NULL or the reason why
 * not. */
const char *sqlite_schema_foreign(int fd, const char *path);

/* Creates the schema or checks it, and turns the write-ahead log on. Returns 0 or a negative errno-like code
 * with a reason (no file name, one line) in `reason`. */
int sqlite_schema_open(const struct sqlite_db *db, sqlite3 *connection, char *reason, size_t size);

/* The random number that the file carries. Returns an SQLite result code. */
int sqlite_schema_identity(sqlite3 *connection, int64_t *ret);

/* --- sqlite_feed.c ----------------------------------------------------------------------------- */

int sqlite_feed_init(struct sqlite_feed *feed); /* 0 or a negative libuv error */
void sqlite_feed_free(struct sqlite_feed *feed);

/* On the writer's thread: these writes (linked by next) are durable, as far as their results say so; newest:
 * the second of the newest reading. Comes before anybody hears of it. */
void sqlite_feed_stored(struct sqlite_feed *feed, const struct sqlite_write *first, int64_t newest);

/* --- sqlite_reader.c --------------------------------------------------------------------------- */

enum sqlite_query {
    QUERY_ASCENDING,
    QUERY_ASCENDING_FROM,
    QUERY_DESCENDING,
    QUERY_DESCENDING_FROM,
    QUERY_LATEST,
    QUERY_STATUS,
    QUERY_LIST,
    QUERY_STORED,
    QUERY_TURNS,
    QUERY_COUNT
};

struct sqlite_reader {
    sqlite3 *connection;
    sqlite3_stmt *statements[QUERY_COUNT];
    struct sqlite_reader *next;
};

/* A connection with every statement prepared, from the idle ones or new; NULL when it cannot be had. Any
 * thread. Between the two calls the gate is held. rc: how the read ended; after an error of the file the
 * connection is closed. */
struct sqlite_reader *sqlite_reader_begin(struct sqlite_db *db);
void sqlite_reader_end(struct sqlite_db *db, struct sqlite_reader *reader, int rc);
void sqlite_reader_close_all(struct sqlite_db *db);

/* A read under way: the first member of what the store or the registry allocates for it (with malloc). */
struct sqlite_read {
    struct operation operation;
    uv_work_t work;
    struct sqlite_db *db;
    uint64_t deadline_ms, started_us;
    atomic_bool cancelled;
    struct upstream_result result;
    /* On a pool thread: does the read, sets result.status unless it is UPSTREAM_OK, returns the SQLite result
     * code. */
    int (*run)(struct sqlite_read *read, struct sqlite_reader *reader);
    void (*answer)(struct sqlite_read *read); /* on the worker: calls the callback */
    void (*dispose)(struct sqlite_read
                        *read); /* on the worker: frees what it holds; the struct itself is freed after it */
};

/* Queues the read. Returns its operation, or NULL after disposing of it. */
struct operation *sqlite_read_start(struct sqlite_read *read, struct sqlite_db *db, uv_loop_t *loop,
                                    uint64_t deadline_ms);

/* --- sqlite_writer.c --------------------------------------------------------------------------- */

enum sqlite_write_kind { WRITE_READINGS, WRITE_BACKFILL, WRITE_NOTE, WRITE_PATCH, WRITE_CHECK };

struct sqlite_reading {
    const char *data, *id; /* in the write's own text; id NULL where it has none */
    size_t data_len;
};

/* A write under way, in one allocation with copies of all its text: the caller may go away at any moment. The
 * memory is the writer's from submit on; where nobody cancelled, it becomes the letter's with the post, and
 * deliver() frees it. */
struct sqlite_write {
    struct operation operation;
    struct letter letter;
    struct sqlite_writer *writer;
    struct sqlite_write *next;
    bool cancelled; /* under the writer's lock; the worker that sets it reads it without */
    enum sqlite_write_kind kind;
    struct mailbox *mailbox; /* NULL: nobody is called back */
    uint64_t deadline_ms;    /* 0: none */
    uint64_t started_us;
    size_t bytes; /* of the allocation */

    const char *device_id;
    int64_t ttl_s;
    int64_t at;        /* WRITE_BACKFILL, WRITE_NOTE: given; WRITE_READINGS: the answer */
    int64_t seq;       /* the answer: of the first reading; the others follow it */
    const char *patch; /* WRITE_PATCH */
    size_t patch_len;
    size_t count; /* readings */
    struct sqlite_reading *readings;

    struct upstream_result result;
    const char *reason; /* WRITE_CHECK, static */
    char *reported;     /* WRITE_PATCH: the answer */
    size_t reported_len;

    void (*answer)(struct sqlite_write *write); /* on the worker: calls the callback */
    union {
        telemetry_stored_cb *stored;
        telemetry_check_cb *checked;
        device_check_cb *device_checked;
        device_reported_cb *reported;
        device_done_cb *noted;
    } done;
    void *ctx;
};

/* Readings, a patch or nothing; copies all of it. NULL when out of memory. */
struct sqlite_write *sqlite_write_new(enum sqlite_write_kind kind, const char *device_id,
                                      const struct reading *readings, size_t count, const char *patch,
                                      size_t patch_len);
void sqlite_write_free(struct sqlite_write *write); /* only one that was not submitted, or was answered */

/* Starts the writer's thread on a connection whose schema is in order, which then is the writer's, also on
 * failure. Returns 0 or negative. */
int sqlite_writer_new(struct sqlite_db *db, sqlite3 *connection, struct sqlite_writer **ret_writer);
/* Commits what is queued, ends the thread, closes the connection. Accepts NULL. */
void sqlite_writer_free(struct sqlite_writer *writer);

/* Hands a write over, on its worker's thread. mailbox, deadline_ms, answer, done and ctx are set. Always ends
 * in one answer(), or in a cancel. */
struct operation *sqlite_writer_submit(struct sqlite_writer *writer, struct sqlite_write *write);

/* For blocking callers: queues without a callback, waiting for room; sqlite_writer_wait() for all queued so
 * far. Returns 0, or -EIO where a write without a callback has failed since the last wait. */
void sqlite_writer_queue(struct sqlite_writer *writer, struct sqlite_write *write);
int sqlite_writer_wait(struct sqlite_writer *writer);

/* --- sqlite_group.c ---------------------------------------------------------------------------- */

enum sqlite_statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    FIND_DEVICE,
    ADD_DEVICE,
    TOUCH_DEVICE,
    ADD_READING,
    ADD_READINGS, /* SQLITE_BATCH of them */
    REPLACE_READING,
    GET_REPORTED,
    SET_REPORTED,
    CLEAR_HEARTBEAT,
    SWEEP,
    FIRST_EXPIRY,
    LAST_GIVEN,
    ADD_TURN,
    PROBE,
    STATEMENT_COUNT
};

#define SQLITE_TOUCHES_MAX 1024
#define SQLITE_TOUCH_SLOTS 2048 /* a power of two */

/* A device that this transaction stored readings for: its row is updated once, at the end. */
struct sqlite_touch {
    const char *id; /* the write's own text */
    int64_t key, at, seq;
};

/* Readings without an id are inserted so many at a time: two thirds of the time. */
#define SQLITE_BATCH 16

struct sqlite_row {
    int64_t key, ts, seq, expires;
    const char *data; /* the write's own text */
    size_t data_len;
};

struct sqlite_group {
    struct sqlite_db *db;
    sqlite3 *connection;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    int64_t seq;          /* the last one given */
    int64_t newest;       /* the second of the newest reading */
    int64_t first_expiry; /* no row expires before; INT64_MAX: there is none */
    bool turned;          /* the clock stepped back, and that is not yet committed */
    bool faulted;         /* the last transaction that wrote could not be committed */
    int log_pages, checkpoint_at;
    bool log_waits; /* the log holds pages that are not in the file */
    unsigned touched;
    struct sqlite_touch touches[SQLITE_TOUCHES_MAX];
    uint16_t slots[SQLITE_TOUCH_SLOTS]; /* index into touches + 1 */
    unsigned waiting;
    struct sqlite_row rows[SQLITE_BATCH]; /* not yet inserted */
};

/* Takes the connection, also on failure. Returns an SQLite result code. */
int sqlite_group_new(struct sqlite_db *db, sqlite3 *connection, struct sqlite_group **ret_group);
void sqlite_group_free(struct sqlite_group *group); /* closes the connection; accepts NULL */

/* Runs writes (linked by next) in one transaction and fills in the result of each; where one of them cannot
 * be done, each in one of its own. Returns the microseconds that the transaction took. */
uint64_t sqlite_group_run(struct sqlite_group *group, struct sqlite_write *first);

/* Keeps the log short; called after a group was acknowledged. */
void sqlite_group_checkpoint(struct sqlite_group *group);

/* When nothing waits: deletes some expired rows, else brings the log into the file. Returns true where more
 * is to be done at once. */
bool sqlite_group_idle(struct sqlite_group *group);

/* Runs a statement that answers no row, with what is bound to it. Returns an SQLite result code. */
int sqlite_group_step(struct sqlite_group *group, enum sqlite_statement which);
/* The integers of the first row that a statement answers; those that are NULL, or without a row, are left as
 * they are. */
int sqlite_group_integers(struct sqlite_group *group, enum sqlite_statement which, int count, int64_t *ret);

/* --- sqlite_apply.c ---------------------------------------------------------------------------- */

/* Forgets what a transaction before left behind. */
void sqlite_apply_begin(struct sqlite_group *group);
/* Does one write inside the transaction, at second `at` where it brings none of its own; sets its answer.
 * Returns an SQLite result code. */
int sqlite_apply(struct sqlite_group *group, struct sqlite_write *write, int64_t at);
/* Inserts what waits, and moves last_at, last_seq and heartbeat of every device that readings were stored
 * for. Returns an SQLite result code. */
int sqlite_apply_end(struct sqlite_group *group);

/* --- the gate ---------------------------------------------------------------------------------- */

static inline void sqlite_gate_read_lock(struct sqlite_gate *gate)
{
    if (!gate->active)
        return;
    uv_mutex_lock(&gate->turnstile);
    uv_rwlock_rdlock(&gate->lock);
    uv_mutex_unlock(&gate->turnstile);
}

static inline void sqlite_gate_read_unlock(struct sqlite_gate *gate)
{
    if (gate->active)
        uv_rwlock_rdunlock(&gate->lock);
}

static inline void sqlite_gate_write_lock(struct sqlite_gate *gate)
{
    if (!gate->active)
        return;
    uv_mutex_lock(&gate->turnstile);
    uv_rwlock_wrlock(&gate->lock);
    uv_mutex_unlock(&gate->turnstile);
}

static inline void sqlite_gate_write_unlock(struct sqlite_gate *gate)
{
    if (gate->active)
        uv_rwlock_wrunlock(&gate->lock);
}

#endif
