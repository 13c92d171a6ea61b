#include "cosmos_feed.h"

#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What is kept of the latest batches, for follows that come from the past into the present. */
enum {
    INTERVAL_MS = 1000,
    KEPT_COUNT = 1024,
    KEPT_MS = 30 * 1000,
    DEVICE_SLOTS = 4096,   /* two devices in one slot cost a poll too many now and then */
    EARLY_US = 300 * 1000, /* how long the feed may take to show what this process stored */
    PENDING_MAX = 512,     /* writes that are waited for; the feed shows the others, sooner or later */
    LINGER_MS = 60 * 1000, /* the reader goes on for so long after the last follow */
};
#define KEPT_BYTES (8 * 1024 * 1024)

struct pending {
    struct pending *next;
    struct cosmos_batch *batch;
    uint64_t due_us;
};

struct cosmos_feed {
    unsigned interval_ms;
    atomic_uint devices[DEVICE_SLOTS]; /* follows, counted by a hash of their device */
    uv_mutex_t lock;                   /* guards what follows */
    struct cosmos_feed_member *members;
    struct cosmos_feed_member *host;
    unsigned follows;
    uint64_t idle_ms; /* since when nobody follows */
    bool began;       /* somebody ever followed */
    uint64_t poked_us;
    struct cosmos_batch *kept[KEPT_COUNT]; /* that of seq at seq % KEPT_COUNT */
    uint64_t oldest;                       /* seq of the oldest kept; newest + 1 where none is */
    uint64_t dropped_ms;                   /* from when the last one is that is no longer kept */
    size_t bytes;
    uint64_t version; /* of ranges */
    struct cosmos_ranges *ranges;
    struct cosmos_feed_news news;
    struct pending *pending, **pending_end; /* what this process stored and the feed has not shown */
    unsigned pending_count;
};

int cosmos_feed_new(unsigned interval_ms, struct cosmos_feed **ret_feed)
{
    struct cosmos_feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL)
        return -ENOMEM;
    int r = uv_mutex_init(&feed->lock);
    if (r != 0) {
        free(feed);
        return r;
    }
    feed->interval_ms = interval_ms > 0 ? interval_ms : INTERVAL_MS;
    feed->oldest = 1;
    feed->pending_end = &feed->pending;
    *ret_feed = feed;
    return 0;
}

/* --- what is kept; with the lock held ---------------------------------------------------------- */

static void drop_oldest(struct cosmos_feed *feed)
{
    struct cosmos_batch **slot = &feed->kept[feed->oldest % KEPT_COUNT];

    feed->bytes -= (*slot)->bytes;
    feed->dropped_ms = (*slot)->at_ms;
    cosmos_batch_unref(*slot);
    *slot = NULL;
    feed->oldest++;
}

/* Makes room; the newest stays, whatever its size. */
static void trim(struct cosmos_feed *feed, uint64_t now_ms)
{
    while (feed->oldest < feed->news.newest) {
        const struct cosmos_batch *batch = feed->kept[feed->oldest % KEPT_COUNT];
        if (feed->bytes <= KEPT_BYTES && now_ms - batch->at_ms < KEPT_MS &&
            feed->news.newest - feed->oldest + 1 < KEPT_COUNT)
            return;
        drop_oldest(feed);
    }
}

static void drop_all(struct cosmos_feed *feed)
{
    while (feed->oldest <= feed->news.newest)
        drop_oldest(feed);
}

static void keep(struct cosmos_feed *feed, struct cosmos_batch *batch)
{
    batch->at_ms = clock_monotonic_ms();
    batch->seq = ++feed->news.newest;
    feed->kept[batch->seq % KEPT_COUNT] = batch;
    feed->bytes += batch->bytes;
    trim(feed, batch->at_ms);
}

/* --- what is stored and not shown; with the lock held ------------------------------------------ */

static void drop_pending(struct cosmos_feed *feed, struct pending **link)
{
    struct pending *pending = *link;

    *link = pending->next;
    if (feed->pending_end == &pending->next)
        feed->pending_end = link;
    feed->pending_count--;
    cosmos_batch_unref(pending->batch);
    free(pending);
}

/* Leaves out of `early` what the page shows; true when nothing remains. */
static bool shown(struct cosmos_batch *early, const struct cosmos_batch *page)
{
    bool all = true;

    for (size_t i = 0; i < early->count; i++) {
        struct cosmos_change *change = &early->changes[i];
        for (size_t k = 0; k < page->count && change->device_id != NULL; k++)
            if (page->changes[k].hash == change->hash &&
                strcmp(page->changes[k].device_id, change->device_id) == 0)
                change->device_id = NULL;
        all &= change->device_id == NULL;
    }
    return all;
}

static void page_shows(struct cosmos_feed *feed, const struct cosmos_batch *page)
{
    for (struct pending **link = &feed->pending; *link != NULL;) {
        if (shown((*link)->batch, page))
            drop_pending(feed, link);
        else
            link = &(*link)->next;
    }
}

/* The feed may have shown it before the answer to the write was here. True when nothing is left to wait for.
 */
static bool shown_already(struct cosmos_feed *feed, struct cosmos_batch *early, uint64_t began_ms)
{
    for (uint64_t seq = feed->news.newest; seq >= feed->oldest; seq--) {
        const struct cosmos_batch *batch = feed->kept[seq % KEPT_COUNT];
        if (batch->at_ms < began_ms)
            return false;
        if (batch->kind == COSMOS_BATCH_PAGE && shown(early, batch))
            return true;
    }
    /* What is no longer kept may have shown it: such a feed is not late. */
    return feed->oldest > 1 && feed->dropped_ms >= began_ms;
}

void cosmos_feed_free(struct cosmos_feed *feed)
{
    if (feed == NULL)
        return;
    drop_all(feed);
    while (feed->pending != NULL)
        drop_pending(feed, &feed->pending);
    free(feed->ranges);
    uv_mutex_destroy(&feed->lock);
    free(feed);
}

/* --- members ----------------------------------------------------------------------------------- */

static void unref(struct cosmos_feed_member *member)
{
    if (atomic_fetch_sub(&member->references, 1) == 1)
        member->release(member);
}

static void deliver(struct letter *letter)
{
    struct cosmos_feed_member *member =
        (struct cosmos_feed_member *)(void *)((char *)letter - offsetof(struct cosmos_feed_member, letter));

    atomic_store(&member->posted, false);
    if (!member->left)
        member->look(member);
    unref(member);
}

void cosmos_feed_wake(struct cosmos_feed_member *member)
{
    if (atomic_exchange(&member->posted, true))
        return;
    atomic_fetch_add(&member->references, 1);
    member->letter.deliver = deliver;
    mailbox_post(member->mailbox, &member->letter);
}

static void wake_all(struct cosmos_feed *feed)
{
    for (struct cosmos_feed_member *member = feed->members; member != NULL; member = member->next)
        if (atomic_load(&member->active) > 0)
            cosmos_feed_wake(member);
}

void cosmos_feed_enter(struct cosmos_feed *feed, struct cosmos_feed_member *member)
{
    atomic_init(&member->references, 1);
    uv_mutex_lock(&feed->lock);
    member->next = feed->members;
    member->prev = NULL;
    if (member->next != NULL)
        member->next->prev = member;
    feed->members = member;
    if (feed->host == NULL)
        feed->host = member;
    uv_mutex_unlock(&feed->lock);
}

void cosmos_feed_leave(struct cosmos_feed *feed, struct cosmos_feed_member *member)
{
    uv_mutex_lock(&feed->lock);
    if (member->prev != NULL)
        member->prev->next = member->next;
    else
        feed->members = member->next;
    if (member->next != NULL)
        member->next->prev = member->prev;
    if (feed->host == member)
        feed->host = NULL;
    uv_mutex_unlock(&feed->lock);
    /* Nobody posts any more; a letter that is on its way finds this. */
    member->left = true;
    unref(member);
}

bool cosmos_feed_hosts(struct cosmos_feed *feed, const struct cosmos_feed_member *member)
{
    uv_mutex_lock(&feed->lock);
    bool hosts = feed->host == member;
    uv_mutex_unlock(&feed->lock);
    return hosts;
}

/* --- wishes ------------------------------------------------------------------------------------ */

void cosmos_feed_follow(struct cosmos_feed *feed, struct cosmos_feed_member *member)
{
    atomic_fetch_add(&member->active, 1);
    uv_mutex_lock(&feed->lock);
    feed->follows++;
    feed->began = true;
    uv_mutex_unlock(&feed->lock);
}

void cosmos_feed_unfollow(struct cosmos_feed *feed, struct cosmos_feed_member *member)
{
    atomic_fetch_sub(&member->active, 1);
    uv_mutex_lock(&feed->lock);
    if (--feed->follows == 0)
        feed->idle_ms = clock_monotonic_ms();
    uv_mutex_unlock(&feed->lock);
}

void cosmos_feed_poke(struct cosmos_feed *feed)
{
    uv_mutex_lock(&feed->lock);
    feed->poked_us = clock_monotonic_us();
    if (feed->follows > 0 && feed->host != NULL)
        cosmos_feed_wake(feed->host);
    uv_mutex_unlock(&feed->lock);
}

static atomic_uint *device_slot(struct cosmos_feed *feed, const char *device_id)
{
    return &feed->devices[cosmos_hash(COSMOS_HASH_SEED, device_id, strlen(device_id)) % DEVICE_SLOTS];
}

void cosmos_feed_count_device(struct cosmos_feed *feed, const char *device_id, int more)
{
    if (more > 0)
        atomic_fetch_add(device_slot(feed, device_id), 1);
    else
        atomic_fetch_sub(device_slot(feed, device_id), 1);
}

bool cosmos_feed_follows_device(struct cosmos_feed *feed, const char *device_id)
{
    return atomic_load_explicit(device_slot(feed, device_id), memory_order_relaxed) > 0;
}

void cosmos_feed_written(struct cosmos_store *store, struct cosmos_batch *early, uint64_t began_us)
{
    struct cosmos_feed *feed = store->names.feed;
    struct pending *pending = early != NULL ? malloc(sizeof *pending) : NULL;

    uv_mutex_lock(&feed->lock);
    if (pending != NULL && feed->pending_count < PENDING_MAX && feed->follows > 0 &&
        !shown_already(feed, early, began_us / 1000)) {
        early->stored_us = clock_monotonic_us();
        *pending = (struct pending){.batch = early, .due_us = early->stored_us + EARLY_US};
        *feed->pending_end = pending;
        feed->pending_end = &pending->next;
        feed->pending_count++;
        early = NULL;
        pending = NULL;
    }
    uv_mutex_unlock(&feed->lock);
    free(pending);
    cosmos_batch_unref(early);
    cosmos_feed_poke(feed);
}

unsigned cosmos_feed_interval_ms(const struct cosmos_feed *feed)
{
    return feed->interval_ms;
}

struct cosmos_feed_wish cosmos_feed_wish(struct cosmos_feed *feed)
{
    struct cosmos_feed_wish wish = {0};

    uv_mutex_lock(&feed->lock);
    wish.wanted = feed->follows > 0 || (feed->began && clock_monotonic_ms() - feed->idle_ms < LINGER_MS);
    wish.poked_us = feed->poked_us;
    uv_mutex_unlock(&feed->lock);
    return wish;
}

/* --- the reader's side ------------------------------------------------------------------------- */

void cosmos_feed_publish(struct cosmos_feed *feed, struct cosmos_batch *batch,
                         const struct cosmos_place *place, uint64_t fresh_us)
{
    uv_mutex_lock(&feed->lock);
    if (batch != NULL) {
        if (batch->kind == COSMOS_BATCH_PAGE)
            page_shows(feed, batch);
        if (batch->kind == COSMOS_BATCH_RANGES) {
            struct cosmos_ranges *ranges = cosmos_ranges_copy(batch->ranges);
            free(feed->ranges);
            feed->ranges = ranges; /* NULL: nobody can open until the next list, nobody is told wrongly */
        }
        keep(feed, batch);
    }
    if (place != NULL && feed->ranges != NULL) {
        struct cosmos_range *range = cosmos_ranges_find(feed->ranges, place->range);
        if (range != NULL)
            range->place = *place;
    }
    feed->version++;
    bool news = batch != NULL || fresh_us > feed->news.fresh_us;
    if (fresh_us > 0)
        feed->news.fresh_us = fresh_us;
    if (news)
        wake_all(feed);
    uv_mutex_unlock(&feed->lock);
}

bool cosmos_feed_early(struct cosmos_feed *feed, uint64_t now_us, uint64_t *ret_due_us)
{
    bool any = false;

    uv_mutex_lock(&feed->lock);
    while (feed->pending != NULL && feed->pending->due_us <= now_us) {
        struct cosmos_batch *batch = cosmos_batch_ref(feed->pending->batch);
        drop_pending(feed, &feed->pending);
        keep(feed, batch);
        feed->version++;
        any = true;
    }
    if (any)
        wake_all(feed);
    bool more = feed->pending != NULL;
    if (more)
        *ret_due_us = feed->pending->due_us;
    uv_mutex_unlock(&feed->lock);
    return more;
}

void cosmos_feed_failed(struct cosmos_feed *feed, enum upstream_status status, unsigned retry_after_s)
{
    uv_mutex_lock(&feed->lock);
    feed->news.failed_us = clock_monotonic_us();
    feed->news.failure = status;
    feed->news.retry_after_s = retry_after_s;
    wake_all(feed);
    uv_mutex_unlock(&feed->lock);
}

void cosmos_feed_stopped(struct cosmos_feed *feed)
{
    uv_mutex_lock(&feed->lock);
    drop_all(feed);
    while (feed->pending != NULL)
        drop_pending(feed, &feed->pending);
    free(feed->ranges);
    feed->ranges = NULL;
    feed->version++;
    feed->news.fresh_us = 0;
    uv_mutex_unlock(&feed->lock);
}

/* --- the nodes' side --------------------------------------------------------------------------- */

struct cosmos_feed_news cosmos_feed_news(struct cosmos_feed *feed)
{
    uv_mutex_lock(&feed->lock);
    struct cosmos_feed_news news = feed->news;
    uv_mutex_unlock(&feed->lock);
    return news;
}

struct cosmos_batch *cosmos_feed_next(struct cosmos_feed *feed, uint64_t seq, bool *ret_gap)
{
    struct cosmos_batch *batch = NULL;

    uv_mutex_lock(&feed->lock);
    *ret_gap = seq < feed->news.newest && seq + 1 < feed->oldest;
    if (seq < feed->news.newest && !*ret_gap)
        batch = cosmos_batch_ref(feed->kept[(seq + 1) % KEPT_COUNT]);
    uv_mutex_unlock(&feed->lock);
    return batch;
}

bool cosmos_feed_ranges(struct cosmos_feed *feed, bool jump, uint64_t *seq, uint64_t *version,
                        struct cosmos_ranges **ranges)
{
    struct cosmos_ranges *copy = NULL;

    uv_mutex_lock(&feed->lock);
    bool due = feed->ranges != NULL && *version != feed->version && (jump || *seq == feed->news.newest);
    if (due)
        copy = cosmos_ranges_copy(feed->ranges);
    if (copy != NULL) {
        *seq = feed->news.newest;
        *version = feed->version;
    }
    uv_mutex_unlock(&feed->lock);
    if (copy == NULL)
        return false;
    free(*ranges);
    *ranges = copy;
    return true;
}
