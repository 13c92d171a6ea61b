/*
 * bench_sqlite - the embedded store against the bare sqlite3 C API, in one run and on one file system.
 *
 *     bench_sqlite [DIRECTORY]      (default: the current one; the file is removed)
 *
 * Writes: 64 writers that each store one reading, wait until it is durable and store the next, against a loop
 * that inserts the same rows into the same schema, 64 to a transaction. Pages: 24 hours of a reading a minute
 * as JSON through read_range(), against a loop that steps through the same rows and copies their bytes. The
 * two sides take turns, and the median of the rounds counts. Prints a table, then `name value` lines.
 */
#include "mailbox.h"
#include "sqlite_db.h"

#include <malloc.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define ROUNDS      7
#define WRITERS     64
#define ROUND_US    700000
#define PAGE_ROWS   1440
#define PAGES       400
#define DEVICES_MAX WRITERS
#define TTL_S       604800
#define PATH_SIZE   4096
#define READING     "{\"temperature\":21.53,\"humidity\":40.2,\"timestamp\":\"2026-11-23T07:00:00Z\"}"
#define DEADLINE_MS 60000

struct sample {
    double ours[ROUNDS], bare[ROUNDS];
};

struct bench {
    char path[PATH_SIZE];
    uv_loop_t loop;
    struct mailbox *mailbox;
    struct sqlite_db *db;
    struct telemetry_store *store;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_sqlite: %s\n", what);
    exit(1);
}

static void run_sql(sqlite3 *connection, const char *sql)
{
    if (sqlite3_exec(connection, sql, NULL, NULL, NULL) != SQLITE_OK)
        die(sqlite3_errmsg(connection));
}

static sqlite3_stmt *prepare(sqlite3 *connection, const char *sql)
{
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v3(connection, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK)
        die(sqlite3_errmsg(connection));
    return statement;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, by_value);
    return values[ROUNDS / 2];
}

static void device_name(char out[32], unsigned number)
{
    snprintf(out, 32, "device-%u", number);
}

/* --- life -------------------------------------------------------------------------------------- */

static void remove_file(const struct bench *bench)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char name[PATH_SIZE + 16];
        snprintf(name, sizeof name, "%s%s", bench->path, suffixes[i]);
        unlink(name);
    }
}

static void open_store(struct bench *bench)
{
    char message[512];
    const struct sqlite_db_options options = {.path = bench->path};
    if (sqlite_db_open(&options, &bench->db, message, sizeof message) != 0)
        die(message);
    bench->store = sqlite_store_new(bench->db, &bench->loop, bench->mailbox);
    if (bench->store == NULL)
        die("out of memory");
}

static void close_store(struct bench *bench)
{
    bench->store->ops->free(bench->store);
    sqlite_db_close(bench->db);
}

/* --- writes ------------------------------------------------------------------------------------ */

struct writers {
    struct bench *bench;
    uint64_t until_us;
    unsigned long stored;
    unsigned under_way;
};

struct writer {
    struct writers *all;
    char device[32];
};

static void write_one(struct writer *writer);

static void on_stored(void *ctx, const struct upstream_result *result, size_t stored, int64_t at)
{
    struct writer *writer = ctx;
    if (result->status != UPSTREAM_OK)
        die("a write failed");
    writer->all->stored++;
    writer->all->under_way--;
    if (clock_monotonic_us() < writer->all->until_us)
        write_one(writer);
}

static void write_one(struct writer *writer)
{
    struct telemetry_store *store = writer->all->bench->store;
    const struct reading reading = {.data = READING, .data_len = sizeof READING - 1};
    const struct telemetry_write write = {.device_id = writer->device,
                                          .readings = &reading,
                                          .count = 1,
                                          .ttl_s = TTL_S,
                                          .deadline_ms = clock_monotonic_ms() + DEADLINE_MS};
    if (store->ops->write(store, &write, on_stored, writer) == NULL)
        die("a write could not start");
    writer->all->under_way++;
}

static double ours_writes(struct bench *bench, unsigned devices)
{
    static struct writer writers[WRITERS];
    open_store(bench);
    uint64_t started = clock_monotonic_us();
    struct writers all = {.bench = bench, .until_us = started + ROUND_US};
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i].all = &all;
        device_name(writers[i].device, i % devices);
        write_one(&writers[i]);
    }
    while (all.under_way > 0)
        uv_run(&bench->loop, UV_RUN_ONCE);
    double rate = (double)all.stored / ((double)(clock_monotonic_us() - started) / 1e6);
    close_store(bench);
    return rate;
}

static void finish(sqlite3_stmt *statement)
{
    if (sqlite3_step(statement) != SQLITE_DONE)
        die("a statement failed");
    sqlite3_reset(statement);
}

static double bare_writes(struct bench *bench, unsigned devices)
{
    sqlite3 *connection;
    if (sqlite3_open_v2(bench->path, &connection, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        die("open");
    run_sql(connection, "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4096; PRAGMA secure_delete=FAST;"
                        "PRAGMA cache_size=-8192; PRAGMA temp_store=MEMORY");
    for (unsigned i = 0; i < devices; i++) {
        char sql[128];
        snprintf(sql, sizeof sql,
                 "INSERT OR IGNORE INTO devices(id, last_at, last_seq) VALUES('device-%u', 0, 0)", i);
        run_sql(connection, sql);
    }
    sqlite3_stmt *last = prepare(connection, "SELECT max(last_seq) FROM devices");
    sqlite3_step(last);
    int64_t seq = sqlite3_column_int64(last, 0);
    sqlite3_finalize(last);
    sqlite3_stmt *begin = prepare(connection, "BEGIN IMMEDIATE"), *commit = prepare(connection, "COMMIT");
    sqlite3_stmt *find = prepare(connection, "SELECT key FROM devices WHERE id=?1");
    sqlite3_stmt *touch =
        prepare(connection, "UPDATE devices SET last_at=?2, last_seq=?3, heartbeat=?2 WHERE key=?1");
    sqlite3_stmt *add = prepare(
        connection, "INSERT INTO telemetry(device_key, ts, seq, expires, data) VALUES(?1, ?2, ?3, ?4, ?5)");

    unsigned long stored = 0;
    uint64_t started = clock_monotonic_us();
    while (clock_monotonic_us() < started + ROUND_US) {
        int64_t now = clock_wall_s(), keys[DEVICES_MAX];
        finish(begin);
        for (unsigned i = 0; i < WRITERS; i++) {
            if (i < devices) {
                char device[32];
                device_name(device, i);
                sqlite3_bind_text(find, 1, device, -1, SQLITE_STATIC);
                if (sqlite3_step(find) != SQLITE_ROW)
                    die("a device is missing");
                keys[i] = sqlite3_column_int64(find, 0);
                sqlite3_reset(find);
            }
            sqlite3_bind_int64(add, 1, keys[i % devices]);
            sqlite3_bind_int64(add, 2, now);
            sqlite3_bind_int64(add, 3, ++seq);
            sqlite3_bind_int64(add, 4, now + TTL_S);
            sqlite3_bind_blob(add, 5, READING, sizeof READING - 1, SQLITE_STATIC);
            finish(add);
        }
        for (unsigned i = 0; i < devices; i++) {
            sqlite3_bind_int64(touch, 1, keys[i]);
            sqlite3_bind_int64(touch, 2, now);
            sqlite3_bind_int64(touch, 3, seq);
            finish(touch);
        }
        finish(commit);
        stored += WRITERS;
    }
    double rate = (double)stored / ((double)(clock_monotonic_us() - started) / 1e6);
    sqlite3_stmt *const all[] = {begin, commit, find, touch, add};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sqlite3_finalize(all[i]);
    sqlite3_close(connection);
    return rate;
}

static void bench_writes(struct bench *bench, unsigned devices, struct sample *sample)
{
    remove_file(bench);
    open_store(bench);
    close_store(bench);
    for (unsigned round = 0; round < ROUNDS; round++) {
        sample->bare[round] = bare_writes(bench, devices);
        sample->ours[round] = ours_writes(bench, devices);
    }
}

/* --- pages ------------------------------------------------------------------------------------- */

struct pages {
    struct bench *bench;
    int64_t now;
    unsigned left;
};

static void read_one(struct pages *pages);

static void on_page(void *ctx, const struct upstream_result *result, struct telemetry_page *page)
{
    struct pages *pages = ctx;
    if (page == NULL || page->count != PAGE_ROWS)
        die("a page is not whole");
    if (--pages->left > 0)
        read_one(pages);
}

static void read_one(struct pages *pages)
{
    struct telemetry_store *store = pages->bench->store;
    const struct telemetry_range range = {.device_id = "page",
                                          .after = pages->now - 86400,
                                          .until = pages->now,
                                          .limit = 10000,
                                          .deadline_ms = clock_monotonic_ms() + DEADLINE_MS};
    if (store->ops->read_range(store, &range, on_page, pages) == NULL)
        die("a read could not start");
}

static uint64_t cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* Pages a second of one reader who waits for each, and pages a second of CPU time: the former also pays for
 * waking two threads a page, which a server with many readers does not wait for. */
struct page_rates {
    double per_second, per_cpu_second;
};

static struct page_rates rates_since(uint64_t started_us, uint64_t started_cpu_us)
{
    return (struct page_rates){PAGES / ((double)(clock_monotonic_us() - started_us) / 1e6),
                               PAGES / ((double)(cpu_us() - started_cpu_us) / 1e6)};
}

static struct page_rates ours_pages(struct bench *bench, int64_t now)
{
    uint64_t started = clock_monotonic_us(), started_cpu = cpu_us();
    struct pages pages = {.bench = bench, .now = now, .left = PAGES};
    read_one(&pages);
    while (pages.left > 0)
        uv_run(&bench->loop, UV_RUN_ONCE);
    return rates_since(started, started_cpu);
}

static struct page_rates bare_pages(sqlite3_stmt *statement, int64_t now)
{
    static char page[1 << 20];
    volatile char sink;
    uint64_t started = clock_monotonic_us(), started_cpu = cpu_us();
    for (unsigned i = 0; i < PAGES; i++) {
        size_t len = 0;
        int64_t sum = 0;
        unsigned rows = 0;
        sqlite3_bind_text(statement, 1, "page", -1, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 2, now - 86400);
        sqlite3_bind_int64(statement, 3, now);
        sqlite3_bind_int64(statement, 4, clock_wall_s());
        sqlite3_bind_int64(statement, 5, 10001);
        while (sqlite3_step(statement) == SQLITE_ROW) {
            sum += sqlite3_column_int64(statement, 0) + sqlite3_column_int64(statement, 1);
            const void *data = sqlite3_column_blob(statement, 2);
            size_t n = (size_t)sqlite3_column_bytes(statement, 2);
            memcpy(page + len, data, n);
            len += n;
            rows++;
        }
        sqlite3_reset(statement);
        if (rows != PAGE_ROWS)
            die("a bare page is not whole");
        sink = page[(size_t)sum % len];
    }
    (void)sink;
    return rates_since(started, started_cpu);
}

static double bench_pages(struct bench *bench, struct sample *sample, struct sample *cpu_sample)
{
    int64_t now = clock_wall_s();
    remove_file(bench);
    open_store(bench);
    uint64_t started = clock_monotonic_us();
    for (unsigned device = 0; device < 5; device++) {
        char name[32];
        device_name(name, device);
        for (int64_t i = 0; i < PAGE_ROWS; i++)
            sqlite_db_backfill(bench->db, device == 2 ? "page" : name, READING, sizeof READING - 1,
                               now - 60 * (PAGE_ROWS - 1 - i), TTL_S);
    }
    if (sqlite_db_flush(bench->db) != 0)
        die("the backfill failed");
    double backfill_ms = (double)(clock_monotonic_us() - started) / 1e3;

    sqlite3 *connection;
    if (sqlite3_open_v2(bench->path, &connection, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        die("open");
    run_sql(connection, "PRAGMA cache_size=-8192");
    sqlite3_stmt *statement =
        prepare(connection,
                "SELECT ts, seq, data FROM telemetry WHERE device_key=(SELECT key FROM devices WHERE id=?1)"
                " AND ts > ?2 AND ts <= ?3 AND expires > ?4 ORDER BY ts DESC, seq DESC LIMIT ?5");
    bare_pages(statement, now);
    ours_pages(bench, now);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct page_rates bare = bare_pages(statement, now), ours = ours_pages(bench, now);
        sample->bare[round] = bare.per_second;
        sample->ours[round] = ours.per_second;
        cpu_sample->bare[round] = bare.per_cpu_second;
        cpu_sample->ours[round] = ours.per_cpu_second;
    }
    sqlite3_finalize(statement);
    sqlite3_close(connection);
    close_store(bench);
    return backfill_ms;
}

/* --- the report -------------------------------------------------------------------------------- */

struct line {
    const char *title, *name;
    struct sample sample;
    double ours, bare;
};

int main(int argc, char **argv)
{
    static struct line lines[] = {
        {"durable writes/s, 64 writers, 64 devices", "sqlite_writes", {{0}, {0}}, 0, 0},
        {"durable writes/s, 64 writers, 1 device", "sqlite_writes_one_device", {{0}, {0}}, 0, 0},
        {"pages/s, 1440 readings, one at a time", "sqlite_pages", {{0}, {0}}, 0, 0},
        {"pages per second of CPU time", "sqlite_pages_cpu", {{0}, {0}}, 0, 0},
    };
    enum { line_count = sizeof lines / sizeof lines[0] };
    struct bench bench = {0};
    /* As server/server.c sets it: pages are not mapped and unmapped one by one. */
    mallopt(M_MMAP_THRESHOLD, 8 << 20);
    mallopt(M_TRIM_THRESHOLD, 16 << 20);
    snprintf(bench.path, sizeof bench.path, "%s/bench_sqlite-%ld.db", argc > 1 ? argv[1] : ".",
             (long)getpid());
    if (uv_loop_init(&bench.loop) != 0 || mailbox_new(&bench.loop, &bench.mailbox) != 0)
        die("no event loop");

    bench_writes(&bench, WRITERS, &lines[0].sample);
    bench_writes(&bench, 1, &lines[1].sample);
    double backfill_ms = bench_pages(&bench, &lines[2].sample, &lines[3].sample);

    remove_file(&bench);
    mailbox_close(bench.mailbox);
    uv_run(&bench.loop, UV_RUN_DEFAULT);
    uv_loop_close(&bench.loop);

    printf("%-44s %12s %12s %8s\n", "", "telemetryd", "bare sqlite", "ratio");
    for (size_t i = 0; i < line_count; i++) {
        lines[i].ours = median(lines[i].sample.ours);
        lines[i].bare = median(lines[i].sample.bare);
        printf("%-44s %12.0f %12.0f %8.2f\n", lines[i].title, lines[i].ours, lines[i].bare,
               lines[i].ours / lines[i].bare);
    }
    printf("%-44s %9.1f ms\n\n", "backfill of 5 x 1440 readings", backfill_ms);
    for (size_t i = 0; i < line_count; i++) {
        printf("%s_per_s %.0f\n", lines[i].name, lines[i].ours);
        printf("%s_ratio %.3f\n", lines[i].name, lines[i].ours / lines[i].bare);
    }
    printf("sqlite_backfill_ms %.2f\n", backfill_ms);
    return 0;
}
