/*
 * config_fixture.h - what the tests of the settings share: config_load() on lists of text, with all it says
 * caught.
 */
#ifndef TELEMETRYD_CONFIG_FIXTURE_H
#define TELEMETRYD_CONFIG_FIXTURE_H

#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define KEY        "c2VjcmV0LWtleQ=="
#define COSMOS     "AccountEndpoint=https://a.example:443/;AccountKey=" KEY ";"
#define COSMOS_ENV "COSMOS_CONNECTION=" COSMOS
#define HUB        "HostName=hub.example;SharedAccessKeyName=service;SharedAccessKey=" KEY
#define HUB_ENV    "IOT_HUB_CONNECTION=" HUB

/* What one config_load() said. */
struct answer {
    int result;
    struct config config;
    enum config_action action;
    char *out, *errors;
};

/* Literals are const here; nothing writes to either list. */
static inline struct answer load(const char *const *argv, const char *const *environment)
{
    struct answer a = {.action = (enum config_action)99};
    size_t out_size, errors_size;
    int argc = 0;

    memset(&a.config, 0x5a, sizeof a.config);
    while (argv[argc] != NULL)
        argc++;
    FILE *out = open_memstream(&a.out, &out_size);
    FILE *errors = open_memstream(&a.errors, &errors_size);
    assert_non_null(out);
    assert_non_null(errors);
    a.result =
        config_load(argc, (char *const *)argv, (char *const *)environment, &a.config, &a.action, out, errors);
    fclose(out);
    fclose(errors);
    /* Whatever was given, nothing of the key comes out. */
    assert_null(strstr(a.out, "c2Vj"));
    assert_null(strstr(a.errors, "c2Vj"));
    assert_null(strstr(a.errors, "secret-key"));
    return a;
}

static inline void forget(struct answer *a)
{
    free(a->out);
    free(a->errors);
}

#define ARGS(...) ((const char *const[]){"telemetryd", ##__VA_ARGS__, NULL})
#define ENV(...)  ((const char *const[]){"PATH=/bin", ##__VA_ARGS__, NULL})

/* Loads what must be right. */
static inline struct config load_good(const char *const *argv, const char *const *environment)
{
    struct answer a = load(argv, environment);
    assert_string_equal(a.errors, "");
    assert_int_equal(a.result, 0);
    struct config config = a.config;
    forget(&a);
    return config;
}

/* Loads what must be refused: one line for each of the parts, in any order, each with its part. */
static inline void assert_refused(const char *const *argv, const char *const *environment,
                                  const char *const *parts)
{
    struct answer a = load(argv, environment);
    unsigned lines = 0, expected = 0;

    for (const char *at = a.errors; *at != '\0'; at++)
        lines += *at == '\n';
    for (; parts[expected] != NULL; expected++) {
        if (strstr(a.errors, parts[expected]) == NULL)
            fail_msg("'%s' is missing in:\n%s", parts[expected], a.errors);
    }
    if (lines != expected)
        fail_msg("%u lines and not %u:\n%s", lines, expected, a.errors);
    assert_int_equal(a.result, -EINVAL);
    assert_string_equal(a.out, "");
    assert_int_equal(a.action, 99);
    for (size_t i = 0; i < sizeof a.config; i++)
        assert_int_equal(((const unsigned char *)&a.config)[i], 0x5a);
    forget(&a);
}

/* A file of this test alone. */
static inline char *write_file(const char *text, size_t len)
{
    char *path = strdup("/tmp/test_config.XXXXXX");
    assert_non_null(path);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
    return path;
}

static inline char *join(const char *name, const char *value)
{
    char *text = NULL;
    assert_true(asprintf(&text, "%s=%s", name, value) > 0);
    return text;
}

#endif
