/*
 * bench_scan - how fast a page of telemetry is vouched for: json_valid(), cosmos_page_scan(), json_check(),
 * and jansson for comparison. Prints the best of many rounds, as a shared machine's average says more about
 * its neighbours.
 */
#include "buffer.h"
#include "cosmos_page.h"
#include "json.h"

/* jansson.h and json.h name some kinds of values alike. */
#define JSON_OBJECT  JANSSON_OBJECT
#define JSON_ARRAY   JANSSON_ARRAY
#define JSON_STRING  JANSSON_STRING
#define JSON_TRUE    JANSSON_TRUE
#define JSON_FALSE   JANSSON_FALSE
#define JSON_NULL    JANSSON_NULL
#define json_integer jansson_integer
#include <jansson.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { DEPTH = 32, ROUNDS = 60, ROUND_BYTES = 1 << 20 };

static bool run_valid(const char *text, size_t len)
{
    return json_valid(text, len, DEPTH);
}

static bool run_page(const char *text, size_t len)
{
    struct cosmos_page page;
    return cosmos_page_scan(text, len, DEPTH, &page);
}

static bool run_check(const char *text, size_t len)
{
    return json_check(text, len, DEPTH, false, NULL) == JSON_OK;
}

static bool run_check_unique(const char *text, size_t len)
{
    return json_check(text, len, DEPTH, true, NULL) == JSON_OK;
}

static bool run_jansson(const char *text, size_t len)
{
    json_t *root = json_loadb(text, len, 0, NULL);
    json_decref(root);
    return root != NULL;
}

static const struct {
    const char *name;
    bool (*run)(const char *text, size_t len);
} contenders[] = {
    {"json_valid", run_valid},           {"cosmos_page_scan", run_page},
    {"json_check", run_check},           {"json_check, unique names", run_check_unique},
    {"jansson json_loadb", run_jansson},
};

enum { CONTENDERS = sizeof contenders / sizeof contenders[0] };

/* A page as Cosmos answers it. The digits vary as those of a sensor do, or nothing would be left to predict.
 */
static void append_page(struct buffer *text, unsigned readings)
{
    unsigned random = 1;
    buffer_append_text(text, "{\"_rid\":\"kXQ1AL9fJxI=\",\"Documents\":[");
    for (unsigned i = 0; i < readings; i++) {
        random = random * 1103515245 + 12345;
        unsigned temperature = 500 + (random >> 8) % 2500, humidity = 200 + (random >> 16) % 700;
        buffer_printf(text,
                      "%s{\"data\":{\"temperature\":%u.%02u,\"humidity\":%u.%u,"
                      "\"timestamp\":\"2026-11-23T%02u:%02u:%02uZ\"},\"timestamp\":%u}",
                      i == 0 ? "" : ",", temperature / 100, temperature % 100, humidity / 10, humidity % 10,
                      7 + i / 3600 % 17, i / 60 % 60, i % 60, 1795417200 + i);
    }
    buffer_printf(text, "],\"_count\":%u}", readings);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The time of one run, in seconds; 0 where the text was refused. */
static double measure(bool (*run)(const char *, size_t), const char *text, size_t len)
{
    unsigned runs = (unsigned)(ROUND_BYTES / len) + 1;
    double start = seconds();
    for (unsigned i = 0; i < runs; i++)
        if (!run(text, len))
            return 0;
    return (seconds() - start) / runs;
}

static int compare(unsigned readings)
{
    struct buffer text = {0};
    double best[CONTENDERS] = {0};

    append_page(&text, readings);
    if (text.failed)
        return -1;
    /* They take turns, so that all of them get their share of the machine's good moments. */
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < CONTENDERS; i++) {
            double each = measure(contenders[i].run, text.data, text.len);
            if (each == 0) {
                fprintf(stderr, "%s refused the page\n", contenders[i].name);
                buffer_free(&text);
                return -1;
            }
            if (round == 0 || each < best[i])
                best[i] = each;
        }
    }
    printf("%u readings, %zu bytes\n", readings, text.len);
    for (size_t i = 0; i < CONTENDERS; i++)
        printf("  %-26s %10.2f us %8.3f GB/s\n", contenders[i].name, best[i] * 1e6,
               (double)text.len / best[i] / 1e9);
    buffer_free(&text);
    return 0;
}

int main(void)
{
    static const unsigned sizes[] = {1, 24, 1000};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (compare(sizes[i]) != 0)
            return EXIT_FAILURE;
    return EXIT_SUCCESS;
}
