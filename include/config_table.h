/*
 * config_table.h - the table of settings and the parsers of their values; internal to server/config*.c.
 */
#ifndef TELEMETRYD_CONFIG_TABLE_H
#define TELEMETRYD_CONFIG_TABLE_H

#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* In the table's order. */
enum setting_id {
    SETTING_LISTEN,
    SETTING_WORKERS,
    SETTING_DATA,
    SETTING_REQUEST_TIMEOUT,
    SETTING_MAX_CONNECTIONS,
    SETTING_MAX_BODY,
    SETTING_LOG_LEVEL,
    SETTING_TTL,
    SETTING_STREAM_BUFFER,
    SETTING_STREAM_HEARTBEAT,
    SETTING_FEED_INTERVAL,
    SETTING_COSMOS_CONNECTION,
    SETTING_COSMOS_ENDPOINT,
    SETTING_COSMOS_DATABASE,
    SETTING_COSMOS_CONTAINER,
    SETTING_IOT_HUB_CONNECTION,
    SETTING_IOT_HUB_HOSTNAME,
    SETTING_IOT_HUB_ENDPOINT,
    SETTING_ALLOW_HTTP_UPSTREAM,
    SETTING_CA_FILE,
    SETTING_TLS_CERT,
    SETTING_TLS_KEY,
    SETTING_TLS_CLIENT_CA,
    SETTING_AUTH,
    SETTING_JWT_ISSUER,
    SETTING_JWT_AUDIENCE,
    SETTING_JWT_JWKS,
    SETTING_JWT_COOLDOWN,
    SETTING_JWT_DEVICES_CLAIM,
    SETTING_METRICS_LISTEN,
    SETTING_CORS_ORIGINS,
    SETTING_RATE_LIMIT,
    SETTING_MAX_CONNECTIONS_PER_ADDRESS,
    SETTING_TRUSTED_PROXIES,
    SETTING_TENANT_ID,
    SETTING_CLIENT_ID,
    SETTING_CLIENT_SECRET,
    SETTING_FEDERATED_TOKEN_FILE,
    SETTING_AUTHORITY_HOST,
    SETTING_IDENTITY_ENDPOINT,
    SETTING_IDENTITY_HEADER,
    SETTING_IMDS_HOST,
    SETTING_COUNT
};

struct setting;

/* Reads a value into the config. On an error returns false, leaves the config as it was, and writes what is
 * wrong or what is taken; never the value itself. */
typedef bool setting_parser(const struct setting *setting, const char *text, struct config *config,
                            char *wrong, size_t wrong_size);

struct setting {
    const char *name;
    const char *flag;     /* NULL: there is none */
    const char *value;    /* what the help calls the flag's value */
    const char *fallback; /* the default; NULL: none, or one that depends on other things */
    const char *absent;   /* how the help and --print-config call a default that has no text; NULL */
    bool secret;          /* never printed, and may come from the file that NAME_FILE names */
    bool entra; /* looked at only where a setting of ours selects Entra credentials: others put these
                   variables into environments too */
    setting_parser *parse;
    size_t offset, size;  /* the field in struct config, where the parser has a use for it */
    uint64_t least, most; /* of a number, in the field's own unit */
    const char *accepted; /* completes "give .." */
    const char *help;
};

extern const struct setting settings[SETTING_COUNT];

/* --- parsers (server/config_value.c, for the settings of access server/config_access.c) */

setting_parser parse_listen, parse_path, parse_name, parse_count, parse_size, parse_duration_ms,
    parse_duration_s, parse_level, parse_switch, parse_cosmos, parse_cosmos_endpoint, parse_iothub,
    parse_iothub_host, parse_base_url, parse_readable_file;

setting_parser parse_auth, parse_issuer, parse_audience, parse_jwks, parse_claim, parse_metrics_listen,
    parse_origins, parse_rate, parse_count_or_off, parse_networks, parse_identifier, parse_secret,
    parse_authority, parse_identity_endpoint, parse_imds_host;

/* For parsers. The first two return false; the third stores a text that fits its field. */
bool config_value_refuse(const struct setting *setting, char *wrong, size_t wrong_size);
bool config_value_wrong(char *wrong, size_t wrong_size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool config_value_store(const struct setting *setting, const char *text, struct config *config, char *wrong,
                        size_t wrong_size);
void *config_value_field(const struct setting *setting, struct config *config);

/* --- what was found (server/config.c), and its text (server/config_print.c) */

enum setting_source { SOURCE_DEFAULT, SOURCE_FLAG, SOURCE_ENVIRONMENT, SOURCE_FILE, SOURCE_DEMO };

struct setting_value {
    const char *text; /* NULL: not set */
    char *owned;      /* text, where it came from a file */
    size_t owned_len;
    enum setting_source source;
};

void config_print_settings(FILE *out, const struct setting_value values[SETTING_COUNT]);
void config_print_help(FILE *out);

/* What an operator gave, fit for one line: bounded and without control characters. A URL with user
 * information in it may hold a password, so it is masked, as is what looks like a key. */
struct config_shown {
    char text[200];
};
struct config_shown config_print_shown(const char *value);
bool config_print_masked(const char *value);

/* --- what needs more than one setting (server/config_check.c) */

/* What one config_load() works on. */
struct config_loader {
    char *const *environment;
    FILE *errors;
    unsigned faults;
    struct setting_value values[SETTING_COUNT];
    bool wrong[SETTING_COUNT]; /* the value was refused */
    bool actions[CONFIG_HELP + 1];
    char cores[16];
    struct config config;
};

/* Writes a line of its own, and counts. */
void config_fault(struct config_loader *loader, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* After every value was read: contradictions, and what follows from several settings. */
void config_check(struct config_loader *loader);

#endif
