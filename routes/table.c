#include "handlers.h"
#include "routes.h"

static const char *const orders[] = {"desc", "asc", NULL};
static const char *const json[] = {"application/json", NULL};
static const char *const json_patch[] = {"application/merge-patch+json", "application/json", NULL};

#define CURSOR                                                                                               \
    {                                                                                                        \
        "cursor", PARAM_CURSOR, .max = CURSOR_MAX, .accepts = "The cursor must be that of a nextLink"        \
    }
#define POINT                                                                                                \
    "The time must be RFC 3339 with an offset, epoch seconds or milliseconds, now, or now-6h (s m h d w)"

static const struct param telemetry_params[] = {
    [TELEMETRY_HOURS] = {"hours", PARAM_NUMBER, 0, 8784,
                         .accepts = "hours must be a number above 0, at most 8784"},
    [TELEMETRY_FROM] = {"from", PARAM_POINT, .accepts = POINT},
    [TELEMETRY_TO] = {"to", PARAM_POINT, .accepts = POINT},
    [TELEMETRY_ORDER] = {"order", PARAM_CHOICE, .choices = orders, .accepts = "order must be desc or asc"},
    [TELEMETRY_LIMIT] = {"limit", PARAM_INTEGER, 1, 10000,
                         .accepts = "limit must be a whole number from 1 to 10000"},
    [TELEMETRY_CURSOR] = CURSOR,
    {0},
};

#define STREAM_FROM_ROW [STREAM_FROM] = {"from", PARAM_POINT, .accepts = POINT}

static const struct param stream_params[] = {STREAM_FROM_ROW, {0}};

static const struct param stream_devices_params[] = {
    STREAM_FROM_ROW,
    [STREAM_DEVICES] = {"devices", PARAM_DEVICES, 1, TELEMETRY_FOLLOW_DEVICES_MAX,
                        .accepts = "devices must name 1 to 100 devices, separated by commas"},
    {0},
};

static const struct param devices_params[] = {
    [DEVICES_LIMIT] = {"limit", PARAM_INTEGER, 1, 1000,
                       .accepts = "limit must be a whole number from 1 to 1000"},
    [DEVICES_CURSOR] = CURSOR,
    {0},
};

/* Rows of one template stand together: the first is what the router finds. */
const struct route routes[] = {
    {"GET", "/devices/{deviceId}/telemetry", telemetry_params, NULL, "readTelemetry",
     PERMISSION_TELEMETRY_READ, sizeof(struct telemetry_read_state), telemetry_read, telemetry_read_release,
     0},
    {"POST", "/devices/{deviceId}/telemetry", NULL, json, "storeTelemetry", PERMISSION_TELEMETRY_WRITE,
     sizeof(struct telemetry_write_state), telemetry_write, telemetry_write_release, 0},
    {"GET", "/devices/{deviceId}/telemetry/latest", NULL, NULL, "readLatestReading",
     PERMISSION_TELEMETRY_READ, 0, telemetry_latest, NULL, 0},
    {"GET", "/devices/{deviceId}/telemetry/stream", stream_params, NULL, "followDevice",
     PERMISSION_TELEMETRY_READ, sizeof(struct stream_state), stream_device, NULL, 0},
    {"GET", "/telemetry/stream", stream_devices_params, NULL, "followDevices", PERMISSION_TELEMETRY_READ,
     sizeof(struct stream_state), stream_devices, stream_devices_release, 0},
    {"GET", "/devices/{deviceId}/status", NULL, NULL, "readDeviceStatus", PERMISSION_DEVICE_READ, 0,
     device_status_read, NULL, 0},
    {"PATCH", "/devices/{deviceId}/reported", NULL, json_patch, "patchReportedProperties",
     PERMISSION_DEVICE_WRITE, 0, device_reported_patch, NULL, ROUTE_EMBEDDED_ONLY},
    {"GET", "/devices", devices_params, NULL, "listDevices", PERMISSION_DEVICE_READ,
     sizeof(struct devices_state), devices_list, devices_list_release, 0},
    {"GET", "/livez", NULL, NULL, "probeLiveness", PERMISSION_NONE, 0, health_live, NULL, ROUTE_PROBE},
    {"GET", "/readyz", NULL, NULL, "probeReadiness", PERMISSION_NONE, sizeof(struct readiness_state),
     health_ready, health_ready_release, ROUTE_PROBE},
    {"GET", "/metrics", NULL, NULL, "readMetrics", PERMISSION_OPS_READ, 0, health_metrics, NULL,
     ROUTE_PROBE | ROUTE_METRICS},
    {"GET", "/openapi.json", NULL, NULL, "readContractAsJson", PERMISSION_NONE, 0, docs_openapi_json, NULL,
     0},
    {"GET", "/openapi.yaml", NULL, NULL, "readContractAsYaml", PERMISSION_NONE, 0, docs_openapi_yaml, NULL,
     0},
    {"GET", "/", NULL, NULL, "showDashboard", PERMISSION_NONE, 0, page_serve, NULL, ROUTE_PAGE},
    {"GET", "/docs", NULL, NULL, "showExplorer", PERMISSION_NONE, 0, page_serve, NULL, ROUTE_PAGE},
    {"GET", "/assets/{file}", NULL, NULL, "readAsset", PERMISSION_NONE, 0, page_serve, NULL, ROUTE_PAGE},
};

const size_t routes_count = sizeof routes / sizeof *routes;
