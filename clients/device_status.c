#include "device_status.h"

#include "percent.h"

#include <string.h>

static void append_value(struct buffer *out, const char *name, struct json_slice value)
{
    buffer_append_text(out, name);
    if (value.text == NULL)
        buffer_append_text(out, "null");
    else
        buffer_append(out, value.text, value.len);
}

void status_text_append(struct buffer *out, const struct device_status *status)
{
    buffer_append_text(out, "{\"deviceId\":");
    buffer_append_json_string(out, status->device_id, strlen(status->device_id));
    append_value(out, ",\"status\":", status->status);
    append_value(out, ",\"lastSeen\":", status->last_seen);
    append_value(out, ",\"firmwareVersion\":", status->firmware_version);
    buffer_append_text(out, ",\"connectionState\":");
    buffer_append_json_string(out, status->connection_state, strlen(status->connection_state));
    buffer_append_text(out, status->enabled ? ",\"enabled\":true}" : ",\"enabled\":false}");
}

bool status_text_from_twin(struct buffer *out, struct json_slice twin)
{
    char device_id[DEVICE_ID_MAX + 1];
    char connection_state[64]; /* "Connected" and "Disconnected" are all that is documented */

    long id_len = json_string_decode(json_member(twin, "deviceId"), device_id, sizeof device_id);
    if (id_len < 0 || !device_id_valid(device_id, (size_t)id_len))
        return false;
    if (json_string_decode(json_member(twin, "connectionState"), connection_state, sizeof connection_state) <
        0)
        return false;
    struct json_slice enabled = json_member(twin, "status");
    if (json_kind(enabled) != JSON_STRING)
        return false;

    struct json_slice reported = json_path(twin, "properties.reported");
    const struct device_status status = {
        .device_id = device_id,
        .status = json_member(reported, "status"),
        .last_seen = json_member(reported, "lastHeartbeat"),
        .firmware_version = json_member(reported, "firmwareVersion"),
        .connection_state = connection_state,
        .enabled = json_string_equals(enabled, "enabled"),
    };
    status_text_append(out, &status);
    return true;
}
