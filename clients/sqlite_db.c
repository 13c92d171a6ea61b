#include "sqlite_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Readings and reported properties are nobody else's business; SQLite gives its log the same mode. */
#define FILE_MODE 0600

#define REASON_SIZE 256

/* One line that names the file. */
static int refuse(const char *path, int r, const char *reason, char *message, size_t size)
{
    snprintf(message, size, "%s: %s", path, reason);
    for (size_t i = 0; i < size && message[i] != '\0'; i++)
        if ((unsigned char)message[i] < 0x20 || message[i] == 0x7f)
            message[i] = '?';
    return r;
}

/* --- open -------------------------------------------------------------------------------------- */

/* Opens the file and locks it for this process. The descriptor is closed after SQLite's own, as closing any
 * descriptor of a file drops the POSIX locks that the process holds on it. */
static int lock_file(struct sqlite_db *db, const char *path, char *message, size_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, FILE_MODE);
    if (fd < 0) {
        int r = -errno;
        return refuse(path, r, strerror(-r), message, size);
    }
    struct stat st;
    int r = 0;
    const char *foreign = NULL;
    if (fstat(fd, &st) != 0)
        r = refuse(path, -errno, strerror(errno), message, size);
    else if (!S_ISREG(st.st_mode))
        r = refuse(path, -EINVAL, "not a regular file", message, size);
    else if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        r = errno == EWOULDBLOCK ? refuse(path, -EBUSY, "in use by another telemetryd", message, size)
                                 : refuse(path, -errno, strerror(errno), message, size);
    else if ((db->path = realpath(path, NULL)) == NULL)
        r = refuse(path, -errno, strerror(errno), message, size);
    else if ((foreign = sqlite_schema_foreign(fd, db->path)) != NULL)
        r = refuse(path, -EINVAL, foreign, message, size);
    if (r != 0) {
        close(fd);
        return r;
    }
    db->lock_fd = fd;
    return 0;
}

/* A database in memory that every connection of this process opens by its name. */
static int name_memory(struct sqlite_db *db, char *message, size_t size)
{
    struct buffer uri = {0};
    buffer_printf(&uri, "file:/telemetryd-%p?vfs=memdb", (void *)db);
    db->path = buffer_take(&uri, NULL);
    db->in_memory = true;
    return db->path != NULL ? 0 : refuse(":memory:", -ENOMEM, "out of memory", message, size);
}

static int open_connections(struct sqlite_db *db, const char *path, char *message, size_t size)
{
    char reason[REASON_SIZE] = "";
    sqlite3 *connection = NULL;
    int rc = sqlite_schema_connect(db, true, &connection);
    int r = rc == SQLITE_OK ? sqlite_schema_open(db, connection, reason, sizeof reason)
                            : sqlite_schema_describe(rc, sqlite3_errstr(rc), reason, sizeof reason);
    if (r == 0 && (rc = sqlite_schema_identity(connection, &db->identity)) != SQLITE_OK)
        r = sqlite_schema_describe(rc, sqlite3_errstr(rc), reason, sizeof reason);
    if (r != 0) {
        sqlite3_close(connection);
        return refuse(path, r, reason, message, size);
    }
    r = sqlite_writer_new(db, connection, &db->writer);
    if (r != 0)
        return refuse(path, r, r == -EUCLEAN ? "damaged (its tables cannot be used)" : strerror(-r), message,
                      size);
    /* The first reader now, so that what would fail every read fails the start. */
    struct sqlite_reader *reader = sqlite_reader_begin(db);
    if (reader == NULL)
        return refuse(path, -EIO, "cannot be read", message, size);
    sqlite_reader_end(db, reader, SQLITE_OK);
    return 0;
}

static int init_locks(struct sqlite_db *db)
{
    int r = uv_mutex_init(&db->readers_lock);
    if (r != 0)
        return r;
    r = uv_mutex_init(&db->gate.turnstile);
    if (r != 0)
        goto fail_turnstile;
    r = uv_rwlock_init(&db->gate.lock);
    if (r != 0)
        goto fail_lock;
    r = sqlite_feed_init(&db->feed);
    if (r != 0)
        goto fail_feed;
    return 0;

fail_feed:
    uv_rwlock_destroy(&db->gate.lock);
fail_lock:
    uv_mutex_destroy(&db->gate.turnstile);
fail_turnstile:
    uv_mutex_destroy(&db->readers_lock);
    return r;
}

int sqlite_db_open(const struct sqlite_db_options *options, struct sqlite_db **ret_db, char *message,
                   size_t message_size)
{
    const char *path = options->path;
    struct sqlite_db *db = calloc(1, sizeof *db);
    if (db == NULL)
        return refuse(path, -ENOMEM, "out of memory", message, message_size);
    db->clock = options->clock;
    db->ttl_s = options->ttl_s;
    db->lock_fd = -1;
    int r = init_locks(db);
    if (r != 0) {
        free(db);
        return refuse(path, r, strerror(-r), message, message_size);
    }
    if (strcmp(path, ":memory:") == 0)
        r = name_memory(db, message, message_size);
    else
        r = lock_file(db, path, message, message_size);
    db->gate.active = db->in_memory;
    if (r == 0)
        r = open_connections(db, path, message, message_size);
    if (r != 0) {
        sqlite_db_close(db);
        return r;
    }
    *ret_db = db;
    return 0;
}

void sqlite_db_close(struct sqlite_db *db)
{
    if (db == NULL)
        return;
    /* The writer's connection goes last and with it brings the log into the file. */
    struct sqlite_writer *writer = db->writer;
    sqlite_reader_close_all(db);
    sqlite_writer_free(writer);
    if (db->lock_fd >= 0)
        close(db->lock_fd);
    sqlite_feed_free(&db->feed);
    uv_rwlock_destroy(&db->gate.lock);
    uv_mutex_destroy(&db->gate.turnstile);
    uv_mutex_destroy(&db->readers_lock);
    free(db->path);
    free(db);
}

/* --- blocking calls ---------------------------------------------------------------------------- */

int sqlite_db_backfill(struct sqlite_db *db, const char *device_id, const char *data, size_t data_len,
                       int64_t at, int64_t ttl_s)
{
    const struct reading reading = {.data = data, .data_len = data_len};
    struct sqlite_write *write = sqlite_write_new(WRITE_BACKFILL, device_id, &reading, 1, NULL, 0);
    if (write == NULL)
        return -ENOMEM;
    write->at = at;
    write->ttl_s = ttl_s;
    sqlite_writer_queue(db->writer, write);
    return 0;
}

int sqlite_db_flush(struct sqlite_db *db)
{
    return sqlite_writer_wait(db->writer);
}

int sqlite_db_patch(struct sqlite_db *db, const char *device_id, const char *patch)
{
    struct sqlite_write *write = sqlite_write_new(WRITE_PATCH, device_id, NULL, 0, patch, strlen(patch));
    if (write == NULL)
        return -ENOMEM;
    sqlite_writer_queue(db->writer, write);
    return sqlite_writer_wait(db->writer);
}

int64_t sqlite_db_newest(struct sqlite_db *db, const char *device_id)
{
    struct sqlite_reader *reader = sqlite_reader_begin(db);
    if (reader == NULL)
        return -EIO;
    sqlite3_stmt *statement = reader->statements[QUERY_LATEST];
    sqlite3_bind_text(statement, 1, device_id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, clock_now(&db->clock));
    int rc = sqlite3_step(statement);
    int64_t at = rc == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    rc = rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
    sqlite_reader_end(db, reader, rc);
    return rc == SQLITE_OK ? at : -EIO;
}
