/*
 * sqlite_feed.h - what is stored in the embedded database, as it is stored, and what follows it
 * (telemetry_follow.h). From the inside out:
 *
 *   sqlite_feed      what the process shares: the latest batches of changes, one for each transaction
 *   sqlite_position  how far a follow is, and the text that callers keep of it
 *   sqlite_node      a worker's share: hands batches to its follows, device by device
 *   sqlite_follow    a follow;   sqlite_past  what it reads from the tables until it is live
 *
 * The order of storing is telemetry.seq, one count for the whole database, never given twice. A reading lies
 * under (device, timestamp, seq), so what was stored after a seq is found by timestamp: it is not smaller
 * than the newest of then, as long as the clock did not step back by more than the writer holds on for. Where
 * it did, table `turns` says from which seq on, and to which second; between two turns the order of
 * timestamps is the order of storing.
 *
 * From the past into the present: a follow reads the tables up to the batch that its node has handed out
 * last, stretch by stretch between turns and device by device, then goes through the batches since. Those are
 * on one thread with the handing out, so nothing comes between. What of the batches is no longer kept is read
 * from the tables.
 *
 * Threads: struct sqlite_feed is shared (one lock, never held over a callback); all else is a worker's.
 */
#ifndef TELEMETRYD_SQLITE_FEED_H
#define TELEMETRYD_SQLITE_FEED_H

#include "delay.h"
#include "sqlite_internal.h"
#include "topics.h"

/* --- sqlite_feed.c ----------------------------------------------------------------------------- */

struct sqlite_change {
    const char *device_id, *data;
    size_t data_len;
    int64_t timestamp, seq;
};

struct sqlite_batch {
    atomic_uint references;
    struct sqlite_batch *next, *prev; /* under the feed's lock */
    struct sqlite_point point;        /* after all of it */
    int64_t since;                    /* the seq before all of it */
    size_t bytes, count;
    struct sqlite_change changes[]; /* their text lies behind them */
};

/* Somebody on some worker listens from now on: the point, and every batch after it will be kept. */
struct sqlite_point sqlite_feed_enter(struct sqlite_feed *feed, struct sqlite_node *node);
void sqlite_feed_leave(struct sqlite_feed *feed, struct sqlite_node *node);
struct sqlite_point sqlite_feed_newest(struct sqlite_feed *feed);

enum sqlite_feed_said { SQLITE_FEED_NOTHING, SQLITE_FEED_BATCH, SQLITE_FEED_GAP };
/* The batch that holds what follows seq, for the caller to unref; GAP where it is no longer kept. */
enum sqlite_feed_said sqlite_feed_next(struct sqlite_feed *feed, int64_t seq, struct sqlite_batch **ret_batch,
                                       struct sqlite_point *ret_newest);
void sqlite_batch_unref(struct sqlite_batch *batch);

/* --- sqlite_position.c ------------------------------------------------------------------------- */

/* A stretch of the tables, and how far it was read: readings with a seq in (after, until] and a timestamp of
 * `second` or more, device by device. */
struct sqlite_cursor {
    int64_t after, until; /* until 0: not begun */
    int64_t second;
    int64_t least;   /* readings with a smaller timestamp are not wanted in later stretches either */
    unsigned device; /* the devices before this one are done, */
    int64_t ts, seq; /* and of this one what lies at or before this; 0, 0: nothing */
};

struct sqlite_position {
    int64_t issued;
    struct sqlite_cursor cursor;
};

/* Appends the text: where `cursor` has not begun, of what was stored after (after, second). 0 or -ENOMEM. */
int sqlite_position_append(struct buffer *out, int64_t identity, int64_t issued,
                           const struct sqlite_cursor *cursor, uint32_t devices);
/* Reads a stranger's text. 0, or -EINVAL for what is not understood, or is of another database or of other
 * devices. */
int sqlite_position_parse(const char *text, int64_t identity, uint32_t devices,
                          struct sqlite_position *ret_position);
uint32_t sqlite_position_devices(const char *const *device_ids, size_t count);

/* --- sqlite_node.c ----------------------------------------------------------------------------- */

struct sqlite_follow;

struct sqlite_link {
    struct topic_link base;
    struct sqlite_follow *follow;
};

struct sqlite_node {
    struct sqlite_db *db;
    uv_loop_t *loop;
    struct mailbox *mailbox;
    struct letter letter;
    atomic_bool posted;
    atomic_uint references;          /* one of the store, one while the letter is on its way */
    bool left;                       /* the store is gone */
    struct sqlite_node *next, *prev; /* in the feed's list, under its lock, while somebody follows here */
    unsigned count;                  /* follows */
    struct sqlite_point seen;        /* after the last batch that was handed out */
    struct topics topics;
    struct sqlite_follow *first; /* all follows */
    struct sqlite_follow *todo_first, *todo_last;
    /* While a batch is handed out. */
    const struct sqlite_batch *batch;
    size_t at;
    /* The position that all live follows of one device share. */
    struct sqlite_point shared;
    int64_t shared_issued;
    struct buffer position;
};

struct sqlite_node *sqlite_node_new(struct sqlite_db *db, uv_loop_t *loop, struct mailbox *mailbox);
void sqlite_node_free(struct sqlite_node *node); /* no follow is left; accepts NULL */

/* From any thread: batches are there to be handed out, or something is to be done. */
void sqlite_node_wake(struct sqlite_node *node);

/* A follow comes and goes. */
void sqlite_node_add(struct sqlite_node *node, struct sqlite_follow *follow);
void sqlite_node_remove(struct sqlite_node *node, struct sqlite_follow *follow);
/* Its step() will be called soon, outside of all callbacks. */
void sqlite_node_todo(struct sqlite_node *node, struct sqlite_follow *follow);

/* --- sqlite_follow.c, sqlite_past.c ------------------------------------------------------------ */

/* What a follow needs until it is live. */
struct sqlite_past {
    struct sqlite_cursor cursor; /* after the last reading that was delivered */
    struct sqlite_cursor ahead;  /* where the page ends */
    bool tables_end;             /* there, nothing more was in the tables */
    bool joining;                /* so the batches since are next */
    struct operation *reading;   /* the next page */
    struct delay *delay;         /* before it is asked for again */
    unsigned failures;
    struct buffer page; /* rows, each a struct row and its text */
    size_t page_at;
};

struct sqlite_follow {
    struct telemetry_follow base;
    struct operation opening;
    telemetry_followed_cb *opened; /* NULL: it was called */
    void *opened_ctx;
    struct sqlite_node *node;
    const struct telemetry_follow_events *events; /* NULL before begin() */
    void *ctx;
    struct sqlite_follow *next, *prev;           /* in the node's list */
    struct sqlite_follow *todo_next, *todo_prev; /* in the list of those that have something to do */
    struct sqlite_past *past;                    /* NULL: live */
    struct sqlite_point point;                   /* slow ones: after what was taken */
    bool in_todo;
    bool blocked; /* the last reading was not taken, and go_on() has not come */
    bool slow;    /* live ones: so readings were dropped */
    bool expired; /* to be said */
    bool closed;
    unsigned calling; /* callbacks that we are inside of */
    uint32_t devices; /* fingerprint of their list */
    size_t count;
    struct sqlite_link links[];
};

struct operation *sqlite_follow(struct sqlite_node *node, const struct telemetry_follow_request *request,
                                telemetry_followed_cb *done, void *ctx);

/* Offers the change that the node is handing out. The follow may be gone afterwards. */
void sqlite_follow_offer(struct sqlite_follow *follow, const struct sqlite_batch *batch, size_t i);
/* Goes on with what there is to do. The follow may be gone afterwards. */
void sqlite_follow_step(struct sqlite_follow *follow);
/* The node has lost batches: what was live reads on from `point`. */
void sqlite_follow_fell_behind(struct sqlite_follow *follow, struct sqlite_point point);
/* Calls reading(); false when it was not taken, or the follow is closed. */
bool sqlite_follow_deliver(struct sqlite_follow *follow, const struct telemetry_change *change);

/* NULL when out of memory. */
struct sqlite_past *sqlite_past_new(const struct sqlite_cursor *from);
void sqlite_past_free(struct sqlite_past *past); /* accepts NULL */
/* Goes on; true when the follow has reached what its node handed out last. */
bool sqlite_past_step(struct sqlite_follow *follow);
void sqlite_past_stop(struct sqlite_past *past);

#endif
