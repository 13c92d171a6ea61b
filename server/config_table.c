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
            FIELD(listen_host),
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
    [SETTING_STREAM_BUFFER] =
        {
            .name = "TELEMETRYD_STREAM_BUFFER",
            .fallback = "256KiB",
            .parse = parse_size,
            FIELD(stream_buffer),
            .least = 4096,
            .most = 64 * MiB,
            .accepted = "a size from 4KiB to 64MiB (a whole number and nothing, KiB, MiB or GiB)",
            .help = "what may wait for one listener of a stream before it is resynced",
        },
    [SETTING_STREAM_HEARTBEAT] =
        {
            .name = "TELEMETRYD_STREAM_HEARTBEAT",
            .fallback = "15s",
            .parse = parse_duration_ms,
            FIELD(stream_heartbeat_ms),
            .least = 100,
            .most = 3600000,
            .accepted = "a duration from 100ms to 1h (a whole number and ms, s, m, h or d)",
            .help = "how often a stream says that it is there",
        },
    [SETTING_FEED_INTERVAL] =
        {
            .name = "TELEMETRYD_FEED_INTERVAL",
            .fallback = "1s",
            .parse = parse_duration_ms,
            FIELD(feed_interval_ms),
            .least = 100,
            .most = 60000,
            .accepted = "a duration from 100ms to 1m (a whole number and ms, s, m, h or d)",
            .help = "how often Cosmos DB's change feed is asked while somebody listens",
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
            .parse = parse_cosmos_endpoint,
            FIELD(cosmos.endpoint),
            .accepted = "https://ACCOUNT.documents.azure.com:443",
            .help = "instead, with Entra credentials: https://ACCOUNT.documents.azure.com",
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
            .parse = parse_iothub_host,
            FIELD(iothub.host),
            .accepted = "the hub's host name: HUB.azure-devices.net",
            .help = "instead, with Entra credentials: HUB.azure-devices.net",
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
    [SETTING_TLS_CERT] =
        {
            .name = "TELEMETRYD_TLS_CERT",
            .parse = parse_readable_file,
            FIELD(tls_cert),
            .accepted = "a PEM file with the certificate and what leads to its CA",
            .help = "PEM file with the server's certificate chain; selects HTTPS",
        },
    [SETTING_TLS_KEY] =
        {
            .name = "TELEMETRYD_TLS_KEY",
            .parse = parse_readable_file,
            FIELD(tls_key),
            .accepted = "a PEM file with the certificate's private key",
            .help = "PEM file with its private key",
        },
    [SETTING_TLS_CLIENT_CA] =
        {
            .name = "TELEMETRYD_TLS_CLIENT_CA",
            .parse = parse_readable_file,
            FIELD(tls_client_ca),
            .accepted = "a PEM file with CA certificates",
            .help = "PEM file; requires a client certificate of one of its CAs",
        },
    [SETTING_AUTH] =
        {
            .name = "TELEMETRYD_AUTH",
            .absent = "none on loopback",
            .parse = parse_auth,
            .accepted = "jwt or none",
            .help = "jwt or none; must be given where others than this machine are served",
        },
    [SETTING_JWT_ISSUER] =
        {
            .name = "TELEMETRYD_JWT_ISSUER",
            .parse = parse_issuer,
            FIELD(jwt_issuer),
            .accepted = "the exact text of the tokens' iss, without blanks",
            .help = "who issues the tokens; {tenantid} in it takes any tenant",
        },
    [SETTING_JWT_AUDIENCE] =
        {
            .name = "TELEMETRYD_JWT_AUDIENCE",
            .parse = parse_audience,
            FIELD(jwt_audience),
            .accepted = "a comma-separated list of the tokens' audiences",
            .help = "comma-separated; one of them must be in a token's aud",
        },
    [SETTING_JWT_JWKS] =
        {
            .name = "TELEMETRYD_JWT_JWKS",
            .absent = "the issuer's",
            .parse = parse_jwks,
            FIELD(jwt_jwks),
            .accepted = "an https:// URL or a readable file",
            .help = "URL or file of the issuer's keys; else its discovery document says where they are",
        },
    [SETTING_JWT_COOLDOWN] =
        {
            .name = "TELEMETRYD_JWT_COOLDOWN",
            .fallback = "60s",
            .parse = parse_duration_ms,
            FIELD(jwt_cooldown_ms),
            .least = 100,
            .most = DAY * 1000,
            .accepted = "a duration from 100ms to 1d (a whole number and ms, s, m, h or d)",
            .help = "least time between two fetches caused by unknown keys",
        },
    [SETTING_JWT_DEVICES_CLAIM] =
        {
            .name = "TELEMETRYD_JWT_DEVICES_CLAIM",
            .parse = parse_claim,
            FIELD(jwt_devices_claim),
            .accepted = "the name of a claim",
            .help = "claim that limits a token to devices: ids and prefix*",
        },
    [SETTING_METRICS_LISTEN] =
        {
            .name = "TELEMETRYD_METRICS_LISTEN",
            .parse = parse_metrics_listen,
            FIELD(metrics_host),
            .most = 65535,
            .accepted =
                "HOST:PORT: a name, an IPv4 address or an IPv6 address in brackets, and a port of 0 to 65535",
            .help = "an extra address that serves /metrics alone, to everybody; the main one then does not",
        },
    [SETTING_CORS_ORIGINS] =
        {
            .name = "TELEMETRYD_CORS_ORIGINS",
            .parse = parse_origins,
            FIELD(cors_origins),
            .accepted = "a comma-separated list of scheme://host[:port] as browsers send it",
            .help = "comma-separated origins whose pages may read the answers",
        },
    [SETTING_RATE_LIMIT] =
        {
            .name = "TELEMETRYD_RATE_LIMIT",
            .fallback = "off",
            .parse = parse_rate,
            FIELD(rate_limit),
            .least = 1,
            .most = 1000000,
            .accepted = "off, or a whole number from 1 to 1000000 and /s or /m",
            .help = "requests of each caller: N/s or N/m",
        },
    [SETTING_MAX_CONNECTIONS_PER_ADDRESS] =
        {
            .name = "TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS",
            .fallback = "off",
            .parse = parse_count_or_off,
            FIELD(max_connections_per_address),
            .least = 1,
            .most = 1000000,
            .accepted = "off, or a whole number from 1 to 1000000",
            .help = "connections of one address; trusted proxies may have more",
        },
    [SETTING_TRUSTED_PROXIES] =
        {
            .name = "TELEMETRYD_TRUSTED_PROXIES",
            .parse = parse_networks,
            FIELD(trusted_proxies),
            .accepted =
                "a comma-separated list of at most 64 addresses and CIDRs without bits behind their prefix",
            .help = "comma-separated addresses and CIDRs whose X-Forwarded-For is believed",
        },
    [SETTING_TENANT_ID] =
        {
            .name = "AZURE_TENANT_ID",
            .entra = true,
            .parse = parse_identifier,
            FIELD(azure.tenant_id),
            .accepted = "an id or a domain: letters, digits, '-' and '.'",
            .help = "Entra credentials: the tenant of a client secret or a workload identity",
        },
    [SETTING_CLIENT_ID] =
        {
            .name = "AZURE_CLIENT_ID",
            .entra = true,
            .parse = parse_identifier,
            FIELD(azure.client_id),
            .accepted = "an id: letters, digits, '-' and '.'",
            .help = "the application, or a user-assigned managed identity",
        },
    [SETTING_CLIENT_SECRET] =
        {
            .name = "AZURE_CLIENT_SECRET",
            .secret = true,
            .entra = true,
            .parse = parse_secret,
            FIELD(azure.client_secret),
            .accepted = "printable ASCII",
            .help = "the application's secret",
        },
    [SETTING_FEDERATED_TOKEN_FILE] =
        {
            .name = "AZURE_FEDERATED_TOKEN_FILE",
            .entra = true,
            .parse = parse_path,
            FIELD(azure.federated_token_file),
            .accepted = "a file name",
            .help = "the token of a workload identity, read again for each use",
        },
    [SETTING_AUTHORITY_HOST] =
        {
            .name = "AZURE_AUTHORITY_HOST",
            .entra = true,
            .fallback = "https://login.microsoftonline.com",
            .parse = parse_authority,
            FIELD(azure.authority_host),
            .accepted = "an https:// URL",
            .help = "Microsoft Entra ID of the cloud",
        },
    [SETTING_IDENTITY_ENDPOINT] =
        {
            .name = "IDENTITY_ENDPOINT",
            .entra = true,
            .parse = parse_identity_endpoint,
            FIELD(azure.identity_endpoint),
            .accepted = "a URL",
            .help = "managed identity of App Service, which sets it",
        },
    [SETTING_IDENTITY_HEADER] =
        {
            .name = "IDENTITY_HEADER",
            .secret = true,
            .entra = true,
            .parse = parse_secret,
            FIELD(azure.identity_header),
            .accepted = "printable ASCII",
            .help = "what goes with it",
        },
    [SETTING_IMDS_HOST] =
        {
            .name = "AZURE_POD_IDENTITY_AUTHORITY_HOST",
            .entra = true,
            .fallback = "http://169.254.169.254",
            .parse = parse_imds_host,
            FIELD(azure.imds_host),
            .accepted = "a URL without a path",
            .help = "managed identity elsewhere: the instance metadata service (IMDS)",
        },
};

const char *config_setting_name(unsigned index)
{
    return index < SETTING_COUNT ? settings[index].name : NULL;
}
