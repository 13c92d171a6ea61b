#include "demo.h"

#include "buffer.h"
#include "clock.h"
#include "time_text.h"

#include <math.h>
#include <stdio.h>

#define DAY_S 86400

/* Where each device stands: a mean, a daily wave (its top at an hour of UTC), a machine that cycles, weather
 * that wanders, and the jitter of the sensor. */
static const struct place {
    double temperature, daily, top_hour, cycle, cycle_s, weather;
    double humidity, humid_daily;
} places[DEMO_DEVICES] = {
    {21.0, 1.5, 15, 0.0, 1, 0.8, 46, -6},    /* an office */
    {4.2, 0.2, 16, 1.1, 1500, 0.1, 62, 2},   /* a cold room, whose compressor comes and goes */
    {11.0, 5.5, 14, 0.0, 1, 2.0, 71, -14},   /* outdoors */
    {24.5, 0.3, 17, 0.5, 5400, 0.3, 38, -1}, /* a server room */
    {18.0, 3.0, 16, 0.0, 1, 1.2, 55, -8},    /* a warehouse */
};

/* From -1 to 1; the same for the same number, and nothing like its neighbour's (the last steps of
 * MurmurHash3). */
static double chance(uint32_t n)
{
    n = (n ^ n >> 16) * 0x85ebca6bU;
    n = (n ^ n >> 13) * 0xc2b2ae35U;
    return (double)(n ^ n >> 16) / 2147483648.0 - 1;
}

/* Chance that wanders from one value to the next within so many seconds. */
static double wander(uint32_t seed, int64_t at, int64_t seconds)
{
    uint32_t step = (uint32_t)(at / seconds);
    double part = (double)(at % seconds) / (double)seconds, smooth = part * part * (3 - 2 * part);
    return chance(seed + step) * (1 - smooth) + chance(seed + step + 1) * smooth;
}

static void reading_text(unsigned device, int64_t at, char *out, size_t size)
{
    char when[TIME_RFC3339_SIZE];
    const struct place *place = &places[device - 1];
    uint32_t seed = device * 0x9e3779b9U;
    double day = cos(2 * M_PI * ((double)(at % DAY_S) / 3600 - place->top_hour) / 24);
    double weather = wander(seed, at, 5400) * 0.7 + wander(seed + 7, at, 1100) * 0.3;
    double cycle = sin(2 * M_PI * (double)at / place->cycle_s);
    double jitter = chance(seed ^ (uint32_t)at);

    time_format_rfc3339(at, when);
    snprintf(out, size, "{\"temperature\":%.2f,\"humidity\":%.1f,\"timestamp\":\"%s\"}",
             place->temperature + place->daily * day + place->cycle * cycle + place->weather * weather +
                 jitter * 0.05,
             place->humidity + place->humid_daily * day - place->weather * weather * 2 + jitter * 0.3, when);
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
