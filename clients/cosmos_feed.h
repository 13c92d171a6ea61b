/*
 * cosmos_feed.h - the container's change feed, read once for the whole process, and what follows it
 * (telemetry_follow.h). From the inside out:
 *
 *   cosmos_batch: one page of the feed as an immutable, counted list of changes; places in the log of a range
 *   cosmos_position: places as the text that callers keep
 *   cosmos_feed_request: one page on the wire, also one for all who ask for the same at the same time
 *   cosmos_feed: what all workers share: the latest batches, where every range stands, who wants to know
 *   cosmos_feed_reader: the one reader, on the worker whose store was the first
 *   cosmos_node: a worker's share: hands batches to its follows, device by device
 *   cosmos_follow, cosmos_follow_past: a follow; its opening, and the readings from before it was live
 *
 * The log (azure-protocols 1.8): each physical partition ("range") has a log of its own, ordered by `_lsn`,
 * in which an item stands once, with its newest version. A transactional batch shares one `_lsn` and is never
 * cut between two pages. A page is asked for with the ETag of the page before it; a 304 carries one too. A
 * range that splits is gone (410), and its children go on from its ETag.
 *
 * Time and the feed: "now" is a poll of every range that began after the question, so that nothing stored
 * before comes as news. Readings from before are asked of a query, as far as they are older than a cut T0
 * that lies safely in the past (whoever wrote them is done, so a query sees them all), and of the feed from
 * there: a query sees the present and the feed a sequence, and only a cut in time has every reading on
 * exactly one side. While the query's part lasts for long, the cut moves up, window by window.
 *
 * From the past into the present: the follow notes the newest batch (its join), reads the feed's own pages
 * until each range says that nothing more is there, then goes through the batches since the join, leaving out
 * what lies at or before its places. Where those batches are no longer kept, it reads on from the feed.
 *
 * Writes of this process make the reader poll at once. What the feed does not show within 300 ms is handed
 * out ahead of it (the npm emulator's feed never shows it, azure-protocols 1.11); the feed's own copy is
 * known by its etag then and left out, and positions name what is still to be left out. Such readings may
 * come before older ones of other writers.
 *
 * Threads: struct cosmos_feed is shared (one lock, never held over a callback); all else is a worker's.
 */
#ifndef TELEMETRYD_COSMOS_FEED_H
#define TELEMETRYD_COSMOS_FEED_H

#include "cosmos_internal.h"
#include "json.h"
#include "topics.h"

#include <stdatomic.h>

#define COSMOS_RANGES_MAX    128 /* so that a position stays below TELEMETRY_POSITION_MAX */
#define COSMOS_RANGE_ID_SIZE 24
#define COSMOS_ETAG_SIZE     128
#define COSMOS_PARENTS_SIZE  96
#define COSMOS_HASHES_MAX    64

/* --- cosmos_batch.c ---------------------------------------------------------------------------- */

/* How far the log of a range was taken. */
struct cosmos_place {
    char range[COSMOS_RANGE_ID_SIZE];
    char etag[COSMOS_ETAG_SIZE]; /* asks for what comes next; "": what was stored since T0 */
    int64_t lsn; /* what comes with a smaller one was taken, and so was this one; -1: unknown */
    bool inside; /* but of this one only the changes up to `hash`; `left` remained then */
    uint32_t hash;
    uint32_t left;
};

struct cosmos_range {
    struct cosmos_place place;
    char parents[COSMOS_PARENTS_SIZE]; /* ids, each after a blank; the nearest is the last */
};

struct cosmos_ranges {
    uint32_t container; /* of the container's resource id: another container is another log */
    unsigned count;
    struct cosmos_range at[];
};

struct cosmos_change {
    const char *device_id; /* NULL: to be left out */
    const char *data;
    size_t data_len;
    int64_t timestamp;
    int64_t lsn;   /* 0: the service does not say */
    uint32_t hash; /* of this version of the item */
};

enum cosmos_batch_kind {
    COSMOS_BATCH_PAGE,   /* of `range`, between the two etags */
    COSMOS_BATCH_RANGES, /* `ranges` is how the container is divided from now on */
    COSMOS_BATCH_EARLY   /* this process stored it, and the feed is late in showing it */
};

struct cosmos_batch {
    atomic_uint references;
    enum cosmos_batch_kind kind;
    uint64_t seq; /* in the feed's order; 0: a page of somebody's own */
    uint64_t at_ms;
    size_t bytes; /* of memory */
    char range[COSMOS_RANGE_ID_SIZE];
    char etag_before[COSMOS_ETAG_SIZE], etag_after[COSMOS_ETAG_SIZE];
    struct cosmos_ranges *ranges;
    unsigned documents; /* of the page, those included that are no readings */
    int64_t first_ts;   /* of the page's first document; 0: unknown */
    size_t count;
    struct cosmos_change *changes; /* in the order of the log */
    int64_t last_lsn;              /* of the page's last document; 0: unknown */
    uint64_t stored_us;            /* an early one: when it was */
    struct buffer text, ids;
};

/* Reads a page; partition_key is the property that names the device. Takes the text over when it succeeds. 0,
 * -EBADMSG for what cannot be vouched for, or -ENOMEM. */
int cosmos_batch_parse(struct buffer *text, size_t start, size_t len, const char *partition_key,
                       struct cosmos_batch **ret_batch);
/* The batch of `count` readings that this process stored; items: what the service made of them, with _etag
 * and _ts. NULL when out of memory. */
struct cosmos_batch *cosmos_batch_of_writes(const char *device_id, const struct reading *const *readings,
                                            const struct json_slice *items, size_t count);
struct cosmos_batch *cosmos_batch_of_ranges(const struct cosmos_ranges *ranges); /* NULL: out of memory */
struct cosmos_batch *cosmos_batch_ref(struct cosmos_batch *batch);
void cosmos_batch_unref(struct cosmos_batch *batch); /* accepts NULL */

/* The index of the first change of a page that `place` has not taken. */
size_t cosmos_batch_first_new(const struct cosmos_batch *batch, const struct cosmos_place *place);
/* The place after the i-th change, and after the whole page. */
void cosmos_place_after(struct cosmos_place *place, const struct cosmos_batch *batch, size_t i);
void cosmos_place_after_page(struct cosmos_place *place, const struct cosmos_batch *batch);

/* Reads the list of ranges; places begin at `*` (now). 0, -EBADMSG, -E2BIG for more than COSMOS_RANGES_MAX,
 * or -ENOMEM. */
int cosmos_ranges_parse(const char *text, size_t len, struct cosmos_ranges **ret_ranges);
struct cosmos_ranges *cosmos_ranges_copy(const struct cosmos_ranges *ranges); /* NULL: out of memory */
struct cosmos_range *cosmos_ranges_find(struct cosmos_ranges *ranges, const char *id);
/* The entry of a range itself, or else of its nearest parent there; or NULL. */
struct cosmos_range *cosmos_ranges_source(struct cosmos_ranges *ranges, const struct cosmos_range *range);
/* Gives each range of `to` the place of its own in `from`, else that of its nearest parent there. Returns
 * false where some range has neither; it then keeps its place. */
bool cosmos_ranges_inherit(struct cosmos_ranges *to, struct cosmos_ranges *from);

/* The last few changes of a kind, by their hashes. */
struct cosmos_hashes {
    unsigned count, oldest;
    uint32_t at[COSMOS_HASHES_MAX];
};
void cosmos_hashes_add(struct cosmos_hashes *hashes, uint32_t hash);
bool cosmos_hashes_has(const struct cosmos_hashes *hashes, uint32_t hash); /* accepts NULL */
bool cosmos_hashes_remove(struct cosmos_hashes *hashes, uint32_t hash); /* true: it was there; accepts NULL */

uint32_t cosmos_hash(uint32_t seed, const void *bytes, size_t len);
#define COSMOS_HASH_SEED 2166136261u

/* --- cosmos_position.c ------------------------------------------------------------------------- */

/* The part that queries answer: readings of the follow's devices, one device after the other. */
struct cosmos_replay {
    uint32_t devices; /* fingerprint of their list */
    int64_t after;    /* the window: after < timestamp < T0 */
    unsigned device;  /* the devices before this one are done */
    int64_t second;   /* and of this one the seconds before, */
    unsigned count;   /* and so many of this second */
};

struct cosmos_position {
    int64_t issued;
    int64_t t0; /* 0: none */
    bool replaying;
    struct cosmos_replay replay;
    struct cosmos_hashes early; /* was delivered before the feed showed it */
};

#define COSMOS_POSITION_AGE_S                                                                                \
    3600 /* what is older is expired: the feed is read from there by a caller's wish */

/* Appends the text. 0 or -ENOMEM. */
int cosmos_position_append(struct buffer *out, const struct cosmos_position *position,
                           const struct cosmos_ranges *ranges);
/* Reads a stranger's text. 0; -EINVAL for what is not understood; -ENOMEM. */
int cosmos_position_parse(const char *text, struct cosmos_position *ret_position,
                          struct cosmos_ranges **ret_ranges);
uint32_t cosmos_position_devices(const char *const *device_ids, size_t count);

/* --- cosmos_feed_request.c --------------------------------------------------------------------- */

struct cosmos_feed_headers {
    char range[COSMOS_RANGE_ID_SIZE + 40];
    char from[COSMOS_ETAG_SIZE + 32];
    char max_items[40];
};

#define COSMOS_FEED_ITEMS 1000 /* of a page */

/* The request for the page after `place`; since: the T0 of places without an etag. */
void cosmos_feed_request(const struct cosmos_store *store, const struct cosmos_place *place, int64_t since,
                         struct cosmos_feed_headers *headers, struct cosmos_request *ret_request);

enum cosmos_feed_said { COSMOS_FEED_PAGE, COSMOS_FEED_NOTHING, COSMOS_FEED_GONE, COSMOS_FEED_FAILED };
/* What an answer to it says. */
enum cosmos_feed_said cosmos_feed_answer(const struct cosmos_answer *answer);
/* Whether an etag can be kept: printable ASCII, and it fits. */
bool cosmos_etag_valid(const char *etag);

/* Asks for a page together with all who ask for the same at this time. The flight's answer: UPSTREAM_OK with
 * the text of a page, or without one where nothing more is there, and the etag in `next`;
 * UPSTREAM_NOT_FOUND: the range is gone; else an error. NULL when it cannot start. */
struct operation *cosmos_feed_join(struct cosmos_store *store, const struct cosmos_place *place,
                                   int64_t since, flight_cb *done, void *ctx);
/* Gives up the pages that were asked for on this worker. */
void cosmos_feed_joins_end(struct cosmos_store *store);

/* --- cosmos_feed.c ----------------------------------------------------------------------------- */

/* The part of a node that other threads touch. */
struct cosmos_feed_member {
    struct letter letter;
    struct mailbox *mailbox;
    atomic_uint references; /* one of the store, one while the letter is on its way */
    atomic_bool posted;
    atomic_uint active; /* follows and openings there */
    struct cosmos_feed_member *next, *prev;
    /* On the worker's thread, when something happened; never after cosmos_feed_leave(). */
    void (*look)(struct cosmos_feed_member *member);
    void (*release)(struct cosmos_feed_member *member); /* the last reference is gone */
    bool left;                                          /* only the worker's thread looks at it */
};

/* The first to enter hosts the reader. */
void cosmos_feed_enter(struct cosmos_feed *feed, struct cosmos_feed_member *member);
void cosmos_feed_leave(struct cosmos_feed *feed, struct cosmos_feed_member *member);
bool cosmos_feed_hosts(struct cosmos_feed *feed, const struct cosmos_feed_member *member);
/* look() will be called soon. */
void cosmos_feed_wake(struct cosmos_feed_member *member);

/* Somebody follows, or no longer does. */
void cosmos_feed_follow(struct cosmos_feed *feed, struct cosmos_feed_member *member);
void cosmos_feed_unfollow(struct cosmos_feed *feed, struct cosmos_feed_member *member);
/* Asks the reader to poll every range at once. */
void cosmos_feed_poke(struct cosmos_feed *feed);
/* A device has one follow more, or one less. */
void cosmos_feed_count_device(struct cosmos_feed *feed, const char *device_id, int more);
/* Whether a device may be followed, on whatever worker. */
bool cosmos_feed_follows_device(struct cosmos_feed *feed, const char *device_id);
unsigned cosmos_feed_interval_ms(const struct cosmos_feed *feed);

/* For the reader. */
struct cosmos_feed_wish {
    bool wanted;       /* somebody follows, or did so within the last minute */
    uint64_t poked_us; /* of the last poke */
};
struct cosmos_feed_wish cosmos_feed_wish(struct cosmos_feed *feed);
/* Adds a batch (taken over; NULL: none), says where its range stands, and up to when all ranges are known
 * (0: as before). */
void cosmos_feed_publish(struct cosmos_feed *feed, struct cosmos_batch *batch,
                         const struct cosmos_place *place, uint64_t fresh_us);
/* Publishes what the feed should have shown by now; when there is more to wait for, says when. */
bool cosmos_feed_early(struct cosmos_feed *feed, uint64_t now_us, uint64_t *ret_due_us);
void cosmos_feed_failed(struct cosmos_feed *feed, enum upstream_status status, unsigned retry_after_s);
void cosmos_feed_stopped(struct cosmos_feed *feed);

/* For the nodes. */
struct cosmos_feed_news {
    uint64_t newest;   /* seq of the newest batch; 0: none yet */
    uint64_t fresh_us; /* what was stored before this moment is in the batches up to the newest; 0: nothing
                          known */
    uint64_t failed_us;
    enum upstream_status failure;
    unsigned retry_after_s;
};
struct cosmos_feed_news cosmos_feed_news(struct cosmos_feed *feed);
/* The batch after seq; NULL with *ret_gap where it is no longer kept, else there is none. */
struct cosmos_batch *cosmos_feed_next(struct cosmos_feed *feed, uint64_t seq, bool *ret_gap);
/* A copy of where the ranges stand after the newest batch, whose seq it stores, when that is `*seq` or when
 * `jump` and the version differs from *version. False when nothing was copied. */
bool cosmos_feed_ranges(struct cosmos_feed *feed, bool jump, uint64_t *seq, uint64_t *version,
                        struct cosmos_ranges **ranges);

/* --- cosmos_feed_reader.c ---------------------------------------------------------------------- */

struct cosmos_reader;
struct cosmos_reader *cosmos_reader_new(struct cosmos_store *store);
void cosmos_reader_look(struct cosmos_reader *reader);
void cosmos_reader_free(struct cosmos_reader *reader); /* accepts NULL */

/* --- cosmos_node.c ----------------------------------------------------------------------------- */

struct cosmos_follow;

/* A follow's place in the list of one device. */
struct cosmos_link {
    struct topic_link base;
    struct cosmos_follow *follow;
};

struct cosmos_opening;

struct cosmos_node {
    struct cosmos_feed_member member; /* first */
    struct cosmos_store *store;
    struct cosmos_feed *feed;
    struct cosmos_reader *reader; /* of the host */
    uint64_t seen;                /* seq of the last batch that was handed out */
    uint64_t version;
    struct cosmos_ranges *ranges; /* as of that batch; NULL before the first */
    struct topics topics;
    struct cosmos_follow *first; /* all follows */
    struct cosmos_follow *todo_first, *todo_last;
    struct cosmos_opening *opening_first, *opening_last;
    /* While a batch is handed out. */
    const struct cosmos_batch *batch;
    size_t done; /* its changes before this one were offered to all */
    /* The position that all live follows share. */
    struct cosmos_position_key {
        uint64_t version, seen;
        const struct cosmos_batch *batch;
        size_t done;
        int64_t at;
    } position_key;
    struct buffer position;
};

struct cosmos_node *cosmos_node_new(struct cosmos_store *store, struct cosmos_feed *feed);
void cosmos_node_free(struct cosmos_node *node); /* no follow is left; accepts NULL */

/* Links the follow to the topic of a device. 0 or -ENOMEM. */
int cosmos_node_link(struct cosmos_node *node, struct cosmos_link *link, const char *device_id);
void cosmos_node_unlink(struct cosmos_node *node, struct cosmos_link *link);
/* The follow's step() will be called soon, outside of all callbacks. */
void cosmos_node_todo(struct cosmos_node *node, struct cosmos_follow *follow);
void cosmos_node_not_todo(struct cosmos_node *node, struct cosmos_follow *follow);
/* Brings `ranges` up to the newest where every batch was handed out. */
void cosmos_node_sync(struct cosmos_node *node);
/* A follow or an opening more. */
void cosmos_node_follow(struct cosmos_node *node);

/* --- cosmos_follow.c, cosmos_follow_past.c ----------------------------------------------------- */

/* What a follow needs until it is live. */
struct cosmos_past {
    struct cosmos_ranges *ranges; /* how far it is; NULL until the opening */
    int64_t t0;
    bool replaying;
    struct cosmos_replay replay;
    int64_t query_after; /* of the query whose pages are read */
    unsigned skip;       /* readings of replay.second that were delivered before it was asked */
    /* What is asked for, or lies here until it is taken. */
    struct operation *waiting;
    struct delay *timer; /* before it is asked for again */
    unsigned failures;
    char *next; /* the query's continuation */
    struct buffer page;
    struct json_iter page_at;
    bool has_page;
    struct cosmos_batch *batch;
    size_t change;
    unsigned range;              /* of the one that is read */
    uint64_t join;               /* the batches after this one follow on what the feed said */
    bool begin;                  /* the pass over the ranges is to begin */
    bool joining;                /* every range said that nothing more is there */
    struct cosmos_hashes recent; /* delivered by the feed, before the reader may have seen it */
};

struct cosmos_follow {
    struct telemetry_follow base;
    struct cosmos_node *node;
    const struct telemetry_follow_events *events; /* NULL before begin() */
    void *ctx;
    struct cosmos_follow *next, *prev;           /* in the node's list */
    struct cosmos_follow *todo_next, *todo_prev; /* in the list of those that have something to do */
    struct cosmos_past *past;                    /* NULL: live, and nothing of it is ahead of the node */
    bool live;
    bool in_todo;
    bool blocked; /* the last reading was not taken, and go_on() has not come */
    bool slow;    /* live ones: so readings were dropped */
    bool expired; /* to be said */
    bool closed;
    bool counted;                /* with the node and the feed */
    unsigned calling;            /* callbacks that we are inside of */
    uint64_t since_us;           /* what this process stored earlier is no news; 0: it may be */
    struct cosmos_hashes *early; /* what was delivered before the feed showed it; NULL: nothing */
    int64_t not_before;          /* readings with a smaller timestamp are not wanted */
    struct buffer frozen;        /* the position of a slow one */
    size_t count;
    struct cosmos_link links[];
};

/* This process has stored readings, in a write that began at began_us: whoever follows the device is to have
 * them at once. early: they themselves (taken over), in case the feed does not show them soon; may be NULL.
 */
void cosmos_feed_written(struct cosmos_store *store, struct cosmos_batch *early, uint64_t began_us);

struct operation *cosmos_follow(struct telemetry_store *store, const struct telemetry_follow_request *request,
                                telemetry_followed_cb *done, void *ctx);

/* Looks at the openings that wait; called by the node. */
void cosmos_openings_look(struct cosmos_node *node, const struct cosmos_feed_news *news);
/* Offers the change that the node is handing out. The follow may be gone afterwards. */
void cosmos_follow_offer(struct cosmos_follow *follow, const struct cosmos_batch *batch, size_t i);
/* Goes on with what there is to do. The follow may be gone afterwards. */
void cosmos_follow_step(struct cosmos_follow *follow);
/* The node has lost batches: what was live reads the feed itself. */
void cosmos_follow_fell_behind(struct cosmos_follow *follow);

/* Whether a change of the feed was delivered early. */
bool cosmos_follow_had(struct cosmos_follow *follow, const struct cosmos_change *change);
/* Delivers an early change; false when it was not taken, or the follow is closed. */
bool cosmos_follow_deliver_early(struct cosmos_follow *follow, const struct cosmos_batch *batch, size_t i);
/* Calls reading(); false when it was not taken, or the follow is closed. */
bool cosmos_follow_deliver(struct cosmos_follow *follow, const struct cosmos_change *change);

/* A step of the past; true when it is over and the follow is live. */
bool cosmos_past_step(struct cosmos_follow *follow);
void cosmos_past_free(struct cosmos_past *past); /* accepts NULL */
/* Where the follow begins, now that the node knows the ranges. 0, or -ENOMEM. */
int cosmos_past_open(struct cosmos_follow *follow);
/* Begins to read the feed from the places on. */
void cosmos_past_read_on(struct cosmos_follow *follow);
int cosmos_past_position(const struct cosmos_follow *follow, struct buffer *out);
/* The place of a range where that is ahead of what the node handed out, or NULL. */
const struct cosmos_place *cosmos_past_ahead(const struct cosmos_follow *follow, const char *range);

#endif
