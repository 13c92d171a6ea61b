#include "key_internal.h"

#include "connection_string.h"
#include "json_tree.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISCOVERY_PATH "/.well-known/openid-configuration"

char *key_discovery_url(const char *issuer)
{
    size_t len = strlen(issuer);
    char *url;

    if (len > 0 && issuer[len - 1] == '/')
        len--;
    return asprintf(&url, "%.*s" DISCOVERY_PATH, (int)len, issuer) >= 0 ? url : NULL;
}

/* https, or http on loopback; path and query as the issuer likes. */
static bool may_be_fetched(const char *url)
{
    char origin[512], out[512], message[128];
    const char *scheme_end = strstr(url, "://");

    if (scheme_end == NULL || strlen(url) > KEY_URL_MAX)
        return false;
    size_t len = (size_t)(scheme_end - url) + 3;
    len += strcspn(url + len, "/?#\\");
    if (len >= sizeof origin)
        return false;
    memcpy(origin, url, len);
    origin[len] = '\0';
    for (size_t i = 0; url[i] != '\0'; i++)
        if (url[i] <= ' ' || url[i] >= 0x7f || url[i] == '#' || url[i] == '\\')
            return false;
    return upstream_url_check(origin, false, out, sizeof out, message, sizeof message);
}

static const char *read_members(const json_t *document, const char *issuer, char **ret_uri)
{
    const json_t *said = json_object_get(document, "issuer");
    const char *uri = json_string_value(json_object_get(document, "jwks_uri"));

    if (!json_is_string(said) || uri == NULL)
        return "not a discovery document";
    if (json_string_length(said) != strlen(issuer) || strcmp(json_string_value(said), issuer) != 0)
        return "another issuer";
    if (!may_be_fetched(uri))
        return "jwks_uri is not https";
    char *copy = strdup(uri);
    if (copy == NULL)
        return "out of memory";
    *ret_uri = copy;
    return NULL;
}

const char *key_discovery_read(const char *text, size_t len, const char *issuer, char **ret_uri)
{
    json_t *document;
    int r = json_tree_load(text, len, &document);

    if (r != 0)
        return r == -ENOMEM ? "out of memory" : "not a discovery document";
    const char *fault = read_members(document, issuer, ret_uri);
    json_decref(document);
    return fault;
}
