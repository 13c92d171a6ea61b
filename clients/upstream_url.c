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

/* Returns what is wrong, or NULL. */
static const char *check(const char *rest, size_t len, bool http, bool allow_http)
{
    struct authority a;

    if (memchr(rest, '@', len) != NULL)
        return "user information is not taken in a URL";
    if (strpbrk(rest, "?#") != NULL)
        return "a query or a fragment is not taken";
    if (rest[len] == '/' && rest[len + 1] != '\0')
        return "a path is not taken";
    if (!split_authority(rest, len, &a) || !host_valid(&a))
        return "the host is not a name, an IPv4 address or an IPv6 address in brackets";
    if (a.port != NULL && !port_valid(a.port, a.port_len))
        return "the port is not one of 1 to 65535";
    if (http && !allow_http && !is_loopback(&a))
        return "http:// is taken on loopback, elsewhere only with TELEMETRYD_ALLOW_HTTP_UPSTREAM=1";
    return NULL;
}

bool upstream_url_check(const char *url, bool allow_http, char *out, size_t out_size, char *message,
                        size_t message_size)
{
    bool http = strncasecmp(url, "http://", 7) == 0;
    const char *wrong;

    if (!http && strncasecmp(url, "https://", 8) != 0) {
        wrong = "a URL begins with https:// or http://";
    } else {
        const char *rest = url + (http ? 7 : 8);
        size_t len = strcspn(rest, "/");
        wrong = check(rest, len, http, allow_http);
        if (wrong == NULL) {
            const char *scheme = http ? "http://" : "https://";
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
