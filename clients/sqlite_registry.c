/*
 * The embedded database as a device registry: reported properties, and what stored readings say of a device.
 */
#include "device_status.h"
#include "percent.h"
#include "sqlite_internal.h"
#include "time_text.h"

#include <stdlib.h>
#include <string.h>

#define CONNECTED_S 300
#define LIMIT_MAX   1000U
#define REPORTED_DEPTH                                                                                       \
    32 /* of what is in the file; patches are at most 10 deep, and so is what they make                      \
        */
#define POSITION_TEXT_MAX (3 * DEVICE_ID_MAX)

/* Reported properties may be large: a page ends early where it would grow past this many bytes. */
#define PAGE_BYTES_MAX (8U * 1024 * 1024)

struct sqlite_registry {
    struct device_registry registry;
    struct sqlite_db *db;
    uv_loop_t *loop;
    struct mailbox *mailbox;
};

struct status_read {
    struct sqlite_read read;
    device_status_cb *done;
    void *ctx;
    struct buffer text;
    char device_id[];
};

struct list_read {
    struct sqlite_read read;
    device_list_cb *done;
    void *ctx;
    struct grants *grants; /* a reference of its own: it is read on another thread, also after a cancel */
    unsigned limit;
    bool more;
    char after[DEVICE_ID_MAX + 1]; /* the last id of the page before, then of this one */
    struct buffer text;
    struct buffer next;
};

/* --- the status object of a row: id, last_at, heartbeat, text ---------------------------------- */

static int append_status(struct buffer *out, sqlite3_stmt *row, int64_t now)
{
    const char *id = (const char *)sqlite3_column_text(row, 0);
    int64_t last_at = sqlite3_column_int64(row, 1);
    const char *text = sqlite3_column_blob(row, 3);
    size_t len = (size_t)sqlite3_column_bytes(row, 3);
    if (id == NULL)
        return SQLITE_NOMEM;

    struct json_slice reported = {0};
    if (text != NULL) {
        if (!json_valid(text, len,
                        REPORTED_DEPTH)) /* the file may have been edited; the slices trust their text */
            return SQLITE_CORRUPT;
        reported = json_root(text, len);
    }
    struct device_status status = {
        .device_id = id,
        .status = json_member(reported, "status"),
        .last_seen = json_member(reported, "lastHeartbeat"),
        .firmware_version = json_member(reported, "firmwareVersion"),
        .connection_state = last_at > 0 && now - last_at < CONNECTED_S ? "Connected" : "Disconnected",
        .enabled = true,
    };
    char heartbeat[TIME_RFC3339_SIZE + 2];
    if (sqlite3_column_type(row, 2) != SQLITE_NULL) {
        size_t n = time_format_rfc3339(sqlite3_column_int64(row, 2), heartbeat + 1);
        heartbeat[0] = heartbeat[n + 1] = '"';
        status.last_seen = (struct json_slice){heartbeat, n + 2};
    }
    status_text_append(out, &status);
    return out->failed ? SQLITE_NOMEM : SQLITE_OK;
}

/* --- status ------------------------------------------------------------------------------------ */

static int run_status(struct sqlite_read *read, struct sqlite_reader *reader)
{
    struct status_read *status = (struct status_read *)read;
    sqlite3_stmt *statement = reader->statements[QUERY_STATUS];
    sqlite3_bind_text(statement, 1, status->device_id, -1, SQLITE_STATIC);
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        return append_status(&status->text, statement, clock_now(&read->db->clock));
    if (rc != SQLITE_DONE)
        return rc;
    read->result.status = UPSTREAM_NOT_FOUND;
    return SQLITE_OK;
}

static void answer_status(struct sqlite_read *read)
{
    struct status_read *status = (struct status_read *)read;
    bool ok = read->result.status == UPSTREAM_OK;
    status->done(status->ctx, &read->result, ok ? status->text.data : NULL, ok ? status->text.len : 0);
}

static void dispose_status(struct sqlite_read *read)
{
    buffer_free(&((struct status_read *)read)->text);
}

static struct operation *registry_status(struct device_registry *base, const char *device_id,
                                         uint64_t deadline_ms, device_status_cb *done, void *ctx)
{
    struct sqlite_registry *registry = (struct sqlite_registry *)base;
    size_t id_size = strlen(device_id) + 1;
    struct status_read *status = calloc(1, sizeof *status + id_size);
    if (status == NULL)
        return NULL;
    memcpy(status->device_id, device_id, id_size);
    status->done = done;
    status->ctx = ctx;
    status->read.run = run_status;
    status->read.answer = answer_status;
    status->read.dispose = dispose_status;
    return sqlite_read_start(&status->read, registry->db, registry->loop, deadline_ms);
}

/* --- list -------------------------------------------------------------------------------------- */

/* A position is the percent-encoded id of the last device of a page: exactly as percent_encode() writes it.
 */
static bool take_position(const char *position, char out[DEVICE_ID_MAX + 1])
{
    size_t len = strnlen(position, POSITION_TEXT_MAX + 1);
    if (len > POSITION_TEXT_MAX)
        return false;
    char id[POSITION_TEXT_MAX + 1];
    long id_len = percent_decode(position, len, id);
    if (id_len < 0 || !device_id_valid(id, (size_t)id_len))
        return false;
    struct buffer again = {0};
    percent_encode(&again, id, (size_t)id_len);
    bool same = !again.failed && again.len == len && memcmp(again.data, position, len) == 0;
    buffer_free(&again);
    if (same)
        memcpy(out, id, (size_t)id_len + 1);
    return same;
}

static int collect_devices(struct list_read *list, sqlite3_stmt *statement, int64_t now)
{
    unsigned count = 0;
    int rc;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *id = (const char *)sqlite3_column_text(statement, 0);
        if (id == NULL)
            return SQLITE_NOMEM;
        if (!grants_has(list->grants, id))
            continue;
        if (count == list->limit || list->text.len > PAGE_BYTES_MAX) {
            list->more = true;
            return SQLITE_OK;
        }
        if (count++ > 0)
            buffer_append_char(&list->text, ',');
        rc = append_status(&list->text, statement, now);
        if (rc != SQLITE_OK)
            return rc;
        size_t len = (size_t)sqlite3_column_bytes(statement, 0);
        if (len > DEVICE_ID_MAX)
            return SQLITE_CORRUPT;
        memcpy(list->after, id, len + 1);
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int run_list(struct sqlite_read *read, struct sqlite_reader *reader)
{
    struct list_read *list = (struct list_read *)read;
    sqlite3_stmt *statement = reader->statements[QUERY_LIST];
    char after[DEVICE_ID_MAX + 1]; /* bound while list->after moves on */
    memcpy(after, list->after, sizeof after);
    sqlite3_bind_text(statement, 1, after, -1, SQLITE_STATIC);
    /* How many rows it takes to find them all is not known where some are left out. */
    sqlite3_bind_int64(statement, 2, list->grants == NULL ? (int64_t)list->limit + 1 : -1);
    buffer_append_char(&list->text, '[');
    int rc = collect_devices(list, statement, clock_now(&read->db->clock));
    if (rc != SQLITE_OK)
        return rc;
    buffer_append_char(&list->text, ']');
    if (list->more) {
        percent_encode(&list->next, list->after, strlen(list->after));
        buffer_terminate(&list->next);
    }
    return list->text.failed || list->next.failed ? SQLITE_NOMEM : SQLITE_OK;
}

/* In the place of run_list() where the position is not one of ours. */
static int run_bad_position(struct sqlite_read *read, struct sqlite_reader *reader)
{
    read->result.status = UPSTREAM_BAD_CURSOR;
    return SQLITE_OK;
}

static void answer_list(struct sqlite_read *read)
{
    struct list_read *list = (struct list_read *)read;
    const struct device_list page = {
        .text = list->text.data, .len = list->text.len, .next = list->more ? list->next.data : NULL};
    list->done(list->ctx, &read->result, read->result.status == UPSTREAM_OK ? &page : NULL);
}

static void dispose_list(struct sqlite_read *read)
{
    struct list_read *list = (struct list_read *)read;
    grants_unref(list->grants);
    buffer_free(&list->text);
    buffer_free(&list->next);
}

static struct operation *registry_list(struct device_registry *base, unsigned limit, const char *position,
                                       struct grants *grants, uint64_t deadline_ms, device_list_cb *done,
                                       void *ctx)
{
    struct sqlite_registry *registry = (struct sqlite_registry *)base;
    struct list_read *list = calloc(1, sizeof *list);
    if (list == NULL)
        return NULL;
    list->done = done;
    list->ctx = ctx;
    list->grants = grants_ref(grants);
    list->limit = limit > LIMIT_MAX ? LIMIT_MAX : limit;
    list->read.run = position == NULL || take_position(position, list->after) ? run_list : run_bad_position;
    list->read.answer = answer_list;
    list->read.dispose = dispose_list;
    return sqlite_read_start(&list->read, registry->db, registry->loop, deadline_ms);
}

/* --- writes ------------------------------------------------------------------------------------ */

static void answer_check(struct sqlite_write *write)
{
    write->done.device_checked(write->ctx, &write->result, write->reason);
}

static struct operation *registry_check(struct device_registry *base, uint64_t deadline_ms,
                                        device_check_cb *done, void *ctx)
{
    struct sqlite_registry *registry = (struct sqlite_registry *)base;
    struct sqlite_write *write = sqlite_write_new(WRITE_CHECK, "", NULL, 0, NULL, 0);
    if (write == NULL)
        return NULL;
    write->deadline_ms = deadline_ms;
    write->mailbox = registry->mailbox;
    write->answer = answer_check;
    write->done.device_checked = done;
    write->ctx = ctx;
    return sqlite_writer_submit(registry->db->writer, write);
}

static void answer_patch(struct sqlite_write *write)
{
    write->done.reported(write->ctx, &write->result, write->reported, write->reported_len);
}

static struct operation *registry_patch(struct device_registry *base, const char *device_id,
                                        const char *patch, size_t patch_len, uint64_t deadline_ms,
                                        device_reported_cb *done, void *ctx)
{
    struct sqlite_registry *registry = (struct sqlite_registry *)base;
    struct sqlite_write *write = sqlite_write_new(WRITE_PATCH, device_id, NULL, 0, patch, patch_len);
    if (write == NULL)
        return NULL;
    write->deadline_ms = deadline_ms;
    write->mailbox = registry->mailbox;
    write->answer = answer_patch;
    write->done.reported = done;
    write->ctx = ctx;
    return sqlite_writer_submit(registry->db->writer, write);
}

static void answer_note(struct sqlite_write *write)
{
    write->done.noted(write->ctx, &write->result);
}

static struct operation *registry_note(struct device_registry *base, const char *device_id, int64_t at,
                                       uint64_t deadline_ms, device_done_cb *done, void *ctx)
{
    struct sqlite_registry *registry = (struct sqlite_registry *)base;
    struct sqlite_write *write = sqlite_write_new(WRITE_NOTE, device_id, NULL, 0, NULL, 0);
    if (write == NULL)
        return NULL;
    write->at = at;
    write->deadline_ms = deadline_ms;
    write->mailbox = registry->mailbox;
    write->answer = answer_note;
    write->done.noted = done;
    write->ctx = ctx;
    return sqlite_writer_submit(registry->db->writer, write);
}

static void registry_free(struct device_registry *base)
{
    free(base);
}

static const struct device_registry_ops registry_ops = {
    .mode = "embedded",
    .status = registry_status,
    .list = registry_list,
    .check = registry_check,
    .patch_reported = registry_patch,
    .note_reading = registry_note,
    .free = registry_free,
};

struct device_registry *sqlite_registry_new(struct sqlite_db *db, uv_loop_t *loop, struct mailbox *mailbox)
{
    struct sqlite_registry *registry = malloc(sizeof *registry);
    if (registry == NULL)
        return NULL;
    *registry =
        (struct sqlite_registry){.registry.ops = &registry_ops, .db = db, .loop = loop, .mailbox = mailbox};
    return &registry->registry;
}
