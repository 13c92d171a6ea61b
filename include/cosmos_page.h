/*
 * cosmos_page.h - one page of a Cosmos DB query, located and vouched for without a parse into a tree.
 *
 * Wire format (azure-protocols 1.4): {"_rid":"..","Documents":[{"data":..,"timestamp":n},..],"_count":n}. The
 * scanner walks the whole text once and vouches for it only when it is one valid RFC 8259 value in UTF-8 with
 * nothing after it, has exactly one `Documents` (an array of objects) and one `_count` that equals the number
 * of its elements, and every element has at most one `data` and one `timestamp`, the latter an integer; an
 * element with data must have a timestamp. Anything else is refused: half an answer is no answer.
 */
#ifndef TELEMETRYD_COSMOS_PAGE_H
#define TELEMETRYD_COSMOS_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cosmos_page {
    size_t start;           /* offset of the '[' of Documents */
    size_t length;          /* to its ']' inclusive */
    unsigned count;         /* its elements */
    unsigned without_data;  /* elements that have no `data`; they are to be left out: cosmos_page_compact() */
    int64_t last_timestamp; /* of the last element with data; 0 when none */
};

/* Returns true and fills *ret_page, or false (ret_page untouched) for a page that cannot be vouched for.
 * max_depth bounds the nesting of the whole text. Never reads past text + len. */
bool cosmos_page_scan(const char *text, size_t len, unsigned max_depth, struct cosmos_page *ret_page);

/* Removes the elements without `data` from a scanned page in place: the array then starts at page->start and
 * has page->length bytes; count is reduced, without_data is 0. */
void cosmos_page_compact(char *text, struct cosmos_page *page);

#endif
