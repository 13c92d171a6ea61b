/*
 * config.h - the settings: one table (server/config.c), read from flags, environment and defaults, in that
 * order.
 *
 * Everything is checked before anything starts; a message always names the setting. Secrets are never
 * printed.
 */
#ifndef TELEMETRYD_CONFIG_H
#define TELEMETRYD_CONFIG_H

#include "connection_string.h"
#include "cosmos.h"
#include "iothub.h"
#include "log.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

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
    bool demo;

    bool has_cosmos; /* else embedded */
    struct cosmos_account_settings cosmos;
    char cosmos_database[256], cosmos_container[256];

    bool has_iothub; /* else embedded */
    struct iothub_settings iothub;
    char iothub_endpoint[512];

    bool allow_http_upstream;
    char ca_file[4096]; /* "" for the system's */
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
