#include "cosmos_page.h"

#include "../base/json_scan_inline.h"

#include <limits.h>
#include <string.h>

/* The text around the elements is three levels of the nesting: the page, Documents, the element. */
enum { PAGE_LEVEL = 1, DOCUMENTS_LEVEL, ELEMENT_LEVEL };

struct scan {
    const char *text;
    const char *end;
    unsigned max_depth; /* of the whole text; at least ELEMENT_LEVEL inside of elements */
    bool has_documents;
    bool has_count;
    int64_t count_member;
    struct json_slice last_timestamp; /* of the last element with data */
    struct cosmos_page page;
};

/* --- names and values -------------------------------------------------------------------------- */

/* Whether the raw inside of a string is `name`, be it written with escapes. */
static inline bool is_name(const char *inside, size_t len, const char *name, size_t name_len)
{
    if (len == name_len && memcmp(inside, name, name_len) == 0)
        return true;
    return JSON_SCAN_UNLIKELY(len > name_len && memchr(inside, '\\', len) != NULL) &&
           json_bytes_compare(json_bytes(inside, len), json_bytes(name, name_len)) == 0;
}

/* An integer that int64_t can hold. */
static inline const char *scan_integer(const char *p, const char *end)
{
    const char *after = json_scan_number(p, end, true);
    int64_t ignored;
    if (JSON_SCAN_UNLIKELY(after != NULL && after - p > 18) &&
        !json_int64((struct json_slice){p, (size_t)(after - p)}, &ignored))
        return NULL;
    return after;
}

/* After a member or an element: to the next one (after the comma) or to the closing bracket, which *ret_last
 * says. */
static inline const char *scan_separator(const char *p, const char *end, char closing, bool *ret_last)
{
    if (p == end)
        return NULL;
    p = json_scan_gap(p);
    *ret_last = *p == closing;
    if (*ret_last)
        return p;
    return *p == ',' ? json_scan_gap(p + 1) : NULL;
}

/* --- elements ---------------------------------------------------------------------------------- */

/* The element at p, to after its '}'. */
static inline const char *scan_element(struct scan *scan, const char *p)
{
    const char *end = scan->end;
    struct json_slice timestamp = {NULL, 0};
    bool data = false;

    if (*p != '{')
        return NULL;
    p = json_scan_gap(p + 1);
    for (bool last = *p == '}'; !last;) {
        if (*p != '"')
            return NULL;
        const char *name = p + 1;
        p = json_scan_string(name, end);
        if (p == NULL)
            return NULL;
        size_t name_len = (size_t)(p - 1 - name);
        p = json_scan_colon(p);
        if (p == NULL)
            return NULL;
        if (is_name(name, name_len, "timestamp", 9)) {
            const char *after = scan_integer(p, end);
            if (after == NULL || timestamp.text != NULL)
                return NULL;
            timestamp = (struct json_slice){p, (size_t)(after - p)};
            p = after;
        } else {
            if (is_name(name, name_len, "data", 4)) {
                if (data)
                    return NULL;
                data = true;
            }
            p = json_scan_value(p, end, scan->max_depth - ELEMENT_LEVEL);
            if (p == NULL)
                return NULL;
        }
        p = scan_separator(p, end, '}', &last);
        if (p == NULL)
            return NULL;
    }
    if (!data)
        scan->page.without_data++;
    else if (timestamp.text == NULL)
        return NULL;
    else
        scan->last_timestamp = timestamp;
    return p + 1;
}

/* The value of Documents at p, to after its ']'. */
static const char *scan_documents(struct scan *scan, const char *p)
{
    const char *start = p;

    if (*p != '[' || scan->has_documents || scan->max_depth < DOCUMENTS_LEVEL)
        return NULL;
    p = json_scan_gap(p + 1);
    for (bool last = *p == ']'; !last;) {
        if (scan->max_depth < ELEMENT_LEVEL || scan->page.count == UINT_MAX)
            return NULL;
        p = scan_element(scan, p);
        if (p == NULL)
            return NULL;
        scan->page.count++;
        p = scan_separator(p, scan->end, ']', &last);
        if (p == NULL)
            return NULL;
    }
    p++;
    scan->has_documents = true;
    scan->page.start = (size_t)(start - scan->text);
    scan->page.length = (size_t)(p - start);
    return p;
}

/* --- the page ---------------------------------------------------------------------------------- */

/* The value at p of the page's member `name`. */
static const char *scan_page_member(struct scan *scan, const char *name, size_t name_len, const char *p)
{
    if (is_name(name, name_len, "Documents", 9))
        return scan_documents(scan, p);
    if (!is_name(name, name_len, "_count", 6))
        return json_scan_value(p, scan->end, scan->max_depth - PAGE_LEVEL);
    const char *after = scan_integer(p, scan->end);
    if (after == NULL || scan->has_count)
        return NULL;
    scan->has_count = json_int64((struct json_slice){p, (size_t)(after - p)}, &scan->count_member);
    return after;
}

static const char *scan_page(struct scan *scan, const char *p)
{
    if (*p != '{' || scan->max_depth < PAGE_LEVEL)
        return NULL;
    p = json_scan_gap(p + 1);
    for (bool last = *p == '}'; !last;) {
        if (*p != '"')
            return NULL;
        const char *name = p + 1;
        p = json_scan_string(name, scan->end);
        if (p == NULL)
            return NULL;
        size_t name_len = (size_t)(p - 1 - name);
        p = json_scan_colon(p);
        if (p == NULL || (p = scan_page_member(scan, name, name_len, p)) == NULL ||
            (p = scan_separator(p, scan->end, '}', &last)) == NULL)
            return NULL;
    }
    return p + 1;
}

bool cosmos_page_scan(const char *text, size_t len, unsigned max_depth, struct cosmos_page *ret_page)
{
    struct scan scan = {.text = text, .end = json_scan_trim(text, len)};

    scan.max_depth = max_depth < JSON_DEPTH_MAX ? max_depth : JSON_DEPTH_MAX;
    /* The scanner wants a closing bracket for the last byte; a page has one. */
    if (scan.end == text || scan.end[-1] != '}')
        return false;
    if (scan_page(&scan, json_scan_gap(text)) != scan.end)
        return false;
    if (!scan.has_documents || !scan.has_count || scan.count_member != (int64_t)scan.page.count)
        return false;
    if (scan.last_timestamp.text != NULL)
        json_int64(scan.last_timestamp, &scan.page.last_timestamp);
    *ret_page = scan.page;
    return true;
}

static bool has_data(struct json_slice element)
{
    struct json_iter member = json_iter(element);
    while (json_next(&member))
        if (json_string_equals(member.name, "data"))
            return true;
    return false;
}

void cosmos_page_compact(char *text, struct cosmos_page *page)
{
    if (page->without_data == 0)
        return;
    char *start = text + page->start;
    char *to = start + 1;
    struct json_iter element = json_iter((struct json_slice){start, page->length});
    /* What is written ends before what is still to be read: each element moves to the left, together with a
     * comma. */
    while (json_next(&element)) {
        if (!has_data(element.value))
            continue;
        if (to != start + 1)
            *to++ = ',';
        memmove(to, element.value.text, element.value.len);
        to += element.value.len;
    }
    *to++ = ']';
    page->length = (size_t)(to - start);
    page->count -= page->without_data;
    page->without_data = 0;
}
