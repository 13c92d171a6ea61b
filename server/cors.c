#include "cors.h"

#include <stddef.h>
#include <string.h>

const char cors_exposed_headers[] = "x-request-id, Link, ETag, Retry-After, RateLimit, RateLimit-Policy";
const char cors_allowed_headers[] = "authorization, content-type, x-request-id, if-none-match, last-event-id";
const char cors_max_age[] = "7200"; /* the most that Chromium honours */

bool cors_origin_allowed(const char *origins, const char *origin)
{
    if (origin == NULL || *origin == '\0')
        return false;
    size_t len = strlen(origin);
    for (const char *piece = origins; *piece != '\0';) {
        piece += strspn(piece, ", \t");
        size_t piece_len = strcspn(piece, ", \t");
        if (piece_len == len && memcmp(piece, origin, len) == 0)
            return true;
        piece += piece_len;
    }
    return false;
}

bool cors_is_preflight(const char *method, const char *origin, const char *request_method)
{
    return strcmp(method, "OPTIONS") == 0 && origin != NULL && *origin != '\0' && request_method != NULL &&
           *request_method != '\0';
}
