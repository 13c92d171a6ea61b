#include "routes.h"

#include <string.h>
#include <strings.h>

#define DEVICE_ID "{deviceId}"
#define ANY       "{file}"

/* The path of an absolute-form target (RFC 9112, 3.2.2); NULL for what is neither form. */
static const char *path_of(const char *target)
{
    static const char *const schemes[] = {"http://", "https://"};

    if (target[0] == '/')
        return target;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t len = strlen(schemes[i]);
        if (strncasecmp(target, schemes[i], len) != 0)
            continue;
        size_t authority = strcspn(target + len, "/?");
        if (authority == 0)
            return NULL;
        return target[len + authority] == '/' ? target + len + authority : "/";
    }
    return NULL;
}

static size_t segment_length(const char *text)
{
    return strcspn(text, "/?");
}

/* A literal segment may be percent-encoded by its sender (RFC 3986, 6.2.2.2). */
static bool same_segment(const char *segment, size_t len, const char *literal, size_t literal_len)
{
    char decoded[64];
    if (len == literal_len && memcmp(segment, literal, len) == 0)
        return true;
    if (len <= literal_len || len >= sizeof decoded)
        return false;
    long n = percent_decode(segment, len, decoded);
    return n == (long)literal_len && memcmp(decoded, literal, literal_len) == 0;
}

static bool is(const char *segment, size_t len, const char *placeholder)
{
    return len == strlen(placeholder) && memcmp(segment, placeholder, len) == 0;
}

/* Compares segment by segment; *ret_device is the raw segment of the placeholder, or untouched. */
static bool matches(const char *template, const char *path, const char **ret_device, size_t *ret_device_len)
{
    for (;;) {
        template ++; /* both stand on a slash */
        path++;
        size_t want = segment_length(template), have = segment_length(path);
        if (is(template, want, DEVICE_ID)) {
            *ret_device = path;
            *ret_device_len = have;
        } else if (!is(template, want, ANY) && !same_segment(path, have, template, want)) {
            return false;
        }
        template += want;
        path += have;
        if (*template != '/' || *path != '/')
            return *template == '\0' && *path != '/';
    }
}

void route_match(const char *target, struct route_match *ret)
{
    *ret = (struct route_match){.kind = ROUTE_BAD_TARGET};
    const char *path = path_of(target);
    if (path == NULL)
        return;
    ret->kind = ROUTE_NO_MATCH;
    ret->path = path;
    const char *query = strchr(target, '?');
    ret->query = query != NULL ? query + 1 : NULL;
    for (size_t i = 0; i < routes_count; i++) {
        const char *device = NULL;
        size_t device_len = 0;
        if (!matches(routes[i].template, path, &device, &device_len))
            continue;
        ret->first = i;
        ret->kind = device == NULL || device_id_from_segment(device, device_len, ret->device_id)
                        ? ROUTE_MATCH
                        : ROUTE_BAD_DEVICE_ID;
        return;
    }
}

static bool same_template(size_t a, size_t b)
{
    return b < routes_count && strcmp(routes[a].template, routes[b].template) == 0;
}

const struct route *route_for_method(size_t first, const char *method)
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    for (size_t i = first; same_template(first, i); i++)
        if (strcmp(routes[i].method, wanted) == 0)
            return &routes[i];
    return NULL;
}

void route_allow(size_t first, unsigned without, struct buffer *out)
{
    for (size_t i = first; same_template(first, i); i++) {
        if ((routes[i].flags & without) != 0)
            continue;
        buffer_printf(out, "%s, ", routes[i].method);
        if (strcmp(routes[i].method, "GET") == 0)
            buffer_append_text(out, "HEAD, ");
    }
    buffer_append_text(out, "OPTIONS");
}

size_t route_state_size(size_t first)
{
    size_t size = 0;
    for (size_t i = first; same_template(first, i); i++)
        if (routes[i].state_size > size)
            size = routes[i].state_size;
    return size;
}

void routes_print(struct buffer *out)
{
    buffer_append_char(out, '[');
    for (size_t i = 0; i < routes_count; i++) {
        buffer_printf(out,
                      "%s{\"method\":\"%s\",\"path\":\"%s\",\"operationId\":\"%s\",\"permission\":\"%s\","
                      "\"parameters\":[",
                      i > 0 ? "," : "", routes[i].method, routes[i].template, routes[i].operation_id,
                      permission_name(routes[i].permission));
        for (const struct param *p = routes[i].params; p != NULL && p->name != NULL; p++)
            buffer_printf(out, "%s\"%s\"", p > routes[i].params ? "," : "", p->name);
        buffer_printf(out, "],\"page\":%s}", (routes[i].flags & ROUTE_PAGE) != 0 ? "true" : "false");
    }
    buffer_append_text(out, "]\n");
}
