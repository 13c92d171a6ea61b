/*
 * json_variants.h - the scanner of json_valid() and cosmos_page_scan() as other machines get it: without
 * SSE2.
 *
 * A test that includes this has json_valid_portable() and cosmos_page_scan_portable() beside the library's
 * own.
 */
#ifndef TELEMETRYD_TESTS_JSON_VARIANTS_H
#define TELEMETRYD_TESTS_JSON_VARIANTS_H

#include "cosmos_page.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

bool json_valid_portable(const char *text, size_t len, unsigned max_depth);
bool cosmos_page_scan_portable(const char *text, size_t len, unsigned max_depth,
                               struct cosmos_page *ret_page);
void cosmos_page_compact_portable(char *text, struct cosmos_page *page);

#define JSON_SCAN_PORTABLE
#define json_valid          json_valid_portable
#define cosmos_page_scan    cosmos_page_scan_portable
#define cosmos_page_compact cosmos_page_compact_portable
#include "../../base/json_valid.c"
#include "../../clients/cosmos_page.c"
#undef json_valid
#undef cosmos_page_scan
#undef cosmos_page_compact

/* A copy on the heap of exactly this size, so that a sanitizer sees any byte read past it. */
static inline char *exact_copy(const char *text, size_t len)
{
    char *copy = malloc(len != 0 ? len : 1);
    if (copy == NULL)
        abort();
    memcpy(copy, text, len);
    return copy;
}

#endif
