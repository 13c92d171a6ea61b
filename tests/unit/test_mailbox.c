#include "mailbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define THREADS 4
#define LETTERS 1000

struct note {
    struct letter letter; /* first, so that a letter is its note */
    struct desk *desk;
    unsigned sender, number;
};

/* What the loop's thread has seen. */
struct desk {
    uv_thread_t thread;
    struct mailbox *mailbox;
    unsigned next[THREADS];
    unsigned delivered;
    unsigned close_at;
};

static void take(struct letter *letter)
{
    struct note *note = (struct note *)letter;
    struct desk *desk = note->desk;
    uv_thread_t self = uv_thread_self();

    assert_true(uv_thread_equal(&self, &desk->thread));
    assert_int_equal(note->number, desk->next[note->sender]);
    desk->next[note->sender]++;
    free(note);
    if (++desk->delivered == desk->close_at)
        mailbox_close(desk->mailbox);
}

static void post(struct desk *desk, unsigned sender, unsigned number)
{
    struct note *note = calloc(1, sizeof *note);
    assert_non_null(note);
    *note = (struct note){.letter.deliver = take, .desk = desk, .sender = sender, .number = number};
    mailbox_post(desk->mailbox, &note->letter);
}

struct sender {
    struct desk *desk;
    unsigned number;
    uv_thread_t thread;
};

static void send_all(void *ctx)
{
    const struct sender *sender = ctx;
    for (unsigned i = 0; i < LETTERS; i++)
        post(sender->desk, sender->number, i);
}

static void delivers_every_letter_once_in_order(void **state)
{
    uv_loop_t loop;
    struct desk desk = {.thread = uv_thread_self(), .close_at = THREADS * LETTERS};
    struct sender senders[THREADS];

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(mailbox_new(&loop, &desk.mailbox), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        senders[i] = (struct sender){.desk = &desk, .number = i};
        assert_int_equal(uv_thread_create(&senders[i].thread, send_all, &senders[i]), 0);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    for (unsigned i = 0; i < THREADS; i++)
        uv_thread_join(&senders[i].thread);
    assert_int_equal(desk.delivered, THREADS * LETTERS);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void nothing_is_delivered_from_inside_post(void **state)
{
    uv_loop_t loop;
    struct desk desk = {.thread = uv_thread_self(), .close_at = 2};

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(mailbox_new(&loop, &desk.mailbox), 0);
    post(&desk, 0, 0);
    post(&desk, 0, 1);
    assert_int_equal(desk.delivered, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(desk.delivered, 2);
    assert_int_equal(uv_loop_close(&loop), 0);
}

struct chain {
    struct letter letter;
    struct mailbox *mailbox;
    int left;
};

static void post_again(struct letter *letter)
{
    struct chain *chain = (struct chain *)letter;
    if (chain->left-- > 0)
        mailbox_post(chain->mailbox, letter);
    else
        mailbox_close(chain->mailbox);
}

static void a_letter_may_be_posted_again_while_delivered(void **state)
{
    uv_loop_t loop;
    struct chain chain = {.letter.deliver = post_again, .left = 10};

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(mailbox_new(&loop, &chain.mailbox), 0);
    mailbox_post(chain.mailbox, &chain.letter);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(chain.left, -1);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void closing_delivers_what_waits(void **state)
{
    uv_loop_t loop;
    struct desk desk = {.thread = uv_thread_self()};

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(mailbox_new(&loop, &desk.mailbox), 0);
    post(&desk, 0, 0);
    mailbox_close(desk.mailbox);
    assert_int_equal(desk.delivered, 1);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    mailbox_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivers_every_letter_once_in_order),
        cmocka_unit_test(nothing_is_delivered_from_inside_post),
        cmocka_unit_test(a_letter_may_be_posted_again_while_delivered),
        cmocka_unit_test(closing_delivers_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
