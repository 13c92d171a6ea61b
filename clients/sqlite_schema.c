#include "sqlite_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* "tlmd"; in the file's header at offset 68 (https://sqlite.org/fileformat2.html, 1.3). */
#define APPLICATION_ID        0x746c6d64
#define APPLICATION_ID_OFFSET 68
#define SCHEMA_VERSION        1
#define HEADER_SIZE           100

/* A whole check reads every page: about a second at this size. A larger file is checked as SQLite opens it:
 * header, length, schema. */
#define QUICK_CHECK_MAX (256LL * 1024 * 1024)

#define BUSY_TIMEOUT_MS 2000 /* somebody looks at the file with the sqlite3 shell */

static const char create_sql[] =
    "BEGIN IMMEDIATE;"
    "PRAGMA application_id=0x746c6d64;"
    "PRAGMA user_version=1;"
    /* last_at: the second of the last reading, 0 for none. last_seq: the largest telemetry.seq the device
     * ever had, so that none is given twice, whatever was deleted since. heartbeat: the second that overrides
     * `lastHeartbeat` of the reported properties, NULL where they say it themselves. */
    "CREATE TABLE devices("
    " key INTEGER PRIMARY KEY,"
    " id TEXT NOT NULL UNIQUE COLLATE BINARY,"
    " last_at INTEGER NOT NULL,"
    " last_seq INTEGER NOT NULL,"
    " heartbeat INTEGER"
    ") STRICT;"
    /* Apart from devices, whose rows are rewritten with every group of readings. */
    "CREATE TABLE reported("
    " device_key INTEGER PRIMARY KEY,"
    " text BLOB NOT NULL"
    ") STRICT;"
    /* Clustered in the order in which pages are read; seq is the order of storing. */
    "CREATE TABLE telemetry("
    " device_key INTEGER NOT NULL,"
    " ts INTEGER NOT NULL,"
    " seq INTEGER NOT NULL,"
    " expires INTEGER NOT NULL,"
    " id TEXT,"
    " data BLOB NOT NULL,"
    " PRIMARY KEY(device_key, ts, seq)"
    ") STRICT, WITHOUT ROWID;"
    /* id: of the item id what follows the device's, so its timestamp; it leads the index, for readings that
     * arrive together then meet on one page, where device by device each would dirty a page of its own. */
    "CREATE UNIQUE INDEX telemetry_id ON telemetry(id, device_key) WHERE id IS NOT NULL;"
    "CREATE INDEX telemetry_expires ON telemetry(expires);"
    "COMMIT;";

/* Made at every opening, for files of before there were streams; a telemetryd of then does not mind them.
 * turns: from seq on readings may have timestamps before those of earlier ones, down to ts. */
static const char streams_sql[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS turns("
    " seq INTEGER PRIMARY KEY,"
    " ts INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE IF NOT EXISTS identity(number INTEGER NOT NULL) STRICT;"
    "INSERT INTO identity SELECT random() WHERE NOT EXISTS (SELECT 1 FROM identity);"
    "COMMIT;";

static const char every_connection_sql[] = "PRAGMA trusted_schema=OFF;"
                                           "PRAGMA cell_size_check=ON;"
                                           "PRAGMA temp_store=MEMORY;"
                                           "PRAGMA cache_size=-8192;";

/* Checkpoints are the writer's own business (sqlite_group.c). */
static const char file_writer_sql[] = "PRAGMA synchronous=FULL;"
                                      "PRAGMA secure_delete=FAST;"
                                      "PRAGMA wal_autocheckpoint=0;"
                                      "PRAGMA journal_size_limit=67108864;";

static const char memory_writer_sql[] = "PRAGMA journal_mode=MEMORY;"
                                        "PRAGMA synchronous=OFF;"
                                        "PRAGMA secure_delete=OFF;";

/* A file from elsewhere may bring triggers and views along; ours has none. */
static const int switched_off[] = {SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_VIEW,
                                   SQLITE_DBCONFIG_TRUSTED_SCHEMA, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION};

int sqlite_schema_connect(const struct sqlite_db *db, bool writer, sqlite3 **ret)
{
    sqlite3 *connection = NULL;
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
    if (db->in_memory)
        flags |= SQLITE_OPEN_URI | SQLITE_OPEN_CREATE;
    int rc = sqlite3_open_v2(db->path, &connection, flags, NULL);
    if (rc != SQLITE_OK)
        goto fail;
    sqlite3_busy_timeout(connection, BUSY_TIMEOUT_MS);
    for (size_t i = 0; i < sizeof switched_off / sizeof switched_off[0]; i++)
        sqlite3_db_config(connection, switched_off[i], 0, (int *)NULL);
    sqlite3_db_config(connection, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
    rc = sqlite3_exec(connection, every_connection_sql, NULL, NULL, NULL);
    if (rc == SQLITE_OK && !writer)
        rc = sqlite3_exec(connection, "PRAGMA query_only=ON", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        goto fail;
    *ret = connection;
    return SQLITE_OK;

fail:
    sqlite3_close(connection);
    return rc;
}

const char *sqlite_schema_foreign(int fd, const char *path)
{
    static const char magic[16] = "SQLite format 3";
    static const char not_ours[] = "not a telemetryd database";

    unsigned char header[HEADER_SIZE];
    ssize_t n = pread(fd, header, sizeof header, 0);
    if (n < 0)
        return "cannot be read";
    if (n == 0)
        return NULL;
    if (n == HEADER_SIZE && memcmp(header, magic, sizeof magic) == 0) {
        const unsigned char *id = header + APPLICATION_ID_OFFSET;
        uint32_t value = (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
        return value == APPLICATION_ID ? NULL : not_ours;
    }
    /* A power loss while the file was made can leave anything; SQLite then rolls its journal back. */
    struct buffer journal = {0};
    buffer_printf(&journal, "%s-journal", path);
    bool recovers = buffer_terminate(&journal) != NULL && access(journal.data, F_OK) == 0;
    buffer_free(&journal);
    return recovers ? NULL : not_ours;
}

/* The one integer that a statement answers; ret is untouched where it answers none. */
static int query_integer(sqlite3 *connection, const char *sql, int64_t *ret)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(connection, sql, -1, &statement, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(statement, 0);
    int end = sqlite3_finalize(statement);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : end;
}

int sqlite_schema_describe(int rc, const char *detail, char *reason, size_t size)
{
    switch (rc & 0xff) {
    case SQLITE_NOTADB: snprintf(reason, size, "not a telemetryd database"); return -EINVAL;
    case SQLITE_CORRUPT: snprintf(reason, size, "damaged (%s)", detail); return -EUCLEAN;
    case SQLITE_NOMEM: snprintf(reason, size, "out of memory"); return -ENOMEM;
    case SQLITE_READONLY: snprintf(reason, size, "cannot be written (%s)", detail); return -EROFS;
    case SQLITE_FULL: snprintf(reason, size, "the disk is full"); return -ENOSPC;
    case SQLITE_BUSY: snprintf(reason, size, "locked by another program"); return -EBUSY;
    default: snprintf(reason, size, "cannot be opened (%s)", detail); return -EIO;
    }
}

static int describe(sqlite3 *connection, int rc, char *reason, size_t size)
{
    return sqlite_schema_describe(rc, sqlite3_errmsg(connection), reason, size);
}

/* The first complaint of PRAGMA quick_check. */
static int check_pages(const struct sqlite_db *db, sqlite3 *connection, char *reason, size_t size)
{
    struct stat st;
    if (db->in_memory || stat(db->path, &st) != 0 || st.st_size > QUICK_CHECK_MAX)
        return 0;
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(connection, "PRAGMA quick_check(1)", -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    int r = 0;
    if (rc != SQLITE_ROW) {
        r = describe(connection, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, reason, size);
    } else {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        if (text == NULL || strcmp(text, "ok") != 0) {
            snprintf(reason, size, "damaged (%s)", text != NULL ? text : "unreadable");
            r = -EUCLEAN;
        }
    }
    sqlite3_finalize(statement);
    return r;
}

/* Every table and index of ours, and nothing else that could run or be read instead of them. */
static int check_objects(sqlite3 *connection, char *reason, size_t size)
{
    int64_t ours = 0, others = 0;
    int rc = query_integer(connection,
                           "SELECT count(*) FROM sqlite_schema WHERE (type='table' AND name IN "
                           "('devices','reported','telemetry')) OR (type='index' AND name IN "
                           "('telemetry_id','telemetry_expires'))",
                           &ours);
    if (rc == SQLITE_OK)
        rc = query_integer(connection, "SELECT count(*) FROM sqlite_schema WHERE type IN ('trigger','view')",
                           &others);
    if (rc != SQLITE_OK)
        return describe(connection, rc, reason, size);
    if (ours == 5 && others == 0)
        return 0;
    snprintf(reason, size, "damaged (its tables are not those of schema version %d)", SCHEMA_VERSION);
    return -EUCLEAN;
}

static int use_log(const struct sqlite_db *db, sqlite3 *connection, char *reason, size_t size)
{
    if (db->in_memory)
        return 0;
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(connection, "PRAGMA journal_mode=WAL", -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    bool wal = rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
    sqlite3_finalize(statement);
    if (wal)
        return 0;
    if (rc != SQLITE_ROW)
        return describe(connection, rc, reason, size);
    snprintf(reason, size, "its file system cannot hold a write-ahead log");
    return -EIO;
}

int sqlite_schema_open(const struct sqlite_db *db, sqlite3 *connection, char *reason, size_t size)
{
    int64_t application = 0, version = 0, pages = 0;
    int rc = sqlite3_exec(connection, db->in_memory ? memory_writer_sql : file_writer_sql, NULL, NULL, NULL);
    /* The first statement that reads the file also rolls back what a crash left half done. */
    if (rc == SQLITE_OK)
        rc = query_integer(connection, "PRAGMA application_id", &application);
    if (rc == SQLITE_OK)
        rc = query_integer(connection, "PRAGMA user_version", &version);
    if (rc == SQLITE_OK)
        rc = query_integer(connection, "PRAGMA page_count", &pages);
    if (rc != SQLITE_OK)
        return describe(connection, rc, reason, size);

    bool empty = version == 0 && (pages == 0 || application == APPLICATION_ID);
    if (!empty && (application != APPLICATION_ID || version < 0)) {
        snprintf(reason, size, "not a telemetryd database");
        return -EINVAL;
    }
    if (version > SCHEMA_VERSION) {
        snprintf(reason, size, "made by a newer telemetryd (schema version %" PRId64 ", this one knows %d)",
                 version, SCHEMA_VERSION);
        return -ENOTSUP;
    }
    if (empty) {
        /* One transaction under a rollback journal: a crash leaves an empty file or a whole one. */
        rc = sqlite3_exec(connection, create_sql, NULL, NULL, NULL);
        if (rc != SQLITE_OK)
            return describe(connection, rc, reason, size);
    }
    int r = empty ? 0 : check_pages(db, connection, reason, size);
    if (r == 0)
        r = check_objects(connection, reason, size);
    if (r == 0)
        r = use_log(db, connection, reason, size);
    if (r == 0 && (rc = sqlite3_exec(connection, streams_sql, NULL, NULL, NULL)) != SQLITE_OK)
        r = describe(connection, rc, reason, size);
    return r;
}

int sqlite_schema_identity(sqlite3 *connection, int64_t *ret)
{
    return query_integer(connection, "SELECT number FROM identity", ret);
}
