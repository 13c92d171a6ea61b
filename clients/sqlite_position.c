/*
 * The text of a position: base64url of packed.h's
 *
 *   version (1), identity (two words, the lower first), varint issued, varint after, varint second,
 *   and inside of a stretch: word devices, varints until, least, device, ts, seq
 */
#include "sqlite_feed.h"

#include "packed.h"

#include <errno.h>

enum { VERSION = 1 };

/* A stranger may find two lists with one fingerprint; he then misses readings of his own stream. */
uint32_t sqlite_position_devices(const char *const *device_ids, size_t count)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < count; i++)
        for (const char *c = device_ids[i];; c++) {
            hash = (hash ^ (unsigned char)*c) * 16777619u;
            if (*c == '\0')
                break;
        }
    return hash;
}

int sqlite_position_append(struct buffer *out, int64_t identity, int64_t issued,
                           const struct sqlite_cursor *cursor, uint32_t devices)
{
    struct buffer bytes = {0};

    buffer_append_char(&bytes, VERSION);
    packed_put_word(&bytes, (uint32_t)identity);
    packed_put_word(&bytes, (uint32_t)((uint64_t)identity >> 32));
    packed_put_varint(&bytes, (uint64_t)issued);
    packed_put_varint(&bytes, (uint64_t)cursor->after);
    packed_put_varint(&bytes, (uint64_t)cursor->second);
    if (cursor->until != 0) {
        packed_put_word(&bytes, devices);
        packed_put_varint(&bytes, (uint64_t)cursor->until);
        packed_put_varint(&bytes, (uint64_t)cursor->least);
        packed_put_varint(&bytes, cursor->device);
        packed_put_varint(&bytes, (uint64_t)cursor->ts);
        packed_put_varint(&bytes, (uint64_t)cursor->seq);
    }
    int r = packed_append_text(out, &bytes);
    buffer_free(&bytes);
    return r;
}

static void take_stretch(struct packed *in, uint32_t devices, struct sqlite_cursor *cursor)
{
    in->failed |= packed_word(in) != devices;
    cursor->until = (int64_t)packed_varint(in, INT64_MAX);
    cursor->least = (int64_t)packed_varint(in, INT64_MAX);
    cursor->device = (unsigned)packed_varint(in, TELEMETRY_FOLLOW_DEVICES_MAX - 1);
    cursor->ts = (int64_t)packed_varint(in, INT64_MAX);
    cursor->seq = (int64_t)packed_varint(in, INT64_MAX);
    in->failed |= cursor->until <= cursor->after;
}

int sqlite_position_parse(const char *text, int64_t identity, uint32_t devices,
                          struct sqlite_position *ret_position)
{
    unsigned char bytes[PACKED_SIZE(TELEMETRY_POSITION_MAX)];
    struct packed in = packed_read_text(text, TELEMETRY_POSITION_MAX, bytes);
    struct sqlite_position position = {0};
    in.failed |= packed_byte(&in) != VERSION;
    uint64_t low = packed_word(&in), high = packed_word(&in);
    in.failed |= (high << 32 | low) != (uint64_t)identity;
    position.issued = (int64_t)packed_varint(&in, INT64_MAX);
    position.cursor.after = (int64_t)packed_varint(&in, INT64_MAX);
    position.cursor.second = (int64_t)packed_varint(&in, INT64_MAX);
    if (!in.failed && in.at != in.end)
        take_stretch(&in, devices, &position.cursor);
    if (!packed_ends(&in))
        return -EINVAL;
    *ret_position = position;
    return 0;
}
