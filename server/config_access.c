#include "config_table.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char http_on_loopback[] = "http:// is taken on loopback only";

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_printable(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    }
    return true;
}

static bool has_controls(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    }
    return false;
}

/* --- lists ------------------------------------------------------------------------------------- */

/* What is wrong with a piece of a list; NULL: nothing. */
typedef const char *piece_check(const char *text, size_t len);

/* Stores a comma-separated list without the blanks around its pieces. */
static bool store_list(const struct setting *setting, const char *text, piece_check *check,
                       struct config *config, char *wrong, size_t wrong_size)
{
    char list[sizeof config->cors_origins];
    size_t len = 0;

    for (;; text++) {
        size_t piece = strcspn(text, ",");
        const char *end = text + piece, *rest = end;
        while (text < end && is_blank(*text))
            text++;
        while (text < end && is_blank(end[-1]))
            end--;
        piece = (size_t)(end - text);
        const char *fault = piece == 0 ? "a piece between commas is empty" : check(text, piece);
        if (fault == NULL && len + piece + 1 > setting->size)
            fault = "the list is too long";
        if (fault != NULL)
            return config_value_wrong(wrong, wrong_size, "%s; give %s", fault, setting->accepted);
        memcpy(list + len, text, piece);
        len += piece;
        list[len++] = *rest == ',' ? ',' : '\0';
        text = rest;
        if (*rest == '\0')
            break;
    }
    memcpy(config_value_field(setting, config), list, len);
    return true;
}

static const char *check_audience(const char *text, size_t len)
{
    return is_printable(text, len) ? NULL : "an audience is printable ASCII without blanks";
}

bool parse_audience(const struct setting *setting, const char *text, struct config *config, char *wrong,
                    size_t wrong_size)
{
    return store_list(setting, text, check_audience, config, wrong, wrong_size);
}

/* An IPv6 address as browsers write it: shortest form, lower case. */
static bool is_written_ipv6(const char *text, size_t len)
{
    char address[INET6_ADDRSTRLEN], written[INET6_ADDRSTRLEN];
    struct in6_addr parsed;

    if (len >= sizeof address)
        return false;
    memcpy(address, text, len);
    address[len] = '\0';
    return inet_pton(AF_INET6, address, &parsed) == 1 &&
           inet_ntop(AF_INET6, &parsed, written, sizeof written) != NULL && strcmp(address, written) == 0;
}

static const char *check_origin_port(const char *text, size_t len, unsigned implied)
{
    unsigned port = 0;

    if (len > 5 || len == 0 || text[0] == '0')
        return "the port of an origin is one of 1 to 65535";
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return "an origin has no path, not even a slash, and its port is a number";
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    if (port > 65535)
        return "the port of an origin is one of 1 to 65535";
    return port == implied ? "browsers leave the scheme's own port out, so this would never match" : NULL;
}

/* Origins are compared byte by byte with what browsers send (WHATWG HTML, serialization of an origin), so
 * what no browser sends is a mistake. */
static const char *check_origin(const char *text, size_t len)
{
    static const char http[] = "http://", https[] = "https://";
    const char *end = text + len, *host, *host_end;

    if (strncmp(text, http, sizeof http - 1) == 0)
        host = text + sizeof http - 1;
    else if (strncmp(text, https, sizeof https - 1) == 0)
        host = text + sizeof https - 1;
    else
        return "an origin begins with http:// or https://, in lower case";
    if (memchr(host, '*', (size_t)(end - host)) != NULL)
        return "wildcards are not taken";
    if (memchr(host, '/', (size_t)(end - host)) != NULL)
        return "an origin has no path, not even a slash";
    for (const char *at = host; at < end; at++) {
        if (*at >= 'A' && *at <= 'Z')
            return "browsers send an origin's host in lower case";
    }
    if (*host == '[') {
        host_end = memchr(host, ']', (size_t)(end - host));
        if (host_end == NULL || !is_written_ipv6(host + 1, (size_t)(host_end - host - 1)))
            return "the host is no IPv6 address as browsers write it";
        host_end++;
    } else {
        host_end = memchr(host, ':', (size_t)(end - host));
        if (host_end == NULL)
            host_end = end;
        if (!host_name_valid(host, (size_t)(host_end - host)))
            return "the host is not a name, an IPv4 address or an IPv6 address in brackets";
    }
    if (host_end == end)
        return NULL;
    if (*host_end != ':')
        return "the host is not a name, an IPv4 address or an IPv6 address in brackets";
    return check_origin_port(host_end + 1, (size_t)(end - host_end - 1), text[4] == 's' ? 443 : 80);
}

bool parse_origins(const struct setting *setting, const char *text, struct config *config, char *wrong,
                   size_t wrong_size)
{
    return store_list(setting, text, check_origin, config, wrong, wrong_size);
}

bool parse_networks(const struct setting *setting, const char *text, struct config *config, char *wrong,
                    size_t wrong_size)
{
    return network_list_parse(text, config_value_field(setting, config)) ||
           config_value_refuse(setting, wrong, wrong_size);
}

/* --- tokens ------------------------------------------------------------------------------------ */

bool parse_auth(const struct setting *setting, const char *text, struct config *config, char *wrong,
                size_t wrong_size)
{
    if (strcmp(text, "jwt") == 0)
        config->auth = AUTH_JWT;
    else if (strcmp(text, "none") == 0)
        config->auth = AUTH_NONE;
    else
        return config_value_refuse(setting, wrong, wrong_size);
    return true;
}

/* What kind of a text it must be depends on the other settings (config_check.c). */
bool parse_issuer(const struct setting *setting, const char *text, struct config *config, char *wrong,
                  size_t wrong_size)
{
    if (!is_printable(text, strlen(text)))
        return config_value_refuse(setting, wrong, wrong_size);
    return config_value_store(setting, text, config, wrong, wrong_size);
}

bool parse_jwks(const struct setting *setting, const char *text, struct config *config, char *wrong,
                size_t wrong_size)
{
    static const struct url_rules rules = {.path = true, .query = true, .http_refused = http_on_loopback};

    if (strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0)
        return upstream_url_read(text, &rules, config_value_field(setting, config), setting->size, wrong,
                                 wrong_size);
    return parse_readable_file(setting, text, config, wrong, wrong_size);
}

bool parse_claim(const struct setting *setting, const char *text, struct config *config, char *wrong,
                 size_t wrong_size)
{
    if (has_controls(text))
        return config_value_refuse(setting, wrong, wrong_size);
    return config_value_store(setting, text, config, wrong, wrong_size);
}

/* --- fair use ---------------------------------------------------------------------------------- */

bool parse_rate(const struct setting *setting, const char *text, struct config *config, char *wrong,
                size_t wrong_size)
{
    unsigned value = 0;
    size_t digits = strspn(text, "0123456789");

    if (strcmp(text, "off") == 0) {
        config->rate_limit = 0;
        config->rate_limit_window_s = 1;
        return true;
    }
    if (digits > 0 && digits <= 7)
        value = (unsigned)strtoul(text, NULL, 10);
    bool second = strcmp(text + digits, "/s") == 0;
    if ((!second && strcmp(text + digits, "/m") != 0) || value < setting->least || value > setting->most)
        return config_value_refuse(setting, wrong, wrong_size);
    config->rate_limit = value;
    config->rate_limit_window_s = second ? 1 : 60;
    return true;
}

/* --- credentials for Azure --------------------------------------------------------------------- */

/* A tenant or a client: a GUID, a tenant also by one of its domains. It becomes a piece of a URL's path. */
bool parse_identifier(const struct setting *setting, const char *text, struct config *config, char *wrong,
                      size_t wrong_size)
{
    static const char taken[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-";

    if (text[strspn(text, taken)] != '\0' || text[strspn(text, ".")] == '\0')
        return config_value_refuse(setting, wrong, wrong_size);
    return config_value_store(setting, text, config, wrong, wrong_size);
}

/* It goes into a form or a header field. */
bool parse_secret(const struct setting *setting, const char *text, struct config *config, char *wrong,
                  size_t wrong_size)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at < ' ' || *at > '~')
            return config_value_refuse(setting, wrong, wrong_size);
    }
    return config_value_store(setting, text, config, wrong, wrong_size);
}

/* A host without a scheme is taken as Microsoft's clients for Python take it. */
bool parse_authority(const struct setting *setting, const char *text, struct config *config, char *wrong,
                     size_t wrong_size)
{
    static const struct url_rules rules = {.path = true, .http_refused = http_on_loopback};
    char url[sizeof config->azure.authority_host + sizeof "https://"];
    char *authority = config_value_field(setting, config);

    if (strlen(text) >= setting->size)
        return config_value_wrong(wrong, wrong_size, "the URL is too long");
    snprintf(url, sizeof url, "%s%s", strstr(text, "://") == NULL ? "https://" : "", text);
    if (!upstream_url_read(url, &rules, authority, setting->size, wrong, wrong_size))
        return false;
    for (size_t len = strlen(authority); authority[len - 1] == '/';)
        authority[--len] = '\0';
    return true;
}

bool parse_identity_endpoint(const struct setting *setting, const char *text, struct config *config,
                             char *wrong, size_t wrong_size)
{
    static const struct url_rules rules = {
        .http = URL_HTTP_ON_LINK_LOCAL,
        .path = true,
        .http_refused = "http:// is taken on loopback and link-local (169.254.0.0/16) addresses only"};

    return upstream_url_read(text, &rules, config_value_field(setting, config), setting->size, wrong,
                             wrong_size);
}

bool parse_imds_host(const struct setting *setting, const char *text, struct config *config, char *wrong,
                     size_t wrong_size)
{
    static const struct url_rules rules = {.http = URL_HTTP_ANYWHERE};

    return upstream_url_read(text, &rules, config_value_field(setting, config), setting->size, wrong,
                             wrong_size);
}
