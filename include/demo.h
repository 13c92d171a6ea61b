/*
 * demo.h - what --demo shows: five devices with a day of readings, and a new one each every second.
 */
#ifndef TELEMETRYD_DEMO_H
#define TELEMETRYD_DEMO_H

#include "sqlite_db.h"

#include <stdint.h>
#include <uv.h>

#define DEMO_DEVICES 5

struct demo {
    struct sqlite_db *db;
    int64_t ttl_s;
    uv_timer_t timer;
};

/* Fills what is missing of the last 24 hours (one reading a minute; a database that a demo filled before goes
 * on where it stopped) and starts the timer on the loop. Returns 0 or negative. */
int demo_start(struct demo *demo, uv_loop_t *loop, struct sqlite_db *db, int64_t ttl_s);
void demo_stop(struct demo *demo);

#endif
