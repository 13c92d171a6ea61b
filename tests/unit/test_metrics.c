#include "metrics.h"

#include "metrics_process.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define DURATION "http_server_request_duration_seconds"
#define UPSTREAM "telemetryd_upstream_request_duration_seconds"
#define ROUTE    "/devices/{deviceId}/telemetry"

static char *scrape(struct metrics *const *workers, size_t count)
{
    struct buffer out = {0};
    metrics_write(&out, workers, count);
    char *text = buffer_take(&out, NULL);
    assert_non_null(text);
    return text;
}

/* Whether the text holds the line. */
static bool has(const char *text, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = strstr(text, line); at != NULL; at = strstr(at + 1, line)) {
        if ((at == text || at[-1] == '\n') && at[len] == '\n')
            return true;
    }
    return false;
}

static void assert_has(const char *text, const char *line)
{
    if (!has(text, line))
        fail_msg("missing: %s\nin:\n%s", line, text);
    assert_true(has(text, line));
}

/* The number after `name` and a space at the start of a line. */
static double value_of(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = strstr(text, name); at != NULL; at = strstr(at + 1, name)) {
        if ((at == text || at[-1] == '\n') && at[len] == ' ')
            return strtod(at + len + 1, NULL);
    }
    fail_msg("no %s", name);
    return 0;
}

static void every_family_has_help_and_type_even_when_empty(void **state)
{
    static const struct {
        const char *name, *type;
    } families[] = {
        {DURATION, "histogram"},
        {"http_server_active_requests", "gauge"},
        {UPSTREAM, "histogram"},
        {"telemetryd_upstream_retries_total", "counter"},
        {"telemetryd_cosmos_request_units_total", "counter"},
        {"process_cpu_seconds_total", "counter"},
        {"process_resident_memory_bytes", "gauge"},
        {"process_open_fds", "gauge"},
        {"process_max_fds", "gauge"},
        {"process_start_time_seconds", "gauge"},
    };
    struct metrics *metrics = metrics_new();
    char *text = scrape(&metrics, 1);
    for (size_t i = 0; i < COUNT(families); i++) {
        char line[128];
        snprintf(line, sizeof line, "# TYPE %s %s", families[i].name, families[i].type);
        assert_has(text, line);
        snprintf(line, sizeof line, "\n# HELP %s ", families[i].name);
        assert_true(strstr(text, line) != NULL || strncmp(text, line + 1, strlen(line) - 1) == 0);
    }
    assert_has(text, "http_server_active_requests 0");
    assert_has(text, "telemetryd_cosmos_request_units_total 0");
    assert_null(strstr(text, "{"));
    free(text);
    metrics_free(metrics);
    metrics_free(NULL);
}

static void a_duration_falls_into_its_bucket_and_all_above(void **state)
{
    static const struct {
        unsigned long us;
        const char *below, *in; /* the last bucket without it (NULL: none), the first with it */
    } cases[] = {
        {0, NULL, "0.0005"},       {500, NULL, "0.0005"},     {501, "0.0005", "0.001"},
        {2500, "0.001", "0.0025"}, {2501, "0.0025", "0.005"}, {10000, "0.005", "0.01"},
        {10000000, "5", "10"},     {10000001, "10", "+Inf"},  {4000000000ul, "10", "+Inf"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct metrics *metrics = metrics_new();
        char line[256];
        metrics_request_begin(metrics, "GET", ROUTE);
        metrics_request_end(metrics, "GET", ROUTE, 200, cases[i].us);
        char *text = scrape(&metrics, 1);
        print_message("# %lu us\n", cases[i].us);
        snprintf(line, sizeof line,
                 DURATION "_bucket{method=\"GET\",route=\"" ROUTE "\",status=\"200\",le=\"%s\"} 1",
                 cases[i].in);
        assert_has(text, line);
        snprintf(line, sizeof line,
                 DURATION "_bucket{method=\"GET\",route=\"" ROUTE "\",status=\"200\",le=\"%s\"} 0",
                 cases[i].below != NULL ? cases[i].below : "");
        assert_int_equal(has(text, line), cases[i].below != NULL);
        assert_has(text, DURATION "_bucket{method=\"GET\",route=\"" ROUTE "\",status=\"200\",le=\"+Inf\"} 1");
        assert_has(text, DURATION "_count{method=\"GET\",route=\"" ROUTE "\",status=\"200\"} 1");
        snprintf(line, sizeof line,
                 DURATION "_sum{method=\"GET\",route=\"" ROUTE "\",status=\"200\"} %lu.%06lu",
                 cases[i].us / 1000000, cases[i].us % 1000000);
        assert_has(text, line);
        free(text);
        metrics_free(metrics);
    }
}

static void methods_that_are_not_ours_are_other(void **state)
{
    static const struct {
        const char *method, *label;
    } cases[] = {
        {"GET", "GET"},     {"POST", "POST"},     {"HEAD", "HEAD"},       {"PATCH", "PATCH"},
        {"PUT", "PUT"},     {"DELETE", "DELETE"}, {"OPTIONS", "OPTIONS"}, {"TRACE", "TRACE"},
        {"get", "_OTHER"},  {"BREW", "_OTHER"},   {"", "_OTHER"},         {"_OTHER", "_OTHER"},
        {"GETX", "_OTHER"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct metrics *metrics = metrics_new();
        char method[16], line[256];
        snprintf(method, sizeof method, "%s", cases[i].method);
        metrics_request_begin(metrics, method, "");
        metrics_request_end(metrics, method, "", 404, 1);
        memset(method, 'x', sizeof method - 1); /* the text need not live on */
        char *text = scrape(&metrics, 1);
        snprintf(line, sizeof line, DURATION "_count{method=\"%s\",route=\"\",status=\"404\"} 1",
                 cases[i].label);
        assert_has(text, line);
        free(text);
        metrics_free(metrics);
    }
}

static void active_requests_go_up_and_down(void **state)
{
    struct metrics *workers[2] = {metrics_new(), metrics_new()};
    for (int i = 0; i < 3; i++)
        metrics_request_begin(workers[0], "GET", "");
    metrics_request_begin(workers[1], "GET", "");
    metrics_request_end(workers[0], "GET", "", 200, 1);
    char *text = scrape(workers, 2);
    assert_has(text, "http_server_active_requests 3");
    free(text);
    metrics_free(workers[0]);
    metrics_free(workers[1]);
}

static void workers_are_summed_by_text_not_by_address(void **state)
{
    static const char one[] = ROUTE, other[] = ROUTE; /* as two files may hold the same text twice */
    static const char cosmos_one[] = "cosmos", cosmos_other[] = "cosmos";
    struct metrics *workers[2] = {metrics_new(), metrics_new()};
    for (int i = 0; i < 5; i++) {
        metrics_request_begin(workers[i % 2], "GET", i % 2 == 0 ? one : other);
        metrics_request_end(workers[i % 2], "GET", i % 2 == 0 ? one : other, 200, 1000);
        metrics_upstream(workers[i % 2], i % 2 == 0 ? cosmos_one : cosmos_other, "query", 200, 500000);
        metrics_retry(workers[i % 2], i % 2 == 0 ? cosmos_one : cosmos_other, "query");
        metrics_request_units(workers[i % 2], 2.83);
    }
    metrics_upstream(workers[0], cosmos_one, "query", 0, 10000000);
    char *text = scrape(workers, 2);
    assert_has(text, DURATION "_count{method=\"GET\",route=\"" ROUTE "\",status=\"200\"} 5");
    assert_has(text, DURATION "_sum{method=\"GET\",route=\"" ROUTE "\",status=\"200\"} 0.005000");
    assert_has(text,
               UPSTREAM "_bucket{upstream=\"cosmos\",operation=\"query\",status=\"200\",le=\"0.25\"} 0");
    assert_has(text, UPSTREAM "_bucket{upstream=\"cosmos\",operation=\"query\",status=\"200\",le=\"0.5\"} 5");
    assert_has(text, UPSTREAM "_count{upstream=\"cosmos\",operation=\"query\",status=\"0\"} 1");
    assert_has(text, "telemetryd_upstream_retries_total{upstream=\"cosmos\",operation=\"query\"} 5");
    assert_has(text, "telemetryd_cosmos_request_units_total 14.15");
    free(text);
    metrics_free(workers[0]);
    metrics_free(workers[1]);
}

static void label_values_are_escaped(void **state)
{
    struct metrics *metrics = metrics_new();
    metrics_retry(metrics, "a\"b\\c\nd", "op");
    char *text = scrape(&metrics, 1);
    assert_has(text, "telemetryd_upstream_retries_total{upstream=\"a\\\"b\\\\c\\nd\",operation=\"op\"} 1");
    free(text);
    metrics_free(metrics);
}

static void request_units_never_fall(void **state)
{
    static const double refused[] = {-1, 0, __builtin_nan(""), __builtin_inf(), -__builtin_inf()};
    struct metrics *metrics = metrics_new();
    metrics_request_units(metrics, 1.5);
    for (size_t i = 0; i < COUNT(refused); i++)
        metrics_request_units(metrics, refused[i]);
    char *text = scrape(&metrics, 1);
    assert_has(text, "telemetryd_cosmos_request_units_total 1.5");
    free(text);
    metrics_free(metrics);
}

static void label_sets_are_bounded_and_nothing_is_lost(void **state)
{
    struct metrics *metrics = metrics_new();
    double total = 0;
    unsigned lines = 0;
    for (unsigned status = 0; status < 2000; status++) {
        metrics_request_begin(metrics, "GET", "");
        metrics_request_end(metrics, "GET", "", status, 1);
    }
    char *text = scrape(&metrics, 1);
    for (const char *at = strstr(text, DURATION "_count{"); at != NULL;
         at = strstr(at + 1, DURATION "_count{")) {
        total += strtod(strchr(at, '}') + 1, NULL);
        lines++;
    }
    assert_int_equal((long)total, 2000);
    assert_in_range(lines, 100, 600);
    assert_non_null(strstr(text, DURATION "_count{method=\"_OTHER\",route=\"_OTHER\",status=\"0\"} "));
    free(text);
    metrics_free(metrics);
}

static void *count_requests(void *ctx)
{
    struct metrics *metrics = ctx;
    for (unsigned i = 0; i < 20000; i++) {
        metrics_request_begin(metrics, "GET", ROUTE);
        metrics_upstream(metrics, "cosmos", "query", i % 100, 7);
        metrics_request_end(metrics, "GET", ROUTE, 200 + i % 100, i);
    }
    return NULL;
}

static void a_scrape_may_run_while_workers_count(void **state)
{
    struct metrics *metrics = metrics_new();
    pthread_t thread;
    double before = 0;
    assert_int_equal(pthread_create(&thread, NULL, count_requests, metrics), 0);
    for (int i = 0; i < 20; i++) {
        char *text = scrape(&metrics, 1);
        double total = 0;
        for (const char *at = strstr(text, UPSTREAM "_count{"); at != NULL;
             at = strstr(at + 1, UPSTREAM "_count{"))
            total += strtod(strchr(at, '}') + 1, NULL);
        assert_true(total >= before);
        before = total;
        free(text);
    }
    pthread_join(thread, NULL);
    char *text = scrape(&metrics, 1);
    assert_has(text, DURATION "_count{method=\"GET\",route=\"" ROUTE "\",status=\"242\"} 200");
    assert_has(text, "http_server_active_requests 0");
    free(text);
    metrics_free(metrics);
}

static void the_process_is_described(void **state)
{
    struct process_numbers numbers = process_numbers_read();
    struct metrics *metrics = metrics_new();
    char *text = scrape(&metrics, 1);
    assert_true(value_of(text, "process_resident_memory_bytes") > 100000);
    assert_true(value_of(text, "process_open_fds") >= 3);
    assert_true(value_of(text, "process_cpu_seconds_total") >= 0);
    double start = value_of(text, "process_start_time_seconds");
    assert_true(start > 1.6e9);
    assert_true(start == numbers.start_time_seconds);
    FILE *file = tmpfile();
    assert_int_equal(process_numbers_read().open_fds, numbers.open_fds + 1);
    fclose(file);
    free(text);
    metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_has_help_and_type_even_when_empty),
        cmocka_unit_test(a_duration_falls_into_its_bucket_and_all_above),
        cmocka_unit_test(methods_that_are_not_ours_are_other),
        cmocka_unit_test(active_requests_go_up_and_down),
        cmocka_unit_test(workers_are_summed_by_text_not_by_address),
        cmocka_unit_test(label_values_are_escaped),
        cmocka_unit_test(request_units_never_fall),
        cmocka_unit_test(label_sets_are_bounded_and_nothing_is_lost),
        cmocka_unit_test(a_scrape_may_run_while_workers_count),
        cmocka_unit_test(the_process_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
