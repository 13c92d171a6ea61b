#include "cosmos_feed.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

/* --- topics ------------------------------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static struct cosmos_topic *find_topic(struct cosmos_node *node, const char *device_id)
{
    char **found = tfind(device_id, &node->topics, compare);

    return found == NULL ? NULL
                         : (struct cosmos_topic *)(void *)(*found - offsetof(struct cosmos_topic, device_id));
}

int cosmos_node_link(struct cosmos_node *node, struct cosmos_link *link, const char *device_id)
{
    struct cosmos_topic *topic = find_topic(node, device_id);

    if (topic == NULL) {
        size_t size = strlen(device_id) + 1;
        topic = calloc(1, sizeof *topic + size);
        if (topic == NULL)
            return -ENOMEM;
        memcpy(topic->device_id, device_id, size);
        if (tsearch(topic->device_id, &node->topics, compare) == NULL) {
            free(topic);
            return -ENOMEM;
        }
    }
    link->topic = topic;
    link->prev = NULL;
    link->next = topic->first;
    if (link->next != NULL)
        link->next->prev = link;
    topic->first = link;
    cosmos_feed_count_device(node->feed, device_id, 1);
    return 0;
}

void cosmos_node_unlink(struct cosmos_node *node, struct cosmos_link *link)
{
    struct cosmos_topic *topic = link->topic;

    if (topic == NULL)
        return;
    if (node->next_link == link)
        node->next_link = link->next;
    if (link->prev != NULL)
        link->prev->next = link->next;
    else
        topic->first = link->next;
    if (link->next != NULL)
        link->next->prev = link->prev;
    link->topic = NULL;
    cosmos_feed_count_device(node->feed, topic->device_id, -1);
    if (topic->first == NULL) {
        tdelete(topic->device_id, &node->topics, compare);
        free(topic);
    }
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

static void hand_out(struct cosmos_node *node, const struct cosmos_batch *batch)
{
    node->batch = batch;
    for (size_t i = 0; i < batch->count; i++) {
        const char *device_id = batch->changes[i].device_id;
        const struct cosmos_topic *topic = device_id != NULL ? find_topic(node, device_id) : NULL;
        node->done = i;
        node->next_link = topic != NULL ? topic->first : NULL;
        while (node->next_link != NULL) {
            struct cosmos_link *link = node->next_link;
            node->next_link = link->next;
            cosmos_follow_offer(link->follow, batch, i);
        }
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
