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
    SETTING_COSMOS_CONNECTION,
    SETTING_COSMOS_ENDPOINT,
    SETTING_COSMOS_DATABASE,
    SETTING_COSMOS_CONTAINER,
    SETTING_IOT_HUB_CONNECTION,
    SETTING_IOT_HUB_HOSTNAME,
    SETTING_IOT_HUB_ENDPOINT,
    SETTING_ALLOW_HTTP_UPSTREAM,
    SETTING_CA_FILE,
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
    setting_parser *parse;
    size_t offset, size;  /* the field in struct config, where the parser has a use for it */
    uint64_t least, most; /* of a number, in the field's own unit */
    const char *accepted; /* completes "give .." */
    const char *help;
};

extern const struct setting settings[SETTING_COUNT];

/* --- parsers (server/config_value.c) */

setting_parser parse_listen, parse_path, parse_name, parse_count, parse_size, parse_duration_ms,
    parse_duration_s, parse_level, parse_switch, parse_cosmos, parse_iothub, parse_base_url,
    parse_readable_file, parse_entra;

/* --- what was found (server/config.c), and its text (server/config_print.c) */

enum setting_source { SOURCE_DEFAULT, SOURCE_FLAG, SOURCE_ENVIRONMENT, SOURCE_FILE, SOURCE_DEMO };

struct setting_value {
    const char *text; /* NULL: not set */
    char *owned;      /* text, where it came from a file */
    enum setting_source source;
};

void config_print_settings(FILE *out, const struct setting_value values[SETTING_COUNT]);
void config_print_help(FILE *out);

#endif
