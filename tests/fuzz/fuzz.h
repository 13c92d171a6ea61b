/*
 * fuzz.h - what the fuzzers share: assertions, copies of exact size, and a second opinion on JSON.
 *
 * A fuzzer is one file fuzz_NAME.c with LLVMFuzzerTestOneInput() (libFuzzer), a folder fuzz_NAME.corpus of
 * inputs and, where words help, a fuzz_NAME.dict. Each asserts what its module promises in include/; "does
 * not crash" is the least of it.
 */
#ifndef TELEMETRYD_TESTS_FUZZ_H
#define TELEMETRYD_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Stays in every build, unlike assert(). */
#define ALWAYS(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                          \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* Copies that end where the heap block ends, so that one byte read or written past it is seen. */
static inline char *fuzz_copy(const void *bytes, size_t len)
{
    char *copy = malloc(len != 0 ? len : 1);
    ALWAYS(copy != NULL);
    if (len != 0)
        memcpy(copy, bytes, len);
    return copy;
}

/* The same as a string; it ends at the first NUL, if there is one. */
static inline char *fuzz_text(const void *bytes, size_t len)
{
    size_t n = strnlen(bytes, len);
    char *copy = malloc(n + 1);
    ALWAYS(copy != NULL);
    if (n != 0)
        memcpy(copy, bytes, n);
    copy[n] = '\0';
    return copy;
}

/* The first line, without its end, and what follows it: for inputs of two parts. */
static inline size_t fuzz_line(const uint8_t *data, size_t size, const uint8_t **ret_rest,
                               size_t *ret_rest_len)
{
    const uint8_t *end = size != 0 ? memchr(data, '\n', size) : NULL;
    size_t len = end != NULL ? (size_t)(end - data) : size;
    *ret_rest = end != NULL ? end + 1 : data + size;
    *ret_rest_len = end != NULL ? size - len - 1 : 0;
    return len;
}

/* --- oracle.c: jansson's opinion. (json.h and jansson.h cannot meet in one file.) --- */

enum oracle { ORACLE_REFUSES, ORACLE_ACCEPTS, ORACLE_CANNOT_SAY };

/* CANNOT_SAY: jansson refuses for a reason that is its own and not RFC 8259's (numbers that it cannot hold,
 * lone surrogates, NUL in a member's name). */
enum oracle oracle_json(const char *text, size_t len, bool unique);
/* The root is a string: its decoded bytes, to be freed; NULL for all else. */
char *oracle_string(const char *text, size_t len, size_t *ret_len);
/* The string at a path of member names and array indexes ("parameters.0.value"), to be freed; NULL where
 * there is none. */
char *oracle_string_at(const char *text, size_t len, const char *path);
/* The number of elements of the array (or members of the object) at a path; -1 where there is none. */
long oracle_count_at(const char *text, size_t len, const char *path);
/* True when `merged` means what RFC 7396 makes of the two; also true where jansson cannot read one of the
 * three. target NULL: absent. */
bool oracle_merge_agrees(const char *target, size_t target_len, const char *patch, size_t patch_len,
                         const char *merged, size_t merged_len);

#endif
