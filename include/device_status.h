/*
 * device_status.h - the API's status object, built in one place for both registries.
 */
#ifndef TELEMETRYD_DEVICE_STATUS_H
#define TELEMETRYD_DEVICE_STATUS_H

#include "buffer.h"
#include "json.h"

#include <stdbool.h>

struct device_status {
    const char *device_id;
    struct json_slice status;    /* raw JSON of any kind; {NULL,0} becomes null; white space kept as it is */
    struct json_slice last_seen; /* the same: properties.reported.lastHeartbeat */
    struct json_slice firmware_version; /* the same */
    const char *connection_state;       /* "Connected", "Disconnected" */
    bool enabled;
};

void status_text_append(struct buffer *out, const struct device_status *status);

/* Appends the status object of an IoT Hub twin (a checked JSON object: azure-protocols 2.2). Returns false,
 * with nothing appended, where it has no deviceId that is a device id, no connectionState or no status. */
bool status_text_from_twin(struct buffer *out, struct json_slice twin);

#endif
