#include "azure_internal.h"

#include "json.h"
#include "retry.h"
#include "time_text.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    DEPTH_MAX = 16,
    TIME_SIZE = 64,
    UNKNOWN_RESOURCE = 500011, /* invalid_resource: the directory has no such service principal */
};

#define ANY_SOURCE -1

static const char *body_of(const struct http_answer *http)
{
    return http->body.data != NULL ? http->body.data + http->body_start : "";
}

/* What a status means. The first row that fits decides; the rest is UPSTREAM_UNAVAILABLE and stands. */
static const struct {
    unsigned from, to;
    int source;
    enum upstream_status status;
    bool retry, patient;
} meanings[] = {
    {400, 401, ANY_SOURCE, UPSTREAM_UNAUTHORIZED, false, false},
    {403, 403, ANY_SOURCE, UPSTREAM_UNAUTHORIZED, false, false},
    {404, 404, AZURE_IMDS, UPSTREAM_UNAVAILABLE, true, false}, /* it is being updated */
    {410, 410, AZURE_IMDS, UPSTREAM_UNAVAILABLE, true, true},  /* the same, for up to 70 seconds */
    {408, 408, ANY_SOURCE, UPSTREAM_UNAVAILABLE, true, false},
    {429, 429, ANY_SOURCE, UPSTREAM_THROTTLED, true, false},
    {500, 599, ANY_SOURCE, UPSTREAM_UNAVAILABLE, true, false},
};

/* --- times ------------------------------------------------------------------------------------- */

/* Decimal digits, and a fraction that counts for nothing. */
static bool whole_number(const char *text, int64_t *ret)
{
    int64_t value = 0;

    if (*text < '0' || *text > '9')
        return false;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (value > INT64_MAX / 100)
            return false;
        value = value * 10 + (*text - '0');
    }
    if (*text == '.')
        text += 1 + strspn(text + 1, "0123456789");
    if (*text != '\0')
        return false;
    *ret = value;
    return true;
}

/* A number, be it one or a string of one. */
static bool number(struct json_slice value, char text[TIME_SIZE], int64_t *ret)
{
    if (json_kind(value) == JSON_NUMBER && value.len < TIME_SIZE) {
        memcpy(text, value.text, value.len);
        text[value.len] = '\0';
    } else if (json_string_decode(value, text, TIME_SIZE) <= 0) {
        return false;
    }
    return whole_number(text, ret);
}

/* Epoch seconds, as a number or a string, or an ISO 8601 time; without an offset that is UTC. */
static bool point_in_time(struct json_slice value, int64_t *ret)
{
    char text[TIME_SIZE + 1];
    int64_t us;

    if (number(value, text, ret))
        return true;
    long len = json_string_decode(value, text, TIME_SIZE);
    if (len <= 0)
        return false;
    if (!time_parse_rfc3339(text, (size_t)len, &us)) {
        text[len] = 'Z';
        if (!time_parse_rfc3339(text, (size_t)len + 1, &us))
            return false;
    }
    *ret = us / 1000000;
    return true;
}

/* Seconds that the token has left; 0 where the answer does not say, or where it is over. */
static int64_t lifetime(struct json_slice root, int64_t now_s)
{
    char text[TIME_SIZE];
    int64_t left = 0, end;

    if (!number(json_member(root, "expires_in"), text, &left) || left <= 0)
        left = point_in_time(json_member(root, "expires_on"), &end) && end > now_s ? end - now_s : 0;
    return left < AZURE_LIFE_MAX_S ? left : AZURE_LIFE_MAX_S;
}

/* --- tokens ------------------------------------------------------------------------------------ */

/* RFC 6750's b64token: it goes into a header, where another byte could do harm. */
static bool is_token(const char *text, size_t len)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/";
    size_t letters = strspn(text, alphabet);

    return letters > 0 && letters + strspn(text + letters, "=") == len;
}

static bool is_bearer(struct json_slice type)
{
    char text[16];

    if (json_kind(type) == JSON_NONE)
        return true; /* there is no other type that these requests could have brought */
    return json_string_decode(type, text, sizeof text) > 0 && strcasecmp(text, "Bearer") == 0;
}

static void read_token(const char *body, size_t len, int64_t now_s, struct azure_token_answer *ret)
{
    *ret = (struct azure_token_answer){
        .status = UPSTREAM_UNAVAILABLE, .retry = true, .reason = "the answer holds no token"};
    enum json_fault fault = json_check(body, len, DEPTH_MAX, true, NULL);
    if (fault == JSON_NO_MEMORY) {
        ret->status = UPSTREAM_NO_MEMORY;
        ret->reason = "out of memory";
    }
    if (fault != JSON_OK)
        return;
    struct json_slice root = json_root(body, len), said = json_member(root, "access_token");
    ret->lifetime_s = lifetime(root, now_s);
    if (json_kind(said) != JSON_STRING || said.len > AZURE_TOKEN_MAX + 2 || ret->lifetime_s == 0 ||
        !is_bearer(json_member(root, "token_type")))
        return;
    char *token = malloc(said.len + 1);
    if (token == NULL) {
        ret->status = UPSTREAM_NO_MEMORY;
        ret->reason = "out of memory";
        return;
    }
    ret->token = token;
    ret->token_size = said.len + 1;
    long token_len = json_string_decode(said, token, ret->token_size);
    if (token_len <= 0 || !is_token(token, (size_t)token_len)) {
        azure_token_answer_free(ret);
        return;
    }
    ret->status = UPSTREAM_OK;
    ret->retry = false;
    ret->reason = NULL;
}

/* --- errors ------------------------------------------------------------------------------------ */

/* The number after "AADSTS", wherever it stands: each source wraps Entra's text in a form of its own. */
static unsigned aadsts_number(const char *body, size_t len)
{
    static const char mark[] = "AADSTS";
    const char *at = memmem(body, len, mark, sizeof mark - 1);
    unsigned value = 0, digits = 0;

    if (at == NULL)
        return 0;
    for (at += sizeof mark - 1; at < body + len && *at >= '0' && *at <= '9' && digits < 9; at++, digits++)
        value = value * 10 + (unsigned)(*at - '0');
    return value;
}

static void read_error(const struct http_answer *http, enum azure_source source,
                       struct azure_token_answer *ret)
{
    const char *body = body_of(http);

    *ret = (struct azure_token_answer){.status = UPSTREAM_UNAVAILABLE};
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        if (http->status < meanings[i].from || http->status > meanings[i].to ||
            (meanings[i].source != ANY_SOURCE && meanings[i].source != (int)source))
            continue;
        ret->status = meanings[i].status;
        ret->retry = meanings[i].retry;
        ret->patient = meanings[i].patient;
        break;
    }
    ret->aadsts = aadsts_number(body, http->body_len);
    ret->unknown_resource = ret->aadsts == UNKNOWN_RESOURCE;
    if (json_check(body, http->body_len, DEPTH_MAX, false, NULL) == JSON_OK)
        ret->unknown_resource |=
            json_string_equals(json_member(json_root(body, http->body_len), "error"), "invalid_resource");
}

void azure_token_answer_read(const struct http_answer *http, enum azure_source source, int64_t now_s,
                             struct azure_token_answer *ret)
{
    static const struct {
        enum upstream_status status;
        const char *reason;
    } transport[] = {
        [HTTP_REFUSED] = {UPSTREAM_UNAVAILABLE, "no connection"},
        [HTTP_BROKEN] = {UPSTREAM_UNAVAILABLE, "the answer is broken"},
        [HTTP_TIMED_OUT] = {UPSTREAM_TIMEOUT, "no answer in time"},
        [HTTP_TOO_LARGE] = {UPSTREAM_UNAVAILABLE, "the answer is too large"},
        [HTTP_NO_MEMORY] = {UPSTREAM_NO_MEMORY, "out of memory"},
    };

    if (http->outcome != HTTP_ANSWERED)
        *ret = (struct azure_token_answer){.status = transport[http->outcome].status,
                                           .retry = true,
                                           .reason = transport[http->outcome].reason};
    else if (http->status == 200)
        read_token(body_of(http), http->body_len, now_s, ret);
    else
        read_error(http, source, ret);
    ret->retry_after_ms = http->outcome == HTTP_ANSWERED && http->status != 200
                              ? retry_after_from_headers(http->retry_after_ms, http->retry_after, now_s)
                              : -1;
}

void azure_token_answer_free(struct azure_token_answer *answer)
{
    if (answer->token != NULL)
        OPENSSL_cleanse(answer->token, answer->token_size);
    free(answer->token);
    answer->token = NULL;
}
