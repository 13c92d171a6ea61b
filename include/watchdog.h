/*
 * watchdog.h - tells the service manager that the process is alive, for as long as every worker's loop and
 * its own loop turn. A worker that hangs is a reason to be restarted even while the others answer.
 *
 * Threads: that of the loop it is started on.
 */
#ifndef TELEMETRYD_WATCHDOG_H
#define TELEMETRYD_WATCHDOG_H

#include "service_manager.h"
#include "worker.h"

#include <uv.h>

struct watchdog {
    const struct service_manager *manager;
    const struct server *server;
    uv_timer_t timer;
};

/* After the workers. Does nothing where the manager wants no watchdog. The handle is closed with the loop's
 * others; watchdog_stop() only lets the loop end. */
void watchdog_start(struct watchdog *watchdog, uv_loop_t *loop, const struct service_manager *manager,
                    const struct server *server);
void watchdog_stop(struct watchdog *watchdog);

#endif
