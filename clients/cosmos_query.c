#include "cosmos.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* The paths of a partition key that we fill (cosmos_item.c), as they stand in the query text: a closed list,
 * so that no name from a container's definition ever becomes query text. */
static const char *const partition_keys[] = {"deviceId", "partitionKey"};

static const char *known_partition_key(const char *partition_key)
{
    for (size_t i = 0; i < sizeof partition_keys / sizeof partition_keys[0]; i++)
        if (strcmp(partition_key, partition_keys[i]) == 0)
            return partition_keys[i];
    return NULL;
}

static void append_text_parameter(struct buffer *out, const char *name, const char *value)
{
    buffer_printf(out, "{\"name\":\"%s\",\"value\":", name);
    buffer_append_json_string(out, value, strlen(value));
    buffer_append_char(out, '}');
}

static int finish(const struct buffer *out)
{
    return out->failed ? -ENOMEM : 0;
}

int cosmos_query_range(struct buffer *out, const char *partition_key, const struct telemetry_range *range)
{
    const char *key = known_partition_key(partition_key);

    if (key == NULL)
        return -EINVAL;
    buffer_printf(
        out,
        "{\"query\":\"SELECT c.data, c._ts AS timestamp FROM c WHERE c.%s = @deviceId AND c._ts > @from "
        "AND c._ts <= @to AND IS_DEFINED(c.data) ORDER BY c._ts %s\",\"parameters\":[",
        key, range->ascending ? "ASC" : "DESC");
    append_text_parameter(out, "@deviceId", range->device_id);
    buffer_printf(out,
                  ",{\"name\":\"@from\",\"value\":%" PRId64 "},{\"name\":\"@to\",\"value\":%" PRId64 "}]}",
                  range->after, range->until);
    return finish(out);
}

int cosmos_query_latest(struct buffer *out, const char *partition_key, const char *device_id)
{
    const char *key = known_partition_key(partition_key);

    if (key == NULL)
        return -EINVAL;
    buffer_printf(
        out,
        "{\"query\":\"SELECT c.data, c._ts AS timestamp, c.processedAt FROM c WHERE c.%s = @deviceId "
        "AND IS_DEFINED(c.data) ORDER BY c._ts DESC\",\"parameters\":[",
        key);
    append_text_parameter(out, "@deviceId", device_id);
    buffer_append_text(out, "]}");
    return finish(out);
}
