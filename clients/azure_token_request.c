#include "azure_internal.h"

#include "percent.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

enum azure_source azure_identity_source(const struct azure_identity *identity)
{
    bool application = identity->tenant_id[0] != '\0' && identity->client_id[0] != '\0';

    if (application && identity->client_secret[0] != '\0')
        return AZURE_CLIENT_SECRET;
    if (application && identity->federated_token_file[0] != '\0')
        return AZURE_WORKLOAD_IDENTITY;
    if (identity->identity_endpoint[0] != '\0' && identity->identity_header[0] != '\0')
        return AZURE_APP_SERVICE;
    return AZURE_IMDS;
}

const char *azure_source_name(enum azure_source source)
{
    static const char *const names[] = {
        [AZURE_CLIENT_SECRET] = "client secret",
        [AZURE_WORKLOAD_IDENTITY] = "workload identity",
        [AZURE_APP_SERVICE] = "managed identity (App Service)",
        [AZURE_IMDS] = "managed identity (IMDS)",
    };
    return names[source];
}

/* --- secrets in buffers ------------------------------------------------------------------------ */

void azure_secret_free(struct buffer *text)
{
    if (text->data != NULL)
        OPENSSL_cleanse(text->data, text->cap);
    buffer_free(text);
}

/* Reads at most size bytes; more is -EFBIG. */
static long read_file(const char *path, char *out, size_t size)
{
    /* Without O_NONBLOCK the opening of a pipe would wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat info;
    size_t len = 0;
    ssize_t n = -1;

    if (fd < 0)
        return -EIO;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
        while ((n = read(fd, out + len, size - len)) > 0)
            if ((len += (size_t)n) == size)
                break;
    }
    close(fd);
    return n < 0 ? -EIO : n > 0 ? -EFBIG : (long)len;
}

int azure_assertion_read(const char *path, struct buffer *ret_text)
{
    struct buffer text = {0};

    if (buffer_reserve(&text, AZURE_ASSERTION_MAX + 1) != 0)
        return -ENOMEM;
    long len = read_file(path, text.data, AZURE_ASSERTION_MAX + 1);
    if (len < 0) {
        azure_secret_free(&text);
        return (int)len;
    }
    size_t start = 0, end = (size_t)len;
    while (end > 0 && isspace((unsigned char)text.data[end - 1]))
        end--;
    while (start < end && isspace((unsigned char)text.data[start]))
        start++;
    if (start == end) {
        azure_secret_free(&text);
        return -ENODATA;
    }
    memmove(text.data, text.data + start, end - start);
    text.len = end - start;
    *ret_text = text;
    return 0;
}

/* --- requests ---------------------------------------------------------------------------------- */

static void append_field(struct buffer *out, char separator, const char *name, const char *value, size_t len)
{
    if (separator != '\0')
        buffer_append_char(out, separator);
    buffer_append_text(out, name);
    buffer_append_char(out, '=');
    percent_encode(out, value, len);
}

static void append_scope(struct buffer *out, const char *resource)
{
    append_field(out, '&', "scope", resource, strlen(resource));
    percent_encode(out, "/.default", strlen("/.default"));
}

/* Client credentials at Entra's token endpoint. */
static void build_form(struct azure_token_request *request, const struct azure_identity *identity,
                       const char *resource, const char *assertion, size_t assertion_len)
{
    struct buffer *url = &request->url, *body = &request->body;
    size_t secret_len = strlen(identity->client_secret);

    request->method = "POST";
    buffer_append_text(url, identity->authority_host);
    buffer_append_char(url, '/');
    percent_encode(url, identity->tenant_id, strlen(identity->tenant_id));
    buffer_append_text(url, "/oauth2/v2.0/token");
    buffer_append_text(&request->header, "Content-Type: application/x-www-form-urlencoded");
    /* In one piece: memory that a growing buffer leaves behind would hold a part of the secret. */
    buffer_reserve(body,
                   3 * (secret_len + assertion_len + strlen(resource) + strlen(identity->client_id)) + 1024);
    append_field(body, '\0', "client_id", identity->client_id, strlen(identity->client_id));
    append_scope(body, resource);
    if (assertion != NULL) {
        append_field(body, '&', "client_assertion_type", ASSERTION_TYPE, strlen(ASSERTION_TYPE));
        append_field(body, '&', "client_assertion", assertion, assertion_len);
    } else {
        append_field(body, '&', "client_secret", identity->client_secret, secret_len);
    }
    buffer_append_text(body, "&grant_type=client_credentials");
}

/* A managed identity's endpoint, which wants the resource itself and not a scope. */
static void build_query(struct azure_token_request *request, const struct azure_identity *identity,
                        const char *endpoint, const char *path, const char *version, const char *resource)
{
    struct buffer *url = &request->url;

    request->method = "GET";
    buffer_append_text(url, endpoint);
    buffer_append_text(url, path);
    append_field(url, strchr(endpoint, '?') != NULL ? '&' : '?', "api-version", version, strlen(version));
    append_field(url, '&', "resource", resource, strlen(resource));
    if (identity->client_id[0] != '\0')
        append_field(url, '&', "client_id", identity->client_id, strlen(identity->client_id));
}

int azure_token_request_build(struct azure_token_request *request, const struct azure_identity *identity,
                              const char *resource, const char *assertion, size_t assertion_len)
{
    *request = (struct azure_token_request){0};
    switch (azure_identity_source(identity)) {
    case AZURE_CLIENT_SECRET: build_form(request, identity, resource, NULL, 0); break;
    case AZURE_WORKLOAD_IDENTITY: build_form(request, identity, resource, assertion, assertion_len); break;
    case AZURE_APP_SERVICE:
        build_query(request, identity, identity->identity_endpoint, "", "2019-08-01", resource);
        buffer_append_text(&request->header, "X-IDENTITY-HEADER: ");
        buffer_append_text(&request->header, identity->identity_header);
        break;
    case AZURE_IMDS:
        build_query(request, identity, identity->imds_host, "/metadata/identity/oauth2/token", "2018-02-01",
                    resource);
        buffer_append_text(&request->header, "Metadata: true");
        break;
    }
    bool ok = buffer_terminate(&request->url) != NULL && buffer_terminate(&request->header) != NULL &&
              !request->body.failed;
    return ok ? 0 : -ENOMEM;
}

void azure_token_request_free(struct azure_token_request *request)
{
    azure_secret_free(&request->url);
    azure_secret_free(&request->header);
    azure_secret_free(&request->body);
}
