#include "watchdog.h"

#include "clock.h"

static bool all_turn(const struct watchdog *watchdog, uint64_t now_ms)
{
    for (unsigned i = 0; i < watchdog->server->worker_count; i++) {
        if (now_ms - atomic_load(&watchdog->server->workers[i].ticked_ms) >
            watchdog->manager->watchdog_ms / 2)
            return false;
    }
    return true;
}

static void on_time(uv_timer_t *timer)
{
    const struct watchdog *watchdog = timer->data;
    if (all_turn(watchdog, clock_monotonic_ms()))
        service_manager_tell(watchdog->manager, "WATCHDOG=1");
}

/* Four times in the manager's interval: a worker is found silent after a half of it, and may be late by a
 * quarter without harm. */
void watchdog_start(struct watchdog *watchdog, uv_loop_t *loop, const struct service_manager *manager,
                    const struct server *server)
{
    *watchdog = (struct watchdog){.manager = manager, .server = server};
    uv_timer_init(loop, &watchdog->timer);
    watchdog->timer.data = watchdog;
    if (manager->watchdog_ms > 0)
        uv_timer_start(&watchdog->timer, on_time, 0, manager->watchdog_ms / 4 + 1);
}

void watchdog_stop(struct watchdog *watchdog)
{
    uv_timer_stop(&watchdog->timer);
}
