#include "demo.h"

#include "buffer.h"
#include "clock.h"
#include "time_text.h"

#include <math.h>
#include <stdio.h>

#define DAY_S 86400

/* A plausible climate: a daily wave, a device's own offset, and a little noise that is the same for the same
 * second. */
static void reading_text(unsigned device, int64_t at, char *out, size_t size)
{
    char when[TIME_RFC3339_SIZE];
    uint32_t noise = (uint32_t)(at * 2654435761u) ^ device * 40503u;
    double day = 2 * M_PI * (double)(at % DAY_S) / DAY_S;
    double jitter = (double)(noise >> 16 & 0xff) / 256 - 0.5;

    time_format_rfc3339(at, when);
    snprintf(out, size, "{\"temperature\":%.2f,\"humidity\":%.1f,\"timestamp\":\"%s\"}",
             20.5 + device * 0.8 - 4 * cos(day) + jitter * 0.4, 48 - device * 1.5 + 9 * cos(day) + jitter * 2,
             when);
}

static int store_reading(const struct demo *demo, unsigned device, int64_t at)
{
    char id[16], text[128];
    snprintf(id, sizeof id, "demo-%u", device);
    reading_text(device, at, text, sizeof text);
    return sqlite_db_backfill(demo->db, id, text, __builtin_strlen(text), at, demo->ttl_s);
}

static int fill(const struct demo *demo, unsigned device, int64_t now)
{
    char id[16], patch[128];
    snprintf(id, sizeof id, "demo-%u", device);
    int64_t newest = sqlite_db_newest(demo->db, id);
    if (newest < 0)
        return (int)newest;
    int64_t at = now - DAY_S + 60;
    if (newest >= at)
        at = newest + 60;
    for (; at <= now; at += 60) {
        int r = store_reading(demo, device, at);
        if (r != 0)
            return r;
    }
    snprintf(patch, sizeof patch, "{\"status\":\"%s\",\"firmwareVersion\":\"1.4.%u\"}",
             device == 5 ? "offline" : "online", device % 3);
    return sqlite_db_patch(demo->db, id, patch);
}

static void on_second(uv_timer_t *timer)
{
    const struct demo *demo = timer->data;
    int64_t now = clock_wall_s();
    for (unsigned device = 1; device <= DEMO_DEVICES; device++)
        store_reading(demo, device, now);
}

int demo_start(struct demo *demo, uv_loop_t *loop, struct sqlite_db *db, int64_t ttl_s)
{
    int64_t now = clock_wall_s();
    demo->db = db;
    demo->ttl_s = ttl_s;
    for (unsigned device = 1; device <= DEMO_DEVICES; device++) {
        int r = fill(demo, device, now);
        if (r != 0)
            return r;
    }
    int r = sqlite_db_flush(db);
    if (r != 0)
        return r;
    uv_timer_init(loop, &demo->timer);
    demo->timer.data = demo;
    return uv_timer_start(&demo->timer, on_second, 1000, 1000);
}

void demo_stop(struct demo *demo)
{
    if (demo->db != NULL)
        uv_close((uv_handle_t *)&demo->timer, NULL);
}
