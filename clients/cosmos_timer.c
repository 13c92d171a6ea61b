#include "cosmos_internal.h"

#include <stdlib.h>

/* Of its own memory: libuv holds on to a handle until its close callback, its owner may be gone by then. */
struct cosmos_timer {
    uv_timer_t handle;
    cosmos_timer_cb *fire;
    void *ctx;
};

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_timer(uv_timer_t *handle)
{
    struct cosmos_timer *timer = handle->data;
    cosmos_timer_cb *fire = timer->fire;
    void *ctx = timer->ctx;

    uv_close((uv_handle_t *)handle, on_timer_closed);
    fire(ctx);
}

struct cosmos_timer *cosmos_timer_start(uv_loop_t *loop, uint64_t wait_ms, cosmos_timer_cb *fire, void *ctx)
{
    struct cosmos_timer *timer = malloc(sizeof *timer);
    if (timer == NULL)
        return NULL;
    uv_timer_init(loop, &timer->handle);
    timer->handle.data = timer;
    timer->fire = fire;
    timer->ctx = ctx;
    uv_update_time(loop); /* the wait counts from now, not from the start of this turn */
    uv_timer_start(&timer->handle, on_timer, wait_ms, 0);
    return timer;
}

void cosmos_timer_stop(struct cosmos_timer *timer)
{
    if (timer != NULL)
        uv_close((uv_handle_t *)&timer->handle, on_timer_closed);
}
