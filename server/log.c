#include "log.h"

#include "../base/json_utf8.h"
#include "clock.h"
#include "time_text.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLUSH_AT    32768
#define LINE_BYTES  8192 /* a field that does not fit is left out, and the line says so */
#define VALUE_BYTES 1024
#define WAIT_MS     100

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

static const char truncated_text[] = ",\"truncated\":true";
#define LINE_TAIL (sizeof truncated_text - 1 + 2) /* and "}\n" */

struct log {
    int fd;
    enum log_level level;
    size_t write_max;     /* whole lines in one write(2): what the descriptor takes without mixing threads */
    bool stuck;           /* the reader did not come in time: it is not waited for until it takes something */
    bool torn;            /* the last write ended inside a line */
    uint64_t dropped;     /* lines since the last that could be written */
    uint64_t deadline_ms; /* of the flush under way */
    size_t used;          /* whole lines */
    size_t at;            /* end of the line that is being built */
    bool overflow;        /* a field of that line was left out */
    /* The last line may end past FLUSH_AT; behind it there is room for the line on dropped ones. */
    char data[FLUSH_AT + 2 * LINE_BYTES];
};

int log_new(int fd, enum log_level level, struct log **ret_log)
{
    struct stat st;
    struct log *log = calloc(1, sizeof *log);
    if (log == NULL)
        return -ENOMEM;
    log->fd = fd;
    log->level = level;
    /* Several workers share stderr. A pipe or socket keeps only PIPE_BUF bytes of one write together. */
    log->write_max = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? sizeof log->data : PIPE_BUF;
    *ret_log = log;
    return 0;
}

void log_free(struct log *log)
{
    if (log == NULL)
        return;
    log_flush(log);
    free(log);
}

/* --- building a line --------------------------------------------------------------------------- */

/* All of it or nothing. Room for the end of the line is kept. */
static void put(struct log *log, const char *bytes, size_t len)
{
    if (log->overflow || log->at + len > log->used + LINE_BYTES - LINE_TAIL) {
        log->overflow = true;
        return;
    }
    memcpy(log->data + log->at, bytes, len);
    log->at += len;
}

static void put_text(struct log *log, const char *text)
{
    put(log, text, strlen(text));
}

static void put_escaped(struct log *log, unsigned char c)
{
    char escape[8];
    if (c == '"' || c == '\\')
        snprintf(escape, sizeof escape, "\\%c", c);
    else
        snprintf(escape, sizeof escape, "\\u%04x", c);
    put_text(log, escape);
}

/* A JSON string of at most VALUE_BYTES of text, cut between characters. */
static void put_string(struct log *log, const char *value)
{
    const char *end =
        value + strnlen(value, VALUE_BYTES + 4); /* enough to see the whole character at the cut */

    put(log, "\"", 1);
    for (const char *at = value; at < end;) {
        unsigned char c = (unsigned char)*at;
        size_t valid = c < 0x80 ? 1 : json_utf8_length(at, end);
        size_t n = valid > 0 ? valid : 1;
        if ((size_t)(at - value) + n > VALUE_BYTES)
            break;
        if (valid == 0)
            put_text(log, "\xef\xbf\xbd"); /* U+FFFD */
        else if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f)
            put_escaped(log, c);
        else
            put(log, at, n);
        at += n;
    }
    put(log, "\"", 1);
}

/* A field is in the line whole or not at all: a field begins here and ends with end_field(). */
static size_t begin_field(struct log *log, const char *key)
{
    size_t start = log->at;
    put(log, ",\"", 2);
    put_text(log, key);
    put(log, "\":", 2);
    return start;
}

static void end_field(struct log *log, size_t start)
{
    if (log->overflow)
        log->at = start;
}

/* The line itself, whatever its level. */
static void begin_line(struct log *log, enum log_level level, const char *message)
{
    char time[TIME_RFC3339_SIZE];

    time_format_rfc3339_us(clock_wall_us(), time);
    log->at = log->used;
    log->overflow = false;
    put_text(log, "{\"time\":\"");
    put_text(log, time);
    put_text(log, "\",\"level\":\"");
    put_text(log, level_names[level]);
    put_text(log, "\",\"msg\":");
    put_string(log, message);
}

static void end_line(struct log *log)
{
    /* put() left room for these. */
    if (log->overflow) {
        memcpy(log->data + log->at, truncated_text, sizeof truncated_text - 1);
        log->at += sizeof truncated_text - 1;
    }
    memcpy(log->data + log->at, "}\n", 2);
    log->at += 2;
    log->used = log->at;
}

bool log_begin(struct log *log, enum log_level level, const char *message)
{
    if (level > log->level)
        return false;
    begin_line(log, level, message);
    return true;
}

void log_text(struct log *log, const char *key, const char *value)
{
    size_t start = begin_field(log, key);
    if (value == NULL)
        put_text(log, "null");
    else
        put_string(log, value);
    end_field(log, start);
}

void log_number(struct log *log, const char *key, int64_t value)
{
    char text[24];
    size_t start = begin_field(log, key);
    snprintf(text, sizeof text, "%lld", (long long)value);
    put_text(log, text);
    end_field(log, start);
}

void log_milliseconds(struct log *log, const char *key, uint64_t microseconds)
{
    char text[32];
    size_t start = begin_field(log, key);
    snprintf(text, sizeof text, "%llu.%03u", (unsigned long long)(microseconds / 1000),
             (unsigned)(microseconds % 1000));
    put_text(log, text);
    end_field(log, start);
}

void log_bool(struct log *log, const char *key, bool value)
{
    size_t start = begin_field(log, key);
    put_text(log, value ? "true" : "false");
    end_field(log, start);
}

void log_end(struct log *log)
{
    end_line(log);
    if (log->used >= FLUSH_AT)
        log_flush(log);
}

/* --- writing ----------------------------------------------------------------------------------- */

/* Whether a write of PIPE_BUF bytes would go through now, or before the deadline. */
static bool writable(struct log *log)
{
    struct pollfd p = {.fd = log->fd, .events = POLLOUT};
    uint64_t now = clock_monotonic_ms();
    int wait = log->stuck || now >= log->deadline_ms ? 0 : (int)(log->deadline_ms - now);
    int r = poll(&p, 1, wait);
    if (r < 0 && errno == EINTR)
        r = poll(&p, 1, 0);
    log->stuck = r == 0;
    return r > 0 && (p.revents & POLLOUT) != 0;
}

/* Returns how many bytes went out: all, or fewer where the reader is gone or does not come. */
static size_t write_all(struct log *log, const char *data, size_t len)
{
    size_t done = 0;
    while (done < len && writable(log)) {
        ssize_t n = write(log->fd, data + done, len - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || (errno != EINTR && errno != EAGAIN) || clock_monotonic_ms() >= log->deadline_ms)
            break;
    }
    return done;
}

/* The length of the whole lines at `start` that go into one write: at least one line, however long. */
static size_t lines_for_one_write(const struct log *log, size_t start)
{
    size_t len = log->used - start;
    if (len <= log->write_max)
        return len;
    const char *last = memrchr(log->data + start, '\n', log->write_max);
    if (last == NULL)
        last = memchr(log->data + start + log->write_max, '\n', len - log->write_max);
    return (size_t)(last - (log->data + start)) + 1;
}

static uint64_t count_lines(const char *data, size_t len)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < len; i++)
        lines += data[i] == '\n';
    return lines;
}

/* Writes a run of whole lines. */
static bool write_lines(struct log *log, const char *data, size_t len, size_t *ret_done)
{
    size_t done = write_all(log, data, len);
    if (done < len)
        log->torn = done > 0 && data[done - 1] != '\n';
    *ret_done = done;
    return done == len;
}

/* Says how many lines are missing before the next ones. It is built behind the lines that wait. */
static bool report_dropped(struct log *log)
{
    size_t start = log->used;
    size_t done;

    begin_line(log, LOG_LEVEL_WARN, "log lines dropped");
    log_number(log, "count", (int64_t)log->dropped);
    end_line(log);
    bool written = write_lines(log, log->data + start, log->used - start, &done);
    if (written)
        log->dropped = 0;
    log->used = start;
    return written;
}

/* Ends a torn line and reports what was lost, so that the next line is one of its own. */
static bool resume(struct log *log)
{
    if (log->torn && write_all(log, "\n", 1) != 1)
        return false;
    log->torn = false;
    return log->dropped == 0 || report_dropped(log);
}

void log_flush(struct log *log)
{
    size_t start = 0;

    if (log->used == 0)
        return;
    log->deadline_ms = clock_monotonic_ms() + WAIT_MS;
    bool going = resume(log);
    while (going && start < log->used) {
        size_t done;
        going = write_lines(log, log->data + start, lines_for_one_write(log, start), &done);
        start += done;
    }
    /* The end of a torn line counts too: the line is lost. */
    log->dropped += count_lines(log->data + start, log->used - start);
    log->used = 0;
    log->at = 0;
}
