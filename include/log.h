/*
 * log.h - JSON lines to a file descriptor (stderr):
 * {"time":"2026-11-23T07:00:00.123456Z","level":"info","msg":"request",...}
 *
 * A log belongs to one thread and keeps its lines until log_flush(), which the worker calls once a loop turn
 * (or until 32 KiB are waiting), so that many lines share one write(2). A line is never split between two
 * writes when it fits in one. A full pipe is waited for at most 100 ms, then the lines are dropped and
 * counted in the next line.
 *
 * What never goes in: keys, tokens, readings, query text, bodies of upstreams.
 *
 *     if (log_begin(log, LOG_LEVEL_INFO, "request")) {
 *         log_text(log, "requestId", id);
 *         log_number(log, "status", 200);
 *         log_end(log);
 *     }
 */
#ifndef TELEMETRYD_LOG_H
#define TELEMETRYD_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log;

/* fd stays the caller's. Returns 0 or -ENOMEM. */
int log_new(int fd, enum log_level level, struct log **ret_log);
void log_free(struct log *log); /* flushes; accepts NULL */

/* False when the level is not logged: then nothing else may be called for this line. message is static text.
 */
bool log_begin(struct log *log, enum log_level level, const char *message);
void log_text(struct log *log, const char *key,
              const char *value); /* escaped, bounded to 1 KiB; NULL becomes null */
void log_number(struct log *log, const char *key, int64_t value);
void log_milliseconds(struct log *log, const char *key, uint64_t microseconds); /* 12.345 */
void log_bool(struct log *log, const char *key, bool value);
void log_end(struct log *log);

void log_flush(struct log *log);

#endif
