#include "../../clients/cosmos_feed.h"
#include "base64.h"

#include <errno.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct cosmos_ranges *make_ranges(unsigned count)
{
    struct cosmos_ranges *ranges = calloc(1, sizeof *ranges + count * sizeof ranges->at[0]);
    ranges->count = count;
    ranges->container = 0xfedcba98;
    for (unsigned i = 0; i < count; i++) {
        struct cosmos_place *place = &ranges->at[i].place;
        snprintf(place->range, sizeof place->range, "%u", i);
        snprintf(place->etag, sizeof place->etag, "\"%u\"", 1000 + i);
        place->lsn = -1;
    }
    return ranges;
}

static void assert_same(const struct cosmos_ranges *a, const struct cosmos_ranges *b)
{
    assert_int_equal(a->container, b->container);
    assert_int_equal(a->count, b->count);
    for (unsigned i = 0; i < a->count; i++) {
        const struct cosmos_place *x = &a->at[i].place, *y = &b->at[i].place;
        assert_string_equal(x->range, y->range);
        assert_string_equal(x->etag, y->etag);
        assert_int_equal(x->lsn, y->lsn);
        assert_int_equal(x->inside, y->inside);
        if (x->inside) {
            assert_int_equal(x->hash, y->hash);
            assert_int_equal(x->left, y->left);
        }
    }
}

/* What a place may look like: every one comes back as it was. */
static const struct cosmos_place places[] = {
    {.range = "0", .etag = "\"1\"", .lsn = -1},
    {.range = "0", .etag = "\"1\"", .lsn = 0, .inside = true, .hash = 0xffffffff},
    {.range = "77", .etag = "123456789012345678", .lsn = 123456789012345678},
    {.range = "77", .etag = "\"999999999999999999\"", .lsn = 1},
    {.range = "a-b", .etag = "*", .lsn = -1},
    {.range = "00", .etag = "\"007\"", .lsn = -1},
    {.range = "1", .etag = "W/\"x y\"", .lsn = 5, .inside = true, .hash = 1, .left = 99},
    {.range = "1234567890123456789", .etag = "\"\"", .lsn = -1},
    {.range = "1", .etag = "\"", .lsn = -1},
    {.range = "1", .etag = "12345678901234567890", .lsn = -1},
};

static void places_come_back(void **state)
{
    for (size_t i = 0; i < COUNT(places); i++) {
        struct cosmos_ranges *ranges = make_ranges(1), *back;
        struct cosmos_position position = {.issued = 1795417200}, read;
        struct buffer text = {0};
        ranges->at[0].place = places[i];
        assert_int_equal(cosmos_position_append(&text, &position, ranges), 0);
        assert_int_equal(cosmos_position_parse(buffer_terminate(&text), &read, &back), 0);
        assert_int_equal(read.issued, position.issued);
        assert_same(ranges, back);
        free(ranges);
        free(back);
        buffer_free(&text);
    }
}

static struct cosmos_position full_position(void)
{
    struct cosmos_position position = {
        .issued = 1795417200,
        .t0 = 1795417195,
        .replaying = true,
        .replay = {.devices = 0x01020304, .after = 0, .device = 99, .second = 1795417000, .count = 499}};
    for (unsigned i = 0; i < COSMOS_HASHES_MAX; i++)
        cosmos_hashes_add(&position.early, i * 0x01010101u);
    return position;
}

/* As large as the service can make it: every range in the middle of a transaction, numbers of 10 digits. */
static void the_largest_fits(void **state)
{
    struct cosmos_ranges *ranges = make_ranges(COSMOS_RANGES_MAX), *back;
    struct cosmos_position position = full_position(), read;
    struct buffer text = {0};
    for (unsigned i = 0; i < ranges->count; i++) {
        struct cosmos_place *place = &ranges->at[i].place;
        snprintf(place->range, sizeof place->range, "%u", 10000 + i);
        snprintf(place->etag, sizeof place->etag, "\"%u\"", 4000000000u + i);
        place->lsn = 4000000000 + i;
    }
    ranges->at[7].place.inside = true;
    ranges->at[7].place.left = 99;
    assert_int_equal(cosmos_position_append(&text, &position, ranges), 0);
    assert_true(text.len <= TELEMETRY_POSITION_MAX);
    assert_int_equal(cosmos_position_parse(buffer_terminate(&text), &read, &back), 0);
    assert_same(ranges, back);
    assert_memory_equal(&read.replay, &position.replay, sizeof read.replay);
    assert_int_equal(read.t0, position.t0);
    assert_true(read.replaying);
    assert_int_equal(read.early.count, COSMOS_HASHES_MAX);
    assert_memory_equal(read.early.at, position.early.at, sizeof read.early.at);
    free(ranges);
    free(back);
    buffer_free(&text);
}

/* Every beginning of a position, every position with one bit turned, and every one with a byte more is
 * refused or read as another good one; what is read is written back the same. */
static void strangers_texts(void **state)
{
    struct cosmos_ranges *ranges = make_ranges(3), *back;
    struct cosmos_position position = full_position(), read;
    struct buffer text = {0}, again = {0};
    unsigned char bytes[2048];
    char changed[2048 * 4 / 3 + 8];

    ranges->at[1].place = places[6];
    ranges->at[2].place = places[4];
    assert_int_equal(cosmos_position_append(&text, &position, ranges), 0);
    long len = base64url_decode(text.data, text.len, bytes);
    assert_true(len > 0);
    for (long cut = 0; cut < len; cut++) {
        base64url_encode(bytes, (size_t)cut, changed);
        assert_int_equal(cosmos_position_parse(changed, &read, &back), -EINVAL);
    }
    bytes[len] = 0;
    base64url_encode(bytes, (size_t)len + 1, changed);
    assert_int_equal(cosmos_position_parse(changed, &read, &back), -EINVAL);
    for (long bit = 0; bit < len * 8; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        size_t changed_len = base64url_encode(bytes, (size_t)len, changed);
        int r = cosmos_position_parse(changed, &read, &back);
        assert_true(r == 0 || r == -EINVAL);
        if (r == 0) {
            buffer_clear(&again);
            assert_int_equal(cosmos_position_append(&again, &read, back), 0);
            assert_int_equal(again.len, changed_len);
            assert_memory_equal(again.data, changed, changed_len);
            free(back);
        }
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    free(ranges);
    buffer_free(&text);
    buffer_free(&again);
}

static void what_goes_into_a_header_is_clean(void **state)
{
    static const char *const bad[] = {"\"1\r\nX: y\"", "\n", "\x7f", "\xc3\xa9"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct cosmos_ranges *ranges = make_ranges(1), *back;
        struct cosmos_position position = {.issued = 1}, read;
        struct buffer text = {0};
        snprintf(ranges->at[0].place.etag, sizeof ranges->at[0].place.etag, "%s", bad[i]);
        assert_int_equal(cosmos_position_append(&text, &position, ranges), 0);
        assert_int_equal(cosmos_position_parse(buffer_terminate(&text), &read, &back), -EINVAL);
        free(ranges);
        buffer_free(&text);
    }
}

static void too_long_is_refused(void **state)
{
    struct cosmos_position read;
    struct cosmos_ranges *back;
    char *text = malloc(TELEMETRY_POSITION_MAX + 2);
    memset(text, 'A', TELEMETRY_POSITION_MAX + 1);
    text[TELEMETRY_POSITION_MAX + 1] = '\0';
    assert_int_equal(cosmos_position_parse(text, &read, &back), -EINVAL);
    free(text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_come_back),    cmocka_unit_test(the_largest_fits),
        cmocka_unit_test(strangers_texts),     cmocka_unit_test(what_goes_into_a_header_is_clean),
        cmocka_unit_test(too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
