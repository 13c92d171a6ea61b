/* The fields that answers carry because of the settings of access. */
#include "access.h"

#include "cors.h"
#include "request.h"

static const char *header(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, name);
}

bool access_is_preflight(const struct request *request)
{
    return cors_is_preflight(request->method, header(request, "Origin"),
                             header(request, "Access-Control-Request-Method"));
}

static void add_cors_headers(struct request *request, const char *origins)
{
    MHD_add_response_header(request->response, "Vary", "Origin");
    const char *origin = header(request, "Origin");
    if (origin == NULL || !cors_origin_allowed(origins, origin))
        return;
    MHD_add_response_header(request->response, "Access-Control-Allow-Origin", origin);
    MHD_add_response_header(request->response, "Access-Control-Expose-Headers", cors_exposed_headers);
}

void access_add_headers(struct request *request)
{
    const struct worker *worker = request->worker;
    char text[64];

    if (worker->config->tls_cert[0] != '\0')
        MHD_add_response_header(request->response, "Strict-Transport-Security", "max-age=31536000");
    if (worker->config->cors_origins[0] != '\0')
        add_cors_headers(request, worker->config->cors_origins);
    if (!request->access.rated)
        return;
    rate_limit_header(worker->server->rate_limit, &request->access.rate, text, sizeof text);
    MHD_add_response_header(request->response, "RateLimit", text);
    rate_limit_policy_header(worker->server->rate_limit, text, sizeof text);
    MHD_add_response_header(request->response, "RateLimit-Policy", text);
}

void access_add_preflight_headers(struct request *request, const char *allow)
{
    const char *origins = request->worker->config->cors_origins;
    if (request->response == NULL || origins[0] == '\0' || !access_is_preflight(request) ||
        !cors_origin_allowed(origins, header(request, "Origin")))
        return;
    MHD_add_response_header(request->response, "Access-Control-Allow-Methods", allow);
    MHD_add_response_header(request->response, "Access-Control-Allow-Headers", cors_allowed_headers);
    MHD_add_response_header(request->response, "Access-Control-Max-Age", cors_max_age);
}
