/*
 * pages.h - the pages and their files, as the program was built with them (pages/embed.py writes the table).
 *
 * `/` and `/docs` are pages: asked for again each time. Everything else lies under /assets/ with a hash in
 * its name, so that it never changes.
 */
#ifndef TELEMETRYD_PAGES_H
#define TELEMETRYD_PAGES_H

#include <stdbool.h>
#include <stddef.h>

struct page {
    const char *path;
    const char *content_type;
    const char *hash; /* of the body; hexadecimal */
    const char *body;
    size_t len;
    const char *gzip_body;
    size_t gzip_len;
    bool is_page;
};

extern const struct page pages[];
extern const size_t pages_count;

#endif
