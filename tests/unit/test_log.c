#include "log.h"

#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A log on a temporary file. */
struct sink {
    FILE *file;
    struct log *log;
    char *text;
};

static struct sink sink_open(enum log_level level)
{
    struct sink sink = {.file = tmpfile()};
    assert_non_null(sink.file);
    assert_int_equal(log_new(fileno(sink.file), level, &sink.log), 0);
    return sink;
}

/* All that was written so far. */
static const char *sink_text(struct sink *sink)
{
    off_t size = lseek(fileno(sink->file), 0, SEEK_END);
    sink->text = realloc(sink->text, (size_t)size + 1);
    assert_non_null(sink->text);
    assert_int_equal(pread(fileno(sink->file), sink->text, (size_t)size, 0), size);
    sink->text[size] = '\0';
    return sink->text;
}

static void sink_close(struct sink *sink)
{
    log_free(sink->log);
    free(sink->text);
    fclose(sink->file);
}

static unsigned count_lines(const char *text, size_t len)
{
    unsigned lines = 0;
    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    return lines;
}

static void a_line_holds_its_fields_in_order(void **state)
{
    struct sink sink = sink_open(LOG_LEVEL_INFO);
    assert_true(log_begin(sink.log, LOG_LEVEL_INFO, "request"));
    log_text(sink.log, "requestId", "r-1");
    log_number(sink.log, "status", -200);
    log_milliseconds(sink.log, "took", 12345);
    log_milliseconds(sink.log, "short", 7);
    log_bool(sink.log, "yes", true);
    log_bool(sink.log, "no", false);
    log_text(sink.log, "none", NULL);
    log_end(sink.log);
    log_flush(sink.log);
    const char *text = sink_text(&sink);
    assert_int_equal(strlen("{\"time\":\"2026-11-23T07:00:00.123456Z\""), strstr(text, ",\"level\"") - text);
    assert_memory_equal(text, "{\"time\":\"2", 10);
    assert_string_equal(strstr(text, ",\"level\""),
                        ",\"level\":\"info\",\"msg\":\"request\",\"requestId\":\"r-1\",\"status\":-200,"
                        "\"took\":12.345,\"short\":0.007,\"yes\":true,\"no\":false,\"none\":null}\n");
    sink_close(&sink);
}

static void levels_are_filtered(void **state)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (int limit = LOG_LEVEL_ERROR; limit <= LOG_LEVEL_DEBUG; limit++) {
        struct sink sink = sink_open((enum log_level)limit);
        for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
            bool on = log_begin(sink.log, (enum log_level)level, "m");
            assert_int_equal(on, level <= limit);
            if (on)
                log_end(sink.log);
        }
        log_flush(sink.log);
        const char *text = sink_text(&sink);
        for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
            char part[32];
            snprintf(part, sizeof part, "\"level\":\"%s\"", names[level]);
            assert_int_equal(strstr(text, part) != NULL, level <= limit);
        }
        sink_close(&sink);
    }
}

static void values_are_escaped(void **state)
{
    static const struct {
        const char *rule, *value, *json;
    } cases[] = {
        {"an empty text", "", "\"\""},
        {"a quote and a backslash", "a\"b\\", "\"a\\\"b\\\\\""},
        {"line ends and controls", "a\r\n\t\x01\x7f", "\"a\\u000d\\u000a\\u0009\\u0001\\u007f\""},
        {"UTF-8 of every length", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
         "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"a lone continuation byte", "a\x80z", "\"a\xef\xbf\xbdz\""},
        {"a sequence cut short", "a\xe2\x82", "\"a\xef\xbf\xbd\xef\xbf\xbd\""},
        {"an overlong form", "\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"a surrogate", "\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"past U+10FFFF", "\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct sink sink = sink_open(LOG_LEVEL_INFO);
        char expected[128];
        print_message("# %s\n", cases[i].rule);
        log_begin(sink.log, LOG_LEVEL_INFO, "m");
        log_text(sink.log, "v", cases[i].value);
        log_end(sink.log);
        log_flush(sink.log);
        snprintf(expected, sizeof expected, "\"msg\":\"m\",\"v\":%s}\n", cases[i].json);
        assert_string_equal(strstr(sink_text(&sink), "\"msg\""), expected);
        sink_close(&sink);
    }
}

static void values_are_bounded_between_characters(void **state)
{
    static const struct {
        const char *rule;
        size_t plain; /* letters, then two-byte characters to past the bound */
        size_t kept;  /* bytes of the value */
    } cases[] = {
        {"1024 bytes fit", 1024, 1024},
        {"a character that ends at the bound fits", 1022, 1024},
        {"a character across the bound goes whole", 1023, 1023},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct sink sink = sink_open(LOG_LEVEL_INFO);
        char value[2048] = "";
        print_message("# %s\n", cases[i].rule);
        memset(value, 'a', cases[i].plain);
        for (size_t at = cases[i].plain; at < sizeof value - 2; at += 2)
            memcpy(value + at, "\xc3\xa9", 3);
        log_begin(sink.log, LOG_LEVEL_INFO, "m");
        log_text(sink.log, "v", value);
        log_end(sink.log);
        log_flush(sink.log);
        const char *start = strstr(sink_text(&sink), "\"v\":\"") + 5;
        assert_int_equal(strcspn(start, "\""), cases[i].kept);
        sink_close(&sink);
    }
}

static void a_line_too_long_leaves_fields_out_and_says_so(void **state)
{
    struct sink sink = sink_open(LOG_LEVEL_INFO);
    char value[1025];
    memset(value, '\x01', sizeof value - 1); /* six bytes each when escaped */
    value[sizeof value - 1] = '\0';
    log_begin(sink.log, LOG_LEVEL_INFO, "m");
    log_text(sink.log, "first", value);
    log_text(sink.log, "second", value);
    log_number(sink.log, "third", 3);
    log_end(sink.log);
    log_begin(sink.log, LOG_LEVEL_INFO, "next");
    log_end(sink.log);
    log_flush(sink.log);
    const char *text = sink_text(&sink);
    const char *end = strchr(text, '\n');
    json_t *line = json_loadb(text, (size_t)(end - text), 0, NULL);
    assert_non_null(line);
    assert_non_null(json_object_get(line, "first"));
    assert_null(json_object_get(line, "second"));
    assert_true(json_is_true(json_object_get(line, "truncated")));
    json_decref(line);
    assert_string_equal(strstr(end, "\"msg\""), "\"msg\":\"next\"}\n");
    sink_close(&sink);
}

static void put_lines(struct log *log, unsigned count, const char *value)
{
    for (unsigned i = 0; i < count; i++) {
        assert_true(log_begin(log, LOG_LEVEL_INFO, "line"));
        log_number(log, "number", i);
        log_text(log, "value", value);
        log_end(log);
    }
}

static void lines_wait_for_a_flush_or_32_kib(void **state)
{
    struct sink sink = sink_open(LOG_LEVEL_INFO);
    put_lines(sink.log, 10, "x");
    assert_string_equal(sink_text(&sink), "");
    log_flush(sink.log);
    assert_int_equal(count_lines(sink_text(&sink), strlen(sink_text(&sink))), 10);
    put_lines(sink.log, 1000, "x");
    assert_true(strlen(sink_text(&sink)) > 65536);
    log_flush(sink.log);
    const char *text = sink_text(&sink);
    assert_int_equal(count_lines(text, strlen(text)), 1010);
    sink_close(&sink);
}

static void freeing_flushes(void **state)
{
    struct sink sink = sink_open(LOG_LEVEL_INFO);
    put_lines(sink.log, 1, "x");
    log_free(sink.log);
    sink.log = NULL;
    assert_int_equal(count_lines(sink_text(&sink), strlen(sink_text(&sink))), 1);
    sink_close(&sink);
}

/* Reads what the pipe holds now. */
static size_t drain(int fd, char *text, size_t size)
{
    size_t len = 0;
    ssize_t n;
    while (len < size && (n = read(fd, text + len, size - len)) > 0)
        len += (size_t)n;
    return len;
}

/* Every line is JSON, and those on dropped lines say how many: together they are `expected`. */
static unsigned check_lines(const char *text, size_t len, unsigned *ret_dropped)
{
    unsigned lines = 0;
    *ret_dropped = 0;
    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        assert_non_null(end);
        json_t *line = json_loadb(text, (size_t)(end - text), 0, NULL);
        assert_non_null(line);
        if (strcmp(json_string_value(json_object_get(line, "msg")), "log lines dropped") == 0)
            *ret_dropped += (unsigned)json_integer_value(json_object_get(line, "count"));
        else
            lines++;
        json_decref(line);
        len -= (size_t)(end + 1 - text);
        text = end + 1;
    }
    return lines;
}

static void a_full_pipe_drops_whole_lines_and_counts_them(void **state)
{
    static char text[1 << 20];
    static const int flags[] = {0, O_NONBLOCK};
    for (size_t i = 0; i < COUNT(flags); i++) {
        struct log *log;
        unsigned dropped;
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        fcntl(fds[0], F_SETFL, O_NONBLOCK);
        fcntl(fds[1], F_SETFL, flags[i]);
        assert_int_equal(log_new(fds[1], LOG_LEVEL_INFO, &log), 0);
        put_lines(log, 2000,
                  "a pipe holds 64 KiB; this is more than that"); /* nobody reads; must come back */
        log_flush(log);
        size_t len = drain(fds[0], text, sizeof text);
        assert_in_range(len, 1, 200000);
        put_lines(log, 1, "after");
        log_flush(log);
        len += drain(fds[0], text + len, sizeof text - len);
        unsigned lines = check_lines(text, len, &dropped);
        assert_true(dropped > 0);
        assert_int_equal(lines + dropped, 2001);
        log_free(log);
        close(fds[0]);
        close(fds[1]);
    }
}

static void a_torn_line_is_ended_before_the_next(void **state)
{
    static char text[1 << 20];
    char value[1025];
    struct log *log;
    int fds[2];
    int size = 1; /* the kernel makes the least it knows of it: less than one of the lines below */
    unsigned whole = 0, torn = 0, dropped = 0;

    memset(value, '\x01', sizeof value - 1); /* 6 KiB when escaped */
    value[sizeof value - 1] = '\0';
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    assert_int_equal(log_new(fds[1], LOG_LEVEL_INFO, &log), 0);
    put_lines(log, 1, value);
    log_flush(log);
    size_t len = drain(fds[0], text, sizeof text);
    assert_in_range(len, 1, 6000); /* it was torn */
    size = 65536;
    assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    put_lines(log, 1, "after");
    log_flush(log);
    len += drain(fds[0], text + len, sizeof text - len);
    for (const char *at = text, *end; (end = memchr(at, '\n', (size_t)(text + len - at))) != NULL;
         at = end + 1) {
        json_t *line = json_loadb(at, (size_t)(end - at), 0, NULL);
        torn += line == NULL;
        whole += json_object_get(line, "number") != NULL;
        dropped += (unsigned)json_integer_value(json_object_get(line, "count"));
        json_decref(line);
    }
    assert_int_equal(torn, 1);
    assert_int_equal(dropped, 1);
    assert_int_equal(whole, 1);
    log_free(log);
    close(fds[0]);
    close(fds[1]);
}

static void a_reader_that_is_gone_stops_nothing(void **state)
{
    struct log *log;
    int fds[2];
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(log_new(fds[1], LOG_LEVEL_INFO, &log), 0);
    close(fds[0]);
    put_lines(log, 2000, "x");
    log_flush(log);
    log_free(log);
    close(fds[1]);
    assert_int_equal(log_new(-1, LOG_LEVEL_INFO, &log), 0);
    put_lines(log, 2000, "x");
    log_free(log);
    log_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_holds_its_fields_in_order),
        cmocka_unit_test(levels_are_filtered),
        cmocka_unit_test(values_are_escaped),
        cmocka_unit_test(values_are_bounded_between_characters),
        cmocka_unit_test(a_line_too_long_leaves_fields_out_and_says_so),
        cmocka_unit_test(lines_wait_for_a_flush_or_32_kib),
        cmocka_unit_test(freeing_flushes),
        cmocka_unit_test(a_full_pipe_drops_whole_lines_and_counts_them),
        cmocka_unit_test(a_torn_line_is_ended_before_the_next),
        cmocka_unit_test(a_reader_that_is_gone_stops_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
