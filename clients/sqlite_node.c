#include "sqlite_feed.h"

#include <stdlib.h>

/* --- what is to be done ------------------------------------------------------------------------ */

void sqlite_node_todo(struct sqlite_node *node, struct sqlite_follow *follow)
{
    if (follow->in_todo)
        return;
    follow->in_todo = true;
    follow->todo_next = NULL;
    follow->todo_prev = node->todo_last;
    *(node->todo_last != NULL ? &node->todo_last->todo_next : &node->todo_first) = follow;
    node->todo_last = follow;
    sqlite_node_wake(node);
}

static void not_todo(struct sqlite_node *node, struct sqlite_follow *follow)
{
    if (!follow->in_todo)
        return;
    follow->in_todo = false;
    *(follow->todo_prev != NULL ? &follow->todo_prev->todo_next : &node->todo_first) = follow->todo_next;
    *(follow->todo_next != NULL ? &follow->todo_next->todo_prev : &node->todo_last) = follow->todo_prev;
}

static void do_todo(struct sqlite_node *node)
{
    /* What is added meanwhile waits for the next turn: nobody keeps the loop for himself. */
    const struct sqlite_follow *last = node->todo_last;
    bool more = last != NULL;

    while (more && node->todo_first != NULL) {
        struct sqlite_follow *follow = node->todo_first;
        more = follow != last;
        not_todo(node, follow);
        sqlite_follow_step(follow);
    }
    if (node->todo_first != NULL)
        sqlite_node_wake(node);
}

/* --- batches ----------------------------------------------------------------------------------- */

static void offer(struct topic_link *base, void *ctx)
{
    struct sqlite_node *node = ctx;
    sqlite_follow_offer(((struct sqlite_link *)base)->follow, node->batch, node->at);
}

static void hand_out(struct sqlite_node *node, const struct sqlite_batch *batch)
{
    node->batch = batch;
    for (node->at = 0; node->at < batch->count; node->at++)
        topics_each(&node->topics, batch->changes[node->at].device_id, offer, node);
    node->batch = NULL;
    node->seen = batch->point;
}

static void fall_behind(struct sqlite_node *node, struct sqlite_point newest)
{
    for (struct sqlite_follow *follow = node->first; follow != NULL; follow = follow->next)
        sqlite_follow_fell_behind(follow, node->seen);
    node->seen = newest;
}

static void look(struct sqlite_node *node)
{
    struct sqlite_batch *batch;
    struct sqlite_point newest;
    enum sqlite_feed_said said = SQLITE_FEED_NOTHING;

    while (node->count > 0 &&
           (said = sqlite_feed_next(&node->db->feed, node->seen.seq, &batch, &newest)) == SQLITE_FEED_BATCH) {
        hand_out(node, batch);
        sqlite_batch_unref(batch);
    }
    if (said == SQLITE_FEED_GAP)
        fall_behind(node, newest);
    do_todo(node);
}

/* --- waking ------------------------------------------------------------------------------------ */

static void release(struct sqlite_node *node)
{
    if (atomic_fetch_sub(&node->references, 1) != 1)
        return;
    buffer_free(&node->position);
    free(node);
}

static void on_letter(struct letter *letter)
{
    struct sqlite_node *node = (struct sqlite_node *)((char *)letter - offsetof(struct sqlite_node, letter));
    atomic_store(&node->posted, false);
    if (!node->left)
        look(node);
    release(node);
}

void sqlite_node_wake(struct sqlite_node *node)
{
    if (atomic_exchange(&node->posted, true))
        return;
    atomic_fetch_add(&node->references, 1);
    node->letter.deliver = on_letter;
    mailbox_post(node->mailbox, &node->letter);
}

/* --- follows ----------------------------------------------------------------------------------- */

void sqlite_node_add(struct sqlite_node *node, struct sqlite_follow *follow)
{
    if (node->count++ == 0)
        node->seen = sqlite_feed_enter(&node->db->feed, node);
    follow->prev = NULL;
    follow->next = node->first;
    if (follow->next != NULL)
        follow->next->prev = follow;
    node->first = follow;
}

void sqlite_node_remove(struct sqlite_node *node, struct sqlite_follow *follow)
{
    not_todo(node, follow);
    *(follow->prev != NULL ? &follow->prev->next : &node->first) = follow->next;
    if (follow->next != NULL)
        follow->next->prev = follow->prev;
    if (--node->count == 0)
        sqlite_feed_leave(&node->db->feed, node);
}

/* --- life -------------------------------------------------------------------------------------- */

struct sqlite_node *sqlite_node_new(struct sqlite_db *db, uv_loop_t *loop, struct mailbox *mailbox)
{
    struct sqlite_node *node = calloc(1, sizeof *node);
    if (node == NULL)
        return NULL;
    node->db = db;
    node->loop = loop;
    node->mailbox = mailbox;
    atomic_init(&node->references, 1);
    return node;
}

void sqlite_node_free(struct sqlite_node *node)
{
    if (node == NULL)
        return;
    node->left = true;
    release(node);
}
