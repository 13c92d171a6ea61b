/*
 * metrics.h - counters of one worker, summed over all workers when somebody scrapes (Prometheus text format
 * 0.0.4).
 *
 * Each worker adds to its own struct metrics without locks (relaxed atomics that only it writes); a scrape
 * reads all.
 */
#ifndef TELEMETRYD_METRICS_H
#define TELEMETRYD_METRICS_H

#include "buffer.h"

#include <stddef.h>

struct metrics;

struct metrics *metrics_new(void); /* NULL when out of memory */
void metrics_free(struct metrics *metrics);

/* method: "GET".. or "_OTHER"; route: the template (static text) or "" where none matched. */
void metrics_request_begin(struct metrics *metrics, const char *method, const char *route);
void metrics_request_end(struct metrics *metrics, const char *method, const char *route, unsigned status,
                         unsigned long duration_us);

/* One attempt at an upstream. upstream: "cosmos", "iothub", "entra", "issuer"; operation: "query", "upsert",
 * "batch", "twin", "devices", "account", "container", "token" (static text); status: HTTP, or 0 for none. */
void metrics_upstream(struct metrics *metrics, const char *upstream, const char *operation, unsigned status,
                      unsigned long duration_us);
void metrics_retry(struct metrics *metrics, const char *upstream, const char *operation);
void metrics_request_units(struct metrics *metrics, double units);

/* A stream began (1) or ended (-1); a reading was delivered to one; one lost its place. */
void metrics_stream(struct metrics *metrics, int n);
void metrics_stream_reading(struct metrics *metrics);
void metrics_stream_resync(struct metrics *metrics);

/* Appends the text of all workers' counters and the process's own. */
void metrics_write(struct buffer *out, struct metrics *const *workers, size_t count);

#endif
