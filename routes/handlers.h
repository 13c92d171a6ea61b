/* The handlers that routes/table.c names, and the state each keeps in request->state. */
#ifndef TELEMETRYD_HANDLERS_H
#define TELEMETRYD_HANDLERS_H

#include "cursor.h"
#include "reading_body.h"
#include "request.h"
#include "telemetry_store.h"

#include <stdint.h>

/* The parameters of GET telemetry, in the order of its row. */
enum { TELEMETRY_HOURS, TELEMETRY_FROM, TELEMETRY_TO, TELEMETRY_ORDER, TELEMETRY_LIMIT, TELEMETRY_CURSOR };
/* The parameters of GET /devices. */
enum { DEVICES_LIMIT, DEVICES_CURSOR };
/* Those of the streams; one device's has no `devices`. */
enum { STREAM_FROM, STREAM_DEVICES };

/* In the order of telemetry_formats. */
enum telemetry_format { TELEMETRY_JSON, TELEMETRY_CSV, TELEMETRY_NDJSON };

struct telemetry_read_state {
    enum telemetry_format format;
    struct telemetry_range range;
    char *scratch; /* the cursor's text, which range.position points into */
    double request_charge;
};

struct telemetry_write_state {
    struct reading_body body;
    struct upstream_result result; /* how the write ended, while the registry is told */
    size_t stored;
};

struct stream_state {
    const char *device_ids[TELEMETRY_FOLLOW_DEVICES_MAX];
    size_t count;
    char *ids; /* what they point into; NULL for the one of the path */
};

struct devices_state {
    uint64_t fingerprint;
    char *scratch;
};

struct readiness_state {
    size_t side; /* which of the two is being asked */
    struct buffer text;
    bool failed;
};

void telemetry_read(struct request *request);
void telemetry_read_release(struct request *request);
void telemetry_latest(struct request *request);
void telemetry_write(struct request *request);
void telemetry_write_release(struct request *request);
void stream_device(struct request *request);
void stream_devices(struct request *request);
void stream_devices_release(struct request *request);
void device_status_read(struct request *request);
void devices_list(struct request *request);
void devices_list_release(struct request *request);
void device_reported_patch(struct request *request);
void health_live(struct request *request);
void health_ready(struct request *request);
void health_ready_release(struct request *request);
void health_metrics(struct request *request);
void docs_openapi_json(struct request *request);
void docs_openapi_yaml(struct request *request);
void page_serve(struct request *request);

/* A header of a telemetry answer: the request units it cost, where the store has such. */
void telemetry_charge_header(struct request *request, double request_charge);

#endif
