#include "sqlite_feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct sqlite_follow *follow_of(const struct telemetry_follow *base)
{
    return (struct sqlite_follow *)(void *)(uintptr_t)base;
}

/* --- callbacks --------------------------------------------------------------------------------- */

/* After a part that may have called back: a follow that was closed meanwhile is no more. */
static void leave(struct sqlite_follow *follow)
{
    if (--follow->calling > 0 || !follow->closed)
        return;
    sqlite_past_free(follow->past);
    free(follow);
}

bool sqlite_follow_deliver(struct sqlite_follow *follow, const struct telemetry_change *change)
{
    follow->calling++;
    bool taken = follow->events->reading(follow->ctx, change);
    follow->calling--;
    if (!taken && !follow->closed)
        follow->blocked = true;
    return taken && !follow->closed;
}

static void resync(struct sqlite_follow *follow, enum telemetry_resync why)
{
    follow->calling++;
    follow->events->resync(follow->ctx, why);
    follow->calling--;
}

/* --- live -------------------------------------------------------------------------------------- */

void sqlite_follow_offer(struct sqlite_follow *follow, const struct sqlite_batch *batch, size_t i)
{
    const struct sqlite_change *change = &batch->changes[i];

    /* One that resumed may be ahead of this worker. */
    if (follow->past != NULL || follow->slow || change->seq <= follow->point.seq)
        return;
    follow->calling++;
    if (!sqlite_follow_deliver(follow, &(struct telemetry_change){.device_id = change->device_id,
                                                                  .data = change->data,
                                                                  .data_len = change->data_len,
                                                                  .timestamp = change->timestamp})) {
        follow->slow = true;
        follow->point = (struct sqlite_point){.seq = change->seq - 1, .second = batch->point.second};
    }
    leave(follow);
}

void sqlite_follow_fell_behind(struct sqlite_follow *follow, struct sqlite_point point)
{
    if (follow->past != NULL || follow->slow)
        return;
    if (follow->point.seq < point.seq)
        follow->point = point;
    follow->past =
        sqlite_past_new(&(struct sqlite_cursor){.after = follow->point.seq, .second = follow->point.second});
    follow->slow = follow->past == NULL; /* goes on from here, and is told so */
    sqlite_node_todo(follow->node, follow);
}

/* --- steps ------------------------------------------------------------------------------------- */

static void step(struct sqlite_follow *follow)
{
    if (follow->opened != NULL) {
        telemetry_followed_cb *opened = follow->opened;
        follow->opened = NULL;
        opened(follow->opened_ctx, &(struct upstream_result){0}, &follow->base);
    }
    if (follow->closed || follow->events == NULL)
        return;
    if (follow->expired) {
        follow->expired = false;
        resync(follow, TELEMETRY_RESYNC_EXPIRED);
    }
    if (follow->closed || follow->blocked)
        return;
    if (follow->past != NULL) {
        if (sqlite_past_step(follow)) {
            sqlite_past_free(follow->past);
            follow->past = NULL;
        }
    } else if (follow->slow) {
        follow->slow = false;
        follow->point = follow->node->seen;
        resync(follow, TELEMETRY_RESYNC_SLOW);
    }
}

void sqlite_follow_step(struct sqlite_follow *follow)
{
    follow->calling++;
    step(follow);
    leave(follow);
}

/* --- the consumer's side ----------------------------------------------------------------------- */

static void follow_begin(struct telemetry_follow *base, const struct telemetry_follow_events *events,
                         void *ctx)
{
    struct sqlite_follow *follow = follow_of(base);

    follow->events = events;
    follow->ctx = ctx;
    sqlite_node_todo(follow->node, follow);
}

static void follow_go_on(struct telemetry_follow *base)
{
    struct sqlite_follow *follow = follow_of(base);

    if (!follow->blocked)
        return;
    follow->blocked = false;
    sqlite_node_todo(follow->node, follow);
}

static struct sqlite_point live_point(const struct sqlite_follow *follow)
{
    const struct sqlite_node *node = follow->node;

    if (follow->calling > 0 && node->batch != NULL)
        return (struct sqlite_point){.seq = node->batch->changes[node->at].seq,
                                     .second = node->batch->point.second};
    return node->seen.seq > follow->point.seq ? node->seen : follow->point;
}

/* Thousands ask for the text of one and the same moment. */
static int shared_position(struct sqlite_node *node, struct sqlite_point point, int64_t now,
                           struct buffer *out)
{
    if (node->position.len == 0 || node->shared.seq != point.seq || node->shared.second != point.second ||
        node->shared_issued != now) {
        buffer_clear(&node->position);
        int r =
            sqlite_position_append(&node->position, node->db->identity, now,
                                   &(struct sqlite_cursor){.after = point.seq, .second = point.second}, 0);
        if (r != 0) {
            buffer_free(&node->position);
            return r;
        }
        node->shared = point;
        node->shared_issued = now;
    }
    buffer_append(out, node->position.data, node->position.len);
    return out->failed ? -ENOMEM : 0;
}

static int follow_position(const struct telemetry_follow *base, struct buffer *out)
{
    const struct sqlite_follow *follow = follow_of(base);
    struct sqlite_node *node = follow->node;
    int64_t now = clock_now(&node->db->clock);

    if (follow->past != NULL && !follow->past->joining)
        return sqlite_position_append(out, node->db->identity, now, &follow->past->cursor, follow->devices);
    bool at_point = follow->past != NULL || follow->slow;
    return shared_position(node, at_point ? follow->point : live_point(follow), now, out);
}

static void follow_close(struct telemetry_follow *base)
{
    struct sqlite_follow *follow = follow_of(base);

    follow->closed = true;
    for (size_t i = 0; i < follow->count; i++)
        topics_remove(&follow->node->topics, &follow->links[i].base);
    sqlite_node_remove(follow->node, follow);
    if (follow->past != NULL)
        sqlite_past_stop(follow->past);
    follow->calling++;
    leave(follow);
}

static const struct telemetry_follow_ops follow_ops = {
    .begin = follow_begin, .go_on = follow_go_on, .position = follow_position, .close = follow_close};

/* --- its making -------------------------------------------------------------------------------- */

static void opening_cancel(struct operation *op)
{
    struct sqlite_follow *follow =
        (struct sqlite_follow *)((char *)op - offsetof(struct sqlite_follow, opening));
    follow_close(&follow->base);
}

/* Where a position or a time begins; false where nothing can begin there. */
static bool cursor_of(const struct sqlite_follow *follow, const struct telemetry_follow_request *request,
                      struct sqlite_cursor *ret)
{
    struct sqlite_db *db = follow->node->db;

    if (request->position == NULL) {
        *ret = (struct sqlite_cursor){.second = request->after + 1, .least = request->after + 1};
        return true;
    }
    struct sqlite_position position;
    int64_t newest = sqlite_feed_newest(&db->feed).seq;
    if (sqlite_position_parse(request->position, db->identity, follow->devices, &position) != 0 ||
        (db->ttl_s != 0 && position.issued <= clock_now(&db->clock) - db->ttl_s) ||
        position.cursor.after > newest || position.cursor.until > newest ||
        position.cursor.device >= follow->count)
        return false;
    *ret = position.cursor;
    return true;
}

/* 0 or -ENOMEM. */
static int take_beginning(struct sqlite_follow *follow, const struct telemetry_follow_request *request)
{
    struct sqlite_cursor cursor = {0};
    bool now = request->position == NULL && request->from_now;

    follow->expired = !now && !cursor_of(follow, request, &cursor);
    follow->point = follow->node->seen;
    follow->past = sqlite_past_new(&cursor);
    if (follow->past == NULL)
        return -ENOMEM;
    follow->past->joining = now || follow->expired;
    return 0;
}

struct operation *sqlite_follow(struct sqlite_node *node, const struct telemetry_follow_request *request,
                                telemetry_followed_cb *done, void *ctx)
{
    struct sqlite_follow *follow = calloc(1, sizeof *follow + request->count * sizeof follow->links[0]);
    if (follow == NULL)
        return NULL;
    follow->base.ops = &follow_ops;
    follow->opening.cancel = opening_cancel;
    follow->opened = done;
    follow->opened_ctx = ctx;
    follow->node = node;
    follow->devices = sqlite_position_devices(request->device_ids, request->count);
    sqlite_node_add(node, follow);
    int r = 0;
    for (; follow->count < request->count && r == 0; follow->count++) {
        struct sqlite_link *link = &follow->links[follow->count];
        link->follow = follow;
        r = topics_add(&node->topics, &link->base, request->device_ids[follow->count]);
    }
    if (r == 0)
        r = take_beginning(follow, request);
    if (r != 0) {
        follow_close(&follow->base);
        return NULL;
    }
    sqlite_node_todo(node, follow);
    return &follow->opening;
}
