#include "json_names.h"

#include "json_utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

/* --- SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF") ------------------- */

static inline uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static inline void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* Of the object's number and the decoded name: the same name in another object is another key. */
static uint64_t hash_name(const uint64_t key[2], uint32_t object, const char *name, size_t len)
{
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    struct json_bytes bytes = json_bytes(name, len);
    uint64_t word = 0, count = 0;

    sip_word(v, object);
    for (int c; (c = json_bytes_next(&bytes)) >= 0;) {
        word |= (uint64_t)c << (count % 8 * 8);
        if (++count % 8 == 0) {
            sip_word(v, word);
            word = 0;
        }
    }
    sip_word(v, word | count << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* --- the table --------------------------------------------------------------------------------- */

void json_names_init(struct json_names *names)
{
    names->entries = names->first_entries;
    names->slots = names->first_slots;
    names->count = 0;
    names->capacity = JSON_NAMES_FIRST;
    names->mark = 0;
    memset(names->first_slots, 0, sizeof names->first_slots);
    memset(names->key, 0, sizeof names->key);
    const void *random = (const void *)(uintptr_t)getauxval(AT_RANDOM); /* 16 bytes; see getauxval(3) */
    if (random != NULL)
        memcpy(names->key, random, sizeof names->key);
}

void json_names_free(struct json_names *names)
{
    if (names->entries != names->first_entries)
        free(names->entries);
    if (names->slots != names->first_slots)
        free(names->slots);
}

/* Where the search for an entry begins, and where it goes on while slots are taken by others. */
static inline uint32_t first_slot(const struct json_names *names, uint64_t hash)
{
    return (uint32_t)hash & (2 * names->capacity - 1);
}

static inline uint32_t next_slot(const struct json_names *names, uint32_t slot)
{
    return (slot + 1) & (2 * names->capacity - 1);
}

static void take_free_slot(struct json_names *names, uint32_t index)
{
    uint32_t slot = first_slot(names, names->entries[index].hash);
    while (names->slots[slot] != 0)
        slot = next_slot(names, slot);
    names->slots[slot] = index + 1;
}

static int grow(struct json_names *names)
{
    if (names->capacity > UINT32_MAX / 8)
        return -ENOMEM;
    uint32_t capacity = names->capacity * 2;
    struct json_name_entry *entries = malloc(capacity * sizeof *entries);
    uint32_t *slots = calloc(2 * (size_t)capacity, sizeof *slots);
    if (entries == NULL || slots == NULL) {
        free(entries);
        free(slots);
        return -ENOMEM;
    }
    memcpy(entries, names->entries, names->count * sizeof *entries);
    json_names_free(names);
    names->entries = entries;
    names->slots = slots;
    names->capacity = capacity;
    for (uint32_t i = 0; i < names->count; i++)
        if (entries[i].name != NULL)
            take_free_slot(names, i);
    return 0;
}

int json_names_open(struct json_names *names)
{
    if (names->count == names->capacity && grow(names) != 0)
        return -ENOMEM;
    names->entries[names->count] = (struct json_name_entry){.name = NULL, .len = names->mark};
    names->mark = names->count++;
    return 0;
}

void json_names_close(struct json_names *names)
{
    /* Last in, first out: no entry that stays was put past a slot that is freed here, so none gets lost. */
    while (--names->count != names->mark) {
        uint32_t slot = first_slot(names, names->entries[names->count].hash);
        while (names->slots[slot] != names->count + 1)
            slot = next_slot(names, slot);
        names->slots[slot] = 0;
    }
    names->mark = (uint32_t)names->entries[names->mark].len;
}

int json_names_add(struct json_names *names, const char *name, size_t len)
{
    if (names->count == names->capacity && grow(names) != 0)
        return -ENOMEM;
    uint64_t hash = hash_name(names->key, names->mark, name, len);
    uint32_t slot = first_slot(names, hash);
    for (; names->slots[slot] != 0; slot = next_slot(names, slot)) {
        uint32_t index = names->slots[slot] - 1;
        const struct json_name_entry *entry = &names->entries[index];
        if (index > names->mark && entry->hash == hash &&
            json_bytes_compare(json_bytes(entry->name, entry->len), json_bytes(name, len)) == 0)
            return -EEXIST;
    }
    names->entries[names->count] = (struct json_name_entry){name, len, hash};
    names->slots[slot] = ++names->count;
    return 0;
}
