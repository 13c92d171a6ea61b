/* GET /, /docs and /assets/{file}: static, open to everybody, and closed to everything that is not ours. */
#include "handlers.h"

#include "entity.h"
#include "negotiate.h"
#include "pages.h"
#include "respond.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a page may do: run and fetch what this server serves, and nothing else. */
static const struct {
    const char *name, *value;
} page_fields[] = {
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
     "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
};

static bool accepts_gzip(const struct request *request)
{
    char *accept = entity_request_field(request, "Accept-Encoding");
    bool accepts = negotiate_gzip(accept);
    free(accept);
    return accepts;
}

static bool known_to_caller(const struct request *request, const char *tag)
{
    char *tags = entity_request_field(request, "If-None-Match");
    bool known = negotiate_etag_matches(tags, tag);
    free(tags);
    return known;
}

static const struct page *find_page(const struct request *request)
{
    const char *path = request->match.path;
    size_t len = strcspn(path, "?");
    for (size_t i = 0; i < pages_count; i++)
        if (strlen(pages[i].path) == len && memcmp(pages[i].path, path, len) == 0)
            return &pages[i];
    return NULL;
}

void page_serve(struct request *request)
{
    const struct page *page = find_page(request);
    char tag[64];

    if (page == NULL) {
        respond_problem_code(request, PROBLEM_NOT_FOUND, "No such file");
        return;
    }
    bool gzip = accepts_gzip(request);
    snprintf(tag, sizeof tag, "\"%s%s\"", page->hash, gzip ? "-gzip" : "");
    unsigned status = known_to_caller(request, tag) ? 304 : 200;
    respond_static(request, status, page->content_type, gzip ? page->gzip_body : page->body,
                   gzip ? page->gzip_len : page->len);
    if (gzip)
        respond_header(request, "Content-Encoding", "gzip");
    respond_header(request, "ETag", tag);
    respond_header(request, "Vary", "Accept-Encoding");
    respond_header(request, "Cache-Control",
                   page->is_page ? "no-cache" : "public, max-age=31536000, immutable");
    for (size_t i = 0; page->is_page && i < sizeof page_fields / sizeof *page_fields; i++)
        respond_header(request, page_fields[i].name, page_fields[i].value);
}
