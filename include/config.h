/*
 * config.h - the settings: one table (server/config_table.c), read from flags, environment and defaults, in
 * that order.
 *
 * Everything is checked before anything starts; a message always names the setting. Secrets are never
 * printed. The text of a secret that came from a file is nowhere in memory after config_load(), but for the
 * fields of `azure`, which config_clear() clears with the keys.
 */
#ifndef TELEMETRYD_CONFIG_H
#define TELEMETRYD_CONFIG_H

#include "azure_credential.h"
#include "connection_string.h"
#include "cosmos.h"
#include "iothub.h"
#include "log.h"
#include "network.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum auth_mode { AUTH_NONE, AUTH_JWT };

struct config {
    char listen_host[256]; /* an address without brackets */
    unsigned listen_port;  /* 0: any free one */
    unsigned workers;
    char data[4096];
    uint64_t request_timeout_ms;
    unsigned max_connections;
    size_t max_body;
    enum log_level log_level;
    int64_t ttl_s;
    size_t stream_buffer; /* bytes that may wait for one listener */
    uint64_t stream_heartbeat_ms;
    uint64_t feed_interval_ms;
    bool demo;

    bool has_cosmos;                       /* else embedded */
    struct cosmos_account_settings cosmos; /* without a key: Entra credentials */
    char cosmos_database[256], cosmos_container[256];

    bool has_iothub;               /* else embedded */
    struct iothub_settings iothub; /* without a key: Entra credentials */
    char iothub_endpoint[512];

    bool allow_http_upstream;
    char ca_file[4096]; /* "" for the system's */

    char tls_cert[4096], tls_key[4096]; /* PEM files; both "" where TLS is off */
    char tls_client_ca[4096];           /* PEM file; "" where no client certificate is asked for */

    enum auth_mode auth;
    bool auth_open_warning;  /* no authentication on an address that others can reach: to be logged */
    char jwt_issuer[512];    /* may hold {tenantid}, and then jwt_jwks is set */
    char jwt_audience[1024]; /* comma-separated, without blanks and empty pieces */
    char jwt_jwks[4096];     /* URL (http:// or https://) or file; "": from the issuer's discovery document */
    uint64_t jwt_cooldown_ms;
    char jwt_devices_claim[256]; /* "": tokens are not limited to devices */

    char metrics_host[256]; /* with has_metrics_listen */
    unsigned metrics_port;
    bool has_metrics_listen;

    char cors_origins[4096];              /* comma-separated serialized origins; "": off */
    unsigned rate_limit;                  /* requests per rate_limit_window_s for each caller; 0: off */
    unsigned rate_limit_window_s;         /* 1 or 60 */
    unsigned max_connections_per_address; /* 0: off */
    struct network_list trusted_proxies;

    struct azure_identity azure; /* all "" unless an upstream has Entra credentials; then with its defaults */
};

enum config_action { CONFIG_SERVE, CONFIG_CHECK, CONFIG_PRINT, CONFIG_VERSION, CONFIG_HELP };

/* Reads argv and the environment. Returns 0 and fills *ret and *ret_action, or -EINVAL after writing one line
 * per fault to `errors` (each names its setting). environment: as environ, so that tests bring their own.
 * With CONFIG_PRINT the table of settings, with CONFIG_HELP the usage and with CONFIG_VERSION the version is
 * written to `out`; the settings are not looked at for the last two. */
int config_load(int argc, char *const *argv, char *const *environment, struct config *ret,
                enum config_action *ret_action, FILE *out, FILE *errors);

/* Clears the secrets. */
void config_clear(struct config *config);

/* The table's rows, for the test that holds the README against it: name by index, NULL past the end. */
const char *config_setting_name(unsigned index);

#endif
