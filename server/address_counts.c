#include "address_counts.h"

#include "siphash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <uv.h>

#define BUCKETS_MAX 65536u

struct entry {
    struct entry *next;
    struct network_address address;
    unsigned count;
};

struct address_counts {
    unsigned limit;
    struct siphash_key key;
    uv_mutex_t lock;
    size_t buckets; /* a power of two */
    struct entry *first[];
};

int address_counts_new(unsigned limit, unsigned connections, struct address_counts **ret_counts)
{
    size_t buckets = 64;
    while (buckets < connections && buckets < BUCKETS_MAX)
        buckets *= 2;
    struct address_counts *counts = calloc(1, sizeof *counts + buckets * sizeof(struct entry *));
    if (counts == NULL)
        return -ENOMEM;
    counts->limit = limit;
    counts->buckets = buckets;
    if (getrandom(&counts->key, sizeof counts->key, 0) != sizeof counts->key) {
        free(counts);
        return -EIO;
    }
    if (uv_mutex_init(&counts->lock) != 0) {
        free(counts);
        return -ENOMEM;
    }
    *ret_counts = counts;
    return 0;
}

void address_counts_free(struct address_counts *counts)
{
    if (counts == NULL)
        return;
    for (size_t i = 0; i < counts->buckets; i++)
        for (struct entry *entry = counts->first[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            free(entry);
        }
    uv_mutex_destroy(&counts->lock);
    free(counts);
}

/* Where the entry of an address hangs, or would. */
static struct entry **find(struct address_counts *counts, const struct network_address *address)
{
    uint64_t digest[2];
    siphash(&counts->key, address->bytes, sizeof address->bytes, digest);
    struct entry **at = &counts->first[digest[0] & (counts->buckets - 1)];
    while (*at != NULL && memcmp(&(*at)->address, address, sizeof *address) != 0)
        at = &(*at)->next;
    return at;
}

static bool enter(struct address_counts *counts, const struct network_address *address)
{
    struct entry **at = find(counts, address);
    if (*at == NULL) {
        *at = calloc(1, sizeof **at);
        if (*at == NULL)
            return false;
        (*at)->address = *address;
    }
    if ((*at)->count >= counts->limit)
        return false;
    (*at)->count++;
    return true;
}

bool address_counts_enter(struct address_counts *counts, const struct network_address *address)
{
    struct network_address of = network_address_holder(address);
    uv_mutex_lock(&counts->lock);
    bool entered = enter(counts, &of);
    uv_mutex_unlock(&counts->lock);
    return entered;
}

void address_counts_leave(struct address_counts *counts, const struct network_address *address)
{
    struct network_address of = network_address_holder(address);
    uv_mutex_lock(&counts->lock);
    struct entry **at = find(counts, &of), *entry = *at;
    if (entry != NULL && --entry->count == 0) {
        *at = entry->next;
        free(entry);
    }
    uv_mutex_unlock(&counts->lock);
}

bool address_counts_at_limit(struct address_counts *counts, const struct network_address *address)
{
    struct network_address of = network_address_holder(address);
    uv_mutex_lock(&counts->lock);
    const struct entry *entry = *find(counts, &of);
    bool full = entry != NULL && entry->count >= counts->limit;
    uv_mutex_unlock(&counts->lock);
    return full;
}
