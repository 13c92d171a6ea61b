/*
 * clock.h - the two clocks. Modules whose answers depend on time take it as a parameter or through struct
 * clock, so that tests turn the hands themselves.
 */
#ifndef TELEMETRYD_CLOCK_H
#define TELEMETRYD_CLOCK_H

#include <stdint.h>

uint64_t clock_monotonic_ms(void); /* for deadlines; never goes back */
uint64_t clock_monotonic_us(void); /* for durations */
int64_t clock_wall_s(void);        /* seconds since 1970 */
int64_t clock_wall_us(void);       /* microseconds since 1970 */

/* Wall seconds through a pointer, for modules that keep a clock. A NULL function means clock_wall_s(). */
struct clock {
    int64_t (*wall_s)(void *ctx);
    void *ctx;
};

static inline int64_t clock_now(const struct clock *clock)
{
    return clock->wall_s != 0 ? clock->wall_s(clock->ctx) : clock_wall_s();
}

#endif
