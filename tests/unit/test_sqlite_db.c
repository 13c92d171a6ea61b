#include "sqlite_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* --- files ------------------------------------------------------------------------------------- */

static int setup_directory(void **state)
{
    struct fixture *fx = calloc(1, sizeof *fx);
    if (fx == NULL)
        return -1;
    fx->now = NOW;
    harness_make_directory(fx->directory);
    snprintf(fx->path, sizeof fx->path, "%.200s/data.db", fx->directory);
    *state = fx;
    return 0;
}

static int teardown_directory(void **state)
{
    struct fixture *fx = *state;
    harness_remove_directory(fx->directory);
    free(fx);
    return 0;
}

static int open_at(struct fixture *fx, const char *path, struct sqlite_db **ret_db, char message[512])
{
    const struct sqlite_db_options options = {.path = path, .clock = {harness_now, fx}};
    return sqlite_db_open(&options, ret_db, message, 512);
}

static void assert_opens(struct fixture *fx)
{
    struct sqlite_db *db = NULL;
    char message[512] = "";
    if (open_at(fx, fx->path, &db, message) != 0)
        fail_msg("%s", message);
    assert_int_equal(sqlite_db_backfill(db, "opens", "{}", 2, NOW, TTL), 0);
    assert_int_equal(sqlite_db_flush(db), 0);
    sqlite_db_close(db);
}

static void sql(const char *path, const char *text)
{
    sqlite3 *connection;
    char *error = NULL;
    assert_int_equal(sqlite3_open(path, &connection), SQLITE_OK);
    if (sqlite3_exec(connection, text, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", text, error);
    sqlite3_close(connection);
}

static int64_t sql_integer(const char *path, const char *text)
{
    sqlite3 *connection;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open(path, &connection), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(connection, text, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(connection);
    return value;
}

static void put_file(const char *path, const void *bytes, size_t len)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static char *get_file(const char *path, size_t *ret_len)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    char *bytes = calloc(1, (size_t)st.st_size + 1);
    FILE *file = fopen(path, "rb");
    assert_non_null(bytes);
    assert_non_null(file);
    *ret_len = fread(bytes, 1, (size_t)st.st_size, file);
    fclose(file);
    return bytes;
}

/* A database of ours with some pages of readings, closed. */
static void make_ours(struct fixture *fx)
{
    struct sqlite_db *db = NULL;
    char message[512] = "";
    assert_int_equal(open_at(fx, fx->path, &db, message), 0);
    for (int i = 0; i < 500; i++)
        assert_int_equal(
            sqlite_db_backfill(db, "d", "{\"temperature\":21.5,\"humidity\":40.2}", 36, NOW + i, TTL), 0);
    assert_int_equal(sqlite_db_flush(db), 0);
    sqlite_db_close(db);
}

static void overwrite(const char *path, long offset, size_t len)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    while (len-- > 0)
        fputc(0x5a, file);
    assert_int_equal(fclose(file), 0);
}

static void make_garbage(struct fixture *fx)
{
    static const char text[] = "these are the readings of last week, and I want to keep them";
    put_file(fx->path, text, sizeof text);
}

static void make_long_garbage(struct fixture *fx)
{
    char bytes[20000];
    memset(bytes, 0x5a, sizeof bytes);
    put_file(fx->path, bytes, sizeof bytes);
}

static void make_foreign(struct fixture *fx)
{
    sql(fx->path, "CREATE TABLE photos(id); INSERT INTO photos VALUES(1)");
}

static void make_foreign_log(struct fixture *fx)
{
    sql(fx->path, "PRAGMA journal_mode=WAL; PRAGMA application_id=42; CREATE TABLE devices(id)");
}

static void make_newer(struct fixture *fx)
{
    make_ours(fx);
    sql(fx->path, "PRAGMA user_version=2");
}

static void make_cut_in_half(struct fixture *fx)
{
    struct stat st;
    make_ours(fx);
    assert_int_equal(stat(fx->path, &st), 0);
    assert_int_equal(truncate(fx->path, st.st_size / 2), 0);
}

static void make_cut_in_a_page(struct fixture *fx)
{
    struct stat st;
    make_ours(fx);
    assert_int_equal(stat(fx->path, &st), 0);
    assert_int_equal(truncate(fx->path, st.st_size - 1000), 0);
}

static void make_cut_in_the_header(struct fixture *fx)
{
    make_ours(fx);
    assert_int_equal(truncate(fx->path, 50), 0);
}

static void make_bad_page(struct fixture *fx)
{
    struct stat st;
    make_ours(fx);
    assert_int_equal(stat(fx->path, &st), 0);
    overwrite(fx->path, (long)st.st_size / 4096 / 2 * 4096, 4096);
}

static void make_bad_schema(struct fixture *fx)
{
    make_ours(fx);
    overwrite(fx->path, 100, 3000);
}

static void make_missing_table(struct fixture *fx)
{
    make_ours(fx);
    sql(fx->path, "DROP TABLE reported");
}

static void make_missing_index(struct fixture *fx)
{
    make_ours(fx);
    sql(fx->path, "DROP INDEX telemetry_id");
}

static void make_other_columns(struct fixture *fx)
{
    make_ours(fx);
    sql(fx->path, "ALTER TABLE telemetry RENAME COLUMN seq TO number");
}

static void make_trigger(struct fixture *fx)
{
    make_ours(fx);
    sql(fx->path, "CREATE TRIGGER t AFTER INSERT ON devices BEGIN DELETE FROM devices; END");
}

static void make_directory(struct fixture *fx)
{
    assert_int_equal(mkdir(fx->path, 0700), 0);
}

static void make_fifo(struct fixture *fx)
{
    assert_int_equal(mkfifo(fx->path, 0600), 0);
}

static void make_path_missing(struct fixture *fx)
{
    snprintf(fx->path, sizeof fx->path, "%.150s/missing/data.db", fx->directory);
}

static void make_path_empty(struct fixture *fx)
{
    fx->path[0] = '\0';
}

static void what_is_not_ours_and_whole_is_refused_untouched(void **state)
{
    static const struct {
        const char *what;
        void (*make)(struct fixture *fx);
        int error;
        const char *message;
    } cases[] = {
        {"short garbage", make_garbage, -EINVAL, "not a telemetryd database"},
        {"long garbage", make_long_garbage, -EINVAL, "not a telemetryd database"},
        {"another program's SQLite file", make_foreign, -EINVAL, "not a telemetryd database"},
        {"one with a write-ahead log", make_foreign_log, -EINVAL, "not a telemetryd database"},
        {"a newer schema", make_newer, -ENOTSUP, "newer telemetryd"},
        {"cut in half", make_cut_in_half, -EUCLEAN, "damaged"},
        {"cut in a page", make_cut_in_a_page, -EUCLEAN, "damaged"},
        {"cut in the header", make_cut_in_the_header, -EINVAL, "not a telemetryd database"},
        {"a page overwritten", make_bad_page, -EUCLEAN, "damaged"},
        {"the schema overwritten", make_bad_schema, -EUCLEAN, "damaged"},
        {"a table missing", make_missing_table, -EUCLEAN, "damaged"},
        {"an index missing", make_missing_index, -EUCLEAN, "damaged"},
        {"a table with other columns", make_other_columns, -EUCLEAN, "damaged"},
        {"a trigger", make_trigger, -EUCLEAN, "damaged"},
        {"a directory", make_directory, -EISDIR, "directory"},
        {"a pipe", make_fifo, -EINVAL, "not a regular file"},
        {"a directory that is not there", make_path_missing, -ENOENT, "No such file"},
        {"no name", make_path_empty, -ENOENT, "No such file"},
    };
    struct fixture *fx = *state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        cases[i].make(fx);
        struct stat st = {0};
        size_t len = 0, len_after = 0;
        bool is_file = stat(fx->path, &st) == 0 && S_ISREG(st.st_mode);
        char *before = is_file ? get_file(fx->path, &len) : NULL;

        struct sqlite_db *db = (struct sqlite_db *)1;
        char message[512] = "";
        int r = open_at(fx, fx->path, &db, message);
        if (r != cases[i].error || strstr(message, cases[i].message) == NULL)
            fail_msg("%s: %d '%s'", cases[i].what, r, message);
        assert_memory_equal(message, fx->path, strlen(fx->path));
        assert_null(strchr(message, '\n'));
        assert_ptr_equal(db, (struct sqlite_db *)1);
        if (is_file) {
            char *after = get_file(fx->path, &len_after);
            assert_int_equal(len, len_after);
            assert_memory_equal(before, after, len);
            free(after);
            free(before);
        }
        snprintf(fx->path, sizeof fx->path, "%.200s/data.db", fx->directory);
        static const char *const suffixes[] = {"", "-wal", "-shm"};
        for (size_t k = 0; k < COUNT(suffixes); k++) {
            char name[HARNESS_PATH + 8];
            snprintf(name, sizeof name, "%s%s", fx->path, suffixes[k]);
            if (unlink(name) != 0)
                rmdir(name);
        }
    }
}

static void a_message_is_one_line_within_its_bounds(void **state)
{
    struct fixture *fx = *state;
    char path[HARNESS_PATH + 32], message[512], tiny[8];
    struct sqlite_db *db = NULL;
    snprintf(path, sizeof path, "%s/a\nb\x1b/data.db", fx->directory);
    assert_int_equal(open_at(fx, path, &db, message), -ENOENT);
    assert_non_null(strstr(message, "/a?b?/data.db: "));
    const struct sqlite_db_options options = {.path = path, .clock = {harness_now, fx}};
    memset(tiny, 'x', sizeof tiny);
    assert_int_equal(sqlite_db_open(&options, &db, tiny, sizeof tiny), -ENOENT);
    assert_int_equal(strlen(tiny), sizeof tiny - 1);
}

static void make_nothing(struct fixture *fx) {}

static void make_empty(struct fixture *fx)
{
    put_file(fx->path, "", 0);
}

static void make_header_only(struct fixture *fx)
{
    sql(fx->path, "PRAGMA application_id=0x746c6d64");
}

static void make_before_the_log(struct fixture *fx)
{
    make_ours(fx);
    sql(fx->path, "PRAGMA journal_mode=DELETE");
}

static void what_a_creation_may_leave_is_opened(void **state)
{
    static void (*const cases[])(struct fixture * fx) = {make_nothing, make_empty, make_header_only,
                                                         make_before_the_log, make_ours};
    struct fixture *fx = *state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        cases[i](fx);
        assert_opens(fx);
        assert_opens(fx);
        struct stat st;
        assert_int_equal(stat(fx->path, &st), 0);
        if (cases[i] == make_nothing)
            assert_int_equal(st.st_mode & 0777, 0600);
        unlink(fx->path);
    }
}

static void without_permission_it_is_refused(void **state)
{
    struct fixture *fx = *state;
    make_ours(fx);
    assert_int_equal(chmod(fx->path, 0400), 0);
    assert_int_equal(chmod(fx->directory, 0755), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* root may do anything: become somebody else */
        if (geteuid() == 0 && seteuid(65534) != 0)
            _exit(9);
        struct sqlite_db *db = NULL;
        char message[512] = "";
        int r = open_at(fx, fx->path, &db, message);
        _exit(r == -EACCES && strstr(message, "Permission denied") != NULL ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_second_one_is_kept_out_until_the_first_is_closed(void **state)
{
    struct fixture *fx = *state;
    struct sqlite_db *first = NULL, *second = NULL;
    char message[512] = "", link_path[HARNESS_PATH];
    assert_int_equal(open_at(fx, fx->path, &first, message), 0);
    snprintf(link_path, sizeof link_path, "%.200s/link.db", fx->directory);
    assert_int_equal(symlink(fx->path, link_path), 0);
    assert_int_equal(open_at(fx, fx->path, &second, message), -EBUSY);
    assert_non_null(strstr(message, "in use by another telemetryd"));
    assert_int_equal(open_at(fx, link_path, &second, message), -EBUSY);
    /* The attempt took nothing from the first. */
    assert_int_equal(sqlite_db_backfill(first, "d", "{}", 2, NOW, TTL), 0);
    assert_int_equal(sqlite_db_flush(first), 0);
    assert_int_equal(open_at(fx, fx->path, &second, message), -EBUSY);
    sqlite_db_close(first);
    assert_int_equal(open_at(fx, link_path, &second, message), 0);
    assert_int_equal(sqlite_db_newest(second, "d"), NOW);
    sqlite_db_close(second);
}

/* --- the blocking calls ------------------------------------------------------------------------ */

static void a_backfill_is_durable_after_a_flush(void **state)
{
    struct fixture *fx = *state;
    assert_int_equal(sqlite_db_newest(fx->db, "d"), 0);
    assert_int_equal(sqlite_db_flush(fx->db), 0); /* of nothing */
    for (int i = 0; i < 3; i++)
        assert_int_equal(sqlite_db_backfill(fx->db, "d", "{\"n\":1}", 7, NOW - 60 * i, TTL), 0);
    assert_int_equal(sqlite_db_backfill(fx->db, "d", "{\"n\":2}", 7, NOW - TTL, TTL),
                     0); /* expired already */
    assert_int_equal(sqlite_db_patch(fx->db, "d", "{\"status\":\"online\"}"), 0);
    assert_int_equal(sqlite_db_flush(fx->db), 0);
    assert_int_equal(sqlite_db_newest(fx->db, "d"), NOW);
    assert_int_equal(sqlite_db_newest(fx->db, "e"), 0);
    fixture_reopen(fx);
    assert_int_equal(sqlite_db_newest(fx->db, "d"), NOW);
    assert_page(
        read_page(fx, "d", 0, INT64_MAX, true, 10, NULL),
        "[{\"data\":{\"n\":1},\"timestamp\":1795417080},{\"data\":{\"n\":1},\"timestamp\":1795417140},"
        "{\"data\":{\"n\":1},\"timestamp\":1795417200}]",
        false);
}

static void a_backfill_without_a_flush_is_stored_all_the_same(void **state)
{
    struct fixture *fx = *state;
    assert_int_equal(sqlite_db_backfill(fx->db, "d", "{}", 2, NOW, TTL), 0);
    uint64_t until = clock_monotonic_ms() + 10000;
    while (sqlite_db_newest(fx->db, "d") == 0 && clock_monotonic_ms() < until)
        uv_sleep(1);
    assert_int_equal(sqlite_db_newest(fx->db, "d"), NOW);
}

static void more_than_the_queue_holds_can_be_backfilled(void **state)
{
    struct fixture *fx = *state;
    enum { readings = 25000 };
    for (int i = 0; i < readings; i++)
        assert_int_equal(sqlite_db_backfill(fx->db, i % 2 ? "d" : "e", "{}", 2, NOW - i, 10 * readings), 0);
    assert_int_equal(sqlite_db_flush(fx->db), 0);
    struct outcome page = read_page(fx, "d", NOW - readings, NOW, true, 10000, NULL);
    assert_int_equal(page.count, 10000);
    struct outcome rest = read_page(fx, "d", NOW - readings, NOW, true, 10000, page.next);
    assert_int_equal(rest.count, readings / 2 - 10000);
    outcome_free(&page);
    outcome_free(&rest);
}

static void many_devices_fit_one_group(void **state)
{
    struct fixture *fx = *state;
    enum { devices = 3000 };
    for (int i = 0; i < 2 * devices; i++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", i % devices);
        assert_int_equal(sqlite_db_backfill(fx->db, name, "{}", 2, NOW + i / devices, TTL), 0);
    }
    assert_int_equal(sqlite_db_flush(fx->db), 0);
    fx->now = NOW + 100;
    for (int i = 0; i < devices; i += 37) {
        char name[16];
        snprintf(name, sizeof name, "d%d", i);
        struct outcome page = read_page(fx, name, 0, INT64_MAX, true, 10, NULL);
        assert_int_equal(page.count, 2);
        outcome_free(&page);
        assert_int_equal(sqlite_db_newest(fx->db, name), NOW + 1);
    }
}

static void databases_in_memory_are_apart(void **state)
{
    struct fixture *fx = *state;
    struct sqlite_db *other = NULL;
    char message[512] = "";
    store_ok(fx, "d", "{}", NULL);
    assert_int_equal(open_at(fx, ":memory:", &other, message), 0);
    assert_int_equal(sqlite_db_newest(other, "d"), 0);
    assert_int_equal(sqlite_db_newest(fx->db, "d"), NOW);
    sqlite_db_close(other);
    sqlite_db_close(NULL);
}

static void expired_rows_leave_the_file_when_nothing_else_is_done(void **state)
{
    struct fixture *fx = *state;
    for (int i = 0; i < 1200; i++)
        assert_int_equal(sqlite_db_backfill(fx->db, "d", "{}", 2, NOW, i < 1100 ? 10 : 1000), 0);
    assert_int_equal(sqlite_db_flush(fx->db), 0);
    assert_int_equal(sql_integer(fx->path, "SELECT count(*) FROM telemetry"), 1200);
    fx->now = NOW + 10;
    uint64_t until = clock_monotonic_ms() + 20000;
    int64_t left = 1200;
    while (left != 100 && clock_monotonic_ms() < until) {
        uv_sleep(20);
        left = sql_integer(fx->path, "SELECT count(*) FROM telemetry");
    }
    assert_int_equal(left, 100);
}

/* --- failures ---------------------------------------------------------------------------------- */

static void a_full_disk_fails_writes_and_is_recovered_from(void **state)
{
    enum { size = 256 << 10 };
    struct fixture *fx = *state;
    static char text[size];
    memset(text, ' ', size - 1);
    text[0] = '1';
    const char *const texts[] = {text};
    store_ok(fx, "d", "{\"n\":1}", NULL);

    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 1 << 20, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    unsigned stored = 0;
    struct outcome outcome;
    do
        outcome = store_many(fx, "d", texts, NULL, 1, TTL);
    while (outcome.result.status == UPSTREAM_OK && ++stored < 100);
    struct outcome checked = {0};
    await(fx, fx->store->ops->check(fx->store, NO_DEADLINE, on_check, &checked), &checked);
    struct outcome page = read_page(fx, "d", 0, INT64_MAX, true, 1, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);

    assert_int_equal(outcome.result.status, UPSTREAM_UNAVAILABLE);
    assert_int_equal(outcome.stored, 0);
    if (checked.result.status != UPSTREAM_OK) /* a small write may still fit */
        assert_string_equal(checked.reason, "the embedded database cannot be written");
    assert_int_equal(page.count, 1); /* reads go on */
    outcome_free(&page);

    assert_int_equal(store_many(fx, "d", texts, NULL, 1, TTL).result.status, UPSTREAM_OK);
    checked = (struct outcome){0};
    await(fx, fx->store->ops->check(fx->store, NO_DEADLINE, on_check, &checked), &checked);
    assert_int_equal(checked.result.status, UPSTREAM_OK);
    fixture_reopen(fx);
    page = read_page(fx, "d", 0, INT64_MAX, true, 1000, NULL);
    assert_int_equal(page.count, 1 + stored + 1);
    outcome_free(&page);
}

/* The test program starts itself anew with one of these as its first argument, to be killed at any moment. */
#define CHILD_CREATE "--create"
#define CHILD_STORM  "--storm"

static pid_t start_child(const char *what, const char *path, int *ret_pipe)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl("/proc/self/exe", "test_sqlite_db", what, path, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    *ret_pipe = ends[0];
    return child;
}

static void kill_child(pid_t child)
{
    int status;
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
}

static int child_create(const char *path)
{
    struct fixture fx = {.now = NOW};
    struct sqlite_db *db = NULL;
    char message[512] = "";
    if (write(STDOUT_FILENO, ".", 1) != 1 || open_at(&fx, path, &db, message) != 0)
        return 1;
    for (;;)
        pause();
}

static void a_crash_while_it_is_created_does_not_matter(void **state)
{
    struct fixture *fx = *state;
    for (unsigned i = 0; i < 24; i++) {
        int from;
        char byte;
        pid_t child = start_child(CHILD_CREATE, fx->path, &from);
        assert_int_equal(read(from, &byte, 1), 1);
        usleep(i * 150);
        kill_child(child);
        close(from);
        assert_opens(fx);
        unlink(fx->path);
    }
}

#define STORM_DEVICES 8

struct storm_writer {
    struct fixture *fx;
    unsigned device, next;
};

static void storm_write(struct storm_writer *writer);

/* What was acknowledged is told to the parent: one byte, the device. */
static void storm_stored(void *ctx, const struct upstream_result *result, size_t stored, int64_t at)
{
    struct storm_writer *writer = ctx;
    unsigned char byte = (unsigned char)writer->device;
    if (result->status != UPSTREAM_OK || write(STDOUT_FILENO, &byte, 1) != 1)
        _exit(1);
    writer->next++;
    storm_write(writer);
}

static void storm_write(struct storm_writer *writer)
{
    char device[16], text[32];
    snprintf(device, sizeof device, "d%u", writer->device);
    int len = snprintf(text, sizeof text, "%u", writer->next);
    const struct reading readings[2] = {{text, (size_t)len, NULL}, {text, (size_t)len, NULL}};
    const struct telemetry_write write = {device, readings, 2, 1000000, NO_DEADLINE};
    if (writer->fx->store->ops->write(writer->fx->store, &write, storm_stored, writer) == NULL)
        _exit(1);
}

static int child_storm(const char *path)
{
    struct fixture fx = {.now = NOW};
    struct storm_writer writers[STORM_DEVICES];
    snprintf(fx.path, sizeof fx.path, "%s", path);
    fixture_open(&fx);
    for (unsigned i = 0; i < STORM_DEVICES; i++) {
        char device[16];
        snprintf(device, sizeof device, "d%u", i);
        struct outcome page = read_page(&fx, device, 0, INT64_MAX, true, 10000, NULL);
        writers[i] = (struct storm_writer){&fx, i, page.count / 2};
        outcome_free(&page);
    }
    for (unsigned i = 0; i < STORM_DEVICES; i++)
        storm_write(&writers[i]);
    uv_run(&fx.loop, UV_RUN_DEFAULT);
    return 1;
}

static void what_was_acknowledged_survives_a_kill(void **state)
{
    struct fixture *fx = *state;
    unsigned acknowledged[STORM_DEVICES] = {0};
    for (unsigned round = 0; round < 5; round++) {
        int from;
        unsigned total = 0, wanted = 50 + 90 * round;
        pid_t child = start_child(CHILD_STORM, fx->path, &from);
        unsigned char bytes[64];
        ssize_t n;
        while ((n = read(from, bytes, sizeof bytes)) > 0) {
            for (ssize_t i = 0; i < n; i++)
                acknowledged[bytes[i]]++;
            if (total < wanted && (total += (unsigned)n) >= wanted)
                kill_child(child);
        }
        close(from);
        assert_true(total >= wanted);

        fixture_open(fx);
        for (unsigned i = 0; i < STORM_DEVICES; i++) {
            char device[16], *at;
            snprintf(device, sizeof device, "d%u", i);
            struct outcome page = read_page(fx, device, 0, INT64_MAX, true, 10000, NULL);
            assert_int_equal(page.count % 2, 0); /* each pair whole */
            assert_true(page.count / 2 >= acknowledged[i]);
            assert_true(page.count / 2 <= acknowledged[i] + 1);
            acknowledged[i] = page.count / 2;
            at = page.text;
            for (unsigned k = 0; k < page.count; k++) { /* and in order, none twice */
                char expected[32];
                snprintf(expected, sizeof expected, "{\"data\":%u,", k / 2);
                at = strstr(at, "{\"data\":");
                assert_non_null(at);
                assert_memory_equal(at, expected, strlen(expected));
                at++;
            }
            outcome_free(&page);
        }
        fixture_close(fx);
        assert_int_equal(
            sql_integer(fx->path, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check='ok'"),
            1);
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], CHILD_CREATE) == 0)
        return child_create(argv[2]);
    if (argc == 3 && strcmp(argv[1], CHILD_STORM) == 0)
        return child_storm(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_not_ours_and_whole_is_refused_untouched, setup_directory,
                                        teardown_directory),
        cmocka_unit_test_setup_teardown(a_message_is_one_line_within_its_bounds, setup_directory,
                                        teardown_directory),
        cmocka_unit_test_setup_teardown(what_a_creation_may_leave_is_opened, setup_directory,
                                        teardown_directory),
        cmocka_unit_test_setup_teardown(without_permission_it_is_refused, setup_directory,
                                        teardown_directory),
        cmocka_unit_test_setup_teardown(a_second_one_is_kept_out_until_the_first_is_closed, setup_directory,
                                        teardown_directory),
        cmocka_unit_test_setup_teardown(a_backfill_is_durable_after_a_flush, setup_file, teardown),
        cmocka_unit_test_setup_teardown(a_backfill_without_a_flush_is_stored_all_the_same, setup_memory,
                                        teardown),
        cmocka_unit_test_setup_teardown(more_than_the_queue_holds_can_be_backfilled, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(many_devices_fit_one_group, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(databases_in_memory_are_apart, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(expired_rows_leave_the_file_when_nothing_else_is_done, setup_file,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_fails_writes_and_is_recovered_from, setup_file, teardown),
        cmocka_unit_test_setup_teardown(a_crash_while_it_is_created_does_not_matter, setup_directory,
                                        teardown_directory),
        cmocka_unit_test_setup_teardown(what_was_acknowledged_survives_a_kill, setup_directory,
                                        teardown_directory),
    };
    return cmocka_run_group_tests_name("sqlite_db", tests, NULL, NULL);
}
