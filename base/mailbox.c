#include "mailbox.h"

#include <stdbool.h>
#include <stdlib.h>

struct mailbox {
    uv_async_t async;
    uv_mutex_t lock;
    struct letter *first, **last; /* posted, not yet delivered */
};

static void deliver_all(struct mailbox *mailbox)
{
    uv_mutex_lock(&mailbox->lock);
    struct letter *letter = mailbox->first;
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    uv_mutex_unlock(&mailbox->lock);

    while (letter != NULL) {
        struct letter *next = letter->next; /* deliver() may free the letter */
        letter->deliver(letter);
        letter = next;
    }
}

static void on_async(uv_async_t *async)
{
    deliver_all(async->data);
}

int mailbox_new(uv_loop_t *loop, struct mailbox **ret_mailbox)
{
    struct mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (mailbox == NULL)
        return UV_ENOMEM;
    int r = uv_mutex_init(&mailbox->lock);
    if (r != 0)
        goto fail;
    mailbox->last = &mailbox->first;
    r = uv_async_init(loop, &mailbox->async, on_async);
    if (r != 0)
        goto fail_lock;
    mailbox->async.data = mailbox;
    *ret_mailbox = mailbox;
    return 0;

fail_lock:
    uv_mutex_destroy(&mailbox->lock);
fail:
    free(mailbox);
    return r;
}

void mailbox_post(struct mailbox *mailbox, struct letter *letter)
{
    letter->next = NULL;
    uv_mutex_lock(&mailbox->lock);
    bool first = mailbox->first == NULL;
    *mailbox->last = letter;
    mailbox->last = &letter->next;
    /* Sent under the lock: once it is released the loop may deliver and close, and the handle would be gone.
     */
    if (first)
        uv_async_send(&mailbox->async);
    uv_mutex_unlock(&mailbox->lock);
}

static void on_closed(uv_handle_t *handle)
{
    struct mailbox *mailbox = handle->data;
    uv_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

void mailbox_close(struct mailbox *mailbox)
{
    if (mailbox == NULL)
        return;
    deliver_all(mailbox);
    uv_close((uv_handle_t *)&mailbox->async, on_closed);
}
