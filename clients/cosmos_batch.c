#include "cosmos_feed.h"

#include "json.h"
#include "percent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint32_t cosmos_hash(uint32_t seed, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;

    /* FNV-1a: it only has to tell a few versions of items apart, and to be the same in every process. */
    for (size_t i = 0; i < len; i++)
        seed = (seed ^ p[i]) * 16777619u;
    return seed;
}

/* --- a page ------------------------------------------------------------------------------------ */

struct members {
    struct json_slice key, data, ts, lsn, etag, id;
};

static struct members members_of(struct json_slice document, const char *partition_key)
{
    struct members m = {0};
    const struct {
        const char *name;
        struct json_slice *value;
    } wanted[] = {{partition_key, &m.key}, {"data", &m.data},  {"_ts", &m.ts},
                  {"_lsn", &m.lsn},        {"_etag", &m.etag}, {"id", &m.id}};
    struct json_iter it = json_iter(document);

    while (json_next(&it))
        for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
            if (json_string_equals(it.name, wanted[i].name))
                *wanted[i].value = it.value;
    return m;
}

/* The etag is one of this version; where there is none, the second must do. */
static uint32_t version_hash(const struct members *m)
{
    struct json_slice version = m->etag.text != NULL ? m->etag : m->ts;

    return cosmos_hash(cosmos_hash(COSMOS_HASH_SEED, m->id.text, m->id.len), version.text, version.len);
}

/* Adds a document if it is a reading. Its device's name goes to the ids, where its offset is kept for now. */
static int add_document(struct cosmos_batch *batch, const struct members *m, int64_t lsn)
{
    char id[DEVICE_ID_MAX + 1];
    struct cosmos_change *change = &batch->changes[batch->count];

    if (m->data.text == NULL)
        return 0;
    long id_len = json_string_decode(m->key, id, sizeof id);
    if (id_len < 0 || !device_id_valid(id, (size_t)id_len))
        return 0; /* nobody can ask for it */
    if (!json_int64(m->ts, &change->timestamp))
        return -EBADMSG;
    change->device_id = NULL;
    change->data = m->data.text;
    change->data_len = m->data.len;
    change->lsn = lsn;
    change->hash = version_hash(m);
    buffer_append(&batch->ids, id, (size_t)id_len + 1);
    if (batch->ids.failed)
        return -ENOMEM;
    batch->count++;
    return 0;
}

static int by_lsn(const void *a, const void *b)
{
    const struct cosmos_change *x = a, *y = b;

    if (x->lsn != y->lsn)
        return x->lsn < y->lsn ? -1 : 1;
    return x->data < y->data ? -1 : x->data > y->data;
}

static int add_documents(struct cosmos_batch *batch, struct json_slice documents, const char *partition_key)
{
    bool sorted = true;
    int64_t before = 0;
    struct json_iter it = json_iter(documents);

    for (; json_next(&it); batch->documents++)
        ;
    batch->changes = calloc(batch->documents > 0 ? batch->documents : 1, sizeof *batch->changes);
    if (batch->changes == NULL)
        return -ENOMEM;
    for (it = json_iter(documents); json_next(&it);) {
        struct members m = members_of(it.value, partition_key);
        int64_t lsn = 0;
        if (json_kind(it.value) != JSON_OBJECT || (m.lsn.text != NULL && !json_int64(m.lsn, &lsn)) || lsn < 0)
            return -EBADMSG;
        if (batch->first_ts == 0)
            json_int64(m.ts, &batch->first_ts);
        int r = add_document(batch, &m, lsn);
        if (r != 0)
            return r;
        sorted &= lsn >= before;
        before = lsn;
        if (lsn > batch->last_lsn)
            batch->last_lsn = lsn;
    }
    const char *id = batch->ids.data;
    for (size_t i = 0; i < batch->count; i++, id += strlen(id) + 1)
        batch->changes[i].device_id = id;
    /* Within a page any order can be resumed in, as long as it is always the same. */
    if (!sorted)
        qsort(batch->changes, batch->count, sizeof *batch->changes, by_lsn);
    return 0;
}

int cosmos_batch_parse(struct buffer *text, size_t start, size_t len, const char *partition_key,
                       struct cosmos_batch **ret_batch)
{
    struct json_slice documents = {0}, count = {0};
    unsigned found = 0;
    int64_t counted;
    const char *page = text->data + start;

    if (!json_valid(page, len, COSMOS_DEPTH_MAX) || json_kind(json_root(page, len)) != JSON_OBJECT)
        return -EBADMSG;
    struct json_iter it = json_iter(json_root(page, len));
    while (json_next(&it)) {
        if (json_string_equals(it.name, "Documents")) {
            documents = it.value;
            found++;
        } else if (json_string_equals(it.name, "_count")) {
            count = it.value;
        }
    }
    if (found != 1 || json_kind(documents) != JSON_ARRAY || !json_int64(count, &counted))
        return -EBADMSG;

    struct cosmos_batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL)
        return -ENOMEM;
    atomic_init(&batch->references, 1);
    batch->kind = COSMOS_BATCH_PAGE;
    int r = add_documents(batch, documents, partition_key);
    if (r == 0 && counted != (int64_t)batch->documents)
        r = -EBADMSG;
    if (r != 0) {
        cosmos_batch_unref(batch);
        return r;
    }
    batch->text = *text;
    *text = (struct buffer){0};
    batch->bytes =
        sizeof *batch + batch->text.cap + batch->ids.cap + batch->documents * sizeof *batch->changes;
    *ret_batch = batch;
    return 0;
}

struct cosmos_batch *cosmos_batch_of_ranges(const struct cosmos_ranges *ranges)
{
    struct cosmos_batch *batch = calloc(1, sizeof *batch);

    if (batch == NULL)
        return NULL;
    atomic_init(&batch->references, 1);
    batch->kind = COSMOS_BATCH_RANGES;
    batch->ranges = cosmos_ranges_copy(ranges);
    if (batch->ranges == NULL) {
        free(batch);
        return NULL;
    }
    batch->bytes = sizeof *batch + sizeof *ranges + ranges->count * sizeof ranges->at[0];
    return batch;
}

struct cosmos_batch *cosmos_batch_ref(struct cosmos_batch *batch)
{
    atomic_fetch_add(&batch->references, 1);
    return batch;
}

void cosmos_batch_unref(struct cosmos_batch *batch)
{
    if (batch == NULL || atomic_fetch_sub(&batch->references, 1) > 1)
        return;
    free(batch->ranges);
    free(batch->changes);
    buffer_free(&batch->text);
    buffer_free(&batch->ids);
    free(batch);
}

struct cosmos_batch *cosmos_batch_of_writes(const char *device_id, const struct reading *const *readings,
                                            const struct json_slice *items, size_t count)
{
    struct cosmos_batch *batch = calloc(1, sizeof *batch);

    if (batch == NULL)
        return NULL;
    atomic_init(&batch->references, 1);
    batch->kind = COSMOS_BATCH_EARLY;
    batch->changes = calloc(count, sizeof *batch->changes);
    buffer_append(&batch->ids, device_id, strlen(device_id) + 1);
    for (size_t i = 0; i < count; i++)
        buffer_append(&batch->text, readings[i]->data, readings[i]->data_len);
    if (batch->changes == NULL || batch->ids.failed || batch->text.failed) {
        cosmos_batch_unref(batch);
        return NULL;
    }
    const char *data = batch->text.data;
    for (size_t i = 0; i < count; data += readings[i++]->data_len) {
        struct members m = members_of(items[i], "deviceId");
        struct cosmos_change *change = &batch->changes[i];
        *change = (struct cosmos_change){
            .device_id = batch->ids.data, .data = data, .data_len = readings[i]->data_len};
        if (m.etag.text == NULL || !json_int64(m.ts, &change->timestamp))
            change->device_id = NULL; /* it could not be told from the feed's copy */
        change->hash = version_hash(&m);
    }
    batch->count = count;
    batch->bytes = sizeof *batch + batch->text.cap + count * sizeof *batch->changes;
    return batch;
}

/* --- the last few ------------------------------------------------------------------------------ */

void cosmos_hashes_add(struct cosmos_hashes *hashes, uint32_t hash)
{
    if (hashes->count < COSMOS_HASHES_MAX) {
        hashes->at[hashes->count++] = hash;
        return;
    }
    hashes->at[hashes->oldest] = hash;
    hashes->oldest = (hashes->oldest + 1) % COSMOS_HASHES_MAX;
}

bool cosmos_hashes_has(const struct cosmos_hashes *hashes, uint32_t hash)
{
    for (unsigned i = 0; hashes != NULL && i < hashes->count; i++)
        if (hashes->at[i] == hash)
            return true;
    return false;
}

bool cosmos_hashes_remove(struct cosmos_hashes *hashes, uint32_t hash)
{
    for (unsigned i = 0; hashes != NULL && i < hashes->count; i++) {
        if (hashes->at[i] != hash)
            continue;
        hashes->at[i] = hashes->at[--hashes->count];
        hashes->oldest = 0;
        return true;
    }
    return false;
}

/* --- places ------------------------------------------------------------------------------------ */

size_t cosmos_batch_first_new(const struct cosmos_batch *batch, const struct cosmos_place *place)
{
    size_t first = 0;

    if (place->lsn < 0 || (place->lsn == 0 && !place->inside))
        return 0;
    while (first < batch->count && batch->changes[first].lsn < place->lsn)
        first++;
    size_t end = first;
    while (end < batch->count && batch->changes[end].lsn == place->lsn)
        end++;
    if (!place->inside)
        return end;
    for (size_t i = end; i > first; i--)
        if (batch->changes[i - 1].hash == place->hash)
            return i;
    /* The last one taken was replaced since then. What was not taken is what stands last. */
    return end - first > place->left ? end - place->left : first;
}

void cosmos_place_after(struct cosmos_place *place, const struct cosmos_batch *batch, size_t i)
{
    const struct cosmos_change *change = &batch->changes[i];
    size_t end = i + 1;

    while (end < batch->count && batch->changes[end].lsn == change->lsn)
        end++;
    memcpy(place->etag, batch->etag_before, sizeof place->etag);
    place->lsn = change->lsn;
    place->left = (uint32_t)(end - i - 1);
    place->inside = place->left > 0 || change->lsn == 0;
    place->hash = change->hash;
}

void cosmos_place_after_page(struct cosmos_place *place, const struct cosmos_batch *batch)
{
    memcpy(place->etag, batch->etag_after, sizeof place->etag);
    if (batch->last_lsn > place->lsn)
        place->lsn = batch->last_lsn;
    place->inside = false;
}

/* --- ranges ------------------------------------------------------------------------------------ */

static size_t ranges_size(unsigned count)
{
    return sizeof(struct cosmos_ranges) + count * sizeof(struct cosmos_range);
}

/* An id, which the npm emulator writes as a number. False for what does not look like one. */
static bool range_id(struct json_slice value, char out[COSMOS_RANGE_ID_SIZE])
{
    int64_t number;
    long len;

    if (json_int64(value, &number) && value.len < COSMOS_RANGE_ID_SIZE) {
        memcpy(out, value.text, value.len);
        out[value.len] = '\0';
        return true;
    }
    len = json_string_decode(value, out, COSMOS_RANGE_ID_SIZE);
    for (long i = 0; i < len; i++)
        if (out[i] <= ' ' || out[i] > '~')
            return false;
    return len > 0;
}

/* Of more ancestors than there is room for, the nearest are kept. */
static void take_parents(struct cosmos_range *range, struct json_slice parents)
{
    struct json_iter it = json_iter(parents);
    char id[COSMOS_RANGE_ID_SIZE];

    while (json_next(&it)) {
        if (!range_id(it.value, id))
            continue;
        while (strlen(range->parents) + strlen(id) + 2 > sizeof range->parents) {
            const char *second = strchr(range->parents + 1, ' ');
            if (second == NULL)
                second = range->parents + strlen(range->parents);
            memmove(range->parents, second, strlen(second) + 1);
        }
        strcat(range->parents, " ");
        strcat(range->parents, id);
    }
}

static int fill_ranges(struct cosmos_ranges *ranges, struct json_slice list)
{
    struct json_iter it = json_iter(list);

    for (unsigned i = 0; json_next(&it); i++) {
        struct cosmos_range *range = &ranges->at[i];
        if (!range_id(json_member(it.value, "id"), range->place.range))
            return -EBADMSG;
        memcpy(range->place.etag, "*", 2);
        range->place.lsn = -1;
        take_parents(range, json_member(it.value, "parents"));
    }
    return 0;
}

int cosmos_ranges_parse(const char *text, size_t len, struct cosmos_ranges **ret_ranges)
{
    unsigned count = 0;

    if (!json_valid(text, len, COSMOS_DEPTH_MAX))
        return -EBADMSG;
    struct json_slice root = json_root(text, len), rid = json_member(root, "_rid");
    struct json_slice list = json_member(root, "PartitionKeyRanges");
    if (json_kind(list) != JSON_ARRAY)
        return -EBADMSG;
    for (struct json_iter it = json_iter(list); json_next(&it);)
        count++;
    if (count == 0 || count > COSMOS_RANGES_MAX)
        return count == 0 ? -EBADMSG : -E2BIG;
    struct cosmos_ranges *ranges = calloc(1, ranges_size(count));
    if (ranges == NULL)
        return -ENOMEM;
    ranges->count = count;
    ranges->container = cosmos_hash(COSMOS_HASH_SEED, rid.text, rid.len);
    int r = fill_ranges(ranges, list);
    if (r != 0) {
        free(ranges);
        return r;
    }
    *ret_ranges = ranges;
    return 0;
}

struct cosmos_ranges *cosmos_ranges_copy(const struct cosmos_ranges *ranges)
{
    struct cosmos_ranges *copy = malloc(ranges_size(ranges->count));

    if (copy != NULL)
        memcpy(copy, ranges, ranges_size(ranges->count));
    return copy;
}

struct cosmos_range *cosmos_ranges_find(struct cosmos_ranges *ranges, const char *id)
{
    for (unsigned i = 0; i < ranges->count; i++)
        if (strcmp(ranges->at[i].place.range, id) == 0)
            return &ranges->at[i];
    return NULL;
}

/* The nearest parent that is in `from`. */
static struct cosmos_range *find_parent(struct cosmos_ranges *from, const char *parents)
{
    char ids[COSMOS_PARENTS_SIZE], *id;

    memcpy(ids, parents, sizeof ids);
    while ((id = strrchr(ids, ' ')) != NULL) {
        struct cosmos_range *found = cosmos_ranges_find(from, id + 1);
        if (found != NULL)
            return found;
        *id = '\0';
    }
    return NULL;
}

struct cosmos_range *cosmos_ranges_source(struct cosmos_ranges *ranges, const struct cosmos_range *range)
{
    struct cosmos_range *own = cosmos_ranges_find(ranges, range->place.range);

    return own != NULL ? own : find_parent(ranges, range->parents);
}

bool cosmos_ranges_inherit(struct cosmos_ranges *to, struct cosmos_ranges *from)
{
    bool all = true;

    for (unsigned i = 0; i < to->count; i++) {
        struct cosmos_place *place = &to->at[i].place;
        const struct cosmos_range *source = cosmos_ranges_source(from, &to->at[i]);
        if (source == NULL) {
            all = false;
            continue;
        }
        char id[COSMOS_RANGE_ID_SIZE];
        memcpy(id, place->range, sizeof id);
        *place = source->place;
        memcpy(place->range, id, sizeof id);
    }
    return all;
}
