/*
 * mailbox.h - how another thread hands work to a worker.
 *
 * A mailbox belongs to one libuv loop. Any thread may post a letter; the loop's thread delivers each once, in
 * the order posted. Letters are embedded in the sender's own object, so posting never allocates and cannot
 * fail.
 *
 * Ownership: the sender keeps the letter's memory alive until deliver() is called; from then on it is
 * deliver()'s.
 */
#ifndef TELEMETRYD_MAILBOX_H
#define TELEMETRYD_MAILBOX_H

#include <uv.h>

struct letter {
    struct letter *next;
    void (*deliver)(struct letter *letter); /* on the loop's thread */
};

struct mailbox;

/* ret_mailbox is untouched on failure. Returns 0 or a negative libuv error. */
int mailbox_new(uv_loop_t *loop, struct mailbox **ret_mailbox);

/* From any thread, until mailbox_close(). */
void mailbox_post(struct mailbox *mailbox, struct letter *letter);

/* Delivers what waits and closes; frees itself when the loop has run its close callbacks. Only on the loop's
 * thread, when nobody will post any more. Accepts NULL. */
void mailbox_close(struct mailbox *mailbox);

#endif
