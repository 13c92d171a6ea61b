#include "rate_limit.h"

#include "siphash.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <uv.h>

#define WAYS   8 /* slots that one caller may be in */
#define SETS   8192
#define SHARDS 64
#define SECOND 1000000u
#define LINE   64 /* of the processor's cache */

/* A bucket is kept by what is missing from it, so that one that was never used, and one that has filled up
 * again, are all zeroes and need no mark. A request is worth window_us parts and `quota` parts come back in
 * each microsecond: whole numbers at every rate, so nothing is lost to rounding. 2^32 * 60,000,000 parts fit.
 */
struct slot {
    uint64_t caller[2]; /* keyed digest */
    uint64_t missing;   /* parts, at `at_us` */
    uint64_t at_us;
};

struct set {
    alignas(LINE) struct slot slots[WAYS];
};

struct shard {
    alignas(LINE) uv_mutex_t lock;
};

struct rate_limit {
    unsigned quota, window_s;
    uint64_t window_us; /* what one request is worth */
    uint64_t capacity;  /* parts */
    struct siphash_key key;
    struct shard shards[SHARDS];
    struct set *sets;
};

static_assert(sizeof(struct set) == WAYS * sizeof(struct slot), "the table's size is as the header says");

int rate_limit_new(unsigned quota, unsigned window_s, struct rate_limit **ret_limit)
{
    size_t size = (sizeof(struct rate_limit) + LINE - 1) / LINE * LINE;
    struct rate_limit *limit = aligned_alloc(LINE, size);
    unsigned locks = 0;

    if (limit == NULL)
        return -ENOMEM;
    memset(limit, 0, size);
    limit->quota = quota;
    limit->window_s = window_s;
    limit->window_us = (uint64_t)window_s * SECOND;
    limit->capacity = limit->window_us * quota;
    int r = -ENOMEM;
    limit->sets = aligned_alloc(LINE, SETS * sizeof *limit->sets);
    if (limit->sets == NULL)
        goto fail;
    memset(limit->sets, 0, SETS * sizeof *limit->sets);
    r = -EIO;
    if (getrandom(&limit->key, sizeof limit->key, 0) != sizeof limit->key)
        goto fail;
    for (; locks < SHARDS; locks++)
        if ((r = uv_mutex_init(&limit->shards[locks].lock)) != 0)
            goto fail;
    *ret_limit = limit;
    return 0;

fail:
    while (locks > 0)
        uv_mutex_destroy(&limit->shards[--locks].lock);
    free(limit->sets);
    free(limit);
    return r;
}

void rate_limit_free(struct rate_limit *limit)
{
    if (limit == NULL)
        return;
    for (unsigned i = 0; i < SHARDS; i++)
        uv_mutex_destroy(&limit->shards[i].lock);
    free(limit->sets);
    free(limit);
}

/* --- one bucket -------------------------------------------------------------------------------- */

/* What is missing now. Threads read the clock before they take the lock, so a little backwards is nothing. */
static uint64_t missing_at(const struct rate_limit *limit, const struct slot *slot, uint64_t now_us)
{
    int64_t elapsed = (int64_t)(now_us - slot->at_us);
    if (elapsed <= 0)
        return slot->missing;
    if ((uint64_t)elapsed >= limit->window_us)
        return 0;
    uint64_t back = (uint64_t)elapsed * limit->quota;
    return slot->missing > back ? slot->missing - back : 0;
}

static void bring_up_to(const struct rate_limit *limit, struct slot *slot, uint64_t now_us)
{
    int64_t elapsed = (int64_t)(now_us - slot->at_us);
    slot->missing = missing_at(limit, slot, now_us);
    /* A clock that is behind by more than threads can be was set back: go on from there, or the bucket would
     * not fill until the clock is where it was. */
    if (elapsed > 0 || elapsed < -(int64_t)limit->window_us)
        slot->at_us = now_us;
}

static unsigned whole_seconds(const struct rate_limit *limit, uint64_t parts)
{
    uint64_t part_rate = (uint64_t)limit->quota * SECOND;
    unsigned seconds = (unsigned)((parts + part_rate - 1) / part_rate);
    return seconds > 0 ? seconds : 1;
}

static struct rate_limit_verdict take_from(const struct rate_limit *limit, struct slot *slot, uint64_t now_us)
{
    bring_up_to(limit, slot, now_us);
    uint64_t left = limit->capacity - slot->missing;
    if (left < limit->window_us)
        return (struct rate_limit_verdict){false, 0, whole_seconds(limit, limit->window_us - left)};
    slot->missing += limit->window_us;
    left -= limit->window_us;
    return (struct rate_limit_verdict){true, (unsigned)(left / limit->window_us),
                                       whole_seconds(limit, slot->missing)};
}

/* --- the table --------------------------------------------------------------------------------- */

static struct slot *find(const struct rate_limit *limit, struct set *set, const uint64_t caller[2],
                         uint64_t now_us)
{
    struct slot *fullest = NULL;
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < WAYS; i++) {
        struct slot *slot = &set->slots[i];
        if (slot->caller[0] == caller[0] && slot->caller[1] == caller[1])
            return slot;
        uint64_t missing = missing_at(limit, slot, now_us);
        if (missing < least) {
            least = missing;
            fullest = slot;
        }
    }
    *fullest = (struct slot){.caller = {caller[0], caller[1]}, .at_us = now_us};
    return fullest;
}

struct rate_limit_verdict rate_limit_take(struct rate_limit *limit, const unsigned char caller[32],
                                          uint64_t now_us)
{
    uint64_t digest[2];

    siphash(&limit->key, caller, 32, digest);
    size_t place = digest[0] % SETS;
    uv_mutex_t *lock = &limit->shards[place % SHARDS].lock;
    uv_mutex_lock(lock);
    struct slot *slot = find(limit, &limit->sets[place], digest, now_us);
    struct rate_limit_verdict verdict = take_from(limit, slot, now_us);
    uv_mutex_unlock(lock);
    return verdict;
}

void rate_limit_address_key(const struct network_address *address, unsigned char ret_caller[32])
{
    struct network_address holder = network_address_holder(address);
    memset(ret_caller, 0, 32);
    memcpy(ret_caller + 16, holder.bytes, sizeof holder.bytes);
}

/* --- the fields -------------------------------------------------------------------------------- */

void rate_limit_header(const struct rate_limit *limit, const struct rate_limit_verdict *verdict, char *out,
                       size_t size)
{
    snprintf(out, size, "\"default\";r=%u;t=%u", verdict->remaining, verdict->reset_s);
}

void rate_limit_policy_header(const struct rate_limit *limit, char *out, size_t size)
{
    snprintf(out, size, "\"default\";q=%u;w=%u", limit->quota, limit->window_s);
}
