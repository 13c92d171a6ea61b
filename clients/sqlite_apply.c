#include "sqlite_internal.h"

#include "json.h"
#include "time_text.h"

#include <stdlib.h>
#include <string.h>

#define REPORTED_MAX (4U * 1024 * 1024)

/* --- devices ----------------------------------------------------------------------------------- */

static unsigned hash_id(const char *id)
{
    uint32_t hash = 2166136261u; /* FNV-1a; a collision costs a few steps among at most 1024 */
    for (; *id != '\0'; id++)
        hash = (hash ^ (unsigned char)*id) * 16777619u;
    return hash;
}

static void forget_touches(struct sqlite_group *group)
{
    group->touched = 0;
    memset(group->slots, 0, sizeof group->slots);
}

void sqlite_apply_begin(struct sqlite_group *group)
{
    forget_touches(group);
    group->waiting = 0;
}

static int flush_touches(struct sqlite_group *group)
{
    sqlite3_stmt *statement = group->statements[TOUCH_DEVICE];
    int rc = SQLITE_OK;
    for (unsigned i = 0; i < group->touched && rc == SQLITE_OK; i++) {
        const struct sqlite_touch *touch = &group->touches[i];
        if (touch->at == 0)
            continue;
        sqlite3_bind_int64(statement, 1, touch->key);
        sqlite3_bind_int64(statement, 2, touch->at);
        sqlite3_bind_int64(statement, 3, touch->seq);
        rc = sqlite_group_step(group, TOUCH_DEVICE);
    }
    forget_touches(group);
    return rc;
}

/* The key of a device, 0 where there is none. */
static int find_device(struct sqlite_group *group, const char *id, int64_t *ret_key)
{
    *ret_key = 0;
    sqlite3_bind_text(group->statements[FIND_DEVICE], 1, id, -1, SQLITE_STATIC);
    return sqlite_group_integers(group, FIND_DEVICE, 1, ret_key);
}

static int find_or_add_device(struct sqlite_group *group, const char *id, int64_t *ret_key)
{
    int rc = find_device(group, id, ret_key);
    if (rc != SQLITE_OK || *ret_key != 0)
        return rc;
    sqlite3_bind_text(group->statements[ADD_DEVICE], 1, id, -1, SQLITE_STATIC);
    rc = sqlite_group_step(group, ADD_DEVICE);
    *ret_key = sqlite3_last_insert_rowid(group->connection);
    return rc;
}

/* The note of a device in this transaction, created with the device where there is none. */
static int touch_device(struct sqlite_group *group, const char *id, struct sqlite_touch **ret_touch)
{
    int rc = SQLITE_OK;
    unsigned slot = hash_id(id) & (SQLITE_TOUCH_SLOTS - 1);
    for (; group->slots[slot] != 0; slot = (slot + 1) & (SQLITE_TOUCH_SLOTS - 1)) {
        struct sqlite_touch *touch = &group->touches[group->slots[slot] - 1];
        if (strcmp(touch->id, id) == 0) {
            *ret_touch = touch;
            return SQLITE_OK;
        }
    }
    if (group->touched == SQLITE_TOUCHES_MAX) {
        rc = flush_touches(group);
        slot = hash_id(id) & (SQLITE_TOUCH_SLOTS - 1);
    }
    int64_t key = 0;
    if (rc == SQLITE_OK)
        rc = find_or_add_device(group, id, &key);
    if (rc != SQLITE_OK)
        return rc;
    struct sqlite_touch *touch = &group->touches[group->touched++];
    group->slots[slot] = (uint16_t)group->touched;
    *touch = (struct sqlite_touch){.id = id, .key = key};
    *ret_touch = touch;
    return SQLITE_OK;
}

static void note_at(struct sqlite_touch *touch, int64_t at, int64_t seq)
{
    if (at > touch->at)
        touch->at = at;
    if (seq > touch->seq)
        touch->seq = seq;
}

/* --- the writes -------------------------------------------------------------------------------- */

static int64_t expiry(int64_t at, int64_t ttl_s)
{
    int64_t expires;
    return __builtin_add_overflow(at, ttl_s, &expires) ? INT64_MAX : expires;
}

static void bind_row(sqlite3_stmt *statement, int first, const struct sqlite_row *row)
{
    sqlite3_bind_int64(statement, first, row->key);
    sqlite3_bind_int64(statement, first + 1, row->ts);
    sqlite3_bind_int64(statement, first + 2, row->seq);
    sqlite3_bind_int64(statement, first + 3, row->expires);
    sqlite3_bind_blob64(statement, first + 4, row->data, row->data_len, SQLITE_STATIC);
}

static int insert_waiting(struct sqlite_group *group)
{
    int rc = SQLITE_OK;
    if (group->waiting == SQLITE_BATCH) {
        for (int i = 0; i < SQLITE_BATCH; i++)
            bind_row(group->statements[ADD_READINGS], 5 * i + 1, &group->rows[i]);
        rc = sqlite_group_step(group, ADD_READINGS);
    } else {
        for (unsigned i = 0; i < group->waiting && rc == SQLITE_OK; i++) {
            bind_row(group->statements[ADD_READING], 1, &group->rows[i]);
            rc = sqlite_group_step(group, ADD_READING);
        }
    }
    group->waiting = 0;
    return rc;
}

static int add_row(struct sqlite_group *group, const struct sqlite_row *row, const char *id)
{
    if (id != NULL) {
        sqlite3_stmt *statement = group->statements[REPLACE_READING];
        bind_row(statement, 1, row);
        sqlite3_bind_text(statement, 6, id, -1, SQLITE_STATIC);
        return sqlite_group_step(group, REPLACE_READING);
    }
    group->rows[group->waiting++] = *row;
    return group->waiting == SQLITE_BATCH ? insert_waiting(group) : SQLITE_OK;
}

static int apply_readings(struct sqlite_group *group, struct sqlite_write *write, int64_t at)
{
    struct sqlite_touch *touch;
    int rc = touch_device(group, write->device_id, &touch);
    if (rc != SQLITE_OK)
        return rc;
    struct sqlite_row row = {.key = touch->key, .ts = at, .expires = expiry(at, write->ttl_s)};
    write->seq = group->seq + 1;
    for (size_t i = 0; i < write->count && rc == SQLITE_OK; i++) {
        row.seq = ++group->seq;
        row.data = write->readings[i].data;
        row.data_len = write->readings[i].data_len;
        rc = add_row(group, &row, write->readings[i].id);
    }
    if (rc != SQLITE_OK)
        return rc;
    write->at = at;
    note_at(touch, at, group->seq);
    if (row.expires < group->first_expiry)
        group->first_expiry = row.expires;
    return SQLITE_OK;
}

static int apply_note(struct sqlite_group *group, const struct sqlite_write *write)
{
    struct sqlite_touch *touch;
    int rc = touch_device(group, write->device_id, &touch);
    if (rc == SQLITE_OK)
        note_at(touch, write->at, 0);
    return rc;
}

/* Appends the reported properties as they stand: what was reported, with the heartbeat of a later reading in
 * it. */
static int effective_reported(struct sqlite_group *group, int64_t key, struct buffer *out)
{
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

static int store_reported(struct sqlite_group *group, struct sqlite_write *write, const struct buffer *text)
{
    int64_t key = 0;
    int rc = find_or_add_device(group, write->device_id, &key);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_bind_int64(group->statements[SET_REPORTED], 1, key);
    sqlite3_bind_blob64(group->statements[SET_REPORTED], 2, text->data, text->len, SQLITE_STATIC);
    rc = sqlite_group_step(group, SET_REPORTED);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_bind_int64(group->statements[CLEAR_HEARTBEAT], 1, key);
    return sqlite_group_step(group, CLEAR_HEARTBEAT);
}

static int apply_patch(struct sqlite_group *group, struct sqlite_write *write)
{
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

int sqlite_apply(struct sqlite_group *group, struct sqlite_write *write, int64_t at)
{
    switch (write->kind) {
    case WRITE_READINGS: return apply_readings(group, write, at);
    case WRITE_BACKFILL: return apply_readings(group, write, write->at);
    case WRITE_NOTE: return apply_note(group, write);
    case WRITE_PATCH: return apply_patch(group, write);
    case WRITE_CHECK: return group->faulted ? sqlite_group_step(group, PROBE) : SQLITE_OK;
    }
    return SQLITE_INTERNAL;
}

int sqlite_apply_end(struct sqlite_group *group)
{
    int rc = insert_waiting(group);
    return rc == SQLITE_OK ? flush_touches(group) : rc;
}
