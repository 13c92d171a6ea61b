#include "config_table.h"

#define FIELD(member) .offset = offsetof(struct config, member), .size = sizeof(((struct config *)0)->member)

#define MiB (UINT64_C(1) << 20)
#define DAY UINT64_C(86400)

const struct setting settings[SETTING_COUNT] = {
    [SETTING_LISTEN] =
        {
            .name = "TELEMETRYD_LISTEN",
            .flag = "--listen",
            .value = "HOST:PORT",
            .fallback = "127.0.0.1:8080",
            .parse = parse_listen,
            .most = 65535,
            .accepted =
                "HOST:PORT: a name, an IPv4 address or an IPv6 address in brackets, and a port of 0 to 65535",
            .help = "address to serve on; [::1]:8080 too; port 0 picks a free one",
        },
    [SETTING_WORKERS] =
        {
            .name = "TELEMETRYD_WORKERS",
            .flag = "--workers",
            .value = "N",
            .absent = "online cores",
            .parse = parse_count,
            FIELD(workers),
            .least = 1,
            .most = 256,
            .accepted = "a whole number from 1 to 256",
            .help = "event loops",
        },
    [SETTING_DATA] =
        {
            .name = "TELEMETRYD_DATA",
            .flag = "--data",
            .value = "FILE",
            .fallback = "./telemetryd.db",
            .parse = parse_path,
            FIELD(data),
            .accepted = "a file name",
            .help = "the embedded database; :memory: keeps nothing",
        },
    [SETTING_REQUEST_TIMEOUT] =
        {
            .name = "TELEMETRYD_REQUEST_TIMEOUT",
            .fallback = "10s",
            .parse = parse_duration_ms,
            FIELD(request_timeout_ms),
            .least = 100,
            .most = 300000,
            .accepted = "a duration from 100ms to 5m (a whole number and ms, s, m, h or d)",
            .help = "a request's whole deadline, upstream attempts included",
        },
    [SETTING_MAX_CONNECTIONS] =
        {
            .name = "TELEMETRYD_MAX_CONNECTIONS",
            .fallback = "10000",
            .parse = parse_count,
            FIELD(max_connections),
            .least = 1,
            .most = 1000000,
            .accepted = "a whole number from 1 to 1000000",
            .help = "connections in all",
        },
    [SETTING_MAX_BODY] =
        {
            .name = "TELEMETRYD_MAX_BODY",
            .fallback = "1MiB",
            .parse = parse_size,
            FIELD(max_body),
            .least = 1,
            .most = 64 * MiB,
            .accepted = "a size from 1 to 64MiB (a whole number and nothing, KiB, MiB or GiB)",
            .help = "the largest request body",
        },
    [SETTING_LOG_LEVEL] =
        {
            .name = "TELEMETRYD_LOG_LEVEL",
            .fallback = "info",
            .parse = parse_level,
            FIELD(log_level),
            .accepted = "error, warn, info or debug",
            .help = "error, warn, info or debug",
        },
    [SETTING_TTL] =
        {
            .name = "TELEMETRYD_TTL",
            .fallback = "7d",
            .parse = parse_duration_s,
            FIELD(ttl_s),
            .least = 1,
            .most = 3650 * DAY,
            .accepted = "whole seconds from 1s to 3650d (a whole number and ms, s, m, h or d)",
            .help = "how long a stored reading lives",
        },
    [SETTING_COSMOS_CONNECTION] =
        {
            .name = "COSMOS_CONNECTION",
            .secret = true,
            .parse = parse_cosmos,
            .help = "AccountEndpoint=https://..;AccountKey=..; selects Cosmos DB for telemetry",
        },
    [SETTING_COSMOS_ENDPOINT] =
        {
            .name = "COSMOS_ENDPOINT",
            .parse = parse_entra,
            .accepted = "COSMOS_CONNECTION",
            .help = "instead, with Entra credentials (not built in yet)",
        },
    [SETTING_COSMOS_DATABASE] =
        {
            .name = "COSMOS_DATABASE",
            .fallback = "iot",
            .parse = parse_name,
            FIELD(cosmos_database),
            .accepted = "a name without / \\ # ? and control characters, and without a space at its end",
            .help = "the database in Cosmos DB",
        },
    [SETTING_COSMOS_CONTAINER] =
        {
            .name = "COSMOS_CONTAINER",
            .fallback = "telemetry",
            .parse = parse_name,
            FIELD(cosmos_container),
            .accepted = "a name without / \\ # ? and control characters, and without a space at its end",
            .help = "the container in it",
        },
    [SETTING_IOT_HUB_CONNECTION] =
        {
            .name = "IOT_HUB_CONNECTION",
            .secret = true,
            .parse = parse_iothub,
            .help = "HostName=..;SharedAccessKeyName=..;SharedAccessKey=.. selects IoT Hub for devices",
        },
    [SETTING_IOT_HUB_HOSTNAME] =
        {
            .name = "IOT_HUB_HOSTNAME",
            .parse = parse_entra,
            .accepted = "IOT_HUB_CONNECTION",
            .help = "instead, with Entra credentials (not built in yet)",
        },
    [SETTING_IOT_HUB_ENDPOINT] =
        {
            .name = "IOT_HUB_ENDPOINT",
            .absent = "https://HostName",
            .parse = parse_base_url,
            FIELD(iothub_endpoint),
            .help = "another base URL for the same hub (private link, a test double)",
        },
    [SETTING_ALLOW_HTTP_UPSTREAM] =
        {
            .name = "TELEMETRYD_ALLOW_HTTP_UPSTREAM",
            .fallback = "0",
            .parse = parse_switch,
            FIELD(allow_http_upstream),
            .accepted = "0, 1, false or true",
            .help = "1 takes http:// upstreams on other hosts than loopback",
        },
    [SETTING_CA_FILE] =
        {
            .name = "AZURE_CA_FILE",
            .absent = "system CAs",
            .parse = parse_readable_file,
            FIELD(ca_file),
            .accepted = "a readable file",
            .help = "PEM bundle to trust for the upstreams",
        },
};

const char *config_setting_name(unsigned index)
{
    return index < SETTING_COUNT ? settings[index].name : NULL;
}
