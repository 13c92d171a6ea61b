#include "cosmos.h"
#include "time_text.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

int cosmos_item_append(struct buffer *out, const char *device_id, const struct reading *reading,
                       const char *random_id, int64_t processed_us, int64_t ttl_s)
{
    const char *id = reading->id != NULL ? reading->id : random_id;
    size_t device_id_len = strlen(device_id);
    char processed[TIME_RFC3339_SIZE];

    time_format_rfc3339_us(processed_us, processed);
    buffer_append_text(out, "{\"id\":");
    buffer_append_json_string(out, id, strlen(id));
    buffer_append_text(out, ",\"deviceId\":");
    buffer_append_json_string(out, device_id, device_id_len);
    buffer_append_text(out, ",\"partitionKey\":");
    buffer_append_json_string(out, device_id, device_id_len);
    buffer_append_text(out, ",\"data\":");
    buffer_append(out, reading->data, reading->data_len);
    buffer_printf(out, ",\"processedAt\":\"%s\",\"ttl\":%" PRId64 "}", processed, ttl_s);
    return out->failed ? -ENOMEM : 0;
}
