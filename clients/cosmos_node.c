#include "cosmos_feed.h"

#include <stdlib.h>
#include <string.h>

/* --- topics ------------------------------------------------------------------------------------ */

int cosmos_node_link(struct cosmos_node *node, struct cosmos_link *link, const char *device_id)
{
    int r = topics_add(&node->topics, &link->base, device_id);
    if (r == 0)
        cosmos_feed_count_device(node->feed, device_id, 1);
    return r;
}

void cosmos_node_unlink(struct cosmos_node *node, struct cosmos_link *link)
{
    if (link->base.topic == NULL)
        return;
    cosmos_feed_count_device(node->feed, topics_device(&link->base), -1);
    topics_remove(&node->topics, &link->base);
}

/* --- what is to be done ------------------------------------------------------------------------ */

void cosmos_node_todo(struct cosmos_node *node, struct cosmos_follow *follow)
{
    if (follow->in_todo)
        return;
    follow->in_todo = true;
    follow->todo_next = NULL;
    follow->todo_prev = node->todo_last;
    if (node->todo_last != NULL)
        node->todo_last->todo_next = follow;
    else
        node->todo_first = follow;
    node->todo_last = follow;
    cosmos_feed_wake(&node->member);
}

void cosmos_node_not_todo(struct cosmos_node *node, struct cosmos_follow *follow)
{
    if (!follow->in_todo)
        return;
    follow->in_todo = false;
    if (follow->todo_prev != NULL)
        follow->todo_prev->todo_next = follow->todo_next;
    else
        node->todo_first = follow->todo_next;
    if (follow->todo_next != NULL)
        follow->todo_next->todo_prev = follow->todo_prev;
    else
        node->todo_last = follow->todo_prev;
}

static void do_todo(struct cosmos_node *node)
{
    /* What is added meanwhile waits for the next turn: nobody keeps the loop for himself. */
    struct cosmos_follow *last = node->todo_last;
    bool more = last != NULL;

    while (more && node->todo_first != NULL) {
        struct cosmos_follow *follow = node->todo_first;
        more = follow != last;
        cosmos_node_not_todo(node, follow);
        cosmos_follow_step(follow);
    }
    if (node->todo_first != NULL)
        cosmos_feed_wake(&node->member);
}

/* --- batches ----------------------------------------------------------------------------------- */

static void take_ranges(struct cosmos_node *node, const struct cosmos_batch *batch)
{
    struct cosmos_ranges *ranges = cosmos_ranges_copy(batch->ranges);

    if (ranges == NULL)
        return; /* positions name the ranges of before then, and their children know them */
    free(node->ranges);
    node->ranges = ranges;
}

static void offer(struct topic_link *base, void *ctx)
{
    struct cosmos_node *node = ctx;
    cosmos_follow_offer(((struct cosmos_link *)base)->follow, node->batch, node->done);
}

static void hand_out(struct cosmos_node *node, const struct cosmos_batch *batch)
{
    node->batch = batch;
    for (node->done = 0; node->done < batch->count; node->done++) {
        const char *device_id = batch->changes[node->done].device_id;
        if (device_id != NULL)
            topics_each(&node->topics, device_id, offer, node);
    }
    node->batch = NULL;
    struct cosmos_range *range = node->ranges != NULL && batch->kind == COSMOS_BATCH_PAGE
                                     ? cosmos_ranges_find(node->ranges, batch->range)
                                     : NULL;
    if (range != NULL)
        cosmos_place_after_page(&range->place, batch);
}

void cosmos_node_sync(struct cosmos_node *node)
{
    cosmos_feed_ranges(node->feed, false, &node->seen, &node->version, &node->ranges);
}

static void jump(struct cosmos_node *node)
{
    node->version = 0;
    if (!cosmos_feed_ranges(node->feed, true, &node->seen, &node->version, &node->ranges))
        node->seen = cosmos_feed_news(node->feed).newest;
}

static void fall_behind(struct cosmos_node *node)
{
    struct cosmos_ranges *before = node->ranges;

    for (struct cosmos_follow *follow = node->first; follow != NULL; follow = follow->next)
        cosmos_follow_fell_behind(follow);
    node->ranges = NULL;
    jump(node);
    if (node->ranges == NULL)
        node->ranges = before;
    else
        free(before);
}

static void look(struct cosmos_feed_member *member)
{
    struct cosmos_node *node = (struct cosmos_node *)member;
    struct cosmos_batch *batch;
    bool gap;

    if (node->reader != NULL)
        cosmos_reader_look(node->reader);
    if (atomic_load(&member->active) == 0)
        return;
    /* Looked at first: what it speaks of is in the batches then. */
    struct cosmos_feed_news news = cosmos_feed_news(node->feed);
    while ((batch = cosmos_feed_next(node->feed, node->seen, &gap)) != NULL) {
        if (batch->kind == COSMOS_BATCH_RANGES)
            take_ranges(node, batch);
        else
            hand_out(node, batch);
        node->seen = batch->seq;
        cosmos_batch_unref(batch);
    }
    if (gap)
        fall_behind(node);
    cosmos_node_sync(node);
    cosmos_openings_look(node, &news);
    do_todo(node);
}

/* --- the node ---------------------------------------------------------------------------------- */

static void release(struct cosmos_feed_member *member)
{
    struct cosmos_node *node = (struct cosmos_node *)member;

    free(node->ranges);
    buffer_free(&node->position);
    free(node);
}

struct cosmos_node *cosmos_node_new(struct cosmos_store *store, struct cosmos_feed *feed)
{
    struct cosmos_node *node = calloc(1, sizeof *node);

    if (node == NULL)
        return NULL;
    node->store = store;
    node->feed = feed;
    node->member.mailbox = store->mailbox;
    node->member.look = look;
    node->member.release = release;
    cosmos_feed_enter(feed, &node->member);
    if (cosmos_feed_hosts(feed, &node->member)) {
        node->reader = cosmos_reader_new(store);
        if (node->reader == NULL) {
            cosmos_node_free(node);
            return NULL;
        }
    }
    return node;
}

void cosmos_node_free(struct cosmos_node *node)
{
    if (node == NULL)
        return;
    cosmos_reader_free(node->reader);
    node->reader = NULL;
    cosmos_feed_leave(node->feed, &node->member);
}

void cosmos_node_follow(struct cosmos_node *node)
{
    if (atomic_load(&node->member.active) == 0)
        jump(node); /* nobody has listened to the batches until now */
    cosmos_feed_follow(node->feed, &node->member);
}
