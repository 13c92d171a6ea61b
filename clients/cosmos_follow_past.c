#include "cosmos_feed.h"

#include "clock.h"
#include "json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUERY_ITEMS = 250, /* of a page of a query */
    QUERY_MS = 15 * 1000,
    GONE_AGAIN_MS = 100, /* before a range that is gone is looked for again */
    FAILED_AGAIN_MS = 500,
    FAILED_AGAIN_MAX_MS = 30 * 1000,
    CUT_S = 5,          /* as in cosmos_follow.c */
    WINDOW_MAX_S = 60,  /* how old the cut may be when the feed is read from there */
    RECENT_S = 5,       /* how late the feed may be for a reading that has just been stored */
    AGE_MARGIN_S = 300, /* between the service's clock and ours */
};

/* What a part of the past came to. */
enum progress {
    WAITS, /* for an answer or for room */
    MORE,
    DONE
};

void cosmos_past_free(struct cosmos_past *past)
{
    if (past == NULL)
        return;
    operation_cancel(past->waiting);
    delay_stop(past->timer);
    free(past->next);
    buffer_free(&past->page);
    cosmos_batch_unref(past->batch);
    free(past->ranges);
    free(past);
}

/* --- waiting ----------------------------------------------------------------------------------- */

static void on_again(void *ctx)
{
    struct cosmos_follow *follow = ctx;

    follow->past->timer = NULL;
    cosmos_node_todo(follow->node, follow);
}

/* Asks again after a while; without memory for the timer, when the node next looks. */
static void again(struct cosmos_follow *follow, uint64_t wait_ms)
{
    follow->past->timer = delay_start(follow->node->store->loop, wait_ms, on_again, follow);
    if (follow->past->timer == NULL)
        cosmos_node_todo(follow->node, follow);
}

static void again_after_failure(struct cosmos_follow *follow)
{
    uint64_t wait = FAILED_AGAIN_MS;

    for (unsigned i = 0; i < follow->past->failures && wait < FAILED_AGAIN_MAX_MS; i++)
        wait *= 2;
    follow->past->failures++;
    again(follow, wait < FAILED_AGAIN_MAX_MS ? wait : FAILED_AGAIN_MAX_MS);
}

/* --- beginnings -------------------------------------------------------------------------------- */

void cosmos_past_read_on(struct cosmos_follow *follow)
{
    struct cosmos_past *past = follow->past;

    past->joining = false;
    past->begin = true;
    cosmos_batch_unref(past->batch);
    past->batch = NULL;
}

/* From the node's places on; takes `ranges` over. */
static void open_now(struct cosmos_follow *follow, struct cosmos_ranges *ranges)
{
    struct cosmos_past *past = follow->past;

    free(past->ranges);
    past->ranges = ranges;
    past->replaying = past->begin = false;
    past->t0 = follow->not_before = 0;
    past->joining = true;
    past->join = follow->node->seen;
    cosmos_batch_unref(past->batch);
    past->batch = NULL;
}

/* What was asked for cannot be had: it goes on from now, and is told so. */
static int expire(struct cosmos_follow *follow)
{
    struct cosmos_ranges *ranges = cosmos_ranges_copy(follow->node->ranges);

    if (ranges == NULL)
        return -ENOMEM;
    open_now(follow, ranges);
    follow->expired = true;
    return 0;
}

int cosmos_past_open(struct cosmos_follow *follow)
{
    struct cosmos_past *past = follow->past;
    struct cosmos_ranges *now = follow->node->ranges;
    struct cosmos_ranges *ranges = cosmos_ranges_copy(now);

    if (ranges == NULL)
        return -ENOMEM;
    if (past->ranges == NULL && past->t0 == 0) {
        open_now(follow, ranges);
        return 0;
    }
    for (unsigned i = 0; i < ranges->count; i++) {
        ranges->at[i].place.etag[0] = '\0';
        ranges->at[i].place.lsn = -1;
        ranges->at[i].place.inside = false;
    }
    bool known = past->ranges == NULL ||
                 (past->ranges->container == now->container && cosmos_ranges_inherit(ranges, past->ranges));
    free(past->ranges);
    past->ranges = ranges;
    cosmos_past_read_on(follow);
    return known ? 0 : expire(follow);
}

/* --- the part of the queries ------------------------------------------------------------------- */

static void end_query(struct cosmos_past *past)
{
    buffer_free(&past->page);
    past->has_page = false;
}

static void begin_device(struct cosmos_past *past, unsigned device)
{
    past->replay.device = device;
    past->replay.second = past->replay.after;
    past->replay.count = 0;
}

static void on_query(void *ctx, const struct upstream_result *result, struct telemetry_page *page)
{
    struct cosmos_follow *follow = ctx;
    struct cosmos_past *past = follow->past;

    past->waiting = NULL;
    if (page == NULL) {
        if (result->status == UPSTREAM_BAD_CURSOR || past->failures >= 2) {
            free(past->next); /* asked anew from the last reading */
            past->next = NULL;
        }
        again_after_failure(follow);
        return;
    }
    past->failures = 0;
    free(past->next);
    past->next = NULL;
    if (page->next != NULL && (past->next = strdup(page->next)) == NULL) {
        again_after_failure(follow);
        return;
    }
    past->page = page->text;
    page->text = (struct buffer){0};
    past->page_at = json_iter((struct json_slice){past->page.data + page->start, page->length});
    past->has_page = true;
    cosmos_node_todo(follow->node, follow);
}

static enum progress ask_query(struct cosmos_follow *follow)
{
    struct cosmos_past *past = follow->past;
    const struct cosmos_replay *replay = &past->replay;
    struct telemetry_store *store = &follow->node->store->base;

    if (past->next == NULL) {
        /* The readings of the second that was left in the middle come again, and are passed over. */
        past->query_after = replay->count > 0 ? replay->second - 1 : replay->second;
        past->skip = replay->count;
    }
    const struct telemetry_range range = {
        .device_id = topics_device(&follow->links[replay->device].base),
        .after = past->query_after,
        .until = past->t0 - 1,
        .ascending = true,
        .limit = QUERY_ITEMS,
        .position = past->next,
        .deadline_ms = clock_monotonic_ms() + QUERY_MS,
    };
    past->waiting = cosmos_read_range(store, &range, on_query, follow);
    if (past->waiting == NULL)
        again_after_failure(follow);
    return WAITS;
}

/* One reading of a query's page; false where it must be offered again. */
static bool replay_one(struct cosmos_follow *follow, struct json_slice element)
{
    struct cosmos_past *past = follow->past;
    struct cosmos_replay before = past->replay;
    struct json_slice data = json_member(element, "data");
    struct cosmos_change change = {.device_id = topics_device(&follow->links[before.device].base),
                                   .data = data.text,
                                   .data_len = data.len};

    if (!json_int64(json_member(element, "timestamp"), &change.timestamp))
        return true; /* cosmos_page has seen to it */
    if (past->skip > 0 && change.timestamp == before.second) {
        past->skip--;
        return true;
    }
    if (change.timestamp > before.second)
        past->skip = 0;
    past->replay.count = change.timestamp == before.second ? before.count + 1 : 1;
    past->replay.second = change.timestamp;
    if (cosmos_follow_deliver(follow, &change))
        return true;
    past->replay = before;
    return false;
}

static enum progress replay(struct cosmos_follow *follow)
{
    struct cosmos_past *past = follow->past;

    if (past->has_page) {
        struct json_iter before = past->page_at;
        for (; json_next(&past->page_at); before = past->page_at) {
            if (!replay_one(follow, past->page_at.value)) {
                past->page_at = before;
                return WAITS;
            }
        }
        end_query(past);
        if (past->next == NULL)
            begin_device(past, past->replay.device + 1);
    }
    if (past->replay.device < follow->count)
        return ask_query(follow);
    /* What was stored while the queries were read is asked of queries too, as long as that is much. */
    int64_t cut = clock_wall_s() - CUT_S;
    if (cut - past->t0 > WINDOW_MAX_S) {
        past->replay.after = past->t0 - 1;
        past->t0 = follow->not_before = cut;
        begin_device(past, 0);
    } else {
        past->replaying = false;
    }
    return MORE;
}

/* --- the part of the feed ---------------------------------------------------------------------- */

/* Whether the change is one of a device of this follow: its links are sorted. */
static bool follows(const struct cosmos_follow *follow, const struct cosmos_change *change)
{
    size_t low = 0, high = follow->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(change->device_id, topics_device(&follow->links[middle].base));
        if (order == 0)
            return true;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

/* Delivers what is left of the batch; false when it was not all taken. */
static bool deliver_batch(struct cosmos_follow *follow, struct cosmos_place *place)
{
    struct cosmos_past *past = follow->past;
    const struct cosmos_batch *batch = past->batch;

    for (; past->change < batch->count; past->change++) {
        const struct cosmos_change *change = &batch->changes[past->change];
        if (change->timestamp < follow->not_before || !follows(follow, change) ||
            cosmos_follow_had(follow, change))
            continue;
        struct cosmos_place before = *place;
        cosmos_place_after(place, batch, past->change);
        if (!cosmos_follow_deliver(follow, change)) {
            *place = before;
            return false;
        }
        if (batch->seq == 0 && change->timestamp >= clock_wall_s() - RECENT_S)
            cosmos_hashes_add(&past->recent, change->hash);
    }
    return true;
}

/* The same for what the feed did not show in time. */
static bool deliver_early(struct cosmos_follow *follow)
{
    struct cosmos_past *past = follow->past;

    for (; past->change < past->batch->count; past->change++) {
        const struct cosmos_change *change = &past->batch->changes[past->change];
        if (change->device_id != NULL && follows(follow, change) &&
            !cosmos_follow_deliver_early(follow, past->batch, past->change))
            return false;
    }
    return true;
}

static void take_batch(struct cosmos_follow *follow, struct cosmos_batch *batch,
                       const struct cosmos_place *place)
{
    follow->past->batch = batch;
    follow->past->change = cosmos_batch_first_new(batch, place);
}

/* Makes a batch of a page's text. */
static int read_page(struct cosmos_follow *follow, const struct cosmos_place *place,
                     const struct flight_answer *answer, struct cosmos_batch **ret_batch)
{
    struct cosmos_store *store = follow->node->store;
    struct cosmos_batch *batch;
    struct buffer text = {0};

    cosmos_account_view(store->account, &store->view);
    if (store->view.partition_key == NULL)
        return -EAGAIN;
    buffer_append(&text, answer->text, answer->len);
    int r = text.failed ? -ENOMEM : cosmos_batch_parse(&text, 0, text.len, store->view.partition_key, &batch);
    buffer_free(&text);
    if (r != 0)
        return r;
    memcpy(batch->range, place->range, sizeof batch->range);
    memcpy(batch->etag_before, place->etag, sizeof batch->etag_before);
    memcpy(batch->etag_after, answer->next, strlen(answer->next) + 1);
    *ret_batch = batch;
    return 0;
}

/* A position may say what it likes about its age; the readings do not lie. */
static bool too_old(const struct cosmos_place *place, const struct cosmos_batch *batch)
{
    return place->etag[0] != '\0' && batch->first_ts > 0 &&
           batch->first_ts < clock_wall_s() - COSMOS_POSITION_AGE_S - AGE_MARGIN_S;
}

static void on_page(void *ctx, const struct flight_answer *answer)
{
    struct cosmos_follow *follow = ctx;
    struct cosmos_past *past = follow->past;
    struct cosmos_place *place = &past->ranges->at[past->range].place;
    struct cosmos_batch *batch = NULL;

    past->waiting = NULL;
    if (answer->result.status == UPSTREAM_NOT_FOUND) {
        cosmos_feed_poke(follow->node->feed);
        again(follow, GONE_AGAIN_MS);
        return;
    }
    if (answer->result.status != UPSTREAM_OK ||
        (answer->text != NULL && read_page(follow, place, answer, &batch) != 0)) {
        again_after_failure(follow);
        return;
    }
    past->failures = 0;
    if (answer->text == NULL) {
        if (answer->next != NULL)
            memcpy(place->etag, answer->next, strlen(answer->next) + 1);
        place->inside = false;
        past->range++;
    } else if (too_old(place, batch)) {
        cosmos_batch_unref(batch);
        if (expire(follow) != 0) {
            again_after_failure(follow);
            return;
        }
    } else {
        take_batch(follow, batch, place);
    }
    cosmos_node_todo(follow->node, follow);
}

/* The container was divided anew since the places were taken. */
static enum progress divide(struct cosmos_follow *follow, struct cosmos_ranges *by)
{
    struct cosmos_past *past = follow->past;
    struct cosmos_ranges *ranges = cosmos_ranges_copy(by);

    if (ranges == NULL) {
        again_after_failure(follow);
        return WAITS;
    }
    bool known = ranges->container == past->ranges->container && cosmos_ranges_inherit(ranges, past->ranges);
    free(past->ranges);
    past->ranges = ranges;
    if (!known && expire(follow) != 0) {
        again_after_failure(follow);
        return WAITS;
    }
    return MORE;
}

static enum progress read_feed(struct cosmos_follow *follow)
{
    struct cosmos_past *past = follow->past;
    struct cosmos_node *node = follow->node;

    if (past->begin) {
        past->begin = false;
        past->range = 0;
        past->join = node->seen;
    }
    if (past->batch != NULL) {
        struct cosmos_place *place = &past->ranges->at[past->range].place;
        if (!deliver_batch(follow, place))
            return WAITS;
        bool same = strcmp(place->etag, past->batch->etag_after) == 0;
        cosmos_place_after_page(place, past->batch);
        cosmos_batch_unref(past->batch);
        past->batch = NULL;
        past->range += same; /* a page that leads to itself is the last */
    }
    if (past->range == past->ranges->count) {
        past->joining = true;
        return MORE;
    }
    struct cosmos_place *place = &past->ranges->at[past->range].place;
    struct cosmos_range *current = cosmos_ranges_find(node->ranges, place->range);
    if (current == NULL) {
        cosmos_past_read_on(follow);
        return divide(follow, node->ranges);
    }
    /* Where the reader stands at the same place, nothing lies between. */
    if (place->etag[0] != '\0' && !place->inside && strcmp(place->etag, current->place.etag) == 0) {
        past->range++;
        return MORE;
    }
    past->waiting = cosmos_feed_join(node->store, place, past->t0, on_page, follow);
    if (past->waiting == NULL)
        again_after_failure(follow);
    return WAITS;
}

/* --- into the present -------------------------------------------------------------------------- */

static enum progress join(struct cosmos_follow *follow)
{
    struct cosmos_past *past = follow->past;
    bool gap;

    if (past->batch == NULL) {
        if (past->join >= follow->node->seen)
            return DONE;
        struct cosmos_batch *batch = cosmos_feed_next(follow->node->feed, past->join, &gap);
        if (batch == NULL) {
            cosmos_past_read_on(follow);
            return MORE;
        }
        if (batch->kind == COSMOS_BATCH_RANGES) {
            enum progress progress = divide(follow, batch->ranges);
            if (progress == MORE && past->join < batch->seq)
                past->join = batch->seq;
            cosmos_batch_unref(batch);
            return progress;
        }
        if (batch->kind == COSMOS_BATCH_EARLY) {
            past->batch = batch;
            past->change = 0;
            return MORE;
        }
        const struct cosmos_range *range = cosmos_ranges_find(past->ranges, batch->range);
        if (range == NULL) { /* a list of ranges that was lost for lack of memory */
            cosmos_batch_unref(batch);
            cosmos_past_read_on(follow);
            return MORE;
        }
        take_batch(follow, batch, &range->place);
    }
    if (past->batch->kind == COSMOS_BATCH_EARLY) {
        if (!deliver_early(follow))
            return WAITS;
    } else {
        struct cosmos_place *place = &cosmos_ranges_find(past->ranges, past->batch->range)->place;
        if (!deliver_batch(follow, place))
            return WAITS;
        if (place->lsn <= past->batch->last_lsn)
            cosmos_place_after_page(place, past->batch);
    }
    past->join = past->batch->seq;
    cosmos_batch_unref(past->batch);
    past->batch = NULL;
    return MORE;
}

const struct cosmos_place *cosmos_past_ahead(const struct cosmos_follow *follow, const char *id)
{
    if (follow->past == NULL || follow->past->ranges == NULL)
        return NULL;
    const struct cosmos_range *current = cosmos_ranges_find(follow->node->ranges, id);
    if (current == NULL)
        return NULL;
    const struct cosmos_range *own = cosmos_ranges_source(follow->past->ranges, current);
    return own != NULL && own->place.lsn > current->place.lsn ? &own->place : NULL;
}

bool cosmos_past_step(struct cosmos_follow *follow)
{
    struct cosmos_past *past = follow->past;

    for (;;) {
        if (follow->closed || follow->blocked || follow->expired || past->waiting != NULL ||
            past->timer != NULL)
            return false;
        enum progress progress = past->replaying ? replay(follow)
                                 : past->joining ? join(follow)
                                                 : read_feed(follow);
        if (progress == WAITS)
            return false;
        if (progress == DONE)
            break;
    }
    /* Only what is ahead of the node is still of use. */
    bool ahead = false;
    for (unsigned i = 0; i < past->ranges->count; i++)
        ahead |= cosmos_past_ahead(follow, past->ranges->at[i].place.range) != NULL;
    if (!ahead) {
        free(past->ranges);
        past->ranges = NULL;
    }
    return true;
}

int cosmos_past_position(const struct cosmos_follow *follow, struct buffer *out)
{
    const struct cosmos_past *past = follow->past;
    struct cosmos_position position = {
        .issued = clock_wall_s(), .t0 = past->t0, .replaying = past->replaying, .replay = past->replay};

    if (follow->early != NULL)
        position.early = *follow->early;
    return past->ranges != NULL ? cosmos_position_append(out, &position, past->ranges) : -EINVAL;
}
