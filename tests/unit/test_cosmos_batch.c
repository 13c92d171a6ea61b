#include "../../clients/cosmos_feed.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define ITEM(device, v, ts, lsn)                                                                             \
    "{\"id\":\"i" v "\",\"deviceId\":\"" device "\",\"data\":{\"v\":" v "},\"_ts\":" ts ",\"_lsn\":" lsn     \
    ",\"_etag\":\"\\\"e" v "\\\"\"}"
#define PAGE(n, items) "{\"_rid\":\"r\",\"Documents\":[" items "],\"_count\":" n "}"

/* A page, and the readings in it as "device:data@timestamp/lsn", one after the other. */
static const struct {
    const char *rule, *text;
    int result;
    const char *readings;
} pages[] = {
    {"nothing", PAGE("0", ""), 0, ""},
    {"one", PAGE("1", ITEM("d1", "1", "10", "5")), 0, "d1:{\"v\":1}@10/5 "},
    {"in order", PAGE("2", ITEM("d1", "1", "10", "5") "," ITEM("d2", "2", "10", "6")), 0,
     "d1:{\"v\":1}@10/5 d2:{\"v\":2}@10/6 "},
    {"out of order: by lsn, those of one as they stand",
     PAGE("3", ITEM("d1", "1", "10", "7") "," ITEM("d1", "2", "10", "6") "," ITEM("d1", "3", "10", "6")), 0,
     "d1:{\"v\":2}@10/6 d1:{\"v\":3}@10/6 d1:{\"v\":1}@10/7 "},
    {"the bytes of data stay",
     PAGE("1", "{\"_ts\":1,\"data\":[ 1e2 , \"\\u0041\"],\"deviceId\":\"d1\",\"_lsn\":2}"), 0,
     "d1:[ 1e2 , \"\\u0041\"]@1/2 "},
    {"a name with escapes",
     PAGE("1", "{\"_ts\":1,\"d\\u0061ta\":1,\"deviceId\":\"\\u0064\\u0031\",\"_lsn\":2}"), 0, "d1:1@1/2 "},
    {"no lsn", PAGE("1", "{\"_ts\":1,\"data\":1,\"deviceId\":\"d1\"}"), 0, "d1:1@1/0 "},
    {"without data it is no reading", PAGE("1", "{\"_ts\":1,\"deviceId\":\"d1\",\"_lsn\":2}"), 0, ""},
    {"without a device", PAGE("1", "{\"_ts\":1,\"data\":1,\"_lsn\":2}"), 0, ""},
    {"of a device that cannot be one", PAGE("1", "{\"_ts\":1,\"data\":1,\"deviceId\":\"a b\",\"_lsn\":2}"), 0,
     ""},
    {"a device that is a number", PAGE("1", "{\"_ts\":1,\"data\":1,\"deviceId\":1,\"_lsn\":2}"), 0, ""},
    {"a reading without a time", PAGE("1", "{\"data\":1,\"deviceId\":\"d1\",\"_lsn\":2}"), -EBADMSG, NULL},
    {"an lsn that is none", PAGE("1", "{\"_ts\":1,\"data\":1,\"deviceId\":\"d1\",\"_lsn\":\"2\"}"), -EBADMSG,
     NULL},
    {"a negative one", PAGE("1", "{\"_ts\":1,\"data\":1,\"deviceId\":\"d1\",\"_lsn\":-2}"), -EBADMSG, NULL},
    {"not an object among them", PAGE("1", "1"), -EBADMSG, NULL},
    {"another count", PAGE("2", ITEM("d1", "1", "10", "5")), -EBADMSG, NULL},
    {"no count", "{\"Documents\":[]}", -EBADMSG, NULL},
    {"no documents", "{\"_count\":0}", -EBADMSG, NULL},
    {"documents twice", "{\"Documents\":[],\"Documents\":[],\"_count\":0}", -EBADMSG, NULL},
    {"documents that are none", "{\"Documents\":{},\"_count\":0}", -EBADMSG, NULL},
    {"a list", "[]", -EBADMSG, NULL},
    {"cut off", "{\"Documents\":[", -EBADMSG, NULL},
    {"something behind it", PAGE("0", "") "x", -EBADMSG, NULL},
    {"nothing at all", "", -EBADMSG, NULL},
};

static struct cosmos_batch *parse(const char *text, int expected)
{
    struct cosmos_batch *batch = NULL;
    struct buffer b = {0};
    buffer_append_text(&b, "head");
    buffer_append_text(&b, text);
    int r = cosmos_batch_parse(&b, 4, b.len - 4, "deviceId", &batch);
    assert_int_equal(r, expected);
    buffer_free(&b);
    return batch;
}

static void pages_are_read(void **state)
{
    for (size_t i = 0; i < COUNT(pages); i++) {
        struct cosmos_batch *batch = parse(pages[i].text, pages[i].result);
        if (pages[i].result != 0)
            continue;
        struct buffer b = {0};
        for (size_t k = 0; k < batch->count; k++)
            buffer_printf(&b, "%s:%.*s@%lld/%lld ", batch->changes[k].device_id,
                          (int)batch->changes[k].data_len, batch->changes[k].data,
                          (long long)batch->changes[k].timestamp, (long long)batch->changes[k].lsn);
        assert_string_equal(b.len > 0 ? buffer_terminate(&b) : "", pages[i].readings);
        buffer_free(&b);
        cosmos_batch_unref(batch);
    }
}

/* Two of lsn 5, three of lsn 6, one of lsn 7. */
#define SIX                                                                                                  \
    PAGE("6",                                                                                                \
         ITEM("d1", "1", "10", "5") "," ITEM("d1", "2", "10", "5") "," ITEM("d1", "3", "10", "6") "," ITEM(  \
             "d1", "4", "10", "6") "," ITEM("d1", "5", "10", "6") "," ITEM("d1", "6", "10", "7"))

static const struct {
    const char *rule;
    int64_t lsn;
    int inside; /* the index of the change that it is after; -1: not inside; -2: of one that is not there */
    uint32_t left;
    size_t first;
} starts[] = {
    {"nothing known", -1, -1, 0, 0},
    {"before all", 4, -1, 0, 0},
    {"after the first two", 5, -1, 0, 2},
    {"after all", 7, -1, 0, 6},
    {"far beyond", 100, -1, 0, 6},
    {"after the first", 5, 0, 1, 1},
    {"in the middle", 6, 3, 1, 4},
    {"at the end of a group", 6, 4, 0, 5},
    {"the one it is after is gone, one remained", 6, -2, 1, 4},
    {"and two", 6, -2, 2, 3},
    {"more remained than are there", 6, -2, 9, 2},
    {"the whole group is gone", 4, -2, 9, 0},
};

static void places_say_what_is_new(void **state)
{
    struct cosmos_batch *batch = parse(SIX, 0);
    for (size_t i = 0; i < COUNT(starts); i++) {
        struct cosmos_place place = {
            .lsn = starts[i].lsn, .inside = starts[i].inside != -1, .left = starts[i].left};
        place.hash = starts[i].inside >= 0 ? batch->changes[starts[i].inside].hash : 1;
        assert_int_equal(cosmos_batch_first_new(batch, &place), starts[i].first);
    }
    for (size_t i = 0; i < batch->count; i++) { /* the place after each leads to the next */
        struct cosmos_place place = {.lsn = -1};
        cosmos_place_after(&place, batch, i);
        assert_int_equal(cosmos_batch_first_new(batch, &place), i + 1);
    }
    cosmos_batch_unref(batch);
}

static const struct {
    const char *rule, *text;
    int result;
    const char *ranges; /* id and parents of each */
} lists[] = {
    {"one", "{\"_rid\":\"r\",\"PartitionKeyRanges\":[{\"id\":\"0\",\"parents\":[]}],\"_count\":1}", 0, "0;"},
    {"a number, as the npm emulator has it", "{\"PartitionKeyRanges\":[{\"id\":0}]}", 0, "0;"},
    {"after two splits",
     "{\"PartitionKeyRanges\":[{\"id\":\"1\",\"parents\":[\"0\"]},{\"id\":\"3\",\"parents\":[\"0\",\"2\"]}]}",
     0, "1 0;3 0 2;"},
    {"of many ancestors the nearest",
     "{\"PartitionKeyRanges\":[{\"id\":\"9\",\"parents\":[\"aaaaaaaaaaaaaaaaaaaa\",\"bbbbbbbbbbbbbbbbbbbb\","
     "\"cccccccccccccccccccc\",\"dddddddddddddddddddd\",\"eeeeeeeeeeeeeeeeeeee\"]}]}",
     0, "9 bbbbbbbbbbbbbbbbbbbb cccccccccccccccccccc dddddddddddddddddddd eeeeeeeeeeeeeeeeeeee;"},
    {"none", "{\"PartitionKeyRanges\":[]}", -EBADMSG, NULL},
    {"not a list", "{\"PartitionKeyRanges\":{}}", -EBADMSG, NULL},
    {"an id that no header could hold", "{\"PartitionKeyRanges\":[{\"id\":\"a\\r\\nb\"}]}", -EBADMSG, NULL},
    {"an id too long", "{\"PartitionKeyRanges\":[{\"id\":\"123456789012345678901234\"}]}", -EBADMSG, NULL},
    {"no id", "{\"PartitionKeyRanges\":[{}]}", -EBADMSG, NULL},
    {"not JSON", "{", -EBADMSG, NULL},
};

static void lists_are_read(void **state)
{
    for (size_t i = 0; i < COUNT(lists); i++) {
        struct cosmos_ranges *ranges;
        int r = cosmos_ranges_parse(lists[i].text, strlen(lists[i].text), &ranges);
        assert_int_equal(r, lists[i].result);
        if (r != 0)
            continue;
        struct buffer b = {0};
        for (unsigned k = 0; k < ranges->count; k++)
            buffer_printf(&b, "%s%s;", ranges->at[k].place.range, ranges->at[k].parents);
        assert_string_equal(buffer_terminate(&b), lists[i].ranges);
        buffer_free(&b);
        free(ranges);
    }
}

static void too_many_ranges_are_refused(void **state)
{
    struct buffer b = {0};
    struct cosmos_ranges *ranges;
    buffer_append_text(&b, "{\"PartitionKeyRanges\":[{\"id\":\"0\"}");
    for (unsigned i = 1; i <= COSMOS_RANGES_MAX; i++)
        buffer_printf(&b, ",{\"id\":\"%u\"}", i);
    buffer_append_text(&b, "]}");
    assert_int_equal(cosmos_ranges_parse(b.data, b.len, &ranges), -E2BIG);
    buffer_free(&b);
}

static void children_begin_where_their_parents_were(void **state)
{
    static const char before[] = "{\"PartitionKeyRanges\":[{\"id\":\"1\"},{\"id\":\"2\"}]}";
    static const char after[] =
        "{\"PartitionKeyRanges\":[{\"id\":\"1\"},{\"id\":\"3\",\"parents\":[\"0\",\"2\"]},"
        "{\"id\":\"5\",\"parents\":[\"2\",\"4\"]},{\"id\":\"6\",\"parents\":[\"9\"]}]}";
    struct cosmos_ranges *from, *to;
    assert_int_equal(cosmos_ranges_parse(before, sizeof before - 1, &from), 0);
    assert_int_equal(cosmos_ranges_parse(after, sizeof after - 1, &to), 0);
    strcpy(from->at[0].place.etag, "\"11\"");
    strcpy(from->at[1].place.etag, "\"22\"");
    from->at[1].place.lsn = 21;
    assert_false(cosmos_ranges_inherit(to, from));
    assert_string_equal(to->at[0].place.etag, "\"11\"");
    assert_string_equal(to->at[1].place.etag, "\"22\"");
    assert_string_equal(to->at[1].place.range, "3");
    assert_int_equal(to->at[1].place.lsn, 21);
    assert_string_equal(to->at[2].place.etag, "\"22\""); /* a grandchild */
    assert_string_equal(to->at[3].place.etag, "*");      /* of unknown descent */
    free(from);
    free(to);
}

static void the_last_few_are_known(void **state)
{
    struct cosmos_hashes hashes = {0};
    for (uint32_t i = 0; i < 2 * COSMOS_HASHES_MAX; i++)
        cosmos_hashes_add(&hashes, i);
    assert_false(cosmos_hashes_has(&hashes, COSMOS_HASHES_MAX - 1));
    assert_true(cosmos_hashes_has(&hashes, COSMOS_HASHES_MAX));
    assert_true(cosmos_hashes_remove(&hashes, 100));
    assert_false(cosmos_hashes_remove(&hashes, 100));
    assert_false(cosmos_hashes_has(NULL, 1));
    assert_false(cosmos_hashes_remove(NULL, 1));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_read),
        cmocka_unit_test(places_say_what_is_new),
        cmocka_unit_test(lists_are_read),
        cmocka_unit_test(too_many_ranges_are_refused),
        cmocka_unit_test(children_begin_where_their_parents_were),
        cmocka_unit_test(the_last_few_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
