#include "connection_string.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Copies a run of bytes as text; false where it does not fit. */
static bool copy(const char *text, size_t len, char *out, size_t out_size)
{
    if (len >= out_size)
        return false;
    memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

static bool is_ipv4(const char *text, size_t len, struct in_addr *ret)
{
    char address[INET_ADDRSTRLEN];
    return copy(text, len, address, sizeof address) && inet_pton(AF_INET, address, ret) == 1;
}

static bool is_ipv6(const char *text, size_t len, struct in6_addr *ret)
{
    char address[INET6_ADDRSTRLEN];
    return copy(text, len, address, sizeof address) && inet_pton(AF_INET6, address, ret) == 1;
}

bool host_name_valid(const char *text, size_t len)
{
    struct in_addr address;
    bool numeric = true;
    size_t label = 0;

    if (len == 0 || len > 253)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '.') {
            if (label == 0 || text[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        if (!is_alnum(c) && c != '_' && (c != '-' || label == 0))
            return false;
        if (c < '0' || c > '9')
            numeric = false;
        if (++label > 63)
            return false;
    }
    if (label == 0 || text[len - 1] == '-')
        return false;
    return !numeric || is_ipv4(text, len, &address);
}

/* The pieces of an authority, inside the URL. */
struct authority {
    const char *host; /* without brackets */
    size_t host_len;
    bool bracketed;
    const char *port; /* after the colon; NULL where there is none */
    size_t port_len;
};

static bool split_authority(const char *text, size_t len, struct authority *ret)
{
    struct authority a = {0};
    const char *end = text + len;
    const char *rest;

    if (len > 0 && text[0] == '[') {
        const char *close = memchr(text, ']', len);
        if (close == NULL)
            return false;
        a.bracketed = true;
        a.host = text + 1;
        a.host_len = (size_t)(close - a.host);
        rest = close + 1;
    } else {
        const char *colon = memchr(text, ':', len);
        rest = colon != NULL ? colon : end;
        a.host = text;
        a.host_len = (size_t)(rest - text);
    }
    if (rest < end) {
        if (*rest != ':')
            return false;
        a.port = rest + 1;
        a.port_len = (size_t)(end - a.port);
    }
    *ret = a;
    return true;
}

static bool host_valid(const struct authority *a)
{
    struct in6_addr address;
    return a->bracketed ? is_ipv6(a->host, a->host_len, &address) : host_name_valid(a->host, a->host_len);
}

static bool port_valid(const char *text, size_t len)
{
    unsigned port = 0;
    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return port >= 1 && port <= 65535;
}

static bool is_loopback(const struct authority *a)
{
    static const char name[] = "localhost";
    struct in_addr ipv4;
    struct in6_addr ipv6;

    if (a->bracketed)
        return is_ipv6(a->host, a->host_len, &ipv6) && IN6_IS_ADDR_LOOPBACK(&ipv6);
    if (is_ipv4(a->host, a->host_len, &ipv4))
        return ntohl(ipv4.s_addr) >> 24 == 127;
    return a->host_len == sizeof name - 1 && strncasecmp(a->host, name, a->host_len) == 0;
}

/* 169.254.0.0/16, where a platform's own services live. */
static bool is_link_local(const struct authority *a)
{
    struct in_addr ipv4;
    return !a->bracketed && is_ipv4(a->host, a->host_len, &ipv4) && ntohl(ipv4.s_addr) >> 16 == 0xa9fe;
}

static bool http_allowed(const struct url_rules *rules, const struct authority *a)
{
    return rules->http == URL_HTTP_ANYWHERE || is_loopback(a) ||
           (rules->http == URL_HTTP_ON_LINK_LOCAL && is_link_local(a));
}

/* What may stand behind the authority: no blanks or control characters, nor what some readers take for a
 * slash. */
static bool tail_valid(const char *tail)
{
    for (; *tail != '\0'; tail++) {
        if (*tail < 0x21 || *tail > 0x7e || strchr("\\\"<>", *tail) != NULL)
            return false;
    }
    return true;
}

/* rest: behind the scheme; its first len bytes are the authority. Returns what is wrong, or NULL. */
static const char *check(const char *rest, size_t len, bool http, const struct url_rules *rules)
{
    struct authority a;

    if (memchr(rest, '@', strcspn(rest, "/")) != NULL)
        return "user information is not taken in a URL";
    if (strchr(rest, '#') != NULL || (!rules->query && strchr(rest, '?') != NULL))
        return rules->query ? "a fragment is not taken" : "a query or a fragment is not taken";
    if (!rules->path && rest[len] == '/' && rest[len + 1] != '\0')
        return "a path is not taken";
    if (!split_authority(rest, len, &a) || !host_valid(&a))
        return "the host is not a name, an IPv4 address or an IPv6 address in brackets";
    if (a.port != NULL && !port_valid(a.port, a.port_len))
        return "the port is not one of 1 to 65535";
    if (!tail_valid(rest + len))
        return "a path or query has printable ASCII without blanks, quotes, \\, < and >";
    if (http && !http_allowed(rules, &a))
        return rules->http_refused;
    return NULL;
}

bool upstream_url_read(const char *url, const struct url_rules *rules, char *out, size_t out_size,
                       char *message, size_t message_size)
{
    bool http = strncasecmp(url, "http://", 7) == 0;
    const char *wrong;

    if (!http && strncasecmp(url, "https://", 8) != 0) {
        wrong = "a URL begins with https:// or http://";
    } else {
        const char *rest = url + (http ? 7 : 8);
        size_t authority = strcspn(rest, "/?#");
        wrong = check(rest, authority, http, rules);
        if (wrong == NULL) {
            const char *scheme = http ? "http://" : "https://";
            size_t len = strlen(rest);
            if (strcmp(rest + authority, "/") == 0)
                len--;
            if (strlen(scheme) + len < out_size) {
                snprintf(out, out_size, "%s%.*s", scheme, (int)len, rest);
                return true;
            }
            wrong = "the URL is too long";
        }
    }
    snprintf(message, message_size, "%s", wrong);
    return false;
}

bool upstream_url_check(const char *url, bool allow_http, char *out, size_t out_size, char *message,
                        size_t message_size)
{
    const struct url_rules rules = {
        .http = allow_http ? URL_HTTP_ANYWHERE : URL_HTTP_ON_LOOPBACK,
        .http_refused = "http:// is taken on loopback, elsewhere only with TELEMETRYD_ALLOW_HTTP_UPSTREAM=1",
    };
    return upstream_url_read(url, &rules, out, out_size, message, message_size);
}
