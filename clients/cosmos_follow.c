#include "cosmos_feed.h"

#include "clock.h"
#include "percent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CUT_S 5 /* how long a second is over before a query is trusted to see all of it */

static struct cosmos_follow *follow_of(const struct telemetry_follow *base)
{
    return (struct cosmos_follow *)(void *)(uintptr_t)base;
}

/* --- callbacks --------------------------------------------------------------------------------- */

static void release(struct cosmos_follow *follow)
{
    cosmos_past_free(follow->past);
    buffer_free(&follow->frozen);
    free(follow->early);
    free(follow);
}

/* After a part that may have called back: false when the follow was closed meanwhile, and is no more. */
static bool leave(struct cosmos_follow *follow)
{
    if (--follow->calling > 0 || !follow->closed)
        return true;
    release(follow);
    return false;
}

bool cosmos_follow_deliver(struct cosmos_follow *follow, const struct cosmos_change *change)
{
    const struct telemetry_change told = {.device_id = change->device_id,
                                          .data = change->data,
                                          .data_len = change->data_len,
                                          .timestamp = change->timestamp};

    follow->calling++;
    bool taken = follow->events->reading(follow->ctx, &told);
    follow->calling--;
    if (!taken && !follow->closed)
        follow->blocked = true;
    return taken && !follow->closed;
}

bool cosmos_follow_had(struct cosmos_follow *follow, const struct cosmos_change *change)
{
    return cosmos_hashes_remove(follow->early, change->hash);
}

bool cosmos_follow_deliver_early(struct cosmos_follow *follow, const struct cosmos_batch *batch, size_t i)
{
    const struct cosmos_change *change = &batch->changes[i];

    if (batch->stored_us < follow->since_us || change->timestamp < follow->not_before ||
        cosmos_hashes_has(follow->early, change->hash) ||
        (follow->past != NULL && cosmos_hashes_has(&follow->past->recent, change->hash)))
        return true;
    if (follow->early == NULL)
        follow->early = calloc(1, sizeof *follow->early);
    if (follow->early == NULL)
        return true; /* the feed will show it */
    cosmos_hashes_add(follow->early, change->hash);
    if (cosmos_follow_deliver(follow, change))
        return true;
    cosmos_hashes_remove(follow->early, change->hash);
    return false;
}

/* The part of a position that is not about the ranges. */
static struct cosmos_position head_of(const struct cosmos_follow *follow, int64_t now)
{
    struct cosmos_position position = {.issued = now};

    if (follow->early != NULL)
        position.early = *follow->early;
    return position;
}

static void resync(struct cosmos_follow *follow, enum telemetry_resync why)
{
    follow->calling++;
    follow->events->resync(follow->ctx, why);
    follow->calling--;
}

/* --- live -------------------------------------------------------------------------------------- */

/* The place of every range, with what the follow is ahead of the node, and with the batch being handed out up
 * to `done`. */
static int ahead_position(const struct cosmos_follow *follow, size_t done, int64_t now, struct buffer *out)
{
    struct cosmos_node *node = follow->node;
    struct cosmos_ranges *ranges = cosmos_ranges_copy(node->ranges);

    if (ranges == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < ranges->count; i++) {
        struct cosmos_place *place = &ranges->at[i].place;
        const struct cosmos_place *ahead = cosmos_past_ahead(follow, place->range);
        bool handed = node->batch != NULL && done > 0 && strcmp(node->batch->range, place->range) == 0;
        if (ahead != NULL && (!handed || done <= cosmos_batch_first_new(node->batch, ahead))) {
            char id[COSMOS_RANGE_ID_SIZE];
            memcpy(id, place->range, sizeof id);
            *place = *ahead;
            memcpy(place->range, id, sizeof id);
        } else if (handed) {
            cosmos_place_after(place, node->batch, done - 1);
        }
    }
    const struct cosmos_position head = head_of(follow, now);
    int r = cosmos_position_append(out, &head, ranges);
    free(ranges);
    return r;
}

/* All live follows share one text for one place. */
static int shared_position(struct cosmos_node *node, size_t done, int64_t now, struct buffer *out)
{
    const struct cosmos_position_key key = {
        .version = node->version, .seen = node->seen, .batch = node->batch, .done = done, .at = now};
    struct cosmos_position_key *kept = &node->position_key;

    if (node->position.len == 0 || kept->version != key.version || kept->seen != key.seen ||
        kept->batch != key.batch || kept->done != key.done || kept->at != key.at) {
        struct cosmos_range *range =
            node->batch != NULL && done > 0 ? cosmos_ranges_find(node->ranges, node->batch->range) : NULL;
        struct cosmos_place before;
        if (range != NULL) {
            before = range->place;
            cosmos_place_after(&range->place, node->batch, done - 1);
        }
        buffer_free(&node->position);
        int r =
            cosmos_position_append(&node->position, &(struct cosmos_position){.issued = now}, node->ranges);
        if (range != NULL)
            range->place = before;
        if (r != 0) {
            buffer_free(&node->position);
            return r;
        }
        *kept = key;
    }
    buffer_append(out, node->position.data, node->position.len);
    return out->failed ? -ENOMEM : 0;
}

/* done: changes of the batch being handed out that this follow was offered. */
static int live_position(const struct cosmos_follow *follow, size_t done, struct buffer *out)
{
    struct cosmos_node *node = follow->node;

    if (node->batch == NULL)
        cosmos_node_sync(node);
    bool own = follow->past != NULL || (follow->early != NULL && follow->early->count > 0);
    return own ? ahead_position(follow, done, clock_wall_s(), out)
               : shared_position(node, done, clock_wall_s(), out);
}

void cosmos_follow_offer(struct cosmos_follow *follow, const struct cosmos_batch *batch, size_t i)
{
    const struct cosmos_change *change = &batch->changes[i];

    if (!follow->live || follow->slow)
        return;
    bool early = batch->kind == COSMOS_BATCH_EARLY;
    if (!early) {
        const struct cosmos_place *ahead = cosmos_past_ahead(follow, batch->range);
        if (change->timestamp < follow->not_before || cosmos_follow_had(follow, change) ||
            (ahead != NULL && i < cosmos_batch_first_new(batch, ahead)))
            return;
    }
    follow->calling++;
    bool taken =
        early ? cosmos_follow_deliver_early(follow, batch, i) : cosmos_follow_deliver(follow, change);
    if (!taken && !follow->closed) {
        follow->slow = true;
        buffer_free(&follow->frozen);
        live_position(follow, i, &follow->frozen); /* what fails shows when it is asked for */
    }
    leave(follow);
}

void cosmos_follow_fell_behind(struct cosmos_follow *follow)
{
    struct cosmos_past *past = follow->past;

    if (!follow->live || follow->slow)
        return;
    if (past == NULL)
        past = calloc(1, sizeof *past);
    struct cosmos_ranges *ranges = past != NULL ? cosmos_ranges_copy(follow->node->ranges) : NULL;
    if (ranges == NULL) {
        /* It may go on from here, and is told so. */
        if (past != follow->past)
            free(past);
        follow->slow = true;
        follow->blocked = false;
        cosmos_node_todo(follow->node, follow);
        return;
    }
    for (unsigned i = 0; i < ranges->count && follow->past != NULL; i++) {
        const struct cosmos_place *ahead = cosmos_past_ahead(follow, ranges->at[i].place.range);
        if (ahead != NULL)
            ranges->at[i].place = *ahead;
    }
    free(past->ranges);
    past->ranges = ranges;
    follow->past = past;
    follow->live = false;
    cosmos_past_read_on(follow);
    cosmos_node_todo(follow->node, follow);
}

/* --- steps ------------------------------------------------------------------------------------- */

static void step(struct cosmos_follow *follow)
{
    if (follow->expired) {
        follow->expired = false;
        resync(follow, TELEMETRY_RESYNC_EXPIRED);
    }
    if (follow->closed || follow->blocked)
        return;
    if (!follow->live) {
        follow->live = cosmos_past_step(follow);
        if (follow->live && follow->past != NULL && follow->past->ranges == NULL) {
            cosmos_past_free(follow->past);
            follow->past = NULL;
        }
    } else if (follow->slow) {
        follow->slow = false;
        buffer_free(&follow->frozen);
        resync(follow, TELEMETRY_RESYNC_SLOW);
    }
}

void cosmos_follow_step(struct cosmos_follow *follow)
{
    if (follow->events == NULL)
        return;
    follow->calling++;
    step(follow);
    bool expired = follow->expired && !follow->closed;
    if (leave(follow) && expired)
        cosmos_node_todo(follow->node, follow);
}

/* --- the consumer's side ----------------------------------------------------------------------- */

static void follow_begin(struct telemetry_follow *base, const struct telemetry_follow_events *events,
                         void *ctx)
{
    struct cosmos_follow *follow = follow_of(base);

    follow->events = events;
    follow->ctx = ctx;
    cosmos_node_todo(follow->node, follow);
}

static void follow_go_on(struct telemetry_follow *base)
{
    struct cosmos_follow *follow = follow_of(base);

    if (!follow->blocked)
        return;
    follow->blocked = false;
    cosmos_node_todo(follow->node, follow);
}

static int follow_position(const struct telemetry_follow *base, struct buffer *out)
{
    const struct cosmos_follow *follow = follow_of(base);
    const struct cosmos_node *node = follow->node;

    if (!follow->live)
        return cosmos_past_position(follow, out);
    if (follow->slow) {
        if (follow->frozen.len == 0)
            return -ENOMEM;
        buffer_append(out, follow->frozen.data, follow->frozen.len);
        return out->failed ? -ENOMEM : 0;
    }
    size_t done = node->batch == NULL ? 0 : follow->calling > 0 ? node->done + 1 : node->done;
    return live_position(follow, done, out);
}

static void follow_close(struct telemetry_follow *base)
{
    struct cosmos_follow *follow = follow_of(base);
    struct cosmos_node *node = follow->node;

    follow->closed = true;
    cosmos_node_not_todo(node, follow);
    for (size_t i = 0; i < follow->count; i++)
        cosmos_node_unlink(node, &follow->links[i]);
    if (follow->counted) {
        if (follow->prev != NULL)
            follow->prev->next = follow->next;
        else
            node->first = follow->next;
        if (follow->next != NULL)
            follow->next->prev = follow->prev;
        cosmos_feed_unfollow(node->feed, &node->member);
    }
    if (follow->past != NULL) {
        operation_cancel(follow->past->waiting);
        delay_stop(follow->past->timer);
        follow->past->waiting = NULL;
        follow->past->timer = NULL;
    }
    if (follow->calling == 0)
        release(follow);
}

static const struct telemetry_follow_ops follow_ops = {
    .begin = follow_begin, .go_on = follow_go_on, .position = follow_position, .close = follow_close};

/* --- its making -------------------------------------------------------------------------------- */

/* Where it begins by a position. False: there, nothing can begin. */
static bool take_position(struct cosmos_follow *follow, const struct telemetry_follow_request *request,
                          int64_t now, bool *ret_no_memory)
{
    struct cosmos_past *past = follow->past;
    struct cosmos_position position;
    struct cosmos_ranges *ranges;

    int r = cosmos_position_parse(request->position, &position, &ranges);
    *ret_no_memory = r == -ENOMEM;
    if (r != 0)
        return false;
    bool good =
        position.issued <= now + COSMOS_POSITION_AGE_S && position.issued >= now - COSMOS_POSITION_AGE_S;
    if (position.replaying)
        good = good && position.replay.device <= request->count &&
               position.replay.devices == cosmos_position_devices(request->device_ids, request->count);
    else if (position.t0 > 0)
        good = good && position.t0 >= now - COSMOS_POSITION_AGE_S;
    if (!good) {
        free(ranges);
        return false;
    }
    past->ranges = ranges;
    past->t0 = position.t0;
    past->replaying = position.replaying;
    past->replay = position.replay;
    follow->not_before = position.t0;
    if (position.early.count > 0) {
        follow->early = malloc(sizeof *follow->early);
        if (follow->early != NULL)
            *follow->early = position.early;
        *ret_no_memory = follow->early == NULL;
    }
    return true;
}

static void take_after(struct cosmos_follow *follow, const struct telemetry_follow_request *request,
                       int64_t now)
{
    struct cosmos_past *past = follow->past;
    int64_t after = request->after > 0 ? request->after : 0, cut = now - CUT_S;

    past->t0 = after + 1 > cut ? after + 1 : cut;
    past->replaying = after + 1 < cut;
    past->replay =
        (struct cosmos_replay){.devices = cosmos_position_devices(request->device_ids, request->count),
                               .after = after,
                               .second = after};
    follow->not_before = past->t0;
}

/* NULL when out of memory. */
static struct cosmos_follow *make_follow(struct cosmos_node *node,
                                         const struct telemetry_follow_request *request)
{
    struct cosmos_follow *follow = calloc(1, sizeof *follow + request->count * sizeof follow->links[0]);
    int64_t now = clock_wall_s();
    bool no_memory = false;

    if (follow == NULL)
        return NULL;
    follow->base.ops = &follow_ops;
    follow->node = node;
    follow->past = calloc(1, sizeof *follow->past);
    no_memory = follow->past == NULL;
    for (; follow->count < request->count && !no_memory; follow->count++) {
        struct cosmos_link *link = &follow->links[follow->count];
        link->follow = follow;
        no_memory = cosmos_node_link(node, link, request->device_ids[follow->count]) != 0;
    }
    if (!no_memory) {
        if (request->position != NULL)
            follow->expired = !take_position(follow, request, now, &no_memory);
        else if (!request->from_now)
            take_after(follow, request, now);
    }
    if (no_memory) {
        follow_close(&follow->base);
        return NULL;
    }
    cosmos_node_follow(node);
    follow->counted = true;
    follow->next = node->first;
    if (follow->next != NULL)
        follow->next->prev = follow;
    node->first = follow;
    return follow;
}

/* --- its opening ------------------------------------------------------------------------------- */

struct cosmos_opening {
    struct cosmos_op op;
    telemetry_followed_cb *done;
    void *ctx;
    struct cosmos_follow *follow;
    struct cosmos_opening *next, *prev; /* in the order of asked_us */
    bool waiting;
    uint64_t asked_us;
};

static void stop_waiting(struct cosmos_opening *opening)
{
    struct cosmos_node *node = opening->op.store->node;

    if (!opening->waiting)
        return;
    opening->waiting = false;
    if (opening->prev != NULL)
        opening->prev->next = opening->next;
    else
        node->opening_first = opening->next;
    if (opening->next != NULL)
        opening->next->prev = opening->prev;
    else
        node->opening_last = opening->prev;
}

static void on_opening_late(void *ctx)
{
    struct cosmos_opening *opening = ctx;

    opening->op.timer = NULL;
    cosmos_op_end(&opening->op, UPSTREAM_TIMEOUT);
}

/* The container is good: "now" is a poll of all ranges that begins after this moment. */
static void opening_go(struct cosmos_op *op)
{
    struct cosmos_opening *opening = (struct cosmos_opening *)op;
    struct cosmos_node *node = op->store->node;
    uint64_t now_ms = clock_monotonic_ms();

    opening->asked_us = clock_monotonic_us();
    if (opening->follow->past->ranges == NULL && opening->follow->past->t0 == 0)
        opening->follow->since_us = opening->asked_us;
    op->timer = delay_start(op->store->loop, op->deadline_ms > now_ms ? op->deadline_ms - now_ms : 0,
                            on_opening_late, opening);
    if (op->timer == NULL) {
        cosmos_op_end(op, UPSTREAM_NO_MEMORY);
        return;
    }
    opening->waiting = true;
    opening->next = NULL;
    opening->prev = node->opening_last;
    if (node->opening_last != NULL)
        node->opening_last->next = opening;
    else
        node->opening_first = opening;
    node->opening_last = opening;
    cosmos_feed_poke(node->feed);
}

void cosmos_openings_look(struct cosmos_node *node, const struct cosmos_feed_news *news)
{
    struct cosmos_opening *opening;

    while ((opening = node->opening_first) != NULL) {
        enum upstream_status status = UPSTREAM_OK;
        if (news->fresh_us >= opening->asked_us && node->ranges != NULL) {
            status = cosmos_past_open(opening->follow) == 0 ? UPSTREAM_OK : UPSTREAM_NO_MEMORY;
        } else if (news->failed_us >= opening->asked_us) {
            status = news->failure;
            opening->op.result.retry_after_s = news->retry_after_s;
        } else {
            return;
        }
        cosmos_op_end(&opening->op, status);
    }
}

static void opening_end(struct cosmos_op *op)
{
    struct cosmos_opening *opening = (struct cosmos_opening *)op;
    struct cosmos_follow *follow = NULL;

    stop_waiting(opening);
    if (op->result.status == UPSTREAM_OK) {
        follow = opening->follow;
        opening->follow = NULL;
    }
    opening->done(opening->ctx, &op->result, follow != NULL ? &follow->base : NULL);
}

static void opening_release(struct cosmos_op *op)
{
    struct cosmos_opening *opening = (struct cosmos_opening *)op;

    stop_waiting(opening);
    if (opening->follow != NULL)
        follow_close(&opening->follow->base);
    free(opening);
}

static const struct cosmos_op_kind opening_kind = {
    .go = opening_go, .end = opening_end, .release = opening_release};

struct operation *cosmos_follow(struct telemetry_store *base, const struct telemetry_follow_request *request,
                                telemetry_followed_cb *done, void *ctx)
{
    struct cosmos_store *store = (struct cosmos_store *)base;
    struct cosmos_opening *opening = calloc(1, sizeof *opening);

    if (opening == NULL)
        return NULL;
    opening->done = done;
    opening->ctx = ctx;
    opening->follow = make_follow(store->node, request);
    if (opening->follow == NULL) {
        free(opening);
        return NULL;
    }
    return cosmos_op_begin(&opening->op, &opening_kind, store, request->deadline_ms, UPSTREAM_OK);
}
