/*
 * Who owns what: a flight is counted by the table while it is there (under way or kept) and by each waiter. A
 * waiter belongs to its flight's list until it lands, then to the letter in its worker's mailbox. Cancelling
 * takes it out of the list, or marks the letter that is on its way; both ends of that letter are on the
 * waiter's own thread.
 */
#include "flight.h"

#include "clock.h"

#include <assert.h>
#include <search.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 8192 /* bytes; a longer key is refused */

struct waiter {
    struct operation op;
    struct letter letter;
    struct flight *flight;
    struct mailbox *mailbox; /* of the waiter's worker */
    flight_cb *done;
    void *ctx;
    struct waiter *prev, *next; /* in the flight's list, guarded by the table's lock */
    bool listed;                /* guarded by the table's lock */
    bool cancelled;             /* only the waiter's thread looks at it */
};

struct flight {
    struct flight_table *table;
    atomic_uint references;
    unsigned ttl_ms;
    bool kept;                   /* guarded by the lock, as are the lists */
    struct waiter *first, *last; /* while under way */
    struct flight *newer;        /* while kept */
    struct flight_answer answer; /* set when it lands, constant from then on */
    char *text;                  /* of the answer: text, NUL, next, NUL */
    char key[];
};

struct flight_table {
    uv_mutex_t lock;
    void *tree; /* of tsearch(): the keys of flights under way and kept. A tree, as callers choose parts of
                   the keys. */
    struct flight *oldest, *newest; /* kept ones, by the time they landed */
    unsigned kept, max_kept;
};

static struct flight *flight_of(const char *key)
{
    return (struct flight *)(void *)(key - offsetof(struct flight, key));
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void unref(struct flight *flight)
{
    if (flight == NULL || atomic_fetch_sub(&flight->references, 1) > 1)
        return;
    free(flight->text);
    free(flight);
}

/* --- the table --------------------------------------------------------------------------------- */

int flight_table_new(unsigned max_kept, struct flight_table **ret_table)
{
    struct flight_table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return UV_ENOMEM;
    int r = uv_mutex_init(&table->lock);
    if (r != 0) {
        free(table);
        return r;
    }
    table->max_kept = max_kept;
    *ret_table = table;
    return 0;
}

/* The functions below are called with the lock held. */

static struct flight *find(struct flight_table *table, const char *key)
{
    char **node = tfind(key, &table->tree, compare);
    return node == NULL ? NULL : flight_of(*node);
}

/* Takes the oldest kept flight out of the table; the caller drops the reference. */
static struct flight *forget_oldest(struct flight_table *table)
{
    struct flight *flight = table->oldest;
    table->oldest = flight->newer;
    if (table->oldest == NULL)
        table->newest = NULL;
    table->kept--;
    tdelete(flight->key, &table->tree, compare);
    return flight;
}

static void keep(struct flight_table *table, struct flight *flight)
{
    flight->kept = true;
    flight->newer = NULL;
    if (table->newest != NULL)
        table->newest->newer = flight;
    else
        table->oldest = flight;
    table->newest = flight;
    table->kept++;
}

/* A kept flight whose time is over, taken out of the table wherever it is in the list. */
static void forget(struct flight_table *table, struct flight *flight)
{
    struct flight **at = &table->oldest, *before = NULL;
    while (*at != flight) {
        before = *at;
        at = &before->newer;
    }
    *at = flight->newer;
    if (table->newest == flight)
        table->newest = before;
    table->kept--;
    tdelete(flight->key, &table->tree, compare);
}

void flight_table_free(struct flight_table *table)
{
    if (table == NULL)
        return;
    while (table->oldest != NULL)
        unref(forget_oldest(table));
    assert(table->tree == NULL);
    uv_mutex_destroy(&table->lock);
    free(table);
}

/* --- waiters ----------------------------------------------------------------------------------- */

static void list_append(struct flight *flight, struct waiter *waiter)
{
    waiter->prev = flight->last;
    waiter->next = NULL;
    if (flight->last != NULL)
        flight->last->next = waiter;
    else
        flight->first = waiter;
    flight->last = waiter;
    waiter->listed = true;
}

static void list_remove(struct flight *flight, struct waiter *waiter)
{
    if (waiter->prev != NULL)
        waiter->prev->next = waiter->next;
    else
        flight->first = waiter->next;
    if (waiter->next != NULL)
        waiter->next->prev = waiter->prev;
    else
        flight->last = waiter->prev;
    waiter->listed = false;
}

static void waiter_free(struct waiter *waiter)
{
    unref(waiter->flight);
    free(waiter);
}

static void waiter_cancel(struct operation *op)
{
    struct waiter *waiter = (struct waiter *)op;
    struct flight_table *table = waiter->flight->table;

    uv_mutex_lock(&table->lock);
    bool listed = waiter->listed;
    if (listed)
        list_remove(waiter->flight, waiter);
    uv_mutex_unlock(&table->lock);
    if (listed)
        waiter_free(waiter);
    else
        waiter->cancelled = true; /* its letter is on the way to this thread */
}

static void deliver(struct letter *letter)
{
    struct waiter *waiter = (struct waiter *)((char *)letter - offsetof(struct waiter, letter));
    if (!waiter->cancelled)
        waiter->done(waiter->ctx, &waiter->flight->answer);
    waiter_free(waiter);
}

/* With the lock held: a worker that has cancelled all it waited for may close its mailbox, and must find each
 * letter either taken back or already in there. */
static void post_all(struct flight *flight)
{
    struct waiter *waiter;
    while ((waiter = flight->first) != NULL) {
        list_remove(flight, waiter);
        mailbox_post(waiter->mailbox, &waiter->letter);
    }
}

/* --- flights ----------------------------------------------------------------------------------- */

static struct flight *flight_new(struct flight_table *table, const char *key, unsigned ttl_ms)
{
    size_t size = strlen(key) + 1;
    struct flight *flight = calloc(1, sizeof *flight + size);
    if (flight == NULL)
        return NULL;
    flight->table = table;
    atomic_init(&flight->references, 1); /* the table's */
    flight->ttl_ms = ttl_ms;
    memcpy(flight->key, key, size);
    return flight;
}

/* Looks the key up or enters a new flight, and puts the waiter there. Returns false when out of memory.
 * *ret_new: the flight is to be started. *ret_stale: to be dropped by the caller. */
static bool board(struct flight_table *table, struct waiter *waiter, const char *key, unsigned ttl_ms,
                  bool *ret_new, struct flight **ret_stale)
{
    struct flight *flight = find(table, key);
    if (flight != NULL && flight->kept && clock_monotonic_ms() - flight->answer.at_ms >= flight->ttl_ms) {
        forget(table, flight);
        *ret_stale = flight;
        flight = NULL;
    }
    *ret_new = flight == NULL;
    if (flight == NULL) {
        flight = flight_new(table, key, ttl_ms);
        if (flight == NULL || tsearch(flight->key, &table->tree, compare) == NULL) {
            unref(flight);
            return false;
        }
    }
    atomic_fetch_add(&flight->references, 1);
    waiter->flight = flight;
    if (flight->kept)
        mailbox_post(waiter->mailbox, &waiter->letter);
    else
        list_append(flight, waiter);
    return true;
}

/* The flight could not start. Others may have joined it meanwhile. */
static void call_off(struct flight *flight, struct waiter *waiter)
{
    struct flight_table *table = flight->table;
    flight->answer = (struct flight_answer){.result = {.status = UPSTREAM_OVERLOADED, .retry_after_s = 1},
                                            .at_ms = clock_monotonic_ms()};
    uv_mutex_lock(&table->lock);
    list_remove(flight, waiter);
    tdelete(flight->key, &table->tree, compare);
    post_all(flight);
    uv_mutex_unlock(&table->lock);
    waiter_free(waiter);
    unref(flight);
}

struct operation *flight_join(struct flight_table *table, struct mailbox *mailbox, const char *key,
                              unsigned ttl_ms, flight_start_fn *start, void *start_ctx, flight_cb *done,
                              void *ctx)
{
    if (strlen(key) > KEY_MAX)
        return NULL;
    struct waiter *waiter = malloc(sizeof *waiter);
    if (waiter == NULL)
        return NULL;
    *waiter = (struct waiter){
        .op.cancel = waiter_cancel, .letter.deliver = deliver, .mailbox = mailbox, .done = done, .ctx = ctx};

    bool is_new = false;
    struct flight *stale = NULL;
    uv_mutex_lock(&table->lock);
    bool boarded = board(table, waiter, key, ttl_ms, &is_new, &stale);
    uv_mutex_unlock(&table->lock);
    unref(stale);
    if (!boarded) {
        free(waiter);
        return NULL;
    }
    if (is_new && !start(start_ctx, waiter->flight, waiter->flight->key)) {
        call_off(waiter->flight, waiter);
        return NULL;
    }
    return &waiter->op;
}

/* Copies what the answer says; without memory it says just that. */
static void set_answer(struct flight *flight, const struct upstream_result *result, const char *text,
                       size_t len, const char *next)
{
    struct flight_answer *answer = &flight->answer;
    *answer = (struct flight_answer){.result = *result, .at_ms = clock_monotonic_ms()};
    if (text == NULL)
        len = 0;
    size_t next_size = next != NULL ? strlen(next) + 1 : 0;
    if (text == NULL && next == NULL)
        return;
    flight->text = malloc(len + 1 + next_size);
    if (flight->text == NULL) {
        answer->result.status = UPSTREAM_NO_MEMORY;
        return;
    }
    if (text != NULL) {
        memcpy(flight->text, text, len);
        answer->text = flight->text;
        answer->len = len;
    }
    flight->text[len] = '\0';
    if (next != NULL)
        answer->next = memcpy(flight->text + len + 1, next, next_size);
}

void flight_land(struct flight *flight, const struct upstream_result *result, const char *text, size_t len,
                 const char *next)
{
    struct flight_table *table = flight->table;
    struct flight *dropped = flight;

    set_answer(flight, result, text, len, next);
    uv_mutex_lock(&table->lock);
    if (flight->ttl_ms > 0 && table->max_kept > 0 && flight->answer.result.status == UPSTREAM_OK) {
        keep(table, flight);
        dropped = table->kept > table->max_kept ? forget_oldest(table) : NULL;
    } else {
        tdelete(flight->key, &table->tree, compare);
    }
    post_all(flight);
    uv_mutex_unlock(&table->lock);
    unref(dropped);
}
