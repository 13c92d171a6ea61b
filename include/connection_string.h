/*
 * connection_string.h - Cosmos DB and IoT Hub connection strings, and upstream base URLs.
 *
 * Pieces are split on `;`, each on its first `=`. Names compare without case; an unknown name is ignored, a
 * missing, empty or repeated one that we need is an error that names it (never its value). Bounded to 4096
 * bytes.
 */
#ifndef TELEMETRYD_CONNECTION_STRING_H
#define TELEMETRYD_CONNECTION_STRING_H

#include <stdbool.h>
#include <stddef.h>

#define UPSTREAM_KEY_MAX 256 /* decoded key bytes */

struct cosmos_account_settings {
    char endpoint[512]; /* scheme://host[:port] without a trailing slash; path not allowed */
    unsigned char key[UPSTREAM_KEY_MAX];
    size_t key_len;
};

struct iothub_settings {
    char host[256];
    char policy[128]; /* SharedAccessKeyName */
    unsigned char key[UPSTREAM_KEY_MAX];
    size_t key_len;
};

/* On an error return false and write what is wrong (fit for a message that names the setting) into message. A
 * Cosmos endpoint is checked but for the rule on http, which the caller settles with upstream_url_check(). */
bool cosmos_connection_parse(const char *text, struct cosmos_account_settings *ret, char *message,
                             size_t message_size);
bool iothub_connection_parse(const char *text, struct iothub_settings *ret, char *message,
                             size_t message_size);

/* The hub's host alone: a name, and for test doubles a port. */
bool iothub_host_valid(const char *host);

/* Checks a base URL and writes it without a trailing slash. http is taken on loopback (127.0.0.0/8, ::1,
 * localhost) or where allow_http; user info, query, fragment and a path are refused. */
bool upstream_url_check(const char *url, bool allow_http, char *out, size_t out_size, char *message,
                        size_t message_size);

enum url_http { URL_HTTP_ON_LOOPBACK, URL_HTTP_ON_LINK_LOCAL, URL_HTTP_ANYWHERE };

/* What else than scheme://host[:port] a URL may have; user info and a fragment are always refused. */
struct url_rules {
    enum url_http http; /* link-local, 169.254.0.0/16, includes loopback */
    bool path, query;
    const char *http_refused; /* the message where http is not taken */
};

/* Checks a URL by its rules and writes it, the scheme in lower case and without a path of a slash alone. */
bool upstream_url_read(const char *url, const struct url_rules *rules, char *out, size_t out_size,
                       char *message, size_t message_size);

/* A host of RFC 952 and 1123 letters, digits, '-' and '.' ('_' too: container networks use it), at most 253
 * bytes; one of digits and dots alone must be an IPv4 address. */
bool host_name_valid(const char *text, size_t len);

#endif
