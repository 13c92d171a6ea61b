#include "connection_string.h"

#include "base64.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define TEXT_MAX 4096

/* One `Name=value` that we need. */
struct piece {
    const char *name;
    const char *value; /* inside the text; NULL until found */
    size_t len;
};

/* Where to say what is wrong; never a value. */
struct complaint {
    char *message;
    size_t size;
};

static bool __attribute__((format(printf, 2, 3))) refuse(const struct complaint *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->message, c->size, format, args);
    va_end(args);
    return false;
}

static bool name_equals(const char *name, const char *text, size_t len)
{
    return strlen(name) == len && strncasecmp(name, text, len) == 0;
}

static bool take_piece(const char *text, size_t len, struct piece *pieces, size_t count,
                       const struct complaint *c)
{
    const char *equals = memchr(text, '=', len);
    if (equals == NULL)
        return refuse(c, "a piece between semicolons is not Name=value");
    for (size_t i = 0; i < count; i++) {
        if (!name_equals(pieces[i].name, text, (size_t)(equals - text)))
            continue;
        if (pieces[i].value != NULL)
            return refuse(c, "%s is given twice", pieces[i].name);
        pieces[i].value = equals + 1;
        pieces[i].len = (size_t)(text + len - pieces[i].value);
        if (pieces[i].len == 0)
            return refuse(c, "%s is empty", pieces[i].name);
    }
    return true;
}

static bool split(const char *text, struct piece *pieces, size_t count, const struct complaint *c)
{
    if (strnlen(text, TEXT_MAX + 1) > TEXT_MAX)
        return refuse(c, "longer than %d bytes", TEXT_MAX);
    while (*text != '\0') {
        size_t len = strcspn(text, ";");
        if (len > 0 && !take_piece(text, len, pieces, count, c))
            return false;
        text += len;
        if (*text == ';')
            text++;
    }
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].value == NULL)
            return refuse(c, "%s is missing", pieces[i].name);
    }
    return true;
}

static bool copy_value(const struct piece *piece, char *out, size_t size, const struct complaint *c)
{
    if (piece->len >= size)
        return refuse(c, "%s is longer than %zu bytes", piece->name, size - 1);
    memcpy(out, piece->value, piece->len);
    out[piece->len] = '\0';
    return true;
}

static bool decode_key(const struct piece *piece, unsigned char key[UPSTREAM_KEY_MAX], size_t *ret_len,
                       const struct complaint *c)
{
    long len = base64_decode(piece->value, piece->len, key, UPSTREAM_KEY_MAX);
    if (len <= 0)
        return refuse(c, "%s is not base64 of 1 to %d bytes", piece->name, UPSTREAM_KEY_MAX);
    *ret_len = (size_t)len;
    return true;
}

bool cosmos_connection_parse(const char *text, struct cosmos_account_settings *ret, char *message,
                             size_t message_size)
{
    const struct complaint c = {message, message_size};
    struct piece pieces[] = {{.name = "AccountEndpoint"}, {.name = "AccountKey"}};
    struct cosmos_account_settings account = {0};
    char url[sizeof account.endpoint];
    char wrong[128];

    bool good =
        split(text, pieces, 2, &c) && copy_value(&pieces[0], url, sizeof url, &c) &&
        (upstream_url_check(url, true, account.endpoint, sizeof account.endpoint, wrong, sizeof wrong) ||
         refuse(&c, "AccountEndpoint: %s", wrong)) &&
        decode_key(&pieces[1], account.key, &account.key_len, &c);
    if (good)
        *ret = account;
    explicit_bzero(&account, sizeof account);
    return good;
}

/* name or name:port, as the host of a URL and the resource of a SAS token. */
bool iothub_host_valid(const char *host)
{
    char url[512];
    char out[512];
    char wrong[128];
    size_t name_len = strcspn(host, ":");

    if (!host_name_valid(host, name_len))
        return false;
    if (host[name_len] == '\0')
        return true;
    snprintf(url, sizeof url, "https://%s", host);
    return strchr(host, '/') == NULL && upstream_url_check(url, false, out, sizeof out, wrong, sizeof wrong);
}

static bool printable(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < 0x20 || *text > 0x7e)
            return false;
    }
    return true;
}

bool iothub_connection_parse(const char *text, struct iothub_settings *ret, char *message,
                             size_t message_size)
{
    const struct complaint c = {message, message_size};
    struct piece pieces[] = {
        {.name = "HostName"}, {.name = "SharedAccessKeyName"}, {.name = "SharedAccessKey"}};
    struct iothub_settings hub = {0};

    bool good = split(text, pieces, 3, &c) && copy_value(&pieces[0], hub.host, sizeof hub.host, &c) &&
                (iothub_host_valid(hub.host) || refuse(&c, "HostName is not a host name")) &&
                copy_value(&pieces[1], hub.policy, sizeof hub.policy, &c) &&
                (printable(hub.policy) || refuse(&c, "SharedAccessKeyName is not printable ASCII")) &&
                decode_key(&pieces[2], hub.key, &hub.key_len, &c);
    if (good)
        *ret = hub;
    explicit_bzero(&hub, sizeof hub);
    return good;
}
