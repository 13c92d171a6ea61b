#include "sqlite_feed.h"

#include <stdlib.h>
#include <string.h>

/* So much is kept of the latest batches while somebody follows; the newest always. */
#define KEPT_BYTES (16U * 1024 * 1024)
#define KEPT_COUNT 4096

int sqlite_feed_init(struct sqlite_feed *feed)
{
    return uv_mutex_init(&feed->lock);
}

void sqlite_batch_unref(struct sqlite_batch *batch)
{
    if (atomic_fetch_sub_explicit(&batch->references, 1, memory_order_acq_rel) == 1)
        free(batch);
}

/* With the lock held, from here on. */

static void drop_oldest(struct sqlite_feed *feed)
{
    struct sqlite_batch *batch = feed->first;
    feed->first = batch->next;
    *(batch->next != NULL ? &batch->next->prev : &feed->last) = NULL;
    feed->bytes -= batch->bytes;
    feed->count--;
    sqlite_batch_unref(batch);
}

static void drop_all(struct sqlite_feed *feed)
{
    while (feed->first != NULL)
        drop_oldest(feed);
}

static void keep(struct sqlite_feed *feed, struct sqlite_batch *batch)
{
    batch->prev = feed->last;
    *(feed->last != NULL ? &feed->last->next : &feed->first) = batch;
    feed->last = batch;
    feed->bytes += batch->bytes;
    feed->count++;
    while ((feed->bytes > KEPT_BYTES || feed->count > KEPT_COUNT) && feed->first != batch)
        drop_oldest(feed);
}

/* --- what is stored ---------------------------------------------------------------------------- */

static bool told(const struct sqlite_write *write)
{
    return write->count > 0 && write->result.status == UPSTREAM_OK;
}

/* Where the readings of these writes, which the caller has seen to be some, end. */
static struct sqlite_point point_after(const struct sqlite_write *first, int64_t newest)
{
    struct sqlite_point point = {.second = newest};
    for (const struct sqlite_write *write = first; write != NULL; write = write->next) {
        if (!told(write))
            continue;
        point.seq = write->seq + (int64_t)write->count - 1;
        if (write->at < point.second)
            point.second = write->at;
    }
    return point;
}

static char *copy(char **at, const char *text, size_t len)
{
    char *to = *at;
    memcpy(to, text, len);
    to[len] = '\0';
    *at += len + 1;
    return to;
}

/* NULL when out of memory. */
static struct sqlite_batch *gather(const struct sqlite_write *first, int64_t since, struct sqlite_point point)
{
    size_t count = 0, text = 0;
    for (const struct sqlite_write *write = first; write != NULL; write = write->next) {
        if (!told(write))
            continue;
        count += write->count;
        text += strlen(write->device_id) + 1;
        for (size_t i = 0; i < write->count; i++)
            text += write->readings[i].data_len + 1;
    }
    size_t size = sizeof(struct sqlite_batch) + count * sizeof(struct sqlite_change) + text;
    struct sqlite_batch *batch = malloc(size);
    if (batch == NULL)
        return NULL;
    *batch = (struct sqlite_batch){.point = point, .since = since, .bytes = size};
    atomic_init(&batch->references, 1);
    char *at = (char *)(batch->changes + count);
    for (const struct sqlite_write *write = first; write != NULL; write = write->next) {
        if (!told(write))
            continue;
        const char *device_id = copy(&at, write->device_id, strlen(write->device_id));
        for (size_t i = 0; i < write->count; i++)
            batch->changes[batch->count++] = (struct sqlite_change){
                .device_id = device_id,
                .data = copy(&at, write->readings[i].data, write->readings[i].data_len),
                .data_len = write->readings[i].data_len,
                .timestamp = write->at,
                .seq = write->seq + (int64_t)i,
            };
    }
    return batch;
}

void sqlite_feed_stored(struct sqlite_feed *feed, const struct sqlite_write *first, int64_t newest)
{
    struct sqlite_point point = point_after(first, newest);
    if (point.seq == 0)
        return;
    /* Who enters meanwhile begins after these, or finds the gap that dropping them makes. */
    uv_mutex_lock(&feed->lock);
    int64_t since = feed->point.seq;
    bool listened = feed->nodes != NULL;
    uv_mutex_unlock(&feed->lock);
    struct sqlite_batch *batch = listened ? gather(first, since, point) : NULL;
    uv_mutex_lock(&feed->lock);
    feed->point = point;
    if (batch != NULL)
        keep(feed, batch);
    else
        drop_all(feed);
    for (struct sqlite_node *node = feed->nodes; node != NULL; node = node->next)
        sqlite_node_wake(node);
    uv_mutex_unlock(&feed->lock);
}

/* --- who listens ------------------------------------------------------------------------------- */

struct sqlite_point sqlite_feed_enter(struct sqlite_feed *feed, struct sqlite_node *node)
{
    uv_mutex_lock(&feed->lock);
    node->prev = NULL;
    node->next = feed->nodes;
    if (node->next != NULL)
        node->next->prev = node;
    feed->nodes = node;
    struct sqlite_point point = feed->point;
    uv_mutex_unlock(&feed->lock);
    return point;
}

void sqlite_feed_leave(struct sqlite_feed *feed, struct sqlite_node *node)
{
    uv_mutex_lock(&feed->lock);
    *(node->prev != NULL ? &node->prev->next : &feed->nodes) = node->next;
    if (node->next != NULL)
        node->next->prev = node->prev;
    if (feed->nodes == NULL)
        drop_all(feed);
    uv_mutex_unlock(&feed->lock);
}

enum sqlite_feed_said sqlite_feed_next(struct sqlite_feed *feed, int64_t seq, struct sqlite_batch **ret_batch,
                                       struct sqlite_point *ret_newest)
{
    enum sqlite_feed_said said = SQLITE_FEED_NOTHING;

    uv_mutex_lock(&feed->lock);
    *ret_newest = feed->point;
    if (feed->point.seq > seq) {
        /* From the newest on: that is mostly the one. */
        struct sqlite_batch *batch = feed->last;
        while (batch != NULL && batch->prev != NULL && batch->since > seq)
            batch = batch->prev;
        said = batch == NULL || batch->since > seq ? SQLITE_FEED_GAP : SQLITE_FEED_BATCH;
        if (said == SQLITE_FEED_BATCH) {
            atomic_fetch_add_explicit(&batch->references, 1, memory_order_relaxed);
            *ret_batch = batch;
        }
    }
    uv_mutex_unlock(&feed->lock);
    return said;
}

struct sqlite_point sqlite_feed_newest(struct sqlite_feed *feed)
{
    uv_mutex_lock(&feed->lock);
    struct sqlite_point point = feed->point;
    uv_mutex_unlock(&feed->lock);
    return point;
}

void sqlite_feed_free(struct sqlite_feed *feed)
{
    drop_all(feed);
    uv_mutex_destroy(&feed->lock);
}
