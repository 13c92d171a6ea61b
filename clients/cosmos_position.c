/*
 * The text of a position: base64url of
 *
 *   version (1), container (4 bytes), varint issued, flags
 *   with a T0: varint T0; replaying: devices (4), varint after, varint device, varint second, varint count
 *   varint count of ranges, and each: kinds, id, etag unless there is none, varint lsn if known, and inside
 * of an lsn: hash (4), varint left
 *   with early readings: varint count, their hashes (4 each)
 *
 * Numbers are packed.h's. An id or an etag that is a number without leading zeros, as the
 * service's are, is a varint; else a varint length and its bytes. A position of COSMOS_RANGES_MAX ranges of
 * the service's kind stays below TELEMETRY_POSITION_MAX.
 */
#include "cosmos_feed.h"

#include "packed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1 };
enum { HAS_T0 = 1, REPLAYING = 2, EARLY = 4 };
enum { TEXT_RAW, TEXT_NUMBER, TEXT_QUOTED_NUMBER, TEXT_NONE };
enum { ETAG_SHIFT = 2, HAS_LSN = 16, INSIDE = 32 };

#define TIME_MAX   253402300799 /* the end of the year 9999 */
#define COUNT_MAX  1000000000
#define NUMBER_MAX 999999999999999999 /* 18 digits */

/* --- writing ----------------------------------------------------------------------------------- */

/* Whether text is a number that prints as it stands. */
static bool plain_number(const char *text, size_t len, uint64_t *ret)
{
    uint64_t value = 0;

    if (len == 0 || len > 18 || (text[0] == '0' && len > 1))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    *ret = value;
    return true;
}

static unsigned kind_of(const char *text, uint64_t *ret_number)
{
    size_t len = strlen(text);

    if (len == 0)
        return TEXT_NONE;
    if (plain_number(text, len, ret_number))
        return TEXT_NUMBER;
    if (len > 2 && text[0] == '"' && text[len - 1] == '"' && plain_number(text + 1, len - 2, ret_number))
        return TEXT_QUOTED_NUMBER;
    return TEXT_RAW;
}

static void put_text(struct buffer *out, unsigned kind, uint64_t number, const char *text)
{
    if (kind == TEXT_RAW) {
        packed_put_varint(out, strlen(text));
        buffer_append_text(out, text);
    } else if (kind != TEXT_NONE) {
        packed_put_varint(out, number);
    }
}

static void put_place(struct buffer *out, const struct cosmos_place *place)
{
    uint64_t id = 0, etag = 0;
    unsigned id_kind = kind_of(place->range, &id), etag_kind = kind_of(place->etag, &etag);

    buffer_append_char(out, (char)(id_kind | etag_kind << ETAG_SHIFT | (place->lsn >= 0 ? HAS_LSN : 0) |
                                   (place->inside ? INSIDE : 0)));
    put_text(out, id_kind, id, place->range);
    put_text(out, etag_kind, etag, place->etag);
    if (place->lsn >= 0)
        packed_put_varint(out, (uint64_t)place->lsn);
    if (place->inside) {
        packed_put_word(out, place->hash);
        packed_put_varint(out, place->left);
    }
}

int cosmos_position_append(struct buffer *out, const struct cosmos_position *position,
                           const struct cosmos_ranges *ranges)
{
    struct buffer bytes = {0};
    const struct cosmos_replay *replay = &position->replay;

    buffer_append_char(&bytes, VERSION);
    packed_put_word(&bytes, ranges->container);
    packed_put_varint(&bytes, (uint64_t)position->issued);
    buffer_append_char(&bytes,
                       (char)((position->t0 > 0 ? HAS_T0 : 0) | (position->replaying ? REPLAYING : 0) |
                              (position->early.count > 0 ? EARLY : 0)));
    if (position->t0 > 0)
        packed_put_varint(&bytes, (uint64_t)position->t0);
    if (position->replaying) {
        packed_put_word(&bytes, replay->devices);
        packed_put_varint(&bytes, (uint64_t)replay->after);
        packed_put_varint(&bytes, replay->device);
        packed_put_varint(&bytes, (uint64_t)replay->second);
        packed_put_varint(&bytes, replay->count);
    }
    packed_put_varint(&bytes, ranges->count);
    for (unsigned i = 0; i < ranges->count; i++)
        put_place(&bytes, &ranges->at[i].place);
    if (position->early.count > 0)
        packed_put_varint(&bytes, position->early.count);
    for (unsigned i = 0; i < position->early.count; i++)
        packed_put_word(&bytes, position->early.at[i]);
    int r = packed_append_text(out, &bytes);
    buffer_free(&bytes);
    return r;
}

uint32_t cosmos_position_devices(const char *const *device_ids, size_t count)
{
    uint32_t hash = COSMOS_HASH_SEED;

    for (size_t i = 0; i < count; i++)
        hash = cosmos_hash(hash, device_ids[i], strlen(device_ids[i]) + 1);
    return hash;
}

/* --- reading ----------------------------------------------------------------------------------- */

static void get_text(struct packed *in, unsigned kind, char *out, size_t size)
{
    out[0] = '\0';
    if (kind == TEXT_NUMBER || kind == TEXT_QUOTED_NUMBER) {
        const char *quote = kind == TEXT_QUOTED_NUMBER ? "\"" : "";
        snprintf(out, size, "%s%" PRIu64 "%s", quote, packed_varint(in, NUMBER_MAX), quote);
    } else if (kind == TEXT_RAW) {
        size_t len = packed_varint(in, size - 1), i = 0;
        for (; i < len; i++) {
            unsigned c = packed_byte(in);
            if (c < ' ' || c > '~') { /* it becomes part of a header */
                in->failed = true;
                return;
            }
            out[i] = (char)c;
        }
        out[i] = '\0';
        in->failed |= len == 0;
    }
}

static void get_place(struct packed *in, struct cosmos_place *place)
{
    unsigned kinds = packed_byte(in);

    if (kinds >= 2 * INSIDE || (kinds & 3) == TEXT_NONE || (kinds & 3) == TEXT_QUOTED_NUMBER)
        in->failed = true;
    get_text(in, kinds & 3, place->range, sizeof place->range);
    get_text(in, kinds >> ETAG_SHIFT & 3, place->etag, sizeof place->etag);
    place->lsn = (kinds & HAS_LSN) != 0 ? (int64_t)packed_varint(in, INT64_MAX / 2) : -1;
    place->inside = (kinds & INSIDE) != 0;
    if (place->inside) {
        place->hash = packed_word(in);
        place->left = (uint32_t)packed_varint(in, COUNT_MAX);
        in->failed |= place->lsn < 0;
    }
}

/* Returns the flags. */
static unsigned get_head(struct packed *in, struct cosmos_position *position)
{
    position->issued = (int64_t)packed_varint(in, TIME_MAX);
    unsigned flags = packed_byte(in);
    if (flags > (HAS_T0 | REPLAYING | EARLY) || (flags & (HAS_T0 | REPLAYING)) == REPLAYING)
        in->failed = true;
    if ((flags & HAS_T0) != 0)
        position->t0 = (int64_t)packed_varint(in, TIME_MAX);
    if ((flags & REPLAYING) != 0) {
        struct cosmos_replay *replay = &position->replay;
        position->replaying = true;
        replay->devices = packed_word(in);
        replay->after = (int64_t)packed_varint(in, TIME_MAX);
        replay->device = (unsigned)packed_varint(in, TELEMETRY_FOLLOW_DEVICES_MAX);
        replay->second = (int64_t)packed_varint(in, TIME_MAX);
        replay->count = (unsigned)packed_varint(in, COUNT_MAX);
    }
    return flags;
}

static void get_early(struct packed *in, struct cosmos_hashes *early)
{
    early->count = (unsigned)packed_varint(in, COSMOS_HASHES_MAX);
    in->failed |= early->count == 0;
    for (unsigned i = 0; i < early->count; i++)
        early->at[i] = packed_word(in);
}

static int get_all(struct packed *in, struct cosmos_position *ret_position, struct cosmos_ranges **ret_ranges)
{
    struct cosmos_position position = {0};

    if (packed_byte(in) != VERSION)
        return -EINVAL;
    uint32_t container = packed_word(in);
    unsigned flags = get_head(in, &position);
    unsigned count = (unsigned)packed_varint(in, COSMOS_RANGES_MAX);
    if (in->failed || count == 0)
        return -EINVAL;
    struct cosmos_ranges *ranges = calloc(1, sizeof *ranges + count * sizeof ranges->at[0]);
    if (ranges == NULL)
        return -ENOMEM;
    ranges->container = container;
    ranges->count = count;
    for (unsigned i = 0; i < count; i++) {
        struct cosmos_place *place = &ranges->at[i].place;
        get_place(in, place);
        if (place->etag[0] == '\0' && position.t0 == 0)
            in->failed = true;
    }
    if ((flags & EARLY) != 0)
        get_early(in, &position.early);
    if (!packed_ends(in)) {
        free(ranges);
        return -EINVAL;
    }
    *ret_position = position;
    *ret_ranges = ranges;
    return 0;
}

int cosmos_position_parse(const char *text, struct cosmos_position *ret_position,
                          struct cosmos_ranges **ret_ranges)
{
    unsigned char bytes[PACKED_SIZE(TELEMETRY_POSITION_MAX)];
    struct packed in = packed_read_text(text, TELEMETRY_POSITION_MAX, bytes);
    return get_all(&in, ret_position, ret_ranges);
}
