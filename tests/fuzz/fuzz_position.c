/*
 * Positions of streams as strangers send them, for both stores: what is understood means one thing, and is
 * written as it was read; what is not harms nobody. The input is what stands behind the base64url, since
 * almost no text that is mutated by itself still is some, and the text itself.
 */
#include "../../clients/cosmos_feed.h"
#include "../../clients/sqlite_feed.h"
#include "base64.h"
#include "fuzz.h"

static void check_cosmos(const char *text)
{
    struct cosmos_position position;
    struct cosmos_ranges *ranges = NULL;
    struct buffer again = {0};

    int r = cosmos_position_parse(text, &position, &ranges);
    ALWAYS(r == 0 || (r == -EINVAL && ranges == NULL));
    if (r != 0)
        return;
    ALWAYS(ranges->count >= 1 && ranges->count <= COSMOS_RANGES_MAX);
    ALWAYS(!position.replaying || position.t0 > 0);
    ALWAYS(position.early.count <= COSMOS_HASHES_MAX);
    for (unsigned i = 0; i < ranges->count; i++)
        ALWAYS(strpbrk(ranges->at[i].place.etag, "\r\n") == NULL);
    /* The kinds of an id or an etag are chosen by the writer: what it writes, it reads as the same. */
    ALWAYS(cosmos_position_append(&again, &position, ranges) == 0);
    struct cosmos_position second;
    struct cosmos_ranges *second_ranges = NULL;
    if (again.len <= TELEMETRY_POSITION_MAX) {
        ALWAYS(cosmos_position_parse(buffer_terminate(&again), &second, &second_ranges) == 0);
        ALWAYS(second.issued == position.issued && second.t0 == position.t0 &&
               second_ranges->count == ranges->count);
    }
    free(second_ranges);
    free(ranges);
    buffer_free(&again);
}

/* Any database and any devices may be the ones that the text is of. */
static void check_sqlite(const char *text, const unsigned char *bytes, size_t len)
{
    int64_t identity = 0;
    uint32_t devices = 0;
    struct sqlite_position position;
    struct buffer again = {0};

    if (len >= 9)
        memcpy(&identity, bytes + 1, sizeof identity);
    for (size_t at = 9; at + 4 <= len && at < 64; at++) {
        memcpy(&devices, bytes + at, sizeof devices);
        if (sqlite_position_parse(text, identity, devices, &position) != 0)
            continue;
        const struct sqlite_cursor *cursor = &position.cursor;
        ALWAYS(cursor->until == 0 || cursor->until > cursor->after);
        ALWAYS(cursor->after >= 0 && cursor->second >= 0 && cursor->seq >= 0 && position.issued >= 0);
        ALWAYS(cursor->device < TELEMETRY_FOLLOW_DEVICES_MAX);
        buffer_clear(&again);
        ALWAYS(sqlite_position_append(&again, identity, position.issued, cursor, devices) == 0);
        ALWAYS(strcmp(buffer_terminate(&again), text) == 0);
    }
    buffer_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > TELEMETRY_POSITION_MAX)
        return 0;
    char *text = fuzz_text(data, size), *encoded = malloc(BASE64URL_ENCODED_SIZE(size));
    ALWAYS(encoded != NULL);
    base64url_encode(data, size, encoded);
    check_cosmos(text);
    check_cosmos(encoded);
    check_sqlite(encoded, data, size);
    free(text);
    free(encoded);
    return 0;
}
