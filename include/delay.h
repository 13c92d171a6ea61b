/*
 * delay.h - a timer that fires once, never from inside the call that starts it. The pointer is dead once it
 * fired or was stopped. Threads: the loop's.
 */
#ifndef TELEMETRYD_DELAY_H
#define TELEMETRYD_DELAY_H

#include <stdint.h>
#include <uv.h>

struct delay;
typedef void delay_cb(void *ctx);

/* NULL when out of memory. */
struct delay *delay_start(uv_loop_t *loop, uint64_t wait_ms, delay_cb *fire, void *ctx);
void delay_stop(struct delay *delay); /* accepts NULL */

#endif
