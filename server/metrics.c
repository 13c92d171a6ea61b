#include "metrics.h"

#include "metrics_process.h"

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Upper bounds in microseconds, each inclusive, and how they are written. The last bucket has no bound. */
static const struct bucket {
    unsigned long us;
    const char *seconds;
} buckets[] = {
    {500, "0.0005"},  {1000, "0.001"},  {2500, "0.0025"}, {5000, "0.005"},  {10000, "0.01"},
    {25000, "0.025"}, {50000, "0.05"},  {100000, "0.1"},  {250000, "0.25"}, {500000, "0.5"},
    {1000000, "1"},   {2500000, "2.5"}, {5000000, "5"},   {10000000, "10"},
};
#define BUCKETS (COUNT(buckets) + 1)

static const char *const methods[] = {"GET",     "POST",   "HEAD",    "PATCH", "PUT",
                                      "OPTIONS", "DELETE", "CONNECT", "TRACE"};
static const char other[] = "_OTHER";

/* --- one worker's counters --------------------------------------------------------------------- */

/* What was counted under one set of labels. `a` and `b` are static text; within one worker they are told
 * apart by their address. Only the worker writes; a scrape on another thread reads. */
struct series {
    const char *a, *b;
    unsigned status;
    _Atomic uint64_t sum_us;
    _Atomic uint64_t counts[BUCKETS]; /* not cumulative; a plain counter uses the first */
};

/* More sets of labels in one family than our routes, methods and statuses make. */
#define SERIES_MAX 512
#define SLOTS      1024 /* a power of two, twice as many */

/* A hash table with open addressing that only grows. A slot is set once, with release order, when its series
 * is whole. */
struct family {
    struct series *_Atomic slots[SLOTS];
    unsigned used;
    struct series rest; /* takes what finds no room: labels _OTHER, _OTHER, 0 */
};

struct metrics {
    struct family requests; /* method, route */
    struct family upstream; /* upstream, operation */
    struct family retries;  /* upstream, operation */
    _Atomic int64_t active_requests, streams;
    _Atomic int64_t stream_readings, stream_resyncs;
    _Atomic double request_units;
};

struct metrics *metrics_new(void)
{
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics == NULL)
        return NULL;
    struct series *rests[] = {&metrics->requests.rest, &metrics->upstream.rest, &metrics->retries.rest};
    for (size_t i = 0; i < COUNT(rests); i++)
        rests[i]->a = rests[i]->b = other;
    return metrics;
}

static void free_family(struct family *family)
{
    for (size_t i = 0; i < SLOTS; i++)
        free(atomic_load_explicit(&family->slots[i], memory_order_relaxed));
}

void metrics_free(struct metrics *metrics)
{
    if (metrics == NULL)
        return;
    free_family(&metrics->requests);
    free_family(&metrics->upstream);
    free_family(&metrics->retries);
    free(metrics);
}

/* A load and a store instead of a locked add: there is one writer. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static size_t hash(const char *a, const char *b, unsigned status)
{
    uint64_t h = (uintptr_t)a * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ (uintptr_t)b) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ status) * UINT64_C(0x94d049bb133111eb);
    return (size_t)(h >> 32);
}

static struct series *add_series(struct family *family, struct series *_Atomic *slot, const char *a,
                                 const char *b, unsigned status)
{
    struct series *series = family->used < SERIES_MAX ? calloc(1, sizeof *series) : NULL;
    if (series == NULL)
        return &family->rest;
    series->a = a;
    series->b = b;
    series->status = status;
    family->used++;
    atomic_store_explicit(slot, series, memory_order_release);
    return series;
}

/* Half of the slots stay empty, so the search ends. */
static struct series *find_series(struct family *family, const char *a, const char *b, unsigned status)
{
    for (size_t i = hash(a, b, status);; i++) {
        struct series *_Atomic *slot = &family->slots[i % SLOTS];
        struct series *series = atomic_load_explicit(slot, memory_order_relaxed);
        if (series == NULL)
            return add_series(family, slot, a, b, status);
        if (series->a == a && series->b == b && series->status == status)
            return series;
    }
}

static void observe(struct series *series, unsigned long duration_us)
{
    size_t i = 0;
    while (i < COUNT(buckets) && duration_us > buckets[i].us)
        i++;
    add(&series->counts[i], 1);
    add(&series->sum_us, duration_us);
}

/* The method's own static text: what a parser hands us lives no longer than its connection, and a caller may
 * make up as many methods as it likes. */
static const char *static_method(const char *method)
{
    for (size_t i = 0; method != NULL && i < COUNT(methods); i++) {
        if (strcmp(method, methods[i]) == 0)
            return methods[i];
    }
    return other;
}

static void add_number(_Atomic int64_t *number, int64_t n)
{
    atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

void metrics_request_begin(struct metrics *metrics, const char *method, const char *route)
{
    (void)method;
    (void)route;
    add_number(&metrics->active_requests, 1);
}

void metrics_request_end(struct metrics *metrics, const char *method, const char *route, unsigned status,
                         unsigned long duration_us)
{
    add_number(&metrics->active_requests, -1);
    observe(find_series(&metrics->requests, static_method(method), route, status), duration_us);
}

void metrics_upstream(struct metrics *metrics, const char *upstream, const char *operation, unsigned status,
                      unsigned long duration_us)
{
    observe(find_series(&metrics->upstream, upstream, operation, status), duration_us);
}

void metrics_retry(struct metrics *metrics, const char *upstream, const char *operation)
{
    add(&find_series(&metrics->retries, upstream, operation, 0)->counts[0], 1);
}

void metrics_request_units(struct metrics *metrics, double units)
{
    if (!(units > 0) || isinf(units)) /* a counter never falls, whatever an upstream says */
        return;
    double sum = atomic_load_explicit(&metrics->request_units, memory_order_relaxed);
    atomic_store_explicit(&metrics->request_units, sum + units, memory_order_relaxed);
}

void metrics_stream(struct metrics *metrics, int n)
{
    add_number(&metrics->streams, n);
}

void metrics_stream_reading(struct metrics *metrics)
{
    add_number(&metrics->stream_readings, 1);
}

void metrics_stream_resync(struct metrics *metrics)
{
    add_number(&metrics->stream_resyncs, 1);
}

/* --- the text ---------------------------------------------------------------------------------- */

/* What a scrape looks at. */
struct scrape {
    struct buffer *out;
    struct metrics *const *workers;
    size_t count;
    struct process_numbers process;
};

/* One row: a family of the text. `names` are its labels; `offset` says where its series are in struct
 * metrics. */
struct metric {
    const char *name;
    const char *type;
    const char *help;
    void (*write)(const struct scrape *scrape, const struct metric *metric);
    size_t offset;
    const char *names[3];
};

static void append_label(struct buffer *out, const char *name, const char *value)
{
    buffer_append_text(out, name);
    buffer_append_text(out, "=\"");
    for (; *value != '\0'; value++) {
        if (*value == '\n')
            buffer_append_text(out, "\\n");
        else if (*value == '"' || *value == '\\')
            buffer_printf(out, "\\%c", *value);
        else
            buffer_append_char(out, *value);
    }
    buffer_append_char(out, '"');
}

/* `name{a="..",b="..",status="..",le=".."} `; le may be NULL. */
static void append_name(struct buffer *out, const struct metric *metric, const char *suffix,
                        const struct series *series, const char *le)
{
    buffer_append_text(out, metric->name);
    buffer_append_text(out, suffix);
    buffer_append_char(out, '{');
    append_label(out, metric->names[0], series->a);
    buffer_append_char(out, ',');
    append_label(out, metric->names[1], series->b);
    if (metric->names[2] != NULL)
        buffer_printf(out, ",%s=\"%u\"", metric->names[2], series->status);
    if (le != NULL)
        buffer_printf(out, ",le=\"%s\"", le);
    buffer_append_text(out, "} ");
}

static bool is_empty(const struct series *series)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        if (atomic_load_explicit(&series->counts[i], memory_order_relaxed) != 0)
            return false;
    }
    return true;
}

static int compare_labels(const struct series *x, const struct series *y)
{
    int order = strcmp(x->a, y->a);
    if (order == 0)
        order = strcmp(x->b, y->b);
    if (order == 0)
        order = (x->status > y->status) - (x->status < y->status);
    return order;
}

static int compare_series(const void *x, const void *y)
{
    return compare_labels(*(const struct series *const *)x, *(const struct series *const *)y);
}

/* All workers' series of one family, those of equal labels next to each other. */
static struct buffer collect(const struct scrape *scrape, const struct metric *metric)
{
    struct buffer list = {0};
    for (size_t w = 0; w < scrape->count; w++) {
        const struct family *family =
            (const struct family *)((const char *)scrape->workers[w] + metric->offset);
        for (size_t i = 0; i < SLOTS; i++) {
            const struct series *series = atomic_load_explicit(&family->slots[i], memory_order_acquire);
            if (series != NULL)
                buffer_append(&list, &series, sizeof series);
        }
        const struct series *rest = &family->rest;
        if (!is_empty(rest))
            buffer_append(&list, &rest, sizeof rest);
    }
    if (list.len > 0)
        qsort(list.data, list.len / sizeof(struct series *), sizeof(struct series *), compare_series);
    return list;
}

static void append_seconds(struct buffer *out, uint64_t us)
{
    buffer_printf(out, "%llu.%06u\n", (unsigned long long)(us / 1000000), (unsigned)(us % 1000000));
}

static void write_histogram(const struct scrape *scrape, const struct metric *metric,
                            const struct series *sum)
{
    struct buffer *out = scrape->out;
    uint64_t total = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        total += sum->counts[i];
        append_name(out, metric, "_bucket", sum, i < COUNT(buckets) ? buckets[i].seconds : "+Inf");
        buffer_printf(out, "%llu\n", (unsigned long long)total);
    }
    append_name(out, metric, "_sum", sum, NULL);
    append_seconds(out, sum->sum_us);
    /* The last bucket and the count are one number, whatever was added while we read. */
    append_name(out, metric, "_count", sum, NULL);
    buffer_printf(out, "%llu\n", (unsigned long long)total);
}

static void write_count(const struct scrape *scrape, const struct metric *metric, const struct series *sum)
{
    append_name(scrape->out, metric, "", sum, NULL);
    buffer_printf(scrape->out, "%llu\n", (unsigned long long)sum->counts[0]);
}

/* Sums the series of equal labels and writes each sum. */
static void write_sums(const struct scrape *scrape, const struct metric *metric,
                       void (*write)(const struct scrape *, const struct metric *, const struct series *))
{
    struct buffer list = collect(scrape, metric);
    struct series **series = (struct series **)(void *)list.data;
    size_t count = list.len / sizeof(struct series *);

    for (size_t i = 0; i < count;) {
        struct series sum = {.a = series[i]->a, .b = series[i]->b, .status = series[i]->status};
        for (; i < count && compare_labels(series[i], &sum) == 0; i++) {
            add(&sum.sum_us, atomic_load_explicit(&series[i]->sum_us, memory_order_relaxed));
            for (size_t b = 0; b < BUCKETS; b++)
                add(&sum.counts[b], atomic_load_explicit(&series[i]->counts[b], memory_order_relaxed));
        }
        write(scrape, metric, &sum);
    }
    if (list.failed) { /* half of a scrape is no scrape */
        buffer_free(scrape->out);
        scrape->out->failed = true;
    }
    buffer_free(&list);
}

static void write_histograms(const struct scrape *scrape, const struct metric *metric)
{
    write_sums(scrape, metric, write_histogram);
}

static void write_counts(const struct scrape *scrape, const struct metric *metric)
{
    write_sums(scrape, metric, write_count);
}

/* A gauge or a counter without labels. */
static void write_number(const struct scrape *scrape, const struct metric *metric)
{
    int64_t sum = 0;
    for (size_t w = 0; w < scrape->count; w++)
        sum +=
            atomic_load_explicit((const _Atomic int64_t *)((const char *)scrape->workers[w] + metric->offset),
                                 memory_order_relaxed);
    buffer_printf(scrape->out, "%s %lld\n", metric->name, (long long)sum);
}

static void write_request_units(const struct scrape *scrape, const struct metric *metric)
{
    double units = 0;
    for (size_t w = 0; w < scrape->count; w++)
        units += atomic_load_explicit(&scrape->workers[w]->request_units, memory_order_relaxed);
    buffer_printf(scrape->out, "%s %.15g\n", metric->name, units);
}

static void write_real(const struct scrape *scrape, const struct metric *metric)
{
    double value = *(const double *)((const char *)&scrape->process + metric->offset);
    if (value >= 0)
        buffer_printf(scrape->out, "%s %.15g\n", metric->name, value);
}

static void write_integer(const struct scrape *scrape, const struct metric *metric)
{
    int64_t value = *(const int64_t *)((const char *)&scrape->process + metric->offset);
    if (value >= 0)
        buffer_printf(scrape->out, "%s %lld\n", metric->name, (long long)value);
}

#define OF_WORKER(member)  offsetof(struct metrics, member)
#define OF_PROCESS(member) offsetof(struct process_numbers, member)

static const struct metric table[] = {
    {"http_server_request_duration_seconds",
     "histogram",
     "Time from a request's head to its answer's last byte.",
     write_histograms,
     OF_WORKER(requests),
     {"method", "route", "status"}},
    {"http_server_active_requests", "gauge", "Requests under way.", write_number, OF_WORKER(active_requests)},
    {"telemetryd_streams", "gauge", "Listeners of streams.", write_number, OF_WORKER(streams)},
    {"telemetryd_stream_readings_total", "counter", "Readings delivered to listeners.", write_number,
     OF_WORKER(stream_readings)},
    {"telemetryd_stream_resyncs_total", "counter", "Times that a listener lost its place.", write_number,
     OF_WORKER(stream_resyncs)},
    {"telemetryd_upstream_request_duration_seconds",
     "histogram",
     "Time of one attempt at an upstream; status 0 where no answer came.",
     write_histograms,
     OF_WORKER(upstream),
     {"upstream", "operation", "status"}},
    {"telemetryd_upstream_retries_total",
     "counter",
     "Attempts that repeat an earlier one.",
     write_counts,
     OF_WORKER(retries),
     {"upstream", "operation"}},
    {"telemetryd_cosmos_request_units_total", "counter", "Request units that Cosmos DB charged.",
     write_request_units},
    {"process_cpu_seconds_total", "counter", "User and system CPU time.", write_real,
     OF_PROCESS(cpu_seconds)},
    {"process_resident_memory_bytes", "gauge", "Resident memory.", write_integer, OF_PROCESS(resident_bytes)},
    {"process_open_fds", "gauge", "Open file descriptors.", write_integer, OF_PROCESS(open_fds)},
    {"process_max_fds", "gauge", "Most file descriptors that may be open.", write_integer,
     OF_PROCESS(max_fds)},
    {"process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.", write_real,
     OF_PROCESS(start_time_seconds)},
};

void metrics_write(struct buffer *out, struct metrics *const *workers, size_t count)
{
    const struct scrape scrape = {out, workers, count, process_numbers_read()};

    for (size_t i = 0; i < COUNT(table); i++) {
        const struct metric *metric = &table[i];
        buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
                      metric->type);
        metric->write(&scrape, metric);
    }
}
