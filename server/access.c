#include "access.h"

#include "clock.h"
#include "cors.h"
#include "key_source.h"
#include "request.h"
#include "respond.h"
#include "token_cache.h"

#include <string.h>
#include <strings.h>

#define FORWARDED_LINES_MAX 32

enum credentials {
    CREDENTIALS_NOT_NEEDED,
    CREDENTIALS_NONE,
    CREDENTIALS_DOUBLE, /* which of two counts is anybody's guess */
    CREDENTIALS_BAD,
    CREDENTIALS_UNKNOWN_KEY,
    CREDENTIALS_NO_MEMORY,
    CREDENTIALS_GOOD,
};

static const char *header(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, name);
}

/* --- the token --------------------------------------------------------------------------------- */

static enum permission needed_permission(const struct request *request)
{
    const struct route *route = request->route;
    if (route == NULL || request->worker->config->auth == AUTH_NONE)
        return PERMISSION_NONE;
    bool on_metrics_address = request->connection != NULL && request->connection->metrics_only;
    return on_metrics_address ? PERMISSION_NONE : route->permission;
}

struct authorization {
    const char *value;
    unsigned count;
};

static enum MHD_Result find_authorization(void *cls, enum MHD_ValueKind kind, const char *name,
                                          const char *value)
{
    struct authorization *found = cls;
    if (strcasecmp(name, "Authorization") == 0) {
        found->value = value;
        found->count++;
    }
    return MHD_YES;
}

static void log_refused_token(struct request *request, const char *why)
{
    struct log *log = request->worker->log;
    if (!log_begin(log, LOG_LEVEL_DEBUG, "token refused"))
        return;
    log_text(log, "requestId", request->id);
    log_text(log, "reason", why);
    log_end(log);
}

static enum credentials verify(struct request *request, const char *token, size_t len)
{
    struct worker *worker = request->worker;
    int64_t now_s = clock_wall_s();
    unsigned generation;
    const struct jwk_set *keys = key_agent_set(worker->keys, &generation);
    struct principal *known = token_cache_find(worker->tokens, token, len, generation, now_s);
    const char *why = "unknown key";

    if (known != NULL) {
        request->access.principal = principal_ref(known);
        return CREDENTIALS_GOOD;
    }
    switch (token_verify(token, len, keys, &worker->server->token_rules, now_s, &request->access.principal,
                         &why)) {
    case TOKEN_GOOD:
        token_cache_put(worker->tokens, token, len, generation, request->access.principal);
        return CREDENTIALS_GOOD;
    case TOKEN_NO_MEMORY: return CREDENTIALS_NO_MEMORY;
    case TOKEN_UNKNOWN_KEY: log_refused_token(request, why); return CREDENTIALS_UNKNOWN_KEY;
    case TOKEN_BAD: log_refused_token(request, why); break;
    }
    return CREDENTIALS_BAD;
}

/* RFC 6750, 2.1. A token in the query or in a form is not looked at. */
static enum credentials read_credentials(struct request *request)
{
    static const char scheme[] = "Bearer";
    struct authorization found = {0};

    MHD_get_connection_values(request->mhd, MHD_HEADER_KIND, find_authorization, &found);
    if (found.count > 1)
        return CREDENTIALS_DOUBLE;
    if (found.value == NULL || strncasecmp(found.value, scheme, sizeof scheme - 1) != 0)
        return CREDENTIALS_NONE;
    const char *token = found.value + sizeof scheme - 1;
    if (*token != ' ' && *token != '\0')
        return CREDENTIALS_NONE; /* another scheme that begins with the same letters */
    token += strspn(token, " ");
    return verify(request, token, strlen(token));
}

/* --- fair use ---------------------------------------------------------------------------------- */

struct forwarded {
    const char *lines[FORWARDED_LINES_MAX];
    size_t count;
};

/* The list is read from its end, so of too many lines the last ones are kept. */
static enum MHD_Result find_forwarded(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct forwarded *found = cls;
    if (value == NULL || strcasecmp(name, "X-Forwarded-For") != 0)
        return MHD_YES;
    if (found->count == FORWARDED_LINES_MAX) {
        found->count--;
        memmove(found->lines, found->lines + 1, found->count * sizeof *found->lines);
    }
    found->lines[found->count++] = value;
    return MHD_YES;
}

static struct network_address caller_address(const struct request *request)
{
    const struct network_list *trusted = &request->worker->config->trusted_proxies;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct network_address peer = {0};
    struct forwarded found = {0};

    if (info != NULL && info->client_addr != NULL)
        peer = network_address_of(info->client_addr);
    if (network_list_has(trusted, &peer))
        MHD_get_connection_values(request->mhd, MHD_HEADER_KIND, find_forwarded, &found);
    return network_caller(trusted, &peer, found.lines, found.count);
}

/* Probes are exempt; pages, of which one view is two dozen constants from memory; and the preflights of
 * allowed pages, which carry no token: the users behind one address would share a bucket. */
static bool exempt(const struct request *request, enum credentials credentials)
{
    if (request->worker->server->rate_limit == NULL)
        return true;
    if (request->route != NULL && (request->route->flags & ROUTE_PROBE) != 0)
        return credentials == CREDENTIALS_NOT_NEEDED || credentials == CREDENTIALS_GOOD;
    if (request->route != NULL && (request->route->flags & ROUTE_PAGE) != 0)
        return true;
    const char *origin = header(request, "Origin");
    return access_is_preflight(request) && cors_origin_allowed(request->worker->config->cors_origins, origin);
}

/* Takes a request from the caller's bucket; answers 429 where it is empty. */
static bool within_rate(struct request *request, enum credentials credentials)
{
    struct access *access = &request->access;
    struct rate_limit *limit = request->worker->server->rate_limit;
    unsigned char caller[CALLER_KEY_SIZE];

    if (access->rated || exempt(request, credentials))
        return true;
    if (access->principal != NULL)
        memcpy(caller, access->principal->caller, sizeof caller);
    else {
        const struct network_address address = caller_address(request);
        rate_limit_address_key(&address, caller);
    }
    access->rate = rate_limit_take(limit, caller, clock_monotonic_us());
    access->rated = true;
    if (access->rate.allowed)
        return true;
    respond_problem(request, &(struct problem){.code = PROBLEM_TOO_MANY_REQUESTS,
                                               .detail = "Too many requests from this caller",
                                               .retry_after_s = access->rate.reset_s});
    return false;
}

/* --- the verdict ------------------------------------------------------------------------------- */

static enum access_verdict refuse(struct request *request, enum problem_code code, const char *detail,
                                  const char *challenge)
{
    respond_problem_code(request, code, detail);
    respond_header(request, "WWW-Authenticate", challenge);
    return ACCESS_REFUSED;
}

static enum access_verdict refuse_permission(struct request *request, enum permission needed)
{
    char challenge[96];
    snprintf(challenge, sizeof challenge, "Bearer error=\"insufficient_scope\", scope=\"%s\"",
             permission_name(needed));
    return refuse(request, PROBLEM_FORBIDDEN, "The token lacks the permission for this", challenge);
}

static enum access_verdict refuse_unknown_key(struct request *request)
{
    unsigned generation;
    if (key_agent_set(request->worker->keys, &generation) != NULL)
        return refuse(request, PROBLEM_UNAUTHORIZED, "The bearer token is not valid",
                      "Bearer error=\"invalid_token\"");
    respond_problem(request, &(struct problem){.code = PROBLEM_KEYS_UNAVAILABLE,
                                               .detail = "The issuer's keys could not be fetched yet",
                                               .retry_after_s = 1});
    return ACCESS_REFUSED;
}

static enum access_verdict judge(struct request *request, enum credentials credentials,
                                 enum permission needed)
{
    switch (credentials) {
    case CREDENTIALS_NOT_NEEDED: return ACCESS_PASSED;
    case CREDENTIALS_NONE: return refuse(request, PROBLEM_UNAUTHORIZED, "A bearer token is needed", "Bearer");
    case CREDENTIALS_DOUBLE:
        return refuse(request, PROBLEM_BAD_REQUEST, "There is more than one Authorization field",
                      "Bearer error=\"invalid_request\"");
    case CREDENTIALS_UNKNOWN_KEY: return refuse_unknown_key(request);
    case CREDENTIALS_NO_MEMORY:
        respond_problem(
            request,
            &(struct problem){.code = PROBLEM_OVERLOADED, .detail = "Out of memory", .retry_after_s = 1});
        return ACCESS_REFUSED;
    case CREDENTIALS_GOOD:
        if ((request->access.principal->permissions & needed) != 0)
            return ACCESS_PASSED;
        return refuse_permission(request, needed);
    case CREDENTIALS_BAD: break;
    }
    return refuse(request, PROBLEM_UNAUTHORIZED, "The bearer token is not valid",
                  "Bearer error=\"invalid_token\"");
}

enum access_verdict access_check(struct request *request, bool may_wait)
{
    enum permission needed = needed_permission(request);
    enum credentials credentials =
        needed == PERMISSION_NONE ? CREDENTIALS_NOT_NEEDED : read_credentials(request);

    request->access.waits = credentials == CREDENTIALS_UNKNOWN_KEY && may_wait;
    if (request->access.waits)
        return ACCESS_UNKNOWN_KEY;
    if (!within_rate(request, credentials))
        return ACCESS_REFUSED;
    return judge(request, credentials, needed);
}

bool access_covers_device(const struct request *request)
{
    const struct principal *principal = request->access.principal;
    return principal == NULL || request->device_id[0] == '\0' ||
           grants_has(principal->grants, request->device_id);
}

void access_release(struct access *access)
{
    principal_unref(access->principal);
    access->principal = NULL;
}
