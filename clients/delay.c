#include "delay.h"

#include <stdlib.h>

/* Of its own memory: libuv holds on to a handle until its close callback, its owner may be gone by then. */
struct delay {
    uv_timer_t handle;
    delay_cb *fire;
    void *ctx;
};

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_timer(uv_timer_t *handle)
{
    struct delay *delay = handle->data;
    delay_cb *fire = delay->fire;
    void *ctx = delay->ctx;

    uv_close((uv_handle_t *)handle, on_timer_closed);
    fire(ctx);
}

struct delay *delay_start(uv_loop_t *loop, uint64_t wait_ms, delay_cb *fire, void *ctx)
{
    struct delay *delay = malloc(sizeof *delay);
    if (delay == NULL)
        return NULL;
    uv_timer_init(loop, &delay->handle);
    delay->handle.data = delay;
    delay->fire = fire;
    delay->ctx = ctx;
    uv_update_time(loop); /* the wait counts from now, not from the start of this turn */
    uv_timer_start(&delay->handle, on_timer, wait_ms, 0);
    return delay;
}

void delay_stop(struct delay *delay)
{
    if (delay != NULL)
        uv_close((uv_handle_t *)&delay->handle, on_timer_closed);
}
