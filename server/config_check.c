#include "config_table.h"

#include "tls_files.h"

#include <netdb.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* Pairs that exclude each other. */
static const struct {
    enum setting_id one, other;
} contradictions[] = {
    {SETTING_COSMOS_CONNECTION, SETTING_COSMOS_ENDPOINT},
    {SETTING_IOT_HUB_CONNECTION, SETTING_IOT_HUB_HOSTNAME},
};

/* A demo fills the embedded store and registry, so nothing else may stand in for them. */
static const enum setting_id not_with_demo[] = {
    SETTING_COSMOS_CONNECTION,
    SETTING_COSMOS_ENDPOINT,
    SETTING_IOT_HUB_CONNECTION,
    SETTING_IOT_HUB_HOSTNAME,
};

/* Whoever sets one of these wants tokens to be asked for. */
static const enum setting_id of_tokens[] = {
    SETTING_JWT_ISSUER,   SETTING_JWT_AUDIENCE,      SETTING_JWT_JWKS,
    SETTING_JWT_COOLDOWN, SETTING_JWT_DEVICES_CLAIM,
};

/* What jwt cannot do without. */
static const enum setting_id needed_by_jwt[] = {SETTING_JWT_ISSUER, SETTING_JWT_AUDIENCE};

static bool is_set(const struct config_loader *loader, enum setting_id id)
{
    return loader->values[id].text != NULL;
}

/* Given, and accepted. */
static bool is_good(const struct config_loader *loader, enum setting_id id)
{
    return is_set(loader, id) && !loader->wrong[id];
}

static void check_contradictions(struct config_loader *loader)
{
    for (size_t i = 0; i < sizeof contradictions / sizeof contradictions[0]; i++) {
        if (is_set(loader, contradictions[i].one) && is_set(loader, contradictions[i].other))
            config_fault(loader, settings[contradictions[i].one].name, "contradicts %s: give one of them",
                         settings[contradictions[i].other].name);
    }
    if (is_set(loader, SETTING_IOT_HUB_ENDPOINT) && !is_set(loader, SETTING_IOT_HUB_CONNECTION) &&
        !is_set(loader, SETTING_IOT_HUB_HOSTNAME))
        config_fault(loader, settings[SETTING_IOT_HUB_ENDPOINT].name,
                     "there is no hub: give IOT_HUB_CONNECTION or IOT_HUB_HOSTNAME too");
    for (size_t i = 0; loader->config.demo && i < sizeof not_with_demo / sizeof not_with_demo[0]; i++) {
        if (is_set(loader, not_with_demo[i]))
            config_fault(loader, settings[not_with_demo[i]].name,
                         "contradicts --demo, which fills the embedded store: give one of them");
    }
}

/* --- upstreams --------------------------------------------------------------------------------- */

/* url was checked but for the rule on http. */
static void check_http(struct config_loader *loader, enum setting_id id, const char *url)
{
    char out[512];
    char wrong[256];
    if (url[0] != '\0' &&
        !upstream_url_check(url, loader->config.allow_http_upstream, out, sizeof out, wrong, sizeof wrong))
        config_fault(loader, settings[id].name, "%s", wrong);
}

static void check_upstreams(struct config_loader *loader)
{
    struct config *config = &loader->config;
    struct setting_value *endpoint = &loader->values[SETTING_IOT_HUB_ENDPOINT];

    if (config->has_cosmos)
        check_http(loader,
                   is_set(loader, SETTING_COSMOS_CONNECTION) ? SETTING_COSMOS_CONNECTION
                                                             : SETTING_COSMOS_ENDPOINT,
                   config->cosmos.endpoint);
    check_http(loader, SETTING_IOT_HUB_ENDPOINT, config->iothub_endpoint);
    if (config->has_iothub && endpoint->text == NULL) {
        snprintf(config->iothub_endpoint, sizeof config->iothub_endpoint, "https://%s", config->iothub.host);
        endpoint->text = config->iothub_endpoint;
    }
}

/* --- TLS --------------------------------------------------------------------------------------- */

static void check_tls(struct config_loader *loader)
{
    static const enum setting_id ids[] = {
        [TLS_FILE_CERT] = SETTING_TLS_CERT,
        [TLS_FILE_KEY] = SETTING_TLS_KEY,
        [TLS_FILE_CLIENT_CA] = SETTING_TLS_CLIENT_CA,
    };
    const struct config *config = &loader->config;
    const struct tls_files files = {config->tls_cert, config->tls_key, config->tls_client_ca};
    const char *cert = settings[SETTING_TLS_CERT].name, *key = settings[SETTING_TLS_KEY].name;
    bool has_cert = is_set(loader, SETTING_TLS_CERT), has_key = is_set(loader, SETTING_TLS_KEY);
    char wrong[256];

    if (has_cert != has_key)
        config_fault(loader, has_cert ? key : cert, "is missing: %s needs it", has_cert ? cert : key);
    if (is_set(loader, SETTING_TLS_CLIENT_CA) && !has_cert && !has_key)
        config_fault(loader, settings[SETTING_TLS_CLIENT_CA].name,
                     "there is no TLS to ask for a certificate: give %s and %s too", cert, key);
    if (!is_good(loader, SETTING_TLS_CERT) || !is_good(loader, SETTING_TLS_KEY) ||
        loader->wrong[SETTING_TLS_CLIENT_CA])
        return;
    enum tls_file file = tls_files_check(&files, wrong, sizeof wrong);
    if (file == TLS_FILE_PAIR)
        config_fault(loader, cert, "does not fit %s: %s", key, wrong);
    else if (file != TLS_FILES_GOOD)
        config_fault(loader, settings[ids[file]].name, "'%s' cannot be used: %s",
                     config_print_shown(loader->values[ids[file]].text).text, wrong);
}

/* --- who may call ------------------------------------------------------------------------------ */

/* A name counts as loopback when each of its addresses is. One that cannot be looked up does not: listening
 * will fail on it, and if not, then on an address that nobody looked at here. */
static bool is_loopback(const char *host)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found;
    bool loopback = true;

    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        struct network_address address = network_address_of(at->ai_addr);
        if (!network_address_is_loopback(&address))
            loopback = false;
    }
    freeaddrinfo(found);
    return loopback;
}

/* Silently open is what nobody wants who gave one of the settings of tokens, or serves others than this
 * machine. */
static void check_auth_unset(struct config_loader *loader, bool loopback)
{
    struct setting_value *auth = &loader->values[SETTING_AUTH];

    for (size_t i = 0; i < sizeof of_tokens / sizeof of_tokens[0]; i++) {
        if (loader->values[of_tokens[i]].source == SOURCE_DEFAULT)
            continue;
        config_fault(loader, settings[SETTING_AUTH].name,
                     "is not set, but %s is: give jwt, or none to serve without authentication",
                     settings[of_tokens[i]].name);
        return;
    }
    if (!loopback && !loader->config.demo) {
        config_fault(
            loader, settings[SETTING_AUTH].name,
            "is not set, and %s is not a loopback address: give jwt (with %s and %s), or none to serve "
            "everybody who can reach it",
            settings[SETTING_LISTEN].name, settings[SETTING_JWT_ISSUER].name,
            settings[SETTING_JWT_AUDIENCE].name);
        return;
    }
    *auth = (struct setting_value){.text = "none", .source = loopback ? SOURCE_DEFAULT : SOURCE_DEMO};
}

static void check_auth(struct config_loader *loader)
{
    struct config *config = &loader->config;

    if (loader->wrong[SETTING_AUTH])
        return;
    if (config->auth == AUTH_JWT) {
        for (size_t i = 0; i < sizeof needed_by_jwt / sizeof needed_by_jwt[0]; i++) {
            if (!is_set(loader, needed_by_jwt[i]))
                config_fault(loader, settings[needed_by_jwt[i]].name, "is missing: %s=jwt needs it",
                             settings[SETTING_AUTH].name);
        }
        return;
    }
    bool loopback = loader->wrong[SETTING_LISTEN] || is_loopback(config->listen_host);
    if (!is_set(loader, SETTING_AUTH))
        check_auth_unset(loader, loopback);
    config->auth_open_warning = !loopback;
}

/* Where the keys are given, the issuer is but a text to compare; else it says where they are. */
static void check_issuer(struct config_loader *loader)
{
    static const struct url_rules rules = {.path = true, .http_refused = "http:// is taken on loopback only"};
    const char *name = settings[SETTING_JWT_ISSUER].name, *issuer = loader->config.jwt_issuer;
    bool discovered = loader->config.auth == AUTH_JWT && !is_set(loader, SETTING_JWT_JWKS);
    char url[sizeof loader->config.jwt_issuer], wrong[256];

    if (!is_good(loader, SETTING_JWT_ISSUER))
        return;
    if (discovered && strstr(issuer, "{tenantid}") != NULL)
        config_fault(loader, name, "{tenantid} names no place to discover keys at: give %s too",
                     settings[SETTING_JWT_JWKS].name);
    else if ((discovered || strncasecmp(issuer, "http://", 7) == 0) &&
             !upstream_url_read(issuer, &rules, url, sizeof url, wrong, sizeof wrong))
        config_fault(loader, name, "'%s' is not accepted: %s%s", config_print_shown(issuer).text, wrong,
                     discovered ? "; keys are discovered there unless TELEMETRYD_JWT_JWKS is given" : "");
}

/* --- metrics ----------------------------------------------------------------------------------- */

static bool same_host(const char *one, const char *other)
{
    struct network_address first, second;

    if (network_address_parse(one, strlen(one), &first) &&
        network_address_parse(other, strlen(other), &second))
        return memcmp(&first, &second, sizeof first) == 0;
    return strcasecmp(one, other) == 0;
}

static void check_metrics_listen(struct config_loader *loader)
{
    const struct config *config = &loader->config;

    if (config->has_metrics_listen && !loader->wrong[SETTING_LISTEN] && config->metrics_port != 0 &&
        config->metrics_port == config->listen_port && same_host(config->metrics_host, config->listen_host))
        config_fault(loader, settings[SETTING_METRICS_LISTEN].name,
                     "is the address of %s: give another, or leave it out", settings[SETTING_LISTEN].name);
}

void config_check(struct config_loader *loader)
{
    check_contradictions(loader);
    check_upstreams(loader);
    check_tls(loader);
    check_auth(loader);
    check_issuer(loader);
    check_metrics_listen(loader);
}
