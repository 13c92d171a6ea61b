#include "cosmos_internal.h"

#include "clock.h"
#include "time_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Where the directory does not know the account itself, as is the rule, this resource stands for all
 * accounts. */
#define ANY_ACCOUNT "https://cosmos.azure.com"

void cosmos_authorizer_resource(const char *endpoint, char out[COSMOS_URL_SIZE])
{
    size_t len = strnlen(endpoint, COSMOS_URL_SIZE - 1);
    const char *port = strncmp(endpoint, "https:", 6) == 0 ? ":443" : ":80";
    size_t port_len = strlen(port);

    if (len > port_len && memcmp(endpoint + len - port_len, port, port_len) == 0)
        len -= port_len;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)tolower((unsigned char)endpoint[i]);
    out[len] = '\0';
}

int cosmos_authorizer_init(struct cosmos_authorizer *authorizer,
                           const struct cosmos_account_settings *settings, struct azure_agent *azure)
{
    char resource[COSMOS_URL_SIZE];

    if (settings->key_len > 0)
        return cosmos_signer_new(settings->key, settings->key_len, &authorizer->signer);
    if (azure == NULL)
        return -EINVAL;
    _Static_assert(sizeof settings->endpoint <= COSMOS_URL_SIZE, "an endpoint must fit");
    cosmos_authorizer_resource(settings->endpoint, resource);
    /* Not percent-encoded, unlike a signature (azure-protocols 1.3). */
    return azure_token_open(azure, resource, ANY_ACCOUNT,
                            "Authorization: type=aad&ver=1.0&sig=", &authorizer->token);
}

static int authorize_with_token(const struct cosmos_authorizer *authorizer, struct cosmos_authorization *ret)
{
    char date[TIME_RFC1123_SIZE];

    ret->authorization = azure_token_get(authorizer->token, clock_monotonic_ms(), &ret->generation);
    if (ret->authorization == NULL)
        return -EAGAIN;
    time_format_rfc1123(clock_wall_s(), date);
    snprintf(ret->date, sizeof ret->date, "x-ms-date: %s", date);
    return 0;
}

int cosmos_authorize(const struct cosmos_authorizer *authorizer, const char *verb, const char *resource_type,
                     const char *resource_link, struct cosmos_authorization *ret)
{
    if (authorizer->token != NULL)
        return authorize_with_token(authorizer, ret);
    const struct cosmos_signature *signature =
        cosmos_sign(authorizer->signer, verb, resource_type, resource_link, clock_wall_s());
    if (signature == NULL)
        return -ENOMEM;
    snprintf(ret->signature, sizeof ret->signature, "Authorization: %s", signature->authorization);
    snprintf(ret->date, sizeof ret->date, "x-ms-date: %s", signature->date);
    ret->authorization = ret->signature;
    ret->generation = 0;
    return 0;
}
